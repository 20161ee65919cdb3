"""When a symbol may be traded at this broker: weekly hours and holidays, each in a time zone of its own. Pure.

A time zone that this machine does not know tells nothing: what the broker says in it is left to the broker to enforce.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from bus.calendar import to_datetime, to_ns
from bus.values import NS_PER_DAY, NS_PER_S

DAY_S = 86_400
_WEEKS = 3
_MOST_LOOKS = 200
_QUARTER_NS = 900 * NS_PER_S
_EPOCH_WEEKDAY = 4
"""1970-01-01 was a Thursday; weeks begin on Sunday."""


class Holiday(msgspec.Struct, frozen=True, kw_only=True):
    """A day (since 1970-01-01, in `zone`) with no trading from one second of it to another."""

    day: int
    recurring: bool
    zone: str
    start_s: int = 0
    end_s: int = DAY_S


class Hours(msgspec.Struct, frozen=True, kw_only=True):
    """Trading hours of one symbol.

    Attributes:
        schedule: pairs of seconds since Sunday 00:00 in `zone`, start included, end not; empty = always open.
        zone: IANA name; empty = UTC.
        holidays: days without trading.
    """

    schedule: tuple[tuple[int, int], ...] = ()
    zone: str = "UTC"
    holidays: tuple[Holiday, ...] = ()

    def open_at(self, ts_ns: int) -> bool:
        """Whether orders are taken at a moment; True where the broker tells no hours."""
        return not self.holiday_at(ts_ns) and self._within_the_week(ts_ns)

    def holiday_at(self, ts_ns: int) -> bool:
        """Whether a moment lies in a holiday."""
        day = ts_ns // NS_PER_DAY
        # No zone is more than a day from UTC: the year's other holidays cost an order nothing.
        near = [each for each in self.holidays if each.recurring or abs(each.day - day) <= 1]
        if not near:
            return False
        moment = to_datetime(ts_ns)
        return any(_rests(holiday, moment) for holiday in near)

    def next_open_ns(self, ts_ns: int) -> int | None:
        """The first moment from `ts_ns` on at which orders are taken; None where there is none within two weeks."""
        if self.open_at(ts_ns):
            return ts_ns
        moments = sorted({each for each in self._beginnings(ts_ns) if each > ts_ns})
        return next((each for each in moments[:_MOST_LOOKS] if self.open_at(each)), None)

    def _within_the_week(self, ts_ns: int) -> bool:
        if not self.schedule:
            return True
        offset_s = _offset_s(self.zone, ts_ns // _QUARTER_NS)
        if offset_s is None:
            return True
        second = (ts_ns // NS_PER_S + offset_s + _EPOCH_WEEKDAY * DAY_S) % (7 * DAY_S)
        return any(start <= second < end for start, end in self.schedule)

    def _beginnings(self, ts_ns: int) -> Iterator[int]:
        """Moments at which trading may begin: where hours start and where holidays end."""
        zone = _zone(self.zone)
        if zone is not None:
            today = to_datetime(ts_ns).astimezone(zone).date()
            sunday = today - timedelta(days=today.isoweekday() % 7)
            for week in range(_WEEKS):
                for start, _ in self.schedule:
                    yield _utc_ns(sunday + timedelta(weeks=week), start, zone)
        for holiday in self.holidays:
            zone = _zone(holiday.zone)
            if zone is None:
                continue
            today = to_datetime(ts_ns).astimezone(zone).date()
            for ahead in range(7 * (_WEEKS - 1)):
                day = today + timedelta(days=ahead)
                if _falls_on(holiday, day):
                    yield _utc_ns(day, holiday.end_s, zone)


def _rests(holiday: Holiday, moment: datetime) -> bool:
    zone = _zone(holiday.zone)
    if zone is None:
        return False
    local = moment.astimezone(zone)
    return _falls_on(holiday, local.date()) and holiday.start_s <= _second_of_day(local) < holiday.end_s


def _falls_on(holiday: Holiday, day: date) -> bool:
    own = date(1970, 1, 1) + timedelta(days=holiday.day)
    return (own.month, own.day) == (day.month, day.day) if holiday.recurring else own == day


def _second_of_day(local: datetime) -> int:
    return local.hour * 3_600 + local.minute * 60 + local.second


def _utc_ns(day: date, second: int, zone: ZoneInfo) -> int:
    """A second counted from a local midnight by the clock on the wall, whatever the season changes in between."""
    days, rest = divmod(second, DAY_S)
    local = datetime(day.year, day.month, day.day, tzinfo=zone) + timedelta(days=days, seconds=rest)
    return to_ns(local.astimezone(UTC))


@lru_cache(maxsize=256)
def _offset_s(name: str, quarter: int) -> int | None:
    """What a zone's clock is ahead of UTC in a quarter of an hour, within which none changes; None = not known here."""
    zone = _zone(name)
    offset = None if zone is None else to_datetime(quarter * _QUARTER_NS).astimezone(zone).utcoffset()
    return None if offset is None else int(offset.total_seconds())


@lru_cache(maxsize=256)
def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a folder of zones, a name that no file can have
        return None
