"""Named patterns: textbook shapes and near misses of candles and formations, and how they become messages."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from bus.codec import decode, encode
from models.chart import ATR_BARS, REVERSAL, Chart, grade, least
from models.chartpatterns._breaking import Line, breaks_out
from models.columns import Columns, from_request, from_series
from models.patterns import MODEL_ID, Named, look, named, scan
from models.pivots import Pivot
from tests.harness.markets import made_up_bars, replaced_after, request_at, simulated

QUIET = [(1000, 1050, 950, 1000)] * (ATR_BARS + 2)
"""Candles with a true range of 100."""


def market(*candles, quotes=(), before=QUIET):
    rows = np.array([*before, *candles], np.int64)
    counted = np.full(len(rows), 100)
    if quotes:
        counted[-len(quotes) :] = quotes
    return Columns(
        period_ns=60,
        ts_open_ns=np.arange(len(rows)) * 60,
        open_e5=rows[:, 0],
        high_e5=rows[:, 1],
        low_e5=rows[:, 2],
        close_e5=rows[:, 3],
        spread_e5=rows[:, 0] * 0,
        quotes=counted,
    )


def path(*turns, bars=8):
    """Candles of range 100 along straight legs of `bars` candles each between turning points, in hundredths of ATR."""
    closes = np.concatenate([np.linspace(a, b, bars + 1)[1:] for a, b in pairwise(turns)])
    opens = np.r_[turns[0], closes[:-1]]
    slack = np.maximum(0, 100 - np.abs(closes - opens)) / 2
    high, low = np.maximum(opens, closes) + slack, np.minimum(opens, closes) - slack
    return [tuple(int(value) for value in row) for row in np.round(np.stack((opens, high, low, closes), 1) + 10_000)]


def names(columns):
    return {(one.name, one.direction) for one in named(columns)}


def upside_down(*candles):
    return [(2000 - opening, 2000 - low, 2000 - high, 2000 - close) for opening, high, low, close in candles]


SHAPES = [
    ([(1010, 1020, 980, 990), (985, 1110, 980, 1100)], "bullish_engulfing", "bearish_engulfing"),
    ([(1010, 1020, 980, 990), (999, 1110, 980, 1100)], "bullish_engulfing", "bearish_engulfing"),  # 0.09 ATR inside
    ([(1000, 1010, 960, 1000), (1000, 1005, 890, 1003)], "bullish_pin_bar", "bearish_pin_bar"),
    ([(1000, 1040, 960, 1000), (1000, 1075, 995, 1070), (1070, 1145, 1065, 1140), (1140, 1215, 1138, 1210)],
     "three_white_soldiers", "three_black_crows"),
]  # fmt: skip
MISSES = [
    [(1010, 1020, 980, 990), (1002, 1110, 980, 1100)],  # opens 0.12 ATR within the body before
    [(990, 1020, 980, 1010), (985, 1110, 980, 1100)],  # same direction
    [(1000, 1020, 980, 1000), (985, 1110, 980, 1100)],  # nothing to cover
    [(1010, 1020, 980, 990), (985, 1045, 980, 1040)],  # a body of 0.55 ATR
    [(1000, 1010, 885, 1000), (1000, 1012, 890, 1003)],  # no lower low
    [(1000, 1010, 960, 1000), (1000, 1050, 890, 1003)],  # two wicks
    [(1000, 1010, 960, 1000), (1000, 1002, 925, 1001)],  # 0.77 ATR long
    [(1000, 1100, 900, 1050), (1010, 1100, 1000, 1020)],  # touches the mother's high
    [(1000, 1039, 960, 1000), (1010, 1030, 1000, 1020)],  # a mother of 0.79 ATR
    [(1000, 1075, 995, 1070), (1070, 1145, 1065, 1140), (1140, 1215, 1000, 1150)],  # a body under half
    [(1000, 1075, 995, 1070), (1000, 1075, 995, 1070), (1140, 1215, 1138, 1210)],  # no higher close
    [(1000, 1075, 995, 1070), (1070, 1145, 1065, 1140), (1140, 1215, 1138, 1210), (1210, 1285, 1205, 1280)],  # the 4th
]


@pytest.mark.parametrize(("candles", "bullish", "bearish"), SHAPES)
def test_a_textbook_shape_is_told_and_upside_down_its_reflection(candles, bullish, bearish):
    (one,) = named(market(*candles))
    (other,) = named(market(*upside_down(*candles)))
    assert (one.name, one.direction) == (bullish, 1)
    assert (other.name, other.direction) == (bearish, -1)
    assert one.confidence == pytest.approx(other.confidence)
    assert one.candles == other.candles


def test_an_inside_bar_has_no_direction_and_is_told_once():
    candles = [(1000, 1100, 900, 1050), (1010, 1030, 1000, 1020)]
    assert names(market(*candles)) == names(market(*upside_down(*candles))) == {("inside_bar", 0)}


@pytest.mark.parametrize("candles", MISSES)
def test_what_misses_the_geometry_by_little_is_not_told(candles):
    assert names(market(*candles)) == set()
    assert names(market(*upside_down(*candles))) == set()


FALL = (1200, 0)
FORMATIONS = {
    "double_bottom": (*FALL, 600, 0, 900),
    "triple_bottom": (*FALL, 600, 0, 600, 0, 900),
    "inverse_head_and_shoulders": (1000, 200, 600, -200, 600, 200, 900),
    "ascending_triangle": (0, 700, 0, 700, 350, 1000),
    "symmetrical_triangle": (0, 800, 0, 560, 240, 800),
}


@pytest.mark.parametrize("name", FORMATIONS)
def test_a_textbook_formation_is_told_once_by_the_close_that_breaks_out(name):
    bars = market(*path(*FORMATIONS[name]), before=path(*(0, 150, 0) * 4, FORMATIONS[name][0]))
    told = [bar for bar, one in scan(bars, ATR_BARS) if one.name == name and one.direction == 1]
    (bar,) = told
    assert bar >= len(bars) - 8
    (one,) = [one for one in named(bars.rows(0, bar + 1)) if one.name == name]
    assert one.confidence > 0.6
    tops = bars.high_e5[bar - np.array(one.candles[1:])]
    assert bars.close_e5[bar] > bars.close_e5[bar - 1]
    assert len(tops) >= 3


def test_a_break_counts_from_the_bar_on_that_makes_the_bottom_known_and_only_the_first_does():
    chart = Chart.of(market(*path(0, 300, 0, 300, bars=4), before=[(10_000, 10_050, 9_950, 10_000)]))
    neck, bottom = Line(0, 10_200), Pivot(bar=5, price=9_900, top=False, known=12)
    assert [close > 10_200 for close in chart.closes] == [bar in {3, 4, 5, 11, 12} for bar in range(len(chart))]
    assert breaks_out(replace(chart, closes=chart.closes[:13]), bottom, neck)
    assert not breaks_out(replace(chart, closes=chart.closes[:13]), bottom._replace(known=11), neck)
    assert breaks_out(replace(chart, closes=chart.closes[:12]), bottom._replace(known=11), neck)
    assert not breaks_out(replace(chart, closes=chart.closes[:11]), bottom._replace(known=10), neck)


def test_a_sloping_line_is_compared_exactly():
    line = Line.through(Pivot(2, 30, top=True, known=4), Pivot(5, 31, top=True, known=6))
    assert line.at(8) == 32.0
    assert (line.below(32, 8), line.below(33, 8)) == (False, True)
    assert (line.below(31, 6), line.below(32, 6)) == (False, True)


def test_a_double_bottom_with_unequal_bottoms_or_without_a_fall_before_is_none():
    for turns in ((*FALL, 600, 250, 900), (650, 0, 600, 0, 900)):
        bars = market(*path(*turns), before=path(*(0, 150, 0) * 4, turns[0]))
        assert "double_bottom" not in {one.name for _, one in scan(bars, ATR_BARS)}


def test_three_equal_bottoms_are_no_head_and_shoulders_and_a_deep_head_is_no_triple_bottom():
    for name, other in (
        ("triple_bottom", "inverse_head_and_shoulders"),
        ("inverse_head_and_shoulders", "triple_bottom"),
    ):
        bars = market(*path(*FORMATIONS[name]), before=path(*(0, 150, 0) * 4, FORMATIONS[name][0]))
        assert other not in {one.name for _, one in scan(bars, ATR_BARS)}


def flat(*last, volume=300):
    sideways = [(1000, 1060, 960, 1030), (1030, 1040, 940, 970)] * 14
    return market(*sideways, *last, quotes=[100] * 28 + [volume] * len(last), before=())


def test_a_breakout_needs_a_close_beyond_the_range_and_more_volume_than_the_range_had():
    assert names(flat((970, 1150, 965, 1145))) >= {("range_breakout_up", 1)}
    assert names(flat((1030, 1035, 850, 855))) >= {("range_breakout_down", -1)}
    assert not any(name.startswith("range") for name, _ in names(flat((970, 1150, 965, 1062))))
    assert not any(name.startswith("range") for name, _ in names(flat((970, 1150, 965, 1145), volume=140)))
    assert not any(name.startswith("range") for name, _ in names(flat((970, 1150, 965, 1145), volume=0)))
    unknown = flat((970, 1150, 965, 1145))
    unknown.quotes[-10] = 0
    assert not any(name.startswith("range") for name, _ in names(unknown))
    again = flat((970, 1150, 965, 1145), (1145, 1300, 1140, 1295))
    assert not any(name.startswith("range") for name, _ in names(again))


def test_a_flag_is_told_by_the_close_that_leaves_it():
    pole, pause = path(0, 800, bars=6), path(800, 680, bars=10)
    bars = market(*pole, *pause, *path(680, 1000, bars=3), before=path(*(0, 150, 0) * 6))
    (bar,) = [bar for bar, one in scan(bars, ATR_BARS) if one.name == "bull_flag"]
    assert bar >= len(bars) - 3
    slack = market(*pole, *path(800, 300, bars=10), *path(300, 900, bars=3), before=path(*(0, 150, 0) * 6))
    assert not [bar for bar, one in scan(slack, ATR_BARS) if one.name == "bull_flag"]


def test_the_grade_of_an_inequality_is_0_at_its_edge_and_1_from_its_ideal_on_whichever_way_it_points():
    assert [grade(value, 2.0, 4.0) for value in (1.0, 2.0, 3.0, 4.0, 9.0)] == [-0.5, 0.0, 0.5, 1.0, 1.0]
    assert [grade(value, 4.0, 2.0) for value in (5.0, 4.0, 3.0, 2.0, 0.0)] == [-0.5, 0.0, 0.5, 1.0, 1.0]
    assert least((0.7, 0.3, 1.0)) == 0.3
    assert least((0.7, -1e-12)) == 0.0
    assert least((0.7, -1e-6)) is None


def test_the_chart_measures_true_ranges_and_turns_upside_down_and_back():
    columns = market((1000, 1100, 980, 1090), (1200, 1210, 1190, 1195))
    chart = Chart.of(columns)
    last = chart.last
    assert chart.mean_range(last - 1, last) == (120 + 120) / 2
    assert chart.atr(last) == (22 * 100 + 240) / ATR_BARS
    assert chart.atr(ATR_BARS - 1) == 0.0
    assert chart.mirrored.highs == [-low for low in chart.lows]
    assert chart.mirrored.mirrored.prices.tolist() == chart.prices.tolist()
    assert chart.mirrored.mirrored.pivots == chart.pivots


def test_swings_of_a_chart_are_two_true_ranges_or_more_and_known_when_they_are_used():
    columns = Chart.of(market(*path(1200, 0, 600, 0, 900), before=path(*(0, 150, 0) * 4, 1200)))
    assert len(columns.pivots) >= 3
    for before, one in pairwise(columns.pivots):
        assert abs(one.price - before.price) >= REVERSAL * 0.9 * columns.atr(before.bar)
    assert all(one.bar < one.known <= columns.last for one in columns.pivots)


def test_patterns_come_as_messages_with_confidence_in_millionths_and_ignore_the_future():
    bars = made_up_bars(400, 8)
    seen = 0
    for row in range(30, 399):
        request = request_at(bars, row)
        found = look(request, from_request(request))
        if row % 20 == 0:
            other = request_at(replaced_after(bars, row, 5), row)
            assert look(other, from_request(other)) == found
        for pattern, one in zip(found, named(from_request(request)), strict=True):
            seen += 1
            assert isinstance(one, Named)
            assert (pattern.pattern, pattern.direction, pattern.candles) == (one.name, one.direction, one.candles)
            assert pattern.confidence_ppm == round(one.confidence * 1e6)
            assert (pattern.error_ppm, pattern.threshold_ppm, pattern.percentile) == (0, 0, 0.0)
            assert (pattern.request_id, pattern.as_of_ns, pattern.model_id) == (
                request.request_id,
                request.as_of_ns,
                MODEL_ID,
            )
            assert decode(encode(pattern)) == pattern
    assert 10 < seen < 369


def test_a_scan_tells_what_was_told_live_at_every_bar():
    bars = simulated(420, 3)
    live = [
        (row, pattern.pattern, pattern.confidence_ppm)
        for row in range(300, 420)
        for pattern in look(request_at(bars, row), from_request(request_at(bars, row)))
    ]
    assert live == [(row, one.name, round(one.confidence * 1e6)) for row, one in scan(from_series(bars), 300)]
    assert live
