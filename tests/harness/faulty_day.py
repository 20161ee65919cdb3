"""A recorded day with planted faults: late deals, a burst of rejections, a widened spread, a missed stop.

One trading day of five-minute bars through the real core, journal and simulated exchange, deterministic; the exchange
is disturbed at known times. `PLANTED` says what a reader of the report must find.
"""

import asyncio
import math
import random
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import msgspec

from adapters.exchange import ExecutionModel
from bus.calendar import to_ns
from bus.messages import (
    Bar,
    Forecast,
    HorizonForecast,
    ModelAdmitted,
    OrderRejected,
    PatternSeen,
    Quote,
    RegimeSeen,
    RunStarted,
    SubmitOrder,
)
from bus.values import NS_PER_MS, NS_PER_S, default_instrument
from daemon.core import CoreSettings, StrategySettings
from daemon.engine import Engine
from daemon.journal import read
from daemon.paper import PaperShell
from tests.harness.paper import exchange

SYMBOL, MODEL, STATES = "EURUSD", "scripted-1", "states-1"
PERIOD_NS = 300 * NS_PER_S
HORIZONS, LEVELS = (1, 3, 12), (900_000, 200_000)
STEP_NS = 15 * NS_PER_S
SIGMA_E5 = 4
SPREAD_E5 = 8


def at(hour, minute, second=0):
    """A moment of the day, UTC nanoseconds."""
    return to_ns(datetime(2018, 5, 1, hour, minute, second, tzinfo=UTC))


START_NS, END_NS = at(5, 0), at(20, 30)
LATE = (at(8, 0), at(8, 25))
LATE_NS = 4 * NS_PER_S
REJECTED = (at(11, 0), at(11, 40))
CODE = "TRADING_DISABLED"
WIDE = (at(13, 30), at(13, 33))
WIDE_E5 = 96
SLEEP = (at(15, 0), at(16, 30))
SLEPT_NS = 14 * 60 * NS_PER_S

PLANTED = {
    "filled_late": LATE,
    "orders_rejected": REJECTED,
    "spread_widened": WIDE,
    "stop_loss_missed": SLEEP,
}
"""Rule of the finding: the time in which it must lie."""


class Delays:
    """How long things travel; orders that leave in LATE take LATE_NS."""

    model_latency_ns = 20 * NS_PER_MS
    fact_latency_ns = 25 * NS_PER_MS

    def __init__(self, faults):
        self.shell, self.faults = None, faults

    @property
    def order_latency_ns(self):
        return LATE_NS if self.faults and LATE[0] <= self.shell.now_ns < LATE[1] else 40 * NS_PER_MS


def quotes(seed, faults):
    """A random walk with a spread that opens in WIDE, and a slide while the stop sleeps."""
    source, price, ts = random.Random(seed), 120_000.0, START_NS
    while ts < END_NS:
        slide = -6.0 if faults and SLEEP[0] <= ts < SLEEP[0] + 10 * 60 * NS_PER_S else 0.0
        price += source.gauss(slide, SIGMA_E5)
        spread = WIDE_E5 if faults and WIDE[0] <= ts < WIDE[1] else SPREAD_E5 + source.choice((0, 0, 1, 2))
        bid = round(price)
        yield Quote(symbol=SYMBOL, bid_e5=bid, ask_e5=bid + spread, ts_event_ns=ts, ts_init_ns=ts)
        ts += STEP_NS


def history():
    first = START_NS - 256 * PERIOD_NS
    return [
        Bar(symbol=SYMBOL, period_ns=PERIOD_NS, ts_open_ns=first + n * PERIOD_NS,
            ts_close_ns=first + (n + 1) * PERIOD_NS, open_e5=120_000, high_e5=120_015, low_e5=119_985,
            close_e5=120_000 + (n % 7) * 3, spread_e5=8, quotes=20)
        for n in range(256)
    ]  # fmt: skip


async def answers(request):
    """A loud opinion, now and then a pattern or an unusual bar, and the state the market is in."""
    close, number = request.close_e5[-1], (request.as_of_ns - START_NS) // PERIOD_NS
    swing = math.sin(sum(request.close_e5[-3:]))
    if SLEEP[0] - PERIOD_NS <= request.as_of_ns < SLEEP[0] + 2 * PERIOD_NS:
        swing = 1.0  # into the slide
    said = [
        Forecast(
            request_id=request.request_id, symbol=SYMBOL, model_id=MODEL, as_of_ns=request.as_of_ns,
            expires_ns=request.deadline_ns, ts_init_ns=request.as_of_ns,
            horizons=tuple(
                HorizonForecast(horizon=h, point_e5=close + round(28 * math.sqrt(h) * swing),
                                sigma_e5=round(27 * math.sqrt(h)))
                for h in request.horizons
            ),
        )
    ]  # fmt: skip
    regime, before = (int(n // 36) % 3 for n in (number, number - 1))
    said.append(RegimeSeen(
        request_id=request.request_id, symbol=SYMBOL, model_id=STATES, as_of_ns=request.as_of_ns, regime=regime,
        before=before, probabilities_ppm=tuple(900_000 if n == regime else 50_000 for n in range(3)),
        ts_init_ns=request.as_of_ns,
    ))  # fmt: skip
    if number % 23 == 5:
        unusual = number % 2 == 0
        said.append(PatternSeen(
            request_id=request.request_id, symbol=SYMBOL, pattern="unusual_window" if unusual else "double_top",
            model_id="autoencoder-1" if unusual else "pattern-rules", as_of_ns=request.as_of_ns,
            error_ppm=900 if unusual else 0, threshold_ppm=500 if unusual else 0,
            percentile=99.4 if unusual else 0.0, candles=(0, 1), ts_init_ns=request.as_of_ns,
            confidence_ppm=0 if unusual else 780_000, direction=-1,
        ))  # fmt: skip
    return said


def opening(run_id, model):
    scores = tuple(abs(random.Random(n).gauss(0, 1)) for n in range(300))
    settings = CoreSettings(
        strategies=(StrategySettings(name="interval", params={"horizon": 3, "level_ppm": 200_000}),)
    )
    started = RunStarted(
        run_id=run_id, schema=1, mode="paper", currency="USD", money_digits=2, leverage=30, hedged=True,
        period_ns=PERIOD_NS, horizons=HORIZONS, levels_ppm=LEVELS, instruments=(default_instrument(SYMBOL),),
        config_json=msgspec.json.encode(settings).decode(), venue_json=msgspec.json.encode(model).decode(),
        ts_init_ns=START_NS,
    )  # fmt: skip
    admitted = ModelAdmitted(model_id=MODEL, kind="forecaster", symbol=SYMBOL, active=True, horizons=HORIZONS,
                             scores=(scores,) * len(HORIZONS), ts_init_ns=START_NS)  # fmt: skip
    return [started, admitted, *history()]


def disturb(venue):
    """Reject entries in REJECTED, and let the first stop that is reached in SLEEP wait SLEPT_NS."""
    truth = SimpleNamespace(rejected=[], slept="", reached_ns=0)
    execute, protect = venue.execute, venue._matcher.protect

    def refusing(command, now_ns):
        if isinstance(command, SubmitOrder) and not command.position_id and REJECTED[0] <= now_ns < REJECTED[1]:
            truth.rejected.append(command.client_order_id)
            return [OrderRejected(client_order_id=command.client_order_id, symbol=SYMBOL, code=CODE,
                                  text="trading is disabled", ts_event_ns=now_ns, ts_init_ns=now_ns)]  # fmt: skip
        return execute(command, now_ns)

    def asleep(position, market, now_ns):
        if truth.slept:
            return position.position_id == truth.slept and now_ns < truth.reached_ns + SLEPT_NS
        quote = venue.quote(market.instrument.symbol)
        touch_e5 = quote.bid_e5 if position.side > 0 else quote.ask_e5
        stop_e5 = position.stop_loss_e5
        if SLEEP[0] <= now_ns < SLEEP[1] and stop_e5 and (touch_e5 - stop_e5) * position.side <= 0:
            truth.slept, truth.reached_ns = position.position_id, now_ns
            return True
        return False

    def sleepy(market, now_ns, facts):
        held = {}
        for name, position in market.positions.items():
            if asleep(position, market, now_ns):
                held[name] = position.stop_loss_e5
                position.stop_loss_e5 = 0
        protect(market, now_ns, facts)
        for name, stop_e5 in held.items():
            if name in market.positions:
                market.positions[name].stop_loss_e5 = stop_e5

    venue.execute, venue._matcher.protect = refusing, sleepy
    return truth


def record(folder: Path, *, seed=11, faults=True, run_id="faulty01"):
    """Trade the day into a journal; gives what was planted."""
    model = ExecutionModel(rollover_minutes=0, slippage_points=1, slippage_jitter_points=1)
    engine = Engine(folder)
    venue = exchange(model=model)
    truth = disturb(venue) if faults else SimpleNamespace()
    delays = Delays(faults)
    shell = delays.shell = PaperShell(
        engine=engine, venue=venue, quotes=quotes(seed, faults), ask=answers, period_ns=PERIOD_NS, latencies=delays
    )
    try:
        asyncio.run(shell.run(opening(run_id, model)))
    finally:
        engine.close()
    return truth


__all__ = ["PLANTED", "read", "record"]
