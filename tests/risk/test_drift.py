import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.messages import Histogram, TrainingSummary
from risk.drift import DataDrift, DriftState, Level, PerformanceDrift, SpectrumDrift

OK, WARN, BLOCK = DriftState.OK, DriftState.WARN, DriftState.BLOCK
TENTHS = Histogram(edges=tuple(range(100, 1000, 100)), shares_ppm=(100_000,) * 10)
REFERENCE = TrainingSummary(
    bars=1_000, returns=TENTHS, ranges=TENTHS, octaves_ppm=(516_129, 258_064, 129_032, 64_516, 32_258)
)


def half_normal(source, n, size=1.0):
    return [abs(source.gauss(0.0, size)) for _ in range(n)]


def performance(seed=1, horizon=1, spacing=1, n=500):
    split = half_normal(random.Random(seed), n)
    return PerformanceDrift(split, spacing=spacing, horizon=horizon, level_ppm=900_000, limit_pct=15)


def fed(drift, scores):
    for score in scores:
        drift.add(score)
    return drift


def test_errors_like_those_of_calibration_are_no_drift():
    for seed in range(20):
        drift = fed(performance(seed), half_normal(random.Random(1_000 + seed), 400))
        assert drift.state is OK
        assert abs(drift.value_pct_e2) < 3_000


def test_larger_errors_warn_then_block_and_better_ones_open_the_way_again():
    drift, source = performance(), random.Random(2)
    states = [fed(drift, half_normal(source, 1, size)).state for size in [1.0] * 250 + [2.0] * 250 + [1.0] * 500]
    told = [state for place, state in enumerate(states) if place == 0 or states[place - 1] is not state]
    assert told == [DriftState.UNMEASURED, OK, WARN, BLOCK, WARN, OK]
    assert states.index(WARN) < 250 + 80
    assert states.index(BLOCK) < 250 + 120


def test_smaller_errors_are_none():
    assert fed(performance(), half_normal(random.Random(3), 400, 0.5)).state is OK


def test_the_winkler_score_is_that_of_the_interval_which_calibration_gives():
    split = [float(n) for n in range(1, 101)]  # 90 % rank of 100 is 91
    drift = PerformanceDrift(split, spacing=1, horizon=1, level_ppm=900_000, limit_pct=15)
    mean = sum(2 * 91 + 20 * max(0.0, score - 91) for score in split) / 100
    fed(drift, [95.0] * 100)
    assert drift.value_pct_e2 == int(1e4 * ((2 * 91 + 20 * 4) / mean - 1))


def test_overlapping_truths_are_taken_in_blocks():
    drift = performance(horizon=4, spacing=1)
    fed(drift, [9.0] * 399)
    assert (drift.n, drift.state) == (99, DriftState.UNMEASURED)
    fed(drift, [9.0])
    assert (drift.n, drift.state) == (100, BLOCK)


@pytest.mark.parametrize(
    ("scores", "horizon", "spacing"), [((), 1, 1), ((1.0,) * 8, 1, 1), ((1.0,) * 400, 24, 2), ((0.0,) * 100, 1, 1)]
)
def test_too_few_scores_are_no_reference(scores, horizon, spacing):
    drift = PerformanceDrift(scores, spacing=spacing, horizon=horizon, level_ppm=900_000, limit_pct=15)
    assert fed(drift, [5.0] * 5_000).state is DriftState.NO_REFERENCE


def test_bars_like_those_of_training_are_no_drift_and_others_are():
    source = random.Random(4)
    drift = DataDrift(REFERENCE, limit_pct=20)
    states = []
    for limit in [1_000] * 499:
        drift.add(source.randrange(limit), source.randrange(limit))
        states.append(drift.state)
    assert set(states) == {DriftState.UNMEASURED}
    for limit in [1_000] * 500 + [500] * 500:
        drift.add(source.randrange(limit), source.randrange(1_000))
        states.append(drift.state)
    assert set(states[499:999]) == {OK}
    assert drift.what == "returns"
    assert drift.state is BLOCK
    assert 4_500 < drift.value_pct_e2 < 5_500


def test_the_quantity_that_moved_most_is_named():
    drift = DataDrift(REFERENCE, limit_pct=20)
    for value in range(500):
        drift.add(2 * value, 950)
    assert drift.what == "true ranges"
    assert drift.value_pct_e2 == 9_000


def powers(source, echo):
    """Squared Haar details of returns that echo the one before, as `models.summary` gives them."""
    from models.summary import Measures

    measures, before, price = Measures(), 0.0, 10_000_000
    while True:
        before = echo * before + source.gauss(0.0, 1_000.0)
        price += round(before)
        told = measures.update(price, price, price, 1_000)
        if told is not None and told.octaves is not None:
            yield told.octaves


def test_white_returns_have_the_spectrum_of_white_returns_and_echoes_another():
    for echo, expected in ((0.0, {OK}), (0.6, {BLOCK, WARN}), (-0.6, {BLOCK, WARN})):
        drift, told = SpectrumDrift(REFERENCE, limit_pct=25), powers(random.Random(5), echo)
        for _ in range(700):
            drift.add(next(told))
        assert drift.state in expected, echo


def test_without_a_reference_nothing_is_said():
    data, spectrum = DataDrift(None, limit_pct=20), SpectrumDrift(None, limit_pct=25)
    for _ in range(600):
        data.add(1, 1)
        spectrum.add((1, 1, 1, 1, 1))
    assert data.state is spectrum.state is DriftState.NO_REFERENCE


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(-5_000, 9_000), st.integers(0, 3_000)), max_size=60), st.integers(1, 50))
def test_a_larger_value_never_gives_a_looser_state(values, limit_pct):
    ranks = {OK: 0, WARN: 1, BLOCK: 2}
    smaller, larger = Level(100 * limit_pct), Level(100 * limit_pct)
    for value, more in values:
        smaller.move(value)
        larger.move(value + more)
        assert ranks[larger.state] >= ranks[smaller.state]


def test_a_state_has_hysteresis():
    level, told = Level(1_500), []
    for value in (1_499, 1_500, 1_400, 1_001, 1_000, 1_400, 3_000, 2_001, 2_000, 1_000):
        level.move(value)
        told.append(level.state)
    assert told == [OK, WARN, WARN, WARN, OK, OK, BLOCK, BLOCK, WARN, OK]


def test_what_may_be_luck_neither_warns_nor_blocks():
    level = Level(1_500)
    level.move(9_000, 0)
    assert level.state is OK
    level.move(9_000, 1)
    assert level.state is WARN
    level.move(9_000, 1_500)
    assert level.state is BLOCK
