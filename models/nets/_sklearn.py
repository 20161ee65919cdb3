"""Training of scikit-learn's multilayer perceptron, epoch by epoch, with early stopping on data it never trains on."""

import numpy as np
from threadpoolctl import threadpool_limits

from bus.errors import ModelError
from models.contract import Floats, Problem
from models.forms.dense import Dense

_EPOCHS_WITHOUT_GAIN = 8
_BATCH = 128


def train_perceptron(
    problem: Problem, *, name: str, hidden: tuple[int, ...], penalty: float, learning_rate: float, patience: bool = True
) -> Dense:
    """Fit by Adam on squared error and give the weights of the best epoch on the validation part.

    Args:
        problem: what to learn; `regularise` multiplies `penalty`, and at 0 the last epoch is taken, not the best.
        name: told to `problem.progress`.
        hidden: units of the hidden layers, tanh.
        penalty: L2 penalty (scikit-learn's alpha).
        learning_rate: Adam's first step size.
        patience: stop after some epochs without gain on the validation part.

    Raises:
        ModelError: the weights are not finite.
    """
    # imported here: only training pays the second it takes
    from sklearn.neural_network import MLPRegressor

    early = patience and problem.regularise > 0.0
    # an instance, not a number: partial_fit would start a number afresh, and the same shuffle, at every epoch
    random = np.random.RandomState(problem.seed)
    net = MLPRegressor(
        hidden_layer_sizes=hidden,
        activation="tanh",
        alpha=penalty * problem.regularise,
        batch_size=min(_BATCH, len(problem.inputs)),  # pyright: ignore[reportArgumentType]  its default is a word
        learning_rate_init=learning_rate,
        random_state=random,
    )
    targets = problem.targets[:, 0] if problem.targets.shape[1] == 1 else problem.targets
    best, best_loss, waited = None, np.inf, 0
    with threadpool_limits(limits=1):
        for epoch in range(problem.epochs):
            net.partial_fit(problem.inputs, targets)
            candidate = _export(list(net.coefs_), list(net.intercepts_))
            loss = float(np.mean((candidate(problem.validation_inputs) - problem.validation_targets) ** 2))
            problem.progress(name, (epoch + 1) / problem.epochs)
            if not np.isfinite(loss):
                raise ModelError(f"{name}: training diverged at epoch {epoch + 1}; look at the training data")
            problem.report(epoch + 1, loss)
            if not early or loss < best_loss - 1e-6:
                best, best_loss, waited = candidate, loss, 0
            else:
                waited += 1
                if waited >= _EPOCHS_WITHOUT_GAIN:
                    break
    problem.progress(name, 1.0)
    if best is None:
        raise ModelError(f"{name}: no epoch was trained; ask for at least one")
    return best


def damping(forecast: Floats, truth: Floats) -> Floats:
    """How much of each output to believe, shape (m,): the least-squares factor on the validation part, within 0 and 1.

    A forecast that is worthless there gets 0, and is then the random walk.
    """
    power = (forecast**2).sum(axis=0)
    fit = (forecast * truth).sum(axis=0) / np.where(power > 0.0, power, 1.0)
    return np.clip(np.where(power > 0.0, fit, 0.0), 0.0, 1.0)


def _export(weights: list[Floats], biases: list[Floats]) -> Dense:
    return Dense(
        weights=tuple(np.array(weight, np.float64) for weight in weights),
        biases=tuple(np.array(bias, np.float64) for bias in biases),
        activation="tanh",
    )
