"""The life of an order: what each fact makes of it, what is told twice, and what settles an unknown outcome."""

import msgspec
import pytest

from bus.errors import InvariantBroken
from bus.messages import OrderExpired, OrderState, PositionState
from bus.values import OrderType, Side
from risk.orders import Order, OrderStatus, OrderTable, adopted_order, adopted_position
from tests.harness.books import NOW_NS, accepted, cancelled, fill, order, rejected, unknown


def resting(name="r1", volume=100_000):
    table = OrderTable()
    table.add(order(name, volume=volume, kind=OrderType.LIMIT, limit_e5=119_000), NOW_NS, 4)
    assert table.fold(accepted(name))
    return table


def test_an_accepted_order_knows_the_venues_id_and_is_accepted_once():
    table = OrderTable()
    table.add(order("c1"), NOW_NS, 0)
    assert table.orders["c1"].status is OrderStatus.SENT
    assert table.fold(accepted("c1"))
    assert (table.orders["c1"].status, table.orders["c1"].order_id) == (OrderStatus.ACCEPTED, "o-c1")
    assert not table.fold(accepted("c1"))
    assert not table.fold(accepted("stranger"))


def test_an_order_that_a_deal_answered_before_its_acceptance_still_learns_the_venues_id():
    table = OrderTable()
    command = order("c1", volume=200_000)
    table.add(command, NOW_NS, 0)
    table.fill(table.orders["c1"], fill("D1", command, "P1", 120_000, 100_000, remaining=100_000))
    assert table.orders["c1"].status is OrderStatus.ACCEPTED
    assert table.orders["c1"].order_id == ""
    assert table.fold(accepted("c1"))
    assert table.orders["c1"].order_id == "o-c1"


def test_an_unknown_order_that_is_accepted_after_all_is_at_work_again():
    table = OrderTable()
    table.add(order("c1"), NOW_NS, 0)
    assert table.fold(unknown("c1"))
    assert table.orders["c1"].status is OrderStatus.UNKNOWN
    assert table.unknown == {"c1": "EURUSD"}
    assert table.fold(accepted("c1"))
    assert (table.unknown, table.orders["c1"].status) == ({}, OrderStatus.ACCEPTED)


def test_an_unknown_that_is_told_twice_or_after_the_evidence_changes_nothing():
    table = OrderTable()
    table.add(order("c1"), NOW_NS, 0)
    assert table.fold(unknown("c1"))
    assert not table.fold(unknown("c1"))
    answered = resting("r1")
    assert not answered.fold(unknown("r1"))
    answered.fold(cancelled("r1"))
    assert not answered.fold(unknown("r1"))
    assert answered.unknown == {}


def test_a_cancel_of_unknown_outcome_leaves_the_order_at_rest_and_its_symbol_in_doubt():
    table = resting()
    table.cancelling("r1")
    assert table.fold(unknown("r1"))
    assert table.unknown == {"r1": "EURUSD"}
    assert table.orders["r1"].status is OrderStatus.ACCEPTED


def test_a_rejected_order_is_gone_and_remembered():
    table = OrderTable()
    table.add(order("c1"), NOW_NS, 0)
    assert table.fold(rejected("c1"))
    assert table.orders == {}
    assert table.find("c1") is not None
    assert not table.fold(rejected("c1"))
    with pytest.raises(InvariantBroken, match="c1 was sent before"):
        table.add(order("c1"), NOW_NS, 0)


def test_a_refused_amendment_names_no_order_and_is_news_each_time():
    table = OrderTable()
    assert table.fold(rejected("")) is True
    assert table.fold(rejected("")) is True


def test_a_rejection_of_a_command_outside_the_table_answers_its_unknown_outcome_once():
    table = OrderTable()
    table.fold(unknown("gone"))
    assert table.unknown == {"gone": "EURUSD"}
    assert table.fold(rejected("gone")) is True
    assert table.unknown == {}
    assert table.fold(rejected("gone")) is False


@pytest.mark.parametrize(
    ("status", "code", "stays"),
    [
        ("accepted", "ORDER_NOT_FOUND", True),
        ("accepted", "TRADING_DISABLED", True),
        ("accepted", "NOT_ENOUGH_MONEY", False),
        ("sent", "ORDER_NOT_FOUND", True),
        ("sent", "TRADING_DISABLED", False),
    ],
)
def test_a_rejection_while_a_cancel_is_in_flight_is_of_the_cancel_where_it_can_be_no_other(status, code, stays):
    table = OrderTable()
    table.add(order("r1", kind=OrderType.LIMIT, limit_e5=119_000), NOW_NS, 0)
    if status == "accepted":
        table.fold(accepted("r1"))
    table.cancelling("r1")
    assert table.fold(rejected("r1", code)) is True
    assert ("r1" in table.orders) is stays
    if stays:
        assert table.orders["r1"].cancelling is False
        assert table.orders["r1"].status is OrderStatus.ACCEPTED
        assert table.resting_entries() == (table.orders["r1"],)


def test_a_rejection_without_a_cancel_in_flight_ends_even_an_order_at_rest():
    for code in ("ORDER_NOT_FOUND", "TRADING_DISABLED"):
        table = resting()
        assert table.fold(rejected("r1", code)) is True
        assert table.orders == {}


@pytest.mark.parametrize("ended", [cancelled, "expired"])
def test_an_order_that_ends_with_all_deals_told_is_gone(ended):
    table = resting()
    command = order("r1")
    table.fill(table.orders["r1"], fill("D1", command, "P1", 119_000, 40_000, remaining=40_000))
    fact = cancelled("r1", filled=40_000)
    if ended == "expired":
        fact = OrderExpired(client_order_id="r1", symbol="EURUSD", filled_e2=40_000, ts_event_ns=1, ts_init_ns=1)
    assert table.fold(fact) is True
    assert table.orders == {}
    assert table.fold(fact) is False


def test_an_order_that_ends_before_its_deals_are_told_waits_for_them():
    table = resting()
    command = order("r1")
    assert table.fold(cancelled("r1", filled=60_000)) is True
    waiting = table.orders["r1"]
    assert (waiting.ended, waiting.volume_e2, waiting.remaining_e2) == (True, 60_000, 60_000)
    assert table.resting_entries() == ()
    assert table.fold(cancelled("r1", filled=60_000)) is False
    table.fill(waiting, fill("D1", command, "P1", 119_000, 20_000, remaining=20_000, done=True))
    assert waiting.remaining_e2 == 40_000
    table.fill(waiting, fill("D2", command, "P1", 119_000, 40_000, remaining=60_000, done=True))
    assert table.orders == {}


def test_an_order_that_ends_with_one_unit_still_untold_waits_for_it():
    table = resting()
    table.fill(table.orders["r1"], fill("D1", order("r1"), "P1", 119_000, 59_999, remaining=59_999))
    table.fold(cancelled("r1", filled=60_000))
    assert table.orders["r1"].remaining_e2 == 1


def test_an_order_may_end_with_everything_filled_and_with_no_more():
    table = resting(volume=100_000)
    assert table.fold(cancelled("r1", filled=100_000)) is True
    for filled in (100_001, -1):
        with pytest.raises(InvariantBroken, match="r1 ended with"):
            resting(volume=100_000).fold(cancelled("r1", filled=filled))
    begun = resting(volume=100_000)
    begun.fill(begun.orders["r1"], fill("D1", order("r1"), "P1", 119_000, 50_000, remaining=50_000))
    with pytest.raises(InvariantBroken, match="49999 filled, but its deals so far filled 50000 of 100000"):
        begun.fold(cancelled("r1", filled=49_999))


def test_a_deal_larger_than_what_is_left_of_its_order_is_impossible():
    table = resting(volume=100_000)
    exact = fill("D1", order("r1"), "P1", 119_000, 100_000)
    assert table.filled_by(exact) is table.orders["r1"]
    with pytest.raises(InvariantBroken, match="fills 100001 of order r1, which has 100000 left"):
        table.filled_by(msgspec.structs.replace(exact, volume_e2=100_001))


# --- unknown outcomes settled by what rests at the venue -------------------------------------------------------


def test_what_rests_at_the_venue_was_accepted_and_what_does_not_never_arrived():
    table = OrderTable()
    for name in ("rests", "lost"):
        table.add(order(name, kind=OrderType.LIMIT, limit_e5=119_000), NOW_NS, 0)
        table.fold(unknown(name))
    table.fold(unknown("command"))
    assert table.settle({"rests", "theirs"}, same_positions=True) == ("rests", "lost", "command")
    assert table.unknown == {}
    assert list(table.orders) == ["rests"]
    assert table.orders["rests"].status is OrderStatus.ACCEPTED


def test_while_positions_differ_only_what_rests_is_settled_wherever_it_stands_in_line():
    table = OrderTable()
    for name in ("lost", "rests"):
        table.add(order(name, kind=OrderType.LIMIT, limit_e5=119_000), NOW_NS, 0)
        table.fold(unknown(name))
    table.fold(unknown("command"))
    assert table.settle({"rests"}, same_positions=False) == ("rests",)
    assert table.unknown == {"lost": "EURUSD", "command": "EURUSD"}
    assert table.orders["lost"].status is OrderStatus.UNKNOWN


def test_a_cancel_of_unknown_outcome_is_settled_as_not_done_where_the_order_still_rests():
    table = resting()
    table.cancelling("r1")
    table.fold(unknown("r1"))
    assert table.settle({"r1"}, same_positions=True) == ("r1",)
    assert table.orders["r1"].cancelling is False
    assert table.resting_entries() == (table.orders["r1"],)


# --- what was there before -------------------------------------------------------------------------------------


def test_an_adopted_position_is_the_venues_to_the_last_field():
    state = PositionState(
        position_id="P7", symbol="USDJPY", side=Side.SELL, volume_e2=200_000, price_e5=10_900_000,
        stop_loss_e5=10_950_000, take_profit_e5=10_800_000, commission=-7, swap=-2, ts_open_ns=NOW_NS,
        client_order_id="theirs",
    )  # fmt: skip
    found = adopted_position(state)
    for name in state.__struct_fields__:
        if hasattr(found, name):
            assert getattr(found, name) == getattr(state, name), name
    assert found.cost == 200_000 * 10_900_000
    assert (found.strategy, found.ts_told_ns) == ("", 0)


def test_an_adopted_order_rests_and_goes_by_the_venues_id_where_it_has_no_other():
    state = OrderState(
        client_order_id="", order_id="o-7", symbol="USDJPY", side=Side.SELL, order_type=OrderType.STOP,
        volume_e2=200_000, filled_e2=50_000,
    )  # fmt: skip
    assert adopted_order(state) == Order(
        client_order_id="o-7", symbol="USDJPY", side=Side.SELL, volume_e2=200_000, order_type=OrderType.STOP,
        status=OrderStatus.ACCEPTED, filled_e2=50_000, order_id="o-7",
    )  # fmt: skip
    assert adopted_order(msgspec.structs.replace(state, client_order_id="r1")).client_order_id == "r1"


def test_the_rate_of_orders_counts_the_last_sixty_seconds_and_forgets_the_rest():
    table = OrderTable()
    minute_ns = 60 * 10**9
    for number in range(3):
        table.add(order(f"c{number}"), NOW_NS + number, 0)
    assert table.sent_in_last_minute(NOW_NS + 2) == 3
    assert table.sent_in_last_minute(NOW_NS + minute_ns - 1) == 3
    assert table.sent_in_last_minute(NOW_NS + minute_ns) == 2
    assert table.sent_in_last_minute(NOW_NS + minute_ns + 2) == 0


def test_a_cancel_of_an_order_that_is_gone_makes_no_order():
    table = OrderTable()
    table.cancelling("gone")
    assert table.orders == {}
