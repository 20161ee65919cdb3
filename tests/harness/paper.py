"""A paper day in memory: synthetic quotes, a scripted forecaster, the real core, journal and exchange."""

import asyncio
import math
import random
from pathlib import Path

import msgspec

from adapters.exchange import Exchange, ExecutionModel
from bus.messages import Bar, Forecast, HorizonForecast, ModelAdmitted, Quote, RunStarted
from bus.values import NS_PER_HOUR, default_instrument
from daemon.core import CoreSettings, StrategySettings
from daemon.engine import Engine
from daemon.journal import read, segments
from daemon.paper import Latencies, PaperShell
from daemon.state import State

HORIZONS = (1, 4, 24)
LEVELS = (900_000, 200_000)
START_NS = 1_525_132_800_000_000_000 // NS_PER_HOUR * NS_PER_HOUR  # Tuesday, 1 May 2018, 00:00 UTC
MODEL = "scripted-0"


def synthetic_quotes(count, *, symbol="EURUSD", seed=1, step_ns=NS_PER_HOUR // 4, sigma_e5=40, spread_e5=8):
    """A random walk of quotes on a regular grid, closed at weekends like the market."""
    from bus.calendar import market_open

    source = random.Random(seed)
    price, ts = 120_000, START_NS
    for _ in range(count):
        while not market_open(ts, "fx"):
            ts += step_ns
        price = max(50_000, price + round(source.gauss(0, sigma_e5)))
        yield Quote(symbol=symbol, bid_e5=price, ask_e5=price + spread_e5, ts_event_ns=ts, ts_init_ns=ts)
        ts += step_ns


def history(count=256, *, symbol="EURUSD"):
    """Bars before the first quote."""
    first = START_NS - count * NS_PER_HOUR
    return [
        Bar(symbol=symbol, period_ns=NS_PER_HOUR, ts_open_ns=first + n * NS_PER_HOUR,
            ts_close_ns=first + (n + 1) * NS_PER_HOUR, open_e5=120_000, high_e5=120_050, low_e5=119_950,
            close_e5=120_000 + (n % 7) * 5, spread_e5=8, quotes=4)
        for n in range(count)
    ]  # fmt: skip


async def scripted_forecasts(request):
    """A loud opinion that is a pure function of the request: enough to make a strategy trade."""
    close = request.close_e5[-1]
    swing = math.sin(sum(request.close_e5[-3:]))
    return [
        Forecast(
            request_id=request.request_id, symbol=request.symbol, model_id=MODEL, as_of_ns=request.as_of_ns,
            expires_ns=request.deadline_ns, ts_init_ns=request.as_of_ns,
            horizons=tuple(
                HorizonForecast(
                    horizon=h,
                    point_e5=close + round(70 * math.sqrt(h) * swing),
                    sigma_e5=round(80 * math.sqrt(h)),
                )
                for h in request.horizons
            ),
        )
    ]  # fmt: skip


def opening(settings=None, *, symbols=("EURUSD",), run_id="test0000", hedged=True):
    settings = settings or CoreSettings(strategies=(StrategySettings(name="interval"),))
    scores = tuple(abs(random.Random(n).gauss(0, 1)) for n in range(300))
    started = RunStarted(
        run_id=run_id, schema=1, mode="paper", currency="USD", money_digits=2, leverage=30, hedged=hedged,
        period_ns=NS_PER_HOUR, horizons=HORIZONS, levels_ppm=LEVELS,
        instruments=tuple(default_instrument(symbol) for symbol in symbols),
        config_json=msgspec.json.encode(settings).decode(), ts_init_ns=START_NS,
    )  # fmt: skip
    admitted = [
        ModelAdmitted(model_id=MODEL, kind="forecaster", symbol=symbol, active=True, horizons=HORIZONS,
                      scores=(scores,) * 3, ts_init_ns=START_NS)
        for symbol in symbols
    ]  # fmt: skip
    return [started, *admitted, *(bar for symbol in symbols for bar in history(symbol=symbol))]


def exchange(*, symbols=("EURUSD",), hedged=True, model=None, balance=1_000_000):
    return Exchange(
        account_id="paper", currency="USD", money_digits=2, leverage=30, hedged=hedged, balance=balance,
        instruments=tuple(default_instrument(symbol) for symbol in symbols), model=model or ExecutionModel(),
    )  # fmt: skip


class Day:
    """One in-memory day over a folder; run it again over the same folder to continue it."""

    def __init__(self, folder: Path, quotes, *, ask=scripted_forecasts, settings=None, watch=(), latencies=None,
                 symbols=("EURUSD",), hedged=True, model=None, speed=None):  # fmt: skip
        self.folder = folder
        self.engine = Engine(folder, watch=watch)
        recorded = list(read(folder)) if segments(folder) and self.engine.recovering else []
        self.venue = exchange(symbols=symbols, hedged=hedged, model=model)
        self.shell = PaperShell(
            engine=self.engine, venue=self.venue, quotes=quotes, ask=ask, period_ns=NS_PER_HOUR,
            latencies=latencies or Latencies(), recorded=recorded, speed=speed,
        )  # fmt: skip
        self._opening = opening(settings, symbols=symbols, hedged=hedged)

    def run(self):
        try:
            self.reason = asyncio.run(self.shell.run(self._opening))
        finally:
            self.engine.close()
        return self

    @property
    def decisions(self):
        return self.engine.decisions.hexdigest()

    def messages(self, *kinds):
        return [record.message for record in read(self.folder) if not kinds or isinstance(record.message, kinds)]


__all__ = ["Day", "State", "history", "opening", "scripted_forecasts", "synthetic_quotes"]
