"""Default models trained once on a made-up market, for every test that needs some."""

from functools import lru_cache

from models.defaults import ARCHITECTURES
from models.train import fit_defaults
from tests.harness.markets import HORIZONS, made_up_bars

BARS = made_up_bars(1600, 21)
TRAIN, CALIBRATE, TRADE = BARS.slice(0, 900), BARS.slice(900, 1200), BARS.slice(1200, 1600)


@lru_cache(maxsize=8)
def trained(seed=7, names=ARCHITECTURES):
    return fit_defaults(TRAIN, CALIBRATE, horizons=HORIZONS, seed=seed, names=names)
