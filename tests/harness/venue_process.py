"""`plimsoll venue` as a process of its own."""

import contextlib
import json
import subprocess
import sys

from tests.harness.command import REPOSITORY


@contextlib.contextmanager
def venue_process(*arguments):
    """Run it, give what its first line says, and end it with SIGTERM, which it must obey."""
    process = subprocess.Popen(
        [sys.executable, "-m", "daemon", "venue", "--json", *map(str, arguments)],
        cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        yield json.loads(line)
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    assert not errors, errors
