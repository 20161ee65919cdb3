"""Every way in models/states keeps its promises, as an artifact and in service."""

from functools import lru_cache

import numpy as np
import pytest

from bus.errors import DataError
from bus.messages import Forecast, PatternSeen, RegimeSeen
from models import features, watching
from models.columns import from_series, stacked
from models.forms import restore
from models.registry import Registry
from models.serve import Service
from models.states import states
from models.train import fit_defaults
from tests.harness.markets import made_up_bars, replaced_after, request_at

STATES = states()
BARS = made_up_bars(2800, 21)
TRAIN, CALIBRATE = BARS.slice(0, 2000), BARS.slice(2000, 2400)


@lru_cache(maxsize=1)
def trained():
    return fit_defaults(TRAIN, CALIBRATE, horizons=(1,), seed=7, names=("ridge", *STATES))


def bars(way, n=2600, seed=0):
    random = np.random.default_rng(seed)
    wild = np.repeat(random.random(n // 20 + 1) < 0.3, 20)[:n]
    return random.standard_normal((n, len(way.feature_names))) * np.where(wild, 2.0, 0.7)[:, None]


def windows(way, rows):
    framed = stacked(rows, way.window)
    return framed.reshape(len(framed), -1)


def artifact_of(way):
    made = trained()
    return next(each for each in made.artifacts if each.manifest.name == way.name)


@pytest.fixture(params=STATES.values(), ids=STATES.keys())
def way(request):
    return request.param


def test_the_three_ways_are_found():
    assert {name: one.task for name, one in STATES.items()} == {
        "gaussian_mixture": "regimes",
        "hidden_markov": "regimes",
        "isolation_forest": "anomaly",
    }


def test_equal_seeds_give_equal_arrays(way):
    first, second = (way.fit(bars(way), 3).tensors() for _ in range(2))
    assert {name: tensor.tobytes() for name, tensor in first.items()} == {
        name: tensor.tobytes() for name, tensor in second.items()
    }


def test_saved_and_loaded_it_answers_the_same_to_the_bit_and_one_row_as_many(way):
    form, asked = way.fit(bars(way), 3), windows(way, bars(way, 600, seed=1))
    again = restore(form.form, form.tensors(), form.settings())
    together = form(asked)
    assert again(asked).tobytes() == together.tobytes()
    assert all(form(asked[row : row + 1]).tobytes() == together[row : row + 1].tobytes() for row in range(0, 400, 7))


def test_shapes_are_as_promised_and_outputs_finite_far_outside_the_training_data(way):
    form = way.fit(bars(way), 3)
    out = form(np.full((3, form.inputs), 1e6))
    assert out.shape == (3, form.outputs)
    assert np.isfinite(out).all()
    mixed = np.zeros((3, form.inputs))
    mixed[1, form.inputs // 2] = np.nan
    assert np.isnan(form(mixed)).all(axis=1).tolist() == [False, True, False]


def test_regimes_are_probabilities_calmest_first(way):
    if way.task != "regimes":
        pytest.skip("an anomaly score is no distribution")
    form = way.fit(bars(way), 3)
    told = form(windows(way, bars(way, 800, seed=1)))
    assert (told >= 0.0).all()
    assert np.abs(told.sum(axis=1) - 1.0).max() < 1e-9
    assert (np.diff(form.means[:, 0]) >= 0.0).all()


def test_an_anomaly_score_rises_with_how_far_out_a_bar_is(way):
    if way.task != "anomaly":
        pytest.skip("a regime is not a matter of how far out")
    form = way.fit(bars(way), 3)
    near, far = (form(np.full((1, form.inputs), x))[0, 0] for x in (0.0, 8.0))
    assert watching.score(near) < 0.5 < watching.score(far) < 1.0


def test_its_artifact_is_stored_with_the_others_and_verified(way, tmp_path):
    made = trained()
    registry = Registry(tmp_path)
    registry.publish(made.artifacts, active=made.active)
    loaded = {each.manifest.name: each for each in registry.load("EURUSD", TRAIN.period_ns).artifacts}
    assert loaded[way.name].manifest.kind == way.task
    assert loaded[way.name].manifest.horizons == ()
    assert not [verdict for verdict in registry.verify("") if verdict.problem]


def seen(way, series, row):
    service = Service((artifact_of(way),))
    answers = service.answer(request_at(series, row))
    service.close()
    assert not service.missed
    return [one for one in answers if getattr(one, "model_id", "") == artifact_of(way).model_id]


def test_what_it_says_depends_on_no_later_bar_and_on_no_more_than_it_needs(way):
    """Truncated, changed after, and asked again: the same to the bit."""
    artifact = artifact_of(way)
    columns = from_series(BARS)
    length = watching.needed(artifact)
    rows = features.compute(features.Inputs(columns=columns), way.feature_names)
    for row in (700, 2250, 2500):
        live = seen(way, BARS, row)
        assert live == seen(way, replaced_after(BARS, row, 3), row)
        part = columns.rows(row + 1 - length, row + 1)
        request = request_at(BARS, row)
        assert live == watching.look(request, artifact, part)
        assert watching.look(request, artifact, part.tail(length - 1)) == []
        whole = artifact.pipeline(rows[row + 1 - way.window : row + 1].reshape(1, -1))[0]
        if way.task == "regimes":
            (told,) = live
            assert told.probabilities_ppm == tuple(round(share * 1e6) for share in whole.tolist())
            assert told.regime == int(whole.argmax())
            assert told.before == seen(way, BARS, row - 1)[0].regime
        else:
            alarmed = watching.score(float(whole[0])) > float(artifact.tensors["alarm"][0])
            assert bool(live) == alarmed


def test_in_service_it_tells_facts_and_no_forecast(way):
    told = [one for row in range(400, 2600, 19) for one in seen(way, BARS, row)]
    assert not [one for one in told if isinstance(one, Forecast)]
    kind = RegimeSeen if way.task == "regimes" else PatternSeen
    assert {type(one) for one in told} <= {kind}
    if way.task == "regimes":
        assert len(told) == len(range(400, 2600, 19))
        assert {one.regime for one in told} == set(range(artifact_of(way).pipeline.net.outputs))


def test_too_few_bars_to_learn_from_are_refused_with_the_number():
    with pytest.raises(DataError, match="900 bars are too few for hidden_markov; give 2,000"):
        fit_defaults(
            TRAIN.slice(0, 900), TRAIN.slice(900, 1200), horizons=(1,), seed=1, names=("ridge", "hidden_markov")
        )
    with pytest.raises(DataError, match="1000 bars; a chain learns from 1024 or more"):
        STATES["hidden_markov"].fit(bars(STATES["hidden_markov"], 1000), 1)
