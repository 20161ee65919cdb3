"""Whether the market is one to enter: quotes that are possible and new, a spread that can be paid, a price near it."""

from bus.values import NS_PER_S, OrderType
from risk.limits.check import Breach, Check, Rule


def clock(c: Check) -> Breach | None:
    """Whether the clock stands before something that was told already."""
    now_ns, told_ns = c.now_ns, max(c.latest_ns, c.intent.ts_init_ns)
    if now_ns < told_ns:
        value = f"{(told_ns - now_ns) / NS_PER_S:.3f} s before the newest message"
        return Breach("clock", "never before the newest message", value, "the same intent once the clock is right")
    return None


def crossed_quote(c: Check) -> Breach | None:
    """Whether the newest quote cannot be true."""
    if c.suspect:
        return Breach("crossed_quote", "0 < bid <= ask", "an impossible quote", "a possible quote")
    return None


def stale_quote(c: Check) -> Breach | None:
    """Whether there is no quote, or only an old one."""
    limit_s = c.policy.max_quote_age_s
    if c.quote is None:
        return Breach("stale_quote", f"{limit_s} s", "no quote", "a first quote")
    age_ns = c.now_ns - c.quote.ts_init_ns
    if limit_s and age_ns > limit_s * NS_PER_S:
        return Breach("stale_quote", f"{limit_s} s", f"{age_ns / NS_PER_S:.3f} s", f"a quote within {limit_s} s")
    return None


def spread(c: Check) -> Breach | None:
    """Whether the spread is too wide to enter."""
    limit_e1 = c.policy.max_spread_pips_e1
    if limit_e1 and c.quote is not None:
        width_e5 = c.quote.ask_e5 - c.quote.bid_e5
        if width_e5 * 10 > limit_e1 * c.instrument.pip_e5:
            value = f"{width_e5 / c.instrument.pip_e5:.1f} pips"
            return Breach("spread", f"{limit_e1 / 10:.1f} pips", value, f"{limit_e1 / 10:.1f} pips or less")
    return None


def price_collar(c: Check) -> Breach | None:
    """Whether the price the decision saw, or the price of a resting entry, is far from the market."""
    if c.quote is None:
        return None
    touch_e5 = c.quote.ask_e5 if c.intent.side > 0 else c.quote.bid_e5
    market = c.intent.order_type == OrderType.MARKET
    return _away(c, "reference", c.intent.reference_e5, touch_e5, c.policy.price_collar_pips_e1) or (
        None if market else _away(c, "order price", c.intent.price_e5, touch_e5, c.policy.resting_collar_pips_e1)
    )


def _away(c: Check, what: str, price_e5: int, touch_e5: int, limit_e1: int) -> Breach | None:
    away_e5 = abs(price_e5 - touch_e5)
    if limit_e1 and away_e5 * 10 > limit_e1 * c.instrument.pip_e5:
        value = f"{what} {away_e5 / c.instrument.pip_e5:.1f} pips from {touch_e5}"
        return Breach("price_collar", f"{limit_e1 / 10:.1f} pips", value, f"within {limit_e1 / 10:.1f} pips")
    return None


RULES = (
    Rule(clock, "Ages and rates mean nothing while the clock runs backwards."),
    Rule(crossed_quote, "Nothing is decided on a quote that cannot be true."),
    Rule(stale_quote, "Nothing is decided on an old price.", ("max_quote_age_s", "*.max_quote_age_s")),
    Rule(spread, "An entry pays the spread; a wide one is waited out.", ("max_spread_pips_e1", "*.max_spread_pips_e1")),
    Rule(
        price_collar,
        "What was decided at one price is not executed at quite another.",
        ("price_collar_pips_e1", "resting_collar_pips_e1", "*.price_collar_pips_e1", "*.resting_collar_pips_e1"),
    ),
)
