"""An exchange that takes over an account as it stands: open positions, resting orders, prices.

For running a day again from its beginning, when the day before left something open.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from adapters.exchange.engine import Exchange
from adapters.exchange.ledger import Position
from bus.errors import DataError
from bus.messages import Quote, SubmitOrder
from bus.values import RATE_SCALE, Side


class HeldPosition(msgspec.Struct, frozen=True, kw_only=True):
    """An open position to take over. `cost` is the sum of volume_e2 * price_e5; charges are those not yet booked."""

    position_id: str
    client_order_id: str
    symbol: str
    side: Side
    volume_e2: int
    cost: int
    commission: int
    swap: int
    stop_loss_e5: int
    take_profit_e5: int
    trailing_e5: int
    ts_open_ns: int


class ContinuedExchange(Exchange):
    """See the module."""

    def __init__(
        self,
        *,
        quotes: Iterable[Quote],
        held: Sequence[HeldPosition],
        resting: Sequence[SubmitOrder],
        used: int,
        now_ns: int,
        **account: Any,
    ) -> None:
        """Open the account and take over.

        Args:
            quotes: the last price of every symbol.
            held: open positions.
            resting: orders at work; what can be executed at the last prices is told by the first `on_quote`.
            used: numbers of orders, deals and positions that were given before; ours begin beyond.
            now_ns: the moment of the takeover.
            account: see `Exchange`.

        Raises:
            DataError: a position in a symbol that the account does not have.
        """
        super().__init__(**account)
        self._matcher.number_from(used)
        for quote in quotes:
            self._quotes[quote.symbol] = quote
        for each in held:
            market = self._markets.get(each.symbol)
            if market is None:
                raise DataError(f"position {each.position_id} is in {each.symbol}; this account has {[*self._markets]}")
            position = Position(
                position_id=each.position_id,
                client_order_id=each.client_order_id,
                instrument=market.instrument,
                side=each.side,
                ts_open_ns=each.ts_open_ns,
                volume_e2=each.volume_e2,
                cost=each.cost,
                commission=each.commission,
                swap=each.swap,
                rate_e8=self._ledger.rate_e8(market.instrument) or RATE_SCALE,
                stop_loss_e5=each.stop_loss_e5,
                take_profit_e5=each.take_profit_e5,
                trailing_e5=each.trailing_e5,
                protection_id=self._matcher.next_order_id(),
            )
            market.positions[each.position_id] = self._ledger.positions[each.position_id] = position
        self.taken_over = tuple(fact for order in resting for fact in self.execute(order, now_ns))
