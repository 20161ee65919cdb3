"""The learning rate over a run, as a factor of its highest value. Plain numbers; nothing of torch.

Theory of operation. A schedule is a function of the share of the run that is done, so a step's rate depends on nothing
but where it is, and a run that resumes needs no state; `plateau` alone looks at losses and keeps two numbers. Batches
that are halved for want of memory leave the number of steps as it was, and so the schedule.
"""

import math
from dataclasses import dataclass

from models.learning import Schedule

LEAST = 0.01
"""Share of the highest rate that cosines end at."""

_RESTARTS = 3
_RISE = 0.3
_START = 0.04
_PLATEAU_EPOCHS = 3
_PLATEAU_FACTOR = 0.5


def factor(schedule: Schedule, done: float) -> float:
    """The factor where a share `done` of the run, 0 to 1, is done; 1 for `plateau`, which is told by epochs.

    cosine: falls from 1 to LEAST (Loshchilov and Hutter 2017, without restarts). restarts: the same in periods, each
    twice as long as the one before (SGDR). one_cycle: rises from 1/25 to 1 over 30 % of the run, then falls (Smith and
    Topin 2018).
    """
    done = min(max(done, 0.0), 1.0)
    if schedule == "cosine":
        return _cosine(1.0, LEAST, done)
    if schedule == "restarts":
        unit = 1.0 / (2**_RESTARTS - 1)
        period = min(_RESTARTS - 1, int(math.log2(done / unit + 1.0)))
        begin = (2**period - 1) * unit
        return _cosine(1.0, LEAST, min(1.0, (done - begin) / (2**period * unit)))
    if schedule == "one_cycle":
        return (
            _cosine(_START, 1.0, done / _RISE) if done < _RISE else _cosine(1.0, LEAST, (done - _RISE) / (1.0 - _RISE))
        )
    return 1.0


@dataclass(slots=True)
class Plateau:
    """Halves the rate after three epochs without gain, down to LEAST.

    Attributes:
        factor: of the highest rate, now.
        waited: epochs since the last gain or the last halving.
    """

    factor: float = 1.0
    waited: int = 0

    def told(self, *, gained: bool) -> None:
        """An epoch has ended."""
        self.waited = 0 if gained else self.waited + 1
        if self.waited >= _PLATEAU_EPOCHS:
            self.factor, self.waited = max(LEAST, self.factor * _PLATEAU_FACTOR), 0


def _cosine(first: float, last: float, done: float) -> float:
    return last + (first - last) * 0.5 * (1.0 + math.cos(math.pi * done))
