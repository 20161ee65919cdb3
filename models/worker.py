"""Inference in a process of its own, `python -m models.worker`: frames in on standard input, out on standard output.

Theory of operation. A frame is a kind (1 byte), a number (8 bytes) and a length (4 bytes), big-endian, then so many
bytes. The parent hands over artifacts, asks, and looks after the health of the child; each frame is answered by one of
the same number. Requests that have gathered while one was being answered are taken together, the nearest deadline
first. Artifacts are verified here as everywhere; one that is unsound fails the load and leaves the old ones in service.
The child ends when its standard input does, so it never outlives its parent. Nothing is written to standard output but
frames: whatever a library prints goes to standard error.
"""

import os
import resource
import select
import struct
import sys
import time

import msgspec

from bus.codec import LARGEST_MESSAGE_BYTES, decode, encode
from bus.errors import DataError, ModelError
from bus.messages import ForecastRequested
from models import artifact
from models.serve import Service

ASK, LOAD, HEALTH, FAILED = 1, 2, 3, 4
HEADER = struct.Struct(">BQI")
LARGEST_FRAME_BYTES = LARGEST_MESSAGE_BYTES
LARGEST_LOAD_BYTES = 1024**3
Bytes = tuple[str, bytes, bytes]
"""An artifact on its way: its id, its manifest, its weights."""


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """How an inference process is.

    Attributes:
        models: ids that it answers with.
        answered: requests since it began.
        missed: forecasts that did not come, by reason.
        taken_together: most requests that were waiting at once.
        memory_bytes: most memory that the process has had.
        busy_ppm: share of the time since it began in which it computed, in millionths.
        up_s: seconds since it began.
    """

    models: tuple[str, ...]
    answered: int
    missed: dict[str, int]
    taken_together: int
    memory_bytes: int
    busy_ppm: int
    up_s: float


def frame(kind: int, number: int, payload: bytes) -> bytes:
    """One frame."""
    return HEADER.pack(kind, number, len(payload)) + payload


class Worker:
    """What the child does, apart from reading and writing."""

    def __init__(self) -> None:
        self._service = Service()
        self._models: tuple[str, ...] = ()
        self._answered = 0
        self._missed: dict[str, int] = {}
        self._together = 0
        self._busy_s = 0.0
        self._began_s = time.monotonic()

    def serve(self, frames: list[tuple[int, int, bytes]]) -> list[bytes]:
        """Answer what has gathered: loads and questions about health in order, then requests by deadline."""
        began_s = time.monotonic()
        out: list[bytes] = []
        asked: list[tuple[int, ForecastRequested]] = []
        for kind, number, payload in frames:
            try:
                if kind == LOAD:
                    out.append(frame(LOAD, number, self._load(payload)))
                elif kind == HEALTH:
                    out.append(frame(HEALTH, number, msgspec.json.encode(self._health())))
                elif kind == ASK:
                    asked.append((number, _request(payload)))
                else:
                    out.append(frame(FAILED, number, f"a frame of kind {kind}".encode()))
            except (ModelError, DataError) as error:
                out.append(frame(FAILED, number, str(error).encode()))
        self._together = max(self._together, len(asked))
        for number, request in sorted(asked, key=lambda each: (each[1].deadline_ns, each[0])):
            answers = [encode(answer) for answer in self._service.answer(request)]
            out.append(frame(ASK, number, msgspec.msgpack.encode(answers)))
        self._busy_s += time.monotonic() - began_s
        return out

    def _load(self, payload: bytes) -> bytes:
        """Verify every artifact, then put all in service at once."""
        try:
            given = msgspec.msgpack.decode(payload, type=list[Bytes])
        except msgspec.DecodeError as error:
            raise DataError(f"no list of artifacts ({error})") from error
        artifacts = [artifact.parse(*each, each[0]) for each in given]
        old, self._service = self._service, Service(artifacts)
        self._answered += old.answered
        for reason, count in old.missed.items():
            self._missed[reason] = self._missed.get(reason, 0) + count
        old.close()
        self._models = tuple(each.model_id for each in artifacts)
        return msgspec.json.encode(self._models)

    def _health(self) -> Health:
        up_s = time.monotonic() - self._began_s
        missed = dict(self._missed)
        for reason, count in self._service.missed.items():
            missed[reason] = missed.get(reason, 0) + count
        return Health(
            models=self._models,
            answered=self._answered + self._service.answered,
            missed=missed,
            taken_together=self._together,
            memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            busy_ppm=round(1e6 * self._busy_s / max(up_s, 1e-9)),
            up_s=up_s,
        )


def _request(payload: bytes) -> ForecastRequested:
    message = decode(payload)
    if not isinstance(message, ForecastRequested):
        raise DataError(f"asked with a {type(message).__name__}; ask with a ForecastRequested")
    return message


def _pieces(data: bytearray) -> list[tuple[int, int, bytes]]:
    """Take the whole frames off the front of what has been read.

    Raises:
        DataError: a frame that is too large.
    """
    found: list[tuple[int, int, bytes]] = []
    while len(data) >= HEADER.size:
        kind, number, length = HEADER.unpack_from(data)
        if length > (LARGEST_LOAD_BYTES if kind == LOAD else LARGEST_FRAME_BYTES):
            raise DataError(f"a frame of {length} bytes; the largest is {LARGEST_FRAME_BYTES}")
        if len(data) < HEADER.size + length:
            break
        found.append((kind, number, bytes(data[HEADER.size : HEADER.size + length])))
        del data[: HEADER.size + length]
    return found


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def main() -> int:
    """Serve until standard input ends."""
    answers = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints must not be taken for a frame
    worker, data = Worker(), bytearray()
    while True:
        read = os.read(0, 1 << 16)
        if not read:
            return 0
        data += read
        while select.select([0], [], [], 0)[0]:  # what has gathered meanwhile
            more = os.read(0, 1 << 16)
            if not more:
                break
            data += more
        try:
            frames = _pieces(data)
        except DataError as error:
            sys.stderr.write(f"inference: {error}\n")
            return 1
        _write(answers, b"".join(worker.serve(frames)))


if __name__ == "__main__":
    sys.exit(main())
