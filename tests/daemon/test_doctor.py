"""The doctor: what it finds on machines that are not well."""

import io
import os
import socket
import stat

import msgspec
import pytest
from rich.console import Console

from daemon import doctor
from daemon.config import load
from daemon.doctor import describe, fit, print_checks, run_checks
from daemon.settings import PROFILES


@pytest.fixture(autouse=True)
def empty_surroundings(monkeypatch, tmp_path):
    for name in ("PLIMSOLL_PROFILE", "PLIMSOLL_STORE_URL", "PLIMSOLL_BUS_URL", "PLIMSOLL_STATE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


def config(**overrides):
    return load(None, PROFILES[0], {key.replace("__", "."): value for key, value in overrides.items()})


def only(results, name):
    (found,) = [result for result in results if result.name == name]
    return found


def test_a_fit_machine_passes_and_every_check_says_what_it_found(tmp_path):
    results = run_checks(config(web__port=0), tmp_path / "state")

    assert fit(results), describe(results)
    assert len({result.name for result in results}) == len(results) >= 12
    assert all(result.found for result in results)
    assert all(bool(result.advice) == (result.status != "ok") for result in results)
    assert not (tmp_path / "state").exists()
    assert all(result.name in describe(results) for result in results)
    assert msgspec.json.encode(results)
    console = Console(file=io.StringIO())
    print_checks(results, console)
    assert all(result.found in console.file.getvalue() for result in results)


def test_a_missing_package_fails_and_a_different_version_warns(tmp_path):
    lock = tmp_path / "requirements.lock"
    lock.write_text("msgspec==0.0.1 \\\n    --hash=sha256:00\nrich==1 ; python_version < '3'\nrich==2\n")

    assert doctor.check_packages(["no-such-package", "msgspec"], lock).status == "fail"
    different = doctor.check_packages(["msgspec"], lock)
    assert (different.status, "instead of 0.0.1" in different.found) == ("warn", True)
    assert doctor.locked_versions(lock) == {"msgspec": {"0.0.1"}, "rich": {"1", "2"}}
    assert "sqlalchemy" in doctor.required_packages()


def test_an_impossible_clock_fails():
    assert doctor.check_clock(0.0).status == "fail"
    assert "1970" in doctor.check_clock(0.0).found


@pytest.mark.parametrize(("said", "state"), [("yes", "ok"), ("no", "warn"), (None, "ok")])
def test_the_clock_is_only_praised_when_somebody_keeps_it_right(monkeypatch, tmp_path, said, state):
    monkeypatch.setattr(doctor, "_output", lambda *_: said)
    monkeypatch.setattr(doctor, "_SYNCHRONISED", tmp_path / "no")
    found = doctor.check_clock()

    assert found.status == state
    assert ("unknown" in found.found) == (said is None)


def test_a_directory_open_to_others_warns_and_a_file_in_its_place_fails(tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "file").write_text("")

    assert "chmod go-w" in doctor.check_data_directory(tmp_path / "open").advice
    assert doctor.check_data_directory(tmp_path / "file").status == "fail"
    assert "will be made" in doctor.check_data_directory(tmp_path / "new" / "deep").found
    (tmp_path / "open").chmod(stat.S_IRWXU)
    assert doctor.check_data_directory(tmp_path / "open").status == "ok"


def test_a_directory_that_cannot_be_written_fails(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "access", lambda *_: False)

    assert "cannot be written" in doctor.check_data_directory(tmp_path).found


def test_a_full_disk_and_a_slow_one_are_told(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: doctor.shutil._ntuple_diskusage(10, 9, 1))
    assert doctor.check_space(tmp_path).status == "fail"
    monkeypatch.setattr(doctor, "FSYNC_SLOW_MS", 0.0)
    slow = doctor.check_fsync(tmp_path)
    assert (slow.status, "ms" in slow.found) == ("warn", True)


def test_a_taken_port_fails_and_one_open_to_the_network_warns():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        taken = doctor.check_port(config(web__port=port))
    assert (taken.status, "is taken" in taken.found) == ("fail", True)
    assert doctor.check_port(config(web__port=port)).status == "ok"
    assert doctor.check_port(config(web__port=port, web__host="0.0.0.0")).status == "warn"
    assert doctor.check_port(config(web__enabled=False)).found == "switched off"


def test_configured_servers_must_answer_and_their_passwords_stay_hidden(tmp_path):
    results = run_checks(
        config(web__port=0, store__url="postgresql://ann:hunter2@127.0.0.1:1/x", bus__url="nats://hunter3@127.0.0.1:1"),
        tmp_path,
    )

    assert not fit(results)
    assert [only(results, name).status for name in ("PostgreSQL", "NATS")] == ["fail", "fail"]
    assert "hunter" not in describe(results)


def test_a_server_that_answers_is_well():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        url = f"nats://127.0.0.1:{server.getsockname()[1]}"
        assert doctor.check_answers("NATS", url, 4222).status == "ok"


def test_prices_that_are_not_there_fail(tmp_path):
    assert doctor.check_data(config(data__path=str(tmp_path / "none.csv"))).status == "fail"
    assert doctor.check_data(config(data__path=str(tmp_path))).status == "ok"


@pytest.mark.parametrize(
    ("which", "said", "state", "found"),
    [
        (None, None, "ok", "none: CPU is used"),
        ("/bin/nvidia-smi", None, "warn", "nvidia-smi does not answer"),
        ("/bin/nvidia-smi", "X1, 8 GiB, 500", "ok", "X1, 8 GiB, 500"),
    ],
)
def test_a_gpu_is_welcome_and_not_needed(monkeypatch, which, said, state, found):
    monkeypatch.setattr(doctor.shutil, "which", lambda _: which)
    monkeypatch.setattr(doctor, "_output", lambda *_: said)
    result = doctor.check_gpu()

    assert result.status == state
    assert result.found.startswith(found)
