"""The paper shell: recorded quotes, a simulated exchange and simulated time around the one core.

Theory of operation. A discrete-event loop. What happens next is the earliest of: the end of a bar period (a
`ClockTick`), a delivery on its way (an answer, a command travelling to the exchange, a fact travelling back), the next
recorded quote; at the same nanosecond in that order. Simulated time moves only because an event was taken. A forecast
that was asked for holds the clock until it is answered, then arrives `model_latency_ns` later; commands take
`order_latency_ns` to the exchange and facts `fact_latency_ns` back. Pace decides only how long the loop sleeps between
events, so a run is the same at any pace and with inference in any process.

Recovery is the same loop: the engine goes through the journal while the loop runs from the beginning and rebuilds the
exchange and everything that was on its way; answers are taken from the journal. Where the journal ends, life goes on.

Loop, deliveries, recovery and pace stand in one file of more than 400 lines, because the order of what they do to the
clock and to the deliveries is the whole point.
"""

import asyncio
import heapq
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import msgspec

from bus.errors import DataError, InvariantBroken
from bus.messages import (
    AccountSnapshot,
    AnyMessage,
    ClockTick,
    ForecastRequested,
    Quote,
    RunEnded,
    RunResumed,
    VenueCommand,
    VenueFact,
)
from bus.values import NS_PER_S
from daemon.answers import Answer, AskForecast, as_written
from daemon.engine import COMMANDS, FROM_OUTSIDE, Engine
from daemon.inbox import Inbox
from daemon.journal import INPUT, Record
from daemon.surroundings import OnBreath, OutsideCommand

_BREATHE_S = 0.02
"""How long the loop may run without letting the web page, the view and signals have their turn."""


NS_PER_MINUTE = 60 * NS_PER_S
_LAST_ROUNDS = 120
"""How often a position that did not close at the end of the data is tried again, a minute apart."""


class _Stopped(Exception):  # no error: somebody wants to stop while a forecast is awaited
    """Unwinds the loop."""


class SimulatedVenue(Protocol):
    """What the shell needs of an exchange; see adapters.exchange."""

    def on_quote(self, quote: Quote) -> Sequence[VenueFact]:
        """Take a new price and match what it triggers."""
        ...

    def advance(self, now_ns: int) -> Sequence[VenueFact]:
        """Do what time alone brings: expiries and swaps."""
        ...

    def execute(self, command: VenueCommand, now_ns: int) -> Sequence[VenueFact]:
        """Carry out a command that arrives now."""
        ...

    def quote(self, symbol: str) -> Quote | None:
        """The price it trades at: the quote it was given, with its own spread."""
        ...

    def snapshot(self, now_ns: int) -> AccountSnapshot:
        """All that the account holds."""
        ...


class Latencies(msgspec.Struct, frozen=True, kw_only=True):
    """Simulated delays, in nanoseconds."""

    model_latency_ns: int = 20_000_000
    order_latency_ns: int = 50_000_000
    fact_latency_ns: int = 25_000_000


class PaperShell:
    """Runs one paper day. Give it what happens, ask it to `run`."""

    def __init__(
        self,
        *,
        engine: Engine,
        venue: SimulatedVenue,
        quotes: Iterable[Quote],
        ask: AskForecast,
        period_ns: int,
        latencies: Latencies,
        speed: float | None = None,
        recorded: Sequence[Record] = (),
    ) -> None:
        """Put the shell together; nothing happens yet.

        Args:
            engine: core and journal, perhaps with records to go through again.
            venue: the simulated exchange, fresh.
            quotes: in order of time.
            ask: one forecast request to its answers.
            period_ns: length of a bar.
            latencies: simulated delays.
            speed: simulated seconds a second; None = as fast as it goes.
            recorded: the journal's records, where there is one, for the answers in it.
        """
        self.engine = engine
        self.venue = venue
        self.inbox = Inbox()
        self.now_ns = 0
        self.quotes_done = 0
        self.on_breath: OnBreath | None = None
        self._quotes: Iterator[Quote] = iter(quotes)
        self._ask = ask
        self._period_ns = period_ns
        self._latencies = latencies
        self._speed = speed
        self._heap: list[tuple[int, int, AnyMessage]] = []
        self._pushed = 0
        self._venue_traffic = 0
        self._boundary_ns = 0
        self._stop_reason = ""
        self._stop = asyncio.Event()
        self._last_quotes: dict[str, Quote] = {}
        self._outside: list[OutsideCommand] = []
        self._answers, self._last_answered = _recorded_answers(recorded)
        self._reconcile = False
        self._anchor: tuple[float, int] | None = None
        self._breath_at = 0.0

    # --- from outside ------------------------------------------------------------------------------------------

    def stop(self, reason: str) -> None:
        """Stop in good order at the next event: nothing more is fed in, positions keep their stops at the venue."""
        self._stop_reason = self._stop_reason or reason
        self._stop.set()

    def tell(self, command: OutsideCommand) -> None:
        """Pass a command from outside to the core at the next event, stamped with simulated time."""
        self._outside.append(command)

    # --- the loop ----------------------------------------------------------------------------------------------

    async def run(self, opening: Sequence[AnyMessage]) -> str:
        """Feed the opening messages, then everything that happens.

        Args:
            opening: RunStarted and the ModelAdmitted messages. The account's snapshot follows by itself.

        Returns:
            ``end of data``, or the reason given to `stop`.
        """
        try:
            return await self._run(opening)
        except _Stopped:
            if not self.engine.recovering:
                await self._feed(RunEnded(reason=self._stop_reason, flatten=False, ts_init_ns=self.now_ns))
            return self._stop_reason

    async def _run(self, opening: Sequence[AnyMessage]) -> str:
        resumed = self.engine.recovering
        quote = next(self._quotes, None)
        self.now_ns = quote.ts_init_ns if quote else 0
        for message in opening:
            await self._feed(message)
        await self._feed(self.venue.snapshot(self.now_ns))
        while True:
            if self._heap and self._heap[0][0] <= self.now_ns:
                await self._deliver()
                continue
            # What comes from outside comes between two moments, so that a recovery finds the place again.
            if self.engine.recovering:
                await self._outside_as_recorded()
            if not self.engine.recovering:
                if resumed:
                    resumed = False
                    await self._feed(RunResumed(reason="continued", ts_init_ns=self.now_ns))
                    self._reconcile = True
                await self._outside_world()
                if self._stop.is_set():
                    await self._feed(RunEnded(reason=self._stop_reason, flatten=False, ts_init_ns=self.now_ns))
                    return self._stop_reason
                if self._heap and self._heap[0][0] <= self.now_ns:
                    continue
            if quote is None:
                break
            due_ns = min(quote.ts_init_ns, self._boundary_ns or quote.ts_init_ns)
            if self._heap and self._heap[0][0] < due_ns:
                due_ns = self._heap[0][0]
            if not await self._wait_until(due_ns):
                continue
            if self._boundary_ns and self._boundary_ns <= due_ns:
                self.now_ns = max(self.now_ns, self._boundary_ns)
                self._boundary_ns = 0
                await self._feed(ClockTick(ts_init_ns=self.now_ns))
            elif self._heap and self._heap[0][0] <= due_ns:
                await self._deliver()
            else:
                await self._on_quote(quote)
                quote = next(self._quotes, None)
        await self._finish()
        return "end of data"

    async def _on_quote(self, quote: Quote) -> None:
        self.now_ns = quote.ts_init_ns
        self.quotes_done += 1
        facts = self.venue.advance(quote.ts_init_ns)
        if facts:
            self._send_back(facts)
        try:
            facts = self.venue.on_quote(quote)
        except DataError:
            # No market trades at such a price. The core is told, counts it and takes no risk on it.
            await self._feed(quote)
            return
        self._last_quotes[quote.symbol] = quote
        if facts:
            self._send_back(facts)
        await self._feed(self.venue.quote(quote.symbol) or quote)
        self._boundary_ns = quote.ts_event_ns - quote.ts_event_ns % self._period_ns + self._period_ns

    async def _finish(self) -> None:
        """The data is over, which is no event of any market: what is open is closed at the last quotes.

        At once where the venue takes it; what it refuses, or has no volume for, is tried again while the last quotes
        stand still, and stays open where nothing helps (a closed market).
        """
        self._latencies = Latencies(model_latency_ns=0, order_latency_ns=0, fact_latency_ns=0)
        await self._feed(RunEnded(reason="end of data", flatten=True, ts_init_ns=self.now_ns))
        await self._drain()
        if self._boundary_ns:
            self.now_ns = max(self.now_ns, self._boundary_ns)
            await self._feed(ClockTick(ts_init_ns=self._boundary_ns))
            await self._drain()
        for _ in range(_LAST_ROUNDS):
            open_symbols = dict.fromkeys(position.symbol for position in self.venue.snapshot(self.now_ns).positions)
            if not open_symbols:
                return
            self.now_ns += NS_PER_MINUTE
            for symbol in open_symbols:
                again = msgspec.structs.replace(self._last_quotes[symbol], ts_init_ns=self.now_ns)
                self._send_back(self.venue.on_quote(again))
            await self._feed(ClockTick(ts_init_ns=self.now_ns))
            await self._drain()

    async def _drain(self) -> None:
        """Whatever is still on its way arrives now: no later price can change what becomes of it."""
        while self._heap:
            await self._arrive(heapq.heappop(self._heap)[2])

    async def _outside_world(self) -> None:
        while self._outside:
            command = self._outside.pop(0)
            await self._feed(msgspec.structs.replace(command, ts_init_ns=self.now_ns))
        # The book and the venue can be compared only while nothing is on its way between them.
        if self._reconcile and self._venue_traffic == 0:
            self._reconcile = False
            await self._feed(self.venue.snapshot(self.now_ns))

    async def _deliver(self) -> None:
        due_ns, _, message = heapq.heappop(self._heap)
        self.now_ns = max(self.now_ns, due_ns)
        await self._arrive(message)

    async def _arrive(self, message: AnyMessage) -> None:
        if isinstance(message, COMMANDS):
            self._venue_traffic -= 1
            self._send_back(self.venue.advance(self.now_ns))
            self._send_back(self.venue.execute(message, self.now_ns))
            return
        if not isinstance(message, Answer):
            self._venue_traffic -= 1
        await self._feed(message)

    def _send_back(self, facts: Sequence[VenueFact]) -> None:
        for fact in facts:
            arrival_ns = self.now_ns + self._latencies.fact_latency_ns
            self._push(arrival_ns, msgspec.structs.replace(fact, ts_init_ns=arrival_ns))
            self._venue_traffic += 1

    def _push(self, due_ns: int, message: AnyMessage) -> None:
        self._pushed += 1
        heapq.heappush(self._heap, (due_ns, self._pushed, message))

    # --- through the core --------------------------------------------------------------------------------------

    async def _feed(self, message: AnyMessage) -> None:
        self.inbox.put(message)
        while (entering := self.inbox.take()) is not None:
            leaving = self.engine.step(entering)
            if leaving:
                await self._carry_out(leaving)
        now = time.monotonic()
        if now - self._breath_at > _BREATHE_S:
            self._breath_at = now
            if self.on_breath is not None:
                self.on_breath(waiting=False)
            await asyncio.sleep(0)

    async def _outside_as_recorded(self) -> None:
        """While recovering: what people did, and what earlier resumptions fed, stands in the journal alone.

        Commands follow from what people did, and their way to the venue begins at this moment; so it must be the
        moment at which they did it, not merely the same place in the journal.
        """
        while (recorded := self.engine.next_recorded()) is not None:
            noted = isinstance(recorded, RunResumed | AccountSnapshot)
            noted = noted or (isinstance(recorded, RunEnded) and not recorded.flatten)
            done_now = isinstance(recorded, FROM_OUTSIDE) and recorded.ts_init_ns == self.now_ns
            if not noted and not done_now:
                return
            leaving = self.engine.step(recorded)
            if leaving:
                await self._carry_out(leaving)

    async def _carry_out(self, leaving: Sequence[VenueCommand | ForecastRequested]) -> None:
        requests: list[ForecastRequested] = []
        for each in leaving:
            if isinstance(each, ForecastRequested):
                requests.append(each)
            else:
                self._push(self.now_ns + self._latencies.order_latency_ns, each)
                self._venue_traffic += 1
        if requests:
            arrival_ns = self.now_ns + self._latencies.model_latency_ns
            asking = asyncio.gather(*(self._answer(request, arrival_ns) for request in requests))
            for answers in await self._unless_stopped(asking):
                for answer in answers:
                    self._push(arrival_ns, answer)

    async def _unless_stopped(self, asking: "asyncio.Future[list[Sequence[Answer]]]") -> list[Sequence[Answer]]:
        """Wait for answers, unless a stop is wanted: what was not answered is asked again when the run resumes."""
        stopping = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait((asking, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if asking.done():
            return asking.result()
        asking.cancel()
        raise _Stopped

    async def _answer(self, request: ForecastRequested, arrival_ns: int) -> Sequence[Answer]:
        """Answers to a request, stamped with their simulated arrival; from the journal where it has them."""
        recorded = self._answers.pop(request.request_id, None)
        if recorded is not None and request.request_id != self._last_answered:
            return recorded
        answers = await self._ask(request)
        stamped: list[Answer] = []
        for answer in answers:
            if not isinstance(answer, Answer):
                raise InvariantBroken(f"inference answered {request.request_id} with a {type(answer).__name__}")
            stamped.append(as_written(msgspec.structs.replace(answer, ts_init_ns=arrival_ns)))
        # The crash may have come between two answers to this request. If inference says now what it said then, all
        # of it counts; if not (it was late then), what was recorded stands.
        if recorded is not None and stamped[: len(recorded)] != list(recorded):
            return recorded
        return stamped

    # --- pace --------------------------------------------------------------------------------------------------

    async def _wait_until(self, due_ns: int) -> bool:
        """Sleep until simulated time has come; False where a stop or a command came first."""
        if self._speed is None or self.engine.recovering:
            return True
        now = time.monotonic()
        if self._anchor is None:
            self._anchor = (now, self.now_ns)
        wall, simulated_ns = self._anchor
        delay_s = wall + (due_ns - simulated_ns) / NS_PER_S / self._speed - now
        if delay_s <= 0:
            return True
        if self.on_breath is not None:
            self.on_breath(waiting=True)
        try:
            await asyncio.wait_for(self._stop.wait(), timeout=min(delay_s, 0.5))
        except TimeoutError:
            return delay_s <= 0.5 and not self._outside
        return False


def _recorded_answers(records: Sequence[Record]) -> tuple[dict[str, list[Answer]], str]:
    """Answers in a journal by request, and the request answered last."""
    answers: dict[str, list[Answer]] = {}
    last = ""
    for record in records:
        if record.kind == INPUT and isinstance(record.message, Answer):
            answers.setdefault(record.message.request_id, []).append(record.message)
            last = record.message.request_id
    return answers, last
