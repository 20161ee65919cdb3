"""Parquet with columns of bars or ticks. The only file that imports pyarrow, and only when a Parquet file is met.

Column names are those of the generic CSV. Metadata may give ``symbol``, ``side`` (bid, ask) and ``granularity`` (M1,
H1). Times are timestamps, or integers since 1970 in seconds, milli-, micro- or nanoseconds. Clock: UTC; a timestamp
column with a zone is UTC whatever the clock says.

What `encode` writes, the reader reads as the same integers; equal series and metadata give equal bytes.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.history import contract, names
from adapters.history.columns import Rows, bars_piece, ticks_piece
from adapters.history.contract import Head, Options, Piece, SideName, Source
from adapters.history.headers import Layout, layout_of
from bus.errors import DataError
from bus.series import BarSeries, Column, TickSeries
from bus.values import LARGEST, PRICE_SCALE

_MAGIC = b"PAR1"
_MAX_ROWS = 200_000_000
# Integer times are told apart by size: 2001 to 2286 in each unit.
_UNITS = ((10**9, 10**10, 1_000_000_000), (10**12, 10**13, 1_000_000), (10**15, 10**16, 1_000), (10**18, 10**19, 1))


class Parquet:
    """A table of bars or ticks."""

    name = "Parquet"

    def recognise(self, head: Head) -> bool:
        """By its magic bytes."""
        return head.data.startswith(_MAGIC)

    def symbol(self, head: Head) -> str | None:
        """From the metadata, else from the names."""
        if not head.member:
            try:
                metadata = _open(head.path).schema_arrow.metadata or {}
            except Exception:  # noqa: BLE001  (pyarrow raises many kinds; reading reports the damage)
                metadata = {}
            symbol = metadata.get(b"symbol", b"").decode("utf-8", errors="replace").upper().strip()
            if symbol:
                return symbol
        return names.symbol_of(head)

    def read(self, source: Source, options: Options) -> Piece:
        """Bars or ticks."""
        try:
            file = _open(io.BytesIO(source.data))
            size = sum(file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups))
            layout = _checked_layout(source, size, file.metadata.num_rows, list(file.schema_arrow.names))
            wanted = _columns(layout)
            table = file.read(columns=[file.schema_arrow.names[column] for column in wanted])
            columns = {column: table.column(i) for i, column in enumerate(wanted)}
            return _piece(source, options, layout, columns, _words(file.schema_arrow.metadata))
        except DataError:
            raise
        except Exception as error:
            # pyarrow raises its own kinds, OSError, ValueError, KeyError, NotImplementedError … on damaged input.
            text = str(error).split("\n", 1)[0][:120]
            raise source.error(0, f"damaged or unusual Parquet ({text})") from error


def encode(series: BarSeries | TickSeries, metadata: dict[str, str]) -> bytes:
    """A Parquet file of one-sided bars, or of ticks; it may have no rows.

    Args:
        series: bars without their ask side, or ticks.
        metadata: kept in the file; ``symbol``, ``side`` and ``granularity`` are what the reader looks for.
    """
    import pyarrow as pa  # here, because the daemon must start without pyarrow
    from pyarrow.parquet import write_table

    times, prices = (
        (series.ts_ns, {"bid": series.bid_e5, "ask": series.ask_e5})
        if isinstance(series, TickSeries)
        else (
            series.ts_open_ns,
            {"open": series.open_e5, "high": series.high_e5, "low": series.low_e5, "close": series.close_e5},
        )
    )
    columns: dict[str, Any] = {"ts": pa.array(times, pa.timestamp("ns", tz="UTC"))}
    columns |= {name: column / PRICE_SCALE for name, column in prices.items()}
    if isinstance(series, BarSeries):
        columns["volume"] = series.quotes
    out = io.BytesIO()
    write_table(pa.table(columns).replace_schema_metadata(metadata), out, compression="zstd")
    return out.getvalue()


def described(path: Path) -> tuple[int, dict[str, str]]:
    """Rows and metadata of a Parquet file, without reading its columns.

    Raises:
        DataError: it is none, or damaged.
    """
    try:
        file = _open(path)
        return file.metadata.num_rows, _words(file.schema_arrow.metadata)
    except Exception as error:
        # pyarrow raises its own kinds, OSError, ValueError … on damaged input.
        raise DataError(f"{path}: damaged or no Parquet ({str(error).splitlines()[0][:120]})") from error


def _words(metadata: dict[bytes, bytes] | None) -> dict[str, str]:
    return {key.decode("utf-8", "replace"): value.decode("utf-8", "replace") for key, value in (metadata or {}).items()}


def _open(file: Any) -> Any:
    from pyarrow.parquet import ParquetFile  # here, because the daemon must start without pyarrow

    return ParquetFile(file)


def _checked_layout(source: Source, size: int, rows: int, columns: list[str]) -> Layout:
    if size > contract.MAX_UNPACKED_BYTES or rows > _MAX_ROWS:
        raise source.error(0, f"{size} bytes unpacked, more than the limit of {contract.MAX_UNPACKED_BYTES}")
    layout = layout_of(columns)
    if layout is None:
        raise source.error(0, f"needs a time column and open, high, low, close or bid, ask; has {columns}"[:400])
    return layout


def _columns(layout: Layout) -> list[int]:
    found = [layout.time, *(layout.ohlc or ()), *(layout.ask or ()), *(layout.bid_ask or ())]
    found += [column for column in (layout.time_of_day, layout.volume, layout.spread) if column is not None]
    return sorted(set(found))


def _piece(
    source: Source, options: Options, layout: Layout, columns: dict[int, Any], metadata: dict[str, str]
) -> Piece:
    time_ns, in_utc = _time(source, columns[layout.time])
    rows = Rows(source=source, number=np.arange(1, len(time_ns) + 1), time_ns=time_ns, in_utc=in_utc, unit="row")

    def prices(column: int, name: str) -> Column:
        return _scaled(rows, columns[column], name, PRICE_SCALE)

    if layout.bid_ask:
        bid, ask = layout.bid_ask
        return ticks_piece(rows, options, "utc", prices(bid, "bid"), prices(ask, "ask"))
    o, h, l, c = (prices(*pair) for pair in zip(layout.ohlc or (), ("open", "high", "low", "close"), strict=True))
    return bars_piece(
        rows,
        options,
        "utc",
        _side(source, metadata),
        (o, h, l, c),
        quotes=None if layout.volume is None else _scaled(rows, columns[layout.volume], "volume", 1),
        spread_e5=None if layout.spread is None else prices(layout.spread, "spread"),
        ask_e5=np.stack([prices(column, "ask price") for column in layout.ask], axis=1) if layout.ask else None,
        period_ns=names.period_in(metadata.get("granularity", "")),
    )


def _side(source: Source, metadata: dict[str, str]) -> SideName:
    said = metadata.get("side", "").lower()
    return "ask" if said == "ask" else "bid" if said == "bid" else names.side_of(source.head)


def _time(source: Source, column: Any) -> tuple[Column, bool]:
    """Nanoseconds, and whether they are UTC for certain."""
    import pyarrow as pa  # here, because the daemon must start without pyarrow

    kind = column.type
    if not len(column):
        raise source.error(0, "no rows in it")
    if column.null_count:
        raise source.error(0, f"{column.null_count} rows have no time")
    if pa.types.is_timestamp(kind):
        whole = column.cast(pa.timestamp("ns", tz=kind.tz)).cast(pa.int64())
        return whole.to_numpy().astype(np.int64), kind.tz is not None
    if pa.types.is_date(kind):
        return column.cast(pa.timestamp("ns")).cast(pa.int64()).to_numpy().astype(np.int64), False
    if pa.types.is_integer(kind):
        values = column.cast(pa.int64()).to_numpy().astype(np.int64)
        for least, beyond, scale in _UNITS:
            if values.min() >= least and values.max() < min(beyond, 2**63 - 1):
                return values * scale, True
        raise source.error(0, "integer times are not seconds, milli-, micro- or nanoseconds of this century")
    raise source.error(0, f"the time column is of type {kind}; make it a timestamp")


def _scaled(rows: Rows, column: Any, name: str, scale: int) -> Column:
    """A float column in integer units, half away from zero as everywhere."""
    values: NDArray[np.float64] = np.asarray(column.to_numpy(), np.float64)
    rows.refuse(~np.isfinite(values), f"{name} is missing or not finite")
    scaled = values * scale
    rows.refuse(np.abs(scaled) > LARGEST, f"{name} is beyond any price")
    return np.where(scaled >= 0, np.floor(scaled + 0.5), np.ceil(scaled - 0.5)).astype(np.int64)
