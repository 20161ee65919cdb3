"""A desk at the simulated exchange: short ways to make prices, orders and accounts, with nothing random in them."""

from datetime import UTC, datetime

from adapters.exchange import Exchange, ExecutionModel
from bus.calendar import to_ns
from bus.messages import AmendProtection, CancelOrder, OrderFilled, Quote, SubmitOrder, VenueFact
from bus.values import Instrument, OrderType, Side, TimeInForce, default_instrument

NOON_NS = to_ns(datetime(2023, 11, 14, 12, tzinfo=UTC))  # a Tuesday, winter time
MINUTE_NS = 60_000_000_000
HOUR_NS = 60 * MINUTE_NS
LOT_E2 = 10_000_000
EURUSD = default_instrument("EURUSD")
PLAIN = ExecutionModel(slippage_points=0, slippage_jitter_points=0, liquidity_e2=0, rollover_minutes=0)


class Desk:
    """An exchange with a wrist watch: every call happens at `now_ns` unless told otherwise."""

    def __init__(
        self,
        *instruments: Instrument,
        model: ExecutionModel = PLAIN,
        hedged: bool = True,
        balance: int = 1_000_000,
        currency: str = "USD",
        leverage: int = 100,
    ) -> None:
        self.exchange = Exchange(
            account_id="sim",
            currency=currency,
            money_digits=2,
            leverage=leverage,
            hedged=hedged,
            balance=balance,
            instruments=instruments or (EURUSD,),
            model=model,
        )
        self.now_ns = NOON_NS
        self._count = 0

    def quote(self, bid_e5: int, ask_e5: int | None = None, symbol: str = "EURUSD") -> list[VenueFact]:
        """A price a second later."""
        self.now_ns += 1_000_000_000
        ask_e5 = bid_e5 + 10 if ask_e5 is None else ask_e5
        return self.exchange.on_quote(
            Quote(symbol=symbol, bid_e5=bid_e5, ask_e5=ask_e5, ts_event_ns=self.now_ns, ts_init_ns=self.now_ns)
        )

    def order(
        self,
        side: Side,
        volume_e2: int = LOT_E2,
        kind: OrderType = OrderType.MARKET,
        *,
        name: str = "",
        symbol: str = "EURUSD",
        limit: int = 0,
        trigger: int = 0,
        stop: int = 0,
        target: int = 0,
        trailing: int = 0,
        tif: TimeInForce = TimeInForce.GTC,
        expires_ns: int = 0,
        closes: str = "",
    ) -> list[VenueFact]:
        """Submit an order now."""
        self._count += 1
        return self.exchange.execute(
            SubmitOrder(
                client_order_id=name or f"c{self._count}",
                intent_id="i",
                strategy="s",
                symbol=symbol,
                side=side,
                order_type=kind,
                volume_e2=volume_e2,
                reference_e5=0,
                ts_init_ns=self.now_ns,
                time_in_force=tif,
                limit_e5=limit,
                trigger_e5=trigger,
                expires_ns=expires_ns,
                stop_loss_e5=stop,
                take_profit_e5=target,
                trailing_e5=trailing,
                position_id=closes,
            ),
            self.now_ns,
        )

    def cancel(self, name: str, symbol: str = "EURUSD") -> list[VenueFact]:
        """Withdraw an order now."""
        command = CancelOrder(client_order_id=name, symbol=symbol, reason="asked", ts_init_ns=self.now_ns)
        return self.exchange.execute(command, self.now_ns)

    def amend(self, position_id: str, stop: int = 0, target: int = 0, trailing: int = 0) -> list[VenueFact]:
        """Replace a position's levels now."""
        command = AmendProtection(
            position_id=position_id,
            symbol="EURUSD",
            stop_loss_e5=stop,
            take_profit_e5=target,
            trailing_e5=trailing,
            reason="asked",
            ts_init_ns=self.now_ns,
        )
        return self.exchange.execute(command, self.now_ns)


def names(facts: list[VenueFact]) -> list[str]:
    """The kinds of facts, in order."""
    return [type(fact).__name__ for fact in facts]


def fills(facts: list[VenueFact]) -> list[OrderFilled]:
    """The deals among the facts."""
    return [fact for fact in facts if isinstance(fact, OrderFilled)]
