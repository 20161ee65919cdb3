"""What the gate looks at of a rich book, and what a policy says of an entry: worked out by hand."""

import math
from fractions import Fraction
from itertools import pairwise

import msgspec
import pytest

from bus import messages as m
from bus.messages import CancelOrder, HaltLevel, NewsEvent
from bus.values import NS_PER_DAY, OrderType, Side, default_instrument
from risk.evidence import ModelStanding
from risk.limits import ASKED, RULES, first_breach, in_order, look
from risk.limits.check import terms_of
from risk.limits.figures import NOTHING, Figures, Values, count_all
from risk.policies.news import News
from risk.policies.orders import Orders
from risk.policies.portfolio import PortfolioLimits
from risk.policies.scopes import StrategyLimits, SymbolLimits
from risk.policies.sizes import Sizes
from risk.policies.streaks import Streaks
from risk.portfolio.outlook import Figures as Risked
from risk.portfolio.outlook import Outlook
from tests.harness.books import (
    MINUTE_NS,
    NOW_NS,
    begun,
    empty_book,
    entry,
    fill,
    opened,
    order,
    quote,
    swap,
    switched_off,
    unknown,
)

replace = msgspec.structs.replace
OFF = switched_off()


# --- what it looks at ------------------------------------------------------------------------------------------


def foreign(subject, kind, side, volume, symbol):
    return m.ForeignChanged(kind=kind, subject=subject, symbol=symbol, side=side, volume_e2=volume, price_e5=120_000,
                            charges=0, label="", ts_event_ns=NOW_NS, ts_init_ns=NOW_NS)  # fmt: skip


def rich():
    """Positions of two strategies in three symbols, entries and a close at work, and what others hold."""
    book = begun(balance=100_000_000)
    opened(book, "c1", "P1", Side.BUY, 3_000_000, commission=-5)
    opened(book, "c2", "P2", Side.SELL, 1_100_000, price=119_990, commission=-7)  # ten points worse: 110
    opened(book, "c3", "P3", Side.SELL, 2_000_000, symbol="USDJPY", commission=-11)
    other = replace(order("c4", Side.BUY, 700_000), strategy="t")
    book.sent(other, NOW_NS)
    book.fold(fill("D4", other, "P4", 120_005, commission=-13))  # five points worse: 35
    book.fold(swap("P1", -17))
    book.sent(order("r1", Side.BUY, 400_000, kind=OrderType.LIMIT, limit_e5=119_000), NOW_NS)
    book.sent(order("r2", Side.SELL, 500_000, "GBPUSD", kind=OrderType.LIMIT, limit_e5=137_000), NOW_NS)
    book.sent(replace(order("r3", Side.SELL, 600_000, kind=OrderType.LIMIT, limit_e5=121_000), strategy="t"), NOW_NS)
    book.sent(order("x1", Side.SELL, 3_000_000, position="P1"), NOW_NS)
    book.sent(CancelOrder(client_order_id="r2", symbol="GBPUSD", reason="", ts_init_ns=NOW_NS), NOW_NS)
    book.fold(foreign("F1", "position", Side.SELL, 800_000, "EURUSD"))
    book.fold(foreign("F2", "order", Side.BUY, 800_000, "EURGBP"))
    book.fold(foreign("F3", "order", Side.BUY, 100_000, "EURGBP"))
    book.mark(quote(bid=120_100))
    return book


RULED = switched_off(
    symbols={"EURUSD": SymbolLimits(max_open_positions=50, max_spread_pips_e1=300)},
    strategies={"s": StrategyLimits(max_open_positions=60, max_order_lots_e2=900)},
)
RATE_YEN = Fraction(917_431, 10**8)  # 1 / 109.00004, to eight places
LEVERAGE = 30


def worth(volume_e2, symbol):
    """Cents, rounded up."""
    pound = Fraction(136_004, 10**5)
    prices = {"EURUSD": Fraction(120_104, 10**5), "USDJPY": Fraction(10_900_004, 10**5) * RATE_YEN,
              "EURGBP": Fraction(88_004, 10**5) * pound, "GBPUSD": pound}  # fmt: skip
    return math.ceil(volume_e2 * prices[symbol])


def valued(sides, symbol, side):
    """Values of long and short volumes by symbol, for an entry on one side of one symbol."""
    each = {name: (worth(long, name), worth(short, name)) for name, (long, short) in sides.items()}
    return Values(
        position=each[symbol][side < 0],
        gross=sum(long + short for long, short in each.values()),
        net=sum(max(pair) for pair in each.values()),
        margin=sum(-(-max(pair) // LEVERAGE) for pair in each.values()),
    )


@pytest.mark.parametrize("side", Side)
def test_the_figures_of_account_symbol_and_strategy_are_all_that_is_held_and_at_work_with_the_entry(side):
    book = rich()
    seen = look(entry(side), book, RULED, volume_e2=1_000_000, now_ns=NOW_NS + 2, halt_level=HaltLevel.NONE)
    more = (1_000_000, 0) if side > 0 else (0, 1_000_000)
    euros = (3_000_000 + 700_000 + 400_000 + more[0], 1_100_000 + 600_000 + 800_000 + more[1])
    everything = {"EURUSD": euros, "USDJPY": (0, 2_000_000), "GBPUSD": (0, 500_000), "EURGBP": (900_000, 0)}
    own = {"EURUSD": (3_400_000 + more[0], 1_100_000 + more[1]), "USDJPY": (0, 2_000_000), "GBPUSD": (0, 500_000)}
    first, second, yen, fourth = 3_000 - 22, -11 * 118 - 7, -1 - 11, 7 * 95 - 13  # what floats, and its charges
    theirs = -8 * 108
    account = Figures("account", valued(everything, "EURUSD", side), 4 + 3 + 3, 8, 1, 110 + 35,
                      first + second + yen + fourth + theirs, 0, 0)  # fmt: skip
    of_symbol = Figures("EURUSD", valued({"EURUSD": euros}, "EURUSD", side), 3 + 1 + 2, 6, 0, 110 + 35,
                        first + second + fourth, 0, 0)  # fmt: skip
    of_strategy = Figures("s", valued(own, "EURUSD", side), 3 + 2, 6, 1, 110, first + second + yen, 0, 0)
    assert seen.figures == (account, of_symbol, of_strategy)
    assert seen.values == account.values
    assert [seen.whose(place) for place in range(3)] == ["", " in EURUSD", " in s"]


def test_a_scope_without_limits_of_its_own_has_no_figures():
    book = rich()

    def figures(policy, **fields):
        asked = entry(**fields)
        return look(asked, book, policy, volume_e2=1, now_ns=NOW_NS, halt_level=HaltLevel.NONE).figures[1:]

    assert figures(OFF) == (NOTHING, NOTHING)
    assert figures(RULED, strategy="t")[1] is NOTHING
    assert figures(RULED, symbol="GBPUSD")[0] is NOTHING
    assert figures(RULED, strategy="t")[0].name == "EURUSD"
    assert figures(RULED, symbol="GBPUSD")[1].name == "s"
    assert Figures("", None, 0, 0, 0, 0, 0, 0, 0) == NOTHING


LEGS = {
    # What is bought and what is sold of each currency, by symbol (long buys the base and sells the quote).
    "EURUSD": lambda w: ((w("EURUSD", 0) + w("EURGBP", 0), w("EURUSD", 1)),
                         (w("EURUSD", 1) + w("USDJPY", 0) + w("GBPUSD", 1), w("EURUSD", 0) + w("USDJPY", 1))),
    "USDJPY": lambda w: ((w("EURUSD", 1) + w("USDJPY", 0) + w("GBPUSD", 1), w("EURUSD", 0) + w("USDJPY", 1)),
                         (w("USDJPY", 1), w("USDJPY", 0))),
    "EURGBP": lambda w: ((w("EURUSD", 0) + w("EURGBP", 0), w("EURUSD", 1)),
                         (0, w("EURGBP", 0) + w("GBPUSD", 1))),
    "GBPUSD": lambda w: ((0, w("EURGBP", 0) + w("GBPUSD", 1)),
                         (w("EURUSD", 1) + w("USDJPY", 0) + w("GBPUSD", 1), w("EURUSD", 0) + w("USDJPY", 1))),
}  # fmt: skip


@pytest.mark.parametrize("symbol", LEGS)
def test_each_leg_is_the_larger_of_what_is_bought_and_what_is_sold_of_a_currency(symbol):
    seen = look(entry(symbol=symbol), rich(), OFF, volume_e2=0, now_ns=NOW_NS, halt_level=HaltLevel.NONE)
    sides = {"EURUSD": (4_100_000, 2_500_000), "USDJPY": (0, 2_000_000), "GBPUSD": (0, 500_000), "EURGBP": (900_000, 0)}
    both = LEGS[symbol](lambda name, at: worth(sides[name][at], name))
    assert seen.legs == tuple((symbol[3 * n : 3 * n + 3], max(pair)) for n, pair in enumerate(both))


MANY = {"EURUSD": 120_000, "USDJPY": 10_900_000, "USDCHF": 98_000, "EURGBP": 88_000, "GBPUSD": 136_000,
        "AUDEUR": 62_000, "NZDEUR": 58_000}  # fmt: skip


@pytest.mark.parametrize("symbol", MANY)
@pytest.mark.parametrize("larger", Side)
def test_every_symbol_with_a_currency_adds_to_its_leg(symbol, larger):
    book = begun(symbols=tuple(MANY), quoted=False)
    volumes = {}
    for name, price_e5 in MANY.items():
        book.mark(quote(name, price_e5))
    for n, (name, price_e5) in enumerate(MANY.items()):
        volumes[name] = (100_000 + 7_000 * n, 40_000 + 3_000 * n)[::larger]
        for side, volume_e2 in zip((Side.BUY, Side.SELL), volumes[name], strict=True):
            command = order(f"{name}{side}", side, volume_e2, name)
            book.sent(command, NOW_NS)
            book.fold(fill(f"D{name}{side}", command, f"P{name}{side}", price_e5))
    bought = dict.fromkeys(("EUR", "USD", "JPY", "CHF", "GBP", "AUD", "NZD"), 0)
    sold = dict(bought)
    for name, (long_e2, short_e2) in volumes.items():
        price = Fraction(MANY[name] + 4, 10**5) * Fraction(book.marks.scale_of(name)[0], 10**8)
        long_value, short_value = math.ceil(long_e2 * price), math.ceil(short_e2 * price)
        for currency, more, less in ((name[:3], long_value, short_value), (name[3:], short_value, long_value)):
            bought[currency] += more
            sold[currency] += less
    seen = look(replace(entry(), symbol=symbol), book, OFF, volume_e2=0, now_ns=NOW_NS, halt_level=HaltLevel.NONE)
    assert seen.legs == tuple((each, max(bought[each], sold[each])) for each in (symbol[:3], symbol[3:]))


def test_with_something_in_a_symbol_that_is_not_configured_nothing_can_be_valued():
    book = begun()
    book.fold(foreign("F1", "position", Side.BUY, 100_000, "AUDNZD"))
    seen = look(entry(), book, RULED, volume_e2=1, now_ns=NOW_NS, halt_level=HaltLevel.NONE)
    assert [each.values for each in seen.figures] == [None] * 3
    assert seen.legs == ()


def test_of_a_symbol_the_smaller_leverage_rules_its_margin():
    book = begun()
    book.instruments["EURUSD"] = replace(default_instrument("EURUSD"), leverage=7)
    seen = look(entry(), book, RULED, volume_e2=1_000_000, now_ns=NOW_NS, halt_level=HaltLevel.NONE)
    value = worth(1_000_000, "EURUSD") - 1_000  # at 1.20004
    assert [each.values.margin for each in seen.figures] == [-(-value // 7)] * 3


def test_results_and_losses_of_a_scope_are_its_own():
    book = begun()
    command = opened(book, volume=100_000, commission=0)
    closing = replace(command, side=Side.SELL)
    book.fold(fill("X1", closing, "P1", 120_000, closing=True, gross_profit=-90, ts=NOW_NS + 3))
    opened(book, "c2", "P2", volume=1_000_000, commission=0)
    book.mark(quote(bid=120_010))
    book.turn(NOW_NS + NS_PER_DAY)
    book.mark(quote(bid=120_050))
    seen = look(entry(), book, RULED, volume_e2=0, now_ns=NOW_NS + MINUTE_NS, halt_level=HaltLevel.NONE)
    assert [(each.result, each.losses, each.last_loss_ns) for each in seen.figures] == [(400, 1, NOW_NS + 3)] * 3
    assert seen.day_start_equity == 1_000_000 - 90 + 100
    assert seen.day_begin_ns == NOW_NS + NS_PER_DAY
    assert [(each.orders, each.cancels) for each in seen.figures] == [(0, 0)] * 3


def test_an_entry_is_looked_at_with_its_prices_and_the_state_of_its_symbol():
    book = begun()

    def seen(intent, policy=OFF, **more):
        return look(intent, book, policy, volume_e2=5, now_ns=NOW_NS, halt_level=HaltLevel.NO_NEW_RISK, **more)

    bought, sold = seen(entry()), seen(entry(Side.SELL))
    assert (bought.price_e5, bought.closing_e5, sold.price_e5, sold.closing_e5) == (120_008, 120_000, 120_000, 120_008)
    rests = seen(entry(order_type=OrderType.LIMIT, price_e5=119_000))
    assert (rests.price_e5, rests.closing_e5) == (119_000, 119_000)
    assert (bought.volume_e2, bought.now_ns, bought.halt_level) == (5, NOW_NS, HaltLevel.NO_NEW_RISK)
    assert (bought.equity, bought.unit, bought.day_start_equity, bought.day_begin_ns) == (1_000_000, 100, 1_000_000, 0)
    assert bought.instrument is book.instruments["EURUSD"]
    assert bought.quote is book.quotes["EURUSD"]
    assert (bought.suspect, bought.unknown, bought.link_up, bought.model, bought.outlook) == (
        False, False, True, None, None)  # fmt: skip
    assert (bought.news, bought.calendar_last_ns, bought.fallen) == (None, None, ())
    assert bought.latest_ns == NOW_NS
    model = ModelStanding(model_id="m", horizon=1)
    changed = seen(entry(), link_up=False, model=model)
    assert (changed.link_up, changed.model) == (False, model)
    book.fold(unknown("u", "USDJPY"))
    book.mark(quote("GBPUSD", spread=-1))
    assert [seen(entry(symbol=each)).unknown for each in ("EURUSD", "USDJPY")] == [False, True]
    assert [seen(entry(symbol=each)).suspect for each in ("EURUSD", "GBPUSD")] == [False, True]
    book.sent(order("z"), NOW_NS + 9)
    assert seen(entry()).latest_ns == NOW_NS + 9
    book.mark(quote(ts=NOW_NS + 11))
    assert (seen(entry()).latest_ns, seen(entry(symbol="USDJPY")).latest_ns) == (NOW_NS + 11, NOW_NS + 9)
    unquoted = look(entry(), begun(quoted=False), OFF, volume_e2=0, now_ns=NOW_NS, halt_level=HaltLevel.NONE)
    assert (unquoted.price_e5, unquoted.closing_e5, unquoted.latest_ns) == (0, 0, 0)
    assert (unquoted.quote, unquoted.values, unquoted.legs) == (None, None, ())


def test_the_calendar_is_looked_at_where_a_blackout_is_on_for_the_currencies_of_the_symbol():
    book = begun()
    payrolls = NewsEvent(ts_ns=NOW_NS + 5 * MINUTE_NS, currency="USD", impact=3, title="Payrolls")
    book.record.scheduled([payrolls])
    on = switched_off(news=News(file="c.csv", before_min=15))

    def seen(policy, **fields):
        check = look(entry(**fields), book, policy, volume_e2=0, now_ns=NOW_NS, halt_level=HaltLevel.NONE)
        return check.news, check.calendar_last_ns

    assert seen(on) == seen(on, symbol="USDJPY") == (payrolls, payrolls.ts_ns)
    assert seen(on, symbol="EURGBP") == (None, payrolls.ts_ns)
    assert seen(OFF) == (None, None)


# --- what a policy says ----------------------------------------------------------------------------------------

KEYS = {
    "max_position_pct_equity": 11, "max_exposure_pct_equity": 12, "max_leverage_pct": 13, "max_orders_per_minute": 16,
    "max_margin_use_pct": 14, "max_open_positions": 15, "max_cancels_per_minute": 17, "slippage_budget_pct_e2": 18,
    "max_consecutive_losses": 19,
}  # fmt: skip


def test_each_limit_is_on_where_it_is_set_and_says_in_which_scope():
    account = switched_off(
        max_position_pct_equity=11, max_exposure_pct_equity=12, max_leverage_pct=13, max_orders_per_minute=16,
        sizes=Sizes(max_margin_use_pct=14, max_open_positions=15), streaks=Streaks(max_consecutive_losses=19),
        orders=Orders(max_cancels_per_minute=17, slippage_budget_pct_e2=18), daily_loss_pct_e2=999,
    )  # fmt: skip
    nothing = dict.fromkeys([*KEYS, "daily_loss_pct_e2"], ())
    assert terms_of(account, "EURUSD", "s").limits == nothing | {key: ((value, 0),) for key, value in KEYS.items()}
    assert terms_of(OFF, "EURUSD", "s").limits == nothing
    scopes = replace(
        account,
        symbols={"EURUSD": SymbolLimits(**{key: value + 10 for key, value in KEYS.items()}, daily_loss_pct_e2=1)},
        strategies={"s": StrategyLimits(**{key: value + 20 for key, value in KEYS.items()}, daily_loss_pct_e2=2)},
    )
    both = terms_of(scopes, "EURUSD", "s")
    assert both.limits == {key: ((value, 0), (value + 10, 1), (value + 20, 2)) for key, value in KEYS.items()} | {
        "daily_loss_pct_e2": ((1, 1), (2, 2))}  # fmt: skip
    assert (both.of_symbol, both.of_strategy) == (True, True)
    neither = terms_of(scopes, "GBPUSD", "t")
    assert neither.limits == terms_of(account, "", "").limits
    assert (neither.of_symbol, neither.of_strategy, neither.policy) == (False, False, scopes)
    assert terms_of(scopes, "GBPUSD", "s").of_strategy is True
    assert terms_of(RULED, "EURUSD", "t").policy == replace(RULED, max_spread_pips_e1=300)
    assert terms_of(RULED, "GBPUSD", "s").policy == replace(RULED, max_order_lots_e2=900)


def test_what_a_policy_says_is_worked_out_once_a_pair_and_anew_for_every_other_policy():
    first = terms_of(RULED, "EURUSD", "s")
    assert terms_of(RULED, "EURUSD", "s") is first
    for n in range(70):
        other = switched_off(max_spread_pips_e1=n + 1)
        assert terms_of(other, "EURUSD", "s").policy is other
    assert terms_of(RULED, "EURUSD", "s") == first


def test_rules_are_asked_in_their_order_and_passed_over_where_what_they_look_at_is_not_there():
    assert in_order(RULES) == ASKED
    assert [each for _, asked in ASKED for each in asked] == [rule.ask for rule in RULES]
    assert all(first[0] != second[0] for first, second in pairwise(ASKED))
    needs = {rule.ask: rule.needs for rule in RULES}
    assert all(needs[each] == wanted for wanted, asked in ASKED for each in asked)
    seen = look(entry(), begun(), OFF, volume_e2=1_000_000, now_ns=NOW_NS, halt_level=HaltLevel.NONE)
    assert first_breach(seen) is None
    silent = ModelStanding(model_id="m", horizon=1, silent=True, owed=9)
    assert first_breach(replace(seen, model=silent)).rule == "forecasts_missing"
    far = Risked(at_risk=10**9, shortfall=0, together=0, factors=())
    portfolio = switched_off(portfolio=PortfolioLimits(var_pct_e2=1))
    risky = Outlook(measured=True, after=far, before=replace(far, at_risk=0))
    assert first_breach(replace(seen, policy=portfolio, outlook=risky)).rule == "value_at_risk"


def test_the_walk_counts_nothing_for_a_symbol_that_nobody_holds():
    count = count_all(empty_book(), "GBPUSD", "s")
    assert count == ({"GBPUSD": [0, 0]}, {"GBPUSD": [0, 0]}, 0, 0, 0, 0, 0)
