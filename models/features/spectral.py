"""What rhythm the recent returns have: power of a windowed Fourier transform of the last w returns.

A window's mean is taken off and a Hann window laid over it; P_k = |X_k|^2 for k = 1 ... w/2 cycles a window, and
p = P / sum P. A window without power (a market that stands still) counts as white: every p equal. Frequencies are
cycles a bar, 0 to 0.5. `models.train.spectral` computes the same in batches with torch.
"""

import math

import numpy as np

from models.columns import Floats
from models.features._market import Market, shared
from models.features._registry import feature
from models.features._windows import column_sum, mean

WIDTHS = (64, 128)
ROLL_OFF = 0.85
LEAST_POWER = 1e-20
"""Mean squared return below which a window counts as one without power: far below one step of any price."""

SLOW_PERIOD, FAST_PERIOD = 16, 4
"""Bars a cycle that part the bands: slow is longer or equal, fast is shorter."""


def hann(width: int) -> Floats:
    """The symmetric Hann window, shape (width,)."""
    return 0.5 - 0.5 * np.cos(np.arange(width) * (2.0 * math.pi / (width - 1)))


def frequencies(width: int) -> Floats:
    """Cycles a bar of P_1 ... P_(width/2), shape (width/2,)."""
    return np.arange(1, width // 2 + 1) / width


@shared
def _power(m: Market, width: int) -> Floats:
    """Shares p of the newest rows that are asked for and have width returns, shape (width/2, rows)."""
    first = max(width, len(m) - m.newest)
    if first >= len(m):
        return np.empty((width // 2, 0))
    frames = np.lib.stride_tricks.sliding_window_view(m.returns, width)[first - width + 1 :]
    centred = frames - mean(m.returns, width)[first:, None]
    spectrum = np.fft.rfft(centred * hann(width), axis=1)[:, 1:]
    # frequencies first: then every sum over them is a sum of whole columns, in one order for any number of rows
    power = np.ascontiguousarray((spectrum.real**2 + spectrum.imag**2).T)
    whole = column_sum(power)
    silent = whole < LEAST_POWER * width
    return np.where(silent, 2.0 / width, power / np.where(silent, 1.0, whole))


def _start(width: int) -> int:
    return width + 1


@feature("spectral_frequency_{}", each=WIDTHS, startup=_start)
def spectral_frequency(m: Market, width: int) -> Floats:
    """Dominant frequency: that of the largest P_k, the lowest of equals."""
    return m.filled(frequencies(width)[np.argmax(_power(m, width), axis=0)])


@feature("spectral_peak_{}", each=WIDTHS, startup=_start)
def spectral_peak(m: Market, width: int) -> Floats:
    """Largest p_k: how dominant that frequency is."""
    return m.filled(_power(m, width).max(axis=0))


@feature("spectral_entropy_{}", each=WIDTHS, startup=_start)
def spectral_entropy(m: Market, width: int) -> Floats:
    """-sum p ln p / ln(w/2): 1 = white, 0 = one frequency."""
    shares = _power(m, width)
    surprise = shares * np.log(np.maximum(shares, 1e-300))
    return m.filled(-column_sum(surprise) / math.log(width // 2))


@feature("spectral_centroid_{}", each=WIDTHS, startup=_start)
def spectral_centroid(m: Market, width: int) -> Floats:
    """Sum of f_k p_k."""
    return m.filled(column_sum(_power(m, width) * frequencies(width)[:, None]))


@feature("spectral_roll_off_{}", each=WIDTHS, startup=_start)
def spectral_roll_off(m: Market, width: int) -> Floats:
    """Lowest frequency up to which 85 % of the power lies."""
    reached = np.add.accumulate(_power(m, width), axis=0) >= ROLL_OFF
    return m.filled(frequencies(width)[np.argmax(reached, axis=0)])


@feature("band_slow_{}", each=WIDTHS, startup=_start)
def band_slow(m: Market, width: int) -> Floats:
    """Share of the power in cycles of 16 bars and longer."""
    return _band(m, width, frequencies(width) <= 1.0 / SLOW_PERIOD)


@feature("band_fast_{}", each=WIDTHS, startup=_start)
def band_fast(m: Market, width: int) -> Floats:
    """Share of the power in cycles shorter than 4 bars."""
    return _band(m, width, frequencies(width) > 1.0 / FAST_PERIOD)


def _band(m: Market, width: int, inside: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Floats:
    return m.filled(column_sum(_power(m, width) * inside[:, None]))
