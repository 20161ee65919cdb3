"""Trains the default models of one market: ridge, a small neural network and the candlestick autoencoder.

Everything is chosen inside the training bars: penalties, when to stop, how far to trust an output, and which forecaster
trades. The calibration bars are looked at once, at the end, for scores and for the table, so that both are honest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from msgspec.structs import replace
from threadpoolctl import threadpool_limits

from bus.messages import HorizonForecast
from bus.series import BarSeries
from models import artifact, features, random_walk, scalers
from models.artifact import Artifact, Manifest, MetricRow, TrainingWindow
from models.columns import Floats, from_series
from models.contract import Net, Problem, Progress, no_progress
from models.forward import Pipeline
from models.nets import architectures
from models.revision import revision
from models.scalers import Scaler
from models.train import metrics
from models.train.cache import FeatureCache
from models.train.data import LABEL_LIMIT, Split, data_sha256, split
from models.train.detector import fit_detector

_GOLDEN_ROWS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What training gave, ready for ``Registry.publish(trained.artifacts, active=trained.active)``.

    Attributes:
        artifacts: one a network, in the order of their names.
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
    feature_names: Sequence[str] = features.DEFAULT,
    scaler: scalers.Kind = "standard",
    cache: FeatureCache | None = None,
) -> Trained:
    """Train every architecture of `models.nets`.

    Args:
        train: older bars; the last fifth decides when to stop and which model trades.
        calibrate: newer bars of the same market, for calibration scores and metrics only.
        horizons: bars ahead, each once.
        seed: equal seeds and bars give equal artifacts, ids included, on one machine (one kind of processor: the
            linear-algebra library picks its kernels by it).
        progress: told a stage (a network's name) and the share of it that is done.
        feature_names: what forecasters look at, from `models.features.ALL`; bars and counts of quotes are given.
        scaler: how features are scaled; fitted on the fit part alone.
        cache: keeps features from one training to the next.

    Raises:
        DataError: too few bars, series that do not fit together, or a feature that needs what they do not carry.
        ModelError: a feature that is not known, or training that went astray.
    """
    # one thread: faster for networks this small, and sums that split over threads come out differently
    with threadpool_limits(limits=1):
        parts = split(train, calibrate, tuple(horizons), names=feature_names, cache=cache)
        manifest = replace(
            _manifest(train, calibrate, tuple(horizons), tuple(feature_names), seed), volatility=parts.volatility
        )
        return _fit_defaults(train, parts, manifest, scaler, progress or no_progress)


def _fit_defaults(train: BarSeries, parts: Split, manifest: Manifest, kind: scalers.Kind, told: Progress) -> Trained:
    horizons = manifest.horizons
    walk = _judge(random_walk.MODEL_ID, np.zeros_like(parts.calibration.labels), parts, horizons)
    crps = {random_walk.MODEL_ID: metrics.mean_crps(np.zeros_like(parts.validation.labels), parts.validation)}
    artifacts: list[Artifact] = []
    table = list(walk.rows)
    best = ""
    for net in architectures().values():
        if net.task == "reconstruct":
            artifacts.append(fit_detector(net, from_series(train), manifest, told))
            continue
        pipeline = fit_forecaster(net, parts, seed=manifest.seed, scaler=kind, progress=told)
        judged = _judge(net.name, pipeline(parts.calibration.features), parts, horizons)
        made = artifact.seal(
            replace(manifest, name=net.name, metrics=(*walk.rows, *judged.rows),
                     scores=judged.scores, baseline_scores=walk.scores),
            pipeline,
            {},
            parts.fit.features[:: max(1, len(parts.fit) // _GOLDEN_ROWS)][:_GOLDEN_ROWS],
        )  # fmt: skip
        artifacts.append(made)
        table += judged.rows
        crps[net.name] = metrics.mean_crps(pipeline(parts.validation.features), parts.validation)
        if not best or crps[net.name] < crps[best.rpartition("-")[0]]:
            best = made.model_id
    return Trained(artifacts=tuple(artifacts), active=best, metrics=tuple(table), validation_crps=crps)


def fit_forecaster(
    net: Net, parts: Split, *, seed: int, scaler: scalers.Kind = "standard", progress: Progress = no_progress
) -> Pipeline:
    """Train one forecaster: scaler from the fit part alone, labels limited, stopped by the validation part."""
    scaling = scalers.fit(scaler, parts.fit.features)
    trained = net.fit(
        Problem(
            inputs=scaling(parts.fit.features),
            targets=np.clip(parts.fit.labels, -LABEL_LIMIT, LABEL_LIMIT),
            validation_inputs=scaling(parts.validation.features),
            validation_targets=np.clip(parts.validation.labels, -LABEL_LIMIT, LABEL_LIMIT),
            seed=seed,
            progress=progress,
        )
    )
    return Pipeline(scaler=scaling, net=trained)


def _judge(name: str, expected: Floats, parts: Split, horizons: Sequence[int]) -> _Judged:
    rows = parts.calibration
    scores: list[tuple[float, ...]] = []
    table: list[MetricRow] = []
    for column, horizon in enumerate(horizons):
        forecasts: list[HorizonForecast] = metrics.forecasts_of(expected, rows, column, horizon)
        scales_e5 = parts.scales_e5[:, column].tolist()
        scores.append(metrics.scores_of(forecasts, scales_e5, rows, column))
        table.append(metrics.measure(name, forecasts, scores[-1], scales_e5, rows, column))
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
