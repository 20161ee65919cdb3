"""Fields of the current schema that the generated messages do not know: written and read as unknown fields."""

from typing import Any

from google.protobuf import unknown_fields


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def put_varint(message: Any, field: int, value: int) -> None:
    """Set a numeric or boolean field by its number; the value is not negative."""
    message.MergeFromString(_varint(field << 3) + _varint(value))


def put_text(message: Any, field: int, text: str) -> None:
    """Set a string field by its number."""
    data = text.encode()
    message.MergeFromString(_varint(field << 3 | 2) + _varint(len(data)) + data)


def get_varint(message: Any, field: int) -> int | None:
    """A numeric field by its number; None = absent."""
    found = None
    for entry in unknown_fields.UnknownFieldSet(message):
        if entry.field_number == field and isinstance(entry.data, int):
            found = entry.data
    return found
