"""The three folds of an account: of a deal, of an order, of a position's levels and swap. No I/O.

`account.Account` says how the broker's messages lead here. A deal is told once and in order within its position; what
is not ours is told as `ForeignChanged`, and what it does to the balance as `BalanceMoved`.
They stand together, a few lines past 400, because a fill moves all three.
"""

from fractions import Fraction
from typing import Any

import msgspec

from adapters.ctrader.holdings import Dealt, Holding, KnownOrder
from adapters.ctrader.state import REMEMBERED, State, Told, remember
from adapters.ctrader.wire import money_of, ns_of, words
from bus.messages import (
    BalanceMoved,
    ForeignChanged,
    OrderAccepted,
    OrderCancelled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    ProtectionChanged,
    SwapCharged,
)
from bus.values import Side

ACCEPTED, REJECTED, EXPIRED, CANCELLED = 1, 3, 4, 5
"""Order statuses as the wire numbers them; a filled order is told by its deals."""

_AT_ONCE = frozenset({1, 5})  # market orders never rest


class Fold(State):
    """Deals, orders and levels of one account; see `account.Account`, which is the way in."""

    # --- deals -------------------------------------------------------------------------------------------------

    def _know(self, deal_id: int) -> None:
        remember(self._deals, str(deal_id), None)
        remember(self._deals, f"{deal_id}+", None)

    def _contained(self, deal: Dealt) -> bool:
        """Whether a deal was told, or is part of the state that the book began with."""
        held = self._holdings.get(deal.position_id)
        return (
            all(name in self._deals for name, *_ in deal.parts())
            or (held is not None and deal.ts_ms <= held.resumed_ms)
            or deal.ts_ms <= self._begun_ms
            or 0 < deal.balance_version <= self._begun_version
        )

    def _tell(self, held: Holding, deal: Dealt, now_ns: int) -> list[Told]:
        """Fold one deal, which is the next of its position."""
        order = self._orders.get(deal.order_id)
        held.dealt_ms = max(held.dealt_ms, deal.ts_ms)
        if deal.closed_e2 and deal.opened_e2 and str(deal.deal_id) in self._deals:
            deal = deal.rest()
        opposes = held.volume_e2 > 0 and deal.side is not held.side
        if opposes and not deal.closed_e2:
            # Nobody has recorded a netted account; a reduction that brings no figures is told without them.
            self.needs_recovery = True
            deal = msgspec.structs.replace(deal, closed_e2=min(deal.volume_e2, held.volume_e2), balance=self.balance)
        if deal.closed_e2 and (not opposes or deal.closed_e2 > held.volume_e2):
            self._know(deal.deal_id)
            self.needs_recovery = True  # it closes what is not there: the reconcile will say what is
            return []
        told: list[Told] = []
        foreign = not held.ours and (order is None or not order.client_order_id)
        if not held.ours and not foreign:
            told += self._adopt_position(held, now_ns)  # tells what came before this deal, with the balance of then
        if deal.closed_e2 and deal.balance_version >= self._balance_version:
            self.balance, self._balance_version = deal.balance, deal.balance_version
        if not foreign:
            return told + self._facts(held, deal, order, now_ns)
        if order is not None:
            order.filled_e2 += deal.volume_e2
            order.ended = order.filled_e2 >= order.volume_e2
        return self._foreign_deal(held, deal, now_ns)

    def _foreign_deal(self, held: Holding, deal: Dealt, now_ns: int) -> list[Told]:
        """Somebody else's deal: it changes a position that counts, and a closing one the balance.

        The smaller equity is told first, so that none is ever seen that never was.
        """
        self._know(deal.deal_id)
        if len(held.strange) < REMEMBERED:  # with more, `_adopt_position` finds that they do not add up
            held.strange.append(deal)
        apply(held, deal)
        if not held.volume_e2:
            held.strange.clear()
        told = self._foreign_position(held, now_ns)
        if not deal.closed_e2:
            return told
        moved = BalanceMoved(
            move_id=f"deal-{deal.deal_id}",
            cause="foreign",
            delta=deal.booked,
            balance=deal.balance,
            ts_event_ns=ns_of(deal.ts_ms),
            ts_init_ns=now_ns,
        )
        return [moved, *told] if deal.booked < 0 else [*told, moved]

    def _adopt_position(self, held: Holding, now_ns: int) -> list[Told]:
        """An order of ours touches somebody's position (netted accounts): from now on it is ours with all its deals."""
        held.ours = True
        last = self._foreign.get(f"position {held.position_id}")
        gone = self._foreign_position(msgspec.structs.replace(held, volume_e2=0), now_ns)
        trial = Holding(position_id=0, symbol_id=0, side=held.side)
        for deal in held.strange:
            apply(trial, deal)
        if (trial.volume_e2, trial.cost_e5) != (held.volume_e2, held.cost_e5):
            # What it has been charged may have grown by the very deal that is told next.
            return [*gone, self._adopted_whole(held, last[3] if last else held.charges, now_ns)]
        strange, held.strange = held.strange, []
        booked = sum(deal.booked for deal in strange if deal.closed_e2)
        if booked:  # the balance was told of it; the deals tell it once more, as ours
            back = BalanceMoved(
                move_id=f"adopted-{strange[0].deal_id}",
                cause="foreign",
                delta=-booked,
                balance=self.balance - booked,
                ts_event_ns=ns_of(strange[-1].ts_ms),
                ts_init_ns=now_ns,
            )
            gone.append(back)
        for deal in strange:
            for name, *_ in deal.parts():
                self._deals.pop(name, None)
        held.volume_e2, held.cost_e5 = 0, Fraction(0)
        return [*gone, *(fact for deal in strange for fact in self._facts(held, deal, None, now_ns))]

    def _adopted_whole(self, held: Holding, charges: int, now_ns: int) -> OrderFilled:
        """A position whose deals nobody here has seen (they came before this run, or a crash), told as one."""
        held.strange = []
        quote = self._quotes.get(self._symbol(held.symbol_id))
        return OrderFilled(
            deal_id=f"adopted-{held.position_id}-{now_ns}",
            client_order_id="",
            order_id="",
            position_id=str(held.position_id),
            symbol=self._symbol(held.symbol_id),
            side=held.side,
            volume_e2=held.volume_e2,
            price_e5=held.price_e5,
            closing=False,
            cause="order",
            remaining_e2=held.volume_e2,
            commission=charges,
            gross_profit=0,
            booked_commission=0,
            booked_swap=0,
            conversion_fee=0,
            balance=self.balance,
            bid_e5=quote.bid_e5 if quote is not None else held.price_e5,
            ask_e5=quote.ask_e5 if quote is not None else held.price_e5,
            ts_event_ns=now_ns,
            ts_init_ns=now_ns,
        )

    def _facts(self, held: Holding, deal: Dealt, order: KnownOrder | None, now_ns: int) -> list[Told]:
        symbol, ts_ns = self._symbol(deal.symbol_id), ns_of(deal.ts_ms)
        name, cause, level_e5 = self._take_unknown_close(held, order, deal), "order", 0
        if order is not None and order.stop_out:
            name, cause = held.client_order_id, "stop_out"
        elif deal.closed_e2 and ((order is not None and order.protective) or deal.order_id == held.protection_id):
            stop_e5 = (order.stop_e5 if order is not None else 0) or held.stop_loss_e5
            target_e5 = (order.limit_e5 if order is not None else 0) or held.take_profit_e5
            name = held.client_order_id
            cause, level_e5 = held.cause_of(deal.price_e5, stop_e5, target_e5)
        told: list[Told] = []
        if cause == "order" and name:
            told += self._accept(name, deal.order_id, symbol, ts_ns, now_ns)
            if not held.client_order_id and deal.opened_e2:
                held.client_order_id = name
        done = deal.done
        if order is not None:
            order.filled_e2 += deal.volume_e2
            done = order.filled_e2 >= order.volume_e2
            order.ended = order.ended or done
        quote = self._quotes.get(symbol)
        parts = deal.parts()
        for row, (fact_id, closing, volume_e2, commission) in enumerate(parts):
            if closing:
                held.close(volume_e2, deal.booked_swap)
            else:
                held.open(deal.side, volume_e2, deal.price_e5)
            if fact_id in self._deals:
                continue
            remember(self._deals, fact_id, None)
            told.append(
                OrderFilled(
                    deal_id=fact_id,
                    client_order_id=name,
                    order_id=str(deal.order_id),
                    position_id=str(held.position_id),
                    symbol=symbol,
                    side=deal.side,
                    volume_e2=volume_e2,
                    price_e5=deal.price_e5,
                    closing=closing,
                    cause=cause,
                    remaining_e2=held.volume_e2,
                    commission=commission,
                    gross_profit=deal.gross_profit if closing else 0,
                    booked_commission=deal.booked_commission if closing else 0,
                    booked_swap=deal.booked_swap if closing else 0,
                    conversion_fee=deal.conversion_fee if closing else 0,
                    balance=deal.balance if closing else self.balance,
                    bid_e5=quote.bid_e5 if quote is not None else deal.price_e5,
                    ask_e5=quote.ask_e5 if quote is not None else deal.price_e5,
                    ts_event_ns=ts_ns,
                    ts_init_ns=now_ns,
                    level_e5=level_e5,
                    order_done=done and row == len(parts) - 1,
                )
            )
        return told + self._tell_levels(held, deal.ts_ms, now_ns)

    # --- orders ------------------------------------------------------------------------------------------------

    def _accept(self, name: str, order_id: int, symbol: str, ts_ns: int, now_ns: int) -> list[Told]:
        if name in self._accepted:
            return []
        remember(self._accepted, name, None)
        self._unknown.pop(name, None)
        return [
            OrderAccepted(
                client_order_id=name, order_id=str(order_id), symbol=symbol, ts_event_ns=ts_ns, ts_init_ns=now_ns
            )
        ]

    def _order_stands(
        self, order: KnownOrder, held: Holding | None, status: int, entity: Any, code: str, now_ns: int
    ) -> list[Told]:
        """Fold the status of an order that is no deal."""
        if order.protective:
            return self._protection_stands(order, held, status, entity, now_ns)
        symbol, ts_ns = self._symbol(order.symbol_id), ns_of(entity.utcLastUpdateTimestamp) or now_ns
        name, code = order.client_order_id, words(code)
        if not name:
            order.ended = order.ended or status != ACCEPTED
            at_once = order.closing or order.kind in _AT_ONCE
            return [] if at_once else self._foreign_order(order, entity, ts_ns, now_ns)
        told: list[Told] = []
        if status == ACCEPTED:
            return [] if order.ended else self._accept(name, order.order_id, symbol, ts_ns, now_ns)
        if status not in {REJECTED, EXPIRED, CANCELLED}:
            return []
        order.ended = True
        if name in self._ended or not (name in self._commands or name in self._accepted):
            return []
        remember(self._ended, name, None)
        filled_e2 = max(entity.executedVolume, order.filled_e2)
        if entity.executedVolume > order.filled_e2:
            self.needs_recovery = True  # deals that it counts are still to come
        if status == REJECTED and not filled_e2:
            self._unknown.pop(name, None)
            told.append(
                OrderRejected(
                    client_order_id=name, symbol=symbol, code=code.upper() or "REJECTED",
                    text="refused after acceptance", ts_event_ns=ts_ns, ts_init_ns=now_ns,
                )
            )  # fmt: skip
            return told
        told += self._accept(name, order.order_id, symbol, ts_ns, now_ns)
        if status == EXPIRED:
            expired = OrderExpired(
                client_order_id=name, symbol=symbol, filled_e2=filled_e2, ts_event_ns=ts_ns, ts_init_ns=now_ns
            )
            return [*told, expired]
        reason = code or ("rejected" if status == REJECTED else "cancelled")
        return [
            *told,
            OrderCancelled(
                client_order_id=name, symbol=symbol, reason=reason, filled_e2=filled_e2, ts_event_ns=ts_ns,
                ts_init_ns=now_ns,
            ),
        ]  # fmt: skip

    def _protection_stands(
        self, order: KnownOrder, held: Holding | None, status: int, entity: Any, now_ns: int
    ) -> list[Told]:
        if held is None:
            return []
        ts_ms = entity.utcLastUpdateTimestamp
        if status == ACCEPTED:
            if ts_ms >= held.levels_ms:
                held.protection_id = order.order_id
            trails = entity.trailingStopLoss
            return self._levels(held, order.stop_e5, order.limit_e5, ts_ms, now_ns, trails=trails)
        order.ended = True
        if held.protection_id != order.order_id:
            return []
        held.protection_id = 0
        return self._levels(held, 0, 0, ts_ms, now_ns, trails=False)

    def _foreign_order(self, order: KnownOrder, entity: Any, ts_ns: int, now_ns: int) -> list[Told]:
        volume_e2 = 0 if order.ended else order.volume_e2 - entity.executedVolume
        return self._foreign_state(
            ForeignChanged(
                kind="order",
                subject=str(order.order_id),
                symbol=self._symbol(order.symbol_id),
                side=order.side,
                volume_e2=volume_e2,
                price_e5=0,
                charges=0,
                label=words(entity.tradeData.label),
                ts_event_ns=ts_ns,
                ts_init_ns=now_ns,
            )
        )

    def _foreign_position(self, held: Holding, now_ns: int) -> list[Told]:
        return self._foreign_state(
            ForeignChanged(
                kind="position",
                subject=str(held.position_id),
                symbol=self._symbol(held.symbol_id),
                side=held.side,
                volume_e2=held.volume_e2,
                price_e5=held.price_e5,
                charges=held.charges if held.volume_e2 else 0,
                label=held.label,
                ts_event_ns=ns_of(held.dealt_ms),
                ts_init_ns=now_ns,
            )
        )

    def _foreign_state(self, fact: ForeignChanged) -> list[Told]:
        """Tell of a stranger's position or order, where it is not what was told last."""
        key = f"{fact.kind} {fact.subject}"
        state = (int(fact.side), fact.volume_e2, fact.price_e5, fact.charges)
        last = self._foreign.get(key)
        if last == state or (not fact.volume_e2 and (last is None or not last[1])):
            return []
        remember(self._foreign, key, state)
        return [fact]

    # --- levels and swap ---------------------------------------------------------------------------------------

    def _levels(
        self, held: Holding, stop_e5: int, target_e5: int, ts_ms: int, now_ns: int, *, trails: bool
    ) -> list[Told]:
        if ts_ms < held.levels_ms:
            return []
        held.levels_ms = ts_ms
        held.stop_loss_e5, held.take_profit_e5 = stop_e5, target_e5
        held.trails = trails and stop_e5 > 0
        held.trailed = held.trailed and held.trails
        held.trailing_e5 = self._trailing_e5(held) if held.trails else 0
        return self._tell_levels(held, ts_ms, now_ns)

    def _trailing_e5(self, held: Holding) -> int:
        """The distance of a trailing stop, which the broker never tells: ours as asked, else as it is now."""
        command = self._commands.get(held.client_order_id)
        wanted_e5 = held.wanted_trailing_e5 or (command.trailing_e5 if command is not None else 0)
        if wanted_e5 or held.trailing_e5:
            return wanted_e5 or held.trailing_e5
        quote = self._quotes.get(self._symbol(held.symbol_id))
        price_e5 = held.price_e5 if quote is None else quote.bid_e5 if held.side is Side.BUY else quote.ask_e5
        return max(1, abs(price_e5 - held.stop_loss_e5))

    def _tell_levels(self, held: Holding, ts_ms: int, now_ns: int) -> list[Told]:
        """Tell the levels in force where they are not what was told; before its first deal a position waits."""
        levels = (held.stop_loss_e5, held.take_profit_e5, held.trailing_e5)
        if not held.ours or not held.volume_e2 or levels == held.told_levels:
            return []
        held.told_levels = levels
        return [
            ProtectionChanged(
                position_id=str(held.position_id), symbol=self._symbol(held.symbol_id), stop_loss_e5=levels[0],
                take_profit_e5=levels[1], trailing_e5=levels[2], ts_event_ns=ns_of(max(ts_ms, held.levels_ms)),
                ts_init_ns=now_ns,
            )
        ]  # fmt: skip

    def _swap(self, held: Holding, position: Any, now_ns: int) -> list[Told]:
        """Fold a position's accumulated swap; the difference to what is known was charged since."""
        amount = money_of(position, "swap", self.money_digits) - held.swap
        if not amount or not held.volume_e2:
            return []
        held.swap += amount
        if not held.ours:
            return []
        return [
            SwapCharged(
                position_id=str(held.position_id), symbol=self._symbol(held.symbol_id), amount=amount, nights=1,
                ts_event_ns=ns_of(position.utcLastUpdateTimestamp) or now_ns, ts_init_ns=now_ns,
            )
        ]  # fmt: skip

    def _rebase(self, held: Holding, volume_e2: int, side: Side, price: float, updated_ms: int) -> None:
        """Let a position be as the venue says, deals or not."""
        held.dealt_ms = max(held.dealt_ms, updated_ms)
        held.volume_e2, held.side = volume_e2, side
        # The broker's average may be finer than the unit; it is kept as it is.
        held.cost_e5 = Fraction(repr(price)) * 100_000 * volume_e2 if volume_e2 else Fraction(0)


def apply(held: Holding, deal: Dealt) -> None:
    """Move volume and average by a deal."""
    if deal.closed_e2:
        held.close(deal.closed_e2, deal.booked_swap)
    if deal.opened_e2:
        held.open(deal.side, deal.opened_e2, deal.price_e5)
