"""The projection that the view, the page and the metrics show."""

import sys

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus import messages as m
from bus.messages import VenueFact
from bus.values import NS_PER_HOUR, Side
from daemon.snapshot import OTHER
from daemon.status import EQUITY_POINTS, LARGEST_TABLE, Status
from risk.book import Book
from tests.harness import records as r


def told(*messages, status=None):
    status = status or Status()
    for message in (r.run_started(), r.snapshot(), *messages):
        status.apply(message)
    return status


def test_a_journal_adds_up_to_what_happened():
    status = Status()
    for seq, message in r.journal():
        status.watch(seq, message)
    shown = status.snapshot(0.0)

    assert (shown.counts.quotes, shown.counts.bars, shown.counts.forecasts, shown.counts.orders) == (24, 6, 6, 15)
    assert (shown.counts.fills, shown.counts.trades, shown.counts.wins, shown.counts.refused) == (12, 6, 3, 6)
    assert shown.balance == shown.equity == r.BALANCE + shown.net_profit
    assert shown.costs == 6 * 670
    assert shown.refusals == {"exposure": 3, "spread": 3}
    assert [(view.horizon, view.n, view.covered) for view in shown.coverage] == [(1, 6, 4), (4, 6, 4), (24, 6, 4)]
    assert (shown.state, shown.halts, shown.positions) == ("ended", {}, ())
    assert msgspec.json.decode(msgspec.json.encode(shown))["run_id"] == "r1"


def test_equity_is_the_risk_books_equity_at_every_fact():
    status = Status()
    book = Book(currency="USD", money_digits=2, leverage=30, hedged=True, instruments=r.run_started().instruments)
    compared = 0
    for seq, message in r.journal():
        status.watch(seq, message)
        if isinstance(message, m.Quote):
            book.mark(message)
        elif isinstance(message, m.AccountSnapshot):
            book.apply_snapshot(message)
        elif isinstance(message, m.SubmitOrder):
            book.sent(message, message.ts_init_ns)
        elif isinstance(message, VenueFact):
            book.fold(message)
            compared += 1
            assert status.snapshot(0.0).equity == book.equity
    assert compared > 40


def test_equity_follows_the_open_position_and_remembers_its_deepest_fall():
    order = r.submit(1, r.START_NS)
    status = told(r.quote(109_990, 1), r.fill(1, order, 2, 110_000, "p1", r.BALANCE, order.volume_e2))

    # 100 000 EUR x 0.0001 = 10.00 USD a pip, less 3.00 commission for the opening side.
    status.apply(r.quote(110_100, 3))
    assert status.snapshot(0.0).equity == r.BALANCE + 10_000 - 300
    status.apply(r.quote(109_000, 4))
    falling = status.snapshot(0.0)
    assert falling.equity == r.BALANCE - 100_000 - 300
    status.apply(r.quote(110_000, 5))
    recovered = status.snapshot(0.0)
    assert recovered.max_drawdown == falling.drawdown > recovered.drawdown > 0
    assert recovered.positions[0].profit == -300


def test_a_sell_position_is_valued_at_the_ask():
    order = r.submit(1, r.START_NS, side=Side.SELL)
    status = told(r.fill(1, order, 2, 110_000, "p1", r.BALANCE, order.volume_e2), r.quote(109_900, 3, spread_e5=20))

    assert status.snapshot(0.0).positions[0].profit == 8_000 - 300


def test_a_deal_told_twice_is_one_deal():
    order = r.submit(1, r.START_NS)
    fill = r.fill(1, order, 2, 110_000, "p1", r.BALANCE, order.volume_e2)

    shown = told(fill, fill).snapshot(0.0)

    assert (shown.counts.fills, shown.positions[0].volume_e2, shown.positions[0].commission) == (1, 10_000_000, -300)


def test_a_partial_close_leaves_the_rest_open():
    order = r.submit(1, r.START_NS)
    closing = r.submit(2, r.START_NS, side=Side.SELL, position_id="p1")
    part = r.fill(
        2,
        closing,
        3,
        110_000,
        "p1",
        r.BALANCE + 100,
        4_000_000,
        volume_e2=6_000_000,
        gross_profit=100,
        booked_commission=-480,
    )

    shown = told(r.fill(1, order, 2, 110_000, "p1", r.BALANCE, order.volume_e2), part).snapshot(0.0)

    assert (shown.positions[0].volume_e2, shown.positions[0].commission, shown.counts.trades) == (4_000_000, -120, 1)


def test_what_is_open_when_the_process_starts_is_shown():
    held = m.PositionState(
        position_id="p9", symbol=r.SYMBOL, side=Side.BUY, volume_e2=10_000_000, price_e5=110_000, stop_loss_e5=109_000,
        take_profit_e5=0, commission=-300, swap=-50,
    )  # fmt: skip
    status = told(r.snapshot(positions=[held]), r.quote(110_010, 5))

    assert [(each.position_id, each.profit) for each in status.snapshot(0.0).positions] == [("p9", 1000 - 350)]


def test_only_the_model_that_trades_is_shown_and_measured():
    status = told(
        r.calibrated(1, point_e5=111_111, active=False, model_id="walk"),
        r.calibrated(2, point_e5=110_050),
        r.calibrated(3, point_e5=111_111, active=False, model_id="walk"),
        r.resolved(2),
        r.resolved(2, active=False, model_id="walk"),
    )
    shown = status.snapshot(0.0)

    assert [(each.model_id, each.horizons[0].point_e5) for each in shown.forecasts] == [("ridge", 110_050)]
    assert [view.n for view in shown.coverage] == [1, 0, 0]
    assert shown.coverage[0].measured == 1.0
    assert shown.coverage[1].measured is None


def test_bars_from_before_the_first_quote_are_history():
    assert told(r.bar(r.START_NS, 110_000)).counts.bars == 0
    assert told(r.quote(110_000, 1), r.bar(r.START_NS, 110_000)).counts.bars == 1


def test_progress_pace_and_time_left_come_from_the_span():
    status = told()
    status.span(r.START_NS, r.START_NS + 10 * NS_PER_HOUR)
    assert status.snapshot(100.0).progress == 0.0

    status.apply(r.quote(110_000, r.START_NS))
    status.snapshot(100.0)
    status.apply(r.quote(110_000, r.START_NS + 4 * NS_PER_HOUR))
    shown = status.snapshot(102.0)

    assert (shown.progress, shown.pace, shown.left_s) == (0.4, 7200.0, pytest.approx(3.0))
    counted = told(r.quote(110_000, 1), status=Status(progress_total=4, pace="max", run="first")).snapshot(0.0)
    assert (counted.progress, counted.pace_wanted, counted.run_id) == (0.25, "max", "first")


def test_health_is_lost_when_nothing_goes_through_and_comes_back_when_something_does():
    status = told(status=Status(stalled_after_s=10))
    assert status.health(0.0).ok
    assert status.health(9.0).ok
    silent = status.health(11.0)
    assert (silent.ok, silent.reasons) == (False, ("nothing went through the core for 11 s",))

    status.beat()
    assert status.health(12.0).ok
    status.apply(r.quote(110_000, 1))
    assert status.health(30.0).ok
    status.apply(m.RunEnded(reason="done", flatten=True, ts_init_ns=5))
    assert status.health(900.0).ok
    assert status.health(900.0).state == "ended"


def test_a_halt_degrades_health_until_it_is_lifted():
    status = told(
        m.HaltLatched(
            level=m.HaltLevel.FLATTEN, rule="daily_loss", limit="2", value="3", reason="too much", ts_init_ns=1
        )
    )

    assert status.health(0.0).reasons == ("halt daily_loss: flatten: too much",)
    assert status.state == "halted"
    status.apply(m.HaltLifted(operator="ann", reason="seen", ts_init_ns=2))
    assert status.health(0.0).ok


def test_three_missed_forecasts_in_a_row_degrade_health():
    missed = m.ForecastMissed(
        request_id="q", symbol=r.SYMBOL, model_id="", reason="late", detail="", ts_init_ns=1
    )  # fmt: skip
    status = told(missed, missed)
    assert status.health(0.0).ok
    status.apply(missed)
    assert status.health(0.0).reasons == ("3 forecasts missed in a row",)
    status.apply(r.calibrated(2))
    assert status.health(0.0).ok


def test_memory_stays_bounded_whatever_comes():
    status = told(r.quote(110_000, 1))
    for number in range(3 * EQUITY_POINTS):
        status.apply(r.bar(r.START_NS + number * NS_PER_HOUR, 110_000))
        status.apply(r.refused(number, 1, rule=f"rule-{number}"))
    shown = status.snapshot(0.0)

    assert EQUITY_POINTS / 4 < len(shown.equity_line) <= EQUITY_POINTS + 1
    assert len(shown.refusals) == LARGEST_TABLE + 1
    assert sum(shown.refusals.values()) == shown.counts.refused
    assert shown.refusals[OTHER] == 3 * EQUITY_POINTS - LARGEST_TABLE
    assert len(shown.events) <= 12


def test_a_quote_touches_nothing_but_its_counter_and_its_place():
    status = told()
    made = status.progress_made
    calls = []
    sys.setprofile(lambda _, event, arg: calls.append(event) if event == "call" else None)
    try:
        status.watch(1, r.quote(110_000, 1))
    finally:
        sys.setprofile(None)

    assert status.progress_made == made + 1
    assert calls.count("call") <= 2  # r.quote and watch


@settings(max_examples=50, deadline=None)
@given(st.permutations(r.journal(trades=2)))
def test_messages_in_any_order_never_break_the_projection(messages):
    status = Status()
    for seq, message in messages:
        status.watch(seq, message)
        msgspec.json.encode(status.snapshot(float(seq)))


def test_patterns_are_counted_by_name_and_only_clear_ones_get_a_line():
    status = told(
        r.pattern("double_top", confidence_ppm=630_000, direction=-1),
        r.pattern("inside_bar", confidence_ppm=100_000),
        r.pattern("inside_bar", confidence_ppm=499_999),
        r.pattern("unusual_candles", error_ppm=90, threshold_ppm=80, percentile=99.41, model_id="autoencoder-1"),
    )
    shown = status.snapshot(0.0)
    assert shown.patterns == {"inside_bar": 2, "double_top": 1, "unusual_candles": 1}
    assert shown.counts.patterns == 4
    assert [words for _, words in shown.events] == [
        "EURUSD: double_top (63% clear)",
        "EURUSD: unusual_candles (percentile 99.4)",
    ]


def test_a_change_of_regime_gets_a_line_and_a_regime_that_lasts_does_not():
    def seen(before, regime):
        return m.RegimeSeen(
            request_id="r", symbol="EURUSD", model_id="hidden_markov-0a1b", as_of_ns=5, regime=regime, before=before,
            probabilities_ppm=(80_000, 920_000), ts_init_ns=5,
        )  # fmt: skip

    shown = told(seen(0, 0), seen(0, 1), seen(1, 1)).snapshot(0.0)
    assert [words for _, words in shown.events] == ["EURUSD: regime 0 to 1 of 2, 0 the calmest (hidden_markov, 92%)"]


def test_pattern_names_are_counted_in_bounded_memory():
    shown = told(*(r.pattern(f"shape_{n}") for n in range(LARGEST_TABLE + 9))).snapshot(0.0)
    assert len(shown.patterns) == LARGEST_TABLE + 1
    assert shown.patterns[OTHER] == 9
