"""Clocks in which vendors write times, and their conversion to UTC.

Names: ``utc``; a fixed offset such as ``utc+2`` or ``utc-3:30``; ``est`` (UTC-5 all year); ``new_york`` (UTC-5, UTC-4
in American summer time); ``eet`` (UTC+2, UTC+3 in European summer time: most MetaTrader servers); ``histdata`` (what
HistData's bar files contain, whatever their documentation says: New York until 2018, from 2019 the same offsets but
switching on the European dates; measured up to May 2019); or an IANA zone such as ``Europe/Zurich``.

An hour that occurs twice in autumn is taken as the first until times jump back inside it, then as the second. An hour
that does not exist in spring is read with the offset before the change. Markets are closed in both.
"""

import re
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from bus.errors import DataError
from bus.series import Column
from bus.values import NS_PER_DAY, NS_PER_HOUR, NS_PER_S

_FIXED = re.compile(r"(?:utc|gmt)([+-])(\d{1,2})(?::?([0-5]\d))?")
_ALIASES = {"new_york": "America/New_York", "eet": "Europe/Helsinki"}
_STEP_NS = 900 * NS_PER_S  # every change of offset since 1970 falls on a quarter of an hour
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  (a wall clock has no zone yet)
_HISTDATA_CHANGE_NS = 1_546_300_800 * NS_PER_S  # 2019-01-01 00:00 on the vendor's own clock
_EET_TO_HISTDATA_NS = 7 * NS_PER_HOUR


def check_clock(clock: str) -> None:
    """Refuse a name that is no clock.

    Raises:
        DataError: naming the clocks there are.
    """
    name = clock.lower()
    if name not in {"utc", "gmt", "est", "histdata"} and _fixed_offset_ns(name) is None:
        _zone(clock)


def to_utc(local_ns: Column, clock: str) -> Column:
    """Convert wall-clock nanoseconds to UTC nanoseconds.

    Raises:
        DataError: the clock is unknown.
    """
    name = clock.lower()
    if name in {"utc", "gmt"}:
        return local_ns
    if name == "est":
        return local_ns + 5 * NS_PER_HOUR
    if name == "histdata":
        early = local_ns < _HISTDATA_CHANGE_NS
        result = local_ns.copy()
        result[early] = to_utc(local_ns[early], "new_york")
        result[~early] = to_utc(local_ns[~early] + _EET_TO_HISTDATA_NS, "eet")
        return result
    fixed = _fixed_offset_ns(name)
    return local_ns - (fixed if fixed is not None else _zone_offset_ns(local_ns, _zone(clock)))


def _fixed_offset_ns(name: str) -> int | None:
    """The offset that ``utc+2`` means; None where the name is not of that kind.

    Raises:
        DataError: more than 14 hours.
    """
    found = _FIXED.fullmatch(name)
    if not found:
        return None
    minutes = int(found[2]) * 60 + int(found[3] or 0)
    if minutes > 14 * 60:
        raise DataError(f"clock {name!r}: no place on earth is more than 14 hours from UTC")
    return (minutes if found[1] == "+" else -minutes) * 60 * NS_PER_S


def _zone(clock: str) -> ZoneInfo:
    """The zone of a name."""
    try:
        return ZoneInfo(_ALIASES.get(clock.lower(), clock))
    except (KeyError, ValueError, OSError) as error:
        raise DataError(
            f"unknown clock {clock!r}; use utc, utc+2, est, new_york, eet, histdata or an IANA zone like Europe/Zurich"
        ) from error


def _offset_ns(local_ns: int, zone: ZoneInfo, fold: int) -> int:
    moment = (_EPOCH + timedelta(seconds=local_ns // NS_PER_S)).replace(tzinfo=zone, fold=fold)
    offset = moment.utcoffset()
    return 0 if offset is None else round(offset.total_seconds()) * NS_PER_S


def _zone_offset_ns(local_ns: Column, zone: ZoneInfo) -> Column:
    """Offset of each wall-clock time: by day where a day has one offset, by quarter hour on the days it changes."""
    days, day_of_row = np.unique(local_ns // NS_PER_DAY, return_inverse=True)
    begins = [_offset_ns(int(day) * NS_PER_DAY, zone, 0) for day in days]
    ends = [_offset_ns((int(day) + 1) * NS_PER_DAY, zone, 0) for day in days]
    offsets = np.asarray(begins, np.int64)[day_of_row]
    changing = np.asarray(begins, np.int64) != np.asarray(ends, np.int64)
    for day in np.flatnonzero(changing):
        rows = np.flatnonzero(day_of_row == day)
        steps, step_of_row = np.unique(local_ns[rows] // _STEP_NS, return_inverse=True)
        first = np.asarray([_offset_ns(int(step) * _STEP_NS, zone, 0) for step in steps], np.int64)[step_of_row]
        second = np.asarray([_offset_ns(int(step) * _STEP_NS, zone, 1) for step in steps], np.int64)[step_of_row]
        twice = np.flatnonzero(first > second)  # in a spring gap the second is the larger one
        if len(twice):
            jumps = np.flatnonzero(np.diff(local_ns[rows[twice]]) < 0)
            if len(jumps):
                again = twice[int(jumps[0]) + 1 :]
                first[again] = second[again]
        offsets[rows] = first
    return offsets
