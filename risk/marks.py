"""Last prices and conversion rates: what turns a volume at a price into the account's money.

Theory of operation. A quote that cannot be true (crossed, not positive, not an integer, too large) never becomes a
price: it is kept in `suspect` until a good one replaces it, and the gate takes no new risk meanwhile. The rate of an
asset is looked up once and forgotten when a symbol that could be part of its chain moves; while no chain is known the
last known rate stands.
"""

import math
from collections.abc import Sequence

from bus.messages import Quote
from bus.values import (
    LARGEST,
    PRICE_SCALE,
    RATE_SCALE,
    VOLUME_SCALE,
    Instrument,
    divide_half_away,
    quote_to_account_rate_e8,
)

VALUE_SCALE = VOLUME_SCALE * PRICE_SCALE * RATE_SCALE


def possible(value: object, lowest: int = 0, highest: int = LARGEST) -> bool:
    """Whether a value is a true integer (no float, no bool, so no NaN and no infinity) within limits, included."""
    return type(value) is int and lowest <= value <= highest


class Marks:
    """Prices by symbol.

    Attributes:
        quotes: the last possible quote of each symbol.
        suspect: the impossible quote of each symbol whose newest quote is one.
    """

    def __init__(self, currency: str, money_digits: int, instruments: Sequence[Instrument]) -> None:
        self.quotes: dict[str, Quote] = {}
        self.suspect: dict[str, Quote] = {}
        self._currency = currency
        self._units = 10**money_digits
        self._asset = {entry.symbol: entry.quote for entry in instruments}
        self._links: dict[str, list[Instrument]] = {}
        for asset in sorted({entry.quote for entry in instruments} - {currency}):
            # A chain of at most two symbols starts at the asset and ends at the account's currency.
            self._links[asset] = [e for e in instruments if {e.base, e.quote} & {asset, currency}]
        self.feeds: dict[str, tuple[str, ...]] = {
            entry.symbol: tuple(asset for asset, links in self._links.items() if entry in links)
            for entry in instruments
        }
        self._rates: dict[str, tuple[int, int, int]] = {}
        self._last_rates: dict[str, tuple[int, int, int]] = {currency: self._reduced(RATE_SCALE)}

    def forget(self, assets: tuple[str, ...]) -> None:
        """Look the rates of these assets up anew when they are next needed."""
        for asset in assets:
            self._rates.pop(asset, None)

    def scale_of(self, symbol: str) -> tuple[int, int, int] | None:
        """Rate (times 10**8), and the reduced fraction that turns volume_e2 * price_e5 into money; None = no rate."""
        asset = self._asset[symbol]
        found = self._rates.get(asset)
        if found is None:
            found = self._look_up(asset)
        return found

    def value(self, symbol: str, volume_price: int) -> int | None:
        """Money of a signed sum of volume_e2 * price_e5, half away from zero; None = no conversion rate yet."""
        scale = self.scale_of(symbol)
        return None if scale is None else divide_half_away(volume_price * scale[1], scale[2])

    def mid_e5(self, symbol: str) -> int | None:
        """Middle of the last possible quote, rounded down; None before the first."""
        quote = self.quotes.get(symbol)
        return None if quote is None else (quote.bid_e5 + quote.ask_e5) // 2

    def _look_up(self, asset: str) -> tuple[int, int, int] | None:
        if asset != self._currency:
            links = self._links[asset]
            quotes = self.quotes
            mids = {e.symbol: (q.bid_e5 + q.ask_e5) // 2 for e in links if (q := quotes.get(e.symbol)) is not None}
            rate_e8 = quote_to_account_rate_e8(asset, self._currency, links, mids)
            if rate_e8:
                self._last_rates[asset] = self._reduced(rate_e8)
        found = self._last_rates.get(asset)
        if found is not None:
            self._rates[asset] = found
        return found

    def _reduced(self, rate_e8: int) -> tuple[int, int, int]:
        common = math.gcd(rate_e8 * self._units, VALUE_SCALE)
        return rate_e8, rate_e8 * self._units // common, VALUE_SCALE // common
