"""The scores that are kept, in time order and sorted, and the exact rank among them."""

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable

from bus.errors import DataError

CAPACITY = 1000
"""Scores that a calibrator keeps; the newest ones."""


def rank(n: int, alpha: float) -> int:
    """Which smallest of n scores bounds the truth with probability 1 - alpha: ceil((n + 1)(1 - alpha)).

    Above n no score does (the quantile is infinite); at or below 0 none is needed (the set is empty). The 1e-12 keeps
    an alpha such as 1 - 0.9, which arrives inexact, from costing one rank.
    """
    return math.ceil((n + 1) * (1.0 - alpha) - 1e-12)


def score(actual_e5: int, point_e5: int, scale_e5: int) -> float:
    """The nonconformity score |actual - point| / scale of a resolved forecast; `scale_e5` below 1 counts as 1.

    A scale that knows the volatility gives the normalised score; a constant one plain split conformal.
    """
    return abs(actual_e5 - point_e5) / max(scale_e5, 1)


def check(value: float, *, signed: bool = False) -> None:
    """Refuse what is no score.

    Raises:
        DataError: NaN or infinite; or negative, unless scores are signed.
    """
    if not (math.isfinite(value) and (signed or value >= 0.0)):
        raise DataError(f"nonconformity score {value!r}; it must be finite{'' if signed else ' and not negative'}")


class RollingScores:
    """The newest `capacity` scores. Adding costs a bisection and two short memory moves.

    Args:
        capacity: how many are kept.
        scores: in time order.
        signed: whether scores may be negative, as those of quantile regression are.
    """

    __slots__ = ("_by_size", "_by_time", "capacity", "signed")

    def __init__(self, capacity: int = CAPACITY, scores: Iterable[float] = (), *, signed: bool = False) -> None:
        if capacity < 1:
            raise ValueError(f"a window of {capacity} scores; it must hold at least one")
        self.capacity = capacity
        self.signed = signed
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
            DataError: NaN or infinite; or negative, unless scores are signed.
        """
        check(value, signed=self.signed)
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

    def below(self, value: float) -> int:
        """How many scores are strictly below a value."""
        return bisect_left(self._by_size, value)

    def in_time_order(self) -> tuple[float, ...]:
        """The scores held, oldest first."""
        return tuple(self._by_time)
