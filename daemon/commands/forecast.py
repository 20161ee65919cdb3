"""`plimsoll forecast`: what the models say about every bar of a file."""

from pathlib import Path

import click

from daemon.commands.common import Settings, console_for, emit, with_settings
from daemon.progress import progress_bar


@click.command()
@click.option(
    "--data",
    "path",
    type=click.Path(path_type=Path, exists=True),
    required=True,
    help="Bars or ticks in any format of `plimsoll paper`: a file or a folder.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The table to write: .parquet, .csv or .jsonl.",
)
@click.option("--symbol", "symbols", multiple=True, metavar="EURUSD", help="Which symbols.  [default: all with models]")
@click.option("--clock", metavar="ZONE", help="Clock of the data's timestamps.")
@with_settings
def forecast(settings: Settings, *, path: Path, out: Path, symbols: tuple[str, ...], clock: str | None) -> int:
    r"""Forecast every bar of a history with the models in force, the random walk's forecast beside each.

    One row a bar, model and horizon: the price at the bar's close, the point forecast, its scale (one sigma), the
    calibrated interval of every configured level, and the price that came. Intervals are those that a daemon would have
    given at that bar: they know nothing that came after it. Rows that a model has learnt from are marked `seen`; there
    it looks better than it is.

    \b
    Example:
      plimsoll forecast --data bars/EURUSD.csv --out forecasts.parquet
    """
    from daemon.app import spread_model
    from daemon.research.scoring import Wanted, run
    from models.registry import Registry

    loaded = settings.load()
    wanted = Wanted(
        path=path,
        out=out,
        symbols=tuple(symbol.upper() for symbol in symbols),
        clock=clock,
        levels_ppm=loaded.forecast.levels_ppm,
    )
    console = console_for(stderr=True)
    with progress_bar("forecasting", console, hidden=settings.as_json) as told:
        result = run(
            wanted,
            Registry(settings.open_state().models, loaded.models.trust),
            lambda symbol: spread_model(loaded, symbol),
            told,
        )
    if settings.as_json:
        emit(result)
        return 0
    for note in result.notes:
        console.print(note, style="yellow", markup=False)
    for each in result.symbols:
        marked = f", {each.seen:,} of them about bars that a model has learnt from" if each.seen else ""
        click.echo(f"{each.symbol}: {each.bars:,} bars, {', '.join(each.models)}: {each.rows:,} rows{marked}")
    click.echo(f"written to {result.out}")
    return 0
