"""Forecasters on a device: the processor's numbers, let in by measurement, and nobody hurt when it fails.

One file past 400 lines: the same devices, planted to fail in each way, are asked by all of it.
"""

import itertools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="torch is not installed (`make torch`)")
pytest.importorskip("onnx", reason="onnx is not installed (`make torch`)")

from bus.codec import encode  # noqa: E402
from bus.errors import ConfigError, ModelError  # noqa: E402
from bus.messages import Forecast  # noqa: E402
from models import features  # noqa: E402
from models.device.__main__ import place_of  # noqa: E402
from models.device.absent import Nothing, absent  # noqa: E402
from models.device.candidates import Way, session_way, torch_way, ways  # noqa: E402
from models.device.figures import Figures  # noqa: E402
from models.device.placement import HALF, MOST_FAILURES, SINGLE, Options, Placement  # noqa: E402
from models.device.rebuilt import rebuild  # noqa: E402
from models.device.runner import Runner  # noqa: E402
from models.forms.dense import Dense  # noqa: E402
from models.forms.ensemble import Mixture  # noqa: E402
from models.gathering import Gathering  # noqa: E402
from models.scalers import fit  # noqa: E402
from models.serve import Service  # noqa: E402
from models.worker import ASK, HEADER, HEALTH, LOAD, Health, Loaded, Worker  # noqa: E402
from tests.harness.devices import SEQUENCES, Stub, dense, five, of_five, of_sequence, sealed, sequence  # noqa: E402
from tests.harness.markets import made_up_bars, request_at  # noqa: E402
from tests.harness.trained import TRADE  # noqa: E402

ROOT = Path(__file__).parents[2]
DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU on this machine")
    ),
]
on_each_device = pytest.mark.parametrize("device", DEVICES)


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def of_dense(seed=0, symbol="EURUSD", **how):
    return sealed("mlp", dense(seed, **how), features.DEFAULT, 1, symbol=symbol, seed=seed)


FORMS = {
    "tanh": of_dense,
    "relu": lambda: of_dense(activation="relu"),
    "tcn": lambda: of_sequence("tcn"),
    "gru": lambda: of_sequence("gru"),
    "temporal_unet": lambda: of_sequence("temporal_unet"),
    "ensemble": of_five,
    "mixture": lambda: of_five(Mixture),
}
each_form = pytest.mark.parametrize("form", FORMS)

pytestmark = pytest.mark.timeout(300)  # the first to ask for a network exports its graph, which takes seconds


def placed(artifacts, given_ways, *, demanded=True, device="cpu", **options):
    return Placement(artifacts, Figures(device), Options(ways=given_ways, demanded=demanded, **options))


def told(placement, artifact, inputs):
    """What every row got, None where the processor is to answer."""
    waits = placement.begin(artifact, inputs)
    return None if waits is None else [wait() for wait in waits]


# ---- the numbers


@on_each_device
@each_form
def test_every_form_answers_on_a_device_as_on_the_processor(form, device):
    artifact = FORMS[form]()
    pipeline = artifact.pipeline
    runner = Runner(rebuild(artifact.manifest.name, pipeline.net, pipeline.window), pipeline.net.inputs, device)
    runner.warm()
    inputs = np.random.default_rng(5).standard_normal((11, pipeline.net.inputs))
    wanted, scales = pipeline.measured(inputs)
    for rows in (1, 2, 3, 8, 11):  # alone, a bucket, part of a bucket, the largest, more than that
        points, spreads = runner.begin(pipeline.scaled(inputs[:rows])).result()
        assert points == pytest.approx(wanted[:rows], abs=SINGLE, rel=SINGLE)
        assert (spreads is None) == (scales is None)
        if scales is not None:
            assert spreads == pytest.approx(scales[:rows], abs=SINGLE, rel=SINGLE)


@on_each_device
@each_form
def test_half_precision_stays_within_its_tolerance_where_nothing_cancels(form, device):
    artifact = FORMS[form]()
    single, half = (torch_way(device, precision) for precision in ("float32", "bfloat16"))
    inputs, wanted = artifact.tensors["golden_inputs"], artifact.tensors["golden_outputs"]
    points, _ = half.make(artifact).begin(artifact.pipeline.scaled(inputs)).result()
    assert points == pytest.approx(wanted, abs=HALF, rel=HALF)
    assert (points != single.make(artifact).begin(artifact.pipeline.scaled(inputs)).result()[0]).any()  # it was rounded


def cancelling():
    """A thousand times nearly the same, subtracted: right in single precision, noise in half."""
    base = dense(3).weights[0][:, :1]
    weights = (np.hstack((base, base * 1.001)), np.array([[-1e3, 1e3, 0.0], [1e3, -1e3, 0.0]]))
    return Dense(weights=weights, biases=(np.zeros(2), np.zeros(3)), activation="identity")


@on_each_device
def test_a_network_in_which_large_numbers_cancel_is_refused_half_precision_and_runs_in_single(device):
    artifact = sealed("mlp", cancelling(), features.DEFAULT, 1)
    single, half = torch_way(device, "float32"), torch_way(device, "bfloat16")
    placement = placed([artifact], (half,), device=device)
    assert placement.health().models == {}
    (line,) = placement.notes
    assert artifact.model_id in line
    assert "no single precision to compare it with" in line
    loose = sealed("mlp", scaled_down(), features.DEFAULT, 1)
    assert placed([loose], (single, half), device=device).health().models[loose.model_id].startswith("torch")
    before = Placement._typical_s
    try:  # half precision would be taken if it were let in: it is the quicker of the two here
        times = itertools.count(10, -1)
        Placement._typical_s = lambda *_: next(times)
        assert placed([artifact], (single, half), device=device).health().models == {artifact.model_id: "torch float32"}
        assert placed([loose], (single, half), device=device).health().models == {loose.model_id: "torch bfloat16"}
    finally:
        Placement._typical_s = before


def scaled_down():
    net = cancelling()
    return Dense(weights=(net.weights[0], net.weights[1] / 1e5), biases=net.biases, activation="identity")


def test_a_network_that_half_precision_changes_only_away_from_the_golden_inputs_is_refused_it_too():
    """Golden inputs are few; what is around them is asked as well."""
    artifact = sealed("mlp", cancelling(), features.DEFAULT, 1)
    way = replace(torch_way("cpu", "bfloat16"), make=Wandering)
    placement = placed([artifact], (torch_way("cpu", "float32"), way))
    asked = Wandering(artifact)
    golden = artifact.tensors["golden_inputs"]
    assert np.allclose(asked.begin(artifact.pipeline.scaled(golden)).result()[0], artifact.tensors["golden_outputs"])
    assert placement.health().models == {artifact.model_id: "torch float32"}


class Wandering(Stub):
    """Right on up to eight rows, which golden inputs are; a twentieth of a sigma off on more."""

    def __init__(self, made):
        super().__init__(made.pipeline.net)

    def begin(self, inputs):
        self.fault = "wrong" if len(inputs) > 8 else ""
        return super().begin(inputs)


@pytest.mark.parametrize("name", SEQUENCES)
def test_the_graphs_of_an_artifact_run_on_another_provider_where_there_is_one(name):
    artifact = of_sequence(name)
    inputs = np.random.default_rng(5).standard_normal((3, artifact.pipeline.net.inputs))
    placement = placed([artifact], (session_way("CPUExecutionProvider"),))
    wanted = artifact.pipeline.measured(inputs)
    got = told(placement, artifact, inputs)
    assert np.concatenate([points for points, _ in got]).tobytes() == wanted[0].tobytes()
    assert np.concatenate([spreads for _, spreads in got]).tobytes() == wanted[1].tobytes()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_provider_that_does_not_start_is_refused_with_the_reason():
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("ONNX Runtime has its CUDA provider")
    artifact = of_sequence("tcn")
    (line,) = placed([artifact], (session_way("CUDAExecutionProvider"),)).notes
    assert "CUDA" in line


# ---- who is let in


def test_a_device_that_does_not_reproduce_the_golden_outputs_is_not_used_and_a_line_says_why():
    artifact = of_dense()
    for fault, says in (
        ("wrong", "golden outputs missed by 0.1"),
        ("nan", "golden outputs missed by inf"),
        ("begin", "RuntimeError: CUDA error: an illegal memory access"),
        ("result", "unspecified launch failure"),
        ("warm", "CUDA out of memory"),
    ):
        placement = placed([artifact], (stub_way(fault),))
        assert placement.begin(artifact, artifact.tensors["golden_inputs"]) is None
        assert placement.health().kept_off == 1
        (line,) = placement.notes
        assert line.startswith(f"{artifact.model_id} runs on the processor, not on cpu: stub: ")
        assert says in line
        assert "\n" not in line


def stub_way(fault="", kept=None, name="stub"):
    def make(artifact):
        stub = Stub(artifact.pipeline.net, fault)
        if kept is not None:
            kept.append(stub)
        return stub

    return Way(name=name, make=make)


def test_the_quickest_way_that_passes_is_taken_and_the_processor_where_it_is_quicker():
    artifact = of_dense()
    given_ways = (stub_way(name="first"), stub_way(name="second"), stub_way("wrong", name="quick but wrong"))

    def clock(times):
        """Each timed call takes the next of these; between them no time passes."""
        steps = itertools.chain.from_iterable([0.0, taken] * 9 for taken in times)
        now = itertools.accumulate(steps)
        return lambda: next(now, 1e9)

    def on(times, *, demanded=False):
        return placed([artifact], given_ways, demanded=demanded, clock_s=clock(times))

    assert on((2.0, 1.0, 3.0)).health().models == {artifact.model_id: "second"}
    assert on((1.0, 2.0, 3.0)).health().models == {artifact.model_id: "first"}
    slower = on((5e-4, 6e-4, 1e-4))
    assert slower.health().models == {}
    assert "500 us a row, the processor takes 100 us" in slower.notes[0]
    assert on((5e-4, 6e-4), demanded=True).health().models == {artifact.model_id: "first"}


def test_what_has_no_module_stays_with_the_processor_and_says_so():
    quantile = fit("quantile", np.random.default_rng(0).standard_normal((100, 38)))
    net, names = five()
    members = (replace(net.members[0], scaler=quantile), *net.members[1:])
    ensemble = sealed("ensemble_mean", replace(net, members=members), names, net.window)
    with pytest.raises(ModelError, match="ridge of an ensemble has a quantile scaler"):
        rebuild("ensemble_mean", ensemble.pipeline.net, net.window)
    with pytest.raises(ModelError, match="no architecture is called nobody"):
        rebuild("nobody", sequence("tcn"), 32)
    with pytest.raises(ModelError, match="weights that do not fit this release's gru"):
        rebuild("gru", sequence("tcn"), 32)
    with pytest.raises(ModelError, match="mlp has no network of torch"):
        rebuild("mlp", sequence("tcn"), 32)
    with pytest.raises(ModelError, match="tcn has no diffusion of torch"):
        rebuild("tcn", sequence("temporal_unet"), 32)
    placement = placed([ensemble, of_dense()], ways("cpu"))
    assert len(placement.health().models) == 1
    assert "quantile scaler" in placement.notes[0]


# ---- in service


@pytest.mark.parametrize(("fault", "reason"), [("begin", "error"), ("result", "error"), ("nan", "not_finite")])
def test_a_device_that_fails_costs_one_counted_fall_back_and_the_processor_answers(fault, reason):
    artifact, kept = of_dense(), []
    placement = placed([artifact], (stub_way(kept=kept),))
    service, plain = Service([artifact], placement), Service([artifact])
    request = request_at(TRADE, 350)
    assert near(service.answer(request), plain.answer(request))
    kept[0].fault = fault
    assert service.answer(request) == plain.answer(request)
    kept[0].fault = ""
    service.answer(request)
    health = placement.health()
    assert (health.fell_back, health.answered) == ({reason: 1}, 2)
    assert service.missed == {}
    assert health.models == {artifact.model_id: "stub"}
    service.close()
    plain.close()


def near(some, others):
    """Whether these are the same answers to a point of price."""
    for one, other in zip(some, others, strict=True):
        if not isinstance(one, Forecast):
            assert one == other
            continue
        for a, b in zip(one.horizons, other.horizons, strict=True):
            assert abs(a.point_e5 - b.point_e5) <= 1
            assert abs(a.sigma_e5 - b.sigma_e5) <= 1
    return True


def test_a_device_that_is_late_is_waited_for_no_longer_than_said_and_not_asked_again():
    artifact, kept, passed = of_dense(), [], [0.0]
    options = {"patience_s": 0.25, "clock_s": lambda: passed[0], "sleep": lambda s: passed.append(passed.pop() + s)}

    def spinning():
        passed[0] += 1e-6
        return passed[0]

    options["clock_s"] = spinning
    placement = placed([artifact], (stub_way(kept=kept),), **options)
    service, plain = Service([artifact], placement), Service([artifact])
    kept[0].fault = "hang"
    began_s = passed[0]
    request = request_at(TRADE, 350)
    assert service.answer(request) == plain.answer(request)
    assert 0.25 <= passed[0] - began_s < 0.26
    assert placement.health().fell_back == {"slow": 1}
    assert "no answer within 0.25 s; until models are loaded again" in placement.notes[-1]
    asked = len(kept[0].asked)
    assert service.answer(request) == plain.answer(request)
    assert len(kept[0].asked) == asked
    assert (placement.health().models, placement.health().kept_off) == ({}, 1)
    service.close()
    plain.close()


@pytest.mark.parametrize(
    ("fault", "reason", "says"),
    [
        ("begin", "error", "illegal memory access"),
        ("result", "error", "unspecified launch failure"),
        ("nan", "not_finite", "not a finite number"),
    ],
)
def test_a_device_that_keeps_failing_loses_the_model_and_one_that_recovers_does_not(fault, reason, says):
    artifact, kept = of_dense(), []
    placement = placed([artifact], (stub_way(kept=kept),))
    inputs = artifact.tensors["golden_inputs"][:1]
    answers = lambda times: [(told(placement, artifact, inputs) or [None])[0] for _ in range(times)]  # noqa: E731
    for _ in range(2 * MOST_FAILURES):  # never so many in a row
        kept[0].fault = fault
        assert answers(MOST_FAILURES - 1) == [None] * (MOST_FAILURES - 1)
        kept[0].fault = ""
        assert answers(1) != [None]
    assert placement.notes == []
    kept[0].fault = fault
    assert answers(MOST_FAILURES + 2) == [None] * (MOST_FAILURES + 2)
    assert placement.health().fell_back == {reason: 2 * MOST_FAILURES * (MOST_FAILURES - 1) + MOST_FAILURES}
    assert len(placement.notes) == 1
    assert f"{says}; until models are loaded again" in placement.notes[0]


def test_of_rows_that_were_begun_together_only_the_ones_that_are_no_number_fall_back():
    artifact, kept = of_dense(), []
    placement = placed([artifact], (stub_way(kept=kept),))
    kept[0].fault = "one_nan"
    inputs = artifact.tensors["golden_inputs"][:3]
    first, *rest = told(placement, artifact, inputs)
    assert first is None
    assert all(one is not None for one in rest)
    assert placement.health().fell_back == {"not_finite": 1}
    assert kept[0].asked[-1] == 3  # one batch
    # what is no number to begin with is no fault of the device
    assert placement.begin(artifact, np.full_like(inputs, np.nan)) is None
    assert placement.health().fell_back == {"not_finite": 1}


@on_each_device
def test_rows_that_were_not_taken_in_time_are_void_and_never_those_of_others(device):
    artifact = of_dense()
    runner = Runner(rebuild("mlp", artifact.pipeline.net, 1), artifact.pipeline.net.inputs, device)
    inputs = artifact.pipeline.scaled(artifact.tensors["golden_inputs"])
    early, kept = runner.begin(inputs[:1]), None
    kept = early.result()
    late = runner.begin(inputs[1:2])
    while not late.ready():
        pass
    runner.begin(inputs[2:3])
    with pytest.raises(RuntimeError, match="not taken"):
        late.result()
    assert early.result() is kept
    assert kept[0] == pytest.approx(artifact.tensors["golden_outputs"][:1], abs=1e-4)


# ---- batches


SYMBOLS = ("EURUSD", "GBPUSD")
BARS = {symbol: made_up_bars(300, seed, symbol=symbol) for seed, symbol in enumerate(SYMBOLS, 1)}


@on_each_device
@settings(deadline=None, max_examples=15)
@given(data=st.data())
def test_requests_that_are_answered_together_are_answered_as_each_alone(device, data):
    key = st.tuples(st.integers(0, 1), st.sampled_from((90, 250, 299)), st.sampled_from(((1, 4, 24), (4,))))
    keys = data.draw(st.lists(key, min_size=1, max_size=6))
    service, plain = services(device)
    requests = [request_at(BARS[SYMBOLS[at]], row, horizons=horizons) for at, row, horizons in keys]
    for together, request in zip(service.answer_all(requests), requests, strict=True):
        assert near(together, plain.answer(request))
    assert service._device.health().fell_back == {}


_MADE = {}


def services(device):
    """With two markets of two models on the device, and without."""
    if device not in _MADE:
        made = [of_sequence("tcn", symbol=symbol) for symbol in SYMBOLS]
        made += [of_dense(at, symbol=symbol) for at, symbol in enumerate(SYMBOLS)]
        placement = placed(made, ways(device), device=device)
        assert len(placement.health().models) == 4, placement.notes
        _MADE[device] = Service(made, placement), Service(made)
    return _MADE[device]


def test_what_a_device_computes_is_begun_for_all_markets_before_any_is_waited_for():
    made, kept = [of_dense(at, symbol=symbol) for at, symbol in enumerate(SYMBOLS)], []
    placement = placed(made, (stub_way(kept=kept),))
    service = Service(made, placement)
    for stub in kept:
        stub.asked.clear()
    requests = [request_at(BARS[symbol], row) for symbol, row in (("EURUSD", 290), ("GBPUSD", 290), ("EURUSD", 291))]
    answering = service.answer_all(requests)
    next(answering)
    assert [stub.asked for stub in kept] == [[2], [1]]  # two rows of one model in one batch
    assert len(list(answering)) == 2
    # a model that raises costs its own, in whatever company
    kept[0].fault = "begin"
    assert [sum(isinstance(one, Forecast) for one in answers) for answers in service.answer_all(requests)] == [2, 2, 2]
    service.close()


# ---- the process


def load(made):
    return LOAD, 1, msgspec.msgpack.encode([(one.model_id, one.manifest_bytes, one.weights_bytes) for one in made])


def test_a_worker_with_a_device_says_what_runs_where_and_counts_it():
    good, bad = of_dense(1), sealed("ridge", dense(2), features.DEFAULT, 1)

    def place(artifacts):
        by_name = lambda made: stub_way("wrong" if made.manifest.name == "ridge" else "").make(made)  # noqa: E731
        return placed(artifacts, (Way(name="stub", make=by_name),))

    worker = Worker(place, Gathering(window_ns=1_000_000))
    (answer,) = worker.serve([load([good, bad])])
    loaded = msgspec.json.decode(answer[HEADER.size :], type=Loaded)
    assert loaded.models == (good.model_id, bad.model_id)
    assert len(loaded.notes) == 1
    assert loaded.notes[0].startswith(bad.model_id)
    assert len(list(worker.serve([(ASK, 3, encode(request_at(TRADE, 350)))]))) == 1
    (answer,) = worker.serve([(HEALTH, 9, b"")])
    health = msgspec.json.decode(answer[HEADER.size :], type=Health)
    assert health.device.models == {good.model_id: "stub"}
    assert (health.device.answered, health.device.kept_off, health.device.fell_back) == (1, 1, {})
    assert health.notes == loaded.notes
    list(worker.serve([load([good])]))
    (answer,) = worker.serve([(HEALTH, 9, b"")])
    assert msgspec.json.decode(answer[HEADER.size :], type=Health).device.answered == 1  # across loads


def test_requests_wait_for_others_only_where_a_device_computes_several_markets():
    request = msgspec.structs.replace(request_at(TRADE, 350), deadline_ns=2**62)
    made = [of_dense(at, symbol=symbol) for at, symbol in enumerate(SYMBOLS)]
    for place, artifacts, waits in (
        (lambda all_of: placed(all_of, (stub_way(),)), made, True),
        (lambda all_of: placed(all_of, (stub_way(),)), made[:1], False),
        (lambda all_of: placed(all_of, (stub_way("wrong"),)), made, False),
        (lambda all_of: Nothing(all_of, ""), made, False),
        (None, made, False),
    ):
        worker = Worker(place, Gathering(window_ns=10**9))
        list(worker.serve([load(artifacts)]))
        list(worker.take([(ASK, 1, encode(request))]))
        assert (worker.patience_s() > 0) == waits
        assert len(list(worker.answer())) == 1


def test_where_there_is_no_gpu_the_processor_answers_and_a_line_says_so_if_one_was_demanded(tmp_path):
    made = [of_dense()]
    assert absent(tmp_path) == "no driver of a GPU is loaded"
    silent, loud = (place_of(which, tmp_path)(made) for which in ("auto", "cuda"))
    assert list(silent.notes) == []
    assert list(loud.notes) == ["forecasts are computed by the processor: no driver of a GPU is loaded"]
    for nothing in (silent, loud):
        assert nothing.begin(made[0], made[0].tensors["golden_inputs"]) is None
        assert (nothing.health().name, nothing.health().kept_off) == ("", 1)
    with pytest.raises(ConfigError, match="'gpu'; write auto, cpu or cuda"):
        place_of("gpu", tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_driver_without_a_gpu_that_torch_can_use_is_said(tmp_path):
    (tmp_path / "nvidiactl").touch()
    loud = place_of("cuda", tmp_path)([of_dense()])
    assert list(loud.notes) == ["forecasts are computed by the processor: torch finds no GPU that it can use"]


def test_looking_for_a_gpu_that_is_not_there_loads_no_torch(tmp_path):
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from models.device.__main__ import place_of\n"
        f"place_of('cuda', Path({str(tmp_path)!r}))([])\n"
        "print([name for name in ('torch', 'onnxruntime', 'sklearn') if name in sys.modules])\n"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


# ---- CUDA alone


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU on this machine")
def test_each_bucket_is_one_graph_and_models_run_side_by_side_on_streams_of_their_own():
    artifact = of_sequence("temporal_unet")
    runners = [
        Runner(rebuild("temporal_unet", artifact.pipeline.net, 32), artifact.pipeline.net.inputs, "cuda")
        for _ in range(2)
    ]
    for runner in runners:
        runner.warm()
        assert sorted(runner._buckets) == [1, 2, 4, 8]
        assert all(bucket.graph is not None and bucket.given.is_pinned() for bucket in runner._buckets.values())
    assert runners[0]._stream != runners[1]._stream
    held = torch.cuda.memory_allocated()
    inputs = artifact.pipeline.scaled(artifact.tensors["golden_inputs"])
    for _ in range(50):
        pending = [runner.begin(inputs[:3]) for runner in runners]
        for each in pending:
            points, _ = each.result()
            assert points == pytest.approx(artifact.tensors["golden_outputs"][:3], abs=SINGLE)
    assert torch.cuda.memory_allocated() == held  # answering allocates nothing on the device


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU on this machine")
def test_the_memory_of_a_gpu_and_who_measured_it_are_told():
    placement = placed([of_dense()], ways("cuda"), device="cuda")
    health = placement.health()
    assert health.name.startswith("cuda (")
    assert health.memory_bytes > 0
    assert health.measured_by in {"nvml", "torch"}
    assert 0 <= health.busy_ppm <= 1_000_000
