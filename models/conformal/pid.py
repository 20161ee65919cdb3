"""Conformal control: a rolling quantile as the forecast of the next scores, and a controller that corrects it.

After Angelopoulos, Candes and Tibshirani 2023, with the quantile of the rolling window as their scorecaster, and with
proportional and integral control acting on the logarithm of the threshold:

    q_t = Q_window(1 - a) x exp(u_t + r_t),    u_(t+1) = u_t + step (miss_t - a),    |u_t| <= ln 8
    r_t = integral x tan(S_t ln(t + 1) / (saturation (t + 1))), +-infinite beyond +-pi / 2, S_t = sum of (miss - a)

On the logarithm, one step is right for calm and wild markets alike, a miss widens by a share, and no threshold is ever
infinite or empty unless the integral saturates or the window is too small for its exact rank. As long as no score is
more than 8 times the window's quantile, |mean miss - a| <= (ln 8 + step) / (step T) for any sequence. With u at 0 it is
rolling split conformal, exact where scores are exchangeable. The bound of 8 keeps a market that stands still for a week
from winding the controller up; beyond it the window has to catch up.
"""

import math

from models.conformal.adaptation import PidState
from models.conformal.window import RollingScores

LARGEST_SHIFT = math.log(8.0)


class Pid:
    """Proportional and integral control on the log of a rolling quantile.

    Args:
        target: nominal miscoverage.
        step: the proportional gain; 0 = none.
        integral: the integral's gain; 0 = none.
        saturation: how far the integral's sum may go, C_sat.

    Attributes:
        shift: u_t.
        excess: S_t, misses beyond what the target allows.
    """

    __slots__ = ("_integral", "_saturation", "_seen", "_step", "excess", "shift", "target")

    def __init__(self, target: float, step: float, *, integral: float = 0.0, saturation: float = 5.0) -> None:
        self.target = target
        self._step = step
        self._integral = integral
        self._saturation = saturation
        self._seen = 0
        self.shift = 0.0
        self.excess = 0.0

    def threshold(self, window: RollingScores) -> float:
        """The corrected quantile."""
        quantile = window.quantile(self.target)
        if self._integral == 0.0:
            return quantile * math.exp(self.shift)
        angle = self.excess * math.log(self._seen + 1) / (self._saturation * (self._seen + 1))
        if abs(angle) >= math.pi / 2:
            return math.copysign(math.inf, angle)
        return quantile * math.exp(min(self.shift + self._integral * math.tan(angle), 700.0))

    def ticket(self) -> tuple[float, ...]:
        """Nothing: a miss as issued says it all."""
        return ()

    def learn(self, err: float, _value: float, _window: RollingScores, _ticket: tuple[float, ...], /) -> None:
        """One step of both."""
        error = err - self.target
        self.shift = min(max(self.shift + self._step * error, -LARGEST_SHIFT), LARGEST_SHIFT)
        self.excess += error
        self._seen += 1

    def state(self) -> PidState:
        """Everything, to be continued."""
        return PidState(
            target=self.target,
            step=self._step,
            integral=self._integral,
            saturation=self._saturation,
            shift=self.shift,
            excess=self.excess,
            seen=self._seen,
        )

    @classmethod
    def restore(cls, state: PidState) -> "Pid":
        """The controller that had this state."""
        made = cls(state.target, state.step, integral=state.integral, saturation=state.saturation)
        made.shift, made.excess, made._seen = state.shift, state.excess, state.seen
        return made
