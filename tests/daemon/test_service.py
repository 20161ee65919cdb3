"""The service: what systemd is told, and whether it would accept the unit."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from adapters.ctrader.keys import KEY_CREDENTIAL, SECRET_CREDENTIAL
from bus.errors import ConfigError, InvariantBroken
from daemon.service import EX_CONFIG, Notifier, Watchdog, exit_status
from daemon.status import Status
from tests.harness import records as r

UNITS = Path(__file__).parents[2] / "systemd"
UNIT, BROKER_UNIT = UNITS / "plimsoll.service", UNITS / "plimsoll@.service"
PARITY_UNIT, PARITY_TIMER = UNITS / "plimsoll-parity@.service", UNITS / "plimsoll-parity@.timer"
REPORT_UNIT, REPORT_TIMER = UNITS / "plimsoll-report@.service", UNITS / "plimsoll-report@.timer"
TRAIN_UNIT, TRAIN_TIMER = UNITS / "plimsoll-train.service", UNITS / "plimsoll-train.timer"
COMMANDS = {UNIT: "paper --headless --pace real", BROKER_UNIT: "run --mode %i --headless"}


class Listener:
    """The service manager's end of the socket."""

    def __init__(self, address):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.setblocking(False)

    def heard(self):
        try:
            return self.socket.recv(4096).decode()
        except BlockingIOError:
            return None


@pytest.fixture
def manager(tmp_path):
    listener = Listener(str(tmp_path / "notify"))
    yield listener, {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "30000000"}
    listener.socket.close()


def test_the_manager_hears_ready_status_and_stopping(manager):
    listener, environment = manager
    notifier = Notifier(environment)

    assert notifier.ready("trading EURUSD")
    assert listener.heard() == "READY=1\nSTATUS=trading EURUSD"
    assert notifier.status("two\nlines")
    assert listener.heard() == "STATUS=two lines"
    assert notifier.extend_start(30)
    assert listener.heard() == "EXTEND_TIMEOUT_USEC=30000000"
    assert notifier.stopping()
    assert listener.heard() == "STOPPING=1\nSTATUS=stopping"
    notifier.close()
    notifier.close()
    assert not notifier.send(READY=1)


def test_an_abstract_socket_is_reached():
    name = f"plimsoll-test-{os.getpid()}"
    listener = Listener(f"\0{name}")
    notifier = Notifier({"NOTIFY_SOCKET": f"@{name}"})

    assert notifier.ready()
    assert listener.heard() == "READY=1"
    listener.socket.close()
    notifier.close()


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": "vsock:2:1"}, {"NOTIFY_SOCKET": "/nowhere/at/all"}])
def test_without_a_manager_nothing_is_sent_and_nothing_fails(environment):
    notifier = Notifier(environment)

    assert not notifier.ready()
    assert not notifier.progress(1)
    notifier.close()


def test_the_watchdog_is_fed_by_progress_and_not_by_time(manager):
    listener, environment = manager
    notifier, status, now = Notifier(environment), Status(), [0.0]
    watchdog = Watchdog(notifier, lambda: now[0])

    def feed():
        return watchdog.feed(status.progress_made)

    assert feed()
    assert listener.heard() == "WATCHDOG=1"
    now[0] = 100.0
    assert not feed()  # time passed, nothing went through
    assert listener.heard() is None
    status.apply(r.quote(110_000, 1))
    assert feed()
    status.beat()
    now[0] = 109.9
    assert not feed()  # not more often than three times in its time
    now[0] = 110.0
    assert feed()
    assert watchdog.pings == 3
    notifier.close()


def test_a_watchdog_meant_for_another_process_is_left_alone(manager):
    _, environment = manager
    notifier = Notifier(environment | {"WATCHDOG_PID": "1"})

    assert notifier.watchdog_s == 0
    assert not notifier.progress(1)
    notifier.close()


def test_a_wrong_configuration_ends_with_the_status_that_prevents_a_restart():
    assert exit_status(ConfigError("x")) == EX_CONFIG
    assert exit_status(InvariantBroken("x")) == 1
    assert exit_status(None) == 0
    for unit in COMMANDS:
        assert f"RestartPreventExitStatus={EX_CONFIG}" in unit.read_text().splitlines()


@pytest.mark.parametrize("unit", COMMANDS, ids=lambda unit: unit.name)
def test_the_unit_names_the_command_and_the_places_that_exist(unit):
    settings = dict(line.split("=", 1) for line in unit.read_text().splitlines() if re.match(r"^[A-Z]\w+=", line))

    assert settings["Type"] == "notify"
    assert settings["ExecStart"].startswith(f"/opt/plimsoll/.venv/bin/plimsoll {COMMANDS[unit]}")
    assert settings["StateDirectory"] == "plimsoll"
    assert float(settings["WatchdogSec"]) > 0


def test_secrets_reach_the_broker_unit_as_encrypted_credentials_under_the_names_that_are_read():
    lines = BROKER_UNIT.read_text().splitlines()

    for name in (KEY_CREDENTIAL, SECRET_CREDENTIAL):
        assert f"LoadCredentialEncrypted={name}" in lines


def test_the_nightly_unit_compares_the_day_that_ended_and_its_timer_follows_new_york():
    assert "plimsoll parity --day last --ask --write" in PARITY_UNIT.read_text()
    assert "OnCalendar=Mon..Fri 17:15:00 America/New_York" in PARITY_TIMER.read_text().splitlines()


def test_the_nightly_report_comes_after_the_comparison_that_it_shows():
    lines = REPORT_UNIT.read_text().splitlines()

    assert any("plimsoll report daily --date last" in line for line in lines if line.startswith("ExecStart="))
    assert "After=plimsoll-parity@%i.service" in lines
    assert "OnCalendar=Mon..Fri 17:30:00 America/New_York" in REPORT_TIMER.read_text().splitlines()


def test_training_anew_waits_for_a_reason_and_leaves_the_machine_to_trading():
    lines = TRAIN_UNIT.read_text().splitlines()

    assert any("plimsoll train --stage --if-drifted --older-than-d 30" in line for line in lines)
    for line in ("CPUWeight=20", "IOWeight=20", "Nice=15", "MemoryMax=8G", "KillMode=mixed"):
        assert line in lines
    assert any(line.startswith("OnCalendar=Sat") for line in TRAIN_TIMER.read_text().splitlines())


@pytest.fixture(params=[*COMMANDS, PARITY_UNIT, REPORT_UNIT, TRAIN_UNIT], ids=lambda unit: unit.name)
def analyze(request, tmp_path):
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    copy = tmp_path / request.param.name.replace("@", "@demo")
    copy.write_text(request.param.read_text().replace("/opt/plimsoll/.venv/bin/plimsoll", sys.executable).replace(
        "file:///opt/plimsoll/README.md", "https://example.org/"))  # fmt: skip

    def run(*arguments):
        done = subprocess.run([program, *arguments, str(copy)], capture_output=True, text=True, check=False, timeout=60)
        return done.returncode, done.stdout + done.stderr

    return run


def test_systemd_accepts_the_unit(analyze):
    code, said = analyze("verify", "--man=no", "--recursive-errors=no")

    assert (code, [line for line in said.splitlines() if "plimsoll" in line]) == (0, [])


def test_the_service_is_exposed_to_little(analyze):
    _, said = analyze("security", "--offline=true", "--no-pager")
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)

    assert exposure is not None, said
    assert float(exposure.group(1)) < 3.0


def test_the_numeric_libraries_work_where_no_memory_may_become_code():
    # PR_SET_MDWE with PR_MDWE_REFUSE_EXEC_GAIN is what systemd's setting asks of the kernel.
    script = (
        "import ctypes\n"
        "refused = ctypes.CDLL(None, use_errno=True).prctl(65, 1, 0, 0, 0)\n"
        "import aiohttp, matplotlib.figure, msgspec, numpy, psycopg, pyarrow, sklearn.linear_model, sqlalchemy\n"
        "print(refused, (numpy.ones((8, 8)) @ numpy.ones((8, 8))).sum(), msgspec.json.encode([1]).decode())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    if done.stdout.startswith("-1"):
        pytest.skip("this kernel has no PR_SET_MDWE")

    assert (done.returncode, done.stdout.split()) == (0, ["0", "512.0", "[1]"])
