"""How far the price has run among its recent past, and whether moves follow on or turn back."""

import numpy as np

from models.columns import Floats
from models.features._market import SIGMA_FLOOR, Market, in_sigmas, mean_square, shared
from models.features._registry import feature
from models.features._windows import highest, lowest, mean, ratio, shift, total, variance, wilder

RSI_BARS = 200
"""Returns in Wilder's averages of 14: all but 4e-7 of the endless recursion's weight."""


@feature("rsi_14", startup=RSI_BARS + 1)
def rsi(m: Market) -> Floats:
    """(G - L) / (G + L), Wilder's averages of 14 of gains and losses in ln C: RSI / 50 - 1 (Wilder 1978), -1 to 1."""
    gains = wilder(np.maximum(m.returns, 0.0), 14, RSI_BARS)
    losses = wilder(np.maximum(-m.returns, 0.0), 14, RSI_BARS)
    return ratio(gains - losses, gains + losses)


@feature("rsi_cutler_14", startup=15)
def rsi_cutler(m: Market) -> Floats:
    """(G - L) / (G + L), plain sums of 14 gains and losses in ln C (Cutler's RSI), -1 to 1."""
    gains, losses = total(np.maximum(m.returns, 0.0), 14), total(np.maximum(-m.returns, 0.0), 14)
    return ratio(gains - losses, gains + losses)


@shared
def _deviation(m: Market, width: int) -> Floats:
    return np.sqrt(np.maximum(variance(m.close, width), SIGMA_FLOOR**2))


@feature("bollinger_20", startup=20)
def bollinger(m: Market) -> Floats:
    """(ln C - mean_20) / (2 standard deviations of 20): 1 = on the upper band, -1 = on the lower (Bollinger 1983)."""
    return (m.close - mean(m.close, 20)) / (2.0 * _deviation(m, 20))


@feature("bollinger_width_20", startup=in_sigmas(20))
def bollinger_width(m: Market) -> Floats:
    """ln(standard deviation of 20 ln C / sigma): how far the bands are apart."""
    return np.log(_deviation(m, 20) / m.sigma)


@shared
def _stochastic(m: Market) -> Floats:
    bottom = lowest(m.low, 14)
    return ratio(m.close - bottom, highest(m.high, 14) - bottom)


@feature("stochastic_14", startup=14)
def stochastic(m: Market) -> Floats:
    """(C - lowest low) / (highest high - lowest low) of 14 bars, in logs, less a half: fast %K (Lane 1984)."""
    return _stochastic(m) - 0.5


@feature("stochastic_slow_14", startup=18)
def stochastic_slow(m: Market) -> Floats:
    """Mean of 3 of the mean of 3 of fast %K of 14 bars, less a half: slow %D (Lane 1984)."""
    return mean(mean(_stochastic(m), 3), 3) - 0.5


@feature("cci_20", startup=20)
def cci(m: Market) -> Floats:
    """(P - mean_20 P) / (1.5 mean |P - mean_20 P|), P = (ln H + ln L + ln C) / 3: CCI / 100 (Lambert 1980)."""
    typical = (m.high + m.low + m.close) / 3.0
    middle = mean(typical, 20)
    # from the oldest to the newest, in this order for every row: the centre moves, so no doubling
    apart = sum((np.abs(shift(typical, age) - middle) for age in range(19, 0, -1)), np.abs(typical - middle)) / 20.0
    return ratio(typical - middle, 1.5 * np.where(apart < SIGMA_FLOOR, 0.0 * apart, apart))


@feature("up_share_8", startup=9)
def up_share(m: Market) -> Floats:
    """Share of rising closes among 8, less a half."""
    # 0 * r keeps the first row, which has no return, NaN
    rising = np.where(m.returns > 0.0, 1.0, 0.0) + 0.0 * m.returns
    return mean(rising, 8) - 0.5


@feature("autocorrelation_{}", each=(24, 96), startup=lambda width: width + 2)
def autocorrelation(m: Market, width: int) -> Floats:
    """Sum of r_t r_(t-1) / sum of r_t^2 over w bars."""
    return ratio(mean(m.returns * shift(m.returns, 1), width), mean_square(m, width))
