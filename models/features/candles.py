"""Anatomy of the last candle and of the last few. All in logs."""

import numpy as np

from models.columns import Floats
from models.features._market import Market, in_sigmas
from models.features._registry import feature
from models.features._windows import mean, ratio, shift, total, wilder

ATR_BARS = 200
"""True ranges in Wilder's average of 14: all but 4e-7 of the endless recursion's weight."""


@feature("body", startup=1)
def body(m: Market) -> Floats:
    """(C - O) / (H - L), -1 to 1; 0 in a bar of one price."""
    return ratio(m.close - m.open, m.high - m.low)


@feature("upper_wick", startup=1)
def upper_wick(m: Market) -> Floats:
    """(H - max(O, C)) / (H - L), 0 to 1."""
    return ratio(m.high - np.maximum(m.open, m.close), m.high - m.low)


@feature("lower_wick", startup=1)
def lower_wick(m: Market) -> Floats:
    """(min(O, C) - L) / (H - L), 0 to 1."""
    return ratio(np.minimum(m.open, m.close) - m.low, m.high - m.low)


@feature("range_sigma", startup=in_sigmas(1))
def range_sigma(m: Market) -> Floats:
    """(H - L) / sigma."""
    return (m.high - m.low) / m.sigma


@feature("true_range_14", startup=in_sigmas(15))
def true_range(m: Market) -> Floats:
    """Plain mean of 14 true ranges / sigma."""
    return mean(m.true_range, 14) / m.sigma


@feature("atr_14", startup=ATR_BARS + 1)
def atr(m: Market) -> Floats:
    """Wilder's average of 14 of the true range / sigma (Wilder 1978)."""
    return wilder(m.true_range, 14, ATR_BARS) / m.sigma


@feature("body_share_{}", each=(8,), startup=lambda width: width)
def body_share(m: Market, width: int) -> Floats:
    """Sum of C - O / sum of H - L over w bars, -1 to 1: whether the bodies agree."""
    return ratio(total(m.close - m.open, width), total(m.high - m.low, width))


@feature("streak_8", startup=9)
def streak(m: Market) -> Floats:
    """Closes in a row in the direction of the last one / 8, signed, counted up to 8; 0 after an unchanged close."""
    direction = np.sign(m.returns)
    going = np.abs(direction)
    length = going
    for age in range(1, 8):
        going = going * np.where(shift(direction, age) == direction, 1.0, 0.0 * shift(direction, age))
        length = length + going
    return direction * length / 8.0


@feature("engulfing", startup=2)
def engulfing(m: Market) -> Floats:
    """(body of this bar + body of the last) / sum of their sizes where they point apart, else 0; -1 to 1.

    Its sign is that of the larger body: above 0 this bar undid a fall and more, below 0 a rise.
    """
    now, before = m.close - m.open, shift(m.close - m.open, 1)
    against = np.where(now * before < 0.0, 1.0, 0.0 * before)
    return against * ratio(now + before, np.abs(now) + np.abs(before))
