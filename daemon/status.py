"""What is going on, folded from the audit stream: the one source of the terminal view, the status page and the metrics.

Theory of operation. `Status.watch` is called with every message that entered or left the core. Quotes, by far the
most, cost a counter and a dict entry; whatever needs arithmetic waits for a bar, a fill, or somebody who looks. So
equity and drawdown here are those at bar closes and fills; the exact ones are the risk book's. Memory is bounded: the
equity line is thinned, tables have a largest size. Nothing here can reach the core.

Wall-clock time comes in from outside (`wall_s`, seconds of any monotonic clock), so that tests need no waiting.

One file past 400 lines: one fold over the stream, and the picture that is taken of it.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from bus import messages as m
from bus.messages import AnyMessage, Quote
from bus.values import Instrument, money, quote_to_account_rate_e8
from daemon.gateboard import GATE_NEWS, GateBoard
from daemon.snapshot import (
    MODEL_NEWS,
    Counts,
    CoverageView,
    DepthView,
    ForecastView,
    Health,
    InferenceView,
    MarginView,
    OpenPosition,
    PortfolioView,
    Snapshot,
    Tally,
    ThinnedLine,
    TrainingView,
    forecast_view,
    model_words,
    open_position,
    pattern_words,
)

EQUITY_POINTS = 512
LARGEST_TABLE = 64
EVENTS_KEPT = 12
DEALS_REMEMBERED = 4_096


class Status:
    """The projection. Feed it with `watch` (or `apply`), read it with `snapshot`."""

    def __init__(
        self, *, progress_total: int = 0, pace: str = "", run: str = "", stalled_after_s: float = 60.0
    ) -> None:
        """An empty status.

        Args:
            progress_total: quotes that will come, for progress; 0 = not known, `span` may say more.
            pace: what was asked for, in words (``max``, ``real``, ``60x``).
            run: name that people know the run by; empty = its id.
            stalled_after_s: so long without any message or beat, and health is degraded.
        """
        self.counts = Counts()
        self.quotes: dict[str, Quote] = {}
        self.run_id, self.mode, self.currency, self.ended, self.money_digits = "", "", "", "", 2
        self.start_balance, self.balance, self.equity, self.peak_equity = 0, 0, 0, 0
        self.max_drawdown, self.net_profit, self.costs = 0.0, 0, 0
        self.positions: dict[str, OpenPosition] = {}
        self.forecasts: dict[str, ForecastView] = {}
        self.coverage: dict[int, CoverageView] = {}
        self.refusals, self.patterns = Tally(LARGEST_TABLE), Tally(LARGEST_TABLE)
        self.halts: dict[str, str] = {}
        self.gates = GateBoard(LARGEST_TABLE)
        # Beside the stream: none of them ever reaches the core.
        self.depth: Callable[[], dict[str, DepthView]] = dict
        self.margin: Callable[[], MarginView | None] = lambda: None
        self.inference: Callable[[], InferenceView | None] = lambda: None
        self.portfolio: Callable[[], PortfolioView | None] = lambda: None
        self.trainings: Callable[[], tuple[TrainingView, ...]] = tuple
        self._total, self._pace, self._run = progress_total, pace, run
        self._instruments: tuple[Instrument, ...] = ()
        self._by_symbol: dict[str, Instrument] = {}
        self._clock_ns, self._span_ns = 0, (0, 0)
        self._others, self._beats, self._missed_in_a_row = 0, 0, 0
        self._deals: dict[str, None] = {}
        self._line = ThinnedLine(EQUITY_POINTS)
        self._events: deque[tuple[int, str]] = deque(maxlen=EVENTS_KEPT)
        self._stalled_after_s = stalled_after_s
        self._seen_progress = (-1, 0.0)
        self._began: tuple[float, int, float] | None = None
        self._handlers: dict[type[AnyMessage], Callable[[Any], None]] = {
            m.RunStarted: self._on_started,
            m.RunResumed: self._on_resumed,
            m.RunEnded: self._on_ended,
            m.ClockTick: self._on_tick,
            m.AccountSnapshot: self._on_snapshot,
            m.Bar: self._on_bar,
            m.CalibratedForecast: self._on_forecast,
            m.ForecastMissed: self._on_missed,
            m.ForecastResolved: self._on_resolved,
            m.PatternSeen: self._on_pattern,
            m.RegimeSeen: self._on_regime,
            m.Intent: lambda _: self._count("intents"),
            m.IntentRefused: self._on_refused,
            m.SubmitOrder: lambda _: self._count("orders"),
            m.OrderRejected: self._on_rejected,
            m.OrderFilled: self._on_filled,
            m.ProtectionChanged: self._on_protection,
            m.SwapCharged: self._on_swap,
            **dict.fromkeys(MODEL_NEWS, lambda fact: self._say(fact.ts_init_ns, model_words(fact))),
            **dict.fromkeys(GATE_NEWS, self._on_gate),
            m.ModelAdmitted: lambda model: self.gates.forget(model.model_id),
            m.ModelRetired: lambda model: self.gates.forget(model.model_id),
            m.HaltLatched: self._on_latched,
            m.HaltLifted: self._on_lifted,
        }

    # --- feeding -----------------------------------------------------------------------------------------------

    def watch(self, _: int, message: AnyMessage) -> None:
        """Take one numbered message of the audit stream."""
        if type(message) is Quote:
            self.counts.quotes += 1
            self.quotes[message.symbol] = message
            return
        self._others += 1
        handler = self._handlers.get(type(message))
        if handler is not None:
            handler(message)

    def apply(self, message: AnyMessage) -> None:
        """Take one message. O(open positions) for bars and fills, O(1) for everything else."""
        self.watch(0, message)

    def span(self, start_ns: int, end_ns: int) -> None:
        """Say which time the run will cover, for progress; (0, 0) = it has no end."""
        self._span_ns = (start_ns, end_ns)

    def beat(self) -> None:
        """The shell went round its loop and had nothing to feed in: it waits, and is alive."""
        self._beats += 1

    @property
    def progress_made(self) -> int:
        """A number that grows whenever anything went through, end to end."""
        return self.counts.quotes + self._others + self._beats

    @property
    def now_ns(self) -> int:
        """Time of the newest message, UTC nanoseconds; 0 before the first."""
        newest = max((quote.ts_init_ns for quote in self.quotes.values()), default=0)
        return max(newest, self._clock_ns)

    # --- the run -----------------------------------------------------------------------------------------------

    def _on_started(self, run: m.RunStarted) -> None:
        self.run_id, self.mode, self.ended = run.run_id, run.mode, ""
        self.currency, self.money_digits = run.currency, run.money_digits
        self._instruments = run.instruments
        self._by_symbol = {each.symbol: each for each in run.instruments}
        nominal = run.levels_ppm[0] / 1e6 if run.levels_ppm else 0.0
        self.coverage = {each: CoverageView(horizon=each, nominal=nominal) for each in run.horizons[:LARGEST_TABLE]}

    def _on_resumed(self, fact: m.RunResumed) -> None:
        self._say(fact.ts_init_ns, f"resumed: {fact.reason}")

    def _on_ended(self, fact: m.RunEnded) -> None:
        self.ended = fact.reason or "ended"
        self._say(fact.ts_init_ns, f"ended: {self.ended}")

    def _on_tick(self, tick: m.ClockTick) -> None:
        self._clock_ns = tick.ts_init_ns

    def _on_snapshot(self, account: m.AccountSnapshot) -> None:
        if not self.start_balance:
            self.start_balance = self.peak_equity = account.balance
        self.balance, self.currency, self.money_digits = account.balance, account.currency, account.money_digits
        self.positions = {each.position_id: open_position(each) for each in account.positions}
        self._mark()

    def _count(self, name: str) -> None:
        setattr(self.counts, name, getattr(self.counts, name) + 1)

    def _say(self, ts_ns: int, words: str) -> None:
        self._events.append((ts_ns, words))

    # --- money -------------------------------------------------------------------------------------------------

    def _mark(self) -> None:
        """Value what is open at the last prices; equity, its peak and its deepest fall follow."""
        equity = self.balance
        if self.positions:
            mids = {symbol: (quote.bid_e5 + quote.ask_e5) // 2 for symbol, quote in self.quotes.items()}
            for position in self.positions.values():
                self._value(position, mids)
                equity += position.profit
        self.equity = equity
        self.peak_equity = max(self.peak_equity, equity)
        self.max_drawdown = max(self.max_drawdown, self._drawdown())

    def _value(self, position: OpenPosition, mids: dict[str, int]) -> None:
        position.profit = position.swap + position.commission
        quote, instrument = self.quotes.get(position.symbol), self._by_symbol.get(position.symbol)
        if quote is None or instrument is None:
            return
        position.price_e5 = quote.bid_e5 if position.side > 0 else quote.ask_e5
        rate_e8 = quote_to_account_rate_e8(instrument.quote, self.currency, self._instruments, mids)
        if rate_e8 is not None:
            moved_e5 = (position.price_e5 - position.entry_e5) * position.side
            position.profit += money(position.volume_e2, moved_e5, rate_e8, self.money_digits)

    def _drawdown(self) -> float:
        return 1 - self.equity / self.peak_equity if self.peak_equity > 0 else 0.0

    # --- market and forecasts ----------------------------------------------------------------------------------

    def _on_bar(self, bar: m.Bar) -> None:
        if bar.symbol not in self.quotes:
            return  # history from before the run's first quote
        self.counts.bars += 1
        self._clock_ns = max(self._clock_ns, bar.ts_close_ns)
        self._mark()
        self._line.add(self.equity)

    def _on_forecast(self, forecast: m.CalibratedForecast) -> None:
        self.counts.forecasts += 1
        self._missed_in_a_row = 0
        if not forecast.active:
            return
        if forecast.symbol not in self.forecasts and len(self.forecasts) >= LARGEST_TABLE:
            return
        instrument = self._by_symbol.get(forecast.symbol)
        self.forecasts[forecast.symbol] = forecast_view(forecast, instrument.digits if instrument else 5)

    def _on_missed(self, missed: m.ForecastMissed) -> None:
        self.counts.forecasts_missed += 1
        self._missed_in_a_row += 1
        if self._missed_in_a_row == 1:
            self._say(missed.ts_init_ns, f"no forecast for {missed.symbol}: {missed.reason}")

    def _on_resolved(self, truth: m.ForecastResolved) -> None:
        view = self.coverage.get(truth.horizon)
        if not truth.active or view is None or not truth.bands or not truth.bands[0].bounded:
            return
        view.n += 1
        view.covered += truth.covered[0]
        view.width_sum_e5 += truth.bands[0].upper_e5 - truth.bands[0].lower_e5

    def _on_pattern(self, seen: m.PatternSeen) -> None:
        self.counts.patterns += 1
        self.patterns.count(seen.pattern)
        if words := pattern_words(seen):
            self._say(seen.ts_init_ns, f"{seen.symbol}: {words}")

    def _on_regime(self, seen: m.RegimeSeen) -> None:
        if seen.regime != seen.before:
            kind = seen.model_id.rpartition("-")[0]
            share = max(seen.probabilities_ppm, default=0) / 1e6
            self._say(
                seen.ts_init_ns,
                f"{seen.symbol}: regime {seen.before} to {seen.regime} of {len(seen.probabilities_ppm)}, "
                f"0 the calmest ({kind}, {share:.0%})",
            )

    def _on_gate(self, changed: m.CoverageChanged | m.DriftChanged | m.GateChanged) -> None:
        if words := self.gates.take(changed):
            self._say(changed.ts_init_ns, words)

    # --- orders ------------------------------------------------------------------------------------------------

    def _on_refused(self, refusal: m.IntentRefused) -> None:
        self.counts.refused += 1
        self.refusals.count(refusal.rule)

    def _on_rejected(self, fact: m.OrderRejected) -> None:
        self.counts.rejected += 1
        self._say(fact.ts_init_ns, f"{fact.symbol}: the venue refused {fact.client_order_id}: {fact.code}")

    def _on_filled(self, deal: m.OrderFilled) -> None:
        if deal.deal_id in self._deals:
            return
        self._deals[deal.deal_id] = None
        if len(self._deals) > DEALS_REMEMBERED:
            del self._deals[next(iter(self._deals))]
        self.counts.fills += 1
        if deal.closing:
            self._close(deal)
        else:
            self._open(deal)
        self._mark()

    def _open(self, deal: m.OrderFilled) -> None:
        position = self.positions.get(deal.position_id)
        if position is None:
            position = OpenPosition(
                position_id=deal.position_id,
                symbol=deal.symbol,
                side=int(deal.side),
                volume_e2=0,
                entry_e5=deal.price_e5,
                opened_ns=deal.ts_event_ns,
            )
            self.positions[deal.position_id] = position
        total = position.volume_e2 + deal.volume_e2
        if total:
            weighted = position.entry_e5 * position.volume_e2 + deal.price_e5 * deal.volume_e2
            position.entry_e5 = round(weighted / total)
        position.volume_e2 = deal.remaining_e2
        position.commission += deal.commission

    def _close(self, deal: m.OrderFilled) -> None:
        charges = deal.booked_commission + deal.booked_swap + deal.conversion_fee
        self.counts.trades += 1
        self.counts.wins += deal.gross_profit + charges > 0
        self.net_profit += deal.gross_profit + charges
        self.costs -= charges
        self.balance = deal.balance
        position = self.positions.get(deal.position_id)
        if deal.cause != "order":
            self._say(
                deal.ts_event_ns, f"{deal.symbol}: {deal.cause.replace('_', ' ')} {deal.gross_profit + charges:+d}"
            )
        if position is None:
            return
        if deal.remaining_e2 <= 0:
            del self.positions[deal.position_id]
            return
        # What the deal booked beyond its own charge is the opening commission of the closed part.
        position.commission -= deal.booked_commission - deal.commission
        position.swap -= deal.booked_swap
        position.volume_e2 = deal.remaining_e2

    def _on_protection(self, fact: m.ProtectionChanged) -> None:
        position = self.positions.get(fact.position_id)
        if position is not None:
            position.stop_loss_e5, position.take_profit_e5 = fact.stop_loss_e5, fact.take_profit_e5

    def _on_swap(self, fact: m.SwapCharged) -> None:
        position = self.positions.get(fact.position_id)
        if position is not None:
            position.swap += fact.amount

    # --- halts -------------------------------------------------------------------------------------------------

    def _on_latched(self, halt: m.HaltLatched) -> None:
        self.counts.halts += 1
        if len(self.halts) < LARGEST_TABLE:
            self.halts[halt.rule] = f"{halt.level.name.lower().replace('_', ' ')}: {halt.reason or halt.value}"
        self._say(halt.ts_init_ns, f"halt {halt.rule}: {halt.reason or halt.value}")

    def _on_lifted(self, lifted: m.HaltLifted) -> None:
        self.halts.clear()
        self._say(lifted.ts_init_ns, f"halts lifted by {lifted.operator}: {lifted.reason}")

    # --- reading -----------------------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """``starting``, ``running``, ``halted`` or ``ended``."""
        if self.ended:
            return "ended"
        return "halted" if self.halts else "running" if self.run_id else "starting"

    def health(self, wall_s: float) -> Health:
        """Judge by what goes through, end to end: a process that merely answers is not healthy."""
        made, since_s = self._seen_progress
        if made != self.progress_made:
            self._seen_progress = (self.progress_made, wall_s)
            since_s = wall_s
        silent_s = max(0.0, wall_s - since_s)
        reasons = [f"halt {rule}: {words}" for rule, words in self.halts.items()]
        if silent_s > self._stalled_after_s and not self.ended:
            reasons.append(f"nothing went through the core for {silent_s:.0f} s")
        if self._missed_in_a_row >= 3:
            reasons.append(f"{self._missed_in_a_row} forecasts missed in a row")
        return Health(not reasons, self.state, tuple(reasons), silent_s)

    def progress(self) -> float:
        """How much is done, 0 to 1; 0 = no known end."""
        if self._total > 0:
            return min(1.0, self.counts.quotes / self._total)
        start_ns, end_ns = self._span_ns
        if end_ns <= start_ns:
            return 1.0 if self.ended else 0.0
        return min(1.0, max(0.0, (self.now_ns - start_ns) / (end_ns - start_ns)))

    def snapshot(self, wall_s: float) -> Snapshot:
        """Everything at this moment.

        Args:
            wall_s: seconds of a monotonic clock; pace and time left count from the first call after the first message.
        """
        if not self.ended:
            self._mark()
        now_ns, progress = self.now_ns, self.progress()
        if self._began is None and now_ns:
            self._began = (wall_s, now_ns, progress)
        began_s, began_ns, began_at = self._began or (wall_s, now_ns, progress)
        elapsed_s = max(0.0, wall_s - began_s)
        pace = (now_ns - began_ns) / 1e9 / elapsed_s if elapsed_s > 0 else 0.0
        known = progress > began_at and not self.ended
        return Snapshot(
            run_id=self._run or self.run_id,
            mode=self.mode,
            state=self.state,
            currency=self.currency,
            money_digits=self.money_digits,
            now_ns=now_ns,
            start_balance=self.start_balance,
            balance=self.balance,
            equity=self.equity,
            peak_equity=self.peak_equity,
            drawdown=self._drawdown(),
            max_drawdown=self.max_drawdown,
            net_profit=self.net_profit,
            costs=self.costs,
            positions=tuple(msgspec.structs.replace(each) for each in self.positions.values()),
            forecasts=tuple(self.forecasts.values()),
            coverage=tuple(msgspec.structs.replace(each) for each in self.coverage.values()),
            refusals=self.refusals.ranked(),
            patterns=self.patterns.ranked(),
            halts=dict(self.halts),
            gates=self.gates.shown(),
            depth=self.depth(),
            margin=self.margin(),
            inference=self.inference(),
            portfolio=self.portfolio(),
            trainings=self.trainings(),
            counts=msgspec.structs.replace(self.counts),
            progress=progress,
            pace=pace,
            pace_wanted=self._pace,
            elapsed_s=elapsed_s,
            left_s=elapsed_s * (1 - progress) / (progress - began_at) if known else None,
            equity_line=(*self._line.points, self.equity),
            events=tuple(self._events),
            health=self.health(wall_s),
        )
