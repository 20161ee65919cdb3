"""`plimsoll risk explain`, and docs/limits.md, which shows it."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from bus.errors import ConfigError
from daemon.cli import cli
from daemon.config import explain as config_explain
from daemon.config import load
from risk.explain import table
from risk.limits import RULES
from risk.policy import Policy

DOCS = (Path(__file__).parents[2] / "docs" / "limits.md").read_text()
EXAMPLE = re.search(r"```toml\n(.*?)```", DOCS, re.DOTALL)[1]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def explain(*arguments):
    done = CliRunner().invoke(cli, ["risk", "explain", *arguments], standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return done.output


def test_every_rule_is_explained_with_unit_default_value_and_a_sentence():
    limits = json.loads(explain("--json"))
    assert {rule.ask.__name__ for rule in RULES} <= {limit["rule"] for limit in limits}
    for limit in limits:
        assert limit["does"]
        assert limit["sentence"].endswith(".")
        for setting in limit["settings"]:
            assert setting["sentence"].endswith(".")
            assert setting["unit"] or not isinstance(setting["default"], int) or setting["default"] in (True, False)
            assert setting["key"].startswith("risk.")


def test_what_is_in_force_and_who_makes_it_tighter_is_shown(tmp_path):
    (tmp_path / "mine.toml").write_text(EXAMPLE)
    shown = explain("spread", "--config", "mine.toml")
    assert "risk.max_spread_pips_e1 = 50, in 1/10 pips (the default; 0 = off)" in shown
    assert "risk.symbols.EURUSD.max_spread_pips_e1 = 15, in 1/10 pips (default 0" in shown
    assert "losing_streak" not in shown
    limits = {limit["rule"]: limit for limit in json.loads(explain("--json", "--config", "mine.toml"))}
    values = {each["key"]: each["value"] for each in limits["daily_loss"]["settings"]}
    assert (values["risk.daily_loss_pct_e2"], values["risk.losses.day_zone"]) == (500, "Europe/Prague")


def test_a_limit_that_there_is_not_is_answered_with_the_one_that_was_meant():
    with pytest.raises(ConfigError, match="no limit 'spred'; did you mean spread"):
        explain("spred")


def test_the_documentation_shows_what_the_command_prints():
    assert DOCS.endswith(table(Policy())), "write `plimsoll risk explain --markdown` to the end of docs/limits.md"
    assert DOCS.endswith(explain("--markdown"))


def test_the_example_of_the_documentation_is_a_configuration_that_shows_and_loads_again(tmp_path):
    (tmp_path / "mine.toml").write_text(EXAMPLE)
    config = load(tmp_path / "mine.toml")
    assert config.risk.losses.initial_balance == 100_000
    assert config.risk.strategies["interval"].daily_loss_pct_e2 == 200
    (tmp_path / "again.toml").write_text(config_explain(config))
    assert load(tmp_path / "again.toml").risk == config.risk


def test_every_key_that_the_documentation_names_is_there():
    explained = explain()
    for key in re.findall(r"`(?:risk\.)?((?:losses|hours|news|streaks|sizes|orders)\.[a-z_0-9]+)", DOCS):
        assert f"risk.{key} = " in explained, key
