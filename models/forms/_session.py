"""A graph of ONNX in ONNX Runtime: one thread, the processor alone, weights handed in beside it.

Theory of operation. The graph at rest holds no weights, only their names and shapes; they come as arrays, so that an
artifact's checks see every number. ONNX Runtime keeps pointers to them, which is why they are held here. One thread
and no spinning: a second thread gains nothing on networks this small, and a spinning one takes a core from trading.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bus.errors import ModelError
from models.forms import Tensor

GRAPH = "graph"
WEIGHT = "weight."
Singles = NDArray[np.float32]


class Session:
    """A graph and its weights, ready to be asked. Made at the first question.

    Args:
        graph: the bytes of an ONNX model whose initializers are all external, as uint8.
        weights: the initializers by name, float32.
        provider: of ONNX Runtime, which computes.
    """

    def __init__(
        self, graph: NDArray[np.uint8], weights: Mapping[str, Singles], provider: str = "CPUExecutionProvider"
    ) -> None:
        self.graph = graph
        self.provider = provider
        self.weights = {name: np.ascontiguousarray(weight) for name, weight in weights.items()}

    def on(self, provider: str) -> "Session":
        """The same graph and weights with another provider."""
        return Session(self.graph, self.weights, provider)

    @cached_property
    def _session(self) -> Any:
        # imported here: a process that has no such model does not load the library
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4
        self._held = [onnxruntime.OrtValue.ortvalue_from_numpy(weight) for weight in self.weights.values()]
        options.add_external_initializers(list(self.weights), self._held)
        try:
            session = onnxruntime.InferenceSession(self.graph.tobytes(), options, providers=[self.provider])
        except Exception as error:  # the library's own exceptions have no common ancestor but this
            first = str(error).partition("\n")[0]
            raise ModelError(f"ONNX Runtime does not take the graph ({first}); train the model again") from error
        if self.provider not in session.get_providers():  # it takes the processor instead, and says so in its log alone
            raise ModelError(f"ONNX Runtime cannot start its {self.provider}")
        return session

    def ask(self, **inputs: Singles) -> Singles:
        """The graph's only output for inputs by name.

        Raises:
            ModelError: the graph is none, or takes other inputs.
        """
        session = self._session
        try:
            return session.run(None, inputs)[0]
        except Exception as error:  # as above
            first = str(error).partition("\n")[0]
            raise ModelError(f"ONNX Runtime does not answer ({first}); train the model again") from error

    def tensors(self, prefix: str = "") -> dict[str, Tensor]:
        """Graph and weights by name, for an artifact; `prefix` tells apart the graphs of a form that has several."""
        named = {f"{prefix}{WEIGHT}{name}": weight for name, weight in self.weights.items()}
        return {f"{prefix}{GRAPH}": self.graph} | named


def session_of(tensors: Mapping[str, Tensor], prefix: str = "") -> Session:
    """The session that `Session.tensors` described; arrays of other names are left alone.

    Raises:
        ModelError: no graph, or an array of another type.
    """
    graph, start = tensors.get(f"{prefix}{GRAPH}"), f"{prefix}{WEIGHT}"
    weights = {name.removeprefix(start): each for name, each in tensors.items() if name.startswith(start)}
    if graph is None or graph.dtype != np.uint8 or graph.ndim != 1:
        raise ModelError("no graph among the weights; train the model again")
    if any(weight.dtype != np.float32 for weight in weights.values()):
        raise ModelError("weights of a graph that are not float32; train the model again")
    return Session(graph, weights)


def whole(inputs: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which rows have no NaN, shape (n,): an activation may turn NaN into a number."""
    return np.asarray(~np.isnan(inputs).any(axis=1))
