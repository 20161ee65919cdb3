"""Are the intervals telling the truth? A rolling count and a sequential test of what they covered.

Theory of operation. A tracker sees the outcomes of one interval in order: covered or not. Two things are kept.

The window: the newest `window` outcomes, and whether their coverage could be luck. It could as long as the upper limit
of its two-sided 99 % Clopper-Pearson interval reaches the nominal level; it certainly is no good once even a level with
twice the misses is out of reach (80 % for a 90 % interval). It finds small lies, slowly. Fewer than MEASURED_FROM
outcomes say nothing.

The sum: Page's cumulative sum (1954) of the logarithm of how much likelier each outcome is were volatility twice what
the intervals say than if they tell the truth, never below 0 (for yes and no: Reynolds and Stoumbos 1999). It finds
large lies, fast: looking at every outcome is what it is made for, where a test of fixed length would sooner or later
fire by being asked often enough. By Ville's inequality a sum that starts at an outcome ever reaches ln(A) with a chance
of at most 1 / A while each outcome is covered with at least the nominal chance given all before it; so among the
`window` outcomes after a start the chance of a false block is at most window / A, which `false_block_pct_e2` sets.
Weights are whole hundredths of a natural logarithm, rounded against the alarm, so that this holds to the last digit.

States, from bad to good, and what leads to each; H = 100 ln(A):

    BLOCKED     the sum reaches H, or the window's upper limit is below the level with twice the misses;
                until the sum is at most H / 2 and the window has come back
    DEGRADED    the sum reaches 7/10 H, or the window's upper limit is below the level;
                until the sum is at most H / 4 and the window has come back
    OK          else; UNMEASURED where the window is too short to say so

"The window has come back" asks for a coverage that 10 % of honest windows would fall short of, rather than 0.5 %. The
sum stops at H: however long the lie was, the way back is equally short (some twenty honest outcomes from BLOCKED to
DEGRADED). Nothing is ever forgotten by a change of state, so a sequence with more misses never has a looser state.

Outcomes that overlap. Truths `horizon` bars ahead that are asked for at every bar share all but one bar with the next,
and are one piece of evidence, not many. They are taken in blocks of `horizon`: an outcome counts 1 / horizon in the
sum, and the window holds blocks, whose counts are added and rounded up to whole ones. In what follows an outcome is a
block. `docs/gates.md` has the rates, for overlapping ones as measured.

Intervals without limits promise nothing and are not counted. Intervals that are too wide harm nobody but the profit:
`wide` says so, and no state changes.

All decisions are made in whole numbers and hang on no library's last digit.
"""

import enum
import math
from collections import deque
from functools import lru_cache
from statistics import NormalDist

import msgspec

from bus.errors import ConfigError

MEASURED_FROM = 50
PPM = 1_000_000
WINDOW = 250
FALSE_BLOCK_PCT_E2 = 100

_ONE_IN = 200  # 0.5 % on each side
_BACK_ONE_IN = 10
_UNIT = 100  # of a natural logarithm


class CoverageState(enum.StrEnum):
    """What a tracker says."""

    UNMEASURED = "unmeasured"
    OK = "ok"
    DEGRADED = "degraded"
    BLOCKED = "blocked"


_RANKS = (CoverageState.OK, CoverageState.DEGRADED, CoverageState.BLOCKED)
_OK, _DEGRADED, _BLOCKED = range(3)


@lru_cache(maxsize=16_384)
def fewest_plausible(n: int, level_ppm: int, one_in: int = _ONE_IN) -> int:
    """The smallest k of n that a level falls short of, or meets, with a chance of at least 1 / `one_in`.

    With the default it is the smallest k whose upper 99 % Clopper-Pearson limit reaches the level.
    """
    common = math.gcd(level_ppm, PPM)
    hit, miss = level_ppm // common, (PPM - level_ppm) // common
    whole = (PPM // common) ** n
    term = miss**n  # of binomials: comb(n, k) hit^k miss^(n - k)
    total = 0
    for k in range(n + 1):
        total += term
        if total * one_in >= whole:
            return k
        term = term * (n - k) * hit // ((k + 1) * miss)
    return n


def upper_ppm(covered: int, n: int) -> int:
    """The upper limit of the two-sided 99 % Clopper-Pearson interval of a share, in millionths, rounded down.

    Exact, and slow: for messages. 1 000 000 where all were covered or there are none.
    """
    low, high = 0, PPM
    while high - low > 1:
        level = (low + high) // 2
        if covered >= fewest_plausible.__wrapped__(n, level):
            low = level
        else:
            high = level
    return PPM if n == covered else low


@lru_cache(maxsize=64)
def weights(level_ppm: int) -> tuple[int, int]:
    """What the sum gains by a miss and loses by a covered outcome, in hundredths of a natural logarithm.

    The alternative is the coverage of a Gaussian's central interval of this level when sigma doubles.
    """
    normal, miss = NormalDist(), 1.0 - level_ppm / PPM
    doubled = 2.0 * (1.0 - normal.cdf(normal.inv_cdf(1.0 - miss / 2.0) / 2.0))
    gain = math.floor(_UNIT * math.log(doubled / miss))
    loss = math.ceil(_UNIT * math.log((1.0 - miss) / (1.0 - doubled)))
    return gain, loss


class _Marks(msgspec.Struct, frozen=True, gc=False):
    """How many of n must be covered: never to fall below a level, and to have come back to it. And missed, for wide."""

    nominal: int
    nominal_back: int
    doubled: int
    doubled_back: int
    wide: int
    wide_back: int


@lru_cache(maxsize=4096)
def _marks(n: int, level_ppm: int) -> _Marks:
    doubled_ppm = max(0, 2 * level_ppm - PPM)
    return _Marks(
        nominal=fewest_plausible(n, level_ppm),
        nominal_back=fewest_plausible(n, level_ppm, _BACK_ONE_IN),
        doubled=fewest_plausible(n, doubled_ppm),
        doubled_back=fewest_plausible(n, doubled_ppm, _BACK_ONE_IN),
        wide=fewest_plausible(n, PPM - level_ppm),
        wide_back=fewest_plausible(n, PPM - level_ppm, _BACK_ONE_IN),
    )


class CoverageTracker:
    """Measured coverage of one interval: one symbol, model and horizon."""

    __slots__ = ("_block", "_block_covered", "_blocks", "_ceiling", "_covered", "_gain", "_loss", "_marks", "_rank",
                 "_window", "horizon", "nominal_ppm", "sum", "wide")  # fmt: skip

    def __init__(
        self,
        nominal_ppm: int,
        window: int = WINDOW,
        *,
        horizon: int = 1,
        false_block_pct_e2: int = FALSE_BLOCK_PCT_E2,
    ) -> None:
        """Start with nothing measured.

        Args:
            nominal_ppm: what the interval promises, in millionths.
            window: how many outcomes count, the newest.
            horizon: bars from forecast to truth where a forecast is asked for at every bar: so many outcomes that
                overlap count as one.
            false_block_pct_e2: largest chance that intervals which keep their promise are blocked within the first
                `window` outcomes, in 1/100 percent.

        Raises:
            ConfigError: a level outside (0, 1), a window that can never be measured, or a chance that is none.
        """
        if not 0 < nominal_ppm < PPM or window < MEASURED_FROM or horizon < 1 or not 0 < false_block_pct_e2 < 10_000:
            raise ConfigError(
                f"coverage of {nominal_ppm} ppm over {window}: the level must lie between 1 and 999999, the window "
                f"hold at least {MEASURED_FROM} outcomes, the horizon be at least 1, and the chance of a false block "
                f"({false_block_pct_e2} in 10000) be one"
            )
        self.nominal_ppm = nominal_ppm
        self.horizon = horizon
        self.sum = 0
        self.wide = False
        self._window = window
        self._blocks: deque[int] = deque()
        self._covered = 0
        self._block = self._block_covered = 0
        self._gain, self._loss = weights(nominal_ppm)
        self._ceiling = math.ceil(_UNIT * math.log(window * 10_000 / false_block_pct_e2)) * horizon
        self._marks: _Marks | None = None
        self._rank = _OK

    def add(self, covered: bool) -> None:  # noqa: FBT001  # the one thing there is to say
        """Count one outcome of an interval that had limits; beyond the window the oldest is forgotten."""
        if covered:
            self._block_covered += 1
            self.sum = max(0, self.sum - self._loss)
        else:
            self.sum = min(self._ceiling, self.sum + self._gain)
        self._block += 1
        if self._block == self.horizon:
            self._enter_block()
        alarm, hold = self._by_sum()
        if self._marks is not None:
            alarm, hold = self._by_window(self._marks, alarm, hold)
        self._rank = max(alarm, min(self._rank, hold))

    def _enter_block(self) -> None:
        blocks = self._blocks
        if len(blocks) == self._window:
            self._covered -= blocks.popleft()
        blocks.append(self._block_covered)
        self._covered += self._block_covered
        self._block = self._block_covered = 0
        n = len(blocks)
        if n >= MEASURED_FROM:
            marks = self._marks = _marks(n, self.nominal_ppm)
            missed = n - self.covered
            self.wide = missed < (marks.wide_back if self.wide else marks.wide)

    def _by_sum(self) -> tuple[int, int]:
        """The state that the sum calls for, and the one that it lets go no further than."""
        total, ceiling = self.sum, self._ceiling
        alarm = _BLOCKED if total >= ceiling else _DEGRADED if 10 * total >= 7 * ceiling else _OK
        hold = _BLOCKED if 2 * total > ceiling else _DEGRADED if 4 * total > ceiling else _OK
        return alarm, hold

    def _by_window(self, marks: _Marks, alarm: int, hold: int) -> tuple[int, int]:
        """The worse of both after the window was asked, too."""
        covered = self.covered
        if covered < marks.nominal_back:
            hold = max(hold, _BLOCKED if covered < marks.doubled_back else _DEGRADED)
            if covered < marks.nominal:
                alarm = max(alarm, _BLOCKED if covered < marks.doubled else _DEGRADED)
        return alarm, hold

    @property
    def n(self) -> int:
        """Outcomes in the window, overlapping ones as one."""
        return len(self._blocks)

    @property
    def covered(self) -> int:
        """How many of them the interval covered; where they overlap, rounded up."""
        return -(-self._covered // self.horizon)

    @property
    def measured(self) -> float | None:
        """Share covered; None before the first outcome."""
        return self._covered / (self.n * self.horizon) if self.n else None

    @property
    def sum_pct(self) -> int:
        """How far the sum is on its way to a block, in percent."""
        return 100 * self.sum // self._ceiling

    @property
    def state(self) -> CoverageState:
        """Whether measured coverage is in keeping with the nominal level."""
        if self._rank == _OK and self.n < MEASURED_FROM:
            return CoverageState.UNMEASURED
        return _RANKS[self._rank]

    def upper_ppm(self) -> int:
        """Upper limit of the 99 % Clopper-Pearson interval of the window's coverage, in millionths."""
        return upper_ppm(self.covered, self.n)
