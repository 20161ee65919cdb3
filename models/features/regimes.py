"""Calm or wild: moves and ranges against what was usual, and a filter that says which of two fixed states it is.

z_t = r_t / s, where s^2 is the mean square of the 96 returns before it. Two states of a hidden Markov chain give z a
normal distribution of deviation CALM or WILD; the chain leaves them with probability 1/48 and 1/12 a bar. The numbers
are constants of this file and no market's fit, so that these features are, as all others, functions of bars alone. What
a market's own fit says is a fact of its own (`models.states`), and no feature.

The filter is the forward algorithm (Baum and Petrie 1966) over the last 128 bars from the chain's stationary
distribution: what is further back is forgotten by then. It is computed as a product of two-by-two matrices, which may
be combined in any grouping, so the cost of a bar is that of seven products.
"""

import math

import numpy as np

from models.columns import Floats
from models.features._market import SIGMA_FLOOR, Market, mean_square, shared
from models.features._registry import feature
from models.features._windows import Block, shift, window

SLOW = 96
STEPS = 128
CALM, WILD = 0.75, 1.7
LEAVE_CALM, LEAVE_WILD = 1.0 / 48.0, 1.0 / 12.0
DAY, DAYS = 24, 8
LARGEST = 12.0
"""Moves are held within so many slow sigmas: one cannot decide about hours."""

_STARTUP = SLOW + 2


@shared
def _slow_sigma(m: Market) -> Floats:
    """Root mean square of the SLOW returns before each bar."""
    return np.sqrt(np.maximum(shift(mean_square(m, SLOW), 1), SIGMA_FLOOR**2))


@shared
def _move(m: Market) -> Floats:
    return np.clip(m.returns / _slow_sigma(m), -LARGEST, LARGEST)


def _density(z: Floats, deviation: float) -> Floats:
    """Normal density, but for the root of 2 pi that both states share."""
    return np.exp(-0.5 * (z / deviation) ** 2) / deviation


@shared
def _wild(m: Market) -> Floats:
    """P(wild) after each bar, by the last STEPS bars."""
    calm, wild = _density(_move(m), CALM), _density(_move(m), WILD)

    def merge(newer: Block, older: Block, _newer: int, _older: int) -> Block:
        a, b, c, d = older
        e, f, g, h = newer
        found = (a * e + b * g, a * f + b * h, c * e + d * g, c * f + d * h)
        scale = found[0] + found[1] + found[2] + found[3]
        return tuple(part / scale for part in found)

    step = ((1.0 - LEAVE_CALM) * calm, LEAVE_CALM * wild, LEAVE_WILD * calm, (1.0 - LEAVE_WILD) * wild)
    a, b, c, d = window(step, STEPS, merge)
    share = LEAVE_CALM / (LEAVE_CALM + LEAVE_WILD)
    ends_calm, ends_wild = (1.0 - share) * a + share * c, (1.0 - share) * b + share * d
    return ends_wild / (ends_calm + ends_wild)


@feature("slow_return", startup=_STARTUP)
def slow_return(m: Market) -> Floats:
    """z_t = r_t / root mean square of the 96 returns before it, within +-12."""
    return _move(m)


@feature("slow_range", startup=_STARTUP)
def slow_range(m: Market) -> Floats:
    """ln((ln H/L) / root mean square of the 96 returns before), within -6 and ln 12."""
    return np.log(np.clip((m.high - m.low) / _slow_sigma(m), math.exp(-6.0), LARGEST))


@feature("range_to_usual", startup=DAYS * DAY + 1)
def range_to_usual(m: Market) -> Floats:
    """x_t less the mean of x 24, 48, ... 192 bars before, x = ln(ln H/L): on hourly bars, of the same hours' ranges."""
    x = np.log(np.maximum(m.high - m.low, SIGMA_FLOOR))
    return x - sum((shift(x, day * DAY) for day in range(2, DAYS + 1)), shift(x, DAY)) / DAYS


@feature("regime_wild", startup=_STARTUP + STEPS - 1)
def regime_wild(m: Market) -> Floats:
    """P(wild | the last 128 z): forward algorithm over two normal states of deviation 0.75 and 1.7."""
    return _wild(m)


@feature("regime_surprise", startup=_STARTUP + STEPS)
def regime_surprise(m: Market) -> Floats:
    """-ln p(z_t | the 128 z before): how unlikely the newest move was for the state the market seemed to be in."""
    before = shift(_wild(m), 1)
    wild = before * (1.0 - LEAVE_WILD) + (1.0 - before) * LEAVE_CALM
    z = _move(m)
    mixed = wild * _density(z, WILD) + (1.0 - wild) * _density(z, CALM)
    return 0.5 * math.log(2.0 * math.pi) - np.log(mixed)
