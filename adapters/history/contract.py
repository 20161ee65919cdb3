"""What a market-data format must do, and the limits that hold for every file.

Adding a format is one file: an object with the four members of `Format`, listed in `registry.FORMATS`; the contract
suite in ``tests/contracts/test_history_contract.py`` then runs on it.

Policy, the same for every format:
    times out of order, repeated bars, prices that are not positive numbers, bars whose high and low do not enclose open
    and close, and rows of the wrong width are refused with file and line; nothing is repaired silently;
    ticks with ask below bid are dropped and counted (real feeds carry them), ticks at equal times are kept in order;
    rows that a vendor invents where nothing traded (Dukascopy's flat bars of zero volume, LEAN bars that lack a side)
    are dropped and counted. Counts come back as `Note`.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from bus.errors import DataError
from bus.series import BarSeries, TickSeries

MAX_FILE_BYTES = 2 * 1024**3
"""A file on disk; a year of one symbol's ticks is below half of it."""
MAX_UNPACKED_BYTES = 2 * 1024**3
"""What a compressed file may unpack to: the guard against zip bombs."""
MAX_MEMBERS = 1_000
"""Members of one zip."""
MAX_FILES = 20_000
"""Files of one folder."""
MAX_LINE_BYTES = 4_096
"""One line of text."""
HEAD_BYTES = 65_536
"""How much of a file is looked at to recognise its format."""

SideName = Literal["bid", "ask", "both"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The beginning of a file, for recognition.

    Attributes:
        path: the file on disk.
        member: name inside a zip, empty for a plain file.
        data: the first bytes, unpacked, at most `HEAD_BYTES`, byte order mark removed.
        lines: the complete lines in it that are not blank, decoded as Latin-1; empty for binary data.
    """

    path: Path
    member: str
    data: bytes
    lines: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names that may tell symbol, side or date, nearest first: member, file, its folders."""
        inner = (self.member.rsplit("/", 1)[-1],) if self.member else ()
        return (*inner, self.path.name, *reversed(self.path.parts[-7:-1]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A whole file (or zip member), unpacked into memory."""

    head: Head
    data: bytes

    @property
    def origin(self) -> str:
        """How errors name it: ``file.csv`` or ``file.zip/member.csv``."""
        return f"{self.head.path}/{self.head.member}" if self.head.member else str(self.head.path)

    def error(self, line: int, reason: str, unit: str = "line") -> DataError:
        """The one shape of every complaint about a file. Lines count from 1; 0 = the file as a whole."""
        return DataError(f"{self.origin}: {unit} {line}: {reason}" if line else f"{self.origin}: {reason}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user said about a file.

    Attributes:
        symbol: resolved by the loader before a format reads.
        clock: name of the clock in which times are written; None = the format's own default.
        period_ns: length of the bars; None = found from the file.
    """

    symbol: str
    clock: str | None = None
    period_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Rows that were left out on purpose, and why."""

    origin: str
    rows: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What one file gave. A piece of side ``ask`` carries ask prices in the bid columns until it is joined."""

    origin: str
    side: SideName
    series: BarSeries | TickSeries
    notes: tuple[Note, ...] = field(default=())


class Format(Protocol):
    """One market-data format. Stateless."""

    @property
    def name(self) -> str:
        """How the documentation calls it."""
        ...

    def recognise(self, head: Head) -> bool:
        """Whether the beginning of a file is this format's, judged by content. Never raises."""
        ...

    def symbol(self, head: Head) -> str | None:
        """The symbol that content, metadata or names give, upper case; None = unknown. Never raises."""
        ...

    def read(self, source: Source, options: Options) -> Piece:
        """Read the whole file.

        Raises:
            DataError: naming file, line and reason.
        """
        ...
