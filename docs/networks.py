"""Writes the table of docs/models.md: python docs/networks.py [NAMES...]  (needs the bars, and for some PyTorch).

Gain over the random walk in percent of its CRPS on bars after those of the training, with a standard error over blocks
of 250 bars, which is longer than any horizon.
"""

import sys
import time

import numpy as np
from threadpoolctl import threadpool_limits

from models import features
from models.contract import demands_of
from models.nets import architectures
from models.scores import crps_normal
from models.train.data import split
from models.train.fit import answers, fit_forecaster
from tests.harness.sources import REAL, real_bars

TRAIN, JUDGE, HORIZONS, BLOCK = 24_000, 6_000, (1, 4, 24), 250
FIRST_2016 = 56_081
NAMES = ("ridge", "mlp", "tcn", "gru", "temporal_unet")


def gains(crps, walk):
    """Percent gained at each horizon, and its standard error."""
    blocks = np.array_split(np.arange(len(walk)), len(walk) // BLOCK)
    each = np.array([(walk[rows] - crps[rows]).mean(axis=0) for rows in blocks]) / walk.mean(axis=0) * 100
    return each.mean(axis=0), each.std(axis=0, ddof=1) / len(each) ** 0.5


def row(name, crps, walk, took_s):
    gain, error = gains(crps, walk)
    cells = " | ".join(f"{g:+.2f} ({e:.2f})" for g, e in zip(gain, error, strict=True))
    print(f"| {name} | {cells} | {'' if took_s is None else f'{took_s:.0f} s'} |", flush=True)


def main():
    if not REAL:
        sys.exit("no real bars in ../shared/data")
    asked = sys.argv[1:] or NAMES
    series = real_bars("EURUSD", TRAIN + JUDGE, skip=FIRST_2016)
    train, judge = series.slice(0, TRAIN), series.slice(TRAIN, TRAIN + JUDGE)
    print("| | 1 bar | 4 bars | 24 bars | training |")
    print("| --- | --- | --- | --- | --- |")
    for index, (name, net) in enumerate(architectures(asked).items()):
        demands = demands_of(net)
        parts = split(train, judge, HORIZONS, names=demands.feature_names or features.DEFAULT, window=demands.window)
        rows = parts.calibration
        ones = np.ones_like(rows.labels)
        walk = crps_normal(rows.labels, ones)
        if index == 0:
            wider = ones * np.sqrt((parts.validation.labels**2).mean(axis=0))
            row("random walk, deviation of the validation part", crps_normal(rows.labels, wider), walk, None)
            sigma = rows.close_e5[:, None] * rows.sigma[:, None] * np.sqrt(HORIZONS)
            row("random walk, the market's volatility", crps_normal(rows.labels, parts.scales_e5 / sigma), walk, None)
        begin = time.monotonic()
        with threadpool_limits(limits=1):
            pipeline = fit_forecaster(net, parts, seed=7)
        took_s = time.monotonic() - begin
        expected, spread = answers(pipeline, rows)
        row(name, crps_normal(rows.labels - expected, ones if spread is None else spread), walk, took_s)
        if spread is not None:
            row(f"{name}, no change for its point", crps_normal(rows.labels, spread), walk, None)


if __name__ == "__main__":
    main()
