"""From files to the validation's one object: read each symbol, cut it in time, measure it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from adapters import history
from bus.calendar import to_datetime
from bus.errors import DataError
from bus.series import BarSeries
from bus.values import NS_PER_HOUR
from daemon.marketdata import words
from daemon.research.verdict import Verdict, judge
from models.validate.report import AgreementRow, CalibrationRow, Curve, Report, SkillRow, TradingRow

Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the command line asks for.

    Attributes:
        path: a file or a folder of market data.
        symbols: which to measure, in this order; empty = all that are found.
        horizons: for instance ``1h``, ``4h``, ``1d``.
        level: nominal coverage, 0 to 1.
        test_fraction: share of the bars whose forecasts count.
        window_days: trading days of the worst window.
        since_ns: bars that open before it are left out; None = none are.
        until_ns: bars that open at it or later are left out; None = none are.
        clock: of the data's timestamps; None = what the format says.
        models: architectures to train over expanding windows, or ``all``.
        folds: expanding windows.
        embargo: bars; None = as far as features look back.
        seed: of trainings.
        cost_pips: spread where the data have no ask.
        trials: configurations tried in all, if more than this run's.
    """

    path: Path
    symbols: tuple[str, ...]
    horizons: tuple[str, ...]
    level: float
    test_fraction: float
    window_days: int
    since_ns: int | None
    until_ns: int | None
    clock: str | None
    models: tuple[str, ...] = ()
    folds: int = 5
    embargo: int | None = None
    seed: int = 7
    cost_pips: float = 0.8
    trials: int = 0


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """The bars of one symbol, and the UTC dates of the first, the last, and the first whose forecast counts."""

    symbol: str
    bars: int
    period_s: float
    first: str
    last: str
    tested_from: str


class Validation(msgspec.Struct, frozen=True, kw_only=True):
    """The one object of ``plimsoll validate --json``: tables as in `models.validate.report`, and what they come to."""

    level: float
    test_fraction: float
    default: tuple[str, str]
    data: list[Measured]
    rows: list[msgspec.Struct]
    rivals: list[msgspec.Struct]
    joint: list[msgspec.Struct]
    notes: list[str]
    skill: list[SkillRow]
    trading: list[TradingRow]
    agreement: list[AgreementRow]
    calibration: list[CalibrationRow]
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was measured, and coverage over time for the page."""

    validation: Validation
    curves: list[Curve]


def run(wanted: Wanted, progress: Progress) -> Outcome:
    """Measure every symbol.

    Args:
        wanted: what to read and measure.
        progress: told a stage and the share that is done, 0 to 1.

    Raises:
        ConfigError: an option that cannot be obeyed.
        DataError: files that cannot be read, or too few bars.
    """
    from models.validate import DEFAULT, Settings, validate  # scipy: nothing but research loads it
    from models.validate.trading import deflated

    settings = Settings(
        horizons=wanted.horizons,
        level_ppm=round(wanted.level * 1e6),
        test_fraction=wanted.test_fraction,
        window_days=wanted.window_days,
        models=wanted.models,
        folds=wanted.folds,
        embargo_bars=wanted.embargo,
        seed=wanted.seed,
        cost_pips=wanted.cost_pips,
    )
    progress("reading", 0.0)
    found, notes = _read(wanted)
    reports: list[Report] = []
    for place, series in enumerate(found):

        def told(stage: str, share: float, place: int = place) -> None:
            progress(stage, (place + share) / len(found))

        reports.append(validate(series, settings, told))
        notes.extend(reports[-1].notes)
    rows = [row for report in reports for row in report.rows]
    skill = [row for report in reports for row in report.skill]
    trading = deflated([row for report in reports for row in report.trading], wanted.trials)
    own = [row.coverage for row in rows if (row.model, row.method) == DEFAULT]
    validation = Validation(
        level=wanted.level,
        test_fraction=wanted.test_fraction,
        default=DEFAULT,
        data=[_measured(series, wanted.test_fraction) for series in found],
        rows=list(rows),
        rivals=[row for report in reports for row in report.rivals],
        joint=[row for report in reports for row in report.joint],
        notes=notes,
        skill=skill,
        trading=trading,
        agreement=[row for report in reports for row in report.agreement],
        calibration=[row for report in reports for row in report.calibration],
        verdict=judge(wanted.level, own, skill, trading),
    )
    return Outcome(validation=validation, curves=[curve for report in reports for curve in report.curves])


def _read(wanted: Wanted) -> tuple[list[BarSeries], list[str]]:
    notes: list[str] = []
    found: dict[str, BarSeries] = {}
    for symbol in wanted.symbols or (None,):
        read = history.load(wanted.path, symbol=symbol, clock=wanted.clock)
        notes.extend(words(note, wanted.path) for note in read.notes)
        for series in read.series:
            bars = series if isinstance(series, BarSeries) else history.resample(series, NS_PER_HOUR)
            found[bars.symbol] = _cut(bars, wanted)
    return list(found.values()), notes


def _cut(bars: BarSeries, wanted: Wanted) -> BarSeries:
    start = 0 if wanted.since_ns is None else int(np.searchsorted(bars.ts_open_ns, wanted.since_ns))
    stop = len(bars) if wanted.until_ns is None else int(np.searchsorted(bars.ts_open_ns, wanted.until_ns))
    if stop <= start:
        raise DataError(f"{bars.symbol}: no bars between the dates given; the data has {_span(bars)}")
    return bars.slice(start, stop)


def _measured(bars: BarSeries, test_fraction: float) -> Measured:
    tested = int(bars.ts_open_ns[len(bars) - int(np.ceil(len(bars) * test_fraction))])
    return Measured(
        symbol=bars.symbol,
        bars=len(bars),
        period_s=bars.period_ns / 1e9,
        first=_day(int(bars.ts_open_ns[0])),
        last=_day(int(bars.ts_open_ns[-1])),
        tested_from=_day(tested),
    )


def _span(bars: BarSeries) -> str:
    return f"{_day(int(bars.ts_open_ns[0]))} to {_day(int(bars.ts_open_ns[-1]))}"


def _day(ts_ns: int) -> str:
    return f"{to_datetime(ts_ns):%Y-%m-%d}"
