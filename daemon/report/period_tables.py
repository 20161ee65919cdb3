"""The CSV tables of a period's report: one file a table, in the manner of `tables`."""

from collections.abc import Callable, Sequence

from daemon.report import tables
from daemon.report.points import Point
from daemon.report.tables import MONEY, decimal_of, money_of, ms_of, text_of, time_of
from risk.adherence.rolled import Rollup


def periods(rollup: Rollup) -> str:
    """One row a day, week, month, strategy, symbol and model; `kind` says which."""
    header = (
        "kind", "key", "from", "to", "trades", "wins", "signals", "refused", "ordered", "orders_sent", "rejected",
        "partly_filled", "slippage_mean_pips", "slippage_deviation_pips", "uptime", *MONEY, "delay", "impact", "moved",
    )  # fmt: skip
    digits = rollup.money_digits
    rows = [*rollup.days, *rollup.weeks, *rollup.months, *rollup.strategies, *rollup.symbols, *rollup.models]
    return text_of(
        header,
        (
            (
                row.kind, row.key, time_of(row.ts_from_ns), time_of(row.ts_to_ns), row.trades, row.wins,
                row.signals.entries, row.signals.refused, row.signals.ordered, row.orders.sent, row.orders.rejected,
                row.orders.partly_filled, f"{row.slippage_pips['all'].mean:.4f}",
                f"{row.slippage_pips['all'].deviation:.4f}", f"{row.service.uptime:.6f}", *money_of(row.money, digits),
                decimal_of(row.money.delay, digits), decimal_of(row.money.impact, digits),
                decimal_of(row.moved, digits),
            )
            for row in rows
        ),
    )  # fmt: skip


def executions(rollup: Rollup) -> str:
    """One row an order or protective deal, from the signal to the last deal."""
    header = (
        "run_id", "client_order_id", "position_id", "strategy", "symbol", "model_id", "horizon_bars", "side", "leg",
        "state", "code", "time", "reference_price", "average_price", "intended_units", "filled_units", "deals",
        "slippage_e5", "delay_e5", "impact_e5", "spread_e5", "slippage", "forecast_ms", "decision_ms", "order_ms",
        "send_ms", "accept_ms", "fill_ms",
    )  # fmt: skip
    return text_of(
        header,
        (
            (
                e.run_id, e.client_order_id, e.position_id, e.strategy, e.symbol, e.model_id, e.horizon, _side(e.side),
                e.leg, e.state, e.code, time_of(e.ts_ns), f"{e.reference_e5 / 1e5:.5f}", f"{e.price_e5 / 1e5:.6f}",
                decimal_of(e.intended_e2, 2), decimal_of(e.filled_e2, 2), e.deals, f"{e.slippage_e5:.3f}",
                f"{e.delay_e5:.3f}", f"{e.impact_e5:.3f}", f"{e.spread_e5:.3f}",
                decimal_of(e.slippage, rollup.money_digits), ms_of(e.forecast_ns), ms_of(e.decision_ns),
                ms_of(e.order_ns), ms_of(e.send_ns), ms_of(e.accept_ns), ms_of(e.fill_ns),
            )
            for e in rollup.executions
        ),
    )  # fmt: skip


def _side(side: int) -> str:
    return "buy" if side > 0 else "sell" if side < 0 else ""


def missed(rollup: Rollup) -> str:
    """One row a signal that was not traded, with the rule that blocked it."""
    header = ("time", "what", "rule", "limit", "value", "strategy", "symbol", "model_id", "horizon_bars", "side",
              "edge_e5", "intent_id", "run_id")  # fmt: skip
    return text_of(
        header,
        (
            (time_of(m.ts_ns), m.what, m.rule, m.limit, m.value, m.strategy, m.symbol, m.model_id, m.horizon,
             _side(m.side), m.edge_e5, m.intent_id, m.run_id)
            for m in rollup.missed
        ),
    )  # fmt: skip


def levels(rollup: Rollup) -> str:
    """One row a stop or target that was reached."""
    header = ("time", "position_id", "symbol", "cause", "level", "price", "beyond_e5", "late_s", "false_trigger",
              "missed", "slippage")  # fmt: skip
    return text_of(
        header,
        (
            (time_of(h.ts_ns), h.position_id, h.symbol, h.cause, f"{h.level_e5 / 1e5:.5f}", f"{h.price_e5 / 1e5:.5f}",
             h.beyond_e5, f"{h.late_ns / 1e9:.3f}", h.false_trigger, h.missed,
             decimal_of(h.slippage, rollup.money_digits))
            for h in rollup.hits
        ),
    )  # fmt: skip


def limits(rollup: Rollup) -> str:
    """One row a limit and its highest use."""
    header = ("rule", "key", "unit", "limit", "peak", "share", "time", "refusals")
    return text_of(
        header,
        ((p.rule, p.key, p.unit, p.limit, p.peak, p.share, time_of(p.ts_ns), p.refusals)
         for p in rollup.total.limits),
    )  # fmt: skip


def coverage(rollup: Rollup) -> str:
    """One row a symbol, model, horizon and level."""
    header = ("symbol", "model_id", "active", "horizon_bars", "level", "n", "covered", "coverage", "independent",
              "coverage_low", "coverage_high", "mean_width_pips", "kupiec_p", "independence_p")  # fmt: skip
    return text_of(
        header,
        (
            (c.symbol, c.model_id, c.active, c.horizon, c.level, c.n, c.covered, f"{c.measured:.6f}", c.independent,
             f"{c.low:.6f}", f"{c.high:.6f}", f"{c.mean_width_pips:.4f}", c.kupiec_p, c.independence_p)
            for c in rollup.total.coverage
        ),
    )  # fmt: skip


def outages(rollup: Rollup) -> str:
    """One row a time without link, process or prices."""
    header = ("kind", "subject", "from", "to", "seconds", "reason")
    return text_of(
        header,
        ((o.kind, o.subject, time_of(o.ts_from_ns), time_of(o.ts_to_ns), f"{(o.ts_to_ns - o.ts_from_ns) / 1e9:.3f}",
          o.reason) for o in rollup.outages),
    )  # fmt: skip


def findings(points: Sequence[Point], money_digits: int) -> str:
    """One row a finding, the worst first."""
    header = ("severity", "rule", "time", "subject", "value", "limit", "times", "amount", "sentence")
    return text_of(
        header,
        ((p.severity, p.rule, time_of(p.ts_ns), p.subject, p.value, p.limit, p.n,
          "" if p.amount is None else decimal_of(p.amount, money_digits), p.sentence) for p in points),
    )  # fmt: skip


PERIOD_TABLES: dict[str, Callable[[Rollup], str]] = {
    "periods": periods,
    "trades": tables.trades,
    "executions": executions,
    "missed": missed,
    "levels": levels,
    "limits": limits,
    "coverage": coverage,
    "outages": outages,
}
