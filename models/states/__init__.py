"""What state a market is in, and how unusual: models that say so, one file each. They forecast nothing.

Adding one is one file here with a module attribute `STATE` that fulfils `State`; the contract suite
(`tests/contracts/test_state_contract.py`) finds it and runs on it. Like a network it learns in training with the
libraries it wants and leaves a form (`models.forms`), which answers in service with numpy. What it says is told as a
fact of its own (`RegimeSeen`, or `PatternSeen` of an unusual bar), from a window of bars and nothing else.

It is not offered to forecasters as a feature: a feature is a function of bars, known by its code, and this is one of
bars and of what was learnt. `models.features.regimes` has a filter and an anomaly score with fixed parameters for them.
"""

import importlib
import pkgutil
from typing import Literal, Protocol

from models.columns import Floats
from models.forms import Form

Task = Literal["regimes", "anomaly"]


class State(Protocol):
    """A way to describe a market's state."""

    @property
    def name(self) -> str:
        """Lower-case name, the file's; the artifact's id starts with it."""
        ...

    @property
    def task(self) -> Task:
        """`regimes`: probabilities of states, calmest first. `anomaly`: one number, larger = more unusual."""
        ...

    @property
    def needs(self) -> tuple[str, ...]:
        """Packages that `fit` imports, by the name they are imported by."""
        ...

    @property
    def feature_names(self) -> tuple[str, ...]:
        """What it looks at; of a regime model the first orders the states."""
        ...

    @property
    def window(self) -> int:
        """Bars of them in an input, oldest first."""
        ...

    def fit(self, bars: Floats, seed: int) -> Form:
        """Learn, deterministically for a seed, on one thread.

        Args:
            bars: shape (n, k), scaled features in time order, finite.
            seed: every random number comes from it.

        Raises:
            DataError: too few bars.
        """
        ...


def states() -> dict[str, State]:
    """Every way of this folder by name, in the order of names."""
    found: dict[str, State] = {}
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__)):
        if not module.startswith("_"):
            one: State = importlib.import_module(f"{__name__}.{module}").STATE
            found[one.name] = one
    return found
