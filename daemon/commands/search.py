"""`plimsoll train search`: search a network's settings, and tell how much of what it finds is luck."""

from pathlib import Path
from typing import Any

import click
import msgspec

from daemon.commands.common import Settings, console_for, emit, with_settings
from daemon.progress import progress_bar
from models.searching import PRUNERS, SAMPLERS


@click.command("search")
@click.option(
    "--data", "path", type=click.Path(path_type=Path, exists=True), help="Market data as for `plimsoll paper`."
)
@click.option(
    "--symbol", "symbols", multiple=True, metavar="PAIR", help="Only this symbol; may be given several times."
)
@click.option("--clock", metavar="ZONE", help="Clock of the data's timestamps.")
@click.option("--seed", type=int, help="Equal seeds give equal trials, in one process.")
@click.option("--model", metavar="NAME", help="The network.  [default: models.architectures, where it is one]")
@click.option("--trials", type=click.IntRange(1), help="Finished trials that the study is to have, over all processes.")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(0.0), metavar="SECONDS", help="Begin no further trial after."
)
@click.option("--sampler", type=click.Choice(list(SAMPLERS)), help="Which values are tried next.")
@click.option("--pruner", type=click.Choice(list(PRUNERS)), help="Which trials are not worth their end.")
@click.option(
    "--objective",
    type=click.Choice(["crps", "crps_and_time"]),
    help="What is less of: CRPS as a share of the random walk's, or that and the time of a forecast.",
)
@click.option(
    "--only", "parameters", multiple=True, metavar="PARAMETER", help="Search this alone; may be given repeatedly."
)
@click.option("--study", metavar="NAME", help="The study to begin or go on with.  [default: made of what it searches]")
@click.option("--storage", metavar="URL", help="Database of the trials.  [default: search.storage, else the store's]")
@click.option("--spaces", is_flag=True, help="List what may be searched of the network, or of all, and stop there.")
@click.option("--dry-run", is_flag=True, help="Tell what would be searched, and stop there.")
@with_settings
def search(
    settings: Settings,
    *,
    path: Path | None,
    model: str | None,
    symbols: tuple[str, ...],
    clock: str | None,
    seed: int | None,
    spaces: bool,
    dry_run: bool,
    **chosen: Any,
) -> int:
    """Search the settings of one network: width, dropout, penalties, learning rate, batch ...

    A trial trains on the first part of the bars that models learn from, and is judged by its CRPS on a later slice of
    them, as a share of the random walk's on the same rows. The calibration and the traded part are never looked at.
    The first trial is what `plimsoll train` does without a search. In the end the best is asked on a slice that no
    trial saw, beside the defaults and the random walk: many attempts find luck, and the report says how much.

    The same command goes on where a search was, whatever ended it; --trials counts what is finished. The same command
    in several processes, or on several machines with one PostgreSQL, shares the study. The trials are kept in the
    store's database. What was found is STATE/searches/NAME/: report.html, report.json and search.toml, which
    `plimsoll train --config` takes as it is.

    \b
    Samplers:
      tpe      learns from what was tried; the default
      random   each value for itself
      grid     every combination of search.grid_points values a parameter
      qmc      as even as so few points can lie
      nsga2    for --objective crps_and_time

    \b
    Pruners, for networks that learn in epochs:
      median, hyperband, successive_halving, none;  auto = median where it can

    \b
    Examples:
      plimsoll train search --model tcn --spaces
      plimsoll train search --data hours --symbol EURUSD --model tcn --trials 60
      plimsoll train search --data hours --model gru --only width --only learning_rate --sampler grid
      plimsoll train search --model mlp --objective crps_and_time --sampler nsga2 --timeout 3600
      plimsoll train --config STATE/searches/NAME/search.toml
    """  # noqa: D301 (click keeps the lines of a paragraph that begins so)
    if spaces:
        return _spaces(settings, model)
    from daemon.app import load_data
    from daemon.searching import Searching, planned

    loaded = settings.load(
        data__path=None if path is None else str(path.resolve()),
        data__symbols=tuple(symbol.upper() for symbol in symbols),
        data__clock=clock,
        models__seed=seed,
        **{f"search__{name}": value for name, value in chosen.items()},
    )
    data = load_data(loaded)
    plan = planned(loaded, data, _model(model, loaded))
    if dry_run:
        return _plan(settings, loaded, plan)
    state = settings.open_state() if settings.state else _state_of(loaded)
    state.create()
    searching = Searching(loaded, data, plan, state)
    console = console_for(stderr=True)
    with progress_bar("searching", console, hidden=settings.as_json) as told:

        def say(line: str) -> None:
            if not settings.as_json:
                console.print(line, highlight=False, soft_wrap=True, markup=False)

        report = searching.run(told, say)
    if settings.as_json:
        emit({"report": msgspec.structs.replace(report, trials=()), "folder": str(searching.folder)})
        return 0
    from daemon.searchreport import table

    rows = table(report)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    for line in report.verdict:
        click.echo(line)
    click.echo(f"{searching.folder / 'report.html'}")
    click.echo(f"plimsoll train --config {searching.folder / 'search.toml'}")
    return 0


def _state_of(config: Any) -> Any:
    from daemon.config import state_dir
    from daemon.state import State

    return State(state_dir(config))


def _model(given: str | None, config: Any) -> str:
    from bus.errors import ConfigError

    names = config.models.architectures
    if given is None and len(names) != 1:
        raise ConfigError(f"which network? give --model with one of {', '.join(_searchable())}")
    model = given or names[0]
    if model not in _searchable():
        raise ConfigError(f"--model {model}: it has nothing to search; there are {', '.join(_searchable())}")
    return model


def _searchable() -> tuple[str, ...]:
    """Names of the networks that have a space."""
    from models.contract import space_of
    from models.nets import architectures, known

    return tuple(name for name, net in architectures(known()).items() if space_of(net))


def _spaces(settings: Settings, model: str | None) -> int:
    from models.contract import space_of
    from models.nets import architectures

    names = _searchable() if model is None else (_model(model, settings.load()),)
    nets = architectures(names)
    if settings.as_json:
        emit({"spaces": {name: space_of(net) for name, net in nets.items()}})
        return 0
    for name, net in nets.items():
        click.echo(name)
        for each in space_of(net):
            default = f"{each.default:g}" if isinstance(each.default, float) else str(each.default)
            even = ", by its logarithm" if getattr(each, "log", False) else ""
            about = f"{each.about}{', in [training]' if each.section == 'training' else ''}"
            click.echo(f"  {each.name:<15} {each.words + even:<50} default {default:<9} {about}")
    click.echo("What is not in [training] stands in [models.parameters.NAME].")
    return 0


def _plan(settings: Settings, config: Any, plan: Any) -> int:
    chosen = config.search
    pruner = chosen.pruning(plan.model)
    if settings.as_json:
        emit({"study": plan.name, "model": plan.model, "space": plan.space, "defaults": plan.defaults,
              "sampler": chosen.sampler, "pruner": pruner, "trials": chosen.trials})  # fmt: skip
        return 0
    from daemon.config import mask_url

    lines = {
        "study": plan.name,
        "storage": mask_url(plan.storage),
        "network": plan.model,
        "trials": f"{chosen.trials}, the first with the defaults",
        "sampler": f"{chosen.sampler}: {SAMPLERS[chosen.sampler]}",
        "pruner": f"{pruner}: {PRUNERS[pruner]}",
        "judged on": f"{chosen.judge_pct} % of the bars to learn from; {chosen.later_pct} % after them are kept back",
        **{each.name: f"{each.words}; {plan.defaults[each.name]} without a search" for each in plan.space},
    }
    width = max(map(len, lines))
    for name, words in lines.items():
        click.echo(f"{name:<{width}}  {words}")
    click.echo("nothing was tried; leave --dry-run out to begin")
    return 0
