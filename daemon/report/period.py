"""The report of a day, a week or a month, and that of one trade: what it holds, and the files that it becomes.

Theory of operation. A `PeriodReport` holds everything that a page shows; HTML, JSON and CSV are made from it and from
nothing else, so they say the same. The JSON is the roll-up itself with what was found beside it.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from bus.messages import AnyMessage
from daemon.audit import Audit
from daemon.parity import Parity
from daemon.report import replace_file
from daemon.report.period_tables import PERIOD_TABLES, findings
from daemon.report.points import Point
from daemon.report.timeline import Scene
from risk.adherence.records import Record, Trade
from risk.adherence.rolled import Rollup

SCHEMA = 1
"""Of the JSON. Fields may be added; one that goes or changes its meaning raises this."""

FORMATS = ("html", "json", "csv", "pdf")


class PeriodReport(msgspec.Struct, frozen=True, kw_only=True):
    """`kind` is daily, weekly, monthly or trade; `key` the period's, or the trade's position."""

    kind: str
    key: str
    ts_from_ns: int
    ts_to_ns: int
    runs: tuple[str, ...]
    mode: str
    version: str
    rollup: Rollup
    scene: Scene
    points: tuple[Point, ...]
    parities: tuple[tuple[str, Parity], ...] = ()
    audits: tuple[tuple[str, Audit], ...] = ()
    trade: Trade | None = None
    messages: tuple[AnyMessage, ...] = ()


class Told(Record, frozen=True, kw_only=True):
    """The JSON of a report: see `SCHEMA`."""

    schema: int
    kind: str
    key: str
    ts_from_ns: int
    ts_to_ns: int
    runs: tuple[str, ...]
    mode: str
    findings: tuple[Point, ...]
    rollup: Rollup
    parity: dict[str, Parity]
    audit: dict[str, Audit]
    trade: Trade | None


def as_json(report: PeriodReport) -> bytes:
    """The machine's view."""
    told = Told(
        schema=SCHEMA,
        kind=report.kind,
        key=report.key,
        ts_from_ns=report.ts_from_ns,
        ts_to_ns=report.ts_to_ns,
        runs=report.runs,
        mode=report.mode,
        findings=report.points,
        rollup=report.rollup,
        parity={f"{each.run_id} {name}": each for name, each in report.parities},
        audit=dict(report.audits),
        trade=report.trade,
    )
    return msgspec.json.format(msgspec.json.encode(told), indent=1) + b"\n"


def write(report: PeriodReport, folder: Path, formats: Sequence[str]) -> dict[str, list[Path]]:
    """Write a report in some of FORMATS (a PDF is `printed`'s), replacing older files.

    Returns:
        The files by format.

    Raises:
        OSError: the folder cannot be written.
    """
    from daemon.report.period_page import render

    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    written: dict[str, list[Path]] = {}
    if "html" in formats:
        written["html"] = [folder / "report.html"]
        replace_file(folder / "report.html", render(report).encode())
    if "json" in formats:
        written["json"] = [folder / "report.json"]
        replace_file(folder / "report.json", as_json(report))
    if "csv" in formats:
        texts = {name: make(report.rollup) for name, make in PERIOD_TABLES.items()}
        texts["findings"] = findings(report.points, report.rollup.money_digits)
        for name, text in texts.items():
            replace_file(folder / f"{name}.csv", text.encode())
        written["csv"] = [folder / f"{name}.csv" for name in texts]
    return written
