"""Realised volatility by several estimators, and the shape of the recent returns.

Estimators are logarithms of a volatility a bar, less ln sigma (`vol_ewma` alone says how large sigma is). A variance
below SIGMA_FLOOR squared counts as that.
"""

import math

import numpy as np

from models.columns import Floats
from models.features._market import SIGMA_FLOOR, Market, in_sigmas, mean_square, shared
from models.features._registry import feature
from models.features._windows import mean, ratio, shift, variance

_WIDTHS = (24, 96)
_FLOOR = SIGMA_FLOOR**2


def _against_sigma(m: Market, variances: Floats) -> Floats:
    return 0.5 * np.log(np.maximum(variances, _FLOOR) / (m.sigma * m.sigma))


@feature("vol_ewma", startup=in_sigmas(1))
def vol_ewma(m: Market) -> Floats:
    """Ln sigma."""
    return np.log(m.sigma)


@feature("vol_close_{}", each=_WIDTHS, startup=lambda width: in_sigmas(width + 1))
def vol_close(m: Market, width: int) -> Floats:
    """ln(sqrt(mean r^2) / sigma)."""
    return _against_sigma(m, mean_square(m, width))


@feature("vol_parkinson_{}", each=_WIDTHS, startup=in_sigmas)
def vol_parkinson(m: Market, width: int) -> Floats:
    """ln(sqrt(mean (ln H/L)^2 / (4 ln 2)) / sigma) (Parkinson 1980)."""
    return _against_sigma(m, mean((m.high - m.low) ** 2, width) / (4.0 * math.log(2.0)))


@feature("vol_garman_klass_{}", each=_WIDTHS, startup=in_sigmas)
def vol_garman_klass(m: Market, width: int) -> Floats:
    """ln(sqrt(mean (0.5 (ln H/L)^2 - (2 ln 2 - 1)(ln C/O)^2)) / sigma) (Garman and Klass 1980)."""
    bodies = (m.close - m.open) ** 2
    return _against_sigma(m, mean(0.5 * (m.high - m.low) ** 2 - (2.0 * math.log(2.0) - 1.0) * bodies, width))


@shared
def _drift_free(m: Market, width: int) -> Floats:
    """The variance of Rogers and Satchell, which a drift leaves alone."""
    up, down, body = m.high - m.open, m.low - m.open, m.close - m.open
    return mean(up * (up - body) + down * (down - body), width)


@feature("vol_rogers_satchell_{}", each=_WIDTHS, startup=in_sigmas)
def vol_rogers_satchell(m: Market, width: int) -> Floats:
    """ln(sqrt(mean (u (u - c) + d (d - c))) / sigma), u = ln H/O, d = ln L/O, c = ln C/O (Rogers and Satchell 1991)."""
    return _against_sigma(m, _drift_free(m, width))


@feature("vol_yang_zhang_{}", each=_WIDTHS, startup=lambda width: in_sigmas(width + 1))
def vol_yang_zhang(m: Market, width: int) -> Floats:
    """ln(sqrt(V_o + k V_c + (1 - k) V_rs) / sigma) (Yang and Zhang 2000).

    V_o and V_c are the sample variances of ln O_t/C_(t-1) and ln C_t/O_t, V_rs that of Rogers and Satchell, and
    k = 0.34 / (1.34 + (w + 1)/(w - 1)).
    """
    k = 0.34 / (1.34 + (width + 1.0) / (width - 1.0))
    sample = width / (width - 1.0)
    gaps = sample * variance(m.open - shift(m.close, 1), width)
    bodies = sample * variance(m.close - m.open, width)
    return _against_sigma(m, gaps + k * bodies + (1.0 - k) * _drift_free(m, width))


@feature("vol_ratio_{}_{}", each=((8, 64), (24, 96)), startup=lambda long: long + 1)
def vol_ratio(m: Market, short: int, long: int) -> Floats:
    """ln(sqrt(mean r^2 over the short window) / sqrt(mean r^2 over the long one))."""
    recent, usual = (np.maximum(mean_square(m, width), _FLOOR) for width in (short, long))
    return 0.5 * np.log(recent / usual)


@feature("vol_of_vol_{}", each=(64,), startup=lambda width: width + 1)
def vol_of_vol(m: Market, width: int) -> Floats:
    """Standard deviation of |r| over its mean; 0 in a market that stands still."""
    size = np.abs(m.returns)
    return ratio(np.sqrt(variance(size, width)), mean(size, width))


@feature("downside_share_{}", each=(24,), startup=lambda width: width + 1)
def downside_share(m: Market, width: int) -> Floats:
    """Sum of r^2 over falling bars / sum of r^2, less a half; 0 in a market that stands still."""
    falls = np.minimum(m.returns, 0.0)
    squares = mean_square(m, width)
    return ratio(mean(falls * falls, width) - 0.5 * squares, squares)


@feature("skewness_{}", each=(64,), startup=lambda width: width + 1)
def skewness(m: Market, width: int) -> Floats:
    """Mean r^3 / (mean r^2)^1.5, realised skewness (Amaya and others 2015)."""
    squares = mean_square(m, width)
    return ratio(mean(m.returns * m.returns * m.returns, width), squares * np.sqrt(squares))


@feature("kurtosis_{}", each=(64,), startup=lambda width: width + 1)
def kurtosis(m: Market, width: int) -> Floats:
    """ln(mean r^4 / (mean r^2)^2), realised kurtosis, 0 to ln w."""
    squares = m.returns * m.returns
    return np.log(np.maximum(ratio(mean(squares * squares, width), mean_square(m, width) ** 2), 1.0))
