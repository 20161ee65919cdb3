"""Networks that look at a window of bars see what was there, live and offline alike, and nothing that came after."""

from dataclasses import replace
from typing import Literal

import msgspec
import numpy as np
import pytest

from bus.errors import ModelError
from bus.messages import Forecast, ForecastMissed
from models import artifact, features
from models.columns import from_series, stacked
from models.contract import Demands, demands_of
from models.forms.dense import Dense
from models.forward import Pipeline
from models.random_walk import to_prices
from models.registry import Registry
from models.serve import Service
from models.train import fit_defaults
from models.train.data import rows_of, split
from tests.harness.markets import HORIZONS, made_up_bars, replaced_after, request_at
from tests.harness.trained import BARS, CALIBRATE, TRAIN

NAMES = ("ret_1", "body", "hour_sin")
WINDOW = 20


class Lagged:
    """Least squares on every bar of the window: cheap, and every bar counts."""

    name = "lagged"
    task: Literal["forecast", "reconstruct"] = "forecast"
    needs = ()
    demands = Demands(window=WINDOW, feature_names=NAMES)

    def fit(self, problem):
        assert problem.inputs.shape[1:] == (WINDOW, len(NAMES))
        flat = problem.inputs.reshape(len(problem.inputs), -1)
        weight = np.linalg.solve(flat.T @ flat + 100.0 * np.eye(flat.shape[1]), flat.T @ problem.targets)
        problem.progress(self.name, 1.0)
        return Dense(weights=(weight,), biases=(np.zeros(weight.shape[1]),))


@pytest.fixture
def made(monkeypatch):
    monkeypatch.setattr("models.train.fit.architectures", lambda _names: {"lagged": Lagged()})
    return fit_defaults(TRAIN, CALIBRATE, horizons=HORIZONS, seed=1)


def test_a_network_that_says_nothing_looks_at_the_newest_bar():
    class Silent:
        pass

    assert demands_of(Silent()) == Demands(window=1, feature_names=())


def test_windows_are_contiguous_and_end_with_their_row():
    bars = np.arange(30.0).reshape(10, 3)
    windows = stacked(bars, 4)
    assert windows.shape == (7, 4, 3)
    for row in range(7):
        assert (windows[row] == bars[row : row + 4]).all()
    assert stacked(bars, 1) is bars


def test_rows_are_the_same_bars_whatever_the_window_and_so_are_their_labels():
    columns = from_series(BARS)
    one = rows_of(columns, HORIZONS, names=NAMES, start=500)
    many = rows_of(columns, HORIZONS, names=NAMES, start=500, window=WINDOW)
    assert many.labels.tobytes() == one.labels.tobytes()
    assert many.inputs().shape == (len(one), WINDOW * len(NAMES))
    assert (many.inputs()[:, -len(NAMES) :] == one.features).all()
    assert (many.inputs()[WINDOW:, : len(NAMES)] == one.features[1 : 1 - WINDOW]).all()
    assert (many.inputs(3, 9) == many.inputs()[3:9]).all()


def test_the_input_of_a_row_is_the_same_when_everything_after_it_is_gone_or_noise():
    columns = from_series(BARS)
    whole = rows_of(columns, HORIZONS, names=NAMES, window=WINDOW)
    first = features.startup(NAMES) + WINDOW - 2
    for row in (first, first + 1, 700, 1500):
        for other in (BARS.slice(0, row + 1 + max(HORIZONS)), replaced_after(BARS, row, seed=row)):
            cut = rows_of(from_series(other), HORIZONS, names=NAMES, window=WINDOW)
            assert cut.inputs()[row - first].tobytes() == whole.inputs()[row - first].tobytes()
    assert np.isfinite(whole.inputs()).all()


def test_no_window_of_one_part_holds_a_bar_that_a_later_part_is_judged_on():
    parts, plain = (split(TRAIN, CALIBRATE, HORIZONS, names=NAMES, window=window) for window in (WINDOW, 1))
    cut = 720  # four fifths of the training bars
    noisy = split(replaced_after(TRAIN, cut - 1, 3), CALIBRATE, HORIZONS, names=NAMES, window=WINDOW)
    assert noisy.fit.inputs().tobytes() == parts.fit.inputs().tobytes()
    assert noisy.fit.labels.tobytes() == parts.fit.labels.tobytes()
    other = split(TRAIN, made_up_bars(300, 9, start_ns=int(CALIBRATE.ts_open_ns[0])), HORIZONS, names=NAMES, window=20)
    assert other.validation.inputs().tobytes() == parts.validation.inputs().tobytes()
    assert other.validation.labels.tobytes() == parts.validation.labels.tobytes()
    # every model is judged on the same rows
    for mine, theirs in ((parts.validation, plain.validation), (parts.calibration, plain.calibration)):
        assert mine.labels.tobytes() == theirs.labels.tobytes()
        assert mine.inputs()[:, -len(NAMES) :].tobytes() == theirs.inputs().tobytes()


def test_it_is_published_and_answers_live_what_it_answers_offline(made, tmp_path):
    registry = Registry(tmp_path)
    registry.publish(made.artifacts, active=made.active)
    loaded = registry.load("EURUSD", TRAIN.period_ns)
    (model,) = loaded.artifacts
    assert (model.manifest.window, model.manifest.feature_names) == (WINDOW, NAMES)
    service = Service(loaded.artifacts)
    rows = rows_of(from_series(BARS), HORIZONS, names=NAMES, window=WINDOW)
    first = features.startup(NAMES) + WINDOW - 2
    for at in (first, 600, 1400):
        offline = model.pipeline(rows.inputs(at - first, at - first + 1))[0]
        for bars in (BARS, replaced_after(BARS, at, seed=at)):
            (live,) = [one for one in service.answer(request_at(bars, at)) if one.model_id == model.model_id]
            wanted = [
                to_prices(int(BARS.close_e5[at]), float(z), float(rows.sigma[at - first]), horizon)
                for z, horizon in zip(offline, HORIZONS, strict=True)
            ]
            assert list(live.horizons) == wanted
    (miss,) = [one for one in service.answer(request_at(BARS, first - 1)) if one.model_id == model.model_id]
    assert isinstance(miss, ForecastMissed)
    assert miss.detail == f"{first} bars; {first + 1} are needed"
    service.close()


def test_models_of_one_bar_answer_the_same_beside_one_that_looks_at_a_window(made):
    spectral = ("spectral_entropy_64", "ret_1", "adx_14")
    template = made.artifacts[0]
    weight = np.random.default_rng(1).standard_normal((3, 3)) / 10
    newest = artifact.seal(
        msgspec.structs.replace(
            template.manifest, name="newest", feature_names=spectral, feature_hash=features.schema_hash(spectral)
        ),
        Pipeline(
            scaler=template.pipeline.scaler.__class__(centre=np.zeros(3), gain=np.ones(3)),
            net=Dense(weights=(weight,), biases=(np.zeros(3),)),
        ),
        {},
        np.ones((2, 3)),
    )
    alone, beside = Service([newest]), Service([newest, template])
    for at in (400, 900):
        told = [
            [one for one in service.answer(request_at(BARS, at)) if isinstance(one, Forecast)]
            for service in (alone, beside)
        ]
        assert told[0] == [one for one in told[1] if one.model_id != template.model_id]
    alone.close()
    beside.close()


def test_training_chooses_its_features_only_where_nobody_else_did(monkeypatch):
    class Any(Lagged):
        def fit(self, problem):
            self.seen = problem.inputs.shape
            return Dense(weights=(np.zeros((self.seen[1] * self.seen[2], 1)),), biases=(np.zeros(1),))

    net = Any()
    monkeypatch.setattr("models.train.fit.architectures", lambda _names: {"lagged": net})
    fit_defaults(TRAIN, CALIBRATE, horizons=(1,), seed=1, feature_names=("ret_1", "rsi_cutler_14"))
    assert net.seen[1:] == (WINDOW, 2)


def test_a_window_that_a_request_cannot_hold_is_refused(made):
    model = made.artifacts[0]
    wide = features.LONGEST
    net = Dense(weights=(np.zeros((wide * len(NAMES), 3)),), biases=(np.zeros(3),))
    with pytest.raises(ModelError, match="more bars than the 256 of a request"):
        artifact.seal(
            model.manifest, replace(model.pipeline, net=net, window=wide), {}, np.ones((1, wide * len(NAMES)))
        )
    with pytest.raises(ModelError, match="windows of 129 bars need 257 bars, and a request carries 256"):
        split(TRAIN, CALIBRATE, HORIZONS, names=NAMES, window=129)
