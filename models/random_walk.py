"""The random walk: the forecast that every other model has to beat, and the way any forecast becomes prices.

It says that the price stays where it is (Meese and Rogoff 1983), and that one sigma over h bars is the EWMA volatility
times sqrt h. It needs no artifact and always answers.
"""

import math
from collections.abc import Sequence

from bus.messages import HorizonForecast

MODEL_ID = "random-walk"
KIND = "random_walk"


def to_prices(close_e5: int, expected: float, sigma: float, horizon: int, scale: float = 1.0) -> HorizonForecast:
    """An expected log return as a price and a scale.

    Args:
        close_e5: the last bid close.
        expected: expected log return over the horizon in units of sigma sqrt(horizon); 0 = the random walk.
        sigma: volatility of one bar's log return (`features.volatility`).
        horizon: bars ahead.
        scale: the forecast's own standard deviation in the same units; 1 = the random walk's.

    Returns:
        point = close exp(expected sigma sqrt h), scale = close scale sigma sqrt h, both rounded and at least 1.

    Raises:
        ValueError: the numbers are not finite, or say that the price moves by more than a factor of e.
    """
    spread = sigma * math.sqrt(horizon)
    if not (spread < 1.0 and abs(expected * spread) < 1.0):
        raise ValueError(f"expected {expected!r} sigmas of {spread!r} over {horizon} bars is no forecast of a price")
    if not 0.0 < scale * spread < 1.0:
        raise ValueError(f"a scale of {scale!r} sigmas of {spread!r} over {horizon} bars is none of a price")
    return HorizonForecast(
        horizon=horizon,
        point_e5=max(1, math.floor(close_e5 * math.exp(expected * spread) + 0.5)),
        sigma_e5=max(1, math.floor(close_e5 * spread * scale + 0.5)),
    )


def forecast(close_e5: int, sigma: float, horizons: Sequence[int]) -> tuple[HorizonForecast, ...]:
    """No change, at every horizon. Raises like `to_prices`."""
    return tuple(to_prices(close_e5, 0.0, sigma, horizon) for horizon in horizons)
