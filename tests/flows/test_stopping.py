"""Ctrl-C and SIGTERM at any moment of `plimsoll paper`: one line, a clean machine, nothing half done."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.harness.command import CONFIG, REPOSITORY, fresh_state, paper_arguments

pytestmark = pytest.mark.timeout(120)

# Trains like `plimsoll train`, and is told to stop while the neural network learns.
STOPPED_IN_TRAINING = """
import os, signal, sys
from daemon import cli, training

train = training.train
NUMBER = signal.Signals[sys.argv[2]]

def stopped(*arguments, **options):
    def at(label, share):
        if "mlp" in label:
            os.kill(os.getpid(), NUMBER)
    return train(*arguments, **options | {"on_progress": at})

training.train = stopped
sys.argv = ["plimsoll", "train", "--json", "--state", sys.argv[1]]
sys.exit(cli.main())
"""


def start(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "daemon", *map(str, arguments)],
        cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def children_of(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def trains(pid):
    """Whether a process has become the training process, and still is it."""
    try:
        return b"daemon.training" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_models_that_were_stopped_in_training_are_not_published(number, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", STOPPED_IN_TRAINING, str(tmp_path), number],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 130
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1] == "stopped"
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("models/*/*/manifest.json"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_day_that_is_stopped_while_it_trains_leaves_no_process_and_no_model(number, tmp_path):
    process = start("paper", "--headless", "--json", "--no-web", "--state", tmp_path, start_new_session=True)
    while not (children := [child for child in children_of(process.pid) if trains(child)]):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    os.killpg(process.pid, number)
    output, errors = process.communicate(timeout=30)

    assert process.returncode == 130
    assert (output, errors.strip()) == ("", "stopped")
    deadline = time.monotonic() + 10
    while any(trains(child) for child in children):
        assert time.monotonic() < deadline, "the training process outlived its parent"
        time.sleep(0.01)
    assert not list(tmp_path.glob("models/*/*/manifest.json"))


def test_a_relative_state_directory_is_taken_from_where_the_user_is(tmp_path):
    """Training is a process of its own; both must mean the same directory."""
    (tmp_path / "plimsoll.toml").write_text("[data]\ntrain_pct = 60\ncalibrate_pct = 38\ntrade_pct = 2\n")
    (tmp_path / "daemon").mkdir()  # a folder of the user's must not be taken for the program
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "daemon", *map(str, paper_arguments(tmp_path, "here"))],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["report"] == str(tmp_path / "here" / "runs" / "0001" / "report" / "report.html")
    assert list((tmp_path / "here" / "models").glob("*/*/manifest.json"))


def day(base, name, *more):
    """The command of a day that needs no training, and its environment's state directory."""
    return [sys.executable, "-m", "daemon", *map(str, paper_arguments(base, fresh_state(base, name), *more))]


def test_output_that_nobody_reads_any_more_does_not_stop_the_day(trained):
    base, _ = trained
    arguments = [each for each in day(base, "unread") if each != "--json"]
    with subprocess.Popen(
        arguments, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.close()
        errors = process.stderr.read()

    assert (process.returncode, errors) == (0, "")
    assert (base / "unread" / "runs" / "0001" / "finished").exists()
    assert (base / "unread" / "runs" / "0001" / "report" / "report.html").is_file()


def test_a_lost_terminal_stops_the_day_in_good_order(trained):
    base, _ = trained
    process = subprocess.Popen(
        day(base, "hangup", "--pace", "60000x"),
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not any((base / "hangup" / "runs").glob("*/journal/*.seg")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    time.sleep(0.5)
    process.send_signal(signal.SIGHUP)
    output, errors = process.communicate(timeout=60)

    assert process.returncode == 0, errors
    assert json.loads(output)["ended"] == "SIGHUP"


def test_a_full_disk_is_one_line_and_the_day_goes_on_when_there_is_room(trained):
    """The size of a file is limited here: the same refusal for the program, and the machine stays whole."""
    base, whole = trained
    arguments = day(base, "full")
    limited = subprocess.run(
        ["bash", "-c", 'ulimit -f 600; trap "" XFSZ; exec "$@"', "bash", *arguments],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert limited.returncode == 1
    assert limited.stderr.count("\n") == 1
    assert "make room" in limited.stderr

    done = subprocess.run(arguments, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert json.loads(done.stdout)["decisions_sha256"] == whole["decisions_sha256"]


def test_a_database_that_takes_nothing_costs_only_the_projection(trained):
    base, whole = trained
    arguments = day(base, "no-store", "--config", base / "no-store.toml")
    (base / "no-store.toml").write_text(CONFIG + '[store]\nurl = "sqlite:////proc/none/plimsoll.db"\n')
    done = subprocess.run(arguments, cwd=REPOSITORY, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "was not brought up to date" in done.stderr
    result = json.loads(done.stdout)
    assert (result["store"], result["decisions_sha256"]) == ("", whole["decisions_sha256"])
