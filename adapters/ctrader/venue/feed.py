"""Recorded prices for a venue: what is history when it opens, and what comes after, in order of time. No I/O."""

import heapq
from collections.abc import Iterator, Sequence

import numpy as np

from adapters.ctrader.venue.core import Venue
from adapters.history.pricing import SpreadModel, quotes
from bus.errors import DataError
from bus.messages import Quote
from bus.series import BarSeries, TickSeries

Series = BarSeries | TickSeries


def first_live_row(series: Series, from_ns: int) -> int:
    """The row at which history ends: the first at or after a moment.

    Raises:
        DataError: nothing would be left to play, or nothing to begin with.
    """
    times = series.ts_ns if isinstance(series, TickSeries) else series.ts_open_ns
    row = int(np.searchsorted(times, from_ns))
    if not 0 < row < len(times):
        raise DataError(f"{series.symbol}: of {len(times)} rows, {row} would be history; start elsewhere")
    return row


class Feed:
    """The prices of several symbols."""

    def __init__(self, series: Sequence[Series], spreads: Sequence[SpreadModel], *, from_ns: int) -> None:
        """Split every series into history and what is to come.

        Args:
            series: one a symbol.
            spreads: for series that have none, in the same order.
            from_ns: where history ends.

        Raises:
            DataError: nothing is left of one, or nothing comes before.
        """
        if not series:
            raise DataError("no symbols to play; name one that the data has")
        self._parts = [
            (each, spread, first_live_row(each, from_ns)) for each, spread in zip(series, spreads, strict=True)
        ]

    @property
    def opened_ns(self) -> int:
        """Market time at which a venue of this feed opens: that of the oldest of the symbols' last known prices."""
        return min(last.ts_init_ns for last in self._last())

    def _last(self) -> list[Quote]:
        """The last price of each symbol's history, in order of time."""
        found = [
            list(quotes(series, spread=spread, start=row - 1, stop=row))[-1] for series, spread, row in self._parts
        ]
        return sorted(found, key=lambda quote: quote.ts_init_ns)

    def prepare(self, venue: Venue) -> None:
        """Write the history to the venue's tapes and show it the last price of each symbol."""
        for series, spread, row in self._parts:
            tape = venue.market.tapes[venue.catalogue.by_name(series.symbol).symbol_id]
            if isinstance(series, TickSeries):
                tape.extend(series.ts_ns[: row - 1], series.bid_e5[: row - 1], series.ask_e5[: row - 1])
                continue
            rows = [(q.ts_init_ns, q.bid_e5, q.ask_e5) for q in quotes(series, spread=spread, stop=row)][:-1]
            columns = np.asarray(rows, np.int64).reshape(-1, 3)
            tape.extend(columns[:, 0], columns[:, 1], columns[:, 2])
        for quote in self._last():
            venue.on_quote(quote, 0)

    def live(self) -> Iterator[Quote]:
        """What comes after, all symbols merged by time; at equal times in the order of the symbols."""
        streams = [quotes(series, spread=spread, start=row) for series, spread, row in self._parts]
        return heapq.merge(*streams, key=lambda quote: quote.ts_init_ns)
