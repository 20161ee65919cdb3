"""Linear forecasters with an L1 penalty, its strength chosen on the validation part, one for each output."""

import warnings

import numpy as np
from threadpoolctl import threadpool_limits

from models.contract import Floats, Problem
from models.forms.dense import Dense
from models.nets._sklearn import damping
from models.space import Real

_STRENGTHS = 16

WEAKEST = Real(name="weakest", low=1e-4, high=0.5, default=0.01, log=True,
               about="of the penalties tried, as a share of the one that leaves nothing")  # fmt: skip


def fit_path(problem: Problem, *, name: str, l1_ratio: float) -> Dense:
    """Minimise |y - x w|^2 / (2 n) + a (r |w|_1 + (1 - r) |w|^2 / 2) along a path of penalties a, without an intercept.

    The path starts where every weight is 0, which is the random walk, and ends at the share `WEAKEST` of that;
    `regularise` multiplies it, and at 0 there is no penalty and this is least squares. Each output keeps the penalty
    that is best on the validation part, and is damped by its worth there.

    Args:
        problem: what to learn.
        name: told to `problem.progress`.
        l1_ratio: r, above 0 and at most 1; 1 = the lasso (Tibshirani 1996), less = elastic net (Zou and Hastie 2005).
    """
    # imported here: only training pays for it
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import enet_path

    outputs = problem.targets.shape[1]
    weight = np.zeros((problem.inputs.shape[1], outputs))
    with threadpool_limits(limits=1), warnings.catch_warnings():
        # weights short of the optimum are weights all the same, and the validation part judges them
        warnings.simplefilter("ignore", ConvergenceWarning)
        for output in range(outputs):
            if problem.regularise == 0.0:
                weight[:, output] = np.linalg.lstsq(problem.inputs, problem.targets[:, output])[0]
            else:
                weakest = WEAKEST.of(problem.parameters)
                penalties = _penalties(problem.inputs, problem.targets[:, output], l1_ratio, weakest)
                penalties *= problem.regularise
                _, path, _ = enet_path(
                    problem.inputs,
                    problem.targets[:, output],
                    l1_ratio=l1_ratio,
                    alphas=penalties,  # pyright: ignore[reportArgumentType]  its default is a word
                    max_iter=2_000,
                    tol=1e-5,
                )
                weight[:, output] = _best(np.array(path), problem, output)
            problem.progress(name, (output + 1) / outputs)
    fitted = Dense(weights=(weight,), biases=(np.zeros(outputs),))
    if problem.regularise == 0.0:
        return fitted
    return fitted.damped(damping(fitted(problem.validation_inputs), problem.validation_targets))


def _penalties(inputs: Floats, targets: Floats, l1_ratio: float, weakest: float) -> Floats:
    """From the weakest penalty that leaves nothing downwards."""
    strongest = float(np.abs(inputs.T @ targets).max()) / (len(inputs) * l1_ratio)
    return max(strongest, 1e-12) * np.geomspace(1.0, weakest, _STRENGTHS)


def _best(path: Floats, problem: Problem, output: int) -> Floats:
    """The column of a path, shape (k, penalties), with the least squared error on the validation part."""
    errors = problem.validation_inputs @ path - problem.validation_targets[:, output : output + 1]
    return path[:, int(np.argmin((errors**2).mean(axis=0)))]
