"""Dimensions: what may be written, where it stands, and what a grid makes of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.errors import ConfigError
from models.contract import space_of
from models.learning import Learning
from models.nets import architectures, known
from models.space import Real, Whole, Word, check_parameters, divided

REAL = Real(name="r", low=0.01, high=100.0, default=1.0, log=True)
WHOLE = Whole(name="n", low=8, high=64, default=16, step=8)
WORD = Word(name="w", choices=("a", "b"), default="b", section="training")
EVERY = [(name, each) for name, net in architectures(known()).items() for each in space_of(net)]


@pytest.mark.parametrize(
    ("dimension", "value", "says"),
    [
        (REAL, 0.001, "r = 0.001: write a number from 0.01 to 100"),
        (REAL, float("nan"), "write a number"),
        (REAL, True, "write a number"),
        (REAL, "1", "write a number"),
        (WHOLE, 12, "n = 12: write a whole number from 8 to 64 in steps of 8"),
        (WHOLE, 16.0, "write a whole number"),
        (WHOLE, True, "write a whole number"),
        (WHOLE, 72, "write a whole number"),
        (WORD, "c", "w = 'c': write one of a, b"),
        (WORD, 1, "write one of a, b"),
    ],
)
def test_what_a_dimension_does_not_have_is_refused_with_what_it_has(dimension, value, says):
    with pytest.raises(ConfigError, match=says):
        dimension.of({dimension.name: value})


def test_what_is_given_counts_and_else_the_default():
    assert [each.of({}) for each in (REAL, WHOLE, WORD)] == [1.0, 16, "b"]
    assert [each.of({"r": 2, "n": 64, "w": "a"}) for each in (REAL, WHOLE, WORD)] == [2.0, 64, "a"]


@given(st.integers(1, 30))
def test_a_grid_keeps_within_bounds_and_holds_the_ends(points):
    for dimension in (REAL, WHOLE, WORD, *(each for _, each in EVERY)):
        values = dimension.grid(points)
        assert len(set(values)) == len(values)
        assert all(dimension.check(value) == value for value in values)
        if points > 1 and not isinstance(dimension, Word):
            assert (values[0], values[-1]) == (dimension.low, dimension.high)


def test_values_are_told_apart_by_where_they_stand():
    assert divided((REAL, WORD), {"r": 2.0, "w": "a"}) == ({"r": 2.0}, {"w": "a"})


def test_a_parameter_is_refused_where_it_does_not_belong():
    for given_, says in (
        ({"w": "a"}, r"parameters\.net\.w stands in \[training\]"),
        ({"q": 1}, r"parameters\.net\.q is no parameter of net; it has r, n"),
        ({"n": 9}, r"parameters\.net\.n = 9: write a whole number"),
    ):
        with pytest.raises(ConfigError, match=says):
            check_parameters("net", (REAL, WHOLE, WORD), given_)
    check_parameters("net", (REAL, WHOLE, WORD), {"r": 3.0, "n": 64})


def test_every_forecaster_has_a_space_whose_defaults_lie_within():
    assert {name for name, _ in EVERY} == set(known()) - {"autoencoder"}
    for name, each in EVERY:
        assert each.check(each.default) == each.default, (name, each.name)
        assert each.about, (name, each.name)
        if each.section == "training":
            assert each.name in Learning.__struct_fields__
