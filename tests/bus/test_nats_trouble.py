"""The bus over NATS when something breaks: the server, the stream, the consumer, the peer, the address."""

import asyncio
import logging
import signal

import pytest
from nats.aio.client import Client

from bus import messages as m
from bus.codec import encode_versioned
from bus.errors import ConfigError, NotSent
from bus.nats import connect
from bus.outgoing import OutgoingFacts
from tests.harness import nats_server
from tests.harness.aio import rest, run, take, until

pytestmark = pytest.mark.skipif(bool(nats_server.unavailable()), reason=nats_server.unavailable() or "-")


@pytest.fixture(scope="module")
def server():
    with nats_server.server() as running:
        yield running


@pytest.fixture
def own_server():
    """One that a test may stop."""
    with nats_server.server() as running:
        yield running


def fact(n):
    return m.ClockTick(ts_init_ns=n)


def quote(n, symbol="EURUSD"):
    return m.Quote(symbol=symbol, bid_e5=100_000 + n, ask_e5=100_010 + n, ts_event_ns=n, ts_init_ns=n)


async def stranger(server):
    """A client that is not a bus."""
    client = Client()
    await client.connect(server.url)
    return client


async def echo(request):
    return [m.ClockTick(ts_init_ns=request.as_of_ns)]


def ask(request_id="r1"):
    return m.ForecastRequested(
        request_id=request_id, symbol="EURUSD", as_of_ns=7, period_ns=1, horizons=(1,), deadline_ns=8, ts_open_ns=(),
        open_e5=(), high_e5=(), low_e5=(), close_e5=(), spread_e5=(), quotes=(),
    )  # fmt: skip


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_facts_survive_a_restart_of_the_server_complete_and_in_order(own_server, how):
    async def scene():
        writer = await connect(own_server.url, name="writer")
        listener = await connect(own_server.url, name="reader")
        reader = await listener.subscribe("clock")
        idle = await listener.subscribe("control", "bar")
        for n in range(1_000):
            writer.publish(fact(n))
        await take(reader, 500)
        for n in range(1_000, 2_000):
            writer.publish(fact(n))
        await asyncio.sleep(0)
        own_server.stop(how)
        await until(lambda: writer._client is None and listener._client is None)
        for n in range(2_000, 3_000):
            writer.publish(fact(n))
        own_server.start()
        await writer.flush()
        got = await take(reader, 2_500)
        assert [each.ts_init_ns for each in got] == list(range(500, 3_000))
        writer.publish(m.RunResumed(reason="again", ts_init_ns=1))
        assert await anext(idle) == m.RunResumed(reason="again", ts_init_ns=1)
        assert (writer.counters.reconnects, listener.counters.reconnects) == (1, 1)
        await writer.close()
        await listener.close()
        assert await rest(reader) == []
        assert listener.counters.overruns == 0

    run(scene())


def test_facts_survive_many_broken_connections(own_server):
    async def scene():
        writer = await connect(own_server.url, name="writer")
        listener = await connect(own_server.url, name="reader")
        reader = await listener.subscribe("clock")
        sent = 0
        for _ in range(5):
            for _ in range(400):
                writer.publish(fact(sent))
                sent += 1
            for _ in range(3):
                await asyncio.sleep(0)
            for bus in (writer, listener):
                before = bus.counters.reconnects
                (await bus.connected())._transport._io_writer.transport.abort()
                await until(lambda bus=bus, before=before: bus.counters.reconnects > before)
        await writer.flush()
        got = await take(reader, sent)
        assert [each.ts_init_ns for each in got] == list(range(sent))
        assert writer.counters.reconnects >= 5
        await writer.close()
        await listener.close()
        assert await rest(reader) == []

    run(scene())


def test_quotes_conflate_while_the_server_is_away_and_the_newest_arrives(own_server):
    async def scene():
        bus = await connect(own_server.url, name="quotes")
        reader = await bus.subscribe("quote")
        own_server.stop()
        await until(lambda: bus._client is None)
        for n in range(1_000):
            bus.publish(quote(n))
            bus.publish(quote(n, symbol="GBPUSD"))
        own_server.start()
        await bus.flush()
        assert await take(reader, 2) == [quote(999), quote(999, symbol="GBPUSD")]
        assert bus.counters.passed_over == 1_998
        await bus.close()

    run(scene())


def test_forecasts_are_answered_again_after_a_restart(own_server):
    async def scene():
        asker, server = await connect(own_server.url, name="a"), await connect(own_server.url, name="b")
        await server.serve_forecasts(echo)
        assert await asker.ask_forecast(ask(), 5) == [fact(7)]
        own_server.stop()
        await until(lambda: asker._client is None)
        (miss,) = await asker.ask_forecast(ask(), 0.5)
        assert miss.reason == "unavailable"
        own_server.start()
        await until(lambda: asker._client is not None and server._client is not None)
        assert await asker.ask_forecast(ask(), 5) == [fact(7)]
        await asker.close()
        await server.close()

    run(scene())


def test_facts_wait_up_to_a_limit_and_then_nothing_is_lost_silently(own_server, monkeypatch):
    monkeypatch.setattr("bus.nats.client._CLOSE_S", 0.2)

    async def scene():
        bus = await connect(own_server.url, name="limited")
        bus._facts = OutgoingFacts(largest_facts=10)
        own_server.stop()
        await until(lambda: bus._client is None)
        for n in range(10):
            bus.publish(fact(n))
        with pytest.raises(NotSent, match="10 facts .* wait for the bus already; at most 10"):
            bus.publish(fact(10))
        assert bus.counters.published == 10
        with pytest.raises(NotSent, match=r"10 facts were never acknowledged by nats://127.0.0.1"):
            await bus.close()
        await bus.close()

    run(scene())


def test_a_consumer_that_somebody_deletes_is_made_again_without_a_gap(server, monkeypatch):
    monkeypatch.setattr("bus.nats.feeds._HEARTBEAT_S", 0.2)

    async def scene():
        bus = await connect(server.url, name="deleted", namespace="deleted")
        reader = await bus.subscribe("clock")
        bus.publish(fact(0))
        assert await anext(reader) == fact(0)
        (feed,) = bus._feeds[reader]
        client = await bus.connected()
        await client.jetstream().delete_consumer("deleted-facts", feed._consumer)
        bus.publish(fact(1))
        assert await anext(reader) == fact(1)
        assert feed._attached == 2
        await bus.close()

    run(scene())


def test_a_frame_lost_on_the_way_is_read_again(server, monkeypatch):
    async def scene():
        bus = await connect(server.url, name="gap", namespace="gap")
        reader = await bus.subscribe("clock")
        (feed,) = bus._feeds[reader]
        original, lost = feed._take, []

        def lossy(frame):
            if len(lost) < 3 and feed._taken == 5 * (len(lost) + 1):
                lost.append(frame)
            else:
                original(frame)

        monkeypatch.setattr(feed, "_take", lossy)
        for n in range(50):
            bus.publish(fact(n))
        assert await take(reader, 50) == [fact(n) for n in range(50)]
        assert len(lost) >= 1
        await bus.close()

    run(scene())


def test_a_stream_that_somebody_deletes_is_made_again_and_facts_go_on(server, monkeypatch):
    monkeypatch.setattr("bus.nats.feeds._HEARTBEAT_S", 0.2)

    async def scene():
        bus = await connect(server.url, name="gone", namespace="gone")
        reader = await bus.subscribe("clock")
        bus.publish(fact(1))
        assert await anext(reader) == fact(1)
        client = await stranger(server)
        await client.jetstream().delete_stream("gone-facts")
        bus.publish(fact(2))
        assert await anext(reader) == fact(2)
        await client.close()
        await bus.close()

    run(scene())


def test_an_idle_reader_is_not_blamed_for_facts_of_other_topics_that_the_stream_forgot(server, monkeypatch):
    monkeypatch.setattr("bus.nats.feeds._HEARTBEAT_S", 0.1)

    async def scene():
        bus = await connect(server.url, name="idle", namespace="idle")
        reader = await bus.subscribe("control")
        (feed,) = bus._feeds[reader]
        for n in range(20):
            bus.publish(fact(n))
        await bus.flush()
        await until(lambda: feed._last == 20)
        client = await bus.connected()
        await client.jetstream().purge_stream("idle-facts")
        await client.jetstream().delete_consumer("idle-facts", feed._consumer)
        bus.publish(m.RunResumed(reason="again", ts_init_ns=1))
        assert await anext(reader) == m.RunResumed(reason="again", ts_init_ns=1)
        assert bus.counters.overruns == 0
        await bus.close()

    run(scene())


def test_what_is_no_message_is_counted_and_dropped(server):
    async def scene():
        bus = await connect(server.url, name="hostile", namespace="hostile")
        reader = await bus.subscribe("clock", "quote")
        await bus.serve_forecasts(echo)
        client = await stranger(server)
        junk = [b"", b"\x01", b"\xff" * 40, b"\x01\x91\xa5Quote", encode_versioned(fact(1))[:-1], b"\x02\x90"]
        for data in junk:
            for subject in ("hostile.clock._", "hostile.quote.EURUSD", "hostile.forecasting"):
                await client.publish(subject, data, reply="nowhere")
        # A fact where quotes go, and a message where requests go.
        await client.publish("hostile.clock._", encode_versioned(quote(1)))
        await client.publish("hostile.forecasting", encode_versioned(fact(1)), reply="nowhere")
        await client.flush()
        bus.publish(quote(2))
        bus.publish(fact(2))
        got = await take(reader, 2)
        assert sorted(got, key=lambda each: isinstance(each, m.Quote)) == [fact(2), quote(2)]
        await until(lambda: bus.counters.malformed == 3 * len(junk) + 2)
        assert await bus.ask_forecast(ask(), 5) == [fact(7)]
        await client.close()
        await bus.close()

    run(scene())


def test_an_answer_that_is_no_frame_is_a_miss(server):
    async def scene():
        bus = await connect(server.url, name="liar", namespace="liar")
        client = await stranger(server)

        async def lie(frame):
            await frame.respond(b"\x01\x91\x05")

        await client.subscribe("liar.forecasting", cb=lie)
        await client.flush()
        (miss,) = await bus.ask_forecast(ask(), 5)
        assert (miss.reason, bus.counters.malformed) == ("error", 1)
        await client.close()
        await bus.close()

    run(scene())


def test_a_message_larger_than_the_server_carries_is_refused_at_once(server):
    async def scene():
        bus = await connect(server.url, name="large", namespace="large")
        with pytest.raises(NotSent, match=r"a RunResumed of \d+ bytes; the bus carries \d+ at most"):
            bus.publish(m.RunResumed(reason="x" * 1_100_000, ts_init_ns=1))
        await bus.close()

    run(scene())


def test_a_server_that_cannot_be_reached_is_said_within_seconds_and_without_the_password():
    url = f"nats://trader:hunter2@127.0.0.1:{nats_server.free_port()}"
    with pytest.raises(
        NotSent, match=r"cannot reach nats://127.0.0.1:\d+: start nats-server -js, or leave out"
    ) as told:
        run(connect(url, name="nobody"), timeout_s=10)
    assert "hunter2" not in repr(told.value)


def test_a_peer_that_accepts_and_says_nothing_is_given_up():
    async def scene():
        callers = []
        silent = await asyncio.start_server(lambda reader, writer: callers.append(writer), "127.0.0.1", 0)
        port = silent.sockets[0].getsockname()[1]
        with pytest.raises(NotSent, match=rf"cannot reach nats://127.0.0.1:{port}"):
            await connect(f"nats://127.0.0.1:{port}", name="nobody")
        for caller in callers:
            caller.close()
            await caller.wait_closed()
        silent.close()
        await silent.wait_closed()

    run(scene(), timeout_s=15)


def test_a_server_without_jetstream_is_a_mistake_of_configuration():
    async def scene(plain):
        with pytest.raises(ConfigError, match=r"runs without JetStream; start it as nats-server -js"):
            await connect(plain.url, name="nobody")

    with nats_server.server(jetstream=False) as plain:
        run(scene(plain))


def test_credentials_work_and_never_show(caplog):
    caplog.set_level(logging.DEBUG)

    async def scene(guarded):
        right = guarded.url.replace("//", "//trader:hunter2@")
        bus = await connect(right, name="trader")
        bus.publish(fact(1))
        await bus.flush()
        guarded.stop()
        await until(lambda: bus._client is None)
        (miss,) = await bus.ask_forecast(ask(), 1)
        guarded.start()
        await until(lambda: bus._client is not None)
        await bus.close()
        wrong = guarded.url.replace("//", "//trader:hunter3@")
        with pytest.raises(ConfigError, match="refused the credentials") as told:
            await connect(wrong, name="thief")
        return miss.detail + repr(told.value)

    with nats_server.server(credentials="trader:hunter2") as guarded:
        texts = run(scene(guarded)) + caplog.text
    assert "is back" in texts
    assert "hunter" not in texts
    assert "trader:" not in texts
