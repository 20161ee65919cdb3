"""The vendors' own files against independent conversions of the same sources, where the data folder is at hand."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from adapters.history import SpreadModel, clamped, load, quotes, read, resample
from bus.errors import DataError
from bus.series import BarSeries

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
RAW = DATA / "raw"
MINUTE = 60 * 10**9
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the data folder is not beside this checkout")


def converted(path, *columns):
    """Columns of a converted file: times in ns and prices in e5, by plain Python rounding."""
    table = pq.read_table(DATA / path)
    ts = table.column("ts").cast("int64").to_numpy()
    return ts, {name: np.rint(table.column(name).to_numpy() * 100_000).astype(np.int64) for name in columns}


@pytest.mark.parametrize(
    ("raw", "path", "year"),
    [
        ("histdata/HISTDATA_COM_ASCII_EURUSD_M12018.zip", "bars/M1/histdata/EURUSD_M1_bid_201801_201905.parquet", 2018),
        ("histdata/HISTDATA_COM_MT_EURUSD_M12014.zip", "bars/M1/histdata/EURUSD_M1_bid_2014.parquet", 2014),
    ],
)
def test_histdata_bars_have_the_times_and_prices_of_their_conversion(raw, path, year):
    (series,) = read(RAW / raw)
    ts, prices = converted(path, "open", "high", "low", "close")
    end = np.datetime64(f"{year}-12-31T22:00", "ns").astype(np.int64)
    part = ts < end
    assert np.array_equal(series.ts_open_ns, ts[part])
    for name in ("open", "high", "low", "close"):
        assert np.array_equal(getattr(series, f"{name}_e5"), prices[name][part]), name


@pytest.mark.parametrize("feed", ["oanda", "fxcm"])
def test_lean_ticks_have_the_times_and_prices_of_their_conversion(feed):
    history = load(RAW / f"lean/forex/{feed}/tick/eurusd/20140501_quote.zip")
    (series,) = history.series
    ts, prices = converted(f"ticks/EURUSD_{feed}_20140501_20140511.parquet", "bid", "ask")
    rows = len(series) + sum(note.rows for note in history.notes)
    good = prices["bid"][:rows] <= prices["ask"][:rows]
    assert np.array_equal(series.ts_ns, ts[:rows][good])
    assert np.array_equal(series.bid_e5, prices["bid"][:rows][good])
    assert np.array_equal(series.ask_e5, prices["ask"][:rows][good])
    assert rows == {"oanda": 24_179, "fxcm": 51_053}[feed]


def manifest():
    return json.loads((DATA / "manifest.json").read_text())["files"] if DATA.is_dir() else []


@pytest.mark.parametrize("entry", [e for e in manifest() if e["rows"] < 400_000 and e["side"] != "ask"],
                         ids=lambda entry: entry["path"])  # fmt: skip
def test_every_parquet_file_has_the_rows_and_times_of_the_manifest(entry):
    history = load(DATA / entry["path"])
    (series,) = history.series
    ts = series.ts_open_ns if isinstance(series, BarSeries) else series.ts_ns
    assert series.symbol == entry["symbol"]
    if isinstance(series, BarSeries):
        minutes = {"M1": 1, "M5": 5, "M15": 15, "H1": 60, "H4": 240, "D1": 1440}[entry["granularity"]]
        assert series.period_ns == minutes * MINUTE
    assert len(series) + sum(note.rows for note in history.notes) == entry["rows"]
    first, last = (np.datetime64(entry[key][:-6], "ns").astype(np.int64) for key in ("first_ts", "last_ts"))
    assert [int(ts[0]), int(ts[-1])] == [first, last]


def test_a_folder_of_bid_and_ask_files_gives_two_sided_hours():
    (series,) = read(DATA / "bars/H1/oanda", symbol="NZDUSD")
    ts, prices = converted("bars/H1/oanda/NZDUSD_H1_ask.parquet", "open", "high", "low", "close")
    assert np.array_equal(series.ts_open_ns, ts)
    assert np.array_equal(series.ask_e5, np.stack(list(prices.values()), axis=1))
    crossed = [quote for quote in quotes(series, spread=SpreadModel(), stop=20_000) if quote.ask_e5 < quote.bid_e5]
    assert crossed == []


def test_separately_recorded_sides_cross_in_places_and_are_lifted():
    (series,) = read(DATA / "bars/M1/fxcm")
    crossed_closes = float(np.mean(series.ask_e5[:, 3] < series.close_e5))
    assert 0.010 < crossed_closes < 0.022  # the data's own notes say 1.6 %
    assert clamped(series) > 0
    assert (series.spread_e5 >= 0).all()


def test_dukascopy_candles_are_those_of_their_own_ticks():
    folder = RAW / "dukascopy/bi5/EURUSD/2019/01/04"
    (candles,) = read(folder / "BID_candles_min_1.bi5")
    for hour in (0, 10, 23):
        built = resample(read(folder / f"{hour:02}h_ticks.bi5")[0], MINUTE)
        _, own, other = np.intersect1d(built.ts_open_ns, candles.ts_open_ns, return_indices=True)
        assert len(own) >= 58
        same = [
            getattr(built, f"{name}_e5")[own] == getattr(candles, f"{name}_e5")[other]
            for name in ("open", "high", "low", "close")
        ]
        assert np.mean(same) > 0.95


def test_dukascopy_sides_in_one_folder_are_joined(tmp_path):
    folder = tmp_path / "EURUSD/2019/01/04"
    folder.mkdir(parents=True)
    for side in ("BID", "ASK"):
        shutil.copy(RAW / f"dukascopy/bi5/EURUSD/2019/01/04/{side}_candles_min_1.bi5", folder)
    (series,) = read(tmp_path)
    assert len(series) == 1440
    assert 0 < int(np.median(series.spread_e5)) < 30


def test_a_metatrader_file_on_its_default_clock_agrees_with_another_feed_at_lag_zero():
    (series,) = read(RAW / "mt5/EURUSD_M1_201806.csv")
    (other,) = read(DATA / "bars/M1/histdata/EURUSD_M1_bid_201801_201905.parquet")
    distance = {}
    for lag in (-3600, -60, 0, 60, 3600):
        _, i, j = np.intersect1d(series.ts_open_ns + lag * 10**9, other.ts_open_ns, return_indices=True)
        distance[lag] = float(np.median(np.abs(series.close_e5[i] - other.close_e5[j])))
    assert min(distance, key=lambda lag: distance[lag]) == 0
    assert series.spread_e5[:4].tolist() == [47, 31, 31, 28]


@pytest.mark.parametrize(
    ("raw", "symbol", "rows", "first", "price_e5"),
    [
        ("mt4/EURSGD60.csv", None, 2048, "2017-12-07T05:00", 159013),
        ("mt5/US30m_Daily_202401010000_202509080000.csv", "US30", 527, "2023-12-31T22:00", 3_776_390_000),
        ("truefx/USDJPY_ticks.csv", None, 1000, "2013-01-01T22:00:00.295", 8_665_500),
        ("histdata/EURUSD_ticks_20200101.csv", None, 9500, "2020-01-01T22:00:00.065", 112120),
        (
            "dukascopy/USA500.IDXUSD_Ticks_04.09.2023-04.09.2023.csv",
            "US500",
            10_235,
            "2023-09-03T22:00:05.962",
            451_566_400,
        ),
        ("dukascopy/EURUSD_Candlestick_1_D_BID_15.12.2017-15.12.2020.csv", None, 1097 - 158, "2017-12-15", 117745),
        ("lean/forex/oanda/daily/eurgbp.zip", None, 3738, "2007-01-01", 67332),
        ("lean/forex/oanda/minute/eurusd/20140501_quote.zip", None, 1363, "2014-05-01", 138676),
        ("lean/cfd/oanda/minute/xauusd/20140501_quote.zip", None, 1375, "2014-05-01", 129_167_700),
    ],
)
def test_an_original_gives_its_rows_first_time_and_first_bid(raw, symbol, rows, first, price_e5):
    (series,) = read(RAW / raw, symbol=symbol)
    bars = isinstance(series, BarSeries)
    ts, bid = (series.ts_open_ns, series.open_e5) if bars else (series.ts_ns, series.bid_e5)
    assert len(series) == rows
    assert ts[0] == np.datetime64(first, "ns").astype(np.int64)
    assert bid[0] == price_e5


def test_an_ask_file_alone_says_that_the_bid_is_missing():
    with pytest.raises(DataError, match="only the ask side of EURUSD"):
        read(RAW / "dukascopy/FOREX_EURUSD_1H_ASK.csv")
