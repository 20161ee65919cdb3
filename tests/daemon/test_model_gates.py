"""The gates on models in a whole day: states, messages, sizes and refusals, the same in every replay."""

import shutil

import msgspec
import pytest

from bus.messages import (
    CalibratedForecast,
    CoverageChanged,
    ForecastMissed,
    GateChanged,
    Intent,
    IntentRefused,
    PatternSeen,
    RegimeSeen,
    SubmitOrder,
)
from bus.values import NS_PER_HOUR, NS_PER_S
from daemon.core import CoreSettings, StrategySettings
from daemon.journal import segments
from daemon.replay import replay
from risk.policies.models import ModelLimits
from risk.policy import Policy
from tests.harness.paper import MODEL, START_NS, Day, scripted_forecasts, synthetic_quotes

QUOTES = 900
STRATEGY = (StrategySettings(name="interval", params={"level_ppm": 200_000, "horizon": 1}),)


def settings(**limits):
    return CoreSettings(strategies=STRATEGY, risk=Policy(models=ModelLimits(**limits)))


def scripted(change=lambda hour, forecast: forecast, also=lambda hour, request: ()):
    """The scripted opinions, changed by the hour since the start (None = none comes); `also` is said beside each."""

    async def ask(request):
        hour = (request.as_of_ns - START_NS) // NS_PER_HOUR
        (forecast,) = await scripted_forecasts(request)
        changed = change(hour, forecast)
        return [*([] if changed is None else [changed]), *also(hour, request)]

    return ask


def narrow(hour, forecast):
    """From the 60th hour on the forecaster is so sure of itself that its intervals hold nothing."""
    if hour < 60:
        return forecast
    sure = tuple(msgspec.structs.replace(each, sigma_e5=1) for each in forecast.horizons)
    return msgspec.structs.replace(forecast, horizons=sure)


def day(folder, ask, **limits):
    return Day(folder / "journal", synthetic_quotes(QUOTES), ask=ask, settings=settings(**limits)).run()


@pytest.fixture(scope="module")
def blocked(tmp_path_factory):
    return day(tmp_path_factory.mktemp("blocked"), scripted(narrow))


def after(messages, found):
    return messages[messages.index(found) + 1 :]


def test_intervals_that_hold_nothing_are_blocked_and_what_rests_on_them_is_refused(blocked):
    messages = blocked.messages()
    change = next(m for m in messages if isinstance(m, CoverageChanged) and m.horizon == 1 and m.after == "blocked")
    assert (change.model_id, change.active, change.multiplier_ppm) == (MODEL, True, 0)
    later = after(messages, change)
    opened = next((m for m in later if isinstance(m, CoverageChanged) and m.horizon == 1), None)
    while_shut = later if opened is None else later[: later.index(opened)]
    refusals = [m for m in while_shut if isinstance(m, IntentRefused) and m.rule == "coverage"]
    assert refusals
    assert all("1 bars ahead by scripted-0" in each.value for each in refusals)
    assert not [m for m in while_shut if isinstance(m, SubmitOrder) and not m.position_id]
    assert any(isinstance(m, SubmitOrder) and not m.position_id for m in messages[: messages.index(change)])


def test_exits_pass_while_entries_are_refused(blocked):
    refused = {m.intent_id for m in blocked.messages(IntentRefused) if m.rule == "coverage"}
    kinds = {m.action for m in blocked.messages(Intent) if m.intent_id in refused}
    assert kinds == {"enter"}
    assert not blocked.engine.core.book.positions


def test_a_replay_goes_through_the_same_states(blocked):
    result = replay(blocked.folder)
    assert result.identical
    assert result.decisions_sha256 == blocked.decisions


def test_a_day_that_was_cut_off_goes_on_in_the_same_states(blocked, tmp_path):
    folder = tmp_path / "journal"
    for share in (0.4, 0.6, 0.8):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(blocked.folder, folder)
        path = segments(folder)[-1]
        with path.open("r+b") as file:
            file.truncate(int(path.stat().st_size * share))
        again = day(tmp_path, scripted(narrow))
        assert again.messages(CoverageChanged) == blocked.messages(CoverageChanged)
        assert again.decisions == blocked.decisions


def test_without_the_gate_the_same_day_trades_on(blocked, tmp_path):
    free = day(tmp_path, scripted(narrow), coverage_window=0, performance_drift_pct=0)
    entries = [sum(not m.position_id for m in each.messages(SubmitOrder)) for each in (free, blocked)]
    assert entries[0] > entries[1]
    assert not free.messages(CoverageChanged)


def test_a_model_that_fell_silent_counts_again_after_it_has_answered_steadily(tmp_path):
    silent = range(60, 66)
    told = day(tmp_path, scripted(lambda hour, forecast: None if hour in silent else forecast), answers=4)
    messages = told.messages()
    shut, opened = (m for m in messages if isinstance(m, GateChanged))
    assert (shut.gate, shut.model_id, shut.before, shut.after) == ("forecasts", MODEL, "ok", "closed")
    assert (opened.before, opened.after, opened.multiplier_ppm) == ("closed", "ok", 1_000_000)
    between = messages[messages.index(shut) : messages.index(opened)]
    assert sum(isinstance(m, CalibratedForecast) for m in between) == 4
    assert not [m for m in between if isinstance(m, SubmitOrder) and not m.position_id]
    rules = {m.rule for m in between if isinstance(m, IntentRefused)}
    assert rules <= {"forecasts_missing"}
    assert replay(told.folder).identical


def test_forecasts_that_say_they_cannot_come_count_as_missing_once(tmp_path):
    def excuse(hour, request):
        if hour not in {60, 61}:
            return ()
        return [ForecastMissed(request_id=request.request_id, symbol="EURUSD", model_id=MODEL, reason="error",
                               detail="", ts_init_ns=request.as_of_ns)]  # fmt: skip

    told = day(tmp_path, scripted(lambda n, forecast: None if n in {60, 61} else forecast, excuse))
    assert not told.messages(GateChanged)


def unusual(request):
    return PatternSeen(request_id=request.request_id, symbol="EURUSD", pattern="unusual_bar", model_id="forest-1",
                       as_of_ns=request.as_of_ns, error_ppm=600_000, threshold_ppm=500_000, percentile=99.5,
                       candles=(0,), ts_init_ns=request.as_of_ns)  # fmt: skip


def regime(request, state):
    return RegimeSeen(request_id=request.request_id, symbol="EURUSD", model_id="hmm-1", as_of_ns=request.as_of_ns,
                      regime=state, before=0, probabilities_ppm=(100_000, 900_000),
                      ts_init_ns=request.as_of_ns)  # fmt: skip


def test_unusual_bars_make_entries_smaller_or_refuse_them(tmp_path):
    script = scripted(also=lambda hour, request: [unusual(request)] if hour >= 40 else ())
    others_off = {"coverage_window": 0, "performance_drift_pct": 0}
    small = day(tmp_path / "small", script, unusual_bars=3, **others_off)
    whole = day(tmp_path / "whole", script, unusual_bars=0, **others_off)
    none = day(tmp_path / "none", script, unusual_bars=3, unusual_pct=0, **others_off)
    sizes = [[m.volume_e2 for m in each.messages(SubmitOrder) if not m.position_id] for each in (small, whole, none)]
    assert min(sizes[0]) < 0.7 * min(sizes[1])
    assert len(sizes[2]) < len(sizes[1])
    assert {m.rule for m in none.messages(IntentRefused)} >= {"anomaly"}
    assert [m.after for m in small.messages(GateChanged)][:1] == ["closed"]


def test_a_regime_to_avoid_refuses_until_another_comes(tmp_path):
    script = scripted(also=lambda hour, request: [regime(request, int(40 <= hour < 120))])
    told = day(tmp_path, script, avoid_regimes=(1,))
    messages = told.messages()
    shut, opened = (m for m in messages if isinstance(m, GateChanged))
    between = messages[messages.index(shut) : messages.index(opened)]
    assert {m.rule for m in between if isinstance(m, IntentRefused)} == {"regime"}
    assert not [m for m in between if isinstance(m, SubmitOrder) and not m.position_id]
    assert replay(told.folder).identical


def test_a_decision_on_a_forecast_that_has_ended_is_refused(tmp_path):
    told = day(tmp_path, scripted_forecasts)
    core = told.engine.core
    intent = next(m for m in told.messages(Intent) if m.action == "enter")
    late = msgspec.structs.replace(intent, request_id="EURUSD-1")
    out = []
    core._decide((late,), out)
    assert out[-1].rule == "forecast_expired"
    asked = next(reversed(core._markets["EURUSD"].asked))
    core.now_ns = core._markets["EURUSD"].asked[asked].deadline_ns + NS_PER_S // 2
    core._decide((msgspec.structs.replace(intent, request_id=asked),), out)
    assert (out[-1].rule, out[-1].value) == ("forecast_expired", "0.500 s past its end")
