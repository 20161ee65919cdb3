"""The way to the broker (cTrader) that commands share: where it is, who we are, and which token opens the door."""

import asyncio
import contextlib
import functools
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from bus.errors import ConfigError, Refused
from daemon.config import Config

if TYPE_CHECKING:
    from adapters.ctrader.secret import Secret
    from adapters.ctrader.shell import Server
    from adapters.ctrader.tokens import TokenKeeper

_HOSTS = {"demo": "demo.ctraderapi.com", "live": "live.ctraderapi.com"}
_TOKEN = "PLIMSOLL_CTRADER_ACCESS_TOKEN"  # noqa: S105 (the name of a variable)

_T = TypeVar("_T")


class Broker(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says about the broker; None = as the configuration says."""

    host: str | None
    port: int
    ca_file: Path | None
    client_id: str | None

    def server(self, config: Config) -> "Server":
        """Where to connect."""
        from adapters.ctrader.shell import Server

        ca_file = self.ca_file
        if ca_file is None and config.ctrader.ca_file:
            ca_file = Path(config.ctrader.ca_file).expanduser()
        return Server(self.host or _HOSTS[config.ctrader.environment], self.port, ca_file)

    def known_as(self, config: Config) -> str:
        """The application's id.

        Raises:
            ConfigError: nobody has named it.
        """
        known_as = self.client_id or config.ctrader.client_id
        if not known_as:
            raise ConfigError("ctrader.client_id is empty; write the application's id there, or give --client-id")
        return known_as


def with_broker(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the options that say where the broker is, gathered in its argument `broker`."""

    @click.option("--host", envvar="PLIMSOLL_CTRADER_HOST", help="[default: the broker's, of ctrader.environment]")
    @click.option(
        "--port", envvar="PLIMSOLL_CTRADER_PORT", type=click.IntRange(1, 65535), default=5035, show_default=True,
        help="Of the protobuf protocol.",
    )  # fmt: skip
    @click.option(
        "--ca-file", envvar="PLIMSOLL_CTRADER_CA_FILE", type=click.Path(path_type=Path, dir_okay=False),
        help="A private authority to trust instead of the machine's.  [default: ctrader.ca_file]",
    )  # fmt: skip
    @click.option("--client-id", envvar="PLIMSOLL_CTRADER_CLIENT_ID", help="[default: ctrader.client_id]")
    @functools.wraps(command)
    def wrapped(
        *, host: str | None, port: int, ca_file: Path | None, client_id: str | None, **rest: Any
    ) -> int:  # fmt: skip
        return command(broker=Broker(host=host, port=port, ca_file=ca_file, client_id=client_id), **rest)

    return wrapped


class Credentials:
    """What lets us in: the client secret, an access token, and others where the broker refuses it."""

    def __init__(self, client_secret: "Secret", given: "Secret | None", keeper: "TokenKeeper | None") -> None:
        self.client_secret = client_secret
        self._given = given
        self._keeper = keeper

    async def token(self) -> "Secret":
        """A token that lives.

        Raises:
            LoginNeeded, TokensUnavailable, ConfigError: there is none, and why.
        """
        if self._given is not None:
            return self._given
        return await self._kept().access_token()

    async def another(self, refused: "Secret") -> "Secret":
        """Another token for one that the broker refuses.

        Raises:
            Refused: it was the environment's, so only the user has another.
            RateLimited, LoginNeeded, TokensUnavailable, ConfigError: there is none, and why.
        """
        if self._given is not None:
            raise Refused("CH_ACCESS_TOKEN_INVALID", f"the broker refuses {_TOKEN}; set another")
        return await self._kept().replace(refused)

    def _kept(self) -> "TokenKeeper":
        if self._keeper is None:
            raise ConfigError(f"nobody is logged in; run `plimsoll auth login`, or set {_TOKEN}")
        return self._keeper


async def credentials(config: Config) -> Credentials:
    """From the environment, else from where `plimsoll auth login` put them.

    Raises:
        ConfigError: something is not known; says how to tell it.
        LoginNeeded, TokensUnavailable: the kept tokens are of no use, and why.
    """
    from daemon.consent import given_secret, open_keeper, open_store

    secret = _from_environment("PLIMSOLL_CTRADER_CLIENT_SECRET") or given_secret(config)
    token = _from_environment(_TOKEN)
    store = None if secret and token else open_store(config)
    keeper = None
    if store is not None:
        kept = store.peek()
        secret = secret or (kept.client_secret if kept is not None else None)
        keeper = None if token else open_keeper(config, store)
    if token is None and keeper is None:
        raise ConfigError(f"nobody is logged in; run `plimsoll auth login`, or set {_TOKEN}")
    if keeper is not None:
        await keeper.access_token()  # that nobody is logged in is the first thing to say
    if secret is None:
        raise ConfigError(
            "the client secret is not known; set ctrader.client_secret_file or PLIMSOLL_CTRADER_CLIENT_SECRET"
        )
    return Credentials(secret, token, keeper)


def _from_environment(name: str) -> "Secret | None":
    from adapters.ctrader.secret import Secret

    value = os.environ.get(name, "").strip()
    return Secret(value) if value else None


def accounts_of(listed: list[Any], config: Config) -> list[Any]:
    """Those of the `ProtoOACtidTraderAccount` that belong to the configured environment.

    Raises:
        Refused: none does.
    """
    kind = config.ctrader.environment
    found = [each for each in listed if each.isLive == (kind == "live")]
    if not found:
        raise Refused("NO_ACCOUNT", f"this login covers no {kind} account; see ctrader.environment")
    return found


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """Run to the end; SIGTERM and Ctrl-C end it where that loses nothing."""

    async def main() -> _T:
        task = asyncio.current_task()
        assert task is not None
        with contextlib.suppress(NotImplementedError, RuntimeError):
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        return await work

    try:
        return asyncio.run(main())
    except asyncio.CancelledError:
        raise click.Abort from None
