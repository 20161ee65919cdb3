"""Training is honest, repeatable, and tells how it did beside the random walk."""

import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bus.errors import DataError, ModelError
from models import features, scalers
from models.artifact import Manifest
from models.columns import from_series
from models.conformal import score
from models.contract import Demands, demands_of
from models.nets import architectures, known
from models.random_walk import to_prices
from models.registry import Registry
from models.serve import Service
from models.train import fit_defaults, metrics
from models.train.cache import FeatureCache
from models.train.data import data_sha256, rows_of, split, volatilities
from models.train.fit import fit_forecaster
from tests.harness.libraries import lacking
from tests.harness.markets import HORIZONS, made_up_bars, replaced_after, request_at
from tests.harness.trained import BARS, CALIBRATE, TRAIN, trained


def test_two_trainings_with_one_seed_give_the_same_ids_and_another_seed_others():
    again = fit_defaults(TRAIN, CALIBRATE, horizons=HORIZONS, seed=7)
    first, other = trained(), fit_defaults(TRAIN, CALIBRATE, horizons=HORIZONS, seed=8)
    assert [a.model_id for a in again.artifacts] == [a.model_id for a in first.artifacts]
    assert again.active == first.active
    assert {a.model_id for a in other.artifacts}.isdisjoint(a.model_id for a in first.artifacts)


def test_another_process_with_another_hash_seed_gives_the_same_ids():
    code = "from tests.harness.trained import trained; print(*[a.model_id for a in trained().artifacts])"
    out = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONHASHSEED": "77"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.stdout.split() == [a.model_id for a in trained().artifacts]


def test_calibration_bars_change_scores_and_nothing_that_was_learnt():
    other = fit_defaults(TRAIN, made_up_bars(300, 99, start_ns=int(CALIBRATE.ts_open_ns[0])), horizons=HORIZONS, seed=7)
    for mine, theirs in zip(trained().artifacts, other.artifacts, strict=True):
        assert {n: t.tobytes() for n, t in mine.tensors.items()} == {n: t.tobytes() for n, t in theirs.tensors.items()}
        if mine.manifest.kind == "forecaster":
            assert mine.manifest.scores != theirs.manifest.scores


def test_parts_do_not_share_a_label_and_features_know_no_future():
    parts = split(TRAIN, CALIBRATE, HORIZONS)
    columns = from_series(BARS)
    cut = math.floor(len(TRAIN) * 0.8)
    everything = rows_of(columns, HORIZONS)

    def place(rows, row):
        (at,) = np.flatnonzero((everything.features == rows.features[row]).all(axis=1))
        return int(at) + 128

    assert place(parts.fit, -1) + max(HORIZONS) == cut - 1
    assert place(parts.validation, 0) == cut
    assert place(parts.validation, -1) + max(HORIZONS) == len(TRAIN) - 1
    assert place(parts.calibration, 0) == len(TRAIN)
    assert place(parts.calibration, -1) + max(HORIZONS) == len(TRAIN) + len(CALIBRATE) - 1


def test_labels_are_future_returns_in_sigmas():
    rows = rows_of(from_series(TRAIN), HORIZONS)
    row = 100
    bar = row + 128
    for column, horizon in enumerate(HORIZONS):
        expected = math.log(TRAIN.close_e5[bar + horizon] / TRAIN.close_e5[bar]) / (
            rows.sigma[row] * math.sqrt(horizon)
        )
        assert rows.labels[row, column] == pytest.approx(expected)
        assert rows.actual_e5[row, column] == TRAIN.close_e5[bar + horizon]


def test_calibration_scores_are_those_that_serving_would_have_earned():
    made = trained()
    service = Service(made.artifacts)
    scales, _ = volatilities(BARS, horizons=HORIZONS)
    for row in (901, 1000, 1100):
        answers = {one.model_id: one for one in service.answer(request_at(BARS, row)) if hasattr(one, "horizons")}
        for artifact in made.artifacts:
            for column, horizon in enumerate(artifact.manifest.horizons):
                for model_id, scores in (
                    (artifact.model_id, artifact.manifest.scores),
                    ("random-walk", artifact.manifest.baseline_scores),
                ):
                    given = answers[model_id].horizons[column]
                    actual = int(BARS.close_e5[row + horizon])
                    scale = int(scales[row, column])
                    assert scores[column][row - 900] == score(actual, given.point_e5, scale)
    service.close()


def test_an_artifact_carries_the_volatility_its_scores_are_measured_in_as_of_its_last_bar():
    _, after = volatilities(TRAIN, CALIBRATE, horizons=HORIZONS)
    for artifact in trained().artifacts:
        carried = artifact.manifest.volatility
        assert carried == (after.state() if artifact.manifest.kind == "forecaster" else None)
    # bar by bar through one history or through two halves is the same
    scales, whole = volatilities(BARS.slice(0, 1200), horizons=HORIZONS)
    parted, _ = volatilities(TRAIN, CALIBRATE, horizons=HORIZONS)
    assert whole.state() == after.state()
    assert (scales == parted).all()


FORECASTERS = {
    name: net
    for name, net in architectures(known()).items()
    if net.task == "forecast" and demands_of(net) == Demands() and not lacking(net)
}


@pytest.mark.parametrize("name", FORECASTERS)
def test_a_market_without_structure_gives_no_skill_and_a_leak_would_show(name):
    parts = split(TRAIN, CALIBRATE, (1,))
    pipeline = fit_forecaster(FORECASTERS[name], parts, seed=1)
    walk = metrics.mean_crps(np.zeros_like(parts.calibration.labels), parts.calibration)
    assert metrics.mean_crps(pipeline(parts.calibration.features), parts.calibration) > 0.985 * walk
    # the same harness sees a planted leak: the label itself among the features
    leaky = split(TRAIN, CALIBRATE, (1,))
    for rows in (leaky.fit, leaky.validation, leaky.calibration):
        rows.features[:, 0] = rows.labels[:, 0]
    cheat = fit_forecaster(FORECASTERS[name], leaky, seed=1)
    assert metrics.mean_crps(cheat(leaky.calibration.features), leaky.calibration) < 0.8 * walk


def test_shuffled_labels_teach_nothing():
    parts = split(TRAIN, CALIBRATE, HORIZONS)
    random = np.random.default_rng(0)
    for rows in (parts.fit, parts.validation):
        rows.labels[:] = random.permutation(rows.labels)
    walk = metrics.mean_crps(np.zeros_like(parts.calibration.labels), parts.calibration)
    for net in FORECASTERS.values():
        pipeline = fit_forecaster(net, parts, seed=1)
        assert metrics.mean_crps(pipeline(parts.calibration.features), parts.calibration) > 0.99 * walk


def test_every_table_has_the_random_walk_and_the_active_model_is_the_best_on_validation():
    made = trained()
    assert [(r.model, r.horizon) for r in made.metrics[:3]] == [("random-walk", h) for h in HORIZONS]
    for artifact in made.artifacts:
        if artifact.manifest.kind == "forecaster":
            assert {r.model for r in artifact.manifest.metrics} == {"random-walk", artifact.manifest.name}
    own = {name: crps for name, crps in made.validation_crps.items() if name != "random-walk"}
    assert made.active.rpartition("-")[0] == min(own, key=own.get)
    text = metrics.table(made.metrics)
    assert text.count("\n") == len(made.metrics)
    assert "random-walk" in text


def test_metrics_of_the_random_walk_are_plain_to_recompute():
    row = trained().metrics[0]
    returns = np.log(BARS.close_e5[901:1177] / BARS.close_e5[900:1176])
    assert row.n == 276
    assert row.rmse_bp == pytest.approx(1e4 * np.sqrt((returns**2).mean()), rel=1e-6)
    assert (row.calls, row.hits) == (0, 0)
    assert 0.8 < row.coverage < 0.98
    assert row.winkler_bp > row.width_bp > 0


def test_a_feature_that_never_varied_in_training_cannot_move_a_forecast():
    silent = made_up_bars(1200, 21, spread=False)
    made = fit_defaults(silent.slice(0, 900), silent.slice(900, 1200), horizons=(1,), seed=1)
    loud = made_up_bars(1200, 21)
    service = Service(made.artifacts)
    quiet_answers, loud_answers = (
        [one for one in service.answer(request_at(bars, 1150, horizons=(1,))) if hasattr(one, "horizons")]
        for bars in (silent, replace(silent, spread_e5=loud.spread_e5))
    )
    service.close()
    assert quiet_answers == loud_answers


@pytest.mark.parametrize("kind", ["standard", "robust", "quantile"])
def test_models_of_any_features_and_scaler_are_stored_and_served_with_them(kind, tmp_path):
    names = ("adx_14", "ret_1", "spectral_entropy_64", "tick_intensity_8", "macd_signal")
    made = fit_defaults(TRAIN, CALIBRATE, horizons=(1,), seed=1, feature_names=names, scaler=kind)
    registry = Registry(tmp_path)
    registry.publish(made.artifacts, active=made.active)
    loaded = registry.load("EURUSD", TRAIN.period_ns)
    service = Service(loaded.artifacts)
    live = {one.model_id: one for one in service.answer(request_at(BARS, 1000, horizons=(1,)))}
    early = service.answer(request_at(BARS, 200, horizons=(1,)))
    service.close()
    rows = rows_of(from_series(BARS), (1,), names=names)
    at = 1000 - (features.startup(names) - 1)
    for artifact in loaded.artifacts:
        if artifact.manifest.kind == "forecaster":
            assert artifact.manifest.feature_names == names
            assert artifact.manifest.feature_hash == features.schema_hash(names)
            expected = artifact.pipeline(rows.features[at : at + 1])[0, 0]
            assert live[artifact.model_id].horizons[0] == to_prices(BARS.close_e5[1000], expected, rows.sigma[at], 1)
            (miss,) = [one for one in early if getattr(one, "model_id", "") == artifact.model_id]
            assert (miss.reason, miss.detail) == ("no_history", "201 bars; 256 are needed")
    assert "random-walk" in {one.model_id for one in early if hasattr(one, "horizons")}


@pytest.mark.parametrize("kind", ["standard", "robust", "quantile"])
def test_a_scaler_is_fitted_on_the_fit_part_alone(kind):
    net = architectures()["ridge"]
    parts, other = split(TRAIN, CALIBRATE, HORIZONS), split(TRAIN, CALIBRATE, HORIZONS)
    for rows in (other.validation, other.calibration):
        rows.features[:] = 1e3 * np.random.default_rng(1).standard_normal(rows.features.shape)
    mine, theirs = (fit_forecaster(net, each, seed=1, scaler=kind).scaler for each in (parts, other))
    assert scalers.to_json(mine) == scalers.to_json(theirs) == scalers.to_json(scalers.fit(kind, parts.fit.features))


def test_features_that_bars_do_not_carry_cannot_be_learnt_from():
    with pytest.raises(DataError, match="dollar_lead_64: without cross"):
        fit_defaults(TRAIN, CALIBRATE, horizons=(1,), seed=1, feature_names=("ret_1", "dollar_lead_64"))
    with pytest.raises(ModelError, match="rsi_41"):
        fit_defaults(TRAIN, CALIBRATE, horizons=(1,), seed=1, feature_names=("rsi_41",))


def test_a_cache_changes_nothing_but_the_time_a_training_takes(tmp_path):
    cache = FeatureCache(tmp_path)
    for _ in range(2):
        made = fit_defaults(TRAIN, CALIBRATE, horizons=HORIZONS, seed=7, cache=cache)
        assert [a.model_id for a in made.artifacts] == [a.model_id for a in trained().artifacts]
    assert (cache.misses, cache.hits) == (3, 3)


def test_progress_names_every_network():
    told = []
    fit_defaults(TRAIN, CALIBRATE, horizons=(1,), seed=1, progress=lambda stage, share: told.append((stage, share)))
    assert {stage for stage, _ in told} == set(architectures())
    assert {stage for stage, share in told if share == 1.0} == set(architectures())


@pytest.mark.parametrize(
    ("train", "calibrate", "horizons", "says"),
    [
        (TRAIN.slice(0, 300), CALIBRATE, HORIZONS, "too few rows"),
        (TRAIN, CALIBRATE.slice(0, 30), HORIZONS, "too few rows"),
        (TRAIN, TRAIN, HORIZONS, "before training bars end"),
        (TRAIN, made_up_bars(300, 1, symbol="GBPUSD"), HORIZONS, "different markets"),
        (TRAIN, CALIBRATE, (), "horizons"),
        (TRAIN, CALIBRATE, (1, 1), "horizons"),
        (TRAIN, CALIBRATE, (0,), "horizons"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused_with_the_reason(train, calibrate, horizons, says):
    with pytest.raises(DataError, match=says):
        fit_defaults(train, calibrate, horizons=horizons, seed=1)


def test_the_data_has_an_identity():
    assert data_sha256(TRAIN) == data_sha256(TRAIN.slice(0, len(TRAIN)))
    assert data_sha256(TRAIN) != data_sha256(replaced_after(TRAIN, len(TRAIN) - 2, 3))
    assert isinstance(trained().artifacts[0].manifest, Manifest)
