"""Is there a reason to train anew? What a run's journal says of drift, and how old the models are.

Called by `plimsoll train --if-drifted` and by its timer (systemd/plimsoll-train.timer). It reads the journal of the
last run, which may still be written to, and the registry; it reaches nothing of a running daemon.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from bus.errors import ConfigError
from bus.messages import AnyMessage, DriftChanged, ModelPromoted, ModelRolledBack
from bus.values import NS_PER_DAY
from daemon.journal import Record, read
from daemon.state import State
from models.registry import Registry

_DRIFTED = frozenset({"warn", "block"})


def drifts(messages: Iterable[AnyMessage]) -> tuple[DriftChanged, ...]:
    """The drifts that a journal ends with: of models that trade, the newest word on each kind and horizon."""
    told: dict[tuple[str, str, str, int], DriftChanged] = {}
    for message in messages:
        if isinstance(message, DriftChanged):
            key = message.symbol, message.model_id, message.kind, message.horizon
            if message.active and message.after in _DRIFTED:
                told[key] = message
            else:
                told.pop(key, None)
        elif isinstance(message, ModelPromoted | ModelRolledBack):
            # a model that does not trade any more is not what is to be replaced
            told = {key: drift for key, drift in told.items() if key[:2] != (message.symbol, message.replaced)}
    return tuple(told.values())


def why_train(state: State, registry: Registry, *, older_than_d: int, now_ns: int) -> tuple[str, ...]:
    """Every reason to train anew, in words; none where the models are as good as they were.

    A drift whose model is not in the newest release has been answered: another was trained since, and is being tried.

    Args:
        state: whose last run's journal is read.
        registry: what was published.
        older_than_d: days since the newest bar that the newest release has seen, beyond which it is too old; 0 = never.
        now_ns: what its age counts from.

    Raises:
        ModelError: a pointer or a manifest is unsound.
        DataError: the journal cannot be read.
    """
    pointers = registry.pointers()
    if not pointers:
        return ("nothing was published yet",)
    newest = {name for pointer in pointers for name in pointer.newest.models}
    run = state.last_run()
    found = () if run is None else drifts(record.message for record in _records(run.journal))
    reasons = [f"{drift.symbol} {drift.model_id}: {drift.reason}" for drift in found if drift.model_id in newest]
    for pointer in pointers:
        model = pointer.newest.active
        seen_ns = registry.show(model).training.calibration_last_ts_ns
        age_d = (now_ns - seen_ns) / NS_PER_DAY
        if older_than_d and age_d > older_than_d:
            reasons.append(f"{pointer.symbol} {model}: has seen nothing of the last {age_d:.0f} days")
    return tuple(reasons)


def _records(journal: Path) -> Iterator[Record]:
    try:
        yield from read(journal)
    except ConfigError:  # a run that has just begun has no segment yet
        return
