"""`plimsoll ctrader probe`: is the broker there, does it know us, how far away is it. Places nothing."""

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from bus.errors import Refused
from bus.values import NS_PER_MS, PRICE_SCALE, VOLUME_SCALE
from daemon.commands.broker import Broker, accounts_of, run, with_broker
from daemon.commands.common import Settings, emit, with_settings
from daemon.config import Config

if TYPE_CHECKING:
    from adapters.ctrader.connection import Connection
    from adapters.ctrader.secret import Secret

_ROUND_TRIPS = 20
_APART_S = 0.05  # 20 a second, below half of what the broker allows
_SPOTS_S = 5
_SPOTS = 5
_FAR_MS = 60_000
_LEVELS = 5


@click.group("ctrader")
def ctrader_group() -> None:
    """Look at the broker (cTrader): probe."""


@ctrader_group.command("probe")
@click.option("--depth", metavar="SYMBOL", help="Show the best bids and offers of a symbol with their sizes, too.")
@with_broker
@with_settings
def probe(settings: Settings, *, broker: Broker, depth: str | None) -> int:
    """Connect, log in, count accounts and symbols, measure round trip and clock. Places nothing.

    Logs in with what `plimsoll auth login` keeps, or with the environment variables PLIMSOLL_CTRADER_CLIENT_SECRET and
    PLIMSOLL_CTRADER_ACCESS_TOKEN; there are no options for these, because every user can read a command line.

    \b
    Examples:
      plimsoll ctrader probe
      plimsoll ctrader probe --depth EURUSD
      plimsoll ctrader probe --host 127.0.0.1 --port 5035 --ca-file ca.pem --json
    """  # noqa: D301 (click keeps the lines of a paragraph that begins so)
    config = settings.load()
    told = run(_probe(config, broker, depth))
    if settings.as_json:
        emit(told)
    else:
        _show(told)
    return 0


async def _probe(config: Config, broker: Broker, wanted: str | None) -> dict[str, Any]:
    from adapters.ctrader.connection import Connection
    from adapters.ctrader.events import Pushed
    from adapters.ctrader.messages import openapi
    from daemon.access import credentials

    server, known_as = broker.server(config), broker.known_as(config)
    secret, tokens = await credentials(config)
    token = await tokens.access_token()
    offsets_ms: list[int] = []
    heard = asyncio.Event()
    look: Look | None = None

    def on_event(event: Any) -> None:
        if not isinstance(event, Pushed):
            return
        if look is not None:
            look.hear(event.message)
        if isinstance(event.message, openapi.ProtoOASpotEvent) and event.message.timestamp:
            offsets_ms.append(event.message.timestamp - time.time_ns() // NS_PER_MS)
            if len(offsets_ms) >= _SPOTS:
                heard.set()

    connection = Connection(server, known_as, secret, on_event=on_event)
    try:
        began_ns = time.perf_counter_ns()
        await connection.start()
        connected_ms = (time.perf_counter_ns() - began_ns) / NS_PER_MS
        accounts = await _accounts(connection, token, config)
        version, trips_ms = await _round_trips(connection)
        if subscription := _first_symbol(accounts):
            await connection.request(
                openapi.ProtoOASubscribeSpotsReq(
                    ctidTraderAccountId=subscription[0], symbolId=[subscription[1]], subscribeToSpotTimestamp=True
                )
            )
            await _within(heard, _SPOTS_S)
        book: dict[str, Any] = {}
        if wanted is not None:
            look = await Look.begin(connection, accounts[0]["ctidTraderAccountId"], wanted)
            book = {"depth": await look.seen()}
    finally:
        await connection.close()
    trips_ms.sort()
    return {
        "host": server.host,
        "port": server.port,
        "version": version,
        "connect_ms": round(connected_ms, 3),
        "round_trip_ms": {
            "p50": round(trips_ms[len(trips_ms) // 2], 3),
            "max": round(trips_ms[-1], 3),
            "requests": len(trips_ms),
        },
        # The newest price is the one that was under way the least; half of the way there is the way here.
        "clock_offset_ms": max(offsets_ms) + round(trips_ms[len(trips_ms) // 2] / 2) if offsets_ms else None,
        "accounts": [{key: value for key, value in each.items() if key != "symbol_id"} for each in accounts],
        **book,
    }


class Look:
    """A look at the depth of one symbol."""

    def __init__(self, connection: "Connection", account_id: int, number: int, name: str) -> None:
        from adapters.ctrader.depth import Depth

        self._refusals: list[str] = []
        self._depth = Depth(connection.request, account_id, self._refusals.append)
        self._number, self._name = number, name
        self._changed = asyncio.Event()

    @classmethod
    async def begin(cls, connection: "Connection", account_id: int, wanted: str) -> "Look":
        """Find the symbol and subscribe to its prices, on which depth rests.

        Raises:
            ConfigError: the broker has no such symbol.
        """
        from adapters.ctrader.catalogue import find
        from adapters.ctrader.messages import openapi
        from adapters.ctrader.symbols import light_symbols, plain_name

        listed = await connection.request(openapi.ProtoOASymbolsListReq(ctidTraderAccountId=account_id))
        name = plain_name(wanted)
        number: int = find(name, light_symbols(listed), "--depth").symbolId
        request = openapi.ProtoOASubscribeSpotsReq(
            ctidTraderAccountId=account_id, symbolId=[number], subscribeToSpotTimestamp=True
        )
        try:
            await connection.request(request)
        except Refused as refused:
            if refused.code != "ALREADY_SUBSCRIBED":
                raise
        return cls(connection, account_id, number, name)

    def hear(self, message: Any) -> None:
        """Take whatever is pushed."""
        if message.DESCRIPTOR.name == "ProtoOADepthEvent":
            self._depth.hear(message)
            self._changed.set()

    async def seen(self) -> dict[str, Any]:
        """The best levels once both sides are there, or what there is after a while; asked for no longer then.

        Raises:
            Refused: the broker shows none.
        """
        await self._depth.subscribe([self._number])
        if self._refusals:
            raise Refused("NO_DEPTH", self._refusals[0])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SPOTS_S):
                while not all(self._depth.levels(self._number)):
                    self._changed.clear()
                    await self._changed.wait()
        bids, asks = self._depth.levels(self._number, _LEVELS)
        await self._depth.unsubscribe([self._number])
        return {
            "symbol": self._name,
            "bids": [[level.price_e5 / PRICE_SCALE, level.size_e2 / VOLUME_SCALE] for level in bids],
            "asks": [[level.price_e5 / PRICE_SCALE, level.size_e2 / VOLUME_SCALE] for level in asks],
        }


async def _accounts(connection: "Connection", token: "Secret", config: Config) -> list[dict[str, Any]]:
    """The accounts of the environment, logged in, each with its symbols."""
    from adapters.ctrader.messages import openapi

    listed = await connection.request(openapi.ProtoOAGetAccountListByAccessTokenReq(accessToken=token.reveal()))
    accounts: list[dict[str, Any]] = []
    for each in accounts_of(list(listed.ctidTraderAccount), config):
        number: int = each.ctidTraderAccountId
        await connection.login(number, token)
        symbols = (await connection.request(openapi.ProtoOASymbolsListReq(ctidTraderAccountId=number))).symbol
        preferred = next(
            (symbol for symbol in symbols if symbol.symbolName == "EURUSD"), symbols[0] if symbols else None
        )
        accounts.append(
            {
                "ctidTraderAccountId": number,
                "login": each.traderLogin or None,
                "live": bool(each.isLive),
                "symbols": len(symbols),
                "symbol_id": preferred.symbolId if preferred is not None else None,
            }
        )
    return accounts


def _first_symbol(accounts: list[dict[str, Any]]) -> tuple[int, int] | None:
    return next(
        ((each["ctidTraderAccountId"], each["symbol_id"]) for each in accounts if each["symbol_id"] is not None), None
    )


async def _round_trips(connection: "Connection") -> tuple[str, list[float]]:
    """The server's version, and how long it took to ask for it each time, in ms."""
    from adapters.ctrader.messages import openapi

    trips_ms: list[float] = []
    version = ""
    for _ in range(_ROUND_TRIPS):
        await asyncio.sleep(_APART_S)
        began_ns = time.perf_counter_ns()
        version = (await connection.request(openapi.ProtoOAVersionReq())).version
        trips_ms.append((time.perf_counter_ns() - began_ns) / NS_PER_MS)
    return version, trips_ms


async def _within(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


def _show(told: dict[str, Any]) -> None:
    trip, offset_ms = told["round_trip_ms"], told["clock_offset_ms"]
    click.echo(f"server        {told['host']}:{told['port']}, version {told['version']}")
    click.echo(f"connected in  {told['connect_ms']:.1f} ms, certificate and host name verified")
    click.echo(f"round trip    {trip['p50']:.2f} ms (median of {trip['requests']}), {trip['max']:.2f} ms at most")
    if offset_ms is None:
        click.echo(f"clock         unknown: no price came within {_SPOTS_S} s; the market may be closed")
    elif abs(offset_ms) > _FAR_MS:
        click.echo(
            f"clock         prices are {offset_ms / 1000:+,.0f} s from this clock: recorded, or the market is closed"
        )
    else:
        click.echo(f"clock         the server's is {offset_ms:+d} ms from this one")
    table = Table("account", "login", "kind", "symbols", box=None, pad_edge=False)
    for each in told["accounts"]:
        kind = "live" if each["live"] else "demo"
        table.add_row(str(each["ctidTraderAccountId"]), str(each["login"] or "-"), kind, str(each["symbols"]))
    Console().print(table)
    if "depth" in told:
        _show_depth(told["depth"])


def _show_depth(depth: dict[str, Any]) -> None:
    bids, asks = depth["bids"], depth["asks"]
    if not bids and not asks:
        click.echo(f"depth         nothing of {depth['symbol']} came within {_SPOTS_S} s; the market may be closed")
        return
    table = Table("bid size", "bid", "ask", "ask size", box=None, pad_edge=False, title=f"depth of {depth['symbol']}")
    for row in range(max(len(bids), len(asks))):
        bid, ask = (side[row] if row < len(side) else None for side in (bids, asks))
        table.add_row(
            f"{bid[1]:,.0f}" if bid else "", str(bid[0]) if bid else "", str(ask[0]) if ask else "",
            f"{ask[1]:,.0f}" if ask else "",
        )  # fmt: skip
    Console().print(table)
