# pyright: basic, reportMissingImports=false
# (torch is an extra: without it every name of it is unknown, which strict mode does not take)
"""Decides everything about a training before its first step, and can say how long it will take."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from models.contract import Problem
from models.learning import Learning
from models.nets._blocks import Conv1d
from models.train.engine import machine, memory, workers
from models.train.engine.choices import Choice, Choices, Device, Run, decide, scaled_rate
from models.train.engine.data import Rows, size_of
from models.train.engine.recipe import Recipe

_FEW = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A training before its first step.

    Attributes:
        name: of the network.
        facts: of the device.
        run: of the problem.
        choices: what runs, and why.
        rate: highest learning rate.
        step_s: seconds that a step is expected to take; 0 = not measured.
    """

    name: str
    facts: Device
    run: Run
    choices: Choices
    rate: float
    step_s: float = 0.0

    @property
    def seconds(self) -> float:
        """Of the whole run, where it is not ended early; the validation part left out."""
        return self.step_s * self.run.steps


def prepare(module: nn.Module, problem: Problem, recipe: Recipe, *, measure: bool = False) -> Prepared:
    """Decide everything; `measure` times a step as well. The module is left as it was."""
    learning, here = problem.learning, workers.expected()
    device, facts = machine.look(learning, here.local_rank)
    rows = len(problem.targets)
    base, batch = min(recipe.batch, rows), min(learning.batch or recipe.batch, rows)
    run = Run(
        rows=rows,
        batch=batch,
        epochs=learning.epochs or problem.epochs,
        data_bytes=size_of(problem.inputs, problem.targets)
        + size_of(problem.validation_inputs, problem.validation_targets),
        weight_bytes=sum(each.numel() * 4 for each in module.parameters()),
        row_bytes=memory.row_bytes(module, recipe, *_first(problem, _FEW)),
        averaged=bool(learning.average or recipe.average),
        channels=max(
            (min(each.in_channels, each.out_channels) for each in module.modules() if isinstance(each, Conv1d)),
            default=0,
        ),
        head=next((each.head for each in module.modules() if isinstance(getattr(each, "head", None), int)), 0),  # pyright: ignore[reportArgumentType]
    )
    choices = decide(learning, facts, run, here.world)
    rate, rule = scaled_rate(learning, recipe.learning_rate, batch, base)
    step_s = _step_seconds(module, problem, recipe, device, choices, batch) if measure else 0.0
    several = f"as torchrun started them; gradients meet through {'NCCL' if facts.count >= here.world else 'gloo'}"
    lines = (
        Choice(what="learning rate", runs=f"{rate:.3g}, {learning.schedule}", why=rule),
        Choice(what="processes", runs=str(here.world), why=several if here.world > 1 else "torchrun starts more"),
    )
    choices = replace(choices, lines=choices.lines + lines)
    return Prepared(name=recipe.name, facts=facts, run=run, choices=choices, rate=rate, step_s=step_s)


def told(prepared: Prepared, learning: Learning) -> list[Choice]:
    """The whole plan, a line a part."""
    run = prepared.run
    ends = "it ends earlier where the validation part no longer gains"
    time = f"{prepared.seconds:,.0f} s at most" if prepared.step_s else "not measured"
    steps = f"{run.steps:,} steps of {prepared.step_s * 1e3:,.1f} ms, measured; {ends}"
    return [
        Choice(what="strategy", runs=learning.strategy, why="training.strategy"),
        *prepared.choices.lines,
        Choice(what="time", runs=time, why=steps),
    ]


def _first(problem: Problem, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = np.ascontiguousarray(problem.inputs[:rows], np.float32).reshape(min(rows, len(problem.inputs)), -1)
    return torch.from_numpy(inputs), torch.from_numpy(problem.targets[:rows].astype(np.float32))


def _step_seconds(
    module: nn.Module, problem: Problem, recipe: Recipe, device: torch.device, choices: Choices, batch: int
) -> float:
    """Of a step in eager mode, in the precision that was chosen: compiling would take longer than a plan may."""
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(choices.precision)
    size = -(-batch // choices.pieces)
    rows = Rows(problem.inputs[:size], problem.targets[:size], device)
    with machine.set_up(choices, device), torch.autocast(device.type, half or torch.bfloat16, enabled=half is not None):
        return choices.pieces * memory.step_seconds(module, recipe, *rows.part(0, len(rows)), device=device)
