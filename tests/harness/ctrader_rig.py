"""The adapter's parts against the real venue core, without sockets and in one thread: bytes go from one to the other.

`accident` may spoil what the venue sends; whatever comes of it is survived as a shell would survive it.
"""

from typing import Any

import msgspec

from adapters.ctrader import events, series, symbols
from adapters.ctrader.account import Account
from adapters.ctrader.messages import openapi
from adapters.ctrader.orders import Holder, Refusal, amend_protection, cancel_order, close_position, new_order
from adapters.ctrader.session import Link, Session
from adapters.ctrader.venue.core import Venue
from adapters.ctrader.venue.endpoint import Endpoint
from adapters.ctrader.venue.specs import AccountSpec, Limits, VenueSpec
from adapters.ctrader.wire import LiveBars, Spots
from bus.errors import BrokerError, ConfigError, DataError
from bus.messages import AccountSnapshot, AmendProtection, CancelOrder, Quote, SubmitOrder
from bus.values import NS_PER_MS, OrderType, Side, default_instrument
from tests.harness.venue import EXACT, HEDGED, OPENED, S

FREE = Limits(requests_per_s=100_000, history_per_s=100_000)


class Rig:
    """One client of one account. `told` is what the account fold told, in order."""

    def __init__(self, *names: str, execution: Any = EXACT, account: AccountSpec | None = None, **more: Any) -> None:
        spec = account or AccountSpec(account_id=HEDGED)
        instruments = more.pop("instruments", None) or tuple(default_instrument(n) for n in names or ("EURUSD",))
        self.venue = Venue(
            VenueSpec(instruments=instruments, accounts=(spec,), model=execution, limits=FREE, **more),
            opened_ns=OPENED,
        )
        self.end = Endpoint(self.venue)
        self.spec = spec
        self.holder = Holder(account_id=spec.account_id, hedged=spec.hedged, limited_risk=spec.limited_risk)
        self.now = 0
        self.accident: Any = None
        self.session = Session(self.venue.tokens.client_id, self.venue.tokens.client_secret, "rig")
        self.token = self.venue.tokens.issue(0).access
        self.number = 0
        self.specifications: dict[int, symbols.Specification] = {}
        self.quotes: dict[str, Quote] = {}
        self.spots = Spots({})
        self.bars = LiveBars({})
        self.account: Account | None = None
        self.told: list[Any] = []
        self.pushed: list[Any] = []
        self.answers: dict[int, Any] = {}
        self.commands: dict[int, Any] = {}
        self.ids = 0
        self.survived = 0

    # --- the line --------------------------------------------------------------------------------------------------

    @property
    def utc_ns(self) -> int:
        return OPENED + self.now

    def connect(self) -> None:
        if self.session.link is not Link.DOWN:
            self._take(self.session.disconnected(self.now))
            self.end.disconnect(self.number)
            self.now += 5 * S
        self.number = self.end.connect(self.now)
        self.session.login(self.spec.account_id, self.token, self.now)
        self.session.connected(self.now)
        self.pump()
        for _ in range(5):
            if self.session.is_logged_in(self.spec.account_id) or self.session.link is not Link.OPEN:
                break
            self.now = max(self.now, self.session.next_timer_ns() or self.now)
            self._take(self.session.timer(self.now))
            self.pump()

    def pump(self) -> None:
        """Carry bytes until both are silent."""
        while data := self.session.data_to_send():
            self.carry(self.end.data(self.number, data, self.now))

    def carry(self, wires: Any) -> None:
        for wire in sorted(wires, key=lambda wire: wire.due_ns):
            data = wire.data if self.accident is None else self.accident(wire.data)
            self._take(self.session.receive(data, self.now))

    def _take(self, told: list[events.Event]) -> None:
        for event in told:
            match event:
                case events.Answered():
                    self.answers[event.request] = event.message
                case events.RefusedBy():
                    self.answers[event.request] = event
                    command = self.commands.pop(event.request, None)
                    if command is not None and self.account is not None:
                        self.told += self.account.refused(command, event.code, event.text, self.utc_ns)
                case events.OutcomeIsUnknown() | events.NeverSent():
                    command = self.commands.pop(event.request, None)
                    if command is not None and self.account is not None and isinstance(event, events.OutcomeIsUnknown):
                        self.told += self.account.unknown(command, self.utc_ns)
                case events.Pushed():
                    self.pushed.append(event.message)
                    self._hear(event.message)
                case _:
                    pass

    def _hear(self, message: Any) -> None:
        name = message.DESCRIPTOR.name.removeprefix("ProtoOA")
        try:
            if name == "SpotEvent":
                quote = self.spots.merge(message, self.utc_ns)
                self.bars.update(message, quote.bid_e5 if quote else 0, quote.ask_e5 if quote else 0)
            elif self.account is None:
                pass
            elif name == "ExecutionEvent":
                answering = message.order.clientOrderId if not message.order.closingOrder else ""
                for command in self.commands.values():
                    closes = isinstance(command, SubmitOrder) and command.position_id == str(message.order.positionId)
                    if message.order.closingOrder and closes and not message.isServerEvent:
                        answering = command.client_order_id
                self.told += self.account.execution(message, self.utc_ns, answering)
            elif name == "TrailingSLChangedEvent":
                self.told += self.account.trailing_moved(message, self.utc_ns)
            elif name == "OrderErrorEvent":
                self.told += self.account.order_error(message, None, self.utc_ns)
            elif name == "TraderUpdatedEvent":
                self.account.trader_updated(message.trader)
            elif name == "MarginChangedEvent":
                self.account.margin_changed(message)
        except DataError:
            self.survived += 1
            if self.account is not None:
                self.account.needs_recovery = True

    # --- questions -------------------------------------------------------------------------------------------------

    def ask(self, message: Any) -> Any:
        """Send a request; its answer, or None where there is none now (what it was refused with counts as one)."""
        self.now += S // 4
        try:
            number = self.session.request(message, self.now)
        except BrokerError:
            return None
        self.pump()
        return self.answers.pop(number, None)

    def request(self, name: str, **fields: Any) -> Any:
        return self.ask(getattr(openapi, f"ProtoOA{name}")(ctidTraderAccountId=self.spec.account_id, **fields))

    def read_symbols(self) -> bool:
        """Read the catalogue; whether all of it was understood."""
        try:
            assets = symbols.assets(self.request("AssetListReq"))
            lights = symbols.light_symbols(self.request("SymbolsListReq"))
            whole = self.request("SymbolByIdReq", symbolId=[row.symbolId for row in lights.values()])
            by_id = {row.symbolId: row for row in lights.values()}
            for row in whole.symbol:
                known = symbols.specification(row, by_id[row.symbolId], assets)
                if known.leverage_id:
                    answer = self.request("GetDynamicLeverageByIDReq", leverageId=known.leverage_id)
                    known = msgspec.structs.replace(known, tiers=symbols.leverage_tiers(answer.leverage))
                self.specifications[row.symbolId] = known
        except (AttributeError, KeyError, ConfigError, DataError):  # there was no answer, or not a whole one
            return False
        return True

    def learn(self) -> bool:
        """Read the catalogue and subscribe; whether all of it was understood."""
        if not self.read_symbols():
            return False
        self.spots = Spots({number: known.instrument for number, known in self.specifications.items()})
        self.bars = LiveBars({number: known.instrument for number, known in self.specifications.items()})
        self.quotes = self.spots.quotes
        self.request("SubscribeSpotsReq", symbolId=list(self.specifications), subscribeToSpotTimestamp=True)
        self.request("SubscribeLiveTrendbarReq", symbolId=1, period=1)
        return True

    def begin(self) -> bool:
        """Read the account for the first time."""
        account = Account(self.holder, self.specifications, self.quotes, currency=self.spec.currency)
        trader, stands = self.request("TraderReq"), self.request("ReconcileReq")
        try:
            self.told += account.begin(trader.trader, stands, [], self.utc_ns)
        except (AttributeError, DataError):
            return False
        self.account = account
        return True

    def learn_rates(self) -> None:
        """Read how money is converted."""
        assert self.account is not None
        worth, currency = self.account.valuation, self.spec.currency
        ids = {row.name: row.assetId for row in self.request("AssetListReq").asset}
        names = {known.symbol_id: known.instrument.symbol for known in self.specifications.values()}
        for first, number in ids.items():
            for last in (currency, "USD"):
                answer = self.request("SymbolsForConversionReq", firstAssetId=number, lastAssetId=ids[last])
                if first != last and hasattr(answer, "symbol"):
                    worth.chains[first, last] = tuple(names[row.symbolId] for row in answer.symbol)

    def recover(self, *, final: bool = False) -> bool:
        """Ask for what was missed; whether a snapshot came of it."""
        assert self.account is not None
        until = self.utc_ns + 60 * S
        since = max(self.account.history_from_ms * NS_PER_MS, until - 6 * 86_400 * S)
        deals = self.ask(series.deals_request(self.spec.account_id, since, until))
        orders = self.ask(series.orders_request(self.spec.account_id, since, until))
        trader = self.request("TraderReq")
        stands = self.ask(series.reconcile_request(self.spec.account_id))
        try:
            told = self.account.recover(deals.deal, orders.order, trader.trader, stands, self.utc_ns, final=final)
        except (AttributeError, DataError):
            return False
        self.told += told
        return bool(told) and isinstance(told[-1], AccountSnapshot)

    # --- commands --------------------------------------------------------------------------------------------------

    def command(self, **fields: Any) -> SubmitOrder:
        """An order by its differences from a market order to buy 10,000 EURUSD."""
        self.ids += 1
        symbol = fields.get("symbol", "EURUSD")
        quote = self.quotes.get(symbol)
        side = fields.get("side", Side.BUY)
        values: dict[str, Any] = {
            "client_order_id": f"run-{self.ids}", "intent_id": "i", "strategy": "s", "symbol": symbol, "side": side,
            "order_type": OrderType.MARKET, "volume_e2": 1_000_000, "ts_init_ns": self.utc_ns,
            "reference_e5": 0 if quote is None else quote.ask_e5 if side > 0 else quote.bid_e5,
        }  # fmt: skip
        return SubmitOrder(**{**values, **fields})

    def send(self, command: Any) -> Any:
        """Pass a command on as a shell does; what it was answered or refused with."""
        assert self.account is not None
        known = next((k for k in self.specifications.values() if k.instrument.symbol == command.symbol), None)
        if known is None:  # its name was spoilt on the way
            return None
        requests: Any
        if isinstance(command, CancelOrder):
            order_id = self.account.order_id_of(command.client_order_id)
            requests = (
                Refusal(code="ORDER_NOT_FOUND", text="") if order_id is None else (cancel_order(order_id, self.holder),)
            )
        elif command.position_id:
            held = self.account.protected(command.position_id)
            if isinstance(held, Refusal):
                requests = held
            elif isinstance(command, AmendProtection):
                requests = amend_protection(command, held, known, self.holder)
            else:
                requests = close_position(command, held, known, self.holder)
        else:
            against_e2 = 0 if self.holder.hedged else self.account.open_against_e2(command.symbol, command.side)
            requests = new_order(command, known, self.holder, self.utc_ns, against_e2)
        if isinstance(requests, Refusal):
            self.told += self.account.refused(command, requests.code, requests.text, self.utc_ns)
            return requests
        self.account.sent(command)
        answer = None
        for request in requests if isinstance(requests, tuple) else (requests,):
            self.now += S // 4
            try:
                number = self.session.request(request, self.now)
            except BrokerError:
                return None
            self.commands[number] = command
            self.pump()
            self.commands.pop(number, None)
            answer = self.answers.pop(number, None)
        return answer

    def quote(self, bid_e5: int, ask_e5: int, symbol: str = "EURUSD", after_s: float = 1.0) -> None:
        self.now += int(after_s * S)
        moment = self.venue.market_ns + int(after_s * S)
        quote = Quote(symbol=symbol, bid_e5=bid_e5, ask_e5=ask_e5, ts_event_ns=moment, ts_init_ns=moment)
        self.carry(self.end.on_quote(quote, self.now))
