"""The inbox: where everything that may enter the core waits, in two lanes.

Theory of operation. Facts and commands wait in order of arrival and are never dropped; quotes conflate: of several
waiting for one symbol the newest wins and the ones passed over are counted, because acting on an old price is worse
than not having seen it. Facts go first. What `take` gives is numbered by the journal in that order, and that number,
not any timestamp, is the order of events from then on.
"""

from collections import deque

import msgspec

from bus.errors import InvariantBroken
from bus.messages import AnyMessage, Quote

LARGEST_FACTS_WAITING = 100_000
"""More waiting facts than this means that the core stands still; carrying on would only grow memory."""


class InboxCounters(msgspec.Struct):
    """What passed through an inbox."""

    facts: int = 0
    quotes: int = 0
    quotes_passed_over: int = 0
    facts_waiting_peak: int = 0


class Inbox:
    """Two lanes into the core. Not thread-safe: one event loop puts and takes."""

    def __init__(self, *, largest_facts_waiting: int = LARGEST_FACTS_WAITING) -> None:
        self.counters = InboxCounters()
        self._facts: deque[AnyMessage] = deque()
        self._quotes: dict[str, Quote] = {}
        self._largest = largest_facts_waiting

    def __len__(self) -> int:
        """Messages waiting in both lanes."""
        return len(self._facts) + len(self._quotes)

    def put(self, message: AnyMessage) -> None:
        """Add a message to its lane.

        Raises:
            InvariantBroken: more facts wait than the limit allows.
        """
        counters = self.counters
        if type(message) is Quote:
            # Taken out first, so that a conflated quote also takes the place of its newest arrival.
            if self._quotes.pop(message.symbol, None) is not None:
                counters.quotes_passed_over += 1
            self._quotes[message.symbol] = message
            return
        self._facts.append(message)
        waiting = len(self._facts)
        if waiting > counters.facts_waiting_peak:
            counters.facts_waiting_peak = waiting
            if waiting > self._largest:
                raise InvariantBroken(f"{waiting} facts wait for the core; it does not keep up")

    def take(self) -> AnyMessage | None:
        """The next message for the core: the oldest fact, else the quote that waits longest, else None."""
        if self._facts:
            self.counters.facts += 1
            return self._facts.popleft()
        if self._quotes:
            self.counters.quotes += 1
            return self._quotes.pop(next(iter(self._quotes)))
        return None
