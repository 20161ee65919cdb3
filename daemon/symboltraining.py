"""Trains one symbol in a process of its own, for a queue: ``python -m daemon.symboltraining STATE RUN fresh|stage``.

The configuration comes as JSON on standard input, names one symbol, and says by date where learning ends. Progress
leaves as lines of JSON on standard output, what is wrong as one line on standard error; releases stand in the run's
folder. The process ends with its parent: told to stop by the kernel, it saves like after any SIGTERM.
"""

import contextlib
import ctypes
import os
import signal
import sys
import time
from pathlib import Path

import msgspec

from bus.errors import TradingError
from daemon.app import load_data
from daemon.state import State
from daemon.training import STOPPED, handed_config, leave, train_in_a_run
from daemon.trainingrun import TrainingRun
from models.learning import TrainingStopped

_SAY_EVERY_S = 0.2
_SIGNAL_AT_PARENTS_END = 1  # PR_SET_PDEATHSIG of prctl(2)


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """A line of progress: a stage, and the share that is done, 0 to 1."""

    stage: str
    share: float


class _Saying:
    """Says how far it is, not too often."""

    def __init__(self) -> None:
        self._said_s = 0.0

    def __call__(self, stage: str, share: float) -> None:
        now = time.monotonic()
        if now - self._said_s < _SAY_EVERY_S:
            return
        self._said_s = now
        line = msgspec.json.encode(Said(stage=stage, share=share)) + b"\n"
        with contextlib.suppress(BrokenPipeError):  # the parent is gone; the kernel says so too
            os.write(sys.stdout.fileno(), line)


def _main() -> int:
    signal.signal(signal.SIGTERM, leave)
    with contextlib.suppress(OSError, AttributeError):  # not Linux: then the parent's own stopping has to do
        ctypes.CDLL(None).prctl(_SIGNAL_AT_PARENTS_END, int(signal.SIGTERM))
    folder, run_folder, how = sys.argv[1:4]
    config = handed_config()
    if config is None:
        return STOPPED  # the parent says so itself
    run = TrainingRun(Path(run_folder))
    try:
        data = load_data(config)
        train_in_a_run(State(Path(folder)), config, data, run, show=_Saying(), stage=how == "stage")
    except TrainingStopped:
        return STOPPED
    except (TradingError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main())
