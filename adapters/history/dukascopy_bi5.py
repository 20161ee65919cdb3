"""Dukascopy's own ``.bi5`` files: LZMA; ticks of 20 bytes ``ms, ask, bid, volume, volume`` or one-minute candles of 24
bytes ``s, open, close, low, high, volume``, big-endian.

Symbol and day come from the folders, ``EURUSD/2019/01/04/10h_ticks.bi5``, where MONTHS COUNT FROM ZERO: this is the
fourth of February. Prices are in points: 1e-5, or 1e-3 for yen and metals. Clock: UTC.
"""  # noqa: D205

import lzma
import re
from datetime import date

import numpy as np

from adapters.history import contract, names
from adapters.history.columns import Rows, bars_piece, ticks_piece
from adapters.history.contract import Head, Note, Options, Piece, Source
from bus.errors import DataError
from bus.values import NS_PER_DAY, NS_PER_HOUR, NS_PER_MS, NS_PER_S

_MAGIC = b"\x5d\x00\x00"
_TICK = np.dtype([("ms", ">u4"), ("ask", ">u4"), ("bid", ">u4"), ("ask_volume", ">f4"), ("bid_volume", ">f4")])
_CANDLE = np.dtype([*((name, ">u4") for name in ("s", "open", "close", "low", "high")), ("volume", ">f4")])
_TICK_NAME = re.compile(r"(\d\d)h_ticks\.bi5", re.IGNORECASE)
_CANDLE_NAME = re.compile(r"(bid|ask)_candles_min_1\.bi5", re.IGNORECASE)
_MINUTE_NS = 60 * NS_PER_S


class DukascopyBi5:
    """An hour of ticks or a day of candles."""

    name = "Dukascopy bi5"

    def recognise(self, head: Head) -> bool:
        """By the LZMA header of the vendor's packer."""
        return head.data.startswith(_MAGIC)

    def symbol(self, head: Head) -> str | None:
        """From the folders."""
        return names.symbol_with_folders(head)

    def read(self, source: Source, options: Options) -> Piece:
        """Quotes, or bars of one side; flat candles of zero volume are dropped and counted."""
        name = (source.head.member or source.head.path.name).rsplit("/", 1)[-1]
        ticks, candles = _TICK_NAME.fullmatch(name), _CANDLE_NAME.fullmatch(name)
        if not ticks and not candles:
            raise source.error(0, "cannot tell ticks from candles; keep the vendor's name, such as 10h_ticks.bi5")
        start_ns = _day_ns(source) + (int(ticks[1]) * NS_PER_HOUR if ticks else 0)
        data = _unpack(source)
        record = _TICK if ticks else _CANDLE
        if len(data) % record.itemsize:
            raise source.error(0, f"{len(data)} bytes are no whole number of records of {record.itemsize} bytes")
        cells = np.frombuffer(data, record)
        number = np.arange(1, len(cells) + 1)
        scale = 100 if options.symbol.endswith("JPY") or options.symbol.startswith(("XAU", "XAG")) else 1
        if ticks:
            time_ns = start_ns + cells["ms"].astype(np.int64) * NS_PER_MS
            rows = Rows(source=source, number=number, time_ns=time_ns, in_utc=True, unit="record")
            bid, ask = (cells[side].astype(np.int64) * scale for side in ("bid", "ask"))
            return ticks_piece(rows, options, "utc", bid, ask)
        time_ns = start_ns + cells["s"].astype(np.int64) * NS_PER_S
        real = (cells["volume"] > 0) | (cells["high"] != cells["low"])
        rows = Rows(source=source, number=number, time_ns=time_ns, in_utc=True, unit="record").keep(real)
        o, h, l, c = (cells[price].astype(np.int64)[real] * scale for price in ("open", "high", "low", "close"))
        flat = int(np.count_nonzero(~real))
        notes = (Note(origin=source.origin, rows=flat, reason="flat candle of volume 0"),) if flat else ()
        side = "ask" if name.lower().startswith("ask") else "bid"
        return bars_piece(rows, options, "utc", side, (o, h, l, c), period_ns=_MINUTE_NS, notes=notes)


def _day_ns(source: Source) -> int:
    parts = [*source.head.path.parts[:-1], *source.head.member.split("/")[:-1]]
    try:
        year, month, day = (int(part) for part in parts[-3:])
        return (date(year, month + 1, day).toordinal() - date(1970, 1, 1).toordinal()) * NS_PER_DAY
    except ValueError as error:
        raise source.error(0, "needs its folders, such as EURUSD/2019/01/04, to tell the day") from error


def _unpack(source: Source) -> bytes:
    unpacker = lzma.LZMADecompressor(format=lzma.FORMAT_ALONE, memlimit=256 * 1024**2)
    try:
        data = unpacker.decompress(source.data, max_length=contract.MAX_UNPACKED_BYTES + 1)
    except (lzma.LZMAError, EOFError, MemoryError) as error:
        raise source.error(0, f"damaged LZMA data ({error})") from error
    if len(data) > contract.MAX_UNPACKED_BYTES:
        raise DataError(f"{source.origin}: unpacks to more than the limit of {contract.MAX_UNPACKED_BYTES} bytes")
    if not unpacker.eof:
        raise source.error(0, "damaged LZMA data (it ends early)")
    return data
