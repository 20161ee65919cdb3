"""What every model has to beat: no change with one spread or another, and the regression that was once the standard."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.train import garch

Floats = NDArray[np.float64]

Paths = Callable[[Floats, int, int, np.random.Generator], Floats]
"""Draws paths: history of shape (days, series), horizon, samples and random numbers to shape (samples, horizon,
series). A point forecast gives one sample, however many are asked for."""

DECAY = 0.94
_SEASON = 5


class Sampler(Protocol):
    """A forecaster of several series together."""

    @property
    def name(self) -> str:
        """For the table."""
        ...

    def fit(self, training: Floats, seed: int) -> Paths:
        """Learn from training days, shape (days, series); what comes back knows nothing of later ones but its history.

        Raises:
            DataError: nothing can be learnt from them.
        """
        ...


@dataclass(frozen=True)
class RepeatLast:
    """The last level, as a point (Meese and Rogoff 1983)."""

    name: str = "repeat-last"

    def fit(self, training: Floats, seed: int) -> Paths:  # noqa: ARG002  # the protocol's shape
        """Nothing to learn."""
        return lambda history, horizon, _samples, _random: np.repeat(history[-1:], horizon, axis=0)[None]


@dataclass(frozen=True)
class SeasonalNaive:
    """The level of the same day of the last week of five days, as a point."""

    name: str = "seasonal-naive"

    def fit(self, training: Floats, seed: int) -> Paths:  # noqa: ARG002  # the protocol's shape
        """Nothing to learn."""
        return lambda history, horizon, _samples, _random: np.resize(history[-_SEASON:], (horizon, history.shape[1]))[
            None
        ]


@dataclass(frozen=True)
class EwmaWalk:
    """A Gaussian random walk of log levels without drift; its covariance is the EWMA (0.94) of all returns so far."""

    name: str = "ewma-random-walk"

    def fit(self, training: Floats, seed: int) -> Paths:  # noqa: ARG002  # the protocol's shape
        """Nothing to learn: the covariance is that of each window's history."""
        return lambda history, horizon, samples, random: walked(history, ewma_steps(history, horizon, samples, random))


def ewma_steps(history: Floats, horizon: int, samples: int, random: np.random.Generator) -> Floats:
    """Gaussian log returns, shape (samples, horizon, series), with the EWMA covariance of the history's.

    C = (1 - 0.94) sum of 0.94^i r_(t-i) r_(t-i)' over all days, its weights made to sum to 1 (RiskMetrics 1996).
    """
    returns = np.diff(np.log(history), axis=0)
    weights = DECAY ** np.arange(len(returns))[::-1]
    covariance = (returns * (weights / weights.sum())[:, None]).T @ returns
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))  # a peg has no variance: no Cholesky
    return random.standard_normal((samples, horizon, history.shape[1])) @ root.T


def walked(history: Floats, steps: Floats) -> Floats:
    """Paths of levels from log returns."""
    return history[-1] * np.exp(np.cumsum(steps, axis=1))


@dataclass(frozen=True)
class BootstrapWalk:
    """A random walk whose steps are whole past days: all series' returns of one day together, drawn with replacement.

    `days`: how far back they are drawn from; 0 = all.
    """

    days: int

    @property
    def name(self) -> str:
        """With the days it draws from."""
        return f"bootstrap-walk-{self.days or 'all'}"

    def fit(self, training: Floats, seed: int) -> Paths:  # noqa: ARG002  # the protocol's shape
        """Nothing to learn: the days are those of each window's history."""

        def paths(history: Floats, horizon: int, samples: int, random: np.random.Generator) -> Floats:
            returns = np.diff(np.log(history), axis=0)[-self.days :]
            return walked(history, returns[random.integers(0, len(returns), (samples, horizon))])

        return paths


@dataclass(frozen=True)
class GarchWalk:
    """Filtered historical simulation: GARCH(1,1) variances, and steps that are whole past days' standardised returns.

    Barone-Adesi, Giannopoulos and Vosper 1999. The parameters are fitted to the training days once; each window filters
    its history with them. Tails come from the data rather than from a t distribution. A series that stands still on
    more than half of the days (a peg) has no variance to filter, and keeps its plain returns.
    """

    name: str = "garch-walk"

    def fit(self, training: Floats, seed: int) -> Paths:  # noqa: ARG002  # the protocol's shape
        """Fit each series' variance."""
        fitted = [_garch(column) for column in np.diff(np.log(training), axis=0).T]

        def paths(history: Floats, horizon: int, samples: int, random: np.random.Generator) -> Floats:
            returns = np.diff(np.log(history), axis=0)
            days = random.integers(1, len(returns), (samples, horizon))
            steps = [
                returns[days, place] if one is None else _filtered(one, returns[:, place], days)
                for place, one in enumerate(fitted)
            ]
            return walked(history, np.stack(steps, axis=-1))

        return paths


def _garch(returns: Floats) -> garch.Garch | None:
    return None if float((returns == 0.0).mean()) > 0.5 else garch.fit(returns)


def _filtered(fitted: garch.Garch, returns: Floats, days: NDArray[np.int64]) -> Floats:
    """Steps of one series: past days' returns over their sigma, times a variance that goes on from the last day's."""
    ahead = fitted.variances(returns)
    standardised = returns[1:] / np.sqrt(ahead[:-1])
    shocks = (standardised - standardised.mean())[days - 1]
    variance = np.full(len(days), ahead[-1])
    steps = np.empty(shocks.shape)
    for step in range(shocks.shape[1]):
        steps[:, step] = np.sqrt(variance) * shocks[:, step]
        variance = fitted.omega + fitted.alpha * steps[:, step] ** 2 + fitted.beta * variance
    return steps


@dataclass(frozen=True)
class Autoregression:
    """A vector autoregression of the levels by least squares on the training days, with whole days' residuals drawn.

    y_t = c + A_1 y_(t-1) + ... + A_p y_(t-p) + e_t (Sims 1980); `order` is p.
    """

    order: int

    @property
    def name(self) -> str:
        """With its order."""
        return f"var-{self.order}"

    def fit(self, training: Floats, seed: int) -> Paths:  # noqa: ARG002  # the protocol's shape
        """Fit coefficients and keep residuals."""
        scale = np.abs(training).mean(axis=0)
        levels, order = training / scale, self.order
        behind = np.hstack([levels[order - lag - 1 : len(levels) - lag - 1] for lag in range(order)])
        design = np.column_stack((np.ones(len(behind)), behind))
        coefficients = np.linalg.lstsq(design, levels[order:], rcond=None)[0]
        residuals = levels[order:] - design @ coefficients

        def paths(history: Floats, horizon: int, samples: int, random: np.random.Generator) -> Floats:
            days = random.integers(0, len(residuals), (samples, horizon))
            newest = np.tile((history[-order:][::-1] / scale).reshape(1, -1), (samples, 1))
            out = np.empty((samples, horizon, history.shape[1]))
            for step in range(horizon):
                level = coefficients[0] + newest @ coefficients[1:] + residuals[days[:, step]]
                out[:, step] = level * scale
                newest = np.hstack((level, newest[:, : newest.shape[1] - level.shape[1]]))
            return out

        return paths


WALKS: tuple[Sampler, ...] = (
    RepeatLast(), SeasonalNaive(), EwmaWalk(), BootstrapWalk(60), BootstrapWalk(250), BootstrapWalk(0), GarchWalk(),
    Autoregression(1), Autoregression(2),
)  # fmt: skip
"""In every table."""
