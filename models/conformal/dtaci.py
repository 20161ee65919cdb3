"""Dynamically tuned adaptive conformal inference: several steps at once, weighted by how they did lately.

After Gibbs and Candes 2022. Each expert i is an ACI of its own step. When a truth comes, beta is the largest
miscoverage whose set would still have held it, an expert's loss is the pinball loss a (beta - a_i) - min(0, beta -
a_i), and weights become w_i exp(-eta l_i), mixed with the mean: (1 - s) w_i + s W / K. The level in use is the weighted
mean of the experts' levels, which keeps the answer deterministic where the paper draws one. With a memory of I truths
s = 1 / (2 I) and eta = sqrt(3 / I) sqrt((ln(K I) + 2) / ((1 - a)^2 a^3 + (1 - a)^3 a^2)).

Labels are delayed: an expert is judged by the level it had when the band was issued (the ticket); beta is taken from
the window as it is when the truth comes, which at one bar ahead is the window of the issue.
"""

import math
from collections.abc import Sequence

from models.conformal.adaptation import DtAciState, at_alpha
from models.conformal.window import RollingScores

GAMMAS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128)
MEMORY = 500


class DtAci:
    """A weighted mean of ACIs.

    Args:
        target: nominal miscoverage, a.
        gammas: the experts' steps.
        memory: truths over which regret is held small, I.

    Attributes:
        alphas: the experts' levels.
        weights: how much each counts; they sum to 1.
    """

    __slots__ = ("_eta", "_gammas", "_memory", "_mix", "alphas", "target", "weights")

    def __init__(self, target: float, gammas: Sequence[float] = GAMMAS, memory: int = MEMORY) -> None:
        if not gammas or memory < 1 or not 0.0 < target < 1.0:
            raise ValueError(f"{len(gammas)} experts, memory {memory}, target {target}: none of them may be nothing")
        experts, held = len(gammas), 1.0 - target
        self.target = target
        self._gammas = tuple(gammas)
        self._memory = memory
        self._mix = 1.0 / (2.0 * memory)
        self._eta = math.sqrt(3.0 / memory) * math.sqrt(
            (math.log(experts * memory) + 2.0) / (held**2 * target**3 + held**3 * target**2)
        )
        self.alphas = [target] * experts
        self.weights = [1.0 / experts] * experts

    @property
    def alpha(self) -> float:
        """The level in use."""
        return sum(weight * alpha for weight, alpha in zip(self.weights, self.alphas, strict=True))

    def threshold(self, window: RollingScores) -> float:
        """The quantile of the level in use."""
        return at_alpha(window, self.alpha)

    def ticket(self) -> tuple[float, ...]:
        """The experts' levels."""
        return tuple(self.alphas)

    def learn(self, _err: float, value: float, window: RollingScores, ticket: tuple[float, ...], /) -> None:
        """Judge every expert, reweigh, and let each take its step."""
        target, alphas, eta = self.target, self.alphas, self._eta
        issued = ticket or alphas
        beta = 1.0 - window.below(value) / (len(window) + 1)
        weights: list[float] = []
        for index, gamma in enumerate(self._gammas):
            over = beta - issued[index]
            loss = target * over if over > 0.0 else (target - 1.0) * over
            weights.append(self.weights[index] * math.exp(-eta * loss))
            # the set of level a_i holds the truth exactly where a_i < beta
            alphas[index] += gamma * target if over > 0.0 else gamma * (target - 1.0)
        kept = (1.0 - self._mix) / sum(weights)
        mixed = self._mix / len(weights)
        self.weights = [kept * weight + mixed for weight in weights]

    def state(self) -> DtAciState:
        """Everything, to be continued."""
        return DtAciState(
            target=self.target,
            gammas=self._gammas,
            memory=self._memory,
            alphas=tuple(self.alphas),
            weights=tuple(self.weights),
        )

    @classmethod
    def restore(cls, state: DtAciState) -> "DtAci":
        """The aggregate that had this state."""
        made = cls(state.target, state.gammas, state.memory)
        made.alphas, made.weights = list(state.alphas), list(state.weights)
        return made
