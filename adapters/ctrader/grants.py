"""What is kept about the user's consent: pairs of tokens, grants, and what the token endpoint answers. Data only."""

from typing import Any, Literal

import msgspec

from adapters.ctrader.secret import Secret
from bus.errors import BrokerError, ConfigError, SessionLost
from bus.values import NS_PER_S

LONGEST_TOKEN = 2_048
LONGEST_LIFETIME_S = 10 * 366 * 86_400

Role = Literal["active", "spare"]


class LoginNeeded(SessionLost):
    """No token is left that the broker accepts; only a person at `plimsoll auth login` can help."""


class TokensUnavailable(BrokerError):
    """There is no usable token now, and there may be one later. Says why."""


class Issued(msgspec.Struct, frozen=True):
    """The endpoint issued a pair.

    Attributes:
        access: lets accounts be logged in until it expires or the pair is refreshed.
        refresh: makes the next pair; good for one use, without a time limit.
        lifetime_s: of the access token from now.
    """

    access: Secret
    refresh: Secret
    lifetime_s: int


class TokenRefused(msgspec.Struct, frozen=True):
    """The endpoint said no, so nothing was rotated by this request.

    Attributes:
        code: the broker's name of the reason.
        text: its words, which hold no secret.
        kind: ``token`` = this token will never be good again; ``client`` = the application's credentials are wrong;
            ``other`` = neither is said.
    """

    code: str
    text: str
    kind: Literal["token", "client", "other"]


class Unanswered(msgspec.Struct, frozen=True):
    """There is no answer that could be understood.

    Attributes:
        sent: the request may have been carried out (True), or nothing left this machine (False).
        reason: in words, without secrets.
        retry_after_s: how long to leave the endpoint alone; 0 = it did not say.
    """

    sent: bool
    reason: str
    retry_after_s: int = 0


Answer = Issued | TokenRefused | Unanswered


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """A token pair and the life of its access token, UTC nanoseconds of our clock."""

    access: Secret
    refresh: Secret
    issued_ns: int
    expires_ns: int

    def due(self, now_ns: int) -> bool:
        """Is a third of its life or less left? For the broker's 30 days that is after 20."""
        return now_ns >= self.due_at_ns

    @property
    def due_at_ns(self) -> int:
        """When to refresh."""
        return self.expires_ns - (self.expires_ns - self.issued_ns) // 3

    def lives(self, now_ns: int) -> bool:
        """Has it not expired yet?"""
        return now_ns < self.expires_ns


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """One consent of the user and the pairs that came of it.

    Attributes:
        pair: the newest known.
        previous: the one before it; tried last, should the broker have forgotten the newest.
        intent_ns: when the refresh began whose end we do not know; 0 = none.
        refused_ns: when the broker refused to refresh it; 0 = never. Its access token may live on.
        refused_code: the broker's reason.
    """

    pair: Pair
    previous: Pair | None = None
    intent_ns: int = 0
    refused_ns: int = 0
    refused_code: str = ""

    @property
    def in_doubt(self) -> bool:
        """Did a refresh begin whose end is unknown?"""
        return self.intent_ns > 0 and self.refused_ns == 0


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """A trading account that the active grant covers."""

    ctid_trader_account_id: int
    trader_login: int = 0
    live: bool = False
    broker: str = ""


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """A grant that ended without the user's wish.

    Attributes:
        intent_ns: the interrupted refresh that explains it; 0 = none, so it was revoked or used elsewhere.
    """

    role: Role
    at_ns: int
    code: str
    intent_ns: int


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """All that the store holds.

    Attributes:
        generation: one more with every change.
        client_id: the application that the grants were given to.
        token_url: where they came from; a refresh token is shown to nobody else.
        client_secret: of the application, where it is kept here.
        active: the grant in use.
        spare: an independent grant that takes over where the active one is lost.
        spare_tried_ns: when the spare was last seen to work; 0 = never.
        accounts: of the active grant, as far as known.
        losses: the last few.
    """

    generation: int = 0
    client_id: str
    token_url: str
    client_secret: Secret | None = None
    active: Grant | None = None
    spare: Grant | None = None
    spare_tried_ns: int = 0
    accounts: tuple[Account, ...] = ()
    losses: tuple[Loss, ...] = ()


def pair_of(issued: Issued, now_ns: int) -> Pair:
    """The pair that was issued just now."""
    return Pair(
        access=issued.access,
        refresh=issued.refresh,
        issued_ns=now_ns,
        expires_ns=now_ns + issued.lifetime_s * NS_PER_S,
    )


def encode(tokens: Tokens) -> bytes:
    """JSON with the secrets in the clear: for the sealer, and for nothing else."""
    return msgspec.json.encode(tokens, enc_hook=_reveal)


def decode(content: bytes) -> Tokens:
    """What `encode` made.

    Raises:
        ConfigError: another version of Plimsoll wrote it.
    """
    try:
        return msgspec.json.decode(content, type=Tokens, dec_hook=_hide)
    except msgspec.DecodeError:
        raise ConfigError(
            "the token store was written by another version; run `plimsoll auth logout`, then `plimsoll auth login`"
        ) from None


def _reveal(value: Any) -> str:
    if isinstance(value, Secret):
        return value.reveal()
    raise NotImplementedError


def _hide(kind: type[Any], value: Any) -> Any:
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    raise NotImplementedError
