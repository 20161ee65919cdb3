"""Joint bands hold every horizon at once as often as they say; marginal ones do not."""

import msgspec
import numpy as np
import pytest

from bus.errors import DataError
from models.conformal import (
    Aci,
    Calibrator,
    CalibratorState,
    JointCalibrator,
    bonferroni_ppm,
    joint_score,
    rank,
    rates,
)

HORIZONS = (1, 4, 24)


def paths(seed, count):
    """Independent walks of 24 steps, seen after 1, 4 and 24; the last with heavier tails."""
    random = np.random.default_rng(seed)
    steps = random.standard_normal((count, 24)) * 1000
    walked = np.cumsum(steps, axis=1)[:, [0, 3, 23]]
    walked[:, 2] *= np.exp(0.5 * random.standard_normal(count))
    return np.round(walked).astype(int)


SCALES = (1000, 2000, 4899)


def scores_of(walked):
    return np.abs(walked) / np.array(SCALES)


def test_whole_paths_are_held_at_the_level_and_marginal_bands_hold_fewer():
    joint_held, marginal_held, every = [], [], []
    for seed in range(40):
        walked = paths(seed, 700)
        scores = scores_of(walked)
        usual = rates(scores[:200].T.tolist(), 0.1)
        known = [joint_score(row, usual) for row in scores[200:500].tolist()]
        joint = JointCalibrator((900_000,), usual, known)
        alone = [Calibrator((900_000,), scores[200:500, column].tolist()) for column in range(3)]
        together = [bands[0] for bands in joint.bands((0, 0, 0), SCALES)]
        apart = [one.interval(0, scale)[0] for one, scale in zip(alone, SCALES, strict=True)]
        for truth in walked[500:].tolist():
            held = [b.lower_e5 <= y <= b.upper_e5 for b, y in zip(together, truth, strict=True)]
            joint_held.append(all(held))
            every.append(held)
            marginal_held.append(all(b.lower_e5 <= y <= b.upper_e5 for b, y in zip(apart, truth, strict=True)))
    # 300 calibration paths: the share covered is Beta(271, 30), standard deviation 0.017, over 40 sets
    assert np.mean(joint_held) == pytest.approx(rank(300, 0.1) / 301, abs=0.012)
    assert np.mean(marginal_held) < 0.84
    # the rates spread the risk: no horizon alone carries it
    misses = 1.0 - np.mean(every, axis=0)
    assert misses.max() < 2.0 * misses.min()


def test_bonferroni_holds_at_least_the_level_and_is_rounded_to_the_safe_side():
    assert bonferroni_ppm(900_000, 3) == 966_667
    assert bonferroni_ppm(900_000, 1) == 900_000
    held = []
    for seed in range(40):
        walked = paths(seed, 700)
        scores = scores_of(walked)
        level = bonferroni_ppm(900_000, 3)
        bands = [
            Calibrator((level,), scores[:500, column].tolist()).interval(0, scale)[0]
            for column, scale in enumerate(SCALES)
        ]
        held += [
            all(b.lower_e5 <= y <= b.upper_e5 for b, y in zip(bands, truth, strict=True))
            for truth in walked[500:].tolist()
        ]
    assert np.mean(held) > 0.9


def test_an_adaptation_follows_misses_of_paths_and_the_state_goes_on_bit_for_bit():
    joint = JointCalibrator((900_000, 500_000), (1.5, 2.0), [1.0] * 30, method=lambda a: Aci(a, 0.02), stride=2)
    usual, state = joint.state()
    again = JointCalibrator.restore(usual, msgspec.json.decode(msgspec.json.encode(state), type=CalibratorState))
    for number in range(20):
        for each in (joint, again):
            each.update((0.5 + number, 9.0), (False, False), each.ticket())
        assert again.bands((100, 100), (10, 20)) == joint.bands((100, 100), (10, 20))
    assert again.state() == joint.state()
    assert not joint.bands((100, 100), (10, 20))[0][0].bounded


def test_the_joint_score_is_the_horizon_that_was_furthest_out():
    assert joint_score((3.0, 2.0), (1.5, 0.5)) == 4.0
    assert rates([[1.0, 5.0, 3.0], [2.0] * 30], 0.5) == (3.0, 2.0)
    assert rates([[1.0, 5.0, 3.0]], 0.01) == (5.0,)


def test_what_has_no_usual_size_is_refused():
    for scores in ([[]], [[0.0, 0.0]]):
        with pytest.raises(ValueError, match="usual size"):
            rates(scores, 0.1)
    for usual in ((), (1.0, 0.0)):
        with pytest.raises(ValueError, match="rates"):
            JointCalibrator((900_000,), usual)
    with pytest.raises(DataError, match="finite"):
        JointCalibrator((900_000,), (1.0,)).update((float("nan"),), (True,))
