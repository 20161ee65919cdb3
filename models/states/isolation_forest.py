"""How easily a bar is set apart from all others by random cuts."""

from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from models.columns import Floats
from models.forms.trees import Trees
from models.nets._grown import from_sklearn, planted
from models.states import Task

TREES = 100
ROWS = 256


class IsolationForest:
    """How few random cuts set a bar apart from others, by move, range and spread (Liu, Ting and Zhou 2008)."""

    name = "isolation_forest"
    task: Task = "anomaly"
    needs = ("sklearn",)
    feature_names = ("slow_return", "slow_range", "ret_4", "body", "spread_ratio_24")
    window = 1

    def fit(self, bars: Floats, seed: int) -> Trees:
        """Grow the forest. It answers with -E[h] / c: minus the mean number of cuts, in units of what is usual.

        The anomaly score of the paper is two to the power of that. h counts, for a leaf of n bars, c(n) cuts more.
        """
        # imported here: only training pays for it
        from sklearn.ensemble import IsolationForest as Forest

        rows = min(ROWS, len(bars))
        with threadpool_limits(limits=1):
            options: dict[str, Any] = {"max_samples": rows}  # its default is a word
            forest: Any = Forest(n_estimators=TREES, random_state=seed, n_jobs=1, **options).fit(bars)
        scale = -1.0 / (TREES * float(usual(np.array([rows]))[0]))
        grown = [
            from_sklearn(tree.tree_, output=0, value=scale * (_depths(tree.tree_) + usual(tree.tree_.n_node_samples)))
            for tree in forest.estimators_
        ]
        return planted(grown, inputs=bars.shape[1], outputs=1)


def usual(rows: Any) -> Floats:
    """c(n): mean cuts that set one of n bars apart, 2 H(n - 1) - 2 (n - 1) / n; 1 for two, 0 for one."""
    n = np.maximum(np.asarray(rows, np.float64), 1.0)
    many = 2.0 * (np.log(np.maximum(n - 1.0, 1.0)) + np.euler_gamma) - 2.0 * (n - 1.0) / n
    return np.where(n > 2.0, many, n - 1.0)


def _depths(tree: Any) -> Floats:
    """Cuts above each node."""
    depths = np.zeros(tree.node_count)
    for node, (left, right) in enumerate(zip(tree.children_left.tolist(), tree.children_right.tolist(), strict=True)):
        if left >= 0:
            depths[left] = depths[right] = depths[node] + 1.0
    return depths


STATE = IsolationForest()
