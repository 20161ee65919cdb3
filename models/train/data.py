"""Rows to learn from, split in time so that no label of one part reaches into the next.

Order of the parts: fit | purge | validation | purge | calibration. A row of bar t has features of bars up to t and
labels up to t + h for every horizon h, so a part's last max(h) rows are dropped: that is the purge (Lopez de Prado
2018). Features of a part's first rows may look back into the part before; labels never look ahead into the next.
A window of bars ends with its row and is contiguous in bars, so it may reach back like a feature, and never forward.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bus.errors import DataError, ModelError
from bus.messages import VolatilityState
from bus.series import BarSeries
from models import features
from models.columns import Columns, Floats, Ints, from_series, join, stacked
from models.train.cache import FeatureCache
from models.volatility import SeasonalVolatility

LABEL_LIMIT = 6.0
"""Labels are held within this many sigmas: one weekend gap must not bend a least-squares fit."""

VALIDATION_SHARE = 0.2
LEAST_ROWS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows with features and labels. Labels have one column a horizon.

    Attributes:
        features: shape (window - 1 + n, k): those of each row's bar, and of the bars before the first row that its
            window reaches back to.
        window: bars of features in the input of a row.
        labels: log return over h bars in units of sigma sqrt(h), not limited.
        sigma: volatility of one bar.
        close_e5: bid close the forecast starts from.
        actual_e5: bid close h bars later.
    """

    features: Floats
    labels: Floats
    sigma: Floats
    close_e5: np.ndarray[tuple[int], np.dtype[np.int64]]
    actual_e5: np.ndarray[tuple[int, int], np.dtype[np.int64]]
    window: int = 1

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.sigma)

    def inputs(self, start: int = 0, stop: int | None = None) -> Floats:
        """What a pipeline is asked for rows `start` to `stop`: shape (n, window * k), oldest bar first."""
        windows = stacked(self.features, self.window)[start:stop]
        return windows.reshape(len(windows), -1)


def rows_of(
    columns: Columns,
    horizons: Sequence[int],
    start: int = 0,
    *,
    names: Sequence[str] = features.DEFAULT,
    window: int = 1,
    cache: FeatureCache | None = None,
) -> Rows:
    """Every row from `start` on whose features and labels are complete within `columns`.

    Args:
        columns: bars.
        horizons: bars ahead of the labels.
        start: first row wanted.
        names: of the features.
        window: bars of features in the input of a row, all of which must be complete.
        cache: asked for the features before they are computed.

    Raises:
        DataError: a feature that needs what bars do not carry.
        ModelError: a feature that is not known.
    """
    last = len(columns) - max(horizons)
    first = max(start, needed(names, window) - 1)
    index = np.arange(first, max(first, last))
    sigma = features.volatility(columns)[index]
    close_e5 = columns.close_e5[index]
    actual_e5 = np.stack([columns.close_e5[index + horizon] for horizon in horizons], axis=1)
    compute = features.compute if cache is None else cache.compute
    scale = sigma[:, None] * np.sqrt(np.array(horizons, np.float64))
    return Rows(
        features=compute(features.Inputs(columns=columns), names)[first - window + 1 : max(first, last)],
        labels=np.log(actual_e5 / close_e5[:, None]) / scale,
        sigma=sigma,
        close_e5=close_e5,
        actual_e5=actual_e5,
        window=window,
    )


def part_of(rows: Rows, part: range) -> Rows:
    """Some consecutive rows, with the bars before the first that its window looks at."""
    parts: dict[str, object] = {"features": rows.features[part.start : part.stop + rows.window - 1]}
    for name in ("labels", "sigma", "close_e5", "actual_e5"):
        parts[name] = getattr(rows, name)[part.start : part.stop]
    return replace(rows, **parts)


def needed(names: Sequence[str], window: int) -> int:
    """Bars that the input of one row depends on."""
    return features.startup(names) + window - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The three parts.

    Attributes:
        scales_e5: shape (rows of `calibration`, horizons): the market's volatility at each row, as a price distance.
        volatility: the market's volatility at the last calibration bar.
    """

    fit: Rows
    validation: Rows
    calibration: Rows
    scales_e5: Ints
    volatility: VolatilityState


def split(
    train: BarSeries,
    calibrate: BarSeries,
    horizons: Sequence[int],
    *,
    names: Sequence[str] = features.DEFAULT,
    window: int = 1,
    cache: FeatureCache | None = None,
) -> Split:
    """Make the parts: fit and validation from `train`, calibration from `calibrate`. Names to cache: see `rows_of`.

    Raises:
        ModelError: a feature that is not known, or more bars in an input than a request for forecasts carries.
        DataError: horizons or series that do not fit together, or too few bars to learn from.
    """
    if not horizons or min(horizons) < 1 or len(set(horizons)) != len(horizons):
        raise DataError(f"horizons {tuple(horizons)}; give each number of bars once, all at least 1")
    if (train.symbol, train.period_ns) != (calibrate.symbol, calibrate.period_ns):
        raise DataError("training and calibration bars are of different markets; take both from one history")
    for series in (train, calibrate):
        series.check()
    if calibrate.ts_open_ns[0] <= train.ts_open_ns[-1]:
        raise DataError("calibration bars start before training bars end; split one history in time")
    if needed(names, window) > features.LONGEST:
        raise ModelError(
            f"windows of {window} bars need {needed(names, window)} bars, and a request carries {features.LONGEST}; "
            "train on a shorter window, or on features that look back less far"
        )
    cut = math.floor(len(train) * (1.0 - VALIDATION_SHARE))
    columns = from_series(train)
    history = columns.tail(needed(names, window) - 1)
    both = join(history, from_series(calibrate))
    calibration = rows_of(both, horizons, start=len(history), names=names, window=window, cache=cache)
    scales_e5, volatility = volatilities(train, calibrate, horizons=horizons)
    parts = Split(
        fit=rows_of(columns.rows(0, cut), horizons, names=names, window=window, cache=cache),
        validation=rows_of(columns, horizons, start=cut, names=names, window=window, cache=cache),
        calibration=calibration,
        scales_e5=scales_e5[len(train) :][: len(calibration)],
        volatility=volatility.state(),
    )
    rows, need = min(len(parts.fit), 4 * len(parts.validation), 4 * len(parts.calibration)), LEAST_ROWS
    if rows < need:
        raise DataError(
            f"{train.symbol}: {len(train)} training and {len(calibrate)} calibration bars leave too few rows to learn "
            f"from; give at least {needed(names, window) + 2 * need + max(horizons)} and {need // 4 + max(horizons)}"
        )
    return parts


def volatilities(*series: BarSeries, horizons: Sequence[int]) -> tuple[Ints, SeasonalVolatility]:
    """Run the market's volatility over bars, as the core will.

    Args:
        series: runs of bars of one market behind each other.
        horizons: bars ahead.

    Returns:
        Price distances known at the close of each bar, shape (bars, horizons), 0 where there is nothing to tell yet;
        and the volatility after the last bar.
    """
    volatility = SeasonalVolatility(series[0].period_ns)
    scales: list[tuple[int, ...]] = []
    for one in series:
        columns = (one.ts_open_ns, one.high_e5, one.low_e5, one.close_e5)
        for ts_open_ns, high_e5, low_e5, close_e5 in zip(*(column.tolist() for column in columns), strict=True):
            volatility.update(ts_open_ns, high_e5, low_e5, close_e5)
            known = volatility.known
            scales.append(tuple(volatility.scale_e5(close_e5, horizon) if known else 0 for horizon in horizons))
    return np.array(scales, np.int64).reshape(len(scales), len(horizons)), volatility


def data_sha256(*series: BarSeries) -> str:
    """Identity of bars: sha256 over times, prices, spreads and counts of quotes."""
    digest = hashlib.sha256()
    for one in series:
        digest.update(f"{one.symbol} {one.period_ns} {len(one)} {one.spread_e5 is not None};".encode())
        for column in (one.ts_open_ns, one.open_e5, one.high_e5, one.low_e5, one.close_e5, one.quotes, one.spread_e5):
            if column is not None:
                digest.update(np.ascontiguousarray(column, np.int64).tobytes())
    return digest.hexdigest()
