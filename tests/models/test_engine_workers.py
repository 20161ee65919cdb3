"""Several processes that train one network, as torchrun starts them, through gloo on the processor."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (`make torch`)")

from tests.harness.command import REPOSITORY  # noqa: E402

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="this torch was built without gloo"),
]
_STARTED = []


@pytest.fixture(autouse=True)
def _no_process_outlives_its_test():
    yield
    while _STARTED:
        with _STARTED.pop() as process:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def started(command, folder, *arguments):
    process = subprocess.Popen(
        [sys.executable, *command, "-m", "tests.harness.trainee", str(folder), *map(str, arguments)],
        cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    _STARTED.append(process)
    return process


def torchrun(folder, *arguments, restarts=0):
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", restarts]
    return started(map(str, command), folder, *arguments)


def elastic(folder, port, *arguments, host):
    """One of two machines that train together while both are there: one process each; the host is where they meet."""
    quick = f"is_host={int(host)},last_call_timeout=10,keep_alive_interval=1,keep_alive_max_attempt=5"
    command = ["-m", "torch.distributed.run", "--nnodes", "1:2", "--nproc-per-node", "1", "--rdzv-backend", "c10d",
               "--rdzv-endpoint", f"localhost:{port}", "--rdzv-id", "test", "--rdzv-conf", quick, "--max-restarts", "1",
               "--monitor-interval", "0.2"]  # fmt: skip
    return started(command, folder, *arguments)


def trainees(process):
    children = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    return [pid for pid in children if b"tests.harness.trainee" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def wait_for(path, process):
    while not path.exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)


def outcome(process):
    out, errors = process.communicate(timeout=150)
    assert process.returncode == 0, errors[-3000:]
    return json.loads(out.splitlines()[-1])


def test_two_processes_learn_what_one_learns_from_the_whole_batch_and_one_of_them_writes(tmp_path):
    """Without dropout, whose numbers each process draws for its own rows."""
    both = torchrun(tmp_path / "two", 0.0, 4, 0.0)
    alone = outcome(started([], tmp_path / "one", 0.0, 4, 0.0))
    both = outcome(both)
    assert (both["world"], alone["world"]) == (2, 1)
    assert both["found"] == pytest.approx(alone["found"], rel=1e-5)
    assert both["first"] == pytest.approx(alone["first"], rel=1e-3, abs=1e-6)
    assert both["steps"] == alone["steps"]
    figures = [json.loads(line) for line in (tmp_path / "two" / "metrics.jsonl").read_text().splitlines()]
    assert [each["epoch"] for each in figures if each["kind"] == "epoch"] == [1, 2, 3, 4]
    assert (tmp_path / "two" / "log.txt").read_text().count(" begun") == 1


def test_a_process_that_is_killed_within_an_epoch_is_replaced_and_the_run_goes_on_from_its_checkpoint(tmp_path):
    run = tmp_path / "run"
    process = torchrun(run, 0.1, 4, 0.0, restarts=1)
    wait_for(run / "checkpoints" / "EURUSD-small" / "step-0000000006.json", process)
    os.kill(trainees(process)[-1], signal.SIGKILL)
    rest = outcome(process)
    assert rest["world"] == 2
    assert 0 < rest["steps"] <= 18
    assert (run / "finished").exists()
    log = (run / "log.txt").read_text()
    assert "going on from checkpoint" in log


def test_where_one_of_two_is_gone_for_good_the_other_goes_on_alone_from_the_checkpoint(tmp_path):
    run = tmp_path / "run"
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    stays = elastic(run, port, 0.1, 6, 0.0, host=True)
    goes = elastic(run, port, 0.1, 6, 0.0, host=False)
    wait_for(run / "checkpoints" / "EURUSD-small" / "step-0000000006.json", stays)
    for pid in (goes.pid, *trainees(goes)):
        os.kill(pid, signal.SIGKILL)
    rest = outcome(stays)
    assert rest["world"] == 1
    assert 0 < rest["steps"] <= 30
    log = (run / "log.txt").read_text()
    assert "processes: 2 (" in log
    assert "processes: 1 (" in log
    assert "going on from checkpoint" in log
    assert (run / "finished").exists()
