"""Measures patterns and writes docs/patterns.md: `python docs/patterns.py [FOLDER]`, about ten minutes.

FOLDER holds hourly bid bars, one Parquet file a pair named like EURUSD_H1_bid.parquet, with columns ts (UTC), open,
high, low, close and volume (price updates); without it the tables of real prices are left out. Prints one JSON line a
pattern as well.
"""

import json
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from msgspec.structs import replace
from scipy.stats import beta, chi2

from bus.series import BarSeries
from bus.values import NS_PER_HOUR
from models import candles
from models.artifact import Artifact
from models.chart import LOOKBACK, Chart
from models.chartpatterns import catalogue
from models.columns import Columns, from_series
from models.contract import Pattern
from models.nets.autoencoder import NET
from models.patterns import scan
from models.train.detector import fit_detector
from tests.harness.markets import simulated
from tests.harness.plants import AFTER, plant
from tests.harness.trained import trained

SIDES = [(pattern, name, direction) for pattern in catalogue() for name, direction in pattern.sides]
CANDLE_SHAPES = {"bullish_engulfing", "bullish_pin_bar", "inside_bar", "three_white_soldiers"}
"""Drawn candle by candle, without a skeleton to be off."""
PLANTS = 2_000
NOISES = (0.1, 0.3, 0.5)
BARS = 200_000
HORIZONS = (1, 4, 24)
PAIRS = ("EURUSD", "GBPUSD", "USDJPY", "AUDUSD", "NZDUSD", "USDCAD", "EURGBP", "EURJPY", "GBPJPY", "AUDJPY")
FROM = datetime(2016, 1, 7, tzinfo=UTC)
REAL = "ten pairs, H1"
NS_PER_WEEK = 7 * 24 * NS_PER_HOUR

Key = tuple[str, int]
Event = tuple[int, Key]


# --- tables and statistics ---------------------------------------------------------------------------------------


def row(*cells: object) -> str:
    """A line of a table."""
    return "| " + " | ".join(map(str, cells)) + " |"


def head(*cells: object) -> list[str]:
    """The first two lines of a table."""
    return [row(*cells), row(*("---" for _ in cells))]


def share(hits: int, n: int) -> str:
    """A share in percent with its 95 % Clopper-Pearson interval."""
    low = beta.ppf(0.025, hits, n - hits + 1) if hits else 0.0
    high = beta.ppf(0.975, hits + 1, n - hits) if hits < n else 1.0
    return f"{100 * hits / n:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def rate(events: int, bars: int) -> str:
    """Events a thousand bars with the exact 95 % interval of a Poisson count."""
    low = chi2.ppf(0.025, 2 * events) / 2 if events else 0.0
    high = chi2.ppf(0.975, 2 * events + 2) / 2
    return f"{1000 * events / bars:.2f} ({1000 * low / bars:.2f} to {1000 * high / bars:.2f})"


def mean(values: np.ndarray, weeks: np.ndarray) -> tuple[float, float]:
    """A mean and half its 95 % interval, where values of one week (of all pairs) may hang together in any way."""
    centre = values.mean()
    _, group = np.unique(weeks, return_inverse=True)
    sums = np.bincount(group, weights=values - centre)
    groups = len(sums)
    error = math.sqrt((sums**2).sum() * groups / max(1, groups - 1)) / len(values)
    return float(centre), 1.96 * error


# --- named patterns ----------------------------------------------------------------------------------------------


def recall(pattern: Pattern, direction: int, plants: int, noise: float | None = None) -> int:
    """How many planted patterns are told where they are completed."""
    found = 0
    for seed in range(plants):
        planted = plant(pattern, direction, 1_000_000 + seed, noise)
        late = AFTER // 2 if len(planted.done) > 1 else 0
        for bar in range(planted.done.start, planted.done.stop + late):
            chart = Chart.of(planted.columns.rows(0, bar + 1))
            if pattern.detect(chart.mirrored if direction < 0 else chart) is not None:
                found += 1
                break
    return found


def events_of(columns: Columns) -> list[Event]:
    """All that is told on a market; that no formation is told twice is made sure of on the way."""
    events: list[Event] = []
    last: dict[Key, tuple[int, ...]] = {}
    for bar, one in scan(columns, LOOKBACK - 1):
        key = (one.name, one.direction)
        bones = tuple(bar - candle for candle in one.candles[1:])
        assert len(bones) < 2 or last.get(key) != bones, f"{key} told twice at bar {bar}"
        last[key] = bones
        events.append((bar, key))
    return events


@cache
def real(folder: Path, pair: str) -> BarSeries:
    table = pq.read_table(folder / f"{pair}_H1_bid.parquet")
    kept = np.flatnonzero(table["ts"].to_numpy().astype(np.int64) >= FROM.timestamp() * 1e9)
    table = table.take(kept)

    def e5(name: str) -> np.ndarray:
        return np.round(table[name].to_numpy() * 1e5).astype(np.int64)

    return BarSeries(
        symbol=pair,
        period_ns=NS_PER_HOUR,
        ts_open_ns=table["ts"].to_numpy().astype(np.int64),
        open_e5=e5("open"),
        high_e5=e5("high"),
        low_e5=e5("low"),
        close_e5=e5("close"),
        quotes=table["volume"].to_numpy().astype(np.int64),
    )


class Returns:
    """Log returns in basis points after events, and after every bar."""

    def __init__(self) -> None:
        self.after: dict[tuple[Key | None, int], list[np.ndarray]] = defaultdict(list)
        self.weeks: dict[tuple[Key | None, int], list[np.ndarray]] = defaultdict(list)

    def add(self, series: BarSeries, events: Iterable[Event]) -> None:
        """Take one pair."""
        bars: dict[Key | None, list[int]] = defaultdict(list)
        bars[None] = list(range(LOOKBACK - 1, len(series)))
        for bar, key in events:
            bars[key].append(bar)
        logs = np.log(series.close_e5)
        for horizon in HORIZONS:
            for key, each in bars.items():
                at = np.array([bar for bar in each if bar + horizon < len(series)], np.int64)
                self.after[key, horizon].append((logs[at + horizon] - logs[at]) * 1e4)
                self.weeks[key, horizon].append(series.ts_open_ns[at] // NS_PER_WEEK)

    def mean(self, key: Key | None, horizon: int) -> tuple[float, float] | None:
        """Mean and half interval; None where nothing was told."""
        if not self.after[key, horizon]:
            return None
        return mean(np.concatenate(self.after[key, horizon]), np.concatenate(self.weeks[key, horizon]))


def named_tables(folder: Path | None) -> list[str]:
    """Recall, false alarms and forward returns of every name."""
    markets = {
        "random walk": events_of(from_series(simulated(BARS, 101))),
        "GARCH": events_of(from_series(simulated(BARS, 102, garch=True))),
    }
    bars = dict.fromkeys(markets, BARS - LOOKBACK + 1)
    returns = Returns()
    if folder is not None:
        markets[REAL], bars[REAL] = [], 0
        for pair in PAIRS:
            series = real(folder, pair)
            events = events_of(from_series(series))
            returns.add(series, events)
            markets[REAL] += events
            bars[REAL] += len(series) - LOOKBACK + 1
    counts = {name: Counter(key for _, key in events) for name, events in markets.items()}

    found = head("pattern", f"found of {PLANTS:,} planted, %", *(f"noise {noise}" for noise in NOISES))
    alarms = head("pattern", *(f"{name} ({bars[name]:,} bars)" for name in markets))
    for pattern, name, direction in SIDES:
        hits = recall(pattern, direction, PLANTS)
        noisy = ["" for _ in NOISES]
        if pattern.bullish not in CANDLE_SHAPES:
            noisy = [f"{100 * recall(pattern, direction, 500, noise) / 500:.0f}" for noise in NOISES]
        found.append(row(shown(name, direction), share(hits, PLANTS), *noisy))
        told = {market: count[name, direction] for market, count in counts.items()}
        alarms.append(row(shown(name, direction), *(rate(events, bars[market]) for market, events in told.items())))
        line = {
            "pattern": name,
            "direction": direction,
            "recall": hits / PLANTS,
            "a_thousand_bars": {market: round(1000 * events / bars[market], 3) for market, events in told.items()},
            "forward_bp": {horizon: returns.mean((name, direction), horizon) for horizon in HORIZONS},
        }
        print(json.dumps(line), flush=True)
    text = [FOUND.format(plants=PLANTS), *found, "", ALARMS, *alarms, ""]
    return text + (forward(returns, counts[REAL]) if folder is not None else [])


def shown(name: str, direction: int) -> str:
    """A name; where both directions share one, with its direction."""
    shared = sum(other == name for _, other, _ in SIDES) > 1
    return name.replace("_", " ") + ({1: ", up", -1: ", down"}[direction] if shared else "")


def forward(returns: Returns, counts: Counter[Key]) -> list[str]:
    """The table of what came after."""
    every = {horizon: returns.mean(None, horizon) for horizon in HORIZONS}
    rows = head("after", "n", *(f"bar +{horizon}, bp" for horizon in HORIZONS))
    means = (f"{centre:+.2f} ± {half:.2f}" for centre, half in every.values())
    rows.append(row("**every bar**", f"{sum(map(len, returns.after[None, 1])):,}", *means))
    outside = tried = 0
    for _, name, direction in SIDES:
        cells: list[str] = []
        for horizon in HORIZONS:
            told = returns.mean((name, direction), horizon)
            if told is None:
                cells.append("")
                continue
            away = abs(told[0] - every[horizon][0]) > told[1]
            outside, tried = outside + away, tried + 1
            cells.append(f"{told[0]:+.2f} ± {told[1]:.2f}" + (" *" if away else ""))
        rows.append(row(shown(name, direction), f"{counts[name, direction]:,}", *cells))
    return [FORWARD.format(outside=outside, tried=tried, chance=0.05 * tried), *rows, ""]


# --- the autoencoder ---------------------------------------------------------------------------------------------


def detector(series: BarSeries, seed: int) -> Artifact:
    manifest = next(made for made in trained().artifacts if made.manifest.kind == "detector").manifest
    return fit_detector(NET, from_series(series), replace(manifest, seed=seed))


def alarm_share(made: Artifact, series: BarSeries) -> float:
    errors = candles.errors(made.pipeline, candles.windows(from_series(series))).mean(axis=1)
    return float((errors > made.tensors["error_percentiles"][95]).mean())


def attribution(made: Artifact) -> tuple[int, int, int, int]:
    """Odd candles planted, of those named, all named, windows: in windows with an alarm."""
    random = np.random.default_rng(5)
    level, threshold = made.tensors["error_percentiles"], float(made.tensors["candle_threshold"][0])
    odd = hits = told = alarms = 0
    for window in candles.windows(from_series(simulated(30_000, 77)))[:: candles.CANDLES]:
        changed = window.reshape(candles.CANDLES, candles.PARTS).copy()
        where = random.choice(candles.CANDLES, int(random.integers(1, 4)), replace=False)
        changed[where, 1 + random.integers(0, 3, len(where))] = random.uniform(4.0, candles.LIMIT, len(where))
        seen = candles.judge(candles.errors(made.pipeline, changed.reshape(1, -1))[0], level, threshold)
        if seen is None:
            continue
        named = {candles.CANDLES - 1 - offset for offset in seen.candles}
        alarms, odd = alarms + 1, odd + len(where)
        hits, told = hits + len(named & set(where.tolist())), told + len(named)
    return odd, hits, told, alarms


def detector_tables(folder: Path | None) -> list[str]:
    """False alarms of the autoencoder, and which candles it names."""
    rows = head("trained on", "markets", "alarms on fresh windows, %", "least and most")
    for bars, markets in ((1_000, 12), (3_000, 12), (16_000, 6)):
        made = [(detector(simulated(bars, 2 * seed + 1), seed), seed) for seed in range(markets)]
        rates = 100 * np.array([alarm_share(one, simulated(20_000, 1_000 + seed)) for one, seed in made])
        half = 1.96 * rates.std(ddof=1) / math.sqrt(len(rates))
        span = f"{rates.min():.1f} to {rates.max():.1f}"
        rows.append(row(f"{bars:,} candles of a random walk", markets, f"{rates.mean():.1f} ± {half:.1f}", span))
    odd, hits, told, alarms = attribution(made[0][0])
    if folder is not None:
        shares: dict[str, float] = {}
        for pair in PAIRS:
            series = real(folder, pair)
            cut = len(series) * 6 // 10
            shares[pair] = 100 * alarm_share(detector(series.slice(0, cut), 7), series.slice(cut, len(series)))
        most = f"{min(shares.values()):.1f} to {max(shares.values()):.1f}"
        centre = f"{sum(shares.values()) / len(PAIRS):.1f}"
        rows.append(row("the older 60 % of real H1 bars", f"{len(PAIRS)} pairs", centre, most))
    words = NAMING.format(alarms=alarms, odd=odd, hits=100 * hits / odd, told=100 * hits / told)
    return [DETECTOR, *rows, "", words, ""]


# --- the page ----------------------------------------------------------------------------------------------------


def geometry() -> list[str]:
    """What the detectors say of themselves, word for word."""
    text: list[str] = []
    for pattern in catalogue():
        names = " / ".join(dict.fromkeys(name.replace("_", " ") for name, _ in pattern.sides))
        lines = [line.removeprefix("    ") for line in (pattern.detect.__doc__ or "").strip().splitlines()]
        text += [f"### {names[0].upper()}{names[1:]}", "", "```text", *lines, "```", ""]
    return text


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    text = [INTRODUCTION, *named_tables(folder), *detector_tables(folder), GEOMETRY, *geometry()]
    (Path(__file__).parent / "patterns.md").write_text("\n".join(text).rstrip() + "\n")


INTRODUCTION = """# Patterns

Written by `.venv/bin/python docs/patterns.py FOLDER` (hourly bid bars, one Parquet file a pair; the tables below used
ten pairs, 2016-01-07 to 2022-12-30, OANDA, volume = price updates). Every number here is measured by that command.

A named pattern is a shape: exact inequalities in average true ranges (below, word for word from the detectors), a
confidence from 0 (an inequality is kept with nothing to spare) to 1 (all are at or past their ideal), and nothing else.
It is told once, by the bar that completes it, as a `PatternSeen` with `confidence_ppm` and `direction`. Swings are
pivots that a close has confirmed by 2 ATR; none is used before the bar that confirmed it. **No strategy here trades on
patterns, and the table of what came after says why.**
"""

FOUND = """## Planted patterns that are found

{plants:,} of each name, random in size, duration and noise, amid 150 to 190 candles of a random walk; found = told by a
bar that may complete it. With the 95 % Clopper-Pearson interval. The plants lie within the geometry before noise is
added (closes off the skeleton by a normal of 0.1 to 0.3 ATR; `tests/harness/plants.py` states every range), so this
measures what noise breaks, not how markets draw. At the right: % found at one noise, 500 plants each.
"""

ALARMS = """## How often nothing looks like something

Events a thousand bars with the exact 95 % Poisson interval (too narrow where events cluster). On a random walk and on
GARCH(0.08, 0.90) every one is a false alarm: there is nothing to find. Volumes there are log-normal and independent of
direction. Real prices draw formations of swings a little less often than the random walk does, candles more or less
often, and breakouts of quiet ranges with volume about three times as often, since nights are quiet and sessions open.
That a shape is rarer or more frequent than by chance says nothing about what follows.
"""

FORWARD = """## What came after, on real prices

Mean log return of the bid close over the next 1, 4 and 24 bars in basis points, not turned by the pattern's direction,
± half of the 95 % interval (weeks as clusters, over all pairs at once, since pairs move together). * = the interval
does not hold the mean of every bar: {outside} of {tried}, where chance alone gives about {chance:.0f}. After
engulfing candles prices went a little against the pattern, by a fraction of a spread. A spread costs 1 to 3 bp a round
trip and is not taken off. In-sample, one broker, one period: a description, not a claim.
"""

DETECTOR = """## The autoencoder

Windows of 50 candles, squeezed through 12 numbers and redrawn; an alarm where the mean squared error lies above the
95th percentile of the errors on windows that the network had not learnt from (`models/train/detector.py`). On fresh
windows of the same kind 5 % should be alarms; ± half of the 95 % interval over markets. Real prices are not
exchangeable, so there the share says how much the newer 40 % differ from the older 60 %. From 1,000 candles the level
is the largest error met, since fewer than 20 windows lie apart, and alarms are rarer than the level promises.
"""

NAMING = """Which candles differ: of fresh windows with one to three candles made odd (a body or a wick of 4 to 6
median true ranges) {alarms} raised the alarm; {hits:.0f} % of their {odd} odd candles were named, and
{told:.0f} % of those named were odd.
"""

GEOMETRY = """## Geometry

Bullish side up; the bearish pattern is the same on prices turned upside down. A swing is a top or bottom whose reversal
of 2 ATR (24 bars, at the extreme) a close has confirmed.
"""

if __name__ == "__main__":
    main()
