"""One market's rows."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from msgspec.structs import replace

from bus.errors import ConfigError, DataError
from bus.series import BarSeries
from bus.values import NS_PER_DAY, NS_PER_S, default_instrument
from models import features
from models.columns import Floats, Ints, from_series
from models.contract import Progress, no_progress
from models.train.data import volatilities
from models.train.garch import LEAST_RETURNS, fit
from models.validate import intervals
from models.validate.agreement import agreement_rows
from models.validate.joint import Paths, joint_rows
from models.validate.report import Report
from models.validate.rows import DEFAULT, Asked, RivalRow, Row, compare, measure
from models.validate.skill import calibration_rows, curves, skill_rows
from models.validate.trading import costs_of, trading_rows
from models.validate.walkforward import choose, folds_of, follow_all, history_of, look_back

LEAST_FORECASTS = 10
"""Independent forecasts that must be left to count at every horizon, and come before those."""

_DURATION = re.compile(r"(\d+)(m|h|d|w)")
_UNITS_S = {"m": 60, "h": 3_600, "d": 86_400, "w": 5 * 86_400}
_TRADING_DAYS = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What to measure.

    Attributes:
        horizons: for instance ``1h``, ``4h``, ``1d``; a day is 24 hours of bars and a week five days, as the market
            closes at weekends.
        level_ppm: nominal coverage.
        test_fraction: share of the bars, the newest, whose forecasts count.
        window_days: trading days of 24 hours that the worst window has.
        models: names of architectures to train over expanding windows beside the random walk, or ``all``.
        folds: windows that the tested part is cut into; everything is trained anew before each.
        embargo_bars: between what is learnt from and what is tested, beside the purge; None = as far as the features
            look back.
        seed: of all trainings.
        cost_pips: spread of a round trip where the data have no ask.
    """

    horizons: tuple[str, ...] = ("1h", "4h", "1d")
    level_ppm: int = 900_000
    test_fraction: float = 0.3
    window_days: int = _TRADING_DAYS
    models: tuple[str, ...] = ()
    folds: int = 5
    embargo_bars: int | None = None
    seed: int = 7
    cost_pips: float = 0.8

    def __post_init__(self) -> None:
        """Refuse what cannot be measured.

        Raises:
            ConfigError: a value out of range, or no horizon.
        """
        if not self.horizons or len(set(self.horizons)) != len(self.horizons):
            raise ConfigError(f"horizons {','.join(self.horizons) or '(none)'}; give each once, for instance 1h,4h,1d")
        if not 0 < self.level_ppm < 1_000_000:
            raise ConfigError(f"level {self.level_ppm / 1e6:g}; it must lie between 0 and 1, for instance 0.9")
        if not 0.0 < self.test_fraction < 1.0:
            raise ConfigError(f"test fraction {self.test_fraction:g}; it must lie between 0 and 1, for instance 0.3")
        if self.window_days < 1:
            raise ConfigError(f"a worst window of {self.window_days} days; give at least 1")
        if self.folds < 1 or (self.embargo_bars or 0) < 0 or not 0.0 <= self.cost_pips < 1e4:
            raise ConfigError(
                f"{self.folds} windows, an embargo of {self.embargo_bars} bars, a cost of {self.cost_pips:g} pips; "
                "give at least one window, and nothing below 0"
            )
        choose(self.models)


def bars_ahead(horizon: str, period_ns: int) -> int:
    """How many bars a horizon such as ``4h`` is.

    Raises:
        ConfigError: not a duration, or no whole number of bars.
    """
    match = _DURATION.fullmatch(horizon)
    if match is None:
        raise ConfigError(f"horizon {horizon!r}; write a number and m, h, d or w, for instance 4h")
    length_ns = int(match[1]) * _UNITS_S[match[2]] * NS_PER_S
    if length_ns == 0 or length_ns % period_ns:
        raise ConfigError(f"horizon {horizon} is no whole number of bars of {period_ns / NS_PER_S:g} s")
    return length_ns // period_ns


def validate(series: BarSeries, settings: Settings, progress: Progress | None = None) -> Report:
    """Measure every model and method on one market.

    Args:
        series: bars, oldest first.
        settings: what to measure.
        progress: told a stage and the share that is done, 0 to 1.

    Raises:
        ConfigError: a horizon that the bars do not have.
        DataError: too few bars.
    """
    series.check()
    bars = [bars_ahead(horizon, series.period_ns) for horizon in settings.horizons]
    start = len(series) - math.ceil(len(series) * settings.test_fraction)
    _check_size(series, settings, max(bars), start)
    told = progress or no_progress
    window = max(1, settings.window_days * NS_PER_DAY // max(series.period_ns, NS_PER_S))
    scales = _scales(series, bars, start, told)
    rows: list[Row] = []
    rivals: list[RivalRow] = []
    for column, (horizon, ahead) in enumerate(zip(settings.horizons, bars, strict=True)):
        asked = Asked(symbol=series.symbol, horizon=horizon, bars=ahead, level_ppm=settings.level_ppm, window=window)
        told(f"{series.symbol} {horizon}", 0.15 + 0.25 * column / len(bars))
        own = {name: scale[:, column] for name, scale in scales.items()}
        measured, compared = _rows(asked, series.close_e5, own, start)
        rows += measured
        rivals += compared
    told(f"{series.symbol} joint", 0.4)
    paths = Paths(
        symbol=series.symbol,
        horizons=settings.horizons,
        bars=tuple(bars),
        level_ppm=settings.level_ppm,
        close_e5=series.close_e5,
        scales_e5=scales[DEFAULT[0]],
        start=start,
    )
    joint = tuple(joint_rows(paths)) if len(bars) > 1 else ()
    found = Report(rows=tuple(rows), rivals=tuple(rivals), joint=joint)
    found = _forward(
        series, settings, tuple(bars), start, window, found, lambda stage, done: told(stage, 0.5 + done / 2)
    )
    told(series.symbol, 1.0)
    return found


def _forward(
    series: BarSeries, settings: Settings, bars: tuple[int, ...], start: int, window: int, found: Report, told: Progress
) -> Report:
    """The report with what trained forecasters do over expanding windows, or with a note that says why not."""
    chosen = choose(settings.models)
    embargo = look_back(chosen) if settings.embargo_bars is None else settings.embargo_bars
    try:
        history = history_of(series, settings.horizons, bars, settings.level_ppm, start, chosen)
        folds = folds_of(history, settings.folds, embargo)
    except DataError as error:
        return replace(found, notes=(f"no expanding windows: {error}",))
    tracks = follow_all(history, folds, chosen, seed=settings.seed, progress=told)
    stated_e5 = round(settings.cost_pips * _pip_e5(series.symbol))
    return replace(
        found,
        skill=tuple(skill_rows(history, tracks, settings.level_ppm)),
        trading=tuple(trading_rows(history, tracks, costs_of(history, stated_e5))),
        agreement=tuple(agreement_rows(history, tracks)),
        calibration=tuple(calibration_rows(history, tracks)),
        curves=tuple(curves(history, tracks, settings.level_ppm, window)),
    )


def _pip_e5(symbol: str) -> int:
    try:
        return default_instrument(symbol).pip_e5
    except DataError:
        return 10


def _check_size(series: BarSeries, settings: Settings, longest: int, start: int) -> None:
    test = (1 + LEAST_FORECASTS) * longest
    if start < features.SIGMA_BARS + max(LEAST_RETURNS, test) or len(series) - start < test:
        raise DataError(
            f"{series.symbol}: {len(series)} bars are too few for {longest} bars ahead and a test fraction of "
            f"{settings.test_fraction:g}; give more data, or shorter horizons"
        )


def _scales(series: BarSeries, bars: Sequence[int], start: int, told: Progress) -> dict[str, Ints]:
    """For each model price distances of one sigma known at each close, shape (n, horizons), 0 = not yet."""
    close = series.close_e5.astype(np.float64)
    returns = np.diff(np.log(close))
    roots = np.sqrt(np.array(bars, np.float64))
    sigma = features.volatility(from_series(series))
    told(f"{series.symbol} GARCH", 0.05)
    garch = fit(returns[: start - 1])
    variances = np.concatenate(([np.nan], garch.variances(returns)))
    ahead = np.stack([np.sqrt(garch.over(variances, horizon)) for horizon in bars], axis=1)
    told(f"{series.symbol} volatility", 0.15)
    seasonal, _ = volatilities(series, horizons=bars)
    return {
        "random-walk": np.repeat(series.close_e5[:, None], len(bars), axis=1),
        "ewma-random-walk": _priced(close, sigma[:, None] * roots),
        "garch-random-walk": _priced(close, ahead),
        "seasonal-random-walk": seasonal,
    }


def _priced(close: Floats, sigma: Floats) -> Ints:
    priced = np.floor(close[:, None] * sigma + 0.5)
    return np.where(np.isfinite(priced), np.maximum(priced, 1.0), 0.0).astype(np.int64)


_METHODS = {
    "random-walk": ("split", "rolling"),
    "ewma-random-walk": ("normal", "rolling"),
    "garch-random-walk": ("normal", "rolling"),
    "seasonal-random-walk": ("normal", "rolling", "aci", "dtaci", "pid"),
}


RIVALS = (("random-walk", "split"), ("random-walk", "rolling"), ("ewma-random-walk", "normal"),
          ("garch-random-walk", "normal"))  # fmt: skip
"""What the default's Winkler score is held against."""


def _rows(asked: Asked, close_e5: Ints, scales: dict[str, Ints], start: int) -> tuple[list[Row], list[RivalRow]]:
    ahead, level = asked.bars, asked.level_ppm
    close, actual = close_e5[start : len(close_e5) - ahead], close_e5[start + ahead :]
    rows: list[Row] = []
    winklers: dict[tuple[str, str], Floats] = {}
    for model, scale in scales.items():
        rolling = intervals.crps_rolling(close_e5, scale, ahead, start)
        for method in _METHODS[model]:
            if method == "normal":
                issued = intervals.normal(close_e5, scale, ahead, level, start)
                crps = intervals.crps_normal(close_e5, scale, ahead, start)
            elif method == "split":
                issued = intervals.static(close_e5, scale, ahead, level, start)
                crps = intervals.crps_static(close_e5, scale, ahead, start)
            else:
                issued = intervals.online(close_e5, scale, ahead, level, method, start)
                crps = rolling
            rows.append(measure(asked, model, method, issued, close, actual, crps))
            winkler = issued.winkler_bp(close, actual, 1.0 - level / 1e6)
            if winkler is not None:
                winklers[model, method] = winkler
    ours = winklers.get(DEFAULT)
    if ours is None:
        return rows, []
    return rows, [compare(asked, *rival, ours, winklers[rival]) for rival in RIVALS if rival in winklers]
