"""What moves a level's quantile when markets change: nothing (`Fixed`), or adaptive conformal inference (`Aci`).

An adaptation serves one level of one calibrator. It turns the window of scores into a threshold, and learns from each
truth whether the band as issued missed it. Thresholds may be infinite (the whole line) or -infinite (the empty set);
both are legal and counted by the calibrator, not clipped.

ACI (Gibbs and Candes 2021) keeps a working miscoverage, a_(t+1) = a_t + gamma (a - miss_t), and uses the quantile of
a_t. For any sequence of scores |mean miss - a| <= (max(a_1, 1 - a_1) + gamma) / (gamma T). At a_t <= 0 the set is the
whole line, at a_t >= 1 it is empty.
"""

import math
from collections.abc import Callable
from typing import Protocol

import msgspec

from models.conformal.window import RollingScores


class FixedState(msgspec.Struct, frozen=True, kw_only=True, tag="fixed", forbid_unknown_fields=True):
    """State of `Fixed`."""

    target: float


class AciState(msgspec.Struct, frozen=True, kw_only=True, tag="aci", forbid_unknown_fields=True):
    """State of `Aci`."""

    target: float
    gamma: float
    alpha: float


class PidState(msgspec.Struct, frozen=True, kw_only=True, tag="pid", forbid_unknown_fields=True):
    """State of `models.conformal.pid.Pid`."""

    target: float
    step: float
    integral: float
    saturation: float
    shift: float
    excess: float
    seen: int


class DtAciState(msgspec.Struct, frozen=True, kw_only=True, tag="dtaci", forbid_unknown_fields=True):
    """State of `models.conformal.dtaci.DtAci`."""

    target: float
    gammas: tuple[float, ...]
    memory: int
    alphas: tuple[float, ...]
    weights: tuple[float, ...]


AdaptationState = FixedState | AciState | PidState | DtAciState


class Adaptation(Protocol):
    """One level's way to follow the market. `target` is the nominal miscoverage."""

    target: float

    def threshold(self, window: RollingScores) -> float:
        """The largest score that the next band holds; infinite = the whole line, -infinite = the empty set."""
        ...

    def ticket(self) -> tuple[float, ...]:
        """What must be handed back with the truth of a band issued now; empty where `missed` is enough."""
        ...

    def learn(self, err: float, value: float, window: RollingScores, ticket: tuple[float, ...], /) -> None:
        """Take in a truth, before its score joins the window.

        Args:
            err: 1 where the band, as it was issued, missed it; 0 where it held.
            value: its score.
            window: the scores known before it.
            ticket: of the moment of issue.
        """
        ...

    def state(self) -> AdaptationState:
        """Everything, to be continued."""
        ...


Method = Callable[[float], Adaptation]
"""Makes the adaptation of one level from its nominal miscoverage."""


class Fixed:
    """No adaptation: rolling split conformal."""

    __slots__ = ("target",)

    def __init__(self, target: float) -> None:
        self.target = target

    def threshold(self, window: RollingScores) -> float:
        """The exact quantile."""
        return window.quantile(self.target)

    def ticket(self) -> tuple[float, ...]:
        """Nothing."""
        return ()

    def learn(self, _err: float, _value: float, _window: RollingScores, _ticket: tuple[float, ...], /) -> None:
        """Nothing."""

    def state(self) -> FixedState:
        """The target alone."""
        return FixedState(target=self.target)

    @classmethod
    def restore(cls, state: FixedState) -> "Fixed":
        """The one that had this state."""
        return cls(state.target)


class Aci:
    """Adaptive conformal inference.

    Attributes:
        alpha: the working miscoverage, a_t.
    """

    __slots__ = ("alpha", "gamma", "target")

    def __init__(self, target: float, gamma: float) -> None:
        self.target = target
        self.gamma = gamma
        self.alpha = target

    def threshold(self, window: RollingScores) -> float:
        """The quantile of the working miscoverage."""
        return at_alpha(window, self.alpha)

    def ticket(self) -> tuple[float, ...]:
        """Nothing: a miss as issued says it all."""
        return ()

    def learn(self, err: float, _value: float, _window: RollingScores, _ticket: tuple[float, ...], /) -> None:
        """One step."""
        self.alpha += self.gamma * (self.target - err)

    def state(self) -> AciState:
        """Target, step and working miscoverage."""
        return AciState(target=self.target, gamma=self.gamma, alpha=self.alpha)

    @classmethod
    def restore(cls, state: AciState) -> "Aci":
        """The one that had this state."""
        made = cls(state.target, state.gamma)
        made.alpha = state.alpha
        return made


def at_alpha(window: RollingScores, alpha: float) -> float:
    """The quantile of a miscoverage that may have left (0, 1)."""
    if alpha >= 1.0:
        return -math.inf
    return math.inf if alpha <= 0.0 else window.quantile(alpha)
