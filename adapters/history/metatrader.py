"""MetaTrader 4 bars (``YYYY.MM.DD,HH:MM,o,h,l,c,v``, no header), MetaTrader 5 bars (``<DATE> <TIME> <OPEN> …``, tabs,
daily and longer without ``<TIME>``) and MetaTrader 5 ticks (``<DATE> <TIME> <BID> <ASK> …``, an empty field repeats the
last value). Bid prices. Volume counts price updates. Spread comes in points of the last written decimal.

Clock: the broker's server, ``eet`` (UTC+2, UTC+3 in European summer time) at most brokers and by default here.
"""  # noqa: D205

import re

import numpy as np

from adapters.history import names
from adapters.history.columns import Rows, bars_piece, ticks_piece
from adapters.history.contract import Head, Note, Options, Piece, Source
from adapters.history.text import Block, decimals_written, four_prices, numbers, table
from adapters.history.times import dates_and_times, timestamps
from bus.series import Column

_MT4_BAR = re.compile(r"\d{4}\.\d\d\.\d\d,\d\d:\d\d,[^,]+,[^,]+,[^,]+,[^,]+,[^,]*")
_BAR_COLUMNS = ("open", "high", "low", "close")
_DELIMITERS = ("\t", ",", ";")


class Mt4Bars:
    """What MetaTrader 4's history centre writes."""

    name = "MetaTrader 4 bars"

    def recognise(self, head: Head) -> bool:
        """By its first line; HistData's imitation is asked first."""
        return bool(head.lines) and bool(_MT4_BAR.fullmatch(head.lines[0].strip()))

    def symbol(self, head: Head) -> str | None:
        """From the names."""
        return names.symbol_of(head)

    def read(self, source: Source, options: Options) -> Piece:
        """Bars of one side, bid unless the name says ask."""

        def parse(block: Block) -> tuple[Column, ...]:
            volume = numbers(block, 6, "volume", decimals=0, empty=0)
            return dates_and_times(block, 0, 1)[0], *four_prices(block, 2), volume

        line, time, o, h, l, c, volume = table(source, ",", 7, parse)
        rows = Rows(source=source, number=line, time_ns=time)
        return bars_piece(rows, options, "eet", names.side_of(source.head), (o, h, l, c), quotes=volume)


def _header(head: Head) -> tuple[str, list[str]] | None:
    """Delimiter and lower-case column names of an MT5 export; None where it is none."""
    if len(head.lines) < 2:
        return None
    first = head.lines[0].strip().lower()
    for delimiter in _DELIMITERS:
        columns = [name.strip().strip("<>") for name in first.split(delimiter)]
        marked = first.startswith("<date>") or "tickvol" in columns or "tickvolume" in columns
        if len(columns) >= 4 and columns[0] == "date" and marked:
            return delimiter, columns
    return None


class Mt5Bars:
    """What MetaTrader 5 exports as bars, header marked with angle brackets or renamed."""

    name = "MetaTrader 5 bars"

    def recognise(self, head: Head) -> bool:
        """By the header."""
        found = _header(head)
        return found is not None and all(name in found[1] for name in _BAR_COLUMNS)

    def symbol(self, head: Head) -> str | None:
        """From the names."""
        return names.symbol_of(head)

    def read(self, source: Source, options: Options) -> Piece:
        """Bars with the broker's recorded spread."""
        found = _header(source.head)
        if found is None:
            raise source.error(1, "no MetaTrader 5 header")
        delimiter, columns = found
        first = columns.index("open")
        if columns[first : first + 4] != list(_BAR_COLUMNS):
            raise source.error(1, "columns must come as open, high, low, close")
        volume = next((columns.index(name) for name in ("tickvol", "tickvolume") if name in columns), None)
        digits = 0

        def parse(block: Block) -> tuple[Column, ...]:
            nonlocal digits
            digits = max(digits, decimals_written(block, tuple(range(first, first + 4))))
            time = dates_and_times(block, 0, columns.index("time")) if "time" in columns else timestamps(block, 0)
            none = np.zeros(len(block.line), np.int64)
            return (
                time[0],
                *four_prices(block, first),
                none if volume is None else numbers(block, volume, "volume", decimals=0, empty=0),
                numbers(block, columns.index("spread"), "spread", decimals=0) if "spread" in columns else none,
            )

        line, time, o, h, l, c, quotes, points = table(source, delimiter, len(columns), parse, skip_lines=1)
        rows = Rows(source=source, number=line, time_ns=time)
        side = names.side_of(source.head)
        spread = points * 10 ** max(0, 5 - digits)
        return bars_piece(rows, options, "eet", side, (o, h, l, c), quotes=quotes, spread_e5=spread)


class Mt5Ticks:
    """What MetaTrader 5 exports as ticks."""

    name = "MetaTrader 5 ticks"

    def recognise(self, head: Head) -> bool:
        """By the header."""
        found = _header(head)
        return found is not None and found[1][1:4] == ["time", "bid", "ask"]

    def symbol(self, head: Head) -> str | None:
        """From the names."""
        return names.symbol_of(head)

    def read(self, source: Source, options: Options) -> Piece:
        """Quotes; until both sides were seen once, rows are dropped and counted."""
        found = _header(source.head)
        if found is None:
            raise source.error(1, "no MetaTrader 5 header")

        def parse(block: Block) -> tuple[Column, ...]:
            sides = numbers(block, 2, "bid", empty=_UNCHANGED), numbers(block, 3, "ask", empty=_UNCHANGED)
            return dates_and_times(block, 0, 1)[0], *sides

        line, time, bid, ask = table(source, found[0], len(found[1]), parse, skip_lines=1)
        bid, ask = _repeat_last(bid), _repeat_last(ask)
        known = (bid != _UNCHANGED) & (ask != _UNCHANGED)
        missing = int(np.count_nonzero(~known))
        notes = (Note(origin=source.origin, rows=missing, reason="one side not known yet"),) if missing else ()
        rows = Rows(source=source, number=line, time_ns=time).keep(known)
        return ticks_piece(rows, options, "eet", bid[known], ask[known], notes=notes)


_UNCHANGED = -(2**62)  # no price


def _repeat_last(column: Column) -> Column:
    """Fill each unchanged entry with the last one that was written."""
    at = np.maximum.accumulate(np.where(column == _UNCHANGED, 0, np.arange(len(column))))
    return column[at]
