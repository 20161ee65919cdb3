"""Bars become quotes and back; the spread; longer bars."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.history import SpreadModel, clamped, quotes, resample
from bus.calendar import to_ns
from bus.errors import DataError
from bus.series import BarSeries, TickSeries

HOUR = 3_600 * 10**9
MINUTE = 60 * 10**9
QUIET = SpreadModel(rollover_factor=1)


def bars(rows, *, period_ns=HOUR, opens=None, spread=None, ask=None):
    table = np.asarray(rows, np.int64)
    ts = np.asarray(opens if opens is not None else np.arange(len(rows)) * period_ns + 400_000 * HOUR, np.int64)
    return BarSeries(
        symbol="EURUSD", period_ns=period_ns, ts_open_ns=ts, open_e5=table[:, 0], high_e5=table[:, 1],
        low_e5=table[:, 2], close_e5=table[:, 3], quotes=np.ones(len(rows), np.int64),
        spread_e5=None if spread is None else np.asarray(spread, np.int64),
        ask_e5=None if ask is None else np.asarray(ask, np.int64),
    )  # fmt: skip


@st.composite
def series(draw):
    period = draw(st.sampled_from([MINUTE, 900 * 10**9, HOUR, 7 * 10**9 + 1]))
    count = draw(st.integers(1, 12))
    gaps = draw(st.lists(st.integers(1, 40), min_size=count, max_size=count))
    rows = []
    for _ in range(count):
        low = draw(st.integers(1, 200_000))
        spread = draw(st.integers(0, 300))
        first, last = draw(st.integers(low, low + spread)), draw(st.integers(low, low + spread))
        rows.append((first, low + spread, low, last))
    return bars(rows, period_ns=period, opens=(np.cumsum(gaps) + 1_000_000) * period)


def rebuild(stream, period_ns):
    """The plainest bar builder there is, sharing nothing with the code under test."""
    built = {}
    for quote in stream:
        key = quote.ts_event_ns - quote.ts_event_ns % period_ns
        first, high, low, _ = built.get(key, (quote.bid_e5, quote.bid_e5, quote.bid_e5, 0))
        built[key] = (first, max(high, quote.bid_e5), min(low, quote.bid_e5), quote.bid_e5)
    return built


@settings(max_examples=200, deadline=None)
@given(series())
def test_bars_turned_into_quotes_and_rebuilt_are_the_same_bars(original):
    stream = list(quotes(original, spread=SpreadModel()))
    rebuilt = rebuild(stream, original.period_ns)
    expected = zip(original.open_e5, original.high_e5, original.low_e5, original.close_e5, strict=True)
    assert list(rebuilt) == original.ts_open_ns.tolist()
    assert list(rebuilt.values()) == [tuple(int(price) for price in row) for row in expected]
    times = [quote.ts_event_ns for quote in stream]
    assert times == sorted(times)
    assert all(type(quote.bid_e5) is int and quote.ask_e5 > quote.bid_e5 > 0 for quote in stream)


@settings(max_examples=50, deadline=None)
@given(series(), st.data())
def test_a_part_of_a_series_gives_the_part_of_its_quotes(original, data):
    start = data.draw(st.integers(0, len(original)))
    stop = data.draw(st.integers(start, len(original) + 2))
    whole = list(quotes(original, spread=SpreadModel()))
    part = list(quotes(original, spread=SpreadModel(), start=start, stop=stop))
    # The last bar of a part may reach further than it did before a neighbour that overlaps it; here none overlaps.
    assert part == whole[4 * start : 4 * stop]


def test_a_bullish_bar_visits_its_low_first_and_a_bearish_one_its_high():
    stream = list(quotes(bars([(100, 120, 90, 110), (110, 120, 90, 100), (100, 120, 90, 100)]), spread=QUIET))
    assert [quote.bid_e5 for quote in stream] == [100, 90, 120, 110, 110, 120, 90, 100, 100, 90, 120, 100]
    start = 400_000 * HOUR
    times = [quote.ts_event_ns - start for quote in stream[:4]]
    assert times == [0, HOUR // 3, 2 * HOUR // 3, HOUR - 10**6]
    assert all(quote.ts_event_ns == quote.ts_init_ns and quote.symbol == "EURUSD" for quote in stream)


def test_a_bar_cut_short_by_the_next_one_ends_before_it_begins():
    start = 400_000 * HOUR
    short = bars([(100, 120, 90, 110)] * 2, period_ns=4 * HOUR, opens=[start, start + 3 * HOUR])
    for part in (quotes(short, spread=QUIET), quotes(short, spread=QUIET, stop=1)):
        assert next(quote.ts_event_ns for i, quote in enumerate(part) if i == 3) == start + 3 * HOUR - 10**6


def test_order_holds_over_many_chunks():
    many = bars([(100, 120, 90, 110), (110, 115, 95, 96)] * 10_000, period_ns=MINUTE)
    times = np.asarray([quote.ts_event_ns for quote in quotes(many, spread=QUIET)])
    assert len(times) == 80_000
    assert (np.diff(times) > 0).all()


def test_two_sided_bars_use_their_own_ask_and_lift_a_crossed_one_to_the_bid():
    rows = [(100, 120, 90, 110), (110, 120, 90, 100)]
    asked = bars(rows, ask=[(101, 122, 93, 114), (109, 125, 96, 107)])
    stream = list(quotes(asked, spread=QUIET))
    assert [quote.ask_e5 - quote.bid_e5 for quote in stream] == [1, 3, 2, 4, 0, 5, 6, 7]
    assert clamped(asked) == 1
    assert clamped(bars(rows)) == 0


def test_a_recorded_spread_is_used_and_zero_means_not_recorded():
    stream = list(quotes(bars([(100, 120, 90, 110)] * 2, spread=[5, 0]), spread=QUIET))
    assert [quote.ask_e5 - quote.bid_e5 for quote in stream] == [5] * 4 + [8] * 4


@pytest.mark.parametrize(("month", "rollover_hour"), [(1, 22), (7, 21)])
def test_the_spread_is_three_times_as_wide_in_the_hour_around_the_rollover_of_the_season(month, rollover_hour):
    rollover = to_ns(datetime(2020, month, 15, rollover_hour, tzinfo=UTC))
    near = np.asarray([rollover - 30 * MINUTE, rollover - 29 * MINUTE, rollover, rollover + 29 * MINUTE,
                       rollover + 30 * MINUTE, rollover + 12 * HOUR])  # fmt: skip
    assert SpreadModel().spread_e5(near, np.zeros(6, np.int64)).tolist() == [8, 24, 24, 24, 8, 8]


def test_the_spread_follows_the_pip_and_the_range_of_the_bar():
    noon = np.asarray([to_ns(datetime(2020, 1, 15, 12, tzinfo=UTC))])
    assert SpreadModel(pip_e5=1000).spread_e5(noon, np.asarray([0])).tolist() == [800]
    assert SpreadModel(range_millis=50).spread_e5(noon, np.asarray([110])).tolist() == [14]  # 8 + 5.5, half away


@pytest.mark.parametrize("wrong", [{"pip_e5": 0}, {"rollover_factor": 0}, {"base_millipips": -1}, {"range_millis": -1}])
def test_a_spread_model_that_could_cross_quotes_is_refused(wrong):
    with pytest.raises(DataError, match="spread model"):
        SpreadModel(**wrong)


def test_ticks_are_passed_as_they_are():
    ticks = TickSeries(symbol="GBPUSD", ts_ns=np.asarray([1, 1, 5]), bid_e5=np.asarray([10, 11, 12]),
                       ask_e5=np.asarray([11, 11, 15]))  # fmt: skip
    found = [(q.ts_event_ns, q.bid_e5, q.ask_e5) for q in quotes(ticks, spread=SpreadModel())]
    assert found == [(1, 10, 11), (1, 11, 11), (5, 12, 15)]


@settings(max_examples=100, deadline=None)
@given(series(), st.integers(1, 6))
def test_longer_bars_are_those_a_plain_builder_makes_of_the_same_quotes(original, factor):
    period = original.period_ns * factor
    longer = resample(original, period)
    longer.check()
    rebuilt = rebuild(quotes(original, spread=QUIET), period)
    assert list(rebuilt) == longer.ts_open_ns.tolist()
    columns = (longer.open_e5, longer.high_e5, longer.low_e5, longer.close_e5)
    assert list(rebuilt.values()) == [tuple(int(price) for price in row) for row in zip(*columns, strict=True)]
    assert longer.quotes.sum() == original.quotes.sum()


def test_longer_bars_keep_the_last_spread_and_both_sides():
    start = 400_000 * HOUR
    opens = [start, start + 30 * MINUTE]
    asked = bars([(100, 120, 90, 110), (110, 130, 95, 100)], period_ns=30 * MINUTE, opens=opens, spread=[4, 7],
                 ask=[(101, 125, 91, 114), (112, 133, 97, 107)])  # fmt: skip
    hour = resample(asked, HOUR)
    assert hour.ask_e5.tolist() == [[101, 133, 91, 107]]
    assert hour.spread_e5.tolist() == [7]


def test_ticks_become_bars_with_their_spread_and_count():
    ticks = TickSeries(symbol="GBPUSD", ts_ns=np.asarray([HOUR, HOUR + 1, 2 * HOUR]), bid_e5=np.asarray([10, 8, 12]),
                       ask_e5=np.asarray([11, 11, 15]))  # fmt: skip
    made = resample(ticks, HOUR)
    assert (made.open_e5.tolist(), made.low_e5.tolist(), made.close_e5.tolist()) == ([10, 12], [8, 12], [8, 12])
    assert (made.quotes.tolist(), made.spread_e5.tolist(), made.ts_open_ns.tolist()) == (
        [2, 1],
        [3, 3],
        [HOUR, 2 * HOUR],
    )


def test_bars_that_do_not_fit_into_longer_ones_are_refused():
    with pytest.raises(DataError, match="cannot be made from"):
        resample(bars([(100, 120, 90, 110)]), 90 * MINUTE)
