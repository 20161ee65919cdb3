"""The state directory: one writer at a time, and a kill switch that no restart forgets."""

import os
import subprocess
import sys

import pytest

from bus.errors import ConfigError
from bus.messages import HaltLevel
from daemon.state import State


def test_a_second_process_is_refused_and_told_who_holds_the_state(tmp_path):
    state = State(tmp_path)
    script = (
        "import sys; from pathlib import Path; from daemon.state import State\n"
        "with State(Path(sys.argv[1])).lock(): pass"
    )
    with state.lock():
        second = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)], check=False, capture_output=True, text=True
        )
        assert f"in use by process {os.getpid()}" in second.stderr
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False).returncode == 0


def test_runs_are_numbered_and_an_unfinished_one_is_found(tmp_path):
    state = State(tmp_path)
    assert state.last_run() is None
    first = state.new_run()
    first.journal.mkdir()
    first.finish()
    second = state.new_run()

    assert [run.name for run in state.runs()] == ["0001", "0002"]
    assert state.last_run().name == "0001"  # the second has no journal yet
    assert state.last_run().finished
    assert not second.finished


def test_the_kill_switch_stays_thrown_until_somebody_resumes(tmp_path):
    State(tmp_path).halt(HaltLevel.FLATTEN, "mo", "spread looks wrong")

    halted = State(tmp_path).halted()
    assert (halted.level, halted.operator, halted.reason) == (HaltLevel.FLATTEN, "mo", "spread looks wrong")

    assert State(tmp_path).resume("mo", "checked with the broker")
    assert State(tmp_path).halted() is None
    assert State(tmp_path).take_resume().reason == "checked with the broker"
    assert State(tmp_path).take_resume() is None


def test_a_damaged_kill_switch_file_halts(tmp_path):
    (tmp_path / "halt.json").write_text("{")
    halted = State(tmp_path).halted()
    assert halted.level == HaltLevel.NO_NEW_RISK
    assert "not valid" in halted.reason


def test_a_state_directory_that_cannot_be_made_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="choose one with --state"):
        State(tmp_path / "file" / "state").create()
