"""A whole history at once gives what the daemon would have given bar by bar, and knows nothing that came later."""

import numpy as np
import pytest

from bus.errors import ModelError
from bus.messages import CalibratedForecast, Forecast
from bus.values import default_instrument
from daemon.market import Counters, Market
from models import batch, features
from models.client import admissions
from models.registry import Loaded
from models.serve import Service
from tests.harness.markets import HORIZONS, bar_at, made_up_bars, replaced_after
from tests.harness.trained import BARS, CALIBRATE, TRADE, trained

LEVELS = (900_000, 500_000)


def loaded():
    made = trained()
    return Loaded(artifacts=made.artifacts, active=made.active)


def rows_of(series, *, levels=LEVELS):
    """Every row by close time, model and horizon."""
    found = {}
    for block in batch.forecasts(loaded(), series, levels_ppm=levels):
        for row in range(len(block)):
            key = (int(block.ts_close_ns[row]), block.model[row], int(block.horizon[row]))
            assert key not in found
            found[key] = (
                int(block.point_e5[row]), int(block.sigma_e5[row]), tuple(block.lower_e5[row].tolist()),
                tuple(block.upper_e5[row].tolist()), float(block.actual_e5[row]), bool(block.seen[row]),
            )  # fmt: skip
    return found


def as_the_core_gives_them(history, traded):
    """Every calibrated horizon of a market that is traded after some history, as in a live core."""
    market = Market(default_instrument("EURUSD"), traded.period_ns, Counters())
    for model in admissions(loaded(), ts_init_ns=0):
        market.admit(model, LEVELS)
    for row in range(max(0, len(history) - 256), len(history)):
        market.look_back(bar_at(history, row))
    service, found = Service(loaded().artifacts), {}
    try:
        for row in range(len(traded)):
            bar = bar_at(traded, row)
            market.close(bar)
            market.resolve(bar, bar.ts_close_ns)
            request = market.ask(bar, HORIZONS, bar.ts_close_ns + 10**9)
            for forecast in service.answer(request):
                if not isinstance(forecast, Forecast):
                    continue
                said = market.answer(forecast, bar.ts_close_ns)
                if isinstance(said, CalibratedForecast):
                    for view in said.horizons:
                        found[bar.ts_close_ns, said.model_id, view.horizon] = (
                            view.point_e5, view.sigma_e5, tuple(float(band.lower_e5) for band in view.bands),
                            tuple(float(band.upper_e5) for band in view.bands),
                        )  # fmt: skip
    finally:
        service.close()
    return found


def test_it_is_what_a_live_core_would_have_said():
    history = BARS.slice(0, 1200)
    live = as_the_core_gives_them(history, TRADE)
    series = BARS.slice(len(history) - len(CALIBRATE), len(BARS))
    batched = rows_of(series)
    compared = 0
    for key, (point, sigma, _, _) in live.items():
        ours = batched[key]
        assert abs(ours[0] - point) <= 1  # a batch may add up in another order
        assert ours[1] == sigma
        compared += 1
    assert compared > 3 * 3 * 300


def test_intervals_are_those_of_a_core_that_began_at_the_first_bar():
    live = as_the_core_gives_them(BARS.slice(0, 0), TRADE)
    batched = rows_of(TRADE)
    assert {key for key in batched if key[0] <= max(live)[0]} >= set(live)
    same = [batched[key][2:4] == bands[2:] for key, bands in live.items()]
    assert len(same) > 3 * 3 * 150
    assert np.mean(same) > 0.999  # but for the points that a batch rounds differently


def test_nothing_of_a_row_changes_when_everything_after_it_is_noise():
    whole = rows_of(TRADE)
    for row in (180, 260, 330):
        noisy = rows_of(replaced_after(TRADE, row, seed=row))
        until_ns = int(TRADE.ts_open_ns[row]) + TRADE.period_ns
        kept = [key for key in whole if key[0] <= until_ns]
        assert kept
        assert all(whole[key][:4] == noisy[key][:4] for key in kept)


def test_blocks_of_any_size_give_the_same_table(monkeypatch):
    whole = rows_of(TRADE)
    monkeypatch.setattr(batch, "BLOCK", 37)
    assert str(rows_of(TRADE)) == str(whole)


def test_truths_come_from_the_bar_at_the_horizon_and_are_absent_beyond_the_end():
    close = dict(zip((TRADE.ts_open_ns + TRADE.period_ns).tolist(), TRADE.close_e5.tolist(), strict=True))
    times = sorted(close)
    for (at_ns, _, horizon), row in rows_of(TRADE).items():
        ahead = times.index(at_ns) + horizon
        if ahead < len(times):
            assert row[4] == close[times[ahead]]
        else:
            assert np.isnan(row[4])


def test_rows_that_a_model_learnt_from_are_marked_and_the_walk_learns_from_nothing():
    rows = rows_of(BARS)
    trained_until = int(CALIBRATE.ts_open_ns[-1])
    for (at_ns, model, _), row in rows.items():
        assert row[5] == (model != "random-walk" and at_ns - BARS.period_ns <= trained_until)


def test_a_model_starts_when_its_features_have_their_history():
    first = min(key[0] for key in rows_of(TRADE) if key[1] == loaded().active)
    names = next(a for a in loaded().artifacts if a.model_id == loaded().active).manifest.feature_names
    assert first == int(TRADE.ts_open_ns[features.startup(names) - 1]) + TRADE.period_ns


def test_a_release_of_another_market_is_refused():
    with pytest.raises(ModelError, match=r"forecasts EURUSD .* not GBPUSD"):
        next(batch.forecasts(loaded(), made_up_bars(400, 1, symbol="GBPUSD"), levels_ppm=LEVELS))
