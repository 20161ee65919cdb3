# pyright: basic, reportMissingImports=false
# (torch is an extra: without it every name of it is unknown, which strict mode does not take)
"""What networks that look at a sequence of bars have in common: what they see of each bar, and how they are trained."""

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal

from models.contract import Demands, Problem
from models.forms import Form
from models.nets import require

if TYPE_CHECKING:
    from torch import nn

    from models.train.engine.planning import Prepared

WINDOW = 32

FEATURES = (
    "ret_1", "body", "upper_wick", "lower_wick", "range_sigma", "vol_ewma", "vol_ratio_8_64", "spread_ratio_24",
    "hour_sin", "hour_cos", "gap_bars", "gap_return",
)  # fmt: skip
"""Longer returns and averages are left out: a network that sees the bars themselves can form its own."""

NEEDS = ("torch", "onnx", "onnxscript")


class Sequence:
    """A network over the last bars' features. A subclass says in one sentence what it is, as the catalogue shows it."""

    name: str
    task: Literal["forecast", "reconstruct"] = "forecast"
    needs = NEEDS
    demands = Demands(window=WINDOW, feature_names=FEATURES)


class GaussianSequence(Sequence):
    """One that tells an expectation and a deviation a horizon.

    Attributes:
        build: makes the module of k features a bar, m outputs and a `regularise`.
    """

    build: "ClassVar[Callable[[int, int, float], nn.Module]]"

    def fit(self, problem: Problem) -> Form:
        """Train by Gaussian likelihood, take the best epoch, damp each horizon by its worth on the validation part."""
        require(self)
        from models.nets._torch import fit_gaussian

        return fit_gaussian(problem, self.name, type(self).build)

    def plan(self, problem: Problem) -> "Prepared":
        """What `fit` would do on this machine, and why."""
        require(self)
        from models.nets._torch import plan_gaussian

        return plan_gaussian(problem, self.name, type(self).build)
