# pyright: basic, reportMissingImports=false
# (torch is an extra: without it every name of it is unknown, which strict mode does not take)
"""Trains a torch network: epochs of steps over shuffled rows, the best epoch on the validation part.

Theory of operation. `planning` decides what runs; `learn` trains. Every random number comes from the problem's seed:
the order of rows from a generator of its own, dropout and noise from torch's. A step belongs to the optimiser and
learns from `batch` rows, whatever pieces and processes share them. Between two steps the job is asked for wishes, and
all that a training is lies in `_Training` where a checkpoint finds it, so one that was stopped anywhere goes on to the
same weights, to the bit, where algorithms are repeatable. Rows left over at the end of an epoch make a step where they
are more than half of one; fewer pull too hard. Losses stay on the device until an epoch ends or somebody is told. The
validation part is always judged in single precision, as the network will be served.
"""

import copy
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

import msgspec
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bus.errors import ModelError
from models.contract import Problem
from models.learning import COMMANDS, TrainingStopped
from models.nets._blocks import Conv1d
from models.train.engine import callbacks, machine, optimizers, schedules, watch, workers
from models.train.engine.augment import augment_of
from models.train.engine.callbacks import Callback, State
from models.train.engine.checkpoint import FINISHED, Checkpoints, digest, prefixed, under
from models.train.engine.data import Resident, Rows, Streamed
from models.train.engine.graph import Captured
from models.train.engine.planning import Prepared, prepare
from models.train.engine.recipe import Recipe
from models.train.engine.step import Stepper, random_state, set_random_state
from models.train.engine.workers import Workers

_torch: Any = torch
"""The same; its types leave out what begins with an underscore."""

_ROWS_A_TIME = 4096
_WARM_AVERAGE = 10
"""Steps after which the average of the weights keeps half of what it has; it is a plain mean at first."""

_NOTHING = 0
_SAVE, _STOP, _PAUSE, _RESUME = (COMMANDS.index(name) + 1 for name in ("save", "stop", "pause", "resume"))
_POLL_S = 0.05

_NOT_LEARNT = ("save_every_s", "keep", "memory_mb", "accumulation", "compile", "graph", "checkpointing", "kernels")
"""Settings that change how a training runs, and not what it learns but for rounding: one may go on with others."""


def learn(module: nn.Module, problem: Problem, recipe: Recipe, *, more: tuple[Callback, ...] = ()) -> nn.Module:
    """The network of the best epoch on the validation part (the last where nothing regularises), on the processor.

    Args:
        module: with its first weights; what is given back may be another one.
        problem: what is learnt, how, and for which job. Where the job's folder holds checkpoints of this training, it
            goes on from the newest; where it has come to its end, nothing is left to do.
        recipe: what the network says of its training.
        more: further callbacks.

    Raises:
        ModelError: the loss is not finite, no epoch was asked for, memory or disk do not suffice.
        TrainingStopped: the job was told to stop; a checkpoint was written where it has a folder.
        ConfigError: a device that is not there.
    """
    prepared = prepare(module, problem, recipe)
    device, _ = machine.look(problem.learning, workers.expected().local_rank)
    here = workers.join(device)
    if here.first:
        problem.job.runs_on(machine.environment())
        for line in prepared.choices.lines:
            problem.job.note(f"{recipe.name}: {line}")
    with machine.set_up(prepared.choices, device), watch.device(device) as figures:
        training = _Training(module.to(device), problem, recipe, prepared, here)
        telling = callbacks.Telling(problem.job, problem.progress, figures)
        learnt = training.run((*more, *((telling,) if here.first else ())))
    problem.progress(recipe.name, 1.0)
    return learnt.to("cpu").eval()


class _Training:
    """One network in training: everything that a checkpoint keeps, and how it goes on."""

    def __init__(self, module: nn.Module, problem: Problem, recipe: Recipe, prepared: Prepared, here: Workers) -> None:
        learning, choices, run = problem.learning, prepared.choices, prepared.run
        self.problem, self.recipe, self.learning, self.prepared, self.here = problem, recipe, learning, prepared, here
        self.device = next(module.parameters()).device
        self.module = module
        self.share = learning.average or recipe.average
        here.agree(module)
        self.kept = copy.deepcopy(module) if self.share else module
        self.best: dict[str, Tensor] = {}
        self._weights, self._averaged = list(module.parameters()), list(self.kept.parameters())
        penalty = recipe.penalty * problem.regularise
        self.optimizer = optimizers.optimizer_of(
            learning, choices.kernels, module, prepared.rate, penalty, captured=choices.graph
        )
        source = Resident if choices.resident else Streamed
        self.source = source(problem.inputs, problem.targets, self.device)
        # what does not fit beside the data is judged from the host, a part at a time
        place = self.device if choices.resident else torch.device("cpu")
        self.validation = Rows(problem.validation_inputs, problem.validation_targets, place)
        note: Callable[[str], None] = problem.job.note if here.first else lambda _line: None
        augment = augment_of(learning, _window(problem))
        self.stepper = Stepper(module, recipe, self.optimizer, choices, augment, here, clip=learning.clip, note=note)
        self.steps = self.stepper
        if choices.graph and isinstance(self.source, Resident):
            self.steps = Captured(self.stepper, self.source.rows, run.batch, note)
        self.order = torch.Generator().manual_seed(problem.seed % 2**63)
        self.order_at_start = self.order.get_state()
        self.loss = torch.zeros((), device=self.device)
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=self.device)
        self.state = State(
            name=recipe.name,
            epochs=run.epochs,
            epoch_steps=len(_sizes(run.rows, run.batch)),
            batch=run.batch,
            held=problem.regularise > 0.0,
        )
        self.checkpoints = self._checkpoints(note)
        self.saved_s = time.monotonic()

    def run(self, more: tuple[Callback, ...]) -> nn.Module:
        """Train to the end, from where a checkpoint was if there is one."""
        done = None if self.checkpoints is None else self.checkpoints.finished()
        if done is not None:
            self.problem.job.note(f"{self.recipe.name}: it has come to its end before; nothing is trained")
            self.kept.load_state_dict(done)
            return self.kept
        if self.here.world > 1:  # each process draws noise of its own for its own rows
            torch.manual_seed((self.problem.seed + 1_000_003 * self.here.rank) % 2**63)
        found = None if self.checkpoints is None else self.checkpoints.newest()
        if found is not None:
            self._restore(*found)
        patience = self.learning.patience or self.recipe.patience
        watching: tuple[Callback, ...] = (
            callbacks.Divergence(),
            callbacks.EarlyStopping(patience, self.learning.min_delta),
            *((callbacks.Levelling(),) if self.learning.schedule == "plateau" else ()),
            callbacks.Reporting(self.problem.report),
            *more,
        )
        choices = self.prepared.choices
        layout = _laid_out(self.module, choices.channels_last)
        with layout, _recomputed(self.module, choices.checkpointing), self.problem.job.listening():
            while self.state.epoch < self.state.epochs and not self.state.ended:
                self._epoch(watching)
        if not self.state.best_epoch:
            raise ModelError(f"{self.recipe.name}: no epoch was trained; ask for at least one")
        if self.best:
            self.kept.load_state_dict(self.best)
        if self.checkpoints is not None and self.here.first:
            self.checkpoints.save(FINISHED, dict(self.kept.state_dict()), self.state.kept())
        return self.kept

    def _epoch(self, watching: tuple[Callback, ...]) -> None:
        state = self.state
        self.module.train()
        self.order.set_state(self.order_at_start)
        shuffled = torch.randperm(self.prepared.run.rows, generator=self.order)
        batches = shuffled.split(_sizes(self.prepared.run.rows, self.prepared.run.batch, whole=True))
        batches = batches[: state.epoch_steps]
        for batch in self.source.steps(batches[state.at :]):
            done = state.steps / max(1, state.epochs * state.epoch_steps)
            state.rate = self.prepared.rate * state.plateau.factor * schedules.factor(self.learning.schedule, done)
            optimizers.set_rate(self.optimizer, state.rate)
            self.loss, heard = self.steps.step(batch, self._word())
            self.loss_sum += self.loss
            state.at, state.steps = state.at + 1, state.steps + 1
            if self.share:
                self._average(min(self.share, state.steps / (state.steps + _WARM_AVERAGE)))
            for each in watching:
                each.step(state, lambda: float(self.loss))
            if heard != _NOTHING:
                self._obey(heard)
        self._judge(watching)

    def _judge(self, watching: tuple[Callback, ...]) -> None:
        """End an epoch: what it was worth, and whether there is another."""
        state = self.state
        state.epoch, state.at = state.epoch + 1, 0
        state.train_loss = float(self.loss_sum) / state.epoch_steps
        self.loss_sum.zero_()
        state.found = self._validate() if state.held else float(self.loss)
        self.order_at_start = self.order.get_state()
        for each in watching:
            each.epoch(state)
        if state.gained and state.held:
            self.best = {name: tensor.clone() for name, tensor in self.kept.state_dict().items()}
        if not self.learning.save_every_s and self.checkpoints is not None:
            self._save()

    def _validate(self) -> float:
        """Mean loss on the validation part, with the same noise at every look; processes share the parts."""
        self.kept.eval()
        sums: list[Tensor] = []
        n = len(self.validation)
        looks = [(start, look) for look in range(self.recipe.passes) for start in range(0, n, _ROWS_A_TIME)]
        with torch.no_grad(), torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            for start, look in looks[self.here.rank :: self.here.world]:
                torch.manual_seed((self.problem.seed + 7919 * (start + look)) % 2**63)
                inputs, targets = self.validation.part(start, min(n, start + _ROWS_A_TIME))
                loss = self.recipe.loss(self.kept, inputs.to(self.device), targets.to(self.device))
                sums.append(loss.double() * len(targets))
        self.kept.train()
        total = torch.stack(sums).sum() if sums else torch.zeros((), dtype=torch.float64, device=self.device)
        self.here.sum(total)
        return float(total) / (n * self.recipe.passes)

    def _average(self, share: float) -> None:
        with torch.no_grad():
            _torch._foreach_lerp_(self._averaged, self._weights, 1.0 - share)

    # --- wishes and checkpoints ----------------------------------------------------------------------------------

    def _word(self) -> int:
        """What the first process wants all to do after this step."""
        if not self.here.first:
            return _NOTHING
        wish = self.problem.job.wish()
        if wish is not None:
            return COMMANDS.index(wish) + 1
        due_s = self.learning.save_every_s
        if self.checkpoints is not None and due_s and time.monotonic() - self.saved_s >= due_s:
            return _SAVE
        return _NOTHING

    def _obey(self, word: int) -> None:
        if word == _PAUSE:
            word = self._pause()
        if word in {_SAVE, _STOP}:
            self._save()
        if word == _STOP:
            where = "; the same command goes on" if self.checkpoints is not None else ", and nothing was kept"
            raise TrainingStopped(f"{self.recipe.name} was stopped after {self.state.steps:,} steps{where}")

    def _pause(self) -> int:
        """Wait until another wish is heard, and give it back."""
        self._save()
        if self.here.first:
            self.problem.job.note(f"{self.recipe.name}: paused after {self.state.steps:,} steps")
        word = _PAUSE
        while word == _PAUSE:
            if self.here.first:
                wish = self.problem.job.wish()
                while wish in {None, "pause", "save"}:
                    time.sleep(_POLL_S)
                    wish = self.problem.job.wish()
                word = COMMANDS.index(wish) + 1  # pyright: ignore[reportArgumentType]
            word = self.here.told(word, self.device)
        if self.here.first:
            self.problem.job.note(f"{self.recipe.name}: going on")
        return word

    def _checkpoints(self, note: Callable[[str], None]) -> Checkpoints | None:
        folder = self.problem.job.folder
        if folder is None:
            return None
        problem, settings = self.problem, msgspec.to_builtins(self.learning)
        learnt = {name: value for name, value in settings.items() if name not in _NOT_LEARNT}
        fingerprint = digest(
            f"{self.recipe.name} {problem.seed} {problem.regularise} {self.state.epochs} {self.recipe.passes}",
            msgspec.json.encode([learnt, dict(problem.parameters)]).decode(),
            self.source.rows.bars, self.source.rows.targets, self.validation.bars, self.validation.targets,
            *self.module.state_dict().values(),
        )  # fmt: skip
        return Checkpoints(folder, fingerprint, self.learning.keep, note)

    def _save(self) -> None:
        self.saved_s = time.monotonic()
        if self.checkpoints is None:
            return
        random = [self.here.gathered(state) for state in self._random()]
        if not self.here.first:
            return
        tensors = prefixed("net", dict(self.module.state_dict()))
        if self.share:
            tensors |= prefixed("average", dict(self.kept.state_dict()))
        tensors |= prefixed("best", self.best) | prefixed("optimizer", optimizers.flattened(self.optimizer))
        for kind, states in enumerate(random):
            tensors |= prefixed(f"random{kind}", {str(rank): state for rank, state in enumerate(states)})
        tensors |= {"order": self.order_at_start, "loss": self.loss, "loss_sum": self.loss_sum}
        scaler = self.stepper.scaler.state_dict()
        self.checkpoints.save(
            f"step-{self.state.steps:010d}",
            tensors,
            self.state.kept() | {"pieces": self.stepper.pieces, "scaler": scaler, "network": self.recipe.name},
        )
        self.problem.job.tell({"kind": "checkpoint", "network": self.recipe.name, "step": self.state.steps})

    def _restore(self, tensors: dict[str, Tensor], state: dict[str, object]) -> None:
        self.module.load_state_dict(under("net", tensors))
        if self.share:
            self.kept.load_state_dict(under("average", tensors))
        self.best = {name: tensor.to(self.device) for name, tensor in under("best", tensors).items()}
        optimizers.restore(self.optimizer, under("optimizer", tensors))
        mine = [under(f"random{kind}", tensors).get(str(self.here.rank)) for kind in range(len(self._random()))]
        if all(each is not None for each in mine):
            set_random_state(self.device, mine)  # pyright: ignore[reportArgumentType]
        self.order_at_start = tensors["order"]
        self.loss, self.loss_sum = tensors["loss"].to(self.device), tensors["loss_sum"].to(self.device)
        self.state.restore(state)
        self.stepper.pieces = max(self.stepper.pieces, int(state["pieces"]))  # pyright: ignore[reportArgumentType]
        if self.stepper.scaler.is_enabled() and state["scaler"]:
            self.stepper.scaler.load_state_dict(state["scaler"])  # pyright: ignore[reportArgumentType]

    def _random(self) -> list[Tensor]:
        return random_state(self.device)


def _sizes(rows: int, batch: int, *, whole: bool = False) -> list[int]:
    """Rows of each step of an epoch; with `whole`, those that are left out at its end too."""
    sizes = [batch] * (rows // batch)
    rest = rows - sum(sizes)
    return [*sizes, rest] if rest and (whole or rest * 2 > batch) else sizes


def _window(problem: Problem) -> int:
    return problem.inputs.shape[1] if problem.inputs.ndim == 3 else 1


@contextmanager
def _laid_out(module: nn.Module, last: bool) -> Generator[None]:  # noqa: FBT001
    """Convolutions work with channels last while it lasts."""
    convolutions = [each for each in module.modules() if isinstance(each, Conv1d)] if last else []
    for each in convolutions:
        each.channels_last = True
    try:
        yield
    finally:
        for each in convolutions:
            each.channels_last = False


@contextmanager
def _recomputed(module: nn.Module, wanted: bool) -> Generator[None]:  # noqa: FBT001
    """Blocks that say `recomputable` keep their inputs alone, and compute what is inside again in the backward pass."""
    blocks = [each for each in module.modules() if getattr(each, "recomputable", False)] if wanted else []
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward
