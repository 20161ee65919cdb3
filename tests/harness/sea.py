"""The whole daemon at sea: core, journal, live shell and cTrader adapter against the venue, in virtual time, by seed.

Theory of operation. One seed draws a market, an account, a policy, strategies, a network, faults of every kind, deaths
of the process at any await and at either side of any durable write, losses of power, operators, deposits, strangers
who trade on the same account, and models that come, trade and go back, with deaths right after. All of it is production
code but for sockets, disk and clock. `Sea.run` gives what went wrong; `sea_weather` has what a seed draws,
`sea_witness` who watches from outside.
"""

import asyncio
import math
from collections import Counter
from random import Random

import msgspec

from adapters.ctrader.connection import Connection
from adapters.ctrader.live import LiveVenue
from adapters.ctrader.secret import Secret
from adapters.ctrader.shell import Server
from adapters.history import SpreadModel
from bus.errors import BrokerError, ConfigError, TradingError
from bus.messages import (
    Forecast,
    HorizonForecast,
    ModelAdmitted,
    RunStarted,
)
from bus.values import NS_PER_S
from daemon.journal import read, segments
from daemon.live import LiveShell
from daemon.takeup import take_up
from risk.orders import OrderStatus
from tests.harness.disasters import Tape
from tests.harness.floor import Floor
from tests.harness.reign import Rivals, hasten
from tests.harness.sea_weather import ACCOUNT, HORIZONS, LABEL, LASTS_S, PERIOD_NS, STORM_S, Weather
from tests.harness.sea_witness import Witness
from tests.harness.storm import Brisk
from tests.harness.virtual import VirtualClock, World
from tests.harness.virtual_disk import Disk

LEVELS = (900_000, 200_000)
MODEL = "scripted-0"
WELL_S = 60


class Witnessed(Connection):
    """Holds every order that leaves against the durable bytes of the journal."""

    sea = None

    def post(self, message, *, kind=None):
        self.sea.leaves(message)
        return super().post(message, kind=kind)


class Tokens:
    """Access tokens from the venue's token endpoint."""

    def __init__(self, sea):
        self._sea = sea

    async def access_token(self):
        return Secret(self._sea.grant.access)

    async def replace(self, refused):
        sea = self._sea
        if refused.reveal() == sea.grant.access:
            tokens = sea.network.endpoint.venue.tokens
            try:
                status, reply = await sea.network.token_request({
                    "grant_type": "refresh_token", "refresh_token": sea.grant.refresh,
                    "client_id": tokens.client_id, "client_secret": tokens.client_secret,
                })  # fmt: skip
            except ConnectionError as error:
                raise BrokerError(str(error)) from None
            if status == 200:
                sea.grant.access, sea.grant.refresh = reply["accessToken"], reply["refreshToken"]
            else:  # it died between the endpoint's answer and keeping it: a person logs in again
                issued = tokens.issue(sea.world.now_ns)
                sea.grant.access, sea.grant.refresh = issued.access, issued.refresh
        return Secret(sea.grant.access)


class Grant:
    """The pair of tokens that rests on the client's side."""

    def __init__(self, access, refresh):
        self.access, self.refresh = access, refresh


class Sea(Weather, Witness):
    """One seed.

    Args:
        seed: of everything.
        folder: for the journal; empty.
        patch: pytest's `monkeypatch`.
        losses: force so many losses of the connection, and nothing else that goes wrong; 0 = as drawn.
    """

    def __init__(self, seed, folder, patch, *, losses=0):
        self.seed, self.folder = seed, folder
        self.world = World(seed)
        self.disk = Disk(patch)
        self.dice = r = self.world.dice("sea")
        self.problems = []
        self.symbols = r.choice([("EURUSD",), ("EURUSD",), ("EURUSD", "GBPUSD"), ("USDJPY",), ("EURUSD", "USDJPY")])
        self.hedged = r.random() < 0.6
        hasten(patch)
        self.rivals = Rivals(self.world.dice("models"), self.symbols, HORIZONS)
        self.settings = self._settings(r)
        self.losses = losses
        self.network = self._venue(r)
        tokens = self.network.endpoint.venue.tokens.issue(self.world.now_ns)
        self.grant = Grant(tokens.access, tokens.refresh)
        calm = losses or r.random() < 0.1
        self.deaths = [] if calm else [r.choice((r.randrange(50, 1_500), r.randrange(500, 12_000)))
                                       for _ in range(r.choice((0, 1, 2, 4)))]  # fmt: skip
        self.power = r.random() < 0.5
        self.tape = Tape(folder, self.disk)
        self.sent = Counter()
        self.admitted = []
        self.venue = self.shell = self.engine = None
        self.lives = 0
        self.over = False
        self.up_since = math.inf
        self.naked_since = {}
        policy = self.settings.risk
        self.floor = Floor(policy.daily_loss_pct_e2, policy.trailing_drawdown_pct_e2)
        self.others_moved = False
        self.losses_seen = 0
        self._unleash(r, calm=bool(calm))

    # --- the daemon -----------------------------------------------------------------------------------------------

    async def _daemon(self):
        self.venue = self.shell = None
        clock = self.clock = VirtualClock(self.world, self._clock_offset_ns())
        tokens = self.network.endpoint.venue.tokens

        def connect(on_event):
            connection = Witnessed(
                Server("venue", 5035), tokens.client_id, Secret(tokens.client_secret), on_event=on_event,
                dice=self._backoff(), dialler=self.network.dialler, prefix=f"life{self.lives}",
            )  # fmt: skip
            connection.sea = self
            return connection

        venue = LiveVenue(
            connect, Tokens(self), account_id=ACCOUNT, symbols=self.symbols, period_ns=PERIOD_NS, clock=clock,
            label=LABEL, note=lambda line: self.world.note("note", line),
        )  # fmt: skip
        try:
            terms = await venue.open()
            resumed = self.folder.is_dir() and bool(segments(self.folder)) and next(iter(read(self.folder)), None)
            self.engine, opening = take_up(
                self.folder, venue.account, clock, watch=[],
                fresh=None if resumed else lambda: self._opening(terms, clock.now_ns()),
            )  # fmt: skip
            shell = LiveShell(
                engine=self.engine, venue=venue, ask=self._ask, clock=clock, period_ns=PERIOD_NS,
                spread_of=lambda _: SpreadModel(),
            )  # fmt: skip
            self.venue, self.shell = venue, shell
            self._same_models_trade()
            try:
                return await shell.run([*opening, *self._around(shell)])
            finally:
                self.engine.close()
        finally:
            await venue.close()

    def _clock_offset_ns(self):
        """How wrong the machine's clock is."""
        return self.dice.choice((0, 0, 30_000_000, -2 * NS_PER_S))

    def _around(self, shell):
        """Whatever lives around a shell that is about to run; gives what it is told first."""
        return []

    def _backoff(self):
        """In a storm of losses waits are short, so that most losses meet a connection that stands."""
        return Brisk(f"{self.seed}") if self.losses else self.world.dice(f"backoff {self.lives}")

    def _opening(self, terms, now_ns):
        scores = tuple(abs(Random(n).gauss(0, 1)) for n in range(60))
        started = RunStarted(
            run_id=f"sea{self.seed % 10_000}", schema=1, mode="demo", currency=terms.currency,
            money_digits=terms.money_digits, leverage=terms.leverage, hedged=terms.hedged, period_ns=PERIOD_NS,
            horizons=HORIZONS, levels_ppm=LEVELS, instruments=terms.instruments,
            config_json=msgspec.json.encode(self.settings).decode(), ts_init_ns=now_ns,
        )  # fmt: skip
        self.admitted = [
            ModelAdmitted(model_id=MODEL, kind="forecaster", symbol=symbol, active=True, horizons=HORIZONS,
                          scores=(scores,) * len(HORIZONS), ts_init_ns=now_ns)
            for symbol in self.symbols
        ]  # fmt: skip
        return [started, *self.admitted]

    async def _ask(self, request):
        """Loud opinions, a pure function of the request, after a while; inference may fail, a model be silent."""
        r = Random(f"{self.seed} {request.request_id}")
        await asyncio.sleep(r.choice((0.001, 0.02, 0.4, 2.0)))
        if r.random() < 0.05:
            raise RuntimeError("the model has lost its mind")
        close = request.close_e5[-1]
        swing, scale = math.sin(sum(request.close_e5[-3:])), close / 112_000
        first = Forecast(
            request_id=request.request_id, symbol=request.symbol, model_id=MODEL, as_of_ns=request.as_of_ns,
            expires_ns=request.deadline_ns, ts_init_ns=request.as_of_ns,
            horizons=tuple(
                HorizonForecast(horizon=h, point_e5=close + round(60 * scale * math.sqrt(h) * swing),
                                sigma_e5=max(1, round(15 * scale * math.sqrt(h))))
                for h in request.horizons
            ),
        )  # fmt: skip
        return self.rivals.opinions(request, first, r)

    # --- from beginning to end ------------------------------------------------------------------------------------

    def run(self):
        """Everything; the problems found, empty = none."""
        self.process = None
        try:
            with self.world as world:
                self.network.feed(self._quotes())
                self._look()
                self._stormy(world)
                self._calm(world)
            self._afterwards()
        except TradingError as error:
            self.problems.append(f"{type(error).__name__}: {error}")
        return self.problems

    def _start(self):
        self.lives += 1
        deaths = 0 if self.over or not self.deaths else self.deaths.pop()
        self.process = self.world.start(self._daemon(), name=f"daemon{self.lives}", kill_at=deaths)

    def _stormy(self, world):
        end = world.now + (STORM_S if self.losses else LASTS_S)
        self._start()
        while world.now < end:
            world.sleep(min(2.0, end - world.now))
            self._again_if_ended()

    def _again_if_ended(self):
        """What a service manager does: start again what died, but for a wrong configuration."""
        process = self.process
        if not process.ended:
            return
        if process.killed:
            if self.power and self.folder.is_dir():
                self.disk.lose_power(self.folder, self.dice)
        else:
            try:
                process.result()
            except ConfigError as error:
                self.problems.append(f"ConfigError: {error}")
            except BrokerError:
                pass  # the broker refuses just now; the next start may find it willing
        self._start()

    def _calm(self, world):
        self.over = True
        self.process.watch()
        self.network.mend()
        quiet_at = world.now
        while not self._is_well():
            if world.now - quiet_at > WELL_S:
                self.problems.append(f"not well {WELL_S} s after the last fault: {self._state()}")
                return
            world.sleep(0.5)
            self._again_if_ended()
        self.well_after_s = world.now - quiet_at
        world.sleep(3)
        deadline = world.now + 40
        while world.now < deadline and not (
            self._is_well() and self._agrees() is None and self._halted_in_vain() is None
        ):
            world.sleep(0.25)  # the market goes on: between a fill and its event the two differ for a moment
        difference = self._agrees() or self._halted_in_vain()
        if difference:
            self.problems.append(difference)
        self.process.call_soon(self.shell.stop, "SIGTERM")
        world.run(self.process, within_s=120)

    def _is_well(self):
        if self.process.ended or self.venue is None or self.shell is None:
            return False
        subscribed = any(len(c.spots) == len(self.symbols) for c in self.network.endpoint.venue.connections.values())
        book = self.engine.core.book
        waiting = [o for o in book.orders.values() if o.status is not OrderStatus.ACCEPTED or o.cancelling]
        return subscribed and self.venue.settled and not book.table.unknown and not waiting

    def _state(self):
        if self.venue is None or self.engine is None:
            return f"process ended: {self.process.ended}"
        book = self.engine.core.book
        return (
            f"{self.venue.state}, settled {self.venue.settled}, unknown {book.table.unknown}, "
            f"orders {[(o.client_order_id, o.status.value, o.cancelling) for o in book.orders.values()]}"
        )


def problems_of(seed, folder, patch, **more):
    """What went wrong with one seed; empty = nothing."""
    return Sea(seed, folder, patch, **more).run()
