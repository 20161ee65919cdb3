"""A small neural forecaster: two tanh layers, early stopping, damped by what it is worth on validation data."""

from typing import Literal

from models.contract import Problem
from models.forms.dense import Dense
from models.nets._sklearn import damping, train_perceptron
from models.space import Real, Space, Whole

HIDDEN = Whole(name="hidden", low=8, high=128, step=8, default=32, about="units of the first layer, twice the second's")
PENALTY = Real(name="penalty", low=0.1, high=1000.0, default=10.0, log=True, about="L2, scikit-learn's alpha")
RATE = Real(name="rate", low=1e-4, high=1e-2, default=1e-3, log=True, about="first step size of Adam")


class Perceptron:
    """k features to m expected returns through 32 and 16 units."""

    name = "mlp"
    task: Literal["forecast", "reconstruct"] = "forecast"
    needs = ("sklearn",)
    space: Space = (HIDDEN, PENALTY, RATE)

    def fit(self, problem: Problem) -> Dense:
        """Train with a strong penalty, take the best epoch, damp each horizon."""
        given = problem.parameters
        hidden = HIDDEN.of(given)
        net = train_perceptron(problem, name=self.name, hidden=(hidden, hidden // 2), penalty=PENALTY.of(given),
                               learning_rate=RATE.of(given))  # fmt: skip
        if problem.regularise == 0.0:
            return net
        return net.damped(damping(net(problem.validation_inputs), problem.validation_targets))


NET = Perceptron()
