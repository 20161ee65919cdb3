import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from bus.errors import ConfigError
from bus.special import clopper_pearson
from risk.coverage import CoverageState, CoverageTracker, fewest_plausible


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 3_000), st.data(), st.sampled_from([0.5, 0.8, 0.95, 0.99]))
def test_clopper_pearson_agrees_with_scipy(n, data, confidence):
    k = data.draw(st.integers(0, n))
    theirs = binomtest(k, n).proportion_ci(confidence, method="exact")
    assert clopper_pearson(k, n, confidence) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_clopper_pearson_of_nothing_says_nothing_and_nonsense_is_refused():
    assert clopper_pearson(0, 0) == (0.0, 1.0)
    for k, n, c in ((3, 2, 0.95), (-1, 2, 0.95), (1, 2, 1.0)):
        with pytest.raises(ValueError, match="needs"):
            clopper_pearson(k, n, c)


@settings(max_examples=100, deadline=None)
@given(st.integers(50, 300), st.sampled_from([900_000, 800_000, 200_000, 950_000]))
def test_the_whole_number_threshold_is_where_the_upper_limit_reaches_the_level(n, level_ppm):
    k = fewest_plausible(n, level_ppm)
    assert clopper_pearson(k, n)[1] >= level_ppm / 1e6 - 1e-12
    assert k == 0 or clopper_pearson(k - 1, n)[1] < level_ppm / 1e6


def told(covered, missed, window=250):
    tracker = CoverageTracker(900_000, window)
    for outcome in [True] * covered + [False] * missed:
        tracker.add(covered=outcome)
    return tracker


def test_size_falls_in_steps_when_measured_coverage_falls():
    assert told(90, 10).size_multiplier_ppm() == 1_000_000
    assert told(80, 20).size_multiplier_ppm() == 500_000
    assert told(60, 40).size_multiplier_ppm() == 250_000
    assert told(80, 20).state is CoverageState.DEGRADED
    assert told(84, 16).state is CoverageState.OK


def test_fewer_than_fifty_outcomes_say_nothing():
    tracker = told(0, 49)
    assert (tracker.state, tracker.size_multiplier_ppm()) == (CoverageState.UNMEASURED, 1_000_000)
    tracker.add(covered=False)
    assert tracker.size_multiplier_ppm() == 250_000


def test_only_the_window_counts_so_a_model_can_recover():
    tracker = told(0, 60, window=60)
    assert (tracker.n, tracker.covered, tracker.measured) == (60, 0, 0.0)
    for _ in range(60):
        tracker.add(covered=True)
    assert (tracker.n, tracker.covered, tracker.state) == (60, 60, CoverageState.OK)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), max_size=400), st.integers(50, 120))
def test_the_count_equals_a_recount_of_the_window(outcomes, window):
    tracker = CoverageTracker(900_000, window)
    for outcome in outcomes:
        tracker.add(covered=outcome)
    assert tracker.covered == sum(outcomes[-window:])


@pytest.mark.parametrize(("level", "window"), [(0, 250), (1_000_000, 250), (900_000, 49)])
def test_what_cannot_be_measured_is_refused(level, window):
    with pytest.raises(ConfigError, match="coverage"):
        CoverageTracker(level, window)
