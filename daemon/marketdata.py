"""From market-data files to what a paper day needs: quotes to trade on, bars to learn from, and where one ends."""

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from adapters import history
from adapters.history import Note, SpreadModel
from bus.calendar import to_datetime
from bus.errors import DataError
from bus.messages import Bar, Quote
from bus.series import BarSeries, TickSeries
from bus.values import NS_PER_HOUR, NS_PER_S
from models.bars import REQUEST_BARS, BarBuilder

SMALLEST_TRADE_BARS = 30
SMALLEST_TRAIN_BARS = 500
LARGEST_TRAIN_BARS = 250_000
"""The newest bars that the default models learn from: 3 million minutes would take 6 GB and 15 minutes."""
LARGEST_CALIBRATE_BARS = 50_000
"""The newest bars that are calibrated on; a score for each travels in one journal record."""
_CHUNK_ROWS = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Where training ends and calibration ends (UTC ns): everything from `calibrate_end_ns` on is traded, unseen."""

    train_end_ns: int
    calibrate_end_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolData:
    """One symbol: the source's rows, and the bid bars that the core would build from their quotes."""

    series: BarSeries | TickSeries
    bars: BarSeries
    spread: SpreadModel

    @property
    def symbol(self) -> str:
        """For instance EURUSD."""
        return self.series.symbol

    def train(self, split: Split) -> BarSeries:
        """Bars to learn from: the newest ones where there are more than anybody needs."""
        stop = self.index(split.train_end_ns)
        return self.bars.slice(max(0, stop - LARGEST_TRAIN_BARS), stop)

    def calibrate(self, split: Split) -> BarSeries:
        """Bars to calibrate on, the newest ones likewise."""
        start, stop = self.index(split.train_end_ns), self.index(split.calibrate_end_ns)
        return self.bars.slice(max(start, stop - LARGEST_CALIBRATE_BARS), stop)

    def history(self, split: Split) -> list[Bar]:
        """The last bars before trading starts, as messages: what a forecast may look back on."""
        stop = self.index(split.calibrate_end_ns)
        return [_as_message(self.bars, row) for row in range(max(0, stop - REQUEST_BARS), stop)]

    def trade_rows(self, split: Split) -> tuple[int, int]:
        """First (included) and last (excluded) row of the source that is traded on."""
        ts = self.series.ts_open_ns if isinstance(self.series, BarSeries) else self.series.ts_ns
        return int(np.searchsorted(ts, split.calibrate_end_ns)), len(ts)

    def trade_quotes(self, split: Split) -> Iterator[Quote]:
        """The quotes to trade on, in order."""
        start, stop = self.trade_rows(split)
        return history.quotes(self.series, spread=self.spread, start=start, stop=stop)

    def index(self, ts_ns: int) -> int:
        """The first bar that opens at `ts_ns` or later."""
        return int(np.searchsorted(self.bars.ts_open_ns, ts_ns))


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketData:
    """All symbols of a run, on one split."""

    symbols: tuple[SymbolData, ...]
    split: Split
    period_ns: int
    description: str
    fingerprint: str
    notes: tuple[str, ...] = ()
    """What was left out of the files, and why: one line each."""

    def trade_quotes(self) -> Iterator[Quote]:
        """Quotes of all symbols merged in order of time; of equal times, in order of symbols."""
        sources = [symbol.trade_quotes(self.split) for symbol in self.symbols]
        return sources[0] if len(sources) == 1 else heapq.merge(*sources, key=_time)

    def trade_quote_count(self) -> int:
        """How many quotes `trade_quotes` will give."""
        total = 0
        for symbol in self.symbols:
            start, stop = symbol.trade_rows(self.split)
            total += (stop - start) * (4 if isinstance(symbol.series, BarSeries) else 1)
        return total


def _time(quote: Quote) -> int:
    return quote.ts_init_ns


def load(
    path: Path | None,
    *,
    symbols: Sequence[str],
    clock: str | None,
    period_s: int,
    spread_of: Callable[[str], SpreadModel],
    train_pct: int,
    calibrate_pct: int,
    since_ns: int = 0,
    ends_ns: tuple[int, int] | None = None,
    check: bool = True,
) -> MarketData:
    """Read market data and split it by time.

    Args:
        path: a file or folder; None = the real EURUSD hours of the `sample` extra.
        symbols: which symbols to use; empty = all that are found.
        clock: clock of the file's timestamps; None = what the format says.
        period_s: length of the bars that models and core work on; 0 = the bars' own, and an hour for ticks.
        spread_of: the spread model of a symbol, for sources with one side.
        train_pct: share of the bars to learn from, in percent.
        calibrate_pct: share to calibrate on; what remains is traded.
        since_ns: what is earlier is left out.
        ends_ns: where learning and calibration end; None = where those shares of the longest symbol's bars end.
        check: whether every symbol must have enough bars in every part; otherwise `check_parts` is still to be asked.

    Raises:
        DataError: nothing readable, a symbol missing, or too little data for the split.
    """
    notes: list[str] = []
    if path is None:
        found: list[BarSeries | TickSeries] = [history.sample()]
        source = "EURUSD hourly bars from the sample extra"
    else:
        only = symbols[0] if len(symbols) == 1 else None
        read = history.load(path, symbol=only, clock=clock)
        found, notes = list(read.series), [words(note, path) for note in read.notes]
        source = path.name
    if symbols:
        missing = sorted(set(symbols) - {series.symbol for series in found})
        if missing:
            there = ", ".join(series.symbol for series in found) or "nothing"
            raise DataError(f"{source}: no data for {', '.join(missing)}; found {there}")
        found = [series for series in found if series.symbol in symbols]
    found = [each for each in (_since(series, since_ns) for series in found) if len(each)]
    if not found:
        raise DataError(f"{source}: no market data found{' since then' if since_ns else ''}")
    period_ns = period_s * NS_PER_S or _own_period_ns(found, source)
    digest = sha256()
    data: list[SymbolData] = []
    for series in sorted(found, key=lambda each: each.symbol):
        spread = spread_of(series.symbol)
        bars = build_bars(series, spread, period_ns)
        data.append(SymbolData(series=series, bars=bars, spread=spread))
        for column in (bars.ts_open_ns, bars.open_e5, bars.high_e5, bars.low_e5, bars.close_e5, bars.spread_e5):
            if column is not None:
                digest.update(column.tobytes())
    longest = max(data, key=lambda each: len(each.bars)).bars
    if ends_ns is None:
        split = _split(longest, train_pct, calibrate_pct, source)
    else:
        split = Split(train_end_ns=ends_ns[0], calibrate_end_ns=ends_ns[1])
    first, last = to_datetime(int(longest.ts_open_ns[0])), to_datetime(int(longest.ts_open_ns[-1]))
    names = ", ".join(each.symbol for each in data)
    made = MarketData(
        symbols=tuple(data),
        split=split,
        period_ns=period_ns,
        description=f"{source}: {names}, {len(longest):,} bars from {first:%Y-%m-%d} to {last:%Y-%m-%d}",
        fingerprint=digest.hexdigest()[:16],
        notes=tuple(notes),
    )
    if check:
        check_parts(made)
    return made


def check_parts(data: MarketData) -> None:
    """Every symbol needs its own bars in every part of the one split.

    Raises:
        DataError: one has too few.
    """
    for each in data.symbols:
        _check_parts(each, data.split, data.description.partition(":")[0])


def _since(series: BarSeries | TickSeries, since_ns: int) -> BarSeries | TickSeries:
    ts_ns = series.ts_open_ns if isinstance(series, BarSeries) else series.ts_ns
    return series.slice(int(np.searchsorted(ts_ns, since_ns)), len(series))


def words(note: Note, path: Path) -> str:
    """What was left out of the files under a path, and why, in one line."""
    origin = Path(note.origin)
    name = origin.relative_to(path) if origin != path and origin.is_relative_to(path) else origin.name
    return f"{name}: {f'{note.rows:,} rows left out, ' if note.rows else 'left out, '}{note.reason}"


def _own_period_ns(found: Sequence[BarSeries | TickSeries], source: str) -> int:
    periods = {series.period_ns for series in found if isinstance(series, BarSeries)}
    if len(periods) > 1:
        lengths = ", ".join(f"{period // NS_PER_S} s" for period in sorted(periods))
        raise DataError(f"{source}: bars of several lengths ({lengths}); choose one with data.period_s")
    return periods.pop() if periods else NS_PER_HOUR


def _split(bars: BarSeries, train_pct: int, calibrate_pct: int, source: str) -> Split:
    n = len(bars)
    train_end, calibrate_end = n * train_pct // 100, n * (train_pct + calibrate_pct) // 100
    if train_end < SMALLEST_TRAIN_BARS or n - calibrate_end < SMALLEST_TRADE_BARS:
        raise DataError(
            f"{source}: {_bars(n)} of {bars.period_ns // NS_PER_S} s {'is' if n == 1 else 'are'} too few: the "
            f"{train_pct} % to learn from must be at least {SMALLEST_TRAIN_BARS} and the "
            f"{100 - train_pct - calibrate_pct} % to trade at least {SMALLEST_TRADE_BARS}; give more data, or set "
            "data.period_s to make shorter bars of ticks"
        )
    return Split(train_end_ns=int(bars.ts_open_ns[train_end]), calibrate_end_ns=int(bars.ts_open_ns[calibrate_end]))


def _check_parts(data: SymbolData, split: Split, source: str) -> None:
    needed = (
        ("learn from", len(data.train(split)), SMALLEST_TRAIN_BARS),
        ("calibrate on", len(data.calibrate(split)), SMALLEST_TRADE_BARS),
        ("trade", len(data.bars) - data.index(split.calibrate_end_ns), SMALLEST_TRADE_BARS),
    )
    for purpose, there, smallest in needed:
        if there < smallest:
            raise DataError(
                f"{source}: {data.symbol} has {_bars(there)} to {purpose}, at least {smallest} are needed: learning "
                f"ends at {to_datetime(split.train_end_ns):%Y-%m-%d} and trading begins at "
                f"{to_datetime(split.calibrate_end_ns):%Y-%m-%d} for all symbols; give data over the same time, or "
                "name the symbols to take with --symbol"
            )


def _bars(n: int) -> str:
    return f"{n} bar" if n == 1 else f"{n} bars"


def build_bars(series: BarSeries | TickSeries, spread: SpreadModel, period_ns: int) -> BarSeries:
    """The bars the core would build: the same quotes through the same builder, so that models learn what they meet."""
    builder = BarBuilder(series.symbol, period_ns)
    rows: list[tuple[int, int, int, int, int, int, int]] = []
    chunks: list[np.ndarray[tuple[int, int], np.dtype[np.int64]]] = []

    def keep(bar: Bar | None) -> None:
        if bar is not None:
            rows.append((bar.ts_open_ns, bar.open_e5, bar.high_e5, bar.low_e5, bar.close_e5, bar.spread_e5, bar.quotes))
        if len(rows) == _CHUNK_ROWS:  # as Python objects, millions of bars would take a gigabyte
            chunks.append(np.array(rows, np.int64))
            rows.clear()

    if isinstance(series, BarSeries) and period_ns % series.period_ns:
        own_s = series.period_ns // NS_PER_S
        raise DataError(f"{series.symbol}: bars of {own_s} s cannot make bars of {period_ns // NS_PER_S} s")
    for quote in history.quotes(series, spread=spread):
        keep(builder.on_quote(quote))
    keep(builder.on_time(builder.end_ns))
    columns = np.concatenate([*chunks, np.array(rows, np.int64).reshape(-1, 7)])
    return BarSeries(
        symbol=series.symbol,
        period_ns=period_ns,
        ts_open_ns=columns[:, 0].copy(),
        open_e5=columns[:, 1].copy(),
        high_e5=columns[:, 2].copy(),
        low_e5=columns[:, 3].copy(),
        close_e5=columns[:, 4].copy(),
        spread_e5=columns[:, 5].copy(),
        quotes=columns[:, 6].copy(),
    )


def _as_message(bars: BarSeries, row: int) -> Bar:
    ts_open_ns = int(bars.ts_open_ns[row])
    return Bar(
        symbol=bars.symbol,
        period_ns=bars.period_ns,
        ts_open_ns=ts_open_ns,
        ts_close_ns=ts_open_ns + bars.period_ns,
        open_e5=int(bars.open_e5[row]),
        high_e5=int(bars.high_e5[row]),
        low_e5=int(bars.low_e5[row]),
        close_e5=int(bars.close_e5[row]),
        spread_e5=0 if bars.spread_e5 is None else int(bars.spread_e5[row]),
        quotes=int(bars.quotes[row]),
    )
