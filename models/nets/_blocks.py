# pyright: basic, reportMissingImports=false
# (torch is an extra: without it every name of it is unknown, which strict mode does not take)
"""What the torch networks are built of. Sequences are (rows, bars, features) outside, (rows, channels, bars) inside."""

import math

import torch
from torch import Tensor, nn

LOG_SCALE_LIMIT = 2.0
"""A head's standard deviation lies within exp(-2) and exp(2) sigmas: one outlier cannot make it claim certainty."""


class Windows(nn.Module):
    """Rows of window * k numbers as sequences (rows, window, k)."""

    def __init__(self, window: int, features: int) -> None:
        super().__init__()
        self.window, self.features = window, features

    def forward(self, rows: Tensor) -> Tensor:
        """Shape (n, window * k) to (n, window, k)."""
        return rows.reshape(-1, self.window, self.features)


class Transposed(nn.Module):
    """Channels before bars, as convolutions want them."""

    def forward(self, series: Tensor) -> Tensor:
        """Shape (n, bars, channels) to (n, channels, bars)."""
        return series.transpose(1, 2)


class Newest(nn.Module):
    """The newest bar's channels."""

    def forward(self, series: Tensor) -> Tensor:
        """Shape (n, channels, bars) to (n, channels)."""
        return series[:, :, -1]


class Conv1d(nn.Conv1d):
    """A convolution over time that may work with channels last, as the matrix units of a GPU want them.

    Attributes:
        channels_last: whether it does; the engine says so for a training where wide convolutions gain by it.
    """

    channels_last = False

    def forward(self, series: Tensor) -> Tensor:
        """Shape (n, channels, bars) to (n, channels, bars), by the same sums either way."""
        if not self.channels_last:
            return super().forward(series)
        last = torch.channels_last
        found = nn.functional.conv2d(
            series[:, :, None].contiguous(memory_format=last),
            self.weight[:, :, None].contiguous(memory_format=last),
            self.bias,
            (1, self.stride[0]),
            (0, int(self.padding[0])),
            (1, self.dilation[0]),
        )
        return found[:, :, 0]


class GroupNorm(nn.Module):
    """Group normalisation (Wu and He 2018) with the weights of `nn.GroupNorm`, by the kernels of layer normalisation.

    On a GPU the gradient of torch's own took most of a U-Net's step: its kernels are made for images.
    """

    def __init__(self, groups: int, channels: int) -> None:
        super().__init__()
        self.groups = groups
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, series: Tensor) -> Tensor:
        """Shape (n, channels, l) to the same: each group of a row has mean 0 and variance 1, then scale and shift."""
        channels, length = series.shape[1:]
        size = channels // self.groups * length
        even = nn.functional.layer_norm(series.reshape(-1, self.groups, size), (size,))
        return torch.addcmul(self.bias[:, None], even.reshape(-1, channels, length), self.weight[:, None])


class Recurrent(nn.Module):
    """Gated recurrent units; their state after the newest bar."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.units = nn.GRU(features, width, batch_first=True)

    def forward(self, series: Tensor) -> Tensor:
        """Shape (n, bars, k) to (n, width)."""
        states, _ = self.units(series)
        return states[:, -1]


class Causal(nn.Module):
    """A residual block of two dilated convolutions that look at a bar and those before it (Bai et al. 2018)."""

    recomputable = True

    def __init__(self, width: int, dilation: int, dropout: float, kernel: int = 3) -> None:
        super().__init__()
        self.before = (kernel - 1) * dilation
        self.first = Conv1d(width, width, kernel, dilation=dilation)
        self.second = Conv1d(width, width, kernel, dilation=dilation)
        self.dropout = nn.Dropout(dropout)

    def forward(self, series: Tensor) -> Tensor:
        """Shape (n, width, bars) to the same."""
        inner = self.dropout(nn.functional.silu(self.first(nn.functional.pad(series, (self.before, 0)))))
        inner = self.second(nn.functional.pad(inner, (self.before, 0)))
        return nn.functional.silu(series + self.dropout(inner))


class Head(nn.Module):
    """Expectations and logarithms of standard deviations, (n, 2 m), of the newest bar's state.

    It starts at 0 and 0: the random walk with its own volatility.
    """

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 2 * outputs)
        self.outputs = outputs
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, state: Tensor) -> Tensor:
        """Shape (n, width) to (n, 2 m)."""
        told = self.linear(state)
        spread = LOG_SCALE_LIMIT * torch.tanh(told[:, self.outputs :] / LOG_SCALE_LIMIT)
        return torch.cat((told[:, : self.outputs], spread), dim=1)


def gaussian_loss(told: Tensor, targets: Tensor) -> Tensor:
    """Mean negative log-likelihood of targets (n, m) under a head's answer (n, 2 m), less ln(2 pi) / 2."""
    m = targets.shape[1]
    return (told[:, m:] + 0.5 * ((targets - told[:, :m]) * torch.exp(-told[:, m:])) ** 2).mean()


def parameters(module: nn.Module) -> int:
    """How many numbers a network has learnt."""
    return sum(math.prod(each.shape) for each in module.parameters())
