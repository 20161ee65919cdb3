# pyright: basic, reportMissingImports=false
# (torch is an extra: without it every name of it is unknown, which strict mode does not take)
"""A recurrent network: gated recurrent units over a window of bars (Cho et al. 2014)."""

from typing import TYPE_CHECKING

from models.nets._sequence import WINDOW, GaussianSequence

if TYPE_CHECKING:
    from torch import nn

WIDTH = 24


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


class Recurrent(GaussianSequence):
    """24 gated recurrent units over 32 bars; expectation and deviation from the last state."""

    name = "gru"
    build = staticmethod(build)


NET = Recurrent()
