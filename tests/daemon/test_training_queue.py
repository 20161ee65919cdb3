"""Several symbols: a process and a run each, side by side or one after another, whatever becomes of one of them."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from bus.errors import ConfigError
from daemon.app import load_data
from daemon.config import load
from daemon.state import State, is_locked
from daemon.training import train
from daemon.trainingqueue import Outcome, Place, exit_status, places, settled, table, train_symbols, words
from daemon.trainingrun import TrainingRun
from models.registry import Registry
from tests.harness.command import REPOSITORY, plimsoll
from tests.harness.markets import made_up_bars
from tests.harness.pricefiles import write_csv, write_pairs

pytestmark = pytest.mark.timeout(240)
PAIRS = ("AUDUSD", "EURUSD", "GBPUSD")
CONFIG = "[data]\nlearn_until = '2017-06-01'\ncalibrate_until = '2017-06-15'\n[models]\narchitectures = ['ridge']\n"
LONG = "[data]\nlearn_until = '2018-03-01'\ncalibrate_until = '2018-06-15'\n[models]\narchitectures = ['mlp']\n"
_STARTED = []


@pytest.fixture
def prices(tmp_path):
    (tmp_path / "c.toml").write_text(CONFIG)
    return write_pairs(tmp_path / "prices", *PAIRS)


@pytest.fixture(autouse=True)
def _no_process_outlives_its_test():
    yield
    while _STARTED:
        with _STARTED.pop() as process:
            process.kill()


def trained(folder, *more):
    return plimsoll("train", "--json", "--config", folder / "c.toml", "--state", folder / "state",
                    "--data", folder / "prices", *more)  # fmt: skip


def started(folder, *more):
    process = subprocess.Popen(
        [sys.executable, "-m", "daemon", "train", "--json", "--config", folder / "c.toml", "--state", folder / "state",
         "--data", folder / "prices", *more],
        cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    _STARTED.append(process)
    return process


def told(done):
    """What became of each symbol, by symbol."""
    found = json.loads(done.stdout)
    return found | {"symbols": {each["symbol"]: each for each in found["symbols"]}}


def until(condition, process=None):
    deadline = time.monotonic() + 120
    while not condition():
        assert process is None or process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def config_of(folder, **data):
    given = {f"data.{name}": value for name, value in data.items()}
    return load(folder / "c.toml", overrides={"data.path": str(folder / "prices"), **given})


def test_side_by_side_each_symbol_has_a_run_and_learns_what_it_would_have_learnt_in_one_process(prices, tmp_path):
    """Ends by share of the longest history, which none of the processes but the first has read."""
    write_csv(prices / "EURUSD.csv", made_up_bars(1700, 9))
    (tmp_path / "c.toml").write_text("[models]\narchitectures = ['ridge']\n")
    done = trained(tmp_path, "--symbols", "eurusd,GBPUSD", "--parallel", "2")
    assert done.returncode == 0, done.stderr
    found = told(done)
    assert {name: (each["ending"], each["run"]) for name, each in found["symbols"].items()} == {
        "EURUSD": ("published", "0001-EURUSD"),
        "GBPUSD": ("published", "0001-GBPUSD"),
    }
    config = config_of(tmp_path, symbols=("EURUSD", "GBPUSD"))
    alone = train(State(tmp_path / "alone"), config, load_data(config), seed=7)
    assert [each["models"] for each in found["releases"]] == [list(each.models) for each in alone]
    runs = tmp_path / "state" / "training"
    assert {path.name for path in runs.iterdir()} == {"0001", "0001-EURUSD", "0001-GBPUSD"}
    for name in ("0001-EURUSD", "0001-GBPUSD"):
        assert {"config.json", "log.txt", "report.html", "finished", "published.json"} <= {
            path.name for path in (runs / name).iterdir()
        }
    begun = [line for line in (runs / "0001" / "log.txt").read_text().splitlines() if " begins on " in line]
    assert len(begun) == 2


def test_one_symbol_that_fails_leaves_the_others_and_the_same_command_does_that_one_alone(prices, tmp_path):
    write_csv(prices / "EURUSD.csv", made_up_bars(700, 1))  # none after the day on which calibration ends
    first = trained(tmp_path, "--parallel", "2")
    assert first.returncode == 1
    symbols = told(first)["symbols"]
    assert [symbols[name]["ending"] for name in PAIRS] == ["published", "failed", "published"]
    assert "EURUSD has 0 bars to calibrate on" in symbols["EURUSD"]["said"]
    assert Registry(tmp_path / "state" / "models").pointer("EURUSD", 3600 * 10**9) is None

    write_csv(prices / "EURUSD.csv", made_up_bars(1500, 1))
    again = trained(tmp_path)
    assert again.returncode == 0, again.stderr
    endings = {name: each["ending"] for name, each in told(again)["symbols"].items()}
    assert endings == {"AUDUSD": "done before", "EURUSD": "published", "GBPUSD": "done before"}
    assert len(told(again)["releases"]) == 3
    assert told(again)["run"] == "0001"
    assert told(trained(tmp_path))["run"] == "0002"  # the first is finished


def test_a_dry_run_says_how_many_are_trained_at_a_time_and_where(prices, tmp_path):
    told = json.loads(trained(tmp_path, "--dry-run", "--parallel", "2").stdout)
    assert told["places"] == ["processor"] * 2
    assert set(told["plans"]) == {f"{name} ridge" for name in PAIRS}
    assert words(3, places(("0", "1"), 0)) == "3 symbols, each in a process of its own, 2 at a time on: GPU 0, GPU 1"
    assert not (tmp_path / "state").exists()


def test_a_run_with_one_symbol_is_what_it_always_was(prices, tmp_path):
    found = json.loads(trained(tmp_path, "--symbol", "EURUSD").stdout)
    assert "symbols" not in found
    assert found["run"] == "0001"


def learning(folder, *names):
    """Whether the runs of these symbols have a process that has begun to learn."""
    runs = folder / "state" / "training"
    return all(is_locked(runs / f"0001-{name}" / "lock") for name in names)


def both_have_just_begun(folder, process):
    """Wait until both places train, and keep the one that was quicker from being done before the other begins."""
    held = {}

    def begun():
        for name in ("AUDUSD", "EURUSD"):
            if name not in held and learning(folder, name):
                held[name] = next(pid for pid in children_of(process.pid) if f"0001-{name}" in command_of(pid))
                os.kill(held[name], signal.SIGSTOP)
        return len(held) == 2

    until(begun, process)
    return held.values()


def children_of(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command_of(pid):
    return Path(f"/proc/{pid}/cmdline").read_text()


def then(process, held, number):
    """Send a signal, and let them go on."""
    process.send_signal(number)
    for pid in held:
        os.kill(pid, signal.SIGCONT)


def slow(folder):
    """So much to learn that nobody is done before somebody stops it."""
    (folder / "c.toml").write_text(LONG)
    write_pairs(folder / "prices", *PAIRS, count=12_000)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_ends_all_of_them_publishes_nothing_and_the_same_command_goes_on(number, tmp_path):
    slow(tmp_path)
    process = started(tmp_path, "--parallel", "2")
    then(process, both_have_just_begun(tmp_path, process), number)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert {each["symbol"]: each["ending"] for each in json.loads(out)["symbols"]} == {
        "AUDUSD": "stopped",
        "EURUSD": "stopped",
        "GBPUSD": "not begun",
    }
    assert not learning(tmp_path, "AUDUSD")
    assert not learning(tmp_path, "EURUSD")
    assert not Registry(tmp_path / "state" / "models").list()

    again = started(tmp_path, "--parallel", "2")
    until(lambda: learning(tmp_path, "AUDUSD"), again)  # the run is the same one


def test_a_stop_that_a_library_swallows_publishes_nothing_all_the_same(prices, tmp_path, monkeypatch):
    """Being imported, some take every exception for a reason to do without something."""
    import models.train
    from daemon.training import train_in_a_run

    fit = models.train.fit_defaults

    def swallowing(*arguments, **options):
        with contextlib.suppress(BaseException):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        return fit(*arguments, **options | {"progress": None})

    def leave(*_):
        raise SystemExit(130)

    monkeypatch.setattr(models.train, "fit_defaults", swallowing)
    config = config_of(tmp_path, symbols=("EURUSD",))
    before = signal.signal(signal.SIGTERM, leave)
    try:
        with pytest.raises(SystemExit):
            train_in_a_run(State(tmp_path / "state"), config, load_data(config), TrainingRun(tmp_path / "r"),
                           show=lambda *_: None, stage=False)  # fmt: skip
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not Registry(tmp_path / "state" / "models").list()
    assert not (tmp_path / "r" / "finished").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
def test_no_process_outlives_a_queue_that_was_killed_or_whose_terminal_went_away(number, tmp_path):
    slow(tmp_path)
    process = started(tmp_path, "--parallel", "2")
    then(process, both_have_just_begun(tmp_path, process), number)
    process.wait(timeout=60)
    until(lambda: not learning(tmp_path, "AUDUSD") and not learning(tmp_path, "EURUSD"))
    assert not Registry(tmp_path / "state" / "models").list()


def test_while_it_is_paused_no_other_symbol_begins(prices, tmp_path):
    process = started(tmp_path)
    run = TrainingRun(tmp_path / "state" / "training" / "0001")
    log = run.folder / "log.txt"
    until(lambda: log.exists() and "AUDUSD begins" in log.read_text(), process)
    run.ask("pause")
    until(lambda: "AUDUSD published" in log.read_text(), process)
    until(lambda: not (run.folder / "control.json").exists(), process)
    time.sleep(0.5)
    assert "EURUSD begins" not in log.read_text()
    run.ask("resume")
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert [each["ending"] for each in json.loads(out)["symbols"]] == ["published"] * 3


def test_each_process_sees_the_device_of_its_place_alone_and_a_place_has_one_at_a_time(prices, tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    config = config_of(tmp_path)
    config = settled(config, load_data(config))
    run = TrainingRun(tmp_path / "training" / "r")
    shown = []
    outcomes = train_symbols(State(tmp_path / "state"), config, run, places(("3", "GPU-7"), 0),
                             show=lambda *said: shown.append(said), stage=False)  # fmt: skip
    assert [each.ending for each in outcomes] == ["published"] * 3
    for each in outcomes:
        seen = json.loads((run.part(each.symbol).folder / "environment.json").read_text())["visible CUDA devices"]
        assert each.place == f"GPU {seen}"
    log = (run.folder / "log.txt").read_text()
    assert re.findall(r"AUDUSD begins on the GPU (\S+)", log) == ["3"]
    assert re.findall(r"EURUSD begins on the GPU (\S+)", log) == ["GPU-7"]
    assert log.index("GBPUSD begins") > min(log.index("AUDUSD published"), log.index("EURUSD published"))
    assert run.finished
    assert shown[-1][1] == 1.0


def test_places_are_one_a_device_unless_somebody_says_how_many():
    assert places((), 0) == (Place(),)
    assert places((), 3) == (Place(),) * 3
    assert [each.device for each in places(("0", "1"), 0)] == ["0", "1"]
    assert [each.device for each in places(("0", "1"), 3)] == ["0", "1", "0"]
    assert [each.device for each in places(("0", "1"), 1)] == ["0"]
    assert "CUDA_VISIBLE_DEVICES" not in {**Place().environment()} or "CUDA_VISIBLE_DEVICES" in os.environ


def test_a_process_that_cannot_be_started_or_dies_is_a_failure_of_its_symbol(prices, tmp_path, monkeypatch):
    import daemon.children

    config = config_of(tmp_path, symbols=("EURUSD", "GBPUSD"))
    config = settled(config, load_data(config))

    def outcomes(command, name):
        monkeypatch.setattr(daemon.children, "command", command)
        run = TrainingRun(tmp_path / "training" / name)
        return train_symbols(State(tmp_path / "state"), config, run, places((), 2), show=lambda *_: None, stage=False)

    gone = outcomes(lambda *_: ["/no/such/program"], "a")
    killed = outcomes(lambda *_: ["/bin/sh", "-c", "kill -9 $$"], "b")
    silent = outcomes(lambda *_: ["/bin/sh", "-c", "exit 3"], "c")
    assert {each.ending for each in (*gone, *killed, *silent)} == {"failed"}
    assert "No such file" in gone[0].said
    assert "SIGKILL" in killed[0].said
    assert "status 3" in silent[0].said


def test_a_queue_with_other_settings_is_another_run(prices, tmp_path):
    config = config_of(tmp_path)
    config = settled(config, load_data(config))
    run = TrainingRun(tmp_path / "training" / "r")
    with run.held(config):
        pass
    other = replace(config, data=replace(config.data, calibrate_until="2017-06-16"))
    with pytest.raises(ConfigError, match="begun with other settings"):
        train_symbols(State(tmp_path / "state"), other, run, places((), 1), show=lambda *_: None, stage=False)


def test_the_table_and_the_status_say_what_became_of_each():
    done = Outcome(symbol="EURUSD", ending="stopped", run="0001-EURUSD", took_s=4.0, place="GPU 0", said="goes on")
    failed = replace(done, symbol="GBPUSD", ending="failed", run="0001-GBPUSD", said="no data")
    waiting = Outcome(symbol="USDJPY", ending="not begun", run="0001-USDJPY")
    assert exit_status([failed, done]) == 1
    assert exit_status([done, waiting]) == 130
    lines = table([done, failed, waiting]).splitlines()
    assert len(lines) == 4
    assert lines[2].split() == ["GBPUSD", "failed", "-", "0001-GBPUSD", "GPU", "0", "4", "s", "no", "data"]
    assert len({line.index("0001-") for line in lines[1:]}) == 1
