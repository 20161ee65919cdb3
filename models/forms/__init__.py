"""What a trained network is at rest and in service: one file a form. Light: importing it loads no learning library.

Adding a form is one file here with a module attribute `FORM` that fulfils `Restore`; its name is the file's. A form is
arrays and settings, and answers in the daemon's inference service. A form that needs a library (trees, ONNX) imports it
when it is first asked, not before.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bus.errors import ModelError

Floats = NDArray[np.float64]
Settings = dict[str, str | int | float]
"""What a form needs besides its arrays. JSON, in the artifact's manifest."""


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

    def tensors(self) -> dict[str, Floats]:
        """The arrays by name, for an artifact; finite float64."""
        ...

    def settings(self) -> Settings:
        """Everything else that `restore` needs."""
        ...


class Restore(Protocol):
    """A form's way back from rest."""

    def __call__(self, tensors: Mapping[str, Floats], settings: Settings) -> Form:
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


def restore(form: str, tensors: Mapping[str, Floats], settings: Settings) -> Form:
    """The network at rest in these arrays.

    Raises:
        ModelError: a form that is not known, or arrays and settings that do not make one.
    """
    known = forms()
    if form not in known:
        raise ModelError(f"networks of form {form!r} are not known to this release ({', '.join(known)}); train again")
    return known[form](tensors, settings)
