"""May one model take another's place? A paired comparison on the same bars, looked at a few times and no more.

Theory of operation. Both models' widest intervals are held against the same truths. The loss of a request is the sum
over its horizons of the Winkler (interval) score in units of the market's scale when it was asked; what counts is
challenger minus (1 + margin) times incumbent, request by request, so that the market they share drops out.

Requests overlap: truths one bar apart share all but one bar of a long horizon. Their differences are therefore added
up in batches of twice the longest horizon, which are next to independent, and the mean of the batches is tested with
Student's t (batch means; Law and Kelton). The comparison is looked at LOOKS times, each look at twice the requests of
the one before, each at 1/LOOKS of the error allowed (Bonferroni). So a challenger that is worse than the margin allows
is promoted with a probability of at most `false_promotion_pct_e2`, however long it stays; for a challenger that is as
good as the incumbent the margin is what lets it pass. `docs/models-swap.md` has the measured rates.

Coverage is a bound, not a test: at each horizon the challenger's share of truths within its interval must lie within
`coverage_pct_e2` of what it promises.
"""

import math
from collections.abc import Sequence
from typing import Literal

import msgspec

from bus.errors import ConfigError
from bus.messages import Band
from bus.special import beta_cdf

LOOKS = 5
FEWEST_BATCHES = 8
PAIRS_WAITING = 512
"""Requests that may wait for their truths, or for the other model; the oldest gives way."""

_MILLION = 1_000_000


class SwapPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a new model may trade, and when it must stop.

    Attributes:
        promote: ``rule``: a candidate that passes the comparison trades; ``command``: only an operator lets it.
        roll_back: the same for going back to the model before.
        min_pairs: requests that both models answered before the first look; at least 16 times the longest horizon
            is waited for in any case.
        margin_pct_e2: by how much the challenger's mean Winkler score may be worse, in 1/100 percent.
        false_promotion_pct_e2: chance of promoting a challenger that is worse than that, in 1/100 percent, all looks
            together; and of rolling back one that is not.
        coverage_pct_e2: how far measured coverage may lie from the nominal, in 1/100 percentage points.
        misses: forecasts in a row that the new model owes, while the one before answers, until it is rolled back;
            0 = never for that.
    """

    promote: Literal["rule", "command"] = "rule"
    roll_back: Literal["rule", "command"] = "rule"
    min_pairs: int = 250
    margin_pct_e2: int = 200
    false_promotion_pct_e2: int = 500
    coverage_pct_e2: int = 1_000
    misses: int = 3

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        bounds = {
            "min_pairs": (1, 1_000_000),
            "margin_pct_e2": (0, 10_000),
            "false_promotion_pct_e2": (1, 5_000),
            "coverage_pct_e2": (1, 10_000),
            "misses": (0, 1_000_000),
        }
        for key, (lowest, highest) in bounds.items():
            value: int = getattr(self, key)
            if not lowest <= value <= highest:
                raise ConfigError(f"swap.{key} = {value}: must lie between {lowest} and {highest}")


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What a comparison says at a look.

    Attributes:
        pairs: requests that both models answered and whose truths are all known.
        excess_pct: challenger's mean loss over the incumbent's, less 1, in percent.
        better: the challenger is no worse than the margin allows, and that is no luck.
        worse: it is worse than the margin allows, and that is no luck.
        off: the first horizon whose coverage is out of bounds, with its share; None where all are within.
    """

    pairs: int
    excess_pct: float
    better: bool
    worse: bool
    off: tuple[int, float] | None

    def __str__(self) -> str:
        """In one line."""
        told = f"Winkler score {self.excess_pct:+.1f} % beside it on {self.pairs} requests"
        return told if self.off is None else f"{told}, coverage {self.off[1]:.1%} at {self.off[0]} bars"


class _Pair(msgspec.Struct, gc=False):
    """One request: per side (challenger, incumbent) how many truths came, and the loss so far."""

    came: list[int]
    loss: list[float]


class Comparison:
    """Challenger and incumbent on the bars since `since_ns`.

    Args:
        challenger: id of the model that wants to trade, or does on probation.
        incumbent: id of the model that it is held against.
        horizons: that both answer.
        policy: margin, risk, bounds.
        level_ppm: nominal coverage of the bands that are compared.
        since_ns: requests asked before count for nothing.
    """

    def __init__(
        self,
        challenger: str,
        incumbent: str,
        *,
        horizons: Sequence[int],
        policy: SwapPolicy,
        level_ppm: int,
        since_ns: int,
    ) -> None:
        self.challenger = challenger
        self.incumbent = incumbent
        self.pairs = 0
        self.last: Standing | None = None
        self._policy = policy
        self._level_ppm = level_ppm
        self._since_ns = since_ns
        self._expected = len(horizons)
        self._batch = 2 * max(horizons)
        self.next_look = max(policy.min_pairs, FEWEST_BATCHES * self._batch)
        self._looks = 0
        self._waiting: dict[int, _Pair] = {}
        self._batches: list[float] = []
        self._sums = [0.0, 0.0]
        self._held = dict.fromkeys(horizons, 0)
        self._truths = dict.fromkeys(horizons, 0)

    @property
    def over(self) -> bool:
        """Whether every look has been taken."""
        return self._looks == LOOKS

    def add(
        self, model_id: str, as_of_ns: int, horizon: int, band: Band, actual_e5: int, scale_e5: int
    ) -> Standing | None:
        """Take one truth about one of the two; of any other model nothing is taken.

        Returns:
            What the comparison says, where this truth brought a look; else None.
        """
        if model_id not in {self.challenger, self.incumbent} or as_of_ns < self._since_ns or self.over:
            return None
        if not band.bounded or horizon not in self._truths:
            return None
        side = int(model_id == self.incumbent)
        if not side:
            self._truths[horizon] += 1
            self._held[horizon] += band.lower_e5 <= actual_e5 <= band.upper_e5
        pair = self._waiting.get(as_of_ns)
        if pair is None:
            if len(self._waiting) >= PAIRS_WAITING:
                self._waiting.pop(next(iter(self._waiting)))
            pair = self._waiting[as_of_ns] = _Pair([0, 0], [0.0, 0.0])
        pair.came[side] += 1
        pair.loss[side] += winkler_e5(band, actual_e5) / max(scale_e5, 1)
        if min(pair.came) < self._expected:
            return None
        del self._waiting[as_of_ns]
        return self._complete(pair.loss[0], pair.loss[1])

    def _complete(self, challenger: float, incumbent: float) -> Standing | None:
        if self.pairs % self._batch == 0:
            self._batches.append(0.0)
        self.pairs += 1
        self._sums[0] += challenger
        self._sums[1] += incumbent
        self._batches[-1] += challenger - (1.0 + self._policy.margin_pct_e2 / 1e4) * incumbent
        if self.pairs < self.next_look:
            return None
        self._looks += 1
        self.next_look *= 2
        self.last = self._look()
        return self.last

    def _look(self) -> Standing:
        whole = self._batches[: self.pairs // self._batch]
        share = self._policy.false_promotion_pct_e2 / 1e4 / LOOKS
        lower = chance_below(whole)
        return Standing(
            pairs=self.pairs,
            excess_pct=100.0 * (self._sums[0] / self._sums[1] - 1.0) if self._sums[1] else 0.0,
            better=lower <= share,
            worse=1.0 - lower <= share,
            off=self._off(),
        )

    def _off(self) -> tuple[int, float] | None:
        for horizon, n in self._truths.items():
            measured = self._held[horizon] / n if n else 0.0
            if abs(measured - self._level_ppm / _MILLION) * 1e4 > self._policy.coverage_pct_e2:
                return horizon, measured
        return None


def winkler_e5(band: Band, actual_e5: int) -> float:
    """The interval score of a bounded band (Winkler 1972): width, and 2 / alpha times what the truth lies outside."""
    beyond_e5 = max(band.lower_e5 - actual_e5, actual_e5 - band.upper_e5, 0)
    return band.upper_e5 - band.lower_e5 + 2.0 * _MILLION / (_MILLION - band.level_ppm) * beyond_e5


def chance_below(values: Sequence[float]) -> float:
    """The chance, were the true mean 0, of a mean as low as that of `values` or lower (Student's t, one-sided).

    1/2 where they are too few or do not vary and are 0; 0 or 1 where they do not vary and are not.
    """
    n = len(values)
    if n < 2:
        return 0.5
    mean = math.fsum(values) / n
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    if variance <= 0.0:
        return 0.5 if mean == 0.0 else float(mean > 0.0)
    t_squared = mean * mean * n / variance
    freedom = n - 1
    tail = 0.5 * beta_cdf(freedom / (freedom + t_squared), freedom / 2.0, 0.5)
    return tail if mean < 0.0 else 1.0 - tail
