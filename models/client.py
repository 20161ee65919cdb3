"""What the daemon says about models to its core. Light: no learning library, no thread, no disk."""

from collections.abc import Collection
from dataclasses import replace

from bus.errors import ModelError
from bus.messages import ModelAdmitted
from models import random_walk
from models.admission import Admission, verdict_of
from models.artifact import Artifact
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
            admitted_as(model, release=loaded.release, verdict=verdict_of(manifest), active=active,
                        ts_init_ns=ts_init_ns)
        )  # fmt: skip
    return tuple(admitted)


def arrivals(admission: Admission, wanted: str, known: Collection[str], *, ts_init_ns: int) -> list[ModelAdmitted]:
    """Admit the forecasters of a release beside those that speak already: all in shadow, the candidate last.

    Args:
        admission: of the release, not refused.
        wanted: which of them may become the one that trades: an architecture's name or an id; empty = the one that the
            release puts forward.
        known: ids that need no admission, since they trade or did so lately.
        ts_init_ns: now.
    """
    candidate = _wanted([each.artifact for each in admission.models], wanted) if wanted else admission.candidate
    told = [
        admitted_as(each.artifact, release=admission.release, verdict=each.verdict, ts_init_ns=ts_init_ns,
                    candidate=each.artifact.model_id == candidate)
        for each in admission.models
        if each.artifact.manifest.kind == "forecaster" and each.artifact.model_id not in known
    ]  # fmt: skip
    return sorted(told, key=lambda message: message.candidate)


def admitted_as(
    model: Artifact,
    *,
    release: int,
    verdict: str,
    ts_init_ns: int,
    active: bool = False,
    candidate: bool = False,
) -> ModelAdmitted:
    """One forecaster, with the newest of its scores."""
    manifest = model.manifest
    return ModelAdmitted(
        model_id=model.model_id,
        kind=manifest.name,
        symbol=manifest.symbol,
        active=active,
        horizons=manifest.horizons,
        scores=_kept(manifest.horizons, manifest.scores),
        ts_init_ns=ts_init_ns,
        volatility=manifest.volatility,
        release=release,
        candidate=candidate,
        verdict=verdict,
        reference=manifest.reference,
    )


def choosing(loaded: Loaded, wanted: str) -> Loaded:
    """The release with the model that is wanted as the one that trades: an architecture's name, an id, or empty.

    Raises:
        ModelError: it has no such forecaster.
    """
    if not wanted:
        return loaded
    active = _wanted(loaded.artifacts, wanted)
    if not active:
        names = ", ".join(each.model_id for each in loaded.artifacts if each.manifest.kind == "forecaster")
        symbol = loaded.artifacts[0].manifest.symbol
        raise ModelError(f"models.trades.{symbol} = {wanted!r}: no such model in release {loaded.release}; {names}")
    return replace(loaded, active=active)


def _wanted(models: Collection[Artifact], wanted: str) -> str:
    forecasters = [each for each in models if each.manifest.kind == "forecaster"]
    return next((each.model_id for each in forecasters if wanted in {each.model_id, each.manifest.name}), "")


def _kept(horizons: tuple[int, ...], scores: tuple[tuple[float, ...], ...]) -> tuple[tuple[float, ...], ...]:
    """What a calibrator will keep: other scores would only swell the message."""
    return tuple(kept(own, horizon) for horizon, own in zip(horizons, scores, strict=True))
