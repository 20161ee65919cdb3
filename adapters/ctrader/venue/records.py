"""Orders, positions and deals as the broker keeps and tells them.

Theory of operation. The exchange knows what is open; the broker also knows what was, and tells every event with the
object as it stood at that moment. A record is folded fact by fact, so that an acceptance shows an empty position
although the exchange has already filled it. Presence of fields follows the recordings in section 7.10 of the reference.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from adapters.ctrader.messages import model
from adapters.ctrader.venue.extras import put_varint
from adapters.ctrader.venue.ledger import fine_share
from adapters.ctrader.venue.specs import Symbol, to_ms
from bus.messages import OrderFilled
from bus.values import PRICE_SCALE, Side, divide_half_away

ACCEPTED, FILLED, REJECTED, EXPIRED, CANCELLED = 1, 2, 3, 4, 5
OPEN, CLOSED, CREATED = 1, 2, 3
MARKET, LIMIT, STOP, STOP_LOSS_TAKE_PROFIT, MARKET_RANGE, STOP_LIMIT = 1, 2, 3, 4, 5, 6
GTD, GTC, IOC, FOK = 1, 2, 3, 4

ON_ACCEPT, ON_FILL, ON_SERVER = 0, 1, 2
"""Stages of an answer, each with its own delay."""


def price(price_e5: int) -> float:
    """A plain price of the wire."""
    return price_e5 / PRICE_SCALE


def wire_side(side: Side) -> int:
    """1 = buy, 2 = sell."""
    return 1 if side > 0 else 2


@dataclass(frozen=True, slots=True)
class Told:
    """An event for every connection of the account."""

    message: Any
    origin: str
    stage: int


@dataclass(slots=True, kw_only=True)
class OrderRecord:
    """An order of any kind, alive or finished. `key` is the exchange's client order id; times in ms."""

    order_id: int
    symbol: Symbol
    side: Side
    order_type: int
    volume_e2: int
    position_id: int
    client_order_id: str
    created_ms: int
    time_in_force: int = GTC
    status: int = ACCEPTED
    limit_e5: int = 0
    stop_e5: int = 0
    base_e5: int = 0
    slippage_points: int = 0
    expires_ms: int = 0
    stop_loss_e5: int = 0
    take_profit_e5: int = 0
    relative_stop: int = 0
    relative_target: int = 0
    trailing: bool = False
    guaranteed: bool = False
    closing: bool = False
    stop_out: bool = False
    label: str = ""
    comment: str = ""
    executed_e2: int = 0
    executed_cost: int = 0
    updated_ms: int = 0
    closed_ms: int = 0
    origin: str = ""

    @property
    def key(self) -> str:
        """How the exchange knows it."""
        return str(self.order_id)

    def fold(self, fact: OrderFilled) -> None:
        """Take in a deal."""
        self.executed_e2 += fact.volume_e2
        self.executed_cost += fact.volume_e2 * fact.price_e5
        self.updated_ms = to_ms(fact.ts_event_ns)
        if fact.order_done:
            self.finish(FILLED, self.updated_ms)

    def finish(self, status: int, now_ms: int) -> None:
        """Reach a final status."""
        self.status, self.updated_ms, self.closed_ms = status, now_ms, now_ms

    def message(self) -> Any:
        """As `ProtoOAOrder`."""
        protective = self.order_type == STOP_LOSS_TAKE_PROFIT
        out = model.ProtoOAOrder(
            orderId=self.order_id,
            tradeData=trade_data(self, self.volume_e2, self.created_ms),
            orderType=self.order_type,
            orderStatus=self.status,
            executedVolume=self.executed_e2,
            utcLastUpdateTimestamp=self.updated_ms,
            closingOrder=self.closing,
            clientOrderId=self.client_order_id,
            timeInForce=self.time_in_force,
            positionId=self.position_id,
        )
        if self.closed_ms:
            put_varint(out.tradeData, 9, self.closed_ms)
        if self.executed_e2:
            out.executionPrice = price(divide_half_away(self.executed_cost, self.executed_e2))
        if self.limit_e5 and self.order_type in {LIMIT, STOP_LOSS_TAKE_PROFIT}:
            out.limitPrice = price(self.limit_e5)
        if self.stop_e5:
            out.stopPrice = price(self.stop_e5)
        if self.base_e5:
            out.baseSlippagePrice = price(self.base_e5)
        if self.order_type in {MARKET_RANGE, STOP_LIMIT}:
            out.slippageInPoints = self.slippage_points
        if self.expires_ms:
            out.expirationTimestamp = self.expires_ms
        if self.relative_stop:
            out.relativeStopLoss = self.relative_stop
        if self.relative_target:
            out.relativeTakeProfit = self.relative_target
        if protective or ((self.relative_stop or self.relative_target) and not self.closing):
            out.trailingStopLoss = self.trailing
        if protective or self.order_type in {STOP, STOP_LIMIT}:
            out.stopTriggerMethod = 1
        if self.stop_out:
            out.isStopOut = True
        return out


@dataclass(slots=True, kw_only=True)
class PositionRecord:
    """A position from the acceptance of its first order on. Money in smallest units, `cost` as the ledger's."""

    position_id: int
    symbol: Symbol
    side: Side
    money_digits: int
    label: str = ""
    comment: str = ""
    status: int = CREATED
    exchange_id: str = ""
    volume_e2: int = 0
    cost: int | Fraction = 0
    commission: int = 0
    swap: int = 0
    rate: Fraction = Fraction(1)
    margin: int = 0
    stop_e5: int = 0
    target_e5: int = 0
    trailing: bool = False
    guaranteed: bool = False
    shows_trailing: bool = False
    protection: OrderRecord | None = None
    opened_ms: int = 0
    closed_ms: int = 0
    updated_ms: int = 0

    @property
    def price_e5(self) -> int:
        """Entry, cut to 1/100000; 0 when empty."""
        return int(self.cost // self.volume_e2) if self.volume_e2 else 0

    def fold(self, fact: OrderFilled, rate: Fraction) -> None:
        """Take in a deal of this position; the margin is the caller's to set."""
        self.updated_ms = to_ms(fact.ts_event_ns)
        if fact.closing:
            whole_e2 = self.volume_e2
            self.cost -= fine_share(self.cost, fact.volume_e2, whole_e2)
            self.commission -= fact.booked_commission - fact.commission
            self.swap -= fact.booked_swap
            self.volume_e2 = whole_e2 - fact.volume_e2
            return
        self.volume_e2 += fact.volume_e2
        self.cost += fact.volume_e2 * fact.price_e5
        self.commission += fact.commission
        self.rate = rate
        self.exchange_id = fact.position_id
        if self.status != OPEN:
            self.status, self.opened_ms, self.side = OPEN, self.updated_ms, fact.side

    def close(self, now_ms: int) -> None:
        """Reach the end: nothing of it is left."""
        self.status, self.closed_ms, self.updated_ms = CLOSED, now_ms, now_ms

    def message(self) -> Any:
        """As `ProtoOAPosition`."""
        out = model.ProtoOAPosition(
            positionId=self.position_id,
            tradeData=trade_data(self, self.volume_e2, self.opened_ms),
            positionStatus=self.status,
            swap=self.swap,
            price=float(Fraction(self.cost) / (self.volume_e2 * PRICE_SCALE)) if self.volume_e2 else 0.0,
            commission=self.commission,
            marginRate=float(self.cost * self.rate / (self.volume_e2 * PRICE_SCALE)) if self.volume_e2 else 0.0,
            mirroringCommission=0,
            guaranteedStopLoss=self.guaranteed,
            usedMargin=self.margin,
            moneyDigits=self.money_digits,
        )
        if self.closed_ms:
            put_varint(out.tradeData, 9, self.closed_ms)
        if self.updated_ms:
            out.utcLastUpdateTimestamp = self.updated_ms
        if self.shows_trailing or self.protection is not None:
            out.trailingStopLoss = self.trailing
        if self.status != CLOSED and self.protection is not None:
            if self.stop_e5:
                out.stopLoss = price(self.stop_e5)
            if self.target_e5:
                out.takeProfit = price(self.target_e5)
            out.stopLossTriggerMethod = 1
        return out


@dataclass(slots=True, kw_only=True)
class DealRecord:
    """One execution, kept as the message that told it. `opens` and `offsets` link closings to openings."""

    deal_id: int
    order_id: int
    position_id: int
    executed_ms: int
    volume_e2: int
    closing: bool
    message: Any
    left_e2: int = 0
    offsets: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])


def trade_data(record: OrderRecord | PositionRecord, volume_e2: int, opened_ms: int) -> Any:
    """As `ProtoOATradeData`; texts and time only where there are any."""
    out = model.ProtoOATradeData(
        symbolId=record.symbol.symbol_id,
        volume=volume_e2,
        tradeSide=wire_side(record.side),
        guaranteedStopLoss=record.guaranteed,
    )
    if opened_ms:
        out.openTimestamp = opened_ms
    if record.label:
        out.label = record.label
    if record.comment:
        out.comment = record.comment
    return out


def deal_message(
    fact: OrderFilled,
    *,
    deal_id: int,
    order: OrderRecord,
    position: PositionRecord,
    entry_e5: int,
    rates: tuple[Fraction, Fraction],
    balance_version: int,
) -> Any:
    """A deal as `ProtoOADeal`.

    Args:
        fact: what the exchange did.
        deal_id: the broker's number.
        order: executed by it.
        position: changed by it.
        entry_e5: price of the position before a closing deal.
        rates: quote to deposit, and base to US dollars.
        balance_version: after a closing deal.
    """
    to_deposit, to_usd = rates
    moment_ms = to_ms(fact.ts_event_ns)
    out = model.ProtoOADeal(
        dealId=deal_id,
        orderId=order.order_id,
        positionId=position.position_id,
        volume=order.volume_e2,
        filledVolume=fact.volume_e2,
        symbolId=order.symbol.symbol_id,
        createTimestamp=order.created_ms if order.order_type != STOP_LOSS_TAKE_PROFIT else moment_ms,
        executionTimestamp=moment_ms,
        utcLastUpdateTimestamp=moment_ms,
        executionPrice=price(fact.price_e5),
        tradeSide=wire_side(fact.side),
        dealStatus=2 if fact.order_done else 3,
        marginRate=float(to_deposit * fact.price_e5 / PRICE_SCALE),
        commission=fact.commission,
        baseToUsdConversionRate=float(to_usd),
        moneyDigits=position.money_digits,
    )
    if fact.closing:
        point = order.symbol.instrument.point_e5
        out.closePositionDetail.CopyFrom(
            model.ProtoOAClosePositionDetail(
                entryPrice=price(entry_e5 // point * point),
                grossProfit=fact.gross_profit,
                swap=fact.booked_swap,
                commission=fact.booked_commission,
                balance=fact.balance,
                quoteToDepositConversionRate=float(to_deposit),
                closedVolume=fact.volume_e2,
                balanceVersion=balance_version,
                moneyDigits=position.money_digits,
                pnlConversionFee=fact.conversion_fee,
            )
        )
    return out


def offset(deals: list[DealRecord], closing: DealRecord) -> None:
    """Link a closing deal to the openings of its position, the oldest first."""
    wanted_e2 = closing.volume_e2 if closing.closing else 0
    for opening in deals:
        if wanted_e2 and opening.position_id == closing.position_id and opening.left_e2:
            part_e2 = min(wanted_e2, opening.left_e2)
            opening.left_e2 -= part_e2
            wanted_e2 -= part_e2
            closing.offsets.append((opening.deal_id, part_e2))


def server_order(position: PositionRecord, kind: int, order_id: int, now_ms: int) -> OrderRecord:
    """An order that the server makes to close a position: the protective pair, or as a market order a stop-out."""
    return OrderRecord(
        order_id=order_id,
        symbol=position.symbol,
        side=position.side.opposite,
        order_type=kind,
        volume_e2=position.volume_e2,
        position_id=position.position_id,
        client_order_id=f"server-{order_id}",
        created_ms=now_ms,
        updated_ms=now_ms,
        time_in_force=IOC if kind == MARKET else GTC,
        closing=True,
        stop_out=kind == MARKET,
        label=position.label,
        comment=position.comment,
    )
