"""Market history as columns: what history readers give and what models learn from. Needs numpy; the core does not."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bus.errors import DataError

Column = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class BarSeries:
    """Bars of one symbol, oldest first, bid side, gaps not filled.

    Attributes:
        symbol: for instance ``EURUSD``.
        period_ns: length of a bar.
        ts_open_ns: shape (n,), UTC, strictly increasing.
        open_e5: shape (n,), bid; likewise high, low, close.
        spread_e5: shape (n,), ask minus bid at the close of the bar; None where the source has one side only.
        ask_e5: shape (n, 4), ask open, high, low, close; None where the source has one side only.
        quotes: shape (n,), number of price updates, 0 = not known.
    """

    symbol: str
    period_ns: int
    ts_open_ns: Column
    open_e5: Column
    high_e5: Column
    low_e5: Column
    close_e5: Column
    quotes: Column
    spread_e5: Column | None = None
    ask_e5: Column | None = None

    def __len__(self) -> int:
        """Number of bars."""
        return len(self.ts_open_ns)

    def slice(self, start: int, stop: int) -> "BarSeries":
        """Rows start (included) to stop (excluded), sharing memory."""
        rows = np.s_[start:stop]
        return BarSeries(
            symbol=self.symbol,
            period_ns=self.period_ns,
            ts_open_ns=self.ts_open_ns[rows],
            open_e5=self.open_e5[rows],
            high_e5=self.high_e5[rows],
            low_e5=self.low_e5[rows],
            close_e5=self.close_e5[rows],
            quotes=self.quotes[rows],
            spread_e5=None if self.spread_e5 is None else self.spread_e5[rows],
            ask_e5=None if self.ask_e5 is None else self.ask_e5[rows],
        )

    def check(self) -> None:
        """Refuse a series that cannot be a market's.

        Raises:
            DataError: times not strictly increasing, a price not positive, high and low not enclosing open and close.
        """
        if len(self) == 0:
            raise DataError(f"{self.symbol}: no bars")
        bad = np.flatnonzero(np.diff(self.ts_open_ns) <= 0)
        if len(bad):
            raise DataError(f"{self.symbol}: bar {int(bad[0]) + 1} does not come after the bar before it")
        lowest = np.minimum(self.open_e5, self.close_e5)
        highest = np.maximum(self.open_e5, self.close_e5)
        bad = np.flatnonzero((self.low_e5 <= 0) | (self.low_e5 > lowest) | (self.high_e5 < highest))
        if len(bad):
            raise DataError(
                f"{self.symbol}: bar {int(bad[0])} has impossible prices (low <= open, close <= high, low > 0)"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class TickSeries:
    """Quotes of one symbol, in order of arrival. All columns have shape (n,)."""

    symbol: str
    ts_ns: Column
    bid_e5: Column
    ask_e5: Column

    def __len__(self) -> int:
        """Number of quotes."""
        return len(self.ts_ns)

    def slice(self, start: int, stop: int) -> "TickSeries":
        """Rows start (included) to stop (excluded), sharing memory."""
        rows = np.s_[start:stop]
        return TickSeries(
            symbol=self.symbol, ts_ns=self.ts_ns[rows], bid_e5=self.bid_e5[rows], ask_e5=self.ask_e5[rows]
        )
