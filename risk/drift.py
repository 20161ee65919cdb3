"""Is the world still what a model learnt? Three comparisons of a moving window with a fixed reference.

Theory of operation. Each statistic is a share that is compared with a limit in percent; a state follows, with
hysteresis: `warn` from the limit, `block` from twice the limit; back from `block` at 4/3 of the limit, from `warn` at
2/3. Nothing is said before a whole window (`performance`: LEAST blocks) has been seen, nor without a reference.

performance   the Winkler score (1972) of a model at one horizon, in units of the market's scale, of the interval that
              its calibration split gives: point +- q, q the split's own quantile. Value: by how much its mean over the
              window exceeds the mean over the split. The interval is the split's and does not adapt, so this shows what
              online calibration hides. Truths that overlap are taken in blocks of `horizon`, whose means are next to
              independent. Beside the limit the excess less luck (SURE standard errors of the difference of the two
              means) must be above 0 for `warn`, and at least the limit itself for `block`.
data          how much of the distribution of returns, or of true ranges, lies in other deciles than in training: the
              total variation distance of the histograms. Value: the larger of both. They are relative to the market's
              scale (`models.summary`), so that a storm is no drift. Spreads are not compared: those of real markets lie
              beyond any such limit from one year to the next, and the rule `spread` holds each entry against its own.
spectrum      how much of the power of the returns lies in other octaves than in training: total variation distance of
              the shares.

Why not ADWIN (Bifet and Gavalda 2007): it tells that a mean changed from what it was lately, up or down, and then
forgets what it was. What matters here is worse than at calibration, for as long as it is; a drift so slow that ADWIN
follows it is the one to catch. `docs/gates.md` has both beside each other.

The market's distributions have long memories and the statistics are looked at bar after bar, so textbook error rates
do not hold: `docs/gates.md` has the measured ones. Sums are kept in whole numbers; what is divided is divided once.
"""

import enum
import math
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence

from bus.messages import Histogram, TrainingSummary

PPM = 1_000_000
PERFORMANCE_WINDOW = 250
LEAST = 100
SURE = 3.0
DATA_WINDOW = 500
SPECTRUM_WINDOW = 500
FEWEST_SCORES = 50

_E4 = 10_000
_LARGEST_SCORE = 1_000.0


class DriftState(enum.StrEnum):
    """What a comparison says."""

    NO_REFERENCE = "no reference"
    UNMEASURED = "unmeasured"
    OK = "ok"
    WARN = "warn"
    BLOCK = "block"


_STATES = (DriftState.OK, DriftState.WARN, DriftState.BLOCK)


class Level:
    """A state that follows a value, with hysteresis. Larger values never give a looser state."""

    __slots__ = ("_rank", "limit_e4")

    def __init__(self, limit_e4: int) -> None:
        self.limit_e4 = limit_e4
        self._rank = 0

    @property
    def state(self) -> DriftState:
        """OK, WARN or BLOCK."""
        return _STATES[self._rank]

    def move(self, value_e4: int, sure_e4: int | None = None) -> None:
        """Follow a value in 1/100 percent; `sure_e4` is how much of it is no luck, where that is known apart."""
        limit = self.limit_e4
        sure = value_e4 if sure_e4 is None else sure_e4
        alarm = 0 if value_e4 < limit or sure <= 0 else 1 if value_e4 < 2 * limit or sure < limit else 2
        hold = 2 if 3 * value_e4 > 4 * limit else 1 if 3 * value_e4 > 2 * limit else 0
        self._rank = max(alarm, min(self._rank, hold))


class PerformanceDrift:
    """The errors of one model at one horizon beside those of its calibration split.

    Args:
        scores: |actual - point| / scale on the split, in time order.
        spacing: truths from one of these scores to the next.
        horizon: truths that overlap.
        level_ppm: of the interval that is scored.
        limit_pct: where `warn` begins.
        window: blocks of `horizon` truths.
    """

    __slots__ = ("_block", "_block_sum", "_blocks", "_level", "_limit", "_mean", "_penalty", "_variance", "_window",
                 "horizon", "value_pct_e2")  # fmt: skip

    def __init__(
        self,
        scores: Sequence[float],
        *,
        spacing: int,
        horizon: int,
        level_ppm: int,
        limit_pct: int,
        window: int = PERFORMANCE_WINDOW,
    ) -> None:
        self.horizon = horizon
        self.value_pct_e2 = 0
        self._level = Level(100 * limit_pct)
        self._penalty = 2.0 * PPM / (PPM - level_ppm)
        self._window = window
        self._blocks: deque[float] = deque()
        self._block, self._block_sum = 0, 0.0
        self._limit = self._mean = self._variance = 0.0
        rank = -(-(len(scores) + 1) * level_ppm // PPM)
        effective = min(len(scores), len(scores) * spacing // horizon)
        if rank > len(scores) or effective < FEWEST_SCORES:
            return
        self._limit = sorted(scores)[rank - 1]
        losses = [self._loss(score) for score in scores]
        self._mean = math.fsum(losses) / len(losses)
        spread = math.fsum((loss - self._mean) ** 2 for loss in losses) / (len(losses) - 1)
        self._variance = spread / effective

    def add(self, score: float) -> None:
        """Take the score of one truth, in time order."""
        if self._mean <= 0.0:
            return
        self._block += 1
        self._block_sum += self._loss(score)
        if self._block < self.horizon:
            return
        blocks = self._blocks
        if len(blocks) == self._window:
            blocks.popleft()
        blocks.append(self._block_sum / self.horizon)
        self._block, self._block_sum = 0, 0.0
        if len(blocks) >= LEAST:
            self._measure(blocks)

    def _measure(self, blocks: Sequence[float]) -> None:
        n = len(blocks)
        mean = math.fsum(blocks) / n
        variance = math.fsum((each - mean) ** 2 for each in blocks) / (n - 1) / n
        excess = mean / self._mean - 1.0
        luck = SURE * math.sqrt(variance + self._variance) / self._mean
        self.value_pct_e2 = math.floor(_E4 * excess)
        self._level.move(self.value_pct_e2, math.floor(_E4 * (excess - luck)))

    def _loss(self, score: float) -> float:
        held = min(score, _LARGEST_SCORE)
        return 2.0 * self._limit + self._penalty * max(0.0, held - self._limit)

    @property
    def n(self) -> int:
        """Blocks in the window."""
        return len(self._blocks)

    @property
    def limit_pct_e2(self) -> int:
        """Where `warn` begins, in 1/100 percent."""
        return self._level.limit_e4

    @property
    def what(self) -> str:
        """What was compared."""
        return f"Winkler score {self.horizon} bars ahead"

    @property
    def state(self) -> DriftState:
        """What the comparison says."""
        if self._mean <= 0.0:
            return DriftState.NO_REFERENCE
        return DriftState.UNMEASURED if len(self._blocks) < LEAST else self._level.state


class _Bars:
    """A window of bars beside what a model has seen: what data and spectrum have in common."""

    __slots__ = ("_level", "_rows", "_window", "value_pct_e2", "what")

    def __init__(self, what: str, limit_pct: int, window: int) -> None:
        self._rows: deque[tuple[int, ...]] = deque()
        self._window = window
        self._level = Level(100 * limit_pct)
        self.value_pct_e2 = 0
        self.what = what

    @property
    def n(self) -> int:
        """Bars in the window."""
        return len(self._rows)

    @property
    def limit_pct_e2(self) -> int:
        """Where `warn` begins, in 1/100 percent."""
        return self._level.limit_e4

    @property
    def state(self) -> DriftState:
        """What the comparison says."""
        if not self.what:
            return DriftState.NO_REFERENCE
        return DriftState.UNMEASURED if len(self._rows) < self._window else self._level.state


class DataDrift(_Bars):
    """Returns and true ranges of bars beside those that a model has seen."""

    __slots__ = ("_counts", "_references")

    def __init__(self, reference: TrainingSummary | None, *, limit_pct: int, window: int = DATA_WINDOW) -> None:
        named = () if reference is None else (
            ("returns", reference.returns), ("true ranges", reference.ranges),
        )  # fmt: skip
        self._references: tuple[tuple[str, Histogram], ...] = tuple(each for each in named if each[1].edges)
        self._counts = [[0] * len(each.shares_ppm) for _, each in self._references]
        super().__init__(self._references[0][0] if self._references else "", limit_pct, window)

    def add(self, return_ppm: int, range_ppm: int) -> None:
        """Take one bar."""
        if not self._references:
            return
        values = {"returns": return_ppm, "true ranges": range_ppm}
        row = tuple(bisect_left(each.edges, values[name]) for name, each in self._references)
        if len(self._rows) == self._window:
            for counts, cell in zip(self._counts, self._rows.popleft(), strict=True):
                counts[cell] -= 1
        self._rows.append(row)
        for counts, cell in zip(self._counts, row, strict=True):
            counts[cell] += 1
        if len(self._rows) == self._window:
            self._measure()

    def _measure(self) -> None:
        moved = [
            (_moved_e4(counts, each.shares_ppm), name)
            for counts, (name, each) in zip(self._counts, self._references, strict=True)
        ]
        self.value_pct_e2, self.what = max(moved)
        self._level.move(self.value_pct_e2)


class SpectrumDrift(_Bars):
    """The power of returns by octave beside that of the bars that a model has seen."""

    __slots__ = ("_shares_ppm", "_totals")

    def __init__(self, reference: TrainingSummary | None, *, limit_pct: int, window: int = SPECTRUM_WINDOW) -> None:
        self._shares_ppm = () if reference is None else reference.octaves_ppm
        self._totals = [0] * len(self._shares_ppm)
        super().__init__("power by octave" if self._shares_ppm else "", limit_pct, window)

    def add(self, octaves: Sequence[int]) -> None:
        """Take the powers of one bar."""
        if len(octaves) != len(self._shares_ppm):
            return
        totals = self._totals
        if len(self._rows) == self._window:
            for place, power in enumerate(self._rows.popleft()):
                totals[place] -= power
        self._rows.append(tuple(octaves))
        for place, power in enumerate(octaves):
            totals[place] += power
        if len(self._rows) == self._window and any(totals):
            self.value_pct_e2 = _moved_e4(totals, self._shares_ppm)
            self._level.move(self.value_pct_e2)


Drift = PerformanceDrift | DataDrift | SpectrumDrift


def _moved_e4(counts: Sequence[int], shares_ppm: Sequence[int]) -> int:
    """Total variation distance of counts and shares, in 1/10000."""
    total = sum(counts)
    apart = sum(abs(count * PPM - share * total) for count, share in zip(counts, shares_ppm, strict=True))
    return apart * _E4 // (2 * total * PPM)
