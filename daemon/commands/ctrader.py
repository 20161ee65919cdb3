"""The cTrader commands: `plimsoll venue`, a simulated broker that speaks the real one's protocol."""

import asyncio
import secrets
import signal
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import click
import msgspec

from adapters.exchange.model import ExecutionModel
from bus.calendar import to_ns
from bus.series import BarSeries, TickSeries
from daemon.commands.common import Settings, emit, with_settings
from daemon.config import Config


@click.command()
@click.option(
    "--data",
    "path",
    type=click.Path(path_type=Path, exists=True),
    help="Market data, a file or a folder, as for `plimsoll paper`.  [default: the EURUSD hours of the sample extra]",
)
@click.option(
    "--symbol", "symbols", multiple=True, metavar="PAIR", help="Only this symbol; may be given several times."
)
@click.option("--clock", metavar="ZONE", help="Clock of the data's timestamps.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port of the protocol; 0 = any that is free.")
@click.option("--http-port", type=click.IntRange(0, 65535), default=0, help="Port of the token endpoint; 0 = any.")
@click.option(
    "--pace",
    metavar="max|real|60x|step",
    default="real",
    show_default=True,
    help="How fast market time passes; step = after each price, wait for a heartbeat of every subscriber.",
)
@click.option(
    "--from",
    "start",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]),
    help="Where history ends and the market begins, UTC.  [default: the last fifth of the data]",
)
@click.option("--seed", type=int, help="Equal seeds give equal fills, ids and tokens.  [default: tokens by chance]")
@click.option("--faults", metavar="seed:N|FILE", help="What goes wrong: a seed, a JSON file, or a JSON list.")
@with_settings
def venue(
    settings: Settings,
    *,
    path: Path | None,
    symbols: tuple[str, ...],
    clock: str | None,
    host: str,
    port: int,
    http_port: int,
    pace: str,
    start: datetime | None,
    seed: int | None,
    faults: str | None,
) -> int:
    """Run a cTrader server to trade against: recorded prices, simulated money, the real protocol.

    Two accounts, one hedged and one netted, 10 000.00 USD each. The market stands still until somebody subscribes to
    spots. Trust the certificate authority that the first line names. Stops on SIGTERM and Ctrl-C.

    \b
    Examples:
      plimsoll venue --pace 60x
      plimsoll venue --data ~/ticks/eurusd --symbol EURUSD --json
      plimsoll venue --faults seed:42
    """  # noqa: D301 (click keeps the lines of a paragraph that begins so)
    loaded = settings.load(
        data__path=None if path is None else str(path.resolve()),
        data__symbols=tuple(symbol.upper() for symbol in symbols),
        data__clock=clock,
        execution__pace="max" if pace == "step" else pace,
    )
    from adapters.ctrader.venue.core import Venue
    from adapters.ctrader.venue.endpoint import Endpoint
    from adapters.ctrader.venue.faults import plan_of
    from adapters.ctrader.venue.feed import Feed
    from adapters.ctrader.venue.specs import AccountSpec, VenueSpec
    from adapters.history import SpreadModel

    series, from_ns = _prices(loaded, start)
    instruments = tuple(loaded.instrument(each.symbol) for each in series)
    spread = msgspec.structs.asdict(loaded.spread)
    spreads = [SpreadModel(pip_e5=instrument.pip_e5, **spread) for instrument in instruments]
    feed = Feed(series, spreads, from_ns=from_ns)
    model = _execution_model(loaded, from_bars=any(isinstance(each, BarSeries) for each in series))
    spec = VenueSpec(
        instruments=instruments,
        accounts=tuple(
            AccountSpec(
                account_id=number,
                hedged=hedged,
                currency=loaded.account.currency,
                money_digits=loaded.account.money_digits,
                leverage=loaded.account.leverage,
                balance=loaded.account.balance_units,
            )
            for number, hedged in ((1_001, True), (1_002, False))
        ),
        model=model if seed is None else msgspec.structs.replace(model, seed=seed),
        salt=secrets.token_hex() if seed is None else f"seed {seed}",
    )
    served = Venue(spec, opened_ns=feed.opened_ns)
    feed.prepare(served)
    endpoint = Endpoint(served, plan_of(faults) if faults else None)
    speed = _Speed(loaded.execution.speed, step=pace == "step")
    asyncio.run(_serve(endpoint, feed, host, (port, http_port), speed, as_json=settings.as_json))
    return 0


class _Speed(NamedTuple):
    """How market time passes: a factor (None = as fast as clients read), or step by step."""

    factor: float | None
    step: bool


def _prices(loaded: Config, start: datetime | None) -> tuple[list[BarSeries | TickSeries], int]:
    """The series to play, and the moment from which on: the beginning of the paper day, unless one is given."""
    if start is None:
        from daemon.app import load_data

        data = load_data(loaded)
        return [symbol.series for symbol in data.symbols], data.split.calibrate_end_ns
    from adapters import history

    path = loaded.data.path
    found = [history.sample()] if not path else history.read(Path(path), clock=loaded.data.clock or None)
    wanted = loaded.data.symbols
    return [each for each in found if not wanted or each.symbol in wanted], to_ns(start.replace(tzinfo=UTC))


def _execution_model(loaded: Config, *, from_bars: bool) -> ExecutionModel:
    """As the paper day has it: where quotes are made from bars, no gifts at their extremes and no second rollover."""
    made_from_bars = {"pass_on_gaps": False, "rollover_minutes": 0} if from_bars else {}
    unset = {key: value for key, value in made_from_bars.items() if f"exchange.{key}" not in loaded.sources}
    return msgspec.structs.replace(loaded.exchange, **unset)


async def _serve(endpoint: Any, feed: Any, host: str, ports: tuple[int, int], speed: _Speed, *, as_json: bool) -> None:
    from adapters.ctrader.venue.certificates import make
    from adapters.ctrader.venue.server import VenueServer

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with tempfile.TemporaryDirectory(prefix="plimsoll-venue-") as folder:  # mode 0700
        ca_file, tls = make(Path(folder))
        served = endpoint.venue
        async with VenueServer(
            endpoint, feed, tls=tls, host=host, port=ports[0], http_port=ports[1], speed=speed.factor, step=speed.step
        ) as server:
            grant = served.tokens.issue(int(asyncio.get_running_loop().time() * 1e9))
            told = {
                "host": host,
                "port": server.port,
                "http_port": server.http_port,
                "ca_file": str(ca_file),
                "client_id": served.tokens.client_id,
                "client_secret": served.tokens.client_secret,
                "access_token": grant.access,
                "refresh_token": grant.refresh,
                "accounts": [
                    {
                        "ctidTraderAccountId": account.account_id,
                        "hedged": account.spec.hedged,
                        "currency": account.spec.currency,
                        "balance": account.broker.balance,
                    }
                    for account in served.accounts.values()
                ],
                "symbols": [
                    {"symbolId": symbol.symbol_id, "name": symbol.instrument.symbol}
                    for symbol in served.catalogue.symbols
                ],
            }
            if as_json:
                emit(told)
            else:
                for name, value in told.items():
                    click.echo(f"{name:14} {value}")
            await stop.wait()
