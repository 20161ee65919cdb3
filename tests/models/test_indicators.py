"""Indicators against TA-Lib, which is given the same log prices and all history; ours know their start-up bars only."""

import numpy as np
import pytest
import talib

from models import features
from models.columns import from_series
from models.features import Inputs, Market, compute
from tests.harness.markets import made_up_bars
from tests.harness.sources import REAL, real_bars

EXACT = 1e-8
"""Both see the same bars: nothing but rounding may differ."""

CUT_OFF = 1e-5
"""TA-Lib remembers what lies before our start-up bars: what is left is the weight that the recursion gives to it."""

LONG_CUT_OFF = 5e-5
"""The same for an average of 26 over 190 bars, in sigmas of one bar, of which the price moved some forty before."""

TWICE_CUT_OFF = 3e-4
"""ADX averages twice, and shares 256 bars between the two."""


def oracle(m):
    """What TA-Lib says of a market, by feature name, with the tolerance for it. Scaled as ours are."""
    opening, high, low, close, sigma = m.open, m.high, m.low, m.close, m.sigma
    upper, middle, _ = talib.BBANDS(close, 20, 2, 2)
    line, signal, histogram = talib.MACD(close, 12, 26, 9)
    fast, _ = talib.STOCHF(high, low, close, 14, 1)
    _, slow = talib.STOCH(high, low, close, 14, 3, 0, 3, 0)
    aroon_down, aroon_up = talib.AROON(high, low, 64)
    return {
        "rsi_14": (talib.RSI(close, 14) / 50 - 1, CUT_OFF),
        "atr_14": (talib.ATR(high, low, close, 14) / sigma, CUT_OFF),
        "adx_14": (talib.ADX(high, low, close, 14) / 100, TWICE_CUT_OFF),
        "di_difference_14": (
            (talib.PLUS_DI(high, low, close, 14) - talib.MINUS_DI(high, low, close, 14)) / 100,
            TWICE_CUT_OFF,
        ),
        "macd": (line / sigma, LONG_CUT_OFF),
        "macd_signal": (signal / sigma, LONG_CUT_OFF),
        "macd_histogram": (histogram / sigma, CUT_OFF),
        "ema_distance_12": ((close - talib.EMA(close, 12)) / (sigma * 12**0.5), CUT_OFF),
        "ema_distance_26": ((close - talib.EMA(close, 26)) / (sigma * 26**0.5), CUT_OFF),
        "ma_distance_24": ((close - talib.SMA(close, 24)) / (sigma * 24**0.5), EXACT),
        "bollinger_20": ((close - middle) / (upper - middle), EXACT),
        "bollinger_width_20": (np.log(talib.STDDEV(close, 20, 1) / sigma), EXACT),
        "slope_24": (talib.LINEARREG_SLOPE(close, 24) * 24**0.5 / sigma, EXACT),
        "stochastic_14": (fast / 100 - 0.5, EXACT),
        "stochastic_slow_14": (slow / 100 - 0.5, EXACT),
        "cci_20": (talib.CCI(high, low, close, 20) / 100, EXACT),
        "high_age_64": (1 - aroon_up / 100, EXACT),
        "low_age_64": (1 - aroon_down / 100, EXACT),
        "true_range_14": (talib.SMA(talib.TRANGE(high, low, close)[1:], 14) / sigma[1:], EXACT),
        "range_position_24": (
            (close - talib.MIN(low, 24)) / (talib.MAX(high, 24) - talib.MIN(low, 24)) - 0.5,
            EXACT,
        ),
        "ret_24": (np.log1p(talib.ROCP(np.exp(close), 24)) / (sigma * 24**0.5), EXACT),
        "body": ((close - opening) / np.maximum(high - low, 1e-30), EXACT),
    }


def markets():
    yield pytest.param("made up", id="made_up")
    for pair in ("EURUSD", "USDJPY", "GBPUSD"):
        missing = pytest.mark.skipif(not REAL, reason="no real bars in ../shared/data")
        yield pytest.param(pair, id=pair, marks=missing)


@pytest.mark.parametrize("name", list(markets()))
def test_indicators_are_those_of_ta_lib(name):
    bars = made_up_bars(3000, 6) if name == "made up" else real_bars(name, 3000)
    columns = from_series(bars)
    told = oracle(Market(Inputs(columns=columns)))
    for feature, (theirs, tolerance) in told.items():
        startup = features.ALL[feature].startup
        mine = compute(columns, (feature,))[-len(theirs) :, 0]
        # TA-Lib's own start-up lasts longer than its first value where it recurs
        first = startup if tolerance <= EXACT else max(startup, 300)
        apart = np.abs(mine[first:] - theirs[first:])
        assert np.isfinite(apart).all(), feature
        assert apart.max() < tolerance, (feature, apart.max())


def test_the_oracle_covers_what_the_field_calls_by_name():
    covered = set(oracle(Market(Inputs(columns=from_series(made_up_bars(400, 1))))))
    assert covered >= {"rsi_14", "atr_14", "adx_14", "macd", "macd_signal", "bollinger_20", "stochastic_14", "cci_20"}
