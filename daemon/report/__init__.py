"""The adherence report: one self-contained HTML page, the same figures as JSON, and tables as CSV.

A projection of the journal: it can be written again at any time and reaches nothing else. The page holds no script,
loads nothing, and follows the reader's choice of light or dark. Every file appears whole or not at all.
"""

import os
import tempfile
from pathlib import Path

import msgspec

from risk.adherence import Adherence

__all__ = ["ReportContext", "ReportPaths", "replace_file", "write_report"]


class ReportContext(msgspec.Struct, frozen=True, kw_only=True):
    """What the journal does not know about itself.

    Attributes:
        title: heading of the page.
        mode: paper, backtest, demo, live.
        symbols: what was traded.
        data: where the prices came from, in words, with period and number of bars.
        journal: name or path of the journal.
        decisions_sha256: digest of every decision in it.
        started: when the run started, as the reader should see it; likewise `ended`.
        ended_because: `end of data`, a signal, an operator; empty = not known.
        config: the effective configuration as text; empty = the settings in the journal are shown.
        version: of Plimsoll; empty = left out.
        notes: further sentences on provenance (spread model, licence, latency), one a line.
    """

    title: str
    mode: str
    symbols: tuple[str, ...]
    data: str
    journal: str
    decisions_sha256: str
    started: str
    ended: str
    ended_because: str = ""
    config: str = ""
    version: str = ""
    notes: tuple[str, ...] = ()


class ReportPaths(msgspec.Struct, frozen=True, kw_only=True):
    """Where the report lies."""

    html: Path
    json: Path
    csvs: tuple[Path, ...]


def write_report(directory: Path, adherence: Adherence, context: ReportContext) -> ReportPaths:
    """Write `report.html`, `report.json` and the CSV tables, replacing older ones.

    Args:
        directory: made where it is missing.
        adherence: with the whole journal folded into it.
        context: where it all came from.

    Raises:
        OSError: the directory cannot be written.
    """
    from daemon.report import page, tables

    directory.mkdir(parents=True, exist_ok=True)
    summary = adherence.summary()
    paths = ReportPaths(
        html=directory / "report.html",
        json=directory / "report.json",
        csvs=tuple(directory / f"{name}.csv" for name in tables.TABLES),
    )
    document = msgspec.json.encode({"context": context, "summary": summary})
    replace_file(paths.json, msgspec.json.format(document, indent=1) + b"\n")
    for path, make in zip(paths.csvs, tables.TABLES.values(), strict=True):
        replace_file(path, make(summary).encode())
    replace_file(paths.html, page.render(summary, context).encode())
    return paths


def replace_file(path: Path, data: bytes) -> None:
    """Write beside, then move into place: a reader sees the old file or the new one."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
