"""The autoencoder's alarm: from windows that were not learnt from, honest on fresh ones, and naming the odd candles."""

from functools import lru_cache

import numpy as np
import pytest
from msgspec.structs import replace

from bus.errors import DataError
from models import candles
from models.artifact import Manifest
from models.columns import from_series
from models.forms.dense import Dense
from models.nets.autoencoder import NET
from models.train.detector import APART, FOLDS, fit_detector, percentiles
from tests.harness.markets import simulated
from tests.harness.trained import trained

SIZE = candles.CANDLES * candles.PARTS


class Recorder:
    """An architecture that learns nothing and remembers what it was given."""

    name = "recorder"
    task = "reconstruct"

    def __init__(self):
        self.problems = []

    def fit(self, problem):
        self.problems.append(problem)
        problem.progress(self.name, 0.5)
        problem.progress(self.name, 1.0)
        return Dense(weights=(np.eye(SIZE) * (1.0 - 0.01 * len(self.problems)),), biases=(np.zeros(SIZE),))


def manifest(seed=0) -> Manifest:
    detector = next(made for made in trained().artifacts if made.manifest.kind == "detector")
    return replace(detector.manifest, seed=seed)


@lru_cache(maxsize=4)
def fitted(bars, seed):
    return fit_detector(NET, from_series(simulated(bars, 2 * seed + 1)), manifest(seed))


def window_errors(detector, series):
    return candles.errors(detector.pipeline, candles.windows(from_series(series)))


def test_a_window_is_fifty_candles():
    assert candles.CANDLES == 50


@pytest.mark.parametrize(("bars", "parts"), [(1_200, FOLDS), (FOLDS * APART * candles.CANDLES + 60, 1)])
def test_every_window_is_judged_by_a_network_that_saw_none_of_its_candles(bars, parts):
    columns = from_series(simulated(bars, 4))
    drawn = candles.windows(columns)
    position = {row.tobytes(): at for at, row in enumerate(drawn)}
    net = Recorder()
    fit_detector(net, columns, manifest())
    assert len(net.problems) == parts
    judged = []
    for problem in net.problems:
        learnt = np.array([position[row.tobytes()] for row in problem.inputs])
        validated = np.array([position[row.tobytes()] for row in problem.validation_inputs])
        judged += validated.tolist()
        # windows whose first candles lie a window apart still share the close before
        assert np.abs(learnt[:, None] - validated[None, [0, -1]]).min() > candles.CANDLES
        assert len(learnt) + len(validated) >= len(drawn) - 2 * candles.CANDLES
    assert judged == list(range(len(drawn) - len(judged), len(drawn)))
    assert len(judged) == (len(drawn) if parts == FOLDS else len(drawn) - len(drawn) * 4 // 5)


def test_the_network_that_is_kept_learnt_from_all_but_the_newest_part_and_progress_only_grows():
    columns = from_series(simulated(1_200, 4))
    drawn = candles.windows(columns)
    net, shares = Recorder(), []
    made = fit_detector(net, columns, manifest(), lambda name, share: shares.append((name, share)))
    assert net.problems[-1].validation_inputs.tobytes() == drawn[len(drawn) * 4 // 5 :].tobytes()
    assert made.pipeline.net.weights[0][0, 0] == 1.0 - 0.01 * FOLDS
    assert [name for name, _ in shares] == ["recorder"] * 2 * FOLDS
    assert [share for _, share in shares] == pytest.approx([0.1 * n for n in range(1, 2 * FOLDS + 1)])


def test_the_alarm_level_comes_from_the_errors_of_every_part():
    columns = from_series(simulated(1_200, 4))
    net = Recorder()
    made = fit_detector(net, columns, manifest())
    squares = [problem.validation_inputs**2 * (0.01 * n) ** 2 for n, problem in enumerate(net.problems, 1)]
    single = np.concatenate(squares).reshape(-1, candles.CANDLES, candles.PARTS).mean(axis=2)
    assert made.tensors["error_percentiles"] == pytest.approx(percentiles(single.mean(axis=1)))
    assert made.tensors["candle_threshold"] == pytest.approx(np.percentile(single, 99.5))


def test_too_few_windows_are_refused_with_what_was_given():
    with pytest.raises(DataError, match="300 bars give too few windows of 50 candles"):
        fit_detector(Recorder(), from_series(simulated(300, 4)), manifest())


@pytest.mark.parametrize("apart", [19, 40, 200])
def test_a_new_error_passes_the_95th_percentile_once_in_twenty_times(apart):
    random = np.random.default_rng(1)
    passed = [
        float(np.exp(-percentiles(np.repeat(random.exponential(1.0, apart), candles.CANDLES))[95]))
        for _ in range(3_000)
    ]
    assert np.mean(passed) == pytest.approx(0.05, abs=0.005)


def test_percentiles_rise_from_the_least_to_the_largest_error_and_are_plain_ones_for_many():
    errors = np.random.default_rng(2).exponential(1.0, 200_000)
    found = percentiles(errors)
    assert found.shape == (101,)
    assert (found[0], found[100]) == (errors.min(), errors.max())
    assert np.all(np.diff(found) >= 0.0)
    assert found[95] == pytest.approx(np.percentile(errors, 95), rel=0.01)
    few = percentiles(errors[: 10 * candles.CANDLES])
    assert few[95] == errors[: 10 * candles.CANDLES].max()


@pytest.mark.slow
def test_false_alarms_on_fresh_windows_of_the_same_kind_are_about_one_in_twenty_and_never_many():
    rates = []
    for seed in range(2):
        detector = fitted(1_600, seed)
        fresh = window_errors(detector, simulated(12_000, 900 + seed)).mean(axis=1)
        rates.append(float((fresh > detector.tensors["error_percentiles"][95]).mean()))
    assert max(rates) < 0.12
    assert 0.001 < np.mean(rates) < 0.08


def test_the_candles_that_were_made_odd_are_the_ones_that_are_named():
    detector = fitted(1_600, 0)
    level, threshold = detector.tensors["error_percentiles"], float(detector.tensors["candle_threshold"][0])
    random = np.random.default_rng(5)
    alarms = hits = told = odd = 0
    for window in candles.windows(from_series(simulated(6_000, 77)))[:: candles.CANDLES]:
        changed = window.reshape(candles.CANDLES, candles.PARTS).copy()
        where = random.choice(candles.CANDLES, int(random.integers(1, 4)), replace=False)
        changed[where, 1 + random.integers(0, 3, len(where))] = candles.LIMIT
        seen = candles.judge(candles.errors(detector.pipeline, changed.reshape(1, -1))[0], level, threshold)
        if seen is None:
            continue
        named = {candles.CANDLES - 1 - offset for offset in seen.candles}
        alarms += 1
        hits += len(named & set(where.tolist()))
        told += len(named)
        odd += len(where)
        assert seen.percentile > 95.0
        assert seen.error > seen.threshold == level[95]
    assert alarms > 100
    assert hits >= 0.95 * odd
    assert hits >= 0.7 * told


def test_only_candles_above_their_own_level_are_named_worst_first_and_at_most_five():
    level = np.linspace(0.0, 1.0, 101)
    errors = np.full(candles.CANDLES, 0.9)
    assert candles.judge(errors, level, 5.0) is None
    errors[[3, 10, 20]] = (40.0, 60.0, 4.0)
    seen = candles.judge(errors, level, 5.0)
    assert seen.candles == (candles.CANDLES - 1 - 10, candles.CANDLES - 1 - 3)
    assert seen.percentile == 100.0
    assert candles.judge(errors, level, 80.0).candles == (candles.CANDLES - 1 - 10,)
    assert len(candles.judge(np.full(candles.CANDLES, 9.0), level, 5.0).candles) == 5
    exact = np.arange(101) / 128
    assert candles.judge(np.full(candles.CANDLES, exact[95]), exact, 5.0) is None
