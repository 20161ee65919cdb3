"""Event files as TensorBoard reads them: scalars, written without its library.

A file is a row of records (TFRecord): length as uint64, its checksum, the bytes, their checksum; a checksum is CRC-32C
(Castagnoli, RFC 3720) rotated right by 15 bits plus 0xa282ead8. The bytes are an `Event` message in protobuf's wire
format: wall_time = 1 (double), step = 2 (int64), file_version = 3 (string), summary = 5, which holds
value = 1 {tag = 1 (string), simple_value = 2 (float)}.
"""

import math
import os
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_POLYNOMIAL = 0x82F63B78
_KINDS = ("step", "epoch")


def _table() -> tuple[int, ...]:
    rows: list[int] = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)
        rows.append(value)
    return tuple(rows)


_TABLE = _table()


def crc32c(data: bytes) -> int:
    """The Castagnoli checksum."""
    value = 0xFFFFFFFF
    for byte in data:
        value = (value >> 8) ^ _TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


class EventFile:
    """One event file of a run; tags are SYMBOL-network/figure.

    Args:
        folder: that TensorBoard is pointed at.
    """

    def __init__(self, folder: Path) -> None:
        name = f"events.out.tfevents.{int(time.time())}.{os.getpid()}.{time.monotonic_ns()}"
        self._file = (folder / name).open("xb")
        self._write(_text(3, b"brain.Event:2"))

    def add(self, record: Mapping[str, Any]) -> None:
        """The figures of a step or an epoch; anything else is left out."""
        if record.get("kind") not in _KINDS:
            return
        prefix = f"{record.get('symbol', '')}-{record['network']}"
        figures = {name: value for name, value in record.items() if isinstance(value, float) and name != "at_s"}
        values = b"".join(
            _text(1, _text(1, f"{prefix}/{name}".encode()) + b"\x15" + struct.pack("<f", value))
            for name, value in figures.items()
            if math.isfinite(value)
        )
        self._write(b"\x10" + _varint(int(record["step"])) + _text(5, values))

    def close(self) -> None:
        """No more."""
        self._file.close()

    def _write(self, rest: bytes) -> None:
        event = b"\x09" + struct.pack("<d", time.time()) + rest
        length = struct.pack("<Q", len(event))
        self._file.write(length + _masked(length) + event + _masked(event))
        self._file.flush()


def _masked(data: bytes) -> bytes:
    value = crc32c(data)
    return struct.pack("<I", ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _text(field: int, data: bytes) -> bytes:
    return bytes([field << 3 | 2]) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
