"""What every benchmark needs: percentiles, and one JSON line with what the machine is."""

import json
import os
import platform


def percentiles(ns_list):
    """The 50th and 99th percentile (nearest rank) of durations in nanoseconds, in microseconds."""
    ordered = sorted(ns_list)
    return {f"p{rank}": round(ordered[-(-len(ordered) * rank // 100) - 1] / 1_000, 2) for rank in (50, 99)}


def report(name, **figures):
    """Print one JSON line: the benchmark's name, its figures, and the machine."""
    machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "machine": platform.machine()}
    print(json.dumps({"bench": name, **figures, **machine}), flush=True)
