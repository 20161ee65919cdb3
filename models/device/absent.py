# pyright: basic, reportMissingImports=false
# (torch is an extra: without it every name of it is unknown, which strict mode does not take)
"""What there is where no device is, found out without loading torch where that can be."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from models.artifact import Artifact
from models.contract import Floats
from models.worker import DeviceHealth

DEVICES = Path("/dev")
DEVICE_FILES = ("nvidiactl", "dxg")
"""What Linux shows below /dev where a driver of NVIDIA's is loaded (dxg: inside Windows)."""


class Nothing:
    """What there is where no device is: every forecaster stays with the processor, and a line says why.

    Args:
        why: there is none; empty = nobody asked for one in particular, and nothing is said.
    """

    def __init__(self, artifacts: Sequence[Artifact], why: str) -> None:
        self._kept_off = sum(each.manifest.kind == "forecaster" for each in artifacts)
        self.notes = [f"forecasts are computed by the processor: {why}"] if why else []

    def begin(self, artifact: Artifact, inputs: Floats) -> None:
        """See `models.serve.Device`."""

    def health(self) -> DeviceHealth:
        """See `models.worker.Measured`."""
        return DeviceHealth(kept_off=self._kept_off)

    def close(self) -> None:
        """See `models.serve.Device`."""


def absent(devices: Path) -> str:
    """Why there is no GPU, found without loading torch, which takes a second and 200 MB; empty = there seems to be."""
    if not any((devices / name).exists() for name in DEVICE_FILES):
        return "no driver of a GPU is loaded"
    if importlib.util.find_spec("torch") is None:
        return "torch is not installed; install plimsoll-fx[torch] (`make torch` in the source)"
    return ""


def unusable() -> str:
    """Why torch finds no GPU; empty = it finds one."""
    try:
        import torch

        torch.set_num_threads(1)
        return "" if torch.cuda.is_available() else "torch finds no GPU that it can use"
    except Exception as error:  # noqa: BLE001  a driver and a torch that do not fit each other fail in many ways
        return f"torch does not start ({type(error).__name__}: {str(error).partition(chr(10))[0]})"
