"""Fifty losses in ten virtual minutes: one socket, no limit passed, every request settled, and well again soon after.

One seed alone:            PLIMSOLL_SEED=123 pytest tests/simulation/test_connection_storm.py
Many more than make test:  PLIMSOLL_SEEDS=5000 pytest -n 2 tests/simulation/test_connection_storm.py
"""

import os
import subprocess
import sys

import pytest
from twisted.internet.error import ConnectionAborted
from twisted.python.failure import Failure

import adapters.ctrader.session
from adapters.ctrader.backoff import MOST_AN_HOUR, Backoff
from adapters.ctrader.connection import Connection, State
from adapters.ctrader.events import LinkDead
from adapters.ctrader.limits import Bucket
from adapters.ctrader.logins import Logins
from adapters.ctrader.requests import Requests
from adapters.ctrader.session import DEAD_AFTER_NS
from bus.values import NS_PER_S
from tests.harness.command import REPOSITORY
from tests.harness.storm import FAULTS, KINDS, Storm

BATCH = 20
ALONE = os.environ.get("PLIMSOLL_SEED")
SEEDS = int(os.environ.get("PLIMSOLL_SEEDS", "50"))
FIRST = [int(ALONE)] if ALONE else range(0, SEEDS, BATCH)
WELL_S = 60


def batch(first):
    return range(first, first + (1 if ALONE else BATCH))


def problems_of(storm):
    """What must not be, of a storm that is over; empty = nothing."""
    seen, found = storm.network.seen, []
    if seen.sockets.most > 2 or seen.sockets.now:
        found.append(f"{seen.sockets.most} sockets at once, {seen.sockets.now} at the end")
    if seen.sent_requests.most > 50 or seen.sent_history.most > 5:
        found.append(f"{seen.sent_requests.most} requests, {seen.sent_history.most} historical ones left in a second")
    # What TCP held up arrives at once, and no sender can space it.
    if not seen.strikes["hold"] and (seen.requests.most > 50 or seen.history.most > 5):
        found.append(f"{seen.requests.most} requests, {seen.history.most} historical ones arrived in a second")
    if seen.longest_dark_s > DEAD_AFTER_NS / NS_PER_S + 1:
        found.append(f"a half-open socket was held for {seen.longest_dark_s:.1f} s")
    if storm.most_attempts_in_an_hour() > MOST_AN_HOUR:
        found.append(f"{storm.most_attempts_in_an_hour()} attempts in an hour")
    if storm.well_after_s > WELL_S:
        found.append(f"well after {storm.well_after_s:.1f} s")
    for connection in storm.connections:
        unsettled = [number for number in connection.accepted if connection.settled[number] != 1]
        if max(connection.settled.values(), default=1) > 1 or (unsettled and connection is storm.connections[-1]):
            found.append(f"settled not once: {[(number, connection.settled[number]) for number in unsettled[:5]]}")
    if storm.connections[-1].state is not State.CLOSED or storm.connections[-1]._pending:
        found.append(f"{storm.connections[-1].state}, {len(storm.connections[-1]._pending)} requests pending")
    return found


def survives(seeds, **more):
    """Run storms; returns how often connections were lost in each."""
    losses = []
    for seed in seeds:
        storm = Storm(seed, **more).run()
        problems = problems_of(storm)
        how = f"PLIMSOLL_SEED={seed} .venv/bin/pytest tests/simulation/test_connection_storm.py"
        assert not problems, f"seed {seed}; alone: {how}\n" + "\n".join(problems)
        losses.append(storm.losses)
    return losses


@pytest.mark.parametrize("first", FIRST)
def test_a_storm_passes_no_limit_and_leaves_a_connection_that_works(first):
    losses = survives(batch(first))

    assert min(losses) >= 10  # the longer the storm, the longer the waits, and what waits cannot be lost


@pytest.mark.parametrize("first", FIRST)
def test_it_does_not_either_where_the_dice_fall_so_that_nearly_every_fault_is_a_loss(first):
    losses = survives(batch(first)[::4], brisk=True)

    assert sum(losses) / len(losses) > 0.7 * FAULTS


def test_what_the_venue_counts_stays_within_its_limits():
    survives(range(10), brisk=True, kinds=tuple(kind for kind in KINDS if kind != "hold"))


def test_processes_killed_in_the_storm_are_succeeded_by_ones_that_work():
    survives(range(20), deaths=4)


@pytest.mark.parametrize("kind", KINDS)
def test_fifty_faults_of_one_kind_are_survived(kind):
    survives([1], kinds=(kind,))


def test_a_seed_gives_the_same_storm_in_every_process_whatever_the_hash_seed():
    def told(seed, hash_seed):
        code = (
            f"from tests.harness.storm import Storm; s = Storm({seed}, brisk=True, deaths=2, trace=True).run();"
            "print(s.world.digest, s.world.steps, s.losses)"
        )
        return subprocess.run(
            [sys.executable, "-c", code],
            cwd=REPOSITORY, env={**os.environ, "PYTHONHASHSEED": hash_seed}, capture_output=True, check=True, text=True,
        ).stdout  # fmt: skip

    assert told(3, "1") == told(3, "2")


def test_another_seed_gives_another_storm():
    assert len({Storm(seed, trace=True).run().world.digest for seed in range(3)}) == 3


# --- who audits the storm? ----------------------------------------------------------------------------------------


def a_dead_socket_is_not_closed(patch):
    handle = Connection._handle

    def planted(connection, told):
        wire = connection._wire
        if wire is not None and any(isinstance(event, LinkDead) for event in told):
            wire.transport.abortConnection = lambda: wire.ended(Failure(ConnectionAborted()))
        handle(connection, told)

    patch.setattr(Connection, "_handle", planted)


def a_silent_peer_is_waited_for(patch):
    patch.setattr(adapters.ctrader.session, "DEAD_AFTER_NS", 10**15)


def requests_leave_as_they_come(patch):
    patch.setattr(Bucket, "ready_ns", lambda bucket, keep=0: 0)


def requests_in_flight_are_forgotten_with_the_connection(patch):
    end = Requests.end

    def planted(requests):
        return [each for each in end(requests) if not each.handed_out]

    patch.setattr(Requests, "end", planted)


def accounts_are_not_logged_in_again(patch):
    patch.setattr(Logins, "restart", lambda logins, now_ns, *, new_link: None)


def attempts_are_not_limited(patch):
    patch.setattr(Backoff, "wait_ns", lambda backoff, now_ns: 10**6)


@pytest.mark.parametrize(
    "plant",
    [
        a_dead_socket_is_not_closed, a_silent_peer_is_waited_for,
        requests_leave_as_they_come, requests_in_flight_are_forgotten_with_the_connection,
        accounts_are_not_logged_in_again, attempts_are_not_limited,
    ],
    ids=lambda plant: plant.__name__.replace("_", " "),
)  # fmt: skip
def test_a_planted_bug_is_found(plant, monkeypatch):
    plant(monkeypatch)
    for seed in range(20):
        try:
            if problems_of(Storm(seed, brisk=True).run()):
                return
        except Exception:  # noqa: BLE001  # whatever it dies of is what the seed found
            return
    pytest.fail(f"{plant.__name__} went unnoticed through 20 seeds")
