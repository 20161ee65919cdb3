"""What a training runs on which machine: decided without one, explained in a line each."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.errors import ConfigError
from models.learning import Learning
from models.train.engine.choices import COMPILE_STEPS, FULL, LONG_STEPS, Device, Run, decide, scaled_rate, table
from models.train.engine.schedules import LEAST, Plateau, factor

GIB = 2**30
CPU = Device(kind="cpu", name="a processor", memory_bytes=8 * GIB, bf16=True, compiler=True)
HOPPER = Device(kind="cuda", name="H", memory_bytes=80 * GIB, capability=(9, 0), bf16=True, compiler=True)
TURING = Device(kind="cuda", name="T", memory_bytes=16 * GIB, capability=(7, 5), compiler=True)
PASCAL = Device(kind="cuda", name="P", memory_bytes=8 * GIB, capability=(6, 1))
RUN = Run(rows=100_000, batch=1_000, epochs=100, data_bytes=GIB, weight_bytes=16_000_000, row_bytes=200_000, head=8)


def lines(choices):
    return {line.what: line for line in choices.lines}


def test_a_new_gpu_gets_bf16_flash_attention_a_graph_and_a_compiler():
    got = decide(Learning(), HOPPER, RUN)
    assert (got.precision, got.attention, got.graph, got.kernels, got.resident) == (
        "bf16",
        "flash",
        True,
        "fused",
        True,
    )
    assert got.compile == "default"
    assert got.tf32
    assert got.deterministic


def test_an_older_gpu_gets_scaled_fp16_and_so_no_graph():
    got = decide(Learning(), TURING, RUN)
    assert (got.precision, got.attention, got.graph, got.tf32) == ("fp16", "efficient", False, False)
    assert "scaled" in lines(got)["cuda graph"].why


def test_an_old_gpu_and_a_processor_get_single_precision():
    for device in (PASCAL, CPU):
        got = decide(Learning(), device, RUN)
        assert (got.precision, got.compile, got.graph) == ("fp32", "", False)


def test_accurate_means_single_precision_without_tf32_in_repeatable_kernels_anywhere():
    for device in (HOPPER, TURING, PASCAL, CPU):
        got = decide(Learning(strategy="accurate"), device, RUN)
        assert (got.precision, got.tf32, got.deterministic) == ("fp32", False, True)


def test_fast_gives_up_repeatable_kernels_on_a_gpu_alone():
    assert not decide(Learning(strategy="fast"), HOPPER, RUN).deterministic
    assert decide(Learning(strategy="fast"), CPU, RUN).deterministic


@pytest.mark.parametrize(
    ("epochs", "runs"),
    [(1, ""), (COMPILE_STEPS // 100, "default"), (LONG_STEPS // 100, "max-autotune-no-cudagraphs")],
)
def test_the_mode_of_the_compiler_goes_by_the_length_of_the_run(epochs, runs):
    assert decide(Learning(), HOPPER, msgspec_replace(RUN, epochs=epochs)).compile == runs


def msgspec_replace(run, **changes):
    return type(run)(**{name: getattr(run, name) for name in run.__slots__} | changes)


def test_data_that_does_not_fit_is_streamed_and_then_no_graph_is_captured():
    got = decide(Learning(), HOPPER, msgspec_replace(RUN, data_bytes=90 * GIB))
    assert not got.resident
    assert not got.graph
    assert "host" in lines(got)["cuda graph"].why


def test_activations_that_do_not_fit_are_computed_again_and_then_made_in_pieces():
    got = decide(Learning(), HOPPER, msgspec_replace(RUN, row_bytes=200_000_000))
    assert got.checkpointing
    assert got.pieces == 1
    smaller = decide(Learning(), HOPPER, msgspec_replace(RUN, row_bytes=1_000_000_000))
    assert smaller.checkpointing
    assert smaller.pieces == 4
    assert "do not fit" in lines(smaller)["accumulation"].why


def test_a_plan_that_needs_more_than_nine_tenths_of_the_memory_warns():
    heavy = msgspec_replace(RUN, weight_bytes=15 * GIB)
    assert "WARNING" in lines(decide(Learning(), HOPPER, heavy))["memory"].why
    assert "WARNING" not in lines(decide(Learning(), HOPPER, RUN))["memory"].why


def test_a_limit_on_memory_is_the_memory():
    assert not decide(Learning(memory_mb=1000), HOPPER, RUN).resident


@given(
    st.builds(
        Learning,
        strategy=st.sampled_from(["fast", "balanced", "accurate"]),
        compile=st.sampled_from(["auto", "on", "off"]),
        graph=st.sampled_from(["auto", "on", "off"]),
        attention=st.sampled_from(["auto", "flash", "efficient", "math"]),
        optimizer=st.sampled_from(["adamw", "adam", "sgd", "lamb"]),
        kernels=st.sampled_from(["auto", "fused", "foreach", "plain"]),
        memory_mb=st.sampled_from([0, 100, 4000]),
    ),
    st.sampled_from([CPU, HOPPER, TURING, PASCAL]),
    st.integers(1, 100_000_000),
    st.integers(1, 4),
)
def test_every_choice_has_one_line_with_a_reason_and_memory_is_never_planned_full_in_silence(
    learning, device, row_bytes, workers
):
    run = msgspec_replace(RUN, row_bytes=row_bytes)
    got = decide(learning, device, run, workers)
    told = [line.what for line in got.lines]
    assert len(told) == len(set(told))
    assert all(line.runs and line.why for line in got.lines)
    assert len(table(got.lines).splitlines()) == len(got.lines)
    assert 1 <= got.pieces <= run.batch
    if got.graph:
        assert device.kind == "cuda"
        assert got.resident
        assert got.precision != "fp16"
    if device.kind == "cpu":
        assert got.precision == "fp32"
    limit = min(device.memory_bytes, learning.memory_mb * 2**20) if learning.memory_mb else device.memory_bytes
    assert ("WARNING" in lines(got)["memory"].why) == (got.memory_bytes > FULL * limit)


def test_what_was_asked_for_is_what_runs_or_the_line_says_why_not():
    assert decide(Learning(precision="bf16"), CPU, RUN).precision == "bf16"
    assert decide(Learning(compile="on"), CPU, RUN).compile == "default"
    got = decide(Learning(precision="bf16", attention="flash"), TURING, RUN)
    assert (got.precision, got.attention) == ("fp16", "efficient")
    assert "emulates" in lines(got)["precision"].why
    assert lines(decide(Learning(optimizer="lamb", kernels="fused"), HOPPER, RUN))["optimiser"].why == (
        "LAMB has no fused kernel"
    )


def test_the_rate_grows_with_the_batch_by_a_stated_rule():
    assert scaled_rate(Learning(), 1e-3, 512, 128)[0] == pytest.approx(2e-3)
    assert scaled_rate(Learning(optimizer="sgd"), 1e-3, 512, 128)[0] == pytest.approx(4e-3)
    assert scaled_rate(Learning(learning_rate=0.5), 1e-3, 512, 128) == (0.5, "as it was set")
    assert scaled_rate(Learning(), 1e-3, 128, 128)[0] == 1e-3


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"device": "cpu", "graph": "on"}, "CUDA graphs need a CUDA device"),
        ({"strategy": "accurate", "precision": "bf16"}, "which means fp32"),
        ({"batch": 4, "accumulation": 8}, "at most that"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, says):
    with pytest.raises(ConfigError, match=says):
        Learning(**settings)


def test_settings_survive_json():
    learning = Learning(strategy="fast", noise=0.1, batch=256)
    assert msgspec.json.decode(msgspec.json.encode(learning), type=Learning) == learning


# ---- schedules


@given(st.sampled_from(["constant", "cosine", "restarts", "one_cycle", "plateau"]), st.floats(0, 1))
def test_a_rate_is_never_above_its_highest_nor_below_its_lowest(schedule, done):
    assert LEAST - 1e-12 <= factor(schedule, done) <= 1.0


def test_schedules_go_where_their_names_say():
    assert factor("cosine", 0.0) == 1.0
    assert factor("cosine", 0.5) == pytest.approx((1.0 + LEAST) / 2)
    assert factor("cosine", 1.0) == pytest.approx(LEAST)
    assert factor("one_cycle", 0.0) == pytest.approx(0.04)
    assert factor("one_cycle", 0.3) == pytest.approx(1.0)
    assert factor("one_cycle", 1.0) == pytest.approx(LEAST)
    # periods of 1, 2 and 4 sevenths, each from the top
    for begin in (0.0, 1 / 7, 3 / 7):
        assert factor("restarts", begin + 1e-9) == pytest.approx(1.0, abs=1e-6)
    for end in (1 / 7, 3 / 7, 1.0):
        assert factor("restarts", end - 1e-9) == pytest.approx(LEAST, abs=1e-6)


def test_a_plateau_halves_the_rate_after_three_epochs_without_gain():
    plateau = Plateau()
    for gained in (True, False, False):
        plateau.told(gained=gained)
    assert plateau.factor == 1.0
    plateau.told(gained=False)
    assert (plateau.factor, plateau.waited) == (0.5, 0)
    for _ in range(100):
        plateau.told(gained=False)
    assert math.isclose(plateau.factor, LEAST)
