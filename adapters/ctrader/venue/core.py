"""The cTrader server without I/O: envelopes and quotes in, envelopes with a due time out.

Theory of operation. `receive` is given one envelope of one connection and returns everything it causes, for every
connection, each piece with the moment at which it is due; what is due for one connection never overtakes what was said
to it before. A payload of `CLOSE` means: close the connection after everything before it. Two clocks run: the caller's
(`now_ns`: limits, heartbeats, delays, tokens) and the market's, which is that of the newest quote or `advance`, and
which stamps everything about trading. Nothing here reads a clock or draws a number.
"""

from typing import Any, NamedTuple

from adapters.ctrader.frames import decode_envelope, encode_envelope, missing_fields, unread_values
from adapters.ctrader.messages import common, openapi
from adapters.ctrader.venue.account import Account
from adapters.ctrader.venue.catalogue import CATALOGUE_REQUESTS, answer
from adapters.ctrader.venue.gatekeeping import OPEN_TO_ALL, Connection, Tokens, throttled
from adapters.ctrader.venue.history import HISTORY_REQUESTS, History
from adapters.ctrader.venue.market import MARKET_REQUESTS, Market
from adapters.ctrader.venue.orderform import Refused
from adapters.ctrader.venue.records import ON_ACCEPT, ON_FILL, ON_SERVER, Told
from adapters.ctrader.venue.session import SESSION_REQUESTS, Sessions
from adapters.ctrader.venue.specs import Catalogue, VenueSpec, to_ms
from adapters.ctrader.venue.terms import Terms
from adapters.ctrader.venue.trading import TRADING_REQUESTS, Trading
from bus.errors import DataError, ProtocolError
from bus.messages import Quote
from bus.values import NS_PER_MS, NS_PER_S

CLOSE = b""
"""Payload that closes a connection."""
_HEARTBEAT = encode_envelope(common.ProtoHeartbeatEvent())
_HEARTBEAT_TYPE = 51
_FIRST_IDS = {"order": 1_000, "position": 500, "deal": 2_000}


class Outgoing(NamedTuple):
    """One envelope for one connection, to be written when it is due."""

    connection: int
    payload: bytes
    due_ns: int


class Venue:
    """One broker: its accounts, its market, its connections."""

    def __init__(self, spec: VenueSpec, *, opened_ns: int) -> None:
        """Open the broker.

        Args:
            spec: what it is made of.
            opened_ns: market time at which its accounts are opened; history of prices may be older.
        """
        self.spec = spec
        self.catalogue = Catalogue.of(spec.instruments, [account.currency for account in spec.accounts], spec.terms)
        self.tokens = Tokens(spec.salt, spec.token_lifetime_s)
        self.market = Market(self.catalogue, spec.model.liquidity_e2)
        self.market_ns = opened_ns
        self._counters: dict[str, int] = {}
        self.accounts = {
            account.account_id: Account(account, spec, self.catalogue, self._next_id, to_ms(opened_ns))
            for account in spec.accounts
        }
        self._trading = {
            number: Trading(account, spec.limits.positions, spec.declined_as)
            for number, account in self.accounts.items()
        }
        self._history = History(self.market.tapes, spec.limits)
        self.connections: dict[int, Connection] = {}
        self._sessions = Sessions(self.tokens, self.accounts, self.connections, spec.limits)
        self._maintenance = 0, 0

    def _next_id(self, kind: str) -> int:
        self._counters[kind] = (
            self._counters.get(kind, {"order": 1_000, "position": 500, "deal": 2_000}.get(kind, 0)) + 1
        )
        return self._counters[kind]

    # --- connections ----------------------------------------------------------------------------------------------

    def connect(self, now_ns: int) -> int:
        """Take a connection; its number."""
        number = self._next_id("connection")
        self.connections[number] = Connection(
            number=number,
            opened_ns=now_ns,
            last_in_ns=now_ns,
            heartbeat_ns=now_ns + self.spec.limits.heartbeat_s * NS_PER_S,
        )
        return number

    def disconnect(self, number: int) -> None:
        """A connection is gone; nothing of it survives."""
        self.connections.pop(number, None)

    def next_timer_ns(self) -> int | None:
        """When `timer` must be called next; None = no connection."""
        limits = self.spec.limits
        return min((min(c.heartbeat_ns, c.deadline_ns(limits)) for c in self.connections.values()), default=None)

    def timer(self, now_ns: int) -> list[Outgoing]:
        """Heartbeats that are due, and connections that were silent or unauthorised for too long."""
        out: list[Outgoing] = []
        for connection in list(self.connections.values()):
            if connection.deadline_ns(self.spec.limits) <= now_ns:
                out.append(self._put(connection, CLOSE, now_ns))
                del self.connections[connection.number]
            elif connection.heartbeat_ns <= now_ns:
                out.append(self._put(connection, _HEARTBEAT, now_ns))
                connection.heartbeat_ns = now_ns + self.spec.limits.heartbeat_s * NS_PER_S
        return out

    def _put(self, connection: Connection, payload: bytes, due_ns: int) -> Outgoing:
        connection.due_ns = max(connection.due_ns, due_ns)
        return Outgoing(connection.number, payload, connection.due_ns)

    # --- requests -------------------------------------------------------------------------------------------------

    def receive(self, number: int, envelope: bytes, now_ns: int) -> list[Outgoing]:
        """Take one envelope of a connection.

        Returns:
            What it causes, for this and other connections. A number that is no connection any more causes nothing.
        """
        connection = self.connections.get(number)
        if connection is None:
            return []
        connection.last_in_ns = now_ns
        try:
            payload_type, origin, request, _ = decode_envelope(envelope)
        except ProtocolError as error:
            return [self._put(connection, encode_envelope(_error("INVALID_REQUEST", str(error))), now_ns)]
        if payload_type == _HEARTBEAT_TYPE:
            connection.beats += 1
            return []  # never answered: two peers that echo would never stop
        refusal = self._gate(connection, payload_type, request, now_ns)
        if refusal is not None:
            return [self._put(connection, encode_envelope(refusal, origin), now_ns)]
        assert request is not None
        return self._dispatch(connection, request, origin, now_ns)

    def _gate(self, connection: Connection, payload_type: int, request: Any, now_ns: int) -> Any | None:
        """The error that keeps a request from being looked at, if any."""
        if not connection.application and payload_type not in OPEN_TO_ALL:
            return _error("CH_CLIENT_NOT_AUTHENTICATED", "Application is not authenticated")
        refusal = connection.pace.refusal(payload_type, self.spec.limits, now_ns)
        if refusal is not None:
            return refusal
        if request is None or request.DESCRIPTOR.name not in SUPPORTED:
            return _error("UNSUPPORTED_MESSAGE", f"payload type {payload_type} is not supported")
        until_ns, end_s = self._maintenance
        if now_ns < until_ns:
            error = _error("CANT_ROUTE_REQUEST", "No environment connection")
            if end_s:
                error.maintenanceEndTimestamp = end_s
            return error
        missing = missing_fields(request) or unread_values(request)  # an unknown side must not read as BUY
        if missing:
            return _error("INVALID_REQUEST", f"missing or unknown: {', '.join(missing)}")
        most = self.spec.limits.ids_per_request
        if any(field.is_repeated and len(value) > most for field, value in request.ListFields()):
            return _error("INVALID_REQUEST", f"at most {most} in one request")
        return None

    def _dispatch(self, connection: Connection, request: Any, origin: str, now_ns: int) -> list[Outgoing]:
        name = request.DESCRIPTOR.name
        if name in SESSION_REQUESTS:
            said = self._sessions.handle(connection, request, now_ns)
            out: list[Outgoing] = []
            for target, message, named in said:
                out.append(self._put(target, encode_envelope(message, origin if named else ""), now_ns))
            return out
        account_id = request.ctidTraderAccountId
        account = self.accounts.get(account_id)
        if account is None or account_id not in connection.logins:
            code, text = "ACCOUNT_NOT_AUTHORIZED", "Trading account is not authorized"
            if self.spec.silent_logout:
                code = "INVALID_REQUEST"
            return [self._put(connection, encode_envelope(_error(code, text, account_id), origin), now_ns)]
        if name in TRADING_REQUESTS:
            return self._trade(connection, account, request, origin, now_ns)
        pushed: list[Any] = []
        if name in MARKET_REQUESTS:
            done = self.market.answer(connection, request)
            result, pushed = done if isinstance(done, tuple) else (done, [])
        elif name in HISTORY_REQUESTS:
            result = self._history.answer(account, request)
        else:
            result = answer(account, request, self.spec.model.conversion_fee_bp)
        if isinstance(result, Refused):
            result = _error(result.code, result.text, account_id)
        out = [self._put(connection, encode_envelope(result, origin), now_ns)]
        out += [self._put(connection, encode_envelope(message), now_ns) for message in pushed]
        return out

    def _trade(
        self, connection: Connection, account: Account, request: Any, origin: str, now_ns: int
    ) -> list[Outgoing]:
        if not self._sessions.may_trade(connection, account.account_id, now_ns):
            error = _error("TRADING_NOT_ALLOWED", "the token is for viewing only", account.account_id)
            return [self._put(connection, encode_envelope(error, origin), now_ns)]
        outcome = self._trading[account.account_id].handle(request, origin, self.market_ns)
        if not isinstance(outcome, Refused):
            return self._tell(account, outcome, now_ns)
        if outcome.request_level:
            message = _error(outcome.code, outcome.text, account.account_id)
        else:
            message = openapi.ProtoOAOrderErrorEvent(
                errorCode=outcome.code,
                orderId=outcome.order_id,
                positionId=outcome.position_id,
                ctidTraderAccountId=account.account_id,
                description=outcome.text,
            )
        due_ns = now_ns + self.spec.delays.accept_ms * NS_PER_MS
        return [self._put(connection, encode_envelope(message, origin), due_ns)]

    def _tell(self, account: Account, told: list[Told], now_ns: int) -> list[Outgoing]:
        """Events for every connection of an account, with the id of the request that caused them."""
        delays = self.spec.delays
        wait_ms = {
            ON_ACCEPT: delays.accept_ms,
            ON_FILL: delays.accept_ms + delays.fill_ms,
            ON_SERVER: delays.accept_ms + delays.fill_ms + delays.server_ms,
        }
        out: list[Outgoing] = []
        listeners = [c for c in self.connections.values() if account.account_id in c.logins]
        for each in told:
            payload = encode_envelope(each.message, each.origin)
            due_ns = now_ns + (wait_ms[each.stage] if each.origin else 0) * NS_PER_MS
            out += [self._put(connection, payload, due_ns) for connection in listeners]
        return out

    # --- market ---------------------------------------------------------------------------------------------------

    def on_quote(self, quote: Quote, now_ns: int) -> list[Outgoing]:
        """Take a price: spots first, then what it triggered.

        Raises:
            DataError: an impossible quote, a symbol that is not offered, or a time before the market's.
        """
        if quote.ts_init_ns < self.market_ns:
            raise DataError(f"{quote.symbol}: a quote of {quote.ts_init_ns}, the market is at {self.market_ns} already")
        self.market_ns = quote.ts_init_ns
        told = [(account, account.on_quote(quote)) for account in self.accounts.values()]
        effective = next(iter(self.accounts.values())).broker.quote(quote.symbol) or quote
        symbol = self.catalogue.by_name(quote.symbol)
        out: list[Outgoing] = []
        events = self.market.on_quote(symbol, effective, self.connections.values())
        payloads: dict[int, bytes] = {}  # subscribers of one account and shape share one event
        for connection, message in events:
            payload = (
                payloads.setdefault(id(message), encode_envelope(message))
                if id(message) not in payloads
                else payloads[id(message)]
            )
            out.append(self._put(connection, payload, now_ns))
        for account, events in told:
            out += self._tell(account, events, now_ns)
        return out

    def advance(self, market_ns: int, now_ns: int) -> list[Outgoing]:
        """Let market time pass to a moment: expiries and swap."""
        if market_ns <= self.market_ns:
            return []
        self.market_ns = market_ns
        out: list[Outgoing] = []
        for account in self.accounts.values():
            out += self._tell(account, account.advance(market_ns), now_ns)
        return out

    # --- what operators and faults do -----------------------------------------------------------------------------

    def token_request(self, parameters: dict[str, str], now_ns: int) -> tuple[int, dict[str, Any], list[Outgoing]]:
        """Answer the HTTP token endpoint (section 2.2): status, JSON, and what connections are told of it."""
        status, reply, said = self._sessions.token_request(parameters, now_ns)
        return status, reply, [self._put(target, encode_envelope(message), now_ns) for target, message, _ in said]

    def invalidate_tokens(self, now_ns: int, reason: str = "token revoked") -> list[Outgoing]:
        """Revoke the access token of every login; each connection is told, and its accounts are logged out."""
        said = [
            each
            for token in dict.fromkeys(t for c in self.connections.values() for t in c.logins.values())
            for each in self._sessions.drop_token(token, reason, revoke=True)
        ]
        return [self._put(target, encode_envelope(message), now_ns) for target, message, _ in said]

    def drop_account(self, account_id: int, now_ns: int, *, silent: bool = False) -> list[Outgoing]:
        """Log an account out of every connection, with ``ProtoOAAccountDisconnectEvent`` or without a word."""
        out: list[Outgoing] = []
        for connection in self.connections.values():
            if account_id in connection.logins:
                connection.log_out(account_id)
                event = openapi.ProtoOAAccountDisconnectEvent(ctidTraderAccountId=account_id)
                out += [] if silent else [self._put(connection, encode_envelope(event), now_ns)]
        return out

    def drop_application(self, now_ns: int, reason: str = "") -> list[Outgoing]:
        """Cancel the application's authorisation on every connection."""
        out: list[Outgoing] = []
        for connection in self.connections.values():
            if connection.application:
                connection.application, connection.opened_ns = False, now_ns
                for account_id in list(connection.logins):
                    connection.log_out(account_id)
                event = openapi.ProtoOAClientDisconnectEvent(reason=reason)
                out.append(self._put(connection, encode_envelope(event), now_ns))
        return out

    def maintain(self, until_ns: int, end_s: int = 0) -> None:
        """Answer every request with ``CANT_ROUTE_REQUEST`` until a moment; `end_s` is told as its end."""
        self._maintenance = until_ns, end_s

    def throttle(self, payload_type: int, until_ns: int) -> None:
        """Block a payload type on every connection until a moment."""
        for connection in self.connections.values():
            connection.pace.block(payload_type, until_ns)

    def pay(self, account_id: int, amount: int, now_ns: int) -> list[Outgoing]:
        """Deposit or withdraw, in the smallest unit of the account."""
        account = self.accounts[account_id]
        return self._tell(account, [account.pay(amount, to_ms(self.market_ns))], now_ns)

    def change_account(
        self, account_id: int, now_ns: int, *, leverage: int | None = None, rights: int | None = None
    ) -> list[Outgoing]:
        """Change an account's leverage or rights: clients are told (2123), and what margins become (2141)."""
        account = self.accounts[account_id]
        return self._tell(account, account.change(leverage=leverage, rights=rights), now_ns)

    def change_symbol(self, name: str, terms: Terms, now_ns: int) -> list[Outgoing]:
        """Change a symbol's terms: every login is told that they changed (2120), not to what."""
        self.catalogue.terms[name] = terms
        symbol = self.catalogue.by_name(name)
        out: list[Outgoing] = []
        for account in self.accounts.values():
            account.regulate(self.market_ns)
            event = openapi.ProtoOASymbolChangedEvent(
                ctidTraderAccountId=account.account_id, symbolId=[symbol.symbol_id]
            )
            out += self._tell(account, [Told(event, "", ON_SERVER), *account.margins_changed()], now_ns)
        return out


SUPPORTED = SESSION_REQUESTS | TRADING_REQUESTS | MARKET_REQUESTS | HISTORY_REQUESTS | CATALOGUE_REQUESTS
"""Names of every request that is answered."""


def _error(code: str, text: str, account_id: int = 0) -> Any:
    message = throttled(code, text, 0)
    if account_id:
        message.ctidTraderAccountId = account_id
    return message
