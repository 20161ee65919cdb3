"""What every command shares: its options, its output, its way to a run."""

import functools
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import click
import msgspec
from rich.console import Console

import strategies
from bus.errors import ConfigError
from daemon.config import Config, load, state_dir
from daemon.state import Run, State

EXIT_FAILED = 1


class Settings(msgspec.Struct, kw_only=True):
    """The options that every command takes."""

    config: Path | None
    profile: str | None
    state: Path | None
    as_json: bool

    def load(self, **overrides: Any) -> Config:
        """The configuration with what the command line overrides (dotted keys with `__`; None = not given)."""
        given = {name.replace("__", "."): value for name, value in overrides.items() if value not in (None, ())}
        if self.state is not None:
            given["state"] = str(self.state)
        return load(self.config, profile=self.profile, overrides=given)

    def load_to_trade(self, **overrides: Any) -> Config:
        """`load`, and check what only trading needs: the strategy and its parameters."""
        config = self.load(**overrides)
        strategies.load(config.strategy.name, config.strategy.params)
        return config

    def open_state(self) -> State:
        """The state directory. Named on the command line it needs no configuration: a kill switch must not either."""
        return State(state_dir(self.load()) if self.state is None else self.state.expanduser().absolute())


def with_settings(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the common options, gathered in its first argument."""

    @click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        help="TOML file.  [default: ./plimsoll.toml where there is one]",
    )
    @click.option("--profile", metavar="NAME", help="Overlay of the file: dev, staging or prod.")
    @click.option(
        "--state",
        type=click.Path(path_type=Path, file_okay=False),
        help="State directory: models, runs, journals, kill switch.",
    )
    @click.option("--json", "as_json", is_flag=True, help="One machine-readable line on standard output.")
    @functools.wraps(command)
    def wrapped(config: Path | None, profile: str | None, state: Path | None, **rest: Any) -> int:
        settings = Settings(config=config, profile=profile, state=state, as_json=rest.pop("as_json"))
        return command(settings, **rest)

    return wrapped


def emit(data: Any) -> None:
    """Print one line of JSON."""
    click.echo(msgspec.json.encode(data).decode())


class Outlet(io.TextIOBase):
    """A stream that may be closed at any time: by `| head`, a lost connection, a full disk.

    Nobody reading is no reason to stop trading, so what cannot be written is left out from then on.
    """

    def __init__(self, stream: TextIO | None) -> None:
        """Write to `stream`; None is what Python gives a process that was started without one."""
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or from the first failure on do nothing."""
        if self._stream is not None:
            try:
                self._stream.write(text)
                self._stream.flush()
            except (OSError, ValueError):
                self._give_up(self._stream)
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""

    def isatty(self) -> bool:
        """Whether somebody may be watching."""
        return self._stream is not None and not self._stream.closed and self._stream.isatty()

    def fileno(self) -> int:
        """The stream's file descriptor."""
        if self._stream is None:
            raise OSError("no stream")
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Of the stream: decides whether boxes can be drawn."""
        return self._stream.encoding if self._stream is not None else "utf-8"

    def _give_up(self, stream: TextIO) -> None:
        self._stream = None
        if not stream.closed:
            # What is still in its buffer must not fail once more when the process ends.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def console_for(*, stderr: bool = False, soft_wrap: bool = False) -> Console:
    """A console for a command that runs long, on a stream that may be closed."""
    return Console(file=Outlet(sys.stderr if stderr else sys.stdout), soft_wrap=soft_wrap)  # pyright: ignore[reportArgumentType]


def run_of(state: State, name: str | None) -> Run:
    """A run by number, by folder, or the last one.

    Raises:
        ConfigError: there is none.
    """
    if name is None:
        last = state.last_run()
        if last is None:
            raise ConfigError(f"no run in {state.folder} yet; start one with `plimsoll paper`")
        return last
    path = Path(name)
    if path.is_dir():
        if path.name == "journal" or any(path.glob("*.seg")):
            path = path.parent
        return Run(path)
    found = next((run for run in state.runs() if run.name == name.zfill(4)), None)
    if found is None:
        there = ", ".join(run.name for run in state.runs()) or "none"
        raise ConfigError(f"no run {name!r} in {state.folder}; there are {there}")
    return found


def journal_of(state: State, name: str | None) -> Path:
    """A journal's folder by itself, by its run, or the last run's."""
    if name is not None and any(Path(name).glob("*.seg")):
        return Path(name)
    return run_of(state, name).journal
