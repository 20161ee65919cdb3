"""The login of one account, kept alive: tokens that are refreshed or refused, and what the broker says of them."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from adapters.ctrader.codes import NextStep, meaning_of
from adapters.ctrader.secret import Secret
from bus.errors import BrokerError, ConfigError, Refused

LOGIN_PAUSE_S = 60
TOKEN_PERIOD_S = 3_600

_BY_ITSELF = frozenset({NextStep.LOG_IN, NextStep.RETRY_LATER, NextStep.WAIT, NextStep.AUTHORISE_APPLICATION})


class Tokens(Protocol):
    """Who knows access tokens; `tokens.TokenKeeper` is one."""

    async def access_token(self) -> Secret:
        """A token that lives."""
        ...

    async def replace(self, refused: Secret) -> Secret:
        """Another one for a token that was refused."""
        ...


class Logger(Protocol):
    """What is needed of a connection."""

    async def login(self, account_id: int, token: Secret) -> None:
        """See `Connection.login`."""
        ...


class SignIn:
    """Keeps one account logged in on one connection."""

    def __init__(self, connection: Logger, tokens: Tokens, account_id: int, note: Callable[[str], None]) -> None:
        """Prepare.

        Args:
            connection: logs in.
            tokens: knows what with.
            account_id: ctidTraderAccountId.
            note: takes one line for a person.
        """
        self._connection = connection
        self._tokens = tokens
        self._account_id = account_id
        self._note = note
        self._token: Secret | None = None

    async def first(self) -> None:
        """Log in; a token that is refused is replaced once.

        Raises:
            Refused: the broker says no for good.
            BrokerError: as `Connection.login`.
            ConfigError: there is no token, or only a person can get one.
        """
        self._token = await self._tokens.access_token()
        try:
            await self._connection.login(self._account_id, self._token)
        except Refused as refused:
            if meaning_of(refused.code, refused.text).next_step is not NextStep.REFRESH_TOKEN:
                raise
            self._token = await self._tokens.replace(self._token)
            await self._connection.login(self._account_id, self._token)

    async def keep_fresh(self) -> None:
        """For ever: hand on a token that was refreshed before its time; the keeper of tokens decides when that is."""
        while True:
            await asyncio.sleep(TOKEN_PERIOD_S)
            await self._use(refused=None, again=False)

    async def again(self, step: NextStep) -> None:
        """The login was lost: what the session does not do by itself is done here, until it works."""
        if step in _BY_ITSELF:
            return
        refused = self._token if step is NextStep.REFRESH_TOKEN else None
        if refused is None:
            await asyncio.sleep(LOGIN_PAUSE_S)
        done = False
        while not done:
            done = await self._use(refused=refused, again=True)
            if not done:
                await asyncio.sleep(LOGIN_PAUSE_S)

    async def _use(self, *, refused: Secret | None, again: bool) -> bool:
        """Log in with the newest token, where it is another one or `again`; whether there is a token."""
        try:
            token = await (self._tokens.access_token() if refused is None else self._tokens.replace(refused))
        except (BrokerError, ConfigError) as error:
            self._note(f"no access token: {error}")
            return False
        if again or self._token is None or token.reveal() != self._token.reveal():
            self._token = token
            try:
                await self._connection.login(self._account_id, token)
            except BrokerError as error:
                self._note(f"account {self._account_id} is not logged in: {error}")
        return True
