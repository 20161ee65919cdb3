# pyright: basic, reportMissingImports=false
# (torch is an extra: without it every name of it is unknown, which strict mode does not take)
"""Trains torch networks, and turns them into graphs that ONNX Runtime answers with. Nothing of torch leaves this room.

Training is the engine's (`models.train.engine`), on one thread of the processor or on a CUDA device. Every random
number comes from the problem's seed, so that a seed gives the same weights to the bit on one machine, unless the
strategy `fast` was asked for on a GPU. A graph depends on a network's shape alone: it is exported once, without
weights, and stripped of everything that tells of the machine.
"""

import logging
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
from models.nets._sequence import PENALTY
from models.nets._sklearn import damping
from models.train.engine import planning
from models.train.engine.loop import learn
from models.train.engine.recipe import Recipe

_CHECKED_ROWS = 1000
_EXPORT_TOLERANCE = 1e-5
_GAIN_LIMITS = (0.2, 5.0)

Build = Callable[[int, int, float, int], nn.Module]
"""Makes a network of k features a bar, m outputs, a dropout and a width."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What may be chosen of a network of this room: its width, dropout and weight decay."""

    width: int
    dropout: float
    penalty: float

    def dropped(self, problem: Problem) -> float:
        """The dropout, as strongly as the problem regularises."""
        return self.dropout * min(1.0, problem.regularise)


def fit_gaussian(problem: Problem, name: str, build: Build, sizes: Sizes) -> Onnx:
    """Train a network with a head of expectations and deviations, and export it.

    Raises:
        ModelError: training diverged, or the graph does not answer as the network does.
    """
    window, features = _shape(problem)
    m = problem.targets.shape[1]
    with repeatable(problem.seed):
        module = build(features, m, sizes.dropped(problem), sizes.width)
        module = learn(module, problem, gaussian(name, sizes.penalty))
        graph = exported(build, features, m, sizes.width, window * features)
        raw = Onnx(
            session=Session(graph, weights_of(module)), inputs=window * features, damping=np.ones(m), gain=np.ones(m)
        )
        _compare(name, raw, module)
        if problem.regularise == 0.0:
            return raw
        points, spread = raw.measured(flat(problem.validation_inputs))
    return Onnx(session=raw.session, inputs=raw.inputs, **trust(points, spread, problem.validation_targets))


def plan_gaussian(problem: Problem, name: str, build: Build, sizes: Sizes) -> planning.Prepared:
    """What `fit_gaussian` would do, and how long it would take."""
    with repeatable(problem.seed):
        module = build(_shape(problem)[1], problem.targets.shape[1], sizes.dropped(problem), sizes.width)
        return planning.prepare(module, problem, gaussian(name, sizes.penalty), measure=True)


def gaussian(name: str, penalty: float = PENALTY.default) -> Recipe:
    """How a network with such a head learns."""
    return Recipe(name=name, loss=lambda net, inputs, targets: gaussian_loss(net(inputs), targets), penalty=penalty)


def trust(points: Floats, spread: Floats, truth: Floats) -> dict[str, Floats]:
    """`damping` and `gain`, each of shape (m,), that serve the validation part best.

    How much of each expectation to believe; then what makes the mean square of the errors, in deviations, 1.
    """
    believed = damping(points, truth)
    error = (truth - believed * points) / spread
    return {"damping": believed, "gain": np.clip(np.sqrt((error**2).mean(axis=0)), *_GAIN_LIMITS)}


@contextmanager
def repeatable(seed: int) -> Generator[None]:
    """One thread, and all random numbers from the seed."""
    threads = torch.get_num_threads()
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed % 2**63)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def flat(inputs: Floats) -> Floats:
    """Inputs of shape (n, window, k) or (n, k) as rows of numbers."""
    return inputs.reshape(len(inputs), -1)


def weights_of(module: nn.Module) -> dict[str, np.ndarray]:
    """A network's numbers by name, float32."""
    return {name: tensor.detach().cpu().numpy().astype(np.float32) for name, tensor in module.state_dict().items()}


@lru_cache(maxsize=64)
def exported(build: Build, features: int, outputs: int, width: int, inputs: int) -> np.ndarray:
    """The graph of what `build` makes, from `inputs` (rows, inputs) to its only output, as bytes in uint8."""
    return graph_of(build(features, outputs, 0.0, width), {"inputs": torch.zeros(2, inputs)})


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
