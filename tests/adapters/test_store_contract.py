"""What the projection promises, on SQLite and on a real PostgreSQL."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.store import Store
from adapters.store import store as store_module
from adapters.store.places import mask_url
from adapters.store.store import VERSION_TABLE
from adapters.store.tables import metadata
from bus.errors import ConfigError, DataError
from tests.harness import postgres
from tests.harness.records import BALANCE, journal

REPOSITORY = Path(__file__).parents[2]
JOURNAL = journal()


@pytest.fixture(scope="module")
def postgres_url():
    yield from postgres.urls()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/folder/that/is/made/plimsoll.db"
    return request.getfixturevalue("postgres_url")


@pytest.fixture
def store(url):
    with Store.open(url) as opened:
        opened.drop()
        yield opened


def everything(store, run_id="r1"):
    return {name: store.rows(name, run_id) for name in metadata.tables}


def test_a_journal_becomes_rows_that_a_person_would_write_down(store):
    assert store.apply(JOURNAL) == len(JOURNAL)

    summary = store.summary()
    assert (summary["run_id"], summary["mode"], summary["end_reason"], summary["resumes"]) == (
        "r1", "paper", "end of data", 1,
    )  # fmt: skip
    assert (summary["trades"], summary["deals"], summary["orders"], summary["refusals"]) == (6, 12, 15, 6)
    assert (summary["forecasts"], summary["halts"], summary["open_positions"]) == (18, 1, 0)
    assert summary["start_balance"] == BALANCE
    assert summary["balance"] - summary["start_balance"] == summary["net_profit"] == 3 * 5000 - 3 * 2500 - 6 * 670
    first = store.trades()[0]
    assert (first["side"], first["entry_e5"], first["exit_e5"], first["swap"], first["strategy"]) == (
        1, 110_000, 109_975, -70, "interval",
    )  # fmt: skip
    states = {row["client_order_id"]: row["status"] for row in store.rows("orders")}
    assert states["r1-0"] == "filled"
    assert [states[f"r1-{number}"] for number in (900, 901, 902)] == ["rejected", "unknown", "cancelled"]
    assert store.rows("halts")[0]["lifted_by"] == "ann"
    # Every deal is told twice, and counts once.
    assert {row["filled_e2"] for row in store.rows("orders") if row["status"] == "filled"} == {10_000_000}
    assert {(row["opened_e2"], row["volume_e2"]) for row in store.rows("positions")} == {(10_000_000, 0)}
    assert all(row["stop_loss_e5"] == 109_000 and row["swap"] == -70 for row in store.rows("positions"))


def test_applying_twice_changes_nothing(store):
    store.apply(JOURNAL)
    once = everything(store)

    assert store.apply(JOURNAL) == 0
    assert everything(store) == once


def test_dropping_and_rebuilding_gives_the_same_rows(store):
    store.apply(JOURNAL)
    before = everything(store)

    store.drop()
    assert everything(store) == {name: [] for name in metadata.tables}
    store.apply(JOURNAL)
    assert everything(store) == before
    store.rebuild(JOURNAL)
    assert everything(store) == before


def test_rebuilding_one_run_leaves_the_others_alone(store):
    other = journal(trades=2, run_id="r2")
    store.apply(JOURNAL)
    store.apply(other)
    before = everything(store, "r1"), everything(store, "r2")

    store.rebuild(other)

    assert store.run_ids() == ["r1", "r2"]
    assert (everything(store, "r1"), everything(store, "r2")) == before


def test_both_databases_hold_the_same_rows(store, tmp_path):
    store.apply(JOURNAL)
    with Store.open(f"sqlite:///{tmp_path}/other.db") as reference:
        reference.apply(JOURNAL)
        assert everything(store) == everything(reference)


def test_an_error_in_the_middle_of_a_batch_leaves_the_batch_out_and_the_next_try_continues(store, monkeypatch):
    monkeypatch.setattr(store_module, "BATCH_RECORDS", 20)

    def torn():
        yield from JOURNAL[:50]
        raise OSError("the journal's disk went away")

    with pytest.raises(OSError, match="disk"):
        store.apply(torn())
    assert store.last_seq("r1") == 40

    assert store.apply(JOURNAL) == len(JOURNAL) - 40
    rows = everything(store)
    store.rebuild(JOURNAL)
    assert everything(store) == rows


def test_a_process_killed_in_the_middle_of_a_batch_leaves_a_store_that_continues(url, store):
    script = (
        "import os, signal, sys\n"
        "from adapters.store import projection, store as module\n"
        "from tests.harness.records import journal\n"
        "module.BATCH_RECORDS = 30\n"
        "apply, seen = projection.Projector.apply, []\n"
        "def deadly(self, seq, message):\n"
        "    apply(self, seq, message)\n"
        "    if seq == 75:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "projection.Projector.apply = deadly\n"
        "module.Store.open(sys.argv[1]).apply(journal())\n"
    )
    died = subprocess.run([sys.executable, "-c", script, url], cwd=REPOSITORY, capture_output=True, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()

    assert store.last_seq("r1") == 60
    assert store.apply(JOURNAL) == len(JOURNAL) - 60
    rows = everything(store)
    store.rebuild(JOURNAL)
    assert everything(store) == rows


def test_processes_that_open_and_fill_a_new_store_at_once_do_not_trip_over_each_other(url, store):
    with store._engine.begin() as connection:
        metadata.drop_all(connection)
        connection.exec_driver_sql(f"DROP TABLE {VERSION_TABLE}")
    store.close()
    script = (
        "import sys\n"
        "from adapters.store import Store\n"
        "from tests.harness.records import journal\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "print(Store.open(sys.argv[1]).apply(journal()))\n"
    )
    command = [sys.executable, "-c", script, url]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, cwd=REPOSITORY, **pipes) for _ in range(3)]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * len(processes)
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60) for process in processes]

    assert sorted(int(out) for out, err in said if not err) == [0, 0, len(JOURNAL)], said
    with Store.open(url) as opened:
        assert opened.summary()["trades"] == 6


def test_the_migrations_end_in_exactly_the_tables_that_are_written(store):
    with store._engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, metadata) == []
    assert store.revision() == "0001"


def test_a_store_of_a_newer_release_is_refused_with_a_way_out(url, store):
    with store._engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")

    with pytest.raises(ConfigError, match=r"another release.*drop it and rebuild"):
        Store.open(url)

    store.drop()
    with Store.open(url) as opened:
        assert opened.revision() == "0001"


def test_records_without_their_run_are_refused(store):
    with pytest.raises(DataError, match="belongs to no run"):
        store.apply(JOURNAL[1:])
    assert store.apply(JOURNAL[1:], run_id="r1") == len(JOURNAL) - 1


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, len(JOURNAL)), max_size=6).map(sorted), overlap=st.integers(0, 10))
def test_where_batches_begin_and_end_does_not_matter(tmp_path_factory, cuts, overlap):
    with Store.open(f"sqlite:///{tmp_path_factory.mktemp('cuts')}/a.db") as whole:
        whole.apply(JOURNAL)
        expected = everything(whole)
        whole.drop()
        start = 0
        for end in [*cuts, len(JOURNAL)]:
            whole.apply(JOURNAL[max(0, start - overlap) : end], run_id="r1")
            start = end
        assert everything(whole) == expected


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("plimsoll.db", "not a database URL"),
        ("mysql://root:hunter2@host/x", "no support for 'mysql'"),
        ("postgresql://ann:hunter2@127.0.0.1:1/x", "cannot be used"),
        ("postgresql://127.0.0.1:1/x?user=ann&password=hunter2", "cannot be used"),
        ("postgresql://ann:hunter2@127.0.0.1:port/x", "not a database URL"),
        ("sqlite:////proc/nowhere/x.db", "choose a writable place"),
    ],
)
def test_a_bad_url_is_one_clear_line_that_never_holds_the_password(url, says):
    with pytest.raises(ConfigError, match=says) as caught:
        Store.open(url)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_password_is_not_repeated_to_anybody(postgres_url):
    with pytest.raises(ConfigError, match="password authentication failed") as caught:
        Store.open(postgres_url.replace("s3cret", "hunter2"))
    assert "hunter2" not in str(caught.value)


def test_masking_reaches_every_place_where_a_password_can_stand():
    assert mask_url("postgresql://a:b:c@d/e?sslpassword=f&x=1") == "postgresql://a:***@d/e?sslpassword=***&x=1"
    assert mask_url("sqlite:////var/lib/x.db") == "sqlite:////var/lib/x.db"
