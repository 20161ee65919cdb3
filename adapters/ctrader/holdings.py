"""The records that the account fold keeps: deals in our units, positions as their deals make them, orders by id.

Theory of operation. A position's volume and average are made of its deals in the order of execution and of nothing
else. The average is a fraction, so that partial closes and thirds lose nothing; one that has grown to hundreds of bits,
after a thousand additions and reductions in turn, is cut far below anything that shows. A deal that does not lead to
the state that its event shows waits, because one before it is missing.
"""

from bisect import bisect_left
from fractions import Fraction
from typing import Any

import msgspec

from adapters.ctrader.checks import check_version
from adapters.ctrader.orders import Protected
from adapters.ctrader.wire import money_of, price_e5_of, side_of, time_of, volume_of
from bus.errors import DataError
from bus.messages import OrderFilled
from bus.values import Side, divide_half_away

FILLED, PARTIALLY_FILLED = 2, 3
PROTECTIVE = 4
CLOSE_E5 = 0.02
_EXACT_BITS = 512
_KEPT_BITS = 256


class Dealt(msgspec.Struct, frozen=True, kw_only=True):
    """One deal that moved volume. `closed_e2` of `volume_e2` closed a position; the booked money belongs to that."""

    deal_id: int
    order_id: int
    position_id: int
    symbol_id: int
    side: Side
    volume_e2: int
    price_e5: int
    ts_ms: int
    done: bool
    commission: int
    closed_e2: int = 0
    gross_profit: int = 0
    booked_commission: int = 0
    booked_swap: int = 0
    conversion_fee: int = 0
    balance: int = 0
    balance_version: int = 0
    turned: bool = False

    @property
    def opened_e2(self) -> int:
        """What of it opens, or adds to, a position."""
        return self.volume_e2 - self.closed_e2

    def rest(self) -> "Dealt":
        """What opens, of a deal whose closing part was told before a crash."""
        _, _, volume_e2, commission = self.parts()[-1]
        return msgspec.structs.replace(self, volume_e2=volume_e2, closed_e2=0, commission=commission, turned=True)

    @property
    def booked(self) -> int:
        """What the closing part moves the balance by."""
        return self.gross_profit + self.booked_commission + self.booked_swap + self.conversion_fee

    def parts(self) -> list[tuple[str, bool, int, int]]:
        """(fact id, closing, volume, commission) of each fact that tells the deal: two where it turns a position.

        The commission is shared by volume; the closing part takes what is left.
        """
        opening = divide_half_away(self.commission * self.opened_e2, self.volume_e2)
        told: list[tuple[str, bool, int, int]] = []
        if self.closed_e2:
            told.append((str(self.deal_id), True, self.closed_e2, self.commission - opening))
        if self.opened_e2:
            name = f"{self.deal_id}+" if self.closed_e2 or self.turned else str(self.deal_id)
            told.append((name, False, self.opened_e2, opening))
        return told


class After(msgspec.Struct, frozen=True, kw_only=True):
    """A position as a deal's event shows it after the deal, and what its order has filled by then; 0 = not said."""

    side: Side
    volume_e2: int
    price_e5: float
    opened_ms: int = 0
    order_filled_e2: int = 0


class Holding(msgspec.Struct, kw_only=True):
    """One position. `cost_e5` is the sum of volume_e2 * price_e5 of what is open; levels in 1/100000, 0 = none.

    `dealt_ms` is the time of the last deal that is in it, `resumed_ms` the same as an earlier life's journal told it.
    `charges` is what the venue last said of commission and swap not yet booked.
    `waiting` are deals not told yet, oldest first; `strange` are deals of others, kept while the position is theirs.
    """

    position_id: int
    symbol_id: int
    side: Side
    ours: bool = False
    client_order_id: str = ""
    label: str = ""
    volume_e2: int = 0
    cost_e5: Fraction = Fraction(0)
    swap: int = 0
    charges: int = 0
    dealt_ms: int = 0
    resumed_ms: int = 0
    stop_loss_e5: int = 0
    take_profit_e5: int = 0
    trails: bool = False
    trailed: bool = False
    guaranteed: bool = False
    trailing_e5: int = 0
    wanted_trailing_e5: int = 0
    levels_ms: int = 0
    told_levels: tuple[int, int, int] = (0, 0, 0)
    protection_id: int = 0
    waiting: list[tuple[Dealt, After | None]] = []
    waiting_ids: set[int] = set()
    strange: list[Dealt] = []

    @property
    def price_e5(self) -> int:
        """Average entry, half away from zero; 0 where nothing is open."""
        if not self.volume_e2:
            return 0
        average = self.cost_e5 / self.volume_e2
        return divide_half_away(average.numerator, average.denominator)

    def wait(self, deal: Dealt, after: After | None) -> None:
        """Queue a deal by time of execution; one that waits already is not queued again."""
        row = bisect_left(self.waiting, (deal.ts_ms, deal.deal_id), key=_by_time)
        if row < len(self.waiting) and self.waiting[row][0].deal_id == deal.deal_id:
            queued, seen = self.waiting[row]
            self.waiting[row] = (queued, seen or after)
        elif deal.deal_id not in self.waiting_ids:
            self.waiting.insert(row, (deal, after))
            self.waiting_ids.add(deal.deal_id)

    def next_waiting(self) -> Dealt:
        """Take the first of those that wait."""
        deal, _ = self.waiting.pop(0)
        self.waiting_ids.discard(deal.deal_id)
        return deal

    def wait_no_more(self) -> None:
        """Forget those that wait: they will be heard of again."""
        self.waiting.clear()
        self.waiting_ids.clear()

    def close(self, volume_e2: int, swap: int) -> None:
        """Take volume away; the average stays."""
        rest_e2 = max(0, self.volume_e2 - volume_e2)
        self.cost_e5 = _within_reason(self.cost_e5 * rest_e2 / self.volume_e2) if rest_e2 else Fraction(0)
        self.volume_e2 = rest_e2
        self.swap -= swap
        if not rest_e2:
            self.stop_loss_e5 = self.take_profit_e5 = self.trailing_e5 = self.swap = self.protection_id = 0
            self.trails = self.trailed = False
            self.told_levels = (0, 0, 0)

    def open(self, side: Side, volume_e2: int, price_e5: int) -> None:
        """Add volume."""
        if not self.volume_e2:
            self.side = side
        self.volume_e2 += volume_e2
        self.cost_e5 += volume_e2 * price_e5

    def fits(self, deal: Dealt, after: After | None) -> bool:
        """Whether a deal leads from here to the state that its event showed."""
        if after is None or deal.closed_e2 > self.volume_e2 or (deal.closed_e2 and deal.side is self.side):
            return False
        trial = Holding(position_id=0, symbol_id=0, side=self.side, volume_e2=self.volume_e2, cost_e5=self.cost_e5)
        if deal.closed_e2:
            trial.close(deal.closed_e2, 0)
        if deal.opened_e2:
            if trial.volume_e2 and trial.side is not deal.side:
                return False
            if not self.volume_e2 and after.opened_ms not in {0, deal.ts_ms}:
                return False  # it was opened by another deal before
            trial.open(deal.side, deal.opened_e2, deal.price_e5)
        if trial.volume_e2 != after.volume_e2:
            return False
        # The event's average is exact but for its double. A venue that rounds it makes deals wait for a recovery.
        average = float(trial.cost_e5 / trial.volume_e2) if trial.volume_e2 else after.price_e5
        return not trial.volume_e2 or (trial.side is after.side and abs(average - after.price_e5) < CLOSE_E5)

    def protected(self) -> Protected:
        """What amending and closing it needs to know."""
        return Protected(
            position_id=self.position_id,
            side=self.side,
            volume_e2=self.volume_e2,
            stop_loss_e5=self.stop_loss_e5,
            take_profit_e5=self.take_profit_e5,
            trailing=self.trails,
            guaranteed=self.guaranteed,
        )

    def cause_of(self, price_e5: int, stop_e5: int, target_e5: int) -> tuple[str, int]:
        """Which level a protective deal hit, by comparing its price with both: (cause, level)."""
        if not target_e5 or (stop_e5 and abs(price_e5 - stop_e5) <= abs(price_e5 - target_e5)):
            beyond_target = target_e5 and (price_e5 - target_e5) * self.side >= 0
            if not beyond_target:
                return ("trailing_stop" if self.trailed else "stop_loss"), stop_e5
        return "take_profit", target_e5


def _by_time(entry: tuple[Dealt, After | None]) -> tuple[int, int]:
    return entry[0].ts_ms, entry[0].deal_id


def _within_reason(value: Fraction) -> Fraction:
    if value.denominator.bit_length() <= _EXACT_BITS:
        return value
    return Fraction(round(value * (1 << _KEPT_BITS)), 1 << _KEPT_BITS)


class KnownOrder(msgspec.Struct, kw_only=True):
    """One order of the account. `client_order_id` is empty where it is not ours. `filled_e2` counts what was told."""

    order_id: int
    symbol_id: int
    side: Side
    kind: int
    volume_e2: int
    position_id: int = 0
    client_order_id: str = ""
    filled_e2: int = 0
    closing: bool = False
    stop_out: bool = False
    stop_e5: int = 0
    limit_e5: int = 0
    updated_ms: int = 0
    ended: bool = False

    @property
    def protective(self) -> bool:
        """Whether it is a position's stop and target."""
        return self.kind == PROTECTIVE


def dealt(deal: Any, money_digits: int) -> Dealt | None:
    """Read a `ProtoOADeal`; None where it moved nothing (rejected, missed, in error).

    Raises:
        DataError: an id, price, side, volume, time or sum that cannot be.
    """
    if deal.dealStatus not in {FILLED, PARTIALLY_FILLED} or not volume_of(deal, "filledVolume"):
        return None
    if deal.dealId <= 0 or deal.positionId <= 0:
        raise DataError(f"deal {deal.dealId} of position {deal.positionId}: no ids")
    closed: dict[str, Any] = {}
    if deal.HasField("closePositionDetail"):
        detail = deal.closePositionDetail
        check_version(detail.balanceVersion)
        # Only a netted deal that turns a position closes less than it fills.
        closed_e2 = detail.closedVolume if detail.closedVolume > 0 else deal.filledVolume
        closed = {
            "closed_e2": min(closed_e2, deal.filledVolume),
            "gross_profit": money_of(detail, "grossProfit", money_digits),
            "booked_commission": money_of(detail, "commission", money_digits),
            "booked_swap": money_of(detail, "swap", money_digits),
            "conversion_fee": money_of(detail, "pnlConversionFee", money_digits),
            "balance": money_of(detail, "balance", money_digits),
            "balance_version": detail.balanceVersion,
        }
    return Dealt(
        deal_id=deal.dealId,
        order_id=deal.orderId,
        position_id=deal.positionId,
        symbol_id=deal.symbolId,
        side=side_of(deal.tradeSide),
        volume_e2=deal.filledVolume,
        price_e5=price_e5_of(deal.executionPrice),
        ts_ms=time_of(deal, "executionTimestamp"),
        done=deal.dealStatus == FILLED,
        commission=money_of(deal, "commission", money_digits),
        **closed,
    )


def dealt_before(fact: OrderFilled, symbol_id: int) -> Dealt:
    """The deal behind a fact that was told in an earlier life of this process."""
    return Dealt(
        deal_id=int(number) if (number := fact.deal_id.rstrip("+")).isdecimal() else 0,
        order_id=int(fact.order_id or 0),
        position_id=int(fact.position_id),
        symbol_id=symbol_id,
        side=fact.side,
        volume_e2=fact.volume_e2,
        price_e5=fact.price_e5,
        ts_ms=fact.ts_event_ns // 1_000_000,
        done=fact.order_done,
        commission=fact.commission,
        closed_e2=fact.volume_e2 if fact.closing else 0,
        booked_swap=fact.booked_swap,
        balance=fact.balance,
    )
