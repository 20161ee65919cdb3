"""More attention to members that did better lately."""

from typing import Literal

import numpy as np

from models.columns import Floats
from models.ensembles import Opinions, Weighting


class Attention:
    """A softmax over the members' recent validation losses, for each horizon, by how much evidence there is.

    With L_i the mean squared error of member i, recent rows counting more (weight 2^(-2 age / rows), so that the newest
    row counts four times the oldest), N the number of rows that these weights amount to, (sum g)^2 / sum g^2, divided
    by the horizon, since rows closer than that share targets, and L the least of the losses:
    w_i = exp(-N L_i / 2 L) / sum_j exp(-N L_j / 2 L): the weights of Gaussian likelihoods (Akaike 1978).
    """

    name = "ensemble_attention"
    task: Literal["combine"] = "combine"
    needs: tuple[str, ...] = ()

    def combine(self, opinions: Opinions) -> Weighting:
        """The softmax, horizon by horizon."""
        rows = opinions.forecasts.shape[1]
        gain = 0.25 ** (np.arange(rows)[::-1] / rows)
        losses = ((opinions.forecasts - opinions.targets) ** 2 * gain[:, None]).sum(axis=1) / gain.sum()
        evidence = gain.sum() ** 2 / (gain**2).sum() / np.array(opinions.horizons, np.float64)
        return Weighting(weights=_softmax(-evidence * losses / (2.0 * np.maximum(losses.min(axis=0), 1e-300))))


def _softmax(logits: Floats) -> Floats:
    """Over the first axis."""
    raised = np.exp(logits - logits.max(axis=0))
    return raised / raised.sum(axis=0)


ENSEMBLE = Attention()
