"""Swings: what a pivot is, when it is known, and that it never changes after."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.pivots import Pivot, zigzag

CANDLES = st.lists(
    st.tuples(st.integers(1, 40), st.integers(0, 8), st.integers(0, 8), st.integers(0, 16)), min_size=1, max_size=120
).map(lambda rows: [(low + down + up, low, low + min(place, down + up)) for low, down, up, place in rows])
"""(high, low, close) of small numbers, so that equal prices are common."""


def zigzag_of(candles, reversal=5.0):
    highs, lows, closes = (list(column) for column in zip(*candles, strict=True))
    return zigzag(highs, lows, closes, [reversal] * len(candles))


def line(*closes):
    return [(close, close, close) for close in closes]


START = line(20, 12, 18)
BOTTOM = Pivot(bar=1, price=12, top=False, known=2)


def test_a_top_is_known_at_the_close_that_lies_a_reversal_below_it_and_not_before():
    market = [*START, *line(19, 16, 15, 14, 13)]
    top = Pivot(bar=3, price=19, top=True, known=6)
    assert zigzag_of(market) == (BOTTOM, top)
    assert zigzag_of(market[:7]) == (BOTTOM, top)
    assert zigzag_of(market[:6]) == (BOTTOM,)


def test_extremes_are_wicks_but_only_a_close_confirms():
    spike, wick, close = (25, 17, 18), (24, 11, 22), (21, 19, 20)
    assert zigzag_of([*START, spike, wick]) == (BOTTOM,)
    assert zigzag_of([*START, spike, wick, close]) == (BOTTOM, Pivot(bar=3, price=25, top=True, known=5))


def test_a_bar_that_makes_a_new_high_confirms_no_top_itself():
    outside = (30, 13, 14)
    assert zigzag_of([*START, outside]) == (BOTTOM,)
    top = Pivot(bar=3, price=30, top=True, known=4)
    assert zigzag_of([*START, outside, (15, 14, 14)]) == (BOTTOM, top)


def test_the_first_turn_is_left_out_since_nothing_says_what_came_before():
    assert zigzag_of(line(20, 19, 18, 12, 11)) == ()
    assert zigzag_of(line(10, 14, 18, 12)) == (Pivot(bar=2, price=18, top=True, known=3),)
    assert zigzag_of(line(14, 18, 12, 18)) == (Pivot(bar=2, price=12, top=False, known=3),)


def test_tops_and_bottoms_alternate_on_a_wave():
    wave = line(*([10, 15, 20, 15] * 6))
    pivots = zigzag_of(wave)
    assert [one.top for one in pivots] == [bool(n % 2) for n in range(1, len(pivots) + 1)]
    assert [one.bar for one in pivots] == list(range(2, 2 + 2 * len(pivots), 2))
    assert all(one.known == one.bar + 1 for one in pivots)


@given(CANDLES)
def test_later_bars_never_change_a_pivot_that_is_known(candles):
    pivots = zigzag_of(candles)
    for bars in range(1, len(candles)):
        assert zigzag_of(candles[:bars]) == tuple(one for one in pivots if one.known < bars)


@given(CANDLES)
def test_the_market_upside_down_has_the_same_swings_upside_down(candles):
    mirrored = [(100 - low, 100 - high, 100 - close) for high, low, close in candles]
    assert zigzag_of(mirrored) == tuple(
        Pivot(one.bar, 100 - one.price, not one.top, one.known) for one in zigzag_of(candles)
    )


@given(CANDLES)
def test_every_pivot_is_an_extreme_with_a_reversal_on_both_sides(candles):
    pivots = zigzag_of(candles)
    for number, one in enumerate(pivots):
        sign = 1 if one.top else -1
        reach = [sign * (high if one.top else low) for high, low, _ in candles]
        closes = [sign * close for _, _, close in candles]
        assert reach[one.bar] == sign * one.price
        assert reach[one.bar] == max(reach[one.bar : one.known + 1])
        turned = [bar for bar in range(one.bar + 1, one.known + 1) if reach[one.bar] - closes[bar] >= 5]
        assert turned[-1] == one.known
        if number:
            before = pivots[number - 1]
            # known at the first such close, but a bar makes known one pivot at most
            assert [bar for bar in turned if bar > before.known] == [one.known]
            assert before.top != one.top
            assert before.bar < one.bar
            assert reach[one.bar] == max(reach[before.bar + 1 : one.known + 1])
            assert sign * (one.price - before.price) >= 5


@given(CANDLES, st.integers(0, 60))
def test_where_bars_begin_matters_to_the_first_swings_only(candles, cut):
    cut = min(cut, len(candles) - 1)
    whole, part = zigzag_of(candles), zigzag_of(candles[cut:])
    shifted = [one._replace(bar=one.bar + cut, known=one.known + cut) for one in part]
    assert set(shifted[1:]) <= set(whole)  # the first one looks past the bar it begins with


def test_bars_without_a_reversal_are_passed_over_and_a_market_that_stands_still_has_no_swings():
    market = line(20, 12, 19, 13, 20, 12)
    highs = [high for high, _, _ in market]
    assert zigzag(highs, highs, highs, [0.0] * 6) == ()
    late = zigzag(highs, highs, highs, [0.0, 0.0, 0.0, 5.0, 5.0, 5.0])
    assert late == (Pivot(bar=4, price=20, top=True, known=5),)
    assert zigzag(highs, highs, highs, [5.0] * 6)[-1:] == late
    assert zigzag([], [], [], []) == ()
    assert zigzag_of(line(*[7] * 50)) == ()


@pytest.mark.parametrize("factor", [3, 100])
def test_swings_are_free_of_scale(factor):
    market = line(20, 12, 19, 13, 20, 12, 30, 22)
    scaled = [tuple(factor * value for value in candle) for candle in market]
    assert zigzag_of(scaled, 5.0 * factor) == tuple(one._replace(price=factor * one.price) for one in zigzag_of(market))
