"""Writes the tables of docs/gates.md.

python docs/gates.py coverage        false alarms, delays and ways back of the coverage gate (about two minutes)
python docs/gates.py overlapping     false alarms on truths that overlap (about two minutes)
python docs/gates.py drift [FOLDER]  false alarms of the drift gates; FOLDER has real hours as Parquet files
python docs/gates.py delays          how long the drift gates take
python docs/gates.py adwin           ADWIN beside performance drift; needs `river`, which nothing else does
"""

import random
import sys
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np

from bus.messages import Histogram, TrainingSummary
from models.conformal import kept
from models.conformal.calibrator import stride_for
from models.summary import Measures
from models.train.data import volatilities
from models.train.summary import summarise
from risk.coverage import CoverageState, CoverageTracker
from risk.drift import DataDrift, DriftState, PerformanceDrift, SpectrumDrift
from tests.harness.markets import simulated

WINDOW = 250
LEVELS = (900_000, 800_000, 950_000, 500_000)
HALVED = 0.5891660  # what is left of 90 % when sigma is twice what the interval says
BAD = (CoverageState.DEGRADED, CoverageState.BLOCKED)


def share(count, of):
    return f"{100 * count / of:.2f} %"


def spread_of(values):
    ordered = sorted(values)
    return f"{median(ordered):.0f} ({ordered[len(ordered) // 10]:.0f}-{ordered[9 * len(ordered) // 10]:.0f})"


def ever(tracker, outcomes):
    """Whether a tracker was degraded, and whether it was blocked, at any of the outcomes."""
    seen = set()
    for covered in outcomes:
        tracker.add(covered)
        seen.add(tracker.state)
    return bool(seen & set(BAD)), CoverageState.BLOCKED in seen


def fresh(level, windows, chance, source):
    """Windows of 250 outcomes, each from a fresh tracker: how many were ever degraded, and ever blocked."""
    told = [ever(CoverageTracker(level), (source.random() < chance for _ in range(WINDOW))) for _ in range(windows)]
    return sum(each[0] for each in told), sum(each[1] for each in told)


def running(level, windows, chance, source):
    """Windows of 250 outcomes behind each other, one tracker: how many were ever degraded or blocked, carried over."""
    tracker = CoverageTracker(level)
    told = [ever(tracker, (source.random() < chance for _ in range(WINDOW))) for _ in range(windows)]
    return sum(each[0] for each in told), sum(each[1] for each in told)


def delay(level, chance, states, source, most=2_000):
    """Outcomes from a change of coverage until a state, after 250 honest ones."""
    tracker = CoverageTracker(level)
    for _ in range(WINDOW):
        tracker.add(source.random() < level / 1e6)
    for count in range(most):
        if tracker.state in states:
            return count
        tracker.add(source.random() < chance)
    return most


def way_back(lies, source):
    """Honest outcomes after a lie until no longer blocked, and until OK."""
    tracker = CoverageTracker(900_000)
    for count in range(WINDOW + lies):
        tracker.add(source.random() < (0.9 if count < WINDOW else HALVED))
    unblocked = None
    for count in range(5_000):
        if unblocked is None and tracker.state is not CoverageState.BLOCKED:
            unblocked = count
        if tracker.state is CoverageState.OK:
            return unblocked, count
        tracker.add(source.random() < 0.9)
    return unblocked, 5_000


def coverage():
    source, windows = random.Random(1), 10_000
    print("| level | windows | ever degraded | ever blocked |")
    print("| --- | --- | --- | --- |")
    for level in LEVELS:
        for name, run in (("each from a fresh tracker", fresh), ("one behind the other", running)):
            degraded, blocked = run(level, windows, level / 1e6, source)
            print(
                f"| {level / 1e4:g} % | {name} | {share(degraded, windows)} | {share(blocked, windows)} |", flush=True
            )
    print("\n| true coverage of 90 % intervals | degraded after | blocked after |")
    print("| --- | --- | --- |")
    for chance in (HALVED, 0.7, 0.8, 0.85):
        cells = [spread_of([delay(900_000, chance, states, source) for _ in range(500)]) for states in (BAD, BAD[1:])]
        print(f"| {chance:.1%} | {' | '.join(cells)} |", flush=True)
    print("\n| outcomes with volatility doubled | no longer blocked after | OK after |")
    print("| --- | --- | --- |")
    for lies in (50, 100, 250):
        backs = [way_back(lies, source) for _ in range(300)]
        print(f"| {lies} | {spread_of([each[0] for each in backs])} | {spread_of([each[1] for each in backs])} |")


def overlapping():
    """Truths `horizon` bars ahead of a random walk, asked for at every bar, the interval right."""
    source = np.random.default_rng(2)
    print("| horizon | windows | ever degraded | ever blocked | blocked after doubled volatility, outcomes |")
    print("| --- | --- | --- | --- | --- |")
    for horizon, windows in ((1, 4_000), (4, 2_000), (24, 1_000)):
        degraded = blocked = 0
        delays = []
        for _ in range(windows):
            bad, stopped = ever(
                CoverageTracker(900_000, horizon=horizon), _walk(source, WINDOW * horizon, horizon, 1.0)
            )
            degraded, blocked = degraded + bad, blocked + stopped
        for _ in range(200):
            tracker = CoverageTracker(900_000, horizon=horizon)
            for covered in _walk(source, WINDOW * horizon, horizon, 1.0):
                tracker.add(covered)
            delays.append(0)
            for covered in _walk(source, 500 * horizon, horizon, 2.0):
                if tracker.state is CoverageState.BLOCKED:
                    break
                tracker.add(covered)
                delays[-1] += 1
        took = spread_of([each / horizon for each in delays])
        print(
            f"| {horizon} | {windows} | {share(degraded, windows)} | {share(blocked, windows)} | {took} |", flush=True
        )


def _walk(source, outcomes, horizon, size):
    sums = np.concatenate(([0.0], np.cumsum(source.standard_normal(outcomes + horizon - 1) * size)))
    return (np.abs(sums[horizon:] - sums[:-horizon]) <= 1.6448536 * horizon**0.5).tolist()


def measured(bars, start):
    """What the core would have measured of the bars from `start` on."""
    scales, _ = volatilities(bars, horizons=(1,))
    measures, found = Measures(), []
    before = 0
    columns = (bars.high_e5, bars.low_e5, bars.close_e5, scales[:, 0])
    for high, low, close, scale in zip(*(each.tolist() for each in columns), strict=True):
        found.append(measures.update(high, low, close, before))
        before = scale
    return found[start:]


def scores_of(bars, horizon):
    """The random walk's scores, row by row."""
    scales, _ = volatilities(bars, horizons=(horizon,))
    moved = np.abs(bars.close_e5[horizon:] - bars.close_e5[:-horizon])
    return moved / np.maximum(scales[:-horizon, 0], 1)


def alarms(drift, feed):
    """At which of the inputs it first warned and first blocked (None = never), and the share of time in each."""
    first, times, count = {}, {DriftState.WARN: 0, DriftState.BLOCK: 0}, 0
    for each in feed:
        drift.add(*each)
        count += 1
        if drift.state in times:
            times[drift.state] += 1
            first.setdefault(drift.state, count)
    return first.get(DriftState.WARN, first.get(DriftState.BLOCK)), first.get(DriftState.BLOCK), times, count


def performance_of(bars, start, horizon, twice_from=None):
    scores = scores_of(bars, horizon)
    split = kept(scores[start - 1_000 : start].tolist(), horizon)
    drift = PerformanceDrift(split, spacing=stride_for(horizon), horizon=horizon, level_ppm=900_000, limit_pct=15)
    live = scores[start + horizon :].copy()
    if twice_from is not None:
        live[twice_from:] *= 2.0
    return alarms(drift, [(each,) for each in live.tolist()])


def data_of(bars, start):
    drift = DataDrift(summarise(bars.slice(0, start)), limit_pct=20)
    return alarms(drift, [(each.return_ppm, each.range_ppm) for each in measured(bars, start)])


def spectrum_of(bars, start):
    drift = SpectrumDrift(summarise(bars.slice(0, start)), limit_pct=25)
    return alarms(drift, [(each.octaves,) for each in measured(bars, start)])


def hourly(bars):
    """The same bars on the clock of a market that is closed at weekends."""
    hours = np.arange(len(bars))
    return replace(bars, ts_open_ns=bars.ts_open_ns[0] + (hours + 48 * (hours // 120)) * bars.period_ns)


def real(folder, bars=9_000, start=6_000):
    """Runs of real hours: half a year of trading after a year of training."""
    from adapters.history import read

    for whole in read(Path(folder)):
        for begin in range(0, len(whole) - bars, bars):
            yield whole.slice(begin, begin + bars), start


def drift(folder=None, runs=60, bars=6_000, start=3_000):
    worlds = {
        "independent": [(hourly(simulated(bars, seed)), start) for seed in range(int(runs))],
        "GARCH": [(hourly(simulated(bars, seed, garch=True)), start) for seed in range(int(runs))],
    }
    if folder:
        worlds["real hours"] = list(real(folder))
    print("| | world | runs of 3,000 bars | ever warn | ever block | time in warn | in block |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    kinds = {
        "performance, 1 bar": lambda b, s: performance_of(b, s, 1),
        "performance, 4 bars": lambda b, s: performance_of(b, s, 4),
        "performance, 24 bars": lambda b, s: performance_of(b, s, 24),
        "data": data_of,
        "spectrum": spectrum_of,
    }
    for name, kind in kinds.items():
        for world, series in worlds.items():
            told = [kind(each, begin) for each, begin in series]
            total = sum(each[3] for each in told)
            cells = [share(sum(each[place] is not None for each in told), len(told)) for place in (0, 1)]
            cells += [
                share(sum(each[2][state] for each in told), total) for state in (DriftState.WARN, DriftState.BLOCK)
            ]
            print(f"| {name} | {world} | {len(told)} | {' | '.join(cells)} |", flush=True)


def delays(runs=60):
    """Bars from a change to an alarm, after 3,000 bars of training and 1,000 like them."""
    print("| what changes | first warn after, bars | first block after, bars |")
    print("| --- | --- | --- |")
    told = [performance_of(simulated(6_000, seed), 3_000, 1, twice_from=1_000) for seed in range(int(runs))]
    _row("performance, 1 bar ahead: errors double", told, 1_000)
    told = []
    for seed in range(int(runs)):
        bars = simulated(6_000, seed)
        both = measured(bars, 3_000)
        drift = DataDrift(summarise(bars.slice(0, 3_000)), limit_pct=20)
        rows = [(each.return_ppm * (1 + (n >= 1_000)), each.range_ppm) for n, each in enumerate(both)]
        told.append(alarms(drift, rows))
    _row("data: returns twice as large against their scale", told, 1_000)
    for echo in (0.3, 0.5):
        told = [_echoing(seed, echo) for seed in range(int(runs))]
        _row(f"spectrum: each return echoes {echo:g} of the one before", told, 1_000)


def _row(name, told, begun):
    cells = []
    for place in (0, 1):
        late = [each[place] - begun for each in told if each[place] is not None and each[place] > begun]
        cells.append(f"{spread_of(late)} in {share(len(late), len(told))}" if late else "never")
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def _echoing(seed, echo, bars=6_000, start=3_000, change=4_000):
    source = np.random.default_rng(seed)
    measures, found, before, price = Measures(), [], 0.0, 10_000_000
    for row, shock in enumerate(source.standard_normal(bars).tolist()):
        before = (echo * before if row >= change else 0.0) + shock
        price += round(1_000 * before)
        found.append(measures.update(price, price, price, 1_000))
    power = np.array([each.octaves for each in found[100:start]], float).sum(axis=0)
    shares = tuple(int(each) for each in 1e6 * power / power.sum())
    reference = TrainingSummary(bars=start, returns=Histogram(), ranges=Histogram(), octaves_ppm=shares)
    drift = SpectrumDrift(reference, limit_pct=25)
    return alarms(drift, [(each.octaves,) for each in found[start:]])


def adwin(runs=60):
    """ADWIN on the same scores, beside performance drift: how many alarm, and after how many bars."""
    from river.drift import ADWIN

    worlds = {
        "independent, no change": np.ones,
        "errors double at bar 1,000": lambda n: np.where(np.arange(n) < 1_000, 1.0, 2.0),
        "errors halve at bar 1,000": lambda n: np.where(np.arange(n) < 1_000, 1.0, 0.5),
        "errors grow by half, evenly over 3,000 bars": lambda n: np.linspace(1.0, 1.5, n),
    }
    print("| scores | ADWIN alarms | first after | performance drift warns | first after | warns at the end |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, sizes in worlds.items():
        found, own, last = [], [], 0
        for seed in range(int(runs)):
            source = np.random.default_rng(seed)
            split = np.abs(source.standard_normal(500)).tolist()
            scores = (np.abs(source.standard_normal(3_000)) * sizes(3_000)).tolist()
            theirs = ADWIN()
            drift = PerformanceDrift(split, spacing=1, horizon=1, level_ppm=900_000, limit_pct=15)
            first = None
            for count, score in enumerate(scores, 1):
                theirs.update(score)
                if theirs.drift_detected and first is None:
                    first = count
            found.append(first)
            own.append(alarms(drift, [(each,) for each in scores])[0])
            last += drift.state in {DriftState.WARN, DriftState.BLOCK}
        cells = []
        for told in (found, own):
            some = [each for each in told if each is not None]
            cells += [share(len(some), len(told)), spread_of(some) if some else "-"]
        print(f"| {name} | {' | '.join(cells)} | {share(last, len(own))} |", flush=True)


if __name__ == "__main__":
    tasks = {"coverage": coverage, "overlapping": overlapping, "drift": drift, "delays": delays, "adwin": adwin}
    if len(sys.argv) < 2 or sys.argv[1] not in tasks:
        sys.exit(__doc__)
    tasks[sys.argv[1]](*sys.argv[2:])
