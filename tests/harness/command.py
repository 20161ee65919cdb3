"""`plimsoll` as a user runs it: a process, a configuration for a short day, a state directory."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]

# A short day: a tenth of the sample's bars is traded.
CONFIG = """
[data]
train_pct = 60
calibrate_pct = 30
trade_pct = 10
"""


def plimsoll(*arguments, hash_seed="0", **options):
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    command = [sys.executable, "-m", "daemon", *map(str, arguments)]
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False, **options
    )


def paper_arguments(base: Path, state: Path, *more, config="plimsoll.toml"):
    return ["paper", "--headless", "--json", "--seed", "7", "--no-web", "--config", base / config,
            "--state", state, *more]  # fmt: skip


def last_line(done):
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


# The same day without what follows it, for tests that run it a hundred times.
BARE = (
    CONFIG
    + """
[report]
enabled = false
[store]
enabled = false
"""
)


def fresh_state(base: Path, name: str) -> Path:
    state = base / name
    state.mkdir()
    shutil.copytree(base / "state" / "models", state / "models")
    return state
