"""The three comparisons against plain calculations: of fractions and of the statistics that everybody knows."""

import math
import random
import statistics
from fractions import Fraction

import pytest

from bus.messages import Histogram, TrainingSummary
from risk.drift import DataDrift, DriftState, Level, PerformanceDrift, SpectrumDrift

NO_REFERENCE, UNMEASURED, OK, WARN, BLOCK = DriftState


def plain_loss(limit, level_ppm, score):
    alpha = 1 - level_ppm / 1e6
    return 2 * limit + 2 / alpha * max(0.0, min(score, 1_000.0) - limit)


class Plain:
    """The performance of a window of blocks beside a split, all of it worked out anew."""

    def __init__(self, split, spacing, horizon, level_ppm, window):
        self.level_ppm, self.horizon, self.window = level_ppm, horizon, window
        rank = math.ceil(Fraction((len(split) + 1) * level_ppm, 10**6))
        self.limit = sorted(split)[rank - 1]
        losses = [plain_loss(self.limit, level_ppm, score) for score in split]
        self.mean = statistics.fmean(losses)
        self.variance = statistics.variance(losses) / min(len(split), len(split) * spacing // horizon)

    def excess(self, scores):
        """In 1/100 percent, and what of it is no luck."""
        losses = [plain_loss(self.limit, self.level_ppm, score) for score in scores]
        whole = len(losses) // self.horizon
        blocks = [statistics.fmean(losses[b * self.horizon : (b + 1) * self.horizon]) for b in range(whole)]
        blocks = blocks[-self.window :]
        error = math.sqrt(statistics.variance(blocks) / len(blocks) + self.variance)
        excess = statistics.fmean(blocks) / self.mean - 1
        return 10_000 * excess, 10_000 * (excess - 3 * error / self.mean)


def split_of(n, seed=1):
    source = random.Random(seed)
    return [abs(source.gauss(0.0, 1.0)) for _ in range(n)]


@pytest.mark.parametrize(("horizon", "spacing", "window", "level"), [(1, 1, 250, 900_000), (3, 2, 110, 800_000)])
def test_the_excess_is_that_of_the_newest_blocks_over_the_split(horizon, spacing, window, level):
    split, source = split_of(240), random.Random(5)
    plain = Plain(split, spacing, horizon, level, window)
    drift = PerformanceDrift(split, spacing=spacing, horizon=horizon, level_ppm=level, limit_pct=15, window=window)
    assert (drift.n, drift.state, drift.value_pct_e2, drift.limit_pct_e2) == (0, UNMEASURED, 0, 1_500)
    assert drift.what == f"Winkler score {horizon} bars ahead"
    scores = []
    for n in range(1, 300 * horizon + 1):
        scores.append(2_000.0 if n == 200 * horizon else abs(source.gauss(0.0, 1.0 + n / 900)))
        drift.add(scores[-1])
        blocks = n // horizon
        assert drift.n == min(blocks, window)
        assert (drift.state is UNMEASURED) is (blocks < 100)
        if blocks >= 100 and n % 7 == 0:
            assert drift.value_pct_e2 == pytest.approx(plain.excess(scores)[0], abs=1.001)
    assert drift.value_pct_e2 <= plain.excess(scores)[0]


@pytest.mark.parametrize(
    ("horizon", "spacing", "steps"), [(1, 1, (*range(3, 33, 2), 28, 34, 47)), (4, 3, (12, 29, 52))]
)
def test_what_may_be_luck_is_no_warning_and_what_may_be_luck_beyond_the_limit_no_block(horizon, spacing, steps):
    """Of a hundred blocks a few are worse: from how many on that is no luck, and no luck even beyond the limit."""
    split = split_of(81, 2)
    plain = Plain(split, spacing, horizon, 900_000, 250)
    states = set()
    for step in steps:
        for count in range(60):
            drift = PerformanceDrift(split, spacing=spacing, horizon=horizon, level_ppm=900_000, limit_pct=4)
            scores = [plain.limit + step / 40] * count * horizon + [0.9] * (100 - count) * horizon
            for score in scores:
                drift.add(score)
            value, sure = plain.excess(scores)
            block = value >= 800 and sure >= 400
            warn = value >= 400 and sure >= 1
            assert drift.state is (BLOCK if block else WARN if warn else OK), (step, count)
            states.add(drift.state)
    assert states == {OK, WARN, BLOCK}


def test_a_score_beyond_all_measure_counts_as_a_thousand_scales():
    split = [1.0] * 98 + [2.0] * 2
    drifts = []
    for score in (1_000.0, 5_000.0, 999.0):
        drift = PerformanceDrift(split, spacing=1, horizon=1, level_ppm=900_000, limit_pct=15)
        for _ in range(100):
            drift.add(score)
        drifts.append(drift.value_pct_e2)
    mean = Fraction(2 * 98 + (2 + 20) * 2, 100)
    assert drifts == [math.floor(10_000 * (Fraction(2 + 20 * (least - 1)) / mean - 1)) for least in (1_000, 1_000, 999)]


@pytest.mark.parametrize(
    ("n", "spacing", "horizon", "level", "known"),
    [
        (50, 1, 1, 900_000, True),
        (49, 1, 1, 900_000, False),
        (99, 1, 1, 990_000, True),  # the 99th of 99 is the quantile
        (98, 1, 1, 990_000, False),
        (200, 1, 4, 900_000, True),  # 200 that overlap by four are 50
        (199, 1, 4, 900_000, False),
        (100, 2, 4, 900_000, True),
        (49, 9, 1, 900_000, False),  # far apart they are still 49
    ],
)
def test_a_split_must_have_fifty_independent_scores_and_the_quantile_among_them(n, spacing, horizon, level, known):
    drift = PerformanceDrift(split_of(n), spacing=spacing, horizon=horizon, level_ppm=level, limit_pct=15)
    for _ in range(100 * horizon):
        drift.add(1.0)
    assert (drift.state is not NO_REFERENCE) is known
    assert drift.n == (100 if known else 0)


def test_a_market_in_which_errors_are_small_is_compared_as_well():
    drift = PerformanceDrift([0.1] * 100, spacing=1, horizon=1, level_ppm=900_000, limit_pct=15)
    for score in [0.1] * 100:
        drift.add(score)
    assert (drift.n, drift.value_pct_e2, drift.state) == (100, 0, OK)


def test_scores_far_apart_are_no_more_than_they_are():
    """The variance of the split is that of as many scores as there are, however far apart they were taken."""
    near, far = (
        PerformanceDrift(split_of(60), spacing=spacing, horizon=1, level_ppm=900_000, limit_pct=1) for spacing in (1, 9)
    )
    told = []
    for score in [1.5] * 100 + [3.0] * 100:
        near.add(score)
        far.add(score)
        assert near.state is far.state
        told.append(near.state)
    assert {OK, WARN, BLOCK} & set(told)


@pytest.mark.parametrize(
    ("sure", "state"), [(-1, OK), (0, OK), (1, WARN), (1_499, WARN), (1_500, BLOCK), (None, BLOCK)]
)  # fmt: skip
def test_how_sure_it_is_decides_beside_how_much_it_is(sure, state):
    level = Level(1_500)
    level.move(3_000, sure)
    assert level.state is state
    assert level.limit_e4 == 1_500


def test_a_state_is_held_down_to_two_thirds_and_four_thirds_of_the_limit():
    level, told = Level(1_500), []
    for value in (3_000, 2_001, 2_000, 1_001, 1_000, 2_999, 1_000):
        level.move(value, value)
        told.append(level.state)
    assert told == [BLOCK, BLOCK, WARN, WARN, OK, WARN, OK]


# --- the market --------------------------------------------------------------------------------------------------


HALVES = Histogram(edges=(0,), shares_ppm=(500_000, 500_000))
THIRDS = Histogram(edges=(10, 20), shares_ppm=(300_000, 300_000, 400_000))


def reference(returns=HALVES, ranges=THIRDS, octaves=()):
    return TrainingSummary(bars=1, returns=returns, ranges=ranges, octaves_ppm=octaves)


def apart(values, histogram):
    """Total variation distance in 1/10000, rounded down."""
    cells = [sum(edge < value for edge in histogram.edges) for value in values]
    shares = [Fraction(cells.count(cell), len(cells)) for cell in range(len(histogram.shares_ppm))]
    moved = sum(abs(one - Fraction(other, 10**6)) for one, other in zip(shares, histogram.shares_ppm, strict=True)) / 2
    return math.floor(10_000 * moved)


def test_returns_and_ranges_are_told_apart_by_the_share_that_lies_elsewhere():
    source, drift, seen = random.Random(8), DataDrift(reference(), limit_pct=20, window=7), []
    assert (drift.n, drift.state, drift.what, drift.value_pct_e2) == (0, UNMEASURED, "returns", 0)
    assert drift.limit_pct_e2 == 2_000
    level, told = Level(2_000), set()
    for n in range(1, 120):
        bar = source.choice([-1, 0, 0, 1]), source.choice([9, 10, 11, 20, 21, 30])
        if n > 60:
            bar = source.choice([0, 1]), source.choice([10, 20, 21])
        seen.append(bar)
        drift.add(*bar)
        newest = seen[-7:]
        assert drift.n == len(newest)
        if n < 7:
            assert (drift.state, drift.value_pct_e2, drift.what) == (UNMEASURED, 0, "returns")
            continue
        moved = [(apart([each[0] for each in newest], HALVES), "returns"),
                 (apart([each[1] for each in newest], THIRDS), "true ranges")]  # fmt: skip
        level.move(max(moved)[0])
        assert (drift.value_pct_e2, drift.what, drift.state) == (*max(moved), level.state)
        told.add((drift.state, drift.what))
    assert len(told) == 6, "both, in every state"


def test_what_has_no_edges_is_not_compared():
    nothing = Histogram()
    ranges = DataDrift(reference(returns=nothing), limit_pct=20, window=1)
    assert ranges.what == "true ranges"
    ranges.add(5, 5)
    assert (ranges.value_pct_e2, ranges.what, ranges.n, ranges.state) == (7_000, "true ranges", 1, BLOCK)
    returns = DataDrift(reference(ranges=nothing), limit_pct=20, window=1)
    returns.add(5, 5)
    assert (returns.value_pct_e2, returns.what, returns.state) == (5_000, "returns", BLOCK)
    for neither in (
        DataDrift(reference(nothing, nothing), limit_pct=20, window=1),
        DataDrift(None, limit_pct=20, window=1),
    ):
        neither.add(5, 5)
        assert (neither.n, neither.state, neither.what) == (0, NO_REFERENCE, "")


def test_a_window_of_bars_is_five_hundred():
    data = DataDrift(reference(), limit_pct=20)
    spectrum = SpectrumDrift(reference(octaves=(500_000, 500_000)), limit_pct=25)
    for n in range(501):
        assert (data.state is UNMEASURED, spectrum.state is UNMEASURED) == (n < 500, n < 500)
        data.add(1, 1)
        spectrum.add((1, 1))
    assert data.n == spectrum.n == 500


def test_the_power_of_octaves_is_compared_by_its_shares():
    shares = (600_000, 300_000, 100_000)
    source, drift, seen = random.Random(9), SpectrumDrift(reference(octaves=shares), limit_pct=25, window=4), []
    assert (drift.n, drift.state, drift.what, drift.limit_pct_e2) == (0, UNMEASURED, "power by octave", 2_500)
    level, told = Level(2_500), set()
    for n in range(1, 200):
        seen.append(tuple(source.randrange(1, 100) * (3 if n % 50 > 25 and k == 2 else 1) for k in range(3)))
        drift.add(seen[-1])
        drift.add((1, 2))
        newest = seen[-4:]
        assert drift.n == len(newest)
        if n < 4:
            assert (drift.state, drift.value_pct_e2) == (UNMEASURED, 0)
            continue
        totals = [sum(column) for column in zip(*newest, strict=True)]
        moved = sum(abs(Fraction(x, sum(totals)) - Fraction(y, 10**6)) for x, y in zip(totals, shares, strict=True)) / 2
        level.move(math.floor(10_000 * moved))
        assert (drift.value_pct_e2, drift.state) == (math.floor(10_000 * moved), level.state)
        told.add(drift.state)
    assert told == {OK, WARN, BLOCK}


def test_bars_without_any_power_leave_the_last_comparison_standing():
    drift = SpectrumDrift(reference(octaves=(500_000, 500_000)), limit_pct=25, window=2)
    for octaves in ((0, 0), (0, 0)):
        drift.add(octaves)
    assert (drift.value_pct_e2, drift.state, drift.n) == (0, OK, 2)
    for octaves in ((1, 0), (1, 0), (0, 0), (0, 0)):
        drift.add(octaves)
    assert (drift.value_pct_e2, drift.state) == (5_000, BLOCK)


def test_without_a_reference_no_spectrum_is_kept():
    drift = SpectrumDrift(None, limit_pct=25, window=1)
    drift.add((1, 2))
    assert (drift.n, drift.what, drift.state) == (0, "", NO_REFERENCE)
