"""The prices of one account's symbols: subscribed, merged, held back while recovering, asked for again when silent.

Theory of operation. A spot event may carry one side alone; `Spots` merges it with what is known, and refuses what
cannot be. Until the account has recovered, the newest price of each symbol is held back (in recorded time all of them),
so that the core hears of prices after it has heard how things stand. A symbol that is silent in its trading hours is
unsubscribed and subscribed anew: a server may forget a subscription without saying so. Depth, where it is wanted, rests
on these subscriptions and follows each of them.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import Any

from adapters.ctrader.catalogue import Ask
from adapters.ctrader.depth import Depth, Level
from adapters.ctrader.messages import openapi
from adapters.ctrader.symbols import Specification
from adapters.ctrader.wire import Spots
from bus.clock import Clock, ManualClock
from bus.errors import BrokerError, DataError
from bus.messages import Quote
from bus.values import NS_PER_MS, Instrument

SILENT_S = 60
_FIRST_PRICE_S = 5
_NOTES = 20


class Prices:
    """See the module's theory of operation.

    Attributes:
        specifications: symbols by number; the owner keeps them up to date through `know`.
        spots: events heard.
        quotes: usable quotes that they made.
        impossible: events that could not be.
        resubscriptions: symbols that were silent and were subscribed anew.
        depth: the books of the symbols; None = not asked for.
    """

    def __init__(
        self, ask: Ask, account_id: int, clock: Clock, note: Callable[[str], None], *, depth: bool = False
    ) -> None:
        """Prepare; nothing is subscribed.

        Args:
            ask: for the logged-in account.
            account_id: ctidTraderAccountId.
            clock: stamps quotes; a `ManualClock` is moved on by the prices' own times (recorded time).
            note: takes one line for a person.
            depth: whether to ask for the depth of every symbol too.
        """
        self.depth = Depth(ask, account_id, note) if depth else None
        self.specifications: dict[int, Specification] = {}
        self.spots = self.quotes = self.impossible = self.resubscriptions = 0
        self._ask = ask
        self._account_id = account_id
        self._clock = clock
        self._recorded_time = clock if isinstance(clock, ManualClock) else None
        self._note = note
        self._instruments: dict[int, Instrument] = {}
        self._merged = Spots(self._instruments)
        self._heard_s: dict[str, float] = {}
        self._held: list[Quote] = []
        self._priced = asyncio.Event()

    @property
    def newest(self) -> Any:
        """The newest quote of each symbol, kept up to date in place."""
        return self._merged.quotes

    def depths(self) -> dict[str, tuple[tuple[Level, ...], tuple[Level, ...]]]:
        """The best levels of every symbol by its name; empty where depth is not asked for."""
        if self.depth is None:
            return {}
        return {known.instrument.symbol: self.depth.levels(number) for number, known in self.specifications.items()}

    def know(self, specifications: dict[int, Specification]) -> None:
        """Use these symbols from now on, beside those known before."""
        self.specifications.update(specifications)
        self._instruments.update((number, each.instrument) for number, each in specifications.items())

    def hear(self, message: Any) -> Quote | None:
        """Take a `ProtoOASpotEvent`; the symbol's quote if it is complete and possible."""
        self.spots += 1
        clock = self._recorded_time
        if clock is not None and message.timestamp:
            clock.advance_to(message.timestamp * NS_PER_MS)
            self._priced.set()
        try:
            quote = self._merged.merge(message, self._clock.now_ns())
        except DataError as error:
            self.impossible += 1
            if self.impossible <= _NOTES:
                self._note(f"price passed over: {error}")
            return None
        if quote is not None:
            self._heard_s[quote.symbol] = asyncio.get_running_loop().time()
            self.quotes += 1
        return quote

    def hold(self, quote: Quote) -> None:
        """Keep a quote for `release`."""
        if self._recorded_time is None:
            self._held = [each for each in self._held if each.symbol != quote.symbol]
        self._held.append(quote)

    def release(self) -> list[Quote]:
        """What was held back, in order; it is held no longer."""
        held, self._held = self._held, []
        return held

    def forget(self) -> None:
        """The link is gone: a side that is known from before it may be long out of date."""
        self._merged.forget()
        self._priced.clear()
        self._held.clear()
        if self.depth is not None:
            self.depth.forget()

    async def subscribe(self, numbers: Iterable[int]) -> None:
        """Ask for the prices of symbols; being subscribed already is as good.

        Raises:
            BrokerError: as `Connection.request`.
        """
        for number in tuple(numbers):
            request = openapi.ProtoOASubscribeSpotsReq(
                ctidTraderAccountId=self._account_id, symbolId=[number], subscribeToSpotTimestamp=True
            )
            self._heard_s[self.specifications[number].instrument.symbol] = asyncio.get_running_loop().time()
            try:
                await self._ask(request)
            except BrokerError as error:
                if "ALREADY_SUBSCRIBED" not in str(error):
                    raise
            if self.depth is not None:
                await self.depth.subscribe([number])

    async def know_the_time(self) -> None:
        """Recorded time is told by the first price, which the server repeats on every subscription."""
        if self._recorded_time is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FIRST_PRICE_S):
                    await self._priced.wait()

    async def wake_silent(self) -> None:
        """Subscribe anew to what should speak and does not; recorded time has no hours of its own."""
        if self._recorded_time is not None:
            return
        now_s, now_ns = asyncio.get_running_loop().time(), self._clock.now_ns()
        silent = [
            (number, each.instrument.symbol)
            for number, each in self.specifications.items()
            if now_s - self._heard_s.get(each.instrument.symbol, now_s) > SILENT_S and each.hours.open_at(now_ns)
        ]
        for number, name in silent:
            self.resubscriptions += 1
            self._note(f"{name} has been silent for {SILENT_S} s in its hours; subscribing anew")
            request = openapi.ProtoOAUnsubscribeSpotsReq(ctidTraderAccountId=self._account_id, symbolId=[number])
            try:
                await self._ask(request)
                await self.subscribe([number])
            except BrokerError as error:
                self._note(f"{name} could not be subscribed ({error}); the next poll tries again")
