"""One file an architecture. `architectures()` finds them; each file holds a `NET` (see `models.contract.Net`)."""

import importlib
import pkgutil

from models.contract import Net


def architectures() -> dict[str, Net]:
    """Every network of this folder by name, in the order of names."""
    found: dict[str, Net] = {}
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__)):
        if not module.startswith("_"):
            net: Net = importlib.import_module(f"{__name__}.{module}").NET
            found[net.name] = net
    return found
