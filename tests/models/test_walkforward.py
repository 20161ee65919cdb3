"""Forecasters over expanding windows: nothing is used early, the figures are what they say, and a leak is seen."""

import math
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from msgspec import structs

from bus.errors import ConfigError, DataError
from models import features, scores
from models.columns import from_series
from models.contract import Demands
from models.forms.dense import Dense
from models.random_walk import MODEL_ID
from models.train.data import part_of
from models.validate import Settings, validate
from models.validate import tracks as tracks_module
from models.validate.agreement import agreement_rows
from models.validate.skill import calibration_rows, curves, skill_rows
from models.validate.trading import Costs, costs_of, deflated, profits, signals, trading_rows
from models.validate.walkforward import Chosen, choose, folds_of, follow_all, history_of, rows_for
from tests.harness.markets import made_up_bars, replaced_after
from tests.harness.processes import bars_of, garch

BARS = made_up_bars(2600, 11)
START = 1800
HORIZONS, AHEAD = ("1h", "4h"), (1, 4)
LEVEL = 900_000


def quiet(_stage, _share):
    pass


def history(series=BARS):
    return history_of(series, HORIZONS, AHEAD, LEVEL, START)


def followed(market, nets=("ridge",), *, count=3, embargo=10):
    return follow_all(market, folds_of(market, count, embargo), choose(nets), seed=1, progress=quiet)


@lru_cache(maxsize=1)
def tracks():
    return followed(history(), ("mlp", "ridge"))


def leaky():
    """The same market, but the first feature is the return of the next hour."""
    market = history()
    seen = market.rows.features.copy()
    seen[:, 0] = market.rows.labels[:, 0]
    return replace(market, rows=replace(market.rows, features=seen))


def test_the_walks_row_is_plain_to_recompute():
    row = skill_rows(history(), tracks(), LEVEL)[3]
    close = BARS.close_e5.astype(float)
    moved = np.log(close[START + 4 :] / close[START:-4]) * 1e4
    assert (row.model, row.horizon, row.n, row.effective) == (MODEL_ID, "4h", 796, 199)
    assert row.rmse == pytest.approx(math.sqrt(np.mean(moved**2)), abs=1e-5)
    assert row.mae == pytest.approx(np.mean(np.abs(moved)), abs=1e-5)
    assert (row.calls, row.directional_accuracy, row.dm_t, row.crps_p) == (0, None, None, None)
    assert not row.leak_suspected


def test_every_table_has_the_random_walk_first_at_every_horizon():
    market = history()
    tables = [
        skill_rows(market, tracks(), LEVEL),
        trading_rows(market, tracks(), costs_of(market, 8)),
        calibration_rows(market, tracks()),
        curves(market, tracks(), LEVEL, 100),
    ]
    for table in tables:
        for horizon in HORIZONS:
            models = list(dict.fromkeys(row.model for row in table if row.horizon == horizon))
            assert models == [MODEL_ID, "mlp", "ridge"]
    assert [row.model for row in agreement_rows(market, tracks())] == [MODEL_ID, "mlp", "ridge"]


def test_what_is_forecast_is_the_same_when_everything_after_it_is_another_market():
    """Training, calibration and intervals of two folds and a part of the third, bit for bit."""
    row = 2400
    mine, theirs = (followed(history(series)) for series in (BARS, replaced_after(BARS, row, 5)))
    known = row - START + 1
    for name, each in mine.items():
        for first, second in zip(each, theirs[name], strict=True):
            for field in ("point_e5", "lower_e5", "upper_e5"):
                before, after = getattr(first, field), getattr(second, field)
                assert (before[:known] == after[:known]).all(), (name, field)
                assert (before[known + 50 :] != after[known + 50 :]).any()


def test_the_distribution_is_made_of_scores_whose_truth_has_come():
    random = np.random.default_rng(2)
    before, earned, error = np.abs(random.standard_normal(200)), np.abs(random.standard_normal(72)), np.ones(72)
    ahead, row = 4, 48
    given = tracks_module._distribution(before, earned, error, ahead)
    for first, same in ((row - ahead + 1, True), (row - ahead, False)):
        other = earned.copy()
        other[first:] += 3.0
        changed = tracks_module._distribution(before, other, error, ahead)
        assert all((a[row] == b[row]) == same for a, b in zip(given[:1], changed[:1], strict=True))
    samples = np.concatenate((before, -before))
    low, high = scores.pit_sample(samples[None], error[:1])
    assert (given[1][0], given[2][0]) == (low[0], high[0])
    low, high = scores.pit_sample(samples[None], -0.3 * error[:1])
    assert tracks_module._pit(np.sort(before), np.array([-0.3])) == (low, high)


def test_a_leak_is_seen_and_called_one():
    market = leaky()
    found = followed(market)
    row = next(each for each in skill_rows(market, found, LEVEL) if (each.model, each.horizon) == ("ridge", "1h"))
    assert row.directional_accuracy > 0.9
    assert row.directional_lo > 0.55
    assert row.direction_p < 1e-6
    assert row.leak_suspected
    assert row.dm_t < -5 and row.crps_t < -5  # noqa: PT018
    assert row.crps < 0.6 * skill_rows(market, found, LEVEL)[0].crps
    sure = next(each for each in deflated(trading_rows(market, found, costs_of(market, 8)))
                if (each.model, each.horizon, each.rule) == ("ridge", "1h", "sign"))  # fmt: skip
    assert sure.dsr > 0.95
    assert sure.net > 0


def test_a_bid_that_falls_because_the_spread_widens_is_foreseen_and_the_mid_is_not():
    """Every second hour the bid gives way by 200 points and comes back, while the mid walks on."""
    wide = np.where(np.arange(len(BARS)) % 2 == 0, 410, 10)
    names = ("open_e5", "high_e5", "low_e5", "close_e5")
    sunk = {name: getattr(BARS, name) - (wide - 10) // 2 for name in names}
    sunk["open_e5"] = np.concatenate((sunk["close_e5"][:1], sunk["close_e5"][:-1]))
    sunk["low_e5"] = np.minimum.reduce([sunk["low_e5"], sunk["open_e5"], sunk["close_e5"]])
    sunk["high_e5"] = np.maximum.reduce([sunk["high_e5"], sunk["open_e5"], sunk["close_e5"]])
    market = history(replace(BARS, **sunk, spread_e5=wide))
    found = followed(market)
    row = next(each for each in skill_rows(market, found, LEVEL) if (each.model, each.horizon) == ("ridge", "1h"))
    assert row.directional_accuracy > 0.9
    assert row.leak_suspected
    assert row.directional_mid == pytest.approx(0.5, abs=0.05)
    (trade,) = (each for each in trading_rows(market, found, costs_of(market, 8))
                if (each.model, each.horizon, each.rule) == ("ridge", "1h", "sign"))  # fmt: skip
    assert trade.net < 0
    without = replace(market, series=replace(market.series, spread_e5=None))
    assert {each.directional_mid for each in skill_rows(without, found, LEVEL)} == {None}


def test_without_a_leak_nothing_is_earned():
    rows = deflated(trading_rows(history(), tracks(), costs_of(history(), 8)))
    assert all(row.dsr < 0.95 for row in rows if row.dsr is not None)
    assert {row.trials for row in rows} == {2 * 2 * 2}
    more = deflated(trading_rows(history(), tracks(), costs_of(history(), 8)), 500)
    assert {row.trials for row in more} == {500}
    assert all(a.dsr <= b.dsr for a, b in zip(more, rows, strict=True) if a.dsr is not None)
    for row in rows:
        if row.model == MODEL_ID:
            assert (row.signals, row.net, row.gross, row.sharpe, row.dsr, row.drawdown) == (0, 0, 0, None, None, 0)


def test_costs_are_not_counted_as_luck():
    """A rule that pays its stake away leaves the others' deflated ratio as it is."""
    rows = [row for row in trading_rows(history(), tracks(), costs_of(history(), 8)) if row.sharpe_day is not None]
    ruined = [structs.replace(rows[0], sharpe_day=-5.0), *rows[1:]]
    assert [row.dsr for row in deflated(ruined)][1:] == [row.dsr for row in deflated(rows)][1:]
    assert len({row.luckiest for row in deflated(rows)}) == 1


def test_one_signal_pays_half_the_spread_in_and_out_and_earns_what_the_mid_did():
    market, ahead = history(), 4
    spread = np.full(len(BARS), 12, np.int64)
    called = np.zeros(796, np.int64)
    called[100] = -1
    earned, paid, traded = profits(market, called, ahead, Costs(spread_e5=spread, source="data"))
    mid = BARS.close_e5[START:] + 6.0
    path = mid[100:105]
    assert earned.sum() == pytest.approx(-0.25 * np.sum(path[1:] / path[:-1] - 1))
    assert paid.sum() == pytest.approx(0.25 * (6 / path[0] + 6 / path[4]))
    assert traded.sum() == pytest.approx(0.5)
    assert len(earned) == len(called) + ahead


def test_a_position_that_is_kept_pays_once_and_earns_the_whole_way():
    market = history()
    spread = np.full(len(BARS), 12, np.int64)
    earned, paid, traded = profits(market, np.ones(796, np.int64), 1, Costs(spread_e5=spread, source="data"))
    mid = BARS.close_e5[START:] + 6.0
    assert earned.sum() == pytest.approx(np.sum(np.diff(mid[:797]) / mid[:796]))
    assert paid.sum() == pytest.approx(6 / mid[0] + 6 / mid[796])
    assert traded.sum() == pytest.approx(2.0)


def test_the_interval_rule_acts_only_where_the_narrow_interval_clears_the_spread():
    market = history()
    track = tracks()["ridge"][1]
    place = market.levels_ppm.index(100_000)
    close = market.rows.close_e5[market.tested]
    for spread_e5, some in ((0, True), (10**6, False)):
        costs = Costs(spread_e5=np.full(len(BARS), spread_e5, np.int64), source="data")
        called = signals(market, track, "interval", costs)
        assert (called != 0).any() == some
        assert ((called != 1) | (track.lower_e5[:, place] > close)).all()
        assert ((called != -1) | (track.upper_e5[:, place] < close)).all()
        by_sign = signals(market, track, "sign", costs)
        assert (by_sign[called != 0] == called[called != 0]).all()


def test_costs_come_from_the_data_where_they_have_both_sides():
    spread = BARS.spread_e5.copy()
    spread[5] = 0
    found = costs_of(replace(history(), series=replace(BARS, spread_e5=spread)), 8)
    assert (found.source, found.spread_e5[5], found.spread_e5[6]) == ("data", 8, BARS.spread_e5[6])
    found = costs_of(replace(history(), series=replace(BARS, spread_e5=None)), 8)
    assert (found.source, set(found.spread_e5.tolist())) == ("stated", {8})


def test_contradictions_are_counted_with_what_followed():
    market = history()
    close = market.rows.close_e5[market.tested]
    near = np.where(np.arange(796) % 4 < 3, 1, -1)
    far = np.where(np.arange(796) % 2 == 0, 1, -1)
    far[:96] = 0
    made = {"made": tuple(replace(track, point_e5=close + 50 * side)
                          for track, side in zip(tracks()[MODEL_ID], (near, far), strict=True))}  # fmt: skip
    (row,) = agreement_rows(market, made)
    apart = (far != 0) & (near != far)
    moved = np.log(market.rows.actual_e5[market.tested] / close[:, None])
    assert (row.n, row.called) == (796, 700)
    assert row.contradictions == pytest.approx(apart.sum() / 700, abs=1e-6)
    assert row.short_up == pytest.approx((apart & (near > 0)).sum() / 700, abs=1e-6)
    assert row.short_up + row.short_down == pytest.approx(row.contradictions, abs=2e-6)
    stirred = apart & (moved[:, 1] != 0)
    assert row.long_right == pytest.approx(np.mean(np.sign(moved[stirred, 1]) == far[stirred]), abs=1e-6)
    assert row.followed == pytest.approx(np.mean(near[apart] * moved[apart, 1]) * 1e4, abs=1e-5)
    assert not row.flagged
    opposed = {"made": tuple(replace(track, point_e5=close + side) for track, side in
                             zip(tracks()[MODEL_ID], (50, -50), strict=True))}  # fmt: skip
    (row,) = agreement_rows(market, opposed)
    assert (row.contradictions, row.short_up, row.flagged, row.short_right_agreed) == (1.0, 1.0, True, None)


def test_on_a_market_that_is_what_the_walk_says_every_level_holds_and_the_pit_is_even():
    returns, _ = garch(5, 6000)
    market = history_of(bars_of(returns), ("1h",), (1,), LEVEL, 3000)
    found = followed(market, ())
    (row,) = calibration_rows(market, found)
    for level in row.levels:
        assert level.low - 0.01 <= level.level <= level.high + 0.01
    assert row.pit_p > 1e-3
    assert sum(row.pit) == pytest.approx(1.0, abs=1e-5)
    (curve,) = curves(market, found, LEVEL, 500)
    assert len(curve.coverage) == len(curve.at_ns) == 120
    assert curve.coverage[-1] == pytest.approx(
        found[MODEL_ID][0].held[-500:, market.levels_ppm.index(LEVEL)].mean(), abs=1e-6
    )
    last = market.series
    assert curve.at_ns[-1] == last.ts_open_ns[-1] + last.period_ns


class Sequence:
    """A network that looks at three bars of one feature and expects what the sum of them says."""

    name, task, needs = "sequence", "forecast", ()
    demands = Demands(window=3, feature_names=("ret_1",))

    def fit(self, problem):
        assert problem.inputs.shape[1:] == (3, 1)
        return Dense(weights=(np.full((3, 2), 0.1),), biases=(np.zeros(2),))


def test_a_network_that_looks_at_a_window_is_given_its_own_features_and_the_bars_before():
    net = Sequence()
    market = history_of(BARS, HORIZONS, AHEAD, LEVEL, START, Chosen((net,)))
    rows = rows_for(market, net.demands)
    assert (rows.close_e5 == market.rows.close_e5).all()
    found = follow_all(market, folds_of(market, 3, 10), Chosen((net,)), seed=1, progress=quiet)
    seen = features.compute(from_series(BARS), ("ret_1",))[:, 0]
    called = np.sign(found["sequence"][0].point_e5 - market.rows.close_e5[market.tested])
    wanted = np.array([seen[START + row - 2 : START + row + 1].sum() for row in range(len(called))])
    assert np.mean(called[called != 0] == np.sign(wanted)[called != 0]) > 0.9  # the scaler moves the middle a little
    part = part_of(rows, range(50, 60))
    assert len(part) == 10
    assert part.inputs().tobytes() == rows.inputs(50, 60).tobytes()


def test_too_little_history_is_a_note_and_not_a_failure():
    report = validate(BARS.slice(0, 1200), Settings(horizons=("1h",), models=("ridge",)))
    assert report.skill == ()
    assert "no expanding windows" in report.notes[0]
    assert report.rows
    with pytest.raises(DataError, match="too few to train"):
        folds_of(history_of(BARS.slice(0, 1500), ("1h",), (1,), LEVEL, 400), 3, 10)


def test_models_are_chosen_by_name():
    assert [net.name for net in choose(("ridge", "mlp")).nets] == ["ridge", "mlp"]
    everything = choose(("all",))
    assert {"ridge", "mlp"} <= {net.name for net in everything.nets}
    assert "ensemble_mean" in {way.name for way in everything.ways}
    assert choose(()) == Chosen(())
    twice = ("mlp", "ridge", "ensemble_mean", "ensemble_mean")
    for wrong in (("oracle",), ("ridge", "ridge"), ("autoencoder",), twice):
        with pytest.raises(ConfigError, match="give each once"):
            choose(wrong)
    with pytest.raises(ConfigError, match="ensemble_mean combines the forecasters beside it; name 2 or more"):
        choose(("ridge", "ensemble_mean"))


def test_an_ensemble_is_followed_beside_its_members_with_weights_from_each_window():
    nets = ("mlp", "ridge", "ensemble_mean", "ensemble_attention")
    found = followed(history(), nets)
    assert list(found) == [MODEL_ID, *nets]
    alone = tracks()
    for name in ("mlp", "ridge"):
        for one, same in zip(found[name], alone[name], strict=True):
            assert (one.point_e5 == same.point_e5).all()
    for column in range(len(AHEAD)):
        members = np.stack([found[name][column].point_e5 for name in ("mlp", "ridge")])
        for way in ("ensemble_mean", "ensemble_attention"):
            point_e5 = found[way][column].point_e5
            assert (point_e5 >= members.min(axis=0) - 1).all()
            assert (point_e5 <= members.max(axis=0) + 1).all()
        assert np.abs(found["ensemble_mean"][column].point_e5 - members.mean(axis=0)).max() <= 1.0


def test_an_ensemble_never_looks_ahead():
    nets = ("mlp", "ridge", "ensemble_attention")
    changed = START + 300
    before = followed(history(), nets)
    after = followed(history(replaced_after(BARS, changed, 3)), nets)
    for one, other in zip(before["ensemble_attention"], after["ensemble_attention"], strict=True):
        seen = changed - START
        assert (one.point_e5[:seen] == other.point_e5[:seen]).all()
        assert (one.point_e5[seen:] != other.point_e5[seen:]).any()
    with pytest.raises(ConfigError, match="0 windows"):
        Settings(folds=0)
