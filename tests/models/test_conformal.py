"""Conformal intervals tell the truth: exact ranks, coverage, bounds for any sequence, nothing early, nothing lost."""

import itertools
import math
import random
from fractions import Fraction

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import betabinom

from bus.errors import DataError
from bus.values import LARGEST
from models.conformal import (
    Aci,
    Bank,
    BankState,
    Calibrator,
    CalibratorState,
    DtAci,
    Fixed,
    Pid,
    RollingScores,
    calibrator,
    kept,
    rank,
    score,
    step_for,
    stride_for,
)

SCORES = st.floats(0.0, 1e6, allow_nan=False)
METHODS = {
    "fixed": Fixed,
    "aci": lambda target: Aci(target, 0.02),
    "dtaci": DtAci,
    "pid": lambda target: Pid(target, 0.05),
    "pid with integral": lambda target: Pid(target, 0.05, integral=0.1),
}
ALL = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
ADAPTIVE = pytest.mark.parametrize("name", [name for name in METHODS if name != "fixed"])


# --- ranks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("percent", [1, 2, 5, 10, 20, 25, 30, 50])
def test_the_rank_is_the_exact_one_for_every_size(percent):
    for n in range(2000):
        exact = math.ceil((n + 1) * (1 - Fraction(percent, 100)))
        assert rank(n, percent / 100) == exact
        assert rank(n, 1 - (100 - percent) / 100) == exact


@pytest.mark.parametrize("n", range(6))
@pytest.mark.parametrize("tenths", range(1, 10))
def test_over_every_order_of_few_scores_coverage_is_exactly_the_rank_over_n_plus_one(n, tenths):
    covered = total = 0
    for order in itertools.permutations(range(n + 1)):
        *known, truth = order
        covered += truth <= RollingScores(10, known).quantile(tenths / 10)
        total += 1
    k = math.ceil((n + 1) * (1 - Fraction(tenths, 10)))
    assert Fraction(covered, total) == min(Fraction(1), Fraction(k, n + 1))
    assert covered / total >= 1 - tenths / 10


def test_too_few_scores_for_a_level_give_an_unbounded_interval():
    assert RollingScores(scores=range(8)).quantile(0.1) == math.inf
    assert RollingScores(scores=range(9)).quantile(0.1) == 8
    wide, narrow = Calibrator((900_000, 500_000), [1.0] * 8).interval(110_000, 50)
    assert not wide.bounded
    assert (wide.lower_e5, wide.upper_e5) == (0, LARGEST)
    assert narrow.bounded


def test_the_quantile_is_the_one_mapie_takes():
    from mapie.regression import SplitConformalRegressor
    from sklearn.dummy import DummyRegressor

    random_numbers = np.random.default_rng(3)
    for n in (19, 50, 100, 251):
        residuals = random_numbers.standard_normal(n)
        still = DummyRegressor(strategy="constant", constant=0.0).fit(np.zeros((2, 1)), np.zeros(2))
        oracle = SplitConformalRegressor(estimator=still, confidence_level=0.9, prefit=True)
        oracle.conformalize(np.zeros((n, 1)), residuals)
        _, intervals = oracle.predict_interval(np.zeros((1, 1)))
        ours = RollingScores(scores=np.abs(residuals).tolist()).quantile(0.1)
        assert ours == pytest.approx(float(intervals[0, 1, 0]), abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(st.lists(SCORES, max_size=40), st.integers(1, 12), st.floats(0.01, 0.99))
def test_the_window_is_the_newest_scores_sorted(values, capacity, alpha):
    window = RollingScores(capacity, values)
    newest = sorted(values[-capacity:])
    assert len(window) == len(newest)
    assert window.in_time_order() == tuple(values[-capacity:])
    k = rank(len(newest), alpha)
    assert window.quantile(alpha) == (math.inf if k > len(newest) else newest[k - 1])
    assert all(window.below(value) == sum(other < value for other in newest) for value in newest)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([10, 19, 30, 200]), st.sampled_from([0.05, 0.1, 0.5]))
def test_exchangeable_scores_are_covered_within_the_exact_beta_binomial_bounds(seed, n, alpha):
    """Given n scores, misses of m new ones are beta-binomial; a wrong rank by one shows in the sum of many."""
    draws = np.random.default_rng(seed).exponential(size=(60, n + 40))
    covered = [
        int((row[n:] <= RollingScores(n, row[:n].tolist()).quantile(alpha)).sum()) for row in draws
    ]  # fmt: skip
    k = rank(n, alpha)
    if k > n:
        assert set(covered) == {40}
        return
    law = betabinom(40, k, n + 1 - k)
    assert law.ppf(1e-9) <= min(covered) <= max(covered) <= law.isf(1e-9)
    spread = math.sqrt(law.var() / 60)
    assert abs(np.mean(covered) - law.mean()) < 6.5 * spread


# --- bands -------------------------------------------------------------------------------------------------------


def test_limits_are_integers_rounded_outwards_around_the_point():
    (band,) = Calibrator((900_000,), [1.01] * 50).interval(110_000, 33)
    assert (band.lower_e5, band.upper_e5, band.level_ppm, band.bounded) == (110_000 - 34, 110_000 + 34, 900_000, True)
    assert score(110_033, 110_000, 33) == 1.0
    assert score(110_033, 110_000, 0) == 33.0


@ALL
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_higher_level_is_never_narrower_whatever_was_learnt(method, data):
    levels = (990_000, 900_000, 500_000, 100_000)
    online = Calibrator(levels, data.draw(st.lists(SCORES, max_size=30)), method=method, capacity=30)
    for value in data.draw(st.lists(SCORES, max_size=60)):
        thresholds = online.thresholds()
        assert list(thresholds) == sorted(thresholds, reverse=True)
        for wide, slim in itertools.pairwise(online.interval(110_000, 50)):
            assert slim.bounded or not wide.bounded
            assert not wide.bounded or wide.lower_e5 <= slim.lower_e5 <= slim.upper_e5 <= wide.upper_e5
        online.update(value)


def test_levels_that_adapt_past_each_other_do_not_cross():
    """The wide band always held and the narrow one always missed: by itself the narrow one would be the wider."""
    for method in (lambda target: Aci(target, 0.05), lambda target: Pid(target, 0.2)):
        online = Calibrator((900_000, 500_000), [float(n) for n in range(1, 101)], method=method)
        for _ in range(60):
            online.update(50.0, (True, False))
        own = [adaptation.threshold(RollingScores(100, range(1, 101))) for adaptation in online.adaptations]
        assert own[0] < own[1]
        wide, narrow = online.thresholds()
        assert wide == narrow


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0])
def test_a_score_that_is_no_number_is_refused_and_not_learnt(bad):
    online = calibrator((900_000,), 1, [1.0] * 20)
    before = online.state()
    with pytest.raises(DataError, match="finite"):
        online.update(bad)
    with pytest.raises(DataError, match="finite"):
        RollingScores(10, [bad])
    assert online.state() == before


def test_levels_and_strides_that_are_none_are_refused():
    for levels in ((), (0,), (1_000_000,), (500_000, 900_000)):
        with pytest.raises(ValueError, match="levels"):
            Calibrator(levels)
    with pytest.raises(ValueError, match="stride"):
        Calibrator((900_000,), stride=0)
    with pytest.raises(ValueError, match="window"):
        Calibrator((900_000,), capacity=0)
    with pytest.raises(ValueError, match="experts"):
        DtAci(0.1, gammas=())


# --- adaptation --------------------------------------------------------------------------------------------------


def test_aci_takes_the_published_step_and_leaves_the_unit_interval_counted():
    online = Calibrator((900_000,), [1.0] * 50, method=lambda target: Aci(target, 0.05))
    (level,) = online.adaptations
    online.update(9.0)
    assert level.alpha == pytest.approx(0.1 - 0.05 * 0.9)
    for _ in range(3):
        online.update(1e6, (False,))
    assert level.alpha < 0
    assert not online.interval(100, 1)[0].bounded
    assert online.unbounded == 1
    for _ in range(400):
        online.update(0.0, (True,))
    assert level.alpha > 1
    (band,) = online.interval(100, 7)
    assert (band.lower_e5, band.upper_e5, band.bounded, online.empty) == (100, 100, True, 1)
    before = level.alpha
    online.update(0.0)  # the empty set holds nothing, not even a perfect forecast
    assert level.alpha == pytest.approx(before - 0.05 * 0.9)


def test_pid_widens_by_a_share_and_is_never_infinite_or_empty():
    online = Calibrator((900_000,), [1.0] * 50, method=lambda target: Pid(target, 0.05))
    online.update(1.5)
    assert online.thresholds()[0] == pytest.approx(math.exp(0.05 * 0.9))
    for _ in range(500):
        online.update(0.5, (False,))
    assert online.thresholds()[0] == pytest.approx(8.0 * 0.5)
    for _ in range(5000):
        online.update(1.0, (True,))
    assert online.thresholds()[0] == pytest.approx(1.0 / 8.0)
    assert (online.unbounded, online.empty) == (0, 0)


def test_the_integral_grows_as_published_and_saturates_to_the_whole_line():
    pid = Pid(0.1, 0.0, integral=0.5, saturation=0.2)
    window = RollingScores(50, [1.0] * 50)
    pid.learn(1.0, 1.0, window, ())
    assert pid.threshold(window) == pytest.approx(math.exp(0.5 * math.tan(0.9 * math.log(2) / (0.2 * 2))), rel=1e-9)
    for _ in range(10):
        pid.learn(1.0, 1.0, window, ())
    assert pid.threshold(window) == math.inf
    for _ in range(200):
        pid.learn(0.0, 1.0, window, ())
    assert pid.threshold(window) < 1.0


def by_the_paper(scores_seen, truths, target, gammas, memory):
    """DtACI as it stands in the paper, one step ahead, with sets looked up by trial."""
    held, experts = list(scores_seen), len(gammas)
    alphas, weights = [target] * experts, [1.0 / experts] * experts
    eta = math.sqrt(3 / memory) * math.sqrt(
        (math.log(experts * memory) + 2) / ((1 - target) ** 2 * target**3 + (1 - target) ** 3 * target**2)
    )
    used = []
    for value in truths:
        used.append(sum(w * a for w, a in zip(weights, alphas, strict=True)))
        n = len(held)
        # the largest level whose set holds the truth, among the levels at which sets change
        beta = max((1 - j / (n + 1) for j in range(n + 1) if sum(s < value for s in held) <= j), default=0.0)
        losses = [target * (beta - a) - min(0.0, beta - a) for a in alphas]
        bar = [w * math.exp(-eta * loss) for w, loss in zip(weights, losses, strict=True)]
        mix = 1 / (2 * memory)
        weights = [(1 - mix) * w / sum(bar) + mix / experts for w in bar]
        for index, gamma in enumerate(gammas):
            err = 0.0 if alphas[index] < beta else 1.0
            alphas[index] += gamma * (target - err)
        held.append(value)
    return used


def test_dtaci_is_the_published_recursion():
    numbers = random.Random(4)
    known = [numbers.expovariate(1.0) for _ in range(40)]
    truths = [numbers.expovariate(0.5) for _ in range(150)]
    gammas = (0.005, 0.02, 0.08)
    online = Calibrator((900_000,), known, method=lambda target: DtAci(target, gammas, memory=50))
    ours = []
    for value in truths:
        ours.append(online.adaptations[0].alpha)
        online.update(value)
    assert ours == pytest.approx(by_the_paper(known, truths, 0.1, gammas, 50), abs=1e-12)
    assert sum(online.adaptations[0].weights) == pytest.approx(1.0)


def test_dtaci_judges_its_experts_by_the_levels_they_had_when_the_band_was_issued():
    online = Calibrator((900_000,), [float(n) for n in range(100)], method=lambda target: DtAci(target, (0.5,)))
    (level,) = online.adaptations
    early = online.ticket()
    online.update(99.5, (False,), early)
    assert level.alphas[0] == pytest.approx(0.1 - 0.5 * 0.9)
    # now the level is below 0 and every set would hold; the band issued at 0.1 did not
    online.update(99.5, (False,), early)
    assert level.alphas[0] == pytest.approx(0.1 - 2 * 0.5 * 0.9)


@pytest.mark.parametrize("kind", ["always further", "alternating", "random", "always zero", "bursts"])
@pytest.mark.parametrize("name", ["aci", "pid"])
def test_long_run_misses_keep_the_deterministic_bound_on_any_sequence(kind, name):
    numbers = random.Random(5)
    step_size, target = 0.02, 0.1
    method = {"aci": lambda a: Aci(a, step_size), "pid": lambda a: Pid(a, step_size)}[name]
    online = Calibrator((900_000,), [1.0] * 50, method=method, capacity=60)
    bound = (0.9 + step_size) / step_size if name == "aci" else (math.log(8.0) + step_size) / step_size
    misses = 0
    for step in range(1, 3001):
        value = {
            "always further": 2.0 + step / 10,
            "alternating": 3.0 * (step % 2) + step / 1e5,
            "random": numbers.expovariate(1.0),
            "always zero": 0.0,
            "bursts": 5.0 + step / 1e3 if (step // 100) % 3 == 0 else 0.8,
        }[kind]
        missed = value > online.thresholds()[0]
        misses += missed
        online.update(value, (not missed,))
        if name == "pid" and kind == "always zero":
            continue  # nothing is below zero to be missed: it may only over-cover
        assert abs(misses / step - target) <= bound / step + 1e-9


@ALL
def test_coverage_is_nominal_on_independent_scores_within_its_standard_error(method):
    numbers = np.random.default_rng(11)
    held = []
    for _ in range(8):
        draws = np.abs(numbers.standard_normal(1500)).tolist()
        online = Calibrator((900_000,), draws[:300], method=method, capacity=500)
        for value in draws[300:]:
            held.append(value <= online.thresholds()[0])
            online.update(value, (held[-1],))
    # calibration windows overlap, so allow their share of the spread too
    assert np.mean(held) == pytest.approx(0.9, abs=0.012)


@ADAPTIVE
def test_every_adaptation_follows_a_shift_that_a_window_alone_misses_for_long(name):
    values = [1.0 + n / 1000 for n in range(500)] + [4.0 + n / 1000 for n in range(200)]
    misses = {}
    for which in ("fixed", name):
        online = Calibrator((900_000,), method=METHODS[which], capacity=500)
        held = []
        for value in values:
            held.append(value <= online.thresholds()[0])
            online.update(value, (held[-1],))
        misses[which] = held[500:].count(False)
    assert misses[name] < 0.7 * misses["fixed"]


# --- delayed labels and strides ----------------------------------------------------------------------------------


def issued_bands(truths, horizon, method, upto):
    """Bands of a forecast every step whose truth comes `horizon` steps later, from `upto` steps of the market."""
    online = Calibrator((900_000, 500_000), method=method, capacity=50, stride=stride_for(horizon))
    bands, tickets, given = [], [], []
    for now in range(upto):
        due = now - horizon
        if due >= 0:
            covered = [band.lower_e5 <= truths[now] <= band.upper_e5 for band in bands[due]]
            online.update(score(truths[now], truths[due], 10), covered, tickets[due])
        bands.append(online.interval(truths[now], 10))
        tickets.append(online.ticket())
        given.append(bands[-1])
    return given


@ALL
@pytest.mark.parametrize("horizon", [1, 4, 24])
def test_a_band_is_the_same_when_everything_after_its_issue_is_cut_off_or_changed(method, horizon):
    numbers = random.Random(9)
    truths = list(itertools.accumulate((numbers.randint(-30, 30) for _ in range(400)), initial=100_000))
    everything = issued_bands(truths, horizon, method, 400)
    for upto in (50, 137, 260):
        assert issued_bands(truths, horizon, method, upto) == everything[:upto]
        other = truths[:upto] + [truths[upto - 1] + 7 * n for n in range(400 - upto)]
        assert issued_bands(other, horizon, method, 400)[:upto] == everything[:upto]


def test_of_overlapping_labels_every_so_many_is_kept_and_every_one_moves_the_adaptation():
    online = Calibrator((900_000,), [1.0] * 30, method=lambda target: Aci(target, 0.01), stride=6)
    for number in range(12):
        online.update(2.0 + number, (True,))
    assert online.state().scores[-2:] == (7.0, 13.0)
    assert len(online) == 32
    assert online.adaptations[0].alpha == pytest.approx(0.1 + 12 * 0.01 * 0.1)


@pytest.mark.parametrize("horizon", [1, 4, 24, 120])
def test_what_a_default_calibrator_keeps_of_a_history_is_what_it_would_have_kept(horizon):
    history = [float(n) for n in range(1, 40 * stride_for(horizon) + 1)]
    online = calibrator((900_000,), horizon)
    for value in history:
        online.update(value, (True,))
    assert online.state().scores == kept(history, horizon)
    assert len(kept([1.0] * 10**6, horizon)) == 1000
    assert stride_for(horizon) == max(1, horizon // 4)
    assert step_for(horizon) == pytest.approx(0.06 * horizon**-1.3)


# --- persisted and reset -----------------------------------------------------------------------------------------


def through_json(state, kind):
    return msgspec.json.decode(msgspec.json.encode(state), type=kind)


@ALL
@settings(max_examples=30, deadline=None)
@given(values=st.lists(SCORES, min_size=1, max_size=60), cut=st.integers(0, 60), stride=st.integers(1, 5))
def test_restored_from_json_a_calibrator_goes_on_bit_for_bit(method, values, cut, stride):
    whole = Calibrator((900_000, 500_000), [1.0] * 12, method=method, capacity=20, stride=stride)
    for value in values[:cut]:
        whole.interval(110_000, 50)
        whole.update(value)
    again = Calibrator.restore(through_json(whole.state(), CalibratorState))
    assert again.state() == whole.state()
    for value in values[cut:]:
        assert again.interval(110_000, 50) == whole.interval(110_000, 50)
        assert again.ticket() == whole.ticket()
        whole.update(value)
        again.update(value)
    assert again.state() == whole.state()


def test_a_state_that_contradicts_itself_is_refused():
    state = calibrator((900_000,), 4, [1.0] * 20).state()
    for broken in (
        msgspec.structs.replace(state, adaptations=()),
        msgspec.structs.replace(state, waiting=0),
        msgspec.structs.replace(state, scores=(1.0, math.nan)),
    ):
        with pytest.raises(DataError):
            Calibrator.restore(broken)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"levels_ppm":[900000],"surprise":1}', type=CalibratorState)


def test_a_bank_is_kept_whole_by_symbol_model_and_horizon():
    bank = Bank("EURUSD")
    for model_id, horizon in (("walk", 1), ("walk", 4), ("ridge", 1)):
        bank.admit(model_id, horizon, (900_000,), [float(horizon)] * 20)
    bank.get("ridge", 1).update(50.0, (False,))
    again = Bank.restore(through_json(bank.state(), BankState), "EURUSD", {"walk", "ridge"})
    assert again.state() == bank.state()
    assert list(again) == [("walk", 1), ("walk", 4), ("ridge", 1)]
    with pytest.raises(DataError, match="GBPUSD"):
        Bank.restore(bank.state(), "GBPUSD", {"walk"})


def test_a_model_swap_starts_from_the_new_models_scores_alone():
    bank = Bank("EURUSD")
    bank.admit("ridge-1", 1, (900_000,), [1.0] * 20)
    for _ in range(50):
        bank.get("ridge-1", 1).update(40.0, (False,))
    worn = bank.get("ridge-1", 1).thresholds()
    bank.admit("ridge-2", 1, (900_000,), [1.0] * 20)
    assert bank.get("ridge-2", 1).thresholds() == (1.0,)
    assert bank.get("ridge-1", 1).thresholds() == worn
    bank.admit("ridge-1", 1, (900_000,), [2.0] * 20)
    assert bank.get("ridge-1", 1).thresholds() == (2.0,)
    # what was saved for a model that no longer serves is not brought back
    again = Bank.restore(bank.state(), "EURUSD", {"ridge-2"})
    assert list(again) == [("ridge-2", 1)]
    assert again.get("ridge-1", 1) is None
