"""The prices a symbol has had: ticks as they came, bars on the broker's grid, from one and the same record.

Theory of operation. A tape holds three growing columns (time, bid, ask). Every bar of every period is made from its
bid ticks, so that history, live bars and ticks can never disagree. Bars up to an hour are aligned to the epoch; longer
ones follow the trading day, which begins at 17:00 New York.
"""

from array import array
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bus.calendar import next_rollover_ns, trading_day
from bus.messages import Quote
from bus.values import NS_PER_HOUR, NS_PER_S

_MINUTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 10, 7: 15, 8: 30, 9: 60, 10: 240, 11: 720}
_D1, _W1, _MN1 = 12, 13, 14
PERIODS = (*_MINUTES, _D1, _W1, _MN1)
"""Wire numbers of the periods, M1 to MN1."""

Column = NDArray[np.int64]


@lru_cache(maxsize=8192)
def _day_start_ns(ordinal: int) -> int:
    """17:00 New York of the evening on which a trading day begins."""
    midnight = datetime.combine(date.fromordinal(ordinal - 1), datetime.min.time(), UTC)
    return next_rollover_ns(int(midnight.timestamp()) * NS_PER_S)


def bar_open_ns(period: int, ts_ns: int) -> int:
    """When the bar that a moment lies in has opened.

    Args:
        period: wire number, 1 (M1) to 14 (MN1).
        ts_ns: UTC.
    """
    minutes = _MINUTES.get(period, 0)
    if 0 < minutes <= 60:
        length = minutes * 60 * NS_PER_S
        return ts_ns // length * length
    ordinal = trading_day(ts_ns)
    if minutes:
        start = _day_start_ns(ordinal)
        return start + (ts_ns - start) // (minutes * 60 * NS_PER_S) * minutes * 60 * NS_PER_S
    if period == _W1:
        ordinal -= (ordinal - 1) % 7
    elif period == _MN1:
        ordinal = date.fromordinal(ordinal).replace(day=1).toordinal()
    return _day_start_ns(ordinal)


def bar_seconds(period: int) -> int:
    """Nominal length of a bar: a month counts 31 days."""
    days = {_D1: 1, _W1: 7, _MN1: 31}
    return _MINUTES[period] * 60 if period in _MINUTES else int(timedelta(days=days[period]).total_seconds())


def _end_ns(period: int, to_ns: int) -> int:
    """The end of the last bar that opens at or before a moment."""
    start_ns = bar_open_ns(period, to_ns)
    length = bar_seconds(period) * NS_PER_S
    if length <= NS_PER_HOUR:
        return start_ns + length
    probe_ns = start_ns + length * 9 // 10 - NS_PER_HOUR  # days have 23 to 25 hours, months 28 to 31 days
    while bar_open_ns(period, probe_ns) == start_ns:
        probe_ns += NS_PER_HOUR
    return bar_open_ns(period, probe_ns)


@dataclass(slots=True)
class TapeBar:
    """One bar of bid prices; `ticks` is the number of price updates."""

    ts_open_ns: int
    open_e5: int
    high_e5: int
    low_e5: int
    close_e5: int
    ticks: int


class Tape:
    """Growing record of one symbol's quotes, in order of time."""

    def __init__(self) -> None:
        self._ts = array("q")
        self._bid = array("q")
        self._ask = array("q")

    def __len__(self) -> int:
        """Number of quotes."""
        return len(self._ts)

    def append(self, quote: Quote) -> None:
        """Add a quote; its time is not before the last one's."""
        self._ts.append(quote.ts_event_ns)
        self._bid.append(quote.bid_e5)
        self._ask.append(quote.ask_e5)

    def extend(self, ts_ns: Column, bid_e5: Column, ask_e5: Column) -> None:
        """Add many quotes at once, for history before the first live one."""
        for target, column in ((self._ts, ts_ns), (self._bid, bid_e5), (self._ask, ask_e5)):
            target.frombytes(np.ascontiguousarray(column, np.int64).tobytes())

    @property
    def last_ns(self) -> int:
        """Time of the newest quote; 0 = none yet."""
        return self._ts[-1] if self._ts else 0

    def _columns(self, from_ns: int, to_ns: int) -> tuple[Column, Column, Column]:
        """Copies of the rows from (included) to (excluded), so that the columns may go on growing."""
        times = np.frombuffer(self._ts, np.int64)
        first, last = np.searchsorted(times, [from_ns, to_ns])
        rows = np.s_[int(first) : int(last)]
        bids, asks = np.frombuffer(self._bid, np.int64), np.frombuffer(self._ask, np.int64)
        return times[rows].copy(), bids[rows].copy(), asks[rows].copy()

    def ticks(self, from_ns: int, to_ns: int, *, bid: bool, limit: int) -> tuple[list[tuple[int, int]], bool]:
        """The newest changes of one side in a window, newest first, and whether there are more.

        Args:
            from_ns: included.
            to_ns: excluded.
            bid: the bid side, else the ask side.
            limit: at most so many.

        Returns:
            (time in ns, price in e5), and more.
        """
        if not self._ts:
            return [], False
        times, bids, asks = self._columns(from_ns, to_ns)
        prices = bids if bid else asks
        if not len(prices):
            return [], False
        first = int(np.searchsorted(np.frombuffer(self._ts, np.int64), from_ns))
        before = (self._bid if bid else self._ask)[first - 1] if first else 0  # where a window begins changes no price
        changed = np.flatnonzero(np.diff(prices, prepend=before))[::-1]
        chosen = changed[:limit]
        return list(zip(times[chosen].tolist(), prices[chosen].tolist(), strict=True)), len(changed) > limit

    def bars(self, period: int, from_ns: int, to_ns: int, *, limit: int, count: int = 0) -> tuple[list[TapeBar], bool]:
        """The newest bars whose opening lies in a window (both ends included), oldest first, and whether more exist.

        Args:
            period: wire number.
            from_ns: ignored where `count` is given, as the real server does.
            to_ns: a bar that opens exactly here belongs; the bar still forming as well.
            limit: at most so many.
            count: bars counted back from `to_ns`; 0 = not given.
        """
        if not self._ts:
            return [], False
        wanted = min(count, limit) if count else limit
        end_ns = _end_ns(period, to_ns)
        if count:
            # Four times the nominal span reaches over weekends and thin hours; otherwise everything is looked at.
            start_ns = bar_open_ns(period, end_ns - 4 * (wanted + 2) * bar_seconds(period) * NS_PER_S)
            found = self._group(period, start_ns, end_ns)
            if len(found) <= wanted:
                found = self._group(period, 0, end_ns)
        else:
            found = [
                bar for bar in self._group(period, bar_open_ns(period, from_ns), end_ns) if bar.ts_open_ns >= from_ns
            ]
        return found[-wanted:] if wanted else [], len(found) > wanted

    def _group(self, period: int, from_ns: int, to_ns: int) -> list[TapeBar]:
        times, bids, _ = self._columns(from_ns, to_ns)
        if not len(times):
            return []
        length = min(bar_seconds(period), 3_600) * NS_PER_S
        cells = times // length * length
        if period not in _MINUTES or _MINUTES[period] > 60:
            hours, of_row = np.unique(cells, return_inverse=True)  # the grid of longer bars lies on whole hours
            cells = np.asarray([bar_open_ns(period, int(hour)) for hour in hours], np.int64)[of_row]
        begins = np.flatnonzero(np.concatenate(([True], cells[1:] != cells[:-1])))
        ends = np.concatenate((begins[1:], [len(cells)])) - 1
        columns = (
            cells[begins],
            bids[begins],
            np.maximum.reduceat(bids, begins),
            np.minimum.reduceat(bids, begins),
            bids[ends],
            ends - begins + 1,
        )
        return [TapeBar(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]
