"""Writes the tables of docs/calibration.md.

python docs/calibrations.py history FILE     from what `plimsoll validate --json` printed
python docs/calibrations.py simulated        coverage on markets whose volatility is known
"""

import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from models.conformal import Aci, Calibrator, DtAci, Fixed, calibrator
from models.train.data import volatilities
from tests.harness.processes import (
    BREAK,
    CALIBRATED,
    FIRST,
    bars_of,
    covered,
    ewma_scales,
    garch,
    independent,
    jump,
    tercile_spread,
)

SEEDS = 30


def history(path):
    found = json.loads(Path(path).read_text())
    by_cell = defaultdict(dict)
    for row in found["rows"]:
        by_cell[row["horizon"], row["symbol"]][row["model"], row["method"]] = row
    worst_rival = {}
    for rival in found["rivals"]:
        cell = rival["horizon"], rival["symbol"]
        if cell not in worst_rival or rival["ratio"] > worst_rival[cell]["ratio"]:
            worst_rival[cell] = rival
    default = tuple(found["default"])
    print("| | | coverage (95 %) | worst year | width bp | Winkler bp | split | EWMA | GARCH | to the best | t |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    horizons = list(dict.fromkeys(horizon for horizon, _ in by_cell))
    for (horizon, symbol), cell in sorted(by_cell.items(), key=lambda each: horizons.index(each[0][0])):
        row, rival = cell[default], worst_rival[horizon, symbol]
        split = min(cell["random-walk", method]["winkler"] for method in ("split", "rolling"))
        ewma, garch_row = (cell[f"{name}-random-walk", "normal"]["winkler"] for name in ("ewma", "garch"))
        print(
            f"| {horizon} | {symbol} | {row['coverage']:.4f} ({row['coverage_lo']:.3f}-{row['coverage_hi']:.3f}) "
            f"| {row['worst_window_coverage']:.3f} | {row['width']:.1f} | {row['winkler']:.1f} | {split:.1f} "
            f"| {ewma:.1f} | {garch_row:.1f} | {rival['ratio']:.3f} | {rival['t']:.1f} |"
        )
    print()
    means(by_cell)
    print()
    print("| | joint coverage (95 %) | mean width bp | Bonferroni | mean width bp |")
    print("| --- | --- | --- | --- | --- |")
    joint = defaultdict(dict)
    for row in found["joint"]:
        joint[row["symbol"]][row["method"]] = row
    for symbol, rows in joint.items():
        texts = [
            f"{row['coverage']:.3f} ({row['coverage_lo']:.3f}-{row['coverage_hi']:.3f}) | {row['width']:.1f}"
            for row in (rows["max-score"], rows["bonferroni"])
        ]
        print(f"| {symbol} | {' | '.join(texts)} |")


def means(by_cell):
    """Each model and method over all symbols."""
    print("| | model, method | coverage, least to most | worst year | Winkler bp | CRPS bp | unbounded |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    kinds = {kind for cell in by_cell.values() for kind in cell}
    for horizon in dict.fromkeys(horizon for horizon, _ in by_cell):
        for kind in sorted(kinds):
            rows = [cell[kind] for (each, _), cell in by_cell.items() if each == horizon]
            shares = [row["coverage"] for row in rows]
            winkler = "infinite"
            if all(row["winkler"] is not None for row in rows):
                winkler = f"{np.mean([row['winkler'] for row in rows]):.1f}"
            print(
                f"| {horizon} | {kind[0].removesuffix('-random-walk')}, {kind[1]} "
                f"| {min(shares):.4f} to {max(shares):.4f} | {min(row['worst_window_coverage'] for row in rows):.3f} "
                f"| {winkler} | {np.mean([row['crps'] for row in rows]):.2f} "
                f"| {sum(row['unbounded'] for row in rows)} |"
            )


def daemons_scales(returns):
    bars = bars_of(returns)
    scales, _ = volatilities(bars, horizons=(1,))
    known = np.maximum(scales[:-1, 0], 1) / (1e-3 * bars.close_e5[:-1])
    return np.concatenate(([1.0, 1.0], known[1:]))


def rolling(method):
    return lambda: Calibrator((900_000,), method=method, capacity=500)


METHODS = {
    "split": (lambda returns: np.ones(len(returns)), rolling(Fixed)),
    "EWMA-normalised": (ewma_scales, rolling(Fixed)),
    "ACI 0.02": (lambda returns: np.ones(len(returns)), rolling(lambda a: Aci(a, 0.02))),
    "DtACI": (lambda returns: np.ones(len(returns)), rolling(DtAci)),
    "EWMA-normalised, ACI 0.01": (ewma_scales, rolling(lambda a: Aci(a, 0.01))),
    "default": (daemons_scales, lambda: calibrator((900_000,), 1)),
}


def simulated():
    print("| method | independent | GARCH | terciles | spread | jump | first 60 | next 440 |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, (scales_of, make) in METHODS.items():
        runs = {}
        for process in (independent, garch, jump):
            pairs = [process(seed) for seed in range(SEEDS)]
            runs[process] = [(covered(r, scales_of(r), make()), sigma) for r, sigma in pairs]
        mean = {key: np.mean([held[CALIBRATED:].mean() for held, _ in found]) for key, found in runs.items()}
        spread, thirds = tercile_spread(
            np.concatenate([held[CALIBRATED:] for held, _ in runs[garch]]),
            np.concatenate([sigma[CALIBRATED:] for _, sigma in runs[garch]]),
        )
        first = np.mean([held[BREAK : BREAK + FIRST].mean() for held, _ in runs[jump]])
        after = np.mean([held[BREAK + FIRST : BREAK + 500].mean() for held, _ in runs[jump]])
        print(
            f"| {name} | {mean[independent]:.4f} | {mean[garch]:.4f} | {'/'.join(f'{each:.3f}' for each in thirds)} "
            f"| {spread:.3f} | {mean[jump]:.4f} | {first:.3f} | {after:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["simulated"]:
        simulated()
    elif sys.argv[1:2] == ["history"] and len(sys.argv) == 3:
        history(sys.argv[2])
    else:
        sys.exit(__doc__)
