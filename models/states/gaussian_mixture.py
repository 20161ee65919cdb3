"""Three kinds of day: a mixture of Gaussians over the last 24 bars' volatility, travel and range, without memory."""

import warnings
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from models.columns import Floats
from models.forms.markov import Markov
from models.states import Task

STATES = 3


class GaussianMixture:
    """Three kinds of the last 24 bars, calmest first, by volatility, travel and place in the range; no memory."""

    name = "gaussian_mixture"
    task: Task = "regimes"
    needs = ("sklearn",)
    feature_names = ("vol_ratio_8_64", "ret_24", "range_position_24")
    window = 1

    def fit(self, bars: Floats, seed: int) -> Markov:
        """Fit with diagonal covariances; the states in the order of their mean volatility."""
        # imported here: only training pays for it
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture as Mixture

        with threadpool_limits(limits=1), warnings.catch_warnings():
            # a fit that would still move in the last digits is a fit
            warnings.simplefilter("ignore", ConvergenceWarning)
            found: Any = Mixture(
                n_components=STATES, covariance_type="diag", reg_covar=1e-3, max_iter=300, random_state=seed
            ).fit(bars)
        order = np.argsort(found.means_[:, 0], kind="stable")
        weights = np.array(found.weights_, np.float64)[order]
        return Markov(
            means=np.ascontiguousarray(found.means_[order]),
            variances=np.ascontiguousarray(found.covariances_[order]),
            transition=np.tile(weights, (STATES, 1)),
            start=weights,
            window=self.window,
        )


STATE = GaussianMixture()
