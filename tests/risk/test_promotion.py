"""A comparison of two models: fair to equals, hard on the worse, and never fooled by looking often."""

import numpy as np
import pytest

from bus.errors import ConfigError
from bus.messages import Band
from bus.special import beta_cdf
from risk.promotion import FEWEST_BATCHES, LOOKS, Comparison, SwapPolicy, chance_below, winkler_e5

HORIZONS = (1, 4, 8)


def band(half, level_ppm=900_000):
    return Band(level_ppm=level_ppm, lower_e5=-half, upper_e5=half, bounded=True)


def compared(policy=None, horizons=HORIZONS, since_ns=0):
    return Comparison(
        "new", "old", horizons=horizons, policy=policy or SwapPolicy(), level_ppm=900_000, since_ns=since_ns
    )


def simulate(comparison, random, count, *, error=1.0, horizons=HORIZONS):
    """A walk that both forecast as standing still, the new model with an error of its own of `error` - 1 sigma.

    Bands are those that cover 90 % of each model's errors, so only sharpness differs. Gives the first better and worse.
    """
    moves = random.standard_normal(count + max(horizons)) * 1_000
    walk = np.concatenate(([0.0], np.cumsum(moves)))
    own = {h: random.standard_normal(count) * 1_000 * np.sqrt(h * max(error**2 - 1, 0)) for h in horizons}
    better = worse = None
    for bar in range(max(horizons), count):
        for horizon in horizons:
            as_of = bar - horizon
            change, scale = walk[bar] - walk[as_of], 1_000 * horizon**0.5
            half = round(1.645 * scale)
            for model, off, size in (("old", 0.0, 1.0), ("new", own[horizon][as_of], error)):
                standing = comparison.add(model, as_of, horizon, band(round(half * size)), round(change + off), scale)
                if standing is not None:
                    better = standing if standing.better and better is None else better
                    worse = standing if standing.worse and worse is None else worse
    return better, worse


def test_the_interval_score_is_width_and_ten_times_twice_what_lies_outside():
    assert winkler_e5(band(100), 0) == 200
    assert winkler_e5(band(100), 100) == 200
    assert winkler_e5(band(100), 130) == pytest.approx(200 + 20 * 30)
    assert winkler_e5(band(100, 500_000), -130) == pytest.approx(200 + 4 * 30)


def test_the_chance_is_students():
    stats = pytest.importorskip("scipy.stats")
    random = np.random.default_rng(3)
    for n in (2, 5, 30):
        for shift in (-1.0, 0.0, 0.4):
            values = (random.standard_normal(n) + shift).tolist()
            expected = stats.ttest_1samp(values, 0.0, alternative="less").pvalue
            assert chance_below(values) == pytest.approx(expected, abs=1e-9)
    assert chance_below([]) == chance_below([1.0]) == chance_below([0.0, 0.0]) == 0.5
    assert chance_below([-1.0, -1.0]) == 0.0
    assert chance_below([1.0, 1.0]) == 1.0
    assert beta_cdf(0.5, 1, 1) == pytest.approx(0.5)


def test_it_looks_a_few_times_at_twice_the_requests_each():
    comparison = compared(horizons=(1,))
    seen = []
    for bar in range(10_000):
        for model in ("new", "old"):
            standing = comparison.add(model, bar, 1, band(100), 0, 100)
            if standing is not None:
                seen.append(standing.pairs)
    assert seen == [250 * 2**look for look in range(LOOKS)]
    assert comparison.over
    long = compared(horizons=(24,))
    assert long.next_look == FEWEST_BATCHES * 48


def test_only_requests_that_both_answered_since_it_began_count():
    comparison = compared(SwapPolicy(min_pairs=1), horizons=(1,), since_ns=100)
    for bar in range(100):
        comparison.add("new", bar, 1, band(100), 0, 100)
        comparison.add("old", bar, 1, band(100), 0, 100)
    assert comparison.pairs == 0
    comparison.add("new", 100, 1, band(100), 0, 100)
    comparison.add("old", 101, 1, band(100), 0, 100)
    comparison.add("third", 100, 1, band(100), 0, 100)
    unbounded = Band(level_ppm=900_000, lower_e5=0, upper_e5=0, bounded=False)
    comparison.add("old", 100, 1, unbounded, 0, 100)
    assert comparison.pairs == 0
    comparison.add("new", 101, 1, band(100), 0, 100)
    assert comparison.pairs == 1


def test_a_challenger_as_good_as_the_incumbent_passes_and_a_bad_one_is_found_worse():
    better, worse = simulate(compared(), np.random.default_rng(1), 5_000)
    assert better is not None
    assert worse is None
    assert better.off is None
    assert better.excess_pct == pytest.approx(0.0, abs=1e-9)
    better, worse = simulate(compared(), np.random.default_rng(1), 3_000, error=1.3)
    assert better is None
    assert worse.excess_pct > 10
    assert "requests" in str(worse)


def test_coverage_out_of_bounds_is_named_with_its_horizon():
    comparison = compared(SwapPolicy(min_pairs=100), horizons=(1,))
    standing = None
    for bar in range(200):
        for model, half in (("new", 60), ("old", 100)):
            standing = comparison.add(model, bar, 1, band(half), 70 if bar % 4 == 0 else 0, 100) or standing
    assert standing.off == (1, pytest.approx(0.75))
    assert "coverage 75.0% at 1 bars" in str(standing)


@pytest.mark.parametrize("horizons", [(1,), (1, 4, 8)])
def test_a_challenger_exactly_as_much_worse_as_the_margin_allows_is_rarely_promoted(horizons):
    """The edge of the null hypothesis: 5 % is allowed, all looks together; of 200 markets 9 % is three sigmas above."""
    policy = SwapPolicy(min_pairs=64, margin_pct_e2=500, coverage_pct_e2=10_000)
    promoted = 0
    for seed in range(200):
        comparison = compared(policy, horizons)
        better, _ = simulate(comparison, np.random.default_rng(seed), 1_000, error=1.05, horizons=horizons)
        promoted += better is not None
    assert promoted / 200 <= 0.09


@pytest.mark.parametrize(
    ("key", "value"),
    [("min_pairs", 0), ("margin_pct_e2", -1), ("false_promotion_pct_e2", 0), ("coverage_pct_e2", 0), ("misses", -1)],
)
def test_impossible_settings_are_refused(key, value):
    with pytest.raises(ConfigError, match=f"swap.{key}"):
        SwapPolicy(**{key: value})
