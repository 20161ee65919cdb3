"""Whole processes: how soon the core is ready and how much memory it holds; the pace of `paper --pace max`."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.common import report

REPOSITORY = Path(__file__).parents[1]

STARTS = 5

READY = """
import resource, sys, tempfile, time
from pathlib import Path
from daemon.engine import Engine, settle_memory
from tests.harness.paper import START_NS, opening
engine = Engine(Path(tempfile.mkdtemp()))
for message in opening():
    engine.step(message)
settle_memory()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "torch" in sys.modules, flush=True)
"""


def core_ready() -> tuple[float, int]:
    """Median seconds from process start to a started core with its journal, and its resident memory in MB."""
    times, memory = [], 0
    for _ in range(STARTS):
        begin = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", READY], cwd=REPOSITORY, capture_output=True, text=True, check=True)
        times.append(time.perf_counter() - begin)
        size, torch = done.stdout.split()
        assert torch == "False"
        memory = int(size)
    return sorted(times)[STARTS // 2], memory


def paper(state: Path) -> tuple[dict, float, int]:
    """The last line of one whole `plimsoll paper`, its seconds and its peak resident memory in MB."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "daemon", "paper", "--headless", "--json", "--no-web", "--state", str(state)],
        cwd=REPOSITORY, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, output
    return json.loads(output.splitlines()[-1]), time.perf_counter() - begin, usage.ru_maxrss // 1024


def paper_ready(state: Path) -> tuple[float, int]:
    """Seconds until a paper process with status page and inference takes quotes, and its resident memory in MB then."""
    before = set(state.glob("runs/*/journal/*.seg"))
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "daemon", "paper", "--headless", "--pace", "real", "--port", "0", "--state", str(state)],
        cwd=REPOSITORY, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while not set(state.glob("runs/*/journal/*.seg")) - before:
            time.sleep(0.001)
        ready_s = time.perf_counter() - begin
        time.sleep(1)
        status = Path(f"/proc/{process.pid}/status").read_text()
    finally:
        process.terminate()
        process.wait(30)
    return ready_s, int(status.split("VmRSS:")[1].split()[0]) // 1024


def main() -> None:
    state = Path(tempfile.mkdtemp())
    try:
        first, first_s, _ = paper(state)
        again, again_s, peak_mb = paper(state)
        paper_ready_s, paper_mb = paper_ready(state)
    finally:
        shutil.rmtree(state)
    assert first["decisions_sha256"] == again["decisions_sha256"]
    ready_s, ready_mb = core_ready()
    report(
        "process",
        core_ready_s=round(ready_s, 3),
        core_resident_mb=ready_mb,
        paper_ready_s=round(paper_ready_s, 3),
        paper_resident_mb=paper_mb,
        paper_first_s=round(first_s, 2),
        paper_again_s=round(again_s, 2),
        paper_peak_resident_mb=peak_mb,
        paper_bars_per_s=round(again["bars"] / again["run_s"]),
        paper_quotes_per_s=round(again["quotes"] / again["run_s"]),
    )


if __name__ == "__main__":
    main()
