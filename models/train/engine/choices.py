"""What runs on this machine, and why: pure decisions over settings and what is known of a device.

Nothing here touches a device, so that what a GPU would get is tested without one. `machine.look` finds out the facts.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from models.learning import Learning

COMPILE_STEPS = 2_000
"""Steps that a compilation needs to be earned back: about a minute at 30 ms."""

WIDE = 64
"""Channels from which convolutions are quicker with them last (on an H200 twice at 192 and 384, not at 16 and 32)."""

LONG_STEPS = 50_000
"""Steps from which minutes of trying out kernels are earned back."""

FULL = 0.9
"""Share of the memory above which a plan warns."""

_DATA_SHARE = 0.8
"""Most of what weights leave free that the data may take: steps need some."""

_RECOMPUTED = 0.35
"""Activations that stay where the others are computed again: inputs of the recomputed parts, and one part's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What is known of a device.

    Attributes:
        kind: cpu or cuda.
        name: as its maker calls it.
        memory_bytes: free for training.
        capability: compute capability; (0, 0) for a processor.
        bf16: whether it computes with bfloat16 itself, not by emulation.
        compiler: whether torch.compile finds what it needs.
        count: devices of this kind.
    """

    kind: Literal["cpu", "cuda"]
    name: str
    memory_bytes: int
    capability: tuple[int, int] = (0, 0)
    bf16: bool = False
    compiler: bool = False
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What is known of a run before it starts.

    Attributes:
        rows: learnt from in an epoch.
        batch: rows a step.
        epochs: at most.
        data_bytes: of all bars and targets in single precision.
        weight_bytes: of the weights in single precision.
        row_bytes: of activations kept for the backward pass, a row.
        averaged: whether an average of the weights is kept.
        head: numbers a head in attention; 0 = no attention.
        channels: of the widest convolution that can work with them last; 0 = there is none.
    """

    rows: int
    batch: int
    epochs: int
    data_bytes: int
    weight_bytes: int
    row_bytes: int
    averaged: bool = False
    head: int = 0
    channels: int = 0

    @property
    def steps(self) -> int:
        """Of the whole run, where it is not ended early."""
        return max(1, self.rows // max(1, self.batch)) * self.epochs


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One part of the stack: what it is, what runs, and why."""

    what: str
    runs: str
    why: str

    def __str__(self) -> str:
        return f"{self.what}: {self.runs} ({self.why})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """Everything that was decided, in words and in values."""

    precision: Literal["fp32", "bf16", "fp16"]
    compile: str
    graph: bool
    channels_last: bool
    kernels: Literal["fused", "foreach", "plain"]
    attention: Literal["flash", "efficient", "math", "auto"]
    deterministic: bool
    tf32: bool
    resident: bool
    checkpointing: bool
    pieces: int
    memory_bytes: int
    lines: tuple[Choice, ...]


def decide(learning: Learning, device: Device, run: Run, workers: int = 1) -> Choices:
    """Choose every part of the stack.

    Args:
        learning: what the user asked for.
        device: where it runs.
        run: what it runs on.
        workers: processes that share a step's rows.
    """
    lines: list[Choice] = []

    def chosen(what: str, runs: str, why: str) -> str:
        lines.append(Choice(what=what, runs=runs, why=why))
        return runs

    gpu = device.kind == "cuda"
    chosen("device", f"{device.kind} {device.name}", _where(learning, device))
    deterministic = not gpu or learning.strategy != "fast"
    chosen(
        "determinism",
        "on" if deterministic else "off",
        "a seed gives the same weights" if deterministic else "strategy fast takes the fastest kernels",
    )
    precision = chosen("precision", *_precision(learning, device))
    tf32 = gpu and device.capability >= (8, 0) and learning.strategy != "accurate"
    chosen("tf32", "on" if tf32 else "off", _tf32(learning, device))
    autotune = gpu and not deterministic
    why = "the kernel must not depend on a timing" if gpu else "no CUDA device"
    chosen("cudnn autotuning", "on" if autotune else "off", "shapes are fixed" if autotune else why)
    compiled = chosen("compile", *_compile(learning, device, run))
    kernels = chosen("optimiser", f"{learning.optimizer} {_kernels(learning, device)[0]}",
                     _kernels(learning, device)[1]).rpartition(" ")[2]  # fmt: skip
    attention = chosen("attention", *_attention(learning, device, run, precision)).split()[0]
    resident, pieces, checkpointing, needed = _memory(learning, device, run, workers, precision, chosen)
    graph = chosen("cuda graph", *_graph(learning, device, resident, precision, workers)) == "on"
    last = chosen("channels last", *_layout(device, run)) == "on"
    return Choices(
        precision=precision,  # pyright: ignore[reportArgumentType]
        compile="" if compiled == "off" else compiled,
        graph=graph,
        channels_last=last,
        kernels=kernels,  # pyright: ignore[reportArgumentType]
        attention="auto" if attention == "none" else attention,  # pyright: ignore[reportArgumentType]
        deterministic=deterministic,
        tf32=tf32,
        resident=resident,
        checkpointing=checkpointing,
        pieces=pieces,
        memory_bytes=needed,
        lines=tuple(lines),
    )


def scaled_rate(learning: Learning, rate: float, batch: int, base: int) -> tuple[float, str]:
    """The learning rate of a step of `batch` rows, and the rule in words.

    One that was set stays as it is. The network's own grows with batch / base: with the root for adaptive optimisers
    (Krizhevsky 2014; You et al. 2020 for LAMB), in proportion for SGD (Goyal et al. 2017).
    """
    if learning.learning_rate:
        return learning.learning_rate, "as it was set"
    if batch == base:
        return rate, f"the network's own at {base} rows a step"
    if learning.optimizer == "sgd":
        return rate * batch / base, f"{rate:g} at {base} rows, in proportion for {batch} (SGD)"
    return rate * math.sqrt(batch / base), f"{rate:g} at {base} rows, with the root for {batch}"


def _where(learning: Learning, device: Device) -> str:
    if learning.device != "auto":
        return "as it was asked for"
    return f"the first of {device.count}" if device.kind == "cuda" else "no CUDA device was found"


def _precision(learning: Learning, device: Device) -> tuple[str, str]:
    half = device.kind == "cuda" and device.capability >= (7, 0)
    asked = learning.precision
    if asked == "bf16" and device.kind == "cuda" and not device.bf16:
        return ("fp16", "bf16 was asked for, which this device only emulates") if half else ("fp32", "no bf16, no fp16")
    if asked != "auto":
        return asked, "as it was asked for"
    if learning.strategy == "accurate":
        return "fp32", "strategy accurate"
    if device.kind == "cpu":
        return "fp32", "networks this small gain nothing from half precision on a processor"
    if device.bf16:
        return "bf16", f"compute capability {_dotted(device)} has it; no loss scaling is needed"
    if half:
        return "fp16", f"compute capability {_dotted(device)} has no bf16; losses are scaled"
    return "fp32", f"compute capability {_dotted(device)} has no fast half precision"


def _tf32(learning: Learning, device: Device) -> str:
    if device.kind != "cuda":
        return "no CUDA device"
    if device.capability < (8, 0):
        return f"compute capability {_dotted(device)} has none"
    return "strategy accurate" if learning.strategy == "accurate" else "matrix products of what stays fp32"


def _compile(learning: Learning, device: Device, run: Run) -> tuple[str, str]:
    mode = "max-autotune-no-cudagraphs" if run.steps >= LONG_STEPS and device.kind == "cuda" else "default"
    if learning.compile == "off":
        return "off", "as it was asked for"
    if not device.compiler:
        return "off", "no working compiler was found"
    if learning.compile == "on":
        return mode, f"as it was asked for; {run.steps:,} steps at most"
    if device.kind == "cpu":
        return "off", "networks this small were slower with it on a processor; compile = 'on' tries it"
    if run.steps < COMPILE_STEPS:
        return "off", f"{run.steps:,} steps do not earn it back; {COMPILE_STEPS:,} would"
    return mode, f"{run.steps:,} steps earn it back"


def _layout(device: Device, run: Run) -> tuple[str, str]:
    if not run.channels:
        return "off", "the network has no convolutions"
    if device.kind == "cpu":
        return "off", "no CUDA device"
    if run.channels < WIDE:
        return "off", f"{run.channels} channels were no faster with it; {WIDE} would be"
    return "on", f"{run.channels} channels fill the matrix units without being laid out anew"


def _kernels(learning: Learning, device: Device) -> tuple[str, str]:
    has = ("foreach", "plain") if learning.optimizer == "lamb" else ("fused", "foreach", "plain")
    if learning.kernels in has:
        return learning.kernels, "as it was asked for"
    if learning.kernels == "fused":
        return "foreach", "LAMB has no fused kernel"
    if device.kind == "cuda" and "fused" in has:
        return "fused", "one kernel for all weights"
    return "foreach", "all weights at once" if device.kind == "cuda" else "few calls for many small weights"


def _attention(learning: Learning, device: Device, run: Run, precision: str) -> tuple[str, str]:
    if run.head == 0:
        return "none", "the network has none"
    if device.kind == "cpu":
        if learning.attention in {"auto", "flash", "math"}:
            return (
                ("math", "as it was asked for")
                if learning.attention == "math"
                else ("auto", "the processor's own choice")
            )
        return "auto", f"{learning.attention} was asked for, which is a CUDA kernel"
    fits = precision in {"bf16", "fp16"} and run.head % 8 == 0 and run.head <= 256 and device.capability >= (8, 0)
    if learning.attention == "flash" and not fits:
        return (
            "efficient",
            f"flash was asked for; it wants half precision, heads in eights and 8.0, not {_dotted(device)}",
        )
    if learning.attention != "auto":
        return learning.attention, "as it was asked for"
    if fits:
        return "flash", f"heads of {run.head} numbers in {precision}"
    if device.capability >= (5, 0):
        here = f"{precision}, {run.head} and {_dotted(device)}"
        return "efficient", f"flash wants half precision, heads in eights and capability 8.0; here {here}"
    return "math", f"compute capability {_dotted(device)} has no other"


def _graph(learning: Learning, device: Device, resident: bool, precision: str, workers: int) -> tuple[str, str]:  # noqa: FBT001
    if learning.graph == "off":
        return "off", "as it was asked for"
    if device.kind != "cuda":
        return "off", "no CUDA device"
    if device.capability < (7, 0):
        return "off", f"compute capability {_dotted(device)}; 7.0 or more is needed"
    if not resident:
        return "off", "rows come from the host, in buffers that move"
    if precision == "fp16":
        return "off", "whether a scaled step counts is decided on the host"
    if workers > 1:
        return "off", "gradients of several workers meet outside of it"
    return "on", "shapes are fixed and all rows lie on the device"


Tell = Callable[[str, str, str], str]


def _memory(
    learning: Learning, device: Device, run: Run, workers: int, precision: str, tell: Tell
) -> tuple[bool, int, bool, int]:
    """Residence, pieces, checkpointing, and the bytes that come of them."""
    limit = min(device.memory_bytes, learning.memory_mb * 2**20) if learning.memory_mb else device.memory_bytes
    moments = {"adamw": 2, "adam": 2, "lamb": 2, "sgd": 1}[learning.optimizer]
    # weights, gradients, what the optimiser keeps, the best so far and the average
    fixed = run.weight_bytes * (3 + moments + run.averaged)
    room = max(0.0, limit * FULL - fixed)
    resident = run.data_bytes <= room * _DATA_SHARE
    room -= run.data_bytes if resident else 0
    row = run.row_bytes * (1.0 if precision == "fp32" else 0.5)
    mine = max(1, run.batch // workers)
    pieces, checkpointing = min(mine, learning.accumulation), learning.checkpointing == "on"

    def activations() -> float:
        return -(-mine // pieces) * row * (_RECOMPUTED if checkpointing else 1.0)

    fits = "activations of a step fit"
    why = fits if learning.checkpointing == "auto" else "as it was asked for"
    if activations() > room and learning.checkpointing == "auto":
        checkpointing, why = True, "activations of a step do not fit"
    asked = pieces
    while activations() > room and pieces < mine:
        pieces = min(mine, pieces * 2)
    needed = int(fixed + (run.data_bytes if resident else 0) + activations())
    share = needed / max(1, limit)
    warning = f"; WARNING: above {FULL:.0%}, it may run out" if share > FULL else ""
    ahead = "" if resident else "; pinned, and fetched ahead in chunks"
    tell("data", "resident" if resident else "streamed", f"{_mb(run.data_bytes)} of {_mb(limit)}{ahead}")
    tell("batch", f"{run.batch} rows", f"{-(-mine // pieces)} at a time, {workers} process{'es' * (workers > 1)}")
    tell("accumulation", str(pieces), "activations of a step do not fit" if pieces > asked else
         "as it was asked for" if asked > 1 else fits)  # fmt: skip
    tell("checkpointing", "on" if checkpointing else "off", why)
    tell("memory", _mb(needed), f"{share:.1%} of {_mb(limit)}{warning}")
    return resident, pieces, checkpointing, needed


def _mb(size: float) -> str:
    return f"{size / 2**30:,.1f} GiB" if size >= 2**30 else f"{size / 2**20:,.1f} MiB"


def _dotted(device: Device) -> str:
    return ".".join(map(str, device.capability))


def table(lines: Sequence[Choice]) -> str:
    """The choices as plain text."""
    what, runs = (max(len(getattr(line, name)) for line in lines) for name in ("what", "runs"))
    return "\n".join(f"{line.what:<{what}}  {line.runs:<{runs}}  {line.why}" for line in lines)
