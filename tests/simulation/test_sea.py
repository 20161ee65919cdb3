"""The whole daemon against the venue in virtual time: five hundred seeded disasters, and a storm of lost connections.

What must hold is written in tests/harness/sea.py: no order twice, none before it is durable, every fill once, the book
like the venue at rest, every position protected, no new risk under a latched halt, every decision one model's and that
of the model in force, the same one after every start, money conserved, bars without a gap, well within a minute after
the last fault, and a replay that is identical.

One seed alone:            PLIMSOLL_SEED=123 pytest tests/simulation/test_sea.py
Many more than make test:  make simulate SEEDS=20000
"""

import os
import subprocess
import sys

import pytest

from tests.harness.command import REPOSITORY
from tests.harness.disasters import with_resting
from tests.harness.sea import Sea

BATCH = 10
ALONE = os.environ.get("PLIMSOLL_SEED")
SEEDS = int(os.environ.get("PLIMSOLL_SEEDS", "500"))
FIRST = [int(ALONE)] if ALONE else range(0, SEEDS, BATCH)


def sailed(seed, folder, **more):
    patch = pytest.MonkeyPatch()
    try:
        with_resting(patch)
        sea = Sea(seed, folder, patch, **more)
        sea.run()
        return sea
    finally:
        patch.undo()


def report(seed, problems):
    how = f"PLIMSOLL_SEED={seed} .venv/bin/pytest tests/simulation/test_sea.py"
    return f"seed {seed}; alone: {how}\n" + "\n".join(problems[:10])


@pytest.mark.slow
@pytest.mark.parametrize("first", FIRST)
def test_no_disaster_breaks_an_invariant(first, tmp_path, record_property):
    seeds = range(first, first + (1 if ALONE else BATCH))
    for seed in seeds:
        sea = sailed(seed, tmp_path / str(seed))
        assert not sea.problems, report(seed, sea.problems)
    record_property("seeds", len(seeds))


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 1 if ALONE else 20, 5))
def test_fifty_losses_in_ten_minutes_leave_no_gap_and_break_no_limit(first, tmp_path):
    for seed in range(first, first + 5):
        sea = sailed(seed, tmp_path / str(seed), losses=50)
        seen = sea.network.seen
        assert not sea.problems, report(seed, sea.problems)
        assert sea.losses_seen >= 50
        assert seen.sockets.most <= 2
        assert seen.sent_requests.most <= 50
        assert seen.sent_history.most <= 5
        assert sea.well_after_s <= 60


def test_the_same_seed_gives_the_same_journal_in_any_process(tmp_path):
    program = (
        "import sys; from pathlib import Path; from tests.simulation.test_sea import sailed;"
        "print(sailed(int(sys.argv[1]), Path(sys.argv[2])).digest)"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program, "11", str(tmp_path / hash_seed)], cwd=REPOSITORY, text=True,
            env={**os.environ, "PYTHONHASHSEED": hash_seed}, capture_output=True, check=True,
        ).stdout
        for hash_seed in ("1", "4242")
    }  # fmt: skip
    assert len(digests) == 1
