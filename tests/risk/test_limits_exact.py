"""Each limit at its last allowed figure and one step beyond, and what it says there: word for word."""

from datetime import UTC, datetime

import msgspec
import pytest

from bus.calendar import to_ns
from bus.messages import HaltLevel, NewsEvent
from bus.values import LARGEST, NS_PER_DAY, NS_PER_S, OrderType, Side, default_instrument
from risk.coverage import CoverageState
from risk.drift import DriftState
from risk.evidence import Drifted, ModelStanding
from risk.limits import (
    RULES,
    Breach,
    first_breach,
    hours,
    impossible,
    look,
    losses,
    market,
    models,
    orders,
    sizes,
    standing,
)
from risk.limits import portfolio as together
from risk.limits.check import terms_of
from risk.limits.figures import NOTHING, Values
from risk.policies.hours import Hours
from risk.policies.models import ModelLimits
from risk.policies.news import News
from risk.policies.orders import Orders
from risk.policies.portfolio import PortfolioLimits
from risk.policies.scopes import CurrencyLimits, StrategyLimits, SymbolLimits
from risk.policies.sizes import Sizes
from risk.policies.streaks import Streaks
from risk.portfolio.outlook import Figures as Losses
from risk.portfolio.outlook import Outlook
from risk.watermarks import Floor
from tests.harness.books import MINUTE_NS, NOW_NS, begun, entry, opened, quote, switched_off

replace = msgspec.structs.replace
OFF = switched_off()
# An entry of 0.10 lots of EURUSD at 1.20008 for an account of 10 000.00 USD, on 1 May 2018 at 15:00 UTC.
ENTRY = look(entry(), begun(), OFF, volume_e2=1_000_000, now_ns=NOW_NS, halt_level=HaltLevel.NONE)


ACCOUNT = ENTRY.figures[0]


def check(*, policy=OFF, intent=None, account=ACCOUNT, own=NOTHING, **changes):
    """The entry with some other circumstances: of `intent` the fields that differ, figures of account and strategy."""
    terms = terms_of(policy, "EURUSD", "s")
    return replace(ENTRY, intent=replace(ENTRY.intent, **(intent or {})), policy=terms.policy, limits=terms.limits,
                   figures=(account, NOTHING, own), **changes)  # fmt: skip


def limits(**changes):
    return switched_off(**changes)


def at(*parts):
    return to_ns(datetime(*parts, tzinfo=UTC))


def test_an_entry_that_no_limit_is_on_for_breaks_none_and_the_first_of_two_is_told():
    assert [rule.ask.__name__ for rule in RULES if rule.ask(ENTRY) is not None] == []
    assert first_breach(ENTRY) is None
    both = check(equity=0, suspect=True)
    assert first_breach(both) == market.crossed_quote(both)
    assert losses.equity(both) is not None


# --- numbers ---------------------------------------------------------------------------------------------------

PRICES_AND_DISTANCES = ("reference_e5", "stop_loss_e5", "take_profit_e5", "trailing_e5", "price_e5", "scale_e5",
                        "point_e5")  # fmt: skip
LAST_NS = 2**63 - 1


def number(value, limit, would_pass="a whole number within the limit"):
    return Breach("number", limit, value, would_pass)


@pytest.mark.parametrize("name", PRICES_AND_DISTANCES)
def test_a_price_or_a_distance_lies_between_0_and_the_largest_number_there_is(name):
    for possible in (0, LARGEST):
        assert impossible(entry(**{name: possible}), 1_000_000, NOW_NS) is None
    for wrong in (-1, LARGEST + 1, 1.0, True):
        told = impossible(entry(**{name: wrong}), 1_000_000, NOW_NS)
        assert told == number(f"{name} = {wrong!r}", "0 to 20000000000000")


def test_an_edge_may_be_negative_and_no_further_from_0_than_any_number():
    for possible in (-LARGEST, LARGEST):
        assert impossible(entry(edge_e5=possible), 1_000_000, NOW_NS) is None
    for wrong in (-LARGEST - 1, LARGEST + 1, 0.5):
        told = impossible(entry(edge_e5=wrong), 1_000_000, NOW_NS)
        assert told == number(f"edge_e5 = {wrong!r}", "+-20000000000000")


@pytest.mark.parametrize("name", ["horizon", "valid_until_ns", "now_ns"])
def test_times_and_horizons_fit_into_63_bits(name):
    def told(value):
        fields = {} if name == "now_ns" else {name: value}
        return impossible(entry(**fields), 1_000_000, value if name == "now_ns" else NOW_NS)

    assert told(0) is None
    assert told(LAST_NS) is None
    for wrong in (-1, LAST_NS + 1, 1.0):
        assert told(wrong) == number(f"{name} = {wrong!r}", "0 to 2**63 - 1")


def test_a_multiplier_never_makes_an_entry_larger():
    assert impossible(entry(), 0, NOW_NS) is impossible(entry(), 1_000_000, NOW_NS) is None
    for wrong in (-1, 1_000_001, None):
        told = impossible(entry(), wrong, NOW_NS)
        assert told == number(f"multiplier = {wrong!r}", "0 to 1000000 ppm", "a whole number within")


def test_an_intent_enters_or_exits_and_buys_or_sells():
    for action in ("enter", "exit"):
        assert impossible(entry(action=action), 1_000_000, NOW_NS) is None
    limit = "enter or exit, BUY or SELL"
    assert impossible(entry(action="wait"), 1, NOW_NS) == number("'wait' <Side.BUY: 1>", limit, "one of each")
    sideless = replace(entry(), side=1)
    assert impossible(sideless, 1, NOW_NS) == number("'enter' 1", limit, "one of each")


def test_what_rests_has_a_price_and_nothing_but_market_limit_and_stop_is_ordered():
    limit, needed = "market, or limit or stop with a price", "a market order, or a price above 0"
    for kind in (OrderType.LIMIT, OrderType.STOP):
        assert impossible(entry(order_type=kind, price_e5=1), 1, NOW_NS) is None
        assert impossible(entry(order_type=kind), 1, NOW_NS) == number(f"{kind} at 0", limit, needed)
    both = entry(order_type=OrderType.STOP_LIMIT, price_e5=5)
    assert impossible(both, 1, NOW_NS) == number("stop_limit at 5", limit, needed)
    assert impossible(entry(order_type=OrderType.MARKET, price_e5=0), 1, NOW_NS) is None


# --- standing --------------------------------------------------------------------------------------------------


def test_any_halt_refuses_and_is_named():
    for level in (HaltLevel.NO_NEW_RISK, HaltLevel.CANCEL_ENTRIES, HaltLevel.FLATTEN):
        told = standing.halt(check(halt_level=level))
        assert told == Breach("halt", "no new risk", level.name, "an exit, or an operator who resumes")
    assert standing.halt(check(halt_level=HaltLevel.NONE)) is None


def test_without_a_connection_and_with_an_unknown_outcome_nothing_is_risked():
    wanted = Breach("connection", "a ready connection", "none", "the same intent once the venue is reached again")
    assert standing.connection(check(link_up=False)) == wanted
    assert standing.connection(check(link_up=True)) is None
    wanted = Breach("unknown_outcome", "0 commands unanswered", "1 or more", "evidence of what became of it")
    assert standing.unknown_outcome(check(unknown=True)) == wanted
    assert standing.unknown_outcome(check(unknown=False)) is None


# --- market ----------------------------------------------------------------------------------------------------


def test_the_clock_may_stand_at_the_newest_message_and_not_before_it():
    def behind(seconds):
        return Breach("clock", "never before the newest message", f"{seconds} s before the newest message",
                      "the same intent once the clock is right")  # fmt: skip

    assert market.clock(check(latest_ns=NOW_NS)) is None
    assert market.clock(check(latest_ns=NOW_NS + 1)) == behind("0.000")
    assert market.clock(check(latest_ns=NOW_NS + 1_500_000_000)) == behind("1.500")
    later = {"ts_init_ns": NOW_NS + 2 * NS_PER_S}
    assert market.clock(check(latest_ns=NOW_NS, intent=later)) == behind("2.000")
    assert market.clock(check(latest_ns=NOW_NS + 3 * NS_PER_S, intent=later)) == behind("3.000")


def test_an_impossible_quote_is_nothing_to_decide_on():
    wanted = Breach("crossed_quote", "0 < bid <= ask", "an impossible quote", "a possible quote")
    assert market.crossed_quote(check(suspect=True)) == wanted
    assert market.crossed_quote(check(suspect=False)) is None


def test_a_quote_may_be_as_old_as_the_limit_and_must_be_there():
    def aged(ns, limit_s):
        return market.stale_quote(check(policy=limits(max_quote_age_s=limit_s), quote=quote(ts=NOW_NS - ns)))

    assert aged(2 * NS_PER_S, 2) is None
    assert aged(NS_PER_S, 1) is None
    assert aged(2_500_000_000, 2) == Breach("stale_quote", "2 s", "2.500 s", "a quote within 2 s")
    assert aged(2 * NS_PER_S + 1, 2) == Breach("stale_quote", "2 s", "2.000 s", "a quote within 2 s")
    assert aged(NS_PER_DAY, 0) is None
    for limit_s in (0, 2):
        told = market.stale_quote(check(policy=limits(max_quote_age_s=limit_s), quote=None))
        assert told == Breach("stale_quote", f"{limit_s} s", "no quote", "a first quote")


def test_a_spread_may_be_as_wide_as_the_limit_in_the_symbols_own_pips():
    def wide(limit_e1, width_e5, symbol="EURUSD"):
        seen = {"quote": quote(symbol, spread=width_e5), "instrument": default_instrument(symbol)}
        return market.spread(check(policy=limits(max_spread_pips_e1=limit_e1), **seen))

    assert wide(8, 8) is None
    assert wide(7, 8) == Breach("spread", "0.7 pips", "0.8 pips", "0.7 pips or less")
    assert wide(15, 1_500, "USDJPY") is None
    assert wide(14, 1_500, "USDJPY") == Breach("spread", "1.4 pips", "1.5 pips", "1.4 pips or less")
    assert wide(1, 25) == Breach("spread", "0.1 pips", "2.5 pips", "0.1 pips or less")
    assert wide(0, 100_000) is None
    assert market.spread(check(policy=limits(max_spread_pips_e1=1), quote=None)) is None


@pytest.mark.parametrize(("side", "touch_e5"), [(Side.BUY, 120_008), (Side.SELL, 120_000)])
@pytest.mark.parametrize("away_e5", [-25, 25])
def test_the_price_that_a_decision_saw_may_lie_as_far_from_the_touch_as_the_collar(side, touch_e5, away_e5):
    def collar(limit_e1, **more):
        fields = {"side": side, "reference_e5": touch_e5 + away_e5} | more
        return market.price_collar(check(policy=limits(price_collar_pips_e1=limit_e1), intent=fields))

    assert collar(25) is None
    assert collar(0) is None
    told = Breach("price_collar", "2.4 pips", f"reference 2.5 pips from {touch_e5}", "within 2.4 pips")
    assert collar(24) == told
    assert collar(24, order_type=OrderType.LIMIT, price_e5=touch_e5) == told
    wanted = Breach("price_collar", "0.1 pips", f"reference 2.5 pips from {touch_e5}", "within 0.1 pips")
    assert collar(1) == wanted


@pytest.mark.parametrize(("side", "touch_e5"), [(Side.BUY, 120_008), (Side.SELL, 120_000)])
def test_a_resting_price_has_a_collar_of_its_own(side, touch_e5):
    def collar(limit_e1, kind):
        fields = {"side": side, "reference_e5": touch_e5, "order_type": kind, "price_e5": touch_e5 - 108}
        return market.price_collar(check(policy=limits(resting_collar_pips_e1=limit_e1), intent=fields))

    for kind in (OrderType.LIMIT, OrderType.STOP):
        assert collar(108, kind) is None
        wanted = Breach("price_collar", "10.7 pips", f"order price 10.8 pips from {touch_e5}", "within 10.7 pips")
        assert collar(107, kind) == wanted
    assert collar(1, OrderType.MARKET) is None
    everything = limits(price_collar_pips_e1=1, resting_collar_pips_e1=1)
    assert market.price_collar(check(policy=everything, quote=None)) is None


# --- hours -----------------------------------------------------------------------------------------------------


def test_outside_sessions_the_sessions_and_their_zone_are_told():
    two = ("Mon-Fri 08:00-09:00", "Sat 10:00-11:00")
    told = hours.session_hours(check(policy=limits(hours=Hours(zone="UTC", sessions=two))))
    assert told == Breach("session_hours", "Mon-Fri 08:00-09:00, Sat 10:00-11:00 (UTC)", "2018-05-01 15:00 UTC",
                          "the same entry within these hours")  # fmt: skip
    own = SymbolLimits(sessions=("Tue 14:00-15:00",))
    told = hours.session_hours(check(policy=limits(hours=Hours(zone="UTC"), symbols={"EURUSD": own})))
    assert (told.limit, told.value) == ("Tue 14:00-15:00 (UTC)", "2018-05-01 15:00 UTC")
    others = limits(hours=Hours(zone="UTC", sessions=("Tue 15:00-15:01",)), symbols={"GBPUSD": own})
    assert hours.session_hours(check(policy=others)) is None
    abroad = limits(hours=Hours(zone="Asia/Tokyo", sessions=("Wed 00:00-00:01",)))
    assert hours.session_hours(check(policy=abroad)) is None


ROLLOVER_NS = at(2018, 5, 1, 21, 0)


@pytest.mark.parametrize(
    ("before", "after", "minute", "until"),
    [(5, 30, -6, None), (5, 30, -5, "21:30"), (5, 30, 29, "21:30"), (5, 30, 30, None),
     (5, 0, -1, "21:00"), (5, 0, 0, None), (0, 1, -1, None), (0, 1, 0, "21:01"), (0, 1, 1, None), (0, 0, 0, None)],
)  # fmt: skip
def test_the_minutes_around_the_rollover_are_told_with_the_first_moment_after_them(before, after, minute, until):
    moment = ROLLOVER_NS + minute * MINUTE_NS
    policy = limits(hours=Hours(rollover_before_min=before, rollover_after_min=after))
    wanted = None
    if until:
        clock = f"{datetime.fromtimestamp(moment // NS_PER_S, UTC):%Y-%m-%d %H:%M} UTC"
        wanted = Breach("rollover", f"{before} minutes before and {after} after 17:00 New York", clock,
                        f"before it, or from 2018-05-01 {until} UTC on")  # fmt: skip
    assert hours.rollover(check(policy=policy, now_ns=moment)) == wanted
    always = replace(default_instrument("EURUSD"), session="always")
    assert hours.rollover(check(policy=policy, now_ns=moment, instrument=always)) is None


WEEK_END_NS = at(2018, 5, 4, 21, 0)
WEEK_BEGIN_NS = at(2018, 5, 6, 21, 0)


@pytest.mark.parametrize(("entries", "flat", "minutes"), [(60, 15, 60), (15, 60, 60), (0, 15, 15), (60, 0, 60)])
def test_the_weekend_begins_for_entries_with_the_earlier_of_both_moments(entries, flat, minutes):
    setting = Hours(weekend_entries_min=entries, weekend_flat_min=flat)
    begins_ns = WEEK_END_NS - minutes * MINUTE_NS
    policy = limits(hours=setting)
    assert hours.weekend(check(policy=policy, now_ns=begins_ns - 1)) is None
    told = hours.weekend(check(policy=policy, now_ns=begins_ns))
    clock = f"{datetime.fromtimestamp(begins_ns // NS_PER_S, UTC):%Y-%m-%d %H:%M} UTC"
    assert told == Breach("weekend", f"{minutes} minutes before the week ends", clock, "the same entry next week")
    always = replace(default_instrument("EURUSD"), session="always")
    assert hours.weekend(check(policy=policy, now_ns=begins_ns, instrument=always)) is None


def test_after_the_week_began_it_is_told_from_when_on_entries_may_be_made():
    policy = limits(hours=Hours(week_open_min=1))
    told = hours.weekend(check(policy=policy, now_ns=WEEK_BEGIN_NS))
    assert told == Breach("weekend", "1 minutes after the week began", "2018-05-06 21:00 UTC",
                          "the same entry from 2018-05-06 21:01 UTC on")  # fmt: skip
    assert hours.weekend(check(policy=policy, now_ns=WEEK_BEGIN_NS + MINUTE_NS - 1)) is not None
    assert hours.weekend(check(policy=policy, now_ns=WEEK_BEGIN_NS + MINUTE_NS)) is None
    assert hours.weekend(check(policy=policy, now_ns=WEEK_END_NS)) is None  # the end alone is no limit


BLACKOUT = News(file="calendar.csv", before_min=15, after_min=5, runs_out_days=8)
AROUND = "15 minutes before and 5 after events"


def test_a_blackout_tells_its_event_and_when_it_is_over():
    payrolls = NewsEvent(ts_ns=NOW_NS + 10 * MINUTE_NS, currency="USD", impact=3, title="Payrolls")
    told = hours.news(check(policy=limits(news=BLACKOUT), calendar_last_ns=NOW_NS, news=payrolls))
    assert told == Breach("news", AROUND, "USD Payrolls at 2018-05-01 15:10 UTC",
                          "the same entry after 2018-05-01 15:15 UTC")  # fmt: skip
    missing = hours.news(check(policy=limits(news=BLACKOUT), calendar_last_ns=None))
    assert missing == Breach("news", AROUND, "no calendar", "events from calendar.csv")
    assert hours.news(check(policy=OFF, calendar_last_ns=None, news=payrolls)) is None


def test_a_calendar_may_end_as_long_ago_as_the_limit_says():
    def ended(ns, days=8):
        policy = limits(news=replace(BLACKOUT, runs_out_days=days))
        return hours.news(check(policy=policy, calendar_last_ns=ns))

    assert ended(NOW_NS - 8 * NS_PER_DAY) is None
    wanted = Breach("news", "events of the last 8 days", "the last of them was at 2018-04-23 14:59 UTC",
                    "a calendar that goes on")  # fmt: skip
    assert ended(NOW_NS - 8 * NS_PER_DAY - 1) == wanted
    assert ended(0) == replace(wanted, value="none of them")
    assert ended(1).value == "the last of them was at 1970-01-01 00:00 UTC"
    assert ended(0, days=0) is None
    assert ended(NOW_NS - NS_PER_DAY - 1, days=1).limit == "events of the last 1 days"


# --- orders ----------------------------------------------------------------------------------------------------


def test_a_stop_of_one_point_is_one_and_none_is_none():
    wanted = Breach("missing_stop", "a stop", "none", "a stop on the losing side of the entry")
    assert orders.missing_stop(check(intent={"stop_loss_e5": 0})) == wanted
    assert orders.missing_stop(check(intent={"stop_loss_e5": 1})) is None


@pytest.mark.parametrize(
    ("side", "losing", "winning", "away"), [(Side.BUY, "below", "above", 1), (Side.SELL, "above", "below", -1)]
)
def test_a_stop_lies_beyond_where_the_position_could_close_and_a_target_on_the_other_side(side, losing, winning, away):
    def placed(stop, target=0):
        fields = {"side": side, "stop_loss_e5": stop, "take_profit_e5": target}
        return orders.stop_side(check(intent=fields, closing_e5=120_000))

    assert placed(120_000 - away) is None
    assert placed(120_000) == Breach("stop_side", f"{losing} 120000", "120000", f"a stop {losing} it")
    wrong = 120_000 + away
    assert placed(wrong) == Breach("stop_side", f"{losing} 120000", str(wrong), f"a stop {losing} it")
    assert placed(120_000 - away, wrong) is None
    told = placed(120_000 - away, 120_000)
    assert told == Breach("stop_side", f"{winning} 120000", "120000", f"a target {winning} it")


@pytest.mark.parametrize("side", Side)
def test_a_stop_may_lie_as_far_away_as_the_limit_says(side):
    def far(limit_e2, distance_e5, price_e5=120_000):
        fields = {"side": side, "stop_loss_e5": price_e5 - side * distance_e5}
        return orders.stop_distance(check(policy=limits(max_stop_distance_pct_e2=limit_e2), intent=fields,
                                          price_e5=price_e5))  # fmt: skip

    assert far(25, 300) is None  # 0.25 %
    assert far(25, 301) == Breach("stop_distance", "0.25 % of the price", "0.25 %", "0.25 % or less")
    assert far(1, 1_200) == Breach("stop_distance", "0.01 % of the price", "1.00 %", "0.01 % or less")
    assert far(0, 60_000) is None
    assert far(2_500, 30_001) == Breach("stop_distance", "25.00 % of the price", "25.00 %", "25.00 % or less")


def in_scope(**fields):
    """The account's figures and those of strategy `s` beside them, of the account the same."""
    account = replace(ACCOUNT, **fields)
    return account, replace(account, name="s")


@pytest.mark.parametrize(
    ("ask", "field", "key", "group", "name"),
    [(orders.order_rate, "orders", "max_orders_per_minute", "", "order_rate"),
     (orders.cancel_rate, "cancels", "max_cancels_per_minute", "orders", "cancel_rate")],
)  # fmt: skip
def test_a_rate_refuses_from_its_limit_on_and_says_whose_it_is(ask, field, key, group, name):
    account, own = in_scope(**{field: 3})

    def told(limit):
        of_account = {key: limit} if not group else {group: Orders(**{key: limit})}
        return ask(check(policy=limits(**of_account), account=account))

    assert told(4) is None
    assert told(0) is None
    wanted = Breach(name, "3 a minute", "3 in the last minute", "fewer than 3 in the minute before")
    assert told(3) == wanted
    assert told(1) == Breach(name, "1 a minute", "3 in the last minute", "fewer than 1 in the minute before")
    scope = {"s": StrategyLimits(**{key: 3})}
    off = limits(strategies=scope, **({group: Orders(**{key: 0})} if group else {key: 0}))
    assert ask(check(policy=off, account=account, own=own)) == replace(wanted, limit="3 a minute in s")
    roomy = limits(strategies=scope, **({group: Orders(**{key: 4})} if group else {key: 4}))
    assert ask(check(policy=roomy, account=account, own=own)) == replace(wanted, limit="3 a minute in s")
    of_symbol = limits(symbols={"EURUSD": SymbolLimits(**{key: 4})}, strategies=scope)
    here = replace(own, name="EURUSD")
    placed = replace(check(policy=of_symbol, own=own), figures=(account, here, own))
    assert ask(placed) == replace(wanted, limit="3 a minute in s")
    assert ask(replace(placed, figures=(account, replace(here, **{field: 4}), own))) == Breach(
        name, "4 a minute in EURUSD", "4 in the last minute", "fewer than 4 in the minute before")  # fmt: skip


def test_slippage_may_come_close_to_the_budget_of_the_day_and_not_up_to_it():
    def spent(amount, limit_e2=25, own=None):
        account, scope = in_scope(spent=amount)
        strategies = {"s": StrategyLimits(slippage_budget_pct_e2=own)} if own else {}
        policy = limits(orders=Orders(slippage_budget_pct_e2=limit_e2), strategies=strategies)
        return orders.slippage_budget(check(policy=policy, account=account, own=scope, day_start_equity=2_000_000))

    assert spent(4_999) is None
    wanted = Breach("slippage_budget", "0.25 % of 2000000", "5000 spent", "the next trading day")
    assert spent(5_000) == wanted
    assert spent(10**9, limit_e2=0) is None
    assert spent(10**9, limit_e2=1).limit == "0.01 % of 2000000"
    assert spent(10**9, limit_e2=5_000).limit == "50.00 % of 2000000"
    assert spent(5_000, limit_e2=26, own=25) == replace(wanted, limit="0.25 % of 2000000 in s")


# --- losses ----------------------------------------------------------------------------------------------------


def test_one_unit_of_equity_is_some_and_none_is_none():
    assert losses.equity(check(equity=1)) is None
    assert losses.equity(check(equity=0)) == Breach("equity", "above 0", "0", "an account with equity")
    assert losses.equity(check(equity=-7)) == Breach("equity", "above 0", "-7", "an account with equity")


FLOORS = ("daily_loss", "weekly_loss", "trailing_drawdown", "static_drawdown", "day_end_drawdown", "intraday_drawdown")


@pytest.mark.parametrize("name", FLOORS)
def test_a_floor_refuses_at_it_and_below_by_the_rule_that_it_belongs_to(name):
    ask = getattr(losses, name)
    floors = tuple(Floor(each, 980_000, 1_000_000, 800_000, 250, f"the mark of {each}") for each in FLOORS)
    assert ask(check(equity=980_001, fallen=())) is None
    told = ask(check(equity=980_000, fallen=floors))
    assert told == Breach(name, "2.50 % of 800000", f"20000 lost, 2.50 % since the mark of {name}",
                          "equity above 980000, or a resume")  # fmt: skip
    assert ask(check(equity=1, fallen=tuple(each for each in floors if each.rule != name))) is None


def test_a_floor_is_fallen_to_at_it_and_not_above_it():
    policy = limits(daily_loss_pct_e2=200, trailing_drawdown_pct_e2=100)

    def fallen(points):
        book = begun()
        opened(book, volume=10_000_000, commission=0)
        book.mark(quote(bid=120_000 - points))
        seen = look(entry(), book, policy, volume_e2=0, now_ns=NOW_NS, halt_level=HaltLevel.NONE)
        return [floor.rule for floor in seen.fallen]

    assert fallen(99) == []
    assert fallen(100) == ["trailing_drawdown"]
    assert fallen(199) == ["trailing_drawdown"]
    assert fallen(200) == ["daily_loss", "trailing_drawdown"]


def test_a_scope_may_lose_less_than_its_part_of_the_day():
    def lost(result, limit_e2=25, start=2_000_000):
        _, own = in_scope(result=result)
        policy = limits(strategies={"s": StrategyLimits(daily_loss_pct_e2=limit_e2)})
        return losses.scope_loss(check(policy=policy, own=own, day_start_equity=start))

    assert lost(-4_999) is None
    assert lost(-5_000) == Breach("scope_loss", "0.25 % of 2000000 in s", "5000 lost", "the next trading day")
    assert lost(5_000) is None
    assert lost(-1, limit_e2=0) is None
    assert lost(-200, limit_e2=1).limit == "0.01 % of 2000000 in s"
    assert lost(-(10**6), limit_e2=5_000).limit == "50.00 % of 2000000 in s"
    assert lost(0, start=0) is None
    assert lost(-1, start=0).value == "1 lost"


def streak(lost, *, most=3, cool_s=600, last_ns=NOW_NS - 60 * NS_PER_S, own=0, **more):
    account, scope = in_scope(losses=lost, last_loss_ns=last_ns)
    strategies = {"s": StrategyLimits(max_consecutive_losses=own)} if own else {}
    policy = limits(streaks=Streaks(max_consecutive_losses=most, cool_down_s=cool_s), strategies=strategies)
    return losses.losing_streak(check(policy=policy, account=account, own=scope, **more))


def test_losses_in_a_row_pause_for_a_time_from_the_last_of_them():
    assert streak(2) is None
    assert streak(9, most=0) is None
    wanted = Breach("losing_streak", "3 losses in a row", "3, the last at 2018-05-01 14:59 UTC",
                    "the same entry from 2018-05-01 15:09 UTC on")  # fmt: skip
    assert streak(3) == wanted
    assert streak(4) == replace(wanted, value="4, the last at 2018-05-01 14:59 UTC")
    assert streak(3, last_ns=NOW_NS - 600 * NS_PER_S + 1) is not None
    assert streak(3, last_ns=NOW_NS - 600 * NS_PER_S) is None
    assert streak(3, most=4, own=3) == replace(wanted, limit="3 losses in a row in s")
    assert streak(3, most=0, own=1, cool_s=1, last_ns=NOW_NS).limit == "1 losses in a row in s"
    assert streak(3, most=3, own=2, last_ns=NOW_NS - 600 * NS_PER_S) is None


def test_losses_in_a_row_pause_until_a_day_that_began_after_the_last_of_them():
    wanted = Breach("losing_streak", "3 losses in a row", "3, the last at 2018-05-01 14:59 UTC",
                    "the next trading day")  # fmt: skip
    last_ns = NOW_NS - 60 * NS_PER_S
    assert streak(3, cool_s=0, day_begin_ns=last_ns) == wanted
    assert streak(3, cool_s=0, day_begin_ns=last_ns + 1) is None


# --- models ----------------------------------------------------------------------------------------------------


def standing_of(**fields):
    return ModelStanding(**({"model_id": "m7", "horizon": 12} | fields))


def test_without_a_model_no_rule_on_models_refuses():
    for rule in models.RULES:
        assert rule.ask(check(model=None)) is None
        assert rule.ask(check(model=standing_of())) is None


def test_a_forecast_holds_to_its_last_moment():
    def ending(expires_ns):
        return models.forecast_expired(check(model=standing_of(expires_ns=expires_ns)))

    def late(value):
        return Breach("forecast_expired", "a forecast in force", value, "a decision on a newer forecast")

    assert ending(NOW_NS) is None
    assert ending(NOW_NS - 1) == late("0.000 s past its end")
    assert ending(NOW_NS - 1_250_000_000) == late("1.250 s past its end")
    assert ending(0) == late("long past")
    assert ending(None) is None


def test_a_silent_model_says_what_it_owes_or_that_it_has_not_made_up_for_it():
    policy = limits(models=ModelLimits(misses=3, answers=5))

    def silent(owed, **more):
        return models.forecasts_missing(check(policy=policy, model=standing_of(owed=owed, **({"silent": True} | more))))

    wanted = Breach("forecasts_missing", "fewer than 3 in a row", "4 owed by m7", "5 in a row in time")
    assert silent(4) == wanted
    value = "fewer than 5 in time since 3 or more were owed by m7"
    assert silent(0) == replace(wanted, value=value)
    assert silent(4, silent=False) is None


def test_intervals_that_do_not_tell_the_truth_say_how_many_they_held():
    blocked = standing_of(coverage=CoverageState.BLOCKED, n=250, covered=190, nominal_ppm=905_000)
    assert models.coverage(check(model=blocked)) == Breach(
        "coverage", "90.5 % covered, or what luck explains", "190 of 250, 12 bars ahead by m7",
        "outcomes that are covered as promised until the gate opens, or another model")  # fmt: skip
    for state in (CoverageState.OK, CoverageState.DEGRADED, CoverageState.UNMEASURED):
        assert models.coverage(check(model=replace(blocked, coverage=state))) is None


def test_a_drift_that_blocks_says_what_drifted_and_from_where_on_it_opens():
    warns = Drifted(kind="data", what="returns", state=DriftState.WARN, value_pct_e2=2_500, limit_pct_e2=2_000, n=400)
    blocks = Drifted(kind="performance", what="the score at 12 bars", state=DriftState.BLOCK, value_pct_e2=3_125,
                     limit_pct_e2=1_550, n=250)  # fmt: skip
    assert models.drift(check(model=standing_of(drifted=(warns,)))) is None
    assert models.drift(check(model=standing_of(drifted=(warns, blocks)))) == Breach(
        "drift", "performance: 31 %", "the score at 12 bars: 31.25 % over 250",
        "20.67 % or less, or a model trained on newer bars")  # fmt: skip


def test_what_is_unusual_and_what_is_to_be_avoided_refuse_where_nothing_is_left_of_size():
    odd = standing_of(unusual="a gap at 12:00", avoided="regime 2 at 71 %")

    def told(ask, **fields):
        return ask(check(policy=limits(models=ModelLimits(**fields)), model=odd))

    wanted = Breach("anomaly", "nothing unusual for 4 bars", "a gap at 12:00", "4 bars without another")
    assert told(models.anomaly, unusual_bars=4, unusual_pct=0) == wanted
    assert told(models.anomaly, unusual_bars=4, unusual_pct=1) is None
    wanted = Breach("regime", "none of 1, 2", "regime 2 at 71 %", "another regime, clearly")
    assert told(models.regime, avoid_regimes=(1, 2), avoided_pct=0) == wanted
    assert told(models.regime, avoid_regimes=(1, 2), avoided_pct=1) is None
    assert told(models.regime, avoid_regimes=(), avoided_pct=0) == replace(wanted, limit="a clear regime")
    plain = check(policy=limits(models=ModelLimits(unusual_pct=0, avoided_pct=0)), model=standing_of())
    assert models.anomaly(plain) is models.regime(plain) is None


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
