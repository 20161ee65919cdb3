"""What operators want of a running shell: by file, by signal, by the web page's token.

Theory of operation. All ways end in the same two messages, `HaltTrading` and `ResumeTrading`, and none depends on
another: the file is looked at by the shell's own loop, a signal is delivered to it by the kernel, and the web server
may be down. A halt may come from anybody and needs no reason. To lift one takes a name and a reason, and goes through
the state directory, because a kill switch that lies there must go with it.
"""

import contextlib
import hmac
import secrets
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from bus.messages import HaltLevel, HaltTrading, ResumeTrading
from daemon.state import State, write_durably

SIGNALS: Mapping[signal.Signals, HaltLevel] = {
    signal.SIGUSR1: HaltLevel.CANCEL_ENTRIES,
    signal.SIGUSR2: HaltLevel.FLATTEN,
}
"""Signals that halt, and how far."""

LEVELS: Mapping[str, HaltLevel] = {
    "no-new-risk": HaltLevel.NO_NEW_RISK,
    "cancel-entries": HaltLevel.CANCEL_ENTRIES,
    "flatten": HaltLevel.FLATTEN,
}
"""What people call the levels."""

_POLL_S = 0.03


class Control:
    """Operators of one running shell.

    Args:
        tell: passes a command to the core.
        state: where the kill switch lies.
        told: the halt in the state directory that the shell was told when it began.
        clock_s: monotonic seconds.
    """

    def __init__(
        self,
        tell: Callable[[HaltTrading | ResumeTrading], None],
        state: State,
        told: HaltTrading | None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tell = tell
        self._state = state
        self._told = told
        self._clock_s = clock_s
        self._next = 0.0

    def poll(self) -> None:
        """Look into the state directory, some thirty times a second at most."""
        now = self._clock_s()
        if now < self._next:
            return
        self._next = now + _POLL_S
        halt = self._state.halted()
        if halt is not None and halt != self._told:  # a file that says more than before is another command
            self._tell(halt)
        self._told = halt
        resume = self._state.take_resume()
        if resume is not None:
            self._tell(resume)

    def signalled(self, number: signal.Signals) -> None:
        """A signal came that halts."""
        self.halt(SIGNALS[number], "signal", "whoever may signal", number.name)

    def halt(self, level: HaltLevel, source: str, operator: str, reason: str) -> None:
        """Halt now."""
        self._tell(HaltTrading(level=level, source=source, operator=operator, reason=reason, ts_init_ns=0))

    def resume(self, operator: str, reason: str) -> None:
        """Lift every halt, and the kill switch in the state directory.

        Raises:
            ConfigError: nobody is named, or no reason is given.
            OSError: the state directory cannot be written.
        """
        self._state.resume(operator, reason)
        self._next = 0.0
        self.poll()


def token_of(folder: Path) -> str:
    """The secret of whoever may halt and resume by the web; made where there is none. Readable by its owner alone."""
    path = folder / "web-token"
    with contextlib.suppress(FileNotFoundError):
        found = path.read_text(encoding="ascii").strip()
        if len(found) >= 32:
            return found
    made = secrets.token_hex(32)
    write_durably(path, f"{made}\n".encode())
    return made


def bears(header: str, token: str) -> bool:
    """Whether an Authorization header carries the token; takes as long for a wrong one as for a right one."""
    kind, _, given = header.partition(" ")
    return kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())
