"""The page in a real browser: it asks nobody for anything and complains about nothing."""

import re
import shutil
import subprocess
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from daemon.report import ReportContext, write_report
from risk.adherence import Adherence
from tests.harness.journals import synthetic_run

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

CONTEXT = ReportContext(
    title="Paper trading", mode="paper", symbols=("EURUSD",), data="synthetic", journal="j", decisions_sha256="0" * 64,
    started="a", ended="b",
)  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    adherence = Adherence()
    for seq, message in synthetic_run(200):
        adherence.add(seq, message)
    return write_report(tmp_path_factory.mktemp("report"), adherence, CONTEXT).html


def test_the_page_names_no_resource_outside_itself(page):
    text = page.read_text()

    assert not re.findall(r"https?:|//[a-z0-9-]+\.[a-z]{2,}|@import|<link (?!rel=\"icon\" href=\"data:)", text)
    assert not re.findall(r"<(script|iframe|object|embed|img|video|audio)\b", text)
    assert re.findall(r"(?<!clip-path: )url\((?!#)[^)]*\)", text) == []
    assert "default-src &#39;none&#39;" in text or "default-src 'none'" in text


@pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")
def test_a_browser_renders_the_page_with_one_request_and_no_complaint(page, tmp_path):
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            body = page.read_bytes()
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
                   "--disable-dev-shm-usage", "--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}",
                   "--dump-dom", f"http://127.0.0.1:{server.server_port}/report.html"]  # fmt: skip
        shown = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    finally:
        server.shutdown()
        server.server_close()

    assert asked == ["/report.html"]
    assert "CONSOLE" not in shown.stderr
    assert "No edge after costs" in shown.stdout
    assert shown.stdout.count("<svg") == 7
