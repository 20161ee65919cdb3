"""The pages of a period and of a trade: figures into words, words into the template."""

from collections.abc import Sequence
from typing import Any

from bus.calendar import NEW_YORK, to_datetime
from bus.messages import AnyMessage
from bus.values import NS_PER_DAY, PRICE_SCALE, VOLUME_SCALE
from daemon.report import period_plots, plots, words
from daemon.report.page import Figure, Tile, figure, templates
from daemon.report.period import PeriodReport
from daemon.report.points import headline, trade_anchor
from risk.adherence.records import Trade
from risk.adherence.rolled import Execution, Rollup

TRADES_SHOWN = 200
MISSED_SHOWN = 60
FINDINGS_SHOWN = 60
MARKS_SHOWN = 60


def render(report: PeriodReport) -> str:
    """The whole page."""
    environment = templates()
    digits = report.rollup.money_digits

    def money(units: float, *, signed: bool = True) -> str:
        return words.amount(units, digits, signed=signed)

    environment.filters["money"] = money
    environment.filters["second"] = second
    environment.filters["fine"] = fine
    environment.filters["identifier"] = plots.identifier
    environment.filters["signed_pips"] = signed_pips
    if report.trade is not None:
        return environment.get_template("trade.html.j2").render(_trade_view(report, report.trade))
    return environment.get_template("period.html.j2").render(_view(report))


def second(ts_ns: int) -> str:
    """UTC, to the second; a dash for 0."""
    return f"{to_datetime(ts_ns):%Y-%m-%d %H:%M:%S}" if ts_ns else words.NONE


def signed_pips(value: float) -> str:
    """Pips to the hundredth, with their sign."""
    return words.number(value, 2, signed=True)


def fine(ts_ns: int) -> str:
    """UTC, to the millisecond."""
    return f"{to_datetime(ts_ns):%Y-%m-%d %H:%M:%S.%f}"[:-3]


def spoken_span(from_ns: int, to_ns: int) -> str:
    """A time in UTC, and in New York, where the trading day ends: both ends with the offset that held there."""
    ends = [to_datetime(ts_ns) for ts_ns in (from_ns, to_ns)]
    utc = " to ".join(f"{end:%Y-%m-%d %H:%M}" for end in ends)
    local = [end.astimezone(NEW_YORK) for end in ends]
    there = " to ".join(f"{end:%a %H:%M} UTC{words.MINUS}{abs(_offset_h(end))}" for end in local)
    return f"{utc} UTC (New York {there})"


def _offset_h(moment: Any) -> int:
    return round(moment.utcoffset().total_seconds() / 3600)


# --- the page of a period ----------------------------------------------------------------------------------------


def _view(report: PeriodReport) -> dict[str, Any]:
    rollup, scene = report.rollup, report.scene
    digits, currency = rollup.money_digits, rollup.currency
    answer, tone = headline(report.points)
    shown = _shown_trades(report)
    return {
        "r": report,
        "rollup": rollup,
        "t": rollup.total,
        "scene": scene,
        "title": f"{report.kind.capitalize()} report, {report.key}",
        "span": spoken_span(report.ts_from_ns, report.ts_to_ns),
        "answer": answer,
        "tone": tone,
        "tiles": _tiles(report),
        "points": report.points[:FINDINGS_SHOWN],
        "equity": figure(period_plots.equity(scene, digits, currency), _equity_words(report), "Measured at every "
                         "bar's close and every deal; the fall from the peak is that within this time."),
        "calendar": figure(period_plots.calendar(scene.results, digits, currency), _calendar_words(report),
                           "A trading day carries the date on which it ends, at 17:00 New York."),
        "prices": [_price(report, symbol) for symbol in scene.bars],
        "waterfall": figure(period_plots.waterfall(rollup), _parts_words(rollup), ""),
        "parts": _parts(rollup),
        "slippage": figure(period_plots.slippage(rollup), _slippage_words(rollup),
                           "The outermost bars hold all beyond."),
        "slippages": [(name, rollup.total.slippage_pips[name]) for name in ("all", "entry", "exit", "protective")],
        "delays": figure(period_plots.delays(rollup), "How long each step from the closed bar to the stop took, as "
                         "in the table below.", ""),
        "delay_rows": [(words.rule_name(name.removesuffix("_ns")), d) for name, d in rollup.total.delays.items()],
        "coverages": [_coverage(report, symbol) for symbol in sorted({each.symbol for each in scene.coverage})],
        "reliability": figure(period_plots.reliability(rollup.total.coverage, scene.transforms),
                              "Promised against measured shares: dots are the stated intervals of models that trade, "
                              "with their 95 % Clopper-Pearson intervals; lines the central intervals of the Gaussian "
                              "that point and sigma describe.", "On the diagonal: as promised."),
        "pit": figure(period_plots.transform(scene.transforms), "Where the truths fell in the forecast distributions "
                      "at the shortest horizon; the band is what chance allows each bar, 19 times in 20.",
                      "Flat is right; a hump: too wide; horns: too narrow."),
        "periods": [(kind, rows) for kind, rows in (("Month", rollup.months), ("Week", rollup.weeks),
                                                    ("Trading day", rollup.days)) if rows],
        "owners": [row for rows in (rollup.strategies, rollup.symbols, rollup.models) for row in rows],
        "missed": rollup.missed[-MISSED_SHOWN:],
        "trades": shown,
        "anchors": _anchors(shown),
        "orders": _notable_orders(rollup),
        "named": [mark for mark in scene.marks if not mark.unusual][-MARKS_SHOWN:],
        "unusual": [mark for mark in scene.marks if mark.unusual][-MARKS_SHOWN:],
        "pips": rollup.pips_e5,
        "price_digits": scene.digits,
    }  # fmt: skip


def _shown_trades(report: PeriodReport) -> list[Trade]:
    """The newest, and those that a finding points to."""
    trades = report.rollup.trades
    wanted = {point.anchor for point in report.points[:FINDINGS_SHOWN]}
    first = len(trades) - TRADES_SHOWN
    return [t for place, t in enumerate(trades) if place >= first or trade_anchor(t) in wanted]


def _anchors(trades: Sequence[Trade]) -> list[str]:
    """An identifier for each row; the second of a name gets none, names must be unique on a page."""
    seen: set[str] = set()
    out: list[str] = []
    for trade in trades:
        name = trade_anchor(trade)
        out.append("" if name in seen else name)
        seen.add(name)
    return out


def _notable_orders(rollup: Rollup) -> list[Execution]:
    """Those that were not simply filled, and the latest of the others."""
    odd = [each for each in rollup.executions if each.state != "filled"]
    late = sorted((e for e in rollup.executions if e.fill_ns is not None), key=lambda e: -(e.fill_ns or 0))[:10]
    chosen = {id(each) for each in [*odd[-50:], *late]}
    return [each for each in rollup.executions if id(each) in chosen]


def _tiles(report: PeriodReport) -> list[Tile]:
    rollup, total = report.rollup, report.rollup.total
    digits = rollup.money_digits
    deepest = min((point.drawdown for point in report.scene.equity), default=0)
    won = f"{words.percent(total.wins / total.trades, 0)} won" if total.trades else "none closed"
    slip = total.slippage_pips["all"]
    return [
        Tile(name="Net result", value=words.amount(total.money.net, digits, signed=True), unit=rollup.currency,
             note=f"expected {words.amount(total.expected, digits, signed=True)} of {total.expecting} trades, realised "
             f"{words.amount(total.realised, digits, signed=True)}",
             tone="gain" if total.money.net > 0 else "loss" if total.money.net < 0 else ""),
        Tile(name="Costs", value=words.amount(total.money.costs, digits, signed=True), unit=rollup.currency,
             note="spread, slippage, commission, swap, conversion"),
        Tile(name="Deepest drawdown", value=words.amount(deepest, digits), unit=rollup.currency, note="floating"),
        Tile(name="Trades", value=words.number(total.trades), unit="", note=won),
        Tile(name="Slippage", value=words.number(slip.mean, 2, signed=True), unit="pips",
             note=f"mean of {slip.n}, worst {words.number(slip.least, 1)}"),
        Tile(name="Fit to trade", value=words.number(100 * total.service.uptime, 2), unit="%",
             note=f"{total.service.reconnects} reconnects, {total.service.data_gaps} data gaps"),
        Tile(name="Money check", value="exact" if rollup.exact else "broken", unit="",
             note="every part to the smallest unit" if rollup.exact else "see the findings",
             tone="gain" if rollup.exact else "loss"),
    ]  # fmt: skip


def _parts(rollup: Rollup) -> list[tuple[str, int, str]]:
    """The waterfall in figures: name, money, and `sum` where it is the sum of those above."""
    money = rollup.total.money
    return [
        ("Before costs, at mid prices as decisions saw them", money.before_costs, ""),
        ("Spread at execution", money.spread, ""),
        ("Slippage: the market moved until execution (delay)", money.delay, ""),
        ("Slippage: beyond the market's price (impact)", money.impact, ""),
        ("Gross", money.gross, "sum"),
        ("Commission", money.commission, ""),
        ("Swap", money.swap, ""),
        ("Conversion", money.conversion_fee, ""),
        ("Net", money.net, "sum"),
    ]


def _parts_words(rollup: Rollup) -> str:
    digits = rollup.money_digits
    told = ", ".join(f"{name.lower()} {words.amount(value, digits, signed=True)}" for name, value, _ in _parts(rollup))
    return f"The net result and its parts in {rollup.currency}: {told}."


def _equity_words(report: PeriodReport) -> str:
    points, digits = report.scene.equity, report.rollup.money_digits
    if not points:
        return ""
    deepest = min(point.drawdown for point in points)
    return (
        f"Equity from {words.amount(points[0].equity, digits)} to {words.amount(points[-1].equity, digits)} "
        f"{report.rollup.currency}; deepest fall from the peak {words.amount(deepest, digits)}."
    )


def _calendar_words(report: PeriodReport) -> str:
    results = report.scene.results
    if not results:
        return ""
    up, digits = sum(value > 0 for value in results.values()), report.rollup.money_digits
    return (
        f"{len(results)} trading days with closed trades until the end of this time, {up} of them above zero; the best "
        f"{words.amount(max(results.values()), digits, signed=True)}, the worst "
        f"{words.amount(min(results.values()), digits, signed=True)} {report.rollup.currency}."
    )


def _slippage_words(rollup: Rollup) -> str:
    d = rollup.total.slippage_pips["all"]
    return (
        f"Of {d.n} orders and protective deals {d.below} were worse than their reference price, {d.above} better; mean "
        f"{words.number(d.mean, 2, signed=True)} pips, 5th percentile {words.number(d.p05, 1, signed=True)}."
    )


def _price(report: PeriodReport, symbol: str) -> Figure | None:
    scene = report.scene
    bars = scene.bars[symbol][-period_plots.EXCERPT_BARS :]
    svg = period_plots.price(
        f"price-{plots.identifier(symbol)}", scene, symbol, report.rollup.trades, report.ts_from_ns, report.ts_to_ns,
        f"{symbol}, {len(bars)} bars",
    )  # fmt: skip
    marks = sum(mark.symbol == symbol for mark in scene.marks)
    fills = sum(fill.symbol == symbol for fill in scene.fills)
    alt = f"{symbol}: {len(bars)} bars, the interval stated for each, {fills} deals, {marks} patterns or unusual bars."
    return figure(svg, alt, _PRICE_CAPTION)


_PRICE_CAPTION = (
    "The interval at each bar was stated before that bar began. Stops (red) and targets (green) as they last stood. "
    "The strip along the bottom is the regime, stronger = wilder."
)


def _coverage(report: PeriodReport, symbol: str) -> Figure | None:
    series = [each for each in report.scene.coverage if each.symbol == symbol and each.points]
    if not series:
        return None
    told = "; ".join(
        f"{plots.bars_ahead(each.horizon)} {words.percent(each.points[-1].measured)} at the end" for each in series
    )
    caption = (
        f"Share of the newest {series[0].window} truths inside the interval, with its 95 % Clopper-Pearson interval. "
        "Dashed: the promise. Forecasts more than one bar ahead overlap, so their bands are narrower than they should "
        "be; the table below counts only what does not overlap."
    )
    svg = period_plots.coverage(report.scene.coverage, symbol)
    return figure(svg, f"Rolling coverage of {symbol}: {told}.", caption)


# --- the page of a trade -----------------------------------------------------------------------------------------

BARS_BEFORE, BARS_AFTER = 60, 30


def _trade_view(report: PeriodReport, trade: Trade) -> dict[str, Any]:
    rollup, scene = report.rollup, report.scene
    period_ns = scene.period_ns
    from_ns = (trade.ts_signal_ns or trade.ts_open_ns) - BARS_BEFORE * period_ns
    to_ns = (trade.ts_close_ns or report.ts_to_ns) + BARS_AFTER * period_ns
    svg = period_plots.price("price", scene, trade.symbol, [trade], from_ns, to_ns, f"{trade.symbol} around the trade")
    answer, tone = headline(report.points)
    mine = [each for each in rollup.executions if each.position_id == trade.position_id]
    return {
        "r": report,
        "rollup": rollup,
        "t": trade,
        "title": f"Trade {trade.number}, {'bought' if trade.side > 0 else 'sold'} {trade.symbol}",
        "answer": answer,
        "tone": tone,
        "points": report.points,
        "price": figure(
            svg, f"{trade.symbol} from {second(from_ns)} to {second(to_ns)} UTC with the deals, the stop and the "
            "target of this trade.", _PRICE_CAPTION,
        ),
        "money": [(name, getattr(trade.money, key), kind) for name, key, kind in _TRADE_PARTS],
        "executions": mine,
        "hits": [hit for hit in rollup.hits if hit.position_id == trade.position_id],
        "differences": [
            each for _, parity in report.parities for each in parity.differences
            if each.position_id == trade.position_id or (each.intent_id and each.intent_id == trade.intent_id)
        ],
        "steps": [_step(message) for message in report.messages],
        "pip": rollup.pips_e5.get(trade.symbol, 10),
        "digits": scene.digits.get(trade.symbol, 5),
        "marks": [mark for mark in scene.marks if mark.symbol == trade.symbol and from_ns <= mark.ts_ns <= to_ns],
        "regimes": [span for span in scene.regimes if span.symbol == trade.symbol
                    and span.ts_from_ns <= (trade.ts_close_ns or to_ns)
                    and span.ts_to_ns >= trade.ts_open_ns - period_ns],
    }  # fmt: skip


_TRADE_PARTS = (
    ("Before costs, at mid prices as decisions saw them", "before_costs", ""),
    ("Spread at execution", "spread", ""),
    ("Slippage: the market moved until execution (delay)", "delay", ""),
    ("Slippage: beyond the market's price (impact)", "impact", ""),
    ("Gross", "gross", "sum"),
    ("Commission", "commission", ""),
    ("Swap", "swap", ""),
    ("Conversion", "conversion_fee", ""),
    ("Net", "net", "sum"),
)

_LEFT_OUT = {"ts_init_ns", "ts_event_ns", "symbol", "position_id", "client_order_id", "intent_id", "request_id"}


def _step(message: AnyMessage) -> tuple[int, str, str]:
    """A message of the trade as moment, name and what it says, defaults and long lists left out."""
    told: list[str] = []
    for name in message.__struct_fields__:
        value: object = getattr(message, name)
        if name in _LEFT_OUT or value in (0, "", ()) or isinstance(value, (tuple, dict)):
            continue
        told.append(f"{_label(name)} {_figure(name, value)}")
    return getattr(message, "ts_init_ns", 0), type(message).__name__, ", ".join(told)


def _label(name: str) -> str:
    for unit in ("_e5", "_e2", "_ns", "_ppm"):
        name = name.removesuffix(unit)
    return name.replace("_", " ")


def _figure(name: str, value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        if name.endswith("_e5"):
            return f"{value / PRICE_SCALE:.5f}"
        if name.endswith("_e2"):
            return words.number(value / VOLUME_SCALE, 2)
        if name.endswith("_ns") and value > NS_PER_DAY:  # a moment; durations are shorter
            return second(value)
    return words.typeset(str(value))
