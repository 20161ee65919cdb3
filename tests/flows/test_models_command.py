"""`plimsoll models` as an operator uses it: signed, published under a running day, promoted, rolled back, listed."""

import json
import signal
import subprocess
import sys
import time

import pytest

from bus.messages import CalibratedForecast, ModelAdmitted, ModelPromoted, ModelRefused, ModelRolledBack
from daemon.journal import read, segments
from daemon.replay import replay
from models.registry import Registry
from tests.harness.artifacts import HOUR, forecaster
from tests.harness.command import REPOSITORY, fresh_state, last_line, paper_arguments, plimsoll
from tests.harness.reign import mixed
from tests.harness.trained import trained as made

WHO = ("--operator", "mo", "--reason", "drill")


def models(state, *arguments, **options):
    done = plimsoll("models", *arguments, "--state", state, "--json", **options)
    return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


def journal(state):
    return max((state / "runs").iterdir()) / "journal"


def told(state, *kinds):
    return [record.message for record in read(journal(state)) if isinstance(record.message, kinds)]


def wait_for(state, *kinds, count=1, seconds=60):
    deadline = time.monotonic() + seconds
    while True:
        if (state / "runs").is_dir() and any((state / "runs").iterdir()) and segments(journal(state)):
            found = told(state, *kinds)
            if len(found) >= count:
                return found
        assert time.monotonic() < deadline, f"no {kinds} within {seconds} s"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_model_published_under_a_running_day_is_tried_trades_by_command_and_goes_back(trained, tmp_path):
    base, _ = trained
    state = fresh_state(base, "swapping")
    command = [sys.executable, "-m", "daemon", *map(str, paper_arguments(base, state, "--pace", "7200x"))]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        old = next(each for each in wait_for(state, ModelAdmitted, count=3) if each.active)
        staged = last_line(
            plimsoll("train", "--stage", "--seed", "8", "--config", base / "plimsoll.toml", "--state", state, "--json")
        )
        new = staged["releases"][0]["active"]
        (candidate,) = [each for each in wait_for(state, ModelAdmitted, count=4) if each.candidate]
        assert candidate.model_id == new != old.model_id
        code, refused = models(state, "promote", "EURUSD", "ridge-0000000000", *WHO)
        assert code == 0  # the daemon says no, and on record
        assert refused["running"]
        assert "no kept release" in wait_for(state, ModelRefused)[0].reason
        models(state, "promote", "EURUSD", *WHO)
        (promoted,) = wait_for(state, ModelPromoted)
        assert (promoted.model_id, promoted.replaced, promoted.reason) == (new, old.model_id, "mo: drill")
        code, listed = models(state, "list")
        assert listed["running"]["symbols"]["EURUSD"]["before"] == [old.model_id]
        models(state, "rollback", "EURUSD", *WHO)
        (back,) = wait_for(state, ModelRolledBack)
        assert (back.model_id, back.replaced) == (old.model_id, new)
    finally:
        process.send_signal(signal.SIGTERM)
        said, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert json.loads(said.splitlines()[-1])["ended"] == "SIGTERM"
    assert replay(journal(state)).identical
    assert mixed([record.message for record in read(journal(state))]) == []
    assert told(state, CalibratedForecast)
    assert Registry(state / "models").active("EURUSD", HOUR) == old.model_id
    code, listed = models(state, "list")
    assert code == 0
    here = listed["running"]["symbols"]["EURUSD"]
    assert here["trades"] == old.model_id
    assert new in here["shadow"]
    assert "random walk" in here["shadow"][new]
    assert [each["model_id"] for each in listed["running"]["refused"]] == ["ridge-0000000000"]
    text = plimsoll("models", "list", "--state", state).stdout
    assert "no kept release" in text
    # the day goes on with the model that trades in it
    again = last_line(plimsoll(*paper_arguments(base, state)))
    assert again["ended"] == "end of data"
    assert again["recovered_inputs"] > 0
    assert mixed([record.message for record in read(journal(state))]) == []


def test_models_are_signed_and_unsigned_ones_refused_where_signatures_are_required(tmp_path):
    state, key = tmp_path / "state", tmp_path / "key.pem"
    registry = Registry(state / "models")
    registry.publish(made().artifacts, active=made().active)
    public = last_line(plimsoll("models", "keygen", "--key", key, "--json"))["public_key"]
    config = tmp_path / "plimsoll.toml"
    config.write_text(f'[models]\nrequire_signature = true\ntrusted_keys = ["{public}"]\n')
    code, verdicts = models(state, "verify", "--config", config)
    assert code == 1
    assert all("not signed" in each["problem"] for each in verdicts["verdicts"])
    code, signed = models(state, "sign", "--key", key)
    assert code == 0
    assert len(signed["signed"]) == 3
    code, verdicts = models(state, "verify", "--config", config)
    assert (code, {each["problem"] for each in verdicts["verdicts"]}) == (0, {""})
    code, shown = models(state, "show", made().active, "--config", config)
    assert shown["signer"] == public
    assert "random walk" in shown["verdict"]
    assert len(shown["code"]["models_sha256"]) == 64
    key.chmod(0o644)
    code, error = models(state, "sign", "--key", key)
    assert code != 0
    assert "chmod 600" in error
    config.write_text("[models]\nrequire_signature = true\n")
    assert "trusted_keys" in plimsoll("models", "verify", "--state", state, "--config", config).stderr


def test_without_a_running_daemon_a_swap_changes_what_the_next_run_begins_with(tmp_path):
    state = tmp_path / "state"
    registry = Registry(state / "models")
    for seed in (0, 1):
        registry.publish([forecaster(seed)], active=forecaster(seed).model_id)
    code, said = models(state, "rollback", "EURUSD", *WHO)
    assert (code, said["running"], said["model"]) == (0, False, forecaster(0).model_id)
    assert registry.active("EURUSD", HOUR) == forecaster(0).model_id
    models(state, "promote", "EURUSD", *WHO)
    assert registry.active("EURUSD", HOUR) == forecaster(1).model_id
    code, error = models(state, "promote", "GBPUSD", *WHO)
    assert code != 0
    assert "nothing was published for GBPUSD" in error
    code, error = models(state, "promote", "EURUSD")
    assert code != 0  # nobody swaps models anonymously
    assert "operator" in error
