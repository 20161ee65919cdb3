"""Two hundred seeded disasters: whatever happens, the invariants of tests/harness/auditor.py hold.

One seed alone:            PLIMSOLL_SEED=123 pytest tests/simulation/test_disasters.py
Many more than make test:  PLIMSOLL_SEEDS=5000 pytest -n 2 tests/simulation/test_disasters.py
"""

import os

import pytest

from tests.harness.verdicts import problems_of

BATCH = 20
ALONE = os.environ.get("PLIMSOLL_SEED")
SEEDS = int(os.environ.get("PLIMSOLL_SEEDS", "200"))
FIRST = [int(ALONE)] if ALONE else range(0, SEEDS, BATCH)


@pytest.mark.slow
@pytest.mark.parametrize("first", FIRST)
def test_no_disaster_breaks_an_invariant(first, tmp_path, monkeypatch, record_property):
    seeds = range(first, first + (1 if ALONE else BATCH))
    for seed in seeds:
        problems = problems_of(seed, tmp_path / "sim", monkeypatch)
        how = f"PLIMSOLL_SEED={seed} .venv/bin/pytest tests/simulation/test_disasters.py"
        assert not problems, f"seed {seed}; alone: {how}\n" + "\n".join(problems[:10])
    record_property("seeds", len(seeds))
