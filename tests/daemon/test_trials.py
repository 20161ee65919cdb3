"""Studies: the same trials for the same seed, none twice, none lost, whatever dies. On SQLite and a real PostgreSQL."""

import itertools
import json
import os
import subprocess
import sys

import pytest
from sqlalchemy import create_engine, text

from adapters.store.places import parse
from adapters.store.trials import TrialStore
from bus.errors import ConfigError, DataError
from daemon.research import trials as trials_module
from models.learning import Pruned
from tests.harness import postgres
from tests.harness.command import REPOSITORY
from tests.harness.trying import DEFAULTS, SPACE, came, study, tried, value

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def postgres_url():
    yield from postgres.urls()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/trials.db"
    return request.getfixturevalue("postgres_url")


@pytest.fixture
def store(tmp_path):
    with TrialStore.open(f"sqlite:///{tmp_path}/trials.db") as opened:
        yield opened


_STARTED = []


def trying(url, *arguments):
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.harness.trying", url, *map(str, arguments)],
        cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    _STARTED.append(process)
    return process


@pytest.fixture(autouse=True)
def _no_process_outlives_its_test():
    yield
    while _STARTED:
        with _STARTED.pop() as process:
            process.kill()


def numbers(process):
    out, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors[-2000:]
    return json.loads(out.splitlines()[-1])


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid", "qmc", "nsga2"])
def test_one_process_gives_the_same_trials_for_the_same_seed(store, sampler):
    for name, seed in (("one", 3), ("two", 3), ("three", 4)):
        tried(study(store, name, sampler=sampler, pruner="median", seed=seed), 14)
    one, two, three = (came(study(store, name, seed=seed)) for name, seed in (("one", 3), ("two", 3), ("three", 4)))
    assert one == two
    assert (one != three) or sampler == "grid"
    assert one[0][0] == DEFAULTS
    assert len({json.dumps(parameters) for parameters, _, _ in one}) == 14


def test_a_search_that_was_killed_ends_in_the_trials_of_one_that_was_not(url):
    name = f"killed-{os.getpid()}"
    for number in (3, 12):
        process = trying(url, name, 16, 0.15)
        while process.stdout.readline() != f"trial {number}\n":
            assert process.poll() is None, process.stderr.read()
        process.kill()
        process.communicate()
    trying_again = numbers(trying(url, name, 16))
    with TrialStore.open(url) as store:
        found = study(store, name)
        whole = study(store, f"{name}-undisturbed")
        tried(whole, 16)
        assert came(found) == came(whole)
        assert [each.number for each in found.trials() if each.state == "died"] == [3, 12]
        # what died was tried again, as the next one, with the same parameters
        assert found.trials()[4].parameters == found.trials()[3].parameters
        assert trying_again[0] == 13
        assert tried(found, 16) == []


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "nsga2"])
def test_a_death_changes_no_later_trial(store, sampler, monkeypatch):
    whole, found = (study(store, name, sampler=sampler) for name in ("undisturbed", "disturbed"))
    tried(whole, 14)
    for number in (0, 4):
        tried(found, number)
        found.next(14)
        with monkeypatch.context() as patched:
            patched.setattr(store, "alive", lambda _worker: False)
            found.next(14).complete([value(found.trials()[-1].parameters)], {})
    tried(found, 14)
    assert came(found) == came(whole)


@pytest.mark.parametrize("sampler", ["tpe", "grid"])
def test_processes_that_share_a_study_try_nothing_twice_and_no_more_than_asked(url, sampler):
    name = f"shared-{sampler}-{os.getpid()}"
    found = [numbers(each) for each in [trying(url, name, 17, 0.05, sampler) for _ in range(3)]]
    assert sorted(itertools.chain(*found)) == list(range(17))
    assert sum(bool(each) for each in found) > 1
    with TrialStore.open(url) as store:
        told = study(store, name, sampler=sampler).trials()
    assert [each.state for each in told] == ["complete"] * 17
    if sampler == "tpe":
        assert len({json.dumps(each.parameters) for each in told}) == 17
    else:
        assert len({json.dumps(each.parameters) for each in told[1:]}) == 16
    for each in told:
        assert each.values == (value(each.parameters),)
        assert each.attributes == {"twice": 2.0 * value(each.parameters)}


def test_a_grid_is_walked_once_and_ends(store):
    found = study(store, sampler="grid", grid_points=2)
    assert len(tried(found, 1000)) == 1 + 2 * 2 * 2
    (_, *points) = [tuple(each.parameters.values()) for each in found.trials()]
    assert sorted(points) == sorted(itertools.product((0.01, 10.0), (1, 9), ("a", "b")))


def test_what_is_pruned_or_cannot_be_counts_and_what_is_given_back_does_not(store):
    found = study(store, pruner="median")
    for _ in range(6):
        first = found.next(8)
        for epoch in (1, 2, 3, 4, 5):
            first.report(epoch, 1.0)
        assert first.complete([1.0], {})
    worse = found.next(8)
    for epoch in (1, 2):  # it is too early to tell
        worse.report(epoch, 2.0)
    with pytest.raises(Pruned, match="pruned at step 3"):
        worse.report(3, 2.0)
    worse.prune()
    stopped = found.next(8)
    stopped.give_back()
    again = found.next(8)
    assert again.parameters == stopped.parameters
    assert again.number == stopped.number + 1
    again.fail("diverged")
    assert found.next(8) is None
    states = [each.state for each in found.trials()]
    assert states == ["complete"] * 6 + ["pruned", "died", "failed"]
    assert found.trials()[-1].reason == "diverged"
    assert found.trials()[6].steps == 3


def test_a_trial_that_takes_its_process_with_it_is_tried_three_times_and_no_more(tmp_path):
    url = f"sqlite:///{tmp_path}/trials.db"
    script = (
        "import os, signal, sys\n"
        "from adapters.store.trials import TrialStore\n"
        "from tests.harness.trying import study\n"
        "study(TrialStore.open(sys.argv[1])).next(2)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    for _ in range(3):
        died = subprocess.run([sys.executable, "-c", script, url], cwd=REPOSITORY, capture_output=True, check=False)
        assert died.returncode == -9, died.stderr.decode()
    with TrialStore.open(url) as store:
        found = study(store)
        assert tried(found, 2) == [3]
        told = found.trials()
    assert [each.state for each in told] == ["died", "died", "failed", "complete"]
    assert told[2].reason == "its process died 3 times"
    assert [each.parameters for each in told[:3]] == [DEFAULTS] * 3
    assert told[3].parameters != DEFAULTS


def test_who_was_taken_for_dead_tells_nothing_any_more(store, monkeypatch):
    found = study(store)
    lost = found.next(3)
    with monkeypatch.context() as patched:
        patched.setattr(store, "alive", lambda _worker: False)
        again = found.next(3)
    assert again.parameters == lost.parameters
    assert not lost.complete([1.0], {})
    assert not lost.prune()
    assert again.complete([2.0], {})
    assert [each.state for each in found.trials()] == ["died", "complete"]


def test_a_study_of_other_facts_or_of_another_kind_is_refused_and_says_what_differs(store):
    study(store, begun_with={"data": 1, "seed": 2, "same": [1, 2]})
    with pytest.raises(ConfigError, match="begun with other data, seed; give those again"):
        study(store, begun_with={"data": 3, "same": (1, 2)})
    with pytest.raises(ConfigError, match="of kind 'toy', not 'backtest'"):
        study(store, kind="backtest")
    study(store, begun_with={"data": 1, "seed": 2, "same": (1, 2)}, sampler="random", pruner="median")


def test_several_objectives_give_a_front(store):
    found = study(store, objectives=2, sampler="nsga2")
    while (attempt := found.next(30)) is not None:
        attempt.report(1, 0.0)  # nobody prunes, so nothing is asked
        attempt.complete([attempt.parameters["x"], 1.0 / attempt.parameters["x"] + attempt.parameters["n"]], {})
    told, front = found.trials(), found.front()
    better = {
        each.number
        for each in told
        if not any(
            all(a <= b for a, b in zip(other.values, each.values, strict=True)) and other.values != each.values
            for other in told
        )
    }
    assert set(front) == better
    assert 1 < len(front) < 30


def test_the_last_trial_of_another_process_is_waited_for_and_taken_over_where_it_dies(tmp_path):
    url = f"sqlite:///{tmp_path}/trials.db"
    process = trying(url, "toy", 1, 1000)
    assert process.stdout.readline() == "trial 0\n"
    waited = []

    def wait():
        waited.append(1)
        process.kill()
        process.wait()
        return True

    with TrialStore.open(url) as store:
        found = study(store)
        assert found.next(1, lambda: False) is None
        attempt = found.next(1, wait)
        assert (attempt.number, attempt.parameters, waited) == (1, DEFAULTS, [1])
        attempt.complete([1.0], {})
        assert found.next(1) is None


def test_a_database_that_went_away_is_one_line_without_the_password(postgres_url):
    with TrialStore.open(postgres_url) as store:
        found = study(store, "gone")
        engine = create_engine(parse(postgres_url))
        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE trials RENAME TO elsewhere"))
        try:
            with pytest.raises(DataError, match="does not take trials") as caught:
                found.next(3)
        finally:
            with engine.begin() as connection:
                connection.execute(text("ALTER TABLE elsewhere RENAME TO trials"))
            engine.dispose()
        assert "s3cret" not in str(caught.value)
        assert "\n" not in str(caught.value)
        assert tried(found, 2) == [0, 1]


def test_connections_that_the_server_cut_are_made_again(postgres_url):
    with TrialStore.open(postgres_url) as store:
        found = study(store, "cut")
        tried(found, 1)
        engine = create_engine(parse(postgres_url))
        with engine.connect() as connection:
            connection.execute(
                text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
                     "AND datname = 'plimsoll'")
            )  # fmt: skip
        engine.dispose()
        assert tried(found, 3) == [1, 2]


def test_every_sampler_and_pruner_that_is_offered_is_made():
    from models.searching import PRUNERS, SAMPLERS

    made = {name: type(trials_module._pruner(name, 60)).__name__ for name in PRUNERS}
    assert len(set(made.values())) == len(PRUNERS) - 1  # auto is none until somebody chose
    assert set(SAMPLERS) == {"tpe", "random", "grid", "qmc", "nsga2"}
    assert [each.name for each in SPACE] == ["x", "n", "w"]
