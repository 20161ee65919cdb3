"""On real hourly bars: intervals keep their promise pair by pair, and nobody beats the random walk by a miracle."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from bus.series import BarSeries
from bus.values import NS_PER_HOUR
from models import features
from models.columns import from_series
from models.conformal import calibrator, score
from models.train import fit_defaults
from models.train.data import volatilities

FOLDER = Path(__file__).parents[2] / "../shared/data/bars/H1/oanda"
PAIRS = ("EURUSD", "USDJPY", "GBPUSD", "AUDUSD", "XAUUSD")

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="no real bars in ../shared/data")


@lru_cache(maxsize=8)
def bars(pair, rows=6000):
    table = pq.read_table(FOLDER / f"{pair}_H1_bid.parquet").slice(0, rows)
    ask = pq.read_table(FOLDER / f"{pair}_H1_ask.parquet").slice(0, rows)

    def e5(source, name):
        return np.round(source[name].to_numpy() * 1e5).astype(np.int64)

    return BarSeries(
        symbol=pair,
        period_ns=NS_PER_HOUR,
        ts_open_ns=table["ts"].to_numpy().astype(np.int64),
        open_e5=e5(table, "open"),
        high_e5=e5(table, "high"),
        low_e5=e5(table, "low"),
        close_e5=e5(table, "close"),
        quotes=np.ones(len(table), np.int64),
        spread_e5=e5(ask, "close") - e5(table, "close"),
    )


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("horizon", [1, 4, 24])
def test_ninety_percent_intervals_hold_ninety_percent_with_delayed_labels(pair, horizon):
    scales, _ = volatilities(bars(pair), horizons=(horizon,))
    closes = bars(pair).close_e5.tolist()
    online, issued, held = calibrator((900_000, 500_000), horizon), [], []
    scores = []
    for row, (close, scale, actual) in enumerate(
        zip(closes[2:-horizon], scales[2:-horizon, 0].tolist(), closes[2 + horizon :], strict=True)
    ):
        if row >= horizon:
            online.update(scores[row - horizon], issued[row - horizon])
        bands = online.interval(close, scale)
        issued.append([band.lower_e5 <= actual <= band.upper_e5 for band in bands])
        scores.append(score(actual, close, scale))
        if row >= 1000:
            held.append(issued[-1])
    wide, narrow = np.mean(held, axis=0)
    # the effective sample shrinks with the horizon, and a calibrator that starts empty learns that much more slowly
    slack = {1: 0.006, 4: 0.008, 24: 0.03}[horizon]
    assert wide == pytest.approx(0.9, abs=slack)
    assert narrow == pytest.approx(0.5, abs=2 * slack)
    worst = min(np.mean([w for w, _ in held[start : start + 250]]) for start in range(0, len(held) - 250, 50))
    assert worst > (0.83 if horizon == 1 else 0.6)


@pytest.mark.parametrize("pair", PAIRS)
def test_features_of_real_bars_are_finite_and_live_equals_offline(pair):
    columns = from_series(bars(pair))
    everything = features.compute(columns)
    assert np.isfinite(everything[features.startup() - 1 :]).all()
    for row in np.random.default_rng(1).integers(features.startup(), len(columns), 25).tolist():
        live, _ = features.latest(columns.rows(row - 200 if row >= 200 else 0, row + 1))
        assert live.tobytes() == everything[row].tobytes()


def test_no_model_beats_the_random_walk_by_a_miracle():
    series = bars("EURUSD")
    made = fit_defaults(series.slice(0, 3600), series.slice(3600, 4800), horizons=(1, 4, 24), seed=7)
    walk = {row.horizon: row for row in made.metrics if row.model == "random-walk"}
    for row in made.metrics:
        assert 0.97 < row.crps_bp / walk[row.horizon].crps_bp < 1.05, row
        # a hit rate far above one half on hourly majors is a leak, not a skill
        assert row.calls == 0 or row.hits / row.calls < 0.5 + 3 * np.sqrt(0.25 * row.horizon / row.calls) + 0.02, row
