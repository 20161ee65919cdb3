# pyright: basic, reportMissingImports=false
# (torch is an extra: without it every name of it is unknown, which strict mode does not take)
"""Trains torch networks, and turns them into graphs that ONNX Runtime answers with. Nothing of torch leaves this room.

Training is AdamW over shuffled batches, the best epoch on the validation part, one thread on the processor or the first
CUDA device where there is one. Every random number comes from the problem's seed, and algorithms that are not
repeatable are refused, so that a seed gives the same weights to the bit on one machine. A graph depends on a
network's shape alone: it is exported once, without weights, and stripped of everything that tells of the machine.
"""

import copy
import logging
import os
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from bus.errors import ModelError
from models.contract import Floats, Problem
from models.forms._session import Session
from models.forms.onnx import Onnx
from models.nets._blocks import gaussian_loss
from models.nets._sklearn import damping

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it CUDA's matrix products are not repeatable

_BATCH = 128
_EPOCHS_WITHOUT_GAIN = 8
_GRADIENT_LIMIT = 1.0
_ROWS_A_TIME = 4096
_CHECKED_ROWS = 1000
_EXPORT_TOLERANCE = 1e-5
_GAIN_LIMITS = (0.2, 5.0)

Build = Callable[[int, int, float], nn.Module]
"""Makes a network of k features a bar and m outputs; the third number is how strongly to regularise."""

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""Of a network on a batch of inputs (n, window * k) and targets (n, m), in training or in evaluation mode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a network learns.

    Attributes:
        name: told to `problem.progress`.
        loss: what falls.
        learning_rate: of AdamW.
        penalty: its weight decay, times the problem's `regularise`.
        average: share that the average of the weights keeps at each step; 0 = the weights themselves are taken.
        passes: of the validation part at each look; more where its loss is random.
        patience: epochs without gain on the validation part after which training ends.
    """

    name: str
    loss: Loss
    learning_rate: float = 2e-3
    penalty: float = 0.1
    average: float = 0.0
    passes: int = 1
    patience: int = _EPOCHS_WITHOUT_GAIN


def fit_gaussian(problem: Problem, name: str, build: Build) -> Onnx:
    """Train a network with a head of expectations and deviations, and export it.

    Raises:
        ModelError: training diverged, or the graph does not answer as the network does.
    """
    window, features = _shape(problem)
    m = problem.targets.shape[1]
    with repeatable(problem.seed) as device:
        module = train(
            build(features, m, problem.regularise),
            problem,
            Recipe(name=name, loss=lambda net, inputs, targets: gaussian_loss(net(inputs), targets)),
            device,
        )
        graph = exported(build, features, m, window * features)
        raw = Onnx(
            session=Session(graph, weights_of(module)), inputs=window * features, damping=np.ones(m), gain=np.ones(m)
        )
        _compare(name, raw, module)
        if problem.regularise == 0.0:
            return raw
        points, spread = raw.measured(flat(problem.validation_inputs))
    return Onnx(session=raw.session, inputs=raw.inputs, **trust(points, spread, problem.validation_targets))


def trust(points: Floats, spread: Floats, truth: Floats) -> dict[str, Floats]:
    """`damping` and `gain`, each of shape (m,), that serve the validation part best.

    How much of each expectation to believe; then what makes the mean square of the errors, in deviations, 1.
    """
    believed = damping(points, truth)
    error = (truth - believed * points) / spread
    return {"damping": believed, "gain": np.clip(np.sqrt((error**2).mean(axis=0)), *_GAIN_LIMITS)}


@contextmanager
def repeatable(seed: int) -> Generator[torch.device]:
    """One thread, all random numbers from the seed, repeatable algorithms; and the device to learn on."""
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    cuda = torch.cuda.is_available()
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if cuda else []):
        torch.manual_seed(seed % 2**63)
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)
        try:
            yield torch.device("cuda" if cuda else "cpu")
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(strict)


def train(module: nn.Module, problem: Problem, recipe: Recipe, device: torch.device) -> nn.Module:
    """The network of the best epoch on the validation part (the last where nothing regularises), on the processor.

    Raises:
        ModelError: the loss is not finite, or no epoch was asked for.
    """
    module = module.to(device)
    kept = copy.deepcopy(module) if recipe.average else module
    optimiser = torch.optim.AdamW(
        module.parameters(), lr=recipe.learning_rate, weight_decay=recipe.penalty * problem.regularise
    )
    order = torch.Generator().manual_seed(problem.seed % 2**63)
    targets = torch.from_numpy(problem.targets.astype(np.float32)).to(device)
    batch = min(_BATCH, len(targets))
    best, best_loss, waited, steps = None, np.inf, 0, 0
    loss = torch.zeros(())
    for epoch in range(problem.epochs):
        module.train()
        shuffled = torch.randperm(len(targets), generator=order)
        for rows in shuffled.split(batch):
            if len(rows) * 2 <= batch:
                continue  # a last batch that is much smaller than the others pulls too hard
            loss = recipe.loss(module, _batch(problem.inputs, rows, device), targets[rows.to(device)])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(module.parameters(), _GRADIENT_LIMIT)
            optimiser.step()
            steps += 1
            if recipe.average:
                _average(kept, module, min(recipe.average, steps / (steps + 10)))
        held = problem.regularise > 0.0
        found = _validate(kept, problem, recipe, device) if held else float(loss.detach())
        problem.progress(recipe.name, (epoch + 1) / problem.epochs)
        if not np.isfinite(found):
            raise ModelError(f"{recipe.name}: training diverged at epoch {epoch + 1}; look at the training data")
        if not held or found < best_loss - 1e-6:
            best_loss, waited = found, 0
            best = {name: tensor.clone() for name, tensor in kept.state_dict().items()} if held else {}
        else:
            waited += 1
            if waited >= recipe.patience:
                break
    problem.progress(recipe.name, 1.0)
    if best is None:
        raise ModelError(f"{recipe.name}: no epoch was trained; ask for at least one")
    if best:
        kept.load_state_dict(best)
    return kept.to("cpu").eval()


def flat(inputs: Floats) -> Floats:
    """Inputs of shape (n, window, k) or (n, k) as rows of numbers."""
    return inputs.reshape(len(inputs), -1)


def weights_of(module: nn.Module) -> dict[str, np.ndarray]:
    """A network's numbers by name, float32."""
    return {name: tensor.detach().cpu().numpy().astype(np.float32) for name, tensor in module.state_dict().items()}


@lru_cache(maxsize=64)
def exported(build: Build, features: int, outputs: int, inputs: int) -> np.ndarray:
    """The graph of what `build` makes, from `inputs` (rows, inputs) to its only output, as bytes in uint8."""
    return graph_of(build(features, outputs, 0.0), {"inputs": torch.zeros(2, inputs)})


def graph_of(module: nn.Module, examples: dict[str, Tensor]) -> np.ndarray:
    """The graph of a network whose arguments are these, the first dimension of each being free.

    Raises:
        ModelError: something in it is no weight and would have to be stored in the graph.
    """
    import onnx

    logger = logging.getLogger("torch.onnx")
    level, rows = logger.level, torch.export.Dim("rows", min=1)
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what torch deprecates within itself
            program = torch.onnx.export(
                module.eval(),
                tuple(examples.values()),
                input_names=list(examples),
                output_names=["outputs"],
                dynamic_shapes=tuple({0: rows} for _ in examples),
                dynamo=True,
                optimize=False,
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    names = set(module.state_dict())
    for weight in model.graph.initializer:
        if weight.name not in names:
            raise ModelError(f"the graph holds {weight.name}, which is no weight; give the network as weights only")
        weight.ClearField("raw_data")
        weight.data_location = onnx.TensorProto.EXTERNAL
        # never a file: what is handed in takes its place, and where it is not, the graph is refused
        del weight.external_data[:]
        for key, value in (("location", "given"), ("offset", "0"), ("length", str(4 * int(np.prod(weight.dims))))):
            entry = weight.external_data.add()
            entry.key, entry.value = key, value
    _anonymous(model)
    return np.frombuffer(model.SerializeToString(deterministic=True), np.uint8)


def _anonymous(model: object) -> None:
    """Remove who made a graph, and from which lines of which files."""
    graph = model.graph  # pyright: ignore[reportAttributeAccessIssue]
    model.producer_name = model.producer_version = ""  # pyright: ignore[reportAttributeAccessIssue]
    holders = [model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for holder in holders:
        holder.doc_string = ""
        del holder.metadata_props[:]
    del graph.value_info[:]


def _shape(problem: Problem) -> tuple[int, int]:
    """Window and features of a problem's inputs."""
    return (1, problem.inputs.shape[1]) if problem.inputs.ndim == 2 else problem.inputs.shape[1:]  # pyright: ignore[reportReturnType]


def _batch(inputs: Floats, rows: Tensor | slice, device: torch.device) -> Tensor:
    """Some rows: windows share memory until here, so that history is held once whatever the window."""
    chosen = inputs[rows if isinstance(rows, slice) else rows.numpy()]
    return torch.from_numpy(flat(chosen).astype(np.float32)).to(device)


def _average(kept: nn.Module, module: nn.Module, share: float) -> None:
    with torch.no_grad():
        for old, new in zip(kept.parameters(), module.parameters(), strict=True):
            old.lerp_(new, 1.0 - share)


def _validate(module: nn.Module, problem: Problem, recipe: Recipe, device: torch.device) -> float:
    module.eval()
    total = 0.0
    n = len(problem.validation_inputs)
    with torch.no_grad(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(problem.seed % 2**63)  # the same noise at every look
        for start in [*range(0, n, _ROWS_A_TIME)] * recipe.passes:
            part = slice(start, start + _ROWS_A_TIME)
            targets = torch.from_numpy(problem.validation_targets[part].astype(np.float32)).to(device)
            loss = recipe.loss(module, _batch(problem.validation_inputs, part, device), targets)
            total += float(loss) * len(targets)
    return total / (n * recipe.passes)


def _compare(name: str, form: Onnx, module: nn.Module) -> None:
    """Ask graph and network the same.

    Raises:
        ModelError: they answer differently.
    """
    inputs = np.random.default_rng(0).standard_normal((_CHECKED_ROWS, form.inputs)).astype(np.float32)
    with torch.no_grad():
        wanted = module(torch.from_numpy(inputs)).numpy()
    apart(name, form.session.ask(inputs=inputs), wanted)


def apart(name: str, told: np.ndarray, wanted: np.ndarray) -> None:
    """Raise ModelError where a graph's answers are not its network's."""
    worst = float(np.max(np.abs(told - wanted) / (1.0 + np.abs(wanted))))
    if not worst <= _EXPORT_TOLERANCE:
        raise ModelError(
            f"{name}: the exported graph answers otherwise than the network, by {worst:.2g}; "
            "train with another version of torch"
        )
