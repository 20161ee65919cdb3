"""The trading core: `process(seq, message) -> messages`. Synchronous, no clock, no I/O, no randomness.

Theory of operation. Everything the core knows came in as a numbered message; everything it wants goes out as a
message. It folds quotes into bars and marks, a closed bar into a forecast request, an answer into calibrated intervals
(whose truth it measures when the bar at the horizon closes), intervals through strategies into intents, and intents
through the risk gate into orders or refusals. The same inputs in the same order give the same outputs, byte for byte:
that is what replay, recovery and the equality of paper and live rest on. Whatever would break it is a defect.

It stands in one file of more than 400 lines because it is one function over one state; what can be told apart (a
symbol's forecasts, the strategies' view) has its own.

What is counted here and not said (late answers, unknown models) is in `counters`.

Halting, cancelling and flattening ask nobody what anything is worth and no strategy what it thinks. Where valuing, a
limit or a strategy raises, that latches a halt (`valuation`, `strategy`) and the core goes on, because a core that dies
of it dies of it again in every recovery, with positions open that nobody can close. Only books that contradict
themselves end the process.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from bus.calendar import market_open
from bus.errors import ConfigError, InvariantBroken
from bus.messages import (
    AccountSnapshot,
    AlertCleared,
    AlertRaised,
    AmendProtection,
    AnyMessage,
    BalanceMoved,
    Bar,
    CalibratedForecast,
    CancelOrder,
    ClockTick,
    CoverageChanged,
    DriftChanged,
    Forecast,
    ForecastMissed,
    ForeignChanged,
    GateChanged,
    HaltLatched,
    HaltLevel,
    HaltLifted,
    HaltTrading,
    Intent,
    IntentRefused,
    LinkChanged,
    ModelAdmitted,
    ModelPromoted,
    ModelRefused,
    ModelRolledBack,
    NewsScheduled,
    OrderAccepted,
    OrderCancelled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderUnknown,
    PatternSeen,
    PromoteModel,
    ProtectionChanged,
    Quote,
    RegimeSeen,
    ResumeTrading,
    RollBackModel,
    RunEnded,
    RunResumed,
    RunStarted,
    SubmitOrder,
    SwapCharged,
    SwapRefused,
    VenueFact,
)
from bus.values import NS_PER_S
from daemon.coreview import CoreView
from daemon.market import Counters, Market
from daemon.succession import Succession
from risk.alerts.cost import CostPolicy, CostWatch
from risk.book import Book
from risk.evidence import ModelStanding
from risk.gate import review
from risk.halt import Halts
from risk.holding import must_close, weekend_near
from risk.orders import remember
from risk.policies.scopes import check_scopes
from risk.policy import Policy
from risk.promotion import SwapPolicy
from risk.reconcile import compare
from risk.sizing import PPM, SizingSettings
from strategies import load
from strategies.contract import Strategy, exit_intent

if TYPE_CHECKING:
    from risk.portfolio.model import Portfolio

DECISIONS = (
    CalibratedForecast,
    Intent,
    IntentRefused,
    SubmitOrder,
    CancelOrder,
    AmendProtection,
    HaltLatched,
    HaltLifted,
    ModelPromoted,
    ModelRolledBack,
    CoverageChanged,
    DriftChanged,
    GateChanged,
    AlertRaised,
    AlertCleared,
)
"""The messages that `decisions_sha256` covers: everything the core decides, nothing it merely repeats."""

NO_MONEY = "NOT_ENOUGH_MONEY"

EXIT_RETRY_NS = NS_PER_S
LONGEST_EXIT_RETRY_NS = 60 * NS_PER_S
"""A close that the venue refused is tried again after the first of these, then after twice as long each time up to the
second; not at all while the market is closed, and at once when a part of it was filled."""

ENTRIES_REMEMBERED = 1_000
"""Entries that may still be tried once more, smaller; the oldest gives way."""

NOTHING: tuple[AnyMessage, ...] = ()


class StrategySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which strategy runs and with what parameters (see the strategy's own file)."""

    name: str = "interval"
    params: dict[str, bool | int | float | str] = {}


class CoreSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `RunStarted.config_json` holds.

    Attributes:
        risk: every limit.
        sizing: how an intent becomes a volume.
        strategies: run in this order on each event.
        slippage_allowance_e5: what a strategy must expect to lose to slippage, both sides together, in 1/100000.
        forecast_deadline_ns: a forecast that arrives later than this after its bar closed is no forecast.
        conversion: symbols that are there to convert money, and are not traded.
        data: fingerprint of the input data in modes that run on recorded data; says that a resumed run is the same.
        swap: when a new model may trade, and when it must stop.
        cost: when trading costs too much, and what that does to size; None = nothing.
    """

    risk: Policy = Policy()
    sizing: SizingSettings = SizingSettings()
    strategies: tuple[StrategySettings, ...] = (StrategySettings(),)
    slippage_allowance_e5: int = 4
    forecast_deadline_ns: int = 5 * NS_PER_S
    conversion: tuple[str, ...] = ()
    data: str = ""
    swap: SwapPolicy = SwapPolicy()
    cost: CostPolicy | None = None


class _ExitTried(msgspec.Struct, gc=False):
    """When the core last asked to close a position, and how long it waits before it asks again."""

    at_ns: int
    pause_ns: int


class Core:
    """The function, and the state it folds. The first message must be `RunStarted`."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.counters = Counters()
        self.ended = False
        self._markets: dict[str, Market] = {}
        self._run: RunStarted | None = None
        self._quote_strategies: tuple[Strategy, ...] = ()
        self._watch_quotes = False
        self._exit_tried: dict[str, _ExitTried] = {}
        self._link_up = True
        self._leaving = False
        self._entering: dict[str, Intent] = {}
        self._intents = 0
        self._costs: CostWatch | None = None
        self.portfolio: Portfolio | None = None
        self._handlers: Mapping[type[AnyMessage], Callable[..., Sequence[AnyMessage]]] = {RunStarted: self._on_start}

    # --- the function ------------------------------------------------------------------------------------------

    def process(self, seq: int, message: AnyMessage) -> Sequence[AnyMessage]:
        """Fold one message and say what follows from it.

        Args:
            seq: the message's place in the journal; strictly increasing.
            message: anything that may enter.

        Raises:
            InvariantBroken: the books contradict themselves, or the message may not enter here.
        """
        handler = self._handlers.get(type(message))
        if handler is None:
            what = "a run starts with RunStarted" if self._run is None else "it is something the core says"
            raise InvariantBroken(f"record {seq}: {type(message).__name__} may not enter the core: {what}")
        return handler(message)

    def adrift(self) -> None:
        """From here on nothing is on record: no order that leaves now may have the id of one that a recovery makes."""
        self._run = msgspec.structs.replace(self._started(), run_id=f"{self._started().run_id}-off{self.now_ns}")
        self._exit_tried.clear()

    def last_bar_ns(self, symbol: str) -> int:
        """When the newest closed bar of a symbol opened; -1 = none is known."""
        return self._markets[symbol].window.last_ns

    @property
    def successions(self) -> Mapping[str, Succession]:
        """By symbol, which model trades and which others speak. To look at, not to change."""
        return {symbol: market.succession for symbol, market in self._markets.items()}

    def _on_start(self, run: RunStarted) -> Sequence[AnyMessage]:
        try:
            settings = msgspec.json.decode(run.config_json, type=CoreSettings)
        except msgspec.MsgspecError as error:
            raise ConfigError(f"run {run.run_id}: settings cannot be read: {error}") from error
        self._run = run
        self.now_ns = run.ts_init_ns
        self.settings = settings
        self.book = Book(
            currency=run.currency,
            money_digits=run.money_digits,
            leverage=run.leverage,
            hedged=run.hedged,
            instruments=run.instruments,
            policy=settings.risk,
        )
        self.halts = Halts()
        if settings.cost is not None and settings.cost.enabled:
            self._costs = CostWatch(settings.cost, settings.slippage_allowance_e5)
        self.portfolio = None
        if settings.risk.portfolio.on:
            from risk.portfolio.model import Portfolio  # it needs numpy, which nothing else here does

            self.portfolio = Portfolio(run.instruments, settings.risk.portfolio)
        self.strategies = tuple(load(entry.name, entry.params) for entry in settings.strategies)
        check_scopes(settings.risk, run.instruments, [strategy.name for strategy in self.strategies])
        self._quote_strategies = tuple(strategy for strategy in self.strategies if strategy.wants_quotes)
        self._markets = {
            entry.symbol: Market(
                entry,
                run.period_ns,
                self.counters,
                swap=settings.swap,
                limits=settings.risk.models,
                level_ppm=run.levels_ppm[0],
            )
            for entry in run.instruments
        }
        self.view = CoreView(self.book, settings.slippage_allowance_e5, lambda: self.now_ns)
        self._handlers = {
            Quote: self._on_quote,
            ClockTick: self._on_tick,
            Bar: self._on_history,
            Forecast: self._on_forecast,
            ForecastMissed: self._on_missed,
            PatternSeen: self._on_seen,
            RegimeSeen: self._on_seen,
            ModelAdmitted: self._on_admitted,
            ModelRefused: self._on_refused_model,
            PromoteModel: self._on_swap,
            RollBackModel: self._on_swap,
            AccountSnapshot: self._on_snapshot,
            HaltTrading: self._on_halt,
            ResumeTrading: self._on_resume,
            RunResumed: self._on_noted,
            RunEnded: self._on_end,
            OrderFilled: self._on_fact,
            OrderAccepted: self._on_fact,
            OrderRejected: self._on_fact,
            OrderCancelled: self._on_fact,
            OrderExpired: self._on_fact,
            OrderUnknown: self._on_fact,
            ProtectionChanged: self._on_fact,
            SwapCharged: self._on_fact,
            ForeignChanged: self._on_fact,
            BalanceMoved: self._on_fact,
            LinkChanged: self._on_link,
            NewsScheduled: self._on_news,
        }
        self._watch()
        return NOTHING

    # --- market data and time ----------------------------------------------------------------------------------

    def _on_quote(self, quote: Quote) -> Sequence[AnyMessage]:
        market = self._markets.get(quote.symbol)
        if market is None:
            self.counters.quotes_unknown += 1
            return NOTHING
        self.now_ns = max(self.now_ns, quote.ts_init_ns)
        self.book.mark(quote)
        if self.book.suspect and quote.symbol in self.book.suspect:
            self.counters.quotes_impossible += 1  # it moves the clock, and nothing else
            return NOTHING
        bar = market.builder.on_quote(quote)
        if bar is None and not self._watch_quotes:
            return NOTHING
        out: list[AnyMessage] = []
        if bar is not None:
            self._close_bar(market, bar, out)
        self._guard(out)
        if self._acts(quote.symbol):
            for strategy in self._quote_strategies:
                self._opinion(strategy.on_quote, quote, out)
        return out

    def _on_tick(self, tick: ClockTick) -> Sequence[AnyMessage]:
        self.now_ns = max(self.now_ns, tick.ts_init_ns)
        self.book.turn(self.now_ns)
        out: list[AnyMessage] = []
        if self._link_up:  # otherwise quotes are missing; history tells these bars when the link is back
            for market in self._markets.values():
                bar = market.builder.on_time(tick.ts_init_ns)
                if bar is not None:
                    self._close_bar(market, bar, out)
        self._guard(out)
        if self.book.orders:
            self._cancel_again(out)
        return out

    def _on_history(self, bar: Bar) -> Sequence[AnyMessage]:
        """A bar from before the first quote, or one that a lost connection missed: to look back on, not to act on.

        Intervals that were to be measured on it are. One in the making is what it is built on from here.
        """
        market = self._markets.get(bar.symbol)
        if market is None:
            return NOTHING
        if bar.ts_close_ns > self.now_ns:
            market.builder.adopt(bar)
            return NOTHING
        if bar.ts_open_ns <= market.window.last_ns:
            return NOTHING
        market.builder.skip_to(bar.ts_close_ns)
        market.close(bar)
        self.book.on_bar(bar.symbol)
        if self.portfolio is not None:
            self.portfolio.note(bar.symbol, bar.ts_open_ns, bar.close_e5)
        return market.resolve(bar, self.now_ns)

    def _close_bar(self, market: Market, bar: Bar, out: list[AnyMessage]) -> None:
        out.append(bar)
        market.close(bar)
        self.book.on_bar(bar.symbol)
        self._learn(out, bar)
        out.extend(market.resolve(bar, self.now_ns))
        if not self._acts(bar.symbol):
            return
        for strategy in self.strategies:
            self._opinion(strategy.on_bar, bar, out)
        if market.has_models:
            out.extend(market.owed(self.now_ns))
            deadline_ns = self.now_ns + self.settings.forecast_deadline_ns
            out.append(market.ask(bar, self._started().horizons, deadline_ns))

    def _guard(self, out: list[AnyMessage]) -> None:
        """Halts on floating equity, and the rule that every open position has a stop or is being flattened."""
        try:
            latched = self.halts.check(self.book, self.settings.risk, self.now_ns)
        except InvariantBroken:
            raise
        except Exception as error:  # noqa: BLE001 (whatever it is, losses are not limited any more)
            self._blind(f"{type(error).__name__}: {error}", out)
        else:
            if latched is not None:
                self._latch(latched, out)
        if self.book.blind:
            self._blind(self.book.blind, out)
        if self.book.positions:
            self._protect(out)

    def _blind(self, why: str, out: list[AnyMessage]) -> None:
        """Equity cannot be worked out, so no loss can be limited: halt as far as a loss would."""
        self._trip("valuation", HaltLevel(self.settings.risk.loss_halt_level), why, out)

    def _trip(self, rule: str, level: HaltLevel, why: str, out: list[AnyMessage]) -> None:
        latched = self.halts.trip(rule, level, why[:200], self.now_ns)
        if latched is not None:
            self._latch(latched, out)

    def _protect(self, out: list[AnyMessage]) -> None:
        policy = self.settings.risk
        grace_ns = policy.protect_within_s * NS_PER_S
        # Asked on every event, not once: a close that the venue rejected is sent again.
        flatten = self.ended or self.halts.level >= HaltLevel.FLATTEN
        for position in tuple(self.book.positions.values()):
            if flatten:
                self._exit(position.position_id, "flatten", out)
            elif position.stop_loss_e5 == 0 and self.now_ns - max(position.ts_told_ns, position.ts_open_ns) > grace_ns:
                # Counted from when we were told: a deal that comes late brings its levels right behind it.
                self._exit(position.position_id, "unprotected", out)
            elif reason := must_close(position, self.book.instruments[position.symbol], policy, self.now_ns):
                self._exit(position.position_id, reason, out)

    # --- forecasts ---------------------------------------------------------------------------------------------

    def _on_admitted(self, model: ModelAdmitted) -> Sequence[AnyMessage]:
        market = self._markets.get(model.symbol)
        if market is None:
            raise InvariantBroken(f"model {model.model_id} was admitted for {model.symbol}, which is not traded")
        self.now_ns = max(self.now_ns, model.ts_init_ns)
        return market.admit(model, self._started().levels_ppm)

    def _on_refused_model(self, refused: ModelRefused) -> Sequence[AnyMessage]:
        self.now_ns = max(self.now_ns, refused.ts_init_ns)
        return NOTHING

    def _on_swap(self, wish: PromoteModel | RollBackModel) -> Sequence[AnyMessage]:
        self.now_ns = max(self.now_ns, wish.ts_init_ns)
        market = self._markets.get(wish.symbol)
        if market is None:
            refused = SwapRefused(
                symbol=wish.symbol, model_id=wish.model_id, reason="the symbol is not traded", ts_init_ns=self.now_ns
            )
            return (refused,)
        if isinstance(wish, PromoteModel):
            return (market.succession.promote(wish, self.now_ns),)
        return (market.succession.roll_back(wish, self.now_ns),)

    def _on_forecast(self, forecast: Forecast) -> Sequence[AnyMessage]:
        self.now_ns = max(self.now_ns, forecast.ts_init_ns)
        market = self._markets.get(forecast.symbol)
        if market is None:
            self.counters.forecasts_unasked += 1
            return NOTHING
        answer = market.answer(forecast, self.now_ns)
        if answer is None:
            return NOTHING
        out: list[AnyMessage] = [answer]
        if isinstance(answer, ForecastMissed):
            out.extend(market.owes(answer.model_id, self.now_ns))
            return out
        out.extend(market.evidence.answered(answer.model_id, market.active_model, self.now_ns))
        if answer.active and self._acts(answer.symbol):
            for strategy in self.strategies:
                self._opinion(strategy.on_forecast, answer, out)
        return out

    def _on_missed(self, missed: ForecastMissed) -> Sequence[AnyMessage]:
        self.now_ns = max(self.now_ns, missed.ts_init_ns)
        market = self._markets.get(missed.symbol)
        return NOTHING if market is None else market.missed(missed, self.now_ns)

    def _on_seen(self, seen: PatternSeen | RegimeSeen) -> Sequence[AnyMessage]:
        self.now_ns = max(self.now_ns, seen.ts_init_ns)
        market = self._markets.get(seen.symbol)
        return NOTHING if market is None else market.evidence.seen(seen, market.active_model, self.now_ns)

    def _acts(self, symbol: str) -> bool:
        """Whether strategies are asked about a symbol: it is traded, and nobody is about to leave."""
        return not (self.ended or self._leaving or symbol in self.settings.conversion)

    # --- intents and orders ------------------------------------------------------------------------------------

    def _opinion(self, asked: Callable[..., Sequence[Intent]], about: Any, out: list[AnyMessage]) -> None:
        """Ask a strategy; one that raises has no opinion, and nothing new is risked until somebody has looked."""
        try:
            intents = asked(about, self.view)
        except Exception as error:  # noqa: BLE001 (a strategy must not end the process that can close its positions)
            self._trip("strategy", HaltLevel.NO_NEW_RISK, f"{type(error).__name__}: {error}", out)
        else:
            self._decide(intents, out)

    def _decide(self, intents: Sequence[Intent], out: list[AnyMessage], largest_e2: int = 0) -> None:
        if any(wanted.action != "exit" for wanted in intents):
            self._learn(out)  # what history told since the last bar closed
        for wanted in intents:
            self._intents += 1
            # Unique for ever: recovery counts again from the journal, and the run id tells journals apart. Not the
            # sequence number, which an interruption shifts: an interrupted day must make the same orders.
            intent_id = f"{self._started().run_id}-{self._intents}"
            intent = msgspec.structs.replace(wanted, intent_id=intent_id, ts_init_ns=self.now_ns)
            out.append(intent)
            if (costs := self._costs) is not None:
                self._cost(costs.aged, out, intent.symbol, self.now_ns)
            answer = self._review(intent, largest_e2, out)
            if isinstance(answer, SubmitOrder):
                self.book.sent(answer, self.now_ns, intent.horizon)
                if costs is not None:
                    quote = self.book.quotes.get(answer.symbol)
                    self._cost(costs.sent, out, answer, quote, self.book.instruments[answer.symbol])
                if not answer.position_id and not largest_e2:
                    remember(self._entering, intent_id, intent, ENTRIES_REMEMBERED)
                self._watch()
            out.append(answer)

    def _cost(
        self, watched: Callable[..., Sequence[AnyMessage] | None], out: list[AnyMessage], *arguments: object
    ) -> None:
        """Tell whoever watches what trading costs; what that raises keeps no command from leaving."""
        try:
            out.extend(watched(*arguments) or NOTHING)
        except Exception as error:  # noqa: BLE001 (whatever it is, money cannot be counted any more)
            self._blind(f"{type(error).__name__}: {error}", out)

    def _learn(self, out: list[AnyMessage], bar: Bar | None = None) -> None:
        """Let the figures of the book as a whole follow the prices; without them nothing new is risked."""
        if self.portfolio is None:
            return
        try:
            if bar is not None:
                self.portfolio.note(bar.symbol, bar.ts_open_ns, bar.close_e5)
            self.portfolio.settle()
        except Exception as error:  # noqa: BLE001 (whatever it is, positions can still be closed)
            self._trip("portfolio", HaltLevel.NO_NEW_RISK, f"{type(error).__name__}: {error}", out)

    def _review(self, intent: Intent, largest_e2: int, out: list[AnyMessage]) -> SubmitOrder | IntentRefused:
        leaving = intent.action == "exit"
        try:
            return review(
                intent,
                self.book,
                self.settings.risk,
                self.settings.sizing,
                self.now_ns,
                client_order_id=intent.intent_id,
                model=None if leaving else self._rests_on(intent),
                size_multiplier_ppm=PPM if leaving else self._cost_multiplier(intent),
                halt_level=self.halts.level,
                link_up=self._link_up,
                largest_e2=largest_e2,
                portfolio=self.portfolio,
            )
        except InvariantBroken:
            raise
        except Exception as error:  # noqa: BLE001 (what cannot be held against a limit is refused)
            why = f"{type(error).__name__}: {error}"
            self._blind(why, out)
        return IntentRefused(
            intent_id=intent.intent_id,
            strategy=intent.strategy,
            symbol=intent.symbol,
            rule="valuation",
            limit="every limit can be worked out",
            value=why[:200],
            would_pass="an entry once the halt is lifted and equity can be worked out",  # noqa: S106
            ts_init_ns=self.now_ns,
        )

    def _cost_multiplier(self, intent: Intent) -> int:
        """What is left of a size by measured cost, in millionths."""
        return 1_000_000 if self._costs is None else self._costs.size_ppm(intent.symbol)

    def _rests_on(self, intent: Intent) -> ModelStanding | None:
        market = self._markets.get(intent.symbol)
        return market.standing(intent.model_id, intent.horizon, intent.request_id) if market else None

    def _exit(self, position_id: str, reason: str, out: list[AnyMessage]) -> None:
        """Close a position on the core's own account, unless a close is on its way."""
        position = self.book.positions[position_id]
        tried = self._exit_tried.get(position_id)
        if self.book.closing(position_id) or (tried is not None and self.now_ns - tried.at_ns < tried.pause_ns):
            return
        if not self._link_up or not market_open(self.now_ns, self.book.instruments[position.symbol].session):
            return
        pause_ns = EXIT_RETRY_NS if tried is None else min(2 * tried.pause_ns, LONGEST_EXIT_RETRY_NS)
        self._exit_tried[position_id] = _ExitTried(self.now_ns, pause_ns)
        intent = exit_intent(self.view.position(position_id), self.view, reason)
        self._decide((intent,), out)

    def _on_fact(self, fact: VenueFact) -> Sequence[AnyMessage]:
        self.now_ns = max(self.now_ns, fact.ts_init_ns)
        sent_e2 = 0
        if isinstance(fact, OrderRejected) and fact.code == NO_MONEY:
            refused = self.book.orders.get(fact.client_order_id)
            sent_e2 = refused.volume_e2 if refused is not None and not refused.filled_e2 else 0
        if not self.book.fold(fact):
            self.counters.facts_repeated += 1
            return NOTHING
        out: list[AnyMessage] = []
        if isinstance(fact, OrderRejected):
            self._halve(fact, sent_e2, out)
        if isinstance(fact, OrderFilled):
            if self._costs is not None:
                self._cost(self._costs.filled, out, fact, self.book.marks.value)
            if fact.closing:
                self._exit_tried.pop(fact.position_id, None)
            self._guard(out)  # an entry that was in flight when all was flattened is closed here
        elif isinstance(fact, OrderAccepted):
            self._cancel_again(out)  # and one that comes to rest is withdrawn
        self._watch()
        return out

    def _halve(self, fact: OrderRejected, sent_e2: int, out: list[AnyMessage]) -> None:
        """An entry for which the account has too little margin is tried once more with half its volume, then never."""
        intent = self._entering.pop(fact.client_order_id, None)
        if intent is None or not sent_e2 or self.ended:
            return
        self._decide((msgspec.structs.replace(intent, reason=f"{intent.reason}, half"),), out, largest_e2=sent_e2 // 2)

    def _on_link(self, link: LinkChanged) -> Sequence[AnyMessage]:
        self.now_ns = max(self.now_ns, link.ts_init_ns)
        self._link_up = link.up
        out: list[AnyMessage] = []
        if link.up:
            self._exit_tried.clear()  # what had to wait for the connection has waited long enough
            self._guard(out)
            self._cancel_again(out)
        return out

    def _watch(self) -> None:
        """Quotes need more than bars and marks only while something is at risk or a strategy reads them."""
        self._watch_quotes = bool(self._quote_strategies or self.book.at_risk)

    # --- account, operators, life cycle ------------------------------------------------------------------------

    def _on_snapshot(self, snapshot: AccountSnapshot) -> Sequence[AnyMessage]:
        self.now_ns = max(self.now_ns, snapshot.ts_init_ns)
        out: list[AnyMessage] = []
        if self.book.balance is None:
            self.book.apply_snapshot(snapshot)
        else:
            found = compare(self.book, snapshot)
            out.extend(found)
            if not found:
                if self.book.settle_unknown(snapshot):  # what turns out to rest is withdrawn under a halt, now
                    self._guard(out)
                    self._cancel_again(out)
            else:
                halt = HaltTrading(
                    level=HaltLevel.NO_NEW_RISK,
                    source="reconcile",
                    operator="plimsoll",
                    reason=f"{len(found)} differences between the book and the venue",
                    ts_init_ns=self.now_ns,
                )
                self._latch(self.halts.on_command(halt), out)
        self._watch()
        return out

    def _on_halt(self, halt: HaltTrading) -> Sequence[AnyMessage]:
        self.now_ns = max(self.now_ns, halt.ts_init_ns)
        out: list[AnyMessage] = []
        self._latch(self.halts.on_command(halt), out)
        return out

    def _latch(self, latched: HaltLatched, out: list[AnyMessage]) -> None:
        out.append(latched)
        if latched.level >= HaltLevel.CANCEL_ENTRIES:
            self._cancel_entries(latched.rule, out)
        if latched.level >= HaltLevel.FLATTEN:
            self._flatten(latched.rule, out)

    def _cancel_entries(self, reason: str, out: list[AnyMessage], symbols: Collection[str] | None = None) -> None:
        """Withdraw what rests, in some symbols or in all."""
        if not self._link_up:
            return
        for order in self.book.resting_entries():
            if symbols is not None and order.symbol not in symbols:
                continue
            cancel = CancelOrder(
                client_order_id=order.client_order_id, symbol=order.symbol, reason=reason, ts_init_ns=self.now_ns
            )
            self.book.sent(cancel, self.now_ns)
            out.append(cancel)

    def _cancel_again(self, out: list[AnyMessage]) -> None:
        """Withdraw entries that were in flight when all were cancelled, and those whose cancel was refused.

        And, before a weekend that nothing is held over, those that could still be filled.
        """
        policy = self.settings.risk
        if self.ended or self.halts.level >= HaltLevel.CANCEL_ENTRIES:
            self._cancel_entries("cancel entries", out)
        elif policy.hours.weekend_flat_min:
            instruments = self.book.instruments
            near = [symbol for symbol in instruments if weekend_near(instruments[symbol], policy, self.now_ns)]
            self._cancel_entries("weekend", out, near)

    def _flatten(self, reason: str, out: list[AnyMessage]) -> None:
        for position_id in tuple(self.book.positions):
            self._exit(position_id, reason, out)

    def _on_resume(self, resume: ResumeTrading) -> Sequence[AnyMessage]:
        self.now_ns = max(self.now_ns, resume.ts_init_ns)
        said = self.halts.lift(resume)
        if said is None:
            return NOTHING
        if isinstance(said, HaltLifted):
            self.book.reset_references()
        return (said,)

    def _on_noted(self, resumed: RunResumed) -> Sequence[AnyMessage]:
        self.now_ns = max(self.now_ns, resumed.ts_init_ns)
        self._leaving = False
        return NOTHING

    def _on_news(self, news: NewsScheduled) -> Sequence[AnyMessage]:
        self.now_ns = max(self.now_ns, news.ts_init_ns)
        self.book.record.scheduled(news.events)
        return NOTHING

    def _on_end(self, end: RunEnded) -> Sequence[AnyMessage]:
        self.now_ns = max(self.now_ns, end.ts_init_ns)
        out: list[AnyMessage] = []
        self._leaving = True
        if end.flatten:
            self.ended = True
            self._cancel_entries(end.reason, out)
            self._flatten(end.reason, out)
        return out

    def _started(self) -> RunStarted:
        if self._run is None:
            raise InvariantBroken("the run has not started")
        return self._run
