"""What every transport shares: the reader's two-lane mailbox, and how a forecast handler is held to its promise.

Theory of operation. A mailbox keeps one queue. A fact takes a place of its own. A quote takes a place only where no
quote of its symbol waits already; otherwise it replaces the waiting one *in that one's place*, and is counted. So a
reader that keeps up sees exactly the order of publication; one that is behind sees every fact, in order, and the newest
quote a symbol; and a symbol quoted without pause can neither starve another nor be starved. A putter never waits.

Facts are never dropped, and memory is finite, so there is a limit: a reader with ``LARGEST_BACKLOG`` facts unread is
broken. Its mailbox ends: it takes nothing more, and its reader gets ``Overrun`` after what already waits. Nobody else
notices.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from bus.errors import TradingError
from bus.messages import AnyMessage, ForecastMissed, ForecastRequested, Quote
from bus.port import AnswerRequest, BusCounters
from bus.topics import TOPICS

LARGEST_BACKLOG = 65_536
"""Facts, and symbols with a quote, that may wait in one mailbox: minutes of the busiest day, some tens of MB."""


class Overrun(TradingError):
    """A reader lost facts it should have had. Subscribe again, and rebuild from the journal what was built on them."""


class Mailbox:
    """One reader's subscription. Belongs to one event loop; one reader at a time.

    Args:
        counters: the bus's, to add to.
        on_close: called once when the mailbox takes no more, whoever ended it.
        largest_backlog: facts that may wait unread.
    """

    def __init__(
        self, counters: BusCounters, on_close: Callable[["Mailbox"], None], *, largest_backlog: int = LARGEST_BACKLOG
    ) -> None:
        self.passed_over = 0
        self._counters = counters
        self._on_close = on_close
        self._largest = largest_backlog
        # A place holds a fact, or the symbol of a quote kept in `_newest`.
        self._places: deque[AnyMessage | str] = deque()
        self._newest: dict[str, Quote] = {}
        self._waiting: asyncio.Future[None] | None = None
        self._closed = False
        self._failure: TradingError | None = None

    def __len__(self) -> int:
        """Messages that wait to be read."""
        return len(self._places)

    def put_fact(self, message: AnyMessage) -> None:
        """Add a fact, or end the subscription where too many wait."""
        if self._closed:
            return
        if len(self._places) - len(self._newest) >= self._largest:
            self._counters.overruns += 1
            self.fail(Overrun(f"a reader left {self._largest} facts unread and is cut off; subscribe again"))
            return
        self._places.append(message)
        self._wake()

    def put_quote(self, quote: Quote) -> None:
        """Add a quote, or replace the one of its symbol that waits."""
        if self._closed:
            return
        symbol = quote.symbol
        if symbol in self._newest:
            self._pass_over()
        elif len(self._newest) >= self._largest:
            self._pass_over()
            return
        else:
            self._places.append(symbol)
        self._newest[symbol] = quote
        self._wake()

    def fail(self, failure: TradingError) -> None:
        """Take no more, and raise a failure to the reader after what already waits."""
        if not self._closed:
            self._failure = failure
            self.end()

    def end(self) -> None:
        """Take no more. What waits can still be read. Safe to call twice."""
        if not self._closed:
            self._closed = True
            self._on_close(self)
            self._wake()

    def __aiter__(self) -> "Mailbox":
        """Itself."""
        return self

    async def __anext__(self) -> AnyMessage:
        """The next message.

        Raises:
            StopAsyncIteration: the subscription is closed and empty.
            Overrun: facts were lost to this reader; raised once, after what was still complete.
        """
        while not self._places:
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure
            if self._closed:
                raise StopAsyncIteration
            if self._waiting is not None and not self._waiting.done():
                raise RuntimeError("a subscription has one reader at a time")
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None
        place = self._places.popleft()
        self._counters.delivered += 1
        return self._newest.pop(place) if isinstance(place, str) else place

    async def close(self) -> None:
        """Stop receiving. What already waits can still be read."""
        self.end()

    def _pass_over(self) -> None:
        self.passed_over += 1
        self._counters.passed_over += 1

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


def check_topics(topics: Sequence[str]) -> frozenset[str]:
    """The topics of a subscription.

    Raises:
        ValueError: an unknown topic, or none at all.
    """
    for topic in topics:
        if topic not in TOPICS:
            raise ValueError(f"no topic {topic!r}; there are {', '.join(TOPICS)}")
    if not topics:
        raise ValueError(f"no topic to read; there are {', '.join(TOPICS)}")
    return frozenset(topics)


def missed(request: ForecastRequested, reason: str, detail: str) -> ForecastMissed:
    """The one answer where no model was reached. Its time is the request's: a bus has no clock."""
    return ForecastMissed(
        request_id=request.request_id,
        symbol=request.symbol,
        model_id="",
        reason=reason,
        detail=detail,
        ts_init_ns=request.as_of_ns,
    )


def late(request: ForecastRequested, timeout_s: float) -> ForecastMissed:
    """Nobody answered in time."""
    return missed(request, "late", f"no answer within {timeout_s:g} s")


async def guarded(answer: AnswerRequest, request: ForecastRequested) -> Sequence[AnyMessage]:
    """A handler's answer, or a ``ForecastMissed`` of reason ``error`` where it raises."""
    try:
        return await answer(request)
    except Exception as error:  # noqa: BLE001  whatever a handler raises must cost its own forecast only
        return [missed(request, "error", f"{type(error).__name__}: {error}")]
