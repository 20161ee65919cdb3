"""`plimsoll report`: the page of the last run, of a day, a week, a month, or of one trade."""

import functools
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from daemon.commands.common import Settings, console_for, emit, run_of, with_settings
from daemon.progress import progress_bar
from daemon.state import Run, State


class Reports(click.Group):
    """`plimsoll report [RUN]` is that of a run, as it was before there were others."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Whatever names no kind of report is of a run."""
        kinds = {"-h", "--help", *self.commands}
        if not args or args[0] not in kinds:
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group("report", cls=Reports)
def report() -> None:
    """Write reports, from journals alone: of a run, a trading day, a week, a month or one trade.

    \b
    plimsoll report [RUN]            the run as a whole; by default the last one
    plimsoll report daily            the trading day that the journals end in
    plimsoll report weekly --date 2018-05-01
    plimsoll report trade 17         everything about one trade
    """  # noqa: D301 (click keeps the lines of a paragraph that begins so)


@report.command("run")
@click.argument("run", required=False)
@with_settings
def run_report(settings: Settings, run: str | None) -> int:
    """Write a run's adherence report again, from its journal alone.

    RUN is a run's number or folder; by default the last run. Gives HTML (self-contained, works offline), JSON and CSV.
    """
    from daemon.paperday import report_on

    paths = report_on(run_of(settings.open_state(), run), settings.load())
    if settings.as_json:
        emit({"report": str(paths.html), "json": str(paths.json), "csv": [str(path) for path in paths.csvs]})
    else:
        click.echo(f"report: {paths.html}")
    return 0


def _written(command: Callable[..., int]) -> Callable[..., int]:
    """Which runs a report is of, and what is written where."""

    @click.option(
        "--run",
        "names",
        multiple=True,
        metavar="RUN",
        help="Number or folder, as often as you like.  [default: the last run, and those before it that "
        "traded in its mode; a paper run alone]",
    )
    @click.option(
        "--out",
        type=click.Path(path_type=Path, file_okay=False),
        help="Where it is written.  [default: reports/KIND-KEY in the state directory]",
    )
    @click.option("--html", is_flag=True, help="Write HTML (self-contained, works offline).")
    @click.option("--csv", is_flag=True, help="Write CSV, a file a table.")
    @click.option("--pdf", is_flag=True, help="Write a PDF, through chromium or chrome.")
    @click.option("--audit", "audited", is_flag=True, help="Audit positions and money as well; takes longer.")
    @click.option("--open", "shown", is_flag=True, help="Open the page in a browser.")
    @functools.wraps(command)
    def wrapped(*args: Any, **options: Any) -> int:
        return command(*args, **options)

    return wrapped  # fmt: skip


def _period_command(kind: str, what: str) -> click.Command:
    @report.command(
        kind,
        help=f"Write the report of {what}.\n\nWithout --html, --json, --csv or --pdf it is written "
        "as HTML, JSON and CSV; with some of them, in those. --json prints one line for machines too.",
    )
    @click.option(
        "--date",
        "wanted",
        metavar="DATE",
        help="A date in it (2018-05-01), a week (2018-W18) or month "
        "(2018-05), or last: the newest that has ended.  [default: where the journals end]",
    )
    @_written
    @with_settings
    def command(settings: Settings, wanted: str | None, **options: Any) -> int:
        from daemon.report.gather import span_of
        from daemon.report.period import PeriodReport
        from daemon.report.points import points_of

        def make(gathered: Any, _: Sequence[Run]) -> PeriodReport:
            now_ns = time.time_ns() if wanted == "last" and gathered.mode != "paper" else gathered.timeline.last_ns
            span = span_of(kind, wanted, now_ns)
            rollup, scene = gathered.of(span)
            parities = tuple(
                (name, each)
                for name, each in gathered.parities
                if each.ts_from_ns < span.to_ns and each.ts_to_ns > span.from_ns
            )
            return PeriodReport(
                kind=kind,
                key=span.key,
                ts_from_ns=span.from_ns,
                ts_to_ns=span.to_ns,
                runs=gathered.runs,
                mode=gathered.mode,
                version=_version(),
                rollup=rollup,
                scene=scene,
                points=points_of(rollup, scene, [each for _, each in parities], gathered.audits),
                parities=parities,
                audits=gathered.audits,
            )

        return _report(settings, make, **options)

    return command  # fmt: skip


daily = _period_command("daily", "a trading day")
weekly = _period_command("weekly", "a trading week")
monthly = _period_command("monthly", "a month")


@report.command("trade")
@click.argument("wanted", metavar="ID")
@_written
@with_settings
def trade(settings: Settings, wanted: str, **options: Any) -> int:
    """Write everything about one trade on one page.

    ID is the trade's number, or the id of its position, order, intent or forecast request.
    """
    from daemon.report.gather import messages_of, trade_of
    from daemon.report.period import PeriodReport
    from daemon.report.points import points_of, trade_anchor

    def make(gathered: Any, runs: Sequence[Run]) -> PeriodReport:
        rollup, scene = gathered.of(None)
        found = trade_of(rollup, wanted)
        points = points_of(rollup, scene, [each for _, each in gathered.parities])
        return PeriodReport(
            kind="trade",
            key=found.position_id,
            ts_from_ns=found.ts_signal_ns or found.ts_open_ns,
            ts_to_ns=found.ts_close_ns or gathered.timeline.last_ns,
            runs=gathered.runs,
            mode=gathered.mode,
            version=_version(),
            rollup=rollup,
            scene=scene,
            points=tuple(point for point in points if point.anchor == trade_anchor(found)),
            parities=gathered.parities,
            trade=found,
            messages=tuple(messages_of(runs, found)),
        )

    return _report(settings, make, **options)


def _version() -> str:
    from daemon.cli import VERSION

    return VERSION


def _report(
    settings: Settings,
    make: Callable[[Any, Sequence[Run]], Any],
    *,
    names: tuple[str, ...],
    out: Path | None,
    html: bool,
    csv: bool,
    pdf: bool,
    audited: bool,
    shown: bool,
) -> int:
    from daemon.report import period, printed
    from daemon.report.gather import gather
    from daemon.report.plots import identifier

    program = printed.browser() if pdf else ""  # before the work, not after it
    state = settings.open_state()
    runs = _runs(state, names)
    chosen = {name for name, wish in (("html", html or shown), ("json", settings.as_json), ("csv", csv)) if wish}
    if not (html or csv or pdf or settings.as_json):
        chosen = {"html", "json", "csv"}
    hidden = settings.as_json or not sys.stderr.isatty()
    with progress_bar("reading", console_for(stderr=True), hidden=hidden) as tell:
        gathered = gather(runs, tell, audited=audited)
    made = make(gathered, runs)
    folder = out or state.folder / "reports" / f"{made.kind}-{identifier(made.key)}"
    written = period.write(made, folder, sorted(chosen))
    if pdf:
        written["pdf"] = [folder / "report.pdf"]
        _print(made, written, program)
    _tell(settings, made, written)
    if shown:
        click.launch(written["html"][0].absolute().as_uri())
    return 0


def _runs(state: State, names: tuple[str, ...]) -> list[Run]:
    from daemon.report.gather import runs_together

    if not names:
        return runs_together(state, run_of(state, None))
    chosen = {run.folder.absolute(): run for run in (run_of(state, name) for name in names)}
    return [chosen[folder] for folder in sorted(chosen, key=lambda folder: folder.name)]


def _print(made: Any, written: dict[str, list[Path]], program: str) -> None:
    """The PDF, from the page on disk, or from one that is gone afterwards."""
    from daemon.report import period, printed

    target = written["pdf"][0]
    if "html" in written:
        printed.print_pdf(written["html"][0], target, program)
        return
    with tempfile.TemporaryDirectory(prefix=".page-", dir=target.parent) as folder:
        page = period.write(made, Path(folder), ["html"])["html"][0]
        printed.print_pdf(page, target, program)


def _tell(settings: Settings, made: Any, written: dict[str, list[Path]]) -> None:
    from daemon.report.points import headline

    answer, _ = headline(made.points)
    if settings.as_json:
        files = {name: [str(path) for path in paths] for name, paths in written.items()}
        emit({"kind": made.kind, "key": made.key, "runs": made.runs, "answer": answer, "exact": made.rollup.exact,
              "findings": made.points, "files": files})  # fmt: skip
        return
    click.echo(f"{made.kind} {made.key}: {answer}")
    for paths in written.values():
        click.echo(f"  {paths[0]}" + (f" and {len(paths) - 1} more" if len(paths) > 1 else ""))
