"""Which features help the default models? CRPS on bars no fit has seen, over pairs and years, beside the random walk.

Every block of 4,800 hourly bars is a training of its own: 3,600 bars to learn from, the 1,200 after them to be judged
on. What is told is the gain over the random walk in percent of its CRPS (below 0 = worse), the mean over pairs and
blocks, with the standard error over blocks: pairs move together within one. Needs ../shared/data; prints one JSON line.
"""

import sys

import numpy as np
from threadpoolctl import threadpool_limits

from bench.common import report
from models import features
from models.nets import architectures
from models.train import metrics
from models.train.data import split
from models.train.fit import fit_forecaster
from tests.harness.sources import REAL, real_bars

PAIRS = ("EURUSD", "USDJPY", "GBPUSD", "AUDUSD", "EURGBP")
HORIZONS = (1, 4, 24)
TRAIN, JUDGE = 3600, 1200
FIRST_2016 = {"EURUSD": 56_081}
"""Rows before 2016-01-07, where the other pairs start."""


def of_groups(*groups: str) -> tuple[str, ...]:
    return tuple(name for name in features.needing() if features.ALL[name].group in groups)


def sets() -> dict[str, tuple[str, ...]]:
    default = features.DEFAULT
    return {
        "default": default,
        "all_bars": features.needing(),
        "default_and_spectral": tuple(dict.fromkeys((*default, *of_groups("spectral")))),
        "returns_and_volatility": of_groups("returns", "volatility"),
    }


def gains(names: tuple[str, ...], kind: str, pair: str, block: int) -> dict[str, float]:
    start = FIRST_2016.get(pair, 0) + block * (TRAIN + JUDGE)
    series = real_bars(pair, TRAIN + JUDGE, skip=start)
    parts = split(series.slice(0, TRAIN), series.slice(TRAIN, TRAIN + JUDGE), HORIZONS, names=names)
    walk = metrics.mean_crps(np.zeros_like(parts.calibration.labels), parts.calibration)
    told: dict[str, float] = {}
    for net in architectures().values():
        if net.task == "forecast":
            pipeline = fit_forecaster(net, parts, seed=7, scaler=kind)  # pyright: ignore[reportArgumentType]
            told[net.name] = 100 * (
                1 - metrics.mean_crps(pipeline(parts.calibration.features), parts.calibration) / walk
            )
    return told


def main() -> None:
    if not REAL:
        sys.exit("no real bars in ../shared/data")
    blocks = len(real_bars("USDJPY", 10**6)) // (TRAIN + JUDGE)
    figures = {}
    with threadpool_limits(limits=1):
        for name, kind in [*((name, "standard") for name in sets()), ("default", "robust"), ("default", "quantile")]:
            print(f"{name}, {kind} scaler", file=sys.stderr)
            table = [[gains(sets()[name], kind, pair, block) for pair in PAIRS] for block in range(blocks)]
            for model in table[0][0]:
                by_block = np.array([np.mean([one[model] for one in row]) for row in table])
                error = by_block.std(ddof=1) / len(by_block) ** 0.5
                figures[f"{name}/{kind}/{model}"] = [round(float(by_block.mean()), 3), round(float(error), 3)]
    report("feature_sets", blocks=blocks, pairs=len(PAIRS), gain_pct_and_standard_error=figures)


if __name__ == "__main__":
    main()
