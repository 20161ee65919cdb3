"""Trials and the projection in one database, and who is known to work on what: on SQLite and on a real PostgreSQL."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from optuna.storages import RDBStorage
from sqlalchemy import create_engine, inspect, text

from adapters.store import Store
from adapters.store.places import parse
from adapters.store.store import VERSION_TABLE
from adapters.store.tables import metadata
from adapters.store.trials import TrialStore
from bus.errors import ConfigError
from tests.harness import postgres
from tests.harness.records import journal
from tests.harness.trying import study, tried

REPOSITORY = Path(__file__).parents[2]
JOURNAL = journal()


@pytest.fixture(scope="module")
def postgres_url():
    yield from postgres.urls()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/folder/that/is/made/plimsoll.db"
        return
    url = request.getfixturevalue("postgres_url")
    yield url
    engine = create_engine(parse(url))
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()


def asked(url, statement):
    engine = create_engine(parse(url))
    with engine.begin() as connection:
        found = connection.execute(text(statement))
        rows = [tuple(row) for row in found] if found.returns_rows else []
    engine.dispose()
    return rows


def tables(url):
    engine = create_engine(parse(url))
    names = set(inspect(engine).get_table_names())
    engine.dispose()
    return names


def test_projection_and_trials_live_in_one_database_and_neither_touches_the_other(url):
    with TrialStore.open(url) as store:
        first = study(store)
        tried(first, 3)
        trials = first.trials()
    with Store.open(url) as projection:
        assert projection.apply(JOURNAL) == len(JOURNAL)
        assert projection.revision() == "0001"
        projection.rebuild(JOURNAL)
        projection.drop()
        assert projection.apply(JOURNAL) == len(JOURNAL)
    with TrialStore.open(url) as store:
        again = study(store)
        assert again.trials() == trials
        tried(again, 5)
    with Store.open(url) as projection:
        assert projection.summary()["trades"] == 6
    assert asked(url, f"SELECT version_num FROM {VERSION_TABLE}") == [("0001",)]
    ((theirs,),) = asked(url, "SELECT version_num FROM alembic_version")
    assert theirs.startswith("v")
    assert not set(metadata.tables) & (tables(url) - set(metadata.tables))


def test_a_database_of_an_older_release_is_taken_over_with_everything_in_it(url):
    with Store.open(url) as projection:
        projection.apply(JOURNAL)
    asked(url, "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
               "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))")  # fmt: skip
    asked(url, f"INSERT INTO alembic_version SELECT version_num FROM {VERSION_TABLE}")
    asked(url, f"DROP TABLE {VERSION_TABLE}")

    with TrialStore.open(url) as store:
        tried(study(store), 2)
    with Store.open(url) as projection:
        assert projection.revision() == "0001"
        assert projection.summary()["trades"] == 6
        assert projection.apply(JOURNAL) == 0


def test_a_database_that_optuna_made_alone_is_not_taken_for_an_older_release(url):
    if parse(url).drivername == "sqlite":
        Path(parse(url).database).parent.mkdir(parents=True)
    RDBStorage(parse(url).render_as_string(hide_password=False)).engine.dispose()
    before = asked(url, "SELECT version_num FROM alembic_version")
    with Store.open(url) as projection:
        assert projection.apply(JOURNAL) == len(JOURNAL)
    assert asked(url, "SELECT version_num FROM alembic_version") == before
    with TrialStore.open(url) as store:
        assert tried(study(store), 2) == [0, 1]


def test_trials_of_another_release_of_optuna_are_refused_in_one_line(url):
    TrialStore.open(url).close()
    asked(url, "UPDATE alembic_version SET version_num = 'v99.0.0.a'")
    with pytest.raises(ConfigError, match=r"another release of Optuna does \(v99.0.0.a; this one v\d") as caught:
        TrialStore.open(url)
    assert "s3cret" not in str(caught.value)


def test_only_one_holds_the_claim(url):
    with TrialStore.open(url) as first, TrialStore.open(url) as second:
        order = []

        def late():
            with second.claim():
                order.append("second")

        with first.claim():
            thread = threading.Thread(target=late)
            thread.start()
            thread.join(0.3)
            order.append("first")
        thread.join(20)
    assert order == ["first", "second"]


def test_a_process_is_known_to_live_until_it_is_killed(url):
    script = (
        "import sys\n"
        "from adapters.store.trials import TrialStore\n"
        "store = TrialStore.open(sys.argv[1])\n"
        "print(store.worker, flush=True)\n"
        "sys.stdin.readline()\n"
    )
    with TrialStore.open(url) as store, subprocess.Popen(
        [sys.executable, "-c", script, url], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:  # fmt: skip
        other = process.stdout.readline().strip()
        with store.claim():
            assert store.alive(store.worker)
            assert store.alive(other)
            assert not store.alive("nobody-1-00000000")
        process.kill()
        process.wait()
        with store.claim():
            # a server notices a closed connection at once, but not within the same microsecond
            for _ in range(1000):
                if not store.alive(other):
                    break
                threading.Event().wait(0.01)
            assert not store.alive(other)
            assert store.alive(store.worker)


def test_trials_in_memory_are_refused(tmp_path):
    for url in ("sqlite://", "sqlite:///:memory:"):
        with pytest.raises(ConfigError, match="need a file or PostgreSQL"):
            TrialStore.open(url)


def test_a_server_that_does_not_answer_is_one_line_without_the_password():
    with pytest.raises(ConfigError, match="cannot be used") as caught:
        TrialStore.open("postgresql://ann:hunter2@127.0.0.1:1/x")
    assert "hunter2" not in str(caught.value)
