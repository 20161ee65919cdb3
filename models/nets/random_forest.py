"""A forest of regression trees, each grown on a random part of the rows and features."""

from typing import Any, Literal

import numpy as np
from threadpoolctl import threadpool_limits

from models.contract import Problem
from models.forms.trees import Trees
from models.nets._grown import Grown, from_sklearn, planted
from models.nets._sklearn import damping

_TREES = 60
_LEAF_SHARE = 0.02
_LEVELS = 6
_ROWS = 20_000


class RandomForest:
    """The mean of 60 shallow trees a horizon, each grown on other rows and other features (Breiman 2001)."""

    name = "random_forest"
    task: Literal["forecast", "reconstruct"] = "forecast"
    needs = ("sklearn",)

    def fit(self, problem: Problem) -> Trees:
        """Grow a forest for each output and damp it by its worth on the validation part.

        A leaf holds `regularise` times 2 % of a tree's rows, so that a mean stands on many of them; at 0 each tree sees
        all rows and all features, and grows until every row has a leaf of its own. Trees say nothing new outside what
        they have seen: they go on flat.
        """
        # imported here: only training pays for it
        from sklearn.ensemble import RandomForestRegressor

        free = problem.regularise == 0.0
        rows = len(problem.inputs) if free else min(len(problem.inputs), _ROWS)
        outputs = problem.targets.shape[1]
        grown: list[Grown] = []
        with threadpool_limits(limits=1):
            for output in range(outputs):
                forest: Any = RandomForestRegressor(
                    n_estimators=_TREES,
                    max_depth=None if free else _LEVELS,
                    min_samples_leaf=max(1, round(_LEAF_SHARE * rows * problem.regularise)),
                    max_features=1.0 if free else 1.0 / 3.0,
                    bootstrap=not free,
                    max_samples=None if free else rows,
                    random_state=np.random.RandomState([problem.seed, output]),
                    n_jobs=1,
                )
                forest.fit(problem.inputs, problem.targets[:, output])
                grown += [
                    from_sklearn(tree.tree_, output=output, value=tree.tree_.value[:, 0, 0] / _TREES)
                    for tree in forest.estimators_
                ]
                problem.progress(self.name, (output + 1) / outputs)
        fitted = planted(grown, inputs=problem.inputs.shape[1], outputs=outputs)
        if free:
            return fitted
        return fitted.damped(damping(fitted(problem.validation_inputs), problem.validation_targets))


NET = RandomForest()
