"""A training run's folder, its wishes by signal and command, and what is left when its process dies."""

import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from bus.errors import ConfigError
from daemon.config import Config, load
from daemon.tensorboard import EventFile, crc32c
from daemon.trainingreport import curves, write_report
from daemon.trainingrun import TrainingRun, choose, named
from models.learning import Learning
from tests.harness.command import REPOSITORY, last_line, plimsoll

pytestmark = pytest.mark.timeout(240)
needs_torch = pytest.mark.skipif(
    not any((Path(place) / "torch").is_dir() for place in sys.path), reason="torch is not installed (`make torch`)"
)

# ---- runs


def test_a_run_is_continued_by_the_same_settings_and_another_one_begun_by_others(tmp_path):
    config, other = Config(), Config(training=Learning(epochs=3))
    first = choose(tmp_path, config, None, new=False, rank=0, world=1)
    assert first.name == "0001"
    with first.held(config):
        pass
    assert choose(tmp_path, config, None, new=False, rank=0, world=1).name == "0001"
    assert choose(tmp_path, other, None, new=False, rank=0, world=1).name == "0002"
    assert choose(tmp_path, config, None, new=True, rank=0, world=1).name == "0002"
    with pytest.raises(ConfigError, match="begun with other settings"), first.held(other):
        pass
    first.finish()
    assert choose(tmp_path, config, None, new=False, rank=0, world=1).name == "0002"
    with pytest.raises(ConfigError, match="is finished"), first.held(config):
        pass
    assert not named(tmp_path, "1").active()


def test_where_a_configuration_came_from_makes_no_other_run(tmp_path):
    here = msgspec.structs.replace(Config(), file="a.toml", sources={"models.seed": "command line"}, state="x")
    run = choose(tmp_path, here, None, new=False, rank=0, world=1)
    with run.held(here):
        pass
    assert choose(tmp_path, Config(), None, new=False, rank=0, world=1).name == run.name


@pytest.mark.parametrize("name", ["", "../x", ".hidden", "a/b", "x" * 65])
def test_a_name_that_is_no_folders_name_is_refused(name, tmp_path):
    with pytest.raises(ConfigError, match="letters, digits"):
        choose(tmp_path, Config(), name, new=False, rank=0, world=1)


def test_several_processes_must_name_their_run(tmp_path):
    with pytest.raises(ConfigError, match="name it with --run"):
        choose(tmp_path, Config(), None, new=False, rank=1, world=2)


def test_a_run_belongs_to_one_process(tmp_path):
    run = TrainingRun(tmp_path / "r")
    with run.held(Config()):
        assert run.active()
        with pytest.raises(ConfigError, match="belongs to another process"), TrainingRun(tmp_path / "r").held(Config()):
            pass
    assert not run.active()


def test_only_a_run_that_runs_can_be_asked_for_something(tmp_path):
    run = TrainingRun(tmp_path / "r")
    with run.held(Config()):
        TrainingRun(tmp_path / "r").ask("pause")
        time.sleep(0.11)  # it looks ten times a second
        assert run.wish() == "pause"
        assert run.wish() is None
    with pytest.raises(ConfigError, match="is not running"):
        run.ask("stop")
    with pytest.raises(ConfigError, match="there are r"):
        named(tmp_path, "q")


def test_signals_become_wishes_while_somebody_listens_and_end_the_process_where_nobody_does(tmp_path):
    run, stopped = TrainingRun(tmp_path / "r"), []
    before = signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
    try:
        with run.held(Config()):
            os.kill(os.getpid(), signal.SIGTERM)
            assert stopped == [1]
            os.kill(os.getpid(), signal.SIGUSR1)
            assert run.wish() is None
            with run.listening():
                for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM):
                    os.kill(os.getpid(), number)
                assert [run.wish(), run.wish()] == ["save", "pause"]
                os.kill(os.getpid(), signal.SIGUSR2)
                assert [run.wish(), run.wish(), run.wish()] == ["stop", "resume", None]
                assert stopped == [1]
                os.kill(os.getpid(), signal.SIGTERM)
                os.kill(os.getpid(), signal.SIGTERM)  # a second one is not patient
                assert stopped == [1, 1]
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopped == [1, 1, 1]
    finally:
        signal.signal(signal.SIGTERM, before)


# ---- processes that die


_STARTED = []


def trainee(folder, *arguments, **environment):
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.harness.trainee", str(folder), *map(str, arguments)],
        cwd=REPOSITORY, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    _STARTED.append(process)
    return process


@pytest.fixture(autouse=True)
def _no_process_outlives_its_test():
    yield
    while _STARTED:
        with _STARTED.pop() as process:
            process.kill()


def outcome(process, code=0):
    out, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors[-2000:]
    return json.loads(out) if out else errors


def wait_for_epoch(folder, process, number=1):
    """Until an epoch's checkpoint lies there; then steps of the next one are being made."""
    while not (folder / "checkpoints" / "EURUSD-small" / f"step-{6 * number:010d}.json").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)


@needs_torch
def test_told_to_stop_within_a_step_and_killed_in_another_it_ends_in_the_same_bits_as_if_undisturbed(tmp_path):
    run = tmp_path / "run"
    process = trainee(run, 0.1)
    wait_for_epoch(run, process)
    process.send_signal(signal.SIGTERM)
    assert "the same command goes on" in outcome(process, 130)
    assert not (run / "finished").exists()

    process = trainee(run, 0.1)
    wait_for_epoch(run, process, 3)
    process.kill()
    process.communicate()
    assert not (run / "finished").exists()

    rest, whole = outcome(trainee(run)), outcome(trainee(tmp_path / "undisturbed"))
    assert rest["sha256"] == whole["sha256"]
    assert 0 < rest["steps"] <= whole["steps"] - 18
    assert (run / "finished").exists()
    assert (run / "log.txt").read_text().count("going on from checkpoint") == 2


@needs_torch
def test_a_run_pauses_goes_on_saves_and_stops_by_command(tmp_path):
    run = tmp_path / "training" / "r"
    process = trainee(run, 0.05, 10_000)
    wait_for_epoch(run, process)
    log = run / "log.txt"

    def until(words):
        while words not in log.read_text():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)

    done = plimsoll("train", "control", "r", "pause", "--state", tmp_path, "--json")
    assert last_line(done) == {"run": "r", "asked": "pause"}
    until("paused after")
    steps = (run / "metrics.jsonl").read_bytes()
    time.sleep(0.3)
    assert (run / "metrics.jsonl").read_bytes() == steps
    for command, words in (("resume", "going on"), ("save", "asked to save")):
        TrainingRun(run).ask(command)
        until(words)
    TrainingRun(run).ask("stop")
    assert "was stopped after" in outcome(process, 130)


# ---- what it shows


def records(path):
    """The events of a file, checksums compared: lengths, wall time, and the rest of each message."""
    data, found = path.read_bytes(), []
    while data:
        (length,) = struct.unpack_from("<Q", data)
        for start, size in ((0, 8), (12, length)):
            part = data[start : start + size]
            value = crc32c(part)
            masked = ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF
            assert struct.unpack_from("<I", data, start + size) == (masked,)
        found.append(data[12 : 12 + length])
        data = data[16 + length :]
    return found


def events_of(path):
    """Decoded by protobuf itself, from a description of the messages as TensorBoard has them."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="event.proto", package="t", syntax="proto3")

    def message(name, *fields):
        made = file.message_type.add(name=name)
        for number, field, kind, label, of in fields:
            made.field.add(name=field, number=number, type=kind, label=label, **({"type_name": of} if of else {}))

    one, many = 1, 3
    message("Value", (1, "tag", 9, one, ""), (2, "simple_value", 2, one, ""))
    message("Summary", (1, "value", 11, many, ".t.Value"))
    message("Event", (1, "wall_time", 1, one, ""), (2, "step", 3, one, ""), (3, "file_version", 9, one, ""),
            (5, "summary", 11, one, ".t.Summary"))  # fmt: skip
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    kind = message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Event"))
    return [kind.FromString(each) for each in records(path)]


def test_the_checksum_is_the_published_one():
    # RFC 3720, B.4
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E


def test_tensorboard_finds_every_figure_of_steps_and_epochs(tmp_path):
    board = EventFile(tmp_path)
    common = {"symbol": "EURUSD", "network": "tcn", "epochs": 3, "at_s": 1.0}
    board.add({"kind": "step", "step": 300, "loss": 0.5, "rate": 0.001, "epoch": 0, **common})
    board.add({"kind": "checkpoint", "step": 300, **common})
    board.add(
        {"kind": "epoch", "step": 70_000, "train_loss": 0.25, "validation_loss": float("nan"), "epoch": 1, **common}
    )
    board.close()
    (path,) = tmp_path.iterdir()
    assert "tfevents" in path.name
    first, step, epoch = events_of(path)
    assert first.file_version == "brain.Event:2"
    assert (step.step, epoch.step) == (300, 70_000)
    assert {value.tag: value.simple_value for value in step.summary.value} == pytest.approx(
        {"EURUSD-tcn/loss": 0.5, "EURUSD-tcn/rate": 0.001}
    )
    assert [value.tag for value in epoch.summary.value] == ["EURUSD-tcn/train_loss"]
    assert abs(step.wall_time - time.time()) < 60


def told(epoch, loss, **more):
    return {"kind": "epoch", "symbol": "EURUSD", "network": "tcn", "epoch": epoch, "epochs": 9, "step": 6 * epoch,
            "rate": 1e-3, "samples_per_s": 100.0, "left_s": 1.0, "train_loss": loss, "validation_loss": loss + 0.1,
            "best_loss": loss, **more}  # fmt: skip


def test_the_page_of_a_run_shows_curves_figures_log_and_settings_and_runs_nothing(tmp_path):
    run = TrainingRun(tmp_path / "r")
    with run.held(Config()):
        run.note("EURUSD tcn: precision: fp32 (<because>)")
        for epoch in (1, 2, 3):
            run.tell(told(epoch, 1.0 / epoch))
    with (run.folder / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "epo')  # cut short by a crash
    page = write_report(run.folder).read_text()
    assert page.count("<polyline") == 2
    assert "3 of at most 9" in page
    assert "fp32 (&lt;because&gt;)" in page
    assert "Not finished" in page
    assert "<script" not in page
    assert "architectures" in page
    run.finish()
    assert "Finished" in write_report(run.folder).read_text()
    assert "No epoch was finished" in curves([])


def test_a_curve_goes_down_where_losses_do():
    drawn = curves([told(epoch, 1.0 / epoch) for epoch in (1, 2, 3)])
    heights = [float(point.split(",")[1]) for point in drawn.split('points="')[1].split('"')[0].split()]
    assert heights == sorted(heights)
    assert len(set(heights)) == 3


# ---- the command


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    base = tmp_path_factory.mktemp("planned")
    (base / "plimsoll.toml").write_text("[training]\nepochs = 2\nsave_every_s = 0.0\n")
    return base


@needs_torch
def test_a_dry_run_tells_the_plan_with_reasons_and_trains_nothing(planned):
    done = plimsoll("train", "--dry-run", "--model", "gru", "--model", "ridge", "--strategy", "accurate",
                    "--config", planned / "plimsoll.toml", "--state", planned / "dry", "--json")  # fmt: skip
    plans = last_line(done)["plans"]
    assert {line["what"]: line["runs"] for line in plans["EURUSD gru"]}["strategy"] == "accurate"
    assert all(line["why"] for line in plans["EURUSD gru"])
    assert plans["EURUSD ridge"][0]["why"] == "there is nothing to choose"
    assert not (planned / "dry").exists()


@needs_torch
def test_a_training_leaves_a_run_with_everything_in_it_and_publishes(planned):
    state = planned / "state"
    done = last_line(
        plimsoll("train", "--model", "gru", "--config", planned / "plimsoll.toml", "--state", state, "--json")
    )
    run = state / "training" / done["run"]
    assert done["releases"][0]["active"].startswith("gru-")
    kept = {path.name for path in run.iterdir()}
    assert {
        "config.json",
        "environment.json",
        "log.txt",
        "metrics.jsonl",
        "report.html",
        "finished",
        "checkpoints",
    } <= kept
    log = (run / "log.txt").read_text()
    for what in ("precision: fp32", "compile: off", "optimiser: adamw", "memory:", "data: resident"):
        assert f"EURUSD gru: {what}" in log
    figures = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [each["epoch"] for each in figures if each["kind"] == "epoch"] == [1, 2]
    assert json.loads((run / "environment.json").read_text())["torch"]
    assert "polyline" in (run / "report.html").read_text()
    again = plimsoll(
        "train", "--model", "gru", "--run", done["run"], "--config", planned / "plimsoll.toml", "--state", state
    )
    assert again.returncode == 78
    assert "is finished" in again.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('strategy = "quick"', 'training.strategy = "quick": expected one of fast, balanced, accurate'),
        ("batch = -1", "training.batch = -1"),
        ("epoch = 3", "training.epoch is unknown; did you mean epochs?"),
        ('strategy = "accurate"\nprecision = "bf16"', "training.precision = 'bf16' with strategy = 'accurate'"),
    ],
)
def test_a_setting_that_cannot_be_obeyed_is_one_line_with_a_way_out(text, says, tmp_path):
    path = tmp_path / "plimsoll.toml"
    path.write_text(f"[training]\n{text}\n")
    with pytest.raises(ConfigError, match=re.escape(says)):
        load(path)
