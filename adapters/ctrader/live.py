"""One account at the broker, kept connected: fulfils `adapters.contract.Venue` on the running event loop.

Theory of operation. `connection` keeps a socket, `account` folds what is told, `prices` has quotes, `dispatch` sends
commands; this module is the life around them.

    DOWN      --account logged in-->   RECOVERING   catalogue, subscriptions, reconcile, missed bars
    RECOVERING --all of it done-->     UP           `LinkChanged(up)`; commands may leave
    RECOVERING --link or login lost--> DOWN         begun again by the next login
    UP        --link or login lost-->  DOWN         `LinkChanged(down)`; nothing leaves, nothing is kept for later

There is one way in, at the start, after a crash and after every loss. While recovering, quotes are held back (the
newest of each symbol; in recorded time all of them), so that what the core hears is: what it missed, how things stand,
the bars it missed, that the link is up, and then prices.

Pushes are hints, snapshots and history are the truth: whenever the account says that something does not fit, and every
POLL_S besides, deals, orders, cash and positions are read again. A poll that is not answered means that the link is
dead, whatever its socket says. A symbol that is silent in its hours is subscribed anew.

Nothing here decides about trading, and nothing is retried that could have an effect twice. It is one life with one
state, and therefore one file, though past 400 lines.
"""

import asyncio
import enum
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import msgspec

from adapters.contract import Publish
from adapters.ctrader import connection, events
from adapters.ctrader.account import Account, Told
from adapters.ctrader.catalogue import Catalogue, Terms, read_catalogue
from adapters.ctrader.catchup import CatchUp, pause_s
from adapters.ctrader.connection import Connection, Disconnected
from adapters.ctrader.depth import Level
from adapters.ctrader.dispatch import Dispatcher
from adapters.ctrader.messages import openapi
from adapters.ctrader.orders import Holder
from adapters.ctrader.prices import Prices
from adapters.ctrader.signin import SignIn, Tokens
from adapters.ctrader.symbols import Specification
from bus.clock import Clock, ManualClock
from bus.errors import BrokerError, ConfigError, DataError, NotSent, RateLimited, Refused, SessionLost, TradingError
from bus.messages import Bar, LinkChanged, SubmitOrder, VenueCommand
from bus.values import NS_PER_S

POLL_S = 20
ANSWER_S = 10
"""A poll that takes longer than this means that the link is dead."""
NO_ANSWER = "NO_ANSWER"


class State(enum.Enum):
    """State of the way to the account."""

    DOWN = "down"
    RECOVERING = "recovering"
    UP = "up"


class Counters(msgspec.Struct):
    """What happened on the way."""

    impossible: int = 0
    recoveries: int = 0
    polls: int = 0
    losses: int = 0


BarsSince = Callable[[str], int]
"""UTC nanoseconds from which on bars of a symbol are wanted; 0 = none."""


class LiveVenue:
    """See the module's theory of operation."""

    def __init__(
        self,
        connect: Callable[[Callable[[events.Event | Disconnected], None]], Connection],
        tokens: Tokens,
        *,
        account_id: int,
        symbols: Sequence[str],
        period_ns: int,
        clock: Clock,
        label: str = "plimsoll",
        adopt: bool = False,
        depth: bool = False,
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Prepare; nothing is opened.

        Args:
            connect: makes the connection, given who is to be told its events.
            tokens: access tokens for the account.
            account_id: ctidTraderAccountId.
            symbols: our names of what is traded.
            period_ns: length of the bars that a loss may have missed; a length that the broker has.
            clock: stamps everything; a `ManualClock` is moved on by the prices' own times (recorded time).
            label: marks our orders; two daemons on one account need two.
            adopt: whether everything on the account counts as ours.
            depth: whether the depth of every symbol is asked for, to be looked at.
            note: takes one line for a person, about what went wrong and passes.
        """
        self.state = State.DOWN
        self.counters = Counters()
        self.bars_since: BarsSince = lambda _: 0
        self._connection = connect(self._on_event)
        self._sign_in = SignIn(self._connection, tokens, account_id, note)
        self.prices = Prices(self._connection.request, account_id, clock, note, depth=depth)
        self._account_id = account_id
        self._symbols = tuple(symbols)
        self._period_ns = period_ns
        self._clock = clock
        self._recorded_time = clock if isinstance(clock, ManualClock) else None
        self._holder = Holder(account_id=account_id, label=label)
        self._adopt = adopt
        self._note = note
        self._publish: Publish | None = None
        self._catalogue: Catalogue | None = None
        self._by_name: dict[str, Specification] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._recovering: asyncio.Task[None] | None = None
        self._settling: asyncio.Task[None] | None = None

    # --- opening -----------------------------------------------------------------------------------------------

    async def open(self) -> Terms:
        """Connect and log in, waiting for a server that is away; give the terms of the account. Nothing is published.

        Raises:
            ConfigError: a symbol, the authority's file or the stored tokens are wrong.
            Refused: the broker does not know the application or the account.
        """
        self._loop = asyncio.get_running_loop()
        for attempt in range(1_000_000):
            try:
                if self._connection.state is connection.State.IDLE:
                    await self._connection.start()
                await self._sign_in.first()
                catalogue = await read_catalogue(self._connection.request, self._account_id, self._symbols)
            except Refused as refused:
                if refused.code != NO_ANSWER:
                    raise
                await self._connection.drop(f"the login had no answer: {refused}")
                continue
            except (SessionLost, NotSent, RateLimited) as error:
                await self._drop_if_silent(error)
                self._note(f"the broker cannot be reached ({error}); trying again in {pause_s(attempt):g} s")
                await asyncio.sleep(pause_s(attempt))
                continue
            self._take(catalogue)
            return catalogue.terms
        raise SessionLost("the broker cannot be reached")

    async def _drop_if_silent(self, error: Exception) -> None:
        """A request that only reads and has no answer, on a link that stands: it only seems to."""
        if isinstance(error, SessionLost):
            await self._connection.drop(str(error))

    def _take(self, catalogue: Catalogue) -> None:
        """Use a catalogue; account and prices keep reading from the same tables."""
        first = self._catalogue is None
        self._catalogue = catalogue
        self.prices.know(catalogue.specifications)
        self._by_name = {each.instrument.symbol: each for each in self.prices.specifications.values()}
        if not first:
            self.account.valuation.chains.update(catalogue.chains)
            return
        terms = catalogue.terms
        self._holder = msgspec.structs.replace(self._holder, hedged=terms.hedged, limited_risk=terms.limited_risk)
        self.account = Account(
            self._holder, self.prices.specifications, self.prices.newest, currency=terms.currency, adopt=self._adopt
        )
        self.account.valuation.chains.update(catalogue.chains)
        self._catch_up = CatchUp(self._connection.request, self.account, self._account_id, self._clock)
        self._dispatch = Dispatcher(
            self._connection,
            self.account,
            self._holder,
            self._by_name_now,
            tell=self._tell,
            now_ns=self._clock.now_ns,
        )

    def _by_name_now(self, symbol: str) -> Specification | None:
        return self._by_name.get(symbol)

    # --- the contract ------------------------------------------------------------------------------------------

    def connect(self, publish: Publish, now_ns: int) -> None:
        """See `Venue.connect`. `open` comes first; a journal's messages go to `account.resume` before this."""
        del now_ns
        self._publish = publish
        self._catch_up.begun = self._catch_up.begun or self.account.resumed
        self._spawn(self._poll())
        self._spawn(self._sign_in.keep_fresh())
        self._recover()

    def send(self, command: VenueCommand, now_ns: int) -> None:
        """See `Venue.send`. The bytes are written when this returns.

        Raises:
            NotSent: the link is not up; nothing left this machine.
        """
        del now_ns
        if self.state is not State.UP or self._publish is None:
            raise NotSent(f"the way to account {self._account_id} is {self.state.value}; nothing is kept for later")
        if isinstance(command, SubmitOrder) and self.account.knows(command.client_order_id):
            return
        self._dispatch.send(command)
        self._settle_if_needed()

    def request_snapshot(self, now_ns: int) -> None:
        """See `Venue.request_snapshot`."""
        del now_ns
        if self.state is not State.UP or self._publish is None:
            raise NotSent(f"the way to account {self._account_id} is {self.state.value}")
        self._settle()

    def caught_up(self) -> None:
        """All that was told has been dealt with: a venue that plays step by step may go on (`venue --pace step`)."""
        if self._recorded_time is not None:
            self._connection.beat()

    def disconnect(self) -> None:
        """See `Venue.disconnect`; the socket is closed by `close`."""
        self._publish = None
        self.state = State.DOWN
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        """End everything; safe to call at any time and twice."""
        self.disconnect()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._connection.close()

    def depth(self) -> dict[str, tuple[tuple[Level, ...], tuple[Level, ...]]]:
        """The best bids and offers of the symbols whose depth is asked for, to be looked at; see `depth.Ladder`."""
        return self.prices.depths()

    @property
    def settled(self) -> bool:
        """Whether nothing is under way: up, no request of ours unanswered, nothing missed."""
        return self.state is State.UP and not self._dispatch.in_flight and not self.account.needs_recovery

    # --- what the connection tells -----------------------------------------------------------------------------

    def _on_event(self, event: events.Event | Disconnected) -> None:
        match event:
            case events.Pushed(message=message, answered=answered):
                self._on_message(message, answered)
            case Disconnected(reason=reason, retry_in_ns=retry_in_ns):
                self.counters.losses += 1
                self._down(f"connection lost: {reason}; trying again in {retry_in_ns / NS_PER_S:.1f} s")
            case events.AccountAuthorised():
                self._recover()
            case events.AccountLost(code=code, text=text, next_step=step):
                self._down(f"account {self._account_id} is logged out: {code} {text}".rstrip())
                if code == NO_ANSWER:
                    self._spawn(self._connection.drop("the login had no answer"))
                self._spawn(self._sign_in.again(step))
            case events.NotUnderstood(fields=fields):
                self._note(f"the broker sent values that this version does not know ({', '.join(fields)})")
                self._settle()
            case _:
                pass

    def _on_message(self, message: Any, answered: int) -> None:
        name = message.DESCRIPTOR.name
        if name == "ProtoOASpotEvent":
            self._on_spot(message)
            return
        if getattr(message, "ctidTraderAccountId", self._account_id) != self._account_id or self._catalogue is None:
            return
        if name in _BOOKED:
            if self._catch_up.begun:
                self._fold(message, answered)
            else:
                self._catch_up.early.append((message, answered))
        elif name == "ProtoOADepthEvent" and self.prices.depth is not None:
            self.prices.depth.hear(message)
        elif name == "ProtoOATraderUpdatedEvent":
            self._settle()
        elif name == "ProtoOASymbolChangedEvent":
            self._spawn(self._refresh_catalogue())
        elif name == "ProtoOAMarginCallTriggerEvent":
            self._note("the broker calls margin: see the account")

    def _fold(self, message: Any, answered: int) -> None:
        now_ns = self._clock.now_ns()
        try:
            match message.DESCRIPTOR.name:
                case "ProtoOAExecutionEvent":
                    name = self._dispatch.answering(message, answered)
                    told = self.account.execution(message, now_ns, name)
                case "ProtoOAOrderErrorEvent":
                    told = self.account.order_error(message, None, now_ns)
                case "ProtoOAMarginChangedEvent":
                    self.account.margin_changed(message)
                    told = []
                case _:
                    told = self.account.trailing_moved(message, now_ns)
        except DataError as error:
            self.counters.impossible += 1
            self._note(f"an event of the broker cannot be ({error}); reading the account again")
            self._settle()
            return
        self._tell(told)
        self._settle_if_needed()

    def _on_spot(self, message: Any) -> None:
        quote = self.prices.hear(message)
        if quote is None or self._publish is None:
            return
        if self.state is State.UP:
            self._publish(quote)
        else:
            self.prices.hold(quote)

    # --- recovery ----------------------------------------------------------------------------------------------

    def _down(self, reason: str) -> None:
        was_up = self.state is State.UP
        self.state = State.DOWN
        for task in (self._recovering, self._settling):
            if task is not None:
                task.cancel()
        self.prices.forget()
        self._note(reason)
        if was_up and self._publish is not None:
            self._publish(LinkChanged(up=False, reason=reason, ts_init_ns=self._clock.now_ns()))

    def _recover(self) -> None:
        """The account is logged in: begin the one way up. Before `connect` nobody wants to know."""
        if self._publish is None or self._catalogue is None:
            return
        for task in (self._recovering, self._settling):
            if task is not None:
                task.cancel()
        self.state = State.RECOVERING
        self._recovering = self._spawn(self._come_up())

    async def _come_up(self) -> None:
        attempt = 0
        while True:
            try:
                await self._once_up()
            except (SessionLost, NotSent) as error:
                if self.state is State.DOWN:
                    return  # the next login begins again
                await self._drop_if_silent(error)
                reason = str(error)
            except (BrokerError, DataError, ConfigError) as error:
                reason = str(error)
            else:
                return
            self._note(f"recovery is not through ({reason}); again in {pause_s(attempt):g} s")
            await asyncio.sleep(pause_s(attempt))
            attempt += 1

    async def _once_up(self) -> None:
        self.counters.recoveries += 1
        first = not self._catch_up.begun
        self._take(await read_catalogue(self._connection.request, self._account_id, self._symbols))
        reconcile = self._catch_up.reconcile
        if first and self._recorded_time is not None:
            # Recorded time stands still until somebody subscribes, and begins where the bars of history end.
            bars = await self._missed_bars()
            await reconcile(self._tell, self._fold)
            self._publish_all(bars)
            await self.prices.subscribe(self.prices.specifications)
        else:
            await self.prices.subscribe(self.prices.specifications)
            await self.prices.know_the_time()
            await reconcile(self._tell, self._fold)
            self._publish_all(await self._missed_bars())
        self._ready()

    def _ready(self) -> None:
        publish = self._publish
        if publish is None:
            return
        self.state = State.UP
        publish(LinkChanged(up=True, reason="reconciled and subscribed", ts_init_ns=self._clock.now_ns()))
        for quote in self.prices.release():
            publish(quote)
        self._settle_if_needed()

    async def _missed_bars(self) -> list[Bar]:
        bars: list[Bar] = []
        for name in self._symbols:
            since_ns = self.bars_since(name)
            if since_ns and name in self._by_name:
                bars += await self._catch_up.bars(self._by_name[name], self._period_ns, since_ns)
        return bars

    def _publish_all(self, messages: Sequence[Bar]) -> None:
        for message in messages:
            if self._publish is not None:
                self._publish(message)

    # --- while up ----------------------------------------------------------------------------------------------

    def _settle_if_needed(self) -> None:
        if self.account.needs_recovery and self.state is State.UP:
            self._settle()

    def _settle(self) -> None:
        """Read the account again, once at a time, while trading goes on."""
        if self.state is State.UP and (self._settling is None or self._settling.done()):
            self._settling = self._spawn(self._settle_now())

    async def _settle_now(self) -> None:
        try:
            await self._catch_up.reconcile(self._tell, self._fold)
        except (BrokerError, DataError) as error:
            self._note(f"the account could not be read ({error}); the next poll tries again")

    async def _poll(self) -> None:
        """Look whether pushes kept their promise, the link is alive and every symbol speaks."""
        while True:
            await asyncio.sleep(POLL_S)
            if self.state is not State.UP or self._publish is None:
                continue
            self.counters.polls += 1
            try:
                async with asyncio.timeout(ANSWER_S):
                    await self._connection.request(openapi.ProtoOAVersionReq())
            except TimeoutError:
                await self._connection.drop(f"no answer within {ANSWER_S} s")
                continue
            except BrokerError:
                continue
            if self._settling is None or self._settling.done():
                self._settling = self._spawn(self._read_again())
            await self.prices.wake_silent()

    async def _read_again(self) -> None:
        try:
            await self._catch_up.reconcile(self._tell, self._fold, routine=True)
        except (BrokerError, DataError) as error:
            self._note(f"the account could not be read ({error}); the next poll tries again")

    async def _refresh_catalogue(self) -> None:
        try:
            self._take(await read_catalogue(self._connection.request, self._account_id, self._symbols))
        except TradingError as error:
            self._note(f"the changed symbols could not be read ({error}); the next connection reads them")

    # --- telling -----------------------------------------------------------------------------------------------

    def _tell(self, told: Sequence[Told]) -> None:
        publish = self._publish
        if publish is not None:
            for message in told:
                publish(message)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._loop.call_exception_handler({"message": "the broker's adapter failed", "exception": error})


_BOOKED = frozenset(
    {
        "ProtoOAExecutionEvent",
        "ProtoOAMarginChangedEvent",
        "ProtoOAOrderErrorEvent",
        "ProtoOATrailingSLChangedEvent",
    }
)
