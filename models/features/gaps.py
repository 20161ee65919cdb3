"""Time without bars before this one, and how far the price moved over it."""

import numpy as np

from models.columns import Floats
from models.features._market import Market, in_sigmas
from models.features._registry import feature
from models.features._windows import shift


@feature("gap_bars", startup=2)
def gap_bars(m: Market) -> Floats:
    """ln(1 + periods without a bar before this one)."""
    opens = m.columns.ts_open_ns
    skipped = np.full(len(opens), np.nan)
    skipped[1:] = (opens[1:] - opens[:-1]) // m.columns.period_ns - 1
    return np.log1p(skipped)


@feature("gap_return", startup=in_sigmas(2))
def gap_return(m: Market) -> Floats:
    """ln(O_t / C_(t-1)) / sigma."""
    return (m.open - shift(m.close, 1)) / m.sigma
