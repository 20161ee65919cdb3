"""A linear forecaster between ridge and lasso, which keeps groups of features that move together."""

from typing import Literal

from models.contract import Problem
from models.forms.dense import Dense
from models.nets._linear import WEAKEST, fit_path
from models.space import Real, Space

L1_SHARE = Real(name="l1_share", low=0.05, high=0.95, default=0.5, about="of the penalty, the rest is L2")


class ElasticNet:
    """Linear, half L1 and half L2 penalty for each horizon, chosen on the validation part."""

    name = "elastic_net"
    task: Literal["forecast", "reconstruct"] = "forecast"
    needs = ("sklearn",)
    space: Space = (L1_SHARE, WEAKEST)

    def fit(self, problem: Problem) -> Dense:
        """Follow the path of penalties, keep the best of each output, damp it by its worth."""
        return fit_path(problem, name=self.name, l1_ratio=L1_SHARE.of(problem.parameters))


NET = ElasticNet()
