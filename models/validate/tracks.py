"""What a forecaster would have told a user at every tested bar: a point, and an interval of every level around it.

Intervals are the daemon's own: its calibrator (`models.conformal`) around the forecaster's point, in units of the
market's volatility, with scores of the fold's calibration part, labels coming as late as they would have come, and
started afresh with every fold's model. The distribution that CRPS and PIT are of is point +- scale x the scores kept
at the time, either sign equally likely, renewed every 24 bars: what those intervals are cut from.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from bus.series import BarSeries
from models import scores
from models.columns import Floats, Ints
from models.conformal import CAPACITY, calibrator, kept, stride_for
from models.train.data import Rows
from models.validate.windows import Fold

Flags = NDArray[np.bool_]

LEVELS_PPM = (950_000, 900_000, 800_000, 700_000, 500_000, 300_000, 100_000)
"""Always measured, for reliability."""
DECIDING_PPM = 100_000
"""The interval that must clear the cost before the interval strategy acts."""

_BP = 1e4
_RENEWED_EVERY = 24


@dataclass(frozen=True, kw_only=True)
class History:
    """One market, as rows of forecasts whose labels are complete at every horizon.

    Attributes:
        series: the bars.
        first: the bar of the first row; the rows after it are the bars after it.
        rows: features, labels, closes; see `models.train.data.Rows`.
        scales_e5: the market's volatility as a price distance, shape (rows, horizons).
        horizons: as asked for, for instance ``4h``.
        bars: the same, as bars ahead.
        start: the first row that is tested.
        levels_ppm: of the intervals, widest first.
    """

    series: BarSeries
    first: int
    rows: Rows
    scales_e5: Ints
    horizons: tuple[str, ...]
    bars: tuple[int, ...]
    start: int
    levels_ppm: tuple[int, ...]

    @property
    def tested(self) -> slice:
        """The tested rows."""
        return slice(self.start, len(self.rows))


@dataclass(frozen=True, kw_only=True)
class Track:
    """One model at one horizon over consecutive tested rows.

    Attributes:
        point_e5: the forecast price, shape (n,).
        lower_e5: of every level's interval, shape (n, levels); likewise `upper_e5`.
        bounded: False where an interval was the whole line, shape (n, levels).
        held: whether the truth lay inside, shape (n, levels).
        crps_bp: shape (n,), basis points of the price.
        pit_low: the distribution just below the truth, shape (n,); `pit_high`: at it.
    """

    point_e5: Ints
    lower_e5: Ints
    upper_e5: Ints
    bounded: Flags
    held: Flags
    crps_bp: Floats
    pit_low: Floats
    pit_high: Floats


def joined(parts: Sequence[Track]) -> Track:
    """Tracks of folds behind each other, as one."""
    return Track(
        **{field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Track)}
    )


def follow(history: History, fold: Fold, expected: Floats, column: int) -> Track:
    """Run the daemon's calibrator through a fold's calibration part and its test.

    Args:
        history: the market.
        fold: whose rows.
        expected: log return in units of sigma sqrt(h) of all rows of `history`, shape (rows,); those of the fold count.
        column: which horizon.
    """
    ahead = history.bars[column]
    older, newer = (np.s_[part.start : part.stop] for part in (fold.calibration, fold.test))
    rows, scale_e5 = history.rows, history.scales_e5[:, column]
    point_e5 = priced(rows, expected, ahead)
    actual_e5 = rows.actual_e5[:, column]
    earned = np.abs(actual_e5 - point_e5) / np.maximum(scale_e5, 1)
    before = earned[older][scale_e5[older] > 0]
    lower, upper, bounded, held = _issue(history.levels_ppm, ahead, before, _Told(
        point_e5=point_e5[newer], scale_e5=scale_e5[newer], actual_e5=actual_e5[newer], earned=earned[newer]
    ))  # fmt: skip
    crps, low, high = _distribution(
        before, earned[newer], (actual_e5 - point_e5)[newer] / np.maximum(scale_e5[newer], 1), ahead
    )
    return Track(
        point_e5=point_e5[newer],
        lower_e5=lower,
        upper_e5=upper,
        bounded=bounded,
        held=held,
        crps_bp=crps * scale_e5[newer] / rows.close_e5[newer] * _BP,
        pit_low=low,
        pit_high=high,
    )


def priced(rows: Rows, expected: Floats, ahead: int) -> Ints:
    """Expected log returns in units of sigma sqrt(h) as prices, as serving rounds them (`models.random_walk`)."""
    known = np.where(np.isfinite(expected), expected, 0.0)
    moved = np.exp(known * rows.sigma * np.sqrt(ahead))
    return np.maximum(np.floor(rows.close_e5 * moved + 0.5), 1.0).astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class _Told:
    point_e5: Ints
    scale_e5: Ints
    actual_e5: Ints
    earned: Floats


def _issue(levels_ppm: tuple[int, ...], ahead: int, before: Floats, told: _Told) -> tuple[Ints, Ints, Flags, Flags]:
    online = calibrator(levels_ppm, ahead, kept(before.tolist(), ahead))
    n, points, scales = len(told.point_e5), told.point_e5.tolist(), told.scale_e5.tolist()
    actual, earned = told.actual_e5.tolist(), told.earned.tolist()
    lower, upper = np.zeros((n, len(levels_ppm)), np.int64), np.zeros((n, len(levels_ppm)), np.int64)
    bounded, verdicts = np.ones((n, len(levels_ppm)), bool), list[tuple[bool, ...]]()
    for row in range(n):
        due = row - ahead
        if due >= 0:
            online.update(earned[due], verdicts[due])
        bands = online.interval(points[row], scales[row])
        lower[row] = [band.lower_e5 for band in bands]
        upper[row] = [band.upper_e5 for band in bands]
        bounded[row] = [band.bounded for band in bands]
        verdicts.append(tuple(not band.bounded or band.lower_e5 <= actual[row] <= band.upper_e5 for band in bands))
    return lower, upper, bounded, np.array(verdicts, bool).reshape(n, len(levels_ppm))


def _distribution(before: Floats, earned: Floats, error: Floats, ahead: int) -> tuple[Floats, Floats, Floats]:
    """CRPS in units of the scale, and PIT just below and at the truth; `error` is signed and in that unit."""
    crps, low, high = np.empty(len(earned)), np.empty(len(earned)), np.empty(len(earned))
    for row in range(0, len(earned), _RENEWED_EVERY):
        part = np.s_[row : row + _RENEWED_EVERY]
        known = np.concatenate((before, earned[: max(0, row - ahead + 1)]))
        spread = np.sort(known[::-1][:: stride_for(ahead)][:CAPACITY])
        crps[part] = scores.crps_symmetric(spread, error[part], np.ones(len(error[part])))
        low[part], high[part] = _pit(spread, error[part])
    return crps, low, high


def _pit(spread: Floats, error: Floats) -> tuple[Floats, Floats]:
    """F just below and at the truth where F is the rank among all +-s, of 2 m + 1 places; `spread` is sorted."""
    m = len(spread)
    inside = np.searchsorted(spread, np.abs(error), side="left")
    at_most = np.searchsorted(spread, np.abs(error), side="right")
    below = np.where(error >= 0, m + inside, m - at_most)
    reached = np.where(error >= 0, m + at_most, m - inside)
    return below / (2 * m + 1), (reached + 1) / (2 * m + 1)
