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
    print("| | model | directions right, least to most | of the mid | calls | RMSE bp | MAE bp | CRPS bp ", end="")
    print("| better, worse | coverage |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for (horizon, model), rows in _by(found["skill"], "horizon", "model"):
        right, of_mid, calls = "no calls", "-", sum(row["calls"] for row in rows)
        if calls:
            shares = [row["directional_accuracy"] for row in rows if row["calls"]]
            mean = sum(row["calls"] * (row["directional_accuracy"] or 0) for row in rows) / calls
            right = f"{mean:.3f}, {min(shares):.3f} to {max(shares):.3f}"
            mids = [(row["calls"], row["directional_mid"]) for row in rows if row.get("directional_mid") is not None]
            if mids:
                of_mid = f"{sum(n * share for n, share in mids) / sum(n for n, _ in mids):.3f}"
        tested = [row["crps_t"] for row in rows if row["crps_t"] is not None]
        better = f"{sum(t < -1.96 for t in tested)}, {sum(t > 1.96 for t in tested)}" if tested else "-"
        held = [row["coverage"] for row in rows]
        print(
            f"| {horizon} | {model} | {right} | {of_mid} | {calls:,} | {_mean(rows, 'rmse'):.2f} "
            f"| {_mean(rows, 'mae'):.2f} | {_mean(rows, 'crps'):.3f} | {better} | {min(held):.3f} to {max(held):.3f} |"
        )
    print()
    print("| | model, rule | signals | gross %/y | net %/y | earned | Sharpe, least to most | most PSR | most DSR |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for (horizon, model, rule), rows in _by(found["trading"], "horizon", "model", "rule"):
        traded = [row for row in rows if row["sharpe"] is not None]
        most = ["-", "-", "-"]
        if traded:
            ratios = [row["sharpe"] for row in traded]
            most = [f"{min(ratios):.2f} to {max(ratios):.2f}"]
            most += [f"{max(row[key] for row in traded):.3f}" for key in ("psr", "dsr")]
        print(
            f"| {horizon} | {model}, {rule} | {100 * _mean(rows, 'signals'):.1f} % | {_mean(rows, 'gross'):.2f} "
            f"| {_mean(rows, 'net'):.2f} | {sum(row['net'] > 0 for row in rows)} of {len(rows)} | {' | '.join(most)} |"
        )
    print()
    print("| model | near, far | calls | contradictions | near right | far right | followed bp | where agreed bp |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for (model, short, long), rows in _by(found["agreement"], "model", "short", "long"):
        called = sum(row["called"] for row in rows)
        if not called:
            print(f"| {model} | {short}, {long} | 0 | - | - | - | - | - |")
            continue
        own = [row for row in rows if row["contradictions"]]
        apart = [row["called"] * row["contradictions"] for row in own]
        agreed = [row["called"] * (1 - row["contradictions"]) for row in own]
        right = [
            f"{np.average([row[key] or 0 for row in own], weights=apart):.3f}" for key in ("short_right", "long_right")
        ]
        after = [
            f"{np.average([row[key] or 0 for row in own], weights=weights):+.2f}"
            for key, weights in (("followed", apart), ("followed_agreed", agreed))
        ]
        print(
            f"| {model} | {short}, {long} | {called:,} | {100 * sum(apart) / called:.1f} % | {' | '.join(right)} "
            f"| {' | '.join(after)} |"
        )
    print()
    print(found["verdict"]["headline"], *found["verdict"]["sentences"])


def _by(rows, *names):
    groups = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    return groups.items()


def _mean(rows, name):
    return sum(row[name] for row in rows) / len(rows)


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
