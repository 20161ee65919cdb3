"""Trains the candlestick autoencoder and sets its alarm: the 95th percentile of the errors on windows it has not seen.

Theory of operation. The windows fall into FOLDS parts in time. The network of the artifact learns from all but the
newest part and stops by the newest. An alarm level needs many windows that were not learnt from, and neighbours share
49 of 50 candles, so that 600 of them say little more than 12 that lie apart; a level taken from so few was passed by 8
to 11 % of fresh windows instead of 5 %. Where the newest part has fewer than APART windows that lie apart, every part
is therefore validated once, by a network that learnt from the others (a window's length of distance on both sides, so
that no candle is in both), and the level comes from all of these errors. On exchangeable windows the k-th smallest of n
errors is passed by a new one with probability 1 - k / (n + 1); the level is read off at that rank, with n counted as
the windows that lie apart.
"""

from itertools import pairwise

import numpy as np
from msgspec.structs import replace

from bus.errors import DataError
from models import artifact, candles
from models.artifact import Artifact, Manifest
from models.columns import Columns, Floats
from models.contract import Net, Problem, Progress, no_progress
from models.forward import Pipeline
from models.scalers import Scaler

FOLDS = 5
APART = 60
CANDLE_PERCENTILE = 99.5
"""A candle that differs has an error which so many single candles stay below: one window in five has such a candle."""

_GOLDEN_ROWS = 8


def fit_detector(net: Net, columns: Columns, manifest: Manifest, progress: Progress = no_progress) -> Artifact:
    """Train on the windows of `columns`, and judge what is usual by windows that were not learnt from.

    Args:
        net: an architecture that reconstructs.
        columns: training bars; nothing else is looked at.
        manifest: of the market; its seed is used.
        progress: told the network's name and the share done.

    Raises:
        DataError: too few bars.
        ModelError: training went astray.
    """
    drawn = candles.windows(columns)
    edges = np.linspace(0, len(drawn), FOLDS + 1).astype(int).tolist()
    parts = list(pairwise(edges))
    if len(drawn) // FOLDS <= candles.CANDLES:
        raise DataError(f"{manifest.symbol}: {len(columns)} bars give too few windows of {candles.CANDLES} candles")
    if len(drawn) // FOLDS >= APART * candles.CANDLES:
        parts = parts[-1:]
    found: list[Floats] = []
    pipeline: Pipeline | None = None
    for done, (start, stop) in enumerate(parts):
        pipeline = _learn(net, drawn, start, stop, manifest.seed, _share(progress, done, len(parts)))
        found.append(candles.errors(pipeline, drawn[start:stop]))
    assert pipeline is not None
    errors = np.concatenate(found)
    extra = {
        "error_percentiles": percentiles(errors.mean(axis=1)),
        "candle_threshold": np.array([np.percentile(errors, CANDLE_PERCENTILE)]),
    }
    described = replace(
        manifest,
        kind="detector",
        name=net.name,
        horizons=(),
        feature_names=(),
        feature_hash="",
        volatility=None,
        reference=None,
    )
    return artifact.seal(described, pipeline, extra, drawn[edges[-2] :][:_GOLDEN_ROWS])


def percentiles(errors: Floats) -> Floats:
    """The 0th to 100th percentile, shape (101,), of errors of overlapping windows, shape (n,).

    The p-th is the error that a new window stays below with probability p / 100, where windows are exchangeable:
    rank p / 100 (m + 1) of m = n / CANDLES windows that lie apart, and the largest error where that is beyond m.
    """
    apart = len(errors) / candles.CANDLES
    return np.quantile(errors, np.minimum(1.0, np.arange(101) / 100 * (apart + 1.0) / apart))


def _learn(net: Net, drawn: Floats, start: int, stop: int, seed: int, progress: Progress) -> Pipeline:
    """The network that learnt from all windows which share no candle with windows `start` to `stop`."""
    others = np.concatenate((drawn[: max(0, start - candles.CANDLES)], drawn[stop + candles.CANDLES :]))
    validation = drawn[start:stop]
    size = candles.CANDLES * candles.PARTS
    trained = net.fit(
        Problem(
            inputs=others,
            targets=others,
            validation_inputs=validation,
            validation_targets=validation,
            seed=seed,
            progress=progress,
        )
    )
    return Pipeline(scaler=Scaler(centre=np.zeros(size), gain=np.ones(size), limit=candles.LIMIT), net=trained)


def _share(progress: Progress, done: int, parts: int) -> Progress:
    return lambda name, share: progress(name, (done + share) / parts)
