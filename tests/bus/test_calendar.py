"""The trading day ends at 17:00 New York."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.calendar import market_open, next_rollover_ns, to_datetime, to_ns, trading_day, week_start_ns
from bus.values import NS_PER_HOUR

NEW_YORK = ZoneInfo("America/New_York")
_moments = st.integers(to_ns(datetime(2000, 1, 1, tzinfo=UTC)), to_ns(datetime(2037, 1, 1, tzinfo=UTC)))


def at(text):
    """UTC nanoseconds of ``YYYY-MM-DD HH:MM`` New York time."""
    return to_ns(datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=NEW_YORK).astimezone(UTC))


def by_the_wall_clock(ts_ns):
    local = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=ts_ns // 1_000)).astimezone(NEW_YORK)
    return (local.date() + timedelta(days=1 if local.hour >= 17 else 0)).toordinal()


@settings(max_examples=400, deadline=None)
@given(ts_ns=_moments)
def test_the_trading_day_is_what_a_clock_in_new_york_says(ts_ns):
    assert trading_day(ts_ns) == by_the_wall_clock(ts_ns)


@settings(max_examples=300, deadline=None)
@given(ts_ns=_moments)
def test_the_next_rollover_is_the_first_moment_of_the_next_trading_day(ts_ns):
    rollover = next_rollover_ns(ts_ns)
    assert ts_ns < rollover <= ts_ns + 25 * NS_PER_HOUR
    assert trading_day(rollover - 1) == trading_day(ts_ns)
    assert trading_day(rollover) == trading_day(ts_ns) + 1
    assert to_datetime(rollover).astimezone(NEW_YORK).strftime("%H:%M:%S.%f") == "17:00:00.000000"


@pytest.mark.parametrize(
    ("before", "after", "hours"),
    [("2024-03-09 17:00", "2024-03-10 17:00", 23), ("2024-11-02 17:00", "2024-11-03 17:00", 25),
     ("2024-07-01 17:00", "2024-07-02 17:00", 24)],
)  # fmt: skip
def test_the_days_of_changing_clocks_are_an_hour_shorter_or_longer(before, after, hours):
    assert at(after) - at(before) == hours * NS_PER_HOUR
    assert next_rollover_ns(at(before)) == at(after)
    assert trading_day(at(after) - 1) == trading_day(at(before))


@pytest.mark.parametrize(
    ("moment", "day"),
    [("2024-01-05 16:59", date(2024, 1, 5)), ("2024-01-05 17:00", date(2024, 1, 6)),
     ("2024-01-07 17:00", date(2024, 1, 8)), ("2024-12-31 18:00", date(2025, 1, 1)),
     ("2024-02-28 17:00", date(2024, 2, 29))],
)  # fmt: skip
def test_an_evening_belongs_to_the_day_on_which_it_ends(moment, day):
    assert date.fromordinal(trading_day(at(moment))) == day


@pytest.mark.parametrize("week", ["2024-01-05", "2024-03-08", "2024-11-01", "2024-07-05"])
def test_the_market_is_shut_from_friday_evening_to_sunday_evening(week):
    friday = datetime.strptime(week, "%Y-%m-%d").date()
    sunday = friday + timedelta(days=2)
    shut, opens = at(f"{friday} 17:00"), at(f"{sunday} 17:00")
    assert market_open(shut - 1, "fx")
    assert not market_open(shut, "fx")
    assert not market_open(opens - 1, "fx")
    assert market_open(opens, "fx")
    assert market_open(shut, "always")


@settings(max_examples=200, deadline=None)
@given(ts_ns=st.integers(0, 4 * 10**18))
def test_times_survive_the_calendar_to_the_microsecond(ts_ns):
    assert to_ns(to_datetime(ts_ns)) == ts_ns - ts_ns % 1_000


@settings(max_examples=200, deadline=None)
@given(_moments)
def test_a_week_starts_on_sunday_at_five_in_new_york_and_holds_the_moment(ts_ns):
    start_ns = week_start_ns(ts_ns)
    local = to_datetime(start_ns).astimezone(NEW_YORK)
    assert (local.weekday(), local.hour, local.minute) == (6, 17, 0)
    assert start_ns <= ts_ns < start_ns + 169 * 3_600 * 10**9
    assert week_start_ns(start_ns) == start_ns
    assert week_start_ns(start_ns - 1) < start_ns
