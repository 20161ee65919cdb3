# pyright: basic, reportMissingImports=false
# (torch is an extra: without it every name of it is unknown, which strict mode does not take)
"""What networks that look at a sequence of bars have in common: what they see of each bar, and how they are trained."""

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal

from models.contract import Demands, Problem
from models.forms import Form
from models.nets import require
from models.space import Real, Space, Whole, Word

if TYPE_CHECKING:
    from torch import nn

    from models.nets._torch import Sizes
    from models.train.engine.planning import Prepared

WINDOW = 32

FEATURES = (
    "ret_1", "body", "upper_wick", "lower_wick", "range_sigma", "vol_ewma", "vol_ratio_8_64", "spread_ratio_24",
    "hour_sin", "hour_cos", "gap_bars", "gap_return",
)  # fmt: skip
"""Longer returns and averages are left out: a network that sees the bars themselves can form its own."""

WIDTH = Whole(name="width", low=8, high=64, step=8, default=16, about="channels of a bar's state")
DROPOUT = Real(name="dropout", low=0.0, high=0.5, default=0.2, about="share of the state that a step leaves out")
PENALTY = Real(name="penalty", low=1e-3, high=1.0, default=0.1, log=True, about="weight decay")

TRAINING: Space = (
    Real(name="learning_rate", low=2e-4, high=2e-2, default=2e-3, log=True, section="training", about="at its highest"),
    Whole(name="batch", low=32, high=512, step=32, default=128, section="training", about="rows a step"),
    Word(name="schedule", choices=("constant", "cosine", "one_cycle"), default="constant", section="training",
         about="of the learning rate"),
    Real(name="noise", low=0.0, high=0.3, default=0.0, section="training", about="deviation of what inputs get added"),
)  # fmt: skip
"""Fields of `Learning` that are worth a search, with what they are where a network is left the choice."""

NEEDS = ("torch", "onnx", "onnxscript")


class Sequence:
    """A network over the last bars' features. A subclass says in one sentence what it is, as the catalogue shows it."""

    name: str
    task: Literal["forecast", "reconstruct"] = "forecast"
    needs = NEEDS
    demands = Demands(window=WINDOW, feature_names=FEATURES)


def sizes_of(problem: Problem, width: Whole = WIDTH) -> "Sizes":
    """What was chosen of a module itself."""
    from models.nets._torch import Sizes

    given = problem.parameters
    return Sizes(width=width.of(given), dropout=DROPOUT.of(given), penalty=PENALTY.of(given))


class GaussianSequence(Sequence):
    """One that tells an expectation and a deviation a horizon.

    Attributes:
        build: makes the module of k features a bar, m outputs, a dropout and a width.
        width: of its state.
    """

    build: "ClassVar[Callable[[int, int, float, int], nn.Module]]"
    width: ClassVar[Whole] = WIDTH

    @property
    def space(self) -> Space:
        """What may be chosen."""
        return (self.width, DROPOUT, PENALTY, *TRAINING)

    def fit(self, problem: Problem) -> Form:
        """Train by Gaussian likelihood, take the best epoch, damp each horizon by its worth on the validation part."""
        require(self)
        from models.nets._torch import fit_gaussian

        return fit_gaussian(problem, self.name, type(self).build, sizes_of(problem, self.width))

    def plan(self, problem: Problem) -> "Prepared":
        """What `fit` would do on this machine, and why."""
        require(self)
        from models.nets._torch import plan_gaussian

        return plan_gaussian(problem, self.name, type(self).build, sizes_of(problem, self.width))
