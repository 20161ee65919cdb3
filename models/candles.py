"""Windows of candles as the autoencoder sees them, and how badly it redraws each.

A window is the newest CANDLES candles. Each candle is four numbers in logs: gap from the close before, body, upper and
lower wick. They are divided by the median true range of the window itself and held within +-LIMIT, so that a window's
shape is learnt whatever the pair or the volatility, and nothing outside the window (no other time, no statistics of a
training set) enters.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.columns import Columns
from models.forward import Pipeline

Floats = NDArray[np.float64]

CANDLES = 50
PARTS = 4
WINDOW = CANDLES + 1
"""Bars that one window depends on: the first candle's gap needs the close before it."""

LIMIT = 6.0
_FLOOR = 1e-7
_MOST_CANDLES_NAMED = 5


def windows(columns: Columns) -> Floats:
    """One row for every bar that has CANDLES - 1 candles and a close before it: shape (n - CANDLES, CANDLES * PARTS).

    Oldest candle first; the row of bar t is row t - CANDLES. Empty where there are too few bars.
    """
    if len(columns) < WINDOW:
        return np.empty((0, CANDLES * PARTS))
    opening, high, low, close = (
        np.log(np.ascontiguousarray(c)) for c in (columns.open_e5, columns.high_e5, columns.low_e5, columns.close_e5)
    )
    before, opening, high, low, close = close[:-1], opening[1:], high[1:], low[1:], close[1:]
    top, bottom = np.maximum(opening, close), np.minimum(opening, close)
    parts = np.stack((opening - before, close - opening, high - top, bottom - low), axis=1)
    true_range = np.maximum(high, before) - np.minimum(low, before)
    framed = np.lib.stride_tricks.sliding_window_view(parts, CANDLES, axis=0).transpose(0, 2, 1)
    median = np.median(np.lib.stride_tricks.sliding_window_view(true_range, CANDLES), axis=1)
    scaled = framed / np.maximum(median, _FLOOR)[:, None, None]
    return np.clip(scaled, -LIMIT, LIMIT).reshape(len(framed), CANDLES * PARTS)


def errors(pipeline: Pipeline, inputs: Floats) -> Floats:
    """Mean squared error of every candle of every window: shape (n, CANDLES), oldest candle first."""
    return ((pipeline(inputs) - inputs) ** 2).reshape(-1, CANDLES, PARTS).mean(axis=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unusual:
    """A window that the autoencoder redraws badly. Errors are mean squares in units of the median true range."""

    error: float
    threshold: float
    percentile: float
    candles: tuple[int, ...]


def judge(candle_errors: Floats, percentiles: Floats, candle_threshold: float) -> Unusual | None:
    """Whether one window is unusual: its error lies above the 95th percentile of the validation errors.

    A few odd candles raise the error of their neighbours too, which the network then redraws less well, so a candle is
    named only where its own error is rare among all candles, and not merely high.

    Args:
        candle_errors: shape (CANDLES,), oldest first.
        percentiles: shape (101,), validation errors of windows at 0 %, 1 % ... 100 %.
        candle_threshold: validation error that few single candles exceed (`models.train.detector`).

    Returns:
        What is unusual, with the candles (0 = newest) above their own threshold, worst first, at most five, at least
        one; None where nothing is.
    """
    error = float(candle_errors.mean())
    threshold = float(percentiles[95])
    if not error > threshold:
        return None
    newest_first = candle_errors[::-1]
    order = np.argsort(-newest_first, kind="stable")[:_MOST_CANDLES_NAMED].tolist()
    named = [offset for offset in order if newest_first[offset] > candle_threshold] or order[:1]
    percentile = float(np.interp(error, percentiles, np.arange(101.0)))
    return Unusual(error=error, threshold=threshold, percentile=percentile, candles=tuple(named))
