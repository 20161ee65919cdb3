"""Outages and the share of trading hours fit to trade, at every boundary."""

import pytest

from bus.messages import LinkChanged
from risk.adherence.rolled import Outage, Service
from risk.adherence.service import Attendance, trading_ns
from tests.harness.desk import HOUR, S, T, quote

ALWAYS = 2**63 - 1
DAY = 24 * HOUR
CLOSE = 3 * DAY + 9 * HOUR  # Friday, 4 May 2018, 21:00 UTC
OPEN = 5 * DAY + 9 * HOUR  # Sunday


def link(at, reason="lost", *, up=False):
    return LinkChanged(up=up, reason=reason, ts_init_ns=T + at)


def out(kind, begin, end, reason, subject=""):
    return Outage(kind=kind, subject=subject, ts_from_ns=T + begin, ts_to_ns=T + end, reason=reason)


def begun(at=0):
    attendance = Attendance()
    attendance.begin(T + at, continues=False)
    return attendance


# --- trading hours -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("begin", "end", "open_ns"),
    [
        (0, HOUR, HOUR),
        (0, 0, 0),
        (HOUR, 0, 0),
        (0, 3 * DAY, 3 * DAY),
        (CLOSE - HOUR, CLOSE + HOUR, HOUR),
        (CLOSE, OPEN, 0),
        (CLOSE - 1, OPEN + 1, 2),
        (OPEN - HOUR, OPEN + 2 * HOUR, 2 * HOUR),
        (0, 7 * DAY, 5 * DAY),
    ],
)
def test_trading_hours_are_those_from_sunday_to_friday_17_new_york(begin, end, open_ns):
    assert trading_ns(T + begin, T + end) == open_ns


# --- the process ---------------------------------------------------------------------------------------------------


def test_time_between_two_journals_of_one_account_is_an_outage_and_between_others_nobodys():
    attendance = begun()
    attendance.seen(T + HOUR)
    attendance.seen(T + HOUR // 2)  # one that came late moves nothing back
    attendance.begin(T + 3 * HOUR, continues=True)
    attendance.seen(T + 4 * HOUR)
    attendance.begin(T + 6 * HOUR, continues=False)
    attendance.seen(T + 7 * HOUR)

    assert attendance.all_outages() == (out("process", HOUR, 3 * HOUR, "between two runs"),)
    assert attendance.service(0, ALWAYS) == Service(expected_ns=5 * HOUR, up_ns=3 * HOUR, uptime=0.6,
                                                    process_down_ns=2 * HOUR)  # fmt: skip
    assert attendance.service(T + 2 * HOUR, T + 7 * HOUR) == Service(
        expected_ns=3 * HOUR, up_ns=2 * HOUR, uptime=2 / 3, process_down_ns=HOUR
    )  # fmt: skip
    assert attendance.service(T + 4 * HOUR, T + 6 * HOUR) == Service()
    at_once = begun()
    at_once.seen(T + HOUR)
    at_once.begin(T + HOUR, continues=True)
    assert at_once.all_outages() == ()
    assert at_once.service(0, ALWAYS).expected_ns == HOUR


def test_a_resumption_ends_an_outage_of_the_process_and_of_the_link():
    attendance = begun()
    attendance.link(link(HOUR))
    attendance.seen(T + 2 * HOUR)
    attendance.resumed(T + 5 * HOUR)
    attendance.seen(T + 6 * HOUR)
    attendance.resumed(T + 6 * HOUR)

    assert attendance.all_outages() == (
        out("link", HOUR, 2 * HOUR, "lost"), out("process", 2 * HOUR, 5 * HOUR, "restarted"),
    )  # fmt: skip
    assert attendance.service(0, ALWAYS) == Service(
        expected_ns=6 * HOUR, up_ns=2 * HOUR, uptime=1 / 3, restarts=2, link_down_ns=HOUR, process_down_ns=3 * HOUR
    )  # fmt: skip
    assert attendance.service(T, T + 5 * HOUR).restarts == 0
    assert attendance.service(T + 5 * HOUR, T + 6 * HOUR).restarts == 1


# --- the link ------------------------------------------------------------------------------------------------------


def test_a_link_that_came_back_is_a_reconnection_and_the_first_reason_stands():
    attendance = begun()
    for each in (link(1, up=True), link(HOUR), link(2 * HOUR, "again"), link(3 * HOUR, up=True),
                 link(4 * HOUR, up=True)):  # fmt: skip
        attendance.link(each)
    attendance.seen(T + 5 * HOUR)

    assert attendance.all_outages() == (out("link", HOUR, 3 * HOUR, "lost"),)
    assert attendance.service(0, ALWAYS).reconnects == 2
    assert attendance.service(T + 3 * HOUR, T + 4 * HOUR).reconnects == 1
    assert attendance.service(T + 3 * HOUR + 1, T + 4 * HOUR).reconnects == 0
    attendance.begin(T + 5 * HOUR, continues=True)
    attendance.link(link(5 * HOUR + 1, up=True))
    assert attendance.service(0, ALWAYS).reconnects == 2, "the first connection of a run is none"


def test_a_link_that_was_back_at_once_was_not_out():
    attendance = begun()
    attendance.link(link(HOUR))
    attendance.link(link(HOUR, up=True))

    assert attendance.all_outages() == ()


def test_a_link_that_is_still_down_is_out_until_the_last_message_and_outages_are_in_order():
    attendance = begun()
    for _ in range(30):
        attendance.quote(quote(0))
    attendance.link(link(HOUR, "first"))
    attendance.link(link(2 * HOUR, up=True))
    attendance.link(link(3 * HOUR, "second"))
    assert attendance.all_outages() == (out("link", HOUR, 2 * HOUR, "first"),)
    attendance.seen(T + 3 * HOUR)
    assert len(attendance.all_outages()) == 1
    attendance.seen(T + 4 * HOUR)
    assert attendance.all_outages() == (
        out("link", HOUR, 2 * HOUR, "first"), out("link", 3 * HOUR, 4 * HOUR, "second"),
    )  # fmt: skip
    assert attendance.service(T, T + 4 * HOUR).link_down_ns == 2 * HOUR
    attendance.begin(T + 6 * HOUR, continues=True)
    assert [each.kind for each in attendance.all_outages()] == ["link", "link", "process"]
    assert attendance.all_outages()[1:] == (
        out("link", 3 * HOUR, 4 * HOUR, "second"), out("process", 4 * HOUR, 6 * HOUR, "between two runs"),
    )  # fmt: skip


def test_outages_over_a_weekend_count_their_trading_hours():
    attendance = begun()
    attendance.link(link(CLOSE - HOUR))
    attendance.link(link(OPEN + HOUR, up=True))
    attendance.seen(T + OPEN + 2 * HOUR)

    service = attendance.service(0, ALWAYS)
    assert (service.link_down_ns, service.expected_ns) == (2 * HOUR, CLOSE + 2 * HOUR)
    assert service.uptime == (CLOSE) / (CLOSE + 2 * HOUR)


# --- prices --------------------------------------------------------------------------------------------------------


def ticking(every=S, count=22, symbol="EURUSD", attendance=None):
    """One price every so often: `count` - 1 intervals."""
    attendance = attendance or begun()
    for number in range(count):
        attendance.quote(quote(number * every, symbol=symbol))
    return attendance, (count - 1) * every


def test_a_silence_of_more_than_a_minute_is_a_gap_where_prices_were_frequent():
    def gaps(silence, **more):
        attendance, at = ticking(**more)
        attendance.quote(quote(at + silence))
        return attendance.all_outages()

    last = 21 * S
    assert gaps(60 * S) == ()
    assert gaps(60 * S + 1) == (out("data", last, last + 60 * S + 1, "no prices", "EURUSD"),)
    assert gaps(61 * S, count=21) == (out("data", 20 * S, 81 * S, "no prices", "EURUSD"),)
    assert gaps(61 * S, count=20) == (), "what is usual is known from the 20th interval on"
    assert gaps(80 * S, every=20 * S) == ()
    assert gaps(80 * S + 1, every=20 * S) == (
        out("data", 21 * 20 * S, 21 * 20 * S + 80 * S + 1, "no prices", "EURUSD"),
    )


def test_what_is_usual_follows_the_mean_interval_and_gaps_are_none_of_it():
    attendance, at = ticking(20 * S, 11)
    for _ in range(10):
        at += 40 * S
        attendance.quote(quote(at))
    # ten intervals of 20 s and ten of 40 s: 30 s is usual, and more than four times that a gap
    attendance.quote(quote(at + 120 * S))
    assert attendance.all_outages() == ()
    attendance, at = ticking(20 * S, 11)
    for _ in range(10):
        at += 40 * S
        attendance.quote(quote(at))
    for _ in range(2):
        attendance.quote(quote(at + 121 * S))
        at += 121 * S
    assert [each.ts_to_ns - each.ts_from_ns for each in attendance.all_outages()] == [121 * S, 121 * S]


def test_a_silence_that_is_just_no_gap_belongs_to_what_is_usual():
    attendance, at = ticking(S, 21)
    for _ in range(20):
        at += 60 * S
        attendance.quote(quote(at))
    attendance.quote(quote(at + 100 * S))

    assert attendance.all_outages() == (), "30.5 s are usual by now"


def test_the_mean_is_of_the_newest_two_hundred_or_so():
    attendance, at = ticking(S, 301)
    for _ in range(300):
        at += 30 * S
        attendance.quote(quote(at))
    usual = 30 - 29 * (1 - 1 / 200) ** 300
    attendance.quote(quote(at + round(4 * usual * S) - S))
    assert attendance.all_outages() == ()
    at += round(4 * usual * S) - S
    for _ in range(3):
        at += 30 * S
        attendance.quote(quote(at))
    attendance.quote(quote(at + 110 * S))
    assert len(attendance.all_outages()) == 1


def test_each_symbol_has_its_own_silence_and_a_gap_counts_where_it_began():
    attendance, at = ticking()
    ticking(symbol="USDJPY", attendance=attendance)
    attendance.quote(quote(at + 100 * S, symbol="USDJPY"))
    attendance.quote(quote(at + 200 * S))
    attendance.seen(T + at + 300 * S)

    assert [(each.subject, each.ts_to_ns - T - at) for each in attendance.all_outages()] == [
        ("USDJPY", 100 * S), ("EURUSD", 200 * S),
    ]  # fmt: skip
    assert attendance.service(T, T + at + 1) == Service(
        expected_ns=at + 1, up_ns=at + 1, data_gaps=2, data_gap_ns=2
    )  # fmt: skip
    assert attendance.service(T + at, T + at + 150 * S).data_gaps == 2
    assert attendance.service(T + at, T + at + 150 * S).data_gap_ns == 250 * S
    assert attendance.service(T, T + at).data_gaps == 0
    assert attendance.service(T + at + 1, ALWAYS).data_gaps == 0
    assert attendance.service(T + at + 1, ALWAYS).data_gap_ns == 300 * S - 2


def test_a_closed_market_a_lost_link_a_restart_and_a_new_journal_are_no_gaps():
    attendance = begun(CLOSE - 22 * S)
    for number in range(22):
        attendance.quote(quote(CLOSE - (22 - number) * S))
    attendance.quote(quote(OPEN + 59 * S))
    assert attendance.all_outages() == (), "the minute is counted in trading hours"
    attendance.quote(quote(OPEN + 121 * S))
    assert len(attendance.all_outages()) == 1
    for interruption in (
        lambda each, at: each.link(link(at + 50 * S, up=True)),
        lambda each, at: each.resumed(T + at + 50 * S),
        lambda each, at: each.begin(T + at + 50 * S, continues=True),
    ):
        attendance, at = ticking()
        attendance.seen(T + at + 50 * S)
        interruption(attendance, at)
        attendance.quote(quote(at + 90 * S))
        assert attendance.all_outages() == ()
        attendance.quote(quote(at + 160 * S))
        assert [each.kind for each in attendance.all_outages()] == ["data"]


def test_before_anything_was_told_nothing_was_expected():
    assert Attendance().service(0, ALWAYS) == Service()
    attendance = begun()
    assert attendance.service(0, ALWAYS) == Service()
    assert attendance.all_outages() == ()
    first = Attendance()
    first.link(link(0, up=True))
    first.begin(T + HOUR, continues=True)
    first.seen(T + 2 * HOUR)
    assert first.all_outages() == (), "there is nothing that the first journal could go on from"
    assert first.service(0, ALWAYS) == Service(expected_ns=HOUR, up_ns=HOUR)
