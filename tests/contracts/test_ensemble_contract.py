"""Every way in models/ensembles keeps the promises of a forecaster, and its own."""

from functools import lru_cache

import numpy as np
import pytest

from models.contract import Problem
from models.ensembles import Opinions, ensembles, family
from models.forward import Pipeline, pipeline_from
from models.nets import architectures
from models.scalers import Scaler
from models.train.combine import Candidate, combine, demands_together
from models.train.data import Rows, Split
from tests.harness.libraries import needs_lightgbm
from tests.harness.trained import trained

pytestmark = needs_lightgbm

WAYS = ensembles()
NAMES = tuple(f"x{column}" for column in range(6))
MEMBERS = ("ridge", "random_forest", "gradient_boosting", "mlp")
HORIZONS = (1, 4)


def rows(n, seed, *, signal=1.0, shuffled=False):
    random = np.random.default_rng(seed)
    inputs = random.standard_normal((n, len(NAMES)))
    labels = signal * inputs[:, :2] + 0.5 * random.standard_normal((n, 2))
    close = np.full(n, 100_000, np.int64)
    return Rows(
        features=inputs,
        labels=random.permutation(labels) if shuffled else labels,
        sigma=np.ones(n),
        close_e5=close,
        actual_e5=np.stack((close, close), axis=1),
    )


def market(seed=0, n=600, **options):
    return Split(
        fit=rows(n, seed, **options),
        validation=rows(300, seed + 100, **options),
        calibration=rows(300, seed + 200, **options),
        scales_e5=np.ones((300, 2), np.int64),
        volatility=None,
    )


def members(parts, *, names=MEMBERS, regularise=1.0, epochs=40, seed=1):
    scaler = Scaler(centre=np.zeros(len(NAMES)), gain=np.ones(len(NAMES)))
    made = []
    for name, net in architectures(names).items():
        fitted = net.fit(
            Problem(
                inputs=parts.fit.features,
                targets=parts.fit.labels,
                validation_inputs=parts.validation.features,
                validation_targets=parts.validation.labels,
                seed=seed,
                regularise=regularise,
                epochs=epochs,
            )
        )
        made.append(Candidate(name=name, names=NAMES, pipeline=Pipeline(scaler=scaler, net=fitted)))
    return made


@lru_cache(maxsize=8)
def prepared(seed=0, *, shuffled=False, epochs=40):
    """A market and members that learnt from it, once for every way to put them together."""
    parts = market(seed, shuffled=shuffled)
    return parts, members(parts, epochs=epochs)


def put_together(way, parts, together):
    assert demands_together(together).feature_names == NAMES
    return combine(way, together, NAMES, parts, HORIZONS)[0]


def loss(pipeline, part):
    return float(np.mean((pipeline(part.features) - part.labels) ** 2))


@pytest.fixture(params=WAYS.values(), ids=WAYS.keys())
def way(request):
    return request.param


def test_the_four_ways_are_found_under_their_names():
    assert {f"ensemble_{name}" for name in ("mean", "attention", "hierarchical", "uncertainty")} <= set(WAYS)


def test_it_learns_what_can_be_learnt(way):
    parts, together = prepared()
    assert loss(put_together(way, parts, together), parts.calibration) < 0.8 * float(
        np.mean(parts.calibration.labels**2)
    )


def test_of_members_that_overfit_a_tiny_batch_it_has_that_batch(way):
    parts = market(n=8)
    held_back_by_nothing = Split(
        fit=parts.fit, validation=parts.fit, calibration=parts.fit, scales_e5=parts.scales_e5, volatility=None
    )
    together = members(held_back_by_nothing, names=MEMBERS[:3], regularise=0.0, epochs=400)
    fitted = put_together(way, held_back_by_nothing, together)
    assert loss(fitted, parts.fit) < 0.02 * float(np.mean(parts.fit.labels**2))


def test_shuffled_targets_teach_it_nothing(way):
    for seed in range(2):
        parts, together = prepared(seed, shuffled=True)
        fresh = rows(2000, seed + 900, signal=0.0)
        assert loss(put_together(way, parts, together), fresh) > 0.99 * float(np.mean(fresh.labels**2))


def test_weights_are_parts_of_one_and_do_not_follow_the_order_of_rows_of_another_part(way):
    parts, together = prepared()
    fitted, membership = combine(way, together, NAMES, parts, HORIZONS)
    weights = fitted.net.weights
    assert weights.shape == (len(MEMBERS), 2)
    assert (weights >= 0.0).all()
    assert (weights.sum(axis=0) <= 1.0 + 1e-9).all()
    other = Split(
        fit=parts.fit,
        validation=parts.validation,
        calibration=rows(300, 77, signal=-3.0),
        scales_e5=parts.scales_e5,
        volatility=None,
    )
    again, other_membership = combine(way, together, NAMES, other, HORIZONS)
    assert {name: tensor.tobytes() for name, tensor in again.net.tensors().items()} == {
        name: tensor.tobytes() for name, tensor in fitted.net.tensors().items()
    }
    assert membership != other_membership


def test_saved_and_loaded_it_answers_the_same_to_the_bit(way):
    parts, together = prepared(epochs=5)
    fitted = put_together(way, parts, together)
    net = fitted.net
    loaded = pipeline_from(net.form, net.settings(), net.tensors(), fitted.scaler.state(), fitted.window)
    for mine, theirs in zip(fitted.measured(parts.fit.features), loaded.measured(parts.fit.features), strict=True):
        assert (mine is None and theirs is None) or mine.tobytes() == theirs.tobytes()
    assert [member.name for member in loaded.net.members] == sorted(MEMBERS)


def test_shapes_are_as_promised_and_outputs_finite_far_outside_the_training_data(way):
    fitted = put_together(way, *prepared(epochs=5))
    out, spread = fitted.measured(np.full((3, len(NAMES)), 1e9))
    assert out.shape == (3, 2)
    assert np.isfinite(out).all()
    assert spread is None or (np.isfinite(spread).all() and (spread > 0.0).all())
    mixed = np.zeros((3, len(NAMES)))
    mixed[1, 4] = np.nan
    for told in fitted.measured(mixed):
        assert told is None or np.isnan(told).all(axis=1).tolist() == [False, True, False]


def test_equal_members_weigh_the_same_whatever_the_way(way):
    random = np.random.default_rng(0)
    one = random.standard_normal((200, 2))
    weights = way.combine(
        Opinions(
            forecasts=np.stack((one, one, one)),
            targets=one + random.standard_normal((200, 2)),
            horizons=HORIZONS,
            families=("linear", "linear", "linear"),
        )
    ).weights
    assert np.allclose(weights, weights[0])


def test_it_is_among_the_trained_artifacts_with_who_is_in_it(way):
    made = trained(names=("ridge", "mlp", "lasso", *WAYS))
    (one,) = [artifact for artifact in made.artifacts if artifact.manifest.name == way.name]
    assert one.manifest.form == "ensemble"
    membership = one.manifest.membership
    assert membership.members == ("lasso", "mlp", "ridge")
    assert membership.families == ("linear", "neural", "linear")
    assert [each.horizon for each in membership.diversity] == list(one.manifest.horizons)
    for each in membership.diversity:
        assert each.error == pytest.approx(each.member_error - each.ambiguity, abs=1e-6)
        assert each.disagreement > 0.0
        assert -1.0 <= each.error_correlation <= 1.0
    assert {row.model for row in one.manifest.metrics} == {"random-walk", way.name}
    assert way.name in made.validation_crps
    assert all(
        artifact.manifest.membership is None for artifact in made.artifacts if artifact.manifest.name not in WAYS
    )


def test_families_are_told_by_what_a_network_is():
    nets = {each.name: family(each.pipeline.net) for each in members(market(), names=("lasso", *MEMBERS), epochs=2)}
    assert nets == {
        "lasso": "linear",
        "ridge": "linear",
        "random_forest": "trees",
        "gradient_boosting": "trees",
        "mlp": "neural",
    }
