"""Rules over what was derived: findings in plain words, and the verdict."""

from collections.abc import Mapping, Sequence
from typing import Literal

from bus.messages import HaltLatched, ReconcileFound
from risk.adherence.forecasts import LEAK_RATE
from risk.adherence.ledger import Ledger
from risk.adherence.numbers import exact_interval, t_statistic
from risk.adherence.records import Conservation, Finding, ForecastRow, Group, Money, Trade, Verdict

SIGNIFICANT_T = 2.0
"""Two standard errors: about 1 in 44 by chance, one-sided."""

MINIMUM_TRADES = 30
PROTECT_WITHIN_S = 5
MISSED_SHARE = 0.01

Severity = Literal["critical", "warning", "info"]


def _found(rule: str, severity: Severity, subject: str, value: object, limit: object, sentence: str) -> Finding:
    return Finding(rule=rule, severity=severity, subject=subject, value=str(value), limit=str(limit), sentence=sentence)


def _bars(count: int) -> str:
    return "1 bar" if count == 1 else f"{count} bars"


def _percent(share: float) -> str:
    return f"{100.0 * share:.1f} %"


def _pips(trade: Trade, pips: Mapping[str, int]) -> str:
    return f"{trade.beyond_e5 / pips.get(trade.symbol, 10):.1f} pips"


def conservation(ledger: Ledger) -> Conservation:
    """Whether the balance moved by what was booked, and what was booked is what was told."""
    start = ledger.balance_start or 0
    change = ledger.balance_told - start
    flat = not ledger.positions
    told_once_flat = (ledger.total.commission, ledger.total.swap) == (ledger.commission_told, ledger.swap_told)
    return Conservation(
        balance_start=start,
        balance_end=ledger.balance_told,
        balance_change=change,
        booked=ledger.booked,
        moved=ledger.moved,
        commission_booked=ledger.total.commission,
        commission_told=ledger.commission_told,
        swap_booked=ledger.total.swap,
        swap_told=ledger.swap_told,
        flat=flat,
        exact=change == ledger.booked + ledger.moved and not ledger.balance_breaks and (not flat or told_once_flat),
    )


def money_findings(ledger: Ledger, check: Conservation, periods: dict[str, Sequence[Group]]) -> list[Finding]:
    """Money that does not add up, by whichever way."""
    out: list[Finding] = []
    explained = check.booked + check.moved
    if check.balance_change != explained:
        sentence = "The balance moved by another amount than closing deals, cash and other people's deals explain."
        out.append(_found("money_conserved", "critical", "account", check.balance_change, explained, sentence))
    out.extend(
        _found("balance_told", "critical", "account", text, "", f"{text}.") for text in ledger.balance_breaks[:5]
    )
    if check.flat and check.commission_booked != check.commission_told:
        sentence = "Commission booked at closing differs from the sum of the deals' own commissions."
        out.append(
            _found(
                "commission_matches", "critical", "account", check.commission_booked, check.commission_told, sentence
            )
        )
    if check.flat and check.swap_booked != check.swap_told:
        sentence = "Swap booked at closing differs from the sum of the nights' charges."
        out.append(_found("swap_matches", "critical", "account", check.swap_booked, check.swap_told, sentence))
    for name, rows in periods.items():
        total = Money()
        for row in rows:
            total = total.plus(row.money)
        if total != ledger.total or not total.ties_out:
            sentence = f"The {name} table does not add up to the total."
            out.append(_found("periods_tie_out", "critical", name, total.net, ledger.total.net, sentence))
    for position_id in ledger.strangers[:5]:
        sentence = "A deal closed a position that this journal never saw opened."
        out.append(_found("position_known", "critical", position_id, "unknown", "opened here", sentence))
    for symbol in sorted(ledger.unpriced):
        sentence = "No chain of prices leads to the account's currency: slippage and floating profit count as 0."
        out.append(_found("priced", "warning", symbol, "no rate", "a rate", sentence))
    return out


def order_findings(ledger: Ledger, refused: set[str]) -> list[Finding]:
    """Orders that went round the gate, grew, or were never answered."""
    out: list[Finding] = []
    for order_id, track in ledger.orders.items():
        order = track.order
        if track.intent is None:
            sentence = "An order was sent for which no intent stands in the journal."
            out.append(_found("order_has_intent", "critical", order_id, "none", "an intent", sentence))
        if order.intent_id in refused:
            sentence = "An order was sent although the gate had refused its intent."
            out.append(_found("refusal_obeyed", "critical", order_id, order.intent_id, "no order", sentence))
        if track.filled_e2 > order.volume_e2:
            sentence = "More was filled than was ordered."
            out.append(_found("fill_within_order", "critical", order_id, track.filled_e2, order.volume_e2, sentence))
        if track.state == "unknown":
            sentence = "The outcome of an order was never learned."
            out.append(_found("outcome_known", "critical", order_id, "unknown", "an answer", sentence))
        if track.state == "sent":
            sentence = "An order was sent and never answered."
            out.append(_found("order_answered", "warning", order_id, "no answer", "an answer", sentence))
    return out


def trade_findings(trades: Sequence[Trade], pips: Mapping[str, int]) -> list[Finding]:
    """Protection that came late or not at all, targets filled short, sizes not reached."""
    out: list[Finding] = []
    for trade in trades:
        subject = f"trade {trade.number}"
        if trade.protect_ns is None:
            sentence = "No stop at the venue was ever confirmed for this position."
            out.append(_found("protected", "critical", subject, "never", f"{PROTECT_WITHIN_S} s", sentence))
        elif trade.protect_ns > PROTECT_WITHIN_S * 1_000_000_000:
            waited = f"{trade.protect_ns / 1e9:.1f} s"
            out.append(_found("protected", "warning", subject, waited, f"{PROTECT_WITHIN_S} s", "The stop came late."))
        if trade.cause == "take_profit" and trade.beyond_e5 < 0:
            sentence = "A target was filled worse than its level, which a limit order forbids."
            out.append(_found("target_kept", "warning", subject, _pips(trade, pips), "0.0 pips", sentence))
        if trade.cause in {"stop_loss", "trailing_stop"} and trade.beyond_e5 > 0:
            sentence = "A stop was filled better than its level: the level told and the level that triggered differ."
            out.append(_found("stop_level", "warning", subject, _pips(trade, pips), "0.0 pips", sentence))
    gaps = [trade for trade in trades if trade.cause in {"stop_loss", "trailing_stop", "stop_out"} and trade.beyond_e5]
    if gaps:
        worst = min(gaps, key=lambda trade: trade.beyond_e5)
        out.append(
            _found("stop_slippage", "info", f"trade {worst.number}", _pips(worst, pips), "0.0 pips",
                   f"{len(gaps)} stops were filled away from their level; this one was the worst.")
        )  # fmt: skip
    short = [trade for trade in trades if trade.filled_e2 < trade.intended_e2]
    if short:
        sentence = f"{len(short)} entries were filled with less than was ordered."
        out.append(_found("size_reached", "info", f"trade {short[0].number}", len(short), 0, sentence))
    return out


def forecast_findings(rows: Sequence[ForecastRow], made: int, missed: int) -> list[Finding]:
    """Intervals that do not tell the truth, models too good to be true, forecasts that did not come."""
    out: list[Finding] = []
    for row in rows:
        subject = f"{row.symbol} {row.model_id}, {_bars(row.horizon)} ahead"
        if row.leak_suspected:
            # Forecasts `horizon` bars ahead overlap: about every horizon-th is news of its own.
            independent = max(1, row.calls // row.horizon)
            low, high = exact_interval(round(row.hit_rate * independent), independent)
            sentence = "So high a hit rate is not believed: look for a leak of the future before anything else."
            if low <= 0.5:
                sentence += (
                    f" About {independent} of these forecasts do not overlap, and their 95 % interval, "
                    f"{_percent(low)} to {_percent(high)}, allows for chance as well."
                )
            out.append(
                _found(
                    "suspected_leak",
                    "critical" if low > 0.5 else "warning",
                    subject,
                    f"{_percent(row.hit_rate)} of {row.calls}",
                    _percent(LEAK_RATE),
                    sentence,
                )
            )
        if not row.active:
            continue
        for level in row.levels:
            promised = f"{subject}, {level.level:.0%}".replace("%", " %")
            value, limit = f"{_percent(level.measured)} of {level.n}", _percent(level.level)
            if level.high < level.level:
                sentence = "The intervals held the truth less often than they promise."
                out.append(_found("coverage_low", "warning", promised, value, limit, sentence))
            elif level.low > level.level:
                sentence = "The intervals held the truth more often than they promise: they are wider than need be."
                out.append(_found("coverage_high", "info", promised, value, limit, sentence))
    if missed > MISSED_SHARE * (made + missed):
        share = _percent(missed / (made + missed))
        sentence = f"{missed} forecasts did not come; the strategies received none for those bars."
        out.append(_found("forecasts_came", "warning", "inference", share, _percent(MISSED_SHARE), sentence))
    return out


def event_findings(
    halts: Sequence[HaltLatched], differences: Sequence[ReconcileFound], rejected: int, open_positions: int
) -> list[Finding]:
    """Halts, differences with the venue, rejections, and what is still open."""
    out = [
        _found(f"halt_{halt.rule}", "warning", halt.level.name.lower().replace("_", " "), halt.value, halt.limit,
               f"Trading was halted: {halt.reason or halt.rule}.")
        for halt in halts
    ]  # fmt: skip
    out += [
        _found(f"reconcile_{found.kind}", "critical", found.subject, found.ours, found.theirs,
               "The book and the venue disagreed.")
        for found in differences
    ]  # fmt: skip
    if rejected:
        out.append(_found("orders_taken", "warning", "venue", rejected, 0, f"The venue rejected {rejected} orders."))
    if open_positions:
        sentence = f"{open_positions} positions were still open at the end; their profit is not in these figures."
        out.append(_found("flat_at_end", "info", "account", open_positions, 0, sentence))
    return out


def verdict(trades: Sequence[Trade], rows: Sequence[ForecastRow]) -> Verdict:
    """Profit per trade must stand out of the noise, and so must the forecast's gain over the random walk."""
    closed = [trade for trade in trades if trade.ts_close_ns]
    nets = [float(trade.money.net) for trade in closed]
    profit_t = t_statistic(nets)
    traded = [(trade.symbol, trade.model_id, trade.horizon) for trade in closed]
    candidates = [row for row in rows if row.active and not row.random_walk]
    # Skill counts where it was traded on: the symbol, model and horizon behind most trades.
    row = max(candidates, key=lambda row: traded.count((row.symbol, row.model_id, row.horizon)), default=None)
    crps_t = row.crps_t if row else None
    profitable = profit_t is not None and profit_t > SIGNIFICANT_T and len(closed) >= MINIMUM_TRADES
    skilful = crps_t is not None and crps_t > SIGNIFICANT_T
    leak = any(candidate.leak_suspected for candidate in candidates)
    edge = profitable and skilful and not leak
    sentences = [_profit_sentence(len(closed), profit_t, profitable=profitable), _skill_sentence(row, skilful=skilful)]
    if leak:
        sentences.append("A suspected leak of the future makes every figure of skill worthless until it is explained.")
    sentences.append(
        "One run on one stretch of data is one sample: it says little about the next, and nothing here promises profit."
    )
    return Verdict(
        edge=edge,
        headline="An edge after costs in this sample" if edge else "No edge after costs",
        sentences=tuple(sentences),
        trades=len(closed),
        mean_net=sum(nets) / len(nets) if nets else 0.0,
        profit_t=profit_t,
        crps_t=crps_t,
        horizon=row.horizon if row else 0,
        model_id=row.model_id if row else "",
    )


def _profit_sentence(n: int, t: float | None, *, profitable: bool) -> str:
    if not n:
        return "No trade was closed, so there is no profit to judge."
    if t is None:
        return f"{n} closed trades are too few to tell their mean net profit from chance."
    if profitable:
        return f"The mean net profit of {n} trades is above zero by {t:.1f} standard errors."
    if t > SIGNIFICANT_T:
        return f"The mean net profit stands {t:.1f} standard errors above zero, but {n} trades are too few to count."
    if t < -SIGNIFICANT_T:
        return f"The mean net profit of {n} trades is below zero by {-t:.1f} standard errors: costs included, it loses."
    return f"The mean net profit of {n} trades cannot be told from zero (t = {t:.1f}, needed: {SIGNIFICANT_T:.1f})."


def _skill_sentence(row: ForecastRow | None, *, skilful: bool) -> str:
    if row is None:
        return "No forecast of an active model was resolved, so there is no skill to judge."
    what = f"{row.model_id}, {_bars(row.horizon)} ahead,"
    if row.crps_t is None:
        return f"The {row.n} forecasts of {what} are too few to compare with the random walk."
    if skilful:
        measured = f"{_percent(row.skill)} in CRPS (t = {row.crps_t:.1f}, n = {row.n})"
        return f"The forecasts of {what} beat the random walk by {measured}."
    if row.crps_t < -SIGNIFICANT_T:
        return f"The forecasts of {what} are worse than the random walk (CRPS t = {row.crps_t:.1f}, n = {row.n})."
    return f"The forecasts of {what} cannot be told from the random walk (CRPS t = {row.crps_t:.1f}, n = {row.n})."
