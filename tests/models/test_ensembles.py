"""What an ensemble is at rest and says in service, and that its weights are those of the formulas."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.errors import ConfigError, ModelError
from models import catalogue
from models.diversity import diversity
from models.ensembles import Opinions, ensembles
from models.ensembles.hierarchical import blend
from models.forms import restore
from models.forms.dense import Dense
from models.forms.ensemble import MOST_MEMBERS, Ensemble, Member, Mixture
from models.scalers import Scaler
from models.serve import Service
from models.train import fit_defaults
from tests.harness.markets import HORIZONS, request_at
from tests.harness.trained import BARS, CALIBRATE, TRAIN, trained


def linear(weight, bias=0.0):
    matrix = np.array(weight, np.float64)
    return Dense(weights=(matrix,), biases=(np.full(matrix.shape[1], bias),))


def member(columns, weight, *, window=1, bias=0.0, centre=0.0):
    scaler = Scaler(centre=np.full(len(columns), centre), gain=np.ones(len(columns)), limit=1e9)
    return Member(name="m", columns=columns, window=window, scaler=scaler, net=linear(weight, bias))


def test_members_look_at_their_own_columns_and_bars_of_their_own_scale():
    pair = Ensemble(
        members=(
            member((2, 0), [[1.0], [10.0]], centre=1.0),  # newest bar: (f2 - 1) + 10 (f0 - 1)
            member((1,), [[1.0], [100.0]], window=2),  # f1 of the bar before, and a hundred times the newest one's
        ),
        weights=np.array([[0.25], [0.5]]),
        features=3,
        window=3,
    )
    row = np.array([[0, 0, 0, 0, 7, 0, 3, 5, 4]], np.float64)  # three bars of three features, oldest first
    assert pair.inputs == 9
    assert pair.opinions(row)[:, 0, 0].tolist() == [23.0, 507.0]
    assert pair(row).tolist() == [[0.25 * 23.0 + 0.5 * 507.0]]
    again = restore("ensemble", pair.tensors(), pair.settings())
    assert again(row).tolist() == pair(row).tolist()
    # what no member looks at is still missing
    assert np.isnan(pair(np.where(np.arange(9) == 0, np.nan, row))).all()


def test_a_mixture_has_the_variance_of_a_draw_from_its_parts():
    parts = ((0.5, 1.0, 0.3), (0.3, -2.0, 1.5), (0.2, 0.0, 0.8))  # weight, mean, deviation; the last is the random walk
    mixture = Mixture(
        members=(member((0,), [[0.0]], bias=1.0), member((0,), [[0.0]], bias=-2.0)),
        weights=np.array([[0.5], [0.3]]),
        features=1,
        window=1,
        variances=np.array([[0.3**2], [1.5**2], [0.8**2]]),
    )
    random = np.random.default_rng(0)
    which = random.choice(3, 400_000, p=[weight for weight, _, _ in parts])
    means, deviations = (np.array([part[at] for part in parts]) for at in (1, 2))
    drawn = means[which] + deviations[which] * random.standard_normal(len(which))
    told, spread = mixture.measured(np.zeros((1, 1)))
    assert told[0, 0] == pytest.approx(drawn.mean(), abs=0.01)
    assert spread[0, 0] == pytest.approx(drawn.std(), rel=0.01)
    assert told.tobytes() == mixture(np.zeros((1, 1))).tobytes()
    # a member that tells its own deviation is believed
    outer = Mixture(
        members=(Member(name="m", columns=(0,), window=1, scaler=Scaler(centre=np.zeros(1), gain=np.ones(1)),
                        net=mixture),),
        weights=np.array([[1.0]]),
        features=1,
        window=1,
        variances=np.array([[9.0], [9.0]]),
    )  # fmt: skip
    assert outer.measured(np.zeros((1, 1)))[1] == pytest.approx(spread)


def opinions(seed=0, members=3, n=300):
    random = np.random.default_rng(seed)
    truth = random.standard_normal((n, 2))
    noise = random.standard_normal((members, n, 2)) * np.linspace(0.5, 1.5, members)[:, None, None]
    return Opinions(
        forecasts=0.5 * truth + 0.3 * noise, targets=truth, horizons=(1, 4), families=("linear", "trees", "trees")
    )


def test_attention_is_the_softmax_it_says():
    heard = opinions()
    weights = ensembles()["ensemble_attention"].combine(heard).weights
    for column, horizon in enumerate(heard.horizons):
        gain = [2.0 ** (-2.0 * age / 300) for age in range(299, -1, -1)]
        losses = [
            sum(g * (f - y) ** 2 for g, f, y in zip(gain, said, heard.targets[:, column], strict=True)) / sum(gain)
            for said in heard.forecasts[:, :, column]
        ]
        rows = sum(gain) ** 2 / sum(g * g for g in gain) / horizon
        raised = [np.exp(-rows * (loss - min(losses)) / (2.0 * min(losses))) for loss in losses]
        assert weights[:, column] == pytest.approx([one / sum(raised) for one in raised])
    # recent rows count more: a member that was good of late is preferred to one that was good long ago
    half = np.arange(300)[:, None] < 150
    turned = replace(
        heard, forecasts=np.stack((np.where(half, heard.targets, 0.0), np.where(half, 0.0, heard.targets)))
    )
    old, new = ensembles()["ensemble_attention"].combine(turned).weights
    assert (new > old).all()


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 4))
def test_a_blend_is_the_best_there_is(seed, heads):
    random = np.random.default_rng(seed)
    x = random.standard_normal((40, heads))
    y = x @ random.uniform(-0.8, 1.0, heads) + random.standard_normal(40)
    weights = blend(x, y)
    assert (weights >= 0.0).all()
    assert weights.sum() <= 1.0 + 1e-9
    best = ((y - x @ weights) ** 2).sum()
    others = random.dirichlet(np.ones(heads + 1), 300)[:, :heads]
    near = np.abs(weights + 0.02 * random.standard_normal((300, heads)))
    near /= np.maximum(1.0, near.sum(axis=1, keepdims=True))
    for other in (*others, *near, np.zeros(heads)):
        assert best <= ((y - x @ other) ** 2).sum() + 1e-9


def test_a_hierarchy_gives_members_of_one_family_equal_parts():
    weights = ensembles()["ensemble_hierarchical"].combine(opinions()).weights
    assert (weights[1] == weights[2]).all()
    assert weights.sum() > 0.0


def test_useless_members_leave_a_hierarchy_at_the_random_walk():
    heard = opinions()
    wrong = replace(heard, forecasts=-heard.forecasts)
    assert not ensembles()["ensemble_hierarchical"].combine(wrong).weights.any()


def test_precise_members_weigh_more_and_the_random_walk_has_its_part():
    weighting = ensembles()["ensemble_uncertainty"].combine(opinions())
    assert (np.diff(weighting.weights, axis=0) < 0.0).all()
    assert (weighting.weights.sum(axis=0) < 1.0).all()
    assert weighting.variances.shape == (4, 2)


def test_what_an_ensemble_gains_is_what_its_members_disagree_by():
    heard = opinions()
    told = diversity(heard.forecasts[:, :, 0], np.array([0.2, 0.3, 0.1]), heard.targets[:, 0], 1)
    together = 0.2 * heard.forecasts[0] + 0.3 * heard.forecasts[1] + 0.1 * heard.forecasts[2]
    assert told.error == pytest.approx(((together - heard.targets)[:, 0] ** 2).mean(), abs=1e-7)
    assert told.error == pytest.approx(told.member_error - told.ambiguity, abs=1e-7)
    same = np.stack((heard.forecasts[0, :, 0],) * 2)
    alike = diversity(same, np.array([0.5, 0.5]), heard.targets[:, 0], 1)
    assert (alike.ambiguity, alike.disagreement, alike.forecast_correlation, alike.error_correlation) == (0, 0, 1, 1)
    still = diversity(np.zeros((2, 300)), np.array([0.5, 0.5]), heard.targets[:, 0], 1)
    assert still.forecast_correlation is None


def sound():
    made = Mixture(
        members=(member((0, 1), [[1.0], [2.0]]), member((1,), [[3.0]])),
        weights=np.array([[0.5], [0.25]]),
        features=2,
        window=1,
        variances=np.ones((3, 1)),
    )
    return made.tensors(), made.settings()


@pytest.mark.parametrize(
    ("settings", "arrays"),
    [
        ({"members": 3}, {}),
        ({"members": 0}, {}),
        ({"members": MOST_MEMBERS + 1}, {}),
        ({"members": "2"}, {}),
        ({"features": 1}, {}),
        ({"window": 0}, {}),
        ({"member_0|window": 2}, {}),
        ({"member_0|form": "ensemble"}, {}),
        ({"member_0|form": "dense2"}, {}),
        ({"member_0|form": 7}, {}),
        ({"member_0|columns": "0 2"}, {}),
        ({"member_0|columns": "0 -1"}, {}),
        ({"member_0|columns": "0"}, {}),
        ({"member_0|columns": "0 x"}, {}),
        ({"member_1|scaler": "{}"}, {}),
        ({"member_0.activation": "sin"}, {}),
        ({}, {"ensemble_weights": np.array([[0.5], [0.6]])}),
        ({}, {"ensemble_weights": np.array([[-0.5], [0.6]])}),
        ({}, {"ensemble_weights": np.array([[0.5]])}),
        ({}, {"ensemble_weights": np.array([[0.1, 0.1], [0.1, 0.1]])}),
        ({}, {"ensemble_variances": np.ones((2, 1))}),
        ({}, {"ensemble_variances": np.zeros((3, 1))}),
        ({}, {"member_1.weight_0": np.ones((2, 1))}),
    ],
)
def test_what_is_no_ensemble_is_refused(settings, arrays):
    tensors, described = sound()
    restore("ensemble", tensors, described)
    with pytest.raises(ModelError):
        restore("ensemble", tensors | arrays, described | settings)


@pytest.mark.parametrize("part", ["ensemble_weights", "member_0.weight_0", "member_1.bias_0"])
def test_an_ensemble_that_lacks_an_array_is_refused(part):
    tensors, described = sound()
    with pytest.raises(ModelError):
        restore("ensemble", {name: array for name, array in tensors.items() if name != part}, described)


def test_an_ensemble_is_served_as_any_model_with_the_deviation_it_tells():
    names = ("ridge", "mlp", "lasso", *ensembles())
    made = trained(names=names)
    service = Service(made.artifacts)
    answers = {one.model_id: one for one in service.answer(request_at(BARS, 1300)) if hasattr(one, "horizons")}
    service.close()
    by_name = {artifact.manifest.name: answers[artifact.model_id].horizons for artifact in made.artifacts}
    mean = by_name["ensemble_mean"]
    for column, horizon in enumerate(HORIZONS):
        members = [by_name[name][column].point_e5 for name in ("ridge", "mlp", "lasso")]
        assert mean[column].horizon == horizon
        assert abs(mean[column].point_e5 - np.mean(members)) <= 1.0
        assert mean[column].sigma_e5 == answers["random-walk"].horizons[column].sigma_e5
    assert by_name["ensemble_uncertainty"][-1].sigma_e5 != mean[-1].sigma_e5
    # its members are the very ones that stand beside it
    apart = {artifact.manifest.name: artifact for artifact in made.artifacts}
    for held in apart["ensemble_mean"].pipeline.net.members:
        alone = apart[held.name].pipeline
        rows = np.random.default_rng(0).standard_normal((5, len(apart[held.name].manifest.feature_names)))
        assert held.answer(rows[:, None, :])[0].tobytes() == alone(rows).tobytes()


def test_the_catalogue_says_what_can_be_trained_in_one_sentence_each():
    entries = catalogue.catalogue()
    assert {"ridge", "random_forest", "ensemble_mean"} <= {entry.name for entry in entries}
    for entry in entries:
        assert entry.task in {"forecast", "reconstruct", "combine", "regimes", "anomaly"}
        assert len(entry.about) > 20
        assert entry.about.endswith(".")
    assert {entry.name for entry in entries if entry.default} == {"ridge", "mlp", "autoencoder"}
    assert msgspec.json.decode(msgspec.json.encode(entries))


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("ridge", "random_forrest"), "random_forrest.*did you mean random_forest.*there are .*ridge"),
        (("ridge", "ridge"), "write each once"),
        (("autoencoder",), "nothing there forecasts"),
        ((), "nothing there forecasts"),
        (("ensemble_mean",), "nothing there forecasts"),
        (("ridge", "ensemble_mean"), "ensemble_mean combines .* name 2 or more"),
    ],
)
def test_choices_that_cannot_be_trained_are_refused(names, says):
    with pytest.raises(ConfigError, match=says):
        catalogue.check(names)
    with pytest.raises(ConfigError, match=says):
        fit_defaults(TRAIN, CALIBRATE, horizons=(1,), seed=1, names=names)


def test_a_package_that_is_not_there_is_named_before_anything_is_trained(monkeypatch):
    monkeypatch.setattr(catalogue, "find_spec", lambda name: None if name == "lightgbm" else True)
    with pytest.raises(ModelError, match="gradient_boosting is trained with lightgbm, which is not installed"):
        fit_defaults(TRAIN, CALIBRATE, horizons=(1,), seed=1, names=("ridge", "gradient_boosting"))
    catalogue.check(("ridge", "gradient_boosting"))
