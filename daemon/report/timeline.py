"""What a report draws and a roll-up does not keep: the curve of the equity, bars, intervals, deals, marks and spreads.

Theory of operation. `Timeline` folds the journals beside `risk.adherence.rollup.Roll`; `scene` gives what of it lies in
the time of a report, of which nothing need be known before. Quotes are many: all that is kept of them is what the
spread of a symbol usually is (a slow mean of quotes that were not wide), and each episode in which it was `WIDE_TIMES`
as much or more.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from bus.calendar import trading_day
from bus.messages import (
    AnyMessage,
    Bar,
    CalibratedForecast,
    ForecastResolved,
    HaltLatched,
    ModelAdmitted,
    OrderFilled,
    PatternSeen,
    Quote,
    ReconcileFound,
    RegimeSeen,
    RunStarted,
)
from risk.adherence.forecasts import ForecastScores
from risk.adherence.ledger import Ledger
from risk.adherence.records import BarPoint, CoverageSeries, EquityPoint, FillPoint, IntervalPoint, Record

WIDE_TIMES = 3
"""A spread this many times the usual one is an episode."""

_USUAL_FROM = 20
_USUAL_OF = 200
_EPISODE_ENDS_NS = 300 * 10**9
"""Wide quotes less than five minutes apart are one episode."""


class WideSpread(Record, frozen=True, kw_only=True):
    """A time in which the spread of a symbol was wide; `usual_e5` is what it was before, `widest_ns` when it peaked."""

    symbol: str
    ts_from_ns: int
    ts_to_ns: int
    widest_ns: int
    widest_e5: int
    usual_e5: float
    quotes: int


class Mark(Record, frozen=True, kw_only=True):
    """Something that was seen on a chart. `unusual` = a window that its model knows badly, not a named pattern."""

    ts_ns: int
    symbol: str
    model_id: str
    name: str
    direction: int
    detail: str
    unusual: bool


class RegimeSpan(Record, frozen=True, kw_only=True):
    """A market stayed in one state (0 = the calmest of `states`) for `bars` bars."""

    symbol: str
    model_id: str
    ts_from_ns: int
    ts_to_ns: int
    regime: int
    states: int
    bars: int


class Transform(Record, frozen=True, kw_only=True):
    """Where truths fell in the forecast distribution of an active model: its probability integral transform."""

    symbol: str
    model_id: str
    horizon: int
    values: tuple[float, ...]


class Scene(Record, frozen=True, kw_only=True):
    """All that a `Timeline` kept."""

    period_ns: int
    digits: dict[str, int]
    equity: tuple[EquityPoint, ...]
    results: dict[int, int]
    bars: dict[str, tuple[BarPoint, ...]]
    intervals: dict[str, tuple[IntervalPoint, ...]]
    fills: tuple[FillPoint, ...]
    marks: tuple[Mark, ...]
    regimes: tuple[RegimeSpan, ...]
    wide: tuple[WideSpread, ...]
    coverage: tuple[CoverageSeries, ...]
    transforms: tuple[Transform, ...]
    halts: tuple[HaltLatched, ...]
    differences: tuple[ReconcileFound, ...]


class Timeline:
    """See the module's theory of operation."""

    def __init__(self) -> None:
        self.last_ns = 0
        self._period_ns = 0
        self._digits: dict[str, int] = {}
        self._admitted: list[ModelAdmitted] = []
        self._resolved: list[ForecastResolved] = []
        self._equity: list[tuple[int, int, int, int]] = []
        self._results: dict[int, int] = {}
        self._bars: dict[str, list[BarPoint]] = {}
        self._intervals: dict[str, list[IntervalPoint]] = {}
        self._fills: list[FillPoint] = []
        self._deals: set[str] = set()
        self._marks: list[Mark] = []
        self._regimes: dict[tuple[str, str], RegimeSpan] = {}
        self._past: list[RegimeSpan] = []
        self._usual: dict[str, tuple[int, float]] = {}
        self._open: dict[str, WideSpread] = {}
        self._wide: list[WideSpread] = []
        self._halts: list[HaltLatched] = []
        self._differences: list[ReconcileFound] = []
        self._handlers: dict[type[AnyMessage], Callable[[Any, Ledger], None]] = {
            RunStarted: self._on_started,
            ModelAdmitted: lambda model, _: self._admitted.append(model),
            Bar: self._on_bar,
            OrderFilled: self._on_filled,
            CalibratedForecast: self._on_forecast,
            ForecastResolved: self._on_resolved,
            PatternSeen: self._on_pattern,
            RegimeSeen: self._on_regime,
            HaltLatched: lambda halt, _: self._halts.append(halt),
            ReconcileFound: lambda found, _: self._differences.append(found),
        }

    def add(self, message: AnyMessage, ledger: Ledger) -> None:
        """Take one message, after the roll-up took it; `ledger` is the roll-up's."""
        if type(message) is Quote:
            self.last_ns = max(self.last_ns, message.ts_init_ns)
            self._on_quote(message)
            return
        handler = self._handlers.get(type(message))
        if handler is not None:
            handler(message, ledger)
            self.last_ns = max(self.last_ns, getattr(message, "ts_init_ns", 0))

    def scene(self, from_ns: int = 0, to_ns: int = 2**63 - 1) -> Scene:
        """What was kept of a time, `to_ns` excluded, in order of time. Daily results are those of all days until then.

        Args:
            from_ns: when it begins.
            to_ns: when it ends.
        """

        def within(ts_ns: int) -> bool:
            return from_ns <= ts_ns < to_ns

        resolved = [fact for fact in self._resolved if within(fact.ts_init_ns)]
        last_day = trading_day(to_ns - 1) if to_ns < 2**62 else 10**9
        return Scene(
            period_ns=self._period_ns,
            digits=self._digits,
            equity=_curve([point for point in self._equity if within(point[0])]),
            results={day: value for day, value in sorted(self._results.items()) if day <= last_day},
            bars={
                symbol: tuple(bar for bar in bars if within(bar.ts_close_ns))
                for symbol, bars in sorted(self._bars.items())
            },
            intervals={
                symbol: tuple(view for view in views if within(view.ts_ns))
                for symbol, views in sorted(self._intervals.items())
            },
            fills=tuple(fill for fill in self._fills if within(fill.ts_ns)),
            marks=tuple(mark for mark in self._marks if within(mark.ts_ns)),
            regimes=tuple(
                span
                for span in sorted([*self._past, *self._regimes.values()], key=lambda span: span.ts_from_ns)
                if span.ts_from_ns < to_ns and span.ts_to_ns >= from_ns
            ),
            wide=tuple(
                wide
                for wide in sorted([*self._wide, *self._open.values()], key=lambda wide: wide.ts_from_ns)
                if wide.ts_from_ns < to_ns and wide.ts_to_ns >= from_ns
            ),
            coverage=_rolling(self._admitted, resolved),
            transforms=_transforms(resolved),
            halts=tuple(halt for halt in self._halts if within(halt.ts_init_ns)),
            differences=tuple(found for found in self._differences if within(found.ts_init_ns)),
        )

    # --- folding -----------------------------------------------------------------------------------------------

    def _on_started(self, run: RunStarted, _: Ledger) -> None:
        self._period_ns = run.period_ns
        self._digits |= {entry.symbol: entry.digits for entry in run.instruments}

    def _on_quote(self, quote: Quote) -> None:
        symbol, spread_e5 = quote.symbol, quote.ask_e5 - quote.bid_e5
        if spread_e5 < 0:
            return
        n, usual = self._usual.get(symbol, (0, 0.0))
        if n >= _USUAL_FROM and spread_e5 >= WIDE_TIMES * usual > 0:
            self._widened(quote, spread_e5, usual)
            return
        n += 1
        self._usual[symbol] = (n, usual + (spread_e5 - usual) / min(n, _USUAL_OF))

    def _widened(self, quote: Quote, spread_e5: int, usual_e5: float) -> None:
        symbol, now_ns = quote.symbol, quote.ts_init_ns
        known = self._open.get(symbol)
        if known is not None and now_ns - known.ts_to_ns > _EPISODE_ENDS_NS:
            self._wide.append(known)
            known = None
        if known is None:
            self._open[symbol] = WideSpread(
                symbol=symbol, ts_from_ns=now_ns, ts_to_ns=now_ns, widest_ns=now_ns, widest_e5=spread_e5,
                usual_e5=usual_e5, quotes=1,
            )  # fmt: skip
            return
        wider = spread_e5 > known.widest_e5
        self._open[symbol] = msgspec.structs.replace(
            known, ts_to_ns=now_ns, quotes=known.quotes + 1, widest_ns=now_ns if wider else known.widest_ns,
            widest_e5=max(spread_e5, known.widest_e5),
        )  # fmt: skip

    def _on_bar(self, bar: Bar, ledger: Ledger) -> None:
        if bar.symbol not in ledger.quotes:  # history
            return
        self._bars.setdefault(bar.symbol, []).append(
            BarPoint(ts_close_ns=bar.ts_close_ns, high_e5=bar.high_e5, low_e5=bar.low_e5, close_e5=bar.close_e5)
        )
        self._stand(bar.ts_close_ns, ledger)

    def _stand(self, ts_ns: int, ledger: Ledger) -> None:
        """A point of the curve: moment, balance, equity, and what came or went otherwise until then."""
        if ledger.balance_start is None:
            return
        point = (ts_ns, ledger.balance, ledger.equity(), ledger.moved)
        if self._equity and self._equity[-1][0] == ts_ns:
            self._equity[-1] = point
        else:
            self._equity.append(point)

    def _on_filled(self, fill: OrderFilled, ledger: Ledger) -> None:
        if fill.deal_id in self._deals:
            return
        self._deals.add(fill.deal_id)
        profit = 0
        if fill.closing:
            profit = fill.gross_profit + fill.booked_commission + fill.booked_swap + fill.conversion_fee
            day = trading_day(fill.ts_event_ns)
            self._results[day] = self._results.get(day, 0) + profit
        self._fills.append(
            FillPoint(
                ts_ns=fill.ts_event_ns, symbol=fill.symbol, price_e5=fill.price_e5, side=int(fill.side),
                closing=fill.closing, cause=fill.cause, slippage_e5=0, profit=profit,
            )
        )  # fmt: skip
        self._stand(fill.ts_event_ns, ledger)

    def _on_forecast(self, forecast: CalibratedForecast, _: Ledger) -> None:
        if not forecast.active or not forecast.horizons:
            return
        view = min(forecast.horizons, key=lambda each: each.horizon)
        at_ns = forecast.as_of_ns + view.horizon * self._period_ns
        band = view.bands[0] if view.bands else None
        if band is not None and band.bounded:
            self._intervals.setdefault(forecast.symbol, []).append(
                IntervalPoint(
                    ts_ns=at_ns, horizon=view.horizon, level=band.level_ppm / 1e6, point_e5=view.point_e5,
                    lower_e5=band.lower_e5, upper_e5=band.upper_e5,
                )
            )  # fmt: skip

    def _on_resolved(self, fact: ForecastResolved, _: Ledger) -> None:
        if fact.active:
            self._resolved.append(fact)

    def _on_pattern(self, seen: PatternSeen, _: Ledger) -> None:
        unusual = bool(seen.threshold_ppm)
        detail = f"percentile {seen.percentile:.1f}" if unusual else f"{seen.confidence_ppm / 1e4:.0f} % clear"
        self._marks.append(
            Mark(ts_ns=seen.as_of_ns, symbol=seen.symbol, model_id=seen.model_id, name=seen.pattern,
                 direction=seen.direction, detail=detail, unusual=unusual)
        )  # fmt: skip

    def _on_regime(self, seen: RegimeSeen, _: Ledger) -> None:
        key = (seen.symbol, seen.model_id)
        known = self._regimes.get(key)
        if known is not None and known.regime == seen.regime:
            self._regimes[key] = msgspec.structs.replace(known, ts_to_ns=seen.as_of_ns, bars=known.bars + 1)
            return
        if known is not None:
            self._past.append(known)
        self._regimes[key] = RegimeSpan(
            symbol=seen.symbol, model_id=seen.model_id, ts_from_ns=seen.as_of_ns, ts_to_ns=seen.as_of_ns,
            regime=seen.regime, states=len(seen.probabilities_ppm), bars=1,
        )  # fmt: skip


def _curve(points: Sequence[tuple[int, int, int, int]]) -> tuple[EquityPoint, ...]:
    """The curve with its fall from the peak. What came or went otherwise is no result, so the fall is without it."""
    out: list[EquityPoint] = []
    peak: int | None = None
    for ts_ns, balance, equity, moved in points:
        peak = equity - moved if peak is None else max(peak, equity - moved)
        out.append(EquityPoint(ts_ns=ts_ns, balance=balance, equity=equity, drawdown=equity - moved - peak))
    return tuple(out)


def _rolling(admitted: Sequence[ModelAdmitted], resolved: Sequence[ForecastResolved]) -> tuple[CoverageSeries, ...]:
    scores = ForecastScores()
    for model in admitted:
        scores.on_admitted(model)
    for fact in resolved:
        scores.on_resolved(fact)
    return scores.coverage()


def _transforms(resolved: Sequence[ForecastResolved]) -> tuple[Transform, ...]:
    """Of the Gaussian that point and sigma of a forecast describe."""
    found: dict[tuple[str, str, int], dict[int, float]] = {}
    for fact in resolved:
        z = (fact.actual_e5 - fact.point_e5) / max(1, fact.sigma_e5)
        values = found.setdefault((fact.symbol, fact.model_id, fact.horizon), {})
        values[fact.as_of_ns] = 0.5 * math.erfc(-z / math.sqrt(2.0))
    return tuple(
        Transform(symbol=symbol, model_id=model_id, horizon=horizon, values=tuple(values.values()))
        for (symbol, model_id, horizon), values in sorted(found.items())
    )


def place_among(bars: tuple[BarPoint, ...], ts_ns: int) -> float:
    """Where a moment lies on an axis of bars: the number of the bar that closes then, and shares of it before."""
    place = bisect_left(bars, ts_ns, key=lambda bar: bar.ts_close_ns)
    if place >= len(bars):
        return float(len(bars) - 1)
    before_ns = bars[place - 1].ts_close_ns if place else bars[place].ts_close_ns
    gap_ns = bars[place].ts_close_ns - before_ns
    return place - ((bars[place].ts_close_ns - ts_ns) / gap_ns if gap_ns else 0.0)
