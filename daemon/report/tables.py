"""The CSV tables: one row a thing, units in the column names, times as ISO 8601 UTC, money as decimal amounts."""

import csv
import io
from collections.abc import Callable, Iterable, Sequence

from bus.calendar import to_datetime
from risk.adherence import Summary
from risk.adherence.records import Money
from risk.adherence.rolled import Rollup

MONEY = ("before_costs", "spread", "slippage", "gross", "commission", "swap", "conversion_fee", "net")


def text_of(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; what a spreadsheet would run is disarmed."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_plain(value) for value in row] for row in rows)
    return out.getvalue()


def _plain(value: object) -> object:
    """Text that a spreadsheet would take for a formula is given a leading apostrophe; numbers stay numbers."""
    if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"} and not _is_number(value):
        return "'" + value
    return "" if value is None else value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def money_of(money: Money, digits: int) -> list[str]:
    """Exact decimals: integers are cut by place, never divided as floats."""
    return [decimal_of(getattr(money, name), digits) for name in MONEY]


def decimal_of(units: int, digits: int) -> str:
    """An exact decimal of the smallest units."""
    if digits <= 0:
        return str(units * 10**-digits)
    whole, part = divmod(abs(units), 10**digits)
    return f"{'-' if units < 0 else ''}{whole}.{part:0{digits}d}"


def time_of(ts_ns: int) -> str:
    """ISO 8601, UTC, to the millisecond; empty for 0."""
    return f"{to_datetime(ts_ns).isoformat(timespec='milliseconds').removesuffix('+00:00')}Z" if ts_ns else ""


def ms_of(ns: int | None) -> str:
    """Milliseconds; empty for None."""
    return "" if ns is None else f"{ns / 1e6:.3f}"


def trades(summary: Summary | Rollup) -> str:
    """One row a position."""
    digits = summary.money_digits
    header = (
        "number", "position_id", "symbol", "strategy", "model_id", "horizon_bars", "side", "reason", "exit_reason",
        "cause", "opened", "closed", "signal_price", "entry_price", "exit_price", "stop_loss", "take_profit",
        "level_price", "beyond_level_e5", "intended_units", "filled_units", "closed_units", "entry_slippage_e5",
        "exit_slippage_e5", "entry_spread_e5", "exit_spread_e5", "decision_ms", "send_ms", "accept_ms", "fill_ms",
        "protect_ms", "holding_bars", "holding_s", "expected_profit", *MONEY,
    )  # fmt: skip
    rows = (
        (
            t.number, t.position_id, t.symbol, t.strategy, t.model_id, t.horizon, "buy" if t.side > 0 else "sell",
            t.reason, t.exit_reason, t.cause, time_of(t.ts_open_ns), time_of(t.ts_close_ns), f"{t.signal_e5 / 1e5:.5f}",
            f"{t.entry_e5 / 1e5:.6f}", f"{t.exit_e5 / 1e5:.6f}", f"{t.stop_loss_e5 / 1e5:.5f}",
            f"{t.take_profit_e5 / 1e5:.5f}", f"{t.level_e5 / 1e5:.5f}", t.beyond_e5, decimal_of(t.intended_e2, 2),
            decimal_of(t.filled_e2, 2), decimal_of(t.closed_e2, 2), t.entry_slippage_e5, t.exit_slippage_e5,
            t.entry_spread_e5, t.exit_spread_e5, ms_of(t.decision_ns), ms_of(t.send_ns), ms_of(t.accept_ns),
            ms_of(t.fill_ns), ms_of(t.protect_ns), t.holding_bars, f"{t.holding_ns / 1e9:.3f}",
            decimal_of(t.expected_profit, digits), *money_of(t.money, digits),
        )
        for t in summary.trades
    )  # fmt: skip
    return text_of(header, rows)


def days(summary: Summary) -> str:
    """One row a trading day with closed business; days end at 17:00 New York."""
    header = ("trading_day", "trades", "wins", *MONEY)
    return text_of(header, ((g.key, g.trades, g.wins, *money_of(g.money, summary.money_digits)) for g in summary.days))


def forecasts(summary: Summary) -> str:
    """One row a model, horizon and level."""
    header = (
        "symbol", "model_id", "active", "random_walk", "horizon_bars", "n", "mae_pips", "rmse_pips", "crps_pips",
        "skill", "crps_t", "hits", "calls", "hit_rate", "hit_low", "hit_high", "level", "level_n", "covered",
        "coverage", "coverage_low", "coverage_high", "mean_width_pips", "winkler_pips",
    )  # fmt: skip
    rows: list[tuple[object, ...]] = []
    for row in summary.forecasts:
        head = (
            row.symbol, row.model_id, row.active, row.random_walk, row.horizon, row.n, f"{row.mae_pips:.4f}",
            f"{row.rmse_pips:.4f}", f"{row.crps_pips:.4f}", f"{row.skill:.6f}",
            "" if row.crps_t is None else f"{row.crps_t:.4f}", row.hits, row.calls, f"{row.hit_rate:.6f}",
            f"{row.hit_low:.6f}", f"{row.hit_high:.6f}",
        )  # fmt: skip
        rows.extend(
            (
                *head, level.level, level.n, level.covered, f"{level.measured:.6f}", f"{level.low:.6f}",
                f"{level.high:.6f}", f"{level.mean_width_pips:.4f}", f"{level.winkler_pips:.4f}",
            )
            for level in row.levels
        )  # fmt: skip
        if not row.levels:
            rows.append((*head, *("",) * 8))
    return text_of(header, rows)


def refusals(summary: Summary) -> str:
    """One row a refused intent or a rejected order."""
    header = ("time", "kind", "rule", "strategy", "symbol", "limit", "value", "would_pass", "subject")
    rows = (
        (time_of(r.ts_ns), r.kind, r.rule, r.strategy, r.symbol, r.limit, r.value, r.would_pass, r.subject)
        for r in summary.refusals
    )
    return text_of(header, rows)


TABLES: dict[str, Callable[[Summary], str]] = {
    "trades": trades,
    "days": days,
    "forecasts": forecasts,
    "refusals": refusals,
}
