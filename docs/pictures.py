"""Draws the README's pictures: `python docs/pictures.py STATE` (chromium for the pages).

Terminal and report are those of the last run in STATE; the day's report is of `tests/harness/faulty_day.py`.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from daemon.journal import read
from daemon.state import State
from daemon.status import Status
from daemon.view import export_svg
from tests.harness import faulty_day

SHARE = 0.8
"""How far into the run the terminal is shown, at least: a position should be open, and something refused."""
AFTER = 60
"""Records to go on from there."""
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def main() -> None:
    run = State(Path(sys.argv[1])).last_run()
    if run is None:
        sys.exit("no run there; `plimsoll paper` makes one")
    records = list(read(run.journal))
    status = Status(progress_total=sum(type(record.message).__name__ == "Quote" for record in records), pace="3600x")
    status.snapshot(0.0)
    left = AFTER
    for number, record in enumerate(records):
        status.watch(record.seq, record.message)
        left -= number > len(records) * SHARE and bool(status.positions and status.refusals)
        if left == 0:
            break
    folder = Path(__file__).parent
    (folder / "terminal.svg").write_text(export_svg(status, 731.0))
    browser = next((path for path in map(shutil.which, CHROMIUM) if path), None)
    if browser is None:
        sys.exit("no chromium: report.png was left as it is")
    photograph(browser, run.report / "report.html", folder / "report.png", 1750)
    with tempfile.TemporaryDirectory() as state:
        faulty_day.record(Path(state) / "runs" / "0001" / "journal")
        arguments = ["report", "daily", "--html", "--state", state, "--out", state]
        subprocess.run([sys.executable, "-m", "daemon", *arguments], check=True, capture_output=True)
        photograph(browser, Path(state) / "report.html", folder / "daily.png", 1900)


def photograph(browser: str, page: Path, picture: Path, height: int) -> None:
    """The top of a page, 1200 pixels wide."""
    with tempfile.TemporaryDirectory() as profile:
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"]
        options += ["--disable-background-networking", f"--user-data-dir={profile}", f"--window-size=1200,{height}"]
        subprocess.run([browser, *options, f"--screenshot={picture}", page.as_uri()], check=True, capture_output=True)


if __name__ == "__main__":
    main()
