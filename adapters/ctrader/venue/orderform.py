"""An order request as it comes: what is wrong with its form, and its numbers in our units."""

from dataclasses import dataclass
from typing import Any

from adapters.ctrader.venue.records import (
    FOK,
    GTC,
    GTD,
    IOC,
    LIMIT,
    MARKET,
    MARKET_RANGE,
    STOP,
    STOP_LIMIT,
    STOP_LOSS_TAKE_PROFIT,
    OrderRecord,
)
from bus.values import LARGEST, OrderType, TimeInForce, price_to_e5

# Request-level codes travel in ProtoOAErrorRes, all others in ProtoOAOrderErrorEvent (reference, section 7.7).
_REQUEST_LEVEL = frozenset({"INVALID_REQUEST", "MARKET_CLOSED", "SYMBOL_NOT_FOUND", "TRADING_NOT_ALLOWED"})
TIF = {GTD: TimeInForce.GTD, GTC: TimeInForce.GTC, IOC: TimeInForce.IOC, FOK: TimeInForce.FOK}
EXCHANGE_TYPE = {
    MARKET: OrderType.MARKET,
    LIMIT: OrderType.LIMIT,
    STOP: OrderType.STOP,
    STOP_LIMIT: OrderType.STOP_LIMIT,
    MARKET_RANGE: OrderType.LIMIT,
}


@dataclass(frozen=True, slots=True)
class Refused:
    """A refusal: `code` and `text` for the client, by the error message of requests or of orders; 0 = no id told."""

    code: str
    text: str
    order_id: int = 0
    position_id: int = 0

    @property
    def request_level(self) -> bool:
        """Whether it travels in ``ProtoOAErrorRes``."""
        return self.code in _REQUEST_LEVEL


def bad(text: str) -> Refused:
    """A malformed request."""
    return Refused("INVALID_REQUEST", text)


def price_of(message: Any, field: str) -> int:
    """A price of a request in 1/100000; 0 = absent.

    Raises:
        DataError: not a price.
    """
    return price_to_e5(getattr(message, field)) if message.HasField(field) else 0


def form_refusal(request: Any) -> Refused | None:
    """What is wrong with the request before anything is looked up (section 7.2)."""
    kind = request.orderType
    absolute = request.HasField("stopLoss") or request.HasField("takeProfit")
    if kind == STOP_LOSS_TAKE_PROFIT:
        return bad("STOP_LOSS_TAKE_PROFIT orders are made by the server")
    if kind in {MARKET, MARKET_RANGE} and absolute:
        return bad("SL/TP in absolute values are allowed only for order types: [LIMIT, STOP, STOP_LIMIT]")
    if len(request.comment) > 512 or len(request.label) > 100 or len(request.clientOrderId) > 50:
        return bad("comment, label and clientOrderId may have 512, 100 and 50 characters")
    needed = {
        LIMIT: ("limitPrice",), STOP: ("stopPrice",), STOP_LIMIT: ("stopPrice", "slippageInPoints"),
        MARKET_RANGE: ("baseSlippagePrice", "slippageInPoints"),
    }.get(kind, ())  # fmt: skip
    missing = [name for name in needed if not request.HasField(name)]
    if missing:
        return bad(f"order type {kind} needs {', '.join(missing)}")
    if request.timeInForce not in TIF:
        return bad("MARKET_ON_OPEN is not offered")
    if request.timeInForce == GTD and kind != MARKET and not request.HasField("expirationTimestamp"):
        return bad("GOOD_TILL_DATE needs expirationTimestamp")
    if request.positionId and kind != MARKET:
        return bad("positionId goes with market orders")
    return levels_form_refusal(request)


def levels_form_refusal(request: Any) -> Refused | None:
    """What is wrong with the levels of a new or changed order, whatever the market is."""
    if request.HasField("stopTriggerMethod") and request.stopTriggerMethod != 1:
        return bad("only the trigger method TRADE is offered")
    if not 0 <= request.relativeStopLoss <= LARGEST or not 0 <= request.relativeTakeProfit <= LARGEST:
        return bad("relative levels are positive distances")
    if request.trailingStopLoss and not (request.relativeStopLoss or request.HasField("stopLoss")):
        return bad("a trailing stop needs a stop loss")
    return None


def set_prices(order: OrderRecord, request: Any) -> None:
    """Set an order's prices from a request. Levels left out are none; other prices left out stay."""
    instrument = order.symbol.instrument
    order.limit_e5 = price_of(request, "limitPrice") or order.limit_e5
    order.stop_e5 = price_of(request, "stopPrice") or order.stop_e5
    reach_e5 = order.side * order.slippage_points * instrument.point_e5
    if order.order_type == STOP_LIMIT:
        order.limit_e5 = order.stop_e5 + reach_e5
    elif order.order_type == MARKET_RANGE:
        order.base_e5 = price_of(request, "baseSlippagePrice")
        order.limit_e5 = order.base_e5 + reach_e5
    order.stop_loss_e5, order.take_profit_e5 = price_of(request, "stopLoss"), price_of(request, "takeProfit")
    if order.stop_loss_e5 or order.take_profit_e5:
        entry = order.stop_e5 if order.order_type == STOP else order.limit_e5
        # The recorded server shows levels of orders as distances, also where they came as prices.
        order.relative_stop = abs(entry - order.stop_loss_e5) if order.stop_loss_e5 else 0
        order.relative_target = abs(entry - order.take_profit_e5) if order.take_profit_e5 else 0
