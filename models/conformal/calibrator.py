"""Intervals of every level for one (symbol, model, horizon): a window of scores, and an adaptation a level."""

import math
from collections.abc import Iterable, Sequence

import msgspec

from bus.errors import DataError
from bus.messages import Band
from bus.values import LARGEST
from models.conformal.adaptation import Aci, AciState, Adaptation, AdaptationState, Fixed, FixedState, Method
from models.conformal.dtaci import DtAci
from models.conformal.pid import Pid, PidState
from models.conformal.window import CAPACITY, RollingScores, check

_MILLION = 1_000_000

Ticket = tuple[tuple[float, ...], ...]


def step_for(horizon: int) -> float:
    """The default step of the online adaptation: 0.06 / horizon^1.3.

    Overlapping labels miss in clusters of about the horizon, so a step that suits one bar would be taken that many
    times for one piece of news. Chosen on the hours of ten pairs up to 2020 (`docs/calibration.md`).
    """
    return 0.06 / horizon**1.3


def stride_for(horizon: int) -> int:
    """Of how many overlapping labels one score is kept: a quarter of the horizon, at least 1."""
    return max(1, horizon // 4)


def kept(scores: Sequence[float], horizon: int) -> tuple[float, ...]:
    """The scores of a history that a default calibrator of this horizon would keep, in time order."""
    newest_first = scores[::-1][:: stride_for(horizon)][:CAPACITY]
    return tuple(newest_first[::-1])


def calibrator(levels_ppm: Sequence[int], horizon: int, scores: Iterable[float] = ()) -> "Calibrator":
    """The default calibrator of a horizon; `scores` as `kept` gives them."""
    step = step_for(horizon)
    return Calibrator(levels_ppm, scores, method=lambda target: Pid(target, step), stride=stride_for(horizon))


class CalibratorState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything of a `Calibrator`; `waiting` counts the labels until the next score is kept."""

    levels_ppm: tuple[int, ...]
    adaptations: tuple[AdaptationState, ...]
    scores: tuple[float, ...]
    capacity: int
    stride: int
    waiting: int
    unbounded: int
    empty: int


class Calibrator:
    """Intervals for one (symbol, model, horizon).

    Args:
        levels_ppm: nominal coverages in millionths (900000 = 90 %), in the order of the bands, widest first.
        scores: scores that are known already, in time order; the newest `capacity` count.
        method: makes each level's adaptation from its nominal miscoverage.
        capacity: length of the window.
        stride: of how many scores one is kept.

    Attributes:
        adaptations: one a level.
        unbounded: bands given that were the whole line.
        empty: bands given that were empty, and told as zero width.
    """

    __slots__ = ("_levels_ppm", "_scores", "_stride", "_waiting", "adaptations", "empty", "unbounded")

    def __init__(
        self,
        levels_ppm: Sequence[int],
        scores: Iterable[float] = (),
        *,
        method: Method = Fixed,
        capacity: int = CAPACITY,
        stride: int = 1,
    ) -> None:
        check_levels(levels_ppm)
        if stride < 1:
            raise ValueError(f"a stride of {stride}; it must be at least 1")
        self._levels_ppm = tuple(levels_ppm)
        self._scores = RollingScores(capacity, scores)
        self._stride = stride
        self._waiting = stride
        self.adaptations: tuple[Adaptation, ...] = tuple(method(miss_of(level)) for level in levels_ppm)
        self.unbounded = 0
        self.empty = 0

    def __len__(self) -> int:
        """Scores in the window."""
        return len(self._scores)

    def thresholds(self) -> tuple[float, ...]:
        """The largest score each level's next band holds; a higher level's is never below a lower level's."""
        return nested(self.adaptations, self._scores)

    def interval(self, point_e5: int, scale_e5: float) -> tuple[Band, ...]:
        """One band a level. Limits are rounded outwards; an unbounded band spans every price there is.

        Args:
            point_e5: the forecast.
            scale_e5: what its score will be measured in; below 1 counts as 1.
        """
        scale_e5 = max(scale_e5, 1)
        bands: list[Band] = []
        for level_ppm, threshold in zip(self._levels_ppm, self.thresholds(), strict=True):
            half = threshold * scale_e5
            if half > LARGEST:
                self.unbounded += 1
                bands.append(Band(level_ppm=level_ppm, lower_e5=0, upper_e5=LARGEST, bounded=False))
                continue
            if half < 0:
                self.empty += 1
                half = 0.0
            half_e5 = math.ceil(half)
            bands.append(
                Band(level_ppm=level_ppm, lower_e5=point_e5 - half_e5, upper_e5=point_e5 + half_e5, bounded=True)
            )
        return tuple(bands)

    def ticket(self) -> Ticket:
        """What to keep with a band issued now and hand back with its truth."""
        return tuple(adaptation.ticket() for adaptation in self.adaptations)

    def update(self, value: float, covered: Sequence[bool] | None = None, ticket: Ticket = ()) -> None:
        """Learn a truth, once, when it has arrived.

        Args:
            value: ``score(actual, point, scale)`` of the forecast as it was issued.
            covered: whether each band, as it was issued, held the truth. None judges by the present thresholds, which
                is the same thing only where nothing was learnt between issue and truth (horizon 1).
            ticket: of the moment of issue; empty stands for the present one.

        Raises:
            DataError: the score is NaN, infinite or negative; nothing is learnt.
        """
        check(value)
        thresholds = self.thresholds() if covered is None else ()
        for index, adaptation in enumerate(self.adaptations):
            held = value <= thresholds[index] if covered is None else covered[index]
            adaptation.learn(0.0 if held else 1.0, value, self._scores, ticket[index] if ticket else ())
        self._waiting -= 1
        if self._waiting == 0:
            self._scores.add(value)
            self._waiting = self._stride

    def state(self) -> CalibratorState:
        """Everything, for `restore`."""
        return CalibratorState(
            levels_ppm=self._levels_ppm,
            adaptations=tuple(adaptation.state() for adaptation in self.adaptations),
            scores=self._scores.in_time_order(),
            capacity=self._scores.capacity,
            stride=self._stride,
            waiting=self._waiting,
            unbounded=self.unbounded,
            empty=self.empty,
        )

    @classmethod
    def restore(cls, state: CalibratorState) -> "Calibrator":
        """Continue, bit-equal.

        Raises:
            DataError: parts that do not fit each other, or scores that are none.
        """
        if len(state.adaptations) != len(state.levels_ppm) or not 1 <= state.waiting <= state.stride:
            raise DataError("a calibrator's state contradicts itself; start it afresh from its model's scores")
        made = cls(state.levels_ppm, state.scores, capacity=state.capacity, stride=state.stride)
        made.adaptations = tuple(restored(each) for each in state.adaptations)
        made._waiting, made.unbounded, made.empty = state.waiting, state.unbounded, state.empty
        return made


def restored(state: AdaptationState) -> Adaptation:
    """The adaptation that had this state."""
    if isinstance(state, PidState):
        return Pid.restore(state)
    if isinstance(state, AciState):
        return Aci.restore(state)
    return Fixed.restore(state) if isinstance(state, FixedState) else DtAci.restore(state)


def nested(adaptations: Sequence[Adaptation], window: RollingScores) -> tuple[float, ...]:
    """Thresholds, each at least as large as those of the levels behind it: levels adapt by themselves and may cross."""
    largest = -math.inf
    found: list[float] = []
    for adaptation in reversed(adaptations):
        largest = max(largest, adaptation.threshold(window))
        found.append(largest)
    found.reverse()
    return tuple(found)


def miss_of(level_ppm: int) -> float:
    """A level's nominal miscoverage."""
    return (_MILLION - level_ppm) / _MILLION


def check_levels(levels_ppm: Sequence[int]) -> None:
    """Refuse what are no levels, or not widest first.

    Raises:
        ValueError: none, one outside (0, 1), or out of order.
    """
    if not levels_ppm or not all(0 < level < _MILLION for level in levels_ppm):
        raise ValueError(f"levels {tuple(levels_ppm)} ppm; each must lie between 0 and {_MILLION}")
    if list(levels_ppm) != sorted(levels_ppm, reverse=True):
        raise ValueError(f"levels {tuple(levels_ppm)} ppm; give the widest first")
