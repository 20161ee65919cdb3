"""Our commands as the broker's requests. Pure. What cannot be sent exactly is refused here, never repaired.

A market order takes its levels as distances from the price the decision saw; resting orders take them as prices. The
label carries who we are and the client order id, because it is all that a position keeps of its order. A refusal is a
value with the broker's own code, so that the shell tells it like one of the broker's.
"""

from typing import Any

import msgspec

from adapters.ctrader.messages import openapi
from adapters.ctrader.symbols import Specification, TradingMode
from adapters.ctrader.wire import double_of, ms_of, trade_side_of
from bus.calendar import to_datetime
from bus.messages import AmendProtection, SubmitOrder
from bus.values import Instrument, OrderType, Side, TimeInForce, divide_half_away

LONGEST_LABEL, LONGEST_CLIENT_ID, LONGEST_COMMENT = 100, 50, 512
_ORDER_TYPE = {OrderType.MARKET: 1, OrderType.LIMIT: 2, OrderType.STOP: 3, OrderType.STOP_LIMIT: 6}
_TIME_IN_FORCE = {TimeInForce.GTD: 1, TimeInForce.GTC: 2, TimeInForce.IOC: 3, TimeInForce.FOK: 4}


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A command that must not be sent. `code` is the broker's name for it; `text` says what would have passed."""

    code: str
    text: str


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Who we are at the broker. `label` marks our orders and positions; two daemons on one account need two labels."""

    account_id: int
    label: str = "plimsoll"
    hedged: bool = True
    limited_risk: bool = False

    def label_of(self, client_order_id: str) -> str:
        """The label of an order and of the position that it opens."""
        return f"{self.label}/{client_order_id}"

    def client_order_id_of(self, label: str) -> str | None:
        """The client order id within a label; None where the label is not ours."""
        ours, _, client_order_id = label.partition("/")
        mine = ours == self.label and 0 < len(client_order_id) <= LONGEST_CLIENT_ID
        return client_order_id if mine else None


class Protected(msgspec.Struct, frozen=True, kw_only=True):
    """What a position holds now, as far as amending and closing it needs to know."""

    position_id: int
    side: Side
    volume_e2: int
    stop_loss_e5: int = 0
    take_profit_e5: int = 0
    trailing: bool = False
    guaranteed: bool = False


def new_order(
    command: SubmitOrder, symbol: Specification, holder: Holder, now_ns: int, against_e2: int = 0
) -> Any | Refusal:
    """The `ProtoOANewOrderReq` of an entry, or why not.

    What may keep new risk out (trading mode, hours, distances, guarantees) is asked only of an order that opens
    something: on a netted account one that only takes away from what is held is the server's to judge.

    Args:
        command: without a position that it closes.
        symbol: what it trades.
        holder: who we are.
        now_ns: UTC nanoseconds.
        against_e2: volume that is open on the other side and goes first; 0 on a hedged account.
    """
    opens = command.volume_e2 > against_e2
    refused = (
        (_not_tradable(command, symbol, now_ns) if opens else None)
        or _bad_identity(command, holder)
        or _bad_volume(command.volume_e2, symbol.instrument)
        or _bad_prices(command, symbol.instrument)
        or _bad_levels(command, symbol.instrument)
        or (_bad_protection(command, symbol, holder) if opens else None)
        or _bad_expiry(command)
    )
    if refused is not None:
        return refused
    request = openapi.ProtoOANewOrderReq(
        ctidTraderAccountId=holder.account_id,
        symbolId=symbol.symbol_id,
        orderType=_ORDER_TYPE[command.order_type],
        tradeSide=trade_side_of(command.side),
        volume=command.volume_e2,
        label=holder.label_of(command.client_order_id),
        clientOrderId=command.client_order_id,
    )
    comment = f"{command.strategy} {command.reason}".strip()
    if comment:
        request.comment = comment[:LONGEST_COMMENT]
    market = command.order_type is OrderType.MARKET
    in_force = command.time_in_force
    if market and in_force is not TimeInForce.FOK:
        in_force = TimeInForce.IOC
    request.timeInForce = _TIME_IN_FORCE[in_force]
    if in_force is TimeInForce.GTD:
        request.expirationTimestamp = ms_of(command.expires_ns)
    if command.order_type is OrderType.LIMIT:
        request.limitPrice = double_of(command.limit_e5)
    elif not market:
        request.stopPrice = double_of(command.trigger_e5)
        if command.order_type is OrderType.STOP_LIMIT:
            distance_e5 = (command.limit_e5 - command.trigger_e5) * command.side
            request.slippageInPoints = distance_e5 // symbol.instrument.point_e5
    _set_levels(request, command, symbol.instrument, holder)
    return request


def _set_levels(request: Any, command: SubmitOrder, instrument: Instrument, holder: Holder) -> None:
    if command.order_type is OrderType.MARKET:
        for level_e5, name in (
            (command.stop_loss_e5, "relativeStopLoss"),
            (command.take_profit_e5, "relativeTakeProfit"),
        ):
            if level_e5:
                setattr(request, name, _distance_e5(command, level_e5, instrument))
    else:
        if command.stop_loss_e5:
            request.stopLoss = double_of(command.stop_loss_e5)
        if command.take_profit_e5:
            request.takeProfit = double_of(command.take_profit_e5)
    if command.trailing_e5:
        request.trailingStopLoss = True
    if holder.limited_risk and command.stop_loss_e5:
        request.guaranteedStopLoss = True


def close_position(command: SubmitOrder, held: Protected, symbol: Specification, holder: Holder) -> Any | Refusal:
    """The `ProtoOAClosePositionReq` of an exit; asked for more than there is, it closes what is there.

    Whether the symbol may be traded now is not asked: what is known of it may be old, and an exit is never kept back.
    """
    if command.order_type is not OrderType.MARKET:
        return Refusal(code="INVALID_REQUEST", text="a position is closed at the market; order_type must be market")
    if command.side is held.side:
        return Refusal(code="INVALID_REQUEST", text=f"{command.side.name} does not close a {held.side.name} position")
    if command.volume_e2 <= 0:
        return Refusal(code="TRADING_BAD_VOLUME", text=f"volume {command.volume_e2} is not positive")
    volume_e2 = min(command.volume_e2, held.volume_e2)
    rest_e2 = held.volume_e2 - volume_e2
    instrument = symbol.instrument
    if rest_e2 and (volume_e2 % instrument.step_volume_e2 or rest_e2 < instrument.min_volume_e2):
        return Refusal(
            code="TRADING_BAD_VOLUME",
            text=f"closing {volume_e2} of {held.volume_e2}: steps of {instrument.step_volume_e2}, and all or at least "
            f"{instrument.min_volume_e2} must remain",
        )
    return openapi.ProtoOAClosePositionReq(
        ctidTraderAccountId=holder.account_id, positionId=held.position_id, volume=volume_e2
    )


def cancel_order(order_id: int, holder: Holder) -> Any:
    """The `ProtoOACancelOrderReq` of a resting order."""
    return openapi.ProtoOACancelOrderReq(ctidTraderAccountId=holder.account_id, orderId=order_id)


def amend_protection(
    command: AmendProtection, held: Protected, symbol: Specification, holder: Holder
) -> tuple[Any, ...] | Refusal:
    """The `ProtoOAAmendPositionSLTPReq`s that bring the wanted levels, in order; none where nothing is to change.

    Both levels are always given, because one left out is removed. Taking away a trailing stop needs two steps: the
    stop as it is but not trailing, then the amendment.
    """
    instrument = symbol.instrument
    for level_e5 in (command.stop_loss_e5, command.take_profit_e5):
        if level_e5 and not _on_grid(level_e5, instrument):
            return Refusal(code="TRADING_BAD_STOPS", text=f"level {level_e5} is no multiple of {instrument.point_e5}")
    if command.trailing_e5 and not command.stop_loss_e5:
        return Refusal(code="TRADING_BAD_STOPS", text="a trailing stop needs a stop_loss_e5 to start from")
    if holder.limited_risk and not command.stop_loss_e5:
        return Refusal(code="TRADING_BAD_STOPS", text="this account needs a guaranteed stop on every position")
    trailing = command.trailing_e5 > 0
    wanted = (command.stop_loss_e5, command.take_profit_e5, trailing)
    if wanted == (0, 0, False) == (held.stop_loss_e5, held.take_profit_e5, held.trailing):
        return ()
    steps: list[Any] = []
    if held.trailing and not command.stop_loss_e5:
        first = _amendment(held, holder, held.stop_loss_e5, command.take_profit_e5)
        first.trailingStopLoss = False
        steps.append(first)
    last = _amendment(held, holder, command.stop_loss_e5, command.take_profit_e5)
    if trailing or (held.trailing and command.stop_loss_e5):
        last.trailingStopLoss = trailing  # left out, a stop that trails goes on trailing
    steps.append(last)
    return tuple(steps)


def _amendment(held: Protected, holder: Holder, stop_e5: int, target_e5: int) -> Any:
    request = openapi.ProtoOAAmendPositionSLTPReq(ctidTraderAccountId=holder.account_id, positionId=held.position_id)
    if stop_e5:
        request.stopLoss = double_of(stop_e5)
        if held.guaranteed or holder.limited_risk:
            request.guaranteedStopLoss = True
    if target_e5:
        request.takeProfit = double_of(target_e5)
    return request


# --- checks ----------------------------------------------------------------------------------------------------


def _not_tradable(command: SubmitOrder, symbol: Specification, now_ns: int) -> Refusal | None:
    name = symbol.instrument.symbol
    if symbol.trading_mode is not TradingMode.ENABLED:
        return Refusal(
            code="TRADING_DISABLED",
            text=f"the broker lets {name} only be closed"
            if symbol.trading_mode is TradingMode.CLOSE_ONLY_MODE
            else f"the broker has disabled {name}",
        )
    if command.side is Side.SELL and not symbol.short_selling:
        return Refusal(code="SHORT_SELLING_NOT_ALLOWED", text=f"{name} may only be bought")
    if symbol.hours.open_at(now_ns):
        return None
    opens_ns = symbol.hours.next_open_ns(now_ns)
    when = "does not open within two weeks"
    if opens_ns is not None:
        when = f"opens at {to_datetime(opens_ns):%Y-%m-%d %H:%M:%S} UTC"
    if symbol.hours.holiday_at(now_ns):
        return Refusal(code="SYMBOL_HAS_HOLIDAY", text=f"{name} has a holiday; it {when}")
    return Refusal(code="MARKET_CLOSED", text=f"{name} is not traded at this hour; it {when}")


def _bad_identity(command: SubmitOrder, holder: Holder) -> Refusal | None:
    name = command.client_order_id
    if not name or len(name) > LONGEST_CLIENT_ID or len(holder.label_of(name)) > LONGEST_LABEL:
        return Refusal(
            code="INVALID_REQUEST",
            text=f"client order id of {len(name)} characters; 1 to {LONGEST_CLIENT_ID}, {LONGEST_LABEL} with the label",
        )
    return None


def _bad_volume(volume_e2: int, instrument: Instrument) -> Refusal | None:
    if not instrument.min_volume_e2 <= volume_e2 <= instrument.max_volume_e2 or volume_e2 % instrument.step_volume_e2:
        return Refusal(
            code="TRADING_BAD_VOLUME",
            text=f"volume {volume_e2}: {instrument.min_volume_e2} to {instrument.max_volume_e2} in steps of "
            f"{instrument.step_volume_e2}",
        )
    return None


def _on_grid(price_e5: int, instrument: Instrument) -> bool:
    return price_e5 > 0 and price_e5 % instrument.point_e5 == 0


def _entry_e5(command: SubmitOrder) -> int:
    """The price that levels are measured from."""
    if command.order_type is OrderType.MARKET:
        return command.reference_e5
    return command.limit_e5 if command.order_type is OrderType.LIMIT else command.trigger_e5


def _bad_prices(command: SubmitOrder, instrument: Instrument) -> Refusal | None:
    kind = command.order_type
    prices: list[int] = []
    if kind in {OrderType.LIMIT, OrderType.STOP_LIMIT}:
        prices.append(command.limit_e5)
    if kind in {OrderType.STOP, OrderType.STOP_LIMIT}:
        prices.append(command.trigger_e5)
    for price_e5 in prices:
        if not _on_grid(price_e5, instrument):
            return Refusal(
                code="TRADING_BAD_PRICES", text=f"price {price_e5} is no positive multiple of {instrument.point_e5}"
            )
    if kind is OrderType.STOP_LIMIT and (command.limit_e5 - command.trigger_e5) * command.side < 0:
        return Refusal(
            code="TRADING_BAD_PRICES",
            text=f"limit {command.limit_e5} lies before trigger {command.trigger_e5}; the broker knows it only beyond",
        )
    if kind is OrderType.MARKET and command.reference_e5 <= 0 and (command.stop_loss_e5 or command.take_profit_e5):
        return Refusal(code="TRADING_BAD_PRICES", text="levels of a market order need reference_e5")
    return None


def _distance_e5(command: SubmitOrder, level_e5: int, instrument: Instrument) -> int:
    """Distance of a level from the reference, rounded to a point: a reference may be finer than the grid."""
    point = instrument.point_e5
    return divide_half_away(abs(level_e5 - _entry_e5(command)), point) * point


def _bad_levels(command: SubmitOrder, instrument: Instrument) -> Refusal | None:
    side, entry_e5 = command.side, _entry_e5(command)
    for level_e5, direction, what in (
        (command.stop_loss_e5, -1, "stop loss"),
        (command.take_profit_e5, 1, "take profit"),
    ):
        if not level_e5:
            continue
        distance_e5 = _distance_e5(command, level_e5, instrument)
        if not _on_grid(level_e5, instrument) or (level_e5 - entry_e5) * side * direction <= 0 or not distance_e5:
            return Refusal(code="TRADING_BAD_STOPS", text=f"{what} {level_e5} does not lie beyond {entry_e5}")
    if command.trailing_e5:
        if not command.stop_loss_e5:
            return Refusal(code="TRADING_BAD_STOPS", text="a trailing stop needs a stop_loss_e5 to start from")
        distance_e5 = _distance_e5(command, command.stop_loss_e5, instrument)
        if distance_e5 != command.trailing_e5:
            # The broker trails at the distance at which the stop starts, and knows no other.
            return Refusal(
                code="TRADING_BAD_STOPS",
                text=f"trailing at {command.trailing_e5} from a stop {distance_e5} away; they must be equal",
            )
    return None


def _bad_protection(command: SubmitOrder, symbol: Specification, holder: Holder) -> Refusal | None:
    """Levels too near the market for this broker, and guarantees that it needs and does not offer."""
    instrument, entry_e5, least = symbol.instrument, _entry_e5(command), symbol.stop_distance
    if holder.limited_risk:
        if not command.stop_loss_e5:
            return Refusal(code="TRADING_BAD_STOPS", text="this account needs a guaranteed stop on every position")
        if not symbol.guaranteed_stop:
            return Refusal(
                code="INVALID_REQUEST",
                text=f"this account needs guaranteed stops and the broker offers none for {instrument.symbol}",
            )
        least = max(least, symbol.guaranteed_distance)
    for level_e5, distance, what in (
        (command.stop_loss_e5, least, "stop loss"),
        (command.take_profit_e5, symbol.target_distance, "take profit"),
    ):
        away_e5, least_e5 = _distance_e5(command, level_e5, instrument), symbol.least_e5(distance, entry_e5)
        if level_e5 and away_e5 < least_e5:
            return Refusal(code="PROTECTION_IS_TOO_CLOSE_TO_MARKET", text=f"{what} {away_e5} away; at least {least_e5}")
    return None


def _bad_expiry(command: SubmitOrder) -> Refusal | None:
    dated = command.time_in_force is TimeInForce.GTD and command.order_type is not OrderType.MARKET
    if dated and command.expires_ns <= command.ts_init_ns:
        return Refusal(code="TRADING_BAD_EXPIRATION_DATE", text=f"expires_ns {command.expires_ns} is over")
    return None
