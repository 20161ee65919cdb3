"""Every promise of bus.port, on every transport."""

import asyncio
import itertools
import time

import pytest

from bus import messages as m
from bus.errors import NotSent
from bus.mailbox import Overrun
from bus.memory import MemoryBus
from bus.nats import connect
from tests.harness import nats_server
from tests.harness.aio import rest, run, take, until

TRANSPORTS = [
    "memory",
    pytest.param(
        "nats", marks=pytest.mark.skipif(bool(nats_server.unavailable()), reason=nats_server.unavailable() or "-")
    ),
]
_namespaces = itertools.count()


@pytest.fixture(scope="module")
def server():
    with nats_server.server() as running:
        yield running


@pytest.fixture(params=TRANSPORTS)
def opened(request):
    """Opens a bus that nobody else hears."""
    if request.param == "memory":

        async def memory():
            return MemoryBus()

        return memory
    running = request.getfixturevalue("server")

    async def nats():
        return await connect(running.url, name="contract", namespace=f"contract-{next(_namespaces)}")

    return nats


def fact(n):
    return m.ClockTick(ts_init_ns=n)


def quote(n, symbol="EURUSD"):
    return m.Quote(symbol=symbol, bid_e5=100_000 + n, ask_e5=100_010 + n, ts_event_ns=n, ts_init_ns=n)


def ask(request_id="r1", symbol="EURUSD"):
    column = (1, 2, 3)
    return m.ForecastRequested(
        request_id=request_id, symbol=symbol, as_of_ns=7, period_ns=1, horizons=(1,), deadline_ns=8, ts_open_ns=column,
        open_e5=column, high_e5=column, low_e5=column, close_e5=column, spread_e5=column, quotes=column,
    )  # fmt: skip


def forecast(request, latency_ns=0):
    return m.Forecast(
        request_id=request.request_id, symbol=request.symbol, model_id="test", as_of_ns=request.as_of_ns,
        expires_ns=request.deadline_ns, horizons=(m.HorizonForecast(horizon=1, point_e5=5, sigma_e5=2),),
        ts_init_ns=request.as_of_ns, latency_ns=latency_ns,
    )  # fmt: skip


async def echo(request):
    return [forecast(request), forecast(request, latency_ns=1)]


def test_ten_thousand_facts_arrive_complete_and_in_order(opened):
    async def scene():
        bus = await opened()
        reader = await bus.subscribe("clock")
        for n in range(10_000):
            bus.publish(fact(n))
        got = await take(reader, 10_000)
        await bus.close()
        assert [each.ts_init_ns for each in got] == list(range(10_000))
        assert bus.counters.published == bus.counters.delivered == 10_000
        assert await rest(reader) == []

    run(scene())


def test_facts_keep_their_order_across_topics_and_between_quotes(opened):
    async def scene():
        bus = await opened()
        reader = await bus.subscribe("clock", "control", "quote")
        sent = []
        for n in range(300):
            kind = n % 3
            message = quote(n) if kind == 0 else fact(n) if kind == 1 else m.RunResumed(reason="again", ts_init_ns=n)
            sent.append(message)
            bus.publish(message)
        await bus.close()
        got = await rest(reader)
        facts = [each for each in got if not isinstance(each, m.Quote)]
        assert facts == [each for each in sent if not isinstance(each, m.Quote)]
        quotes = [each for each in got if isinstance(each, m.Quote)]
        assert quotes == sorted(quotes, key=lambda each: each.ts_init_ns)
        assert quotes[-1] == quote(297)

    run(scene())


def test_of_quotes_that_wait_only_the_newest_a_symbol_is_read_and_the_others_are_counted(opened):
    async def scene():
        bus = await opened()
        reader = await bus.subscribe("quote")
        for n in range(1_000):
            bus.publish(quote(n, symbol="EURUSD" if n % 2 else "GBPUSD"))
        await bus.close()
        got = await rest(reader)
        newest = {each.symbol: each for each in got}
        assert newest == {"EURUSD": quote(999), "GBPUSD": quote(998, symbol="GBPUSD")}
        assert bus.counters.passed_over > 0
        assert len(got) + bus.counters.passed_over == 1_000
        assert reader.passed_over <= bus.counters.passed_over

    run(scene())


def test_a_reader_that_never_reads_holds_up_nobody(opened):
    async def scene():
        bus = await opened()
        asleep = await bus.subscribe("clock", "quote")
        awake = await bus.subscribe("clock")
        longest = 0.0
        for n in range(2_000):
            begin = time.perf_counter()
            bus.publish(fact(n))
            bus.publish(quote(n))
            longest = max(longest, time.perf_counter() - begin)
        got = await take(awake, 2_000)
        assert [each.ts_init_ns for each in got] == list(range(2_000))
        assert longest < 1.0
        await bus.close()
        assert len([each for each in await rest(asleep) if isinstance(each, m.ClockTick)]) == 2_000

    run(scene())


def test_every_reader_of_a_topic_gets_its_facts_and_no_others(opened):
    async def scene():
        bus = await opened()
        clocks, controls = await bus.subscribe("clock"), await bus.subscribe("control")
        more_clocks = await bus.subscribe("clock")
        bus.publish(fact(1))
        bus.publish(m.RunResumed(reason="again", ts_init_ns=2))
        bus.publish(quote(3))
        await bus.close()
        assert await rest(clocks) == await rest(more_clocks) == [fact(1)]
        assert await rest(controls) == [m.RunResumed(reason="again", ts_init_ns=2)]

    run(scene())


def test_a_subscription_begins_after_what_was_published_before(opened):
    async def scene():
        bus = await opened()
        bus.publish(fact(1))
        reader = await bus.subscribe("clock")
        bus.publish(fact(2))
        await bus.close()
        assert await rest(reader) == [fact(2)]

    run(scene())


def test_a_closed_subscription_gives_what_waits_and_then_ends(opened):
    async def scene():
        bus = await opened()
        reader, witness = await bus.subscribe("clock"), await bus.subscribe("clock")
        bus.publish(fact(1))
        await bus.flush()
        assert await anext(witness) == fact(1)
        await until(lambda: len(reader) == 1)
        await reader.close()
        await reader.close()
        bus.publish(fact(2))
        assert await anext(witness) == fact(2)
        assert await rest(reader) == [fact(1)]
        await bus.close()

    run(scene())


def test_a_reader_that_waits_is_released_when_the_bus_closes(opened):
    async def scene():
        bus = await opened()
        reader = await bus.subscribe("clock")
        waiting = asyncio.create_task(rest(reader))
        await asyncio.sleep(0)
        await bus.close()
        assert await waiting == []

    run(scene())


def test_closing_twice_is_harmless_and_a_closed_bus_refuses(opened):
    async def scene():
        bus = await opened()
        await bus.close()
        await bus.close()
        with pytest.raises(NotSent, match="closed"):
            bus.publish(fact(1))
        with pytest.raises(NotSent, match="closed"):
            await bus.subscribe("clock")
        with pytest.raises(NotSent, match="closed"):
            await bus.serve_forecasts(echo)
        answers = await bus.ask_forecast(ask(), 0.2)
        assert [each.reason for each in answers] == ["unavailable"]

    run(scene())


@pytest.mark.parametrize("topics", [("clock", "weather"), ()])
def test_an_unknown_topic_is_refused_with_the_known_ones(opened, topics):
    async def scene():
        bus = await opened()
        with pytest.raises(ValueError, match="no topic.*quote, bar"):
            await bus.subscribe(*topics)
        await bus.close()

    run(scene())


def test_a_request_is_answered_with_every_message_of_the_server_in_order(opened):
    async def scene():
        bus = await opened()
        serving = await bus.serve_forecasts(echo)
        for n in range(20):
            request = ask(f"r{n}")
            assert list(await bus.ask_forecast(request, 5)) == await echo(request)
        assert (bus.counters.requests, bus.counters.requests_late) == (20, 0)
        await serving.close()
        assert await rest(serving) == []
        await bus.close()

    run(scene())


def test_requests_at_the_same_time_get_their_own_answers(opened):
    async def scene():
        bus = await opened()
        gate = asyncio.Event()

        async def answer(request):
            if request.request_id == "r0":
                await gate.wait()
            else:
                gate.set()
            return [forecast(request)]

        await bus.serve_forecasts(answer)
        requests = [ask(f"r{n}") for n in range(10)]
        answers = await asyncio.gather(*(bus.ask_forecast(each, 10) for each in requests))
        assert [each[0].request_id for each in answers] == [f"r{n}" for n in range(10)]
        await bus.close()

    run(scene())


def test_several_servers_share_the_requests(opened):
    async def scene():
        bus = await opened()
        asked = {"first": 0, "second": 0}

        def server_named(name):
            async def answer(request):
                asked[name] += 1
                return [forecast(request)]

            return answer

        await bus.serve_forecasts(server_named("first"))
        await bus.serve_forecasts(server_named("second"))
        for n in range(100):
            assert len(await bus.ask_forecast(ask(f"r{n}"), 5)) == 1
        assert asked["first"] + asked["second"] == 100
        assert min(asked.values()) > 0
        await bus.close()

    run(scene())


def test_an_answer_that_comes_too_late_is_a_miss_and_counted(opened):
    async def scene():
        bus = await opened()
        released = asyncio.Event()

        async def slow(request):
            await released.wait()
            return [forecast(request)]

        await bus.serve_forecasts(slow)
        (miss,) = await bus.ask_forecast(ask("r9"), 0.05)
        assert (miss.request_id, miss.symbol, miss.reason, miss.model_id) == ("r9", "EURUSD", "late", "")
        assert "0.05 s" in miss.detail
        assert bus.counters.requests_late == 1
        released.set()
        assert await bus.ask_forecast(ask("r10"), 5) == [forecast(ask("r10"))]
        await bus.close()

    run(scene())


def test_a_request_that_nobody_serves_is_a_miss_and_counted(opened):
    async def scene():
        bus = await opened()
        (miss,) = await bus.ask_forecast(ask(), 5)
        assert (miss.reason, miss.ts_init_ns) == ("unavailable", 7)
        serving = await bus.serve_forecasts(echo)
        assert len(await bus.ask_forecast(ask(), 5)) == 2
        await serving.close()
        # The server hears of it a moment later; a request that it still hands over is late or answered.
        while (miss := (await bus.ask_forecast(ask(), 0.2))[0]).__class__ is m.Forecast or miss.reason == "late":
            pass
        assert miss.reason == "unavailable"
        assert bus.counters.requests_unavailable == 2
        await bus.close()

    run(scene())


@pytest.mark.parametrize("error", [ValueError("no weights"), TimeoutError("model timed out")])
def test_a_handler_that_raises_answers_with_one_miss(opened, error):
    async def scene():
        bus = await opened()

        async def broken(request):
            raise error

        await bus.serve_forecasts(broken)
        (miss,) = await bus.ask_forecast(ask(), 5)
        assert (miss.reason, miss.detail) == ("error", f"{type(error).__name__}: {error}")
        assert bus.counters.requests_late == 0
        await bus.close()

    run(scene())


def test_a_reader_far_behind_is_cut_off_with_an_error_and_counted(opened, monkeypatch):
    async def scene():
        bus = await opened()
        stuck, well = await bus.subscribe("clock"), await bus.subscribe("clock")
        monkeypatch.setattr(stuck, "_largest", 10)
        for n in range(50):
            bus.publish(fact(n))
        assert await take(well, 50) == [fact(n) for n in range(50)]
        await until(lambda: bus.counters.overruns == 1)
        assert await take(stuck, 10) == [fact(n) for n in range(10)]
        with pytest.raises(Overrun, match="10 facts unread"):
            await anext(stuck)
        assert await rest(stuck) == []
        await bus.close()

    run(scene())


def test_two_buses_in_different_namespaces_do_not_hear_each_other(opened):
    async def scene():
        here, there = await opened(), await opened()
        reader = await here.subscribe("clock", "quote")
        await there.serve_forecasts(echo)
        there.publish(fact(1))
        there.publish(quote(1))
        await there.flush()
        here.publish(fact(2))
        (miss,) = await here.ask_forecast(ask(), 0.5)
        await here.close()
        await there.close()
        assert miss.reason == "unavailable"
        assert await rest(reader) == [fact(2)]

    run(scene())
