"""What commands towards the broker (cTrader) share: the options that say where it is, and how they end."""

import asyncio
import contextlib
import functools
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from bus.errors import ConfigError, Refused
from daemon.config import Config

if TYPE_CHECKING:
    from adapters.ctrader.shell import Server

_T = TypeVar("_T")


class Broker(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says about the broker; None = as the configuration says."""

    host: str | None
    port: int | None
    ca_file: Path | None
    client_id: str | None

    def server(self, config: Config) -> "Server":
        """Where to connect."""
        from daemon.access import server_of

        found = server_of(config)
        return msgspec.structs.replace(
            found,
            host=self.host or found.host,
            port=self.port or found.port,
            ca_file=found.ca_file if self.ca_file is None else self.ca_file,
        )

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

    @click.option("--host", envvar="PLIMSOLL_CTRADER_HOST", help="[default: ctrader.host, else the broker's own]")
    @click.option(
        "--port", envvar="PLIMSOLL_CTRADER_PORT", type=click.IntRange(1, 65535),
        help="Of the protobuf protocol.  [default: ctrader.port]",
    )  # fmt: skip
    @click.option(
        "--ca-file", envvar="PLIMSOLL_CTRADER_CA_FILE", type=click.Path(path_type=Path, dir_okay=False),
        help="A private authority to trust instead of the machine's.  [default: ctrader.ca_file]",
    )  # fmt: skip
    @click.option("--client-id", envvar="PLIMSOLL_CTRADER_CLIENT_ID", help="[default: ctrader.client_id]")
    @functools.wraps(command)
    def wrapped(
        *, host: str | None, port: int | None, ca_file: Path | None, client_id: str | None, **rest: Any
    ) -> int:  # fmt: skip
        return command(broker=Broker(host=host, port=port, ca_file=ca_file, client_id=client_id), **rest)

    return wrapped


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
