"""How networks are trained: every setting of it, and what a training tells of itself. Loads no learning library.

The settings are the section `[training]` of the configuration. Every one has a value `auto` or 0 that leaves the choice
to the machine; `models.train.engine.choices` makes it, and says why in one line each.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import msgspec
from msgspec import Meta

from bus.errors import ConfigError, TradingError

Strategy = Literal["fast", "balanced", "accurate"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Switch = Literal["auto", "on", "off"]
Optimizer = Literal["adamw", "adam", "sgd", "lamb"]
Schedule = Literal["constant", "cosine", "restarts", "one_cycle", "plateau"]

Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Positive = Annotated[float, Meta(ge=0.0, le=10.0)]


class Learning(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the networks that are trained with torch learn. The others have nothing to choose.

    Attributes:
        strategy: accurate = single precision, every sum in the same order, so that a seed gives the same weights to the
            bit; balanced = the same order, mixed precision on a GPU that has it; fast = whatever is fastest there. On a
            processor all three are accurate.
        device: where; auto = the first CUDA device, and the processor where there is none.
        precision: of the forward pass; weights, optimiser and averages are always kept in single precision.
        compile: torch.compile; auto = on a GPU, in a run long enough to earn it back.
        graph: the whole step as one CUDA graph; auto = where shapes are fixed.
        attention: kernel of scaled dot-product attention.
        checkpointing: compute activations again in the backward pass; auto = where memory asks for it.
        optimizer: which.
        kernels: of the optimiser: fused, foreach, or one parameter after another.
        learning_rate: at its highest; 0 = the network's own, times what the batch asks for (`scaled_rate`).
        batch: rows that one step of the optimiser learns from, over all pieces and workers; 0 = the network's own.
        accumulation: pieces that a step's rows are worked through in, one after another; out of memory doubles it.
        schedule: of the learning rate over the run.
        clip: largest norm of a gradient; 0 = unlimited.
        average: share that the average of the weights keeps at each step; 0 = the network's own.
        epochs: most passes over the data; 0 = the network's own.
        patience: epochs without gain on the validation part after which training ends; 0 = the network's own.
        min_delta: what counts as a gain.
        noise: deviation of what is added to inputs, in deviations of a feature.
        warp: how far a window may be stretched or squeezed in time, as a share of it; the newest bar stays.
        mixup: alpha of the Beta distribution that rows of a batch are mixed by (Zhang et al. 2018); 0 = not at all.
        cutout: share of a window's bars that are blanked (DeVries and Taylor 2017), never the newest.
        memory_mb: what training may take of the device's memory; 0 = all of it.
        save_every_s: seconds between checkpoints; 0 = at every epoch's end.
        keep: periodic checkpoints that stay.
    """

    strategy: Strategy = "balanced"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Precision = "auto"
    compile: Switch = "auto"
    graph: Switch = "auto"
    attention: Literal["auto", "flash", "efficient", "math"] = "auto"
    checkpointing: Switch = "auto"
    optimizer: Optimizer = "adamw"
    kernels: Literal["auto", "fused", "foreach", "plain"] = "auto"
    learning_rate: Positive = 0.0
    batch: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    accumulation: Annotated[int, Meta(ge=1, le=65_536)] = 1
    schedule: Schedule = "constant"
    clip: Annotated[float, Meta(ge=0.0, le=1e6)] = 1.0
    average: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.0
    epochs: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    patience: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    min_delta: Annotated[float, Meta(ge=0.0, le=1.0)] = 1e-6
    noise: Share = 0.0
    warp: Annotated[float, Meta(ge=0.0, le=0.5)] = 0.0
    mixup: Share = 0.0
    cutout: Annotated[float, Meta(ge=0.0, le=0.5)] = 0.0
    memory_mb: Annotated[int, Meta(ge=0, le=10_000_000)] = 0
    save_every_s: Annotated[float, Meta(ge=0.0, le=86_400.0)] = 60.0
    keep: Annotated[int, Meta(ge=1, le=1_000)] = 3

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        if self.device == "cpu" and self.graph == "on":
            raise ConfigError("graph = 'on' with device = 'cpu': CUDA graphs need a CUDA device; write graph = 'auto'")
        if self.strategy == "accurate" and self.precision not in {"auto", "fp32"}:
            raise ConfigError(
                f"precision = {self.precision!r} with strategy = 'accurate', which means fp32; write precision = "
                "'auto', or another strategy"
            )
        if self.batch and self.accumulation > self.batch:
            raise ConfigError(
                f"accumulation = {self.accumulation} pieces of a batch of {self.batch}; write at most that"
            )


DEFAULT = Learning()


class TrainingStopped(TradingError):
    """Training was told to stop. What it says tells whether it can go on."""


class Pruned(TradingError):
    """A training is not worth its end: others were further at this epoch."""


Command = Literal["pause", "resume", "stop", "save"]
COMMANDS: tuple[Command, ...] = ("pause", "resume", "stop", "save")


class Job(Protocol):
    """The training of one network as its surroundings see it: where it keeps things, whom it tells, whom it obeys."""

    @property
    def folder(self) -> Path | None:
        """Where checkpoints rest; None = nothing is kept."""
        ...

    def note(self, line: str) -> None:
        """One line for the log."""
        ...

    def runs_on(self, facts: Mapping[str, str]) -> None:
        """What the training runs on, for the record."""
        ...

    def tell(self, record: Mapping[str, Any]) -> None:
        """Figures of a step or an epoch; `kind` says which."""
        ...

    def wish(self) -> Command | None:
        """What was asked for since the last call, if anything. Called between any two steps; costs next to nothing."""
        ...

    def listening(self) -> AbstractContextManager[object]:
        """While this lasts `wish` is called between steps, so that a wish may wait for the next one."""
        ...


class Unattended:
    """A job that keeps nothing, tells nobody and obeys nobody."""

    folder: Path | None = None

    def note(self, line: str) -> None:
        """Nobody reads it."""

    def runs_on(self, facts: Mapping[str, str]) -> None:
        """Nobody records it."""

    def tell(self, record: Mapping[str, Any]) -> None:
        """Nobody is told."""

    def wish(self) -> Command | None:
        """Nobody asks for anything."""
        return None

    def listening(self) -> AbstractContextManager[object]:
        """Nobody is waiting."""
        return nullcontext()


UNATTENDED = Unattended()
