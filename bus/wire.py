"""What the NATS transport says and shows, without I/O: subjects, stream names, addresses, frames of several messages.

A frame of answers is the schema version byte, then a MessagePack array of byte strings, each one encoded message.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from bus.codec import LARGEST_MESSAGE_BYTES, SCHEMA_VERSION, decode, encode
from bus.errors import ConfigError, DataError
from bus.messages import AnyMessage
from bus.topics import LANE_OF, TOPIC_OF, Lane

LARGEST_ANSWER = 1_000
"""Messages in one frame: some tens of models with their patterns."""

_frame_decoder = msgspec.msgpack.Decoder(list[bytes])
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
_SCHEMES = ("nats", "tls", "ws", "wss")
_LONGEST_NAMESPACE = 64


@dataclass(frozen=True, slots=True)
class Names:
    """The subjects and the stream of one namespace. Two namespaces never share a subject."""

    prefix: str

    @classmethod
    def of(cls, namespace: str) -> "Names":
        """Names from what a user wrote; what NATS would misread is replaced, and a digest keeps such names apart.

        Raises:
            ConfigError: empty, or longer than 64 characters.
        """
        if not 0 < len(namespace) <= _LONGEST_NAMESPACE:
            raise ConfigError(f"a bus namespace has 1 to {_LONGEST_NAMESPACE} characters, not {len(namespace)}")
        safe = _UNSAFE.sub("_", namespace)
        if safe != namespace:
            safe += "-" + hashlib.sha256(namespace.encode()).hexdigest()[:8]
        return cls(safe)

    @property
    def stream(self) -> str:
        """The JetStream stream that holds this namespace's facts."""
        return f"{self.prefix}-facts"

    @property
    def fact_subjects(self) -> list[str]:
        """What the stream listens to: every topic of the facts' lane."""
        facts = {topic: None for kind, topic in TOPIC_OF.items() if LANE_OF[kind] is Lane.FACTS}
        return [self.topic(topic) for topic in facts]

    @property
    def ask(self) -> str:
        """Where forecast requests go. Not a topic, so not in the stream."""
        return f"{self.prefix}.forecasting"

    def topic(self, topic: str) -> str:
        """Every subject of a topic."""
        return f"{self.prefix}.{topic}.>"

    def subject(self, message: AnyMessage) -> str:
        """The subject of one message: ``<prefix>.<topic>.<symbol>``, with ``_`` where it has no symbol."""
        symbol: str = getattr(message, "symbol", "") or "_"
        return f"{self.prefix}.{TOPIC_OF[type(message)]}.{_UNSAFE.sub('_', symbol)}"


def shown(url: str) -> str:
    """An address without user, password, token, path or query: fit for errors and logs."""
    parts = [part.strip() for part in url.split(",")] if "@" not in url else [url.strip()]
    texts: list[str] = []
    for part in parts:
        scheme, separator, rest = part.partition("://")
        if not separator:
            scheme, rest = "nats", part
        # Everything up to the last @ may be a secret, also where it was not escaped.
        host = re.split(r"[/?#]", rest.rpartition("@")[2], maxsplit=1)[0]
        texts.append(f"{scheme if scheme in _SCHEMES else 'nats'}://{host or '?'}")
    return ",".join(texts)


def servers(url: str) -> list[str]:
    """The addresses of one or several servers, comma separated.

    Raises:
        ConfigError: not an address. Never quotes credentials.
    """
    found = [part.strip() for part in url.split(",") if part.strip()]
    hint = "write nats://HOST:PORT (or nats://USER:PASSWORD@HOST:PORT, special characters as %XX)"
    if not found:
        raise ConfigError(f"the bus address is empty; {hint}")
    pattern = re.compile(
        rf"(?:(?:{'|'.join(_SCHEMES)})://)?(?:[^@/?#\s]*@)?(?:[\w.-]+|\[[0-9a-fA-F:.]+\])(?::(\d+))?/?"
    )
    for part in found:
        match = pattern.fullmatch(part)
        if match is None or int(match[1] or 1) not in range(1, 65_536):
            raise ConfigError(f"{shown(url)} is no bus address; {hint}")
    return [part.rstrip("/") for part in found]


def encode_answers(messages: Sequence[AnyMessage]) -> bytes:
    """Several messages in one frame.

    Raises:
        DataError: more than ``LARGEST_ANSWER`` messages or ``LARGEST_MESSAGE_BYTES``.
    """
    data = bytes([SCHEMA_VERSION]) + msgspec.msgpack.encode([encode(message) for message in messages])
    if len(messages) > LARGEST_ANSWER or len(data) > LARGEST_MESSAGE_BYTES:
        raise DataError(
            f"an answer of {len(messages)} messages and {len(data)} bytes; "
            f"at most {LARGEST_ANSWER} and {LARGEST_MESSAGE_BYTES}"
        )
    return data


def decode_answers(data: bytes) -> list[AnyMessage]:
    """What ``encode_answers`` framed.

    Raises:
        DataError: anything else.
    """
    if not data or len(data) > LARGEST_MESSAGE_BYTES or data[0] != SCHEMA_VERSION:
        raise DataError(f"not an answer of schema {SCHEMA_VERSION}: {len(data)} bytes")
    try:
        parts = _frame_decoder.decode(memoryview(data)[1:])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DataError(f"not an answer of schema {SCHEMA_VERSION}: {error}") from error
    if len(parts) > LARGEST_ANSWER:
        raise DataError(f"an answer of {len(parts)} messages; at most {LARGEST_ANSWER}")
    return [decode(part) for part in parts]
