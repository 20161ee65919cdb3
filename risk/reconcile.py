"""Does the book agree with what the venue holds? A pure comparison; what to do about it is the core's decision."""

from bus.messages import AccountSnapshot, PositionState, ReconcileFound
from bus.values import OrderType
from risk.book import Book
from risk.orders import OrderStatus, Position


def compare(book: Book, snapshot: AccountSnapshot) -> list[ReconcileFound]:
    """Everything on which the book and a snapshot differ, in a fixed order.

    Orders in flight, and orders whose outcome is unknown, may or may not be at the venue and are no difference; nor are
    market orders that were accepted, which never rest. Entry
    prices may differ by one point, because venues round averages their own way. Uncharged swap and commission are not
    compared: a venue may book a night before it tells of it.
    """
    found: list[ReconcileFound] = []

    def differ(kind: str, subject: str, ours: object, theirs: object) -> None:
        if ours != theirs:
            found.append(
                ReconcileFound(
                    kind=kind, subject=subject, ours=str(ours), theirs=str(theirs), ts_init_ns=snapshot.ts_init_ns
                )
            )

    differ("currency", snapshot.account_id, book.currency, snapshot.currency)
    differ("money_digits", snapshot.account_id, book.money_digits, snapshot.money_digits)
    differ("hedged", snapshot.account_id, book.hedged, snapshot.hedged)
    differ("leverage", snapshot.account_id, book.leverage, snapshot.leverage)
    differ("balance", snapshot.account_id, book.balance, snapshot.balance)

    theirs = {state.position_id: state for state in snapshot.positions}
    for position_id, position in book.positions.items():
        state = theirs.get(position_id)
        if state is None:
            differ("position", position_id, _text(position), "none")
            continue
        differ("position", position_id, _text(position), _text(state))
        point = book.instruments[position.symbol].point_e5
        if abs(position.price_e5 - state.price_e5) > point:
            differ("entry_price", position_id, position.price_e5, state.price_e5)
        differ("stop_loss", position_id, position.stop_loss_e5, state.stop_loss_e5)
        differ("take_profit", position_id, position.take_profit_e5, state.take_profit_e5)
    for position_id, state in theirs.items():
        if position_id not in book.positions:
            differ("position", position_id, "none", _text(state))

    resting = {state.client_order_id or state.order_id: state for state in snapshot.orders}
    for name, order in book.orders.items():
        if name not in resting:
            at_rest = order.status is OrderStatus.ACCEPTED and order.order_type is not OrderType.MARKET
            if at_rest and not order.cancelling and not order.ended:
                differ("order", name, f"{order.side.name} {order.remaining_e2}", "none")
            continue
        state = resting[name]
        differ("order_filled", name, order.filled_e2, state.filled_e2)
    for name, state in resting.items():
        if name not in book.orders:
            differ("order", name, "none", f"{state.side.name} {state.volume_e2 - state.filled_e2}")
    return found


def _text(position: Position | PositionState) -> str:
    return f"{position.side.name} {position.volume_e2} {position.symbol}"
