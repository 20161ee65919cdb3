"""The flat records of a roll-up, and the figures of those that fall into one period.

Theory of operation. `Facts` holds everything that happened as lists of records, each with a moment and an owner.
`within` picks the records of some trading days, `owned` those of a strategy, symbol or model; `period_of` sums up what
was picked. Counts and money are sums and add up over periods; distributions are of the records themselves.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from bus.calendar import next_rollover_ns, trading_day
from bus.messages import BalanceMoved
from bus.values import NS_PER_HOUR
from risk.adherence import executions as of
from risk.adherence.intervals import Truth
from risk.adherence.ledger import Booking
from risk.adherence.levels import LevelHit
from risk.adherence.records import Count, Money, Trade
from risk.adherence.rolled import CoverageTest, Drift, Execution, LimitPeak, Missed, Period, Service, Signals


class SignalCount(NamedTuple):
    """How many forecasts of a model that trades, misses of one, or wishes to enter (`entry`) a trading day had.

    `ts_ns` is the moment of the first.
    """

    kind: str
    ts_ns: int
    symbol: str
    model_id: str
    strategy: str
    n: int


def closed_ns(trade: Trade) -> int:
    """When a trade counts: where it ended, or while it is open, where it began."""
    return trade.ts_close_ns or trade.ts_open_ns


class Facts:
    """See the module's theory of operation."""

    def __init__(self, pips: dict[str, int]) -> None:
        self.pips = pips
        self.trades: list[Trade] = []
        self.executions: list[Execution] = []
        self.missed: list[Missed] = []
        self.bookings: list[Booking] = []
        self.hits: list[LevelHit] = []
        self.moves: list[BalanceMoved] = []
        self.signals: list[SignalCount] = []
        self.truths: list[Truth] = []
        self.traded: dict[int, int] = {}
        self._by_day: dict[int, Facts] | None = None

    def moments(self) -> list[int]:
        """When anything happened."""
        return [
            *(closed_ns(trade) for trade in self.trades),
            *(move.ts_event_ns for move in self.moves),
            *(each.ts_ns for rows in self._moment_rows() for each in rows),
        ]

    def _moment_rows(self) -> tuple[list[Any], ...]:
        return (self.executions, self.missed, self.bookings, self.hits, self.signals, self.truths)

    def lists(self) -> tuple[list[Any], ...]:
        """All records, in a fixed order of kinds."""
        return (self.trades, self.moves, *self._moment_rows())

    def days(self) -> "dict[int, Facts]":
        """The records of each trading day."""
        if self._by_day is None:
            days: dict[int, Facts] = {}
            for place, rows in enumerate(self.lists()):
                for row in rows:
                    ts_ns = closed_ns(row) if place == 0 else row.ts_event_ns if place == 1 else row.ts_ns
                    day = trading_day(ts_ns)
                    own = days.get(day)
                    if own is None:
                        own = days[day] = Facts(self.pips)
                    own.lists()[place].append(row)
            self._by_day = days
        return self._by_day

    def moment_of(self, day: int) -> int:
        """Some moment of a trading day on which something happened, or prices came (`traded`)."""
        return self.traded.get(day) or self.days()[day].moments()[0]

    def bounds(self, day: int) -> tuple[int, int]:
        """Begin and end of a trading day."""
        to_ns = next_rollover_ns(self.moment_of(day))
        return next_rollover_ns(to_ns - 26 * NS_PER_HOUR), to_ns  # a day has 23 to 25 hours

    def within(self, days: set[int]) -> "Facts":
        """The records of some trading days."""
        found = Facts(self.pips)
        for day in sorted(days):
            own = self.days().get(day)
            for into, rows in zip(found.lists(), own.lists() if own else (), strict=own is not None):
                into.extend(rows)
        return found

    def owners(self, kind: str) -> list[str]:
        """The strategies, symbols or models that anything was of; those without a name come last."""
        name = _OWNER[kind]
        rows = (self.executions, self.missed, self.bookings, self.trades, self.truths if kind != "strategy" else [])
        found = {getattr(row, name) for each in rows for row in each}
        return sorted(found, key=lambda owner: (not owner, owner))

    def owned(self, kind: str, key: str) -> "Facts":
        """The records of one owner. Cash is nobody's."""
        name = _OWNER[kind]
        found = Facts(self.pips)
        for into, rows in zip(found.lists(), self.lists(), strict=True):
            if rows is not self.moves:
                into.extend(row for row in rows if getattr(row, name, None) == key)
        return found


_OWNER = {"strategy": "strategy", "symbol": "symbol", "model": "model_id"}


def period_of(
    kind: str,
    key: str,
    facts: Facts,
    *,
    ts_from_ns: int,
    ts_to_ns: int,
    days: int,
    limits: tuple[LimitPeak, ...] = (),
    coverage: tuple[CoverageTest, ...] = (),
    drift: tuple[Drift, ...] = (),
    service: Service | None = None,
) -> Period:
    """The figures of the records given; what they do not tell is given besides."""
    money = Money()
    for booking in facts.bookings:
        money = money.plus(booking.money)
    closed = [trade for trade in facts.trades if trade.ts_close_ns]
    expecting = [trade for trade in closed if trade.expected_profit]
    orders, codes = of.orders_of(facts.executions)
    return Period(
        kind=kind,
        key=key,
        ts_from_ns=ts_from_ns,
        ts_to_ns=ts_to_ns,
        days=days,
        trades=sum(booking.last for booking in facts.bookings),
        wins=sum(booking.won for booking in facts.bookings),
        money=money,
        moved=sum(move.delta for move in facts.moves),
        expected=sum(trade.expected_profit for trade in expecting),
        realised=sum(trade.money.net for trade in expecting),
        expecting=len(expecting),
        signals=_signals(facts),
        orders=orders,
        codes=codes,
        delays=of.delays_of(facts.executions, facts.trades),
        slippage_e5=of.slippage_of(facts.executions),
        slippage_pips=of.slippage_of(facts.executions, facts.pips),
        levels=of.accuracy_of(facts.hits),
        missed=_missed(facts.missed),
        limits=limits,
        coverage=coverage,
        drift=drift,
        service=service or Service(),
    )


def _signals(facts: Facts) -> Signals:
    counts = {"forecast": 0, "no_forecast": 0, "entry": 0}
    for signal in facts.signals:
        counts[signal.kind] += signal.n
    entries = [each for each in facts.executions if each.client_order_id and each.leg == "entry"]
    return Signals(
        forecasts=counts["forecast"],
        forecasts_missed=counts["no_forecast"],
        entries=counts["entry"],
        refused=sum(each.what == "refused" for each in facts.missed),
        ordered=len(entries),
        traded=sum(each.filled_e2 > 0 for each in entries),
    )


def _missed(rows: list[Missed]) -> tuple[Count, ...]:
    """Missed signals by what and which rule, most frequent first."""
    counts: dict[tuple[str, str], int] = {}
    words: dict[tuple[str, str], str] = {}
    for row in rows:
        key = (row.what, row.rule)
        counts[key] = counts.get(key, 0) + 1
        words[key] = f"{row.value} against {row.limit}" if row.limit else row.value
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Count(kind=what, key=rule, n=n, example=words[what, rule]) for (what, rule), n in ranked)


def adds_up(table: Sequence[Period], total: Period) -> bool:
    """Whether the money of a table is that of the total, part by part."""
    sums = [sum(getattr(row.money, name) for row in table) for name in total.money.__struct_fields__]
    return sums == [getattr(total.money, name) for name in total.money.__struct_fields__] and all(
        row.money.ties_out for row in table
    )
