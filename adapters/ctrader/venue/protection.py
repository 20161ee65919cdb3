"""What a symbol's terms refuse: no trading now, no such side, too much, levels too near, guarantees that do not hold.

Pure questions about terms and numbers; each gives a `Refused` or None.
"""

import calendar
from datetime import UTC, datetime
from fractions import Fraction
from zoneinfo import ZoneInfo

from adapters.ctrader.venue.orderform import Refused
from adapters.ctrader.venue.specs import Symbol
from adapters.ctrader.venue.terms import CLOSE_ONLY, DAY_S, DISABLED, FROZEN, Terms
from bus.values import NS_PER_S, Side

_THURSDAY = 4  # the first of January 1970 was one, and weeks begin on Sunday


def not_now(symbol: Symbol, terms: Terms, now_ns: int, *, opens: bool) -> Refused | None:
    """Whether the symbol trades at all, or may be opened, at a moment (UTC)."""
    name = symbol.instrument.symbol
    if terms.mode in {FROZEN, DISABLED} or (opens and terms.mode == CLOSE_ONLY):
        return Refused("TRADING_DISABLED", f"trading of {name} is disabled" + (" but for closing" if opens else ""))
    return closed(symbol, terms, now_ns)


def closed(symbol: Symbol, terms: Terms, now_ns: int) -> Refused | None:
    """Whether the symbol's own hours and holidays let nothing be traded at a moment (UTC)."""
    name, utc = symbol.instrument.symbol, datetime.fromtimestamp(now_ns // NS_PER_S, UTC)
    for rest in terms.holidays:
        day, second = _on_the_wall(utc, rest.zone)
        if day == rest.day and rest.start_s <= second < rest.end_s:
            return Refused("SYMBOL_HAS_HOLIDAY", f"{name} has a holiday")
    if terms.hours:
        day, second = _on_the_wall(utc, terms.zone)
        second += (day + _THURSDAY) % 7 * DAY_S
        if not any(start <= second < end for start, end in terms.hours):
            return Refused("MARKET_CLOSED", f"{name} is closed at this hour")
    return None


def _on_the_wall(utc: datetime, zone: str) -> tuple[int, int]:
    """Day since 1970-01-01 and second of the day in a time zone."""
    local = utc.astimezone(ZoneInfo(zone))
    return divmod(calendar.timegm(local.timetuple()), DAY_S)


def too_much(terms: Terms, side: Side, held_e2: int, volume_e2: int) -> Refused | None:
    """Whether a side may be opened by so much more."""
    if side < 0 and not terms.short_selling:
        return Refused("SHORT_SELLING_NOT_ALLOWED", "short selling is not allowed")
    if terms.most_exposure_e2 and held_e2 + volume_e2 > terms.most_exposure_e2:
        return Refused("MAX_EXPOSURE_REACHED", f"{held_e2} are open of at most {terms.most_exposure_e2}")
    return None


def too_close(
    symbol: Symbol, terms: Terms, from_e5: int, stop_away_e5: int, target_away_e5: int, *, guaranteed: bool
) -> Refused | None:
    """Whether levels lie too near.

    Args:
        symbol: its point is the unit of distances.
        terms: distances.
        from_e5: price that percentages are of.
        stop_away_e5: distance of the stop loss; 0 = none.
        target_away_e5: distance of the take profit; 0 = none.
        guaranteed: the stop is.
    """
    least = max(terms.stop_points, terms.guaranteed_points if guaranteed else 0)
    unit = Fraction(symbol.instrument.point_e5)
    if terms.distances_in_percent:
        unit = Fraction(from_e5, 10_000 if terms.percent_hundredths else 100)
    for name, away_e5, points in (
        ("stop loss", stop_away_e5, least),
        ("take profit", target_away_e5, terms.target_points),
    ):
        if 0 < away_e5 < points * unit:
            return Refused(
                "PROTECTION_IS_TOO_CLOSE_TO_MARKET", f"{name} {away_e5} away, at least {float(points * unit):g}"
            )
    return None


def unguaranteed(terms: Terms, *, limited_risk: bool, guaranteed: bool, has_stop: bool) -> Refused | None:
    """Whether an order or amendment offers the guarantee that its account needs, and no other."""
    if guaranteed and not (limited_risk and terms.guaranteed):
        return Refused(
            "INVALID_REQUEST", "guaranteed stops are for accounts of limited risk, where the symbol has them"
        )
    if guaranteed and not has_stop:
        return Refused("INVALID_REQUEST", "a guaranteed stop needs a stop loss")
    if limited_risk and not (guaranteed and has_stop):
        return Refused("TRADING_BAD_STOPS", "an account of limited risk needs a guaranteed stop on every position")
    return None


def loosened(side: Side, before_e5: int, stop_e5: int) -> Refused | None:
    """Whether a guaranteed stop would move away from the market."""
    if before_e5 and (stop_e5 - before_e5) * side < 0:
        return Refused("WORSE_GSL_NOT_ALLOWED", f"a guaranteed stop at {before_e5} may not move to {stop_e5}")
    return None
