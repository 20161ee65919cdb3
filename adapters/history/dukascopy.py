"""Dukascopy CSV: candles ``Gmt time,Open,High,Low,Close,Volume`` and ticks ``Local time,Ask,Bid,AskVolume,BidVolume``,
days first (``31.12.2019 22:00:00.000``), an offset in the time where it was exported as local time.

One price side a candle file, ``BID`` or ``ASK`` in its name. Volume is traded amount, not a number of updates, so it is
used for one thing: where nothing traded the vendor repeats the last price with volume 0; those candles are dropped.
Clock: an offset in the time; else ``(EET)`` in the header; else UTC.
"""  # noqa: D205

import re

import numpy as np

from adapters.history import names
from adapters.history.columns import Rows, bars_piece, ticks_piece
from adapters.history.contract import Head, Note, Options, Piece, Source
from adapters.history.text import Block, four_prices, numbers, table
from adapters.history.times import timestamps
from bus.series import Column

_CANDLES = re.compile(r'"?(?:gmt |local |eet |utc )?time(?: ?\((?:utc|gmt|eet)\))?"?,open,high,low,close,volume')
_TICKS = re.compile(r'"?(?:gmt |local |eet |utc )?time(?: ?\((?:utc|gmt|eet)\))?"?,ask,bid,ask ?volume,bid ?volume')
_DAY_FIRST = re.compile(r'"?\d\d\.\d\d\.\d{4} ')
_JFOREX = re.compile(r"(?:gmt|local|eet|utc) time|time ?\(")


def _is_candles(head: Head) -> bool:
    """By header and the first time; a header that other vendors share needs a time with the day first."""
    if not head.lines or not _CANDLES.fullmatch(head.lines[0].strip().lower()):
        return False
    return bool(_JFOREX.search(head.lines[0].lower())) or (
        len(head.lines) > 1 and bool(_DAY_FIRST.match(head.lines[1].strip()))
    )


def _clock(head: Head) -> str:
    return "eet" if "eet" in head.lines[0].lower() else "utc"


class DukascopyCandles:
    """Candles of one side."""

    name = "Dukascopy candles"

    def recognise(self, head: Head) -> bool:
        """By its header."""
        return _is_candles(head)

    def symbol(self, head: Head) -> str | None:
        """From the names."""
        return names.symbol_of(head)

    def read(self, source: Source, options: Options) -> Piece:
        """Bars of the side in the name."""
        in_utc = False

        def parse(block: Block) -> tuple[Column, ...]:
            nonlocal in_utc
            time, in_utc = timestamps(block, 0)
            return time, *four_prices(block, 1), numbers(block, 5, "volume", decimals=2, empty=0)

        line, time, o, h, l, c, volume = table(source, ",", 6, parse, skip_lines=1)
        real = (volume > 0) | (h != l)
        filled = int(np.count_nonzero(~real))
        notes = (Note(origin=source.origin, rows=filled, reason="flat candle of volume 0"),) if filled else ()
        rows = Rows(source=source, number=line, time_ns=time, in_utc=in_utc).keep(real)
        ohlc = o[real], h[real], l[real], c[real]
        return bars_piece(rows, options, _clock(source.head), names.side_of(source.head), ohlc, notes=notes)


class DukascopyTicks:
    """Ticks; the ask comes first."""

    name = "Dukascopy ticks"

    def recognise(self, head: Head) -> bool:
        """By its header."""
        return bool(head.lines) and bool(_TICKS.fullmatch(head.lines[0].strip().lower()))

    def symbol(self, head: Head) -> str | None:
        """From the names."""
        return names.symbol_of(head)

    def read(self, source: Source, options: Options) -> Piece:
        """Quotes."""
        in_utc = False

        def parse(block: Block) -> tuple[Column, ...]:
            nonlocal in_utc
            time, in_utc = timestamps(block, 0)
            return time, numbers(block, 1, "ask"), numbers(block, 2, "bid")

        line, time, ask, bid = table(source, ",", 5, parse, skip_lines=1)
        rows = Rows(source=source, number=line, time_ns=time, in_utc=in_utc)
        return ticks_piece(rows, options, _clock(source.head), bid, ask)
