"""A diffusion model in service: samples of the outcomes at all horizons together, drawn from noise that it carries.

Two graphs of ONNX: `encoder` takes a row of inputs, shape (n, k), and gives its context, shape (n, c), once;
`denoiser` takes noisy outcomes (r, m), the step (r,) and a context (r, c), and predicts the velocity (r, m). The loop
between them is `models.diffusion.ddim`. The noise that samples start from is part of the model, the same for every
row, so that an answer is a function of its inputs. Samples are in units of sigma sqrt(horizon); the point is their
mean times `damping`, the deviation theirs times `gain`, and samples are moved and stretched to have both.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from bus.errors import ModelError
from models.diffusion import Numbers, Schedule, ddim, schedule_of
from models.forms import Floats, Settings, Tensor, Traits
from models.forms._session import Session, session_of, whole

TRAITS = Traits(dtypes=("float64", "float32", "uint8"), tolerance=1e-3)

LIMIT = 8.0
"""Largest outcome, in deviations of those learnt from, that a step may tell."""

_AT_ONCE = 8192
"""Samples that go through the denoiser together: enough to be quick, few enough for the processor's cache."""

LEAST_DEVIATION = 1e-3
"""Smallest deviation that samples are said to have, in units of `unit`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diffusion:
    """Encoder, denoiser and the noise to start from.

    Attributes:
        encoder: graph from inputs to context.
        denoiser: graph from noisy outcomes, step and context to velocity.
        inputs: numbers in a row of inputs.
        noise: shape (samples, m), float32.
        unit: shape (m,): what one unit of the denoiser's outcomes is.
        damping: shape (m,): how much of each mean is believed, 0 to 1.
        gain: shape (m,): what deviations are multiplied by.
        shape: of the schedule (`models.diffusion.SHAPES`) that was trained on, without signal at its end.
        trained_steps: of that schedule.
        steps: that sampling goes through.
    """

    encoder: Session
    denoiser: Session
    inputs: int
    noise: Numbers
    unit: Floats
    damping: Floats
    gain: Floats
    shape: str
    trained_steps: int
    steps: int
    schedule: Schedule = field(init=False)

    def __post_init__(self) -> None:
        """Make the schedule. Raises ModelError where there is none of that shape and length."""
        object.__setattr__(self, "schedule", schedule_of(self.shape, self.trained_steps))

    @property
    def form(self) -> str:
        """This file's name."""
        return "diffusion"

    @property
    def outputs(self) -> int:
        """Numbers in a row of outputs."""
        return len(self.unit)

    def __call__(self, inputs: Floats) -> Floats:
        """Damped means of the samples, shape (n, m), for inputs of shape (n, k)."""
        return self.measured(inputs)[0]

    def measured(self, inputs: Floats) -> tuple[Floats, Floats]:
        """Damped means and stretched deviations of the samples, both of shape (n, m)."""
        drawn = self._drawn(inputs)
        return drawn.mean(axis=1) * self.damping, self._deviation(drawn)

    def samples(self, inputs: Floats) -> Floats:
        """Outcomes at all horizons together, shape (n, samples, m), with the mean and deviation of `measured`."""
        drawn = self._drawn(inputs)
        mean = drawn.mean(axis=1, keepdims=True)
        return mean * self.damping + (drawn - mean) * self.gain

    def tensors(self) -> dict[str, Tensor]:
        """The arrays by name, for an artifact."""
        own = {"noise": self.noise, "unit": self.unit, "damping": self.damping, "gain": self.gain}
        return self.encoder.tensors("encoder.") | self.denoiser.tensors("denoiser.") | own

    def settings(self) -> Settings:
        """Numbers that the graphs take, and how samples are drawn."""
        return {
            "inputs": self.inputs,
            "schedule": self.shape,
            "trained_steps": self.trained_steps,
            "steps": self.steps,
        }

    def _deviation(self, drawn: Floats) -> Floats:
        return np.maximum(drawn.std(axis=1), LEAST_DEVIATION * self.unit) * self.gain

    def _drawn(self, inputs: Floats) -> Floats:
        count = len(self.noise)
        found = np.empty((len(inputs), count, self.outputs))
        context = self.encoder.ask(inputs=inputs.astype(np.float32))
        rows = max(1, _AT_ONCE // count)
        for start in range(0, len(inputs), rows):
            part = np.repeat(context[start : start + rows], count, axis=0)

            def predict(noisy: Numbers, step: int, part: Numbers = part) -> Numbers:
                steps = np.full(len(noisy), step, np.float32)
                return self.denoiser.ask(noisy=noisy.astype(np.float32), step=steps, context=part)

            noise = np.tile(self.noise, (len(part) // count, 1))[None]
            drawn = ddim(self.schedule, predict, noise, target="velocity", steps=self.steps, limit=LIMIT)
            found[start : start + rows] = drawn.reshape(-1, count, self.outputs) * self.unit
        found[~whole(inputs)] = np.nan
        return found


def restore(tensors: Mapping[str, Tensor], settings: Settings) -> Diffusion:
    """The network that `Diffusion.tensors` and `Diffusion.settings` described.

    Raises:
        ModelError: no graphs, ones that the library does not take, or numbers that do not fit them.
    """
    inputs, shape = settings.get("inputs"), settings.get("schedule")
    trained_steps, steps = settings.get("trained_steps"), settings.get("steps")
    if not (isinstance(inputs, int) and isinstance(trained_steps, int) and isinstance(steps, int)) or inputs < 1:
        raise ModelError(f"a diffusion of {inputs!r} inputs and {steps!r} of {trained_steps!r} steps; train again")
    if not 1 <= steps <= trained_steps:
        raise ModelError(f"a diffusion of {steps} of {trained_steps} steps; train the model again")
    noise, own = tensors.get("noise"), [tensors.get(name) for name in ("unit", "damping", "gain")]
    unit, damping, gain = own
    if noise is None or unit is None or damping is None or gain is None or noise.ndim != 2 or len(noise) < 2:
        raise ModelError("a diffusion without its noise and units; train the model again")
    if {each.shape for each in (unit, damping, gain)} != {noise.shape[1:]} or not ((unit > 0.0) & (gain > 0.0)).all():
        raise ModelError("noise, unit, damping and gain that do not fit each other; train the model again")
    net = Diffusion(
        encoder=session_of(tensors, "encoder."),
        denoiser=session_of(tensors, "denoiser."),
        inputs=inputs,
        noise=noise,
        unit=unit,
        damping=damping,
        gain=gain,
        shape=str(shape),
        trained_steps=trained_steps,
        steps=steps,
    )
    told = net.measured(np.zeros((1, inputs)))[0]
    if told.shape != (1, net.outputs):
        raise ModelError(f"a diffusion that answers {told.shape} to one row; train again")
    return net


FORM = restore
