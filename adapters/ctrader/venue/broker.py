"""The matching engine with what this broker can do beyond the common contract: amend orders, add to a position."""

from fractions import Fraction
from typing import Any

from adapters.ctrader.venue.ledger import BrokerLedger
from adapters.ctrader.venue.specs import Catalogue
from adapters.exchange.engine import Exchange
from adapters.exchange.ledger import Position
from adapters.exchange.matching import Facts
from adapters.exchange.rules import (
    Order,
    Refusal,
    levels_refusal,
    order_of,
    price_refusal,
    stops_refusal,
    volume_refusal,
)
from bus.calendar import market_open
from bus.messages import OrderAccepted, SubmitOrder, VenueFact
from bus.values import RATE_SCALE, Instrument, Side


class Broker(Exchange):
    """One account's exchange. Orders are known by the `client_order_id` they were submitted with."""

    _ledger: BrokerLedger

    def __init__(self, catalogue: Catalogue, *, margin_rule: int, conversion: str, **fields: Any) -> None:
        """Open an account.

        Args:
            catalogue: gives the terms of its symbols.
            margin_rule: see `AccountSpec`.
            conversion: see `VenueSpec`.
            fields: as for `Exchange`.
        """
        self._catalogue = catalogue
        self._rules: dict[str, Any] = {"margin_rule": margin_rule, "conversion": conversion}
        super().__init__(**fields)

    def _new_ledger(self, **fields: Any) -> BrokerLedger:
        return BrokerLedger(catalogue=self._catalogue, **self._rules, **fields)

    @property
    def working(self) -> int:
        """How many positions are open and orders rest."""
        return len(self._ledger.positions) + sum(len(market.orders) for market in self._markets.values())

    def exposure_e2(self, symbol: str, side: Side) -> tuple[int, int]:
        """Open volume of a symbol on a side and on the other."""
        held = self._markets[symbol].positions.values()
        same_e2 = sum(position.volume_e2 for position in held if position.side == side)
        return same_e2, sum(position.volume_e2 for position in held) - same_e2

    def guarantee(self, position_id: str) -> None:
        """Let a position's stop loss be filled at its level, whatever the market does."""
        self._ledger.positions[position_id].guaranteed = True

    def regulate(self, symbol: str, *, frozen: bool, closed: bool) -> None:
        """Let resting orders of a symbol wait or go on; close its market, where prices are only noted, or open it."""
        market = self._markets[symbol]
        market.frozen, market.closed = frozen, closed

    def held(self, position_id: str) -> Position | None:
        """An open position as the ledger holds it."""
        return self._ledger.positions.get(position_id)

    def held_in(self, symbol: str) -> Position | None:
        """The first open position of a symbol: on a netted account, the only one."""
        return next(iter(self._markets[symbol].positions.values()), None)

    def resting(self, key: str, symbol: str) -> Order | None:
        """A resting order."""
        return self._markets[symbol].orders.get(key)

    def rate(self, first: str, last: str) -> Fraction:
        """Units of one asset for one of another; 0 where no price links them."""
        return self._ledger.rate(first, last) or Fraction(0)

    def margin(self, instrument: Instrument, cost: int | Fraction, rate: Fraction) -> int:
        """Margin of an exposure by itself; `cost` is the sum of volume_e2 * price_e5, `rate` converts it."""
        return self._ledger.margin(instrument, cost, rate * RATE_SCALE)

    def margins(self) -> dict[str, int]:
        """Margin of every position by the exchange's id."""
        return self._ledger.margins()

    def expected_margin(self, instrument: Instrument, side: Side, volume_e2: int) -> int | None:
        """Margin that opening so much now would take; None where no price says."""
        quote, rate_e8 = self._quotes.get(instrument.symbol), self._ledger.rate_e8(instrument)
        if quote is None or not rate_e8 or not self._ledger.priced(instrument):
            return None
        price_e5 = quote.ask_e5 if side > 0 else quote.bid_e5
        return self._ledger.opening_margin(instrument, side, volume_e2, price_e5, rate_e8)

    def set_leverage(self, leverage: int) -> None:
        """Let the account carry more or less from now on."""
        self._ledger.leverage = leverage

    def floating(self, position: Position) -> tuple[int, int]:
        """Unrealised result of a position: gross, and with its opening commission and swap."""
        net = self._ledger.net_profit(position)
        return net - position.commission - position.swap, net

    def credit(self, amount: int) -> None:
        """Pay in (positive) or out (negative)."""
        self._ledger.balance += amount

    def protect(self, position_id: str, stop_e5: int, target_e5: int, trailing_e5: int, now_ns: int) -> list[VenueFact]:
        """Give a position levels that a fill decided; one the market has passed triggers at the next quote."""
        facts: Facts = []
        position = self._ledger.positions.get(position_id)
        if position is not None:
            position.last_amend = None
            self._matcher.set_levels(position, stop_e5, target_e5, trailing_e5, now_ns, facts)
        return facts

    def add(self, command: SubmitOrder, position_id: str, now_ns: int) -> list[VenueFact] | Refusal:
        """Execute a market order into an open position of its own side, on a hedged account.

        Args:
            command: a market order without `position_id`; already advanced to its time.
            position_id: the exchange's id of the position.
            now_ns: when it arrives.
        """
        market = self._markets[command.symbol]
        refusal = volume_refusal(command, market.instrument, None)
        if refusal is None and not market_open(now_ns, market.instrument.session):
            refusal = "MARKET_CLOSED", f"{command.symbol} is closed"
        order = order_of(command, market.instrument, self._matcher.next_order_id())
        order.opened = position_id
        refusal = refusal or self._matcher.money_refusal(order)
        if refusal is not None:
            return refusal
        facts: Facts = [
            OrderAccepted(
                client_order_id=order.client_order_id,
                order_id=order.order_id,
                symbol=command.symbol,
                ts_event_ns=now_ns,
                ts_init_ns=now_ns,
            )
        ]
        self._matcher.take(order, now_ns, facts)
        if order.filled_e2 < order.volume_e2:
            self._matcher.cancel(order, "no more volume in reach", now_ns, facts)
        return facts

    def amend_order(self, changed: SubmitOrder, now_ns: int) -> Refusal | None:
        """Replace volume, prices, expiry and levels of a resting order, known by the command's `client_order_id`."""
        market = self._markets[changed.symbol]
        order = market.orders.get(changed.client_order_id)
        quote = self._quotes.get(changed.symbol)
        if order is None or quote is None:
            return "ORDER_NOT_FOUND", "no such resting order"
        instrument = market.instrument
        refusal = (
            volume_refusal(changed, instrument, None)
            or (None if order.triggered else price_refusal(changed, instrument, quote, now_ns))
            or levels_refusal(changed, instrument, quote)
        )
        if refusal is None and changed.volume_e2 <= order.filled_e2:
            refusal = "TRADING_BAD_VOLUME", f"{order.filled_e2} are executed already"
        if refusal is not None:
            return refusal
        fresh = order_of(changed, instrument, order.order_id)
        order.volume_e2, order.expires_ns = fresh.volume_e2, fresh.expires_ns
        order.limit_e5, order.trigger_e5 = fresh.limit_e5, fresh.trigger_e5
        order.stop_loss_e5, order.take_profit_e5 = fresh.stop_loss_e5, fresh.take_profit_e5
        order.trailing_e5 = fresh.trailing_e5
        if fresh.expires_ns:
            self._due_ns = min(self._due_ns, fresh.expires_ns)
        return None

    def levels_refusal(self, instrument: Instrument, side: Side, stop_e5: int, target_e5: int) -> Refusal | None:
        """Whether levels lie on the right side of the price at which a position would close now."""
        quote = self._quotes.get(instrument.symbol)
        if quote is None:
            return None
        price_e5 = quote.bid_e5 if side > 0 else quote.ask_e5
        return stops_refusal(instrument, side, price_e5, price_e5, stop_e5, target_e5, 0)

    def closing_e5(self, symbol: str, side: Side) -> int:
        """The price at which a position of this side would close; 0 = no quote yet."""
        quote = self._quotes.get(symbol)
        if quote is None:
            return 0
        return quote.bid_e5 if side > 0 else quote.ask_e5
