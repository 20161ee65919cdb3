"""From a notice to every channel: a queue and a task a channel, so that none waits for another and nobody for them.

Theory of operation. `put` never waits: it lays a notice into the queue of every channel that wants such. Each channel's
task sends one at a time, in order. An attempt has a time limit. What may go better later is tried again after a wait
drawn evenly between nothing and a ceiling that doubles ("full jitter", Brooker, "Exponential Backoff and Jitter", AWS
2015), or after as long as the receiver asks for, where that is not too long. What is refused for good, fails to the
last attempt, finds its queue full, or is left when the process ends becomes a dead letter. Everything is counted.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import Self

import msgspec

from adapters.notify.contract import Channel, Notice, Severity, Undelivered
from adapters.notify.deadletters import DeadLetter, DeadLetters

MOST_WAITING = 256
"""Notices in one queue: more at a time say nothing more to anybody."""

_RANK: dict[str, int] = {"info": 0, "warning": 1, "critical": 2}

Sleep = Callable[[float], Awaitable[None]]


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how patiently.

    Attributes:
        attempts: in all.
        first_s: ceiling of the first wait.
        longest_s: largest ceiling.
        longest_asked_s: a receiver that asks to be left alone for longer than this is given up.
        limit_s: time for one attempt.
    """

    attempts: int = 8
    first_s: float = 1.0
    longest_s: float = 120.0
    longest_asked_s: float = 900.0
    limit_s: float = 15.0


class Counters(msgspec.Struct):
    """What became of a channel's notices. `lost` were neither delivered nor kept: the dead-letter file refused."""

    sent: int = 0
    failed_attempts: int = 0
    dead: int = 0
    overflowed: int = 0
    lost: int = 0


async def deliver(channel: Channel, notice: Notice, retry: Retry, dice: Random, sleep: Sleep) -> tuple[int, str]:
    """Send a notice, as often as it takes.

    Returns:
        The number of attempts, and why it did not arrive; empty = it did.
    """
    for attempt in range(1, retry.attempts + 1):
        wait_s: float | None = dice.uniform(0, min(retry.first_s * 2 ** (attempt - 1), retry.longest_s))
        try:
            async with asyncio.timeout(retry.limit_s):
                await channel.send(notice)
        except Undelivered as error:
            reason = error.reason
            if error.final:
                wait_s = None
            elif error.retry_after_s is not None:
                wait_s = error.retry_after_s
                if wait_s > retry.longest_asked_s:
                    return attempt, f"{reason}, and it asks to be left alone for {wait_s:.0f} s"
        except TimeoutError:
            reason = f"no answer within {retry.limit_s:g} s"
        except Exception as error:  # noqa: BLE001 (one channel's failure costs that channel alone; its words may show secrets)
            reason = f"it failed ({type(error).__name__})"
        else:
            return attempt, ""
        if wait_s is None or attempt == retry.attempts:
            return attempt, reason
        await sleep(wait_s)
    raise AssertionError("unreachable: the last attempt returns")


class _Lane:
    """One channel, what waits for it, and the task that empties it."""

    def __init__(self, name: str, channel: Channel, least: Severity) -> None:
        self.name = name
        self.channel = channel
        self.least = _RANK[least]
        self.waiting: deque[Notice] = deque()
        self.wake = asyncio.Event()
        self.idle = asyncio.Event()
        self.idle.set()
        self.counters = Counters()
        self.attempts = 0


class Outbox:
    """Delivers until it is closed. Use it as an asynchronous context."""

    def __init__(
        self,
        channels: Mapping[str, tuple[Channel, Severity]],
        dead: DeadLetters,
        *,
        retry: Retry | None = None,
        dice: Random | None = None,
        sleep: Sleep = asyncio.sleep,
        closing_s: float = 5.0,
    ) -> None:
        """Put it together; nothing is sent before it is entered.

        Args:
            channels: by name, with the least severity that goes there.
            dead: where what does not arrive is kept.
            retry: how often and how patiently.
            dice: of the waits; None = drawn anew by every process.
            sleep: waits.
            closing_s: how long leaving waits for what is still to be sent.
        """
        self._lanes = [_Lane(name, channel, least) for name, (channel, least) in channels.items()]
        self._dead = dead
        self._retry = retry or Retry()
        self._dice = dice or Random()
        self._sleep = sleep
        self._closing_s = closing_s
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def counters(self) -> dict[str, Counters]:
        """By channel."""
        return {lane.name: lane.counters for lane in self._lanes}

    def put(self, notice: Notice) -> None:
        """Take a notice for every channel that wants such. Never waits and never raises."""
        for lane in self._lanes:
            if _RANK[notice.severity] < lane.least and notice.event != "test":
                continue
            if len(lane.waiting) >= MOST_WAITING:
                lane.counters.overflowed += 1
                self._bury(lane, notice, 0, f"{MOST_WAITING} notices waited before it")
                continue
            lane.waiting.append(notice)
            lane.idle.clear()
            lane.wake.set()

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._empty(lane), name=f"alerts to {lane.name}") for lane in self._lanes]
        return self

    async def __aexit__(self, *_: object) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._closing_s):
                for lane in self._lanes:
                    await lane.idle.wait()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for lane in self._lanes:
            while lane.waiting:
                self._bury(lane, lane.waiting.popleft(), lane.attempts, "the process ended before it was delivered")
                lane.attempts = 0

    async def _empty(self, lane: _Lane) -> None:
        while True:
            if not lane.waiting:
                lane.idle.set()
                lane.wake.clear()
                await lane.wake.wait()
                continue
            notice = lane.waiting[0]  # it stays first until its fate is known: leaving finds it here
            counted = _Counting(lane)
            attempts, reason = await deliver(counted, notice, self._retry, self._dice, self._sleep)
            lane.waiting.popleft()
            lane.attempts = 0
            if reason:
                lane.counters.failed_attempts += attempts
                self._bury(lane, notice, attempts, reason)
            else:
                lane.counters.failed_attempts += attempts - 1
                lane.counters.sent += 1

    def _bury(self, lane: _Lane, notice: Notice, attempts: int, reason: str) -> None:
        lane.counters.dead += 1
        letter = DeadLetter(
            channel=lane.name, reason=reason, attempts=attempts, gave_up_ns=time.time_ns(), notice=notice
        )
        try:
            kept = self._dead.add(letter)
        except OSError:
            kept = False
        lane.counters.lost += not kept


class _Counting:
    """Passes on, and lets the lane know how many attempts were begun."""

    def __init__(self, lane: _Lane) -> None:
        self._lane = lane

    async def send(self, notice: Notice) -> None:
        """See `Channel`."""
        self._lane.attempts += 1
        await self._lane.channel.send(notice)
