"""The state directory: one writer, numbered runs, and the operator's kill switch as a file.

STATE/lock            held by the one process that trades on this state
STATE/halt.json       present = halted; only a named operator takes it away
STATE/halt.armed      becomes halt.json where a process can write nothing any more, and must halt
STATE/resume.json     an operator's wish to lift halts, consumed by the running process
STATE/swaps/          what operators want of the models, consumed in order by the running process
STATE/models.json     which models trade and which try to, as the last running process told it
STATE/models/         the model registry
STATE/runs/0001/      journal/, report/, finished (present when the run reached its end)
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bus.errors import ConfigError
from bus.messages import HaltLevel, HaltTrading, PromoteModel, ResumeTrading, RollBackModel
from bus.people import unnamed


class HaltFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Contents of halt.json."""

    level: HaltLevel
    operator: str
    reason: str


class ResumeFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Contents of resume.json."""

    operator: str
    reason: str


class SwapFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Contents of a file in swaps/. `model_id` empty = whichever traded before; only a rollback may leave it open."""

    rollback: bool
    symbol: str
    model_id: str
    operator: str
    reason: str


class Run:
    """One run's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = folder / "journal"
        self.report = folder / "report"
        self._finished = folder / "finished"

    @property
    def name(self) -> str:
        """The run's number."""
        return self.folder.name

    @property
    def finished(self) -> bool:
        """Whether the run reached its end; otherwise it is continued."""
        return self._finished.exists()

    def finish(self) -> None:
        """Mark the run as ended."""
        write_durably(self._finished, b"")


class State:
    """A state directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.models = folder / "models"
        self._runs = folder / "runs"
        self._halt = folder / "halt.json"
        self._armed = folder / "halt.armed"
        self._resume = folder / "resume.json"
        self._swaps = folder / "swaps"
        self.models_told = folder / "models.json"

    def create(self) -> None:
        """Make the directory, readable by its owner alone.

        Raises:
            ConfigError: it cannot be made or written to.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._runs.mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise ConfigError(
                f"cannot use {self.folder} as state directory: {error.strerror}; choose one with --state"
            ) from error
        if not os.access(self.folder, os.W_OK):
            raise ConfigError(f"state directory {self.folder} is not writable; choose one with --state")

    @contextmanager
    def lock(self) -> Generator[None]:
        """Hold the state for this process alone; the kernel lets go when the process ends, however it ends.

        Raises:
            ConfigError: another process holds it.
        """
        self.create()
        fd = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "another process"
                raise ConfigError(
                    f"{self.folder} is in use by process {holder}; stop it, or choose another --state"
                ) from None
            os.ftruncate(fd, 0)
            os.pwrite(fd, str(os.getpid()).encode(), 0)
            yield
        finally:
            os.close(fd)

    def runs(self) -> list[Run]:
        """All runs, oldest first."""
        if not self._runs.is_dir():
            return []
        return [Run(path) for path in sorted(self._runs.iterdir()) if path.name.isdigit()]

    def last_run(self) -> Run | None:
        """The newest run that has a journal."""
        return next((run for run in reversed(self.runs()) if run.journal.is_dir()), None)

    def new_run(self) -> Run:
        """Make the next run's folder."""
        runs = self.runs()
        run = Run(self._runs / f"{int(runs[-1].name) + 1 if runs else 1:04d}")
        run.folder.mkdir(parents=True, mode=0o700)
        return run

    # --- the kill switch ---------------------------------------------------------------------------------------

    def halt(self, level: HaltLevel, operator: str, reason: str) -> None:
        """Throw the kill switch: durable when this returns."""
        self.create()
        self._resume.unlink(missing_ok=True)
        write_durably(self._halt, msgspec.json.encode(HaltFile(level=level, operator=operator, reason=reason)))

    def arm(self, level: HaltLevel) -> None:
        """Lay a kill switch ready, for `spring` on a disk that is full."""
        reason = "the process could not go on, and could not write why"
        write_durably(self._armed, msgspec.json.encode(HaltFile(level=level, operator="plimsoll", reason=reason)))

    def spring(self, level: HaltLevel, reason: str) -> None:
        """Throw the kill switch because the process cannot go on: with the reason, else the armed one.

        A renaming needs no space, so a full disk takes it; one that takes no change at all does not, and never raises.
        """
        try:
            self.halt(level, "plimsoll", reason)
        except (OSError, ConfigError):
            with contextlib.suppress(OSError):
                self._armed.replace(self._halt)

    def resume(self, operator: str, reason: str) -> bool:
        """Lift the kill switch and ask a running process to lift its latched halts. Returns whether it was thrown.

        Raises:
            ConfigError: nobody is named, or no reason is given.
        """
        why = unnamed(operator, reason)
        if why:
            raise ConfigError(why)
        self.create()
        thrown = self._halt.exists()
        write_durably(self._resume, msgspec.json.encode(ResumeFile(operator=operator, reason=reason)))
        self._halt.unlink(missing_ok=True)
        return thrown

    def halted(self) -> HaltTrading | None:
        """The kill switch as a command, or None. A file that cannot be read halts: better stopped than sorry."""
        try:
            data = self._halt.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            return _halt_command(HaltLevel.NO_NEW_RISK, "unknown", f"halt.json cannot be read: {error.strerror}")
        try:
            found = msgspec.json.decode(data, type=HaltFile)
        except msgspec.MsgspecError as error:
            return _halt_command(HaltLevel.NO_NEW_RISK, "unknown", f"halt.json is not valid: {error}")
        return _halt_command(found.level, found.operator, found.reason)

    def take_resume(self) -> ResumeTrading | None:
        """Consume an operator's wish to resume."""
        try:
            found = msgspec.json.decode(self._resume.read_bytes(), type=ResumeFile)
        except (OSError, msgspec.MsgspecError):
            return None
        self._resume.unlink(missing_ok=True)
        return ResumeTrading(operator=found.operator, reason=found.reason, ts_init_ns=0)

    # --- models ------------------------------------------------------------------------------------------------

    def ask_swap(self, wish: SwapFile) -> None:
        """Ask the running process, or the next one, to let another model trade: durable when this returns."""
        self.create()
        self._swaps.mkdir(mode=0o700, exist_ok=True)
        write_durably(self._swaps / f"{time.time_ns():020d}.json", msgspec.json.encode(wish))

    def take_swaps(self) -> list[PromoteModel | RollBackModel]:
        """Consume what operators want of the models, oldest first. What cannot be read is nobody's wish."""
        if not self._swaps.is_dir():
            return []
        wishes: list[PromoteModel | RollBackModel] = []
        for path in sorted(self._swaps.glob("*.json")):
            with contextlib.suppress(OSError, msgspec.MsgspecError):
                found = msgspec.json.decode(path.read_bytes(), type=SwapFile)
                kind = RollBackModel if found.rollback else PromoteModel
                wishes.append(
                    kind(symbol=found.symbol, model_id=found.model_id, operator=found.operator, reason=found.reason,
                         ts_init_ns=0)
                )  # fmt: skip
            path.unlink(missing_ok=True)
        return wishes

    def in_use(self) -> bool:
        """Whether a process trades on this state just now."""
        return is_locked(self.folder / "lock")


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of a file just now; one that is not there is held by nobody."""
    try:
        fd = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(fd)


def _halt_command(level: HaltLevel, operator: str, reason: str) -> HaltTrading:
    return HaltTrading(level=level, source="file", operator=operator, reason=reason, ts_init_ns=0)


def write_durably(path: Path, data: bytes) -> None:
    """Replace a small file so that after any crash it is either the old one or the new one, whole."""
    unfinished = path.with_name(path.name + ".new")
    fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)
    unfinished.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
