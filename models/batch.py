"""Forecasts for a whole history at once: every bar, model and horizon, with the intervals a daemon would have given.

Theory of operation. Features and networks run over BLOCK bars at a time, each row the same numbers as live. Then one
pass in time order does what the core does: the market's volatility scales each interval, a calibrator for each model
and horizon starts from the artifact's scores, and learns each truth when it would have come, horizon bars later. So the
intervals of a bar depend on nothing after it. What a model learnt from is marked (`seen`), because there it looks
better than it is.
"""

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bus.errors import ModelError
from bus.messages import HorizonForecast
from bus.series import BarSeries
from models import features, random_walk
from models.artifact import Artifact
from models.columns import Columns, Floats, from_series, stacked
from models.conformal import Calibrator, calibrator, kept, score
from models.contract import Forecaster, Progress, no_progress
from models.registry import Loaded
from models.volatility import SeasonalVolatility

BLOCK = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Rows of a table, in order of time, then model, then horizon. All columns have shape (rows,).

    `lower_e5` and `upper_e5` have shape (rows, levels), NaN where an interval is the whole line or not known yet;
    `actual_e5` is NaN where the bar at the horizon is not there.
    """

    ts_close_ns: NDArray[np.int64]
    model: list[str]
    active: NDArray[np.bool_]
    horizon: NDArray[np.int64]
    close_e5: NDArray[np.int64]
    point_e5: NDArray[np.int64]
    sigma_e5: NDArray[np.int64]
    lower_e5: Floats
    upper_e5: Floats
    actual_e5: Floats
    seen: NDArray[np.bool_]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.model)


@dataclass(frozen=True, slots=True)
class _Issued:
    """A forecast that waits for its truth."""

    point_e5: int
    scale_e5: int
    covered: tuple[bool, ...]
    ticket: tuple[tuple[float, ...], ...]


class _Line:
    """One model at one horizon, going through time."""

    def __init__(self, horizon: int, scores: Sequence[float], levels_ppm: Sequence[int]) -> None:
        self.horizon = horizon
        self._online: Calibrator = calibrator(levels_ppm, horizon, kept(scores, horizon))
        self._waiting: deque[_Issued | None] = deque()

    def learn(self, actual_e5: int) -> None:
        """The close of the next bar is known."""
        if len(self._waiting) == self.horizon:
            issued = self._waiting.popleft()
            if issued is not None:
                value = score(actual_e5, issued.point_e5, issued.scale_e5)
                self._online.update(value, issued.covered, issued.ticket)

    def issue(
        self, view: HorizonForecast | None, scale_e5: int, actual_e5: int | None
    ) -> tuple[list[float], list[float]]:
        """Lower and upper ends, one a level; the truth is looked at for nothing but what will be learnt from it."""
        if view is None or scale_e5 <= 0:
            self._waiting.append(None)
            return [], []
        bands = self._online.interval(view.point_e5, scale_e5)
        covered = tuple(
            actual_e5 is None or not band.bounded or band.lower_e5 <= actual_e5 <= band.upper_e5 for band in bands
        )
        self._waiting.append(_Issued(view.point_e5, scale_e5, covered, self._online.ticket()))
        lower = [float(band.lower_e5) if band.bounded else math.nan for band in bands]
        upper = [float(band.upper_e5) if band.bounded else math.nan for band in bands]
        return lower, upper


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    model_id: str
    active: bool
    artifact: Artifact | None
    lines: tuple[_Line, ...]
    seen_until_ns: int


def forecasts(
    loaded: Loaded, series: BarSeries, *, levels_ppm: Sequence[int], progress: Progress = no_progress
) -> Iterator[Block]:
    """Forecast every bar of a market's history with every forecaster of its release, the random walk first.

    Args:
        loaded: the release; its horizons are those of the table.
        series: bars of its market, oldest first.
        levels_ppm: coverages of the intervals in millionths, widest first.
        progress: told the symbol and the share that is done.

    Raises:
        ModelError: the release is of another market or bar length, or has no forecaster.
        DataError: bars that cannot be.
    """
    made = [each for each in loaded.artifacts if each.manifest.kind == "forecaster"]
    active = next((each for each in made if each.model_id == loaded.active), None)
    if active is None:
        raise ModelError(f"{series.symbol}: the release has no forecaster; train again")
    manifest = active.manifest
    if (manifest.symbol, manifest.period_ns) != (series.symbol, series.period_ns):
        raise ModelError(
            f"{loaded.active} forecasts {manifest.symbol} from bars of {manifest.period_ns / 1e9:g} s, not "
            f"{series.symbol} from bars of {series.period_ns / 1e9:g} s"
        )
    models = [
        _model(random_walk.MODEL_ID, None, manifest.horizons, manifest.baseline_scores, levels_ppm, active=False),
        *(
            _model(each.model_id, each, each.manifest.horizons, each.manifest.scores, levels_ppm,
                   active=each is active)
            for each in made
        ),
    ]  # fmt: skip
    columns = from_series(series)
    volatility = _volatility(active, series)
    for start in range(0, len(columns), BLOCK):
        stop = min(start + BLOCK, len(columns))
        yield _block(models, columns, volatility, start, stop, levels_ppm)
        progress(series.symbol, stop / len(columns))


def _model(
    model_id: str,
    artifact: Artifact | None,
    horizons: Sequence[int],
    scores: Sequence[Sequence[float]],
    levels_ppm: Sequence[int],
    *,
    active: bool,
) -> _Model:
    lines = tuple(_Line(horizon, own, levels_ppm) for horizon, own in zip(horizons, scores, strict=True))
    window = None if artifact is None else artifact.manifest.training
    seen_until_ns = 0 if window is None else max(window.last_ts_ns, window.calibration_last_ts_ns)
    return _Model(model_id=model_id, active=active, artifact=artifact, lines=lines, seen_until_ns=seen_until_ns)


def _volatility(active: Artifact, series: BarSeries) -> SeasonalVolatility:
    """The market's volatility before the first bar: what the model brings where that is older, else nothing."""
    state = active.manifest.volatility
    if state is not None and len(series) and state.last_open_ns < int(series.ts_open_ns[0]):
        return SeasonalVolatility.restore(state, series.period_ns)
    return SeasonalVolatility(series.period_ns)


def _block(
    models: Sequence[_Model],
    columns: Columns,
    volatility: SeasonalVolatility,
    start: int,
    stop: int,
    levels_ppm: Sequence[int],
) -> Block:
    context = columns.rows(max(0, start - 2 * features.LONGEST), stop)
    offset = len(context) - (stop - start)
    sigma = features.volatility(context)[offset:]
    views = [_views(model, context, sigma, stop - start) for model in models]
    rows: list[tuple[int, str, bool, int, int, int, int, float, bool]] = []
    lowers: list[list[float]] = []
    uppers: list[list[float]] = []
    unknown = [math.nan] * len(levels_ppm)
    opens, highs, lows, closes = (
        column[start:stop].tolist()
        for column in (columns.ts_open_ns, columns.high_e5, columns.low_e5, columns.close_e5)
    )
    for row, (ts_open_ns, high_e5, low_e5, close_e5) in enumerate(zip(opens, highs, lows, closes, strict=True)):
        volatility.update(ts_open_ns, high_e5, low_e5, close_e5)
        for model, own in zip(models, views, strict=True):
            for place, line in enumerate(model.lines):
                view = own[row][place] if own[row] else None
                ahead = start + row + line.horizon
                actual_e5 = int(columns.close_e5[ahead]) if ahead < len(columns) else None
                line.learn(close_e5)
                scale_e5 = volatility.scale_e5(close_e5, line.horizon) if volatility.known else 0
                lower, upper = line.issue(view, scale_e5, actual_e5)
                if view is None:
                    continue
                rows.append((
                    ts_open_ns + columns.period_ns, model.model_id, model.active, line.horizon, close_e5,
                    view.point_e5, view.sigma_e5, math.nan if actual_e5 is None else float(actual_e5),
                    ts_open_ns <= model.seen_until_ns,
                ))  # fmt: skip
                lowers.append(lower or unknown)
                uppers.append(upper or unknown)
    return _table(rows, lowers, uppers, len(levels_ppm))


def _table(
    rows: list[tuple[int, str, bool, int, int, int, int, float, bool]],
    lowers: list[list[float]],
    uppers: list[list[float]],
    levels: int,
) -> Block:
    ts_close, model, active, horizon, close, point, sigma, actual, seen = zip(*rows, strict=True) if rows else ((),) * 9
    return Block(
        ts_close_ns=np.array(ts_close, np.int64),
        model=list(model),
        active=np.array(active, np.bool_),
        horizon=np.array(horizon, np.int64),
        close_e5=np.array(close, np.int64),
        point_e5=np.array(point, np.int64),
        sigma_e5=np.array(sigma, np.int64),
        lower_e5=np.array(lowers, np.float64).reshape(len(rows), levels),
        upper_e5=np.array(uppers, np.float64).reshape(len(rows), levels),
        actual_e5=np.array(actual, np.float64),
        seen=np.array(seen, np.bool_),
    )


def _views(model: _Model, context: Columns, sigma: Floats, rows: int) -> list[tuple[HorizonForecast | None, ...]]:
    """For each of the newest `rows` bars the forecast of each horizon; an empty tuple where there is none."""
    horizons = [line.horizon for line in model.lines]
    made = model.artifact
    none = np.zeros((rows, len(horizons)))
    expected, spread = (none, none + 1.0) if made is None else _expected(made, context, rows)
    closes = context.close_e5[-rows:].tolist()
    views: list[tuple[HorizonForecast | None, ...]] = []
    for close_e5, own, scales, one in zip(closes, expected.tolist(), spread.tolist(), sigma.tolist(), strict=True):
        finite = math.isfinite(one) and all(map(math.isfinite, (*own, *scales)))
        views.append(
            tuple(
                _priced(close_e5, z, one, horizon, scale)
                for z, horizon, scale in zip(own, horizons, scales, strict=True)
            )
            if finite
            else ()
        )
    return views


def _priced(close_e5: int, expected: float, sigma: float, horizon: int, scale: float) -> HorizonForecast | None:
    try:
        return random_walk.to_prices(close_e5, expected, sigma, horizon, scale)
    except ValueError:
        return None  # as in service: an answer that is no forecast of a price is none


def _expected(artifact: Artifact, context: Columns, rows: int) -> tuple[Floats, Floats]:
    """Outputs for the newest `rows` bars and their deviations (1 where the model tells none), both (rows, horizons).

    NaN where there is too little history.
    """
    manifest = artifact.manifest
    forecaster: Forecaster = artifact.pipeline
    own = features.compute(context, manifest.feature_names)
    short = max(0, rows + manifest.window - 1 - len(own))  # bars that the first windows lack
    own = np.concatenate((np.full((short, own.shape[1]), np.nan), own))
    inputs = stacked(own, manifest.window)[-rows:].reshape(rows, -1)
    out, spread = np.full((2, rows, len(manifest.horizons)), np.nan)
    known = np.isfinite(inputs).all(axis=1)
    if known.any():
        points, told = forecaster.measured(np.ascontiguousarray(inputs[known]))
        out[known], spread[known] = points, 1.0 if told is None else told
    return out, spread


def scaled(block: Block, levels_ppm: Sequence[int]) -> Mapping[str, object]:
    """A block's columns as a user reads them: prices in price units, one pair of columns a level."""
    named: dict[str, object] = {
        "ts_close_ns": block.ts_close_ns,
        "model": block.model,
        "active": block.active,
        "horizon": block.horizon,
        "close": block.close_e5 / 1e5,
        "point": block.point_e5 / 1e5,
        "sigma": block.sigma_e5 / 1e5,
    }
    for place, level_ppm in enumerate(levels_ppm):
        named[f"lower_{level_ppm / 10_000:g}"] = block.lower_e5[:, place] / 1e5
        named[f"upper_{level_ppm / 10_000:g}"] = block.upper_e5[:, place] / 1e5
    return named | {"actual": block.actual_e5 / 1e5, "seen": block.seen}
