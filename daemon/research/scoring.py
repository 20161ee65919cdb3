"""From files to a table of forecasts: read each symbol, forecast every bar, write beside the target, then rename.

Theory of operation. Bars are made of the file's rows by the builder that made those the models learnt from. Blocks go
to the file as they come, so that a long history needs little memory, under a temporary name in the target's folder:
what stands under the target's own name is always whole.
"""

import contextlib
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet

from adapters import history
from adapters.history import SpreadModel
from bus.calendar import to_datetime
from bus.errors import ConfigError, DataError
from bus.series import BarSeries, TickSeries
from daemon.marketdata import build_bars, words
from models import batch
from models.registry import Registry

FORMATS = (".parquet", ".csv", ".jsonl")
Progress = Callable[[str, float], None]
Write = Callable[[Any], None]
"""Takes a `pyarrow.Table`."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asks for.

    Attributes:
        path: a file or a folder of market data.
        out: the table's file; its ending says how it is written.
        symbols: empty = all that are found.
        clock: of the data's timestamps; None = what the format says.
        levels_ppm: coverages of the intervals, widest first.
    """

    path: Path
    out: Path
    symbols: tuple[str, ...]
    clock: str | None
    levels_ppm: tuple[int, ...]


class Scored(msgspec.Struct, frozen=True, kw_only=True):
    """One symbol of the table."""

    symbol: str
    bars: int
    models: list[str]
    rows: int
    seen: int
    first: str
    last: str


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The one object of ``plimsoll forecast --json``."""

    out: str
    rows: int
    symbols: list[Scored]
    notes: list[str]


def run(wanted: Wanted, registry: Registry, spread_of: Callable[[str], SpreadModel], progress: Progress) -> Result:
    """Forecast every bar and write the table.

    Args:
        wanted: what to read and write.
        registry: has the models.
        spread_of: of a symbol whose data has one side.
        progress: told a stage and the share that is done.

    Raises:
        ConfigError: a file type that is not known, or no folder to write in.
        DataError: no data, or none for which there are models.
        ModelError: an artifact is unsound.
        OSError: the disk does not take the table.
    """
    if wanted.out.suffix.lower() not in FORMATS:
        raise ConfigError(f"--out {wanted.out.name}: end it with one of {', '.join(FORMATS)}")
    if not wanted.out.parent.is_dir():
        raise ConfigError(f"--out {wanted.out}: there is no such folder; make it first")
    progress("reading", 0.0)
    found, notes = _read(wanted)
    markets = {entry.symbol: entry.period_ns for entry in registry.list() if entry.active}
    without = sorted({series.symbol for series in found} - set(markets))
    found = [series for series in found if series.symbol in markets]
    if not found:
        raise DataError(f"no models for {', '.join(without)}; `plimsoll train --data …` makes them")
    notes += [f"{symbol}: no models, left out; `plimsoll train` makes them" for symbol in without]
    fresh = wanted.out.with_name(f".{wanted.out.name}.new")
    scored: list[Scored] = []
    try:
        with _writer(fresh, wanted.out.suffix.lower()) as write:
            for place, series in enumerate(found):

                def told(stage: str, share: float, place: int = place) -> None:
                    progress(stage, (place + share) / len(found))

                bars = build_bars(series, spread_of(series.symbol), markets[series.symbol])
                scored.append(_score(bars, registry, wanted.levels_ppm, write, told))
        fresh.replace(wanted.out)
    finally:
        fresh.unlink(missing_ok=True)
    return Result(out=str(wanted.out), rows=sum(each.rows for each in scored), symbols=scored, notes=notes)


def _read(wanted: Wanted) -> tuple[list[BarSeries | TickSeries], list[str]]:
    read = history.load(wanted.path, symbol=wanted.symbols[0] if len(wanted.symbols) == 1 else None, clock=wanted.clock)
    notes = [words(note, wanted.path) for note in read.notes]
    found = [series for series in read.series if not wanted.symbols or series.symbol in wanted.symbols]
    missing = sorted(set(wanted.symbols) - {series.symbol for series in found})
    if missing or not found:
        there = ", ".join(series.symbol for series in read.series) or "nothing"
        raise DataError(f"{wanted.path.name}: no data for {', '.join(missing) or 'any symbol'}; found {there}")
    return found, notes


def _score(bars: BarSeries, registry: Registry, levels_ppm: Sequence[int], write: Write, told: Progress) -> Scored:
    loaded = registry.load(bars.symbol, bars.period_ns)
    assert loaded is not None, "the registry has just listed it"
    rows = seen = 0
    names: dict[str, None] = {}
    for block in batch.forecasts(loaded, bars, levels_ppm=levels_ppm, progress=told):
        write(_table(bars.symbol, block, levels_ppm))
        rows += len(block)
        seen += int(block.seen.sum())
        names.update(dict.fromkeys(block.model))
    return Scored(
        symbol=bars.symbol,
        bars=len(bars),
        models=list(names),
        rows=rows,
        seen=seen,
        first=f"{to_datetime(int(bars.ts_open_ns[0])):%Y-%m-%d}",
        last=f"{to_datetime(int(bars.ts_open_ns[-1])):%Y-%m-%d}",
    )


def _table(symbol: str, block: batch.Block, levels_ppm: Sequence[int]) -> Any:
    columns: dict[str, Any] = {"symbol": [symbol] * len(block)}
    for name, values in batch.scaled(block, levels_ppm).items():
        if name == "ts_close_ns":
            columns["time"] = pa.array(values, pa.timestamp("ns", "UTC"))
        elif isinstance(values, np.ndarray) and values.dtype == np.float64:
            columns[name] = pa.array(values, from_pandas=True)  # NaN is written as nothing
        else:
            columns[name] = values
    table = pa.table(columns)
    return table.select(["time", *(name for name in table.column_names if name != "time")])


@contextlib.contextmanager
def _writer(path: Path, kind: str) -> Generator[Write]:
    """Takes tables of one schema, one after another."""
    if kind == ".jsonl":
        with path.open("wb") as lines:

            def write_lines(table: Any) -> None:
                for row in table.to_pylist():
                    row["time"] = row["time"].isoformat()
                    lines.write(msgspec.json.encode(row) + b"\n")

            yield write_lines
        return
    open_: list[Any] = []

    def write(table: Any) -> None:
        if not open_:
            made: Any = parquet.ParquetWriter if kind == ".parquet" else csv.CSVWriter
            open_.append(made(str(path), table.schema))
        open_[0].write_table(table)

    try:
        yield write
    finally:
        for each in open_:
            each.close()
