"""Whether this is a time to enter: sessions, the broker's rollover, the weekend, news."""

from bus.calendar import (
    minute_of_week,
    next_rollover_ns,
    to_datetime,
    week_end_ns,
    week_start_ns,
)
from bus.values import NS_PER_DAY, NS_PER_S
from risk.limits.check import Breach, Check, Rule
from risk.policies.hours import intervals
from risk.policies.news import News

_MINUTE_NS = 60 * NS_PER_S
_ALWAYS = "always"


def _clock(ts_ns: int) -> str:
    return f"{to_datetime(ts_ns):%Y-%m-%d %H:%M} UTC"


def session_hours(c: Check) -> Breach | None:
    """Whether it is outside the hours in which entries may be made."""
    hours, of_symbol = c.policy.hours, c.policy.symbols.get(c.intent.symbol)
    for sessions in (hours.sessions, of_symbol.sessions if of_symbol is not None else ()):
        if sessions:
            minute = minute_of_week(c.now_ns, hours.zone)
            for first, last in intervals(sessions):
                if first <= minute < last:
                    break
            else:
                limit = f"{', '.join(sessions)} ({hours.zone})"
                return Breach("session_hours", limit, _clock(c.now_ns), "the same entry within these hours")
    return None


def rollover(c: Check) -> Breach | None:
    """Whether it is too near the broker's rollover."""
    before_ns, after_ns = (
        c.policy.hours.rollover_before_min * _MINUTE_NS,
        c.policy.hours.rollover_after_min * _MINUTE_NS,
    )
    if c.instrument.session == _ALWAYS or not (before_ns or after_ns):
        return None
    rolls_ns = next_rollover_ns(c.now_ns - after_ns)  # the first that this moment is not yet past
    if c.now_ns >= rolls_ns - before_ns:
        limit = f"{before_ns // _MINUTE_NS} minutes before and {after_ns // _MINUTE_NS} after 17:00 New York"
        return Breach("rollover", limit, _clock(c.now_ns), f"before it, or from {_clock(rolls_ns + after_ns)} on")
    return None


def weekend(c: Check) -> Breach | None:
    """Whether the week is about to end, has ended, or has only just begun."""
    hours = c.policy.hours
    if c.instrument.session == _ALWAYS:
        return None
    closing_min = max(hours.weekend_entries_min, hours.weekend_flat_min)
    if closing_min and c.now_ns >= week_end_ns(c.now_ns) - closing_min * _MINUTE_NS:
        limit = f"{closing_min} minutes before the week ends"
        return Breach("weekend", limit, _clock(c.now_ns), "the same entry next week")
    if hours.week_open_min and c.now_ns < week_start_ns(c.now_ns) + hours.week_open_min * _MINUTE_NS:
        limit = f"{hours.week_open_min} minutes after the week began"
        first = _clock(week_start_ns(c.now_ns) + hours.week_open_min * _MINUTE_NS)
        return Breach("weekend", limit, _clock(c.now_ns), f"the same entry from {first} on")
    return None


def _blackout(settings: News) -> str:
    return f"{settings.before_min} minutes before and {settings.after_min} after events"


def news(c: Check) -> Breach | None:
    """Whether an event that moves a currency of the symbol is near, or the calendar is one of the past."""
    settings = c.policy.news
    if not settings.on:
        return None
    if c.calendar_last_ns is None:
        return Breach("news", _blackout(settings), "no calendar", f"events from {settings.file}")
    if c.news is not None:
        value = f"{c.news.currency} {c.news.title} at {_clock(c.news.ts_ns)}"
        until = _clock(c.news.ts_ns + settings.after_min * _MINUTE_NS)
        return Breach("news", _blackout(settings), value, f"the same entry after {until}")
    days = settings.runs_out_days
    if days and c.now_ns > c.calendar_last_ns + days * NS_PER_DAY:
        value = f"the last of them was at {_clock(c.calendar_last_ns)}" if c.calendar_last_ns else "none of them"
        return Breach("news", f"events of the last {days} days", value, "a calendar that goes on")
    return None


RULES = (
    Rule(
        session_hours,
        "Entries are made in the hours for which the strategy was made.",
        ("hours.sessions", "hours.zone", "*.sessions"),
    ),
    Rule(
        rollover,
        "Around the broker's rollover spreads are wide and swaps are charged.",
        ("hours.rollover_before_min", "hours.rollover_after_min"),
    ),
    Rule(
        weekend,
        "Over the weekend prices jump, and no stop holds; before and after it there is little to trade with.",
        ("hours.weekend_entries_min", "hours.weekend_flat_min", "hours.week_open_min"),
    ),
    Rule(
        news,
        "Around news prices jump past stops, and spreads say nothing.",
        (
            "news.before_min",
            "news.after_min",
            "news.impact",
            "news.currencies",
            "news.file",
            "news.zone",
            "news.runs_out_days",
        ),
    ),
)
