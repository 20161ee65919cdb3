"""The bus as a port: what any transport must promise. `memory` and `nats` fulfil it; one contract suite tests both."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import msgspec

from bus.messages import AnyMessage, ForecastRequested

AnswerRequest = Callable[[ForecastRequested], Awaitable[Sequence[AnyMessage]]]
"""A forecast server: takes one request, gives forecasts, patterns and misses."""


class BusCounters(msgspec.Struct):
    """What happened on a bus since it opened.

    `delivered` counts what readers took; `passed_over` the quotes that a newer one replaced, before sending or before
    reading; `overruns` the subscriptions ended because facts piled up unread; `malformed` the frames dropped.
    """

    published: int = 0
    delivered: int = 0
    passed_over: int = 0
    requests: int = 0
    requests_late: int = 0
    malformed: int = 0
    reconnects: int = 0
    requests_unavailable: int = 0
    overruns: int = 0


class Subscription(Protocol):
    """A reader. Iterate it (``async for message in subscription``); it ends when closed.

    Facts arrive complete and in the order of publication. Quotes arrive newest first wins: of several waiting for one
    symbol only the last is delivered, and ``passed_over`` counts the others.
    """

    passed_over: int

    def __aiter__(self) -> "Subscription":
        """Itself."""
        ...

    async def __anext__(self) -> AnyMessage:
        """The next message; ends the iteration when the subscription is closed and empty."""
        ...

    async def close(self) -> None:
        """Stop receiving. What already waits can still be read."""
        ...


class Bus(Protocol):
    """Publish, subscribe, and one round trip: forecasts."""

    counters: BusCounters

    def publish(self, message: AnyMessage) -> None:
        """Hand a message over. Never blocks and never waits for a reader; order per publisher is kept.

        Raises:
            NotSent: the bus is closed, or facts pile up beyond the stated limit because the transport is down.
        """
        ...

    async def flush(self) -> None:
        """Wait until everything published so far has been handed to the transport (acknowledged, for facts)."""
        ...

    async def subscribe(self, *topics: str) -> Subscription:
        """Read topics (names of ``bus.topics.TOPICS``) from now on. Returns once the subscription is in force.

        Raises:
            ValueError: an unknown topic.
        """
        ...

    async def serve_forecasts(self, answer: AnswerRequest) -> Subscription:
        """Answer forecast requests until the returned subscription is closed (it yields nothing).

        A handler that raises answers with one ``ForecastMissed`` of reason ``error``.
        """
        ...

    async def ask_forecast(self, request: ForecastRequested, timeout_s: float) -> Sequence[AnyMessage]:
        """Send one request and wait for its answer.

        Returns:
            What the server answered, or a single ``ForecastMissed`` (reason ``late`` or ``unavailable``), counted.
        """
        ...

    async def close(self) -> None:
        """Flush, then close every subscription and connection. Safe to call twice."""
        ...
