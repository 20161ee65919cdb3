"""A hundred swaps and ten rollbacks at a thousand quotes a second, through the shell, the journal and real models."""

import asyncio

import pytest

from bus.messages import CalibratedForecast, Intent, ModelAdmitted, ModelPromoted, ModelRefused, ModelRolledBack
from bus.values import NS_PER_S
from daemon.replay import replay
from daemon.state import State, SwapFile
from models.registry import Registry
from tests.harness.paper import synthetic_quotes
from tests.harness.reign import mixed
from tests.harness.swaps import SwapDay, model_of, quotes_of

SWAPS = 100
ROLLBACKS = 10
A_SECOND = 1_000


@pytest.mark.slow
def test_a_thousand_quotes_a_second_a_hundred_swaps_and_ten_rollbacks_lose_nothing_and_mix_nothing(tmp_path):
    models = [model_of(seed, NS_PER_S, size=2.0) for seed in range(SWAPS + 1)]
    registry = Registry(State(tmp_path).models)
    registry.publish([models[0]], active=models[0].model_id)
    quotes = list(synthetic_quotes((SWAPS + ROLLBACKS + 4) * A_SECOND, step_ns=NS_PER_S // A_SECOND, sigma_e5=3))

    def promoted(model):
        def act(day):
            day.registry.publish([model], active=model.model_id)
            day.look()
            wanted(
                day, SwapFile(rollback=False, symbol="EURUSD", model_id=model.model_id, operator="mo", reason="load")
            )

        return act

    def gone_back(day):
        wanted(day, SwapFile(rollback=True, symbol="EURUSD", model_id="", operator="mo", reason="load"))

    def wanted(day, wish):
        day.state.ask_swap(wish)
        day.look()

    # at odd moments of each second; every tenth swap is followed by a rollback
    events, second = {}, 0
    for number, model in enumerate(models[1:], 1):
        second += 1
        events[second * A_SECOND + (number * 37) % A_SECOND] = promoted(model)
        if number % (SWAPS // ROLLBACKS) == 0:
            second += 1
            events[second * A_SECOND + (number * 71) % A_SECOND] = gone_back
    day = asyncio.run(SwapDay(tmp_path, quotes, events, period_ns=NS_PER_S).run())

    messages = day.messages()
    counted = {kind: sum(isinstance(each, kind) for each in messages)
               for kind in (ModelPromoted, ModelRolledBack, ModelAdmitted, ModelRefused)}  # fmt: skip
    assert counted == {ModelPromoted: SWAPS, ModelRolledBack: ROLLBACKS, ModelAdmitted: SWAPS + 2, ModelRefused: 0}
    assert [quote.ts_event_ns for quote in quotes_of(messages)] == [quote.ts_event_ns for quote in quotes]
    assert day.shell.inbox.counters.quotes_passed_over == 0
    assert mixed(messages) == []
    deciders = {each.model_id for each in messages if isinstance(each, CalibratedForecast) and each.active}
    assert len(deciders) >= SWAPS  # each of them decided a bar
    traded = {each.model_id for each in messages if isinstance(each, Intent) and each.request_id}
    assert len(traded) > SWAPS // 4
    assert traded <= deciders
    assert replay(day.folder).identical
    assert len(day.service.artifacts) <= 8
