"""The whole daemon at sea: core, journal, live shell and cTrader adapter against the venue, in virtual time, by seed.

Theory of operation. One seed draws a market, an account, a policy, strategies, a network, faults of every kind, deaths
of the process at any await and at either side of any durable write, losses of power, operators, deposits and strangers
who trade on the same account. All of it is production code but for sockets, disk and clock. `Sea.run` gives what went
wrong; the witnesses below watch from outside and use none of the book's own arithmetic.
"""

import asyncio
import hashlib
import math
from collections import Counter
from random import Random

import msgspec

from adapters.ctrader.connection import Connection
from adapters.ctrader.frames import encode_envelope, encode_frame
from adapters.ctrader.live import ANSWER_S, POLL_S, LiveVenue, State
from adapters.ctrader.messages import model, openapi
from adapters.ctrader.secret import Secret
from adapters.ctrader.shell import Server
from adapters.ctrader.venue.faults import Fault, Plan
from adapters.ctrader.venue.specs import AccountSpec, Delays
from adapters.exchange import ExecutionModel
from adapters.history import SpreadModel
from bus.errors import BrokerError, ConfigError, TradingError
from bus.messages import (
    Bar,
    Forecast,
    HaltLatched,
    HaltLevel,
    HaltLifted,
    HaltTrading,
    HorizonForecast,
    ModelAdmitted,
    OrderFilled,
    Quote,
    ReconcileFound,
    ResumeTrading,
    RunStarted,
    SubmitOrder,
)
from bus.values import NS_PER_S, default_instrument
from daemon.core import CoreSettings, StrategySettings
from daemon.journal import read, segments, verify
from daemon.live import LiveShell, take_up
from daemon.replay import replay
from risk.adherence import Adherence
from risk.orders import OrderStatus
from risk.policy import Policy
from risk.sizing import SizingSettings
from tests.harness.disasters import Tape
from tests.harness.storm import Brisk, strike
from tests.harness.virtual import VirtualClock, World
from tests.harness.virtual_disk import Disk
from tests.harness.virtual_net import Latency, Network, endpoint_of

ACCOUNT = 7
LABEL = "plimsoll"
PERIOD_NS = 60 * NS_PER_S
HORIZONS = (1, 3)
LEVELS = (900_000, 200_000)
MODEL = "scripted-0"
LASTS_S = 360
STORM_S = 600
WELL_S = 60
PROTECTED_S = 5
STALE_S = 1.5
DARK_S = POLL_S + ANSWER_S + 15
"""A socket that carries nothing in one direction is given up after so long."""
BASE_E5 = {"EURUSD": 112_000, "GBPUSD": 128_000, "USDJPY": 14_900_000}
LOUD = ("half_open_up", "half_open_both", "silence", "hold", "refused", "unreachable", "close", "break_tls",
        "fail_tls", "reset")  # fmt: skip
BREAKING = ("reset", "close", "break_tls", "fail_tls", "refused")
MESSAGES = ("lose", "late", "double", "reorder", "silent_after", "deaf", "reset_before", "reset_within", "reset_after",
            "half_open", "garbage", "truncated", "wrong_type")  # fmt: skip
TIMED = ("silent_feed", "token_invalidated", "account_disconnect", "silent_logout", "client_disconnect",
         "maintenance", "throttle")  # fmt: skip
TARGETS = ("execution", "accepted", "filled", "answer", "spot", "order_error", "cancelled", "request", "ReconcileRes",
           "DealListRes", "TraderRes", "NewOrderReq", "ClosePositionReq", "CancelOrderReq", "any")  # fmt: skip


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
            if status != 200:
                raise BrokerError(f"token endpoint: {reply}")
            sea.grant.access, sea.grant.refresh = reply["accessToken"], reply["refreshToken"]
        return Secret(sea.grant.access)


class Grant:
    """The pair of tokens that rests on the client's side."""

    def __init__(self, access, refresh):
        self.access, self.refresh = access, refresh


class Sea:
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
        self.sent, self.closed = Counter(), []
        self.venue = self.shell = self.engine = None
        self.lives = 0
        self.over = False
        self.up_since = math.inf
        self.naked_since = {}
        self.floor = None
        self.losses_seen = 0
        self._unleash(r, calm=bool(calm))

    # --- what a seed draws ----------------------------------------------------------------------------------------

    def _settings(self, r):
        policy = Policy(
            max_position_pct_equity=r.choice([200, 500]), max_exposure_pct_equity=r.choice([500, 2_000]),
            max_leverage_pct=r.choice([500, 1_000]), daily_loss_pct_e2=r.choice([10, 40, 300]),
            trailing_drawdown_pct_e2=r.choice([15, 60, 1_000]), loss_halt_level=r.choice([1, 2, 3, 3]),
            max_orders_per_minute=r.choice([2, 10, 30]), max_spread_pips_e1=100, max_quote_age_s=r.choice([5, 30]),
            protect_within_s=2, price_collar_pips_e1=r.choice([30, 200]),
        )  # fmt: skip
        metronome = StrategySettings(
            name="metronome",
            params={"every_quotes": r.choice([3, 7, 15]), "stop_pips_e1": r.choice([40, 150]),
                    "target_pips_e1": r.choice([30, 300])},
        )  # fmt: skip
        interval = StrategySettings(name="interval", params={"horizon": r.choice(HORIZONS), "max_positions": 2,
                                                             "level_ppm": 200_000})  # fmt: skip
        resting = StrategySettings(name="resting", params={"every_quotes": r.choice([4, 9]), "away_pips_e1": 15,
                                                           "stop_pips_e1": 120})  # fmt: skip
        return CoreSettings(
            risk=policy,
            sizing=SizingSettings(method=r.choice(["fixed", "percent"]), fixed_lots_e2=r.choice([1, 10])),
            strategies=r.choice([(metronome,), (interval, metronome), (resting,), (resting, metronome)]),
            forecast_deadline_ns=r.choice([1, 5]) * NS_PER_S, data="sea",
        )  # fmt: skip

    def _venue(self, r):
        slippage = r.choice([0, 2])
        self.execution = ExecutionModel(
            slippage_points=slippage, slippage_jitter_points=slippage // 2, reject_pct=0,
            liquidity_e2=r.choice([0, 50_000_000, 400_000]), depth_levels=r.choice([1, 3]), rollover_minutes=0,
            conversion_fee_bp=r.choice([0, 50]), seed=self.seed,
        )  # fmt: skip
        endpoint = endpoint_of(
            self.world, *self.symbols, plan=Plan() if self.losses else self._plan(r), model=self.execution,
            accounts=(AccountSpec(account_id=ACCOUNT, hedged=self.hedged, leverage=r.choice([30, 100])),),
            delays=Delays(accept_ms=r.choice([0, 40]), fill_ms=r.choice([0, 60, 900]), server_ms=r.choice([0, 30])),
        )  # fmt: skip
        slow = r.choice([0.0, 1.0, 5.0])
        network = Network(self.world, endpoint, up=Latency(slow_pct=slow), down=Latency(slow_pct=slow, slow_s=2.0))
        self.jump_e5 = dict.fromkeys(self.symbols, 0)
        self._history(endpoint.venue)
        return network

    def _plan(self, r):
        count = r.choice((0, 2, 5, 9))
        faults = [
            Fault(
                kind=r.choice(MESSAGES), on=r.choice(TARGETS), nth=r.randrange(1, 6), times=r.randrange(1, 3),
                at_s=r.uniform(3, LASTS_S), min_ms=r.randrange(500), max_ms=500 + r.randrange(6_000),
            )
            for _ in range(count)
        ]  # fmt: skip
        faults += [
            Fault(kind=r.choice(TIMED), at_s=r.uniform(5, LASTS_S), for_s=r.uniform(1, 30))
            for _ in range(r.choice((0, 1, 3)))
        ]
        return Plan(faults=tuple(faults), seed=self.seed)

    def _history(self, venue):
        """Minutes before the market opens, and its last price."""
        dice = self.world.dice("history")
        start = self.world.utc_ns - 300 * PERIOD_NS
        self._start_e5 = {}
        for symbol in self.symbols:
            price, tape = BASE_E5[symbol], venue.market.tapes[venue.catalogue.by_name(symbol).symbol_id]
            for part in range(300 * 4 - 1):
                price += round(dice.gauss(0, 4 * BASE_E5[symbol] / 112_000))
                tape.append(self._quote(symbol, price, start + part * PERIOD_NS // 4))
            self._start_e5[symbol] = price
        for symbol, price in self._start_e5.items():
            venue.on_quote(self._quote(symbol, price, self.world.utc_ns), 0)

    def _quote(self, symbol, bid_e5, at_ns):
        spec = default_instrument(symbol)
        bid_e5 = max(1_000, spec.round_price_e5(bid_e5))
        return Quote(symbol=symbol, bid_e5=bid_e5, ask_e5=bid_e5 + spec.pip_e5, ts_event_ns=at_ns, ts_init_ns=at_ns)

    def _quotes(self):
        dice = self.world.dice("market")
        at_ns, prices = self.world.utc_ns, dict(self._start_e5)
        wild = dice.choice([3, 8, 25])
        while True:
            at_ns += dice.randrange(NS_PER_S // 5, 3 * NS_PER_S)
            symbol = dice.choice(self.symbols)
            move = dice.gauss(0, wild * BASE_E5[symbol] / 112_000) * (
                dice.choice((5, 20)) if dice.random() < 0.01 else 1
            )
            before = prices[symbol]
            prices[symbol] = max(BASE_E5[symbol] // 2, round(before + move))
            self.jump_e5[symbol] = max(self.jump_e5[symbol], abs(prices[symbol] - before) + 30)
            yield self._quote(symbol, prices[symbol], at_ns)

    def _unleash(self, r, *, calm):
        loop = self.network.loop
        if self.losses:
            for number in range(self.losses):
                at = 5 + (STORM_S - 10) * (number + r.random()) / self.losses
                loop.call_later(at, self._strike, r.choice(BREAKING))
            return
        if calm:
            return
        for _ in range(r.choice((0, 1, 3, 6))):
            loop.call_later(r.uniform(3, LASTS_S), self._strike, r.choice(LOUD))
        for _ in range(r.choice((0, 0, 2))):
            loop.call_later(r.uniform(3, LASTS_S), self._pay, r.choice((-5_000, 20_000)))
        for _ in range(r.choice((0, 0, 4))):
            loop.call_later(r.uniform(3, LASTS_S), self._stranger, r.random())
        for _ in range(r.choice((0, 0, 1, 2))):
            loop.call_later(r.uniform(10, LASTS_S), self._operator, HaltLevel(r.randrange(1, 4)), r.random() < 0.5)

    def _strike(self, kind):
        if not self.over:
            longest_s = 2 if self.losses else 12
            again = lambda: self._strike(kind)  # noqa: E731
            strike(self.network, self.dice, kind, again, longest_down_s=longest_s, holds_s=(0.3, 2, 20))

    # --- others on the account ------------------------------------------------------------------------------------

    def _pay(self, amount):
        venue = self.network.endpoint.venue
        self.network.write(self.network.endpoint.send(venue.pay(ACCOUNT, amount, self.world.now_ns), self.world.now_ns))

    def _stranger(self, draw):
        """Somebody by hand: opens, or closes what somebody by hand has opened."""
        if self.over:
            return
        endpoint, now_ns = self.network.endpoint, self.world.now_ns
        venue = endpoint.venue
        number = endpoint.connect(now_ns)
        theirs = [p for p in self._positions() if not p.label.startswith(f"{LABEL}/")]
        tokens = venue.tokens
        access = tokens.issue(now_ns).access
        requests = [
            openapi.ProtoOAApplicationAuthReq(clientId=tokens.client_id, clientSecret=tokens.client_secret),
            openapi.ProtoOAAccountAuthReq(ctidTraderAccountId=ACCOUNT, accessToken=access),
        ]
        if theirs and draw < 0.5:
            held = theirs[int(draw * 100) % len(theirs)]
            volume = self._exchange_position(held).volume_e2
            requests.append(
                openapi.ProtoOAClosePositionReq(ctidTraderAccountId=ACCOUNT, positionId=held.position_id, volume=volume)
            )
        else:
            requests.append(
                openapi.ProtoOANewOrderReq(
                    ctidTraderAccountId=ACCOUNT,
                    symbolId=1,
                    orderType=model.MARKET,
                    volume=200_000,
                    tradeSide=model.BUY if draw * 10 % 2 < 1 else model.SELL,
                    label="by hand",
                )
            )
        for row, request in enumerate(requests):
            frame = encode_frame(encode_envelope(request, f"hand-{number}-{row}"))
            self.network.write(endpoint.data(number, frame, now_ns))
        endpoint.disconnect(number)

    def _operator(self, level, lifts):
        if self.over or self.shell is None:
            return
        self._in_daemon(HaltTrading(level=level, source="web", operator="mo", reason="drill", ts_init_ns=0))
        if lifts:
            resume = ResumeTrading(operator="mo", reason="checked", ts_init_ns=0)
            self.network.loop.call_later(self.dice.uniform(5, 60), self._in_daemon, resume)

    def _in_daemon(self, command):
        shell, process = self.shell, self.process
        if shell is not None and process is not None and not process.ended:
            process.call_soon(shell.tell, command)

    # --- the daemon -----------------------------------------------------------------------------------------------

    async def _daemon(self):
        self.venue = self.shell = None
        clock = self.clock = VirtualClock(self.world, self.dice.choice((0, 0, 30_000_000, -2 * NS_PER_S)))
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
            try:
                return await shell.run(opening)
            finally:
                self.engine.close()
        finally:
            await venue.close()

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
        admitted = [
            ModelAdmitted(model_id=MODEL, kind="forecaster", symbol=symbol, active=True, horizons=HORIZONS,
                          scores=(scores,) * len(HORIZONS), ts_init_ns=now_ns)
            for symbol in self.symbols
        ]  # fmt: skip
        return [started, *admitted]

    async def _ask(self, request):
        """A loud opinion, a pure function of the request, after a while; now and then inference fails."""
        r = Random(f"{self.seed} {request.request_id}")
        await asyncio.sleep(r.choice((0.001, 0.02, 0.4, 2.0)))
        if r.random() < 0.05:
            raise RuntimeError("the model has lost its mind")
        close = request.close_e5[-1]
        swing, scale = math.sin(sum(request.close_e5[-3:])), close / 112_000
        return [
            Forecast(
                request_id=request.request_id, symbol=request.symbol, model_id=MODEL, as_of_ns=request.as_of_ns,
                expires_ns=request.deadline_ns, ts_init_ns=request.as_of_ns,
                horizons=tuple(
                    HorizonForecast(horizon=h, point_e5=close + round(60 * scale * math.sqrt(h) * swing),
                                    sigma_e5=max(1, round(15 * scale * math.sqrt(h))))
                    for h in request.horizons
                ),
            )
        ]  # fmt: skip

    # --- witnesses ------------------------------------------------------------------------------------------------

    def leaves(self, message):
        """A request is about to leave: if it is an order, it must be on the disk, and must not have left before."""
        if isinstance(message, openapi.ProtoOANewOrderReq):
            name = message.clientOrderId
            self.sent[name] += 1
            if self.sent[name] > 1:
                self.problems.append(f"order {name} left {self.sent[name]} times")
            self.tape.wind()
            order = self.tape.orders.get(name)
            if order is None:
                self.problems.append(f"order {name} left before it was durable")
            elif order.intent_id not in self.tape.intents:
                self.problems.append(f"order {name} has no durable intent")
            elif self.clock.now_ns() - order.ts_init_ns > STALE_S * NS_PER_S:
                self.problems.append(f"order {name} left {(self.clock.now_ns() - order.ts_init_ns) / 1e9:.1f} s late")
        elif isinstance(message, openapi.ProtoOAClosePositionReq):
            held = self.network.endpoint.venue.accounts[ACCOUNT].positions.get(message.positionId)
            # On a netted account an order of ours joins somebody's position, and makes it ours.
            if held is not None and self.hedged and not held.label.startswith(f"{LABEL}/"):
                self.problems.append(f"a close of position {message.positionId}, which is not ours, left")

    def _positions(self):
        """Open positions at the venue, as records."""
        account = self.network.endpoint.venue.accounts[ACCOUNT]
        return [record for record in account.positions.values() if self._exchange_position(record) is not None]

    def _exchange_position(self, record):
        account = self.network.endpoint.venue.accounts[ACCOUNT]
        name = next((key for key, each in account._by_exchange.items() if each is record), None)
        return None if name is None else account.broker.held(name)

    def _look(self):
        """Twice a second: protection, flatness after a halt, and the floor under equity."""
        self.network.loop.call_later(0.5, self._look)
        now = self.world.now
        alive = self.process is not None and not self.process.ended
        up = alive and self.venue is not None and self.venue.state is State.UP
        self.up_since = min(self.up_since, now) if up else math.inf
        ours = [record for record in self._positions() if record.label.startswith(f"{LABEL}/")]
        for record in ours:
            if self._exchange_position(record).stop_loss_e5:
                self.naked_since.pop(record.position_id, None)
            else:
                since = self.naked_since.setdefault(record.position_id, now)
                if up and now - max(since, self.up_since) > PROTECTED_S + self.settings.risk.protect_within_s:
                    self.problems.append(f"position {record.position_id} has had no stop for {now - since:.1f} s")

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
        while not (self._is_well() and self._agrees() is None) and world.now < deadline:
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

    def _agrees(self):
        """Book and venue, one beside the other; None = they agree."""
        account = self.network.endpoint.venue.accounts[ACCOUNT]
        book = self.engine.core.book
        theirs, strangers = {}, {}
        for record in self._positions():
            held = self._exchange_position(record)
            key = str(record.position_id)
            if key in book.positions or record.label.startswith(f"{LABEL}/"):
                theirs[key] = (int(held.side), held.volume_e2, held.stop_loss_e5, held.take_profit_e5)
            else:
                strangers[key] = (int(held.side), held.volume_e2)
        ours = {key: (int(p.side), p.volume_e2, p.stop_loss_e5, p.take_profit_e5) for key, p in book.positions.items()}
        if ours != theirs:
            return f"positions: the book has {ours}, the venue {theirs}"
        foreign = {f.subject: (int(f.side), f.volume_e2) for f in book.foreign.values() if f.kind == "position"}
        if foreign != strangers:
            return f"strangers' positions: the book has {foreign}, the venue {strangers}"
        if book.balance != account.broker.balance:
            return f"balance: the book has {book.balance}, the venue {account.broker.balance}"
        resting = {
            o.message().clientOrderId
            for o in account.orders.values()
            if account.broker.resting(str(o.order_id), o.symbol.instrument.symbol) is not None
            and o.label.startswith(f"{LABEL}/")
        }
        waiting = {o.client_order_id for o in book.orders.values() if not o.position_id}
        if resting != waiting:
            return f"resting orders: the book has {waiting}, the venue {resting}"
        return None

    def _halted_in_vain(self):
        """A halt that cancels leaves no entry at rest, one that flattens no position of ours; None = it is so."""
        core = self.engine.core
        resting = [order.client_order_id for order in core.book.orders.values() if not order.position_id]
        if core.halts.level >= HaltLevel.CANCEL_ENTRIES and resting:
            return f"entries rest under a halt: {resting}"
        if core.halts.level >= HaltLevel.FLATTEN and core.book.positions:
            return f"positions are open under a halt: {list(core.book.positions)}"
        return None

    # --- afterwards -----------------------------------------------------------------------------------------------

    def _afterwards(self):
        dark_s = self.network.seen.longest_dark_s
        if dark_s > DARK_S:
            self.problems.append(f"a dead link was held for {dark_s:.1f} s")
        self.losses_seen = self.venue.counters.losses if self.venue is not None else 0
        if not verify(self.folder).intact:
            self.problems.append("the journal's chain is broken")
        again = replay(self.folder)
        if not again.identical:
            self.problems.append(f"replay differs: {again.difference}")
        self._read_journal()
        names = Counter(
            o.message().clientOrderId
            for o in self.network.endpoint.venue.accounts[ACCOUNT].orders.values()
            if o.label.startswith(f"{LABEL}/") and not o.closing
        )
        names.pop("", None)
        twice = [name for name, count in names.items() if count > 1]
        if twice:
            self.problems.append(f"orders at the venue more than once: {twice}")

    def _read_journal(self):
        adherence, halted, orders, bars, deals = Adherence(), False, set(), {}, set()
        digest = hashlib.sha256()
        for record in read(self.folder):
            message = record.message
            adherence.add(record.seq, message)
            digest.update(repr(message).encode())
            match message:
                case HaltLatched():
                    halted = True
                case HaltLifted():
                    halted = False
                case SubmitOrder():
                    if message.intent_id in orders:
                        self.problems.append(f"two orders for intent {message.intent_id}")
                    orders.add(message.intent_id)
                    if halted and not message.position_id:
                        self.problems.append(f"order {message.client_order_id} opens risk while a halt is latched")
                case ReconcileFound():
                    self.problems.append(f"{message.kind} {message.subject}: {message.ours} against {message.theirs}")
                case Bar():
                    bars.setdefault(message.symbol, {})[message.ts_open_ns] = message
                case OrderFilled():
                    deals.add(message.deal_id)
                case _:
                    pass
        self.digest = digest.hexdigest()
        self.bars = bars
        self._bars_without_gap(bars)
        summary = adherence.summary()
        if not summary.conservation.exact:
            self.problems.append(f"money is not conserved: {summary.conservation}")
        self.fills = len(summary.fills)
        ours = {
            str(d.deal_id)
            for d in self.network.endpoint.venue.accounts[ACCOUNT].deals
            if (o := self.network.endpoint.venue.accounts[ACCOUNT].orders.get(d.order_id)) is not None
            and o.message().clientOrderId in self.sent
        }
        lost = ours - {deal.rstrip("+") for deal in deals}
        if lost:
            self.problems.append(f"deals that nobody folded: {sorted(lost)[:5]}")

    def _bars_without_gap(self, bars):
        """Every minute in which the venue had a price, between the first and the last bar, has its bar."""
        venue = self.network.endpoint.venue
        for symbol in self.symbols:
            have = bars.get(symbol, {})
            if not have:
                continue
            tape = venue.market.tapes[venue.catalogue.by_name(symbol).symbol_id]
            first, last = min(have), max(have)
            theirs, _ = tape.bars(1, first, last, limit=100_000)
            missing = [bar.ts_open_ns for bar in theirs if bar.ts_open_ns not in have]
            if missing:
                self.problems.append(f"{symbol}: no bar for {len(missing)} of {len(theirs)} minutes")


def problems_of(seed, folder, patch, **more):
    """What went wrong with one seed; empty = nothing."""
    return Sea(seed, folder, patch, **more).run()
