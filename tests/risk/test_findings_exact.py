"""Findings about money, orders, trades and events, word for word, and the figure from which each is said."""

import msgspec

from bus import messages as m
from risk.adherence import fold
from risk.adherence.findings import conservation, event_findings, money_findings, order_findings, trade_findings
from risk.adherence.ledger import Ledger
from risk.adherence.records import Finding, Group, Money
from tests.harness.desk import (
    BUY,
    SELL,
    a_trade,
    accepted,
    cancelled,
    day,
    deal,
    intent,
    moved,
    numbered,
    order,
    quote,
    run,
    snapshot,
    unknown,
)


def found(rule, severity, subject, value, limit, sentence):
    return Finding(rule=rule, severity=severity, subject=subject, value=value, limit=limit, sentence=sentence)


def changed(name, **fields):
    """The day with one deal altered."""
    return [msgspec.structs.replace(each, **fields) if getattr(each, "deal_id", "") == name else each
            for each in day()]  # fmt: skip


# --- money ---------------------------------------------------------------------------------------------------------


def test_a_deal_that_tells_another_balance_than_its_sum_is_quoted():
    said = fold(numbered(changed("d6", balance=994_196))).findings

    assert [each for each in said if each.rule == "balance_told"] == [
        found("balance_told", "critical", "account", "deal d6 says 994196, the deals add up to 994195", "",
              "deal d6 says 994196, the deals add up to 994195."),
    ]  # fmt: skip


def test_a_change_that_deals_and_cash_do_not_explain_is_critical():
    told = [each for each in day() if not isinstance(each, m.BalanceMoved)]
    last = msgspec.structs.replace(told[-2], gross_profit=-6_041)
    said = fold(numbered([*told[:-2], last])).findings

    assert [each for each in said if each.rule == "money_conserved"] == [
        found("money_conserved", "critical", "account", "-5805", "-5806",
              "The balance moved by another amount than closing deals, cash and other people's deals explain."),
    ]  # fmt: skip


def test_a_snapshot_or_a_move_that_leaves_another_balance_is_quoted_and_five_of_them_at_most():
    story = [run(), snapshot(), snapshot(1, 1_000_001), moved("m1", 2, 10, 1_000_009)]
    texts = [each.value for each in fold(numbered(story)).findings if each.rule == "balance_told"]

    assert texts == ["snapshot says 1000001, the deals say 1000000", "m1 left 1000009, the deals say 1000010"]
    many = [run(), snapshot(), *(snapshot(number, 5) for number in range(1, 9))]
    assert len([each for each in fold(numbered(many)).findings if each.rule == "balance_told"]) == 5


def test_commission_and_swap_that_were_told_and_booked_differently_are_found_once_flat():
    commission = changed("d2", commission=-8)
    nights = [msgspec.structs.replace(each, amount=-70) if isinstance(each, m.SwapCharged) and each.amount < 0 else each
              for each in day()]  # fmt: skip

    assert fold(numbered(commission)).findings[0] == found(
        "commission_matches", "critical", "account", "-200", "-199",
        "Commission booked at closing differs from the sum of the deals' own commissions.",
    )  # fmt: skip
    assert fold(numbered(nights)).findings[0] == found(
        "swap_matches", "critical", "account", "-58", "-57",
        "Swap booked at closing differs from the sum of the nights' charges.",
    )  # fmt: skip
    for told in (commission, nights):
        assert not fold(numbered(told)).conservation.exact
        assert fold(numbered(told[:31])).conservation.exact, "while something is open the rest has only run up"
        assert [each.severity for each in fold(numbered(told[:31])).findings] == ["info", "info"]


def test_a_position_from_nowhere_is_named_and_five_of_them_at_most():
    def closing(number):
        return deal(f"d{number}", number, SELL, 100_000, 110_000, position=f"P{number}", closing=True)

    said = [each for each in fold(numbered([run(), snapshot(), quote(1), *map(closing, range(1, 8))])).findings
            if each.rule == "position_known"]  # fmt: skip
    assert [each.subject for each in said] == ["P1", "P2", "P3", "P4", "P5"]
    assert said[0] == found("position_known", "critical", "P1", "unknown", "opened here",
                            "A deal closed a position that this journal never saw opened.")  # fmt: skip


def test_a_symbol_without_a_rate_counts_as_0_and_is_said_to():
    opening = [run(), snapshot(), quote(1, 88_000, 88_010, "EURGBP"),
               order("c1", 2, symbol="EURGBP", reference=88_000),
               deal("d1", 3, BUY, 1_000_000, 88_010, order="c1", symbol="EURGBP", left=1_000_000)]  # fmt: skip
    summary = fold(numbered(opening))

    assert [each for each in summary.findings if each.rule == "priced"] == [
        found("priced", "warning", "EURGBP", "no rate", "a rate",
              "No chain of prices leads to the account's currency: slippage and floating profit count as 0."),
    ]  # fmt: skip
    assert summary.equity_end == 1_000_000
    sorted_names = [*opening, *(msgspec.structs.replace(each, symbol="AUDCAD", deal_id="d2", position_id="P2")
                                for each in opening[-1:])]  # fmt: skip
    said = fold(numbered(sorted_names)).findings
    assert [each.subject for each in said if each.rule == "priced"] == ["AUDCAD", "EURGBP"]
    dollars = [run(symbols=()), snapshot(), quote(1, 130_000, 130_010, "GBPUSD"),
               deal("d1", 3, BUY, 1_000_000, 130_010, symbol="GBPUSD", left=1_000_000)]  # fmt: skip
    known = fold(numbered(dollars))
    assert [each for each in known.findings if each.rule == "priced"] == []
    assert known.equity_end == 1_000_000 - 100, "what ends in the account's currency needs no rate"


def test_a_pair_that_the_run_names_is_worth_what_its_own_chain_of_prices_says():
    names = ("EURGBP", "GBPUSD")
    opening = [run(symbols=names), snapshot(), quote(1, 88_000, 88_010, "EURGBP"), quote(2, 129_990, 130_010, "GBPUSD"),
               deal("d1", 3, BUY, 1_000_000, 88_010, symbol="EURGBP", left=1_000_000)]  # fmt: skip

    assert fold(numbered(opening)).equity_end == 1_000_000 - 130


def test_a_table_that_does_not_add_up_to_the_total_is_named():
    ledger = Ledger()
    ledger.total = Money(before_costs=5, gross=5, net=5)
    row = Group(key="2018-05-01", trades=1, wins=1, money=ledger.total)
    less = msgspec.structs.replace(row, money=Money(before_costs=4, gross=4, net=4))
    odd = Money(net=5)

    def said(**tables):
        return money_findings(ledger, conservation(ledger), tables)

    assert (
        said(day=(row,), week=(less, msgspec.structs.replace(row, money=Money(before_costs=1, gross=1, net=1)))) == []
    )
    assert said(day=(row,), week=(less,)) == [
        found("periods_tie_out", "critical", "week", "4", "5", "The week table does not add up to the total."),
    ]
    assert [each.value for each in said(month=())] == ["0"]
    ledger.total = odd
    assert [each.subject for each in said(day=(msgspec.structs.replace(row, money=odd),))] == ["day"], "no parts"


# --- orders --------------------------------------------------------------------------------------------------------


def of_orders(*messages, refused=()):
    ledger = Ledger()
    ledger.run = run()
    for message in messages:
        if isinstance(message, m.Intent):
            ledger.intents[message.intent_id] = message
        handler = {m.SubmitOrder: ledger.on_order, m.OrderAccepted: ledger.on_accepted, m.OrderFilled: ledger.on_filled,
                   m.OrderUnknown: lambda fact: ledger.on_end(fact.client_order_id, "unknown"),
                   m.OrderCancelled: lambda fact: ledger.on_end(fact.client_order_id, "cancelled")}  # fmt: skip
        handler.get(type(message), lambda _: None)(message)
    return order_findings(ledger, set(refused))


def test_an_order_that_was_answered_and_wanted_is_no_finding():
    wanted = (intent("i-c1", 1), order("c1", 2))

    assert of_orders(*wanted, accepted("c1", 3)) == []
    assert of_orders(*wanted, cancelled("c1", 3)) == []
    assert of_orders(*wanted, accepted("c1", 3), deal("d1", 4, BUY, 1_000_000, 110_000, order="c1")) == []
    assert of_orders(*wanted, accepted("c1", 3), refused=["i-c9"]) == []


def test_orders_that_went_round_the_gate_grew_or_were_never_answered_are_found():
    assert of_orders(intent("i-c1", 1), order("c1", 2)) == [
        found("order_answered", "warning", "c1", "no answer", "an answer", "An order was sent and never answered."),
    ]
    assert of_orders(order("c1", 2), accepted("c1", 3)) == [
        found("order_has_intent", "critical", "c1", "none", "an intent",
              "An order was sent for which no intent stands in the journal."),
    ]  # fmt: skip
    assert of_orders(intent("i-c1", 1), order("c1", 2), accepted("c1", 3), refused=["i-c1"]) == [
        found("refusal_obeyed", "critical", "c1", "i-c1", "no order",
              "An order was sent although the gate had refused its intent."),
    ]  # fmt: skip
    assert of_orders(intent("i-c1", 1), order("c1", 2), unknown("c1", 3)) == [
        found("outcome_known", "critical", "c1", "unknown", "an answer", "The outcome of an order was never learned."),
    ]
    grown = [deal(f"d{number}", number, BUY, 500_001, 110_000, order="c1", position=f"P{number}") for number in (4, 5)]
    assert of_orders(intent("i-c1", 1), order("c1", 2), accepted("c1", 3), *grown) == [
        found("fill_within_order", "critical", "c1", "1000002", "1000000", "More was filled than was ordered."),
    ]


# --- trades --------------------------------------------------------------------------------------------------------


def test_a_stop_is_wanted_within_five_seconds():
    assert trade_findings([a_trade(protect_ns=5 * 10**9)], {}) == []
    assert trade_findings([a_trade(7, protect_ns=5 * 10**9 + 1)], {}) == [
        found("protected", "warning", "trade 7", "5.0 s", "5 s", "The stop came late."),
    ]
    assert trade_findings([a_trade(protect_ns=5_150_000_002)], {})[0].value == "5.2 s"
    assert trade_findings([a_trade(8, protect_ns=None)], {}) == [
        found("protected", "critical", "trade 8", "never", "5 s",
              "No stop at the venue was ever confirmed for this position."),
    ]  # fmt: skip


def test_a_target_is_kept_and_a_stop_is_at_its_level_or_worse():
    def said(cause, beyond, pips=None, **fields):
        return trade_findings([a_trade(3, cause=cause, beyond_e5=beyond, **fields)], pips or {})

    worst = "1 stops were filled away from their level; this one was the worst."
    assert said("take_profit", -1) == [
        found("target_kept", "warning", "trade 3", "-0.1 pips", "0.0 pips",
              "A target was filled worse than its level, which a limit order forbids."),
    ]  # fmt: skip
    assert said("take_profit", 0) == said("take_profit", 5) == said("order", -5) == said("order", 5) == []
    for cause in ("stop_loss", "trailing_stop"):
        assert said(cause, 1, {"EURUSD": 5}) == [
            found("stop_level", "warning", "trade 3", "0.2 pips", "0.0 pips",
                  "A stop was filled better than its level: the level told and the level that triggered differ."),
            found("stop_slippage", "info", "trade 3", "0.2 pips", "0.0 pips", worst),
        ]  # fmt: skip
        assert said(cause, 0) == []
        assert said(cause, -20, {"EURUSD": 5}) == [
            found("stop_slippage", "info", "trade 3", "-4.0 pips", "0.0 pips", worst),
        ]
    assert [each.rule for each in said("stop_out", 30)] == ["stop_slippage"]
    several = [a_trade(number, cause="stop_loss", beyond_e5=beyond) for number, beyond in enumerate((-5, -30, 0, -7))]
    assert trade_findings(several, {})[0] == found(
        "stop_slippage", "info", "trade 1", "-3.0 pips", "0.0 pips",
        "3 stops were filled away from their level; this one was the worst.",
    )  # fmt: skip


def test_entries_that_were_filled_with_less_than_was_ordered_are_counted():
    whole, half = a_trade(1, filled_e2=5, intended_e2=5), {"filled_e2": 4, "intended_e2": 5}

    assert trade_findings([whole], {}) == []
    assert trade_findings([whole, a_trade(2, **half), a_trade(3, **half)], {}) == [
        found("size_reached", "info", "trade 2", "2", "0", "2 entries were filled with less than was ordered."),
    ]


# --- halts, differences, rejections, what is open ------------------------------------------------------------------


def test_halts_differences_rejections_and_what_is_open_are_said():
    halt = m.HaltLatched(level=m.HaltLevel.NO_NEW_RISK, rule="daily_loss", limit="3.0 %", value="3.1 %",
                         reason="bad day", ts_init_ns=1)  # fmt: skip
    bare = msgspec.structs.replace(halt, level=m.HaltLevel.FLATTEN, rule="operator", reason="")
    difference = m.ReconcileFound(kind="volume", subject="P1", ours="1.0", theirs="2.0", ts_init_ns=2)

    assert event_findings([halt, bare], [difference], 3, 2) == [
        found("halt_daily_loss", "warning", "no new risk", "3.1 %", "3.0 %", "Trading was halted: bad day."),
        found("halt_operator", "warning", "flatten", "3.1 %", "3.0 %", "Trading was halted: operator."),
        found("reconcile_volume", "critical", "P1", "1.0", "2.0", "The book and the venue disagreed."),
        found("orders_taken", "warning", "venue", "3", "0", "The venue rejected 3 orders."),
        found("flat_at_end", "info", "account", "2", "0",
              "2 positions were still open at the end; their profit is not in these figures."),
    ]  # fmt: skip
    assert event_findings([], [], 0, 0) == []
    assert [each.rule for each in event_findings([], [], 1, 1)] == ["orders_taken", "flat_at_end"]


def test_the_gravest_findings_come_first_and_equal_ones_in_the_order_of_the_rules():
    told = [run(), snapshot(), snapshot(1, 3), quote(2), order("c1", 3), intent("i-c2", 4), order("c2", 5),
            deal("d2", 6, BUY, 1_000_000, 110_010, order="c2", left=1_000_000),
            m.ReconcileFound(kind="volume", subject="P1", ours="1", theirs="2", ts_init_ns=2)]  # fmt: skip

    assert [(each.severity, each.rule) for each in fold(numbered(told)).findings] == [
        ("critical", "balance_told"), ("critical", "order_has_intent"),
        ("critical", "protected"), ("critical", "reconcile_volume"), ("warning", "order_answered"),
        ("info", "flat_at_end"),
    ]  # fmt: skip
