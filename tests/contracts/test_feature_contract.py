"""Every feature in models/features keeps the package's promises, at 1,000 points of made-up and of real markets."""

from collections import defaultdict
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from models import features
from models.columns import from_request
from models.features import ALL, LONGEST, Feature, Inputs, Market
from tests.harness.markets import made_up_bars, request_at
from tests.harness.sources import REAL, Source, made_up, made_up_ticks, real, real_ticks

POINTS = 1000
GROUPS = {
    "calendar", "candles", "cross", "gaps", "oscillators", "ranges", "regimes", "returns", "spectral", "spread",
    "ticks", "trend", "volatility",
}  # fmt: skip
SOURCES = {
    "made_up": (made_up, {"bars", "quotes", "ticks", "cross"}),
    "real": (real, {"bars", "quotes", "cross"}),
    "real_ticks": (real_ticks, {"quotes", "ticks"}),
}
"""Where points are drawn from, and which features (by what they need) are looked at there."""

# the costly part is computed once for all features of a source, so a source's tests stay in one process
each_point = pytest.mark.parametrize(
    ("name", "one"),
    [
        pytest.param(
            name,
            one,
            id=f"{name}-{one.name}",
            marks=[
                pytest.mark.xdist_group(f"features-{name}"),
                pytest.mark.skipif(name != "made_up" and not REAL, reason="no real bars in ../shared/data"),
                pytest.mark.timeout(400),
            ],
        )
        for name, (_, needs) in SOURCES.items()
        for one in ALL.values()
        if one.needs in needs
    ],
)
each_feature = pytest.mark.parametrize("one", ALL.values(), ids=ALL.keys())


def points(source):
    """1,000 different rows, each with all the history that any feature may look at."""
    return np.random.default_rng(0).choice(np.arange(LONGEST, len(source)), POINTS, replace=False).tolist()


def disagreements(source, chosen):
    """Rows at which features from raw data cut around that row differ from those of the whole history, by promise.

    `future`: from the newest bars a request would carry, with nothing after them. `early`: from exactly as many bars
    as the feature says it needs. `late`: not NaN with one bar fewer.
    """
    found = {promise: defaultdict(list) for promise in ("future", "early", "late")}
    whole = source.inputs()
    offline = {name: values(one, whole) for name, one in chosen.items()}
    lengths = defaultdict(list)
    for one in chosen.values():
        lengths[one.startup, one.needs].append(one)
    for row in points(source):
        newest = Market(source.inputs(row + 1 - LONGEST, row + 1), newest=1)
        for name, one in chosen.items():
            if values(one, newest)[-1].tobytes() != offline[name][row].tobytes():
                found["future"][name].append(row)
        for (startup, needs), members in lengths.items():
            enough = Market(source.inputs(row + 1 - startup, row + 1, needs), newest=1)
            short = Market(source.inputs(row + 2 - startup, row + 1, needs), newest=1)
            for one in members:
                if values(one, enough)[-1].tobytes() != offline[one.name][row].tobytes():
                    found["early"][one.name].append(row)
                if startup > 1 and not np.isnan(values(one, short)[-1]):
                    found["late"][one.name].append(row)
    return found


def values(one, market):
    market = Market(market) if isinstance(market, Inputs) else market
    with np.errstate(invalid="ignore"):
        return one.values(market)


@lru_cache(maxsize=3)
def measured(name):
    made, needs = SOURCES[name]
    return disagreements(made(), {each.name: each for each in ALL.values() if each.needs in needs})


@each_point
def test_it_is_bit_equal_from_a_request_with_nothing_after_it_and_from_the_whole_history(name, one):
    assert measured(name)["future"][one.name] == []


@each_point
def test_as_many_bars_as_it_says_are_enough_to_the_bit_and_one_fewer_are_not(name, one):
    assert measured(name)["early"][one.name] == []
    assert measured(name)["late"][one.name] == []


@pytest.mark.parametrize("name", [name for name in SOURCES if name == "made_up" or REAL])
def test_no_feature_is_left_out_and_every_source_has_a_thousand_points(name):
    """A feature of a new need would otherwise be looked at nowhere, and a short source at fewer rows than it says."""
    assert {one.needs for one in ALL.values()} == SOURCES["made_up"][1]
    made, needs = SOURCES[name]
    assert needs <= SOURCES["made_up"][1]
    rows = points(made())
    assert len(set(rows)) == POINTS
    assert min(rows) >= max(one.startup for one in ALL.values())


def test_the_harness_sees_a_feature_that_looks_ahead_and_one_that_needs_more_bars_than_it_says():
    def planted(name, startup, compute):
        return Feature(name=name, group="", formula="", needs="bars", startup=startup, args=(), values=compute)

    from models.features._windows import mean, shift

    bad = {
        "ahead": planted("ahead", 1, lambda m: np.r_[m.close[1:], m.close[-1:]]),
        "whole": planted("whole", 1, lambda m: m.close - m.close.mean()),
        "short": planted("short", 9, lambda m: mean(m.close, 10)),
        "long": planted("long", 11, lambda m: mean(m.close, 10)),
        "good": planted("good", 11, lambda m: shift(mean(m.close, 10), 1)),
    }
    source = Source(bars=made_up_bars(LONGEST + POINTS, 3))
    found = disagreements(source, bad)
    assert set(found["future"]) == {"ahead", "whole"}
    assert set(found["early"]) >= {"short", "whole"}
    assert set(found["late"]) == {"long"}
    assert len(found["early"]["short"]) == POINTS


def test_a_request_gives_what_the_history_gives_for_all_features_it_can_carry():
    source = made_up()
    names = features.needing("quotes")
    offline = features.compute(Inputs(columns=source.inputs().columns), names)
    for row in points(source)[:100]:
        live, sigma = features.latest(from_request(request_at(source.bars, row)), names)
        assert live.tobytes() == offline[row].tobytes()
        assert sigma == features.volatility(source.inputs().columns)[row]


def test_a_history_longer_than_one_pass_is_computed_without_a_seam():
    bars = made_up_bars(9000, 8)
    columns = Source(bars=bars).inputs().columns
    names = features.needing("quotes")
    rows = features.compute(columns, names)
    for row in (4095, 4096, 4097, 8191, 8192, 8999):
        assert features.latest(columns.rows(row + 1 - LONGEST, row + 1), names)[0].tobytes() == rows[row].tobytes()


def test_there_are_at_least_60_features_in_the_agreed_groups():
    assert len(ALL) >= 60
    assert {one.group for one in ALL.values()} == GROUPS
    assert set(features.DEFAULT) <= set(ALL)
    assert {ALL[name].needs for name in features.DEFAULT} == {"bars"}


@each_feature
def test_it_is_registered_with_all_that_a_reader_needs(one):
    assert one.name == one.name.lower()
    assert len(one.formula) > 8
    assert one.formula.strip(". ") != one.name
    assert 1 <= one.startup <= LONGEST
    assert one.needs in {"bars", "quotes", "ticks", "cross"}
    assert len(one.hash) == 64


@each_feature
def test_it_says_something_about_the_market(one):
    column = features.compute(made_up().inputs(), (one.name,))[one.startup - 1 :, 0]
    assert np.isfinite(column).all()
    assert column.std() > 1e-6
    assert np.abs(column).max() < 50


def flat():
    bars = made_up_bars(400, 1)
    still = np.full(len(bars), 110_000)
    return replace(bars, open_e5=still, high_e5=still, low_e5=still, close_e5=still, spread_e5=still * 0)


def drifting():
    bars = made_up_bars(400, 1)
    close = 110_000 + 10 * np.arange(len(bars))
    return replace(bars, open_e5=close - 10, high_e5=close, low_e5=close - 10, close_e5=close)


def jumping():
    bars = made_up_bars(400, 1)
    factor = np.where(np.arange(len(bars)) == 300, 2, 1)
    prices = {name: getattr(bars, name) * factor for name in ("open_e5", "high_e5", "low_e5", "close_e5")}
    return replace(bars, **prices)


def one_tick_bars():
    bars = made_up_bars(400, 1)
    same = dict.fromkeys(("open_e5", "high_e5", "low_e5"), bars.close_e5)
    return replace(bars, **same, quotes=np.ones(len(bars), np.int64))


def full_of_gaps():
    bars = made_up_bars(400, 1)
    hours = np.cumsum(np.random.default_rng(1).integers(1, 200, len(bars)))
    return replace(bars, ts_open_ns=bars.ts_open_ns[0] + hours * bars.period_ns)


@pytest.mark.parametrize("market", [flat, drifting, jumping, one_tick_bars, full_of_gaps], ids=lambda f: f.__name__)
@each_feature
def test_it_stays_finite_in_a_market_that_is(one, market):
    bars = market()
    lonely = market is one_tick_bars
    other = replace(bars, symbol="GBPUSD")
    other_cross = replace(bars, symbol="EURJPY")
    still = market is flat
    ticks = made_up_ticks(bars, 1, most=1 if lonely else 12)
    source = Source(
        bars=bars,
        others={"GBPUSD": other, "EURJPY": other_cross},
        ticks=replace(ticks, ask_e5=ticks.bid_e5) if still else ticks,
    )
    column = features.compute(source.inputs(), (one.name,))[:, 0]
    assert np.isnan(column[: one.startup - 1]).all()
    assert np.isfinite(column[one.startup - 1 :]).all()


@each_feature
def test_it_is_the_same_at_the_price_level_of_another_pair(one):
    source, factor = made_up(), 113

    def raised(bars):
        names = ("open_e5", "high_e5", "low_e5", "close_e5", "spread_e5")
        return replace(bars, **{name: getattr(bars, name) * factor for name in names})

    ticks = source.ticks
    other = Source(
        bars=raised(source.bars),
        others={name: raised(bars) for name, bars in source.others.items()},
        ticks=replace(ticks, bid_e5=ticks.bid_e5 * factor, ask_e5=ticks.ask_e5 * factor),
    )
    mine, theirs = (features.compute(each.inputs(), (one.name,))[one.startup - 1 :, 0] for each in (source, other))
    assert theirs == pytest.approx(mine, rel=1e-7, abs=1e-7)
