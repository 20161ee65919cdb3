"""Seeded disasters: one seed draws a market, a venue, a policy, a strategy, rival models, operators and crashes.

`Scenario(seed)` is pure drawing; `Trial` is one process of the paper shell over a folder, watched by a `Witness`
between shell and exchange; `undisturbed` and `disturbed` run a scenario to its end, the latter through its crashes.
Time is virtual throughout, fsync is replaced by a note of what would be durable, and a kill loses the journal's buffer
and some of the bytes behind the durable ones.
"""

import asyncio
import math
import os
import random

import msgspec

import daemon.journal
import strategies
from adapters.exchange import Exchange, ExecutionModel
from bus.calendar import market_open
from bus.messages import (
    AmendProtection,
    CancelOrder,
    ClockTick,
    Forecast,
    ForecastMissed,
    HaltLatched,
    HaltLevel,
    HaltLifted,
    HaltTrading,
    HorizonForecast,
    Intent,
    ModelAdmitted,
    OrderFilled,
    Quote,
    ResumeTrading,
    SubmitOrder,
)
from bus.values import NS_PER_DAY, NS_PER_HOUR, NS_PER_S, OrderType, Side, default_instrument
from daemon.core import CoreSettings, StrategySettings
from daemon.engine import Engine
from daemon.journal import read, segments
from daemon.paper import Latencies, PaperShell
from risk.policy import Policy
from risk.sizing import SizingSettings
from tests.harness.paper import HORIZONS, MODEL, START_NS, history, opening
from tests.harness.reign import Rivals, is_swap
from tests.harness.virtual import Killed

BASE_E5 = {"EURUSD": 120_000, "GBPUSD": 135_000, "USDJPY": 10_900_000, "EURJPY": 13_100_000}
MS = 1_000_000
BALANCE = 1_000_000


class RestingParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every Nth quote of a symbol, an entry that rests."""

    every_quotes: int = 7
    away_pips_e1: int = 20
    stop_pips_e1: int = 300


class Resting:
    """Limit and stop entries in turn, good for two hours; leaves what it has held for five bars."""

    name = "resting"
    wants_quotes = True

    def __init__(self, params):
        self.params = params
        self._counted = 0

    def on_forecast(self, forecast, view):
        return ()

    def on_bar(self, bar, view):
        return [
            strategies.contract.exit_intent(position, view, "held")
            for position in view.positions(self.name, bar.symbol)
            if position.bars_held >= 5
        ]

    def on_quote(self, quote, view):
        self._counted += 1
        if self._counted % self.params.every_quotes:
            return ()
        turn = self._counted // self.params.every_quotes
        side = Side.BUY if turn % 2 else Side.SELL
        kind = OrderType.LIMIT if turn % 4 < 2 else OrderType.STOP
        spec = view.instrument(quote.symbol)
        touch = quote.ask_e5 if side > 0 else quote.bid_e5
        away = side * self.params.away_pips_e1 * spec.pip_e5 // 10 * (-1 if kind == OrderType.LIMIT else 1)
        price = spec.round_price_e5(touch + away)
        stop = spec.round_price_e5(price - side * self.params.stop_pips_e1 * spec.pip_e5 // 10)
        until = view.now_ns + 2 * NS_PER_HOUR if turn % 3 else 0
        return [
            Intent(intent_id="", strategy=self.name, symbol=quote.symbol, action="enter", side=side, reason="rest",
                   reference_e5=touch, ts_init_ns=view.now_ns, stop_loss_e5=max(0, stop), order_type=kind,
                   price_e5=price, valid_until_ns=until, scale_e5=50, edge_e5=5)
        ]  # fmt: skip


def with_resting(monkeypatch):
    """Make the strategy known for the length of a test."""
    monkeypatch.setitem(strategies.STRATEGIES, "resting", (RestingParams, Resting))


class Scenario:
    """All that one seed draws."""

    def __init__(self, seed):
        self.seed = seed
        r = random.Random(f"disaster {seed}")
        self.symbols = r.choice([("EURUSD",), ("EURUSD",), ("EURUSD", "GBPUSD"), ("USDJPY",), ("EURUSD", "USDJPY"),
                                 ("EURJPY", "USDJPY")])  # fmt: skip
        self.hedged = r.random() < 0.6
        self.repeats = r.random() < 0.5
        self.rivals = Rivals(random.Random(f"models {seed}"), self.symbols, HORIZONS)
        self.settings = CoreSettings(
            risk=self._policy(r), sizing=self._sizing(r), strategies=self._strategies(r),
            slippage_allowance_e5=r.choice([0, 4, 20]), forecast_deadline_ns=r.choice([1, 5]) * NS_PER_S,
            swap=self.rivals.policy(),
        )  # fmt: skip
        slippage = r.choice([0, 2, 30])
        self.model = ExecutionModel(
            slippage_points=slippage, slippage_jitter_points=min(slippage, 2), impact_points=r.choice([0, 2, 10]),
            liquidity_e2=r.choice([0, 500_000_000, 3_000_000, 500_000]), depth_levels=r.choice([1, 3, 10]),
            reject_pct=r.choice([0, 0, 0, 15, 50]), stop_out_level_pct=r.choice([50, 50, 95]),
            rollover_minutes=r.choice([0, 5, 60]), conversion_fee_bp=r.choice([0, 50]), seed=seed,
        )  # fmt: skip
        delays = [0, 1, 20 * MS, 50 * MS, 900 * MS, 3 * NS_PER_S]
        self.latencies = Latencies(
            model_latency_ns=r.choice([*delays, 1500 * MS, 7 * NS_PER_S]),
            order_latency_ns=r.choice(delays),
            fact_latency_ns=r.choice(delays),
        )
        self.forecasts = r.choice(["loud", "loud", "loud", "moody"])
        self.quotes = self._quotes(r, r.randrange(80, 260))
        self.operators = self._operators(r)
        self._swap_models(random.Random(f"swaps {seed}"))
        self.crashes = [(r.random(), r.choice(["kill", "kill", "cut", "stop"])) for _ in range(r.randrange(1, 4))]
        self.crash_seed = r.randrange(1 << 30)

    def _policy(self, r):
        tight = r.random() < 0.5
        return Policy(
            max_order_lots_e2=r.choice([5, 50]) if tight else 10_000,
            max_position_pct_equity=r.choice([100, 300]) if tight else 2_000,
            max_exposure_pct_equity=r.choice([300, 600]) if tight else 4_000,
            max_leverage_pct=r.choice([200, 400]) if tight else 3_000,
            daily_loss_pct_e2=r.choice([20, 100, 0, 300]), trailing_drawdown_pct_e2=r.choice([30, 150, 0, 1_000]),
            loss_halt_level=r.choice([1, 2, 3]), max_orders_per_minute=r.choice([1, 2, 5, 30]),
            max_spread_pips_e1=r.choice([15, 50, 0]), max_quote_age_s=r.choice([1, 30, 600]),
            min_free_margin_pct=r.choice([0, 20]), protect_within_s=r.choice([10, 60]),
        )  # fmt: skip

    def _sizing(self, r):
        method = r.choice(["fixed", "percent", "volatility", "kelly"])
        return SizingSettings(method=method, fixed_lots_e2=r.choice([1, 10, 40]), risk_pct_e2=r.choice([50, 200]),
                              max_pct_equity=r.choice([100, 300, 2_000]))  # fmt: skip

    def _strategies(self, r):
        every = r.choice([2, 3, 5, 9])
        metronome = StrategySettings(
            name="metronome", params={"every_quotes": every, "stop_pips_e1": r.choice([60, 500])}
        )
        resting = StrategySettings(name="resting", params={"every_quotes": every + 2})
        interval = StrategySettings(name="interval", params={"horizon": r.choice(HORIZONS), "max_positions": 2,
                                                             "level_ppm": 200_000})  # fmt: skip
        return r.choice([(metronome,), (interval,), (resting,), (interval, metronome), (resting, metronome)])

    def _quotes(self, r, count):
        now = START_NS + r.choice([0, 1, 2, 3]) * NS_PER_DAY + r.randrange(24) * NS_PER_HOUR
        prices = {symbol: BASE_E5[symbol] for symbol in self.symbols}
        wild, gaps, bad = r.choice([5, 20, 60]), r.random() < 0.5, r.random() < 0.3
        step_s = r.choice([20, 200, 900, 1800])
        out = []
        for _ in range(count):
            now += round(r.expovariate(1 / step_s) * NS_PER_S) if r.random() < 0.95 else r.choice([0, 1, NS_PER_HOUR])
            if gaps and r.random() < 0.01:
                now += r.randrange(1, 60) * NS_PER_HOUR
            while not market_open(now, "fx") and r.random() > 0.02:  # now and then a feed quotes at a weekend
                now += NS_PER_HOUR
            symbol = r.choice(self.symbols)
            spec = default_instrument(symbol)
            scale = BASE_E5[symbol] / 120_000
            move = r.gauss(0, wild * scale)
            if r.random() < 0.01:
                move *= r.choice([5, 20])
            prices[symbol] = max(spec.point_e5 * 1_000, spec.round_price_e5(round(prices[symbol] + move)))
            spread = spec.round_price_e5(round(r.choice([4, 8, 8, 8, 15, 80]) * scale))
            bid, ask = prices[symbol], prices[symbol] + spread
            if bad and r.random() < 0.03:
                bid, ask = r.choice([(ask + 10, bid), (0, ask), (-5, ask), (bid, 10**15), (0, 0)])
            out.append(Quote(symbol=symbol, bid_e5=bid, ask_e5=ask, ts_event_ns=now, ts_init_ns=now))
        return out

    def _operators(self, r):
        """Quote number to the commands that come just after it."""
        out, halted = {}, False
        for at in sorted(r.sample(range(len(self.quotes)), k=r.choice([0, 0, 1, 3]))):
            if halted and r.random() < 0.7:
                out[at], halted = [ResumeTrading(operator="mo", reason="checked", ts_init_ns=0)], False
            else:
                level = HaltLevel(r.randrange(1, 4))
                out[at], halted = [HaltTrading(level=level, source=r.choice(["file", "web"]), operator="mo",
                                               reason="drill", ts_init_ns=0)], True  # fmt: skip
        return out

    def _swap_models(self, r):
        """Models that come in the first quarter of the day, and what operators want of them later."""
        count = len(self.quotes)
        firsts = {m.symbol: m for m in opening(symbols=self.symbols) if isinstance(m, ModelAdmitted)}
        for name in self.rivals.names:
            for symbol in self.symbols:
                came = r.randrange(count // 4)
                self.operators.setdefault(came, []).append(self.rivals.admission(name, symbol, firsts[symbol]))
                for _ in range(r.choice((0, 1, 2))):
                    self.operators.setdefault(r.randrange(count), []).append(self.rivals.wish(symbol))

    async def ask(self, request):
        """Forecasts as a pure function of the request; `moody` ones are missing, foreign, repeated or absurd."""
        close = request.close_e5[-1]
        swing = math.sin(sum(request.close_e5[-3:]))
        scale = close / 120_000
        r = random.Random(f"{self.seed} {request.request_id}")
        model, factor, sigma = MODEL, 1.0, 1.0
        if self.forecasts == "moody":
            mood = r.randrange(8)
            if mood == 0:
                return [ForecastMissed(request_id=request.request_id, symbol=request.symbol, model_id="",
                                       reason="error", detail="", ts_init_ns=request.as_of_ns)]  # fmt: skip
            model = "stranger-1" if mood == 1 else MODEL
            factor = {2: 1e6, 3: -1e5, 4: 1e13}.get(mood, 1.0)
            sigma = {5: 0.0, 6: 1e12}.get(mood, 1.0)
        view = Forecast(
            request_id=request.request_id, symbol=request.symbol, model_id=model, as_of_ns=request.as_of_ns,
            expires_ns=request.deadline_ns, ts_init_ns=request.as_of_ns,
            horizons=tuple(
                HorizonForecast(horizon=h, point_e5=close + round(90 * scale * math.sqrt(h) * swing * factor),
                                sigma_e5=round(40 * scale * math.sqrt(h) * sigma))
                for h in request.horizons
            ),
        )  # fmt: skip
        if model == MODEL:
            views = self.rivals.opinions(request, view, random.Random(f"rivals {self.seed} {request.request_id}"))
        else:
            views = [view]
        return [*views, view] if self.forecasts == "moody" and r.random() < 0.2 else views


class Witness:
    """Stands between shell and exchange, and holds what passes against the durable bytes of the journal."""

    def __init__(self, venue, folder, durable, repeats, problems):
        self.venue, self.folder, self.durable, self.problems = venue, folder, durable, problems
        self.tape = Tape(folder, durable)
        self.executed = set()
        self._repeats = repeats

    def __getattr__(self, name):
        return getattr(self.venue, name)

    def _told(self, facts):
        """A venue repeats itself after a reconnect: every few facts the same again."""
        for position in self.venue.positions:
            if position.stop_loss_e5 == 0 and not any(p.client_order_id == position.client_order_id
                                                      for p in self.venue.orders):  # fmt: skip
                self.problems.append(f"position {position.position_id} has no stop at the venue")
        if not self._repeats:
            return facts
        out = []
        for fact in facts:
            out.append(fact)
            name = getattr(fact, "deal_id", "") or getattr(fact, "position_id", "") or fact.client_order_id
            if sum(name.encode()) % 3 == 0:
                out.append(fact)
        return out

    def on_quote(self, quote):
        return self._told(self.venue.on_quote(quote))

    def advance(self, now_ns):
        return self._told(self.venue.advance(now_ns))

    def execute(self, command, now_ns):
        self.tape.wind()
        if isinstance(command, SubmitOrder):
            if command.client_order_id in self.executed:
                self.problems.append(f"order {command.client_order_id} reached the venue twice")
            self.executed.add(command.client_order_id)
            if self.tape.orders.get(command.client_order_id) != command:
                self.problems.append(f"order {command.client_order_id} reached the venue before it was durable")
            if command.intent_id not in self.tape.intents:
                self.problems.append(f"order {command.client_order_id} has no durable intent")
        elif isinstance(command, CancelOrder | AmendProtection) and command not in self.tape.others:
            self.problems.append(f"{command} reached the venue before it was durable")
        return self._told(self.venue.execute(command, now_ns))


class Tape:
    """Reads the durable part of a journal as it grows, with a decoder of its own."""

    def __init__(self, folder, durable):
        self.folder, self.durable = folder, durable
        self.at, self.seq = 0, 0
        self.orders, self.intents, self.others = {}, set(), []

    def wind(self):
        path = segments(self.folder)[0]
        end = self.durable.of(path)
        if end <= self.at:
            return
        with path.open("rb") as file:
            file.seek(self.at)
            data = file.read(end - self.at)
        offset = data.index(b"\n") + 1 if self.at == 0 else 0
        while offset + 29 <= len(data):
            length = int.from_bytes(data[offset : offset + 4], "little")
            if offset + 4 + length + 16 > len(data):
                break
            self.seq = int.from_bytes(data[offset + 5 : offset + 13], "little")
            message = daemon.journal.decode(data[offset + 13 : offset + 4 + length])
            if isinstance(message, SubmitOrder):
                self.orders[message.client_order_id] = message
            elif isinstance(message, Intent):
                self.intents.add(message.intent_id)
            elif isinstance(message, CancelOrder | AmendProtection):
                self.others.append(message)
            offset += 4 + length + 16
        self.at += offset


class Trial:
    """One process of the paper shell on a scenario, over a folder that may hold an earlier one's journal."""

    def __init__(self, scenario, folder, durable, problems, *, stop_at=None, kill_at=None):
        self.scenario, self.folder, self.durable = scenario, folder, durable
        self.problems = problems
        self._kill_at, self._stop_at = kill_at, stop_at
        self._halts = []
        self.engine = Engine(folder, watch=(self._watch,))
        recorded = list(read(folder)) if segments(folder) and self.engine.recovering else []
        self._told = sum(
            isinstance(record.message, HaltTrading | ResumeTrading) or is_swap(record.message) for record in recorded
        )
        self.exchange = Exchange(
            account_id="paper", currency="USD", money_digits=2, leverage=30, hedged=scenario.hedged, balance=BALANCE,
            instruments=tuple(default_instrument(symbol) for symbol in scenario.symbols), model=scenario.model,
        )  # fmt: skip
        self.witness = Witness(self.exchange, folder, durable, scenario.repeats, problems)
        self.shell = PaperShell(
            engine=self.engine, venue=self.witness, quotes=self._feed(), ask=scenario.ask, period_ns=NS_PER_HOUR,
            latencies=scenario.latencies, recorded=recorded,
        )  # fmt: skip

    def _watch(self, seq, message):
        if isinstance(message, HaltLatched | HaltLifted):
            self._halts.append(seq)
        elif self._halts and isinstance(message, Quote | ClockTick) and not self.engine.recovering:
            self.witness.tape.wind()
            if self.witness.tape.seq < self._halts[-1]:
                self.problems.append(f"halt in record {self._halts[-1]} was not durable when life went on")
            self._halts.clear()
        if self._kill_at is not None and seq >= self._kill_at:
            raise Killed

    def _feed(self):
        told = 0
        for number, quote in enumerate(self.scenario.quotes):
            for command in self.scenario.operators.get(number, ()):
                told += 1
                if told > self._told:
                    self.shell.tell(command)
            if self._stop_at is not None and number == self._stop_at:
                self.shell.stop("SIGTERM")
            yield quote

    def run(self):
        short = [bar for symbol in self.scenario.symbols for bar in history(12, symbol=symbol)]
        start = [m for m in opening(self.scenario.settings, symbols=self.scenario.symbols, hedged=self.scenario.hedged)
                 if type(m).__name__ != "Bar"]  # fmt: skip
        try:
            self.reason = asyncio.run(self.shell.run([*start, *short]))
            self.engine.close()
        except Killed:
            os.close(self.engine.journal._fd)
            self.engine.journal._fd = -1
            self.reason = "killed"
        except BaseException:
            os.close(self.engine.journal._fd)
            self.engine.journal._fd = -1
            raise
        return self


def undisturbed(scenario, folder, durable, problems):
    """The scenario from beginning to end in one process."""
    return Trial(scenario, folder, durable, problems).run()


def disturbed(scenario, folder, durable, problems, records):
    """The same through its crashes: killed, stopped, cut, and continued each time."""
    r = random.Random(scenario.crash_seed)
    for moment, how in scenario.crashes:
        stop_at = int(moment * len(scenario.quotes)) if how == "stop" else None
        kill_at = max(2, int(moment * records)) if how != "stop" else None
        trial = Trial(scenario, folder, durable, problems, stop_at=stop_at, kill_at=kill_at).run()
        path = segments(folder)[0]
        size, safe = path.stat().st_size, durable.of(path)
        if trial.reason == "killed":
            lowest = min(safe, size) if how == "kill" else 100
            cut = r.randrange(min(lowest, size), size + 1)
            with path.open("r+b") as file:
                file.truncate(cut)
            durable.sizes[path.stat().st_ino] = min(safe, cut)
    return Trial(scenario, folder, durable, problems).run()


def fills_of(folder):
    """Deals in order, each once."""
    seen = {}
    for record in read(folder):
        if isinstance(record.message, OrderFilled):
            seen.setdefault(record.message.deal_id, record.message)
    return list(seen.values())
