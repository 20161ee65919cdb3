"""What is said about how orders are carried out, to the letter, and every bound from both sides."""

import msgspec
import pytest

from bus import messages as m
from bus.values import OrderType, Side
from risk.alerts import Alerts, AlertSettings
from tests.harness.alerts import (
    cleared,
    fresh,
    play,
    raised,
    refusal,
    started,
    trade,
)
from tests.harness.books import NOW_NS, accepted, cancelled, fill, order, rejected


@pytest.mark.parametrize(
    ("kind", "fields", "meant"),
    [
        (OrderType.MARKET, {"limit_e5": 50_000, "trigger_e5": 60_000}, 120_000),
        (OrderType.LIMIT, {"limit_e5": 100_000, "trigger_e5": 60_000}, 100_000),
        (OrderType.STOP, {"trigger_e5": 125_000, "limit_e5": 50_000}, 125_000),
        (OrderType.STOP_LIMIT, {"limit_e5": 80_000, "trigger_e5": 70_000}, 80_000),
    ],
)
def test_an_order_is_held_against_the_price_it_was_meant_to_have(kind, fields, meant):
    """Bound 0.1 % of the price: one thousandth of the price passes, one point more does not."""
    most = meant // 1_000
    for slip, wanted in ((most, []), (most + 1, [f"{(most + 1) * 100 / meant:.4f} % of the price"])):
        alerts = fresh()
        command = order("a", kind=kind, **fields)
        said = play(alerts, [command, fill("D", command, "P", meant + slip, remaining=100_000)])
        assert [each.value for each in said if each.rule == "slippage"] == wanted
        assert {each.limit for each in said if each.rule == "slippage"} <= {"0.1000 %"}


def test_a_stop_is_held_against_its_level_and_what_has_no_level_against_nothing():
    for level, wanted in ((119_119, []), (119_120, ["0.1007 % of the price"]), (0, [])):
        alerts = fresh()
        command = order("a")
        out = msgspec.structs.replace(command, side=Side.SELL)
        stop = fill("C", out, "P", 119_000, closing=True, cause="stop_loss")
        said = play(alerts, [command, fill("D", command, "P", 120_000, remaining=100_000),
                             msgspec.structs.replace(stop, level_e5=level)])  # fmt: skip
        assert [each.value for each in said if each.rule == "slippage"] == wanted


def test_a_price_of_one_point_is_a_price_and_bounds_in_pips_may_be_as_wide_as_they_like():
    alerts = fresh(slippage_ppm=0, slippage_pips_e1=1_000_000)
    command = msgspec.structs.replace(order("a"), reference_e5=1)
    said = play(alerts, [command, fill("D", command, "P", 1_000_002, remaining=100_000)])
    (slipped,) = [each for each in said if each.rule == "slippage"]
    assert (slipped.value, slipped.limit) == ("100000100.0000 % of the price", "100000000.0000 %")


def test_a_fill_of_an_order_that_nobody_saw_is_held_against_nothing():
    assert play(fresh(), [fill("D", order("never seen"), "P", 121_000, remaining=100_000)]) == []


@pytest.mark.parametrize(
    ("symbol", "pips_e1", "slip", "limit"),
    [
        # 20 tenths of a pip are 2 pips: 20 points of EURUSD at 1.2, 2,000 of USDJPY at 109.00
        ("EURUSD", 20, 20, "0.0167 %"),
        ("USDJPY", 20, 2_000, "0.0183 %"),
        ("GBPUSD", 20, 20, "0.0147 %"),  # not of the run: a pip of 10 is supposed
        ("EURUSD", 5_000, 120, "0.1000 %"),  # the share of the price is the tighter one
    ],
)
def test_the_tighter_of_both_bounds_counts_in_the_symbols_own_pips(symbol, pips_e1, slip, limit):
    for more, wanted in ((0, []), (1, [limit])):
        alerts = Alerts(AlertSettings(slippage_pips_e1=pips_e1, off=("books",)))
        alerts.on(started(symbols=("EURUSD", "USDJPY")))
        alerts.context.book = None  # the account has nothing to do with it
        command = order("a", symbol=symbol)
        deal = fill("D", command, "P", command.reference_e5 + slip + more, remaining=100_000)
        assert [each.limit for each in play(alerts, [command, deal])] == wanted


def test_the_mean_is_that_of_the_newest_fills_each_weighed_by_its_price():
    """Two fills of 121 points at 1.2 are 0.1008 %; with one of 118 the newest two are 0.0996 %: between the bounds."""
    alerts = fresh(slippage_fills=2, slippage_from=2, off=("slippage",))
    said = [play(alerts, trade(f"t{n}", slip)) for n, slip in enumerate((121, 121, 118, 97, 97, 503))]
    assert said == [
        [],
        [raised("slippage_mean", "EURUSD", "0.1008 % of the price, the mean of 2 fills", "0.1000 %")],
        [],
        [cleared("slippage_mean", "EURUSD", "0.0896 % of the price, the mean of 2 fills", "0.1000 %")],
        [],
        [raised("slippage_mean", "EURUSD", "0.2500 % of the price, the mean of 2 fills", "0.1000 %")],
    ]


def test_the_mean_has_a_bound_in_pips_as_well():
    """2 pips of EURUSD are 20 points a fill: 39 points on two fills pass, 41 do not."""
    for second, wanted in ((20, []), (21, ["0.0171 % of the price, the mean of 2 fills"])):
        alerts = fresh(slippage_pips_e1=20, slippage_fills=2, slippage_from=2, off=("slippage",))
        said = play(alerts, [*trade("a", 20), *trade("b", second)])
        assert [each.value for each in said] == wanted
        assert {each.limit for each in said} <= {"0.0167 %"}


def test_rejections_count_the_newest_orders_and_name_the_most_frequent_code():
    """Of four orders one rejection is 25 %: at a bound of 25 it passes, and 22 % or less ends it."""
    alerts = fresh(rejected_pct=25, rejected_from=3, rejected_orders=4, off=("slippage",))
    said = [play(alerts, refusal(name, code)) for name, code in (("a", "NO"), ("b", "BAD"))]
    assert said == [[], []], "two are fewer than three"
    (alert,) = play(alerts, refusal("c", "BAD"))
    assert alert == raised("rejections", "orders", "3 of 3 orders, 100.0 %, mostly BAD", "25 %", "warning")
    said = [play(alerts, [order(f"t{n}"), cancelled(f"t{n}")]) for n in range(4)]
    assert said == [[], [], [], [cleared("rejections", "orders", "0 of 4 orders, 0.0 %", "25 %", "warning")]]
    said = [play(alerts, refusal(name, code)) for name, code in (("d", "ONE"), ("e", "TWO"))]
    assert said == [[], [raised("rejections", "orders", "2 of 4 orders, 50.0 %, mostly ONE", "25 %", "warning")]]


def test_the_first_thing_that_is_told_about_an_order_is_its_outcome():
    alerts = fresh(rejected_pct=50, rejected_from=1, rejected_orders=2, off=("slippage",))
    assert play(alerts, [order("a"), accepted("a"), rejected("a"), rejected("a"), rejected("", "BAD")]) == []
    assert play(alerts, refusal("b", "NOT_SENT")) == []
    assert play(alerts, [order("c"), m.OrderExpired(client_order_id="c", symbol="EURUSD", filled_e2=0,
                                                    ts_event_ns=NOW_NS, ts_init_ns=NOW_NS)]) == []  # fmt: skip
    assert play(alerts, refusal("d")) == [], "one of two is half"
    (alert,) = play(alerts, refusal("e"))
    assert alert.value == "2 of 2 orders, 100.0 %, mostly NOT_ENOUGH_MONEY"
