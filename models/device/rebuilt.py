# pyright: basic, reportMissingImports=false
# (torch is an extra: without it every name of it is unknown, which strict mode does not take)
"""Forms as torch modules: the arrays of an artifact in the network that they were trained in, nothing unpickled.

A module takes float32 inputs of shape (n, k), as the form does, and gives (n, m) points, or (n, 2 m) points and then
deviations where the form tells them. Graphs of ONNX are not read: the network is built anew by the architecture's own
code and given the graph's weights by name, and that it answers as the graph does is what golden outputs are for. The
diffusion's whole sampling loop is part of the one pass, so that a CUDA graph holds all of it.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from bus.errors import ModelError
from models.diffusion import ddim
from models.forms import Form
from models.forms.dense import Dense
from models.forms.diffusion import LEAST_DEVIATION, LIMIT, Diffusion
from models.forms.ensemble import Ensemble, Member, Mixture
from models.forms.onnx import Onnx
from models.scalers import Scaler

_SINGLE = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """A form as a module; `outputs` is m, and `tells` whether deviations follow the points."""

    module: nn.Module
    outputs: int
    tells: bool


def rebuild(name: str, net: Form, window: int) -> Rebuilt:
    """The module of a form.

    Args:
        name: of the architecture that trained it.
        net: the form.
        window: bars in a row of its inputs.

    Raises:
        ModelError: a form or a scaler that has no module, or arrays that do not fit the architecture's network.
    """
    tells = isinstance(net, Onnx | Diffusion | Mixture)
    return Rebuilt(module=_module(name, net, window).eval(), outputs=net.outputs, tells=tells)


def _module(name: str, net: Form, window: int) -> nn.Module:
    if isinstance(net, Dense):
        return Layers(net)
    if isinstance(net, Onnx):
        return Gaussian(net, _filled(name, _built(name, net, window), net.session.weights))
    if isinstance(net, Diffusion):
        return Sampler(net, *_diffuser(name, net, window))
    if isinstance(net, Ensemble):
        return Combined(net, [Part(member) for member in net.members])
    raise ModelError(f"a network of form {net.form} runs on the processor alone")


def _built(name: str, net: Onnx, window: int) -> nn.Module:
    build = getattr(_architecture(name), "build", None)
    if build is None:
        raise ModelError(f"the architecture {name} has no network of torch")
    heads = [weight for each, weight in net.session.weights.items() if each.endswith("linear.weight")]
    if len(heads) != 1 or heads[0].ndim != 2:
        raise ModelError(f"weights that do not fit this release's {name}")
    return build(net.inputs // window, net.outputs, 0.0, heads[0].shape[1])


def _diffuser(name: str, net: Diffusion, window: int) -> tuple[nn.Module, nn.Module]:
    from models.nets._unet import TemporalUnet

    encoder = getattr(_architecture(name), "encoder", None)
    told = net.denoiser.weights.get("context.weight")
    if encoder is None or told is None or told.ndim != 2:
        raise ModelError(f"the architecture {name} has no diffusion of torch")
    return (
        _filled(name, encoder(net.inputs // window, 0.0, told.shape[1]), net.encoder.weights),
        _filled(name, TemporalUnet(net.outputs, told.shape[1]), net.denoiser.weights),
    )


def _architecture(name: str) -> object:
    from models.nets import known

    if name not in known():
        raise ModelError(f"no architecture is called {name}")
    return importlib.import_module(f"models.nets.{name}")


def _filled(name: str, module: nn.Module, weights: Mapping[str, np.ndarray]) -> nn.Module:
    try:
        module.load_state_dict({each: torch.tensor(weight) for each, weight in weights.items()}, strict=True)
    except RuntimeError as error:
        raise ModelError(f"weights that do not fit this release's {name}") from error
    return module


def _single(numbers: np.ndarray) -> Tensor:
    return torch.tensor(np.asarray(numbers, np.float32))


class Layers(nn.Module):
    """Fully connected layers."""

    def __init__(self, net: Dense) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        self.activation = {"tanh": torch.tanh, "relu": torch.relu}.get(net.activation, lambda values: values)
        for weight, bias in zip(net.weights, net.biases, strict=True):
            layer = nn.Linear(*weight.shape)
            with torch.no_grad():
                layer.weight.copy_(_single(weight.T))
                layer.bias.copy_(_single(bias))
            self.layers.append(layer)

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape (n, k) to (n, m)."""
        values = inputs
        for layer in self.layers[:-1]:
            values = self.activation(layer(values))
        return self.layers[-1](values).float()


class Gaussian(nn.Module):
    """A network of expectations and logarithms of deviations, with how far they are believed."""

    damping: Tensor
    gain: Tensor

    def __init__(self, net: Onnx, module: nn.Module) -> None:
        super().__init__()
        self.module, self.outputs = module, net.outputs
        self.register_buffer("damping", _single(net.damping))
        self.register_buffer("gain", _single(net.gain))

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape (n, k) to (n, 2 m)."""
        told = self.module(inputs).float()
        points, logs = told[:, : self.outputs], told[:, self.outputs :]
        return torch.cat((points * self.damping, logs.exp() * self.gain), dim=1)


class Sampler(nn.Module):
    """Encoder, denoiser and the loop between them: mean and deviation of the samples."""

    noise: Tensor
    unit: Tensor
    damping: Tensor
    gain: Tensor

    def __init__(self, net: Diffusion, encoder: nn.Module, denoiser: nn.Module) -> None:
        super().__init__()
        self.encoder, self.denoiser = encoder, denoiser
        self.schedule, self.steps, self.samples = net.schedule, net.steps, len(net.noise)
        for name, numbers in (("noise", net.noise), ("unit", net.unit), ("damping", net.damping), ("gain", net.gain)):
            self.register_buffer(name, _single(numbers))

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape (n, k) to (n, 2 m)."""
        rows = inputs.shape[0]
        context = self.encoder(inputs).repeat_interleave(self.samples, dim=0)

        def predict(noisy: Tensor, step: int) -> Tensor:
            steps = torch.full((len(noisy),), float(step), device=noisy.device)
            return self.denoiser(noisy, steps, context).float()  # between steps all is in single precision

        noise = self.noise.repeat(rows, 1)[None]
        drawn: Tensor = ddim(  # pyright: ignore[reportAssignmentType]
            self.schedule,
            predict,  # pyright: ignore[reportArgumentType]
            noise,  # pyright: ignore[reportArgumentType]
            target="velocity",
            steps=self.steps,
            limit=LIMIT,
        )
        drawn = drawn.reshape(rows, self.samples, -1) * self.unit
        spread = torch.maximum(drawn.std(dim=1, correction=0), LEAST_DEVIATION * self.unit)
        return torch.cat((drawn.mean(dim=1) * self.damping, spread * self.gain), dim=1)


class Part(nn.Module):
    """A member of an ensemble: its own columns and bars, its scaler, its network."""

    columns: Tensor
    centre: Tensor
    gain: Tensor

    def __init__(self, member: Member) -> None:
        super().__init__()
        if not isinstance(member.scaler, Scaler):
            raise ModelError(f"{member.name} of an ensemble has a {member.scaler.kind} scaler, the processor's alone")
        self.window = member.window
        self.limit = min(member.scaler.limit, _SINGLE)
        self.net = _module(member.name, member.net, member.window)
        self.register_buffer("columns", torch.tensor(member.columns))
        self.register_buffer("centre", _single(member.scaler.centre))
        self.register_buffer("gain", _single(member.scaler.gain))

    def forward(self, bars: Tensor) -> Tensor:
        """Shape (n, window of the ensemble, features) to what the network gives."""
        own = bars[:, bars.shape[1] - self.window :].index_select(2, self.columns)
        return self.net(((own - self.centre) * self.gain).clip(-self.limit, self.limit).flatten(1))


class Combined(nn.Module):
    """The weighted sum of an ensemble, and its deviation by the law of total variance where it tells one."""

    weights: Tensor
    variances: Tensor | None

    def __init__(self, net: Ensemble, parts: list[Part]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.window, self.features, self.outputs = net.window, net.features, net.outputs
        self.register_buffer("weights", _single(net.weights))
        self.register_buffer("variances", _single(net.variances) if isinstance(net, Mixture) else None)

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape (n, window * k) to (n, m) or (n, 2 m)."""
        bars, m = inputs.reshape(-1, self.window, self.features), self.outputs
        told = [part(bars) for part in self.parts]
        means = (self.weights[:, None, :] * torch.stack([one[:, :m] for one in told])).sum(dim=0)
        if self.variances is None:
            return means
        left = 1.0 - self.weights.sum(dim=0)
        total = left * (self.variances[-1] + means**2)
        for weight, variance, one in zip(self.weights.unbind(), self.variances.unbind(), told, strict=False):
            own = one[:, m:] ** 2 if one.shape[1] > m else variance
            total = total + weight * (own + (one[:, :m] - means) ** 2)
        return torch.cat((means, total.sqrt()), dim=1)
