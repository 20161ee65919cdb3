"""Small files of every market-data format, made on the spot, with what they should read as."""

import lzma
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

BARS_E5 = [[110000, 110050, 109990, 110020], [110020, 110030, 109900, 109950], [109950, 109970, 109940, 109950]]
BARS = [tuple(price / 100_000 for price in bar) for bar in BARS_E5]
TICKS = [(1.10000, 1.10010), (1.10003, 1.10011), (1.10003, 1.10003)]
TICKS_E5 = [[110000, 110010], [110003, 110011], [110003, 110003]]
MINUTES_UTC = [1_389_020_400 + 60 * i for i in range(3)]  # 2014-01-06 15:00 UTC, a winter Monday
SECONDS_UTC = [1_389_020_400.000, 1_389_020_400.250, 1_389_020_401.000]


@dataclass(frozen=True)
class Example:
    """A file that can be made, and what it must read as."""

    format: str
    make: Callable[[Path], Path]
    ticks: bool = False
    two_sided: bool = False
    spread_e5: tuple[int, ...] | None = None


def _text(name: str, lines: list[str], end: str = "\n") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(end.join([*lines, ""]).encode())
        return path

    return make


def zipped(name: str, member: str, content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(member, content)
            archive.writestr("status.txt", "gaps: none")
        return path

    return make


def _p(values: tuple[float, ...], decimals: int = 5) -> list[str]:
    return [f"{value:.{decimals}f}" for value in values]


def _bars(line: Callable[[int, list[str]], str], decimals: int = 5) -> list[str]:
    return [line(i, _p(bar, decimals)) for i, bar in enumerate(BARS)]


def _ticks(line: Callable[[int, list[str]], str], decimals: int = 5) -> list[str]:
    return [line(i, _p(tick, decimals)) for i, tick in enumerate(TICKS)]


_MS = [0, 250, 1000]
_STAMP = ["00.000", "00.250", "01.000"]
_BOTH = [(*bar, *(round(price + 0.0001, 5) for price in bar)) for bar in BARS]


def _lean_bar(time: str, i: int) -> str:
    prices = _p(_BOTH[i])
    return ",".join([time, *prices[:4], "0", *prices[4:], "0"])


def _bi5(name: str, record: str, rows: list[tuple]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / "EURUSD" / "2014" / "00" / "06" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = b"".join(struct.pack(record, *row) for row in rows)
        path.write_bytes(lzma.compress(data, format=lzma.FORMAT_ALONE))
        return path

    return make


def parquet(name: str, columns: dict, metadata: dict | None = None) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        table = pa.table(columns)
        pq.write_table(table.replace_schema_metadata(metadata or {}), folder / name)
        return folder / name

    return make


def bar_columns(shift: float = 0.0, times: list[int] | None = None) -> dict:
    stamps = pa.array([s * 10**9 for s in times or MINUTES_UTC], pa.timestamp("ns", tz="UTC"))
    prices = {name: [bar[i] + shift for bar in BARS] for i, name in enumerate(("open", "high", "low", "close"))}
    return {"ts": stamps, **prices}


EXAMPLES = [
    Example("HistData ASCII bars", zipped("HISTDATA_COM_ASCII_EURUSD_M12014.zip", "DAT_ASCII_EURUSD_M1_2014.csv",
            "\n".join(_bars(lambda i, p: f"20140106 10{i:02}00;{';'.join(p)};0", 6)).encode())),
    Example("HistData ASCII ticks", _text("DAT_ASCII_EURUSD_T_201401.csv",
            _ticks(lambda i, p: f"20140106 1000{_STAMP[i].replace('.', '')},{','.join(p)},0", 6)), ticks=True),
    Example("HistData MT bars", _text("DAT_MT_EURUSD_M1_2014.csv",
            _bars(lambda i, p: f"2014.01.06,10:{i:02},{','.join(p)},0", 6))),
    Example("MetaTrader 4 bars", _text("EURUSD1.csv",
            _bars(lambda i, p: f"2014.01.06,17:{i:02},{','.join(p)},{i + 7}"), "\r\n")),
    Example("MetaTrader 5 bars", _text("EURUSD_M1.csv",
            ["<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>",
             *_bars(lambda i, p: "\t".join(["2014.01.06", f"17:{i:02}:00", *p, "9", "0", str(i)]))], "\r\n"),
            spread_e5=(0, 1, 2)),
    Example("MetaTrader 5 ticks", _text("EURUSD_ticks.csv",
            ["<DATE>\t<TIME>\t<BID>\t<ASK>\t<LAST>\t<VOLUME>\t<FLAGS>",
             "2014.01.06\t17:00:00.000\t1.10000\t1.10010\t\t\t6",
             "2014.01.06\t17:00:00.250\t1.10003\t1.10011\t\t\t6",
             "2014.01.06\t17:00:01.000\t\t1.10003\t\t\t4"]), ticks=True),
    Example("Dukascopy candles", _text("EURUSD_Candlestick_1_M_BID_06.01.2014-06.01.2014.csv",
            ["Gmt time,Open,High,Low,Close,Volume",
             *_bars(lambda i, p: f"06.01.2014 15:{i:02}:00.000,{','.join(p)},12.5"),
             "06.01.2014 15:03:00.000,1.09950,1.09950,1.09950,1.09950,0"])),
    Example("Dukascopy ticks", _text("EURUSD_Ticks_06.01.2014-06.01.2014.csv",
            ["Local time,Ask,Bid,AskVolume,BidVolume",
             *_ticks(lambda i, p: f"06.01.2014 18:00:{_STAMP[i]} GMT+0300,{p[1]},{p[0]},1.5,0.75")]), ticks=True),
    Example("Dukascopy bi5", _bi5("15h_ticks.bi5", ">IIIff",
            [(_MS[i], TICKS_E5[i][1], TICKS_E5[i][0], 1.0, 1.0) for i in range(3)]), ticks=True),
    Example("Dukascopy bi5", _bi5("BID_candles_min_1.bi5", ">IIIIIf",
            [(54_000 + 60 * i, o, c, l, h, 2.0) for i, (o, h, l, c) in enumerate(BARS_E5)])),
    Example("TrueFX ticks", _text("anything.csv",
            _ticks(lambda i, p: f"EUR/USD,20140106 15:00:{_STAMP[i]},{','.join(p)}")), ticks=True),
    Example("LEAN ticks", zipped("forex/oanda/tick/eurusd/20140106_quote.zip", "20140106_eurusd_tick_quote.csv",
            "\n".join(_ticks(lambda i, p: f"{54_000_000 + _MS[i]},{','.join(p)}")).encode()), ticks=True),
    Example("LEAN bars", _text("forex/fxcm/minute/eurusd/20140106_eurusd_minute_quote.csv",
            [_lean_bar(str(36_000_000 + 60_000 * i), i) for i in range(3)]), two_sided=True),
    Example("LEAN bars", zipped("renamed.zip", "eurusd.csv",
            "\n".join(_lean_bar(f"20140106 15:0{i}", i) for i in range(3)).encode()), two_sided=True),
    Example("CSV with header", _text("EURUSD.csv",
            [",Open,High,Low,Close,Volume", *_bars(lambda i, p: f"2014-01-06 15:0{i}:00,{','.join(p)},3")])),
    Example("CSV with header", _text("EURUSD.csv",
            ["time;bid;ask", *_ticks(lambda i, p: f"2014-01-06T17:00:{_STAMP[i]}+02:00;{p[0]};{p[1]}")]), ticks=True),
    Example("CSV with header", _text("EURUSD.csv",
            ['"timestamp","open","high","low","close","ask_open","ask_high","ask_low","ask_close"',
             *(",".join([str(MINUTES_UTC[i] * 1000), *_p(_BOTH[i])]) for i in range(3))]), two_sided=True),
    Example("Parquet", parquet("bars.parquet", bar_columns(), {"symbol": "EURUSD", "side": "bid"})),
    Example("Parquet", parquet("EURUSD_ticks.parquet",
            {"time": [int(s * 1000) for s in SECONDS_UTC], "bid": [t[0] for t in TICKS], "ask": [t[1] for t in TICKS]}),
            ticks=True),
]  # fmt: skip
