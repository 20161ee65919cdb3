"""Trains the models of one market: ridge, a small neural network and the candlestick autoencoder, or others by name.

Everything is chosen inside the training bars: penalties, when to stop, how far to trust an output, and which forecaster
trades. The calibration bars are looked at once, at the end, for scores and for the table, so that both are honest.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache as cache_results
from types import MappingProxyType
from typing import Any

import numpy as np
from msgspec.structs import replace
from threadpoolctl import threadpool_limits

from bus.messages import HorizonForecast
from bus.series import BarSeries
from models import artifact, features, random_walk, scalers
from models.artifact import Artifact, Manifest, MetricRow, TrainingWindow
from models.catalogue import check, check_installed
from models.columns import Floats, from_series, stacked
from models.contract import Demands, Net, Problem, Progress, Report, demands_of, no_progress, no_report
from models.defaults import ARCHITECTURES
from models.diversity import Membership
from models.ensembles import Ensemble, ensembles
from models.forward import Pipeline
from models.learning import DEFAULT, UNATTENDED, Job, Learning
from models.nets import architectures, known
from models.revision import revision
from models.scalers import Scaler
from models.space import Value
from models.states import states
from models.train import metrics
from models.train.cache import FeatureCache
from models.train.combine import Candidate, combine, demands_together
from models.train.data import LABEL_LIMIT, Rows, Split, data_sha256, split
from models.train.detector import fit_detector
from models.train.summary import summarise
from models.train.watch import fit_state

Jobs = Callable[[str], Job]
"""Gives the job of a network by its name."""

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_GOLDEN_ROWS = 8
_CHUNK = 4096
"""Rows that a network which looks at windows is asked at a time: its inputs are many times as large as the bars."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What training gave, ready for ``Registry.publish(trained.artifacts, active=trained.active)``.

    Attributes:
        artifacts: one a network, then one an ensemble, then one a state of the market, each in the order of names.
        active: id of the forecaster with the best CRPS on the validation part.
        metrics: all models and horizons on the calibration split, the random walk's rows first.
        validation_crps: by model name, in sigmas, random walk included: what `active` was chosen by.
    """

    artifacts: tuple[Artifact, ...]
    active: str
    metrics: tuple[MetricRow, ...]
    validation_crps: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """A model on the calibration split."""

    scores: tuple[tuple[float, ...], ...]
    rows: tuple[MetricRow, ...]


def fit_defaults(
    train: BarSeries,
    calibrate: BarSeries,
    *,
    horizons: Sequence[int],
    seed: int,
    progress: Progress | None = None,
    names: Sequence[str] = ARCHITECTURES,
    feature_names: Sequence[str] | None = None,
    scaler: scalers.Kind = "standard",
    cache: FeatureCache | None = None,
    learning: Learning = DEFAULT,
    jobs: Jobs = lambda _name: UNATTENDED,
    parameters: Mapping[str, Mapping[str, Value]] = _NOTHING,
) -> Trained:
    """Train architectures of `models.nets`, and ensembles of the forecasters among them (`models.ensembles`).

    Args:
        train: older bars; the last fifth decides when to stop and which model trades.
        calibrate: newer bars of the same market, for calibration scores and metrics only.
        horizons: bars ahead, each once.
        seed: equal seeds and bars give equal artifacts, ids included, on one machine (one kind of processor: the
            linear-algebra library picks its kernels by it).
        progress: told a stage (a network's name) and the share of it that is done.
        names: of the architectures, at least one of which forecasts; of ensembles, for which there must be two; and of
            states of a market (`models.states`).
        feature_names: what forecasters look at, from `models.features.ALL`; bars and counts of quotes are given. None
            = each what it wants (`Demands`), which is `features.DEFAULT` where it wants nothing else.
        scaler: how features are scaled; fitted on the fit part alone.
        cache: keeps features from one training to the next.
        learning: how networks learn that are trained with torch.
        jobs: where each of those keeps what it needs to go on, whom it tells, and whom it obeys.
        parameters: of the networks themselves, by the network's name (`models.space`).

    Raises:
        DataError: too few bars, series that do not fit together, or a feature that needs what they do not carry.
        ModelError: a feature that is not known, a package that is not installed, or training that went astray.
        ConfigError: names that are not known, or that cannot be trained together.
    """
    check(names)
    check_installed(names)
    # one thread: faster for networks this small, and sums that split over threads come out differently
    with threadpool_limits(limits=1):
        asked = features.DEFAULT if feature_names is None else tuple(feature_names)

        @cache_results
        def parts_for(demands: Demands) -> tuple[tuple[str, ...], Split]:
            chosen = demands.feature_names if feature_names is None and demands.feature_names else asked
            made = split(train, calibrate, tuple(horizons), names=chosen, window=demands.window, cache=cache)
            return chosen, made

        manifest = replace(
            _manifest(train, calibrate, tuple(horizons), asked, seed),
            volatility=parts_for(Demands())[1].volatility,
            reference=summarise(train, calibrate),
        )
        ways = [way for name, way in ensembles().items() if name in names]
        nets = architectures([name for name in names if name in known()])
        told = progress or no_progress

        def fit(net: Net, parts: Split) -> Pipeline:
            return fit_forecaster(net, parts, seed=seed, scaler=scaler, progress=told, learning=learning,
                                  job=jobs(net.name), parameters=parameters.get(net.name, {}))  # fmt: skip

        made = _fit_defaults(train, nets, ways, parts_for, manifest, fit, told, parameters)
        watchers = [state for name, state in states().items() if name in names]
        seen = tuple(fit_state(state, from_series(train), manifest, told) for state in watchers)
        return dataclasses.replace(made, artifacts=made.artifacts + seen)


def _fit_defaults(
    train: BarSeries,
    nets: dict[str, Net],
    ways: Sequence[Ensemble],
    parts_for: Callable[[Demands], tuple[tuple[str, ...], Split]],
    manifest: Manifest,
    fit: Callable[[Net, Split], Pipeline],
    told: Progress,
    parameters: Mapping[str, Mapping[str, Value]],
) -> Trained:
    horizons = manifest.horizons
    parts = parts_for(Demands())[1]
    walk = _judge(random_walk.MODEL_ID, np.zeros_like(parts.calibration.labels), None, parts, horizons)
    crps = {random_walk.MODEL_ID: metrics.mean_crps(np.zeros_like(parts.validation.labels), parts.validation)}
    artifacts: list[Artifact] = []
    table = list(walk.rows)
    best = ""

    def judge(one: Candidate, parts: Split, membership: Membership | None = None) -> None:
        nonlocal best
        judged = _judge(one.name, *answers(one.pipeline, parts.calibration), parts, horizons)
        # few windows, and not a copy of all of them
        apart = max(1, len(parts.fit) // _GOLDEN_ROWS)
        golden = stacked(parts.fit.features, parts.fit.window)[::apart][:_GOLDEN_ROWS]
        made = artifact.seal(
            replace(manifest, name=one.name, config=manifest.config | config_of(parameters.get(one.name, {})),
                     metrics=(*walk.rows, *judged.rows), feature_names=one.names,
                     feature_hash=features.schema_hash(one.names), scores=judged.scores, baseline_scores=walk.scores,
                     membership=membership),
            one.pipeline,
            {},
            golden.reshape(len(golden), -1),
        )  # fmt: skip
        artifacts.append(made)
        table.extend(judged.rows)
        expected, spread = answers(one.pipeline, parts.validation)
        crps[one.name] = metrics.mean_crps(expected, parts.validation, spread)
        if not best or crps[one.name] < crps[best.rpartition("-")[0]]:
            best = made.model_id

    members: list[Candidate] = []
    for net in nets.values():
        if net.task == "reconstruct":
            artifacts.append(fit_detector(net, from_series(train), manifest, told))
            continue
        chosen, parts = parts_for(demands_of(net))
        pipeline = fit(net, parts)
        members.append(Candidate(name=net.name, names=chosen, pipeline=pipeline))
        judge(members[-1], parts)
    for way in ways:
        chosen, parts = parts_for(demands_together(members))
        pipeline, membership = combine(way, members, chosen, parts, horizons)
        judge(Candidate(name=way.name, names=chosen, pipeline=pipeline), parts, membership)
        told(way.name, 1.0)
    return Trained(artifacts=tuple(artifacts), active=best, metrics=tuple(table), validation_crps=crps)


def fit_forecaster(
    net: Net,
    parts: Split,
    *,
    seed: int,
    scaler: scalers.Kind = "standard",
    progress: Progress = no_progress,
    learning: Learning = DEFAULT,
    job: Job = UNATTENDED,
    parameters: Mapping[str, Value] = _NOTHING,
    report: Report = no_report,
) -> Pipeline:
    """Train one forecaster: scaler from the fit part alone, labels limited, stopped by the validation part."""
    scaling, problem = problem_of(parts, seed=seed, scaler=scaler, progress=progress, learning=learning, job=job,
                                  parameters=parameters, report=report)  # fmt: skip
    return Pipeline(scaler=scaling, net=net.fit(problem), window=parts.fit.window)


def problem_of(
    parts: Split,
    *,
    seed: int,
    scaler: scalers.Kind = "standard",
    progress: Progress = no_progress,
    learning: Learning = DEFAULT,
    job: Job = UNATTENDED,
    parameters: Mapping[str, Value] = _NOTHING,
    report: Report = no_report,
) -> tuple[scalers.AnyScaler, Problem]:
    """What a forecaster is to learn from parts, and what its inputs were scaled by."""
    scaling = scalers.fit(scaler, parts.fit.features)
    window = parts.fit.window
    return scaling, Problem(
        inputs=stacked(scaling(parts.fit.features), window),
        targets=np.clip(parts.fit.labels, -LABEL_LIMIT, LABEL_LIMIT),
        validation_inputs=stacked(scaling(parts.validation.features), window),
        validation_targets=np.clip(parts.validation.labels, -LABEL_LIMIT, LABEL_LIMIT),
        seed=seed,
        progress=progress,
        learning=learning,
        job=job,
        parameters=parameters,
        report=report,
    )


def config_of(parameters: Mapping[str, Value]) -> dict[str, Value]:
    """A network's parameters as a manifest's `config` tells them."""
    return {f"parameters.{name}": value for name, value in sorted(parameters.items())}


def answers(pipeline: Pipeline, rows: Rows) -> tuple[Floats, Floats | None]:
    """What a pipeline says of rows, and how sure it says it is (None where it does not), both of shape (n, m)."""
    if rows.window == 1:
        return pipeline.measured(rows.features)
    found = [pipeline.measured(rows.inputs(start, start + _CHUNK)) for start in range(0, len(rows), _CHUNK)]
    spreads = [spread for _, spread in found if spread is not None]
    return np.concatenate([expected for expected, _ in found]), np.concatenate(spreads) if spreads else None


def _judge(name: str, expected: Floats, spread: Floats | None, parts: Split, horizons: Sequence[int]) -> _Judged:
    rows = parts.calibration
    scores: list[tuple[float, ...]] = []
    table: list[MetricRow] = []
    for column, horizon in enumerate(horizons):
        forecasts: list[HorizonForecast] = metrics.forecasts_of(expected, rows, column, horizon, spread)
        scales_e5 = parts.scales_e5[:, column].tolist()
        scores.append(metrics.scores_of(forecasts, scales_e5, rows, column))
        table.append(metrics.measure(name, forecasts, scores[-1], scales_e5, rows, column, spread))
    return _Judged(scores=tuple(scores), rows=tuple(table))


def _manifest(
    train: BarSeries, calibrate: BarSeries, horizons: tuple[int, ...], names: tuple[str, ...], seed: int
) -> Manifest:
    return Manifest(
        schema=artifact.SCHEMA,
        kind="forecaster",
        name="",
        symbol=train.symbol,
        period_ns=train.period_ns,
        horizons=horizons,
        form="",
        settings={},
        window=1,
        feature_hash=features.schema_hash(names),
        feature_names=names,
        scaler=Scaler(centre=np.zeros(0), gain=np.zeros(0)).state(),
        seed=seed,
        code_version=artifact.CODE_VERSION,
        config={"label_limit": LABEL_LIMIT, "golden_rows": _GOLDEN_ROWS},
        code=revision(),
        training=TrainingWindow(
            first_ts_ns=int(train.ts_open_ns[0]),
            last_ts_ns=int(train.ts_open_ns[-1]),
            bars=len(train),
            calibration_first_ts_ns=int(calibrate.ts_open_ns[0]),
            calibration_last_ts_ns=int(calibrate.ts_open_ns[-1]),
            calibration_bars=len(calibrate),
            data_sha256=data_sha256(train, calibrate),
            calibration_sha256=data_sha256(calibrate),
        ),
        metrics=(),
        scores=(),
        baseline_scores=(),
        volatility=None,
        files={},
    )
