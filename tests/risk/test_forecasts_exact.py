"""Forecast tables and rolling coverage by hand: every figure of a row, which rows there are, and in which order."""

import math
from statistics import mean

import pytest
from msgspec.structs import replace

from bus.messages import Band, ForecastResolved, ModelAdmitted
from bus.special import clopper_pearson
from risk.adherence.forecasts import COVERAGE_WINDOW, LEAK_MINIMUM, ForecastScores
from risk.adherence.numbers import crps_gaussian, newey_west_t
from risk.adherence.records import CoveragePoint, CoverageSeries, ForecastRow, LevelRow
from tests.harness.desk import OTHER, RIDGE, T

WIDE, NARROW = 900_000, 500_000
WALK = "random-walk"


def resolved(at, actual, point=110_000, *, close=110_000, sigma=30, model=RIDGE, active=None, horizon=1,
             symbol="EURUSD", bands=((WIDE, -50, 51), (NARROW, -20, 20))):  # fmt: skip
    told = tuple(Band(level_ppm=level, lower_e5=point + low, upper_e5=point + high, bounded=low < high)
                 for level, low, high in bands)  # fmt: skip
    return ForecastResolved(
        symbol=symbol, model_id=model, active=model == RIDGE if active is None else active, horizon=horizon,
        as_of_ns=T + at, close_e5=close, point_e5=point, sigma_e5=sigma, actual_e5=actual, bands=told,
        covered=tuple(band.lower_e5 <= actual <= band.upper_e5 for band in told), ts_init_ns=T + at + 1,
    )  # fmt: skip


def scored(*facts, admitted=()):
    scores = ForecastScores()
    for model in admitted:
        scores.on_admitted(model)
    for fact in facts:
        scores.on_resolved(fact)
    return scores


def admitted(name, kind):
    return ModelAdmitted(
        model_id=name, kind=kind, symbol="EURUSD", active=False, horizons=(1,), scores=(), ts_init_ns=T
    )


# --- a row ---------------------------------------------------------------------------------------------------------

# (actual, point): up called and up; up called and down; down called and down; nothing called; called and nothing came
STORY = ((110_030, 110_010), (109_940, 110_020), (109_990, 109_995), (110_060, 110_000), (110_000, 110_005))


def test_every_figure_of_a_model_and_of_the_random_walk_beside_it_is_told():
    walk = [resolved(at, actual, model=WALK) for at, (actual, _) in enumerate(STORY)]
    ours, theirs = scored(*(resolved(at, *each) for at, each in enumerate(STORY)), *walk).rows({"EURUSD": 5})

    errors, moves = [actual - point for actual, point in STORY], [actual - 110_000 for actual, _ in STORY]
    assert errors == [20, -80, -5, 60, -5]
    mine, base = ([crps_gaussian(error, 30) for error in each] for each in (errors, moves))
    low, high = clopper_pearson(2, 3)
    # by its widest interval the first, third and fifth lie within -50 and +51; within 20 points the same three lie
    wide, narrow = clopper_pearson(3, 5), clopper_pearson(3, 5)
    levels = (
        LevelRow(level=0.9, n=5, covered=3, measured=0.6, low=wide[0], high=wide[1], mean_width_pips=101 / 5,
                 winkler_pips=pytest.approx((101 + (20 * 30 + 20 * 9) / 5) / 5)),
        LevelRow(level=0.5, n=5, covered=3, measured=0.6, low=narrow[0], high=narrow[1], mean_width_pips=40 / 5,
                 winkler_pips=pytest.approx((40 + (4 * 60 + 4 * 40) / 5) / 5)),
    )  # fmt: skip
    assert ours == ForecastRow(
        symbol="EURUSD", model_id=RIDGE, active=True, random_walk=False, derived=False, horizon=1, n=5, levels=levels,
        mae_pips=170 / 5 / 5, rmse_pips=pytest.approx(math.sqrt((400 + 6_400 + 25 + 3_600 + 25) / 5) / 5),
        crps_pips=pytest.approx(mean(mine) / 5), hits=2, calls=3, hit_rate=2 / 3, hit_low=low, hit_high=high,
        skill=pytest.approx(1 - sum(mine) / sum(base)), crps_t=None, leak_suspected=False,
    )  # fmt: skip
    assert (theirs.model_id, theirs.random_walk, theirs.derived, theirs.active) == (WALK, True, False, False)
    assert (theirs.calls, theirs.hits, theirs.hit_rate, theirs.hit_low, theirs.hit_high) == (0, 0, 0.0, 0.0, 1.0)
    assert (theirs.skill, theirs.crps_t, theirs.n) == (0.0, None, 5)
    assert (theirs.mae_pips, theirs.crps_pips) == (160 / 5 / 5, pytest.approx(mean(base) / 5))


def test_where_no_random_walk_ran_its_row_is_derived_from_the_model_that_trades():
    story = [resolved(at, *each) for at, each in enumerate(STORY)]
    idle = [resolved(at, actual, point, model=OTHER, sigma=90) for at, (actual, point) in enumerate(STORY)]
    rows = scored(*idle, *story).rows({})

    assert [(row.model_id, row.active, row.random_walk, row.derived) for row in rows] == [
        (RIDGE, True, False, False), (OTHER, False, False, False), (WALK, False, True, True),
    ]  # fmt: skip
    base = [crps_gaussian(actual - 110_000, 30) for actual, _ in STORY]
    assert rows[2].mae_pips == 160 / 5 / 10
    assert rows[2].crps_pips == pytest.approx(mean(base) / 10)
    assert rows[2].levels == ()
    assert rows[0].skill == pytest.approx(1 - sum(crps_gaussian(a - p, 30) for a, p in STORY) / sum(base))
    (_, alone) = scored(*idle).rows({})
    assert alone.crps_pips == pytest.approx(mean(crps_gaussian(a - 110_000, 90) for a, _ in STORY) / 10)


def test_a_sigma_of_nothing_is_taken_as_one_point():
    for sigma in (0, 1):
        ours, theirs = scored(resolved(1, 110_003, 110_001, sigma=sigma)).rows({})
        assert ours.crps_pips == pytest.approx(crps_gaussian(2, 1) / 10)
        assert theirs.crps_pips == pytest.approx(crps_gaussian(3, 1) / 10)
    assert scored(resolved(1, 110_003, 110_001, sigma=2)).rows({})[0].crps_pips == pytest.approx(
        crps_gaussian(2, 2) / 10
    )


def test_skill_is_over_the_forecasts_that_both_made():
    ours = [resolved(at, *each) for at, each in enumerate(STORY)]
    walk = [resolved(at, STORY[at][0], model=WALK) for at in (1, 3)]
    row = scored(*ours, *walk, resolved(9, 110_900, model=WALK)).rows({})[0]
    pairs = [
        (crps_gaussian(STORY[at][0] - STORY[at][1], 30), crps_gaussian(STORY[at][0] - 110_000, 30)) for at in (1, 3)
    ]

    assert row.skill == pytest.approx(1 - sum(each[0] for each in pairs) / sum(each[1] for each in pairs))
    apart = scored(*ours, resolved(9, 110_900, model=WALK)).rows({})[0]
    assert (apart.skill, apart.crps_t) == (0.0, None)
    small = scored(resolved(1, 110_000, 110_002, sigma=1)).rows({})[0]
    assert small.skill == pytest.approx(1 - crps_gaussian(2, 1) / crps_gaussian(0, 1))


def test_the_gain_in_crps_is_tested_with_the_overlap_of_its_horizon():
    facts, differences = [], []
    for at in range(60):
        actual, point = 110_000 + (at * 37) % 101 - 50, 110_000 + (at * 17) % 41 - 20
        facts += [resolved(at, actual, point, horizon=3), resolved(at, actual, model=WALK, horizon=3)]
        differences.append(crps_gaussian(actual - 110_000, 30) - crps_gaussian(actual - point, 30))
    row = scored(*facts).rows({})[0]

    assert row.crps_t == newey_west_t(differences, 2)
    assert row.crps_t != newey_west_t(differences, 1)


def test_rows_are_sorted_by_symbol_and_horizon_and_any_kind_of_random_walk_comes_last():
    names = ("drift", "random-walk-2", "b", "a")
    facts = [resolved(1, 110_010, model=name, active=name == "b", symbol=symbol, horizon=horizon)
             for symbol, horizon in (("USDJPY", 1), ("EURUSD", 4), ("EURUSD", 1)) for name in names]  # fmt: skip
    for kind in ("random_walk", "random-walk"):
        rows = scored(*facts, admitted=[admitted("drift", kind), admitted("a", "ridge")]).rows({})
        assert [(row.symbol, row.horizon, row.model_id, row.random_walk) for row in rows] == [
            (symbol, horizon, name, name == "drift")
            for symbol, horizon in (("EURUSD", 1), ("EURUSD", 4), ("USDJPY", 1))
            for name in ("b", "a", "random-walk-2", "drift")
        ]
    named = scored(*facts, admitted=[admitted("random-walk-2", "other")]).rows({})
    assert named[3].model_id == "random-walk-2"
    assert named[3].random_walk


def test_a_truth_told_twice_counts_once_and_the_last_word_says_who_trades():
    first = resolved(1, 110_010)
    rows = scored(first, first, resolved(2, 110_010, active=False)).rows({})

    assert (rows[0].n, rows[0].active) == (2, False)
    assert scored(resolved(1, 110_010), resolved(1, 110_010, horizon=2)).rows({})[2].n == 1


@pytest.mark.parametrize(
    ("calls", "hits", "suspected"), [(300, 166, True), (300, 165, False), (299, 299, False), (400, 221, True)]
)
def test_so_high_a_hit_rate_on_so_many_calls_is_not_believed(calls, hits, suspected):
    facts = [resolved(at, 110_010 if at < hits else 109_990, 110_005) for at in range(calls)]
    (row, _) = scored(*facts).rows({})

    assert (row.calls, row.hits, row.leak_suspected) == (calls, hits, suspected)
    assert LEAK_MINIMUM == 300


def test_a_call_is_right_where_both_go_the_same_way():
    def hit(actual, point):
        (row, _) = scored(resolved(1, actual, point)).rows({})
        return (row.calls, row.hits)

    assert hit(110_001, 110_001) == hit(109_999, 109_999) == (1, 1)
    assert hit(110_001, 109_999) == hit(109_999, 110_001) == (1, 0)
    assert hit(110_000, 110_001) == hit(110_001, 110_000) == (0, 0)


# --- intervals -----------------------------------------------------------------------------------------------------


def test_limits_belong_to_the_interval_and_a_miss_costs_twice_its_distance_over_alpha():
    def level(actual):
        (found,) = scored(resolved(1, actual, bands=((NARROW, -20, 30),))).rows({})[0].levels
        return (found.covered, found.winkler_pips)

    assert level(109_980) == level(110_030) == (1, 5.0)
    assert level(109_979) == level(110_031) == (0, 5.4)


def test_a_truth_that_does_not_say_for_every_interval_whether_it_held_is_no_truth():
    with pytest.raises(ValueError, match="shorter"):
        scored(replace(resolved(1, 110_000), covered=(True,)))


def test_an_interval_without_bounds_counts_for_nothing_and_the_widest_is_the_first_told():
    unbounded = resolved(1, 110_010, bands=((WIDE, 9, 0), (NARROW, -20, 20)))
    scores = scored(unbounded, resolved(2, 110_010), resolved(3, 110_900))
    (row, _) = scores.rows({})

    assert [(level.level, level.n, level.covered) for level in row.levels] == [(0.9, 2, 1), (0.5, 3, 2)]
    assert scores.coverage()[0].level == 0.9
    assert scored(unbounded).coverage() == ()


def test_rolling_coverage_begins_with_the_thirtieth_forecast_and_slides_over_the_newest():
    facts = [resolved(at, 110_900 if at % 7 == 0 else 110_000) for at in range(COVERAGE_WINDOW + 5)]
    facts += [resolved(at, 110_000, model=OTHER) for at in range(40)]
    facts += [resolved(at, 110_000, horizon=4) for at in range(30)] + [resolved(1, 110_000, symbol="AUDUSD")]
    found = scored(*facts).coverage()
    inside = [at % 7 != 0 for at in range(COVERAGE_WINDOW + 5)]

    def point(at):
        window = inside[max(0, at + 1 - COVERAGE_WINDOW) : at + 1]
        low, high = clopper_pearson(sum(window), len(window))
        return CoveragePoint(ts_ns=T + at + 1, n=len(window), measured=sum(window) / len(window), low=low, high=high)

    assert [(each.symbol, each.model_id, each.horizon, len(each.points)) for each in found] == [
        ("AUDUSD", RIDGE, 1, 0), ("EURUSD", RIDGE, 1, COVERAGE_WINDOW + 5 - 29), ("EURUSD", RIDGE, 4, 1),
    ]  # fmt: skip
    assert found[1] == CoverageSeries(
        symbol="EURUSD", model_id=RIDGE, horizon=1, level=0.9, window=COVERAGE_WINDOW,
        points=tuple(point(at) for at in range(29, COVERAGE_WINDOW + 5)),
    )  # fmt: skip
    assert (found[1].points[0].n, found[1].points[-1].n) == (30, COVERAGE_WINDOW)
