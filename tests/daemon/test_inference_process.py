"""Inference in a child: it may die, hang, or be given bad models, and every request is still answered or told."""

import asyncio
import os
import signal

import pytest

import daemon.inferenceprocess
from bus.errors import ModelError
from bus.messages import Forecast, ForecastMissed
from daemon.inferenceprocess import InferenceProcess, State
from models.registry import Registry
from models.serve import Service
from tests.harness.markets import request_at
from tests.harness.trained import TRADE, trained


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Published artifacts."""
    root = tmp_path_factory.mktemp("models")
    made = trained()
    Registry(root).publish(made.artifacts, active=made.active)
    return [root / "EURUSD-3600s" / artifact.model_id for artifact in made.artifacts]


@pytest.fixture
def service():
    made = Service(trained().artifacts)
    yield made
    made.close()


def run(main):
    return asyncio.run(asyncio.wait_for(main, 100))


def process(folders, service=None, answer_s=20.0, notes=None):
    fallback = None if service is None else service.answer_async
    return InferenceProcess(
        folders, fallback=fallback, answer_s=answer_s, note=(notes if notes is not None else []).append
    )


async def until(holds):
    while not holds():  # noqa: ASYNC110 (what it waits for happens in another process)
        await asyncio.sleep(0.02)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_gives_the_same_answers_as_this_process(folders, service):
    async def main():
        async with process(folders) as child:
            requests = [request_at(TRADE, row) for row in range(300, 312)]
            answers = await asyncio.gather(*(child.ask(request) for request in requests))
            assert answers == [service.answer(request) for request in requests]
            health = await child.health()
            assert set(health.models) == {artifact.model_id for artifact in trained().artifacts}
            assert health.answered == len(requests) == child.counters.by_child
            assert health.taken_together >= 1
            assert health.memory_bytes > 10_000_000
            assert 0 < health.busy_ppm <= 1_000_000
            return child.pid

    assert not alive(run(main()))


def test_a_killed_child_costs_nobody_a_forecast_and_another_takes_over(folders, service):
    async def main():
        notes = []
        async with process(folders, service, notes=notes) as child:
            first = child.pid
            os.kill(first, signal.SIGKILL)
            answers = await child.ask(request_at(TRADE, 350))
            assert answers == service.answer(request_at(TRADE, 350))
            await until(lambda: child.state is State.UP and child.pid != first)
            await child.ask(request_at(TRADE, 351))
            assert (child.counters.by_fallback, child.counters.by_child, child.counters.restarts) == (1, 1, 1)
            assert notes[-1] == "inference is back"

    run(main())


def test_a_child_that_hangs_is_late_once_and_replaced(folders, service):
    async def main():
        async with process(folders, service, answer_s=1.0) as child:
            first = child.pid
            os.kill(first, signal.SIGSTOP)
            asked = [child.ask(request_at(TRADE, row)) for row in (350, 351)]
            answers = await asyncio.gather(*asked)
            assert all(any(isinstance(each, Forecast) for each in said) for said in answers)
            assert child.counters.late >= 1
            assert child.counters.by_fallback == 2
            await until(lambda: child.state is State.UP)
            assert not alive(first)

    run(main())


def test_without_anybody_to_fall_back_on_the_run_is_told(folders):
    async def main():
        async with process(folders) as child:
            os.kill(child.pid, signal.SIGKILL)
            (missed,) = await child.ask(request_at(TRADE, 350))
            assert isinstance(missed, ForecastMissed)
            assert (missed.reason, missed.model_id) == ("unavailable", "")
            assert child.counters.unanswered == 1

    run(main())


def test_models_are_exchanged_whole_and_a_bad_one_leaves_the_old_ones_in_service(folders, tmp_path):
    other = trained(seed=8)
    Registry(tmp_path).publish(other.artifacts, active=other.active)
    good = [tmp_path / "EURUSD-3600s" / artifact.model_id for artifact in other.artifacts]

    async def main():
        async with process(folders) as child:
            with pytest.raises(ModelError, match=r"cannot be read"):
                await child.load([*folders[:1], tmp_path / "ridge-0123456789"])
            old = {artifact.model_id for artifact in trained().artifacts}
            assert set((await child.health()).models) == old
            await child.load(good)
            assert set((await child.health()).models) == {artifact.model_id for artifact in other.artifacts}
            said = await child.ask(request_at(TRADE, 350))
            assert not {each.model_id for each in said if isinstance(each, Forecast)} & old

    run(main())


def test_unsound_models_are_refused_at_the_start_and_no_child_is_left(tmp_path):
    async def main():
        child = process([tmp_path / "ridge-0123456789"])
        with pytest.raises(ModelError, match=r"ridge-0123456789"):
            await child.__aenter__()
        assert child.pid == 0

    run(main())


def test_pauses_between_attempts_grow(folders, service, monkeypatch):
    monkeypatch.setattr(daemon.inferenceprocess, "PAUSES_S", (0.05, 0.1))

    async def main():
        notes = []
        async with process(folders, service, notes=notes) as child:
            child._folders = ["/nowhere/ridge-0123456789"]
            os.kill(child.pid, signal.SIGKILL)
            await until(lambda: sum("cannot be started" in note for note in notes) >= 3)
            assert any(isinstance(each, Forecast) for each in await child.ask(request_at(TRADE, 350)))
            assert child.counters.restarts >= 3
            child._folders = [str(folder) for folder in folders]
            await until(lambda: child.state is State.UP)

    run(main())
