"""No label that a part was learnt from reaches into the next, whatever the gaps in the market."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bus.errors import DataError
from models.validate.windows import expanding

HOUR = 3_600 * 10**9


def times(n, ahead, seed):
    """Closes with weekend-like holes; the label of a row ends `ahead` closes later."""
    steps = np.random.default_rng(seed).choice([1, 1, 1, 1, 50], n + ahead)
    closes = np.cumsum(steps).astype(np.int64) * HOUR
    return closes[:n], closes[ahead:]


@settings(max_examples=150, deadline=None)
@given(st.integers(200, 900), st.integers(1, 40), st.integers(1, 6), st.integers(0, 30), st.integers(0, 99))
def test_parts_stand_in_order_with_a_purge_and_an_embargo_between_them(n, ahead, count, embargo, seed):
    known, ends = times(n, ahead, seed)
    start = 2 * n // 3
    try:
        folds = list(expanding(known, ends, start=start, count=count, embargo_ns=embargo * HOUR))
    except DataError:
        assume(False)
        raise
    assert [row for fold in folds for row in fold.test] == list(range(start, n))
    for fold in folds:
        parts = (fold.fit, fold.validation, fold.calibration, fold.test)
        for older, newer in pairwise(parts):
            assert ends[older[-1]] + embargo * HOUR < known[newer[0]]
            # nothing is thrown away beyond that: one row more would have reached in
            assert ends[older[-1] + 1] >= known[newer[0]] - embargo * HOUR
        assert fold.fit[0] == 0
    sizes = [len(fold.fit) for fold in folds]
    assert sizes == sorted(sizes)


def test_what_was_tested_is_learnt_from_later_and_only_then():
    known, ends = times(1000, 5, 1)
    folds = list(expanding(known, ends, start=400, count=6))
    for number, fold in enumerate(folds):
        learnt = {*fold.fit, *fold.validation, *fold.calibration}
        assert not learnt & {row for later in folds[number:] for row in later.test}
    assert {*folds[-1].fit} & {*folds[0].test}


def test_on_an_even_clock_the_gap_is_the_horizon_and_the_embargo_in_rows():
    """A label may end on the bar before the next part, not on its first."""
    closes = np.arange(1, 706, dtype=np.int64) * HOUR
    known, ends = closes[:700], closes[5:]
    (fold,) = expanding(known, ends, start=500, count=1, embargo_ns=3 * HOUR)
    assert fold.calibration == range(400, 500 - 5 - 3)
    assert fold.validation == range(320, 400 - 5 - 3)
    assert fold.fit == range(320 - 5 - 3)
    assert fold.test == range(500, 700)


def test_what_cannot_be_cut_is_refused():
    known, ends = times(300, 5, 2)
    for wrong in ({"start": 0, "count": 1}, {"start": 300, "count": 1}, {"start": 200, "count": 0},
                  {"start": 295, "count": 6}, {"start": 200, "count": 1, "embargo_ns": -1}):  # fmt: skip
        with pytest.raises(DataError, match="cannot be"):
            list(expanding(known, ends, **wrong))
    with pytest.raises(DataError, match="leave none"):
        list(expanding(known, ends, start=60, count=1, embargo_ns=10**6 * HOUR))
