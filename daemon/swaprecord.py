"""What a process tells of its models in the state directory, and what a recorded run says of them.

``models.json`` is a projection for people and for inference processes: nothing that trades reads it. What a run goes on
with is in its journal, and read from there.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from bus.errors import ModelError
from bus.messages import AnyMessage, ModelAdmitted, ModelRetired
from daemon.succession import Succession
from models import random_walk
from models.artifact import Artifact
from models.registry import Registry


class RefusalTold(msgspec.Struct, frozen=True, kw_only=True):
    """A model that was refused; `model_id` empty = its whole release."""

    symbol: str
    model_id: str
    release: int
    reason: str


class ModelsTold(msgspec.Struct, frozen=True, kw_only=True):
    """What ``models.json`` holds: by symbol, who trades, who did before, who wants to, who speaks; and refusals.

    `shadow` are the models that speak and do not trade, with their verdicts on the random walk.
    """

    run: str
    symbols: dict[str, "SymbolTold"]
    refused: tuple[RefusalTold, ...]


class SymbolTold(msgspec.Struct, frozen=True, kw_only=True):
    """Of one symbol."""

    trades: str
    before: tuple[str, ...]
    candidate: str
    compared: str
    shadow: dict[str, str]


def told_of(succession: Succession) -> SymbolTold:
    """How things stand with one symbol."""
    trial = succession.trial
    last = trial.last if trial is not None else None
    compared = "" if trial is None else f"{trial.pairs} of {trial.next_look} requests until it is looked at"
    return SymbolTold(
        trades=succession.in_force,
        before=tuple(succession.before),
        candidate=succession.candidate,
        compared=f"{compared}; {last}" if last is not None else compared,
        shadow={each.model_id: each.verdict for each in succession.members.values()
                if each.model_id != succession.in_force},
    )  # fmt: skip


def read_told(path: Path) -> ModelsTold | None:
    """What the last running process told of its models; None where none did, or not in words of this release."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=ModelsTold)
    except (OSError, msgspec.MsgspecError):
        return None


def speaking(path: Path) -> list[str]:
    """Ids of the models that speak in the last running process, beside the random walk."""
    told = read_told(path)
    symbols = told.symbols.values() if told is not None else ()
    ids = [model_id for each in symbols for model_id in (each.trades, *each.shadow)]
    return [model_id for model_id in dict.fromkeys(ids) if model_id and model_id != random_walk.MODEL_ID]


# --- taking up a run -----------------------------------------------------------------------------------------------


def opening_admissions(records: Sequence[AnyMessage]) -> list[ModelAdmitted]:
    """The models that a recorded run began with."""
    opening: list[ModelAdmitted] = []
    for message in records[1:]:
        if not isinstance(message, ModelAdmitted):
            break
        opening.append(message)
    return opening


def members_of(records: Iterable[AnyMessage]) -> dict[str, list[ModelAdmitted]]:
    """By symbol, the models that speak where a recorded run ends, in the order of their admission."""
    members: dict[str, dict[str, ModelAdmitted]] = {}
    for message in records:
        if isinstance(message, ModelAdmitted):
            members.setdefault(message.symbol, {})[message.model_id] = message
        elif isinstance(message, ModelRetired):
            members.get(message.symbol, {}).pop(message.model_id, None)
    return {symbol: list(each.values()) for symbol, each in members.items()}


def serving(
    registry: Registry, members: Mapping[str, Sequence[ModelAdmitted]], period_ns: int, note: Callable[[str], None]
) -> list[Artifact]:
    """The artifacts of models that speak, and the detectors of their newest release.

    One that cannot be read is noted and left out: it owes its forecasts, which the core answers by rolling back.
    """
    found: list[Artifact] = []
    for symbol, models in members.items():
        wanted = [each.model_id for each in models if each.kind != random_walk.KIND]
        newest = max((each.release for each in models), default=0)
        pointer = registry.pointer(symbol, period_ns)
        releases = pointer.releases if pointer is not None else ()
        wanted += [each for release in releases if release.number == newest for each in release.models]
        for model_id in dict.fromkeys(wanted):
            try:
                artifact = registry.read(model_id)
            except ModelError as error:
                note(f"{symbol}: {error}")
                continue
            if artifact.manifest.kind == "detector" or any(each.model_id == model_id for each in models):
                found.append(artifact)
    return found
