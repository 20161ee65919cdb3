"""`plimsoll train`: train and publish, or say what that would do; and control what trains."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from daemon.commands.common import Settings, console_for, emit, with_settings
from daemon.config import Config
from daemon.progress import progress_bar
from daemon.state import State
from models.learning import COMMANDS, Command, TrainingStopped

if TYPE_CHECKING:
    from daemon.marketdata import MarketData
    from daemon.trainingrun import TrainingRun

_STOPPED = 130


@click.group(invoke_without_command=True)
@click.option(
    "--data", "path", type=click.Path(path_type=Path, exists=True), help="Market data as for `plimsoll paper`."
)
@click.option(
    "--symbol", "symbols", multiple=True, metavar="PAIR", help="Only this symbol; may be given several times."
)
@click.option("--symbols", "listed", metavar="PAIR,PAIR", help="The same, several at once.")
@click.option("--since", metavar="DAY", help="Leave out prices before this day, for instance 2016-01-01.")
@click.option("--learn-until", metavar="DAY", help="Where learning ends, in place of data.train_pct.")
@click.option("--calibrate-until", metavar="DAY", help="Where calibration ends, likewise.")
@click.option("--clock", metavar="ZONE", help="Clock of the data's timestamps.")
@click.option("--seed", type=int, help="Equal seeds give equal models.")
@click.option(
    "--model",
    "architectures",
    multiple=True,
    metavar="NAME",
    help="What to train; may be given several times. See `plimsoll models architectures`.",
)
@click.option("--stage", is_flag=True, help="Publish beside what is in force, for a running daemon to try.")
@click.option(
    "--strategy",
    type=click.Choice(["fast", "balanced", "accurate"]),
    help="How the networks of PyTorch are trained.  [default: training.strategy]",
)
@click.option("--dry-run", is_flag=True, help="Tell the plan, every choice with its reason, and stop there.")
@click.option(
    "--parallel",
    type=click.IntRange(1, 64),
    metavar="N",
    help="Symbols that are trained at the same time.  [default: one on each GPU; one where there is none]",
)
@click.option("--run", "run_name", metavar="NAME", help="The training run to begin or continue.")
@click.option("--if-drifted", is_flag=True, help="Only where the last run's journal says that a model drifted.")
@click.option(
    "--older-than-d",
    type=click.IntRange(0, 10_000),
    default=0,
    metavar="DAYS",
    help="With --if-drifted: also where the newest models have seen no bar of the last DAYS.  [default: off]",
)
@click.option("--new", is_flag=True, help="Begin a new run even where an unfinished one could be continued.")
@with_settings
def train(
    settings: Settings,
    *,
    path: Path | None,
    symbols: tuple[str, ...],
    listed: str | None,
    since: str | None,
    learn_until: str | None,
    calibrate_until: str | None,
    clock: str | None,
    seed: int | None,
    architectures: tuple[str, ...],
    stage: bool,
    strategy: str | None,
    dry_run: bool,
    parallel: int | None,
    run_name: str | None,
    if_drifted: bool,
    older_than_d: int,
    new: bool,
) -> int:
    """Train, calibrate and publish models: the default ones, or those that are named.

    The first 60 % of the bars are learnt from, the next 20 % calibrate the intervals, the rest is never looked at;
    of very long histories, the newest 250,000 and 50,000 bars of these parts. Publishing is atomic; the last five
    releases are kept. A running daemon lets the new models in beside those that trade and compares them
    (`plimsoll models list`); a new run begins with them, unless --stage leaves in force what is.

    What is found on the machine decides how the networks of PyTorch are trained; [training] in the configuration
    overrules it. Ctrl-C and SIGTERM save and stop, SIGUSR1 saves, SIGUSR2 pauses and goes on; the same command
    continues a run that was not finished. Under torchrun several processes train together; name the run with --run.

    Several symbols are trained each in a process and a run of its own, one after another, or one on each GPU. One that
    fails leaves the others as they are; a table says what became of each, and the exit status whether all were
    published. The same command trains those that were not.

    \b
    Examples:
      plimsoll train --data hours --symbol EURUSD
      plimsoll train --symbols EURUSD,GBPUSD --learn-until 2021-01-01 --calibrate-until 2022-01-01
      plimsoll train --model tcn --model gru --strategy accurate --dry-run
      torchrun --nproc-per-node 2 .venv/bin/plimsoll train --model tcn --run nightly
      plimsoll train --stage --if-drifted --older-than-d 30
      plimsoll train control 0001 pause
    """  # noqa: D301 (click keeps the lines of a paragraph that begins so)
    if click.get_current_context().invoked_subcommand is not None:
        return 0
    from daemon.app import load_data
    from daemon.marketdata import check_parts

    named = (*symbols, *(name for name in (listed or "").split(",") if name.strip()))
    loaded = settings.load(
        data__path=None if path is None else str(path.resolve()),
        data__symbols=tuple(dict.fromkeys(name.strip().upper() for name in named)),
        data__since=since,
        data__learn_until=learn_until,
        data__calibrate_until=calibrate_until,
        data__clock=clock,
        models__seed=seed,
        models__architectures=architectures,
        training__strategy=strategy,
    )
    if if_drifted and not _reasons(settings, loaded, older_than_d):
        return 0
    data = load_data(loaded, check=False)
    rank, world = (int(os.environ.get(name, default)) for name, default in (("RANK", "0"), ("WORLD_SIZE", "1")))
    several = len(data.symbols) > 1 and world == 1
    if dry_run or not several:
        check_parts(data)
    if dry_run:
        return _plan(settings, loaded, data, parallel or 0)
    from daemon.trainingqueue import settled
    from daemon.trainingrun import choose

    where = settings.open_state()
    where.create()
    if several:
        loaded = settled(loaded, data)
    run = choose(where.folder / "training", loaded, run_name, new=new, rank=rank, world=world)
    if several:
        return _train_several(settings, where, loaded, run, parallel or 0, stage=stage)
    return _train_one(settings, where, loaded, data, run, stage=stage, writes=rank == 0)


def _train_one(
    settings: Settings,
    state: State,
    config: Config,
    data: "MarketData",
    run: "TrainingRun",
    *,
    stage: bool,
    writes: bool,
) -> int:
    """Train within this process."""
    from daemon.training import train_in_a_run

    console, quiet = console_for(stderr=True), settings.as_json or not writes
    try:
        with progress_bar("training", console, hidden=quiet) as shown:
            releases = train_in_a_run(state, config, data, run, show=shown, stage=stage)
    except TrainingStopped as stopped:
        click.echo(f"stopped: {stopped}", err=True)
        return _STOPPED
    if settings.as_json and writes:
        emit({"releases": releases, "run": run.name, "report": str(run.folder / "report.html")})
    elif writes:
        for release in releases:
            word = "is staged" if stage and release.number > 1 else "trades"
            click.echo(f"published {', '.join(release.models)}; {release.active} {word}")
        click.echo(f"training run {run.name}: {run.folder / 'report.html'}")
    return 0


def _train_several(
    settings: Settings, state: State, config: Config, run: "TrainingRun", parallel: int, *, stage: bool
) -> int:
    """Train each symbol in a process of its own, and say what became of each."""
    from daemon.trainingqueue import devices_for, exit_status, places, table, train_symbols, words

    where = places(devices_for(config), parallel)
    console = console_for(stderr=True)
    if not settings.as_json:
        console.print(words(len(config.data.symbols), where), markup=False, highlight=False)
    with progress_bar("training", console, hidden=settings.as_json) as shown:
        outcomes = train_symbols(state, config, run, where, show=shown, stage=stage)
    if settings.as_json:
        releases = [release for each in outcomes for release in each.releases]
        emit({"releases": releases, "run": run.name, "report": str(run.folder / "report.html"), "symbols": outcomes})
    else:
        click.echo(table(outcomes))
        click.echo(f"training run {run.name}: {run.folder / 'report.html'}")
    return exit_status(outcomes)


def _reasons(settings: Settings, config: Any, older_than_d: int) -> bool:
    """Say why to train, or that there is no reason; whether there is one."""
    from daemon.drifted import why_train
    from models.registry import Registry

    state = settings.open_state()
    registry = Registry(state.models, config.models.trust)
    reasons = why_train(state, registry, older_than_d=older_than_d, now_ns=time.time_ns())
    for reason in reasons:
        click.echo(f"training, because {reason}", err=True)
    if not reasons:
        if settings.as_json:
            emit({"releases": [], "reasons": []})
        else:
            click.echo("nothing has drifted: nothing is trained")
    return bool(reasons)


def _plan(settings: Settings, config: Config, data: "MarketData", parallel: int) -> int:
    from daemon.training import plans_of
    from daemon.trainingqueue import devices_for, places, words
    from models.train.engine.choices import table

    told = plans_of(config, data)
    where = places(devices_for(config), parallel)
    if settings.as_json:
        plans = {key: [_fields(line) for line in lines] for key, lines in told.items()}
        emit({"plans": plans, "places": [str(place) for place in where]})
        return 0
    if len(data.symbols) > 1:
        click.echo(f"{words(len(data.symbols), where)}\n")
    for key, lines in told.items():
        click.echo(f"{key}\n{table(lines)}\n")
    click.echo("nothing was trained; leave --dry-run out to begin")
    return 0


def _fields(line: Any) -> dict[str, str]:
    return msgspec.to_builtins({"what": line.what, "runs": line.runs, "why": line.why})


@train.command("control")
@click.argument("run_name", metavar="RUN")
@click.argument("command", type=click.Choice(list(COMMANDS)))
@with_settings
def control(settings: Settings, run_name: str, command: Command) -> int:
    """Pause, resume, stop or save a training run that is running. It obeys between two steps.

    `stop` saves first; the command that began the run continues it.
    """
    from daemon.trainingrun import named

    run = named(settings.open_state().folder / "training", run_name)
    run.ask(command)
    if settings.as_json:
        emit({"run": run.name, "asked": command})
    else:
        click.echo(f"training run {run.name} is asked to {command}")
    return 0


@train.command("report")
@click.argument("run_name", metavar="RUN")
@with_settings
def report(settings: Settings, run_name: str) -> int:
    """Write the page of a training run again, also of one that still runs."""
    from daemon.trainingreport import write_report
    from daemon.trainingrun import named

    path = write_report(named(settings.open_state().folder / "training", run_name).folder)
    if settings.as_json:
        emit({"report": str(path)})
    else:
        click.echo(str(path))
    return 0
