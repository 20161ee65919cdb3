"""Shrinkage, factor and components against the libraries that others trust."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from risk.portfolio.covariance import Products, cholesky, principal
from risk.portfolio.points import FREEDOM, PAIRS, POINT_SCALE, points

ONE = 1_000_000


def rows_of(n, p, seed=1, common=0.7):
    source = np.random.default_rng(seed)
    shared = source.normal(size=(n, 1))
    return np.rint(ONE * (common * shared + source.normal(size=(n, p)) * np.linspace(0.5, 1.5, p))).astype(int)


@pytest.mark.parametrize(("n", "p"), [(30, 10), (120, 10), (500, 10), (60, 2), (15, 25)])
def test_the_shrunk_covariance_is_that_of_ledoit_and_wolf(n, p):
    from sklearn.covariance import LedoitWolf

    rows = rows_of(n, p)
    products = Products(p)
    for row in rows.tolist():
        products.add(row)
    matrix, share = products.shrunk()
    oracle = LedoitWolf(assume_centered=True).fit(rows / ONE)
    assert share == pytest.approx(oracle.shrinkage_, rel=1e-9)
    assert np.allclose(matrix, oracle.covariance_, rtol=1e-9, atol=1e-12)


def test_a_row_that_goes_out_leaves_no_trace():
    rows = rows_of(300, 6).tolist()
    rolling, fresh = Products(6), Products(6)
    for n, row in enumerate(rows):
        rolling.add(row)
        if n >= 100:
            rolling.add(rows[n - 100], -1)
    for row in rows[-100:]:
        fresh.add(row)
    assert rolling.n == 100
    assert rolling.shrunk() == fresh.shrunk()


@pytest.mark.parametrize("rows", [[], [[0, 0, 0]] * 40, [[5, 0, 0]] * 40, [[7, 7, 7]] * 40])
def test_rows_that_say_little_still_give_a_covariance(rows):
    products = Products(3)
    for row in rows:
        products.add(row)
    matrix, share = products.shrunk()
    assert 0 <= share <= 1
    lower = np.array(cholesky(matrix)).reshape(len(matrix), len(matrix))
    assert np.allclose(lower @ lower.T, np.array(matrix).reshape(lower.shape), atol=1e-15)


def test_one_symbol_is_not_shrunk():
    products = Products(1)
    for x in (1, -2, 3):
        products.add([x * ONE])
    assert products.shrunk() == ([[pytest.approx(14 / 3)]], 0.0)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(0, 10_000))
def test_factor_and_components_are_those_of_linear_algebra(p, seed):
    source = np.random.default_rng(seed)
    root = source.normal(size=(p, p)) * source.uniform(0.01, 10, size=(p, 1))
    matrix = (root @ root.T).tolist()
    scale = np.abs(matrix).max()
    lower = np.array(cholesky(matrix))
    assert np.allclose(lower @ lower.T, matrix, atol=1e-9 * scale)
    found = principal(matrix)
    values = np.array([value for value, _ in found])
    vectors = np.array([vector for _, vector in found])
    assert np.allclose(values, np.linalg.eigvalsh(matrix)[::-1], atol=1e-10 * scale)
    assert np.allclose(vectors @ vectors.T, np.eye(p), atol=1e-10)
    assert np.allclose(vectors.T * values @ vectors, matrix, atol=1e-9 * scale)
    assert all(max(vector, key=abs) > 0 for vector in vectors)


def test_points_are_the_same_for_ever():
    import hashlib

    sums = [hashlib.sha256(repr(points(10, student=student)).encode()).hexdigest()[:16] for student in (False, True)]
    assert sums == POINTS_SHA256


def test_points_have_mean_zero_unit_variance_and_no_correlation_to_speak_of():
    table = np.array(points(10)) / POINT_SCALE
    assert table.shape == (2 * PAIRS, 10)
    assert (table.sum(axis=0) == 0).all()
    assert np.abs(np.cov(table.T) - np.eye(10)).max() < 0.002


def test_points_with_tails_are_those_of_student():
    from scipy.stats import t

    table = np.array(points(8, student=True)) / POINT_SCALE
    sizes = np.sort(np.abs(table).ravel())
    for share in (0.5, 0.9, 0.99):
        expected = t.ppf((1 + share) / 2, FREEDOM) / (FREEDOM / (FREEDOM - 2)) ** 0.5
        assert np.quantile(sizes, share) == pytest.approx(expected, rel=0.06)


def test_the_rotation_order_does_not_depend_on_the_scale():
    source = random.Random(4)
    rows = [[source.gauss(0, 1) for _ in range(5)] for _ in range(5)]
    matrix = [[sum(a * b for a, b in zip(x, y, strict=True)) for y in rows] for x in rows]
    larger = [[x * 1024.0 for x in row] for row in matrix]
    for (value, vector), (scaled, same) in zip(principal(matrix), principal(larger), strict=True):
        assert scaled == value * 1024.0
        assert same == vector


POINTS_SHA256 = ["50bc28ff09864b14", "ec18c59acc76ac02"]
