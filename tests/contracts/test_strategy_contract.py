"""Runs on everything in the room: a new strategy is tested by being listed."""

import math
from pathlib import Path

import msgspec
import pytest

import strategies
from bus.codec import decode, encode
from bus.errors import ConfigError
from bus.messages import Intent
from bus.values import Side
from strategies import STRATEGIES, load
from tests.harness.views import StaticView, bar, forecast, held

ALL = sorted(STRATEGIES)


def story(strategy):
    """Everything a strategy can be told, in several situations."""
    said = []
    for positions in ((), (held(strategy=strategy.name, bars=99),), (held(Side.SELL, strategy.name),)):
        for pending in (False, True):
            view = StaticView(positions=positions, pending=pending)
            said.extend([(pending, strategy.on_quote(view.last, view)) for _ in range(150)])
            said.append((pending, strategy.on_bar(bar(), view)))
            bands = ((120_500, 120_600), (119_000, 119_100), (119_900, 120_100))
            said.extend([(pending, strategy.on_forecast(forecast(band), view)) for band in bands])
    return said


@pytest.mark.parametrize("name", ALL)
def test_it_builds_from_nothing_and_carries_its_name(name):
    strategy = load(name, {})
    assert strategy.name == name
    assert isinstance(strategy.wants_quotes, bool)


@pytest.mark.parametrize("name", ALL)
def test_equal_stories_get_equal_answers(name):
    assert story(load(name, {})) == story(load(name, {}))


@pytest.mark.parametrize("name", ALL)
def test_every_intent_is_whole_numbers_with_a_stop_and_leaves_the_id_to_the_core(name):
    intents = [i for _, said in story(load(name, {})) for i in said]
    assert intents
    for i in intents:
        assert isinstance(i, Intent)
        assert decode(encode(i)) == i
        assert (i.intent_id, i.strategy) == ("", name)
        assert all(not isinstance(v, float) or math.isnan(v) for v in msgspec.structs.astuple(i))
        assert i.action == "exit" or i.stop_loss_e5 > 0
        assert (i.action == "exit") == bool(i.position_id)


@pytest.mark.parametrize("name", ALL)
def test_it_stays_quiet_while_an_order_is_at_work(name):
    assert not [said for pending, said in story(load(name, {})) if pending and said]


@pytest.mark.parametrize("name", ALL)
def test_unknown_parameters_and_wrong_types_are_refused_in_words(name):
    known = STRATEGIES[name][0].__struct_fields__[0]
    with pytest.raises(ConfigError, match=f"no parameter '{known}x'; did you mean '{known}'"):
        load(name, {known + "x": 1})
    with pytest.raises(ConfigError, match=known):
        load(name, {known: "many"})
    with pytest.raises(ConfigError, match=f"{known} = 0: must lie between"):
        load(name, {known: 0})


def test_an_unknown_strategy_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'interval'"):
        load("intervall", {})
    with pytest.raises(ConfigError, match="there are interval, metronome"):
        load("zzz", {})


def test_every_file_in_the_room_is_listed():
    files = {path.stem for path in Path(strategies.__file__).parent.glob("*.py")} - {"__init__", "contract"}
    assert files == set(STRATEGIES)
