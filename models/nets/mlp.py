"""A small neural forecaster: two tanh layers, early stopping, damped by what it is worth on validation data."""

from typing import Literal

from models.contract import Problem
from models.forms.dense import Dense
from models.nets._sklearn import damping, train_perceptron


class Perceptron:
    """k features to m expected returns through 32 and 16 units."""

    name = "mlp"
    task: Literal["forecast", "reconstruct"] = "forecast"
    needs = ("sklearn",)

    def fit(self, problem: Problem) -> Dense:
        """Train with a strong penalty, take the best epoch, damp each horizon."""
        net = train_perceptron(problem, name=self.name, hidden=(32, 16), penalty=10.0, learning_rate=1e-3)
        if problem.regularise == 0.0:
            return net
        return net.damped(damping(net(problem.validation_inputs), problem.validation_targets))


NET = Perceptron()
