"""Signing in and out: application, accounts, tokens. Section 2 of the reference."""

from collections.abc import Mapping
from typing import Any

from adapters.ctrader.messages import openapi
from adapters.ctrader.venue.account import Account
from adapters.ctrader.venue.gatekeeping import Connection, Grant, Tokens, throttled
from adapters.ctrader.venue.specs import Limits

Said = list[tuple[Connection, Any, bool]]
"""Messages for connections; True = it answers the request, and carries its id."""

SESSION_REQUESTS = frozenset(
    {
        "ProtoOAApplicationAuthReq",
        "ProtoOAAccountAuthReq",
        "ProtoOAAccountLogoutReq",
        "ProtoOAVersionReq",
        "ProtoOAGetAccountListByAccessTokenReq",
        "ProtoOAGetCtidProfileByTokenReq",
        "ProtoOARefreshTokenReq",
    }
)
"""Names of the requests that `Sessions.handle` takes."""
_VERSION = "98"
_NO_LOGIN = 3


class Sessions:
    """Who is signed in, over all connections."""

    def __init__(
        self,
        tokens: Tokens,
        accounts: Mapping[int, Account],
        connections: Mapping[int, Connection],
        limits: Limits,
    ) -> None:
        self._tokens = tokens
        self._accounts = accounts
        self._connections = connections
        self._limits = limits

    def handle(self, connection: Connection, request: Any, now_ns: int) -> Said:
        """Answer a request of this module."""
        name = request.DESCRIPTOR.name
        if name == "ProtoOAVersionReq":
            return [(connection, openapi.ProtoOAVersionRes(version=_VERSION), True)]
        if name == "ProtoOAApplicationAuthReq":
            return [(connection, self._application(connection, request), True)]
        if name == "ProtoOAAccountAuthReq":
            return [(connection, self._log_in(connection, request, now_ns), True)]
        if name == "ProtoOAAccountLogoutReq":
            return self._log_out(connection, request.ctidTraderAccountId)
        if name == "ProtoOARefreshTokenReq":
            return self._refresh(connection, request.refreshToken, now_ns)
        grant = self._tokens.valid(request.accessToken, now_ns)
        if isinstance(grant, str):
            return [(connection, throttled(grant, "Access token is not valid", 0), True)]
        if name == "ProtoOAGetCtidProfileByTokenReq":
            answer = openapi.ProtoOAGetCtidProfileByTokenRes()
            answer.profile.userId = 1
            return [(connection, answer, True)]
        return [(connection, self._account_list(grant), True)]

    def may_trade(self, connection: Connection, account_id: int, now_ns: int) -> bool:
        """Whether an account was logged in with a token for trading."""
        grant = self._tokens.valid(connection.logins[account_id], now_ns)
        return not isinstance(grant, Grant) or grant.trade

    def _application(self, connection: Connection, request: Any) -> Any:
        if connection.application:
            return throttled("CH_CLIENT_ALREADY_AUTHENTICATED", "Already authenticated", 0)
        if request.clientId != self._tokens.client_id:
            return throttled("CH_OA_CLIENT_NOT_FOUND", "Unknown client id", 0)
        if request.clientSecret != self._tokens.client_secret:
            return throttled("CH_CLIENT_AUTH_FAILURE", "Wrong client secret", 0)
        if sum(c.application for c in self._connections.values()) >= self._limits.connections:
            return throttled("CONNECTIONS_LIMIT_EXCEEDED", "Too many connections of this application", 0)
        connection.application = True
        return openapi.ProtoOAApplicationAuthRes()

    def _log_in(self, connection: Connection, request: Any, now_ns: int) -> Any:
        account_id = request.ctidTraderAccountId
        grant = self._tokens.valid(request.accessToken, now_ns)
        if isinstance(grant, str):
            return throttled(grant, "Access token is not valid", 0)
        account = self._accounts.get(account_id)
        if account is None:
            return throttled("CH_CTID_TRADER_ACCOUNT_NOT_FOUND", f"No account {account_id}", 0)
        if account.spec.rights == _NO_LOGIN:
            return throttled("RET_ACCOUNT_DISABLED", "The account is disabled", 0)
        if account_id in connection.logins:
            return throttled("ALREADY_LOGGED_IN", "The account is logged in on this connection", 0)
        connection.logins[account_id] = request.accessToken
        return openapi.ProtoOAAccountAuthRes(ctidTraderAccountId=account_id)

    def _log_out(self, connection: Connection, account_id: int) -> Said:
        if account_id not in connection.logins:
            return [(connection, throttled("ACCOUNT_NOT_AUTHORIZED", "Trading account is not authorized", 0), True)]
        connection.log_out(account_id)
        return [
            (connection, openapi.ProtoOAAccountLogoutRes(ctidTraderAccountId=account_id), True),
            (connection, openapi.ProtoOAAccountDisconnectEvent(ctidTraderAccountId=account_id), False),
        ]

    def _account_list(self, grant: Grant) -> Any:
        out = openapi.ProtoOAGetAccountListByAccessTokenRes(
            accessToken=grant.access, permissionScope=1 if grant.trade else 0
        )
        for account in self._accounts.values():
            closing = [deal.executed_ms for deal in account.deals if deal.closing]
            row = out.ctidTraderAccount.add(
                ctidTraderAccountId=account.account_id,
                isLive=account.spec.live,
                traderLogin=account.spec.login or account.account_id,
                lastBalanceUpdateTimestamp=max([account.registered_ms, *closing]),
            )
            if closing:
                row.lastClosingDealTimestamp = closing[-1]
        return out

    # --- tokens ---------------------------------------------------------------------------------------------------

    def _refresh(self, connection: Connection, refresh: str, now_ns: int) -> Said:
        rotated = self._tokens.refresh(refresh, now_ns)
        if rotated is None:
            return [(connection, throttled("CH_ACCESS_TOKEN_INVALID", "Refresh token is not valid", 0), True)]
        old, grant = rotated
        answer = openapi.ProtoOARefreshTokenRes(
            accessToken=grant.access,
            tokenType="bearer",
            expiresIn=self._tokens.lifetime_s,
            refreshToken=grant.refresh,
        )
        return [(connection, answer, True), *self.drop_token(old, "token refreshed")]

    def drop_token(self, token: str, reason: str, *, revoke: bool = False) -> Said:
        """Log out every account that was logged in with a token, and say so (events 2147 and 2164)."""
        if revoke:
            self._tokens.revoke(token)
        out: Said = []
        for connection in self._connections.values():
            lost = [account_id for account_id, used in connection.logins.items() if used == token]
            if lost:
                event = openapi.ProtoOAAccountsTokenInvalidatedEvent(ctidTraderAccountIds=lost, reason=reason)
                out.append((connection, event, False))
            for account_id in lost:
                connection.log_out(account_id)
                out.append((connection, openapi.ProtoOAAccountDisconnectEvent(ctidTraderAccountId=account_id), False))
        return out

    def token_request(self, parameters: Mapping[str, str], now_ns: int) -> tuple[int, dict[str, Any], Said]:
        """The token endpoint: HTTP status, JSON in camel case, events."""
        given = parameters.get("client_id", ""), parameters.get("client_secret", "")
        if given != (self._tokens.client_id, self._tokens.client_secret):
            return 400, {"errorCode": "CH_CLIENT_AUTH_FAILURE", "description": "client id or secret is wrong"}, []
        kind, said = parameters.get("grant_type", ""), list[tuple[Connection, Any, bool]]()
        grant: Grant | None = None
        if kind == "authorization_code":
            grant = self._tokens.redeem(parameters.get("code", ""), parameters.get("redirect_uri", ""), now_ns)
        elif kind == "refresh_token":
            rotated = self._tokens.refresh(parameters.get("refresh_token", ""), now_ns)
            if rotated is not None:
                old, grant = rotated
                said = self.drop_token(old, "token refreshed")
        if grant is None:
            return 400, {"errorCode": "ACCESS_DENIED", "description": f"{kind or 'grant_type'} is not valid"}, []
        reply = {
            "accessToken": grant.access,
            "refreshToken": grant.refresh,
            "expiresIn": self._tokens.lifetime_s,
            "tokenType": "bearer",
            "errorCode": None,
            "description": None,
        }
        return 200, reply, said
