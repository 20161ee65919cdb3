"""Where the price stands against its averages, and how steadily it got there.

Averages are of log prices. Exponential and Wilder averages weigh a stated number of bars and nothing before
(`_windows.ewma`): FAST, SLOW and SIGNAL bars leave less than a millionth of the endless recursion's weight outside;
two of Wilder's averages in a row, which must share a request's 256 bars, leave one part in 13,000 each.
"""

import math

import numpy as np

from models.columns import Floats
from models.features._market import Market, in_sigmas, shared
from models.features._registry import feature
from models.features._windows import ema, ewma, mean, ratio, shift, slope, total, wilder

FAST, SLOW, SIGNAL = 128, 190, 64
"""Bars of the 12 and 26 period averages and of the 9 period average of their difference."""

TWICE_WILDER = 128
"""Bars of each of the two averages that make ADX."""


@feature("ma_distance_{}", each=(8, 24, 96), startup=in_sigmas)
def ma_distance(m: Market, width: int) -> Floats:
    """(ln C - mean_w ln C) / (sigma sqrt w)."""
    return (m.close - mean(m.close, width)) / (m.sigma * math.sqrt(width))


@feature("ma_cross", startup=in_sigmas(96))
def ma_cross(m: Market) -> Floats:
    """(ewma(decay 0.8, 32 bars) - ewma(decay 0.95, 96 bars)) of ln C / sigma."""
    return (ewma(m.close, 32, 0.8) - ewma(m.close, 96, 0.95)) / m.sigma


@feature("ema_distance_{}", each=((12, FAST), (26, SLOW)), startup=in_sigmas)
def ema_distance(m: Market, period: int, width: int) -> Floats:
    """(ln C - EMA_p ln C) / (sigma sqrt p), alpha = 2 / (p + 1)."""
    return (m.close - ema(m.close, period, width)) / (m.sigma * math.sqrt(period))


@shared
def _macd(m: Market) -> Floats:
    return ema(m.close, 12, FAST) - ema(m.close, 26, SLOW)


@shared
def _macd_signal(m: Market) -> Floats:
    return ema(_macd(m), 9, SIGNAL)


@feature("macd", startup=in_sigmas(SLOW))
def macd(m: Market) -> Floats:
    """(EMA_12 - EMA_26) of ln C / sigma (Appel 1979)."""
    return _macd(m) / m.sigma


@feature("macd_signal", startup=SLOW + SIGNAL - 1)
def macd_signal(m: Market) -> Floats:
    """EMA_9 of (EMA_12 - EMA_26) of ln C / sigma."""
    return _macd_signal(m) / m.sigma


@feature("macd_histogram", startup=SLOW + SIGNAL - 1)
def macd_histogram(m: Market) -> Floats:
    """(MACD line - its EMA_9) / sigma."""
    return (_macd(m) - _macd_signal(m)) / m.sigma


@shared
def _directional(m: Market) -> tuple[Floats, Floats]:
    """+DI and -DI of 14 bars, 0 to 1."""
    up, down = m.high - shift(m.high, 1), shift(m.low, 1) - m.low
    rises = np.where(up > down, np.maximum(up, 0.0), 0.0 * up)
    falls = np.where(down > up, np.maximum(down, 0.0), 0.0 * down)
    span = wilder(m.true_range, 14, TWICE_WILDER)
    return ratio(wilder(rises, 14, TWICE_WILDER), span), ratio(wilder(falls, 14, TWICE_WILDER), span)


@feature("di_difference_14", startup=TWICE_WILDER + 1)
def di_difference(m: Market) -> Floats:
    """+DI - -DI: Wilder's averages of directional movement over that of the true range (Wilder 1978), -1 to 1."""
    plus, minus = _directional(m)
    return plus - minus


@feature("adx_14", startup=2 * TWICE_WILDER)
def adx(m: Market) -> Floats:
    """Wilder's average of |+DI - -DI| / (+DI + -DI) (Wilder 1978), 0 to 1."""
    plus, minus = _directional(m)
    return wilder(ratio(np.abs(plus - minus), plus + minus), 14, TWICE_WILDER)


@feature("slope_{}", each=(24, 96), startup=in_sigmas)
def trend_slope(m: Market, width: int) -> Floats:
    """Least-squares slope of ln C a bar, times sqrt w / sigma."""
    return slope(m.close, width) * math.sqrt(width) / m.sigma


@feature("efficiency_{}", each=(24,), startup=lambda width: width + 1)
def efficiency(m: Market, width: int) -> Floats:
    """ln(C_t / C_(t-w)) / sum |r|, the signed efficiency ratio (Kaufman 1995), -1 to 1."""
    return ratio(m.close - shift(m.close, width), total(np.abs(m.returns), width))
