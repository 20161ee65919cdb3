"""A dead man's switch: where the core does not move any more, halt and end the process, so that the next one closes.

Theory of operation. A thread of its own looks whether a number has grown that grows as long as the core moves (in a
live run a tick goes through it every second). LOOKS times in a row it has not: the loop, or whatever it calls, hangs.
Nothing in this process can be trusted to act then; so the kill switch is written to the state directory, the stacks of
all threads go to standard error, and the process ends with EXIT_STUCK. The next start finds the kill switch, connects,
reconciles and does what it says. Meanwhile every position has its stop at the broker.

Looks are counted, not seconds: a machine that was suspended, or a process that was stopped, did not look.
A call that hangs without letting Python's threads run hangs this one too; then the service manager's watchdog
(`daemon.service`) ends the process, and the next start recovers, without a halt.
"""

import faulthandler
import os
import sys
import threading
from collections.abc import Callable
from typing import Self

LOOKS = 15
LOOK_S = 1.0
EXIT_STUCK = 70
"""EX_SOFTWARE (sysexits.h); the service manager starts the daemon again."""


class Deadman(threading.Thread):
    """See the module. Use as a context.

    Args:
        progress: a number that grows as long as the core moves; called from this thread.
        spring: halts whatever comes next, given why; called from this thread.
        end: ends the process with a status, at once.
        look_s: seconds between looks.
    """

    def __init__(
        self,
        progress: Callable[[], int],
        spring: Callable[[str], None],
        *,
        end: Callable[[int], None] = os._exit,
        look_s: float = LOOK_S,
    ) -> None:
        super().__init__(name="deadman", daemon=True)
        self._progress = progress
        self._spring = spring
        self._end = end
        self._look_s = look_s
        self._over = threading.Event()

    def __enter__(self) -> Self:
        """Begin to look."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Look no more."""
        self._over.set()
        self.join()

    def run(self) -> None:
        """Look until it is over, or until nothing has moved for too long."""
        seen, missed = -1, 0
        while not self._over.wait(self._look_s):
            made = self._progress()
            missed = 0 if made != seen else missed + 1
            seen = made
            if missed >= LOOKS:
                self._stuck()
                return

    def _stuck(self) -> None:
        why = f"watchdog: nothing has gone through the core for {LOOKS * self._look_s:g} s"
        try:
            self._spring(why)
        finally:
            sys.stderr.write(f"plimsoll: {why}; halted, and ended so that the next start can act on it\n")
            faulthandler.dump_traceback(file=sys.__stderr__ or 2, all_threads=True)
            self._end(EXIT_STUCK)
