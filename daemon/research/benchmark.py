"""From the user's file to the benchmark's one object. Nothing is downloaded.

Two forms are told apart by content: the raw text (one day a line, one number a series, separated by commas, tabs or
spaces) and GluonTS JSON lines (one object a series with a ``target``); either may be gzipped. A rolling test file holds
a series several times, each time longer: the longest counts.
"""

import gzip
import io
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from bus.errors import DataError
from models.benchmark import WALKS, Row, measure, protocols_of
from models.benchmark.learnt import learnt
from models.validate.walkforward import forecasters

Floats = NDArray[np.float64]

LARGEST_BYTES = 64 * 1024 * 1024
"""The published file has 0.6 MB."""


class Benchmark(msgspec.Struct, frozen=True, kw_only=True):
    """The one object of ``plimsoll validate --protocol gluonts --json``.

    Attributes:
        days: of the file; likewise `series`.
        protocols: titles by name.
        rows: see `models.benchmark.Row`.
        notes: what to know before comparing.
    """

    days: int
    series: int
    protocols: dict[str, str]
    rows: list[Row]
    notes: list[str]


def run_benchmark(
    path: Path, *, models: tuple[str, ...], samples: int, seed: int, progress: Callable[[str, float], None]
) -> Benchmark:
    """Every walk and the named architectures in every protocol that the file allows.

    Args:
        path: the file.
        models: architectures, or ``all``.
        samples: paths a window.
        seed: of trainings and paths.
        progress: told a stage and the share done.

    Raises:
        ConfigError: a model that is not known.
        DataError: a file that is not one of the two forms, or too few days.
    """
    chosen = forecasters(models)
    levels = read_levels(path)
    protocols, notes = protocols_of(levels)
    rows = measure(levels, [*WALKS, *learnt(chosen)], samples=samples, seed=seed, progress=progress)
    if samples < 1000:
        notes = (*notes, f"{samples} paths a window: scores are noisy by more than 1 %; take at least 1,000")
    return Benchmark(
        days=levels.shape[0],
        series=levels.shape[1],
        protocols={protocol.name: protocol.title for protocol in protocols},
        rows=rows,
        notes=list(notes),
    )


def read_levels(path: Path) -> Floats:
    """Levels of all series, shape (days, series), oldest day first.

    Raises:
        DataError: what the file holds is neither form, or no table of positive numbers.
    """
    text = _text(path)
    levels = _json_lines(path, text) if text.lstrip()[:1] == "{" else _table(path, text)
    if levels.ndim != 2 or levels.shape[1] < 2 or not bool((np.isfinite(levels) & (levels > 0)).all()):
        raise DataError(f"{path}: needs at least two series of positive numbers, one line a day and no gap")
    return levels


def _text(path: Path) -> str:
    try:
        data = path.read_bytes() if path.stat().st_size <= LARGEST_BYTES else b""
        if data[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
                data = file.read(LARGEST_BYTES + 1)
        if not 0 < len(data) <= LARGEST_BYTES:
            raise DataError(f"{path}: empty, or more than {LARGEST_BYTES:,} bytes; give the exchange_rate file")
        return data.decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({error}); give the exchange_rate file") from error


def _table(path: Path, text: str) -> Floats:
    separator = "," if "," in text[:1000] else None
    try:
        return np.array([[float(cell) for cell in line.split(separator)] for line in text.splitlines() if line.strip()])
    except ValueError as error:
        raise DataError(
            f"{path}: {error}; give the raw exchange_rate text (numbers alone) or GluonTS JSON lines"
        ) from error


def _json_lines(path: Path, text: str) -> Floats:
    found: list[Floats] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                entry: Any = json.loads(line)
                found.append(np.array([float(value) for value in entry["target"]]))
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"{path}, line {number}: no JSON object with a target of numbers") from error
    kept: list[Floats] = []
    for target in sorted(found, key=len, reverse=True):  # stable: equally long series stay in the file's order
        if not any(np.array_equal(longer[: len(target)], target) for longer in kept if len(longer) > len(target)):
            kept.append(target)
    if len({len(target) for target in kept}) != 1:
        raise DataError(f"{path}: series of different lengths that do not continue one another; give one data set")
    return np.stack(kept, axis=1)
