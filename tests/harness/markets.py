"""Made-up markets for tests: bars with changing volatility, weekends and spreads, and requests for forecasts."""

import numpy as np

from bus.messages import Bar
from bus.series import BarSeries
from bus.values import NS_PER_HOUR
from models.bars import BarWindow

MONDAY_NS = 1_491_782_400 * 1_000_000_000  # 2017-04-10 00:00 UTC
HORIZONS = (1, 4, 24)


def made_up_bars(n, seed, *, symbol="EURUSD", period_ns=NS_PER_HOUR, spread=True, start_ns=MONDAY_NS):
    """A GARCH walk of hourly bars, closed at weekends."""
    random = np.random.default_rng(seed)
    variance, returns = 1.0, np.empty(n)
    for row, shock in enumerate(random.standard_normal(n)):
        returns[row] = shock * np.sqrt(variance)
        variance = 0.04 + 0.08 * returns[row] ** 2 + 0.88 * variance
    close = np.round(110_000 * np.exp(np.cumsum(returns) * 8e-4)).astype(np.int64)
    opening = np.r_[close[:1], close[:-1]] + random.integers(-3, 4, n)
    high = np.maximum(opening, close) + random.integers(0, 60, n)
    low = np.minimum(opening, close) - random.integers(0, 60, n)
    hours = np.arange(n)
    if period_ns == NS_PER_HOUR:
        hours = hours + 48 * (hours // 120)
    return BarSeries(
        symbol=symbol,
        period_ns=period_ns,
        ts_open_ns=(start_ns + hours * period_ns).astype(np.int64),
        open_e5=opening.astype(np.int64),
        high_e5=high,
        low_e5=low,
        close_e5=close,
        quotes=np.full(n, 4, np.int64),
        spread_e5=random.integers(5, 20, n) if spread else None,
    )


def simulated(n, seed, *, garch=False, steps=32):
    """Hourly candles of a driftless walk in `steps` normal steps each, of constant or GARCH(0.08, 0.90) variance.

    Volumes are log-normal and, but for the GARCH volatility, know nothing of the price.
    """
    random = np.random.default_rng(seed)
    shocks = random.standard_normal((n, steps)) / np.sqrt(steps)
    sigma, variance = np.ones(n), 1.0
    for row, shock in enumerate(shocks.sum(axis=1) if garch else ()):
        sigma[row] = np.sqrt(variance)
        variance = 0.02 + 0.08 * variance * shock**2 + 0.90 * variance
    path = np.cumsum(shocks, axis=1) * sigma[:, None]
    opening = np.r_[0.0, np.cumsum(path[:, -1])[:-1]]
    path += opening[:, None]
    high, low = np.maximum(path.max(axis=1), opening), np.minimum(path.min(axis=1), opening)
    prices = np.round(np.stack((opening, high, low, path[:, -1])) * 100.0).astype(np.int64)
    prices += 200_000 - prices.min()
    return BarSeries(
        symbol="EURUSD",
        period_ns=NS_PER_HOUR,
        ts_open_ns=MONDAY_NS + np.arange(n) * NS_PER_HOUR,
        open_e5=prices[0],
        high_e5=prices[1],
        low_e5=prices[2],
        close_e5=prices[3],
        quotes=np.round(random.lognormal(0.0, 0.5, n) * sigma * 500.0).astype(np.int64) + 1,
    )


def replaced_after(series, row, seed):
    """The same bars up to and with `row`, and another market after it."""
    noise = made_up_bars(len(series), seed, symbol=series.symbol)

    def mixed(name):
        column = getattr(noise, name).copy()
        column[: row + 1] = getattr(series, name)[: row + 1]
        return column

    names = ("open_e5", "high_e5", "low_e5", "close_e5", "spread_e5", "quotes")
    return BarSeries(
        symbol=series.symbol,
        period_ns=series.period_ns,
        ts_open_ns=series.ts_open_ns,
        **{name: mixed(name) for name in names},
    )


def bar_at(series, row):
    return Bar(
        symbol=series.symbol,
        period_ns=series.period_ns,
        ts_open_ns=int(series.ts_open_ns[row]),
        ts_close_ns=int(series.ts_open_ns[row]) + series.period_ns,
        open_e5=int(series.open_e5[row]),
        high_e5=int(series.high_e5[row]),
        low_e5=int(series.low_e5[row]),
        close_e5=int(series.close_e5[row]),
        spread_e5=0 if series.spread_e5 is None else int(series.spread_e5[row]),
        quotes=int(series.quotes[row]),
    )


def request_at(series, row, *, horizons=HORIZONS, bars=256):
    """What the core asks when bar `row` has closed."""
    window = BarWindow(series.symbol, series.period_ns, bars)
    for index in range(max(0, row + 1 - bars), row + 1):
        window.append(bar_at(series, index))
    as_of_ns = int(series.ts_open_ns[row]) + series.period_ns
    return window.request(f"r{row}", as_of_ns=as_of_ns, horizons=horizons, deadline_ns=as_of_ns + 60 * 10**9)
