"""Replay: run a journal's inputs through a fresh core and compare every answer with the recorded one."""

from collections import deque
from pathlib import Path
from typing import Any

import msgspec

from bus.errors import TradingError
from bus.messages import AnyMessage, ForecastRequested
from daemon.core import Core
from daemon.engine import DecisionHash
from daemon.journal import INPUT, Verdict, read, verify


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """The first place where the replay and the journal part. A side that says nothing is None."""

    seq: int
    cause_seq: int
    recorded: dict[str, Any] | None
    replayed: dict[str, Any] | None


class ReplayResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay found. `identical` needs an unbroken chain as well."""

    identical: bool
    inputs: int
    outputs: int
    decisions_sha256: str
    chain: Verdict
    difference: Difference | None = None


def describe(message: AnyMessage | None) -> dict[str, Any] | None:
    """A message as a dict with its type, for people."""
    if message is None:
        return None
    fields = {name: getattr(message, name) for name in message.__struct_fields__}
    return {"type": type(message).__name__, **msgspec.to_builtins(fields)}


def replay(folder: Path) -> ReplayResult:
    """Replay a journal.

    Raises:
        ConfigError: no journal there.
        DataError: a record cannot be decoded.
    """
    chain = verify(folder)
    core = Core()
    decisions = DecisionHash()
    waiting: deque[AnyMessage] = deque()
    inputs = outputs = cause = 0
    difference: Difference | None = None

    def part(seq: int, recorded: AnyMessage | None, replayed: AnyMessage | None) -> Difference:
        return Difference(seq=seq, cause_seq=cause, recorded=describe(recorded), replayed=describe(replayed))

    for record in read(folder):
        if record.kind == INPUT:
            if waiting:
                difference = part(record.seq, None, waiting[0])
                break
            cause = record.seq
            try:
                said = core.process(record.seq, record.message)
            except TradingError as error:
                difference = Difference(
                    seq=record.seq,
                    cause_seq=cause,
                    recorded=describe(record.message),
                    replayed={"type": type(error).__name__, "text": str(error)},
                )
                break
            inputs += 1
            decisions.add(said)
            waiting = deque(each for each in said if not isinstance(each, ForecastRequested))
        else:
            ours = waiting.popleft() if waiting else None
            if ours != record.message:
                difference = part(record.seq, record.message, ours)
                break
            outputs += 1
    return ReplayResult(
        identical=difference is None and chain.intact,
        inputs=inputs,
        outputs=outputs,
        decisions_sha256=decisions.hexdigest(),
        chain=chain,
        difference=difference,
    )
