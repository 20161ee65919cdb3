"""The order table and the comparison with the venue: whole records against examples worked out by hand."""

import msgspec
import pytest

from bus.errors import InvariantBroken
from bus.messages import CancelOrder, OrderState, PositionState, ReconcileFound
from bus.values import NS_PER_S, OrderType, Side
from risk.orders import REMEMBERED, Order, OrderStatus, OrderTable, remember
from risk.reconcile import compare
from tests.harness.books import (
    MINUTE_NS,
    NOW_NS,
    accepted,
    account,
    begun,
    cancelled,
    fill,
    opened,
    order,
    rejected,
    unknown,
)

replace = msgspec.structs.replace


def broken(call, *args, **kwargs):
    with pytest.raises(InvariantBroken) as told:
        call(*args, **kwargs)
    return str(told.value)


# --- the order table -------------------------------------------------------------------------------------------


def test_a_memory_forgets_the_oldest_beyond_its_limit():
    memory = {}
    for key in "abc":
        remember(memory, key, key.upper(), 2)
    assert memory == {"b": "B", "c": "C"}
    remember(memory, "b", "again", 2)
    assert memory == {"b": "again", "c": "C"}
    default = dict.fromkeys(range(REMEMBERED))
    remember(default, "new", None)
    assert (len(default), 0 in default, 1 in default) == (10_000, False, True)


@pytest.mark.parametrize(
    ("kind", "prices", "price_e5"),
    [(OrderType.MARKET, {}, 0), (OrderType.LIMIT, {"limit_e5": 119_000}, 119_000),
     (OrderType.STOP, {"trigger_e5": 121_000}, 121_000)],
)  # fmt: skip
def test_an_order_that_leaves_is_recorded_to_the_last_field(kind, prices, price_e5):
    table = OrderTable()
    command = order("c1", Side.SELL, 200_000, "USDJPY", position="P4", kind=kind, **prices)
    table.add(command, NOW_NS + 3, 12)
    assert table.find("c1") == Order(
        client_order_id="c1", symbol="USDJPY", side=Side.SELL, volume_e2=200_000, strategy="s", order_type=kind,
        status=OrderStatus.SENT, filled_e2=0, order_id="", position_id="P4", price_e5=price_e5,
        reference_e5=10_900_000, horizon=12, sent_ns=NOW_NS + 3, cancelling=False, ended=False,
    )  # fmt: skip
    said = "order c1 was sent before; a client order id is used once"
    assert broken(table.add, command, NOW_NS, 0) == said
    table.fold(rejected("c1"))
    assert broken(table.add, command, NOW_NS, 0) == said


def test_of_an_order_everything_that_was_not_filled_may_still_be():
    record = Order(client_order_id="c", symbol="EURUSD", side=Side.BUY, volume_e2=100, filled_e2=30)
    assert record.remaining_e2 == 70


def test_the_ended_orders_are_found_and_the_ones_at_work_too():
    table = OrderTable()
    for name in ("a", "b"):
        table.add(order(name), NOW_NS, 0)
    assert table.fold(cancelled("a")) is True
    assert table.find("a").client_order_id == "a"
    assert table.find("b") is table.orders["b"]
    assert table.find("c") is None
    assert list(table.orders) == ["b"]


def test_entries_rest_once_accepted_while_nothing_withdraws_or_has_ended_them():
    table = OrderTable()
    for name in ("rests", "sent", "withdrawn", "ended", "lost"):
        table.add(order(name, kind=OrderType.LIMIT, limit_e5=119_000), NOW_NS, 0)
    table.add(order("exit", position="P1"), NOW_NS, 0)
    for name in ("rests", "withdrawn", "ended", "exit"):
        table.fold(accepted(name))
    table.cancelling("withdrawn")
    table.fold(cancelled("ended", filled=50_000))
    table.fold(unknown("lost"))
    assert [each.client_order_id for each in table.resting_entries()] == ["rests"]


def test_rates_forget_what_is_a_minute_old_at_the_next_order():
    table = OrderTable()
    for second in (0, 30, 60, 90):
        table.add(order(f"c{second}"), NOW_NS + second * NS_PER_S, 0)
    at_90 = NOW_NS + 90 * NS_PER_S
    assert table.sent_in_last_minute(at_90) == 2  # those of the seconds 60 and 90
    assert table.sent_in_last_minute(NOW_NS) == 2  # what was forgotten stays so
    assert table.sent_in_last_minute(at_90 + MINUTE_NS) == 0


def test_a_deal_that_ends_its_order_leaves_nothing_at_work_and_no_question():
    for done, left, gone in ((True, 60_000, True), (False, 60_000, False), (False, 0, True)):
        table = OrderTable()
        command = order("c1")
        table.add(command, NOW_NS, 0)
        table.fold(unknown("c1"))
        deal = fill("D1", command, "P1", 120_000, 100_000 - left, done=done)
        table.fill(table.orders["c1"], deal)
        assert table.unknown == {}
        assert ("c1" not in table.orders) is gone
        assert table.find("c1").filled_e2 == 100_000 - left
        assert table.find("c1").status is OrderStatus.ACCEPTED


def test_a_cancel_of_unknown_outcome_leaves_its_order_as_it_was_and_an_unanswered_order_does_not():
    table = OrderTable()
    for name in ("a", "b"):
        table.add(order(name, kind=OrderType.LIMIT, limit_e5=119_000), NOW_NS, 0)
    table.cancelling("a")
    assert table.fold(unknown("a")) is True
    assert table.orders["a"].status is OrderStatus.SENT
    assert table.fold(unknown("b")) is True
    assert table.orders["b"].status is OrderStatus.UNKNOWN
    assert table.unknown == {"a": "EURUSD", "b": "EURUSD"}
    assert table.fold(unknown("a", "USDJPY")) is False
    assert table.unknown["a"] == "EURUSD"


def test_impossible_ends_and_deals_of_an_order_are_said_in_numbers():
    table = OrderTable()
    command = order("c1")
    table.add(command, NOW_NS, 0)
    assert broken(table.filled_by, fill("D1", command, "P1", 120_000, 100_001)) == (
        "deal D1 fills 100001 of order c1, which has 100000 left")  # fmt: skip
    table.fill(table.orders["c1"], fill("D1", command, "P1", 120_000, 40_000))
    assert broken(table.fold, cancelled("c1", filled=39_999)) == (
        "order c1 ended with 39999 filled, but its deals so far filled 40000 of 100000")  # fmt: skip
    stranger = fill("D2", order("other"), "P1", 120_000, 10**9)
    assert table.filled_by(stranger) is None


# --- what the venue holds against what we do -------------------------------------------------------------------


def test_every_difference_is_told_in_order_with_both_sides_word_for_word():
    ours = begun()
    opened(ours, "c1", "P1")
    opened(ours, "c2", "P2", Side.SELL, 200_000, symbol="USDJPY")
    for name in ("r1", "r2"):
        ours.sent(order(name, Side.SELL, kind=OrderType.LIMIT, limit_e5=121_000), NOW_NS)
        ours.fold(accepted(name))
    theirs = account(
        999, ts=NOW_NS + 9, currency="EUR", money_digits=3, hedged=False, leverage=100,
        positions=[
            PositionState(position_id="P9", symbol="GBPUSD", side=Side.SELL, volume_e2=7, price_e5=1, stop_loss_e5=0,
                          take_profit_e5=0, commission=0, swap=0),
            PositionState(position_id="P2", symbol="USDJPY", side=Side.BUY, volume_e2=100_000, price_e5=10_900_101,
                          stop_loss_e5=1, take_profit_e5=2, commission=0, swap=0),
        ],
        orders=[
            OrderState(client_order_id="r2", order_id="o2", symbol="EURUSD", side=Side.SELL,
                       order_type=OrderType.LIMIT, volume_e2=100_000, filled_e2=30_000),
            OrderState(client_order_id="", order_id="o9", symbol="EURUSD", side=Side.BUY, order_type=OrderType.STOP,
                       volume_e2=50_000, filled_e2=20_000),
        ],
    )  # fmt: skip
    rows = [
        ("currency", "a", "USD", "EUR"),
        ("money_digits", "a", "2", "3"),
        ("hedged", "a", "True", "False"),
        ("leverage", "a", "30", "100"),
        ("balance", "a", "1000000", "999"),
        ("position", "P1", "BUY 100000 EURUSD", "none"),
        ("position", "P2", "SELL 200000 USDJPY", "BUY 100000 USDJPY"),
        ("entry_price", "P2", "10900000", "10900101"),
        ("stop_loss", "P2", "10900500", "1"),
        ("take_profit", "P2", "0", "2"),
        ("position", "P9", "none", "SELL 7 GBPUSD"),
        ("order", "r1", "SELL 100000", "none"),
        ("order_filled", "r2", "0", "30000"),
        ("order", "o9", "none", "BUY 30000"),
    ]
    assert compare(ours, theirs) == [
        ReconcileFound(kind=kind, subject=subject, ours=mine, theirs=yours, ts_init_ns=NOW_NS + 9)
        for kind, subject, mine, yours in rows
    ]


def test_a_point_of_the_symbol_is_how_far_an_average_may_lie_off():
    ours = begun()
    opened(ours, "c2", "P2", symbol="USDJPY", commission=0)
    for price, told in ((10_900_100, []), (10_899_900, []), (10_900_101, ["entry_price"])):
        theirs = PositionState(position_id="P2", symbol="USDJPY", side=Side.BUY, volume_e2=100_000, price_e5=price,
                               stop_loss_e5=10_899_500, take_profit_e5=0, commission=0, swap=0)  # fmt: skip
        assert [each.kind for each in compare(ours, account(positions=[theirs]))] == told


def test_what_is_not_expected_at_rest_is_not_missed_there():
    ours = begun()
    for name in ("rests", "sent", "withdrawn", "ended"):
        ours.sent(order(name, Side.SELL, kind=OrderType.STOP, trigger_e5=119_000), NOW_NS)
    ours.sent(order("market"), NOW_NS)
    for name in ("rests", "withdrawn", "ended", "market"):
        ours.fold(accepted(name))
    ours.sent(CancelOrder(client_order_id="withdrawn", symbol="EURUSD", reason="", ts_init_ns=NOW_NS), NOW_NS)
    ours.fold(cancelled("ended", filled=1))
    assert [(each.kind, each.subject, each.ours) for each in compare(ours, account())] == [
        ("order", "rests", "SELL 100000")]  # fmt: skip
