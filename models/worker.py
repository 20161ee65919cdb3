"""Inference in a process of its own, `python -m models.worker`: frames in on standard input, out on standard output.

Theory of operation. A frame is a kind (1 byte), a number (8 bytes) and a length (4 bytes), big-endian, then so many
bytes. The parent hands over artifacts, asks, and looks after the health of the child; each frame is answered by one of
the same number. Requests that have gathered while one was being answered are taken together, the nearest deadline
first, and each answer leaves as soon as it is there. Where a device computes (`models.device`, which starts this very
loop with one), the first of several markets whose bars close at the same instant waits a moment for the others, so that
the device works on all of them at once (`models.gathering`). Artifacts are verified here as everywhere; one that is
unsound fails the load and leaves the old ones in service. The child ends when its standard input does, so it never
outlives its parent. Nothing is written to standard output but frames: whatever a library prints goes to standard error.
"""

import os
import resource
import select
import struct
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import msgspec

from bus.codec import LARGEST_MESSAGE_BYTES, decode, encode
from bus.errors import DataError, ModelError
from bus.messages import ForecastRequested
from models import artifact
from models.artifact import Artifact
from models.gathering import Gathering
from models.serve import Device, Service

ASK, LOAD, HEALTH, FAILED = 1, 2, 3, 4
HEADER = struct.Struct(">BQI")
LARGEST_FRAME_BYTES = LARGEST_MESSAGE_BYTES
LARGEST_LOAD_BYTES = 1024**3
Bytes = tuple[str, bytes, bytes]
"""An artifact on its way: its id, its manifest, its weights."""


class DeviceHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How the device is that computes beside the processor.

    Attributes:
        name: of it; empty = there is none, and the processor computes everything.
        models: ids of the forecasters that run on it, each with how.
        kept_off: forecasters that were not let onto it, or were taken off.
        answered: forecasts that it computed.
        fell_back: forecasts that it began and the processor had to compute, by reason.
        memory_bytes: of the device in use: all of it where `measured_by` is nvml, else by this process.
        busy_ppm: share of the time in which it computed, in millionths: of the device's last moments where
            `measured_by` is nvml, else the share since models were loaded in which an answer of it was awaited.
        measured_by: nvml or torch; empty where nothing is.
    """

    name: str = ""
    models: dict[str, str] = {}
    kept_off: int = 0
    answered: int = 0
    fell_back: dict[str, int] = {}
    memory_bytes: int = 0
    busy_ppm: int = 0
    measured_by: str = ""


class Measured(Device, Protocol):
    """A device that says how it is, and what a person should know."""

    def health(self) -> DeviceHealth:
        """Its figures now, the counts since it was made."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """Lines for a person, oldest first; no more than a few a model."""
        ...


Place = Callable[[Sequence[Artifact]], Measured]
"""Puts forecasters on a device, as far as they may run there. Never raises for what is in an artifact."""


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """What a load is answered with: the ids in service, and lines for a person."""

    models: tuple[str, ...]
    notes: tuple[str, ...] = ()


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
        device: None = this process was not told to use one.
        notes: what its device had to say since the models were loaded.
    """

    models: tuple[str, ...]
    answered: int
    missed: dict[str, int]
    taken_together: int
    memory_bytes: int
    busy_ppm: int
    up_s: float
    device: DeviceHealth | None = None
    notes: tuple[str, ...] = ()


def frame(kind: int, number: int, payload: bytes) -> bytes:
    """One frame."""
    return HEADER.pack(kind, number, len(payload)) + payload


class Worker:
    """What the child does, apart from reading and writing."""

    def __init__(self, place: Place | None = None, gathering: Gathering | None = None) -> None:
        """Prepare; nothing is served before a load.

        Args:
            place: finds models a device; None = the processor computes everything.
            gathering: how long requests wait for one another; None = not at all.
        """
        self._service = Service()
        self._place = place
        self._device: Measured | None = None
        self._earlier = DeviceHealth()
        self._gathering = gathering or Gathering(window_ns=0)
        self._asked: list[tuple[int, ForecastRequested]] = []
        self._models: tuple[str, ...] = ()
        self._answered = 0
        self._missed: dict[str, int] = {}
        self._together = 0
        self._busy_s = 0.0
        self._began_s = time.monotonic()

    def serve(self, frames: list[tuple[int, int, bytes]]) -> Iterator[bytes]:
        """Answer what has gathered: loads and questions about health in order, then requests by deadline."""
        yield from self.take(frames)
        yield from self.answer()

    def take(self, frames: list[tuple[int, int, bytes]]) -> Iterator[bytes]:
        """Answer all but requests, which are kept for `answer`."""
        for kind, number, payload in frames:
            began_s = time.monotonic()
            try:
                if kind == LOAD:
                    answer = frame(LOAD, number, self._load(payload))
                elif kind == HEALTH:
                    answer = frame(HEALTH, number, msgspec.json.encode(self._health()))
                elif kind == ASK:
                    self._asked.append((number, _request(payload)))
                    continue
                else:
                    answer = frame(FAILED, number, f"a frame of kind {kind}".encode())
            except (ModelError, DataError) as error:
                answer = frame(FAILED, number, str(error).encode())
            self._busy_s += time.monotonic() - began_s
            yield answer

    def patience_s(self) -> float:
        """How long the requests that are kept should still wait for others; 0 = they should be answered."""
        return self._gathering.patience_s([request for _, request in self._asked])

    def answer(self) -> Iterator[bytes]:
        """Answer the requests that are kept, the nearest deadline first, each as soon as it is there."""
        self._gathering.begin()
        asked, self._asked = sorted(self._asked, key=lambda each: (each[1].deadline_ns, each[0])), []
        self._together = max(self._together, len(asked))
        began_s = time.monotonic()
        for (number, _), answers in zip(asked, self._service.answer_all([each for _, each in asked]), strict=True):
            payload = msgspec.msgpack.encode([encode(answer) for answer in answers])
            self._busy_s += time.monotonic() - began_s
            yield frame(ASK, number, payload)
            began_s = time.monotonic()

    def _load(self, payload: bytes) -> bytes:
        """Verify every artifact, then put all in service at once."""
        try:
            given = msgspec.msgpack.decode(payload, type=list[Bytes])
        except msgspec.DecodeError as error:
            raise DataError(f"no list of artifacts ({error})") from error
        artifacts = [artifact.parse(*each, each[0]) for each in given]
        if self._device is not None:
            self._earlier = added(self._earlier, self._device.health())
        old, self._device = self._service, None if self._place is None else self._place(artifacts)
        self._service = Service(artifacts, self._device)
        self._answered += old.answered
        for reason, count in old.missed.items():
            self._missed[reason] = self._missed.get(reason, 0) + count
        old.close()
        self._models = tuple(each.model_id for each in artifacts)
        manifests = (each.manifest for each in artifacts if each.manifest.kind == "forecaster")
        self._gathering.expect({(each.symbol, each.period_ns) for each in manifests} if self._on_device() else set())
        return msgspec.json.encode(Loaded(models=self._models, notes=self._notes()))

    def _on_device(self) -> bool:
        return self._device is not None and bool(self._device.health().models)

    def _notes(self) -> tuple[str, ...]:
        return () if self._device is None else tuple(self._device.notes)

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
            device=None if self._device is None else added(self._device.health(), self._earlier),
            notes=self._notes(),
        )


def added(one: DeviceHealth, earlier: DeviceHealth) -> DeviceHealth:
    """The figures of `one`, with what was counted `earlier` as well."""
    reasons = {*one.fell_back, *earlier.fell_back}
    fell_back = {each: one.fell_back.get(each, 0) + earlier.fell_back.get(each, 0) for each in sorted(reasons)}
    return msgspec.structs.replace(one, answered=one.answered + earlier.answered, fell_back=fell_back)


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


def main(place: Place | None = None, gathering: Gathering | None = None) -> int:
    """Serve until standard input ends. For the arguments see `Worker`."""
    answers = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints must not be taken for a frame
    worker, data = Worker(place, gathering), bytearray()
    while True:
        patience_s: float | None = None  # nothing is kept: wait for whatever comes, however long that takes
        while patience_s != 0 and (patience_s is None or _readable(patience_s)):
            read = os.read(0, 1 << 16)
            if not read:
                return 0
            data += read
            while _readable(0):  # what has gathered meanwhile
                more = os.read(0, 1 << 16)
                if not more:
                    break
                data += more
            try:
                frames = _pieces(data)
            except DataError as error:
                sys.stderr.write(f"inference: {error}\n")
                return 1
            for each in worker.take(frames):
                _write(answers, each)
            patience_s = worker.patience_s()
        for each in worker.answer():
            _write(answers, each)


def _readable(within_s: float) -> bool:
    return bool(select.select([0], [], [], within_s)[0])


if __name__ == "__main__":
    sys.exit(main())
