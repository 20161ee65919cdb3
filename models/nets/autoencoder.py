"""The candlestick autoencoder: squeezes a window of candles through a few numbers and redraws it."""

from typing import Literal

from models.contract import Problem
from models.forms.dense import Dense
from models.nets._sklearn import train_perceptron


class Autoencoder:
    """A window (200 numbers) through 64, 12 and 64 units. What it redraws badly is unlike what it was trained on."""

    name = "autoencoder"
    task: Literal["forecast", "reconstruct"] = "reconstruct"
    needs = ("sklearn",)

    def fit(self, problem: Problem) -> Dense:
        """Train to redraw the inputs; the best epoch on the validation part."""
        return train_perceptron(problem, name=self.name, hidden=(64, 12, 64), penalty=1e-3, learning_rate=2e-3)


NET = Autoencoder()
