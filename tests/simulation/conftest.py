"""Says how many seeds were run: the number is part of what a simulation proves."""


def pytest_terminal_summary(terminalreporter):
    told = {}
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            if name == "seeds":
                file = report.nodeid.partition("::")[0]
                told[file] = told.get(file, 0) + value
    for file, seeds in told.items():
        terminalreporter.write_line(f"{file}: {seeds} seeds without a violation")
