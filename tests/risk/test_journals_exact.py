"""Several journals in one roll-up, and what happens where one day ends and the next begins."""

import json

from bus import messages as m
from risk.adherence.records import Money
from risk.adherence.rolled import Service
from risk.adherence.rollup import Roll, roll_up
from tests.harness.desk import (
    BUY,
    HOUR,
    RIDGE,
    SELL,
    TOTAL,
    S,
    T,
    day,
    deal,
    forecast,
    numbered,
    order,
    quote,
    run,
    snapshot,
)

ROLLOVER = 9 * HOUR
DAY = 24 * HOUR
RISK = json.dumps({"risk": {"trailing_drawdown_pct_e2": 1_000}})


def rolled(*journals):
    return roll_up([numbered(journal) for journal in journals])


def resolved(at, as_of, actual=110_010):
    band = m.Band(level_ppm=900_000, lower_e5=109_950, upper_e5=110_050, bounded=True)
    return m.ForecastResolved(symbol="EURUSD", model_id=RIDGE, active=True, horizon=1, as_of_ns=T + as_of,
                              close_e5=110_000, point_e5=110_000, sigma_e5=30, actual_e5=actual, bands=(band,),
                              covered=(True,), ts_init_ns=T + at)  # fmt: skip


def paper(messages):
    return [run(mode="paper"), *messages[1:], resolved(13 * HOUR, HOUR)]


def test_what_two_journals_hold_adds_up():
    once, twice = rolled(paper(day())), rolled(paper(day()), paper(day()))

    assert twice.total.money == TOTAL.plus(TOTAL)
    assert (twice.total.moved, twice.total.trades, twice.total.wins) == (10_000, 4, 2)
    assert [2 * row.n for row in once.total.levels] == [row.n for row in twice.total.levels] == [2]
    assert (once.total.signals.forecasts, twice.total.signals.forecasts) == (2, 4)
    assert ([row.n for row in once.total.coverage], [row.n for row in twice.total.coverage]) == ([1], [2])
    assert (len(twice.hits), len(twice.trades), len(twice.executions)) == (2, 4, 8)
    assert [each.ts_ns for each in twice.executions] == sorted(each.ts_ns for each in twice.executions)
    assert once == rolled(paper(day())), "asking changes nothing"
    roll = Roll()
    for journal in (paper(day()), paper(day())):
        for entry in numbered(journal):
            roll.add(*entry)
    assert roll.result() == roll.result() == twice


def test_days_on_which_only_one_of_the_journals_saw_prices_are_days():
    result = rolled([run(mode="paper"), quote(1)], [run(3 * DAY, mode="paper"), quote(3 * DAY)])

    assert [row.key for row in result.days] == ["2018-05-01", "2018-05-04"]


def test_a_journal_without_a_snapshot_is_of_no_account():
    assert rolled([run()]).runs[0].account_id == ""


def test_the_total_covers_the_whole_time_and_a_window_the_days_on_which_something_happened():
    roll = Roll()
    for entry in numbered([run(), snapshot(), quote(1), m.ClockTick(ts_init_ns=T + 2 * DAY)]):
        roll.add(*entry)

    assert roll.result().total.service == Service(expected_ns=2 * DAY, up_ns=2 * DAY)
    assert roll.result(T).total.service == Service(expected_ns=ROLLOVER, up_ns=ROLLOVER)


def test_forecasts_are_nobodys_strategy():
    result = rolled([run(), snapshot(), quote(1), forecast("q1", 2), order("c1", 3),
                     deal("d1", 4, SELL, 1, 110_000, closing=True)])  # fmt: skip

    assert [(row.key, row.signals.forecasts, row.money) for row in result.strategies] == [
        ("s1", 0, Money()), ("(none)", 1, Money()),
    ]  # fmt: skip


def test_drift_of_a_day_is_against_what_was_told_before_it_began():
    before = [resolved(number, number, 110_010 + number % 3) for number in range(1, 31)]
    now = [resolved(ROLLOVER + number, ROLLOVER + number, 110_020 + number % 3) for number in range(31)]
    result = rolled([run(), snapshot(), quote(1), *before, *now])
    first, second = result.days

    assert first.drift == ()
    assert [(row.n_before, row.n) for row in second.drift] == [(30, 31)]
    assert result.total.drift == ()
    assert [(row.kind, row.drift) for row in result.weeks] == [("week", ())]


def test_a_new_day_does_not_inherit_the_price_at_which_the_last_one_ended():
    def by_day(*messages):
        story = [run(config=RISK), snapshot(), quote(1),
                 deal("d1", 2, BUY, 10_000_000, 110_010, order="c1", left=10_000_000, cause="order"),
                 quote(S, 110_110, 110_120), quote(2 * S, 110_060, 110_070), *messages]  # fmt: skip
        return [{row.rule: row.peak for row in each.limits}["trailing_drawdown"] for each in rolled(story).days]

    fall = 100 * 5_000 / 1_010_000
    assert by_day(quote(ROLLOVER, 110_110, 110_120)) == [fall, 0.0]
    assert by_day(m.ClockTick(ts_init_ns=T + ROLLOVER), quote(ROLLOVER + 1, 110_110, 110_120)) == [fall, 0.0]
    assert by_day(quote(ROLLOVER, 110_080, 110_090)) == [fall, 100 * 3_000 / 1_010_000]
