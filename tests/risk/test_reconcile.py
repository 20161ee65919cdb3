import msgspec
import pytest

from bus.messages import OrderState, PositionState
from bus.values import OrderType, Side
from risk.reconcile import compare
from tests.harness.books import NOW_NS, accepted, account, begun, opened, order

HELD = PositionState(position_id="P1", symbol="EURUSD", side=Side.BUY, volume_e2=100_000, price_e5=120_000,
                     stop_loss_e5=119_500, take_profit_e5=0, commission=-3, swap=0)  # fmt: skip
RESTS = OrderState(client_order_id="r1", order_id="o-r1", symbol="EURUSD", side=Side.BUY, order_type=OrderType.LIMIT,
                   volume_e2=100_000)  # fmt: skip


def book():
    ours = begun()
    opened(ours)
    ours.sent(order("r1", kind=OrderType.LIMIT, limit_e5=119_000), NOW_NS)
    ours.fold(accepted("r1"))
    return ours


def test_a_book_that_agrees_has_no_differences():
    assert compare(book(), account(positions=[HELD], orders=[RESTS])) == []


R = msgspec.structs.replace
OTHER = R(RESTS, client_order_id="r2", filled_e2=40_000)


@pytest.mark.parametrize(
    ("snapshot", "told"),
    [
        (account(999_999, [HELD], [RESTS]), ("balance", "a", "1000000", "999999")),
        (account(positions=[HELD], orders=[RESTS], currency="EUR"), ("currency", "a", "USD", "EUR")),
        (account(positions=[HELD], orders=[RESTS], money_digits=3), ("money_digits", "a", "2", "3")),
        (account(positions=[HELD], orders=[RESTS], hedged=False), ("hedged", "a", "True", "False")),
        (account(positions=[HELD], orders=[RESTS], leverage=100), ("leverage", "a", "30", "100")),
        (account(orders=[RESTS]), ("position", "P1", "BUY 100000 EURUSD", "none")),
        (account(positions=[HELD, R(HELD, position_id="P2", side=Side.SELL)], orders=[RESTS]),
         ("position", "P2", "none", "SELL 100000 EURUSD")),
        (account(positions=[R(HELD, volume_e2=200_000)], orders=[RESTS]),
         ("position", "P1", "BUY 100000 EURUSD", "BUY 200000 EURUSD")),
        (account(positions=[R(HELD, side=Side.SELL)], orders=[RESTS]),
         ("position", "P1", "BUY 100000 EURUSD", "SELL 100000 EURUSD")),
        (account(positions=[R(HELD, price_e5=120_002)], orders=[RESTS]), ("entry_price", "P1", "120000", "120002")),
        (account(positions=[R(HELD, price_e5=119_998)], orders=[RESTS]), ("entry_price", "P1", "120000", "119998")),
        (account(positions=[R(HELD, stop_loss_e5=0)], orders=[RESTS]), ("stop_loss", "P1", "119500", "0")),
        (account(positions=[R(HELD, take_profit_e5=9)], orders=[RESTS]), ("take_profit", "P1", "0", "9")),
        (account(positions=[HELD]), ("order", "r1", "BUY 100000", "none")),
        (account(positions=[HELD], orders=[RESTS, OTHER]), ("order", "r2", "none", "BUY 60000")),
        (account(positions=[HELD], orders=[RESTS, R(OTHER, client_order_id="")]),
         ("order", "o-r1", "none", "BUY 60000")),
        (account(positions=[HELD], orders=[R(RESTS, filled_e2=1)]), ("order_filled", "r1", "0", "1")),
    ],
)  # fmt: skip
def test_each_difference_is_told_once_with_what_both_sides_hold(snapshot, told):
    (found,) = compare(book(), snapshot)
    assert (found.kind, found.subject, found.ours, found.theirs) == told
    assert found.ts_init_ns == NOW_NS


def test_averages_may_differ_by_the_point_by_which_venues_round():
    for price_e5 in (119_999, 120_001):
        assert compare(book(), account(positions=[R(HELD, price_e5=price_e5)], orders=[RESTS])) == []


def test_one_difference_hides_no_other():
    ours = book()
    opened(ours, "c2", "P2", Side.SELL)
    ours.sent(order("r2", kind=OrderType.STOP, trigger_e5=121_000), NOW_NS)
    ours.fold(accepted("r2"))
    late = R(HELD, position_id="P2", side=Side.SELL, volume_e2=1_000, stop_loss_e5=120_500)
    found = compare(ours, account(positions=[late], orders=[R(RESTS, client_order_id="r2", filled_e2=7)]))
    assert [(one.kind, one.subject) for one in found] == [
        ("position", "P1"), ("position", "P2"), ("order", "r1"), ("order_filled", "r2"),
    ]  # fmt: skip


def test_a_resting_order_that_the_venue_has_not_yet_answered_is_no_difference():
    ours = book()
    ours.sent(order("r9", kind=OrderType.LIMIT, limit_e5=118_000), NOW_NS)
    assert compare(ours, account(positions=[HELD], orders=[RESTS])) == []


def test_an_order_in_flight_is_no_difference():
    ours = book()
    ours.sent(order("c9"), NOW_NS)
    assert compare(ours, account(positions=[HELD], orders=[RESTS])) == []
