"""Small problems and small networks for tests of the training engine, and a job that remembers."""

import contextlib

import numpy as np

from models.contract import Problem
from models.learning import Learning


class Remembering:
    """A job that keeps everything it is told, and wishes for what a test puts into `wishes`, by step."""

    def __init__(self, folder=None, wishes=None):
        self.folder, self.lines, self.told = folder, [], []
        self.wishes, self.asked = wishes or {}, 0

    def note(self, line):
        self.lines.append(line)

    def runs_on(self, facts):
        self.facts = facts

    def tell(self, record):
        self.told.append(record)

    def wish(self):
        self.asked += 1
        return self.wishes.get(self.asked)

    def listening(self):
        return contextlib.nullcontext()

    def said(self, word):
        return [line for line in self.lines if word in line]


def problem(
    n=400, held=100, *, window=6, features=3, outputs=2, seed=0, epochs=3, regularise=1.0, job=None, **learning
):
    """Windows over one history, as training makes them, and targets that the newest two bars tell of."""
    random = np.random.default_rng(seed)
    bars = random.standard_normal((n + held + window - 1, features))
    windows = np.lib.stride_tricks.sliding_window_view(bars, window, axis=0).transpose(0, 2, 1)
    targets = (
        0.7 * windows[:, -1, :outputs]
        - 0.4 * windows[:, -2, :outputs]
        + 0.3 * random.standard_normal((n + held, outputs))
    )
    return Problem(
        inputs=windows[:n],
        targets=targets[:n],
        validation_inputs=windows[n:],
        validation_targets=targets[n:],
        seed=seed,
        epochs=epochs,
        regularise=regularise,
        learning=Learning(**({"device": "cpu"} | learning)),
        **({} if job is None else {"job": job}),
    )
