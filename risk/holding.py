"""Whether an open position, or a resting entry, has had its time. The core closes and withdraws; nobody has to ask."""

from bus.calendar import week_end_ns
from bus.values import NS_PER_S, Instrument
from risk.orders import Position
from risk.policy import Policy


def weekend_near(instrument: Instrument, policy: Policy, now_ns: int) -> bool:
    """Whether everything in a symbol must be closed for the weekend; never in one that trades always."""
    flat_s = policy.hours.weekend_flat_min * 60
    return bool(flat_s) and instrument.session != "always" and now_ns >= week_end_ns(now_ns) - flat_s * NS_PER_S


def must_close(position: Position, instrument: Instrument, policy: Policy, now_ns: int) -> str:
    """Why a position must be closed now, in a word or two; empty = it need not be."""
    if policy.hours.weekend_flat_min and weekend_near(instrument, policy, now_ns):
        return "weekend"
    if not (policy.orders.max_holding_s or policy.symbols or policy.strategies):
        return ""  # asked at every quote
    limit_s = policy.holding_limit_s(position.symbol, position.strategy)
    since_ns = max(position.ts_open_ns, position.ts_told_ns)  # 0 = nobody said since when, so nobody knows how long
    if limit_s and since_ns and now_ns - since_ns > limit_s * NS_PER_S:
        return "held too long"
    return ""
