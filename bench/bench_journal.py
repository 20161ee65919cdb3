"""Segment files against SQLite (WAL, FULL) for the journal: durable commits and plain appends, in one run."""

import sqlite3
import tempfile
import time
from pathlib import Path

from bench.common import percentiles, report
from bus.codec import encode
from bus.messages import Quote
from daemon.journal import INPUT, Journal, verify

COMMITS = 1_500
APPENDS = 100_000


def message(n: int) -> Quote:
    return Quote(symbol="EURUSD", bid_e5=107_000 + n, ask_e5=107_008 + n, ts_event_ns=n, ts_init_ns=n)


def timed_commits(append, commit) -> list[int]:
    taken = []
    for n in range(COMMITS):
        start = time.perf_counter_ns()
        append(n)
        commit()
        taken.append(time.perf_counter_ns() - start)
    return taken


def main() -> None:
    # Beside the project, not in /tmp, which may be memory.
    with tempfile.TemporaryDirectory(dir=Path(__file__).parents[1], prefix=".bench-") as folder:
        journal = Journal(Path(folder) / "segments")
        segment = timed_commits(lambda n: journal.append(INPUT, message(n)), journal.commit)
        start = time.perf_counter()
        for n in range(APPENDS):
            journal.append(INPUT, message(n))
        journal.commit()
        appends_s = time.perf_counter() - start
        journal.close()
        start = time.perf_counter()
        records = verify(Path(folder) / "segments").records
        verify_s = time.perf_counter() - start

        database = sqlite3.connect(Path(folder) / "journal.db", isolation_level=None)
        database.execute("pragma journal_mode=wal")
        database.execute("pragma synchronous=full")
        database.execute("create table record (seq integer primary key, payload blob)")

        def insert(n: int) -> None:
            database.execute("begin")
            database.execute("insert into record (payload) values (?)", (encode(message(n)),))

        sqlite = timed_commits(insert, lambda: database.execute("commit"))
        start = time.perf_counter()
        database.execute("begin")
        for n in range(APPENDS):
            database.execute("insert into record (payload) values (?)", (encode(message(n)),))
        database.execute("commit")
        sqlite_appends_s = time.perf_counter() - start
        database.close()
    ours, theirs = percentiles(segment), percentiles(sqlite)
    report(
        "journal",
        segment_commit_us=ours,
        sqlite_commit_us=theirs,
        commit_p50_sqlite_over_segment=round(theirs["p50"] / ours["p50"], 2),
        commit_p99_sqlite_over_segment=round(theirs["p99"] / ours["p99"], 2),
        segment_commits_per_s=round(COMMITS / (sum(segment) / 1e9)),
        segment_appends_per_s=round(APPENDS / appends_s),
        sqlite_appends_per_s=round(APPENDS / sqlite_appends_s),
        appends_segment_over_sqlite=round(sqlite_appends_s / appends_s, 2),
        segment_has_hash_chain=True,
        verified_records_per_s=round(records / verify_s),
    )


if __name__ == "__main__":
    main()
