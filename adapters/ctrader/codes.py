"""The broker's error codes, and what may be done next after each. One table, no behaviour.

Codes travel as names in text. Three containers carry them (``ProtoErrorRes``, ``ProtoOAErrorRes``,
``ProtoOAOrderErrorEvent``) and each may carry any of them, so there is one table. A code that the table does not know
is survived: nothing is repeated, and for an order that no trading server refused the outcome counts as unknown.
"""

import enum
import re
from typing import Any, NamedTuple

from google.protobuf.unknown_fields import UnknownFieldSet

from bus.values import NS_PER_MS, NS_PER_S


class NextStep(enum.StrEnum):
    """What may be done after a refusal."""

    TREAT_AS_DONE = "treat as done"
    AUTHORISE_APPLICATION = "authorise the application again"
    REFRESH_TOKEN = "refresh the token once"  # noqa: S105 (a step, not a token)
    LOG_IN = "log the account in again"
    RETRY_LATER = "retry later with back-off"
    WAIT = "wait for the pause to pass, then repeat"
    LOOK_AGAIN = "read orders and positions again"
    REPORT = "report, do not repeat unchanged"
    CORRECT = "correct the program or the configuration"


class Meaning(NamedTuple):
    """One row of the table.

    Attributes:
        next_step: what may be done.
        outcome_open: True = an order-like request answered so may still have been executed.
        why: reason for the step.
    """

    next_step: NextStep
    outcome_open: bool
    why: str


_DONE = Meaning(NextStep.TREAT_AS_DONE, False, "the state asked for is there already")
_APPLICATION = Meaning(
    NextStep.AUTHORISE_APPLICATION, False, "the connection has no application login, so no account login either"
)
_TOKEN = Meaning(NextStep.REFRESH_TOKEN, False, "the token is expired, used or replaced; which of them is not told")
_LOGIN = Meaning(NextStep.LOG_IN, False, "the account is not logged in on this connection, so nothing was executed")
_UNROUTED = Meaning(NextStep.RETRY_LATER, False, "the request reached no trading server: maintenance or the wrong host")
_LOST = Meaning(NextStep.RETRY_LATER, True, "a server behind the API did not answer; it may have acted before it fell")
_BUSY = Meaning(NextStep.RETRY_LATER, False, "something else is changing the same order or position; read it again")
_THROTTLED = Meaning(
    NextStep.WAIT, False, "a throttled request was not executed; repeating at once lengthens the pause"
)
_GONE = Meaning(
    NextStep.LOOK_AGAIN, False, "there is no such thing any more: it was closed, filled or cancelled before"
)
_BUSINESS = Meaning(NextStep.REPORT, False, "the trading server said no; unchanged it will say no again")
_WRONG = Meaning(NextStep.CORRECT, False, "the request or the configuration is wrong; no repetition mends it")
_NEW = Meaning(NextStep.REPORT, True, "a code this version does not know: what it says of the request is not known")

_SETS: tuple[tuple[Meaning, tuple[str, ...]], ...] = (
    (_DONE, ("ALREADY_LOGGED_IN", "CH_CLIENT_ALREADY_AUTHENTICATED", "ALREADY_SUBSCRIBED")),
    (_APPLICATION, ("CH_CLIENT_NOT_AUTHENTICATED",)),
    (_TOKEN, ("OA_AUTH_TOKEN_EXPIRED", "CH_ACCESS_TOKEN_INVALID")),
    (_LOGIN, ("ACCOUNT_NOT_AUTHORIZED",)),
    (_UNROUTED, ("CANT_ROUTE_REQUEST", "SERVER_IS_UNDER_MAINTENANCE")),
    (_LOST, ("TIMEOUT_ERROR", "UNKNOWN_ERROR", "CH_SERVER_NOT_REACHABLE")),
    (_BUSY, ("CONCURRENT_MODIFICATION", "POSITION_LOCKED", "PENDING_EXECUTION")),
    (_THROTTLED, ("BLOCKED_PAYLOAD_TYPE", "REQUEST_FREQUENCY_EXCEEDED", "CONNECTIONS_LIMIT_EXCEEDED")),
    (
        _GONE,
        (
            "ENTITY_NOT_FOUND", "POSITION_NOT_FOUND", "ORDER_NOT_FOUND", "POSITION_NOT_OPEN", "UNABLE_TO_CANCEL_ORDER",
            "UNABLE_TO_AMEND_ORDER", "POSITION_NOT_FOUND_OR_NOT_OPENED", "ALREADY_CLOSED",
        ),
    ),
    (
        _BUSINESS,
        (
            "MARKET_CLOSED", "WORSE_GSL_NOT_ALLOWED", "SYMBOL_HAS_HOLIDAY", "CHANNEL_IS_BLOCKED", "NO_QUOTES",
            "NOT_ENOUGH_MONEY", "NO_ENOUGH_MONEY_TO_OPEN_POSITION", "MAX_EXPOSURE_REACHED", "TOO_MANY_POSITIONS",
            "TRADING_BAD_VOLUME", "TRADING_BAD_STOPS", "TRADING_BAD_PRICES", "TRADING_BAD_STAKE",
            "PROTECTION_IS_TOO_CLOSE_TO_MARKET", "TRADING_BAD_EXPIRATION_DATE", "TRADING_DISABLED",
            "TRADING_NOT_ALLOWED", "SHORT_SELLING_NOT_ALLOWED",
        ),
    ),
    (
        _WRONG,
        (
            "UNSUPPORTED_MESSAGE", "INVALID_REQUEST", "FRAME_TOO_LONG", "RET_NO_SUCH_LOGIN", "RET_ACCOUNT_DISABLED",
            "INCORRECT_BOUNDARIES", "CH_CLIENT_AUTH_FAILURE", "CH_CTID_TRADER_ACCOUNT_NOT_FOUND",
            "CH_OA_CLIENT_NOT_FOUND", "NOT_SUBSCRIBED_TO_SPOTS", "NOT_SUBSCRIBED_TO_PNL", "SYMBOL_NOT_FOUND",
            "UNKNOWN_SYMBOL",
        ),
    ),
)  # fmt: skip

CODES = {code: meaning for meaning, codes in _SETS for code in codes}
"""Every known code and its row."""

_ABOUT_LOGIN = re.compile(r"authori[sz]", re.IGNORECASE)


def meaning_of(code: str, text: str = "") -> Meaning:
    """The row of a code.

    ``INVALID_REQUEST`` is the broker's catch-all; where its description speaks of authorisation, the account login was
    lost without notice (seen in practice). A false alarm costs one login, which is answered "already logged in".
    """
    if code == "INVALID_REQUEST" and _ABOUT_LOGIN.search(text):
        return _LOGIN
    return CODES.get(code, _NEW)


# An absurd hint must not silence a kind of request for ever; where the pause is real, the broker says so again.
_LONGEST_HINT_S = 3_600
_RETRY_AFTER = 6
_VARINT = 0
# The two containers give the end of maintenance in two units; what is above this number cannot be seconds.
_SURELY_MS = 100_000_000_000
_LATEST_MS = 10_000_000_000_000


def retry_after_s(message: Any) -> int:
    """Seconds that an error asks us to wait, at most an hour; 0 = no hint.

    ``retryAfter`` is younger than the bindings in use, so it is taken from the unknown fields where they have no name
    for it.
    """
    if "retryAfter" in message.DESCRIPTOR.fields_by_name:
        return min(int(message.retryAfter), _LONGEST_HINT_S)
    for field in UnknownFieldSet(message):
        if field.field_number == _RETRY_AFTER and field.wire_type == _VARINT:
            return min(int(field.data), _LONGEST_HINT_S)
    return 0


def maintenance_ends_ns(message: Any) -> int:
    """UTC nanoseconds at which announced maintenance ends, whichever unit it came in; 0 = not told."""
    if "maintenanceEndTimestamp" not in message.DESCRIPTOR.fields_by_name:
        return 0
    stamp = max(0, int(message.maintenanceEndTimestamp))
    if stamp <= _SURELY_MS:
        return stamp * NS_PER_S
    return stamp * NS_PER_MS if stamp <= _LATEST_MS else 0
