"""Time as a number. Only shells hold a clock; the core sees nothing but timestamps inside messages."""

import time
from typing import Protocol


class Clock(Protocol):
    """What a shell asks for the time."""

    def now_ns(self) -> int:
        """UTC nanoseconds since 1970, never going backwards between two calls."""
        ...


class SystemClock:
    """The machine's clock, held from ever stepping backwards.

    A step back (NTP, an operator) freezes the reading until real time has caught up: a repeated timestamp is
    harmless, a decreasing one would unorder the journal.
    """

    def __init__(self) -> None:
        self._last_ns = 0

    def now_ns(self) -> int:
        """UTC nanoseconds, monotone."""
        self._last_ns = max(self._last_ns, time.time_ns())
        return self._last_ns


class ManualClock:
    """A clock that moves only when told: simulated time, and tests."""

    def __init__(self, now_ns: int = 0) -> None:
        self._now_ns = now_ns

    def now_ns(self) -> int:
        """The time last set."""
        return self._now_ns

    def advance_to(self, now_ns: int) -> None:
        """Move to a later moment; an earlier one is ignored."""
        self._now_ns = max(self._now_ns, now_ns)
