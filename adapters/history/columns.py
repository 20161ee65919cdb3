"""From parsed columns to a checked series. The one place where the policy of `contract` is enforced."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adapters.history.clocks import to_utc
from adapters.history.contract import Note, Options, Piece, SideName, Source
from bus.calendar import to_datetime
from bus.series import BarSeries, Column, TickSeries
from bus.values import LARGEST, NS_PER_S

OHLC = ("open", "high", "low", "close")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Where columns came from.

    Attributes:
        source: the file.
        number: shape (n,), line (or row) of each entry, from 1.
        unit: ``line`` or ``row``.
        time_ns: shape (n,), as the file's clock showed it, or UTC.
        in_utc: the times are UTC already.
    """

    source: Source
    number: Column
    time_ns: Column
    in_utc: bool = False
    unit: str = "line"

    def refuse(self, bad: NDArray[np.bool_], reason: str) -> None:
        """Raise for the first bad row, if there is one."""
        where = np.flatnonzero(bad)
        if len(where):
            raise self.source.error(int(self.number[where[0]]), reason, self.unit)

    def keep(self, mask: NDArray[np.bool_]) -> "Rows":
        """Only the rows where the mask is true."""
        return Rows(
            source=self.source,
            number=self.number[mask],
            time_ns=self.time_ns[mask],
            in_utc=self.in_utc,
            unit=self.unit,
        )

    def utc_ns(self, options: Options, default_clock: str, *, strictly: bool) -> Column:
        """Times in UTC, refused where they do not increase (or, not strictly, where they go back)."""
        ts = self.time_ns if self.in_utc else to_utc(self.time_ns, options.clock or default_clock)
        step = np.diff(ts)
        bad = np.flatnonzero(step <= 0 if strictly else step < 0)
        if len(bad):
            row = int(bad[0]) + 1
            what = "repeats the time of" if step[row - 1] == 0 else "comes before"
            when = to_datetime(int(ts[row])).strftime("%Y-%m-%d %H:%M:%S")
            raise self.source.error(int(self.number[row]), f"{when} UTC {what} the {self.unit} above", self.unit)
        return ts


def bars_piece(
    rows: Rows,
    options: Options,
    default_clock: str,
    side: SideName,
    ohlc_e5: tuple[Column, Column, Column, Column],
    *,
    quotes: Column | None = None,
    spread_e5: Column | None = None,
    ask_e5: Column | None = None,
    period_ns: int | None = None,
    notes: tuple[Note, ...] = (),
) -> Piece:
    """Check columns and make a bar series.

    Args:
        rows: where they came from.
        options: the user's.
        default_clock: the format's.
        side: which price the columns are.
        ohlc_e5: open, high, low, close, each shape (n,).
        quotes: number of price updates; None or 0 = not known.
        spread_e5: shape (n,); 0 = not recorded, and all 0 = no such column.
        ask_e5: shape (n, 4).
        period_ns: length of a bar that the file itself states; None = the commonest distance of two bars.
        notes: what was left out before.

    Raises:
        DataError: impossible rows, by line.
    """
    if not len(rows.number):
        raise rows.source.error(0, "no bars in it")
    _check_ohlc(rows, ohlc_e5, "ask " if side == "ask" else "")
    if ask_e5 is not None:
        _check_ohlc(rows, (ask_e5[:, 0], ask_e5[:, 1], ask_e5[:, 2], ask_e5[:, 3]), "ask ")
        spread_e5 = np.maximum(ask_e5[:, 3] - ohlc_e5[3], 0)
        side = "both"
    elif spread_e5 is not None:
        rows.refuse(spread_e5 < 0, "spread is negative")
        spread_e5 = spread_e5 if spread_e5.any() else None
    ts = rows.utc_ns(options, default_clock, strictly=True)
    series = BarSeries(
        symbol=options.symbol,
        period_ns=_period_ns(rows, ts, options, period_ns),
        ts_open_ns=ts,
        open_e5=ohlc_e5[0],
        high_e5=ohlc_e5[1],
        low_e5=ohlc_e5[2],
        close_e5=ohlc_e5[3],
        quotes=np.zeros(len(ts), np.int64) if quotes is None else quotes,
        spread_e5=spread_e5,
        ask_e5=ask_e5,
    )
    return Piece(origin=rows.source.origin, side=side, series=series, notes=notes)


def _check_prices(rows: Rows, column: Column, name: str) -> None:
    rows.refuse(column <= 0, f"{name} is not a positive price")
    rows.refuse(column > LARGEST, f"{name} is beyond any price")


def _check_ohlc(rows: Rows, ohlc_e5: tuple[Column, Column, Column, Column], side: str) -> None:
    for name, column in zip(OHLC, ohlc_e5, strict=True):
        _check_prices(rows, column, side + name)
    first, high, low, last = ohlc_e5
    rows.refuse(high < low, f"{side}high is below {side}low")
    rows.refuse(high < np.maximum(first, last), f"{side}high is below {side}open or {side}close")
    rows.refuse(low > np.minimum(first, last), f"{side}low is above {side}open or {side}close")


def _period_ns(rows: Rows, ts: Column, options: Options, stated_ns: int | None) -> int:
    """The stated period; else the commonest distance between bars, the smaller of two equally common."""
    found = stated_ns
    if found is None and len(ts) > 1:
        distances, counts = np.unique(np.diff(ts), return_counts=True)
        found = int(distances[np.argmax(counts)])
    wanted = options.period_ns
    if wanted is None:
        if found is None:
            raise rows.source.error(0, "one bar alone does not tell how long it is; give the period")
        return found
    if found is not None and found != wanted:
        # A short file with holes looks coarser than it is; bars nearer than their length cannot be.
        if len(ts) > 1 and int(np.min(np.diff(ts))) < wanted:
            raise rows.source.error(
                0, f"its bars are {found / NS_PER_S:g} s long, not {wanted / NS_PER_S:g} s; read them and resample"
            )
        if stated_ns is not None or found % wanted:
            raise rows.source.error(0, f"its bars are {found / NS_PER_S:g} s long, not {wanted / NS_PER_S:g} s")
    return wanted


def ticks_piece(
    rows: Rows,
    options: Options,
    default_clock: str,
    bid_e5: Column,
    ask_e5: Column,
    *,
    notes: tuple[Note, ...] = (),
) -> Piece:
    """Check columns and make a tick series; quotes with ask below bid are dropped and counted.

    Raises:
        DataError: impossible rows, by line; or nothing left.
    """
    if not len(rows.number):
        raise rows.source.error(0, "no quotes in it")
    for name, column in (("bid", bid_e5), ("ask", ask_e5)):
        _check_prices(rows, column, name)
    ts = rows.utc_ns(options, default_clock, strictly=False)
    crossed = ask_e5 < bid_e5
    dropped = int(np.count_nonzero(crossed))
    if dropped:
        good = ~crossed
        ts, bid_e5, ask_e5 = ts[good], bid_e5[good], ask_e5[good]
        notes = (*notes, Note(origin=rows.source.origin, rows=dropped, reason="ask below bid"))
        if not len(ts):
            raise rows.source.error(0, "every quote has its ask below its bid; are the columns exchanged?")
    series = TickSeries(symbol=options.symbol, ts_ns=ts, bid_e5=bid_e5, ask_e5=ask_e5)
    return Piece(origin=rows.source.origin, side="both", series=series, notes=notes)
