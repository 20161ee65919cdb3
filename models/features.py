"""What a forecaster sees of the market: 38 named features, computed by one function live and offline.

Theory of operation. Row t depends on bars t - WINDOW + 1 to t and on nothing else, and is bit-equal whether it is
computed from the whole history or from those bars alone. That holds because every window operation combines whole
shifted columns element by element in a fixed tree (`_window`): no running sums over all history, no reduction whose
order depends on how many rows there are. Rows with too little history are NaN.

Prices enter as logarithms, and differences of them are told in units of sigma, the model's own volatility
(`volatility`), so that features of any pair and any year are of one size. Times are those of the bar's close, in New
York and London where people work by them.

Adding a feature: extend a group here and raise CODE_VERSION; artifacts trained on other features are then refused.
"""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from bus.calendar import NEW_YORK, to_datetime, trading_day
from bus.values import NS_PER_HOUR, NS_PER_S, PRICE_SCALE
from models.columns import Columns

Floats = NDArray[np.float64]

CODE_VERSION = 1
WINDOW = 129
"""Bars that one row depends on: the 128 returns of the volatility need one more close."""

DECAY = 0.94
VOLATILITY_RETURNS = WINDOW - 1
SIGMA_FLOOR = 1e-6
"""Smallest volatility a bar, in log price: one hundredth of a basis point."""

_LONDON = ZoneInfo("Europe/London")
_MINUTE_ANGLE = np.arange(1440) * (2.0 * math.pi / 1440.0)
_MINUTE_SIN, _MINUTE_COS = np.sin(_MINUTE_ANGLE), np.cos(_MINUTE_ANGLE)
_WEEKDAY_SIN, _WEEKDAY_COS = (f(np.arange(7) * (2.0 * math.pi / 7.0)) for f in (np.sin, np.cos))


@dataclass(frozen=True, slots=True)
class _Market:
    """What the groups share: log prices in price units, log returns, sigma; all of shape (n,)."""

    columns: Columns
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    returns: Floats
    sigma: Floats


# --- window operations: fixed trees of element-wise steps -----------------------------------------------------------


def _shift(x: Floats, lag: int) -> Floats:
    """x[t - lag] at t; NaN where that is before the first bar."""
    out = np.empty(len(x))
    out[:lag] = np.nan
    out[lag:] = x[: max(0, len(x) - lag)]
    return out


def _window(x: Floats, width: int, merge: Callable[[Floats, Floats, int], Floats]) -> Floats:
    """Combine the last `width` values at every t, by doubling: about 2 log2(width) column operations.

    `merge(newer, older, gap)` combines a block with the block that ends `gap` bars earlier.
    """
    block, size, result, offset = x, 1, None, 0
    while True:
        if width & size:
            result = block if result is None else merge(result, _shift(block, offset), offset)
            offset += size
        if size * 2 > width:
            assert result is not None
            return result
        block = merge(block, _shift(block, size), size)
        size *= 2


def _sum(x: Floats, width: int) -> Floats:
    return _window(x, width, lambda newer, older, _gap: newer + older)


def _mean(x: Floats, width: int) -> Floats:
    return _sum(x, width) / width


def _max(x: Floats, width: int) -> Floats:
    return _window(x, width, lambda newer, older, _gap: np.maximum(newer, older))


def _min(x: Floats, width: int) -> Floats:
    return _window(x, width, lambda newer, older, _gap: np.minimum(newer, older))


def _ewma(x: Floats, width: int, decay: float) -> Floats:
    """Mean of the last `width` values with weights decay**age."""
    total = _window(x, width, lambda newer, older, gap: newer + decay**gap * older)
    return total * ((1.0 - decay) / (1.0 - decay**width))


def _deviation(x: Floats, width: int) -> Floats:
    """Root of the mean of squares about the window's mean, floored at SIGMA_FLOOR."""
    centre = _mean(x, width)
    return np.sqrt(np.maximum(_mean(x * x, width) - centre * centre, SIGMA_FLOOR**2))


def _ratio(above: Floats, below: Floats) -> Floats:
    """Above over below, 0 where below is 0, NaN where either is."""
    empty = below == 0.0
    return np.where(empty, 0.0 * above, above / np.where(empty, 1.0, below))


# --- groups ---------------------------------------------------------------------------------------------------------

_RETURN_LAGS = (1, 2, 4, 8, 24, 64)


def _returns(m: _Market) -> list[Floats]:
    """ret_k = ln(C_t / C_(t-k)) / (sigma_t sqrt k)."""
    return [(m.close - _shift(m.close, lag)) / (m.sigma * math.sqrt(lag)) for lag in _RETURN_LAGS]


def _volatilities(m: _Market) -> list[Floats]:
    """Logarithms of volatilities a bar.

    vol_ewma = ln sigma; vol_close_w = ln sqrt(mean r^2); vol_parkinson = ln sqrt(mean (ln H/L)^2 / (4 ln 2))
    (Parkinson 1980); vol_garman_klass = ln sqrt(mean (0.5 (ln H/L)^2 - (2 ln 2 - 1)(ln C/O)^2)) (Garman and Klass
    1980), each less ln sigma; vol_ratio_8_64 = ln of the root of mean r^2 over 8 to that over 64.
    """
    floor = SIGMA_FLOOR**2
    squares = m.returns * m.returns
    spans = (m.high - m.low) ** 2
    bodies = (m.close - m.open) ** 2
    variance = m.sigma * m.sigma
    parkinson = _mean(spans, 24) / (4.0 * math.log(2.0))
    garman_klass = _mean(0.5 * spans - (2.0 * math.log(2.0) - 1.0) * bodies, 24)
    short, middle, long = (np.maximum(_mean(squares, width), floor) for width in (8, 24, 64))
    return [
        np.log(m.sigma),
        0.5 * np.log(middle / variance),
        0.5 * np.log(np.maximum(parkinson, floor) / variance),
        0.5 * np.log(np.maximum(garman_klass, floor) / variance),
        0.5 * np.log(short / long),
    ]


def _trends(m: _Market) -> list[Floats]:
    """ma_distance_w = (ln C - mean_w ln C) / (sigma sqrt w); ma_cross = ewma(.8, 32) - ewma(.95, 96), in sigmas."""
    distances = [(m.close - _mean(m.close, width)) / (m.sigma * math.sqrt(width)) for width in (8, 24, 96)]
    return [*distances, (_ewma(m.close, 32, 0.8) - _ewma(m.close, 96, 0.95)) / m.sigma]


def _oscillators(m: _Market) -> list[Floats]:
    """Where the price stands among its recent past.

    rsi_14 = (gains - losses) / (gains + losses) over 14 returns, -1 to 1 (Wilder 1978 with plain means);
    bollinger_20 = (ln C - mean) / (2 standard deviations); range_position_w = (C - lowest low) / (highest high -
    lowest low), in logs, -0.5 to 0.5; up_share_8 = share of rising closes less a half; autocorrelation_24 =
    sum r_t r_(t-1) / sum r_t^2.
    """
    gains, losses = _sum(np.maximum(m.returns, 0.0), 14), _sum(np.maximum(-m.returns, 0.0), 14)
    positions: list[Floats] = []
    for width in (24, 96):
        bottom = _min(m.low, width)
        positions.append(_ratio(m.close - bottom, _max(m.high, width) - bottom) - 0.5)
    # 0 * r keeps the first row, which has no return, NaN
    rising = np.where(m.returns > 0.0, 1.0, 0.0) + 0.0 * m.returns
    return [
        _ratio(gains - losses, gains + losses),
        (m.close - _mean(m.close, 20)) / (2.0 * _deviation(m.close, 20)),
        *positions,
        _mean(rising, 8) - 0.5,
        _ratio(_sum(m.returns * _shift(m.returns, 1), 24), _sum(m.returns * m.returns, 24)),
    ]


def _candles(m: _Market) -> list[Floats]:
    """Anatomy of the last candle and the average true range.

    body = (C - O) / (H - L); upper_wick = (H - max(O, C)) / (H - L); lower_wick likewise; range_sigma =
    (H - L) / sigma; atr_14 = mean over 14 of max(H, C_(t-1)) - min(L, C_(t-1)), in sigmas. All in logs.
    """
    span = m.high - m.low
    before = _shift(m.close, 1)
    true_range = np.maximum(m.high, before) - np.minimum(m.low, before)
    return [
        _ratio(m.close - m.open, span),
        _ratio(m.high - np.maximum(m.open, m.close), span),
        _ratio(np.minimum(m.open, m.close) - m.low, span),
        span / m.sigma,
        _mean(true_range, 14) / m.sigma,
    ]


def _costs(m: _Market) -> list[Floats]:
    """spread_bp = 10^4 spread / C; spread_ratio_24 = spread over its mean of 24 bars."""
    spread = m.columns.spread_e5.astype(np.float64)
    return [1e4 * spread / m.columns.close_e5, _ratio(spread, _mean(spread, 24))]


def _calendar(m: _Market) -> list[Floats]:
    """Of the bar's close: hour of the day (New York) and trading weekday as sine and cosine, open sessions as flags.

    session_london and session_new_york are 8:00 to 17:00 local on trading days; session_overlap is both;
    near_rollover is the hour before and the hour after 17:00 New York.
    """
    close_ns = m.columns.ts_open_ns + m.columns.period_ns
    local = np.array([_local_hours(hour) for hour in (close_ns // NS_PER_HOUR).tolist()], np.int64).reshape(-1, 3)
    new_york_hour, london_hour, weekday = local[:, 0], local[:, 1], local[:, 2]
    minute = new_york_hour * 60 + close_ns // (60 * NS_PER_S) % 60
    trading = weekday < 5
    london = trading & (london_hour >= 8) & (london_hour < 17)
    new_york = trading & (new_york_hour >= 8) & (new_york_hour < 17)
    near = (new_york_hour == 16) | (new_york_hour == 17)
    return [
        _MINUTE_SIN[minute],
        _MINUTE_COS[minute],
        _WEEKDAY_SIN[weekday],
        _WEEKDAY_COS[weekday],
        *(flag.astype(np.float64) for flag in (london, new_york, london & new_york, near)),
    ]


def _gaps(m: _Market) -> list[Floats]:
    """gap_bars = ln(1 + periods without a bar before this one); gap_return = ln(O_t / C_(t-1)) / sigma."""
    opens = m.columns.ts_open_ns
    skipped = np.full(len(opens), np.nan)
    skipped[1:] = (opens[1:] - opens[:-1]) // m.columns.period_ns - 1
    return [np.log1p(skipped), (m.open - _shift(m.close, 1)) / m.sigma]


@lru_cache(maxsize=1 << 17)
def _local_hours(utc_hour: int) -> tuple[int, int, int]:
    """New York hour, London hour and trading weekday (Monday = 0) of an hour since 1970; both keep whole hours."""
    moment = to_datetime(utc_hour * NS_PER_HOUR)
    weekday = (trading_day(utc_hour * NS_PER_HOUR) - 1) % 7
    return moment.astimezone(NEW_YORK).hour, moment.astimezone(_LONDON).hour, weekday


GROUPS: tuple[tuple[tuple[str, ...], Callable[[_Market], list[Floats]]], ...] = (
    (tuple(f"ret_{lag}" for lag in _RETURN_LAGS), _returns),
    (("vol_ewma", "vol_close_24", "vol_parkinson_24", "vol_garman_klass_24", "vol_ratio_8_64"), _volatilities),
    (("ma_distance_8", "ma_distance_24", "ma_distance_96", "ma_cross"), _trends),
    (
        ("rsi_14", "bollinger_20", "range_position_24", "range_position_96", "up_share_8", "autocorrelation_24"),
        _oscillators,
    ),
    (("body", "upper_wick", "lower_wick", "range_sigma", "atr_14"), _candles),
    (("spread_bp", "spread_ratio_24"), _costs),
    (
        ("hour_sin", "hour_cos", "weekday_sin", "weekday_cos", "session_london", "session_new_york",
         "session_overlap", "near_rollover"),
        _calendar,
    ),
    (("gap_bars", "gap_return"), _gaps),
)  # fmt: skip

NAMES: tuple[str, ...] = tuple(name for names, _ in GROUPS for name in names)


def volatility(columns: Columns) -> Floats:
    """Sigma of one bar's log return, shape (n,): root of the EWMA (0.94) of the last 128 squared returns.

    Known at the close of bar t, so lagged by construction for anything after it. NaN for the first 128 rows, never
    below SIGMA_FLOOR.
    """
    return _volatility(_log_returns(_log(columns.close_e5)))


def compute(columns: Columns) -> Floats:
    """All features of all rows, shape (n, len(NAMES)), in the order of NAMES; NaN where history is too short."""
    return _rows(_market(columns))


def latest(columns: Columns) -> tuple[Floats, float]:
    """The newest row's features, shape (len(NAMES),), and its sigma: what `compute` gives, from WINDOW bars.

    All NaN where there are fewer bars.
    """
    tail = columns.tail(WINDOW)
    if len(tail) < WINDOW:
        return np.full(len(NAMES), np.nan), math.nan
    market = _market(tail)
    return _rows(market)[-1], float(market.sigma[-1])


def schema_hash() -> str:
    """Identity of what a row means: sha256 over names, parameters and code version."""
    schema = {"names": NAMES, "window": WINDOW, "decay": DECAY, "floor": SIGMA_FLOOR, "code": CODE_VERSION}
    return hashlib.sha256(json.dumps(schema, sort_keys=True).encode()).hexdigest()


def _market(columns: Columns) -> _Market:
    close = _log(columns.close_e5)
    returns = _log_returns(close)
    return _Market(
        columns=columns,
        open=_log(columns.open_e5),
        high=_log(columns.high_e5),
        low=_log(columns.low_e5),
        close=close,
        returns=returns,
        sigma=_volatility(returns),
    )


def _rows(market: _Market) -> Floats:
    out = np.empty((len(market.columns), len(NAMES)))
    position = 0
    with np.errstate(invalid="ignore"):
        for names, group in GROUPS:
            for values in group(market):
                out[:, position] = values
                position += 1
            assert position == NAMES.index(names[-1]) + 1, names
    return out


def _log(price_e5: NDArray[np.int64]) -> Floats:
    # a contiguous copy, so that every element takes the same path through the logarithm
    return np.log(np.ascontiguousarray(price_e5) / PRICE_SCALE)


def _log_returns(log_close: Floats) -> Floats:
    return log_close - _shift(log_close, 1)


def _volatility(returns: Floats) -> Floats:
    with np.errstate(invalid="ignore"):
        variance = _ewma(returns * returns, VOLATILITY_RETURNS, DECAY)
        return np.sqrt(np.maximum(variance, SIGMA_FLOOR**2))
