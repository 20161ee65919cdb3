"""What goes wrong between server and client, on a script or a seed.

Theory of operation. A plan is a list of faults and a seed. Message faults wait for the n-th message that matches and
strike so many times; timed faults hold between two moments, counted from the first connection. A message is matched by
``any``, by its name without the prefix (``ReconcileRes``, ``NewOrderReq``), by a group (``execution``, ``answer``,
``request``) or by what it tells: ``spot``, ``heartbeat``, ``error``, ``order_error``, ``accepted``, ``filled``,
``partial``, ``replaced``, ``cancelled``, ``expired``, ``rejected``. `Faults` only decides; `endpoint` obeys.
"""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from adapters.ctrader.frames import Envelope
from adapters.exchange.model import Dice
from bus.errors import ConfigError
from bus.values import NS_PER_MS, NS_PER_S

Kind = Literal[
    "lose", "late", "double", "reorder", "silent_after", "deaf",
    "reset_before", "reset_within", "reset_after", "half_open",
    "oversize", "truncated", "garbage", "wrong_type", "unknown_type", "unknown_field", "borrowed_id", "short",
    "latency", "silent_feed", "clock_offset", "token_invalidated", "account_disconnect", "silent_logout",
    "client_disconnect", "maintenance", "refused", "token_expired", "throttle",
]  # fmt: skip
TIMED = frozenset(
    {
        "latency", "silent_feed", "clock_offset", "token_invalidated", "account_disconnect", "silent_logout",
        "client_disconnect", "maintenance", "refused", "token_expired", "throttle",
    }
)  # fmt: skip
HOLDING = frozenset({"latency", "silent_feed", "clock_offset", "refused"})
"""Timed faults that hold for a while; the others happen once."""
_EXECUTIONS = {
    2: "accepted", 3: "filled", 4: "replaced", 5: "cancelled", 6: "expired", 7: "rejected", 9: "swap", 10: "cash",
    11: "partial",
}  # fmt: skip
_NAMES = {51: "heartbeat", 2131: "spot", 2132: "order_error", 2142: "error"}


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that goes wrong.

    Attributes:
        kind: ``lose`` an outgoing message, tell it ``late`` or ``double``, after the next one (``reorder``), or the
            message and then nothing more of its request (``silent_after``); never hear a request (``deaf``); reset
            the connection before, within or after a message (before a request: it is not executed), or leave it
            ``half_open``; send a hostile frame after a message (``oversize``, ``truncated``, ``garbage``,
            ``wrong_type``); what a newer server may send: a message of an ``unknown_type`` after a message, or the
            message with an ``unknown_field``; the message a second time under the id of the client's last request
            (``borrowed_id``); bars without the last one (``short``). Timed: ``latency`` of every message,
            ``silent_feed`` (no spots, heartbeats go on), ``clock_offset`` of spot times by ``min_ms``, connections
            ``refused``; once, at ``at_s``: ``token_invalidated``, ``token_expired`` (nobody is told),
            ``account_disconnect``, ``silent_logout``, ``client_disconnect``; ``maintenance`` and ``throttle`` (of
            ``payload_type``) for ``for_s``.
        on: which messages, see above.
        nth: the first match that is struck, from 1.
        times: how many matches are struck; 0 = all.
        at_s: when it begins, in seconds after the first connection.
        for_s: how long it lasts; 0 = for good.
        min_ms: least delay, or the offset of the clock.
        max_ms: greatest delay; delays are uniform between the two.
        payload_type: of ``throttle``.
    """

    kind: Kind
    on: str = "any"
    nth: Annotated[int, Meta(ge=1)] = 1
    times: Annotated[int, Meta(ge=0)] = 1
    at_s: Annotated[float, Meta(ge=0)] = 0.0
    for_s: Annotated[float, Meta(ge=0)] = 0.0
    min_ms: int = 0
    max_ms: int = 0
    payload_type: int = 2106


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Faults, and the seed of every delay drawn."""

    faults: tuple[Fault, ...] = ()
    seed: int = 1


def plan_of(text: str) -> Plan:
    """A plan from a command line: ``seed:42``, a JSON file, or JSON itself.

    Raises:
        ConfigError: none of these.
    """
    if text.startswith("seed:") and text[5:].isdigit():
        return seeded(int(text[5:]))
    try:
        raw = text.encode() if text.lstrip().startswith(("{", "[")) else Path(text).read_bytes()
        if raw.lstrip().startswith(b"["):
            return Plan(faults=msgspec.json.decode(raw, type=tuple[Fault, ...]))
        return msgspec.json.decode(raw, type=Plan)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"--faults {text[:60]}: {error}; write seed:NUMBER, a JSON file or a JSON list") from error


def seeded(seed: int, *, horizon_s: int = 600, count: int = 12) -> Plan:
    """A plan drawn from a seed: latency throughout, and so many faults within a time."""
    dice = Dice(seed)
    strikes: tuple[Kind, ...] = (
        "lose", "late", "double", "reorder", "silent_after", "deaf", "reset_before", "reset_within", "reset_after",
        "half_open", "truncated", "garbage", "wrong_type", "silent_feed", "token_invalidated", "account_disconnect",
        "silent_logout", "client_disconnect", "maintenance", "throttle", "unknown_type", "unknown_field", "borrowed_id",
        "short", "refused", "token_expired",
    )  # fmt: skip
    targets = ("any", "execution", "accepted", "filled", "answer", "spot", "ReconcileRes", "order_error")
    faults = [Fault(kind="latency", min_ms=dice.below(5), max_ms=5 + dice.below(200))]
    for _ in range(count):
        kind = strikes[dice.below(len(strikes))]
        on = "request" if kind == "deaf" else targets[dice.below(len(targets))]
        faults.append(
            Fault(
                kind=kind,
                on=on,
                nth=1 + dice.below(5),
                times=1 + dice.below(2),
                at_s=dice.below(horizon_s),
                for_s=1 + dice.below(30),
                min_ms=dice.below(500),
                max_ms=500 + dice.below(3_000),
            )
        )
    return Plan(faults=tuple(faults), seed=seed)


def names_of(envelope: Envelope) -> tuple[str, ...]:
    """Every name under which a fault may mean a message."""
    number, message = envelope.payload_type, envelope.message
    own = message.DESCRIPTOR.name.removeprefix("ProtoOA") if message is not None else str(number)
    names = ["any", own]
    if number in _NAMES:
        names.append(_NAMES[number])
    if number == 2126 and message is not None:
        names += ["execution", _EXECUTIONS.get(message.executionType, "")]
    elif own.endswith("Res"):
        names.append("answer")
    elif own.endswith("Req"):
        names.append("request")
    return tuple(names)


class Faults:
    """Decides what strikes a message or a moment. Moments are in ns of the caller's clock."""

    def __init__(self, plan: Plan) -> None:
        self._dice = Dice(plan.seed)
        self.planned = bool(plan.faults)
        self._started_ns: int | None = None
        self._struck = [fault for fault in plan.faults if fault.kind not in TIMED]
        self._seen = [0] * len(self._struck)
        self._timed = [fault for fault in plan.faults if fault.kind in TIMED]
        self._once = [fault for fault in self._timed if fault.kind not in HOLDING]

    def start(self, now_ns: int) -> None:
        """Time counts from here; later calls change nothing."""
        if self._started_ns is None:
            self._started_ns = now_ns

    def _since_s(self, now_ns: int) -> float:
        return (now_ns - (self._started_ns if self._started_ns is not None else now_ns)) / NS_PER_S

    def striking(self, envelope: Envelope, now_ns: int) -> list[Fault]:
        """The message faults that strike a message now, in the order of the plan. Counts the match."""
        if not self._struck:
            return []
        names, since_s = names_of(envelope), self._since_s(now_ns)
        found: list[Fault] = []
        for number, fault in enumerate(self._struck):
            if fault.on not in names or since_s < fault.at_s:
                continue
            self._seen[number] += 1
            if self._seen[number] >= fault.nth and (not fault.times or self._seen[number] < fault.nth + fault.times):
                found.append(fault)
        return found

    def delay_ns(self, fault: Fault) -> int:
        """A delay of a fault."""
        return (fault.min_ms + self._dice.below(max(1, fault.max_ms - fault.min_ms + 1))) * NS_PER_MS

    def holding(self, kind: Kind, now_ns: int) -> Fault | None:
        """The timed fault of a kind that holds now."""
        since_s = self._since_s(now_ns)
        for fault in self._timed:
            if fault.kind == kind and fault.at_s <= since_s and (not fault.for_s or since_s < fault.at_s + fault.for_s):
                return fault
        return None

    def due(self, now_ns: int) -> list[Fault]:
        """Timed faults that begin now or began since the last call, once each."""
        if self._started_ns is None:
            return []
        found = [fault for fault in self._once if self._moment_ns(fault) <= now_ns]
        self._once = [fault for fault in self._once if fault not in found]
        return found

    def next_ns(self) -> int | None:
        """When the next of those begins."""
        if self._started_ns is None or not self._once:
            return None
        return min(self._moment_ns(fault) for fault in self._once)

    def _moment_ns(self, fault: Fault) -> int:
        """When a fault begins: one rounding for both questions, or who asks at that very moment is told "later"."""
        return (self._started_ns or 0) + int(fault.at_s * NS_PER_S)
