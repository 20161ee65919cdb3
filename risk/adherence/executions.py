"""From what was followed to what is told: executions, missed signals and levels, and their distributions."""

from collections.abc import Iterable, Mapping, Sequence

from bus.messages import Intent, IntentRefused
from risk.adherence.ledger import Ledger
from risk.adherence.levels import LevelHit
from risk.adherence.numbers import distribution_of
from risk.adherence.records import Distribution, Trade
from risk.adherence.rolled import Execution, LevelAccuracy, Missed, Orders, Rate
from risk.adherence.tracks import OrderTrack

LEGS = ("all", "entry", "exit", "protective")
DELAYS = ("forecast_ns", "decision_ns", "order_ns", "send_ns", "accept_ns", "fill_ns")
ENDED_UNFILLED = ("rejected", "cancelled", "expired", "unknown")
_LEVELS = ("stop_loss", "trailing_stop", "take_profit", "stop_out")


def of_order(run_id: str, track: OrderTrack, ledger: Ledger, arrived: Mapping[tuple[str, str], int]) -> Execution:
    """The record of an order.

    Args:
        run_id: its journal's.
        track: as it stands.
        ledger: knows when the bar behind a forecast closed.
        arrived: when a forecast had been calibrated, by request and model.
    """
    order, intent = track.order, track.intent
    asked = (intent.request_id, intent.model_id) if intent else ("", "")
    signal_ns, forecast_ns = ledger.signals.get(asked, 0), arrived.get(asked, 0)
    left_ns = track.ts_sent_ns or order.ts_init_ns
    filled_e2 = track.filled_e2
    state = track.state
    if state == "filled" and filled_e2 < order.volume_e2 and order.client_order_id not in ledger.at_work:
        state = "partly_filled"
    return Execution(
        run_id=run_id,
        client_order_id=order.client_order_id,
        intent_id=order.intent_id,
        position_id=order.position_id or track.position_id,
        strategy=order.strategy,
        symbol=order.symbol,
        model_id=track.model_id,
        horizon=intent.horizon if intent else 0,
        side=int(order.side),
        leg="exit" if order.position_id or track.closing else "entry",
        state=state,
        code=track.code,
        ts_signal_ns=signal_ns,
        ts_ns=order.ts_init_ns,
        reference_e5=order.reference_e5,
        price_e5=track.value / filled_e2 if filled_e2 else 0.0,
        intended_e2=order.volume_e2,
        filled_e2=filled_e2,
        deals=track.deals,
        slippage_e5=track.slippage / filled_e2 if filled_e2 else 0.0,
        delay_e5=track.delay / filled_e2 if filled_e2 else 0.0,
        impact_e5=(track.slippage - track.delay) / filled_e2 if filled_e2 else 0.0,
        spread_e5=track.spread / filled_e2 if filled_e2 else 0.0,
        slippage=track.money,
        forecast_ns=forecast_ns - signal_ns if forecast_ns and signal_ns else None,
        decision_ns=intent.ts_init_ns - forecast_ns if intent and forecast_ns else None,
        order_ns=order.ts_init_ns - intent.ts_init_ns if intent else None,
        send_ns=track.ts_sent_ns - order.ts_init_ns if track.ts_sent_ns else None,
        accept_ns=track.ts_accepted_ns - left_ns if track.ts_accepted_ns else None,
        fill_ns=track.ts_filled_ns - left_ns if track.ts_filled_ns else None,
    )


def of_level(run_id: str, hit: LevelHit) -> Execution:
    """The record of a protective deal: what it intended is the level."""
    return Execution(
        run_id=run_id,
        client_order_id="",
        intent_id="",
        position_id=hit.position_id,
        strategy=hit.strategy,
        symbol=hit.symbol,
        model_id=hit.model_id,
        horizon=0,
        side=hit.side,
        leg=hit.cause,
        state="filled",
        code="",
        ts_signal_ns=0,
        ts_ns=hit.ts_ns,
        reference_e5=hit.level_e5,
        price_e5=float(hit.price_e5),
        intended_e2=hit.volume_e2,
        filled_e2=hit.volume_e2,
        deals=1,
        slippage_e5=float(hit.beyond_e5),
        delay_e5=float(hit.delay_e5),
        impact_e5=float(hit.beyond_e5 - hit.delay_e5),
        spread_e5=float(hit.spread_e5),
        slippage=hit.slippage,
        forecast_ns=None,
        decision_ns=None,
        order_ns=None,
        send_ns=None,
        accept_ns=None,
        fill_ns=hit.late_ns,
    )


def not_traded(run_id: str, execution: Execution, track: OrderTrack) -> Missed | None:
    """A wish to enter that the venue took nothing of; None where it did, or where it was no entry."""
    if execution.leg != "entry" or execution.filled_e2 or execution.state not in ENDED_UNFILLED:
        return None
    return Missed(
        run_id=run_id,
        ts_ns=execution.ts_ns,
        intent_id=execution.intent_id,
        strategy=execution.strategy,
        symbol=execution.symbol,
        model_id=execution.model_id,
        horizon=execution.horizon,
        side=execution.side,
        what="rejected" if execution.state == "rejected" else "unfilled",
        rule=execution.code or execution.state,
        limit="",
        value=execution.state,
        edge_e5=track.intent.edge_e5 if track.intent else 0,
    )


def refused_signal(run_id: str, refused: IntentRefused, intent: Intent | None) -> Missed:
    """A wish to enter that the gate refused."""
    return Missed(
        run_id=run_id,
        ts_ns=refused.ts_init_ns,
        intent_id=refused.intent_id,
        strategy=refused.strategy,
        symbol=refused.symbol,
        model_id=intent.model_id if intent else "",
        horizon=intent.horizon if intent else 0,
        side=int(intent.side) if intent else 0,
        what="refused",
        rule=refused.rule,
        limit=refused.limit,
        value=refused.value,
        edge_e5=intent.edge_e5 if intent else 0,
    )


# --- figures over many -----------------------------------------------------------------------------------------


def orders_of(executions: Iterable[Execution]) -> tuple[Orders, tuple[Rate, ...]]:
    """Orders by what became of them, and why not all of them were filled whole."""
    own = [each for each in executions if each.client_order_id]
    sent = len(own)
    states = {state: sum(each.state == state for each in own) for state in ("filled", "partly_filled", *ENDED_UNFILLED)}
    codes: dict[tuple[str, str], int] = {}
    for each in own:
        if each.state not in {"filled", "sent", "accepted"}:
            codes[each.state, each.code] = codes.get((each.state, each.code), 0) + 1
    taken = [each for each in own if each.state != "rejected"]
    orders = Orders(
        sent=sent,
        unanswered=sum(each.state in {"sent", "accepted"} for each in own),
        intended_e2=sum(each.intended_e2 for each in taken),
        filled_e2=sum(each.filled_e2 for each in taken),
        rejection_rate=states["rejected"] / sent if sent else 0.0,
        partial_rate=states["partly_filled"] / sent if sent else 0.0,
        **states,
    )
    ranked = sorted(codes.items(), key=lambda item: (-item[1], item[0]))
    return orders, tuple(Rate(state=state, code=code, n=n, share=n / sent) for (state, code), n in ranked)


def delays_of(executions: Sequence[Execution], trades: Iterable[Trade]) -> dict[str, Distribution]:
    """How long every step took; that from the first deal to a stop at the venue is of the trades."""
    own = [each for each in executions if each.client_order_id]
    found: dict[str, Distribution] = {}
    for name in DELAYS:
        told: list[int | None] = [getattr(each, name) for each in own]
        found[name] = distribution_of([value for value in told if value is not None])
    found["protect_ns"] = distribution_of([trade.protect_ns for trade in trades if trade.protect_ns is not None])
    return found


def slippage_of(executions: Iterable[Execution], pips_e5: Mapping[str, int] | None = None) -> dict[str, Distribution]:
    """Slippage of what was filled against a reference, in 1/100000 or, given the symbols' pips, in pips."""
    values: dict[str, list[float]] = {leg: [] for leg in LEGS}
    for each in executions:
        if each.filled_e2 and each.reference_e5:
            value = each.slippage_e5 / (pips_e5.get(each.symbol, 10) if pips_e5 else 1)
            values["all"].append(value)
            values[each.leg if each.leg in {"entry", "exit"} else "protective"].append(value)
    return {leg: distribution_of(each) for leg, each in values.items()}


def accuracy_of(hits: Sequence[LevelHit]) -> tuple[LevelAccuracy, ...]:
    """Levels by cause; those that never came up are left out."""
    out: list[LevelAccuracy] = []
    for cause in _LEVELS:
        own = [hit for hit in hits if hit.cause == cause]
        done = [hit for hit in own if not hit.missed]
        if own:
            out.append(
                LevelAccuracy(
                    cause=cause,
                    n=len(own),
                    at=sum(hit.beyond_e5 == 0 for hit in done),
                    beyond=sum(hit.beyond_e5 < 0 for hit in done),
                    better=sum(hit.beyond_e5 > 0 for hit in done),
                    missed=len(own) - len(done),
                    false_triggers=sum(hit.false_trigger for hit in done),
                    beyond_e5=distribution_of([hit.beyond_e5 for hit in done]),
                    late_ns=distribution_of([hit.late_ns for hit in own]),
                )
            )
    return tuple(out)
