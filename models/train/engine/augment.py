# pyright: basic, reportMissingImports=false
# (torch is an extra: without it every name of it is unknown, which strict mode does not take)
"""Makes other rows out of a batch, on the device: noise, time warp, mixup, cutout.

A row is made of itself or, by mixup, of itself and another row of the same batch. Batches hold rows of the fit part
alone, and a window ends with its bar, so nothing here can bring in what lies behind the split or behind a row's own
bar. Warping squeezes or stretches a window towards its newest bar, which stays where it is: what is squeezed repeats
its oldest bar. Random numbers are torch's own, which a run's seed sets and a checkpoint keeps.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from models.learning import Learning


@dataclass(frozen=True, slots=True)
class Augment:
    """What is done to a batch, in this order: warp, cutout, noise, mixup. Strengths are those of `Learning`.

    Attributes:
        window: bars in a row.
    """

    window: int
    noise: float = 0.0
    warp: float = 0.0
    mixup: float = 0.0
    cutout: float = 0.0

    def __bool__(self) -> bool:
        """Whether anything is done at all."""
        return bool(self.noise or self.mixup or (self.window > 1 and (self.warp or self.cutout)))

    def __call__(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Shapes (n, window * k) and (n, m), which are not written to, to the same."""
        n = len(inputs)
        if self.window > 1 and (self.warp or self.cutout):
            series = inputs.reshape(n, self.window, -1)
            series = self._warped(series) if self.warp else series
            series = self._cut(series) if self.cutout else series
            inputs = series.reshape(n, -1)
        if self.noise:
            inputs = inputs + self.noise * torch.randn_like(inputs)
        if self.mixup:
            inputs, targets = self._mixed(inputs, targets)
        return inputs, targets

    def _warped(self, series: Tensor) -> Tensor:
        """Bar j becomes what lies at last - (last - j) * stretch, between bars in a straight line, never beyond."""
        n, window, k = series.shape
        stretch = 1.0 + self.warp * (2.0 * torch.rand(n, 1, device=series.device) - 1.0)
        back = torch.arange(window - 1, -1, -1, device=series.device, dtype=series.dtype)
        at = (window - 1 - back * stretch).clamp_min(0.0)
        older = at.floor().long()
        share = (at - older).unsqueeze(2)
        newer = (older + 1).clamp_max(window - 1)

        def bars(index: Tensor) -> Tensor:
            return series.gather(1, index.unsqueeze(2).expand(n, window, k))

        return torch.lerp(bars(older), bars(newer), share)

    def _cut(self, series: Tensor) -> Tensor:
        """A run of bars at a random place before the newest is set to 0, which is what an absent feature is."""
        n, window, _ = series.shape
        length = max(1, round(self.cutout * window))
        start = torch.randint(max(1, window - length), (n, 1), device=series.device)
        bars = torch.arange(window, device=series.device)
        blank = (bars >= start) & (bars < start + length) & (bars < window - 1)
        return series.masked_fill(blank.unsqueeze(2), 0.0)

    def _mixed(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Each row with the row before it in the batch, which is shuffled: lambda ~ Beta(alpha, alpha) for the batch.

        The larger share is a row's own.
        """
        alpha = torch.tensor(self.mixup, device=inputs.device)
        own = torch.distributions.Beta(alpha, alpha, validate_args=False).sample()
        own = torch.maximum(own, 1.0 - own)
        return (
            torch.lerp(inputs.roll(1, dims=0), inputs, own),
            torch.lerp(targets.roll(1, dims=0), targets, own),
        )


def augment_of(learning: Learning, window: int) -> Augment:
    """What the settings ask for."""
    return Augment(window, learning.noise, learning.warp, learning.mixup, learning.cutout)
