# pyright: basic, reportMissingImports=false
# (torch is an extra: without it every name of it is unknown, which strict mode does not take)
"""The temporal U-Net as a diffusion model: what the horizons may bring together, drawn as samples (Janner et al. 2022).

A causal convolution network reads a window of bars once; a U-Net with self-attention turns noise into outcomes at all
horizons in ten steps, a hundred samples a forecast.
"""

from typing import TYPE_CHECKING

from models.contract import Problem
from models.forms.diffusion import Diffusion
from models.nets import require
from models.nets._sequence import DROPOUT, PENALTY, TRAINING, WIDTH, WINDOW, Sequence, sizes_of
from models.space import Space

if TYPE_CHECKING:
    from torch import nn

    from models.train.engine.planning import Prepared

DILATIONS = (1, 2, 5)


class TemporalUnet(Sequence):
    """Samples of the joint outcome; the served point is their mean, the scale their deviation."""

    name = "temporal_unet"
    space: Space = (WIDTH, DROPOUT, PENALTY, *TRAINING)

    def fit(self, problem: Problem) -> Diffusion:
        """Train on velocities, take the best average of the weights, damp by its worth on the validation part."""
        require(self)
        from models.nets._denoise import fit_diffusion

        return fit_diffusion(problem, self.name, encoder, sizes_of(problem))

    def plan(self, problem: Problem) -> "Prepared":
        """What the training of `fit` would do on this machine, and why."""
        require(self)
        from models.nets._denoise import plan_diffusion

        return plan_diffusion(problem, self.name, encoder, sizes_of(problem))


def encoder(features: int, dropout: float, width: int = WIDTH.default) -> "nn.Module":
    """The reader of a window of k features a bar."""
    from models.nets._unet import Encoder

    return Encoder(WINDOW, features, width, DILATIONS, dropout)


NET = TemporalUnet()
