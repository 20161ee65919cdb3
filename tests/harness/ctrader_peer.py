"""A scripted peer for a cTrader session: what the session wrote, decoded, and what it is told."""

from adapters.ctrader.events import SETTLING
from adapters.ctrader.frames import FrameDecoder, decode_envelope, encode_envelope, encode_frame
from adapters.ctrader.messages import common, model, openapi
from adapters.ctrader.session import Session

S = 1_000_000_000
ACCOUNT = 1234567


def frame(message, msg_id=""):
    return encode_frame(encode_envelope(message, msg_id))


def spot(bid=112569, account=ACCOUNT):
    return openapi.ProtoOASpotEvent(ctidTraderAccountId=account, symbolId=1, bid=bid)


def new_order(account=ACCOUNT):
    return openapi.ProtoOANewOrderReq(
        ctidTraderAccountId=account, symbolId=1, orderType=model.MARKET, tradeSide=model.BUY, volume=100000
    )


def trader(account=ACCOUNT):
    return openapi.ProtoOATraderReq(ctidTraderAccountId=account)


def reconcile(account=ACCOUNT):
    return openapi.ProtoOAReconcileReq(ctidTraderAccountId=account)


def reconciled(account=ACCOUNT):
    return openapi.ProtoOAReconcileRes(ctidTraderAccountId=account)


def deals(account=ACCOUNT):
    return openapi.ProtoOADealListReq(ctidTraderAccountId=account, fromTimestamp=0, toTimestamp=1)


def execution(kind=model.ORDER_ACCEPTED, account=ACCOUNT, **more):
    return openapi.ProtoOAExecutionEvent(ctidTraderAccountId=account, executionType=kind, **more)


def error(code, text="", retry_after=None, account=ACCOUNT):
    message = openapi.ProtoOAErrorRes(ctidTraderAccountId=account, errorCode=code, description=text)
    if retry_after is not None:  # younger than the bindings: field 6, a varint
        raw = bytearray(message.SerializeToString()) + b"\x30"
        while retry_after > 0x7F:
            raw.append(retry_after & 0x7F | 0x80)
            retry_after >>= 7
        raw.append(retry_after)
        message = openapi.ProtoOAErrorRes.FromString(bytes(raw))
    return message


def common_error(code, text=""):
    return common.ProtoErrorRes(errorCode=code, description=text)


def order_error(code, account=ACCOUNT, **more):
    return openapi.ProtoOAOrderErrorEvent(ctidTraderAccountId=account, errorCode=code, **more)


def settled(events):
    """Of events, those that settle a request."""
    return [event for event in events if isinstance(event, SETTLING)]


class Peer:
    """The other end of one session, with the time in its hands."""

    def __init__(self, now=1_000 * S, **more):
        self.session = Session("id", "secret", "p", **more)
        self.now = now
        self._decoder = FrameDecoder()

    def connect(self):
        self._decoder = FrameDecoder()
        self.session.connected(self.now)

    def sent(self):
        """What the session wrote since the last call, opened."""
        return [decode_envelope(each) for each in self._decoder.feed(self.session.data_to_send())]

    def types(self):
        return [envelope.payload_type for envelope in self.sent()]

    def tell(self, *messages):
        """Deliver messages; a pair carries an id."""
        pairs = [each if isinstance(each, tuple) else (each, "") for each in messages]
        return self.session.receive(b"".join(frame(*pair) for pair in pairs), self.now)

    def wait(self, seconds=None):
        """Let the timer ring: at its own next moment, or at all moments of so many seconds."""
        if seconds is None:
            self.now = self.session.next_timer_ns()
            return self.session.timer(self.now)
        events, end = [], self.now + int(seconds * S)
        while (due := self.session.next_timer_ns()) is not None and due <= end:
            self.now = max(self.now, due)
            events += self.session.timer(self.now)
        self.now = end
        return events

    def ask(self, message, **more):
        """Request, and the id it was written with."""
        number = self.session.request(message, self.now, **more)
        (envelope,) = self.sent()
        return number, envelope.client_msg_id

    def open(self, *accounts):
        """Connect and log accounts in, in as much time as it takes; returns all events."""
        for account in accounts:
            self.session.login(account, f"token-{account}", self.now)
        self.connect()
        events = []
        while self.session.next_timer_ns() is not None and not all(map(self.session.is_logged_in, accounts)):
            for each in self.sent() or events.extend(self.wait()) or self.sent():
                if each.payload_type == model.PROTO_OA_APPLICATION_AUTH_REQ:
                    events += self.tell((openapi.ProtoOAApplicationAuthRes(), each.client_msg_id))
                elif each.payload_type == model.PROTO_OA_ACCOUNT_AUTH_REQ:
                    answer = openapi.ProtoOAAccountAuthRes(ctidTraderAccountId=each.message.ctidTraderAccountId)
                    events += self.tell((answer, each.client_msg_id))
        return events


def opened(*accounts, **more):
    """A peer with accounts logged in, and a second later, so that the limits are rested."""
    peer = Peer(**more)
    peer.open(*(accounts or (ACCOUNT,)))
    peer.now += S
    return peer
