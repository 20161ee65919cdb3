import math
import random
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from bus.errors import ConfigError
from bus.special import clopper_pearson
from risk.coverage import CoverageState, CoverageTracker, fewest_plausible, upper_ppm, weights


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
    assert clopper_pearson(k, n, 0.99)[1] >= level_ppm / 1e6 - 1e-12
    assert k == 0 or clopper_pearson(k - 1, n, 0.99)[1] < level_ppm / 1e6


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 250), st.data())
def test_the_limit_that_is_told_is_the_exact_one(n, data):
    k = data.draw(st.integers(0, n))
    assert upper_ppm(k, n) == pytest.approx(1e6 * clopper_pearson(k, n, 0.99)[1], abs=1.001)


@given(st.integers(1_000, 999_000))
def test_the_sum_is_fair_or_worse_while_the_interval_tells_the_truth(level_ppm):
    """E exp(step) <= 1 under the nominal level: what Ville's inequality, and so the false-block rate, rests on."""
    gain, loss = weights(level_ppm)
    hit = level_ppm / 1e6
    assert (1 - hit) * math.exp(gain / 100) + hit * math.exp(-loss / 100) <= 1.0


DEGRADED, BLOCKED = CoverageState.DEGRADED, CoverageState.BLOCKED
RANK = {CoverageState.UNMEASURED: 0, CoverageState.OK: 0, DEGRADED: 1, BLOCKED: 2}
HALVED = 0.5892  # what is left of 90 % when sigma is twice what the interval says


def told(outcomes, **settings):
    tracker = CoverageTracker(900_000, **settings)
    for outcome in outcomes:
        tracker.add(covered=outcome)
    return tracker


def drawn(source, n, chance):
    return [source.random() < chance for _ in range(n)]


def test_of_ten_thousand_stationary_windows_fewer_than_one_in_a_hundred_are_blocked():
    """A window is 250 independent outcomes of an honest 90 % interval, looked at after each of them.

    A quarter of the windows start from a fresh tracker, the others one behind the other in long lives, so that what
    carries over from one to the next counts too.
    """
    source, blocked, degraded = random.Random(11), 0, 0
    tracker = CoverageTracker(900_000)
    for window in range(10_000):
        if window < 2_500 or window % 500 == 0:
            tracker = CoverageTracker(900_000)
        seen = set()
        for _ in range(250):
            tracker.add(covered=source.random() < 0.9)
            seen.add(tracker.state)
        blocked += BLOCKED in seen
        degraded += bool(seen & {DEGRADED, BLOCKED})
    assert blocked < 100
    assert degraded < 1_500


def outcomes_until(states, chance, source, most=400):
    tracker = told(drawn(source, 250, 0.9))
    for count in range(most):
        if tracker.state in states:
            return count
        tracker.add(covered=source.random() < chance)
    return most


def test_doubled_volatility_is_seen_and_blocked_within_a_median_of_sixty_outcomes():
    source = random.Random(12)
    assert median(outcomes_until({DEGRADED, BLOCKED}, HALVED, source) for _ in range(300)) <= 30
    assert median(outcomes_until({BLOCKED}, HALVED, source) for _ in range(300)) <= 60


def test_a_small_lie_is_found_by_the_window_and_only_makes_entries_smaller():
    source = random.Random(13)
    found = [outcomes_until({DEGRADED, BLOCKED}, 0.82, source, 1_000) for _ in range(60)]
    assert median(found) < 250


def test_the_window_finds_what_the_sum_cannot_and_lets_go_later_than_it_took_hold():
    tracker = told(([True] * 5 + [False]) * 50)
    assert (tracker.state, tracker.n) == (DEGRADED, 250)
    assert tracker.sum_pct < 25
    while tracker.state is DEGRADED:
        before = tracker.covered
        tracker.add(covered=True)
    assert tracker.state is CoverageState.OK
    assert tracker.covered >= fewest_plausible(250, 900_000, 10) > before >= fewest_plausible(250, 900_000)


def shifted_walk(source, n, horizon, size=1.0):
    steps = [source.gauss(0.0, size) for _ in range(n + horizon - 1)]
    sums = [0.0]
    for step in steps:
        sums.append(sums[-1] + step)
    return [abs(sums[i + horizon] - sums[i]) <= 1.6449 * horizon**0.5 for i in range(n)]


def test_truths_that_overlap_raise_no_more_false_alarms_than_truths_that_do_not():
    source, blocked, naive = random.Random(14), 0, 0
    for _ in range(150):
        outcomes = shifted_walk(source, 100 * 12, 12)
        for horizon in (12, 1):
            tracker = CoverageTracker(900_000, horizon=horizon)
            seen = set()
            for outcome in outcomes:
                tracker.add(covered=outcome)
                seen.add(tracker.state)
            blocked += horizon > 1 and BLOCKED in seen
            naive += horizon == 1 and BLOCKED in seen
    assert blocked <= 3
    assert naive > 100, "taken as independent they would be blocked nearly always"


def test_a_lie_at_a_long_horizon_is_found_in_as_many_independent_outcomes():
    source, found = random.Random(15), []
    for _ in range(30):
        tracker = told(shifted_walk(source, 60 * 12, 12), horizon=12)
        count = 0
        for outcome in shifted_walk(source, 200 * 12, 12, size=2.0):
            if tracker.state is BLOCKED:
                break
            tracker.add(covered=outcome)
            count += 1
        found.append(count / 12)
    assert median(found) <= 60


@settings(max_examples=150, deadline=None)
@given(st.data(), st.integers(50, 120), st.sampled_from([1, 3]), st.sampled_from([900_000, 800_000]))
def test_a_sequence_with_more_misses_never_has_a_looser_state(data, window, horizon, level_ppm):
    better = data.draw(st.lists(st.sampled_from([True, True, True, False]), max_size=500))
    spoiled = data.draw(st.sets(st.integers(0, 499), max_size=120))
    good, bad = (CoverageTracker(level_ppm, window, horizon=horizon) for _ in range(2))
    for place, outcome in enumerate(better):
        good.add(covered=outcome)
        bad.add(covered=outcome and place not in spoiled)
        assert RANK[bad.state] >= RANK[good.state]
        assert bad.n == good.n


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), max_size=300), st.integers(50, 120), st.integers(1, 5))
def test_the_window_equals_a_recount(outcomes, window, horizon):
    tracker = told(outcomes, window=window, horizon=horizon)
    blocks = [outcomes[i : i + horizon] for i in range(0, len(outcomes) - horizon + 1, horizon)][-window:]
    assert tracker.n == len(blocks)
    assert tracker.covered == -(-sum(map(sum, blocks)) // horizon)


def test_a_catastrophe_is_blocked_before_there_is_enough_for_the_window():
    tracker = told([False] * 8)
    assert (tracker.state, tracker.n) == (BLOCKED, 8)
    assert told([False] * 4).state is CoverageState.UNMEASURED


def test_fewer_than_fifty_outcomes_say_nothing_good():
    assert told([True] * 49).state is CoverageState.UNMEASURED
    assert told([True] * 50).state is CoverageState.OK


def test_the_way_back_is_as_short_after_a_long_lie_as_after_a_short_one_and_leads_through_degraded():
    taken = []
    for lie in (8, 30):
        tracker = told([True] * 250 + [False] * lie)
        assert tracker.state is BLOCKED
        passed = []
        while tracker.state is BLOCKED:
            tracker.add(covered=True)
            passed.append(tracker.state)
        assert passed[-1] is DEGRADED
        taken.append(len(passed))
    assert taken[0] == taken[1] == 12


def test_one_good_outcome_does_not_open_the_gate_nor_one_miss_close_it_again():
    tracker = told([True] * 250 + [False] * 8)
    states = []
    for outcome in [True, False] * 20:
        tracker.add(covered=outcome)
        states.append(tracker.state)
    assert set(states) == {BLOCKED}


def test_after_a_lie_that_has_left_the_window_all_is_well():
    tracker = told([False] * 60 + [True] * 250)
    assert (tracker.n, tracker.covered, tracker.state, tracker.sum) == (250, 250, CoverageState.OK, 0)


def test_intervals_that_are_too_wide_are_told_and_cost_nothing():
    assert told([True] * 100).wide
    assert told([True] * 100).state is CoverageState.OK
    assert not told(([True] * 9 + [False]) * 10).wide


@pytest.mark.parametrize(
    ("level", "settings"),
    [(0, {}), (1_000_000, {}), (900_000, {"window": 49}), (900_000, {"horizon": 0}),
     (900_000, {"false_block_pct_e2": 0}), (900_000, {"false_block_pct_e2": 10_000})],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused(level, settings):
    with pytest.raises(ConfigError, match="coverage"):
        CoverageTracker(level, **settings)
