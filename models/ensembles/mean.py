"""All members alike."""

from typing import Literal

import numpy as np

from models.ensembles import Opinions, Weighting


class Mean:
    """The plain mean of all forecasters trained with it: w = 1 / members, which is hard to beat (Timmermann 2006)."""

    name = "ensemble_mean"
    task: Literal["combine"] = "combine"
    needs: tuple[str, ...] = ()

    def combine(self, opinions: Opinions) -> Weighting:
        """Equal weights; nothing is learnt."""
        members, _, outputs = opinions.forecasts.shape
        return Weighting(weights=np.full((members, outputs), 1.0 / members))


ENSEMBLE = Mean()
