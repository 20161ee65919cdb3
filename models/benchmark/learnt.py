"""Our own architectures in the benchmark: what they expect of each series moves the centre of the EWMA walk.

Theory of operation. One network a series and architecture is trained on features that need nothing but closes, to give
the expected log return 1 to 30 days ahead in units of sigma sqrt(h), by the same code as for trading
(`models.train.fit_forecaster`); the joint distribution around it is the EWMA walk's, drawn with the same random
numbers. So a row differs from the walk's by what was learnt and by nothing else. Days become bars that open at the
close before; the file has no calendar, and none is made up: no feature looks at times.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bus.errors import DataError
from bus.series import BarSeries
from bus.values import NS_PER_DAY
from models import features
from models.benchmark.walks import Floats, Paths, ewma_steps, walked
from models.columns import from_series
from models.contract import Net, demands_of
from models.forward import Pipeline
from models.train.data import LEAST_ROWS, VALIDATION_SHARE, Split, rows_of, volatilities
from models.train.fit import fit_forecaster

HORIZONS = tuple(range(1, 31))

FEATURES = (
    "ret_1", "ret_2", "ret_4", "ret_8", "ret_24", "ret_64", "vol_ewma", "vol_close_24", "vol_ratio_8_64",
    "ma_distance_8", "ma_distance_24", "ma_distance_96", "ma_cross", "rsi_cutler_14", "bollinger_20",
    "range_position_24", "range_position_96", "up_share_8", "autocorrelation_24",
)  # fmt: skip
"""Of closes alone."""


@dataclass(frozen=True)
class Learnt:
    """An architecture of `models.nets` as a forecaster of paths."""

    net: Net

    @property
    def name(self) -> str:
        """The architecture's."""
        return self.net.name

    def fit(self, training: Floats, seed: int) -> Paths:
        """Train one network a series; the newest fifth of the days decides when to stop.

        Raises:
            DataError: too few days, or a series that never moves.
        """
        pipelines = [_trained(self.net, column, seed) for column in training.T]

        def paths(history: Floats, horizon: int, samples: int, random: np.random.Generator) -> Floats:
            steps = ewma_steps(history, horizon, samples, random)
            centre = np.stack(
                [_expected(pipeline, column) for pipeline, column in zip(pipelines, history.T, strict=True)], axis=1
            )
            return walked(history, steps) * np.exp(centre[:horizon])

        return paths


def _trained(net: Net, levels: Floats, seed: int) -> Pipeline:
    series = bars_of(levels)
    columns = from_series(series)
    cut = int(len(series) * (1.0 - VALIDATION_SHARE))
    window = demands_of(net).window
    older = rows_of(columns.rows(0, cut), HORIZONS, names=FEATURES, window=window)
    newer = rows_of(columns, HORIZONS, start=cut, names=FEATURES, window=window)
    if min(len(older), 4 * len(newer)) < LEAST_ROWS:
        raise DataError(f"{len(levels)} days are too few to train {net.name} on; give at least 1,000")
    scales_e5, volatility = volatilities(series.slice(0, 2), horizons=HORIZONS)
    parts = Split(fit=older, validation=newer, calibration=newer, scales_e5=scales_e5, volatility=volatility.state())
    return fit_forecaster(net, parts, seed=seed)


def _expected(pipeline: Pipeline, levels: Floats) -> Floats:
    """Expected log return to each of the next 30 days, shape (30,)."""
    columns = from_series(bars_of(levels)).tail(features.startup(FEATURES) + pipeline.window - 1)
    seen = features.compute(columns, FEATURES)[-pipeline.window :]
    (answer,) = pipeline(seen.reshape(1, -1))
    known = np.where(np.isfinite(answer), answer, 0.0)
    return known * float(features.volatility(columns)[-1]) * np.sqrt(np.array(HORIZONS, np.float64))


def bars_of(levels: Floats) -> BarSeries:
    """Daily bars of levels, scaled by a power of ten to between 1 and 10 so that integers lose nothing that matters."""
    power = -int(np.floor(np.log10(float(np.median(levels)))))
    close = np.maximum(np.round(levels * 10.0**power * 1e5), 1.0).astype(np.int64)
    opening = np.concatenate((close[:1], close[:-1]))
    return BarSeries(
        symbol="SERIES",
        period_ns=NS_PER_DAY,
        ts_open_ns=np.arange(len(close), dtype=np.int64) * NS_PER_DAY,
        open_e5=opening,
        high_e5=np.maximum(opening, close),
        low_e5=np.minimum(opening, close),
        close_e5=close,
        quotes=np.zeros(len(close), np.int64),
    )


def learnt(nets: Sequence[Net]) -> list[Learnt]:
    """A forecaster of paths for each architecture."""
    return [Learnt(net=net) for net in nets]
