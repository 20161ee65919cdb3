# pyright: basic, reportMissingImports=false
# (torch is an extra: without it every name of it is unknown, which strict mode does not take)
"""Trains a diffusion model: the velocity of noisy outcomes, told the context of a window of bars.

Each row is seen at several steps of the schedule at once, which costs little beside its encoder and steadies the
gradient. Samples come from an exponential average of the weights. What is diffused are outcomes in units of their own
deviation in the fit part; the context is all that may scale or shift them.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from models.contract import Problem
from models.diffusion import schedule_of
from models.forms._session import Session
from models.forms.diffusion import Diffusion
from models.nets import _torch
from models.nets._sequence import PENALTY
from models.nets._unet import Diffuser, TemporalUnet
from models.train.engine import planning
from models.train.engine.loop import learn
from models.train.engine.recipe import Loss, Recipe

SHAPE = "cosine"
TRAINED_STEPS = 200
STEPS = 10
SAMPLES = 100
_LOOKS = 4
_MEASURED_ROWS = 300
"""Rows of the validation part, evenly spaced, that damping and gain are measured on: a row costs a thousand answers of
the denoiser, and neighbours overlap."""
_LEAST_UNIT = 1e-6


Encoding = Callable[[int, float, int], nn.Module]
"""Makes an encoder of k features a bar, a dropout and a width; the same function every time."""


def fit_diffusion(problem: Problem, name: str, encoder: Encoding, sizes: _torch.Sizes) -> Diffusion:
    """Train, export, and measure on the validation part how far means and deviations are to be believed.

    Args:
        problem: inputs of windows.
        name: told to `problem.progress`.
        encoder: makes the encoder; its width is that of the context.
        sizes: what was chosen.

    Raises:
        ModelError: training diverged, or a graph does not answer as its network does.
    """
    features = problem.inputs.shape[-1]
    m, size = problem.targets.shape[1], int(np.prod(problem.inputs.shape[1:]))
    unit = np.maximum(problem.targets.std(axis=0), _LEAST_UNIT)
    with _torch.repeatable(problem.seed):
        module = diffuser(encoder(features, sizes.dropped(problem), sizes.width), m, sizes.width)
        module = learn(module, _in_units(problem, unit), denoising(name, sizes.penalty))
        graphs = _graphs(encoder, features, m, sizes.width, size)
        parts: list[nn.Module] = [module.encoder, module.denoiser]  # pyright: ignore[reportAssignmentType]
        sessions = [Session(graph, _torch.weights_of(part)) for graph, part in zip(graphs, parts, strict=True)]
        _compare(name, sessions, module, size, m)
    net = Diffusion(
        encoder=sessions[0],
        denoiser=sessions[1],
        inputs=size,
        noise=starting_noise(SAMPLES, m, problem.seed),
        unit=unit,
        damping=np.ones(m),
        gain=np.ones(m),
        shape=SHAPE,
        trained_steps=TRAINED_STEPS,
        steps=STEPS,
    )
    if problem.regularise == 0.0:
        return net
    rows = np.s_[:: -(-len(problem.validation_inputs) // _MEASURED_ROWS)]
    points, spread = net.measured(_torch.flat(problem.validation_inputs[rows]))
    return replace(net, **_torch.trust(points, spread, problem.validation_targets[rows]))


def plan_diffusion(problem: Problem, name: str, encoder: Encoding, sizes: _torch.Sizes) -> planning.Prepared:
    """What `fit_diffusion` would do, and how long its training would take."""
    with _torch.repeatable(problem.seed):
        reader = encoder(problem.inputs.shape[-1], sizes.dropped(problem), sizes.width)
        module = diffuser(reader, problem.targets.shape[1], sizes.width)
        return planning.prepare(module, problem, denoising(name, sizes.penalty), measure=True)


def denoising(name: str, penalty: float = PENALTY.default) -> Recipe:
    """How a diffusion model learns."""
    return Recipe(name=name, loss=velocity_loss(), penalty=penalty, average=0.99, passes=2)


def diffuser(encoder: nn.Module, outcomes: int, context: int) -> Diffuser:
    """Encoder and denoiser, with the schedule that they are trained on."""
    return Diffuser(encoder, TemporalUnet(outcomes, context), schedule_of(SHAPE, TRAINED_STEPS))


def velocity_loss() -> Loss:
    """Mean square of what is missing of the velocity, each row at several random steps."""

    def loss(module: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        device = inputs.device
        context = module.encoder(inputs).repeat_interleave(_LOOKS, dim=0)  # pyright: ignore[reportCallIssue]
        data = targets.repeat_interleave(_LOOKS, dim=0)
        drawn = torch.randint(TRAINED_STEPS, (len(data),), device=device)
        a, s = module.signal[drawn][:, None], module.noise[drawn][:, None]  # pyright: ignore[reportIndexIssue, reportArgumentType]
        added = torch.randn_like(data)
        told = module.denoiser(a * data + s * added, (drawn + 1).float(), context)  # pyright: ignore[reportCallIssue]
        return ((told - (a * added - s * data)) ** 2).mean()

    return loss


def _in_units(problem: Problem, unit: np.ndarray) -> Problem:
    """The problem with outcomes in units of their own deviation."""
    return replace(problem, targets=problem.targets / unit, validation_targets=problem.validation_targets / unit)


def starting_noise(samples: int, m: int, seed: int) -> np.ndarray:
    """Noise to start from, shape (samples, m), float32: each draw with its mirror image, uncorrelated, of variance 1.

    So the sample mean and deviation carry no noise of the draw's own mean and deviation. `samples` is even.
    """
    half = np.random.default_rng(seed).standard_normal((samples // 2, m))
    if len(half) > 2 * m:
        half = half @ np.linalg.inv(np.linalg.cholesky(half.T @ half / len(half))).T
    return np.concatenate((half, -half)).astype(np.float32)


@lru_cache(maxsize=16)
def _graphs(encoder: Encoding, features: int, m: int, context: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    examples = {"noisy": torch.zeros(2, m), "step": torch.ones(2), "context": torch.zeros(2, context)}
    return (
        _torch.exported(_as_build(encoder), features, m, context, size),
        _torch.graph_of(TemporalUnet(m, context), examples),
    )


@lru_cache(maxsize=16)
def _as_build(encoder: Encoding) -> _torch.Build:
    return lambda features, _outputs, dropout, width: encoder(features, dropout, width)


def _compare(name: str, sessions: list[Session], module: nn.Module, size: int, m: int) -> None:
    random = np.random.default_rng(0)
    inputs = random.standard_normal((500, size)).astype(np.float32)
    noisy = random.standard_normal((500, m)).astype(np.float32)
    step = random.integers(1, TRAINED_STEPS + 1, 500).astype(np.float32)
    with torch.no_grad():
        context = module.encoder(torch.from_numpy(inputs))  # pyright: ignore[reportCallIssue]
        wanted = module.denoiser(torch.from_numpy(noisy), torch.from_numpy(step), context)  # pyright: ignore[reportCallIssue]
    _torch.apart(name, sessions[0].ask(inputs=inputs), context.numpy())
    _torch.apart(name, sessions[1].ask(noisy=noisy, step=step, context=context.numpy()), wanted.numpy())
