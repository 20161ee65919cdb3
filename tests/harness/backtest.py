"""Value at risk held against what ten real pairs did next, for random books."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from bus.values import default_instrument
from models.scores import christoffersen, kupiec
from risk.policies.portfolio import PortfolioLimits
from risk.portfolio.model import Portfolio
from tests.harness.basket import PAIRS

HOURS = Path(__file__).parents[2].parent / "shared" / "data" / "bars" / "H1" / "oanda"
SPARSE = 3


@dataclass(frozen=True)
class Tested:
    """One method, level and horizon over all books.

    `misses` and the tests' share of books with p below 5 % are over books; `severity` is the mean loss where the value
    at risk was exceeded, over the expected shortfall of that moment.
    """

    method: str
    level: float
    ahead: int
    n: int
    misses: float
    least: float
    most: float
    kupiec: float
    christoffersen: float
    severity: float
    mean: float


def hours(folder=HOURS, start=None, stop=None):
    """Times (ns), and closes in 1/100000 by symbol, at which all ten pairs have a bar."""
    found = {}
    for symbol in PAIRS:
        table = pq.read_table(folder / f"{symbol}_H1_bid.parquet", columns=["ts", "close"])
        found[symbol] = (table["ts"].cast("timestamp[ns]").cast("int64").to_numpy(), table["close"].to_numpy())
    times = found[PAIRS[0]][0]
    for ts, _ in found.values():
        times = np.intersect1d(times, ts)
    times = times[start:stop]
    return times, {
        symbol: np.rint(close[np.searchsorted(ts, times)] * 1e5).astype(np.int64)
        for symbol, (ts, close) in found.items()
    }


def random_books(count, seed=7):
    """Values by symbol in cents: every other one of all pairs, the rest of SPARSE."""
    source = np.random.default_rng(seed)
    values = np.rint(source.normal(size=(count, len(PAIRS))) * 1e7).astype(np.int64)
    for book in values[1::2]:
        book[source.permutation(len(PAIRS))[SPARSE:]] = 0
    return values


def followed(method, level_pct_e2, prices, times, *, books=20, aheads=(1, 24), **limits):
    """Fold the bars and, where a book can be measured, hold each against what it lost by the next `ahead` bars."""
    portfolio = Portfolio(
        [default_instrument(each) for each in PAIRS],
        PortfolioLimits(method=method, level_pct_e2=level_pct_e2, horizon_bars=1, factor_pct_e2=0, **limits),
    )
    values = random_books(books)
    named = [dict(zip(PAIRS, map(int, book), strict=True)) for book in values]
    lines = [prices[symbol].tolist() for symbol in PAIRS]
    table = np.stack([prices[symbol] for symbol in PAIRS], axis=1).astype(float)
    said = {ahead: [] for ahead in aheads}
    for n, ts in enumerate(times.tolist()):
        for symbol, line in zip(PAIRS, lines, strict=True):
            portfolio.note(symbol, ts, line[n])
        portfolio.settle()
        due = [ahead for ahead in aheads if n % ahead == 0 and n + ahead < len(times)]
        found = portfolio.measure(named) if due else None
        for ahead in due if found is not None else ():
            lost = -values @ (table[n + ahead] / table[n] - 1)
            root = ahead**0.5
            at_risk = np.array([each.value_at_risk for each in found]) * root
            shortfall = np.array([each.shortfall for each in found]) * root
            said[ahead].append((lost, at_risk, shortfall))
    return [_tested(method, level_pct_e2 / 10_000, ahead, rows) for ahead, rows in said.items()]


def _tested(method, level, ahead, rows):
    lost, at_risk, shortfall = (np.array(column) for column in zip(*rows, strict=True))
    missed = lost > at_risk
    n, count = missed.shape
    shares = missed.mean(axis=0)
    return Tested(
        method=method, level=level, ahead=ahead, n=n, misses=float(shares.mean()), least=float(shares.min()),
        most=float(shares.max()),
        kupiec=sum(kupiec(int(each.sum()), n, 1 - level).p_value < 0.05 for each in missed.T) / count,
        christoffersen=sum(christoffersen(~each).p_value < 0.05 for each in missed.T) / count,
        severity=float((lost[missed] / shortfall[missed]).mean()) if missed.any() else 0.0,
        mean=float((at_risk / np.abs(lost).mean(axis=0)).mean()),
    )  # fmt: skip
