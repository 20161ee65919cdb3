"""The fixed points from which Monte Carlo scenarios are made: no randomness, the same ones for ever.

Richtmyer's points (1951; Niederreiter 1978, "Quasi-Monte Carlo methods and pseudo-random numbers", section 5): the
fractions of i times the square roots of the first primes, here in whole numbers of 64 bits, through the inverse of the
normal distribution. They are then turned so that their covariance is the identity (moment matching), and each is
followed by its mirror image, so that their mean is 0. What turns a normal point into one of Student's t distribution
with FREEDOM degrees, of unit variance, is a chi-squared variable drawn by van der Corput's sequence (the bits of i in
reverse). Values are whole numbers in 1e-4: far coarser than what two mathematical libraries could differ by.
"""

import math
from functools import lru_cache
from statistics import NormalDist

from risk.portfolio.covariance import Matrix, cholesky

POINT_SCALE = 10_000
_PAIR_BITS = 10
PAIRS = 1 << _PAIR_BITS
FREEDOM = 4
_BITS = 64


@lru_cache(maxsize=8)
def points(size: int, *, student: bool = False) -> tuple[tuple[int, ...], ...]:
    """2 * PAIRS points in `size` dimensions, in 1e-4 of a standard deviation."""
    steps = [math.isqrt(prime << (2 * _BITS)) % (1 << _BITS) for prime in _primes(size)]
    inverse = NormalDist().inv_cdf
    normal = _matched(
        [[inverse(((i * step) % (1 << _BITS) + 0.5) / (1 << _BITS)) for step in steps] for i in range(1, PAIRS + 1)]
    )
    found: list[tuple[int, ...]] = []
    for i, point in enumerate(normal):
        wide = math.sqrt((FREEDOM - 2) / _chi_squared((_reversed(i) + 0.5) / PAIRS)) if student else 1.0
        whole = tuple(round(POINT_SCALE * wide * x) for x in point)
        found.append(whole)
        found.append(tuple(-x for x in whole))
    return tuple(found)


def _reversed(number: int) -> int:
    found = 0
    for _ in range(_PAIR_BITS):
        found = found << 1 | number & 1
        number >>= 1
    return found


def _matched(rows: Matrix) -> Matrix:
    """The rows times the inverse of the factor of their own covariance around 0."""
    size = range(len(rows[0]))
    lower = cholesky([[sum(row[i] * row[j] for row in rows) / len(rows) for j in size] for i in size])
    found: Matrix = []
    for row in rows:
        solved: list[float] = []
        for i in size:  # forward substitution
            rest = row[i]
            for j in range(i):
                rest -= solved[j] * lower[i][j]
            solved.append(rest / lower[i][i])
        found.append(solved)
    return found


def _primes(count: int) -> list[int]:
    found: list[int] = []
    number = 2
    while len(found) < count:
        if all(number % prime for prime in found):
            found.append(number)
        number += 1
    return found


def _chi_squared(share: float) -> float:
    """The quantile of the chi-squared distribution with FREEDOM = 4: 1 - exp(-x / 2) (1 + x / 2) = share."""
    low, high = 0.0, 200.0
    for _ in range(60):
        middle = (low + high) / 2
        half = middle / 2
        if 1.0 - math.exp(-half) * (1.0 + half) < share:
            low = middle
        else:
            high = middle
    return (low + high) / 2
