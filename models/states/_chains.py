"""Learning a hidden Markov chain by expectation and maximisation (Baum, Petrie, Soules and Weiss 1970).

The bars are cut into pieces, each of which starts the chain anew. That is how the filter will be asked (a window, from
the chain's start), and it makes a step of all pieces one step of numpy. Everything runs in logarithms.
"""

from dataclasses import dataclass

import numpy as np

from bus.errors import DataError
from models.columns import Floats

PIECE = 256
LEAST_PIECES = 4
_ROUNDS = 200
_GAIN = 1e-7
_STAY = 0.95
_LEAST_VARIANCE = 1e-3
_LEAST_CHANCE = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """What was learnt; shapes as in `models.forms.markov`. `likelihood` is the mean log density of a bar."""

    means: Floats
    variances: Floats
    transition: Floats
    start: Floats
    likelihood: float


def learn(bars: Floats, states: int) -> Chain:
    """Fit a chain of Gaussian states, in the order of the mean of the first number.

    It starts from the parts of equal size by the first number, so no random number is drawn.

    Args:
        bars: shape (n, k), in time order.
        states: at least 2.

    Raises:
        DataError: fewer bars than LEAST_PIECES pieces.
    """
    pieces = len(bars) // PIECE
    if pieces < LEAST_PIECES:
        raise DataError(f"{len(bars)} bars; a chain learns from {LEAST_PIECES * PIECE} or more")
    data = bars[len(bars) - pieces * PIECE :].reshape(pieces, PIECE, bars.shape[1])
    rank = np.argsort(np.argsort(data[:, :, 0].reshape(-1), kind="stable"), kind="stable")
    belief = np.eye(states)[rank * states // len(rank)].reshape(pieces, PIECE, states)
    means, variances = _moments(data, belief)
    transition = np.full((states, states), (1.0 - _STAY) / (states - 1))
    np.fill_diagonal(transition, _STAY)
    start, before, likelihood = np.full(states, 1.0 / states), -np.inf, -np.inf
    for _ in range(_ROUNDS):
        belief, moves, likelihood = expect(data, means, variances, transition, start)
        means, variances = _moments(data, belief)
        transition = _shares(moves)
        start = _shares(belief[:, 0].sum(axis=0))
        if likelihood - before < _GAIN:
            break
        before = likelihood
    order = np.argsort(means[:, 0], kind="stable")
    return Chain(
        means=means[order],
        variances=variances[order],
        transition=transition[np.ix_(order, order)],
        start=start[order],
        likelihood=likelihood,
    )


def expect(
    data: Floats, means: Floats, variances: Floats, transition: Floats, start: Floats
) -> tuple[Floats, Floats, float]:
    """Forwards and backwards over pieces of shape (pieces, length, k).

    Returns:
        Probability of each state at each bar given its whole piece, shape (pieces, length, states); expected number of
        moves from state to state; mean log density of a bar.
    """
    density = -0.5 * (
        (data[:, :, None, :] - means) ** 2 / variances + np.log(2.0 * np.pi * variances)
    ).sum(axis=3)  # fmt: skip
    pieces, length, states = density.shape
    forward, backward = np.empty_like(density), np.zeros_like(density)
    with np.errstate(divide="ignore"):
        ways, first = np.log(transition), np.log(start)
    forward[:, 0] = first + density[:, 0]
    for step in range(1, length):
        forward[:, step] = _log_sum(forward[:, step - 1, :, None] + ways, 1) + density[:, step]
    for step in range(length - 2, -1, -1):
        backward[:, step] = _log_sum(ways + (density[:, step + 1] + backward[:, step + 1])[:, None, :], 2)
    whole = _log_sum(forward[:, -1], 1)
    belief = np.exp(forward + backward - whole[:, None, None])
    moves = np.zeros((states, states))
    for step in range(length - 1):
        onward = (density[:, step + 1] + backward[:, step + 1])[:, None, :]
        moves += np.exp(forward[:, step, :, None] + ways + onward - whole[:, None, None]).sum(axis=0)
    return belief, moves, float(whole.sum()) / (pieces * length)


def _moments(data: Floats, belief: Floats) -> tuple[Floats, Floats]:
    weight = np.maximum(belief.sum(axis=(0, 1)), 1e-12)[:, None]
    means = np.einsum("pls,plk->sk", belief, data) / weight
    apart = (data[:, :, None, :] - means) ** 2
    return means, np.maximum(np.einsum("pls,plsk->sk", belief, apart) / weight, _LEAST_VARIANCE)


def _shares(counts: Floats) -> Floats:
    """Counts as distributions over the last axis; nothing is impossible."""
    held = np.maximum(counts, _LEAST_CHANCE * np.maximum(counts.sum(axis=-1, keepdims=True), 1e-12))
    return held / held.sum(axis=-1, keepdims=True)


def _log_sum(logs: Floats, axis: int) -> Floats:
    largest = logs.max(axis=axis, keepdims=True)
    return np.log(np.exp(logs - largest).sum(axis=axis)) + largest.squeeze(axis)
