"""The limits on the book as a whole, through the gate."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus import messages as m
from bus.errors import ConfigError
from bus.messages import IntentRefused
from bus.values import OrderType, Side
from risk.gate import review
from risk.policies.portfolio import PortfolioLimits
from risk.portfolio.outlook import look_ahead
from risk.sizing import SizingSettings
from tests.harness.basket import closes, learnt, loss
from tests.harness.books import (
    NOW_NS,
    PRICES,
    SYMBOLS,
    begun,
    entry,
    leave,
    opened,
    order,
    quote,
    switched_off,
)

TWINS = closes(300, SYMBOLS)
TWINS["GBPUSD"] = TWINS["EURUSD"]  # EURUSD and GBPUSD move as one
NONE = {"var_pct_e2": 0, "shortfall_pct_e2": 0, "entry_var_pct_e2": 0, "correlated_pct_equity": 0, "factor_pct_e2": 0}
LIMITS = {"value_at_risk": "var_pct_e2", "expected_shortfall": "shortfall_pct_e2", "entry_risk": "entry_var_pct_e2",
          "correlation": "correlated_pct_equity", "factor": "factor_pct_e2"}  # fmt: skip
_KNOWN = {}


def known(**limits):
    """The twins, with only these limits on; folded once a set of limits."""
    key = tuple(sorted(limits.items()))
    if key not in _KNOWN:
        _KNOWN[key] = learnt(prices=TWINS, symbols=SYMBOLS, **(NONE | limits))
    return _KNOWN[key]


def ask(intent, book, portfolio, lots=100):
    policy = switched_off(portfolio=portfolio.limits)
    sizing = SizingSettings(method="fixed", fixed_lots_e2=lots)
    return review(intent, book, policy, sizing, NOW_NS, client_order_id="c", portfolio=portfolio)


def rule(answer):
    return answer.rule if isinstance(answer, IntentRefused) else "accepted"


@pytest.mark.parametrize(("name", "key"), LIMITS.items())
def test_each_limit_refuses_what_is_beyond_it_and_says_what_would_have_passed(name, key):
    tight, loose = known(**{key: 1}), known(**{key: 100_000})
    answer = ask(entry(), begun(), tight)
    assert rule(answer) == name
    assert "of equity" in answer.limit
    assert answer.value.endswith(" %") or "without it" in answer.value
    assert "or less" in answer.would_pass
    assert rule(ask(entry(), begun(), loose)) == "accepted"


def test_a_limit_holds_at_its_last_hundredth():
    """1.00 lots of EURUSD and an equity of 10 000.00: what the entry risks, to the hundredth of a percent."""
    measure = known(var_pct_e2=100_000, entry_var_pct_e2=1)
    book = begun()
    outlook = look_ahead(book, measure, "EURUSD", Side.BUY, 10_000_000)
    share_e2 = -(-outlook.after.at_risk * 10_000 // book.equity)
    assert rule(ask(entry(), book, known(var_pct_e2=share_e2))) == "accepted"
    assert rule(ask(entry(), book, known(var_pct_e2=share_e2 - 1))) == "value_at_risk"


@pytest.mark.parametrize("key", [key for name, key in LIMITS.items() if name != "entry_risk"])
def test_a_hedge_passes_even_above_the_limit_and_more_of_the_same_does_not(key):
    book = begun()
    opened(book, volume=30_000_000)
    portfolio = known(**{key: 1})
    assert rule(ask(entry(Side.BUY), book, portfolio)) != "accepted"
    assert rule(ask(entry(Side.SELL), book, portfolio)) == "accepted"
    assert rule(ask(entry(Side.BUY, "GBPUSD"), book, portfolio)) != "accepted"
    assert rule(ask(entry(Side.SELL, "GBPUSD"), book, portfolio)) == "accepted"


def test_an_entry_that_turns_the_book_over_is_no_hedge():
    book = begun()
    opened(book, volume=10_000_000)
    assert rule(ask(entry(Side.SELL), book, known(var_pct_e2=1), lots=300)) == "value_at_risk"


def test_no_entry_risk_is_asked_of_an_entry_that_lowers_the_risk():
    book = begun()
    opened(book, volume=30_000_000)
    assert rule(ask(entry(Side.BUY), book, known(entry_var_pct_e2=1))) == "entry_risk"
    assert rule(ask(entry(Side.SELL), book, known(entry_var_pct_e2=1))) == "accepted"


def test_exits_pass_whatever_the_book_risks():
    book = begun()
    opened(book, volume=30_000_000)
    assert rule(ask(leave("P1"), book, known(var_pct_e2=1))) == "accepted"


def foreign(kind="position", side=Side.BUY, volume=30_000_000, symbol="GBPUSD"):
    return m.ForeignChanged(kind=kind, subject="77", label="", symbol=symbol, side=side, volume_e2=volume,
                            price_e5=PRICES[symbol], charges=0, ts_event_ns=NOW_NS, ts_init_ns=NOW_NS)  # fmt: skip


@pytest.mark.parametrize("what", ["ours", "sent", "resting", "theirs", "their order"])
def test_positions_orders_at_work_and_those_of_others_count_alike(what):
    portfolio = known(var_pct_e2=100_000, entry_var_pct_e2=1)
    alone = look_ahead(begun(), portfolio, "EURUSD", Side.BUY, 10_000_000)
    book = begun()
    if what == "ours":
        opened(book, volume=30_000_000, symbol="GBPUSD")
    elif what == "sent":
        book.sent(order("zz", volume=30_000_000, symbol="GBPUSD"), NOW_NS)
    elif what == "resting":
        resting = order("zz", volume=30_000_000, symbol="GBPUSD", kind=OrderType.LIMIT, limit_e5=130_000)
        book.sent(resting, NOW_NS)
    else:
        book.fold(foreign("position" if what == "theirs" else "order"))
    with_it = look_ahead(book, portfolio, "EURUSD", Side.BUY, 10_000_000)
    assert with_it.after.at_risk > 3 * alone.after.at_risk
    assert with_it.before.at_risk > 2 * alone.after.at_risk


def test_a_hedge_that_only_rests_hedges_nothing_yet():
    portfolio = known(var_pct_e2=100_000, entry_var_pct_e2=1)
    naked = look_ahead(begun(), portfolio, "EURUSD", Side.BUY, 10_000_000)
    book = begun()
    book.sent(order("zz", Side.SELL, 10_000_000, "GBPUSD", kind=OrderType.LIMIT, limit_e5=140_000), NOW_NS)
    assert look_ahead(book, portfolio, "EURUSD", Side.BUY, 10_000_000).after.at_risk == naked.after.at_risk


def test_a_close_at_work_has_not_closed_yet():
    portfolio = known(var_pct_e2=100_000, entry_var_pct_e2=1)
    book = begun()
    opened(book, volume=10_000_000)
    before = look_ahead(book, portfolio, "EURUSD", Side.BUY, 100_000)
    book.sent(order("zz", Side.SELL, 10_000_000, position="P1"), NOW_NS)
    assert look_ahead(book, portfolio, "EURUSD", Side.BUY, 100_000) == before


def test_what_cannot_be_valued_is_refused_by_the_rule_for_that():
    portfolio = known(var_pct_e2=1)
    book = begun(quoted=False)
    book.mark(quote("EURGBP"))
    assert rule(ask(entry(symbol="EURGBP"), book, portfolio)) == "conversion_rate"
    book = begun()
    book.fold(foreign(symbol="EURUSD"))
    book.fold(msgspec.structs.replace(foreign(), subject="78", symbol="XXXYYY"))
    assert rule(ask(entry(), book, portfolio)) == "conversion_rate"


def test_without_history_the_limits_are_silent_unless_they_are_to_refuse():
    silent = learnt(100, SYMBOLS, **(NONE | {"var_pct_e2": 1}))
    assert rule(ask(entry(), begun(), silent)) == "accepted"
    strict = learnt(100, SYMBOLS, **(NONE | {"var_pct_e2": 1, "require_history": True}))
    answer = ask(entry(), begun(), strict)
    assert rule(answer) == "portfolio_history"
    assert answer.would_pass == "the same entry after 120 bars"


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(sorted(LIMITS)),
    values=st.tuples(*[st.sampled_from([1, 50, 200, 500, 1_000, 4_000, 0])] * 2),
    side=st.sampled_from(list(Side)),
    symbol=st.sampled_from(SYMBOLS),
    held=st.lists(st.tuples(st.sampled_from(SYMBOLS), st.sampled_from(list(Side)), st.integers(1, 400), st.booleans()),
                  max_size=4),
    lots=st.integers(1, 300),
)  # fmt: skip
def test_a_tighter_limit_never_allows_more(name, values, side, symbol, held, lots):
    tight, loose = sorted(values, key=lambda value: value or 10**9)
    answers = []
    for value in (tight, loose):
        book = begun()
        for n, (where, way, size, filled) in enumerate(held):
            if filled:
                opened(book, f"c{n}", f"P{n}", way, size * 100_000, symbol=where)
            else:
                book.sent(order(f"c{n}", way, size * 100_000, where), NOW_NS)
        answers.append(rule(ask(entry(side, symbol), book, known(**{LIMITS[name]: value}), lots)))
    if answers[0] == "accepted":
        assert answers[1] == "accepted"


def test_two_positions_that_are_one_risk_are_limited_as_one():
    """Each is within the limit alone; the second is refused because the first is there."""
    book = begun()
    portfolio = known(correlated_pct_equity=1_500)
    assert rule(ask(entry(Side.BUY, "GBPUSD"), book, portfolio)) == "accepted"
    opened(book, volume=10_000_000)
    answer = ask(entry(Side.BUY, "GBPUSD"), book, portfolio)
    assert rule(answer) == "correlation"
    assert "moves together by 70 %" in answer.limit
    assert rule(ask(entry(Side.BUY, "USDJPY"), book, portfolio)) == "accepted"


def test_the_refusal_by_a_factor_names_the_currency():
    book = begun()
    for n, symbol in enumerate(("EURUSD", "GBPUSD")):
        opened(book, f"c{n}", f"P{n}", volume=10_000_000, symbol=symbol)
    answer = ask(entry(Side.SELL, "USDJPY"), book, known(factor_pct_e2=100))
    assert rule(answer) == "factor"
    assert "component 1" in answer.limit
    assert any(currency in answer.limit for currency in ("USD", "EUR", "JPY", "GBP"))


def test_the_outlook_is_what_the_portfolio_says_of_the_values():
    book = begun()
    opened(book, volume=10_000_000)
    portfolio = known(var_pct_e2=100_000, entry_var_pct_e2=1)
    outlook = look_ahead(book, portfolio, "USDJPY", Side.SELL, 10_000_000)
    held = {"EURUSD": 100_000 * 120_004}  # cents at the mid price
    rate = 1e5 / 10_900_004  # dollars for a yen
    wanted = held | {"USDJPY": -round(100_000 * 100 * (10_900_004 / 1e5) * rate)}
    assert outlook.before.at_risk == pytest.approx(
        loss(portfolio, {s: v // 1_000 for s, v in held.items()}).value_at_risk
    )
    assert outlook.after.at_risk == pytest.approx(
        loss(portfolio, {"EURUSD": held["EURUSD"] // 1_000, "USDJPY": wanted["USDJPY"]}).value_at_risk, rel=1e-4
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "guess"}, "write one of filtered"),
        ({"level_pct_e2": 9_991}, "level_pct_e2"),
        ({"var_pct_e2": -1}, "var_pct_e2"),
        ({"var_pct_e2": 1.5}, "whole number"),
        ({"min_bars": 600}, "write at most 500"),
        ({"min_bars": 98}, "write at least 99"),
        ({"require_history": 1}, "true or false"),
    ],
)
def test_impossible_settings_are_refused_with_what_to_write(settings, words):
    with pytest.raises(ConfigError, match=words):
        PortfolioLimits(**settings)
