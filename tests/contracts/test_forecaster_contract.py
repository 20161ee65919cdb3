"""Every architecture in models/nets keeps the promises of models.contract.Net."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

from models.contract import Problem, demands_of, space_of
from models.defaults import ARCHITECTURES
from models.forward import Pipeline, pipeline_from
from models.learning import Pruned
from models.nets import architectures, known
from models.scalers import Scaler
from models.searching import IN_EPOCHS
from models.space import divided
from tests.harness.libraries import lacking
from tests.harness.trained import trained

NETS = architectures(known())
INPUTS, OUTPUTS = 12, 2


def problem(net, *, n=300, seed=0, signal=1.0, regularise=1.0, epochs=40, shuffled=False, progress=None):
    random = np.random.default_rng(seed)
    window = demands_of(net).window
    rows = n + (200 if window == 1 else 60)  # a row of windows costs many times as much
    inputs = random.standard_normal((rows, INPUTS) if window == 1 else (rows, window, INPUTS))
    if net.task == "reconstruct":
        targets = inputs
    else:
        newest = inputs if window == 1 else inputs[:, -1]
        targets = signal * newest[:, :OUTPUTS] + 0.5 * random.standard_normal((rows, OUTPUTS))
        if shuffled:
            targets = random.permutation(targets)
    extra = {} if progress is None else {"progress": progress}
    return Problem(
        inputs=inputs[:n],
        targets=targets[:n],
        validation_inputs=inputs[n:],
        validation_targets=targets[n:],
        seed=seed,
        regularise=regularise,
        epochs=epochs,
        **extra,
    )


def loss(net, inputs, targets):
    return float(np.mean((net(inputs.reshape(len(inputs), -1)) - targets) ** 2))


def pipeline(net, form):
    """`form` behind a scaler that does nothing."""
    scaler = Scaler(centre=np.zeros(INPUTS), gain=np.ones(INPUTS))
    return Pipeline(scaler=scaler, net=form, window=demands_of(net).window)


@pytest.fixture(params=NETS.values(), ids=NETS.keys())
def net(request, monkeypatch):
    if missing := lacking(request.param):
        pytest.skip(missing)
    if request.param.name == "temporal_unet":
        # a hundred samples take six times as long, and what is promised here holds for any number
        monkeypatch.setattr("models.nets._denoise.SAMPLES", 16)
    return request.param


def test_the_default_architectures_are_found():
    assert {"ridge", "mlp", "autoencoder"} == set(architectures()) == set(ARCHITECTURES)
    assert {"tcn", "gru", "temporal_unet"} <= set(NETS)
    assert {net.task for net in NETS.values()} == {"forecast", "reconstruct"}


def test_it_overfits_a_tiny_batch_when_nothing_holds_it_back(net):
    epochs = 1500 if demands_of(net).window == 1 else 200  # a step over windows takes many times as long
    tiny = problem(net, n=8, regularise=0.0, epochs=epochs)
    assert loss(net.fit(tiny), tiny.inputs, tiny.targets) < 0.02 * float(np.mean(tiny.targets**2))


def test_it_learns_what_can_be_learnt(net):
    windows = demands_of(net).window > 1
    learnable = problem(net, n=600 if windows else 1500, epochs=60)
    fitted = net.fit(learnable)
    assert loss(fitted, learnable.validation_inputs, learnable.validation_targets) < 0.8 * float(
        np.mean(learnable.validation_targets**2)
    )


def test_equal_seeds_give_equal_weights_and_another_seed_other_data(net):
    first, second = (net.fit(problem(net, seed=3, epochs=5)).tensors() for _ in range(2))
    assert {name: tensor.tobytes() for name, tensor in first.items()} == {
        name: tensor.tobytes() for name, tensor in second.items()
    }


def test_saved_and_loaded_it_answers_the_same_to_the_bit(net):
    task = problem(net, epochs=5)
    fitted = pipeline(net, net.fit(task))
    state, form = fitted.scaler.state(), fitted.net
    loaded = pipeline_from(form.form, form.settings(), form.tensors(), state, fitted.window)
    inputs = task.inputs[:40].reshape(40, -1)
    assert loaded(inputs).tobytes() == fitted(inputs).tobytes()


def test_shapes_are_as_promised_and_outputs_finite_far_outside_the_training_data(net):
    task = problem(net, epochs=5)
    fitted = pipeline(net, net.fit(task))
    size = fitted.net.inputs
    out, spread = fitted.measured(np.full((3, size), 1e9))
    assert out.shape == (3, task.targets.shape[1])
    assert np.isfinite(out).all()
    assert spread is None or (spread.shape == out.shape and (spread > 0.0).all())
    mixed = np.zeros((3, size))
    mixed[1, size // 2] = np.nan
    for told in fitted.measured(mixed):
        assert told is None or np.isnan(told).all(axis=1).tolist() == [False, True, False]


def test_shuffled_targets_teach_a_forecaster_nothing(net):
    if net.task != "forecast":
        pytest.skip("a reconstruction has no targets of its own to shuffle")
    windows = demands_of(net).window > 1  # each of which costs many times as much
    for seed in range(1 if windows else 3):
        task = problem(net, n=600 if windows else 1500, shuffled=True, seed=seed)
        fitted = net.fit(task)
        fresh = problem(net, n=300 if windows else 1500, seed=seed + 50)
        random_walk = float(np.mean(fresh.targets**2))
        assert loss(fitted, fresh.inputs, np.random.default_rng(1).permutation(fresh.targets)) > 0.99 * random_walk


def test_progress_rises_to_one(net):
    told = []
    net.fit(problem(net, epochs=5, progress=lambda stage, share: told.append((stage, share))))
    assert {stage for stage, _ in told} == {net.name}
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_it_is_among_the_trained_artifacts_under_its_name(net):
    names = ARCHITECTURES if net.name in ARCHITECTURES else (net.name,)
    assert [a.manifest.name for a in trained(names=names).artifacts].count(net.name) == 1


def test_serving_loads_no_learning_library():
    code = (
        "import sys, models.serve, models.registry, models.client, models.contract, models.nets;"
        "models.nets.architectures(models.nets.known());"
        "print([m for m in ('sklearn', 'scipy', 'torch', 'onnxruntime') if m in sys.modules])"
    )
    root = Path(__file__).parents[2]
    out = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_bars_and_intervals_load_no_numpy():
    code = "import sys, models.bars, models.conformal; print('numpy' in sys.modules)"
    root = Path(__file__).parents[2]
    out = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_its_defaults_written_out_change_nothing_and_other_values_do(net):
    space = space_of(net)
    if not space:
        pytest.skip("nothing may be chosen of it")
    task = problem(net, epochs=3)
    own, training = divided(space, {each.name: each.default for each in space})
    told = replace(task, parameters=own, learning=structs.replace(task.learning, **training))
    weights = [{name: each.tobytes() for name, each in net.fit(one).tensors().items()} for one in (task, told)]
    assert weights[0] == weights[1]
    last = {each.name: each.grid(2)[-1] for each in space}
    own, training = divided(space, last)
    other = replace(task, parameters=own, learning=structs.replace(task.learning, **training))
    fitted = net.fit(other)
    assert {name: each.tobytes() for name, each in fitted.tensors().items()} != weights[0]
    # what was chosen goes into service as it is
    form = pipeline(net, fitted)
    loaded = pipeline_from(fitted.form, fitted.settings(), fitted.tensors(), form.scaler.state(), form.window)
    asked = task.inputs[:5].reshape(5, -1)
    assert loaded(asked).tobytes() == form(asked).tobytes()


def test_it_tells_a_search_its_epochs_where_it_is_said_to(net):
    if net.task != "forecast":
        pytest.skip("nothing is searched of it")
    told = []
    net.fit(replace(problem(net, epochs=3), report=lambda epoch, loss: told.append((epoch, loss))))
    assert [epoch for epoch, _ in told] == ([1, 2, 3] if net.name in IN_EPOCHS else [])
    assert all(np.isfinite(loss) for _, loss in told)


def test_a_search_may_end_its_training(net):
    if net.name not in IN_EPOCHS:
        pytest.skip("it does not learn in epochs")

    def enough(epoch, _loss):
        if epoch == 2:
            raise Pruned("others were further")

    with pytest.raises(Pruned):
        net.fit(replace(problem(net, epochs=3), report=enough))
