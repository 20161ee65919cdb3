"""Runs on every alert rule: a new one is tested by being listed, and by a story in `tests.harness.alerts`."""

import inspect
import pkgutil
from importlib import import_module

import pytest

import risk.alerts
from bus.codec import decode, encode
from bus.errors import ConfigError
from bus.messages import AlertCleared, AlertRaised
from risk.alerts import GROUPS, RULES, Alerts, AlertSettings
from risk.alerts.rule import SEVERITIES, Context
from tests.harness.alerts import STORIES, opening, play

IDS = [rule.name for rule in RULES]
TOLD = [name for name, story in STORIES.items() if story is not None]


def test_every_file_of_rules_is_listed_and_every_rule_in_it():
    plumbing = {"rule", "settings"}
    files = {info.name for info in pkgutil.iter_modules(risk.alerts.__path__)} - plumbing
    assert files == {group.__name__.rpartition(".")[2] for group in GROUPS}
    for name in files:
        module = import_module(f"risk.alerts.{name}")
        there = {
            kind
            for _, kind in inspect.getmembers(module, inspect.isclass)
            if kind.__module__ == module.__name__ and hasattr(kind, "advice")
            and not issubclass(kind, AlertRaised) and isinstance(kind.advice, str)
        }  # fmt: skip
        assert there == set(module.RULES)


def test_every_rule_has_a_story():
    assert set(STORIES) == set(IDS)
    assert len(set(IDS)) == len(IDS)


@pytest.mark.parametrize("rule", RULES, ids=IDS)
def test_a_rule_says_for_people_what_it_tells_and_what_to_do(rule):
    assert rule.severity in SEVERITIES
    assert rule.why.endswith(".")
    assert rule.advice
    assert not rule.advice.endswith(".")


@pytest.mark.parametrize("name", TOLD)
def test_a_breach_is_raised_once_and_cleared_once(name):
    policy, breach, end = STORIES[name]
    alerts = Alerts(AlertSettings())
    before = play(alerts, opening(policy))
    said = [each for each in before + play(alerts, breach) if each.rule == name]
    assert [type(each) for each in said] == [AlertRaised]
    raised = said[0]
    assert all((raised.subject, raised.value, raised.limit, raised.advice))
    assert play(alerts, breach[-1:]) == [], "the same again is the same breach"
    if end is None:
        return
    over = [each for each in play(alerts, end) if each.rule == name]
    assert [type(each) for each in over] == [AlertCleared]
    assert (over[0].subject, over[0].severity, over[0].ts_raised_ns) == (
        raised.subject, raised.severity, raised.ts_init_ns,
    )  # fmt: skip
    assert decode(encode(raised)) == raised
    assert decode(encode(over[0])) == over[0]
    assert play(alerts, end[-1:]) == []
    assert (name, raised.subject) not in alerts.open


@pytest.mark.parametrize("name", TOLD)
def test_a_rule_that_is_off_says_nothing(name):
    policy, breach, end = STORIES[name]
    alerts = Alerts(AlertSettings(off=(name,)))
    assert not [each for each in play(alerts, [*opening(policy), *breach, *(end or ())]) if each.rule == name]


@pytest.mark.parametrize("name", TOLD)
def test_equal_stories_get_equal_alerts(name):
    policy, breach, end = STORIES[name]
    story = [*opening(policy), *breach, *(end or ())]
    assert play(Alerts(AlertSettings()), story) == play(Alerts(AlertSettings()), story)


def test_silencing_what_does_not_exist_is_refused_with_a_suggestion():
    with pytest.raises(ConfigError, match=r"alerts.off = \['slipage'\]: no such rule; did you mean slippage\?"):
        Alerts(AlertSettings(off=("slipage",)))


def test_no_rule_hears_of_a_message_before_the_run_has_started_and_breaks():
    context = Context(AlertSettings())
    for name in TOLD:
        _, breach, end = STORIES[name]
        alerts = Alerts(AlertSettings())
        play(alerts, [*breach, *(end or ())])
    assert context.book is None
