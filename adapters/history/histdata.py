"""HistData.com: ASCII bars ``YYYYMMDD HHMMSS;o;h;l;c;v``, ASCII ticks ``YYYYMMDD HHMMSSmmm,bid,ask,v``, and the
MetaTrader flavour ``YYYY.MM.DD,HH:MM,o,h,l,c,v``. Bid prices; no header; volume is always 0, which is how the last one
differs from a real MetaTrader 4 export.

Clock: the bars are in New York time with summer time (measured against another feed; the vendor says UTC-5 all year),
hence ``histdata`` of `clocks`; the ticks are in UTC-5, ``est``.
"""  # noqa: D205

import re

from adapters.history import names
from adapters.history.columns import Rows, bars_piece, ticks_piece
from adapters.history.contract import Head, Options, Piece, Source
from adapters.history.text import Block, four_prices, numbers, table
from adapters.history.times import dates_and_times, timestamps
from bus.series import Column

_BAR = re.compile(r"\d{8} \d{6};[^;]+;[^;]+;[^;]+;[^;]+;[^;]*")
_TICK = re.compile(r"\d{8} \d{9},[^,]+,[^,]+,[^,]*")
_MT_BAR = re.compile(r"\d{4}\.\d\d\.\d\d,\d\d:\d\d,[^,]+,[^,]+,[^,]+,[^,]+,0")


class HistDataBars:
    """ASCII bars of one minute."""

    name = "HistData ASCII bars"

    def recognise(self, head: Head) -> bool:
        """By its first line."""
        return bool(head.lines) and bool(_BAR.fullmatch(head.lines[0].strip()))

    def symbol(self, head: Head) -> str | None:
        """From the names."""
        return names.symbol_of(head)

    def read(self, source: Source, options: Options) -> Piece:
        """Bars of one side, bid unless the name says ask."""

        def parse(block: Block) -> tuple[Column, ...]:
            return timestamps(block, 0)[0], *four_prices(block, 1)

        line, time, o, h, l, c = table(source, ";", 6, parse)
        rows = Rows(source=source, number=line, time_ns=time)
        return bars_piece(rows, options, "histdata", names.side_of(source.head), (o, h, l, c))


class HistDataMt:
    """Bars of one minute for MetaTrader."""

    name = "HistData MT bars"

    def recognise(self, head: Head) -> bool:
        """By shape and by a volume of 0 in every line of the head."""
        return bool(head.lines) and all(_MT_BAR.fullmatch(line.strip()) for line in head.lines)

    def symbol(self, head: Head) -> str | None:
        """From the names."""
        return names.symbol_of(head)

    def read(self, source: Source, options: Options) -> Piece:
        """Bars of one side, bid unless the name says ask."""

        def parse(block: Block) -> tuple[Column, ...]:
            return dates_and_times(block, 0, 1)[0], *four_prices(block, 2)

        line, time, o, h, l, c = table(source, ",", 7, parse)
        rows = Rows(source=source, number=line, time_ns=time)
        return bars_piece(rows, options, "histdata", names.side_of(source.head), (o, h, l, c))


class HistDataTicks:
    """ASCII ticks."""

    name = "HistData ASCII ticks"

    def recognise(self, head: Head) -> bool:
        """By its first line."""
        return bool(head.lines) and bool(_TICK.fullmatch(head.lines[0].strip()))

    def symbol(self, head: Head) -> str | None:
        """From the names."""
        return names.symbol_of(head)

    def read(self, source: Source, options: Options) -> Piece:
        """Quotes."""

        def parse(block: Block) -> tuple[Column, ...]:
            return timestamps(block, 0)[0], numbers(block, 1, "bid"), numbers(block, 2, "ask")

        line, time, bid, ask = table(source, ",", 4, parse)
        return ticks_piece(Rows(source=source, number=line, time_ns=time), options, "est", bid, ask)
