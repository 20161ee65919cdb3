"""Were the forecasts any good, and did the intervals tell the truth?

Theory of operation. Each `ForecastResolved` becomes one row of figures under (symbol, model, horizon). Tables are
worked out at the end; a model is compared with the random walk over the forecasts that both made, paired by their
time. Where no random walk ran, its row is derived: point = the close, scale = the active model's own.

Forecasts more than one bar ahead overlap, so their errors are correlated: the tests allow for it (Newey-West), the
binomial intervals do not and are narrower than they should be at long horizons.
"""

import math
from collections import deque

import msgspec

from bus.messages import ForecastResolved, ModelAdmitted
from risk.adherence.numbers import crps_gaussian, exact_interval, newey_west_t
from risk.adherence.records import CoveragePoint, CoverageSeries, ForecastRow, LevelRow

COVERAGE_WINDOW = 200
"""Forecasts in a rolling coverage: at 90 % its 95 % interval is about nine points wide."""

LEAK_RATE = 0.55
LEAK_MINIMUM = 300
"""A hit rate above 55 % on at least 300 calls is not believed: it suggests that the model has seen the answers."""

RANDOM_WALK_KINDS = frozenset({"random_walk", "random-walk"})

Key = tuple[str, str, int]


class _Level(msgspec.Struct):
    n: int = 0
    covered: int = 0
    width: int = 0
    winkler: float = 0.0


class _Column(msgspec.Struct):
    """One model at one horizon. Errors and CRPS are in 1/100000."""

    active: bool = False
    as_of_ns: list[int] = []
    errors: list[int] = []
    moves: list[int] = []
    sigmas: list[int] = []
    crps: list[float] = []
    hits: int = 0
    calls: int = 0
    levels: dict[int, _Level] = {}
    held: list[tuple[int, bool]] = []


class ForecastScores:
    """Folds resolved forecasts."""

    def __init__(self) -> None:
        self._columns: dict[Key, _Column] = {}
        self._seen: dict[Key, set[int]] = {}
        self._walks: set[str] = {"random-walk"}

    def on_admitted(self, model: ModelAdmitted) -> None:
        """Which models are the random walk."""
        if model.kind in RANDOM_WALK_KINDS or model.model_id.startswith("random-walk"):
            self._walks.add(model.model_id)

    def on_resolved(self, fact: ForecastResolved) -> None:
        """One more truth; a second telling of the same one changes nothing."""
        key = (fact.symbol, fact.model_id, fact.horizon)
        column = self._columns.get(key)
        if column is None:
            column = self._columns[key] = _Column()
            self._seen[key] = set()
        if fact.as_of_ns in self._seen[key]:
            return
        self._seen[key].add(fact.as_of_ns)
        error = fact.actual_e5 - fact.point_e5
        move = fact.actual_e5 - fact.close_e5
        called = fact.point_e5 - fact.close_e5
        column.active = fact.active
        column.as_of_ns.append(fact.as_of_ns)
        column.errors.append(error)
        column.moves.append(move)
        column.sigmas.append(fact.sigma_e5)
        column.crps.append(crps_gaussian(error, max(1, fact.sigma_e5)))
        if called and move:
            column.calls += 1
            column.hits += (called > 0) == (move > 0)
        for place, (band, covered) in enumerate(zip(fact.bands, fact.covered, strict=True)):
            if not band.bounded:
                continue
            level = column.levels.setdefault(band.level_ppm, _Level())
            width = band.upper_e5 - band.lower_e5
            miss = max(band.lower_e5 - fact.actual_e5, fact.actual_e5 - band.upper_e5, 0)
            level.n += 1
            level.covered += covered
            level.width += width
            level.winkler += width + 2.0 * miss / (1.0 - band.level_ppm / 1e6)
            if place == 0:
                column.held.append((fact.ts_init_ns, covered))

    # --- tables ------------------------------------------------------------------------------------------------

    def rows(self, pip_e5: dict[str, int]) -> tuple[ForecastRow, ...]:
        """Every model at every horizon: by symbol and horizon, the active model first, the random walk last."""
        out: list[ForecastRow] = []
        for symbol, horizon in sorted({(symbol, horizon) for symbol, _, horizon in self._columns}):
            here = {model: c for (s, model, h), c in self._columns.items() if (s, h) == (symbol, horizon)}
            walk_id = next((model for model in sorted(here) if model in self._walks), "")
            walk = here.get(walk_id) or _derived(here)
            names = sorted((model for model in here if model != walk_id), key=lambda m: (not here[m].active, m))
            pip = pip_e5.get(symbol, 10)
            out.extend(_row(symbol, horizon, name, here[name], walk, pip) for name in names)
            out.append(_row(symbol, horizon, walk_id, walk, None, pip))
        return tuple(out)

    def coverage(self) -> tuple[CoverageSeries, ...]:
        """Rolling coverage of the active models' widest intervals."""
        out: list[CoverageSeries] = []
        for (symbol, model_id, horizon), column in sorted(self._columns.items()):
            if column.active and column.held:
                out.append(
                    CoverageSeries(
                        symbol=symbol,
                        model_id=model_id,
                        horizon=horizon,
                        level=max(column.levels) / 1e6,
                        window=COVERAGE_WINDOW,
                        points=_rolling(column.held),
                    )
                )
        return tuple(out)


def _derived(here: dict[str, _Column]) -> _Column:
    """The random walk's column where none ran, from the active model's times and scales."""
    source = next((column for _, column in sorted(here.items()) if column.active), next(iter(here.values())))
    return _Column(
        as_of_ns=source.as_of_ns,
        errors=source.moves,
        crps=[crps_gaussian(move, max(1, sigma)) for move, sigma in zip(source.moves, source.sigmas, strict=True)],
    )


def _row(symbol: str, horizon: int, model_id: str, column: _Column, walk: _Column | None, pip: int) -> ForecastRow:
    n = len(column.errors)
    low, high = exact_interval(column.hits, column.calls) if column.calls else (0.0, 1.0)
    rate = column.hits / column.calls if column.calls else 0.0
    skill, crps_t = 0.0, None
    if walk is not None:
        theirs = dict(zip(walk.as_of_ns, walk.crps, strict=True))
        pairs = [(theirs[at], ours) for at, ours in zip(column.as_of_ns, column.crps, strict=True) if at in theirs]
        base = math.fsum(walk_crps for walk_crps, _ in pairs)
        skill = 1.0 - math.fsum(ours for _, ours in pairs) / base if base > 0 else 0.0
        crps_t = newey_west_t([walk_crps - ours for walk_crps, ours in pairs], horizon - 1)
    return ForecastRow(
        symbol=symbol,
        model_id=model_id or "random-walk",
        active=column.active,
        random_walk=walk is None,
        derived=not model_id,
        horizon=horizon,
        n=n,
        levels=tuple(_level(ppm, level, pip) for ppm, level in sorted(column.levels.items(), reverse=True)),
        mae_pips=math.fsum(abs(error) for error in column.errors) / n / pip,
        rmse_pips=math.sqrt(math.fsum(error * error for error in column.errors) / n) / pip,
        crps_pips=math.fsum(column.crps) / n / pip,
        hits=column.hits,
        calls=column.calls,
        hit_rate=rate,
        hit_low=low,
        hit_high=high,
        skill=skill,
        crps_t=crps_t,
        leak_suspected=column.calls >= LEAK_MINIMUM and rate > LEAK_RATE,
    )


def _level(level_ppm: int, level: _Level, pip: int) -> LevelRow:
    low, high = exact_interval(level.covered, level.n)
    return LevelRow(
        level=level_ppm / 1e6,
        n=level.n,
        covered=level.covered,
        measured=level.covered / level.n,
        low=low,
        high=high,
        mean_width_pips=level.width / level.n / pip,
        winkler_pips=level.winkler / level.n / pip,
    )


def _rolling(held: list[tuple[int, bool]]) -> tuple[CoveragePoint, ...]:
    """From the 30th forecast on, over a growing and then sliding window."""
    window: deque[bool] = deque()
    covered = 0
    points: list[CoveragePoint] = []
    for ts_ns, inside in held:
        window.append(inside)
        covered += inside
        if len(window) > COVERAGE_WINDOW:
            covered -= window.popleft()
        n = len(window)
        if n >= 30:
            low, high = exact_interval(covered, n)
            points.append(CoveragePoint(ts_ns=ts_ns, n=n, measured=covered / n, low=low, high=high))
    return tuple(points)
