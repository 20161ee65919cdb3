"""Who may say what, and how often: connections, tokens, request limits. No I/O."""

import hashlib
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from adapters.ctrader.frames import REQUESTS
from adapters.ctrader.messages import openapi
from adapters.ctrader.venue.extras import put_varint
from adapters.ctrader.venue.specs import Limits
from bus.values import NS_PER_S

CODE_LIFETIME_S = 60
HISTORY = frozenset({2133, 2137, 2143, 2145, 2175, 2179, 2183, 2185})
"""Payload types of historical requests."""
OPEN_TO_ALL = frozenset({2100, 2104, 2173})
"""What a connection may ask before application authorisation."""


class Pace:
    """The request limits of one connection: a sliding second each for history and everything else."""

    def __init__(self) -> None:
        self._seen: dict[bool, deque[int]] = {True: deque(), False: deque()}
        self._strikes: dict[int, deque[int]] = {}
        self._blocked: dict[int, int] = {}
        self._penalty_s: dict[int, int] = {}

    def block(self, payload_type: int, until_ns: int) -> None:
        """Block a payload type until a moment."""
        self._blocked[payload_type] = max(until_ns, self._blocked.get(payload_type, 0))

    def refusal(self, payload_type: int, limits: Limits, now_ns: int) -> Any | None:
        """Count a request; an error message where it comes too fast. What is no request at all counts as one type.

        A type that keeps coming too fast (five refusals in ten seconds) is blocked: 1 s, then twice as long each time,
        at most 120 s.
        """
        payload_type = payload_type if payload_type in REQUESTS else 0
        blocked_ns = self._blocked.get(payload_type, 0)
        if blocked_ns > now_ns:
            wait_s = -(-(blocked_ns - now_ns) // NS_PER_S)
            return throttled("BLOCKED_PAYLOAD_TYPE", f"payload type {payload_type} is blocked", wait_s)
        history = payload_type in HISTORY
        seen = self._seen[history]
        while seen and seen[0] <= now_ns - NS_PER_S:
            seen.popleft()
        if len(seen) < (limits.history_per_s if history else limits.requests_per_s):
            seen.append(now_ns)
            return None
        strikes = self._strikes.setdefault(payload_type, deque())
        strikes.append(now_ns)
        while strikes[0] <= now_ns - 10 * NS_PER_S:
            strikes.popleft()
        if len(strikes) < 5:
            return throttled("REQUEST_FREQUENCY_EXCEEDED", "Rate limit of requests reached", 0)
        strikes.clear()
        penalty_s = min(120, 2 * self._penalty_s.get(payload_type, 0) or 1)
        self._penalty_s[payload_type] = penalty_s
        self._blocked[payload_type] = now_ns + penalty_s * NS_PER_S
        return throttled("BLOCKED_PAYLOAD_TYPE", f"payload type {payload_type} is blocked", penalty_s)


def throttled(code: str, text: str, retry_after_s: int) -> Any:
    """An error that asks to wait."""
    message = openapi.ProtoOAErrorRes(errorCode=code, description=text)
    if retry_after_s:
        put_varint(message, 6, retry_after_s)
    return message


@dataclass(slots=True, kw_only=True)
class Connection:
    """One client connection. `logins` maps an account to the access token that logged it in; times in ns."""

    number: int
    opened_ns: int
    last_in_ns: int
    heartbeat_ns: int
    beats: int = 0
    application: bool = False
    closed: bool = False
    logins: dict[int, str] = field(default_factory=dict[int, str])
    spots: dict[tuple[int, int], bool] = field(default_factory=dict[tuple[int, int], bool])
    bars: dict[tuple[int, int], list[int]] = field(default_factory=dict[tuple[int, int], list[int]])
    depth: dict[tuple[int, int], bool] = field(default_factory=dict[tuple[int, int], bool])
    due_ns: int = 0
    pace: Pace = field(default_factory=Pace)

    def log_out(self, account_id: int) -> None:
        """Forget an account: login and subscriptions."""
        self.logins.pop(account_id, None)
        for table in (self.spots, self.bars, self.depth):
            for key in [key for key in table if key[0] == account_id]:
                del table[key]

    def deadline_ns(self, limits: Limits) -> int:
        """When the server closes it, if nothing comes: unauthorised connections regardless of heartbeats."""
        idle_ns = self.last_in_ns + limits.idle_s * NS_PER_S
        if self.application:
            return idle_ns
        return min(idle_ns, self.opened_ns + limits.unauthorised_s * NS_PER_S)


@dataclass(slots=True, kw_only=True)
class Grant:
    """One consent: its current pair of tokens."""

    access: str
    refresh: str
    expires_ns: int
    trade: bool = True


@dataclass(slots=True, kw_only=True)
class Code:
    """An authorisation code of the consent page: a minute, once, for one redirect address."""

    redirect_uri: str
    trade: bool
    expires_ns: int


class Tokens:
    """The application's secret, and every grant. Secrets come from a salt and a counter: no two are ever equal."""

    def __init__(self, salt: str, lifetime_s: int) -> None:
        self._salt = salt
        self._count = 0
        self.lifetime_s = lifetime_s
        self.client_id = f"1_{self._secret('client')[:24]}"
        self.client_secret = self._secret("secret")
        self._grants: list[Grant] = []
        self._codes: dict[str, Code] = {}

    def _secret(self, kind: str) -> str:
        self._count += 1
        return hashlib.sha256(f"{self._salt}/{kind}/{self._count}".encode()).hexdigest()[:43]

    def issue(self, now_ns: int, *, trade: bool = True) -> Grant:
        """A new consent. Others are not disturbed."""
        grant = Grant(
            access=self._secret("access"),
            refresh=self._secret("refresh"),
            expires_ns=now_ns + self.lifetime_s * NS_PER_S,
            trade=trade,
        )
        self._grants.append(grant)
        return grant

    def code(self, redirect_uri: str, now_ns: int, *, trade: bool = True) -> str:
        """A code to be redeemed within a minute."""
        code = self._secret("code")
        self._codes[code] = Code(redirect_uri=redirect_uri, trade=trade, expires_ns=now_ns + CODE_LIFETIME_S * NS_PER_S)
        return code

    def redeem(self, code: str, redirect_uri: str, now_ns: int) -> Grant | None:
        """The grant of a code, once."""
        known = self._codes.pop(code, None)
        if known is None or known.expires_ns <= now_ns or known.redirect_uri != redirect_uri:
            return None
        return self.issue(now_ns, trade=known.trade)

    def valid(self, access: str, now_ns: int) -> Grant | str:
        """The grant of an access token, or the code of the refusal."""
        grant = next((grant for grant in self._grants if grant.access == access), None)
        if grant is None:
            return "CH_ACCESS_TOKEN_INVALID"
        return grant if grant.expires_ns > now_ns else "OA_AUTH_TOKEN_EXPIRED"

    def refresh(self, refresh: str, now_ns: int) -> tuple[str, Grant] | None:
        """Rotate both tokens of a grant: the old access token, and the grant. None = used before, or never known."""
        grant = next((grant for grant in self._grants if grant.refresh == refresh), None)
        if grant is None:
            return None
        old = grant.access
        grant.access, grant.refresh = self._secret("access"), self._secret("refresh")
        grant.expires_ns = now_ns + self.lifetime_s * NS_PER_S
        return old, grant

    def revoke(self, access: str) -> None:
        """Make an access token useless; its refresh token still works."""
        for grant in self._grants:
            if grant.access == access:
                grant.access = self._secret("revoked")

    def expire(self) -> None:
        """Let every access token expire now."""
        for grant in self._grants:
            grant.expires_ns = 0
