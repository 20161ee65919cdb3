"""What a book may lose: against closed forms, and the properties that a risk measure must have."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.values import NS_PER_HOUR, default_instrument
from risk.policies.portfolio import METHODS, PortfolioLimits
from risk.portfolio.model import Portfolio
from risk.portfolio.scenarios import Answers, tail
from tests.harness.basket import PAIRS, closes, learnt, loss

METHOD = pytest.mark.parametrize("method", METHODS)
VALUES = st.integers(-(10**9), 10**9)
BOOKS = st.fixed_dictionaries(dict.fromkeys(PAIRS, VALUES))
_KNOWN = {}


def known(method="filtered"):
    if method not in _KNOWN:
        _KNOWN[method] = learnt(method=method)
    return _KNOWN[method]


@METHOD
def test_of_gaussian_returns_the_loss_is_that_of_the_normal_distribution(method):
    """z(99 %) = 2.3263, and the mean beyond it is phi(z) / 1 % = 2.6652 standard deviations."""
    portfolio = learnt(1_600, ("EURUSD", "GBPUSD", "USDJPY"), method=method, window_bars=1_500, horizon_bars=4)
    book = {"EURUSD": 10_000_000, "GBPUSD": 5_000_000, "USDJPY": -7_000_000}
    # variance by currency: 10 of EUR, 5 of GBP, 7 of JPY, and -10 - 5 - 7 of USD
    sigma = 0.001 / 2**0.5 * (10**2 + 5**2 + 7**2 + 22**2) ** 0.5 * 1e6 * 4**0.5
    found = loss(portfolio, book)
    assert portfolio.bars == 1_500
    if method == "student":
        sigma *= 3.7469 / 2**0.5 / 2.3263  # the quantile of Student's t with 4 degrees, at unit variance
        assert found.value_at_risk == pytest.approx(2.3263 * sigma, rel=0.2)
        assert found.shortfall > 1.2 * found.value_at_risk
        return
    # the volatility of now is an estimate itself: 46 bars of half-life leave a part of it to chance
    assert found.value_at_risk == pytest.approx(2.3263 * sigma, rel=0.08 if method == "historical" else 0.2)
    assert found.shortfall == pytest.approx(found.value_at_risk * 2.6652 / 2.3263, rel=0.06)


@pytest.mark.parametrize(("method", "quantile", "mean"), [("normal", 2.3263, 2.6652), ("student", 2.6495, 3.6915)])
def test_monte_carlo_agrees_with_the_closed_form_for_the_same_covariance(method, quantile, mean):
    """Student's t with 4 degrees at unit variance: 3.7469 and 5.2206, both over the root of 2."""
    portfolio = known(method)
    source = random.Random(2)
    ratios = []
    for _ in range(100):
        book = {symbol: source.randrange(-(10**7), 10**7) for symbol in PAIRS}
        sigma = [portfolio.history.volatility(symbol) / 1e9 for symbol in PAIRS]
        weights = np.array([book[s] * x for s, x in zip(PAIRS, sigma, strict=True)])
        exact = float(weights @ np.array(portfolio._covariance) @ weights) ** 0.5 * 24**0.5
        found = loss(portfolio, book)
        ratios.append((found.value_at_risk / exact, found.shortfall / exact))
    assert np.mean(ratios, axis=0) == pytest.approx([quantile, mean], rel=0.04)
    assert np.std(ratios, axis=0).max() < (0.1 if method == "normal" else 0.3)


@settings(max_examples=60, deadline=None)
@given(BOOKS, BOOKS, st.sampled_from(METHODS))
def test_expected_shortfall_is_subadditive(one, other, method):
    portfolio = known(method)
    both = {symbol: one[symbol] + other[symbol] for symbol in PAIRS}
    together, first, second = portfolio.measure([both, one, other])
    # one part in four billion is lost where books are measured in coarser units, and one unit to rounding
    assert together.shortfall <= (first.shortfall + second.shortfall) * (1 + 1e-7) + 1


@settings(max_examples=60, deadline=None)
@given(BOOKS, st.integers(1, 50), st.sampled_from(METHODS))
def test_a_book_n_times_as_large_loses_n_times_as_much(book, n, method):
    portfolio = known(method)
    one, many = portfolio.measure([book, {symbol: n * value for symbol, value in book.items()}])
    assert many.value_at_risk == pytest.approx(n * one.value_at_risk, rel=1e-6, abs=n)
    assert many.shortfall == pytest.approx(n * one.shortfall, rel=1e-6, abs=n)
    assert one.shortfall >= one.value_at_risk >= 0


@METHOD
def test_the_order_of_symbols_does_not_matter(method):
    prices = closes(400)
    order = list(PAIRS)
    random.Random(5).shuffle(order)
    straight, mixed = known(method), learnt(prices={s: prices[s] for s in order}, symbols=order, method=method)
    book = {symbol: (n - 4) * 1_000_000 for n, symbol in enumerate(PAIRS)}
    if method in {"filtered", "historical"}:
        assert loss(mixed, book) == loss(straight, book)
    else:  # other symbols get other coordinates of the points
        assert loss(mixed, book).value_at_risk == pytest.approx(loss(straight, book).value_at_risk, rel=0.15)
    assert {s: dict(near) for s, near in mixed.correlations.items()} == {
        s: dict(near) for s, near in straight.correlations.items()
    }
    assert [f.share_ppm for f in mixed.factors] == [f.share_ppm for f in straight.factors]


@METHOD
def test_a_hedge_lowers_the_loss_and_the_opposite_of_a_position_ends_it(method):
    portfolio = known(method)
    naked = loss(portfolio, {"EURUSD": 10_000_000})
    hedged = loss(portfolio, {"EURUSD": 10_000_000, "GBPUSD": -5_000_000})
    worse = loss(portfolio, {"EURUSD": 10_000_000, "GBPUSD": 5_000_000})
    assert hedged.value_at_risk < naked.value_at_risk < worse.value_at_risk
    assert loss(portfolio, {"EURUSD": 0}) == loss(portfolio, {})
    assert loss(portfolio, {}).value_at_risk == 0


def ask(table, level):
    return [found[:2] for found in Answers(table, level).ask([[1]])]


def test_the_loss_has_the_rank_that_makes_the_promise():
    table = np.arange(-99, 1).reshape(-1, 1).astype(np.int64)  # losses 0 to 99, and n + 1 = 101
    assert tail(100, 9_900) == 1
    assert ask(table, 9_900) == [(99, 99)]
    assert tail(100, 9_500) == 5  # rank ceil(0.95 * 101) = 96, so the losses 95 to 99
    assert ask(table, 9_500) == [(95, 97)]
    assert tail(98, 9_900) == 0
    assert tail(99, 9_900) == 1


def test_the_rank_keeps_its_promise_on_exchangeable_losses():
    source = np.random.default_rng(8)
    broken = 0
    for _ in range(4_000):
        table = source.integers(-(10**6), 10**6, (120, 1))
        ((at_risk, _),) = ask(table[:-1], 9_500)
        broken += -int(table[-1, 0]) > at_risk
    assert broken / 4_000 == pytest.approx(0.05, abs=0.01)  # 119 scenarios: exactly 5 %


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(PAIRS), st.integers(-(2 * 10**13), 2 * 10**13), max_size=10))
def test_huge_books_are_measured_to_a_part_in_a_million(book):
    portfolio = known()
    exact = [sum(value * int(x) for value, x in zip([book.get(s, 0) for s in PAIRS], row, strict=True))
             for row in portfolio._answers._columns[:, : portfolio.bars].T.tolist()]  # fmt: skip
    worst = sorted(exact)[tail(len(exact), 9_900) - 1]
    expected = max(0, -worst) / 1e9 * 24**0.5
    unit = sum(map(abs, book.values())) * 1e-8  # four billion units to the whole book
    assert loss(portfolio, book).value_at_risk == pytest.approx(expected, rel=1e-5, abs=2 + unit)


@METHOD
def test_one_symbol_and_a_price_that_never_moves_can_be_measured(method):
    alone = learnt(300, ("EURUSD",), method=method)
    assert loss(alone, {"EURUSD": 10_000_000}).value_at_risk > 0
    assert [(f.name, f.share_ppm) for f in alone.factors] == [("EUR", 1_000_000)]
    prices = closes(300, ("EURUSD", "GBPUSD"))
    prices["GBPUSD"] = [1_000_000] * 300
    still = learnt(prices=prices, symbols=tuple(prices), method=method)
    assert still.measured == ("EURUSD", "GBPUSD")
    assert loss(still, {"GBPUSD": 10_000_000}).value_at_risk < loss(still, {"EURUSD": 1_000_000}).value_at_risk
    assert still.correlation_ppm("EURUSD", "GBPUSD") == 0
    dead = learnt(prices={"EURUSD": [1_000_000] * 300}, symbols=("EURUSD",), method=method)
    assert loss(dead, {"EURUSD": 10_000_000}).value_at_risk == 0
    assert dead.factors[0].share_ppm in {0, 1_000_000}


def test_nothing_is_said_before_enough_bars_are_known():
    assert learnt(140).measure([{}]) is None
    assert learnt(140).ready is False
    assert learnt(141).ready is True


def test_a_symbol_without_history_counts_as_the_wildest_and_hedges_nothing():
    prices = closes(300, ("EURUSD", "GBPUSD", "USDJPY"))
    prices["USDJPY"] = [0] * 200 + prices["USDJPY"][200:]
    portfolio = learnt(prices=prices, symbols=tuple(prices))
    assert portfolio.measured == ("EURUSD", "GBPUSD")
    naked = loss(portfolio, {"EURUSD": 10_000_000})
    moves = [{s: side * 10_000_000} for s in ("EURUSD", "GBPUSD") for side in (1, -1)]
    wildest = max(each.value_at_risk for each in portfolio.measure(moves))
    for side in (1, -1):
        found = loss(portfolio, {"EURUSD": 10_000_000, "USDJPY": side * 10_000_000})
        assert found.value_at_risk >= naked.value_at_risk + 0.8 * wildest
    assert loss(portfolio, {"XXXYYY": 10_000_000}) == loss(portfolio, {"USDJPY": -10_000_000})


def test_a_symbol_that_falls_silent_is_measured_no_longer():
    prices = closes(600, ("EURUSD", "GBPUSD"))
    prices["GBPUSD"] = prices["GBPUSD"][:200]
    portfolio = learnt(prices=prices, symbols=tuple(prices))
    assert portfolio.measured == ("EURUSD",)


def test_a_symbol_that_is_missing_more_often_than_not_is_not_measured():
    prices = closes(600, ("EURUSD", "GBPUSD"))
    for share, known in ((3, ("EURUSD",)), (1, ("EURUSD", "GBPUSD"))):
        line = [close if n % share == 0 else 0 for n, close in enumerate(prices["GBPUSD"])]
        portfolio = learnt(prices=prices | {"GBPUSD": line}, symbols=("EURUSD", "GBPUSD"))
        assert portfolio.history.bars("GBPUSD") >= 120
        assert portfolio.measured == known


def test_a_symbol_that_begins_late_is_not_thought_to_have_stood_still():
    prices = closes(500, ("EURUSD", "GBPUSD"))
    late = dict(prices, GBPUSD=[0] * 300 + prices["GBPUSD"][300:])
    both, begun = (learnt(prices=each, symbols=tuple(prices), level_pct_e2=9_000) for each in (prices, late))
    assert begun.measured == both.measured
    assert begun.bars < both.bars
    book = {"GBPUSD": 10_000_000}
    assert loss(begun, book).value_at_risk == pytest.approx(loss(both, book).value_at_risk, rel=0.25)


@METHOD
def test_what_is_known_depends_on_the_bars_and_not_on_who_told_first(method):
    prices = closes(400)
    by_time = known(method)
    by_symbol = Portfolio([default_instrument(s) for s in PAIRS], PortfolioLimits(method=method))
    for symbol, line in prices.items():
        for n, close in enumerate(line):
            by_symbol.note(symbol, n * NS_PER_HOUR, close)
    by_symbol.settle()
    book = {symbol: (n - 4) * 1_000_000 for n, symbol in enumerate(PAIRS)}
    assert loss(by_symbol, book) == loss(by_time, book)
    assert by_symbol.correlations == by_time.correlations
    assert by_symbol.factors == by_time.factors


def test_sums_that_roll_equal_sums_made_anew():
    prices = closes(700)
    rolled = learnt(prices=prices, window_bars=200)
    rolled._begin(rolled.measured, rolled.history.since("EURUSD"))
    before = (rolled._covariance, sorted(rolled._answers._columns.T.tolist()))
    rolled._take()
    rolled._work_out()
    assert (rolled._covariance, sorted(rolled._answers._columns.T.tolist())) == before
    assert rolled.bars == 200


def test_filtered_scenarios_follow_the_volatility_and_historical_ones_do_not():
    def wild(n):
        return 3 if n > 370 else 1

    prices = closes(400, wild=wild)
    calm, storm = known(), learnt(prices=prices)
    book = {"EURUSD": 10_000_000}
    assert loss(storm, book).value_at_risk > 2 * loss(calm, book).value_at_risk
    old_calm, old_storm = known("historical"), learnt(prices=prices, method="historical")
    assert loss(old_storm, book).value_at_risk < 2.5 * loss(old_calm, book).value_at_risk


def test_the_first_component_of_dollar_pairs_is_the_dollar():
    portfolio = learnt(500, ("EURUSD", "GBPUSD", "AUDUSD", "NZDUSD", "USDCAD"))
    first = portfolio.factors[0]
    assert first.name == "USD"
    assert 500_000 < first.share_ppm < 800_000
    all_against = {"EURUSD": 10**7, "GBPUSD": 10**7, "AUDUSD": 10**7, "NZDUSD": 10**7, "USDCAD": -(10**7)}
    mixed = {"EURUSD": 10**7, "GBPUSD": -(10**7)}
    assert portfolio.factor_losses(mixed) == list(loss(portfolio, mixed).factors)
    assert portfolio.factor_losses(all_against)[0] > 20 * portfolio.factor_losses(mixed)[0]


def test_what_moves_together_counts_together_and_what_is_opposite_against_it():
    prices = closes(400, ("EURUSD", "GBPUSD", "USDJPY"))
    prices["GBPUSD"] = prices["EURUSD"]
    portfolio = learnt(prices=prices, symbols=tuple(prices))
    book = {"EURUSD": 10_000_000, "GBPUSD": 10_000_000, "USDJPY": 3_000_000}
    weight = portfolio.correlation_ppm("EURUSD", "GBPUSD") / 1e6
    assert weight > 0.95
    for symbol in ("EURUSD", "GBPUSD"):
        together, hedged = portfolio.measure([book, book | {"GBPUSD": -10_000_000}], symbol)
        assert together.together == pytest.approx(10_000_000 * (1 + weight), abs=2)
        assert hedged.together < 1_000_000
    assert portfolio.measure([book], "USDJPY")[0].together == 3_000_000
    assert portfolio.measure([book], "XXXYYY")[0].together == 0
