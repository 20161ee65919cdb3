"""What a trial of a search is judged by: CRPS on a later slice of the bars that models learn from, and nothing else.

Order of the parts, all of them within those bars: fit | purge | validation | purge | embargo | judged | purge | embargo
| later. Fit and validation are a training's own (`models.train.data`): the scaler, the weights, when to stop and how
far to trust an output come from there, and so does what a pruner sees. A trial's value is its loss on the judged rows.
The later rows are looked at once, when a search is over. A purge is the rows whose labels would reach into the next
part; an embargo as many bars as an input looks back, so that no bar is in the inputs of two parts. The calibration and
the traded part of a history are not handed in at all.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from bus.errors import DataError
from bus.series import BarSeries
from models import features
from models.columns import Floats
from models.contract import Net, Report, demands_of, no_report
from models.forward import Pipeline
from models.learning import DEFAULT, Learning
from models.scores import crps_normal, standard_error
from models.space import Value
from models.train.data import LEAST_ROWS, Rows, Split, needed, part_of, split
from models.train.fit import answers, fit_forecaster

_TIMED_ROWS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """One market's parts for one network.

    Attributes:
        parts: of a training; its calibration part holds judged and later rows and is not looked at as such.
        judged: on which every trial is judged.
        later: after it.
        ahead: bars of the longest horizon.
    """

    symbol: str
    parts: Split
    judged: Rows
    later: Rows
    ahead: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """How much less one CRPS is than another on the same rows, in percent of the random walk's; more is better.

    Attributes:
        rows: that both were asked on.
        pct: 100 (mean of the other's - mean of this one's) / mean of the random walk's.
        error_pct: its standard error, for rows that overlap by the longest horizon (`models.scores.standard_error`).
    """

    rows: int
    pct: float
    error_pct: float


def ground(bars: BarSeries, net: Net, horizons: Sequence[int], *, judge_pct: int, later_pct: int) -> Ground:
    """Cut a market's training bars into a search's parts.

    Args:
        bars: that models learn from.
        net: whose features and window are computed.
        horizons: bars ahead.
        judge_pct: of the bars.
        later_pct: of the bars.

    Raises:
        DataError: too few bars.
        ModelError: a window that does not fit into a request.
    """
    demands = demands_of(net)
    names, ahead = demands.feature_names or features.DEFAULT, max(horizons)
    judged_bars, later_bars = (len(bars) * share // 100 for share in (judge_pct, later_pct))
    cut = len(bars) - judged_bars - later_bars
    embargo = needed(names, demands.window) - 1
    least = embargo + ahead + LEAST_ROWS // 4
    if min(judged_bars, later_bars) < max(least, embargo + 11 * ahead):
        share = min(judge_pct, later_pct)
        raise DataError(
            f"{bars.symbol}: {len(bars)} bars to learn from leave too few to judge a search on; give at least "
            f"{-(-max(least, embargo + 11 * ahead) * 100 // share)}, or fewer bars ahead"
        )
    parts = split(bars.slice(0, cut), bars.slice(cut, len(bars)), tuple(horizons), names=names, window=demands.window)
    rows = parts.calibration
    return Ground(
        symbol=bars.symbol,
        parts=parts,
        judged=part_of(rows, range(embargo, judged_bars - ahead)),
        later=part_of(rows, range(judged_bars + embargo, len(rows))),
        ahead=ahead,
    )


def learnt(
    where: Ground,
    net: Net,
    parameters: Mapping[str, Value],
    *,
    seed: int,
    learning: Learning = DEFAULT,
    report: Report = no_report,
) -> Pipeline:
    """Train on fit and validation part. Raises as `fit_forecaster`, and what `report` raises."""
    with threadpool_limits(limits=1):
        return fit_forecaster(
            net, where.parts, seed=seed, learning=learning, parameters=dict(parameters), report=report
        )


def losses(pipeline: Pipeline | None, rows: Rows) -> Floats:
    """CRPS of each row, in sigmas, mean over the horizons; None = the random walk."""
    if pipeline is None:
        return crps_normal(rows.labels, np.ones_like(rows.labels)).mean(axis=1)
    expected, spread = answers(pipeline, rows)
    return crps_normal(rows.labels - expected, np.ones_like(expected) if spread is None else spread).mean(axis=1)


def gain(mine: Sequence[Floats], others: Sequence[Floats], walks: Sequence[Floats], aheads: Sequence[int]) -> Gain:
    """Compare losses on the same rows, one array a market; the mean over markets.

    Markets move together, so the error of their mean is taken as the mean of their errors, as if they were one.
    """
    percents = [
        (100.0 * float((theirs - own).mean()) / float(walk.mean()),
         100.0 * standard_error(theirs - own, ahead=ahead) / float(walk.mean()))
        for own, theirs, walk, ahead in zip(mine, others, walks, aheads, strict=True)
    ]  # fmt: skip
    return Gain(
        rows=sum(len(own) for own in mine),
        pct=float(np.mean([each for each, _ in percents])),
        error_pct=float(np.mean([error for _, error in percents])),
    )


def forecast_us(pipeline: Pipeline, rows: Rows) -> float:
    """Microseconds that one row takes, the median of some."""
    spent: list[float] = []
    for row in range(min(_TIMED_ROWS, len(rows))):
        asked = rows.inputs(row, row + 1)
        start = time.perf_counter()
        pipeline.measured(asked)
        spent.append(time.perf_counter() - start)
    return round(float(np.median(spent)) * 1e6, 1)
