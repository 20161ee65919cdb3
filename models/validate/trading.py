"""What acting on the forecasts would have earned after costs, and how much of it the number of attempts explains.

Theory of operation. A forecast h bars ahead is acted on with 1/h of the stake, held for h bars, so that at any time the
position is the mean of the last h signals (overlapping portfolios, Jegadeesh and Titman 1993): every forecast counts
and yet each bar's profit is earned once. Profits are sums over UTC days, of a constant stake, flat days included; those
do not overlap, and what autocorrelation is left Lo's factor and Newey-West intervals allow for (`models.performance`).
Prices are mids; a change of position pays half the spread of that bar, from the data where they have bid and ask, else
a stated one. Swap, slippage and financing are not in it. Two rules: ``interval`` acts where the interval of 10 % clears
the spread of the round trip, as `strategies.interval` does; ``sign`` always follows the sign of the forecast.

A deflated Sharpe ratio is the chance that the true one is positive given that so many configurations were tried
(Bailey and Lopez de Prado 2014). Trials are models x horizons x rules x symbols of the run, or more where the user says
that more was tried. Their variance is that of the ratios before costs of all that traded: costs are known and no luck,
and a rule that pays its stake away would otherwise make every other look like luck.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from msgspec.structs import replace

from models.columns import Floats, Ints
from models.performance import Sharpe, luckiest_sharpe, max_drawdown, probabilistic_sharpe, sharpe
from models.random_walk import MODEL_ID
from models.validate.rows import round_to
from models.validate.tracks import DECIDING_PPM, History, Track
from models.validate.walkforward import Tracks

RULES = ("interval", "sign")

_YEAR_NS = 365.25 * 86_400e9
_DAY_NS = 86_400 * 10**9


class TradingRow(msgspec.Struct, frozen=True, kw_only=True):
    """A forecaster, traded by a rule on one market at one horizon over the tested windows.

    Attributes:
        rule: ``interval`` or ``sign``.
        signals: share of the bars that called for a position.
        cost: mean spread of a round trip, basis points of the price; `cost_from`: ``data`` or ``stated``.
        days: on which there were bars.
        turnover: stake traded a year, one way, in stakes.
        gross: profit a year before costs, % of the stake, not compounded; `net` after costs.
        sharpe: after costs, annualised after Lo (2002), with its 95 % interval; None where nothing was traded.
        sharpe_gross: before costs.
        sharpe_day: after costs, of a day, not annualised; `skew` and `kurtosis` (3 = Gaussian) of the days.
        sharpe_gross_day: before costs.
        drawdown: deepest fall of the profit curve after costs, % of the stake.
        psr: chance that the true Sharpe ratio is above 0, were this the only attempt.
        dsr: the same given all `trials`; `luckiest` is the Sharpe ratio of a day that the best of so many worthless
            attempts would be expected to show.
    """

    symbol: str
    horizon: str
    model: str
    rule: str
    signals: float
    cost: float
    cost_from: str
    days: int
    turnover: float
    gross: float
    net: float
    sharpe: float | None
    sharpe_lo: float | None
    sharpe_hi: float | None
    sharpe_gross: float | None
    sharpe_day: float | None
    sharpe_gross_day: float | None
    skew: float | None
    kurtosis: float | None
    drawdown: float
    psr: float | None
    dsr: float | None
    luckiest: float | None
    trials: int


@dataclass(frozen=True, kw_only=True)
class Costs:
    """The spread of each bar in 1/100000 and where it is from."""

    spread_e5: Ints
    source: str


def costs_of(history: History, stated_e5: int) -> Costs:
    """Spreads of all bars: the data's, and `stated_e5` where they have none (0 often means not recorded)."""
    given = history.series.spread_e5
    if given is None or not bool((given > 0).any()):
        return Costs(spread_e5=np.full(len(history.series), stated_e5, np.int64), source="stated")
    return Costs(spread_e5=np.where(given > 0, given, stated_e5), source="data")


def trading_rows(history: History, tracks: Tracks, costs: Costs) -> list[TradingRow]:
    """One row a horizon, model and rule, the random walk's first; not yet deflated."""
    return [
        _trade(history, track, name, column, rule, costs)
        for column in range(len(history.bars))
        for name, track in ((name, each[column]) for name, each in tracks.items())
        for rule in RULES
    ]


def signals(history: History, track: Track, rule: str, costs: Costs) -> Ints:
    """1 long, -1 short, 0 nothing, at each tested row, shape (n,)."""
    close_e5 = history.rows.close_e5[history.tested]
    if rule == "sign":
        return np.sign(track.point_e5 - close_e5)
    first = history.first + history.start
    spread_e5 = costs.spread_e5[first : first + len(close_e5)]
    place = history.levels_ppm.index(DECIDING_PPM)
    long = track.lower_e5[:, place] > close_e5 + spread_e5
    short = track.upper_e5[:, place] + spread_e5 < close_e5
    return np.where(track.bounded[:, place], long.astype(np.int64) - short, 0)


def profits(history: History, called: Ints, ahead: int, costs: Costs) -> tuple[Floats, Floats, Floats]:
    """Profit of each bar before costs, its costs, and the change of position that it paid for; shares of the stake.

    Bars run from the first tested row to the end of the last label; what is still held there is closed and paid for.
    All of shape (n + ahead,).
    """
    first, n = history.first + history.start, len(called)
    bars = np.s_[first : first + n + ahead]
    spread = costs.spread_e5[bars].astype(np.float64)
    mid = history.series.close_e5[bars] + 0.5 * spread
    held = np.convolve(called, np.full(ahead, 1.0 / ahead))  # of bar j until bar j + 1, shape (n + ahead - 1,)
    held[np.abs(held) < 1e-9] = 0.0
    traded = np.abs(np.diff(np.concatenate(([0.0], held, [0.0]))))
    earned = np.concatenate(([0.0], held * (mid[1:] / mid[:-1] - 1.0)))
    return earned, traded * 0.5 * spread / mid, traded


def _trade(history: History, track: Track, name: str, column: int, rule: str, costs: Costs) -> TradingRow:
    ahead = history.bars[column]
    called = signals(history, track, rule, costs)
    earned, paid, traded = profits(history, called, ahead, costs)
    first = history.first + history.start
    opens_ns = history.series.ts_open_ns[first : first + len(earned)]
    _, starts = np.unique(opens_ns // _DAY_NS, return_index=True)
    net, gross = np.add.reduceat(earned - paid, starts), np.add.reduceat(earned, starts)
    years = (int(opens_ns[-1] - opens_ns[0]) + history.series.period_ns) / _YEAR_NS
    after, before = (sharpe(days, max(1.0, len(days) / years)) for days in (net, gross))
    close = history.series.close_e5[first : first + len(earned)]
    return TradingRow(
        symbol=history.series.symbol,
        horizon=history.horizons[column],
        model=name,
        rule=rule,
        signals=round_to(float((called != 0).mean())),
        cost=round_to(float((costs.spread_e5[first : first + len(earned)] / close).mean()) * 1e4),
        cost_from=costs.source,
        days=len(net),
        turnover=round_to(float(traded.sum()) / years),
        gross=round_to(100.0 * float(gross.sum()) / years),
        net=round_to(100.0 * float(net.sum()) / years),
        **_worth(after),
        sharpe_gross=None if before is None else round_to(before.annual),
        sharpe_gross_day=None if before is None else round_to(before.per_period),
        drawdown=round_to(100.0 * max_drawdown(net)),
        dsr=None,
        luckiest=None,
        trials=0,
    )


def _worth(found: Sharpe | None) -> dict[str, float | None]:
    if found is None:
        return dict.fromkeys(("sharpe", "sharpe_lo", "sharpe_hi", "sharpe_day", "skew", "kurtosis", "psr"))
    return {
        "sharpe": round_to(found.annual),
        "sharpe_lo": round_to(found.low),
        "sharpe_hi": round_to(found.high),
        "sharpe_day": round_to(found.per_period),
        "skew": round_to(found.skew),
        "kurtosis": round_to(found.kurtosis),
        "psr": round_to(probabilistic_sharpe(found)),
    }


def deflated(rows: Sequence[TradingRow], tried: int = 0) -> list[TradingRow]:
    """The rows with their deflated Sharpe ratios.

    Args:
        rows: of all symbols, models, horizons and rules of a run.
        tried: configurations tried in all, if more than the run has (earlier runs, settings thrown away).
    """
    own = [row for row in rows if row.model != MODEL_ID]
    trials = max(len(own), tried, 1)
    daily = [row.sharpe_gross_day for row in own if row.sharpe_gross_day is not None]
    luckiest = luckiest_sharpe(float(np.var(daily, ddof=1)) if len(daily) > 1 else 0.0, trials)
    return [_deflate(row, luckiest, trials) for row in rows]


def _deflate(row: TradingRow, luckiest: float, trials: int) -> TradingRow:
    if row.sharpe_day is None or row.skew is None or row.kurtosis is None:
        return replace(row, trials=trials)
    found = Sharpe(n=row.days, per_period=row.sharpe_day, annual=0.0, low=0.0, high=0.0, skew=row.skew,
                   kurtosis=row.kurtosis)  # fmt: skip
    dsr = probabilistic_sharpe(found, luckiest)
    return replace(row, dsr=round_to(dsr), luckiest=round_to(luckiest), trials=trials)
