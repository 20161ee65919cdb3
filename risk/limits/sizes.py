"""Whether position, exposure, leverage and margin would become too large against equity."""

from risk.limits.check import Breach, Check, Rule


def conversion_rate(c: Check) -> Breach | None:
    """Whether something held or wanted cannot be valued."""
    if c.values is None:
        return Breach(
            "conversion_rate", "a price chain to the account's currency", "none", "quotes of the linking pair"
        )
    return None


def _beyond(c: Check, rule: str, limit_pct: int, value: int, whose: str) -> Breach:
    met = f"{value * 100 / c.equity:.1f} %" if c.equity > 0 else f"{value} on an equity of {c.equity}"
    return Breach(rule, f"{limit_pct} % of equity{whose}", met, f"{limit_pct} % or less")


def _any_beyond(c: Check, rule: str, key: str, which: int) -> Breach | None:
    """The first scope whose worst case is beyond its limit; `which` is its place in `Values`."""
    for limit_pct, place in c.limits[key]:
        values = c.figures[place].values
        if values is not None and values[which] * 100 > c.equity * limit_pct:
            return _beyond(c, rule, limit_pct, values[which], c.whose(place))
    return None


def position_size(c: Check) -> Breach | None:
    """Whether one side of the symbol would become too large."""
    return _any_beyond(c, "position_size", "max_position_pct_equity", 0)


def exposure(c: Check) -> Breach | None:
    """Whether everything together would become too large."""
    return _any_beyond(c, "exposure", "max_exposure_pct_equity", 1)


def leverage(c: Check) -> Breach | None:
    """Whether the account would carry too much on its equity."""
    return _any_beyond(c, "leverage", "max_leverage_pct", 2)


def currency_exposure(c: Check) -> Breach | None:
    """Whether one currency would be bought or sold too much, through whatever symbols."""
    everywhere, currencies = c.policy.sizes.max_currency_pct_equity, c.policy.currencies
    for currency, value in c.legs:
        limit_pct = everywhere
        if currency in currencies:
            own = currencies[currency].max_currency_pct_equity
            limit_pct = min(limit_pct, own) if limit_pct and own else limit_pct or own
        if limit_pct and value * 100 > c.equity * limit_pct:
            return _beyond(c, "currency_exposure", limit_pct, value, f" in {currency}")
    return None


def margin_use(c: Check) -> Breach | None:
    """Whether too much equity would be used as margin."""
    return _any_beyond(c, "margin_use", "max_margin_use_pct", 3)


def margin(c: Check) -> Breach | None:
    """Whether too little equity would stay free of margin."""
    limit, values = c.policy.min_free_margin_pct, c.values
    if limit and values is not None and (c.equity - values.margin) * 100 < c.equity * limit:
        free = (c.equity - values.margin) * 100 / c.equity if c.equity else 0
        return Breach("margin", f"{limit} % of equity free", f"{free:.1f} %", f"{limit} % or more")
    return None


def free_margin(c: Check) -> Breach | None:
    """Whether too small an amount would stay free of margin."""
    least, values = c.policy.sizes.min_free_margin, c.values
    if least and values is not None and c.equity - values.margin < least * c.unit:
        free = (c.equity - values.margin) / c.unit
        return Breach("free_margin", f"{least} free", f"{free:.2f}", f"{least} or more")
    return None


def open_positions(c: Check) -> Breach | None:
    """Whether there would be too many positions, entries at work included."""
    for limit, place in c.limits["max_open_positions"]:
        positions = c.figures[place].positions
        if positions >= limit:
            value = f"{positions} and this one"
            return Breach("open_positions", f"{limit}{c.whose(place)}", value, f"fewer than {limit} before it")
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
        ("max_order_lots_e2", "*.max_order_lots_e2"),
    ),
    Rule(
        open_positions,
        "What nobody can watch any more is not added to.",
        ("sizes.max_open_positions", "*.max_open_positions"),
    ),
    Rule(
        position_size,
        "One side of one symbol stays small against equity.",
        ("max_position_pct_equity", "*.max_position_pct_equity"),
    ),
    Rule(
        exposure,
        "All positions and entries together stay small against equity.",
        ("max_exposure_pct_equity", "*.max_exposure_pct_equity"),
    ),
    Rule(
        leverage,
        "The larger sides of all symbols together stay within a leverage.",
        ("max_leverage_pct", "*.max_leverage_pct"),
    ),
    Rule(
        currency_exposure,
        "Three pairs may be one bet on one currency.",
        ("sizes.max_currency_pct_equity", "*.max_currency_pct_equity"),
    ),
    Rule(
        margin_use,
        "The venue closes what margin no longer carries; we stay far from that.",
        ("sizes.max_margin_use_pct", "*.max_margin_use_pct"),
    ),
    Rule(margin, "Enough equity stays free of margin to live through a move.", ("min_free_margin_pct",)),
    Rule(free_margin, "And so does an amount that does not shrink with the account.", ("sizes.min_free_margin",)),
)
