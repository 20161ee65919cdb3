"""The bus inside one process.

Theory of operation. A table maps each message type to the mailboxes that read it, already bound to their lane, so
publishing is one look-up and one call a reader, and costs next to nothing where nobody reads. Nothing is encoded:
messages are immutable and shared. Forecast servers take turns. Everything belongs to one event loop; other threads
must enter it first (``loop.call_soon_threadsafe``).
"""

import asyncio
from collections.abc import Callable, Sequence

from bus.errors import NotSent
from bus.mailbox import LARGEST_BACKLOG, Mailbox, check_topics, guarded, late, missed
from bus.messages import AnyMessage, ForecastRequested
from bus.port import AnswerRequest, BusCounters, Subscription
from bus.topics import LANE_OF, TOPIC_OF, Lane

_Put = Callable[..., None]


class MemoryBus:
    """``bus.port.Bus`` in one process.

    Args:
        largest_backlog: facts a reader may leave unread; beyond, its subscription ends with ``bus.mailbox.Overrun``.
    """

    def __init__(self, *, largest_backlog: int = LARGEST_BACKLOG) -> None:
        self.counters = BusCounters()
        self._largest = largest_backlog
        self._topics_of: dict[Mailbox, frozenset[str]] = {}
        self._routes: dict[type[AnyMessage], tuple[_Put, ...]] = {}
        self._servers: dict[Mailbox, AnswerRequest] = {}
        self._turn = 0
        self._closed = False
        self._reroute()

    def publish(self, message: AnyMessage) -> None:
        """Hand a message to every reader of its topic.

        Raises:
            NotSent: the bus is closed.
        """
        if self._closed:
            raise NotSent("the bus is closed")
        for put in self._routes[type(message)]:
            put(message)
        self.counters.published += 1

    async def flush(self) -> None:
        """Nothing to wait for: a published message already lies in its readers' mailboxes."""

    async def subscribe(self, *topics: str) -> Subscription:
        """Read topics from now on.

        Raises:
            ValueError: an unknown topic, or none.
            NotSent: the bus is closed.
        """
        wanted = check_topics(topics)
        self._check_open()
        mailbox = Mailbox(self.counters, self._forget, largest_backlog=self._largest)
        self._topics_of[mailbox] = wanted
        self._reroute()
        return mailbox

    async def serve_forecasts(self, answer: AnswerRequest) -> Subscription:
        """Answer forecast requests until the returned subscription is closed.

        Raises:
            NotSent: the bus is closed.
        """
        self._check_open()
        mailbox = Mailbox(self.counters, self._forget)
        self._servers[mailbox] = answer
        return mailbox

    async def ask_forecast(self, request: ForecastRequested, timeout_s: float) -> Sequence[AnyMessage]:
        """Ask the server whose turn it is; its answer, or one ``ForecastMissed``. Late, the handler is cancelled."""
        self.counters.requests += 1
        servers = list(self._servers.values())
        if not servers:
            self.counters.requests_unavailable += 1
            return [missed(request, "unavailable", "nobody serves forecasts on this bus")]
        self._turn += 1
        try:
            return await asyncio.wait_for(guarded(servers[self._turn % len(servers)], request), timeout_s)
        except TimeoutError:
            self.counters.requests_late += 1
            return [late(request, timeout_s)]

    async def close(self) -> None:
        """Close every subscription; what waits in them can still be read. Safe to call twice."""
        self._closed = True
        for mailbox in [*self._topics_of, *self._servers]:
            mailbox.end()

    def _check_open(self) -> None:
        if self._closed:
            raise NotSent("the bus is closed")

    def _forget(self, mailbox: Mailbox) -> None:
        self._servers.pop(mailbox, None)
        if self._topics_of.pop(mailbox, None) is not None:
            self._reroute()

    def _reroute(self) -> None:
        self._routes = {
            kind: tuple(
                mailbox.put_quote if LANE_OF[kind] is Lane.QUOTES else mailbox.put_fact
                for mailbox, topics in self._topics_of.items()
                if topic in topics
            )
            for kind, topic in TOPIC_OF.items()
        }
