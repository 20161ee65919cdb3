"""The newest bars as chart patterns see them: plain lists, the average true range, the swings, and the mirror image.

Theory of operation. `Chart.of` is made once for a closed bar and shared by every detector. It looks at the newest
LOOKBACK bars and at nothing else, so that a pattern does not depend on how much history came along. Detectors are
written for the bullish side alone; `Chart.mirrored` shows them the market upside down (prices negated, highs and lows
exchanged), and what they find there is the bearish pattern. A bearish pattern is thus a bullish one's reflection by
construction, not by care.

All distances are measured in average true ranges (ATR), so that nothing depends on the pair, the price level or the
size of a point. Prices stay exact integers until they are divided by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from models.columns import Columns, Ints
from models.pivots import Pivot, zigzag

LOOKBACK = 200
"""Bars that a pattern may depend on."""

ATR_BARS = 24
"""Bars of an average true range: a day of hours, so that it does not breathe with the sessions."""

REVERSAL = 2.0
"""ATRs (at the extreme) that a close must be away from an extreme to confirm it as a pivot."""

_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False, kw_only=True)
class Chart:
    """Bars by position, 0 = oldest, `last` = newest.

    Attributes:
        prices: shape (4, n): open, high, low, close of each bar, negative where the chart is a mirror image.
        opens: a row of `prices` as a list, which gives single bars fastest; likewise highs, lows, closes.
        quotes: price updates in each bar, 0 = not known.
        ranges: sums of true ranges: ranges[i] is the sum of those of bars 1 to i; bar 0 has none.
        pivots: the swings known at the newest bar, oldest first.
    """

    prices: Ints
    opens: list[int]
    highs: list[int]
    lows: list[int]
    closes: list[int]
    quotes: list[int]
    ranges: list[int]
    pivots: tuple[Pivot, ...]

    @classmethod
    def of(cls, columns: Columns) -> "Chart":
        """The chart of the newest LOOKBACK bars (fewer where there are fewer)."""
        tail = columns.tail(LOOKBACK)
        n = len(tail)
        before = tail.close_e5[:-1]
        ranges = np.zeros(n, np.int64)
        np.cumsum(np.maximum(tail.high_e5[1:], before) - np.minimum(tail.low_e5[1:], before), out=ranges[1:])
        reversals = np.zeros(n)
        if n > ATR_BARS:
            reversals[ATR_BARS:] = (ranges[ATR_BARS:] - ranges[:-ATR_BARS]) * (REVERSAL / ATR_BARS)
        prices = np.array((tail.open_e5, tail.high_e5, tail.low_e5, tail.close_e5))
        opens, highs, lows, closes = prices.tolist()
        return cls(
            prices=prices,
            opens=opens,
            highs=highs,
            lows=lows,
            closes=closes,
            quotes=tail.quotes.tolist(),
            ranges=ranges.tolist(),
            pivots=zigzag(highs, lows, closes, reversals.tolist()),
        )

    def __len__(self) -> int:
        """Number of bars."""
        return len(self.closes)

    @property
    def last(self) -> int:
        """Position of the newest bar."""
        return len(self.closes) - 1

    @cached_property
    def mirrored(self) -> "Chart":
        """The same market upside down."""
        prices = -self.prices[[0, 2, 1, 3]]
        opens, highs, lows, closes = prices.tolist()
        return Chart(
            prices=prices,
            opens=opens,
            highs=highs,
            lows=lows,
            closes=closes,
            quotes=self.quotes,
            ranges=self.ranges,
            pivots=tuple(Pivot(one.bar, -one.price, not one.top, one.known) for one in self.pivots),
        )

    def atr(self, bar: int) -> float:
        """Mean true range of the ATR_BARS bars up to and with `bar`; 0 where there are not as many."""
        if bar < ATR_BARS:
            return 0.0
        return (self.ranges[bar] - self.ranges[bar - ATR_BARS]) / ATR_BARS

    def mean_range(self, first: int, last: int) -> float:
        """Mean true range of bars `first` to `last`, both included; `first` is at least 1."""
        return (self.ranges[last] - self.ranges[first - 1]) / (last - first + 1)


def grade(value: float, edge: float, ideal: float) -> float:
    """How well `value` keeps an inequality: 0 at the edge, 1 at the ideal or past it, below 0 where it is broken.

    With ideal > edge the inequality is value >= edge, with ideal < edge it is value <= edge.
    """
    return min(1.0, (value - edge) / (ideal - edge))


def least(grades: Sequence[float]) -> float | None:
    """The confidence of a pattern whose inequalities have these grades: the least of them, or None if one is broken.

    A grade within rounding of its edge counts as on it, so that equal geometry at another scale is judged alike.
    """
    lowest = min(grades)
    return max(0.0, lowest) if lowest >= -_ROUNDING else None
