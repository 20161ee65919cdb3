"""The folder of a training run: what it was told, what it ran on, what it said, and what it needs to go on.

    STATE/training/0001/
        config.json       every setting, as the run was started with
        environment.json  code revision, versions, devices
        log.txt           one line an event: what runs and why, what was saved, what fell back
        metrics.jsonl     one JSON object a line: steps, epochs, checkpoints
        events.out.*      the same for TensorBoard
        checkpoints/      one folder a symbol and network (`models.train.engine.checkpoint`)
        control.json      what an operator wants; consumed
        report.html       the run at a glance, written when it ends however it ends
        published.json    the releases that it published
        finished          present when everything was published

Several symbols have a run each, named after the run they belong to (0001-EURUSD); see `daemon.trainingqueue`.

Theory of operation. A run belongs to one process, which holds its lock. Signals and the control file become wishes,
which the engine hears between two steps: SIGTERM and Ctrl-C stop and save, SIGUSR1 saves, SIGUSR2 pauses and goes on.
Where no engine listens, signals do what they do elsewhere: end the command at once, with nothing half published. A
second SIGTERM always does. A run that was not finished is continued by the same command, as the one that it is.
"""

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from bus.calendar import to_datetime
from bus.errors import ConfigError
from bus.messages import AnyMessage
from daemon.config import Config
from daemon.state import is_locked, write_durably
from daemon.tensorboard import EventFile
from models.learning import Command
from models.registry import Release
from models.revision import revision

_LOOK_EVERY_S = 0.1
_NAME_BYTES = 64
_FLEETING = ("sources", "file", "profile", "state")
"""Of a configuration: where it came from, and where it is used."""


class Control(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Contents of control.json."""

    command: Command


class TrainingRun:
    """One run's folder, held by this process.

    Args:
        folder: of the run.
        writes: whether this is the process that writes; the others of a torchrun only read checkpoints.

    Attributes:
        hears: told every record, for a display; may be replaced.
        says: takes what a bus is to be told; may be replaced.
        writes: as it was given.
        leaving: a signal ended this process where no engine listened; whatever swallows the exit, nothing is published.
    """

    def __init__(self, folder: Path, *, writes: bool = True) -> None:
        self.folder = folder
        self.hears: Callable[[Mapping[str, Any]], None] = lambda _record: None
        self.says: Callable[[AnyMessage], None] = lambda _message: None
        self.writes = writes
        self.leaving = False
        self._wishes: list[Command] = []
        self._listening = False
        self._paused = False
        self._looked_s = 0.0
        self._board: EventFile | None = None

    @property
    def name(self) -> str:
        """The folder's."""
        return self.folder.name

    @contextlib.contextmanager
    def held(self, config: Config) -> Generator["TrainingRun"]:
        """Begin or continue; wishes are heard until the end of the block.

        Raises:
            ConfigError: another process has it, it is finished, or it was begun with other settings.
        """
        if not self.writes:
            with self._signals():
                yield self
            return
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ConfigError(
                    f"training run {self.name} belongs to another process; stop it (`plimsoll train control "
                    f"{self.name} stop`), or give another --run"
                ) from None
            self._begin(config)
            self._board = EventFile(self.folder)
            with self._signals():
                yield self
        finally:
            if self._board is not None:
                self._board.close()
            os.close(lock)

    def finish(self, releases: Sequence[Release] = ()) -> None:
        """Everything was published: these."""
        if self.writes:
            write_durably(self.folder / "published.json", msgspec.json.encode(releases))
            write_durably(self.folder / "finished", b"")
            self.note("finished")

    @property
    def finished(self) -> bool:
        """Whether everything was published."""
        return (self.folder / "finished").exists()

    def published(self) -> tuple[Release, ...]:
        """What a finished run has published; empty where that is not on record."""
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            return msgspec.json.decode((self.folder / "published.json").read_bytes(), type=tuple[Release, ...])
        return ()

    def part(self, name: str) -> "TrainingRun":
        """The run of one part of this one, which has a folder beside it."""
        return TrainingRun(self.folder.with_name(f"{self.name}-{name}"))

    def note(self, line: str) -> None:
        """One line for the log."""
        if self.writes:
            stamp = f"{to_datetime(time.time_ns()):%Y-%m-%d %H:%M:%S}"
            with (self.folder / "log.txt").open("a", encoding="utf-8") as file:
                file.write(f"{stamp} {line}\n")

    def job(self, symbol: str, network: str) -> "RunJob":
        """The job of one network's training."""
        return RunJob(self, symbol, network)

    def tell(self, record: Mapping[str, Any]) -> None:
        """Keep one record, and show it."""
        if not self.writes:
            return
        with (self.folder / "metrics.jsonl").open("ab") as file:
            file.write(msgspec.json.encode(record) + b"\n")
        if self._board is not None:
            self._board.add(record)
        self.hears(record)

    # --- wishes --------------------------------------------------------------------------------------------------

    def ask(self, command: Command) -> None:
        """Ask the process that has this run: durable when this returns.

        Raises:
            ConfigError: no process has it.
        """
        if not self.active():
            raise ConfigError(
                f"training run {self.name} is not running; `plimsoll train` with its settings continues it"
            )
        write_durably(self.folder / "control.json", msgspec.json.encode(Control(command=command)))

    def active(self) -> bool:
        """Whether a process has it just now."""
        return is_locked(self.folder / "lock")

    def wish(self) -> Command | None:
        """The oldest wish that nobody has taken yet; the control file is looked at ten times a second."""
        now = time.monotonic()
        if now - self._looked_s >= _LOOK_EVERY_S:
            self._looked_s = now
            path = self.folder / "control.json"
            with contextlib.suppress(OSError, msgspec.MsgspecError):
                asked = msgspec.json.decode(path.read_bytes(), type=Control)
                path.unlink()
                self._wishes.append(asked.command)
        if not self._wishes:
            return None
        command = self._wishes.pop(0)
        self._paused = command == "pause" or (self._paused and command == "save")
        self.note(f"asked to {command}")
        return command

    @contextlib.contextmanager
    def listening(self) -> Generator[None]:
        """While this lasts somebody calls `wish`."""
        self._listening = True
        try:
            yield
        finally:
            self._listening = False

    @contextlib.contextmanager
    def _signals(self) -> Generator[None]:
        before = {number: signal.getsignal(number) for number in
                  (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)}  # fmt: skip

        def heard(number: int, frame: FrameType | None) -> None:
            if number in {signal.SIGTERM, signal.SIGINT}:
                handler = before[signal.Signals(number)]
                if self._listening and "stop" not in self._wishes:
                    self._wishes.append("stop")
                    return
                self.leaving = True
                if callable(handler):
                    handler(number, frame)
                elif handler == signal.SIG_DFL:
                    signal.signal(number, handler)
                    os.kill(os.getpid(), number)
            elif self._listening:
                toggled: Command = "resume" if self._paused else "pause"
                self._wishes.append("save" if number == signal.SIGUSR1 else toggled)

        for number in before:
            signal.signal(number, heard)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    # --- beginning -------------------------------------------------------------------------------------------------

    def _begin(self, config: Config) -> None:
        if self.finished:
            raise ConfigError(f"training run {self.name} is finished; give another --run")
        settings = msgspec.json.encode(lasting(config))
        path = self.folder / "config.json"
        if path.exists():
            if path.read_bytes() != settings:
                raise ConfigError(
                    f"training run {self.name} was begun with other settings ({path}); give those again, or "
                    "another --run"
                )
            self.note("continued")
        else:
            write_durably(path, settings)
            self.note("begun")
        (self.folder / "control.json").unlink(missing_ok=True)  # meant for a process that is gone
        told = {
            "revision": msgspec.to_builtins(revision()),
            "started": f"{to_datetime(time.time_ns()):%Y-%m-%d %H:%M:%S}",
            "visible CUDA devices": os.environ.get("CUDA_VISIBLE_DEVICES", "all"),
        }
        write_durably(self.folder / "environment.json", msgspec.json.encode(told))

    def environment(self, facts: Mapping[str, str]) -> None:
        """Add to what the run ran on."""
        if self.writes:
            path = self.folder / "environment.json"
            told = msgspec.json.decode(path.read_bytes())
            write_durably(path, msgspec.json.encode(told | dict(facts)))


class RunJob:
    """One network's training within a run (see `models.learning.Job`)."""

    def __init__(self, run: TrainingRun, symbol: str, network: str) -> None:
        self._run, self._symbol = run, symbol
        self.folder: Path | None = run.folder / "checkpoints" / f"{symbol}-{network}"

    def note(self, line: str) -> None:
        """Log it with the symbol."""
        self._run.note(f"{self._symbol} {line}")

    def runs_on(self, facts: Mapping[str, str]) -> None:
        """Keep it with the run's environment."""
        self._run.environment(facts)

    def tell(self, record: Mapping[str, Any]) -> None:
        """Keep it with the symbol and the time."""
        self._run.tell({"at_s": round(time.time(), 3), "symbol": self._symbol, **record})

    def wish(self) -> Command | None:
        """The run's."""
        return self._run.wish()

    def listening(self) -> contextlib.AbstractContextManager[object]:
        """The run hears."""
        return self._run.listening()


def lasting(config: Config) -> dict[str, Any]:
    """What of a configuration makes two runs the same."""
    return {name: value for name, value in msgspec.to_builtins(config).items() if name not in _FLEETING}


def choose(folder: Path, config: Config, name: str | None, *, new: bool, rank: int, world: int) -> TrainingRun:
    """The run that a command means: the named one, else the newest where it is unfinished and the same, else a new one.

    Args:
        folder: of all training runs.
        config: of the command.
        name: as it was given.
        new: begin a new one whatever there is.
        rank: of this process.
        world: processes that train together, who must all mean the same.

    Raises:
        ConfigError: a name that is no folder's name, or several processes without one.
    """
    if name is not None:
        if (
            not name
            or len(name) > _NAME_BYTES
            or name.startswith(".")
            or not all(c.isalnum() or c in "._-" for c in name)
        ):
            raise ConfigError(f"--run {name!r}: write up to {_NAME_BYTES} letters, digits, dots, dashes, underscores")
        return TrainingRun(folder / name, writes=rank == 0)
    if world > 1:
        raise ConfigError(f"{world} processes train together and must mean the same run; name it with --run")
    numbers = sorted(int(path.name) for path in folder.glob("*") if path.name.isdigit()) if folder.is_dir() else []
    if numbers and not new:
        last = TrainingRun(folder / f"{numbers[-1]:04d}")
        with contextlib.suppress(OSError):
            same = (last.folder / "config.json").read_bytes() == msgspec.json.encode(lasting(config))
            if same and not last.finished:
                return last
    return TrainingRun(folder / f"{numbers[-1] + 1 if numbers else 1:04d}")


def named(folder: Path, name: str) -> TrainingRun:
    """A run that is there.

    Raises:
        ConfigError: it is not.
    """
    there = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    found = next((each for each in (name, name.zfill(4)) if each in there), None)
    if found is None:
        raise ConfigError(f"no training run {name!r} in {folder}; there are {', '.join(there) or 'none'}")
    return TrainingRun(folder / found)
