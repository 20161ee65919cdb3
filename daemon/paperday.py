"""What follows a paper day, from its journal alone: the report, the database projection, the figures in one object."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from bus.calendar import to_datetime
from bus.errors import ConfigError, TradingError
from bus.messages import AnyMessage, RunEnded, RunStarted
from daemon.config import Config, explain, mask_url, store_url
from daemon.core import CoreSettings
from daemon.engine import DecisionHash
from daemon.journal import OUTPUT, read
from daemon.report import ReportContext, ReportPaths, write_report
from daemon.state import Run
from daemon.surroundings import RunResult
from risk.adherence import Adherence, Summary


class CoverageRow(msgspec.Struct, frozen=True, kw_only=True):
    """Measured truth of the trading model's widest interval at one horizon; `measured` None = nothing resolved yet."""

    symbol: str
    model_id: str
    horizon: int
    nominal: float
    measured: float | None
    n: int
    low95: float
    high95: float
    mean_width_pips: float


class PaperSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The last line of `plimsoll paper --json`. Money in the account's smallest unit (`money_digits` decimals).

    `pnl` is the change of the balance by trading, `costs` all that stood between it and the profit at mid prices
    (negative), `max_drawdown` the largest fall of floating equity from its peak (negative). `run_s` is the trading
    alone, `duration_s` the whole command, training and report included.
    """

    ended: str
    run: str
    currency: str
    money_digits: int
    quotes: int
    bars: int
    forecasts: int
    patterns: int
    intents: int
    refused: int
    orders: int
    fills: int
    trades: int
    coverage: tuple[CoverageRow, ...]
    pnl: int
    costs: int
    max_drawdown: int
    equity_end: int
    money_conserved: bool
    edge: bool
    verdict: str
    recovered_inputs: int
    quotes_passed_over: int
    run_s: float
    duration_s: float
    journal: str
    report: str
    store: str
    decisions_sha256: str


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """A journal, gone through once."""

    adherence: Adherence
    started: RunStarted
    ended: str
    decisions_sha256: str


def look(journal: Path) -> Looked:
    """Fold a journal into figures.

    Raises:
        ConfigError: it does not begin with a run.
    """
    adherence = Adherence()
    decisions = DecisionHash()
    started: RunStarted | None = None
    ended = "still running, or killed"
    for record in read(journal):
        message = record.message
        adherence.add(record.seq, message)
        if record.kind == OUTPUT:
            decisions.add((message,))
        elif isinstance(message, RunStarted):
            started = message
        elif isinstance(message, RunEnded):
            ended = message.reason
    if started is None:
        raise ConfigError(f"the journal in {journal} holds no run")
    return Looked(
        adherence=adherence,
        started=started,
        ended=ended,
        decisions_sha256=decisions.hexdigest(),
    )


def report_folder(config: Config, run: Run) -> Path:
    """Where a run's report goes: beside its journal, or below the configured folder."""
    return Path(config.report.folder).expanduser() / run.name if config.report.folder else run.report


def report_on(run: Run, config: Config | None = None, looked: Looked | None = None) -> ReportPaths:
    """Write a run's report from its journal.

    Args:
        run: whose report.
        config: shown in the report where it is known; otherwise the settings in the journal are.
        looked: the journal, where somebody has gone through it already.
    """
    looked = looked or look(run.journal)
    started = looked.started
    settings = msgspec.json.decode(started.config_json, type=CoreSettings)
    summary = looked.adherence.summary()
    symbols = tuple(instrument.symbol for instrument in started.instruments)
    context = ReportContext(
        title=f"Adherence report, {started.mode} run {run.name}",
        mode=started.mode,
        symbols=symbols,
        data=settings.data,
        journal=f"run {run.name}, journal/",
        decisions_sha256=looked.decisions_sha256,
        started=f"{to_datetime(summary.ts_first_ns):%Y-%m-%d %H:%M} UTC",
        ended=f"{to_datetime(summary.ts_last_ns):%Y-%m-%d %H:%M} UTC",
        ended_because=looked.ended,
        config=explain(config) if config else "",
    )
    folder = report_folder(config, run) if config else run.report
    return write_report(folder, looked.adherence, context)


def conclude(config: Config, result: RunResult, *, warn: Callable[[str], None]) -> PaperSummary:
    """Report, project and sum up a paper day.

    Args:
        config: where report and database go.
        result: how the day ended.
        warn: told in one line what could not be done; the figures come nevertheless.
    """
    looked = look(result.run.journal)
    report = str(report_on(result.run, config, looked).html) if config.report.enabled else ""
    store = _project(config, result.run, warn) if config.store.enabled else ""
    summary = looked.adherence.summary()
    counts = summary.counts
    return PaperSummary(
        ended=result.reason,
        run=result.run.name,
        currency=summary.currency,
        money_digits=summary.money_digits,
        quotes=counts.quotes,
        bars=counts.bars,
        forecasts=counts.forecasts,
        patterns=counts.patterns,
        intents=counts.intents,
        refused=counts.refused,
        orders=counts.orders,
        fills=counts.fills,
        trades=counts.trades,
        coverage=tuple(_coverage(summary)),
        pnl=summary.conservation.balance_change - summary.conservation.moved,
        costs=summary.total.costs,
        max_drawdown=summary.max_drawdown,
        equity_end=summary.equity_end,
        money_conserved=summary.conservation.exact,
        edge=summary.verdict.edge,
        verdict=summary.verdict.headline,
        recovered_inputs=result.recovered_inputs,
        quotes_passed_over=result.quotes_passed_over,
        run_s=round(result.run_s, 3),
        duration_s=round(result.duration_s(), 3),
        journal=str(result.run.journal),
        report=report,
        store=store,
        decisions_sha256=looked.decisions_sha256,
    )


def _coverage(summary: Summary) -> Iterator[CoverageRow]:
    for row in summary.forecasts:
        if row.active and row.levels:
            widest = row.levels[0]
            yield CoverageRow(
                symbol=row.symbol,
                model_id=row.model_id,
                horizon=row.horizon,
                nominal=widest.level,
                measured=widest.measured if widest.n else None,
                n=widest.n,
                low95=widest.low,
                high95=widest.high,
                mean_width_pips=widest.mean_width_pips,
            )


def _project(config: Config, run: Run, warn: Callable[[str], None]) -> str:
    """Bring the database up to date with the journal; what it has already is skipped.

    Returns:
        Its URL without password; empty where the database does not take it, which costs nothing but the projection.
    """
    from adapters.store.store import Store  # SQLAlchemy: loaded when there is something to project

    url = store_url(config)
    records: Iterator[tuple[int, AnyMessage]] = ((record.seq, record.message) for record in read(run.journal))
    try:
        with Store.open(url) as store:
            store.apply(records)
    except TradingError as error:
        warn(f"the database was not brought up to date ({error}); the journal of run {run.name} has it all")
        return ""
    return mask_url(url)


def print_conclusion(summary: PaperSummary, console: Console) -> None:
    """The same for people."""
    unit = 10**summary.money_digits
    console.print()
    console.print(f"[bold]{summary.verdict}[/]")
    console.print(
        f"{summary.trades} trades, {summary.refused} of {summary.intents} intents refused; balance "
        f"{summary.pnl / unit:+,.2f} {summary.currency} of which costs {summary.costs / unit:+,.2f}; largest drawdown "
        f"{summary.max_drawdown / unit:,.2f}; money {'adds up' if summary.money_conserved else 'DOES NOT ADD UP'}"
    )
    table = Table("horizon", "nominal", "measured", "95 % interval", "n", "mean width", box=None, header_style="dim")
    for row in summary.coverage:
        measured = "-" if row.measured is None else f"{row.measured:.1%}"
        table.add_row(
            f"{row.symbol} {row.horizon} bars",
            f"{row.nominal:.0%}",
            measured,
            f"{row.low95:.1%} to {row.high95:.1%}",
            str(row.n),
            f"{row.mean_width_pips:.1f} pips",
        )
    console.print(table)
    if summary.ended != "end of data":
        console.print(f"stopped by {summary.ended}; the same command continues this run")
    console.print(f"decisions sha256 {summary.decisions_sha256}", soft_wrap=True, highlight=False)
    if summary.report:
        console.print(f"report: {summary.report}", soft_wrap=True, highlight=False)
