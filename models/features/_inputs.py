"""What features are computed from: bars, and where they exist ticks and the bars of other pairs.

Each optional input is either there or absent. Absent is not zero: a feature that needs it is refused by name
(`models.features.compute`), and a bar that has no value of its own (no tick in it, a count of quotes that nobody kept)
is NaN there.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from bus.errors import DataError
from bus.series import TickSeries
from bus.values import PRICE_SCALE
from models.columns import Columns, Floats, Ints
from models.features._windows import ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class TickBars:
    """Ticks told bar by bar, made by `tick_bars`. Shapes (n,), NaN where a bar has no tick.

    Each value depends on the ticks inside the bar alone: the first tick of a bar is compared with nothing.

    Attributes:
        quotes: ticks in the bar.
        flow: sum of sign(change of bid) + sign(change of ask): order-flow imbalance of unit sizes (Cont, Kukanov and
            Stoikov 2014).
        moves: sum of the absolute signs: what `flow` would be if every change had gone one way.
        variance: sum of squared changes of the log mid.
        mid_mean: mean log mid, each tick weighted by the time it stood, the last until the bar's end.
        mid_close: log mid of the last tick.
        spread_mean_bp: mean of 10^4 (ask - bid) / mid.
        silence: longest time without a tick as a share of the bar, its edges included.
    """

    quotes: Floats
    flow: Floats
    moves: Floats
    variance: Floats
    mid_mean: Floats
    mid_close: Floats
    spread_mean_bp: Floats
    silence: Floats


def tick_bars(ticks: TickSeries, columns: Columns) -> TickBars:
    """Tell ticks by the bars they fall into; ticks outside every bar are left out.

    Raises:
        DataError: ticks out of order, or a price that is not positive.
    """
    where = f"ticks of {ticks.symbol}"
    if bool((ticks.ts_ns[1:] < ticks.ts_ns[:-1]).any()):
        raise DataError(f"{where}: out of order; sort them by time")
    if len(ticks) and min(int(ticks.bid_e5.min()), int(ticks.ask_e5.min())) <= 0:
        raise DataError(f"{where}: a price that is not positive; drop the tick at its source")
    bars = len(columns)
    bar = np.searchsorted(columns.ts_open_ns, ticks.ts_ns, side="right") - 1
    inside = bar >= 0
    inside[inside] = ticks.ts_ns[inside] < columns.ts_open_ns[bar[inside]] + columns.period_ns
    bar, ts_ns = bar[inside], ticks.ts_ns[inside]
    bid, ask = ticks.bid_e5[inside], ticks.ask_e5[inside]
    if not len(bar):
        nothing = np.full(bars, np.nan)
        return TickBars(**{each.name: nothing for each in fields(TickBars)})

    mid = np.log((bid + ask) / (2.0 * PRICE_SCALE))
    same = bar[1:] == bar[:-1]
    signs = np.sign(np.diff(bid)) * same, np.sign(np.diff(ask)) * same
    change = np.where(same, np.diff(mid), 0.0)
    opened = columns.ts_open_ns[bar]
    until = np.r_[np.where(same, ts_ns[1:], opened[:-1] + columns.period_ns), opened[-1] + columns.period_ns]
    stood = (until - ts_ns).astype(np.float64)
    before = ts_ns - np.r_[opened[:1], np.where(same, ts_ns[:-1], opened[1:])]

    def summed(values: Floats) -> Floats:
        # bincount adds one after the other, so that a bar's sum does not depend on what is around it
        return np.bincount(bar, values, bars).astype(np.float64)

    quotes = summed(np.ones(len(bar)))
    empty = np.where(quotes > 0.0, 0.0, np.nan)
    silence = np.zeros(bars)
    np.maximum.at(silence, bar, np.maximum(stood, before))
    # measured from the bar's first mid, so that a mean of nearly equal numbers keeps its digits
    first = np.r_[True, ~same]
    base = np.zeros(bars)
    base[bar[first]] = mid[first]
    mid_close = np.zeros(bars)
    mid_close[bar[np.r_[~same, True]]] = mid[np.r_[~same, True]]
    return TickBars(
        quotes=quotes + empty,
        flow=summed(np.r_[0.0, signs[0] + signs[1]]) + empty,
        moves=summed(np.r_[0.0, np.abs(signs[0]) + np.abs(signs[1])]) + empty,
        variance=summed(np.r_[0.0, change * change]) + empty,
        mid_mean=base + ratio(summed((mid - base[bar]) * stood), summed(stood)) + empty,
        mid_close=mid_close + empty,
        spread_mean_bp=ratio(summed(2e4 * (ask - bid) / (ask + bid)), quotes) + empty,
        silence=silence / columns.period_ns + empty,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Returns of other pairs on the clock of one pair's bars, made by `align`.

    Attributes:
        symbol: the pair whose bars set the clock.
        returns: log return of each other pair over the step from bar t - 1 to bar t of this pair, shape (n,), by
            symbol in the order of names; 0 where the other pair lacks one of the two bars, NaN in the first row.
    """

    symbol: str
    returns: Mapping[str, Floats]


def align(symbol: str, columns: Columns, others: Mapping[str, Columns]) -> Panel:
    """Put the bars of other pairs beside those of `symbol`, bar by equal opening time.

    Bars of equal opening time and length close together, so nothing is known early; a row depends on this bar and the
    bar before it alone.

    Raises:
        DataError: bars of another length.
    """
    returns: dict[str, Floats] = {}
    for name in sorted(others):
        other = others[name]
        if other.period_ns != columns.period_ns:
            raise DataError(
                f"bars of {name} last {other.period_ns} ns, those of {symbol} {columns.period_ns} ns; give equal ones"
            )
        step = np.full(len(columns), np.nan)
        if len(other):
            at = np.minimum(np.searchsorted(other.ts_open_ns, columns.ts_open_ns), len(other) - 1)
            there = other.ts_open_ns[at] == columns.ts_open_ns
            close = np.log(np.ascontiguousarray(other.close_e5)[at] / PRICE_SCALE)
            step[1:] = np.where(there[1:] & there[:-1], close[1:] - close[:-1], 0.0)
        else:
            step[1:] = 0.0
        returns[name] = step
    return Panel(symbol=symbol, returns=returns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Bars with what goes with them, row by row. None = absent."""

    columns: Columns
    ticks: TickBars | None = None
    panel: Panel | None = None

    def __len__(self) -> int:
        """Number of bars."""
        return len(self.columns)

    def has(self, need: str) -> bool:
        """Whether what a feature needs is there: `bars`, `quotes`, `ticks` or `cross`.

        Counts of quotes that are 0 throughout were not kept.
        """
        if need == "quotes":
            return bool((self.columns.quotes > 0).any())
        return (need != "ticks" or self.ticks is not None) and (need != "cross" or self.panel is not None)

    def rows(self, start: int, stop: int) -> "Inputs":
        """Bars start (included) to stop (excluded), sharing memory."""
        part = np.s_[start:stop]
        ticks, panel = self.ticks, self.panel
        if ticks is not None:
            ticks = TickBars(**{each.name: getattr(ticks, each.name)[part] for each in fields(TickBars)})
        if panel is not None:
            panel = Panel(symbol=panel.symbol, returns={name: step[part] for name, step in panel.returns.items()})
        return Inputs(columns=self.columns.rows(start, stop), ticks=ticks, panel=panel)

    def tail(self, bars: int) -> "Inputs":
        """The newest `bars` bars (all where there are fewer)."""
        return self.rows(max(0, len(self) - bars), len(self))

    def sha256(self) -> str:
        """Identity of every number in here."""
        digest = hashlib.sha256(f"{self.columns.period_ns} {len(self)};".encode())

        def add(name: str, column: Floats | Ints | None) -> None:
            digest.update(f"{name} {column is not None};".encode())
            if column is not None:
                digest.update(np.ascontiguousarray(column).tobytes())

        for name in ("ts_open_ns", "open_e5", "high_e5", "low_e5", "close_e5", "spread_e5", "quotes"):
            add(name, getattr(self.columns, name))
        for each in fields(TickBars):
            add(each.name, None if self.ticks is None else getattr(self.ticks, each.name))
        for name, step in () if self.panel is None else sorted(self.panel.returns.items()):
            add(f"{self.panel.symbol if self.panel else ''} {name}", step)
        return digest.hexdigest()
