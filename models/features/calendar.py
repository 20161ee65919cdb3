"""Time of the bar's close: hour, weekday, open sessions, rollover and month end, on the clocks that people work by.

New York and London keep summer time, each on its own dates; Tokyo keeps none. A trading day ends at 17:00 New York.
"""

import math
from datetime import date, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from bus.calendar import NEW_YORK, next_rollover_ns, to_datetime, trading_day
from bus.values import NS_PER_HOUR, NS_PER_S
from models.columns import Floats, Ints
from models.features._market import Market, shared
from models.features._registry import feature

Flags = NDArray[np.bool_]

_LONDON = ZoneInfo("Europe/London")
_TOKYO = ZoneInfo("Asia/Tokyo")
_MINUTE_ANGLE = np.arange(1440) * (2.0 * math.pi / 1440.0)
_MINUTE_SIN, _MINUTE_COS = np.sin(_MINUTE_ANGLE), np.cos(_MINUTE_ANGLE)
_WEEKDAY_SIN, _WEEKDAY_COS = (f(np.arange(7) * (2.0 * math.pi / 7.0)) for f in (np.sin, np.cos))


@lru_cache(maxsize=1 << 17)
def _moment(utc_hour: int) -> tuple[int, int, int, int, int, int, int]:
    """What local clocks say in an hour since 1970; all three keep whole hours.

    New York, London and Tokyo hour, trading weekday (Monday = 0), trading weekdays left in the month after this one,
    and the hours since 1970 of the next rollover and of the next week's end.
    """
    start_ns = utc_hour * NS_PER_HOUR
    utc = to_datetime(start_ns)
    day = date.fromordinal(trading_day(start_ns))
    left, later = 0, day + timedelta(days=1)
    while later.month == day.month:
        left += later.weekday() < 5
        later += timedelta(days=1)
    rollover_ns = next_rollover_ns(start_ns)
    ends_ns = rollover_ns
    while trading_day(ends_ns - 1) % 7 != _FRIDAY:
        ends_ns = next_rollover_ns(ends_ns)
    return (
        utc.astimezone(NEW_YORK).hour,
        utc.astimezone(_LONDON).hour,
        utc.astimezone(_TOKYO).hour,
        day.weekday(),
        left,
        rollover_ns // NS_PER_HOUR,
        ends_ns // NS_PER_HOUR,
    )


_FRIDAY = 5
"""date.fromordinal(5) was a Friday."""


class _Clock:
    """The columns of `_moment` at the closes of bars, shapes (n,)."""

    def __init__(self, close_ns: Ints) -> None:
        # few hours are different ones where bars are many
        hours, which = np.unique(close_ns // NS_PER_HOUR, return_inverse=True)
        told = np.array([_moment(hour) for hour in hours.tolist()], np.int64).reshape(-1, 7)[which]
        self.new_york, self.london, self.tokyo, self.weekday, self.month_left, rollover, week_end = told.T
        self.minute = self.new_york * 60 + close_ns // (60 * NS_PER_S) % 60
        self.trading = self.weekday < 5
        self.to_rollover_h = rollover - close_ns / NS_PER_HOUR
        self.to_week_end_h = week_end - close_ns / NS_PER_HOUR

    def at_work(self, hour: Ints) -> Flags:
        """From 8:00 to 17:00 of a local clock on trading days."""
        return self.trading & (hour >= 8) & (hour < 17)


@shared
def _clock(m: Market) -> _Clock:
    """Of the newest rows that are asked for."""
    return _Clock(m.columns.ts_open_ns[len(m) - m.newest :] + m.columns.period_ns)


@feature("hour_sin", startup=1)
def hour_sin(m: Market) -> Floats:
    """sin(2 pi time of day in New York)."""
    return m.filled(_MINUTE_SIN[_clock(m).minute])


@feature("hour_cos", startup=1)
def hour_cos(m: Market) -> Floats:
    """cos(2 pi time of day in New York)."""
    return m.filled(_MINUTE_COS[_clock(m).minute])


@feature("weekday_sin", startup=1)
def weekday_sin(m: Market) -> Floats:
    """sin(2 pi trading weekday / 7), Monday = 0."""
    return m.filled(_WEEKDAY_SIN[_clock(m).weekday])


@feature("weekday_cos", startup=1)
def weekday_cos(m: Market) -> Floats:
    """cos(2 pi trading weekday / 7), Monday = 0."""
    return m.filled(_WEEKDAY_COS[_clock(m).weekday])


@feature("session_london", startup=1)
def session_london(m: Market) -> Floats:
    """1 from 8:00 to 17:00 London on trading days."""
    clock = _clock(m)
    return m.filled(clock.at_work(clock.london))


@feature("session_new_york", startup=1)
def session_new_york(m: Market) -> Floats:
    """1 from 8:00 to 17:00 New York on trading days."""
    clock = _clock(m)
    return m.filled(clock.at_work(clock.new_york))


@feature("session_overlap", startup=1)
def session_overlap(m: Market) -> Floats:
    """1 where London and New York are both open."""
    clock = _clock(m)
    return m.filled(clock.at_work(clock.london) & clock.at_work(clock.new_york))


@feature("session_tokyo", startup=1)
def session_tokyo(m: Market) -> Floats:
    """1 from 8:00 to 17:00 Tokyo on trading days."""
    clock = _clock(m)
    return m.filled(clock.at_work(clock.tokyo))


@feature("london_open", startup=1)
def london_open(m: Market) -> Floats:
    """1 in the hour from 8:00 London on trading days."""
    clock = _clock(m)
    return m.filled(clock.trading & (clock.london == 8))


@feature("new_york_open", startup=1)
def new_york_open(m: Market) -> Floats:
    """1 in the hour from 8:00 New York on trading days."""
    clock = _clock(m)
    return m.filled(clock.trading & (clock.new_york == 8))


@feature("near_rollover", startup=1)
def near_rollover(m: Market) -> Floats:
    """1 in the hour before and the hour after 17:00 New York."""
    clock = _clock(m)
    return m.filled((clock.new_york == 16) | (clock.new_york == 17))


@feature("to_rollover", startup=1)
def to_rollover(m: Market) -> Floats:
    """Hours to the next 17:00 New York / 24, above 0."""
    return m.filled(_clock(m).to_rollover_h / 24.0)


@feature("to_week_end", startup=1)
def to_week_end(m: Market) -> Floats:
    """Hours to the next Friday 17:00 New York / 120, above 0."""
    return m.filled(_clock(m).to_week_end_h / 120.0)


@feature("month_end", startup=1)
def month_end(m: Market) -> Floats:
    """1 on the last and the last but one trading weekday of a month, holidays not considered."""
    clock = _clock(m)
    return m.filled(clock.trading & (clock.month_left <= 1))
