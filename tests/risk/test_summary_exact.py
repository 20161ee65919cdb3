"""What a summary tells besides money: bars and intervals for plots, patterns, regimes, misses and counts."""

import msgspec
import pytest

from bus import messages as m
from risk.adherence import PLOTTED_BARS, Adherence, Summary, fold
from risk.adherence.records import BarPoint, Conservation, Count, Counts, IntervalPoint, Money, Spread, UnusualBar
from tests.harness.desk import (
    BUY,
    HOUR,
    OTHER,
    RIDGE,
    SELL,
    S,
    T,
    bar,
    day,
    deal,
    forecast,
    intent,
    levels,
    numbered,
    order,
    quote,
    refused,
    run,
    snapshot,
)


def told(*messages):
    return fold(numbered([run(), snapshot(), *messages]))


# --- for plots -----------------------------------------------------------------------------------------------------


def test_bars_are_kept_from_the_first_quote_on_the_newest_400_of_each_symbol():
    bars = [bar(number * HOUR, 110_000 + number) for number in range(PLOTTED_BARS + 3)]
    summary = told(bar(-HOUR), quote(1), *bars, bar(HOUR, 10_900_000, "USDJPY"))

    assert list(summary.bars) == ["EURUSD"], "no price of the other came"
    assert len(summary.bars["EURUSD"]) == PLOTTED_BARS
    assert summary.bars["EURUSD"][0] == BarPoint(ts_close_ns=T + 3 * HOUR, high_e5=110_010, low_e5=109_998,
                                                 close_e5=110_003)  # fmt: skip
    assert summary.bars["EURUSD"][-1].close_e5 == 110_002 + PLOTTED_BARS
    assert summary.counts.bars == PLOTTED_BARS + 3
    assert summary.ts_last_ns == T + (PLOTTED_BARS + 2) * HOUR
    both = told(quote(1, symbol="USDJPY"), quote(1), bar(1, 1, "USDJPY"), bar(2))
    assert list(both.bars) == ["EURUSD", "USDJPY"]


def view(horizon, *bands, point=110_000):
    told = tuple(m.Band(level_ppm=level, lower_e5=point - half, upper_e5=point + half, bounded=bounded)
                 for level, half, bounded in bands)  # fmt: skip
    return m.CalibratedHorizon(horizon=horizon, point_e5=point, sigma_e5=30, bands=told)


def test_the_widest_bounded_interval_of_the_model_that_trades_is_kept_for_every_horizon():
    wide, narrow, loose = (900_000, 50, True), (500_000, 20, True), (900_000, 50, False)
    views = (view(1, wide, narrow), view(4, loose, narrow), view(4, point=110_007), view(4, wide, point=110_007))
    summary = told(forecast("q1", 5, as_of=2, horizons=views), forecast("q1", 6, OTHER, active=False, horizons=views),
                   forecast("q2", 7, as_of=HOUR, horizons=views[:1], symbol="AUDUSD"),
                   forecast("q3", 8, as_of=2, horizons=views[3:]))  # fmt: skip

    def point(at, horizon, middle=110_000):
        return IntervalPoint(ts_ns=T + at, horizon=horizon, level=0.9, point_e5=middle, lower_e5=middle - 50,
                             upper_e5=middle + 50)  # fmt: skip

    assert summary.intervals == {
        "AUDUSD": (point(2 * HOUR, 1),),
        "EURUSD": (point(2 + HOUR, 1), point(2 + 4 * HOUR, 4, 110_007), point(2 + 4 * HOUR, 4, 110_007)),
    }
    assert list(summary.intervals) == ["AUDUSD", "EURUSD"]
    assert summary.counts.forecasts == 4
    assert fold(numbered([forecast("q1", 5, horizons=views)])).intervals == {}, "no run says how long a bar is"


@pytest.mark.parametrize(("horizons", "kept"), [((1, 4), 2 * PLOTTED_BARS), ((1,), PLOTTED_BARS), ((), PLOTTED_BARS)])
def test_the_newest_intervals_are_kept_400_for_each_horizon_of_the_run(horizons, kept):
    many = tuple(view(1, (900_000, 50, True), point=110_000 + number) for number in range(2 * PLOTTED_BARS + 5))
    summary = fold(numbered([run(horizons=horizons), forecast("q1", 5, horizons=many)]))

    assert len(summary.intervals["EURUSD"]) == kept
    assert summary.intervals["EURUSD"][-1].point_e5 == 110_004 + 2 * PLOTTED_BARS


# --- what models saw -----------------------------------------------------------------------------------------------


def pattern(at, name, model="rules", *, confidence=0, threshold=0, percentile=0.0, symbol="EURUSD"):
    return m.PatternSeen(request_id="q", symbol=symbol, pattern=name, model_id=model, as_of_ns=T + at, error_ppm=0,
                         threshold_ppm=threshold, percentile=percentile, candles=(0,), ts_init_ns=T + at + 1,
                         confidence_ppm=confidence)  # fmt: skip


def test_patterns_are_counted_by_model_and_name_with_their_newest_in_words_most_frequent_first():
    summary = told(
        pattern(1, "engulfing", confidence=804_000), pattern(2, "doji", confidence=500_000),
        pattern(3, "doji", confidence=631_000, symbol="USDJPY"),
        pattern(4, "unusual", "auto", threshold=80_000, percentile=99.44),
        pattern(5, "doji", "other", confidence=505_010),
    )  # fmt: skip

    assert summary.pattern_counts == (
        Count(kind="rules", key="doji", n=2, example="USDJPY, 63 % clear"),
        Count(kind="auto", key="unusual", n=1, example="EURUSD, percentile 99.4"),
        Count(kind="other", key="doji", n=1, example="EURUSD, 51 % clear"),
        Count(kind="rules", key="engulfing", n=1, example="EURUSD, 80 % clear"),
    )
    assert summary.counts.patterns == 5
    assert summary.unusual == (UnusualBar(ts_ns=T + 4, symbol="EURUSD", model_id="auto", percentile=99.44),)
    many = told(*(pattern(at, "unusual", threshold=1, percentile=50.0) for at in range(PLOTTED_BARS + 2)))
    assert (len(many.unusual), many.unusual[0].ts_ns) == (PLOTTED_BARS, T + 2)


def test_regimes_are_counted_by_bar_with_when_they_were_last_entered():
    def regime(at, state, before, symbol="EURUSD"):
        return m.RegimeSeen(request_id="q", symbol=symbol, model_id="hmm", as_of_ns=T + at, regime=state, before=before,
                            probabilities_ppm=(1, 2, 3), ts_init_ns=T + at)  # fmt: skip

    summary = told(regime(0, 1, 1), regime(HOUR, 1, 1), regime(2 * HOUR, 0, 1), regime(3 * HOUR, 1, 0),
                   regime(4 * HOUR, 1, 1), regime(5 * HOUR, 2, 2, "AUDUSD"))  # fmt: skip
    assert summary.regime_counts == (
        Count(kind="hmm, AUDUSD", key="state 2 of 0 to 2", n=1, example="entered 2018-05-01 17:00 UTC"),
        Count(kind="hmm, EURUSD", key="state 0 of 0 to 2", n=1, example="entered 2018-05-01 14:00 UTC"),
        Count(kind="hmm, EURUSD", key="state 1 of 0 to 2", n=4, example="entered 2018-05-01 15:00 UTC"),
    )


def test_forecasts_that_did_not_come_are_counted_by_reason_and_model():
    def missed(model, reason, detail):
        return m.ForecastMissed(request_id="q", symbol="EURUSD", model_id=model, reason=reason, detail=detail,
                                ts_init_ns=T + 1)  # fmt: skip

    summary = told(missed(RIDGE, "late", "1 ms"), missed("", "unavailable", "down"), missed(RIDGE, "late", "2 ms"),
                   missed(OTHER, "error", "x"))  # fmt: skip
    assert summary.missed_counts == (
        Count(kind=OTHER, key="error", n=1, example="x"), Count(kind=RIDGE, key="late", n=2, example="2 ms"),
        Count(kind="(none)", key="unavailable", n=1, example="down"),
    )  # fmt: skip
    assert summary.counts.missed == 4
    assert [(each.rule, each.value) for each in summary.findings] == [("forecasts_came", "100.0 %")]


def test_what_was_refused_most_comes_first_with_its_newest_words():
    summary = told(refused("i1", 1, "spread"), refused("i2", 2, "exposure"), refused("i3", 3, "exposure", "", "gone"))

    assert summary.refusal_counts == (
        Count(kind="refused", key="exposure", n=2, example="gone"),
        Count(kind="refused", key="spread", n=1, example="2.0 pips against 1.0 pips"),
    )
    assert summary.counts.refused == 3
    again = told(refused("i1", 1), refused("i1", 2))
    assert (again.counts.refused, again.refusal_counts[0].n) == (1, 2)


# --- the whole -----------------------------------------------------------------------------------------------------


def test_of_nothing_nothing_is_told():
    nothing = Adherence().summary()

    zero = dict.fromkeys(Counts.__struct_fields__, 0)
    assert nothing.counts == Counts(**zero)
    assert (nothing.run_id, nothing.mode, nothing.currency, nothing.money_digits) == ("", "", "", 2)
    assert (nothing.period_ns, nothing.instruments, nothing.config_json) == (0, (), "")
    assert (nothing.ts_first_ns, nothing.ts_last_ns, nothing.equity_start, nothing.equity_end) == (0, 0, 0, 0)
    assert (nothing.max_drawdown, nothing.max_drawdown_pct) == (0, 0.0)
    assert (nothing.total, nothing.slippage["entry_cost_e5"], nothing.delays["fill_ns"]) == (
        Money(),
        Spread(),
        Spread(),
    )
    assert nothing.conservation == Conservation(
        balance_start=0, balance_end=0, balance_change=0, booked=0, moved=0, commission_booked=0, commission_told=0,
        swap_booked=0, swap_told=0, flat=True, exact=True,
    )  # fmt: skip


def test_the_curve_of_an_account_with_nothing_or_next_to_nothing_divides_by_nothing():
    def curve(balance, *messages):
        summary = fold(numbered([run(), snapshot(0, balance), quote(1), bar(2), *messages]))
        return (summary.equity[-1].drawdown, summary.max_drawdown, summary.max_drawdown_pct)

    costs = deal("d1", 3, BUY, 1, 110_010, left=1, commission=-1)
    assert curve(0) == (0, 0, 0.0)
    assert curve(0, costs, bar(4)) == (-1, -1, 0.0)
    assert curve(1, costs, bar(4)) == (-1, -1, -100.0)
    assert curve(4, costs, bar(4)) == (-1, -1, -25.0)


def test_the_end_is_told_in_the_digits_and_pips_of_the_run_and_0_where_no_message_had_a_moment():
    assert told(quote(1)).money_digits == 2
    assert fold(numbered([run(money_digits=3)])).money_digits == 3
    assert [(each.rule, each.subject, each.value) for each in fold(numbered(day())).findings] == [
        ("stop_slippage", "trade 2", "-2.0 pips"), ("size_reached", "trade 1", "1"),
    ]  # fmt: skip
    assert fold(numbered([bar(1)])).ts_last_ns == 0
    lost = m.OrderUnknown(client_order_id="c1", symbol="EURUSD", ts_init_ns=T + 3)
    assert [each.rule for each in told(intent("i-c1", 1), order("c1", 2), lost).findings] == ["outcome_known"]


def test_messages_without_a_bearing_are_counted_and_the_last_of_any_kind_is_the_end():
    summary = told(quote(9 * S), m.ClockTick(ts_init_ns=T + 7), m.ClockTick(ts_init_ns=T + 5))

    assert (summary.counts.messages, summary.counts.quotes) == (5, 1)
    assert (summary.ts_first_ns, summary.ts_last_ns) == (T, T + 7)
    twice = fold(numbered([run(), run(HOUR, run_id="other")]))
    assert (twice.run_id, twice.ts_first_ns, twice.ts_last_ns) == ("h", T, T + HOUR)


def test_a_summary_may_be_asked_at_any_time_and_again_later():
    adherence, messages = Adherence(), numbered(day())
    for entry in messages[:20]:
        adherence.add(*entry)
    half = adherence.summary()
    assert half == adherence.summary() == fold(messages[:20])
    assert [trade.ts_close_ns for trade in half.trades] == [0, 0]
    assert half.counts.open_positions == 2
    for entry in messages[20:]:
        adherence.add(*entry)
    assert adherence.summary() == fold(messages)
    assert msgspec.json.decode(msgspec.json.encode(half), type=Summary) == half


def test_trades_are_listed_in_the_order_in_which_they_began_and_halts_and_differences_are_found():
    story = [
        quote(1), order("c1", 2), deal("d1", 3, BUY, 1_000_000, 110_010, order="c1", left=1_000_000),
        levels(4, 109_900), order("c2", 5, SELL),
        deal("d2", 6, SELL, 1_000_000, 110_000, order="c2", left=1_000_000, position="P2"),
        deal("d3", 9, BUY, 1_000_000, 110_010, position="P2", closing=True, gross_profit=-100, balance=999_900,
             cause="take_profit", level_e5=110_000),
        m.HaltLatched(level=m.HaltLevel.FLATTEN, rule="operator", limit="", value="", reason="", ts_init_ns=T + 10),
        m.ReconcileFound(kind="position", subject="P9", ours="1", theirs="none", ts_init_ns=T + 11),
        intent("i-c3", 12), refused("i-c3", 13), order("c3", 14),
    ]  # fmt: skip
    summary = told(*story)

    assert [(trade.number, trade.position_id) for trade in summary.trades] == [(1, "P1"), (2, "P2")]
    assert [(each.severity, each.rule, each.subject) for each in summary.findings] == [
        ("critical", "order_has_intent", "c1"), ("critical", "order_has_intent", "c2"),
        ("critical", "refusal_obeyed", "c3"), ("critical", "protected", "trade 2"),
        ("critical", "reconcile_position", "P9"), ("warning", "order_answered", "c3"),
        ("warning", "target_kept", "trade 2"), ("warning", "halt_operator", "flatten"),
        ("info", "flat_at_end", "account"),
    ]  # fmt: skip
    assert [each.value for each in summary.findings if each.rule == "target_kept"] == ["-1.0 pips"]
    assert summary.slippage["exit_cost_e5"].n == 1, "of closed trades alone"
    assert summary.slippage["entry_cost_e5"].n == 2
    assert summary.verdict.trades == 1
