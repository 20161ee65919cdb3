"""The validation measures the intervals that the daemon gives, uses nothing early, and has the walk in every table."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from adapters import history
from bus.calendar import to_ns
from bus.errors import ConfigError, DataError
from bus.messages import Forecast, HorizonForecast, ModelAdmitted
from bus.values import NS_PER_DAY, NS_PER_HOUR, default_instrument
from daemon.market import Counters, Market
from models.train.data import volatilities
from models.train.garch import fit
from models.validate import DEFAULT, Settings, bars_ahead, intervals, run, validate
from models.validate.intervals import online
from tests.harness.markets import bar_at, made_up_bars, replaced_after
from tests.harness.processes import bars_of, garch

BARS = made_up_bars(3000, 11)
FOLDER = Path(__file__).parents[2] / "../shared/data/bars/H1/oanda"
MODELS = {"random-walk", "ewma-random-walk", "garch-random-walk", "seasonal-random-walk"}


@lru_cache(maxsize=4)
def report():
    return validate(BARS, Settings(window_days=20))


def test_every_horizon_has_the_random_walks_and_the_default_among_its_rows():
    for horizon in ("1h", "4h", "1d"):
        rows = [row for row in report().rows if row.horizon == horizon]
        assert {row.model for row in rows} == MODELS
        assert DEFAULT in {(row.model, row.method) for row in rows}
        assert len({(row.model, row.method) for row in rows}) == len(rows)


def test_rows_count_what_they_say_and_allow_for_overlap():
    for row in report().rows:
        ahead = {"1h": 1, "4h": 4, "1d": 24}[row.horizon]
        assert row.n == 900 - ahead
        assert row.effective == row.n // ahead
        assert row.coverage_lo <= row.coverage <= row.coverage_hi
        assert 0.0 <= row.worst_window_coverage <= row.coverage
        assert row.directional_accuracy is None
        assert 0.75 < row.coverage <= 1.0
        assert row.unbounded == 0
        assert row.winkler > row.width > 0 < row.crps
        assert 0.0 <= row.kupiec_p <= 1.0
        assert 0.0 <= row.independence_p <= 1.0


def test_the_gaussians_row_is_plain_to_recompute():
    row = next(r for r in report().rows if (r.horizon, r.model, r.method) == ("4h", "ewma-random-walk", "normal"))
    from models import features
    from models.columns import from_series

    sigma = features.volatility(from_series(BARS))
    start, close = 2100, BARS.close_e5.astype(float)
    held, winkler = [], []
    for at in range(start, 3000 - 4):
        half = np.ceil(1.6448536269514722 * np.floor(close[at] * sigma[at] * 2 + 0.5))
        moved = abs(close[at + 4] - close[at])
        held.append(moved <= half)
        winkler.append((2 * half + 20 * max(0.0, moved - half)) / close[at] * 1e4)
    assert row.coverage == pytest.approx(np.mean(held), abs=1e-6)
    assert row.winkler == pytest.approx(np.mean(winkler), abs=1e-5)


def test_static_split_knows_the_older_part_and_nothing_else():
    row = next(r for r in report().rows if (r.horizon, r.model, r.method) == ("1h", "random-walk", "split"))
    close = BARS.close_e5.astype(float)
    moved = np.abs(np.diff(close)) / close[:-1]
    threshold = np.sort(moved[:2099])[int(np.ceil(2100 * 0.9)) - 1]
    held = np.abs(np.diff(close))[2100:] <= np.ceil(threshold * close[2100:-1])
    assert row.coverage == pytest.approx(held.mean(), abs=1e-6)


def test_the_rivals_are_those_that_must_be_beaten():
    for rival in report().rivals:
        ours, theirs = (
            next(r for r in report().rows if (r.horizon, r.model, r.method) == (rival.horizon, *who))
            for who in (DEFAULT, (rival.model, rival.method))
        )
        assert rival.ratio == pytest.approx(ours.winkler / theirs.winkler, abs=1e-5)
        assert (rival.t < 0) == (rival.ratio < 1)
    assert {rival.method for rival in report().rivals} == {"split", "rolling", "normal"}
    assert len(report().rivals) == 3 * 4


def test_joint_bands_hold_whole_paths():
    rows = {row.method: row for row in report().joint}
    assert set(rows) == {"max-score", "bonferroni"}
    for row in rows.values():
        assert row.n == 900 - 24
        assert row.coverage_lo <= 0.9
        assert row.coverage_hi >= 0.88
        assert row.width > 0
    assert validate(BARS.slice(0, 1500), Settings(horizons=("1h",))).joint == ()


@pytest.mark.parametrize("method", ["rolling", "aci", "dtaci", "pid"])
@pytest.mark.parametrize("ahead", [1, 4, 24])
def test_an_interval_is_the_same_when_everything_after_its_issue_is_another_market(method, ahead):
    row = 2400
    issued = []
    for series in (BARS, replaced_after(BARS, row, 5), BARS.slice(0, row + 1 + ahead)):
        scales, _ = volatilities(series, horizons=(ahead,))
        given = online(series.close_e5, scales[:, 0], ahead, 900_000, method, 2000)
        issued.append((given.lower_e5[: row - 1999].tolist(), given.upper_e5[: row - 1999].tolist()))
    assert issued[0] == issued[1] == issued[2]


def test_what_is_fitted_once_knows_nothing_of_the_part_that_is_tested():
    """GARCH, the static split and the first forecasts' CRPS, with another market from the first tested forecast on."""
    start, bars = 2100, (1, 24)
    other = replaced_after(BARS, start, 5)
    scales, changed = (run._scales(series, bars, start, lambda _stage, _share: None) for series in (BARS, other))
    assert set(scales) == MODELS
    for model, scale in scales.items():
        assert (scale[: start + 1] == changed[model][: start + 1]).all(), model
    for column, ahead in enumerate(bars):
        own = scales["ewma-random-walk"][:, column]
        first, again = (
            intervals.static(series.close_e5, own, ahead, 900_000, start) for series in (BARS, other)
        )  # fmt: skip
        assert (first.lower_e5[0], first.upper_e5[0]) == (again.lower_e5[0], again.upper_e5[0])
        # the truth of the first forecast stays; what happens on the way to it must not matter
        close = BARS.close_e5.copy()
        close[start + 1 : start + ahead] += 5000
        for crps in (intervals.crps_static, intervals.crps_rolling, intervals.crps_normal):
            assert crps(close, own, ahead, start)[0] == crps(BARS.close_e5, own, ahead, start)[0]


def test_the_default_gives_the_intervals_that_the_daemon_gives():
    """The market inside the core, fed the same bars and forecasts, issues the same bands, bar by bar."""
    market = Market(default_instrument("EURUSD"), NS_PER_HOUR, Counters())
    scales, _ = volatilities(BARS, horizons=(1, 4, 24))
    warm = 600
    known = int(np.argmax(scales[:, 0] > 0))
    _, volatility = volatilities(BARS.slice(0, warm), horizons=(1,))
    market.admit(
        ModelAdmitted(model_id="walk", kind="random_walk", symbol="EURUSD", active=True, horizons=(1, 4, 24),
                      scores=((), (), ()), ts_init_ns=0, volatility=volatility.state()),
        (900_000,),
    )  # fmt: skip
    for row in range(max(0, warm - 256), warm):
        market.look_back(bar_at(BARS, row))
    given = {1: [], 4: [], 24: []}
    for row in range(warm, 1400):
        bar = bar_at(BARS, row)
        market.close(bar)
        market.resolve(bar, bar.ts_close_ns)
        request = market.ask(bar, (1, 4, 24), bar.ts_close_ns + 10**9)
        close = bar.close_e5
        answer = Forecast(
            request_id=request.request_id, symbol="EURUSD", model_id="walk", as_of_ns=request.as_of_ns,
            expires_ns=request.deadline_ns, ts_init_ns=request.as_of_ns,
            horizons=tuple(HorizonForecast(horizon=h, point_e5=close, sigma_e5=77) for h in (1, 4, 24)),
        )  # fmt: skip
        for view in market.answer(answer, bar.ts_close_ns).horizons:
            given[view.horizon].append((view.bands[0].lower_e5, view.bands[0].upper_e5))
    assert known < warm
    for column, ahead in enumerate((1, 4, 24)):
        own = scales[:, column].copy()
        own[:warm] = 0  # the daemon's calibrator started empty there
        issued = online(BARS.close_e5[:1400], own[:1400], ahead, 900_000, "pid", warm)
        assert given[ahead][: 800 - ahead] == list(zip(issued.lower_e5.tolist(), issued.upper_e5.tolist(), strict=True))


def test_garch_finds_the_process_that_made_the_data():
    returns, sigmas = garch(3, 20_000)
    found = fit(returns * 1e-4)
    assert found.alpha == pytest.approx(0.08, abs=0.02)
    assert found.beta == pytest.approx(0.90, abs=0.03)
    assert found.unconditional == pytest.approx(1e-8, rel=0.2)
    variances = found.variances(returns * 1e-4)
    assert np.corrcoef(np.sqrt(variances[:-1]), sigmas[1:])[0, 1] > 0.98
    # the variance of a sum, by iterating the one-step forecast
    ahead, total = variances[100], 0.0
    for _ in range(24):
        total += ahead
        ahead = found.omega + (found.alpha + found.beta) * ahead
    assert found.over(variances[100:101], 24)[0] == pytest.approx(total)
    for bad in (returns[:100], np.zeros(1000), np.full(1000, np.nan)):
        with pytest.raises(DataError, match="GARCH"):
            fit(bad)


@pytest.mark.parametrize("seed", [5, 7, 39])
def test_garch_stays_sane_where_variance_never_changes(seed):
    """Nothing to find there: the likelihood is flat and the search ends at beta = 1, which returns to nothing."""
    returns = 0.006 * np.random.default_rng(seed).standard_normal(700)
    found = fit(returns)
    variances = found.variances(returns)
    assert np.sqrt(variances) == pytest.approx(0.006, rel=0.3)
    assert np.sqrt(found.over(variances, 24) / 24) == pytest.approx(0.006, rel=0.3)
    assert found.alpha + found.beta < 1.0 - 1e-7


def test_on_garch_every_honest_method_holds_its_level_and_the_fitted_model_is_hard_to_beat():
    returns, _ = garch(5, 8000)
    rows = {
        (row.model, row.method): row
        for row in validate(bars_of(returns), Settings(horizons=("1h",), window_days=40)).rows
    }
    for (model, _), row in rows.items():
        if model != "ewma-random-walk":
            assert row.coverage_lo - 0.01 <= 0.9 <= row.coverage_hi + 0.01, row
    best = rows["garch-random-walk", "normal"].winkler
    assert best <= rows[DEFAULT].winkler <= 1.05 * best
    assert rows["random-walk", "split"].winkler > rows[DEFAULT].winkler


def test_horizons_are_whole_bars():
    assert [bars_ahead(h, NS_PER_HOUR) for h in ("1h", "4h", "1d", "1w")] == [1, 4, 24, 120]
    assert bars_ahead("90m", NS_PER_HOUR // 2) == 3
    assert bars_ahead("1d", NS_PER_DAY) == 1
    for bad in ("30m", "h", "0h", "4 h", "1y"):
        with pytest.raises(ConfigError, match="horizon"):
            bars_ahead(bad, NS_PER_HOUR)


def test_what_cannot_be_measured_is_refused_with_the_reason():
    for wrong in (
        {"horizons": ()}, {"horizons": ("1h", "1h")}, {"level_ppm": 0}, {"level_ppm": 1_000_000},
        {"test_fraction": 0.0}, {"test_fraction": 1.0}, {"window_days": 0},
    ):  # fmt: skip
        with pytest.raises(ConfigError):
            Settings(**wrong)
    with pytest.raises(DataError, match="too few"):
        validate(BARS.slice(0, 600), Settings())
    with pytest.raises(DataError, match="impossible prices"):
        validate(replace(BARS, low_e5=BARS.high_e5 + 1), Settings())


@pytest.mark.slow
@pytest.mark.skipif(not FOLDER.is_dir(), reason="no real bars in ../shared/data")
@pytest.mark.parametrize("symbol", ["EURUSD", "GBPJPY"])
def test_on_real_hours_the_default_keeps_its_promise_and_beats_its_rivals(symbol):
    (series,) = history.read(FOLDER, symbol=symbol)
    from datetime import UTC, datetime

    start = int(np.searchsorted(series.ts_open_ns, to_ns(datetime(2016, 1, 7, tzinfo=UTC))))
    found = validate(series.slice(start, len(series)), Settings())
    for row in found.rows:
        if (row.model, row.method) == DEFAULT:
            assert row.coverage == pytest.approx(0.9, abs=0.02 if row.horizon == "1d" else 0.01)
            assert row.worst_window_coverage >= 0.85
            assert row.unbounded == 0
    assert len(found.rivals) == 12
    assert all(rival.ratio < 1.0 for rival in found.rivals)
    assert all(row.coverage_lo <= 0.9 <= row.coverage_hi for row in found.joint if row.method == "max-score")
