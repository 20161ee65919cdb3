"""What could not be delivered, kept for another time: one JSON line each, in a file that only we may read.

Theory of operation. `add` appends under a lock. `take` renames the file away under the same lock and reads it, so that
what fails meanwhile begins a new one; `done` removes it. A crash between the two leaves it, and the next `take` reads
it again: receivers know a notice by its id. A notice holds no secret, and neither does the reason beside it.
"""

import contextlib
import fcntl
import os
from collections.abc import Generator
from pathlib import Path

import msgspec

from adapters.notify.contract import Notice

FILE_NAME = "dead-letters.jsonl"
LARGEST_BYTES = 8 * 1024 * 1024
"""Beyond this nothing more is kept: some twenty thousand notices that nobody has looked after."""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """One notice that one channel did not deliver: why, after how many attempts, and when that was given up."""

    channel: str
    reason: str
    attempts: int
    gave_up_ns: int
    notice: Notice


class DeadLetters:
    """The file in a folder, which is made where it is missing."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self._taken = folder / f"{FILE_NAME}.sending"
        self._lock = folder / f"{FILE_NAME}.lock"

    def add(self, letter: DeadLetter) -> bool:
        """Keep a letter; False = the file is full.

        Raises:
            OSError: it cannot be written.
        """
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._locked():
            handle = os.open(self.path, _APPEND, 0o600)
            try:
                if os.fstat(handle).st_size > LARGEST_BYTES:
                    return False
                os.write(handle, msgspec.json.encode(letter) + b"\n")
            finally:
                os.close(handle)
        return True

    def take(self) -> tuple[list[DeadLetter], int]:
        """Every letter, and how many lines are none. They stay on the disk until `done`.

        Raises:
            OSError: the files cannot be read.
        """
        letters: list[DeadLetter] = []
        damaged = 0
        if not self.path.parent.is_dir():
            return letters, damaged
        with self._locked():
            if self.path.exists():
                if self._taken.exists():
                    handle = os.open(self._taken, _APPEND, 0o600)
                    try:
                        os.write(handle, self.path.read_bytes())
                    finally:
                        os.close(handle)
                    self.path.unlink()
                else:
                    self.path.rename(self._taken)
            lines = self._taken.read_bytes().splitlines() if self._taken.exists() else []
        for line in lines:
            try:
                letters.append(msgspec.json.decode(line, type=DeadLetter))
            except msgspec.MsgspecError:
                damaged += 1
        return letters, damaged

    def done(self) -> None:
        """What was taken has been delivered, or added again."""
        self._taken.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _locked(self) -> Generator[None]:
        handle = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
