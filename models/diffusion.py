"""Diffusion: how data become noise by a schedule, and how samples come back from noise. Numpy; learns nothing itself.

Theory of operation. The forward process of T steps makes x_t = a_t x_0 + s_t e with e ~ N(0, 1), where a_t^2 is the
share of signal left, `kept[t - 1]`, and s_t^2 = 1 - a_t^2 (Ho et al. 2020). A network sees x_t and t and predicts one
of three things that hold the same: the noise e, the signal x_0, or the velocity v = a_t e - s_t x_0 (Salimans and Ho
2022). Sampling starts at noise and steps back, through every step with fresh noise (DDPM, Ho et al. 2020) or through a
few of them (DDIM, Song et al. 2021; with `eta` 0 no further noise is drawn). All noise is handed in, so that samples
are a function of their inputs. Where the schedule ends with signal left, sampling starts from what training never saw;
`zero_terminal` removes that (Lin et al. 2024), after which the last step holds nothing of the signal, and the noise
cannot be what is predicted.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from bus.errors import ModelError

Floats = NDArray[np.float64]
Numbers = NDArray[Any]

Shape = Literal["linear", "cosine"]
Target = Literal["noise", "signal", "velocity"]
SHAPES: tuple[str, ...] = get_args(Shape)
TARGETS: tuple[str, ...] = get_args(Target)

Predict = Callable[[Numbers, int], Numbers]
"""Of x_t and t (1 to T): what the network predicts, of the shape of x_t."""

_LARGEST_BETA = 0.999


@dataclass(frozen=True)
class Schedule:
    """How fast the signal goes.

    Attributes:
        kept: share of the signal's power left after step t, for t = 1 to T, falling (alpha-bar of Ho et al.).
    """

    kept: Floats

    def __post_init__(self) -> None:
        """Refuse what is no schedule.

        Raises:
            ModelError: shares that do not fall from below 1 to 0 or above.
        """
        shares = np.concatenate(((1.0,), self.kept))
        if len(shares) < 2 or not np.isfinite(shares).all() or not (np.diff(shares) < 0.0).all() or shares[-1] < 0.0:
            raise ModelError("a schedule whose share of signal does not fall from 1 towards 0; choose another")

    def __len__(self) -> int:
        """T, the number of steps."""
        return len(self.kept)

    @cached_property
    def signal(self) -> Floats:
        """a_t, shape (T,)."""
        return np.sqrt(self.kept)

    @cached_property
    def noise(self) -> Floats:
        """s_t, shape (T,)."""
        return np.sqrt(1.0 - self.kept)

    @cached_property
    def before(self) -> Floats:
        """Share of the signal's power left before step t, shape (T,)."""
        return np.concatenate(((1.0,), self.kept[:-1]))

    @cached_property
    def beta(self) -> Floats:
        """Share of the power that step t replaces by noise, shape (T,)."""
        return 1.0 - self.kept / self.before

    def noisy(self, data: Numbers, noise: Numbers, step: int) -> Numbers:
        """x_t of x_0 and e, for t = `step`, 1 to T."""
        return self.signal[step - 1] * data + self.noise[step - 1] * noise

    def velocity(self, data: Numbers, noise: Numbers, step: int) -> Numbers:
        """v_t of x_0 and e."""
        return self.signal[step - 1] * noise - self.noise[step - 1] * data

    def told(self, noisy: Numbers, predicted: Numbers, step: int, target: Target) -> tuple[Numbers, Numbers]:
        """The signal x_0 and the noise e that a prediction means.

        Raises:
            ModelError: the noise is predicted where no signal is left to be told by it.
        """
        a, s = float(self.signal[step - 1]), float(self.noise[step - 1])
        if target == "velocity":
            return a * noisy - s * predicted, s * noisy + a * predicted
        if target == "signal":
            return predicted, (noisy - a * predicted) / s
        if a == 0.0:
            raise ModelError("where no signal is left the noise says nothing of it; predict signal or velocity")
        return (noisy - s * predicted) / a, predicted


def linear(steps: int) -> Schedule:
    """Beta rises evenly from 1e-4 to 0.02 where there are 1000 steps (Ho et al. 2020), and faster where fewer."""
    beta = np.linspace(1e-4, 0.02, steps) * (1000.0 / steps)
    return _of_betas(beta)


def cosine(steps: int) -> Schedule:
    """kept_t = cos^2((t / T + 0.008) / 1.008 * pi / 2), relative to t = 0 (Nichol and Dhariwal 2021)."""
    at = (np.arange(steps + 1) / steps + 0.008) / 1.008 * (math.pi / 2.0)
    kept = np.cos(at) ** 2
    return _of_betas(1.0 - kept[1:] / kept[:-1])


def _of_betas(beta: Floats) -> Schedule:
    return Schedule(np.array(np.cumprod(1.0 - np.minimum(beta, _LARGEST_BETA)), np.float64))


def zero_terminal(schedule: Schedule) -> Schedule:
    """The schedule shifted and stretched in a_t so that the first step stays and the last keeps no signal at all."""
    a = schedule.signal
    stretched = (a - a[-1]) * (a[0] / (a[0] - a[-1]))
    return Schedule(stretched**2)


def schedule_of(shape: str, steps: int) -> Schedule:
    """A schedule by name that ends without signal.

    Raises:
        ModelError: a name that is not one of SHAPES, or fewer than two steps.
    """
    if shape not in SHAPES or steps < 2:
        raise ModelError(f"schedule {shape!r} of {steps} steps; give one of {', '.join(SHAPES)} and at least 2")
    return zero_terminal((linear if shape == "linear" else cosine)(steps))


def trailing(steps: int, chosen: int) -> tuple[int, ...]:
    """`chosen` of the steps 1 to `steps`, evenly, from the last one down (Lin et al. 2024).

    Raises:
        ModelError: more than there are, or none.
    """
    if not 1 <= chosen <= steps:
        raise ModelError(f"{chosen} of {steps} steps; choose at least 1 and at most all")
    return tuple(round(steps - index * steps / chosen) for index in range(chosen))


def ddpm(schedule: Schedule, predict: Predict, noise: Numbers, *, target: Target) -> Numbers:
    """Samples through every step.

    Args:
        schedule: that the network was trained on.
        predict: the network.
        noise: shape (T, ...): what to start from, then what is added after steps T to 2.
        target: what the network predicts.

    Returns:
        Samples of x_0, of the shape of ``noise[0]``.
    """
    sample = noise[0]
    for index, step in enumerate(range(len(schedule), 0, -1), 1):
        t = step - 1
        signal, _ = schedule.told(sample, predict(sample, step), step, target)
        left, before, beta = float(schedule.kept[t]), float(schedule.before[t]), float(schedule.beta[t])
        sample = (
            math.sqrt(before) * beta / (1.0 - left) * signal
            + math.sqrt(1.0 - beta) * (1.0 - before) / (1.0 - left) * sample
        )
        if step > 1:
            sample = sample + math.sqrt(beta * (1.0 - before) / (1.0 - left)) * noise[index]
    return sample


def ddim(
    schedule: Schedule,
    predict: Predict,
    noise: Numbers,
    *,
    target: Target,
    steps: int,
    eta: float = 0.0,
    limit: float = math.inf,
) -> Numbers:
    """Samples through a few steps.

    Args:
        schedule: that the network was trained on.
        predict: the network.
        noise: shape (1, ...), what to start from; with `eta` above 0 (steps, ...), then what is added on the way.
        target: what the network predicts.
        steps: how many of the schedule's steps to go through.
        eta: 0 adds no noise on the way; 1 adds what DDPM adds, and with all steps is DDPM.
        limit: largest size of the signal that a step may tell.

    Returns:
        Samples of x_0, of the shape of ``noise[0]``.
    """
    sample = noise[0]
    chosen = trailing(len(schedule), steps)
    for index, (step, following) in enumerate(zip(chosen, (*chosen[1:], 0), strict=True), 1):
        signal, told = schedule.told(sample, predict(sample, step), step, target)
        if limit < math.inf:
            signal = signal.clip(-limit, limit)  # a method, so that a tensor of torch may be sampled as well
        left = float(schedule.kept[step - 1])
        after = float(schedule.kept[following - 1]) if following else 1.0
        added = eta * math.sqrt((1.0 - after) / (1.0 - left) * (1.0 - left / after))
        sample = math.sqrt(after) * signal + math.sqrt(max(0.0, 1.0 - after - added**2)) * told
        if added > 0.0 and following:
            sample = sample + added * noise[index]
    return sample
