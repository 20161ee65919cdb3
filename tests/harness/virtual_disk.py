"""Files of simulated processes: every durable write is two points at which a process may die, and nothing waits.

`Durable` stands in for fsync and notes what would survive the machine. `Disk` is one that knows `virtual` processes:
before and after each sync the running process may be killed; a killed one can no longer write, rename, remove or close
anything while its stack unwinds; and what it had open is closed, locks included, as a kernel would.
"""

import asyncio
import os

from tests.harness.virtual import Killed, VirtualLoop

_CHANGING = (
    "write", "pwrite", "replace", "rename", "unlink", "remove", "ftruncate", "truncate", "link", "mkdir", "rmdir",
)  # fmt: skip


class Durable:
    """What would survive the machine: instead of waiting for the disk, notes how long each file was at its fsync."""

    def __init__(self):
        self.sizes = {}

    def __call__(self, fd):
        status = os.fstat(fd)
        self.sizes[status.st_ino] = status.st_size

    def of(self, path):
        """So many bytes of a file are durable."""
        return self.sizes.get(path.stat().st_ino, 0)


class Disk(Durable):
    """The disk of a world; one a test.

    Args:
        patch: pytest's `monkeypatch`; functions of `os` are replaced until it is undone.
    """

    def __init__(self, patch):
        super().__init__()
        self._holders, self._known = {}, set()
        self._open, self._close = os.open, os.close
        patch.setattr(os, "fsync", self._sync)
        patch.setattr(os, "fdatasync", self._sync)
        patch.setattr(os, "open", self._opening)
        patch.setattr(os, "close", self._closing)
        for name in _CHANGING:
            patch.setattr(os, name, _for_the_living(getattr(os, name)))

    def lose_power(self, folder, dice):
        """The machine is gone: of every file below a folder, any number of the bytes that were not durable is lost."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                size = path.stat().st_size
                kept = dice.randint(min(self.of(path), size), size)
                with path.open("r+b") as file:
                    file.truncate(kept)

    def _sync(self, fd):
        process = _running()
        if process is not None:
            process.point()
        self(fd)
        if process is not None:
            process.point()

    def _opening(self, *args, **more):
        process = _running()
        if process is None:
            return self._open(*args, **more)
        if process.killed:
            raise Killed
        fd = self._open(*args, **more)
        if process not in self._known:
            self._known.add(process)
            process.at_end.append(lambda: self._let_go(process))
        self._holders[fd] = process
        return fd

    def _closing(self, fd):
        process = _running()
        if process is not None and process.killed:
            raise Killed
        self._holders.pop(fd, None)
        self._close(fd)

    def _let_go(self, process):
        for fd in [fd for fd, holder in self._holders.items() if holder is process]:
            del self._holders[fd]
            self._close(fd)


def _running():
    loop = asyncio._get_running_loop()
    return loop if isinstance(loop, VirtualLoop) else None


def _for_the_living(function):
    def guarded(*args, **more):
        process = _running()
        if process is not None and process.killed:
            raise Killed
        return function(*args, **more)

    return guarded
