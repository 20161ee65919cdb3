"""Conformalised quantile regression, for forecasts that come as quantiles (Romano, Patterson and Candes 2019).

The score of a level's pair is max(lower - actual, actual - upper) / scale: negative where the truth lay well inside.
The band is [lower - q scale, upper + q scale] with q the exact quantile of the scores; a negative q makes it narrower
than the forecast said. Where that lets the limits cross, nothing is between them: the band is empty, told as zero width
at the middle, and counted. Each level has scores and an adaptation of its own, as each has a pair of its own.
"""

import math
from collections.abc import Sequence

import msgspec

from bus.errors import DataError
from bus.messages import Band
from bus.values import LARGEST
from models.conformal.adaptation import Adaptation, AdaptationState, Fixed, Method
from models.conformal.calibrator import check_levels, miss_of, restored
from models.conformal.window import CAPACITY, RollingScores, check

Pair = tuple[int, int]


def cqr_score(actual_e5: int, lower_e5: int, upper_e5: int, scale_e5: int = 1) -> float:
    """max(lower - actual, actual - upper) / scale; `scale_e5` below 1 counts as 1."""
    return max(lower_e5 - actual_e5, actual_e5 - upper_e5) / max(scale_e5, 1)


class CqrState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything of a `CqrCalibrator`; `scores` has one window a level."""

    levels_ppm: tuple[int, ...]
    adaptations: tuple[AdaptationState, ...]
    scores: tuple[tuple[float, ...], ...]
    capacity: int
    unbounded: int
    empty: int


class CqrCalibrator:
    """Bands around pairs of quantiles. An adaptation that multiplies (`Pid`) does not fit scores that may be negative.

    Args:
        levels_ppm: nominal coverages in millionths, widest first.
        scores: a level, in time order.
        method: makes each level's adaptation: `Fixed`, `Aci` or `DtAci`.
        capacity: length of the windows.

    Attributes:
        unbounded: bands given that were the whole line.
        empty: bands given whose limits crossed, and told as zero width.
    """

    __slots__ = ("_adaptations", "_levels_ppm", "_windows", "empty", "unbounded")

    def __init__(
        self,
        levels_ppm: Sequence[int],
        scores: Sequence[Sequence[float]] = (),
        *,
        method: Method = Fixed,
        capacity: int = CAPACITY,
    ) -> None:
        check_levels(levels_ppm)
        if scores and len(scores) != len(levels_ppm):
            raise ValueError(f"scores of {len(scores)} levels for {len(levels_ppm)}; give one sequence a level")
        self._levels_ppm = tuple(levels_ppm)
        known = scores or [()] * len(levels_ppm)
        self._windows = tuple(RollingScores(capacity, each, signed=True) for each in known)
        self._adaptations: tuple[Adaptation, ...] = tuple(method(miss_of(level)) for level in levels_ppm)
        self.unbounded = 0
        self.empty = 0

    def interval(self, pairs: Sequence[Pair], scale_e5: int = 1) -> tuple[Band, ...]:
        """One band a level, each at least as wide on either side as the levels behind it, rounded outwards.

        Args:
            pairs: lower and upper quantile a level, in the order of the levels.
            scale_e5: what scores are measured in.
        """
        scale_e5 = max(scale_e5, 1)
        bands: list[Band] = []
        inner: Band | None = None
        for index in reversed(range(len(self._levels_ppm))):
            inner = self._band(index, pairs[index], scale_e5, inner)
            bands.append(inner)
        bands.reverse()
        return tuple(bands)

    def ticket(self) -> tuple[tuple[float, ...], ...]:
        """What to keep with a band issued now and hand back with its truth."""
        return tuple(adaptation.ticket() for adaptation in self._adaptations)

    def update(
        self, values: Sequence[float], covered: Sequence[bool], ticket: tuple[tuple[float, ...], ...] = ()
    ) -> None:
        """Learn a truth when it has arrived.

        Args:
            values: `cqr_score` a level, of the pairs as they were issued.
            covered: whether each band, as it was issued, held the truth.
            ticket: of the moment of issue.

        Raises:
            DataError: a score is NaN or infinite; nothing is learnt.
        """
        for value in values:
            check(value, signed=True)
        for index, (adaptation, window) in enumerate(zip(self._adaptations, self._windows, strict=True)):
            err = 0.0 if covered[index] else 1.0
            adaptation.learn(err, values[index], window, ticket[index] if ticket else ())
            window.add(values[index])

    def state(self) -> CqrState:
        """Everything, for `restore`."""
        return CqrState(
            levels_ppm=self._levels_ppm,
            adaptations=tuple(adaptation.state() for adaptation in self._adaptations),
            scores=tuple(window.in_time_order() for window in self._windows),
            capacity=self._windows[0].capacity,
            unbounded=self.unbounded,
            empty=self.empty,
        )

    @classmethod
    def restore(cls, state: CqrState) -> "CqrCalibrator":
        """Continue, bit-equal.

        Raises:
            DataError: parts that do not fit each other, or scores that are none.
        """
        if not len(state.adaptations) == len(state.levels_ppm) == len(state.scores):
            raise DataError("a calibrator's state contradicts itself; start it afresh from its model's scores")
        made = cls(state.levels_ppm, state.scores, capacity=state.capacity)
        made._adaptations = tuple(restored(each) for each in state.adaptations)
        made.unbounded, made.empty = state.unbounded, state.empty
        return made

    def _band(self, index: int, pair: Pair, scale_e5: int, inner: Band | None) -> Band:
        level_ppm = self._levels_ppm[index]
        shift = self._adaptations[index].threshold(self._windows[index]) * scale_e5
        if shift > LARGEST or (inner is not None and not inner.bounded):
            self.unbounded += 1
            return Band(level_ppm=level_ppm, lower_e5=0, upper_e5=LARGEST, bounded=False)
        lower, upper = pair[0] - shift, pair[1] + shift
        if lower > upper:
            self.empty += 1
            middle = (pair[0] + pair[1]) // 2
            lower_e5, upper_e5 = middle, middle
        else:
            lower_e5, upper_e5 = math.floor(lower), math.ceil(upper)
        if inner is not None:
            lower_e5, upper_e5 = min(lower_e5, inner.lower_e5), max(upper_e5, inner.upper_e5)
        return Band(level_ppm=level_ppm, lower_e5=lower_e5, upper_e5=upper_e5, bounded=True)
