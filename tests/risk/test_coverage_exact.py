"""The tracker of coverage against a plain one that counts everything anew, and its thresholds to the last digit."""

import itertools
import math
import random
from fractions import Fraction
from functools import cache

import pytest
from scipy.stats import norm

from bus.errors import ConfigError
from risk.coverage import CoverageState, CoverageTracker, fewest_plausible, upper_ppm, weights

UNMEASURED, OK, DEGRADED, BLOCKED = CoverageState


def chance(k, n, level_ppm):
    """That at most k of n are covered, times 10**(6 n)."""
    return sum(math.comb(n, j) * level_ppm**j * (1_000_000 - level_ppm) ** (n - j) for j in range(k + 1))


@cache
def fewest(n, level_ppm, one_in):
    """The first k at which the sum of the chances of 0 to k is 1 in so many."""
    level = Fraction(level_ppm, 1_000_000)
    hit, miss, whole = level.numerator, level.denominator - level.numerator, level.denominator**n
    sums = itertools.accumulate(math.comb(n, j) * hit**j * miss ** (n - j) for j in range(n + 1))
    return next(k for k, total in enumerate(sums) if total * one_in >= whole)


def plain_weights(level_ppm):
    miss = 1 - level_ppm / 1e6
    doubled = 2 * norm.sf(norm.isf(miss / 2) / 2)
    return math.floor(100 * math.log(doubled / miss)), math.ceil(100 * math.log((1 - miss) / (1 - doubled)))


class Plain:
    """What `risk.coverage` says it does, from all outcomes, every time."""

    def __init__(self, level, window, horizon, false_e2):
        self.level, self.window, self.horizon = level, window, horizon
        self.gain, self.loss = plain_weights(level)
        self.high = math.ceil(100 * math.log(window * 10_000 / false_e2)) * horizon
        self.outcomes, self.sum, self.rank, self.wide = [], 0, 0, False

    def add(self, covered):
        self.outcomes.append(covered)
        self.sum = max(0, self.sum - self.loss) if covered else min(self.high, self.sum + self.gain)
        whole = len(self.outcomes) // self.horizon
        blocks = [sum(self.outcomes[b * self.horizon : (b + 1) * self.horizon]) for b in range(whole)][-self.window :]
        self.n, self.hits = len(blocks), sum(blocks)
        self.covered = math.ceil(Fraction(self.hits, self.horizon))
        alarm = sum(self.sum >= self.high * share for share in (Fraction(7, 10), 1))
        hold = sum(self.sum > self.high * share for share in (Fraction(1, 4), Fraction(1, 2)))
        if self.n >= 50:
            twice = max(0, 2 * self.level - 1_000_000)
            if self.covered < fewest(self.n, self.level, 200):
                alarm = max(alarm, 1 + (self.covered < fewest(self.n, twice, 200)))
            if self.covered < fewest(self.n, self.level, 10):
                hold = max(hold, 1 + (self.covered < fewest(self.n, twice, 10)))
            if len(self.outcomes) % self.horizon == 0:
                missed = self.n - self.covered
                self.wide = missed < fewest(self.n, 1_000_000 - self.level, 10 if self.wide else 200)
        self.rank = max(alarm, min(self.rank, hold))

    @property
    def told(self):
        state = UNMEASURED if self.rank == 0 and self.n < 50 else (OK, DEGRADED, BLOCKED)[self.rank]
        measured = self.hits / (self.n * self.horizon) if self.n else None
        return state, self.n, self.covered, measured, self.sum, 100 * self.sum // self.high, self.wide


def life(seed, parts):
    source = random.Random(seed)
    return [source.random() < share for count, share in parts for _ in range(count)]


@pytest.mark.parametrize(
    ("level", "window", "horizon", "false_e2", "parts"),
    [
        (900_000, 66, 1, 1, [(60, 1.0), (80, 0.9), (80, 0.8), (60, 1.0), (30, 0.5), (90, 0.97)]),
        (900_000, 250, 1, 100, [(120, 0.93), (100, 0.79), (90, 1.0)]),
        (800_000, 52, 3, 500, [(170, 0.95), (150, 0.65), (160, 0.9), (160, 0.5), (180, 0.95)]),
        (990_000, 70, 1, 20, [(90, 0.99), (60, 0.95), (120, 1.0), (60, 0.9), (150, 1.0)]),
        (300_000, 50, 1, 1, [(70, 0.3), (60, 0.05), (60, 0.6), (80, 0.2)]),
        (500_000, 55, 2, 9_999, [(130, 0.5), (60, 0.2), (140, 0.6), (120, 0.45)]),
    ],
)
def test_the_tracker_says_what_counting_everything_anew_says(level, window, horizon, false_e2, parts):
    tracker = CoverageTracker(level, window, horizon=horizon, false_block_pct_e2=false_e2)
    plain = Plain(level, window, horizon, false_e2)
    assert (tracker.nominal_ppm, tracker.horizon) == (level, horizon)
    assert (tracker.measured, tracker.n, tracker.covered, tracker.sum, tracker.wide) == (None, 0, 0, 0, False)
    seen = set()
    for n, covered in enumerate(life(7, parts)):
        tracker.add(covered=covered)
        plain.add(covered)
        told = (tracker.state, tracker.n, tracker.covered, tracker.measured, tracker.sum, tracker.sum_pct, tracker.wide)
        assert told == plain.told, n
        seen.add(tracker.state)
    assert seen >= {UNMEASURED, OK, DEGRADED}


def test_without_being_told_otherwise_it_looks_at_250_independent_outcomes_and_one_false_block_in_a_hundred():
    tracker, plain = CoverageTracker(900_000), Plain(900_000, 250, 1, 100)
    for covered in life(3, [(260, 0.97), (9, 0.0)]):
        tracker.add(covered=covered)
        plain.add(covered)
        assert (tracker.n, tracker.sum_pct, tracker.state) == (plain.n, 100 * plain.sum // plain.high, plain.told[0])
    assert tracker.n == 250


def test_the_sum_leads_down_at_seven_tenths_and_back_at_a_half_and_a_quarter_and_at_no_less():
    """A miss is worth 141 and a hit 43; over 132 with 1 in 10,000 the sum ends at 1,410: seven misses are 70 %."""
    assert weights(900_000) == (141, 43)
    tracker, states = CoverageTracker(900_000, 132, false_block_pct_e2=1), []
    for _ in range(10):
        tracker.add(covered=False)
        states.append(tracker.state)
    assert states == [UNMEASURED] * 6 + [DEGRADED] * 3 + [BLOCKED]
    # Over 302 with 1 in 100 it ends at 1,032, which is 24 hits: a half is reached by 12 of them, a quarter by 18.
    tracker, states = CoverageTracker(900_000, 302), []
    for _ in range(8):
        tracker.add(covered=False)
    assert (tracker.state, tracker.sum, tracker.sum_pct) == (BLOCKED, 1_032, 100)
    for _ in range(18):
        tracker.add(covered=True)
        states.append(tracker.state)
    assert states == [BLOCKED] * 11 + [DEGRADED] * 6 + [UNMEASURED]


def test_the_window_alone_leads_down_where_the_sum_has_no_reason_to():
    """Of 50 intervals of 99 % four misses are too many for 99 %, and five even for 98 %; far apart they move no sum."""
    states = []
    for misses in (2, 3, 4, 5):
        tracker = CoverageTracker(990_000)
        for n in range(50):
            tracker.add(covered=n % 10 != 3 or n // 10 >= misses)
        assert tracker.covered == 50 - misses
        assert tracker.sum_pct < 65
        states.append(tracker.state)
    assert states == [OK, OK, DEGRADED, BLOCKED]


@pytest.mark.parametrize("level", [1_000, 300_000, 500_000, 683_000, 900_000, 990_000])
def test_the_steps_of_the_sum_are_whole_and_against_the_alarm(level):
    assert weights(level) == plain_weights(level)


@pytest.mark.parametrize("level", [250_000, 500_000, 900_000, 999_000])
@pytest.mark.parametrize("one_in", [1, 2, 10, 200])
def test_the_fewest_that_are_plausible_are_counted_exactly(level, one_in):
    for n in (1, 2, 3, 10, 57):
        assert fewest_plausible(n, level, one_in) == fewest(n, level, one_in)
    assert fewest_plausible(57, level) == fewest(57, level, 200)


def test_a_chance_that_is_exactly_the_one_asked_for_is_plausible():
    """Of three coins none shows heads with a chance of exactly 1 in 8, at most one with exactly 1 in 2."""
    assert [fewest_plausible(3, 500_000, one_in) for one_in in (9, 8, 7, 2, 1)] == [0, 0, 1, 1, 3]


@pytest.mark.parametrize(("k", "n"), [(0, 1), (0, 50), (1, 2), (2, 5), (30, 60), (59, 60), (54, 60)])
def test_the_upper_limit_is_the_last_millionth_at_which_so_few_are_plausible(k, n):
    limit = upper_ppm(k, n)
    assert chance(k, n, limit) * 200 >= 10 ** (6 * n) > chance(k, n, limit + 1) * 200


def test_where_all_were_covered_or_none_were_seen_there_is_no_upper_limit():
    assert upper_ppm(7, 7) == upper_ppm(0, 0) == CoverageTracker(900_000).upper_ppm() == 1_000_000
    tracker = CoverageTracker(900_000, horizon=2)
    for covered in (True, False, False, False, True, True, True, True):
        tracker.add(covered=covered)
    assert (tracker.covered, tracker.n) == (3, 4)
    assert tracker.upper_ppm() == upper_ppm(3, 4)


def test_what_can_just_be_measured_is_and_what_cannot_is_refused_in_words():
    for level, window, horizon, false_e2 in ((1, 50, 1, 1), (999_999, 50, 1, 9_999)):
        tracker = CoverageTracker(level, window, horizon=horizon, false_block_pct_e2=false_e2)
        assert tracker.state is UNMEASURED
    with pytest.raises(ConfigError) as error:
        CoverageTracker(900_000, 49, false_block_pct_e2=5)
    assert str(error.value) == (
        "coverage of 900000 ppm over 49: the level must lie between 1 and 999999, the window hold at least 50 "
        "outcomes, the horizon be at least 1, and the chance of a false block (5 in 10000) be one"
    )
