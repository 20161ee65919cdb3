# pyright: basic, reportMissingImports=false
# (torch is an extra: without it every name of it is unknown, which strict mode does not take)
"""What a GPU is doing meanwhile, through NVML where its Python package is installed; else what torch knows itself."""

from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any

import torch

Figures = Callable[[], dict[str, float]]


@contextmanager
def device(where: torch.device) -> Generator[Figures]:
    """A function that tells figures of the device by name; nothing for a processor."""
    if where.type != "cuda":
        yield dict
        return
    nvml = handle = None
    with suppress(Exception):  # no package, no library, no permission: figures are no reason not to train
        import pynvml as nvml

        nvml.nvmlInit()
        # by its identity: NVML counts all devices of a machine, torch those that this process may see
        handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(where).uuid}".encode())
    try:
        yield lambda: figures(where, nvml, handle)
    finally:
        if nvml is not None:
            with suppress(Exception):
                nvml.nvmlShutdown()


def figures(where: torch.device, nvml: Any, handle: Any) -> dict[str, float]:
    """Memory by torch; utilisation, temperature and power by NVML where it answers."""
    told = {"memory_mb": torch.cuda.max_memory_allocated(where) / 2**20}
    if handle is not None:
        with suppress(Exception):
            told["gpu_pct"] = float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
            told["gpu_c"] = float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
            told["gpu_w"] = nvml.nvmlDeviceGetPowerUsage(handle) / 1000.0
    return told
