"""Scalers: raw features to numbers of one size, fitted once on training rows, stored as JSON. Numpy alone.

Three kinds. `standard` takes off the mean and divides by the standard deviation. `robust` takes off the median and
divides by the middle half's width in normal sigmas, so that a few wild rows cannot squeeze all others. `quantile` puts
each value at the normal score of its rank in training, whatever the distribution was.

All three hold what they give within +-limit, switch off a feature that never varied in training (a constant that turns
up with another value later, a spread say, cannot push a model where it has never been), and hand NaN on. A scaler
knows nothing but the rows it was fitted on; `models.train` gives it the rows that weights are fitted on and no others.

JSON carries floats in their shortest exact form, so what is read back scales to the same bits.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from bus.errors import ModelError

Floats = NDArray[np.float64]
Kind = Literal["standard", "robust", "quantile"]

SCHEMA = 1
LIMIT = 6.0
LEVELS = 101
"""Quantiles that the quantile scaler keeps of each feature."""

_FLAT = 1e-9
_MIDDLE_HALF = 2.0 * NormalDist().inv_cdf(0.75)
"""Width of the middle half of a normal distribution, in standard deviations."""


class AffineState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="affine",
                  tag_field="form"):  # fmt: skip
    """(x - centre) * gain, held within +-limit. One number a feature."""

    kind: Literal["standard", "robust"]
    centre: tuple[float, ...]
    gain: tuple[float, ...]
    limit: float
    schema: int = SCHEMA


class QuantileState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="quantile",
                    tag_field="form"):  # fmt: skip
    """Straight lines through (knot, score), held within +-limit. One pair of tuples a feature, knots rising."""

    knots: tuple[tuple[float, ...], ...]
    scores: tuple[tuple[float, ...], ...]
    limit: float
    schema: int = SCHEMA


State = AffineState | QuantileState


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaler:
    """The standard and the robust scaler: (x - centre) * gain, held within +-limit; gain 0 = switched off."""

    centre: Floats
    gain: Floats
    limit: float = LIMIT
    kind: Literal["standard", "robust"] = "standard"

    def __call__(self, inputs: Floats) -> Floats:
        """Shape (n, k) to shape (n, k)."""
        return np.clip((inputs - self.centre) * self.gain, -self.limit, self.limit)

    def __len__(self) -> int:
        """Number of features."""
        return len(self.centre)

    def state(self) -> State:
        """What JSON stores."""
        return AffineState(
            kind=self.kind, centre=tuple(self.centre.tolist()), gain=tuple(self.gain.tolist()), limit=self.limit
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantileScaler:
    """Normal scores of ranks: lines through (knot, score) a feature, flat beyond the ends, held within +-limit.

    Equal values share the mean score of their ranks; a feature that never or hardly varied has one knot, of score 0.
    """

    knots: tuple[Floats, ...]
    scores: tuple[Floats, ...]
    limit: float = LIMIT
    kind: Literal["quantile"] = field(default="quantile", init=False)

    def __call__(self, inputs: Floats) -> Floats:
        """Shape (n, k) to shape (n, k)."""
        scaled = np.empty(inputs.shape)
        for column, (knots, scores) in enumerate(zip(self.knots, self.scores, strict=True)):
            scaled[:, column] = np.interp(inputs[:, column], knots, scores)
        return np.clip(scaled, -self.limit, self.limit)

    def __len__(self) -> int:
        """Number of features."""
        return len(self.knots)

    def state(self) -> State:
        """What JSON stores."""
        return QuantileState(
            knots=tuple(tuple(knots.tolist()) for knots in self.knots),
            scores=tuple(tuple(scores.tolist()) for scores in self.scores),
            limit=self.limit,
        )


AnyScaler = Scaler | QuantileScaler


def fit(kind: Kind, inputs: Floats, *, limit: float = LIMIT) -> AnyScaler:
    """The scaler of training rows.

    Args:
        kind: `standard`, `robust` or `quantile`.
        inputs: shape (n, k), finite, the rows that a model is fitted on and no others.
        limit: largest size of what the scaler gives.

    Raises:
        ModelError: no rows, or a number that is not finite.
    """
    if inputs.ndim != 2 or not len(inputs) or not np.isfinite(inputs).all():
        raise ModelError(f"inputs of shape {inputs.shape}: no rows, or not finite; leave out rows with short history")
    if kind == "quantile":
        fitted = [_ranks(np.ascontiguousarray(inputs[:, column])) for column in range(inputs.shape[1])]
        return QuantileScaler(knots=tuple(k for k, _ in fitted), scores=tuple(s for _, s in fitted), limit=limit)
    deviation = inputs.std(axis=0)
    if kind == "standard":
        centre, width = inputs.mean(axis=0), deviation
    else:
        low, centre, high = np.quantile(inputs, (0.25, 0.5, 0.75), axis=0)
        # a flag that is mostly 0 has a middle half of one value: its deviation takes over
        width = np.where(high - low < 1e-6 * deviation, deviation, (high - low) / _MIDDLE_HALF)
    flat = deviation < _FLAT
    gain = np.where(flat, 0.0, 1.0 / np.where(flat, 1.0, width))
    return Scaler(centre=centre, gain=gain, limit=limit, kind="standard" if kind == "standard" else "robust")


def to_json(scaler: AnyScaler) -> bytes:
    """The scaler as JSON, exactly."""
    return msgspec.json.encode(scaler.state())


def from_json(data: bytes) -> AnyScaler:
    """The scaler that `to_json` wrote.

    Raises:
        ModelError: not such JSON, another schema, or numbers that cannot be a scaler's.
    """
    try:
        state = msgspec.json.decode(data, type=State)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ModelError(f"scaler not understood ({error}); train the model again") from error
    return scaler_of(state)


def scaler_of(state: State) -> AnyScaler:
    """The scaler of a stored state.

    Raises:
        ModelError: another schema, or numbers that cannot be a scaler's.
    """
    if state.schema != SCHEMA:
        raise ModelError(f"scaler of schema {state.schema}, this release reads {SCHEMA}; train the model again")
    if not 0.0 < state.limit < math.inf:
        raise ModelError(f"scaler with limit {state.limit}; train the model again")
    if isinstance(state, AffineState):
        centre, gain = np.array(state.centre, np.float64), np.array(state.gain, np.float64)
        if (
            centre.shape != gain.shape
            or not (np.isfinite(centre).all() and np.isfinite(gain).all())
            or (gain < 0).any()
        ):
            raise ModelError(f"scaler with {len(centre)} centres and {len(gain)} gains, or not finite; train again")
        return Scaler(centre=centre, gain=gain, limit=state.limit, kind=state.kind)
    if len(state.knots) != len(state.scores) or not all(map(_fits, state.knots, state.scores)):
        raise ModelError("scaler whose knots and scores do not rise together; train the model again")
    return QuantileScaler(
        knots=tuple(np.array(knots, np.float64) for knots in state.knots),
        scores=tuple(np.array(scores, np.float64) for scores in state.scores),
        limit=state.limit,
    )


def _fits(knots: Sequence[float], scores: Sequence[float]) -> bool:
    x, y = np.array(knots, np.float64), np.array(scores, np.float64)
    finite = bool(np.isfinite(x).all() and np.isfinite(y).all())
    return 0 < len(x) == len(y) and finite and bool((np.diff(x) > 0.0).all() and (np.diff(y) > 0.0).all())


def _ranks(values: Floats) -> tuple[Floats, Floats]:
    """Knots and normal scores of one feature."""
    levels = (np.arange(LEVELS) + 0.5) / LEVELS
    drawn = np.quantile(values, levels, method="inverted_cdf")
    if drawn[-1] - drawn[0] < _FLAT:
        return drawn[LEVELS // 2 :][:1], np.zeros(1)
    scores = np.array([NormalDist().inv_cdf(level) for level in levels.tolist()])
    knots, which, count = np.unique(drawn, return_inverse=True, return_counts=True)
    return knots, np.bincount(which, scores) / count
