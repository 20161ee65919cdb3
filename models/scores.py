"""How good forecasts and intervals were: coverage, width, interval scores, CRPS, PIT, and tests of them. No scipy.

All take numpy arrays of one value a forecast and are as exact as their formula; units are those of the arguments.
Overlapping forecasts (h bars ahead, every bar) are not independent: intervals of coverage and tests take the number of
bars ahead as `overlap` and count as if only every overlap-th forecast had been made.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bus.errors import DataError
from bus.special import beta_cdf, chi2_sf, clopper_pearson

Floats = NDArray[np.float64]

FEW_MISSES = 5
"""Below this many misses a likelihood ratio is no guide, and Kupiec's test takes the exact binomial."""

_erf = np.vectorize(math.erf, otypes=[np.float64])


# --- intervals ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Share of intervals that held the truth, with its 95 % Clopper-Pearson interval.

    Attributes:
        n: forecasts.
        effective: how many of them count as independent, n / overlap.
        share: covered / n.
        low: lower limit.
        high: upper limit.
    """

    n: int
    effective: int
    share: float
    low: float
    high: float


def coverage(held: Sequence[bool] | NDArray[np.bool_], *, overlap: int = 1, confidence: float = 0.95) -> Coverage:
    """Measure coverage.

    Args:
        held: whether each interval held the truth, in time order.
        overlap: bars ahead, of forecasts made every bar. The interval is that of n / overlap trials with the same
            share: what every overlap-th forecast alone would tell, averaged over where one starts.
        confidence: of the interval.

    Raises:
        DataError: no forecast.
    """
    hits = np.asarray(held, bool)
    n = len(hits)
    if n == 0 or overlap < 1:
        raise DataError(f"coverage of {n} forecasts with overlap {overlap}; needs at least one of each")
    share = float(hits.mean())
    effective = max(1, n // overlap)
    low, high = clopper_pearson(share * effective, effective, confidence)
    return Coverage(n=n, effective=effective, share=share, low=low, high=high)


def worst_window(held: Sequence[bool] | NDArray[np.bool_], window: int) -> float | None:
    """The lowest share covered in any `window` forecasts in a row; None where there are fewer."""
    hits = np.asarray(held, bool)
    if not 0 < window <= len(hits):
        return None
    sums = np.concatenate(([0], np.cumsum(hits)))
    return float((sums[window:] - sums[:-window]).min()) / window


def winkler(lower: Floats, upper: Floats, actual: Floats, alpha: float) -> Floats:
    """The interval score: width, plus 2 / alpha times how far the truth lay outside (Winkler 1972); less is better.

    Infinite for an interval that is not bounded: the whole line promises nothing and costs everything.
    """
    beyond = np.maximum(lower - actual, 0.0) + np.maximum(actual - upper, 0.0)
    return (upper - lower) + (2.0 / alpha) * beyond


def pinball(quantile: Floats, actual: Floats, level: float) -> Floats:
    """Pinball loss of a forecast quantile: max(level (y - q), (level - 1)(y - q)); less is better."""
    over = actual - quantile
    return np.maximum(level * over, (level - 1.0) * over)


# --- distributions -----------------------------------------------------------------------------------------------


def crps_normal(error: Floats, sigma: Floats) -> Floats:
    """CRPS of N(point, sigma), error = truth - point, sigma > 0.

    sigma (z (2 F(z) - 1) + 2 f(z) - pi^-1/2) with z = error / sigma (Gneiting and Raftery 2007, equation 21).
    """
    z = error / sigma
    twice_cdf_less_one = _erf(z / math.sqrt(2.0))
    density = np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    return sigma * (z * twice_cdf_less_one + 2.0 * density - 1.0 / math.sqrt(math.pi))


def crps_sample(samples: Floats, actual: Floats) -> Floats:
    """CRPS from samples by the fair estimator, which does not reward or punish the number of them (Ferro 2014).

    mean |X - y| - sum over i, j of |X_i - X_j| / (2 m (m - 1)).

    Args:
        samples: shape (n, m), m at least 2, in any order.
        actual: shape (n,).

    Raises:
        DataError: fewer than two samples a forecast.
    """
    m = samples.shape[1]
    if m < 2:
        raise DataError("one sample has no spread; the fair CRPS needs at least two")
    ordered = np.sort(samples, axis=1)
    # the k-th smallest (from 0) is the larger of a pair k times and the smaller m - 1 - k times
    spread = ordered @ (2.0 * np.arange(m) - (m - 1)) / (m * (m - 1))
    return np.abs(samples - actual[:, None]).mean(axis=1) - spread


def crps_quantiles(quantiles: Floats, levels: Sequence[float], actual: Floats) -> Floats:
    """Twice the mean pinball loss over levels. Comparable between forecasts on the same levels only.

    Args:
        quantiles: shape (n, m), of the levels in their order.
        levels: m probabilities, evenly spaced for the mean to stand for the integral.
        actual: shape (n,).
    """
    losses = [pinball(quantiles[:, column], actual, level) for column, level in enumerate(levels)]
    return 2.0 * np.mean(losses, axis=0)


def crps_symmetric(spread: Floats, error: Floats, scale: Floats) -> Floats:
    """CRPS of point +- scale s with either sign equally likely and s one of m values, by the fair estimator.

    What normalised split conformal forecasts: E|X - y| = scale mean max(s, z) with z = |error| / scale, and half of
    E|X - X'| = scale times half the mean over pairs of the larger.

    Args:
        spread: shape (m,), the values of s, not negative, m at least 2, the same for all forecasts.
        error: truth minus point, shape (n,).
        scale: shape (n,), positive.
    """
    m = len(spread)
    ordered = np.sort(spread)
    pairs = float(ordered @ np.arange(m)) / (m * (m - 1))
    z = np.abs(error) / scale
    below = np.searchsorted(ordered, z)
    sums = np.concatenate(([0.0], np.cumsum(ordered)))
    return scale * ((z * below + sums[-1] - sums[below]) / m - pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pit:
    """A probability integral transform histogram and its chi-squared test against evenness.

    Attributes:
        shares: of forecasts in each of the equal bins; even where the forecast distributions tell the truth. Heaped at
            the ends = too narrow, in the middle = too wide.
        statistic: chi-squared with bins - 1 degrees of freedom.
        p_value: the chance of at least that much unevenness from truthful, independent forecasts.
    """

    shares: tuple[float, ...]
    statistic: float
    p_value: float


def pit(low: Floats, high: Floats, *, bins: int = 10, overlap: int = 1) -> Pit:
    """The histogram of F(y), where F may jump at y.

    Args:
        low: F just below the truth, shape (n,).
        high: F at the truth; equal to `low` for a continuous forecast. Between them a forecast's unit is spread evenly
            over the bins (Czado, Gneiting and Held 2009), which needs no random numbers.
        bins: of equal width.
        overlap: bars ahead, of forecasts made every bar.

    Raises:
        DataError: values outside 0 to 1 or out of order, or none.
    """
    if not len(low) or not bool(((low >= 0) & (low <= high) & (high <= 1)).all()):
        raise DataError("PIT values must lie between 0 and 1, the lower before the higher, and there must be some")
    edges = np.linspace(0.0, 1.0, bins + 1)
    jump = high > low
    length = np.where(jump, high - low, 1.0)
    shares: list[float] = []
    for left, right in pairwise(edges.tolist()):
        spread = np.clip((np.minimum(high, right) - np.maximum(low, left)) / length, 0.0, 1.0)
        inside = (low >= left) & ((low < right) | (right == 1.0))
        shares.append(float(np.where(jump, spread, inside).mean()))
    trials = len(low) / overlap
    statistic = trials * bins * sum((share - 1.0 / bins) ** 2 for share in shares)
    return Pit(shares=tuple(shares), statistic=statistic, p_value=chi2_sf(statistic, bins - 1))


def pit_normal(error: Floats, sigma: Floats) -> Floats:
    """F(y) of N(point, sigma), error = truth - point."""
    return 0.5 * (1.0 + _erf(error / (sigma * math.sqrt(2.0))))


def pit_sample(samples: Floats, actual: Floats) -> tuple[Floats, Floats]:
    """F(y) of m samples, just below and at the truth: the rank of the truth among them, of m + 1 places.

    Args:
        samples: shape (n, m).
        actual: shape (n,).
    """
    places = samples.shape[1] + 1
    below = (samples < actual[:, None]).sum(axis=1)
    at_most = (samples <= actual[:, None]).sum(axis=1) + 1
    return below / places, at_most / places


# --- tests of coverage -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A statistic and the chance of at least as much from intervals that tell the truth.

    `statistic` is None where the p-value is exact and needs none.
    """

    statistic: float | None
    p_value: float


def kupiec(misses: int, n: int, alpha: float) -> Verdict:
    """Is the share of misses the nominal one? Likelihood ratio, chi-squared with 1 degree of freedom (Kupiec 1995).

    With fewer than five misses, or fewer than five hits, the exact two-sided binomial test instead.

    Raises:
        DataError: misses outside 0 to n, or no forecast.
    """
    if not 0 <= misses <= n or n == 0:
        raise DataError(f"{misses} misses of {n} forecasts; there cannot be so many")
    if min(misses, n - misses) < FEW_MISSES:
        return Verdict(statistic=None, p_value=_binomial_two_sided(misses, n, alpha))
    nominal = _log_likelihood(n - misses, misses, alpha)
    statistic = max(0.0, 2.0 * (_log_likelihood(n - misses, misses, misses / n) - nominal))
    return Verdict(statistic=statistic, p_value=chi2_sf(statistic, 1))


def christoffersen(held: Sequence[bool] | NDArray[np.bool_], *, overlap: int = 1) -> Verdict:
    """Do misses come alone? Likelihood ratio of a first-order Markov chain, 1 degree of freedom (Christoffersen 1998).

    Args:
        held: whether each interval held the truth, in time order.
        overlap: bars ahead; the chain is that of every overlap-th forecast, or neighbours would share their misses.

    Raises:
        DataError: fewer than two forecasts.
    """
    n00, n01, n10, n11 = _moves(held, overlap)
    never, once = n00 + n10, n01 + n11
    alone = _log_likelihood(never, once, once / (never + once))
    chained = _log_likelihood(n00, n01, n01 / (n00 + n01) if n00 + n01 else 0.0)
    chained += _log_likelihood(n10, n11, n11 / (n10 + n11) if n10 + n11 else 0.0)
    statistic = max(0.0, 2.0 * (chained - alone))
    return Verdict(statistic=statistic, p_value=chi2_sf(statistic, 1))


def conditional_coverage(held: Sequence[bool] | NDArray[np.bool_], alpha: float, *, overlap: int = 1) -> Verdict:
    """Both at once, chi-squared with 2 degrees of freedom (Christoffersen 1998).

    The statistic is that of independence plus Kupiec's, over the forecasts that have one before them.

    Raises:
        DataError: fewer than two forecasts.
    """
    n00, n01, n10, n11 = _moves(held, overlap)
    never, once = n00 + n10, n01 + n11
    frequency = 2.0 * (_log_likelihood(never, once, once / (never + once)) - _log_likelihood(never, once, alpha))
    independence = christoffersen(held, overlap=overlap).statistic
    statistic = max(0.0, frequency + (independence or 0.0))
    return Verdict(statistic=statistic, p_value=chi2_sf(statistic, 2))


def diebold_mariano(difference: Floats, *, ahead: int = 1) -> Verdict:
    """Is one forecast's mean loss the other's? Diebold and Mariano 1995, two-sided.

    The variance of the mean difference allows for correlation over `ahead` - 1 steps and over the cube root of n
    (Newey and West 1987, Bartlett weights); small samples are corrected after Harvey, Leybourne and Newbold 1997, who
    compare with Student's t of n - 1 degrees of freedom.

    Args:
        difference: loss of one less loss of the other, in time order; a negative statistic favours the first.
        ahead: bars ahead, of forecasts made every bar.

    Raises:
        DataError: fewer than ten forecasts per step ahead.
    """
    n = len(difference)
    if n < 10 * ahead:
        raise DataError(f"{n} losses {ahead} ahead; a comparison needs ten for each step ahead")
    mean = float(difference.mean())
    variance = _long_run_variance(difference, ahead)
    if variance <= 0.0:  # the same difference everywhere
        return Verdict(statistic=math.copysign(math.inf, mean) if mean else 0.0, p_value=0.0 if mean else 1.0)
    corrected = (n + 1 - 2 * ahead + ahead * (ahead - 1) / n) / n
    statistic = mean / math.sqrt(variance / n) * math.sqrt(corrected)
    freedom = n - 1
    p_value = beta_cdf(freedom / (freedom + statistic * statistic), 0.5 * freedom, 0.5)
    return Verdict(statistic=statistic, p_value=p_value)


def standard_error(values: Floats, *, ahead: int = 1) -> float:
    """Of the mean of values that hang together over `ahead` bars, as `diebold_mariano` has it.

    Raises:
        DataError: fewer than ten values per step ahead.
    """
    n = len(values)
    if n < 10 * ahead:
        raise DataError(f"{n} values {ahead} ahead; a standard error needs ten for each step ahead")
    corrected = (n + 1 - 2 * ahead + ahead * (ahead - 1) / n) / n
    return math.sqrt(max(_long_run_variance(values, ahead), 0.0) / n / corrected)


def _long_run_variance(values: Floats, ahead: int) -> float:
    """Variance of root n times the mean (Newey and West 1987, Bartlett weights)."""
    n = len(values)
    centred = values - float(values.mean())
    lag = max(ahead - 1, int(n ** (1 / 3)))
    variance = float(centred @ centred) / n
    for step in range(1, lag + 1):
        variance += 2.0 * (1.0 - step / (lag + 1)) * float(centred[step:] @ centred[:-step]) / n
    return variance


def _moves(held: Sequence[bool] | NDArray[np.bool_], overlap: int) -> tuple[int, int, int, int]:
    """Counts of hit to hit, hit to miss, miss to hit, miss to miss."""
    missed = ~np.asarray(held, bool)[::overlap]
    if len(missed) < 2:
        raise DataError(f"{len(missed)} independent forecasts have no order; give at least two")
    before, after = missed[:-1], missed[1:]
    return (
        int((~before & ~after).sum()),
        int((~before & after).sum()),
        int((before & ~after).sum()),
        int((before & after).sum()),
    )


def _log_likelihood(hits: int, misses: int, share: float) -> float:
    """Of a run of Bernoulli trials with this share of misses; 0 log 0 = 0."""
    likelihood = hits * math.log1p(-share) if hits else 0.0
    return likelihood + (misses * math.log(share) if misses else 0.0)


def _binomial_two_sided(misses: int, n: int, alpha: float) -> float:
    """The chance of an outcome that is at most as likely as this one."""
    logs = [
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + _log_likelihood(n - k, k, alpha)
        for k in range(n + 1)
    ]
    limit = logs[misses] + 1e-7
    return min(1.0, math.fsum(math.exp(each) for each in logs if each <= limit))
