"""What one trading account holds at the broker: its exchange, records, terms and rights, and how they are told."""

from collections.abc import Callable
from typing import Any

import msgspec

from adapters.ctrader.messages import model, openapi
from adapters.ctrader.venue.broker import Broker
from adapters.ctrader.venue.protection import closed
from adapters.ctrader.venue.records import (
    ON_ACCEPT,
    ON_SERVER,
    OPEN,
    DealRecord,
    OrderRecord,
    PositionRecord,
    Told,
    wire_side,
)
from adapters.ctrader.venue.specs import AccountSpec, Catalogue, Symbol, VenueSpec, to_ms
from adapters.ctrader.venue.terms import FROZEN
from bus.values import NS_PER_MS, Side


class State:
    """See `account.Account`, which is the way in."""

    def __init__(
        self, spec: AccountSpec, venue: VenueSpec, catalogue: Catalogue, next_id: Callable[[str], int], now_ms: int
    ) -> None:
        """Open the account, with nothing in it.

        Args:
            spec: of this account.
            venue: gives instruments and execution model.
            catalogue: numbers them.
            next_id: the venue's counter of a kind (``order``, ``position``, ``deal``, ``cash``).
            now_ms: when it is opened.
        """
        self.spec = spec
        self.catalogue = catalogue
        self.next_id = next_id
        self.broker = Broker(
            catalogue,
            margin_rule=spec.margin_rule,
            conversion=venue.conversion,
            account_id=str(spec.account_id),
            currency=spec.currency,
            money_digits=spec.money_digits,
            leverage=spec.leverage,
            hedged=spec.hedged,
            balance=0,
            instruments=venue.instruments,
            model=venue.model,
        )
        self.orders: dict[int, OrderRecord] = {}
        self.positions: dict[int, PositionRecord] = {}
        self.deals: list[DealRecord] = []
        self.cash: list[Any] = []
        self.balance_version = 0
        self.registered_ms = now_ms
        self._by_exchange: dict[str, PositionRecord] = {}
        self.regulate(now_ms * NS_PER_MS)

    @property
    def account_id(self) -> int:
        """The wire's ``ctidTraderAccountId``."""
        return self.spec.account_id

    def regulate(self, now_ns: int) -> None:
        """Let the symbols' modes, hours and holidays hold at a moment."""
        for name, terms in self.catalogue.terms.items():
            shut = closed(self.catalogue.by_name(name), terms, now_ns) is not None
            self.broker.regulate(name, frozen=terms.mode == FROZEN, closed=shut)

    # --- making records -----------------------------------------------------------------------------------------

    def new_position(self, symbol: Symbol, side: Side, *, label: str = "", comment: str = "") -> PositionRecord:
        """An empty position, as every order that may open one gets."""
        position = PositionRecord(
            position_id=self.next_id("position"),
            symbol=symbol,
            side=side,
            money_digits=self.spec.money_digits,
            label=label,
            comment=comment,
        )
        self.positions[position.position_id] = position
        return position

    def open_in(self, symbol: Symbol) -> PositionRecord | None:
        """The open position of a symbol on a netted account."""
        held = self.broker.held_in(symbol.instrument.symbol)
        return None if held is None else self._by_exchange[held.position_id]

    # --- events -------------------------------------------------------------------------------------------------

    def event(
        self,
        kind: int,
        *,
        server: bool,
        origin: str = "",
        stage: int = ON_ACCEPT,
        order: OrderRecord | None = None,
        position: PositionRecord | None = None,
        deal: Any = None,
        cash: Any = None,
        code: str = "",
    ) -> Told:
        """An execution event about things as they stand now."""
        message = openapi.ProtoOAExecutionEvent(
            ctidTraderAccountId=self.account_id,
            executionType=kind,
            isServerEvent=server,
            order=None if order is None else order.message(),
            position=None if position is None else position.message(),
            deal=deal,
            depositWithdraw=cash,
        )
        if code:
            message.errorCode = code
        return Told(message, origin, stage)

    def guarantee(self, position: PositionRecord) -> None:
        """Let a position's stop loss be filled at its level, whatever the market does."""
        position.guaranteed = True
        self.broker.guarantee(position.exchange_id)

    def dealless(self, order: OrderRecord, position: PositionRecord, status: int, now_ns: int) -> Any:
        """A deal that came to nothing, as the wire tells it: rejected, missed, in error. It is in the history."""
        now_ms = to_ms(now_ns)
        message = model.ProtoOADeal(
            dealId=self.next_id("deal"), orderId=order.order_id, positionId=position.position_id,
            volume=order.volume_e2, filledVolume=0, symbolId=order.symbol.symbol_id, createTimestamp=order.created_ms,
            executionTimestamp=now_ms, utcLastUpdateTimestamp=now_ms, tradeSide=wire_side(order.side),
            dealStatus=status, commission=0, moneyDigits=self.spec.money_digits,
        )  # fmt: skip
        self.deals.append(
            DealRecord(
                deal_id=message.dealId, order_id=order.order_id, position_id=position.position_id, executed_ms=now_ms,
                volume_e2=0, closing=False, message=message,
            )
        )  # fmt: skip
        return message

    # --- margin -------------------------------------------------------------------------------------------------

    def margins_changed(self) -> list[Told]:
        """What clients are told of positions whose margin is not what it was: other positions or terms changed it."""
        told: list[Told] = []
        for exchange_id, margin in self.broker.margins().items():
            position = self._by_exchange.get(exchange_id)
            if position is None or position.status != OPEN or position.margin == margin:
                continue
            position.margin = margin
            event = openapi.ProtoOAMarginChangedEvent(
                ctidTraderAccountId=self.account_id,
                positionId=position.position_id,
                usedMargin=margin,
                moneyDigits=self.spec.money_digits,
            )
            told.append(Told(event, "", ON_SERVER))
        return told

    def change(self, *, leverage: int | None = None, rights: int | None = None) -> list[Told]:
        """Change the account as a broker's operator does, and say so."""
        given = {"leverage": leverage, "rights": rights}
        self.spec = msgspec.structs.replace(self.spec, **{k: v for k, v in given.items() if v is not None})
        self.broker.set_leverage(self.spec.leverage)
        event = openapi.ProtoOATraderUpdatedEvent(ctidTraderAccountId=self.account_id, trader=self.trader())
        return [Told(event, "", ON_SERVER), *self.margins_changed()]

    def trader(self) -> Any:
        """The account as `ProtoOATrader`."""
        spec = self.spec
        return model.ProtoOATrader(
            ctidTraderAccountId=spec.account_id,
            balance=self.broker.balance,
            balanceVersion=self.balance_version,
            managerBonus=0,
            ibBonus=0,
            nonWithdrawableBonus=0,
            accessRights=spec.rights,
            depositAssetId=self.catalogue.assets[spec.currency],
            swapFree=False,
            leverageInCents=spec.leverage * 100,
            totalMarginCalculationType=spec.margin_rule,
            maxLeverage=spec.leverage * 100,
            traderLogin=spec.login or spec.account_id,
            accountType=0 if spec.hedged else 1,
            brokerName="plimsoll",
            registrationTimestamp=self.registered_ms,
            isLimitedRisk=spec.limited_risk,
            moneyDigits=spec.money_digits,
        )
