"""Carries notices to a thread with a loop of its own, so that nothing that a channel does can touch a trading loop.

Theory of operation. Name resolution, TLS, a library's stray error, a slow disk: all of it happens in a thread that owns
its loop. `put` hands a notice over and returns at once, from any thread. Leaving waits a limited time for what is still
to be sent; the thread never keeps a process alive. Errors that nobody caught in that loop are counted and not shown:
their words are a library's, and might show a URL.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from adapters.notify.contract import Notice
from adapters.notify.outbox import Counters, Outbox

MOST_UNDERWAY = 1_024
"""Notices on their way into the thread; more means that it stands still."""

_JOIN_S = 5.0
_START_S = 10.0


class Postman:
    """Runs an outbox. Start it, put notices, close it."""

    def __init__(self, make: Callable[[], Outbox], closing_s: float = 5.0) -> None:
        """Nothing happens yet.

        Args:
            make: makes the outbox, in the thread that will run it.
            closing_s: how long its leaving takes at most.
        """
        self.dropped = 0
        self.strays = 0
        self._make = make
        self._join_s = closing_s + _JOIN_S
        self._outbox: Outbox | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._started = threading.Event()
        self._underway = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._main, name="alerts", daemon=True)

    def start(self) -> None:
        """Start the thread and wait until it takes notices."""
        self._thread.start()
        self._started.wait(_START_S)

    def put(self, notice: Notice) -> None:
        """Hand a notice over. Never waits and never raises; what cannot be taken is counted in `dropped`."""
        loop = self._loop
        with self._lock:
            taken = loop is not None and self._underway < MOST_UNDERWAY
            self._underway += taken
        if loop is None or not taken:
            self.dropped += 1
            return
        try:
            loop.call_soon_threadsafe(self._take, notice)
        except RuntimeError:  # it has ended
            self.dropped += 1

    def close(self) -> None:
        """Send what is still to be sent, within the time allowed, and end. Safe to call twice."""
        if self._loop is not None and self._thread.is_alive():
            try:
                self._loop.call_soon_threadsafe(self._stop.set)
            except RuntimeError:  # it ended in this very moment
                return
            self._thread.join(self._join_s)

    @property
    def counters(self) -> dict[str, Counters]:
        """By channel; empty before the start."""
        return {} if self._outbox is None else self._outbox.counters

    def _take(self, notice: Notice) -> None:
        with self._lock:
            self._underway -= 1
        if self._outbox is not None:
            self._outbox.put(notice)

    def _main(self) -> None:
        asyncio.run(self._run())

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._stray)
        async with self._make() as outbox:
            self._outbox = outbox
            self._loop = loop
            self._started.set()
            await self._stop.wait()

    def _stray(self, _: asyncio.AbstractEventLoop, __: dict[str, Any]) -> None:
        self.strays += 1
