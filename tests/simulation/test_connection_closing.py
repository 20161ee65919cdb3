"""A connection that is closed, or whose start is given up, at any step of its life: nothing is left behind."""

import asyncio
import contextlib

import pytest

from adapters.ctrader.connection import Connection, State
from adapters.ctrader.messages import openapi
from adapters.ctrader.secret import Secret
from adapters.ctrader.shell import Server
from adapters.ctrader.venue.faults import Fault, Plan
from bus.errors import NotSent, SessionLost
from tests.harness.virtual import World
from tests.harness.virtual_net import Network, endpoint_of

ACCOUNT = 7
STEPS = 120
"""Opening, login, two answers, a reset, opening again, login, answers."""


class Life:
    """One connection that is asked all the time, lost once, and at some step interrupted."""

    def __init__(self, seed, *faults):
        faults = faults or (Fault(kind="reset_before", on="TraderRes", nth=3),)
        self.world = World(seed)
        self.network = Network(self.world, endpoint_of(self.world, plan=Plan(faults=faults)))
        self.asked = 0
        self.done = []

    async def work(self, connection):
        grant = self.network.endpoint.venue.tokens.issue(self.world.now_ns)
        await connection.start()
        with contextlib.suppress(NotSent, SessionLost):
            await connection.login(ACCOUNT, Secret(grant.access))
        while connection.state is not State.CLOSED:
            self.asked += 1
            try:
                await connection.request(openapi.ProtoOATraderReq(ctidTraderAccountId=ACCOUNT))
                self.done.append("answered")
            except (NotSent, SessionLost) as error:
                self.done.append(type(error).__name__)
                await asyncio.sleep(0.2)

    async def main(self, step, interrupt):
        tokens, loop, reached = self.network.endpoint.venue.tokens, asyncio.get_running_loop(), asyncio.Event()
        connection = Connection(
            Server("venue", 5035), tokens.client_id, Secret(tokens.client_secret), on_event=lambda _: None,
            dice=self.world.dice("backoff"), dialler=self.network.dialler, prefix="life",
        )  # fmt: skip
        working = asyncio.create_task(self.work(connection))
        loop.watch(0, lambda process: process.points >= step and reached.set())
        with contextlib.suppress(TimeoutError):  # a start that fails has fewer steps
            await asyncio.wait_for(reached.wait(), 60)
        loop.watch()
        await interrupt(connection, working)
        await asyncio.wait([working], timeout=5)
        dials = len(self.network.seen.dials)
        await asyncio.sleep(100)
        assert working.done()
        assert len(self.network.seen.dials) == dials
        assert (self.network.seen.sockets.now, self.network.seen.venue_sockets.now) == (0, 0)
        assert (connection.state, connection._pending) == (State.CLOSED, {})
        assert loop.tasks() == [asyncio.current_task()]
        return working

    def run(self, step, interrupt):
        with self.world as world:
            return world.run(world.start(self.main(step, interrupt)), within_s=300)


@pytest.mark.parametrize("first", range(1, STEPS, 30))
def test_closing_at_any_step_settles_everything_ends_the_socket_and_stays_closed(first):
    async def interrupt(connection, _):
        await asyncio.gather(connection.close(), connection.close())
        assert (life.network.seen.sockets.now, connection.state) == (0, State.CLOSED)
        await connection.close()

    for step in range(first, first + 30):
        life = Life(step)
        working = life.run(step, interrupt)
        assert len(life.done) == life.asked
        if working.exception() is not None:
            with pytest.raises(SessionLost, match="closed by us"):
                working.result()


@pytest.mark.parametrize("faults", [(), (Fault(kind="reset_before", on="ApplicationAuthRes"),)])
def test_cancelling_a_start_at_any_step_leaves_nothing_and_it_may_be_started_again(faults):
    async def interrupt(connection, working):
        state = connection.state
        working.cancel()
        await asyncio.wait([working])
        assert working.cancelled() or isinstance(working.exception(), SessionLost)
        if state is State.OPENING:
            assert (life.network.seen.sockets.now, connection.state) == (0, State.IDLE)
            with contextlib.suppress(SessionLost):
                await connection.start()
            if connection.state is State.IDLE:  # the fault has struck only now
                await connection.start()
            assert connection.state is State.OPEN
        await connection.close()

    for step in range(2, 25):
        life = Life(step, *faults)
        life.run(step, interrupt)
