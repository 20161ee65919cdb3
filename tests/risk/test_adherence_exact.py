"""One trading day by hand (`desk.day`), and what adherence must tell of it to the last unit."""

import msgspec

from bus.messages import AccountSnapshot, OrderFilled
from bus.values import default_instrument
from risk.adherence import Adherence, fold
from risk.adherence.records import Conservation, Counts, FillPoint, Group, Spread, Trade
from risk.adherence.rollup import roll_up
from tests.harness.desk import (
    BUY,
    HOUR,
    LONG,
    OTHER,
    RIDGE,
    SELL,
    SHORT,
    TOTAL,
    S,
    T,
    accepted,
    bar,
    cancelled,
    day,
    deal,
    expired,
    held,
    intent,
    levels,
    moved,
    numbered,
    order,
    quote,
    refused,
    rejected,
    run,
    snapshot,
    swap,
    unknown,
)


def told(messages):
    return fold(numbered(messages))


def test_every_field_of_a_trade_in_parts_is_told():
    first, _ = told(day()).trades

    assert first == Trade(
        number=1, position_id="P1", symbol="EURUSD", strategy="s1", model_id=RIDGE, horizon=4, side=1, reason="wish",
        exit_reason="over", cause="order", ts_signal_ns=T + 10, ts_open_ns=T + 80, ts_close_ns=T + 11 * HOUR + 80,
        signal_e5=110_008, entry_e5=(1_000_000 * 110_011 + 300_001 * 110_015) / 1_300_001,
        exit_e5=(400_000 * 110_047 + 900_001 * 110_052) / 1_300_001, intended_e2=1_500_000, filled_e2=1_300_001,
        closed_e2=1_300_001, entry_slippage_e5=-4, exit_slippage_e5=0, entry_spread_e5=10, exit_spread_e5=12,
        decision_ns=10, send_ns=5, accept_ns=50, fill_ns=65, protect_ns=40, stop_loss_e5=109_900,
        take_profit_e5=110_200, level_e5=0, beyond_e5=0, expected_profit=444, holding_bars=2, holding_ns=11 * HOUR,
        money=LONG, client_order_id="c1", intent_id="i-c1", request_id="q1",
    )  # fmt: skip


def test_every_field_of_a_trade_that_its_stop_ended_is_told():
    _, second = told(day()).trades

    assert second == Trade(
        number=2, position_id="P2", symbol="USDJPY", strategy="s2", model_id=OTHER, horizon=1, side=-1, reason="wish",
        exit_reason="stop_loss", cause="stop_loss", ts_signal_ns=T + HOUR, ts_open_ns=T + HOUR + 60,
        ts_close_ns=T + 12 * HOUR + 5 * S, signal_e5=10_900_000, entry_e5=10_899_000.0, exit_e5=10_932_000.0,
        intended_e2=2_000_000, filled_e2=2_000_000, closed_e2=2_000_000, entry_slippage_e5=-1_000,
        exit_slippage_e5=-2_000, entry_spread_e5=1_000, exit_spread_e5=1_000, decision_ns=9, send_ns=1, accept_ns=None,
        fill_ns=56, protect_ns=4, stop_loss_e5=10_930_000, take_profit_e5=0, level_e5=10_930_000, beyond_e5=-2_000,
        expected_profit=0, holding_bars=1, holding_ns=11 * HOUR + 5 * S - 60, money=SHORT, client_order_id="c2",
        intent_id="i-c2", request_id="q2",
    )  # fmt: skip


def test_every_table_and_the_total_hold_exactly_what_the_deals_booked():
    summary = told(day())
    one, two = Group(key="", trades=1, wins=1, money=LONG), Group(key="", trades=1, wins=0, money=SHORT)

    assert summary.total == TOTAL
    for table, key in ((summary.days, "2018-05-02"), (summary.weeks, "2018-W18"), (summary.months, "2018-05")):
        assert table == (Group(key=key, trades=2, wins=1, money=TOTAL),)
    for table, keys in (
        (summary.strategies, ("s1", "s2")), (summary.symbols, ("EURUSD", "USDJPY")), (summary.models, (RIDGE, OTHER)),
    ):  # fmt: skip
        assert table == tuple(msgspec.structs.replace(row, key=key) for row, key in zip((one, two), keys, strict=True))


def test_every_deal_is_a_point_of_the_plots():
    def point(at, price, side, slippage, profit=0, *, symbol="EURUSD", closing=False, cause="order"):
        return FillPoint(ts_ns=T + at, symbol=symbol, price_e5=price, side=side, closing=closing, cause=cause,
                         slippage_e5=slippage, profit=profit)  # fmt: skip

    assert told(day()).fills == (
        point(80, 110_011, 1, -3),
        point(100, 110_015, 1, -7),
        point(HOUR + 60, 10_899_000, -1, -1_000, symbol="USDJPY"),
        point(11 * HOUR + 60, 110_047, -1, -3, 140 - 24 - 22, closing=True),
        point(11 * HOUR + 80, 110_052, -1, 2, 360 - 55 - 49 - 4, closing=True),
        point(12 * HOUR + 5 * S, 10_932_000, 1, -2_000, -6_151, symbol="USDJPY", closing=True, cause="stop_loss"),
    )


def test_the_money_check_counts_start_end_cash_and_both_ways_to_commission_and_swap():
    assert told(day()).conservation == Conservation(
        balance_start=1_000_000, balance_end=999_195, balance_change=-805, booked=-5_805, moved=5_000,
        commission_booked=-200, commission_told=-200, swap_booked=-58, swap_told=-58, flat=True, exact=True,
    )  # fmt: skip


def test_the_run_its_counts_and_its_delays_are_told():
    summary = told(day())

    assert summary.counts == Counts(
        messages=34, quotes=6, bars=3, forecasts=2, missed=0, patterns=0, intents=3, refused=0, orders=3, rejected=0,
        fills=6, repeated=0, trades=2, open_positions=0,
    )  # fmt: skip
    assert (summary.run_id, summary.mode, summary.currency, summary.money_digits) == ("h", "demo", "USD", 2)
    assert (summary.period_ns, summary.config_json) == (HOUR, '{"risk":{}}')
    assert summary.instruments == (default_instrument("EURUSD"), default_instrument("USDJPY"))
    assert (summary.ts_first_ns, summary.ts_last_ns) == (T, T + 13 * HOUR)
    assert summary.delays == {
        "decision_ns": Spread(n=2, mean=9.5, median=9.5, p95=10.0, largest=10.0),
        "send_ns": Spread(n=2, mean=3.0, median=3.0, p95=5.0, largest=5.0),
        "accept_ns": Spread(n=1, mean=50.0, median=50.0, p95=50.0, largest=50.0),
        "fill_ns": Spread(n=2, mean=60.5, median=60.5, p95=65.0, largest=65.0),
        "protect_ns": Spread(n=2, mean=22.0, median=22.0, p95=40.0, largest=40.0),
    }
    assert summary.slippage == {
        "entry_cost_e5": Spread(n=2, mean=502.0, median=502.0, p95=1_000.0, largest=1_000.0),
        "exit_cost_e5": Spread(n=2, mean=1_000.0, median=1_000.0, p95=2_000.0, largest=2_000.0),
    }


# --- equity ------------------------------------------------------------------------------------------------------


def test_equity_floats_both_ways_with_charges_that_have_run_up_and_without_a_price_or_a_rate():
    messages = day()[:27]  # both positions are open, two nights' swap has been charged

    # 13,000.01 EUR at 1.10011923 could be sold at 1.10050: 4.95; 20,000 USD sold at 108.99 bought back at 109.01: -3.67
    # at 109.005 yen a dollar; commission 1.00 and swap 0.58 have run up.
    value = 1_000_000 * 110_011 + 300_001 * 110_015
    longs = round((110_050 * 1_300_001 - value) / 10**5)
    shorts = round(-(10_901_000 - 10_899_000) * 2_000_000 * 917_389 / 10**13)
    assert (longs, shorts) == (495, -367)
    adherence = Adherence()
    for entry in numbered(messages):
        adherence.add(*entry)
    assert adherence.equity == 1_000_000 + longs + shorts - 31 - 9 - 60 - 71 + 13


def test_what_is_left_of_a_position_keeps_its_share_of_the_price_and_of_the_charges():
    adherence = Adherence()
    for entry in numbered(day()[:28]):  # 4,000 of 13,000.01 EUR have been sold, with 0.22 of 0.71 swap booked
        adherence.add(*entry)

    value = 1_000_000 * 110_011 + 300_001 * 110_015
    left = value - round(value * 400_000 / 1_300_001)
    longs = round((110_050 * 900_001 - left) / 10**5)
    commission = -40 - round(-40 * 400_000 / 1_300_001)
    assert (longs, commission) == (343, -28)
    assert adherence.equity == 1_000_094 + longs - 367 + commission - 60 - 71 + 22 + 13


def test_a_trade_that_earned_nothing_is_no_win_and_one_that_earned_a_cent_is():
    def wins(net):
        summary = told([*opened(), closed(gross=net)])
        (booking,) = roll_up([numbered([*opened(), closed(gross=net)])]).days
        assert booking.wins == summary.days[0].wins
        return summary.days[0].wins

    assert (wins(-1), wins(0), wins(1)) == (0, 0, 1)


def test_an_order_that_ends_a_trade_executes_no_level_even_where_one_is_told():
    story = [*opened(), order("x1", 50, SELL, position="P1"), closed(order="x1", level_e5=110_200)]
    (trade,) = told(story).trades

    assert (trade.cause, trade.level_e5, trade.beyond_e5) == ("order", 0, 0)
    assert roll_up([numbered(story)]).hits == ()


def test_a_trade_has_the_reason_of_its_intent_or_else_of_its_order_and_no_signal_where_none_was_told():
    def entry(*wish):
        deals = deal("d1", 10, BUY, 1_000_000, 110_010, order="c1", left=1_000_000)
        return told([run(), snapshot(), bar(-1), quote(1), bar(1), *wish, order("c1", 3), deals, bar(20)]).trades[0]

    assert (entry().reason, entry().holding_bars) == ("order", 1)
    assert entry(intent("i-c1", 2)).reason == "wish"
    assert entry(intent("i-c1", 2, reason="")).reason == "order"
    assert (entry(intent("i-c1", 2)).ts_signal_ns, entry(intent("i-c1", 2)).decision_ns) == (0, None)
    assert (entry().exit_e5, entry().exit_slippage_e5, entry().exit_spread_e5) == (0.0, 0, 0)
    assert told(opened()).trades[0].holding_bars == 0
    (empty,) = told([run(), snapshot(1, positions=(held(volume=0),))]).trades
    assert (empty.entry_e5, empty.entry_slippage_e5, empty.filled_e2) == (0.0, 0, 0)


def test_a_last_deal_smaller_than_what_was_held_takes_all_that_the_entry_cost():
    story = [*opened(), deal("d9", 60, SELL, 400_000, 110_020, closing=True, gross_profit=40, balance=1_000_040)]
    (trade,) = told(story).trades

    assert (trade.money.spread, trade.money.slippage) == (-50 - 20, -20 + 0)
    assert trade.closed_e2 == 400_000


def test_a_symbol_is_worth_what_its_instrument_says_it_is_quoted_in():
    index = msgspec.structs.replace(default_instrument("EURUSD"), symbol="US500", base="US500")
    story = [run(instruments=(index,)), snapshot(), quote(1, symbol="US500"),
             deal("d1", 2, BUY, 1_000_000, 110_010, symbol="US500", left=1_000_000)]  # fmt: skip

    assert told(story).equity_end == 1_000_000 - 100


def test_the_curve_has_a_point_a_bars_close_and_falls_from_its_highest():
    summary = told([
        run(), snapshot(0, 20_000), quote(1), quote(1, symbol="USDJPY", bid=10_900_000, ask=10_901_000), order("c1", 2),
        deal("d1", 3, BUY, 1_000_000, 110_000, order="c1", bid=110_000, ask=110_000, commission=-100, left=1_000_000),
        bar(HOUR), bar(HOUR, 10_900_000, "USDJPY"),
        quote(HOUR + 1, 110_100), bar(2 * HOUR), quote(2 * HOUR + 1, 109_900), bar(3 * HOUR),
        quote(3 * HOUR + 1, 110_050), bar(4 * HOUR),
    ])  # fmt: skip
    points = [((point.ts_ns - T) // HOUR, point.balance, point.equity, point.drawdown) for point in summary.equity]

    # the peak is the first balance until equity has been above it; both symbols' bars at one moment are one point
    assert points == [(1, 20_000, 19_900, -100), (2, 20_000, 20_900, 0), (3, 20_000, 18_900, -2_000),
                      (4, 20_000, 20_400, -500)]  # fmt: skip
    assert summary.max_drawdown == -2_000
    assert summary.max_drawdown_pct == 100 * -2_000 / 20_900
    assert (summary.equity_start, summary.equity_end) == (20_000, 20_400)


def test_without_a_snapshot_the_first_deal_says_where_the_balance_began():
    without = [message for message in day() if not isinstance(message, AccountSnapshot)]
    later = [message for message in day() if not isinstance(message, AccountSnapshot | OrderFilled)]

    assert told(without).conservation == told(day()).conservation
    assert told(without).equity == told(day()).equity
    assert told(later).equity == (), "nothing says what there was"
    closing = [run(), quote(1), deal("d1", 2, SELL, 100_000, 110_000, closing=True, gross_profit=30, booked_swap=-4,
                                     balance=1_000_026)]  # fmt: skip
    assert told(closing).equity_start == 1_000_000


# --- facts that come early, late, twice or of nobody ---------------------------------------------------------------


def opened(*, first=(), stop=109_900, target=110_200):
    return [
        run(), snapshot(), quote(1), *first, intent("i-c1", 2), order("c1", 3, stop=stop, target=target),
        deal("d1", 10, BUY, 1_000_000, 110_010, order="c1", left=1_000_000),
    ]  # fmt: skip


def closed(at=60, price=110_110, *, gross=1_000, **more):
    return deal("d9", at, SELL, 1_000_000, price, closing=True, gross_profit=gross, balance=1_000_000 + gross, **more)


def test_a_stop_told_before_its_deal_counts_as_at_once_and_a_second_one_does_not_count():
    late = [levels(100, 109_900), levels(200, 109_950)]

    assert told(opened(first=[levels(1, 109_900)])).trades[0].protect_ns == 0
    assert told(opened(first=[levels(1, 0, 110_200)])).trades[0].protect_ns is None
    assert told([*opened(first=[levels(1, 109_900)]), *late]).trades[0].protect_ns == 0
    assert told([*opened(), *late]).trades[0].protect_ns == 100 - 15
    assert told([*opened(), levels(12, 109_900)]).trades[0].protect_ns == 0, "the deal was told at 15"
    assert told([*opened(), levels(50, 0, 110_200)]).trades[0].protect_ns is None, "a target is no protection"
    assert told([*opened(), levels(50, 0, 110_200), *late]).trades[0].protect_ns == 100 - 15
    assert told([*opened(first=[levels(1, 109_900, position="P7")])]).trades[0].protect_ns is None


def test_a_trade_shows_the_levels_that_stood_last():
    trade = told([*opened(), levels(20, 109_950, 110_300)]).trades[0]
    assert (trade.stop_loss_e5, trade.take_profit_e5) == (109_950, 110_300)
    trade = told(opened()).trades[0]
    assert (trade.stop_loss_e5, trade.take_profit_e5) == (109_900, 110_200)


def test_facts_told_twice_count_once_and_are_counted():
    night, cash = swap(20, -7), moved("m1", 30, 50, 1_000_050)
    summary = told([*opened(), night, night, cash, cash, *opened()[-1:], cash, night])

    assert summary.counts.repeated == 5
    more = told([*opened(), cash, moved("m2", 31, -70, 999_980)])
    assert (more.conservation.moved, more.equity_end) == (-20, 999_980 - 100)
    assert summary.conservation.swap_told == -7
    assert summary.conservation.moved == 50
    assert summary.equity_end == 1_000_050 - 7 - 100
    assert summary.counts.fills == 1
    two_nights = told([*opened(), night, swap(21, -7), swap(20, -5, "P7")])
    assert two_nights.conservation.swap_told == -19
    assert two_nights.equity_end == 1_000_000 - 14 - 100, "nobody holds P7"


def test_a_deal_that_closes_what_was_never_opened_is_booked_to_nobody():
    summary = told([run(), snapshot(), quote(1), deal("d1", 10, SELL, 400_000, 110_000, closing=True, left=600_000,
                                                      gross_profit=40, balance=1_000_040)])  # fmt: skip
    (trade,) = summary.trades

    assert (trade.position_id, trade.side, trade.filled_e2, trade.closed_e2) == ("P1", 1, 1_000_000, 400_000)
    assert (trade.strategy, trade.model_id, trade.client_order_id, trade.intent_id) == ("", "", "", "")
    assert (trade.request_id, trade.reason, trade.horizon, trade.signal_e5) == ("", "", 0, 0)
    assert (trade.intended_e2, trade.expected_profit, trade.exit_reason, trade.cause) == (1_000_000, 0, "", "")
    assert (trade.decision_ns, trade.send_ns, trade.accept_ns, trade.fill_ns) == (None, None, None, None)
    assert (trade.ts_signal_ns, trade.ts_open_ns, trade.ts_close_ns, trade.holding_ns) == (0, T + 10, 0, 0)
    assert (trade.entry_e5, trade.exit_e5) == (0.0, 110_000.0)
    assert [row.key for row in (*summary.strategies, *summary.models)] == ["(none)", "(none)"]
    assert summary.strategies[0].trades == 0
    assert summary.counts.open_positions == 1
    assert [(each.rule, each.subject) for each in summary.findings if each.rule == "position_known"] == [
        ("position_known", "P1"),
    ]  # fmt: skip


def test_every_way_an_order_may_end_is_remembered_and_a_fill_outlives_them_all():
    orders = [order(f"c{number}", number) for number in range(1, 8)]
    facts = [
        accepted("c1", 20), rejected("c2", 20), cancelled("c3", 20), expired("c4", 20), unknown("c5", 20),
        accepted("c5", 30), cancelled("c6", 20), accepted("c6", 30), unknown("c9", 20), accepted("c9", 20),
        deal("d7", 30, BUY, 1_000_000, 110_010, order="c7", left=1_000_000), cancelled("c7", 40, "late"),
        accepted("c7", 50),
    ]  # fmt: skip
    adherence = Adherence()
    for entry in numbered([run(), snapshot(), quote(1), *orders, *facts]):
        adherence.add(*entry)
    tracks = adherence._ledger.orders

    assert {name: (track.state, track.code) for name, track in tracks.items()} == {
        "c1": ("accepted", ""), "c2": ("rejected", "NO_MONEY"), "c3": ("cancelled", "IOC"), "c4": ("expired", ""),
        "c5": ("accepted", ""), "c6": ("cancelled", "IOC"), "c7": ("filled", "late"),
    }  # fmt: skip
    assert set(adherence._ledger.at_work) == {"c1", "c5"}


def test_a_stop_that_names_its_entrys_order_is_no_deal_of_that_order():
    stop = closed(S, 109_900, gross=-110, cause="stop_loss", level_e5=109_900)
    (trade,) = told([*opened(), msgspec.structs.replace(stop, client_order_id="c1")]).trades

    assert (trade.exit_reason, trade.cause, trade.exit_slippage_e5) == ("stop_loss", "stop_loss", 0)
    assert (trade.filled_e2, trade.fill_ns, trade.beyond_e5) == (1_000_000, 12, 0)


def test_refusals_and_rejections_are_listed_with_whose_they_were():
    summary = told([run(), snapshot(), quote(1), intent("i-c1", 2), refused("i-c1", 3), order("c2", 4),
                    rejected("c2", 5), rejected("c9", 6, "LATE", "closed")])  # fmt: skip
    listed = [(each.ts_ns - T, each.kind, each.subject, each.strategy, each.symbol, each.rule, each.limit, each.value,
               each.would_pass) for each in summary.refusals]  # fmt: skip

    assert listed == [
        (3, "refused", "i-c1", "s1", "EURUSD", "spread", "1.0 pips", "2.0 pips", "1.0 pips or less"),
        (5, "rejected", "c2", "s1", "EURUSD", "NO_MONEY", "", "margin 0.00", ""),
        (6, "rejected", "c9", "", "EURUSD", "LATE", "", "closed", ""),
    ]
    assert summary.counts.rejected == 2
    assert [(row.kind, row.key, row.n, row.example) for row in summary.refusal_counts] == [
        ("refused", "spread", 1, "2.0 pips against 1.0 pips"), ("rejected", "LATE", 1, "closed"),
        ("rejected", "NO_MONEY", 1, "margin 0.00"),
    ]  # fmt: skip


def test_what_the_account_held_before_is_a_trade_with_what_the_venue_tells_of_it():
    state = held(volume=300_000, price=110_100, stop=109_000, target=112_000, commission=-5, swap=-3, opened=-HOUR)
    other = held("P2", side=SELL, volume=100_000, price=110_200)
    summary = told([run(), snapshot(7, positions=(state, other)), quote(8, 110_050, 110_060)])
    first, second = summary.trades

    assert (first.number, first.side, first.filled_e2, first.entry_e5) == (1, 1, 300_000, 110_100.0)
    assert (first.stop_loss_e5, first.take_profit_e5, first.protect_ns) == (109_000, 112_000, 0)
    assert (first.ts_open_ns, second.ts_open_ns) == (T - HOUR, T + 7)
    assert (second.number, second.side, second.protect_ns) == (2, -1, None)
    assert summary.equity_end == 1_000_000 - 8 - 150 + 140
    assert (summary.conservation.commission_told, summary.conservation.swap_told) == (-5, -3)
    assert not summary.conservation.flat
