"""The loop in virtual time: asyncio's order, jumps instead of sleep, deaths that leave nothing, equal runs."""

import asyncio
import contextlib
import fcntl
import gc
import os
import signal
import subprocess
import sys
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.clock import Clock
from bus.errors import ConfigError
from bus.messages import ClockTick
from daemon.journal import INPUT, Journal, read, verify
from daemon.state import State, write_durably
from tests.harness.command import REPOSITORY
from tests.harness.virtual import START_S, Deadlock, Killed, TooLong, VirtualClock, World, run
from tests.harness.virtual_disk import Disk

# --- order and time -----------------------------------------------------------------------------------------------

ACTIONS = st.lists(st.sampled_from(["yield", "put", "get", "set", "spawn", "cancel", "wait"]), max_size=8)


async def program(scripts, log):
    """Tasks that do as their scripts say, with a queue and an event between them; nothing that takes time."""
    queue, event, tasks, kept = asyncio.Queue(), asyncio.Event(), [], []

    async def work(name, script):
        try:
            for action in script:
                log.append((name, action))
                match action:
                    case "yield":
                        await asyncio.sleep(0)
                    case "put":
                        queue.put_nowait(name)
                    case "get":
                        log.append((name, await queue.get()))
                    case "set":
                        event.set()
                    case "wait":
                        await event.wait()
                    case "spawn":
                        begin(f"{name}'", script[len(script) // 2 + 1 :])
                    case "cancel" if tasks:
                        tasks.pop().cancel()
            log.append((name, "done"))
        except asyncio.CancelledError:
            log.append((name, "cancelled"))
            raise

    def begin(name, script):
        tasks.append(asyncio.create_task(work(name, script)))
        kept.append(tasks[-1])

    for number, script in enumerate(scripts):
        begin(str(number), script)
    for _ in range(40):
        await asyncio.sleep(0)
    return list(log)  # what the end of the run adds, the real loop adds in no order


@given(st.lists(ACTIONS, min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_what_takes_no_time_runs_in_the_order_of_the_real_loop(scripts):
    assert run(program(scripts, [])) == asyncio.run(program(scripts, []))


def test_timers_ring_in_order_of_time_and_equal_ones_in_the_order_they_were_set():
    rung = []

    async def main():
        loop = asyncio.get_running_loop()
        for name, delay in [("c", 2.0), ("a", 1.0), ("d", 2.0), ("b", 1.5), ("now", 0.0)]:
            loop.call_later(delay, rung.append, name)
        loop.call_later(1.0, rung.append, "never").cancel()
        loop.call_soon(rung.append, "soon")
        await asyncio.sleep(3)

    run(main())
    assert rung == ["now", "soon", "a", "b", "c", "d"]


def test_a_year_passes_at_once():
    async def main():
        await asyncio.sleep(365 * 86_400)
        return asyncio.get_running_loop().time()

    assert run(main(), within_s=1e9) == pytest.approx(START_S + 365 * 86_400, abs=1e-6)


@given(st.lists(st.integers(1, 10**13), min_size=1, max_size=20))
def test_a_moment_in_whole_nanoseconds_has_come_when_its_timer_rings(waits_ns):
    async def main():
        loop = asyncio.get_running_loop()
        for wait_ns in waits_ns:
            due_ns, rung = int(loop.time() * 1e9) + wait_ns, loop.create_future()
            loop.call_at(due_ns / 1e9, lambda rung=rung: rung.set_result(int(loop.time() * 1e9)))
            assert await rung >= due_ns
            assert await asyncio.sleep(0, loop.time()) - due_ns / 1e9 < 1e-6

    run(main(), within_s=1e9)


def test_the_tools_of_asyncio_work():
    async def slow(seconds, value):
        await asyncio.sleep(seconds)
        return value

    async def together(*coroutines):
        async with asyncio.TaskGroup() as group:
            for each in coroutines:
                group.create_task(each)

    async def numbers(ended):
        try:
            for number in range(9):
                yield number
                await asyncio.sleep(1)
        finally:
            ended.append(True)

    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await slow(3, None)
        assert loop.time() == pytest.approx(START_S + 2)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(slow(3, None), 1)
        assert await asyncio.wait_for(slow(1, "in time"), 2) == "in time"
        assert await asyncio.gather(slow(2, 1), slow(1, 2)) == [1, 2]
        done, pending = await asyncio.wait(
            [asyncio.create_task(slow(1, "x")), asyncio.create_task(slow(9, "y"))], timeout=5
        )
        assert (len(done), len(pending)) == (1, 1)
        with pytest.raises(ExceptionGroup):
            await together(slow(100, None), asyncio.to_thread(lambda: 1 // 0))
        assert await asyncio.to_thread(lambda: 42) == 42
        async with asyncio.Lock(), asyncio.Semaphore(1), asyncio.Condition():
            pass
        ended = []
        async for number in numbers(ended):
            if number == 2:
                break
        await asyncio.sleep(0)
        assert ended == [True]

    run(main())


def test_an_unfinished_main_cancels_and_awaits_its_tasks_in_the_order_of_their_birth():
    ended = []

    async def forever(name):
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(1)
            ended.append(name)

    async def main():
        for name in range(20):
            asyncio.create_task(forever(name))  # noqa: RUF006  # the loop keeps what waits
        kept.extend(asyncio.all_tasks())
        await asyncio.sleep(1)

    kept = []
    run(main())
    assert ended == list(range(20))


def test_signals_and_utc_belong_to_a_process():
    with World() as world:
        clock: Clock = VirtualClock(world, offset_ns=5)
        heard = []

        async def main():
            stopped = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
            await stopped.wait()
            heard.append(clock.now_ns() - began_ns)

        began_ns = world.utc_ns
        process = world.start(main())
        world.sleep(10)
        process.signal(signal.SIGTERM)
        world.run(process)
        assert heard == [10_000_000_005]
        clock.offset_ns = -(10**9)
        assert clock.now_ns() - began_ns == 10_000_000_005  # a step back freezes it


# --- what cannot go on --------------------------------------------------------------------------------------------


async def stuck():
    await asyncio.get_running_loop().create_future()


def test_a_deadlock_says_where_everybody_waits():
    with pytest.raises(Deadlock, match=r"(?s)virtual time 0.0.*process main in stuck \(.*test_virtual_time.py"):
        run(stuck())


async def spinning():
    while True:  # noqa: ASYNC110
        await asyncio.sleep(0)


async def ticking():
    while True:  # noqa: ASYNC110
        await asyncio.sleep(1)


@pytest.mark.parametrize(
    ("endless", "more", "told"),
    [
        (spinning, {}, "time stands still"),
        (ticking, {"within_s": 100}, "has not ended within 100 s"),
        (ticking, {"most_steps": 1_000}, "1000 steps"),
    ],
)
def test_what_never_ends_is_ended(endless, more, told):
    with pytest.raises(TooLong, match=told):
        run(endless(), **more)


def test_whatever_nobody_catches_ends_the_run():
    async def fails():
        raise ValueError("mine")

    async def unheard():
        asyncio.get_running_loop().call_soon(int, "no number")
        await asyncio.sleep(1)

    with pytest.raises(ValueError, match="mine"):
        run(fails())
    with pytest.raises(ValueError, match="no number"):
        run(unheard())


# --- death --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def held(log, name):
    log.append(f"enter {name}")
    try:
        yield
    finally:
        log.append(f"leave {name}")


@contextlib.asynccontextmanager
async def held_too(log, name):
    with held(log, name):
        await asyncio.sleep(0.1)
        yield
        await asyncio.sleep(0.1)


async def busy(log):
    """Everything that has something to do when it is left."""

    async def part(name):
        async with held_too(log, f"outer {name}"), contextlib.AsyncExitStack() as stack:
            stack.enter_context(held(log, f"inner {name}"))
            stack.callback(log.append, f"called {name}")
            try:
                async for number in stream(name):
                    log.append(f"{name} {number}")
            except asyncio.CancelledError:
                log.append(f"cancelled {name}")
                raise
            finally:
                await asyncio.sleep(0.05)
                log.append(f"finally {name}")

    async def stream(name):
        try:
            for number in range(3):
                await asyncio.sleep(0.01)
                yield number
        finally:
            log.append(f"stream {name}")

    with held(log, "main"):
        async with asyncio.TaskGroup() as group:
            group.create_task(part("a"))
            group.create_task(part("b"))
            await asyncio.gather(asyncio.to_thread(log.append, "thread"), part("c"), asyncio.shield(part("d")))
        log.append("end")


def test_a_kill_at_any_point_leaves_nothing_running_and_nothing_behind():
    whole = []
    with World() as world:
        process = world.start(busy(whole))
        world.run(process)
        points = process.points
    assert points > 50

    for kill_at in range(1, points + 1):
        log = []
        with World() as world:
            process = world.start(busy(log), kill_at=kill_at)
            main = weakref.ref(process.main)
            assert world.run(process) is None
            told = len(log)
            assert (process.killed, process.points) == (True, kill_at)
            assert not process.tasks()
            process.main = None
            world.sleep(100)
            gc.collect()
            assert main() is None  # freed, and still
        assert len(log) == told
        assert log == whole[:told]


def test_others_live_on_when_one_is_killed_and_its_successor_finds_the_time_gone_on():
    seen = []

    async def server():
        while True:
            await asyncio.sleep(1)
            seen.append("tick")

    async def client(name):
        try:
            await asyncio.sleep(2.5)
            seen.append(name)
            await asyncio.sleep(2.5)
        finally:
            seen.append("never")

    with World() as world:
        world.start(server(), name="server")
        first = world.start(client("first"), name="client")
        world.sleep(3.5)
        first.kill()
        world.sleep(1)
        second = world.start(client("second"), name="client", on_point=lambda it: it.kill() if "second" in seen else 0)
        world.run(second)

        assert second.killed
        assert world.now == pytest.approx(START_S + 9.5)
        assert seen == [*["tick"] * 2, "first", *["tick"] * 4, "second", *["tick"] * 3]


def test_one_process_cannot_await_another():
    with World() as world:
        other = world.process("other").create_future()

        async def main():
            await other

        with pytest.raises(RuntimeError, match="attached to a different loop"):
            world.run(world.start(main()))


@pytest.mark.parametrize("kill_at", range(1, 60))
def test_a_process_killed_at_any_point_of_a_durable_write_leaves_old_or_new_and_no_lock(kill_at, tmp_path, monkeypatch):
    disk, promised = Disk(monkeypatch), []

    async def main():
        state = State(tmp_path)
        with state.lock():
            journal = Journal(tmp_path / "journal")
            try:
                for number in range(journal.seq, 10):
                    await asyncio.sleep(1)
                    journal.append(INPUT, ClockTick(ts_init_ns=number))
                    journal.commit()
                    write_durably(tmp_path / "newest", b"%d" % number)
                    promised.append(number)
            finally:
                journal.close()

    with World(kill_at) as world:
        first = world.start(main(), kill_at=kill_at)
        world.run(first)
        if first.killed and kill_at % 2:
            disk.lose_power(tmp_path, world.dice("power"))
        kept = len(promised)
        if kept:
            assert int((tmp_path / "newest").read_bytes()) in {promised[-1], promised[-1] + 1}
            assert [record.message.ts_init_ns for record in read(tmp_path / "journal")][:kept] == promised

        second = world.start(main())
        world.run(second)
        assert not second.killed
        assert verify(tmp_path / "journal").intact
        assert [record.message.ts_init_ns for record in read(tmp_path / "journal")] == list(range(10))
        with State(tmp_path).lock(), pytest.raises(ConfigError), State(tmp_path).lock():
            pass


def test_the_dead_cannot_touch_the_disk_while_their_stack_unwinds(tmp_path, monkeypatch):
    Disk(monkeypatch)
    path, refused = tmp_path / "file", []

    async def main():
        fd = os.open(path, os.O_CREAT | os.O_WRONLY)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(fd, b"whole")
        try:
            os.fsync(fd)
        finally:
            for touch in (lambda: os.write(fd, b"torn"), path.unlink, lambda: os.close(fd), lambda: os.open(path, 0)):
                try:
                    touch()
                except Killed:
                    refused.append(touch)

    with World() as world:
        process = world.start(main(), kill_at=2)  # its first step, and before the sync in it
        world.run(process)
        assert process.killed
        assert len(refused) == 4
        assert path.read_bytes() == b"whole"
        fd = os.open(path, os.O_RDONLY)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(fd)


# --- equal runs ---------------------------------------------------------------------------------------------------

_TWICE = """
import asyncio
from tests.harness.virtual import World

async def part(name, dice):
    try:
        await asyncio.sleep(dice.random())
        if name == "part 7":
            raise ValueError(name)
    finally:
        await asyncio.sleep(dice.random())

async def main(world):
    for _ in range(5):
        try:
            async with asyncio.TaskGroup() as group:
                for name in {f"part {n}" for n in range(20)} and sorted(f"part {n}" for n in range(20)):
                    group.create_task(part(name, world.dice("d")), name=name)
        except* ValueError:
            world.note("failed")

with World(int(SEED), trace=True) as world:
    world.run(world.start(main(world)))
    print(world.digest, world.steps, world.now)
"""


def test_a_seed_gives_the_same_run_in_every_process_whatever_the_hash_seed():
    def told(seed, hash_seed):
        return subprocess.run(
            [sys.executable, "-c", _TWICE.replace("SEED", str(seed))],
            cwd=REPOSITORY, env={**os.environ, "PYTHONHASHSEED": hash_seed}, capture_output=True, check=True, text=True,
        ).stdout  # fmt: skip

    assert told(1, "1") == told(1, "2") == told(1, "random")
    assert told(1, "1") != told(2, "1")
