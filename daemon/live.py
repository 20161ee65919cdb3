"""The live shell: a broker's connection, timers, inference and operators around the one core. Demo and live alike.

Theory of operation. Everything that happens is put into the inbox and taken from there by one pump, which runs on the
event loop as soon as something waits: numbered, journalled, decided, made durable, and only then sent, all before the
loop turns to anything else. The pump never waits. Forecasts are asked for and come back like everything else. A command
that could not leave (`NotSent`) is told to the core as rejected; nothing is ever kept to be sent later.

Time is the clock's. A `ClockTick` comes every second, half a second after the whole one, so that a bar closes when its
last quotes have had time to arrive. In recorded time (a venue that plays recorded prices) the prices tell the time: the
end of a bar is told before the first price beyond it, every price counts and nothing else moves the clock. Forecasts
arrive `model_latency_ns` after the end of their bar, and prices later than that wait for them, as in a paper day. The
venue is told whenever all is dealt with, so that one that plays step by step waits for decisions and fills.

How an earlier process's journal is taken up is `takeup`'s affair. Pump, clock and ending are one loop, and therefore
one file, though past 400 lines.

A journal that cannot be written ends the run, but not before entries are cancelled and positions closed, as far as
`risk.loss_halt_level` says and for ADRIFT_S at most (`Engine.go_adrift`).
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

import msgspec
import numpy as np

from adapters.contract import Publish
from adapters.history import SpreadModel
from bus.clock import Clock, ManualClock
from bus.errors import InvariantBroken, NotSent
from bus.messages import (
    AccountSnapshot,
    AmendProtection,
    AnyMessage,
    Bar,
    ClockTick,
    ForecastMissed,
    ForecastRequested,
    HaltLevel,
    OrderAccepted,
    OrderRejected,
    Quote,
    RunEnded,
    SubmitOrder,
    VenueCommand,
)
from bus.values import NS_PER_MS, NS_PER_S
from daemon.answers import Answer, AskForecast, as_written
from daemon.engine import Engine
from daemon.inbox import Inbox
from daemon.surroundings import OnBreath, OutsideCommand
from models.bars import REQUEST_BARS
from risk.orders import OrderStatus, remember

_BREATH_S = 0.04
"""How often others get their turn, the kill switch among them: what is in the file is in force within 100 ms."""
_TICK_S = 1.0
_TICK_OFFSET_S = 0.5
_LOOK_AGAIN_S = 0.001
_LAST_LOOK_S = 10.0
"""How long a stop waits for a last snapshot, and for positions to close where they are to be closed."""
ADRIFT_S = 60.0
"""How long a run without a journal goes on at most, to cancel and to close once the venue can be reached."""


class LiveVenue(Protocol):
    """What the shell needs of an adapter beyond `adapters.contract.Venue`; `adapters.ctrader.live` has it."""

    bars_since: Callable[[str], int]

    @property
    def settled(self) -> bool:
        """Whether nothing is under way between us and the venue."""
        ...

    def connect(self, publish: Publish, now_ns: int) -> None:
        """See `Venue.connect`."""
        ...

    def send(self, command: VenueCommand, now_ns: int) -> None:
        """See `Venue.send`."""
        ...

    def request_snapshot(self, now_ns: int) -> None:
        """See `Venue.request_snapshot`."""
        ...

    def caught_up(self) -> None:
        """All that was told has been dealt with; only a venue in recorded time wants to know."""
        ...


class LiveShell:
    """Runs a core on a live connection until somebody stops it."""

    def __init__(
        self,
        *,
        engine: Engine,
        venue: LiveVenue,
        ask: AskForecast,
        clock: Clock,
        period_ns: int,
        spread_of: Callable[[str], SpreadModel],
        flatten_on_stop: bool = False,
        model_latency_ns: int = 0,
    ) -> None:
        """Put the shell together; nothing happens yet.

        Args:
            engine: core and journal; a journal with records has been gone through by `recover`.
            venue: open, and not connected.
            ask: one forecast request to its answers.
            clock: what stamps everything; a `ManualClock` means recorded time.
            period_ns: length of a bar.
            spread_of: the spread of bars from history, which have bid prices only.
            flatten_on_stop: close everything when stopped; otherwise positions keep their stops at the broker.
            model_latency_ns: in recorded time, how long after the end of its bar a forecast arrives.
        """
        self.engine = engine
        self.venue = venue
        self.inbox = Inbox()
        self.on_breath: OnBreath | None = None
        self.on_adrift: Callable[[HaltLevel, str], None] | None = None
        self._ask = ask
        self._clock = clock
        self._recorded_time = isinstance(clock, ManualClock)
        self._period_ns = period_ns
        self._spread_of = spread_of
        self._flatten_on_stop = flatten_on_stop
        self._in_order: deque[AnyMessage] = deque()
        self._answers: deque[Answer] = deque()
        self._model_latency_ns = model_latency_ns
        self._answers_due_ns = 0
        self._boundary_ns = 0
        self._pumping = False
        self._stop_reason = ""
        self._stopping = asyncio.Event()
        self._snapshots = 0
        self._asked = 0
        self._prices = 0
        self._left_ns: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._broken: asyncio.Future[None] = self._loop.create_future()

    # --- from outside ------------------------------------------------------------------------------------------

    def stop(self, reason: str) -> None:
        """Stop in good order."""
        self._stop_reason = self._stop_reason or reason
        self._stopping.set()

    def tell(self, command: OutsideCommand) -> None:
        """Pass a command from outside to the core, now."""
        self.put(msgspec.structs.replace(command, ts_init_ns=self._clock.now_ns()))

    def put(self, message: AnyMessage) -> None:
        """Take anything that may enter the core; it enters before the loop turns to anything else."""
        if self._recorded_time:
            self._in_order.append(message)
        else:
            try:
                self.inbox.put(message)
            except InvariantBroken as error:  # whoever told us must not have to deal with that
                self._break(error)
        self._wake()

    def _wake(self) -> None:
        if not self._pumping:
            self._pumping = True
            self._loop.call_soon(self._pump)

    # --- the run -----------------------------------------------------------------------------------------------

    async def run(self, opening: Sequence[AnyMessage]) -> str:
        """Feed the opening messages, connect, and go on until stopped.

        Args:
            opening: `RunStarted` and the `ModelAdmitted` messages of a fresh run; what to say first of a resumed one.

        Returns:
            The reason given to `stop`.

        Raises:
            InvariantBroken: the books contradict themselves.
            OSError: the journal cannot be written.
        """
        for message in opening:
            self.put(message)
        self.venue.bars_since = self._bars_since
        self.venue.connect(self.put, self._clock.now_ns())
        self._spawn(self._tick())
        self._spawn(self._breathe())
        try:
            await self._until(self._stopping.wait())
            await self._wind_down()
        finally:
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)
        return self._stop_reason

    async def _wind_down(self) -> None:
        """Take nothing new, close what is to be closed, wait for what is under way, hold the book against the venue."""
        now_ns = self._clock.now_ns()
        self.put(RunEnded(reason=self._stop_reason, flatten=self._flatten_on_stop, ts_init_ns=now_ns))
        await self._until(self._condition(lambda: not self._pumping))
        await self._until(self._condition(self._at_rest))
        seen = self._snapshots
        try:
            self.venue.request_snapshot(self._clock.now_ns())
        except NotSent:
            return  # the next start holds the book against the venue first
        await self._until(self._condition(lambda: self._snapshots > seen))

    def _at_rest(self) -> bool:
        """Whether no answer is awaited, and, where all is to be closed, nothing is open."""
        if self._flatten_on_stop and (self._book.positions or self._book.orders):
            return False
        waiting = any(each.status is not OrderStatus.ACCEPTED or each.cancelling for each in self._book.orders.values())
        return self.venue.settled and not waiting

    async def _condition(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds, but not for ever."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_LOOK_S):
                while not holds():  # noqa: ASYNC110 (what it waits for has many causes and no event of its own)
                    await asyncio.sleep(0.02)

    async def _until(self, work: Coroutine[Any, Any, Any]) -> None:
        """Wait for something, unless the core or the journal breaks before."""
        task = asyncio.ensure_future(work)
        await asyncio.wait((task, self._broken), return_when=asyncio.FIRST_COMPLETED)
        task.cancel()
        if self._broken.done():
            self._broken.result()

    @property
    def _book(self) -> Any:
        return self.engine.core.book

    # --- the pump ----------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        try:
            while (message := self._next()) is not None:
                self._enter(message)
        except BaseException as error:  # noqa: BLE001 (whatever it is, the run ends by it)
            self._break(error)
            return  # broken for good: nothing enters any more
        self._pumping = False
        if self._recorded_time:
            self._catch_up()

    def _catch_up(self) -> None:
        """After a price, tell the venue once no forecast is awaited and nothing of ours is unanswered."""
        if self._pumping or not self._prices or self._broken.done():
            return
        if self._asked or self._in_order or not self.venue.settled:
            self._loop.call_later(_LOOK_AGAIN_S, self._catch_up)
        else:
            self._prices = 0
            self.venue.caught_up()

    def _next(self) -> AnyMessage | None:
        if not self._recorded_time:
            return self.inbox.take()
        if self._answers:
            return self._answers.popleft()
        if not self._in_order:
            return None
        first = self._in_order[0]
        if isinstance(first, Quote):
            self._end_bar_before(first.ts_init_ns)
            if self._asked and first.ts_init_ns > self._answers_due_ns:
                return None  # time waits for inference
        return self._in_order.popleft()

    def _enter(self, message: AnyMessage) -> None:
        if isinstance(message, Quote):
            self._prices += 1
        elif isinstance(message, Bar):
            if self.engine.core.now_ns < self._clock.now_ns():
                self._step(ClockTick(ts_init_ns=self._clock.now_ns()))
            message = self._with_spread(message)
        elif isinstance(message, OrderAccepted | OrderRejected):
            left_ns = self._left_ns.pop(message.client_order_id, 0)
            if left_ns:
                message = msgspec.structs.replace(message, ts_sent_ns=left_ns)
        elif isinstance(message, AccountSnapshot):
            self._snapshots += 1
        self._step(message)

    def _end_bar_before(self, now_ns: int) -> None:
        """In recorded time a price beyond the end of a bar is the first that anybody hears of that end."""
        boundary_ns = self._boundary_ns
        self._boundary_ns = now_ns - now_ns % self._period_ns + self._period_ns
        if 0 < boundary_ns <= now_ns:
            self._answers_due_ns = boundary_ns + self._model_latency_ns
            self._step(ClockTick(ts_init_ns=boundary_ns))

    def _with_spread(self, bar: Bar) -> Bar:
        if bar.spread_e5:
            return bar
        moment = np.asarray([bar.ts_close_ns - NS_PER_MS], np.int64)
        spread_e5 = self._spread_of(bar.symbol).spread_e5(moment, np.asarray([bar.high_e5 - bar.low_e5], np.int64))
        return msgspec.structs.replace(bar, spread_e5=int(spread_e5[0]))

    def _step(self, message: AnyMessage) -> None:
        try:
            leaving = self.engine.step(message)
        except OSError as error:
            leaving = self._go_adrift(error)
        for each in leaving:
            if isinstance(each, ForecastRequested):
                self._asked += 1
                self._spawn(self._answer(each))
            else:
                self._send(each)

    def _go_adrift(self, error: OSError) -> Sequence[VenueCommand]:
        """The journal cannot be written: nothing new is risked, what is at risk is closed, and then the run ends."""
        if self.engine.recovering:
            raise error
        level = HaltLevel(self.engine.core.settings.risk.loss_halt_level)
        leaving = self.engine.go_adrift(error, level)
        self._spawn(self._drift(level, error))
        if self.on_adrift is not None:
            self.on_adrift(level, f"the journal cannot be written: {error}")
        return leaving

    async def _drift(self, level: HaltLevel, error: OSError) -> None:
        def at_rest() -> bool:
            resting = level >= HaltLevel.CANCEL_ENTRIES and any(not o.position_id for o in self._book.orders.values())
            return not resting and not (level >= HaltLevel.FLATTEN and self._book.positions)

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ADRIFT_S):
                while not at_rest():  # noqa: ASYNC110 (see `_condition`)
                    await asyncio.sleep(0.02)
        self._break(error)

    def _send(self, command: VenueCommand) -> None:
        """Hand on what is durable already; what cannot leave is told as rejected."""
        now_ns = self._clock.now_ns()
        try:
            self.venue.send(command, now_ns)
            if isinstance(command, SubmitOrder):
                remember(self._left_ns, command.client_order_id, self._clock.now_ns())
        except NotSent as error:
            amending = isinstance(command, AmendProtection)
            self.put(
                OrderRejected(
                    client_order_id="" if amending else command.client_order_id,
                    symbol=command.symbol,
                    code="NOT_SENT",
                    text=f"{command.position_id}: {error}" if amending else str(error),
                    ts_event_ns=now_ns,
                    ts_init_ns=now_ns,
                )
            )

    # --- forecasts ---------------------------------------------------------------------------------------------

    async def _answer(self, request: ForecastRequested) -> None:
        try:
            answers = await self._ask(request)
        except Exception as error:  # noqa: BLE001 (a failing inference costs its forecast, not the run)
            answers = [_missed(request, f"{type(error).__name__}: {error}")]
        for answer in answers:
            if not isinstance(answer, Answer):
                raise InvariantBroken(f"inference answered {request.request_id} with a {type(answer).__name__}")
            if self._recorded_time:
                self._answers.append(as_written(msgspec.structs.replace(answer, ts_init_ns=self._answers_due_ns)))
            else:
                self.put(as_written(msgspec.structs.replace(answer, ts_init_ns=self._clock.now_ns())))
        self._asked -= 1
        self._wake()

    # --- time --------------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        last_ns = 0
        while True:
            now_s = self._clock.now_ns() / NS_PER_S if not self._recorded_time else self._loop.time()
            await asyncio.sleep(_TICK_S - (now_s - _TICK_OFFSET_S) % _TICK_S)
            now_ns = self._clock.now_ns()
            if now_ns > last_ns:  # recorded time may stand still
                last_ns = now_ns
                self.put(ClockTick(ts_init_ns=now_ns))

    async def _breathe(self) -> None:
        while True:
            if self.on_breath is not None:
                self.on_breath(waiting=True)
            await asyncio.sleep(_BREATH_S)

    def _bars_since(self, symbol: str) -> int:
        """From where on bars are missing: a window's length, weekends included, before the first one is known."""
        last_ns = self.engine.core.last_bar_ns(symbol)
        if last_ns > 0:
            return last_ns + 1
        return max(1, self._clock.now_ns() - 2 * REQUEST_BARS * self._period_ns - 4 * 86_400 * NS_PER_S)

    # --- tasks -------------------------------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._break(error)

    def _break(self, error: BaseException) -> None:
        """End the run by an error: crash-only, the next start recovers."""
        if not self._broken.done():
            self._broken.set_exception(error)

    def failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """For `loop.set_exception_handler`: an error that nobody caught ends the run, everything else is logged."""
        error = context.get("exception")
        if isinstance(error, Exception) and "never retrieved" not in context.get("message", ""):
            self._break(error)
        else:
            loop.default_exception_handler(context)


def _missed(request: ForecastRequested, detail: str) -> ForecastMissed:
    return ForecastMissed(
        request_id=request.request_id,
        symbol=request.symbol,
        model_id="",
        reason="error",
        detail=detail[:200],
        ts_init_ns=request.as_of_ns,
    )
