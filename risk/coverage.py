"""Are the intervals telling the truth? A rolling count of what they covered, and what it means for size.

Theory of operation. A tracker keeps the last `window` outcomes of one interval (covered or not). As long as the
measured coverage could be luck (the upper limit of its two-sided 95 % Clopper-Pearson interval reaches the nominal
level) size is whole. Below that it is halved; and where even a nominal level with twice the misses is out of reach
(80 % for a 90 % interval) it is quartered. Fewer than MEASURED_FROM outcomes say nothing, and size is whole.

The upper limit reaches a level p exactly when P(X <= k) >= 2.5 % for X binomial with n and p. That is asked in whole
numbers, so a decision never hangs on the last digit of a floating-point library.
"""

import enum
import math
from collections import deque
from functools import lru_cache

from bus.errors import ConfigError

MEASURED_FROM = 50
PPM = 1_000_000
HALF_PPM = 500_000
QUARTER_PPM = 250_000
_ONE_IN = 40  # 2.5 % on each side


class CoverageState(enum.StrEnum):
    """What a tracker says."""

    UNMEASURED = "unmeasured"
    OK = "ok"
    DEGRADED = "degraded"


@lru_cache(maxsize=4096)
def fewest_plausible(n: int, level_ppm: int) -> int:
    """The smallest k of n whose upper 95 % Clopper-Pearson limit reaches a level."""
    common = math.gcd(level_ppm, PPM)
    hit, miss, whole = level_ppm // common, (PPM - level_ppm) // common, (PPM // common) ** n
    total = 0
    for k in range(n + 1):
        total += math.comb(n, k) * hit**k * miss ** (n - k)
        if total * _ONE_IN >= whole:
            return k
    return n


class CoverageTracker:
    """Measured coverage of one interval: one symbol, model and horizon."""

    def __init__(self, nominal_ppm: int, window: int = 250) -> None:
        """Start with nothing measured.

        Args:
            nominal_ppm: what the interval promises, in millionths.
            window: how many outcomes count, the newest.

        Raises:
            ConfigError: a level outside (0, 1) or a window that can never be measured.
        """
        if not 0 < nominal_ppm < PPM or window < MEASURED_FROM:
            raise ConfigError(
                f"coverage of {nominal_ppm} ppm over {window}: the level must lie between 1 and 999999 and the window "
                f"hold at least {MEASURED_FROM} outcomes"
            )
        self.nominal_ppm = nominal_ppm
        self._outcomes: deque[bool] = deque(maxlen=window)
        self._covered = 0
        self._multiplier_ppm: int | None = None

    def add(self, covered: bool) -> None:  # noqa: FBT001  # the one thing there is to say
        """Count one outcome; beyond the window the oldest is forgotten."""
        outcomes = self._outcomes
        if len(outcomes) == outcomes.maxlen:
            self._covered -= outcomes[0]
        outcomes.append(bool(covered))
        self._covered += bool(covered)
        self._multiplier_ppm = None

    @property
    def n(self) -> int:
        """Outcomes in the window."""
        return len(self._outcomes)

    @property
    def covered(self) -> int:
        """Outcomes in the window that the interval covered."""
        return self._covered

    @property
    def measured(self) -> float | None:
        """Share covered; None before the first outcome."""
        return self._covered / self.n if self.n else None

    @property
    def state(self) -> CoverageState:
        """Whether measured coverage is in keeping with the nominal level."""
        if self.n < MEASURED_FROM:
            return CoverageState.UNMEASURED
        return CoverageState.OK if self.size_multiplier_ppm() == PPM else CoverageState.DEGRADED

    def size_multiplier_ppm(self) -> int:
        """What size is multiplied by, in millionths: 1 000 000, 500 000 or 250 000."""
        if self._multiplier_ppm is None:
            self._multiplier_ppm = self._step()
        return self._multiplier_ppm

    def _step(self) -> int:
        if self.n < MEASURED_FROM or self._covered >= fewest_plausible(self.n, self.nominal_ppm):
            return PPM
        doubled_ppm = max(0, 2 * self.nominal_ppm - PPM)
        return HALF_PPM if self._covered >= fewest_plausible(self.n, doubled_ppm) else QUARTER_PPM
