# pyright: basic, reportMissingImports=false
# (torch and nvidia-ml-py are extras: without them every name of theirs is unknown, which strict mode does not take)
"""Memory and utilisation of a device: NVIDIA's own figures where `nvidia-ml-py` is installed, else torch's."""

import contextlib
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """How much of a device is in use.

    Attributes:
        memory_bytes: by everybody where `measured_by` is nvml, else what this process holds of it.
        busy_ppm: share of the last moments in which the device computed, in millionths; None = not told.
        measured_by: nvml or torch; empty = the device is the processor.
    """

    memory_bytes: int = 0
    busy_ppm: int | None = None
    measured_by: str = ""


class Figures:
    """Reads them. `name` is for people.

    Args:
        device: a name that torch knows.
    """

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)
        self._nvml, self._handle = None, None
        self.name = str(self._device)
        if self._device.type == "cuda":
            self.name = f"{self._device} ({torch.cuda.get_device_name(self._device)})"
            self._nvml, self._handle = _nvml_of(str(torch.cuda.get_device_properties(self._device).uuid))

    def now(self) -> Used:
        """The figures at this moment. Never raises: a device that cannot say says 0."""
        if self._device.type != "cuda":
            return Used()
        if self._nvml is not None:
            with contextlib.suppress(self._nvml.NVMLError):
                memory = self._nvml.nvmlDeviceGetMemoryInfo(self._handle).used
                busy = self._nvml.nvmlDeviceGetUtilizationRates(self._handle).gpu
                return Used(memory_bytes=int(memory), busy_ppm=int(busy) * 10_000, measured_by="nvml")
        return Used(memory_bytes=torch.cuda.memory_reserved(self._device), measured_by="torch")


def _nvml_of(uuid: str) -> tuple[Any, Any]:
    """NVIDIA's library and its handle of a device; None and None where either is not to be had."""
    try:
        import pynvml

        pynvml.nvmlInit()
        return pynvml, pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid.removeprefix('GPU-')}")
    except Exception:  # noqa: BLE001  not installed, another driver, no right to ask: the figures are no reason to fail
        return None, None
