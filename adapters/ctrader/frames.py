"""Bytes to frames, frames to messages, and back. No I/O, no clock, no knowledge of who speaks.

Theory of operation. A frame is a 4-byte big-endian length and so many bytes of ``ProtoMessage``: the envelope, which
carries a payload type, a correlation id and the serialised inner message. ``FrameDecoder`` turns any cut of the byte
stream into the same frames. ``decode_envelope`` opens one: the envelope's payload type says what is inside, an unknown
type is survived with ``message`` None, unknown fields are survived and counted.

What comes from outside is hostile until decoded. A length beyond the limit, bytes that do not parse, text that is not
UTF-8 (protobuf would hand it out as ``bytes``), an inner message that names another type than its envelope, and a
frame made of so many tiny fields that decoding would cost fifty times its size, all raise ``ProtocolError`` "theirs"
and nothing else. Texts of errors never quote content: it may hold a token.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, EncodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from adapters.ctrader.messages import common, model, openapi
from bus.errors import ProtocolError

MAX_FRAME_BYTES = 15_000_000
"""Largest frame either way: what the official client accepts. The server's own limit is not published."""

# Below this size the worst frame costs 15 MB and 0.2 s to decode; above it fields are counted first.
_UNCOUNTED_BYTES = 256 * 1024
# A symbol list of 30 000 entries stays below, and so do 100 000 ticks; 300 000 fields are decoded and looked through in
# half a second and 40 MB.
_MOST_FIELDS = 300_000

_HEADER_BYTES = 4
_TEXT = FieldDescriptor.TYPE_STRING
_MESSAGE = FieldDescriptor.TYPE_MESSAGE
_BYTES = FieldDescriptor.TYPE_BYTES
_ENUM = FieldDescriptor.TYPE_ENUM


def _by_type() -> dict[int, Any]:
    known: dict[int, Any] = {}
    for module in (common, openapi):
        for name, descriptor in module.DESCRIPTOR.message_types_by_name.items():
            field = descriptor.fields_by_name.get("payloadType")
            if field is not None and field.has_default_value:
                known[int(field.default_value)] = getattr(module, name)
    return known


MESSAGES: Mapping[int, Any] = _by_type()
"""Payload type to message class, built from the default of each message's ``payloadType`` field."""

_NUMBERS = {each.DESCRIPTOR.name: number for number, each in MESSAGES.items()}
ANSWERS: Mapping[int, int] = {
    number: _NUMBERS[f"{name[:-3]}Res"]
    for name, number in _NUMBERS.items()
    if name.endswith("Req") and f"{name[:-3]}Res" in _NUMBERS
}
"""Payload type of a request to that of its response. The five trading requests have none: events answer them."""

REQUESTS = frozenset(number for name, number in _NUMBERS.items() if name.endswith("Req"))
"""Payload types that a client may send as requests."""

# Required in these bindings, optional in the current schema: absence is no fault of the sender.
_RELAXED = {
    "ProtoOAGetTrendbarsRes": {"timestamp"},
    "ProtoOADealListReq": {"fromTimestamp", "toTimestamp"},
    "ProtoOAOrderListReq": {"fromTimestamp", "toTimestamp"},
    "ProtoOADealListByPositionIdReq": {"fromTimestamp", "toTimestamp"},
    "ProtoOAGetTrendbarsReq": {"fromTimestamp", "toTimestamp"},
    "ProtoOAGetTickDataReq": {"fromTimestamp", "toTimestamp"},
}


class Envelope(NamedTuple):
    """One opened frame.

    Attributes:
        payload_type: number that says what the message is; kept also where it is unknown.
        client_msg_id: the requester's correlation id; empty = none.
        message: the inner message; None = a payload type that this version does not know.
        unknown_fields: fields at any depth (of a spot event: on top) that this version does not know.
    """

    payload_type: int
    client_msg_id: str
    message: Any | None
    unknown_fields: int = 0


class OversizeFrame(ProtocolError):
    """A length beyond the limit was announced.

    Attributes:
        frames_before: complete frames of the same call that came before it; they are valid.
    """

    def __init__(self, announced: int, limit: int, frames_before: list[bytes]) -> None:
        super().__init__("theirs", f"a frame of {announced} bytes is announced, the limit is {limit}")
        self.frames_before = frames_before


def encode_frame(payload: bytes) -> bytes:
    """Put the length before a payload.

    Raises:
        ValueError: the payload is larger than ``MAX_FRAME_BYTES``.
    """
    if len(payload) > MAX_FRAME_BYTES:
        raise ValueError(f"a frame of {len(payload)} bytes is beyond the limit of {MAX_FRAME_BYTES}")
    return len(payload).to_bytes(_HEADER_BYTES, "big") + payload


class FrameDecoder:
    """Cuts a byte stream into frames. Holds at most one unfinished frame and the piece just fed."""

    def __init__(self, limit: int = MAX_FRAME_BYTES) -> None:
        self._limit = limit
        self._rest = bytearray()
        self._broken: ProtocolError | None = None

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next piece of the stream and return the frames it completes, in order.

        Raises:
            OversizeFrame: a length beyond the limit; carries the frames before it.
            ProtocolError: fed again after that. The stream has no frame boundaries any more.
        """
        if self._broken is not None:
            raise ProtocolError("theirs", "bytes after a frame beyond the limit")
        if self._rest:
            self._rest += data
            source: bytes | bytearray = self._rest
        else:
            source = data
        frames: list[bytes] = []
        start, size = 0, len(source)
        while size - start >= _HEADER_BYTES:
            length = int.from_bytes(source[start : start + _HEADER_BYTES], "big")
            if length > self._limit:
                self._rest = bytearray()
                self._broken = OversizeFrame(length, self._limit, frames)
                raise self._broken
            end = start + _HEADER_BYTES + length
            if end > size:
                break
            frames.append(bytes(source[start + _HEADER_BYTES : end]))
            start = end
        if source is self._rest:
            del self._rest[:start]
        elif start < size:
            self._rest += source[start:]
        return frames


def encode_envelope(message: Any, client_msg_id: str = "") -> bytes:
    """Serialise a message inside its envelope; the payload type is the message's own.

    Raises:
        ProtocolError: "ours", a required field is missing.
    """
    try:
        payload: bytes = message.SerializeToString()
    except EncodeError as failed:
        raise ProtocolError("ours", str(failed)) from None
    envelope = common.ProtoMessage(payloadType=message.payloadType)
    if payload:  # senders leave an empty payload out
        envelope.payload = payload
    if client_msg_id:
        envelope.clientMsgId = client_msg_id
    return envelope.SerializeToString()


def decode_envelope(payload: bytes) -> Envelope:
    """Open one frame.

    Raises:
        ProtocolError: "theirs", the frame is not an envelope, or what it holds is not what it says. A message that
            lacks required fields is returned: see ``missing_fields``.
    """
    envelope = _parse(common.ProtoMessage, payload)
    number: int = envelope.payloadType
    text = envelope.clientMsgId
    if number == 0 or not isinstance(text, str):
        raise ProtocolError("theirs", "an envelope without payload type, or with an id that is not text")
    kind = MESSAGES.get(number)
    unknown = len(UnknownFieldSet(envelope))
    if kind is None:
        return Envelope(number, text, None, unknown)
    message = _parse(kind, envelope.payload)
    if message.payloadType != number:
        raise ProtocolError("theirs", f"the envelope says payload type {number}, the message {message.payloadType}")
    # Spot events are nine tenths of all traffic and hold no text; walking through each would double their cost.
    unknown += len(UnknownFieldSet(message)) if number == _SPOT else _examine(message)
    return Envelope(number, text, message, unknown)


_SPOT = _NUMBERS["ProtoOASpotEvent"]


def missing_fields(message: Any) -> list[str]:
    """Paths of required fields that a decoded message lacks, at most ``MOST_TOLD``; empty for a complete one.

    Fields that the current schema has made optional do not count, nor do enumerations: see ``unread_values``. A message
    of another type under a wrong number parses (its fields are unknown ones) and shows here.
    """
    return _lacking(message, enumerated=False)


def unread_values(message: Any) -> list[str]:
    """Paths of required enumerations without a value that this version knows. They read as their first value, wrongly.

    The broker adds values without notice, so such a message is nobody's fault; but nothing may be concluded from it.
    At most ``MOST_TOLD``.
    """
    return _lacking(message, enumerated=True)


MOST_TOLD = 20
"""The list of everything that a hostile message lacks may be hundreds of times as large as the message."""


def _lacking(message: Any, *, enumerated: bool) -> list[str]:
    if message.IsInitialized():
        return []
    relaxed = _RELAXED.get(message.DESCRIPTOR.name, ())
    found = (path for path in _absent(message, enumerated=enumerated) if path not in relaxed)
    return list(islice(found, MOST_TOLD))


def _absent(message: Any, *, enumerated: bool) -> Iterator[str]:
    for field in message.DESCRIPTOR.fields:
        if field.is_required and (field.type == _ENUM) == enumerated and not message.HasField(field.name):
            yield field.name
    for field, value in message.ListFields():
        if field.type == _MESSAGE:
            parts = enumerate(value) if field.is_repeated else ((None, value),)
            for row, part in parts:
                if part.IsInitialized():
                    continue
                at = field.name if row is None else f"{field.name}[{row}]"
                for path in _absent(part, enumerated=enumerated):
                    yield f"{at}.{path}"


def _parse(kind: Any, raw: bytes) -> Any:
    if len(raw) > _UNCOUNTED_BYTES and _count_fields(raw, 0, len(raw), kind.DESCRIPTOR, 0) > _MOST_FIELDS:
        raise ProtocolError("theirs", f"a {kind.DESCRIPTOR.name} of more than {_MOST_FIELDS} fields")
    try:
        return kind.FromString(raw)
    except DecodeError:
        raise ProtocolError("theirs", f"bytes that are no {kind.DESCRIPTOR.name}") from None


# Bars, ticks and the like come by the hundred thousand and hold nothing to look at.
_NUMBERS_ALONE = frozenset(
    each.full_name
    for each in model.DESCRIPTOR.message_types_by_name.values()
    if not any(field.type in {_TEXT, _MESSAGE} for field in each.fields)
)


def _examine(message: Any) -> int:
    """Count the unknown fields of a message at any depth.

    Raises:
        ProtocolError: "theirs", a text that is not UTF-8.
    """
    unknown = len(UnknownFieldSet(message))
    for field, value in message.ListFields():
        if field.type == _MESSAGE:
            parts = value if field.is_repeated else (value,)
            if field.message_type.full_name in _NUMBERS_ALONE:
                unknown += sum(len(UnknownFieldSet(part)) for part in parts)
            else:
                unknown += sum(map(_examine, parts))
        elif field.type == _TEXT:
            for text in value if field.is_repeated else (value,):
                if not isinstance(text, str):
                    raise ProtocolError("theirs", f"{message.DESCRIPTOR.name}.{field.name} is not UTF-8")
    return unknown


def _varint(raw: bytes, at: int, end: int) -> tuple[int, int]:
    """Read a variable-length integer: its value and where it ends; the end of input where it is cut off."""
    value = shift = 0
    while at < end:
        byte = raw[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            break
    return 0, end


def _count_fields(raw: bytes, at: int, end: int, descriptor: Any, count: int) -> int:
    """Count the fields of a serialised message and its messages, stopping soon after ``_MOST_FIELDS``.

    Malformed input ends the count early: the parser refuses it, so what follows costs nothing.
    """
    while at < end and count <= _MOST_FIELDS:
        count += 1
        tag, at = (raw[at], at + 1) if raw[at] < 0x80 else _varint(raw, at, end)
        wire = tag & 7
        if wire == 0:
            _, at = _varint(raw, at, end)
        elif wire == 1:
            at += 8
        elif wire == 5:
            at += 4
        elif wire == 2:
            size, at = (raw[at], at + 1) if at < end and raw[at] < 0x80 else _varint(raw, at, end)
            stop = min(at + size, end)
            field = descriptor.fields_by_number.get(tag >> 3)
            if field is not None and field.type == _MESSAGE:
                count = _count_fields(raw, at, stop, field.message_type, count)
            elif field is not None and field.is_repeated and field.type not in {_TEXT, _BYTES}:
                count += size  # packed numbers: at most one a byte
            at = stop
        # groups open and close with a tag alone: their fields are counted as if they stood here
    return count
