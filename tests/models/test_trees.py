"""Trees answer as the library that grew them, and arrays that are no trees are refused before anybody walks them."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestRegressor

from bus.errors import ModelError
from models.contract import Problem
from models.forms import restore
from models.forms.trees import MOST_LEVELS, Trees
from models.nets import architectures
from models.nets._grown import ZERO, as_double, from_lightgbm, from_sklearn, planted
from tests.harness.libraries import needs_lightgbm


def market(n, seed=0, k=7):
    random = np.random.default_rng(seed)
    inputs = random.standard_normal((n, k))
    inputs[:, 3] = np.round(inputs[:, 3])  # a feature of few values, zero among them
    return inputs, np.sin(inputs[:, 0]) + inputs[:, 1] * inputs[:, 3] + 0.3 * random.standard_normal(n)


def forest(n=400, **options):
    inputs, targets = market(n)
    grown = RandomForestRegressor(n_estimators=20, random_state=1, **options).fit(inputs, targets)
    trees = [from_sklearn(t.tree_, output=0, value=t.tree_.value[:, 0, 0] / 20) for t in grown.estimators_]
    return grown, planted(trees, inputs=7, outputs=1)


def boosted(n=400, **options):
    inputs, targets = market(n)
    settings = {"verbosity": -1, "num_threads": 1, "use_missing": False, "min_data_in_bin": 1, "num_leaves": 15}
    import lightgbm

    grown = lightgbm.train(settings | options, lightgbm.Dataset(inputs, targets), 40)
    trees = [from_lightgbm(tree["tree_structure"], output=0) for tree in grown.dump_model()["tree_info"]]
    return grown, planted(trees, inputs=7, outputs=1)


@lru_cache
def few():
    return forest(60, max_depth=3)[1]


def at_thresholds(trees, seed=1):
    """Rows whose every number is a threshold of that feature, a hair beside one, zero, or far away."""
    random = np.random.default_rng(seed)
    rows = random.standard_normal((4000, trees.inputs)) * 3.0
    for feature in range(trees.inputs):
        own = trees.threshold[trees.feature == feature]
        if len(own):
            near = random.choice(own, 4000)
            beside = [near, np.nextafter(near, 9.0), np.nextafter(near, -9.0), near + 1e-8, near - 1e-8]
            near = np.choose(random.integers(0, 5, 4000), beside)
            rows[:, feature] = np.where(random.random(4000) < 0.7, near, rows[:, feature])
    rows[:50] = 0.0
    rows[20:40] = 1.5 * ZERO * np.linspace(-1.0, 1.0, 20)[:, None]
    rows[50:100] = 1e9
    return rows


@pytest.mark.parametrize("options", [{"max_depth": 5}, {"min_samples_leaf": 1}, {"max_depth": 1}])
def test_a_forest_answers_as_scikit_learn_does(options):
    grown, trees = forest(**options)
    rows = np.concatenate((market(500, seed=5)[0], at_thresholds(trees)))
    assert np.abs(trees(rows)[:, 0] - grown.predict(rows)).max() < 1e-12


@needs_lightgbm
@pytest.mark.parametrize("options", [{}, {"max_depth": 1}, {"min_data_in_leaf": 1, "num_leaves": 60}])
def test_boosted_trees_answer_as_lightgbm_does(options):
    grown, trees = boosted(**options)
    rows = np.concatenate((market(500, seed=5)[0], at_thresholds(trees)))
    assert np.abs(trees(rows)[:, 0] - grown.predict(rows)).max() < 1e-12


@settings(deadline=None)
@given(
    st.floats(-1e30, 1e30, width=64),
    st.integers(-3, 3),
    st.sampled_from([1.0, 1e-7, -1e-7, 0.5]),
)
def test_a_moved_threshold_says_of_a_number_what_single_precision_says(threshold, steps, nudge):
    single = np.float32(threshold)
    for _ in range(abs(steps)):
        single = np.nextafter(single, np.float32(np.inf if steps > 0 else -np.inf))
    between = (np.float64(single) + np.float64(np.nextafter(single, np.float32(np.inf)))) / 2.0
    (moved,) = as_double(np.array([threshold]))
    for x in (threshold, float(single), between, np.nextafter(between, 1e300), np.nextafter(between, -1e300), nudge):
        assert (float(np.float32(x)) <= threshold) == (x <= moved)


def test_rows_alone_and_together_give_the_same_bits():
    for _, trees in (forest(), boosted()):
        rows = np.concatenate((market(1000, seed=3)[0], at_thresholds(trees)[:1000]))
        together = trees(rows)
        assert all(trees(rows[i : i + 1]).tobytes() == together[i : i + 1].tobytes() for i in range(0, 2000, 3))


def test_boosting_keeps_the_rounds_up_to_the_best_on_the_validation_part_and_none_where_none_pays():
    inputs, targets = market(600)
    problem = Problem(
        inputs=inputs[:400],
        targets=targets[:400, None],
        validation_inputs=inputs[400:],
        validation_targets=np.zeros((200, 1)),
        seed=1,
    )
    assert len(architectures(["gradient_boosting"])["gradient_boosting"].fit(problem).offset) == 0
    told = replace(problem, validation_targets=targets[400:, None], epochs=7)
    assert len(architectures(["gradient_boosting"])["gradient_boosting"].fit(told).offset) == 7


def test_a_row_with_nan_gives_nan_and_leaves_its_neighbours_alone():
    _, trees = boosted()
    rows = market(6, seed=3)[0]
    clean = trees(rows)
    rows[2, 6] = np.nan
    answered = trees(rows)
    assert np.isnan(answered[2]).all()
    assert np.delete(answered, 2, axis=0).tobytes() == np.delete(clean, 2, axis=0).tobytes()
    assert np.isnan(trees(rows[2:3])).all()


def test_trees_add_to_their_own_output_and_an_output_without_trees_is_zero():
    _, one = forest()
    grown = RandomForestRegressor(n_estimators=3, random_state=1).fit(*market(50))
    three = [from_sklearn(t.tree_, output=2, value=t.tree_.value[:, 0, 0]) for t in grown.estimators_]
    again = [from_sklearn(t.tree_, output=0, value=t.tree_.value[:, 0, 0]) for t in grown.estimators_]
    # the trees of two outputs need not stand apart
    mixed = [tree for pair in zip(three, again, strict=True) for tree in pair]
    rows = market(40, seed=2)[0]
    answered = planted(mixed, inputs=7, outputs=4)(rows)
    assert answered.shape == (40, 4)
    assert np.abs(answered[:, 2] - 3.0 * grown.predict(rows)).max() < 1e-12
    assert (answered[:, 0] == answered[:, 2]).all()
    assert not answered[:, [1, 3]].any()
    assert not planted([], inputs=7, outputs=2)(rows).any()
    assert one(np.empty((0, 7))).shape == (0, 1)
    halved = planted(mixed, inputs=7, outputs=4).damped(np.array([1.0, 1.0, 0.5, 1.0]))(rows)
    assert np.allclose(halved[:, 2], answered[:, 2] / 2.0, rtol=1e-14)
    assert (halved[:, 0] == answered[:, 0]).all()


def small():
    """Two trees: x0 <= 0 ? 1 : (x1 <= 2 ? 2 : 3), and one leaf of 10."""
    return {
        "feature": np.array([0.0, -1, 1, -1, -1, -1]),
        "threshold": np.array([0.0, 0, 2, 0, 0, 0]),
        "left": np.array([1.0, 0, 3, 0, 0, 0]),
        "right": np.array([2.0, 0, 4, 0, 0, 0]),
        "value": np.array([0.0, 1, 0, 2, 3, 10]),
        "offset": np.array([0.0, 5]),
        "output": np.array([0.0, 0]),
    }


SIZES = {"inputs": 2, "outputs": 1}


def test_a_tree_drawn_by_hand_is_walked_as_drawn():
    trees = restore("trees", small(), SIZES)
    rows = np.array([[0.0, 9], [-1, -1], [1, 2], [1, 2.1], [np.inf, np.inf]])
    assert trees(rows)[:, 0].tolist() == [11.0, 11.0, 12.0, 13.0, 13.0]


@pytest.mark.parametrize(
    ("part", "at", "value", "says"),
    [
        ("left", 2, 0.0, "one parent, before it"),  # back to the root: for ever round
        ("left", 2, 2.0, "one parent, before it"),  # itself
        ("left", 2, 1.0, "one parent, before it"),  # two parents, and one orphan
        ("right", 2, 5.0, "one parent, before it"),  # the root of another tree
        ("left", 0, 6.0, "left child that is not"),
        ("right", 0, -1.0, "right child that is not"),
        ("right", 0, 2.5, "right child that is not"),
        ("right", 0, 1e300, "right child that is not"),
        ("feature", 0, 2.0, "feature that is not"),
        ("feature", 0, -2.0, "feature that is not"),
        ("feature", 1, 0.0, "one parent, before it"),  # a leaf turned into a node leads back to 0
        ("feature", 2, -1.0, "one parent, before it"),  # a node turned into a leaf leaves orphans
        ("offset", 1, 4.0, "one parent, before it"),
        ("offset", 1, 0.0, "one parent, before it"),
        ("offset", 0, 1.0, "one parent, before it"),
        ("offset", 1, 6.0, "offset that is not"),
        ("output", 1, 1.0, "output that is not"),
        ("threshold", 0, np.nan, "not finite"),
        ("value", 3, np.inf, "not finite"),
    ],
)
def test_arrays_that_are_no_trees_are_refused(part, at, value, says):
    arrays = small()
    arrays[part][at] = value
    with pytest.raises(ModelError, match=says):
        restore("trees", arrays, SIZES)


def test_a_ring_that_no_root_leads_to_is_refused():
    ring = {
        "feature": np.array([-1.0, 0, 0, -1, -1]),
        "threshold": np.zeros(5),
        "left": np.array([0.0, 2, 1, 0, 0]),
        "right": np.array([0.0, 3, 4, 0, 0]),
        "value": np.zeros(5),
        "offset": np.zeros(1),
        "output": np.zeros(1),
    }
    with pytest.raises(ModelError, match="one parent, before it"):
        restore("trees", ring, SIZES)


def test_missing_arrays_other_lengths_and_other_widths_are_refused():
    for name in small():
        with pytest.raises(ModelError, match=f"no array {name}"):
            restore("trees", {other: array for other, array in small().items() if other != name}, SIZES)
        with pytest.raises(ModelError):
            restore("trees", small() | {name: small()[name][:-1]}, SIZES)
        with pytest.raises(ModelError):
            restore("trees", small() | {name: small()[name][None, :]}, SIZES)
    for sizes in ({}, {"inputs": 2}, {"inputs": "2", "outputs": 1}, {"inputs": 0, "outputs": 1}):
        with pytest.raises(ModelError):
            restore("trees", small(), sizes)


def test_a_tree_as_deep_as_a_chain_is_refused():
    def chain(levels):
        n = 2 * levels + 1
        inner = np.arange(n) % 2 == 0
        inner[-1] = False
        return Trees(
            feature=np.where(inner, 0.0, -1.0),
            threshold=np.where(inner, np.arange(float(n)), 0.0),
            left=np.where(inner, np.arange(n) + 1.0, 0.0),
            right=np.where(inner, np.arange(n) + 2.0, 0.0),
            value=np.where(inner, 0.0, np.arange(float(n))),
            offset=np.zeros(1),
            output=np.zeros(1),
            inputs=1,
            outputs=1,
        )

    assert chain(MOST_LEVELS)(np.array([[1e9], [-1.0]]))[:, 0].tolist() == [2.0 * MOST_LEVELS, 1.0]
    for levels in (MOST_LEVELS + 1, 100_000):
        with pytest.raises(ModelError, match="levels"):
            chain(levels)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_altered_numbers_are_refused_or_give_an_answer_in_bounded_steps(data):
    trees = few()
    arrays = {name: array.copy() for name, array in trees.tensors().items()}
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(st.sampled_from(sorted(arrays)))
        at = data.draw(st.integers(0, len(arrays[name]) - 1))
        arrays[name][at] = data.draw(st.floats() | st.integers(-2, 200).map(float))
    try:
        restored = restore("trees", arrays, trees.settings())
    except ModelError:
        return
    with np.errstate(over="ignore"):
        assert restored(market(5)[0]).shape == (5, 1)
