"""Bars become rows of returns: alignment, missing bars, and independence of the order of telling."""

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.values import NS_PER_HOUR
from risk.portfolio.history import FLOOR, LARGEST_RETURN, LARGEST_SCORE, WARM, History
from tests.harness.basket import closes

TWO = ("EURUSD", "GBPUSD")


def told(history, *bars):
    for symbol, hour, close in bars:
        history.note(symbol, hour * NS_PER_HOUR, close)
    history.settle()
    return [row.returns for row in history.rows]


def test_a_row_waits_for_every_symbol_and_no_longer_than_the_next_bar():
    history = History(TWO, 50)
    assert told(history, ("EURUSD", 0, 100_000)) == []
    assert told(history, ("GBPUSD", 0, 200_000)) == [(0, 0)]
    assert told(history, ("EURUSD", 1, 101_000)) == [(0, 0)]
    assert told(history, ("EURUSD", 2, 101_000)) == [(0, 0), (10_000_000, 0)]


def test_a_missing_bar_is_a_price_that_stood_and_the_next_bar_brings_the_whole_move():
    history = History(TWO, 50)
    rows = told(history, ("EURUSD", 0, 100_000), ("GBPUSD", 0, 100_000), ("EURUSD", 1, 101_000),
                ("EURUSD", 2, 101_000), ("GBPUSD", 2, 110_000))  # fmt: skip
    assert rows == [(0, 0), (10_000_000, 0), (0, 100_000_000)]


def test_a_missing_bar_says_nothing_about_volatility_and_does_not_count_as_known():
    whole, holed = History(TWO, 100), History(TWO, 100)
    line = closes(60, TWO)
    for n in range(60):
        for history in (whole, holed):
            history.note("EURUSD", n * NS_PER_HOUR, line["EURUSD"][n])
            if history is whole or n < 40:
                history.note("GBPUSD", n * NS_PER_HOUR, line["GBPUSD"][n])
            history.settle()
    at_40 = History(TWO, 100)
    for n in range(40):
        for symbol in TWO:
            at_40.note(symbol, n * NS_PER_HOUR, line[symbol][n])
    at_40.settle()
    assert holed.volatility("GBPUSD") == at_40.volatility("GBPUSD")
    assert holed.bars("GBPUSD") == 40 - WARM - 1
    assert whole.bars("GBPUSD") == 60 - WARM - 1


@settings(max_examples=25, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(30, 90))
def test_rows_depend_on_the_bars_and_not_on_who_told_first(source, count):
    line = closes(count, ("EURUSD", "GBPUSD", "USDJPY"), seed=source.randrange(1000))
    bars = [(s, n, line[s][n]) for n in range(count) for s in line if source.random() > 0.1]
    straight = History(tuple(line), 100)
    for bar in bars:
        told(straight, bar)
    by_symbol = History(tuple(line), 100)
    told(by_symbol, *sorted(bars))
    shuffled = list(bars)
    source.shuffle(shuffled)
    anyhow = History(tuple(line), 100)
    for bar in shuffled:
        told(anyhow, bar)
    for other in (by_symbol, anyhow):
        assert list(other.rows) == list(straight.rows)
        assert [other.volatility(s) for s in line] == [straight.volatility(s) for s in line]
        assert [other.bars(s) for s in line] == [straight.bars(s) for s in line]


def test_a_bar_told_twice_an_unknown_symbol_and_an_impossible_price_change_nothing():
    history = History(TWO, 50)
    told(history, ("EURUSD", 0, 100_000), ("GBPUSD", 0, 100_000))
    before = list(history.rows)
    told(history, ("EURUSD", 0, 999_999), ("XXXYYY", 1, 5), ("EURUSD", 1, 0), ("GBPUSD", 1, -7))
    assert list(history.rows) == before


def test_memory_is_bounded():
    history = History(TWO, 50)
    for n in range(500):
        told(history, ("EURUSD", n, 100_000 + n), ("GBPUSD", n, 100_000))
    assert len(history.rows) == 50
    assert history.count == 500
    assert history.bars("EURUSD") == 50
    assert len(history._of["EURUSD"].closes) == 50 + WARM + 1


def test_volatility_is_the_weighted_root_mean_square_of_the_returns_before():
    source = random.Random(3)
    price, line = 1_000_000, []
    for _ in range(80):
        price = round(price * (1 + source.gauss(0, 0.002)))
        line.append(price)
    history = History(("EURUSD",), 100)
    for n, close in enumerate(line):
        told(history, ("EURUSD", n, close))
    returns = [b / a - 1 for a, b in pairwise(line)]
    weights = [0.985 ** (len(returns) - 1 - i) for i in range(len(returns))]
    expected = (sum(w * r * r for w, r in zip(weights, returns, strict=True)) / sum(weights)) ** 0.5
    assert history.volatility("EURUSD") == pytest.approx(expected * 1e9, rel=1e-5)
    last = history.rows[-1]
    weights = weights[1:]
    before = (sum(w * r * r for w, r in zip(weights, returns[:-1], strict=True)) / sum(weights)) ** 0.5
    assert last.scores[0] == pytest.approx(1e6 * returns[-1] / before, rel=1e-5)


def test_a_price_that_never_moves_and_one_that_leaps_stay_within_bounds():
    history = History(TWO, 50)
    for n in range(40):
        told(history, ("EURUSD", n, 100_000), ("GBPUSD", n, 1 if n % 2 else 20_000_000_000_000))
    assert history.volatility("EURUSD") == FLOOR
    assert all(abs(x) <= LARGEST_RETURN for row in history.rows for x in row.returns)
    assert all(abs(x) <= LARGEST_SCORE for row in history.rows for x in row.scores)
    told(history, ("EURUSD", 40, 200_000), ("GBPUSD", 40, 5))
    assert history.rows[-1].scores[0] == LARGEST_SCORE
