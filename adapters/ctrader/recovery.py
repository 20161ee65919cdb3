"""How an account begins, and how it recovers what it missed; `account` tells the theory. No I/O.

One file past 400 lines: the first state and every later one are found in the same way, from the same lists.
"""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

from adapters.ctrader.checks import check_cash, check_order, check_position, check_trader
from adapters.ctrader.fold import Fold, apply
from adapters.ctrader.holdings import Dealt, Holding, KnownOrder, dealt, dealt_before
from adapters.ctrader.messages import model
from adapters.ctrader.orders import Holder
from adapters.ctrader.state import Told, remember
from adapters.ctrader.symbols import Specification
from adapters.ctrader.wire import digits_of, money_of, ns_of, optional_price_e5, price_e5_of, side_of, time_of
from bus.messages import (
    AccountSnapshot,
    AmendProtection,
    BalanceMoved,
    ForeignChanged,
    Message,
    OrderAccepted,
    OrderCancelled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderState,
    PositionState,
    ProtectionChanged,
    Quote,
    SubmitOrder,
    SwapCharged,
)
from bus.values import NS_PER_MS, OrderType

_Moves = list[tuple[int, int, Any]]
_MOST_MOVES = 100
_NETTED, _MARKET = 1, 1
_DAY_MS = 86_400_000
"""How far the server's clock may be from ours. What happened longer ago than this before all met is known."""
_ORDER_TYPE = {1: OrderType.MARKET, 2: OrderType.LIMIT, 3: OrderType.STOP, 5: OrderType.MARKET, 6: OrderType.STOP_LIMIT}
_KIND = {OrderType.MARKET: 1, OrderType.LIMIT: 2, OrderType.STOP: 3, OrderType.STOP_LIMIT: 6}


class Recovery(Fold):
    """Snapshots and histories of one account; see `account.Account`, which is the way in."""

    def __init__(
        self,
        holder: Holder,
        specifications: Mapping[int, Specification],
        quotes: Mapping[str, Quote],
        *,
        currency: str,
        adopt: bool = False,
    ) -> None:
        super().__init__(holder, specifications, quotes, currency=currency, adopt=adopt)
        self.history_from_ms = 0
        self.resumed = False
        self._symbol_ids = {entry.instrument.symbol: number for number, entry in specifications.items()}
        self._unit_known = False
        self._cash: OrderedDict[int, None] = OrderedDict()
        self._newest_ms = 0
        self._queued: dict[int, Holding] = {}
        self._unexplained: dict[int, None] = {}

    def trader_updated(self, trader: Any) -> None:
        """Take a `ProtoOATrader`; an older balance than the one known is passed over.

        Raises:
            DataError: an impossible value; nothing of it is taken.
        """
        # The unit in which an account is kept is told once; a message in another one is converted like any other.
        digits = self.money_digits if self._unit_known else digits_of(trader)
        check_trader(trader, digits)
        self.money_digits, self._unit_known = digits, True
        self.valuation.money_digits = digits
        self.valuation.trader(trader)
        if not trader.HasField("balanceVersion") or trader.balanceVersion >= self._balance_version:
            self.balance = money_of(trader, "balance", self.money_digits)
            self._balance_version = max(self._balance_version, trader.balanceVersion)

    def _held(self, position_id: str) -> Holding | None:
        return self._holdings.get(int(position_id)) if position_id.isdecimal() else None

    # --- snapshots ---------------------------------------------------------------------------------------------

    def begin(self, trader: Any, reconcile: Any, earlier_deals: Iterable[Any], now_ns: int) -> list[Told]:
        """Take the first state of a fresh book: everything is as the venue says, and no deal before it is told.

        Args:
            trader: `ProtoOATrader`.
            reconcile: `ProtoOAReconcileRes`.
            earlier_deals: deals that were listed before the reconcile was asked for.
            now_ns: UTC nanoseconds.

        Raises:
            DataError: an impossible value; begin anew.
        """
        self.trader_updated(trader)
        self._check(reconcile.position, reconcile.order)
        earlier = [(time_of(deal, "executionTimestamp"), deal.dealId) for deal in earlier_deals]
        self._begun_version = self._balance_version
        for ts_ms, deal_id in earlier:
            self._begun_ms = max(self._begun_ms, ts_ms)
            self._know(deal_id)
        for position in reconcile.position:
            self._begun_ms = max(self._begun_ms, position.utcLastUpdateTimestamp, position.tradeData.openTimestamp)
        self._newest_ms = max(self._begun_ms, now_ns // NS_PER_MS - _DAY_MS)
        for entity in reconcile.order:
            order, _ = self._learn_order(entity, "")
            order.filled_e2 = entity.executedVolume
            if order.client_order_id and not order.closing:
                remember(self._accepted, order.client_order_id, None)
        return self._settle(trader, reconcile, now_ns, rebase=True)

    def recover(
        self,
        deals: Iterable[Any],
        orders: Iterable[Any],
        trader: Any,
        reconcile: Any,
        now_ns: int,
        *,
        cash: Iterable[Any] = (),
        final: bool = False,
    ) -> list[Told]:
        """Tell what was missed, then how things stand. Running it again tells nothing but the snapshot.

        Args:
            deals: `ProtoOADeal`s since `history_from_ms`, of all pages.
            orders: `ProtoOAOrder`s since then, and those asked for as `unexplained`.
            trader: `ProtoOATrader`, asked for after the lists.
            reconcile: `ProtoOAReconcileRes`, asked for after the lists.
            now_ns: UTC nanoseconds.
            cash: `ProtoOADepositWithdraw`s since then, asked for before the trader; what explains the balance is told.
            final: tell the snapshot even where the figures do not meet.

        Raises:
            DataError: an impossible value; nothing was told, ask again.
        """
        check_trader(trader, self.money_digits)
        orders = list(orders)
        self._check(reconcile.position, (*orders, *reconcile.order))
        read = [entry for entry in (dealt(deal, self.money_digits) for deal in deals) if entry is not None]
        moves = [(check_cash(entry, self.money_digits), entry.balanceHistoryId, entry) for entry in cash]
        moves.sort(key=lambda move: move[:2])
        for position in reconcile.position:
            self._learn_position(position)
        listed = sorted(orders, key=lambda entry: (entry.utcLastUpdateTimestamp, entry.orderId))
        known = [(entity, *self._learn_order(entity, "")) for entity in (*listed, *reconcile.order)]
        for _, order, _ in known:
            self._unexplained.pop(order.order_id, None)
        self._queue(read)
        self.needs_recovery = False
        told: list[Told] = []
        # Across positions too, so that balances follow one another.
        queued = ((deal.ts_ms, deal.deal_id, held) for held in self._holdings.values() for deal, _ in held.waiting)
        for ts_ms, _, at in sorted(queued, key=lambda entry: entry[:2]):
            deal = at.waiting[0][0]
            if final or deal.order_id in self._orders:
                if deal.closed_e2:
                    before = bisect_right(moves, ts_ms, key=lambda move: move[0])
                    told += self._explained_by_cash(deal.balance - deal.booked, moves, before, now_ns)
                told += self._tell_next(at, now_ns)
            else:
                self.needs_recovery = True
        self._queued = {held.position_id: held for held in self._holdings.values() if held.waiting}
        for entity, order, held in known:
            if not order.ended and not (order.protective and (held is None or not held.volume_e2)):
                told += self._order_stands(order, held, entity.orderStatus, entity, "", now_ns)
        if not (trader.HasField("balanceVersion") and trader.balanceVersion < self._balance_version):
            balance = money_of(trader, "balance", self.money_digits)
            told += self._explained_by_cash(balance, moves, len(moves), now_ns)
        return told + self._settle(trader, reconcile, now_ns, rebase=final)

    def _explained_by_cash(self, balance: int, moves: _Moves, before: int, now_ns: int) -> list[Told]:
        """Tell the newest movements of cash that add up to what a balance and the one before it leave open; else none.

        Looked at are those before a row, newest first, as many as may lie between two deals. The balance is the
        evidence, not a time: clocks differ, and what came before this run is in its first snapshot.
        """
        missing = balance - self.balance
        found: list[BalanceMoved] = []
        for _, number, entry in reversed(moves[max(0, before - _MOST_MOVES) : before]):
            if not missing:
                break
            if number in self._cash:
                continue
            delta = abs(money_of(entry, "delta", self.money_digits))
            if "WITHDRAW" in model.ProtoOAChangeBalanceType.Name(entry.operationType):
                delta = -delta
            found.insert(0, self._moved(entry, delta, balance, now_ns))
            missing, balance = missing - delta, balance - delta
        if missing or not found:
            return []
        for fact in found:
            remember(self._cash, int(fact.move_id.removeprefix("cash-")), None)
        self.balance = found[-1].balance
        return list(found)

    def _moved(self, entry: Any, delta: int, balance: int, now_ns: int) -> BalanceMoved:
        return BalanceMoved(
            move_id=f"cash-{entry.balanceHistoryId}",
            cause="cash",
            delta=delta,
            balance=balance,
            ts_event_ns=ns_of(entry.changeBalanceTimestamp),
            ts_init_ns=now_ns,
        )

    def _check(self, positions: Iterable[Any], orders: Iterable[Any]) -> None:
        for position in positions:
            check_position(position, self.money_digits)
        for order in orders:
            check_order(order)

    def _tell_next(self, held: Holding, now_ns: int) -> list[Told]:
        deal = held.next_waiting()
        self._newest_ms = max(self._newest_ms, deal.ts_ms)
        return self._tell(held, deal, now_ns)

    def _queue(self, read: list[Dealt]) -> None:
        # A position that was closed before we began is no business of ours, its opening deals included.
        over = {
            entry.position_id: entry.ts_ms
            for entry in read
            if entry.closed_e2 and 0 < entry.balance_version <= self._begun_version
        }
        for entry in sorted(read, key=lambda entry: (entry.ts_ms, entry.deal_id)):
            if entry.position_id not in self._holdings and entry.ts_ms <= over.get(entry.position_id, 0):
                self._know(entry.deal_id)
            elif not self._contained(entry):
                side = entry.side.opposite if entry.closed_e2 else entry.side
                self._hold(entry.position_id, entry.symbol_id, side).wait(entry, None)

    def _settle(self, trader: Any, reconcile: Any, now_ns: int, *, rebase: bool) -> list[Told]:
        """Compare what is held with what the venue holds, and tell the snapshot if they meet (or if it must be)."""
        stale = trader.HasField("balanceVersion") and trader.balanceVersion < self._balance_version
        if stale and rebase:
            # Versions only grow, so what claimed a later one was wrong; deals passed over for its sake are heard again.
            self._balance_version = trader.balanceVersion
            self._begun_version = min(self._begun_version, trader.balanceVersion)
        self.trader_updated(trader)
        meets, told = not stale, list[Told]()
        theirs = {entry.positionId: entry for entry in reconcile.position if entry.tradeData.volume > 0}
        self.valuation.reconciled(theirs.values())
        for position in theirs.values():
            held, data = self._learn_position(position), position.tradeData
            side = side_of(data.tradeSide)
            if (held.volume_e2, held.side) != (data.volume, side) and rebase:
                self._rebase(held, data.volume, side, position.price, position.utcLastUpdateTimestamp)
                held.swap = money_of(position, "swap", self.money_digits)
                held.wait_no_more()
            meets &= (held.volume_e2, held.side) == (data.volume, side)
            told += self._reconciled(held, position, now_ns, quiet=rebase)
            if not held.ours:
                told += self._foreign_position(held, now_ns)
        for held in self._holdings.values():
            if held.position_id in theirs:
                continue
            if held.volume_e2 and rebase:
                held.close(held.volume_e2, held.swap)
            meets &= not held.volume_e2
            if not held.ours:
                told += self._foreign_position(held, now_ns)
        meets &= self._orders_meet(reconcile, rebase=rebase)
        if not (meets or rebase):
            self.needs_recovery = True
            return told
        if not self.needs_recovery:
            # What says that it comes later than now may be wrong, and nothing would be found after it.
            now_ms = now_ns // NS_PER_MS
            self.history_from_ms = max(min(self._newest_ms, now_ms), now_ms - _DAY_MS)
        return [*told, self._snapshot(trader, theirs, reconcile, now_ns)]

    def _reconciled(self, held: Holding, position: Any, now_ns: int, *, quiet: bool) -> list[Told]:
        stop_e5, target_e5 = optional_price_e5(position, "stopLoss"), optional_price_e5(position, "takeProfit")
        if held.trails and position.trailingStopLoss and stop_e5 != held.stop_loss_e5:
            held.trailed = True
        ts_ms = max(position.utcLastUpdateTimestamp, held.levels_ms)
        told = self._levels(held, stop_e5, target_e5, ts_ms, now_ns, trails=position.trailingStopLoss)
        told += self._swap(held, position, now_ns)
        return [] if quiet and not self._deals else told

    def _orders_meet(self, reconcile: Any, *, rebase: bool) -> bool:
        """Orders of ours that rest here and no longer there ended unseen: ask how."""
        resting = {entity.orderId for entity in reconcile.order}
        self._unexplained.clear()
        for order in self._orders.values():
            mine = order.client_order_id and not order.ended and not order.protective and order.kind != _MARKET
            if mine and order.order_id not in resting:
                order.ended = rebase
                if not rebase:
                    self._unexplained[order.order_id] = None
        return not self._unexplained

    def _snapshot(self, trader: Any, theirs: Mapping[int, Any], reconcile: Any, now_ns: int) -> AccountSnapshot:
        positions = [
            self._position_state(held, theirs[held.position_id])
            for held in self._holdings.values()
            if held.ours and held.position_id in theirs
        ]
        orders = [
            OrderState(
                client_order_id=order.client_order_id,
                order_id=str(order.order_id),
                symbol=self._symbol(order.symbol_id),
                side=order.side,
                order_type=_ORDER_TYPE[order.kind],
                volume_e2=order.volume_e2,
                filled_e2=entity.executedVolume,
            )
            for entity in reconcile.order
            if (order := self._orders.get(entity.orderId)) and order.client_order_id and order.kind in _ORDER_TYPE
        ]
        return AccountSnapshot(
            account_id=str(self._holder.account_id),
            currency=self._currency,
            money_digits=self.money_digits,
            hedged=trader.accountType != _NETTED,
            leverage=trader.leverageInCents // 100,
            balance=self.balance,
            positions=tuple(positions),
            orders=tuple(orders),
            ts_event_ns=now_ns,
            ts_init_ns=now_ns,
            deals_until_ns=self._begun_ms * NS_PER_MS,
            balance_version=self._balance_version,
        )

    def _position_state(self, held: Holding, position: Any) -> PositionState:
        return PositionState(
            position_id=str(held.position_id),
            symbol=self._symbol(held.symbol_id),
            side=held.side,
            volume_e2=held.volume_e2,
            price_e5=price_e5_of(position.price),
            stop_loss_e5=held.stop_loss_e5,
            take_profit_e5=held.take_profit_e5,
            commission=money_of(position, "commission", self.money_digits),
            swap=held.swap,
            client_order_id=held.client_order_id,
            ts_open_ns=ns_of(position.tradeData.openTimestamp),
        )

    # --- an earlier life ---------------------------------------------------------------------------------------

    def resume(self, message: Message) -> None:
        """Take up what an earlier life of this process sent and told, one message of its journal after the other.

        Afterwards call `recover`, not `begin`.
        """
        if isinstance(message, SubmitOrder):
            remember(self._commands, message.client_order_id, message)
        elif isinstance(message, OrderAccepted):
            remember(self._accepted, message.client_order_id, None)
            command = self._commands.get(message.client_order_id)
            if command is not None and message.order_id.isdecimal():
                self._resume_order(command, int(message.order_id))
        elif isinstance(message, OrderFilled):
            self._resume_deal(message)
        elif isinstance(message, OrderCancelled | OrderExpired | OrderRejected):
            order = self._orders.get(self._order_ids.get(message.client_order_id, 0))
            if order is not None and not isinstance(message, OrderRejected):
                order.ended = True
                remember(self._ended, message.client_order_id, None)
        elif isinstance(message, ProtectionChanged | SwapCharged | AmendProtection):
            held = self._held(message.position_id)
            if held is not None:
                _resume_position(held, message)
        elif isinstance(message, AccountSnapshot):
            self._resume_snapshot(message)
        elif isinstance(message, BalanceMoved):
            self._resume_moved(message)
        elif isinstance(message, ForeignChanged):
            self._resume_foreign(message)

    def _resume_order(self, command: SubmitOrder, order_id: int) -> None:
        order = KnownOrder(
            order_id=order_id,
            symbol_id=self._symbol_ids.get(command.symbol, 0),
            side=command.side,
            kind=_KIND[command.order_type],
            volume_e2=command.volume_e2,
            client_order_id=command.client_order_id,
            closing=bool(command.position_id),
        )
        remember(self._orders, order_id, order)
        remember(self._order_ids, command.client_order_id, order_id)

    def _resume_deal(self, fact: OrderFilled) -> None:
        if fact.deal_id in self._deals:
            return
        deal = dealt_before(fact, self._symbol_ids.get(fact.symbol, 0))
        remember(self._deals, fact.deal_id, None)
        self._newest_ms = max(self._newest_ms, deal.ts_ms)
        self.history_from_ms = self.history_from_ms or deal.ts_ms
        held = self._hold(deal.position_id, deal.symbol_id, deal.side.opposite if fact.closing else deal.side)
        held.ours = True
        if not fact.closing:
            held.client_order_id = held.client_order_id or fact.client_order_id
        apply(held, deal)
        self.balance = fact.balance
        order = self._orders.get(deal.order_id)
        if order is not None:
            order.filled_e2 += deal.volume_e2
            order.ended = order.ended or fact.order_done

    def _resume_moved(self, fact: BalanceMoved) -> None:
        self.balance = fact.balance
        kind, _, number = fact.move_id.partition("-")
        if kind == "cash":
            remember(self._cash, int(number), None)
        elif kind == "deal":
            self._know(int(number))

    def _resume_foreign(self, fact: ForeignChanged) -> None:
        state = (int(fact.side), fact.volume_e2, fact.price_e5, fact.charges)
        remember(self._foreign, f"{fact.kind} {fact.subject}", state)
        if fact.kind != "position":
            return
        held = self._hold(int(fact.subject), self._symbol_ids.get(fact.symbol, 0), fact.side)
        held.label, held.charges = fact.label, fact.charges
        ts_ms = max(held.resumed_ms, fact.ts_event_ns // NS_PER_MS)
        held.dealt_ms = ts_ms
        held.close(held.volume_e2, held.swap)
        if fact.volume_e2:  # otherwise it is gone, or ours: deals of the same moment are known by their ids
            held.resumed_ms = ts_ms
            held.open(fact.side, fact.volume_e2, fact.price_e5)

    def _resume_snapshot(self, snapshot: AccountSnapshot) -> None:
        """The first one made the book; a later one is the state from which deals may be missing."""
        first, self.resumed = not self.resumed, True
        self.balance, self.money_digits, self._unit_known = snapshot.balance, snapshot.money_digits, True
        self._balance_version = snapshot.balance_version
        self.valuation.money_digits = snapshot.money_digits
        self.history_from_ms = max(self._newest_ms, snapshot.ts_event_ns // NS_PER_MS - _DAY_MS)
        if not first:
            return
        self._begun_ms, self._begun_version = snapshot.deals_until_ns // NS_PER_MS, snapshot.balance_version
        for state in snapshot.positions:
            held = self._hold(int(state.position_id), self._symbol_ids.get(state.symbol, 0), state.side)
            held.ours, held.client_order_id, held.swap = True, state.client_order_id, state.swap
            held.open(state.side, state.volume_e2, state.price_e5)
            held.stop_loss_e5, held.take_profit_e5 = state.stop_loss_e5, state.take_profit_e5
            held.told_levels = (state.stop_loss_e5, state.take_profit_e5, 0)


def _resume_position(held: Holding, message: ProtectionChanged | SwapCharged | AmendProtection) -> None:
    if isinstance(message, SwapCharged):
        held.swap += message.amount
    elif isinstance(message, AmendProtection):
        held.wanted_trailing_e5 = message.trailing_e5
    else:
        held.stop_loss_e5, held.take_profit_e5 = message.stop_loss_e5, message.take_profit_e5
        held.trailing_e5, held.trails = message.trailing_e5, message.trailing_e5 > 0
        held.told_levels = (message.stop_loss_e5, message.take_profit_e5, message.trailing_e5)
        held.levels_ms = message.ts_event_ns // NS_PER_MS
