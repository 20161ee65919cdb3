"""The command line: `plimsoll`. Every command explains itself with --help and answers machines with --json."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from bus.errors import ConfigError, TradingError
from bus.messages import HaltLevel
from daemon import journal as journals
from daemon.config import Config, default_state_dir, explain, load
from daemon.replay import describe, replay
from daemon.state import Run, State

EXIT_FAILED = 1
EXIT_CONFIG = 78
"""EX_CONFIG of sysexits.h: the service manager must not restart what cannot start."""

VERSION = "0.1.0"


def main() -> int:
    """Run a command; one clear line for every expected error.

    Returns:
        0 = done, 1 = failed, 2 = wrong usage, 78 = the configuration cannot be obeyed.
    """
    # Small models are fastest on one thread, and reductions then always add up in the same order.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    try:
        return int(cli.main(standalone_mode=False) or 0)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.exceptions.Abort:
        click.echo("stopped", err=True)
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except ConfigError as error:
        click.echo(f"plimsoll: {error}", err=True)
        return EXIT_CONFIG
    except TradingError as error:
        click.echo(f"plimsoll: {error}", err=True)
        return EXIT_FAILED


class Settings(msgspec.Struct, kw_only=True):
    """Options of the whole command."""

    config: Path | None
    profile: str | None
    state: Path | None

    def load(self, **overrides: Any) -> Config:
        """The configuration with what the command line overrides (dotted keys with `__`; None = not given)."""
        given = {name.replace("__", "."): value for name, value in overrides.items() if value not in (None, ())}
        return load(self.config, profile=self.profile, overrides=given)

    def open_state(self) -> State:
        """The state directory."""
        return State(self.state or default_state_dir())


def _settings(function: Any) -> Any:
    """The options that every command with a configuration takes."""
    for option in (
        click.option(
            "--config",
            type=click.Path(path_type=Path, dir_okay=False),
            help="TOML file; ./plimsoll.toml where there is one.",
        ),
        click.option("--profile", metavar="NAME", help="Overlay of the file: dev, staging or prod."),
        click.option(
            "--state",
            type=click.Path(path_type=Path, file_okay=False),
            help="State directory (models, runs, journals, kill switch).",
        ),
        click.option("--json", "as_json", is_flag=True, help="One machine-readable line on standard output."),
    ):
        function = option(function)
    return function


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(VERSION, prog_name="plimsoll")
def cli() -> None:
    """Plimsoll trades foreign exchange on forecasts whose uncertainty is measured.

    \b
    Start here:
      plimsoll paper            a paper trading day on real prices, with a report
      plimsoll report           write the report of the last run again
      plimsoll replay           prove that the last run can be repeated bit for bit
      plimsoll doctor           is this machine fit, and if not, what to do

    Trading foreign exchange on margin can lose more than you paid in. Nothing here is advice, and no profit is promised.
    """


def _emit(data: Any) -> None:
    click.echo(msgspec.json.encode(data).decode())


def _pace(_context: click.Context, _option: click.Parameter, text: str) -> float | None:
    if text == "max":
        return None
    if text == "real":
        return 1.0
    number = text.removesuffix("x")
    try:
        speed = float(number)
    except ValueError:
        speed = 0.0
    if not text.endswith("x") or not 0 < speed < 1e9:
        raise click.BadParameter(f"{text!r} is no pace; use max, real, or a factor such as 60x")
    return speed


# --- paper -----------------------------------------------------------------------------------------------------


@cli.command()
@click.option(
    "--data",
    "path",
    type=click.Path(path_type=Path, exists=True),
    help="Your own market data, a file or folder: bars or ticks as Parquet, CSV, HistData, MT4, MT5, Dukascopy, TrueFX or LEAN zip. Default: the EURUSD hours that come with the sample extra.",
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
    "--pace",
    "speed",
    default="max",
    callback=_pace,
    metavar="max|real|60x",
    help="How fast simulated time passes.  [default: max]",
)
@click.option("--headless", is_flag=True, help="Plain lines instead of the live view.")
@click.option("--new", is_flag=True, help="Start a new run even where an unfinished one could be continued.")
@click.option("--seed", type=int, help="Seed of training and of the simulated exchange.")
@click.option(
    "--bus",
    "bus_url",
    metavar="nats://HOST:PORT",
    help="Ask for forecasts over NATS (see `plimsoll infer`) and publish every event.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port of the status page on 127.0.0.1; 0 = any that is free."
)
@click.option("--no-web", is_flag=True, help="No status page.")
@_settings
def paper(  # noqa: PLR0917
    path: Path | None, symbols: tuple[str, ...], clock: str | None, speed: float | None, headless: bool, new: bool,
    seed: int | None, bus_url: str | None, port: int | None, no_web: bool, config: Path | None, profile: str | None,
    state: Path | None, as_json: bool,
) -> int:  # fmt: skip
    """Run a paper trading day: real prices, simulated exchange, measured truth.

    Trains the default models where none fit, then trades the last fifth of the data through the whole core and
    writes a report. An unfinished run in the state directory is continued exactly where it stopped; the same seed
    gives the same decisions on any pace.

    \b
    Examples:
      plimsoll paper
      plimsoll paper --pace 3600x
      plimsoll paper --data ~/ticks/eurusd --symbol EURUSD --headless --json
    """
    from daemon.app import PaperOptions, run_paper
    from daemon.paperday import conclude, print_conclusion

    settings = Settings(config=config, profile=profile, state=state)
    loaded = settings.load(
        data__path=None if path is None else str(path.resolve()),
        data__symbols=tuple(symbol.upper() for symbol in symbols),
        data__clock=clock,
        models__seed=seed,
        bus__url=bus_url,
        web__port=port,
    )
    # Standard output carries the JSON line and nothing else.
    console = Console(stderr=as_json, soft_wrap=headless)
    options = PaperOptions(
        speed=speed, headless=headless, quiet=as_json and headless, new=new, seed=loaded.models.seed,
        bus_url=loaded.bus.url, web=not no_web,
    )  # fmt: skip
    where = settings.open_state()
    with where.lock():
        result = asyncio.run(run_paper(loaded, options, where, console))
        summary = conclude(loaded, result)
    if as_json:
        _emit(summary)
    else:
        print_conclusion(summary, console)
    return 0


@cli.command()
@click.option(
    "--data", "path", type=click.Path(path_type=Path, exists=True), help="Market data as for `plimsoll paper`."
)
@click.option(
    "--symbol", "symbols", multiple=True, metavar="PAIR", help="Only this symbol; may be given several times."
)
@click.option("--clock", metavar="ZONE", help="Clock of the data's timestamps.")
@click.option("--seed", type=int, help="Equal seeds give equal models.")
@_settings
def train(
    path: Path | None, symbols: tuple[str, ...], clock: str | None, seed: int | None,
    config: Path | None, profile: str | None, state: Path | None, as_json: bool,
) -> int:  # fmt: skip
    """Train, calibrate and publish the default models.

    The first 60 % of the bars are learnt from, the next 20 % calibrate the intervals, the rest is never looked at.
    Publishing is atomic; the last five releases are kept, and a running daemon is not disturbed.
    """
    from daemon.app import load_data
    from daemon.training import train_with_bar

    settings = Settings(config=config, profile=profile, state=state)
    loaded = settings.load(
        data__path=None if path is None else str(path.resolve()),
        data__symbols=tuple(symbol.upper() for symbol in symbols),
        data__clock=clock,
        models__seed=seed,
    )
    where = settings.open_state()
    where.create()
    console = Console(stderr=True)
    releases = train_with_bar(where, loaded, load_data(loaded), seed=loaded.models.seed, console=console, quiet=as_json)
    if as_json:
        _emit({"releases": releases})
    else:
        for release in releases:
            click.echo(f"published {', '.join(release.models)}; {release.active} trades")
    return 0


@cli.command()
@click.option("--bus", "bus_url", metavar="nats://HOST:PORT", help="The bus to serve.")
@_settings
def infer(bus_url: str | None, config: Path | None, profile: str | None, state: Path | None, as_json: bool) -> int:
    """Answer forecast requests on a bus, in a process of its own.

    Uses the models in the state directory and gives the same answers as inference inside `plimsoll paper`. Several
    of these share the work. Stops on SIGTERM.
    """
    from daemon.app import run_inference
    from models.registry import Registry

    settings = Settings(config=config, profile=profile, state=state)
    loaded = settings.load(bus__url=bus_url)
    if not loaded.bus.url:
        raise ConfigError("no bus to serve: give --bus nats://127.0.0.1:4222 or set bus.url")
    registry = Registry(settings.open_state().models)
    markets = sorted({(entry.symbol, entry.period_ns) for entry in registry.list()})
    releases = [registry.load(*market) for market in markets]
    artifacts = [artifact for release in releases if release is not None for artifact in release.artifacts]
    asyncio.run(run_inference(loaded.bus.url, artifacts, Console(stderr=as_json)))
    if as_json:
        _emit({"served": [artifact.model_id for artifact in artifacts]})
    return 0


# --- looking back ----------------------------------------------------------------------------------------------


def _run_of(state: State, name: str | None) -> Run:
    """A run by number, by folder, or the last one."""
    if name is None:
        last = state.last_run()
        if last is None:
            raise ConfigError(f"no run in {state.folder} yet; start one with `plimsoll paper`")
        return last
    path = Path(name)
    if path.is_dir():
        if path.name == "journal" or any(path.glob("*.seg")):
            path = path.parent
        return Run(path)
    found = next((run for run in state.runs() if run.name == name.zfill(4)), None)
    if found is None:
        raise ConfigError(
            f"no run {name!r} in {state.folder}; there are {', '.join(r.name for r in state.runs()) or 'none'}"
        )
    return found


def _journal_of(state: State, name: str | None) -> Path:
    if name is not None and any(Path(name).glob("*.seg")):
        return Path(name)
    return _run_of(state, name).journal


@cli.command("replay")
@click.argument("journal", required=False)
@_settings
def replay_command(
    journal: str | None, config: Path | None, profile: str | None, state: Path | None, as_json: bool
) -> int:
    """Run a journal's inputs through a fresh core and compare every answer.

    JOURNAL is a journal's folder, a run's folder or a run's number; by default the last run. Needs no models and no
    data: all that the core knew is in the journal. Ends with 1 and shows the first difference, both sides, where the
    answers are not the recorded ones.
    """
    folder = _journal_of(Settings(config=config, profile=profile, state=state).open_state(), journal)
    result = replay(folder)
    if as_json:
        _emit(result)
        return 0 if result.identical else EXIT_FAILED
    console = Console()
    if result.identical:
        console.print(f"identical: {result.inputs:,} inputs gave the same {result.outputs:,} answers again")
        console.print(f"decisions sha256 {result.decisions_sha256}")
        return 0
    if not result.chain.intact:
        console.print(f"[red]the journal was altered[/]: {result.chain.reason} (record {result.chain.broken_at})")
    if result.difference is not None:
        console.print(
            f"[red]first difference[/] at record {result.difference.seq}, from input {result.difference.cause_seq}"
        )
        console.print("recorded:", result.difference.recorded)
        console.print("replayed:", result.difference.replayed)
    return EXIT_FAILED


@cli.command()
@click.argument("run", required=False)
@_settings
def report(run: str | None, config: Path | None, profile: str | None, state: Path | None, as_json: bool) -> int:
    """Write a run's adherence report again, from its journal alone.

    RUN is a run's number or folder; by default the last run. Gives HTML (self-contained, works offline), JSON and CSV.
    """
    from daemon.paperday import report_on

    chosen = _run_of(Settings(config=config, profile=profile, state=state).open_state(), run)
    paths = report_on(chosen)
    if as_json:
        _emit({"report": str(paths.html), "json": str(paths.json), "csv": [str(path) for path in paths.csvs]})
    else:
        click.echo(f"report: {paths.html}")
    return 0


@cli.group("journal")
def journal_group() -> None:
    """Look into journals and check their hash chain."""


@journal_group.command("verify")
@click.argument("journal", required=False)
@_settings
def journal_verify(
    journal: str | None, config: Path | None, profile: str | None, state: Path | None, as_json: bool
) -> int:
    """Check every byte of a journal against its hash chain; ends with 1 where one was altered."""
    verdict = journals.verify(_journal_of(Settings(config=config, profile=profile, state=state).open_state(), journal))
    if as_json:
        _emit(verdict)
    elif verdict.intact:
        torn = f"; {verdict.torn_bytes} bytes of a write cut short at the end" if verdict.torn_bytes else ""
        click.echo(f"intact: {verdict.records:,} records, digest {verdict.digest}{torn}")
    else:
        click.echo(f"ALTERED: {verdict.reason} ({verdict.segment}, record {verdict.broken_at})")
    return 0 if verdict.intact else EXIT_FAILED


@journal_group.command("show")
@click.argument("journal", required=False)
@click.option("--from", "first", type=int, default=1, show_default=True, help="First record.")
@click.option("--count", type=int, default=20, show_default=True, help="How many records.")
@click.option("--type", "only", metavar="NAME", help="Only messages of this type, for instance OrderFilled.")
@_settings
def journal_show(
    journal: str | None, first: int, count: int, only: str | None,
    config: Path | None, profile: str | None, state: Path | None, as_json: bool,
) -> int:  # fmt: skip
    """Print records as JSON lines: sequence number, in or out, message."""
    del as_json  # always JSON
    shown = 0
    for record in journals.read(
        _journal_of(Settings(config=config, profile=profile, state=state).open_state(), journal)
    ):
        if record.seq < first or (only is not None and type(record.message).__name__ != only):
            continue
        kind = "in" if record.kind == journals.INPUT else "out"
        _emit({"seq": record.seq, "kind": kind, **(describe(record.message) or {})})
        shown += 1
        if shown >= count:
            break
    return 0


# --- models ----------------------------------------------------------------------------------------------------


@cli.group("models")
def models_group() -> None:
    """List, inspect and verify model artifacts."""


@models_group.command("list")
@_settings
def models_list(config: Path | None, profile: str | None, state: Path | None, as_json: bool) -> int:
    """List kept models, newest release first."""
    from models.registry import Registry

    entries = Registry(Settings(config=config, profile=profile, state=state).open_state().models).list()
    if as_json:
        _emit({"models": entries})
        return 0
    if not entries:
        click.echo("no models yet; `plimsoll train` or `plimsoll paper` makes them")
        return 0
    table = Table("model", "symbol", "period", "release", "", box=None)
    for entry in entries:
        mark = "trades" if entry.active else "in force" if entry.current else ""
        table.add_row(
            entry.model_id, entry.symbol, f"{entry.period_ns // 60_000_000_000} min", str(entry.release), mark
        )
    Console().print(table)
    return 0


@models_group.command("show")
@click.argument("model_id")
@_settings
def models_show(model_id: str, config: Path | None, profile: str | None, state: Path | None, as_json: bool) -> int:
    """Show what a model is: features, training window, metrics beside the random walk."""
    from models.registry import Registry

    manifest = Registry(Settings(config=config, profile=profile, state=state).open_state().models).show(model_id)
    shown = {**msgspec.to_builtins(manifest), "scores": [len(scores) for scores in manifest.scores]}
    shown["baseline_scores"] = [len(scores) for scores in manifest.baseline_scores]
    if as_json:
        _emit(shown)
    else:
        Console().print_json(data=shown)
    return 0


@models_group.command("verify")
@click.argument("model_id", required=False)
@_settings
def models_verify(
    model_id: str | None, config: Path | None, profile: str | None, state: Path | None, as_json: bool
) -> int:
    """Verify hashes, schema, finite weights and golden outputs; ends with 1 where a model is unsound."""
    from models.registry import Registry

    verdicts = Registry(Settings(config=config, profile=profile, state=state).open_state().models).verify(
        model_id or ""
    )
    if as_json:
        _emit({"verdicts": verdicts})
    else:
        for verdict in verdicts:
            click.echo(f"{verdict.model_id}: {verdict.problem or 'sound'}")
        if not verdicts:
            click.echo("no models yet")
    return EXIT_FAILED if any(verdict.problem for verdict in verdicts) else 0


# --- operators -------------------------------------------------------------------------------------------------

_LEVELS = {
    "no-new-risk": HaltLevel.NO_NEW_RISK,
    "cancel-entries": HaltLevel.CANCEL_ENTRIES,
    "flatten": HaltLevel.FLATTEN,
}


@cli.command()
@click.option("--operator", required=True, help="Who you are; it goes on record.")
@click.option("--reason", required=True, help="Why; it goes on record.")
@click.option(
    "--level",
    type=click.Choice(list(_LEVELS)),
    default="flatten",
    show_default=True,
    help="How far to go; each includes the ones before.",
)
@_settings
def halt(
    operator: str, reason: str, level: str, config: Path | None, profile: str | None, state: Path | None, as_json: bool
) -> int:
    """Throw the kill switch: stop taking risk, now and after every restart.

    Works on a running process within a fifth of a second and needs nothing of it but that it runs. Stays thrown until
    `plimsoll resume`.
    """
    where = Settings(config=config, profile=profile, state=state).open_state()
    where.halt(_LEVELS[level], operator, reason)
    if as_json:
        _emit({"halted": True, "level": level, "state": str(where.folder)})
    else:
        click.echo(f"halted ({level}); lift it with `plimsoll resume --operator NAME --reason WHY`")
    return 0


@cli.command()
@click.option("--operator", required=True, help="Who you are; it goes on record.")
@click.option("--reason", required=True, help="Why it is safe; it goes on record.")
@_settings
def resume(
    operator: str, reason: str, config: Path | None, profile: str | None, state: Path | None, as_json: bool
) -> int:
    """Lift the kill switch and every latched halt of a running process."""
    where = Settings(config=config, profile=profile, state=state).open_state()
    thrown = where.resume(operator, reason)
    if as_json:
        _emit({"halted": False, "was_halted": thrown, "state": str(where.folder)})
    else:
        click.echo(
            "resumed" if thrown else "the kill switch was not thrown; latched halts of a running process are lifted"
        )
    return 0


# --- this machine and its settings -----------------------------------------------------------------------------


@cli.command()
@_settings
def doctor(config: Path | None, profile: str | None, state: Path | None, as_json: bool) -> int:
    """Check this machine: environment, clock, disk, state directory, GPU, optional programs; says what to do."""
    from daemon.doctor import print_checks, run_checks

    settings = Settings(config=config, profile=profile, state=state)
    checks = run_checks(settings.load(), settings.open_state().folder)
    if as_json:
        _emit({"checks": checks, "ok": not any(check.status == "fail" for check in checks)})
    else:
        print_checks(checks, Console())
    return EXIT_FAILED if any(check.status == "fail" for check in checks) else 0


@cli.group("config")
def config_group() -> None:
    """Show and check the configuration."""


@config_group.command("show")
@_settings
def config_show(config: Path | None, profile: str | None, state: Path | None, as_json: bool) -> int:
    """Print every setting in force as TOML, with where it comes from; secrets are masked."""
    loaded = Settings(config=config, profile=profile, state=state).load()
    if as_json:
        _emit(explain(loaded, as_json=True))
    else:
        click.echo(explain(loaded))
    return 0


@config_group.command("check")
@_settings
def config_check(config: Path | None, profile: str | None, state: Path | None, as_json: bool) -> int:
    """Check a configuration: unknown keys, wrong types and impossible values are named with a suggestion."""
    Settings(config=config, profile=profile, state=state).load()
    if as_json:
        _emit({"ok": True})
    else:
        click.echo("the configuration is sound")
    return 0


if __name__ == "__main__":
    sys.exit(main())
