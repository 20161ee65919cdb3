"""What features read: log prices, returns and volatility of the bars, each computed once.

Prices enter as logarithms, and differences of them are told in units of sigma, the market's own volatility, so that
features of any pair, at any price and in any year are of one size.
"""

from collections.abc import Callable
from functools import cached_property, wraps
from typing import Concatenate, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from bus.values import PRICE_SCALE
from models.columns import Columns, Floats, Ints
from models.features._inputs import Inputs, Panel, TickBars
from models.features._windows import ewma, mean, padded, shift

DECAY = 0.94
SIGMA_RETURNS = 128
SIGMA_BARS = SIGMA_RETURNS + 1
"""Bars that sigma depends on: its returns need one more close."""

SIGMA_FLOOR = 1e-6
"""Smallest volatility a bar, in log price: one hundredth of a basis point."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Market:
    """The bars of one market, for the time of one computation.

    Args:
        inputs: what is there.
        newest: how many of the newest rows will be asked for, where a feature can do less than all; None = all.
    """

    def __init__(self, inputs: Inputs, newest: int | None = None) -> None:
        self.inputs = inputs
        self.columns: Columns = inputs.columns
        self.newest = len(inputs) if newest is None else newest
        self.memo: dict[object, object] = {}

    def __len__(self) -> int:
        """Number of bars."""
        return len(self.columns)

    def filled(self, newest: Floats | NDArray[np.bool_]) -> Floats:
        """Values (or flags, as 1 and 0) of the newest rows as a column of all rows, NaN before them."""
        return padded(newest.astype(np.float64), len(self))

    @property
    def ticks(self) -> TickBars:
        """Ticks by bar; the registry has seen to it that they are there."""
        assert self.inputs.ticks is not None
        return self.inputs.ticks

    @property
    def panel(self) -> Panel:
        """Other pairs; likewise."""
        assert self.inputs.panel is not None
        return self.inputs.panel

    @cached_property
    def open(self) -> Floats:
        """Ln of the open; likewise high, low and close."""
        return _log(self.columns.open_e5)

    @cached_property
    def high(self) -> Floats:
        """Ln of the high."""
        return _log(self.columns.high_e5)

    @cached_property
    def low(self) -> Floats:
        """Ln of the low."""
        return _log(self.columns.low_e5)

    @cached_property
    def close(self) -> Floats:
        """Ln of the close."""
        return _log(self.columns.close_e5)

    @cached_property
    def returns(self) -> Floats:
        """r_t = ln C_t - ln C_(t-1)."""
        return self.close - shift(self.close, 1)

    @cached_property
    def sigma(self) -> Floats:
        """Volatility of one bar: root of the EWMA (0.94) of the last 128 squared returns, at least SIGMA_FLOOR."""
        return root_mean(self.returns)

    @cached_property
    def true_range(self) -> Floats:
        """max(H, C_(t-1)) - min(L, C_(t-1)) in logs (Wilder 1978)."""
        before = shift(self.close, 1)
        return np.maximum(self.high, before) - np.minimum(self.low, before)

    @cached_property
    def spread(self) -> Floats:
        """Ask less bid at the close as a share of the bid."""
        return self.columns.spread_e5 / self.columns.close_e5

    @cached_property
    def quotes(self) -> Floats:
        """Price updates in the bar, NaN where nobody counted."""
        return np.where(self.columns.quotes > 0, self.columns.quotes.astype(np.float64), np.nan)


def shared(function: Callable[Concatenate[Market, _P], _T]) -> Callable[Concatenate[Market, _P], _T]:
    """Compute a step that several features need once for a market and its arguments."""

    @wraps(function)
    def once(market: Market, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        key = (function, args, tuple(kwargs.items()))
        if key not in market.memo:
            market.memo[key] = function(market, *args, **kwargs)
        return market.memo[key]  # pyright: ignore[reportReturnType]  what this very function has put there

    return once


@shared
def mean_square(market: Market, width: int) -> Floats:
    """Mean of the last `width` squared returns."""
    return mean(market.returns * market.returns, width)


def root_mean(returns: Floats) -> Floats:
    """Root of the EWMA of the last SIGMA_RETURNS squares, at least SIGMA_FLOOR."""
    return np.sqrt(np.maximum(ewma(returns * returns, SIGMA_RETURNS, DECAY), SIGMA_FLOOR**2))


def in_sigmas(bars: int) -> int:
    """Start-up length of a feature that depends on `bars` bars and on sigma."""
    return max(SIGMA_BARS, bars)


def _log(price_e5: Ints) -> Floats:
    # a contiguous copy, so that every element takes the same path through the logarithm
    return np.log(np.ascontiguousarray(price_e5) / PRICE_SCALE)
