"""The HTML page: figures put into words, words put into the template. Everything is escaped unless drawn here."""

import json
from pathlib import Path
from typing import Any

import jinja2
import msgspec
from markupsafe import Markup

from daemon.report import ReportContext, plots, words
from risk.adherence import Summary

TRADES_SHOWN = 60
DAYS_SHOWN = 400

_PARTS = (
    ("before_costs", "Before costs"),
    ("spread", "Spread"),
    ("slippage", "Slippage"),
    ("commission", "Commission"),
    ("swap", "Swap"),
    ("conversion_fee", "Conversion"),
    ("net", "Net"),
)

_DELAYS = (
    ("decision_ns", "Decision", "bar closed to intent"),
    ("send_ns", "Send", "intent to order"),
    ("accept_ns", "Accept", "order to the venue's yes"),
    ("fill_ns", "Fill", "order to first deal"),
    ("protect_ns", "Protect", "first deal to a stop at the venue"),
)


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A plot with what it shows in words, for those who cannot see it."""

    svg: Markup
    alt: str
    caption: str


class Tile(msgspec.Struct, frozen=True, kw_only=True):
    """One headline figure."""

    name: str
    value: str
    unit: str
    note: str
    tone: str = ""


def render(summary: Summary, context: ReportContext) -> str:
    """The whole page."""
    environment = templates()
    digits = summary.money_digits

    def money(units: float, *, signed: bool = True) -> str:
        return words.amount(units, digits, signed=signed)

    environment.filters["money"] = money
    symbols = tuple(sorted(summary.bars)) or context.symbols
    return environment.get_template("report.html.j2").render(
        s=summary,
        c=context,
        tiles=_tiles(summary),
        parts=_shown_parts(summary),
        delays=[(name, what, summary.delays[key]) for key, name, what in _DELAYS],
        equity=figure(plots.equity(summary), _equity_words(summary), "Measured at every bar's close."),
        prices=[_price(summary, symbol) for symbol in symbols],
        coverages=[(symbol, _coverage(summary, symbol)) for symbol in symbols],
        waterfall=figure(plots.waterfall(summary), _waterfall_words(summary), ""),
        slippage=figure(plots.slippage(summary), _slippage_words(summary), "The outermost bars hold all beyond."),
        refusals=figure(plots.refusals(summary), _refusal_words(summary), ""),
        periods=[("Week", summary.weeks), ("Month", summary.months)],
        subjects=[("strategy", summary.strategies), ("symbol", summary.symbols), ("model", summary.models)],
        days=summary.days[-DAYS_SHOWN:],
        trades=summary.trades[-TRADES_SHOWN:][::-1],
        forecast_groups=_forecast_groups(summary),
        config=_config(summary, context),
        pips={entry.symbol: entry.pip_e5 for entry in summary.instruments},
        price_digits={entry.symbol: entry.digits for entry in summary.instruments},
    )


def templates() -> jinja2.Environment:
    """The templates of this folder, and how they put figures into words."""
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
    )
    environment.filters.update(
        number=words.number,
        price=words.price,
        percent=words.percent,
        moment=words.moment,
        duration=words.duration,
        t_value=words.t_value,
        rule_name=words.rule_name,
        bars=words.bars,
        typeset=words.typeset,
        tone=_tone,
    )
    return environment


def figure(svg: str | None, alt: str, caption: str) -> Figure | None:
    """A plot of ours for the page; None stays None."""
    # The SVG was drawn by plots from numbers and escaped labels: the only markup that is not autoescaped.
    return None if svg is None else Figure(svg=Markup(svg), alt=alt, caption=caption)  # noqa: S704


def _shown_parts(summary: Summary) -> tuple[tuple[str, str], ...]:
    """Conversion takes a column only where there was any."""
    return _PARTS if summary.total.conversion_fee else tuple(part for part in _PARTS if part[0] != "conversion_fee")


def _tone(value: float) -> str:
    return "gain" if value > 0 else "loss" if value < 0 else ""


def _tiles(summary: Summary) -> list[Tile]:
    digits, total, counts = summary.money_digits, summary.total, summary.counts
    wins = sum(trade.money.net > 0 for trade in summary.trades if trade.ts_close_ns)
    tiles = [
        Tile(name="Net profit", value=words.amount(total.net, digits, signed=True), unit=summary.currency,
             note=f"{_share(total.net, summary.equity_start)} of {words.amount(summary.equity_start, digits)}",
             tone=_tone(total.net)),
        Tile(name="Costs", value=words.amount(total.costs, digits, signed=True), unit=summary.currency,
             note="spread, slippage, commission, swap"),
        Tile(name="Deepest drawdown", value=words.number(summary.max_drawdown_pct, 2), unit="%",
             note=f"{words.amount(summary.max_drawdown, digits)} {summary.currency}, floating"),
        Tile(name="Trades", value=words.number(counts.trades), unit="",
             note=f"{words.percent(wins / counts.trades, 0)} won" if counts.trades else "none closed"),
    ]  # fmt: skip
    row = next((row for row in summary.forecasts if row.active and row.levels), None)
    if row is not None:
        level = row.levels[0]
        tiles.append(
            Tile(
                name=f"Coverage, {words.bars(row.horizon)} ahead",
                value=words.number(100 * level.measured, 1),
                unit="%",
                note=f"promised {words.percent(level.level, 0)}, "
                f"95 % sure of {words.number(100 * level.low, 1)} to {words.number(100 * level.high, 1)}",
            )
        )
    exact = summary.conservation.exact
    tiles.append(
        Tile(name="Money check", value="exact" if exact else "broken", unit="",
             note="to the smallest unit" if exact else "see the findings", tone="gain" if exact else "loss")
    )  # fmt: skip
    return tiles


def _share(part: int, whole: int) -> str:
    return words.percent(part / whole, 2) if whole else words.NONE


def _price(summary: Summary, symbol: str) -> Figure | None:
    bars = summary.bars.get(symbol, ())[-plots.EXCERPT_BARS :]
    alt = f"{symbol}: closes of the last {len(bars)} bars, the forecast interval around each, and every deal."
    caption = "The interval drawn at each bar was stated before that bar began. A ring marks a close outside it."
    return figure(plots.price(summary, symbol), alt, caption)


def _coverage(summary: Summary, symbol: str) -> Figure | None:
    series = [entry for entry in summary.coverage if entry.symbol == symbol and entry.points]
    if not series:
        return None
    last = "; ".join(
        f"{words.bars(entry.horizon)} ahead {words.percent(entry.points[-1].measured)} at the end" for entry in series
    )
    caption = (
        f"Share of the newest {series[0].window} truths inside the interval, with its 95 % interval. Dashed: the "
        "promise. Forecasts more than one bar ahead overlap, so their bands are narrower than they should be."
    )
    return figure(plots.coverage(summary, symbol), f"Rolling coverage of {symbol}: {last}.", caption)


def _equity_words(summary: Summary) -> str:
    digits = summary.money_digits
    return (
        f"Equity from {words.amount(summary.equity_start, digits)} to {words.amount(summary.equity_end, digits)} "
        f"{summary.currency}; deepest drawdown {words.amount(summary.max_drawdown, digits)}."
    )


def _waterfall_words(summary: Summary) -> str:
    digits = summary.money_digits
    parts = ", ".join(
        f"{name.lower()} {words.amount(getattr(summary.total, key), digits)}" for key, name in _shown_parts(summary)
    )
    return f"Profit and its parts in {summary.currency}: {parts}."


def _slippage_words(summary: Summary) -> str:
    worse = sum(fill.slippage_e5 < 0 for fill in summary.fills)
    better = sum(fill.slippage_e5 > 0 for fill in summary.fills)
    return f"Of {len(summary.fills)} deals {worse} were worse than their reference price and {better} better."


def _refusal_words(summary: Summary) -> str:
    refused = ", ".join(
        f"{words.rule_name(row.key)} {row.n}" for row in summary.refusal_counts if row.kind == "refused"
    )
    rejected = ", ".join(
        f"{words.rule_name(row.key)} {row.n}" for row in summary.refusal_counts if row.kind == "rejected"
    )
    return f"Refused by the risk gate (blue): {refused or 'none'}. Rejected by the venue (red): {rejected or 'none'}."


def _forecast_groups(summary: Summary) -> list[dict[str, Any]]:
    """Rows by symbol and horizon, so that each model stands beside its random walk."""
    groups: list[dict[str, Any]] = []
    for row in summary.forecasts:
        if not groups or (groups[-1]["symbol"], groups[-1]["horizon"]) != (row.symbol, row.horizon):
            groups.append({"symbol": row.symbol, "horizon": row.horizon, "rows": []})
        groups[-1]["rows"].append(row)
    return groups


def _config(summary: Summary, context: ReportContext) -> str:
    if context.config:
        return context.config
    try:
        return json.dumps(json.loads(summary.config_json), indent=2, ensure_ascii=False)
    except ValueError:
        return summary.config_json
