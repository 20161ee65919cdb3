"""A page on paper: a PDF through a browser that is there anyway. Plimsoll brings none of its own."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from bus.errors import ConfigError, DataError

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_TIMEOUT_S = 180


def browser() -> str:
    """The path of a browser that prints without a screen.

    Raises:
        ConfigError: none is found.
    """
    found = next((path for path in map(shutil.which, BROWSERS) if path), None)
    if found is None:
        raise ConfigError(
            "no browser for the PDF: install chromium or google-chrome, or print the HTML report from your own browser"
        )
    return found


def print_pdf(page: Path, pdf: Path, program: str) -> None:
    """Print a page; the PDF appears whole or not at all.

    Args:
        page: a self-contained HTML file.
        pdf: where it goes.
        program: from `browser`.

    Raises:
        DataError: the browser gave none.
    """
    with tempfile.TemporaryDirectory(prefix=".print-", dir=pdf.parent) as folder:
        unfinished = Path(folder) / "report.pdf"
        command = [program, "--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking",
                   "--disable-dev-shm-usage", "--no-pdf-header-footer", f"--user-data-dir={folder}/profile",
                   f"--print-to-pdf={unfinished}"]  # fmt: skip
        if os.geteuid() == 0:
            command.append("--no-sandbox")  # its sandbox refuses root; the page holds no script and loads nothing
        try:
            done = subprocess.run(
                [*command, page.absolute().as_uri()], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise DataError(f"{program} did not print within {_TIMEOUT_S} s; the HTML report is unharmed") from None
        if not unfinished.is_file() or unfinished.read_bytes()[:5] != b"%PDF-":
            last = (done.stderr.strip().splitlines() or ["no word of why"])[-1]
            raise DataError(f"{program} printed nothing ({last}); the HTML report is unharmed")
        unfinished.replace(pdf)
