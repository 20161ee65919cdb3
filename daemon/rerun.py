"""A day run again as it should have been: the journal's own inputs through a fresh core, against a simulated exchange.

Theory of operation. Up to a moment (the first account snapshot, or the start of a trading day) a fresh core is told the
journal's inputs as they came: there it knows what the daemon knew, and an exchange takes over the account as it stood.
From there on prices, time, forecasts, bars, models, cash and other people's positions still come from the journal. What
the venue told of our orders does not: the exchange executes each command at the moment it is decided, at the price on
record, and its facts arrive at once. What operators did is left out, and so is every loss of the connection. A forecast
that came too late comes in time; others can be given in place of those on record.

The venue's chance (slippage within its jitter, refusals) begins anew where the exchange takes over. From the run's
beginning it is the same as then: a paper day without latency, run again from its beginning, is the same day.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from adapters.exchange import Exchange, ExecutionModel
from adapters.exchange.continued import ContinuedExchange, HeldPosition
from bus.errors import ConfigError, DataError
from bus.messages import (
    AccountSnapshot,
    AnyMessage,
    BalanceMoved,
    CalibratedForecast,
    ClockTick,
    Forecast,
    ForecastMissed,
    ForecastRequested,
    ForeignChanged,
    HaltTrading,
    LinkChanged,
    OrderFilled,
    Quote,
    ResumeTrading,
    RunEnded,
    RunStarted,
    SubmitOrder,
    SwapCharged,
    VenueCommand,
    VenueFact,
)
from daemon.answers import Answer
from daemon.core import Core
from daemon.engine import COMMANDS
from daemon.journal import INPUT, OUTPUT, Record

LEFT_OUT = (AccountSnapshot, HaltTrading, ResumeTrading, LinkChanged)
KEPT_FACTS = (ForeignChanged, BalanceMoved)

AT_THE_TOUCH = ExecutionModel(
    slippage_points=0, slippage_jitter_points=0, liquidity_e2=0, impact_points=0, rollover_minutes=0
)
"""What should have been at a real venue: every order whole, at once, at the price on record."""


class Rerun(msgspec.Struct, frozen=True, kw_only=True):
    """What happened and what should have, both with the common past before `taken_over_seq`.

    `late` are the forecasts, by request and model, that came too late; `replaced` the requests whose answers on record
    were replaced by others.
    """

    run: RunStarted
    happened: Sequence[AnyMessage]
    should: Sequence[AnyMessage]
    taken_over_ns: int
    ended_ns: int
    late: frozenset[tuple[str, str]]
    replaced: frozenset[str]
    model: ExecutionModel


def execution_model(run: RunStarted) -> ExecutionModel:
    """How the simulated venue of a run executes, without what recorded prices have already; else `AT_THE_TOUCH`.

    Raises:
        DataError: the journal's description cannot be read.
    """
    if not run.venue_json:
        return AT_THE_TOUCH
    try:
        model = msgspec.json.decode(run.venue_json, type=ExecutionModel)
    except msgspec.MsgspecError as error:
        raise DataError(f"run {run.run_id}: its venue cannot be read: {error}") from error
    return msgspec.structs.replace(model, spread_multiplier_pct=100, spread_min_e5=0, rollover_minutes=0)


def rerun(
    records: Iterable[Record],
    *,
    from_ns: int = 0,
    until_ns: int = 2**63 - 1,
    answers: Mapping[str, Sequence[Answer]] | None = None,
) -> Rerun:
    """Run a journal, or a part of it, again.

    Args:
        records: of a whole journal, in order.
        from_ns: the exchange takes over with the first input at or after this moment; 0 = with the first snapshot.
        until_ns: inputs from this moment on are left out.
        answers: what models answer, by request, in place of what is on record.

    Raises:
        ConfigError: the journal holds no run, or nothing in this time.
        InvariantBroken: the core cannot go through it.
    """
    again = _Again(list(records), answers or {})
    again.past(from_ns)
    again.day(until_ns)
    return again.result()


class _Again:
    """One run, run again; see the module's theory of operation."""

    def __init__(self, records: list[Record], answers: Mapping[str, Sequence[Answer]]) -> None:
        if not records or not isinstance(records[0].message, RunStarted):
            raise ConfigError("the journal holds no run; give the folder of one that has begun")
        self.run = records[0].message
        self.model = execution_model(self.run)
        self._records = records
        self._answers = answers
        self._late = _late_forecasts(records)
        self._core = Core()
        self._should: list[AnyMessage] = []
        self._orders: dict[str, SubmitOrder] = {}
        self._used = 0
        self._place = 0
        self._seq = 0
        self._way: deque[AnyMessage] = deque()
        self._exchange: Exchange | None = None
        self._taken_over_ns = 0
        self._last_ns = 0
        self._venue_ns = 0  # how far the venue had come: its last price, or the last night that it charged
        self._ended = False
        self._answered_ns = 0
        self._last_quotes: dict[str, Quote] = {}
        self._usual_ns = _usual_latency_ns(records)
        self._due: deque[tuple[int, Answer]] = deque()

    # --- the past ----------------------------------------------------------------------------------------------

    def past(self, from_ns: int) -> None:
        """Go through the journal as it was, up to the takeover."""
        core, link_up = self._core, True
        for place, record in enumerate(self._records):
            message = record.message
            if record.kind == OUTPUT:
                self._should.append(message)
                if isinstance(message, SubmitOrder):
                    self._orders[message.client_order_id] = message
                continue
            opened = isinstance(message, RunStarted) is False and core.book.balance is not None
            if opened and getattr(message, "ts_init_ns", 0) >= from_ns:
                self._place = place
                self._take_over(getattr(message, "ts_init_ns", core.now_ns), link_up=link_up)
                return
            if isinstance(message, LinkChanged):
                link_up = message.up
            elif isinstance(message, Quote):
                self._last_quotes[message.symbol] = message
                self._venue_ns = message.ts_init_ns
            elif isinstance(message, SwapCharged):
                self._venue_ns = max(self._venue_ns, message.ts_event_ns)
            elif isinstance(message, OrderFilled):
                self._used += 3  # at most so many numbers were given for it
            core.process(record.seq, message)
            self._seq = record.seq
            self._should.append(message)
        raise ConfigError("the journal holds nothing of this time")

    def _take_over(self, now_ns: int, *, link_up: bool) -> None:
        book, run = self._core.book, self.run
        self._taken_over_ns = now_ns
        held = [
            HeldPosition(
                position_id=each.position_id,
                client_order_id=each.client_order_id,
                symbol=each.symbol,
                side=each.side,
                volume_e2=each.volume_e2,
                cost=each.cost,
                commission=each.commission,
                swap=each.swap,
                stop_loss_e5=each.stop_loss_e5,
                take_profit_e5=each.take_profit_e5,
                trailing_e5=each.trailing_e5,
                ts_open_ns=each.ts_open_ns,
            )
            for each in book.positions.values()
        ]
        at_work = [self._orders[name] for name in book.orders if name in self._orders]
        exchange = self._exchange = ContinuedExchange(
            quotes=book.quotes.values(),
            held=held,
            resting=at_work,
            used=self._used,
            now_ns=self._venue_ns or now_ns,
            account_id="again",
            currency=run.currency,
            money_digits=run.money_digits,
            leverage=book.leverage,
            hedged=run.hedged,
            balance=book.balance or 0,
            instruments=run.instruments,
            model=self.model,
        )
        # A night that has ended since anything was last heard is charged by whoever has the account now.
        if self._venue_ns:
            self._send_back(exchange.advance(min(self._venue_ns, now_ns)), now_ns)
        if not link_up:
            self._feed(LinkChanged(up=True, reason="run again", ts_init_ns=now_ns))
        self._send_back(exchange.taken_over, now_ns)
        self._drain()

    # --- the day -----------------------------------------------------------------------------------------------

    def day(self, until_ns: int) -> None:
        """Go on with the journal's prices, time and forecasts."""
        for record in self._records[self._place :]:
            message = record.message
            ts_ns: int = getattr(message, "ts_init_ns", 0)
            if record.kind == OUTPUT:
                continue
            if ts_ns >= until_ns:
                break
            self._last_ns = max(self._last_ns, ts_ns)
            if isinstance(message, LEFT_OUT) or (
                isinstance(message, VenueFact) and not isinstance(message, KEPT_FACTS)
            ):
                continue
            if isinstance(message, Answer) and self._superseded(message):
                continue
            together = bool(self._way) and isinstance(message, Answer) and ts_ns == self._answered_ns
            if not together:
                self._drain()
                self._arrive_before(ts_ns)
            if isinstance(message, Answer):  # of those that arrive together none acts before the last is there
                self._answered_ns = ts_ns
                self._way.append(message)
                continue
            self._happens(message, ts_ns)
            self._drain()
        self._drain()

    def _arrive_before(self, now_ns: int) -> None:
        """Answers that are not on record arrive after the time that an answer usually takes."""
        while self._due and self._due[0][0] < now_ns:
            due_ns, answer = self._due.popleft()
            self._feed(msgspec.structs.replace(answer, ts_init_ns=due_ns))
            self._drain()

    def _happens(self, message: AnyMessage, now_ns: int) -> None:
        exchange = self._exchange
        assert exchange is not None
        if isinstance(message, Quote):
            self._send_back(exchange.advance(now_ns), now_ns)
            try:
                self._send_back(exchange.on_quote(message), now_ns)
                self._last_quotes[message.symbol] = message
            except DataError:
                pass  # the core is told, and takes no risk on it
        elif isinstance(message, RunEnded):
            self._ended = self._ended or message.flatten
        elif isinstance(message, ClockTick) and self._ended:
            for symbol in dict.fromkeys(position.symbol for position in exchange.positions):
                last = msgspec.structs.replace(self._last_quotes[symbol], ts_init_ns=now_ns)
                self._send_back(exchange.on_quote(last), now_ns)
        self._feed(message)

    def _superseded(self, answer: Answer) -> bool:
        """Whether an answer on record counts no more: others are given, or it was late and came in time."""
        if answer.request_id in self._answers:
            return True
        return isinstance(answer, Forecast) and (answer.request_id, answer.model_id) in self._late

    def _feed(self, message: AnyMessage) -> None:
        self._seq += 1
        self._should.append(message)
        for said in self._core.process(self._seq, message):
            if isinstance(said, ForecastRequested):
                due_ns = self._core.now_ns + self._usual_ns
                self._due.extend((due_ns, answer) for answer in self._answered(said))
                continue
            self._should.append(said)
            if isinstance(said, COMMANDS):
                self._way.append(said)

    def _answered(self, request: ForecastRequested) -> Sequence[Answer]:
        """Answers that come in time; all others come when they came."""
        given = self._answers.get(request.request_id)
        if given is None:
            return [late for (name, _), late in self._late.items() if name == request.request_id]
        return given

    def _send_back(self, facts: Sequence[VenueFact], now_ns: int) -> None:
        self._way.extend(msgspec.structs.replace(fact, ts_init_ns=now_ns) for fact in facts)

    def _drain(self) -> None:
        """Nothing is on its way for any time: commands are executed, and facts and answers arrive, in order."""
        exchange = self._exchange
        assert exchange is not None
        while self._way:
            message = self._way.popleft()
            if isinstance(message, VenueCommand):
                now_ns = self._core.now_ns
                self._send_back(exchange.advance(now_ns), now_ns)
                self._send_back(exchange.execute(message, now_ns), now_ns)
            else:
                self._feed(message)

    def result(self) -> Rerun:
        """Both stories."""
        until = [record.message for record in self._records]
        last = next(
            (
                place
                for place, record in enumerate(self._records)
                if place >= self._place
                and record.kind == INPUT
                and getattr(record.message, "ts_init_ns", 0) > self._last_ns
            ),
            len(until),
        )
        return Rerun(
            run=self.run,
            happened=until[:last],
            should=self._should,
            taken_over_ns=self._taken_over_ns,
            ended_ns=self._last_ns,
            late=frozenset(self._late),
            replaced=frozenset(self._answers),
            model=self.model,
        )


def _late_forecasts(records: Sequence[Record]) -> dict[tuple[str, str], Forecast]:
    """Forecasts that the core took for late, by request and model."""
    said = {
        (record.message.request_id, record.message.model_id)
        for record in records
        if record.kind == OUTPUT and isinstance(record.message, ForecastMissed) and record.message.reason == "late"
    }
    return {
        (record.message.request_id, record.message.model_id): record.message
        for record in records
        if record.kind == INPUT
        and isinstance(record.message, Forecast)
        and (record.message.request_id, record.message.model_id) in said
    }


def _usual_latency_ns(records: Sequence[Record]) -> int:
    """From the close of a bar to its forecast, the median of what is on record."""
    told = sorted(
        record.message.ts_init_ns - record.message.as_of_ns
        for record in records
        if record.kind == OUTPUT and isinstance(record.message, CalibratedForecast)
    )
    return max(0, told[len(told) // 2]) if told else 0


def requests_of(records: Iterable[Record], from_ns: int, until_ns: int) -> list[ForecastRequested]:
    """The forecasts that a journal's core asked for in a time: they are not on record, because they follow from it."""
    core, found = Core(), list[ForecastRequested]()
    for record in records:
        if record.kind != INPUT:
            continue
        for said in core.process(record.seq, record.message):
            if isinstance(said, ForecastRequested) and from_ns <= said.as_of_ns < until_ns:
                found.append(said)
    return found
