"""What the daemon says about models to its core. Light: no learning library, no thread, no disk."""

from bus.messages import ModelAdmitted
from models import random_walk
from models.conformal import kept
from models.registry import Loaded


def admissions(loaded: Loaded, *, ts_init_ns: int) -> tuple[ModelAdmitted, ...]:
    """Admit every forecaster of a verified release, the random walk first; detectors forecast nothing and need none.

    Each carries the newest of its scores on the calibration split, from which the core starts its calibrators, and the
    volatility that they are measured in. The random walk's are those recorded beside the active model.
    """
    admitted: list[ModelAdmitted] = []
    for model in loaded.artifacts:
        manifest = model.manifest
        if manifest.kind != "forecaster":
            continue
        active = model.model_id == loaded.active
        if active:
            baseline = ModelAdmitted(
                model_id=random_walk.MODEL_ID,
                kind=random_walk.KIND,
                symbol=manifest.symbol,
                active=False,
                horizons=manifest.horizons,
                scores=_kept(manifest.horizons, manifest.baseline_scores),
                ts_init_ns=ts_init_ns,
                volatility=manifest.volatility,
            )
            admitted.insert(0, baseline)
        admitted.append(
            ModelAdmitted(
                model_id=model.model_id,
                kind=manifest.name,
                symbol=manifest.symbol,
                active=active,
                horizons=manifest.horizons,
                scores=_kept(manifest.horizons, manifest.scores),
                ts_init_ns=ts_init_ns,
                volatility=manifest.volatility,
            )
        )
    return tuple(admitted)


def _kept(horizons: tuple[int, ...], scores: tuple[tuple[float, ...], ...]) -> tuple[tuple[float, ...], ...]:
    """What a calibrator will keep: other scores would only swell the message."""
    return tuple(kept(own, horizon) for horizon, own in zip(horizons, scores, strict=True))
