"""The market's volatility: it knows the hour of the week, follows what happens, and never looks ahead."""

import math
from datetime import UTC, datetime

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.calendar import to_ns, week_start_ns
from bus.errors import DataError
from bus.messages import VolatilityState
from bus.values import NS_PER_DAY, NS_PER_HOUR
from models.volatility import LIMIT, REVERSION, SPANS, SeasonalVolatility
from tests.harness.markets import made_up_bars

SUNDAY_NS = week_start_ns(to_ns(datetime(2018, 1, 10, tzinfo=UTC)))
MINUTE_NS = NS_PER_HOUR // 60


def hours(weeks, start_ns=SUNDAY_NS):
    """Open times of the trading hours of some weeks, from Sunday 17:00 New York to Friday 17:00."""
    for week in range(weeks):
        first = week_start_ns(start_ns + week * 7 * NS_PER_DAY + NS_PER_DAY)
        yield from (first + hour * NS_PER_HOUR for hour in range(120))


def fed(times, sizes, *, seed=1, period_ns=NS_PER_HOUR, market=None):
    """A market that saw a walk with these sigmas, and its last close; the ranges are those of the returns."""
    random = np.random.default_rng(seed)
    market = market or SeasonalVolatility(period_ns)
    price = float(market.state().last_close_e5 or 10_000_000)
    for ts_ns, size in zip(times, sizes, strict=True):
        before = round(price)
        price *= math.exp(size * random.standard_normal())
        close = round(price)
        market.update(ts_ns, max(before, close), min(before, close), close)
    return market


def everything(series, upto):
    market = SeasonalVolatility(series.period_ns)
    said = []
    for row in range(upto):
        market.update(*(int(column[row]) for column in (series.ts_open_ns, series.high_e5, series.low_e5,
                                                        series.close_e5)))  # fmt: skip
        said.append([market.scale_e5(int(series.close_e5[row]), h) for h in (1, 4, 24)] if market.known else None)
    return said, market


def mean_sigmas(times, sizes, horizons, *, last=400, period_ns=NS_PER_HOUR):
    """Mean of what was said at the newest bars."""
    market = fed(times[:-last], sizes[:-last], period_ns=period_ns)
    said = []
    for number in range(len(times) - last, len(times)):
        fed(times[number : number + 1], sizes[number : number + 1], seed=number, market=market)
        said.append([market.sigma(horizon) for horizon in horizons])
    return np.mean(said, axis=0)


def test_sigma_is_the_standard_deviation_of_a_market_that_never_changes():
    times = list(hours(60))
    horizons = np.array([1, 4, 24, 120])
    assert mean_sigmas(times, [8e-4] * len(times), horizons) == pytest.approx(8e-4 * np.sqrt(horizons), rel=0.12)
    market = fed(times, [8e-4] * len(times))
    assert market.scale_e5(10_000_000, 4) == pytest.approx(1e7 * market.sigma(4), abs=1)


def test_a_loud_hour_is_foreseen_in_winter_and_in_summer_time():
    """One hour of the week, by the clock of New York, moves five times as far."""
    times = list(hours(70))
    loud = [5e-3 if number % 120 == 40 else 1e-3 for number in range(len(times))]
    for weeks in (30, 66):  # the second ends in summer time, where the same hour is another in UTC
        market = fed(times[: weeks * 120 + 40], loud[: weeks * 120 + 40])
        loudly = market.sigma(1)
        after = fed(times[: weeks * 120 + 41], loud[: weeks * 120 + 41])
        assert loudly > 2.5 * after.sigma(1)
        # the hours before it foresee it too, within their horizon
        before = fed(times[: weeks * 120 + 37], loud[: weeks * 120 + 37])
        assert before.sigma(4) > 2.0 * after.sigma(4)


def test_weeks_of_167_and_169_hours_put_every_hour_where_it_belongs():
    times = list(hours(70))
    counts = fed(times, [1e-3] * len(times)).state().counts
    assert set(counts[120:]) == {0}
    assert set(counts[1:120]) == {70}
    assert counts[0] == 69  # the very first bar has none before it


def test_on_friday_evening_the_next_bar_is_sundays():
    times = list(hours(40))
    loud = [6e-3 if number % 120 == 0 else 1e-3 for number in range(len(times))]
    friday = fed(times[: 39 * 120], loud[: 39 * 120])
    monday = fed(times[: 39 * 120 + 20], loud[: 39 * 120 + 20])
    assert friday.sigma(1) > 3.0 * monday.sigma(1)


def test_the_level_rises_at_once_falls_slowly_and_fades_over_the_horizon():
    times = list(hours(30))
    calm = fed(times[:3000], [1e-3] * 3000)
    before = calm.sigma(1)
    stirred = fed(times[3000:3040], [4e-3] * 40, market=fed(times[:3000], [1e-3] * 3000))
    assert stirred.sigma(1) > 2.0 * before
    ratios = [stirred.sigma(h) / calm.sigma(h) for h in (1, 24, 240)]
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[2] < 0.8 * ratios[0]
    settled = fed(times[3040:3360], [1e-3] * 320, market=stirred)
    assert settled.sigma(1) < 0.6 * ratios[0] * before


def test_the_level_is_the_published_mean_of_means():
    market = fed(list(hours(3)), [1e-3] * 360)
    before = market.state()
    market.update(before.last_open_ns + 49 * NS_PER_HOUR, 10**8, 10**6, 10**7)
    after = market.state()
    # a range far beyond LIMIT counts as LIMIT
    assert after.levels == pytest.approx(
        [level + (LIMIT - level) / span for level, span in zip(before.levels, SPANS, strict=True)]
    )
    towards = 24 / (24 + REVERSION)
    level = math.sqrt((1 - towards) * np.mean(np.square(after.levels)) + towards)
    assert market.sigma(24) == pytest.approx(
        level * math.sqrt(math.pi / 2 * (after.sums[25] - after.sums[1])), rel=1e-9
    )


@settings(max_examples=12, deadline=None)
@given(st.integers(300, 900), st.integers(0, 1000))
def test_nothing_after_a_bar_changes_what_was_said_at_it(row, seed):
    series, other = made_up_bars(1000, 3), made_up_bars(1000, seed)
    said, _ = everything(series, 1000)
    assert everything(series, row)[0] == said[:row]
    mixed = everything(series, row)[1]
    for later in range(row, 1000):
        mixed.update(int(series.ts_open_ns[later]), *(int(c[later]) for c in (other.high_e5, other.low_e5,
                                                                            other.close_e5)))  # fmt: skip
    assert said[row - 1] == everything(series, row)[0][-1]


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(2, 799), period=st.sampled_from([NS_PER_HOUR, MINUTE_NS, 4 * NS_PER_HOUR, NS_PER_DAY]))
def test_restored_from_json_it_goes_on_bit_for_bit(cut, period):
    series = made_up_bars(800, 5, period_ns=period)
    _, whole = everything(series, cut)
    again = SeasonalVolatility.restore(
        msgspec.json.decode(msgspec.json.encode(whole.state()), type=VolatilityState), period
    )
    for row in range(cut, 800):
        bar = [int(column[row]) for column in (series.ts_open_ns, series.high_e5, series.low_e5, series.close_e5)]
        whole.update(*bar)
        again.update(*bar)
        assert [again.sigma(h) for h in (1, 24)] == [whole.sigma(h) for h in (1, 24)]
    assert again.state() == whole.state()


@pytest.mark.parametrize("period_ns", [MINUTE_NS, 5 * MINUTE_NS, 4 * NS_PER_HOUR, NS_PER_DAY, 7 * NS_PER_DAY])
def test_bars_of_any_length_give_a_sigma_that_grows_with_the_root_of_the_horizon(period_ns):
    count = 3000
    per_week = 5 * NS_PER_DAY // period_ns if period_ns < 7 * NS_PER_DAY else 1
    times = [
        SUNDAY_NS + (number // per_week) * 7 * NS_PER_DAY + (number % per_week) * period_ns for number in range(count)
    ]
    horizons = np.array([1, 4, 24])
    said = mean_sigmas(times, [1e-3] * count, horizons, period_ns=period_ns)
    assert said == pytest.approx(1e-3 * np.sqrt(horizons), rel=0.15)


def test_minutes_share_the_season_of_their_hour():
    times = [hour + minute * MINUTE_NS for hour in list(hours(8))[: 7 * 120] for minute in range(60)]
    loud = [3e-4 if (number // 60) % 24 == 12 else 1e-4 for number in range(len(times))]
    half_past_eleven = 6 * 7200 + 24 * 60 * 2 + 11 * 60 + 30
    market = fed(times[:half_past_eleven], loud[:half_past_eleven], period_ns=MINUTE_NS)
    # thirty quiet minutes, then thirty loud ones
    assert market.sigma(60) / market.sigma(30) == pytest.approx(math.sqrt((30 + 30 * 9) / 30), rel=0.2)


def test_a_bar_that_comes_again_or_late_changes_nothing_and_a_hole_teaches_nothing():
    times = list(hours(6))
    market = fed(times[:600], [1e-3] * 600)
    before = market.state()
    market.update(times[599], 1, 1, 1)
    market.update(times[10], 10**9, 1, 5)
    assert market.state() == before
    market.update(times[599] + 30 * NS_PER_HOUR, 2 * 10**7, 10**7, 15_000_000)
    after = market.state()
    assert (after.levels, after.counts, after.bars) == (before.levels, before.counts, before.bars)
    assert after.last_close_e5 == 15_000_000


def test_hours_in_which_nothing_trades_are_no_part_of_the_horizon():
    """A market that rests from hour 5 to hour 6 of every day: four bars from hour 4 on end in hour 9."""
    times = [ts for number, ts in enumerate(hours(30)) if number % 24 != 5]
    sizes = [1e-3] * len(times)
    market = fed(times, sizes)
    assert len(market.state().cycle) == 115
    assert market.sigma(115) == pytest.approx(1e-3 * math.sqrt(115), rel=0.15)


def test_a_market_that_stands_still_keeps_a_sigma_and_recovers():
    times = list(hours(20))
    market = fed(times[:1200], [1e-3] * 1200)
    usual = market.sigma(1)
    close = market.state().last_close_e5
    for ts_ns in times[1200:1800]:
        market.update(ts_ns, close, close, close)
    assert 0.0 < market.sigma(1) < usual
    assert market.scale_e5(close, 1) >= 1
    fed(times[1800:2000], [1e-3] * 200, market=market, seed=4)
    assert market.sigma(1) > 0.6 * usual


def test_a_flat_start_is_survived():
    times = list(hours(8))
    market = fed(times[:400], [0.0] * 400)
    assert market.sigma(24) > 0.0
    fed(times[400:900], [1e-3] * 500, market=market)
    assert market.sigma(1) == pytest.approx(1e-3, rel=0.7)


def test_before_two_bars_there_is_nothing_to_tell():
    market = SeasonalVolatility(NS_PER_HOUR)
    assert (market.known, market.ready, market.last_open_ns) == (False, False, -1)
    with pytest.raises(DataError, match="two bars"):
        market.sigma(1)
    assert fed(list(hours(4)), [1e-3] * 480).ready


def test_what_is_no_price_no_period_and_no_state_is_refused():
    market = fed(list(hours(4)), [1e-3] * 480)
    state = market.state()
    with pytest.raises(DataError, match="positive"):
        market.update(state.last_open_ns + NS_PER_HOUR, 10, 0, 5)
    assert market.state() == state
    with pytest.raises(ValueError, match="positive"):
        SeasonalVolatility(0)
    replace = msgspec.structs.replace
    for broken, says in (
        (replace(state, period_ns=MINUTE_NS), "not 3600"),
        (replace(state, levels=(1.0,)), "another release"),
        (replace(state, returns=state.returns[:-1]), "another release"),
        (replace(state, sums=state.sums[:-1]), "another release"),
        (replace(state, mean_range=math.nan), "numbers that are none"),
        (replace(state, cycle=(*state.cycle[:-1], 999)), "numbers that are none"),
        (replace(state, bars=0), "learnt nothing"),
    ):
        with pytest.raises(DataError, match=says):
            SeasonalVolatility.restore(broken, NS_PER_HOUR)
