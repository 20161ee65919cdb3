# pyright: basic, reportMissingImports=false
# (torch is an extra: without it every name of it is unknown, which strict mode does not take)
"""A recurrent network: gated recurrent units over a window of bars (Cho et al. 2014)."""

from typing import TYPE_CHECKING, Literal

from models.contract import Demands, Problem
from models.forms.onnx import Onnx
from models.nets import require
from models.nets._sequence import FEATURES, NEEDS

if TYPE_CHECKING:
    from torch import nn

WINDOW, WIDTH = 32, 24


class Recurrent:
    """24 gated recurrent units over 32 bars; expectation and deviation from the last state."""

    name = "gru"
    task: Literal["forecast", "reconstruct"] = "forecast"
    needs = NEEDS
    demands = Demands(window=WINDOW, feature_names=FEATURES)

    def fit(self, problem: Problem) -> Onnx:
        """Train by Gaussian likelihood, take the best epoch, damp each horizon by its worth on the validation part."""
        require(self)
        from models.nets._torch import fit_gaussian

        return fit_gaussian(problem, self.name, build)


def build(features: int, outputs: int, regularise: float) -> "nn.Module":
    """The network of k features a bar and m outputs."""
    from torch import nn

    from models.nets import _blocks

    return nn.Sequential(
        _blocks.Windows(WINDOW, features),
        _blocks.Recurrent(features, WIDTH),
        nn.Dropout(0.2 * min(1.0, regularise)),
        _blocks.Head(WIDTH, outputs),
    )


NET = Recurrent()
