# pyright: basic, reportMissingImports=false
# (torch is an extra: without it every name of it is unknown, which strict mode does not take)
"""A recurrent network: gated recurrent units over a window of bars (Cho et al. 2014)."""

from typing import TYPE_CHECKING

from models.nets._sequence import WINDOW, GaussianSequence
from models.space import Whole

if TYPE_CHECKING:
    from torch import nn

WIDTH = Whole(name="width", low=8, high=64, step=8, default=24, about="units")


def build(features: int, outputs: int, dropout: float, width: int = WIDTH.default) -> "nn.Module":
    """The network of k features a bar and m outputs."""
    from torch import nn

    from models.nets import _blocks

    return nn.Sequential(
        _blocks.Windows(WINDOW, features),
        _blocks.Recurrent(features, width),
        nn.Dropout(dropout),
        _blocks.Head(width, outputs),
    )


class Recurrent(GaussianSequence):
    """24 gated recurrent units over 32 bars; expectation and deviation from the last state."""

    name = "gru"
    build = staticmethod(build)
    width = WIDTH


NET = Recurrent()
