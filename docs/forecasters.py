"""Writes the tables of docs/forecasters.md.

python docs/forecasters.py models PATH [NAME ...]   how forecasters do on the newest 30 % of the bars since 2016
python docs/forecasters.py states PATH              what regimes and anomalies find there, and what came after them
"""

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

from adapters.history import load
from bus.calendar import to_datetime, to_ns
from models.catalogue import catalogue
from models.columns import from_series, join
from models.features import LONGEST
from models.scores import diebold_mariano
from models.states import states
from models.train import fit_defaults
from models.train.data import rows_of, split
from models.train.fit import answers
from models.train.watch import ALARM
from models.watching import score

HORIZONS = (1, 4, 24)
SHARE = 0.7
NEW_YORK = ZoneInfo("America/New_York")
SINCE_NS = to_ns(datetime(2016, 1, 7, tzinfo=UTC))


def halves(path):
    (bars,) = load(Path(path)).series
    bars = bars.slice(int(np.searchsorted(bars.ts_open_ns, SINCE_NS)), len(bars))
    cut = int(SHARE * len(bars))
    return bars.slice(0, cut), bars.slice(cut, len(bars))


def models(path, names):
    older, newer = halves(path)
    names = names or [one.name for one in catalogue() if one.task != "reconstruct" and not one.missing]
    began = time.perf_counter()
    made = fit_defaults(older, newer, horizons=HORIZONS, seed=7, names=tuple(names))
    print(
        f"{older.symbol}: {len(older)} bars learnt from, {len(newer)} measured on; {time.perf_counter() - began:.0f} s"
    )
    still = {row.horizon: row for row in made.metrics if row.model == "random-walk"}
    losses = squared_errors(made, older, newer)
    # around the end of the trading day spreads widen, so bids fall and come back: a move that nobody can trade
    hours = [to_datetime(int(ts_ns) + newer.period_ns).astimezone(NEW_YORK).hour for ts_ns in newer.ts_open_ns]
    quiet = ~np.isin(hours, (16, 17, 18))
    print(
        "\n| bars ahead | model | RMSE bp | ratio | t | t, quiet | CRPS bp | Winkler bp | coverage | hit rate (calls) |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for horizon in HORIZONS:
        for row in made.metrics:
            if row.horizon != horizon:
                continue
            told, ratio = "- | -", row.rmse_bp / still[horizon].rmse_bp
            if row.model in losses:
                own = losses[row.model][:, HORIZONS.index(horizon)]
                pair = (diebold_mariano(each, ahead=horizon).statistic for each in (own, own[quiet[: len(own)]]))
                told = " | ".join(f"{each:+.1f}" for each in pair)
            rate = f"{row.hits / row.calls:.3f} ({row.calls})" if row.calls else "-"
            print(
                f"| {horizon} | {row.model} | {row.rmse_bp:.2f} | {ratio:.4f} | {told} | {row.crps_bp:.3f} "
                f"| {row.winkler_bp:.1f} | {row.coverage:.3f} | {rate} |"
            )
    print("\n| bars ahead | ensemble | members' error | ambiguity | error | disagreement | forecasts | errors |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for artifact in made.artifacts:
        for each in artifact.manifest.membership.diversity if artifact.manifest.membership else ():
            print(
                f"| {each.horizon} | {artifact.manifest.name} | {each.member_error:.4f} | {each.ambiguity:.5f} "
                f"| {each.error:.4f} | {each.disagreement:.3f} | {each.forecast_correlation:.2f} "
                f"| {each.error_correlation:.4f} |"
            )
    print("\nactive:", made.active, {name: round(crps, 5) for name, crps in made.validation_crps.items()})


def squared_errors(made, older, newer):
    """Squared errors of each model less the random walk's, in sigmas, row by row."""
    found = {}
    for artifact in made.artifacts:
        manifest = artifact.manifest
        parts = split(older, newer, HORIZONS, names=manifest.feature_names, window=manifest.window)
        expected, _ = answers(artifact.pipeline, parts.calibration)
        truth = parts.calibration.labels
        found[manifest.name] = (truth - expected) ** 2 - truth**2
    return found


def watched(path):
    older, newer = halves(path)
    made = fit_defaults(older, newer, horizons=HORIZONS, seed=7, names=("ridge", *states()))
    columns = join(from_series(older).tail(LONGEST), from_series(newer))
    print(
        "| model | says | share of hours | hours in a row | next 1, 4, 24 hours: RMS bp an hour | variance in sigma^2 |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for artifact in made.artifacts:
        manifest = artifact.manifest
        if manifest.kind not in {"regimes", "anomaly"}:
            continue
        rows = rows_of(columns, HORIZONS, start=LONGEST, names=manifest.feature_names, window=manifest.window)
        told, _ = answers(artifact.pipeline, rows)
        if manifest.kind == "anomaly":
            alarm = float(artifact.tensors["alarm"][0])
            said = np.array([score(one) > alarm for one in told[:, 0].tolist()]).astype(int)
            words = ("usual", f"unusual (promised {1.0 - ALARM:.1%})")
        else:
            said, words = told.argmax(axis=1), [f"regime {state}" for state in range(told.shape[1])]
        for state, word in enumerate(words):
            at = said == state
            spells = int(at[0]) + int((np.diff(at.astype(int)) > 0).sum())
            after = ", ".join(f"{(rows.labels[at, column] ** 2).mean():.2f}" for column in range(len(HORIZONS)))
            moved = ", ".join(
                f"{1e4 * np.sqrt(((rows.labels[at, column] * rows.sigma[at]) ** 2).mean()):.1f}"
                for column in range(len(HORIZONS))
            )
            lasted = at.sum() / max(1, spells)
            print(f"| {manifest.name} | {word} | {at.mean():.4f} | {lasted:.1f} | {moved} | {after} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["models"] and len(sys.argv) > 2:
        models(sys.argv[2], sys.argv[3:])
    elif sys.argv[1:2] == ["states"] and len(sys.argv) == 3:
        watched(sys.argv[2])
    else:
        sys.exit(__doc__)
