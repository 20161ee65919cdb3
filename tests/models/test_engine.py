"""The training engine: whatever runs fast learns what runs plainly learns."""

import copy
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (`make torch`)")

from torch import nn  # noqa: E402

from bus.errors import ConfigError, ModelError  # noqa: E402
from models.nets import _blocks, _denoise  # noqa: E402
from models.nets._torch import repeatable  # noqa: E402
from models.train.engine import memory, optimizers, step  # noqa: E402
from models.train.engine.augment import Augment  # noqa: E402
from models.train.engine.callbacks import Callback  # noqa: E402
from models.train.engine.data import Resident, Rows, Streamed, bars_of, size_of  # noqa: E402
from models.train.engine.loop import learn  # noqa: E402
from models.train.engine.planning import prepare, told  # noqa: E402
from models.train.engine.recipe import Recipe  # noqa: E402
from models.train.engine.workers import Workers  # noqa: E402
from tests.harness.learning import Remembering, problem  # noqa: E402

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device; these paths ran nowhere here")


def squares(module, inputs, targets):
    return ((module(inputs) - targets) ** 2).mean()


RECIPE = Recipe(name="small", loss=squares, learning_rate=5e-3, batch=64)
GAUSSIAN = Recipe(name="conv", loss=lambda net, inputs, targets: _blocks.gaussian_loss(net(inputs), targets), batch=64)


def small(dropout=0.0):
    """A network of 18 numbers to 2 without anything random, unless it drops."""
    return nn.Sequential(nn.Linear(18, 16), nn.Tanh(), nn.Dropout(dropout), nn.Linear(16, 2))


def conv(dropout=0.0):
    return nn.Sequential(
        _blocks.Windows(6, 3), _blocks.Transposed(), nn.Conv1d(3, 8, 1), _blocks.Causal(8, 1, dropout),
        _blocks.Causal(8, 2, dropout), _blocks.Newest(), _blocks.Head(8, 2),
    )  # fmt: skip


class Curve(Callback):
    """Remembers losses."""

    def __init__(self):
        self.found, self.trained, self.rates = [], [], []

    def step(self, state, look):
        self.rates.append(state.rate)

    def epoch(self, state):
        self.found.append(state.found)
        self.trained.append(state.train_loss)


def trained(task, *, make=small, recipe=RECIPE):
    """Weights and loss curve of a training."""
    curve = Curve()
    with repeatable(task.seed):
        module = learn(make(), task, recipe, more=(curve,))
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}, curve


def equal(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def close(one, other, tolerance=2e-5):
    return all(torch.allclose(one[name], other[name], rtol=tolerance, atol=tolerance) for name in one)


@pytest.fixture(scope="module")
def plain():
    """The reference: single precision, one piece, one weight after another."""
    return trained(problem(kernels="plain"))


# ---- each optimisation on and off


@pytest.mark.parametrize("kernels", ["foreach", "fused"])
def test_the_kernels_of_the_optimiser_change_no_more_than_rounding(plain, kernels):
    weights, curve = trained(problem(kernels=kernels))
    assert close(plain[0], weights, 1e-4)
    assert curve.found == pytest.approx(plain[1].found, rel=1e-4)


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd", "lamb"])
def test_accumulation_equals_the_large_batch(optimizer):
    whole, _ = trained(problem(optimizer=optimizer))
    for pieces in (2, 3, 64):
        assert close(whole, trained(problem(optimizer=optimizer, accumulation=pieces))[0]), pieces


def test_the_rows_of_a_step_count_alike_whatever_pieces_they_come_in():
    """The last step of an epoch has other pieces than the rest; a mean of means would weigh its rows otherwise."""
    module, task = small(), problem(n=50, batch=50)
    batch = next(Resident(task.inputs, task.targets, torch.device("cpu")).steps([torch.arange(50)]))
    grads = []
    for pieces in (1, 7):
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        choices = prepare(module, problem(n=50, batch=50, accumulation=pieces), RECIPE).choices
        stepper = step.Stepper(module, RECIPE, optimizer, choices, Augment(6), Workers(), clip=0.0, note=print)
        loss = stepper.gradients(batch)
        grads.append([weight.grad.clone() for weight in module.parameters()])
        assert float(loss) == pytest.approx(float(squares(module, *batch.take(0, 50)).detach()), rel=1e-5)
    for one, other in zip(*grads, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_checkpointing_changes_nothing_to_the_bit_dropout_included():
    off, on = (trained(problem(checkpointing=way), make=lambda: conv(0.3), recipe=GAUSSIAN) for way in ("off", "on"))
    assert equal(off[0], on[0])
    assert off[1].found == on[1].found


def test_checkpointing_keeps_less_for_the_backward_pass():
    from models.train.engine.loop import _recomputed

    module, task = conv(), problem()
    rows = Rows(task.inputs, task.targets, torch.device("cpu")).part(0, 8)
    plainly = memory.row_bytes(module, GAUSSIAN, *rows)
    with _recomputed(module, wanted=True):
        assert memory.row_bytes(module, GAUSSIAN, *rows) < 0.6 * plainly
    assert memory.row_bytes(module, GAUSSIAN, *rows) == plainly


def test_streamed_rows_are_the_resident_ones_to_the_bit(monkeypatch):
    resident, _ = trained(problem())
    job = Remembering()
    # two megabytes hold the network and not the data
    monkeypatch.setattr("models.train.engine.planning.size_of", lambda *_: 2**40)
    streamed, _ = trained(problem(job=job))
    assert job.said("streamed")
    assert equal(resident, streamed)


def test_leaving_off_between_two_steps_ends_the_thread_that_fetches():
    import threading

    task = problem(n=4000)
    steps = Streamed(task.inputs, task.targets, torch.device("cpu")).steps(list(torch.arange(4000).split(16)))
    next(steps)
    assert any(thread.name == "plimsoll-rows" for thread in threading.enumerate())
    steps.close()
    assert not any(thread.name == "plimsoll-rows" for thread in threading.enumerate())


def test_what_fails_while_fetching_is_raised_where_somebody_waits():
    task = problem()
    steps = Streamed(task.inputs, task.targets, torch.device("cpu")).steps([torch.arange(4), torch.tensor([10**6])])
    with pytest.raises((IndexError, RuntimeError)):
        list(steps)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_bf16_ends_within_one_percent_of_fp32(seed):
    full, half = (
        trained(problem(seed=seed, epochs=6, precision=precision, kernels="foreach"), make=conv, recipe=GAUSSIAN)[1]
        for precision in ("fp32", "bf16")
    )
    assert half.found[-1] != full.found[-1]
    assert half.found[-1] == pytest.approx(full.found[-1], rel=0.01)


def test_fp16_with_scaled_losses_learns_as_fp32_does():
    full, half = (trained(problem(epochs=4, precision=precision))[1] for precision in ("fp32", "fp16"))
    assert half.found != full.found
    assert half.found[-1] == pytest.approx(full.found[-1], rel=0.02)


def test_a_compiled_loss_is_the_loss(monkeypatch):
    # the compiler's own front end and autograd, without the C++ compiler behind them
    honest = torch.compile
    monkeypatch.setattr(torch, "compile", lambda what, **_: honest(what, backend="aot_eager"))
    plainly, compiled = (trained(problem(n=192, epochs=2, compile=way)) for way in ("off", "on"))
    assert close(plainly[0], compiled[0], 1e-5)


def test_a_compiler_that_fails_is_left_out_with_its_reason_and_nothing_is_lost(monkeypatch):
    def broken(_what, **_options):
        def call(inputs, _targets):
            torch.rand(3)  # it may have drawn numbers before it failed
            raise RuntimeError("no such header\nand much more")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    monkeypatch.setattr("models.train.engine.machine.shutil.which", lambda _name: "/usr/bin/g++")
    job = Remembering()
    weights, _ = trained(problem(compile="on", job=job), make=lambda: small(0.2))
    assert job.said("compile: off (it failed: no such header)")
    assert equal(weights, trained(problem(compile="off"), make=lambda: small(0.2))[0])


@pytest.mark.parametrize("limit", [40, 13])
def test_out_of_memory_halves_the_pieces_and_loses_nothing(limit):
    """Every attempt at more rows than `limit` fails half-way, after random numbers were drawn."""

    def greedy(module, inputs, targets):
        loss = squares(module, inputs, targets)
        if module.training and len(inputs) > limit:
            raise torch.OutOfMemoryError("simulated")
        return loss

    job = Remembering()
    recipe = Recipe(name="small", loss=greedy, learning_rate=5e-3, batch=64)
    small_memory, curve = trained(problem(job=job), make=lambda: small(0.3), recipe=recipe)
    halvings = math.ceil(math.log2(64 / limit))
    # as if it had begun with pieces that small: dropout draws the same numbers
    from_the_start, reference = trained(problem(accumulation=2**halvings), make=lambda: small(0.3))
    assert equal(small_memory, from_the_start)
    assert curve.rates == reference.rates
    assert len(job.said("out of memory")) == halvings


def test_one_row_that_does_not_fit_is_said():
    calls = []

    def hopeless(module, inputs, targets):
        calls.append(len(inputs))
        if len(calls) > 2:  # the first two are the plan's
            raise torch.OutOfMemoryError("simulated")
        return squares(module, inputs, targets)

    recipe = Recipe(name="small", loss=hopeless, batch=64)
    with pytest.raises(ModelError, match="one row at a time"):
        trained(problem(), recipe=recipe)
    assert calls[2:] == [64, 32, 16, 8, 4, 2, 1]


def test_an_average_of_the_weights_is_what_is_judged_and_given():
    plainly, averaged = trained(problem(regularise=0.0)), trained(problem(regularise=0.0, average=0.999))
    assert not close(plainly[0], averaged[0], 1e-3)
    # a plain mean at first: the average of all the weights there were
    steps = []
    task = problem(regularise=0.0, n=64, epochs=3, average=0.999)

    class Weights(Callback):
        def step(self, state, look):
            steps.append(module[0].weight.detach().clone())

    with repeatable(0):
        module = small()
        first = module[0].weight.detach().clone()
        kept = learn(module, task, RECIPE, more=(Weights(),))
    expected = first
    for number, weight in enumerate(steps, 1):
        expected = torch.lerp(expected, weight, 1.0 - min(0.999, number / (number + 10)))
    assert torch.allclose(kept[0].weight, expected, atol=1e-6)


@pytest.mark.parametrize("schedule", ["cosine", "restarts", "one_cycle", "plateau", "constant"])
def test_the_optimiser_gets_the_rate_of_the_schedule(schedule):
    from models.train.engine.schedules import factor

    _, curve = trained(problem(schedule=schedule, epochs=4))
    assert curve.rates == pytest.approx(
        [5e-3 * factor(schedule, i / len(curve.rates)) for i in range(len(curve.rates))]
    )


def test_only_a_plateau_lowers_the_rate_when_nothing_is_gained():
    stuck = {"epochs": 8, "min_delta": 0.9, "patience": 99}
    assert set(trained(problem(**stuck))[1].rates) == {5e-3}
    falling = trained(problem(schedule="plateau", **stuck))[1].rates
    assert sorted(set(falling), reverse=True) == [5e-3, 2.5e-3, 1.25e-3]
    assert falling == sorted(falling, reverse=True)


def test_the_engine_is_the_plain_loop():
    """Written out: shuffled batches, AdamW, clipping, the best epoch on the validation part."""
    task = problem(n=420, epochs=6)  # an odd last batch of each epoch: 36 of 64 rows
    flat = [torch.from_numpy(np.ascontiguousarray(each, np.float32)) for each in
            (task.inputs.reshape(420, -1), task.targets, task.validation_inputs.reshape(100, -1),
             task.validation_targets)]  # fmt: skip
    with repeatable(0):
        module = small()
        optimizer = torch.optim.AdamW(module.parameters(), lr=5e-3, weight_decay=0.1)
        order, best, found = torch.Generator().manual_seed(0), None, []
        for _ in range(6):
            for rows in torch.randperm(420, generator=order).split(64):
                optimizer.zero_grad()
                squares(module, flat[0][rows], flat[1][rows]).backward()
                nn.utils.clip_grad_norm_(module.parameters(), 1.0)
                optimizer.step()
            found.append(float(squares(module, *flat[2:]).detach()))
            if found[-1] == min(found):
                best = copy.deepcopy(module.state_dict())
    weights, curve = trained(task)
    assert curve.found == pytest.approx(found, rel=1e-4)
    assert close(weights, best, 1e-4)


def test_training_ends_when_gains_are_smaller_than_what_counts_as_one():
    _, curve = trained(problem(epochs=50, min_delta=0.9, patience=2))
    assert len(curve.found) == 3


def test_gradients_are_clipped_to_the_length_that_was_set():
    task = problem(n=64, epochs=1, optimizer="sgd", learning_rate=1.0, clip=0.01, regularise=1e-9)
    with repeatable(0):
        before = small()
    after, _ = trained(task, make=lambda: copy.deepcopy(before))
    moved = torch.cat([(after[name] - tensor).reshape(-1) for name, tensor in before.state_dict().items()])
    assert float(moved.norm()) == pytest.approx(0.01, rel=1e-3)


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="finds no CUDA device"):
        trained(problem(device="cuda"))


def test_the_flags_of_torch_are_put_back():
    before = torch.backends.cudnn.benchmark, torch.are_deterministic_algorithms_enabled()
    trained(problem(epochs=1))
    assert (torch.backends.cudnn.benchmark, torch.are_deterministic_algorithms_enabled()) == before


def test_the_diffusion_network_learns_the_same_in_pieces_kept_or_computed_again():
    """Its noise is drawn a piece at a time, so pieces agree in what they learn and not to the bit."""
    recipe = Recipe(name="unet", loss=_denoise.velocity_loss(), average=0.99, batch=64)

    def make():
        return _denoise.diffuser(nn.Linear(18, 4), 2, 4)

    kept, again = (
        trained(problem(epochs=1, checkpointing=way), make=make, recipe=recipe)[1].found for way in ("off", "on")
    )
    assert kept == again
    pieces = trained(problem(epochs=1, accumulation=2), make=make, recipe=recipe)[1].found
    assert pieces == pytest.approx(kept, rel=0.1)


# ---- LAMB


def lamb_by_hand(weight, gradients, rate, decay, betas=(0.9, 0.999), eps=1e-6):
    """Algorithm 2 of You et al. (2020), one tensor, double precision, written out."""
    m, v = np.zeros_like(weight), np.zeros_like(weight)
    for count, gradient in enumerate(gradients, 1):
        m = betas[0] * m + (1 - betas[0]) * gradient
        v = betas[1] * v + (1 - betas[1]) * gradient**2
        ratio = (m / (1 - betas[0] ** count)) / (np.sqrt(v / (1 - betas[1] ** count)) + eps)
        update = ratio + decay * weight
        norms = np.linalg.norm(weight), np.linalg.norm(update)
        trust = norms[0] / norms[1] if norms[0] > 0 and norms[1] > 0 else 1.0
        weight = weight - rate * trust * update
    return weight


@pytest.mark.parametrize("foreach", [True, False])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_lamb_is_the_published_algorithm(foreach, decay):
    random = np.random.default_rng(0)
    shapes = [(4, 3), (5,), (2, 2, 2), (3,)]
    starts = [random.standard_normal(shape) for shape in shapes]
    starts[-1][:] = 0.0  # a bias: its ratio is 1
    gradients = [[random.standard_normal(shape) for shape in shapes] for _ in range(20)]
    weights = [nn.Parameter(torch.from_numpy(start.copy())) for start in starts]
    optimizer = optimizers.Lamb(weights, lr=0.01, weight_decay=decay, foreach=foreach)
    for each in gradients:
        for weight, gradient in zip(weights, each, strict=True):
            weight.grad = torch.from_numpy(gradient)
        optimizer.step()
    for index, start in enumerate(starts):
        wanted = lamb_by_hand(start, [each[index] for each in gradients], 0.01, decay)
        assert weights[index].detach().numpy() == pytest.approx(wanted, rel=1e-5, abs=1e-7)


def test_lamb_leaves_alone_what_has_no_gradient():
    weight, other = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    optimizer = optimizers.Lamb([weight, other], lr=0.1)
    weight.grad = torch.ones(3)
    optimizer.step()
    assert torch.equal(other, torch.ones(3))
    assert not torch.equal(weight, torch.ones(3))


# ---- rows and augmentation


def test_windows_are_held_as_bars_and_gathered_as_they_were():
    task = problem(n=200, window=6, features=3)
    bars, window = bars_of(task.inputs)
    assert (bars.shape, window) == ((205, 3), 6)
    rows = Rows(task.inputs, task.targets, torch.device("cpu"))
    chosen = torch.tensor([0, 7, 199, 7])
    inputs, targets = rows.take(chosen)
    assert inputs.numpy().tobytes() == task.inputs[chosen.numpy()].reshape(4, -1).astype(np.float32).tobytes()
    assert targets.numpy().tobytes() == task.targets[chosen.numpy()].astype(np.float32).tobytes()
    assert rows.part(3, 9)[0].numpy().tobytes() == task.inputs[3:9].reshape(6, -1).astype(np.float32).tobytes()
    # windows that share nothing are rows of numbers, and are gathered all the same
    apart = np.ascontiguousarray(task.inputs)
    assert bars_of(apart)[1] == 1
    assert torch.equal(Rows(apart, task.targets, torch.device("cpu")).take(chosen)[0], inputs)
    assert size_of(task.inputs, task.targets) == 4 * (205 * 3 + 200 * 2)


def test_nothing_after_a_row_changes_it_windows_augmentation_and_all():
    """Truncate and recompute: the same batch from a history that ends with its newest row."""
    task = problem(n=300)
    strong = Augment(6, noise=0.3, warp=0.4, mixup=0.4, cutout=0.3)
    batch = torch.randint(0, 120, (32,), generator=torch.Generator().manual_seed(1))
    last = int(batch.max()) + 1
    made = []
    for inputs, targets in ((task.inputs, task.targets), (task.inputs[:last], task.targets[:last])):
        torch.manual_seed(5)
        made.append(strong(*Rows(inputs, targets, torch.device("cpu")).take(batch)))
    for one, other in zip(*made, strict=True):
        assert torch.equal(one, other)


def test_a_training_never_sees_the_validation_part_augmentation_and_all():
    """With other numbers behind the split, which decide nothing here, the same weights come out."""
    augmented = {"noise": 0.2, "warp": 0.3, "mixup": 0.4, "cutout": 0.3}
    task, other = problem(n=300, **augmented), problem(n=300, **augmented)
    bars = np.random.default_rng(9).standard_normal((105, 3))
    windows = np.lib.stride_tricks.sliding_window_view(bars, 6, axis=0).transpose(0, 2, 1)
    from dataclasses import replace

    other = replace(other, validation_inputs=windows, validation_targets=np.full((100, 2), 3.0))
    first, second = (
        trained(replace(each, learning=each.learning), recipe=Recipe(name="s", loss=squares, batch=64, patience=99))
        for each in (task, other)
    )
    assert first[1].trained == second[1].trained
    assert first[1].found != second[1].found


def series(n=64, window=8, k=2):
    return torch.arange(float(n * window * k)).reshape(n, window, k).reshape(n, -1)


def test_a_warp_keeps_the_newest_bar_and_the_order_of_time():
    inputs = torch.arange(8.0).repeat(64, 1)  # one feature that tells its bar
    torch.manual_seed(0)
    warped, _ = Augment(8, warp=0.3)(inputs, torch.zeros(64, 1))
    assert torch.equal(warped[:, -1], inputs[:, -1])
    assert (warped.diff(dim=1) >= 0).all()
    assert (warped >= 0).all()
    assert (warped <= 7).all()
    stretch = warped[:, -1] - warped[:, -2]
    assert stretch.min() >= 0.7 - 1e-5
    assert stretch.max() <= 1.3 + 1e-5
    assert stretch.std() > 0.05


def test_a_cutout_blanks_one_run_of_bars_and_never_the_newest():
    inputs = torch.ones(200, 8 * 2)
    torch.manual_seed(0)
    cut, _ = Augment(8, cutout=0.25)(inputs, torch.zeros(200, 1))
    blank = (cut.reshape(200, 8, 2) == 0).all(dim=2)
    assert not blank[:, -1].any()
    assert (blank.sum(dim=1) == 2).all()
    assert (blank.int().diff(dim=1).abs().sum(dim=1) <= 2).all()
    assert blank[:, :-1].any(dim=0).all()


def test_mixup_mixes_inputs_and_targets_by_one_share_of_which_the_rows_own_is_the_larger():
    torch.manual_seed(0)
    inputs, targets = torch.randn(32, 16), torch.randn(32, 2)
    mixed, told_of = Augment(8, mixup=0.4)(inputs, targets)
    share = (told_of - targets.roll(1, 0))[:, 0] / (targets - targets.roll(1, 0))[:, 0]
    assert share.std() < 1e-4
    own = float(share.mean())
    assert 0.5 <= own <= 1.0
    assert torch.allclose(mixed, own * inputs + (1 - own) * inputs.roll(1, 0), atol=1e-5)


def test_noise_is_as_large_as_was_asked_for_and_no_augmentation_is_none():
    torch.manual_seed(0)
    inputs, targets = torch.zeros(200, 48), torch.zeros(200, 1)
    noisy, same = Augment(8, noise=0.25)(inputs, targets)
    assert float(noisy.std()) == pytest.approx(0.25, rel=0.03)
    assert same is targets
    assert not Augment(8)
    assert not Augment(1, warp=0.3, cutout=0.3)


# ---- the plan


def test_a_plan_tells_everything_and_leaves_the_network_as_it_was():
    module, task = conv(), problem()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    torch.manual_seed(3)
    state = torch.get_rng_state()
    prepared = prepare(module, task, GAUSSIAN, measure=True)
    assert torch.equal(state, torch.get_rng_state())
    assert equal(before, module.state_dict())
    assert module.training
    assert prepared.step_s > 0
    lines = {line.what: line for line in told(prepared, task.learning)}
    assert {"strategy", "device", "precision", "compile", "attention", "data", "batch", "accumulation", "checkpointing",
            "memory", "cuda graph", "learning rate", "processes", "time"} <= set(lines)  # fmt: skip
    assert prepared.run.steps == 18


def test_activations_grow_with_rows_as_the_plan_says():
    module, task = conv(), problem()
    rows = Rows(task.inputs, task.targets, torch.device("cpu"))
    bytes_a_row = memory.row_bytes(module, GAUSSIAN, *rows.part(0, 4))
    grown = memory._kept(module, GAUSSIAN, *rows.part(0, 300)) - memory._kept(module, GAUSSIAN, *rows.part(0, 100))
    assert grown == pytest.approx(200 * bytes_a_row, rel=0.02)


# ---- a GPU


@pytest.mark.parametrize(("stride", "dilation", "padding"), [(1, 1, 1), (1, 5, 0), (2, 1, 1)])
def test_a_convolution_with_channels_last_makes_the_same_sums(stride, dilation, padding):
    torch.manual_seed(1)
    plain = _blocks.Conv1d(6, 10, 3, stride=stride, dilation=dilation, padding=padding)
    last = copy.deepcopy(plain)
    last.channels_last = True
    series = torch.randn(7, 6, 16)
    answers = [net(series) for net in (plain, last)]
    assert torch.allclose(*answers, atol=1e-5)
    for answer in answers:
        answer.square().sum().backward()
    assert torch.allclose(plain.weight.grad, last.weight.grad, rtol=1e-4, atol=1e-3)


def test_group_normalisation_is_torchs_own_with_its_weights():
    torch.manual_seed(2)
    ours, theirs = _blocks.GroupNorm(8, 32), nn.GroupNorm(8, 32)
    nn.init.normal_(theirs.weight)
    nn.init.normal_(theirs.bias)
    ours.load_state_dict(theirs.state_dict())
    series = 3.0 + 2.0 * torch.randn(5, 32, 4)
    assert torch.allclose(ours(series), theirs(series), atol=1e-5)


@needs_cuda
def test_on_a_gpu_everything_at_once_learns_what_the_processor_learns():
    plainly, fast = (
        trained(problem(device=device, epochs=6, **more), make=conv, recipe=GAUSSIAN)[1]
        for device, more in (("cpu", {}), ("cuda", {"compile": "on", "graph": "on", "precision": "bf16"}))
    )
    assert fast.found[-1] == pytest.approx(plainly.found[-1], rel=0.01)


@needs_cuda
def test_on_a_gpu_a_captured_step_is_the_step():
    eager, captured = (trained(problem(device="cuda", graph=way, precision="fp32")) for way in ("off", "on"))
    assert close(eager[0], captured[0], 1e-4)


@needs_cuda
def test_on_a_gpu_too_little_memory_ends_in_pieces():
    job, device = Remembering(), torch.device("cuda")
    held_mb = -(-torch.cuda.memory_allocated(device) // 2**20)  # by whatever ran in this process before
    tight = problem(n=200_000, batch=200_000, device="cuda", memory_mb=256 + held_mb, job=job)
    trained(tight, make=conv, recipe=GAUSSIAN)
    assert job.said("accumulation")
    assert torch.empty(2**28, dtype=torch.uint8, device=device).numel() == 2**28  # the limit was that training's alone
