"""A reconnect storm: a `Connection` alone, and fifty faults of every kind in ten virtual minutes.

One process connects, logs an account in, subscribes after every login, and asks all the time: a burst at every login
(what a recovery does), singles and orders in between. It takes another token when its own is refused. Nothing else is
done for it. Faults come at seeded moments; one that needs a socket and finds none waits for the next.
"""

import asyncio
import bisect
import contextlib
import math
from collections import Counter
from random import Random

from adapters.ctrader import events
from adapters.ctrader.codes import NextStep
from adapters.ctrader.connection import Connection, Disconnected, State
from adapters.ctrader.messages import model, openapi
from adapters.ctrader.secret import Secret
from adapters.ctrader.shell import Server
from adapters.ctrader.venue.faults import Fault, Plan
from bus.errors import NotSent, OutcomeUnknown, RateLimited, Refused, SessionLost
from bus.messages import Quote
from bus.values import NS_PER_S
from tests.harness.virtual import World
from tests.harness.virtual_net import Latency, Network, endpoint_of

ACCOUNT = 7
SYMBOL = 1
FAULTS = 50
LASTS_S = 600
FIRST_S = 5
OPENING_S = 2.0
"""More than dialling, application and account login take on these paths."""

_BY_PLAN = (
    "reset_before", "reset_within", "reset_after", "half_open", "truncated", "garbage", "oversize",
    "token_invalidated", "account_disconnect", "silent_logout", "client_disconnect", "maintenance",
)  # fmt: skip
_BY_NETWORK = (
    "reset", "half_open_up", "half_open_both", "silence", "hold", "refused", "unreachable", "close", "break_tls",
    "fail_tls",
)  # fmt: skip
KINDS = (*_BY_PLAN, *_BY_NETWORK)
_STRUCK = ("any", "request", "answer", "heartbeat", "spot", "AccountAuthRes", "ApplicationAuthRes", "VersionReq")


class Brisk(Random):
    """Draws short waits, so that the storm meets an open connection most of the time."""

    def randrange(self, most):
        return super().randrange(min(most, self.choice((NS_PER_S // 5, 4 * NS_PER_S))))


class Watched(Connection):
    """Counts how often each request is settled."""

    def __init__(self, *args, **more):
        super().__init__(*args, **more)
        self.settled, self.accepted = Counter(), []
        accept = self._session.request

        def request(*args, **more):
            number = accept(*args, **more)
            self.accepted.append(number)
            return number

        self._session.request = request

    def _settle(self, event):
        self.settled[event.request] += 1
        super()._settle(event)


def strike(net, dice, kind, again, *, longest_down_s, holds_s):
    """One fault of the network; one that needs a socket and finds none waits for the next.

    Args:
        net: is struck.
        dice: draws how hard.
        kind: of _BY_NETWORK.
        again: called a moment later where there was no socket.
        longest_down_s: of an outage.
        holds_s: how long everything may be held up.
    """
    match kind:
        case "refused" | "unreachable":
            net.go_down(dice.uniform(1, longest_down_s), refuses=kind == "refused", resets=dice.random() < 0.7)
            return
        case "fail_tls":
            net.fail_tls(dice.randint(1, 3))
            net.reset()
            return
        case "half_open_up":
            struck = net.half_open(down=False)
        case "half_open_both":
            struck = net.half_open()
        case "silence":
            struck = net.half_open(up=False)
        case "hold":
            struck = net.hold(dice.choice(holds_s))
        case _:
            struck = getattr(net, kind)()
    if not struck:
        net.loop.call_later(0.1, again)


class Storm:
    """One seed, from beginning to end by `run`.

    Args:
        seed: of everything.
        brisk: reconnect after short waits, so that most faults meet an open connection.
        kinds: of the faults.
        deaths: how often the process is killed, at any point, and started again.
        trace: keep a digest.

    Attributes:
        connections: one a process, the living one last.
        told: what they told, with the moment.
        outcomes: of requests, by name.
        well_after_s: how long after the last fault the account was logged in and prices came; what is open then stays.
    """

    def __init__(self, seed, *, brisk=False, kinds=KINDS, deaths=0, trace=False):
        self.world = World(seed, trace=trace)
        self.dice = self.world.dice("storm")
        moments = sorted(self.dice.uniform(FIRST_S, LASTS_S) for _ in range(FAULTS))
        drawn = [kinds[number % len(kinds)] for number in range(FAULTS)]
        self.dice.shuffle(drawn)
        self.schedule = list(zip(moments, drawn, strict=True))
        plan = Plan(faults=tuple(self._planned(at, kind) for at, kind in self.schedule if kind in _BY_PLAN), seed=seed)
        self.network = Network(
            self.world, endpoint_of(self.world, plan=plan), up=Latency(), down=Latency(slow_pct=1, slow_s=0.2)
        )
        self.deaths = [self.dice.randrange(20, 1_500) for _ in range(deaths)]
        self.connections, self.told, self.outcomes = [], [], Counter()
        self.over, self.ended_at, self.last_spot = False, math.inf, 0.0
        self._backoff = Brisk(f"brisk {seed}") if brisk else self.world.dice("backoff")
        self._grant = self.network.endpoint.venue.tokens.issue(self.world.now_ns)

    # --- faults ---------------------------------------------------------------------------------------------------

    def _planned(self, at, kind):
        on = self.dice.choice(_STRUCK)
        if kind in {"half_open", "truncated", "garbage", "oversize"}:
            on = self.dice.choice(("any", "answer", "spot"))
        return Fault(kind=kind, on=on, at_s=at, for_s=self.dice.uniform(1, 20))

    def _unleash(self):
        for at, kind in self.schedule:
            if kind in _BY_NETWORK:
                self.network.loop.call_later(at, self._strike, kind)

    def _strike(self, kind):
        if not self.over:
            strike(self.network, self.dice, kind, lambda: self._strike(kind), longest_down_s=8, holds_s=(0.3, 2, 40))

    # --- the client -----------------------------------------------------------------------------------------------

    async def client(self):
        """The process."""
        tokens = self.network.endpoint.venue.tokens
        self._asked_enough, self._tasks, self._refreshing = asyncio.Event(), set(), None
        connection = Watched(
            Server("venue", 5035), tokens.client_id, Secret(tokens.client_secret), on_event=self._on_event,
            dice=self._backoff, dialler=self.network.dialler, prefix=f"run{len(self.connections)}",
        )  # fmt: skip
        self.connections.append(connection)
        await self._start(connection)
        try:
            while not self._asked_enough.is_set():
                self._ask(self.dice.choice((_version, _trader, _trader, _reconcile, _deals, _order)))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._asked_enough.wait(), self.dice.uniform(0.2, 4))
            while self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            await connection.close()

    async def _start(self, connection):
        """The first connection is not made again by itself; a service manager would do that."""
        while True:
            try:
                await connection.start()
                break
            except (SessionLost, Refused):
                await asyncio.sleep(5)
        with contextlib.suppress(NotSent, SessionLost, Refused):
            await connection.login(ACCOUNT, Secret(self._grant.access))

    def _on_event(self, event):
        self.told.append((self.world.now, event))
        match event:
            case events.AccountAuthorised():
                self._ask(_subscribe)
                for _ in range(60 if self.dice.random() < 0.3 else 5):
                    self._ask(_trader)
                for _ in range(8):
                    self._ask(_deals)
            case events.Pushed(message=openapi.ProtoOASpotEvent()):
                self.last_spot = self.world.now
            case events.AccountLost(next_step=NextStep.REFRESH_TOKEN) if self._refreshing is None:
                self._refreshing = asyncio.create_task(self._refresh())
            case _:
                pass

    def _ask(self, make):
        task = asyncio.create_task(self._outcome(make()))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _outcome(self, message):
        try:
            await self.connections[-1].request(message)
            self.outcomes["answered"] += 1
        except (NotSent, Refused, RateLimited, OutcomeUnknown, SessionLost) as error:
            self.outcomes[type(error).__name__] += 1

    async def _refresh(self):
        """Another token, however often it takes."""
        while True:
            try:
                status, reply = await self.network.token_request({
                    "grant_type": "refresh_token", "refresh_token": self._grant.refresh,
                    "client_id": self.network.endpoint.venue.tokens.client_id,
                    "client_secret": self.network.endpoint.venue.tokens.client_secret,
                })  # fmt: skip
                break
            except ConnectionError:
                await asyncio.sleep(1)
        assert status == 200, reply
        self._refreshing = None
        with contextlib.suppress(NotSent, SessionLost, Refused):  # it is logged in as soon as it can be
            await self.connections[-1].login(ACCOUNT, Secret(reply["accessToken"]))

    # --- from beginning to end ------------------------------------------------------------------------------------

    def run(self):
        """The storm, the calm after it, and the end in good order; returns itself."""
        with self.world as world:
            self._unleash()
            self.network.feed(_quotes(world))
            process, deaths, end = None, list(self.deaths), world.now + LASTS_S
            while world.now < end:
                if process is None or process.killed:
                    process = world.start(self.client(), name="client", kill_at=deaths.pop() if deaths else 0)
                world.sleep(min(3, end - world.now))
            self.over, self.ended_at = True, world.now
            process.watch()
            self.network.mend()
            if process.killed:
                process = world.start(self.client(), name="client")
            world.until(self._is_well, within_s=75 + 60)
            self.well_after_s = world.now - self.ended_at
            world.sleep(1)
            assert self._is_well()
            process.call_soon(self._asked_enough.set)
            world.run(process, within_s=120)
        return self

    @property
    def losses(self):
        """How often a connection that stood was lost during the storm, or could not be made again."""
        return sum(isinstance(event, Disconnected) and at <= self.ended_at for at, event in self.told)

    def _is_well(self):
        connection = self.connections[-1]
        logged_in = connection.state is State.OPEN and connection._session.is_logged_in(ACCOUNT)
        return logged_in and self.last_spot > self.ended_at + 1  # what comes earlier may come from a socket that ends

    def most_attempts_in_an_hour(self):
        """Dials in the busiest hour."""
        dials = self.network.seen.dials
        return max(bisect.bisect_left(dials, at + 3_600) - number for number, at in enumerate(dials))


def _quotes(world):
    at_ns, bid = world.utc_ns, 112_000
    dice = world.dice("market")
    while True:
        at_ns += dice.randrange(NS_PER_S // 5, 2 * NS_PER_S)
        bid += dice.randint(-3, 3)
        yield Quote(symbol="EURUSD", bid_e5=bid, ask_e5=bid + 8, ts_event_ns=at_ns, ts_init_ns=at_ns)


def _version():
    return openapi.ProtoOAVersionReq()


def _trader():
    return openapi.ProtoOATraderReq(ctidTraderAccountId=ACCOUNT)


def _reconcile():
    return openapi.ProtoOAReconcileReq(ctidTraderAccountId=ACCOUNT)


def _deals():
    return openapi.ProtoOADealListReq(ctidTraderAccountId=ACCOUNT, fromTimestamp=0, toTimestamp=1)


def _subscribe():
    return openapi.ProtoOASubscribeSpotsReq(ctidTraderAccountId=ACCOUNT, symbolId=[SYMBOL])


def _order():
    return openapi.ProtoOANewOrderReq(
        ctidTraderAccountId=ACCOUNT, symbolId=SYMBOL, orderType=model.MARKET, tradeSide=model.BUY, volume=100_000
    )
