"""The inference process without the process: frames in whatever order and company, the same answers to the bit."""

from dataclasses import replace
from functools import lru_cache

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.codec import decode, encode
from bus.messages import Forecast, ForecastMissed
from models import artifact
from models.forms.dense import Dense
from models.forward import Pipeline
from models.serve import Service
from models.worker import ASK, FAILED, HEADER, HEALTH, LOAD, DeviceHealth, Health, Loaded, Worker, added
from tests.harness.markets import made_up_bars, request_at
from tests.harness.trained import trained

SYMBOLS = ("EURUSD", "GBPUSD", "USDJPY")
BARS = {symbol: made_up_bars(300, seed, symbol=symbol) for seed, symbol in enumerate(SYMBOLS, 1)}


@lru_cache(maxsize=1)
def models():
    """The default models, for each of three markets."""
    made = []
    for symbol in SYMBOLS:
        for one in trained().artifacts:
            manifest = msgspec.structs.replace(one.manifest, symbol=symbol)
            manifest_bytes = msgspec.json.encode(manifest)
            made.append(
                artifact.parse(artifact.id_of(manifest.name, manifest_bytes), manifest_bytes, one.weights_bytes, symbol)
            )
    return tuple(made)


def load(made):
    return LOAD, 1, msgspec.msgpack.encode([(one.model_id, one.manifest_bytes, one.weights_bytes) for one in made])


@lru_cache(maxsize=1)
def worker():
    """One for all examples: it keeps nothing between requests."""
    one = Worker()
    (answer,) = one.serve([load(models())])
    assert HEADER.unpack_from(answer)[:2] == (LOAD, 1)
    return one


def requests_of(keys):
    return [
        msgspec.structs.replace(
            request_at(BARS[SYMBOLS[market]], row, horizons=horizons), deadline_ns=deadline, request_id=f"r{number}"
        )
        for number, (market, row, horizons, deadline) in enumerate(keys)
    ]


@lru_cache(maxsize=512)
def alone(request_bytes):
    service = Service(models())
    answers = [encode(answer) for answer in service.answer(decode(request_bytes))]
    service.close()
    return answers


KEY = st.tuples(
    st.integers(0, 2),
    st.sampled_from((100, 250, 299)),
    st.sampled_from(((1, 4, 24), (4,), (24, 1), (1, 7))),
    st.integers(1, 3),
)


@settings(deadline=None, max_examples=25)
@given(st.lists(KEY, min_size=1, max_size=7), st.randoms(use_true_random=False))
def test_requests_of_any_markets_in_any_company_are_answered_as_each_alone(keys, random):
    requests = requests_of(keys)
    frames = [(ASK, number, encode(request)) for number, request in enumerate(requests)]
    random.shuffle(frames)
    answers = {}
    order = []
    while frames:
        taken = random.randint(1, len(frames))
        company, frames = frames[:taken], frames[taken:]
        numbers = []
        for each in worker().serve(company):
            kind, number, _ = HEADER.unpack_from(each)
            assert kind == ASK
            numbers.append(number)
            answers[number] = msgspec.msgpack.decode(each[HEADER.size :], type=list[bytes])
        order.append(numbers)
        assert sorted(numbers) == sorted(number for _, number, _ in company)
    assert answers == {number: alone(encode(request)) for number, request in enumerate(requests)}
    for numbers in order:
        assert numbers == sorted(numbers, key=lambda number: (requests[number].deadline_ns, number))


def test_an_answer_leaves_before_the_next_request_is_begun():
    keys = [(0, 250, (1, 4, 24), 1), (1, 250, (1, 4, 24), 2)]
    answering = worker().serve([(ASK, n, encode(request)) for n, request in enumerate(requests_of(keys))])
    before = worker()._service.answered
    next(answering)
    assert worker()._service.answered == before + 1
    assert len(list(answering)) == 1


@pytest.mark.parametrize("form", ["crash", "nan"])
def test_a_model_that_fails_costs_its_own_forecasts_in_any_company(form):
    made = list(models())
    victim = next(at for at, one in enumerate(made) if one.manifest.name == "ridge" and one.manifest.symbol == "GBPUSD")
    k = made[victim].pipeline.net.inputs
    weights = np.zeros((k + 1, 3)) if form == "crash" else np.full((k, 3), np.nan)
    net = Dense(weights=(weights,), biases=(np.zeros(3),))
    made[victim] = replace(made[victim], pipeline=Pipeline(scaler=made[victim].pipeline.scaler, net=net))
    requests = requests_of([(market, 250, (1, 4, 24), 1) for market in range(3)])
    broken = Service(made)
    for request, answers in zip(requests, broken.answer_all(requests), strict=True):
        whole = alone(encode(request))
        told = [encode(answer) for answer in answers]
        differing = [now for now, then in zip(answers, map(decode, whole), strict=True) if now != then]
        if request.symbol == "GBPUSD":
            (missed,) = differing
            assert isinstance(missed, ForecastMissed)
            assert missed.model_id == made[victim].model_id
        else:
            assert told == whole
            assert sum(isinstance(answer, Forecast) for answer in answers) == 3
    broken.close()


def test_a_frame_that_is_no_question_costs_itself_alone():
    (request,) = requests_of([(0, 250, (1, 4, 24), 1)])
    frames = [(9, 1, b""), (ASK, 2, b"nonsense"), (LOAD, 3, b"nonsense"), (ASK, 4, encode(request)), (HEALTH, 5, b"")]
    kinds = {HEADER.unpack_from(each)[1]: HEADER.unpack_from(each)[0] for each in worker().serve(frames)}
    assert kinds == {1: FAILED, 2: FAILED, 3: FAILED, 4: ASK, 5: HEALTH}


def test_a_load_is_answered_with_what_is_served_and_health_counts_across_loads():
    one = Worker()
    (answer,) = one.serve([load(models()[:2])])
    told = msgspec.json.decode(answer[HEADER.size :], type=Loaded)
    assert told == Loaded(models=tuple(each.model_id for each in models()[:2]))
    (request,) = requests_of([(0, 250, (1, 4, 24), 1)])
    list(one.serve([(ASK, 7, encode(request))]))
    list(one.serve([load(models())]))
    list(one.serve([(ASK, 8, encode(request)), (ASK, 9, encode(request))]))
    (answer,) = one.serve([(HEALTH, 5, b"")])
    health = msgspec.json.decode(answer[HEADER.size :], type=Health)
    assert (health.answered, health.taken_together, health.device) == (3, 2, None)
    assert set(health.models) == {each.model_id for each in models()}


def test_what_a_device_counted_before_a_load_is_still_counted():
    now = DeviceHealth(name="cuda", models={"a": "torch"}, answered=2, fell_back={"slow": 1}, memory_bytes=5)
    both = added(now, DeviceHealth(name="old", answered=5, fell_back={"slow": 1, "error": 3}, memory_bytes=9))
    assert both == msgspec.structs.replace(now, answered=7, fell_back={"error": 3, "slow": 2})
