"""The public benchmark's scores against known answers, its windows as published, its walks against their processes."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from bus.errors import DataError
from models import scores
from models.benchmark import WALKS, measure, protocols_of
from models.benchmark.learnt import Learnt, bars_of
from models.benchmark.protocols import HORIZON, NINE, NINETEEN, Protocol, score, weighted_quantile_loss
from models.benchmark.walks import Autoregression, BootstrapWalk, EwmaWalk, GarchWalk, SeasonalNaive
from models.nets import architectures
from tests.harness.processes import garch

BY_NAME = {sampler.name: sampler for sampler in WALKS}
PUBLISHED = sorted((Path(__file__).parents[2] / "../shared/data").glob("**/exchange_rate*"))


def walk(days=1200, series=4, seed=1, rho=0.5, size=0.006):
    """Levels of a Gaussian random walk of log levels, correlation `rho`, and its covariance a day."""
    random = np.random.default_rng(seed)
    covariance = size**2 * (rho * np.ones((series, series)) + (1 - rho) * np.eye(series))
    steps = random.standard_normal((days, series)) @ np.linalg.cholesky(covariance).T
    return np.geomspace(0.01, 2, series) * np.exp(np.cumsum(steps, axis=0)), covariance


def one_window(levels):
    return Protocol(name="X", title="", training=len(levels) - HORIZON, starts=(len(levels) - HORIZON,))


def test_windows_are_the_published_ones():
    rolling, last = protocols_of(np.ones((7588, 8)))[0]
    assert (rolling.training, rolling.starts) == (6071, (6071, 6101, 6131, 6161, 6191))
    assert (last.name, last.starts) == ("C", (7558,))
    assert protocols_of(np.ones((7588, 8)))[1] == ()
    (only,), notes = protocols_of(np.ones((6221, 8)))
    assert (only.training, only.starts[-1] + HORIZON, notes) == (6071, 6221, ())
    assert "not the published file" in protocols_of(np.ones((1200, 8)))[1][0]
    with pytest.raises(DataError, match="too few"):
        protocols_of(np.ones((300, 8)))


def test_the_fair_crps_of_gaussian_paths_is_the_closed_form():
    levels, _ = walk()
    random = np.random.default_rng(2)
    actual = levels[-HORIZON:]
    centre, sigma = actual * 1.004, 0.01 * actual
    paths = centre + sigma * random.standard_normal((4000, *actual.shape))
    row = score(one_window(levels), "x", levels, paths[None], 2)
    exact = scores.crps_normal((actual - centre).ravel(), sigma.ravel()).sum() / actual.sum()
    assert row.crps_fair == pytest.approx(exact, rel=0.01)
    # the sum of independent Gaussians is one
    total = np.sqrt((sigma**2).sum(axis=1))
    exact = scores.crps_normal((actual - centre).sum(axis=1), total).sum() / actual.sum()
    assert row.crps_sum_fair == pytest.approx(exact, rel=0.02)
    inside = stats.norm.cdf((0.004 + 0.016449) / 0.01) - stats.norm.cdf((0.004 - 0.016449) / 0.01)
    assert abs(inside - 0.9) > 0.01
    assert (row.coverage_80, row.coverage_90, row.coverage_95) == (1.0, 1.0, 1.0)  # the truth never strays


def test_a_grid_of_levels_reads_as_its_own_integral_and_grids_are_not_each_other():
    """19 levels of a Gaussian read 7 % and 9 levels 11 % above the exact CRPS where the truth is drawn from it."""
    random = np.random.default_rng(3)
    paths, actual = random.standard_normal((1, 2001, 20_000)), random.standard_normal((1, 20_000))
    ordered = np.sort(paths, axis=1)
    size = np.abs(actual).mean()
    for levels in (NINE, NINETEEN):
        quantiles = stats.norm.ppf(levels)
        direct = np.mean([2 * scores.pinball(np.full(20_000, q), actual[0], p).mean()
                          for q, p in zip(quantiles, levels, strict=True)])  # fmt: skip
        assert weighted_quantile_loss(ordered, actual, levels) == pytest.approx(direct / size, rel=0.01)
    exact = 1 / np.sqrt(np.pi) / size
    assert weighted_quantile_loss(ordered, actual, NINETEEN) / exact == pytest.approx(1.05, abs=0.04)
    assert weighted_quantile_loss(ordered, actual, NINE) > 1.02 * weighted_quantile_loss(ordered, actual, NINETEEN)


def test_a_point_scores_its_absolute_error_at_every_grid():
    levels, _ = walk()
    (row, *_) = measure(levels, [BY_NAME["repeat-last"]], samples=50)
    starts = protocols_of(levels)[0][0].starts
    error = sum(np.abs(levels[s : s + HORIZON] - levels[s - 1]).sum() for s in starts)
    size = sum(levels[s : s + HORIZON].sum() for s in starts)
    assert row.samples == 1
    assert row.crps_19 == pytest.approx(error / size)
    assert row.crps_9 == pytest.approx(error / size)
    assert row.nd == pytest.approx(error / size)
    assert (row.crps_fair, row.coverage_90) == (None, None)


def test_the_sum_of_equal_series_scores_as_one_and_shuffling_a_series_changes_the_sum_alone():
    levels = np.repeat(walk(series=1)[0], 3, axis=1)
    random = np.random.default_rng(4)
    one = levels[-HORIZON:, :1] * (1 + 0.02 * random.standard_normal((500, HORIZON, 1)))
    equal = np.repeat(one, 3, axis=2)
    row = score(one_window(levels), "x", levels, equal[None], 4)
    assert row.crps_sum_19 == pytest.approx(row.crps_19)
    assert row.crps_sum_fair == pytest.approx(row.crps_fair)
    shuffled = equal.copy()
    shuffled[:, :, 0] = shuffled[::-1, :, 0]
    other = score(one_window(levels), "x", levels, shuffled[None], 4)
    assert other.crps_19 == pytest.approx(row.crps_19)
    assert other.crps_sum_fair < 0.95 * row.crps_sum_fair


def test_mase_is_the_error_over_that_of_last_week():
    levels, _ = walk()
    rows = measure(levels, [SeasonalNaive()], samples=2)
    row = next(each for each in rows if each.protocol == "C")
    start = len(levels) - HORIZON
    seen = np.concatenate([levels[start - 5 : start]] * 6)
    errors = np.abs(seen - levels[start:]).mean(axis=0)
    before = np.abs(levels[5:start] - levels[: start - 5]).mean(axis=0)
    assert row.mase == pytest.approx(np.mean(errors / before))
    assert row.nd == pytest.approx(np.abs(seen - levels[start:]).sum() / levels[start:].sum())


@pytest.mark.parametrize("sampler", [EwmaWalk(), BootstrapWalk(60), BootstrapWalk(250), BootstrapWalk(0), GarchWalk()],
                         ids=lambda each: each.name)  # fmt: skip
def test_a_walk_spreads_like_the_process_it_is_a_walk_of(sampler):
    levels, covariance = walk(days=3000)
    paths = sampler.fit(levels, 1)(levels, HORIZON, 4000, np.random.default_rng(5))
    assert paths.shape == (4000, HORIZON, 4)
    returns = np.diff(np.log(levels), axis=0)[
        -{"bootstrap-walk-60": 60, "ewma-random-walk": 60}.get(sampler.name, 250) :
    ]
    moved = np.log(paths[:, -1] / levels[-1])
    ratio = np.cov(moved.T) / (HORIZON * covariance)
    loose = 0.5 if len(returns) == 60 else 0.25
    assert np.diag(ratio) == pytest.approx(1.0, abs=loose)
    assert np.corrcoef(moved.T)[0, 1] == pytest.approx(0.5, abs=0.25)


def test_the_ewma_covariance_is_its_formula():
    levels, _ = walk(days=900)
    returns = np.diff(np.log(levels), axis=0)
    weights = 0.94 ** np.arange(len(returns))[::-1]
    by_hand = sum(w * np.outer(r, r) for w, r in zip(weights / weights.sum(), returns, strict=True))
    moved = np.log(EwmaWalk().fit(levels, 1)(levels, 1, 200_000, np.random.default_rng(6))[:, 0] / levels[-1])
    assert np.cov(moved.T) == pytest.approx(by_hand, rel=0.03)


def test_garch_widens_after_a_storm_and_a_plain_bootstrap_does_not():
    returns, _ = garch(3, 4000)
    returns[-5:] = 5.0
    levels = np.exp(0.005 * np.cumsum(np.stack((returns, np.roll(returns, 7)), axis=1), axis=0))
    widths = {}
    for sampler in (GarchWalk(), BootstrapWalk(0)):
        paths = sampler.fit(levels[:3900], 1)(levels, HORIZON, 3000, np.random.default_rng(7))
        widths[sampler.name] = np.log(paths[:, 0, 0]).std() / np.log(paths[:, 0, 1]).std()
    assert widths["garch-walk"] > 1.5
    assert widths["bootstrap-walk-all"] == pytest.approx(1.0, abs=0.15)


def test_a_peg_keeps_its_plain_returns():
    levels, _ = walk(days=1500)
    levels[:, 2] = 8.27
    levels[700:, 2] = 8.28
    paths = GarchWalk().fit(levels, 1)(levels, HORIZON, 500, np.random.default_rng(8))
    assert (np.abs(paths[:, :, 2] / 8.28 - 1) < 0.01).all()


@pytest.mark.parametrize("order", [1, 2])
def test_an_autoregression_finds_the_way_back_of_a_process_that_has_one(order):
    random = np.random.default_rng(9)
    levels = np.empty((6000, 2))
    levels[0] = 100.0
    for day in range(1, 6000):
        levels[day] = 100.0 + 0.9 * (levels[day - 1] - 100.0) + random.standard_normal(2) * [1.0, 0.1]
    levels[-1] = levels[-2] = [110.0, 101.0]
    paths = Autoregression(order).fit(levels[:-2], 1)(levels, HORIZON, 4000, np.random.default_rng(10))
    back = 100.0 + np.outer(0.9 ** np.arange(1, HORIZON + 1), [10.0, 1.0])
    assert paths.mean(axis=0) == pytest.approx(back, rel=0.01)
    assert paths[:, -1].std(axis=0) == pytest.approx([1 / np.sqrt(0.19), 0.1 / np.sqrt(0.19)], rel=0.1)


def test_a_forecaster_is_shown_training_days_once_and_a_windows_history_and_no_more():
    levels, _ = walk()
    shown = []

    class Spy:
        name = "spy"

        def fit(self, training, seed):
            shown.append(("fit", len(training), seed))

            def paths(history, horizon, samples, random):
                shown.append(("paths", len(history), random.integers(10**9)))
                return np.repeat(history[-1:], horizon, axis=0)[None].repeat(samples, axis=0)

            return paths

    measure(levels, [Spy(), Spy()], samples=2, seed=3)
    rolling, last = protocols_of(levels)[0]
    once = [("fit", rolling.training, 3), *(("paths", start) for start in rolling.starts)]
    assert [each[:2] if each[0] == "paths" else each for each in shown[:12]] == once * 2
    assert shown[:6] == shown[6:12]
    assert [each[1] for each in shown[12:14]] == [last.training, last.starts[0]]


def test_equal_seeds_give_equal_rows_and_another_seed_others():
    levels, _ = walk()
    first, again, other = (measure(levels, [EwmaWalk()], samples=50, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first[0].crps_19 != other[0].crps_19
    assert first[0].crps_19 == pytest.approx(other[0].crps_19, rel=0.2)
    with pytest.raises(DataError, match="no spread"):
        measure(levels, [EwmaWalk()], samples=1)


def test_an_architecture_learns_stale_quotes_swinging_back_and_stays_at_the_walk_where_nothing_is_to_learn():
    """Quotes that overshoot and come back: the median of a learnt forecast is nearer to the truth than no change."""
    plain, _ = walk(days=2500, series=2)
    calm, _ = walk(days=2500, series=2, size=0.0005)
    stale = calm * np.exp(0.008 * np.random.default_rng(11).standard_normal(calm.shape))
    ridge = Learnt(net=architectures()["ridge"])
    for levels, better in ((stale, True), (plain, False)):
        walks, ours = (measure(levels, [each], samples=300)[0] for each in (EwmaWalk(), ridge))
        if better:
            assert ours.nd < 0.97 * walks.nd
        else:
            assert ours.nd == pytest.approx(walks.nd, rel=0.05)


def test_levels_become_bars_that_lose_nothing_that_matters():
    for level in (0.0071, 0.78, 1.6, 131.0):
        levels = level * np.exp(0.006 * np.cumsum(np.random.default_rng(1).standard_normal(500)))
        bars = bars_of(levels)
        bars.check()
        assert np.diff(np.log(bars.close_e5)) == pytest.approx(np.diff(np.log(levels)), abs=2e-5)


@pytest.mark.slow
@pytest.mark.skipif(not PUBLISHED, reason="no exchange_rate file in ../shared/data")
def test_the_published_anchors_are_reproduced():
    from daemon.research.benchmark import read_levels

    levels = read_levels(PUBLISHED[0])
    rows = {(row.protocol, row.model): row for row in measure(levels, WALKS, samples=1000, seed=7)}
    assert levels.shape == (7588, 8)
    naive = rows["C", "seasonal-naive"]
    assert naive.crps_9 == pytest.approx(0.0129841, abs=5e-8)
    assert naive.mase == pytest.approx(1.740183, abs=5e-7)
    assert rows["A", "repeat-last"].crps_19 == pytest.approx(0.0093, abs=5e-5)
    assert rows["A", "seasonal-naive"].crps_19 == pytest.approx(0.0107, abs=5e-5)
    ewma = rows["A", "ewma-random-walk"]
    assert ewma.crps_sum_19 == pytest.approx(0.0046, abs=2e-4)
    assert ewma.crps_19 == pytest.approx(0.0067, abs=2e-4)
    assert rows["C", "ewma-random-walk"].crps_9 == pytest.approx(0.0105, abs=3e-4)
