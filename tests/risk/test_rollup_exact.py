"""The roll-up of a day by hand and of journals that follow one another: periods, owners, windows and spans exactly."""

import msgspec
import pytest

from bus import messages as m
from bus.errors import DataError
from bus.values import default_instrument
from risk.adherence.periods import adds_up
from risk.adherence.records import Conservation, Count, Money
from risk.adherence.rolled import Outage, RunSpan, Service, Signals
from risk.adherence.rollup import MISSED_LISTED, Roll, roll_up
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
    day,
    deal,
    forecast,
    held,
    intent,
    levels,
    moved,
    numbered,
    order,
    quote,
    refused,
    run,
    snapshot,
    swap,
)

ROLLOVER = 9 * HOUR  # 21:00 UTC
DAY = 24 * HOUR


def rolled(*journals):
    return roll_up([numbered(journal) for journal in journals])


def missing(request, at, model=RIDGE, symbol="EURUSD"):
    return m.ForecastMissed(
        request_id=request, symbol=symbol, model_id=model, reason="late", detail="", ts_init_ns=T + at
    )


# --- one journal ---------------------------------------------------------------------------------------------------


def figures(row):
    return (row.kind, row.key, row.ts_from_ns - T, row.ts_to_ns - T, row.days, row.trades, row.wins, row.money,
            row.moved, row.expected, row.realised, row.expecting)  # fmt: skip


def test_periods_of_time_hold_what_was_booked_on_their_trading_days():
    result = rolled(day())
    both = (-DAY + ROLLOVER, DAY + ROLLOVER, 2, 2, 1, TOTAL, 5_000, 444, 346, 1)

    assert [figures(row) for row in (result.total, *result.weeks, *result.months)] == [
        ("total", "all", *both), ("week", "2018-W18", *both), ("month", "2018-05", *both),
    ]  # fmt: skip
    assert [figures(row) for row in result.days] == [
        ("day", "2018-05-01", -DAY + ROLLOVER, ROLLOVER, 1, 0, 0, Money(), 0, 0, 0, 0),
        ("day", "2018-05-02", ROLLOVER, DAY + ROLLOVER, 1, 2, 1, TOTAL, 5_000, 444, 346, 1),
    ]  # fmt: skip
    assert [row.orders.sent for row in result.days] == [2, 1]
    assert [[(each.state, each.code) for each in row.codes] for row in result.days] == [
        [("partly_filled", "no more volume")], [],
    ]  # fmt: skip
    assert [row.signals.entries for row in result.days] == [2, 0]


def test_owners_have_what_was_theirs_from_its_first_moment_to_its_last_and_cash_is_nobodys():
    result = rolled(day())
    long = (2, 1, 1, LONG, 0, 444, 346, 1)
    short = (2, 1, 0, SHORT, 0, 0, 0, 0)
    left, stopped = 11 * HOUR + 80, 12 * HOUR + 5 * S

    assert [figures(row) for row in result.strategies] == [
        ("strategy", "s1", 20, left, *long), ("strategy", "s2", HOUR + 9, stopped, *short),
    ]  # fmt: skip
    assert [figures(row) for row in result.symbols] == [
        ("symbol", "EURUSD", 18, left, *long), ("symbol", "USDJPY", HOUR + 9, stopped, *short),
    ]  # fmt: skip
    assert [figures(row) for row in result.models] == [
        ("model", RIDGE, 18, left, *long), ("model", OTHER, HOUR + 5, stopped, *short),
    ]  # fmt: skip
    assert [row.signals for row in result.models] == [Signals(forecasts=1, entries=1, ordered=1, traded=1)] * 2
    assert [row.signals.forecasts for row in result.strategies] == [0, 0], "a forecast is no strategy's"
    assert [row.orders.sent for row in result.strategies] == [2, 1]
    assert [len(row.levels) for row in result.models] == [0, 1]
    assert all((row.limits, row.service) == ((), Service()) for row in (*result.strategies, *result.symbols))


def test_the_journal_is_told_as_a_span_whose_money_adds_up():
    result = rolled(day())
    check = Conservation(
        balance_start=1_000_000, balance_end=999_195, balance_change=-805, booked=-5_805, moved=5_000,
        commission_booked=-200, commission_told=-200, swap_booked=-58, swap_told=-58, flat=True, exact=True,
    )  # fmt: skip

    assert result.runs == (
        RunSpan(run_id="h", mode="demo", account_id="a", ts_first_ns=T, ts_last_ns=T + 13 * HOUR + 1, resumes=0,
                conservation=check, unexplained=0),
    )  # fmt: skip
    assert result.exact
    assert (result.currency, result.money_digits, result.pips_e5) == ("USD", 2, {"EURUSD": 10, "USDJPY": 1_000})
    assert [each.position_id for each in result.trades] == ["P1", "P2"]
    assert [each.ts_ns - T for each in result.executions] == [25, HOUR + 10, 11 * HOUR + 4, 12 * HOUR + 5 * S]
    assert result.total.service == Service(expected_ns=13 * HOUR + 1, up_ns=13 * HOUR + 1)


def test_one_missed_penny_anywhere_makes_it_inexact():
    told = day()
    place = next(at for at, each in enumerate(told) if getattr(each, "deal_id", "") == "d5")
    told[place] = msgspec.structs.replace(told[place], gross_profit=361)

    assert not rolled(told).exact


def test_a_day_with_prices_and_nothing_else_is_a_day():
    result = rolled([run(), snapshot(), quote(1), quote(ROLLOVER - 1), quote(DAY), quote(3 * DAY)])

    assert [(row.key, row.ts_from_ns - T, row.ts_to_ns - T) for row in result.days] == [
        ("2018-05-01", ROLLOVER - DAY, ROLLOVER), ("2018-05-02", ROLLOVER, ROLLOVER + DAY),
        ("2018-05-04", ROLLOVER + 2 * DAY, ROLLOVER + 3 * DAY),
    ]  # fmt: skip
    assert result.total.days == 3
    turn = rolled([run(), snapshot(), quote(1), quote(ROLLOVER)])
    assert [row.key for row in turn.days] == ["2018-05-01", "2018-05-02"]


@pytest.mark.parametrize(("bid", "ask"), [(0, 10), (110_010, 110_009), (-5, 10)])
def test_a_price_that_is_none_is_passed_over(bid, ask):
    told = [run(), snapshot(), quote(1), quote(DAY, bid, ask)]

    assert [row.key for row in rolled(told).days] == ["2018-05-01"]
    assert [row.key for row in rolled([*told, quote(DAY, 110_000, 110_000)]).days] == ["2018-05-01", "2018-05-02"]
    assert len(rolled([*told, quote(DAY, 1, 2)]).days) == 2


def test_signals_are_counted_by_what_they_were_and_whose():
    result = rolled([
        run(), snapshot(), quote(1), forecast("q1", 2), forecast("q1", 3, OTHER, active=False), forecast("q2", 4),
        missing("q3", 5), missing("q4", 6, OTHER), missing("q5", 7, OTHER), intent("i1", 8),
        intent("i2", 9, action="exit"), intent("i3", 10, strategy="s2"), forecast("q9", DAY),
    ])  # fmt: skip

    assert result.total.signals == Signals(forecasts=3, forecasts_missed=3, entries=2)
    assert [row.signals.forecasts for row in result.days] == [2, 1]
    assert (result.total.ts_from_ns, result.total.ts_to_ns) == (T + ROLLOVER - DAY, T + ROLLOVER + DAY)


def test_forecasts_that_are_told_twice_or_do_not_trade_count_as_they_should():
    def resolved(at, as_of, *, active=True, symbol="EURUSD"):
        band = m.Band(level_ppm=900_000, lower_e5=109_950, upper_e5=110_050, bounded=True)
        return m.ForecastResolved(symbol=symbol, model_id=RIDGE, active=active, horizon=1, as_of_ns=T + as_of,
                                  close_e5=110_000, point_e5=110_000, sigma_e5=30, actual_e5=110_010, bands=(band,),
                                  covered=(True,), ts_init_ns=T + at)  # fmt: skip

    told = resolved(HOUR, 0)
    result = rolled([run(), snapshot(), quote(1), told, told, resolved(2 * HOUR, HOUR), intent("i1", 3, model=OTHER),
                     refused("i1", 4), deal("d1", 5, SELL, 1, 110_000, closing=True)])  # fmt: skip
    (row,) = result.total.coverage

    assert [each.key for each in result.models] == [RIDGE, OTHER, "(none)"]
    assert [each.coverage for each in result.models] == [(row,), (), ()]
    assert [(each.key, each.coverage) for each in result.strategies] == [("s1", ()), ("(none)", ())]
    assert (row.n, row.covered, row.symbol, row.model_id, row.level) == (2, 2, "EURUSD", RIDGE, 0.9)
    assert row.mean_width_pips == 10.0


def test_what_blocked_most_signals_comes_first_with_its_newest_words():
    told = [refused("i1", 1, "exposure"), refused("i2", 2, "spread", "1", "5"), refused("i3", 3, "spread", "1", "6")]
    result = rolled([run(), snapshot(), quote(1), *told, order("c1", 4), deal("d1", 5, BUY, 1, 110_010, order="c1")])

    assert result.total.missed == (
        Count(kind="refused", key="spread", n=2, example="6 against 1"),
        Count(kind="refused", key="exposure", n=1, example="2.0 pips against 1.0 pips"),
    )
    assert result.total.signals.traded == 1


def test_a_table_adds_up_where_its_sums_are_right_and_every_row_ties_out():
    total = rolled(day()).total
    odd = msgspec.structs.replace(total, money=Money(net=1))
    minus = msgspec.structs.replace(total, money=Money(net=-1))

    assert adds_up((total,), total)
    assert not adds_up((total, total), total)
    assert not adds_up((), total)
    assert not adds_up((total, odd, minus), total)


def test_the_newest_missed_signals_are_listed_and_all_are_counted():
    told = [refused(f"i{number}", number) for number in range(1, MISSED_LISTED + 3)]
    result = rolled([run(), snapshot(), *told])

    assert len(result.missed) == MISSED_LISTED
    assert (result.missed[0].intent_id, result.missed[-1].intent_id) == ("i3", f"i{MISSED_LISTED + 2}")
    assert result.total.missed[0].n == MISSED_LISTED + 2


# --- a window of days ----------------------------------------------------------------------------------------------


def test_a_window_holds_whole_trading_days_and_the_journals_stay_whole():
    roll = Roll()
    for entry in numbered(day()):
        roll.add(*entry)
    first, second = roll.result(T, T + ROLLOVER), roll.result(T + ROLLOVER, T + ROLLOVER + 1)

    assert [row.key for row in first.days] == ["2018-05-01"]
    assert [row.key for row in second.days] == ["2018-05-02"]
    assert [row.key for row in roll.result(T, T + ROLLOVER + 1).days] == ["2018-05-01", "2018-05-02"]
    assert [row.key for row in roll.result(T + ROLLOVER - 1).days] == ["2018-05-01", "2018-05-02"]
    assert [row.key for row in roll.result(to_ns=T + ROLLOVER).days] == ["2018-05-01"]
    assert (first.total.days, first.total.money, second.total.money) == (1, Money(), TOTAL)
    assert [len(each.executions) for each in (first, second)] == [2, 2]
    assert (first.trades, len(second.trades), len(second.hits)) == ((), 2, 1)
    assert [figures(row)[:6] for row in first.strategies] == [
        ("strategy", "s1", 20, 25, 1, 0), ("strategy", "s2", HOUR + 9, HOUR + 10, 1, 0),
    ]  # fmt: skip
    assert first.runs == second.runs == roll.result().runs
    assert first.total.service.expected_ns == ROLLOVER
    assert second.total.service.expected_ns == 4 * HOUR + 1
    assert roll.result(T + 9 * DAY).total.days == 0
    assert figures(roll.result(T + 9 * DAY).total)[2:5] == (-T, -T, 0)


def test_a_window_holds_the_outages_that_touch_it():
    def link(at, *, up):
        return m.LinkChanged(up=up, reason="lost", ts_init_ns=T + at)

    roll = Roll()
    story = [run(), snapshot(), quote(1), link(HOUR, up=False), link(2 * HOUR, up=True),
             link(ROLLOVER - HOUR, up=False), link(ROLLOVER + HOUR, up=True), quote(ROLLOVER + 2 * HOUR)]  # fmt: skip
    for entry in numbered(story):
        roll.add(*entry)
    early = Outage(kind="link", subject="", ts_from_ns=T + HOUR, ts_to_ns=T + 2 * HOUR, reason="lost")
    over = Outage(kind="link", subject="", ts_from_ns=T + ROLLOVER - HOUR, ts_to_ns=T + ROLLOVER + HOUR, reason="lost")

    assert roll.result().outages == (early, over)
    assert roll.result(T, T + ROLLOVER).outages == (early, over)
    assert roll.result(T + ROLLOVER).outages == (over,)
    assert roll.result(T + 2 * HOUR).outages == (over,), "one that ended where the window begins is none of it"
    assert roll.result(to_ns=T + HOUR).outages == ()
    assert roll.result(to_ns=T + HOUR + 1).outages == (early,)
    assert [row.service.link_down_ns for row in roll.result().days] == [2 * HOUR, HOUR]


# --- journals that follow one another ------------------------------------------------------------------------------

FIRST = [
    run(), snapshot(), quote(1), intent("i-c1", 2), order("c1", 3, stop=109_900), accepted("c1", 4),
    deal("d1", 10, BUY, 1_000_000, 110_010, order="c1", bid=110_000, ask=110_010, left=1_000_000, commission=-31),
    levels(20, 109_900), swap(30, -10), quote(40, 109_890, 109_900),
]  # fmt: skip


def second(*, balance=1_000_000, positions=None, **started):
    state = held(stop=109_900, price=110_010, commission=-31, swap=-10)
    return [
        run(DAY, **{"run_id": "h2"} | started), bar(DAY), snapshot(DAY + 5, balance, (state,) if positions is None else
                                                                   positions),
        quote(DAY + 6, 110_050, 110_060), bar(DAY + HOUR), swap(DAY + HOUR + 1, -4),
    ]  # fmt: skip


ENDED = deal("d9", DAY + 2 * HOUR, SELL, 1_000_000, 110_050, closing=True, cause="stop_loss", level_e5=110_055,
             bid=110_050, ask=110_060, commission=-30, gross_profit=400, booked_commission=-61, booked_swap=-14,
             balance=1_000_325)  # fmt: skip


def test_a_position_goes_on_in_the_next_journal_with_all_that_is_known_of_it():
    result = rolled(FIRST, [*second(), ENDED])
    (trade,) = result.trades

    assert (trade.number, trade.strategy, trade.model_id, trade.client_order_id) == (1, "s1", RIDGE, "c1")
    assert (trade.ts_open_ns, trade.ts_close_ns, trade.holding_bars) == (T + 10, T + DAY + 2 * HOUR, 1)
    assert (trade.entry_e5, trade.exit_e5, trade.protect_ns) == (110_010.0, 110_050.0, 5)
    assert trade.money == Money(
        before_costs=400 + 50 + 50 + 20 + 50, spread=-100, slippage=-20 - 50, gross=400, commission=-61, swap=-14,
        net=325, delay=-20 - 50, impact=0,
    )  # fmt: skip
    assert result.exact
    check = {"booked": 0, "moved": 0, "commission_booked": 0, "swap_booked": 0, "exact": True}
    assert [msgspec.structs.asdict(span.conservation) for span in result.runs] == [
        {"balance_start": 1_000_000, "balance_end": 1_000_000, "balance_change": 0, "commission_told": -31,
         "swap_told": -10, "flat": False} | check,
        {"balance_start": 1_000_000, "balance_end": 1_000_325, "balance_change": 325, "commission_told": -61,
         "swap_told": -14, "flat": True} | check | {"booked": 325, "commission_booked": -61, "swap_booked": -14},
    ]  # fmt: skip
    assert [(span.run_id, span.ts_first_ns - T, span.ts_last_ns - T) for span in result.runs] == [
        ("h", 0, 40), ("h2", DAY, DAY + 2 * HOUR + 5),
    ]  # fmt: skip
    assert [(hit.position_id, hit.late_ns, hit.missed) for hit in result.hits] == [("P1", DAY + 2 * HOUR - 40, False)]


def test_a_position_still_open_is_told_once_by_the_journal_that_holds_it_last():
    result = rolled(FIRST, second())
    (trade,) = result.trades

    assert (trade.ts_close_ns, trade.holding_bars, trade.client_order_id, trade.filled_e2) == (0, 1, "c1", 1_000_000)
    assert [(hit.ts_ns - T, hit.late_ns) for hit in result.hits] == [(40, DAY + HOUR + 4 - 40)]
    assert len(rolled(FIRST, second(), second(run_id="h3")).trades) == 1


def test_more_positions_are_numbered_on_and_charges_add_up():
    states = (
        held(stop=109_900, price=110_010, commission=-31, swap=-10),
        held("P2", "EURUSD", SELL, 500_000, 110_100, commission=-8, swap=2),
    )
    first = [*FIRST, order("c2", 50, SELL), deal("d2", 60, SELL, 500_000, 110_100, position="P2", order="c2",
                                                 left=500_000, commission=-8)]  # fmt: skip
    result = rolled(first, second(positions=states))

    assert [(each.number, each.position_id, each.client_order_id) for each in result.trades] == [
        (1, "P1", "c1"), (2, "P2", "c2"),
    ]  # fmt: skip
    check = result.runs[1].conservation
    assert (check.commission_told, check.swap_told) == (-39, -12)


@pytest.mark.parametrize(
    ("modes", "carried"),
    [(("demo", "demo"), True), (("live", "live"), True), (("paper", "paper"), False), (("demo", "live"), False)],
)
def test_only_a_journal_of_the_same_account_at_a_venue_goes_on_with_what_was_open(modes, carried):
    first = [run(mode=modes[0]), *FIRST[1:]]
    result = rolled(first, [*second(mode=modes[1], balance=1_000_007), ENDED])
    ended = next(trade for trade in result.trades if trade.ts_close_ns)

    assert ended.client_order_id == ("c1" if carried else "")
    assert len(result.trades) == (1 if carried else 2)
    assert [span.unexplained for span in result.runs] == [0, 7 if carried else 0]
    assert [(each.kind, each.reason) for each in result.outages] == (
        [("process", "between two runs")] if carried else []
    )


def test_another_account_explains_nothing_and_what_came_between_does():
    def unexplained(account, balance):
        other = [run(DAY, run_id="h2"), snapshot(DAY + 5, balance, account=account)]
        return rolled([*FIRST, moved("m", 50, 20, 1_000_020)], other).runs[1].unexplained

    assert unexplained("a", 1_000_020) == 0
    assert unexplained("a", 1_000_000) == -20
    assert unexplained("b", 5) == 0


def test_later_snapshots_and_resumptions_of_one_journal_are_counted():
    resumed = m.RunResumed(reason="continued", ts_init_ns=T + HOUR)
    result = rolled([*FIRST, resumed, snapshot(HOUR + 1, account="b"), resumed])

    assert (result.runs[0].resumes, result.runs[0].account_id, result.runs[0].conservation.exact) == (2, "a", True)
    assert not rolled([*FIRST, snapshot(HOUR, 1_000_001)]).exact


def test_what_cannot_be_rolled_up_is_said_in_one_sentence():
    def said(*journals):
        with pytest.raises(DataError) as refusal:
            rolled(*journals)
        return str(refusal.value)

    assert said() == "nothing to roll up: no journal was given"
    assert said([snapshot()]) == "record 1 belongs to no run; a journal begins with RunStarted"
    assert said([run()], [run(run_id="x", currency="EUR")]) == (
        "record 1: run x counts in ('EUR', 2), the one before in ('USD', 2)"
    )
    assert said([run()], [run(run_id="x", money_digits=3)]) == (
        "record 1: run x counts in ('USD', 3), the one before in ('USD', 2)"
    )
    with pytest.raises(DataError, match=r"^no journal was begun$"):
        _ = Roll().ledger
    roll = Roll()
    roll.add(1, run())
    roll.add(2, snapshot())
    assert roll.ledger.balance == 1_000_000


def test_the_pips_of_all_journals_are_known():
    gold = msgspec.structs.replace(default_instrument("EURUSD"), symbol="XAUUSD", base="XAU", pip_e5=10_000)

    assert rolled([run()], [run(1, instruments=(gold,))]).pips_e5 == {"EURUSD": 10, "USDJPY": 1_000, "XAUUSD": 10_000}
