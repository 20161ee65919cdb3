"""How orders are carried out: slippage of one fill, of the mean of fills, and rejections.

A fill is held against what it was meant to cost: the price that the decision saw, the own price of a resting order, or
the level of a stop or target. Slippage counts against us when positive: bought higher, or sold lower.
"""

from collections import deque
from collections.abc import Iterable
from typing import Any

import msgspec

from bus.messages import (
    OrderAccepted,
    OrderCancelled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    SubmitOrder,
)
from bus.values import OrderType
from risk.alerts.rule import Context, Reading, Rule, graded
from risk.alerts.settings import AlertSettings
from risk.orders import remember

_PPM = 1_000_000
NOT_SENT = "NOT_SENT"
"""The code of a command that never left; the connection's alert tells of that."""


def meant_e5(order: SubmitOrder) -> int:
    """The price at which an order was meant to be filled."""
    if order.order_type in {OrderType.LIMIT, OrderType.STOP_LIMIT}:
        return order.limit_e5
    return order.trigger_e5 if order.order_type is OrderType.STOP else order.reference_e5


def _bound_e12(meant: int, n: int, pip_e5: int, context: Context) -> int | None:
    """The tighter of both bounds, in 10**-12 of a price of which `meant` is the sum of n; None = both are off."""
    settings = context.settings
    bounds: list[int] = []
    if settings.slippage_ppm:
        bounds.append(settings.slippage_ppm * _PPM)
    if settings.slippage_pips_e1:
        bounds.append(settings.slippage_pips_e1 * pip_e5 * n * _PPM * _PPM // (10 * meant))
    return min(bounds) if bounds else None


class _Fills:
    """Follows orders to their fills."""

    hears: tuple[type[Any], ...] = (SubmitOrder, OrderFilled)
    name: str

    def __init__(self) -> None:
        self._meant: dict[str, int] = {}

    def slipped(self, message: SubmitOrder | OrderFilled, context: Context) -> tuple[int, int] | None:
        """Adverse slippage of a fill and the price it was meant to have, both in 1/100000; None = nothing to compare.

        An order's price is noted and nothing is said.
        """
        if isinstance(message, SubmitOrder):
            remember(self._meant, message.client_order_id, meant_e5(message))
            return None
        if context.repeated:
            return None
        meant = message.level_e5 if message.cause != "order" else self._meant.get(message.client_order_id, 0)
        return ((message.price_e5 - meant) * message.side, meant) if meant > 0 else None

    def reading(self, symbol: str, slip: int, meant: int, n: int, context: Context) -> Iterable[Reading]:
        """Hold the sum of n slippages against the bound, `meant` being the sum of their prices."""
        instrument = context.instruments.get(symbol)
        bound = _bound_e12(meant, n, instrument.pip_e5 if instrument else 10, context)
        if bound is not None:
            met = slip * _PPM * _PPM // meant

            def words() -> tuple[str, str]:
                value = f"{met / 1e10:.4f} % of the price" + (f", the mean of {n} fills" if n > 1 else "")
                return value, f"{bound / 1e10:.4f} %"

            yield graded(symbol, met, bound, context.settings, words)


class FillSlippage(_Fills):
    """One fill far from where it was meant to be."""

    name = "slippage"
    severity = "warning"
    why = "A fill cost more than it was meant to, by more than the bound."
    advice = "look at the fill in the report; trade less around news and rollover, or ask the broker about execution"

    def on(self, message: SubmitOrder | OrderFilled, context: Context) -> Iterable[Reading]:
        """Hold every fill against the bound."""
        slipped = self.slipped(message, context)
        if slipped is not None:
            yield from self.reading(message.symbol, *slipped, 1, context)


class _Window(msgspec.Struct):
    """The newest fills (slippage and meant price) and their sums."""

    fills: deque[tuple[int, int]]
    slip: int = 0
    meant: int = 0

    def add(self, slip: int, meant: int, *, most: int) -> None:
        """Take in a fill, and drop the oldest of more than so many."""
        self.fills.append((slip, meant))
        self.slip += slip
        self.meant += meant
        if len(self.fills) > most:
            old_slip, old_meant = self.fills.popleft()
            self.slip -= old_slip
            self.meant -= old_meant


class MeanSlippage(_Fills):
    """Fills that are far from where they were meant to be on average, by symbol."""

    name = "slippage_mean"
    severity = "critical"
    why = "The newest fills of a symbol cost more than they were meant to on average, by more than the bound."
    advice = "halt new risk in the symbol until execution is understood; the forecasts do not pay for this"

    def __init__(self) -> None:
        super().__init__()
        self._windows: dict[str, _Window] = {}

    def on(self, message: SubmitOrder | OrderFilled, context: Context) -> Iterable[Reading]:
        """Hold the mean of the newest fills against the bound, each weighed by its price."""
        slipped = self.slipped(message, context)
        if slipped is None:
            return
        window = self._windows.setdefault(message.symbol, _Window(deque()))
        window.add(*slipped, most=context.settings.slippage_fills)
        if len(window.fills) >= context.settings.slippage_from:
            yield from self.reading(message.symbol, window.slip, window.meant, len(window.fills), context)


class Rejections:
    """The venue refuses too many orders."""

    name = "rejections"
    severity = "warning"
    why = "The venue rejected more of the newest orders than the bound allows."
    advice = "look at the codes in the report: too little margin, a closed market, or wrong volumes"
    hears: tuple[type[Any], ...] = (
        SubmitOrder,
        OrderAccepted,
        OrderFilled,
        OrderRejected,
        OrderCancelled,
        OrderExpired,
    )

    def __init__(self) -> None:
        self._waiting: dict[str, None] = {}
        self._outcomes: deque[str] = deque()
        self._rejected = 0

    def on(self, message: Any, context: Context) -> Iterable[Reading]:
        """Count the first thing that is told about each order."""
        if isinstance(message, SubmitOrder):
            remember(self._waiting, message.client_order_id, None)
            return
        if message.client_order_id not in self._waiting:
            return  # an amendment, or decided before: a cancel that was refused is no order that was
        del self._waiting[message.client_order_id]
        code = message.code if isinstance(message, OrderRejected) else ""
        if code == NOT_SENT:
            return
        settings, outcomes = context.settings, self._outcomes
        outcomes.append(code)
        self._rejected += bool(code)
        if len(outcomes) > settings.rejected_orders:
            self._rejected -= bool(outcomes.popleft())
        if len(outcomes) >= settings.rejected_from:
            bound = len(outcomes) * settings.rejected_pct
            yield graded("orders", self._rejected * 100, bound, settings, lambda: self._words(settings))

    def _words(self, settings: AlertSettings) -> tuple[str, str]:
        n = len(self._outcomes)
        codes = [each for each in self._outcomes if each]
        most = f", mostly {max(sorted(set(codes)), key=codes.count)}" if codes else ""
        return f"{len(codes)} of {n} orders, {len(codes) * 100 / n:.1f} %{most}", f"{settings.rejected_pct} %"


RULES: tuple[type[Rule], ...] = (FillSlippage, MeanSlippage, Rejections)
