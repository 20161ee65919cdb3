"""How long to wait before the next attempt to connect: exponential, full jitter, and a limit by the hour.

Theory of operation. The wait is drawn evenly between nothing and a ceiling, which begins at 1 s and doubles with every
loss up to 50 s ("full jitter", Brooker, "Exponential Backoff and Jitter", AWS 2015): clients that lost the same server
come back spread out, and each has connected, logged in and caught up within the minute after the trouble has passed. A
connection that has lasted a minute was a good one, and the ceiling begins anew. Whatever the draws say, at most so many
attempts begin in any hour; a drawn moment beyond that waits until the oldest is an hour old.
"""

from collections import deque
from random import Random

from bus.values import NS_PER_S

MOST_AN_HOUR = 120
STABLE_NS = 60 * NS_PER_S

_FIRST_S = 1
_LONGEST_S = 50
_HOUR_NS = 3_600 * NS_PER_S


class Backoff:
    """When the next attempt may begin. One a process and server; time is an argument, in ns of one steady clock."""

    def __init__(self, dice: Random, most_an_hour: int = MOST_AN_HOUR) -> None:
        self._dice = dice
        self._begun_ns: deque[int] = deque(maxlen=most_an_hour)
        self._losses = 0

    def begins(self, now_ns: int) -> None:
        """An attempt begins."""
        self._begun_ns.append(now_ns)

    def lost(self, lasted_ns: int) -> None:
        """An attempt failed (0), or the connection it made is gone after so long."""
        self._losses = 1 if lasted_ns >= STABLE_NS else self._losses + 1

    def wait_ns(self, now_ns: int) -> int:
        """How long to wait from now; draws anew with every call."""
        ceiling_s = min(_FIRST_S << min(max(self._losses - 1, 0), 6), _LONGEST_S)
        drawn_ns = self._dice.randrange(ceiling_s * NS_PER_S)
        if len(self._begun_ns) == self._begun_ns.maxlen:
            return max(drawn_ns, self._begun_ns[0] + _HOUR_NS - now_ns)
        return drawn_ns
