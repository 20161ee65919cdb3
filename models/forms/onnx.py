"""A network as an ONNX graph that gives an expectation and how sure it is of it, in ONNX Runtime.

The graph takes `inputs`, shape (n, k), and gives one output of shape (n, 2 m): m expectations, then m logarithms of
standard deviations. Expectations are multiplied by `damping`, deviations by `gain`, both learnt on validation data.
Arithmetic is float32: equal batches give equal answers to the bit, and a row asked alone or among others gives the
same to a few millionths.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bus.errors import ModelError
from models.forms import Floats, Settings, Tensor, Traits
from models.forms._session import Session, session_of, whole

TRAITS = Traits(dtypes=("float64", "float32", "uint8"), tolerance=1e-4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Onnx:
    """A graph of ONNX.

    Attributes:
        session: graph and weights.
        inputs: numbers in a row of inputs.
        damping: shape (m,): how much of each expectation is believed, 0 to 1.
        gain: shape (m,): what the deviations are multiplied by.
    """

    session: Session
    inputs: int
    damping: Floats
    gain: Floats

    @property
    def form(self) -> str:
        """This file's name."""
        return "onnx"

    @property
    def outputs(self) -> int:
        """Numbers in a row of outputs."""
        return len(self.damping)

    def __call__(self, inputs: Floats) -> Floats:
        """Expectations of shape (n, m) for inputs of shape (n, k)."""
        return self.measured(inputs)[0]

    def measured(self, inputs: Floats) -> tuple[Floats, Floats]:
        """Expectations and standard deviations, both of shape (n, m)."""
        told = self.session.ask(inputs=inputs.astype(np.float32)).astype(np.float64)
        told[~whole(inputs)] = np.nan
        m = self.outputs
        return told[:, :m] * self.damping, np.exp(told[:, m:]) * self.gain

    def tensors(self) -> dict[str, Tensor]:
        """The arrays by name, for an artifact."""
        return self.session.tensors() | {"damping": self.damping, "gain": self.gain}

    def settings(self) -> Settings:
        """How many numbers the graph takes."""
        return {"inputs": self.inputs}


def restore(tensors: Mapping[str, Tensor], settings: Settings) -> Onnx:
    """The network that `Onnx.tensors` and `Onnx.settings` described.

    Raises:
        ModelError: no graph, one that the library does not take, or numbers that do not fit it.
    """
    inputs, damping, gain = settings.get("inputs"), tensors.get("damping"), tensors.get("gain")
    if not isinstance(inputs, int) or inputs < 1:
        raise ModelError(f"a graph of {inputs!r} inputs; train the model again")
    if damping is None or gain is None or damping.ndim != 1 or damping.shape != gain.shape or not (gain > 0.0).all():
        raise ModelError("no damping and gain that fit each other; train the model again")
    net = Onnx(session=session_of(tensors), inputs=inputs, damping=damping, gain=gain)
    told = net.session.ask(inputs=np.zeros((1, inputs), np.float32))
    if told.shape != (1, 2 * net.outputs):
        raise ModelError(f"a graph that answers {told.shape} to one row; {(1, 2 * net.outputs)} fits; train again")
    return net


FORM = restore
