"""The trading day: it ends at 17:00 New York, whatever the season. Pure functions of UTC nanoseconds."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from bus.values import NS_PER_DAY, NS_PER_S

NEW_YORK = ZoneInfo("America/New_York")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_ORDINAL = _EPOCH.toordinal()
_ROLLOVER_HOUR = 17


def to_datetime(ts_ns: int) -> datetime:
    """UTC datetime of a timestamp, truncated to microseconds."""
    return _EPOCH + timedelta(microseconds=ts_ns // 1_000)


def to_ns(moment: datetime) -> int:
    """UTC nanoseconds of an aware datetime."""
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * NS_PER_S + delta.microseconds * 1_000


@lru_cache(maxsize=4096)
def _day_bounds(utc_day: int) -> tuple[int, int]:
    """The rollover (17:00 New York) that falls on a UTC day, and that New York date as a proleptic ordinal."""
    local_date = (_EPOCH + timedelta(days=utc_day)).date()
    rollover = datetime(local_date.year, local_date.month, local_date.day, _ROLLOVER_HOUR, tzinfo=NEW_YORK)
    return to_ns(rollover.astimezone(UTC)), local_date.toordinal()


def trading_day(ts_ns: int) -> int:
    """Ordinal (``date.fromordinal``) of the trading day a moment belongs to.

    A day runs from 17:00 New York of the day before (included) to 17:00 (excluded) and carries the date on which it
    ends, so Sunday evening belongs to Monday.
    """
    rollover_ns, ordinal = _day_bounds(ts_ns // NS_PER_DAY)
    return ordinal if ts_ns < rollover_ns else ordinal + 1


def next_rollover_ns(ts_ns: int) -> int:
    """The first 17:00 New York strictly after a moment."""
    day = ts_ns // NS_PER_DAY
    rollover_ns, _ = _day_bounds(day)
    return rollover_ns if rollover_ns > ts_ns else _day_bounds(day + 1)[0]


def week_start_ns(ts_ns: int) -> int:
    """The start of the trading week a moment belongs to: Sunday 17:00 New York, at that moment or before it."""
    day = trading_day(ts_ns)
    monday = day - (day - 1) % 7  # date.fromordinal(1) was a Monday
    return _day_bounds(monday - 1 - _EPOCH_ORDINAL)[0]


def market_open(ts_ns: int, session: str) -> bool:
    """Whether a venue with this session takes orders at a moment: ``always``, or ``fx`` (Sunday to Friday 17:00 NY)."""
    if session == "always":
        return True
    weekday = (trading_day(ts_ns) - 1) % 7  # date.fromordinal(1) was a Monday, so 0 = Monday
    return weekday < 5
