"""What is remembered of one account, and who is who in it: whose orders and positions they are. No I/O.

Memory is bounded: the last REMEMBERED deals, orders, commands and closed positions are known, and so many positions
may be open.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from adapters.ctrader.holdings import Dealt, Holding, KnownOrder
from adapters.ctrader.orders import LONGEST_CLIENT_ID, Holder
from adapters.ctrader.symbols import Specification
from adapters.ctrader.valuation import Valuation
from adapters.ctrader.wire import DEFAULT_MONEY_DIGITS, money_of, optional_price_e5, side_of, words
from bus.errors import DataError
from bus.messages import (
    AccountSnapshot,
    Quote,
    SubmitOrder,
    VenueFact,
)
from bus.values import Side

REMEMBERED = 10_000


Told = VenueFact | AccountSnapshot
"""What the fold gives to its shell, in order."""


def remember(memory: OrderedDict[Any, Any], key: object, value: object) -> None:
    """Keep an entry and, beyond the limit, drop the oldest (of a plain dict, looking for it would take ever longer)."""
    memory[key] = value
    if len(memory) > REMEMBERED:
        memory.popitem(last=False)


class State:
    """Orders, positions and deals of one account; see `account.Account`, which is the way in."""

    def __init__(
        self,
        holder: Holder,
        specifications: Mapping[int, Specification],
        quotes: Mapping[str, Quote],
        *,
        currency: str,
        adopt: bool = False,
    ) -> None:
        self._holder = holder
        self._specifications = specifications
        self._quotes = quotes
        self._currency = currency
        self._adopt = adopt
        self.valuation = Valuation(specifications, quotes, currency)
        self.money_digits = DEFAULT_MONEY_DIGITS
        self.balance = 0
        self.needs_recovery = False
        self._balance_version = 0
        self._begun_ms = 0
        self._begun_version = 0
        self._holdings: dict[int, Holding] = {}
        self._orders: OrderedDict[int, KnownOrder] = OrderedDict()
        self._order_ids: OrderedDict[str, int] = OrderedDict()
        self._accepted: OrderedDict[str, None] = OrderedDict()
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._deals: OrderedDict[str, None] = OrderedDict()
        self._commands: OrderedDict[str, SubmitOrder] = OrderedDict()
        self._unknown: OrderedDict[str, None] = OrderedDict()
        self._foreign: OrderedDict[str, tuple[int, int, int, int]] = OrderedDict()

    def _symbol(self, symbol_id: int) -> str:
        known = self._specifications.get(symbol_id)
        return known.instrument.symbol if known is not None else f"#{symbol_id}"

    # --- who is who --------------------------------------------------------------------------------------------

    def _hold(self, position_id: int, symbol_id: int, side: Side) -> Holding:
        held = self._holdings.get(position_id)
        if held is None:
            if len(self._holdings) >= REMEMBERED:
                closed = (key for key, old in self._holdings.items() if not old.volume_e2 and not old.waiting)
                oldest = next(closed, None)
                if oldest is None:
                    raise DataError(f"more than {REMEMBERED} open positions on one account")
                del self._holdings[oldest]
            held = Holding(position_id=position_id, symbol_id=symbol_id, side=side, ours=self._adopt)
            self._holdings[position_id] = held
        return held

    def _label(self, held: Holding, label: str) -> None:
        held.label = held.label or words(label)
        client_order_id = self._holder.client_order_id_of(label)
        # What is open already and not ours becomes ours by a deal of ours (netted accounts), with all that went before.
        if client_order_id is not None and (held.ours or not held.volume_e2):
            held.ours = True
            if not held.volume_e2:
                held.client_order_id = held.client_order_id or client_order_id

    def _learn_position(self, position: Any) -> Holding:
        held = self._hold(position.positionId, position.tradeData.symbolId, side_of(position.tradeData.tradeSide))
        self._label(held, position.tradeData.label)
        held.guaranteed = position.guaranteedStopLoss
        self.valuation.position(position)
        held.charges = money_of(position, "commission", self.money_digits) + money_of(
            position, "swap", self.money_digits
        )
        return held

    def _learn_order(self, entity: Any, answering: str) -> tuple[KnownOrder, Holding | None]:
        """Take in what an order says of itself; its position too, which has its id from the first moment."""
        data, side = entity.tradeData, side_of(entity.tradeData.tradeSide)
        order = self._orders.get(entity.orderId)
        if order is None:
            order = KnownOrder(
                order_id=entity.orderId,
                symbol_id=data.symbolId,
                side=side,
                kind=entity.orderType,
                volume_e2=data.volume,
            )
            remember(self._orders, entity.orderId, order)
        if entity.utcLastUpdateTimestamp >= order.updated_ms:
            order.updated_ms = entity.utcLastUpdateTimestamp
            order.kind, order.volume_e2, order.closing = entity.orderType, data.volume, entity.closingOrder
            order.stop_e5 = optional_price_e5(entity, "stopPrice")
            order.limit_e5 = optional_price_e5(entity, "limitPrice")
        order.stop_out = order.stop_out or entity.isStopOut
        order.position_id = entity.positionId or order.position_id
        if not order.client_order_id:
            order.client_order_id = self._client_order_id(entity, answering)
            if order.client_order_id:
                remember(self._order_ids, order.client_order_id, order.order_id)
        if not order.position_id:
            return order, None
        held = self._hold(order.position_id, data.symbolId, side.opposite if entity.closingOrder else side)
        self._label(held, data.label)
        return order, held

    def _client_order_id(self, entity: Any, answering: str) -> str:
        if entity.clientOrderId in self._commands and not self._commands[entity.clientOrderId].position_id:
            return entity.clientOrderId
        if entity.closingOrder:  # its label is its position's, its client order id the server's own
            closes = self._commands.get(answering)
            mine = closes is not None and closes.position_id == str(entity.positionId)
            return answering if mine else ""
        labelled = self._holder.client_order_id_of(entity.tradeData.label)
        if labelled is not None:
            return labelled
        return (entity.clientOrderId[:LONGEST_CLIENT_ID] or str(entity.orderId)) if self._adopt else ""

    def _take_unknown_close(self, held: Holding, order: KnownOrder | None, deal: Dealt) -> str:
        """The close of unknown outcome that a deal of nobody's fits: its answer was lost with a connection."""
        if order is not None and (order.protective or order.stop_out or order.client_order_id):
            return order.client_order_id
        for name in self._unknown:
            command = self._commands.get(name)
            if command is None or command.position_id != str(held.position_id) or command.side is not deal.side:
                continue
            volume_e2 = order.volume_e2 if order is not None else deal.volume_e2
            if volume_e2 == min(command.volume_e2, held.volume_e2):
                if order is not None:
                    order.client_order_id = name
                remember(self._order_ids, name, deal.order_id)
                return name
        return ""
