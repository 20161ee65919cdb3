"""Which message answers which request, and what a refusal says. Pure functions over decoded messages.

An incoming id proves nothing: events that other clients cause carry theirs, and one request may cause several events.
A message answers a request only if it carries the id of one that is pending here, is of the type that answers it, and
concerns its account. For an order-like request that is an order error, an error, or the first execution event that
the server did not make by itself.
"""

import dataclasses
from typing import Any

from adapters.ctrader.codes import CODES, Meaning
from adapters.ctrader.frames import ANSWERS
from adapters.ctrader.limits import ORDER_TYPES
from adapters.ctrader.messages import common_model, model
from adapters.ctrader.requests import Request

ERROR_TYPES = frozenset((common_model.ERROR_RES, model.PROTO_OA_ERROR_RES))
ORDER_ERROR: int = model.PROTO_OA_ORDER_ERROR_EVENT
EXECUTION: int = model.PROTO_OA_EXECUTION_EVENT
_REFUSING = frozenset((model.ORDER_REJECTED, model.ORDER_CANCEL_REJECTED))
_ANSWERING = _REFUSING | {
    model.ORDER_ACCEPTED, model.ORDER_FILLED, model.ORDER_PARTIAL_FILL, model.ORDER_REPLACED, model.ORDER_CANCELLED,
    model.ORDER_EXPIRED,
}  # fmt: skip


@dataclasses.dataclass(slots=True)
class Counts:
    """What was survived, for the metrics. Only ever grows."""

    frames: int = 0
    heartbeats_sent: int = 0
    unknown_types: int = 0
    unknown_fields: int = 0
    foreign: int = 0
    late: int = 0
    mismatched: int = 0
    throttled: int = 0
    not_understood: int = 0

    def stranger(self, *, pending: bool, ours: bool) -> None:
        """Count a message whose id settles nothing: of a pending request, of one settled before, of somebody else."""
        self.mismatched += pending
        self.late += ours and not pending
        self.foreign += not ours and not pending


def account_of(message: Any) -> int:
    """The account that a message names; 0 = none."""
    if "ctidTraderAccountId" not in message.DESCRIPTOR.fields_by_name:
        return 0
    return int(message.ctidTraderAccountId)


def concerns(request: Request, number: int, message: Any) -> bool:
    """Whether a message that carries a pending request's id is of a type that answers it, and of its account."""
    account_id = account_of(message)
    if account_id and request.account_id and account_id != request.account_id:
        return False
    if number in ERROR_TYPES:
        return True
    if request.payload_type in ORDER_TYPES:
        return number in {EXECUTION, ORDER_ERROR}
    return ANSWERS.get(request.payload_type) == number


def settles(request: Request, number: int, message: Any) -> bool:
    """Whether a message that carries a pending request's id answers it."""
    if not concerns(request, number, message):
        return False
    # What the server did by itself, say a stop that it made of our levels, answers nobody.
    return number != EXECUTION or (not message.isServerEvent and message.executionType in _ANSWERING)


def refusal(number: int, message: Any) -> tuple[str, str]:
    """Code and words of a refusal; an empty code is none."""
    if number in ERROR_TYPES or number == ORDER_ERROR:
        return message.errorCode or "UNKNOWN_ERROR", message.description
    if number == EXECUTION and message.executionType in _REFUSING:
        return message.errorCode or model.ProtoOAExecutionType.Name(message.executionType), ""
    return "", ""


def leaves_open(request: Request, number: int, code: str, meaning: Meaning) -> bool:
    """Whether an order-like request may have been executed although this refuses it.

    A rejected order is rejected whatever the code; so is one that failed validation, unless the code says that a server
    was lost. Of a general error only a code that we know says that nothing happened.
    """
    definite = number == EXECUTION or (number == ORDER_ERROR and code not in CODES)
    return request.payload_type in ORDER_TYPES and meaning.outcome_open and not definite
