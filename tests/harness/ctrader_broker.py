"""A broker that keeps one account in the plainest way and speaks the wire's entities; random histories of it.

Its arithmetic is its own (fractions, nothing of the adapter), so that agreement means something.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from random import Random
from typing import Any

from adapters.ctrader.hours import Hours
from adapters.ctrader.messages import model, openapi
from adapters.ctrader.money import Commission, CommissionType, SwapType
from adapters.ctrader.orders import Holder
from adapters.ctrader.symbols import Specification, TradingMode
from bus.values import Instrument

ACCOUNT = 77
HOLDER = Holder(account_id=ACCOUNT, label="plimsoll")
START_MS = 1_750_000_000_000
STEP = 100_000


def specification_of(symbol: str = "EURUSD", symbol_id: int = 1, **changes: Any) -> Specification:
    """The reference's EURUSD, or another symbol by its changes."""
    instrument = changes.pop("instrument", None) or Instrument(symbol=symbol, base=symbol[:3], quote=symbol[3:])
    values: dict[str, Any] = {
        "commission": Commission(kind=CommissionType.USD_PER_LOT, precise_rate=250_000_000),
        "swap_type": SwapType.PIPS,
        "swap_long": -1.106,
        "swap_short": 0.059,
        "conversion_fee_bp": 70,
        "trading_mode": TradingMode.ENABLED,
        "short_selling": True,
        "hours": Hours(),
    }
    return Specification(symbol_id=symbol_id, instrument=instrument, **{**values, **changes})


SYMBOLS = {1: specification_of(), 2: specification_of("GBPUSD", 2)}


@dataclass
class Held:
    """A position as the broker keeps it; side is 1 or -1, cost the sum of volume times price as a fraction."""

    position_id: int
    symbol_id: int
    side: int
    label: str
    volume: int = 0
    cost: Fraction = Fraction(0)
    commission: int = 0
    swap: int = 0
    stop_e5: int = 0
    target_e5: int = 0
    updated_ms: int = 0
    opened_ms: int = 0

    @property
    def average(self) -> Fraction:
        return self.cost / self.volume

    def entity(self) -> Any:
        entity = model.ProtoOAPosition(
            positionId=self.position_id,
            positionStatus=1 if self.volume else 2,
            swap=self.swap,
            commission=self.commission,
            moneyDigits=2,
            price=float(round(self.average / 100_000, 9)) if self.volume else 0.0,
            utcLastUpdateTimestamp=self.updated_ms,
            tradeData=model.ProtoOATradeData(
                symbolId=self.symbol_id, volume=self.volume, tradeSide=1 if self.side > 0 else 2, label=self.label
            ),
        )
        if self.opened_ms:
            entity.tradeData.openTimestamp = self.opened_ms
        if self.stop_e5 and self.volume:
            entity.stopLoss = self.stop_e5 / 100_000
        if self.target_e5 and self.volume:
            entity.takeProfit = self.target_e5 / 100_000
        return entity


@dataclass
class Broker:
    """One account. `events` are (execution event, client order id that it answers) in the order of happening."""

    netted: bool = False
    balance: int = 1_000_000
    version: int = 1
    now_ms: int = START_MS
    positions: dict[int, Held] = field(default_factory=dict)
    deals: list[Any] = field(default_factory=list)
    orders: dict[int, Any] = field(default_factory=dict)
    events: list[tuple[Any, str]] = field(default_factory=list)
    ours: set[int] = field(default_factory=set)
    booked: dict[int, int] = field(default_factory=dict)
    _next: int = 100

    def _id(self) -> int:
        self._next += 1
        return self._next

    def trader(self) -> Any:
        return model.ProtoOATrader(
            ctidTraderAccountId=ACCOUNT,
            balance=self.balance,
            balanceVersion=self.version,
            depositAssetId=1,
            leverageInCents=10_000,
            accountType=1 if self.netted else 0,
            moneyDigits=2,
        )

    def reconcile(self) -> Any:
        return openapi.ProtoOAReconcileRes(
            ctidTraderAccountId=ACCOUNT,
            position=[held.entity() for held in self.positions.values() if held.volume],
            order=[order for order in self.orders.values() if order.orderStatus == 1 and order.orderType != 1],
        )

    def order(self, symbol_id: int, side: int, volume: int, price_e5: int, *, name: str = "", held: Held | None = None,
              closing: bool = False, parts: int = 1) -> None:  # fmt: skip
        """Fill a market order: of ours where it has a name, else of somebody else."""
        if held is None and self.netted:
            held = next(
                (entry for entry in self.positions.values() if entry.symbol_id == symbol_id and entry.volume), None
            )
        label = HOLDER.label_of(name) if name else ("by hand" if volume % 3 else "")
        if held is None:
            held = Held(self._id(), symbol_id, side, label)
            self.positions[held.position_id] = held
        order = model.ProtoOAOrder(
            orderId=self._id(),
            orderType=1,
            orderStatus=1,
            positionId=held.position_id,
            closingOrder=closing,
            executedVolume=0,
            clientOrderId=name if name and not closing else f"srv-{self._next}",
            utcLastUpdateTimestamp=self.now_ms,
            timeInForce=3,
            tradeData=model.ProtoOATradeData(
                symbolId=symbol_id,
                volume=volume,
                tradeSide=1 if side > 0 else 2,
                label=held.label if closing else label,
            ),
        )
        self.orders[order.orderId] = order
        if name:
            self.ours.add(order.orderId)
        self._event(2, order, held, None, name)
        sizes = [volume] if parts == 1 or volume < 2 * STEP else [STEP, volume - STEP]
        for row, size in enumerate(sizes):
            last = row == len(sizes) - 1
            order.executedVolume += size
            order.orderStatus = 2 if last else 1
            deal = self._deal(order, held, side, size, price_e5 + row, done=last)
            self._event(3 if last else 11, order, held, deal, name)

    def _deal(self, order: Any, held: Held, side: int, size: int, price_e5: int, *, done: bool) -> Any:
        charge = -(size // 40_000) - 1
        deal = model.ProtoOADeal(
            dealId=self._id(),
            orderId=order.orderId,
            positionId=held.position_id,
            symbolId=held.symbol_id,
            volume=size,
            filledVolume=size,
            createTimestamp=self.now_ms,
            executionTimestamp=self.now_ms,
            executionPrice=price_e5 / 100_000,
            tradeSide=1 if side > 0 else 2,
            dealStatus=2 if done else 3,
            commission=charge,
            moneyDigits=2,
        )
        closed = min(size, held.volume) if held.volume and side != held.side else 0
        opening_charge = charge * (size - closed) // size
        if closed:
            gross = round(Fraction(held.side) * (price_e5 * closed - held.average * closed) / 100_000)
            share = held.commission if closed == held.volume else held.commission * closed // held.volume
            swap = held.swap if closed == held.volume else held.swap * closed // held.volume
            commission = share + charge - opening_charge
            self.balance += gross + commission + swap
            self.version += 1
            detail = deal.closePositionDetail
            detail.entryPrice = float(held.average / 100_000)
            detail.grossProfit, detail.commission, detail.swap, detail.pnlConversionFee = gross, commission, swap, 0
            detail.balance, detail.balanceVersion, detail.closedVolume, detail.moneyDigits = (
                self.balance, self.version, closed, 2,
            )  # fmt: skip
            self.booked[deal.dealId] = gross + commission + swap
            held.cost -= held.average * closed
            held.volume -= closed
            held.commission -= share
            held.swap -= swap
        if size > closed:
            held.side = side
            held.opened_ms = held.opened_ms or self.now_ms
            held.volume += size - closed
            held.cost += Fraction(price_e5) * (size - closed)
            held.commission += opening_charge
        held.updated_ms = self.now_ms
        self.deals.append(deal)
        return deal

    def _event(self, kind: int, order: Any, held: Held, deal: Any, name: str) -> None:
        order.utcLastUpdateTimestamp = self.now_ms
        event = openapi.ProtoOAExecutionEvent(ctidTraderAccountId=ACCOUNT, executionType=kind, isServerEvent=False)
        event.order.CopyFrom(order)
        event.position.CopyFrom(held.entity())
        if deal is not None:
            event.deal.CopyFrom(deal)
        self.events.append((event, name))


def random_broker(seed: int, fills: int = 30) -> Broker:
    """An account with up to `fills` deals: entries, additions, partial closes, reversals, ours and strangers'."""
    random = Random(seed)
    broker = Broker(netted=random.random() < 0.4)
    wanted, number = random.randint(1, fills), 0
    while len(broker.deals) < wanted:
        number += 1
        broker.now_ms += random.randint(1, 4)
        name = f"run-{number}" if random.random() < 0.75 else ""
        symbol_id, side = random.choice((1, 2)), random.choice((1, -1))
        volume = STEP * random.randint(1, 9)
        price_e5 = 112_000 + random.randint(-900, 900)
        parts = 2 if random.random() < 0.2 and len(broker.deals) + 2 <= wanted else 1
        open_ones = [held for held in broker.positions.values() if held.volume]
        if broker.netted:
            broker.order(symbol_id, side, volume, price_e5, name=name, parts=parts)
        elif open_ones and random.random() < 0.6:
            held = random.choice(open_ones)
            ours = held.label.startswith("plimsoll/")
            closing = random.random() < 0.7
            broker.order(
                held.symbol_id,
                -held.side if closing else held.side,
                min(volume, held.volume) if closing else volume,
                price_e5,
                name=name if ours else "",
                held=held,
                closing=closing,
                parts=parts,
            )
        else:
            broker.order(symbol_id, side, volume, price_e5, name=name, parts=parts)
    return broker
