"""Any delimited text with a header that names its columns: bars (open, high, low, close) or ticks (bid, ask).

Comma, semicolon, tab or bar between fields; times as ISO 8601, ``YYYY.MM.DD``, ``DD.MM.YYYY`` or epoch numbers; bars
may carry ``ask_open`` … ``ask_close``, ``spread`` (in price units) and a volume, taken as the number of price updates.
Clock: UTC.
"""

import numpy as np

from adapters.history import names
from adapters.history.columns import Rows, bars_piece, ticks_piece
from adapters.history.contract import Head, Options, Piece, Source
from adapters.history.headers import Layout, layout_of
from adapters.history.text import Block, numbers, table
from adapters.history.times import dates_and_times, timestamps
from bus.series import Column

_DELIMITERS = (",", ";", "\t", "|")


def _header(head: Head) -> tuple[str, int, Layout] | None:
    """Delimiter, number of columns, layout."""
    if not head.lines:
        return None
    for delimiter in _DELIMITERS:
        columns = head.lines[0].split(delimiter)
        layout = layout_of(columns) if len(columns) > 2 else None
        if layout:
            return delimiter, len(columns), layout
    return None


class GenericCsv:
    """A table with a header."""

    name = "CSV with header"

    def recognise(self, head: Head) -> bool:
        """By the names in the first line."""
        return _header(head) is not None

    def symbol(self, head: Head) -> str | None:
        """From the names."""
        return names.symbol_of(head)

    def read(self, source: Source, options: Options) -> Piece:
        """Bars or ticks."""
        found = _header(source.head)
        if found is None:
            raise source.error(1, "no header with a time and prices")
        delimiter, width, layout = found
        in_utc = False

        def time_of(block: Block) -> Column:
            nonlocal in_utc
            if layout.time_of_day is None:
                time, in_utc = timestamps(block, layout.time)
            else:
                time, in_utc = dates_and_times(block, layout.time, layout.time_of_day)
            return time

        def ticks(block: Block) -> tuple[Column, ...]:
            bid, ask = layout.bid_ask or (0, 0)
            return time_of(block), numbers(block, bid, "bid"), numbers(block, ask, "ask")

        def bars(block: Block) -> tuple[Column, ...]:
            none = np.zeros(len(block.line), np.int64)
            return (
                time_of(block),
                none if layout.volume is None else numbers(block, layout.volume, "volume", decimals=0, empty=0),
                none if layout.spread is None else numbers(block, layout.spread, "spread", empty=0),
                *(numbers(block, column, name) for column, name in _priced(layout)),
            )

        if layout.bid_ask:
            line, time, bid, ask = table(source, delimiter, width, ticks, skip_lines=1)
            return ticks_piece(Rows(source=source, number=line, time_ns=time, in_utc=in_utc), options, "utc", bid, ask)
        line, time, quotes, spread, o, h, l, c, *ask_bar = table(source, delimiter, width, bars, skip_lines=1)
        return bars_piece(
            Rows(source=source, number=line, time_ns=time, in_utc=in_utc),
            options,
            "utc",
            names.side_of(source.head),
            (o, h, l, c),
            quotes=quotes,
            spread_e5=spread,
            ask_e5=np.stack(ask_bar, axis=1) if ask_bar else None,
        )


def _priced(layout: Layout) -> list[tuple[int, str]]:
    """Price columns in order, with their names for errors."""
    plain = zip(layout.ohlc or (), ("open", "high", "low", "close"), strict=False)
    asked = zip(layout.ask or (), ("ask open", "ask high", "ask low", "ask close"), strict=False)
    return [*plain, *asked]
