"""`plimsoll validate`: do intervals tell the truth and do forecasters earn anything, on a market's own history?"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from bus.calendar import to_ns
from bus.errors import ConfigError
from daemon.commands.common import Settings, console_for, emit, with_settings
from daemon.progress import progress_bar


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
@click.option(
    "--models",
    metavar="ridge,mlp",
    default="ridge",
    show_default=True,
    help="Forecasters to train over expanding windows, ensembles of them too: names, all, or none (the walk alone).",
)
@click.option("--folds", type=int, default=5, show_default=True, help="Windows; all is trained anew before each.")
@click.option(
    "--embargo", type=int, help="Bars between training and test, beside the purge.  [default: the features' look-back]"
)
@click.option("--seed", type=int, default=7, show_default=True, help="Of trainings and samples.")
@click.option(
    "--cost-pips", type=float, default=0.8, show_default=True, help="Spread of a round trip where the data have no ask."
)
@click.option("--trials", type=int, default=0, help="Configurations tried in all, if more than this run's.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write the tables and plots as one page.")
@click.option(
    "--protocol",
    type=click.Choice(["gluonts"]),
    help="Measure on the public exchange-rate benchmark instead; --data is its file.",
)
@click.option("--samples", type=int, default=1000, show_default=True, help="Paths a forecast, with --protocol.")
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
    models: str,
    folds: int,
    embargo: int | None,
    seed: int,
    cost_pips: float,
    trials: int,
    html: Path | None,
    protocol: str | None,
    samples: int,
) -> int:
    r"""Measure intervals and forecasters on history, each beside the random walk.

    Intervals: every volatility model and every way to make an interval of it. Parameters come from the older bars, what
    learns online learns through all of them, and forecasts issued on the newer bars count. Labels come as late as they
    would have come. `seasonal-random-walk` with `pid` is what the daemon uses.

    Forecasters: trained anew before each of a few windows on everything older, with purge and embargo; directions,
    errors, CRPS, coverage, profit after costs and its deflated Sharpe ratio, and whether horizons contradict.

    \b
    Examples:
      plimsoll validate --data bars/H1 --symbols EURUSD,USDJPY --horizons 1h,4h,1d --level 0.9 --json
      plimsoll validate --data bars/H1 --models all --html validation.html
      plimsoll validate --protocol gluonts --data exchange_rate.txt.gz
    """
    if protocol is not None:
        return _benchmark(settings, path, models=_names(models), samples=samples, seed=seed, html=html)
    from daemon.research.validation import Wanted, run  # research loads scipy; no other command should

    wanted = Wanted(
        path=path,
        symbols=tuple(symbol.upper() for symbol in _listed(symbols)),
        horizons=_listed(horizons),
        level=level,
        test_fraction=test_fraction,
        window_days=window,
        since_ns=_date(since, "--since"),
        until_ns=_date(until, "--until"),
        clock=clock,
        models=_names(models),
        folds=folds,
        embargo=embargo,
        seed=seed,
        cost_pips=cost_pips,
        trials=trials,
    )
    console = console_for(stderr=True)
    with progress_bar("validating", console, hidden=settings.as_json) as told:
        outcome = run(wanted, told)
    if html is not None:
        from daemon.report.validation import write_validation  # matplotlib

        write_validation(html, outcome)
    result = outcome.validation
    if settings.as_json:
        emit(result)
        return 0
    for note in result.notes:
        console.print(f"{note}", style="yellow", markup=False)
    _print(msgspec.to_builtins(result), console_for())
    return 0


def _benchmark(
    settings: Settings, path: Path, *, models: tuple[str, ...], samples: int, seed: int, html: Path | None
) -> int:
    if html is not None:
        raise ConfigError("--html has no page for --protocol; take --json, or the table")
    from daemon.research.benchmark import run_benchmark

    with progress_bar("validating", console_for(stderr=True), hidden=settings.as_json) as told:
        result = run_benchmark(path, models=models, samples=samples, seed=seed, progress=told)
    if settings.as_json:
        emit(result)
        return 0
    console = console_for()
    for protocol in dict.fromkeys(row.protocol for row in result.rows):
        table = Table("model", *_SCORES, title=result.protocols[protocol], title_justify="left", box=None,
                      padding=(0, 1, 0, 0), pad_edge=False)  # fmt: skip
        for row in result.rows:
            if row.protocol == protocol:
                table.add_row(row.model, *(_number(getattr(row, field), digits) for field, digits in _SCORES.values()))
        console.print(table)
    for note in result.notes:
        console.print(note, markup=False)
    return 0


_SCORES = {
    "CRPS": ("crps_19", 5),
    "9 levels": ("crps_9", 5),
    "fair": ("crps_fair", 5),
    "CRPS-sum": ("crps_sum_19", 5),
    "fair sum": ("crps_sum_fair", 5),
    "in 90 %": ("coverage_90", 3),
    "MASE": ("mase", 3),
}


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _names(text: str) -> tuple[str, ...]:
    names = _listed(text)
    return () if names == ("none",) else names


def _date(text: str | None, option: str) -> int | None:
    if text is None:
        return None
    try:
        return to_ns(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC))
    except ValueError as error:
        raise ConfigError(f"{option} {text!r}; write a date such as 2016-01-07") from error


_COLUMNS = ("symbol", "", "model, method", "coverage (95 %)", "worst", "width", "Winkler", "CRPS")


def _print(result: dict[str, Any], console: Console) -> None:
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
    if result["skill"]:
        _print_forecasters(result, console)


_SKILL = ("symbol", "", "model", "right (95 %)", "RMSE", "MAE", "CRPS", "t", "coverage")
_TRADING = ("symbol", "", "model, rule", "net %/y", "Sharpe (95 %)", "deepest", "deflated")


def _print_forecasters(result: dict[str, Any], console: Console) -> None:
    table = Table(*_SKILL, box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for row in result["skill"]:
        right = "-"
        if row["directional_accuracy"] is not None:
            right = f"{row['directional_accuracy']:.3f} ({row['directional_lo']:.2f}-{row['directional_hi']:.2f})"
        table.add_row(
            row["symbol"], row["horizon"], row["model"] + (" LEAK?" if row["leak_suspected"] else ""), right,
            *(_number(row[field], digits) for field, digits in
              (("rmse", 2), ("mae", 2), ("crps", 3), ("crps_t", 1), ("coverage", 3))),
        )  # fmt: skip
    console.print(table)
    table = Table(*_TRADING, box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for row in result["trading"]:
        ratio = "-"
        if row["sharpe"] is not None:
            ratio = f"{row['sharpe']:.2f} ({row['sharpe_lo']:.1f} to {row['sharpe_hi']:.1f})"
        table.add_row(row["symbol"], row["horizon"], f"{row['model']}, {row['rule']}", _number(row["net"], 2), ratio,
                      _number(row["drawdown"], 2), _number(row["dsr"], 3))  # fmt: skip
    console.print(table)
    for row in result["agreement"]:
        if row["contradictions"] is not None:
            console.print(
                f"{row['symbol']}, {row['model']}: {row['short']} against {row['long']} in "
                f"{100 * row['contradictions']:.1f} % of {row['called']} calls"
                + (" (flagged)" if row["flagged"] else "")
            )
    console.print(f"[bold]{result['verdict']['headline']}[/]")
    for sentence in result["verdict"]["sentences"]:
        console.print(sentence, markup=False, highlight=False)


def _share(row: dict[str, Any]) -> str:
    return f"{_number(row['coverage'], 3)} ({_number(row['coverage_lo'], 3)}-{_number(row['coverage_hi'], 3)})"


def _number(value: object, digits: int) -> str:
    return f"{value:.{digits}f}" if isinstance(value, float) else "-"
