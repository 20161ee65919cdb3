"""The network in virtual time: order kept through cuts and delays, sockets that end as real ones do, true counts."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.ctrader.frames import encode_envelope, encode_frame
from adapters.ctrader.messages import openapi
from adapters.ctrader.shell import Server
from adapters.ctrader.venue.endpoint import Wire
from bus.errors import SessionLost
from bus.messages import Quote
from bus.values import NS_PER_S
from tests.harness.virtual import START_S, World
from tests.harness.virtual_net import Latency, Network, Rate, endpoint_of

SERVER = Server("venue", 5035)


class Echo:
    """An endpoint that says everything again, some of it later."""

    def __init__(self, then=""):
        self.heard, self.gone, self.then, self.connections = b"", [], then, 0

    def connect(self, now_ns):
        self.connections += 1
        return self.connections

    def refuses(self, now_ns):
        return False

    def disconnect(self, number):
        self.gone.append(number)

    def data(self, number, data, now_ns):
        self.heard += data
        late_ns = len(self.heard) % 3 * 10_000_000
        self._due_ns = max(getattr(self, "_due_ns", 0), now_ns + late_ns)
        return [Wire(number, data, self._due_ns, self.then if self.heard.endswith(b".") else "")]

    def next_timer_ns(self):
        return None

    def calm(self, now_ns):
        return []


async def dial(network):
    """A socket, and what has come on it."""
    came = bytearray()
    dialler = network.dialler(SERVER, lambda _, data: came.extend(data), lambda wire: came.extend(b"|"))
    return await dialler.dial(), came


@given(
    seed=st.integers(0, 10**6),
    pieces=st.lists(st.tuples(st.binary(min_size=1, max_size=40), st.floats(0, 0.05)), max_size=20),
    hold_at=st.floats(0, 1), cut_pct=st.sampled_from([0, 30, 90]),
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_bytes_arrive_whole_and_in_order_whatever_cuts_and_delays_them(seed, pieces, hold_at, cut_pct):
    async def main():
        wire, came = await dial(network)
        for data, wait_s in pieces:
            wire.transport.write(data)
            await asyncio.sleep(wait_s)
        wire.transport.write(b".")
        await asyncio.wait([wire.gone])
        return bytes(came)

    with World(seed) as world:
        echo = Echo("close")
        network = Network(world, echo, up=Latency(slow_pct=20), down=Latency(slow_pct=20), cut_pct=cut_pct)
        network.loop.call_later(hold_at, network.hold, 2)
        expected = b"".join(data for data, _ in pieces).replace(b".", b"!") + b"."
        pieces = [(data.replace(b".", b"!"), wait_s) for data, wait_s in pieces]
        assert world.run(world.start(main())) == expected + b"|"
        assert echo.heard == expected
        assert (echo.gone, network.seen.sockets.now, network.seen.venue_sockets.now) == ([1], 0, 0)


@pytest.mark.parametrize(
    ("trouble", "told", "after_s"),
    [
        (lambda net: net.go_down(60), "refused", 0.1),
        (lambda net: net.go_down(60, refuses=False), "timeout", 10),
        (lambda net: net.fail_tls(), "the server hung up", 0.2),
    ],
)
def test_an_attempt_that_fails_says_why_and_leaves_no_socket(trouble, told, after_s):
    async def main():
        with pytest.raises(SessionLost, match=told):
            await dial(network)
        assert network.seen.sockets.now == 0
        return world.now

    with World() as world:
        network = Network(world, Echo())
        trouble(network)
        assert world.run(world.start(main())) == pytest.approx(START_S + after_s, abs=after_s)
        world.sleep(1)
        assert network.seen.venue_sockets.now == 0
        network.mend()
        assert world.run(world.start(dial(network)))


@pytest.mark.parametrize(
    ("strike", "told"),
    [
        ("reset", "non-clean fashion"), ("break_tls", "bad record mac"), ("close", "cleanly"),
        ("half_open", None), ("mend", None),
    ],
)  # fmt: skip
def test_a_socket_that_ends_tells_both_sides(strike, told):
    async def main():
        wire, came = await dial(network)
        await asyncio.sleep(1)
        getattr(network, strike)()
        await asyncio.wait([wire.gone], timeout=60)
        assert wire.gone.done() == bool(told)
        if told:
            assert told in wire.why("venue")
            assert came == b"|"
        wire.transport.abortConnection()
        await asyncio.wait([wire.gone])
        await asyncio.sleep(1)

    with World() as world:
        echo = Echo()
        network = Network(world, echo)
        world.run(world.start(main()))
        assert network.seen.sockets.now == 0
        assert echo.gone == ([] if strike == "half_open" else [1])  # what vanishes cannot tell


@pytest.mark.parametrize("silent", [False, True])
def test_the_sockets_of_a_killed_process_are_reset_unless_its_machine_has_died(silent):
    async def main():
        wire, _ = await dial(network)
        wire.transport.write(b"last words")
        await asyncio.sleep(100)

    with World() as world:
        echo = Echo()
        network = Network(world, echo)
        network.silent_deaths = silent
        process = world.start(main())
        world.sleep(0.2)
        process.kill()
        assert network.seen.sockets.now == 0
        world.sleep(1)
        assert echo.heard == b"last words"
        assert echo.gone == ([] if silent else [1])


def test_prices_come_when_they_are_due_and_requests_are_counted_as_the_venue_does():
    with World() as world:
        endpoint = endpoint_of(world)
        network = Network(world, endpoint)
        times = [world.utc_ns + number * NS_PER_S for number in (3, 5, 5, 9)]
        network.feed(
            Quote(symbol="EURUSD", bid_e5=bid, ask_e5=bid + 8, ts_event_ns=at_ns, ts_init_ns=at_ns)
            for bid, at_ns in enumerate(times, 112_000)
        )
        world.sleep(4)
        assert endpoint.venue.market_ns == times[0]
        world.sleep(2)
        assert endpoint.venue.market_ns == times[2]

        async def main():
            wire, _ = await dial(network)
            version, deals = (
                openapi.ProtoOAVersionReq(),
                openapi.ProtoOADealListReq(ctidTraderAccountId=7, fromTimestamp=0, toTimestamp=1),
            )
            frames = b"".join(encode_frame(encode_envelope(each)) for each in (version, deals, version))
            for cut in range(0, len(frames), 5):
                wire.transport.write(frames[cut : cut + 5])
            await asyncio.sleep(1)
            return wire

        world.run(world.start(main()))
        seen = network.seen
        assert (seen.requests.total, seen.history.total) == (2, 1)
        assert (seen.sent_requests.most, seen.sent_history.most) == (2, 1)
        assert sorted(seen.types.values()) == [1, 2]


@given(st.lists(st.integers(0, 5 * NS_PER_S), min_size=1, max_size=30))
def test_the_most_in_a_second_is_that_of_the_busiest_second(moments):
    rate, moments = Rate(), sorted(moments)
    for moment in moments:
        rate.count(moment)

    assert rate.most == max(sum(end - NS_PER_S < at <= end for at in moments) for end in moments)
