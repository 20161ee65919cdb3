"""asyncio in virtual time: one thread, no sockets, no sleep, the same order of callbacks in every process.

Theory of operation. A `World` holds the time, a first-in-first-out queue of what is ready and a heap of timers. Where
nothing is ready, time jumps to the next timer. Each simulated operating-system process is one `VirtualLoop` on that
world: asyncio binds every task, future and timer to its loop, so that whatever happens in the world belongs to exactly
one process, and a process can be killed alone while the others live on. Processes share nothing but what a simulated
network hands from one to the other.

A *point* of a process is a moment at which it may die: the step of a callback (so, every await), and both sides of
every durable write (`virtual_disk.Disk`). Points are counted from 1, in one sequence; `kill_at=n` kills before the
n-th. Nothing of a killed process runs afterwards: its callbacks are dropped, its coroutines and generators are freed
without their `finally` blocks, its sockets are closed by whoever asked to be told (`at_end`).

Nothing here depends on hash seeds or addresses. Tasks hash by their number, because asyncio keeps them in sets.
"""

import asyncio
import heapq
import sys
from collections import deque
from hashlib import blake2b
from random import Random

from tests.harness.virtual_death import silence
from tests.harness.virtual_loop import Killed, VirtualLoop

START_S = 1_000.0
"""`loop.time()` at the beginning of every world: small, so that a double still tells less than a nanosecond."""
UTC_NS = 1_700_000_000_000_000_000
"""UTC at the beginning, unless said otherwise: Tuesday, 14 November 2023, 22:13:20."""

# A timer rings this much late. Real ones are late by more; and whoever rounds the time down to nanoseconds and compares
# it with a moment that came from nanoseconds must not find itself early, set the timer again, and so stop the time.
_LATE_S = 5e-10
_MOST_AT_ONCE = 200_000


class Stuck(AssertionError):
    """The world cannot reach what is waited for. Says where every task of every process waits."""


class Deadlock(Stuck):
    """Nothing is ready and no timer is set."""


class TooLong(Stuck):
    """The limit of virtual time or of steps is reached, or time stands still."""


class World:
    """Time, order and dice of everything that runs in it. Use as `with World(seed) as world`; leaving it kills all.

    Args:
        seed: of every `dice`.
        utc_ns: UTC at the beginning.
        trace: whether `digest` takes in every step; costs a microsecond each.
        most_steps: of all processes together; beyond it `TooLong` is raised.

    Attributes:
        now: seconds; what `loop.time()` gives in every process.
        steps: callbacks run so far.
        processes: all that were ever made, dead ones included.
    """

    def __init__(self, seed=0, *, utc_ns=UTC_NS, trace=False, most_steps=50_000_000):
        self.seed = seed
        self.now = START_S
        self.steps = 0
        self.processes = []
        self._utc_ns = utc_ns
        self._ready = deque()
        self._timers = []
        self._timer_number = 0
        self._most_steps = most_steps
        self._fuse = 0
        self._hash = blake2b(digest_size=16) if trace else None

    @property
    def now_ns(self):
        """`now` in whole nanoseconds, as everybody computes it."""
        return int(self.now * 1e9)

    @property
    def utc_ns(self):
        """UTC nanoseconds."""
        return self._utc_ns + int((self.now - START_S) * 1e9)

    @property
    def digest(self):
        """Of all steps and notes so far: two runs that did the same have the same. Needs `trace`."""
        return self._hash.hexdigest()

    def dice(self, name):
        """A generator of its own for a purpose, so that one who draws more does not shift what others draw."""
        return Random(f"{self.seed} {name}")

    def note(self, *what):
        """Let `digest` take in something that is no step, for instance bytes."""
        if self._hash is not None:
            self._hash.update(repr((self.now, what)).encode())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()

    # --- processes ------------------------------------------------------------------------------------------------

    def process(self, name):
        """A process without a main coroutine: something that is there, like a server or a network."""
        loop = VirtualLoop(self, name)
        self.processes.append(loop)
        return loop

    def start(self, main, *, name="process", kill_at=0, on_point=None):
        """A process that runs a coroutine, from the next `run` on.

        Args:
            main: the coroutine; when it is done, other tasks are cancelled and awaited, and the process ends.
            name: for messages, and part of the digest.
            kill_at: the process is killed before its n-th point; 0 = never.
            on_point: called with the process before every point; it may call `kill`, and what it raises ends `run`.
        """
        loop = self.process(name)
        if kill_at or on_point is not None:
            loop.watch(kill_at, on_point)
        loop.main = loop.create_task(loop.live(main), name=f"{name} main")
        loop.main.add_done_callback(loop.leave)
        return loop

    # --- running --------------------------------------------------------------------------------------------------

    def run(self, process, *, within_s=86_400.0):
        """Run everything until a process ends; its result, or None where it was killed.

        Raises:
            Deadlock: it never will.
            TooLong: it has not, within so many virtual seconds.
            Exception: what the process ended with, or the first that nobody in any process has caught.
        """
        ended = self._spin(self.now + within_s, process, None)
        self._heed()
        if not ended:
            raise TooLong(f"{process.name} has not ended within {within_s} s; {self.where()}")
        return process.result()

    def until(self, condition, *, within_s=86_400.0):
        """Run everything until a condition holds; it is asked after every step.

        Raises:
            Deadlock: it never will.
            TooLong: it did not, within so many virtual seconds.
        """
        came = self._spin(self.now + within_s, None, condition)
        self._heed()
        if not came:
            raise TooLong(f"the condition has not come true within {within_s} s; {self.where()}")

    def sleep(self, seconds):
        """Run everything that happens in so many virtual seconds."""
        self._spin(self.now + seconds, None, None)
        self._heed()

    def where(self):
        """The moment, and where every task of the living waits."""
        told = [f"virtual time {self.now - START_S:.6f} s, step {self.steps}"]
        for process in self.processes:
            waiting = [f"  {process.name}: {_place(task)}" for task in process.tasks()] if not process.ended else []
            told += waiting[:20]
        return "\n".join(told)

    def _heed(self):
        """Raise the first thing that went wrong where nobody looked."""
        for process in self.processes:
            for told in process.reported:
                raise told.get("exception") or AssertionError(f"{process.name}: {told['message']}")

    def _spin(self, end, process, condition):
        """Run until a process has ended or a condition holds (True), or a moment has come (False)."""
        if asyncio._get_running_loop() is not None:
            raise RuntimeError("a world cannot run inside another loop")
        ready, tracing = self._ready, self._hash is not None
        hooks = sys.get_asyncgen_hooks()
        running = None
        self._light_fuse()
        try:
            if condition is not None and condition():
                return True
            while True:
                if process is not None and process.ended:
                    return True
                if not ready and not self._jump(end, bounded=process is None and condition is None):
                    return False
                handle = ready.popleft()
                callback = handle.callback
                if callback is None:
                    continue
                loop = handle.loop
                if loop is not running:
                    running = loop
                    asyncio._set_running_loop(loop)
                    sys.set_asyncgen_hooks(*loop.asyncgen_hooks)
                self.steps += 1
                if self.steps >= self._fuse:
                    self._blow()
                loop.points += 1
                if loop.points >= loop.watch_from and not loop.survives():
                    continue
                if tracing:
                    self.note(loop.name, getattr(callback, "__qualname__", type(callback).__name__))
                try:
                    handle.context.run(callback, *handle.args)
                except Killed:
                    loop.kill()
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as error:  # noqa: BLE001  # a callback's mistake is its loop's to report
                    told = {"message": f"exception in {callback!r}", "exception": error, "handle": handle}
                    loop.call_exception_handler(told)
                if condition is not None and condition():
                    return True
        finally:
            asyncio._set_running_loop(None)
            sys.set_asyncgen_hooks(*hooks)

    def _jump(self, end, *, bounded):
        """Let time pass to the next timers, and make them ready; False = the end comes before."""
        ready, timers = self._ready, self._timers
        while timers and timers[0][2].callback is None:
            heapq.heappop(timers)
        if not timers and not bounded:
            raise Deadlock(f"nothing is ready and no timer is set; {self.where()}")
        if not timers or timers[0][0] > end:
            self.now = max(self.now, end)
            return False
        self.now = max(self.now, timers[0][0] + _LATE_S)
        while timers and timers[0][0] <= self.now:
            handle = heapq.heappop(timers)[2]
            if handle.callback is not None:
                ready.append(handle)
        self._light_fuse()
        return True

    def _light_fuse(self):
        self._fuse = min(self._most_steps, self.steps + _MOST_AT_ONCE)

    def _blow(self):
        if self.steps >= self._most_steps:
            raise TooLong(f"{self.steps} steps; {self.where()}")
        raise TooLong(f"time stands still: {_MOST_AT_ONCE} steps at one moment; {self.where()}")

    # --- for the loops --------------------------------------------------------------------------------------------

    def later(self, when, handle):
        """Queue a timer; one that is due is ready, in its turn."""
        if when <= self.now:
            self._ready.append(handle)
        else:
            self._timer_number += 1  # equal moments keep the order in which they were asked for
            heapq.heappush(self._timers, (when, self._timer_number, handle))

    def forget(self, loop):
        """Drop everything that a process has queued."""
        for handle in [*self._ready, *(timer[2] for timer in self._timers)]:
            if handle.loop is loop:
                for each in handle.args:
                    silence(each)
                handle.cancel()


class VirtualClock:
    """The UTC clock of one process (`bus.clock.Clock`): that of the world, and an offset in ns that may be changed."""

    def __init__(self, world, offset_ns=0):
        self.offset_ns = offset_ns
        self._world = world
        self._last_ns = 0

    def now_ns(self):
        """UTC nanoseconds, never going backwards."""
        self._last_ns = max(self._last_ns, self._world.utc_ns + self.offset_ns)
        return self._last_ns


def run(main, *, seed=0, within_s=86_400.0, **more):
    """The result of a coroutine in a world of its own, like `asyncio.run`.

    Args:
        main: the coroutine.
        seed: of the world.
        within_s: virtual seconds that it may take.
        more: for `World`.
    """
    with World(seed, **more) as world:
        return world.run(world.start(main), within_s=within_s)


def _place(task):
    """Where a task waits: the innermost of the coroutines that await one another."""
    frame, inner = None, task.get_coro()
    while inner is not None:
        frame = getattr(inner, "cr_frame", None) or getattr(inner, "ag_frame", None) or frame
        inner = getattr(inner, "cr_await", None) or getattr(inner, "ag_await", None)
    if frame is None:
        return f"{task.get_name()} has not begun"
    return f"{task.get_name()} in {frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})"
