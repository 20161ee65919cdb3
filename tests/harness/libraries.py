"""Which learning libraries this machine can load: a wheel that is installed may still want a library of the system."""

import importlib

import pytest

from models.nets import absent


def _loads(name):
    try:
        importlib.import_module(name)
    except (ImportError, OSError):
        return False
    return True


LIGHTGBM = _loads("lightgbm")
needs_lightgbm = pytest.mark.skipif(not LIGHTGBM, reason="LightGBM cannot be loaded here; it wants libgomp1")


def lacking(net):
    """What a network's training needs and this machine lacks, in words; empty = nothing."""
    if missing := absent(net):
        return f"{', '.join(missing)} not installed (`make torch`)"
    return "" if LIGHTGBM or "lightgbm" not in net.needs else "LightGBM cannot be loaded here; it wants libgomp1"
