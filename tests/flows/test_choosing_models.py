"""What is trained is a choice: on the command line or in the configuration, and the paper day trades on it."""

import json
from pathlib import Path

import pytest

from bus.messages import RegimeSeen
from daemon.journal import read
from models.nets import known
from tests.harness.command import BARE, last_line, paper_arguments, plimsoll
from tests.harness.libraries import needs_lightgbm

pytestmark = [pytest.mark.timeout(300), needs_lightgbm]
CHOSEN = ("ridge", "lasso", "gradient_boosting", "ensemble_mean", "hidden_markov", "isolation_forest")


@pytest.fixture(scope="module")
def chosen(tmp_path_factory):
    """A configuration that names nothing, and a state directory with models that a command line named."""
    base = tmp_path_factory.mktemp("chosen")
    (base / "plimsoll.toml").write_text(BARE)
    (base / "other.toml").write_text(BARE + '[models]\narchitectures = ["ridge", "lasso"]\n')
    models = [part for name in CHOSEN for part in ("--model", name)]
    trained = last_line(
        plimsoll("train", *models, "--config", base / "plimsoll.toml", "--state", base / "state", "--json")
    )
    return base, trained["releases"][0]


def test_what_there_is_to_train_is_listed_with_what_it_needs():
    listed = last_line(plimsoll("models", "architectures", "--json"))["architectures"]
    assert set(known()) <= {entry["name"] for entry in listed}
    by_name = {entry["name"]: entry for entry in listed}
    assert by_name["gradient_boosting"]["needs"] == ["lightgbm"]
    assert by_name["gradient_boosting"]["missing"] == []
    assert by_name["autoencoder"]["task"] == "reconstruct"
    assert by_name["ensemble_mean"]["task"] == "combine"
    shown = plimsoll("models", "architectures").stdout
    for entry in listed:
        assert entry["name"] in shown


def test_exactly_what_was_named_is_trained(chosen):
    _, release = chosen
    assert [model.rpartition("-")[0] for model in release["models"]] == [
        "gradient_boosting", "lasso", "ridge", "ensemble_mean", "hidden_markov", "isolation_forest",
    ]  # fmt: skip
    assert release["active"] in release["models"]


def test_an_ensemble_shows_who_is_in_it_and_how_they_differ(chosen):
    base, release = chosen
    model_id = next(model for model in release["models"] if model.startswith("ensemble_mean"))
    shown = json.loads(plimsoll("models", "show", model_id, "--json", "--state", base / "state").stdout)
    assert shown["membership"]["members"] == ["gradient_boosting", "lasso", "ridge"]
    assert {"weights", "ambiguity", "disagreement", "error_correlation"} <= set(shown["membership"]["diversity"][0])
    assert {row["model"] for row in shown["metrics"]} == {"random-walk", "ensemble_mean"}
    verified = plimsoll("models", "verify", "--state", base / "state")
    assert verified.returncode == 0, verified.stdout


def test_a_paper_day_trades_on_what_was_trained_and_trains_again_only_for_another_choice(chosen):
    base, _ = chosen
    state = base / "state"
    arguments = [argument for argument in paper_arguments(base, state) if argument not in {"--seed", "7"}]
    first = last_line(plimsoll(*arguments))
    assert first["forecasts"] > 0
    # regimes and unusual bars are facts on record, and a replay takes them as it takes forecasts
    told = [record.message for record in read(Path(first["journal"])) if isinstance(record.message, RegimeSeen)]
    assert len(told) > 0.9 * first["bars"]
    assert {len(seen.probabilities_ppm) for seen in told} == {2}
    assert {seen.regime for seen in told} == {0, 1}
    assert last_line(plimsoll("replay", first["journal"], "--json"))["identical"] is True
    listed = last_line(plimsoll("models", "list", "--state", state, "--json"))["models"]
    assert {entry["release"] for entry in listed} == {1}
    other = [argument if argument != base / "plimsoll.toml" else base / "other.toml" for argument in arguments]
    last_line(plimsoll(*other, "--new"))
    listed = last_line(plimsoll("models", "list", "--state", state, "--json"))["models"]
    now = [entry["model_id"].rpartition("-")[0] for entry in listed if entry["current"]]
    assert now == ["lasso", "ridge"]


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("rigde",), "'rigde' is not known; did you mean ridge"),
        (("ensemble_mean", "ridge"), "ensemble_mean combines the forecasters beside it"),
    ],
)
def test_a_choice_that_cannot_be_trained_is_one_line_and_changes_nothing(names, says, tmp_path):
    models = [part for name in names for part in ("--model", name)]
    refused = plimsoll("train", *models, "--state", tmp_path / "state", "--json")
    assert refused.returncode == 78
    assert says in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert not (tmp_path / "state").exists()
