"""Simulated markets whose volatility is known: independent, GARCH, and one that jumps."""

import numpy as np

from bus.calendar import week_start_ns
from bus.series import BarSeries
from bus.values import NS_PER_HOUR

STEPS = 4000
CALIBRATED = 500
BREAK = 2000
JUMP = 2.5
FIRST = 60
SUNDAY_NS = week_start_ns(1_515_500_000 * 10**9)  # in January 2018


def garch(seed, steps=STEPS):
    """Returns and their true sigma: GARCH(.08, .90) of unit variance."""
    random = np.random.default_rng(seed)
    variance, returns, sigmas = 1.0, np.empty(steps), np.empty(steps)
    for step, shock in enumerate(random.standard_normal(steps).tolist()):
        sigmas[step] = variance**0.5
        returns[step] = shock * sigmas[step]
        variance = 0.02 + 0.08 * returns[step] ** 2 + 0.90 * variance
    return returns, sigmas


def jump(seed, steps=STEPS):
    """Independent returns whose sigma is 2.5-fold for the thousand steps from BREAK on."""
    sigmas = np.ones(steps)
    sigmas[BREAK : BREAK + 1000] = JUMP
    return np.random.default_rng(seed).standard_normal(steps) * sigmas, sigmas


def independent(seed, steps=STEPS):
    """Independent returns of sigma 1."""
    return np.random.default_rng(seed).standard_normal(steps), np.ones(steps)


def bars_of(returns, *, symbol="EURUSD", size=1e-3, start_e5=10_000_000):
    """Hourly bars of a walk with these returns, closed at weekends; the highs and lows are the opens and closes."""
    close = np.round(start_e5 * np.exp(size * np.cumsum(returns))).astype(np.int64)
    opening = np.r_[start_e5, close[:-1]]
    hours = np.arange(len(close))
    return BarSeries(
        symbol=symbol,
        period_ns=NS_PER_HOUR,
        ts_open_ns=(SUNDAY_NS + (hours + 48 * (hours // 120)) * NS_PER_HOUR).astype(np.int64),
        open_e5=opening,
        high_e5=np.maximum(opening, close),
        low_e5=np.minimum(opening, close),
        close_e5=close,
        quotes=np.full(len(close), 4, np.int64),
    )


def covered(returns, scales, calibrator):
    """Whether the 90 % interval of each return held it: one step ahead, the scale known before the return."""
    held = np.zeros(len(returns), bool)
    for step, (value, scale) in enumerate(zip(returns.tolist(), scales.tolist(), strict=True)):
        earned = abs(value) / scale
        held[step] = earned <= calibrator.thresholds()[0]
        calibrator.update(earned, (held[step],))
    return held


def ewma_scales(returns, decay=0.94):
    """Sigma of each return as an EWMA of those before it tells it."""
    variance, scales = 1.0, np.empty(len(returns))
    for step, value in enumerate(returns.tolist()):
        scales[step] = variance**0.5
        variance = decay * variance + (1.0 - decay) * value**2
    return scales


def tercile_spread(held, sigmas):
    """Largest less smallest coverage of the thirds of lowest, middle and highest true volatility."""
    order = np.argsort(sigmas, kind="stable")
    shares = [part.mean() for part in np.array_split(held[order], 3)]
    return max(shares) - min(shares), shares
