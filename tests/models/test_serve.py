"""Serving: one answer a model, failures contained, nothing remembered."""

import asyncio
import math
import threading
from dataclasses import replace
from types import MappingProxyType

import msgspec
import numpy as np
import pytest

from bus.codec import decode, encode
from bus.messages import Forecast, ForecastMissed, PatternSeen
from models import candles
from models.columns import from_series
from models.features import SIGMA_BARS, volatility
from models.forms.dense import Dense
from models.forward import Pipeline
from models.serve import Service
from tests.harness.markets import HORIZONS, made_up_bars, replaced_after, request_at
from tests.harness.trained import BARS, TRADE, trained


@pytest.fixture
def service():
    made = Service(trained().artifacts)
    yield made
    made.close()


def forecasts(answers):
    return {one.model_id: one for one in answers if isinstance(one, Forecast)}


def missed(answers):
    return {one.model_id: one for one in answers if isinstance(one, ForecastMissed)}


def broken(artifact, weights):
    net = Dense(weights=weights, biases=(np.zeros(3),))
    return replace(artifact, pipeline=Pipeline(scaler=artifact.pipeline.scaler, net=net))


def test_every_model_answers_every_horizon_and_the_random_walk_says_no_change(service):
    request = request_at(TRADE, 350)
    got = forecasts(service.answer(request))
    assert set(got) == {"random-walk"} | {a.model_id for a in trained().artifacts if a.manifest.kind == "forecaster"}
    for one in got.values():
        assert tuple(h.horizon for h in one.horizons) == HORIZONS
        assert (one.request_id, one.symbol, one.as_of_ns) == (request.request_id, "EURUSD", request.as_of_ns)
        assert (one.expires_ns, one.ts_init_ns, one.latency_ns) == (request.deadline_ns, request.as_of_ns, 0)
        assert all(h.sigma_e5 >= 1 for h in one.horizons)
    walk = got["random-walk"]
    close = request.close_e5[-1]
    sigma = volatility(from_series(TRADE))[350]
    assert [h.point_e5 for h in walk.horizons] == [close] * 3
    assert [h.sigma_e5 for h in walk.horizons] == [round(close * sigma * math.sqrt(h)) for h in HORIZONS]


def test_horizons_may_be_fewer_and_in_another_order(service):
    request = request_at(TRADE, 350, horizons=(24, 1))
    full = forecasts(service.answer(request_at(TRADE, 350)))
    for model_id, one in forecasts(service.answer(request)).items():
        assert one.horizons == (full[model_id].horizons[2], full[model_id].horizons[0])


def test_a_horizon_that_was_not_trained_is_missed_but_the_random_walk_answers(service):
    answers = service.answer(request_at(TRADE, 350, horizons=(1, 7)))
    assert set(forecasts(answers)) == {"random-walk"}
    assert {one.reason for one in missed(answers).values()} == {"error"}
    assert all("asked" in one.detail for one in missed(answers).values())


def test_a_forecast_is_unchanged_when_everything_after_it_is_noise(service):
    for row in np.random.default_rng(2).integers(SIGMA_BARS, len(TRADE) - 1, 15).tolist():
        noisy = replaced_after(TRADE, row, seed=row)
        assert encoded(service.answer(request_at(noisy, row))) == encoded(service.answer(request_at(TRADE, row)))


def test_a_forecast_depends_on_the_last_window_only(service):
    full = forecasts(service.answer(request_at(TRADE, 390)))
    assert forecasts(service.answer(request_at(TRADE, 390, bars=SIGMA_BARS))) == full


def test_answers_do_not_depend_on_what_was_asked_before(service):
    requests = [request_at(TRADE, row) for row in range(300, 330)]
    first = [encoded(service.answer(request)) for request in requests]
    second = [encoded(service.answer(request)) for request in reversed(requests)]
    assert first == second[::-1]
    fresh = Service(trained().artifacts)
    assert encoded(fresh.answer(requests[7])) == first[7]
    fresh.close()


def encoded(answers):
    return [encode(one) for one in answers]


def test_answers_survive_the_codec(service):
    for one in service.answer(request_at(TRADE, 380)):
        assert decode(encode(one)) == one


def test_too_little_history_is_said_for_every_model(service):
    answers = service.answer(request_at(TRADE, SIGMA_BARS - 2))
    assert forecasts(answers) == {}
    assert len(missed(answers)) == 3
    assert {one.reason for one in missed(answers).values()} == {"no_history"}
    assert service.missed == {"no_history": 3}


def test_a_model_that_is_not_finite_or_fails_costs_its_own_forecast_only():
    ridge = next(a for a in trained().artifacts if a.manifest.name == "ridge")
    k = ridge.pipeline.net.weights[0].shape[0]
    nan = replace(broken(ridge, (np.full((k, 3), np.nan),)), model_id="nan")
    crash = replace(broken(ridge, (np.zeros((k + 1, 3)),)), model_id="crash")
    wild = replace(broken(ridge, (np.full((k, 3), 1e300),)), model_id="wild")
    service = Service([nan, crash, wild, ridge])
    answers = service.answer(request_at(TRADE, 350))
    service.close()
    assert set(forecasts(answers)) == {"random-walk", ridge.model_id}
    assert missed(answers)["nan"].reason == "not_finite"
    assert missed(answers)["crash"].reason == "error"
    assert missed(answers)["wild"].reason == "error"
    assert "no forecast of a price" in missed(answers)["wild"].detail
    assert service.missed == {"not_finite": 1, "error": 2}


def test_an_impossible_request_is_answered_with_one_miss(service):
    request = request_at(TRADE, 350)
    (answer,) = service.answer(msgspec.structs.replace(request, close_e5=request.close_e5[1:]))
    assert (answer.reason, answer.model_id) == ("error", "")
    assert "different lengths" in answer.detail


def test_models_of_another_market_stay_silent(service):
    other = made_up_bars(300, 3, symbol="GBPUSD")
    assert set(forecasts(service.answer(request_at(other, 299)))) == {"random-walk"}


def test_a_candle_out_of_all_proportion_is_seen_and_named(service):
    detector = next(a for a in trained().artifacts if a.manifest.kind == "detector")
    close = TRADE.close_e5.copy()
    high, low, opening = TRADE.high_e5.copy(), TRADE.low_e5.copy(), TRADE.open_e5.copy()
    for row, size in ((347, 1500), (346, -1500)):
        opening[row], close[row] = 110_000, 110_000 + size
        high[row], low[row] = max(opening[row], close[row]) + 900, min(opening[row], close[row]) - 900
    odd = replace(TRADE, open_e5=opening, close_e5=close, high_e5=high, low_e5=low)
    answers = service.answer(request_at(odd, 350))
    (seen,) = [one for one in answers if isinstance(one, PatternSeen) and one.model_id == detector.model_id]
    assert seen.pattern == "unusual_candles"
    assert seen.error_ppm > seen.threshold_ppm > 0
    assert seen.percentile > 95
    assert seen.candles[0] in {3, 4}


def test_named_patterns_are_answered_with_their_confidence_and_direction(service):
    told = [
        one
        for row in range(300, 399)
        for one in service.answer(request_at(TRADE, row))
        if isinstance(one, PatternSeen) and one.model_id == "pattern-rules"
    ]
    assert len({one.pattern for one in told}) > 4
    assert {one.direction for one in told} == {-1, 0, 1}
    assert all(0 <= one.confidence_ppm <= 1_000_000 and one.candles[0] == 0 for one in told)


def test_a_pattern_that_fails_costs_no_forecast(service, monkeypatch):
    def broken(_):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("models.patterns.named", broken)
    answers = service.answer(request_at(TRADE, 350))
    assert len(forecasts(answers)) == 3
    assert missed(answers)["pattern-rules"].detail == "ZeroDivisionError: a bug"


def test_unusual_windows_are_about_as_rare_as_the_threshold_says(service):
    detector = next(a for a in trained().artifacts if a.manifest.kind == "detector")
    errors = candles.errors(detector.pipeline, candles.windows(from_series(TRADE))).mean(axis=1)
    alarms = (errors > detector.tensors["error_percentiles"][95]).mean()
    assert alarms < 0.15
    assert detector.tensors["error_percentiles"][50] > 0


def test_windows_of_candles_forget_price_level_and_scale():
    columns = from_series(BARS)
    shifted = replace(
        columns, **{name: getattr(columns, name) * 150 for name in ("open_e5", "high_e5", "low_e5", "close_e5")}
    )
    assert np.allclose(candles.windows(columns), candles.windows(shifted), atol=1e-9)
    rows = candles.windows(columns)
    assert rows.shape == (len(columns) - candles.CANDLES, candles.CANDLES * candles.PARTS)
    for row in (60, 300, 900):
        alone = candles.windows(columns.rows(row + 1 - candles.WINDOW, row + 1))
        assert alone.tobytes() == rows[row - candles.CANDLES].tobytes()
    assert len(candles.windows(columns.rows(0, candles.CANDLES))) == 0


def test_async_answers_equal_direct_ones_and_come_from_one_other_thread(service):
    threads = []
    direct = service.answer
    service.answer = lambda request: (threads.append(threading.current_thread()), direct(request))[1]
    requests = [request_at(TRADE, row) for row in range(300, 306)]

    async def ask():
        return await asyncio.gather(*(service.answer_async(request) for request in requests))

    got = asyncio.run(ask())
    assert [encoded(one) for one in got] == [encoded(direct(request)) for request in requests]
    assert len(set(threads)) == 1
    assert threads[0] is not threading.current_thread()
    service.close()
    service.close()
    assert not threads[0].is_alive()


def test_the_artifact_of_a_detector_that_fails_is_a_miss():
    detector = next(a for a in trained().artifacts if a.manifest.kind == "detector")
    service = Service([replace(detector, tensors=MappingProxyType({}))])
    answers = service.answer(request_at(TRADE, 350))
    service.close()
    assert missed(answers)[detector.model_id].reason == "error"
