"""A venue without sockets, and clients that talk to it in envelopes."""

from adapters.ctrader.frames import decode_envelope, encode_envelope
from adapters.ctrader.messages import model, openapi
from adapters.ctrader.venue.core import CLOSE, Venue
from adapters.ctrader.venue.specs import AccountSpec, Limits, VenueSpec
from adapters.exchange.model import ExecutionModel
from bus.messages import Quote
from bus.values import default_instrument

S = 10**9
OPENED = 1_700_000_000 * S  # a Tuesday, 22:13:20 UTC: the FX market is open
HEDGED, NETTED = 7, 8
EXACT = ExecutionModel(slippage_points=0, slippage_jitter_points=0, liquidity_e2=0, rollover_minutes=0)
BUY, SELL = model.BUY, model.SELL


class Desk:
    """A venue with a clock, and every client of it."""

    def __init__(self, *symbols, execution=EXACT, limits=None, accounts=None, **more):
        spec = VenueSpec(
            instruments=tuple(default_instrument(name) for name in symbols or ("EURUSD",)),
            accounts=accounts or (AccountSpec(account_id=HEDGED), AccountSpec(account_id=NETTED, hedged=False)),
            model=execution,
            limits=limits or Limits(requests_per_s=10_000, history_per_s=10_000),
            **more,
        )
        self.venue = Venue(spec, opened_ns=OPENED)
        self.grant = self.venue.tokens.issue(0)
        self.now = 0
        self.clients = {}

    def client(self, *accounts, sign_in=True):
        return Client(self, accounts or (HEDGED, NETTED), sign_in=sign_in)

    def quote(self, bid, ask=None, *, symbol="EURUSD", after=1.0):
        moment = self.venue.market_ns + int(after * S)
        ask = bid + 2 if ask is None else ask
        self.now += int(after * S)
        quote = Quote(symbol=symbol, bid_e5=bid, ask_e5=ask, ts_event_ns=moment, ts_init_ns=moment)
        self.deliver(self.venue.on_quote(quote, self.now))

    def deliver(self, out):
        for number, payload, due_ns in out:
            client = self.clients.get(number)
            if client is not None:
                client.got.append((None if payload == CLOSE else decode_envelope(payload), due_ns))


class Client:
    def __init__(self, desk, accounts, *, sign_in):
        self.desk = desk
        self.number = desk.venue.connect(desk.now)
        desk.clients[self.number] = self
        self.got = []
        self.sent = 0
        if sign_in:
            tokens = desk.venue.tokens
            self.ask("ApplicationAuthReq", clientId=tokens.client_id, clientSecret=tokens.client_secret)
            for account in accounts:
                self.ask("AccountAuthReq", account=account, accessToken=desk.grant.access)

    def send(self, name, *, account=None, message_id=None, **fields):
        """Send a request; what came back for this connection since, as envelopes."""
        self.sent += 1
        if account is not None:
            fields["ctidTraderAccountId"] = account
        message = getattr(openapi, f"ProtoOA{name}")(**fields)
        return self.raw(encode_envelope(message, message_id or f"c{self.number}-{self.sent}"))

    def raw(self, payload):
        before = len(self.got)
        self.desk.deliver(self.desk.venue.receive(self.number, payload, self.desk.now))
        return [envelope for envelope, _ in self.got[before:]]

    def ask(self, name, **fields):
        """Send a request; the first message that came back."""
        return self.send(name, **fields)[0].message

    def order(self, account=HEDGED, **fields):
        """A new order; the messages it caused."""
        wanted = {"symbolId": 1, "orderType": model.MARKET, "tradeSide": BUY, "volume": 1_000_000, **fields}
        return [each.message for each in self.send("NewOrderReq", account=account, **wanted)]

    def take(self, kind=None):
        """Everything that has come since the last time, of one message kind."""
        found = [envelope.message for envelope, _ in self.got if envelope is not None]
        self.got.clear()
        return [each for each in found if kind is None or type(each).__name__ == f"ProtoOA{kind}"]


def story(messages):
    """Execution events as (what, by the server?, order status, position status, position volume)."""
    return [
        (
            model.ProtoOAExecutionType.Name(each.executionType).removeprefix("ORDER_"),
            each.isServerEvent,
            model.ProtoOAOrderStatus.Name(each.order.orderStatus).removeprefix("ORDER_STATUS_"),
            model.ProtoOAPositionStatus.Name(each.position.positionStatus).removeprefix("POSITION_STATUS_"),
            each.position.tradeData.volume,
        )
        for each in messages
    ]
