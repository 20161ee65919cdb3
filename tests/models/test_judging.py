"""What trials are judged on: parts that share nothing, and figures that say what they are."""

from dataclasses import replace

import numpy as np
import pytest

from bus.errors import DataError
from models.columns import from_series
from models.contract import demands_of
from models.nets import architectures
from models.scores import diebold_mariano, standard_error
from models.train import judging
from models.train.data import LABEL_LIMIT, needed, rows_of
from models.train.judging import gain, ground, learnt, losses
from tests.harness.markets import HORIZONS, made_up_bars, replaced_after

BARS = made_up_bars(2600, 5)
RIDGE = architectures(["ridge"])["ridge"]
CUT, JUDGED = 2600 - 2 * 520, 520


def grounds(bars=BARS, net=RIDGE):
    return ground(bars, net, HORIZONS, judge_pct=20, later_pct=20)


@pytest.fixture(scope="module")
def whole():
    return grounds()


def same(one, other):
    return all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in ("features", "labels", "sigma", "close_e5")
    )


def test_no_part_holds_a_bar_of_another_in_its_inputs_or_its_labels(whole):
    embargo, ahead = needed(whole_names(), 1) - 1, max(HORIZONS)
    every = rows_of(from_series(BARS), HORIZONS)
    start = len(BARS) - ahead - len(every)  # the first bar that has a row
    places = {int(close): index for index, close in enumerate(every.sigma.view(np.int64))}
    assert len(places) == len(every)
    for part, first, last in (
        (whole.parts.fit, 0, None),
        (whole.judged, CUT + embargo, CUT + JUDGED - ahead - 1),
        (whole.later, CUT + JUDGED + embargo, len(BARS) - ahead - 1),
    ):
        at = [places[int(each)] + start for each in part.sigma.view(np.int64)]
        assert at == list(range(at[0], at[0] + len(at)))
        if last is not None:
            assert (at[0], at[-1]) == (first, last)
    # labels of the validation part end before the judged part's bars begin
    validation = [places[int(each)] + start for each in whole.parts.validation.sigma.view(np.int64)]
    assert validation[-1] + ahead == CUT - 1


def whole_names():
    from models import features

    return demands_of(RIDGE).feature_names or features.DEFAULT


def test_bars_after_a_part_change_nothing_of_it(whole):
    changed = grounds(replaced_after(BARS, CUT + JUDGED - 1, 9))
    assert same(changed.judged, whole.judged)
    assert same(changed.parts.fit, whole.parts.fit)
    assert not same(changed.later, whole.later)
    changed = grounds(replaced_after(BARS, CUT - 1, 9))
    assert same(changed.parts.fit, whole.parts.fit)
    assert same(changed.parts.validation, whole.parts.validation)
    assert not same(changed.judged, whole.judged)


def test_what_is_trained_for_a_trial_does_not_know_what_it_is_judged_by(whole):
    changed = grounds(replaced_after(BARS, CUT - 1, 9))
    mine, theirs = (learnt(each, RIDGE, {"penalty_scale": 2.0}, seed=1) for each in (whole, changed))
    assert {name: each.tobytes() for name, each in mine.net.tensors().items()} == {
        name: each.tobytes() for name, each in theirs.net.tensors().items()
    }
    assert not np.array_equal(losses(mine, whole.judged), losses(theirs, changed.judged))


def test_gains_are_in_percent_of_the_random_walk_with_the_error_of_the_usual_test(whole):
    mine = losses(learnt(whole, RIDGE, {"penalty_scale": 0.01}, seed=1), whole.judged)
    walk = losses(None, whole.judged)
    found = gain([mine], [walk], [walk], [24])
    assert found.rows == len(walk)
    assert found.pct == pytest.approx(100.0 * (1.0 - mine.mean() / walk.mean()))
    assert found.pct / found.error_pct == pytest.approx(diebold_mariano(walk - mine, ahead=24).statistic)
    assert gain([walk], [walk], [walk], [24]).pct == 0.0
    doubled = gain([mine, mine], [walk, walk], [walk, walk], [24, 24])
    assert (doubled.pct, doubled.error_pct) == pytest.approx((found.pct, found.error_pct))


def test_the_random_walk_is_judged_by_labels_alone(whole):
    silent = replace(whole.judged, features=np.zeros_like(whole.judged.features))
    assert np.array_equal(losses(None, silent), losses(None, whole.judged))
    assert float(np.abs(whole.judged.labels).max()) > LABEL_LIMIT / 2  # labels are not cut where a trial is judged


def test_a_standard_error_is_that_of_independent_values_and_grows_where_they_overlap():
    random = np.random.default_rng(1)
    independent = random.standard_normal(4000)
    assert standard_error(independent) == pytest.approx(1.0 / np.sqrt(4000), rel=0.15)
    summed = np.convolve(independent, np.ones(24), "valid")
    # var of the mean of overlapping sums is that of 24 times the mean
    assert standard_error(summed, ahead=24) == pytest.approx(24.0 / np.sqrt(4000), rel=0.35)
    assert standard_error(np.ones(100)) == 0.0
    with pytest.raises(DataError, match="ten for each step ahead"):
        standard_error(independent[:100], ahead=24)


@pytest.mark.parametrize("n", [1000, 1800])
def test_too_few_bars_say_how_many_are_needed(n):
    with pytest.raises(DataError, match="give at least") as caught:
        grounds(BARS.slice(0, n))
    assert "1960" in str(caught.value)
    grounds(made_up_bars(1960, 1))


def test_time_a_forecast_is_measured(whole):
    fitted = learnt(whole, RIDGE, {}, seed=1)
    assert 0.0 < judging.forecast_us(fitted, whole.judged) < 1e6
