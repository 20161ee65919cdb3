"""The few formulas that adherence needs, in plain Python."""

import math
from collections.abc import Sequence
from functools import lru_cache

from bus.calendar import to_datetime
from bus.special import clopper_pearson
from bus.values import NS_PER_DAY
from risk.adherence.records import Distribution, Spread

_EPOCH_ORDINAL = 719_163
"""``date(1970, 1, 1).toordinal()``."""


exact_interval = lru_cache(maxsize=65_536)(clopper_pearson)
"""`clopper_pearson`, remembered: a rolling coverage asks for the same few again and again."""


@lru_cache(maxsize=4096)
def period_keys(trading_day: int) -> tuple[str, str, str]:
    """Names of a trading day, its ISO week and its month: 2018-05-01, 2018-W18, 2018-05.

    Args:
        trading_day: the ordinal from `bus.calendar.trading_day`.
    """
    date = to_datetime((trading_day - _EPOCH_ORDINAL) * NS_PER_DAY)
    year, week, _ = date.isocalendar()
    return f"{date:%Y-%m-%d}", f"{year}-W{week:02d}", f"{date:%Y-%m}"


def crps_gaussian(error: float, sigma: float) -> float:
    """CRPS of a Gaussian forecast, in the unit of its arguments (Gneiting and Raftery 2007, equation 21).

    Args:
        error: truth minus point forecast.
        sigma: scale, above 0.
    """
    z = error / sigma
    density = math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    return sigma * (z * math.erf(z / math.sqrt(2.0)) + 2.0 * density - 1.0 / math.sqrt(math.pi))


def t_statistic(values: Sequence[float]) -> float | None:
    """Mean over its standard error; None below two values or where they do not vary."""
    n = len(values)
    if n < 2:
        return None
    mean = math.fsum(values) / n
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    return mean / math.sqrt(variance / n) if variance > 0 else None


def newey_west_t(values: Sequence[float], lag: int) -> float | None:
    """t-statistic of a mean whose terms are correlated over `lag` steps (Newey and West 1987, Bartlett weights).

    Applied to a difference of losses this is the statistic of Diebold and Mariano (1995). None where there are fewer
    than ten terms per lag, or they do not vary.
    """
    n = len(values)
    if n < 10 * (lag + 1):
        return None
    mean = math.fsum(values) / n
    deviations = [value - mean for value in values]
    variance = math.fsum(value * value for value in deviations) / n
    for k in range(1, lag + 1):
        covariance = math.fsum(a * b for a, b in zip(deviations[k:], deviations, strict=False)) / n
        variance += 2.0 * (1.0 - k / (lag + 1)) * covariance
    return mean / math.sqrt(variance / n) if variance > 0 else None


def spread_of(values: Sequence[float]) -> Spread:
    """Mean, median, 95th percentile (nearest rank) and largest."""
    if not values:
        return Spread()
    ranked = sorted(values)
    n = len(ranked)
    middle = ranked[n // 2] if n % 2 else (ranked[n // 2 - 1] + ranked[n // 2]) / 2
    return Spread(
        n=n,
        mean=math.fsum(ranked) / n,
        median=float(middle),
        p95=float(ranked[math.ceil(0.95 * n) - 1]),
        largest=float(ranked[-1]),
    )


def distribution_of(values: Sequence[float]) -> Distribution:
    """Mean, deviation (n - 1), percentiles (nearest rank), extremes and signs."""
    if not values:
        return Distribution()
    ranked = sorted(values)
    n = len(ranked)
    mean = math.fsum(ranked) / n

    def rank(percent: float) -> float:
        return float(ranked[max(0, math.ceil(percent * n / 100.0) - 1)])

    return Distribution(
        n=n,
        mean=mean,
        deviation=math.sqrt(math.fsum((value - mean) ** 2 for value in ranked) / (n - 1)) if n > 1 else 0.0,
        least=float(ranked[0]),
        p05=rank(5),
        p25=rank(25),
        median=rank(50),
        p75=rank(75),
        p95=rank(95),
        p99=rank(99),
        largest=float(ranked[-1]),
        below=sum(value < 0 for value in ranked),
        zero=sum(value == 0 for value in ranked),
        above=sum(value > 0 for value in ranked),
    )
