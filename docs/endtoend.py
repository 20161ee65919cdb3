"""Trains, publishes and measures every model on real hours, end to end; writes the tables of docs/endtoend.md.

python docs/endtoend.py train DATA FOLDER STEP...   publish by `plimsoll train`: 2016-2020 learnt from, 2021 calibrated
python docs/endtoend.py figures DATA FOLDER         measure what is published there on 2022, one JSON line a model
python docs/endtoend.py day DATA FOLDER             publish under a running paper day, until it is promoted by rule
python docs/endtoend.py tables FOLDER               the tables

DATA is a folder of hourly bid and ask bars. STEP is one of `STEPS`. Everything goes on where it was interrupted:
symbols that are published are not trained again, models that are measured are not measured again.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np

from bus.calendar import to_ns
from daemon.app import load_data
from daemon.config import load
from models.columns import from_series
from models.contract import Demands
from models.random_walk import MODEL_ID
from models.registry import Registry
from models.train.data import needed, rows_of, volatilities
from models.train.fit import answers
from models.validate.skill import skill_rows
from models.validate.tracks import DECIDING_PPM, LEVELS_PPM, History, follow
from models.validate.trading import TradingRow, costs_of, deflated, trading_rows
from models.validate.walkforward import part_of
from models.validate.windows import Fold
from tests.harness.liveday import under_a_running_day

PAIRS = ("AUDJPY", "AUDUSD", "EURGBP", "EURJPY", "EURUSD", "GBPJPY", "GBPUSD", "NZDUSD", "USDCAD", "USDJPY")
SINCE, LEARN_UNTIL, CALIBRATE_UNTIL = "2016-01-07", "2021-01-01", "2022-01-01"
HORIZONS, BARS, LEVEL_PPM, BLOCK = ("1h", "4h", "1d"), (1, 4, 24), 900_000, 250

DAY = """
[data]
path = "{data}"
symbols = ["EURUSD"]
since = "{since}"
learn_until = "{learnt}"
calibrate_until = "{calibrated}"
[swap]
promote = "rule"
[store]
enabled = false
[report]
enabled = false
"""

TABULAR = ("ridge", "lasso", "elastic_net", "random_forest", "gradient_boosting", "mlp")
STEPS = {
    # by name: symbols, models, epochs of the torch networks (0 = their own)
    "tabular": (PAIRS, TABULAR, 0),
    "sequences": (("EURUSD", "USDJPY"), ("tcn", "gru"), 20),
    "more_sequences": (("AUDUSD", "EURGBP", "GBPUSD"), ("tcn", "gru"), 20),
    "diffusion": (("EURUSD",), ("temporal_unet",), 10),
}


def train(data, folder, steps):
    """`plimsoll train` for each step; what is finished is left as it is."""
    for step in steps:
        symbols, models, epochs = STEPS[step]
        if (folder / "state" / "training" / step / "finished").exists():
            continue
        settings = folder / f"{step}.toml"
        settings.write_text(f"[training]\nepochs = {epochs}\n")
        began = time.monotonic()
        command = [sys.executable, "-m", "daemon", "train", "--config", settings, "--state", folder / "state",
                   "--run", step, "--data", data, "--symbols", ",".join(symbols), "--since", SINCE,
                   "--learn-until", LEARN_UNTIL, "--calibrate-until", CALIBRATE_UNTIL, "--stage"]  # fmt: skip
        command += [word for name in models for word in ("--model", name)]
        subprocess.run([str(word) for word in command], check=True)
        print(f"{step}: {time.monotonic() - began:.0f} s of wall time", flush=True)


def figures(data, folder):
    """Measure every published forecaster that is not measured yet."""
    path = folder / "figures.jsonl"
    done = {(one["symbol"], one["model_id"]) for one in read(path)}
    registry = Registry(folder / "state" / "models")
    for pointer in registry.pointers():
        wanted = [name for release in pointer.releases for name in release.models]
        trades = {release.active for release in pointer.releases}
        artifacts = [registry.read(name) for name in wanted if (pointer.symbol, name) not in done]
        artifacts = [one for one in artifacts if one.manifest.kind == "forecaster"]
        if not artifacts:
            continue
        series = bars_of(data, pointer.symbol)
        for artifact in artifacts:
            found = measured(series, artifact)
            line = {"symbol": pointer.symbol, "model_id": artifact.model_id, "model": artifact.manifest.name,
                    "trades": artifact.model_id in trades, **found}  # fmt: skip
            with path.open("ab") as file:
                file.write(msgspec.json.encode(line) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            gain = " ".join(f"{each['gain']:+.2f} ({each['error']:.2f})" for each in found["crps"])
            print(f"{pointer.symbol} {artifact.manifest.name}: CRPS gained {gain} %", flush=True)


def day(data, folder):
    """EURUSD of 2022 traded by the model of a year ago, while a new one is trained, published, tried and promoted."""
    settings = folder / "day.toml"
    settings.write_text(DAY.format(data=data, since=SINCE, learnt=LEARN_UNTIL, calibrated=CALIBRATE_UNTIL))
    shutil.rmtree(folder / "day", ignore_errors=True)
    found = under_a_running_day(
        settings, folder / "day", pace="18000x", decided=200, within_s=1500,
        older=("--model", "ridge", "--learn-until", "2020-01-01", "--calibrate-until", LEARN_UNTIL),
        newer=("--model", "ridge", "--model", "gradient_boosting"),
    )  # fmt: skip
    (folder / "day.json").write_text(json.dumps(found, indent=1))
    for name, value in found.items():
        print(f"| {name.replace('_', ' ')} | {value} |")


def read(path):
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    return [json.loads(line) for line in lines[:-1] if line]  # what follows the last newline was cut short


def bars_of(data, symbol):
    """The bars that the daemon would build of a pair's quotes."""
    given = {"data.path": str(data), "data.symbols": (symbol,), "data.since": SINCE,
             "data.learn_until": LEARN_UNTIL, "data.calibrate_until": CALIBRATE_UNTIL}  # fmt: skip
    return load_data(load(None, overrides=given)).symbols[0].bars


def measured(series, artifact):
    """A published forecaster and the random walk on the year after the one it was calibrated on."""
    manifest = artifact.manifest
    history, fold = year_of(series, manifest)
    rows = part_of(history.rows, range(fold.calibration.start, fold.test.stop))
    expected = np.zeros_like(history.rows.labels)
    expected[fold.calibration.start : fold.test.stop] = answers(artifact.pipeline, rows)[0]
    check(history, fold, expected, manifest)
    tracks = {
        name: tuple(follow(history, fold, forecast[:, column], column) for column in range(len(BARS)))
        for name, forecast in ((MODEL_ID, np.zeros_like(expected)), (manifest.name, expected))
    }
    pip_e5 = 1000 if series.symbol.endswith("JPY") else 10
    return {
        "skill": msgspec.to_builtins(skill_rows(history, tracks, LEVEL_PPM)),
        "trading": msgspec.to_builtins(trading_rows(history, tracks, costs_of(history, pip_e5))),
        "crps": [gain(*(tracks[name][column].crps_bp for name in tracks)) for column in range(len(BARS))],
    }


def year_of(series, manifest):
    """Rows as the model sees them: those that it was calibrated on, then, behind a purge, those of the year after."""
    demands = Demands(window=manifest.window, feature_names=manifest.feature_names)
    start = needed(demands.feature_names, demands.window) - 1
    rows = rows_of(from_series(series), BARS, start=start, names=demands.feature_names, window=demands.window)
    first = len(series) - max(BARS) - len(rows)
    scales_e5, _ = volatilities(series, horizons=BARS)
    learnt, calibrated = (
        int(np.searchsorted(series.ts_open_ns, to_ns(datetime.fromisoformat(day).replace(tzinfo=UTC)))) - first
        for day in (LEARN_UNTIL, CALIBRATE_UNTIL)
    )
    history = History(
        series=series, first=first, rows=rows, scales_e5=scales_e5[first : first + len(rows)], horizons=HORIZONS,
        bars=BARS, start=calibrated, levels_ppm=tuple(sorted({*LEVELS_PPM, DECIDING_PPM, LEVEL_PPM}, reverse=True)),
    )  # fmt: skip
    # no label of the calibration reaches into the year that is tested
    fold = Fold(fit=range(1), validation=range(1), calibration=range(learnt, calibrated - max(BARS)),
                test=range(calibrated, len(rows)))  # fmt: skip
    return history, fold


def check(history, fold, expected, manifest):
    """What is measured here is what was published: the scores of its calibration come out again."""
    for column, scores in enumerate(manifest.scores):
        part = np.s_[fold.calibration.start : fold.calibration.stop]
        sigma = history.rows.sigma[part] * BARS[column] ** 0.5
        point_e5 = np.floor(history.rows.close_e5[part] * np.exp(expected[part, column] * sigma) + 0.5)
        found = np.abs(history.rows.actual_e5[part, column] - point_e5) / history.scales_e5[part, column]
        if len(found) != len(scores) or np.abs(found - np.array(scores)).max() > 1e-6:
            sys.exit(f"{history.series.symbol} {manifest.name}: the scores of its calibration do not come out again")


def gain(walk, model):
    """Percent of the random walk's CRPS that a model saves, with a standard error over blocks of `BLOCK` bars."""
    blocks = np.array_split(np.arange(len(walk)), len(walk) // BLOCK)
    each = np.array([(walk[rows] - model[rows]).mean() for rows in blocks]) / walk.mean() * 100
    return {"gain": float(each.mean()), "error": float(each.std(ddof=1) / len(each) ** 0.5)}


# --- tables ----------------------------------------------------------------------------------------------------


def tables(folder):
    found = read(folder / "figures.jsonl")
    rows = defaultdict(list)  # by horizon and model: what skill, trading and gain say, a pair each
    every = [TradingRow(**one) for line in found for one in line["trading"] if one["model"] != MODEL_ID]
    worth = {(one.symbol, one.model, one.horizon, one.rule): one for one in deflated(every)}
    for line in found:
        for column, horizon in enumerate(HORIZONS):
            for skill in line["skill"]:
                if skill["horizon"] == horizon and skill["model"] == line["model"]:
                    rows[horizon, line["model"]].append((skill, line["crps"][column], line))
                elif skill["horizon"] == horizon and line["model"] == "ridge":
                    rows[horizon, MODEL_ID].append((skill, {"gain": 0.0, "error": 0.0}, line))
    overall(rows)
    money(rows, worth)
    in_force(rows, worth)


def overall(rows):
    print(
        "| | model | pairs | CRPS bp | gained, % of the walk's | better, worse | directions right, least to most ",
        end="",
    )
    print("| of the mid | 90 % held, least to most | 90 % within its interval |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for (horizon, model), each in ordered(rows):
        skills = [skill for skill, _, _ in each]
        tested = [skill["crps_t"] for skill in skills if skill["crps_t"] is not None]
        better = f"{sum(t < -1.96 for t in tested)}, {sum(t > 1.96 for t in tested)}" if tested else "-"
        gained = "-"
        if tested:
            gains = np.array([crps["gain"] for _, crps, _ in each])
            # pairs share days and a currency, so the error of the mean is no smaller than a pair's own is taken to be
            error = np.mean([crps["error"] for _, crps, _ in each])
            gained = f"{gains.mean():+.2f} ({error:.2f})"
        inside = sum(skill["coverage_lo"] <= LEVEL_PPM / 1e6 <= skill["coverage_hi"] for skill in skills)
        held = [skill["coverage"] for skill in skills]
        print(
            f"| {horizon} | {model} | {len(each)} | {mean(skills, 'crps'):.3f} | {gained} | {better} "
            f"| {rights(skills)} | {middle(skills)} | {min(held):.3f} to {max(held):.3f} | {inside} of {len(each)} |"
        )
    print()


def rights(skills):
    called = [skill for skill in skills if skill["calls"]]
    if not called:
        return "no calls"
    shares = [skill["directional_accuracy"] for skill in called]
    total = sum(skill["calls"] for skill in called)
    share = sum(skill["calls"] * skill["directional_accuracy"] for skill in called) / total
    suspects = [skill["symbol"] for skill in skills if skill["leak_suspected"]]
    marked = f" (suspected: {', '.join(suspects)})" if suspects else ""
    return f"{share:.3f}, {min(shares):.3f} to {max(shares):.3f}{marked}"


def middle(skills):
    mids = [(skill["calls"], skill["directional_mid"]) for skill in skills if skill["directional_mid"] is not None]
    return f"{sum(n * share for n, share in mids) / sum(n for n, _ in mids):.3f}" if mids else "-"


def money(rows, worth):
    print("| | model | interval rule: signals | net %/y | earned | Sharpe after costs, least to most ", end="")
    print("| sign rule: net %/y | earned | Sharpe after costs, least to most | most DSR of both |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for (horizon, model), each in ordered(rows):
        traded = {
            rule: [worth[key] for skill, _, _ in each if (key := (skill["symbol"], model, horizon, rule)) in worth]
            for rule in ("interval", "sign")
        }
        if not traded["sign"]:
            continue
        most = [one.dsr for ones in traded.values() for one in ones if one.dsr is not None]
        signals = f"{100 * np.mean([one.signals for one in traded['interval']]):.1f} %"
        print(
            f"| {horizon} | {model} | {signals} | {' | '.join(earned(ones) for ones in traded.values())} "
            f"| {f'{max(most):.3f}' if most else '-'} |"
        )
    print()


def earned(traded):
    ratios = [one.sharpe for one in traded if one.sharpe is not None]
    told = f"{min(ratios):.2f} to {max(ratios):.2f}" if ratios else "-"
    won = sum(one.net > 0 for one in traded)
    return f"{np.mean([one.net for one in traded]):+.2f} | {won} of {len(traded)} | {told}"


def in_force(rows, worth):
    """The model that each release put forward, pair by pair."""
    print(
        "| pair | trades | | CRPS bp, the walk's | gained % | 90 % held (95 %) | directions right (95 %), of the mid ",
        end="",
    )
    print("| Sharpe after costs, interval rule |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    walks = {(horizon, skill["symbol"]): skill for (horizon, model), each in rows.items() if model == MODEL_ID
             for skill, _, _ in each}  # fmt: skip
    lines = []
    for (horizon, model), each in rows.items():
        for skill, crps, line in each:
            if model == MODEL_ID or not line["trades"] or line["model"] not in TABULAR:
                continue
            one = worth[skill["symbol"], model, horizon, "interval"]
            right = "no calls"
            if skill["calls"]:
                right = (
                    f"{skill['directional_accuracy']:.3f} ({skill['directional_lo']:.3f} to "
                    f"{skill['directional_hi']:.3f}), {skill['directional_mid'] or 0:.3f}"
                )
            lines.append(
                f"| {skill['symbol']} | {model} | {horizon} "
                f"| {skill['crps']:.3f}, {walks[horizon, skill['symbol']]['crps']:.3f} "
                f"| {crps['gain']:+.2f} ({crps['error']:.2f}) "
                f"| {skill['coverage']:.3f} ({skill['coverage_lo']:.3f} to {skill['coverage_hi']:.3f}) | {right} "
                f"| {'-' if one.sharpe is None else f'{one.sharpe:.2f} ({one.sharpe_lo:.2f} to {one.sharpe_hi:.2f})'} |"
            )
    print("\n".join(sorted(lines, key=lambda line: (line.split("|")[1], HORIZONS.index(line.split("|")[3].strip())))))


def ordered(rows):
    names = (MODEL_ID, *TABULAR, *STEPS["sequences"][1], *STEPS["diffusion"][1])
    return sorted(rows.items(), key=lambda item: (HORIZONS.index(item[0][0]), names.index(item[0][1])))


def mean(skills, name):
    return sum(skill[name] for skill in skills) / len(skills)


if __name__ == "__main__":
    what, *given = sys.argv[1:] or [""]
    if what == "train" and len(given) > 2 and set(given[2:]) <= set(STEPS):
        Path(given[1]).mkdir(parents=True, exist_ok=True)
        train(Path(given[0]).resolve(), Path(given[1]).resolve(), given[2:])
    elif what == "figures" and len(given) == 2:
        figures(Path(given[0]).resolve(), Path(given[1]).resolve())
    elif what == "day" and len(given) == 2:
        day(Path(given[0]).resolve(), Path(given[1]).resolve())
    elif what == "tables" and len(given) == 1:
        tables(Path(given[0]))
    else:
        sys.exit(__doc__)
