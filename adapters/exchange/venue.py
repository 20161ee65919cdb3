"""The exchange as a venue: a connection that can be opened, lost and opened again, without I/O and without delay."""

from collections.abc import Sequence

from adapters.contract import Publish
from adapters.exchange.engine import Exchange
from bus.errors import NotSent
from bus.messages import Quote, VenueCommand, VenueFact


class ExchangeVenue:
    """Fulfils `adapters.contract.Venue`. What happens while disconnected is in the next snapshot, and nowhere else."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._publish: Publish | None = None

    def connect(self, publish: Publish, now_ns: int) -> None:
        """See `Venue.connect`."""
        self._publish = publish
        publish(self._exchange.snapshot(now_ns))

    def send(self, command: VenueCommand, now_ns: int) -> None:
        """See `Venue.send`."""
        if self._publish is None:
            raise NotSent(f"not connected to the simulated exchange; {type(command).__name__} stays here")
        self._tell(self._exchange.execute(command, now_ns))

    def request_snapshot(self, now_ns: int) -> None:
        """See `Venue.request_snapshot`."""
        if self._publish is None:
            raise NotSent("not connected to the simulated exchange")
        self._publish(self._exchange.snapshot(now_ns))

    def disconnect(self) -> None:
        """See `Venue.disconnect`."""
        self._publish = None

    def on_quote(self, quote: Quote) -> None:
        """Take a price from a feed: publish it as this venue widens it, then what it caused.

        Raises:
            DataError: an impossible quote.
        """
        facts = self._exchange.on_quote(quote)
        effective = self._exchange.quote(quote.symbol)
        if self._publish is not None and effective is not None:
            self._publish(effective)
        self._tell(facts)

    def advance(self, now_ns: int) -> None:
        """Let time pass, and publish what it brought."""
        self._tell(self._exchange.advance(now_ns))

    def _tell(self, facts: Sequence[VenueFact]) -> None:
        if self._publish is not None:
            for fact in facts:
                self._publish(fact)
