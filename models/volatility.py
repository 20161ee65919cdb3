"""How far the price usually moves from here: volatility by the hour of the week and by what happened lately.

Theory of operation. Two things are learnt of one market, bar by bar, and nothing looks ahead.

The season. A trading week starts on Sunday 17:00 New York, whatever the summer time does, and is cut into buckets of an
hour (of a bar, where bars are longer). Each bucket keeps the mean absolute log return and the mean true range of its
bars, over about the last hundred weeks; a bucket that has seen few bars leans on the mean of all.

The level. Each bar's true range, divided by what is usual for its bucket and held within LIMIT, feeds one exponential
mean a span of SPANS bars (4 to 256): markets remember on many scales at once (Corsi 2009 takes three). Their root mean
square, drawn towards 1 by h / (h + REVERSION) because a shock fades over the horizon, is the level.

sigma_h = level x sqrt(pi / 2 x sum of the squared mean returns of the next h buckets that trade), where sqrt(pi / 2)
makes a mean absolute deviation the sigma of a Gaussian. A quantile on top of it (`models.conformal`) makes it true.

True ranges rather than returns feed the level, as they say more about a bar than where it ended (Parkinson 1980). A bar
that comes after a hole in the data says nothing about one bar's range and teaches nothing. Plain Python: part of the
core's state, and so without clock or I/O; equal bars give equal numbers.
"""

import math
from bisect import bisect_left

from bus.calendar import week_start_ns
from bus.errors import DataError
from bus.messages import VolatilityState
from bus.values import NS_PER_DAY, NS_PER_HOUR

SPANS = (4, 16, 64, 256)
"""Bars over which the level's exponential means look back."""
REVERSION = 200
"""Bars ahead at which the level counts half and the season alone the other half."""
MEMORY = 100
"""Weeks that a bucket's means remember."""
PRIOR = 10
"""Bars' worth of the mean of all buckets that a new bucket starts with."""
LIMIT = 8.0
"""Ranges and returns count up to this many times what is usual: one flash crash must not bend an hour's season."""

_LEAST_SHARE = 0.05  # of the mean range of all buckets: what a bucket's usual range is at least taken for
_MEAN_MEMORY = 10_000
_MOST_MISSING = 3
_LONGEST_CLOSURE_NS = 4 * NS_PER_DAY
_WEEK_NS = 7 * NS_PER_DAY
_LEARNING_WEEKS = 2
_OPEN_SHARE = 0.25
_TINY = 1e-7
_LARGEST_SIGMA = 1.0


class SeasonalVolatility:
    """The volatility of one market. Feed it every closed bar, oldest first; one that is not newer changes nothing.

    Args:
        period_ns: length of a bar.
    """

    __slots__ = ("_bars", "_buckets", "_counts", "_cycle", "_last_close_e5", "_last_open_ns", "_levels", "_mean_range",
                 "_mean_return", "_per_bucket", "_places", "_ranges", "_returns", "_sums", "_unit_ns",
                 "_week_end_ns", "_week_ns", "_weeks", "period_ns")  # fmt: skip

    def __init__(self, period_ns: int) -> None:
        if period_ns <= 0:
            raise ValueError(f"bars of {period_ns} ns; the period must be positive")
        self.period_ns = period_ns
        self._unit_ns = min(max(period_ns, NS_PER_HOUR), _WEEK_NS)
        self._per_bucket = self._unit_ns / min(period_ns, _WEEK_NS)
        self._buckets = -(-_WEEK_NS // self._unit_ns)
        self._last_open_ns = -1
        self._last_close_e5 = 0
        self._weeks = 0
        self._enter_week(0)
        self._bars = 0
        self._mean_return = self._mean_range = 0.0
        self._levels = [1.0] * len(SPANS)
        self._returns = [0.0] * self._buckets
        self._ranges = [0.0] * self._buckets
        self._counts = [0] * self._buckets
        self._cycle: tuple[int, ...] = ()
        self._sums: tuple[float, ...] = ()
        self._places: tuple[tuple[int, bool], ...] = ()

    @property
    def ready(self) -> bool:
        """Whether a whole trading week has been seen, so that the season is known at all."""
        return bool(self._cycle)

    @property
    def known(self) -> bool:
        """Whether there is anything to tell: two bars have been seen."""
        return self._bars > 0

    @property
    def last_open_ns(self) -> int:
        """Open time of the newest bar taken in; -1 before the first."""
        return self._last_open_ns

    def update(self, ts_open_ns: int, high_e5: int, low_e5: int, close_e5: int) -> None:
        """Learn from a closed bar.

        Raises:
            DataError: a price that is not positive; nothing is learnt.
        """
        before_ns = self._last_open_ns
        if ts_open_ns <= before_ns:
            return
        if min(high_e5, low_e5, close_e5) <= 0:
            raise DataError(f"a bar with a price of {min(high_e5, low_e5, close_e5)}; it must be positive")
        last_ns = ts_open_ns + self.period_ns - 1
        same_week = last_ns < self._week_end_ns
        if not same_week:
            self._turn_week(week_start_ns(last_ns))
        before_e5, self._last_close_e5, self._last_open_ns = self._last_close_e5, close_e5, ts_open_ns
        if before_e5 == 0:
            return
        passed_ns = ts_open_ns - before_ns
        if passed_ns > (1 + _MOST_MISSING) * self.period_ns and (same_week or passed_ns > _LONGEST_CLOSURE_NS):
            return
        change = abs(math.log(close_e5 / before_e5))
        span = math.log(max(high_e5, before_e5) / min(low_e5, before_e5))
        self._learn(self._bucket(last_ns), change, span)

    def sigma(self, horizon: int) -> float:
        """Sigma of the log return over the next `horizon` bars, as seen at the close of the newest bar.

        Raises:
            DataError: no return has been seen yet, so there is nothing to tell.
        """
        if self._bars == 0:
            raise DataError("a volatility was asked for before there were two bars; feed history first")
        towards = horizon / (horizon + REVERSION)
        squares = 0.0
        for level in self._levels:
            squares += level * level
        level2 = (1.0 - towards) * squares / len(SPANS) + towards
        sigma = math.sqrt(0.5 * math.pi * level2 * self._season(horizon))
        return min(max(sigma, _TINY), _LARGEST_SIGMA)

    def scale_e5(self, close_e5: int, horizon: int) -> int:
        """`sigma` as a price distance from a close, rounded, at least 1."""
        return max(1, math.floor(close_e5 * self.sigma(horizon) + 0.5))

    def state(self) -> VolatilityState:
        """Everything, for `restore`."""
        return VolatilityState(
            period_ns=self.period_ns,
            last_open_ns=self._last_open_ns,
            last_close_e5=self._last_close_e5,
            week_ns=self._week_ns,
            weeks=self._weeks,
            bars=self._bars,
            mean_return=self._mean_return,
            mean_range=self._mean_range,
            levels=tuple(self._levels),
            returns=tuple(self._returns),
            ranges=tuple(self._ranges),
            counts=tuple(self._counts),
            cycle=self._cycle,
            sums=self._sums,
        )

    @classmethod
    def restore(cls, state: VolatilityState, period_ns: int) -> "SeasonalVolatility":
        """Continue, bit-equal.

        Raises:
            DataError: the state is of another period, of other spans or buckets, or has learnt nothing, or holds
                numbers that are none.
        """
        if state.period_ns != period_ns or period_ns <= 0:
            raise DataError(f"a volatility of bars of {state.period_ns} ns, not {period_ns}; train the model again")
        made = cls(state.period_ns)
        sizes = {len(state.returns), len(state.ranges), len(state.counts)}
        numbers = (*state.levels, *state.returns, *state.ranges, *state.sums, state.mean_return, state.mean_range)
        if (
            len(state.levels) != len(SPANS)
            or sizes != {made._buckets}
            or len(state.sums) != len(state.cycle) + bool(state.cycle)
        ):
            raise DataError("a volatility of another release (spans or buckets differ); train the model again")
        sound = all(0.0 <= number < math.inf for number in numbers) and state.bars > 0 and state.last_close_e5 > 0
        if not sound or not all(0 <= bucket < made._buckets for bucket in state.cycle) or min(state.counts) < 0:
            raise DataError("a volatility that has learnt nothing, or numbers that are none; train the model again")
        made._last_open_ns, made._last_close_e5 = state.last_open_ns, state.last_close_e5
        made._weeks, made._bars = state.weeks, state.bars
        made._enter_week(state.week_ns)
        made._mean_return, made._mean_range = state.mean_return, state.mean_range
        made._levels, made._counts = list(state.levels), list(state.counts)
        made._returns, made._ranges = list(state.returns), list(state.ranges)
        made._cycle, made._sums = state.cycle, state.sums
        made._places = made._placed()
        return made

    # --- the season ----------------------------------------------------------------------------------------------

    def _enter_week(self, week_ns: int) -> None:
        """A week lasts 167 to 169 hours, as summer time begins or ends on its Sunday morning."""
        self._week_ns = week_ns
        self._week_end_ns = week_start_ns(week_ns + _WEEK_NS + 2 * NS_PER_HOUR) if week_ns else 0

    def _bucket(self, last_ns: int) -> int:
        return min((last_ns - self._week_ns) // self._unit_ns, self._buckets - 1)

    def _turn_week(self, week_ns: int) -> None:
        self._weeks += self._week_ns > 0
        self._enter_week(week_ns)
        if self._weeks < _LEARNING_WEEKS:
            return
        enough = max(self._counts) * _OPEN_SHARE
        self._cycle = tuple(k for k, count in enumerate(self._counts) if count and count >= enough)
        sums = [0.0]
        for bucket in self._cycle:
            usual = self._usual(self._returns, self._mean_return, bucket)
            sums.append(sums[-1] + usual * usual)
        self._sums = tuple(sums)
        self._places = self._placed()

    def _placed(self) -> tuple[tuple[int, bool], ...]:
        """For each bucket its place in the cycle (or that of the next one that trades), and whether it trades."""
        trading = set(self._cycle)
        return tuple((bisect_left(self._cycle, bucket), bucket in trading) for bucket in range(self._buckets))

    def _usual(self, means: list[float], mean_of_all: float, bucket: int) -> float:
        """A bucket's mean, leaning on the mean of all while it has seen little."""
        memory = MEMORY * self._per_bucket
        seen = min(self._counts[bucket], memory)
        weight = PRIOR * (1.0 - seen / memory)
        return (weight * mean_of_all + seen * means[bucket]) / (weight + seen)

    def _season(self, horizon: int) -> float:
        """Sum of the squared usual returns of the next bars."""
        if not self._cycle:
            return horizon * self._mean_return * self._mean_return
        end_ns = self._last_open_ns + self.period_ns
        bucket = self._bucket(end_ns - 1)
        place, trading = self._places[bucket]
        start: float = place
        if trading:
            start += min(1.0, (end_ns - self._week_ns - bucket * self._unit_ns) / self._unit_ns)
        return self._per_bucket * (self._cumulated(start + horizon / self._per_bucket) - self._cumulated(start))

    def _cumulated(self, place: float) -> float:
        """Squared usual returns, one a bucket, from the start of the cycle to a place in it or in a later one."""
        rounds, rest = divmod(place, len(self._cycle))
        whole = int(rest)
        sums = self._sums
        return rounds * sums[-1] + sums[whole] + (rest - whole) * (sums[whole + 1] - sums[whole])

    # --- learning ------------------------------------------------------------------------------------------------

    def _learn(self, bucket: int, change: float, span: float) -> None:
        self._bars += 1
        rate = 1.0 / min(self._bars, _MEAN_MEMORY)
        self._mean_return += rate * (change - self._mean_return)
        self._mean_range += rate * (span - self._mean_range)
        change = min(change, LIMIT * max(self._mean_return, self._returns[bucket]))
        span = min(span, LIMIT * max(self._mean_range, self._ranges[bucket]))
        usual = max(self._usual(self._ranges, self._mean_range, bucket), _LEAST_SHARE * self._mean_range, _TINY)
        ratio = min(span / usual, LIMIT)
        levels = self._levels
        for index, length in enumerate(SPANS):
            levels[index] += (ratio - levels[index]) / length
        self._counts[bucket] += 1
        rate = 1.0 / min(self._counts[bucket], MEMORY * self._per_bucket)
        self._returns[bucket] += rate * (change - self._returns[bucket])
        self._ranges[bucket] += rate * (span - self._ranges[bucket])
