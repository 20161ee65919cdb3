"""Conformal intervals, online and in plain Python: how far is the truth usually from the forecast, in sigmas?

Theory of operation. The nonconformity score of a forecast whose truth is known is |actual - point| / sigma. The
interval of level 1 - a is point +- q sigma, where q is the k-th smallest of the newest n scores and
k = ceil((n + 1)(1 - a)); where k > n the calibration set is too small for the level and the interval is the whole
line. That holds for exchangeable scores (Lei et al. 2018). Markets are not exchangeable, so each level keeps its own
working a_t, moved after every truth by adaptive conformal inference (Gibbs and Candes 2021):
a_(t+1) = a_t + gamma (a - miss_t). For any sequence of scores, |mean miss - a| <= (max(a_1, 1 - a_1) + gamma) /
(gamma T). a_t may leave (0, 1): at or below 0 the interval is the whole line, at or above 1 it is empty, told as
zero width; both are counted.

Labels are delayed: the truth of a forecast h bars ahead comes h bars later. The caller keeps what it issued, and
calls `update` when the truth arrives with whether each band, as it was issued, held it. One calibrator serves one
(symbol, model, horizon) and starts afresh with another model: scores of two models are not exchangeable.
"""

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Sequence

from bus.errors import DataError
from bus.messages import Band
from bus.values import LARGEST

_MILLION = 1_000_000

CAPACITY = 500
"""Scores that a calibrator keeps; the newest ones."""


def rank(n: int, alpha: float) -> int:
    """Which smallest of n scores bounds the truth with probability 1 - alpha: ceil((n + 1)(1 - alpha)).

    Above n no score does (the quantile is infinite); at or below 0 none is needed (the set is empty). The 1e-12 keeps
    an alpha such as 1 - 0.9, which arrives inexact, from costing one rank.
    """
    return math.ceil((n + 1) * (1.0 - alpha) - 1e-12)


def score(actual_e5: int, point_e5: int, sigma_e5: int) -> float:
    """The nonconformity score |actual - point| / sigma of a resolved forecast; `sigma_e5` below 1 counts as 1."""
    return abs(actual_e5 - point_e5) / max(sigma_e5, 1)


def step_for(horizon: int) -> float:
    """The step of the online adaptation for a horizon: 0.01 / sqrt(horizon).

    Overlapping h-bar labels miss in clusters of h. A step of 0.01 at 24 bars then drives the working level below zero
    and makes 14 to 25 % of the intervals the whole line (H1 of five pairs, 2021-2022); 0.002 makes none, at the same
    coverage and a narrower worst window than no adaptation at all.
    """
    return 0.01 / math.sqrt(horizon)


class RollingScores:
    """The newest `capacity` scores, in time order and sorted. Adding costs a bisection and two short memory moves."""

    __slots__ = ("_by_size", "_by_time", "capacity")

    def __init__(self, capacity: int = CAPACITY, scores: Iterable[float] = ()) -> None:
        if capacity < 1:
            raise ValueError(f"a window of {capacity} scores; it must hold at least one")
        self.capacity = capacity
        self._by_time: deque[float] = deque()
        self._by_size: list[float] = []
        for value in scores:
            self.add(value)

    def __len__(self) -> int:
        """Scores held."""
        return len(self._by_size)

    def add(self, value: float) -> None:
        """Take a score; the oldest leaves when the window is full.

        Raises:
            DataError: NaN, infinite or negative.
        """
        if not 0.0 <= value < math.inf:
            raise DataError(f"nonconformity score {value!r}; it must be finite and not negative")
        by_size = self._by_size
        if len(by_size) == self.capacity:
            del by_size[bisect_left(by_size, self._by_time.popleft())]
        self._by_time.append(value)
        insort(by_size, value)

    def quantile(self, alpha: float) -> float:
        """The score of rank ``rank(n, alpha)``: infinite where the rank is above n, -infinite where it is below 1."""
        by_size = self._by_size
        k = rank(len(by_size), alpha)
        if k > len(by_size):
            return math.inf
        return by_size[k - 1] if k >= 1 else -math.inf


class Calibrator:
    """Intervals for one (symbol, model, horizon).

    Args:
        levels_ppm: nominal coverages in millionths (900000 = 90 %), in the order of the bands, widest first.
        scores: scores of the calibration split in time order; the newest `capacity` count.
        capacity: length of the rolling window.
        gamma: step of the online adaptation; 0 = none.

    Attributes:
        alphas: working miscoverage of each level.
        unbounded: intervals given that were the whole line.
        empty: intervals given that were empty, and told as zero width.
    """

    __slots__ = ("_gamma", "_levels_ppm", "_scores", "_targets", "alphas", "empty", "unbounded")

    def __init__(
        self, levels_ppm: Sequence[int], scores: Iterable[float] = (), *, capacity: int = CAPACITY, gamma: float = 0.01
    ) -> None:
        if not levels_ppm or not all(0 < level < _MILLION for level in levels_ppm):
            raise ValueError(f"levels {tuple(levels_ppm)} ppm; each must lie between 0 and {_MILLION}")
        self._levels_ppm = tuple(levels_ppm)
        self._targets = tuple((_MILLION - level) / _MILLION for level in levels_ppm)
        self._scores = RollingScores(capacity, scores)
        self._gamma = gamma
        self.alphas = list(self._targets)
        self.unbounded = 0
        self.empty = 0

    def __len__(self) -> int:
        """Scores in the window."""
        return len(self._scores)

    def interval(self, point_e5: int, sigma_e5: int) -> tuple[Band, ...]:
        """One band a level. Limits are rounded outwards; an unbounded band spans every price there is."""
        sigma_e5 = max(sigma_e5, 1)
        return tuple(
            self._band(level_ppm, self._quantile(alpha), point_e5, sigma_e5)
            for level_ppm, alpha in zip(self._levels_ppm, self.alphas, strict=True)
        )

    def update(self, value: float, covered: Sequence[bool] | None = None) -> None:
        """Learn a truth, once, when it has arrived.

        Args:
            value: ``score(actual, point, sigma)`` of the forecast as it was issued.
            covered: whether each band, as it was issued, held the truth. None judges by the present quantiles, which
                is the same thing only where nothing was learnt between issue and truth (horizon 1).

        Raises:
            DataError: the score is NaN, infinite or negative; nothing is learnt.
        """
        if not 0.0 <= value < math.inf:
            raise DataError(f"nonconformity score {value!r}; it must be finite and not negative")
        gamma = self._gamma
        for index, target in enumerate(self._targets):
            alpha = self.alphas[index]
            missed = value > self._quantile(alpha) if covered is None else not covered[index]
            self.alphas[index] = alpha + gamma * (target - 1.0) if missed else alpha + gamma * target
        self._scores.add(value)

    def _quantile(self, alpha: float) -> float:
        if alpha >= 1.0:
            return -math.inf
        return math.inf if alpha <= 0.0 else self._scores.quantile(alpha)

    def _band(self, level_ppm: int, quantile: float, point_e5: int, sigma_e5: int) -> Band:
        half = quantile * sigma_e5
        if half > LARGEST:
            self.unbounded += 1
            return Band(level_ppm=level_ppm, lower_e5=0, upper_e5=LARGEST, bounded=False)
        if half < 0:
            self.empty += 1
            half = 0.0
        half_e5 = math.ceil(half)
        return Band(level_ppm=level_ppm, lower_e5=point_e5 - half_e5, upper_e5=point_e5 + half_e5, bounded=True)
