"""Every pattern in models/chartpatterns keeps the promises of models.contract.Detector."""

import re
from collections import defaultdict
from dataclasses import fields, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.chart import LOOKBACK, Chart
from models.chartpatterns import catalogue
from models.columns import Columns, from_series
from models.patterns import named, scan
from tests.harness.markets import made_up_bars, replaced_after, simulated
from tests.harness.plants import AFTER, RECIPES, plant

SIDES = [(pattern, name, direction) for pattern in catalogue() for name, direction in pattern.sides]
PLANTS = 1_000
PRICES = ("open_e5", "high_e5", "low_e5", "close_e5")

every_side = pytest.mark.parametrize(
    ("pattern", "name", "direction"), SIDES, ids=[f"{name}{direction:+d}" for _, name, direction in SIDES]
)
every_pattern = pytest.mark.parametrize("pattern", catalogue(), ids=[pattern.bullish for pattern in catalogue()])


@lru_cache(maxsize=4)
def told(garch=False):
    """A driftless market and all that is told on it."""
    columns = from_series(simulated(6_000, 5 + garch, garch=garch))
    return columns, list(scan(columns))


def side_of(columns, direction):
    chart = Chart.of(columns)
    return chart.mirrored if direction < 0 else chart


def priced(columns, change):
    return replace(columns, **{name: change(getattr(columns, name)) for name in PRICES})


def mirrored(columns):
    total = int(columns.high_e5.max() + columns.low_e5.min())
    return replace(
        columns,
        open_e5=total - columns.open_e5,
        high_e5=total - columns.low_e5,
        low_e5=total - columns.high_e5,
        close_e5=total - columns.close_e5,
    )


def facts(found):
    """What must be equal to rounding: names, directions, candles; confidences to a millionth."""
    return sorted((one.name, one.direction, one.candles, round(one.confidence, 6)) for one in found)


def test_the_patterns_of_the_trade_are_found():
    assert {name for _, name, _ in SIDES} >= {
        "head_and_shoulders", "inverse_head_and_shoulders", "double_top", "double_bottom", "triple_top",
        "triple_bottom", "bullish_engulfing", "bearish_engulfing", "bullish_pin_bar", "bearish_pin_bar", "inside_bar",
        "range_breakout_up", "range_breakout_down", "bull_flag", "bear_flag", "ascending_triangle",
        "descending_triangle", "symmetrical_triangle",
    }  # fmt: skip
    assert len({(name, direction) for _, name, direction in SIDES}) == len(SIDES)


@every_pattern
def test_its_docstring_states_the_geometry_as_inequalities_in_true_ranges_and_the_confidence(pattern):
    words = pattern.detect.__doc__
    geometry, _, confidence = words.partition("Confidence:")
    assert "Geometry" in geometry
    assert "A = ATR" in geometry or "A = mean true range" in " ".join(geometry.split())
    assert len(re.findall(r" (<=|>=|<|>) ", geometry)) >= 4
    assert "ideal" in geometry
    assert "the least of the" in confidence


@every_pattern
def test_the_page_about_patterns_states_this_geometry_word_for_word(pattern):
    page = (Path(__file__).parents[2] / "docs" / "patterns.md").read_text()
    for line in pattern.detect.__doc__.strip().splitlines():
        assert line.strip() in page, f"{pattern.bullish}: run python docs/patterns.py"


@every_pattern
def test_there_is_a_plant_to_find_it_by(pattern):
    assert pattern.bullish in RECIPES


@pytest.mark.slow
@every_side
def test_planted_patterns_are_found_at_their_completion_and_told_once(pattern, name, direction):
    found = 0
    for seed in range(PLANTS):
        planted = plant(pattern, direction, seed)
        # a formation may need some more bars until its last pivot is known; a shape of candles may not
        late = AFTER // 2 if len(planted.done) > 1 else 0
        bars = range(planted.done.start, planted.done.stop + late)
        sightings = [pattern.detect(side_of(planted.columns.rows(0, bar + 1), direction)) for bar in bars]
        times = len(sightings) - sightings.count(None)
        assert times <= 1
        found += times
    assert found >= 0.95 * PLANTS


@every_side
def test_looking_changes_nothing_and_looking_again_sees_the_same(pattern, name, direction):
    planted = plant(pattern, direction, 3)
    for bar in range(planted.done.start, planted.done.stop):
        chart = side_of(planted.columns.rows(0, bar + 1), direction)
        before = {each.name: repr(getattr(chart, each.name)) for each in fields(chart)}
        first = pattern.detect(chart)
        assert pattern.detect(chart) == first
        assert {each.name: repr(getattr(chart, each.name)) for each in fields(chart)} == before


@pytest.mark.parametrize("garch", [False, True])
def test_what_is_told_lies_within_the_lookback_starts_with_the_newest_bar_and_has_a_confidence(garch):
    _, found = told(garch)
    directions = {(name, direction) for _, name, direction in SIDES}
    assert len({(one.name, one.direction) for _, one in found}) > len(SIDES) * 3 // 4
    for bar, one in found:
        assert (one.name, one.direction) in directions
        assert 0.0 <= one.confidence <= 1.0
        assert one.candles[0] == 0
        assert list(one.candles) == sorted(set(one.candles))
        assert one.candles[-1] < min(LOOKBACK, bar + 1)


@pytest.mark.parametrize("garch", [False, True])
def test_no_formation_is_told_twice(garch):
    _, found = told(garch)
    seen = defaultdict(list)
    for bar, one in found:
        seen[one.name, one.direction].append((bar, {bar - candle for candle in one.candles[1:]}))
    for (name, _), events in seen.items():
        for (bar, bones), (later, others) in pairwise(events):
            if len(bones) >= 2 and name not in {"range_breakout_up", "range_breakout_down"}:
                assert bones != others
                assert later - bar > 1
        if name.startswith("range_breakout"):
            assert all(later - bar > 12 for (bar, _), (later, _) in pairwise(events))


def test_nothing_depends_on_bars_that_come_later():
    bars = made_up_bars(900, 8)
    columns = from_series(bars)
    rows = list(range(230, 890, 7))
    assert any(named(columns.rows(0, bar + 1)) for bar in rows)
    for bar in rows:
        other = from_series(replaced_after(bars, bar, seed=bar))
        expected = [one for at, one in scan(columns.rows(0, bar + 30), bar) if at == bar]
        assert [one for at, one in scan(other.rows(0, bar + 30), bar) if at == bar] == expected
        assert named(columns.rows(0, bar + 1)) == expected


def test_nothing_depends_on_bars_before_the_lookback():
    columns, found = told()
    assert len(Chart.of(columns)) == LOOKBACK
    for bar, one in found[300::40]:
        assert one in named(columns.rows(0, bar + 1))
        assert one in named(columns.rows(bar + 1 - LOOKBACK, bar + 1))


@pytest.mark.parametrize("factor", [3, 7, 100])
def test_another_price_scale_or_size_of_a_point_changes_nothing(factor):
    columns, found = told()
    part = columns.rows(0, 1_500)
    expected = [facts([one]) for bar, one in found if bar < 1_500]
    assert [facts([one]) for _, one in scan(priced(part, lambda column: column * factor))] == expected
    assert [facts([one]) for _, one in scan(priced(part, lambda column: column + 12_345))] == expected


def test_the_market_upside_down_shows_the_reflected_patterns():
    columns, found = told()
    reflected = {(name, direction): (pattern.sides[0][0] if direction < 0 else pattern.sides[-1][0], -direction)
                 for pattern, name, direction in SIDES}  # fmt: skip
    bars, upside_down = defaultdict(list), defaultdict(list)
    for bar, one in found:
        if bar < 1_500:
            name, direction = reflected[one.name, one.direction]
            bars[bar].append((name, direction, one.candles, round(one.confidence, 6)))
    for bar, one in scan(mirrored(columns.rows(0, 1_500))):
        upside_down[bar].append((one.name, one.direction, one.candles, round(one.confidence, 6)))
    assert {bar: sorted(each) for bar, each in bars.items()} == {bar: sorted(each) for bar, each in upside_down.items()}


CANDLES = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 6), st.integers(-8, 8), st.integers(0, 9)),
    max_size=130,
)


def small_market(candles):
    """Candles of a few points each, where equal prices and bars that do not move are common."""
    rows, close = [], 1_000
    for down, up, body, step, quotes in candles:
        opening = max(60, close + step // 3)
        close = max(60, opening + (body if step > 0 else -body))
        rows.append((opening, max(opening, close) + up, min(opening, close) - down, close, quotes))
    columns = np.array(rows or np.empty((0, 5)), np.int64).T
    return Columns(
        period_ns=60,
        ts_open_ns=np.arange(len(rows)) * 60,
        open_e5=columns[0],
        high_e5=columns[1],
        low_e5=columns[2],
        close_e5=columns[3],
        spread_e5=np.zeros(len(rows), np.int64),
        quotes=columns[4],
    )


@given(CANDLES, st.sampled_from([3, 11, 100]))
def test_on_any_candles_it_answers_within_bounds_and_the_same_in_any_unit_and_upside_down(candles, factor):
    columns = small_market(candles)
    found = named(columns)
    assert all(0.0 <= one.confidence <= 1.0 for one in found)
    if not candles:
        return
    assert facts(named(priced(columns, lambda column: column * factor))) == facts(found)
    again = named(mirrored(mirrored(columns)))
    assert facts(again) == facts(found)
    assert sorted((-one.direction, one.candles) for one in named(mirrored(columns))) == sorted(
        (one.direction, one.candles) for one in found
    )


@every_side
def test_a_market_that_stands_still_or_has_hardly_begun_shows_nothing(pattern, name, direction):
    planted = plant(pattern, direction, 11).columns
    still = priced(planted, lambda column: np.full_like(column, 1_000))
    assert pattern.detect(side_of(still, direction)) is None
    for bars in range(24):
        assert pattern.detect(side_of(planted.tail(bars), direction)) is None
