"""What a portfolio says, worked out again from its rows with whole numbers and the libraries that others trust."""

import math
import random
from fractions import Fraction

import numpy as np
import pytest

from bus.values import NS_PER_HOUR, default_instrument
from risk.policies.portfolio import METHODS, PortfolioLimits
from risk.portfolio.covariance import cholesky
from risk.portfolio.history import WARM
from risk.portfolio.model import Factor, Measure, Portfolio
from risk.portfolio.scenarios import Answers, drawn, worst_moves
from tests.harness.basket import closes, learnt

THREE = ("EURUSD", "GBPUSD", "USDJPY")
WINDOW = {"window_bars": 100, "min_bars": 60, "level_pct_e2": 9_000}


def up(value):
    return math.ceil(Fraction(value))


def root_of(portfolio):
    return Fraction(math.isqrt(portfolio.limits.horizon_bars * 10**12), 10**6)


def shrunk_of(portfolio):
    """Covariance and shrinkage of the scores that the portfolio has learnt, by the formula of Ledoit and Wolf."""
    rows = list(portfolio.history.rows)[-portfolio.bars :]
    columns = [portfolio.history.symbols.index(symbol) for symbol in portfolio.measured]
    scores = np.array([[row.scores[i] for i in columns] for row in rows]) / 1e6
    n, p = scores.shape
    sample = scores.T @ scores / n
    target = np.trace(sample) / p * np.eye(p)
    distance = ((sample - target) ** 2).sum()
    noise = sum(((np.outer(row, row) - sample) ** 2).sum() for row in scores) / n**2
    share = min(distance, noise) / distance if p > 1 else 0.0
    return share * target + (1 - share) * sample, share


@pytest.fixture(scope="module", params=METHODS)
def known(request):
    """Three pairs of four are measured; of the last no bar was ever told."""
    limits = {"horizon_bars": 7, "correlated_above_pct": 30, "method": request.param} | WINDOW
    return learnt(190, prices=closes(190, THREE), instruments=(*THREE, "AUDUSD"), **limits)


def scenarios(portfolio):
    rows = list(portfolio.history.rows)[-portfolio.bars :]
    volatilities = [portfolio.history.volatility(symbol) for symbol in THREE]
    match portfolio.limits.method:
        case "historical":
            return [list(row.returns[:3]) for row in rows]
        case "filtered":
            return [[x * sigma // 10**6 for x, sigma in zip(row.scores[:3], volatilities, strict=True)] for row in rows]
        case method:
            covariance, _ = shrunk_of(portfolio)
            factor = cholesky(covariance.tolist())
            return drawn(factor, volatilities, student=method == "student").tolist()


def test_a_book_may_lose_what_its_scenarios_say_over_the_root_of_the_horizon(known):
    assert (known.measured, known.bars, known.ready) == (THREE, 100, True)
    table, root = scenarios(known), root_of(known)
    k = len(table) + 1 - up(Fraction(9_000 * (len(table) + 1), 10_000))
    sizes = [sorted(map(abs, column), reverse=True)[:k] for column in zip(*table, strict=True)]
    wildest, mean = max(size[-1] for size in sizes), max(up(Fraction(sum(size), k)) for size in sizes)
    books = [
        {"EURUSD": 1_000_000, "GBPUSD": -300_000, "USDJPY": 77_777},
        {"USDJPY": -5_000_001},
        {},
        {"EURUSD": 1_000_000, "AUDUSD": -400_000, "XXXYYY": 300_000},
    ]
    exact = known.limits.method in {"historical", "filtered"}
    for book, found in zip(books, known.measure(books), strict=True):
        values = [book.get(symbol, 0) for symbol in THREE]
        losses = sorted((-sum(v * x for v, x in zip(values, row, strict=True)) for row in table), reverse=True)
        others = sum(abs(value) for symbol, value in book.items() if symbol not in THREE)
        at_risk = max(0, losses[k - 1]) + others * wildest
        shortfall = max(0, up(Fraction(sum(losses[:k]), k))) + others * mean
        wanted = up(at_risk * root / 10**9), up(shortfall * root / 10**9)
        if exact:
            assert (found.value_at_risk, found.shortfall) == wanted
        else:  # the factor is scikit-learn's to the last digits but some
            assert (found.value_at_risk, found.shortfall) == pytest.approx(wanted, abs=1, rel=1e-6)
        assert found.together == 0, "nobody asked"


def test_what_moves_together_and_each_component_are_products_with_the_book(known):
    root = root_of(known)
    book = {"EURUSD": 1_000_000, "GBPUSD": -3_000_001, "USDJPY": 77_777, "AUDUSD": 9}
    values = {symbol: book[symbol] for symbol in THREE}
    for symbol in (*THREE, "AUDUSD", ""):
        (found,) = known.measure([book], symbol)
        groups = [known.correlations[other] for other, _ in known.correlations.get(symbol, ())]
        sums = [abs(sum(values[other] * ppm for other, ppm in group)) for group in groups]
        assert found.together == up(Fraction(max(sums, default=0), 10**6))
        losses = [abs(sum(v * x for v, x in zip(values.values(), factor.loadings, strict=True)))
                  for factor in known.factors]  # fmt: skip
        assert found.factors == tuple(up(x * root / 10**9) for x in losses)
        assert known.factor_losses({"EURUSD": 1_000_000, "GBPUSD": -3_000_001, "USDJPY": 77_777}) == list(found.factors)
    assert known.factor_losses({}) == [0, 0, 0]
    assert known.names == tuple(factor.name for factor in known.factors)
    assert len(known.names) == 3


def test_correlations_and_components_are_those_of_the_shrunk_covariance(known):
    covariance, shrinkage = shrunk_of(known)
    assert known.shrinkage_ppm == pytest.approx(1e6 * shrinkage, abs=0.51)
    deviations = np.sqrt(np.diag(covariance))
    plain = covariance / np.outer(deviations, deviations)
    for i, one in enumerate(THREE):
        for j, other in enumerate(THREE):
            assert known.correlation_ppm(one, other) == pytest.approx(1e6 * plain[i, j], abs=0.51)
        near = [(other, known.correlation_ppm(one, other)) for j, other in enumerate(THREE) if abs(plain[i, j]) >= 0.3]
        assert known.correlations[one] == tuple(near)
    assert list(known.correlations) == list(THREE)
    sigma = np.array([known.history.volatility(symbol) for symbol in THREE]) / 1e9
    values, vectors = np.linalg.eigh(covariance * np.outer(sigma, sigma))
    for rank, factor in enumerate(known.factors):
        value, vector = values[-1 - rank], vectors[:, -1 - rank]
        vector = vector * np.sign(vector[np.argmax(np.abs(vector))])
        assert factor.share_ppm == pytest.approx(1e6 * value / values.sum(), abs=0.51)
        assert factor.loadings == pytest.approx(1e9 * math.sqrt(value) * vector, abs=0.51)
        e, g, j = vector
        moved = {"EUR": e, "GBP": g, "JPY": -j, "USD": j - e - g}
        assert abs(moved[factor.name]) == pytest.approx(max(map(abs, moved.values())))


def test_only_what_moves_together_by_the_bound_is_a_group_and_a_symbol_moves_with_itself():
    prices = closes(190, THREE)
    portfolio = learnt(prices=prices, symbols=THREE, correlated_above_pct=100, factor_pct_e2=0, **WINDOW)
    assert portfolio.correlations == {symbol: ((symbol, 1_000_000),) for symbol in THREE}
    (found,) = portfolio.measure([{"EURUSD": -7, "GBPUSD": 10**9}], "EURUSD")
    assert (found.together, found.factors) == (7, ())
    assert portfolio.names == ()
    assert len(portfolio.factors) == 3, "worked out when somebody asks"
    assert portfolio.names == tuple(factor.name for factor in portfolio.factors)


def test_what_moves_together_by_a_little_less_than_the_bound_is_no_group():
    """Of the twins each moves with the other by 93.9 %: at 93 they are one group, at 94 they are two."""
    prices = closes(190, THREE)
    prices["GBPUSD"] = [close + (n * 7919 % 13 - 6) * 20 for n, close in enumerate(prices["EURUSD"])]
    for bound, group in ((93, ["EURUSD", "GBPUSD"]), (94, ["EURUSD"])):
        portfolio = learnt(prices=prices, symbols=THREE, correlated_above_pct=bound, **WINDOW)
        assert 931_000 < portfolio.correlation_ppm("EURUSD", "GBPUSD") < 940_000
        assert [symbol for symbol, _ in portfolio.correlations["EURUSD"]] == group


def test_a_component_is_called_by_the_currency_that_it_moves_most_and_of_equals_by_the_first():
    for symbols, name in ((("USDJPY",), "JPY"), (("EURUSD",), "EUR"), (("EURUSD", "GBPUSD"), "USD")):
        portfolio = learnt(190, symbols, **WINDOW)
        assert portfolio.factors[0].name == name


def test_components_of_a_calm_market_have_their_shares_as_well():
    prices = closes(190, THREE, sigma=0.0001)
    calm = learnt(prices=prices, symbols=THREE, **WINDOW)
    assert sum(factor.share_ppm for factor in calm.factors) == pytest.approx(1_000_000, abs=2)


def test_of_many_symbols_three_components_are_told_and_the_lower_limits_level_has_other_ranks():
    symbols = (*THREE, "AUDUSD", "USDCAD")
    portfolio = learnt(prices=closes(190, symbols), symbols=symbols, **(WINDOW | {"level_pct_e2": 8_000}))
    assert len(portfolio.factors) == len(portfolio.names) == 3
    assert sum(factor.share_ppm for factor in portfolio.factors) < 1_000_000
    table = portfolio._recent.filtered([portfolio.history.volatility(symbol) for symbol in symbols])
    (wanted,) = Answers(table, 8_000).ask([[10**6, 0, 0, 0, 0]])
    (found,) = portfolio.measure([{"EURUSD": 10**6}])
    assert found.value_at_risk == up(wanted[0] * root_of(portfolio) / 10**9)
    (other,) = portfolio.measure([{"XXXYYY": 10**6}])
    assert other.value_at_risk == up(worst_moves(table, 8_000)[0] * 10**6 * root_of(portfolio) / 10**9)


def test_prices_that_never_move_have_no_correlation_but_with_themselves():
    still = {"EURUSD": [1_000_000] * 190, "GBPUSD": [2_000_000] * 190}
    portfolio = learnt(prices=still, symbols=("EURUSD", "GBPUSD"), **WINDOW)
    found = [portfolio.correlation_ppm(one, other) for one in still for other in still]
    assert found == [1_000_000, 0, 0, 1_000_000]
    nothing = Factor(name="EUR", share_ppm=0, loadings=(0, 0))
    assert portfolio.factors[0] == nothing
    assert portfolio.measure([{"EURUSD": 10**9}], "EURUSD") == [Measure(0, 0, 10**9, (0, 0))]


def test_before_anything_is_measured_nothing_is_said():
    portfolio = Portfolio([default_instrument("EURUSD")], PortfolioLimits())
    portfolio.settle()
    assert (portfolio.ready, portfolio.bars, portfolio.measured, portfolio.names) == (False, 0, (), ())
    assert (portfolio.correlations, portfolio.shrinkage_ppm, portfolio.measure([{}])) == ({}, 0, None)
    assert portfolio.factors == ()
    assert portfolio.factor_losses({"EURUSD": 1}) == []


def test_a_symbol_is_measured_while_enough_and_most_of_its_bars_are_there():
    """One symbol is always there, one half of the time and one begins late; the rule is applied anew to all rows."""
    source = random.Random(12)
    prices = closes(420, THREE)
    there = {
        "EURUSD": [True] * 420,
        "GBPUSD": [n < 90 or source.random() < (0.35 if 130 < n < 240 else 0.56) for n in range(420)],
        "USDJPY": [n > 150 and n not in range(330, 390) for n in range(420)],
    }
    limits = {"window_bars": 100, "min_bars": 50, "level_pct_e2": 8_000}
    portfolio = Portfolio([default_instrument(each) for each in THREE], PortfolioLimits(**limits))
    changes, before, boundary = 0, (), 0
    for n in range(420):
        for symbol in THREE:
            if there[symbol][n]:
                portfolio.note(symbol, n * NS_PER_HOUR, prices[symbol][n])
        portfolio.settle()
        count = portfolio.history.count
        if not all(there[symbol][n] for symbol in THREE):
            assert count == n, "the row waits for the next bar"
        first, known = {}, []
        for symbol in THREE:
            bars = [i for i in range(count) if there[symbol][i]][WARM + 1 :]
            if not bars:
                continue
            first[symbol] = bars[0]
            newest = [i for i in bars if i >= count - 100]
            rows = count - max(bars[0], count - min(count, 100))
            boundary += len(newest) >= 50 and 2 * len(newest) == rows
            if len(newest) >= 50 and 2 * len(newest) > rows:
                known.append(symbol)
        assert portfolio.measured == tuple(known), n
        if known:
            assert portfolio.bars == min(100, count - max(first[symbol] for symbol in known)), n
            if n % 40 == 0:
                covariance, shrinkage = shrunk_of(portfolio)
                assert portfolio.shrinkage_ppm == pytest.approx(1e6 * shrinkage, abs=0.51)
                assert np.allclose(portfolio._covariance, covariance, rtol=1e-9)
        else:
            assert portfolio.bars == min(100, count)
        changes += portfolio.measured != before
        before = portfolio.measured
    assert changes >= 5
    assert boundary >= 1


def test_a_late_bar_before_anything_is_measured_is_one_bar_more():
    portfolio = Portfolio([default_instrument(each) for each in ("EURUSD", "GBPUSD")], PortfolioLimits(**WINDOW))
    for hour, symbols in ((1, ("EURUSD", "GBPUSD")), (3, ("EURUSD", "GBPUSD")), (2, ("EURUSD",))):
        for symbol in symbols:
            portfolio.note(symbol, hour * NS_PER_HOUR, 100_000)
        portfolio.settle()
    assert (portfolio.history.generation, portfolio.bars, portfolio.ready) == (1, 3, False)


def test_a_row_goes_into_the_sums_that_are_there():
    prices = closes(190, THREE)
    portfolio = learnt(prices=prices, symbols=THREE, **WINDOW)
    sums, ring = portfolio._products, portfolio._recent
    for symbol in THREE:
        portfolio.note(symbol, 190 * NS_PER_HOUR, prices[symbol][0])
    portfolio.settle()
    assert portfolio._products is sums
    assert portfolio._recent is ring


def test_what_a_late_bar_changes_is_worked_out_anew():
    prices = closes(120, THREE)
    straight = learnt(prices=prices, symbols=THREE, **WINDOW)
    holed = prices | {"EURUSD": [*prices["EURUSD"][:100], 0, *prices["EURUSD"][101:]]}
    late = learnt(prices=holed, symbols=THREE, **WINDOW)
    books = [{"EURUSD": 10**6}, {"USDJPY": 10**6, "GBPUSD": 10**6}]
    assert late.measure(books) != straight.measure(books)
    late.note("EURUSD", 100 * NS_PER_HOUR, prices["EURUSD"][100])
    late.settle()
    assert late.measure(books, "EURUSD") == straight.measure(books, "EURUSD")
    assert (late.factors, late.correlations, late.bars) == (straight.factors, straight.correlations, straight.bars)
