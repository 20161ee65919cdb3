"""Coverage, its tests and drift against SciPy and plain sums, at their boundaries."""

import math
from statistics import mean, stdev

import pytest
from scipy import stats

from bus.messages import Band, ForecastResolved
from risk.adherence.intervals import Truth, by_key, coverage, drift, independence_p, kupiec_p, truth_of
from risk.adherence.rolled import CoverageTest, Drift
from tests.harness.desk import OTHER, RIDGE, T

WIDE, NARROW = 900_000, 500_000


def resolved(at=0, *, actual=110_012, point=110_000, sigma=30, bands=None, covered=None, **more):
    if bands is None:
        bands = tuple(Band(level_ppm=level, lower_e5=point - half, upper_e5=point + half + 1, bounded=True)
                      for level, half in ((WIDE, 50), (NARROW, 20)))  # fmt: skip
    if covered is None:
        covered = tuple(band.lower_e5 <= actual <= band.upper_e5 for band in bands)
    values = {"symbol": "EURUSD", "model_id": RIDGE, "active": True, "horizon": 1} | more
    return ForecastResolved(as_of_ns=T + at, close_e5=110_000, point_e5=point, sigma_e5=sigma, actual_e5=actual,
                            bands=bands, covered=covered, ts_init_ns=T + at + 7, **values)  # fmt: skip


def truth(error=1.0, *, held=None, width=None, symbol="EURUSD", model=RIDGE, horizon=1, active=True, at=0):
    return Truth(ts_ns=at, symbol=symbol, model_id=model, active=active, horizon=horizon, error=error,
                 held=held or {}, width_e5=width or {})  # fmt: skip


# --- one truth -----------------------------------------------------------------------------------------------------


def test_of_a_resolved_forecast_is_kept_its_error_in_sigmas_and_what_its_bounded_intervals_held():
    fact = resolved(5, actual=110_045, model_id=OTHER, active=False, horizon=4, symbol="USDJPY")
    assert truth_of(fact) == Truth(
        ts_ns=T + 12, symbol="USDJPY", model_id=OTHER, active=False, horizon=4, error=1.5,
        held={WIDE: True, NARROW: False}, width_e5={WIDE: 101, NARROW: 41},
    )  # fmt: skip
    assert truth_of(resolved(actual=109_970)).error == 1.0
    assert truth_of(resolved(sigma=0)).error == 12.0, "a sigma of nothing is taken as one point"
    assert truth_of(resolved(sigma=1)).error == 12.0
    assert truth_of(resolved(sigma=2)).error == 6.0
    bands = (Band(level_ppm=WIDE, lower_e5=0, upper_e5=9, bounded=False),
             Band(level_ppm=NARROW, lower_e5=100, upper_e5=130, bounded=True))  # fmt: skip
    partly = truth_of(resolved(bands=bands, covered=(True, False)))
    assert (partly.held, partly.width_e5) == ({NARROW: False}, {NARROW: 30})
    with pytest.raises(ValueError, match="shorter"):
        truth_of(resolved(covered=(True,)))


def test_truths_are_sorted_by_symbol_model_and_horizon_each_in_order():
    told = [truth(1.0), truth(2.0, horizon=4), truth(3.0), truth(4.0, model=OTHER), truth(5.0, symbol="USDJPY")]

    assert {key: [each.error for each in rows] for key, rows in by_key(told).items()} == {
        ("EURUSD", RIDGE, 1): [1.0, 3.0], ("EURUSD", RIDGE, 4): [2.0], ("EURUSD", OTHER, 1): [4.0],
        ("USDJPY", RIDGE, 1): [5.0],
    }  # fmt: skip


# --- coverage ------------------------------------------------------------------------------------------------------


def test_a_row_counts_overlapping_forecasts_once_and_tests_those_that_stand_apart():
    missed = {0, 3, 8, 9, 20, 24, 25, 33, 36, 44, 60, 64, 65, 70, 88, 90, 96, 100, 104, 108, 112}
    rows = [truth(held={WIDE: at not in missed}, width={WIDE: 100 + at}, horizon=4, active=at > 100)
            for at in range(122)]  # fmt: skip
    (row,) = coverage({("EURUSD", RIDGE, 4): rows}, {"EURUSD": 5})

    n, covered = 122, 122 - len(missed)
    apart = [at not in missed for at in range(0, 122, 4)]
    k = covered * 30 / 122
    assert row == CoverageTest(
        symbol="EURUSD", model_id=RIDGE, active=True, horizon=4, level=0.9, n=n, covered=covered, measured=covered / n,
        independent=30, low=pytest.approx(stats.beta.ppf(0.025, k, 30 - k + 1), rel=1e-6),
        high=pytest.approx(stats.beta.ppf(0.975, k + 1, 30 - k), rel=1e-6),
        mean_width_pips=pytest.approx((100 + 121 / 2) / 5), kupiec_p=kupiec_p(14, 31, 1 - 0.9),
        independence_p=independence_p(apart),
    )  # fmt: skip
    assert apart.count(False) == 14
    assert row.independence_p is not None


def test_the_widest_level_comes_first_and_each_counts_those_that_told_it():
    rows = [truth(held={WIDE: True, NARROW: False}, width={WIDE: 40, NARROW: 20}),
            truth(held={NARROW: True}, width={NARROW: 40}, active=False)]  # fmt: skip
    found = coverage({("USDJPY", RIDGE, 1): rows[:1], ("EURUSD", RIDGE, 1): rows}, {})

    assert [(row.symbol, row.level, row.n, row.covered, row.active, row.mean_width_pips) for row in found] == [
        ("EURUSD", 0.9, 1, 1, True, 4.0), ("EURUSD", 0.5, 2, 1, False, 3.0), ("USDJPY", 0.9, 1, 1, True, 4.0),
        ("USDJPY", 0.5, 1, 0, True, 2.0),
    ]  # fmt: skip
    (few,) = coverage({("EURUSD", RIDGE, 24): [truth(held={WIDE: True}, width={WIDE: 1}, horizon=24)] * 3}, {})
    assert (few.independent, few.n, few.low, few.high) == (1, 3, pytest.approx(0.025), 1.0)
    assert (few.kupiec_p, few.independence_p) == (1.0, None)
    assert coverage({}, {}) == ()


# --- tests ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("misses", "n", "alpha"), [(0, 20, 0.1), (4, 60, 0.1), (1, 3, 0.5), (57, 60, 0.9), (2, 9, 0.2)]
)
def test_few_misses_or_hits_are_tested_by_the_exact_binomial(misses, n, alpha):
    assert kupiec_p(misses, n, alpha) == pytest.approx(stats.binomtest(misses, n, alpha).pvalue, rel=1e-9)


def test_nothing_is_surer_than_certain():
    assert kupiec_p(1, 3, 0.5) == kupiec_p(4, 49, 0.1) == 1.0


@pytest.mark.parametrize(
    ("misses", "n", "alpha"), [(5, 60, 0.1), (20, 60, 0.1), (55, 60, 0.9), (30, 60, 0.5), (12, 60, 0.1)]
)
def test_more_of_both_are_tested_by_the_likelihood_ratio(misses, n, alpha):
    share = misses / n
    ratio = 2 * (misses * math.log(share / alpha) + (n - misses) * math.log((1 - share) / (1 - alpha)))

    assert kupiec_p(misses, n, alpha) == pytest.approx(stats.chi2.sf(ratio, 1), rel=1e-6, abs=1e-12)


def christoffersen(n00, n01, n10, n11):
    def log_of(hits, misses):
        total = hits + misses
        return sum(count * math.log(count / total) for count in (hits, misses) if count)

    ratio = 2 * (log_of(n00, n01) + log_of(n10, n11) - log_of(n00 + n10, n01 + n11))
    return stats.chi2.sf(ratio, 1)


@pytest.mark.parametrize(
    ("held", "moves"),
    [
        ("HHMHHHMMHHHHMHMH", (6, 4, 4, 1)),
        ("HMHMHMHM", (0, 4, 3, 0)),
        ("HHHHMMMM", (3, 1, 0, 3)),
        ("MHHHHH", (4, 0, 1, 0)),
        ("HHHHHM", (4, 1, 0, 0)),
        ("HHMHM", (1, 2, 1, 0)),
        ("HMMH", (0, 1, 1, 1)),
        ("MMMH", (0, 0, 1, 2)),
        ("HHM", (1, 1, 0, 0)),
        ("HM", (0, 1, 0, 0)),
        ("MHM", (0, 1, 1, 0)),
        ("MM", (0, 0, 0, 1)),
        ("H", (0, 0, 0, 0)),
        ("", (0, 0, 0, 0)),
    ],
)
def test_independence_is_the_likelihood_ratio_of_a_chain(held, moves):
    n00, n01, n10, n11 = moves
    found = independence_p([each == "H" for each in held])

    if n00 + n10 and n01 + n11:
        assert found == pytest.approx(christoffersen(*moves), rel=1e-6, abs=1e-12)
    else:
        assert found is None


# --- drift ---------------------------------------------------------------------------------------------------------

KEY = ("EURUSD", RIDGE, 2)
EARLIER = [truth(1.0 + (at % 3) / 10, horizon=2) for at in range(40)]
NOW = [truth(1.3 + (at % 4) / 10, horizon=2, active=at > 20) for at in range(31)]


def test_drift_compares_mean_errors_over_what_does_not_overlap():
    (row,) = drift({KEY: EARLIER}, {KEY: NOW})

    then, now = [each.error for each in EARLIER], [each.error for each in NOW]
    error = math.hypot(stdev(then) / math.sqrt(20), stdev(now) / math.sqrt(15))
    assert row == Drift(
        symbol="EURUSD", model_id=RIDGE, horizon=2, n_before=40, n=31, before=pytest.approx(mean(then)),
        now=pytest.approx(mean(now)), change_pct=pytest.approx(100 * (mean(now) - mean(then)) / mean(then)),
        t=pytest.approx((mean(now) - mean(then)) / error),
    )  # fmt: skip


def test_drift_needs_thirty_on_both_sides_and_a_model_that_trades():
    assert len(drift({KEY: EARLIER[:30]}, {KEY: NOW[:30]})) == 1
    assert drift({KEY: EARLIER[:29]}, {KEY: NOW}) == ()
    assert drift({KEY: EARLIER}, {KEY: NOW[:29]}) == ()
    assert drift({}, {KEY: NOW}) == ()
    assert drift({KEY: EARLIER}, {KEY: [*NOW, truth(1.0, active=False)]}) == ()
    others = {("EURUSD", OTHER, 1): NOW[:9], KEY: NOW, ("USDJPY", RIDGE, 2): NOW}
    assert [row.symbol for row in drift({KEY: EARLIER, ("USDJPY", RIDGE, 2): EARLIER}, others)] == ["EURUSD", "USDJPY"]


def test_errors_that_never_vary_or_never_were_have_no_statistic():
    (still,) = drift({KEY: [truth(1.0)] * 30}, {KEY: [truth(1.5)] * 30})
    assert (still.change_pct, still.t) == (50.0, None)
    (perfect,) = drift({KEY: [truth(0.0)] * 30}, {KEY: NOW})
    assert perfect.change_pct == 0.0
    assert perfect.t is not None
    (small,) = drift({KEY: EARLIER}, {("EURUSD", RIDGE, 2): [truth(1.0 + at / 1e6, horizon=50) for at in range(30)]})
    assert small.t is not None
    long = ("EURUSD", RIDGE, 90)
    (row,) = drift({long: EARLIER}, {long: NOW})
    assert row.t == pytest.approx((row.now - row.before) / math.hypot(
        stdev(each.error for each in EARLIER), stdev(each.error for each in NOW)))  # fmt: skip
