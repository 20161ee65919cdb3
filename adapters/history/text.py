"""Reading delimited text quickly and exactly: columns of bytes in, columns of integers out, errors by line.

Theory of operation. A file is cut into blocks at line ends. In a block, the positions of line ends and delimiters give
the start and stop of every field as arrays; a number is then read digit by digit for all rows at once, so that
``1.20037`` becomes 120037 without ever being a float. The sixth decimal decides rounding (half away from zero),
exactly. Rows that do not have the common shape (exponents, signs) take a slow path; what that cannot read is refused
by line.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adapters.history.contract import MAX_LINE_BYTES, Source
from bus.errors import DataError
from bus.series import Column
from bus.values import LARGEST, divide_half_away

Bytes = NDArray[np.uint8]

BLOCK_BYTES = 16 * 1024**2
_PAD = b"\x00" * 64  # lets a gather run past the last field
_MAX_DIGITS = 17  # value * 10 stays inside int64
MAX_FIELD = 40
_NUMBER = re.compile(r"([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d{1,3}))?")


@dataclass(frozen=True, slots=True)
class Block:
    """Some whole lines of a file.

    Attributes:
        source: for errors.
        bytes: the text, padded at the end.
        start: shape (rows, fields), first byte of each field; stop is one past the last, without blanks and quotes.
        line: shape (rows,), line numbers from 1.
    """

    source: Source
    bytes: Bytes
    start: Column
    stop: Column
    line: Column

    def text(self, row: int, column: int) -> str:
        """One field as it is written, shortened for messages."""
        return (
            bytes(self.bytes[self.start[row, column] : self.stop[row, column]][:MAX_FIELD])
            .decode("ascii", errors="backslashreplace")
            .strip()
        )

    def error(self, row: int, reason: str) -> DataError:
        """A complaint about one row."""
        return self.source.error(int(self.line[row]), reason)


def blocks(source: Source, delimiter: str, fields: int, *, skip_lines: int = 0) -> Iterator[Block]:
    """Cut a file into blocks of rows with exactly so many fields. Blank lines are passed over.

    Args:
        source: the file.
        delimiter: one ASCII character.
        fields: how many fields each line must have.
        skip_lines: lines of header, counted without blank ones.

    Raises:
        DataError: a line too long, or with another number of fields.
    """
    data, position, line, skip = source.data, 0, 1, skip_lines
    while position < len(data):
        cut = len(data)
        if cut - position > BLOCK_BYTES:
            cut = data.rfind(b"\n", position, position + BLOCK_BYTES) + 1
            if cut <= 0:
                raise source.error(line, f"line longer than {MAX_LINE_BYTES} bytes; this is not a table of prices")
        block, seen, line = _split(source, data[position:cut], delimiter, fields, line, skip)
        skip = max(0, skip - seen)
        position = cut
        if block is not None:
            yield block


def _split(
    source: Source, data: bytes, delimiter: str, fields: int, line: int, skip: int
) -> tuple[Block | None, int, int]:
    """One block; the non-blank lines seen; the number of the next line."""
    buffer = np.frombuffer(data + (b"" if data.endswith(b"\n") else b"\n") + _PAD, np.uint8)
    ends = np.flatnonzero(buffer == 10)
    starts = np.concatenate(([0], ends[:-1] + 1))
    numbers = line + np.arange(len(ends))
    next_line = line + len(ends)
    stops = ends - ((buffer[ends - 1] == 13) & (ends > starts))
    bad = np.flatnonzero(stops - starts > MAX_LINE_BYTES)
    if len(bad):
        raise source.error(int(numbers[bad[0]]), f"line longer than {MAX_LINE_BYTES} bytes; not a table of prices")
    full = stops > starts
    starts, stops, numbers = starts[full][skip:], stops[full][skip:], numbers[full][skip:]
    seen = int(np.count_nonzero(full))
    if not len(starts):
        return None, seen, next_line
    marks = np.flatnonzero(buffer == ord(delimiter))
    marks = marks[marks >= starts[0]]
    found = np.searchsorted(marks, stops) - np.searchsorted(marks, starts) + 1
    bad = np.flatnonzero(found != fields)
    if len(bad):
        text = data[starts[bad[0]] : stops[bad[0]]][:60].decode("ascii", errors="backslashreplace")
        raise source.error(int(numbers[bad[0]]), f"{int(found[bad[0]])} fields where {fields} are expected: {text!r}")
    inner = marks.reshape(len(starts), fields - 1)
    first = np.column_stack((starts, inner + 1))
    last = np.column_stack((inner, stops))
    _trim(buffer, first, last)
    return Block(source, buffer, first, last, numbers), seen, next_line


def _trim(buffer: Bytes, first: Column, last: Column) -> None:
    """Take blanks, then one pair of quotes, off the fields, in place."""
    for _ in range(4):
        blank = (buffer[first] == 32) & (last > first)
        if not blank.any():
            break
        first += blank
    for _ in range(4):
        blank = (buffer[last - 1] == 32) & (last > first)
        if not blank.any():
            break
        last -= blank
    quoted = (buffer[first] == 34) & (buffer[last - 1] == 34) & (last - first >= 2)
    first += quoted
    last -= quoted


def numbers(block: Block, column: int, name: str, *, decimals: int = 5, empty: int | None = None) -> Column:
    """Read a column of decimal numbers as integers in units of ``10**-decimals``, rounded half away from zero.

    Args:
        block: rows.
        column: which field.
        name: for errors, for instance ``high``.
        decimals: 5 gives prices in e5.
        empty: what an empty field means; None = refused.

    Raises:
        DataError: a field that is not a finite number, or beyond any price.
    """
    start, stop = block.start[:, column], block.stop[:, column]
    width = stop - start
    dots = np.flatnonzero(block.bytes == 46)
    dot = np.concatenate((dots, [len(block.bytes)]))[np.searchsorted(dots, start)] - start
    dot = np.minimum(dot, width)
    result = np.zeros(len(start), np.int64)
    shape = np.minimum(width, MAX_FIELD) * 64 + np.minimum(dot, MAX_FIELD)
    for value in np.unique(shape):
        rows = np.flatnonzero(shape == value)
        if len(rows) == len(shape):
            rows = np.s_[:]
        cells, good = _digits(block.bytes, start[rows], int(value) // 64, int(value) % 64, decimals)
        result[rows] = cells
        for row in np.arange(len(shape))[rows][~good]:
            result[row] = _slow_number(block, int(row), column, name, decimals, empty)
    return result


def _digits(buffer: Bytes, start: Column, width: int, dot: int, decimals: int) -> tuple[Column, NDArray[np.bool_]]:
    """Numbers of one shape: ``dot`` digits, a point, the rest digits. Also says which rows had that shape."""
    value = np.zeros(len(start), np.int64)
    good = np.ones(len(start), np.bool_)
    if width == 0 or width >= MAX_FIELD or dot + decimals > _MAX_DIGITS or (dot == 0 and width <= 1):
        return value, ~good
    up: NDArray[np.bool_] | None = None
    for place in range(width):
        if place == dot:
            continue
        digit = buffer[start + place] - np.uint8(48)  # wraps, so anything but a digit is above 9
        good &= digit <= 9
        decimal = place - dot
        if decimal <= decimals:
            value = value * 10 + digit
        elif decimal == decimals + 1:
            up = digit >= 5
    value *= 10 ** max(0, decimals - max(0, width - dot - 1))
    return (value if up is None else value + up), good


def _slow_number(block: Block, row: int, column: int, name: str, decimals: int, empty: int | None) -> int:
    """One field in any notation: sign, exponent, any length."""
    raw = block.text(row, column)
    if not raw and empty is not None:
        return empty
    long = block.stop[row, column] - block.start[row, column] > MAX_FIELD
    found = None if long else _NUMBER.fullmatch(raw)
    if not found or not (found[2] or found[3]):
        raise block.error(row, f"{name} is {raw!r}, which is not a number" if raw else f"{name} is missing")
    digits = int((found[2] or "") + (found[3] or ""))
    exponent = int(found[4] or 0) - len(found[3] or "") + decimals
    if digits and (exponent > 30 or len(str(digits)) + exponent > 20):
        raise block.error(row, f"{name} is {raw!r}, which is beyond any price")
    value = digits * 10**exponent if exponent >= 0 else divide_half_away(digits, 10 ** min(-exponent, 400))
    if value > LARGEST * 10 ** max(0, decimals - 5):
        raise block.error(row, f"{name} is {raw!r}, which is beyond any price")
    return -value if found[1] == "-" else value


def decimals_written(block: Block, columns: tuple[int, ...]) -> int:
    """The most decimals that any field of these columns is written with."""
    dots = np.concatenate((np.flatnonzero(block.bytes == 46), [len(block.bytes)]))
    most = 0
    for column in columns:
        dot = dots[np.searchsorted(dots, block.start[:, column])]
        most = max(most, int(np.max(block.stop[:, column] - dot - 1, initial=0)))
    return most


def table(
    source: Source,
    delimiter: str,
    fields: int,
    parse: Callable[[Block], tuple[Column, ...]],
    *,
    skip_lines: int = 0,
) -> list[Column]:
    """Read a whole file block by block.

    Returns:
        Line numbers, then the columns that ``parse`` gave.

    Raises:
        DataError: no rows, or whatever ``parse`` refuses.
    """
    parts = [(block.line, *parse(block)) for block in blocks(source, delimiter, fields, skip_lines=skip_lines)]
    if not parts:
        raise source.error(0, "no rows in it")
    return [columns[0] if len(parts) == 1 else np.concatenate(columns) for columns in zip(*parts, strict=True)]


def four_prices(block: Block, first_column: int, side: str = "") -> tuple[Column, Column, Column, Column]:
    """Open, high, low, close in e5 from four neighbouring fields."""
    first, high, low, last = (
        numbers(block, first_column + i, f"{side}{name}") for i, name in enumerate(("open", "high", "low", "close"))
    )
    return first, high, low, last
