"""Intervals of every method from one scale, and the CRPS of what they forecast."""

import math
from statistics import NormalDist

import numpy as np

from bus.values import LARGEST
from models import scores
from models.columns import Floats, Ints
from models.conformal import (
    CAPACITY,
    Aci,
    Adaptation,
    Calibrator,
    DtAci,
    Fixed,
    Method,
    Pid,
    RollingScores,
    score,
    step_for,
    stride_for,
)
from models.conformal.dtaci import GAMMAS
from models.validate.rows import Issued

ACI_STEP = 0.015
"""One bar ahead; it falls with the horizon as the default's step does."""
_RENEWED_EVERY = 24


def method_named(name: str, horizon: int) -> Method:
    """The adaptation of a method at a horizon: `rolling`, `aci`, `dtaci` or `pid`."""
    slower = step_for(horizon) / step_for(1)

    def make(target: float) -> Adaptation:
        if name == "aci":
            return Aci(target, ACI_STEP * slower)
        if name == "dtaci":
            return DtAci(target, [gamma * slower for gamma in GAMMAS])
        return Pid(target, step_for(horizon)) if name == "pid" else Fixed(target)

    return make


def online(close_e5: Ints, scale_e5: Ints, horizon: int, level_ppm: int, method: str, start: int) -> Issued:
    """Run a calibrator through all bars and keep the intervals issued from `start` on.

    Args:
        close_e5: shape (n,).
        scale_e5: shape (n,), known at each close; 0 = not yet.
        horizon: bars ahead.
        level_ppm: nominal coverage.
        method: for `method_named`.
        start: the first forecast that counts.
    """
    calibrator = Calibrator((level_ppm,), method=method_named(method, horizon), stride=stride_for(horizon))
    closes, scales = close_e5.tolist(), scale_e5.tolist()
    lower, upper, bounded = [0] * len(closes), [0] * len(closes), [True] * len(closes)
    tickets = [calibrator.ticket()] * len(closes)
    first = int(np.argmax(scale_e5 > 0))
    for row in range(first, len(closes) - horizon):
        due = row - horizon
        if due >= first:
            truth = closes[row]
            held = not bounded[due] or lower[due] <= truth <= upper[due]
            calibrator.update(score(truth, closes[due], scales[due]), (held,), tickets[due])
        (band,) = calibrator.interval(closes[row], scales[row])
        lower[row], upper[row], bounded[row] = band.lower_e5, band.upper_e5, band.bounded
        tickets[row] = calibrator.ticket()
    part = np.s_[start : len(closes) - horizon]
    return Issued(lower_e5=np.array(lower)[part], upper_e5=np.array(upper)[part], bounded=np.array(bounded)[part])


def static(close_e5: Ints, scale_e5: Ints, horizon: int, level_ppm: int, start: int) -> Issued:
    """Split conformal with the scores of the older part, once and for all."""
    known = _scores(close_e5, scale_e5, horizon)[: start - horizon]
    threshold = RollingScores(len(known), known[known >= 0].tolist()).quantile(1.0 - level_ppm / 1e6)
    return _around(close_e5, scale_e5, horizon, threshold, start)


def normal(close_e5: Ints, scale_e5: Ints, horizon: int, level_ppm: int, start: int) -> Issued:
    """The Gaussian's central interval."""
    threshold = NormalDist().inv_cdf(0.5 + 0.5 * level_ppm / 1e6)
    return _around(close_e5, scale_e5, horizon, threshold, start)


def crps_normal(close_e5: Ints, scale_e5: Ints, horizon: int, start: int) -> Floats:
    """CRPS of the Gaussian, in price units of 1/100000, shape (forecasts from `start` on,)."""
    part = np.s_[start : len(close_e5) - horizon]
    error = (close_e5[horizon:] - close_e5[: len(close_e5) - horizon])[start:]
    return scores.crps_normal(error.astype(np.float64), scale_e5[part].astype(np.float64))


def crps_static(close_e5: Ints, scale_e5: Ints, horizon: int, start: int) -> Floats:
    """CRPS of close +- scale x the older part's scores."""
    known = _scores(close_e5, scale_e5, horizon)[: start - horizon]
    return _crps(close_e5, scale_e5, horizon, start, len(close_e5) - horizon, known[known >= 0])


def crps_rolling(close_e5: Ints, scale_e5: Ints, horizon: int, start: int) -> Floats:
    """CRPS of close +- scale x the scores that a calibrator keeps, renewed every day of 24 bars."""
    known = _scores(close_e5, scale_e5, horizon)
    stride, stop = stride_for(horizon), len(close_e5) - horizon
    parts: list[Floats] = []
    for row in range(start, stop, _RENEWED_EVERY):
        newest_first = known[: row - horizon + 1][::-1][::stride][:CAPACITY]
        end = min(row + _RENEWED_EVERY, stop)
        parts.append(_crps(close_e5, scale_e5, horizon, row, end, newest_first[newest_first >= 0]))
    return np.concatenate(parts)


def _scores(close_e5: Ints, scale_e5: Ints, horizon: int) -> Floats:
    """|y - point| / scale of every forecast whose truth is in the data; -1 where there was no scale."""
    stop = len(close_e5) - horizon
    moved = np.abs(close_e5[horizon:] - close_e5[:stop])
    return np.where(scale_e5[:stop] > 0, moved / np.maximum(scale_e5[:stop], 1), -1.0)


def _crps(close_e5: Ints, scale_e5: Ints, horizon: int, start: int, stop: int, spread: Floats) -> Floats:
    error = (close_e5[start + horizon : stop + horizon] - close_e5[start:stop]).astype(np.float64)
    return scores.crps_symmetric(spread, error, scale_e5[start:stop].astype(np.float64))


def _around(close_e5: Ints, scale_e5: Ints, horizon: int, threshold: float, start: int) -> Issued:
    close, scale = (column[start : len(close_e5) - horizon] for column in (close_e5, scale_e5))
    if math.isinf(threshold):
        whole = np.full(len(close), LARGEST)
        return Issued(lower_e5=np.zeros_like(whole), upper_e5=whole, bounded=np.zeros(len(close), bool))
    half = np.ceil(threshold * scale).astype(np.int64)
    return Issued(lower_e5=close - half, upper_e5=close + half, bounded=np.ones(len(close), bool))
