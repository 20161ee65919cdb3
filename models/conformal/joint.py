"""One band over all horizons that holds the whole path: simultaneous coverage.

The joint score of a forecast is the largest of its horizons' scores, each divided by what is usual at that horizon:
max over h of |actual_h - point_h| / (scale_h rate_h). Its exact quantile q gives at every horizon point_h +- q scale_h
rate_h, and the path stays within all of them exactly where the joint score is at most q. So the guarantee is that of
split conformal, for the path as one outcome: if the vectors of scores are exchangeable and the rates were fixed from
other data (`rates`, from an older half), P(every horizon holds) is from 1 - a to 1 - a + 1 / (n + 1). Paths that start
every bar overlap, so on one market that is an approximation, and an adaptation's bound is what holds for any sequence.

The rates spread the width evenly: without them one horizon with heavier tails would widen all. Bonferroni's way,
each horizon at 1 - a / H (`bonferroni_ppm`), needs no joint scores and holds under any dependence, but is wider than it
need be where horizons miss together, as overlapping ones do.

A path's truth is known when its longest horizon's is; labels are that late.
"""

from collections.abc import Iterable, Sequence

from bus.messages import Band
from models.conformal.adaptation import Fixed, Method
from models.conformal.calibrator import Calibrator, CalibratorState, Ticket
from models.conformal.window import CAPACITY, rank

_MILLION = 1_000_000


def bonferroni_ppm(level_ppm: int, horizons: int) -> int:
    """The level each of several horizons needs so that all hold together at `level_ppm`, rounded up."""
    return _MILLION - (_MILLION - level_ppm) // horizons


def rates(scores: Sequence[Sequence[float]], alpha: float) -> tuple[float, ...]:
    """What is usual at each horizon: its scores' exact quantile; the largest score where they are too few.

    Args:
        scores: a horizon, on data older than those the joint scores come from.
        alpha: miscoverage.

    Raises:
        ValueError: a horizon without a score above 0.
    """
    found: list[float] = []
    for each in scores:
        ordered = sorted(each)
        usual = ordered[min(rank(len(ordered), alpha), len(ordered)) - 1] if ordered else 0.0
        if usual <= 0.0:
            raise ValueError("a horizon without a score above 0 has no usual size; give it a longer history")
        found.append(usual)
    return tuple(found)


def joint_score(scores: Sequence[float], usual: Sequence[float]) -> float:
    """The largest of the horizons' scores, each relative to what is usual at its horizon."""
    return max(score / rate for score, rate in zip(scores, usual, strict=True))


class JointCalibrator:
    """Bands of every level over all horizons of one model.

    Args:
        levels_ppm: nominal joint coverages in millionths, widest first.
        usual: `rates` of the horizons.
        scores: joint scores in time order.
        method: makes each level's adaptation.
        capacity: length of the window.
        stride: of how many joint scores one is kept.
    """

    __slots__ = ("_calibrator", "_usual")

    def __init__(
        self,
        levels_ppm: Sequence[int],
        usual: Sequence[float],
        scores: Iterable[float] = (),
        *,
        method: Method = Fixed,
        capacity: int = CAPACITY,
        stride: int = 1,
    ) -> None:
        if not usual or not all(rate > 0.0 for rate in usual):
            raise ValueError(f"rates {tuple(usual)}; give one above 0 a horizon")
        self._usual = tuple(usual)
        self._calibrator = Calibrator(levels_ppm, scores, method=method, capacity=capacity, stride=stride)

    def bands(self, points_e5: Sequence[int], scales_e5: Sequence[int]) -> tuple[tuple[Band, ...], ...]:
        """For each horizon one band a level; a level's bands hold together."""
        return tuple(
            self._calibrator.interval(point_e5, max(scale_e5, 1) * rate)
            for point_e5, scale_e5, rate in zip(points_e5, scales_e5, self._usual, strict=True)
        )

    def ticket(self) -> Ticket:
        """What to keep with bands issued now and hand back with the path's truth."""
        return self._calibrator.ticket()

    def update(self, scores: Sequence[float], covered: Sequence[bool], ticket: Ticket = ()) -> None:
        """Learn a path's truth when its longest horizon has come.

        Args:
            scores: a horizon, as issued.
            covered: for each level, whether every horizon's band held.
            ticket: of the moment of issue.

        Raises:
            DataError: a score is NaN, infinite or negative; nothing is learnt.
        """
        self._calibrator.update(joint_score(scores, self._usual), covered, ticket)

    def state(self) -> tuple[tuple[float, ...], CalibratorState]:
        """Rates and the calibrator's state, for `restore`."""
        return self._usual, self._calibrator.state()

    @classmethod
    def restore(cls, usual: Sequence[float], state: CalibratorState) -> "JointCalibrator":
        """Continue, bit-equal.

        Raises:
            DataError: a state that contradicts itself.
        """
        made = cls(state.levels_ppm, usual)
        made._calibrator = Calibrator.restore(state)
        return made
