"""Trained forecasters over history: trained anew before each window on everything older, and asked in it.

Theory of operation. `History` holds every row of a market once (features at a bar depend on nothing after it: the
feature contract tests that), and folds (`models.validate.windows`) say which rows a model may learn from. Scalers,
penalties, early stopping and damping see the fit and validation parts alone; calibration scores come from rows that no
training saw. The random walk goes through the same machinery with a forecast of no change, so that its row differs from
another in nothing but the forecast. An ensemble combines the forecasters that are trained beside it, window by window,
with weights from each window's own validation part.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bus.errors import ConfigError, DataError
from bus.series import BarSeries
from models import features
from models.catalogue import LEAST_MEMBERS
from models.columns import Columns, Floats, from_series
from models.contract import Demands, Net, Progress, demands_of
from models.ensembles import Ensemble, ensembles
from models.forward import Pipeline
from models.nets import absent, architectures, known
from models.random_walk import MODEL_ID
from models.train.combine import Candidate, combine, demands_together
from models.train.data import LEAST_ROWS, Rows, Split, needed, part_of, rows_of, volatilities
from models.train.fit import answers, fit_forecaster
from models.validate.tracks import DECIDING_PPM, LEVELS_PPM, History, Track, follow, joined
from models.validate.windows import Fold, expanding

Tracks = dict[str, tuple[Track, ...]]
"""By model, the random walk first: one track a horizon."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is trained before each window: forecasters, and ensembles of all of them."""

    nets: tuple[Net, ...]
    ways: tuple[Ensemble, ...] = ()


NOTHING_TRAINED = Chosen(())


def choose(names: Sequence[str]) -> Chosen:
    """Architectures that forecast and ensembles of them, by name; ``all`` is every one.

    Raises:
        ConfigError: a name that is none of theirs, or twice, one whose packages are not installed (``all`` leaves those
            out), or an ensemble of fewer than two.
    """
    ways = ensembles()
    if tuple(names) == ("all",):
        return Chosen(forecasters(names), tuple(ways.values()))
    given = ",".join(names)
    nets = forecasters([name for name in names if name not in ways], given, tuple(ways))
    chosen = tuple(ways[name] for name in names if name in ways)
    if len(set(chosen)) != len(chosen):
        raise ConfigError(f"models {given}: an ensemble stands there twice; give each once")
    if chosen and len(nets) < LEAST_MEMBERS:
        raise ConfigError(
            f"models {given}: {chosen[0].name} combines the forecasters beside it; name {LEAST_MEMBERS} or more"
        )
    return Chosen(nets, chosen)


def forecasters(names: Sequence[str], given: str = "", others: Sequence[str] = ()) -> tuple[Net, ...]:
    """Architectures that forecast, by name; ``all`` is every one.

    Args:
        names: which.
        given: what the user wrote, for the message; empty = the names.
        others: names that would have been possible besides, for the message.

    Raises:
        ConfigError: a name that is none of theirs, or twice, or one whose packages are not installed; ``all`` leaves
            those out.
    """
    given = given or ",".join(names)
    found = {name: net for name, net in architectures(known()).items() if net.task == "forecast"}
    if tuple(names) == ("all",):
        return tuple(net for net in found.values() if not absent(net))
    strange = [name for name in names if name not in found]
    if strange or len(set(names)) != len(names):
        raise ConfigError(
            f"models {given}: {', '.join(strange) or 'one of them twice'}; give each once, of "
            f"{', '.join((*found, *others))}, or all"
        )
    for name in names:
        if missing := absent(found[name]):
            raise ConfigError(f"models {given}: {name} needs {', '.join(missing)}; install it or leave it out")
    return tuple(found[name] for name in names)


def history_of(
    series: BarSeries,
    horizons: tuple[str, ...],
    bars: tuple[int, ...],
    level_ppm: int,
    start_bar: int,
    chosen: Chosen = NOTHING_TRAINED,
) -> History:
    """Every row of a market that is complete for all of these models; tested from bar `start_bar` on.

    Raises:
        DataError: no row that is complete before the tested part, or none in it.
    """
    columns: Columns = from_series(series)
    rows = rows_of(columns, bars, start=look_back(chosen) - 1)
    first = len(series) - max(bars) - len(rows)
    if not 0 < start_bar - first < len(rows):
        raise DataError(f"{series.symbol}: {len(series)} bars leave no complete row before or in the tested part")
    scales_e5, _ = volatilities(series, horizons=bars)
    return History(
        series=series,
        first=first,
        rows=rows,
        scales_e5=scales_e5[first : first + len(rows)],
        horizons=horizons,
        bars=bars,
        start=start_bar - first,
        levels_ppm=tuple(sorted({*LEVELS_PPM, DECIDING_PPM, level_ppm}, reverse=True)),
    )


def folds_of(history: History, count: int, embargo_bars: int) -> list[Fold]:
    """The windows of the tested part, their gaps by the time of the longest label.

    Raises:
        DataError: too few rows to learn from before the first window.
    """
    series, n, longest = history.series, len(history.rows), max(history.bars)
    closes_ns = series.ts_open_ns + series.period_ns
    known_ns = closes_ns[history.first : history.first + n]
    label_end_ns = closes_ns[history.first + longest : history.first + longest + n]
    folds = list(expanding(known_ns, label_end_ns, start=history.start, count=count,
                           embargo_ns=embargo_bars * series.period_ns))  # fmt: skip
    least = min(len(folds[0].fit), 4 * len(folds[0].validation), 4 * len(folds[0].calibration))
    if least < LEAST_ROWS:
        raise DataError(f"{series.symbol}: {history.start} rows before the tested part are too few to train on")
    return folds


def follow_all(history: History, folds: Sequence[Fold], chosen: Chosen, *, seed: int, progress: Progress) -> Tracks:
    """Train each architecture before each window, and follow what it forecasts; the random walk beside them.

    Args:
        history: the market.
        folds: as `folds_of` gives them.
        chosen: what to train, and how to combine it.
        seed: of every training.
        progress: told a model and a window, and the share done of all.
    """
    tracks: Tracks = {}
    models = 1 + len(chosen.nets) + len(chosen.ways)
    for place, (name, given) in enumerate(_forecasts(history, folds, chosen, seed)):
        parts: list[list[Track]] = [[] for _ in history.bars]
        for window, (fold, expected) in enumerate(zip(folds, given, strict=True)):
            for column in range(len(history.bars)):
                parts[column].append(follow(history, fold, expected[:, column], column))
            share = (place + (window + 1) / len(folds)) / models
            progress(f"{history.series.symbol} {name}, window {window + 1} of {len(folds)}", share)
        tracks[name] = tuple(joined(each) for each in parts)
    return tracks


def _forecasts(
    history: History, folds: Sequence[Fold], chosen: Chosen, seed: int
) -> Iterator[tuple[str, Iterator[Floats]]]:
    yield MODEL_ID, iter([np.zeros_like(history.rows.labels)] * len(folds))
    members: list[list[Candidate]] = [[] for _ in folds]
    for net in chosen.nets:
        rows = rows_for(history, demands_of(net))
        yield (
            net.name,
            (
                _trained(history, rows, fold, net, seed, beside if chosen.ways else None)
                for fold, beside in zip(folds, members, strict=True)
            ),
        )
    for way in chosen.ways:
        demands = demands_together(members[0])
        rows = rows_for(history, demands)
        yield (
            way.name,
            (
                _combined(history, rows, fold, way, beside, demands.feature_names)
                for fold, beside in zip(folds, members, strict=True)
            ),
        )


def look_back(chosen: Chosen = NOTHING_TRAINED) -> int:
    """Bars that the input of one row depends on, for the model that looks back farthest."""
    wanted = [demands_of(net) for net in chosen.nets]
    if chosen.ways:  # an ensemble sees what any member does, as far back as the one that looks farthest
        names = dict.fromkeys(name for demands in wanted for name in _names(demands))
        wanted.append(Demands(window=max(demands.window for demands in wanted), feature_names=tuple(names)))
    return max((needed(_names(demands), demands.window) for demands in wanted), default=features.startup())


def _names(demands: Demands) -> tuple[str, ...]:
    """What is looked at."""
    return demands.feature_names or features.DEFAULT


def rows_for(history: History, demands: Demands) -> Rows:
    """The rows of a history as a model wants to see them: the same bars, its own features and window."""
    names, window = _names(demands), demands.window
    if (names, window) == (features.DEFAULT, 1):
        return history.rows
    return rows_of(from_series(history.series), history.bars, start=history.first, names=names, window=window)


def _trained(history: History, rows: Rows, fold: Fold, net: Net, seed: int, beside: list[Candidate] | None) -> Floats:
    """Expected returns of all rows by a model that has learnt from a fold's older parts; those of the fold count.

    Where an ensemble is to come, the model joins those `beside` it.
    """
    pipeline = fit_forecaster(net, _parts(history, rows, fold), seed=seed)
    if beside is not None:
        beside.append(Candidate(name=net.name, names=_names(demands_of(net)), pipeline=pipeline))
    return _asked(history, rows, fold, pipeline)


def _combined(
    history: History, rows: Rows, fold: Fold, way: Ensemble, members: Sequence[Candidate], names: Sequence[str]
) -> Floats:
    """The same by an ensemble, its weights from the fold's validation part."""
    pipeline, _ = combine(way, members, names, _parts(history, rows, fold), history.bars)
    return _asked(history, rows, fold, pipeline)


def _parts(history: History, rows: Rows, fold: Fold) -> Split:
    return Split(
        fit=part_of(rows, fold.fit),
        validation=part_of(rows, fold.validation),
        calibration=part_of(rows, fold.calibration),
        scales_e5=history.scales_e5[fold.calibration.start : fold.calibration.stop],
        volatility=volatilities(history.series.slice(0, 2), horizons=history.bars)[1].state(),
    )


def _asked(history: History, rows: Rows, fold: Fold, pipeline: Pipeline) -> Floats:
    expected = np.zeros_like(history.rows.labels)
    asked = range(fold.calibration.start, fold.test.stop)
    expected[asked.start : asked.stop] = answers(pipeline, part_of(rows, asked))[0]
    return expected
