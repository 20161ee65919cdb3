"""A whole day through the core: the same every time, also after a crash at any record, and its money adds up."""

import random
import shutil

import pytest

from bus.errors import InvariantBroken
from bus.messages import (
    Bar,
    CalibratedForecast,
    ForecastMissed,
    ForecastResolved,
    HaltLatched,
    HaltLevel,
    HaltTrading,
    Intent,
    IntentRefused,
    OrderFilled,
    ResumeTrading,
    RunResumed,
    SubmitOrder,
)
from bus.values import NS_PER_HOUR
from daemon.core import Core
from daemon.journal import read, segments, verify
from daemon.replay import replay
from tests.harness.paper import Day, opening, scripted_forecasts, synthetic_quotes

QUOTES = 900


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    day = Day(tmp_path_factory.mktemp("whole") / "journal", synthetic_quotes(QUOTES)).run()
    assert day.reason == "end of data"
    return day


def test_a_day_trades_and_ends_flat(whole):
    fills = whole.messages(OrderFilled)

    assert len([fill for fill in fills if not fill.closing]) >= 10
    assert whole.venue.positions == {} or not whole.venue.positions
    assert not whole.engine.core.book.positions
    assert verify(whole.folder).intact


def test_money_is_conserved_to_the_smallest_unit(whole):
    fills = whole.messages(OrderFilled)
    booked = sum(f.gross_profit + f.booked_commission + f.booked_swap + f.conversion_fee for f in fills)

    assert whole.engine.core.book.balance == 1_000_000 + booked == whole.venue.balance
    assert sum(f.commission for f in fills) == sum(f.booked_commission for f in fills)


def test_two_days_make_the_same_decisions(whole, tmp_path):
    assert Day(tmp_path / "again", synthetic_quotes(QUOTES)).run().decisions == whole.decisions


def test_another_price_makes_another_day(whole, tmp_path):
    assert Day(tmp_path / "other", synthetic_quotes(QUOTES, seed=2)).run().decisions != whole.decisions


def test_a_replay_of_the_journal_is_identical(whole):
    result = replay(whole.folder)

    assert result.identical
    assert result.decisions_sha256 == whole.decisions


def test_every_order_is_in_the_journal_before_the_exchange_sees_it(tmp_path, monkeypatch):
    day = Day(tmp_path / "j", synthetic_quotes(300))
    execute = day.venue.execute

    def checked(command, now_ns):
        assert command in [record.message for record in read(tmp_path / "j")]
        return execute(command, now_ns)

    monkeypatch.setattr(type(day.venue), "execute", lambda _, command, now_ns: checked(command, now_ns))
    day.run()

    assert day.messages(SubmitOrder)


def test_every_order_answers_one_intent_and_every_intent_is_answered(whole):
    intents = [m.intent_id for m in whole.messages(Intent)]
    answers = [m.intent_id for m in whole.messages(SubmitOrder, IntentRefused)]

    assert intents == answers
    assert len(set(intents)) == len(intents)


def test_every_position_is_opened_with_a_stop(whole):
    entries = [order for order in whole.messages(SubmitOrder) if not order.position_id]

    assert entries
    assert all(order.stop_loss_e5 > 0 for order in entries)


def test_intervals_are_held_against_the_close_at_their_horizon(whole):
    bars = {bar.ts_close_ns: bar for bar in whole.messages(Bar)[256:]}
    closes = [bar.close_e5 for bar in bars.values()]
    index = {close_ns: position for position, close_ns in enumerate(bars)}
    resolved = whole.messages(ForecastResolved)

    assert len(resolved) > 500
    for one in resolved:
        actual = closes[index[one.as_of_ns] + one.horizon]
        assert one.actual_e5 == actual
        assert one.covered == tuple(b.lower_e5 <= actual <= b.upper_e5 for b in one.bands)


def crash_and_continue(whole, tmp_path, cut_bytes):
    """Cut the finished journal as a crash would have and run the day again on what is left."""
    folder = tmp_path / "cut"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole.folder, folder)
    path = segments(folder)[-1]
    with path.open("r+b") as file:
        file.truncate(cut_bytes)
    return Day(folder, synthetic_quotes(QUOTES)).run()


def test_a_crash_at_any_byte_of_the_journal_changes_nothing_that_follows(whole, tmp_path):
    size = segments(whole.folder)[-1].stat().st_size
    fills = [fill.deal_id for fill in whole.messages(OrderFilled)]
    source = random.Random(7)
    for _ in range(40):
        day = crash_and_continue(whole, tmp_path, source.randrange(100, size))

        assert day.decisions == whole.decisions
        assert [fill.deal_id for fill in day.messages(OrderFilled)] == fills
        assert replay(day.folder).identical
        assert verify(day.folder).intact


def test_crashing_again_and_again_still_ends_in_the_same_place(whole, tmp_path):
    folder = tmp_path / "j"
    source = random.Random(3)
    for _ in range(6):
        day = Day(folder, synthetic_quotes(QUOTES))
        day.shell.stop("SIGTERM") if source.random() < 0.3 else None
        day.run()
        size = segments(folder)[-1].stat().st_size
        with segments(folder)[-1].open("r+b") as file:
            file.truncate(source.randrange(size // 2, size))
    day = Day(folder, synthetic_quotes(QUOTES)).run()

    assert day.decisions == whole.decisions
    assert day.messages(RunResumed)
    assert replay(folder).identical


def test_a_journal_of_other_data_is_refused_not_continued(whole, tmp_path):
    shutil.copytree(whole.folder, tmp_path / "j")
    with pytest.raises(InvariantBroken, match="was the data or the program changed"):
        Day(tmp_path / "j", synthetic_quotes(QUOTES, seed=5)).run()


def alter(folder, position, old, new):
    """Replace a message in a journal and mend the chain, as a clever forger would."""
    from daemon.journal import Journal

    records = list(read(folder))
    shutil.rmtree(folder)
    journal = Journal(folder)
    for record in records:
        message = new if record.seq == position else record.message
        assert record.seq != position or record.message == old
        journal.append(record.kind, message)
    journal.close()


def test_replay_shows_the_first_difference_with_both_sides(whole, tmp_path):
    import msgspec

    shutil.copytree(whole.folder, tmp_path / "j")
    record = next(r for r in read(whole.folder) if isinstance(r.message, SubmitOrder))
    forged = msgspec.structs.replace(record.message, volume_e2=record.message.volume_e2 * 2)
    alter(tmp_path / "j", record.seq, record.message, forged)

    result = replay(tmp_path / "j")

    assert not result.identical
    assert result.difference.seq == record.seq
    assert result.difference.recorded["volume_e2"] == forged.volume_e2
    assert result.difference.replayed["volume_e2"] == record.message.volume_e2


def test_replay_notices_an_altered_byte_even_where_no_decision_changes(whole, tmp_path):
    shutil.copytree(whole.folder, tmp_path / "j")
    path = segments(tmp_path / "j")[0]
    data = bytearray(path.read_bytes())
    data[-1] ^= 1  # the last digest
    path.write_bytes(data)

    result = replay(tmp_path / "j")

    assert not result.identical
    assert result.difference is None
    assert result.chain.broken_at


def test_a_late_forecast_is_no_forecast_and_is_counted(tmp_path):
    from daemon.paper import Latencies

    slow = Latencies(model_latency_ns=6_000_000_000)
    day = Day(tmp_path / "j", synthetic_quotes(200), latencies=slow).run()

    assert not day.messages(CalibratedForecast)
    assert {missed.reason for missed in day.messages(ForecastMissed)} == {"late"}
    assert day.engine.core.counters.forecasts_late == len(day.messages(ForecastMissed)) > 10


def test_an_operator_s_halt_stops_new_risk_flattens_and_survives_a_restart(tmp_path):
    def run(quotes, told=None):
        day = Day(tmp_path / "j", quotes)
        if told:
            day.shell.tell(told)
        return day

    halt = HaltTrading(level=HaltLevel.FLATTEN, source="file", operator="mo", reason="test", ts_init_ns=0)
    day = run(synthetic_quotes(400), halt).run()

    assert day.messages(HaltLatched)
    assert not [order for order in day.messages(SubmitOrder) if not order.position_id]
    assert {refusal.rule for refusal in day.messages(IntentRefused)}

    # The process dies before the end; the next one still takes no risk.
    with segments(day.folder)[-1].open("r+b") as file:
        file.truncate(segments(day.folder)[-1].stat().st_size // 2)
    again = run(synthetic_quotes(400)).run()
    assert not [order for order in again.messages(SubmitOrder) if not order.position_id]
    assert again.engine.core.halts.level == HaltLevel.FLATTEN


def test_a_lifted_halt_lets_trading_go_on(tmp_path):
    day = Day(tmp_path / "j", synthetic_quotes(400))
    day.shell.tell(HaltTrading(level=HaltLevel.NO_NEW_RISK, source="file", operator="mo", reason="t", ts_init_ns=0))
    day.shell.tell(ResumeTrading(operator="mo", reason="checked", ts_init_ns=0))
    day.run()

    assert [order for order in day.messages(SubmitOrder) if not order.position_id]


def test_a_forecast_at_t_is_unchanged_by_everything_after_t(whole, tmp_path):
    """Truncate-and-recompute through the whole core: decisions up to t are those of a day that ends at t."""
    for count in (200, 451, 700):
        day = Day(tmp_path / str(count), synthetic_quotes(count)).run()
        last = day.messages(CalibratedForecast)[-1].as_of_ns
        ours = [m for m in day.messages(CalibratedForecast) if m.as_of_ns < last]
        theirs = [m for m in whole.messages(CalibratedForecast) if m.as_of_ns < last]
        assert ours == theirs


@pytest.mark.parametrize(
    "kind", [Intent, IntentRefused, SubmitOrder, ForecastResolved, HaltLatched, CalibratedForecast]
)
def test_messages_that_only_the_core_says_may_not_enter_it(whole, kind):
    core = Core()
    for seq, message in enumerate(opening(), 1):
        core.process(seq, message)
    said = [*whole.messages(kind), HaltLatched(level=1, rule="", limit="", value="", reason="", ts_init_ns=0)]
    intruder = next(message for message in [*said, *whole.messages(Intent)] if isinstance(message, kind | Intent))
    with pytest.raises(InvariantBroken, match="something the core says"):
        core.process(999, intruder)


def test_a_core_that_was_not_started_refuses_everything():
    quote = next(synthetic_quotes(1))
    with pytest.raises(InvariantBroken, match="starts with RunStarted"):
        Core().process(1, quote)


def test_two_symbols_share_one_day(tmp_path):
    import heapq

    quotes = heapq.merge(
        synthetic_quotes(300), synthetic_quotes(300, symbol="GBPUSD", seed=9), key=lambda quote: quote.ts_init_ns
    )
    day = Day(tmp_path / "j", quotes, symbols=("EURUSD", "GBPUSD"), ask=scripted_forecasts).run()

    assert {order.symbol for order in day.messages(SubmitOrder)} == {"EURUSD", "GBPUSD"}
    assert replay(day.folder).identical


def test_bars_are_the_periods_of_the_quotes(whole):
    bars = whole.messages(Bar)[256:]

    assert all(bar.ts_open_ns % NS_PER_HOUR == 0 and bar.quotes == 4 for bar in bars)
    assert len(bars) == QUOTES // 4
