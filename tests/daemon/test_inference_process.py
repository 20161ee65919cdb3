"""Inference in a child: it may die, hang, or be given bad models, and every request is still answered or told."""

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import daemon.children
import daemon.inferenceprocess
from bus.messages import Forecast, ForecastMissed
from daemon.inferenceprocess import InferenceProcess, State
from models.device.absent import DEVICE_FILES
from models.serve import Service
from tests.harness.markets import request_at
from tests.harness.trained import TRADE, trained


@pytest.fixture
def service():
    made = Service(trained().artifacts)
    yield made
    made.close()


def run(main):
    return asyncio.run(asyncio.wait_for(main, 100))


def process(service, answer_s=20.0, notes=None, **device):
    return InferenceProcess(service, answer_s=answer_s, note=(notes if notes is not None else []).append, **device)


async def until(holds):
    while not holds():  # noqa: ASYNC110 (what it waits for happens in another process)
        await asyncio.sleep(0.02)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def models_of(answers):
    return {each.model_id for each in answers if isinstance(each, Forecast)} - {"random-walk"}


def test_it_gives_the_same_answers_as_this_process(service):
    async def main():
        async with process(service) as child:
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


def test_a_killed_child_costs_nobody_a_forecast_and_another_takes_over(service):
    async def main():
        notes = []
        async with process(service, notes=notes) as child:
            first = child.pid
            os.kill(first, signal.SIGKILL)
            answers = await child.ask(request_at(TRADE, 350))
            assert answers == service.answer(request_at(TRADE, 350))
            await until(lambda: child.state is State.UP and child.pid != first)
            await child.ask(request_at(TRADE, 351))
            assert (child.counters.by_fallback, child.counters.by_child, child.counters.restarts) == (1, 1, 1)
            assert notes[-1] == "inference is back"

    run(main())


def test_a_child_that_hangs_is_late_once_and_replaced(service):
    async def main():
        async with process(service, answer_s=1.0) as child:
            first = child.pid
            os.kill(first, signal.SIGSTOP)
            asked = [child.ask(request_at(TRADE, row)) for row in (350, 351)]
            answers = await asyncio.gather(*asked)
            assert all(models_of(said) for said in answers)
            assert child.counters.late >= 1
            assert child.counters.by_fallback == 2
            await until(lambda: child.state is State.UP)
            assert not alive(first)

    run(main())


def test_where_nobody_can_answer_the_run_is_told(service, monkeypatch):
    async def broken(request):
        raise RuntimeError("out of memory")

    async def main():
        async with process(service) as child:
            monkeypatch.setattr(service, "answer_async", broken)
            os.kill(child.pid, signal.SIGKILL)
            (missed,) = await child.ask(request_at(TRADE, 350))
            assert isinstance(missed, ForecastMissed)
            assert (missed.reason, missed.model_id) == ("unavailable", "")
            assert "out of memory" in missed.detail
            assert child.counters.unanswered == 1

    run(main())


def test_other_models_are_taken_over_whole_and_until_then_this_process_answers(service):
    other = trained(seed=8)
    new = {each.model_id for each in other.artifacts if each.manifest.kind == "forecaster"}

    async def main():
        async with process(service) as child:
            service.replace(other.artifacts)
            assert models_of(await child.ask(request_at(TRADE, 350))) == new
            assert child.counters.by_fallback == 1
            await until(lambda: child._loaded is service.artifacts)
            assert models_of(await child.ask(request_at(TRADE, 351))) == new
            assert child.counters.by_child == 1

    run(main())


def test_a_run_begins_even_where_the_child_does_not_come_up(service, monkeypatch):
    """A live run that starts again has positions to look after, whatever inference does."""
    sound = service.artifacts[0]
    damaged = replace(sound, weights_bytes=sound.weights_bytes[:-8] + b"\0" * 8)
    monkeypatch.setattr(daemon.inferenceprocess, "PAUSES_S", (0.05,))

    async def main():
        notes = []
        whole = service.artifacts
        service.replace([damaged, *whole[1:]])
        async with process(service, notes=notes) as child:
            assert child.pid == 0
            assert any(sound.model_id in note for note in notes)
            assert models_of(await child.ask(request_at(TRADE, 350)))
            service.replace(whole)
            await until(lambda: child.state is State.UP)

    run(main())


def test_a_child_that_hangs_is_found_without_being_asked_for_a_forecast(service, monkeypatch):
    monkeypatch.setattr(daemon.inferenceprocess, "LOOK_S", 0.05)

    async def main():
        async with process(service, answer_s=1.0) as child:
            await until(lambda: child.seen is not None)
            first = child.pid
            os.kill(first, signal.SIGSTOP)
            await until(lambda: child.state is State.UP and child.pid not in {0, first})
            assert child.counters.by_fallback == 0

    run(main())


def test_a_child_that_cannot_be_started_is_tried_again_after_growing_pauses(service, monkeypatch):
    monkeypatch.setattr(daemon.inferenceprocess, "PAUSES_S", (0.05, 0.1))

    async def main():
        notes = []
        async with process(service, notes=notes) as child:
            monkeypatch.setattr(daemon.children, "command", lambda module: ["/nowhere/python"])
            os.kill(child.pid, signal.SIGKILL)
            await until(lambda: sum("cannot be started" in note for note in notes) >= 3)
            assert models_of(await child.ask(request_at(TRADE, 350)))
            assert child.counters.restarts >= 3
            monkeypatch.undo()
            await until(lambda: child.state is State.UP)

    run(main())


def gpu():
    """Whether the child might find one."""
    return any((Path("/dev") / name).exists() for name in DEVICE_FILES)


def test_with_a_device_allowed_answers_are_the_same_and_requests_wait_for_nobody_in_vain(service):
    async def main():
        async with process(service, device="auto", gather_us=100_000) as child:
            requests = [request_at(TRADE, row) for row in range(300, 306)]
            answers = await asyncio.gather(*(child.ask(request) for request in requests))
            if not gpu():
                assert answers == [service.answer(request) for request in requests]
            assert all(models_of(said) for said in answers)
            health = await child.health()
            assert child.counters.by_child == health.answered == len(requests)
            forecasters = [each for each in service.artifacts if each.manifest.kind == "forecaster"]
            assert len(health.device.models) + health.device.kept_off == len(forecasters)

    run(main())


@pytest.mark.skipif(gpu(), reason="this machine may have a GPU")
def test_a_gpu_that_is_demanded_and_not_there_is_told_once_a_load_and_the_processor_answers(service, monkeypatch):
    monkeypatch.setattr(daemon.inferenceprocess, "LOOK_S", 0.02)
    line = "forecasts are computed by the processor: no driver of a GPU is loaded"

    async def main():
        notes = []
        async with process(service, notes=notes, device="cuda") as child:
            assert models_of(await child.ask(request_at(TRADE, 350)))
            await until(lambda: child.seen is not None)
            first = child.seen
            await until(lambda: child.seen is not first)  # its health was asked twice, and said the same
            assert notes == [line]
            assert (child.seen.device.name, child.seen.device.answered) == ("", 0)
            assert child.seen.device.kept_off == 2
            service.replace(service.artifacts[:2])
            await child.ask(request_at(TRADE, 351))
            await until(lambda: child._loaded is service.artifacts)
            assert notes == [line, line]

    run(main())


def test_a_process_that_may_use_a_device_leaves_the_daemon_without_torch():
    code = (
        "import asyncio, sys\n"
        "from daemon.inferenceprocess import InferenceProcess\n"
        "from models.serve import Service\n"
        "from tests.harness.markets import made_up_bars, request_at\n"
        "async def main():\n"
        "    service = Service()\n"
        "    async with InferenceProcess(service, answer_s=60.0, note=print, device='auto', gather_us=500) as child:\n"
        "        answers = await child.ask(request_at(made_up_bars(300, 1), 299))\n"
        "        print(child.counters.by_child, len(answers) > 0)\n"
        "    service.close()\n"
        "asyncio.run(main())\n"
        "print([name for name in ('torch', 'models.device', 'onnxruntime') if name in sys.modules])\n"
    )
    root = Path(__file__).parents[2]
    out = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert out.stdout.splitlines() == ["1 True", "[]"]
