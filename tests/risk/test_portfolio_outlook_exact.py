"""What an entry would make of the book: volumes, values and figures to the unit, with a measure that a test sets."""

from fractions import Fraction
from math import floor

import pytest

from bus import messages as m
from bus.values import OrderType, Side
from risk.policies.portfolio import PortfolioLimits
from risk.portfolio.model import Measure
from risk.portfolio.outlook import Figures, Outlook, held_and_wanted, look_ahead, values_of
from tests.harness.books import NOW_NS, PRICES, begun, opened, order

OFF = {"var_pct_e2": 0, "shortfall_pct_e2": 0, "entry_var_pct_e2": 0, "correlated_pct_equity": 0, "factor_pct_e2": 0}
TWO = ("EURUSD", "USDJPY")


def foreign(kind, subject, symbol, side, volume):
    return m.ForeignChanged(
        kind=kind, subject=subject, label="", symbol=symbol, side=side, volume_e2=volume,
        price_e5=PRICES.get(symbol, 1), charges=0, ts_event_ns=NOW_NS, ts_init_ns=NOW_NS,
    )  # fmt: skip


class Portfolio:
    """Answers with the figures that a test gives for each book, and remembers what it was asked."""

    def __init__(self, *answers, ready=True, **limits):
        self.limits = PortfolioLimits(**(OFF | limits))
        self.ready, self.bars, self.names = ready, 77, ("USD", "JPY")
        self.answers, self.asked = list(answers), []

    def measure(self, books, symbol=""):
        self.asked.append((books, symbol))
        return [self.answers.pop(0) for _ in books]


def measure(at_risk=0, shortfall=0, together=0, factors=()):
    return Measure(value_at_risk=at_risk, shortfall=shortfall, together=together, factors=factors)


def test_what_is_held_and_what_is_wanted_are_added_up_by_symbol():
    book = begun(symbols=TWO)
    assert held_and_wanted(book) == ({}, {})
    opened(book, "a", "A", Side.BUY, 500_000)
    opened(book, "b", "B", Side.SELL, 200_000)
    book.fold(foreign("position", "1", "USDJPY", Side.SELL, 300_000))
    book.fold(foreign("position", "2", "EURUSD", Side.BUY, 1_000))
    book.sent(order("x", Side.SELL, 500_000, position="A"), NOW_NS)
    held, wanted = held_and_wanted(book)
    assert held == wanted == {"EURUSD": 301_000, "USDJPY": -300_000}
    assert wanted is held, "nothing is at work but a close"
    book.sent(order("y", Side.SELL, 40_000, kind=OrderType.LIMIT, limit_e5=130_000), NOW_NS)
    book.sent(order("z", Side.BUY, 70_000, "USDJPY", kind=OrderType.LIMIT, limit_e5=10_000_000), NOW_NS)
    book.fold(foreign("order", "3", "GBPUSD", Side.SELL, 9_000))
    held, wanted = held_and_wanted(book)
    assert held == {"EURUSD": 301_000, "USDJPY": -300_000}
    assert wanted == {"EURUSD": 261_000, "USDJPY": -230_000, "GBPUSD": -9_000}


def test_values_are_those_of_the_middle_price_rounded_down():
    book = begun(symbols=TWO)
    rate = Fraction(917_431, 10**8)  # dollars for a yen
    for volume in (1, 7, 100_000, -1, -333_333):
        euros = Fraction(volume, 100) * Fraction(120_004, 10**5) * 100
        yens = Fraction(volume, 100) * Fraction(10_900_004, 10**5) * rate * 100
        assert values_of(book, {"EURUSD": volume, "USDJPY": volume}) == {"EURUSD": floor(euros), "USDJPY": floor(yens)}
    assert values_of(book, {}) == {}
    assert values_of(book, {"EURUSD": 1, "XXXYYY": 1}) is None
    assert values_of(begun(symbols=("EURUSD", "EURGBP"), quoted=False), {"EURUSD": 1}) is None


def test_a_price_without_a_rate_is_no_value():
    from tests.harness.books import quote

    book = begun(symbols=("EURGBP", "EURUSD"), quoted=False)
    book.mark(quote("EURGBP"))
    assert values_of(book, {"EURGBP": 100}) is None


def test_where_nothing_is_measured_there_is_no_figure():
    assert look_ahead(begun(), Portfolio(ready=False), "EURUSD", Side.BUY, 100) == Outlook(measured=False)
    assert Outlook(measured=False) == Outlook(False, 0, Figures(0, 0, 0, ()), None, ())


@pytest.mark.parametrize("what", ["entry", "position", "order"])
def test_what_cannot_be_valued_has_no_outlook(what):
    book = begun(symbols=TWO)
    if what != "entry":
        book.fold(foreign(what, "1", "XXXYYY", Side.BUY, 100))
    symbol = "GBPUSD" if what == "entry" else "EURUSD"
    assert look_ahead(book, Portfolio(), symbol, Side.BUY, 100) is None


def test_the_book_is_looked_at_with_the_entry_and_where_a_limit_is_near_without_it():
    """10,000 EURUSD at 1.20004 are 12,000.40; a short entry of half of that takes 6,000.20 away."""
    book = begun(symbols=TWO)
    opened(book, volume=1_000_000)
    after, before = measure(70_000, 80_000, 90_000, (5, 6)), measure(1, 2, 3, (4, 5))
    portfolio = Portfolio(after, before, var_pct_e2=100)
    assert look_ahead(book, portfolio, "EURUSD", Side.SELL, 500_000) == Outlook(
        measured=True, bars=77, after=Figures(70_000, 80_000, 90_000, (5, 6)), before=Figures(1, 2, 3, (4, 5)),
        names=("USD", "JPY"),
    )  # fmt: skip
    assert portfolio.asked == [([{"EURUSD": 600_020}], "EURUSD"), ([{"EURUSD": 1_200_040}], "EURUSD")]
    calm = Portfolio(measure(1, 1, 1, (1, 1)), var_pct_e2=100)
    assert look_ahead(book, calm, "USDJPY", Side.BUY, 100) == Outlook(
        measured=True, bars=77, after=Figures(1, 1, 1, (1, 1)), before=None, names=("USD", "JPY")
    )  # fmt: skip
    assert calm.asked == [([{"EURUSD": 1_200_040, "USDJPY": values_of(book, {"USDJPY": 100})["USDJPY"]}], "USDJPY")]


def test_with_entries_at_work_each_figure_is_the_larger_of_both_books():
    book = begun(symbols=TWO)
    opened(book, volume=1_000_000)
    book.sent(order("y", Side.SELL, 500_000, kind=OrderType.LIMIT, limit_e5=130_000), NOW_NS)
    answers = [measure(9_000_000, 2, 30, (1, 8)), measure(1, 20, 3, (7, 2)),
               measure(5, 60, 7, (3, 4)), measure(50, 6, 70, (2, 9))]  # fmt: skip
    portfolio = Portfolio(*answers, var_pct_e2=100)
    found = look_ahead(book, portfolio, "EURUSD", Side.BUY, 500_000)
    assert (found.after, found.before) == (Figures(9_000_000, 20, 30, (7, 8)), Figures(50, 60, 70, (3, 9)))
    assert portfolio.asked == [
        ([{"EURUSD": 1_800_060}, {"EURUSD": 1_200_040}], "EURUSD"),
        ([{"EURUSD": 1_200_040}, {"EURUSD": 600_020}], "EURUSD"),
    ]


def test_books_are_looked_at_by_the_same_components():
    book = begun(symbols=TWO)
    book.sent(order("y", kind=OrderType.LIMIT, limit_e5=110_000), NOW_NS)
    with pytest.raises(ValueError, match="zip"):
        look_ahead(book, Portfolio(measure(factors=(1,)), measure(factors=(1, 2))), "EURUSD", Side.BUY, 100)


@pytest.mark.parametrize(
    ("key", "limit", "most", "figure"),
    [
        ("var_pct_e2", 150, 15_000, lambda x: measure(at_risk=x)),
        ("entry_var_pct_e2", 150, 15_000, lambda x: measure(at_risk=x)),
        ("shortfall_pct_e2", 150, 15_000, lambda x: measure(shortfall=x)),
        ("correlated_pct_equity", 150, 1_500_000, lambda x: measure(together=x)),
        ("factor_pct_e2", 150, 15_000, lambda x: measure(factors=(1, x))),
    ],
)
def test_a_limit_is_near_where_its_figure_is_beyond_it(key, limit, most, figure):
    """1.50 % of 10,000.00 are 150.00."""
    for more, near in ((0, False), (1, True)):
        portfolio = Portfolio(figure(most + more), measure(), **{key: limit})
        found = look_ahead(begun(symbols=TWO), portfolio, "EURUSD", Side.BUY, 100)
        assert (found.before is not None) is near
        everything = Portfolio(measure(10**9, 10**9, 10**9, (10**9,)), measure())
        assert look_ahead(begun(symbols=TWO), everything, "EURUSD", Side.BUY, 100).before is None, "all limits are off"


@pytest.mark.parametrize(("balance", "near"), [(0, True), (-100, True), (1, False), (2, False)])
def test_without_equity_every_limit_is_near(balance, near):
    portfolio = Portfolio(measure(), measure(), var_pct_e2=100)
    found = look_ahead(begun(balance, symbols=TWO), portfolio, "EURUSD", Side.BUY, 100)
    assert (found.before is not None) is near


@pytest.mark.parametrize(
    ("key", "figure", "near"),
    [
        ("var_pct_e2", measure(at_risk=1), True),
        ("entry_var_pct_e2", measure(at_risk=1), True),
        ("shortfall_pct_e2", measure(shortfall=1), True),
        ("correlated_pct_equity", measure(together=1), True),
        ("factor_pct_e2", measure(factors=(1,)), True),
        ("factor_pct_e2", measure(factors=()), False),
    ],
)
def test_of_a_single_cent_the_smallest_limit_is_near_with_another_cent(key, figure, near):
    portfolio = Portfolio(figure, measure(), **{key: 1})
    found = look_ahead(begun(1, symbols=TWO), portfolio, "EURUSD", Side.BUY, 100)
    assert (found.before is not None) is near
