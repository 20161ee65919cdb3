"""Intervals tell the truth: ranks, coverage, adaptation."""

import math
import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.errors import DataError
from bus.values import LARGEST
from models.conformal import Calibrator, RollingScores, rank, score

SCORES = st.floats(0.0, 1e6, allow_nan=False)


@pytest.mark.parametrize("percent", [1, 2, 5, 10, 20, 25, 30, 50])
def test_the_rank_is_the_exact_one_for_every_size(percent):
    for n in range(2000):
        exact = math.ceil((n + 1) * (1 - Fraction(percent, 100)))
        assert rank(n, percent / 100) == exact
        assert rank(n, 1 - (100 - percent) / 100) == exact


def test_too_few_scores_for_a_level_give_an_unbounded_interval():
    assert RollingScores(scores=range(8)).quantile(0.1) == math.inf
    assert RollingScores(scores=range(9)).quantile(0.1) == 8
    calibrator = Calibrator((900_000, 500_000), [1.0] * 8)
    wide, narrow = calibrator.interval(110_000, 50)
    assert not wide.bounded
    assert (wide.lower_e5, wide.upper_e5) == (0, LARGEST)
    assert narrow.bounded
    assert calibrator.unbounded == 1


def test_the_quantile_is_the_one_mapie_takes():
    from mapie.regression import SplitConformalRegressor
    from sklearn.dummy import DummyRegressor

    random_numbers = np.random.default_rng(3)
    for n in (19, 50, 100, 251):
        residuals = random_numbers.standard_normal(n)
        still = DummyRegressor(strategy="constant", constant=0.0).fit(np.zeros((2, 1)), np.zeros(2))
        oracle = SplitConformalRegressor(estimator=still, confidence_level=0.9, prefit=True)
        oracle.conformalize(np.zeros((n, 1)), residuals)
        _, intervals = oracle.predict_interval(np.zeros((1, 1)))
        ours = RollingScores(scores=np.abs(residuals).tolist()).quantile(0.1)
        assert ours == pytest.approx(float(intervals[0, 1, 0]), abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(st.lists(SCORES, max_size=40), st.integers(1, 12), st.floats(0.01, 0.99))
def test_the_window_is_the_newest_scores_sorted(values, capacity, alpha):
    window = RollingScores(capacity, values)
    newest = sorted(values[-capacity:])
    assert len(window) == len(newest)
    k = rank(len(newest), alpha)
    assert window.quantile(alpha) == (math.inf if k > len(newest) else newest[k - 1])


@settings(max_examples=60, deadline=None)
@given(st.lists(SCORES, min_size=1, max_size=40), st.floats(0.05, 0.95), st.floats(0.0, 1e3))
def test_a_score_above_the_quantile_never_lowers_it_and_higher_levels_are_never_narrower(values, alpha, more):
    window = RollingScores(100, values)
    before = window.quantile(alpha)
    assert window.quantile(alpha * 0.7) >= before
    if math.isfinite(before):
        window.add(before + more)
        assert window.quantile(alpha) >= before


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0])
def test_a_score_that_is_no_number_is_refused_and_not_learnt(bad):
    calibrator = Calibrator((900_000,), [1.0] * 20)
    with pytest.raises(DataError, match="finite"):
        calibrator.update(bad)
    assert (len(calibrator), calibrator.alphas) == (20, [0.1])


def test_limits_are_integers_rounded_outwards_around_the_point():
    (band,) = Calibrator((900_000,), [1.01] * 50).interval(110_000, 33)
    assert (band.lower_e5, band.upper_e5, band.level_ppm, band.bounded) == (110_000 - 34, 110_000 + 34, 900_000, True)
    assert score(110_033, 110_000, 33) == 1.0
    assert score(110_033, 110_000, 0) == 33.0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(1, 30)), min_size=20, max_size=60))
def test_judging_by_score_and_judging_by_the_band_agree_one_bar_ahead(steps):
    levels = (900_000, 500_000)
    by_score, by_band = Calibrator(levels, range(30)), Calibrator(levels, range(30))
    for sigmas, sigma in steps:
        actual = 1000 + sigmas * sigma
        bands = by_band.interval(1000, sigma)
        by_band.update(score(actual, 1000, sigma), [band.lower_e5 <= actual <= band.upper_e5 for band in bands])
        by_score.update(score(actual, 1000, sigma))
    assert by_score.alphas == by_band.alphas


def test_levels_adapt_by_the_published_step_and_leave_the_unit_interval_counted():
    calibrator = Calibrator((900_000,), [1.0] * 50, gamma=0.05)
    calibrator.update(9.0)
    assert calibrator.alphas[0] == pytest.approx(0.1 - 0.05 * 0.9)
    for _ in range(3):
        calibrator.update(1e6 + calibrator.alphas[0], (False,))
    assert calibrator.alphas[0] < 0
    assert not calibrator.interval(100, 1)[0].bounded
    assert calibrator.unbounded == 1
    for _ in range(400):
        calibrator.update(0.0, (True,))
    assert calibrator.alphas[0] > 1
    (band,) = calibrator.interval(100, 7)
    assert (band.lower_e5, band.upper_e5, band.bounded, calibrator.empty) == (100, 100, True, 1)
    before = calibrator.alphas[0]
    calibrator.update(0.0)  # the empty set holds nothing, not even a perfect forecast
    assert calibrator.alphas[0] == pytest.approx(before - 0.05 * 0.9)


@pytest.mark.parametrize("kind", ["always further", "alternating", "random", "always zero", "bursts"])
def test_long_run_misses_keep_the_deterministic_bound_on_any_sequence(kind):
    numbers = random.Random(5)
    gamma, target = 0.02, 0.1
    calibrator = Calibrator((900_000,), [1.0] * 50, gamma=gamma, capacity=60)
    misses = 0
    for step in range(1, 3001):
        before = calibrator.alphas[0]
        value = {
            "always further": 2.0 + step,
            "alternating": 100.0 * (step % 2) + step / 1e3,
            "random": numbers.expovariate(1.0),
            "always zero": 0.0,
            "bursts": 1e3 + step if (step // 100) % 3 == 0 else 0.1,
        }[kind]
        calibrator.update(value)
        misses += calibrator.alphas[0] < before
        assert abs(misses / step - target) <= (0.9 + gamma) / (gamma * step) + 1e-9


def test_coverage_is_nominal_on_independent_scores_within_its_standard_error():
    numbers = np.random.default_rng(11)
    hits = {0.0: [], 0.01: []}
    for gamma, covered in hits.items():
        for _ in range(8):
            draws = np.abs(numbers.standard_normal(1500))
            calibrator = Calibrator((900_000,), draws[:300].tolist(), gamma=gamma)
            for value in draws[300:].tolist():
                (band,) = calibrator.interval(0, 100_000)
                covered.append(value * 100_000 <= band.upper_e5)
                calibrator.update(value)
        # calibration windows overlap, so allow their share of the spread too
        assert np.mean(covered) == pytest.approx(0.9, abs=0.012)


def test_normalising_by_volatility_flattens_coverage_over_regimes():
    """GARCH(.08, .90): terciles of the rolling split spread .145, normalised and adapted .060 (published anchors)."""
    spreads = {"split": [], "normalised": []}
    for seed in range(6):
        numbers = np.random.default_rng(100 + seed)
        variance, lagged = 1.0, 1.0
        records = {"split": [], "normalised": []}
        calibrators = {"split": Calibrator((900_000,), gamma=0.0), "normalised": Calibrator((900_000,), gamma=0.0)}
        for step, shock in enumerate(numbers.standard_normal(4000).tolist()):
            truth = shock * math.sqrt(variance)
            for name, scale in (("split", 1.0), ("normalised", math.sqrt(lagged))):
                (band,) = calibrators[name].interval(0, round(scale * 1e5))
                if step >= 500:
                    records[name].append((variance, abs(truth * 1e5) <= band.upper_e5))
                calibrators[name].update(abs(truth) / scale)
            lagged = 0.94 * lagged + 0.06 * truth**2
            variance = 0.02 + 0.08 * truth**2 + 0.90 * variance
        for name, record in records.items():
            ordered = [held for _, held in sorted(record)]
            third = len(ordered) // 3
            terciles = [np.mean(ordered[third * part : third * (part + 1)]) for part in range(3)]
            spreads[name].append(terciles[0] - terciles[2])
    assert np.mean(spreads["split"]) == pytest.approx(0.145, abs=0.05)
    assert abs(np.mean(spreads["normalised"])) <= 0.05


def test_levels_that_are_no_levels_are_refused():
    for levels in ((), (0,), (1_000_000,)):
        with pytest.raises(ValueError, match="levels"):
            Calibrator(levels)
