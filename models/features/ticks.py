"""How busy the market is, and which way the quotes push. Absent where nobody counted quotes, or kept no ticks."""

import numpy as np

from models.columns import Floats
from models.features._market import SIGMA_FLOOR, Market, in_sigmas
from models.features._registry import feature
from models.features._windows import mean, ratio, total


@feature("tick_intensity_{}", each=(8, 64), startup=lambda width: width, needs="quotes")
def tick_intensity(m: Market, width: int) -> Floats:
    """ln(quotes in the bar / mean quotes of w bars)."""
    return np.log(m.quotes / mean(m.quotes, width))


@feature("flow_imbalance_{}", each=(1, 8), startup=lambda width: width, needs="ticks")
def flow_imbalance(m: Market, width: int) -> Floats:
    """Sum over w bars of sign(change of bid) + sign(change of ask) / sum of their sizes, -1 to 1.

    The order-flow imbalance of Cont, Kukanov and Stoikov (2014) with every size equal to one, and normalised.
    """
    return ratio(total(m.ticks.flow, width), total(m.ticks.moves, width))


@feature("tick_volatility", startup=in_sigmas(1), needs="ticks")
def tick_volatility(m: Market) -> Floats:
    """ln(sqrt(sum of squared changes of the log mid inside the bar) / sigma)."""
    return 0.5 * np.log(np.maximum(m.ticks.variance, SIGMA_FLOOR**2) / (m.sigma * m.sigma))


@feature("time_weighted_mid", startup=in_sigmas(1), needs="ticks")
def time_weighted_mid(m: Market) -> Floats:
    """(Last log mid - mean log mid weighted by the time each stood) / sigma."""
    return (m.ticks.mid_close - m.ticks.mid_mean) / m.sigma


@feature("tick_spread_bp", startup=1, needs="ticks")
def tick_spread(m: Market) -> Floats:
    """Mean over the bar's ticks of 10^4 (ask - bid) / mid."""
    return m.ticks.spread_mean_bp.copy()


@feature("tick_silence", startup=1, needs="ticks")
def tick_silence(m: Market) -> Floats:
    """Longest time without a tick / length of the bar, 0 to 1."""
    return m.ticks.silence.copy()
