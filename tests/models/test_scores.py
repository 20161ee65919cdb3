"""Scores are what their formulas say: against scipy, against integrals, and on forecasts that tell the truth."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bus.errors import DataError
from models import scores

VALUES = st.floats(-100, 100, allow_nan=False)


def test_coverage_counts_and_its_interval_is_scipys():
    held = [True] * 88 + [False] * 12
    found = scores.coverage(held)
    theirs = stats.binomtest(88, 100).proportion_ci(0.95, "exact")
    assert (found.n, found.effective, found.share) == (100, 100, 0.88)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_overlapping_forecasts_count_as_the_few_that_do_not():
    held = ([True] * 9 + [False]) * 240
    few, many = scores.coverage(held, overlap=24), scores.coverage(held)
    assert few.share == many.share == 0.9
    assert few.effective == 100
    assert few.low < many.low < 0.9 < many.high < few.high
    with pytest.raises(DataError, match="coverage of 0"):
        scores.coverage([])


def test_the_interval_of_overlapping_forecasts_holds_the_true_coverage_as_often_as_it_says():
    """Sums of 24 independent steps, told every step: the naive interval fails, this one does not."""
    random = np.random.default_rng(5)
    limit = stats.norm.isf(0.05) * math.sqrt(24)
    naive = honest = 0
    for _ in range(100):
        walk = np.concatenate(([0.0], np.cumsum(random.standard_normal(1500))))
        held = np.abs(walk[24:] - walk[:-24]) <= limit
        naive += scores.coverage(held).low <= 0.9 <= scores.coverage(held).high
        honest += scores.coverage(held, overlap=24).low <= 0.9 <= scores.coverage(held, overlap=24).high
    assert naive < 0.6 * 100
    assert honest >= 0.92 * 100


def test_the_worst_window_is_the_worst_of_all():
    held = np.random.default_rng(1).random(500) < 0.9
    assert scores.worst_window(held, 50) == min(held[start : start + 50].mean() for start in range(451))
    assert scores.worst_window(held, 501) is None
    assert scores.worst_window([True], 1) == 1.0


@settings(max_examples=100, deadline=None)
@given(VALUES, st.floats(0, 50), VALUES, st.sampled_from([0.05, 0.1, 0.5]))
def test_the_interval_score_is_the_sum_of_two_pinball_losses(lower, width, actual, alpha):
    limits = [np.array([value]) for value in (lower, lower + width, actual)]
    low = scores.pinball(limits[0], limits[2], alpha / 2)
    high = scores.pinball(limits[1], limits[2], 1 - alpha / 2)
    assert scores.winkler(*limits, alpha)[0] == pytest.approx(2 / alpha * (low + high)[0], abs=1e-6)


def test_the_true_interval_has_the_best_interval_score():
    draws = np.random.default_rng(2).standard_normal(200_000)
    half = np.full(len(draws), stats.norm.isf(0.05))
    true = scores.winkler(-half, half, draws, 0.1).mean()
    for factor in (0.7, 0.9, 1.1, 1.4):
        assert scores.winkler(-factor * half, factor * half, draws, 0.1).mean() > true
    assert scores.winkler(np.array([-math.inf]), np.array([math.inf]), np.array([0.0]), 0.1)[0] == math.inf


def test_crps_of_a_gaussian_is_the_integral_it_stands_for():
    grid = np.linspace(-12, 12, 200_001)
    cdf = stats.norm.cdf(grid, 0.3, 1.7)
    integral = ((cdf - (grid >= 1.1)) ** 2).sum() * (grid[1] - grid[0])
    assert scores.crps_normal(np.array([0.8]), np.array([1.7]))[0] == pytest.approx(integral, rel=1e-4)


@settings(max_examples=60, deadline=None)
@given(st.lists(VALUES, min_size=2, max_size=12), VALUES)
def test_the_fair_sample_crps_is_its_double_sum(samples, actual):
    found = scores.crps_sample(np.array([samples]), np.array([actual]))[0]
    m = len(samples)
    spread = sum(abs(a - b) for a in samples for b in samples) / (2 * m * (m - 1))
    assert found == pytest.approx(sum(abs(a - actual) for a in samples) / m - spread, abs=1e-9)


def test_the_fair_estimator_does_not_depend_on_the_number_of_samples_and_the_naive_one_does():
    random = np.random.default_rng(3)
    actual = random.standard_normal(40_000)
    exact = scores.crps_normal(actual, np.ones(len(actual))).mean()
    for m in (3, 10):
        samples = random.standard_normal((len(actual), m))
        fair = scores.crps_sample(samples, actual).mean()
        assert fair == pytest.approx(exact, abs=0.006)
        naive = fair + np.abs(samples[:, :, None] - samples[:, None, :]).mean() / (2 * (m - 1))
        assert naive > exact + 0.03
    with pytest.raises(DataError, match="at least two"):
        scores.crps_sample(actual[:, None], actual)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 20), min_size=2, max_size=10), VALUES, st.floats(0.1, 10))
def test_the_crps_of_symmetric_scores_is_that_of_random_signs(spread, error, scale):
    """A fair estimate over the values, exact over the signs: the mean over all pairs and all signs."""
    found = scores.crps_symmetric(np.array(spread), np.array([error]), np.array([scale]))[0]
    m = len(spread)
    near = sum(abs(sign * s * scale - error) for s in spread for sign in (-1, 1)) / (2 * m)
    pairs = [(a, b) for i, a in enumerate(spread) for j, b in enumerate(spread) if i != j]
    apart = sum(abs(x * a - y * b) for a, b in pairs for x in (-1, 1) for y in (-1, 1)) / (4 * len(pairs))
    assert found == pytest.approx(near - scale * apart / 2, abs=1e-7)


def test_crps_from_quantiles_approaches_the_exact_one_as_levels_grow():
    random = np.random.default_rng(4)
    actual = random.standard_normal(5000)
    exact = scores.crps_normal(actual, np.ones(5000)).mean()
    found = []
    for count in (9, 19, 999):
        levels = (np.arange(count) + 1) / (count + 1)
        quantiles = np.tile(stats.norm.ppf(levels), (5000, 1))
        found.append(scores.crps_quantiles(quantiles, levels.tolist(), actual).mean())
    assert found[2] == pytest.approx(exact, rel=0.005)
    # the same forecast reads differently on another grid: never compare across grids
    assert found[0] > 1.03 * found[2]


def test_pit_is_even_for_the_truth_and_heaped_at_the_ends_for_a_forecast_too_narrow():
    draws = np.random.default_rng(6).standard_normal(20_000)
    values = scores.pit_normal(draws, np.ones(len(draws)))
    assert values == pytest.approx(stats.norm.cdf(draws), abs=1e-12)
    true = scores.pit(values, values)
    assert sum(true.shares) == pytest.approx(1.0)
    assert true.p_value > 1e-4
    assert true.statistic == pytest.approx(stats.chisquare(np.histogram(values, 10, (0, 1))[0]).statistic, rel=1e-9)
    narrow = scores.pit_normal(draws, np.full(len(draws), 0.6))
    heaped = scores.pit(narrow, narrow)
    assert heaped.p_value < 1e-6
    assert min(heaped.shares[0], heaped.shares[-1]) > 2 * heaped.shares[4]


def test_pit_of_a_forecast_with_steps_is_spread_over_the_step():
    found = scores.pit(np.array([0.25]), np.array([0.75]), bins=4)
    assert found.shares == (0.0, 0.5, 0.5, 0.0)
    random = np.random.default_rng(7)
    samples, actual = random.integers(0, 4, (4000, 9)).astype(float), random.integers(0, 4, 4000).astype(float)
    assert scores.pit(*scores.pit_sample(samples, actual)).p_value > 1e-4
    biased = scores.pit(*scores.pit_sample(samples, np.minimum(actual + 1, 3)))
    assert biased.p_value < 1e-6
    for low, high in (([0.5], [0.4]), ([-0.1], [0.4]), ([], [])):
        with pytest.raises(DataError, match="PIT"):
            scores.pit(np.array(low), np.array(high))


def test_overlap_makes_the_pit_test_as_careful_as_it_must_be():
    values = np.random.default_rng(8).random(1000) ** 1.1
    assert scores.pit(values, values, overlap=10).statistic == pytest.approx(scores.pit(values, values).statistic / 10)


@pytest.mark.parametrize(("misses", "n", "alpha"), [(30, 250, 0.1), (12, 250, 0.1), (5, 500, 0.05), (200, 1000, 0.1)])
def test_kupiec_is_the_likelihood_ratio_of_two_binomials(misses, n, alpha):
    ratio = 2 * (stats.binom.logpmf(misses, n, misses / n) - stats.binom.logpmf(misses, n, alpha))
    found = scores.kupiec(misses, n, alpha)
    assert found.statistic == pytest.approx(ratio)
    assert found.p_value == pytest.approx(stats.chi2.sf(ratio, 1))


@settings(max_examples=60, deadline=None)
@given(st.integers(5, 300), st.integers(0, 4), st.sampled_from([0.01, 0.05, 0.1, 0.4]))
def test_with_few_misses_kupiec_is_the_exact_binomial_test(n, misses, alpha):
    found = scores.kupiec(misses, n, alpha)
    assert found.statistic is None
    assert found.p_value == pytest.approx(stats.binomtest(misses, n, alpha).pvalue, abs=1e-9)


def chain(random, steps, again):
    """Misses a tenth of the time; after a miss the next misses with probability `again`."""
    held, missed = [], False
    for _ in range(steps):
        missed = random.random() < (again if missed else 0.1 * (1 - again) / 0.9)
        held.append(not missed)
    return held


def test_christoffersen_accepts_lone_misses_and_rejects_clusters():
    random = np.random.default_rng(9)
    rejected = sum(scores.christoffersen(chain(random, 1000, 0.1)).p_value < 0.05 for _ in range(300))
    assert rejected <= 0.1 * 300
    assert scores.christoffersen(chain(random, 2000, 0.3)).p_value < 1e-4
    assert scores.conditional_coverage(chain(random, 2000, 0.3), 0.1).p_value < 1e-4
    never = scores.christoffersen([True] * 50)
    assert (never.statistic, never.p_value) == (0.0, 1.0)


def test_christoffersen_is_the_published_ratio():
    held = [True, True, False, True, False, False, True, True, True, False, True, True]
    n00, n01, n10, n11 = 4, 3, 3, 1
    p01, p11, p = n01 / (n00 + n01), n11 / (n10 + n11), (n01 + n11) / 11
    chained = n00 * math.log(1 - p01) + n01 * math.log(p01) + n10 * math.log(1 - p11) + n11 * math.log(p11)
    alone = (n00 + n10) * math.log(1 - p) + (n01 + n11) * math.log(p)
    found = scores.christoffersen(held)
    assert found.statistic == pytest.approx(2 * (chained - alone))
    both = scores.conditional_coverage(held, 0.1)
    nominal = (n00 + n10) * math.log(0.9) + (n01 + n11) * math.log(0.1)
    assert both.statistic == pytest.approx(2 * (chained - nominal))
    assert both.p_value == pytest.approx(stats.chi2.sf(both.statistic, 2))


def test_overlapping_misses_do_not_count_as_clusters():
    """Sums of eight steps told every step miss in runs; every eighth alone does not."""
    random = np.random.default_rng(10)
    walk = np.concatenate(([0.0], np.cumsum(random.standard_normal(8000))))
    held = np.abs(walk[8:] - walk[:-8]) <= stats.norm.isf(0.05) * math.sqrt(8)
    assert scores.christoffersen(held).p_value < 1e-6
    assert scores.christoffersen(held, overlap=8).p_value > 1e-3


def test_a_loss_that_is_lower_is_found_and_equals_are_not_told_apart():
    random = np.random.default_rng(11)
    noise = np.convolve(random.standard_normal(6000), np.ones(24) / 24, "valid")
    false = 0
    for _ in range(200):
        shaken = np.convolve(random.standard_normal(2000), np.ones(24), "valid")
        false += scores.diebold_mariano(shaken, ahead=24).p_value < 0.05
    assert false <= 0.12 * 200
    better = scores.diebold_mariano(noise - 0.2, ahead=24)
    assert better.statistic < -4
    assert better.p_value < 1e-4
    assert scores.diebold_mariano(np.zeros(100)).p_value == 1.0
    assert scores.diebold_mariano(np.full(100, -1.0)).statistic == -math.inf


def test_what_cannot_be_tested_is_refused():
    for call in (
        lambda: scores.kupiec(5, 4, 0.1),
        lambda: scores.kupiec(0, 0, 0.1),
        lambda: scores.christoffersen([True]),
        lambda: scores.diebold_mariano(np.zeros(100), ahead=24),
    ):
        with pytest.raises(DataError):
            call()
