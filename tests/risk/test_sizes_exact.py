"""Limits on sizes and on the book as a whole at their last allowed figure and beyond: what is said, word for word."""

import msgspec
import pytest

from bus.values import default_instrument
from risk.limits import (
    Breach,
    sizes,
)
from risk.limits import portfolio as together
from risk.limits.figures import Values
from risk.policies.portfolio import PortfolioLimits
from risk.policies.scopes import CurrencyLimits, StrategyLimits
from risk.policies.sizes import Sizes
from risk.portfolio.outlook import Figures as Losses
from risk.portfolio.outlook import Outlook
from tests.harness.books import switched_off as limits
from tests.harness.checks import ENTRY, check, in_scope

replace = msgspec.structs.replace


# --- the book as a whole ---------------------------------------------------------------------------------------

QUIET = Losses(at_risk=0, shortfall=0, together=0, factors=(0, 0))


def outlook(after, before=QUIET):
    return Outlook(measured=True, bars=300, after=after, before=before, names=("the dollar", "the yen"))


SHARED = [
    ("value_at_risk", "var_pct_e2", "at_risk", " at 97.5 % in 24 bars"),
    ("expected_shortfall", "shortfall_pct_e2", "shortfall", " beyond 97.5 % in 24 bars"),
    ("factor", "factor_pct_e2", "factors", " by one deviation of the yen (component 2)"),
]


@pytest.mark.parametrize(("name", "key", "field", "of"), SHARED)
def test_the_book_may_risk_as_much_as_the_limit_and_more_only_where_the_entry_lowers_it(name, key, field, of):
    def risked(after, before=0, limit_e2=150, equity=1_000_000):
        values = [(0, each) if field == "factors" else each for each in (after, before)]
        seen = outlook(*(replace(QUIET, **{field: each}) for each in values))
        policy = limits(portfolio=PortfolioLimits(level_pct_e2=9_750, horizon_bars=24, **{key: limit_e2}))
        return getattr(together, name)(check(policy=policy, outlook=seen, equity=equity))

    assert risked(15_000) is None
    wanted = Breach(name, f"1.50 % of equity{of}", "2.00 %, 1.00 % without it",
                    "1.50 % or less, or an entry that lowers it")  # fmt: skip
    assert risked(20_000, 10_000) == wanted
    assert risked(15_001).value == "1.50 %, 0.00 % without it"
    assert risked(20_000, 20_000).value == "2.00 %, 2.00 % without it"
    assert risked(20_000, 20_001) is None
    assert risked(10**9, limit_e2=0) is None
    assert risked(20_000, 10_000, limit_e2=1).limit == f"0.01 % of equity{of}"
    assert risked(2, 1, equity=0).value == "2, 1 without it"
    assert risked(2, 1, equity=1).value == "200.00 %, 100.00 % without it"


def test_of_two_factors_the_first_that_is_beyond_the_limit_is_told():
    seen = outlook(replace(QUIET, factors=(30_000, 40_000)))
    policy = limits(portfolio=PortfolioLimits(factor_pct_e2=250))
    told = together.factor(check(policy=policy, outlook=seen, equity=1_000_000))
    assert told.limit == "2.50 % of equity by one deviation of the dollar (component 1)"


def test_what_moves_together_may_be_as_large_as_the_limit():
    def large(after, before=0, limit_pct=150):
        seen = outlook(replace(QUIET, together=after), replace(QUIET, together=before))
        policy = limits(portfolio=PortfolioLimits(correlated_pct_equity=limit_pct, correlated_above_pct=70))
        return together.correlation(check(policy=policy, outlook=seen, equity=1_000_000))

    assert large(1_500_000) is None
    assert large(1_500_001, 600_000) == Breach(
        "correlation", "150.00 % of equity in what moves together by 70 % or more", "150.00 %, 60.00 % without it",
        "150.00 % or less, or an entry that lowers it")  # fmt: skip
    assert large(10**9, limit_pct=0) is None


def test_one_entry_may_add_as_much_as_its_limit_to_the_value_at_risk():
    def added(after, before, limit_e2=50, equity=1_000_000):
        seen = outlook(replace(QUIET, at_risk=after), replace(QUIET, at_risk=before))
        policy = limits(portfolio=PortfolioLimits(entry_var_pct_e2=limit_e2))
        return together.entry_risk(check(policy=policy, outlook=seen, equity=equity))

    assert added(25_000, 20_000) is None
    wanted = Breach("entry_risk", "0.50 % of equity", "0.60 %", "0.50 % or less: a smaller entry")
    assert added(26_000, 20_000) == wanted
    assert added(25_001, 20_000) == replace(wanted, value="0.50 %")
    assert added(10**9, 0, limit_e2=0) is None
    assert added(10**9, 0, limit_e2=1).limit == "0.01 % of equity"
    assert added(600_000, 0, limit_e2=5_000) == Breach("entry_risk", "50.00 % of equity", "60.00 %",
                                                      "50.00 % or less: a smaller entry")  # fmt: skip
    assert added(1, 0, equity=0).value == "1"
    assert added(0, 0, equity=-1) is None  # what adds nothing is asked nothing
    assert added(0, 1, equity=-(10**6)) is None


def test_without_history_these_limits_are_silent_or_refuse_as_asked():
    blind = Outlook(measured=False)

    def told(seen, *, require):
        policy = limits(portfolio=PortfolioLimits(require_history=require, min_bars=130))
        return together.portfolio_history(check(policy=policy, outlook=seen))

    wanted = Breach("portfolio_history", "130 bars of a symbol", "fewer", "the same entry after 130 bars")
    assert told(blind, require=True) == wanted
    assert told(blind, require=False) is told(outlook(QUIET), require=True) is told(None, require=True) is None
    everything = limits(portfolio=PortfolioLimits())
    far = replace(QUIET, at_risk=10**9, shortfall=10**9, together=10**9, factors=(10**9,))
    for seen in (None, Outlook(measured=True, after=far, before=None, names=("one",))):
        for ask in (together.value_at_risk, together.expected_shortfall, together.entry_risk, together.correlation,
                    together.factor):  # fmt: skip
            assert ask(check(policy=everything, outlook=seen)) is None


# --- sizes -----------------------------------------------------------------------------------------------------


def valued(position=0, gross=0, net=0, margin=0, **fields):
    return in_scope(values=Values(position, gross, net, margin), **fields)


def test_what_cannot_be_valued_is_refused_and_asked_nothing_else():
    account, _ = in_scope(values=None)
    wanted = Breach("conversion_rate", "a price chain to the account's currency", "none", "quotes of the linking pair")
    assert sizes.conversion_rate(check(account=account)) == wanted
    assert sizes.conversion_rate(ENTRY) is None
    tight = limits(max_position_pct_equity=1, max_exposure_pct_equity=1, max_leverage_pct=1, min_free_margin_pct=100,
                   sizes=Sizes(max_margin_use_pct=1, min_free_margin=10**9))  # fmt: skip
    for ask in (sizes.position_size, sizes.exposure, sizes.leverage, sizes.margin_use, sizes.margin, sizes.free_margin):
        assert ask(check(policy=tight, account=account)) is None


SIZES = [
    ("position_size", "max_position_pct_equity", "position", ""),
    ("exposure", "max_exposure_pct_equity", "gross", ""),
    ("leverage", "max_leverage_pct", "net", ""),
    ("margin_use", "max_margin_use_pct", "margin", "sizes"),
]


@pytest.mark.parametrize(("name", "key", "field", "group"), SIZES)
def test_a_size_may_be_as_large_as_its_limit_and_says_whose_limit_it_is(name, key, field, group):
    ask = getattr(sizes, name)
    others = {each: 10**12 for _, _, each, _ in SIZES if each != field}

    def large(value, limit_pct=80, equity=1_000_000, own=None, scope_values=True):
        account, _ = valued(**others, **{field: value})
        _, scope = valued(**others, **{field: 850_000})
        set_ones = {group: Sizes(**{key: limit_pct})} if group else {key: limit_pct}
        strategies = {"s": StrategyLimits(**{key: own})} if own else {}
        policy = limits(**({} if "exposure" in key else {"max_exposure_pct_equity": 0}), **set_ones,
                        strategies=strategies)  # fmt: skip
        if not scope_values:
            scope = replace(scope, values=None)
        return ask(check(policy=policy, account=account, equity=equity, own=scope))

    assert large(800_000) is None
    wanted = Breach(name, "80 % of equity", "80.0 %", "80 % or less")
    assert large(800_001) == wanted
    assert large(900_000) == replace(wanted, value="90.0 %")
    assert large(10**12, limit_pct=0) is None
    assert large(10**12, limit_pct=1).limit == "1 % of equity"
    assert large(7, equity=0) == replace(wanted, value="7 on an equity of 0")
    assert large(7, equity=1) == replace(wanted, value="700.0 %")
    assert large(7, equity=-5) == replace(wanted, value="7 on an equity of -5")
    assert large(0, limit_pct=90, own=85) is None
    assert large(0, limit_pct=90, own=82) == Breach(name, "82 % of equity in s", "85.0 %", "82 % or less")
    assert large(0, limit_pct=90, own=82, scope_values=False) is None


def test_each_leg_has_the_tighter_of_both_limits_on_currencies():
    def legs(everywhere, own=None, equity=1_000_000):
        currencies = {"USD": CurrencyLimits(max_currency_pct_equity=own)} if own is not None else {}
        policy = limits(sizes=Sizes(max_currency_pct_equity=everywhere), currencies=currencies)
        held = (("EUR", 1_200_000), ("USD", 1_500_000))
        return sizes.currency_exposure(check(policy=policy, legs=held, equity=equity))

    assert legs(150) is None
    wanted = Breach("currency_exposure", "149 % of equity in USD", "150.0 %", "149 % or less")
    assert legs(149) == wanted
    assert legs(119) == Breach("currency_exposure", "119 % of equity in EUR", "120.0 %", "119 % or less")
    assert legs(0) is legs(0, 0) is legs(150, 0) is legs(0, 150) is legs(150, 200) is None
    assert legs(200, 149) == legs(0, 149) == wanted
    assert legs(149, 200) == legs(149, 0) == wanted


def test_margin_leaves_as_much_free_as_the_limits_say():
    def free(margin, pct=20, equity=1_000_000):
        account, _ = valued(margin=margin)
        return sizes.margin(check(policy=limits(min_free_margin_pct=pct), account=account, equity=equity))

    assert free(800_000) is None
    wanted = Breach("margin", "20 % of equity free", "20.0 %", "20 % or more")
    assert free(800_001) == wanted
    assert free(900_000) == replace(wanted, value="10.0 %")
    assert free(1_000_000, pct=0) is None
    assert free(1_000_000, pct=1).limit == "1 % of equity free"
    assert free(7, equity=0) == replace(wanted, value="0.0 %")

    def amount(margin, least=500, equity=1_000_000):
        account, _ = valued(margin=margin)
        policy = limits(sizes=Sizes(min_free_margin=least))
        return sizes.free_margin(check(policy=policy, account=account, equity=equity, unit=100))

    assert amount(950_000) is None
    wanted = Breach("free_margin", "500 free", "499.99", "500 or more")
    assert amount(950_001) == wanted
    assert amount(1_000_000, least=0) is None
    assert amount(1_000_000, least=1) == Breach("free_margin", "1 free", "0.00", "1 or more")


def test_as_many_positions_as_the_limit_are_too_many_for_one_more():
    def many(positions, limit=3, own=0):
        account, scope = in_scope(positions=positions)
        strategies = {"s": StrategyLimits(max_open_positions=own)} if own else {}
        policy = limits(sizes=Sizes(max_open_positions=limit), strategies=strategies)
        return sizes.open_positions(check(policy=policy, account=account, own=scope))

    assert many(2) is None
    wanted = Breach("open_positions", "3", "3 and this one", "fewer than 3 before it")
    assert many(3) == wanted
    assert many(9, limit=0) is None
    assert many(3, limit=1) == Breach("open_positions", "1", "3 and this one", "fewer than 1 before it")
    assert many(3, limit=4, own=3) == replace(wanted, limit="3 in s")


def test_a_volume_suits_the_venue_and_the_largest_order_allowed():
    spec = replace(default_instrument("EURUSD"), min_volume_e2=200_000, max_volume_e2=50_000_000)

    def sized(volume_e2, lots_e2=0):
        return sizes.order_volume(check(policy=limits(max_order_lots_e2=lots_e2), volume_e2=volume_e2, instrument=spec))

    assert sized(200_000) is sized(50_000_000) is sized(20_000_000, 200) is None
    steps = "in steps of 100000 (1/100 units)"
    wanted = Breach("order_volume", f"200000 to 50000000 {steps}", "50100000", "such a volume")
    assert sized(50_100_000) == wanted
    assert sized(100_000) == replace(wanted, value="100000")
    assert sized(250_000) == replace(wanted, value="250000")
    assert sized(0) == replace(wanted, value="0: the sized volume is below the smallest order",
                               would_pass="more equity or a nearer stop")  # fmt: skip
    assert sized(20_100_000, 200) == Breach("order_volume", f"200000 to 20000000 {steps}", "20100000", "such a volume")
    assert sized(50_100_000, 100_000).limit == f"200000 to 50000000 {steps}"
    assert sized(200_000, 1).limit == f"200000 to 100000 {steps}"  # 0.01 lots
