# pyright: basic, reportMissingImports=false
# (torch is an extra: without it every name of it is unknown, which strict mode does not take)
"""One step of the optimiser: pieces, precision, clipping, and what happens when memory runs out.

Theory of operation. A step's rows are worked through in pieces; each piece's loss counts by its share of the rows, so
that the gradient is that of the mean over all of them however many pieces there are. Nothing is written before the last
gradient is there. So when memory runs out, the step has not happened: random numbers go back to where they were, the
pieces are halved, and the same rows are worked through again. The optimiser's steps, the schedule and the order of rows
never notice. In half precision of the fp16 kind losses are scaled, and a step whose gradients overflow is left out by
the scaler, as it is meant to be.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from bus.errors import ModelError
from models.train.engine.augment import Augment
from models.train.engine.choices import Choices
from models.train.engine.data import Step
from models.train.engine.recipe import Recipe
from models.train.engine.workers import Workers

Note = Callable[[str], None]

_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Objective(nn.Module):
    """The loss as a module: what is compiled."""

    def __init__(self, module: nn.Module, recipe: Recipe) -> None:
        super().__init__()
        self.module, self._loss = module, recipe.loss

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The mean loss of some rows."""
        return self._loss(self.module, inputs, targets)


def compiled(objective: Objective, mode: str, note: Note) -> Callable[[Tensor, Tensor], Tensor]:
    """The objective through torch.compile; as it is, with the reason in the log, where the compiler fails.

    It fails at the first call, if at all, which is why a call is what is watched.
    """
    fast: Callable[[Tensor, Tensor], Tensor] | None = None
    try:
        fast = torch.compile(objective, mode=mode, dynamic=False)  # pyright: ignore[reportAssignmentType]
    except RuntimeError as error:
        note(f"compile: off (it failed: {_first_line(error)})")
    proved = False

    def call(inputs: Tensor, targets: Tensor) -> Tensor:
        nonlocal fast, proved
        if fast is not None:
            state = random_state(inputs.device)
            try:
                loss = fast(inputs, targets)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # a compiler may raise whatever it likes
                if proved:
                    raise
                note(f"compile: off (it failed: {_first_line(error)})")
                fast = None
                set_random_state(inputs.device, state)
            else:
                proved = True
                return loss
        return objective(inputs, targets)

    return call


class Stepper:
    """Makes steps.

    Args:
        module: what learns, on its device.
        recipe: has the loss.
        optimizer: of its weights.
        choices: what was decided.
        augment: what is done to each piece.
        workers: who shares the rows.
        clip: largest norm of a gradient; 0 = unlimited.
        note: told one line where something falls back.

    Attributes:
        pieces: of a step's rows, now.
        scaler: of losses, in fp16.
    """

    def __init__(
        self,
        module: nn.Module,
        recipe: Recipe,
        optimizer: Optimizer,
        choices: Choices,
        augment: Augment,
        workers: Workers,
        *,
        clip: float,
        note: Note,
    ) -> None:
        self.pieces = choices.pieces
        self.device = next(module.parameters()).device
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=choices.precision == "fp16")
        self._weights = list(module.parameters())
        self._optimizer, self._augment, self._workers = optimizer, augment, workers
        self._clip, self._note = clip, note
        self._half = _HALF.get(choices.precision)
        objective = Objective(module, recipe)
        self._loss = compiled(objective, choices.compile, note) if choices.compile else objective

    def step(self, batch: Step, word: int = 0) -> tuple[Tensor, int]:
        """Learn from a step's rows.

        Args:
            batch: all of them; this process works through its own share.
            word: what the first process wants all to hear.

        Returns:
            The mean loss of the rows, on the device, and the word that was heard.

        Raises:
            ModelError: not even one row fits, or other processes are gone.
        """
        while True:
            before = random_state(self.device)
            ran_out = False
            loss = torch.zeros((), device=self.device)
            try:
                loss = self.gradients(batch)
            except torch.OutOfMemoryError:
                ran_out = True  # the traceback holds what fills the memory: first leave this block
            loss, heard, ran_out = self._meet(loss, word, ran_out=ran_out)
            if not ran_out:
                try:
                    self.apply()
                except torch.OutOfMemoryError:
                    ran_out = True  # nothing was written: see `optimizers`
                else:
                    return loss, heard
                if self._workers.world > 1:  # the others have written
                    raise ModelError("the optimiser does not fit in memory beside the data; use a larger device")
            self._halve(len(batch.rows))
            set_random_state(self.device, before)

    def gradients(self, batch: Step) -> Tensor:
        """Leave this process's share of the gradient of the mean over all rows, and return that share of the loss."""
        self._optimizer.zero_grad(set_to_none=True)
        n = len(batch.rows)
        numbers = self._workers.share(torch.arange(n))
        first, mine = int(numbers[0]) if len(numbers) else 0, len(numbers)
        size = max(1, -(-mine // self.pieces))
        total = torch.zeros((), device=self.device)
        for start in range(first, first + mine, size):
            stop = min(start + size, first + mine)
            inputs, targets = batch.take(start, stop)
            if self._augment:
                inputs, targets = self._augment(inputs, targets)
            with self._precision():
                loss = self._loss(inputs, targets)
            part = loss.float() * ((stop - start) / n)
            self.scaler.scale(part).backward()
            total += part.detach()
        return total

    def apply(self) -> None:
        """Write: clip the gradients, then let the optimiser step."""
        if self._clip:
            self.scaler.unscale_(self._optimizer)
            nn.utils.clip_grad_norm_(self._weights, self._clip, foreach=True)
        self.scaler.step(self._optimizer)
        self.scaler.update()

    def _precision(self) -> AbstractContextManager[object]:
        return nullcontext() if self._half is None else torch.autocast(self.device.type, self._half)

    def _meet(self, loss: Tensor, word: int, *, ran_out: bool) -> tuple[Tensor, int, bool]:
        """Sum gradients and losses over the workers, and hear who ran out of memory and what is to be done."""
        if self._workers.world == 1:
            return loss, word, ran_out
        for weight in self._weights:
            if weight.grad is None or ran_out:
                weight.grad = torch.zeros_like(weight)
        told = torch.tensor([float(ran_out), float(word)], device=self.device)
        self._workers.sum(*(weight.grad for weight in self._weights), loss, told)  # pyright: ignore[reportArgumentType]
        out, heard = told.tolist()
        return loss, int(heard), out > 0

    def _halve(self, rows: int) -> None:
        self._optimizer.zero_grad(set_to_none=True)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        mine = -(-rows // self._workers.world)
        if self.pieces >= mine:
            raise ModelError(
                "out of memory with one row at a time; use a larger device, or leave more of this one to the training"
            )
        self.pieces = min(mine, self.pieces * 2)
        self._note(
            f"out of memory: the step is repeated in {self.pieces} pieces of {-(-mine // self.pieces)} rows; "
            "the rows a step learns from stay the same"
        )


def random_state(device: torch.device) -> list[Tensor]:
    """Where torch's random numbers are: the processor's, and the device's where it is another."""
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def set_random_state(device: torch.device, states: list[Tensor]) -> None:
    """Go back there."""
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
