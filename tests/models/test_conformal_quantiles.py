"""Conformalised quantile regression: the paper's score, the exact rank, and what happens where limits cross."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.errors import DataError
from models.conformal import Aci, CqrCalibrator, CqrState, DtAci, cqr_score

VALUES = st.floats(-1e4, 1e4, allow_nan=False)


def test_the_score_is_negative_inside_zero_at_a_limit_and_grows_outside():
    assert cqr_score(100, 90, 120) == -10
    assert cqr_score(118, 90, 120) == -2
    assert cqr_score(120, 90, 120) == 0
    assert cqr_score(150, 90, 120, 10) == 3.0
    assert cqr_score(80, 90, 120, 0) == 10


def test_the_bands_are_the_ones_mapie_makes():
    from mapie.regression import ConformalizedQuantileRegressor
    from sklearn.base import BaseEstimator, RegressorMixin

    class Line(RegressorMixin, BaseEstimator):
        """Predicts x + shift: a quantile regressor that has been fitted already."""

        def __init__(self, shift=0.0):
            self.shift = shift

        def fit(self, inputs, targets):
            self.fitted_ = True
            return self

        def predict(self, inputs):
            return inputs[:, 0] + self.shift

    numbers = np.random.default_rng(8)
    for n, shift in ((60, 900), (251, 2500)):
        inputs = numbers.integers(100_000, 120_000, (n, 1)).astype(float)
        targets = inputs[:, 0] + np.round(numbers.standard_normal(n) * 1000)
        lines = [Line(move).fit(inputs, targets) for move in (-shift, shift, 0.0)]
        oracle = ConformalizedQuantileRegressor(lines, confidence_level=0.9, prefit=True)
        oracle.conformalize(inputs, targets)
        _, theirs = oracle.predict_interval(np.array([[110_000.0]]), symmetric_correction=True)
        scores = [
            cqr_score(int(y), int(x) - shift, int(x) + shift)
            for x, y in zip(inputs[:, 0], targets, strict=True)
        ]  # fmt: skip
        (ours,) = CqrCalibrator((900_000,), [scores]).interval([(110_000 - shift, 110_000 + shift)])
        assert (ours.lower_e5, ours.upper_e5) == (theirs[0, 0, 0], theirs[0, 1, 0])


def test_quantiles_too_wide_shrink_and_those_too_narrow_grow():
    (band,) = CqrCalibrator((900_000,), [[-4.0] * 20]).interval([(90, 120)])
    assert (band.lower_e5, band.upper_e5) == (94, 116)
    (band,) = CqrCalibrator((900_000,), [[0.35] * 20]).interval([(90, 120)], 10)
    assert (band.lower_e5, band.upper_e5) == (86, 124)


def test_limits_that_cross_are_an_empty_set_told_as_zero_width_and_counted():
    online = CqrCalibrator((900_000,), [[-20.0] * 20])
    (band,) = online.interval([(90, 120)])
    assert (band.lower_e5, band.upper_e5, band.bounded, online.empty) == (105, 105, True, 1)


def test_too_few_scores_give_the_whole_line():
    online = CqrCalibrator((900_000, 500_000), [[1.0] * 8, [1.0] * 8])
    wide, slim = online.interval([(90, 120), (100, 110)])
    assert (wide.bounded, slim.bounded, online.unbounded) == (False, True, 1)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(VALUES, min_size=1, max_size=30), st.lists(VALUES, min_size=1, max_size=30), st.integers(0, 50),
    st.sampled_from([lambda a: Aci(a, 0.05), DtAci]),
)  # fmt: skip
def test_a_higher_level_holds_a_lower_one_and_a_restored_one_goes_on_bit_for_bit(wide, slim, half, method):
    levels = (900_000, 500_000)
    online = CqrCalibrator(levels, [wide, slim], method=method, capacity=20)
    pairs = [(100 - 2 * half, 100 + 2 * half), (100 - half, 100 + half)]
    again = CqrCalibrator.restore(msgspec.json.decode(msgspec.json.encode(online.state()), type=CqrState))
    for value in (*wide, *slim):
        outer, inner = bands = online.interval(pairs, 3)
        assert again.interval(pairs, 3) == bands
        assert inner.bounded or not outer.bounded
        assert not outer.bounded or outer.lower_e5 <= inner.lower_e5 <= inner.upper_e5 <= outer.upper_e5
        ticket = online.ticket()
        for each in (online, again):
            each.update((value, value), (value < 0, value < 5), ticket)
    assert again.state() == online.state()


def test_coverage_is_nominal_whatever_the_quantiles_were():
    numbers = np.random.default_rng(2)
    for shift in (200, 1500, 4000):
        held = []
        online = CqrCalibrator((900_000,), capacity=400)
        for step, move in enumerate(np.round(numbers.standard_normal(4000) * 1000).astype(int).tolist()):
            pair = (110_000 - shift, 110_000 + shift)
            (band,) = online.interval([pair])
            held.append(not band.bounded or band.lower_e5 <= 110_000 + move <= band.upper_e5)
            online.update((cqr_score(110_000 + move, *pair),), (held[-1],))
            assert step < 20 or band.bounded
        assert np.mean(held[100:]) == pytest.approx(0.9, abs=0.015)


def test_what_is_no_score_and_what_does_not_fit_is_refused():
    online = CqrCalibrator((900_000,), [[-1.0] * 20])
    before = online.state()
    for bad in (math.nan, math.inf, -math.inf):
        with pytest.raises(DataError, match="finite"):
            online.update((bad,), (True,))
    assert online.state() == before
    with pytest.raises(ValueError, match="one sequence a level"):
        CqrCalibrator((900_000, 500_000), [[1.0]])
    with pytest.raises(DataError, match="contradicts"):
        CqrCalibrator.restore(msgspec.structs.replace(before, scores=()))
