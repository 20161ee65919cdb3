"""How trained forecasters are put together: one file a way. What they give is a form (`models.forms.ensemble`).

Adding a way is one file here with a module attribute `ENSEMBLE` that fulfils `Ensemble`; the contract suite
(`tests/contracts/test_ensemble_contract.py`) finds it and runs on it. Weights are learnt on the validation part, which
the members themselves stopped and were damped by; the calibration part has no say. The random walk is a silent member
of all: what the weights leave of 1 is its own.
"""

import importlib
import pkgutil
from dataclasses import dataclass
from typing import Literal, Protocol

from models.columns import Floats
from models.forms import Form
from models.forms.dense import Dense

PREFIX = "ensemble_"
"""Before the file's name: what the way is called among architectures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinions:
    """What the members said of the validation part.

    Attributes:
        forecasts: shape (members, n, m), in sigmas, rows in time order.
        targets: shape (n, m), what came.
        horizons: bars ahead, m of them: rows closer than that share a part of their targets.
        families: of the members, see `family`.
    """

    forecasts: Floats
    targets: Floats
    horizons: tuple[int, ...]
    families: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighting:
    """What an ensemble made of them.

    Attributes:
        weights: shape (members, m), none negative, at most 1 together.
        variances: shape (members + 1, m), the random walk's last, of an ensemble that tells its deviation; else None.
    """

    weights: Floats
    variances: Floats | None = None


class Ensemble(Protocol):
    """A way to put forecasters together."""

    @property
    def name(self) -> str:
        """`ensemble_` and the file's name; the artifact's id starts with it."""
        ...

    @property
    def task(self) -> Literal["combine"]:
        """It forecasts, from forecasts."""
        ...

    @property
    def needs(self) -> tuple[str, ...]:
        """Packages that `combine` imports."""
        ...

    def combine(self, opinions: Opinions) -> Weighting:
        """Weigh the members, two or more; the same for the same opinions."""
        ...


def ensembles() -> dict[str, Ensemble]:
    """Every way of this folder by name, in the order of names."""
    found: dict[str, Ensemble] = {}
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__)):
        if not module.startswith("_"):
            one: Ensemble = importlib.import_module(f"{__name__}.{module}").ENSEMBLE
            found[one.name] = one
    return found


def family(net: Form) -> str:
    """What kind of model this is, for a hierarchy: `linear`, `trees` or `neural`."""
    if net.form == "trees":
        return "trees"
    return "linear" if isinstance(net, Dense) and len(net.weights) == 1 else "neural"
