"""Says how many seeds were run, and what took how long in virtual time: both are part of what a simulation proves."""

import os


def pytest_terminal_summary(terminalreporter):
    told, took = {}, {}
    for report in terminalreporter.stats.get("passed", []):
        file = report.nodeid.partition("::")[0]
        for name, value in report.user_properties:
            if name == "seeds":
                told[file] = told.get(file, 0) + value
            elif name == "took":
                took[value[0]] = value[1]
    for file, seeds in told.items():
        terminalreporter.write_line(f"{file}: {seeds} seeds without a violation")
    if took and os.environ.get("PLIMSOLL_FIGURES"):
        for cell, worst in took.items():
            _write(terminalreporter, cell, worst)
    if took:
        _write(
            terminalreporter,
            "worst",
            {
                what: max(worst.get(what, 0.0) for worst in took.values())
                for what in ("blocked", "cancelled", "flat", "flat_again")
            },
        )


def _write(terminalreporter, name, worst):
    words = ", ".join(f"{what} {seconds:.2f} s" for what, seconds in worst.items())
    terminalreporter.write_line(f"{name}: {words}")
