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


@pytest.mark.parametrize(
    ("kind", "snapshot"),
    [
        ("balance", account(999_999, [HELD], [RESTS])),
        ("currency", account(positions=[HELD], orders=[RESTS], currency="EUR")),
        ("hedged", account(positions=[HELD], orders=[RESTS], hedged=False)),
        ("leverage", account(positions=[HELD], orders=[RESTS], leverage=100)),
        ("position", account(orders=[RESTS])),
        ("position", account(positions=[HELD, msgspec.structs.replace(HELD, position_id="P2")], orders=[RESTS])),
        ("position", account(positions=[msgspec.structs.replace(HELD, volume_e2=200_000)], orders=[RESTS])),
        ("position", account(positions=[msgspec.structs.replace(HELD, side=Side.SELL)], orders=[RESTS])),
        ("entry_price", account(positions=[msgspec.structs.replace(HELD, price_e5=120_002)], orders=[RESTS])),
        ("stop_loss", account(positions=[msgspec.structs.replace(HELD, stop_loss_e5=0)], orders=[RESTS])),
        ("take_profit", account(positions=[msgspec.structs.replace(HELD, take_profit_e5=9)], orders=[RESTS])),
        ("order", account(positions=[HELD])),
        ("order", account(positions=[HELD], orders=[RESTS, msgspec.structs.replace(RESTS, client_order_id="r2")])),
        ("order_filled", account(positions=[HELD], orders=[msgspec.structs.replace(RESTS, filled_e2=1)])),
    ],
)
def test_each_difference_is_found_and_named_once(kind, snapshot):
    found = compare(book(), snapshot)
    assert [one.kind for one in found] == [kind]
    assert found[0].ours != found[0].theirs


def test_an_order_in_flight_is_no_difference():
    ours = book()
    ours.sent(order("c9"), NOW_NS)
    assert compare(ours, account(positions=[HELD], orders=[RESTS])) == []
