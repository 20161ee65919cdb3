"""A linear forecaster that uses few features: least squares with an L1 penalty."""

from typing import Literal

from models.contract import Problem
from models.forms.dense import Dense
from models.nets._linear import WEAKEST, fit_path
from models.space import Space


class Lasso:
    """Linear, most weights exactly 0: an L1 penalty for each horizon, chosen on the validation part."""

    name = "lasso"
    task: Literal["forecast", "reconstruct"] = "forecast"
    needs = ("sklearn",)
    space: Space = (WEAKEST,)

    def fit(self, problem: Problem) -> Dense:
        """Follow the path of penalties, keep the best of each output, damp it by its worth."""
        return fit_path(problem, name=self.name, l1_ratio=1.0)


NET = Lasso()
