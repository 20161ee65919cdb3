"""Inference in a process of its own, over a real nats-server: the same decisions as in one process."""

import asyncio
import signal
import subprocess
import sys

import pytest

from bus.messages import SubmitOrder
from bus.nats import connect
from tests.harness import nats_server
from tests.harness.command import REPOSITORY, fresh_state, last_line, paper_arguments, plimsoll

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(bool(nats_server.unavailable()), reason=nats_server.unavailable() or "nats-server is there"),
]


def infer(state, url):
    return subprocess.Popen(
        [sys.executable, "-m", "daemon", "infer", "--bus", url, "--state", str(state), "--json"],
        cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_two_processes_over_nats_decide_as_one_does(trained):
    base, whole = trained
    state = fresh_state(base, "nats")
    with nats_server.server() as server:
        service = infer(state, server.url)
        try:
            result = last_line(plimsoll(*paper_arguments(base, state, "--bus", server.url)))
        finally:
            service.send_signal(signal.SIGTERM)
            output, errors = service.communicate(timeout=30)

    assert result["decisions_sha256"] == whole["decisions_sha256"]
    assert result["forecasts"] == whole["forecasts"] > 0
    assert service.returncode == 0, errors
    assert '"served"' in output


def test_orders_are_readable_by_others_while_the_day_runs(trained):
    base, _ = trained
    state = fresh_state(base, "nats-watch")

    async def watch(url):
        bus = await connect(url, name="watcher")
        try:
            orders = await bus.subscribe("command")
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "daemon",
                *map(str, paper_arguments(base, state, "--bus", url, config="bare.toml")),
                cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            output, _ = await process.communicate()
            return await asyncio.wait_for(anext(aiter(orders)), 10), output
        finally:
            await bus.close()

    with nats_server.server() as server:
        service = infer(state, server.url)
        try:
            order, output = asyncio.run(watch(server.url))
        finally:
            service.terminate()
            service.communicate(timeout=30)

    assert isinstance(order, SubmitOrder)
    assert b"decisions_sha256" in output


def test_a_bus_that_is_not_there_is_one_clear_line(trained):
    base, _ = trained
    done = plimsoll(*paper_arguments(base, fresh_state(base, "no-nats"), "--bus", "nats://127.0.0.1:1"))

    assert done.returncode != 0
    assert "cannot reach nats://127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr
