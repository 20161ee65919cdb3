"""The roll-up: known delays, slippage and costs come out exactly, and every table adds up to the same penny.

One file past 400 lines, because all of it is told by one hand (`Hand`), and read beside it.
"""

import math
import random
from datetime import date

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus import messages as m
from bus.calendar import trading_day
from bus.errors import DataError
from bus.values import NS_PER_HOUR, NS_PER_MS, NS_PER_S, Side, default_instrument
from models import scores
from risk.adherence.intervals import independence_p, kupiec_p
from risk.adherence.numbers import distribution_of
from risk.adherence.rolled import Rollup
from risk.adherence.rollup import Roll, roll_up
from tests.harness.journals import synthetic_run
from tests.harness.months import DELAY_MS, MODEL, SLIPPAGE_PIPS_E1, STRATEGY, Month

MONEY = (
    "before_costs",
    "spread",
    "slippage",
    "delay",
    "impact",
    "gross",
    "commission",
    "swap",
    "conversion_fee",
    "net",
)


def numbered(messages):
    return list(enumerate(messages, start=1))


def near(value, expected):
    return math.isclose(value, expected, rel_tol=1e-9, abs_tol=1e-9)


# --- a month with known figures ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large():
    month = Month(signals=100_000, trades=2_500)
    roll = Roll()
    for seq, message in enumerate(month.messages(), start=1):
        roll.add(seq, message)
    return month.truth, roll.result()


def test_5000_fills_of_100000_signals_have_their_known_means_within_a_fiftieth_of_a_pip(large):
    truth, rolled = large
    total = rolled.total

    assert (truth.signals, truth.deals) == (100_000, 5_000)
    assert (total.signals.forecasts, total.signals.entries, total.slippage_pips["all"].n) == (100_000, 100_000, 5_000)
    assert near(total.slippage_pips["all"].mean, sum(truth.slippage_pips) / 5_000)
    meant = -sum(SLIPPAGE_PIPS_E1) / len(SLIPPAGE_PIPS_E1) / 10
    assert abs(total.slippage_pips["all"].mean - meant) < 0.02
    assert near(total.slippage_pips["all"].deviation, np.std(truth.slippage_pips, ddof=1))
    assert total.slippage_pips["all"].below == sum(value < 0 for value in truth.slippage_pips)
    assert total.slippage_pips["all"].least == -max(SLIPPAGE_PIPS_E1) / 10
    for name, told in (("send_ns", truth.send_ns), ("fill_ns", truth.fill_ns), ("protect_ns", truth.protect_ns)):
        assert total.delays[name].n == len(told)
        assert near(total.delays[name].mean, sum(told) / len(told)), name
        assert total.delays[name].largest == max(told)
    assert abs(total.delays["fill_ns"].mean - sum(DELAY_MS) / 2 * NS_PER_MS) < 5 * NS_PER_MS
    assert (total.delays["forecast_ns"].mean, total.delays["decision_ns"].mean) == (30 * NS_PER_MS, 0)


def test_its_cost_parts_add_up_exactly_to_what_lies_between_gross_move_and_realised_profit(large):
    truth, rolled = large
    money = rolled.total.money

    assert rolled.exact
    assert (money.spread, money.slippage, money.delay) == (truth.spread, truth.slippage, truth.delay)
    assert (money.commission, money.swap, money.conversion_fee) == (truth.commissions, truth.swaps, truth.fees)
    assert money.net == sum(truth.nets)
    assert money.conversion_fee < 0
    parts = money.spread + money.delay + money.impact + money.commission + money.swap + money.conversion_fee
    assert money.before_costs + parts == money.net
    assert all(trade.money.ties_out for trade in rolled.trades)
    assert sorted(trade.money.net for trade in rolled.trades) == sorted(truth.nets)


def test_its_days_hold_what_was_booked_on_them_and_its_refusals_are_counted_by_rule(large):
    truth, rolled = large
    booked = {date.fromordinal(day).isoformat(): net for day, net in truth.by_day.items()}

    assert {row.key: row.money.net for row in rolled.days if row.trades} == booked
    assert {row.key: row.n for row in rolled.total.missed} == {
        rule: truth.refused.count(rule) for rule in set(truth.refused)
    }
    assert {row.rule: row.refusals for row in rolled.total.limits if row.refusals} == {
        rule: truth.refused.count(rule) for rule in set(truth.refused)
    }
    assert sum(row.n for day in rolled.days for row in day.missed) == 97_500


# --- every table adds up -----------------------------------------------------------------------------------------


def shaken(seed, journals):
    """Several journals in a row as live ones are: repeated facts, lost links, resumptions, cash, strangers."""
    source = random.Random(seed)
    out = []
    for place in range(journals):
        month = Month(
            signals=60, trades=source.randint(0, 25), seed=seed + place, run_id=f"r{place}",
            start_ns=1_525_122_000 * 10**9 + place * 31 * 24 * NS_PER_HOUR, length_ns=30 * 24 * NS_PER_HOUR,
        )  # fmt: skip
        told = []
        for message in month.messages():
            told.append(message)
            ts = message.ts_init_ns
            if source.random() < 0.03 and len(told) > 2:
                told.append(
                    message if isinstance(message, m.OrderFilled | m.SwapCharged) else m.ClockTick(ts_init_ns=ts)
                )
            if source.random() < 0.01 and len(told) > 2:
                told += [m.LinkChanged(up=False, reason="lost", ts_init_ns=ts),
                         m.RunResumed(reason="continued", ts_init_ns=ts + NS_PER_S),
                         m.LinkChanged(up=True, reason="", ts_init_ns=ts + 2 * NS_PER_S)]  # fmt: skip
            if source.random() < 0.01 and len(told) > 2:
                told.append(m.ForeignChanged(kind="position", subject="77", symbol="EURUSD", side=Side.BUY,
                                             volume_e2=100_000, price_e5=120_000, charges=0, label="x",
                                             ts_event_ns=ts, ts_init_ns=ts))  # fmt: skip
        cash = source.randint(-5_000, 5_000)
        told.append(m.BalanceMoved(move_id=f"c{place}", cause="cash", delta=cash, balance=month.balance + cash,
                                   ts_event_ns=ts, ts_init_ns=ts))  # fmt: skip
        out.append((numbered(told), month.truth, cash))
    return out


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 100_000), journals=st.integers(1, 3))
def test_days_weeks_and_months_of_any_journals_add_up_to_the_same_penny(seed, journals):
    runs = shaken(seed, journals)
    rolled = roll_up([journal for journal, _, _ in runs])
    total = rolled.total

    assert rolled.exact
    assert total.money.net == sum(sum(truth.nets) for _, truth, _ in runs)
    assert total.moved == sum(cash for _, _, cash in runs)
    for table in (rolled.days, rolled.weeks, rolled.months):
        assert all(row.money.ties_out for row in table)
        for part in MONEY:
            assert sum(getattr(row.money, part) for row in table) == getattr(total.money, part), part
        for count in ("trades", "wins", "moved", "expected", "realised", "days"):
            assert sum(getattr(row, count) for row in table) == getattr(total, count), count
        for count in ("sent", "filled", "partly_filled", "rejected", "intended_e2", "filled_e2"):
            assert sum(getattr(row.orders, count) for row in table) == getattr(total.orders, count), count
        for count in ("forecasts", "entries", "refused", "ordered", "traded"):
            assert sum(getattr(row.signals, count) for row in table) == getattr(total.signals, count), count
    for table in (rolled.strategies, rolled.symbols, rolled.models):
        for part in MONEY:
            assert sum(getattr(row.money, part) for row in table) == getattr(total.money, part), part
    for week in rolled.weeks:
        inside = [day for day in rolled.days if week.ts_from_ns <= day.ts_from_ns < week.ts_to_ns]
        assert sum(day.money.net for day in inside) == week.money.net


def test_a_day_ends_at_17_new_york_and_a_week_that_two_months_share_is_one_week():
    rolled = roll_up([numbered(Month(signals=400, trades=150).messages())])

    for day in rolled.days:
        assert trading_day(day.ts_from_ns) == trading_day(day.ts_to_ns - 1) == date.fromisoformat(day.key).toordinal()
        assert trading_day(day.ts_from_ns - 1) < trading_day(day.ts_to_ns - 1) < trading_day(day.ts_to_ns)
    assert [row.key for row in rolled.months] == ["2018-05"]
    assert {row.days for row in rolled.weeks} <= {3, 4, 5}


def test_a_penny_that_a_deal_lost_makes_the_roll_up_inexact():
    journal = numbered(Month(signals=50, trades=20).messages())
    place = next(at for at, (_, each) in enumerate(journal) if isinstance(each, m.OrderFilled) and each.closing)
    seq, deal = journal[place]
    journal[place] = (seq, msgspec.structs.replace(deal, gross_profit=deal.gross_profit - 1))

    assert not roll_up([journal]).exact


def test_what_is_told_twice_changes_nothing():
    journal = numbered(Month(signals=80, trades=30).messages())
    repeated = (m.OrderFilled, m.SwapCharged, m.OrderAccepted, m.SubmitOrder, m.ProtectionChanged)
    doubled = [entry for entry in journal for _ in range(2 if isinstance(entry[1], repeated) else 1)]

    assert roll_up([doubled]) == roll_up([journal])


def test_it_survives_json():
    rolled = roll_up([synthetic_run(120)])

    assert msgspec.json.decode(msgspec.json.encode(rolled), type=Rollup) == rolled


# --- several journals --------------------------------------------------------------------------------------------


def cut(journal, *, closed_meanwhile=False):
    """Two journals of one account out of one, cut where a position is open."""
    held, balance = None, journal[1][1].balance
    for place, (_, message) in enumerate(journal):
        if isinstance(message, m.OrderFilled):
            balance = message.balance
        if isinstance(message, m.ProtectionChanged) and place > len(journal) // 2:
            held = message
            break
    opened = next(
        each for _, each in journal if isinstance(each, m.OrderFilled) and each.position_id == held.position_id
    )
    state = m.PositionState(
        position_id=held.position_id, symbol=held.symbol, side=opened.side, volume_e2=opened.volume_e2,
        price_e5=opened.price_e5, stop_loss_e5=held.stop_loss_e5, take_profit_e5=held.take_profit_e5,
        commission=opened.commission, swap=0,
    )  # fmt: skip
    now = held.ts_init_ns + 1
    snapshot = msgspec.structs.replace(
        journal[1][1], balance=balance - 7 * closed_meanwhile, positions=() if closed_meanwhile else (state,),
        ts_init_ns=now,
    )  # fmt: skip
    begun = msgspec.structs.replace(journal[0][1], run_id="m2", ts_init_ns=now)
    return journal[: place + 1], numbered([begun, snapshot, *(each for _, each in journal[place + 1 :])]), opened


def test_a_position_that_outlives_its_journal_is_one_trade_with_all_its_costs():
    whole = numbered(Month(signals=60, trades=20).messages())
    first, second, opened = cut(whole)
    apart, together = roll_up([first, second]), roll_up([whole])

    assert apart.exact
    assert apart.total.money == together.total.money
    assert [span.unexplained for span in apart.runs] == [0, 0]
    (trade,) = [each for each in apart.trades if each.position_id == opened.position_id]
    assert trade.client_order_id == opened.client_order_id
    assert trade.money == next(each.money for each in together.trades if each.position_id == opened.position_id)


def test_what_happened_to_the_balance_between_two_journals_is_told():
    first, second, _ = cut(numbered(Month(signals=60, trades=20).messages()), closed_meanwhile=True)
    second = [entry for entry in second if not isinstance(entry[1], m.OrderFilled | m.SwapCharged)]

    assert [span.unexplained for span in roll_up([first, second]).runs] == [0, -7]


def test_two_paper_runs_with_the_same_ids_both_count():
    journal = synthetic_run(150)
    once, twice = roll_up([journal]), roll_up([journal, journal])

    assert twice.total.money.net == 2 * once.total.money.net
    assert twice.total.orders.sent == 2 * once.total.orders.sent
    assert twice.exact


def test_accounts_in_two_currencies_are_not_added_up():
    journal = synthetic_run(5)
    other = [(seq, msgspec.structs.replace(each, currency="EUR") if isinstance(each, m.RunStarted) else each)
             for seq, each in journal]  # fmt: skip
    with pytest.raises(DataError, match="counts in"):
        roll_up([journal, other])


def test_a_journal_begins_with_its_run_and_no_journal_is_no_roll_up():
    with pytest.raises(DataError, match="belongs to no run"):
        roll_up([synthetic_run(5)[1:]])
    with pytest.raises(DataError, match="no journal"):
        roll_up([])


# --- one trade by hand -------------------------------------------------------------------------------------------

T = 1_525_176_000 * 10**9  # Tuesday, 1 May 2018, 12:00 UTC


class Hand:
    """A demo journal written by hand: buys 1 lot of EURUSD at 1.20000 with a stop 20 pips below and a target above."""

    def __init__(self, *, config='{"risk":{}}'):
        self.at = T
        self.balance = 1_000_000
        self.out = [
            m.RunStarted(run_id="h", schema=1, mode="demo", currency="USD", money_digits=2, leverage=30, hedged=True,
                         period_ns=NS_PER_HOUR, horizons=(1,), levels_ppm=(900_000,),
                         instruments=(default_instrument("EURUSD"),), config_json=config, ts_init_ns=T),
            m.AccountSnapshot(account_id="a", currency="USD", money_digits=2, hedged=True, leverage=30,
                              balance=self.balance, positions=(), orders=(), ts_event_ns=T, ts_init_ns=T),
        ]  # fmt: skip

    def say(self, message, after=NS_PER_S):
        self.at += after
        self.out.append(message)
        return self

    def quote(self, bid, spread=10, after=NS_PER_S):
        self.at += after
        self.out.append(m.Quote(symbol="EURUSD", bid_e5=bid, ask_e5=bid + spread, ts_event_ns=self.at,
                                ts_init_ns=self.at))  # fmt: skip
        return self

    def wish(self, number=1, reference=120_000, side=Side.BUY):
        self.out.append(m.Intent(intent_id=f"h-{number}", strategy="s", symbol="EURUSD", action="enter", side=side,
                                 reason="", reference_e5=reference, ts_init_ns=self.at, model_id="x",
                                 request_id="q"))  # fmt: skip
        return self

    def order(self, number=1, volume=10_000_000, reference=120_000, stop=119_800, side=Side.BUY):
        self.wish(number, reference, side)
        self.out.append(m.SubmitOrder(client_order_id=f"h-{number}", intent_id=f"h-{number}", strategy="s",
                                      symbol="EURUSD", side=side, order_type="market", volume_e2=volume,
                                      reference_e5=reference, ts_init_ns=self.at, stop_loss_e5=stop))  # fmt: skip
        return self

    def deal(
        self, price, *, closing, number=1, side=None, volume=10_000_000, bid=None, ask=None, after=NS_PER_S, **more
    ):
        self.at += after
        side = side or (Side.SELL if closing else Side.BUY)
        gross = (price - 120_000) * volume // 100_000 if closing else 0
        self.balance += gross
        values = {"cause": "order", "level_e5": 0, "remaining_e2": 0 if closing else volume} | more
        bid = (price if side < 0 else price - 10) if bid is None else bid
        self.out.append(m.OrderFilled(
            deal_id=f"d{len(self.out)}", client_order_id=f"h-{number}", order_id="o", position_id="p1", symbol="EURUSD",
            side=side, volume_e2=volume, price_e5=price, closing=closing, commission=0, gross_profit=gross,
            booked_commission=0, booked_swap=0, conversion_fee=0, balance=self.balance, bid_e5=bid,
            ask_e5=bid + 10 if ask is None else ask, ts_event_ns=self.at, ts_init_ns=self.at, **values,
        ))  # fmt: skip
        return self

    def levels(self, stop=119_800, target=120_200):
        self.out.append(m.ProtectionChanged(position_id="p1", symbol="EURUSD", stop_loss_e5=stop, take_profit_e5=target,
                                            trailing_e5=0, ts_event_ns=self.at, ts_init_ns=self.at))  # fmt: skip
        return self

    def opened(self):
        return self.quote(119_990).order().deal(120_000, closing=False).levels()

    def rolled(self):
        return roll_up([numbered(self.out)])


def test_slippage_is_told_as_the_markets_move_and_what_the_deal_paid_beyond_it():
    # wanted 1.20000; when it was executed the ask was 1.20003, and it paid 1.20005
    hand = Hand().quote(119_990).order().deal(120_005, closing=False, bid=119_993, ask=120_003)
    (execution,) = hand.rolled().executions

    assert (execution.slippage_e5, execution.delay_e5, execution.impact_e5) == (-5, -3, -2)
    assert execution.slippage == -500
    assert (execution.leg, execution.state, execution.spread_e5) == ("entry", "filled", 10)


def test_delays_run_from_the_forecasts_bar_to_the_stop_at_the_venue():
    hand = Hand().quote(119_990)
    hand.out.append(m.CalibratedForecast(request_id="q", symbol="EURUSD", model_id="x", active=True,
                                         as_of_ns=hand.at - 50, expires_ns=hand.at + 9, close_e5=119_990, horizons=(),
                                         ts_init_ns=hand.at - 20))  # fmt: skip
    hand.order()
    hand.say(m.OrderAccepted(client_order_id="h-1", order_id="o", symbol="EURUSD", ts_event_ns=hand.at + 400,
                             ts_init_ns=hand.at + 700, ts_sent_ns=hand.at + 100), after=900)  # fmt: skip
    hand.deal(120_000, closing=False, after=0)
    hand.at += 60
    hand.levels()
    rolled = hand.rolled()
    (execution,) = rolled.executions

    assert (execution.forecast_ns, execution.decision_ns, execution.order_ns) == (30, 20, 0)
    assert (execution.send_ns, execution.accept_ns, execution.fill_ns) == (100, 600, 800)
    assert rolled.total.delays["protect_ns"].mean == 60


def test_orders_are_counted_by_what_became_of_them_and_missed_signals_by_what_blocked_them():
    hand = Hand().opened().deal(120_100, closing=True, number=9)
    hand.order(2).say(m.OrderRejected(client_order_id="h-2", symbol="EURUSD", code="NOT_ENOUGH_MONEY", text="",
                                      ts_event_ns=hand.at, ts_init_ns=hand.at))  # fmt: skip
    hand.order(3).say(m.OrderCancelled(client_order_id="h-3", symbol="EURUSD", reason="IOC", filled_e2=0,
                                       ts_event_ns=hand.at, ts_init_ns=hand.at))  # fmt: skip
    hand.order(4).deal(120_000, closing=False, number=4, volume=4_000_000).say(
        m.OrderCancelled(client_order_id="h-4", symbol="EURUSD", reason="no more volume", filled_e2=4_000_000,
                         ts_event_ns=hand.at, ts_init_ns=hand.at))  # fmt: skip
    hand.order(5)
    hand.wish(6).say(m.IntentRefused(intent_id="h-6", strategy="s", symbol="EURUSD", rule="spread", limit="1",
                                     value="2", would_pass="1", ts_init_ns=hand.at))  # fmt: skip
    rolled = hand.rolled()
    orders, total = rolled.total.orders, rolled.total

    assert (orders.sent, orders.filled, orders.partly_filled, orders.rejected) == (5, 1, 1, 1)
    assert (orders.cancelled, orders.unanswered) == (1, 1)
    assert (orders.rejection_rate, orders.partial_rate) == (0.2, 0.2)
    assert (orders.intended_e2, orders.filled_e2) == (40_000_000, 14_000_000)
    assert [(row.state, row.code, row.n) for row in total.codes] == [
        ("cancelled", "IOC", 1), ("partly_filled", "no more volume", 1), ("rejected", "NOT_ENOUGH_MONEY", 1),
    ]  # fmt: skip
    assert {(row.kind, row.key): row.n for row in total.missed} == {
        ("refused", "spread"): 1, ("rejected", "NOT_ENOUGH_MONEY"): 1, ("unfilled", "IOC"): 1,
    }  # fmt: skip
    assert (total.signals.entries, total.signals.refused, total.signals.ordered, total.signals.traded) == (6, 1, 5, 2)


# --- levels ------------------------------------------------------------------------------------------------------


def levels_of(hand):
    return {row.cause: row for row in hand.rolled().total.levels}


def test_a_stop_is_told_as_filled_at_beyond_or_better_and_a_target_likewise():
    at = levels_of(Hand().opened().quote(119_800).deal(119_800, closing=True, cause="stop_loss", level_e5=119_800))
    beyond = levels_of(Hand().opened().quote(119_750).deal(119_740, closing=True, cause="stop_loss", level_e5=119_800))
    better = levels_of(
        Hand().opened().quote(120_230).deal(120_230, closing=True, cause="take_profit", level_e5=120_200)
    )

    assert (at["stop_loss"].at, at["stop_loss"].beyond, at["stop_loss"].missed) == (1, 0, 0)
    assert (beyond["stop_loss"].beyond, beyond["stop_loss"].beyond_e5.mean) == (1, -60)
    assert (better["take_profit"].better, better["take_profit"].beyond_e5.mean) == (1, 30)


@pytest.mark.parametrize(("spread", "false"), [(4, 0), (40, 1)])
def test_a_stop_that_the_bid_reached_and_the_mid_did_not_was_triggered_by_the_spread(spread, false):
    bid = 119_800 if spread == 40 else 119_797
    hand = Hand().opened().quote(bid, spread).deal(bid, closing=True, cause="stop_loss", level_e5=119_800, bid=bid,
                                                   ask=bid + spread)  # fmt: skip
    assert levels_of(hand)["stop_loss"].false_triggers == false


def test_a_stop_that_prices_passed_while_the_venue_slept_is_missed():
    hand = Hand().opened().quote(119_790).quote(119_700, after=60 * NS_PER_S).deal(119_690, closing=True, number=9)
    row = levels_of(hand)["stop_loss"]
    (hit,) = hand.rolled().hits

    assert (row.n, row.missed, row.at, row.beyond) == (1, 1, 0, 0)
    assert (hit.late_ns, hit.beyond_e5, hit.missed) == (61 * NS_PER_S, -110, True)


def test_a_stop_that_is_still_not_executed_is_missed_too_and_one_that_moved_away_is_not():
    assert levels_of(Hand().opened().quote(119_790).quote(119_795, after=60 * NS_PER_S))["stop_loss"].missed == 1
    moved = Hand().opened().quote(119_790).levels(stop=119_500).quote(119_795, after=60 * NS_PER_S)
    assert "stop_loss" not in levels_of(moved)


# --- limits, service ---------------------------------------------------------------------------------------------


def test_limits_are_told_at_their_peak_as_a_share():
    risk = ('{"risk":{"max_exposure_pct_equity":2000,"max_order_lots_e2":400,"daily_loss_pct_e2":500,'
            '"trailing_drawdown_pct_e2":0,"max_spread_pips_e1":20,"max_orders_per_minute":4}}')  # fmt: skip
    hand = Hand(config=risk).opened().quote(120_100).quote(119_890).quote(120_050)
    peaks = {row.rule: row for row in hand.rolled().total.limits}

    # 100,000 EUR at a mid of 1.19995 on 10,000 USD; 100 pips above the entry's 1.20000 come and 110 below
    assert near(peaks["exposure"].peak, 1_199.95)
    assert near(peaks["exposure"].share, 1_199.95 / 2_000)
    assert (peaks["order_volume"].peak, peaks["order_volume"].share) == (1.0, 0.25)
    assert near(peaks["daily_loss"].peak, 100 * 110 / 10_000)
    assert near(peaks["daily_loss"].share, 1.1 / 5)
    assert near(peaks["spread"].share, 0.5)
    assert peaks["order_rate"].share == 0.25
    assert peaks["trailing_drawdown"].share is None, "it is switched off"
    assert near(peaks["trailing_drawdown"].peak, 100 * 21_000 / 1_010_000)
    assert hand.rolled().total.limits[0].rule == "exposure", "the nearest to its limit comes first"


def test_a_short_beside_a_long_adds_to_the_exposure_and_not_to_the_leverage():
    risk = '{"risk":{"max_exposure_pct_equity":5000,"max_leverage_pct":5000,"max_position_pct_equity":5000}}'
    hand = Hand(config=risk).opened().order(2, volume=4_000_000, reference=119_990, stop=120_100, side=Side.SELL)
    peaks = {row.rule: row.peak for row in hand.rolled().total.limits}

    lot = 1_199.95 * 10_000 / 9_990  # 10,000 USD less the spread on what is held
    assert near(peaks["exposure"], 1.4 * lot)
    assert near(peaks["leverage"], 1_199.95 * 10_000 / 9_990)
    first_order_alone = 1_199.95
    assert near(peaks["position_size"], first_order_alone)


def test_a_day_loses_against_its_own_start():
    hand = Hand(config='{"risk":{"daily_loss_pct_e2":1000}}').opened().quote(119_500)
    hand.quote(119_500, after=10 * NS_PER_HOUR).quote(119_300)  # over 17:00 New York, then 20 pips more
    first, second = ({row.rule: row for row in day.limits}["daily_loss"] for day in hand.rolled().days)

    assert near(first.peak, 100 * 500 / 10_000)
    assert near(second.peak, 100 * 200 / 9_500)


def test_outages_are_taken_off_the_hours_in_which_a_run_was_to_trade():
    hand = Hand().quote(120_000)
    for _ in range(60):
        hand.quote(120_000, after=60 * NS_PER_S)
    hand.say(m.LinkChanged(up=True, reason="", ts_init_ns=hand.at), 0)
    down = hand.at
    hand.say(m.LinkChanged(up=False, reason="lost", ts_init_ns=down), 600 * NS_PER_S)
    hand.say(m.LinkChanged(up=True, reason="", ts_init_ns=hand.at), 0).quote(120_000)
    crashed = hand.at
    hand.at += 1_200 * NS_PER_S
    hand.say(m.RunResumed(reason="continued", ts_init_ns=hand.at), 0).quote(120_000, after=0)
    rolled = hand.rolled()
    service = rolled.total.service

    assert (service.reconnects, service.restarts) == (1, 1)
    assert (service.link_down_ns, service.process_down_ns) == (600 * NS_PER_S, 1_200 * NS_PER_S)
    assert service.expected_ns == hand.at - T
    assert near(service.uptime, 1 - 1_800 * NS_PER_S / (hand.at - T))
    assert [(each.kind, each.ts_from_ns, each.reason) for each in rolled.outages] == [
        ("link", down, "lost"), ("process", crashed, "restarted"),
    ]  # fmt: skip
    assert service.data_gaps == 0


def test_a_silence_is_a_gap_where_prices_were_frequent_and_none_over_a_weekend():
    hand = Hand()
    for _ in range(40):
        hand.quote(120_000, after=5 * NS_PER_S)
    hand.quote(120_000, after=300 * NS_PER_S)
    friday = T + 3 * 24 * NS_PER_HOUR + 9 * NS_PER_HOUR - 5 * NS_PER_S  # 20:59:55 UTC
    assert hand.rolled().total.service.data_gaps == 1
    assert hand.rolled().total.service.data_gap_ns == 300 * NS_PER_S

    weekend = Hand()
    weekend.at = friday - 40 * 5 * NS_PER_S
    for _ in range(40):
        weekend.quote(120_000, after=5 * NS_PER_S)
    weekend.quote(120_000, after=48 * NS_PER_HOUR + 10 * NS_PER_S)
    assert weekend.rolled().total.service.data_gaps == 0


# --- forecasts ---------------------------------------------------------------------------------------------------


def test_coverage_is_that_of_the_journal_and_overlapping_forecasts_count_for_less():
    journal = synthetic_run(600)
    rolled = roll_up([journal])
    told = [each for _, each in journal if isinstance(each, m.ForecastResolved) and each.model_id.startswith("ridge")]
    for horizon in (1, 4, 24):
        mine = [each for each in told if each.horizon == horizon]
        row = next(
            each for each in rolled.total.coverage if each.active and each.horizon == horizon and each.level == 0.9
        )
        assert (row.n, row.covered) == (len(mine), sum(each.covered[0] for each in mine))
        assert row.independent == len(mine) // horizon
        assert row.low <= row.measured <= row.high
    widths = [row.mean_width_pips for row in rolled.total.coverage if row.active and row.level == 0.9]
    assert widths == sorted(widths)
    by_horizon = [row.high - row.low for row in rolled.total.coverage if row.active and row.level == 0.9]
    assert by_horizon == sorted(by_horizon)
    (model,) = [row for row in rolled.models if row.key.startswith("ridge")]
    assert model.coverage == tuple(row for row in rolled.total.coverage if row.active)
    assert sum(row.n for day in rolled.days for row in day.coverage if row.active) == sum(
        row.n for row in model.coverage
    )


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 400), share=st.floats(0, 1), alpha=st.sampled_from([0.1, 0.2, 0.5]))
def test_kupiecs_test_is_that_of_the_validation(n, share, alpha):
    misses = round(share * n)
    assert math.isclose(kupiec_p(misses, n, alpha), scores.kupiec(misses, n, alpha).p_value, rel_tol=1e-6, abs_tol=1e-9)


@settings(max_examples=60, deadline=None)
@given(held=st.lists(st.booleans(), min_size=2, max_size=300))
def test_christoffersens_test_is_that_of_the_validation_where_there_is_something_to_test(held):
    found = independence_p(held)
    if found is not None:
        assert math.isclose(found, scores.christoffersen(held).p_value, rel_tol=1e-6, abs_tol=1e-9)
    else:
        assert len(set(held[1:])) == 1


def test_errors_that_grow_between_two_weeks_are_drift_and_equal_ones_are_not():
    def journal(factor):
        hand = Hand()
        source = random.Random(3)
        for number in range(400):
            ts = T + number * NS_PER_HOUR
            grown = factor if trading_day(ts) > trading_day(T) + 8 else 1
            hand.out.append(m.ForecastResolved(
                symbol="EURUSD", model_id="x", active=True, horizon=1, as_of_ns=ts, close_e5=1, point_e5=0,
                sigma_e5=100, actual_e5=round(source.gauss(0, 80) * grown), bands=(), covered=(), ts_init_ns=ts,
            ))  # fmt: skip
        return hand.rolled().weeks[-1].drift

    (grown,), (equal,) = journal(2), journal(1)
    assert grown.change_pct > 30
    assert grown.t > 4
    assert abs(equal.t) < 3


def test_expected_is_held_against_realised_where_an_expectation_was_told():
    rolled = roll_up([numbered(Month(signals=60, trades=20).messages())])
    own = [trade for trade in rolled.trades if trade.expected_profit]

    assert rolled.total.expecting == len(own) == 20
    assert rolled.total.expected == sum(trade.expected_profit for trade in own) > 0
    assert rolled.total.realised == sum(trade.money.net for trade in own)
    assert [(row.key, row.trades) for row in rolled.strategies] == [(STRATEGY, 20)]
    assert [row.key for row in rolled.models] == [MODEL]
    assert [row.key for row in rolled.symbols] == ["EURUSD", "USDJPY"]


@settings(max_examples=80, deadline=None)
@given(values=st.lists(st.integers(-1_000, 1_000), min_size=1, max_size=60))
def test_a_distribution_is_that_of_its_values(values):
    found = distribution_of(values)

    assert (found.n, found.least, found.largest) == (len(values), min(values), max(values))
    assert math.isclose(found.mean, np.mean(values), abs_tol=1e-9)
    assert math.isclose(found.deviation, np.std(values, ddof=1) if len(values) > 1 else 0.0, abs_tol=1e-6)
    assert found.below + found.zero + found.above == len(values)
    for percent, value in ((5, found.p05), (50, found.median), (99, found.p99)):
        assert value == np.percentile(values, percent, method="inverted_cdf")
