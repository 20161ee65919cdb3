"""Features say what their formulas say, follow local clocks, and are absent where what they need is absent."""

import json
import math
from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import numpy as np
import pytest

from bus.errors import DataError
from bus.values import NS_PER_HOUR, NS_PER_S
from models import features
from models.columns import from_request, from_series, join
from models.features import ALL, DEFAULT, SIGMA_BARS, compute, latest, schema_hash, volatility
from models.features._registry import feature, hash_of
from tests.harness.markets import made_up_bars, replaced_after, request_at

BARS = made_up_bars(900, 4)
COLUMNS = from_series(BARS)
ALL_BARS = features.needing()


def column(name, inputs=COLUMNS):
    return compute(inputs, (name,))[:, 0]


def test_no_feature_changes_when_the_future_is_replaced_by_noise():
    before = compute(COLUMNS, ALL_BARS)
    for row in np.random.default_rng(9).integers(256, len(BARS) - 1, 20).tolist():
        other = compute(from_series(replaced_after(BARS, row, seed=row)), ALL_BARS)
        assert other[: row + 1].tobytes() == before[: row + 1].tobytes()
        assert other[row + 1 :].tobytes() != before[row + 1 :].tobytes()


def test_nothing_older_than_the_start_up_length_matters():
    row, startup = 700, features.startup(ALL_BARS)
    older = from_series(made_up_bars(row + 1 - startup, 77))
    shifted = replace(older, ts_open_ns=COLUMNS.ts_open_ns[: row + 1 - startup])
    grafted = join(shifted, COLUMNS.rows(row + 1 - startup, row + 1))
    assert compute(grafted, ALL_BARS)[-1].tobytes() == compute(COLUMNS, ALL_BARS)[row].tobytes()


def test_every_feature_sees_something_in_its_window():
    moved = replace(
        COLUMNS,
        close_e5=COLUMNS.close_e5 + (np.arange(len(COLUMNS)) % 7) * 5,
        open_e5=COLUMNS.open_e5 - 3,
        high_e5=COLUMNS.high_e5 + 60 + np.arange(len(COLUMNS)) % 11,
        low_e5=COLUMNS.low_e5 - 20 - np.arange(len(COLUMNS)) % 13,
        spread_e5=COLUMNS.spread_e5 + np.arange(len(COLUMNS)) % 3,
        ts_open_ns=COLUMNS.ts_open_ns + np.cumsum(np.arange(len(COLUMNS)) % 5) * NS_PER_HOUR,
    )
    changed = (compute(moved, ALL_BARS)[256:] != compute(COLUMNS, ALL_BARS)[256:]).any(axis=0)
    assert [name for name, moves in zip(ALL_BARS, changed, strict=True) if not moves] == []


def test_volatility_is_the_finite_exponentially_weighted_one():
    close = BARS.close_e5 / 1e5
    returns = np.diff(np.log(close))[-128:]
    weights = 0.94 ** np.arange(127, -1, -1.0)
    assert volatility(COLUMNS)[-1] == pytest.approx(math.sqrt((weights * returns**2).sum() / weights.sum()))


def test_a_market_that_stands_still_has_the_least_volatility():
    still = np.full(len(COLUMNS), 110_000)
    frozen = replace(COLUMNS, open_e5=still, high_e5=still, low_e5=still, close_e5=still)
    assert volatility(frozen)[-1] == features.SIGMA_FLOOR


def test_formulas_agree_with_plain_ones():
    opening, close, high, low = (np.log(x / 1e5) for x in (BARS.open_e5, BARS.close_e5, BARS.high_e5, BARS.low_e5))
    sigma = volatility(COLUMNS)[-1]
    r = np.diff(close)
    gains, losses = np.maximum(r, 0)[-14:].sum(), np.maximum(-r, 0)[-14:].sum()
    before = close[-15:-1]
    ranges = np.maximum(high[-14:], before) - np.minimum(low[-14:], before)
    u, d, c, o = high - opening, low - opening, close - opening, opening[1:] - close[:-1]
    rogers = (u * (u - c) + d * (d - c))[-24:].mean()
    k = 0.34 / (1.34 + 25 / 23)
    yang = o[-24:].var(ddof=1) + k * c[-24:].var(ddof=1) + (1 - k) * rogers
    garman = (0.5 * (high - low)[-24:] ** 2 - (2 * math.log(2) - 1) * c[-24:] ** 2).mean()
    now, last = close[-1] - opening[-1], close[-2] - opening[-2]
    expected = {
        "ret_24": (close[-1] - close[-25]) / (sigma * math.sqrt(24)),
        "past_ret_3": r[-4] / sigma,
        "vol_ewma": math.log(sigma),
        "vol_close_24": math.log(math.sqrt((r[-24:] ** 2).mean()) / sigma),
        "vol_parkinson_24": math.log(math.sqrt(((high - low)[-24:] ** 2).mean() / (4 * math.log(2))) / sigma),
        "vol_garman_klass_24": math.log(math.sqrt(garman) / sigma),
        "vol_rogers_satchell_24": math.log(math.sqrt(rogers) / sigma),
        "vol_yang_zhang_24": math.log(math.sqrt(yang) / sigma),
        "vol_ratio_8_64": 0.5 * math.log((r[-8:] ** 2).mean() / (r[-64:] ** 2).mean()),
        "vol_of_vol_64": np.abs(r[-64:]).std() / np.abs(r[-64:]).mean(),
        "downside_share_24": (r[-24:][r[-24:] < 0] ** 2).sum() / (r[-24:] ** 2).sum() - 0.5,
        "skewness_64": (r[-64:] ** 3).mean() / (r[-64:] ** 2).mean() ** 1.5,
        "kurtosis_64": math.log((r[-64:] ** 4).mean() / (r[-64:] ** 2).mean() ** 2),
        "rsi_cutler_14": (gains - losses) / (gains + losses),
        "bollinger_20": (close[-1] - close[-20:].mean()) / (2 * close[-20:].std()),
        "range_position_24": (close[-1] - low[-24:].min()) / (high[-24:].max() - low[-24:].min()) - 0.5,
        "range_width_96": math.log((high[-96:].max() - low[-96:].min()) / (sigma * math.sqrt(96))),
        "high_age_64": high[-65:][::-1].argmax() / 64,
        "low_age_64": low[-65:][::-1].argmin() / 64,
        "drawdown_64": (close[-1] - close[-64:].max()) / (sigma * 8),
        "run_up_64": (close[-1] - close[-64:].min()) / (sigma * 8),
        "ma_distance_96": (close[-1] - close[-96:].mean()) / (sigma * math.sqrt(96)),
        "slope_24": np.polyfit(np.arange(24), close[-24:], 1)[0] * math.sqrt(24) / sigma,
        "efficiency_24": (close[-1] - close[-25]) / np.abs(r[-24:]).sum(),
        "true_range_14": ranges.mean() / sigma,
        "up_share_8": (r[-8:] > 0).mean() - 0.5,
        "autocorrelation_24": (r[-24:] * r[-25:-1]).sum() / (r[-24:] ** 2).sum(),
        "body_share_8": c[-8:].sum() / (high - low)[-8:].sum(),
        "engulfing": (now + last) / (abs(now) + abs(last)) if now * last < 0 else 0.0,
        "spread_bp": 1e4 * BARS.spread_e5[-1] / BARS.close_e5[-1],
        "spread_sigma": BARS.spread_e5[-1] / BARS.close_e5[-1] / sigma,
        "gap_return": (opening[-1] - close[-2]) / sigma,
    }
    for name, value in expected.items():
        assert column(name)[-1] == pytest.approx(value, rel=1e-7, abs=1e-9), name


def test_a_streak_counts_closes_in_one_direction():
    close = 110_000 + np.r_[np.zeros(3), np.arange(1, 13), 11, 10, 10, 9].astype(np.int64)
    bars = made_up_bars(len(close), 1)
    rising = replace(from_series(bars), close_e5=close)
    assert (column("streak_8", rising)[10:] * 8).tolist() == [8, 8, 8, 8, 8, -1, -2, 0, -1]


def test_spectral_formulas_agree_with_plain_ones():
    r = np.diff(np.log(BARS.close_e5 / 1e5))[-64:]
    power = np.abs(np.fft.rfft((r - r.mean()) * np.hanning(64)))[1:] ** 2
    shares, grid = power / power.sum(), np.arange(1, 33) / 64
    expected = {
        "frequency": grid[shares.argmax()],
        "peak": shares.max(),
        "entropy": -(shares * np.log(shares)).sum() / math.log(32),
        "centroid": (shares * grid).sum(),
        "roll_off": grid[np.argmax(np.cumsum(shares) >= 0.85)],
    }
    for name, value in expected.items():
        assert column(f"spectral_{name}_64")[-1] == pytest.approx(value, rel=1e-9), name
    assert column("band_slow_64")[-1] == pytest.approx(shares[:4].sum())
    assert column("band_fast_64")[-1] == pytest.approx(shares[16:].sum())


def test_a_sine_is_found_at_its_frequency_and_white_noise_is_white():
    def market(returns):
        close = np.round(1.1e9 * np.exp(np.cumsum(returns))).astype(np.int64)
        return replace(from_series(made_up_bars(len(close), 1)), close_e5=close)

    sine = market(1e-3 * np.sin(2 * math.pi * np.arange(400) / 8))
    noise = market(1e-3 * np.random.default_rng(3).standard_normal(4000))
    for width in (64, 128):
        assert column(f"spectral_frequency_{width}", sine)[-1] == 1 / 8
        assert column(f"spectral_centroid_{width}", sine)[-1] == pytest.approx(1 / 8, abs=0.005)
        assert column(f"spectral_entropy_{width}", sine)[-1] < 0.35
        assert column(f"band_slow_{width}", sine)[-1] + column(f"band_fast_{width}", sine)[-1] < 0.02
        assert column(f"spectral_entropy_{width}", noise)[width:].mean() > 0.8
        assert column(f"spectral_centroid_{width}", noise)[width:].mean() == pytest.approx(0.25, abs=0.02)
        assert column(f"spectral_roll_off_{width}", noise)[width:].mean() == pytest.approx(0.425, abs=0.03)
        assert column(f"band_fast_{width}", noise)[width:].mean() == pytest.approx(0.5, abs=0.04)


def closing(utc):
    return from_series(made_up_bars(3, 1, start_ns=int(utc.timestamp()) * NS_PER_S - NS_PER_HOUR))


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
    names = ("session_london", "session_new_york", "session_overlap", "near_rollover")
    assert compute(closing(utc), names)[0].tolist() == [london, new_york, london * new_york, near]


@pytest.mark.parametrize(
    ("utc", "name", "value"),
    [
        (datetime(2017, 7, 12, 7, tzinfo=UTC), "london_open", 1),
        (datetime(2017, 1, 11, 7, tzinfo=UTC), "london_open", 0),
        (datetime(2017, 1, 11, 8, tzinfo=UTC), "london_open", 1),
        (datetime(2017, 3, 15, 12, tzinfo=UTC), "new_york_open", 1),
        (datetime(2017, 3, 8, 12, tzinfo=UTC), "new_york_open", 0),  # a week before New York's summer time
        (datetime(2017, 3, 8, 13, tzinfo=UTC), "new_york_open", 1),
        (datetime(2017, 7, 12, 23, tzinfo=UTC), "session_tokyo", 1),  # 8:00 in Tokyo, the next trading day
        (datetime(2017, 7, 12, 8, tzinfo=UTC), "session_tokyo", 0),  # 17:00 in Tokyo
        (datetime(2017, 7, 12, 20, tzinfo=UTC), "to_rollover", 1 / 24),
        (datetime(2017, 1, 11, 20, tzinfo=UTC), "to_rollover", 2 / 24),
        (datetime(2017, 1, 11, 22, tzinfo=UTC), "to_rollover", 1.0),
        (datetime(2017, 7, 14, 20, tzinfo=UTC), "to_week_end", 1 / 120),
        (datetime(2017, 7, 9, 21, tzinfo=UTC), "to_week_end", 1.0),  # Sunday 17:00 in New York
        (datetime(2017, 3, 10, 22, tzinfo=UTC), "to_week_end", (7 * 24 - 1) / 120),  # over New York's change of clocks
        (datetime(2017, 7, 31, 12, tzinfo=UTC), "month_end", 1),  # a Monday
        (datetime(2017, 7, 28, 12, tzinfo=UTC), "month_end", 1),  # the Friday before
        (datetime(2017, 7, 27, 12, tzinfo=UTC), "month_end", 0),
        (datetime(2017, 7, 31, 21, tzinfo=UTC), "month_end", 0),  # after 17:00 in New York it is August
        (datetime(2017, 7, 29, 12, tzinfo=UTC), "month_end", 0),  # a Saturday
    ],
)
def test_opens_rollover_and_month_end_are_those_of_people_s_clocks(utc, name, value):
    assert column(name, closing(utc))[0] == pytest.approx(value)


def test_quarter_hours_have_the_time_of_day_of_their_close():
    period_ns = NS_PER_HOUR // 4
    start = datetime(2017, 7, 12, 20, 0, tzinfo=UTC)
    quarters = from_series(made_up_bars(4, 1, period_ns=period_ns, start_ns=int(start.timestamp()) * NS_PER_S))
    angles = 2 * math.pi * (16 + np.arange(1, 5) / 4) / 24
    assert column("hour_sin", quarters) == pytest.approx(np.sin(angles))
    assert column("to_rollover", quarters) * 24 == pytest.approx([0.75, 0.5, 0.25, 24.0])


def test_a_weekend_shows_as_a_gap():
    assert column("gap_bars")[121] == 0
    assert column("gap_bars")[120] == pytest.approx(math.log(49))


def test_too_few_bars_give_nan_live():
    row, sigma = latest(COLUMNS.rows(0, SIGMA_BARS - 1))
    assert np.isnan(row[DEFAULT.index("ret_1")])
    assert math.isnan(sigma)
    assert np.isnan(latest(COLUMNS.rows(0, 0))[0]).all()


def test_a_schema_has_an_identity_by_names_order_and_nothing_else():
    assert len(schema_hash()) == 64
    assert schema_hash() == schema_hash(DEFAULT)
    assert len({schema_hash(), schema_hash(DEFAULT[::-1]), schema_hash(DEFAULT[:-1]), schema_hash(ALL_BARS)}) == 4
    told = json.loads(json.dumps(features.schema()))
    assert [one["name"] for one in told] == list(DEFAULT)
    assert {"formula", "needs", "startup", "hash"} <= set(told[0])


def test_hashes_differ_between_features_of_one_family():
    assert len({one.hash for one in ALL.values()}) == len(ALL)


def test_the_code_s_identity_is_its_numbers_and_not_its_words():
    plain = "def f(x):\n    return x + 1\n"
    assert hash_of('"""What it is."""\n\n# a note\ndef f(x):\n    """Adds."""\n    return x  + 1  # one\n') == hash_of(
        plain
    )
    assert hash_of(plain.replace("1", "2")) != hash_of(plain)
    assert hash_of(plain.replace("+", "-")) != hash_of(plain)


def test_a_feature_is_refused_where_it_could_not_be_told_from_another_or_computed_live():
    def explained(m):
        """A formula."""
        return m.close

    def unexplained(m):
        return m.close

    for arguments, function in (
        ({"name": "ret_1", "startup": 1}, explained),
        ({"name": "endless", "startup": 257}, explained),
        ({"name": "silent", "startup": 1}, unexplained),
    ):
        with pytest.raises(ValueError, match=arguments["name"]):
            feature(**arguments)(function)
    assert not {"endless", "silent"} & set(ALL)


def test_impossible_bars_in_a_request_are_refused_with_its_name():
    request = request_at(BARS, 300)

    for change in (
        {"close_e5": request.close_e5[:-1]},
        {"quotes": request.quotes[:-1]},
        {"low_e5": (0, *request.low_e5[1:])},
        {"ts_open_ns": request.ts_open_ns[::-1]},
        {"open_e5": (2**70, *request.open_e5[1:])},
        {"period_ns": 0},
    ):
        with pytest.raises(DataError, match="r300"):
            from_request(msgspec.structs.replace(request, **change))
