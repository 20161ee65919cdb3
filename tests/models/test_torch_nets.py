"""Networks trained with torch: what they learn is true, and what leaves the room answers without torch."""

import os
import subprocess
import sys
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (`make torch`)")
pytest.importorskip("onnx", reason="onnx is not installed (`make torch`)")

from bus.errors import ModelError  # noqa: E402
from bus.messages import Forecast  # noqa: E402
from models import artifact, batch  # noqa: E402
from models.columns import from_series  # noqa: E402
from models.contract import Problem, demands_of  # noqa: E402
from models.diffusion import ddim, ddpm, schedule_of  # noqa: E402
from models.forms import restore, traits  # noqa: E402
from models.forms._session import Session  # noqa: E402
from models.nets import _denoise, _torch, architectures  # noqa: E402
from models.nets._torch import exported, graph_of, repeatable, weights_of  # noqa: E402
from models.random_walk import to_prices  # noqa: E402
from models.registry import Loaded, Registry  # noqa: E402
from models.serve import Service  # noqa: E402
from models.train.data import rows_of  # noqa: E402
from models.train.engine.loop import learn  # noqa: E402
from models.train.engine.recipe import Recipe  # noqa: E402
from tests.harness.markets import HORIZONS, request_at  # noqa: E402
from tests.harness.trained import BARS, TRAIN, trained  # noqa: E402

ROOT = Path(__file__).parents[2]
SCHEDULE = schedule_of(_denoise.SHAPE, _denoise.TRAINED_STEPS)


@pytest.fixture(autouse=True)
def _one_thread():
    """Two threads on networks this small wait for each other, and for whatever else the machine does."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def of_tcn():
    return next(a for a in trained(names=("tcn",)).artifacts if a.manifest.name == "tcn")


# ---- what is learnt


def problem(inputs, targets, epochs=30, seed=0):
    held = len(inputs) // 4
    return Problem(
        inputs=inputs[held:],
        targets=targets[held:],
        validation_inputs=inputs[:held],
        validation_targets=targets[:held],
        seed=seed,
        epochs=epochs,
    )


@pytest.mark.parametrize("name", ["tcn", "gru"])
def test_a_network_learns_when_the_future_is_uncertain_and_when_it_is_not(name):
    net = architectures([name])[name]
    random = np.random.default_rng(1)
    inputs = random.standard_normal((1200, demands_of(net).window, 2))
    calm = inputs[:, -1, 0] < 0.0
    targets = np.where(calm, 0.5, 2.0)[:, None] * random.standard_normal((1200, 1))
    points, spread = net.fit(problem(inputs, targets, epochs=12)).measured(inputs.reshape(1200, -1))
    assert np.median(spread[~calm]) > 1.5 * np.median(spread[calm])
    assert np.sqrt(np.mean((targets / spread) ** 2)) == pytest.approx(1.0, abs=0.1)
    assert np.abs(points).mean() < 0.1


@pytest.mark.parametrize("name", ["tcn", "gru"])
def test_a_network_sees_the_oldest_bar_of_its_window(name):
    net = architectures([name])[name]
    random = np.random.default_rng(2)
    window = demands_of(net).window
    inputs = random.standard_normal((1, window, 3))
    inputs = np.repeat(inputs, 2, axis=0)
    inputs[1, 0] += 5.0
    module = {"tcn": "models.nets.tcn", "gru": "models.nets.gru"}[name]
    with repeatable(0), torch.no_grad():
        built = sys.modules[module].build(3, 2, 1.0).eval()
        torch.nn.init.normal_(built[-1].linear.weight)
        told = built(torch.from_numpy(inputs.reshape(2, -1).astype(np.float32))).numpy()
    assert (told[0] != told[1]).all()


def diffused(targets, epochs):
    """A denoiser of what these outcomes are, with a context that says nothing."""
    task = problem(np.zeros((len(targets), 1)), targets, epochs=epochs)
    with repeatable(0):
        module = _denoise.diffuser(torch.nn.Linear(1, 4), targets.shape[1], 4)
        recipe = Recipe(name="diffused", loss=_denoise.velocity_loss(), average=0.99, patience=epochs)
        module = learn(module, task, recipe)

    def predict(noisy, step):
        with torch.no_grad():
            context = module.encoder(torch.zeros(len(noisy), 1))
            steps = torch.full((len(noisy),), float(step))
            return module.denoiser(torch.from_numpy(noisy.astype(np.float32)), steps, context).numpy()

    return predict


@lru_cache(maxsize=1)
def of_gaussians():
    """Two correlated outcomes N(MEAN, COVARIANCE)."""
    drawn = np.random.default_rng(3).multivariate_normal(MEAN, COVARIANCE, 2000)
    return diffused(drawn, 25)


MEAN, COVARIANCE = np.array([0.4, -0.3]), np.array([[0.5, 0.3], [0.3, 0.8]])


def test_the_learnt_denoiser_of_a_gaussian_is_the_closed_form():
    """E[x_0 | x_t] = m + a C (a^2 C + s^2)^-1 (x_t - a m), from which the velocity follows."""
    predict, random = of_gaussians(), np.random.default_rng(4)
    for step in (20, 60, 100, 140, 180, 200):
        a, s = SCHEDULE.signal[step - 1], SCHEDULE.noise[step - 1]
        data, noise = random.multivariate_normal(MEAN, COVARIANCE, 500), random.standard_normal((500, 2))
        noisy = SCHEDULE.noisy(data, noise, step)
        signal = MEAN + (noisy - a * MEAN) @ np.linalg.solve(a**2 * COVARIANCE + s**2 * np.eye(2), a * COVARIANCE)
        wanted = SCHEDULE.velocity(signal, (noisy - a * signal) / s, step)
        told = predict(noisy, step)
        missed = np.mean((told - wanted) ** 2)
        # beside what nobody can know of the velocity, what the network misses is little
        assert missed < 0.06 * np.mean(SCHEDULE.velocity(data, noise, step) ** 2), (step, missed)


def test_samples_of_a_learnt_gaussian_have_its_mean_and_covariance():
    predict, random = of_gaussians(), np.random.default_rng(5)
    through_all = ddpm(SCHEDULE, predict, random.standard_normal((200, 800, 2)), target="velocity")
    through_few = ddim(SCHEDULE, predict, random.standard_normal((1, 1500, 2)), target="velocity", steps=20)
    for samples in (through_all, through_few):
        assert samples.mean(axis=0) == pytest.approx(MEAN, abs=0.12)
        assert np.cov(samples.T) == pytest.approx(COVARIANCE, abs=0.15)


def test_sine_waves_are_learnt():
    random, cycles, length = np.random.default_rng(6), 3, 16
    phase = random.uniform(0, 2 * np.pi, (1200, 1))
    waves = np.sqrt(2) * np.sin(2 * np.pi * cycles * np.arange(length) / length + phase)
    samples = ddim(SCHEDULE, diffused(waves, 25), random.standard_normal((1, 200, length)), target="velocity", steps=20)
    power = np.abs(np.fft.rfft(samples, axis=1)) ** 2
    assert (power.argmax(axis=1) == cycles).mean() > 0.97
    assert np.median(power[:, cycles] / power.sum(axis=1)) > 0.85
    # every phase comes up, not one wave again and again
    phases = np.angle(np.fft.rfft(samples, axis=1)[:, cycles])
    assert np.abs(np.exp(1j * phases).mean()) < 0.35
    assert samples.std() == pytest.approx(1.0, abs=0.15)


def test_the_noise_that_samples_start_from_is_centred_and_uncorrelated_and_comes_from_the_seed():
    noise = _denoise.starting_noise(100, 3, seed=1)
    assert noise.mean(axis=0) == pytest.approx(0.0, abs=1e-6)
    assert noise.T @ noise / 100 == pytest.approx(np.eye(3), abs=1e-5)
    assert noise.tobytes() == _denoise.starting_noise(100, 3, seed=1).tobytes()
    assert (noise != _denoise.starting_noise(100, 3, seed=2)).all()


def test_training_leaves_torch_as_it_was():
    before = torch.random.get_rng_state(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    inputs = np.random.default_rng(1).standard_normal((200, 32, 2))
    architectures(["gru"])["gru"].fit(problem(inputs, inputs[:, -1], epochs=1))
    after = torch.random.get_rng_state(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


def test_training_that_diverges_says_so():
    inputs = np.random.default_rng(1).standard_normal((200, 32, 2))
    with pytest.raises(ModelError, match="diverged at epoch 1"):
        architectures(["gru"])["gru"].fit(problem(inputs, np.full((200, 1), 1e30), epochs=2))


# ---- what leaves the room


@pytest.mark.parametrize("name", ["tcn", "gru"])
def test_a_graph_answers_as_its_network_does(name):
    net = architectures([name])[name]
    build, width = type(net).build, net.width.default
    with repeatable(1):
        module = build(4, 3, 0.0, width).eval()
        torch.nn.init.normal_(module[-1].linear.weight)
    inputs = np.random.default_rng(1).standard_normal((1000, 32 * 4)).astype(np.float32)
    graph = exported(build, 4, 3, width, 32 * 4)
    told = Session(graph, weights_of(module)).ask(inputs=inputs)
    with torch.no_grad():
        assert told == pytest.approx(module(torch.from_numpy(inputs)).numpy(), abs=1e-5)


def test_a_graph_that_answers_otherwise_is_not_let_out(monkeypatch):
    honest = weights_of
    monkeypatch.setattr(_torch, "weights_of", lambda module: {k: w * 1.01 for k, w in honest(module).items()})
    inputs = np.random.default_rng(1).standard_normal((200, 32, 2))
    for name in ("gru", "temporal_unet"):
        with pytest.raises(ModelError, match=f"{name}: the exported graph answers otherwise"):
            architectures([name])[name].fit(problem(inputs, inputs[:, -1], epochs=3))


def test_what_is_no_weight_cannot_hide_in_a_graph():
    class Hiding(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = torch.arange(3.0)

        def forward(self, inputs):
            return inputs + self.hidden

    with pytest.raises(ModelError, match="is no weight"):
        graph_of(Hiding(), {"inputs": torch.zeros(2, 3)})


def test_a_graph_tells_nothing_of_the_machine_and_holds_no_weights():
    graph = of_tcn().tensors["graph"].tobytes()
    for told in (str(ROOT).encode(), b"site-packages", b".py", b"torch"):
        assert told not in graph
    with pytest.raises(ModelError, match="does not take the graph"):
        Session(np.frombuffer(graph, np.uint8), {}).ask(inputs=np.zeros((1, 4), np.float32))


def test_another_process_with_another_hash_seed_trains_the_same():
    code = "from tests.harness.trained import trained; print(*[a.model_id for a in trained(names=('tcn',)).artifacts])"
    out = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "77"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.stdout.split() == [a.model_id for a in trained(names=("tcn",)).artifacts]


def test_a_process_that_serves_it_never_loads_torch(tmp_path):
    made = trained(names=("tcn",))
    Registry(tmp_path).publish(made.artifacts, active=made.active)
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from models.registry import Registry\n"
        "from models.serve import Service\n"
        "from tests.harness.markets import made_up_bars, request_at\n"
        f"loaded = Registry(Path({str(tmp_path)!r})).load('EURUSD', 3_600_000_000_000)\n"
        "answers = Service(loaded.artifacts).answer(request_at(made_up_bars(400, 3), 399))\n"
        "print([type(one).__name__ for one in answers if one.model_id == loaded.active])\n"
        "print([m for m in ('torch', 'onnx', 'sklearn', 'pickle') if m in sys.modules and m != 'pickle'])\n"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.split("\n")[:2] == ["['Forecast']", "[]"]


def test_its_own_deviation_is_what_a_forecast_carries():
    model = of_tcn()
    service = Service([model])
    rows = rows_of(from_series(BARS), HORIZONS, names=model.manifest.feature_names, window=model.manifest.window)
    first = len(BARS) - max(HORIZONS) - len(rows)
    for at in (300, 1300):
        (live,) = [one for one in service.answer(request_at(BARS, at)) if one.model_id == model.model_id]
        assert isinstance(live, Forecast)
        points, spread = model.pipeline.measured(rows.inputs(at - first, at - first + 1))
        wanted = [
            to_prices(int(BARS.close_e5[at]), float(z), float(rows.sigma[at - first]), horizon, float(scale))
            for z, scale, horizon in zip(points[0], spread[0], HORIZONS, strict=True)
        ]
        assert list(live.horizons) == wanted
        assert [one.sigma_e5 for one in wanted] != [
            to_prices(int(BARS.close_e5[at]), 0.0, float(rows.sigma[at - first]), horizon).sigma_e5
            for horizon in HORIZONS
        ]
    service.close()


def test_a_whole_history_at_once_has_the_points_and_deviations_of_bar_by_bar():
    model = of_tcn()
    loaded = Loaded(artifacts=(model,), active=model.model_id)
    table = {}
    for block in batch.forecasts(loaded, BARS, levels_ppm=(900_000,)):
        for row in range(len(block)):
            at = int(block.ts_close_ns[row]), block.model[row], int(block.horizon[row])
            table[at] = int(block.point_e5[row]), int(block.sigma_e5[row])
    service = Service([model])
    for row in (200, 700, 1500):
        (live,) = [one for one in service.answer(request_at(BARS, row)) if one.model_id == model.model_id]
        for one in live.horizons:
            point, sigma = table[int(BARS.ts_open_ns[row]) + BARS.period_ns, model.model_id, one.horizon]
            # a batch may add up in another order
            assert abs(point - one.point_e5) <= 1
            assert abs(sigma - one.sigma_e5) <= 1
    service.close()


# ---- what is refused


def tampered(model, change):
    """The model again, its arrays changed and everything hashed anew: only what they mean can be wrong."""
    tensors = dict(model.tensors)
    change(tensors)
    weights = artifact.save_tensors({name: np.ascontiguousarray(each) for name, each in tensors.items()})
    manifest = msgspec.structs.replace(model.manifest, files={artifact.WEIGHTS: artifact._sha256(weights)})
    encoded = msgspec.json.encode(manifest)
    return artifact.parse(artifact.id_of(manifest.name, encoded), encoded, weights, "here")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.update(graph=t["graph"][:-100].copy()), "does not take the graph"),
        (lambda t: t.update(graph=np.zeros(0, np.uint8)), "does not take the graph"),
        (lambda t: t.pop("graph"), "no graph"),
        (lambda t: t.update(graph=t["graph"].astype(np.float32)), "no graph"),
        (lambda t: t.pop("weight.2.bias"), "does not take the graph"),
        (lambda t: t.update({"weight.2.bias": np.full(16, np.nan, np.float32)}), "not finite"),
        (lambda t: t.update({"weight.2.bias": np.zeros(16)}), "not float32"),
        (lambda t: t.update({"weight.2.bias": np.zeros(16, np.int64)}), "not finite float64 or float32 or uint8"),
        (lambda t: t.update({"weight.2.bias": np.zeros(15, np.float32)}), "does not take the graph"),
        (lambda t: t.update({"weight.2.bias": np.full(16, 3.0, np.float32)}), "golden"),
        (lambda t: t.update(damping=np.ones(2)), "damping and gain"),
        (lambda t: t.update(gain=np.array([1.0, 0.0, 1.0])), "damping and gain"),
        (lambda t: t.update(gain=t["gain"] * 1.01), "golden"),
        (lambda t: t.pop("golden_scales"), "golden"),
        (lambda t: t.update(damping=np.ones(4), gain=np.ones(4)), "8\\) fits"),
    ],
)
def test_arrays_that_do_not_make_the_network_are_refused_with_the_reason(change, says):
    with pytest.raises(ModelError, match=says):
        tampered(of_tcn(), change)
    assert tampered(of_tcn(), lambda _: None).tensors.keys() == of_tcn().tensors.keys()


def test_a_form_of_float64_takes_no_other_numbers():
    ridge = next(a for a in trained().artifacts if a.manifest.name == "ridge")
    assert traits("dense").dtypes == ("float64",)
    with pytest.raises(ModelError, match="not finite float64"):
        tampered(ridge, lambda t: t.update(weight_0=t["weight_0"].astype(np.float32)))


@lru_cache(maxsize=1)
def of_unet():
    """A diffusion model that has hardly learnt."""
    inputs = np.random.default_rng(1).standard_normal((200, 32, 2))
    return architectures(["temporal_unet"])["temporal_unet"].fit(problem(inputs, inputs[:, -1], epochs=2))


def test_samples_have_the_mean_and_deviation_that_are_served_and_come_again():
    net = of_unet()
    inputs = np.random.default_rng(2).standard_normal((3, net.inputs))
    inputs[1, 7] = np.nan
    samples = net.samples(inputs)
    assert samples.shape == (3, 100, 2)
    assert np.isnan(samples[1]).all()
    points, spread = net.measured(inputs)
    assert samples.mean(axis=1)[::2] == pytest.approx(points[::2], abs=1e-9)
    assert samples.std(axis=1)[::2] == pytest.approx(spread[::2], abs=1e-9)
    assert net.samples(inputs).tobytes() == samples.tobytes()


@pytest.mark.parametrize(
    ("tensors", "settings", "says"),
    [
        ({"noise": None}, {}, "without its noise"),
        ({"noise": np.zeros((1, 2), np.float32)}, {}, "without its noise"),
        ({"unit": np.ones(3)}, {}, "do not fit"),
        ({"unit": np.zeros(2)}, {}, "do not fit"),
        ({"encoder.graph": None}, {}, "no graph"),
        ({"denoiser.graph": np.zeros(9, np.uint8)}, {}, "does not take the graph"),
        ({}, {"steps": 0}, "0 of 200 steps"),
        ({}, {"steps": 201}, "201 of 200 steps"),
        ({}, {"schedule": "square"}, "'square'"),
        ({}, {"inputs": "many"}, "'many' inputs"),
        ({}, {"inputs": 63}, "does not answer"),
    ],
)
def test_a_diffusion_that_does_not_fit_together_is_refused_with_the_reason(tensors, settings, says):
    net = of_unet()
    kept = {name: each for name, each in (net.tensors() | tensors).items() if each is not None}
    with pytest.raises(ModelError, match=says):
        restore("diffusion", kept, net.settings() | settings)
    again = restore("diffusion", net.tensors(), net.settings())
    assert replace(again, encoder=net.encoder, denoiser=net.denoiser).settings() == net.settings()


def test_a_network_is_left_out_with_the_reason_where_torch_is_missing(monkeypatch):
    monkeypatch.setattr("models.nets.absent", lambda _net: ("torch",))
    with pytest.raises(ModelError, match=r"gru is trained with torch.*make torch"):
        architectures(["gru"])["gru"].fit(problem(np.zeros((8, 32, 1)), np.zeros((8, 1))))
    assert TRAIN.symbol == "EURUSD"
