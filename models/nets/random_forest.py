"""A forest of regression trees, each grown on a random part of the rows and features."""

from typing import Any, Literal

import numpy as np
from threadpoolctl import threadpool_limits

from models.contract import Problem
from models.forms.trees import Trees
from models.nets._grown import Grown, from_sklearn, planted
from models.nets._sklearn import damping
from models.space import Real, Space, Whole

_ROWS = 20_000

TREES = Whole(name="trees", low=20, high=200, step=20, default=60, about="a horizon")
LEVELS = Whole(name="levels", low=2, high=12, default=6, about="of a tree")
LEAF_SHARE = Real(name="leaf_share", low=0.002, high=0.1, default=0.02, log=True, about="of the rows, least in a leaf")
FEATURE_SHARE = Real(
    name="feature_share", low=0.1, high=1.0, default=1.0 / 3.0, about="of the features that a split sees"
)


class RandomForest:
    """The mean of 60 shallow trees a horizon, each grown on other rows and other features (Breiman 2001)."""

    name = "random_forest"
    task: Literal["forecast", "reconstruct"] = "forecast"
    needs = ("sklearn",)
    space: Space = (TREES, LEVELS, LEAF_SHARE, FEATURE_SHARE)

    def fit(self, problem: Problem) -> Trees:
        """Grow a forest for each output and damp it by its worth on the validation part.

        A leaf holds `regularise` times 2 % of a tree's rows, so that a mean stands on many of them; at 0 each tree sees
        all rows and all features, and grows until every row has a leaf of its own. Trees say nothing new outside what
        they have seen: they go on flat.
        """
        # imported here: only training pays for it
        from sklearn.ensemble import RandomForestRegressor

        free, given = problem.regularise == 0.0, problem.parameters
        trees = TREES.of(given)
        rows = len(problem.inputs) if free else min(len(problem.inputs), _ROWS)
        outputs = problem.targets.shape[1]
        grown: list[Grown] = []
        with threadpool_limits(limits=1):
            for output in range(outputs):
                forest: Any = RandomForestRegressor(
                    n_estimators=trees,
                    max_depth=None if free else LEVELS.of(given),
                    min_samples_leaf=max(1, round(LEAF_SHARE.of(given) * rows * problem.regularise)),
                    max_features=1.0 if free else FEATURE_SHARE.of(given),
                    bootstrap=not free,
                    max_samples=None if free else rows,
                    random_state=np.random.RandomState([problem.seed, output]),
                    n_jobs=1,
                )
                forest.fit(problem.inputs, problem.targets[:, output])
                grown += [
                    from_sklearn(tree.tree_, output=output, value=tree.tree_.value[:, 0, 0] / trees)
                    for tree in forest.estimators_
                ]
                problem.progress(self.name, (output + 1) / outputs)
        fitted = planted(grown, inputs=problem.inputs.shape[1], outputs=outputs)
        if free:
            return fitted
        return fitted.damped(damping(fitted(problem.validation_inputs), problem.validation_targets))


NET = RandomForest()
