"""What looks on while a network learns: small classes that are told of steps and epochs. Nothing of torch."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bus.errors import ModelError
from models.contract import Progress, Report
from models.learning import Job
from models.train.engine.schedules import Plateau

_TELL_EVERY_S = 0.5


@dataclass(slots=True, kw_only=True)
class State:
    """Where a training is. What a checkpoint keeps of it is `kept`.

    Attributes:
        name: of the network.
        epochs: at most.
        epoch_steps: steps an epoch.
        batch: rows a step.
        held: whether the validation part decides; otherwise the last epoch's weights are taken.
        epoch: epochs that are done.
        at: steps done of the one that is being trained.
        steps: done in all.
        rate: learning rate of the last step.
        loss: of the last step where it was looked at, else NaN.
        train_loss: mean over the last whole epoch.
        found: loss on the validation part after the last whole epoch, or its last step's loss where nothing is held.
        best: the lowest `found` so far.
        best_epoch: after which epoch that was, from 1; 0 = none yet.
        waited: epochs since.
        plateau: what the schedule of that name keeps.
        ended: why training ends; empty = it goes on.
    """

    name: str
    epochs: int
    epoch_steps: int
    batch: int
    held: bool
    epoch: int = 0
    at: int = 0
    steps: int = 0
    rate: float = 0.0
    loss: float = math.nan
    train_loss: float = math.nan
    found: float = math.nan
    best: float = math.inf
    best_epoch: int = 0
    waited: int = 0
    plateau: Plateau = field(default_factory=Plateau)
    ended: str = ""

    @property
    def gained(self) -> bool:
        """Whether the last epoch was the best so far."""
        return self.best_epoch == self.epoch

    def kept(self) -> dict[str, Any]:
        """What a resumed run must know; JSON knows no infinity."""
        return {
            "epoch": self.epoch, "at": self.at, "steps": self.steps, "waited": self.waited,
            "best": self.best if math.isfinite(self.best) else None, "best_epoch": self.best_epoch,
            "plateau": [self.plateau.factor, self.plateau.waited], "ended": self.ended,
        }  # fmt: skip

    def restore(self, kept: dict[str, Any]) -> None:
        """Take back what `kept` gave."""
        for name in ("epoch", "at", "steps", "waited", "best_epoch", "ended"):
            setattr(self, name, kept[name])
        self.best = math.inf if kept["best"] is None else kept["best"]
        factor, waited = kept["plateau"]
        self.plateau = Plateau(factor, waited)


class Callback:
    """Looks on. Both methods may set `state.ended`."""

    def step(self, state: State, look: Callable[[], float]) -> None:
        """A step is done. `look` reads its loss, for which a GPU has to be waited for."""

    def epoch(self, state: State) -> None:
        """An epoch is done, and its losses are known."""


class Divergence(Callback):
    """Ends a training whose loss is no number."""

    def epoch(self, state: State) -> None:
        """Raises ModelError where it is not finite."""
        if not math.isfinite(state.found):
            raise ModelError(f"{state.name}: training diverged at epoch {state.epoch}; look at the training data")


@dataclass(slots=True)
class EarlyStopping(Callback):
    """Knows the best epoch, and ends a training that has not gained for `patience` epochs."""

    patience: int
    min_delta: float

    def epoch(self, state: State) -> None:
        """Compare with the best."""
        if not state.held or state.found < state.best - self.min_delta:
            state.best, state.best_epoch, state.waited = state.found, state.epoch, 0
            return
        state.waited += 1
        if state.waited >= self.patience:
            state.ended = f"no gain for {self.patience} epochs"


@dataclass(slots=True)
class Reporting(Callback):
    """Tells a search each epoch's loss on the validation part; the search may end the training (`Pruned`)."""

    report: Report

    def epoch(self, state: State) -> None:
        """Hand it on."""
        if state.held:
            self.report(state.epoch, state.found)


class Levelling(Callback):
    """Tells the schedule `plateau` whether an epoch gained. Behind `EarlyStopping`."""

    def epoch(self, state: State) -> None:
        """Hand it on."""
        state.plateau.told(gained=state.gained)


@dataclass(slots=True)
class Telling(Callback):
    """Tells the job figures, twice a second at most within an epoch and once after each, and the progress.

    Attributes:
        watch: figures of the device by name; called as often.
    """

    job: Job
    progress: Progress
    watch: Callable[[], dict[str, float]]
    _told_s: float = field(default_factory=time.monotonic)
    _rows: int = 0

    def step(self, state: State, look: Callable[[], float]) -> None:
        """A step is done."""
        self._rows += state.batch
        now = time.monotonic()
        if now - self._told_s < _TELL_EVERY_S:
            return
        state.loss = look()
        self._tell("step", state, now, loss=state.loss)
        share = (state.epoch + state.at / state.epoch_steps) / state.epochs
        self.progress(state.name, min(share, 1.0))

    def epoch(self, state: State) -> None:
        """An epoch is done."""
        self._tell("epoch", state, time.monotonic(), train_loss=state.train_loss,
                   **({"validation_loss": state.found, "best_loss": state.best} if state.held else {}))  # fmt: skip
        self.progress(state.name, state.epoch / state.epochs)

    def _tell(self, kind: str, state: State, now: float, **losses: float) -> None:
        speed = self._rows / max(now - self._told_s, 1e-9)
        left_s = (state.epochs * state.epoch_steps - state.steps) * state.batch / max(speed, 1e-9)
        self.job.tell(
            {"kind": kind, "network": state.name, "epoch": state.epoch, "epochs": state.epochs, "step": state.steps,
             "rate": state.rate, "samples_per_s": round(speed, 1), "left_s": round(left_s, 1),
             **{name: round(value, 9) for name, value in losses.items()}, **self.watch()}
        )  # fmt: skip
        self._told_s, self._rows = now, 0
