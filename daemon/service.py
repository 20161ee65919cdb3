"""Under systemd: ready, alive, stopping, told over the notification socket. Without systemd everything here is silent.

Theory of operation. The protocol is one datagram of ``NAME=value`` lines to the Unix socket in ``NOTIFY_SOCKET``
(sd_notify(3)). The watchdog is fed by progress from end to end, not by a timer: `Watchdog.feed` pings only when the
number it is shown (how much went through the core, or went round the shell's loop) has grown since the last ping. A
process whose loop turns while its core stands still is therefore restarted, which a timer would hide.
"""

import os
import socket
import time
from collections.abc import Callable, Mapping

from bus.errors import ConfigError

EX_CONFIG = 78
"""Exit status for `ConfigError` (sysexits.h); the unit's RestartPreventExitStatus: trying again cannot help."""


def exit_status(error: BaseException | None) -> int:
    """Exit status of the process: 0 for None, 78 for a wrong configuration, 1 for everything else."""
    if error is None:
        return 0
    return EX_CONFIG if isinstance(error, ConfigError) else 1


class Notifier:
    """Tells the service manager how the process is. What cannot be sent is dropped: nothing may hang on it."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """Read ``NOTIFY_SOCKET`` and ``WATCHDOG_USEC``.

        Args:
            environment: None = the process's own.
        """
        env = os.environ if environment is None else environment
        address = env.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the NUL byte of an abstract socket; anything else that is no path is not ours.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address if address.startswith("/") else ""
        self._socket: socket.socket | None = None
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)
        self.watchdog_s = self._watchdog_s(env)
        self._watchdog = Watchdog(self)

    @staticmethod
    def _watchdog_s(env: Mapping[str, str]) -> float:
        for_whom = env.get("WATCHDOG_PID", "")
        if for_whom and for_whom != str(os.getpid()):
            return 0.0
        try:
            return max(0, int(env.get("WATCHDOG_USEC", "0"))) / 1e6
        except ValueError:
            return 0.0

    @property
    def active(self) -> bool:
        """Whether somebody listens."""
        return self._socket is not None

    def send(self, **fields: str | int) -> bool:
        """Send fields (``READY=1``); whether the message left. Line breaks in values become blanks."""
        if self._socket is None:
            return False
        lines = (f"{name}={' '.join(str(value).splitlines())}" for name, value in fields.items())
        try:
            self._socket.sendto("\n".join(lines).encode(), self._address)
        except OSError:
            return False
        return True

    def ready(self, status: str = "") -> bool:
        """Start-up is over: connected, reconciled, trading may begin."""
        return self.send(READY=1, STATUS=status) if status else self.send(READY=1)

    def status(self, words: str) -> bool:
        """One line for ``systemctl status``."""
        return self.send(STATUS=words)

    def stopping(self, words: str = "stopping") -> bool:
        """Shutting down in good order has begun."""
        return self.send(STOPPING=1, STATUS=words)

    def progress(self, made: int) -> bool:
        """Feed the watchdog, if `made` (how much went through, end to end) has grown; see `Watchdog`."""
        return self._watchdog.feed(made)

    def extend_start(self, seconds: float) -> bool:
        """Start-up goes on (models are being trained): do not give up for so long."""
        return self.send(EXTEND_TIMEOUT_USEC=int(seconds * 1e6))

    def close(self) -> None:
        """Close the socket. Safe to call twice."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Watchdog:
    """Pings the service manager's watchdog as long as something goes through."""

    def __init__(self, notifier: Notifier, clock_s: Callable[[], float] = time.monotonic) -> None:
        """Nothing is sent before `feed`."""
        self._notifier = notifier
        self._clock_s = clock_s
        self._seen = -1
        self._next_s = float("-inf")
        self.pings = 0

    def feed(self, made: int) -> bool:
        """Ping, if something went through since the last ping and a third of the watchdog's time has passed.

        Args:
            made: a number that grows whenever something went through, end to end (`Status.progress_made`).

        Returns:
            Whether it pinged. Cheap to call at any rate.
        """
        interval_s = self._notifier.watchdog_s / 3
        if interval_s <= 0 or made == self._seen:
            return False
        now_s = self._clock_s()
        if now_s < self._next_s or not self._notifier.send(WATCHDOG=1):
            return False
        self._seen = made
        self._next_s = now_s + interval_s
        self.pings += 1
        return True
