"""The five trading requests: what is refused and by which channel, and what the exchange is told.

Checks that the real server makes on the request itself are made here; volumes, prices, levels, sessions and money are
judged by the exchange's own rules, so that paper and venue refuse alike.
"""

from typing import Any

from adapters.ctrader.venue.account import Account
from adapters.ctrader.venue.orderform import (
    EXCHANGE_TYPE,
    TIF,
    Refused,
    bad,
    form_refusal,
    levels_form_refusal,
    price_of,
    set_prices,
)
from adapters.ctrader.venue.protection import loosened, not_now, too_close, too_much, unguaranteed
from adapters.ctrader.venue.records import (
    ACCEPTED,
    CLOSED,
    GTD,
    IOC,
    MARKET,
    MARKET_RANGE,
    ON_ACCEPT,
    ON_FILL,
    OPEN,
    REJECTED,
    STOP_LOSS_TAKE_PROFIT,
    OrderRecord,
    PositionRecord,
    Told,
)
from adapters.ctrader.venue.specs import Symbol, to_ms
from bus.errors import DataError
from bus.messages import AmendProtection, CancelOrder, OrderRejected, SubmitOrder, VenueFact
from bus.values import NS_PER_MS, Side

Outcome = list[Told] | Refused


class Trading:
    """Trading requests of one account. Market time is given with each."""

    def __init__(self, account: Account, most_working: int, declined_as: int) -> None:
        self._account = account
        self._most_working = most_working
        self._declined_as = declined_as

    def handle(self, request: Any, origin: str, now_ns: int) -> Outcome:
        """Carry out a trading request.

        Args:
            request: one of the five messages, for this account.
            origin: its ``clientMsgId``.
            now_ns: market time.
        """
        name = request.DESCRIPTOR.name
        told = self._account.advance(now_ns)
        try:
            done: Outcome = getattr(self, _HANDLERS[name])(request, origin, now_ns)
        except DataError as error:
            return Refused("TRADING_BAD_PRICES", str(error))
        return done if isinstance(done, Refused) else [*told, *done]

    # --- new order ----------------------------------------------------------------------------------------------

    def _new_order(self, request: Any, origin: str, now_ns: int) -> Outcome:
        account = self._account
        symbol = account.catalogue.by_id(request.symbolId)
        if symbol is None:
            return Refused("SYMBOL_NOT_FOUND", f"no symbol {request.symbolId}")
        side = Side.BUY if request.tradeSide == 1 else Side.SELL
        refusal = form_refusal(request)
        if refusal is not None:
            return refusal
        held: PositionRecord | None = None
        if request.positionId:
            held = account.positions.get(request.positionId)
            if held is None or held.status != OPEN or held.symbol is not symbol:
                return Refused("POSITION_NOT_FOUND", f"no open position {request.positionId}")
            if held.side != side:
                return self._reduce(held, request.volume, origin, now_ns)
        refusal = self._not_to_open(request, symbol, side, now_ns)
        if refusal is not None:
            return refusal
        order = self._record(request, symbol, side, held, now_ns)
        account.orders[order.order_id] = order
        try:
            set_prices(order, request)
        except DataError as error:
            return self._withdraw(order, "TRADING_BAD_PRICES", str(error))
        refusal = self._unfit_levels(order) if self._opens_e2(request, symbol, side) else None
        if refusal is not None:
            return self._withdraw(order, refusal.code, refusal.text)
        command = self._command(order, symbol, now_ns)
        if held is not None and account.spec.hedged:
            facts = account.broker.add(command, held.exchange_id, now_ns)
            if isinstance(facts, tuple):
                return self._withdraw(order, *facts)
        else:
            facts = account.broker.execute(command, now_ns)
        order.origin = origin
        refused = next((fact for fact in facts if isinstance(fact, OrderRejected)), None)
        if refused is not None and len(facts) == 1:
            if refused.code == "REJECTED":
                return self._declined(order, origin, refused, now_ns)
            return self._withdraw(order, refused.code, refused.text)
        position = account.positions[order.position_id]
        position.shows_trailing = position.shows_trailing or bool(order.relative_stop or order.relative_target)
        position.trailing = position.trailing or order.trailing
        told = account.fold(facts, origin=origin)
        order.origin = ""
        return told

    def _not_to_open(self, request: Any, symbol: Symbol, side: Side, now_ns: int) -> Refused | None:
        account, opens_e2 = self._account, self._opens_e2(request, symbol, side)
        if account.spec.rights:
            return Refused("TRADING_NOT_ALLOWED", "the account may not open positions")
        if account.broker.working >= self._most_working:
            return Refused("TOO_MANY_POSITIONS", f"{self._most_working} positions and orders are the most")
        terms = account.catalogue.terms_of(symbol.instrument.symbol)
        refusal = not_now(symbol, terms, now_ns, opens=opens_e2 > 0)
        if refusal is not None or not opens_e2:
            return refusal
        same_e2, _ = account.broker.exposure_e2(symbol.instrument.symbol, side)
        return too_much(terms, side, same_e2, opens_e2) or unguaranteed(
            terms,
            limited_risk=account.spec.limited_risk,
            guaranteed=request.guaranteedStopLoss,
            has_stop=bool(request.relativeStopLoss or request.HasField("stopLoss")),
        )

    def _opens_e2(self, request: Any, symbol: Symbol, side: Side) -> int:
        """Volume that an order opens: on a netted account what the other side holds is closed first."""
        _, other_e2 = self._account.broker.exposure_e2(symbol.instrument.symbol, side)
        return request.volume if self._account.spec.hedged else max(0, request.volume - other_e2)

    def _unfit_levels(self, order: OrderRecord) -> Refused | None:
        """Whether levels lie too near the price at which the order would open."""
        account, name = self._account, order.symbol.instrument.symbol
        from_e5 = order.stop_e5 or order.limit_e5 or account.broker.closing_e5(name, order.side)
        return too_close(
            order.symbol, account.catalogue.terms_of(name), from_e5, order.relative_stop, order.relative_target,
            guaranteed=order.guaranteed,
        )  # fmt: skip

    def _record(
        self, request: Any, symbol: Symbol, side: Side, held: PositionRecord | None, now_ns: int
    ) -> OrderRecord:
        account, kind = self._account, request.orderType
        position = held
        if position is None and not account.spec.hedged and kind in {MARKET, MARKET_RANGE}:
            position = account.open_in(symbol)
        if position is None:
            position = account.new_position(symbol, side, label=request.label, comment=request.comment)
        now_ms = to_ms(now_ns)
        order = OrderRecord(
            order_id=account.next_id("order"),
            symbol=symbol,
            side=side,
            order_type=kind,
            volume_e2=request.volume,
            position_id=position.position_id,
            client_order_id=request.clientOrderId,
            created_ms=now_ms,
            updated_ms=now_ms,
            time_in_force=IOC if kind in {MARKET, MARKET_RANGE} else request.timeInForce,
            slippage_points=request.slippageInPoints,
            label=request.label,
            comment=request.comment,
            trailing=request.trailingStopLoss,
            guaranteed=request.guaranteedStopLoss,
            relative_stop=symbol.instrument.round_price_e5(request.relativeStopLoss),
            relative_target=symbol.instrument.round_price_e5(request.relativeTakeProfit),
            expires_ms=request.expirationTimestamp if request.timeInForce == GTD and kind != MARKET else 0,
        )
        order.client_order_id = order.client_order_id or f"server-{order.order_id}"
        return order

    def _command(self, order: OrderRecord, symbol: Symbol, now_ns: int, closes: str = "") -> SubmitOrder:
        """The order as the exchange takes it."""
        trailing_e5 = order.relative_stop if order.trailing and order.stop_loss_e5 else 0
        return SubmitOrder(
            client_order_id=order.key,
            intent_id="",
            strategy="",
            symbol=symbol.instrument.symbol,
            side=order.side,
            order_type=EXCHANGE_TYPE[order.order_type],
            volume_e2=order.volume_e2,
            reference_e5=0,
            ts_init_ns=now_ns,
            time_in_force=TIF[order.time_in_force],
            limit_e5=order.limit_e5,
            trigger_e5=order.stop_e5,
            expires_ns=order.expires_ms * NS_PER_MS,
            stop_loss_e5=order.stop_loss_e5,
            take_profit_e5=order.take_profit_e5,
            trailing_e5=trailing_e5,
            position_id=closes,
        )

    def _withdraw(self, order: OrderRecord, code: str, text: str) -> Refused:
        """Refuse an order in validation: it has never been one."""
        account = self._account
        account.orders.pop(order.order_id, None)
        position = account.positions[order.position_id]
        if position.volume_e2 == 0 and not position.exchange_id:
            del account.positions[order.position_id]
        code = {"NO_CONVERSION": "NO_QUOTES"}.get(code, code)
        return Refused(code, text)

    def _declined(self, order: OrderRecord, origin: str, fact: OrderRejected, now_ns: int) -> list[Told]:
        """The liquidity provider says no after the acceptance."""
        account = self._account
        position = account.positions[order.position_id]
        accepted = account.event(2, server=False, origin=origin, stage=ON_ACCEPT, order=order, position=position)
        order.finish(REJECTED, to_ms(now_ns))
        if position.volume_e2 == 0:
            position.status, position.updated_ms = CLOSED, to_ms(now_ns)
        deal = account.dealless(order, position, self._declined_as, now_ns) if self._declined_as else None
        rejected = account.event(
            7, server=False, origin=origin, stage=ON_FILL, order=order, position=position, deal=deal, code=fact.code
        )
        return [accepted, rejected]

    # --- closing ------------------------------------------------------------------------------------------------

    def _close(self, request: Any, origin: str, now_ns: int) -> Outcome:
        position = self._account.positions.get(request.positionId)
        if position is None or position.volume_e2 == 0:
            return Refused("POSITION_NOT_FOUND", f"Position not found: {request.positionId}")
        if self._account.spec.rights == 2:
            return Refused("TRADING_NOT_ALLOWED", "the account may not trade")
        return self._reduce(position, request.volume, origin, now_ns)

    def _reduce(self, position: PositionRecord, volume_e2: int, origin: str, now_ns: int) -> Outcome:
        account, symbol = self._account, position.symbol
        refusal = not_now(symbol, account.catalogue.terms_of(symbol.instrument.symbol), now_ns, opens=False)
        if refusal is not None:
            return refusal
        if not 0 < volume_e2 <= position.volume_e2:
            return Refused(
                "TRADING_BAD_VOLUME", f"position {position.position_id} holds {position.volume_e2}, not {volume_e2}"
            )
        now_ms = to_ms(now_ns)
        order = OrderRecord(
            order_id=account.next_id("order"),
            symbol=position.symbol,
            side=position.side.opposite,
            order_type=MARKET,
            volume_e2=volume_e2,
            position_id=position.position_id,
            client_order_id="",
            created_ms=now_ms,
            updated_ms=now_ms,
            time_in_force=IOC,
            closing=True,
            label=position.label,
            comment=position.comment,
        )
        order.client_order_id = f"server-{order.order_id}"
        account.orders[order.order_id] = order
        facts = account.broker.execute(self._command(order, position.symbol, now_ns, position.exchange_id), now_ns)
        if len(facts) == 1 and isinstance(facts[0], OrderRejected):
            if facts[0].code == "REJECTED":
                return self._declined(order, origin, facts[0], now_ns)
            return self._withdraw(order, facts[0].code, facts[0].text)
        return account.fold(facts, origin=origin)

    # --- resting orders -----------------------------------------------------------------------------------------

    def _working(self, order_id: int) -> OrderRecord | None:
        order = self._account.orders.get(order_id)
        if order is None or order.status != ACCEPTED:
            return None
        return order

    def _cancel(self, request: Any, origin: str, now_ns: int) -> Outcome:
        order = self._working(request.orderId)
        if order is None:
            return Refused("ORDER_NOT_FOUND", f"Order not found: {request.orderId}", order_id=request.orderId)
        if order.order_type == STOP_LOSS_TAKE_PROFIT:
            return Refused("UNABLE_TO_CANCEL_ORDER", "amend the position's levels instead", order_id=request.orderId)
        symbol = order.symbol.instrument.symbol
        command = CancelOrder(client_order_id=order.key, symbol=symbol, reason="client", ts_init_ns=now_ns)
        return self._account.fold(self._account.broker.execute(command, now_ns), origin=origin)

    def _amend_order(self, request: Any, origin: str, now_ns: int) -> Outcome:
        order = self._working(request.orderId)
        if order is None or order.order_type == STOP_LOSS_TAKE_PROFIT:
            return Refused("ORDER_NOT_FOUND", f"Order not found: {request.orderId}", order_id=request.orderId)
        account = self._account
        guaranteed = request.guaranteedStopLoss if request.HasField("guaranteedStopLoss") else order.guaranteed
        refusal = levels_form_refusal(request) or unguaranteed(
            account.catalogue.terms_of(order.symbol.instrument.symbol),
            limited_risk=account.spec.limited_risk,
            guaranteed=guaranteed,
            has_stop=bool(request.relativeStopLoss or request.HasField("stopLoss")),
        )
        if refusal is not None:
            return refusal
        before = {name: getattr(order, name) for name in _AMENDED}
        order.volume_e2 = request.volume if request.HasField("volume") else order.volume_e2
        if request.HasField("expirationTimestamp"):
            order.expires_ms, order.time_in_force = request.expirationTimestamp, GTD
        if request.HasField("slippageInPoints"):
            order.slippage_points = request.slippageInPoints
        order.relative_stop = order.symbol.instrument.round_price_e5(request.relativeStopLoss)
        order.relative_target = order.symbol.instrument.round_price_e5(request.relativeTakeProfit)
        order.trailing, order.guaranteed = request.trailingStopLoss, guaranteed
        try:
            set_prices(order, request)
            near = self._unfit_levels(order)
            unfit = (near.code, near.text) if near else None
            unfit = unfit or account.broker.amend_order(self._command(order, order.symbol, now_ns), now_ns)
        except DataError as error:
            unfit = "TRADING_BAD_PRICES", str(error)
        if unfit is not None:
            for name, value in before.items():
                setattr(order, name, value)
            return Refused(*unfit, order_id=order.order_id)
        order.updated_ms = to_ms(now_ns)
        position = account.positions[order.position_id]
        return [account.event(4, server=False, origin=origin, order=order, position=position)]

    # --- levels -------------------------------------------------------------------------------------------------

    def _amend_position(self, request: Any, origin: str, now_ns: int) -> Outcome:
        account = self._account
        position = account.positions.get(request.positionId)
        if position is None or position.volume_e2 == 0:
            return Refused("POSITION_NOT_FOUND", f"Position not found: {request.positionId}")
        stop_e5, target_e5 = price_of(request, "stopLoss"), price_of(request, "takeProfit")
        if not stop_e5 and not target_e5 and position.protection is None:
            return bad("Nothing to amend")
        if request.HasField("trailingStopLoss") and not request.trailingStopLoss and not stop_e5:
            return bad("trailingStopLoss without stopLoss")
        if request.HasField("stopLossTriggerMethod") and request.stopLossTriggerMethod != 1:
            return bad("only the trigger method TRADE is offered")
        trails = request.trailingStopLoss if request.HasField("trailingStopLoss") else position.trailing
        guaranteed = request.guaranteedStopLoss if request.HasField("guaranteedStopLoss") else position.guaranteed
        instrument = position.symbol.instrument
        unfit = account.broker.levels_refusal(instrument, position.side, stop_e5, target_e5)
        closing_e5 = account.broker.closing_e5(instrument.symbol, position.side)
        stop_away_e5, target_away_e5 = (abs(closing_e5 - each) if each else 0 for each in (stop_e5, target_e5))
        terms = account.catalogue.terms_of(instrument.symbol)
        refusal = (
            (Refused(*unfit) if unfit else None)
            or unguaranteed(
                terms, limited_risk=account.spec.limited_risk, guaranteed=guaranteed, has_stop=bool(stop_e5)
            )
            or (loosened(position.side, position.stop_e5, stop_e5) if position.guaranteed else None)
            or too_close(
                position.symbol, terms, closing_e5, stop_away_e5 if stop_e5 != position.stop_e5 else 0,
                target_away_e5 if target_e5 != position.target_e5 else 0, guaranteed=guaranteed,
            )
        )  # fmt: skip
        if refusal is not None:
            return refusal
        if guaranteed:
            account.guarantee(position)
        trailing_e5 = stop_away_e5 if trails and stop_e5 else 0
        command = AmendProtection(
            position_id=position.exchange_id,
            symbol=instrument.symbol,
            stop_loss_e5=stop_e5,
            take_profit_e5=target_e5,
            trailing_e5=trailing_e5,
            reason="client",
            ts_init_ns=now_ns,
        )
        facts: list[VenueFact] = account.broker.execute(command, now_ns)
        if len(facts) == 1 and isinstance(facts[0], OrderRejected):
            return Refused(facts[0].code, facts[0].text)
        if not facts:  # equal levels again: the exchange is silent, the real server confirms
            order = position.protection
            return [account.event(4, server=False, origin=origin, order=order, position=position)]
        return account.fold(facts, origin=origin, amends=True)


_AMENDED = (
    "volume_e2", "expires_ms", "time_in_force", "slippage_points", "relative_stop", "relative_target", "trailing",
    "limit_e5", "stop_e5", "base_e5", "stop_loss_e5", "take_profit_e5", "guaranteed",
)  # fmt: skip


_HANDLERS = {
    "ProtoOANewOrderReq": "_new_order",
    "ProtoOAClosePositionReq": "_close",
    "ProtoOACancelOrderReq": "_cancel",
    "ProtoOAAmendOrderReq": "_amend_order",
    "ProtoOAAmendPositionSLTPReq": "_amend_position",
}
TRADING_REQUESTS = frozenset(_HANDLERS)
"""Names of the requests that `Trading.handle` takes."""
