"""Special functions agree with scipy's over the whole range that statistics here use."""

import pytest
import scipy.special as theirs
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from bus.special import beta_cdf, beta_quantile, chi2_sf, clopper_pearson, gamma_upper

EXPONENTS = st.floats(-1.0, 5.5)


@settings(max_examples=300, deadline=None)
@given(EXPONENTS, EXPONENTS, st.floats(1e-12, 1.0))  # scipy's own inverse is lost further out
def test_the_incomplete_beta_function_is_scipys(log_a, log_b, share):
    a, b = 10**log_a, 10**log_b
    x = float(theirs.betaincinv(a, b, share))
    assert beta_cdf(x, a, b) == pytest.approx(float(theirs.betainc(a, b, x)), rel=1e-7, abs=1e-12)


@settings(max_examples=300, deadline=None)
@given(EXPONENTS, st.floats(0.0, 4.0))
def test_the_incomplete_gamma_function_is_scipys(log_a, factor):
    a = 10**log_a
    x = a * factor
    assert gamma_upper(a, x) == pytest.approx(float(theirs.gammaincc(a, x)), rel=1e-7, abs=1e-300)


@settings(max_examples=100, deadline=None)
@given(st.floats(0.0, 200.0), st.integers(1, 60))
def test_tails_of_chi_squared_are_scipys(x, freedom):
    assert chi2_sf(x, freedom) == pytest.approx(float(chi2.sf(x, freedom)), rel=1e-8, abs=1e-300)


@settings(max_examples=100, deadline=None)
@given(st.floats(0.5, 1e4), st.floats(0.5, 1e4), st.floats(0.001, 0.999))
def test_quantiles_invert(a, b, share):
    assert beta_cdf(beta_quantile(share, a, b), a, b) == pytest.approx(share, abs=1e-9)


def test_a_fraction_of_a_success_lies_between_its_neighbours():
    low, high = clopper_pearson(45.5, 50)
    assert clopper_pearson(45, 50)[0] < low < clopper_pearson(46, 50)[0]
    assert clopper_pearson(45, 50)[1] < high < clopper_pearson(46, 50)[1]


def test_parameters_that_are_none_are_refused():
    for call in (lambda: beta_cdf(0.5, 0.0, 1.0), lambda: gamma_upper(0.0, 1.0), lambda: gamma_upper(1.0, -1.0)):
        with pytest.raises(ValueError, match="positive"):
            call()
