"""Sharpe ratios and their deflation are the published formulas, and hold what they promise on returns we made up."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bus.errors import DataError
from models.performance import (
    Sharpe,
    deflated_sharpe,
    luckiest_sharpe,
    max_drawdown,
    pesaran_timmermann,
    probabilistic_sharpe,
    sharpe,
)


def measured(ratio, n, skew=0.0, kurtosis=3.0):
    return Sharpe(n=n, per_period=ratio, annual=0.0, low=0.0, high=0.0, skew=skew, kurtosis=kurtosis)


def autocorrelated(random, n, rho):
    shocks = random.standard_normal(n)
    out = np.empty(n)
    out[0] = shocks[0]
    for step in range(1, n):
        out[step] = rho * out[step - 1] + math.sqrt(1 - rho**2) * shocks[step]
    return out


def test_independent_returns_grow_with_the_square_root_of_time():
    returns = 0.1 + np.random.default_rng(1).standard_normal(200_000)
    found = sharpe(returns, 256)
    assert found.per_period == pytest.approx(0.1, abs=0.01)
    assert found.annual == pytest.approx(16 * found.per_period, rel=0.02)
    assert (found.skew, found.kurtosis) == pytest.approx((stats.skew(returns), stats.kurtosis(returns) + 3))


def test_lo_takes_back_what_autocorrelation_lends():
    """An AR(1) of 0.3: a year's mean over a year's deviation is 1 / sqrt((1 + rho) / (1 - rho)) of the naive figure."""
    returns = 0.1 + autocorrelated(np.random.default_rng(2), 400_000, 0.3)
    found = sharpe(returns, 250)
    years = returns.reshape(-1, 250).sum(axis=1)
    assert found.annual == pytest.approx(years.mean() / years.std(), rel=0.05)
    assert found.annual == pytest.approx(found.per_period * math.sqrt(250 * 0.7 / 1.3), rel=0.02)


def test_a_sample_that_swings_back_is_not_annualised_to_more():
    returns = 0.1 + autocorrelated(np.random.default_rng(3), 5000, -0.5)
    found = sharpe(returns, 250)
    assert found.annual == pytest.approx(found.per_period * math.sqrt(250))


@pytest.mark.parametrize("rho", [0.0, 0.3])
def test_the_interval_holds_the_true_ratio_about_as_often_as_it_says(rho):
    random = np.random.default_rng(4)
    held = 0
    for _ in range(300):
        returns = 0.05 + autocorrelated(random, 1500, rho)
        found = sharpe(returns, 250)
        factor = found.annual / found.per_period
        held += found.low / factor <= 0.05 <= found.high / factor
    assert 0.90 * 300 <= held <= 0.985 * 300


def test_what_has_no_ratio_says_so():
    assert sharpe(np.zeros(100), 250) is None
    assert sharpe(np.arange(19.0), 250) is None
    for bad in ((np.full(30, np.nan), 250.0), (np.arange(30.0), 0.5)):
        with pytest.raises(DataError):
            sharpe(*bad)


def test_the_probabilistic_ratio_is_the_published_example():
    """Bailey and Lopez de Prado 2012, hedge fund of 24 months: SR 0.458, skew -2.448, kurtosis 10.164 gives 0.913."""
    assert probabilistic_sharpe(measured(0.458, 24, -2.448, 10.164)) == pytest.approx(0.913, abs=2e-3)
    assert probabilistic_sharpe(measured(0.458, 24)) == pytest.approx(0.982, abs=2e-3)


def test_the_deflated_ratio_is_the_published_example():
    """Bailey and Lopez de Prado 2014: 2.5 a year, 100 trials of variance 1/2, five years of days: about 0.90."""
    daily, variance = 2.5 / math.sqrt(250), 0.5 / 250
    assert luckiest_sharpe(variance, 100) == pytest.approx(0.1132, abs=2e-4)
    assert deflated_sharpe(measured(daily, 1250, -3.0, 10.0), variance, 100) == pytest.approx(0.9004, abs=1e-3)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 5000), st.floats(1e-6, 1.0))
def test_more_trials_never_make_a_ratio_look_better(trials, variance):
    found = measured(0.1, 500, -0.2, 4.0)
    assert luckiest_sharpe(variance, trials + 1) > luckiest_sharpe(variance, trials) > 0.0
    assert deflated_sharpe(found, variance, trials) <= probabilistic_sharpe(found)
    assert deflated_sharpe(found, variance, 1) == probabilistic_sharpe(found)


def test_the_luckiest_of_worthless_trials_is_about_what_the_formula_expects():
    random = np.random.default_rng(5)
    best = np.mean([random.standard_normal(200).max() for _ in range(4000)])
    assert luckiest_sharpe(1.0, 200) == pytest.approx(best, rel=0.02)
    with pytest.raises(DataError, match="0 trials"):
        luckiest_sharpe(1.0, 0)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30))
def test_the_drawdown_is_the_largest_fall_between_any_two_moments(returns):
    curve = [0.0, *np.cumsum(returns).tolist()]
    falls = [before - after for place, before in enumerate(curve) for after in curve[place:]]
    assert max_drawdown(np.array(returns)) == pytest.approx(max(falls), abs=1e-12)


def test_directions_that_know_nothing_are_not_told_from_chance_and_those_that_do_are():
    random = np.random.default_rng(6)
    rejected = 0
    for _ in range(400):
        came = np.where(random.random(500) < 0.6, 1.0, -1.0)
        called = np.where(random.random(500) < 0.8, 1.0, -1.0)
        rejected += pesaran_timmermann(called, came) < 0.05
    assert 0.02 * 400 <= rejected <= 0.09 * 400
    knows = np.where(random.random(500) < 0.7, came, -came)
    assert pesaran_timmermann(knows, came) < 1e-4
    assert pesaran_timmermann(knows, came, overlap=100) > 0.05
    assert pesaran_timmermann(np.ones(500), came) is None
    assert pesaran_timmermann(np.ones(1), np.ones(1)) is None
