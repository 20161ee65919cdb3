"""One file an architecture. `architectures()` finds them; each file holds a `NET` (see `models.contract.Net`).

Importing them loads no learning library: those are loaded by `fit`, and `Net.needs` names them.
"""

import importlib
import importlib.util
import pkgutil
from collections.abc import Sequence

from bus.errors import ModelError
from models.contract import Net
from models.defaults import ARCHITECTURES


def known() -> tuple[str, ...]:
    """Names of all networks of this folder, in order, whether or not what they need is installed."""
    return tuple(sorted(info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_")))


def architectures(names: Sequence[str] = ARCHITECTURES) -> dict[str, Net]:
    """The networks of these names, in the order of names.

    Raises:
        ModelError: a name that is not in this folder.
    """
    found: dict[str, Net] = {}
    for name in sorted(set(names)):
        if name not in known():
            raise ModelError(f"no network is called {name!r}; there are {', '.join(known())}")
        net: Net = importlib.import_module(f"{__name__}.{name}").NET
        found[net.name] = net
    return found


def absent(net: Net) -> tuple[str, ...]:
    """Packages that a network needs for its training and that are not installed."""
    return tuple(name for name in net.needs if importlib.util.find_spec(name) is None)


def require(net: Net) -> None:
    """Raise ModelError where something that a network needs for its training is not installed."""
    if missing := absent(net):
        raise ModelError(
            f"{net.name} is trained with {', '.join(missing)}, which this installation lacks; install "
            "plimsoll-fx[torch] (`make torch` in the source), or leave the network out"
        )
