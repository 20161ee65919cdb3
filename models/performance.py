"""What a series of trading returns was worth, and how much of it luck would have given. No scipy.

Returns are shares of a constant stake, one a period, oldest first, costs taken off; periods do not overlap. A Sharpe
ratio "per period" is mean over standard deviation; to a year it grows with the square root of time only where returns
are not autocorrelated (Lo 2002), and the best of many trials is good by chance alone (Bailey and Lopez de Prado 2014).
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from bus.errors import DataError

Floats = NDArray[np.float64]

LEAST_RETURNS = 20
"""Fewer returns than this have no Sharpe ratio worth the name."""

_EULER = 0.5772156649015329
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharpe:
    """A Sharpe ratio and what its uncertainty needs.

    Attributes:
        n: returns.
        per_period: mean / standard deviation (divisor n), not annualised.
        annual: per_period times Lo's factor for the autocorrelation that was measured.
        low: lower end of the 95 % interval of `annual`; likewise `high`. Newey-West, so neither normal nor independent
            returns are assumed.
        skew: third standardised moment.
        kurtosis: fourth standardised moment, 3 for a Gaussian.
    """

    n: int
    per_period: float
    annual: float
    low: float
    high: float
    skew: float
    kurtosis: float


def sharpe(returns: Floats, periods_per_year: float) -> Sharpe | None:
    """Measure a Sharpe ratio; None where returns are fewer than 20 or never differ.

    The annual ratio is q / sqrt(q + 2 sum over k < q of (q - k) rho_k) times that of a period, for q periods a year
    (Lo 2002, equation 20), with the autocorrelations rho up to lag 4 (n / 100)^(2/9) (Newey and West 1994) and 0
    beyond, and never more than sqrt(q) times it: that a sample happened to swing back is not taken for a gain. The
    interval is that of the delta method, z - SR (z^2 - 1) / 2 for standardised returns z, with a Newey-West variance of
    its mean over the same lags (Lo 2002, section on non-IID returns).

    Args:
        returns: shape (n,).
        periods_per_year: how many returns a year has, at least 1.

    Raises:
        DataError: a return that is not finite, or less than one period a year.
    """
    n = len(returns)
    if not bool(np.isfinite(returns).all()) or not periods_per_year >= 1.0:
        raise DataError(f"returns must be finite, and {periods_per_year:g} periods a year at least 1")
    deviation = float(returns.std()) if n else 0.0
    if n < LEAST_RETURNS or deviation <= 1e-15:
        return None
    z = (returns - returns.mean()) / deviation
    ratio = float(returns.mean()) / deviation
    lags = min(n - 1, int(4 * (n / 100) ** (2 / 9)))
    rho = [float(z[lag:] @ z[:-lag]) / n for lag in range(1, lags + 1)]
    q = periods_per_year
    grown = q + 2.0 * sum((q - lag) * each for lag, each in enumerate(rho, 1) if lag < q)
    factor = q / math.sqrt(max(grown, q))
    error = math.sqrt(long_run_variance(z - 0.5 * ratio * (z * z - 1.0), lags) / n)
    half = _NORMAL.inv_cdf(0.975) * error
    return Sharpe(
        n=n,
        per_period=ratio,
        annual=ratio * factor,
        low=(ratio - half) * factor,
        high=(ratio + half) * factor,
        skew=float((z**3).mean()),
        kurtosis=float((z**4).mean()),
    )


def long_run_variance(values: Floats, lags: int) -> float:
    """Variance of sqrt(n) times the mean, with Bartlett weights over `lags` (Newey and West 1987); never negative."""
    centred = values - values.mean()
    variance = float(centred @ centred)
    for lag in range(1, lags + 1):
        variance += 2.0 * (1.0 - lag / (lags + 1)) * float(centred[lag:] @ centred[:-lag])
    return max(variance, 0.0) / len(values)


def probabilistic_sharpe(found: Sharpe, benchmark: float = 0.0) -> float:
    """The chance that the true Sharpe ratio exceeds a benchmark (Bailey and Lopez de Prado 2012).

    F((SR - SR*) sqrt(n - 1) / sqrt(1 - g3 SR + (g4 - 1) / 4 SR^2)), all per period, g4 not in excess of 3.

    Args:
        found: what was measured.
        benchmark: SR*, per period.
    """
    ratio = found.per_period
    variance = 1.0 - found.skew * ratio + 0.25 * (found.kurtosis - 1.0) * ratio * ratio
    return _NORMAL.cdf((ratio - benchmark) * math.sqrt((found.n - 1) / max(variance, 1e-12)))


def luckiest_sharpe(variance: float, trials: int) -> float:
    """The Sharpe ratio, per period, that the best of so many worthless trials is expected to show.

    sqrt(V) ((1 - g) Z(1 - 1/N) + g Z(1 - 1/(N e))), g = 0.5772 (Bailey and Lopez de Prado 2014); 0 for one trial.

    Args:
        variance: V, of the trials' Sharpe ratios per period.
        trials: N, every configuration that was tried, also those thrown away.

    Raises:
        DataError: no trial, or a negative variance.
    """
    if trials < 1 or not variance >= 0.0:
        raise DataError(f"{trials} trials whose Sharpe ratios have variance {variance:g}; there must be at least one")
    if trials == 1:
        return 0.0
    first, second = _NORMAL.inv_cdf(1.0 - 1.0 / trials), _NORMAL.inv_cdf(1.0 - 1.0 / (trials * math.e))
    return math.sqrt(variance) * ((1.0 - _EULER) * first + _EULER * second)


def deflated_sharpe(found: Sharpe, variance: float, trials: int) -> float:
    """The chance that the true Sharpe ratio is above 0 given that it was the best of so many trials.

    `probabilistic_sharpe` against `luckiest_sharpe` (Bailey and Lopez de Prado 2014). Raises like `luckiest_sharpe`.
    """
    return probabilistic_sharpe(found, luckiest_sharpe(variance, trials))


def max_drawdown(returns: Floats) -> float:
    """The deepest fall of the summed returns from their highest point so far, the start included; 0 or positive."""
    curve = np.concatenate(([0.0], np.cumsum(returns)))
    return float((np.maximum.accumulate(curve) - curve).max())


def pesaran_timmermann(called: Floats, came: Floats, *, overlap: int = 1) -> float | None:
    """p-value of directions called no better than by chance, given how often each is called and comes; one-sided.

    S = (P - P*) / sqrt(V(P) - V(P*)) with P* = py px + (1 - py)(1 - px) (Pesaran and Timmermann 1992). Always calling
    the commoner direction is right more than half the time and earns nothing here.

    Args:
        called: sign of each forecast, shape (n,), not 0.
        came: sign of what happened, shape (n,), not 0.
        overlap: bars ahead, of forecasts made every bar: they count as n / overlap.

    Returns:
        None where one direction was always called, or always came: then there is nothing to tell.
    """
    n = len(called) / overlap
    if n < 2:
        return None
    up, rose = float((called > 0).mean()), float((came > 0).mean())
    if min(up, 1.0 - up, rose, 1.0 - rose) <= 0.0:
        return None
    right = float((np.sign(called) == np.sign(came)).mean())
    chance = rose * up + (1.0 - rose) * (1.0 - up)
    own = chance * (1.0 - chance) / n
    of_chance = (
        (2.0 * rose - 1.0) ** 2 * up * (1.0 - up) / n
        + (2.0 * up - 1.0) ** 2 * rose * (1.0 - rose) / n
        + 4.0 * rose * up * (1.0 - rose) * (1.0 - up) / (n * n)
    )
    if own <= of_chance:
        return None
    return 1.0 - _NORMAL.cdf((right - chance) / math.sqrt(own - of_chance))
