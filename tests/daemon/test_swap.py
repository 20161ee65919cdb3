"""Models come into a running day, try, trade and go back: nothing is lost or mixed, and no crash leaves nobody."""

import asyncio
import shutil

import msgspec
import pytest

from bus.errors import ModelError
from bus.messages import (
    CalibratedForecast,
    ForecastResolved,
    ModelAdmitted,
    ModelPromoted,
    ModelRefused,
    ModelRetired,
    ModelRolledBack,
    OrderFilled,
    Quote,
    SwapRefused,
)
from bus.values import NS_PER_HOUR, NS_PER_S
from daemon.core import CoreSettings
from daemon.journal import read, segments, verify
from daemon.replay import replay
from daemon.settings import ModelsSection
from daemon.state import State, SwapFile
from daemon.swaprecord import read_told, speaking
from models.registry import Registry
from models.serve import Service
from risk.promotion import SwapPolicy
from tests.harness.artifacts import forged
from tests.harness.paper import synthetic_quotes
from tests.harness.reign import mixed
from tests.harness.swaps import SETTINGS, SwapDay, model_of, quotes_of

QUOTES = 240
OLD, NEW, THIRD = (model_of(seed) for seed in (0, 1, 2))


def begin(folder, *models):
    registry = Registry(State(folder).models)
    for model in models or (OLD,):
        registry.publish([model], active=model.model_id)
    return folder


def quotes(count=QUOTES):
    return list(synthetic_quotes(count))


def publish(model, **more):
    def act(day):
        day.registry.publish([model], active=model.model_id, **more)
        day.look()

    return act


def wish(model_id="", *, rollback=False, symbol="EURUSD"):
    def act(day):
        day.state.ask_swap(SwapFile(rollback=rollback, symbol=symbol, model_id=model_id, operator="mo", reason="drill"))
        day.look()

    return act


def swap_events():
    return {
        20: publish(NEW),
        60: wish(NEW.model_id),
        120: wish(rollback=True),
        150: publish(THIRD),
        190: wish(THIRD.model_id),
    }


def run(day):
    return asyncio.run(day.run())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run(SwapDay(begin(tmp_path_factory.mktemp("whole")), quotes(), swap_events()))


def test_a_published_model_is_tried_trades_by_command_and_goes_back(whole):
    told = whole.messages(ModelAdmitted, ModelPromoted, ModelRolledBack, ModelRetired)
    assert [(type(each).__name__, each.model_id) for each in told] == [
        ("ModelAdmitted", "random-walk"), ("ModelAdmitted", OLD.model_id), ("ModelAdmitted", NEW.model_id),
        ("ModelPromoted", NEW.model_id), ("ModelRolledBack", OLD.model_id), ("ModelAdmitted", THIRD.model_id),
        ("ModelRetired", NEW.model_id), ("ModelPromoted", THIRD.model_id),
    ]  # fmt: skip
    new = told[2]
    assert (new.release, new.candidate, new.active) == (2, True, False)
    assert "random walk" in new.verdict
    assert told[3].reason == "mo: drill"
    assert whole.succession.in_force == whole.registry.active("EURUSD", NS_PER_HOUR) == THIRD.model_id


def test_no_quote_is_lost_and_every_decision_is_one_models(whole):
    messages = whole.messages()
    assert [(q.ts_event_ns, q.bid_e5) for q in quotes_of(messages)] == [(q.ts_event_ns, q.bid_e5) for q in quotes()]
    assert mixed(messages) == []
    assert whole.messages(OrderFilled)
    deciders = {each.model_id for each in whole.messages(CalibratedForecast) if each.active}
    assert deciders == {OLD.model_id, NEW.model_id, THIRD.model_id}
    shadow = [each for each in whole.messages(ForecastResolved) if each.model_id == NEW.model_id]
    assert len(shadow) > 30


def test_a_replay_needs_no_model_files_and_says_the_same(whole, tmp_path):
    shutil.copytree(whole.folder, tmp_path / "journal")
    result = replay(tmp_path / "journal")
    assert result.identical
    assert result.decisions_sha256 == whole.engine.decisions.hexdigest()


def test_what_is_served_is_what_speaks(whole):
    served = {each.model_id for each in whole.service.artifacts}
    assert served == set(whole.succession.members) - {"random-walk"}
    told = read_told(whole.state.models_told)
    assert told.symbols["EURUSD"].trades == THIRD.model_id
    assert set(speaking(whole.state.models_told)) == served
    assert read_told(whole.state.folder / "nothing") is None


def decided(messages):
    return {each.request_id for each in messages if isinstance(each, CalibratedForecast) and each.active}


def cuts(folder, count=24):
    """Copies of a journal as a crash would leave it: at records around the swaps, and in the middle of some."""
    whole = segments(folder)[-1].read_bytes()
    steps = [len(whole) * n // count for n in range(count // 4, count)]
    return whole, steps


@pytest.mark.parametrize("part", range(3))
def test_a_crash_at_any_point_leaves_one_model_in_force_and_the_day_goes_on(whole, tmp_path, part):
    assert len(segments(whole.folder)) == 1
    data, steps = cuts(whole.folder)
    for number, cut in enumerate(steps[part::3]):
        state = tmp_path / str(number)
        shutil.copytree(whole.state.folder, state)
        segments(state / "journal")[-1].write_bytes(data[:cut])
        day = run(SwapDay(state, quotes(), swap_events()))
        messages = day.messages()
        assert mixed(messages) == []
        assert len(quotes_of(messages)) == QUOTES
        assert day.reason == "end of data"
        assert verify(day.folder).intact
        assert replay(day.folder).identical
        assert day.succession.in_force in {OLD.model_id, NEW.model_id, THIRD.model_id}
        assert decided(messages) == decided(whole.messages())  # every bar, by somebody


def test_a_day_goes_on_as_if_nothing_had_been_where_it_crashed_between_two_swaps(whole, tmp_path):
    records = list(read(whole.folder))
    rolled = next(n for n, record in enumerate(records) if isinstance(record.message, ModelRolledBack))
    state = tmp_path / "state"
    shutil.copytree(whole.state.folder, state)
    data = segments(state / "journal")[-1].read_bytes()
    short = next(cut for cut in range(2_000, len(data), 2_000) if len(list(_read(tmp_path, data[:cut]))) > rolled + 3)
    segments(state / "journal")[-1].write_bytes(data[:short])
    later = {number: act for number, act in swap_events().items() if number >= 150}
    registry = Registry(State(state).models)
    shutil.rmtree(State(state).models)
    registry.publish([OLD], active=OLD.model_id)
    registry.publish([NEW], active=NEW.model_id)
    day = run(SwapDay(state, quotes(), later))
    assert day.engine.decisions.hexdigest() == whole.engine.decisions.hexdigest()
    assert mixed(day.messages()) == []


def _read(tmp_path, data):
    folder = tmp_path / "probe"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "00000001.seg").write_bytes(data)
    return read(folder)


def test_a_pointer_that_had_not_followed_the_journal_follows_at_the_next_start(whole, tmp_path):
    state = tmp_path / "state"
    shutil.copytree(whole.state.folder, state)
    registry = Registry(State(state).models)
    registry.set_active(OLD.model_id)
    run(SwapDay(state, quotes()))
    assert registry.active("EURUSD", NS_PER_HOUR) == THIRD.model_id


def test_a_recovered_day_without_its_model_files_goes_on_and_says_what_is_missing(whole, tmp_path):
    state = tmp_path / "state"
    shutil.copytree(whole.state.folder, state)
    data = segments(state / "journal")[-1].read_bytes()
    segments(state / "journal")[-1].write_bytes(data[: len(data) * 3 // 4])
    shutil.rmtree(State(state).models)
    day = run(SwapDay(state, quotes()))
    assert any("no model" in note for note in day.notes)
    assert day.reason == "end of data"
    assert replay(day.folder).identical


def test_an_unreadable_model_in_force_is_rolled_back_because_it_owes_its_forecasts(tmp_path):
    begin(tmp_path)

    def lose(day):
        day.service.drop(NEW.model_id)

    day = run(SwapDay(tmp_path, quotes(), {20: publish(NEW), 60: wish(NEW.model_id), 100: lose}))
    (back,) = day.messages(ModelRolledBack)
    assert (back.model_id, back.rule) == (OLD.model_id, "misses")
    assert day.registry.active("EURUSD", NS_PER_HOUR) == OLD.model_id


def test_a_candidate_is_promoted_by_rule_on_the_same_bars(tmp_path):
    rule = CoreSettings(
        strategies=SETTINGS.strategies, swap=SwapPolicy(min_pairs=1, margin_pct_e2=10_000, coverage_pct_e2=10_000)
    )
    begin(tmp_path, model_of(0, size=0.02))
    new = model_of(1, size=0.02)
    day = run(SwapDay(tmp_path, quotes(1_900), {20: publish(new)}, settings=rule))
    (promoted,) = day.messages(ModelPromoted)
    assert (promoted.model_id, promoted.rule) == (new.model_id, "comparison")
    assert "on 384 requests" in promoted.reason
    assert day.registry.active("EURUSD", NS_PER_HOUR) == new.model_id
    assert mixed(day.messages()) == []


def test_a_bad_release_is_refused_on_record_and_the_old_model_goes_on(tmp_path):
    begin(tmp_path)
    bad = forged(NEW, lambda m: m.update(feature_hash="0" * 64), key=None)

    def corrupt(day):
        pointer = tmp_path / "models" / "EURUSD-3600s" / "current.json"
        pointer.write_bytes(pointer.read_bytes()[:-70])
        day.look()

    day = run(SwapDay(tmp_path, quotes(), {20: publish(bad), 60: corrupt}))
    refused = day.messages(ModelRefused)
    assert [(each.model_id, each.release) for each in refused] == [(bad.model_id, 2), ("", 0)]
    assert "other features" in refused[0].reason
    assert "altered" in refused[1].reason
    assert {each.model_id for each in day.messages(CalibratedForecast) if each.active} == {OLD.model_id}
    told = read_told(day.state.models_told)
    assert [each.model_id for each in told.refused] == [bad.model_id, ""]


@pytest.mark.parametrize(
    ("seen_ns", "says"),
    [(quotes()[-1].ts_event_ns, "has seen bars up to"), (OLD.manifest.training.seen_ns - 1, "an old version")],
)
def test_a_model_that_has_seen_the_days_future_or_less_than_the_one_in_force_is_refused(tmp_path, seen_ns, says):
    begin(tmp_path)
    known = {"last_ts_ns": min(seen_ns, OLD.manifest.training.last_ts_ns), "calibration_last_ts_ns": seen_ns}
    other = forged(NEW, lambda m: m["training"].update(known), key=None)
    day = run(SwapDay(tmp_path, quotes(), {20: publish(other)}))
    (refused,) = day.messages(ModelRefused)
    assert says in refused.reason


def test_an_operator_may_call_an_older_kept_version_and_go_back_without_a_swap_before(tmp_path):
    begin(tmp_path, THIRD, NEW, OLD)
    day = run(
        SwapDay(tmp_path, quotes(), {40: wish(rollback=True), 80: wish(THIRD.model_id), 120: wish("ridge-0000000000"),
                                     160: wish(symbol="GBPUSD", model_id="x")})
    )  # fmt: skip
    swaps = day.messages(ModelPromoted, ModelRolledBack)
    assert [(type(each).__name__, each.model_id) for each in swaps] == [
        ("ModelRolledBack", NEW.model_id), ("ModelPromoted", THIRD.model_id),
    ]  # fmt: skip
    assert [each.model_id for each in day.messages(ModelRefused)] == ["ridge-0000000000"]
    assert [each.reason for each in day.messages(SwapRefused)] == ["the symbol is not traded"]
    assert mixed(day.messages()) == []


def test_a_rollback_takes_effect_at_the_moment_at_which_it_comes(tmp_path):
    begin(tmp_path)
    day = run(SwapDay(tmp_path, quotes(), {20: publish(NEW), 60: wish(NEW.model_id), 101: wish(rollback=True)}))
    messages = day.messages()
    back = next(n for n, each in enumerate(messages) if isinstance(each, ModelRolledBack))
    before = [each for each in messages[:back] if isinstance(each, Quote)]
    assert messages[back].ts_init_ns - before[-1].ts_init_ns <= NS_PER_S
    assert not any(
        isinstance(each, CalibratedForecast) and each.active and each.model_id == NEW.model_id
        for each in messages[back:]
    )


def test_a_symbol_may_name_the_architecture_that_trades_it(tmp_path):
    begin(tmp_path)
    mlp = msgspec.structs.replace(NEW.manifest, name="mlp")
    other = forged(NEW, lambda m: (m.update(name="mlp"), [r.update(model="mlp") for r in m["metrics"][3:]]), key=None)
    assert mlp.name == other.model_id.rpartition("-")[0]

    def both(day):
        day.registry.publish([THIRD, other], active=THIRD.model_id)
        day.look()

    day = run(SwapDay(tmp_path, quotes(), {20: both}, models=ModelsSection(latency_ms=0, trades={"EURUSD": "mlp"})))
    assert [each.model_id for each in day.messages(ModelAdmitted) if each.candidate] == [other.model_id]
    assert THIRD.model_id in day.succession.members


def test_a_staged_release_is_tried_and_a_new_run_begins_without_it(tmp_path):
    begin(tmp_path)
    day = run(SwapDay(tmp_path, quotes(), {20: publish(NEW, stage=True)}))
    assert [each.model_id for each in day.messages(ModelAdmitted) if each.candidate] == [NEW.model_id]
    assert day.registry.active("EURUSD", NS_PER_HOUR) == OLD.model_id


def test_the_release_in_force_is_kept_however_many_are_staged(tmp_path):
    begin(tmp_path)
    registry = Registry(State(tmp_path).models)
    for seed in range(10, 18):
        model = model_of(seed)
        registry.publish([model], active=model.model_id, stage=True)
    assert registry.load("EURUSD", NS_PER_HOUR).active == OLD.model_id
    assert [pointer.newest.number for pointer in registry.pointers()] == [9]
    with pytest.raises(ModelError, match="no model"):
        registry.read(model_of(10).model_id)


def test_strategies_of_a_symbol_see_one_forecast_a_bar_from_the_model_in_force(whole):
    seen = {}
    for each in whole.messages(CalibratedForecast):
        if each.active:
            seen.setdefault(each.request_id, []).append(each.model_id)
    assert all(len(models) == 1 for models in seen.values())


def test_a_service_answers_with_those_that_it_began_with():
    service = Service([OLD])
    service.add(NEW)
    service.add(OLD)
    assert [each.model_id for each in service.artifacts] == [NEW.model_id, OLD.model_id]
    service.drop("nobody")
    service.drop(NEW.model_id)
    assert [each.model_id for each in service.artifacts] == [OLD.model_id]
    service.close()
