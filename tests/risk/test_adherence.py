import math
import random
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus import messages as m
from bus.values import NS_PER_HOUR, Side
from risk.adherence import Adherence, fold
from risk.adherence.numbers import crps_gaussian, newey_west_t, period_keys, t_statistic
from tests.harness.journals import START_NS, synthetic_run


@pytest.fixture(scope="module")
def journal():
    return synthetic_run(600)


@pytest.fixture(scope="module")
def summary(journal):
    return fold(journal)


def of_kind(journal, kind):
    return [message for _, message in journal if isinstance(message, kind)]


def rules(summary):
    return {finding.rule for finding in summary.findings}


def changed(journal, kind, which=0, **fields):
    """The journal with one message of a kind altered."""
    place = [at for at, (_, message) in enumerate(journal) if isinstance(message, kind)][which]
    seq, message = journal[place]
    return [*journal[:place], (seq, msgspec.structs.replace(message, **fields)), *journal[place + 1 :]]


def unique_deals(journal):
    return {fill.deal_id: fill for fill in of_kind(journal, m.OrderFilled)}.values()


# --- money -------------------------------------------------------------------------------------------------------


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_money_is_conserved_and_every_table_adds_up_to_the_same_penny(seed):
    journal = synthetic_run(250, seed=seed)
    summary = fold(journal)
    deals = unique_deals(journal)
    change = sum(d.gross_profit + d.booked_commission + d.booked_swap + d.conversion_fee for d in deals)

    assert summary.conservation.exact
    assert summary.conservation.balance_change == change == summary.total.net
    assert summary.total.commission == sum(d.commission for d in deals)
    assert summary.total.swap == sum(s.amount for s in of_kind(journal, m.SwapCharged))
    assert summary.equity_end == summary.equity_start + change
    for table in (summary.days, summary.weeks, summary.months, summary.strategies, summary.symbols, summary.models):
        assert all(row.money.ties_out for row in table)
        assert sum(row.trades for row in table) == summary.counts.trades
        for part in m_parts():
            assert sum(getattr(row.money, part) for row in table) == getattr(summary.total, part)
    for part in m_parts():
        assert sum(getattr(trade.money, part) for trade in summary.trades) == getattr(summary.total, part)


def m_parts():
    return ("before_costs", "spread", "slippage", "gross", "commission", "swap", "conversion_fee", "net")


def test_days_of_a_week_sum_to_that_week(summary):
    for week in summary.weeks:
        days = [day for day in summary.days if iso_week(day.key) == week.key]
        assert sum(day.money.net for day in days) == week.money.net


def iso_week(day):
    from datetime import date

    year, week, _ = date.fromisoformat(day).isocalendar()
    return f"{year}-W{week:02d}"


def test_a_penny_missing_from_a_deal_is_found(journal):
    last = of_kind(journal, m.OrderFilled)[-1]
    broken = changed(journal, m.OrderFilled, -1, gross_profit=last.gross_profit - 1)

    summary = fold(broken)

    assert not summary.conservation.exact
    assert {"money_conserved", "balance_told"} <= rules(summary)


def test_a_nights_swap_that_was_charged_but_never_booked_is_found(journal):
    swap = of_kind(journal, m.SwapCharged)[0]
    summary = fold(changed(journal, m.SwapCharged, amount=swap.amount - 1))

    assert "swap_matches" in rules(summary)
    assert "money_conserved" not in rules(summary)


def test_a_fact_told_twice_changes_nothing(journal, summary):
    repeated = (m.OrderFilled, m.SwapCharged, m.ForecastResolved, m.OrderAccepted, m.SubmitOrder)
    doubled = [
        entry for seq, message in journal for entry in [(seq, message)] * (2 if isinstance(message, repeated) else 1)
    ]

    again = fold(doubled)

    for name in ("total", "conservation", "trades", "forecasts", "days", "equity", "fills", "verdict"):
        assert getattr(again, name) == getattr(summary, name), name
    assert again.counts.repeated > summary.counts.repeated


def test_a_clean_run_has_no_critical_finding(summary):
    assert [finding for finding in summary.findings if finding.severity == "critical"] == []


def test_a_balance_that_a_later_snapshot_contradicts_is_found(journal):
    snapshot = of_kind(journal, m.AccountSnapshot)[0]
    later = msgspec.structs.replace(snapshot, balance=snapshot.balance + 5)

    assert "balance_told" in rules(fold([*journal, (len(journal) + 1, later)]))


# --- one trade by hand -------------------------------------------------------------------------------------------


def by_hand(*, exit_price=110_100, cause="take_profit", level=110_100, stop_told=True, first_close=0):
    """Buy one unit of 100,000 EUR at 1.10010 against a signal of 1.10008; half the spread is 0.5 pips."""
    opening = synthetic_run(1)[:4]
    start = [message for _, message in opening if isinstance(message, m.RunStarted | m.ModelAdmitted)]
    t = START_NS + NS_PER_HOUR
    money = [m.AccountSnapshot(account_id="a", currency="USD", money_digits=2, hedged=True, leverage=30,
                               balance=1_000_000, positions=(), orders=(), ts_event_ns=t, ts_init_ns=t)]  # fmt: skip
    intent = m.Intent(intent_id="i1", strategy="interval", symbol="EURUSD", action="enter", side=Side.BUY, reason="r",
                      reference_e5=110_008, ts_init_ns=t + 20, horizon=4, model_id="ridge-1",
                      request_id="q1")  # fmt: skip
    order = m.SubmitOrder(client_order_id="c1", intent_id="i1", strategy="interval", symbol="EURUSD", side=Side.BUY,
                          order_type="market", volume_e2=10_000_000, reference_e5=110_008,
                          ts_init_ns=t + 25)  # fmt: skip
    accepted = m.OrderAccepted(client_order_id="c1", order_id="o1", symbol="EURUSD", ts_event_ns=t + 50,
                               ts_init_ns=t + 75)  # fmt: skip
    story = [
        m.Quote(symbol="EURUSD", bid_e5=109_998, ask_e5=110_008, ts_event_ns=t, ts_init_ns=t),
        m.CalibratedForecast(request_id="q1", symbol="EURUSD", model_id="ridge-1", active=True, as_of_ns=t,
                             expires_ns=t + 9, close_e5=109_998, horizons=(), ts_init_ns=t + 20),
        intent, order, accepted,
        deal("d1", "c1", Side.BUY, 110_010, t + 90, 10_000_000, 10_000_000, closing=False, balance=1_000_000),
    ]  # fmt: skip
    if stop_told:
        story.append(m.ProtectionChanged(position_id="p1", symbol="EURUSD", stop_loss_e5=109_900,
                                         take_profit_e5=110_100, trailing_e5=0, ts_event_ns=t,
                                         ts_init_ns=t + 95))  # fmt: skip
    balance, left = 1_000_000, 10_000_000
    for number, volume in enumerate(([first_close] if first_close else []) + [left - first_close]):
        left -= volume
        gross = (exit_price - 110_010) * volume // 100_000
        commission = -2 * 300 * volume // 10_000_000
        balance += gross + commission
        story.append(deal(f"x{number}", "", Side.SELL, exit_price, t + 9_000 + number, volume, left, closing=True,
                          cause=cause, level_e5=level, gross_profit=gross, booked_commission=commission,
                          commission=-300 * volume // 10_000_000, balance=balance))  # fmt: skip
    return list(enumerate([*start, *money, *story], start=1))


def deal(deal_id, order_id, side, price, ts, volume, left, *, closing, balance, **more):
    bid = price - 10 if side > 0 else price
    values = {"commission": -300, "gross_profit": 0, "booked_commission": 0, "cause": "order"} | more
    return m.OrderFilled(
        deal_id=deal_id, client_order_id=order_id, order_id="o", position_id="p1", symbol="EURUSD", side=side,
        volume_e2=volume, price_e5=price, closing=closing, remaining_e2=left, booked_swap=0, conversion_fee=0,
        balance=balance, bid_e5=bid, ask_e5=bid + 10, ts_event_ns=ts, ts_init_ns=ts + 5, **values,
    )  # fmt: skip


def test_a_trade_is_told_with_its_delays_its_slippage_and_every_part_of_its_money():
    (trade,) = fold(by_hand()).trades

    assert (trade.decision_ns, trade.send_ns, trade.accept_ns, trade.fill_ns) == (20, 5, 50, 70)
    assert trade.protect_ns == 0
    assert (trade.signal_e5, trade.entry_e5, trade.exit_e5) == (110_008, 110_010, 110_100)
    assert (trade.entry_slippage_e5, trade.exit_slippage_e5, trade.beyond_e5) == (-2, 0, 0)
    assert trade.holding_ns == 8_910
    money = trade.money
    # 9.0 pips on 100,000 units are 90.00; bought 0.2 pips late = 2.00; half of 1.0 pip twice = 10.00
    assert (money.gross, money.slippage, money.spread, money.commission) == (9_000, -200, -1_000, -600)
    assert money.before_costs == 10_200
    assert money.net == 8_400


def test_a_stop_filled_through_its_level_says_by_how_much():
    summary = fold(by_hand(exit_price=109_870, cause="stop_loss", level=109_900))
    (trade,) = summary.trades

    assert (trade.cause, trade.level_e5, trade.beyond_e5, trade.exit_slippage_e5) == ("stop_loss", 109_900, -30, -30)
    assert "stop_slippage" in rules(summary)


def test_a_target_filled_worse_than_its_level_is_a_finding():
    assert "target_kept" in rules(fold(by_hand(exit_price=110_090)))
    assert "target_kept" not in rules(fold(by_hand()))


def test_a_position_that_never_got_a_stop_is_critical():
    found = [finding for finding in fold(by_hand(stop_told=False)).findings if finding.rule == "protected"]

    assert [finding.severity for finding in found] == ["critical"]


def test_a_position_closed_in_parts_is_one_trade_with_the_same_total():
    whole, parts = fold(by_hand()), fold(by_hand(first_close=3_000_000))

    assert len(parts.trades) == 1
    assert parts.total == whole.total
    assert parts.conservation.exact


def test_after_a_part_is_closed_only_the_rest_of_its_swap_and_commission_floats():
    journal = by_hand(first_close=5_000_000)[:-1]
    seq, part = journal.pop()
    part = msgspec.structs.replace(part, booked_swap=-35, balance=part.balance - 35)
    swap = m.SwapCharged(position_id="p1", symbol="EURUSD", amount=-70, nights=1, ts_event_ns=1, ts_init_ns=1)
    adherence = Adherence()
    for entry in [*journal, (seq, swap), (seq + 1, part)]:
        adherence.add(*entry)

    # the rest is 50,000 units, bought at 1.10010, worth 1.09998; half of 3.00 commission and of 0.70 swap run up
    assert adherence.equity - part.balance == -600 - 150 - 35
    assert adherence.summary().conservation.exact


# --- the gate and the venue --------------------------------------------------------------------------------------


def test_an_order_sent_although_its_intent_was_refused_is_critical(journal):
    order = of_kind(journal, m.SubmitOrder)[0]
    refusal = m.IntentRefused(intent_id=order.intent_id, strategy="interval", symbol="EURUSD", rule="spread",
                              limit="1", value="2", would_pass="1", ts_init_ns=order.ts_init_ns)  # fmt: skip

    assert "refusal_obeyed" in rules(fold([*journal, (0, refusal)]))


def test_an_order_without_an_intent_is_critical(journal):
    order = of_kind(journal, m.SubmitOrder)[0]
    without = [entry for entry in journal if getattr(entry[1], "intent_id", "") != order.intent_id or entry[1] == order]

    assert "order_has_intent" in rules(fold(without))


def test_an_order_whose_outcome_stays_unknown_is_critical(journal):
    order = msgspec.structs.replace(of_kind(journal, m.SubmitOrder)[0], client_order_id="lost")
    unknown = m.OrderUnknown(client_order_id="lost", symbol="EURUSD", ts_init_ns=order.ts_init_ns)

    assert "outcome_known" in rules(fold([*journal, (0, order), (0, unknown)]))
    assert "outcome_known" not in rules(fold(journal))


def test_refusals_and_rejections_are_counted_by_rule_and_code(journal, summary):
    counted = {(row.kind, row.key): row.n for row in summary.refusal_counts}
    said = [message.rule for message in of_kind(journal, m.IntentRefused)]

    assert {key: n for (kind, key), n in counted.items() if kind == "refused"} == {r: said.count(r) for r in said}
    assert counted[("rejected", "NOT_ENOUGH_MONEY")] == len(of_kind(journal, m.OrderRejected))
    assert sum(row.n for row in summary.missed_counts) == len(of_kind(journal, m.ForecastMissed))


def test_patterns_are_counted_by_who_told_them_and_by_name(journal, summary):
    told = [(message.model_id, message.pattern) for message in of_kind(journal, m.PatternSeen)]
    assert {(row.kind, row.key): row.n for row in summary.pattern_counts} == {key: told.count(key) for key in told}
    assert {row.key: row.example for row in summary.pattern_counts} == {
        "unusual": "EURUSD, percentile 99.4",
        "double_top": "EURUSD, 63 % clear",
    }
    assert summary.counts.patterns == len(told)


# --- equity ------------------------------------------------------------------------------------------------------


def test_equity_floats_with_the_open_position_and_drawdown_is_its_deepest_fall():
    told = by_hand()[:-1]
    bar = of_kind(synthetic_run(1), m.Bar)[-1]
    t = START_NS + 2 * NS_PER_HOUR
    quotes = [
        m.Quote(symbol="EURUSD", bid_e5=bid, ask_e5=bid + 10, ts_event_ns=t, ts_init_ns=t) for bid in (110_110, 109_910)
    ]
    bars = [msgspec.structs.replace(bar, ts_close_ns=t + number) for number in (0, 1)]
    summary = fold([*told, (0, quotes[0]), (0, bars[0]), (0, quotes[1]), (0, bars[1])])

    # 10 pips up are +100.00, 10 pips down -100.00, less the opening commission of 3.00
    assert [point.equity for point in summary.equity] == [1_009_700, 989_700]
    assert summary.max_drawdown == -20_000
    assert summary.equity_end == 989_700
    assert summary.counts.open_positions == 1
    assert "flat_at_end" in rules(summary)


def test_bars_before_the_first_quote_are_history_and_make_no_equity(journal, summary):
    assert summary.counts.bars == 600
    assert len(of_kind(journal, m.Bar)) == 605
    assert all(before.ts_ns < after.ts_ns for before, after in pairwise(summary.equity))


# --- forecasts ---------------------------------------------------------------------------------------------------


def test_every_table_has_its_random_walk_row_even_where_none_ran(journal, summary):
    without = [entry for entry in journal if getattr(entry[1], "model_id", "") != "random-walk"]
    derived = fold(without)

    for result in (summary, derived):
        for horizon in (1, 4, 24):
            rows = [row for row in result.forecasts if row.horizon == horizon]
            assert [row.random_walk for row in rows] == [False, True]
    assert all(row.derived for row in derived.forecasts if row.random_walk)
    assert not any(row.derived for row in summary.forecasts)


def test_coverage_counts_what_was_resolved(journal, summary):
    told = [r for r in of_kind(journal, m.ForecastResolved) if r.model_id.startswith("ridge") and r.horizon == 4]
    row = next(row for row in summary.forecasts if row.active and row.horizon == 4)

    assert row.n == len(told)
    assert [level.covered for level in row.levels] == [sum(r.covered[place] for r in told) for place in (0, 1)]
    assert all(level.low <= level.measured <= level.high for level in row.levels)
    assert row.mae_pips == pytest.approx(sum(abs(r.actual_e5 - r.point_e5) for r in told) / len(told) / 10)


def test_an_interval_without_bounds_counts_for_nothing(journal, summary):
    resolved = of_kind(journal, m.ForecastResolved)[0]
    unbounded = tuple(msgspec.structs.replace(band, bounded=False) for band in resolved.bands)
    altered = fold(changed(journal, m.ForecastResolved, bands=unbounded, covered=(True, True)))

    def counted(result):
        return sum(level.n for row in result.forecasts for level in row.levels)

    assert counted(altered) == counted(summary) - 2
    assert [row.n for row in altered.forecasts] == [row.n for row in summary.forecasts]


def test_models_without_skill_are_said_to_have_no_edge(summary):
    assert not summary.verdict.edge
    assert summary.verdict.headline == "No edge after costs"


def test_a_model_that_knows_the_future_is_called_a_leak_and_gets_no_edge():
    summary = fold(synthetic_run(600, skill=0.8))

    assert "suspected_leak" in rules(summary)
    assert next(row for row in summary.forecasts if row.horizon == 4 and row.active).crps_t > 2
    assert not summary.verdict.edge


def test_a_modest_true_skill_is_recognised_and_still_promises_nothing():
    rows = fold(synthetic_run(600, skill=0.8)).forecasts
    honest = [msgspec.structs.replace(row, leak_suspected=False) for row in rows]
    from risk.adherence.findings import verdict

    trades = fold(by_hand()).trades
    net = trades[0].money
    many = [
        msgspec.structs.replace(trades[0], money=msgspec.structs.replace(net, net=net.net + number % 7))
        for number in range(40)
    ]

    judged = verdict(many, honest)
    assert judged.edge
    assert "nothing here promises profit" in judged.sentences[-1]
    assert not verdict(many[:20], honest).edge
    assert not verdict(many, [row for row in honest if row.random_walk]).edge


def test_an_empty_journal_gives_an_empty_summary():
    summary = Adherence().summary()

    assert summary.counts.messages == 0
    assert not summary.verdict.edge
    assert summary.findings == ()


# --- formulas ----------------------------------------------------------------------------------------------------


def test_crps_agrees_with_its_integral():
    for error, sigma in ((0.0, 1.0), (1.3, 0.7), (-40.0, 25.0)):
        step = sigma / 2_000
        grid = [(-8 * sigma + step * (k + 0.5)) for k in range(32_000)] if abs(error) < 8 * sigma else []
        integral = sum((0.5 * (1 + math.erf(x / sigma / math.sqrt(2))) - (x >= error)) ** 2 * step for x in grid)
        assert crps_gaussian(error, sigma) == pytest.approx(integral, rel=1e-3)


def test_newey_west_at_lag_zero_is_the_plain_t_and_correlation_shrinks_it():
    source = random.Random(3)
    noise = [source.gauss(0.3, 1.0) for _ in range(400)]
    smooth = [sum(noise[k : k + 8]) / 8 for k in range(390)]

    assert newey_west_t(noise, 0) == pytest.approx(t_statistic(noise), rel=2e-3)
    assert newey_west_t(smooth, 7) < 0.6 * newey_west_t(smooth, 0)
    assert newey_west_t(noise[:5], 0) is None
    assert t_statistic([2.0, 2.0]) is None


def test_the_last_days_of_december_may_belong_to_the_first_week_of_the_next_year():
    from datetime import date

    assert period_keys(date(2018, 12, 31).toordinal()) == ("2018-12-31", "2019-W01", "2018-12")
