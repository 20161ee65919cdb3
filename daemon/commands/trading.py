"""Commands that trade and answer: paper, run, infer; and the operator's: halt, flatten, resume."""

import asyncio
import getpass
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import click

from bus.errors import ConfigError
from daemon.commands.common import Settings, console_for, emit, with_settings
from daemon.control import LEVELS

_SHELL_OPTIONS = (
    click.option("--headless", is_flag=True, help="Plain lines instead of the live view."),
    click.option("--new", is_flag=True, help="Start a new run even where an unfinished one could be continued."),
    click.option(
        "--bus",
        "bus_url",
        metavar="nats://HOST:PORT",
        help="Ask for forecasts over NATS (see `plimsoll infer`) and publish every event.",
    ),
    click.option(
        "--port", type=click.IntRange(0, 65535), help="Port of the status page on 127.0.0.1; 0 = any that is free."
    ),
    click.option("--no-web", is_flag=True, help="No status page."),
)


def _with_shell_options(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command what every running shell can be told."""
    for option in reversed(_SHELL_OPTIONS):
        command = option(command)
    return command


# --- paper -----------------------------------------------------------------------------------------------------


@click.command()
@click.option(
    "--data",
    "path",
    type=click.Path(path_type=Path, exists=True),
    help="Your own market data, a file or a folder: bars or ticks as Parquet, CSV, HistData, MT4, MT5, "
    "Dukascopy, TrueFX or LEAN zip.  [default: the EURUSD hours of the sample extra]",
)
@click.option(
    "--symbol",
    "symbols",
    multiple=True,
    metavar="PAIR",
    help="Trade this symbol; may be given several times. Default: all in the data.",
)
@click.option(
    "--clock", metavar="ZONE", help="Clock of the data's timestamps: utc, est, eet, new_york, utc+2 or a zone name."
)
@click.option(
    "--pace", metavar="max|real|60x", help="How fast simulated time passes; a factor such as 60x.  [default: max]"
)
@click.option("--seed", type=int, help="Seed of training and of the simulated exchange.")
@_with_shell_options
@with_settings
def paper(
    settings: Settings,
    *,
    path: Path | None,
    symbols: tuple[str, ...],
    clock: str | None,
    pace: str | None,
    headless: bool,
    new: bool,
    seed: int | None,
    bus_url: str | None,
    port: int | None,
    no_web: bool,
) -> int:
    """Run a paper trading day: real prices, simulated exchange, measured truth.

    Trains the default models where none fit, then trades the last fifth of the data through the whole core and
    writes a report. An unfinished run in the state directory is continued exactly where it stopped; the same seed
    gives the same decisions on any pace.

    \b
    Examples:
      plimsoll paper
      plimsoll paper --pace 3600x
      plimsoll paper --data ~/ticks/eurusd --symbol EURUSD --headless --json
    """  # noqa: D301 (click keeps the lines of a paragraph that begins so)
    from daemon.app import PaperOptions, run_paper
    from daemon.paperday import conclude, print_conclusion

    loaded = settings.load_to_trade(
        data__path=None if path is None else str(path.resolve()),
        data__symbols=tuple(symbol.upper() for symbol in symbols),
        data__clock=clock,
        models__seed=seed,
        bus__url=bus_url,
        web__port=port,
        execution__pace=pace,
    )
    # Standard output carries the JSON line and nothing else.
    console = console_for(stderr=settings.as_json, soft_wrap=headless)
    options = PaperOptions(
        speed=loaded.execution.speed,
        headless=headless,
        quiet=settings.as_json and headless,
        new=new,
        seed=loaded.models.seed,
        web=not no_web,
    )
    where = settings.open_state()
    with where.lock():
        result = asyncio.run(run_paper(loaded, options, where, console))
        try:
            summary = conclude(loaded, result, warn=console_for(stderr=True, soft_wrap=True).print)
        except SystemExit:
            console.print(f"run {result.run.name} is safe in its journal; `plimsoll report` writes what is missing")
            raise
    if settings.as_json:
        emit(summary)
    else:
        print_conclusion(summary, console)
    return 0


@click.command("run")
@click.option(
    "--mode", type=click.Choice(["demo", "live"]), required=True, help="Which accounts: play money, or real money."
)
@click.option(
    "--on-stop", type=click.Choice(["keep", "flatten"]), help="Positions when stopped.  [default: ctrader.on_stop]"
)
@_with_shell_options
@with_settings
def run_command(
    settings: Settings,
    *,
    mode: Literal["demo", "live"],
    headless: bool,
    new: bool,
    on_stop: str | None,
    bus_url: str | None,
    port: int | None,
    no_web: bool,
) -> int:
    """Trade an account at the broker (cTrader) until stopped.

    Connects, reconciles with the broker, and goes on where the last run of this account stopped; the same command
    after a crash never doubles or loses an order. Needs models (`plimsoll train`) and a login (`plimsoll auth login`).
    SIGTERM and Ctrl-C stop in good order; positions keep their stops at the broker. A report is written at the end.

    Live risks real money: it needs ctrader.allow_live = true and PLIMSOLL_LIVE_ACCOUNT set to the account's id.

    \b
    Examples:
      plimsoll run --mode demo --config plimsoll.toml
      plimsoll run --mode demo --headless --json --on-stop flatten
    """  # noqa: D301 (click keeps the lines of a paragraph that begins so)
    from daemon.liveapp import permitted, run_live
    from daemon.paperday import conclude, print_conclusion
    from daemon.surroundings import Look

    loaded = settings.load_to_trade(
        ctrader__environment=mode, ctrader__on_stop=on_stop, bus__url=bus_url, web__port=port
    )
    permitted(loaded, mode)
    console = console_for(stderr=settings.as_json, soft_wrap=headless)
    look = Look(headless=headless, quiet=settings.as_json and headless, web=not no_web)
    where = settings.open_state()
    with where.lock():
        result = asyncio.run(run_live(loaded, mode, new=new, look=look, state=where, console=console))
        summary = conclude(loaded, result, warn=console_for(stderr=True, soft_wrap=True).print)
    if settings.as_json:
        emit(summary)
    else:
        print_conclusion(summary, console)
    return 0


@click.command()
@click.option("--bus", "bus_url", metavar="nats://HOST:PORT", help="The bus to serve.")
@with_settings
def infer(settings: Settings, bus_url: str | None) -> int:
    """Answer forecast requests on a bus, in a process of its own.

    Uses the models in the state directory and gives the same answers as inference inside `plimsoll paper`. Follows
    what is published there and what the daemon lets in. Several of these share the work. Stops on SIGTERM.
    """
    from daemon.inference import Serving, run_inference
    from models.registry import Registry

    loaded = settings.load(bus__url=bus_url)
    if not loaded.bus.url:
        raise ConfigError("no bus to serve: give --bus nats://127.0.0.1:4222 or set bus.url")
    where = settings.open_state()
    serving = Serving(Registry(where.models, loaded.models.trust), where)
    asyncio.run(run_inference(loaded, serving, console_for(stderr=settings.as_json)))
    if settings.as_json:
        emit({"served": [artifact.model_id for artifact in serving.artifacts]})
    return 0


@click.command()
@click.option("--operator", default="", help="Who you are; it goes on record. By default the login's name.")
@click.option("--reason", default="", help="Why; it goes on record.")
@click.option(
    "--level",
    type=click.Choice(list(LEVELS)),
    default="flatten",
    show_default=True,
    help="How far to go; each includes the ones before.",
)
@with_settings
def halt(settings: Settings, operator: str, reason: str, level: str) -> int:
    """Throw the kill switch: stop taking risk, now and after every restart.

    Works on a running process within a tenth of a second and needs nothing of it but that it runs: no web page, no bus,
    no inference, no valuation. Stays thrown until `plimsoll resume`. SIGUSR1 (cancel entries) and SIGUSR2 (flatten) to
    the process do the same.
    """
    return _halt(settings, operator, reason, level)


@click.command()
@click.option("--operator", default="", help="Who you are; it goes on record. By default the login's name.")
@click.option("--reason", default="", help="Why; it goes on record.")
@with_settings
def flatten(settings: Settings, operator: str, reason: str) -> int:
    """Close everything and stay out: `plimsoll halt --level flatten`."""
    return _halt(settings, operator, reason, "flatten")


def _halt(settings: Settings, operator: str, reason: str, level: str) -> int:
    where = settings.open_state()
    where.halt(LEVELS[level], operator.strip() or _login(), reason.strip() or "no reason given")
    if settings.as_json:
        emit({"halted": True, "level": level, "state": str(where.folder)})
    else:
        click.echo(f"halted ({level}); lift it with `plimsoll resume --operator NAME --reason WHY`")
    return 0


def _login() -> str:
    """Whoever sits at the terminal; a halt never fails for want of a name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "nobody named"


@click.command()
@click.option("--operator", required=True, help="Who you are; it goes on record.")
@click.option("--reason", required=True, help="Why it is safe; it goes on record.")
@with_settings
def resume(settings: Settings, operator: str, reason: str) -> int:
    """Lift the kill switch and every latched halt of a running process. Takes a name and a reason."""
    where = settings.open_state()
    thrown = where.resume(operator, reason)
    if settings.as_json:
        emit({"halted": False, "was_halted": thrown, "state": str(where.folder)})
    else:
        click.echo(
            "resumed" if thrown else "the kill switch was not thrown; latched halts of a running process are lifted"
        )
    return 0
