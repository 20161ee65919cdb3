"""Boosted trees by LightGBM: each round's tree learns what the rounds before it left over."""

from typing import Any, Literal

import numpy as np

from bus.errors import ModelError
from models.contract import Problem
from models.forms.trees import Trees
from models.nets._grown import Grown, from_lightgbm, planted
from models.nets._sklearn import damping
from models.space import Real, Space, Whole

_FREE_RATE = 0.2
_ROUNDS_WITHOUT_GAIN = 10

RATE = Real(name="rate", low=0.01, high=0.3, default=0.05, log=True, about="how far a round goes")
LEAVES = Whole(name="leaves", low=2, high=64, default=8, log=True, about="of a tree")
LEAF_SHARE = Real(name="leaf_share", low=0.002, high=0.1, default=0.02, log=True, about="of the rows, least in a leaf")
FEATURE_SHARE = Real(name="feature_share", low=0.2, high=1.0, default=0.5, about="of the features that a round sees")
ROW_SHARE = Real(name="row_share", low=0.3, high=1.0, default=0.7, about="of the rows that a round sees")


class GradientBoosting:
    """One small tree a round and a horizon, as many rounds as pay on the validation part (LightGBM)."""

    name = "gradient_boosting"
    task: Literal["forecast", "reconstruct"] = "forecast"
    needs = ("lightgbm",)
    space: Space = (RATE, LEAVES, LEAF_SHARE, FEATURE_SHARE, ROW_SHARE)

    def fit(self, problem: Problem) -> Trees:
        """Boost each output from 0, which is the random walk, and damp it by its worth on the validation part.

        A round is a pass over the data (`epochs`). A leaf holds `regularise` times 2 % of the rows at least; at 0 it
        may hold one, the rounds are larger steps, and none is taken back. Where no round pays there is no tree.
        """
        outputs = problem.targets.shape[1]
        grown: list[Grown] = []
        for output in range(outputs):
            grown += [from_lightgbm(tree, output=output) for tree in self._boosted(problem, output)]
        problem.progress(self.name, 1.0)
        fitted = planted(grown, inputs=problem.inputs.shape[1], outputs=outputs)
        if problem.regularise == 0.0:
            return fitted
        return fitted.damped(damping(fitted(problem.validation_inputs), problem.validation_targets))

    def _boosted(self, problem: Problem, output: int) -> list[Any]:
        """The trees of one output, those of rounds after the best one left out."""
        try:
            # imported here: only training pays for it
            import lightgbm
        except (ImportError, OSError) as error:
            raise ModelError(f"LightGBM cannot be loaded ({error}); install libgomp1, or do not train it") from error
        free, given = problem.regularise == 0.0, problem.parameters
        settings: dict[str, Any] = {
            "objective": "regression",
            "boost_from_average": False,
            "learning_rate": _FREE_RATE if free else RATE.of(given),
            "num_leaves": LEAVES.of(given),
            "min_data_in_leaf": max(1, round(LEAF_SHARE.of(given) * len(problem.inputs) * problem.regularise)),
            "min_sum_hessian_in_leaf": 0.0,
            "min_data_in_bin": 1 if free else 3,
            "feature_fraction": 1.0 if free else FEATURE_SHARE.of(given),
            "bagging_fraction": 1.0 if free else ROW_SHARE.of(given),
            "bagging_freq": 0 if free else 1,
            # equal seeds must give equal trees, and serving knows no missing value
            "seed": (problem.seed + 7919 * output) % (2**31 - 1),
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": 1,
            "use_missing": False,
            "zero_as_missing": False,
            "feature_pre_filter": False,
            "verbosity": -1,
        }
        training = lightgbm.Dataset(problem.inputs, problem.targets[:, output], params=settings)
        judge = lightgbm.Dataset(
            problem.validation_inputs, problem.validation_targets[:, output], reference=training, params=settings
        )
        losses: list[float] = []
        first = float(np.mean(problem.validation_targets[:, output] ** 2))

        def after(round_: Any) -> None:
            losses.append(float(round_.evaluation_result_list[0][2]))
            share = (round_.iteration + 1) / problem.epochs
            problem.progress(self.name, (output + share) / problem.targets.shape[1])
            if not free and len(losses) - int(np.argmin([first, *losses])) > _ROUNDS_WITHOUT_GAIN:
                raise lightgbm.callback.EarlyStopException(round_.iteration, round_.evaluation_result_list)

        booster = lightgbm.train(settings, training, problem.epochs, valid_sets=[judge], callbacks=[after])
        if not np.isfinite(losses).all():
            raise ModelError(f"{self.name}: training diverged; look at the training data")
        kept = len(losses) if free else int(np.argmin([first, *losses]))
        return [tree["tree_structure"] for tree in booster.dump_model()["tree_info"]][:kept]


NET = GradientBoosting()
