"""What a trade costs now: the spread in basis points, in sigmas, and against its own past; the mid weighted by quotes.

Where a source has bid prices alone the spread is 0 throughout; a scaler fitted on that switches these features off.
"""

import numpy as np

from models.columns import Floats
from models.features._market import Market, in_sigmas
from models.features._registry import feature
from models.features._windows import mean, ratio, total


@feature("spread_bp", startup=1)
def spread_bp(m: Market) -> Floats:
    """10^4 spread / C."""
    return 1e4 * m.spread


@feature("spread_ratio_24", startup=24)
def spread_ratio(m: Market) -> Floats:
    """Spread over its mean of 24 bars."""
    spread = m.columns.spread_e5.astype(np.float64)
    return ratio(spread, mean(spread, 24))


@feature("spread_sigma", startup=in_sigmas(1))
def spread_sigma(m: Market) -> Floats:
    """Spread / (C sigma): how many sigmas of one bar a trade costs."""
    return m.spread / m.sigma


@feature("weighted_mid_{}", each=(24,), startup=in_sigmas, needs="quotes")
def weighted_mid(m: Market, width: int) -> Floats:
    """(M_t - sum n M / sum n) / sigma over w bars, M = ln of the mid at the close, n = quotes in the bar."""
    mid = m.close + np.log1p(0.5 * m.spread)
    return (mid - ratio(total(m.quotes * mid, width), total(m.quotes, width))) / m.sigma
