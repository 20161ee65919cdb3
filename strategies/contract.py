"""What a strategy is, and all that it may see.

A strategy has opinions and nothing else: no I/O, no clock, no broker, no limits, no sizes. It is told forecasts, bars
and (if it wants them) quotes, looks at a read-only view, and answers with intents; the gate decides. Equal calls must
give equal answers: no randomness, no iteration over sets. An intent needs `intent_id=""`; the core fills it in.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from bus.messages import Bar, CalibratedForecast, Intent, Quote
from bus.values import Instrument, Side


class PositionView(msgspec.Struct, frozen=True, kw_only=True):
    """One open position of a strategy. Prices in 1/100000, volume in 1/100 units; a level of 0 is none.

    `bars_held` counts bars closed since it opened; `horizon` is how many its intent meant to hold, 0 = not known.
    """

    position_id: str
    symbol: str
    side: Side
    volume_e2: int
    entry_e5: int
    stop_loss_e5: int
    take_profit_e5: int
    ts_open_ns: int
    bars_held: int
    horizon: int
    strategy: str


class View(Protocol):
    """The core as a strategy sees it."""

    @property
    def now_ns(self) -> int:
        """Time of the newest message, UTC nanoseconds."""
        ...

    @property
    def equity(self) -> int:
        """Floating equity in the account's smallest unit."""
        ...

    def quote(self, symbol: str) -> Quote | None:
        """The last possible quote; None before the first."""
        ...

    def instrument(self, symbol: str) -> Instrument:
        """The specification of a configured symbol."""
        ...

    def positions(self, strategy: str, symbol: str) -> Sequence[PositionView]:
        """A strategy's open positions in a symbol, oldest first."""
        ...

    def has_pending(self, strategy: str, symbol: str) -> bool:
        """Whether an order of a strategy, entry or exit, is in flight or resting in a symbol."""
        ...

    def round_trip_cost_e5(self, symbol: str) -> int:
        """Commission of both sides and the slippage allowance as a price distance; the spread is not in it."""
        ...


class Strategy(Protocol):
    """What the core calls. `name` marks its intents and positions; `on_quote` is called if `wants_quotes`."""

    name: str
    wants_quotes: bool

    def on_forecast(self, forecast: CalibratedForecast, view: View) -> Sequence[Intent]:
        """The trading model's forecast of a symbol came, with calibrated intervals."""
        ...

    def on_bar(self, bar: Bar, view: View) -> Sequence[Intent]:
        """A bar closed; `bars_held` of the positions counts it already."""
        ...

    def on_quote(self, quote: Quote, view: View) -> Sequence[Intent]:
        """A price came."""
        ...


def exit_intent(position: PositionView, view: View, reason: str) -> Intent:
    """The wish to close a position at the market."""
    quote = view.quote(position.symbol)
    reference_e5 = 0 if quote is None else quote.bid_e5 if position.side > 0 else quote.ask_e5
    return Intent(
        intent_id="",
        strategy=position.strategy,
        symbol=position.symbol,
        action="exit",
        side=position.side.opposite,
        reason=reason,
        reference_e5=reference_e5,
        ts_init_ns=view.now_ns,
        position_id=position.position_id,
        horizon=position.horizon,
    )
