"""A folder of prices that grows until it is complete, and knows at any moment how far it is.

    FOLDER/EURUSD/EURUSD_H1_2020.parquet         rows, and in its metadata the spans of time that they are all of
    FOLDER/EURUSD/.EURUSD_H1_2019.parquet        the same without rows: asked for, and nothing was there
    FOLDER/.lock                                 held by the one process that writes

Theory of operation. Time is cut into chunks by the UTC calendar: days for ticks, months for bars below an hour, years
for longer ones. A chunk is one file, and the file says by itself what is complete in it, so rows and that claim are
replaced together, by one rename: a kill at any moment leaves the chunk as it was or as it will be. What is not claimed
was not stored: a file never has a row outside its spans. Equal rows and spans give equal bytes, however often the way
there was interrupted.

The folder is read as a whole by whoever trades on it, so it holds nothing else: one granularity, prices of one source,
no files of other makers. Names that begin with a dot are passed over by readers, which cannot use a file without rows.
"""

import fcntl
import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from adapters.history.contract import Head, Options, Source
from adapters.history.parquet import Parquet, described, encode
from adapters.history.spans import Span, missing, union
from bus.calendar import to_datetime, to_ns
from bus.errors import ConfigError, DataError
from bus.series import BarSeries, TickSeries
from bus.values import NS_PER_HOUR

Series = BarSeries | TickSeries

TICKS = "ticks"
"""The granularity that is none: every price."""

_STEPS = {"day": "%Y-%m-%d", "month": "%Y-%m", "year": "%Y"}
_FILE = re.compile(r"\.?([A-Z0-9_-]+)_([A-Z]+\d+|ticks)_\d{4}(?:-\d\d){0,2}\.parquet")
_UNFINISHED = ".new"
_MAKER = "plimsoll data fetch"


class _Chunk(NamedTuple):
    """One file. `spans` is what is complete in it, `rows` how many it has."""

    key: str
    whole: Span
    spans: tuple[Span, ...] = ()
    rows: int = 0


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Make a folder of prices and hold it for this process alone; the kernel lets go however the process ends.

    Raises:
        ConfigError: it cannot be made or written to, or another process holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fd = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise ConfigError(f"cannot write prices to {folder}: {error.strerror}; choose another folder") from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "another process"
            raise ConfigError(f"{folder} is being written by process {holder}; wait for it, or stop it") from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(fd)


def check_folder(folder: Path, granularity: str) -> None:
    """Refuse a folder that could not be read as one set of prices of a granularity.

    Raises:
        ConfigError: it has other files, or bars of another length.
    """
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        place = path.relative_to(folder)
        if path.is_dir() or any(part.startswith(".") for part in place.parts):
            continue
        found = _FILE.fullmatch(path.name)
        if found is None or place.parts != (found[1], path.name):
            raise ConfigError(f"{folder} holds {place}, which is no file of `{_MAKER}`; choose another folder")
        if found[2] != granularity:
            raise ConfigError(
                f"{folder} holds {place}: a folder is read as a whole, so it can have {found[2]} or {granularity}, "
                "not both; choose another folder"
            )


class Archive:
    """The prices of one symbol, in one granularity, of one source."""

    def __init__(self, folder: Path, symbol: str, granularity: str, source: str, empty: Series) -> None:
        """Open what is there. Hold `locked` meanwhile.

        Args:
            folder: of all symbols.
            symbol: as in the series that are stored; letters, digits, ``_`` and ``-``.
            granularity: `TICKS`, or the name of a bar's length, such as ``H1``.
            source: whose prices these are; those of another are refused.
            empty: a series without rows, of the kind that is stored.

        Raises:
            ConfigError: the folder holds what does not belong there.
            DataError: a file is damaged.
        """
        check_folder(folder, granularity)
        self._folder = folder / symbol
        self._metadata = {"symbol": symbol, "side": "bid", "granularity": granularity, "source": source}
        if granularity == TICKS:
            del self._metadata["side"]
        self._empty = empty
        self._prefix = f"{symbol}_{granularity}_"
        self._step = _step_of(empty)
        self._chunks: dict[str, _Chunk] = {}
        self._held: tuple[str, Series] | None = None
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(self._folder.iterdir(), key=lambda path: (path.name.startswith("."), path.name)):
            self._take_in(path)

    @property
    def covered(self) -> tuple[Span, ...]:
        """All that is complete, oldest first."""
        return union(span for chunk in self._chunks.values() for span in chunk.spans)

    def missing(self, wanted: Span) -> tuple[Span, ...]:
        """What of a span is not complete, oldest first."""
        return missing(wanted, self.covered)

    def store(self, span: Span, series: Series) -> None:
        """Keep all rows of a span, durable when this returns; what was there of it before is replaced.

        Args:
            span: is complete from now on.
            series: rows within the span and no others; perhaps none.

        Raises:
            OSError: the disk is full, or the like; what was there before is there still.
        """
        end_ns = span.end_ns
        while end_ns > span.start_ns:  # the newest chunk first, as rows come, so that what is complete has no holes
            chunk = self._chunk_at(end_ns - 1)
            part = span.within(Span(chunk.whole.start_ns, end_ns))
            old = self._rows(chunk)
            rows = _joined([_cut(old, Span(chunk.whole.start_ns, part.start_ns)), _cut(series, part),
                            _cut(old, Span(part.end_ns, chunk.whole.end_ns))])  # fmt: skip
            self._write(chunk._replace(spans=union([*chunk.spans, part]), rows=len(rows)), rows)
            end_ns = part.start_ns

    def count(self, wanted: Span) -> int:
        """Rows within a span."""
        return sum(
            chunk.rows if chunk.whole.within(wanted) == chunk.whole else len(_cut(self._rows(chunk), wanted))
            for chunk in self._chunks.values()
            if chunk.rows and chunk.whole.within(wanted).length_ns > 0
        )

    def files(self, wanted: Span) -> list[Path]:
        """The files that hold rows around a span, oldest first."""
        return [
            self._path(chunk)
            for chunk in sorted(self._chunks.values())
            if chunk.rows and chunk.whole.within(wanted).length_ns > 0
        ]

    # --- files --------------------------------------------------------------------------------------------------

    def _take_in(self, path: Path) -> None:
        """Know a file by what it says of itself; visible ones come first."""
        name = path.name.removeprefix(".")
        if name.endswith(_UNFINISHED) and name.startswith(self._prefix):
            path.unlink()  # cut short by a crash, and never claimed
            return
        if not name.startswith(self._prefix) or _FILE.fullmatch(name) is None:
            return
        key = name.removeprefix(self._prefix).removesuffix(".parquet")
        if key in self._chunks:
            path.unlink()  # the chunk got rows, and the crash came before its empty file was gone
            return
        try:
            rows, found = described(path)
        except DataError as error:
            raise DataError(f"{error}; remove it, and it is fetched again") from None
        if found.get("maker") != _MAKER:
            raise ConfigError(f"{path} was not written by `{_MAKER}`; choose another folder")
        if any(found.get(name) != value for name, value in self._metadata.items()):
            raise ConfigError(
                f"{path} holds prices of {found.get('source')!r}, not of {self._metadata['source']!r}; choose another "
                "folder"
            )
        try:
            whole = _whole(datetime.strptime(key, _STEPS[self._step]).replace(tzinfo=UTC), self._step)
            spans = msgspec.json.decode(found.get("complete", ""), type=tuple[Span, ...])
        except (ValueError, msgspec.DecodeError):
            raise DataError(f"{path}: does not say what is complete; remove it, and it is fetched again") from None
        self._chunks[key] = _Chunk(key, whole, spans, rows)

    def _chunk_at(self, ts_ns: int) -> _Chunk:
        moment = to_datetime(ts_ns)
        key = moment.strftime(_STEPS[self._step])
        return self._chunks.get(key) or _Chunk(key, _whole(moment, self._step))

    def _path(self, chunk: _Chunk) -> Path:
        return self._folder / f"{'' if chunk.rows else '.'}{self._prefix}{chunk.key}.parquet"

    def _rows(self, chunk: _Chunk) -> Series:
        """The rows of a chunk; those used last are kept in memory."""
        if not chunk.rows:
            return self._empty
        if self._held is None or self._held[0] != chunk.key:
            path = self._path(chunk)
            source = Source(head=Head(path=path, member="", data=b"", lines=()), data=path.read_bytes())
            self._held = chunk.key, Parquet().read(source, Options(symbol=self._empty.symbol)).series
        return self._held[1]

    def _write(self, chunk: _Chunk, rows: Series) -> None:
        before = self._chunks.get(chunk.key)
        complete = msgspec.json.encode(chunk.spans).decode()
        data = encode(rows, {**self._metadata, "maker": _MAKER, "complete": complete})
        path = self._path(chunk)
        self._held = None
        unfinished = self._folder / f".{self._prefix}{chunk.key}.parquet{_UNFINISHED}"
        with unfinished.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        if before is not None and self._path(before) != path:
            self._path(before).unlink()
        _sync(self._folder)
        self._chunks[chunk.key] = chunk
        self._held = chunk.key, rows


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _step_of(series: Series) -> str:
    if isinstance(series, TickSeries):
        return "day"
    return "month" if series.period_ns < NS_PER_HOUR else "year"


def _whole(moment: datetime, step: str) -> Span:
    """The chunk that a moment lies in."""
    start = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if step == "day":
        return Span(to_ns(start), to_ns(start) + 24 * NS_PER_HOUR)
    if step == "month":
        start = start.replace(day=1)
        after = start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
    else:
        start = start.replace(month=1, day=1)
        after = start.replace(year=start.year + 1)
    return Span(to_ns(start), to_ns(after))


def _cut(series: Series, span: Span) -> Series:
    """The rows within a span."""
    times = series.ts_ns if isinstance(series, TickSeries) else series.ts_open_ns
    first, last = (int(row) for row in np.searchsorted(times, [span.start_ns, max(span.start_ns, span.end_ns)]))
    if isinstance(series, BarSeries):
        return series.slice(first, last)
    rows = np.s_[first:last]
    return TickSeries(
        symbol=series.symbol, ts_ns=series.ts_ns[rows], bid_e5=series.bid_e5[rows], ask_e5=series.ask_e5[rows]
    )


def _joined(parts: list[Series]) -> Series:
    """Parts of one kind, one after another."""
    bars = [part for part in parts if isinstance(part, BarSeries)]
    if bars:
        return BarSeries(
            symbol=bars[0].symbol,
            period_ns=bars[0].period_ns,
            ts_open_ns=np.concatenate([part.ts_open_ns for part in bars]),
            open_e5=np.concatenate([part.open_e5 for part in bars]),
            high_e5=np.concatenate([part.high_e5 for part in bars]),
            low_e5=np.concatenate([part.low_e5 for part in bars]),
            close_e5=np.concatenate([part.close_e5 for part in bars]),
            quotes=np.concatenate([part.quotes for part in bars]),
        )
    ticks = [part for part in parts if isinstance(part, TickSeries)]
    return TickSeries(
        symbol=ticks[0].symbol,
        ts_ns=np.concatenate([part.ts_ns for part in ticks]),
        bid_e5=np.concatenate([part.bid_e5 for part in ticks]),
        ask_e5=np.concatenate([part.ask_e5 for part in ticks]),
    )
