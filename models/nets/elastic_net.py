"""A linear forecaster between ridge and lasso, which keeps groups of features that move together."""

from typing import Literal

from models.contract import Problem
from models.forms.dense import Dense
from models.nets._linear import fit_path


class ElasticNet:
    """Linear, half L1 and half L2 penalty for each horizon, chosen on the validation part."""

    name = "elastic_net"
    task: Literal["forecast", "reconstruct"] = "forecast"
    needs = ("sklearn",)

    def fit(self, problem: Problem) -> Dense:
        """Follow the path of penalties, keep the best of each output, damp it by its worth."""
        return fit_path(problem, name=self.name, l1_ratio=0.5)


NET = ElasticNet()
