"""The trading day: it ends at 17:00 New York, whatever the season, or at an hour of a zone that somebody names.

Pure functions of UTC nanoseconds.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from bus.errors import DataError
from bus.values import NS_PER_DAY, NS_PER_HOUR, NS_PER_S

NEW_YORK = ZoneInfo("America/New_York")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_ORDINAL = _EPOCH.toordinal()
_ROLLOVER_HOUR = 17
_QUARTER_NS = 900 * NS_PER_S


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
    return _week_bounds(ts_ns // NS_PER_HOUR)[0]


@lru_cache(maxsize=4096)
def _week_bounds(hour: int) -> tuple[int, int]:
    """Start and end of the trading week of an hour since 1970; it begins and ends with an hour, on any clock."""
    day = trading_day(hour * NS_PER_HOUR)
    monday = day - (day - 1) % 7  # date.fromordinal(1) was a Monday
    return _day_bounds(monday - 1 - _EPOCH_ORDINAL)[0], _day_bounds(monday + 4 - _EPOCH_ORDINAL)[0]


def market_open(ts_ns: int, session: str) -> bool:
    """Whether a venue with this session takes orders at a moment: ``always``, or ``fx`` (Sunday to Friday 17:00 NY)."""
    if session == "always":
        return True
    weekday = (trading_day(ts_ns) - 1) % 7  # date.fromordinal(1) was a Monday, so 0 = Monday
    return weekday < 5


# --- days of a named zone --------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def named_zone(name: str) -> ZoneInfo:
    """The zone of an IANA name such as ``Europe/Prague``.

    Raises:
        DataError: there is none.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise DataError(f"{name!r} is no time zone; write an IANA name such as America/New_York or UTC") from None


@lru_cache(maxsize=4096)
def _local(quarter: int, zone: str) -> datetime:
    """Local time at the start of a quarter of an hour since 1970; clocks change at no other moments."""
    return (_EPOCH + timedelta(minutes=15 * quarter)).astimezone(named_zone(zone))


@lru_cache(maxsize=4096)
def _hour_on(ordinal: int, zone: str, hour: int) -> int:
    """When a zone's clock first shows an hour, or a later one, on a local date; the first time if it does so twice."""
    wanted = datetime.fromordinal(ordinal).replace(hour=hour, tzinfo=named_zone(zone))
    begins = wanted.astimezone(UTC)
    if begins.astimezone(wanted.tzinfo).replace(tzinfo=None) == wanted.replace(tzinfo=None):
        return to_ns(begins)
    # The clocks skip it: it begins when they change, which lies between what the offsets before and after make of it.
    before, after = to_ns(wanted.replace(fold=1).astimezone(UTC)) // NS_PER_S, to_ns(begins) // NS_PER_S
    while after - before > 1:
        middle = (before + after) // 2
        local = to_datetime(middle * NS_PER_S).astimezone(wanted.tzinfo).replace(tzinfo=None)
        before, after = (before, middle) if local >= wanted.replace(tzinfo=None) else (middle, after)
    return after * NS_PER_S


def next_day_ns(ts_ns: int, zone: str, hour: int) -> int:
    """The first moment strictly after another at which a zone's clock comes to an hour: where its trading day ends.

    Where the clock shows the hour twice the first counts, and where it skips it the moment of the change.

    Raises:
        DataError: there is no such zone.
    """
    today = _local(ts_ns // _QUARTER_NS, zone).toordinal()
    return min(found for day in range(today - 1, today + 3) if (found := _hour_on(day, zone, hour)) > ts_ns)


def week_begin_ns(ts_ns: int, zone: str, hour: int) -> int:
    """When the trading week of a moment began, where days begin at an hour of a zone: with Monday's day.

    A day that begins at noon or later carries the date on which it ends, so Monday's then begins on Sunday.

    Raises:
        DataError: there is no such zone.
    """
    today = _local(ts_ns // _QUARTER_NS, zone).toordinal()
    first = 0 if hour >= 12 else 1  # a Sunday's and a Monday's ordinal, modulo 7
    begins = today - (today - first) % 7
    return max(found for day in (begins - 7, begins) if (found := _hour_on(day, zone, hour)) <= ts_ns)


def minute_of_week(ts_ns: int, zone: str) -> int:
    """Minutes since Monday 00:00 on a zone's clocks, from 0 to 10,079.

    Raises:
        DataError: there is no such zone.
    """
    quarter, rest_ns = divmod(ts_ns, _QUARTER_NS)
    local = _local(quarter, zone)
    return (local.weekday() * 24 + local.hour) * 60 + local.minute + rest_ns // (60 * NS_PER_S)


def week_end_ns(ts_ns: int) -> int:
    """When the trading week of a moment ends: Friday 17:00 New York (included in the weekend that follows)."""
    return _week_bounds(ts_ns // NS_PER_HOUR)[1]
