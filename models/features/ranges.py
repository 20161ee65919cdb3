"""Where the price stands in the range of its recent bars, and how old that range's edges are."""

import math

import numpy as np

from models.columns import Floats
from models.features._market import SIGMA_FLOOR, Market, in_sigmas
from models.features._registry import feature
from models.features._windows import age_of_highest, highest, lowest, ratio


@feature("range_position_{}", each=(24, 96), startup=lambda width: width)
def range_position(m: Market, width: int) -> Floats:
    """(C - lowest low) / (highest high - lowest low) of w bars, in logs, -0.5 to 0.5."""
    bottom = lowest(m.low, width)
    return ratio(m.close - bottom, highest(m.high, width) - bottom) - 0.5


@feature("range_width_{}", each=(24, 96), startup=in_sigmas)
def range_width(m: Market, width: int) -> Floats:
    """ln((highest high - lowest low) of w bars / (sigma sqrt w)), in logs."""
    span = np.maximum(highest(m.high, width) - lowest(m.low, width), SIGMA_FLOOR)
    return np.log(span / (m.sigma * math.sqrt(width)))


@feature("high_age_{}", each=(64,), startup=lambda width: width + 1)
def high_age(m: Market, width: int) -> Floats:
    """Bars since the highest high of w + 1 bars / w: one less Aroon up (Chande 1995), 0 to 1."""
    return age_of_highest(m.high, width + 1) / width


@feature("low_age_{}", each=(64,), startup=lambda width: width + 1)
def low_age(m: Market, width: int) -> Floats:
    """Bars since the lowest low of w + 1 bars / w: one less Aroon down (Chande 1995), 0 to 1."""
    return age_of_highest(-m.low, width + 1) / width


@feature("drawdown_{}", each=(64,), startup=in_sigmas)
def drawdown(m: Market, width: int) -> Floats:
    """(ln C - highest ln C of w bars) / (sigma sqrt w), at most 0."""
    return (m.close - highest(m.close, width)) / (m.sigma * math.sqrt(width))


@feature("run_up_{}", each=(64,), startup=in_sigmas)
def run_up(m: Market, width: int) -> Floats:
    """(ln C - lowest ln C of w bars) / (sigma sqrt w), at least 0."""
    return (m.close - lowest(m.close, width)) / (m.sigma * math.sqrt(width))
