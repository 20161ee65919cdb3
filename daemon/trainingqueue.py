"""Trains several symbols, each in a process and a run of its own: one after another, or side by side.

Theory of operation. A queue of symbols and a number of places. A place is a GPU, where there are several, or a share of
the processor; it takes a symbol, starts a process for it (`daemon.symboltraining`) that sees its GPU alone, and takes
the next when that ends. Where learning and calibration end is settled once, for all of them, and told by date, so that
what a process learns from does not depend on which symbols are trained beside it.

The queue has a run's folder and each symbol has one beside it (0003, 0003-EURUSD). Symbols whose run is finished are
not trained again; one that fails leaves the others as they are, and its run to be continued by the same command. What
an operator wants of the queue's run is passed on: stop ends every process after its step and begins no other, a second
stop kills them; pause begins no other either.

    waiting --place free-->     training --exit 0-->                 published
    waiting --stop-->           not begun
                                training --exit 130, told to stop--> stopped
                                training --any other end-->          failed
"""

import asyncio
import contextlib
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace

from bus.calendar import to_datetime
from bus.errors import ConfigError
from daemon import children
from daemon.config import Config
from daemon.marketdata import MarketData
from daemon.state import State
from daemon.symboltraining import Said
from daemon.training import STOPPED, OnProgress
from daemon.trainingreport import write_report
from daemon.trainingrun import TrainingRun
from models.catalogue import catalogue, check_installed
from models.learning import Command
from models.registry import Release

_LOOK_S = 0.1
_LAST_LINE_BYTES = 4_096
_LONGEST_LINE_BYTES = 65_536

Ending = Literal["published", "done before", "stopped", "failed", "not begun"]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one symbol; `said` is why, where it was not published, `place` which device it was given."""

    symbol: str
    ending: Ending
    run: str
    releases: tuple[Release, ...] = ()
    place: str = ""
    took_s: float = 0.0
    said: str = ""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Somewhere to train: a CUDA device by its name in CUDA_VISIBLE_DEVICES, or the processor (empty)."""

    device: str = ""

    def environment(self) -> dict[str, str]:
        """Of a process that trains there."""
        mine = {"CUDA_VISIBLE_DEVICES": self.device} if self.device else {}
        return {**children.environment(), **mine}

    def __str__(self) -> str:
        return f"GPU {self.device}" if self.device else "processor"


def places(devices: Sequence[str], parallel: int) -> tuple[Place, ...]:
    """Where symbols are trained at the same time.

    Args:
        devices: the CUDA devices that may be used.
        parallel: how many at the same time; 0 = one on each device, and one where there is none.
    """
    count = parallel or max(1, len(devices))
    return tuple(Place(device=devices[index % len(devices)] if devices else "") for index in range(count))


def words(symbols: int, where: Sequence[Place]) -> str:
    """How many symbols are trained where, in one line."""
    on = ", ".join(str(place) for place in dict.fromkeys(where))
    return f"{symbols} symbols, each in a process of its own, {min(symbols, len(where))} at a time on: {on}"


def devices_for(config: Config) -> tuple[str, ...]:
    """The CUDA devices that what is configured can be trained on; empty where it is trained on the processor.

    Raises:
        ModelError: a package is not installed.
    """
    names = config.models.architectures
    check_installed(names)
    if config.training.device == "cpu" or not any(
        "torch" in entry.needs for entry in catalogue() if entry.name in names
    ):
        return ()
    from models.train.engine.machine import cuda_devices  # torch: where a network needs it

    return cuda_devices()


def settled(config: Config, data: MarketData) -> Config:
    """The configuration with its symbols by name, and with the ends of learning and calibration by date."""
    ends = {
        "learn_until": to_datetime(data.split.train_end_ns).isoformat(),
        "calibrate_until": to_datetime(data.split.calibrate_end_ns).isoformat(),
    }
    return replace(config, data=replace(config.data, symbols=tuple(each.symbol for each in data.symbols), **ends))


def train_symbols(
    state: State, config: Config, run: TrainingRun, where: Sequence[Place], *, show: OnProgress, stage: bool
) -> list[Outcome]:
    """Train every symbol of a settled configuration, and say what became of each, in order.

    Args:
        state: whose registry receives the releases.
        config: as `settled` gives it.
        run: the queue's; each symbol's is beside it.
        where: as `places` gives it.
        show: told what trains and the share of everything that is done.
        stage: publish beside what is in force.

    Raises:
        ConfigError: the run belongs to another process, is finished, or was begun with other settings.
    """
    with run.held(config):
        queue = _Queue(state, config, run, where, show, stage=stage)
        try:
            with run.listening():
                outcomes = asyncio.run(queue.work())
            if all(each.releases for each in outcomes):
                run.finish([release for each in outcomes for release in each.releases])
        finally:
            write_report(run.folder)
    return outcomes


class _Queue:
    def __init__(
        self, state: State, config: Config, run: TrainingRun, where: Sequence[Place], show: OnProgress, *, stage: bool
    ) -> None:
        self._state, self._config, self._run = state, config, run
        self._show, self._stage = show, stage
        self._free = deque(where)
        self._waiting = deque(config.data.symbols)
        self._outcomes: dict[str, Outcome] = {}
        self._said: dict[str, Said] = {}
        self._children: dict[str, asyncio.subprocess.Process] = {}
        self._stops = 0
        self._paused = False

    async def work(self) -> list[Outcome]:
        """Until nothing is left to do."""
        training: set[asyncio.Task[None]] = set()
        try:
            while training or (self._waiting and not self._stops):
                self._hear()
                while self._waiting and self._free and not self._stops and not self._paused:
                    self._next(training)
                if training:
                    done, training = await asyncio.wait(training, timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
                    for each in done:
                        each.result()
                elif self._waiting:  # paused
                    await asyncio.sleep(_LOOK_S)
                self._tell()
        finally:
            for task in training:  # somebody ended this process at once: none of its children outlives it
                task.cancel()
            await asyncio.gather(*training, return_exceptions=True)
        for symbol in self._waiting:
            self._end(Outcome(symbol=symbol, ending="not begun", run=self._run.part(symbol).name))
        return [self._outcomes[symbol] for symbol in self._config.data.symbols]

    def _next(self, training: set[asyncio.Task[None]]) -> None:
        symbol = self._waiting.popleft()
        own = self._run.part(symbol)
        if own.finished and (releases := own.published()):
            self._end(Outcome(symbol=symbol, ending="done before", run=own.name, releases=releases))
            return
        training.add(asyncio.create_task(self._train(symbol, own, self._free.popleft())))

    async def _train(self, symbol: str, own: TrainingRun, place: Place) -> None:
        began = time.monotonic()
        self._run.note(f"{symbol} begins on the {place}")
        try:
            code, said = await self._in_a_process(symbol, own, place)
        except OSError as error:
            code, said = 1, f"no process could be started ({error.strerror})"
        finally:
            self._free.append(place)
            self._children.pop(symbol, None)
        releases = own.published() if code == 0 else ()
        ending: Ending = "published" if releases else "failed"
        if code != 0 and self._stops and code in {STOPPED, -signal.SIGTERM, -signal.SIGKILL}:
            ending, said = "stopped", "the same command goes on"
        elif code < 0:
            said = f"its process was ended by {signal.Signals(-code).name}"
        elif ending == "failed":
            said = said or f"its process ended with status {code}"
        self._end(
            Outcome(symbol=symbol, ending=ending, run=own.name, releases=releases, place=str(place),
                    took_s=round(time.monotonic() - began, 1), said="" if releases else said)
        )  # fmt: skip

    async def _in_a_process(self, symbol: str, own: TrainingRun, place: Place) -> tuple[int, str]:
        """Its exit status, and the last line that it said of what is wrong."""
        own.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        config = replace(self._config, data=replace(self._config.data, symbols=(symbol,)))
        complaints = own.folder / "errors.txt"
        with complaints.open("wb") as errors:
            # A process group of its own: Ctrl-C reaches this process alone, which then stops all of them in order.
            child = await asyncio.create_subprocess_exec(
                *children.command("daemon.symboltraining", str(self._state.folder), str(own.folder),
                                  "stage" if self._stage else "fresh"),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=errors,
                env=place.environment(), process_group=0, limit=_LONGEST_LINE_BYTES,
            )  # fmt: skip
            self._children[symbol] = child
            try:
                assert child.stdin is not None
                assert child.stdout is not None
                with contextlib.suppress(ConnectionError):  # it died before it had heard all: its status says why
                    child.stdin.write(msgspec.json.encode(config))
                    await child.stdin.drain()
                child.stdin.close()
                async for line in child.stdout:
                    with contextlib.suppress(msgspec.MsgspecError):
                        self._said[symbol] = msgspec.json.decode(line, type=Said)
                code = await child.wait()
            except BaseException:
                with contextlib.suppress(ProcessLookupError):
                    child.terminate()
                await child.wait()
                raise
        return code, _last_line(complaints.read_bytes())

    # --- wishes, and telling -----------------------------------------------------------------------------------

    def _hear(self) -> None:
        """Take the operator's next wish and pass it on."""
        wish = self._run.wish()
        if wish is None:
            return
        if wish == "stop":
            self._stops += 1
            for child in self._children.values():
                with contextlib.suppress(ProcessLookupError):
                    child.send_signal(signal.SIGTERM if self._stops == 1 else signal.SIGKILL)
            return
        if wish in {"pause", "resume"}:
            self._paused = wish == "pause"
        self._pass_on(wish)

    def _pass_on(self, wish: Command) -> None:
        for symbol in self._children:
            with contextlib.suppress(ConfigError):  # one that has not begun yet, or has just ended
                self._run.part(symbol).ask(wish)

    def _end(self, outcome: Outcome) -> None:
        self._outcomes[outcome.symbol] = outcome
        self._said.pop(outcome.symbol, None)
        self._run.note(f"{outcome.symbol} {outcome.ending}{f': {outcome.said}' if outcome.said else ''}")
        self._tell()

    def _tell(self) -> None:
        done = len(self._outcomes) + sum(said.share for said in self._said.values())
        stages = " | ".join(said.stage for said in self._said.values())
        waiting = f"; {len(self._waiting)} waiting" if self._waiting else ""
        self._show(f"{stages}{waiting}", done / len(self._config.data.symbols))


def _last_line(text: bytes) -> str:
    lines = [line for line in text[-_LAST_LINE_BYTES:].decode(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


def table(outcomes: Sequence[Outcome]) -> str:
    """What became of each symbol, one line each."""
    columns: Mapping[str, Callable[[Outcome], str]] = {
        "symbol": lambda each: each.symbol,
        "": lambda each: each.ending,
        "trades": lambda each: each.releases[0].active if each.releases else "-",
        "run": lambda each: each.run,
        "on": lambda each: each.place or "-",
        "took": lambda each: f"{each.took_s:,.0f} s" if each.took_s else "-",
    }
    rows = [list(columns), *([of(each) for of in columns.values()] for each in outcomes)]
    widths = [max(len(row[index]) for row in rows) for index in range(len(columns))]
    said = ["", *(each.said for each in outcomes)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=True)), why]).rstrip()
        for row, why in zip(rows, said, strict=True)
    )


def exit_status(outcomes: Sequence[Outcome]) -> int:
    """0 = all are published, 1 = one failed, 130 = stopped, and none failed."""
    if any(each.ending == "failed" for each in outcomes):
        return 1
    return 0 if all(each.releases for each in outcomes) else STOPPED
