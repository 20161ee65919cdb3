"""Fully connected layers, in numpy."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bus.errors import ModelError
from models.forms import Floats, Settings

ACTIVATIONS = ("identity", "tanh", "relu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dense:
    """Fully connected layers: `activation` after each but the last, which is linear.

    Attributes:
        weights: shapes (inputs, units) in order.
        biases: shapes (units,) in order.
        activation: one of ACTIVATIONS.
    """

    weights: tuple[Floats, ...]
    biases: tuple[Floats, ...]
    activation: str = "identity"

    @property
    def form(self) -> str:
        """This file's name."""
        return "dense"

    @property
    def inputs(self) -> int:
        """Numbers in a row of inputs."""
        return self.weights[0].shape[0]

    @property
    def outputs(self) -> int:
        """Numbers in a row of outputs."""
        return self.weights[-1].shape[1]

    def __call__(self, inputs: Floats) -> Floats:
        """Outputs of shape (n, m) for inputs of shape (n, k)."""
        values = inputs
        last = len(self.weights) - 1
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            values = values @ weight + bias
            if index < last:
                values = np.tanh(values) if self.activation == "tanh" else _other(values, self.activation)
        return values

    def tensors(self) -> dict[str, Floats]:
        """The arrays by name, for an artifact."""
        named = {f"weight_{index}": weight for index, weight in enumerate(self.weights)}
        return named | {f"bias_{index}": bias for index, bias in enumerate(self.biases)}

    def settings(self) -> Settings:
        """The activation."""
        return {"activation": self.activation}

    def damped(self, factors: Floats) -> "Dense":
        """The same network with each output multiplied by a factor, shape (m,)."""
        return Dense(
            weights=(*self.weights[:-1], self.weights[-1] * factors),
            biases=(*self.biases[:-1], self.biases[-1] * factors),
            activation=self.activation,
        )


def restore(tensors: Mapping[str, Floats], settings: Settings) -> Dense:
    """The network that `Dense.tensors` and `Dense.settings` described.

    Raises:
        ModelError: an activation that is not known, a layer that is missing, or shapes that do not follow on.
    """
    activation = settings.get("activation")
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise ModelError(f"activation {activation!r} is not one of {', '.join(ACTIVATIONS)}; train the model again")
    weights: list[Floats] = []
    biases: list[Floats] = []
    while f"weight_{len(weights)}" in tensors:
        index = len(weights)
        weight, bias = tensors[f"weight_{index}"], tensors.get(f"bias_{index}")
        if weight.ndim != 2 or bias is None or bias.shape != weight.shape[1:]:
            raise ModelError(f"layer {index}: weights of shape {weight.shape} without fitting biases; train again")
        if weights and weights[-1].shape[1] != weight.shape[0]:
            raise ModelError(f"layer {index} takes {weight.shape[0]} values but is given {weights[-1].shape[1]}")
        weights.append(weight)
        biases.append(bias)
    if not weights:
        raise ModelError("no layers in the weights file; train the model again")
    return Dense(weights=tuple(weights), biases=tuple(biases), activation=activation)


FORM = restore


def _other(values: Floats, activation: str) -> Floats:
    return np.maximum(values, 0.0) if activation == "relu" else values
