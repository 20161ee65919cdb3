"""From files to what a day needs, in memory."""

from datetime import UTC, datetime

import numpy as np
import pytest
from msgspec.structs import replace

from adapters.history import SpreadModel
from bus.calendar import to_ns
from bus.errors import DataError
from bus.series import BarSeries
from bus.values import NS_PER_HOUR, NS_PER_S
from daemon import marketdata
from daemon.app import load_data as load
from daemon.config import Config
from daemon.marketdata import Split, SymbolData, build_bars
from daemon.settings import DataSection
from tests.harness.markets import MONDAY_NS, made_up_bars
from tests.harness.pricefiles import write_csv, write_pairs

NS_PER_MINUTE = 60 * NS_PER_S
START_NS = 1_525_132_800_000_000_000 // NS_PER_MINUTE * NS_PER_MINUTE


def minutes(count):
    close = 120_000 + np.cumsum(np.random.default_rng(1).integers(-5, 6, count))
    first = np.concatenate([[120_000], close[:-1]])
    return BarSeries(
        symbol="EURUSD", period_ns=NS_PER_MINUTE, ts_open_ns=START_NS + np.arange(count) * NS_PER_MINUTE,
        open_e5=first, high_e5=np.maximum(first, close) + 2, low_e5=np.minimum(first, close) - 2, close_e5=close,
        quotes=np.full(count, 4),
    )  # fmt: skip


@pytest.mark.parametrize("chunk", [1, 7, 50, 1_000])
def test_bars_are_the_same_however_they_are_kept_in_between(chunk, monkeypatch):
    series = minutes(50)
    monkeypatch.setattr(marketdata, "_CHUNK_ROWS", chunk)
    bars = build_bars(series, SpreadModel(pip_e5=10), NS_PER_MINUTE)

    for column in ("ts_open_ns", "open_e5", "high_e5", "low_e5", "close_e5"):
        assert getattr(bars, column).tolist() == getattr(series, column).tolist()


def test_of_a_very_long_history_the_newest_bars_before_each_end_are_used(monkeypatch):
    series = minutes(1_000)
    monkeypatch.setattr(marketdata, "LARGEST_TRAIN_BARS", 100)
    monkeypatch.setattr(marketdata, "LARGEST_CALIBRATE_BARS", 50)
    data = SymbolData(series=series, bars=series, spread=SpreadModel(pip_e5=10))
    split = Split(train_end_ns=int(series.ts_open_ns[600]), calibrate_end_ns=int(series.ts_open_ns[800]))

    assert data.train(split).ts_open_ns.tolist() == series.ts_open_ns[500:600].tolist()
    assert data.calibrate(split).ts_open_ns.tolist() == series.ts_open_ns[750:800].tolist()


def test_ends_by_date_part_the_bars_there_and_what_is_before_since_is_as_if_it_were_not(tmp_path):
    write_pairs(tmp_path, "EURUSD", "GBPUSD")
    write_csv(tmp_path / "GBPUSD.csv", made_up_bars(1600, 5, symbol="GBPUSD", start_ns=MONDAY_NS - 200 * NS_PER_HOUR))
    data = DataSection(since="2017-04-11", learn_until="2017-05-29T03:00", calibrate_until="2017-06-26T06:00+02:00")
    loaded = load(Config(data=replace(data, path=str(tmp_path))))
    first, learnt, calibrated = (to_ns(datetime(2017, month, day, hour, tzinfo=UTC)) for month, day, hour in
                                 ((4, 11, 0), (5, 29, 3), (6, 26, 4)))  # fmt: skip
    for symbol in loaded.symbols:
        train, calibrate = (part.ts_open_ns for part in (symbol.train(loaded.split), symbol.calibrate(loaded.split)))
        assert train[0] == first
        assert train[-1] < learnt <= calibrate[0]
        assert calibrate[-1] < calibrated <= next(iter(symbol.trade_quotes(loaded.split))).ts_event_ns


def test_a_symbol_with_too_few_bars_is_refused_at_once_or_when_somebody_asks(tmp_path):
    write_pairs(tmp_path, "EURUSD", "GBPUSD")
    write_csv(tmp_path / "GBPUSD.csv", made_up_bars(400, 5, symbol="GBPUSD"))
    config = Config(data=DataSection(path=str(tmp_path)))
    with pytest.raises(DataError, match="GBPUSD has 400 bars to learn from"):
        load(config)
    loaded = load(config, check=False)
    assert [each.symbol for each in loaded.symbols] == ["EURUSD", "GBPUSD"]
    with pytest.raises(DataError, match="GBPUSD has 400 bars to learn from"):
        marketdata.check_parts(loaded)
