"""The journal: the record of everything that entered the core and everything it said.

Theory of operation. A journal is a folder of segment files. A segment is a header line and records; a record is

    length u32 | kind u8 | sequence u64 | payload (MessagePack) | chain digest (16 bytes)

all little-endian, ``length`` counting kind, sequence and payload. The digest of a record is BLAKE2b-128 over the
digest before it and the record's bytes, so one altered byte anywhere breaks the chain from there on; a new segment's
header repeats the digest it continues from. Sequence numbers count records from 1 without a gap, over all segments.

`append` only fills a buffer; `flush` hands it to the kernel (survives the death of this process), `commit` makes it
durable (survives the death of the machine). The engine commits before any command leaves. A crash can leave an
incomplete last record: opening cuts it off, since nothing was ever done on the strength of it.

Segment files were chosen over SQLite by measurement: see bench/bench_journal.py.
"""

import os
import struct
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

import msgspec

from bus.codec import SCHEMA_VERSION, decode, encode
from bus.errors import ConfigError, DataError, InvariantBroken
from bus.messages import AnyMessage

INPUT = 0
"""Record kind: a message that entered the core."""
OUTPUT = 1
"""Record kind: a message that the core said."""

DIGEST_BYTES = 16
LARGEST_RECORD_BYTES = 4 * 1024 * 1024
SEGMENT_BYTES = 64 * 1024 * 1024
_BUFFER_BYTES = 256 * 1024
_MAGIC = b"plimsoll-journal"
_HEAD = struct.Struct("<IBQ")
_GENESIS = bytes(DIGEST_BYTES)


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record: `kind` is INPUT or OUTPUT, `seq` its place in the journal."""

    seq: int
    kind: int
    message: AnyMessage


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What `verify` found. `broken_at` is the first record (or 0: a header) that does not fit the chain."""

    intact: bool
    records: int
    digest: str
    broken_at: int | None = None
    segment: str = ""
    reason: str = ""
    torn_bytes: int = 0


def segments(folder: Path) -> list[Path]:
    """The segment files of a journal, oldest first."""
    return sorted(folder.glob("*.seg"))


def _header(digest: bytes) -> bytes:
    return b"%s %d %s\n" % (_MAGIC, SCHEMA_VERSION, digest.hex().encode())


def _read_header(data: bytes, path: Path) -> tuple[int, bytes]:
    """Length of the header line and the digest it continues from."""
    end = data.find(b"\n", 0, 128)
    parts = data[:end].split(b" ") if end > 0 else []
    if len(parts) != 3 or parts[0] != _MAGIC:
        raise DataError(f"{path}: not a Plimsoll journal segment")
    if parts[1] != b"%d" % SCHEMA_VERSION:
        raise DataError(f"{path}: schema {parts[1].decode(errors='replace')}, this build reads {SCHEMA_VERSION}")
    try:
        return end + 1, bytes.fromhex(parts[2].decode())
    except ValueError:
        raise DataError(f"{path}: the header's digest is not hexadecimal") from None


class _Raw(msgspec.Struct, frozen=True, gc=False):
    seq: int
    kind: int
    payload: bytes
    digest: bytes
    end: int


def _walk(data: bytes, start: int) -> Iterator[_Raw]:
    """Records of a segment as bytes, up to the first that is incomplete or has an impossible length."""
    offset, size, head = start, len(data), _HEAD.size
    while offset + head <= size:
        length, kind, seq = _HEAD.unpack_from(data, offset)
        end = offset + 4 + length + DIGEST_BYTES
        if length < head - 4 or length > LARGEST_RECORD_BYTES or end > size:
            return
        yield _Raw(seq, kind, data[offset + head : end - DIGEST_BYTES], data[end - DIGEST_BYTES : end], end)
        offset = end


def _chain(previous: bytes, framed: bytes) -> bytes:
    return blake2b(previous + framed, digest_size=DIGEST_BYTES).digest()


def verify(folder: Path) -> Verdict:
    """Check every byte of a journal against its hash chain.

    Returns:
        The verdict; an incomplete last record of the last segment is reported as ``torn_bytes``, not as broken.

    Raises:
        ConfigError: the folder holds no journal.
    """
    files = segments(folder)
    if not files:
        raise ConfigError(f"no journal in {folder}; give the folder that holds *.seg files")
    digest, expected = _GENESIS, 1

    def broken(path: Path, at: int, reason: str) -> Verdict:
        return Verdict(
            intact=False,
            records=expected - 1,
            digest=digest.hex(),
            broken_at=at,
            segment=path.name,
            reason=reason,
        )

    for index, path in enumerate(files):
        data = path.read_bytes()
        try:
            start, continues = _read_header(data, path)
        except DataError as error:
            return broken(path, 0, str(error))
        if continues != digest:
            return broken(path, 0, "the header does not continue the segment before it")
        end = start
        for raw in _walk(data, start):
            framed = data[end : raw.end - DIGEST_BYTES]
            if _chain(digest, framed) != raw.digest:
                return broken(path, expected, "the record does not match its digest")
            if raw.seq != expected:
                return broken(path, expected, f"sequence {raw.seq} where {expected} belongs")
            digest, end, expected = raw.digest, raw.end, expected + 1
        if end < len(data):
            if index < len(files) - 1 or not _torn(data, end):
                return broken(path, expected, "bytes that are no record")
            return Verdict(intact=True, records=expected - 1, digest=digest.hex(), torn_bytes=len(data) - end)
    return Verdict(intact=True, records=expected - 1, digest=digest.hex())


def _torn(data: bytes, end: int) -> bool:
    """Whether the rest of a segment is a write that was cut short: an incomplete record, or zeros never filled."""
    rest = data[end:]
    if not rest.strip(b"\0"):
        return True
    if len(rest) < _HEAD.size:
        return True
    length = _HEAD.unpack_from(rest)[0]
    return _HEAD.size - 4 <= length <= LARGEST_RECORD_BYTES and 4 + length + DIGEST_BYTES > len(rest)


def read(folder: Path) -> Iterator[Record]:
    """All records of a journal in order, without checking the chain (``verify`` does that).

    Raises:
        ConfigError: the folder holds no journal.
        DataError: a segment's header or a record's payload cannot be read; names segment and record.
    """
    files = segments(folder)
    if not files:
        raise ConfigError(f"no journal in {folder}; give the folder that holds *.seg files")
    for path in files:
        data = path.read_bytes()
        start, _ = _read_header(data, path)
        for raw in _walk(data, start):
            try:
                yield Record(raw.seq, raw.kind, decode(raw.payload))
            except DataError as error:
                raise DataError(f"{path.name}, record {raw.seq}: {error}") from None


class Journal:
    """A journal open for appending. One writer a folder; the state directory's lock sees to that."""

    def __init__(self, folder: Path, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        """Open or create.

        Raises:
            InvariantBroken: the chain of an existing journal does not hold. It is left untouched.
        """
        self.folder = folder
        self.commits = 0
        self._segment_bytes = segment_bytes
        self._buffer = bytearray()
        self._failed: OSError | None = None
        self._durable = False  # an earlier process may have left records that only the kernel holds
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        files = segments(folder)
        if files:
            self._continue(files[-1])
        else:
            self._seq, self._digest = 0, _GENESIS
            self._start_segment()

    def _continue(self, last: Path) -> None:
        verdict = verify(self.folder)
        if not verdict.intact:
            raise InvariantBroken(
                f"journal {self.folder}: {verdict.reason} ({verdict.segment}, record {verdict.broken_at}); "
                "restore it from a backup or start a new run with --new"
            )
        self._seq, self._digest = verdict.records, bytes.fromhex(verdict.digest)
        self._fd = os.open(last, os.O_WRONLY | os.O_APPEND)
        self._size = os.fstat(self._fd).st_size - verdict.torn_bytes
        if verdict.torn_bytes:
            os.ftruncate(self._fd, self._size)
            os.fsync(self._fd)

    def _start_segment(self) -> None:
        path = self.folder / f"{self._seq + 1:012d}.seg"
        header = _header(self._digest)
        # Under another name until the header is durable: a crash in between leaves no half segment.
        unfinished = path.with_suffix(".new")
        self._fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        os.write(self._fd, header)
        os.fsync(self._fd)
        unfinished.replace(path)
        directory = os.open(self.folder, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)
        self._size = len(header)

    @property
    def seq(self) -> int:
        """Sequence number of the last record appended; 0 = none."""
        return self._seq

    @property
    def digest(self) -> str:
        """The chain's digest after the last record appended."""
        return self._digest.hex()

    def append(self, kind: int, message: AnyMessage) -> int:
        """Add a record to the buffer and return its sequence number. Not durable yet.

        Raises:
            DataError: the message is larger than a record may be; nothing was written.
            OSError: the disk refuses, now or once before. What followed a half-written record would break the chain,
                and a sync that failed may report success the next time without having written anything.
        """
        payload = encode(message)
        if len(payload) + 9 > LARGEST_RECORD_BYTES:
            raise DataError(f"a {type(message).__name__} of {len(payload)} bytes exceeds {LARGEST_RECORD_BYTES}")
        self._seq = seq = self._seq + 1
        framed = _HEAD.pack(len(payload) + 9, kind, seq) + payload
        self._digest = digest = blake2b(self._digest + framed, digest_size=DIGEST_BYTES).digest()
        self._buffer += framed
        self._buffer += digest
        self._durable = False
        if len(self._buffer) >= _BUFFER_BYTES or self._failed is not None:
            self.flush()
        return seq

    def flush(self) -> None:
        """Hand the buffer to the kernel, and turn to a new segment where this one is full."""
        if not self._buffer and self._failed is None:
            return
        if self._failed is not None:
            raise OSError(f"the journal {self.folder} failed before: {self._failed}") from self._failed
        try:
            self._write()
        except OSError as error:
            self._failed = error
            raise

    def _write(self) -> None:
        view = memoryview(self._buffer)
        while view:
            view = view[os.write(self._fd, view) :]
        self._size += len(self._buffer)
        self._buffer = bytearray()
        if self._size >= self._segment_bytes:
            os.fsync(self._fd)
            os.close(self._fd)
            self._fd = -1
            self._start_segment()

    def commit(self) -> None:
        """Make everything appended so far durable. Raises OSError where the disk refuses: then nothing may leave."""
        if self._durable:
            return
        self.flush()
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            self._failed = error
            raise
        self._durable = True
        self.commits += 1

    def close(self) -> None:
        """Commit and close; safe to call twice."""
        if self._fd >= 0:
            try:
                if self._failed is None:
                    self.commit()
            finally:
                os.close(self._fd)
                self._fd = -1
