"""The records that the book keeps: one for each order at work, one for each open position; and the order table.

Theory of operation. An order is at work from the moment it is sent until a fact says how it ended; then it moves to
the ended, of which the last REMEMBERED are known, so that what is told again about them is recognised. A venue that
says an order ended with more filled than was told leaves it at work, at that volume, until the deals have come.
"""

import enum
from collections import deque
from collections.abc import Set as AbstractSet
from typing import Any

import msgspec

from bus.errors import InvariantBroken
from bus.messages import (
    OrderAccepted,
    OrderCancelled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderState,
    OrderUnknown,
    PositionState,
    SubmitOrder,
)
from bus.values import NS_PER_S, OrderType, Side

REMEMBERED = 10_000
LARGEST_RATE_PER_MINUTE = 1_000_000

OrderFact = OrderAccepted | OrderRejected | OrderCancelled | OrderExpired | OrderUnknown
"""Facts about orders that are not deals."""


def remember(memory: dict[Any, Any], key: object, value: object, limit: int = REMEMBERED) -> None:
    """Keep an entry and, beyond the limit, drop the oldest."""
    memory[key] = value
    if len(memory) > limit:
        del memory[next(iter(memory))]


class OrderStatus(enum.StrEnum):
    """What is known about an order at work. What has ended is not at work and has no status."""

    SENT = "sent"
    ACCEPTED = "accepted"
    UNKNOWN = "unknown"


class Order(msgspec.Struct, kw_only=True):
    """An order at work: in flight, resting, or of unknown outcome. Volumes in 1/100 units, prices in 1/100000.

    `position_id` names the position that the order closes; empty = the order enters. `price_e5` is the price at which
    it rests, 0 = at the market. `cancelling` = a cancel was sent and not answered.
    `ended` = the venue has said that it ended, and deals that it counted are still to be told.
    """

    client_order_id: str
    symbol: str
    side: Side
    volume_e2: int
    strategy: str = ""
    order_type: OrderType = OrderType.MARKET
    status: OrderStatus = OrderStatus.SENT
    filled_e2: int = 0
    order_id: str = ""
    position_id: str = ""
    price_e5: int = 0
    reference_e5: int = 0
    horizon: int = 0
    sent_ns: int = 0
    cancelling: bool = False
    ended: bool = False

    @property
    def remaining_e2(self) -> int:
        """What may still be filled."""
        return self.volume_e2 - self.filled_e2


class Position(msgspec.Struct, kw_only=True):
    """One open position. Money in the account's smallest unit, charges negative.

    `cost` is the sum of volume_e2 * price_e5 of what is open, `profit` the floating result of prices alone,
    `commission` and `swap` what was charged and not yet booked, `booked` what closing deals booked. `rate_e8` is the
    conversion rate at the last opening deal, by which margin counts. `bars_held` counts closed bars of its symbol since
    it opened. `ts_open_ns` is the venue's time, `ts_told_ns` when we learnt of it (0 = it was there before).
    """

    position_id: str
    symbol: str
    side: Side
    volume_e2: int = 0
    cost: int = 0
    price_e5: int = 0
    stop_loss_e5: int = 0
    take_profit_e5: int = 0
    trailing_e5: int = 0
    commission: int = 0
    swap: int = 0
    profit: int = 0
    booked: int = 0
    rate_e8: int = 0
    ts_open_ns: int = 0
    ts_told_ns: int = 0
    levels_ns: int = 0
    bars_held: int = 0
    horizon: int = 0
    reference_e5: int = 0
    strategy: str = ""
    client_order_id: str = ""


def order_of(command: SubmitOrder, now_ns: int, horizon: int) -> Order:
    """The record of an order at the moment it leaves."""
    return Order(
        client_order_id=command.client_order_id,
        symbol=command.symbol,
        side=command.side,
        volume_e2=command.volume_e2,
        strategy=command.strategy,
        order_type=command.order_type,
        position_id=command.position_id,
        price_e5=command.limit_e5 or command.trigger_e5,
        reference_e5=command.reference_e5,
        horizon=horizon,
        sent_ns=now_ns,
    )


def adopted_order(state: OrderState) -> Order:
    """The record of a resting order that was there before."""
    return Order(
        client_order_id=state.client_order_id or state.order_id,
        symbol=state.symbol,
        side=state.side,
        volume_e2=state.volume_e2,
        order_type=state.order_type,
        status=OrderStatus.ACCEPTED,
        filled_e2=state.filled_e2,
        order_id=state.order_id,
    )


def adopted_position(state: PositionState) -> Position:
    """The record of a position that was there before; it belongs to no strategy."""
    return Position(
        position_id=state.position_id,
        symbol=state.symbol,
        side=state.side,
        volume_e2=state.volume_e2,
        cost=state.volume_e2 * state.price_e5,
        price_e5=state.price_e5,
        stop_loss_e5=state.stop_loss_e5,
        take_profit_e5=state.take_profit_e5,
        commission=state.commission,
        swap=state.swap,
        ts_open_ns=state.ts_open_ns,
        client_order_id=state.client_order_id,
    )


class OrderTable:
    """Every order at work, the last ended ones, the commands of unknown outcome, and the rate of orders.

    Attributes:
        orders: at work by client order id, oldest first.
        unknown: symbol by client order id of each command that was written and never answered.
    """

    def __init__(self) -> None:
        self.orders: dict[str, Order] = {}
        self.unknown: dict[str, str] = {}
        self._ended: dict[str, Order] = {}
        self._sent_ns: deque[int] = deque(maxlen=LARGEST_RATE_PER_MINUTE)

    def find(self, client_order_id: str) -> Order | None:
        """An order at work or lately ended."""
        return self.orders.get(client_order_id) or self._ended.get(client_order_id)

    def add(self, command: SubmitOrder, now_ns: int, horizon: int) -> None:
        """Take in an order that leaves now.

        Raises:
            InvariantBroken: its client order id was used before.
        """
        if self.find(command.client_order_id) is not None:
            raise InvariantBroken(f"order {command.client_order_id} was sent before; a client order id is used once")
        self.orders[command.client_order_id] = order_of(command, now_ns, horizon)
        while self._sent_ns and self._sent_ns[0] <= now_ns - 60 * NS_PER_S:
            self._sent_ns.popleft()
        self._sent_ns.append(now_ns)

    def cancelling(self, client_order_id: str) -> None:
        """Note that a cancel leaves now."""
        order = self.orders.get(client_order_id)
        if order is not None:
            order.cancelling = True

    def sent_in_last_minute(self, now_ns: int) -> int:
        """Orders that left in the sixty seconds before a moment."""
        since_ns, over = now_ns - 60 * NS_PER_S, 0
        for sent_ns in self._sent_ns:  # oldest first; `add` has dropped all but the last minute's
            if sent_ns > since_ns:
                break
            over += 1
        return len(self._sent_ns) - over

    def resting_entries(self) -> tuple[Order, ...]:
        """Entries that rest at the venue and that no cancel is on its way for."""
        return tuple(
            order
            for order in self.orders.values()
            if order.status is OrderStatus.ACCEPTED and not (order.position_id or order.cancelling or order.ended)
        )

    # --- facts -------------------------------------------------------------------------------------------------

    def fold(self, fact: OrderFact) -> bool:
        """Take one fact that is not a deal; False = known already.

        Raises:
            InvariantBroken: the venue counts less filled than it told, or more than was ordered.
        """
        if isinstance(fact, OrderAccepted):
            return self._accepted(fact)
        if isinstance(fact, OrderRejected):
            return self._rejected(fact)
        if isinstance(fact, OrderUnknown):
            return self._unknown(fact)
        return self._ends(fact)

    def filled_by(self, fact: OrderFilled) -> Order | None:
        """The order at work that a deal fills, if it is known.

        Raises:
            InvariantBroken: the deal is larger than what is left of the order.
        """
        order = self.orders.get(fact.client_order_id)
        if order is not None and fact.volume_e2 > order.remaining_e2:
            raise InvariantBroken(
                f"deal {fact.deal_id} fills {fact.volume_e2} of order {order.client_order_id}, "
                f"which has {order.remaining_e2} left"
            )
        return order

    def fill(self, order: Order, fact: OrderFilled) -> None:
        """Count a deal into its order."""
        order.filled_e2 += fact.volume_e2
        self._answered(order)
        if order.remaining_e2 == 0 or (fact.order_done and not order.ended):
            self._end(order)

    def settle(self, resting: AbstractSet[str], *, same_positions: bool) -> tuple[str, ...]:
        """Settle unknown outcomes by what rests at the venue, and by whether its positions are ours."""
        settled: list[str] = []
        for name in tuple(self.unknown):
            order = self.orders.get(name)
            if order is not None and name in resting:
                order.cancelling = False
                self._answered(order)
            elif not same_positions:
                continue
            elif order is not None:
                self._end(order)
            else:
                del self.unknown[name]
            settled.append(name)
        return tuple(settled)

    def _answered(self, order: Order) -> None:
        order.status = OrderStatus.ACCEPTED
        self.unknown.pop(order.client_order_id, None)

    def _end(self, order: Order) -> None:
        self.orders.pop(order.client_order_id, None)
        self.unknown.pop(order.client_order_id, None)
        remember(self._ended, order.client_order_id, order)

    def _accepted(self, fact: OrderAccepted) -> bool:
        order = self.orders.get(fact.client_order_id)
        if order is None or (order.status is OrderStatus.ACCEPTED and order.order_id):
            return False
        order.order_id = fact.order_id
        self._answered(order)
        return True

    def _rejected(self, fact: OrderRejected) -> bool:
        order = self.orders.get(fact.client_order_id)
        if order is None:
            # Without an id an amendment was refused, which changes nothing here. A rejection of a command that is not
            # in the table answers the question of its outcome.
            return not fact.client_order_id or self.unknown.pop(fact.client_order_id, None) is not None
        refused_cancel = order.cancelling and (
            fact.code == "ORDER_NOT_FOUND" or (order.status is OrderStatus.ACCEPTED and fact.code != "NOT_ENOUGH_MONEY")
        )
        if refused_cancel:  # the order itself ends by its own fact
            order.cancelling = False
            self._answered(order)
        else:
            self._end(order)
        return True

    def _ends(self, fact: OrderCancelled | OrderExpired) -> bool:
        order = self.orders.get(fact.client_order_id)
        if order is None or order.ended:
            return False
        if not order.filled_e2 <= fact.filled_e2 <= order.volume_e2:
            raise InvariantBroken(
                f"order {order.client_order_id} ended with {fact.filled_e2} filled, but its deals so far filled "
                f"{order.filled_e2} of {order.volume_e2}"
            )
        order.ended = True
        order.volume_e2 = fact.filled_e2
        self._answered(order)
        if order.remaining_e2 == 0:
            self._end(order)
        return True

    def _unknown(self, fact: OrderUnknown) -> bool:
        name = fact.client_order_id
        if name in self._ended or name in self.unknown:
            return False  # the evidence came first
        order = self.orders.get(name)
        # Told late about an order that was answered meanwhile; a cancel in flight is another command.
        if order is not None and order.status is OrderStatus.ACCEPTED and not order.cancelling:
            return False
        self.unknown[name] = fact.symbol
        if order is not None and not order.cancelling:
            order.status = OrderStatus.UNKNOWN
        return True
