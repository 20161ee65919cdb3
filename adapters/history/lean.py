"""QuantConnect LEAN: ticks ``ms,bid,ask``; seconds and minutes ``ms,bid o,h,l,c,size,ask o,h,l,c,size``, both counting
from the midnight of the day in the file's name (``20140501_quote.zip``); hours and days ``YYYYMMDD HH:MM,`` and the
same ten columns. No header. Rows that lack a side are dropped and counted.

Clock: UTC; UTC-5 (``est``) where a folder is named ``fxcm``.
"""  # noqa: D205

import re
from datetime import date

import numpy as np

from adapters.history import names
from adapters.history.columns import Rows, bars_piece, ticks_piece
from adapters.history.contract import Head, Note, Options, Piece, Source
from adapters.history.text import Block, four_prices, numbers, table
from adapters.history.times import timestamps
from bus.series import Column
from bus.values import NS_PER_DAY

_TICK = re.compile(r"\d{1,8}(?:\.\d+)?,\d+(?:\.\d+)?,\d+(?:\.\d+)?")
_INTRADAY = re.compile(r"\d{1,8}(?:,[^,]*){10}")
_DATED = re.compile(r"\d{8} \d\d:\d\d(?:,[^,]*){10}")
_ABSENT = -1  # an empty price field; 0 would be refused as a price


def _clock(head: Head) -> str:
    return "est" if "fxcm" in (part.lower() for part in head.names) else "utc"


def _midnight_ns(source: Source) -> int:
    found = names.date_in(source.head.names)
    if found is None:
        raise source.error(0, "times count from midnight, but no name has the day; call it like 20140501_quote.zip")
    try:
        return (date(*found).toordinal() - date(1970, 1, 1).toordinal()) * NS_PER_DAY
    except ValueError as error:
        raise source.error(0, "the day in its name does not exist") from error


def _milliseconds(block: Block) -> Column:
    time_ns = numbers(block, 0, "time", decimals=6)
    bad = np.flatnonzero((time_ns < 0) | (time_ns >= NS_PER_DAY))
    if len(bad):
        raise block.error(int(bad[0]), f"time {block.text(int(bad[0]), 0)!r} is not within a day of milliseconds")
    return time_ns


class LeanTicks:
    """One day of ticks."""

    name = "LEAN ticks"

    def recognise(self, head: Head) -> bool:
        """By its first line."""
        return bool(head.lines) and bool(_TICK.fullmatch(head.lines[0].strip()))

    def symbol(self, head: Head) -> str | None:
        """From the names, the folder's included."""
        return names.symbol_with_folders(head)

    def read(self, source: Source, options: Options) -> Piece:
        """Quotes."""
        midnight_ns = _midnight_ns(source)

        def parse(block: Block) -> tuple[Column, ...]:
            return _milliseconds(block), numbers(block, 1, "bid"), numbers(block, 2, "ask")

        line, time, bid, ask = table(source, ",", 3, parse)
        rows = Rows(source=source, number=line, time_ns=time + midnight_ns)
        return ticks_piece(rows, options, _clock(source.head), bid, ask)


class LeanBars:
    """Bars with both sides."""

    name = "LEAN bars"

    def recognise(self, head: Head) -> bool:
        """By its first line."""
        if not head.lines:
            return False
        first = head.lines[0].strip()
        return bool(_INTRADAY.fullmatch(first) or _DATED.fullmatch(first))

    def symbol(self, head: Head) -> str | None:
        """From the names, the folder's included."""
        return names.symbol_with_folders(head)

    def read(self, source: Source, options: Options) -> Piece:
        """Bars of both sides."""
        dated = bool(_DATED.fullmatch(source.head.lines[0].strip()))
        midnight_ns = 0 if dated else _midnight_ns(source)

        def parse(block: Block) -> tuple[Column, ...]:
            time = timestamps(block, 0)[0] if dated else _milliseconds(block) + midnight_ns
            return time, *_four(block, 1, "bid "), *_four(block, 6, "ask ")

        line, time, *prices = table(source, ",", 11, parse)
        both = np.all(np.stack(prices) != _ABSENT, axis=0)
        missing = int(np.count_nonzero(~both))
        notes = (Note(origin=source.origin, rows=missing, reason="one side missing"),) if missing else ()
        o, h, l, c, *ask = (column[both] for column in prices)
        rows = Rows(source=source, number=line, time_ns=time).keep(both)
        return bars_piece(
            rows, options, _clock(source.head), "both", (o, h, l, c), ask_e5=np.stack(ask, axis=1), notes=notes
        )


def _four(block: Block, first: int, side: str) -> tuple[Column, ...]:
    if np.all(block.stop[:, first : first + 4] > block.start[:, first : first + 4]):
        return four_prices(block, first, side)
    return tuple(
        numbers(block, first + i, side + name, empty=_ABSENT) for i, name in enumerate(("open", "high", "low", "close"))
    )
