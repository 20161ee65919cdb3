"""Whether the order itself is sound: its stop, its rate, what orders have cost today."""

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
    for limit, place in c.limits["max_orders_per_minute"]:
        orders = c.figures[place].orders
        if orders >= limit:
            value = f"{orders} in the last minute"
            return Breach(
                "order_rate", f"{limit} a minute{c.whose(place)}", value, f"fewer than {limit} in the minute before"
            )
    return None


def cancel_rate(c: Check) -> Breach | None:
    """Whether so much is being cancelled that entering more makes no sense."""
    for limit, place in c.limits["max_cancels_per_minute"]:
        cancels = c.figures[place].cancels
        if cancels >= limit:
            value = f"{cancels} in the last minute"
            return Breach(
                "cancel_rate", f"{limit} a minute{c.whose(place)}", value, f"fewer than {limit} in the minute before"
            )
    return None


def slippage_budget(c: Check) -> Breach | None:
    """Whether the day has lost as much to slippage as it may."""
    for limit_e2, place in c.limits["slippage_budget_pct_e2"]:
        spent = c.figures[place].spent
        if spent * _PCT_E2 >= c.day_start_equity * limit_e2:
            limit = f"{limit_e2 / 100:.2f} % of {c.day_start_equity}{c.whose(place)}"
            return Breach("slippage_budget", limit, f"{spent} spent", "the next trading day")
    return None


RULES = (
    Rule(missing_stop, "Every open position has a stop at the broker, so an entry without one is refused."),
    Rule(stop_side, "A stop lies on the losing side and a target on the winning side of the market."),
    Rule(
        stop_distance,
        "A stop too far away protects nothing.",
        ("max_stop_distance_pct_e2", "*.max_stop_distance_pct_e2"),
    ),
    Rule(
        order_rate,
        "A strategy gone wild is stopped by the minute.",
        ("max_orders_per_minute", "*.max_orders_per_minute"),
    ),
    Rule(
        cancel_rate,
        "Cancels themselves are never refused; who cancels too much may not enter more.",
        ("orders.max_cancels_per_minute", "*.max_cancels_per_minute"),
    ),
    Rule(
        slippage_budget,
        "When fills are worse than decisions all day long, the market is not the one that was measured.",
        ("orders.slippage_budget_pct_e2", "*.slippage_budget_pct_e2"),
    ),
)
