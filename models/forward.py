"""A model as an artifact stores it: the scaler and the network behind it. Imports no learning library."""

from collections.abc import Mapping
from dataclasses import dataclass

from bus.errors import ModelError
from models.forms import Floats, Form, Measured, Settings, Tensor, restore
from models.scalers import AnyScaler, State, scaler_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """Scaler and network.

    Attributes:
        scaler: of the k features of one bar.
        net: takes k numbers, or window times k.
        window: bars in an input: 1 for a network that looks at the newest bar's features alone, more for one that
            looks at a sequence, oldest bar first.
    """

    scaler: AnyScaler
    net: Form
    window: int = 1

    def __call__(self, inputs: Floats) -> Floats:
        """Outputs of shape (n, m) for raw inputs of shape (n, window * k); NaN in, NaN out."""
        return self.net(self.scaled(inputs))

    def measured(self, inputs: Floats) -> tuple[Floats, Floats | None]:
        """Outputs, and the standard deviation of each where the network tells it (None where not); NaN as above."""
        scaled = self.scaled(inputs)
        return self.net.measured(scaled) if isinstance(self.net, Measured) else (self.net(scaled), None)

    def scaled(self, inputs: Floats) -> Floats:
        """What the network is given for raw inputs of shape (n, window * k)."""
        if self.window == 1:
            return self.scaler(inputs)
        scaled = self.scaler(inputs.reshape(len(inputs) * self.window, len(self.scaler)))
        return scaled.reshape(inputs.shape)


def pipeline_from(
    form: str, settings: Settings, tensors: Mapping[str, Tensor], scaler: State, window: int = 1
) -> Pipeline:
    """The pipeline whose `net.form`, `net.settings()`, `net.tensors()` and `scaler.state()` these are.

    Raises:
        ModelError: an array is missing or has a shape that does not fit, or the scaler is not sound.
    """
    net, scaling = restore(form, tensors, settings), scaler_of(scaler)
    if window < 1 or len(scaling) * window != net.inputs:
        raise ModelError(
            f"{window} bars of {len(scaling)} scaled features for a network of {net.inputs} inputs; train again"
        )
    return Pipeline(scaler=scaling, net=net, window=window)
