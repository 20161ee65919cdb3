"""Intervals and errors of a period, tested: coverage, whether misses come alone, and drift."""

import math
from collections.abc import Sequence
from itertools import pairwise

import msgspec

from bus.messages import ForecastResolved
from bus.special import chi2_sf, clopper_pearson
from risk.adherence.rolled import CoverageTest, Drift

FEW = 5
"""Below this many misses (or hits) a likelihood ratio is no guide, and Kupiec's test takes the exact binomial."""

DRIFT_FROM = 30
"""Forecasts on both sides without which nothing is said of drift."""

Key = tuple[str, str, int]


class Truth(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One resolved forecast, as far as a roll-up needs it. `held` and `width_e5` by level in millionths."""

    ts_ns: int
    symbol: str
    model_id: str
    active: bool
    horizon: int
    error: float
    held: dict[int, bool]
    width_e5: dict[int, int]


def truth_of(fact: ForecastResolved) -> Truth:
    """What of a resolved forecast is kept; intervals without bounds are none."""
    bounded = [(band, held) for band, held in zip(fact.bands, fact.covered, strict=True) if band.bounded]
    return Truth(
        ts_ns=fact.ts_init_ns,
        symbol=fact.symbol,
        model_id=fact.model_id,
        active=fact.active,
        horizon=fact.horizon,
        error=abs(fact.actual_e5 - fact.point_e5) / max(1, fact.sigma_e5),
        held={band.level_ppm: held for band, held in bounded},
        width_e5={band.level_ppm: band.upper_e5 - band.lower_e5 for band, _ in bounded},
    )


def by_key(truths: Sequence[Truth]) -> dict[Key, list[Truth]]:
    """Truths by symbol, model and horizon, each in order."""
    out: dict[Key, list[Truth]] = {}
    for truth in truths:
        out.setdefault((truth.symbol, truth.model_id, truth.horizon), []).append(truth)
    return out


def coverage(truths: dict[Key, list[Truth]], pip_e5: dict[str, int]) -> tuple[CoverageTest, ...]:
    """A row for every symbol, model, horizon and level, the widest level first."""
    out: list[CoverageTest] = []
    for (symbol, model_id, horizon), rows in sorted(truths.items()):
        levels = sorted({level for truth in rows for level in truth.held}, reverse=True)
        for level_ppm in levels:
            told = [truth for truth in rows if level_ppm in truth.held]
            out.append(_tested(symbol, model_id, horizon, level_ppm, told, pip_e5.get(symbol, 10)))
    return tuple(out)


def _tested(
    symbol: str, model_id: str, horizon: int, level_ppm: int, rows: Sequence[Truth], pip_e5: int
) -> CoverageTest:
    held = [truth.held[level_ppm] for truth in rows]
    n, covered = len(held), sum(held)
    independent = max(1, n // horizon)
    low, high = clopper_pearson(min(independent, covered * independent / n), independent)
    apart = held[::horizon]  # neighbours share most of what decided them
    return CoverageTest(
        symbol=symbol,
        model_id=model_id,
        active=rows[-1].active,
        horizon=horizon,
        level=level_ppm / 1e6,
        n=n,
        covered=covered,
        measured=covered / n,
        independent=independent,
        low=low,
        high=high,
        mean_width_pips=math.fsum(truth.width_e5[level_ppm] for truth in rows) / n / pip_e5,
        kupiec_p=kupiec_p(len(apart) - sum(apart), len(apart), 1 - level_ppm / 1e6),
        independence_p=independence_p(apart),
    )


def kupiec_p(misses: int, n: int, alpha: float) -> float:
    """Is the share of misses the nominal one? The likelihood ratio's p-value, one degree of freedom (Kupiec 1995).

    Args:
        misses: of `n` intervals.
        n: above 0.
        alpha: the nominal share of misses, between 0 and 1.

    Returns:
        The p-value; that of the exact two-sided binomial test where there are fewer than FEW misses or hits.
    """
    if min(misses, n - misses) < FEW:
        observed = _log_binomial(misses, n, alpha)
        total = (math.exp(_log_binomial(k, n, alpha)) for k in range(n + 1))
        return min(1.0, math.fsum(p for p in total if p <= math.exp(observed) * (1 + 1e-9)))
    nominal = _log_likelihood(n - misses, misses, alpha)
    return chi2_sf(2 * (_log_likelihood(n - misses, misses, misses / n) - nominal), 1)


def independence_p(held: Sequence[bool]) -> float | None:
    """Do misses come alone? Likelihood ratio of a first-order Markov chain, 1 degree of freedom (Christoffersen 1998).

    Returns:
        The p-value; None below two intervals, or where none or all were missed.
    """
    moves = {(a, b): 0 for a in (False, True) for b in (False, True)}
    for before, after in pairwise(held):
        moves[not before, not after] += 1
    n00, n01, n10, n11 = moves[False, False], moves[False, True], moves[True, False], moves[True, True]
    if not (n00 + n10) or not (n01 + n11):
        return None
    alone = _log_likelihood(n00 + n10, n01 + n11, (n01 + n11) / (n00 + n01 + n10 + n11))
    chained = _log_likelihood(n00, n01, n01 / (n00 + n01) if n00 + n01 else 0.0)
    chained += _log_likelihood(n10, n11, n11 / (n10 + n11) if n10 + n11 else 0.0)
    return chi2_sf(2 * (chained - alone), 1)


def drift(before: dict[Key, list[Truth]], now: dict[Key, list[Truth]]) -> tuple[Drift, ...]:
    """Active models whose errors can be compared with those before."""
    out: list[Drift] = []
    for (symbol, model_id, horizon), rows in sorted(now.items()):
        earlier = before.get((symbol, model_id, horizon), [])
        if not rows[-1].active or min(len(rows), len(earlier)) < DRIFT_FROM:
            continue
        then_mean, then_error = _mean([truth.error for truth in earlier], horizon)
        now_mean, now_error = _mean([truth.error for truth in rows], horizon)
        scale = math.hypot(then_error, now_error)
        out.append(
            Drift(
                symbol=symbol,
                model_id=model_id,
                horizon=horizon,
                n_before=len(earlier),
                n=len(rows),
                before=then_mean,
                now=now_mean,
                change_pct=100.0 * (now_mean / then_mean - 1.0) if then_mean else 0.0,
                t=(now_mean - then_mean) / scale if scale > 0 else None,
            )
        )
    return tuple(out)


def _mean(values: Sequence[float], horizon: int) -> tuple[float, float]:
    """Mean and its standard error, counted over every `horizon`-th value."""
    n = len(values)
    mean = math.fsum(values) / n
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    return mean, math.sqrt(variance / max(1, n // horizon))


def _log_likelihood(hits: int, misses: int, share: float) -> float:
    """Of a chain of independent misses with this chance; 0 log 0 is 0."""
    return (hits * math.log1p(-share) if hits else 0.0) + (misses * math.log(share) if misses else 0.0)


def _log_binomial(k: int, n: int, p: float) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + _log_likelihood(n - k, k, p)
