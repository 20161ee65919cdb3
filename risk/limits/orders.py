"""Whether the order itself is sound: its stop, its rate, its volume."""

from risk.limits.check import Breach, Check, Rule

_PCT_E2 = 10_000


def missing_stop(c: Check) -> Breach | None:
    """Whether an entry comes without a stop."""
    if c.intent.stop_loss_e5 <= 0:
        return Breach("missing_stop", "a stop", "none", "a stop on the losing side of the entry")
    return None


def stop_side(c: Check) -> Breach | None:
    """Whether stop or target lie on the wrong side of where the position could close."""
    intent, side = c.intent, c.intent.side
    if (intent.stop_loss_e5 - c.closing_e5) * side >= 0:
        where = "below" if side > 0 else "above"
        return Breach("stop_side", f"{where} {c.closing_e5}", str(intent.stop_loss_e5), f"a stop {where} it")
    if intent.take_profit_e5 and (intent.take_profit_e5 - c.closing_e5) * side <= 0:
        where = "above" if side > 0 else "below"
        return Breach("stop_side", f"{where} {c.closing_e5}", str(intent.take_profit_e5), f"a target {where} it")
    return None


def stop_distance(c: Check) -> Breach | None:
    """Whether the stop is so far away that it protects nothing."""
    limit_e2 = c.policy.max_stop_distance_pct_e2
    distance_e5 = (c.price_e5 - c.intent.stop_loss_e5) * c.intent.side
    if limit_e2 and distance_e5 * _PCT_E2 > c.price_e5 * limit_e2:
        value = f"{distance_e5 * 100 / c.price_e5:.2f} %"
        return Breach("stop_distance", f"{limit_e2 / 100:.2f} % of the price", value, f"{limit_e2 / 100:.2f} % or less")
    return None


def order_rate(c: Check) -> Breach | None:
    """Whether orders already leave too fast."""
    limit = c.policy.max_orders_per_minute
    if limit and c.orders_in_last_minute >= limit:
        value = f"{c.orders_in_last_minute} in the last minute"
        return Breach("order_rate", f"{limit} a minute", value, f"fewer than {limit} in the minute before")
    return None


RULES = (
    Rule(missing_stop, "Every open position has a stop at the broker, so an entry without one is refused."),
    Rule(stop_side, "A stop lies on the losing side and a target on the winning side of the market."),
    Rule(stop_distance, "A stop too far away protects nothing.", ("max_stop_distance_pct_e2",)),
    Rule(order_rate, "A strategy gone wild is stopped by the minute.", ("max_orders_per_minute",)),
)
