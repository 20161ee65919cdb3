"""Log returns over several lags, and the last few one by one, in units of sigma."""

import math

from models.columns import Floats
from models.features._market import Market, in_sigmas
from models.features._registry import feature
from models.features._windows import shift


@feature("ret_{}", each=(1, 2, 4, 8, 16, 24, 48, 64, 120), startup=lambda lag: in_sigmas(lag + 1))
def returns_over(m: Market, lag: int) -> Floats:
    """ln(C_t / C_(t-k)) / (sigma_t sqrt k)."""
    return (m.close - shift(m.close, lag)) / (m.sigma * math.sqrt(lag))


@feature("past_ret_{}", each=(1, 2, 3, 5), startup=in_sigmas(1))
def past_return(m: Market, age: int) -> Floats:
    """r_(t-k) / sigma_t: one return k bars ago."""
    return shift(m.returns, age) / m.sigma
