"""Writes the tables of docs/validation.md and docs/benchmark.md.

python docs/validations.py history FILE      from what `plimsoll validate --json` printed
python docs/validations.py benchmark FILE    from what `plimsoll validate --protocol gluonts --json` printed
python docs/validations.py synthetic         the benchmark's walks on a walk whose covariance is known
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.benchmark import WALKS, measure
from models.benchmark.learnt import learnt
from models.benchmark.walks import walked
from models.nets import architectures

SEEDS = 10


def history(path):
    found = json.loads(Path(path).read_text())
    print("| | | model | directions right (95 %) | base | RMSE | MAE | t | CRPS | t | coverage (95 %) |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for row in found["skill"]:
        right, base = "no calls", "-"
        if row["calls"]:
            right = f"{row['directional_accuracy']:.3f} ({row['directional_lo']:.3f}-{row['directional_hi']:.3f})"
            base = f"{row['base_rate']:.3f}"
        t_squared, t_crps = ("-" if row[key] is None else f"{row[key]:+.1f}" for key in ("dm_t", "crps_t"))
        print(
            f"| {row['horizon']} | {row['symbol']} | {row['model']} | {right} | {base} | {row['rmse']:.2f} "
            f"| {row['mae']:.2f} | {t_squared} | {row['crps']:.3f} | {t_crps} "
            f"| {row['coverage']:.3f} ({row['coverage_lo']:.3f}-{row['coverage_hi']:.3f}) |"
        )
    print()
    print("| | | model, rule | signals | net %/y | gross %/y | Sharpe (95 %) | drawdown % | PSR | DSR |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for row in found["trading"]:
        ratio = psr = dsr = "-"
        if row["sharpe"] is not None:
            ratio = f"{row['sharpe']:.2f} ({row['sharpe_lo']:.2f} to {row['sharpe_hi']:.2f})"
            psr, dsr = f"{row['psr']:.3f}", f"{row['dsr']:.3f}"
        print(
            f"| {row['horizon']} | {row['symbol']} | {row['model']}, {row['rule']} | {100 * row['signals']:.1f} % "
            f"| {row['net']:.2f} | {row['gross']:.2f} | {ratio} | {row['drawdown']:.2f} | {psr} | {dsr} |"
        )
    print()
    print("| | model | near, far | calls | contradictions | near right | far right | followed bp | where agreed bp |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for row in found["agreement"]:
        if row["contradictions"]:
            print(
                f"| {row['symbol']} | {row['model']} | {row['short']}, {row['long']} | {row['called']} "
                f"| {100 * row['contradictions']:.1f} % | {_share(row['short_right'])} | {_share(row['long_right'])} "
                f"| {row['followed']:.1f} | {row['followed_agreed']:.1f} |"
            )
    print()
    print(found["verdict"]["headline"], *found["verdict"]["sentences"])


def _share(value):
    return "-" if value is None else f"{value:.3f}"


def benchmark(path):
    found = json.loads(Path(path).read_text())
    for protocol, title in found["protocols"].items():
        print(f"{title}\n")
        print("| model | CRPS | 9 levels | fair | CRPS-sum | 9 levels | fair | ND | MASE | in 80/90/95 % |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
        for row in found["rows"]:
            if row["protocol"] == protocol:
                scores = [row[key] for key in ("crps_19", "crps_9", "crps_fair", "crps_sum_19", "crps_sum_9",
                                               "crps_sum_fair", "nd", "mase")]  # fmt: skip
                held = "/".join(_share(row[f"coverage_{level}"]) for level in (80, 90, 95))
                print(
                    f"| {row['model']} |",
                    " | ".join("-" if one is None else f"{one:.5f}" for one in scores),
                    f"| {held} |",
                )
        print()


@dataclass(frozen=True)
class Oracle:
    """The process itself."""

    root: np.ndarray
    name: str = "the process itself"

    def fit(self, training, seed):  # noqa: ARG002
        return lambda history, horizon, samples, random: walked(
            history, random.standard_normal((samples, horizon, history.shape[1])) @ self.root.T
        )


def synthetic():
    """Ten walks of 7,588 days and 8 series, correlation 0.6, 0.6 % a day; scores over those of the process itself."""
    root = 0.006 * np.linalg.cholesky(0.6 * np.ones((8, 8)) + 0.4 * np.eye(8))
    forecasters = [Oracle(root), *WALKS, *learnt([architectures()[name] for name in ("ridge", "mlp")])]
    ratios = {one.name: [] for one in forecasters}
    for seed in range(SEEDS):
        steps = np.random.default_rng(seed).standard_normal((7588, 8)) @ root.T
        levels = np.array([0.78, 1.6, 0.86, 0.7, 0.12, 0.009, 0.6, 0.65]) * np.exp(np.cumsum(steps, axis=0))
        rows = {row.model: row for row in measure(levels, forecasters, samples=1000, seed=seed) if row.protocol == "A"}
        best = rows[Oracle.name]
        for name, row in rows.items():
            fair = (
                (row.crps_fair or row.crps_19) / best.crps_fair,
                (row.crps_sum_fair or row.crps_sum_19) / best.crps_sum_fair,
            )
            ratios[name].append((*fair, row.coverage_90 or np.nan))
    print("| model | CRPS | CRPS-sum | in 90 % |")
    print("| --- | --- | --- | --- |")
    for name, found in ratios.items():
        mean, error = np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / np.sqrt(SEEDS)
        held = "-" if np.isnan(mean[2]) else f"{mean[2]:.3f}"
        print(f"| {name} | {mean[0]:.3f} +- {error[0]:.3f} | {mean[1]:.3f} +- {error[1]:.3f} | {held} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["synthetic"]:
        synthetic()
    elif len(sys.argv) == 3 and sys.argv[1] in ("history", "benchmark"):
        (history if sys.argv[1] == "history" else benchmark)(sys.argv[2])
    else:
        sys.exit(__doc__)
