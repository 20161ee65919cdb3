"""Trains what says which state a market is in, and sets the alarm of what says how unusual a bar is.

The older four fifths of the training bars are learnt from. The newest fifth, which the model has not seen, sets the
alarm level: on exchangeable scores the k-th smallest of n is passed by a new one with probability 1 - k / (n + 1), and
k is taken for ALARM. A market whose next year is wilder than its last passes it more often, and that is what it is for.
"""

import math

import numpy as np
from msgspec.structs import replace

from bus.errors import DataError
from models import artifact, features, scalers
from models.artifact import Artifact, Manifest
from models.columns import Columns, stacked
from models.contract import Progress, no_progress
from models.forward import Pipeline
from models.states import State
from models.train.data import VALIDATION_SHARE
from models.watching import score

ALARM = 0.995
"""Share of usual bars that stay below the alarm level: on hours, one false alarm in eight trading days."""

_GOLDEN_ROWS = 8


def fit_state(way: State, columns: Columns, manifest: Manifest, progress: Progress = no_progress) -> Artifact:
    """Train on bars, and judge what is usual by newer ones.

    Args:
        way: how.
        columns: training bars; nothing else is looked at.
        manifest: of the market; its seed is used.
        progress: told the name and the share done.

    Raises:
        DataError: too few bars.
    """
    names = tuple(way.feature_names)
    rows = features.compute(features.Inputs(columns=columns), names)[features.startup(names) - 1 :]
    cut = math.floor(len(rows) * (1.0 - VALIDATION_SHARE))
    newer = rows[cut + features.startup(names) :]
    if len(newer) < max(way.window, 100):
        raise DataError(f"{manifest.symbol}: {len(columns)} bars are too few for {way.name}; give 2,000 or more")
    scaler = scalers.fit("robust", rows[:cut])
    pipeline = Pipeline(scaler=scaler, net=way.fit(scaler(rows[:cut]), manifest.seed), window=way.window)
    extra: dict[str, artifact.Floats] = {}
    if way.task == "anomaly":
        scores = np.array([score(told) for told in pipeline(newer)[:, 0].tolist()])
        rank = min(len(scores), math.ceil((len(scores) + 1) * ALARM - 1e-12))
        extra = {
            "error_percentiles": np.quantile(scores, np.arange(101) / 100.0),
            "alarm": np.sort(scores)[rank - 1 : rank],
        }
    described = replace(
        manifest,
        kind=way.task,
        name=way.name,
        horizons=(),
        feature_names=names,
        feature_hash=features.schema_hash(names),
        volatility=None,
        reference=None,
    )
    golden = stacked(newer, way.window)
    made = artifact.seal(described, pipeline, extra, golden.reshape(len(golden), -1)[:_GOLDEN_ROWS])
    progress(way.name, 1.0)
    return made
