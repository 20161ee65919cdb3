"""One process of a world in virtual time, as an asyncio event loop. See `virtual`."""

import asyncio
import math
import weakref
from contextvars import copy_context

from tests.harness.virtual_death import silence


class Killed(BaseException):
    """kill -9: nothing is flushed, nothing is closed in good order."""


class Handle:
    """What `call_soon` and `call_at` give."""

    __slots__ = ("_when", "args", "callback", "context", "loop")

    def __init__(self, loop, callback, args, context, when=0.0):
        self.loop = loop
        self.callback = callback
        self.args = args
        self.context = copy_context() if context is None else context
        self._when = when

    def cancel(self):
        """Never call it. May come twice and late."""
        self.callback, self.args = None, ()

    def cancelled(self):
        """Whether it was cancelled."""
        return self.callback is None

    def when(self):
        """The moment of a timer."""
        return self._when


class _Task(asyncio.Task):
    """A task that hashes by its number: a TaskGroup keeps tasks in a set, and cancels them in the set's order."""

    def __init__(self, number, coroutine, **more):
        self._number = number
        super().__init__(coroutine, **more)

    def __hash__(self):
        return self._number


class VirtualLoop(asyncio.AbstractEventLoop):
    """One simulated process; made by `World.process` and `World.start`.

    Attributes:
        world: where it lives.
        name: what it is called.
        points: moments so far at which it might have died.
        ended: whether it is over, killed or not.
        killed: whether it was killed.
        main: the task of its main coroutine; None = it has none.
        at_end: called without arguments when it is over: the kernel's part (sockets, descriptors).
        reported: contexts given to `call_exception_handler` while no handler was set.
    """

    def __init__(self, world, name):
        self.world = world
        self.name = name
        self.points = 0
        self.ended = self.killed = False
        self.main = None
        self.at_end = []
        self.reported = []
        self.watch_from = math.inf
        self.asyncgen_hooks = self._agen_begins, self._agen_is_lost
        self._kill_at, self._on_point = 0, None
        self._tasks = []
        self._task_number = 0
        self._compact_at = 64
        self._agens = weakref.WeakSet()
        self._handler = None
        self._signals = {}

    # --- what tests ask -------------------------------------------------------------------------------------------

    def result(self):
        """Of the main coroutine, or what it raised; None where it was killed."""
        return None if self.killed else self.main.result()

    def tasks(self):
        """Tasks that are not done, oldest first."""
        found = (reference() for reference in self._tasks)
        return [task for task in found if task is not None and not task.done()]

    def signal(self, number):
        """Deliver a signal to the handler that the process has set.

        Raises:
            KeyError: it has set none.
        """
        callback, arguments = self._signals[number]
        self.call_soon(callback, *arguments)

    # --- points and death -----------------------------------------------------------------------------------------

    def watch(self, kill_at=0, on_point=None):
        """Set what happens at points, see `World.start`."""
        self._kill_at, self._on_point = kill_at, on_point
        self.watch_from = 0 if on_point is not None else kill_at or math.inf

    def survives(self):
        """Ask, at a point that was just counted, whether life goes on; called where `points` reaches `watch_from`."""
        if self._on_point is not None:
            self._on_point(self)
        if self._kill_at and self.points >= self._kill_at:
            self.kill()
        return not self.ended

    def point(self):
        """A point inside a step: what the process does next, an observer could see.

        Raises:
            Killed: the process is dead, from now or from before; its stack unwinds.
        """
        if not self.ended:
            self.points += 1
            if self.points < self.watch_from or self.survives():
                return
        raise Killed

    def kill(self):
        """kill -9. Nothing of it runs any more, but for the step that it may be in."""
        if not self.ended:
            self.killed = True
            self._end()

    def leave(self, _main=None):
        """The process is over in good order."""
        if not self.ended:
            self._end()

    def _end(self):
        self.ended = True
        self.world.note(self.name, "killed" if self.killed else "ended", self.points)
        for task in self.tasks():
            task._log_destroy_pending = False
            silence(task.get_coro())
        for agen in list(self._agens):
            silence(agen)
        self._tasks.clear()
        self.world.forget(self)
        for callback in self.at_end:
            callback()

    async def live(self, main):
        """The main coroutine, and then the end of all other tasks."""
        try:
            return await main
        finally:
            own = asyncio.current_task()
            others = [task for task in self.tasks() if task is not own]
            for task in others:
                task.cancel()
            for told in await asyncio.gather(*others, return_exceptions=True):
                if isinstance(told, Exception):
                    self.call_exception_handler({"message": "exception while ending", "exception": told})
            await self.shutdown_asyncgens()

    # --- the interface of asyncio ---------------------------------------------------------------------------------

    def time(self):
        return self.world.now

    def call_soon(self, callback, *args, context=None):
        handle = Handle(self, callback, args, context)
        if self.ended:
            handle.cancel()
        else:
            self.world._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(self, delay, callback, *args, context=None):
        return self.call_at(self.world.now + delay, callback, *args, context=context)

    def call_at(self, when, callback, *args, context=None):
        handle = Handle(self, callback, args, context, when)
        if self.ended:
            handle.cancel()
        else:
            self.world.later(when, handle)
        return handle

    def create_future(self):
        return asyncio.Future(loop=self)

    def create_task(self, coro, *, name=None, context=None):
        self._task_number += 1
        number = self._task_number
        task = _Task(number, coro, loop=self, name=name or f"{self.name}-{number}", context=context)
        self._tasks.append(weakref.ref(task))
        if len(self._tasks) >= self._compact_at:
            self._tasks = [weakref.ref(each) for each in self.tasks()]
            self._compact_at = 64 + 2 * len(self._tasks)
        if self.ended:
            task._log_destroy_pending = False
            silence(coro)
        return task

    def run_in_executor(self, executor, func, *args):
        """Runs it inline, a step later."""
        answer = self.create_future()
        self.call_soon(_run_inline, answer, func, args)
        return answer

    async def shutdown_default_executor(self):
        """There is none."""

    async def shutdown_asyncgens(self):
        for agen in sorted(self._agens, key=lambda each: each.__qualname__):
            await agen.aclose()

    def is_running(self):
        return asyncio._get_running_loop() is self

    def is_closed(self):
        return self.ended

    def close(self):
        self.leave()

    def get_debug(self):
        return False

    def set_debug(self, enabled):
        """There is no debug mode."""

    def add_signal_handler(self, sig, callback, *args):
        self._signals[sig] = callback, args

    def remove_signal_handler(self, sig):
        return self._signals.pop(sig, None) is not None

    def set_exception_handler(self, handler):
        self._handler = handler

    def get_exception_handler(self):
        return self._handler

    def default_exception_handler(self, context):
        self.reported.append(context)

    def call_exception_handler(self, context):
        if self.killed or context.get("future") is self.main is not None:
            return  # the dead have nothing to report, and what main ended with is the result
        if self._handler is None:
            self.default_exception_handler(context)
        else:
            self._handler(self, context)

    def _agen_begins(self, agen):
        self._agens.add(agen)

    def _agen_is_lost(self, agen):
        if not self.ended:
            self.create_task(agen.aclose())


def _run_inline(answer, func, args):
    if answer.cancelled():
        return
    try:
        answer.set_result(func(*args))
    except Exception as error:  # noqa: BLE001  # whoever waits gets it
        answer.set_exception(error)
