"""Messages to bytes and back: MessagePack arrays, with the schema version where bytes leave the process."""

import msgspec

from bus.errors import DataError
from bus.messages import AnyMessage

SCHEMA_VERSION = 1
LARGEST_MESSAGE_BYTES = 4 * 1024 * 1024

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[AnyMessage] = msgspec.msgpack.Decoder(AnyMessage)
_VERSION_BYTE = bytes([SCHEMA_VERSION])

encode = _encoder.encode
"""Encode one message without a version byte: for places that state the version once (the journal's header)."""


def decode(data: bytes | memoryview) -> AnyMessage:
    """Decode one message.

    Raises:
        DataError: not a message of this schema.
    """
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        raise DataError(f"not a message of schema {SCHEMA_VERSION}: {error}") from error


def encode_versioned(message: AnyMessage) -> bytes:
    """Encode one message behind a byte that states the schema version: for transports.

    Raises:
        DataError: the message is larger than ``LARGEST_MESSAGE_BYTES``.
    """
    data = _VERSION_BYTE + _encoder.encode(message)
    if len(data) > LARGEST_MESSAGE_BYTES:
        raise DataError(f"a {type(message).__name__} of {len(data)} bytes exceeds {LARGEST_MESSAGE_BYTES}")
    return data


def decode_versioned(data: bytes) -> AnyMessage:
    """Decode what ``encode_versioned`` made.

    Raises:
        DataError: empty, too large, another schema version, or not a message.
    """
    if not data or len(data) > LARGEST_MESSAGE_BYTES:
        raise DataError(f"a frame of {len(data)} bytes; expected 1 to {LARGEST_MESSAGE_BYTES}")
    if data[0] != SCHEMA_VERSION:
        raise DataError(f"message schema {data[0]}, but this build speaks {SCHEMA_VERSION}; run the same release")
    return decode(memoryview(data)[1:])
