"""Members weighed by how far each is usually wrong, and an answer that says how far it may be."""

from typing import Literal

import numpy as np

from models.ensembles import Opinions, Weighting

_FLOOR = 1e-6
"""Least variance, in squared sigmas."""


class Uncertainty:
    """Weights by precision, and a deviation by the law of total variance: own errors and disagreement together.

    With v_i the mean squared error of member i on the validation part (a member that tells its own variance is believed
    when it answers), the random walk among them: w_i = (1 / v_i) / sum_j (1 / v_j), and the variance of an answer is
    sum w_i v_i + sum w_i (f_i - f)^2 (Lakshminarayanan, Pritzel and Blundell 2017).
    """

    name = "ensemble_uncertainty"
    task: Literal["combine"] = "combine"
    needs: tuple[str, ...] = ()

    def combine(self, opinions: Opinions) -> Weighting:
        """Precisions, horizon by horizon."""
        misses = ((opinions.forecasts - opinions.targets) ** 2).mean(axis=1)
        still = (opinions.targets**2).mean(axis=0)
        variances = np.maximum(np.concatenate((misses, still[None, :])), _FLOOR)
        precisions = 1.0 / variances
        return Weighting(weights=(precisions / precisions.sum(axis=0))[:-1], variances=variances)


ENSEMBLE = Uncertainty()
