"""What happened, held against what was meant: from the messages of a journal alone.

Theory of operation. `Adherence` folds (sequence number, message) pairs in order, both what entered the core and what it
said, and derives every figure again without the book, the gate or the core: that independence is its worth. Quotes are
the hot path and cost one dict store. Bars before a symbol's first quote are history and move nothing. `summary` may be
asked at any time, and again later.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from bus.calendar import to_datetime
from bus.messages import (
    AccountSnapshot,
    AnyMessage,
    BalanceMoved,
    Bar,
    CalibratedForecast,
    ForecastMissed,
    ForecastResolved,
    HaltLatched,
    Intent,
    IntentRefused,
    ModelAdmitted,
    OrderAccepted,
    OrderCancelled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderUnknown,
    PatternSeen,
    ProtectionChanged,
    Quote,
    ReconcileFound,
    RegimeSeen,
    RunStarted,
    SubmitOrder,
    SwapCharged,
)
from risk.adherence import findings as rules
from risk.adherence.forecasts import ForecastScores
from risk.adherence.ledger import Ledger
from risk.adherence.numbers import spread_of
from risk.adherence.records import (
    BarPoint,
    Count,
    Counts,
    EquityPoint,
    Finding,
    IntervalPoint,
    Refusal,
    Spread,
    Summary,
    Trade,
    UnusualBar,
)

__all__ = ["Adherence", "Summary", "fold"]

PLOTTED_BARS = 400
"""Bars and intervals kept for plots, the newest."""

_SEVERITIES = ("critical", "warning", "info")


def fold(messages: Iterable[tuple[int, AnyMessage]]) -> Summary:
    """Fold a whole journal at once."""
    adherence = Adherence()
    for seq, message in messages:
        adherence.add(seq, message)
    return adherence.summary()


class Adherence:
    """The incremental fold; see the module's theory of operation."""

    def __init__(self) -> None:
        self._ledger = Ledger()
        self._scores = ForecastScores()
        self._run: RunStarted | None = None
        self._messages = 0
        self._quotes = 0
        self._n_bars = 0
        self._n_forecasts = 0
        self._patterns: dict[tuple[str, str], tuple[int, str]] = {}
        self._regimes: dict[tuple[str, str], tuple[int, str]] = {}
        self._unusual: deque[UnusualBar] = deque(maxlen=PLOTTED_BARS)
        self._rejected = 0
        self._first_ns = 0
        self._last_ns = 0
        self._peak = 0
        self._max_drawdown = 0
        self._max_drawdown_pct = 0.0
        self._refusals: list[Refusal] = []
        self._refused: set[str] = set()
        self._missed: dict[tuple[str, str], tuple[int, str]] = {}
        self._halts: list[HaltLatched] = []
        self._differences: list[ReconcileFound] = []
        self._equity: list[EquityPoint] = []
        self._bars: dict[str, deque[BarPoint]] = {}
        self._intervals: dict[str, deque[IntervalPoint]] = {}
        ledger = self._ledger
        self._marks = ledger.quotes
        self._handlers: dict[type[AnyMessage], Callable[[Any], None]] = {
            RunStarted: self._on_started,
            Bar: self._on_bar,
            AccountSnapshot: ledger.on_snapshot,
            ModelAdmitted: self._scores.on_admitted,
            CalibratedForecast: self._on_forecast,
            ForecastResolved: self._scores.on_resolved,
            ForecastMissed: self._on_missed,
            PatternSeen: self._on_pattern,
            RegimeSeen: self._on_regime,
            Intent: self._on_intent,
            IntentRefused: self._on_refused,
            SubmitOrder: ledger.on_order,
            OrderAccepted: ledger.on_accepted,
            OrderRejected: self._on_rejected,
            OrderCancelled: lambda fact: ledger.on_end(fact.client_order_id, "cancelled", fact.reason),
            OrderExpired: lambda fact: ledger.on_end(fact.client_order_id, "expired"),
            OrderUnknown: lambda fact: ledger.on_end(fact.client_order_id, "unknown"),
            OrderFilled: ledger.on_filled,
            ProtectionChanged: ledger.on_protection,
            SwapCharged: ledger.on_swap,
            BalanceMoved: ledger.on_moved,
            HaltLatched: self._halts.append,
            ReconcileFound: self._differences.append,
        }

    def add(self, seq: int, message: AnyMessage) -> None:
        """Fold one message.

        Args:
            seq: its place in the journal. Not needed to tell messages apart; kept for callers' symmetry with the core.
            message: any message; kinds without a bearing on adherence are counted and passed over.
        """
        del seq
        self._messages += 1
        if type(message) is Quote:
            self._marks[message.symbol] = message
            self._quotes += 1
            return
        handler = self._handlers.get(type(message))
        if handler is not None:
            handler(message)
        ts_ns: int = getattr(message, "ts_init_ns", 0)
        self._last_ns = max(self._last_ns, ts_ns)

    @property
    def equity(self) -> int:
        """Floating equity now, in the account's smallest unit."""
        return self._ledger.equity()

    # --- folding -----------------------------------------------------------------------------------------------

    def _on_started(self, run: RunStarted) -> None:
        if self._run is None:
            self._run = self._ledger.run = run
            self._first_ns = run.ts_init_ns

    def _on_bar(self, bar: Bar) -> None:
        if bar.symbol not in self._marks:
            return
        ledger = self._ledger
        self._n_bars += 1
        self._last_ns = max(self._last_ns, bar.ts_close_ns)
        ledger.on_bar(bar)
        kept = self._bars.get(bar.symbol)
        if kept is None:
            kept = self._bars[bar.symbol] = deque(maxlen=PLOTTED_BARS)
        kept.append(
            BarPoint(ts_close_ns=bar.ts_close_ns, high_e5=bar.high_e5, low_e5=bar.low_e5, close_e5=bar.close_e5)
        )
        if ledger.balance_start is not None:
            self._mark(bar.ts_close_ns)

    def _mark(self, ts_ns: int) -> None:
        """A point of the equity curve. Drawdown is from the highest equity at any bar's close before."""
        equity = self._ledger.equity()
        if not self._equity:
            self._peak = self._ledger.balance_start or 0
        self._peak = max(self._peak, equity)
        fall = equity - self._peak
        self._max_drawdown = min(self._max_drawdown, fall)
        if self._peak > 0:
            self._max_drawdown_pct = min(self._max_drawdown_pct, 100.0 * fall / self._peak)
        point = EquityPoint(ts_ns=ts_ns, balance=self._ledger.balance, equity=equity, drawdown=fall)
        if self._equity and self._equity[-1].ts_ns == ts_ns:
            self._equity[-1] = point
        else:
            self._equity.append(point)

    def _on_forecast(self, forecast: CalibratedForecast) -> None:
        self._n_forecasts += 1
        self._ledger.on_signal(forecast)
        if not forecast.active or self._run is None:
            return
        kept = self._intervals.get(forecast.symbol)
        if kept is None:
            kept = self._intervals[forecast.symbol] = deque(maxlen=PLOTTED_BARS * max(1, len(self._run.horizons)))
        for view in forecast.horizons:
            band = view.bands[0] if view.bands else None
            if band is not None and band.bounded:
                kept.append(
                    IntervalPoint(
                        ts_ns=forecast.as_of_ns + view.horizon * self._run.period_ns,
                        horizon=view.horizon,
                        level=band.level_ppm / 1e6,
                        point_e5=view.point_e5,
                        lower_e5=band.lower_e5,
                        upper_e5=band.upper_e5,
                    )
                )

    def _on_missed(self, missed: ForecastMissed) -> None:
        key = (missed.reason, missed.model_id)
        self._missed[key] = (self._missed.get(key, (0, ""))[0] + 1, missed.detail)

    def _on_pattern(self, seen: PatternSeen) -> None:
        key = (seen.model_id, seen.pattern)
        clear = (
            f"percentile {seen.percentile:.1f}" if seen.threshold_ppm else f"{seen.confidence_ppm / 1e4:.0f} % clear"
        )
        self._patterns[key] = (self._patterns.get(key, (0, ""))[0] + 1, f"{seen.symbol}, {clear}")

        if seen.threshold_ppm:
            bar = UnusualBar(
                ts_ns=seen.as_of_ns, symbol=seen.symbol, model_id=seen.model_id, percentile=seen.percentile
            )  # fmt: skip
            self._unusual.append(bar)

    def _on_regime(self, seen: RegimeSeen) -> None:
        key = (f"{seen.model_id}, {seen.symbol}", f"state {seen.regime} of 0 to {len(seen.probabilities_ppm) - 1}")
        bars, entered = self._regimes.get(key, (0, ""))
        if not entered or seen.before != seen.regime:
            entered = f"entered {to_datetime(seen.as_of_ns):%Y-%m-%d %H:%M} UTC"
        self._regimes[key] = (bars + 1, entered)

    def _on_intent(self, intent: Intent) -> None:
        self._ledger.intents[intent.intent_id] = intent

    def _on_refused(self, refused: IntentRefused) -> None:
        self._refused.add(refused.intent_id)
        self._refusals.append(
            Refusal(
                ts_ns=refused.ts_init_ns,
                kind="refused",
                subject=refused.intent_id,
                strategy=refused.strategy,
                symbol=refused.symbol,
                rule=refused.rule,
                limit=refused.limit,
                value=refused.value,
                would_pass=refused.would_pass,
            )
        )

    def _on_rejected(self, rejected: OrderRejected) -> None:
        self._rejected += 1
        self._ledger.on_rejected(rejected)
        track = self._ledger.orders.get(rejected.client_order_id)
        self._refusals.append(
            Refusal(
                ts_ns=rejected.ts_init_ns,
                kind="rejected",
                subject=rejected.client_order_id,
                strategy=track.order.strategy if track else "",
                symbol=rejected.symbol,
                rule=rejected.code,
                limit="",
                value=rejected.text,
                would_pass="",
            )
        )

    # --- what came of it ---------------------------------------------------------------------------------------

    def summary(self) -> Summary:
        """Everything derived so far."""
        ledger, run = self._ledger, self._run
        open_trades = [ledger.trade(position) for position in ledger.positions.values()]
        trades = tuple(sorted((*ledger.trades, *open_trades), key=lambda trade: trade.number))
        pips = {entry.symbol: entry.pip_e5 for entry in run.instruments} if run else {}
        rows = self._scores.rows(pips)
        check = rules.conservation(ledger)
        groups = {name: ledger.group(name) for name in ledger.groups}
        missed = sum(n for n, _ in self._missed.values())
        found = [
            *rules.money_findings(ledger, check, dict(groups)),
            *rules.order_findings(ledger, self._refused),
            *rules.trade_findings(trades, pips),
            *rules.forecast_findings(rows, self._n_forecasts, missed),
            *rules.event_findings(self._halts, self._differences, self._rejected, len(open_trades)),
        ]
        return Summary(
            run_id=run.run_id if run else "",
            mode=run.mode if run else "",
            currency=run.currency if run else "",
            money_digits=run.money_digits if run else 2,
            period_ns=run.period_ns if run else 0,
            instruments=run.instruments if run else (),
            config_json=run.config_json if run else "",
            ts_first_ns=self._first_ns,
            ts_last_ns=self._last_ns,
            counts=self._counts(missed, len(open_trades)),
            verdict=rules.verdict(trades, rows),
            findings=_ranked(found),
            total=ledger.total,
            conservation=check,
            equity_start=ledger.balance_start or 0,
            equity_end=ledger.equity(),
            max_drawdown=self._max_drawdown,
            max_drawdown_pct=self._max_drawdown_pct,
            trades=trades,
            days=groups["day"],
            weeks=groups["week"],
            months=groups["month"],
            strategies=groups["strategy"],
            symbols=groups["symbol"],
            models=groups["model"],
            refusals=tuple(self._refusals),
            refusal_counts=_counted(self._refusals),
            missed_counts=tuple(
                Count(kind=model or "(none)", key=reason, n=n, example=text)
                for (reason, model), (n, text) in sorted(self._missed.items())
            ),
            pattern_counts=_by_frequency(self._patterns),
            regime_counts=tuple(
                Count(kind=kind, key=key, n=n, example=text) for (kind, key), (n, text) in sorted(self._regimes.items())
            ),
            unusual=tuple(self._unusual),
            delays=_delays(trades),
            slippage=_slippage(trades),
            forecasts=rows,
            coverage=self._scores.coverage(),
            equity=tuple(self._equity),
            bars={symbol: tuple(bars) for symbol, bars in sorted(self._bars.items())},
            intervals={symbol: tuple(points) for symbol, points in sorted(self._intervals.items())},
            fills=tuple(ledger.fills),
        )

    def _counts(self, missed: int, open_positions: int) -> Counts:
        ledger = self._ledger
        return Counts(
            messages=self._messages,
            quotes=self._quotes,
            bars=self._n_bars,
            forecasts=self._n_forecasts,
            missed=missed,
            patterns=sum(n for n, _ in self._patterns.values()),
            intents=len(ledger.intents),
            refused=len(self._refused),
            orders=len(ledger.orders),
            rejected=self._rejected,
            fills=len(ledger.fills),
            repeated=ledger.repeated,
            trades=len(ledger.trades),
            open_positions=open_positions,
        )


def _ranked(found: list[Finding]) -> tuple[Finding, ...]:
    """Worst first, otherwise in the order of the rules."""
    return tuple(sorted(found, key=lambda finding: _SEVERITIES.index(finding.severity)))


def _counted(refusals: list[Refusal]) -> tuple[Count, ...]:
    """Refusals and rejections by rule or code, most frequent first."""
    counts: dict[tuple[str, str], tuple[int, str]] = {}
    for entry in refusals:
        words = f"{entry.value} against {entry.limit}" if entry.limit else entry.value
        key = (entry.kind, entry.rule)
        counts[key] = (counts.get(key, (0, ""))[0] + 1, words)
    return _by_frequency(counts)


def _by_frequency(counts: dict[tuple[str, str], tuple[int, str]]) -> tuple[Count, ...]:
    """Counts by (kind, key) with their newest example, most frequent first."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1][0], item[0]))
    return tuple(Count(kind=kind, key=key, n=n, example=words) for (kind, key), (n, words) in ranked)


def _delays(trades: tuple[Trade, ...]) -> dict[str, Spread]:
    return {
        "decision_ns": spread_of([t.decision_ns for t in trades if t.decision_ns is not None]),
        "send_ns": spread_of([t.send_ns for t in trades if t.send_ns is not None]),
        "accept_ns": spread_of([t.accept_ns for t in trades if t.accept_ns is not None]),
        "fill_ns": spread_of([t.fill_ns for t in trades if t.fill_ns is not None]),
        "protect_ns": spread_of([t.protect_ns for t in trades if t.protect_ns is not None]),
    }


def _slippage(trades: tuple[Trade, ...]) -> dict[str, Spread]:
    """In 1/100000, negative = worse than the reference; `largest` is the best, so costs are given as positive."""
    closed = [trade for trade in trades if trade.ts_close_ns]
    return {
        "entry_cost_e5": spread_of([-trade.entry_slippage_e5 for trade in trades]),
        "exit_cost_e5": spread_of([-trade.exit_slippage_e5 for trade in closed]),
    }
