"""One trading account: its orders, positions, deals and cash, and the events that its facts become.

Theory of operation. The exchange says what happened (`VenueFact`); this module keeps the broker's record of it and
turns each fact into the execution events of section 7.8 of the reference, in the recorded order and with the recorded
flags. `Told` names the request that caused an event, because every connection of the account is told that name.
"""

from collections.abc import Callable, Iterable
from fractions import Fraction

from adapters.ctrader.messages import model, openapi
from adapters.ctrader.venue.records import (
    ACCEPTED,
    CANCELLED,
    CLOSED,
    CREATED,
    EXPIRED,
    MARKET,
    ON_ACCEPT,
    ON_FILL,
    ON_SERVER,
    REJECTED,
    STOP_LOSS_TAKE_PROFIT,
    DealRecord,
    OrderRecord,
    PositionRecord,
    Told,
    deal_message,
    offset,
    price,
    server_order,
)
from adapters.ctrader.venue.specs import AccountSpec, Catalogue, VenueSpec, to_ms
from adapters.ctrader.venue.state import State
from bus.errors import InvariantBroken
from bus.messages import (
    OrderAccepted,
    OrderCancelled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    ProtectionChanged,
    Quote,
    SwapCharged,
    VenueFact,
)
from bus.values import divide_half_away

_ACCEPTED, _FILLED, _REPLACED, _CANCELLED, _EXPIRED, _REJECTED, _SWAP, _CASH, _PARTIAL = 2, 3, 4, 5, 6, 7, 9, 10, 11


class Account(State):
    """One account of the venue."""

    def __init__(
        self, spec: AccountSpec, venue: VenueSpec, catalogue: Catalogue, next_id: Callable[[str], int], now_ms: int
    ) -> None:
        """Open the account with its first deposit. For the arguments see `State`."""
        super().__init__(spec, venue, catalogue, next_id, now_ms)
        self.pay(spec.balance, now_ms)

    # --- events -------------------------------------------------------------------------------------------------

    def fold(self, facts: Iterable[VenueFact], *, origin: str = "", amends: bool = False) -> list[Told]:
        """Record facts and say what clients are told.

        Args:
            facts: in the exchange's order.
            origin: id of the request that caused them; empty = a quote or time did.
            amends: they answer a request to change levels.
        """
        told: list[Told] = []
        for fact in facts:
            if isinstance(fact, OrderAccepted):
                order = self.orders[int(fact.client_order_id)]
                told.append(
                    self.event(
                        _ACCEPTED, server=False, origin=origin, order=order, position=self.positions[order.position_id]
                    )
                )
            elif isinstance(fact, OrderFilled):
                self._filled(fact, origin, told)
            elif isinstance(fact, ProtectionChanged):
                self._protected(fact, origin, told, amends=amends)
            elif isinstance(fact, OrderCancelled | OrderExpired | OrderRejected):
                self._ended(fact, origin, told)
            elif isinstance(fact, SwapCharged):
                position = self._by_exchange[fact.position_id]
                position.swap += fact.amount
                position.updated_ms = to_ms(fact.ts_event_ns)
                told.append(self.event(_SWAP, server=True, stage=ON_SERVER, position=position))
        return told

    # --- fills --------------------------------------------------------------------------------------------------

    def _filled(self, fact: OrderFilled, origin: str, told: list[Told]) -> None:
        order = self._order_of(fact)
        position = self._position_of(fact, order)
        own_protection = order is position.protection
        instrument = order.symbol.instrument
        rates = self.broker.rate(instrument.quote, self.spec.currency), self.broker.rate(instrument.base, "USD")
        entry_e5 = position.price_e5
        position.fold(fact, rates[0])
        if order.guaranteed and not fact.closing:
            self.guarantee(position)
        position.margin = self.broker.margin(instrument, position.cost, position.rate)
        if self.catalogue.terms_of(instrument.symbol).leverage is not None:  # it depends on all that the side holds
            position.margin = self.broker.margins().get(position.exchange_id, 0)
        order.fold(fact)
        origin = order.origin or origin
        if fact.closing:
            self.balance_version += 1
        deal = self._record_deal(fact, order, position, entry_e5, rates)
        gone = fact.closing and position.volume_e2 == 0
        if gone:
            self._by_exchange.pop(position.exchange_id, None)
            position.margin = 0
            if own_protection or position.protection is None:
                position.close(to_ms(fact.ts_event_ns))
            else:
                position.status = CREATED
        server = fact.cause != "order"
        kind = _FILLED if fact.order_done else _PARTIAL
        told.append(
            self.event(
                kind, server=server, origin="" if server else origin, stage=ON_FILL,
                order=order, position=position, deal=deal.message,
            )
        )  # fmt: skip
        if fact.order_done:
            told.extend(self.margins_changed())
        if gone and position.protection is not None and not own_protection:
            self._drop_protection(position, fact.ts_event_ns, origin, told, server=True)
        elif fact.order_done and not own_protection and position.volume_e2:
            self._resize_protection(position, fact.ts_event_ns, origin, told)
            if not fact.closing:
                self._attach(order, position, fact.ts_event_ns, origin, told)
        if gone and own_protection:
            position.protection = None

    def _order_of(self, fact: OrderFilled) -> OrderRecord:
        if fact.cause == "order":
            return self.orders[int(fact.client_order_id)]
        position = self._by_exchange[fact.position_id]
        if fact.cause != "stop_out":
            if position.protection is None:
                raise InvariantBroken(f"position {position.position_id} was closed by levels that nobody was told of")
            return position.protection
        last = self.orders[max(self.orders)]
        if last.stop_out and last.position_id == position.position_id and last.status == ACCEPTED:
            return last  # a further part of the same stop-out
        return self._server_order(position, MARKET, to_ms(fact.ts_event_ns))

    def _server_order(self, position: PositionRecord, kind: int, now_ms: int) -> OrderRecord:
        order = server_order(position, kind, self.next_id("order"), now_ms)
        self.orders[order.order_id] = order
        return order

    def _position_of(self, fact: OrderFilled, order: OrderRecord) -> PositionRecord:
        """The record of the exchange's position; a netted order that turns a position round opens a new one."""
        known = self._by_exchange.get(fact.position_id)
        if known is None:
            own = self.positions[order.position_id]
            fresh = own.status == CREATED and own.volume_e2 == 0 and not own.exchange_id
            known = (
                own if fresh else self.new_position(order.symbol, fact.side, label=order.label, comment=order.comment)
            )
            self._by_exchange[fact.position_id] = known
        if order.order_type != STOP_LOSS_TAKE_PROFIT:
            order.position_id = known.position_id
        return known

    def _record_deal(
        self,
        fact: OrderFilled,
        order: OrderRecord,
        position: PositionRecord,
        entry_e5: int,
        rates: tuple[Fraction, Fraction],
    ) -> DealRecord:
        deal_id = self.next_id("deal")
        message = deal_message(
            fact,
            deal_id=deal_id,
            order=order,
            position=position,
            entry_e5=entry_e5,
            rates=rates,
            balance_version=self.balance_version,
        )
        deal = DealRecord(
            deal_id=deal_id,
            order_id=order.order_id,
            position_id=position.position_id,
            executed_ms=to_ms(fact.ts_event_ns),
            volume_e2=fact.volume_e2,
            closing=fact.closing,
            message=message,
            left_e2=0 if fact.closing else fact.volume_e2,
        )
        offset(self.deals, deal)
        self.deals.append(deal)
        return deal

    # --- endings ------------------------------------------------------------------------------------------------

    def _ended(self, fact: OrderCancelled | OrderExpired | OrderRejected, origin: str, told: list[Told]) -> None:
        order = self.orders[int(fact.client_order_id)]
        position = self.positions[order.position_id]
        now_ms = to_ms(fact.ts_event_ns)
        kind, status, code, server = _CANCELLED, CANCELLED, "", not origin
        if isinstance(fact, OrderExpired):
            kind, status = _EXPIRED, EXPIRED
        elif isinstance(fact, OrderRejected):
            kind, status, code = _REJECTED, REJECTED, fact.code
        order.finish(status, now_ms)
        if position.volume_e2 == 0 and position.status == CREATED:
            position.status, position.updated_ms = CLOSED, now_ms
        told.append(
            self.event(
                kind, server=server, origin=origin, stage=ON_FILL if origin else ON_SERVER,
                order=order, position=position, code=code,
            )
        )  # fmt: skip
        if order.executed_e2 and position.volume_e2 and not order.closing:
            self._resize_protection(position, fact.ts_event_ns, origin, told)
            self._attach(order, position, fact.ts_event_ns, origin, told)

    # --- levels -------------------------------------------------------------------------------------------------

    def _attach(self, order: OrderRecord, position: PositionRecord, now_ns: int, origin: str, told: list[Told]) -> None:
        """Make the relative levels of an order absolute, from the price at which it was executed."""
        if order.stop_loss_e5 or order.take_profit_e5 or not (order.relative_stop or order.relative_target):
            return  # absolute ones the exchange attaches itself
        instrument = order.symbol.instrument
        entry_e5 = divide_half_away(order.executed_cost, order.executed_e2)
        stop_e5 = target_e5 = trailing_e5 = 0
        if order.relative_stop:
            stop_e5 = max(instrument.round_price_e5(entry_e5 - order.side * order.relative_stop), instrument.point_e5)
        if order.relative_target:
            target_e5 = max(
                instrument.round_price_e5(entry_e5 + order.side * order.relative_target), instrument.point_e5
            )
        if order.trailing and stop_e5:
            closing_e5 = self.broker.closing_e5(instrument.symbol, order.side)
            trailing_e5 = max(abs(closing_e5 - stop_e5), instrument.point_e5)
        facts = self.broker.protect(position.exchange_id, stop_e5, target_e5, trailing_e5, now_ns)
        told.extend(self.fold(facts, origin=origin))

    def _protected(self, fact: ProtectionChanged, origin: str, told: list[Told], *, amends: bool) -> None:
        position = self._by_exchange[fact.position_id]
        now_ms = to_ms(fact.ts_event_ns)
        order = position.protection
        moved = order is not None and not origin and fact.trailing_e5 > 0 and fact.take_profit_e5 == position.target_e5
        position.stop_e5, position.target_e5 = fact.stop_loss_e5, fact.take_profit_e5
        position.trailing = fact.trailing_e5 > 0
        if not fact.stop_loss_e5 and not fact.take_profit_e5:
            self._drop_protection(position, fact.ts_event_ns, origin, told, server=not amends)
            return
        kind = _REPLACED
        if order is None:
            kind, order = _ACCEPTED, self._server_order(position, STOP_LOSS_TAKE_PROFIT, now_ms)
            position.protection = order
        order.stop_e5, order.limit_e5, order.trailing = position.stop_e5, position.target_e5, position.trailing
        if moved:
            message = openapi.ProtoOATrailingSLChangedEvent(
                ctidTraderAccountId=self.account_id,
                positionId=position.position_id,
                orderId=order.order_id,
                stopPrice=price(position.stop_e5),
                utcLastUpdateTimestamp=now_ms,
            )
            told.append(Told(message, "", ON_SERVER))
            return
        order.volume_e2 = position.volume_e2
        order.updated_ms = position.updated_ms = now_ms
        stage = ON_ACCEPT if amends else ON_SERVER
        told.append(self.event(kind, server=not amends, origin=origin, stage=stage, order=order, position=position))

    def _drop_protection(
        self, position: PositionRecord, now_ns: int, origin: str, told: list[Told], *, server: bool
    ) -> None:
        """Cancel the protective order, and close the position for good where nothing is left of it."""
        order, position.protection = position.protection, None
        if order is None:
            return
        now_ms = to_ms(now_ns)
        order.finish(CANCELLED, now_ms)
        position.stop_e5 = position.target_e5 = 0
        position.updated_ms = now_ms
        if position.volume_e2 == 0:
            position.close(now_ms)
        stage = ON_SERVER if server else ON_ACCEPT
        told.append(self.event(_CANCELLED, server=server, origin=origin, stage=stage, order=order, position=position))

    def _resize_protection(self, position: PositionRecord, now_ns: int, origin: str, told: list[Told]) -> None:
        order = position.protection
        if order is None or order.volume_e2 == position.volume_e2:
            return
        order.volume_e2, order.updated_ms = position.volume_e2, to_ms(now_ns)
        told.append(self.event(_REPLACED, server=True, origin=origin, stage=ON_SERVER, order=order, position=position))

    # --- market, time, cash ---------------------------------------------------------------------------------------

    def on_quote(self, quote: Quote) -> list[Told]:
        """Take a price."""
        self.regulate(quote.ts_init_ns)
        return self.fold(self.broker.on_quote(quote))

    def advance(self, market_ns: int) -> list[Told]:
        """Let market time pass."""
        return self.fold(self.broker.advance(market_ns))

    def pay(self, amount: int, now_ms: int) -> Told:
        """Deposit (positive) or withdraw (negative)."""
        self.broker.credit(amount)
        self.balance_version += 1
        entry = model.ProtoOADepositWithdraw(
            operationType=0 if amount >= 0 else 1,
            balanceHistoryId=self.next_id("cash"),
            balance=self.broker.balance,
            delta=amount,
            changeBalanceTimestamp=now_ms,
            balanceVersion=self.balance_version,
            equity=self.broker.equity,
            moneyDigits=self.spec.money_digits,
        )
        self.cash.append(entry)
        return self.event(_CASH, server=True, stage=ON_SERVER, cash=entry)
