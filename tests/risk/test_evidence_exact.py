"""Every message, standing and state that evidence gives, field by field."""

import random

import msgspec
import pytest

from bus.messages import CoverageChanged, DriftChanged, GateChanged, Histogram, TrainingSummary
from risk.coverage import CoverageState, CoverageTracker
from risk.drift import DataDrift, DriftState, PerformanceDrift, SpectrumDrift
from risk.evidence import Drifted, Evidence, ModelStanding
from risk.policies.models import ModelLimits
from tests.harness.books import NOW_NS
from tests.risk.test_drift import REFERENCE
from tests.risk.test_evidence import MODEL, admitted, evidence, regime, unusual

LEFT = {"degraded": 40, "blocked": 0, "warn": 30, "block": 0}  # percent, with the limits below
LIMITS = {"degraded_pct": 40, "drift_pct": 30}


def coverage_of(tracker, before, ts, *, active=True):
    wide = "; wider than they need to be" if tracker.wide else ""
    return CoverageChanged(
        symbol="EURUSD", model_id=MODEL, horizon=tracker.horizon, active=active, before=before,
        after=tracker.state.value, n=tracker.n, covered=tracker.covered, nominal_ppm=900_000,
        upper_ppm=tracker.upper_ppm(), sum_pct=tracker.sum_pct,
        multiplier_ppm=LEFT.get(tracker.state.value, 100) * 10_000, wide=tracker.wide, ts_init_ns=ts,
        reason=f"{tracker.covered} of {tracker.n} covered, 90 % promised, at most {tracker.upper_ppm() / 1e4:.2f} % "
        f"plausible; sequential test {tracker.sum_pct} % on its way to a block{wide}",
    )  # fmt: skip


def drift_of(drift, kind, horizon, before, ts, *, model_id=MODEL, active=True):
    return DriftChanged(
        symbol="EURUSD", model_id=model_id, kind=kind, horizon=horizon, active=active, before=before,
        after=drift.state.value, what=drift.what, value_pct_e2=drift.value_pct_e2, limit_pct_e2=drift.limit_pct_e2,
        n=drift.n, multiplier_ppm=LEFT.get(drift.state.value, 100) * 10_000, ts_init_ns=ts,
        reason=f"{drift.what}: {drift.value_pct_e2 / 100:.2f} % over {drift.n}, {drift.limit_pct_e2 / 100:g} % allowed",
    )  # fmt: skip


def gate(name, model_id, after, left_pct, reason, ts=NOW_NS, *, active=False):
    return GateChanged(
        symbol="EURUSD", model_id=model_id, gate=name, active=active, before="ok" if after == "closed" else "closed",
        after=after, multiplier_ppm=left_pct * 10_000, reason=reason, ts_init_ns=ts,
    )  # fmt: skip


# --- models ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("horizon", "in_force"), [(1, MODEL), (3, "another")])
def test_each_change_of_coverage_is_told_as_it_is_counted(horizon, in_force):
    limits = ModelLimits(coverage_window=60, false_block_pct_e2=300, performance_drift_pct=0, **LIMITS)
    made = Evidence("EURUSD", limits, 900_000)
    made.admit(admitted(horizons=(horizon,)), [1])
    tracker = CoverageTracker(900_000, 60, horizon=horizon, false_block_pct_e2=300)
    source, told = random.Random(2), set()
    for n, share in enumerate([1.0] * 60 + [0.8] * 60 + [0.3] * 12 + [1.0] * 70):
        for k in range(horizon):
            covered, ts = source.random() < share, 100 * n + k
            before, was_wide = tracker.state.value, tracker.wide
            tracker.add(covered=covered)
            changed = tracker.state.value != before or tracker.wide is not was_wide
            said = made.resolved(MODEL, horizon, 1.0, in_force, ts, covered=covered)
            assert said == ([coverage_of(tracker, before, ts, active=in_force == MODEL)] if changed else [])
            told.update((each.before, each.after, each.wide) for each in said)
            standing = made.standing(MODEL, horizon, ts)
            assert standing == ModelStanding(
                model_id=MODEL, horizon=horizon, coverage=tracker.state, n=tracker.n, covered=tracker.covered,
                nominal_ppm=900_000, expires_ns=ts,
            )  # fmt: skip
            assert made.states(MODEL)[f"coverage {horizon}"] == tracker.state.value
    assert {after for _, after, _ in told} >= {"ok", "degraded", "blocked"}
    assert {wide for *_, wide in told} == {True, False}


def test_each_change_of_performance_is_told_as_it_is_measured():
    made = Evidence("EURUSD", ModelLimits(performance_drift_pct=9, coverage_window=0, **LIMITS), 800_000)
    model = admitted(horizons=(1, 2))
    model = msgspec.structs.replace(model, scores=(model.scores[0][:100], model.scores[1][:51]))
    made.admit(model, [1, 2])
    drifts = {
        horizon: PerformanceDrift(scores, spacing=horizon, horizon=horizon, level_ppm=800_000, limit_pct=9)
        for horizon, scores in zip((1, 2), model.scores, strict=True)
    }
    assert made.states(MODEL) == {
        "performance 1": "unmeasured", "performance 2": "unmeasured", "data": "unmeasured", "spectrum": "unmeasured",
    }  # fmt: skip
    source, told = random.Random(4), []
    for n, size in enumerate([1.0] * 260 + [1.6] * 300 + [0.9] * 500):
        for horizon, drift in drifts.items():
            score = abs(source.gauss(0.0, size))
            before = drift.state.value
            drift.add(score)
            said = made.resolved(MODEL, horizon, score, "another" if n % 2 else MODEL, n, covered=None)
            changed = drift.state.value != before
            wanted = drift_of(drift, "performance", horizon, before, n, active=n % 2 == 0)
            assert said == ([wanted] if changed else [])
            told += [each.after for each in said]
            bad = drift.state in {DriftState.WARN, DriftState.BLOCK}
            assert made.standing(MODEL, horizon, None).drifted == (
                (Drifted(kind="performance", state=drift.state, what=drift.what, value_pct_e2=drift.value_pct_e2,
                         limit_pct_e2=900, n=drift.n),) if bad else ()
            )  # fmt: skip
            assert made.states(MODEL)[f"performance {horizon}"] == drift.state.value
    assert set(told) == {"ok", "warn", "block"}


def test_of_a_model_or_a_horizon_that_is_not_known_nothing_is_taken():
    made = evidence()
    assert made.resolved("nobody", 1, 1.0, MODEL, NOW_NS, covered=False) == []
    assert made.resolved(MODEL, 2, 1.0, MODEL, NOW_NS, covered=False) == []
    assert made.answered("nobody", MODEL, NOW_NS) == made.missed("nobody", MODEL, NOW_NS) == []
    assert made.states("nobody") == {}
    made.dismiss("nobody")
    made.seen(unusual(), MODEL, NOW_NS)
    made.seen(regime(0), MODEL, NOW_NS)
    assert made.standing("nobody", 3, 17) == ModelStanding(
        model_id="nobody", horizon=3, expires_ns=17, unusual="unusual_bar, percentile 99.7 of training"
    )
    assert made.standing(MODEL, 2, 17) == ModelStanding(
        model_id=MODEL, horizon=2, expires_ns=17, unusual="unusual_bar, percentile 99.7 of training",
        nominal_ppm=900_000,
    )  # fmt: skip


def test_a_model_that_does_not_say_everything_of_each_horizon_is_not_admitted():
    made = evidence()
    with pytest.raises(ValueError, match="zip"):
        made.admit(admitted("gru"), [1])
    assert made.states("gru") == {}


def test_a_model_owes_until_it_has_answered_so_often_in_a_row():
    made = evidence(misses=2, answers=3)
    steps = "mmmammaaaamm"
    said = [(made.missed if step == "m" else made.answered)(MODEL, "x" if n % 2 else MODEL, n)
            for n, step in enumerate(steps)]  # fmt: skip
    assert [bool(each) for each in said] == [n in {1, 8, 11} for n in range(len(steps))]
    assert said[1] == [gate("forecasts", MODEL, "closed", 0, "2 forecasts in a row did not come, or came late", 1)]
    assert said[8] == [gate("forecasts", MODEL, "ok", 100, "3 forecasts in a row came in time", 8, active=True)]
    standing = made.standing(MODEL, 1, None)
    assert (standing.owed, standing.silent) == (2, True)
    made.answered(MODEL, MODEL, 20)
    standing = made.standing(MODEL, 1, None)
    assert (standing.owed, standing.silent) == (0, True)


def test_one_miss_is_enough_where_one_is_and_none_where_it_is_off():
    made = evidence(misses=1, answers=1)
    assert len(made.missed(MODEL, MODEL, NOW_NS)) == 1
    assert len(made.answered(MODEL, MODEL, NOW_NS)) == 1
    made = evidence(misses=0)
    assert [made.missed(MODEL, MODEL, NOW_NS) for _ in range(5)] == [[]] * 5


# --- the market --------------------------------------------------------------------------------------------------


def bars(source, count, wild=0):
    """Bars that mostly lie where those of the reference do; of `wild` in ten all lie in one place."""
    for _ in range(count):
        odd = source.randrange(10) < wild
        place = 50 if odd else source.randrange(1_000)
        powers = (0, 0, 0, 0, 900) if odd else (160, 80, 40, 20, 10)
        yield place, source.randrange(1_000), powers


def test_each_drift_of_the_market_is_told_of_each_model_that_learnt_from_such_bars():
    made = Evidence("EURUSD", ModelLimits(data_drift_pct=15, spectrum_drift_pct=18, **LIMITS), 900_000)
    other = TrainingSummary(bars=9, returns=Histogram(edges=(500,), shares_ppm=(500_000, 500_000)), ranges=Histogram(),
                            octaves_ppm=(400_000, 300_000, 100_000, 100_000, 100_000))  # fmt: skip
    plain = {}
    for name, reference in ((MODEL, REFERENCE), ("twin", REFERENCE), ("gru", other), ("old", None)):
        made.admit(admitted(name, reference=reference), [1, 1])
        plain[name] = {"data": DataDrift(reference, limit_pct=15), "spectrum": SpectrumDrift(reference, limit_pct=18)}
    source, told = random.Random(6), set()
    for n, bar in enumerate([*bars(source, 600), *bars(source, 400, 8), *bars(source, 900)]):
        wanted = []
        for name, drifts in plain.items():
            for kind, drift in drifts.items():
                before = drift.state.value
                drift.add(*(bar[:2] if kind == "data" else bar[2:]))
                if drift.state.value != before:
                    wanted.append(drift_of(drift, kind, 0, before, n, model_id=name, active=name == "twin"))
        assert made.bar(bar, "twin", n) == wanted
        told.update((each.model_id, each.kind, each.after) for each in wanted)
        for name, drifts in plain.items():
            assert made.states(name).items() >= {kind: drift.state.value for kind, drift in drifts.items()}.items()
    assert {(name, kind, after) for name in (MODEL, "twin", "gru") for kind in ("data", "spectrum")
            for after in ("ok", "warn", "block")} <= told  # fmt: skip
    assert "old" not in {name for name, *_ in told}


def test_a_bar_without_powers_counts_for_the_distributions_alone_and_one_without_measures_for_nothing():
    made = evidence()
    for n in range(500):
        made.bar((n % 10 * 100 + 50, n % 10 * 100 + 50, None), MODEL, NOW_NS)
        made.bar(None, MODEL, NOW_NS)
    assert (made.states(MODEL)["data"], made.states(MODEL)["spectrum"]) == ("ok", "unmeasured")


def test_a_newcomer_is_held_against_the_newest_five_hundred_bars_and_no_older_ones():
    """Half of the newest bars and a little less lie elsewhere: above two thirds of the limit, and below it."""
    made = Evidence("EURUSD", ModelLimits(data_drift_pct=20), 900_000)
    for _ in range(500):
        made.bar((50, 50, None), MODEL, NOW_NS)
    for n in range(500):  # three tenths of all in one cell of ten: 18 % elsewhere
        place = 50 if n % 10 < 2 else n // 10 % 10 * 100 + 50
        made.bar((place, n % 10 * 100 + 50, None), MODEL, NOW_NS)
    made.admit(admitted(), [1, 1])
    assert made.states(MODEL)["data"] == "ok"
    assert made.standing(MODEL, 1, None).drifted == ()
    assert made.bar((50, 50, None), MODEL, NOW_NS) == []


def test_what_no_model_is_held_against_is_forgotten():
    made = evidence(admitted(), admitted("twin"), admitted("gru", reference=None))
    assert len(made._markets) == 2
    made.dismiss(MODEL)
    assert len(made._markets) == 2
    made.dismiss("twin")
    assert [reference for reference, _ in made._markets] == [None]
    made.dismiss("gru")
    assert made._markets == []


def test_drift_of_the_market_counts_at_every_horizon_and_that_of_performance_at_its_own():
    made = evidence()
    for n in range(100):
        made.resolved(MODEL, 4, 9.0, MODEL, n, covered=None)
    for n in range(300):
        made.resolved(MODEL, 4, 9.0, MODEL, n, covered=None)
    for n in range(500):
        made.bar((50, 50, (0, 0, 0, 0, 9)), MODEL, n)
    kinds = {horizon: [each.kind for each in made.standing(MODEL, horizon, None).drifted] for horizon in (1, 4, 7)}
    assert kinds == {1: ["data", "spectrum"], 4: ["performance", "data", "spectrum"], 7: ["data", "spectrum"]}
    data = made.standing(MODEL, 1, None).drifted[0]
    assert data == Drifted(kind="data", state=DriftState.BLOCK, what="true ranges", value_pct_e2=9_000,
                           limit_pct_e2=2_000, n=500)  # fmt: skip


# --- anomalies and regimes ---------------------------------------------------------------------------------------


def test_what_was_unusual_is_told_when_it_comes_and_when_it_is_gone():
    made = evidence(unusual_bars=2, unusual_pct=35)
    words = "unusual_bar, percentile 99.7 of training"
    assert made.seen(unusual(), "forest-1", 5) == [
        gate("anomaly", "forest-1", "closed", 35, words, 5, active=True)
    ]  # fmt: skip
    assert made.standing(MODEL, 1, None).unusual == words
    assert made.bar(None, MODEL, 6) == []
    again = msgspec.structs.replace(unusual("unusual_candles"), model_id="forest-2", percentile=98.25)
    assert made.seen(again, MODEL, 7) == []
    assert made.standing(MODEL, 1, None).unusual == "unusual_candles, percentile 98.2 of training"
    assert made.bar(None, MODEL, 8) == []
    assert made.bar(None, "forest-2", 9) == [
        gate("anomaly", "forest-2", "ok", 100, "nothing unusual for 2 bars", 9, active=True)
    ]  # fmt: skip
    assert made.standing(MODEL, 1, None).unusual == ""
    assert made.bar(None, MODEL, 10) == []
    assert made.seen(unusual("hammer", threshold=0), MODEL, NOW_NS) == []
    assert len(made.seen(unusual("mild", threshold=1), MODEL, NOW_NS)) == 1
    assert len(made.bar(None, MODEL, 11)) == 0


def test_an_unusual_bar_may_count_for_one_bar():
    made = evidence(unusual_bars=1)
    assert len(made.seen(unusual(), MODEL, NOW_NS)) == 1
    assert len(made.bar(None, MODEL, NOW_NS)) == 1
    assert len(made.seen(unusual(), MODEL, NOW_NS)) == 1


def test_a_regime_to_avoid_and_one_that_is_not_clear_are_told_in_words():
    made = evidence(avoid_regimes=(2,), sure_regime_pct=60, avoided_pct=15)
    sure = "regime 2 of 3, 90 % sure"
    assert made.seen(regime(2), "hmm-1", 1) == [gate("regime", "hmm-1", "closed", 15, sure, 1, active=True)]
    assert made.standing(MODEL, 1, None).avoided == made.standing("nobody", 1, None).avoided == sure
    assert made.seen(regime(1, 599_999), MODEL, 2) == []
    assert made.standing(MODEL, 1, None).avoided == "no clear regime: the most probable, 1, has 60 %"
    assert made.seen(regime(1, 600_000), MODEL, 3) == [gate("regime", "hmm-1", "ok", 100, "regime 1 of 3", 3)]
    assert made.standing(MODEL, 1, None).avoided == ""
    assert made.seen(regime(0), MODEL, 4) == []
    nothing = msgspec.structs.replace(regime(0), probabilities_ppm=())
    unclear = "no clear regime: the most probable, 0, has 0 %"
    assert made.seen(nothing, MODEL, 5) == [gate("regime", "hmm-1", "closed", 15, unclear, 5)]


def test_regimes_of_several_models_are_forgotten_two_bars_after_each_was_told():
    made = evidence(avoid_regimes=(2,))
    made.seen(regime(2, model_id="a"), MODEL, 1)
    made.seen(regime(2, 800_000, model_id="b"), MODEL, 1)
    assert made.standing(MODEL, 1, None).avoided == "regime 2 of 3, 90 % sure"
    assert made.bar(None, MODEL, 2) == []
    assert made.seen(regime(2, 700_000, model_id="a"), MODEL, 2) == []
    assert made.standing(MODEL, 1, None).avoided == "regime 2 of 3, 80 % sure", "the one that was told first"
    assert made.bar(None, "b", 3) == [gate("regime", "b", "ok", 100, "no regime told for 2 bars", 3, active=True)]
    assert made.standing(MODEL, 1, None).avoided == "regime 2 of 3, 70 % sure"
    assert made.bar(None, MODEL, 4) == [gate("regime", "a", "ok", 100, "no regime told for 2 bars", 4)]
    assert made.bar(None, MODEL, 5) == []


def test_all_that_a_bar_ends_is_told_at_once():
    made = evidence(admitted(), avoid_regimes=(2,), unusual_bars=2)
    for n in range(498):
        made.bar((50, 50, (0, 0, 0, 0, 9)), MODEL, n)
    made.seen(unusual(), MODEL, 498)
    made.seen(regime(2), MODEL, 498)
    assert made.bar((50, 50, (0, 0, 0, 0, 9)), MODEL, 499) == []
    said = made.bar((50, 50, (0, 0, 0, 0, 9)), MODEL, 500)
    assert [getattr(each, "gate", "") or each.kind for each in said] == ["anomaly", "regime", "data", "spectrum"]


# --- what follows ------------------------------------------------------------------------------------------------


def drifted(*states):
    return tuple(Drifted(kind="data", state=state, what="", value_pct_e2=0, limit_pct_e2=0, n=0) for state in states)


@pytest.mark.parametrize(
    ("fields", "left_pct"),
    [
        ({}, 100),
        ({"coverage": CoverageState.OK}, 100),
        ({"coverage": CoverageState.DEGRADED}, 70),
        ({"coverage": CoverageState.BLOCKED}, 100),
        ({"drifted": drifted(DriftState.WARN)}, 60),
        ({"drifted": drifted(DriftState.BLOCK)}, 100),
        ({"drifted": drifted(DriftState.BLOCK, DriftState.WARN)}, 60),
        ({"unusual": "x"}, 50),
        ({"avoided": "x"}, 40),
        ({"coverage": CoverageState.DEGRADED, "drifted": drifted(DriftState.WARN), "unusual": "x", "avoided": "x"}, 40),
        ({"coverage": CoverageState.DEGRADED, "drifted": drifted(DriftState.WARN)}, 60),
    ],
)  # fmt: skip
def test_the_smallest_of_what_each_reason_leaves_is_left(fields, left_pct):
    limits = ModelLimits(degraded_pct=70, drift_pct=60, unusual_pct=50, avoided_pct=40)
    assert ModelStanding(model_id=MODEL, horizon=1, **fields).multiplier_ppm(limits) == left_pct * 10_000


def test_what_refuses_is_not_asked_how_much_it_leaves():
    limits = ModelLimits(unusual_pct=0, avoided_pct=0, unusual_bars=2)
    assert ModelStanding(model_id=MODEL, horizon=1, unusual="x", avoided="x").multiplier_ppm(limits) == 1_000_000
    limits = ModelLimits(unusual_pct=1, avoided_pct=1)
    for field in ("unusual", "avoided"):
        assert ModelStanding(model_id=MODEL, horizon=1, **{field: "x"}).multiplier_ppm(limits) == 10_000
