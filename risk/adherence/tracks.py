"""What is followed from the intent to the last deal, and the record that it becomes."""

import msgspec

from bus.messages import Intent, OrderFilled, SubmitOrder
from bus.values import OrderType, divide_half_away
from risk.adherence.levels import Touch
from risk.adherence.records import Money, Trade


class OrderTrack(msgspec.Struct, kw_only=True):
    """One order and what became of it. `state` is sent, accepted, filled, rejected, cancelled, expired or unknown."""

    order: SubmitOrder
    intent: Intent | None
    state: str = "sent"
    ts_accepted_ns: int = 0
    ts_filled_ns: int = 0
    filled_e2: int = 0
    ts_sent_ns: int = 0
    model_id: str = ""
    code: str = ""
    position_id: str = ""
    deals: int = 0
    value: int = 0
    slippage: int = 0
    delay: int = 0
    spread: int = 0
    money: int = 0
    closing: bool = False


class Position(msgspec.Struct, kw_only=True):
    """An open position and all that its trade will say."""

    number: int
    position_id: str
    symbol: str
    side: int
    entry: OrderTrack | None
    ts_open_ns: int
    ts_init_ns: int
    bar_open: int
    volume_e2: int = 0
    value: int = 0
    commission: int = 0
    swap: int = 0
    spread_left: int = 0
    slippage_left: int = 0
    filled_e2: int = 0
    filled_value: int = 0
    closed_e2: int = 0
    closed_value: int = 0
    entry_slippage: int = 0
    exit_slippage: int = 0
    entry_spread: int = 0
    exit_spread: int = 0
    stop_loss_e5: int = 0
    take_profit_e5: int = 0
    protect_ns: int | None = None
    money: Money = Money()
    delay_left: int = 0
    stop: Touch = msgspec.field(default_factory=Touch)
    target: Touch = msgspec.field(default_factory=Touch)

    def protect(self, stop_loss_e5: int, take_profit_e5: int) -> None:
        """Hold these levels from now on; one that moved has not been reached."""
        self.stop_loss_e5, self.take_profit_e5 = stop_loss_e5, take_profit_e5
        if self.stop.level_e5 != stop_loss_e5:
            self.stop = Touch(level_e5=stop_loss_e5)
        if self.target.level_e5 != take_profit_e5:
            self.target = Touch(level_e5=take_profit_e5)

    def see(self, bid_e5: int, ask_e5: int, ts_ns: int) -> None:
        """Hold a price against both levels."""
        closing_e5 = bid_e5 if self.side > 0 else ask_e5
        mid_e5x2 = bid_e5 + ask_e5
        for level, sign in ((self.stop, self.side), (self.target, -self.side)):
            if level.level_e5:
                level.see((closing_e5 - level.level_e5) * sign, (mid_e5x2 - 2 * level.level_e5) * sign, ts_ns)


def trade_of(
    position: Position, signal_ns: int, holding_bars: int, fill: OrderFilled | None, closing: OrderTrack | None
) -> Trade:
    """The record of a position; `fill` and `closing` are the deal and order that ended it, None = still open."""
    track = position.entry
    order, intent = (track.order, track.intent) if track else (None, None)
    level_e5 = fill.level_e5 if fill and fill.cause != "order" else 0
    ended_ns = fill.ts_event_ns if fill else 0
    return Trade(
        number=position.number,
        position_id=position.position_id,
        symbol=position.symbol,
        strategy=order.strategy if order else "",
        model_id=intent.model_id if intent else "",
        horizon=intent.horizon if intent else 0,
        side=position.side,
        reason=(intent.reason if intent else "") or (order.reason if order else ""),
        exit_reason=closing.order.reason if closing else fill.cause if fill else "",
        cause=fill.cause if fill else "",
        ts_signal_ns=signal_ns,
        ts_open_ns=position.ts_open_ns,
        ts_close_ns=ended_ns,
        signal_e5=order.reference_e5 if order else 0,
        entry_e5=position.filled_value / position.filled_e2 if position.filled_e2 else 0.0,
        exit_e5=position.closed_value / position.closed_e2 if position.closed_e2 else 0.0,
        intended_e2=order.volume_e2 if order else position.filled_e2,
        filled_e2=position.filled_e2,
        closed_e2=position.closed_e2,
        entry_slippage_e5=_mean(position.entry_slippage, position.filled_e2),
        exit_slippage_e5=_mean(position.exit_slippage, position.closed_e2),
        entry_spread_e5=_mean(position.entry_spread, position.filled_e2),
        exit_spread_e5=_mean(position.exit_spread, position.closed_e2),
        decision_ns=intent.ts_init_ns - signal_ns if intent and signal_ns else None,
        send_ns=order.ts_init_ns - intent.ts_init_ns if order and intent else None,
        accept_ns=track.ts_accepted_ns - track.order.ts_init_ns if track and track.ts_accepted_ns else None,
        fill_ns=track.ts_filled_ns - track.order.ts_init_ns if track and track.ts_filled_ns else None,
        protect_ns=position.protect_ns,
        stop_loss_e5=position.stop_loss_e5,
        take_profit_e5=position.take_profit_e5,
        level_e5=level_e5,
        beyond_e5=(level_e5 - fill.price_e5) * fill.side if fill and level_e5 else 0,
        expected_profit=order.expected_profit if order else 0,
        holding_bars=holding_bars,
        holding_ns=ended_ns - position.ts_open_ns if ended_ns else 0,
        money=position.money,
        client_order_id=order.client_order_id if order else "",
        intent_id=order.intent_id if order else "",
        request_id=intent.request_id if intent else "",
    )


def _mean(total: int, volume_e2: int) -> int:
    return divide_half_away(total, volume_e2) if volume_e2 else 0


def reference_of(fill: OrderFilled, track: OrderTrack | None) -> int:
    """What a deal is measured against: a protective level, a resting order's own price, or what the decision saw."""
    if track is None:
        return fill.level_e5
    order = track.order
    if order.order_type in {OrderType.LIMIT, OrderType.STOP_LIMIT}:
        return order.limit_e5
    return order.trigger_e5 if order.order_type is OrderType.STOP else order.reference_e5
