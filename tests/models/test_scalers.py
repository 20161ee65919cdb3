"""Scalers bring features to one size, know their training rows alone, and come back from JSON to the bit."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bus.errors import ModelError
from models.scalers import LIMIT, fit, from_json, to_json

KINDS = ("standard", "robust", "quantile")
each_kind = pytest.mark.parametrize("kind", KINDS)
numbers = st.floats(-1e9, 1e9, allow_nan=False, width=64)
tables = arrays(np.float64, st.tuples(st.integers(1, 60), st.integers(1, 4)), elements=numbers)


@each_kind
@given(inputs=tables, seed=st.integers(0, 1000))
def test_what_is_read_back_scales_to_the_same_bits(kind, inputs, seed):
    scaler = fit(kind, inputs)
    again = from_json(to_json(scaler))
    fresh = np.random.default_rng(seed).normal(0, 10.0 ** (seed % 12), (20, inputs.shape[1]))
    assert again(fresh).tobytes() == scaler(fresh).tobytes()
    assert again(inputs).tobytes() == scaler(inputs).tobytes()
    assert to_json(again) == to_json(scaler)
    assert again.kind == kind


@each_kind
@given(inputs=tables)
def test_it_keeps_order_and_stays_within_its_limit(kind, inputs):
    scaler = fit(kind, inputs)
    assert len(scaler) == inputs.shape[1]
    scaled = scaler(np.sort(inputs, axis=0))
    assert (np.abs(scaled) <= LIMIT).all()
    assert (np.diff(scaled, axis=0) >= 0).all()


@each_kind
@given(inputs=tables, row=st.integers(0, 59))
def test_a_row_is_scaled_alike_alone_and_among_others(kind, inputs, row):
    scaler = fit(kind, inputs)
    row %= len(inputs)
    assert scaler(inputs[row : row + 1]).tobytes() == scaler(inputs)[row : row + 1].tobytes()


@each_kind
def test_a_feature_that_never_varied_is_switched_off(kind):
    inputs = np.stack([np.full(50, 3.0), np.arange(50.0)], axis=1)
    scaler = fit(kind, inputs)
    assert scaler(np.array([[99.0, 25.0], [-1e9, 25.0]]))[:, 0].tolist() == [0.0, 0.0]
    assert scaler(np.array([[3.0, 1e9]]))[0, 1] > 1.0
    assert np.isnan(scaler(np.array([[3.0, np.nan]]))[0, 1])


@each_kind
def test_normal_numbers_become_standard_normal_ones(kind):
    inputs = 40 + 7 * np.random.default_rng(1).standard_normal((5000, 1))
    scaled = fit(kind, inputs)(inputs)
    assert np.median(scaled) == pytest.approx(0, abs=0.05)
    assert np.diff(np.quantile(scaled, (0.16, 0.84)))[0] == pytest.approx(2, abs=0.08)


def test_the_standard_scaler_takes_mean_and_deviation():
    inputs = np.random.default_rng(1).gamma(1.0, 3.0, (500, 2))
    scaled = fit("standard", inputs, limit=1e9)(inputs)
    assert scaled.mean(axis=0) == pytest.approx(0)
    assert scaled.std(axis=0) == pytest.approx(1)


def test_wild_rows_bend_the_robust_and_the_quantile_scaler_less_than_the_standard_one():
    calm = np.random.default_rng(1).standard_normal((1000, 1))
    wild = calm.copy()
    wild[::100] = 1e6
    moved = {kind: np.abs(fit(kind, wild)(calm) - fit(kind, calm)(calm)).mean() for kind in KINDS}
    assert max(moved["robust"], moved["quantile"]) < 0.1 < 0.5 < moved["standard"]


def test_the_quantile_scaler_gives_normal_scores_whatever_the_distribution():
    inputs = np.exp(3 * np.random.default_rng(1).standard_normal((4000, 1)))
    scaled = np.sort(fit("quantile", inputs)(inputs)[:, 0])
    assert scaled[[400, 2000, 3600]] == pytest.approx([-1.2816, 0.0, 1.2816], abs=0.05)


def test_a_flag_keeps_two_values_in_every_kind():
    flag = (np.arange(1000) % 10 == 0).astype(float)[:, None]
    for kind in KINDS:
        scaled = fit(kind, flag)(flag)
        assert len(np.unique(scaled)) == 2
        assert scaled[0, 0] > scaled[1, 0]


@each_kind
def test_no_rows_and_numbers_that_are_not_finite_are_refused(kind):
    for inputs in (np.empty((0, 2)), np.array([[1.0, np.nan]]), np.array([[np.inf]]), np.ones(3)):
        with pytest.raises(ModelError, match="inputs of shape"):
            fit(kind, inputs)


@pytest.mark.parametrize(
    ("kind", "change", "says"),
    [
        ("standard", lambda s: s.update(schema=2), "schema 2"),
        ("standard", lambda s: s.update(surprise=1), "surprise"),
        ("standard", lambda s: s.update(kind="quantile"), "quantile"),
        ("standard", lambda s: s.update(form="magic"), "magic"),
        ("standard", lambda s: s.update(limit=0), "limit"),
        ("robust", lambda s: s["centre"].append(1.0), "3 centres and 2 gains"),
        ("robust", lambda s: s["gain"].__setitem__(0, -1.0), "gains"),
        ("robust", lambda s: s["gain"].__setitem__(0, None), "gain"),
        ("quantile", lambda s: s["knots"].pop(), "rise together"),
        ("quantile", lambda s: s["knots"][0].pop(), "rise together"),
        ("quantile", lambda s: s["knots"][0].reverse(), "rise together"),
        ("quantile", lambda s: s["scores"][1].reverse(), "rise together"),
        ("quantile", lambda s: (s["scores"][1].clear(), s["knots"][1].clear()), "rise together"),
    ],
)
def test_json_that_cannot_be_a_scaler_is_refused_with_the_reason(kind, change, says):
    state = json.loads(to_json(fit(kind, np.random.default_rng(1).standard_normal((50, 2)))))
    change(state)
    with pytest.raises(ModelError, match=says):
        from_json(json.dumps(state).encode())
    with pytest.raises(ModelError, match="not understood"):
        from_json(b"\xff{")
