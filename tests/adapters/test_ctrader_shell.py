"""The connection over real sockets: kept up, one socket at a time, every request settled, exactly two outcomes."""

import asyncio
import contextlib
import socket
import tomllib
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.ctrader.backoff import Backoff
from adapters.ctrader.connection import Connection, Disconnected, State
from adapters.ctrader.events import AccountAuthorised, ApplicationAuthorised, LinkDead
from adapters.ctrader.messages import model, openapi
from adapters.ctrader.secret import Secret
from adapters.ctrader.shell import Server, _AtOnce
from adapters.ctrader.venue.certificates import make
from adapters.ctrader.venue.core import Venue
from adapters.ctrader.venue.endpoint import Endpoint
from adapters.ctrader.venue.faults import Fault, Plan
from adapters.ctrader.venue.feed import Feed
from adapters.ctrader.venue.server import VenueServer
from adapters.ctrader.venue.specs import AccountSpec, VenueSpec
from adapters.history import SpreadModel, sample
from bus.errors import ConfigError, NotSent, OutcomeUnknown, ProtocolError, Refused, SessionLost
from bus.values import NS_PER_S, default_instrument
from tests.harness.aio import run, until
from tests.harness.command import REPOSITORY

ACCOUNT = 7
HOUR_NS = 3_600 * NS_PER_S


class Soonest(Random):
    """Draws the shortest wait."""

    def randrange(self, *_):
        return 0


class Counting(VenueServer):
    """Counts sockets."""

    opened = most = 0

    def joined(self, link):
        number = super().joined(link)
        self.opened += 1
        self.most = max(self.most, len(self._links))
        return number


@contextlib.asynccontextmanager
async def serving(folder, *faults, port=0):
    series = sample().slice(0, 5_000)
    feed = Feed([series], [SpreadModel()], from_ns=int(series.ts_open_ns[4_990]))
    spec = VenueSpec(instruments=(default_instrument("EURUSD"),), accounts=(AccountSpec(account_id=ACCOUNT),))
    venue = Venue(spec, opened_ns=feed.opened_ns)
    feed.prepare(venue)
    ca_file, tls = make(folder)
    endpoint = Endpoint(venue, Plan(faults=faults))
    async with Counting(endpoint, feed, tls=tls, host="127.0.0.1", port=port, http_port=0, speed=None) as server:
        server.ca_file = ca_file
        yield server


def connection_to(server, told, secret=None, host="127.0.0.1", on_event=None):
    tokens = server.endpoint.venue.tokens
    where = Server(host, server.port, server.ca_file)
    return Connection(
        where, tokens.client_id, Secret(secret or tokens.client_secret), on_event=on_event or told.append,
        dice=Soonest(),
    )  # fmt: skip


@contextlib.asynccontextmanager
async def connected(folder, *faults, **more):
    """A server, a connection with its account logged in, and what it tells."""
    async with serving(folder, *faults) as server:
        told = []
        connection = connection_to(server, told, **more)
        await connection.start()
        grant = server.endpoint.venue.tokens.issue(int(asyncio.get_running_loop().time() * 1e9))
        await connection.login(ACCOUNT, Secret(grant.access))
        try:
            yield server, connection, told
        finally:
            await connection.close()


def order(**more):
    return openapi.ProtoOANewOrderReq(
        ctidTraderAccountId=ACCOUNT, symbolId=1, orderType=model.MARKET, tradeSide=model.BUY, volume=100_000, **more
    )


def again(told):
    """Whether the account was logged in anew after a loss."""
    lost = [place for place, event in enumerate(told) if isinstance(event, Disconnected)]
    return bool(lost) and AccountAuthorised(ACCOUNT) in told[lost[-1] :]


version = openapi.ProtoOAVersionReq


def test_a_request_is_answered(tmp_path):
    async def story():
        async with connected(tmp_path) as (server, connection, told):
            assert (await connection.request(version())).version
            assert connection.state is State.OPEN
            assert server.opened == 1
        assert connection.state is State.CLOSED
        return told

    assert run(story()) == [ApplicationAuthorised(), AccountAuthorised(ACCOUNT)]


@pytest.mark.parametrize("kind", ["reset_before", "reset_within", "reset_after"])
def test_a_lost_connection_is_made_again_with_its_accounts_and_never_a_second_socket(tmp_path, kind):
    async def story():
        async with connected(tmp_path, Fault(kind=kind, on="VersionRes", times=3)) as (server, connection, told):
            for loss in range(1, 4):
                with contextlib.suppress(SessionLost):  # what was answered before the reset is answered
                    await connection.request(version())
                await until(lambda loss=loss: server.opened == loss + 1 and again(told))
            assert (await connection.request(version())).version
            assert (server.opened, server.most) == (4, 1)
            assert sum(isinstance(event, Disconnected) for event in told) == 3

    run(story())


def test_what_only_reads_is_lost_with_the_session_and_an_order_is_unknown(tmp_path):
    async def story():
        reset = Fault(kind="reset_before", on="NewOrderReq")
        async with connected(tmp_path, Fault(kind="lose", on="VersionRes"), reset) as (_, connection, told):
            reading = asyncio.create_task(connection.request(version()))
            await asyncio.sleep(0)
            with pytest.raises(OutcomeUnknown) as unknown:
                await connection.request(order(clientOrderId="mine-1"))
            assert unknown.value.client_order_id == "mine-1"
            with pytest.raises(SessionLost, match="ProtoOAVersionReq"):
                await reading
            await until(lambda: again(told))

    run(story())


def test_while_the_connection_is_down_nothing_is_kept(tmp_path):
    async def story():
        seen = []

        def listener(event):
            if isinstance(event, Disconnected):
                seen.append(connection.state)
                tries.append(asyncio.create_task(connection.request(version())))

        tries = []
        async with connected(tmp_path, Fault(kind="reset_before", on="VersionReq"), on_event=listener) as parts:
            connection = parts[1]
            with pytest.raises(SessionLost):
                await connection.request(version())
            await until(lambda: tries)
            with pytest.raises(NotSent):
                await tries[0]
            assert seen == [State.WAITING]

    run(story())


def test_a_hostile_frame_ends_the_socket_and_the_next_one_works(tmp_path):
    async def story():
        async with connected(tmp_path, Fault(kind="oversize", on="VersionRes")) as (server, connection, told):
            await connection.request(version())
            await until(lambda: again(told))
            assert any(isinstance(event, LinkDead) and event.theirs for event in told)
            assert (await connection.request(version())).version
            assert server.most == 1

    run(story())


def test_closing_settles_what_is_in_flight_and_closes_the_socket(tmp_path):
    async def story():
        async with connected(tmp_path, Fault(kind="lose", on="VersionRes")) as (server, connection, _):
            waiting = asyncio.create_task(connection.request(version()))
            await asyncio.sleep(0)
            await connection.close()
            await connection.close()
            with pytest.raises(SessionLost):
                await waiting
            await until(lambda: not server._links)
            with pytest.raises(NotSent, match="closed"):
                await connection.request(version())
            with pytest.raises(ProtocolError):
                await connection.start()

    run(story())


def test_whoever_stops_waiting_disturbs_nobody(tmp_path):
    async def story():
        async with connected(tmp_path) as (_, connection, _told):
            waiting = asyncio.create_task(connection.request(version()))
            await asyncio.sleep(0)
            waiting.cancel()
            assert (await connection.request(version())).version

    run(story())


def test_a_listener_that_fails_is_reported_and_the_connection_stays(tmp_path):
    async def story():
        reported = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["message"]))

        def failing(event):
            raise ValueError(event)

        async with connected(tmp_path, on_event=failing) as (server, connection, _):
            assert (await connection.request(version())).version
            assert server.opened == 1
        return reported

    assert run(story()) == ["on_event failed at ApplicationAuthorised", "on_event failed at AccountAuthorised"]


def test_starting_has_two_outcomes_and_after_the_bad_one_it_may_be_tried_again(tmp_path):
    async def story():
        async with serving(tmp_path) as server:
            told = []
            connection = connection_to(server, told)
            port = server.port
        with pytest.raises(SessionLost, match=f"127.0.0.1:{port}"):
            await connection.start()
        assert connection.state is State.IDLE
        async with serving(tmp_path, port=port) as server:
            connection = connection_to(server, told)
            await connection.start()
            assert connection.state is State.OPEN
            await connection.close()

    run(story())


def test_an_unknown_application_and_an_unknown_token_are_refused(tmp_path):
    async def story():
        async with serving(tmp_path) as server:
            connection = connection_to(server, [], secret="wrong")
            with pytest.raises(Refused, match="CH_CLIENT_AUTH_FAILURE"):
                await connection.start()
            await until(lambda: not server._links)
            connection = connection_to(server, [])
            await connection.start()
            with pytest.raises(Refused, match="TOKEN"):
                await connection.login(ACCOUNT, Secret("wrong"))
            assert connection.state is State.OPEN
            await connection.close()

    run(story())


def test_closing_while_it_opens_leaves_no_socket(tmp_path):
    async def story():
        with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never speaks TLS
            connection = Connection(
                Server("127.0.0.1", silent.getsockname()[1]), "id", Secret("x"), on_event=lambda _: None
            )
            starting = asyncio.create_task(connection.start())
            await asyncio.sleep(0)
            silent.settimeout(5)
            peer, _ = await asyncio.to_thread(silent.accept)
            starting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await starting
            peer.settimeout(5)
            with peer, contextlib.suppress(ConnectionResetError):
                while await asyncio.to_thread(peer.recv, 65_536):
                    pass
            await connection.close()

    run(story())


@pytest.mark.parametrize("content", [None, "", "no certificate", "-----BEGIN CERTIFICATE-----\nrubbish\n"])
def test_an_unfit_authority_file_is_told_before_anything_is_opened(tmp_path, content):
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    connection = Connection(Server("127.0.0.1", 1, file), "id", Secret("x"), on_event=lambda _: None)

    with pytest.raises(ConfigError, match="ca.pem"):
        run(connection.start())


def test_waits_grow_to_fifty_seconds_are_drawn_over_the_whole_span_and_begin_anew_after_a_good_minute():
    backoff, ceilings = Backoff(Random(1)), []
    for _ in range(8):
        backoff.lost(0)
        drawn = [backoff.wait_ns(0) for _ in range(400)]
        assert min(drawn) < max(drawn) / 20
        ceilings.append(max(drawn) / NS_PER_S)
    assert [pytest.approx(most, rel=0.05) for most in (1, 2, 4, 8, 16, 32, 50, 50)] == ceilings

    backoff.lost(60 * NS_PER_S)
    assert max(backoff.wait_ns(0) for _ in range(100)) < NS_PER_S


def test_no_hour_sees_more_attempts_than_the_limit():
    backoff, now, begun = Backoff(Soonest(), most_an_hour=10), 0, []
    for _ in range(35):
        now += backoff.wait_ns(now)
        backoff.begins(now)
        begun.append(now)
        backoff.lost(0)

    assert all(later - earlier >= HOUR_NS for earlier, later in zip(begun, begun[10:], strict=False))


class Narrow:
    """A socket that takes so many bytes at a time, or fails; what it cannot take it sends when its turn comes."""

    connected, disconnecting = True, False

    def __init__(self, takes):
        self.takes, self.sent, self.queued = list(takes), b"", b""

    def writeSomeData(self, data):
        taken = self.takes.pop(0) if self.takes else len(data)
        if isinstance(taken, Exception):
            return taken
        self.sent += data[:taken]
        return min(taken, len(data))

    def write(self, data):
        self.queued += data


@given(
    st.lists(st.binary(min_size=1, max_size=20), max_size=12),
    st.lists(st.integers(0, 25) | st.just(OSError("reset")), max_size=12),
)
def test_bytes_leave_at_once_and_none_overtakes_another_whatever_the_socket_takes(pieces, takes):
    narrow = Narrow(takes)
    socket_ = _AtOnce(narrow)
    for piece in pieces:
        socket_.write(piece)
    assert narrow.sent + narrow.queued == b"".join(pieces)
    if not takes:
        assert not narrow.queued  # nothing waits for the loop where nothing is in the way
    assert socket_.takes is narrow.takes  # in all else it is the socket


def test_every_other_module_of_the_adapter_is_forbidden_twisted():
    config = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]
    contract = next(each for each in config["contracts"] if each["name"] == "Twisted lives in one file")
    folder = REPOSITORY / "adapters" / "ctrader"
    names = {path.stem for path in folder.iterdir() if path.is_dir() or path.suffix == ".py"} - {
        "__init__",
        "__pycache__",
    }

    assert {f"adapters.ctrader.{name}" for name in names - {"shell"}} <= set(contract["source_modules"])
