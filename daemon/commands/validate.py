"""`plimsoll validate`: do the intervals tell the truth, on a market's own history?"""

from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from bus.calendar import to_ns
from bus.errors import ConfigError
from daemon.commands.common import Settings, console_for, emit, with_settings
from daemon.research.validation import Wanted, run


@click.command()
@click.option(
    "--data",
    "path",
    type=click.Path(path_type=Path, exists=True),
    required=True,
    help="Bars as Parquet, CSV or any format of `plimsoll paper`: one file a symbol, or a bid and an ask file.",
)
@click.option("--symbols", metavar="EURUSD,…", default="", help="Which symbols.  [default: all in the data]")
@click.option("--horizons", metavar="1h,4h,1d", default="1h,4h,1d", show_default=True, help="How far ahead.")
@click.option("--level", type=float, default=0.9, show_default=True, help="What the intervals promise.")
@click.option(
    "--test-fraction",
    type=float,
    default=0.3,
    show_default=True,
    help="Share of the bars, the newest, whose forecasts count.",
)
@click.option("--window", type=int, default=250, show_default=True, help="Trading days of the worst window.")
@click.option("--since", metavar="DATE", help="Use bars from this UTC date on, for instance 2016-01-07.")
@click.option("--until", metavar="DATE", help="Use bars before this UTC date.")
@click.option("--clock", metavar="ZONE", help="Clock of the data's timestamps.")
@with_settings
def validate(
    settings: Settings,
    *,
    path: Path,
    symbols: str,
    horizons: str,
    level: float,
    test_fraction: float,
    window: int,
    since: str | None,
    until: str | None,
    clock: str | None,
) -> int:
    r"""Measure the intervals on history: coverage, width, Winkler score, CRPS, the worst year.

    Every volatility model and every way to make an interval of it, the random walk's always among them. Parameters
    come from the older bars, what learns online learns through all of them, and forecasts issued on the newer bars
    count. Labels come as late as they would have come. `seasonal-random-walk` with `pid` is what the daemon uses.

    \b
    Example:
      plimsoll validate --data bars/H1 --symbols EURUSD,USDJPY --horizons 1h,4h,1d --level 0.9 --json
    """
    wanted = Wanted(
        path=path,
        symbols=tuple(symbol.strip().upper() for symbol in symbols.split(",") if symbol.strip()),
        horizons=tuple(horizon.strip() for horizon in horizons.split(",") if horizon.strip()),
        level=level,
        test_fraction=test_fraction,
        window_days=window,
        since_ns=_date(since, "--since"),
        until_ns=_date(until, "--until"),
        clock=clock,
    )
    console = console_for(stderr=True)
    columns = (TextColumn("[bold]validating[/]"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
               TimeRemainingColumn(), TextColumn("{task.description}"))  # fmt: skip
    with Progress(*columns, console=console, disable=settings.as_json) as bar:
        task = bar.add_task("", total=1.0)
        result = run(wanted, lambda stage, share: bar.update(task, completed=share, description=stage))
    if settings.as_json:
        emit(result)
        return 0
    for note in result.notes:
        console.print(f"{note}", style="yellow", markup=False)
    _print(msgspec.to_builtins(result), console_for())
    return 0


def _date(text: str | None, option: str) -> int | None:
    if text is None:
        return None
    try:
        return to_ns(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC))
    except ValueError as error:
        raise ConfigError(f"{option} {text!r}; write a date such as 2016-01-07") from error


_COLUMNS = ("symbol", "", "model, method", "coverage (95 %)", "worst", "width", "Winkler", "CRPS")


def _print(result: dict[str, list[dict[str, object]]], console: Console) -> None:
    table = Table(*_COLUMNS, box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for row in result["rows"]:
        default = [row["model"], row["method"]] == result["default"]
        table.add_row(
            str(row["symbol"]),
            str(row["horizon"]),
            f"{str(row['model']).removesuffix('-random-walk')}, {row['method']}",
            _share(row),
            _number(row["worst_window_coverage"], 3),
            _number(row["width"], 1),
            _number(row["winkler"], 2),
            _number(row["crps"], 2),
            style="bold" if default else "",
        )
    console.print(table)
    for row in result["joint"]:
        console.print(
            f"{row['symbol']}, all horizons together, {row['method']}: {_share(row)}, width {_number(row['width'], 1)}"
        )
    console.print("worst: the lowest coverage of a whole window; width, Winkler score and CRPS in basis points")


def _share(row: dict[str, object]) -> str:
    return f"{_number(row['coverage'], 3)} ({_number(row['coverage_lo'], 3)}-{_number(row['coverage_hi'], 3)})"


def _number(value: object, digits: int) -> str:
    return f"{value:.{digits}f}" if isinstance(value, float) else "-"
