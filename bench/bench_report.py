"""The report of a month of 5,000 trades: fold, roll-up, findings, HTML, JSON and CSV."""

import gc
import time

from bench.common import report
from daemon.report.gather import Gathered, span_of
from daemon.report.period import PeriodReport, as_json
from daemon.report.period_page import render
from daemon.report.period_tables import PERIOD_TABLES
from daemon.report.points import points_of
from daemon.report.timeline import Timeline
from risk.adherence.rollup import Roll
from tests.harness.months import Month

SIGNALS, TRADES = 50_000, 5_000


def main() -> None:
    month = Month(signals=SIGNALS, trades=TRADES)
    journal = month.journal()
    gc.collect()
    times = [time.perf_counter()]
    roll, timeline = Roll(), Timeline()
    for seq, message in journal:
        roll.add(seq, message)
        timeline.add(message, roll.ledger)
    times.append(time.perf_counter())
    gathered = Gathered(runs=("0001",), mode="demo", roll=roll, timeline=timeline, parities=(), audits=())
    span = span_of("monthly", "2018-05", timeline.last_ns)
    rollup, scene = gathered.of(span)
    times.append(time.perf_counter())
    points = points_of(rollup, scene)
    made = PeriodReport(
        kind="monthly", key=span.key, ts_from_ns=span.from_ns, ts_to_ns=span.to_ns, runs=gathered.runs, mode="demo",
        version="", rollup=rollup, scene=scene, points=points,
    )  # fmt: skip
    times.append(time.perf_counter())
    page = render(made)
    times.append(time.perf_counter())
    told = as_json(made)
    times.append(time.perf_counter())
    tables = [make(rollup) for make in PERIOD_TABLES.values()]
    times.append(time.perf_counter())
    assert rollup.total.money.net == sum(month.truth.nets)
    names = ("fold_s", "roll_up_s", "findings_s", "html_s", "json_s", "csv_s")
    report(
        "report",
        messages=len(journal),
        trades=TRADES,
        **{name: round(times[at + 1] - times[at], 2) for at, name in enumerate(names)},
        html_mb=round(len(page) / 1e6, 2),
        json_mb=round(len(told) / 1e6, 2),
        csv_mb=round(sum(map(len, tables)) / 1e6, 2),
    )


if __name__ == "__main__":
    main()
