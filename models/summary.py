"""What bars were like, in a few numbers that can be compared: live against those that a model has seen.

Theory of operation. Each bar gives its return and its true range in units of the market's volatility as it was a bar
before (`models.volatility`), so that calm and storm look alike and what is left is the shape. A summary keeps deciles
of both, and how the power of the returns divides among octaves: the Haar wavelet variance (Percival 1995, "On
estimation of the wavelet variance"; MODWT of Percival and Walden 2000) of levels 1 to OCTAVES, which is the power of
periods of about 2 to 4 bars, 4 to 8, and so on. White noise has half of it in the first, a quarter in the second.

The core and training both go through `Measures`, so that equal bars give equal numbers. Whole numbers throughout; plain
Python: a part of the core's state.
"""

from collections import deque

import msgspec

from bus.errors import ModelError
from bus.messages import Bar, TrainingSummary
from models.volatility import SeasonalVolatility

OCTAVES = 5
CELLS = 10
LIMIT_PPM = 8_000_000
"""Returns and ranges count up to this many times the market's scale: one flash crash is no spectrum."""

_PPM = 1_000_000
FEWEST = 200
"""Bars without which there is nothing to compare with."""


class Measured(msgspec.Struct, frozen=True, gc=False):
    """One bar: return and true range in millionths of the scale, and power by octave (None at first).

    The powers have a common unit of their own; only their shares mean something.
    """

    return_ppm: int
    range_ppm: int
    octaves: tuple[int, ...] | None


class Measures:
    """Measures the bars of one market, oldest first."""

    __slots__ = ("_close_e5", "_sums")

    def __init__(self) -> None:
        self._close_e5 = 0
        self._sums: deque[int] = deque([0], maxlen=2**OCTAVES + 1)  # of all returns so far

    def update(self, high_e5: int, low_e5: int, close_e5: int, scale_e5: int) -> Measured | None:
        """Take a closed bar.

        Args:
            high_e5: positive.
            low_e5: likewise.
            close_e5: likewise.
            scale_e5: what the volatility said of one bar at the close before this one; 0 = nothing yet.

        Returns:
            None for the first bar, and as long as there is no scale.
        """
        before_e5, self._close_e5 = self._close_e5, close_e5
        if not before_e5 or scale_e5 <= 0:
            return None
        moved_ppm = (close_e5 - before_e5) * _PPM // scale_e5
        return_ppm = max(-LIMIT_PPM, min(LIMIT_PPM, moved_ppm))
        range_ppm = min(LIMIT_PPM, (max(high_e5, before_e5) - min(low_e5, before_e5)) * _PPM // scale_e5)
        self._sums.append(self._sums[-1] + return_ppm)
        return Measured(return_ppm, range_ppm, self._octaves())

    def _octaves(self) -> tuple[int, ...] | None:
        sums = self._sums
        if len(sums) <= 2**OCTAVES:
            return None
        newest = sums[-1]
        powers: list[int] = []
        for level in range(1, OCTAVES + 1):
            middle, oldest = sums[-1 - 2 ** (level - 1)], sums[-1 - 2**level]
            detail = newest - 2 * middle + oldest  # the newer half of the window less the older
            powers.append(detail * detail << 2 * (OCTAVES - level))
        return tuple(powers)


class BarMeasures:
    """`Measures` beside a volatility that somebody else feeds: call `take` before that takes the same bar."""

    __slots__ = ("_close_e5", "_last_ns", "_measures")

    def __init__(self) -> None:
        self._measures = Measures()
        self._last_ns = -1
        self._close_e5 = 0

    def take(self, bar: Bar, volatility: SeasonalVolatility) -> Measured | None:
        """Measure a closed bar; None for one that is not newer than the last, or before there is a volatility."""
        if bar.ts_open_ns <= self._last_ns or min(bar.high_e5, bar.low_e5, bar.close_e5) <= 0:
            return None
        before_ns, self._last_ns = self._last_ns, bar.ts_open_ns
        before_e5, self._close_e5 = self._close_e5, bar.close_e5
        # not one that knows the future of this bar, nor one that has not seen the bar before
        fits = before_e5 and volatility.known and volatility.last_open_ns == before_ns
        scale_e5 = volatility.scale_e5(before_e5, 1) if fits else 0
        return self._measures.update(bar.high_e5, bar.low_e5, bar.close_e5, scale_e5)


def check(summary: TrainingSummary) -> None:
    """Refuse numbers that are no summary.

    Raises:
        ModelError: one line.
    """
    for name, each in (("returns", summary.returns), ("ranges", summary.ranges)):
        shares = each.shares_ppm
        sound = all(share >= 0 for share in shares) and _PPM - CELLS <= sum(shares) <= _PPM
        rising = all(low < high for low, high in zip(each.edges, each.edges[1:], strict=False))
        if each.edges and not (sound and rising and len(shares) == len(each.edges) + 1 <= CELLS):
            raise ModelError(f"a summary of training whose {name} are no histogram; train again")
    powers = summary.octaves_ppm
    sound = len(powers) == OCTAVES and all(share >= 0 for share in powers)
    if not sound or not _PPM - OCTAVES <= sum(powers) <= _PPM or summary.bars < FEWEST:
        raise ModelError("a summary of training whose spectrum is none; train again")
