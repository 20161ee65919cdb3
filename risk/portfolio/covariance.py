"""How symbols move together: covariance shrunk towards the identity, its factor, and its principal components.

Ledoit and Wolf 2004, "A well-conditioned estimator for large-dimensional covariance matrices", Journal of Multivariate
Analysis 88, lemma 3.4: S* = (1 - d) S + d m I with m = tr S / p, d = b2 / d2, d2 = |S - m I|^2 and
b2 = min(d2, sum_t |x_t x_t' - S|^2 / n^2), |A|^2 the sum of squares over p. Means are taken as zero: those of hourly
and daily returns are, beside their spread. Rows are standardised returns, so that a common variance is a fair target.

Sums of products are kept as whole numbers, a row in and a row out: exact, however long it goes on. No numpy: matrices
are small, and the order of additions is fixed.
"""

import math
from collections.abc import Sequence

from risk.portfolio.history import SCORE_SCALE

Matrix = list[list[float]]

SWEEPS = 12
_SMALL = 1e-26


class Products:
    """Sums over rows of x_i x_j and of |x|^4, x in 1e-6."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.n = 0
        self._pairs = [[0] * (i + 1) for i in range(size)]
        self._fourth = 0

    def add(self, row: Sequence[int], sign: int = 1) -> None:
        """Take a row in, or with sign -1 out again."""
        self.n += sign
        for i, sums in enumerate(self._pairs):
            x = sign * row[i]
            if x:
                for j in range(i + 1):
                    sums[j] += x * row[j]
        self._fourth += sign * sum(x * x for x in row) ** 2

    def shrunk(self) -> tuple[Matrix, float]:
        """The shrunk covariance, in units of one, and how far it was shrunk (0 to 1)."""
        p, n = self.size, self.n
        if not p or not n:
            return [], 0.0
        unit = n * SCORE_SCALE**2
        sample = [[sums / unit for sums in row] for row in self._pairs]
        mean = sum(self._pairs[i][i] for i in range(p)) / (unit * p)
        # in whole numbers, times n^2 and the scale to the fourth, so that nothing cancels
        squares = sum(s * s * (1 if i == j else 2) for i, row in enumerate(self._pairs) for j, s in enumerate(row))
        trace = sum(self._pairs[i][i] for i in range(p))
        distance = p * squares - trace * trace  # p * n^2 * |S - m I|^2, unscaled norm
        noise = p * (n * self._fourth - squares)  # p * n^3 * (sum_t |x x' - S|^2 / n^2)
        share = 0.0 if distance <= 0 or noise <= 0 else min(1.0, noise / (n * distance))
        full = [[0.0] * p for _ in range(p)]
        for i in range(p):
            for j in range(i):
                full[i][j] = full[j][i] = (1.0 - share) * sample[i][j]
            full[i][i] = (1.0 - share) * sample[i][i] + share * mean
        return full, share


def cholesky(matrix: Matrix) -> Matrix:
    """L with L L' = matrix, lower; a row of no variance is a row of zeros."""
    p = len(matrix)
    lower = [[0.0] * p for _ in range(p)]
    for i in range(p):
        for j in range(i + 1):
            rest = matrix[i][j]
            for k in range(j):
                rest -= lower[i][k] * lower[j][k]
            if i == j:
                lower[i][i] = math.sqrt(rest) if rest > 0 else 0.0
            elif lower[j][j] > 0:
                lower[i][j] = rest / lower[j][j]
    return lower


def principal(matrix: Matrix) -> list[tuple[float, list[float]]]:
    """Eigenvalues and unit eigenvectors of a symmetric matrix, largest first, by Jacobi's rotations (1846).

    The largest entry of a vector is positive. Rotations need square roots alone, so the result is the same everywhere.
    """
    p = len(matrix)
    a = [row[:] for row in matrix]
    v = [[float(i == j) for j in range(p)] for i in range(p)]  # rows are the vectors
    whole = sum(x * x for row in a for x in row)
    for _ in range(SWEEPS):
        if sum(a[i][j] * a[i][j] for i in range(p) for j in range(i)) <= whole * _SMALL:
            break
        for i in range(p):
            for j in range(i):
                if a[i][j] * a[i][j] > whole * _SMALL * _SMALL:
                    _rotate(a, v, j, i)
    found = sorted(((a[i][i], i) for i in range(p)), key=lambda each: (-each[0], each[1]))
    components: list[tuple[float, list[float]]] = []
    for value, i in found:
        vector = v[i]
        sign = 1.0 if max(vector, key=abs) >= 0 else -1.0
        components.append((max(value, 0.0), [sign * x for x in vector]))
    return components


def _rotate(a: Matrix, v: Matrix, i: int, j: int) -> None:
    """Turn the plane of i and j so that a[i][j] becomes 0 (Golub and Van Loan, section 8.5)."""
    tau = (a[j][j] - a[i][i]) / (2.0 * a[i][j])
    t = (1.0 if tau >= 0 else -1.0) / (abs(tau) + math.sqrt(1.0 + tau * tau))
    c = 1.0 / math.sqrt(1.0 + t * t)
    s = t * c
    for row in a:
        x, y = row[i], row[j]
        row[i], row[j] = c * x - s * y, s * x + c * y
    for table in (a, v):
        left, right = table[i], table[j]
        table[i] = [c * x - s * y for x, y in zip(left, right, strict=True)]
        table[j] = [s * x + c * y for x, y in zip(left, right, strict=True)]
    a[i][j] = a[j][i] = 0.0
