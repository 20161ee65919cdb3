"""Bars as numpy columns: the one shape that features, detectors and training see, live and offline."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bus.errors import DataError
from bus.messages import ForecastRequested
from bus.series import BarSeries

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Closed bid bars of one symbol, oldest first. All columns have shape (n,).

    `spread_e5` and `quotes` (price updates in the bar) are 0 where unknown.
    """

    period_ns: int
    ts_open_ns: Ints
    open_e5: Ints
    high_e5: Ints
    low_e5: Ints
    close_e5: Ints
    spread_e5: Ints
    quotes: Ints

    def __len__(self) -> int:
        """Number of bars."""
        return len(self.ts_open_ns)

    def rows(self, start: int, stop: int) -> "Columns":
        """Bars start (included) to stop (excluded), sharing memory."""
        part = np.s_[start:stop]
        return Columns(
            period_ns=self.period_ns,
            ts_open_ns=self.ts_open_ns[part],
            open_e5=self.open_e5[part],
            high_e5=self.high_e5[part],
            low_e5=self.low_e5[part],
            close_e5=self.close_e5[part],
            spread_e5=self.spread_e5[part],
            quotes=self.quotes[part],
        )

    def tail(self, bars: int) -> "Columns":
        """The newest `bars` bars (all where there are fewer)."""
        return self.rows(max(0, len(self) - bars), len(self))


def from_request(request: ForecastRequested) -> Columns:
    """The bars inside a request.

    Raises:
        DataError: columns of different lengths, a price that is not positive, times not increasing.
    """
    where = f"request {request.request_id} for {request.symbol}"
    try:
        columns = Columns(
            period_ns=request.period_ns,
            ts_open_ns=_ints(request.ts_open_ns),
            open_e5=_ints(request.open_e5),
            high_e5=_ints(request.high_e5),
            low_e5=_ints(request.low_e5),
            close_e5=_ints(request.close_e5),
            spread_e5=_ints(request.spread_e5),
            quotes=_ints(request.quotes),
        )
    except OverflowError as error:
        raise DataError(f"{where}: a number beyond 64 bits; ask again from clean bars") from error
    _check(columns, where)
    return columns


def from_series(series: BarSeries) -> Columns:
    """The bars of a history, on the bid side.

    Raises:
        DataError: columns of different lengths, a price that is not positive, times not increasing.
    """
    spread_e5 = series.spread_e5 if series.spread_e5 is not None else np.zeros(len(series), np.int64)
    columns = Columns(
        period_ns=series.period_ns,
        ts_open_ns=series.ts_open_ns,
        open_e5=series.open_e5,
        high_e5=series.high_e5,
        low_e5=series.low_e5,
        close_e5=series.close_e5,
        spread_e5=spread_e5,
        quotes=series.quotes,
    )
    _check(columns, f"series of {series.symbol}")
    return columns


def stacked(bars: Floats, window: int) -> Floats:
    """Windows that end with each bar from the `window`-th on: shape (n, window, k), oldest first, sharing memory.

    For a window of 1 the bars themselves, shape (n, k).
    """
    if window == 1:
        return bars
    return np.lib.stride_tricks.sliding_window_view(bars, window, axis=0).transpose(0, 2, 1)


def join(older: Columns, newer: Columns) -> Columns:
    """Two runs of bars behind each other. The caller knows that the second starts after the first has ended."""
    return Columns(
        period_ns=newer.period_ns,
        ts_open_ns=np.concatenate((older.ts_open_ns, newer.ts_open_ns)),
        open_e5=np.concatenate((older.open_e5, newer.open_e5)),
        high_e5=np.concatenate((older.high_e5, newer.high_e5)),
        low_e5=np.concatenate((older.low_e5, newer.low_e5)),
        close_e5=np.concatenate((older.close_e5, newer.close_e5)),
        spread_e5=np.concatenate((older.spread_e5, newer.spread_e5)),
        quotes=np.concatenate((older.quotes, newer.quotes)),
    )


def _ints(values: Sequence[int]) -> Ints:
    return np.array(values, np.int64)


def _check(columns: Columns, where: str) -> None:
    n = len(columns)
    if any(len(column) != n for column in (columns.open_e5, columns.high_e5, columns.low_e5, columns.close_e5,
                                           columns.spread_e5, columns.quotes)):  # fmt: skip
        raise DataError(f"{where}: columns of different lengths; every bar needs every column")
    if columns.period_ns <= 0:
        raise DataError(f"{where}: bars of {columns.period_ns} ns; the period must be positive")
    if n == 0:
        return
    if min(columns.open_e5.min(), columns.high_e5.min(), columns.low_e5.min(), columns.close_e5.min()) <= 0:
        raise DataError(f"{where}: a price that is not positive; drop the bar at its source")
    if bool((columns.ts_open_ns[1:] <= columns.ts_open_ns[:-1]).any()):
        raise DataError(f"{where}: bars out of order; send them oldest first, each once")
