"""What needs attention: every finding with its moment, its figure against its limit, and its place on the page.

Theory of operation. Each rule reads the roll-up and the scene and gives `Point`s. What comes in a burst (of late deals,
of rejections with one code) is one point that counts it, dated by its first, with the worst figure: a reader wants to
see five things, not five hundred. Points are ranked by severity, then in the order of the rules, then by time.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

from bus.calendar import to_datetime
from bus.values import NS_PER_S
from daemon.audit import Audit
from daemon.parity import Parity
from daemon.report.plots import identifier
from daemon.report.timeline import Scene
from daemon.report.words import amount, duration, number, price, rule_name
from risk.adherence.levels import MISSED_AFTER_NS
from risk.adherence.records import Record, Trade
from risk.adherence.rolled import Execution, Missed, Rollup

Severity = Literal["critical", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "info")

LATE_NS = 1 * NS_PER_S
"""A deal that comes later than this after its order left is late."""
BURST_NS = 30 * 60 * NS_PER_S
"""What is less than this apart is one burst."""
SLIPPAGE_SHARE = 0.001
REJECTIONS_SHARE = 0.05
MISSED_FORECASTS = 0.01
PROTECT_NS = 5 * NS_PER_S
OUTAGE_NS = 60 * NS_PER_S
DRIFT_PCT = 15.0
SIGNIFICANT_T = 2.0
CERTAIN_WIDE = 5
"""A spread this many times the usual one is a warning, below that it is told for information."""


class Point(Record, frozen=True, kw_only=True):
    """One finding. `ts_ns` 0 = of the whole time; `n` counts what it stands for; `anchor` names the place on the page.

    `amount` is its money in the account's smallest unit where it can be told, None = it cannot.
    """

    rule: str
    severity: Severity
    ts_ns: int
    subject: str
    value: str
    limit: str
    sentence: str
    anchor: str
    n: int = 1
    amount: int | None = None


def points_of(
    rollup: Rollup, scene: Scene, parities: Sequence[Parity] = (), audits: Sequence[tuple[str, Audit]] = ()
) -> tuple[Point, ...]:
    """All findings, worst first."""
    numbers = {trade.position_id: trade for trade in rollup.trades}
    found = [
        *_money(rollup, audits),
        *_halts(scene),
        *_missed_levels(rollup, scene, numbers),
        *_protection(rollup),
        *_unanswered(rollup),
        *_rejections(rollup),
        *_late(rollup, numbers),
        *_spreads(rollup, scene),
        *_slippage(rollup, numbers),
        *_outages(rollup),
        *_limits(rollup),
        *_forecasts(rollup),
        *_parity(parities),
        *_small(rollup, numbers),
    ]
    return tuple(sorted(found, key=lambda point: SEVERITIES.index(point.severity)))


def headline(points: Sequence[Point]) -> tuple[str, str]:
    """Was everything kept? The answer, and its tone."""
    critical = sum(point.severity == "critical" for point in points)
    warning = sum(point.severity == "warning" for point in points)
    if critical:
        more = f", {warning} more to look at" if warning else ""
        return f"{critical} {'thing' if critical == 1 else 'things'} went wrong{more}", "bad"
    if warning:
        return f"{warning} {'thing needs' if warning == 1 else 'things need'} attention", "warned"
    return "Everything was kept", "kept"


def _bursts(rows: Iterable[Execution]) -> list[list[Execution]]:
    """Rows of one kind, in order of time, cut where nothing happened for long."""
    out: list[list[Execution]] = []
    for row in rows:
        if out and row.ts_ns - out[-1][-1].ts_ns < BURST_NS:
            out[-1].append(row)
        else:
            out.append([row])
    return out


def _until(rows: Sequence[Execution]) -> str:
    """`, until 14:05 UTC`, where there is more than one."""
    return f", the last at {to_datetime(rows[-1].ts_ns):%H:%M:%S} UTC" if len(rows) > 1 else ""


def trade_anchor(trade: Trade | None) -> str:
    """Where a trade stands on the page."""
    return f"trade-{identifier(trade.position_id)}" if trade is not None else "trades"


def _named(trade: Trade | None, position_id: str) -> str:
    return f"trade {trade.number}, position {position_id}" if trade is not None else f"position {position_id}"


def _money(rollup: Rollup, audits: Sequence[tuple[str, Audit]]) -> Iterable[Point]:
    for run in rollup.runs:
        check = run.conservation
        if not check.exact:
            yield Point(
                rule="money_adds_up", severity="critical", ts_ns=run.ts_last_ns, subject=f"run {run.run_id}",
                value=amount(check.balance_change, rollup.money_digits, signed=True),
                limit=amount(check.booked + check.moved, rollup.money_digits, signed=True), anchor="money",
                sentence="The balance moved by another amount than deals and cash explain.",
                amount=check.balance_change - check.booked - check.moved,
            )  # fmt: skip
        if run.unexplained:
            yield Point(
                rule="balance_between_runs", severity="critical", ts_ns=run.ts_first_ns, subject=f"run {run.run_id}",
                value=amount(run.unexplained, rollup.money_digits, signed=True), limit="0", anchor="money",
                sentence="The balance changed while nothing was recorded.", amount=run.unexplained,
            )  # fmt: skip
    for name, found in audits:
        if not found.agrees:
            n = len(found.differences) + found.more
            yield Point(
                rule="audit_agrees", severity="critical", ts_ns=0, subject=f"run {name}", value=str(n), limit="0",
                anchor="proof", n=n,
                sentence="Positions or money added up once more differ from core or broker.",
            )  # fmt: skip


def _halts(scene: Scene) -> Iterable[Point]:
    for halt in scene.halts:
        yield Point(
            rule=f"halt_{halt.rule}", severity="critical", ts_ns=halt.ts_init_ns,
            subject=rule_name(halt.level.name), value=halt.value, limit=halt.limit, anchor="limits",
            sentence=f"Trading was halted: {halt.reason or rule_name(halt.rule)}.",
        )  # fmt: skip
    for each in scene.differences:
        yield Point(
            rule=f"reconcile_{each.kind}", severity="critical", ts_ns=each.ts_init_ns, subject=each.subject,
            value=each.ours, limit=each.theirs, anchor="proof", sentence="The book and the venue disagreed.",
        )  # fmt: skip


def _missed_levels(rollup: Rollup, scene: Scene, numbers: dict[str, Trade]) -> Iterable[Point]:
    for hit in rollup.hits:
        trade = numbers.get(hit.position_id)
        digits = scene.digits.get(hit.symbol, 5)
        if hit.missed:
            pips = hit.beyond_e5 / rollup.pips_e5.get(hit.symbol, 10)
            serious = hit.cause != "take_profit"
            yield Point(
                rule=f"{hit.cause}_missed", severity="critical" if serious else "warning", ts_ns=hit.ts_ns,
                subject=f"{_named(trade, hit.position_id)}, {hit.symbol}", value=duration(hit.late_ns),
                limit=duration(MISSED_AFTER_NS), anchor=trade_anchor(trade),
                sentence=f"Prices reached the {rule_name(hit.cause)} at {price(hit.level_e5, digits)} and it was not "
                f"executed; the position ended, or stood, at {price(hit.price_e5, digits)}, {number(pips, 1)} pips "
                "from it.",
            )  # fmt: skip
        elif hit.late_ns > MISSED_AFTER_NS and hit.cause != "take_profit":
            yield Point(
                rule=f"{hit.cause}_late", severity="critical", ts_ns=hit.ts_ns - hit.late_ns,
                subject=f"{_named(trade, hit.position_id)}, {hit.symbol}", value=duration(hit.late_ns),
                limit=duration(MISSED_AFTER_NS), anchor=trade_anchor(trade), amount=hit.slippage,
                sentence=f"Prices reached the {rule_name(hit.cause)} at {price(hit.level_e5, digits)} long before it "
                f"was executed at {price(hit.price_e5, digits)}.",
            )  # fmt: skip


def _protection(rollup: Rollup) -> Iterable[Point]:
    for trade in rollup.trades:
        waited = trade.protect_ns
        if waited is not None and waited <= PROTECT_NS:
            continue
        yield Point(
            rule="protected", severity="critical" if waited is None else "warning", ts_ns=trade.ts_open_ns,
            subject=_named(trade, trade.position_id), value="never" if waited is None else duration(waited),
            limit=duration(PROTECT_NS), anchor=trade_anchor(trade),
            sentence="No stop at the venue was ever confirmed for this position."
            if waited is None else "The stop came late.",
        )  # fmt: skip


def _unanswered(rollup: Rollup) -> Iterable[Point]:
    for each in rollup.executions:
        if each.state in {"unknown", "sent"}:
            yield Point(
                rule="order_answered", severity="critical" if each.state == "unknown" else "warning",
                ts_ns=each.ts_ns, subject=f"order {each.client_order_id}, {each.symbol}", value="no answer",
                limit="an answer", anchor="orders", sentence="What became of an order was never learned.",
            )  # fmt: skip


def _rejections(rollup: Rollup) -> Iterable[Point]:
    orders = rollup.total.orders
    codes = sorted({each.code for each in rollup.executions if each.state == "rejected"})
    for code in codes:
        rows = [each for each in rollup.executions if each.state == "rejected" and each.code == code]
        for burst in _bursts(rows):
            share = f"{number(100.0 * orders.rejection_rate, 1)} % of {orders.sent} orders in all"
            worse = orders.rejection_rate > REJECTIONS_SHARE or len(burst) > 1
            yield Point(
                rule="orders_rejected", severity="warning" if worse else "info", ts_ns=burst[0].ts_ns,
                subject=f"{burst[0].symbol}, {code or 'no code'}", n=len(burst),
                value=f"{len(burst)} rejected", limit=f"{number(100 * REJECTIONS_SHARE)} % of orders",
                anchor="orders",
                sentence=f"The venue rejected {_orders(len(burst))} with {code or 'no code'}{_until(burst)}; {share}.",
            )  # fmt: skip


def _orders(n: int) -> str:
    return "an order" if n == 1 else f"{n} orders in a burst"


def _late(rollup: Rollup, numbers: dict[str, Trade]) -> Iterable[Point]:
    late = [each for each in rollup.executions if each.fill_ns is not None and each.fill_ns > LATE_NS]
    for burst in _bursts(late):
        worst = max(burst, key=lambda each: each.fill_ns or 0)
        usual = rollup.total.delays["fill_ns"].median if "fill_ns" in rollup.total.delays else 0.0
        trade = numbers.get(worst.position_id)
        cost = sum(each.slippage for each in burst)
        yield Point(
            rule="filled_late", severity="warning", ts_ns=burst[0].ts_ns, n=len(burst),
            subject=f"{_named(trade, worst.position_id)}, {worst.symbol}", value=duration(worst.fill_ns),
            limit=duration(LATE_NS), anchor=trade_anchor(trade), amount=cost,
            sentence=f"{'A deal' if len(burst) == 1 else f'{len(burst)} deals'} came late after the order had left"
            f"{_until(burst)}; the usual wait is {duration(usual)}. Slippage of {'it' if len(burst) == 1 else 'them'}: "
            f"{amount(cost, rollup.money_digits, signed=True)} {rollup.currency}.",
        )  # fmt: skip


def _spreads(rollup: Rollup, scene: Scene) -> Iterable[Point]:
    for wide in scene.wide:
        pip = rollup.pips_e5.get(wide.symbol, 10)
        times = wide.widest_e5 / wide.usual_e5
        deals = sum(wide.ts_from_ns <= fill.ts_ns <= wide.ts_to_ns and fill.symbol == wide.symbol
                    for fill in scene.fills)  # fmt: skip
        blocked = _during(rollup.missed, wide.symbol, wide.ts_from_ns, wide.ts_to_ns)
        serious = times >= CERTAIN_WIDE or deals
        yield Point(
            rule="spread_widened", severity="warning" if serious else "info", ts_ns=wide.ts_from_ns,
            subject=wide.symbol, value=f"{number(wide.widest_e5 / pip, 1)} pips",
            limit=f"{number(wide.usual_e5 / pip, 1)} pips usual", anchor="spreads",
            sentence=f"The spread was {number(times, 1)} times the usual one over {wide.quotes} "
            f"{'quote' if wide.quotes == 1 else 'quotes'}, until "
            f"{to_datetime(wide.ts_to_ns):%H:%M:%S} UTC; {deals} deals were made and {blocked} signals refused "
            "meanwhile.",
        )  # fmt: skip


def _during(rows: Sequence[Missed], symbol: str, from_ns: int, to_ns: int) -> int:
    return sum(row.symbol == symbol and row.rule == "spread" and from_ns <= row.ts_ns <= to_ns for row in rows)


def _slippage(rollup: Rollup, numbers: dict[str, Trade]) -> Iterable[Point]:
    for each in rollup.executions:
        if not each.filled_e2 or not each.reference_e5 or -each.slippage_e5 <= SLIPPAGE_SHARE * each.reference_e5:
            continue
        trade = numbers.get(each.position_id)
        pip = rollup.pips_e5.get(each.symbol, 10)
        yield Point(
            rule="slippage", severity="warning", ts_ns=each.ts_ns, subject=_named(trade, each.position_id),
            value=f"{number(each.slippage_e5 / pip, 1)} pips",
            limit=f"{number(-SLIPPAGE_SHARE * each.reference_e5 / pip, 1)} pips", anchor=trade_anchor(trade),
            sentence=f"The {rule_name(each.leg)} was filled more than {number(100 * SLIPPAGE_SHARE, 1)} % from its "
            "reference price.", amount=each.slippage,
        )  # fmt: skip


def _outages(rollup: Rollup) -> Iterable[Point]:
    names = {"link": "Nothing reached the venue", "process": "No process was there", "data": "No prices came"}
    for each in rollup.outages:
        lasted = each.ts_to_ns - each.ts_from_ns
        yield Point(
            rule=f"{each.kind}_outage", severity="warning" if lasted > OUTAGE_NS else "info", ts_ns=each.ts_from_ns,
            subject=each.subject or each.kind, value=duration(lasted), limit=duration(OUTAGE_NS), anchor="service",
            sentence=f"{names.get(each.kind, each.kind)}{f': {each.reason}' if each.reason else ''}.",
        )  # fmt: skip


def _limits(rollup: Rollup) -> Iterable[Point]:
    for peak in rollup.total.limits:
        if peak.share is None or peak.share < 0.8 or peak.peak is None:
            continue
        yield Point(
            rule=f"limit_{peak.rule}", severity="warning" if peak.share >= 1.0 else "info", ts_ns=peak.ts_ns,
            subject=f"{number(100 * peak.share)} % used", value=f"{number(peak.peak, 2)} {peak.unit}",
            limit=f"{number(peak.limit, 2)} {peak.unit}", anchor="limits",
            sentence=f"The limit {rule_name(peak.rule)} was "
            f"{'reached' if peak.share >= 1.0 else 'nearly used up'} at its peak.",
        )  # fmt: skip


def _forecasts(rollup: Rollup) -> Iterable[Point]:
    for row in rollup.total.coverage:
        if not row.active or not row.n:
            continue
        subject = f"{row.symbol} {row.model_id}, {row.horizon} bars ahead, {number(100 * row.level)} %"
        value = f"{number(100 * row.measured, 1)} % of {row.n}"
        if row.high < row.level:
            yield Point(
                rule="coverage_low", severity="warning", ts_ns=0, subject=subject, value=value,
                limit=f"{number(100 * row.level)} %", anchor="coverage",
                sentence="The intervals held the truth less often than they promise; 95 % sure of "
                f"{number(100 * row.low, 1)} to {number(100 * row.high, 1)} %.",
            )  # fmt: skip
        elif row.low > row.level:
            yield Point(
                rule="coverage_high", severity="info", ts_ns=0, subject=subject, value=value,
                limit=f"{number(100 * row.level)} %", anchor="coverage",
                sentence="The intervals held the truth more often than they promise: wider than need be.",
            )  # fmt: skip
    for row in rollup.total.drift:
        if row.t is not None and row.t > SIGNIFICANT_T and row.change_pct > DRIFT_PCT:
            yield Point(
                rule="model_drift", severity="warning", ts_ns=0, anchor="coverage",
                subject=f"{row.symbol} {row.model_id}, {row.horizon} bars ahead",
                value=f"{number(row.change_pct, 1, signed=True)} %", limit=f"{number(DRIFT_PCT)} %",
                sentence=f"Errors grew against all before (t = {number(row.t, 1)}, n = {row.n} after {row.n_before}).",
            )  # fmt: skip
    signals = rollup.total.signals
    due = signals.forecasts + signals.forecasts_missed
    if due and signals.forecasts_missed > MISSED_FORECASTS * due:
        yield Point(
            rule="forecasts_came", severity="warning", ts_ns=0, subject="inference",
            value=f"{number(100 * signals.forecasts_missed / due, 1)} % missing",
            limit=f"{number(100 * MISSED_FORECASTS)} %", anchor="coverage", n=signals.forecasts_missed,
            sentence=f"{signals.forecasts_missed} of {due} forecasts did not come.",
        )  # fmt: skip


def _parity(parities: Sequence[Parity]) -> Iterable[Point]:
    for parity in parities:
        for row in parity.by_kind:
            if not row.n:
                continue
            first = next(each for each in parity.differences if each.kind == row.kind)
            yield Point(
                rule=f"parity_{row.kind}", severity="critical" if row.kind == "unknown" else "warning",
                ts_ns=first.ts_ns, subject=f"run {parity.run_id}", n=row.n,
                value=f"{row.n} differences", limit="0", anchor="proof", amount=row.money,
                sentence=f"Run again as it should have been, the day differs by {row.kind}: "
                f"{amount(row.money, parity.money_digits, signed=True)} {parity.currency}.",
            )  # fmt: skip


def _small(rollup: Rollup, numbers: dict[str, Trade]) -> Iterable[Point]:
    short = [each for each in rollup.executions if each.state == "partly_filled"]
    if short:
        yield Point(
            rule="filled_in_part", severity="info", ts_ns=short[0].ts_ns, subject=f"order {short[0].client_order_id}",
            value=f"{len(short)} orders", limit="0", anchor="orders", n=len(short),
            sentence="Orders ended with less than was ordered.",
        )  # fmt: skip
    false = [hit for hit in rollup.hits if hit.false_trigger and not hit.missed]
    if false:
        trade = numbers.get(false[0].position_id)
        yield Point(
            rule="false_triggers", severity="info", ts_ns=false[0].ts_ns, subject=_named(trade, false[0].position_id),
            value=f"{len(false)} levels", limit="0", anchor=trade_anchor(trade), n=len(false),
            sentence="Levels were reached by the spread alone, the mid price did not reach them.",
        )  # fmt: skip
    still = sum(not trade.ts_close_ns for trade in rollup.trades)
    if still:
        yield Point(
            rule="flat_at_end", severity="info", ts_ns=0, subject="account", value=f"{still} open", limit="0",
            anchor="trades", n=still, sentence="Positions are still open; their profit is not booked yet.",
        )  # fmt: skip
