"""Hostile servers and clients: no crash, no hang over a second, no memory beyond 100 MB, and usable afterwards."""

import importlib.util
import json
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.harness.ctrader_targets import TARGETS, Choices

ROOT = Path(__file__).parents[2]
SECOND = settings(max_examples=250, deadline=timedelta(seconds=1), suppress_health_check=list(HealthCheck))
# Short ones shrink well, long ones reach far.
DECISIONS = st.one_of(
    st.binary(max_size=400),
    st.builds(lambda seed, size: Random(seed).randbytes(size), st.integers(0, 2**32), st.integers(400, 3_000)),
)


@pytest.mark.parametrize("name", [name for name in TARGETS if name != "line"])
@SECOND
@given(data=DECISIONS)
@example(data=b"")
def test_whatever_a_peer_sends_is_survived_within_a_second_and_the_next_honest_one_is_served(name, data):
    TARGETS[name](Choices(data))


@settings(SECOND, max_examples=120)
@given(data=st.binary(max_size=600))
def test_a_line_that_spoils_bytes_leaves_the_account_exact_once_it_is_clean(data):
    TARGETS["line"](Choices(data))


def run(script, *arguments):
    command = [sys.executable, str(ROOT / "tests" / "fuzz" / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


def test_the_largest_frames_and_floods_cost_less_than_a_second_and_100_megabytes_each():
    done = run("worst.py")
    assert done.returncode == 0, done.stderr
    cases = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(cases) > 20
    assert [each for each in cases if each["cpu_s"] >= 1 or each["grew_kb"] >= 100_000] == []


@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris is not installed; `make fuzz` installs it where it can"
)
def test_a_short_fuzzing_guided_by_coverage_finds_nothing(tmp_path):
    done = run("fuzz_ctrader.py", "-max_total_time=10", str(tmp_path))
    assert done.returncode == 0, done.stderr[-3_000:]
    units = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    assert units is not None
    assert int(units[1]) > 50, "not even what it begins with"
