"""One connection to a NATS server, and the stream behind it."""

import asyncio
import contextlib
import logging

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import SlowConsumerError
from nats.js.api import RetentionPolicy, StorageType, StreamConfig, StreamInfo
from nats.js.errors import BadRequestError

from bus.errors import ConfigError, NotSent, TradingError
from bus.port import BusCounters
from bus.wire import Names, servers, shown

STREAM_LARGEST_BYTES = 256 * 1024 * 1024
STREAM_LONGEST_S = 24 * 3600
"""What the stream keeps, for readers that come back. The journal is the record, not the stream."""

CONNECT_S = 5.0
API_S = 3.0
RETRY_S = 0.2
_PING_S = 5
_LOOK_S = 1.0
_DUPLICATES_S = 600  # how long the stream recognises a fact that is sent again

TROUBLE = (NatsError, OSError, TimeoutError, TradingError)
_logger = logging.getLogger(__name__)


class _Connection(Client):
    """A client that gets to the end of closing itself.

    nats-py 2.16 writes what is still pending to the connection it has just lost, fails, and leaves its subscriptions
    running and its callbacks uncalled. Nothing pending is worth that: what matters is flushed before, or sent again.
    """

    async def _close(self, status: int, do_cbs: bool = True) -> None:  # noqa: FBT001, FBT002
        self._pending.clear()
        self._pending_data_size = 0
        await super()._close(status, do_cbs)


async def dial(url: str, name: str, counters: BusCounters) -> tuple[Client, asyncio.Event]:
    """A connected client and the event of its end."""
    addresses = servers(url)
    client, lost = _Connection(), asyncio.Event()

    async def on_lost() -> None:
        lost.set()

    async def on_error(error: Exception) -> None:
        if isinstance(error, SlowConsumerError):
            counters.passed_over += 1  # a quote; facts that were dropped show as a gap and are read again
        _logger.debug("bus %s: %s", shown(url), type(error).__name__)

    try:
        async with asyncio.timeout(CONNECT_S):
            await client.connect(
                addresses, name=name, error_cb=on_error, closed_cb=on_lost, disconnected_cb=on_lost,
                allow_reconnect=False, max_reconnect_attempts=1, reconnect_time_wait=0, connect_timeout=2,
                ping_interval=_PING_S, max_outstanding_pings=2,
            )  # fmt: skip
    except (NatsError, OSError, TimeoutError) as error:
        with contextlib.suppress(Exception):
            await client.close()
        if "authorization" in str(error).lower():
            raise ConfigError(f"{shown(url)} refused the credentials; put USER:PASSWORD@ into its address") from None
        raise NotSent(f"cannot reach {shown(url)}: start nats-server -js, or leave out --bus") from None
    return client, lost


async def lose(client: Client, lost: asyncio.Event) -> None:
    """Return when a connection has ended, also where nobody said so."""
    while client.is_connected:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_S):
                await lost.wait()
                return


async def ensure_stream(client: Client, names: Names) -> StreamInfo:
    """The stream of a namespace, made or brought up to date where necessary."""
    stream = client.jetstream(timeout=API_S)
    config = StreamConfig(
        name=names.stream, subjects=names.fact_subjects, retention=RetentionPolicy.LIMITS, storage=StorageType.FILE,
        max_bytes=STREAM_LARGEST_BYTES, max_age=STREAM_LONGEST_S, duplicate_window=_DUPLICATES_S,
    )  # fmt: skip
    try:
        return await stream.add_stream(config)
    except BadRequestError:  # made by another release
        return await stream.update_stream(config)
