"""May this artifact speak? Everything that is asked of a model before a daemon listens to it, in one place.

Theory of operation. A release is read from the registry in this order, and the first thing that is wrong refuses it,
in one sentence that says what, where, and what to do:

    age          a pointer that is older than one seen before is a replay; older models come back by a rollback alone
    hash         pointer, manifest and weights are as they were written; then the signature; only then is parsed
    schema       of this release, features computed as they were in training, finite numbers, golden outputs reproduced
    market       symbol and period, the horizons that are asked, and no bar seen that is still to come
    calibration  the stated set is as long as its scores, and intervals made from them cover what the metrics say
    latency      the median answer to one golden input within the budget

What it says about the random walk refuses nobody: it is a verdict that travels with the model into the journal.

The slow part, going through the scores once more, lets other threads have their turn; all of it may run in any thread.
Nothing here changes anything: a refused release leaves the model in force as it was.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from bus.calendar import to_datetime
from bus.errors import ModelError
from models import artifact as artifacts
from models import random_walk
from models.artifact import Artifact, Manifest, MetricRow
from models.conformal import calibrator
from models.registry import Pointer, Registry, Release
from models.signing import Trust

LEVEL_PPM = 900_000
WARM_UP = 50
"""How the metrics of an artifact are measured (`models.train.metrics`): this level, after so many resolved rows."""

COVERAGE_SLACK = 0.02
"""Intervals in an artifact's metrics are rounded to whole price units and those made from its scores are not: so far
may the two coverages differ, or by three intervals where they are few."""

_BREATH = 25
_ONE_SIDED_5PC = 1.645
_FEWEST_BATCHES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a daemon asks of every model.

    Attributes:
        latency_ns: the longest median answer to one input; 0 = any.
        repeats: how often it is asked.
        clock: monotonic nanoseconds.
    """

    latency_ns: int = 250_000_000
    repeats: int = 9
    clock: Callable[[], int] = time.perf_counter_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What a release comes into.

    Attributes:
        symbol: traded.
        period_ns: of its bars.
        horizons: that are asked.
        now_ns: a model that has seen a bar which opened at or after this knows the future; 0 = do not ask.
        newest_release: the highest number of a release that was admitted before; 0 = none was.
        in_force_seen_ns: `TrainingWindow.seen_ns` of the model in force; 0 = not known.
    """

    symbol: str
    period_ns: int
    horizons: tuple[int, ...]
    now_ns: int = 0
    newest_release: int = 0
    in_force_seen_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """A model that may speak; `verdict` says whether it beat the random walk (empty for a detector)."""

    artifact: Artifact
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """A release, examined whole: every model of it may speak, or none.

    Attributes:
        release: its number; 0 where it could not be read.
        candidate: the model that it puts forward.
        models: in the order of the release; empty where it is refused.
        refused: model id (empty = the release itself) to the reason.
    """

    release: int
    candidate: str = ""
    models: tuple[Admitted, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()


def admit_newest(registry: Registry, situation: Situation, budget: Budget) -> Admission | None:
    """Examine the newest release of a market. None where there is none, or it was admitted or rolled back before."""
    try:
        pointer = registry.pointer(situation.symbol, situation.period_ns)
    except ModelError as error:
        return Admission(release=0, refused=(("", str(error)),))
    if pointer is None or pointer.newest.number == situation.newest_release:
        return None
    if pointer.rolled_back and pointer.newest.number > situation.newest_release:
        return None  # somebody went back from it: only somebody may let it in again
    if pointer.newest.number < situation.newest_release:
        return Admission(release=pointer.newest.number, refused=(("", _replayed(pointer, situation)),))
    return admit_release(registry, pointer.newest, situation, budget)


def admit_release(registry: Registry, release: Release, situation: Situation, budget: Budget) -> Admission:
    """Examine every model of a release, whatever its number."""
    models: list[Admitted] = []
    refused: list[tuple[str, str]] = []
    for model_id in release.models:
        try:
            models.append(admit(registry.folder(situation.symbol, situation.period_ns, model_id), registry.trust,
                                situation, budget))  # fmt: skip
        except ModelError as error:
            refused.append((model_id, str(error)))
    if not refused and release.active not in {
        each.artifact.model_id for each in models if each.artifact.manifest.kind == "forecaster"
    }:
        refused.append((release.active, f"release {release.number}: it puts forward no forecaster; publish again"))
    return Admission(
        release=release.number,
        candidate=release.active,
        models=() if refused else tuple(models),
        refused=tuple(refused),
    )


def admit(folder: Path, trust: Trust, situation: Situation, budget: Budget) -> Admitted:
    """Examine one artifact.

    Raises:
        ModelError: it may not speak; one sentence.
    """
    artifact = artifacts.read(folder, trust)
    try:
        return Admitted(artifact=artifact, verdict=examine(artifact, situation, budget))
    except ModelError as error:
        raise ModelError(f"{folder}: {error}") from error


def examine(artifact: Artifact, situation: Situation, budget: Budget) -> str:
    """What is asked of a verified artifact; its verdict on the random walk.

    Raises:
        ModelError: it may not speak.
    """
    manifest = artifact.manifest
    if (manifest.symbol, manifest.period_ns) != (situation.symbol, situation.period_ns):
        raise ModelError(f"made for {manifest.symbol} on bars of {manifest.period_ns} ns; publish it for that market")
    seen_ns = manifest.training.seen_ns
    if 0 < situation.now_ns <= seen_ns:
        raise ModelError(
            f"has seen bars up to {_day(seen_ns)}, and here it is {_day(situation.now_ns)}; train it on older bars"
        )
    if seen_ns < situation.in_force_seen_ns:
        raise ModelError(
            f"an old version: learnt until {_day(seen_ns)}, the model in force until "
            f"{_day(situation.in_force_seen_ns)}; go back with `plimsoll models rollback`, or train again"
        )
    verdict = ""
    if manifest.kind == "forecaster":
        if not set(situation.horizons) <= set(manifest.horizons):
            raise ModelError(
                f"answers {list(manifest.horizons)} bars ahead, not all of {list(situation.horizons)}; "
                "train it for those"
            )
        _check_calibration(manifest)
        verdict = verdict_of(manifest)
    _check_latency(artifact, budget)
    return verdict


def examine_all(models: Sequence[Artifact], situation: Situation, budget: Budget) -> None:
    """What is asked of the models that a run begins with. Raises ModelError, which says of which it does."""
    for model in models:
        try:
            examine(model, situation, budget)
        except ModelError as error:
            raise ModelError(f"{situation.symbol}: {model.model_id}: {error}") from error


def verdict_of(manifest: Manifest) -> str:
    """Whether a forecaster beat the random walk on its calibration set, horizon by horizon.

    Scores of both are absolute errors in the market's scale, on the same bars. Their difference is tested one-sided at
    5 % on the means of batches of twice the horizon, since neighbouring truths overlap.
    """
    beaten: list[str] = []
    for horizon, own, walk in zip(manifest.horizons, manifest.scores, manifest.baseline_scores, strict=True):
        if len(own) == len(walk) and _clearly_below(np.asarray(own) - np.asarray(walk), 2 * horizon):
            beaten.append(str(horizon))
    if not beaten:
        return "does not beat the random walk at any horizon"
    others = [str(horizon) for horizon in manifest.horizons if str(horizon) not in beaten]
    return f"beats the random walk at {', '.join(beaten)} bars" + (f", not at {', '.join(others)}" if others else "")


def _clearly_below(differences: np.ndarray[tuple[int], np.dtype[np.float64]], batch: int) -> bool:
    count = len(differences) // batch
    if count < _FEWEST_BATCHES:
        return False
    means = differences[: count * batch].reshape(count, batch).mean(axis=1)
    spread = float(means.std(ddof=1))
    return spread > 0.0 and float(means.mean()) / (spread / math.sqrt(count)) < -_ONE_SIDED_5PC


def _check_calibration(manifest: Manifest) -> None:
    """The scores must be those of the stated set: as many as it can have, and covering what the metrics say."""
    rows = {row.horizon: row for row in manifest.metrics if row.model == manifest.name}
    walks = {row.horizon: row for row in manifest.metrics if row.model == random_walk.MODEL_ID}
    bars = manifest.training.calibration_bars
    for horizon, own, walk in zip(manifest.horizons, manifest.scores, manifest.baseline_scores, strict=True):
        row, walk_row = rows.get(horizon), walks.get(horizon)
        if row is None or walk_row is None:
            raise ModelError(f"no metrics at {horizon} bars beside the random walk's; train again")
        for each, scores in ((row, own), (walk_row, walk)):
            if not each.n == len(scores) <= bars:
                raise ModelError(
                    f"{len(scores)} calibration scores at {horizon} bars do not fit {each.n} forecasts of "
                    f"{each.model} on {bars} bars; train again"
                )
        _check_coverage(row, own, horizon)


def _check_coverage(row: MetricRow, scores: Sequence[float], horizon: int) -> None:
    measured = coverage_of(scores, horizon)
    slack = max(COVERAGE_SLACK, 3 / max(1, len(scores) - horizon - WARM_UP))
    if measured is not None and not abs(measured - row.coverage) <= slack:
        raise ModelError(
            f"says that its 90 % interval covered {row.coverage:.1%} at {horizon} bars, but its calibration scores "
            f"give {measured:.1%}; train again"
        )


def coverage_of(scores: Sequence[float], horizon: int) -> float | None:
    """The share of scores that the 90 % interval would have held, calibrated online with labels delayed by the horizon.

    None where there are too few of them.
    """
    online = calibrator((LEVEL_PPM,), horizon)
    held: list[bool] = []
    counted = covered = 0
    for row, score in enumerate(scores):
        if row % _BREATH == 0:
            time.sleep(0)
        if row >= horizon:
            online.update(scores[row - horizon], (held[row - horizon],))
        threshold = online.thresholds()[0]
        held.append(score <= threshold)
        if row >= horizon + WARM_UP and threshold < math.inf:
            counted += 1
            covered += held[-1]
    return covered / counted if counted else None


def _check_latency(artifact: Artifact, budget: Budget) -> None:
    inputs = artifact.tensors["golden_inputs"][:1]
    taken: list[int] = []
    for _ in range(budget.repeats):
        began = budget.clock()
        artifact.pipeline(inputs)
        taken.append(budget.clock() - began)
    typical = median(taken)
    if 0 < budget.latency_ns < typical:
        raise ModelError(
            f"takes {typical / 1e6:.1f} ms for one forecast, and the budget is {budget.latency_ns / 1e6:.1f} ms; "
            "train a smaller one, or raise models.latency_ms"
        )


def _replayed(pointer: Pointer, situation: Situation) -> str:
    return (
        f"{situation.symbol}: the registry's newest release is {pointer.newest.number}, but release "
        f"{situation.newest_release} was admitted before: an old registry was put back; publish anew, or go back with "
        "`plimsoll models rollback`"
    )


def _day(ns: int) -> str:
    return f"{to_datetime(ns):%Y-%m-%d %H:%M}"
