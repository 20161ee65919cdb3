"""How orders are carried out: slippage of one fill, of the mean of fills, and rejections.

A fill is held against what it was meant to cost: the price that the decision saw, the own price of a resting order, or
the level of a stop or target. Slippage counts against us when positive: bought higher, or sold lower.
"""

from collections import deque
from collections.abc import Iterable
from typing import Any

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
            value = f"{met / 1e10:.4f} % of the price" + (f", the mean of {n} fills" if n > 1 else "")
            yield graded(symbol, met, bound, context.settings, value, f"{bound / 1e10:.4f} %")


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


class MeanSlippage(_Fills):
    """Fills that are far from where they were meant to be on average, by symbol."""

    name = "slippage_mean"
    severity = "critical"
    why = "The newest fills of a symbol cost more than they were meant to on average, by more than the bound."
    advice = "halt new risk in the symbol until execution is understood; the forecasts do not pay for this"

    def __init__(self) -> None:
        super().__init__()
        self._window: dict[str, deque[tuple[int, int]]] = {}

    def on(self, message: SubmitOrder | OrderFilled, context: Context) -> Iterable[Reading]:
        """Hold the mean of the newest fills against the bound, each weighed by its price."""
        slipped = self.slipped(message, context)
        if slipped is None:
            return
        window = self._window.setdefault(message.symbol, deque(maxlen=context.settings.slippage_fills))
        window.append(slipped)
        if len(window) >= context.settings.slippage_from:
            slip, meant = (sum(column) for column in zip(*window, strict=True))
            yield from self.reading(message.symbol, slip, meant, len(window), context)


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
        settings = context.settings
        outcomes = self._outcomes
        outcomes.append(code)
        if len(outcomes) > settings.rejected_orders:
            outcomes.popleft()
        n = len(outcomes)
        if n < settings.rejected_from:
            return
        codes = [each for each in outcomes if each]
        most = max(sorted(set(codes)), key=codes.count) if codes else ""
        value = f"{len(codes)} of {n} orders, {len(codes) * 100 / n:.1f} %" + (f", mostly {most}" if most else "")
        limit = f"{settings.rejected_pct} %"
        yield graded("orders", len(codes) * 100, n * settings.rejected_pct, settings, value, limit)


RULES: tuple[type[Rule], ...] = (FillSlippage, MeanSlippage, Rejections)
