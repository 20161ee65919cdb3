"""The plots of a period's and of a trade's report, drawn as `plots` draws: SVG in the colours of the page."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from bus.calendar import to_datetime
from bus.special import clopper_pearson
from bus.values import PRICE_SCALE
from daemon.report import plots
from daemon.report.plots import BAND, GAIN, GRID, INK, LOSS, MAIN, MUTED, PAGE, WARN, draw, thin
from daemon.report.timeline import Mark, Scene, Transform, place_among
from daemon.report.words import amount, number
from risk.adherence.records import CoverageSeries, FillPoint, Trade
from risk.adherence.rolled import CoverageTest, Rollup

EXCERPT_BARS = 160
WEEKS_SHOWN = 14
PIT_BINS = 10


def equity(scene: Scene, digits: int, currency: str) -> str | None:
    """Equity and balance over the fall from the peak."""
    points = [scene.equity[place] for place in thin(len(scene.equity))]
    if len(points) < 2:
        return None
    return plots.equity_curve(points, 10**digits, currency)


def calendar(results: dict[int, int], digits: int, currency: str) -> str | None:
    """Net results of trading days, a row a week, darker the larger.

    Args:
        results: money by ordinal of the trading day.
        digits: decimals of the money.
        currency: its name.
    """
    if not results:
        return None
    mondays = sorted({day - date.fromordinal(day).weekday() for day in results})
    mondays = list(range(mondays[0], mondays[-1] + 1, 7))[-WEEKS_SHOWN:]
    largest = max((abs(value) for value in results.values()), default=0) or 1

    def paint(figure: Any) -> None:
        from matplotlib.patches import Rectangle

        axis = figure.subplots()
        for row, monday in enumerate(mondays):
            for column in range(5):
                value = results.get(monday + column)
                day = date.fromordinal(monday + column)
                colour = GRID if value is None else GAIN if value > 0 else LOSS if value < 0 else MUTED
                strength = 0.25 if value is None else 0.15 + 0.6 * abs(value) / largest
                axis.add_patch(Rectangle((column, -row), 0.94, 0.86, facecolor=colour, alpha=strength, linewidth=0))
                axis.text(column + 0.05, -row + 0.64, f"{day:%d %b}", fontsize=6.5, color=MUTED)
                if value is not None:
                    axis.text(column + 0.47, -row + 0.24, amount(value, digits, signed=True), ha="center",
                              fontsize=8.5, color=INK)  # fmt: skip
        axis.set_xlim(0, 5)
        axis.set_ylim(1 - len(mondays), 1)
        axis.set_xticks([place + 0.47 for place in range(5)], ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"])
        axis.set_yticks([0.43 - row for row in range(len(mondays))],
                        [f"week {date.fromordinal(monday).isocalendar()[1]}" for monday in mondays])  # fmt: skip
        axis.grid(visible=False)
        axis.tick_params(length=0)
        axis.spines["bottom"].set_visible(False)
        axis.set_title(f"Net result of each trading day, {currency}")

    return draw("calendar", (10.4, 0.8 + 0.5 * len(mondays)), paint)


def slippage(rollup: Rollup) -> str | None:
    """How far deals were from their references, in pips, in two or more colours by sign."""
    values = [row.slippage_e5 / rollup.pips_e5.get(row.symbol, 10) for row in rollup.executions if row.filled_e2]
    return plots.slippage_histogram(values, "each order's deals") if values else None


def waterfall(rollup: Rollup) -> str | None:
    """From the profit before costs to the net, with slippage as delay and impact."""
    money = rollup.total.money
    if not any(row.filled_e2 for row in rollup.executions):
        return None
    parts = [("spread", money.spread), ("delay", money.delay), ("impact", money.impact)]
    parts += [("commission", money.commission), ("swap", money.swap)]
    if money.conversion_fee:
        parts.append(("conversion", money.conversion_fee))
    return plots.waterfall_of(money.before_costs, parts, money.net, rollup.money_digits, rollup.currency)


def delays(rollup: Rollup) -> str | None:
    """Median, 95th percentile and longest of each delay, on a logarithmic axis."""
    names = (("forecast_ns", "bar to forecast"), ("decision_ns", "forecast to decision"), ("order_ns", "to order"),
             ("send_ns", "order to sent"), ("accept_ns", "sent to accepted"), ("fill_ns", "sent to filled"),
             ("protect_ns", "deal to stop"))  # fmt: skip
    rows = [(name, rollup.total.delays[key]) for key, name in names if key in rollup.total.delays]
    rows = [(name, d) for name, d in rows if d.n and d.largest > 0][::-1]
    if not rows:
        return None

    def paint(figure: Any) -> None:
        axis = figure.subplots()
        least = 0.01
        for place, (_, d) in enumerate(rows):
            low, high = (max(least, value / 1e6) for value in (d.p05, d.p95))
            axis.plot([low, high], [place, place], color=BAND, linewidth=7, alpha=0.45, solid_capstyle="butt")
            axis.plot([max(least, d.median / 1e6)], [place], "o", color=MAIN, markersize=6)
            axis.plot([max(least, d.largest / 1e6)], [place], "x", color=LOSS, markersize=6)
        axis.set_xscale("log")
        axis.set_yticks(range(len(rows)), [name for name, _ in rows])
        axis.set_ylim(-0.6, len(rows) - 0.4)
        axis.grid(visible=False, axis="y")
        axis.grid(visible=True, axis="x")
        axis.xaxis.set_major_formatter(_time)
        axis.minorticks_off()
        axis.tick_params(axis="y", labelcolor=INK)
        axis.set_title("Delays: median (dot), 5 to 95 % (bar), longest (cross)")

    return draw("delays", (10.4, 0.8 + 0.32 * len(rows)), paint)


def _time(milliseconds: float, _: object) -> str:
    return f"{milliseconds / 1000:g} s" if milliseconds >= 1000 else f"{milliseconds:g} ms"


def coverage(series: Sequence[CoverageSeries], symbol: str) -> str | None:
    """Rolling coverage with its Clopper-Pearson band, one panel a horizon."""
    return plots.coverage_panels(series, symbol, "coverage-" + plots.identifier(symbol))


def reliability(rows: Sequence[CoverageTest], transforms: Sequence[Transform]) -> str | None:
    """Promised against measured: the intervals with their 95 % intervals, and the whole distribution as lines."""
    active = [row for row in rows if row.active and row.n]
    lines = [each for each in transforms if len(each.values) >= PIT_BINS]
    if not active and not lines:
        return None

    def paint(figure: Any) -> None:
        axis = figure.subplots()
        axis.plot([0, 100], [0, 100], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
        steps = [place / 20 for place in range(1, 20)]
        for each in lines[:4]:
            shares = [100 * sum(abs(value - 0.5) <= step / 2 for value in each.values) / len(each.values)
                      for step in steps]  # fmt: skip
            axis.plot([100 * step for step in steps], shares, color=BAND, linewidth=1.1)
        for row in active[:16]:
            axis.plot([100 * row.level] * 2, [100 * row.low, 100 * row.high], color=MAIN, linewidth=1.1)
            axis.plot([100 * row.level], [100 * row.measured], "o", color=MAIN, markersize=5)
        axis.set_xlim(0, 100)
        axis.set_ylim(0, 101)
        axis.set_xlabel("promised, %")
        axis.set_ylabel("measured, %")
        axis.set_title("Reliability")

    return draw("reliability", (5.1, 3.6), paint)


def transform(transforms: Sequence[Transform]) -> str | None:
    """The histogram of the probability integral transform at the shortest horizon, with what chance allows."""
    known = [each for each in transforms if len(each.values) >= PIT_BINS]
    if not known:
        return None
    shortest = min(each.horizon for each in known)
    values = [value for each in known if each.horizon == shortest for value in each.values]
    n = len(values)
    low, high = clopper_pearson(n / PIT_BINS, n)

    def paint(figure: Any) -> None:
        axis = figure.subplots()
        counts = [0] * PIT_BINS
        for value in values:
            counts[min(PIT_BINS - 1, int(value * PIT_BINS))] += 1
        axis.axhspan(100 * low, 100 * high, color=BAND, alpha=0.30, linewidth=0)
        axis.bar([(place + 0.5) / PIT_BINS for place in range(PIT_BINS)], [100 * count / n for count in counts],
                 width=0.088, color=MAIN)  # fmt: skip
        axis.axhline(100 / PIT_BINS, color=LOSS, linewidth=1.0, linestyle=(0, (4, 3)))
        axis.set_xlabel("share of the forecast distribution below the truth")
        axis.set_ylabel("% of truths")
        axis.set_title(f"PIT, {plots.bars_ahead(shortest)}, n = {number(n)}")

    return draw("pit", (5.1, 3.6), paint)


def price(
    name: str, scene: Scene, symbol: str, trades: Sequence[Trade], from_ns: int, to_ns: int, title: str
) -> str | None:
    """Bars with the interval stated for each, deals, stops, targets, patterns, unusual bars and regimes.

    Args:
        name: of the plot, unique on the page.
        scene: what happened.
        symbol: which market.
        trades: whose stops and targets are drawn.
        from_ns: of the excerpt; the newest EXCERPT_BARS of it are shown.
        to_ns: of the excerpt, included.
        title: above the plot.
    """
    bars = tuple(bar for bar in scene.bars.get(symbol, ()) if from_ns <= bar.ts_close_ns <= to_ns)[-EXCERPT_BARS:]
    if len(bars) < 2:
        return None
    start_ns, end_ns = bars[0].ts_close_ns, bars[-1].ts_close_ns
    promised = {view.ts_ns: view for view in scene.intervals.get(symbol, ())}
    shown = [promised.get(bar.ts_close_ns) for bar in bars]
    blank = float("nan")

    def paint(figure: Any) -> None:
        axis = figure.subplots()
        if any(shown):
            view = next(each for each in shown if each)
            axis.fill_between(
                range(len(bars)), [v.lower_e5 / PRICE_SCALE if v else blank for v in shown],
                [v.upper_e5 / PRICE_SCALE if v else blank for v in shown], step="mid", color=BAND, alpha=0.28,
                linewidth=0, label=f"{number(100 * view.level)} % interval, {plots.bars_ahead(view.horizon)}",
            )  # fmt: skip
        axis.vlines(range(len(bars)), [bar.low_e5 / PRICE_SCALE for bar in bars],
                    [bar.high_e5 / PRICE_SCALE for bar in bars], color=MUTED, linewidth=0.7)  # fmt: skip
        axis.plot([bar.close_e5 / PRICE_SCALE for bar in bars], color=INK, linewidth=1.1, label="bid close")
        _levels(axis, bars, [t for t in trades if t.symbol == symbol], start_ns, end_ns)
        _deals(axis, bars, [f for f in scene.fills if f.symbol == symbol and start_ns <= f.ts_ns <= end_ns])
        _marks(axis, bars, [m for m in scene.marks if m.symbol == symbol and start_ns <= m.ts_ns <= end_ns])
        _regimes(axis, bars, [s for s in scene.regimes if s.symbol == symbol
                              and s.ts_from_ns <= end_ns and s.ts_to_ns >= start_ns])  # fmt: skip
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=6)
        axis.set_title(title)
        axis.margins(x=0.01)
        axis.yaxis.set_major_formatter(f"{{x:.{scene.digits.get(symbol, 5)}f}}")
        places = list(range(0, len(bars), max(1, len(bars) // 7)))
        axis.set_xticks(places, [f"{to_datetime(bars[place].ts_close_ns):%d %b %H:%M}" for place in places])

    return draw(name, (10.4, 4.4), paint)


def _levels(axis: Any, bars: Any, trades: Sequence[Trade], start_ns: int, end_ns: int) -> None:
    """Stops and targets while their position was open."""
    named: set[str] = set()
    for trade in trades:
        closed_ns = trade.ts_close_ns or end_ns
        if trade.ts_open_ns > end_ns or closed_ns < start_ns:
            continue
        left, right = (place_among(bars, ts_ns) for ts_ns in (max(start_ns, trade.ts_open_ns), closed_ns))
        for level_e5, colour, name in ((trade.stop_loss_e5, LOSS, "stop"), (trade.take_profit_e5, GAIN, "target")):
            if level_e5:
                axis.hlines(level_e5 / PRICE_SCALE, left, max(right, left + 0.4), color=colour, linewidth=1.1,
                            linestyle=(0, (3, 2)), label=None if name in named else name)  # fmt: skip
                named.add(name)


def _deals(axis: Any, bars: Any, fills: Sequence[FillPoint]) -> None:
    for marker, side, colour, name in (("^", 1, GAIN, "bought"), ("v", -1, WARN, "sold")):
        places = [(place_among(bars, fill.ts_ns), fill.price_e5 / PRICE_SCALE) for fill in fills if fill.side == side]
        if places:
            axis.scatter(*zip(*places, strict=True), marker=marker, s=40, color=colour, edgecolors=PAGE,
                         linewidths=0.8, label=name, zorder=5)  # fmt: skip


def _marks(axis: Any, bars: Any, marks: Sequence[Mark]) -> None:
    """Patterns above the bar, unusual bars below it."""
    for unusual, marker, colour, label in ((False, "d", MAIN, "pattern"), (True, "*", LOSS, "unusual bar")):
        chosen = [mark for mark in marks if mark.unusual == unusual]
        places = [(round(place_among(bars, mark.ts_ns)), mark) for mark in chosen]
        if not places:
            continue
        heights = [(bars[p].low_e5 if unusual else bars[p].high_e5) / PRICE_SCALE for p, _ in places]
        axis.scatter([p for p, _ in places], heights, marker=marker, s=26, color=colour, label=label, zorder=4)
        for (place, mark), height in list(zip(places, heights, strict=True))[-8:]:
            axis.annotate(mark.name.replace("_", " "), (place, height), (0, -11 if unusual else 5),
                          textcoords="offset points", ha="center", fontsize=6.5, color=MUTED)  # fmt: skip


def _regimes(axis: Any, bars: Any, spans: Sequence[Any]) -> None:
    """A strip along the bottom: the calmest state pale, the wildest strong."""
    for span in spans:
        left, right = (place_among(bars, ts_ns) for ts_ns in (span.ts_from_ns, span.ts_to_ns))
        strength = 0.12 + 0.6 * span.regime / max(1, span.states - 1)
        axis.axvspan(left - 0.5, right + 0.5, ymin=0.0, ymax=0.03, color=WARN, alpha=strength, linewidth=0)
