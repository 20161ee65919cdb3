"""The plots, as SVG that lives inside the page: its colours are the page's CSS variables, its letters are text.

matplotlib draws with stand-in colours, which are then exchanged for variables: so one drawing serves light, dark and
paper. The output depends on the figures alone: fixed salt, no date, identifiers prefixed so that plots do not collide.
"""

import re
from collections.abc import Callable, Sequence
from io import StringIO
from typing import Any

from bus.calendar import to_datetime
from bus.values import PRICE_SCALE
from daemon.report.words import amount, number, rule_name
from risk.adherence import Summary
from risk.adherence.records import CoverageSeries, EquityPoint

EXCERPT_BARS = 120

_STAND_INS = {
    "ink": "#010101",
    "muted": "#020202",
    "grid": "#030303",
    "main": "#040404",
    "loss": "#050505",
    "gain": "#060606",
    "band": "#070707",
    "warn": "#080808",
    "page": "#090909",
}
INK, MUTED, GRID, MAIN, LOSS, GAIN, BAND, WARN, PAGE = _STAND_INS.values()

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "svg.fonttype": "none",
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "ytick.major.size": 0,
    "xtick.major.size": 3,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


def draw(name: str, size: tuple[float, float], paint: Callable[[Any], None]) -> str:
    """An SVG element for use inside HTML.

    Args:
        name: prefix of its identifiers; unique on the page.
        size: inches, width and height; sets the proportions and the size of letters.
        paint: draws on the figure it is given.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        paint(figure)
        out = StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _for_html(out.getvalue(), name)


def _for_html(svg: str, name: str) -> str:
    """Cut what belongs to a file of its own, and make colours, letters and identifiers the page's."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\s+xmlns(:xlink)?="[^"]*"', "", svg)
    svg = svg.replace("xlink:href", "href")
    svg = re.sub(r'<svg ([^>]*?)width="[^"]*"', r"<svg \1", svg, count=1)
    svg = re.sub(r'(<svg [^>]*?)height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', svg)
    svg = re.sub(r"(font: [^;\"]*?[\d.]+px) [^;\"]+", r"\1 var(--sans)", svg)
    for variable, stand_in in _STAND_INS.items():
        svg = svg.replace(stand_in, f"var(--{variable})")
    return svg.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)


def _whole(value: float, _: object) -> str:
    return number(value)


def bars_ahead(count: int) -> str:
    """1 bar ahead, 4 bars ahead."""
    return "1 bar ahead" if count == 1 else f"{count} bars ahead"


def identifier(text: str) -> str:
    """What of a text may stand in an identifier."""
    return re.sub(r"[^A-Za-z0-9]", "-", text)


def _signed(value: float, _: object) -> str:
    return number(value, 1, signed=True)


def _percent(value: float, _: object) -> str:
    return f"{number(value)} %"


def dates(axis: Any) -> None:
    """Few dates on the x axis, as short as they can be told apart."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=4, maxticks=9)
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))


def thin(count: int, most: int = 700) -> list[int]:
    """At most about `most` evenly spaced places, always with the last."""
    step = max(1, count // most)
    places = list(range(0, count, step))
    if count and places[-1] != count - 1:
        places.append(count - 1)
    return places


def equity(summary: Summary) -> str | None:
    """Equity and balance over drawdown."""
    points = [summary.equity[place] for place in thin(len(summary.equity))]
    if len(points) < 2:
        return None
    return equity_curve(points, 10**summary.money_digits, summary.currency, summary.equity_start)


def equity_curve(points: Sequence[EquityPoint], unit: int, currency: str, start: int | None = None) -> str:
    """Equity and balance over drawdown.

    Args:
        points: at least two.
        unit: smallest units in one of the currency.
        currency: its name.
        start: where the dashed line is drawn; None = at the first point's equity.
    """
    times = [to_datetime(point.ts_ns) for point in points]
    level = points[0].equity if start is None else start

    def paint(figure: Any) -> None:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        above.axhline(level / unit, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
        above.plot(times, [p.balance / unit for p in points], color=MUTED, linewidth=0.9, label="balance")
        above.plot(times, [p.equity / unit for p in points], color=MAIN, linewidth=1.5, label="equity, floating")
        above.legend(loc="best", ncols=2)
        above.yaxis.set_major_formatter(_whole)
        above.set_title(f"Equity, {currency}")
        falls = [p.drawdown / unit for p in points]
        below.fill_between(times, falls, 0, color=LOSS, alpha=0.28, linewidth=0)
        below.plot(times, falls, color=LOSS, linewidth=0.9)
        below.yaxis.set_major_formatter(_whole)
        below.set_title(f"Drawdown from the peak, {currency}")
        below.locator_params(axis="y", nbins=3)
        below.margins(x=0.005)
        dates(below)

    return draw("equity", (10.4, 4.4), paint)


def price(summary: Summary, symbol: str) -> str | None:
    """The newest bars, the shortest horizon's interval around each, and the deals."""
    bars = summary.bars.get(symbol, ())[-EXCERPT_BARS:]
    views = summary.intervals.get(symbol, ())
    if len(bars) < 2 or not views:
        return None
    shortest = min(view.horizon for view in views)
    promised = {view.ts_ns: view for view in views if view.horizon == shortest}
    shown = [promised.get(bar.ts_close_ns) for bar in bars]
    blank = float("nan")
    lower = [view.lower_e5 / PRICE_SCALE if view else blank for view in shown]
    upper = [view.upper_e5 / PRICE_SCALE if view else blank for view in shown]
    misses = [
        (place, bar.close_e5 / PRICE_SCALE)
        for place, (bar, view) in enumerate(zip(bars, shown, strict=True))
        if view and not view.lower_e5 <= bar.close_e5 <= view.upper_e5
    ]
    level = next(view.level for view in shown if view) if any(shown) else 0.9
    starts = bars[0].ts_close_ns - summary.period_ns

    def paint(figure: Any) -> None:
        axis = figure.subplots()
        label = f"{level:.0%} interval, {bars_ahead(shortest)}".replace("%", " %")
        axis.fill_between(range(len(bars)), lower, upper, step="mid", color=BAND, alpha=0.30, linewidth=0, label=label)
        axis.plot([bar.close_e5 / PRICE_SCALE for bar in bars], color=INK, linewidth=1.2, label="bid close")
        if misses:
            axis.scatter(*zip(*misses, strict=True), s=26, facecolors="none", edgecolors=LOSS, linewidths=1.2,
                         label="close outside", zorder=4)  # fmt: skip
        for marker, side, colour, name in (("^", 1, GAIN, "bought"), ("v", -1, WARN, "sold")):
            deals = [
                (_place(bars, fill.ts_ns), fill.price_e5 / PRICE_SCALE)
                for fill in summary.fills
                if fill.symbol == symbol and fill.side == side and starts <= fill.ts_ns <= bars[-1].ts_close_ns
            ]
            if deals:
                axis.scatter(*zip(*deals, strict=True), marker=marker, s=38, color=colour, edgecolors=PAGE,
                             linewidths=0.8, label=name, zorder=5)  # fmt: skip
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=5)
        axis.set_title(f"{symbol}, the last {len(bars)} bars")
        axis.margins(x=0.01)
        places = list(range(0, len(bars), max(1, len(bars) // 7)))
        axis.set_xticks(places, [f"{to_datetime(bars[place].ts_close_ns):%d %b %H:%M}" for place in places])

    return draw("price", (10.4, 4.2), paint)


def _place(bars: Sequence[Any], ts_ns: int) -> float:
    """Where a moment lies among the bars: on the close of the last bar that had closed, plus its share of the next."""
    for place, bar in enumerate(bars):
        if ts_ns <= bar.ts_close_ns:
            before = bars[place - 1].ts_close_ns if place else bar.ts_close_ns
            gap = bar.ts_close_ns - before
            return place - ((bar.ts_close_ns - ts_ns) / gap if gap else 0.0)
    return float(len(bars) - 1)


def coverage(summary: Summary, symbol: str) -> str | None:
    """Rolling coverage, one panel a horizon, with its 95 % interval and the promise."""
    return coverage_panels(summary.coverage, symbol, "coverage")


def coverage_panels(every: Sequence[CoverageSeries], symbol: str, name: str) -> str | None:
    """Rolling coverage of one symbol; `name` is unique on the page."""
    series = [entry for entry in every if entry.symbol == symbol and len(entry.points) > 1]
    models = sorted({entry.model_id for entry in series}, key=lambda m: -sum(e.model_id == m for e in series))
    series = [entry for entry in series if entry.model_id == models[0]][:4] if models else []
    if not series:
        return None

    lowest = min(100 * point.low for entry in series for point in entry.points)

    def paint(figure: Any) -> None:
        panels = figure.subplots(1, len(series), sharey=True, squeeze=False)[0]
        for axis, entry in zip(panels, series, strict=True):
            points = [entry.points[place] for place in thin(len(entry.points), 300)]
            times = [to_datetime(point.ts_ns) for point in points]
            axis.fill_between(times, [p.low * 100 for p in points], [p.high * 100 for p in points], color=BAND,
                              alpha=0.30, linewidth=0)  # fmt: skip
            axis.plot(times, [p.measured * 100 for p in points], color=MAIN, linewidth=1.4)
            axis.axhline(entry.level * 100, color=LOSS, linewidth=1.0, linestyle=(0, (4, 3)))
            axis.set_title(bars_ahead(entry.horizon))
            axis.yaxis.set_major_formatter(_percent)
            axis.set_ylim(lowest - 3, 101)
            axis.margins(x=0.01)
            dates(axis)

    return draw(name, (10.4, 2.9), paint)


def slippage(summary: Summary) -> str | None:
    """How far every deal was from its reference, in pips."""
    pips = {entry.symbol: entry.pip_e5 for entry in summary.instruments}
    values = [fill.slippage_e5 / pips.get(fill.symbol, 10) for fill in summary.fills]
    return slippage_histogram(values, "each deal") if values else None


def slippage_histogram(values: Sequence[float], what: str) -> str:
    """Distances from reference prices in pips, below zero = worse; `what` they are of."""
    edge = max(1.0, sorted(abs(value) for value in values)[int(0.98 * (len(values) - 1))])
    clipped = [max(-edge, min(edge, value)) for value in values]
    bins = 25

    def paint(figure: Any) -> None:
        axis = figure.subplots()
        width = 2 * edge / bins
        edges = [-edge + width * place for place in range(bins + 1)]
        # Coloured by sign, not by bin: the bin around zero holds small gains and losses too.
        worse = [value for value in clipped if value < 0]
        exact = [value for value in clipped if value == 0]
        better = [value for value in clipped if value > 0]
        axis.hist([worse, exact, better], bins=edges, stacked=True, color=[LOSS, MUTED, GAIN], rwidth=0.86,
                  label=["worse", "at the reference", "better"])  # fmt: skip
        axis.legend(loc="upper left")
        axis.set_title(f"Slippage of {what}, pips")
        axis.set_ylabel("deals")
        axis.set_xlabel("below zero: worse than the reference price")
        axis.xaxis.set_major_formatter(_signed)

    return draw("slippage", (5.1, 3.2), paint)


def waterfall(summary: Summary) -> str | None:
    """From the profit before costs to the net profit."""
    total = summary.total
    if not summary.fills:
        return None
    parts = [("spread", total.spread), ("slippage", total.slippage), ("commission", total.commission)]
    parts.append(("swap", total.swap))
    if total.conversion_fee:
        parts.append(("conversion", total.conversion_fee))
    return waterfall_of(total.before_costs, parts, total.net, summary.money_digits, summary.currency)


def waterfall_of(before: int, parts: Sequence[tuple[str, int]], net: int, digits: int, currency: str) -> str:
    """From `before` over `parts` to `net`, in the smallest unit of a currency with `digits` decimals."""
    unit = 10**digits

    def paint(figure: Any) -> None:
        axis = figure.subplots()
        names = ["before costs", *(name for name, _ in parts), "net"]
        bottoms, heights, colours = [0.0], [before / unit], [MAIN]
        level = before
        for _, value in parts:
            bottoms.append(level / unit)
            heights.append(value / unit)
            colours.append(LOSS if value < 0 else GAIN)
            level += value
        bottoms.append(0.0)
        heights.append(net / unit)
        colours.append(MAIN)
        axis.bar(names, heights, bottom=bottoms, color=colours, width=0.62)
        ends = [bottom + height for bottom, height in zip(bottoms, heights, strict=True)]
        for place in range(len(names) - 1):
            axis.plot([place + 0.31, place + 0.69], [ends[place]] * 2, color=MUTED, linewidth=0.8)
        values = [before, *(value for _, value in parts), net]
        for place, value in enumerate(values):
            below = value < 0
            end = min(ends[place], bottoms[place]) if below else max(ends[place], bottoms[place])
            axis.annotate(amount(value, digits, signed=True), (place, end), (0, -3 if below else 3),
                          textcoords="offset points", ha="center", va="top" if below else "bottom", fontsize=7.5,
                          color=INK)  # fmt: skip
        axis.axhline(0, color=MUTED, linewidth=0.8)
        axis.margins(y=0.12)
        axis.set_title(f"Where the money went, {currency}")
        axis.yaxis.set_major_formatter(_whole)
        axis.tick_params(axis="x", labelsize=7.5)

    return draw("waterfall", (5.1, 3.2), paint)


def refusals(summary: Summary) -> str | None:
    """What the gate refused and the venue rejected, by rule."""
    rows = summary.refusal_counts[:10][::-1]
    if not rows:
        return None

    def paint(figure: Any) -> None:
        axis = figure.subplots()
        colours = [LOSS if row.kind == "rejected" else MAIN for row in rows]
        marks = axis.barh([rule_name(row.key) for row in rows], [row.n for row in rows], color=colours, height=0.62)
        axis.bar_label(marks, padding=4, color=INK)
        axis.grid(visible=False)
        axis.set_xticks([])
        axis.spines["bottom"].set_visible(False)
        axis.tick_params(axis="y", labelcolor=INK)
        axis.margins(x=0.08)

    return draw("refusals", (10.4, 0.55 + 0.3 * len(rows)), paint)
