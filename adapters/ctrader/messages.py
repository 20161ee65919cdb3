"""The broker's generated protobuf messages, without the client they are packaged with.

Importing ``ctrader_open_api`` would run its client, which takes hold of Twisted's reactor before anybody could choose
one. The four generated modules need nothing of it, so they are loaded under their own names below a bare parent.
"""

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

from bus.errors import ConfigError

_PACKAGE = "ctrader_open_api"
_NAMES = ("OpenApiCommonModelMessages", "OpenApiModelMessages", "OpenApiCommonMessages", "OpenApiMessages")


def _bare(name: str) -> None:
    """Make a parent package known by its folder alone, unless somebody has imported the real one."""
    if name in sys.modules:
        return
    spec = importlib.util.find_spec(name) if "." not in name else None
    if "." in name:
        parent = sys.modules[name.rpartition(".")[0]]
        locations = [f"{path}/{name.rpartition('.')[2]}" for path in parent.__path__]
    elif spec is None or spec.submodule_search_locations is None:
        raise ConfigError("ctrader-open-api is not installed; run `make setup`")
    else:
        locations = list(spec.submodule_search_locations)
    module = ModuleType(name)
    module.__path__ = locations
    sys.modules[name] = module


def _load() -> tuple[Any, Any, Any, Any]:
    added = [name for name in (_PACKAGE, f"{_PACKAGE}.messages") if name not in sys.modules]
    _bare(_PACKAGE)
    _bare(f"{_PACKAGE}.messages")
    try:
        modules = [
            importlib.import_module(f"{_PACKAGE}.messages.{name}_pb2")
            for name in (
                "OpenApiCommonModelMessages",
                "OpenApiModelMessages",
                "OpenApiCommonMessages",
                "OpenApiMessages",
            )
        ]
    finally:
        for name in added:  # so that a test may still import the real package
            sys.modules.pop(name, None)
    return modules[0], modules[1], modules[2], modules[3]


common_model, model, common, openapi = _load()
