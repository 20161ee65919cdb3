"""How much of each limit a journal used, by hand: peaks, shares, the day they fell on, and what is looked at when."""

import json

import pytest

from bus import messages as m
from bus.values import OrderType
from risk.adherence.ledger import Ledger
from risk.adherence.rolled import LimitPeak
from risk.adherence.rollup import Roll, roll_up
from risk.adherence.usage import LIMITS, Usage, limit_peaks
from tests.harness.desk import (
    BUY,
    HOUR,
    SELL,
    S,
    T,
    accepted,
    deal,
    moved,
    numbered,
    order,
    quote,
    refused,
    run,
    snapshot,
    swap,
)

ROLLOVER = 9 * HOUR
DAY = 24 * HOUR
RISK = {"max_order_lots_e2": 200, "max_position_pct_equity": 4_000, "max_exposure_pct_equity": 2_000,
        "max_leverage_pct": 3_000, "daily_loss_pct_e2": 300, "trailing_drawdown_pct_e2": 1_000,
        "max_orders_per_minute": 4, "max_spread_pips_e1": 25, "max_stop_distance_pct_e2": 200, "max_quote_age_s": 5,
        "losses": {"weekly_loss_pct_e2": 500, "static_drawdown_pct_e2": 1_000, "day_end_drawdown_pct_e2": 800,
                   "intraday_drawdown_pct_e2": 400}}  # fmt: skip
HALVES = ("daily_loss", "trailing_drawdown", "weekly_loss", "static_drawdown", "day_end_drawdown", "intraday_drawdown")


def limits(*messages, risk=RISK, config=None):
    config = json.dumps({"risk": risk}) if config is None else config
    rolled = roll_up([numbered([run(config=config), snapshot(), *messages])])
    return {row.rule: row for row in rolled.total.limits}


def held(at=2, side=BUY, volume=10_000_000, price=110_010, name="d1", **more):
    return deal(name, at, side, volume, price, left=volume, cause="order", **more)


# --- the limits in force -------------------------------------------------------------------------------------------


def test_every_limit_that_the_settings_name_is_told_in_its_unit():
    found = limits()

    assert {rule: (row.key, row.unit, row.limit) for rule, row in found.items()} == {
        "order_volume": ("max_order_lots_e2", "lots", 2.0),
        "position_size": ("max_position_pct_equity", "% of equity", 4_000.0),
        "exposure": ("max_exposure_pct_equity", "% of equity", 2_000.0),
        "leverage": ("max_leverage_pct", "% of equity", 3_000.0),
        "daily_loss": ("daily_loss_pct_e2", "%", 3.0),
        "trailing_drawdown": ("trailing_drawdown_pct_e2", "%", 10.0),
        "weekly_loss": ("losses.weekly_loss_pct_e2", "%", 5.0),
        "static_drawdown": ("losses.static_drawdown_pct_e2", "%", 10.0),
        "day_end_drawdown": ("losses.day_end_drawdown_pct_e2", "%", 8.0),
        "intraday_drawdown": ("losses.intraday_drawdown_pct_e2", "%", 4.0),
        "order_rate": ("max_orders_per_minute", "orders a minute", 4.0),
        "spread": ("max_spread_pips_e1", "pips", 2.5),
        "stop_distance": ("max_stop_distance_pct_e2", "% of the price", 2.0),
        "stale_quote": ("max_quote_age_s", "s", 5.0),
    }
    assert found["spread"] == LimitPeak(rule="spread", key="max_spread_pips_e1", unit="pips", limit=2.5, peak=0.0,
                                        share=0.0, ts_ns=0, refusals=0)  # fmt: skip
    assert set(found) == set(LIMITS)


@pytest.mark.parametrize(
    "config", ["{", "[]", '{"risk":3}', '{"risk":{"losses":7}}', "{}", '{"risk":{"max_spread_pips_e1":true}}']
)
def test_settings_that_cannot_be_read_limit_nothing(config):
    assert limits(config=config) == {}


def test_settings_of_another_version_are_read_as_far_as_they_go():
    config = '{"risk":{"max_spread_pips_e1":30,"max_order_lots_e2":"many","of_tomorrow":1}}'
    found = limits(config=config)

    assert {rule: row.limit for rule, row in found.items()} == {"spread": 3.0}


# --- what an order uses --------------------------------------------------------------------------------------------


def entry(name="c1", at=3 * S, side=BUY, volume=10_000_000, **more):
    return order(name, at, side, volume, **more)


def test_an_entry_is_held_against_every_limit_of_entries_when_it_is_decided():
    found = limits(quote(1 * S, 110_000, 110_016), entry(stop=109_000))

    value = 110_008 * 10_000_000 / 10**5
    assert {rule: row.peak for rule, row in found.items() if row.ts_ns} == {
        "order_volume": 1.0, "position_size": 100 * value / 1_000_000, "exposure": 100 * value / 1_000_000,
        "leverage": 100 * value / 1_000_000, "order_rate": 1.0, "spread": 1.6,
        "stop_distance": pytest.approx(100 * 1_016 / 110_016), "stale_quote": 2.0,
    }  # fmt: skip
    assert {row.ts_ns for row in found.values()} == {0, T + 3 * S}
    assert found["exposure"].share == found["exposure"].peak / 2_000
    assert found["order_volume"].share == 0.5
    assert found["spread"].share == 1.6 / 2.5


@pytest.mark.parametrize(
    ("more", "distance"),
    [
        ({"side": BUY, "stop": 109_000}, 100 * 1_010 / 110_010),
        ({"side": SELL, "stop": 111_000}, 100 * 1_000 / 110_000),
        ({"side": BUY, "stop": 109_000, "kind": OrderType.LIMIT, "limit_e5": 109_500}, 100 * 500 / 109_500),
        ({"side": BUY, "stop": 109_000, "kind": OrderType.STOP, "trigger_e5": 112_000}, 100 * 3_000 / 112_000),
        ({"side": BUY, "stop": 109_000, "kind": OrderType.LIMIT}, 0.0),
        ({"side": BUY, "stop": 0}, 0.0),
    ],
)
def test_the_distance_of_a_stop_is_from_the_price_at_which_the_order_may_fill(more, distance):
    assert limits(quote(1 * S), entry(**more))["stop_distance"].peak == pytest.approx(distance)


def test_exits_and_orders_without_a_price_or_an_instrument_count_for_the_rate_alone():
    used = [row for row in limits(quote(1 * S), entry(position="P1"), entry("c2", symbol="USDJPY"),
                                  entry("c3", symbol="GBPUSD")).values() if row.ts_ns]  # fmt: skip
    assert used == []
    found = limits(quote(1 * S), entry("x1", 2 * S, position="P1"), entry("c2", 3 * S))
    assert found["order_rate"].peak == 2.0


def test_the_rate_is_that_of_the_last_minute():
    def peak(*moments):
        return limits(quote(0), *(entry(f"c{at}", at) for at in moments))["order_rate"].peak

    assert peak(1 * S, 61 * S) == 1.0
    assert peak(1 * S, 61 * S - 1) == 2.0
    assert peak(0, 20 * S, 40 * S, 59 * S, 61 * S, 130 * S) == 4.0
    again = limits(quote(0), entry("c1", 1), entry("c1", 2))
    assert again["order_rate"].peak == 1.0, "an order told twice is one order"


def test_a_peak_is_where_it_was_first():
    found = limits(quote(0, 110_000, 110_005), entry("c1", 1), quote(2, 110_000, 110_009), entry("c2", 3),
                   entry("c3", 4))  # fmt: skip
    assert (found["spread"].peak, found["spread"].ts_ns) == (0.9, T + 3)


def test_a_quote_ages_from_when_we_had_it_and_never_below_nothing():
    assert limits(quote(1 * S), entry(at=9 * S))["stale_quote"].peak == 8.0
    assert limits(quote(5 * S), entry(at=3 * S))["stale_quote"].peak == 0.0


def test_exposure_counts_positions_and_what_is_at_work_by_side_and_the_rest_of_what_is_partly_filled():
    """In cents at the mid: EURUSD at 1.10005 is 110.005 cents a unit of 1/100 volume times 100."""
    mid = 110_005
    story = [
        quote(1), quote(1, 10_900_000, 10_901_000, "USDJPY"),
        held(2, BUY, 3_000_000, 110_000, bid=110_000, ask=110_010),
        held(3, SELL, 1_000_000, 110_010, "d2", position="P2"),
        order("c1", 4, BUY, 2_000_000), accepted("c1", 5),
        deal("d3", 6, BUY, 500_000, 110_000, order="c1", position="P3", left=500_000, done=False),
        order("x1", 7, SELL, 9_000_000, position="P1"), order("c2", 8, SELL, 4_000_000, symbol="USDJPY"),
    ]  # fmt: skip
    roll = Roll()
    for message in numbered([run(config=json.dumps({"risk": RISK})), snapshot(), *story]):
        roll.add(*message)
    equity = roll.ledger.equity()
    found = {row.rule: row for row in roll.result().total.limits}

    longs, shorts = round(5_000_000 * mid / 10**5), round(1_000_000 * mid / 10**5)
    yen = round(4_000_000 * 10_900_500 * 917_389 / 10**13)
    assert found["exposure"].peak == 100 * (longs + shorts + yen) / equity
    assert found["leverage"].peak == 100 * (longs + yen) / equity
    assert found["exposure"].ts_ns == found["leverage"].ts_ns == T + 8
    own = limits(quote(1), held(2, SELL, 1_000_000, 110_000), order("c2", 3, SELL, 3_000_000), order("c3", 4, BUY, 1))
    assert own["position_size"].peak == pytest.approx(100 * round(4_000_000 * mid / 10**5) / (1_000_000 - 100))
    assert own["position_size"].ts_ns == T + 3
    unpriced = limits(quote(1), held(2, BUY, 3_000_000, 88_000, symbol="EURGBP"), order("c1", 3, BUY, 1_000_000))
    assert unpriced["exposure"].peak == 100 * round(1_000_000 * mid / 10**5) / 1_000_000


def test_where_nothing_is_left_no_share_of_it_can_be_told():
    lost = limits(quote(1), held(volume=1_000_000_000, bid=110_000, ask=110_010), quote(2, 109_000, 109_010),
                  entry(at=3))  # fmt: skip
    assert lost["exposure"].peak == 0.0
    assert lost["order_volume"].peak == 1.0
    story = [run(config=json.dumps({"risk": RISK})), snapshot(0, 1), quote(1), entry(volume=1_000)]
    cent = {row.rule: row.peak for row in roll_up([numbered(story)]).total.limits}
    assert cent["exposure"] == 100 * 1_100


# --- losses --------------------------------------------------------------------------------------------------------


def test_losses_and_drawdowns_float_with_every_price_of_what_is_held():
    found = limits(quote(1), held(), quote(2 * S, 110_210, 110_220), quote(3 * S, 109_910, 109_920),
                   quote(4 * S, 110_010, 110_020))  # fmt: skip
    # bought at 1.10010 for 10,000 USD of balance: 200 points up are +200 USD, 100 points down -100
    assert {rule: found[rule].peak for rule in HALVES} == {
        "daily_loss": 1.0, "trailing_drawdown": 100 * 30_000 / 1_020_000, "weekly_loss": 1.0, "static_drawdown": 1.0,
        "day_end_drawdown": 1.0, "intraday_drawdown": 3.0,
    }  # fmt: skip
    assert {found[rule].ts_ns for rule in HALVES} == {T + 3 * S}
    assert found["intraday_drawdown"].share == 0.75


def test_of_nothing_no_part_can_be_lost_and_of_one_cent_all_of_it():
    def daily(balance):
        story = [run(config=json.dumps({"risk": RISK})), snapshot(0, balance), quote(1), held(volume=1, commission=-1)]
        return {row.rule: row.peak for row in roll_up([numbered(story)]).total.limits}["daily_loss"]

    assert daily(0) == 0.0
    assert daily(1) == 100.0
    assert daily(4) == 25.0


def test_a_gain_uses_no_limit_and_neither_does_a_price_of_what_is_not_held():
    found = limits(quote(1), held(price=109_990, bid=109_980, ask=109_990), quote(2, 110_000, 110_001),
                   quote(3, 100, 110, "USDJPY"))  # fmt: skip
    assert {found[rule].ts_ns for rule in HALVES} == {0}


def test_percentages_of_the_initial_balance_are_of_what_the_account_began_with():
    risk = {"daily_loss_pct_e2": 300, "losses": {"weekly_loss_pct_e2": 500, "static_drawdown_pct_e2": 1_000,
                                                 "percent_of": "initial", "initial_balance": 20_000}}  # fmt: skip
    found = limits(quote(1), held(), quote(2, 109_910, 109_920), risk=risk)

    assert found["daily_loss"].peak == found["weekly_loss"].peak == 0.5
    assert found["static_drawdown"].peak == 100 * (2_000_000 - 990_000) / 2_000_000


def test_a_new_day_begins_from_where_the_last_one_ended_and_a_new_week_with_monday():
    friday = 3 * DAY
    story = [quote(1), held(), quote(2, 109_910, 109_920), quote(DAY, 109_810, 109_820),
             quote(friday, 109_710, 109_720), quote(friday + 3 * DAY, 109_610, 109_620)]  # fmt: skip
    rolled = roll_up([numbered([run(config=json.dumps({"risk": RISK})), snapshot(), *story])])
    by_day = [{row.rule: row.peak for row in day.limits} for day in rolled.days]

    assert [day.key for day in rolled.days] == ["2018-05-01", "2018-05-02", "2018-05-04", "2018-05-07"]
    assert [row["daily_loss"] for row in by_day] == [
        1.0, pytest.approx(100 / 99), pytest.approx(100 / 98), pytest.approx(100 / 97),
    ]  # fmt: skip
    assert [row["weekly_loss"] for row in by_day] == [1.0, 2.0, 3.0, pytest.approx(100 / 97)]
    assert [row["static_drawdown"] for row in by_day] == [1.0, 2.0, 3.0, 4.0]
    weeks = [{row.rule: (row.peak, row.ts_ns - T) for row in week.limits}["weekly_loss"] for week in rolled.weeks]
    assert weeks == [(3.0, friday), (pytest.approx(100 / 97), friday + 3 * DAY)]


def test_the_day_that_ends_ends_before_the_deal_that_came_after_it():
    closing = deal("d9", ROLLOVER, SELL, 10_000_000, 109_910, closing=True, gross_profit=-10_000, balance=990_000,
                   cause="order", told=ROLLOVER)  # fmt: skip
    opening = [run(config=json.dumps({"risk": RISK})), snapshot(), quote(1, 110_010, 110_020), held()]
    rolled = roll_up([numbered([*opening, closing])])
    by_day = [{row.rule: row.peak for row in day.limits} for day in rolled.days]

    assert [row["daily_loss"] for row in by_day] == [0.0, 1.0]
    night = [*opening, swap(ROLLOVER - 3, -5_000), quote(ROLLOVER + 9, 110_010, 110_020)]
    by_day = [{row.rule: row.peak for row in day.limits} for day in roll_up([numbered(night)]).days]
    assert [row["daily_loss"] for row in by_day] == [0.0, 0.5]
    gap = [*opening, quote(ROLLOVER, 109_910, 109_920), quote(ROLLOVER + 9, 110_010, 110_020)]
    by_day = [{row.rule: row.peak for row in day.limits} for day in roll_up([numbered(gap)]).days]
    assert [row["daily_loss"] for row in by_day] == [0.0, 1.0], "a gap over the turn of the day is the new day's"
    theirs = [*opening, moved("m1", ROLLOVER, -20_000, 980_000, "foreign"), quote(ROLLOVER + 9, 110_010, 110_020)]
    by_day = [{row.rule: row.peak for row in day.limits} for day in roll_up([numbered(theirs)]).days]
    assert [row["daily_loss"] for row in by_day] == [0.0, 2.0]


def test_commission_and_swap_count_at_once():
    found = limits(quote(1), held(commission=-3_000), swap(9, -2_000))

    assert found["daily_loss"].peak == 100 * (1_000 + 3_000 + 2_000) / 1_000_000
    assert found["daily_loss"].ts_ns == T + 12


def test_cash_moves_the_marks_and_other_peoples_deals_do_not():
    def daily(*messages):
        return limits(quote(1), held(), *messages, quote(9, 109_910, 109_920))["daily_loss"].peak

    assert daily() == 1.0
    assert daily(moved("m1", 5, -500_000, 500_000)) == 100 * 10_000 / 500_000
    assert daily(moved("m1", 5, -500_000, 500_000), moved("m1", 5, -500_000, 500_000)) == 100 * 10_000 / 500_000
    assert daily(moved("m1", 5, -500_000, 500_000, "foreign")) == 51.0


def test_whoever_lifts_a_halt_begins_the_losses_anew():
    lifted = m.HaltLifted(operator="o", reason="r", ts_init_ns=T + 5)
    found = limits(quote(1), held(), quote(4, 109_710, 109_720), lifted, quote(9, 109_610, 109_620))

    assert (found["daily_loss"].peak, found["daily_loss"].ts_ns) == (3.0, T + 4)
    assert found["trailing_drawdown"].peak == 3.0
    assert found["static_drawdown"].peak == 4.0, "it was not broken"


# --- refusals and several journals ---------------------------------------------------------------------------------


def test_refusals_count_with_their_limit_on_their_day_and_rules_without_one_are_told_as_well():
    story = [quote(1), refused("i1", 2), refused("i2", 3), refused("i3", 4, "news"), refused("i4", ROLLOVER),
             refused("i5", ROLLOVER - 1)]  # fmt: skip
    rolled = roll_up([numbered([run(config='{"risk":{"max_spread_pips_e1":25}}'), snapshot(), *story])])

    assert [[(row.rule, row.refusals) for row in day.limits] for day in rolled.days] == [
        [("news", 1), ("spread", 3)], [("spread", 1)],
    ]  # fmt: skip
    assert rolled.total.limits == (
        LimitPeak(rule="news", key="", unit="", limit=0.0, peak=None, share=None, ts_ns=0, refusals=1),
        LimitPeak(rule="spread", key="max_spread_pips_e1", unit="pips", limit=2.5, peak=0.0, share=0.0, ts_ns=0,
                  refusals=4),
    )  # fmt: skip


def test_the_peak_of_several_journals_is_that_nearest_to_its_own_limit_and_a_limit_of_0_has_no_share():
    def used(limit, spread, at):
        ledger = Ledger()
        ledger.run = run(config=json.dumps({"risk": {"max_spread_pips_e1": limit}}))
        usage = Usage(ledger, ledger.run)
        ledger.quotes["EURUSD"] = quote(at, 110_000, 110_000 + spread)
        usage.ordered(order("c1", at))
        usage.refused(refused("i1", at))
        return usage

    wide, tight, off = used(40, 30, 1), used(10, 9, 2), used(0, 99, 3)
    (found,) = limit_peaks([wide, tight, off], 0, 2**63 - 1)
    assert (found.limit, found.peak, found.share, found.ts_ns, found.refusals) == (1.0, 0.9, 0.9, T + 2, 3)
    (found,) = limit_peaks([tight, wide], 0, 2**63 - 1)
    assert found.peak == 0.9
    (found,) = limit_peaks([off, wide], 0, 2**63 - 1)
    assert found.share == 0.75
    (found,) = limit_peaks([used(10, 9, 7), tight], 0, 2**63 - 1)
    assert found.ts_ns == T + 7, "of equal ones the first"
    (found,) = limit_peaks([off], 0, 2**63 - 1)
    assert (found.limit, found.peak, found.share) == (0.0, 9.9, None)
    (found,) = limit_peaks([wide], T + 1, T + 2)
    assert (found.peak, found.refusals) == (3.0, 0), "a day's refusals count where the day ends within"
    (found,) = limit_peaks([wide], T + 2, T + ROLLOVER)
    assert (found.peak, found.ts_ns, found.refusals) == (0.0, 0, 1)
    (found,) = limit_peaks([wide], 0, T + 1)
    assert found.peak == 0.0
    (found,) = limit_peaks([wide], T + ROLLOVER, T + DAY)
    assert found.refusals == 0
    assert limit_peaks([], 0, 9) == ()


def test_limits_nearest_to_their_end_come_first():
    found = roll_up(
        [numbered([run(config=json.dumps({"risk": RISK})), snapshot(), quote(1 * S), entry()])]
    ).total.limits
    shares = [row.share or 0.0 for row in found]

    assert shares == sorted(shares, reverse=True)
    assert [row.rule for row in found if not row.share] == sorted(row.rule for row in found if not row.share)
