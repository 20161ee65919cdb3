"""From files to what a day needs, in memory."""

import numpy as np
import pytest

from adapters.history import SpreadModel
from bus.series import BarSeries
from bus.values import NS_PER_S
from daemon import marketdata
from daemon.marketdata import Split, SymbolData, build_bars

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
