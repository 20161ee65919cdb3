# pyright: basic, reportMissingImports=false
# (torch is an extra: without it every name of it is unknown, which strict mode does not take)
"""A temporal convolution network: dilated causal convolutions over a window of bars (Bai, Kolter and Koltun 2018)."""

from typing import TYPE_CHECKING

from models.nets._sequence import WIDTH, WINDOW, GaussianSequence

if TYPE_CHECKING:
    from torch import nn

DILATIONS = (1, 2, 5)
"""Two convolutions of three taps at each: the newest bar's state sees 33 bars, the whole window."""


def build(features: int, outputs: int, dropout: float, width: int = WIDTH.default) -> "nn.Module":
    """The network of k features a bar and m outputs."""
    from torch import nn

    from models.nets import _blocks

    return nn.Sequential(
        _blocks.Windows(WINDOW, features),
        _blocks.Transposed(),
        _blocks.Conv1d(features, width, 1),
        *(_blocks.Causal(width, dilation, dropout) for dilation in DILATIONS),
        _blocks.Newest(),
        _blocks.Head(width, outputs),
    )


class TemporalConvolution(GaussianSequence):
    """Three residual blocks of 16 channels over 32 bars; expectation and deviation from the newest bar's state."""

    name = "tcn"
    build = staticmethod(build)


NET = TemporalConvolution()
