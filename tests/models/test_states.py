"""Regimes are filtered as the formula says and found where they were planted; anomalies likewise, at a stated rate."""

import itertools
import math
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import IsolationForest
from sklearn.ensemble._iforest import _average_path_length

from bus.errors import ModelError
from bus.messages import PatternSeen, RegimeSeen
from bus.series import BarSeries
from bus.values import NS_PER_HOUR
from models.columns import stacked
from models.forms import restore
from models.forms.markov import Markov
from models.serve import Service
from models.states import states
from models.states._chains import PIECE, expect, learn
from models.states.isolation_forest import usual
from models.train import fit_defaults
from models.train.watch import ALARM
from models.watching import UNUSUAL_BAR, score
from tests.harness.markets import MONDAY_NS, request_at

MOVES = np.array([[0.97, 0.03], [0.08, 0.92]])
MEANS = np.array([[0.0, 0.0], [1.2, 0.0]])
DEVIATIONS = np.array([[0.6, 0.7], [0.6, 1.6]])


def chain(random, states, k, window):
    def shares(*shape):
        drawn = random.random(shape) ** 3 + 1e-3
        return drawn / drawn.sum(axis=-1, keepdims=True)

    return Markov(
        means=random.standard_normal((states, k)) * 2.0,
        variances=random.uniform(0.1, 2.0, (states, k)),
        transition=shares(states, states),
        start=shares(states),
        window=window,
    )


def density(model, state, x):
    return math.exp(
        -0.5 * sum((x - m) ** 2 / v + math.log(2.0 * math.pi * v)
                   for x, m, v in zip(x, model.means[state], model.variances[state], strict=True))
    )  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(1, 2), st.integers(1, 5))
def test_the_filter_is_the_sum_over_all_ways_that_end_in_a_state(seed, count, k, window):
    random = np.random.default_rng(seed)
    model = chain(random, count, k, window)
    bars = random.standard_normal((window, k)) * 2.0
    ends = np.zeros(count)
    for way in itertools.product(range(count), repeat=window):
        chance = model.start[way[0]] * density(model, way[0], bars[0])
        for step in range(1, window):
            chance *= model.transition[way[step - 1], way[step]] * density(model, way[step], bars[step])
        ends[way[-1]] += chance
    assert model(bars.reshape(1, -1))[0] == pytest.approx(ends / ends.sum(), abs=1e-9)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(2, 4), st.integers(1, 130))
def test_a_long_filter_is_the_forward_algorithm_step_by_step_and_nothing_underflows(seed, count, window):
    random = np.random.default_rng(seed)
    model = chain(random, count, 2, window)
    bars = random.standard_normal((window, 2)) * random.choice([1.0, 30.0])
    logs = model.log_densities(bars)
    alpha = np.log(model.start) + logs[0]
    for step in range(1, window):
        ways = alpha[:, None] + np.log(model.transition)
        alpha = np.logaddexp.reduce(ways, axis=0) + logs[step]
    expected = np.exp(alpha - np.logaddexp.reduce(alpha))
    assert np.abs(model(bars.reshape(1, -1))[0] - expected).max() < 1e-6


def test_expectations_over_a_piece_are_sums_over_all_ways():
    random = np.random.default_rng(1)
    model = chain(random, 2, 1, 4)
    bars = random.standard_normal((1, 4, 1))
    belief, moves, likelihood = expect(bars, model.means, model.variances, model.transition, model.start)
    total, beliefs, counted = 0.0, np.zeros((4, 2)), np.zeros((2, 2))
    for way in itertools.product(range(2), repeat=4):
        chance = model.start[way[0]] * density(model, way[0], bars[0, 0])
        for step in range(1, 4):
            chance *= model.transition[way[step - 1], way[step]] * density(model, way[step], bars[0, step])
        total += chance
        for step in range(4):
            beliefs[step, way[step]] += chance
        for before, after in itertools.pairwise(way):
            counted[before, after] += chance
    assert belief[0] == pytest.approx(beliefs / total)
    assert moves == pytest.approx(counted / total)
    assert likelihood == pytest.approx(math.log(total) / 4.0)


def planted(seed, n):
    random = np.random.default_rng(seed)
    state = np.zeros(n, int)
    for step in range(1, n):
        state[step] = random.random() < MOVES[state[step - 1], 1]
    return MEANS[state] + DEVIATIONS[state] * random.standard_normal((n, 2)), state


def test_planted_regimes_are_recovered_almost_as_well_as_by_who_knows_the_parameters():
    older, _ = planted(3, 12_000)
    found = learn(older, 2)
    assert found.means == pytest.approx(MEANS, abs=0.1)
    assert np.sqrt(found.variances) == pytest.approx(DEVIATIONS, abs=0.1)
    assert found.transition == pytest.approx(MOVES, abs=0.03)
    data = older[len(older) - len(older) // PIECE * PIECE :].reshape(-1, PIECE, 2)
    _, _, of_the_truth = expect(data, MEANS, DEVIATIONS**2, MOVES, np.array([8.0, 3.0]) / 11.0)
    assert found.likelihood > of_the_truth
    newer, state = planted(4, 12_000)
    truth = Markov(
        means=MEANS, variances=DEVIATIONS**2, transition=MOVES, start=np.array([8.0, 3.0]) / 11.0, window=120
    )
    learnt = Markov(
        means=found.means, variances=found.variances, transition=found.transition, start=found.start, window=120
    )
    asked = stacked(newer, 120).reshape(-1, 240)
    right, best = ((one(asked).argmax(axis=1) == state[119:]).mean() for one in (learnt, truth))
    assert best > 0.93
    assert right > best - 0.005


def sound():
    return chain(np.random.default_rng(0), 2, 2, 3)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("means", np.zeros((3, 2))),
        ("means", np.zeros((2, 0))),
        ("means", np.zeros(2)),
        ("variances", np.zeros((2, 2))),
        ("variances", np.ones((2, 3))),
        ("transition", np.array([[0.5, 0.5], [0.5, 0.6]])),
        ("transition", np.array([[1.5, -0.5], [0.5, 0.5]])),
        ("transition", np.ones((1, 1))),
        ("start", np.array([0.5, 0.4])),
        ("start", np.array(1.0)),
        ("start", np.zeros(0)),
    ],
)
def test_what_is_no_chain_is_refused(part, value):
    tensors, described = sound().tensors(), sound().settings()
    restore("markov", tensors, described)
    with pytest.raises(ModelError):
        restore("markov", tensors | {part: value}, described)
    with pytest.raises(ModelError):
        restore("markov", {name: array for name, array in tensors.items() if name != part}, described)


@pytest.mark.parametrize("window", [0, -1, "3", 2.5])
def test_a_window_that_is_none_is_refused(window):
    with pytest.raises(ModelError):
        restore("markov", sound().tensors(), {"window": window})


def test_the_isolation_forest_scores_as_scikit_learn_does():
    random = np.random.default_rng(0)
    rows, asked = random.standard_normal((3000, 5)), 3.0 * random.standard_normal((800, 5))
    mine = states()["isolation_forest"].fit(rows, 4)(asked)[:, 0]
    theirs = IsolationForest(n_estimators=100, max_samples=256, random_state=4).fit(rows).score_samples(asked)
    assert np.abs([score(told) for told in mine] + theirs).max() < 1e-12
    assert usual(np.arange(1, 400)) == pytest.approx(_average_path_length(np.arange(1, 400)))


# --- through bars, training and service ------------------------------------------------------------------------------

N, TRADED = 9000, 6000


def market(sigma, jumps=None, seed=0):
    """Hourly candles with a path inside each hour, of a given volatility an hour."""
    random = np.random.default_rng(seed)
    path = np.cumsum(random.standard_normal((len(sigma), 24)) / np.sqrt(24.0), axis=1) * sigma[:, None]
    if jumps is not None:
        path += jumps[:, None]
    opening = np.r_[0.0, np.cumsum(path[:, -1])[:-1]]
    path += opening[:, None]
    high, low = np.maximum(path.max(axis=1), opening), np.minimum(path.min(axis=1), opening)
    prices = np.round(110_000 * np.exp(8e-4 * np.stack((opening, high, low, path[:, -1])))).astype(np.int64)
    hours = np.arange(len(sigma))
    return BarSeries(
        symbol="EURUSD", period_ns=NS_PER_HOUR, ts_open_ns=(MONDAY_NS + hours * NS_PER_HOUR).astype(np.int64),
        open_e5=prices[0], high_e5=prices[1], low_e5=prices[2], close_e5=prices[3], quotes=np.full(len(sigma), 4),
    )  # fmt: skip


def told(series, name):
    """What a model that learnt from the older bars says of every bar after them."""
    made = fit_defaults(series.slice(0, 5000), series.slice(5000, TRADED), horizons=(1,), seed=1, names=("ridge", name))
    (artifact,) = [each for each in made.artifacts if each.manifest.name == name]
    service = Service((artifact,))
    answers = [service.answer(request_at(series, row)) for row in range(TRADED, N)]
    service.close()
    return [[one for one in each if getattr(one, "model_id", "") == artifact.model_id] for each in answers]


@pytest.mark.slow
def test_planted_wild_spells_of_a_market_are_told_by_the_hidden_markov_model():
    random = np.random.default_rng(8)
    wild = np.zeros(N, bool)
    for row in range(1, N):
        wild[row] = random.random() < (0.98 if wild[row - 1] else 0.01)
    answers = told(market(np.where(wild, 2.2, 1.0)), "hidden_markov")
    assert all(len(one) == 1 and isinstance(one[0], RegimeSeen) for one in answers)
    said = np.array([one[0].regime for one in answers], bool)
    assert (said == wild[TRADED:]).mean() > 0.85
    assert max(wild[TRADED:].mean(), (~wild[TRADED:]).mean()) < 0.7  # which is what always saying one of them gives
    assert [one[0].before for one in answers[1:]] == [one[0].regime for one in answers[:-1]]


@lru_cache(maxsize=1)
def outliers():
    random = np.random.default_rng(9)
    at = np.zeros(N, bool)
    at[np.arange(TRADED + 20, N - 1, 97)] = True
    series = market(np.ones(N), np.where(at, 8.0 * random.choice([-1.0, 1.0], N), 0.0))
    return told(series, "isolation_forest"), at[TRADED:]


@pytest.mark.slow
def test_planted_outliers_are_found_and_what_is_usual_passes_the_alarm_as_rarely_as_stated():
    answers, at = outliers()
    alarmed = np.array([bool(one) for one in answers])
    assert alarmed[at].mean() >= 0.95
    # the bars after a planted one among them, whose measure of what is usual holds it
    assert alarmed[~at].mean() < 3.0 * (1.0 - ALARM)
    for one in itertools.chain(*answers):
        assert isinstance(one, PatternSeen)
        assert (one.pattern, one.candles) == (UNUSUAL_BAR, (0,))
        assert one.error_ppm > one.threshold_ppm > 0
        assert one.percentile > 95.0


@pytest.mark.slow
def test_on_a_market_without_outliers_alarms_come_at_the_stated_rate():
    alarmed = np.array([bool(one) for one in told(market(np.ones(N), seed=5), "isolation_forest")])
    expected = (1.0 - ALARM) * len(alarmed)
    # alarm level from 900 bars and 3,000 bars judged by it: both are counts of few
    assert 0.2 * expected < alarmed.sum() < 3.0 * expected
