"""What a session tells its shell: values, in the order in which they happened."""

from typing import Any

import msgspec

from adapters.ctrader.codes import NextStep


class ApplicationAuthorised(msgspec.Struct, frozen=True):
    """The application is authorised on this connection; every wanted account is being logged in now."""


class ApplicationLost(msgspec.Struct, frozen=True):
    """The application's authorisation was refused or withdrawn, and every account login with it.

    The session asks for it once more. If that is refused too, or soon withdrawn again, `LinkDead` follows.
    """

    code: str
    text: str
    next_step: NextStep


class AccountAuthorised(msgspec.Struct, frozen=True):
    """An account is logged in on this connection, for the first time or again: read its state anew, subscribe anew."""

    account_id: int


class AccountLost(msgspec.Struct, frozen=True):
    """An account is not logged in (any more).

    Attributes:
        account_id: ctidTraderAccountId.
        code: the broker's code, or ACCOUNT_DISCONNECTED, TOKEN_INVALIDATED, NO_ANSWER.
        text: the broker's words.
        next_step: LOG_IN and RETRY_LATER: the session does so by itself. REFRESH_TOKEN: the session waits for `login`
            with another token; refresh only where the token refused is the newest one held, because refreshing causes
            losses itself. Everything else: somebody has to look; the session does nothing more for this account.
    """

    account_id: int
    code: str
    text: str
    next_step: NextStep


class Answered(msgspec.Struct, frozen=True):
    """A request was answered: by its response, or for an order-like one by its first execution event."""

    request: int
    message: Any


class RefusedBy(msgspec.Struct, frozen=True):
    """The broker said no to a request, and nothing was executed.

    Attributes:
        request: number that `Session.request` gave.
        code: the broker's code; any text.
        text: the broker's words; they may change without notice.
        next_step: what may be done.
        retry_after_s: seconds for which requests of this type are paused; 0 = not throttled.
        maintenance_ends_ns: UTC nanoseconds at which announced maintenance ends; 0 = not told.
    """

    request: int
    code: str
    text: str
    next_step: NextStep
    retry_after_s: int = 0
    maintenance_ends_ns: int = 0


class OutcomeIsUnknown(msgspec.Struct, frozen=True):
    """A request was handed out for writing and has no answer that settles it.

    A request that only reads may be repeated. One that changes something (an order, a token) is neither done nor
    refused: look for evidence first. An answer that comes later still is told as `Pushed`.
    """

    request: int
    why: str


class NeverSent(msgspec.Struct, frozen=True):
    """A request waited for its turn and is withdrawn: nothing of it left this machine, repeating is safe."""

    request: int
    why: str


class Pushed(msgspec.Struct, frozen=True):
    """A message that is an event, somebody else's answer, a late answer, or an execution event that also answered.

    Attributes:
        message: as it came.
        answered: number of the request that it settled as well, 0 = none.
    """

    message: Any
    answered: int = 0


class NotUnderstood(msgspec.Struct, frozen=True):
    """A message of a known type holds values that this version does not know, so nothing may be concluded from it.

    What it would have said is not known: read the state of the account again. A request that it answered is told as
    `OutcomeIsUnknown` before.

    Attributes:
        payload_type: of the message.
        fields: paths of the values.
    """

    payload_type: int
    fields: tuple[str, ...]


class LinkDead(msgspec.Struct, frozen=True):
    """This connection is of no use any more: every request is settled; close the socket and call `disconnected`.

    Attributes:
        reason: one line.
        theirs: True = the peer broke the protocol.
    """

    reason: str
    theirs: bool = False


Event = (
    ApplicationAuthorised
    | ApplicationLost
    | AccountAuthorised
    | AccountLost
    | Answered
    | RefusedBy
    | OutcomeIsUnknown
    | NeverSent
    | Pushed
    | NotUnderstood
    | LinkDead
)
SETTLING = (Answered, RefusedBy, OutcomeIsUnknown, NeverSent)
"""Of these, every request gets exactly one."""
