"""Journal records to rows: what each fact changes in the tables.

Theory of operation. One `Projector` lives as long as one transaction. A record changes rows by the keys that the
journal gives, never by what is in memory, so it does not matter where a batch begins or ends. A fact may be told twice
under two sequence numbers: the deal's row is then already there, and nothing that hangs on it is written again.
Forecasts and refusals, the bulk of the rows, wait in lists and are written together at the end.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from sqlalchemy import Table, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import Connection, RowMapping
from sqlalchemy.sql import select

from adapters.store.tables import deals, forecasts, halts, orders, positions, refusals, runs, trades
from bus.messages import (
    AccountSnapshot,
    AnyMessage,
    BalanceMoved,
    ForecastResolved,
    HaltLatched,
    HaltLifted,
    IntentRefused,
    OrderAccepted,
    OrderCancelled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderUnknown,
    PositionState,
    ProtectionChanged,
    RunEnded,
    RunResumed,
    RunStarted,
    SubmitOrder,
    SwapCharged,
)
from bus.values import divide_half_away

WAITING = ("sent", "unknown")
"""Order states in which a rejection is about the order itself, not about a cancel or an amendment of it."""


def insert_new(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> int:
    """Insert rows whose keys are not there yet; how many a single row's insert wrote (0 or 1)."""
    insert = postgresql_insert if connection.dialect.name == "postgresql" else sqlite_insert
    statement = insert(table).on_conflict_do_nothing().execution_options(preserve_rowcount=True)
    return connection.execute(statement, rows if len(rows) > 1 else rows[0]).rowcount


class Projector:
    """Writes the records of one run through one open transaction."""

    def __init__(self, connection: Connection, run_id: str) -> None:
        self._connection = connection
        self._run_id = run_id
        self._forecasts: list[dict[str, Any]] = []
        self._refusals: list[dict[str, Any]] = []
        self._handlers: dict[type[AnyMessage], Callable[[int, Any], None]] = {
            RunStarted: self._on_started,
            RunResumed: self._on_resumed,
            RunEnded: self._on_ended,
            AccountSnapshot: self._on_snapshot,
            SubmitOrder: self._on_submit,
            OrderAccepted: self._on_accepted,
            OrderRejected: self._on_rejected,
            OrderCancelled: self._on_cancelled,
            OrderExpired: self._on_expired,
            OrderUnknown: self._on_unknown,
            OrderFilled: self._on_filled,
            ProtectionChanged: self._on_protection,
            SwapCharged: self._on_swap,
            BalanceMoved: self._on_moved,
            ForecastResolved: self._on_resolved,
            IntentRefused: self._on_refused,
            HaltLatched: self._on_latched,
            HaltLifted: self._on_lifted,
        }

    def apply(self, seq: int, message: AnyMessage) -> None:
        """Write what one record changes; most kinds of message change nothing here."""
        handler = self._handlers.get(type(message))
        if handler is not None:
            handler(seq, message)

    def flush(self) -> None:
        """Write the rows that waited."""
        for table, rows in ((forecasts, self._forecasts), (refusals, self._refusals)):
            if rows:
                insert_new(self._connection, table, rows)
                rows.clear()

    def _insert(self, table: Table, **values: Any) -> bool:
        return insert_new(self._connection, table, [{"run_id": self._run_id, **values}]) == 1

    def _find(self, table: Table, key: str, value: str) -> RowMapping | None:
        found = self._connection.execute(
            select(table).where(table.c.run_id == self._run_id, table.c[key] == value)
        ).mappings()
        return found.first()

    def _change(self, table: Table, key: str, value: str, **changes: Any) -> None:
        self._connection.execute(
            update(table).where(table.c.run_id == self._run_id, table.c[key] == value).values(**changes)
        )

    # --- the run -----------------------------------------------------------------------------------------------

    def _on_started(self, _: int, run: RunStarted) -> None:
        self._insert(
            runs,
            mode=run.mode,
            currency=run.currency,
            money_digits=run.money_digits,
            leverage=run.leverage,
            hedged=run.hedged,
            period_ns=run.period_ns,
            symbols=",".join(each.symbol for each in run.instruments),
            resumes=0,
            started_ns=run.ts_init_ns,
            end_reason="",
        )

    def _on_resumed(self, _: int, __: RunResumed) -> None:
        self._change(runs, "run_id", self._run_id, resumes=runs.c.resumes + 1)

    def _on_ended(self, _: int, end: RunEnded) -> None:
        self._change(runs, "run_id", self._run_id, ended_ns=end.ts_init_ns, end_reason=end.reason)

    def _on_snapshot(self, seq: int, account: AccountSnapshot) -> None:
        run = self._find(runs, "run_id", self._run_id)
        if run is not None and run["start_balance"] is None:
            self._change(runs, "run_id", self._run_id, start_balance=account.balance)
        self._change(runs, "run_id", self._run_id, balance=account.balance)
        for position in account.positions:
            self._on_position(seq, position)

    def _on_position(self, seq: int, position: PositionState) -> None:
        """A position that the venue holds and no deal told of: taken over from an earlier run."""
        self._insert(
            positions,
            position_id=position.position_id,
            seq=seq,
            symbol=position.symbol,
            side=int(position.side),
            strategy="",
            client_order_id=position.client_order_id,
            volume_e2=position.volume_e2,
            opened_e2=position.volume_e2,
            entry_e5=position.price_e5,
            stop_loss_e5=position.stop_loss_e5,
            take_profit_e5=position.take_profit_e5,
            trailing_e5=0,
            swap=position.swap,
            opened_ns=position.ts_open_ns,
        )

    # --- orders ------------------------------------------------------------------------------------------------

    def _on_submit(self, seq: int, order: SubmitOrder) -> None:
        self._insert(
            orders,
            client_order_id=order.client_order_id,
            seq=seq,
            order_id="",
            intent_id=order.intent_id,
            strategy=order.strategy,
            symbol=order.symbol,
            side=int(order.side),
            order_type=order.order_type.value,
            volume_e2=order.volume_e2,
            filled_e2=0,
            reference_e5=order.reference_e5,
            limit_e5=order.limit_e5,
            trigger_e5=order.trigger_e5,
            stop_loss_e5=order.stop_loss_e5,
            take_profit_e5=order.take_profit_e5,
            trailing_e5=order.trailing_e5,
            position_id=order.position_id,
            reason=order.reason,
            status="sent",
            code="",
            text="",
            sent_ns=order.ts_init_ns,
            updated_ns=order.ts_init_ns,
        )

    def _order(self, client_order_id: str, *, only_if: tuple[str, ...] = (), **changes: Any) -> None:
        statement = update(orders).where(orders.c.run_id == self._run_id, orders.c.client_order_id == client_order_id)
        if only_if:
            statement = statement.where(orders.c.status.in_(only_if))
        self._connection.execute(statement.values(**changes))

    def _on_accepted(self, _: int, fact: OrderAccepted) -> None:
        changes: dict[str, Any] = {"status": "accepted", "order_id": fact.order_id, "updated_ns": fact.ts_init_ns}
        self._order(fact.client_order_id, only_if=WAITING, **changes)

    def _on_rejected(self, _: int, fact: OrderRejected) -> None:
        changes: dict[str, Any] = {
            "status": "rejected",
            "code": fact.code,
            "text": fact.text,
            "updated_ns": fact.ts_init_ns,
        }
        self._order(fact.client_order_id, only_if=WAITING, **changes)

    def _on_cancelled(self, _: int, fact: OrderCancelled) -> None:
        changes: dict[str, Any] = {"status": "cancelled", "text": fact.reason, "updated_ns": fact.ts_init_ns}
        self._order(fact.client_order_id, **changes)

    def _on_expired(self, _: int, fact: OrderExpired) -> None:
        self._order(fact.client_order_id, status="expired", updated_ns=fact.ts_init_ns)

    def _on_unknown(self, _: int, fact: OrderUnknown) -> None:
        self._order(fact.client_order_id, only_if=("sent",), status="unknown", updated_ns=fact.ts_init_ns)

    # --- deals, positions, trades ------------------------------------------------------------------------------

    def _on_filled(self, seq: int, deal: OrderFilled) -> None:
        names = deals.c.keys()
        values = {name: value for name, value in msgspec.structs.asdict(deal).items() if name in names}
        if not self._insert(deals, **(values | {"seq": seq, "side": int(deal.side)})):
            return  # told before
        order = self._find(orders, "client_order_id", deal.client_order_id)
        if order is not None and deal.cause == "order":
            self._order(
                deal.client_order_id,
                status="filled" if deal.order_done else "partly_filled",
                filled_e2=order["filled_e2"] + deal.volume_e2,
                order_id=deal.order_id or order["order_id"],
                updated_ns=deal.ts_init_ns,
            )
        position = self._find(positions, "position_id", deal.position_id)
        if deal.closing:
            self._close(seq, deal, position)
        else:
            self._open(seq, deal, position, order)

    def _open(self, seq: int, deal: OrderFilled, position: RowMapping | None, order: RowMapping | None) -> None:
        if position is None:
            self._insert(
                positions,
                position_id=deal.position_id,
                seq=seq,
                symbol=deal.symbol,
                side=int(deal.side),
                strategy=order["strategy"] if order else "",
                client_order_id=deal.client_order_id,
                volume_e2=deal.remaining_e2,
                opened_e2=deal.volume_e2,
                entry_e5=deal.price_e5,
                stop_loss_e5=0,
                take_profit_e5=0,
                trailing_e5=0,
                swap=0,
                opened_ns=deal.ts_event_ns,
            )
            return
        held = position["volume_e2"]
        entry_e5 = divide_half_away(held * position["entry_e5"] + deal.volume_e2 * deal.price_e5, held + deal.volume_e2)
        self._change(
            positions,
            "position_id",
            deal.position_id,
            volume_e2=deal.remaining_e2,
            opened_e2=position["opened_e2"] + deal.volume_e2,
            entry_e5=entry_e5,
        )

    def _close(self, seq: int, deal: OrderFilled, position: RowMapping | None) -> None:
        self._insert(
            trades,
            deal_id=deal.deal_id,
            seq=seq,
            position_id=deal.position_id,
            symbol=deal.symbol,
            side=int(deal.side.opposite),
            strategy=position["strategy"] if position else "",
            volume_e2=deal.volume_e2,
            entry_e5=position["entry_e5"] if position else None,
            exit_e5=deal.price_e5,
            opened_ns=position["opened_ns"] if position else None,
            closed_ns=deal.ts_event_ns,
            cause=deal.cause,
            gross_profit=deal.gross_profit,
            commission=deal.booked_commission,
            swap=deal.booked_swap,
            conversion_fee=deal.conversion_fee,
            net_profit=deal.gross_profit + deal.booked_commission + deal.booked_swap + deal.conversion_fee,
        )
        closed_ns = deal.ts_event_ns if deal.remaining_e2 == 0 else None
        self._change(positions, "position_id", deal.position_id, volume_e2=deal.remaining_e2, closed_ns=closed_ns)
        self._change(runs, "run_id", self._run_id, balance=deal.balance)

    def _on_protection(self, _: int, fact: ProtectionChanged) -> None:
        self._change(
            positions,
            "position_id",
            fact.position_id,
            stop_loss_e5=fact.stop_loss_e5,
            take_profit_e5=fact.take_profit_e5,
            trailing_e5=fact.trailing_e5,
        )

    def _on_swap(self, _: int, fact: SwapCharged) -> None:
        self._change(positions, "position_id", fact.position_id, swap=positions.c.swap + fact.amount)

    def _on_moved(self, _: int, move: BalanceMoved) -> None:
        self._change(runs, "run_id", self._run_id, balance=move.balance)

    # --- forecasts, refusals, halts ----------------------------------------------------------------------------

    def _on_resolved(self, seq: int, truth: ForecastResolved) -> None:
        band = truth.bands[0] if truth.bands else None
        bounded = band is not None and band.bounded
        self._forecasts.append(
            {
                "run_id": self._run_id,
                "symbol": truth.symbol,
                "model_id": truth.model_id,
                "horizon": truth.horizon,
                "as_of_ns": truth.as_of_ns,
                "seq": seq,
                "active": truth.active,
                "close_e5": truth.close_e5,
                "point_e5": truth.point_e5,
                "sigma_e5": truth.sigma_e5,
                "actual_e5": truth.actual_e5,
                "level_ppm": band.level_ppm if band else None,
                "lower_e5": band.lower_e5 if band and bounded else None,
                "upper_e5": band.upper_e5 if band and bounded else None,
                "covered": truth.covered[0] if truth.covered else None,
                "bands": msgspec.json.encode([msgspec.structs.asdict(each) for each in truth.bands]).decode(),
                "resolved_ns": truth.ts_init_ns,
            }
        )

    def _on_refused(self, seq: int, refusal: IntentRefused) -> None:
        self._refusals.append(
            {
                "run_id": self._run_id,
                "seq": seq,
                "intent_id": refusal.intent_id,
                "strategy": refusal.strategy,
                "symbol": refusal.symbol,
                "rule": refusal.rule,
                "limit_text": refusal.limit,
                "value_text": refusal.value,
                "would_pass": refusal.would_pass,
                "ts_ns": refusal.ts_init_ns,
            }
        )

    def _on_latched(self, seq: int, halt: HaltLatched) -> None:
        self._insert(
            halts,
            seq=seq,
            level=int(halt.level),
            rule=halt.rule,
            limit_text=halt.limit,
            value_text=halt.value,
            reason=halt.reason,
            latched_ns=halt.ts_init_ns,
            lifted_by="",
            lift_reason="",
        )

    def _on_lifted(self, _: int, lifted: HaltLifted) -> None:
        self._connection.execute(
            update(halts)
            .where(halts.c.run_id == self._run_id, halts.c.lifted_ns.is_(None))
            .values(lifted_ns=lifted.ts_init_ns, lifted_by=lifted.operator, lift_reason=lifted.reason)
        )
