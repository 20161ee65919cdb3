"""Settings of the limits: what may be written, what is said where it may not, and which of two values is tighter."""

import msgspec
import pytest

from bus.errors import ConfigError
from bus.messages import NewsEvent
from bus.values import NS_PER_S, Side, default_instrument
from risk.holding import must_close, weekend_near
from risk.news import Calendar
from risk.orders import Position
from risk.policies.hours import Hours, intervals
from risk.policies.keys import Key, check_bounds, tightest
from risk.policies.losses import Losses
from risk.policies.models import ModelLimits
from risk.policies.news import News
from risk.policies.orders import Orders
from risk.policies.portfolio import PortfolioLimits
from risk.policies.scopes import CurrencyLimits, StrategyLimits, SymbolLimits, check_scopes
from risk.policies.sizes import Sizes
from risk.policy import Policy
from risk.sizing import SizingSettings, size_e2
from tests.harness.books import NOW_NS, entry, switched_off

MINUTE_NS = 60 * NS_PER_S


def refusal(make, *args, **kwargs):
    with pytest.raises(ConfigError) as told:
        make(*args, **kwargs)
    return str(told.value)


# --- keys ------------------------------------------------------------------------------------------------------


class Pair(msgspec.Struct):
    first: object = 0
    second: object = 0


BOUNDS = {"first": (0, 9, "off", 5), "second": (-3, 4, "", 2)}


def test_whole_numbers_within_their_bounds_are_taken_and_the_first_other_is_told_with_what_to_write():
    for values in ((0, -3), (9, 4), (1, 0)):
        check_bounds(Pair(*values), "risk", BOUNDS)
    told = refusal(check_bounds, Pair(10, 0), "risk.some", BOUNDS)
    assert told == "risk.some.first = 10: must lie between 0 and 9 (0 = off); write for instance 5"
    told = refusal(check_bounds, Pair(-1, 9), "", BOUNDS)
    assert told == "first = -1: must lie between 0 and 9 (0 = off); write for instance 5"
    told = refusal(check_bounds, Pair(1, 5), "risk", BOUNDS)
    assert told == "risk.second = 5: must lie between -3 and 4; write for instance 2"
    assert refusal(check_bounds, Pair(1, -4), "risk", BOUNDS).startswith("risk.second = -4: must lie between")
    for wrong in (1.0, True, "1", None):
        told = refusal(check_bounds, Pair(1, wrong), "risk", BOUNDS)
        assert told == f"risk.second = {wrong!r}: must be a whole number; write for instance 2"


@pytest.mark.parametrize(
    ("zero", "tighter", "first", "second", "wanted"),
    [("off", "lower", 3, 5, 3), ("off", "lower", 0, 5, 5), ("off", "lower", 5, 0, 5), ("off", "lower", 0, 0, 0),
     ("off", "lower", 1, 5, 1), ("off", "lower", 5, 1, 1),
     ("off", "higher", 3, 5, 5), ("off", "higher", 0, 5, 5), ("", "lower", 0, 5, 0), ("", "higher", 0, 5, 5),
     ("", "lower", 5, 0, 0)],
)  # fmt: skip
def test_the_tighter_of_two_values_is_the_one_that_allows_less_and_0_may_mean_off(zero, tighter, first, second, wanted):
    assert tightest(Key(0, 9, zero, 5, "", "", tighter), first, second) == wanted


# --- groups ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("session", "wanted"),
    [("Mon 00:00-00:01", ((0, 1),)),
     ("Tue 08:05-17:30", ((1_440 + 485, 1_440 + 1_050),)),
     ("Wed 10:00-24:00", ((2 * 1_440 + 600, 3 * 1_440),)),
     ("Sun 22:00-02:00", ((6 * 1_440 + 1_320, 10_080), (0, 120))),
     ("Sun 22:00-24:00", ((6 * 1_440 + 1_320, 10_080),)),
     ("Sun 22:00-00:00", ((6 * 1_440 + 1_320, 10_080),)),
     ("Sun 00:01-00:00", ((6 * 1_440 + 1, 10_080),)),
     ("Mon-Tue 22:00-00:01", ((1_320, 1_441), (2_760, 2_881))),
     ("Sat-Mon 01:00-02:00", ((5 * 1_440 + 60, 5 * 1_440 + 120), (6 * 1_440 + 60, 6 * 1_440 + 120), (60, 120))),
     ("Fri-Fri 23:59-24:00", ((4 * 1_440 + 1_439, 5 * 1_440),)),
     ("Mon 00:00-24:00", ((0, 1_440),))],
)  # fmt: skip
def test_a_session_is_minutes_of_the_week(session, wanted):
    assert intervals((session,)) == wanted
    assert intervals(("Thu 00:00-00:02", session)) == ((3 * 1_440, 3 * 1_440 + 2), *wanted)


@pytest.mark.parametrize(
    "session",
    ["", "Mon", "Mon 08:00", "Mon 24:00-25:00", "Mon 08:00-24:01", "Mon 08:60-09:00", "Mon 08:00-09:60",
     "Xyz 08:00-09:00", "Mon-Xyz 08:00-09:00", "Mon 08:00-08:00", "mon 08:00-09:00", "Mon 8:00-9:00", "Mon 24:00-01:00",
     "Mon 08:00-09:00 "],
)  # fmt: skip
def test_what_is_no_session_is_told_with_two_that_are(session):
    said = f"{session!r} is no session; write for instance 'Mon-Fri 08:00-17:30' or 'Sun 22:00-02:00'"
    assert refusal(intervals, (session,)) == said
    assert refusal(Hours, sessions=("Mon 08:00-09:00", session)) == f"risk.hours.sessions: {said}"
    assert refusal(SymbolLimits, sessions=(session,)) == f"sessions: {said}"


def test_a_zone_that_nobody_keeps_is_told_with_the_key_that_names_it():
    said = "'Mars/North' is no time zone; write an IANA name such as America/New_York or UTC"
    assert refusal(Hours, zone="Mars/North") == f"risk.hours.zone = 'Mars/North': {said}"
    assert refusal(Losses, day_zone="Mars/North") == f"risk.losses.day_zone = 'Mars/North': {said}"
    assert refusal(News, zone="Mars/North") == f"risk.news.zone = 'Mars/North': {said}"


@pytest.mark.parametrize(
    ("group", "key", "highest", "section"),
    [(Hours, "week_open_min", 7_199, "risk.hours."), (Losses, "day_hour", 23, "risk.losses."),
     (News, "runs_out_days", 3_650, "risk.news."), (ModelLimits, "misses", 1_000, "risk.models."),
     (PortfolioLimits, "var_pct_e2", 1_000_000, "risk.portfolio."), (Sizes, "max_margin_use_pct", 100, "risk.sizes."),
     (SymbolLimits, "max_quote_age_s", 86_400, ""), (CurrencyLimits, "max_currency_pct_equity", 200_000, ""),
     (Policy, "max_quote_age_s", 86_400, "risk.")],
)  # fmt: skip
def test_a_number_beyond_its_bounds_is_told_with_its_place(group, key, highest, section):
    assert getattr(group(**{key: highest}), key) == highest
    told = refusal(group, **{key: highest + 1})
    assert told.startswith(f"{section}{key} = {highest + 1}: must lie between 0 and {highest}")


def test_coverage_is_measured_over_50_outcomes_or_more_or_not_at_all():
    for possible in (0, 50, 5_000):
        assert ModelLimits(coverage_window=possible).coverage_window == possible
    for wrong in (1, 49):
        told = refusal(ModelLimits, coverage_window=wrong)
        assert told == f"risk.models.coverage_window = {wrong}: write 0 (off), or 50 or more"


def test_regimes_to_avoid_are_64_at_most_and_count_from_0():
    assert ModelLimits(avoid_regimes=(0, 63)).avoid_regimes == (0, 63)
    assert len(ModelLimits(avoid_regimes=(5,) * 64).avoid_regimes) == 64
    for wrong in ((64,), (-1,), (1, True), (1.0,), (5,) * 65):
        told = refusal(ModelLimits, avoid_regimes=wrong)
        assert told == (f"risk.models.avoid_regimes = {list(wrong)}: regimes count from 0, the calmest; write for "
                        "instance [2]")  # fmt: skip


def test_a_blackout_needs_a_calendar_and_currencies_of_three_capitals():
    said = ("risk.news.file is empty, so before_min and after_min would do nothing; name a calendar (CSV or "
            "ICS), or write 0 for both")  # fmt: skip
    for key in ("before_min", "after_min"):
        assert refusal(News, **{key: 1}) == said
        assert News(file="c.csv", **{key: 1}).on is True
    assert News(file="c.csv").on is False
    assert News(currencies=("USD", "EUR")).currencies == ("USD", "EUR")
    for wrong in ("usd", "US", "USDT", "U1D", ""):
        told = refusal(News, currencies=("EUR", wrong, "x"))
        assert told == f"risk.news.currencies: {wrong!r} is no currency; write for instance 'USD'"


def test_limits_of_the_book_as_a_whole_need_a_method_and_enough_bars_for_their_level():
    place = "risk.portfolio."
    assert refusal(PortfolioLimits, method="guess") == (
        f"{place}method = 'guess': no such method; write one of filtered, historical, normal, student")  # fmt: skip
    assert refusal(PortfolioLimits, require_history=1) == f"{place}require_history = 1: write true or false"
    assert PortfolioLimits(min_bars=500, window_bars=500).min_bars == 500
    assert refusal(PortfolioLimits, min_bars=501, window_bars=500) == (
        f"{place}min_bars = 501: more than {place}window_bars = 500 are never known; write at most 500")  # fmt: skip
    assert PortfolioLimits(level_pct_e2=9_900, min_bars=99).min_bars == 99
    assert refusal(PortfolioLimits, level_pct_e2=9_900, min_bars=98) == (
        f"{place}min_bars = 98: a level of 99 % cannot be told from so few; write at least 99")  # fmt: skip
    assert PortfolioLimits(level_pct_e2=9_871, min_bars=77).min_bars == 77  # 98.71 / 1.29 = 76.5
    assert refusal(PortfolioLimits, level_pct_e2=9_871, min_bars=76) == (
        f"{place}min_bars = 76: a level of 98.71 % cannot be told from so few; write at least 77")  # fmt: skip


def test_limits_of_the_book_as_a_whole_are_on_where_any_is():
    keys = ("var_pct_e2", "shortfall_pct_e2", "entry_var_pct_e2", "correlated_pct_equity", "factor_pct_e2")
    nothing = dict.fromkeys(keys, 0)
    assert PortfolioLimits(**nothing).on is False
    for key in keys:
        assert PortfolioLimits(**(nothing | {key: 1})).on is True


def test_a_scope_that_is_not_traded_is_told_with_all_that_are():
    traded = tuple(default_instrument(each) for each in ("USDJPY", "EURUSD"))
    good = Policy(symbols={"EURUSD": SymbolLimits()}, currencies={"JPY": CurrencyLimits()},
                  strategies={"b": StrategyLimits()})  # fmt: skip
    check_scopes(good, traded, ["a", "b"])
    for scope, name, there in (
        ("symbols", "GBPUSD", "USDJPY, EURUSD"),
        ("currencies", "GBP", "EUR, JPY, USD"),
        ("strategies", "c", "a, b"),
    ):
        kind = {"symbols": SymbolLimits, "currencies": CurrencyLimits, "strategies": StrategyLimits}[scope]
        known = {"symbols": "EURUSD", "currencies": "JPY", "strategies": "a"}[scope]
        policy = Policy(**{scope: {known: kind(), name: kind()}})
        told = refusal(check_scopes, policy, traded, ["a", "b"])
        assert told == f"risk.{scope}.{name}: nothing of that name is traded; there are {there}"


# --- the policy ------------------------------------------------------------------------------------------------


def test_one_position_may_be_as_large_as_all_of_them_and_no_larger():
    assert Policy(max_position_pct_equity=700, max_exposure_pct_equity=700)
    assert Policy(max_position_pct_equity=700, max_exposure_pct_equity=0)
    assert refusal(Policy, max_position_pct_equity=2, max_exposure_pct_equity=1) == (
        "risk.max_position_pct_equity = 2: one position cannot exceed all of them together "
        "(risk.max_exposure_pct_equity = 1); write at most 1")  # fmt: skip


def test_a_symbol_and_a_strategy_tighten_what_they_limit_alike_and_leave_the_rest():
    policy = Policy(
        max_order_lots_e2=500, max_spread_pips_e1=50, max_quote_age_s=30, max_orders_per_minute=30,
        symbols={"EURUSD": SymbolLimits(max_order_lots_e2=300, max_spread_pips_e1=70, max_quote_age_s=1,
                                        max_orders_per_minute=2)},
        strategies={"s": StrategyLimits(max_order_lots_e2=200, max_orders_per_minute=1)},
    )  # fmt: skip
    both = policy.within("EURUSD", "s")
    assert both == msgspec.structs.replace(policy, max_order_lots_e2=200, max_quote_age_s=1)
    assert policy.within("EURUSD", "other") == msgspec.structs.replace(policy, max_order_lots_e2=300, max_quote_age_s=1)
    assert policy.within("GBPUSD", "s") == msgspec.structs.replace(policy, max_order_lots_e2=200)
    assert policy.within("GBPUSD", "other") is policy
    loose = Policy(max_order_lots_e2=100, symbols={"EURUSD": SymbolLimits(max_order_lots_e2=400)})
    assert loose.within("EURUSD", "").max_order_lots_e2 == 100
    off = Policy(max_order_lots_e2=0, symbols={"EURUSD": SymbolLimits(max_order_lots_e2=1)})
    assert off.within("EURUSD", "").max_order_lots_e2 == 1


def test_a_position_is_held_as_long_as_the_shortest_limit_on_it():
    policy = Policy(orders=Orders(max_holding_s=90), symbols={"EURUSD": SymbolLimits(max_holding_s=60)},
                    strategies={"s": StrategyLimits(max_holding_s=30), "t": StrategyLimits()})  # fmt: skip
    assert policy.holding_limit_s("EURUSD", "s") == 30
    assert policy.holding_limit_s("EURUSD", "t") == 60
    assert policy.holding_limit_s("GBPUSD", "t") == 90
    assert Policy().holding_limit_s("EURUSD", "s") == 0
    assert Policy(symbols={"EURUSD": SymbolLimits(max_holding_s=1)}).holding_limit_s("EURUSD", "") == 1


# --- holding ---------------------------------------------------------------------------------------------------

FRIDAY_NS = NOW_NS + (3 * 24 + 6) * 60 * MINUTE_NS  # 4 May 2018, 21:00 UTC: the week ends


def held(**fields):
    return Position(**({"position_id": "P1", "symbol": "EURUSD", "side": Side.BUY, "strategy": "s"} | fields))


def test_the_weekend_is_near_from_its_minutes_on_and_never_where_trading_never_ends():
    spec = default_instrument("EURUSD")
    always = msgspec.structs.replace(spec, session="always")
    one = switched_off(hours=Hours(weekend_flat_min=1))
    assert weekend_near(spec, one, FRIDAY_NS - MINUTE_NS - 1) is False
    assert weekend_near(spec, one, FRIDAY_NS - MINUTE_NS) is True
    assert weekend_near(always, one, FRIDAY_NS) is False
    assert weekend_near(spec, switched_off(), FRIDAY_NS) is False
    assert must_close(held(), spec, one, FRIDAY_NS) == "weekend"
    assert must_close(held(), spec, switched_off(), FRIDAY_NS) == ""


def test_a_position_is_held_too_long_from_the_later_of_when_it_opened_and_when_that_was_told():
    spec = default_instrument("EURUSD")

    def closed(policy, since, later=1, **fields):
        return must_close(held(**fields), spec, policy, since + 60 * NS_PER_S + later)

    short = switched_off(orders=Orders(max_holding_s=60))
    assert closed(short, NOW_NS, 0, ts_open_ns=NOW_NS) == ""
    assert closed(short, NOW_NS, ts_open_ns=NOW_NS) == "held too long"
    assert closed(short, NOW_NS, ts_open_ns=NOW_NS, ts_told_ns=NOW_NS + 5) == ""
    assert closed(short, NOW_NS + 5, ts_open_ns=NOW_NS, ts_told_ns=NOW_NS + 5) == "held too long"
    assert closed(short, NOW_NS) == ""  # nobody knows since when
    one = switched_off(orders=Orders(max_holding_s=1))
    assert must_close(held(ts_open_ns=1), spec, one, NS_PER_S + 1) == ""
    assert must_close(held(ts_open_ns=1), spec, one, NS_PER_S + 2) == "held too long"
    own = switched_off(strategies={"s": StrategyLimits(max_holding_s=60)})
    assert closed(own, NOW_NS, ts_open_ns=NOW_NS) == "held too long"
    assert closed(own, NOW_NS, ts_open_ns=NOW_NS, strategy="other") == ""
    of_symbol = switched_off(symbols={"EURUSD": SymbolLimits(max_holding_s=60)})
    assert closed(of_symbol, NOW_NS, ts_open_ns=NOW_NS) == "held too long"
    assert closed(of_symbol, NOW_NS, ts_open_ns=NOW_NS, symbol="GBPUSD") == ""
    both = switched_off(hours=Hours(weekend_flat_min=15), orders=Orders(max_holding_s=60))
    assert closed(both, NOW_NS, ts_open_ns=NOW_NS) == "held too long"


# --- news ------------------------------------------------------------------------------------------------------


def event(minutes, currency="USD", impact=3, title="news"):
    return NewsEvent(ts_ns=NOW_NS + minutes * MINUTE_NS, currency=currency, impact=impact, title=title)


AROUND = News(file="c.csv", before_min=15, after_min=5)


def test_a_calendar_ends_with_its_last_event_however_they_are_told():
    assert Calendar([]).last_ns == 0
    assert Calendar([event(9), event(-3, "EUR")]).last_ns == NOW_NS + 9 * MINUTE_NS


def test_the_first_event_in_time_of_the_first_currency_that_has_one_near_is_told():
    late, soon, gone, euro = event(14), event(-5), event(-6), event(2, "EUR")
    calendar = Calendar([late, soon, gone, euro])
    assert calendar.near(("USD", "EUR"), NOW_NS, AROUND) == soon
    assert calendar.near(("EUR", "USD"), NOW_NS, AROUND) == euro
    assert calendar.near(("GBP", "USD"), NOW_NS, AROUND) == soon
    assert calendar.near(("GBP", "JPY"), NOW_NS, AROUND) is None
    only = msgspec.structs.replace(AROUND, currencies=("EUR", "GBP"))
    assert calendar.near(("USD", "EUR"), NOW_NS, only) == euro
    assert calendar.near(("USD",), NOW_NS, only) is None


@pytest.mark.parametrize(("least", "counts"), [("low", {1, 2, 3}), ("medium", {2, 3}), ("high", {3})])
def test_an_event_counts_from_its_impact_on_and_a_smaller_one_hides_no_larger(least, counts):
    setting = msgspec.structs.replace(AROUND, impact=least)
    for impact in (1, 2, 3):
        found = Calendar([event(3, impact=impact)]).near(("USD",), NOW_NS, setting)
        assert (found is not None) is (impact in counts)
    apart = Calendar([event(16), event(3, "EUR")])
    assert apart.near(("USD", "EUR"), NOW_NS, setting).currency == "EUR"
    both = Calendar([event(-1, impact=0, title="small"), event(15, impact=3, title="large")])
    assert both.near(("USD",), NOW_NS, setting).title == "large"


def test_a_blackout_includes_both_its_ends():
    for minutes, near in ((-6, False), (-5, True), (15, True), (16, False)):
        assert (Calendar([event(minutes)]).near(("USD",), NOW_NS, AROUND) is not None) is near


# --- sizing ----------------------------------------------------------------------------------------------------


def test_settings_of_size_are_refused_with_their_key_their_bounds_and_what_to_write():
    assert refusal(SizingSettings, method="all in") == (
        "sizing.method = 'all in': no such method; write one of fixed, percent, volatility, kelly")  # fmt: skip
    bounds = {
        "fixed_lots_e2": (10_000_000, 10), "risk_pct_e2": (10_000, 50), "volatility_pct_e2": (10_000, 25),
        "kelly_fraction_pct": (100, 25), "max_pct_equity": (200_000, 300),
    }  # fmt: skip
    for key, (highest, usual) in bounds.items():
        for possible in (1, highest):
            assert getattr(SizingSettings(**{key: possible}), key) == possible
        for wrong in (0, highest + 1):
            told = refusal(SizingSettings, **{key: wrong})
            assert told == f"sizing.{key} = {wrong}: must lie between 1 and {highest}; write for instance {usual}"


def test_without_a_multiplier_a_size_is_whole():
    fixed = SizingSettings(method="fixed", fixed_lots_e2=10)
    assert size_e2(entry(), fixed, default_instrument("EURUSD"), equity=1, price_e5=1, rate_e8=1,
                   money_digits=2) == 1_000_000  # fmt: skip


def test_where_there_is_nothing_to_go_by_not_even_the_smallest_volume_is_left():
    finest = msgspec.structs.replace(default_instrument("EURUSD"), min_volume_e2=1, step_volume_e2=1)

    def size(method, **fields):
        return size_e2(entry(**fields), SizingSettings(method=method), finest, equity=10**6, price_e5=120_008,
                       rate_e8=10**8, money_digits=2)  # fmt: skip

    assert size("percent", stop_loss_e5=0) == size("percent", stop_loss_e5=120_008) == 0
    assert size("volatility", scale_e5=0) == 0
    assert size("kelly", scale_e5=0) == size("kelly", edge_e5=0) == size("kelly", edge_e5=-1) == 0
    assert size("kelly", edge_e5=1, scale_e5=10_000) > 0
