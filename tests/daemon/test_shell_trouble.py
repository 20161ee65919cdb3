"""Stops, halts, crashes and full disks at awkward moments."""

import errno
import os

import msgspec
import pytest

from bus.messages import (
    ClockTick,
    ForecastMissed,
    HaltLatched,
    HaltLevel,
    HaltTrading,
    HorizonForecast,
    OrderFilled,
    Quote,
    SubmitOrder,
)
from bus.values import NS_PER_S
from daemon.core import CoreSettings, StrategySettings
from daemon.engine import Engine
from daemon.journal import INPUT, Journal, read, segments, verify
from daemon.paper import Latencies
from tests.harness.paper import START_NS, Day, opening, scripted_forecasts, synthetic_quotes

BEAT = CoreSettings(strategies=(StrategySettings(name="metronome", params={"every_quotes": 6}),))


def halt(level=HaltLevel.FLATTEN, at=START_NS):
    return HaltTrading(level=level, source="file", operator="mo", reason="drill", ts_init_ns=at)


def on_disk(folder):
    """What a machine that dies now would find; the writer's buffer is not among it."""
    return [record.message for record in read(folder)]


def test_a_halt_is_on_the_disk_before_anything_else_happens(tmp_path):
    engine = Engine(tmp_path / "j")
    for message in opening():
        engine.step(message)
    engine.step(halt(HaltLevel.NO_NEW_RISK))

    assert isinstance(on_disk(tmp_path / "j")[-1], HaltLatched)


def test_a_halt_that_comes_with_the_stop_is_kept(tmp_path):
    day = Day(tmp_path / "j", synthetic_quotes(100))
    day.shell.tell(halt())
    day.shell.stop("SIGTERM")
    day.run()

    assert day.messages(HaltLatched)
    assert Day(tmp_path / "j", synthetic_quotes(100)).run().engine.core.halts.level == HaltLevel.FLATTEN


class FlattenAt:
    """Quotes, with an operator who flattens after one of them."""

    def __init__(self, number):
        self.number, self.day = number, None

    def __iter__(self):
        for number, quote in enumerate(synthetic_quotes(80)):
            if number == self.number and not self.day.engine.recovering and not self.day.messages(HaltTrading):
                self.day.shell.tell(halt())
            yield quote


@pytest.mark.parametrize("order_latency_ns", [0, 50_000_000, 3 * NS_PER_S])
def test_what_an_operator_set_off_goes_the_same_way_after_a_crash(tmp_path, order_latency_ns):
    def run():
        quotes = FlattenAt(10)
        latencies = Latencies(order_latency_ns=order_latency_ns)
        quotes.day = Day(tmp_path / "j", quotes, settings=BEAT, latencies=latencies)
        return quotes.day.run()

    first = run()
    fills = first.messages(OrderFilled)
    at = next(n for n, m in enumerate(on_disk(first.folder)) if isinstance(m, HaltTrading))
    assert any(fill.closing for fill in fills)
    path = segments(first.folder)[-1]
    whole = path.read_bytes()
    for cut in (len(whole), len(whole) * 3 // 4, len(whole) // 2):
        path.write_bytes(whole[:cut])
        if len(on_disk(first.folder)) > at:
            assert run().messages(OrderFilled) == fills


def test_an_impossible_quote_does_not_end_the_day(tmp_path):
    def quotes():
        for number, quote in enumerate(synthetic_quotes(60)):
            yield quote
            if number % 7 == 3:
                yield msgspec.structs.replace(quote, bid_e5=quote.ask_e5 + 50)
                yield msgspec.structs.replace(quote, bid_e5=0)

    day = Day(tmp_path / "j", quotes(), settings=BEAT).run()

    assert day.reason == "end of data"
    assert day.engine.core.counters.quotes_impossible > 10
    assert day.messages(OrderFilled)


def test_a_forecast_that_the_journal_could_not_give_back_is_a_miss(tmp_path):
    async def ask(request):
        (forecast,) = await scripted_forecasts(request)
        return [
            msgspec.structs.replace(
                forecast, horizons=(HorizonForecast(horizon=1, point_e5=float("nan"), sigma_e5=50.5),)
            )
        ]

    day = Day(tmp_path / "j", synthetic_quotes(40), ask=ask).run()

    assert {missed.reason for missed in day.messages(ForecastMissed)} == {"not_finite"}


def test_time_never_runs_backwards_where_a_quote_is_told_late(tmp_path):
    quotes = [msgspec.structs.replace(q, ts_event_ns=q.ts_event_ns - 16 * 60 * NS_PER_S) for q in synthetic_quotes(40)]
    day = Day(tmp_path / "j", quotes, settings=BEAT).run()

    stamps = [m.ts_init_ns for m in day.messages(Quote, ClockTick)][:-1]
    assert stamps == sorted(stamps)


@pytest.mark.parametrize("fails", ["write", "fdatasync"])
def test_where_the_disk_refuses_no_order_leaves_and_nothing_more_is_written(tmp_path, monkeypatch, fails):
    real = getattr(os, fails)
    day = Day(tmp_path / "j", synthetic_quotes(200), settings=BEAT)
    executed = []
    execute = day.venue.execute
    monkeypatch.setattr(type(day.venue), "execute", lambda _, c, now: executed.append(c) or execute(c, now))

    def full(fd, *data):
        if fails == "write" and data:
            real(fd, bytes(data[0])[: len(data[0]) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, fails, full)
        with pytest.raises(OSError, match="No space left"):
            day.run()
    assert not executed
    # Nothing was added behind the torn record, not even by the closing of the journal, so the run can go on.
    assert verify(day.folder).intact
    again = Day(tmp_path / "j", synthetic_quotes(200), settings=BEAT).run()
    assert again.messages(SubmitOrder)
    assert verify(day.folder).intact


def test_a_journal_that_failed_once_takes_nothing_more(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "j")
    journal.append(INPUT, halt())
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", lambda fd: (_ for _ in ()).throw(OSError(errno.EIO, "I/O error")))
        with pytest.raises(OSError, match="I/O error"):
            journal.commit()
    with pytest.raises(OSError, match="failed before"):
        journal.append(INPUT, halt())
    with pytest.raises(OSError, match="failed before"):
        journal.commit()
    journal.close()


@pytest.mark.parametrize(("reject_pct", "liquidity_e2"), [(60, 0), (0, 300_000)])
def test_what_the_venue_does_not_close_at_once_at_the_end_of_data_is_tried_again(tmp_path, reject_pct, liquidity_e2):
    from adapters.exchange import ExecutionModel

    model = ExecutionModel(reject_pct=reject_pct, liquidity_e2=liquidity_e2, depth_levels=2)
    for count in range(7, 40, 3):
        day = Day(tmp_path / str(count), synthetic_quotes(count), settings=BEAT, model=model).run()
        assert not day.venue.positions
        assert not day.engine.core.book.positions
        assert not day.engine.core.book.orders


def test_a_stop_does_not_wait_for_an_inference_that_hangs_and_the_run_goes_on_later(tmp_path):
    import asyncio

    from tests.harness.paper import Day, scripted_forecasts, synthetic_quotes

    whole = Day(tmp_path / "whole", synthetic_quotes(300)).run()
    asked = 0

    async def hangs(request):
        nonlocal asked
        asked += 1
        if asked == 20:
            asyncio.get_running_loop().call_soon(day.shell.stop, "SIGTERM")
            await asyncio.Event().wait()
        return await scripted_forecasts(request)

    day = Day(tmp_path / "j", synthetic_quotes(300), ask=hangs)
    assert day.run().reason == "SIGTERM"

    again = Day(tmp_path / "j", synthetic_quotes(300)).run()
    assert again.decisions == whole.decisions
