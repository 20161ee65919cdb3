"""What a network, a forecaster and a detector must do. Shapes and units are part of the promise.

Adding an architecture is one file in `models/nets` with a module attribute `NET` that fulfils `Net`; the contract suite
(`tests/contracts/test_forecaster_contract.py`) finds it and runs on it. Training may import learning libraries inside
`fit`; what it returns is a form (`models.forms`), which is arrays and settings and answers in the daemon's service.
A network that looks at sequences, or at features of its own, says so in `demands`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from models.chart import Chart
from models.forms import Form
from models.learning import DEFAULT, UNATTENDED, Job, Learning
from models.space import Space, Value

Floats = NDArray[np.float64]

Progress = Callable[[str, float], None]
"""Called with a stage and the share of it that is done, 0 to 1."""


Report = Callable[[int, float], None]
"""Called after each epoch with its number, from 1, and its loss on the validation part; may raise `Pruned`."""


def no_progress(_stage: str, _share: float) -> None:
    """Tell nobody."""


def no_report(_epoch: int, _loss: float) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What a network is to learn.

    Attributes:
        inputs: standardised, finite; shape (n, k), or (n, window, k) for a network that looks at a window of bars,
            oldest first, whose rows may then share memory and are not to be written to.
        targets: shape (n, m), in sigma units, finite. A reconstruction has targets equal to its inputs.
        validation_inputs: v rows likewise; decides when to stop and how strongly to regularise, never trained on.
        validation_targets: shape (v, m).
        seed: every random number comes from it; equal seeds on one machine give equal weights.
        regularise: 1 = as designed, pulled hard towards 0, which is the random walk; 0 = not at all.
        epochs: most passes over the data, for networks that make passes.
        progress: told the network's name and the share done.
        learning: how, for networks that are trained with torch.
        job: where such a training keeps what it needs to go on, whom it tells, and whom it obeys.
        parameters: of the network itself, by the names of its `space`; what is not given has its default.
        report: told every epoch's loss by networks that learn in epochs.
    """

    inputs: Floats
    targets: Floats
    validation_inputs: Floats
    validation_targets: Floats
    seed: int
    regularise: float = 1.0
    epochs: int = 60
    progress: Progress = no_progress
    learning: Learning = DEFAULT
    job: Job = UNATTENDED
    parameters: Mapping[str, Value] = field(default_factory=dict[str, Value])
    report: Report = no_report


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """What a network wants to see. The defaults are those of a network that says nothing.

    Attributes:
        window: bars of features in an input, oldest first; 1 = the newest bar's alone.
        feature_names: what it looks at where training was not told; empty = what all look at.
    """

    window: int = 1
    feature_names: tuple[str, ...] = ()


class Net(Protocol):
    """An architecture that can be trained. It may have attributes `demands` (see `Demands`) and `space`.

    `space` holds what may be chosen of it (`models.space`); `fit` reads the values from `Problem.parameters`.
    """

    @property
    def name(self) -> str:
        """Lower-case name; the artifact's id starts with it."""
        ...

    @property
    def task(self) -> Literal["forecast", "reconstruct"]:
        """Whether it forecasts targets from features or reconstructs windows of candles."""
        ...

    @property
    def needs(self) -> tuple[str, ...]:
        """Packages that `fit` imports, by the name they are imported by."""
        ...

    def fit(self, problem: Problem) -> Form:
        """Learn, deterministically for a seed, on one thread.

        Raises:
            ModelError: training gave something that is not finite.
        """
        ...


def demands_of(net: Net) -> Demands:
    """What a network wants: its `demands`, or the defaults."""
    return getattr(net, "demands", Demands())


def space_of(net: Net) -> Space:
    """What may be chosen of a network; nothing where it does not say."""
    return getattr(net, "space", ())


class Forecaster(Protocol):
    """A trained forecaster, as serving asks it. Stateless: the same features give the same answer, to the bit."""

    def __call__(self, inputs: Floats) -> Floats:
        """Expected log return of each horizon in units of sigma sqrt(horizon).

        Args:
            inputs: shape (n, k), features as `models.features` gives them, or (n, window * k), oldest bar first; a row
                with NaN gives NaN.

        Returns:
            Shape (n, m), one column a horizon; 0 is the random walk.
        """
        ...

    def measured(self, inputs: Floats) -> tuple[Floats, Floats | None]:
        """The same, and the standard deviation of each in the same units; None where the forecaster tells none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A named pattern that the newest bar completes.

    Attributes:
        confidence: 0 to 1: 0 where one of the inequalities of the geometry is kept with nothing to spare, 1 where all
            are at or past the ideal that the detector states (`models.chart.grade`, `least`). It speaks about shape;
            it is no probability and says nothing about what comes after.
        bars: positions in the chart of the bars that carry the geometry, newest first, the newest bar first of all.
    """

    confidence: float
    bars: tuple[int, ...]


Detector = Callable[[Chart], Sighting | None]
"""Looks at the newest bars of a chart, bullish side up, and says what the newest one completes, or None.

Pure and total: too few bars, or bars that do not move, give None. A formation is told once, at the bar that completes
it, which the detector finds out from the chart alone. The docstring states the geometry as inequalities in ATRs, and
what the confidence grows with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """A chart pattern and its reflection.

    Attributes:
        detect: the detector.
        bullish: name of what it finds on the upright chart.
        bearish: name of what it finds on the mirrored one; empty for a pattern without a direction, which is looked
            for on the upright chart alone.
    """

    detect: Detector
    bullish: str
    bearish: str

    @property
    def sides(self) -> tuple[tuple[str, int], ...]:
        """Its names, each with its direction: 1 bullish, -1 bearish, 0 neither."""
        if not self.bearish:
            return ((self.bullish, 0),)
        return ((self.bullish, 1), (self.bearish, -1))
