"""Whatever the server cuts, doubles or adds, and wherever it is interrupted: a download gives the same rows, once."""

from bisect import bisect_right
from datetime import UTC, datetime
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.ctrader.download import BarPlan, TickPlan, complete_end_ns
from adapters.ctrader.messages import openapi
from adapters.ctrader.series import TICK_WINDOW_MS, WINDOW_MS
from adapters.ctrader.venue.extras import put_varint
from adapters.ctrader.venue.tape import bar_open_ns
from adapters.ctrader.wire import PERIODS_NS
from adapters.history.spans import Span, missing, union
from bus.calendar import to_ns
from bus.errors import DataError
from bus.values import NS_PER_HOUR, NS_PER_MS, NS_PER_S

MS = NS_PER_MS
DAY_MS = 86_400_000
MINUTE_MS = 60_000
START_MS = 1_577_836_800_000  # 2020-01-01, a Wednesday
MOST_REQUESTS = 5_000


class Broker:
    """Answers as the reference says, as badly as it allows: cut anywhere, doubled, with rows nobody asked for."""

    def __init__(self, dice, *, bars=(), sides=None, longest_ms=None):
        self.dice = dice
        self.bars = sorted(bars)
        self.sides = sides or {}
        self.longest_ms = longest_ms
        self.asked = 0

    def answer(self, request):
        """The answer; None = the window is refused as too long."""
        self.asked += 1
        assert self.asked < MOST_REQUESTS, "it does not end"
        start, stop = request.fromTimestamp, request.toTimestamp
        bars = "Trendbars" in request.DESCRIPTOR.name
        assert 0 <= start <= stop
        assert stop - start <= (WINDOW_MS[request.period] if bars else TICK_WINDOW_MS)
        if self.longest_ms is not None and stop - start > self.longest_ms:
            return None
        return self._bars(request, start, stop) if bars else self._ticks(request, start, stop)

    def _bars(self, request, start, stop):
        inside = [row for row in self.bars if start <= row[0] <= stop]
        kept = inside[-self.dice(1, 4) :]
        rows = list(kept)
        if self.dice(0, 3) == 0:
            rows += [rows[self.dice(0, len(rows) - 1)] for _ in range(2) if rows]
        if self.dice(0, 3) == 0 and len(kept) == len(inside):
            rows += [row for row in self.bars if row[0] < start][-2:]  # the start is no bound to it
        if self.dice(0, 3) == 0 and kept:
            rows += [row for row in self.bars if row[0] > stop][:2]
        if self.dice(0, 3) == 0:
            rows.reverse()
        out = openapi.ProtoOAGetTrendbarsRes(ctidTraderAccountId=1, period=request.period, timestamp=stop)
        for opens_ms, low in rows:
            out.trendbar.add(
                volume=3, low=low, deltaOpen=1, deltaHigh=9, deltaClose=4, utcTimestampInMinutes=opens_ms // MINUTE_MS
            )
        if self.dice(0, 1):
            put_varint(out, 7, int(len(kept) < len(inside)))  # or it says nothing of having been cut
        return out

    def _ticks(self, request, start, stop):
        side = self.sides[request.type]
        inside = [row for row in side if start <= row[0] <= stop]
        kept = inside[-self.dice(1, 4) :]
        rows = list(kept)
        if self.dice(0, 3) == 0 and rows:
            row = self.dice(0, len(rows) - 1)
            rows.insert(row, rows[row])
        if self.dice(0, 3) == 0 and kept:
            rows += [row for row in side if row[0] > stop][:2]
        if self.dice(0, 3) == 0 and len(kept) == len(inside):
            rows = [row for row in side if row[0] < start][-2:] + rows
        more = len(kept) < len(inside) and self.dice(0, 1) == 1
        out = openapi.ProtoOAGetTickDataRes(ctidTraderAccountId=1, hasMore=more)
        last = (0, 0)
        for row in reversed(rows):
            out.tickData.add(timestamp=row[0] - last[0], tick=row[1] - last[1])
            last = row
        return out


class Kept:
    """What a download has handed out; refuses what it has already."""

    def __init__(self):
        self.spans = ()
        self.rows = []

    def take(self, parts):
        for span, series in parts:
            assert span.length_ns > 0
            assert missing(span, self.spans) == (span,), "a span is handed out twice"
            self.spans = union([*self.spans, span])
            self.rows += rows_of(series, span)


def rows_of(series, span):
    times = series.ts_open_ns if hasattr(series, "period_ns") else series.ts_ns
    assert np.all(np.diff(times) > 0)
    assert np.all((times >= span.start_ns) & (times < span.end_ns))
    if hasattr(series, "period_ns"):
        columns = (series.open_e5, series.high_e5, series.low_e5, series.close_e5, series.quotes)
    else:
        columns = (series.bid_e5, series.ask_e5)
    return list(zip((times // MS).tolist(), *(column.tolist() for column in columns), strict=True))


def download(broker, span, plan_of, dice):
    """Fetch a span, interrupted wherever the dice say so, and planned anew from what was kept."""
    kept = Kept()
    while True:
        gaps = missing(span, kept.spans)
        if not gaps:
            return sorted(kept.rows)
        plan, life = plan_of(gaps[dice(0, len(gaps) - 1)]), dice(1, 30)
        while life and (request := plan.request()) is not None:
            life -= 1
            answer = broker.answer(request)
            if answer is None:
                assert plan.shorten()
                continue
            left = plan.left_ns
            kept.take(plan.take(answer))
            assert plan.left_ns <= left


DICE = st.integers(0, 2**32).map(lambda seed: Random(seed).randint)
"""How the server behaves, and where it is interrupted."""


# --- bars --------------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(st.data(), DICE)
def test_bars_are_the_same_however_the_server_cuts_and_wherever_it_is_interrupted(data, dice):
    period = data.draw(st.sampled_from((1, 5, 7, 9, 10, 12, 13)))
    length_ms = PERIODS_NS[period] // MS
    places = data.draw(st.sets(st.integers(-40, 300), max_size=25))
    spread = data.draw(st.sampled_from((1, 1, 97 if period < 12 else 2)))  # dense, or with gaps longer than a window
    bars = [(START_MS + place * spread * length_ms, 100_000 + place % 7) for place in places]
    first = data.draw(st.integers(0, 100)) * length_ms * spread
    span = Span((START_MS + first) * MS, (START_MS + first + data.draw(st.integers(1, 150)) * length_ms * spread) * MS)
    refused = data.draw(st.sampled_from((None, None, WINDOW_MS[period] // 10)))
    broker = Broker(dice, bars=bars, longest_ms=refused)

    found = download(broker, span, lambda gap: BarPlan(1, 1, "EURUSD", period, gap), dice)

    assert found == [
        (opens, low + 1, low + 9, low, low + 4, 3)
        for opens, low in sorted(bars)
        if span.start_ns <= opens * MS < span.end_ns
    ]


# --- ticks -------------------------------------------------------------------------------------------------------


def side(data, cluster):
    """Ticks of one side in the order of time: sparse, in bursts, several in a millisecond."""
    times = sorted(data.draw(st.lists(st.integers(-20 * DAY_MS // cluster, 8 * DAY_MS // cluster), max_size=25)))
    return [(START_MS + moment * cluster, data.draw(st.integers(100_000, 100_006))) for moment in times]


def merged(sides, span):
    """The quotes of a span, by a plain walk: the last price of each side within a week before the day, or none."""
    newest = {number: dict(rows) for number, rows in sides.items()}
    moments = {number: sorted(found) for number, found in newest.items()}
    rows = []
    for moment in sorted({*newest[1], *newest[2]}):
        if not span.start_ns <= moment * MS < span.end_ns:
            continue
        floor = moment // DAY_MS * DAY_MS - 7 * DAY_MS
        prices = []
        for number in (1, 2):
            place = bisect_right(moments[number], moment)
            if place and moments[number][place - 1] >= floor:
                prices.append(newest[number][moments[number][place - 1]])
        if len(prices) == 2 and prices[0] <= prices[1]:
            rows.append((moment, *prices))
    return rows


@settings(max_examples=150, deadline=None)
@given(st.data(), DICE)
def test_ticks_are_the_same_however_the_server_cuts_and_wherever_it_is_interrupted(data, dice):
    cluster = data.draw(st.sampled_from((1, 3_600_000, 20_000_000)))
    sides = {1: side(data, cluster), 2: side(data, cluster)}
    first = data.draw(st.integers(-2 * 24, 3 * 24)) * 3_600_000
    span = Span((START_MS + first) * MS, (START_MS + first + data.draw(st.integers(1, 100)) * 3_600_000) * MS)
    refused = data.draw(st.sampled_from((None, None, DAY_MS)))
    broker = Broker(dice, sides=sides, longest_ms=refused)

    found = download(broker, span, lambda gap: TickPlan(1, 1, "EURUSD", gap), dice)

    assert found == merged(sides, span)


def test_two_ticks_of_one_millisecond_on_two_pages_are_one_row_with_the_newer_price():
    moment = START_MS + 5_000
    sides = {1: [(moment, 100_001), (moment, 100_002), (moment, 100_003)], 2: [(START_MS, 100_010)]}
    broker = Broker(lambda low, high: low, sides=sides)  # a page is one tick
    span = Span(START_MS * MS, (START_MS + DAY_MS) * MS)

    found = download(broker, span, lambda gap: TickPlan(1, 1, "EURUSD", gap), lambda low, high: high)

    assert found == [(moment, 100_003, 100_010)]


def test_a_days_first_quote_rests_on_a_price_of_the_week_before_that_day_and_on_none_before():
    for age_ms, rows in ((7 * DAY_MS, 1), (7 * DAY_MS + 1, 0)):
        moment = START_MS + 20 * 3_600_000
        sides = {1: [(START_MS - age_ms, 100_001)], 2: [(moment, 100_010)]}
        for hour in (0, 12):
            span = Span((START_MS + hour * 3_600_000) * MS, (START_MS + DAY_MS) * MS)
            broker = Broker(lambda low, high: high, sides=sides)
            found = download(broker, span, lambda gap: TickPlan(1, 1, "EURUSD", gap), lambda low, high: high)
            assert found == [(moment, 100_001, 100_010)] * rows


# --- how much is asked --------------------------------------------------------------------------------------------


def whole_pages(low, high):
    """A server that cuts at its limit and does nothing else."""
    return high


def test_bars_cost_a_request_a_page():
    bars = [(START_MS + minute * MINUTE_MS, 100_000) for minute in range(40)]
    broker = Broker(whole_pages, bars=bars)  # four to a page
    found = download(broker, Span(START_MS * MS, (START_MS + 40 * MINUTE_MS) * MS),
                     lambda gap: BarPlan(1, 1, "EURUSD", 1, gap), whole_pages)  # fmt: skip

    assert len(found) == 40
    assert broker.asked == 10  # the oldest bar opens where the span begins, so nothing can be before it


def test_ticks_cost_a_request_a_page_and_side_and_days_are_handed_out_on_the_way():
    sides = {
        number: [(START_MS - DAY_MS + tick * 3_600_000, 100_000 + tick % 5 + 9 * number) for tick in range(96)]
        for number in (1, 2)
    }
    broker, plan = (
        Broker(whole_pages, sides=sides),
        TickPlan(1, 1, "EURUSD", Span(START_MS * MS, (START_MS + 3 * DAY_MS) * MS)),
    )
    days = []
    while (request := plan.request()) is not None:
        days += [(span, broker.asked) for span, _ in plan.take(broker.answer(request))]

    assert broker.asked == 2 * (72 // 4 + 1)  # and one each for the price before the span
    assert [asked for _, asked in days] == [14, 26, 38]


# --- servers that lie ---------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(st.data(), st.booleans())
def test_a_server_that_makes_no_sense_ends_a_download_too_and_gets_nothing_counted_twice(data, bars):
    span = Span(START_MS * MS, (START_MS + 3 * DAY_MS) * MS)
    plan = BarPlan(1, 1, "EURUSD", 1, span) if bars else TickPlan(1, 1, "EURUSD", span)
    kept, asked = Kept(), 0
    while (request := plan.request()) is not None and asked < MOST_REQUESTS:
        asked += 1
        times = data.draw(st.lists(st.integers(START_MS - 9 * DAY_MS, START_MS + 9 * DAY_MS), max_size=3))
        more = data.draw(st.booleans())
        if bars:
            answer = openapi.ProtoOAGetTrendbarsRes(ctidTraderAccountId=1, period=1, timestamp=0)
            for moment in times:
                answer.trendbar.add(volume=1, low=5, utcTimestampInMinutes=moment // MINUTE_MS)
            put_varint(answer, 7, int(more))
        else:
            answer = openapi.ProtoOAGetTickDataRes(ctidTraderAccountId=1, hasMore=more)
            last = 0
            for moment in sorted(times, reverse=True):
                answer.tickData.add(timestamp=moment - last, tick=5 if not last else 0)
                last = moment
        assert request.fromTimestamp <= request.toTimestamp
        try:
            kept.take(plan.take(answer))
        except DataError:
            return
    assert asked < MOST_REQUESTS
    assert kept.spans == (span,)


def test_a_server_that_always_tells_the_newest_does_not_pass_for_one_that_has_nothing_older():
    plan = BarPlan(1, 1, "EURUSD", 9, Span(START_MS * MS, (START_MS + 300 * DAY_MS) * MS))
    answer = openapi.ProtoOAGetTrendbarsRes(ctidTraderAccountId=1, period=9, timestamp=0)
    answer.trendbar.add(volume=1, low=5, utcTimestampInMinutes=(START_MS + 400 * DAY_MS) // MINUTE_MS)
    for _ in range(6):
        assert plan.take(answer) == []
    with pytest.raises(DataError, match="contradict themselves"):
        plan.take(answer)


def test_nothing_and_more_to_come_shortens_the_window_and_is_an_error_in_the_end():
    plan = BarPlan(1, 1, "EURUSD", 9, Span(START_MS * MS, (START_MS + 300 * DAY_MS) * MS))
    answer = openapi.ProtoOAGetTrendbarsRes(ctidTraderAccountId=1, period=9, timestamp=0)
    put_varint(answer, 7, 1)
    windows = []
    for _ in range(6):
        windows.append(plan.request().toTimestamp - plan.request().fromTimestamp)
        assert plan.take(answer) == []
    with pytest.raises(DataError, match="contradict themselves"):
        plan.take(answer)
    assert windows == sorted(set(windows), reverse=True)


# --- the present --------------------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(
    st.sampled_from(sorted(PERIODS_NS)),
    st.sampled_from(
        [datetime(2024, 3, 10, tzinfo=UTC), datetime(2024, 11, 3, tzinfo=UTC), datetime(2024, 6, 1, tzinfo=UTC)]
    ),
    st.integers(-3 * 24, 3 * 24),
    st.integers(-130, 200),
)
def test_no_bar_counts_as_complete_while_it_may_still_change_in_the_nights_of_the_clock_change_too(
    period, around, hour, minutes_after
):
    opens_ns = bar_open_ns(period, to_ns(around) + hour * NS_PER_HOUR)
    newest_ns = opens_ns + PERIODS_NS[period] + minutes_after * 60 * NS_PER_S
    complete = opens_ns < complete_end_ns(period, newest_ns)

    if complete:
        assert bar_open_ns(period, newest_ns - 60 * NS_PER_S) > opens_ns, "it is the one that forms"
    assert complete or minutes_after <= 61, "it would wait for ever"


def test_ticks_of_the_newest_minute_and_of_the_one_before_it_are_left_for_later():
    newest_ns = START_MS * MS
    assert complete_end_ns(None, newest_ns) == newest_ns - 60 * NS_PER_S
