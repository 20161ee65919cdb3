"""Tells a bus how a training goes, from a thread of its own: training never waits for it, and never fails with it.

Theory of operation. What is told is kept until the bus has acknowledged it, and then the next is handed over. Facts
(begun, published, ended) keep their order and are few. Progress conflates: of a model only the newest waits, and a bus
that is behind or away gets the newest when it is back. So memory is bounded by the models of a run, however long the
bus is away. At the end of the run there are a few seconds for what still waits; what is lost then is one line in the
log: a daemon looks at its registry by itself, and needs none of it.
"""

import asyncio
import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping
from typing import Any, Self

from msgspec.structs import replace

from bus.errors import ConfigError, NotSent
from bus.messages import AnyMessage, ModelsPublished, TrainingProgressed, TrainingSaved
from bus.port import Bus
from daemon.settings import BusSection

LAST_S = 10.0
"""How long the end of a run waits for the bus to take what is left."""
_PACE_S = 0.5
_AGAIN_S = 1.0
_FACTS_KEPT = 256

Lossy = TrainingProgressed | TrainingSaved


class Telling:
    """Tells a bus; use as a context manager.

    Args:
        url: of the bus.
        namespace: of the bus.
        note: takes a line for the run's log; called from this thread and from another.
    """

    def __init__(self, url: str, namespace: str, note: Callable[[str], None]) -> None:
        self._url, self._namespace, self._note = url, namespace, note
        self._lock = threading.Lock()
        self._facts: deque[AnyMessage] = deque(maxlen=_FACTS_KEPT)
        self._newest: dict[tuple[type[Lossy], str, str], Lossy] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._ending = False
        self._told = True  # whether the bus has acknowledged everything that was handed to it
        self._thread = threading.Thread(target=lambda: asyncio.run(self._work()), name="training-bus", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Give the bus a moment for what waits."""
        self._ending = True
        self._rouse()
        self._thread.join(LAST_S + 2 * _AGAIN_S)
        waiting = [message for message in self._facts if isinstance(message, ModelsPublished)]
        if waiting or not self._told:
            self._note("the bus was not told of everything; a daemon finds what was published by itself")

    def __call__(self, message: AnyMessage) -> None:
        """Take a message; returns at once."""
        with self._lock:
            if isinstance(message, Lossy):
                self._newest[type(message), message.symbol, message.model] = message
            else:
                self._facts.append(message)
        self._rouse()

    def _rouse(self) -> None:
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it is closed: there is nobody to tell any more
                loop.call_soon_threadsafe(self._wake.set)

    # --- in the thread -----------------------------------------------------------------------------------------

    async def _work(self) -> None:
        self._loop = asyncio.get_running_loop()
        telling = asyncio.create_task(self._tell())
        while not self._ending and not telling.done():
            await asyncio.wait({telling}, timeout=_AGAIN_S)
        await asyncio.wait({telling}, timeout=LAST_S)
        telling.cancel()
        await asyncio.wait({telling})

    async def _tell(self) -> None:
        bus = await self._joined()
        if bus is None:
            return
        try:
            while True:
                self._wake.clear()
                batch = self._taken()
                self._told = not batch
                for message in batch:
                    bus.publish(message)
                await bus.flush()
                self._told = True
                if self._ending and not self._waits():
                    return
                if not self._waits():
                    await self._roused()
                if not self._ending:
                    await asyncio.sleep(_PACE_S)
        except NotSent as error:
            self._note(f"the bus is told no more: {error}")
        finally:
            with contextlib.suppress(NotSent):
                await bus.close()

    async def _joined(self) -> Bus | None:
        """The bus, as soon as it can be reached; None where it never will be."""
        from bus.nats import connect

        noted = ""
        while True:
            try:
                return await connect(self._url, name="plimsoll train", namespace=self._namespace)
            except ConfigError as error:
                self._note(f"no bus is told: {error}")
                return None
            except NotSent as error:
                if str(error) != noted:
                    noted = str(error)
                    self._note(f"the bus is told when it can be: {error}")
            if self._ending and not self._waits():
                return None
            await asyncio.sleep(_AGAIN_S)

    async def _roused(self) -> None:
        while not self._wake.is_set() and not self._ending:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), _AGAIN_S)

    def _waits(self) -> bool:
        with self._lock:
            return bool(self._facts or self._newest)

    def _taken(self) -> list[AnyMessage]:
        """What waits: progress first, so that what ends or publishes comes after it."""
        with self._lock:
            batch = [*self._newest.values(), *self._facts]
            self._newest.clear()
            self._facts.clear()
        return batch


@contextlib.contextmanager
def telling(bus: BusSection, note: Callable[[str], None]) -> Generator[Callable[[AnyMessage], None]]:
    """Somebody to tell of a training: the configured bus, or nobody."""
    if not bus.url:
        yield lambda _message: None
        return
    with Telling(bus.url, bus.namespace, note) as told:
        yield told


class Progress:
    """Makes messages of what a training tells: stages with shares, and the records of the engine."""

    def __init__(self, run: str, tell: Callable[[AnyMessage], None]) -> None:
        self._run, self._tell = run, tell
        self._last = TrainingProgressed(run=run, symbol="", model="", share_ppm=0, ts_init_ns=0)

    def stage(self, label: str, share: float) -> None:
        """A stage, `SYMBOL: MODEL`, and the share of everything that is done."""
        symbol, _, model = label.partition(": ")
        told, now_ns = self._last, time.time_ns()
        if (told.symbol, told.model) != (symbol, model):  # else the engine's figures of it stay
            told = TrainingProgressed(run=self._run, symbol=symbol, model=model, share_ppm=0, ts_init_ns=0)
        self._progressed(replace(told, share_ppm=round(share * 1e6), ts_init_ns=now_ns))

    def _progressed(self, told: TrainingProgressed) -> None:
        self._last = told
        self._tell(told)

    def record(self, record: Mapping[str, Any]) -> None:
        """A step, an epoch or a checkpoint."""
        symbol, model = str(record.get("symbol", "")), str(record.get("network", ""))
        if record.get("kind") == "checkpoint":
            self._tell(
                TrainingSaved(
                    run=self._run, symbol=symbol, model=model, step=int(record["step"]), ts_init_ns=time.time_ns()
                )
            )
        elif record.get("kind") in {"step", "epoch"}:
            self._progressed(
                TrainingProgressed(
                    run=self._run, symbol=symbol, model=model, share_ppm=self._last.share_ppm,
                    epoch=record["epoch"], epochs=record["epochs"], step=record["step"],
                    train_loss=_known(record.get("train_loss", record.get("loss"))),
                    validation_loss=_known(record.get("validation_loss")), rate=record["rate"],
                    samples_per_s=record["samples_per_s"], left_s=_known(record["left_s"]), ts_init_ns=time.time_ns(),
                )
            )  # fmt: skip


def _known(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
