"""Trials of a toy study, here or in a process: python -m tests.harness.trying URL NAME TRIALS [PAUSE_S [SAMPLER]].

The process says `trial NUMBER` as it begins one, pauses in the middle of it, and at its end prints what it did.
"""

import json
import sys
import time

from adapters.store.trials import TrialStore
from daemon.research.trials import Study
from models.learning import Pruned
from models.space import Real, Whole, Word

SPACE = (
    Real(name="x", low=0.01, high=10.0, default=1.0, log=True),
    Whole(name="n", low=1, high=9, default=3, step=2),
    Word(name="w", choices=("a", "b"), default="a"),
)
DEFAULTS = {each.name: each.default for each in SPACE}


def study(store, name="toy", **told):
    usual = {"kind": "toy", "space": SPACE, "begun_with": {"data": 1}, "defaults": DEFAULTS, "seed": 3}
    return Study(store, name, **(usual | told))


def value(parameters):
    return (parameters["x"] - 2.0) ** 2 + parameters["n"] * (parameters["w"] == "a")


def tried(opened, trials, pause_s=0.0, said=lambda _line: None):
    """Numbers of the trials that were run here."""
    numbers = []
    while (attempt := opened.next(trials)) is not None:
        said(f"trial {attempt.number}")
        try:
            for epoch in (1, 2, 3, 4, 5):
                attempt.report(epoch, value(attempt.parameters) + 1.0 / epoch)
            time.sleep(pause_s)
        except Pruned:
            attempt.prune()
        else:
            attempt.complete([value(attempt.parameters)], {"twice": 2.0 * value(attempt.parameters)})
        numbers.append(attempt.number)
    return numbers


def came(opened):
    """What was tried and what came of it, whatever numbers it has."""
    return [(each.parameters, each.values, each.state) for each in opened.trials() if each.state != "died"]


if __name__ == "__main__":
    url, name, trials, pause_s, sampler, *_ = [*sys.argv[1:], "0", "tpe"]
    with TrialStore.open(url) as store:
        opened = study(store, name, sampler=sampler)
        numbers = tried(opened, int(trials), float(pause_s), lambda line: print(line, flush=True))  # noqa: T201
    print(json.dumps(numbers))  # noqa: T201
