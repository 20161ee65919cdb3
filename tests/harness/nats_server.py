"""A real nats-server with JetStream for tests: own directory, own free port."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path


def find():
    """The program, from the PATH or where Debian keeps it, or None."""
    return shutil.which("nats-server") or shutil.which("nats-server", path="/usr/sbin:/usr/local/sbin:/usr/local/bin")


def unavailable():
    """Why no server can be started here, or an empty string."""
    return "" if find() else "nats-server is not installed (Debian and Ubuntu: apt-get install nats-server)"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class NatsServer:
    """A server that can be stopped, killed and started again on the same port and files."""

    def __init__(self, home, *, jetstream=True, credentials=""):
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self._home = Path(home)
        self._options = ["-js", "-sd", str(self._home)] if jetstream else []
        if credentials:
            user, password = credentials.split(":")
            self._options += ["--user", user, "--pass", password]
        self._process = None

    def start(self):
        """Start, and return once it answers."""
        log = self._home / "log"
        self._process = subprocess.Popen(
            [find(), "-a", "127.0.0.1", "-p", str(self.port), "-l", str(log), *self._options],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 20
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(log.read_text() if log.exists() else "nats-server did not start")
            time.sleep(0.02)

    def _answers(self):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe:
            return probe.recv(4) == b"INFO"
        return False

    def stop(self, how=signal.SIGTERM):
        """Stop in good order, or with SIGKILL not. Safe to call twice."""
        if self._process is not None:
            self._process.send_signal(how)
            if how != signal.SIGKILL:
                self._process.send_signal(signal.SIGCONT)
            self._process.wait(timeout=20)
            self._process = None

    def hold(self):
        """Freeze it: connections stay open, and nobody answers."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def release(self):
        """Go on after `hold`."""
        os.kill(self._process.pid, signal.SIGCONT)


@contextlib.contextmanager
def server(**options):
    """A running server; see `NatsServer` for options."""
    home = tempfile.mkdtemp(prefix="plimsoll-nats-")
    made = NatsServer(home, **options)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(home, ignore_errors=True)
