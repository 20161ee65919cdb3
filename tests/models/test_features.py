"""Features: the same live and offline, blind to the future, and what their formulas say."""

import math
from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import numpy as np
import pytest

from bus.errors import DataError
from bus.values import NS_PER_HOUR
from models import features
from models.columns import from_request, from_series, join
from models.features import NAMES, WINDOW, compute, latest, schema_hash, volatility
from tests.harness.markets import made_up_bars, replaced_after, request_at

BARS = made_up_bars(900, 4)
ALL = compute(from_series(BARS))


def column(name, columns=None):
    return (ALL if columns is None else compute(columns))[:, NAMES.index(name)]


def test_there_are_at_least_25_features_with_names_of_their_own():
    assert len(NAMES) >= 25
    assert len(set(NAMES)) == len(NAMES) == ALL.shape[1]


def test_rows_with_too_little_history_are_nan_and_all_others_finite():
    assert np.isnan(ALL[: WINDOW - 1]).any(axis=1).all()
    assert np.isfinite(ALL[WINDOW - 1 :]).all()


@pytest.mark.parametrize("seed", range(3))
def test_a_row_is_bit_equal_from_all_history_from_its_window_and_live(seed):
    for row in np.random.default_rng(seed).integers(WINDOW - 1, len(BARS), 40).tolist():
        truncated = compute(from_series(BARS.slice(0, row + 1)))[-1]
        windowed = compute(from_series(BARS.slice(row + 1 - WINDOW, row + 1)))[-1]
        live, sigma = latest(from_request(request_at(BARS, row)))
        assert truncated.tobytes() == ALL[row].tobytes()
        assert windowed.tobytes() == ALL[row].tobytes()
        assert live.tobytes() == ALL[row].tobytes()
        assert sigma == volatility(from_series(BARS))[row]


def test_no_feature_changes_when_the_future_is_replaced_by_noise():
    for row in np.random.default_rng(9).integers(WINDOW - 1, len(BARS) - 1, 40).tolist():
        other = compute(from_series(replaced_after(BARS, row, seed=row)))
        assert other[: row + 1].tobytes() == ALL[: row + 1].tobytes()
        assert other[row + 1 :].tobytes() != ALL[row + 1 :].tobytes()


def test_nothing_older_than_the_window_matters():
    columns = from_series(BARS)
    row = 500
    older = from_series(made_up_bars(row + 1 - WINDOW, 77))
    shifted = replace(older, ts_open_ns=columns.ts_open_ns[: row + 1 - WINDOW])
    grafted = join(shifted, columns.rows(row + 1 - WINDOW, row + 1))
    assert compute(grafted)[-1].tobytes() == ALL[row].tobytes()


def test_every_feature_sees_something_in_its_window():
    columns = from_series(BARS)
    moved = replace(
        columns,
        close_e5=columns.close_e5 + (np.arange(len(columns)) % 7) * 5,
        open_e5=columns.open_e5 - 3,
        high_e5=columns.high_e5 + 60,
        low_e5=columns.low_e5 - 20,
        spread_e5=columns.spread_e5 + np.arange(len(columns)) % 3,
        ts_open_ns=columns.ts_open_ns + np.cumsum(np.arange(len(columns)) % 5) * NS_PER_HOUR,
    )
    changed = (compute(moved)[WINDOW:] != ALL[WINDOW:]).any(axis=0)
    assert [name for name, moves in zip(NAMES, changed, strict=True) if not moves] == []


def test_volatility_is_the_finite_exponentially_weighted_one():
    close = BARS.close_e5 / 1e5
    returns = np.diff(np.log(close))[-128:]
    weights = 0.94 ** np.arange(127, -1, -1.0)
    assert volatility(from_series(BARS))[-1] == pytest.approx(math.sqrt((weights * returns**2).sum() / weights.sum()))


def test_formulas_agree_with_plain_ones():
    close, high, low = (np.log(x / 1e5) for x in (BARS.close_e5, BARS.high_e5, BARS.low_e5))
    sigma = volatility(from_series(BARS))[-1]
    returns = np.diff(close)
    gains, losses = np.maximum(returns, 0)[-14:].sum(), np.maximum(-returns, 0)[-14:].sum()
    before = close[-15:-1]
    true_range = np.maximum(high[-14:], before) - np.minimum(low[-14:], before)
    expected = {
        "ret_24": (close[-1] - close[-25]) / (sigma * math.sqrt(24)),
        "vol_ewma": math.log(sigma),
        "vol_close_24": math.log(math.sqrt((returns[-24:] ** 2).mean()) / sigma),
        "vol_parkinson_24": math.log(math.sqrt(((high - low)[-24:] ** 2).mean() / (4 * math.log(2))) / sigma),
        "rsi_14": (gains - losses) / (gains + losses),
        "bollinger_20": (close[-1] - close[-20:].mean()) / (2 * close[-20:].std()),
        "range_position_24": (close[-1] - low[-24:].min()) / (high[-24:].max() - low[-24:].min()) - 0.5,
        "ma_distance_96": (close[-1] - close[-96:].mean()) / (sigma * math.sqrt(96)),
        "atr_14": true_range.mean() / sigma,
        "up_share_8": (returns[-8:] > 0).mean() - 0.5,
        "autocorrelation_24": (returns[-24:] * returns[-25:-1]).sum() / (returns[-24:] ** 2).sum(),
        "spread_bp": 1e4 * BARS.spread_e5[-1] / BARS.close_e5[-1],
    }
    for name, value in expected.items():
        assert column(name)[-1] == pytest.approx(value, rel=1e-7, abs=1e-9), name


@pytest.mark.parametrize(
    ("utc", "london", "new_york", "near"),
    [
        (datetime(2017, 7, 12, 7, tzinfo=UTC), 1, 0, 0),  # 8:00 in London in summer, 3:00 in New York
        (datetime(2017, 1, 11, 7, tzinfo=UTC), 0, 0, 0),  # 7:00 in London in winter
        (datetime(2017, 7, 12, 12, tzinfo=UTC), 1, 1, 0),
        (datetime(2017, 1, 11, 12, tzinfo=UTC), 1, 0, 0),  # 7:00 in New York in winter
        (datetime(2017, 7, 12, 21, tzinfo=UTC), 0, 0, 1),  # 17:00 in New York
        (datetime(2017, 7, 15, 12, tzinfo=UTC), 0, 0, 0),  # a Saturday
        (datetime(2017, 3, 15, 12, tzinfo=UTC), 1, 1, 0),  # New York has summer time, London not yet
    ],
)
def test_sessions_follow_local_clocks_across_summer_time(utc, london, new_york, near):
    bars = made_up_bars(3, 1, start_ns=int(utc.timestamp()) * 10**9 - NS_PER_HOUR)
    row = compute(from_series(bars))[0]
    assert row[NAMES.index("session_london")] == london
    assert row[NAMES.index("session_new_york")] == new_york
    assert row[NAMES.index("session_overlap")] == london * new_york
    assert row[NAMES.index("near_rollover")] == near


def test_a_weekend_shows_as_a_gap():
    assert column("gap_bars")[121] == 0
    assert column("gap_bars")[120] == pytest.approx(math.log(49))


def test_a_market_that_stands_still_gives_finite_features():
    columns = from_series(BARS)
    still = np.full(len(columns), 110_000)
    frozen = replace(columns, open_e5=still, high_e5=still, low_e5=still, close_e5=still, spread_e5=still * 0)
    rows = compute(frozen)[WINDOW - 1 :]
    assert np.isfinite(rows).all()
    assert volatility(frozen)[-1] == features.SIGMA_FLOOR


def test_too_few_bars_give_nan_live():
    row, sigma = latest(from_series(BARS.slice(0, WINDOW - 1)))
    assert np.isnan(row).all()
    assert math.isnan(sigma)


def test_the_schema_has_an_identity_that_changes_with_the_code_version(monkeypatch):
    before = schema_hash()
    assert len(before) == 64
    assert schema_hash() == before
    monkeypatch.setattr(features, "CODE_VERSION", features.CODE_VERSION + 1)
    assert schema_hash() != before


def test_impossible_bars_in_a_request_are_refused_with_its_name():
    request = request_at(BARS, 300)

    for change in (
        {"close_e5": request.close_e5[:-1]},
        {"low_e5": (0, *request.low_e5[1:])},
        {"ts_open_ns": request.ts_open_ns[::-1]},
        {"open_e5": (2**70, *request.open_e5[1:])},
        {"period_ns": 0},
    ):
        with pytest.raises(DataError, match="r300"):
            from_request(msgspec.structs.replace(request, **change))
