# pyright: basic, reportMissingImports=false
# (torch is an extra: without it every name of it is unknown, which strict mode does not take)
"""The ways in which a device may compute a forecaster. Each is tried when models are loaded; see `placement`."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bus.errors import ModelError
from models.artifact import Artifact
from models.device.rebuilt import rebuild
from models.device.runner import Precision, Runner
from models.forms import Form
from models.forms.diffusion import Diffusion
from models.forms.onnx import Onnx

Numbers = NDArray[Any]


class Ahead(Protocol):
    """Rows under way."""

    def ready(self) -> bool:
        """Whether `result` would not wait."""
        ...

    def result(self) -> tuple[Numbers, Numbers | None]:
        """Points, and deviations where the form tells them, each (n, m)."""
        ...


class Asked(Protocol):
    """A forecaster on a device. Whatever goes wrong is raised."""

    def warm(self) -> None:
        """Do what is done once."""
        ...

    def begin(self, inputs: NDArray[np.float64]) -> Ahead:
        """Begin to answer rows of shape (n, k), scaled."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way.

    Attributes:
        name: for people.
        make: puts an artifact there; raises ModelError where it cannot be.
        rounded: in half precision, so that it must answer as another way in single precision does.
    """

    name: str
    make: Callable[[Artifact], Asked]
    rounded: bool = False


def ways(device: str) -> tuple[Way, ...]:
    """Those of a device of torch's, single precision first: others are compared with it."""
    found = [torch_way(device, "float32"), torch_way(device, "bfloat16")]
    if device.startswith("cuda") and CUDA_PROVIDER in _providers():
        found.append(session_way(CUDA_PROVIDER))
    return tuple(found)


def torch_way(device: str, precision: Precision) -> Way:
    """As a torch module."""

    def make(artifact: Artifact) -> Asked:
        pipeline = artifact.pipeline
        rebuilt = rebuild(artifact.manifest.name, pipeline.net, pipeline.window)
        return Runner(rebuilt, pipeline.net.inputs, device, precision=precision)

    return Way(name=f"torch {precision}", make=make, rounded=precision == "bfloat16")


CUDA_PROVIDER = "CUDAExecutionProvider"


def session_way(provider: str) -> Way:
    """The artifact's own graphs in ONNX Runtime, on another of its providers than the processor's."""

    def make(artifact: Artifact) -> Asked:
        net = artifact.pipeline.net
        if isinstance(net, Onnx):
            return _Sessions(replace(net, session=net.session.on(provider)))
        if isinstance(net, Diffusion):
            encoder, denoiser = net.encoder.on(provider), net.denoiser.on(provider)
            return _Sessions(replace(net, encoder=encoder, denoiser=denoiser))
        raise ModelError(f"a network of form {net.form} has no graph of ONNX")

    return Way(name=f"ONNX Runtime {provider.removesuffix('ExecutionProvider')}", make=make)


@dataclass(frozen=True, slots=True)
class _There:
    told: tuple[Numbers, Numbers | None]

    def ready(self) -> bool:
        return True

    def result(self) -> tuple[Numbers, Numbers | None]:
        return self.told


@dataclass(frozen=True, slots=True)
class _Sessions:
    net: Form

    def warm(self) -> None:
        self.begin(np.zeros((1, self.net.inputs)))

    def begin(self, inputs: NDArray[np.float64]) -> Ahead:
        assert isinstance(self.net, Onnx | Diffusion)
        return _There(self.net.measured(inputs))


def _providers() -> list[str]:
    import onnxruntime

    return onnxruntime.get_available_providers()
