"""Any number of journals, rolled up by trading day, week, month, strategy, symbol and model.

Theory of operation. `Roll` folds (sequence number, message) pairs of one journal after the other; `RunStarted` begins
the next. Each journal has a `Ledger` of its own; positions that an earlier one of the same account left open go on in
it. What happened becomes flat records with a moment and an owner; a period is the records that fall into it. Money is
booked by closing deals, on the trading day (17:00 New York) of the deal; weeks (ISO, Monday's to Friday's days) and
months are sums of trading days and belong to the date on which the day ends, so all tables add up to the same total.

Like the rest of this package it derives everything from messages alone and asks neither book nor core.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from bus.calendar import next_rollover_ns, trading_day
from bus.errors import DataError
from bus.messages import (
    AccountSnapshot,
    AnyMessage,
    BalanceMoved,
    Bar,
    CalibratedForecast,
    ForecastMissed,
    ForecastResolved,
    HaltLifted,
    Intent,
    IntentRefused,
    LinkChanged,
    OrderAccepted,
    OrderCancelled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderUnknown,
    ProtectionChanged,
    Quote,
    RunResumed,
    RunStarted,
    SubmitOrder,
    SwapCharged,
)
from risk.adherence import executions as of
from risk.adherence.findings import conservation
from risk.adherence.intervals import Truth, by_key, coverage, drift, truth_of
from risk.adherence.ledger import Ledger
from risk.adherence.numbers import period_keys
from risk.adherence.periods import Facts, SignalCount, adds_up, period_of
from risk.adherence.rolled import Period, Rollup, RunSpan
from risk.adherence.service import Attendance
from risk.adherence.usage import Usage, limit_peaks

__all__ = ["Roll", "roll_up"]

Numbered = tuple[int, AnyMessage]

MISSED_LISTED = 10_000
"""Missed signals that are listed one by one, the newest; all are counted."""

_ALWAYS_NS = 2**63 - 1

Row = TypeVar("Row")


def roll_up(journals: Iterable[Iterable[Numbered]]) -> Rollup:
    """Roll up whole journals, oldest first.

    Raises:
        DataError: they are of accounts in different currencies, or one does not begin with `RunStarted`.
    """
    roll = Roll()
    for journal in journals:
        for seq, message in journal:
            roll.add(seq, message)
    return roll.result()


class _Journal:
    """One journal of the roll-up; `before` is the one of the same account at a venue that it goes on from."""

    def __init__(self, run: RunStarted, before: "_Journal | None") -> None:
        carried = before.ledger.positions if before is not None else {}
        self.run = run
        self.before = before
        self.ledger = Ledger(carried)
        self.ledger.run = run
        self.usage = Usage(self.ledger, run)
        self.account_id = ""
        self.first_ns = self.last_ns = run.ts_init_ns
        self.resumes = 0
        self.unexplained = 0
        self.refused: list[IntentRefused] = []
        self.signals: dict[tuple[int, str, str, str, str], list[int]] = {}
        self.arrived: dict[tuple[str, str], int] = {}
        self.truths: list[Truth] = []
        self.told: set[tuple[str, str, int, int]] = set()
        self.traded: dict[int, int] = {}
        self.day_ends_ns = 0

    def signal(self, kind: str, ts_ns: int, symbol: str, model_id: str, strategy: str = "") -> None:
        """Count one more; there are too many to keep."""
        key = (trading_day(ts_ns), kind, symbol, model_id, strategy)
        counted = self.signals.get(key)
        if counted is None:
            self.signals[key] = [ts_ns, 1]
        else:
            counted[1] += 1


class Roll:
    """The incremental fold; see the module's theory of operation. `result` may be asked at any time."""

    def __init__(self) -> None:
        self._journals: list[_Journal] = []
        self._now: _Journal | None = None
        self._attendance = Attendance()
        self._handlers: dict[type[AnyMessage], Callable[[_Journal, Any], None]] = {
            RunResumed: self._on_resumed,
            LinkChanged: lambda _, link: self._attendance.link(link),
            AccountSnapshot: self._on_snapshot,
            Bar: lambda journal, bar: journal.ledger.on_bar(bar),
            CalibratedForecast: self._on_forecast,
            ForecastMissed: self._on_no_forecast,
            ForecastResolved: self._on_resolved,
            Intent: self._on_intent,
            IntentRefused: self._on_refused,
            SubmitOrder: self._on_order,
            OrderAccepted: lambda journal, fact: journal.ledger.on_accepted(fact),
            OrderRejected: lambda journal, fact: journal.ledger.on_rejected(fact),
            OrderCancelled: lambda journal, fact: journal.ledger.on_end(fact.client_order_id, "cancelled", fact.reason),
            OrderExpired: lambda journal, fact: journal.ledger.on_end(fact.client_order_id, "expired"),
            OrderUnknown: lambda journal, fact: journal.ledger.on_end(fact.client_order_id, "unknown"),
            OrderFilled: self._on_filled,
            ProtectionChanged: lambda journal, fact: journal.ledger.on_protection(fact),
            SwapCharged: self._on_swap,
            BalanceMoved: self._on_moved,
            HaltLifted: lambda journal, fact: journal.usage.begin(fact.ts_init_ns),
        }

    def add(self, seq: int, message: AnyMessage) -> None:
        """Fold one message; what has no bearing on adherence is passed over.

        Raises:
            DataError: it comes before any `RunStarted`, or begins a run in another currency.
        """
        if isinstance(message, RunStarted):
            self._begin(seq, message)
            return
        journal = self._now
        if journal is None:
            raise DataError(f"record {seq} belongs to no run; a journal begins with RunStarted")
        if type(message) is Quote:
            self._on_quote(journal, message)
            return
        ts_ns: int = getattr(message, "ts_init_ns", 0)
        journal.usage.at(ts_ns, priced=False)  # the day that ends, ends before this message
        handler = self._handlers.get(type(message))
        if handler is not None:
            handler(journal, message)
        journal.last_ns = max(journal.last_ns, ts_ns)
        self._attendance.seen(ts_ns)

    # --- folding -----------------------------------------------------------------------------------------------

    def _begin(self, seq: int, run: RunStarted) -> None:
        before = self._now
        if before is not None:
            told, new = (before.run.currency, before.run.money_digits), (run.currency, run.money_digits)
            if told != new:
                raise DataError(f"record {seq}: run {run.run_id} counts in {new}, the one before in {told}")
        same = before is not None and run.mode != "paper" and run.mode == before.run.mode
        self._attendance.begin(run.ts_init_ns, continues=same)
        self._now = _Journal(run, before if same else None)
        self._journals.append(self._now)

    def _on_quote(self, journal: _Journal, quote: Quote) -> None:
        ledger, now_ns = journal.ledger, quote.ts_init_ns
        if not 0 < quote.bid_e5 <= quote.ask_e5:
            return
        journal.usage.at(now_ns, priced=False)  # the day that ends, ends before this price
        ledger.quotes[quote.symbol] = quote
        journal.last_ns = max(journal.last_ns, now_ns)
        if now_ns >= journal.day_ends_ns:
            journal.day_ends_ns = next_rollover_ns(now_ns)
            journal.traded.setdefault(trading_day(now_ns), now_ns)
        self._attendance.seen(now_ns)
        self._attendance.quote(quote)
        held = False
        for position in ledger.positions.values():
            if position.symbol == quote.symbol:
                position.see(quote.bid_e5, quote.ask_e5, now_ns)
                held = True
        if held:
            journal.usage.at(now_ns, priced=True)

    def _on_resumed(self, journal: _Journal, resumed: RunResumed) -> None:
        journal.resumes += 1
        self._attendance.resumed(resumed.ts_init_ns)

    def _on_snapshot(self, journal: _Journal, snapshot: AccountSnapshot) -> None:
        first = journal.ledger.balance_start is None
        journal.ledger.on_snapshot(snapshot)
        if not first:
            return
        journal.account_id = snapshot.account_id
        journal.usage.begin(snapshot.ts_init_ns)
        before = journal.before
        if before is not None and before.account_id == snapshot.account_id:
            journal.unexplained = snapshot.balance - before.ledger.balance

    def _on_forecast(self, journal: _Journal, forecast: CalibratedForecast) -> None:
        journal.ledger.on_signal(forecast)
        journal.arrived[forecast.request_id, forecast.model_id] = forecast.ts_init_ns
        if forecast.active:
            journal.signal("forecast", forecast.ts_init_ns, forecast.symbol, forecast.model_id)

    def _on_no_forecast(self, journal: _Journal, missed: ForecastMissed) -> None:
        journal.signal("no_forecast", missed.ts_init_ns, missed.symbol, missed.model_id)

    def _on_resolved(self, journal: _Journal, fact: ForecastResolved) -> None:
        key = (fact.symbol, fact.model_id, fact.horizon, fact.as_of_ns)
        if key not in journal.told:
            journal.told.add(key)
            journal.truths.append(truth_of(fact))

    def _on_intent(self, journal: _Journal, intent: Intent) -> None:
        journal.ledger.intents[intent.intent_id] = intent
        if intent.action == "enter":
            journal.signal("entry", intent.ts_init_ns, intent.symbol, intent.model_id, intent.strategy)

    def _on_refused(self, journal: _Journal, refused: IntentRefused) -> None:
        journal.usage.refused(refused)
        intent = journal.ledger.intents.get(refused.intent_id)
        if intent is None or intent.action == "enter":
            journal.refused.append(refused)

    def _on_order(self, journal: _Journal, order: SubmitOrder) -> None:
        if order.client_order_id not in journal.ledger.orders:
            journal.ledger.on_order(order)
            journal.usage.ordered(order)

    def _on_filled(self, journal: _Journal, fill: OrderFilled) -> None:
        journal.ledger.on_filled(fill)
        journal.usage.at(fill.ts_init_ns, priced=True)

    def _on_swap(self, journal: _Journal, swap: SwapCharged) -> None:
        journal.ledger.on_swap(swap)
        journal.usage.at(swap.ts_init_ns, priced=True)

    def _on_moved(self, journal: _Journal, move: BalanceMoved) -> None:
        before = journal.ledger.moved
        journal.ledger.on_moved(move)
        if move.cause == "cash":
            journal.usage.paid(journal.ledger.moved - before)

    # --- what came of it ---------------------------------------------------------------------------------------

    @property
    def ledger(self) -> Ledger:
        """The money of the journal that is being folded.

        Raises:
            DataError: none is.
        """
        if self._now is None:
            raise DataError("no journal was begun")
        return self._now.ledger

    def result(self, from_ns: int = 0, to_ns: int = _ALWAYS_NS) -> Rollup:
        """Everything folded so far, or what of it fell into some trading days.

        Args:
            from_ns: a moment of the first trading day that counts.
            to_ns: the end of the last, excluded. Journals are always whole: `runs` says what all of each adds up to.

        Raises:
            DataError: nothing was folded.
        """
        if not self._journals:
            raise DataError("nothing to roll up: no journal was given")
        first = self._journals[0].run
        pips = {entry.symbol: entry.pip_e5 for journal in self._journals for entry in journal.run.instruments}
        facts = self._facts(pips)
        days = sorted(facts.days().keys() | facts.traded.keys())
        own, outages = facts, self._attendance.all_outages()
        if from_ns or to_ns != _ALWAYS_NS:
            days = [day for day in days if trading_day(from_ns) <= day <= trading_day(to_ns - 1)]
            own = facts.within(set(days))
            outages = tuple(each for each in outages if each.ts_from_ns < to_ns and each.ts_to_ns > from_ns)
        keys = {day: period_keys(day) for day in days}
        spans = tuple(self._span(journal) for journal in self._journals)
        tables = [
            tuple(self._time_period(kind, key, [day for day in days if keys[day][place] == key], facts)
                  for key in dict.fromkeys(keys[day][place] for day in days))
            for place, kind in enumerate(("day", "week", "month"))
        ]  # fmt: skip
        total = self._time_period("total", "all", days, facts, whole=own is facts)
        exact = all(span.conservation.exact for span in spans) and all(adds_up(table, total) for table in tables)
        return Rollup(
            currency=first.currency,
            money_digits=first.money_digits,
            pips_e5=pips,
            runs=spans,
            exact=exact,
            total=total,
            days=tables[0],
            weeks=tables[1],
            months=tables[2],
            strategies=self._owned("strategy", own),
            symbols=self._owned("symbol", own),
            models=self._owned("model", own),
            trades=tuple(own.trades),
            executions=tuple(own.executions),
            missed=tuple(own.missed[-MISSED_LISTED:]),
            hits=tuple(own.hits),
            outages=outages,
        )

    def _facts(self, pips: dict[str, int]) -> Facts:
        facts = Facts(pips)
        for place, journal in enumerate(self._journals):
            run_id, ledger = journal.run.run_id, journal.ledger
            later = {name for after in self._journals[place + 1 :] if after.before is journal
                     for name in after.ledger.taken_over}  # fmt: skip
            still_open = [position for name, position in ledger.positions.items() if name not in later]
            for track in ledger.orders.values():
                execution = of.of_order(run_id, track, ledger, journal.arrived)
                facts.executions.append(execution)
                missed = of.not_traded(run_id, execution, track)
                if missed is not None:
                    facts.missed.append(missed)
            facts.executions += [of.of_level(run_id, hit) for hit in ledger.hits if not hit.missed]
            facts.missed += [of.refused_signal(run_id, refused, ledger.intents.get(refused.intent_id))
                             for refused in journal.refused]  # fmt: skip
            open_trades = [ledger.trade(position) for position in still_open]
            facts.trades += sorted((*ledger.trades, *open_trades), key=lambda trade: trade.number)
            facts.bookings += ledger.bookings
            facts.hits += [*ledger.hits, *ledger.vain(journal.last_ns, still_open)]
            facts.moves += ledger.moves
            facts.signals += [
                SignalCount(kind, ts_ns, symbol, model_id, strategy, n)
                for (_, kind, symbol, model_id, strategy), (ts_ns, n) in journal.signals.items()
            ]
            facts.truths += journal.truths
            facts.traded |= journal.traded
        facts.executions.sort(key=lambda each: each.ts_ns)
        facts.missed.sort(key=lambda each: each.ts_ns)
        return facts

    def _span(self, journal: _Journal) -> RunSpan:
        return RunSpan(
            run_id=journal.run.run_id,
            mode=journal.run.mode,
            account_id=journal.account_id,
            ts_first_ns=journal.first_ns,
            ts_last_ns=journal.last_ns,
            resumes=journal.resumes,
            conservation=conservation(journal.ledger),
            unexplained=journal.unexplained,
        )

    def _time_period(self, kind: str, key: str, days: Sequence[int], facts: Facts, *, whole: bool = False) -> Period:
        wanted = set(days)
        bounds = [facts.bounds(day) for day in days]
        from_ns = min((each[0] for each in bounds), default=0)
        to_ns = max((each[1] for each in bounds), default=0)
        if whole:
            from_ns, to_ns = 0, _ALWAYS_NS
        own = facts.within(wanted)
        truths = by_key(own.truths)
        before = by_key([truth for truth in facts.truths if truth.ts_ns < from_ns])
        return period_of(
            kind,
            key,
            own,
            ts_from_ns=min((each[0] for each in bounds), default=0),
            ts_to_ns=max((each[1] for each in bounds), default=0),
            days=len(days),
            limits=limit_peaks([journal.usage for journal in self._journals], from_ns, to_ns),
            coverage=coverage(truths, facts.pips),
            drift=drift(before, truths),
            service=self._attendance.service(from_ns, to_ns),
        )

    def _owned(self, kind: str, facts: Facts) -> tuple[Period, ...]:
        """One period for every strategy, symbol or model that something was of."""
        out: list[Period] = []
        for key in facts.owners(kind):
            own = facts.owned(kind, key)
            moments = own.moments()
            out.append(
                period_of(
                    kind,
                    key or "(none)",
                    own,
                    ts_from_ns=min(moments, default=0),
                    ts_to_ns=max(moments, default=0),
                    days=len(own.days()),
                    coverage=coverage(by_key(own.truths), facts.pips),
                )
            )
        return tuple(out)
