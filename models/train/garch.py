"""GARCH(1,1) by Gaussian quasi-maximum likelihood: the econometrician's volatility, to be compared with.

v_t = w + a r_(t-1)^2 + b v_(t-1) (Bollerslev 1986), fitted to returns scaled to unit variance by minimising the mean of
(ln v_t + r_t^2 / v_t) / 2 with a, b >= 0 and a + b < 1, which is consistent for any standardised innovations (Lee and
Hansen 1994). Its forecast of the variance of the next h returns together is the sum of
E v_(t+i) = V + (a + b)^(i-1) (v_(t+1) - V) over i = 1 to h, with V = w / (1 - a - b).
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.signal import lfilter

from bus.errors import DataError
from models.columns import Floats

LEAST_RETURNS = 500
_LEAST_RETURN = 1e-6
_STARTS = ((-3.0, 3.0, -4.0), (-2.0, 2.0, -2.0), (-4.0, 4.0, -6.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Garch:
    """A fitted model.

    Attributes:
        omega: in squared units of the returns, as is `first`, the variance of the first return (that of all returns
            which it was fitted to: where nothing ever returns to `unconditional`, that says little about any of them).
    """

    omega: float
    alpha: float
    beta: float
    first: float

    def variances(self, returns: Floats) -> Floats:
        """Variance of the return after each return, as seen with it, shape (n,)."""
        return _filtered(returns, self.omega, self.alpha, self.beta, self.first)

    def over(self, variances: Floats, horizon: int) -> Floats:
        """Variance of the sum of the next `horizon` returns, from what `variances` gave."""
        persistence = self.alpha + self.beta
        weight = (1.0 - persistence**horizon) / (1.0 - persistence)
        return horizon * self.unconditional + weight * (variances - self.unconditional)

    @property
    def unconditional(self) -> float:
        """The variance everything returns to, V."""
        return self.omega / (1.0 - self.alpha - self.beta)


def fit(returns: Floats) -> Garch:
    """Fit to log returns, oldest first.

    Raises:
        DataError: fewer than 500 returns, one that is not finite, or none that moves.
    """
    scale = float(np.sqrt(np.mean(returns**2))) if len(returns) else 0.0
    if len(returns) < LEAST_RETURNS or not 0.0 < scale < np.inf:
        raise DataError(f"{len(returns)} returns of size {scale:g}: GARCH needs {LEAST_RETURNS} finite ones that move")
    scaled = returns / scale

    def loss(free: Floats) -> float:
        omega, alpha, beta = _bound(free)
        ahead = _filtered(scaled[:-1], omega, alpha, beta, 1.0)
        variances = np.concatenate(([1.0], ahead))
        return float(0.5 * np.mean(np.log(variances) + scaled**2 / variances))

    settings = {"maxiter": 4000, "xatol": 1e-5, "fatol": 1e-10}
    best: tuple[float, tuple[float, float, float]] = (np.inf, (0.0, 0.0, 0.0))
    for start in _STARTS:
        found = minimize(loss, np.array(start), method="Nelder-Mead", options=settings)
        if found.fun < best[0]:
            best = (float(found.fun), _bound(found.x))
    omega, alpha, beta = best[1]
    return Garch(omega=omega * scale**2, alpha=alpha, beta=beta, first=scale**2)


def _bound(free: Floats) -> tuple[float, float, float]:
    """Free numbers to omega > 0, alpha in (0, 1), beta in (0, 1 - alpha), and never so near that V is lost."""
    held = np.clip(free, -300.0, 300.0)  # the search may stray; beyond this nothing changes but an overflow
    alpha = 1.0 / (1.0 + np.exp(-held[0]))
    beta = (1.0 - _LEAST_RETURN) * (1.0 - alpha) / (1.0 + np.exp(-held[1]))
    return float(np.exp(held[2])), float(alpha), float(beta)


def _filtered(returns: Floats, omega: float, alpha: float, beta: float, before: float) -> Floats:
    """v_(t+1) for every t; `before` is the variance of the first return."""
    return lfilter([1.0], [1.0, -beta], omega + alpha * returns**2, zi=[beta * before])[0]
