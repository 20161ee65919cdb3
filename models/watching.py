"""What fitted state models say of the newest bars, as messages. Numpy alone, no state: a request decides the answer.

A regime model filters the window that ends with the newest bar, and the one that ends a bar earlier, so that a change
of regime shows in one message. An anomaly model speaks up only where its score passes the alarm level of training.
"""

import numpy as np

from bus.errors import ModelError
from bus.messages import ForecastRequested, PatternSeen, RegimeSeen
from models import features
from models.artifact import Artifact
from models.columns import Columns, Floats

UNUSUAL_BAR = "unusual_bar"


def needed(artifact: Artifact) -> int:
    """Bars that an answer depends on."""
    manifest = artifact.manifest
    return features.startup(manifest.feature_names) + manifest.window - (manifest.kind == "anomaly")


def look(request: ForecastRequested, artifact: Artifact, columns: Columns) -> list[RegimeSeen | PatternSeen]:
    """The regime of the newest bar, or that the bar is unusual; nothing where it is as usual or there are too few bars.

    Args:
        request: what was asked.
        artifact: of kind `regimes` or `anomaly`.
        columns: the request's bars.

    Raises:
        ModelError: the model's answer is not a finite number.
    """
    length = needed(artifact)
    if len(columns) < length:
        return []
    manifest, alarms = artifact.manifest, artifact.manifest.kind == "anomaly"
    window, names = manifest.window, manifest.feature_names
    newest = window if alarms else window + 1
    market = features.Market(features.Inputs(columns=columns.tail(length)), newest=newest)
    told = artifact.pipeline(_windows(features.rows(market, newest, names), window))
    if not np.isfinite(told).all():
        raise ModelError("what the model says of the bar is not a finite number")
    return _unusual(request, artifact, float(told[0, 0])) if alarms else [_regime(request, artifact, told)]


def score(told: float) -> float:
    """The anomaly score of Liu, Ting and Zhou (2008), 0 to 1, of what an isolation forest answers."""
    return float(2.0**told)


def _windows(rows: Floats, window: int) -> Floats:
    framed = np.lib.stride_tricks.sliding_window_view(rows, window, axis=0).transpose(0, 2, 1)
    return framed.reshape(len(framed), -1)


def _regime(request: ForecastRequested, artifact: Artifact, told: Floats) -> RegimeSeen:
    before, now = told
    return RegimeSeen(
        request_id=request.request_id,
        symbol=request.symbol,
        model_id=artifact.model_id,
        as_of_ns=request.as_of_ns,
        regime=int(now.argmax()),
        before=int(before.argmax()),
        probabilities_ppm=tuple(round(share * 1_000_000) for share in now.tolist()),
        ts_init_ns=request.as_of_ns,
    )


def _unusual(request: ForecastRequested, artifact: Artifact, told: float) -> list[RegimeSeen | PatternSeen]:
    found, alarm = score(told), float(artifact.tensors["alarm"][0])
    if not found > alarm:
        return []
    return [
        PatternSeen(
            request_id=request.request_id,
            symbol=request.symbol,
            pattern=UNUSUAL_BAR,
            model_id=artifact.model_id,
            as_of_ns=request.as_of_ns,
            error_ppm=round(found * 1_000_000),
            threshold_ppm=round(alarm * 1_000_000),
            percentile=round(float(np.interp(found, artifact.tensors["error_percentiles"], np.arange(101.0))), 4),
            candles=(0,),
            ts_init_ns=request.as_of_ns,
        )
    ]
