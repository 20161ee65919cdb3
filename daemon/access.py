"""Where the broker is, and who we are there: the application's secret and the account's tokens, wherever they rest."""

import os
from pathlib import Path

from adapters.ctrader.secret import Secret
from adapters.ctrader.shell import Server
from adapters.ctrader.signin import Tokens
from bus.errors import ConfigError
from daemon.config import Config
from daemon.consent import given_secret, open_keeper, open_store

SECRET_VARIABLE = "PLIMSOLL_CTRADER_CLIENT_SECRET"  # noqa: S105 (a name)
TOKEN_VARIABLE = "PLIMSOLL_CTRADER_ACCESS_TOKEN"  # noqa: S105 (a name)

HOSTS = {"demo": "demo.ctraderapi.com", "live": "live.ctraderapi.com"}
"""The broker's servers by environment."""


def server_of(config: Config) -> Server:
    """Where the accounts of the configured environment live."""
    own = config.ctrader
    ca_file = Path(own.ca_file).expanduser() if own.ca_file else None
    return Server(own.host or HOSTS[own.environment], own.port, ca_file)


class GivenToken:
    """A token from the environment: there is no other, and nobody here may refresh it."""

    def __init__(self, token: Secret) -> None:
        self._token = token

    async def access_token(self) -> Secret:
        """The token."""
        return self._token

    async def replace(self, refused: Secret) -> Secret:
        """Nothing can replace it.

        Raises:
            ConfigError: says so.
        """
        del refused
        raise ConfigError(f"the token in {TOKEN_VARIABLE} was refused; set a newer one, or run `plimsoll auth login`")


async def credentials(config: Config) -> tuple[Secret, Tokens]:
    """The client secret and whoever hands out access tokens: from the environment, else from `plimsoll auth login`.

    Raises:
        ConfigError: one of them is not known; says what to do.
    """
    secret = _from_environment(SECRET_VARIABLE) or given_secret(config)
    token = _from_environment(TOKEN_VARIABLE)
    store = None if secret and token else open_store(config)
    tokens: Tokens | None = GivenToken(token) if token is not None else None
    if store is not None:
        kept = store.peek()
        secret = secret or (kept.client_secret if kept is not None else None)
        tokens = tokens or open_keeper(config, store)
    if tokens is None:
        raise ConfigError(f"nobody is logged in; run `plimsoll auth login`, or set {TOKEN_VARIABLE}")
    if secret is None:
        raise ConfigError(f"the client secret is not known; set ctrader.client_secret_file or {SECRET_VARIABLE}")
    return secret, tokens


def _from_environment(name: str) -> Secret | None:
    value = os.environ.get(name, "").strip()
    return Secret(value) if value else None
