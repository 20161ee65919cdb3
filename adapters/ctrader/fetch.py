"""One account on one connection, asked patiently for the past. Plans are ``download``'s, sockets ``connection``'s.

Theory of operation. Requests here only read, so each may be asked again as often as it takes. What may pass is waited
for: a lost connection (which is made again by itself), a login that is gone (likewise), an answer that did not come,
maintenance, a throttled type of request (for as long as the broker says). A token that the broker refuses is exchanged
for another. The waits grow, from a quarter of a second to 15 s, and after `patience_s` without an answer it is over.
The pace is the session's: its limits let less than five historical requests a second leave.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from adapters.ctrader import events
from adapters.ctrader.codes import CODES, NextStep, meaning_of
from adapters.ctrader.connection import Connection, Disconnected
from adapters.ctrader.download import Part, Plan
from adapters.ctrader.grants import TokensUnavailable
from adapters.ctrader.messages import openapi
from adapters.ctrader.secret import Secret
from adapters.ctrader.series import WINDOW_MS, newest_bar_request
from adapters.ctrader.shell import Server
from adapters.ctrader.wire import NS_PER_MINUTE
from bus.errors import NotSent, RateLimited, Refused, SessionLost
from bus.values import NS_PER_MS

PATIENCE_S = 300

_TOO_LONG = "INCORRECT_BOUNDARIES"
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 15.0
_PASSING = frozenset(
    (NextStep.RETRY_LATER, NextStep.WAIT, NextStep.LOG_IN, NextStep.AUTHORISE_APPLICATION, NextStep.REFRESH_TOKEN)
)


class Line:
    """A connection that is asked until it answers."""

    def __init__(
        self, server: Server, client_id: str, client_secret: Secret, token: Secret, *,
        renew: Callable[[Secret], Awaitable[Secret]], patience_s: float = PATIENCE_S,
        on_trouble: Callable[[str], None] = lambda _: None,
    ) -> None:  # fmt: skip
        """Prepare; nothing is opened.

        Args:
            server: where to connect.
            client_id: of the registered application.
            client_secret: its secret.
            token: access token.
            renew: gives another token for one that the broker refused, or raises what is to be told.
            patience_s: how long to go on without an answer.
            on_trouble: is told why, whenever something has to be asked again.
        """
        self.requests = 0
        """Answered requests."""
        self._server = server
        self._connection = Connection(server, client_id, client_secret, on_event=self._on_event)
        self._token = token
        self._renew = renew
        self._patience_s = patience_s
        self._on_trouble = on_trouble
        self._account_id = 0
        self._logged_in = False
        self._token_refused = False
        self._refused: Refused | None = None
        self._why = "no answer"
        self._news = asyncio.Event()

    @property
    def throttled(self) -> int:
        """Requests that the broker refused for their frequency."""
        return int(self._connection.counts.throttled)

    async def open(self) -> None:
        """Connect and authorise the application.

        Raises:
            ConfigError: the authority's file is unfit.
            Refused: the broker does not know the application.
            SessionLost: the server cannot be reached, its certificate or name is wrong, or it went away.
        """
        await self._connection.start()

    async def close(self) -> None:
        """End it. May be called at any time and twice."""
        await self._connection.close()

    async def accounts(self) -> list[Any]:
        """All accounts that the token covers, as `ProtoOACtidTraderAccount`.

        Raises:
            Refused, SessionLost: as `ask`.
        """
        try:
            listed = await self.ask(_list_request(self._token))
        except Refused as error:
            if meaning_of(error.code, error.text).next_step is not NextStep.REFRESH_TOKEN:
                raise
            self._token = await self._renew(self._token)
            listed = await self.ask(_list_request(self._token))
        return list(listed.ctidTraderAccount)

    async def log_in(self, account_id: int) -> None:
        """Log the account in that is asked from now on, and whenever its login is lost.

        Raises:
            Refused: for good.
            SessionLost: not within our patience.
        """
        self._account_id = account_id
        with contextlib.suppress(NotSent, SessionLost, Refused):  # the events tell, and all but one say what to do
            await self._connection.login(account_id, self._token)
        await self._ready(asyncio.get_running_loop().time() + self._patience_s)

    async def ask(self, message: Any) -> Any:
        """The answer to a request that changes nothing, however often it takes.

        Raises:
            Refused: the broker said no, and asking again would not help.
            SessionLost: no answer within our patience. LoginNeeded, ConfigError: no token is left.
        """
        loop = asyncio.get_running_loop()
        until_s, attempts = 0.0, 0
        while True:
            try:
                answer = await self._connection.request(message)
            except (NotSent, SessionLost) as error:
                why, wait_s = str(error), 0.0
            except RateLimited as error:
                why, wait_s = str(error), error.retry_after_s
            except Refused as error:
                step = meaning_of(error.code, error.text).next_step
                if step not in _PASSING or (step is NextStep.REFRESH_TOKEN and not self._account_id):
                    raise
                self._token_refused = self._token_refused or step is NextStep.REFRESH_TOKEN
                why, wait_s = str(error), 0.0
            else:
                self.requests += 1
                return answer
            attempts += 1
            self._on_trouble(why)
            until_s = until_s or loop.time() + self._patience_s
            wait_s = max(wait_s, min(_FIRST_PAUSE_S * 2 ** (attempts - 1), _LONGEST_PAUSE_S))
            if loop.time() + wait_s > until_s:
                name = message.DESCRIPTOR.name.removeprefix("ProtoOA")
                tried = f"{attempts} attempts" if attempts > 1 else "1 attempt"
                raise SessionLost(
                    f"{self._server}: no answer to {name} in {tried} and {self._patience_s:g} s; the last: {why}"
                )
            await asyncio.sleep(wait_s)
            await self._ready(until_s)

    async def _ready(self, until_s: float) -> None:
        """Wait until the account is logged in, where there is one."""
        try:
            async with asyncio.timeout_at(until_s):
                while self._account_id and (self._token_refused or not self._logged_in):
                    if self._refused is not None:
                        raise self._refused
                    self._news.clear()
                    if self._token_refused:
                        await self._exchange_token()
                    else:
                        await self._news.wait()
        except TimeoutError:
            raise SessionLost(
                f"{self._server}: not logged in after {self._patience_s:g} s of waiting: {self._why}"
            ) from None

    async def _exchange_token(self) -> None:
        try:
            token = await self._renew(self._token)
        except TokensUnavailable:
            await asyncio.sleep(_LONGEST_PAUSE_S)
            return
        except RateLimited as error:
            await asyncio.sleep(error.retry_after_s)
            return
        self._token, self._token_refused = token, False
        with contextlib.suppress(NotSent, SessionLost, Refused):
            await self._connection.login(self._account_id, token)

    def _on_event(self, event: events.Event | Disconnected) -> None:
        match event:
            case events.AccountAuthorised():
                self._logged_in = True
            case Disconnected(reason=reason):
                self._logged_in, self._why = False, reason
            case events.AccountLost(code=code, text=text, next_step=step):
                self._logged_in, self._why = False, f"{code}: {text}" if text else code
                if step is NextStep.REFRESH_TOKEN:
                    self._token_refused = True
                elif step not in _PASSING and code in CODES:  # one that nobody knows may pass
                    self._refused = Refused(code, text)
            case _:
                return
        self._news.set()


async def newest_minute_ns(line: Line, account_id: int, symbol_id: int, now_ns: int) -> int:
    """When the newest minute bar opened that the broker has; where it tells none, no price came for five weeks.

    Raises:
        Refused, SessionLost: as `Line.ask`.
    """
    answer = await line.ask(newest_bar_request(account_id, symbol_id, now_ns))
    opens = [bar.utcTimestampInMinutes * NS_PER_MINUTE for bar in answer.trendbar]
    return max(opens, default=now_ns - WINDOW_MS[1] * NS_PER_MS)


async def answers(line: Line, plan: Plan) -> AsyncGenerator[list[Part]]:
    """Ask all that a plan wants to know; what each answer has made complete, newest first, perhaps nothing.

    Raises:
        DataError: the broker's answers are impossible.
        Refused, SessionLost: as `Line.ask`.
    """
    while (request := plan.request()) is not None:
        try:
            answer = await line.ask(request)
        except Refused as error:
            if error.code != _TOO_LONG or not plan.shorten():
                raise
            continue
        yield plan.take(answer)


def _list_request(token: Secret) -> Any:
    return openapi.ProtoOAGetAccountListByAccessTokenReq(accessToken=token.reveal())
