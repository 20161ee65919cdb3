# pyright: basic, reportMissingImports=false
# (torch is an extra: without it every name of it is unknown, which strict mode does not take)
"""Finds out what a machine has, and sets torch up as was decided; both are put back afterwards."""

import os
import platform
import shutil
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from bus.errors import ConfigError
from models.learning import Learning
from models.train.engine.choices import Choices, Device

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it CUDA's matrix products are not repeatable

_CUDNN: Any = torch.backends.cudnn
"""Its flags are properties that its types do not have."""


def look(learning: Learning, local_rank: int = 0) -> tuple[torch.device, Device]:
    """The device to learn on and what is known of it.

    Raises:
        ConfigError: CUDA was asked for and is not there.
    """
    cuda = torch.cuda.is_available()
    if learning.device == "cuda" and not cuda:
        raise ConfigError("training.device = 'cuda', and torch finds no CUDA device; write 'auto' or 'cpu'")
    compiler = any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++"))
    if learning.device == "cpu" or not cuda:
        return torch.device("cpu"), Device(
            kind="cpu",
            name=_processor(),
            memory_bytes=_free_bytes(),
            bf16=True,
            compiler=compiler,
            count=1,
        )
    index = local_rank % torch.cuda.device_count()
    torch.cuda.set_device(index)
    facts = torch.cuda.get_device_properties(index)
    free, _ = torch.cuda.mem_get_info(index)
    if learning.memory_mb:
        limit = learning.memory_mb * 2**20
        torch.cuda.empty_cache()  # what is kept for nobody would count
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit / facts.total_memory), index)
        free = max(0, min(free, limit - torch.cuda.memory_allocated(index)))
    capability = (facts.major, facts.minor)
    return torch.device("cuda", index), Device(
        kind="cuda",
        name=facts.name,
        memory_bytes=free,
        capability=capability,
        bf16=torch.cuda.is_bf16_supported(including_emulation=False),
        # triton makes the kernels, which needs 7.0, and a C compiler builds its launchers
        compiler=compiler and capability >= (7, 0),
        count=torch.cuda.device_count(),
    )


def cuda_devices() -> tuple[str, ...]:
    """How each CUDA device is called in CUDA_VISIBLE_DEVICES; empty where there is none. Uses none of them."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = [name.strip() for name in named.split(",")] if named else [str(index) for index in range(count)]
    return tuple(names[:count])


@contextmanager
def set_up(choices: Choices, device: torch.device) -> Generator[None]:
    """Flags of the whole process as decided, until the end of the block."""
    matmul, cudnn = torch.backends.cuda.matmul, _CUDNN
    before = (matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic)
    strict = torch.are_deterministic_algorithms_enabled()
    matmul.allow_tf32 = cudnn.allow_tf32 = choices.tf32
    cudnn.benchmark = device.type == "cuda" and not choices.deterministic
    cudnn.deterministic = choices.deterministic
    torch.use_deterministic_algorithms(choices.deterministic)
    try:
        with attending(choices):
            yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic = before
        torch.use_deterministic_algorithms(strict)
        if device.type == "cuda":  # a limit on memory is a training's, not the process's
            torch.cuda.set_per_process_memory_fraction(1.0, device)


def attending(choices: Choices):  # noqa: ANN201 (a context manager)
    """Attention through the kernel that was chosen; where that kernel refuses, the next one."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    order = {
        "flash": [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH],
        "efficient": [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH],
        "math": [SDPBackend.MATH],
    }
    return sdpa_kernel(order[choices.attention], set_priority=True) if choices.attention in order else nullcontext()


def environment() -> dict[str, str]:
    """What a run ran on, for its record: versions and devices, and nothing of the machine's own names."""
    told = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "torch": str(torch.__version__),
        "processor": _processor(),
        "threads": str(torch.get_num_threads()),
    }
    if torch.cuda.is_available():
        told["cuda"] = str(torch.version.cuda)
        told["cudnn"] = str(torch.backends.cudnn.version())
        told["devices"] = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    return told


def _processor() -> str:
    threads = torch.get_num_threads()
    return f"{torch.backends.cpu.get_cpu_capability()}, {threads} thread{'s' * (threads > 1)}"


def _free_bytes() -> int:
    """Memory that can be had without swapping; within a control group, what that leaves."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        if "MemAvailable" in fields:
            free = int(fields["MemAvailable"].split()[0]) * 1024
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (text := limit.read_text().strip()).isdigit():
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        free = min(free, max(0, int(text) - used))
    return free
