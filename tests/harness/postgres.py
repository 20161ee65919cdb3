"""A real PostgreSQL server for tests: own data directory, own free port, never as root."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
import pytest


def find(name):
    """A PostgreSQL program, from the PATH or where Debian keeps it, or None."""
    found = shutil.which(name)
    if found:
        return found
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(places[-1]) if places else None


def unavailable():
    """Why no server can be started here, or an empty string."""
    missing = [name for name in ("initdb", "postgres") if find(name) is None]
    if missing:
        return f"PostgreSQL is not installed ({', '.join(missing)} not found)"
    if os.geteuid() == 0 and _other_user() is None:
        return "PostgreSQL refuses to run as root, and there is no user postgres or nobody"
    return ""


def _other_user():
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    return None


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def server():
    """The URL of a running server's empty database ``plimsoll`` (user ``tester``, password ``s3cret``)."""
    # Not pytest's folder: that one is closed to other users, and this server must not run as root.
    home = Path(tempfile.mkdtemp(prefix="plimsoll-pg-"))
    identity = {}
    if os.geteuid() == 0:
        user = _other_user()
        os.chown(home, user.pw_uid, user.pw_gid)
        identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "HOME": str(home), "TZ": "UTC"}
    data, password, port = home / "data", home / "password", free_port()
    process = None
    try:
        password.write_text("s3cret\n")
        password.chmod(0o644)
        made = [find("initdb"), "-D", str(data), "-U", "tester", f"--pwfile={password}", "-A", "scram-sha-256",
                "--no-sync", "-E", "UTF8"]  # fmt: skip
        subprocess.run(made, check=True, capture_output=True, cwd=home, env=environment, **identity)
        settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "fsync": "off"}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(
                [find("postgres"), "-D", str(data), *options],
                cwd=home, env=environment, stdout=log, stderr=log, **identity,
            )  # fmt: skip
        base = f"postgresql://tester:s3cret@127.0.0.1:{port}"
        _create_database(base, process, home / "log")
        yield f"{base}/plimsoll"
    finally:
        if process is not None:
            process.terminate()
            process.wait(timeout=30)
        shutil.rmtree(home, ignore_errors=True)


def _create_database(base, process, log):
    deadline = time.monotonic() + 30
    while True:
        try:
            with psycopg.connect(f"{base}/postgres", connect_timeout=2, autocommit=True) as connection:
                connection.execute("CREATE DATABASE plimsoll")
                return
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(log.read_text()) from None
            time.sleep(0.05)


def urls():
    """For a fixture: the URL of a server that lives as long as it is asked for; without one the test is skipped."""
    reason = unavailable()
    if reason:
        pytest.skip(reason)
    with server() as url:
        yield url
