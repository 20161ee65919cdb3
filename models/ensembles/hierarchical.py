"""First within each kind of model, then between the kinds."""

from itertools import combinations
from typing import Literal

import numpy as np

from models.columns import Floats
from models.ensembles import Opinions, Weighting


class Hierarchical:
    """The mean within each family (linear, trees, neural), then the best blend of families and the random walk.

    The blend minimises the squared error on the validation part over weights that are not negative and at most 1
    together (stacked regression: Breiman 1996; the sum is held because what is left belongs to the random walk). A
    family of many members so counts no more than one of few.
    """

    name = "ensemble_hierarchical"
    task: Literal["combine"] = "combine"
    needs: tuple[str, ...] = ()

    def combine(self, opinions: Opinions) -> Weighting:
        """Means of families, and a blend of them for each horizon."""
        families = sorted(set(opinions.families))
        members = np.array([[own == name for own in opinions.families] for name in families], np.float64)
        within = members / members.sum(axis=1, keepdims=True)
        heads = np.einsum("fi,inm->fnm", within, opinions.forecasts)
        outputs = opinions.targets.shape[1]
        blends = [blend(heads[:, :, output].T, opinions.targets[:, output]) for output in range(outputs)]
        return Weighting(weights=within.T @ np.stack(blends, axis=1))


ENSEMBLE = Hierarchical()


def blend(heads: Floats, target: Floats) -> Floats:
    """Weights w >= 0 with sum w <= 1 that minimise |target - heads w|^2, exactly, for the few heads there are.

    Of a convex problem the solution is the least of the stationary points of its faces that are feasible: every choice
    of heads that are not 0, with the sum free and with the sum held at 1.

    Args:
        heads: shape (n, heads).
        target: shape (n,).
    """
    gram, fit = heads.T @ heads, heads.T @ target
    count = heads.shape[1]
    best, least = np.zeros(count), 0.0
    for size in range(1, count + 1):
        for chosen in combinations(range(count), size):
            at = np.ix_(chosen, chosen)
            held = np.ones((size + 1, size + 1))
            held[:size, :size], held[size, size] = gram[at], 0.0
            for found in (
                np.linalg.lstsq(gram[at], fit[list(chosen)])[0],
                np.linalg.lstsq(held, np.append(fit[list(chosen)], 1.0))[0][:size],
            ):
                weights = np.zeros(count)
                weights[list(chosen)] = found
                loss = float(weights @ gram @ weights - 2.0 * fit @ weights)
                if (weights >= 0.0).all() and weights.sum() <= 1.0 + 1e-12 and loss < least:
                    best, least = weights, loss
    return best / max(1.0, best.sum())
