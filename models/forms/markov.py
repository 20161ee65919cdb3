"""A hidden Markov chain over Gaussian states: which state a window of bars ends in.

Theory of operation. In state k a bar's numbers are independent normals of mean m_k and variance v_k; from bar to bar
the chain moves from i to k with probability A_ik. The filtered probability of k at the newest bar is the forward
algorithm's (Baum and Petrie 1966) over the window, from the chain's start s: proportional to s D_1 A D_2 ... A D_W,
D_t being the states' densities of bar t on a diagonal. The products are combined in pairs, each scaled to a largest
entry of 1, so that nothing underflows and the cost is that of log2 W steps. A window and nothing else decides: there is
no state from bar to bar that a restart could lose. A mixture without a memory is the chain of a window of 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bus.errors import ModelError
from models.forms import Floats, Settings, Tensor

MOST_STATES = 16
_CHUNK = 4096
_PARTS = ("means", "variances", "transition", "start")
_SUM = 1e-6
_LEAST = -300.0
"""Least logarithm of a density that is told from 0, with the bar's largest at 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Markov:
    """States and how the chain moves between them.

    Attributes:
        means: shape (states, k).
        variances: shape (states, k), positive.
        transition: shape (states, states), each row a distribution.
        start: shape (states,), a distribution.
        window: bars in a row of inputs, oldest first.

    Raises:
        ModelError: these are no such chain.
    """

    means: Floats
    variances: Floats
    transition: Floats
    start: Floats
    window: int

    def __post_init__(self) -> None:
        """Check that all fits."""
        states = len(self.start)
        shapes = (self.means.ndim, self.variances.shape, self.transition.shape, self.start.shape)
        if shapes != (2, self.means.shape, (states, states), (len(self.means),)) or self.window < 1:
            raise ModelError("states and transitions of a chain do not fit each other; train again")
        if not 1 <= states <= MOST_STATES or not self.means.shape[1] or not (self.variances > 0.0).all():
            raise ModelError(f"a chain of {states} states, or a variance that is not positive; train again")
        for row in (*self.transition, self.start):
            if (row < 0.0).any() or not abs(float(row.sum()) - 1.0) <= _SUM:
                raise ModelError("probabilities of a chain that do not add up to 1; train again")

    @property
    def form(self) -> str:
        """This file's name."""
        return "markov"

    @property
    def inputs(self) -> int:
        """Numbers in a row of inputs."""
        return self.window * self.means.shape[1]

    @property
    def outputs(self) -> int:
        """States."""
        return len(self.start)

    def __call__(self, inputs: Floats) -> Floats:
        """Probability of each state at the newest bar, shape (n, states), for windows of shape (n, window * k)."""
        out = np.empty((len(inputs), self.outputs))
        for begin in range(0, len(inputs), _CHUNK):
            out[begin : begin + _CHUNK] = self._filtered(inputs[begin : begin + _CHUNK])
        return out

    def _filtered(self, inputs: Floats) -> Floats:
        bars = inputs.reshape(len(inputs), self.window, self.means.shape[1])
        densities = self.log_densities(bars)
        # only their proportions within a bar count; none is so small that a product of two is nothing
        densities = np.exp(np.maximum(densities - densities.max(axis=2, keepdims=True), _LEAST))
        last, ways = self.start * densities[:, 0], self.transition * densities[:, 1:, None, :]
        with np.errstate(invalid="ignore"):  # a chain that cannot have come here says NaN
            while ways.shape[1] > 1:
                even = ways.shape[1] // 2 * 2
                pairs = ways[:, 0:even:2] @ ways[:, 1:even:2]
                ways = np.concatenate((pairs / pairs.max(axis=(2, 3), keepdims=True), ways[:, even:]), axis=1)
            if ways.shape[1]:
                last = (last[:, None, :] @ ways[:, 0])[:, 0]
            return last / last.sum(axis=1, keepdims=True)

    def log_densities(self, bars: Floats) -> Floats:
        """Log density of bars of shape (..., k) in each state, shape (..., states), less the constant they share."""
        apart = (bars[..., None, :] - self.means) ** 2 / self.variances + np.log(self.variances)
        return -0.5 * apart.sum(axis=-1)

    def tensors(self) -> dict[str, Tensor]:
        """The arrays by name, for an artifact."""
        return {name: getattr(self, name) for name in _PARTS}

    def settings(self) -> Settings:
        """Bars in a window."""
        return {"window": self.window}


def restore(tensors: Mapping[str, Tensor], settings: Settings) -> Markov:
    """The chain that `Markov.tensors` and `Markov.settings` described.

    Raises:
        ModelError: an array is missing, or they are no chain.
    """
    missing = [name for name in _PARTS if name not in tensors]
    window = settings.get("window")
    if missing or not isinstance(window, int) or any(tensors[name].ndim < 1 for name in _PARTS):
        raise ModelError(f"a chain of window {window!r} that lacks {', '.join(missing) or 'shapes'}; train again")
    return Markov(**{name: tensors[name] for name in _PARTS}, window=window)


FORM = restore
