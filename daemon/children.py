"""How a process of our own starts another one that runs this very code."""

import os
import sys
from pathlib import Path


def command(module: str, *arguments: str) -> list[str]:
    """The command line of a module of ours; with `environment` it finds this code, and stays in the user's folder.

    (-P: what lies in that folder must not be imported; relative paths begin there all the same.)
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def environment() -> dict[str, str]:
    """The environment of such a child."""
    path = os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", ""))))
    return {**os.environ, "PYTHONPATH": path}
