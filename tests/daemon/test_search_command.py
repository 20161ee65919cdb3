"""`plimsoll train search`: what it tells, what it leaves behind, and that it goes on whatever ends it."""

import json
import re
import subprocess
import sys

import pytest

from bus.errors import ConfigError
from daemon.app import load_data
from daemon.config import load
from daemon.research.trials import Trial
from daemon.searching import planned, searched
from daemon.searchreport import Entry, SearchReport, snippet, table, verdict
from daemon.state import State
from daemon.training import _fitting
from models.registry import Registry
from models.space import divided
from models.train.judging import Gain
from tests.harness.command import REPOSITORY, last_line, plimsoll

pytestmark = pytest.mark.timeout(480)


def searching(state, *more):
    return plimsoll("train", "search", "--state", state, "--json", *more)


def folder_of(state):
    (folder,) = (state / "searches").iterdir()
    return folder


def lines_of(state):
    return (folder_of(state) / "log.txt").read_text().splitlines()


# ---- the command


def test_the_spaces_are_listed_without_data_or_state():
    told = last_line(plimsoll("train", "search", "--spaces", "--json", "--model", "tcn"))["spaces"]
    assert {"width", "dropout", "penalty", "learning_rate", "batch"} <= {each["name"] for each in told["tcn"]}
    every = plimsoll("train", "search", "--spaces")
    assert every.returncode == 0
    assert {"ridge", "gradient_boosting", "temporal_unet"} <= set(every.stdout.split())


def test_a_dry_run_tells_what_would_be_searched_and_makes_nothing(tmp_path):
    told = last_line(searching(tmp_path / "s", "--model", "mlp", "--dry-run", "--only", "rate"))
    assert (told["sampler"], told["pruner"], told["defaults"]) == ("tpe", "median", {"rate": 0.001})
    assert re.fullmatch(r"mlp-EURUSD-[0-9a-f]{8}", told["study"])
    assert last_line(searching(tmp_path / "s", "--model", "ridge", "--dry-run"))["pruner"] == "none"
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "which network? give --model with one of"),
        (["--model", "autoencoder"], "it has nothing to search"),
        (["--model", "ridge", "--only", "width"], "ridge has no width; it has penalty_scale"),
        (["--model", "mlp", "--objective", "crps_and_time", "--pruner", "median"], "write pruner = 'none'"),
        (["--model", "ridge", "--study", "../x"], "search.study"),
        (["--model", "ridge", "--storage", "mysql://ann:hunter2@h/x"], "no support for 'mysql'"),
    ],
)
def test_what_cannot_be_searched_is_one_line_with_a_way_out(arguments, says, tmp_path):
    done = searching(tmp_path, *arguments)
    assert done.returncode == 78
    assert says in done.stderr
    assert "hunter2" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    state = tmp_path_factory.mktemp("search")
    return state, last_line(searching(state, "--model", "ridge", "--trials", "5"))


def test_a_search_tells_the_best_beside_defaults_and_random_walk_and_how_often_it_tried(found):
    state, told = found
    report = told["report"]
    assert (report["attempts"], report["complete"], report["pruned"], report["failed"]) == (5, 5, 0, 0)
    assert report["entries"][0]["role"].startswith("best")
    assert sum("defaults" in each["role"] for each in report["entries"]) == 1
    assert report["entries"][0]["gain_pct"] == max(each["gain_pct"] for each in report["entries"])
    assert "5 attempts were made" in report["verdict"][0]
    assert any("later rows, which no trial saw" in line for line in report["verdict"])
    page = (folder_of(state) / "report.html").read_text()
    assert "random walk" in page
    assert "<script" not in page
    kept = json.loads((folder_of(state) / "report.json").read_text())
    assert [each["number"] for each in kept["trials"]] == [0, 1, 2, 3, 4]
    assert kept["trials"][0]["parameters"] == kept["defaults"] == {"penalty_scale": 1.0}
    assert len(lines_of(state)) == 5


def test_the_same_command_tries_nothing_again_and_a_larger_one_only_what_is_missing(found):
    state, told = found
    before = lines_of(state)
    again = last_line(searching(state, "--model", "ridge", "--trials", "5"))
    assert again == told
    assert lines_of(state) == before
    more = last_line(searching(state, "--model", "ridge", "--trials", "7"))
    assert more["report"]["attempts"] == 7
    assert lines_of(state)[:5] == before
    assert len(lines_of(state)) == 7


def test_what_was_found_is_taken_by_train_as_it_is(found):
    state, told = found
    settings = folder_of(state) / "search.toml"
    assert load(settings).models.parameters == {"ridge": told["report"]["best"]}
    done = last_line(plimsoll("train", "--config", settings, "--state", state, "--json"))
    artifact = Registry(state / "models").read(done["releases"][0]["active"])
    assert artifact.manifest.name == "ridge"
    config = load(settings, overrides={"state": str(state)})
    data = load_data(config)
    assert _fitting(State(state), data.symbols[0], data, config) is not None
    settings.with_name("other.toml").write_text(
        settings.read_text().replace("penalty_scale = ", "penalty_scale = 0.5  # ")
    )
    other = load(settings.with_name("other.toml"), overrides={"state": str(state)})
    assert _fitting(State(state), data.symbols[0], data, other) is None
    assert artifact.manifest.config["parameters.penalty_scale"] == told["report"]["best"]["penalty_scale"]


def test_a_search_that_is_killed_goes_on_to_what_it_would_have_found(tmp_path):
    arguments = ["--model", "mlp", "--trials", "4", "--pruner", "none"]
    killed = subprocess.Popen(
        [sys.executable, "-m", "daemon", "train", "search", *arguments, "--state", str(tmp_path / "killed")],
        cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        for line in killed.stderr:
            if line.startswith("trial 1:"):
                break
    finally:
        killed.kill()
        killed.communicate()
    first = lines_of(tmp_path / "killed")
    assert len(first) >= 2
    rest = last_line(searching(tmp_path / "killed", *arguments))["report"]
    whole = last_line(searching(tmp_path / "whole", *arguments))["report"]
    assert lines_of(tmp_path / "killed")[: len(first)] == first
    for report in (rest, whole):
        for name in ("storage", "died", "verdict"):
            del report[name]
        for entry in report["entries"]:
            del entry["number"]
    assert rest == whole


def test_a_search_that_is_told_to_stop_gives_its_trial_back(tmp_path):
    stopped = subprocess.Popen(
        [sys.executable, "-m", "daemon", "train", "search", "--state", tmp_path, "--model", "mlp", "--trials", "4"],
        cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for line in stopped.stderr:
        if line.startswith("trial 0:"):
            break
    stopped.terminate()
    _, errors = stopped.communicate(timeout=60)
    assert stopped.returncode == 130, errors
    report = last_line(searching(tmp_path, "--model", "mlp", "--trials", "4"))["report"]
    assert report["attempts"] == 4
    assert report["died"] <= 1


def test_time_that_is_up_ends_a_search_with_what_there_is(tmp_path):
    report = last_line(searching(tmp_path, "--model", "ridge", "--trials", "100000", "--timeout", "3"))["report"]
    assert 1 <= report["attempts"] < 100000
    assert "was up" in report["stopped"]
    assert "not at its end" in report["verdict"][0]


def test_two_objectives_tell_the_front_and_the_time_of_a_forecast(tmp_path):
    arguments = ["--model", "gradient_boosting", "--objective", "crps_and_time", "--sampler", "nsga2", "--trials", "5"]
    report = last_line(searching(tmp_path, *arguments))["report"]
    assert any("Pareto" in each["role"] for each in report["entries"])
    assert all(each["forecast_us"] > 0.0 for each in report["entries"])
    assert report["pruner"] == "none"


# ---- configuration


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[search]\ntrial = 3", "search.trial is unknown; did you mean trials?"),
        ("[search]\nsampler = 'cmaes'", 'search.sampler = "cmaes": expected one of tpe, random, grid, qmc, nsga2'),
        ("[search]\njudge_pct = 60", "search.judge_pct = 60"),
        ("[models.parameters.tcn]\nwidth = 12", "models.parameters.tcn.width = 12: write a whole number from 8"),
        ("[models.parameters.tcn]\nbatch = 64", "models.parameters.tcn.batch stands in [training]"),
        ("[models.parameters.tnc]\nwidth = 16", "models.parameters.tnc: no network is called so; did you mean tcn?"),
        ("[models.parameters.ridge]\nscale = 1.0", "no parameter of ridge; it has penalty_scale"),
    ],
)
def test_a_setting_that_cannot_be_obeyed_is_one_line_with_a_way_out(text, says, tmp_path):
    path = tmp_path / "plimsoll.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(says)):
        load(path)


def configured(tmp_path, text):
    path = tmp_path / "plimsoll.toml"
    path.write_text(text)
    return load(path)


class Data:
    """Market data of no market: what a plan asks of it."""

    symbols = ()


def test_what_is_configured_is_where_a_search_starts_and_what_it_leaves_alone(tmp_path):
    config = configured(
        tmp_path,
        "[training]\nbatch = 64\nschedule = 'cosine'\n[models.parameters.tcn]\nwidth = 32\ndropout = 0.1\n"
        "[search]\nparameters = ['width', 'batch', 'learning_rate']\n",
    )
    plan = planned(config, Data, "tcn")
    assert plan.defaults == {"width": 32, "learning_rate": 0.002, "batch": 64}
    assert plan.facts["parameters"] == {"dropout": 0.1}
    assert plan.facts["training"]["schedule"] == "cosine"
    text = snippet(config, "tcn", plan.space, {"width": 8, "learning_rate": 0.01, "batch": 128})
    (tmp_path / "found.toml").write_text(text)
    taken = load(tmp_path / "found.toml")
    assert taken.models.parameters == {"tcn": {"width": 8, "dropout": 0.1}}
    assert (taken.training.batch, taken.training.learning_rate, taken.training.schedule) == (128, 0.01, "cosine")
    assert taken.models.architectures == ("tcn",)


def test_what_is_configured_outside_of_the_space_must_be_left_out_of_the_search(tmp_path):
    config = configured(tmp_path, "[training]\nbatch = 1000\n")
    with pytest.raises(ConfigError, match=r"training\.batch = 1000: .*leave it out of the search"):
        planned(config, Data, "tcn")
    only = configured(tmp_path, "[training]\nbatch = 1000\n[search]\nparameters = ['width']\n")
    assert planned(only, Data, "tcn").defaults == {"width": 16}


def test_another_seed_or_another_space_makes_another_study(tmp_path):
    names = {
        planned(configured(tmp_path, text), Data, "mlp").name
        for text in ("", "[models]\nseed = 8", "[search]\nparameters = ['rate']", "[search]\njudge_pct = 10",
                     "[models.parameters.mlp]\nhidden = 64", "[training]\nepochs = 3", "[forecast]\nhorizons = [1]")
    }  # fmt: skip
    assert len(names) == 7
    same = {
        planned(configured(tmp_path, text), Data, "mlp").name
        for text in ("", "[search]\ntrials = 3", "[search]\nsampler = 'random'", "[web]\nport = 9")
    }
    assert len(same) == 1
    assert divided(searched("tcn")[1], {"width": 8, "batch": 64}) == ({"width": 8}, {"batch": 64})


# ---- what is said


def report(**told):
    best = Entry(number=3, role="best", gain_pct=0.5, error_pct=0.2, forecast_us=None, parameters={"a": 2.0})
    base = {
        "study": "s", "model": "ridge", "symbols": ("EURUSD",), "horizons": (1,), "storage": "x", "sampler": "tpe",
        "pruner": "none", "seed": 7, "stopped": "", "attempts": 20, "complete": 18, "pruned": 1, "failed": 1, "died": 0,
        "rows": {"judged": 1000, "later": 2000}, "best": {"a": 2.0}, "defaults": {"a": 1.0},
        "entries": (best,),
        "mean_pct": 0.1, "luck_pct": 0.3,
        "judged_over_defaults": Gain(rows=1000, pct=0.4, error_pct=0.2),
        "later": {"best": Gain(rows=2000, pct=0.3, error_pct=0.1), "defaults": Gain(rows=2000, pct=0.0, error_pct=0.1)},
        "later_over_defaults": Gain(rows=2000, pct=0.3, error_pct=0.1),
        "trials": (Trial(number=3, state="complete", parameters={"a": 2.0}),),
    }  # fmt: skip
    return SearchReport(**(base | told))


def test_many_attempts_make_a_small_chance_a_large_one():
    lines = verdict(report())
    assert "20 attempts were made: 18 complete, 1 pruned, 1 failed." in lines[0]
    assert "p = 0.0228 for one attempt, 0.369 for 20 of them" in lines[2]
    assert "p = 0.0228 for one attempt, 0.0228 for 1 of them" in verdict(report(attempts=1))[2]


def test_the_later_part_decides_and_the_random_walk_has_a_say():
    assert verdict(report())[-1].endswith("more than twice its standard error: take it.")
    small = Gain(rows=2000, pct=0.19, error_pct=0.1)
    assert "keep the defaults" in verdict(report(later_over_defaults=small))[-1]
    neither = {"best": small, "defaults": Gain(rows=2000, pct=-0.2, error_pct=0.1)}
    assert "neither is better than the random walk" in verdict(report(later=neither))[-1]
    none = verdict(report(best={"a": 1.0}))
    assert "there is nothing to take" in none[2]


def test_the_table_ends_with_the_random_walk():
    heading, first, walk = table(report())
    assert heading == ["trial", "", "gain %", "s.e.", "a"]
    assert first == ["3", "best", "+0.5000", "0.2000", "2"]
    assert walk[1] == "random walk"
