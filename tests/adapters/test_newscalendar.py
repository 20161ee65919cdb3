"""Calendars of news: what is read, and what is said of a bad file."""

from datetime import UTC, datetime

import pytest

from adapters.newscalendar import MOST_EVENTS, read_calendar
from bus.calendar import to_ns
from bus.errors import DataError


def at(*parts):
    return to_ns(datetime(*parts, tzinfo=UTC))


def read(tmp_path, text, zone="UTC"):
    file = tmp_path / "calendar"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_calendar(file, zone)


def test_a_csv_is_read_by_the_names_of_its_columns_in_order_of_time(tmp_path):
    events = read(tmp_path, (
        "title,impact,currency,time,actual\r\n"
        '"Payrolls, total",High,USD,2024-05-03T12:30:00Z,1\r\n\r\n'
        "Rate,2,EUR,2024-05-02 14:15,\r\n"
    ), zone="Europe/Berlin")  # fmt: skip

    assert [(e.ts_ns, e.currency, e.impact, e.title) for e in events] == [
        (at(2024, 5, 2, 12, 15), "EUR", 2, "Rate"),
        (at(2024, 5, 3, 12, 30), "USD", 3, "Payrolls, total"),
    ]


def test_date_and_time_may_stand_apart_and_a_byte_order_mark_is_no_column(tmp_path):
    (event,) = read(tmp_path, "\ufeffdate,time,currency,impact\n2024-01-10,08:30,JPY,low\n", zone="America/New_York")

    assert (event.ts_ns, event.impact, event.title) == (at(2024, 1, 10, 13, 30), 1, "")


ICS = """BEGIN:VCALENDAR\r
BEGIN:VEVENT\r
DTSTART;TZID=America/New_York:20240503T083000\r
SUMMARY:Nonfarm Payrolls\\, all of\r
  them (USD)\r
PRIORITY:6\r
END:VEVENT\r
BEGIN:VEVENT\r
DTSTART:20240502T120000Z\r
SUMMARY:ECB rate\r
CATEGORIES:EUR,medium\r
END:VEVENT\r
BEGIN:VEVENT\r
DTSTART;VALUE=DATE:20240501\r
SUMMARY:EUR holiday\r
END:VEVENT\r
BEGIN:VEVENT\r
DTSTART:20240504T090000\r
SUMMARY:Speech\r
X-CURRENCY:GBP\r
END:VEVENT\r
END:VCALENDAR\r
"""


def test_an_ics_is_read_with_zones_folded_lines_and_impacts_and_whole_days_are_left_out(tmp_path):
    events = read(tmp_path, ICS, zone="Europe/London")

    assert [(e.ts_ns, e.currency, e.impact, e.title) for e in events] == [
        (at(2024, 5, 2, 12, 0), "EUR", 2, "ECB rate"),
        (at(2024, 5, 3, 12, 30), "USD", 1, "Nonfarm Payrolls, all of them (USD)"),
        (at(2024, 5, 4, 8, 0), "GBP", 3, "Speech"),
    ]


HEAD = "time,currency,impact\n"
VEVENT = "BEGIN:VCALENDAR\nBEGIN:VEVENT\n{}\nEND:VEVENT\nEND:VCALENDAR\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no event in it"),
        (HEAD, "no event in it"),
        ("when,currency,impact\n", "line 1: no column 'time'; begin with time,currency,impact,title"),
        (HEAD + "soon,USD,high\n", "line 2: 'soon' has no day or no hour"),
        (HEAD + "2024-05-01,USD,high\n", "line 2: '2024-05-01' has no day or no hour"),
        (HEAD + "05/01/2024 12:30,USD,high\n", "line 2: '05/01/2024 12:30' is no time; write for instance 2024-05-01T"),
        (HEAD + "2024-05-01T12:30,dollar,high\n", "line 2: 'dollar' is no currency; write three capitals"),
        (HEAD + "2024-05-01T12:30,USD,huge\n", "line 2: 'huge' is no impact; write low, medium or high"),
        (HEAD + "2024-05-01T12:30,USD\n", "line 2: '' is no impact"),
        (HEAD + '"2024', "line 2: no CSV"),
        (b"time\xff", "no UTF-8 text (byte 4)"),
        (HEAD + "2024-05-01T12:30,USD,high\n" * (MOST_EVENTS + 1), f"more than {MOST_EVENTS} events"),
        (VEVENT.format("SUMMARY:USD x"), "line 2: an event without DTSTART"),
        (VEVENT.format("DTSTART:2024-05-01\nSUMMARY:USD x"), "line 3: '2024-05-01' is no time"),
        (VEVENT.format("DTSTART:20241301T120000Z\nSUMMARY:USD x"), "line 3: '2024-13-01T12:00:00' is no time"),
        (VEVENT.format("DTSTART;TZID=Mars/Base:20240501T120000\nSUMMARY:USD x"), "line 3: 'Mars/Base' is no time zone"),
        (VEVENT.format("DTSTART:20240501T120000Z\nSUMMARY:Payrolls"), "line 2: no currency in CATEGORIES or SUMMARY"),
        (VEVENT.format("DTSTART:20240501T120000Z\nRRULE:FREQ=DAILY\nSUMMARY:USD x"), "line 4: events that repeat"),
        ("BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:20240501T120000Z\n", "line 2: an event that does not end"),
        ("BEGIN:VCALENDAR\nEND:VEVENT\n", "line 2: END:VEVENT without its BEGIN"),
    ],
)  # fmt: skip
def test_a_bad_file_is_one_line_with_the_file_the_line_and_what_to_write(tmp_path, text, says):
    with pytest.raises(DataError) as caught:
        read(tmp_path, text)
    assert says in str(caught.value)
    assert str(tmp_path / "calendar") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_said_to_be(tmp_path):
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_calendar(tmp_path / "none.csv", "UTC")
