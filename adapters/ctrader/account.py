"""What the broker tells about one account, folded into facts. No I/O; time is an argument.

Theory of operation. Events, order and deal lists and reconciles all end in the same three folds (`fold.Fold`): of an
order, of a position's levels, of a deal. A deal is known by its id and told once, by whichever path it comes first, in
the order of execution within its position: a deal whose event does not fit what is known waits, `needs_recovery` says
so, and the next `recover` tells all that was missed. A position is ours if its label is, or once an order of ours has
touched it; everything else is told as `ForeignChanged`, its closing deals as `BalanceMoved`. A close carries no id of
ours, so the caller says which command an event answers; where the answer was lost, the close that is of unknown outcome
takes the deal.

Recovery. The caller asks, one after the other: deals and orders since `history_from_ms`, the trader, the reconcile
(protective orders included), and passes all four to `recover`. If the figures do not meet, something happened in
between: no snapshot comes, `needs_recovery` stays, and it asks again; `final` ends that, and the snapshot then says
what the venue says. `unexplained` lists orders whose details it should add in the next round.
"""

from typing import Any

from adapters.ctrader.checks import check_cash, check_order, check_position
from adapters.ctrader.fold import ACCEPTED, CANCELLED, EXPIRED, REJECTED
from adapters.ctrader.holdings import After, Dealt, Holding, KnownOrder, dealt
from adapters.ctrader.money import Figures
from adapters.ctrader.orders import Protected, Refusal
from adapters.ctrader.recovery import Recovery
from adapters.ctrader.state import Told, remember
from adapters.ctrader.wire import money_of, price_e5_of, side_of, time_of, words
from bus.messages import AmendProtection, CancelOrder, OrderRejected, OrderUnknown, SubmitOrder, VenueCommand
from bus.values import PRICE_SCALE, Side

__all__ = ["Account", "Told"]

MOST_WAITING = 100
"""Positions that may wait for a missed deal, and deals that may wait in one, before all of them are left to history."""

MOST_UNEXPLAINED = 50
_STATUS_OF_EXECUTION = {2: ACCEPTED, 4: ACCEPTED, 5: CANCELLED, 6: EXPIRED, 7: REJECTED}
_CANCEL_REJECTED, _SWAP = 8, 9
_ORDER_GONE = frozenset({"ORDER_NOT_FOUND", "ENTITY_NOT_FOUND"})
_POSITION_GONE = frozenset(
    {"POSITION_NOT_FOUND", "POSITION_NOT_OPEN", "POSITION_NOT_FOUND_OR_NOT_OPENED", "ALREADY_CLOSED"}
)


class Account(Recovery):
    """One account as its broker tells it.

    Args:
        holder: who we are; its label decides what is ours.
        specifications: by symbolId.
        quotes: the last quote of each symbol, shared with `wire.Spots`; fills carry its sides.
        currency: the deposit asset.
        adopt: whether everything on the account counts as ours.

    Attributes:
        money_digits: decimals of the account's smallest unit.
        balance: the newest that is known, by the balance's own version.
        needs_recovery: something was missed; ask for history and a reconcile.
        history_from_ms: since when deals and orders are to be asked for, 0 = nothing known yet.
        valuation: what its positions are worth and what orders cost, in the broker's figures.
        resumed: whether an earlier life had a first state, so that `recover` is what comes next.
    """

    # --- what the shell asks -----------------------------------------------------------------------------------

    def order_id_of(self, client_order_id: str) -> int | None:
        """The broker's id of an order of ours that may still rest."""
        order = self._orders.get(self._order_ids.get(client_order_id, 0))
        return order.order_id if order is not None and not order.ended else None

    def protected(self, position_id: str) -> Protected | Refusal:
        """A position of ours as it is now, or why it may not be touched."""
        held = self._held(position_id)
        if held is None or not held.volume_e2:
            return Refusal(code="POSITION_NOT_FOUND", text=f"position {position_id} is not open")
        if not held.ours:
            return Refusal(code="POSITION_NOT_FOUND", text=f"position {position_id} is not ours; it is never touched")
        return held.protected()

    def knows(self, client_order_id: str) -> bool:
        """Whether an order of this name was sent before."""
        return client_order_id in self._commands

    @property
    def in_doubt(self) -> bool:
        """Whether the outcome of an order is unknown."""
        return bool(self._unknown)

    def average(self, position_id: str) -> tuple[int, int] | None:
        """Volume and average entry of an open position, ours or not."""
        held = self._held(position_id)
        return (held.volume_e2, held.price_e5) if held is not None and held.volume_e2 else None

    @property
    def unexplained(self) -> tuple[int, ...]:
        """Orders whose details are needed: those of waiting deals, and ours that vanished without a word.

        At most MOST_UNEXPLAINED: each costs a request, and more of them can be asked for in the next round.
        """
        waiting = [deal.order_id for held in self._holdings.values() for deal, _ in held.waiting]
        strange = [number for number in waiting if number not in self._orders]
        return tuple(dict.fromkeys([*strange, *self._unexplained]))[:MOST_UNEXPLAINED]

    def figures(self) -> Figures:
        """Balance, equity, used and free margin now, as the broker counts them.

        Raises:
            DataError: the price of an open position is not known.
        """
        return self.valuation.figures(self.balance)

    def open_against_e2(self, symbol: str, side: Side) -> int:
        """Volume, ours or not, that an order of a side would take away from first on a netted account."""
        return sum(
            held.volume_e2
            for held in self._holdings.values()
            if held.side is side.opposite and self._symbol(held.symbol_id) == symbol
        )

    def foreign_volume_e2(self) -> dict[str, tuple[int, int]]:
        """Long and short volume of positions that are not ours, by symbol, for limits."""
        sides: dict[str, list[int]] = {}
        for held in self._holdings.values():
            if held.volume_e2 and not held.ours:
                sides.setdefault(self._symbol(held.symbol_id), [0, 0])[held.side < 0] += held.volume_e2
        return {symbol: (long, short) for symbol, (long, short) in sides.items()}

    # --- what we do --------------------------------------------------------------------------------------------

    def sent(self, command: VenueCommand) -> None:
        """Note a command that leaves now."""
        if isinstance(command, SubmitOrder):
            remember(self._commands, command.client_order_id, command)
        elif isinstance(command, AmendProtection):
            held = self._held(command.position_id)
            if held is not None:
                held.wanted_trailing_e5 = command.trailing_e5

    def unknown(self, command: VenueCommand, now_ns: int) -> list[Told]:
        """A command was written and its answer will not come on this connection."""
        self.needs_recovery = True
        if isinstance(command, AmendProtection):
            return []
        if isinstance(command, SubmitOrder):
            if command.client_order_id in self._accepted:
                return []
            remember(self._unknown, command.client_order_id, None)
        return [OrderUnknown(client_order_id=command.client_order_id, symbol=command.symbol, ts_init_ns=now_ns)]

    def refused(self, command: VenueCommand, code: str, text: str, now_ns: int) -> list[Told]:
        """The venue refused a command (`ProtoOAOrderErrorEvent`, `ProtoOAErrorRes`), or we did before sending."""
        if isinstance(command, AmendProtection):
            name, text = "", f"{command.position_id}: {text}"
        else:
            name = command.client_order_id
        if isinstance(command, CancelOrder) and code in _ORDER_GONE:
            code = "ORDER_NOT_FOUND"
        if code in _POSITION_GONE or (isinstance(command, CancelOrder) and self.order_id_of(name) is not None):
            self.needs_recovery = True  # we believed that it was there
        if isinstance(command, SubmitOrder):
            self._unknown.pop(name, None)
            if name in self._ended:
                return []  # the event that refused it was told
            remember(self._ended, name, None)
        return [
            OrderRejected(
                client_order_id=name,
                symbol=command.symbol,
                code=words(code.upper()),
                text=words(text),
                ts_event_ns=now_ns,
                ts_init_ns=now_ns,
            )
        ]

    def order_error(self, event: Any, command: VenueCommand | None, now_ns: int) -> list[Told]:
        """Take a `ProtoOAOrderErrorEvent`, whose ids may be 0: `command` is what its clientMsgId belongs to."""
        if command is not None:
            return self.refused(command, event.errorCode, event.description, now_ns)
        order = self._orders.get(event.orderId)
        if order is not None and order.client_order_id:
            self.needs_recovery = True  # some command about an order of ours failed, and nothing says which
        return []

    # --- what the venue tells ----------------------------------------------------------------------------------

    def execution(self, event: Any, now_ns: int, answering: str = "") -> list[Told]:
        """Take a `ProtoOAExecutionEvent`.

        Args:
            event: in any order, any number of times.
            now_ns: UTC nanoseconds.
            answering: client order id of the command whose clientMsgId it carries, empty = none of ours.

        Raises:
            DataError: an impossible value; nothing of the event was taken. Drop it and recover.
        """
        if event.HasField("depositWithdraw"):
            return self._cash_moved(event.depositWithdraw, now_ns)
        position = event.position if event.HasField("position") else None
        if position is not None:
            check_position(position, self.money_digits)
        if event.HasField("order"):
            check_order(event.order)
        deal = dealt(event.deal, self.money_digits) if event.HasField("deal") else None
        held = self._learn_position(position) if position is not None else None
        if event.executionType == _SWAP and held is not None:
            return self._swap(held, position, now_ns)
        told: list[Told] = []
        order: KnownOrder | None = None
        if event.HasField("order"):
            order, held = self._learn_order(event.order, answering)
        if event.executionType == _CANCEL_REJECTED:
            return self._cancel_rejected(order, event.errorCode, now_ns)
        if event.HasField("deal"):
            self.valuation.converted(event.deal.symbolId, event.deal.closePositionDetail.quoteToDepositConversionRate)
            if deal is not None and not self._contained(deal):
                told += self._offer(deal, position, event.order.executedVolume, now_ns)
        elif position is not None and held is not None and held.volume_e2 != position.tradeData.volume:
            self.needs_recovery = True  # a deal came between that nobody told
        status = _STATUS_OF_EXECUTION.get(event.executionType, 0)
        if order is not None and status:
            gone = position is not None and not position.tradeData.volume
            if not (order.protective and gone):  # levels end with their position, without a word
                told += self._order_stands(order, held, status, event.order, event.errorCode, now_ns)
        return told

    def _offer(self, deal: Dealt, position: Any, filled_e2: int, now_ns: int) -> list[Told]:
        """Queue a deal that an event brought, and tell all that is next in its position."""
        after = None
        if position is not None:
            data = position.tradeData
            price_e5 = position.price * PRICE_SCALE if data.volume else 0.0
            after = After(
                side=side_of(data.tradeSide),
                volume_e2=data.volume,
                price_e5=price_e5,
                opened_ms=data.openTimestamp,
                order_filled_e2=filled_e2,
            )
        held = self._hold(deal.position_id, deal.symbol_id, deal.side.opposite if deal.closed_e2 else deal.side)
        if max(len(self._queued), len(held.waiting)) >= MOST_WAITING:  # history will tell them in order
            for entry in (held, *self._queued.values()):
                entry.wait_no_more()
            self._queued.clear()
            self.needs_recovery = True
        held.wait(deal, after)
        self._queued[held.position_id] = held
        told: list[Told] = []
        while (following := next((entry for entry in self._queued.values() if self._follows(entry)), None)) is not None:
            told += self._tell_next(following, now_ns)
            if not following.waiting:
                del self._queued[following.position_id]
        self.needs_recovery = self.needs_recovery or bool(self._queued)
        return told

    def _follows(self, held: Holding) -> bool:
        """Whether the first waiting deal of a position comes next, by its position and by the balance it left."""
        if not held.waiting:
            return False
        deal, after = held.waiting[0]
        # What turned a position and back left no trace in it, but it did in the balance's version.
        missed = deal.balance_version and deal.balance_version != self._balance_version + 1
        order = self._orders.get(deal.order_id)
        if order is not None and after is not None and after.order_filled_e2:
            missed = missed or order.filled_e2 + deal.volume_e2 != after.order_filled_e2
        return not missed and held.fits(deal, after)

    def _cancel_rejected(self, order: KnownOrder | None, code: str, now_ns: int) -> list[Told]:
        if order is None or not order.client_order_id:
            return []
        self.needs_recovery = True
        return [
            OrderRejected(
                client_order_id=order.client_order_id,
                symbol=self._symbol(order.symbol_id),
                code=words(code.upper()) or "UNABLE_TO_CANCEL_ORDER",
                text="the cancel was refused",
                ts_event_ns=now_ns,
                ts_init_ns=now_ns,
            )
        ]

    def _cash_moved(self, cash: Any, now_ns: int) -> list[Told]:
        if cash.balanceHistoryId in self._cash:
            return []
        check_cash(cash, self.money_digits)
        balance = money_of(cash, "balance", self.money_digits)
        remember(self._cash, cash.balanceHistoryId, None)
        if cash.HasField("balanceVersion") and cash.balanceVersion <= self._balance_version:
            return []
        if cash.HasField("balanceVersion") and cash.balanceVersion != self._balance_version + 1:
            del self._cash[cash.balanceHistoryId]  # a deal came between that nobody told; the history will tell both
            self.needs_recovery = True
            return []
        # Whether a withdrawal's delta is negative is not known; with nothing booked between, the balance says.
        moved = self._moved(cash, balance - self.balance, balance, now_ns)
        self.balance, self._balance_version = balance, max(self._balance_version, cash.balanceVersion)
        return [moved]

    def margin_changed(self, event: Any) -> None:
        """Take a `ProtoOAMarginChangedEvent`.

        Raises:
            DataError: an impossible value; nothing of the event was taken.
        """
        self.valuation.margin_changed(event)

    def trailing_moved(self, event: Any, now_ns: int) -> list[Told]:
        """Take a `ProtoOATrailingSLChangedEvent`.

        Raises:
            DataError: an impossible value; nothing of the event was taken.
        """
        stop_e5, ts_ms = price_e5_of(event.stopPrice), time_of(event, "utcLastUpdateTimestamp")
        held = self._holdings.get(event.positionId)
        if held is None:
            self.needs_recovery = True
            return []
        held.protection_id = held.protection_id or event.orderId
        order = self._orders.get(event.orderId)
        told = self._levels(held, stop_e5, held.take_profit_e5, ts_ms, now_ns, trails=True)
        if held.stop_loss_e5 == stop_e5:
            held.trailed = True
            if order is not None:
                order.stop_e5 = stop_e5
        return told
