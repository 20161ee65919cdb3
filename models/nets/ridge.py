"""A linear forecaster: ridge regression through the origin, its penalty chosen on the validation part."""

from typing import Literal

import numpy as np
from threadpoolctl import threadpool_limits

from models.contract import Problem
from models.forms.dense import Dense
from models.nets._sklearn import damping
from models.space import Real, Space

_PENALTIES = (30.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0)
_LEAST_PENALTY = 1e-8

SCALE = Real(name="penalty_scale", low=0.01, high=100.0, default=1.0, log=True, about="of the penalties that are tried")


class Ridge:
    """y = x W without an intercept, so that an ever larger penalty ends at 0, the random walk."""

    name = "ridge"
    task: Literal["forecast", "reconstruct"] = "forecast"
    needs = ("sklearn",)
    space: Space = (SCALE,)

    def fit(self, problem: Problem) -> Dense:
        """Fit one penalty after another, keep the best on the validation part, damp it by its worth there."""
        # imported here: only training pays for it
        from sklearn.linear_model import Ridge as Regression

        strength = SCALE.of(problem.parameters) * problem.regularise
        penalties = [max(penalty * strength, _LEAST_PENALTY) for penalty in _PENALTIES]
        best, best_loss = None, np.inf
        with threadpool_limits(limits=1):
            for done, penalty in enumerate(penalties, 1):
                model = Regression(alpha=penalty, fit_intercept=False, solver="cholesky")
                model.fit(problem.inputs, problem.targets)
                weight = np.array(model.coef_, np.float64).reshape(problem.targets.shape[1], -1).T
                candidate = Dense(weights=(np.ascontiguousarray(weight),), biases=(np.zeros(weight.shape[1]),))
                loss = float(np.mean((candidate(problem.validation_inputs) - problem.validation_targets) ** 2))
                if best is None or loss < best_loss:
                    best, best_loss = candidate, loss
                problem.progress(self.name, done / len(penalties))
        assert best is not None
        if problem.regularise == 0.0:
            return best
        return best.damped(damping(best(problem.validation_inputs), problem.validation_targets))


NET = Ridge()
