"""A trained model at rest: a folder of files, verified before they are parsed. No pickle anywhere.

Theory of operation. `weights.safetensors` holds every array: network, golden inputs and outputs, error percentiles.
`manifest.json` holds the rest: what the features are (their names, and a hash of the code that computes them), the
scaler, the code that trained, and the sha256 of the weights. `signature.ed25519` may stand beside it and says who made
the model (`models.signing`). The model's id is its name and the first
ten hex digits of the manifest's sha256, and is the folder's name: content decides it, no clock and no path does, so
equal training gives an equal id, and any altered byte shows before anything is parsed. (The manifest therefore does
not name its own id.) Loading then refuses unknown fields, another schema, other features, numbers that are not finite,
and weights that no longer give the golden outputs.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from bus.errors import DataError, ModelError
from bus.messages import TrainingSummary, VolatilityState
from models import features, summary
from models.candles import CANDLES, PARTS
from models.diversity import Membership
from models.forms import Settings, Tensor, traits
from models.forward import Pipeline, pipeline_from
from models.revision import CodeRevision, revision
from models.scalers import State
from models.signing import SIGNATURE, Trust, verify
from models.volatility import SeasonalVolatility

Floats = NDArray[np.float64]

SCHEMA = 4
CODE_VERSION = 2
"""Raised by hand when training or inference changes what a stored model means."""

MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"
LARGEST_FILE_BYTES = 256 * 1024 * 1024
_GOLDEN_INPUTS, _GOLDEN_OUTPUTS, _GOLDEN_SCALES = "golden_inputs", "golden_outputs", "golden_scales"


class TrainingWindow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which bars a model has seen. `data_sha256` covers times and prices of training and calibration bars.

    `calibration_sha256` covers those of the calibration bars alone: the set on which the scores were measured.
    """

    first_ts_ns: int
    last_ts_ns: int
    bars: int
    calibration_first_ts_ns: int
    calibration_last_ts_ns: int
    calibration_bars: int
    data_sha256: str
    calibration_sha256: str

    @property
    def seen_ns(self) -> int:
        """When the newest bar opened that the model has seen in any way."""
        return max(self.last_ts_ns, self.calibration_last_ts_ns)


class MetricRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one model did at one horizon on the calibration split; `model` is a name, the random walk's row among them.

    Errors are basis points of log return, `pinball_bp` at 5 % and 95 %, `winkler_bp` and `coverage` of the 90 %
    interval, calibrated online as live; `hits` of `calls` had the sign right (no call = no opinion).
    """

    model: str
    horizon: int
    n: int
    rmse_bp: float
    crps_bp: float
    pinball_bp: float
    winkler_bp: float
    width_bp: float
    coverage: float
    hits: int
    calls: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Everything about a model but its arrays.

    Attributes:
        kind: `forecaster` (features to expected returns), `detector` (windows of candles to themselves), `regimes`
            (features to probabilities of states) or `anomaly` (features to how unusual a bar is).
        name: the architecture's name.
        horizons: bars ahead, in the order of the outputs; empty for what forecasts nothing.
        feature_names: of `models.features`, in the order of the inputs; empty for a detector.
        feature_hash: `features.schema_hash` of those names in the release that trained; empty for a detector.
        form: of the network, a file of `models.forms`; `settings` is what it needs besides its arrays.
        window: bars of features in an input, oldest first; 1 = the newest bar's alone.
        scaler: how inputs were scaled, fitted on training rows.
        config: what training was told besides bars, features and seed.
        code: the code that trained; filled in here.
        scores: a horizon, |actual - point| / scale on the calibration split in time order, where the scale is the
            market's volatility of `models.volatility`; empty for a detector.
        baseline_scores: the same of the random walk on the same bars.
        volatility: that volatility at the end of the calibration split; None for a detector.
        files: sha256 of every other file of the folder.
        membership: of an ensemble: who is in it, and how they differ on the calibration split. Left out for others.
        reference: what the bars were like that it has seen, for drift; left out by older releases and for detectors.
    """

    schema: int
    kind: Literal["forecaster", "detector", "regimes", "anomaly"]
    name: str
    symbol: str
    period_ns: int
    horizons: tuple[int, ...]
    form: str
    settings: Settings
    window: int
    feature_hash: str
    feature_names: tuple[str, ...]
    scaler: State
    seed: int
    code_version: int
    config: dict[str, str | int | float | bool]
    code: CodeRevision
    training: TrainingWindow
    metrics: tuple[MetricRow, ...]
    scores: tuple[tuple[float, ...], ...]
    baseline_scores: tuple[tuple[float, ...], ...]
    volatility: VolatilityState | None
    files: dict[str, str]
    membership: Membership | None = None
    reference: TrainingSummary | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A verified model. `manifest_bytes`, `weights_bytes` and `signature` are its files, byte for byte.

    `signature` is None where there is none; `signer` is then empty, else the public key that made it.
    """

    model_id: str
    manifest: Manifest
    tensors: Mapping[str, Tensor]
    pipeline: Pipeline
    manifest_bytes: bytes
    weights_bytes: bytes
    signature: bytes | None = None
    signer: str = ""


def seal(manifest: Manifest, pipeline: Pipeline, extra: Mapping[str, Floats], golden_inputs: Floats) -> Artifact:
    """Make an artifact of a trained pipeline: record golden outputs, hash, and pass every check a loader makes.

    Args:
        manifest: `form`, `settings`, `window`, `scaler`, `code` and `files` are filled in here.
        pipeline: what answers.
        extra: further arrays (a detector's `error_percentiles` and `candle_threshold`).
        golden_inputs: shape (g, k), a few inputs whose outputs every loader must reproduce.

    Raises:
        ModelError: something is not finite or does not fit.
    """
    outputs, scales = pipeline.measured(golden_inputs)
    tensors: dict[str, Tensor] = {**pipeline.net.tensors(), **extra}
    tensors |= {_GOLDEN_INPUTS: golden_inputs, _GOLDEN_OUTPUTS: outputs}
    if scales is not None:
        tensors[_GOLDEN_SCALES] = scales
    weights_bytes = save_tensors({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()})
    sealed = msgspec.structs.replace(
        manifest,
        form=pipeline.net.form,
        settings=pipeline.net.settings(),
        window=pipeline.window,
        scaler=pipeline.scaler.state(),
        code=revision(),
        files={WEIGHTS: _sha256(weights_bytes)},
    )
    manifest_bytes = msgspec.json.format(msgspec.json.encode(sealed), indent=1)
    return parse(id_of(manifest.name, manifest_bytes), manifest_bytes, weights_bytes, "new artifact")


def read(folder: Path, trust: Trust | None = None, *, unsigned: bool = False) -> Artifact:
    """Load an artifact, verifying before parsing.

    Args:
        folder: of the artifact, named by its id.
        trust: whose signatures count; None = a signature that is there must fit, whoever's it is.
        unsigned: leave the signature aside, to make another.

    Raises:
        ModelError: a file is missing, altered, too large, of another schema, signed by nobody we trust, or gives other
            numbers than it did.
    """
    manifest_bytes, weights_bytes = _read(folder / MANIFEST), _read(folder / WEIGHTS)
    signature = _read(folder / SIGNATURE) if (folder / SIGNATURE).exists() and not unsigned else None
    name, _, digest = folder.name.rpartition("-")
    if digest != _sha256(manifest_bytes)[:10]:
        raise ModelError(f"{folder / MANIFEST}: altered, its sha256 does not match the folder's name; train again")
    signer = verify(manifest_bytes, signature, trust or Trust(), str(folder))
    parsed = parse(f"{name}-{digest}", manifest_bytes, weights_bytes, str(folder))
    return replace(parsed, signature=signature, signer=signer)


def id_of(name: str, manifest_bytes: bytes) -> str:
    """`name-` and the first ten hex digits of the manifest's sha256."""
    return f"{name}-{_sha256(manifest_bytes)[:10]}"


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise ModelError(f"{path}: larger than {LARGEST_FILE_BYTES} bytes; this is no artifact of ours")
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); train the model again") from error


def parse(model_id: str, manifest_bytes: bytes, weights_bytes: bytes, where: str) -> Artifact:
    """An artifact of the bytes of its files, verified in the same way; a signature is the caller's affair.

    Args:
        model_id: that it must have.
        manifest_bytes: as in `Artifact`.
        weights_bytes: likewise.
        where: they come from, for the message.

    Raises:
        ModelError: as `read`.
    """
    try:
        manifest = msgspec.json.decode(manifest_bytes, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ModelError(f"{where}: manifest not understood ({error}); train again with this release") from error
    if manifest.schema != SCHEMA or manifest.code_version != CODE_VERSION:
        raise ModelError(
            f"{where}: schema {manifest.schema} code {manifest.code_version}, but this release reads schema {SCHEMA} "
            f"code {CODE_VERSION}; train again"
        )
    if model_id != id_of(manifest.name, manifest_bytes):
        raise ModelError(f"{where}: folder and manifest disagree on the name {manifest.name!r}; restore the folder")
    if manifest.files != {WEIGHTS: _sha256(weights_bytes)}:
        raise ModelError(f"{where}/{WEIGHTS}: altered, its sha256 does not match the manifest; train again")
    try:
        tensors: dict[str, Tensor] = load_tensors(weights_bytes)
    except (SafetensorError, ValueError) as error:
        raise ModelError(f"{where}/{WEIGHTS}: not safetensors ({error}); train again") from error
    try:
        _check_numbers(tensors, traits(manifest.form).dtypes)
        pipeline = pipeline_from(manifest.form, manifest.settings, tensors, manifest.scaler, manifest.window)
        _check_fit(manifest, tensors, pipeline)
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from error
    return Artifact(
        model_id=model_id,
        manifest=manifest,
        tensors=tensors,
        pipeline=pipeline,
        manifest_bytes=manifest_bytes,
        weights_bytes=weights_bytes,
    )


def _check_numbers(tensors: Mapping[str, Tensor], dtypes: tuple[str, ...]) -> None:
    for name, tensor in tensors.items():
        if str(tensor.dtype) not in dtypes or not np.isfinite(tensor).all():
            raise ModelError(f"{name} holds numbers that are not finite {' or '.join(dtypes)}; train again")


def _check_fit(manifest: Manifest, tensors: Mapping[str, Tensor], pipeline: Pipeline) -> None:
    """Manifest, arrays and this release's code must belong together."""
    inputs, outputs = pipeline.net.inputs, pipeline.net.outputs
    if manifest.kind == "forecaster":
        if manifest.feature_hash != features.schema_hash(manifest.feature_names):
            raise ModelError("trained on other features than this release computes; train again")
        counts = {len(manifest.horizons), len(manifest.scores), len(manifest.baseline_scores), outputs}
        if counts != {outputs} or outputs == 0 or min(manifest.horizons) < 1:
            raise ModelError("outputs, horizons and scores do not fit each other; train again")
        if inputs != manifest.window * len(manifest.feature_names):
            raise ModelError("inputs and features do not fit each other; train again")
        if features.startup(manifest.feature_names) + manifest.window - 1 > features.LONGEST:
            raise ModelError(f"needs more bars than the {features.LONGEST} of a request; train on a shorter window")
        for scores in (*manifest.scores, *manifest.baseline_scores):
            if not all(0.0 <= score < math.inf for score in scores):
                raise ModelError("a calibration score is negative or not finite; train again")
        _check_volatility(manifest)
        if manifest.reference is not None:
            summary.check(manifest.reference)
    elif manifest.kind in {"regimes", "anomaly"}:
        _check_state(manifest, tensors, pipeline)
    else:
        percentiles, candle = tensors.get("error_percentiles"), tensors.get("candle_threshold")
        if percentiles is None or percentiles.shape != (101,) or candle is None or candle.shape != (1,):
            raise ModelError("a detector without its error percentiles; train again")
        if inputs != CANDLES * PARTS or outputs != inputs:
            raise ModelError(f"a detector of {inputs} inputs; this release draws {CANDLES * PARTS}; train again")
    _check_golden(manifest, tensors, pipeline)


def _check_state(manifest: Manifest, tensors: Mapping[str, Tensor], pipeline: Pipeline) -> None:
    names, window = manifest.feature_names, manifest.window
    if manifest.feature_hash != features.schema_hash(names) or pipeline.net.inputs != window * len(names):
        raise ModelError("trained on other features than this release computes; train again")
    if features.startup(names) + window > features.LONGEST or manifest.horizons:
        raise ModelError(f"needs more bars than the {features.LONGEST} of a request; train on a shorter window")
    if manifest.kind == "regimes":
        if pipeline.net.form != "markov" or pipeline.net.outputs < 2:
            raise ModelError("regimes without states; train again")
        return
    percentiles, alarm = tensors.get("error_percentiles"), tensors.get("alarm")
    if percentiles is None or percentiles.shape != (101,) or alarm is None or alarm.shape != (1,):
        raise ModelError("an anomaly score without its alarm level; train again")
    if pipeline.net.outputs != 1:
        raise ModelError("an anomaly score of several numbers; train again")


def _check_golden(manifest: Manifest, tensors: Mapping[str, Tensor], pipeline: Pipeline) -> None:
    golden_inputs, golden_outputs = tensors.get(_GOLDEN_INPUTS), tensors.get(_GOLDEN_OUTPUTS)
    if (
        golden_inputs is None
        or golden_outputs is None
        or golden_inputs.shape[1:] != (pipeline.net.inputs,)
        or not len(golden_inputs)
    ):
        raise ModelError("no golden inputs and outputs to check against; train again")
    answered, scales = pipeline.measured(golden_inputs)
    tolerance = traits(manifest.form).tolerance
    for now, then in ((answered, golden_outputs), (scales, tensors.get(_GOLDEN_SCALES))):
        if now is None and then is None:
            continue
        if (
            now is None
            or then is None
            or now.shape != then.shape
            or not np.allclose(now, then, rtol=tolerance, atol=tolerance)
        ):
            raise ModelError("does not reproduce its golden outputs on this machine; train again here")


def _check_volatility(manifest: Manifest) -> None:
    if manifest.volatility is None:
        raise ModelError("no volatility to measure its intervals in; train again")
    try:
        SeasonalVolatility.restore(manifest.volatility, manifest.period_ns)
    except DataError as error:
        raise ModelError(str(error)) from error


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
