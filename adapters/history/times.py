"""Times as vendors write them, read for all rows of a block at once.

Theory of operation. Fields of one length in one file share a layout. The first field of each length is matched with a
regular expression; the spans of its groups say where the digits of year, month … stand, and every other character must
be the same in all fields of that length. The rest is integer arithmetic on columns.
"""

import re

import numpy as np
from numpy.typing import NDArray

from adapters.history.text import MAX_FIELD, Block
from bus.series import Column
from bus.values import NS_PER_DAY, NS_PER_HOUR, NS_PER_S

_DATE = r"(?:(?P<Y>\d{4})(?P<sep>[-./]?)(?P<M>\d\d)(?P=sep)(?P<D>\d\d)|(?P<D2>\d\d)\.(?P<M2>\d\d)\.(?P<Y2>\d{4}))"
_TIME = r"(?P<h>\d\d):?(?P<m>\d\d)(?::?(?P<s>\d\d)(?:[.,]?(?P<f>\d{1,9}))?)?"
_OFFSET = r"(?:Z| ?(?:GMT|UTC)?(?P<sign>[+-])(?P<oh>\d\d):?(?P<om>\d\d)| ?(?:GMT|UTC))?"
_STAMP = re.compile(rf"{_DATE}(?:[ T_]?{_TIME}(?P<offset>{_OFFSET}))?")
_TIME_ONLY = re.compile(_TIME)
_EPOCH = {10: NS_PER_S, 13: 1_000_000, 16: 1_000, 19: 1}
_EPOCH_NUMBER = re.compile(r"\d+(?:\.0*)?")
_FIRST_YEAR, _LAST_YEAR = 1971, 2200  # inside int64 nanoseconds, with room for offsets
_EXAMPLE = "write it like 2024-01-31 17:00:00"


def timestamps(block: Block, column: int) -> tuple[Column, bool]:
    """Read a column of dates with times, dates alone, or epoch seconds, milli-, micro- or nanoseconds.

    Returns:
        Nanoseconds, and whether they are UTC already because an offset is written in them (or they count from 1970);
        otherwise they are the wall clock's.

    Raises:
        DataError: by line.
    """
    result = np.zeros(len(block.line), np.int64)
    in_utc: bool | None = None
    for rows, text in _by_length(block, column):
        first = int(rows[0])
        number = _EPOCH_NUMBER.fullmatch(text)
        whole = len(text.split(".")[0])
        if number and whole in _EPOCH:
            result[rows] = _digits(block, column, rows, (0, whole)) * _EPOCH[whole]
            explicit = True
        else:
            found = _STAMP.fullmatch(text)
            if not found:
                raise block.error(first, f"time {text!r} is not understood; {_EXAMPLE}")
            _same_letters(block, column, rows, found)
            result[rows] = _date_ns(block, column, rows, found) + _time_ns(block, column, rows, found)
            explicit = bool(found["offset"])
            if found["sign"]:
                result[rows] -= _offset_ns(block, column, rows, found)
        if in_utc not in {None, explicit}:
            raise block.error(first, f"time {text!r}: some times in this file have an offset and others have none")
        in_utc = explicit
    return result, bool(in_utc)


def dates_and_times(block: Block, date_column: int, time_column: int) -> tuple[Column, bool]:
    """Read a date column and a time-of-day column (``HH:MM``, ``HH:MM:SS``, ``HH:MM:SS.fff``) as one time."""
    day_ns, in_utc = timestamps(block, date_column)
    time_ns = np.zeros(len(block.line), np.int64)
    for rows, text in _by_length(block, time_column):
        found = _TIME_ONLY.fullmatch(text)
        if not found:
            raise block.error(int(rows[0]), f"time {text!r} is not understood; write it like 17:00:00")
        _same_letters(block, time_column, rows, found)
        time_ns[rows] = _time_ns(block, time_column, rows, found)
    return day_ns + time_ns, in_utc


def _by_length(block: Block, column: int) -> list[tuple[Column, str]]:
    """Rows grouped by the length of the field, each group with the text of its first row."""
    width = np.minimum(block.stop[:, column] - block.start[:, column], 64)
    groups: list[tuple[Column, str]] = []
    for value in np.unique(width):
        rows = np.flatnonzero(width == value)
        if value > MAX_FIELD:
            raise _not_understood(block, int(rows[0]), column)
        groups.append((rows, block.text(int(rows[0]), column)))
    return sorted(groups, key=lambda group: int(group[0][0]))


def _digits(block: Block, column: int, rows: Column, span: tuple[int, int]) -> Column:
    """The number at a span of every field."""
    value = np.zeros(len(rows), np.int64)
    start = block.start[rows, column]
    for place in range(*span):
        digit = block.bytes[start + place] - np.uint8(48)
        bad = np.flatnonzero(digit > 9)
        if len(bad):
            raise _not_understood(block, int(rows[bad[0]]), column)
        value = value * 10 + digit
    return value


def _not_understood(block: Block, row: int, column: int) -> Exception:
    return block.error(row, f"time {block.text(row, column)!r} is not understood; {_EXAMPLE}")


def _same_letters(block: Block, column: int, rows: Column, found: re.Match[str]) -> None:
    """Refuse a field whose separators are not those of the first field of its length."""
    numeric: set[int] = set()
    for name, text in found.groupdict().items():
        if text is not None and name not in {"sep", "offset"}:
            numeric.update(range(*found.span(name)))
    start = block.start[rows, column]
    for place in range(found.end()):
        if place not in numeric:
            bad = np.flatnonzero(block.bytes[start + place] != ord(found.string[place]))
            if len(bad):
                raise _not_understood(block, int(rows[bad[0]]), column)


def _within(block: Block, column: int, rows: Column, bad: NDArray[np.bool_]) -> None:
    where = np.flatnonzero(bad)
    if len(where):
        row = int(rows[where[0]])
        raise block.error(row, f"time {block.text(row, column)!r} does not exist")


def _date_ns(block: Block, column: int, rows: Column, found: re.Match[str]) -> Column:
    suffix = "" if found["Y"] else "2"
    year, month, day = (_digits(block, column, rows, found.span(name + suffix)) for name in "YMD")
    _within(block, column, rows, (year < _FIRST_YEAR) | (year > _LAST_YEAR) | (month < 1) | (month > 12))
    months = (year - 1970) * 12 + month - 1
    first = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    following = (months + 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    _within(block, column, rows, (day < 1) | (day > following - first))
    return (first + day - 1) * NS_PER_DAY


def _time_ns(block: Block, column: int, rows: Column, found: re.Match[str]) -> Column:
    if not found["h"]:
        return np.zeros(len(rows), np.int64)
    hour = _digits(block, column, rows, found.span("h"))
    minute = _digits(block, column, rows, found.span("m"))
    second = _digits(block, column, rows, found.span("s")) if found["s"] else np.zeros(len(rows), np.int64)
    _within(block, column, rows, (hour > 23) | (minute > 59) | (second > 59))
    time_ns = ((hour * 60 + minute) * 60 + second) * NS_PER_S
    if found["f"]:
        scale = 10 ** (9 - len(found["f"]))
        time_ns += _digits(block, column, rows, found.span("f")) * scale
    return time_ns


def _offset_ns(block: Block, column: int, rows: Column, found: re.Match[str]) -> Column:
    sign = block.bytes[block.start[rows, column] + found.start("sign")]
    bad = np.flatnonzero((sign != 43) & (sign != 45))
    if len(bad):
        raise _not_understood(block, int(rows[bad[0]]), column)
    hours = _digits(block, column, rows, found.span("oh"))
    minutes = _digits(block, column, rows, found.span("om"))
    _within(block, column, rows, (hours > 14) | (minutes > 59))
    return np.where(sign == 43, 1, -1) * (hours * NS_PER_HOUR + minutes * 60 * NS_PER_S)
