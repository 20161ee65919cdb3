"""Executions and missed signals of a day by hand, field by field, and the figures over them."""

import pytest

from bus.values import OrderType
from risk.adherence.records import Distribution
from risk.adherence.rolled import Execution, Missed, Orders, Rate, Signals
from risk.adherence.rollup import roll_up
from tests.harness.desk import (
    BUY,
    HOUR,
    OTHER,
    RIDGE,
    SELL,
    S,
    T,
    accepted,
    cancelled,
    day,
    deal,
    expired,
    forecast,
    intent,
    numbered,
    order,
    quote,
    refused,
    rejected,
    run,
    snapshot,
    unknown,
)


def rolled(messages):
    return roll_up([numbered(messages)])


def one(value, sign=-1):
    """The distribution of a single value; the spread of signs is `sign`'s."""
    value = float(value)
    signs = {"below": int(sign < 0), "zero": int(sign == 0), "above": int(sign > 0)}
    return Distribution(n=1, mean=value, least=value, p05=value, p25=value, median=value, p75=value, p95=value,
                        p99=value, largest=value, **signs)  # fmt: skip


def two(low, high):
    mean = (low + high) / 2
    deviation = ((low - mean) ** 2 + (high - mean) ** 2) ** 0.5
    return {"n": 2, "mean": mean, "deviation": deviation, "least": low, "p05": low, "p25": low, "median": low,
            "p75": high, "p95": high, "p99": high, "largest": high}  # fmt: skip


# --- field by field ------------------------------------------------------------------------------------------------


def test_every_field_of_an_entry_that_was_partly_filled_is_told():
    first = rolled(day()).executions[0]

    slipped, delayed = (-3 * 1_000_000 - 7 * 300_001) / 1_300_001, (-2 * 1_000_000 - 6 * 300_001) / 1_300_001
    assert first == Execution(
        run_id="h", client_order_id="c1", intent_id="i-c1", position_id="P1", strategy="s1", symbol="EURUSD",
        model_id=RIDGE, horizon=4, side=1, leg="entry", state="partly_filled", code="no more volume",
        ts_signal_ns=T + 10, ts_ns=T + 25, reference_e5=110_008,
        price_e5=(110_011 * 1_000_000 + 110_015 * 300_001) / 1_300_001, intended_e2=1_500_000, filled_e2=1_300_001,
        deals=2, slippage_e5=slipped, delay_e5=delayed, impact_e5=-1.0,
        spread_e5=(10 * 1_000_000 + 11 * 300_001) / 1_300_001, slippage=-51, forecast_ns=8, decision_ns=2, order_ns=5,
        send_ns=5, accept_ns=45, fill_ns=60,
    )  # fmt: skip


def test_an_exit_is_of_the_model_that_led_in_and_counts_from_its_order_where_its_leaving_was_not_told():
    exit_order = rolled(day()).executions[2]

    assert exit_order == Execution(
        run_id="h", client_order_id="x1", intent_id="i-x1", position_id="P1", strategy="s1", symbol="EURUSD",
        model_id=RIDGE, horizon=0, side=-1, leg="exit", state="filled", code="", ts_signal_ns=0,
        ts_ns=T + 11 * HOUR + 4, reference_e5=110_050,
        price_e5=(110_047 * 400_000 + 110_052 * 900_001) / 1_300_001, intended_e2=1_300_001, filled_e2=1_300_001,
        deals=2, slippage_e5=(-3 * 400_000 + 2 * 900_001) / 1_300_001,
        delay_e5=(-2 * 400_000 + 2 * 900_001) / 1_300_001, impact_e5=-400_000 / 1_300_001, spread_e5=12.0,
        slippage=6, forecast_ns=None, decision_ns=None, order_ns=4, send_ns=None, accept_ns=46, fill_ns=61,
    )  # fmt: skip


def test_a_protective_deal_intends_its_level_and_is_as_late_as_the_first_price_that_reached_it():
    stopped = rolled(day()).executions[3]

    assert stopped == Execution(
        run_id="h", client_order_id="", intent_id="", position_id="P2", strategy="s2", symbol="USDJPY",
        model_id=OTHER, horizon=0, side=1, leg="stop_loss", state="filled", code="", ts_signal_ns=0,
        ts_ns=T + 12 * HOUR + 5 * S, reference_e5=10_930_000, price_e5=10_932_000.0, intended_e2=2_000_000,
        filled_e2=2_000_000, deals=1, slippage_e5=-2_000.0, delay_e5=-1_600.0, impact_e5=-400.0, spread_e5=1_000.0,
        slippage=-366, forecast_ns=None, decision_ns=None, order_ns=None, send_ns=None, accept_ns=None,
        fill_ns=3 * S,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "prices", "worse"),
    [
        (OrderType.MARKET, {}, 12),
        (OrderType.LIMIT, {"limit_e5": 110_013, "trigger_e5": 110_001}, 7),
        (OrderType.STOP, {"limit_e5": 110_001, "trigger_e5": 110_015}, 5),
        (OrderType.STOP_LIMIT, {"limit_e5": 110_018, "trigger_e5": 110_001}, 2),
    ],
)
def test_a_resting_order_is_held_against_its_own_price_and_a_market_order_against_what_was_seen(kind, prices, worse):
    (execution,) = rolled([
        run(), snapshot(), quote(1), order("c1", 2, kind=kind, **prices),
        deal("d1", 9, BUY, 1_000_000, 110_020, order="c1", left=1_000_000),
    ]).executions  # fmt: skip

    assert execution.slippage_e5 == -worse


def test_an_order_without_a_reference_or_a_price_at_its_deal_slips_by_nothing():
    def slipped(reference, **market):
        fold = [run(), snapshot(), quote(1), order("c1", 2, reference=reference),
                deal("d1", 9, BUY, 1_000_000, 110_020, order="c1", left=1_000_000, **market)]  # fmt: skip
        (each,) = rolled(fold).executions
        return (each.slippage_e5, each.delay_e5, each.impact_e5, each.spread_e5, each.slippage)

    assert slipped(0) == (0.0, 0.0, 0.0, 10.0, 0)
    assert slipped(110_008, bid=0, ask=0) == (-12.0, 0.0, -12.0, 0.0, -120)
    assert slipped(110_008, bid=110_020, ask=110_019) == (-12.0, -11.0, -1.0, 0.0, -120), "a crossed price"
    assert slipped(110_008, bid=110_019, ask=110_020) == (-12.0, -12.0, 0.0, 1.0, -120)


def test_an_order_that_nothing_is_known_of_is_told_as_such():
    (execution,) = rolled([run(), snapshot(), quote(1), order("c1", 2, intent="?")]).executions

    assert execution == Execution(
        run_id="h", client_order_id="c1", intent_id="?", position_id="", strategy="s1", symbol="EURUSD", model_id="",
        horizon=0, side=1, leg="entry", state="sent", code="", ts_signal_ns=0, ts_ns=T + 2, reference_e5=110_008,
        price_e5=0.0, intended_e2=1_000_000, filled_e2=0, deals=0, slippage_e5=0.0, delay_e5=0.0, impact_e5=0.0,
        spread_e5=0.0, slippage=0, forecast_ns=None, decision_ns=None, order_ns=None, send_ns=None, accept_ns=None,
        fill_ns=None,
    )  # fmt: skip


def test_a_delay_is_told_only_where_both_its_ends_are_known():
    known = [run(), snapshot(), quote(1), forecast("q1", 3, as_of=2), forecast("q1", 4, OTHER, as_of=1)]
    unrelated, mine = intent("i-c1", 5, request="q9"), intent("i-c2", 5, model=OTHER)
    first, second = rolled([*known, unrelated, order("c1", 6), mine, order("c2", 7)]).executions

    assert (first.forecast_ns, first.decision_ns, first.order_ns, first.ts_signal_ns) == (None, None, 1, 0)
    assert (second.forecast_ns, second.decision_ns, second.order_ns, second.ts_signal_ns) == (3, 1, 2, T + 1)


def test_a_rejection_answers_an_order_and_the_first_answer_counts():
    story = [run(), snapshot(), quote(1), order("c1", 2), rejected("c1", 40, sent=12), order("c2", 3),
             accepted("c2", 20, told=30, sent=10), accepted("c2", 60, sent=50),
             rejected("c2", 90, sent=80)]  # fmt: skip
    first, second = rolled(story).executions

    assert (first.send_ns, first.accept_ns, first.state, first.code) == (10, 28, "rejected", "NO_MONEY")
    assert (second.send_ns, second.accept_ns, second.state) == (7, 20, "rejected")


# --- missed signals ------------------------------------------------------------------------------------------------


def test_every_wish_that_came_to_nothing_is_told_with_what_blocked_it():
    def wish(name, at, **more):
        return [intent(f"i-{name}", at, **more), order(name, at)]

    story = [
        run(), snapshot(), quote(1),
        *wish("c1", 2), rejected("c1", 3),
        *wish("c2", 4, edge=5), cancelled("c2", 5, ""),
        *wish("c3", 6), expired("c3", 7),
        *wish("c4", 8), unknown("c4", 9),
        *wish("c5", 10),
        *wish("c6", 11), deal("d6", 12, BUY, 400_000, 110_008, order="c6", left=400_000), cancelled("c6", 13),
        intent("i-x", 14, SELL, action="exit"), order("x", 14, SELL, position="P1"), rejected("x", 15, "CLOSED"),
        order("c7", 16, intent="nobody"), rejected("c7", 17, "LATE"),
        intent("i-r", 18, SELL, horizon=1, edge=9, strategy="s2", symbol="USDJPY"),
        refused("i-r", 19, strategy="s2", symbol="USDJPY"),
        intent("i-e", 20, SELL, action="exit"), refused("i-e", 21, "exposure"),
        refused("i-?", 22, "spread", "", "closed", strategy="s3"),
    ]  # fmt: skip
    result = rolled(story)

    def miss(at, name, what, rule, value, **more):
        values = {"strategy": "s1", "symbol": "EURUSD", "model_id": RIDGE, "horizon": 4, "side": 1, "limit": "",
                  "edge_e5": 17} | more  # fmt: skip
        return Missed(run_id="h", ts_ns=T + at, intent_id=name, what=what, rule=rule, value=value, **values)

    assert result.missed == (
        miss(2, "i-c1", "rejected", "NO_MONEY", "rejected"),
        miss(4, "i-c2", "unfilled", "cancelled", "cancelled", edge_e5=5),
        miss(6, "i-c3", "unfilled", "expired", "expired"),
        miss(8, "i-c4", "unfilled", "unknown", "unknown"),
        miss(16, "nobody", "rejected", "LATE", "rejected", model_id="", horizon=0, edge_e5=0),
        miss(19, "i-r", "refused", "spread", "2.0 pips", strategy="s2", symbol="USDJPY", horizon=1, side=-1,
             limit="1.0 pips", edge_e5=9),
        miss(22, "i-?", "refused", "spread", "closed", strategy="s3", model_id="", horizon=0, side=0, edge_e5=0),
    )  # fmt: skip
    assert [(row.kind, row.key, row.n, row.example) for row in result.total.missed] == [
        ("refused", "spread", 2, "closed"), ("rejected", "LATE", 1, "rejected"),
        ("rejected", "NO_MONEY", 1, "rejected"), ("unfilled", "cancelled", 1, "cancelled"),
        ("unfilled", "expired", 1, "expired"), ("unfilled", "unknown", 1, "unknown"),
    ]  # fmt: skip
    assert result.total.signals == Signals(forecasts=0, forecasts_missed=0, entries=7, refused=2, ordered=7, traded=1)
    assert result.total.orders == Orders(
        sent=8, filled=0, partly_filled=1, rejected=3, cancelled=1, expired=1, unknown=1, unanswered=1,
        intended_e2=5_000_000, filled_e2=400_000, rejection_rate=3 / 8, partial_rate=1 / 8,
    )  # fmt: skip
    assert result.total.codes == tuple(Rate(state=state, code=code, n=1, share=1 / 8) for state, code in (
        ("cancelled", ""), ("expired", ""), ("partly_filled", "IOC"), ("rejected", "CLOSED"), ("rejected", "LATE"),
        ("rejected", "NO_MONEY"), ("unknown", ""),
    ))  # fmt: skip


def test_the_code_that_ended_most_orders_comes_first_and_an_accepted_order_waits_for_its_answer():
    story = [run(), snapshot(), quote(1)]
    for number in range(1, 6):
        story += [order(f"c{number}", number), rejected(f"c{number}", 20, "B" if number > 2 else "A")]
    total = rolled([*story, order("c9", 30), accepted("c9", 31)]).total

    assert [(row.code, row.n, row.share) for row in total.codes] == [("B", 3, 0.5), ("A", 2, 2 / 6)]
    assert (total.orders.unanswered, total.orders.sent, total.orders.rejection_rate) == (1, 6, 5 / 6)
    assert (total.orders.intended_e2, total.orders.partial_rate) == (1_000_000, 0.0)
    nothing = rolled([run(), snapshot(), quote(1)]).total
    assert (nothing.orders, nothing.codes) == (Orders(), ())


# --- over many -----------------------------------------------------------------------------------------------------


def test_delays_are_distributed_by_step_and_slippage_by_leg():
    total = rolled(day()).total
    entry = (-3 * 1_000_000 - 7 * 300_001) / 1_300_001
    leave = (-3 * 400_000 + 2 * 900_001) / 1_300_001

    assert list(total.delays) == ["forecast_ns", "decision_ns", "order_ns", "send_ns", "accept_ns", "fill_ns",
                                  "protect_ns"]  # fmt: skip
    assert total.delays["forecast_ns"] == Distribution(**two(5, 8), above=2)
    assert total.delays["decision_ns"] == Distribution(**two(2, 4), above=2)
    assert total.delays["send_ns"] == one(5, 1)
    assert total.delays["accept_ns"] == Distribution(**two(45, 46), above=2)
    assert (total.delays["order_ns"].n, total.delays["order_ns"].mean) == (3, 10 / 3)
    assert (total.delays["fill_ns"].n, total.delays["fill_ns"].mean) == (3, 177 / 3)
    assert total.delays["protect_ns"] == Distribution(**two(4, 40), above=2)
    assert list(total.slippage_e5) == ["all", "entry", "exit", "protective"]
    assert total.slippage_e5["all"].n == 4
    assert total.slippage_e5["entry"] == Distribution(**two(-1_000.0, entry), below=2)
    assert total.slippage_e5["exit"] == one(leave, 1)
    assert total.slippage_e5["protective"] == one(-2_000)
    assert total.slippage_pips["protective"] == one(-2.0)
    assert total.slippage_pips["exit"] == one(leave / 10, 1)
    assert total.slippage_pips["entry"] == Distribution(**two(-1.0, entry / 10), below=2)


def test_what_was_not_filled_or_had_no_reference_has_no_slippage():
    total = rolled([run(), snapshot(), quote(1), order("c1", 2), order("c2", 3, reference=0),
                    deal("d2", 9, BUY, 1_000_000, 110_020, order="c2", left=1_000_000)]).total  # fmt: skip

    assert total.slippage_e5 == dict.fromkeys(("all", "entry", "exit", "protective"), Distribution())


def test_a_symbol_that_the_run_did_not_name_has_a_pip_of_10_points():
    total = rolled([run(symbols=("USDJPY",)), snapshot(), quote(1), order("c1", 2),
                    deal("d1", 9, BUY, 1_000_000, 110_020, order="c1", left=1_000_000)]).total  # fmt: skip

    assert total.slippage_pips["entry"] == one(-1.2)
