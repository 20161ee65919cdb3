"""A trainer's process publishes, and a running paper day admits and shadows what it published: over a real bus."""

import asyncio
import json
import os
import signal
import subprocess
import sys

import pytest

from bus.messages import (
    CalibratedForecast,
    ModelAdmitted,
    ModelsPublished,
    TrainingEnded,
    TrainingProgressed,
    TrainingStarted,
)
from bus.nats import connect
from daemon.journal import read
from daemon.replay import replay
from tests.harness import nats_server
from tests.harness.command import REPOSITORY, fresh_state, paper_arguments

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(bool(nats_server.unavailable()), reason=nats_server.unavailable() or "nats-server is there"),
]
NEWS = (TrainingStarted, TrainingProgressed, ModelsPublished, TrainingEnded, ModelAdmitted, CalibratedForecast)


def start(url, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "daemon", *map(str, arguments)], cwd=REPOSITORY, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env={**os.environ, "PLIMSOLL_BUS_URL": url},
    )  # fmt: skip


async def watch(url, begin, *, until):
    """What is heard on the bus from the moment at which `begin` is called, until somebody has heard enough."""
    bus = await connect(url, name="watcher")
    heard = []
    try:
        reader = await bus.subscribe("training", "model", "forecast")
        begin()
        async with asyncio.timeout(200):
            async for message in reader:
                if isinstance(message, NEWS):
                    heard.append(message)
                if until(heard):
                    return heard
    finally:
        await bus.close()


@pytest.mark.slow
def test_a_release_that_a_trainer_tells_of_is_admitted_and_shadowed_by_a_running_day(trained):
    base, _ = trained
    state = fresh_state(base, "told-over-nats")
    processes = []

    def begin():
        processes.extend(
            [
                start(server.url, "infer", "--state", state, "--json"),
                start(server.url, *paper_arguments(base, state, "--pace", "14400x", config="bare.toml")),
                start(server.url, "train", "--stage", "--seed", "8", "--model", "ridge", "--json", "--config",
                      base / "bare.toml", "--state", state),
            ]
        )  # fmt: skip

    def shadowed(heard):
        news = [each for each in heard if isinstance(each, ModelsPublished)]
        return bool(news) and any(
            isinstance(each, CalibratedForecast) and each.model_id == news[0].active for each in heard[-1:]
        )

    with nats_server.server() as server:
        try:
            heard = asyncio.run(watch(server.url, begin, until=shadowed))
            told = json.loads(processes[2].communicate(timeout=60)[0])
        finally:
            for process in processes[:2]:
                process.send_signal(signal.SIGTERM)
            (_, inference_said), (_, day_said), *_ = [each.communicate(timeout=60) for each in processes[:2]]
    assert [each.returncode for each in processes] == [0, 0, 0], (inference_said, day_said)

    (news,) = [each for each in heard if isinstance(each, ModelsPublished)]
    assert (news.symbol, news.active) == ("EURUSD", told["releases"][0]["active"])
    assert news.run == told["run"]
    assert heard.index(news) > next(i for i, each in enumerate(heard) if isinstance(each, TrainingStarted))
    admitted = [each for each in heard if isinstance(each, ModelAdmitted) and each.model_id == news.active]
    assert [(each.candidate, each.active) for each in admitted] == [(True, False)]
    assert not heard[-1].active
    journal = max((state / "runs").iterdir()) / "journal"
    assert replay(journal).identical
    assert not [record for record in read(journal) if isinstance(record.message, ModelsPublished | TrainingProgressed)]
