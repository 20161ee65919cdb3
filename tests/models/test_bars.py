"""Quotes become bars."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.messages import Quote
from models.bars import BarBuilder, BarWindow
from tests.harness.markets import bar_at, made_up_bars

P = 60


def quote(ts, bid, ask=None):
    return Quote(symbol="EURUSD", bid_e5=bid, ask_e5=bid + 10 if ask is None else ask, ts_event_ns=ts, ts_init_ns=ts)


def build(*quotes):
    builder = BarBuilder("EURUSD", P)
    return builder, [bar for bar in map(builder.on_quote, quotes) if bar]


def test_a_quote_at_the_boundary_closes_the_bar_and_belongs_to_the_next():
    builder, bars = build(quote(60, 100), quote(70, 105), quote(80, 95), quote(119, 101, 120), quote(120, 300))
    (bar,) = bars
    assert (bar.ts_open_ns, bar.ts_close_ns) == (60, 120)
    assert (bar.open_e5, bar.high_e5, bar.low_e5, bar.close_e5) == (100, 105, 95, 101)
    assert (bar.spread_e5, bar.quotes) == (19, 4)
    following = builder.on_time(180)
    assert (following.open_e5, following.close_e5, following.quotes) == (300, 300, 1)


def test_bars_start_at_multiples_of_the_period_wherever_the_first_quote_falls():
    builder, _ = build(quote(60 * 7 + 59, 100))
    assert builder.end_ns == 60 * 8
    assert builder.on_time(60 * 8).ts_open_ns == 60 * 7


def test_the_clock_closes_a_bar_exactly_at_its_end_and_once():
    builder, _ = build(quote(65, 100))
    assert builder.on_time(119) is None
    assert builder.on_time(120).close_e5 == 100
    assert builder.on_time(120) is None
    assert builder.on_time(500) is None


def test_a_period_without_quotes_makes_no_bar():
    builder, bars = build(quote(0, 100), quote(60 * 10 + 1, 101), quote(60 * 20, 102))
    assert [bar.ts_open_ns for bar in bars] == [0, 600]
    assert builder.end_ns == 60 * 21


def test_a_late_quote_is_counted_and_changes_nothing():
    builder, bars = build(quote(60, 100), quote(120, 110), quote(119, 999), quote(121, 111))
    assert builder.late == 1
    bar = builder.on_time(180)
    assert (bar.open_e5, bar.high_e5, bar.close_e5, bar.quotes) == (110, 111, 111, 2)
    assert len(bars) == 1


def test_a_quote_for_a_bar_the_clock_has_closed_is_late():
    builder, _ = build(quote(60, 100))
    assert builder.on_time(120) is not None
    assert builder.on_quote(quote(119, 50)) is None
    assert builder.late == 1
    assert builder.on_quote(quote(125, 70)) is None
    assert builder.on_time(180).open_e5 == 70


def test_a_period_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="must be positive"):
        BarBuilder("EURUSD", 0)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(90, 110), st.integers(0, 5)), min_size=1, max_size=60),
    st.booleans(),
)
def test_bars_tell_what_a_plain_grouping_of_the_quotes_tells(steps, ticking):
    builder, quotes, bars, now = BarBuilder("EURUSD", P), [], [], 0
    for wait, bid, spread in steps:
        now += wait
        if ticking:
            bars.append(builder.on_time(now))
        quotes.append(quote(now, bid, bid + spread))
        bars.append(builder.on_quote(quotes[-1]))
    bars.append(builder.on_time(now + P))
    groups = {}
    for one in quotes:
        groups.setdefault(one.ts_event_ns // P, []).append(one)
    expected = [
        (
            key * P,
            group[0].bid_e5,
            max(q.bid_e5 for q in group),
            min(q.bid_e5 for q in group),
            group[-1].bid_e5,
            group[-1].ask_e5 - group[-1].bid_e5,
            len(group),
        )
        for key, group in groups.items()
    ]
    got = [
        (b.ts_open_ns, b.open_e5, b.high_e5, b.low_e5, b.close_e5, b.spread_e5, b.quotes) for b in bars if b is not None
    ]
    assert got == expected
    assert builder.late == 0


def test_a_window_keeps_the_newest_bars_in_order_and_ignores_a_bar_told_twice():
    series = made_up_bars(20, 1)
    window = BarWindow("EURUSD", series.period_ns, capacity=8)
    for row in range(20):
        window.append(bar_at(series, row))
        window.append(bar_at(series, row))
        window.append(bar_at(series, max(0, row - 3)))
    assert len(window) == 8
    request = window.request("r", as_of_ns=5, horizons=(1, 4), deadline_ns=9)
    assert request.close_e5 == tuple(series.close_e5[12:].tolist())
    assert request.ts_open_ns == tuple(series.ts_open_ns[12:].tolist())
    assert request.spread_e5 == tuple(series.spread_e5[12:].tolist())
    assert (request.request_id, request.as_of_ns, request.horizons, request.deadline_ns) == ("r", 5, (1, 4), 9)
