"""The regime features are the forward algorithm they say, and tell a wild market from a calm one."""

import math

import numpy as np
import pytest

from models import features
from models.columns import from_series
from models.features.regimes import CALM, LEAVE_CALM, LEAVE_WILD, STEPS, WILD
from tests.harness.markets import made_up_bars
from tests.harness.processes import bars_of

NAMES = ("slow_return", "slow_range", "regime_wild", "regime_surprise")


def normal(z, deviation):
    return math.exp(-0.5 * (z / deviation) ** 2) / (deviation * math.sqrt(2.0 * math.pi))


def test_the_filter_is_the_forward_algorithm_step_by_step():
    rows = features.compute(from_series(made_up_bars(600, 4)), NAMES)
    moves, wild, surprise = rows[:, 0], rows[:, 2], rows[:, 3]
    for bar in (300, 411, 599):
        share = LEAVE_CALM / (LEAVE_CALM + LEAVE_WILD)
        probability, predicted = share, 0.0
        for z in moves[bar - STEPS + 1 : bar + 1]:
            predicted = probability * (1.0 - LEAVE_WILD) + (1.0 - probability) * LEAVE_CALM
            is_wild, is_calm = predicted * normal(z, WILD), (1.0 - predicted) * normal(z, CALM)
            probability = is_wild / (is_wild + is_calm)
        assert wild[bar] == pytest.approx(probability, rel=1e-9)
        predicted = wild[bar - 1] * (1.0 - LEAVE_WILD) + (1.0 - wild[bar - 1]) * LEAVE_CALM
        density = predicted * normal(moves[bar], WILD) + (1.0 - predicted) * normal(moves[bar], CALM)
        assert surprise[bar] == pytest.approx(-math.log(density), rel=1e-9)


def test_a_range_is_held_against_those_of_the_same_hour_of_the_days_before():
    bars = made_up_bars(400, 4)
    told = features.compute(from_series(bars), ("range_to_usual",))[:, 0]
    ranges = np.maximum(np.log(bars.high_e5 / bars.low_e5), 1e-6)
    for row in (192, 300, 399):
        before = [math.log(ranges[row - 24 * day]) for day in range(1, 9)]
        assert told[row] == pytest.approx(math.log(ranges[row]) - sum(before) / 8.0)
    assert np.isnan(told[:192]).all()


def test_a_longer_memory_would_say_the_same():
    """The cut at 128 bars is no approximation that anybody would notice."""
    rows = features.compute(from_series(made_up_bars(1500, 4)), NAMES)
    moves, wild = rows[:, 0], rows[:, 2]
    probability, apart = LEAVE_CALM / (LEAVE_CALM + LEAVE_WILD), 0.0
    for bar in range(100, 1500):
        predicted = probability * (1.0 - LEAVE_WILD) + (1.0 - probability) * LEAVE_CALM
        is_wild, is_calm = predicted * normal(moves[bar], WILD), (1.0 - predicted) * normal(moves[bar], CALM)
        probability = is_wild / (is_wild + is_calm)
        if bar >= 300:
            apart = max(apart, abs(probability - wild[bar]))
    assert apart < 1e-4


def test_planted_wild_days_are_seen_soon_and_forgotten_soon():
    random = np.random.default_rng(2)
    wild = np.zeros(4000, bool)
    for start in range(400, 3900, 300):
        wild[start : start + 48] = True
    returns = random.standard_normal(4000) * np.where(wild, 2.5, 1.0)
    told = features.compute(from_series(bars_of(returns)), NAMES)[:, 2]
    soon, quiet = np.zeros(4000, bool), ~wild
    quiet[:300] = False
    for start in range(400, 3900, 300):
        soon[start + 6 : start + 36] = True
        quiet[start + 48 : start + 72] = False
    # later in a long wild spell the slow volatility has risen too, and wild is less out of the ordinary
    assert (told[soon] > 0.5).mean() > 0.75
    assert (told[quiet] > 0.5).mean() < 0.15


def test_extreme_and_silent_bars_give_finite_numbers():
    quiet = bars_of(np.r_[np.zeros(400), 900.0, np.zeros(300), -900.0, np.zeros(300)])
    told = features.compute(from_series(quiet), NAMES)[features.startup(NAMES) :]
    assert np.isfinite(told).all()
    assert told[:, 0].max() == 12.0
    assert ((told[:, 2] >= 0.0) & (told[:, 2] <= 1.0)).all()
