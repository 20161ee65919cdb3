"""How good trained forecasters were: points, directions, distributions and intervals, each beside the random walk."""

import math
from dataclasses import dataclass

import msgspec
import numpy as np

from models import scores
from models.columns import Floats
from models.performance import pesaran_timmermann
from models.random_walk import MODEL_ID
from models.validate.rows import round_to
from models.validate.tracks import LEVELS_PPM, History, Track
from models.validate.walkforward import Tracks

SUSPICIOUS = 0.55
"""On liquid pairs a larger share of right directions is likelier a leak than skill."""
LEAST_CALLS = 30
"""Independent calls below which a high share of right ones is no ground for suspicion."""

_BP = 1e4
_POINTS = 120


class SkillRow(msgspec.Struct, frozen=True, kw_only=True):
    """A forecaster on one market at one horizon, over the tested windows.

    Attributes:
        horizon: as it was asked for.
        n: forecasts; `effective`: how many count as independent, n / bars ahead.
        calls: forecasts that named a direction, and where the price moved at all.
        directional_accuracy: share of the calls that were right; None without calls. Its limits `directional_lo` and
            `directional_hi` are those of the 95 % Clopper-Pearson interval of calls / bars ahead trials.
        base_rate: share of the calls whose price went the commoner way: what always calling that way would have got.
        direction_p: chance of so many right calls from one who knows nothing (Pesaran and Timmermann 1992).
        directional_mid: share of the calls that were right about the mid, where the data have bid and ask and the mid
            moved; None without. A bid that falls because the spread widens, as it does every evening, is foreseen
            easily and earns nothing.
        leak_suspected: more than 55 % right over enough calls: look for a leak before believing it.
        rmse: of the log return, basis points; likewise `mae`.
        crps: mean, basis points of the price, by the fair estimator.
        coverage: of the asked level's intervals, with its 95 % Clopper-Pearson interval; `width` and `winkler` in
            basis points, None where an interval was the whole line.
        dm_t: of the squared errors less the random walk's (Diebold and Mariano 1995, Newey-West, corrected after
            Harvey, Leybourne and Newbold 1997); below 0 = better than the walk; None for the walk. `dm_p` two-sided.
        crps_t: the same for CRPS; likewise `crps_p`.
    """

    symbol: str
    horizon: str
    model: str
    n: int
    effective: int
    calls: int
    directional_accuracy: float | None
    directional_lo: float | None
    directional_hi: float | None
    base_rate: float | None
    direction_p: float | None
    directional_mid: float | None
    leak_suspected: bool
    rmse: float
    mae: float
    crps: float
    coverage: float
    coverage_lo: float
    coverage_hi: float
    width: float | None
    winkler: float | None
    dm_t: float | None
    dm_p: float | None
    crps_t: float | None
    crps_p: float | None


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """What intervals of a nominal level held, with the 95 % Clopper-Pearson interval of n / bars ahead trials."""

    level: float
    coverage: float
    low: float
    high: float


class CalibrationRow(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a forecaster's distribution tells the truth at every level.

    Attributes:
        levels: reliability, narrowest interval first.
        pit: shares of ten equal bins of the probability integral transform; even = truthful.
        pit_p: chance of at least that much unevenness from truthful forecasts.
    """

    symbol: str
    horizon: str
    model: str
    levels: tuple[Level, ...]
    pit: tuple[float, ...]
    pit_p: float


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """Coverage of the asked level over the newest `window` truths, at some moments, each with its 95 % interval."""

    symbol: str
    horizon: str
    model: str
    level: float
    window: int
    at_ns: tuple[int, ...]
    coverage: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def skill_rows(history: History, tracks: Tracks, level_ppm: int) -> list[SkillRow]:
    """One row a horizon and model, the random walk's first."""
    return [_skill(history, tracks, name, column, level_ppm) for column in range(len(history.bars)) for name in tracks]


def _skill(history: History, tracks: Tracks, name: str, column: int, level_ppm: int) -> SkillRow:
    track, walk, ahead = tracks[name][column], tracks[MODEL_ID][column], history.bars[column]
    close, actual = (
        side[history.tested].astype(np.float64) for side in (history.rows.close_e5, history.rows.actual_e5[:, column])
    )
    moved = np.log(actual / close)
    error, of_walk = moved - np.log(track.point_e5 / close), moved - np.log(walk.point_e5 / close)
    place = history.levels_ppm.index(level_ppm)
    found = scores.coverage(track.held[:, place], overlap=ahead)
    lower, upper = (side[:, place].astype(np.float64) for side in (track.lower_e5, track.upper_e5))
    bounded = bool(track.bounded[:, place].all())
    winkler = scores.winkler(lower, upper, actual, 1.0 - level_ppm / 1e6) / close * _BP
    signs = _direction(np.sign(track.point_e5 - close), np.sign(moved), ahead)
    itself = name == MODEL_ID
    squared = None if itself else scores.diebold_mariano(error**2 - of_walk**2, ahead=ahead)
    spread = None if itself else scores.diebold_mariano(track.crps_bp - walk.crps_bp, ahead=ahead)
    return SkillRow(
        symbol=history.series.symbol,
        horizon=history.horizons[column],
        model=name,
        n=found.n,
        effective=found.effective,
        calls=signs.calls,
        directional_accuracy=signs.share,
        directional_lo=signs.low,
        directional_hi=signs.high,
        base_rate=signs.base_rate,
        direction_p=signs.chance,
        directional_mid=_about_mid(history, np.sign(track.point_e5 - close), ahead),
        leak_suspected=signs.suspect,
        rmse=round_to(math.sqrt(float((error**2).mean())) * _BP),
        mae=round_to(float(np.abs(error).mean()) * _BP),
        crps=round_to(float(track.crps_bp.mean())),
        coverage=round_to(found.share),
        coverage_lo=round_to(found.low),
        coverage_hi=round_to(found.high),
        width=round_to(float(((upper - lower) / close).mean()) * _BP) if bounded else None,
        winkler=round_to(float(winkler.mean())) if bounded else None,
        dm_t=None if squared is None else _finite(squared.statistic),
        dm_p=None if squared is None else round_to(squared.p_value),
        crps_t=None if spread is None else _finite(spread.statistic),
        crps_p=None if spread is None else round_to(spread.p_value),
    )


@dataclass(frozen=True, kw_only=True)
class _Direction:
    """The part of a row that is about signs."""

    calls: int = 0
    share: float | None = None
    low: float | None = None
    high: float | None = None
    base_rate: float | None = None
    chance: float | None = None
    suspect: bool = False


def _direction(called: Floats, came: Floats, ahead: int) -> _Direction:
    """From signs of forecasts and of what came, both of shape (n,); 0 = no call, or no move."""
    counted = (called != 0) & (came != 0)
    called, came = called[counted], came[counted]
    if not len(called):
        return _Direction()
    found = scores.coverage(called == came, overlap=ahead)
    rose = float((came > 0).mean())
    chance = pesaran_timmermann(called, came, overlap=ahead)
    return _Direction(
        calls=found.n,
        share=round_to(found.share),
        low=round_to(found.low),
        high=round_to(found.high),
        base_rate=round_to(max(rose, 1.0 - rose)),
        chance=None if chance is None else round_to(chance),
        suspect=found.share > SUSPICIOUS and found.n >= LEAST_CALLS * ahead,
    )


def _about_mid(history: History, called: Floats, ahead: int) -> float | None:
    """Share of calls that were right about the mid; None where there is no ask, or no call."""
    spread_e5 = history.series.spread_e5
    if spread_e5 is None:
        return None
    mid = history.series.close_e5 + 0.5 * spread_e5
    first = history.first + history.start
    moved = np.sign(mid[first + ahead :][: len(called)] - mid[first:][: len(called)])
    counted = (called != 0) & (moved != 0)
    return round_to(float((called == moved)[counted].mean())) if counted.any() else None


def calibration_rows(history: History, tracks: Tracks) -> list[CalibrationRow]:
    """One row a horizon and model, the random walk's first."""
    return [
        _calibration(history, name, track, column)
        for column in range(len(history.bars))
        for name, track in ((name, each[column]) for name, each in tracks.items())
    ]


def _calibration(history: History, name: str, track: Track, column: int) -> CalibrationRow:
    ahead = history.bars[column]
    shape = scores.pit(track.pit_low, track.pit_high, overlap=ahead)
    levels: list[Level] = []
    for level_ppm in sorted(LEVELS_PPM):
        found = scores.coverage(track.held[:, history.levels_ppm.index(level_ppm)], overlap=ahead)
        levels.append(Level(level=level_ppm / 1e6, coverage=round_to(found.share), low=round_to(found.low),
                            high=round_to(found.high)))  # fmt: skip
    return CalibrationRow(
        symbol=history.series.symbol,
        horizon=history.horizons[column],
        model=name,
        levels=tuple(levels),
        pit=tuple(round_to(share) for share in shape.shares),
        pit_p=round_to(shape.p_value),
    )


def curves(history: History, tracks: Tracks, level_ppm: int, window: int) -> list[Curve]:
    """Coverage over time, at most about 120 moments a horizon and model; a window longer than half the test is halved.

    Args:
        history: the market.
        tracks: of its models.
        level_ppm: of the intervals.
        window: truths a point looks back over.
    """
    series, place = history.series, history.levels_ppm.index(level_ppm)
    made: list[Curve] = []
    for column, ahead in enumerate(history.bars):
        for name, each in tracks.items():
            held = each[column].held[:, place]
            span = max(1, min(window, len(held) // 2))
            ends = np.unique(np.linspace(span, len(held), _POINTS).astype(np.int64))
            found = [scores.coverage(held[end - span : end], overlap=ahead) for end in ends.tolist()]
            truth = history.first + history.start + ends - 1 + ahead
            made.append(
                Curve(
                    symbol=series.symbol,
                    horizon=history.horizons[column],
                    model=name,
                    level=level_ppm / 1e6,
                    window=span,
                    at_ns=tuple((series.ts_open_ns[truth] + series.period_ns).tolist()),
                    coverage=tuple(round_to(one.share) for one in found),
                    low=tuple(round_to(one.low) for one in found),
                    high=tuple(round_to(one.high) for one in found),
                )
            )
    return made


def _finite(statistic: float | None) -> float:
    """A t-statistic for JSON: the same difference everywhere would be infinite."""
    return round_to(max(-1e6, min(1e6, statistic or 0.0)))
