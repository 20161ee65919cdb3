"""What waits to be sent over a transport that may be slow or away: facts and quotes, each in its own lane. No I/O.

Theory of operation. A fact gets a number and is kept until it is acknowledged: first in the queue, then among at most
``WINDOW`` that are on their way. `requeue` puts everything on its way back to the front of the queue, in order, and
the receiver drops by number what it already has. So facts are told completely and in order however often a
connection breaks. A quote replaces the waiting one of its symbol and is forgotten once taken.
"""

import asyncio
from collections import deque
from typing import NamedTuple

from bus.errors import NotSent
from bus.messages import Quote
from bus.port import BusCounters

LARGEST_FACTS_UNSENT = 100_000
LARGEST_BYTES_UNSENT = 64 * 1024 * 1024
LARGEST_SYMBOLS_UNSENT = 65_536
WINDOW = 256


class Fact(NamedTuple):
    """One outgoing fact, encoded."""

    number: int
    subject: str
    payload: bytes


class OutgoingFacts:
    """Facts until they are acknowledged.

    Args:
        largest_facts: beyond so many unacknowledged, `put` refuses.
        largest_bytes: likewise, of payload.

    Attributes:
        wake: set when there may be something to send.
        acknowledged: how many were, for noticing that none is.
    """

    def __init__(self, *, largest_facts: int = LARGEST_FACTS_UNSENT, largest_bytes: int = LARGEST_BYTES_UNSENT) -> None:
        self.wake = asyncio.Event()
        self.acknowledged = 0
        self._largest_facts = largest_facts
        self._largest_bytes = largest_bytes
        self._number = 0
        self._bytes = 0
        self._queue: deque[Fact] = deque()
        self._on_the_way: dict[int, Fact] = {}
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()

    def __len__(self) -> int:
        """Facts not acknowledged yet."""
        return len(self._queue) + len(self._on_the_way)

    @property
    def on_the_way(self) -> int:
        """Facts sent and not acknowledged yet."""
        return len(self._on_the_way)

    def put(self, subject: str, payload: bytes) -> None:
        """Take a fact.

        Raises:
            NotSent: too many facts or bytes wait.
        """
        if len(self) >= self._largest_facts or self._bytes + len(payload) > self._largest_bytes:
            raise NotSent(
                f"{len(self)} facts ({self._bytes} bytes) wait for the bus already; "
                f"at most {self._largest_facts} ({self._largest_bytes} bytes)"
            )
        self._number += 1
        self._bytes += len(payload)
        self._queue.append(Fact(self._number, subject, payload))
        self.wake.set()

    def take(self) -> Fact | None:
        """The next fact to send, or None where nothing waits or ``WINDOW`` are on their way."""
        if not self._queue or len(self._on_the_way) >= WINDOW:
            return None
        fact = self._queue.popleft()
        self._on_the_way[fact.number] = fact
        return fact

    def requeue(self) -> None:
        """Send again, in order, whatever is on its way."""
        self._queue.extendleft(reversed(self._on_the_way.values()))
        self._on_the_way.clear()
        self.wake.set()

    def acknowledge(self, number: int) -> None:
        """The receiver holds a fact. One that is not on its way is ignored: it was acknowledged, or is sent again."""
        fact = self._on_the_way.pop(number, None)
        if fact is None:
            return
        self._bytes -= len(fact.payload)
        self.acknowledged += 1
        while self._waiters and self._waiters[0][0] < self._oldest():
            self._settle(self._waiters.popleft()[1])
        self.wake.set()

    async def drained(self) -> None:
        """Wait until everything taken so far is acknowledged.

        Raises:
            NotSent: `give_up` came first.
        """
        if len(self):
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append((self._number, done))
            await done

    def give_up(self) -> None:
        """Nothing will be sent any more."""
        for _, done in self._waiters:
            if not done.done():
                done.set_exception(NotSent("the bus was closed before its facts were acknowledged"))
        self._waiters.clear()

    def _oldest(self) -> int:
        """Number of the oldest fact that is not acknowledged, or the next to be given."""
        if self._on_the_way:
            first = next(iter(self._on_the_way))
            return min(first, self._queue[0].number) if self._queue else first
        return self._queue[0].number if self._queue else self._number + 1

    @staticmethod
    def _settle(done: asyncio.Future[None]) -> None:
        if not done.done():
            done.set_result(None)


class OutgoingQuotes:
    """The newest unsent quote of each symbol.

    Attributes:
        wake: set when there is something to send.
        sent: set while nothing waits.
    """

    def __init__(self, counters: BusCounters) -> None:
        self.wake = asyncio.Event()
        self.sent = asyncio.Event()
        self.sent.set()
        self._counters = counters
        self._newest: dict[str, Quote] = {}

    def put(self, quote: Quote) -> None:
        """Take a quote; one of its symbol that waits is passed over and counted."""
        newest = self._newest
        if quote.symbol in newest:
            self._counters.passed_over += 1
        elif len(newest) >= LARGEST_SYMBOLS_UNSENT:
            self._counters.passed_over += 1
            return
        newest[quote.symbol] = quote
        self.wake.set()
        self.sent.clear()

    def take(self) -> Quote | None:
        """The quote of the symbol that has waited longest, or None."""
        if not self._newest:
            self.wake.clear()
            return None
        return self._newest.pop(next(iter(self._newest)))
