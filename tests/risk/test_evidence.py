"""What is measured of models becomes states, messages, sizes and refusals."""

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.errors import ConfigError
from bus.messages import (
    CoverageChanged,
    DriftChanged,
    GateChanged,
    IntentRefused,
    ModelAdmitted,
    PatternSeen,
    RegimeSeen,
    SubmitOrder,
)
from risk.coverage import CoverageState
from risk.drift import DriftState
from risk.evidence import Drifted, Evidence, ModelStanding
from risk.gate import review
from risk.policies.models import ModelLimits
from risk.policy import Policy
from risk.sizing import SizingSettings
from tests.harness.books import NOW_NS, begun, entry
from tests.risk.test_drift import REFERENCE, half_normal

MODEL = "ridge-1"


def admitted(model_id=MODEL, *, horizons=(1, 4), reference=REFERENCE, seed=1):
    scores = tuple(half_normal(random.Random(seed), 500))
    return ModelAdmitted(model_id=model_id, kind="ridge", symbol="EURUSD", active=True, horizons=horizons,
                         scores=(scores,) * len(horizons), ts_init_ns=0, reference=reference)  # fmt: skip


def evidence(*models, **limits):
    made = Evidence("EURUSD", ModelLimits(**limits), 900_000)
    for each in models or (admitted(),):
        made.admit(each, [1] * len(each.horizons))
    return made


def truths(made, outcomes, horizon=1, model_id=MODEL, score=1.0):
    said = []
    for outcome in outcomes:
        said += made.resolved(model_id, horizon, score, MODEL, NOW_NS, covered=outcome)
    return said


def unusual(pattern="unusual_bar", threshold=500_000):
    return PatternSeen(request_id="r", symbol="EURUSD", pattern=pattern, model_id="forest-1", as_of_ns=0,
                       error_ppm=600_000, threshold_ppm=threshold, percentile=99.7, candles=(0,),
                       ts_init_ns=0)  # fmt: skip


def regime(state, sure=900_000, model_id="hmm-1"):
    others = (1_000_000 - sure) // 2
    shares = tuple(sure if each == state else others for each in range(3))
    return RegimeSeen(request_id="r", symbol="EURUSD", model_id=model_id, as_of_ns=0, regime=state, before=state,
                      probabilities_ppm=shares, ts_init_ns=0)  # fmt: skip


def states_of(said, kind):
    return [(each.before, each.after) for each in said if isinstance(each, kind)]


# --- coverage -----------------------------------------------------------------------------------------------------


def test_a_change_of_coverage_says_everything_about_itself():
    made = evidence()
    said = truths(made, [True] * 60 + [False] * 9)
    changes = [each for each in said if isinstance(each, CoverageChanged)]
    assert [(each.before, each.after) for each in changes] == [
        ("unmeasured", "ok"), ("ok", "ok"), ("ok", "ok"), ("ok", "degraded"), ("degraded", "blocked"),
    ]  # fmt: skip
    assert [each.wide for each in changes] == [False, True, False, False, False]
    last = changes[-1]
    assert (last.symbol, last.model_id, last.horizon, last.active) == ("EURUSD", MODEL, 1, True)
    assert (last.n, last.covered, last.nominal_ppm, last.multiplier_ppm, last.sum_pct) == (68, 60, 900_000, 0, 100)
    assert 880_000 < last.upper_ppm < 980_000
    assert last.reason.startswith("60 of 68 covered, 90 % promised, at most ")
    assert changes[-2].multiplier_ppm == 500_000


def test_intervals_without_limits_are_not_counted():
    made = evidence()
    assert truths(made, [None] * 400) == [] or not states_of(truths(made, [None] * 400), CoverageChanged)
    assert made.standing(MODEL, 1, None).n == 0


def test_horizons_and_models_are_measured_apart():
    made = evidence(admitted(), admitted("gru-1"))
    truths(made, [False] * 20)
    assert made.standing(MODEL, 1, None).coverage is CoverageState.BLOCKED
    assert made.standing(MODEL, 4, None).coverage is CoverageState.UNMEASURED
    assert made.standing("gru-1", 1, None).coverage is CoverageState.UNMEASURED


def test_a_model_admitted_anew_is_measured_anew_and_one_dismissed_not_at_all():
    made = evidence()
    truths(made, [False] * 20)
    made.admit(admitted(), [1, 1])
    assert made.standing(MODEL, 1, None).coverage is CoverageState.UNMEASURED
    truths(made, [False] * 20)
    made.dismiss(MODEL)
    assert made.standing(MODEL, 1, None) == ModelStanding(model_id=MODEL, horizon=1)
    assert truths(made, [False] * 20) == []


def test_what_is_off_is_not_measured():
    made = evidence(coverage_window=0, performance_drift_pct=0, data_drift_pct=0, spectrum_drift_pct=0, misses=0,
                    unusual_bars=0)  # fmt: skip
    assert truths(made, [False] * 400, score=50.0) == []
    for _ in range(600):
        assert made.bar((9_999, 9_999, (0, 0, 0, 0, 9)), MODEL, NOW_NS) == []
    assert [made.missed(MODEL, MODEL, NOW_NS) for _ in range(9)] == [[]] * 9
    assert made.seen(unusual(), MODEL, NOW_NS) == []
    assert made.states(MODEL) == {}


# --- drift --------------------------------------------------------------------------------------------------------


def test_drift_of_performance_is_told_for_its_horizon_and_that_of_the_market_for_all():
    made = evidence()
    said = truths(made, [True] * 100, score=9.0)
    assert states_of(said, DriftChanged) == [("unmeasured", "block")]
    change = next(each for each in said if isinstance(each, DriftChanged))
    assert (change.kind, change.horizon, change.what) == ("performance", 1, "Winkler score 1 bars ahead")
    assert (change.limit_pct_e2, change.n, change.multiplier_ppm) == (1_500, 100, 0)
    assert f"{change.value_pct_e2 / 100:.2f} % over 100, 15 % allowed" in change.reason
    assert not made.standing(MODEL, 4, None).drifted
    said = []
    for _ in range(500):
        said += made.bar((50, 50, (0, 0, 0, 0, 9)), MODEL, NOW_NS)
    assert [(each.kind, each.after) for each in said] == [("data", "block"), ("spectrum", "block")]
    for horizon in (1, 4):
        assert {"data", "spectrum"} <= {each.kind for each in made.standing(MODEL, horizon, None).drifted}


def test_a_newcomer_is_held_against_the_bars_of_late_at_once():
    made = evidence(admitted(reference=None))
    for _ in range(500):
        assert made.bar((50, 50, (0, 0, 0, 0, 9)), MODEL, NOW_NS) == []
    assert made.states(MODEL)["data"] == "no reference"
    made.admit(admitted("gru-1"), [1, 1])
    assert {each.kind for each in made.standing("gru-1", 1, None).drifted} == {"data", "spectrum"}


# --- silence, anomalies, regimes ------------------------------------------------------------------------------------


def test_a_model_that_falls_silent_must_answer_steadily_before_it_counts_again():
    made, told = evidence(misses=3, answers=2), []
    for came in (True, False, False, True, False, False, False, False, True, False, True, True, True):
        step = made.answered if came else made.missed
        told += states_of(step(MODEL, MODEL, NOW_NS), GateChanged)
        told.append(made.standing(MODEL, 1, None).silent)
    assert told == [
        False, False, False, False, False, False, ("ok", "closed"), True, True, True, True, True, ("closed", "ok"),
        False, False,
    ]  # fmt: skip


def test_an_unusual_bar_is_remembered_for_some_bars_and_told_once():
    made = evidence(unusual_bars=2)
    (opened,) = made.seen(unusual(), MODEL, NOW_NS)
    assert (opened.gate, opened.model_id, opened.after, opened.multiplier_ppm) == (
        "anomaly", "forest-1", "closed", 500_000,
    )  # fmt: skip
    assert made.seen(unusual("unusual_candles"), MODEL, NOW_NS) == []
    assert made.bar(None, MODEL, NOW_NS) == []
    assert made.standing(MODEL, 1, None).unusual == "unusual_candles, percentile 99.7 of training"
    assert states_of(made.bar(None, MODEL, NOW_NS), GateChanged) == [("closed", "ok")]
    assert made.standing(MODEL, 1, None).unusual == ""
    assert made.bar(None, MODEL, NOW_NS) == []


def test_a_named_pattern_is_an_opinion_and_closes_nothing():
    assert evidence().seen(unusual("hammer", threshold=0), MODEL, NOW_NS) == []


def test_regimes_are_avoided_where_somebody_listed_them_or_none_is_clear():
    made = evidence(avoid_regimes=(2,), sure_regime_pct=60)
    told = [states_of(made.seen(seen, MODEL, NOW_NS), GateChanged)
            for seen in (regime(0), regime(2), regime(2), regime(1, 500_000), regime(1))]  # fmt: skip
    assert told == [[], [("ok", "closed")], [], [], [("closed", "ok")]]
    assert evidence().seen(regime(2), MODEL, NOW_NS) == []


def test_a_regime_that_nobody_confirms_is_forgotten():
    made = evidence(avoid_regimes=(2,))
    made.seen(regime(2), MODEL, NOW_NS)
    assert made.bar(None, MODEL, NOW_NS) == []
    assert made.standing(MODEL, 1, None).avoided
    assert states_of(made.bar(None, MODEL, NOW_NS), GateChanged) == [("closed", "ok")]
    assert not made.standing(MODEL, 1, None).avoided


# --- what follows -------------------------------------------------------------------------------------------------

BASE = ModelStanding(model_id=MODEL, horizon=1, coverage=CoverageState.OK, n=250, covered=225, nominal_ppm=900_000)


def drifted(state):
    return (Drifted(kind="data", state=state, what="returns", value_pct_e2=4_100, limit_pct_e2=2_000, n=500),)


def ask(model, **limits):
    policy = Policy(models=ModelLimits(**limits), max_position_pct_equity=0, max_exposure_pct_equity=0,
                    max_leverage_pct=0, min_free_margin_pct=0)  # fmt: skip
    return review(entry(), begun(), policy, SizingSettings(method="percent"), NOW_NS, client_order_id="a", model=model)


def changed(**fields):
    return msgspec.structs.replace(BASE, **fields)


@pytest.mark.parametrize(
    ("model", "limits", "rule", "said"),
    [
        (changed(expires_ns=NOW_NS - 10**9), {}, "forecast_expired", "1.000 s past its end"),
        (changed(expires_ns=0), {}, "forecast_expired", "long past"),
        (changed(silent=True, owed=4), {}, "forecasts_missing", "4 owed by ridge-1"),
        (changed(silent=True), {}, "forecasts_missing", "fewer than 3 in time"),
        (changed(coverage=CoverageState.BLOCKED, covered=140), {}, "coverage", "140 of 250, 1 bars ahead by ridge-1"),
        (changed(drifted=drifted(DriftState.BLOCK)), {}, "drift", "returns: 41.00 % over 500"),
        (changed(unusual="unusual_bar"), {"unusual_pct": 0}, "anomaly", "unusual_bar"),
        (changed(avoided="regime 2 of 3"), {"avoid_regimes": (2,)}, "regime", "regime 2 of 3"),
    ],
)  # fmt: skip
def test_what_does_not_hold_refuses_and_says_why(model, limits, rule, said):
    answer = ask(model, **limits)
    assert isinstance(answer, IntentRefused)
    assert answer.rule == rule
    assert said in answer.value
    assert answer.limit
    assert answer.would_pass


def test_drift_says_twice_its_warning_limit_and_where_it_opens_again():
    answer = ask(changed(drifted=drifted(DriftState.BLOCK)))
    assert (answer.limit, answer.would_pass[:15]) == ("data: 40 %", "26.67 % or less")


@pytest.mark.parametrize(
    ("model", "limits", "left"),
    [
        (BASE, {}, 100),
        (changed(coverage=CoverageState.UNMEASURED, expires_ns=NOW_NS), {}, 100),
        (changed(coverage=CoverageState.DEGRADED), {}, 50),
        (changed(drifted=drifted(DriftState.WARN)), {"drift_pct": 40}, 40),
        (changed(unusual="unusual_bar"), {"unusual_pct": 30}, 30),
        (changed(avoided="regime 2"), {"avoided_pct": 20}, 20),
        (changed(coverage=CoverageState.DEGRADED, unusual="x", drifted=drifted(DriftState.WARN)),
         {"unusual_pct": 60, "drift_pct": 70}, 50),
    ],
)  # fmt: skip
def test_what_holds_less_makes_entries_smaller_and_the_smallest_counts_not_the_product(model, limits, left):
    whole, answer = ask(None), ask(model, **limits)
    assert isinstance(whole, SubmitOrder)
    assert isinstance(answer, SubmitOrder)
    step = 100_000
    assert answer.volume_e2 == whole.volume_e2 * left // 100 // step * step
    assert whole.volume_e2 > 10 * step


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(list(CoverageState)), st.sampled_from([(), drifted(DriftState.WARN)]),
       st.sampled_from(["", "x"]), st.sampled_from(["", "x"]), st.data())  # fmt: skip
def test_a_smaller_multiplier_never_leaves_more(coverage, moved, odd, avoided, data):
    model = changed(coverage=coverage, drifted=moved, unusual=odd, avoided=avoided)
    names = ("degraded_pct", "drift_pct", "unusual_pct", "avoided_pct")
    loose = {name: data.draw(st.integers(1, 100)) for name in names}
    tight = {name: data.draw(st.integers(1, value)) for name, value in loose.items()}
    assert model.multiplier_ppm(ModelLimits(**tight)) <= model.multiplier_ppm(ModelLimits(**loose))


@pytest.mark.parametrize(
    "wrong", [{"coverage_window": 49}, {"avoid_regimes": (-1,)}, {"avoid_regimes": (True,)}, {"degraded_pct": 0},
              {"false_block_pct_e2": 0}, {"misses": -1}],
)  # fmt: skip
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ConfigError, match="risk.models"):
        ModelLimits(**wrong)
