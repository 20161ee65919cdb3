"""What the venue refuses, and why. Pure functions of one command and what the venue holds."""

from dataclasses import dataclass

from adapters.exchange.ledger import Position
from bus.messages import OrderState, Quote, SubmitOrder
from bus.values import Instrument, OrderType, Side, TimeInForce

Refusal = tuple[str, str]
"""A code in capitals (cTrader's where it has one) and a line for people."""


@dataclass(slots=True, kw_only=True)
class Order:
    """An order at work: resting, or being executed. `closes` names the position that it closes, if any.

    `opened` and `protected` name the last position that it opened, and that it gave its levels to.
    """

    client_order_id: str
    order_id: str
    instrument: Instrument
    side: Side
    order_type: OrderType
    volume_e2: int
    filled_e2: int = 0
    time_in_force: TimeInForce = TimeInForce.GTC
    limit_e5: int = 0
    trigger_e5: int = 0
    expires_ns: int = 0
    stop_loss_e5: int = 0
    take_profit_e5: int = 0
    trailing_e5: int = 0
    closes: str = ""
    opened: str = ""
    protected: str = ""
    triggered: bool = False
    cause: str = "order"
    level_e5: int = 0

    @property
    def protects(self) -> bool:
        """Whether the order brings protective levels for the position that it opens."""
        return bool(self.stop_loss_e5 or self.take_profit_e5 or self.trailing_e5)

    def state(self) -> OrderState:
        """As the venue tells it."""
        return OrderState(
            client_order_id=self.client_order_id,
            order_id=self.order_id,
            symbol=self.instrument.symbol,
            side=self.side,
            order_type=self.order_type,
            volume_e2=self.volume_e2,
            filled_e2=self.filled_e2,
        )


def order_of(command: SubmitOrder, instrument: Instrument, order_id: str) -> Order:
    """An order at work from a command that was not refused."""
    return Order(
        client_order_id=command.client_order_id,
        order_id=order_id,
        instrument=instrument,
        side=command.side,
        order_type=command.order_type,
        volume_e2=command.volume_e2,
        time_in_force=command.time_in_force,
        limit_e5=command.limit_e5 if command.order_type in {OrderType.LIMIT, OrderType.STOP_LIMIT} else 0,
        trigger_e5=command.trigger_e5 if command.order_type in {OrderType.STOP, OrderType.STOP_LIMIT} else 0,
        expires_ns=command.expires_ns if command.time_in_force is TimeInForce.GTD else 0,
        stop_loss_e5=command.stop_loss_e5,
        take_profit_e5=command.take_profit_e5,
        trailing_e5=command.trailing_e5,
        closes=command.position_id,
    )


def volume_refusal(command: SubmitOrder, instrument: Instrument, closes: Position | None) -> Refusal | None:
    """Check a volume against minimum, maximum and step. A close may ask for more than is held; it closes what is."""
    volume = command.volume_e2
    lowest, highest, step = instrument.min_volume_e2, instrument.max_volume_e2, instrument.step_volume_e2
    if closes is not None and volume >= closes.volume_e2:
        return None
    if not lowest <= volume <= highest or volume % step:
        return "TRADING_BAD_VOLUME", f"volume {volume}; needs {lowest} to {highest} in steps of {step}"
    if closes is not None and closes.volume_e2 - volume < lowest:
        return "TRADING_BAD_VOLUME", f"would leave {closes.volume_e2 - volume} open, below the minimum {lowest}"
    return None


def price_refusal(command: SubmitOrder, instrument: Instrument, quote: Quote, now_ns: int) -> Refusal | None:
    """Check prices, their side of the market, and the time in force."""
    kind, side, tif = command.order_type, command.side, command.time_in_force
    if tif is TimeInForce.GTD and kind is not OrderType.MARKET and command.expires_ns <= now_ns:
        return "TRADING_BAD_EXPIRATION_DATE", f"expires at {command.expires_ns}, which is not after {now_ns}"
    if kind is OrderType.MARKET:
        return None
    if kind in {OrderType.LIMIT, OrderType.STOP_LIMIT} and not _on_grid(command.limit_e5, instrument):
        return "TRADING_BAD_PRICES", f"limit {command.limit_e5}; needs a positive multiple of {instrument.point_e5}"
    if kind is OrderType.LIMIT:
        return None
    if tif in {TimeInForce.IOC, TimeInForce.FOK}:
        return "INVALID_REQUEST", f"a {kind} order rests until its trigger; use gtc or gtd, not {tif}"
    if not _on_grid(command.trigger_e5, instrument):
        return "TRADING_BAD_PRICES", f"trigger {command.trigger_e5}; needs a positive multiple of {instrument.point_e5}"
    touch = quote.ask_e5 if side > 0 else quote.bid_e5
    if (command.trigger_e5 - touch) * side <= 0:
        return "TRADING_BAD_PRICES", f"trigger {command.trigger_e5} is already met: the market is at {touch}"
    if kind is OrderType.STOP_LIMIT and (command.limit_e5 - command.trigger_e5) * side < 0:
        return "TRADING_BAD_PRICES", f"limit {command.limit_e5} is better than the trigger {command.trigger_e5}"
    return None


def levels_refusal(command: SubmitOrder, instrument: Instrument, quote: Quote) -> Refusal | None:
    """Check protective levels against where the position would open.

    A position that opens at once is compared with the side on which it would close (bid for a long one), which is the
    side that triggers; a resting order with its own price.
    """
    side, limit = command.side, command.limit_e5
    closing, touch = (quote.bid_e5, quote.ask_e5) if side > 0 else (quote.ask_e5, quote.bid_e5)
    low = high = closing
    if command.order_type is OrderType.LIMIT and (touch - limit) * side > 0:
        low = high = limit
    elif command.order_type is OrderType.STOP:
        low = high = command.trigger_e5
    elif command.order_type is OrderType.STOP_LIMIT:
        low, high = sorted((command.trigger_e5, limit))
    return stops_refusal(instrument, side, low, high, command.stop_loss_e5, command.take_profit_e5, command.trailing_e5)


def stops_refusal(
    instrument: Instrument, side: Side, low_e5: int, high_e5: int, stop_e5: int, target_e5: int, trailing_e5: int
) -> Refusal | None:
    """Check a stop and a target against the lowest and highest price the position may be at; 0 = no such level."""
    point = instrument.point_e5
    for name, level in (("stop loss", stop_e5), ("take profit", target_e5)):
        if level and not _on_grid(level, instrument):
            return "TRADING_BAD_STOPS", f"{name} {level}; needs a positive multiple of {point}"
    if trailing_e5 < 0 or 0 < trailing_e5 < point:
        return "TRADING_BAD_STOPS", f"trailing distance {trailing_e5}; needs at least {point}"
    worst, best = (low_e5, high_e5) if side > 0 else (high_e5, low_e5)
    if stop_e5 and (stop_e5 - worst) * side >= 0:
        return "TRADING_BAD_STOPS", f"stop loss {stop_e5} is on the wrong side of {worst}"
    if target_e5 and (target_e5 - best) * side <= 0:
        return "TRADING_BAD_STOPS", f"take profit {target_e5} is on the wrong side of {best}"
    return None


def _on_grid(price_e5: int, instrument: Instrument) -> bool:
    return price_e5 > 0 and price_e5 % instrument.point_e5 == 0
