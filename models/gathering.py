"""How long requests wait for one another, so that a device computes several markets at once. Light, reads no pipe.

Theory of operation. Bars of several symbols close at the same instant, and their requests arrive within a few hundred
microseconds. Answered one by one, the second would wait for all of the first's way through the device. So the first is
held until each market that is served has asked, or `window_ns` has passed since it came, whichever is sooner. It is
never held for longer than half of what was left until the earliest deadline among those held; where the wall clock is
past that deadline, as in simulated time, nothing is held at all. Where one market is served, or no device computes,
there is nobody to wait for.
"""

import time
from collections.abc import Callable, Collection, Sequence

from bus.messages import ForecastRequested

Market = tuple[str, int]
"""Symbol and length of its bars in nanoseconds."""


class Gathering:
    """See the module's theory of operation.

    Args:
        window_ns: the longest that a request is held; 0 = none is.
        monotonic_ns: a clock that only goes forward.
        wall_ns: the clock that deadlines are of.
    """

    def __init__(
        self,
        window_ns: int,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._window_ns = window_ns
        self._monotonic_ns = monotonic_ns
        self._wall_ns = wall_ns
        self._expected: frozenset[Market] = frozenset()
        self._due_ns: int | None = None

    def expect(self, markets: Collection[Market]) -> None:
        """Wait for these from now on."""
        self._expected = frozenset(markets)

    def begin(self) -> None:
        """What was held is being answered; the next request is the first of others."""
        self._due_ns = None

    def patience_s(self, held: Sequence[ForecastRequested]) -> float:
        """How long the requests that are held should still wait, in seconds; 0 = they should be answered now."""
        if not held or self._window_ns <= 0:
            return 0.0
        # bars of one length close together: a market of minutes does not wait for one of hours
        periods = {each.period_ns for each in held}
        awaited = {each for each in self._expected if each[1] in periods}
        if awaited <= {(each.symbol, each.period_ns) for each in held}:
            return 0.0
        now_ns = self._monotonic_ns()
        until_deadline_ns = min(each.deadline_ns for each in held) - self._wall_ns()
        due_ns = now_ns + min(self._window_ns, until_deadline_ns // 2)
        self._due_ns = due_ns if self._due_ns is None else min(self._due_ns, due_ns)
        return max(0, self._due_ns - now_ns) / 1e9
