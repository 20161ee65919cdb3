"""The venue as bytes: framing and faults around the core, still without I/O. Server and simulation both drive this.

Theory of operation. Every call returns `Wire`s: bytes for a connection with a due time, and what happens to the
connection after them. Whoever drives it writes each when it is due; pieces of one connection are in order of due time
unless a fault wants otherwise. Faults strike between the core and the wire, so what they hide has still happened.
"""

from typing import NamedTuple

from adapters.ctrader.frames import (
    Envelope,
    FrameDecoder,
    OversizeFrame,
    decode_envelope,
    encode_envelope,
    encode_frame,
)
from adapters.ctrader.messages import common, model, openapi
from adapters.ctrader.venue.core import CLOSE, Outgoing, Venue
from adapters.ctrader.venue.faults import Fault, Faults, Plan
from bus.errors import ProtocolError
from bus.messages import Quote
from bus.values import NS_PER_S

_HOSTILE = {
    "oversize": b"\x7f\xff\xff\xff" + b"\x00" * 64,
    "garbage": encode_frame(b"\xff\xfe\xfd" * 21),
    "wrong_type": encode_frame(
        common.ProtoMessage(  # an error in the envelope of a spot
            payloadType=2131,
            payload=openapi.ProtoOAErrorRes(payloadType=2142, errorCode="UNKNOWN_ERROR").SerializeToString(),
        ).SerializeToString()
    ),
}
_UNKNOWN_TYPE = encode_frame(common.ProtoMessage(payloadType=2999, payload=b"\x08\xb7\x17").SerializeToString())
_UNKNOWN_FIELD = b"\xf8\x7f\x01"
"""Field 2047 with the value 1, as a version that knows it would write it."""


class Wire(NamedTuple):
    """Bytes that are due on a connection, and what follows: nothing, ``close`` in good order, or ``reset``."""

    connection: int
    data: bytes
    due_ns: int
    then: str = ""


class Endpoint:
    """One venue behind one address."""

    def __init__(self, venue: Venue, plan: Plan | None = None) -> None:
        self.venue = venue
        self._faults = Faults(plan or Plan())
        self._decoders: dict[int, FrameDecoder] = {}
        self._stalled: set[int] = set()
        self._muted: set[tuple[int, str]] = set()
        self._held: dict[int, list[Wire]] = {}
        self._due: dict[int, int] = {}
        self._asked: dict[int, str] = {}

    # --- what happens ---------------------------------------------------------------------------------------------

    def connect(self, now_ns: int) -> int:
        """A client has connected; its number."""
        self._faults.start(now_ns)
        number = self.venue.connect(now_ns)
        self._decoders[number] = FrameDecoder(self.venue.spec.limits.frame_bytes)
        return number

    def refuses(self, now_ns: int) -> bool:
        """Whether nobody is let in just now; whoever drives the venue closes what connects."""
        return self._faults.holding("refused", now_ns) is not None

    def disconnect(self, number: int) -> None:
        """A client has gone."""
        self.venue.disconnect(number)
        self._forget(number)

    def data(self, number: int, data: bytes, now_ns: int) -> list[Wire]:
        """Bytes of a client, cut anywhere."""
        decoder = self._decoders.get(number)
        if decoder is None or number in self._stalled:
            return []
        too_long = False
        try:
            frames = decoder.feed(data)
        except OversizeFrame as error:
            frames, too_long = error.frames_before, True
        out = self._moment(now_ns)
        for frame in frames:
            if number not in self._decoders or number in self._stalled:
                break
            out += self._request(number, frame, now_ns)
        if too_long and number in self._decoders:
            error = openapi.ProtoOAErrorRes(errorCode="FRAME_TOO_LONG", description="the frame is too long")
            out.append(Wire(number, encode_frame(encode_envelope(error)), now_ns, "close"))
            self.disconnect(number)
        return out

    def timer(self, now_ns: int) -> list[Wire]:
        """Do what time brings: heartbeats, closed connections, timed faults."""
        return [*self._moment(now_ns), *self._send(self.venue.timer(now_ns), now_ns)]

    def next_timer_ns(self) -> int | None:
        """When `timer` must be called next."""
        moments = [moment for moment in (self.venue.next_timer_ns(), self._faults.next_ns()) if moment is not None]
        return min(moments, default=None)

    def on_quote(self, quote: Quote, now_ns: int) -> list[Wire]:
        """A price comes to the market.

        Raises:
            DataError: an impossible quote.
        """
        offset = self._faults.holding("clock_offset", now_ns)
        self.venue.market.offset_ms = offset.min_ms if offset is not None else 0
        return [*self._moment(now_ns), *self._send(self.venue.on_quote(quote, now_ns), now_ns)]

    def advance(self, market_ns: int, now_ns: int) -> list[Wire]:
        """Market time passes without a price."""
        return self._send(self.venue.advance(market_ns, now_ns), now_ns)

    def send(self, out: list[Outgoing], now_ns: int) -> list[Wire]:
        """Put on the wire what an operation of the venue itself caused."""
        return self._send(out, now_ns)

    def calm(self, now_ns: int) -> list[Wire]:
        """No fault strikes from now on: maintenance is over, and connections that were left half-open are reset."""
        self._faults = Faults(Plan())
        self.venue.maintain(0)
        self._muted.clear()
        self._held.clear()
        return [self._reset(number, b"", now_ns) for number in sorted(self._stalled)]

    # --- faults ---------------------------------------------------------------------------------------------------

    def _moment(self, now_ns: int) -> list[Wire]:
        """Timed faults that begin."""
        out: list[Outgoing] = []
        for fault in self._faults.due(now_ns):
            until_ns = now_ns + int(fault.for_s * NS_PER_S)
            first = next(iter(self.venue.accounts))
            if fault.kind == "token_invalidated":
                out += self.venue.invalidate_tokens(now_ns)
            elif fault.kind == "token_expired":
                self.venue.tokens.expire()
            elif fault.kind in {"account_disconnect", "silent_logout"}:
                out += self.venue.drop_account(first, now_ns, silent=fault.kind == "silent_logout")
            elif fault.kind == "client_disconnect":
                out += self.venue.drop_application(now_ns, "by an administrator")
            elif fault.kind == "maintenance":
                self.venue.maintain(until_ns)
            else:
                self.venue.throttle(fault.payload_type, until_ns)
        return self._send(out, now_ns)

    def _request(self, number: int, frame: bytes, now_ns: int) -> list[Wire]:
        opened = _opened(frame) if self._faults.planned else None
        if opened is not None and opened.client_msg_id:
            self._asked[number] = opened.client_msg_id
        for fault in self._faults.striking(opened, now_ns) if opened is not None else ():
            if fault.kind == "deaf":
                return []
            if fault.kind == "half_open":
                self._stalled.add(number)
                return []
            if fault.kind.startswith("reset"):
                before = [] if fault.kind == "reset_before" else self.venue.receive(number, frame, now_ns)
                others = self._send([each for each in before if each.connection != number], now_ns)
                return [*others, self._reset(number, b"", now_ns)]
        return self._send(self.venue.receive(number, frame, now_ns), now_ns)

    def _reset(self, number: int, data: bytes, due_ns: int) -> Wire:
        self.disconnect(number)
        return Wire(number, data, due_ns, "reset")

    def _forget(self, number: int) -> None:
        self._decoders.pop(number, None)
        self._held.pop(number, None)
        self._due.pop(number, None)
        self._asked.pop(number, None)
        self._stalled.discard(number)
        self._muted = {each for each in self._muted if each[0] != number}

    def _send(self, out: list[Outgoing], now_ns: int) -> list[Wire]:
        wires: list[Wire] = []
        for number, payload, said_ns in out:
            if number not in self._decoders or number in self._stalled:
                continue
            latency = self._faults.holding("latency", now_ns)
            late_ns = said_ns if latency is None else said_ns + self._faults.delay_ns(latency)
            due_ns = self._due[number] = max(late_ns, self._due.get(number, 0))
            if payload == CLOSE:
                wires.append(Wire(number, b"", due_ns, "close"))
                self._forget(number)
                continue
            wires += self._strike(number, payload, due_ns, now_ns)
        return wires

    def _strike(self, number: int, payload: bytes, due_ns: int, now_ns: int) -> list[Wire]:
        """One message on its way out, with whatever strikes it."""
        plain = Wire(number, encode_frame(payload), due_ns)
        opened = _opened(payload) if self._faults.planned else None
        if opened is None:
            return [plain]
        if opened.payload_type == 2131 and self._faults.holding("silent_feed", now_ns) is not None:
            return []
        if opened.client_msg_id and (number, opened.client_msg_id) in self._muted:
            return []
        held = self._held.pop(number, [])
        wires = [plain]
        for fault in self._faults.striking(opened, now_ns):
            wires = self._apply(fault, opened, wires)
            if number not in self._decoders or number in self._stalled:
                return wires
        return [*wires, *(each._replace(due_ns=max(each.due_ns, due_ns)) for each in held)]

    def _apply(self, fault: Fault, opened: Envelope, wires: list[Wire]) -> list[Wire]:
        if not wires:
            return wires
        number, frame, due_ns, _ = wires[0]
        kind = fault.kind
        if kind == "lose":
            return []
        if kind == "late":
            return [wire._replace(due_ns=wire.due_ns + self._faults.delay_ns(fault)) for wire in wires]
        if kind == "double":
            return [*wires, wires[0]]
        if kind == "reorder":
            self._held[number] = wires
            return []
        if kind in {"unknown_type", "unknown_field", "borrowed_id", "short"}:
            return self._odd(fault, opened, wires)
        if kind == "silent_after":
            self._muted.add((number, opened.client_msg_id))
        elif kind == "half_open":
            self._stalled.add(number)
            return []
        elif kind in {"reset_before", "reset_within", "reset_after"}:
            kept = {"reset_before": 0, "reset_within": len(frame) // 2, "reset_after": len(frame)}[kind]
            return [self._reset(number, frame[:kept], due_ns)]
        elif kind == "truncated":
            self.disconnect(number)
            return [*wires, Wire(number, frame[: len(frame) // 2], due_ns, "close")]
        elif kind in _HOSTILE:
            return [*wires, Wire(number, _HOSTILE[kind], due_ns)]
        return wires

    def _odd(self, fault: Fault, opened: Envelope, wires: list[Wire]) -> list[Wire]:
        """What is unusual and not hostile."""
        first, message = wires[0], opened.message
        if fault.kind == "unknown_type" or message is None:
            return [*wires, first._replace(data=_UNKNOWN_TYPE)]
        if fault.kind == "borrowed_id":
            borrowed = encode_frame(encode_envelope(message, self._asked.get(first.connection, "")))
            return [*wires, first._replace(data=borrowed)]
        if fault.kind == "short":
            if opened.payload_type == model.PROTO_OA_GET_TRENDBARS_RES and len(message.trendbar) > 1:
                del message.trendbar[-1]
        else:
            message.MergeFromString(_UNKNOWN_FIELD)
        return [first._replace(data=encode_frame(encode_envelope(message, opened.client_msg_id))), *wires[1:]]


def _opened(payload: bytes) -> Envelope | None:
    try:
        return decode_envelope(payload)
    except ProtocolError:
        return None
