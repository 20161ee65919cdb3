"""From orders to deals: who trades at which price, and what the venue then says.

Theory of operation. `Matcher` holds the markets (resting orders and open positions a symbol) and is told when to look:
`protect`, `match_resting` and `stop_out` after a quote, `take` for an order that executes at once. It appends facts to
a list it is given. All money is `Ledger`'s business, all chances `Dice`'s.
"""

from dataclasses import dataclass, field

from adapters.exchange.ledger import Booked, Ledger, Position
from adapters.exchange.model import Dice, ExecutionModel, ladder, slippage_e5
from adapters.exchange.rules import Order, Refusal
from bus.calendar import market_open
from bus.errors import InvariantBroken
from bus.messages import OrderCancelled, OrderFilled, OrderRejected, ProtectionChanged, VenueFact
from bus.values import Instrument, OrderType, Side, TimeInForce

Facts = list[VenueFact]


@dataclass(slots=True)
class Market:
    """One symbol: what rests in it, what is open in it, and how much of the book is taken since the last quote.

    `frozen`: resting orders wait, whatever the price. `closed`: prices are noted and nothing is matched.
    """

    instrument: Instrument
    orders: dict[str, Order] = field(default_factory=dict[str, Order])
    positions: dict[str, Position] = field(default_factory=dict[str, Position])
    bought_e2: int = 0
    sold_e2: int = 0
    frozen: bool = False
    closed: bool = False


class Matcher:
    """Executes orders against the newest effective quotes, which it reads from the ledger."""

    def __init__(self, ledger: Ledger, model: ExecutionModel, *, hedged: bool) -> None:
        self.ledger = ledger
        self.markets = {instrument.symbol: Market(instrument) for instrument in ledger.instruments}
        self._model = model
        self._hedged = hedged
        self._dice = Dice(model.seed)
        self._orders = 0
        self._deals = 0
        self._positions = 0

    # --- small questions ---------------------------------------------------------------------------------------

    def next_order_id(self) -> str:
        """The venue's next order id."""
        self._orders += 1
        return f"O{self._orders}"

    def number_from(self, used: int) -> None:
        """Count orders, deals and positions on from here: so many numbers may have been given before."""
        self._orders = self._deals = self._positions = used

    def refuses_by_chance(self) -> bool:
        """Draw whether this order is refused for no reason of ours."""
        return self._model.reject_pct > 0 and self._dice.below(100) < self._model.reject_pct

    def money_refusal(self, order: Order) -> Refusal | None:
        """Whether the account can carry what the order would open."""
        instrument, side = order.instrument, order.side
        opposite = None if self._hedged else self._netted(instrument.symbol)
        opening_e2 = 0 if order.closes else order.volume_e2 - order.filled_e2
        flips = opposite is not None and opposite.side != side
        if flips and opposite is not None:
            opening_e2 = max(0, opening_e2 - opposite.volume_e2)
        if opening_e2 == 0:
            return None
        rate_e8 = self.ledger.rate_e8(instrument)
        if rate_e8 is None or not self.ledger.priced(instrument):
            return "NO_CONVERSION", f"no chain of prices from {instrument.quote} to {self.ledger.currency} yet"
        price_e5 = self._touch_e5(instrument.symbol, side)
        added = self.ledger.opening_margin(instrument, side, opening_e2, price_e5, rate_e8)
        needed = self.ledger.used_margin(instrument.symbol, side, added, flips=flips)
        equity = self.ledger.equity()
        if needed > equity:
            return "NOT_ENOUGH_MONEY", f"margin {needed} would exceed equity {equity}"
        return None

    def _netted(self, symbol: str) -> Position | None:
        return next(iter(self.markets[symbol].positions.values()), None)

    def _touch_e5(self, symbol: str, side: Side) -> int:
        quote = self.ledger.quotes[symbol]
        return quote.ask_e5 if side > 0 else quote.bid_e5

    # --- executing ---------------------------------------------------------------------------------------------

    def take(self, order: Order, now_ns: int, facts: Facts, *, resting: bool = False, whole: bool = False) -> None:
        """Execute what can be executed now; what cannot stays in `order` (volume_e2 minus filled_e2).

        Args:
            order: its trigger, where it has one, has been met. Market-like orders slip, limits do not.
            now_ns: stamps the facts.
            facts: are appended to.
            resting: the order was in the book before this quote, and so may meet a price better than its own.
            whole: the order must complete at whatever price.
        """
        market = self.markets[order.instrument.symbol]
        limited = order.limit_e5 > 0
        touch_e5 = self._touch_e5(order.instrument.symbol, order.side)
        if not limited:
            slipped_e5 = touch_e5 + order.side * slippage_e5(self._model, order.instrument, self._dice)
            touch_e5 = max(slipped_e5, order.instrument.point_e5)
        wanted_e2 = order.volume_e2 - order.filled_e2
        if order.closes:
            wanted_e2 = min(wanted_e2, market.positions[order.closes].volume_e2)
        parts = ladder(
            self._model,
            order.instrument,
            side=order.side,
            touch_e5=touch_e5,
            limit_e5=order.limit_e5,
            volume_e2=wanted_e2,
            taken_e2=market.bought_e2 if order.side > 0 else market.sold_e2,
            whole=whole,
        )
        if order.time_in_force is TimeInForce.FOK and sum(volume for volume, _ in parts) < wanted_e2:
            return
        own_price = limited and resting and not self._model.pass_on_gaps
        opened = None
        for volume_e2, price_e5 in parts:
            opened = self._trade(market, order, volume_e2, order.limit_e5 if own_price else price_e5, now_ns, facts)
        if opened is not None:
            self._attach(opened, order, now_ns, facts)

    def _trade(
        self, market: Market, order: Order, volume_e2: int, price_e5: int, now_ns: int, facts: Facts
    ) -> Position | None:
        """One part of an execution: a closing deal, an opening one, or on a netted account one of each."""
        if order.side > 0:
            market.bought_e2 += volume_e2
        else:
            market.sold_e2 += volume_e2
        held = market.positions.get(order.closes) if order.closes else None
        if held is None and not self._hedged:
            netted = self._netted(market.instrument.symbol)
            held = netted if netted is not None and netted.side != order.side else None
        if held is not None:
            closed_e2 = min(volume_e2, held.volume_e2)
            self._close(market, held, order, closed_e2, price_e5, now_ns, facts)
            volume_e2 -= closed_e2
        if volume_e2 == 0:
            return None
        if order.closes:
            raise InvariantBroken(
                f"closing order {order.order_id} would open {volume_e2} on {market.instrument.symbol}"
            )
        return self._open(market, order, volume_e2, price_e5, now_ns, facts)

    def _close(
        self, market: Market, position: Position, order: Order, volume_e2: int, price_e5: int, now_ns: int, facts: Facts
    ) -> None:
        booked = self.ledger.close(position, volume_e2, price_e5)
        order.filled_e2 += volume_e2
        gone = position.volume_e2 == 0
        done = order.filled_e2 == order.volume_e2 or (gone and bool(order.closes))
        self._tell(position, order, volume_e2, price_e5, booked, now_ns, facts, closing=True, done=done)
        if not gone:
            return
        del market.positions[position.position_id]
        for other in tuple(market.orders.values()):
            if other.closes == position.position_id and other is not order:
                self.cancel(other, "POSITION_NOT_FOUND", now_ns, facts)

    def _open(self, market: Market, order: Order, volume_e2: int, price_e5: int, now_ns: int, facts: Facts) -> Position:
        position = market.positions.get(order.opened) if self._hedged else self._netted(market.instrument.symbol)
        if position is None:
            self._positions += 1
            position = Position(
                position_id=f"P{self._positions}",
                client_order_id=order.client_order_id,
                instrument=market.instrument,
                side=order.side,
                ts_open_ns=now_ns,
            )
            market.positions[position.position_id] = position
        order.opened = position.position_id
        booked = self.ledger.open(position, volume_e2, price_e5)
        order.filled_e2 += volume_e2
        done = order.filled_e2 == order.volume_e2
        self._tell(position, order, volume_e2, price_e5, booked, now_ns, facts, closing=False, done=done)
        return position

    def _tell(
        self,
        position: Position,
        order: Order,
        volume_e2: int,
        price_e5: int,
        booked: Booked,
        now_ns: int,
        facts: Facts,
        *,
        closing: bool,
        done: bool,
    ) -> None:
        quote = self.ledger.quotes[order.instrument.symbol]
        self._deals += 1
        facts.append(
            OrderFilled(
                deal_id=f"D{self._deals}",
                client_order_id=order.client_order_id,
                order_id=order.order_id,
                position_id=position.position_id,
                symbol=order.instrument.symbol,
                side=order.side,
                volume_e2=volume_e2,
                price_e5=price_e5,
                closing=closing,
                cause=order.cause,
                remaining_e2=position.volume_e2,
                commission=booked.commission,
                gross_profit=booked.gross_profit,
                booked_commission=booked.booked_commission,
                booked_swap=booked.booked_swap,
                conversion_fee=booked.conversion_fee,
                balance=self.ledger.balance,
                bid_e5=quote.bid_e5,
                ask_e5=quote.ask_e5,
                ts_event_ns=now_ns,
                ts_init_ns=now_ns,
                level_e5=order.level_e5,
                order_done=done,
            )
        )

    # --- protection --------------------------------------------------------------------------------------------

    def _attach(self, position: Position, order: Order, now_ns: int, facts: Facts) -> None:
        """Give a position the levels its order brought, once a position.

        The rest of an order may open another one, where the first was closed meanwhile; that needs its stop as well.
        """
        if order.protects and order.protected != position.position_id:
            order.protected = position.position_id
            self.set_levels(position, order.stop_loss_e5, order.take_profit_e5, order.trailing_e5, now_ns, facts)

    def set_levels(
        self, position: Position, stop_e5: int, target_e5: int, trailing_e5: int, now_ns: int, facts: Facts
    ) -> None:
        """Replace both levels of a position; a trailing stop without a level starts at its distance from the market."""
        position.stop_loss_e5 = stop_e5 or (self._trailed_e5(position, trailing_e5) if trailing_e5 else 0)
        position.take_profit_e5 = target_e5
        position.trailing_e5 = trailing_e5
        position.trailed = trailing_e5 > 0 and not stop_e5
        position.protection_id = position.protection_id or self.next_order_id()
        self._tell_levels(position, now_ns, facts)

    def _tell_levels(self, position: Position, now_ns: int, facts: Facts) -> None:
        facts.append(
            ProtectionChanged(
                position_id=position.position_id,
                symbol=position.instrument.symbol,
                stop_loss_e5=position.stop_loss_e5,
                take_profit_e5=position.take_profit_e5,
                trailing_e5=position.trailing_e5,
                ts_event_ns=now_ns,
                ts_init_ns=now_ns,
            )
        )

    def _trailed_e5(self, position: Position, distance_e5: int) -> int:
        """Where a stop at this distance from the closing side would be, on the price grid, away from the market."""
        closing_e5 = self._touch_e5(position.instrument.symbol, position.side.opposite)
        point = position.instrument.point_e5
        level_e5 = closing_e5 - position.side * distance_e5
        level_e5 = level_e5 // point * point if position.side > 0 else -(-level_e5 // point) * point
        return max(level_e5, point)

    def protect(self, market: Market, now_ns: int, facts: Facts) -> None:
        """Trigger stops (first) and targets at the newest quote, then let trailing stops follow."""
        for position in tuple(market.positions.values()):
            side = position.side
            price_e5 = self._touch_e5(market.instrument.symbol, side.opposite)
            stop_e5, target_e5 = position.stop_loss_e5, position.take_profit_e5
            if stop_e5 and (price_e5 - stop_e5) * side <= 0:
                cause = "trailing_stop" if position.trailed else "stop_loss"
                order = self._closing_order(position, cause, stop_e5)
                if position.guaranteed:  # whatever the market is, and to the whole
                    self._trade(market, order, position.volume_e2, stop_e5, now_ns, facts)
                else:
                    self.take(order, now_ns, facts, whole=True)
            elif target_e5 and (price_e5 - target_e5) * side >= 0:
                order = self._closing_order(position, "take_profit", target_e5, limit_e5=target_e5)
                self.take(order, now_ns, facts, resting=True)
            elif position.trailing_e5:
                level_e5 = self._trailed_e5(position, position.trailing_e5)
                if (level_e5 - stop_e5) * side > 0:
                    position.stop_loss_e5 = level_e5
                    position.trailed = True
                    self._tell_levels(position, now_ns, facts)

    def _trades(self, instrument: Instrument, now_ns: int) -> bool:
        return not self.markets[instrument.symbol].closed and market_open(now_ns, instrument.session)

    def _closing_order(self, position: Position, cause: str, level_e5: int, limit_e5: int = 0) -> Order:
        return Order(
            client_order_id=position.client_order_id,
            order_id=self.next_order_id() if cause == "stop_out" else position.protection_id,
            instrument=position.instrument,
            side=position.side.opposite,
            order_type=OrderType.LIMIT if limit_e5 else OrderType.MARKET,
            volume_e2=position.volume_e2,
            limit_e5=limit_e5,
            closes=position.position_id,
            cause=cause,
            level_e5=level_e5,
        )

    def stop_out(self, now_ns: int, facts: Facts) -> None:
        """While the margin level is too low, close the position that loses most, where its market is open."""
        ledger = self.ledger
        while ledger.positions:
            if ledger.equity() * 100 >= self._model.stop_out_level_pct * ledger.used_margin():
                return
            open_now = [p for p in ledger.positions.values() if self._trades(p.instrument, now_ns)]
            if not open_now:
                return
            worst = min(open_now, key=ledger.net_profit)
            self.take(self._closing_order(worst, "stop_out", 0), now_ns, facts, whole=True)

    # --- resting orders ----------------------------------------------------------------------------------------

    def match_resting(self, market: Market, now_ns: int, facts: Facts) -> None:
        """Execute resting orders that the newest quote reaches, in order of arrival."""
        for order in tuple(market.orders.values()):
            if order.client_order_id not in market.orders:
                continue  # cancelled a moment ago, with the position that it was to close
            resting = True
            touch_e5 = self._touch_e5(market.instrument.symbol, order.side)
            if order.trigger_e5 and not order.triggered:
                if (touch_e5 - order.trigger_e5) * order.side < 0:
                    continue
                order.triggered = True
                resting = False
            if order.limit_e5 and (touch_e5 - order.limit_e5) * order.side > 0:
                continue
            refusal = self.money_refusal(order)
            if refusal is not None:
                self._drop(market, order, refusal, now_ns, facts)
                continue
            self.take(order, now_ns, facts, resting=resting)
            if order.filled_e2 == order.volume_e2 or (order.closes and order.closes not in market.positions):
                del market.orders[order.client_order_id]

    def _drop(self, market: Market, order: Order, refusal: Refusal, now_ns: int, facts: Facts) -> None:
        """End a resting order that the account cannot carry."""
        code, text = refusal
        if order.filled_e2:
            self.cancel(order, code, now_ns, facts)
            return
        del market.orders[order.client_order_id]
        facts.append(rejected(order.client_order_id, market.instrument.symbol, code, text, now_ns))

    def cancel(self, order: Order, reason: str, now_ns: int, facts: Facts) -> None:
        """End an order, resting or not, and say how much of it was done."""
        symbol = order.instrument.symbol
        self.markets[symbol].orders.pop(order.client_order_id, None)
        facts.append(
            OrderCancelled(
                client_order_id=order.client_order_id,
                symbol=symbol,
                reason=reason,
                filled_e2=order.filled_e2,
                ts_event_ns=now_ns,
                ts_init_ns=now_ns,
            )
        )


def rejected(client_order_id: str, symbol: str, code: str, text: str, now_ns: int) -> OrderRejected:
    """A refusal as a fact."""
    return OrderRejected(
        client_order_id=client_order_id, symbol=symbol, code=code, text=text, ts_event_ns=now_ns, ts_init_ns=now_ns
    )
