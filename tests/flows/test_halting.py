"""`plimsoll halt`, `flatten` and `resume` as an operator types them, and a signal to the running process."""

import json

import pytest

from tests.harness.command import plimsoll


def halted(state):
    return json.loads((state / "halt.json").read_text())


def test_a_halt_in_a_hurry_needs_nothing_but_the_word(tmp_path):
    done = plimsoll("halt", "--state", tmp_path)

    assert done.returncode == 0, done.stderr
    assert halted(tmp_path)["level"] == 3
    assert halted(tmp_path)["operator"]


def test_flatten_is_the_highest_halt(tmp_path):
    done = plimsoll("flatten", "--state", tmp_path, "--operator", "mo", "--reason", "news", "--json")

    assert json.loads(done.stdout) == {"halted": True, "level": "flatten", "state": str(tmp_path)}
    assert halted(tmp_path) == {"level": 3, "operator": "mo", "reason": "news"}


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        (("--operator", "", "--reason", "checked"), "a named operator"),
        (("--operator", "  ", "--reason", "checked"), "a named operator"),
        (("--operator", "mo", "--reason", ""), "a reason"),
        (("--operator", "-", "--reason", "."), "a named operator and a reason"),
    ],
)
def test_resuming_without_a_name_or_a_reason_is_refused_in_one_line(tmp_path, arguments, missing):
    plimsoll("halt", "--state", tmp_path)
    done = plimsoll("resume", "--state", tmp_path, *arguments)

    assert done.returncode != 0
    assert missing in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "halt.json").is_file()
