"""What a network, a forecaster and a detector must do. Shapes and units are part of the promise.

Adding an architecture is one file in `models/nets` with a module attribute `NET` that fulfils `Net`; the contract suite
(`tests/contracts/test_forecaster_contract.py`) finds it and runs on it. Training may import learning libraries inside
`fit`; what it returns is a `Dense` (or another class that `models.forward` knows by name), which needs numpy alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from models.columns import Columns
from models.forward import Dense

Floats = NDArray[np.float64]

Progress = Callable[[str, float], None]
"""Called with a stage and the share of it that is done, 0 to 1."""


def no_progress(_stage: str, _share: float) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What a network is to learn.

    Attributes:
        inputs: shape (n, k), standardised, finite.
        targets: shape (n, m), in sigma units, finite. A reconstruction has targets equal to its inputs.
        validation_inputs: shape (v, k); decides when to stop and how strongly to regularise, never trained on.
        validation_targets: shape (v, m).
        seed: every random number comes from it; equal seeds on one machine give equal weights.
        regularise: 1 = as designed, pulled hard towards 0, which is the random walk; 0 = not at all.
        epochs: most passes over the data, for networks that make passes.
        progress: told the network's name and the share done.
    """

    inputs: Floats
    targets: Floats
    validation_inputs: Floats
    validation_targets: Floats
    seed: int
    regularise: float = 1.0
    epochs: int = 60
    progress: Progress = no_progress


class Net(Protocol):
    """An architecture that can be trained."""

    @property
    def name(self) -> str:
        """Lower-case name; the artifact's id starts with it."""
        ...

    @property
    def task(self) -> Literal["forecast", "reconstruct"]:
        """Whether it forecasts targets from features or reconstructs windows of candles."""
        ...

    def fit(self, problem: Problem) -> Dense:
        """Learn, deterministically for a seed, on one thread.

        Raises:
            ModelError: training gave something that is not finite.
        """
        ...


class Forecaster(Protocol):
    """A trained forecaster, as serving asks it. Stateless: the same features give the same answer, to the bit."""

    def __call__(self, inputs: Floats) -> Floats:
        """Expected log return of each horizon in units of sigma sqrt(horizon).

        Args:
            inputs: shape (n, k), features as `models.features` gives them; a row with NaN gives NaN.

        Returns:
            Shape (n, m), one column a horizon; 0 is the random walk.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A named pattern in the newest candles.

    Attributes:
        name: for instance `bullish_engulfing`.
        confidence: 0 to 1, by the geometry that the detector states.
        candles: offsets of the candles that form it, 0 = newest.
    """

    name: str
    confidence: float
    candles: tuple[int, ...]


Detector = Callable[[Columns], Sighting | None]
"""Looks at the newest candles and says what it sees, or None. Pure, and total: too few bars give None."""
