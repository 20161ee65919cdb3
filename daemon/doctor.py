"""`plimsoll doctor`: is this machine fit, and what to do where it is not. Looks, measures, and changes nothing."""

import errno
import importlib.metadata
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from rich.console import Console
from rich.text import Text

from daemon.config import mask_url, store_url
from daemon.settings import Config

Status = Literal["ok", "warn", "fail"]

DISTRIBUTION = "plimsoll-fx"
OLDEST_PYTHON = (3, 11)
FREE_FAIL_BYTES, FREE_WARN_BYTES = 200_000_000, 2_000_000_000
FSYNC_SAMPLES, FSYNC_BYTES = 12, 4_096
FSYNC_SLOW_MS = 20.0
ANSWER_WITHIN_S = 5.0
_ROOT = Path(__file__).parents[1]
_RELEASED_S = 1_767_225_600  # 2026-01-01: no clock that is right shows an earlier time
_SYNCHRONISED = Path("/run/systemd/timesync/synchronized")


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """One check: what was found, and what to do about it (empty where all is well)."""

    name: str
    status: Status
    found: str
    advice: str = ""


def _ok(name: str, found: str) -> CheckResult:
    return CheckResult(name=name, status="ok", found=found)


def _warn(name: str, found: str, advice: str) -> CheckResult:
    return CheckResult(name=name, status="warn", found=found, advice=advice)


def _fail(name: str, found: str, advice: str) -> CheckResult:
    return CheckResult(name=name, status="fail", found=found, advice=advice)


def _output(*command: str) -> str | None:
    """What a program prints, or None where it is missing, fails, or does not end in time."""
    program = shutil.which(command[0])
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, *command[1:]], capture_output=True, text=True, check=False, timeout=ANSWER_WITHIN_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


# --- environment -----------------------------------------------------------------------------------------------


def check_python() -> CheckResult:
    """The interpreter is new enough."""
    found = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info[:2] < OLDEST_PYTHON:
        return _fail("python", found, "install Python 3.11 or newer, then: make setup")
    return _ok("python", f"{found} at {sys.executable}")


def required_packages() -> list[str]:
    """Names of the packages that must be there, from the installed distribution or the project file."""
    try:
        found = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        project = _ROOT / "pyproject.toml"
        if not project.is_file():
            return []
        found = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
    names = (re.match(r"[A-Za-z0-9._-]+", line) for line in found if "extra ==" not in line)
    return [name.group() for name in names if name]


def locked_versions(lock: Path) -> dict[str, set[str]]:
    """Versions that the lock file allows, by package."""
    allowed: dict[str, set[str]] = {}
    if lock.is_file():
        for line in lock.read_text(encoding="utf-8").splitlines():
            pinned = re.match(r"([A-Za-z0-9._-]+)==([^\s;\\]+)", line)
            if pinned:
                allowed.setdefault(pinned[1].lower(), set()).add(pinned[2])
    return allowed


def check_packages(names: Iterable[str] | None = None, lock: Path | None = None) -> CheckResult:
    """Every required package is there, in the version that was tested."""
    wanted = list(required_packages() if names is None else names)
    allowed = locked_versions(lock or _ROOT / "requirements.lock")
    missing: list[str] = []
    other: list[str] = []
    for name in wanted:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
            continue
        tested = allowed.get(name.lower())
        if tested and version not in tested:
            other.append(f"{name} {version} instead of {' or '.join(sorted(tested))}")
    if missing:
        return _fail("packages", f"missing: {', '.join(missing)}", "run: make setup")
    if other:
        return _warn("packages", "; ".join(other), "these versions were not tested; run: make setup")
    return _ok("packages", f"{len(wanted)} required packages, all in {'locked' if allowed else 'installed'} versions")


def check_zones() -> CheckResult:
    """Time zones are known: the trading day ends at 17:00 New York."""
    try:
        ZoneInfo("America/New_York")
    except (ZoneInfoNotFoundError, OSError):
        return _fail("time zones", "America/New_York is unknown", "install the tzdata package")
    return _ok("time zones", "America/New_York is known")


# --- clock -----------------------------------------------------------------------------------------------------


def check_clock(now_s: float | None = None) -> CheckResult:
    """The clock is possible, runs steadily, and somebody keeps it right."""
    wall = time.time() if now_s is None else now_s
    if wall < _RELEASED_S:
        shown = time.strftime("%Y-%m-%d", time.gmtime(wall))
        return _fail("clock", f"shows {shown}", "set the clock; trading days and expiries depend on it")
    before_ns = time.time_ns() - time.monotonic_ns()
    time.sleep(0.02)
    stepped_ms = abs(time.time_ns() - time.monotonic_ns() - before_ns) / 1e6
    if stepped_ms > 5:
        return _warn("clock", f"stepped by {stepped_ms:.0f} ms while it was watched", "find out who sets it")
    synchronised = _synchronised()
    if synchronised is None:
        return _ok("clock", "runs steadily; whether NTP keeps it right is unknown here")
    if not synchronised:
        return _warn("clock", "not synchronised by NTP", "run: timedatectl set-ntp true")
    return _ok("clock", "runs steadily, synchronised by NTP")


def _synchronised() -> bool | None:
    said = _output("timedatectl", "show", "--property=NTPSynchronized", "--value")
    if said in {"yes", "no"}:
        return said == "yes"
    return True if _SYNCHRONISED.exists() else None


# --- disk ------------------------------------------------------------------------------------------------------


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    folder = folder.absolute()
    return next(each for each in (folder, *folder.parents) if each.is_dir())


def check_data_directory(state_dir: Path) -> CheckResult:
    """The state directory can be written by this user and by nobody else."""
    name = "data directory"
    if state_dir.exists() and not state_dir.is_dir():
        return _fail(name, f"{state_dir} is no directory", "choose another with --state")
    place = _nearest(state_dir)
    if not os.access(place, os.W_OK | os.X_OK):
        return _fail(name, f"{place} cannot be written", "choose another with --state, or change its owner")
    if place != state_dir.absolute():
        return _ok(name, f"{state_dir} will be made in {place}")
    mode = place.stat().st_mode & 0o777
    if mode & 0o022:
        return _warn(name, f"{state_dir} (mode {mode:o}) can be written by others", f"run: chmod go-w {state_dir}")
    return _ok(name, f"{state_dir} (mode {mode:o})")


def check_space(state_dir: Path) -> CheckResult:
    """There is room for journals."""
    free = shutil.disk_usage(_nearest(state_dir)).free
    found = f"{free / 1e9:.1f} GB free at {_nearest(state_dir)}"
    advice = "make room, or choose another place with --state"
    if free < FREE_FAIL_BYTES:
        return _fail("disk space", found, advice)
    return _warn("disk space", found, advice) if free < FREE_WARN_BYTES else _ok("disk space", found)


def check_fsync(state_dir: Path) -> CheckResult:
    """How long it takes until something is durable: every order waits for it."""
    name, payload, took_ms = "durable write", os.urandom(FSYNC_BYTES), list[float]()
    try:
        with tempfile.TemporaryFile(dir=_nearest(state_dir), buffering=0) as file:
            for _ in range(FSYNC_SAMPLES):
                began = time.perf_counter_ns()
                file.write(payload)
                os.fsync(file.fileno())
                took_ms.append((time.perf_counter_ns() - began) / 1e6)
    except OSError as error:
        return _fail(name, f"failed: {error.strerror}", "choose a local disk with --state")
    middle = statistics.median(took_ms)
    found = f"{middle:.2f} ms in the middle, {max(took_ms):.2f} ms at worst, of {FSYNC_SAMPLES}"
    if middle > FSYNC_SLOW_MS:
        return _warn(name, found, "orders wait for this; use a local SSD for --state")
    return _ok(name, found)


# --- what is around --------------------------------------------------------------------------------------------


def check_gpu() -> CheckResult:
    """Whether there is a GPU; none is needed."""
    said = _output("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    if said:
        return _ok("GPU", "; ".join(line.strip() for line in said.splitlines()))
    if shutil.which("nvidia-smi"):
        return _warn("GPU", "nvidia-smi does not answer: CPU is used", "check the driver, or ignore it")
    return _ok("GPU", "none: CPU is used")


def check_program(name: str, what_for: str, *programs: str, folders: Iterable[Path] = ()) -> CheckResult:
    """Whether an optional program is there."""
    for program in programs:
        found = shutil.which(program) or next((str(f / program) for f in folders if (f / program).is_file()), None)
        if found:
            return _ok(name, found)
    return _ok(name, f"not installed (optional: {what_for})")


def check_answers(name: str, url: str, default_port: int) -> CheckResult:
    """Whether a configured server can be reached. Only a connection is made."""
    parts = urlsplit(url.split(",", maxsplit=1)[0])
    try:
        host, port = parts.hostname or "127.0.0.1", parts.port or default_port
        with socket.create_connection((host, port), timeout=ANSWER_WITHIN_S):
            return _ok(name, f"{mask_url(url)} answers")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return _fail(name, f"{mask_url(url)}: {reason}", "start it, or correct its url in the configuration")


def check_port(config: Config) -> CheckResult:
    """The status page's port can be had."""
    name, web = "status page", config.web
    if not web.enabled:
        return _ok(name, "switched off")
    if web.port == 0:
        return _ok(name, "any free port")
    try:
        family, kind, proto, _, address = socket.getaddrinfo(web.host, web.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, proto) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen()  # a bound port of somebody who listens shows here, too
    except OSError as error:
        reason = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be had ({error.strerror})"
        return _fail(name, f"{web.host}:{web.port} {reason}", "set web.port to another, or to 0 for any free port")
    if web.host not in {"127.0.0.1", "::1", "localhost"}:
        advice = "it shows your account to your network; 127.0.0.1 keeps it here"
        return _warn(name, f"{web.host}:{web.port} is free and reachable from elsewhere", advice)
    return _ok(name, f"{web.host}:{web.port} is free")


def check_data(config: Config) -> CheckResult:
    """The configured prices are there."""
    if not config.data.path:
        return _ok("prices", "the sample of EURUSD hours")
    path = Path(config.data.path).expanduser()
    if not path.exists():
        return _fail("prices", f"{path} does not exist", "correct data.path, or leave it out to take the sample")
    return _ok("prices", str(path))


def _checks(config: Config, state_dir: Path) -> Iterator[CheckResult]:
    yield check_python()
    yield check_packages()
    yield check_zones()
    yield check_clock()
    yield check_data_directory(state_dir)
    yield check_space(state_dir)
    yield check_fsync(state_dir)
    yield check_data(config)
    yield check_port(config)
    yield check_gpu()
    if config.bus.url:
        yield check_answers("NATS", config.bus.url, 4222)
    else:
        yield check_program("NATS", "inference in a second process", "nats-server")
    if store_url(config).startswith("postgres"):
        yield check_answers("PostgreSQL", store_url(config), 5432)
    else:
        folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        yield check_program("PostgreSQL", "a shared database; SQLite is used", "postgres", folders=folders)
    yield check_program("chromium", "pictures of the report", "chromium", "chromium-browser", "google-chrome")


def run_checks(config: Config, state_dir: Path) -> list[CheckResult]:
    """Do every check; takes about a second, and longer only where a configured server does not answer.

    Args:
        config: whose data, port, bus and store are looked at.
        state_dir: where the state lives or will live.
    """
    return list(_checks(config, state_dir))


def fit(results: Iterable[CheckResult]) -> bool:
    """Whether Plimsoll can run here: nothing failed."""
    return all(result.status != "fail" for result in results)


def print_checks(results: Iterable[CheckResult], console: Console) -> None:
    """Print the results in colour."""
    hues = {"ok": "green", "warn": "yellow", "fail": "bold red"}
    for result in results:
        mark = (f"{result.status:<5}", hues[result.status])
        console.print(Text.assemble(mark, f"{result.name:<16}", result.found), soft_wrap=True)
        if result.advice:
            console.print(Text(f"{'':<21}-> {result.advice}", style="dim"), soft_wrap=True)


def describe(results: Iterable[CheckResult]) -> str:
    """The results for people, one line each, with advice below where there is any."""
    marks = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL"}
    lines: list[str] = []
    for result in results:
        lines.append(f"{marks[result.status]}  {result.name:<15} {result.found}")
        if result.advice:
            lines.append(f"{'':<22}-> {result.advice}")
    return "\n".join(lines)
