"""Market history as columns refuses what no market shows."""

import dataclasses

import numpy as np
import pytest

from bus.errors import DataError
from bus.series import BarSeries, TickSeries


def bars(**changes):
    columns = {
        "ts_open_ns": [10, 20, 30],
        "open_e5": [100, 105, 103],
        "high_e5": [110, 108, 104],
        "low_e5": [95, 101, 99],
        "close_e5": [105, 103, 100],
        "quotes": [1, 2, 3],
    } | changes
    return BarSeries(symbol="EURUSD", period_ns=10, **{k: np.array(v, dtype=np.int64) for k, v in columns.items()})


def test_a_plausible_series_passes_and_knows_its_length():
    bars().check()
    assert len(bars()) == 3


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"ts_open_ns": [10, 10, 30]}, "bar 1 does not come after"),
        ({"ts_open_ns": [10, 30, 20]}, "bar 2 does not come after"),
        ({"low_e5": [0, 101, 99]}, "bar 0 has impossible prices"),
        ({"high_e5": [110, 104, 104]}, "bar 1 has impossible prices"),
        ({"low_e5": [95, 101, 101]}, "bar 2 has impossible prices"),
    ],
)
def test_an_impossible_bar_is_named(changes, text):
    with pytest.raises(DataError, match=f"EURUSD: {text}"):
        bars(**changes).check()


def test_an_empty_series_is_refused():
    with pytest.raises(DataError, match="EURUSD: no bars"):
        bars().slice(0, 0).check()


def test_a_slice_cuts_every_column_and_shares_memory():
    whole = dataclasses.replace(bars(), spread_e5=np.array([1, 2, 3]), ask_e5=np.arange(12).reshape(3, 4))
    part = whole.slice(1, 3)
    assert len(part) == 2
    for field in dataclasses.fields(BarSeries):
        ours, theirs = getattr(part, field.name), getattr(whole, field.name)
        if isinstance(theirs, np.ndarray):
            assert np.array_equal(ours, theirs[1:3])
            assert np.shares_memory(ours, theirs)
        else:
            assert ours == theirs


def test_ticks_know_their_length():
    column = np.array([1, 2], dtype=np.int64)
    assert len(TickSeries(symbol="EURUSD", ts_ns=column, bid_e5=column, ask_e5=column)) == 2
