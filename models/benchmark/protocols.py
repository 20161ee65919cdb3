"""Windows of each protocol, and the scores of a forecaster's paths in them."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from bus.errors import DataError
from models import scores
from models.benchmark.walks import Floats, Sampler
from models.contract import Progress, no_progress

HORIZON = 30
WINDOWS = 5
SEASON = 5
"""Business days of a week: the lag of the seasonal naive forecast and of MASE's denominator."""
PUBLISHED_DAYS = 7588
PUBLISHED_TRAINING = 6071
SERIES = 8

NINETEEN = tuple(round(0.05 * each, 2) for each in range(1, 20))
NINE = tuple(round(0.1 * each, 1) for each in range(1, 10))


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """Where forecasts start.

    Attributes:
        name: ``A`` (which has B's figure, too) or ``C``.
        title: in words, with the numbers of this file.
        training: days that a forecaster may learn from.
        starts: the day (row) that each window's forecast begins with; everything before it is history.
    """

    name: str
    title: str
    training: int
    starts: tuple[int, ...]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A forecaster's scores in a protocol; all but coverage and MASE are relative to the mean size of the truth.

    Attributes:
        samples: paths a window; 1 = a point forecast.
        crps_19: mean over 19 levels (0.05 to 0.95) of the weighted quantile loss over all series, days and windows;
            `crps_9` over 9 levels (0.1 to 0.9).
        crps_fair: CRPS by the fair estimator; None for points.
        crps_sum_19: the same of the sum over series; likewise `crps_sum_9` and `crps_sum_fair`.
        nd: absolute error of the median.
        mase: of the median, over the error of the seasonal naive forecast in the history, mean over series and windows.
        coverage_80: share of truths in the central 80 % of the paths; likewise 90 and 95; None for points.
    """

    protocol: str
    model: str
    samples: int
    seed: int
    crps_19: float
    crps_9: float
    crps_fair: float | None
    crps_sum_19: float
    crps_sum_9: float
    crps_sum_fair: float | None
    nd: float
    mase: float
    coverage_80: float | None
    coverage_90: float | None
    coverage_95: float | None


def protocols_of(levels: Floats) -> tuple[tuple[Protocol, ...], tuple[str, ...]]:
    """The protocols that these levels (shape (days, series)) allow, and what to know about them.

    Training is 80 % of the days and one, as GluonTS cuts (6,071 of 7,588). A file that ends with the last of the five
    windows (6,221 days: the test file of exchange_rate_nips) has the same training, and no protocol C.

    Raises:
        DataError: too few days.
    """
    days, series = levels.shape
    tested = WINDOWS * HORIZON
    ends_with_windows = days == PUBLISHED_TRAINING + tested
    training = PUBLISHED_TRAINING if ends_with_windows else int(0.8 * days) + 1
    if training < 2 * HORIZON + SEASON or training + tested > days:
        raise DataError(f"{days} days are too few for {WINDOWS} windows of {HORIZON} days after 80 % of them")
    notes: list[str] = []
    if series != SERIES or not (days == PUBLISHED_DAYS or ends_with_windows):
        notes.append(
            f"{days:,} days of {series} series: not the published file ({PUBLISHED_DAYS:,} of {SERIES}); compare rows "
            "with one another, not with published figures"
        )
    rolling = Protocol(
        name="A",
        title=f"A (exchange_rate_nips) and B (9 levels): {training:,} days of training, {WINDOWS} windows of "
        f"{HORIZON} days, {series} series",
        training=training,
        starts=tuple(training + HORIZON * window for window in range(WINDOWS)),
    )
    if ends_with_windows:
        return (rolling,), tuple(notes)
    last = Protocol(
        name="C",
        title=f"C: the last {HORIZON} of {days:,} days",
        training=days - HORIZON,
        starts=(days - HORIZON,),
    )
    return (rolling, last), tuple(notes)


def measure(
    levels: Floats,
    forecasters: Sequence[Sampler],
    *,
    samples: int = 1000,
    seed: int = 7,
    progress: Progress = no_progress,
) -> list[Row]:
    """Every forecaster in every protocol. Windows draw their random numbers from the seed and their place, all alike.

    Args:
        levels: shape (days, series), positive, oldest first.
        forecasters: to fit and ask.
        samples: paths a window, at least 2; below 1,000 scores are noisy by more than 1 %.
        seed: of all random numbers.
        progress: told protocol and forecaster, and the share done.

    Raises:
        DataError: too few days or paths, or paths that are not finite.
    """
    if samples < 2:
        raise DataError(f"{samples} paths have no spread; give at least 2, better 1,000")
    protocols, _ = protocols_of(levels)
    made: list[Row] = []
    for place, protocol in enumerate(protocols):
        for number, sampler in enumerate(forecasters):
            progress(
                f"protocol {protocol.name}, {sampler.name}",
                (place + number / len(forecasters)) / len(protocols),
            )
            paths = sampler.fit(levels[: protocol.training], seed)
            drawn: list[Floats] = []
            for window, start in enumerate(protocol.starts):
                random = np.random.default_rng([seed, window])
                drawn.append(paths(levels[:start], HORIZON, samples, random))
            made.append(score(protocol, sampler.name, levels, np.stack(drawn), seed))
    progress("", 1.0)
    return made


def score(protocol: Protocol, name: str, levels: Floats, paths: Floats, seed: int) -> Row:
    """One row.

    Args:
        protocol: whose windows.
        name: of the forecaster.
        levels: all days, shape (days, series).
        paths: shape (windows, samples, HORIZON, series); one sample is a point forecast.
        seed: that the paths came from.

    Raises:
        DataError: a path that is not finite.
    """
    if not bool(np.isfinite(paths).all()):
        raise DataError(f"{name}: a path is not finite")
    actual = np.stack([levels[start : start + HORIZON] for start in protocol.starts])
    ordered, ordered_sums = np.sort(paths, axis=1), np.sort(paths.sum(axis=-1), axis=1)
    sums = actual.sum(axis=-1)
    median = quantile(ordered, 0.5)
    spread = paths.shape[1] > 1
    errors = np.abs(median - actual).mean(axis=1)
    seasonal = np.stack(
        [np.abs(levels[SEASON:start] - levels[: start - SEASON]).mean(axis=0) for start in protocol.starts]
    )
    known = np.where(seasonal > 0.0, seasonal, np.nan)
    return Row(
        protocol=protocol.name,
        model=name,
        samples=paths.shape[1],
        seed=seed,
        crps_19=weighted_quantile_loss(ordered, actual, NINETEEN),
        crps_9=weighted_quantile_loss(ordered, actual, NINE),
        crps_fair=_fair(paths, actual) if spread else None,
        crps_sum_19=weighted_quantile_loss(ordered_sums, sums, NINETEEN),
        crps_sum_9=weighted_quantile_loss(ordered_sums, sums, NINE),
        crps_sum_fair=_fair(paths.sum(axis=-1), sums) if spread else None,
        nd=float(np.abs(median - actual).sum() / np.abs(actual).sum()),
        mase=float(np.nanmean(errors / known)),
        coverage_80=_held(ordered, actual, 0.8) if spread else None,
        coverage_90=_held(ordered, actual, 0.9) if spread else None,
        coverage_95=_held(ordered, actual, 0.95) if spread else None,
    )


def quantile(ordered: Floats, level: float) -> Floats:
    """The sample at place round((m - 1) level) of m in order along axis 1: how GluonTS reads a quantile off paths."""
    return ordered[:, int(np.round((ordered.shape[1] - 1) * level))]


def weighted_quantile_loss(ordered: Floats, actual: Floats, levels: Sequence[float]) -> float:
    """Mean over levels of twice the summed pinball loss over the summed size of the truth.

    Args:
        ordered: samples in order along axis 1, shape (windows, samples, ...).
        actual: shape (windows, ...).
        levels: probabilities; comparable between forecasts on the same ones only.
    """
    size = float(np.abs(actual).sum())
    losses = [float(scores.pinball(quantile(ordered, level), actual, level).sum()) for level in levels]
    return 2.0 * float(np.mean(losses)) / size


def _fair(paths: Floats, actual: Floats) -> float:
    cells = np.moveaxis(paths, 1, -1).reshape(-1, paths.shape[1])
    return float(scores.crps_sample(cells, actual.reshape(-1)).sum() / np.abs(actual).sum())


def _held(ordered: Floats, actual: Floats, level: float) -> float:
    lower, upper = quantile(ordered, 0.5 - 0.5 * level), quantile(ordered, 0.5 + 0.5 * level)
    return float(((lower <= actual) & (actual <= upper)).mean())
