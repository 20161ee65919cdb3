"""Whether position, exposure, leverage and margin would become too large against equity."""

from risk.limits.check import Breach, Check, Rule


def conversion_rate(c: Check) -> Breach | None:
    """Whether something held or wanted cannot be valued."""
    if c.margin is None:
        return Breach(
            "conversion_rate", "a price chain to the account's currency", "none", "quotes of the linking pair"
        )
    return None


def _beyond(c: Check, rule: str, limit_pct: int, value: int | None) -> Breach | None:
    if limit_pct and value is not None and value * 100 > c.equity * limit_pct:
        return Breach(rule, f"{limit_pct} % of equity", f"{value * 100 / c.equity:.1f} %", f"{limit_pct} % or less")
    return None


def position_size(c: Check) -> Breach | None:
    """Whether one side of the symbol would become too large."""
    return _beyond(c, "position_size", c.policy.max_position_pct_equity, c.position_value)


def exposure(c: Check) -> Breach | None:
    """Whether everything together would become too large."""
    return _beyond(c, "exposure", c.policy.max_exposure_pct_equity, c.gross_value)


def leverage(c: Check) -> Breach | None:
    """Whether the account would carry too much on its equity."""
    return _beyond(c, "leverage", c.policy.max_leverage_pct, c.net_value)


def margin(c: Check) -> Breach | None:
    """Whether too little equity would stay free of margin."""
    limit = c.policy.min_free_margin_pct
    if limit and c.margin is not None and (c.equity - c.margin) * 100 < c.equity * limit:
        free = (c.equity - c.margin) * 100 / c.equity
        return Breach("margin", f"{limit} % of equity free", f"{free:.1f} %", f"{limit} % or more")
    return None


def order_volume(c: Check) -> Breach | None:
    """Whether the sized volume suits the venue and the largest order allowed."""
    spec, volume_e2 = c.instrument, c.volume_e2
    lots = c.policy.max_order_lots_e2
    largest_e2 = min(spec.max_volume_e2, lots * spec.lot_e2 // 100) if lots else spec.max_volume_e2
    if not spec.min_volume_e2 <= volume_e2 <= largest_e2 or volume_e2 % spec.step_volume_e2:
        limit = f"{spec.min_volume_e2} to {largest_e2} in steps of {spec.step_volume_e2} (1/100 units)"
        value = str(volume_e2) if volume_e2 else "0: the sized volume is below the smallest order"
        return Breach(
            "order_volume", limit, value, "more equity or a nearer stop" if not volume_e2 else "such a volume"
        )
    return None


RULES = (
    Rule(conversion_rate, "What cannot be valued cannot be limited."),
    Rule(
        order_volume,
        "The venue takes volumes between its minimum and maximum, in steps; the policy sets a largest order.",
        ("max_order_lots_e2",),
    ),
    Rule(position_size, "One side of one symbol stays small against equity.", ("max_position_pct_equity",)),
    Rule(exposure, "All positions and entries together stay small against equity.", ("max_exposure_pct_equity",)),
    Rule(leverage, "The larger sides of all symbols together stay within a leverage.", ("max_leverage_pct",)),
    Rule(margin, "Enough equity stays free of margin to live through a move.", ("min_free_margin_pct",)),
)
