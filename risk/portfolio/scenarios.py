"""What each symbol may do in the next bar, laid out as a table of whole numbers; and what a book would lose by it.

Theory of operation. A row is a scenario, a column a symbol, an entry a return in 1e-9. The loss of a book in a scenario
is the product of its values and the row; what is linear in the values in the same way (groups, factors) stands in
further rows of the same table, so that one product answers everything. Entries and values are whole numbers, and so
small that no sum of their products reaches 2**53: floats carry them exactly, in whatever order a processor adds them
and whether or not it fuses products and sums. Books too large for that are measured in coarser units, rounded away
from zero.

With n scenarios the value at risk of level a is the loss of rank ceil(a (n + 1)) from the smallest: if the next bar is
exchangeable with the scenarios, its loss is at most that with a chance of at least a (as in conformal prediction; an
interpolated quantile promises less than a). The expected shortfall is the mean of that loss and all larger ones: the
largest mean of any so many scenarios, and therefore subadditive without exception. Both are at least 0.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from risk.portfolio.history import LARGEST_RETURN, SCORE_SCALE, Row
from risk.portfolio.points import POINT_SCALE, points

Table = NDArray[np.int64]

LEVEL_SCALE = 10_000
_EXACT_BITS = 53


def tail(n: int, level_pct_e2: int) -> int:
    """How many of n scenarios lie at or beyond the value at risk; 0 = n is too small for the level."""
    return max(0, n + 1 - -(-level_pct_e2 * (n + 1) // LEVEL_SCALE))


class Recent:
    """The newest rows as a ring of scenarios: what has happened may happen again."""

    def __init__(self, columns: Sequence[int], window: int) -> None:
        """No rows yet.

        Args:
            columns: which entries of a row are taken.
            window: rows kept.
        """
        self._columns = list(columns)
        self._returns = np.zeros((window, len(self._columns)), np.int64)
        self._scores = np.zeros((window, len(self._columns)), np.int64)
        self._next = 0
        self.n = 0

    def push(self, row: Row) -> list[int] | None:
        """Take a row in, in place of the oldest where the window is full; the scores that gave way, if any did."""
        full = self.n == len(self._scores)
        left = self._scores[self._next].tolist() if full else None
        self._returns[self._next] = [row.returns[i] for i in self._columns]
        self._scores[self._next] = [row.scores[i] for i in self._columns]
        self._next = (self._next + 1) % len(self._scores)
        self.n += not full
        return left

    def historical(self) -> Table:
        """Returns as they were."""
        return self._returns[: self.n].copy()

    def filtered(self, volatilities: Sequence[int]) -> Table:
        """Returns as they would have been at the volatilities of now, in 1e-9 (Barone-Adesi and others 1999)."""
        scaled = self._scores[: self.n] * np.array(volatilities, np.int64) // SCORE_SCALE
        return np.clip(scaled, -LARGEST_RETURN, LARGEST_RETURN)


def drawn(factor: Sequence[Sequence[float]], volatilities: Sequence[int], *, student: bool) -> Table:
    """Monte Carlo scenarios with the covariance of a Cholesky factor of standardised returns.

    Args:
        factor: lower triangle, in units of one.
        volatilities: of one bar, in 1e-9.
        student: tails of Student's t distribution in place of the normal one.
    """
    size = len(volatilities)
    rows = [[round(x * sigma) for x in row] for row, sigma in zip(factor, volatilities, strict=True)]
    fixed = np.array(points(size, student=student), np.int64)
    return np.clip(fixed @ np.array(rows).T // POINT_SCALE, -LARGEST_RETURN, LARGEST_RETURN)


class Answers:
    """A table made ready to be asked what books lose by it.

    Attributes:
        n: scenarios; 0 = too few for the level.
    """

    def __init__(self, table: Table, level_pct_e2: int, beside: Sequence[Sequence[int]] = ()) -> None:
        """Lay the table out.

        Args:
            table: scenarios by symbol, in 1e-9.
            level_pct_e2: 9900 = 99 %.
            beside: further rows by symbol, of which no order statistic is taken.
        """
        self.n = len(table)
        self._tail = tail(self.n, level_pct_e2)
        size = table.shape[1]
        rows = np.concatenate([table, np.array(beside, np.int64).reshape(len(beside), size)])
        self._columns = np.ascontiguousarray(rows.T.astype(np.float64))
        self._room = _EXACT_BITS - int(np.abs(rows).max(initial=1)).bit_length()

    def ask(self, books: Sequence[Sequence[int]], wanted: Sequence[int] = ()) -> list[tuple[int, int, list[int]]]:
        """What several books lose in one bar.

        Args:
            books: signed values by symbol, in the order of the columns, in the account's smallest unit.
            wanted: which of the further rows.

        Returns:
            For each book value at risk and expected shortfall, in the account's smallest unit times 1e9, and its
            product with each further row that is wanted.
        """
        shift = max(0, max(sum(map(abs, book)) for book in books).bit_length() - self._room)
        if shift:
            books = [[-(-v >> shift) if v > 0 else v >> shift for v in book] for book in books]
        products = np.array(books, np.float64) @ self._columns
        k, n = self._tail, self.n
        won = products[:, :n]
        won.partition(k - 1)
        found: list[tuple[int, int, list[int]]] = []
        for worst, further in zip(won[:, :k].tolist(), products[:, n:].tolist(), strict=True):
            mean = -(sum(map(int, worst)) // k)  # a loss, rounded up
            at_risk = -int(max(worst))
            beside = [int(further[i]) << shift for i in wanted]
            found.append((max(0, at_risk) << shift, max(0, mean) << shift, beside))
        return found


def worst_moves(table: Table, level_pct_e2: int) -> tuple[int, int]:
    """Of the symbol that moves most, up or down: the move of rank as in `losses`, and the mean from it on, in 1e-9."""
    k = tail(len(table), level_pct_e2)
    sizes = np.sort(np.abs(table), axis=0)[len(table) - k :]
    return int(sizes[0].max()), max(-(-sum(column) // k) for column in sizes.T.tolist())
