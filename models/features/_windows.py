"""Window operations that give the same bits for one row, from whatever history the row is computed.

Theory of operation. A row must not depend on how many rows were computed with it: no running sums over all history, no
reduction whose order follows the length of the input. So every operation combines whole shifted columns, element by
element, in a fixed tree: `window` doubles a block until it covers the width, about 2 log2(width) column operations.
Rows with too little history are NaN, since `shift` brings NaN in at the front and every merge carries it on.

Recursive indicators (Wilder's averages, exponential averages) become weighted means of a stated number of bars: the
weights are those of the recursion, cut off and normalised, so that nothing before the window counts at all.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Block = tuple[Floats, ...]
Merge = Callable[[Block, Block, int, int], Block]
"""Combines a block with the older block that ends right before it: (newer, older, values in newer, in older)."""


def shift(x: Floats, lag: int) -> Floats:
    """x[t - lag] at t; NaN where that is before the first bar."""
    out = np.empty(len(x))
    out[:lag] = np.nan
    out[lag:] = x[: max(0, len(x) - lag)]
    return out


def window(block: Block, width: int, merge: Merge) -> Block:
    """Combine the last `width` values at every t, by doubling.

    Args:
        block: what a window of one value is; shapes (n,).
        width: values in the window, at least 1.
        merge: an associative combination.
    """
    rows, size, offset, result = len(block[0]), 1, 0, None
    while True:
        if width & size:
            result = block if result is None else _joined(merge, result, block, offset, size)
            offset += size
        if size * 2 > width:
            assert result is not None
            return tuple(padded(part, rows) for part in result)
        block = _joined(merge, block, block, size, size)
        size *= 2


def padded(x: Floats, rows: int) -> Floats:
    """The newest values, shape (rows,), with NaN before them."""
    if len(x) == rows:
        return x
    out = np.empty(rows)
    out[: rows - len(x)] = np.nan
    out[rows - len(x) :] = x
    return out


def _joined(merge: Merge, newer: Block, older: Block, count: int, more: int) -> Block:
    """Merge blocks of `count` values with those of `more` values that end `count` bars earlier.

    The columns hold the newest rows alone, and lose as many at the front as they reach back.
    """
    rows = max(0, len(older[0]) - count)
    left = len(newer[0]) - rows
    return merge(tuple(part[left:] for part in newer), tuple(part[:rows] for part in older), count, more)


def total(x: Floats, width: int) -> Floats:
    """Sum of the last `width` values."""
    return window((x,), width, lambda newer, older, _n, _o: (newer[0] + older[0],))[0]


def mean(x: Floats, width: int) -> Floats:
    """Mean of the last `width` values."""
    return total(x, width) / width


def highest(x: Floats, width: int) -> Floats:
    """Largest of the last `width` values."""
    return window((x,), width, lambda newer, older, _n, _o: (np.maximum(newer[0], older[0]),))[0]


def lowest(x: Floats, width: int) -> Floats:
    """Smallest of the last `width` values."""
    return window((x,), width, lambda newer, older, _n, _o: (np.minimum(newer[0], older[0]),))[0]


def age_of_highest(x: Floats, width: int) -> Floats:
    """How many bars ago the largest of the last `width` values was; the newest of equals."""

    def merge(newer: Block, older: Block, count: int, _older: int) -> Block:
        largest = np.maximum(newer[0], older[0])
        # 0 * largest hands NaN on
        return largest, np.where(newer[0] >= older[0], newer[1], older[1] + count) + 0.0 * largest

    return window((x, 0.0 * x), width, merge)[1]


def ewma(x: Floats, width: int, decay: float) -> Floats:
    """Mean of the last `width` values with weights decay**age.

    It differs from the endless recursion by at most decay**width times the range that the values ever had.
    """
    weighted = window((x,), width, lambda newer, older, count, _o: (newer[0] + decay**count * older[0],))[0]
    return weighted * ((1.0 - decay) / (1.0 - decay**width))


def ema(x: Floats, period: int, width: int) -> Floats:
    """The exponential average of a period, alpha = 2 / (period + 1), over the last `width` values."""
    return ewma(x, width, 1.0 - 2.0 / (period + 1.0))


def wilder(x: Floats, period: int, width: int) -> Floats:
    """Wilder's average of a period (1978), alpha = 1 / period, over the last `width` values."""
    return ewma(x, width, 1.0 - 1.0 / period)


def variance(x: Floats, width: int) -> Floats:
    """Mean of squares about the window's mean, merged pairwise (Chan, Golub and LeVeque 1983), so free of cancellation.

    Multiply by width / (width - 1) for the sample variance.
    """

    def merge(newer: Block, older: Block, count: int, more: int) -> Block:
        apart = older[0] - newer[0]
        whole = count + more
        centre = newer[0] + apart * (more / whole)
        return centre, newer[1] + older[1] + apart * apart * (count * more / whole)

    return window((x, 0.0 * x), width, merge)[1] / width


def slope(x: Floats, width: int) -> Floats:
    """Least-squares slope of the last `width` values against time, a bar."""

    def merge(newer: Block, older: Block, count: int, _more: int) -> Block:
        return newer[0] + older[0], newer[1] + older[1] + count * older[0]

    plain, by_age = window((x, 0.0 * x), width, merge)
    middle = (width - 1) / 2.0
    return (middle * plain - by_age) * (12.0 / (width * (width * width - 1.0)))


def ratio(above: Floats, below: Floats) -> Floats:
    """Above over below, 0 where below is 0, NaN where either is."""
    empty = below == 0.0
    return np.where(empty, 0.0 * above, above / np.where(empty, 1.0, below))


def column_sum(rows: Floats) -> Floats:
    """Sum over the first axis, whose length is a power of two, by folding halves: the same tree for any width."""
    while len(rows) > 1:
        half = len(rows) // 2
        rows = rows[:half] + rows[half:]
    return rows[0]
