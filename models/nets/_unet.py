# pyright: basic, reportMissingImports=false
# (torch is an extra: without it every name of it is unknown, which strict mode does not take)
"""The temporal U-Net: convolutions over time, halved and doubled again, told the noise level and a context.

After Janner et al. (2022): residual blocks of two convolutions with group normalisation and SiLU, the step told by a
sinusoidal embedding (Vaswani et al. 2017) that is added in every block, skip connections between the levels, and
self-attention where the series is shortest. The series is what is forecast: one slot a horizon.
"""

import math

import torch
from torch import Tensor, nn

from models.diffusion import Schedule
from models.nets import _blocks

WIDTHS = (16, 32)
_EMBEDDED = 16
_TOLD = 32
_GROUPS = 8
_SHORTEST = 4
_PERIOD = 10_000.0


class StepEmbedding(nn.Module):
    """Sines and cosines of the step at frequencies from 1 down to 1 / 10,000, through a small network."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(_EMBEDDED, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, step: Tensor) -> Tensor:
        """Shape (n,) to (n, width)."""
        half = _EMBEDDED // 2
        frequencies = torch.exp(torch.arange(half, device=step.device) * (-math.log(_PERIOD) / (half - 1)))
        angles = step[:, None] * frequencies
        return self.net(torch.cat((angles.sin(), angles.cos()), dim=1))


class Residual(nn.Module):
    """Convolution, group normalisation and SiLU, twice, with what is told added between, beside a straight way."""

    recomputable = True

    def __init__(self, before: int, after: int, told: int) -> None:
        super().__init__()
        self.first = _blocks.Conv1d(before, after, 3, padding=1)
        self.second = _blocks.Conv1d(after, after, 3, padding=1)
        self.norms = nn.ModuleList([_blocks.GroupNorm(_GROUPS, after), _blocks.GroupNorm(_GROUPS, after)])
        self.tell = nn.Linear(told, after)
        self.straight = _blocks.Conv1d(before, after, 1) if before != after else nn.Identity()

    def forward(self, series: Tensor, told: Tensor) -> Tensor:
        """Shape (n, before, l) to (n, after, l)."""
        inner = nn.functional.silu(self.norms[0](self.first(series))) + self.tell(told)[:, :, None]
        return self.straight(series) + nn.functional.silu(self.norms[1](self.second(inner)))


class Attention(nn.Module):
    """Every slot looks at every other (scaled dot-product attention, four heads)."""

    heads = 4
    recomputable = True

    def __init__(self, width: int) -> None:
        super().__init__()
        self.head = width // self.heads
        self.norm = _blocks.GroupNorm(_GROUPS, width)
        self.asked = _blocks.Conv1d(width, 3 * width, 1)
        self.out = _blocks.Conv1d(width, width, 1)

    def forward(self, series: Tensor) -> Tensor:
        """Shape (n, width, l) to the same."""
        width, length = series.shape[1:]
        parts = self.asked(self.norm(series)).reshape(-1, 3, self.heads, width // self.heads, length).transpose(3, 4)
        seen = nn.functional.scaled_dot_product_attention(parts[:, 0], parts[:, 1], parts[:, 2])
        return series + self.out(seen.transpose(2, 3).reshape(-1, width, length))


class TemporalUnet(nn.Module):
    """Noisy outcomes, a step and a context to the velocity.

    Args:
        outcomes: m, the length of the series.
        context: c, numbers that tell what the series depends on.
        widths: channels of each level, the longest first; in eights.
    """

    def __init__(self, outcomes: int, context: int, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        halvings = 2 ** (len(widths) - 1)
        self.outcomes = outcomes
        self.length = max(_SHORTEST, -(-outcomes // halvings) * halvings)
        self.step, self.context = StepEmbedding(_TOLD), nn.Linear(context, _TOLD)
        self.begin = _blocks.Conv1d(1, widths[0], 3, padding=1)
        # slots are horizons, each another; convolutions alone could not tell them apart
        self.slots = nn.Parameter(0.02 * torch.randn(1, widths[0], self.length))
        self.down, self.shorter, self.longer, self.up = (nn.ModuleList() for _ in range(4))
        for narrow, wide in zip((widths[0], *widths[:-1]), widths, strict=True):
            self.down.append(Residual(narrow, wide, _TOLD))
        for width in widths[:-1]:
            self.shorter.append(_blocks.Conv1d(width, width, 3, stride=2, padding=1))
        self.middle = nn.ModuleList([Residual(widths[-1], widths[-1], _TOLD) for _ in range(2)])
        self.attention = Attention(widths[-1])
        for narrow, wide in zip(widths[-2::-1], widths[:0:-1], strict=True):
            self.longer.append(nn.ConvTranspose1d(wide, narrow, 4, stride=2, padding=1))
            self.up.append(Residual(2 * narrow, narrow, _TOLD))
        self.end = _blocks.Conv1d(widths[0], 1, 1)
        nn.init.zeros_(self.end.weight)

    def forward(self, noisy: Tensor, step: Tensor, context: Tensor) -> Tensor:
        """Shapes (n, m), (n,) and (n, c) to (n, m)."""
        told = nn.functional.silu(self.step(step) + self.context(context))
        padded = nn.functional.pad(noisy, (0, self.length - self.outcomes))[:, None]
        series = self.begin(padded) + self.slots
        seen = []
        for index, block in enumerate(self.down):
            series = block(series, told)
            if index < len(self.shorter):
                seen.append(series)
                series = self.shorter[index](series)
        series = self.middle[1](self.attention(self.middle[0](series, told)), told)
        for longer, block in zip(self.longer, self.up, strict=True):
            series = block(torch.cat((longer(series), seen.pop()), dim=1), told)
        return self.end(series)[:, 0, : self.outcomes]


class Encoder(nn.Module):
    """A window of bars as a context: causal convolutions, their state at the newest bar."""

    def __init__(self, window: int, features: int, width: int, dilations: tuple[int, ...], dropout: float) -> None:
        super().__init__()
        self.net = nn.Sequential(
            _blocks.Windows(window, features),
            _blocks.Transposed(),
            _blocks.Conv1d(features, width, 1),
            *(_blocks.Causal(width, dilation, dropout) for dilation in dilations),
            _blocks.Newest(),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape (n, window * k) to (n, width)."""
        return self.net(inputs)


class Diffuser(nn.Module):
    """Encoder and denoiser, trained together; the schedule goes where they go, and is no weight."""

    def __init__(self, encoder: nn.Module, denoiser: nn.Module, schedule: Schedule) -> None:
        super().__init__()
        self.encoder, self.denoiser = encoder, denoiser
        self.register_buffer("signal", torch.tensor(schedule.signal, dtype=torch.float32), persistent=False)
        self.register_buffer("noise", torch.tensor(schedule.noise, dtype=torch.float32), persistent=False)
