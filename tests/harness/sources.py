"""Raw market data that features are made of, cut before anything is computed: made up, and real where it is there."""

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from bus.series import BarSeries, TickSeries
from bus.values import NS_PER_HOUR
from models.columns import from_series
from models.features import Inputs, align, tick_bars
from tests.harness.markets import made_up_bars

SHARED = Path(__file__).parents[2] / "../shared/data"
REAL = (SHARED / "bars/H1/oanda").is_dir()
PAIRS = ("AUDJPY", "AUDUSD", "EURGBP", "EURJPY", "EURUSD", "GBPJPY", "GBPUSD", "NZDUSD", "USDCAD", "USDJPY")
FIVE_MINUTES_NS = 300 * 10**9


@dataclass(frozen=True)
class Source:
    """Bars of one pair, with what other pairs and ticks there are beside them."""

    bars: BarSeries
    others: dict[str, BarSeries] = field(default_factory=dict)
    ticks: TickSeries | None = None

    def __len__(self):
        return len(self.bars)

    def inputs(self, start=0, stop=None, needs=("ticks", "cross")):
        """Inputs of rows start to stop, made from raw data that hold nothing before the one or after the other.

        What is not in `needs` is left out, to save its time.
        """
        bars = self.bars.slice(start, len(self) if stop is None else stop)
        if not len(bars):
            return Inputs(columns=from_series(bars))
        since_ns, until_ns = int(bars.ts_open_ns[0]), int(bars.ts_open_ns[-1])
        columns = from_series(bars)
        ticks = panel = None
        if self.ticks is not None and "ticks" in needs:
            ticks = tick_bars(cut(self.ticks, since_ns, until_ns + bars.period_ns), columns)
        if self.others and "cross" in needs:
            others = {}
            for name, other in self.others.items():
                low, high = np.searchsorted(other.ts_open_ns, (since_ns, until_ns + 1)).tolist()
                others[name] = from_series(other.slice(low, high))
            panel = align(bars.symbol, columns, others)
        return Inputs(columns=columns, ticks=ticks, panel=panel)


def cut(ticks, since_ns, until_ns):
    low, high = np.searchsorted(ticks.ts_ns, (since_ns, until_ns)).tolist()
    return TickSeries(
        symbol=ticks.symbol,
        ts_ns=ticks.ts_ns[low:high],
        bid_e5=ticks.bid_e5[low:high],
        ask_e5=ticks.ask_e5[low:high],
    )


def made_up_ticks(bars, seed, *, most=12):
    """1 to `most` ticks a bar between its low and high, the last at its close."""
    random = np.random.default_rng(seed)
    counts = random.integers(1, most + 1, len(bars))
    row = np.repeat(np.arange(len(bars)), counts)
    ts_ns = np.sort(bars.ts_open_ns[row] + random.integers(0, bars.period_ns, len(row)))
    bid_e5 = random.integers(bars.low_e5[row], bars.high_e5[row] + 1)
    last = np.cumsum(counts) - 1
    bid_e5[last] = bars.close_e5
    return TickSeries(symbol=bars.symbol, ts_ns=ts_ns, bid_e5=bid_e5, ask_e5=bid_e5 + random.integers(3, 25, len(row)))


@lru_cache(maxsize=4)
def made_up(rows=2400, seed=4):
    """EURUSD with ticks, counts of quotes and five other pairs, some of which lack bars."""
    random = np.random.default_rng(seed)
    plain = made_up_bars(rows, seed)
    ticks = made_up_ticks(plain, seed + 1)
    quotes = np.bincount(np.searchsorted(plain.ts_open_ns, ticks.ts_ns, side="right") - 1, minlength=rows)
    bars = BarSeries(**{**fields_of(plain), "quotes": quotes.astype(np.int64)})
    others = {}
    for number, name in enumerate(("GBPUSD", "USDJPY", "EURGBP", "EURJPY", "XAUUSD")):
        other = made_up_bars(rows, seed + 10 + number, symbol=name)
        kept = np.flatnonzero(random.random(rows) > 0.02)
        others[name] = BarSeries(
            **{n: v[kept] if isinstance(v, np.ndarray) else v for n, v in fields_of(other).items()}
        )
    return Source(bars=bars, others=others, ticks=ticks)


def fields_of(series):
    return {name: getattr(series, name) for name in BarSeries.__slots__}


@lru_cache(maxsize=16)
def real_bars(pair, rows=6000, *, skip=0, folder="bars/H1/oanda", period="H1"):
    """Hourly bid bars with the spread at the close and the number of price updates."""
    bid = pq.read_table(SHARED / folder / f"{pair}_{period}_bid.parquet").slice(skip, rows)
    ask = pq.read_table(SHARED / folder / f"{pair}_{period}_ask.parquet").slice(skip, rows)
    return BarSeries(
        symbol=pair,
        period_ns=NS_PER_HOUR,
        ts_open_ns=bid["ts"].to_numpy().astype(np.int64),
        **{f"{name}_e5": e5(bid, name) for name in ("open", "high", "low", "close")},
        quotes=bid["volume"].to_numpy().astype(np.int64),
        spread_e5=e5(ask, "close") - e5(bid, "close"),
    )


def e5(table, name):
    return np.round(table[name].to_numpy() * 1e5).astype(np.int64)


@lru_cache(maxsize=2)
def real(pair="USDJPY", rows=6000):
    """One pair from 2016 on with the nine others."""
    others = {}
    for name in PAIRS:
        others[name] = real_bars(name, rows if name not in {"EURUSD", "NZDUSD"} else 10**6)
    return Source(bars=others.pop(pair), others=others)


@lru_cache(maxsize=1)
def real_ticks():
    """Five-minute bars of real ticks, with the ticks."""
    table = pq.read_table(SHARED / "ticks/GBPJPY_dukascopy_201212_a.parquet")
    ticks = TickSeries(
        symbol="GBPJPY", ts_ns=table["ts"].to_numpy().astype(np.int64), bid_e5=e5(table, "bid"), ask_e5=e5(table, "ask")
    )
    start_ns = ticks.ts_ns - ticks.ts_ns % FIVE_MINUTES_NS
    opens = np.flatnonzero(np.r_[True, start_ns[1:] != start_ns[:-1]])
    closes = np.r_[opens[1:], len(ticks)] - 1
    return Source(
        bars=BarSeries(
            symbol="GBPJPY",
            period_ns=FIVE_MINUTES_NS,
            ts_open_ns=start_ns[opens],
            open_e5=ticks.bid_e5[opens],
            high_e5=np.maximum.reduceat(ticks.bid_e5, opens),
            low_e5=np.minimum.reduceat(ticks.bid_e5, opens),
            close_e5=ticks.bid_e5[closes],
            quotes=closes - opens + 1,
            spread_e5=ticks.ask_e5[closes] - ticks.bid_e5[closes],
        ),
        ticks=ticks,
    )
