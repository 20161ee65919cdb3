"""Opening files: plain or inside a zip, with a limit on everything. Knows containers, not formats."""

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from adapters.history import contract
from adapters.history.contract import Head, Source
from bus.errors import DataError

_ZIP = b"PK\x03\x04"
_EMPTY_ZIP = b"PK\x05\x06"
_PACKED = ((b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\x00", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"),
           (b"7z\xbc\xaf", "7z"), (b"Rar!", "rar"))  # fmt: skip
_SIDE_FILES = (".txt", ".pdf", ".htm", ".html", ".md", ".json", ".xml")
_BYTE_ORDER_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))


def files_of(path: Path) -> list[Path]:
    """The file itself, or every file below a folder, sorted by path; hidden ones are left out.

    Raises:
        DataError: nothing there, not readable, or too many files.
    """
    try:
        if path.is_file():
            return [path]
        if not path.is_dir():
            raise DataError(f"{path}: no such file or folder")
        found: list[Path] = []
        for item in path.rglob("*"):
            if item.is_file() and not any(part.startswith(".") for part in item.relative_to(path).parts):
                found.append(item)
                if len(found) > contract.MAX_FILES:
                    raise DataError(f"{path}: more than {contract.MAX_FILES} files; give a smaller folder")
        return sorted(found)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise DataError(f"{path!r}: not a usable path ({error})") from error


def sources_of(path: Path) -> Iterator[Source]:
    """Every data file in a file: itself, or the members of a zip (its text reports left out, unless there is no more).

    Raises:
        DataError: unreadable, empty, too large, damaged, or packed in a way that is not read here.
    """
    data = _read_limited(path)
    if data.startswith(_EMPTY_ZIP):
        raise DataError(f"{path}: the zip has no files in it")
    if data.startswith(_ZIP):
        del data
        yield from _members(path)
        return
    for magic, kind in _PACKED:
        if data.startswith(magic):
            raise DataError(f"{path}: packed with {kind}; unpack it first (zip files are read as they are)")
    yield _source(path, "", data)


def _read_limited(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > contract.MAX_FILE_BYTES:
            raise DataError(f"{path}: {size} bytes, more than the limit of {contract.MAX_FILE_BYTES}")
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not data:
        raise DataError(f"{path}: the file is empty")
    return data


def _members(path: Path) -> Iterator[Source]:
    try:
        with zipfile.ZipFile(path) as archive:
            left = contract.MAX_UNPACKED_BYTES
            for info in _wanted(path, archive):
                data = _unpack(path, archive, info, left)
                left -= len(data)
                yield _source(path, info.filename, data)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, NotImplementedError, ValueError) as error:
        raise DataError(f"{path}: the zip is damaged or not readable ({error or type(error).__name__})") from error


def _wanted(path: Path, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The members to read, by name."""
    members = [info for info in archive.infolist() if not info.is_dir()]
    if len(members) > contract.MAX_MEMBERS:
        raise DataError(f"{path}: {len(members)} files in the zip, more than the limit of {contract.MAX_MEMBERS}")
    wanted = [info for info in members if not info.filename.lower().endswith(_SIDE_FILES)] or members
    if not wanted:
        raise DataError(f"{path}: the zip has no files in it")
    return sorted(wanted, key=lambda info: info.filename)


def _unpack(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int) -> bytes:
    # The size in the header may lie, so reading stops at the limit whatever it says.
    with archive.open(info) as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise DataError(f"{path}: unpacks to more than the limit of {contract.MAX_UNPACKED_BYTES} bytes")
    if not data:
        raise DataError(f"{path}/{info.filename}: the file is empty")
    return data


def _source(path: Path, member: str, data: bytes) -> Source:
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            data = data[len(mark) :]
            if encoding != "utf-8":  # MetaTrader scripts write UTF-16
                data = data.decode(encoding, errors="replace").encode()
            break
    start = data[: contract.HEAD_BYTES]
    return Source(head=Head(path=path, member=member, data=start, lines=_lines(start, len(data))), data=data)


def _lines(start: bytes, total: int) -> tuple[str, ...]:
    """Complete lines of text at the start; none where it is not text."""
    if b"\x00" in start:
        return ()
    whole = start if len(start) == total else start[: start.rfind(b"\n") + 1]
    lines = whole.decode("latin-1").replace("\r\n", "\n").split("\n")
    return tuple(line for line in lines[:200] if line.strip())
