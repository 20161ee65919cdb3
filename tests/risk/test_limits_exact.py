"""Numbers, halts, market and hours at their last allowed figure and one step beyond: what is said, word for word."""

from datetime import UTC, datetime

import msgspec
import pytest

from bus.calendar import to_ns
from bus.messages import HaltLevel, NewsEvent
from bus.values import LARGEST, NS_PER_DAY, NS_PER_S, OrderType, Side, default_instrument
from risk.limits import (
    RULES,
    Breach,
    first_breach,
    hours,
    impossible,
    losses,
    market,
    standing,
)
from risk.policies.hours import Hours
from risk.policies.news import News
from risk.policies.scopes import SymbolLimits
from tests.harness.books import MINUTE_NS, NOW_NS, entry, quote
from tests.harness.books import switched_off as limits
from tests.harness.checks import ENTRY, OFF, check

replace = msgspec.structs.replace


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
