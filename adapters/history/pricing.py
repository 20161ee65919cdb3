"""From series to quotes: the path through a bar, and the spread where a source has none of its own.

A bullish or flat bar (close >= open) is passed as open, low, high, close, a bearish one as open, high, low, close, at
0, 1/3 and 2/3 of the bar's length and 1 ms before its end. A bar that the next one cuts short (a session's end, a
change of the server's clock) is as long as the distance to the next one. The ask is the bid plus the spread at that
point: two-sided bars use their own ask prices, corner by corner, never below the bid; bars with a recorded spread use
that (0 = not recorded); everything else uses a `SpreadModel`. Ticks are passed as they are.
"""

from collections.abc import Iterator

import msgspec
import numpy as np

from bus.calendar import next_rollover_ns
from bus.errors import DataError
from bus.messages import Quote
from bus.series import BarSeries, Column, TickSeries
from bus.values import NS_PER_DAY, NS_PER_MS, NS_PER_S

_CHUNK = 8_192
_MINUTE_NS = 60 * NS_PER_S


class SpreadModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ask minus bid where the source does not know it.

    ``spread = base x factor near the rollover + range_millis / 1000 x range of the bar``, half away from zero, with
    ``base = pip_e5 x base_millipips / 1000``.

    Attributes:
        pip_e5: one pip of the instrument in 1/100000.
        base_millipips: quiet spread in 1/1000 pip; 0.8 pip by default.
        rollover_factor: how many times wider the base is around 17:00 New York, when banks change their books;
            1 = not wider.
        rollover_minutes: length of that time, centred on 17:00 New York; 0 = none.
        range_millis: thousandths of the bar's high minus low that are added; 0 = none.
    """

    pip_e5: int = 10
    base_millipips: int = 800
    rollover_factor: int = 3
    rollover_minutes: int = 60
    range_millis: int = 0

    def __post_init__(self) -> None:
        """Refuse a model that could give no or a negative spread.

        Raises:
            DataError: a value out of range.
        """
        if self.pip_e5 <= 0 or self.rollover_factor < 1 or not 0 <= self.rollover_minutes <= 720:
            raise DataError("spread model: pip_e5 > 0, rollover_factor >= 1 and 0 <= rollover_minutes <= 720 required")
        if self.base_millipips < 0 or self.range_millis < 0:
            raise DataError("spread model: base_millipips and range_millis must not be negative")

    def spread_e5(self, ts_ns: Column, range_e5: Column) -> Column:
        """Spread at times, in e5.

        Args:
            ts_ns: UTC, shape (n,).
            range_e5: high minus low of the bar each time lies in, shape (n,).
        """
        millis = np.full(len(ts_ns), self.pip_e5 * self.base_millipips, np.int64)
        if self.rollover_factor > 1 and self.rollover_minutes > 0:
            # 17:00 New York is 21:00 or 22:00 UTC, so it falls on the UTC day of every moment near it.
            day = ts_ns // NS_PER_DAY
            days, of_row = np.unique(day, return_inverse=True)
            rollover_ns = np.asarray([next_rollover_ns(int(d) * NS_PER_DAY) for d in days], np.int64)[of_row]
            near = 2 * np.abs(ts_ns - rollover_ns) < self.rollover_minutes * _MINUTE_NS
            millis[near] *= self.rollover_factor
        millis += self.range_millis * range_e5
        return (2 * millis + 1_000) // 2_000


def quotes(
    series: BarSeries | TickSeries, *, spread: SpreadModel, start: int = 0, stop: int | None = None
) -> Iterator[Quote]:
    """Quotes of a series, in order of time; four a bar, one a tick. Event and arrival time are the same.

    Args:
        series: what `read` gave.
        spread: used where the series has neither ask nor recorded spread.
        start: first row (bar or tick), counted from 0.
        stop: one past the last row; None = to the end.
    """
    end = len(series) if stop is None else min(stop, len(series))
    for first in range(max(0, start), end, _CHUNK):
        last = min(first + _CHUNK, end)
        if isinstance(series, TickSeries):
            columns = series.bid_e5[first:last], series.ask_e5[first:last], series.ts_ns[first:last]
        else:
            columns = _corners(series, spread, first, last)
        bids, asks, times = (column.tolist() for column in columns)
        symbol = series.symbol
        for bid, ask, ts in zip(bids, asks, times, strict=True):
            yield Quote(symbol=symbol, bid_e5=bid, ask_e5=ask, ts_event_ns=ts, ts_init_ns=ts)


def _corners(series: BarSeries, spread: SpreadModel, first: int, last: int) -> tuple[Column, Column, Column]:
    """Bid, ask and time of the four corners of bars, flattened in order of time."""
    part = series.slice(first, last)
    bullish = part.close_e5 >= part.open_e5
    bid = np.stack(
        (
            part.open_e5,
            np.where(bullish, part.low_e5, part.high_e5),
            np.where(bullish, part.high_e5, part.low_e5),
            part.close_e5,
        ),
        axis=1,
    )
    length = np.full(len(part), series.period_ns, np.int64)
    distance = np.diff(series.ts_open_ns[first : last + 1])
    length[: len(distance)] = np.minimum(length[: len(distance)], distance)
    after = np.stack((np.zeros_like(length), length // 3, 2 * length // 3, length - NS_PER_MS), axis=1)
    ts = part.ts_open_ns[:, None] + after
    if part.ask_e5 is not None:
        low_first = np.where(bullish[:, None], [[0, 2, 1, 3]], [[0, 1, 2, 3]])
        ask = np.maximum(np.take_along_axis(part.ask_e5, low_first, axis=1), bid)
    else:
        widths = spread.spread_e5(ts.ravel(), np.repeat(part.high_e5 - part.low_e5, 4)).reshape(-1, 4)
        if part.spread_e5 is not None:
            recorded = part.spread_e5[:, None]
            widths = np.where(recorded > 0, recorded, widths)
        ask = bid + widths
    return bid.ravel(), ask.ravel(), ts.ravel()


def clamped(series: BarSeries | TickSeries) -> int:
    """How many corners of a two-sided bar series have their ask below their bid, where `quotes` lifts it to the bid."""
    if not isinstance(series, BarSeries) or series.ask_e5 is None:
        return 0
    bid = np.stack((series.open_e5, series.high_e5, series.low_e5, series.close_e5), axis=1)
    return int(np.count_nonzero(series.ask_e5 < bid))


def resample(series: BarSeries | TickSeries, period_ns: int) -> BarSeries:
    """Longer bars, aligned to the epoch (hours to the hour, days to UTC midnight). Empty bars are not made.

    Args:
        series: bars, whose period must divide the new one, or ticks.
        period_ns: length of the new bars.

    Raises:
        DataError: no rows, or periods that do not fit.
    """
    if period_ns <= 0 or not len(series):
        raise DataError(f"{series.symbol}: nothing to make bars of {period_ns} ns from")
    if isinstance(series, BarSeries) and period_ns % series.period_ns:
        raise DataError(
            f"{series.symbol}: bars of {period_ns / NS_PER_S:g} s cannot be made from {series.period_ns / NS_PER_S:g} s"
        )
    ts = series.ts_ns if isinstance(series, TickSeries) else series.ts_open_ns
    opens = ts // period_ns * period_ns
    begins = np.flatnonzero(np.concatenate(([True], opens[1:] != opens[:-1])))
    ends = np.concatenate((begins[1:], [len(ts)])) - 1
    if isinstance(series, TickSeries):
        bid, ask = (series.bid_e5,) * 4, (series.ask_e5,) * 4
        spread: Column | None = (series.ask_e5 - series.bid_e5)[ends]
        counts = ends - begins + 1
    else:
        bid = series.open_e5, series.high_e5, series.low_e5, series.close_e5
        ask = None if series.ask_e5 is None else tuple(series.ask_e5[:, i] for i in range(4))
        spread = None if series.spread_e5 is None else series.spread_e5[ends]
        counts = np.add.reduceat(series.quotes, begins)
    first, high, low, close = _fold(bid, begins, ends)
    return BarSeries(
        symbol=series.symbol,
        period_ns=period_ns,
        ts_open_ns=opens[begins],
        open_e5=first,
        high_e5=high,
        low_e5=low,
        close_e5=close,
        quotes=counts,
        spread_e5=spread,
        ask_e5=None if ask is None else np.stack(_fold(ask, begins, ends), axis=1),
    )


def _fold(prices: tuple[Column, ...], begins: Column, ends: Column) -> tuple[Column, Column, Column, Column]:
    first, high, low, close = prices
    return first[begins], np.maximum.reduceat(high, begins), np.minimum.reduceat(low, begins), close[ends]
