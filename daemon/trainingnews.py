"""What a running daemon hears of trainings over its bus: a release to look at now, and how far each training is.

Theory of operation. One task reads the bus's training topic from the moment it subscribes. `ModelsPublished` makes the
look-out (`daemon.swap`) look at once; what it then finds in its own registry is examined like anything else there, and
an event that is false, late or missing changes nothing but when. The rest is for the status page. Nothing here reaches
the core or the journal, and a bus that breaks costs nothing but the news.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from msgspec.structs import replace

from bus.errors import ModelError, NotSent
from bus.mailbox import Overrun
from bus.messages import (
    AnyMessage,
    ModelsPublished,
    TrainingEnded,
    TrainingProgressed,
    TrainingStarted,
)
from bus.port import Bus
from daemon.snapshot import TrainingView
from daemon.status import Status
from models.registry import Registry

_AGAIN_S = 1.0
_LARGEST_TABLE = 64


class Hurried(Protocol):
    """Somebody who looks around now and then, and can be asked to do it now."""

    def hurry(self) -> None:
        """Look at the registry at the next moment."""
        ...


class TrainingNews:
    """See the module's theory of operation.

    Args:
        registry: the daemon's own, in which a release that is told of should lie.
        swaps: looks at it.
        period_ns: of the bars that the daemon trades on.
        note: one line for people.
    """

    def __init__(self, registry: Registry, swaps: Hurried, period_ns: int, note: Callable[[str], None]) -> None:
        self._registry, self._swaps, self._period_ns, self._note = registry, swaps, period_ns, note
        self._views: dict[tuple[str, str], TrainingView] = {}

    def views(self) -> tuple[TrainingView, ...]:
        """How far each training is, the one that was heard of last at the end."""
        return tuple(self._views.values())

    async def follow(self, bus: Bus) -> None:
        """Read until cancelled."""
        while True:
            try:
                reader = await bus.subscribe("training")
                try:
                    async for message in reader:
                        await self.hear(message)
                finally:
                    await reader.close()
            except (NotSent, Overrun):
                pass
            await asyncio.sleep(_AGAIN_S)

    async def hear(self, message: AnyMessage) -> None:
        """Take one message."""
        if isinstance(message, ModelsPublished):
            await self._on_published(message)
        elif isinstance(message, TrainingStarted):
            self._show(TrainingView(run=message.run, symbol=message.symbol, state="trains", at_ns=message.ts_init_ns))
        elif isinstance(message, TrainingProgressed):
            self._show(
                TrainingView(
                    run=message.run, symbol=message.symbol, state="trains", at_ns=message.ts_init_ns,
                    model=message.model, share=message.share_ppm / 1e6, epoch=message.epoch, epochs=message.epochs,
                    train_loss=message.train_loss, validation_loss=message.validation_loss,
                    samples_per_s=message.samples_per_s, left_s=message.left_s,
                )
            )  # fmt: skip
        elif isinstance(message, TrainingEnded):
            self._on_ended(message)

    async def _on_published(self, news: ModelsPublished) -> None:
        if news.period_ns != self._period_ns:
            return
        try:
            pointer = await asyncio.to_thread(self._registry.pointer, news.symbol, news.period_ns)
        except ModelError as error:
            self._note(f"models: {error}")
            return
        if pointer is None or all(release.number != news.release for release in pointer.releases):
            self._note(
                f"{news.symbol}: release {news.release} of training run {news.run} is not in this daemon's registry; "
                "train with its --state, or copy it there"
            )
            return
        self._swaps.hurry()

    def _on_ended(self, news: TrainingEnded) -> None:
        for key, view in list(self._views.items()):
            if view.run == news.run:
                share = 1.0 if news.outcome == "finished" else view.share
                self._views[key] = replace(
                    view, state=news.outcome, at_ns=news.ts_init_ns, share=share, samples_per_s=0.0, left_s=None
                )

    def _show(self, view: TrainingView) -> None:
        self._views.pop((view.run, view.symbol), None)
        self._views[view.run, view.symbol] = view
        while len(self._views) > _LARGEST_TABLE:
            del self._views[next(iter(self._views))]


@contextlib.asynccontextmanager
async def hearing(bus: Bus | None, news: TrainingNews, status: Status) -> AsyncGenerator[None]:
    """While this lasts the bus is read, where there is one."""
    if bus is None:
        yield
        return
    status.trainings = news.views
    reading = asyncio.create_task(news.follow(bus))
    try:
        yield
    finally:
        reading.cancel()
        await asyncio.wait({reading})
