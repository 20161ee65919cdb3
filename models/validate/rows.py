"""The rows of the table, and how one is measured."""

from dataclasses import dataclass

import msgspec
import numpy as np

from models import scores
from models.columns import Floats, Ints

DEFAULT = ("seasonal-random-walk", "pid")
"""Model and method that the daemon's own intervals come from."""

_BP = 1e4


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One model and method on one market at one horizon.

    Attributes:
        horizon: as it was asked for, for instance ``4h``.
        n: forecasts.
        effective: how many count as independent, n / bars ahead.
        coverage_lo: of the 95 % Clopper-Pearson interval of `effective` forecasts; likewise `coverage_hi`.
        width: mean, basis points; None where an interval was the whole line. Likewise `winkler`.
        crps: mean, basis points.
        directional_accuracy: share of called directions that were right; None where the model calls none.
        worst_window_coverage: of any `window` forecasts in a row; None where there were fewer.
        unbounded: intervals that were the whole line.
        kupiec_p: chance of a share of misses at least as far from nominal.
        independence_p: chance of misses at least as clustered or spread.
    """

    symbol: str
    horizon: str
    model: str
    method: str
    n: int
    effective: int
    coverage: float
    coverage_lo: float
    coverage_hi: float
    width: float | None
    winkler: float | None
    crps: float
    directional_accuracy: float | None
    worst_window_coverage: float | None
    unbounded: int
    kupiec_p: float
    independence_p: float


class JointRow(msgspec.Struct, frozen=True, kw_only=True):
    """Bands over all horizons together: `coverage` is the share of forecasts whose every horizon held.

    `method` is ``max-score`` (`models.conformal.joint`) or ``bonferroni``; `width` is the mean over horizons, basis
    points, None where a band was the whole line.
    """

    symbol: str
    horizons: tuple[str, ...]
    model: str
    method: str
    n: int
    effective: int
    coverage: float
    coverage_lo: float
    coverage_hi: float
    width: float | None
    unbounded: int


class RivalRow(msgspec.Struct, frozen=True, kw_only=True):
    """The default's Winkler score beside another's, over the same forecasts.

    Attributes:
        model: the other's; likewise `method`.
        ratio: the default's mean score over the other's; below 1 = the default is better.
        t: of the mean difference (Diebold and Mariano); below 0 = the default is better.
        p: chance of at least that difference, either way, between equals.
    """

    symbol: str
    horizon: str
    model: str
    method: str
    ratio: float
    t: float
    p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """Intervals as they were given, of consecutive forecasts. All of shape (n,); `bounded` is False for whole lines."""

    lower_e5: Ints
    upper_e5: Ints
    bounded: np.ndarray[tuple[int], np.dtype[np.bool_]]

    def held(self, actual_e5: Ints) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Which of them held the truth."""
        return ~self.bounded | ((self.lower_e5 <= actual_e5) & (actual_e5 <= self.upper_e5))

    def winkler_bp(self, close_e5: Ints, actual_e5: Ints, alpha: float) -> Floats | None:
        """Interval score of each; None where one was the whole line."""
        if not self.bounded.all():
            return None
        lower, upper, actual = (part.astype(np.float64) for part in (self.lower_e5, self.upper_e5, actual_e5))
        return scores.winkler(lower, upper, actual, alpha) / close_e5 * _BP

    def width_bp(self, close_e5: Ints) -> float | None:
        """Mean width; None where one was the whole line."""
        if not self.bounded.all():
            return None
        return round_to(float(((self.upper_e5 - self.lower_e5) / close_e5).mean()) * _BP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a row is about."""

    symbol: str
    horizon: str
    bars: int
    level_ppm: int
    window: int


def measure(
    asked: Asked, model: str, method: str, issued: Issued, close_e5: Ints, actual_e5: Ints, crps_e5: Floats
) -> Row:
    """One row from intervals and their truths; arrays of shape (n,)."""
    alpha = 1.0 - asked.level_ppm / 1e6
    held = issued.held(actual_e5)
    found = scores.coverage(held, overlap=asked.bars)
    winkler = issued.winkler_bp(close_e5, actual_e5, alpha)
    misses = round((1.0 - found.share) * found.effective)
    worst = scores.worst_window(held, asked.window)
    return Row(
        symbol=asked.symbol,
        horizon=asked.horizon,
        model=model,
        method=method,
        n=found.n,
        effective=found.effective,
        coverage=round_to(found.share),
        coverage_lo=round_to(found.low),
        coverage_hi=round_to(found.high),
        width=issued.width_bp(close_e5),
        winkler=None if winkler is None else round_to(float(winkler.mean())),
        crps=round_to(float((crps_e5 / close_e5).mean()) * _BP),
        directional_accuracy=None,
        worst_window_coverage=None if worst is None else round_to(worst),
        unbounded=int((~issued.bounded).sum()),
        kupiec_p=round_to(scores.kupiec(misses, found.effective, alpha).p_value),
        independence_p=round_to(scores.christoffersen(held, overlap=asked.bars).p_value),
    )


def compare(asked: Asked, model: str, method: str, ours: Floats, theirs: Floats) -> RivalRow:
    """The default beside another, from the Winkler scores of both, shape (n,)."""
    verdict = scores.diebold_mariano(ours - theirs, ahead=asked.bars)
    return RivalRow(
        symbol=asked.symbol,
        horizon=asked.horizon,
        model=model,
        method=method,
        ratio=round_to(float(ours.mean() / theirs.mean())),
        t=round_to(verdict.statistic or 0.0),
        p=round_to(verdict.p_value),
    )


def round_to(value: float) -> float:
    """Six decimals: what a table needs, and short in JSON."""
    return round(value, 6)
