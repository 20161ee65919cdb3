"""Depth of market: what is bid and offered at which price, to be looked at. Nothing here reaches the trading core.

Theory of operation. The broker tells a book by quotes with ids: new ones, and ids that are gone. `Ladder` applies an
event as a whole, what is gone first, because whether an id may come again with another size is not known. Whether the
first event is the whole book is not known either: a ladder begins empty with every subscription and holds what was
told since. `Depth` keeps the subscriptions of one account; they end with the connection, and with the spots that they
rest on, and the owner makes them anew after those.
"""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from adapters.ctrader.catalogue import Ask
from adapters.ctrader.messages import openapi
from adapters.ctrader.wire import words
from bus.errors import DataError, RateLimited, Refused
from bus.values import LARGEST

MOST_QUOTES = 10_000
"""Quotes of one symbol; no broker shows so many."""
_NOTES = 20


class Level(msgspec.Struct, frozen=True):
    """All that is bid or offered at one price: in 1/100000, and in 1/100 unit."""

    price_e5: int
    size_e2: int


class Ladder:
    """The book of one symbol."""

    def __init__(self) -> None:
        self._quotes: dict[int, tuple[bool, int, int]] = {}

    def apply(self, event: Any) -> None:
        """Take a `ProtoOADepthEvent`.

        Raises:
            DataError: a quote with no side or two, a price or size that cannot be, or more quotes than anybody shows;
                nothing of the event was taken.
        """
        fresh: dict[int, tuple[bool, int, int]] = {}
        for quote in event.newQuotes:
            bid = quote.HasField("bid")
            price_e5 = quote.bid if bid else quote.ask
            if bid == quote.HasField("ask") or not 0 < price_e5 <= LARGEST or not 0 <= quote.size <= LARGEST:
                raise DataError(f"depth of symbol {event.symbolId}: {words(str(quote))} is no quote")
            fresh[quote.id] = bid, price_e5, quote.size
        gone = set(event.deletedQuotes)
        kept = {number: quote for number, quote in self._quotes.items() if number not in gone} if gone else self._quotes
        if len(kept) + len(fresh) > MOST_QUOTES:
            raise DataError(f"depth of symbol {event.symbolId}: more than {MOST_QUOTES} quotes")
        self._quotes = {**kept, **fresh}

    def levels(self, most: int = 5) -> tuple[tuple[Level, ...], tuple[Level, ...]]:
        """The best bids and the best offers, the best first, at most so many of each; quotes of one price are one."""
        sides: tuple[dict[int, int], dict[int, int]] = {}, {}
        for bid, price_e5, size_e2 in self._quotes.values():
            side = sides[0] if bid else sides[1]
            side[price_e5] = side.get(price_e5, 0) + size_e2
        bids, asks = (tuple(Level(*row) for row in sorted(side.items(), reverse=side is sides[0])) for side in sides)
        return bids[:most], asks[:most]


class Depth:
    """The books of one account's symbols, by symbolId.

    Attributes:
        events: heard.
        impossible: of these, could not be.
    """

    def __init__(self, ask: Ask, account_id: int, note: Callable[[str], None]) -> None:
        """Prepare; nothing is subscribed.

        Args:
            ask: for the logged-in account.
            account_id: ctidTraderAccountId.
            note: takes one line for a person.
        """
        self.events = self.impossible = 0
        self._ask = ask
        self._account_id = account_id
        self._note = note
        self._ladders: dict[int, Ladder] = {}

    async def subscribe(self, numbers: Iterable[int]) -> None:
        """Ask for the depth of symbols whose spots are subscribed; being subscribed already is as good.

        A broker that has none, or shows it to nobody like us, is said to have none and not asked about it here: depth
        is for looking at, and keeps nothing waiting.

        Raises:
            BrokerError: the connection is lost, as `Connection.request`.
        """
        for number in tuple(numbers):
            self._ladders[number] = Ladder()
            request = openapi.ProtoOASubscribeDepthQuotesReq(ctidTraderAccountId=self._account_id, symbolId=[number])
            try:
                await self._ask(request)
            except (Refused, RateLimited) as error:
                if isinstance(error, RateLimited) or error.code != "ALREADY_SUBSCRIBED":
                    self._ladders.pop(number, None)
                    self._note(f"no depth of symbol {number}: {error}")

    async def unsubscribe(self, numbers: Iterable[int]) -> None:
        """Ask for no more; what comes all the same is passed over.

        Raises:
            BrokerError: as `Connection.request`.
        """
        wanted = [number for number in numbers if self._ladders.pop(number, None) is not None]
        if wanted:
            await self._ask(
                openapi.ProtoOAUnsubscribeDepthQuotesReq(ctidTraderAccountId=self._account_id, symbolId=wanted)
            )

    def hear(self, event: Any) -> None:
        """Take a `ProtoOADepthEvent`; one that cannot be empties its book, which fills again from what follows."""
        ladder = self._ladders.get(event.symbolId)
        if ladder is None:
            return
        self.events += 1
        try:
            ladder.apply(event)
        except DataError as error:
            self._ladders[event.symbolId] = Ladder()
            self.impossible += 1
            if self.impossible <= _NOTES:
                self._note(f"depth passed over: {error}")

    def forget(self) -> None:
        """The link is gone, and the subscriptions with it."""
        self._ladders.clear()

    def levels(self, number: int, most: int = 5) -> tuple[tuple[Level, ...], tuple[Level, ...]]:
        """See `Ladder.levels`; of a symbol that is not subscribed there are none."""
        ladder = self._ladders.get(number)
        return ((), ()) if ladder is None else ladder.levels(most)
