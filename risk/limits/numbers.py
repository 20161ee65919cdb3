"""Whether the numbers of an intent are any; asked before every rule, of exits too."""

from bus.messages import Intent
from bus.values import LARGEST, OrderType, Side
from risk.limits.check import Breach
from risk.marks import possible

_LARGEST_NS = 2**63 - 1


_ORDER_TYPES = {OrderType.MARKET, OrderType.LIMIT, OrderType.STOP}


def impossible(intent: Intent, multiplier_ppm: object, now_ns: object) -> Breach | None:
    """Whether a number is none: NaN, infinite, not whole, negative or beyond every market. Holds for exits too."""
    for name in ("reference_e5", "stop_loss_e5", "take_profit_e5", "trailing_e5", "price_e5", "scale_e5", "point_e5"):
        value: object = getattr(intent, name)
        if not possible(value):
            return Breach("number", f"0 to {LARGEST}", f"{name} = {value!r}", "a whole number within the limit")
    if not possible(intent.edge_e5, -LARGEST):
        return Breach("number", f"+-{LARGEST}", f"edge_e5 = {intent.edge_e5!r}", "a whole number within the limit")
    for name, value in (("horizon", intent.horizon), ("valid_until_ns", intent.valid_until_ns), ("now_ns", now_ns)):
        if not possible(value, 0, _LARGEST_NS):
            return Breach("number", "0 to 2**63 - 1", f"{name} = {value!r}", "a whole number within the limit")
    if not possible(multiplier_ppm, 0, 1_000_000):
        return Breach("number", "0 to 1000000 ppm", f"multiplier = {multiplier_ppm!r}", "a whole number within")
    if type(intent.side) is not Side or intent.action not in {"enter", "exit"}:
        return Breach("number", "enter or exit, BUY or SELL", f"{intent.action!r} {intent.side!r}", "one of each")
    if intent.order_type not in _ORDER_TYPES or (intent.order_type != OrderType.MARKET and intent.price_e5 <= 0):
        value = f"{intent.order_type!s} at {intent.price_e5}"
        return Breach("number", "market, or limit or stop with a price", value, "a market order, or a price above 0")
    return None
