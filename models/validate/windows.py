"""Expanding windows: what may be learnt from before each stretch of history that is tested.

Theory of operation. The tested bars are cut into consecutive windows; before each, everything older is there to learn
from, in the order fit | validation | calibration | test. A row is a forecast: known at a bar's close, its label ends at
a later one. Between neighbouring parts stands a gap: no label of a part ends later than the embargo before the first
row of the next is known (purge and embargo, Lopez de Prado 2018, chapter 7). Time decides, not row counts, so a label
that spans a weekend is purged as one. What a window was tested on belongs to the next window's training once its labels
have resolved; nothing that is tested is ever in training at the same time or later.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bus.errors import DataError
from models.columns import Ints

CALIBRATION_SHARE = 0.2
"""Of the rows before a window: the newest, for scores of intervals alone."""
VALIDATION_SHARE = 0.2
"""Of the rows before calibration: the newest, which decide when to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """Rows of each part, oldest part first; each part's rows are consecutive."""

    fit: range
    validation: range
    calibration: range
    test: range


def expanding(known_ns: Ints, label_end_ns: Ints, *, start: int, count: int, embargo_ns: int = 0) -> Iterator[Fold]:
    """Cut rows into folds.

    Args:
        known_ns: when each row's forecast is issued, strictly increasing, shape (n,).
        label_end_ns: when each row's last label has come, increasing, shape (n,).
        start: the first row that is tested; all from it on are, each once.
        count: windows, as even as they can be.
        embargo_ns: between the last label of a part and the first row of the next.

    Raises:
        DataError: fewer tested rows than windows, a negative embargo, or no row left for a part.
    """
    n = len(known_ns)
    if not 0 < start < n or count < 1 or n - start < count or embargo_ns < 0:
        raise DataError(f"{n} rows tested from {start} on in {count} windows, embargo {embargo_ns} ns; it cannot be")

    def last(first_of_next: int) -> int:
        """Behind the newest row whose labels had come in time for a part that starts there."""
        return int(np.searchsorted(label_end_ns, known_ns[first_of_next] - embargo_ns, side="left"))

    edges = np.linspace(start, n, count + 1).astype(np.int64).tolist()
    for first, stop in pairwise(edges):
        calibration_stop = last(first)
        calibration_first = first - round(first * CALIBRATION_SHARE)
        validation_stop = last(calibration_first)
        validation_first = calibration_first - round(calibration_first * VALIDATION_SHARE)
        fold = Fold(
            fit=range(last(validation_first)),
            validation=range(validation_first, validation_stop),
            calibration=range(calibration_first, calibration_stop),
            test=range(first, stop),
        )
        if not (fold.fit and fold.validation and fold.calibration):
            raise DataError(
                f"{first} rows before a tested window leave none for a part between purges and embargoes; give more "
                "data, shorter horizons, or a shorter embargo"
            )
        yield fold
