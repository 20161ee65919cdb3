"""The diffusion process does what its formulas say, on laws for which the answer is known."""

import math

import numpy as np
import pytest

from bus.errors import ModelError
from models.diffusion import (
    SHAPES,
    TARGETS,
    Schedule,
    cosine,
    ddim,
    ddpm,
    linear,
    schedule_of,
    trailing,
    zero_terminal,
)

MEAN, DEVIATION = 0.7, 0.4


def gaussian(schedule, target):
    """The exact predictor where x_0 ~ N(MEAN, DEVIATION^2)."""

    def predict(noisy, step):
        a, s = schedule.signal[step - 1], schedule.noise[step - 1]
        signal = MEAN + a * DEVIATION**2 / (a**2 * DEVIATION**2 + s**2) * (noisy - a * MEAN)
        noise = (noisy - a * signal) / s
        return {"signal": signal, "noise": noise, "velocity": a * noise - s * signal}[target]

    return predict


def pushed(schedule, target, steps):
    """Mean and deviation of DDIM samples, exactly: with a Gaussian law a sample is linear in its noise."""
    low, high = ddim(schedule, gaussian(schedule, target), np.array([[0.0, 1.0]]), target=target, steps=steps)
    return low, high - low


SCHEDULES = {
    "linear": linear(1000),
    "cosine": cosine(1000),
    "linear, no signal left": schedule_of("linear", 1000),
    "cosine, no signal left": schedule_of("cosine", 200),
}


@pytest.fixture(params=SCHEDULES.values(), ids=SCHEDULES.keys())
def schedule(request):
    return request.param


def test_signal_and_noise_share_the_power_and_the_signal_falls(schedule):
    assert schedule.signal**2 + schedule.noise**2 == pytest.approx(1.0, abs=1e-12)
    assert (np.diff(schedule.kept) < 0).all()
    assert np.cumprod(1.0 - schedule.beta) == pytest.approx(schedule.kept, abs=1e-12)
    assert (schedule.beta > 0).all()
    assert (schedule.beta <= 1).all()


def test_the_published_schedules_have_their_published_values():
    assert linear(1000).beta[[0, -1]] == pytest.approx([1e-4, 0.02])
    assert linear(1000).kept[-1] == pytest.approx(4.04e-5, rel=1e-2)
    assert cosine(1000).kept[499] == pytest.approx(
        (math.cos((0.5 + 0.008) / 1.008 * math.pi / 2) / math.cos(0.008 / 1.008 * math.pi / 2)) ** 2
    )
    assert cosine(1000).beta[-1] == 0.999


def test_no_signal_is_left_where_that_was_asked_for_and_the_first_step_stays():
    for made in (linear(300), cosine(300)):
        ended = zero_terminal(made)
        assert ended.kept[-1] == 0.0
        assert ended.kept[0] == pytest.approx(made.kept[0])
        assert schedule_of("cosine", 300).kept[-1] == 0.0


def test_steps_one_after_another_and_the_jump_to_a_step_have_the_same_moments(schedule):
    """x_t = sqrt(1 - beta_t) x_(t-1) + sqrt(beta_t) e, step by step, against a_t x_0 + s_t e."""
    mean, variance = MEAN, DEVIATION**2
    for step in range(1, len(schedule) + 1):
        beta = schedule.beta[step - 1]
        mean, variance = math.sqrt(1.0 - beta) * mean, (1.0 - beta) * variance + beta
        jumped = schedule.noisy(np.array([MEAN]), np.array([0.0]), step)[0]
        assert mean == pytest.approx(jumped, abs=1e-9)
        share = schedule.noisy(np.array([0.0]), np.array([1.0]), step)[0] ** 2
        assert variance == pytest.approx(schedule.kept[step - 1] * DEVIATION**2 + share, abs=1e-9)


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_tells_the_same_signal_and_noise(schedule, target):
    random = np.random.default_rng(1)
    data, noise = random.standard_normal((2, 50))
    for step in (1, 2, len(schedule) // 2, len(schedule) - 1):
        noisy = schedule.noisy(data, noise, step)
        predicted = {"noise": noise, "signal": data, "velocity": schedule.velocity(data, noise, step)}[target]
        signal, told = schedule.told(noisy, predicted, step, target)
        assert signal == pytest.approx(data, abs=1e-6)
        assert told == pytest.approx(noise, abs=1e-6)


def test_where_no_signal_is_left_velocity_and_signal_still_tell_it_and_noise_cannot():
    schedule = schedule_of("cosine", 50)
    data, noise = np.random.default_rng(1).standard_normal((2, 50))
    assert (schedule.noisy(data, noise, 50) == noise).all()
    assert schedule.told(noise, -data, 50, "velocity")[0] == pytest.approx(data)
    assert schedule.told(noise, data, 50, "signal")[1] == pytest.approx(noise)
    with pytest.raises(ModelError, match="predict signal or velocity"):
        schedule.told(noise, noise, 50, "noise")


@pytest.mark.parametrize("target", ["signal", "velocity"])
@pytest.mark.parametrize("shape", SHAPES)
def test_ddim_through_all_steps_gives_the_gaussian_its_mean_and_deviation(shape, target):
    mean, deviation = pushed(schedule_of(shape, 1000), target, 1000)
    assert mean == pytest.approx(MEAN, abs=1e-3)
    assert deviation == pytest.approx(DEVIATION, abs=5e-3)


def test_ddim_through_few_steps_has_the_mean_and_too_little_spread():
    schedule = schedule_of("cosine", 200)
    spreads = []
    for steps in (200, 50, 10):
        mean, deviation = pushed(schedule, "velocity", steps)
        assert mean == pytest.approx(MEAN, abs=0.02)
        spreads.append(deviation)
    assert spreads[0] > spreads[1] > spreads[2] > 0.8 * DEVIATION


def test_predicting_noise_gives_the_same_where_signal_is_left():
    assert pushed(cosine(1000), "noise", 1000) == pytest.approx(pushed(cosine(1000), "velocity", 1000), abs=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_ddpm_samples_have_the_mean_and_variance_of_the_gaussian(shape):
    schedule = schedule_of(shape, 1000)
    noise = np.random.default_rng(3).standard_normal((1000, 20_000))
    samples = ddpm(schedule, gaussian(schedule, "velocity"), noise, target="velocity")
    assert samples.mean() == pytest.approx(MEAN, abs=4 * DEVIATION / math.sqrt(20_000))
    # four standard errors, and the little that a thousand steps still fall short of endlessly many
    assert samples.std() == pytest.approx(DEVIATION, abs=4 * DEVIATION / math.sqrt(40_000) + 0.01 * DEVIATION)


def test_ddim_that_adds_all_noise_through_all_steps_is_ddpm():
    schedule = schedule_of("cosine", 60)
    noise = np.random.default_rng(4).standard_normal((60, 500))
    predict = gaussian(schedule, "velocity")
    assert ddim(schedule, predict, noise, target="velocity", steps=60, eta=1.0) == pytest.approx(
        ddpm(schedule, predict, noise, target="velocity"), abs=1e-9
    )


def test_samples_are_a_function_of_the_noise():
    schedule = schedule_of("cosine", 60)
    first, second, other = (
        ddim(
            schedule,
            gaussian(schedule, "velocity"),
            np.random.default_rng(seed).standard_normal((1, 90)),
            target="velocity",
            steps=10,
        )
        for seed in (5, 5, 6)
    )
    assert first.tobytes() == second.tobytes()
    assert (first != other).all()


def test_steps_are_chosen_evenly_from_the_last_one_down():
    assert trailing(200, 10) == (200, 180, 160, 140, 120, 100, 80, 60, 40, 20)
    assert trailing(7, 7) == (7, 6, 5, 4, 3, 2, 1)
    assert trailing(10, 3) == (10, 7, 3)
    for chosen in (0, 11):
        with pytest.raises(ModelError, match="at most all"):
            trailing(10, chosen)


def test_a_step_may_tell_no_more_than_the_limit():
    schedule = schedule_of("cosine", 50)
    samples = ddim(
        schedule, lambda noisy, _: np.full_like(noisy, 1e6), np.zeros((1, 4)), target="signal", steps=5, limit=8.0
    )
    assert (samples == 8.0).all()


@pytest.mark.parametrize("kept", [(), (0.5, 0.5), (0.5, 0.6), (1.0, 0.5), (0.5, -0.1), (0.5, math.nan)])
def test_what_is_no_schedule_is_refused(kept):
    with pytest.raises(ModelError, match="does not fall"):
        Schedule(np.array(kept))


def test_a_schedule_that_is_not_known_is_refused():
    with pytest.raises(ModelError, match="linear, cosine"):
        schedule_of("quadratic", 10)
