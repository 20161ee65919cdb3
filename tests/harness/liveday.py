"""A paper day as a process, and a release that a trainer publishes under it: what became of it, in figures."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time

from bus.calendar import to_datetime
from bus.messages import CalibratedForecast, ModelAdmitted, ModelPromoted, ModelRolledBack, RunResumed, RunStarted
from daemon.journal import read, segments
from daemon.replay import replay
from tests.harness.command import REPOSITORY
from tests.harness.reign import mixed

LOOK_S = 0.5


def daemon(*arguments):
    return [sys.executable, "-m", "daemon", *map(str, arguments)]


def under_a_running_day(config, state, *, pace, older, newer, decided=50, within_s=600):
    """Begin with an older release, publish a newer one under the running day, and stop some time after its promotion.

    Args:
        config: of the day; its swap policy promotes by rule.
        state: an empty state directory.
        pace: of the day, so slow that a training fits into it.
        older: arguments of the training before the day.
        newer: of the one under it.
        decided: requests that the newer model is to decide before the day is stopped.
        within_s: seconds that all of it may take.
    """
    began, common = time.monotonic(), ("--config", config, "--state", state, "--json")
    before = json.loads(subprocess.check_output(daemon("train", *common, *older), cwd=REPOSITORY, text=True))
    day = subprocess.Popen(
        daemon("paper", "--headless", "--no-web", "--pace", pace, *common), cwd=REPOSITORY, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    journal = state / "runs" / "0001" / "journal"

    def wait_for(kind, wanted, count=1):
        while True:
            found = [each for each in said(journal, kind) if wanted(each)]
            if len(found) >= count:
                return found
            assert day.poll() is None, f"the day ended: {day.communicate()[1][-2000:]}"
            assert time.monotonic() - began < within_s, f"no {kind.__name__} within {within_s} s"
            time.sleep(LOOK_S)

    try:
        wait_for(CalibratedForecast, lambda each: each.active)
        published = subprocess.run(
            daemon("train", "--stage", *common, *newer), cwd=REPOSITORY, capture_output=True, text=True, check=True
        )
        release = json.loads(published.stdout)["releases"][0]
        (admitted,) = wait_for(ModelAdmitted, lambda each: each.candidate)
        wait_for(ModelPromoted, lambda _: True)
        wait_for(CalibratedForecast, lambda each: each.active and each.model_id == admitted.model_id, decided)
    finally:
        day.send_signal(signal.SIGTERM)
        out, errors = day.communicate(timeout=120)
    assert day.returncode == 0, errors[-2000:]
    messages = [record.message for record in read(journal)]
    return figures(messages, before["releases"][0], release, admitted) | {
        "ended": json.loads(out.splitlines()[-1])["ended"],
        "processes": 1 + sum(isinstance(each, RunResumed) for each in messages),
        "replayed_identically": replay(journal).identical,
        "decisions_of_two_models": len(mixed(messages)),
        "took_s": round(time.monotonic() - began),
    }


def said(journal, kind):
    if not (journal.is_dir() and segments(journal)):
        return []
    return [record.message for record in read(journal) if isinstance(record.message, kind)]


def figures(messages, before, release, admitted):
    """Who traded when, and by what right."""
    promoted = [each for each in messages if isinstance(each, ModelPromoted)]
    shadow = [each for each in messages if isinstance(each, CalibratedForecast) and not each.active
              and each.model_id == admitted.model_id]  # fmt: skip
    active = [each.model_id for each in messages if isinstance(each, CalibratedForecast) and each.active]
    return {
        "incumbent": before["active"],
        "candidate": release["active"],
        "candidate_is_the_published_one": admitted.model_id == release["active"],
        "verdict": admitted.verdict,
        "began": when(next(each for each in messages if isinstance(each, RunStarted)).ts_init_ns),
        "admitted": when(admitted.ts_init_ns),
        "shadow_forecasts": len(shadow),
        "promoted": when(promoted[0].ts_init_ns),
        "replaced": promoted[0].replaced,
        "rule": promoted[0].rule,
        "reason": promoted[0].reason,
        "decided_by_incumbent": active.count(before["active"]),
        "decided_by_candidate": active.count(release["active"]),
        "reigns": 1 + sum(one != other for one, other in itertools.pairwise(active)),
        "rolled_back": sum(isinstance(each, ModelRolledBack) for each in messages),
    }


def when(ts_ns):
    return f"{to_datetime(ts_ns):%Y-%m-%d %H:%M}"
