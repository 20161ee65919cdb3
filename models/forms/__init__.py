"""What a trained network is at rest and in service: one file a form. Light: importing it loads no learning library.

Adding a form is one file here with a module attribute `FORM` that fulfils `Restore`; its name is the file's. A form is
arrays and settings, and answers in the daemon's inference service. A form that needs a library (trees, ONNX) imports it
when it is first asked, not before. One whose arrays are not all float64, or whose answers another processor rounds
differently, says so in a module attribute `TRAITS`.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from bus.errors import ModelError

Floats = NDArray[np.float64]
Tensor = NDArray[Any]
"""An array at rest, of a type that the form's `Traits` name."""

Settings = dict[str, str | int | float]
"""What a form needs besides its arrays. JSON, in the artifact's manifest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What an artifact has to know of a form before it restores it.

    Attributes:
        dtypes: types its arrays may have.
        tolerance: how far, relatively and absolutely, its answers may lie from its golden outputs on another machine.
    """

    dtypes: tuple[str, ...] = ("float64",)
    tolerance: float = 1e-9


class Form(Protocol):
    """A trained network that answers. Stateless: the same inputs give the same outputs, to the bit."""

    @property
    def form(self) -> str:
        """Name of the file in `models.forms` that restores it."""
        ...

    @property
    def inputs(self) -> int:
        """Numbers in a row of inputs."""
        ...

    @property
    def outputs(self) -> int:
        """Numbers in a row of outputs."""
        ...

    def __call__(self, inputs: Floats) -> Floats:
        """Outputs of shape (n, outputs) for inputs of shape (n, inputs). A row with NaN gives NaN."""
        ...

    def tensors(self) -> Mapping[str, Tensor]:
        """The arrays by name, for an artifact; finite, of the form's types."""
        ...

    def settings(self) -> Settings:
        """Everything else that `restore` needs."""
        ...


@runtime_checkable
class Measured(Protocol):
    """What a form has besides, if it knows how far it may be wrong."""

    def measured(self, inputs: Floats) -> tuple[Floats, Floats]:
        """Outputs as the call gives them, and the standard deviation of each in the same units, both (n, outputs)."""
        ...


class Restore(Protocol):
    """A form's way back from rest."""

    def __call__(self, tensors: Mapping[str, Tensor], settings: Settings) -> Form:
        """The network that `tensors()` and `settings()` described; arrays of other names are left alone.

        Raises:
            ModelError: an array or a setting is missing, or they do not fit one another.
        """
        ...


@lru_cache(maxsize=1)
def forms() -> dict[str, Restore]:
    """Every form of this folder by name."""
    names = sorted(info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_"))
    return {name: importlib.import_module(f"{__name__}.{name}").FORM for name in names}


def restore(form: str, tensors: Mapping[str, Tensor], settings: Settings) -> Form:
    """The network at rest in these arrays.

    Raises:
        ModelError: a form that is not known, or arrays and settings that do not make one.
    """
    return _known(form)(tensors, settings)


def traits(form: str) -> Traits:
    """What the form says of its arrays. Raises ModelError where it is not known."""
    _known(form)
    return getattr(importlib.import_module(f"{__name__}.{form}"), "TRAITS", Traits())


def _known(form: str) -> Restore:
    known = forms()
    if form not in known:
        raise ModelError(f"networks of form {form!r} are not known to this release ({', '.join(known)}); train again")
    return known[form]
