"""Artifacts are verified before they are parsed, and published all or nothing."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from bus.errors import ModelError
from models import artifact, features
from models.artifact import MANIFEST, WEIGHTS
from models.client import admissions
from models.forms.dense import Dense
from models.forward import Pipeline
from models.registry import RELEASES_KEPT, Registry
from tests.harness.markets import HORIZONS
from tests.harness.trained import CALIBRATE, trained

HOUR = 3_600 * 10**9


def forecaster(seed=0, name="ridge", **changes):
    """A cheap sealed forecaster; another seed gives another id."""
    template = next(a for a in trained().artifacts if a.manifest.name == "ridge")
    weight = np.random.default_rng(seed).standard_normal((len(features.DEFAULT), len(HORIZONS))) / 100
    pipeline = Pipeline(scaler=template.pipeline.scaler, net=Dense(weights=(weight,), biases=(np.zeros(3),)))
    manifest = msgspec.structs.replace(template.manifest, name=name, seed=seed, **changes)
    return artifact.seal(manifest, pipeline, {}, np.ones((2, len(features.DEFAULT))))


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path / "registry")


def published_folder(tmp_path, model):
    return tmp_path / "registry" / "EURUSD-3600s" / model.model_id


def test_what_was_published_is_loaded_again_to_the_bit(registry):
    made = trained()
    registry.publish(made.artifacts, active=made.active)
    loaded = registry.load("EURUSD", HOUR)
    assert loaded.active == made.active == registry.active("EURUSD", HOUR)
    for before, after in zip(made.artifacts, loaded.artifacts, strict=True):
        assert after.model_id == before.model_id
        assert after.manifest == before.manifest
        assert {n: t.tobytes() for n, t in after.tensors.items()} == {n: t.tobytes() for n, t in before.tensors.items()}
    assert all(verdict.problem == "" for verdict in registry.verify())
    assert registry.show(made.active).name == made.active.rpartition("-")[0]


def test_an_empty_registry_has_nothing_and_says_so(registry):
    assert registry.list() == ()
    assert registry.verify() == ()
    assert registry.load("EURUSD", HOUR) is None
    assert registry.active("EURUSD", HOUR) is None
    with pytest.raises(ModelError, match="no model 'x'"):
        registry.show("x")
    with pytest.raises(ModelError, match="train first"):
        registry.rollback("EURUSD", HOUR)


def test_any_altered_byte_is_found_before_anything_is_parsed(registry, tmp_path, monkeypatch):
    model = forecaster()
    registry.publish([model], active=model.model_id)
    monkeypatch.setattr(artifact, "load_tensors", lambda _data: pytest.fail("parsed an altered file"))
    for name in (MANIFEST, WEIGHTS):
        path = published_folder(tmp_path, model) / name
        data = path.read_bytes()
        for position in np.random.default_rng(1).integers(0, len(data), 12).tolist():
            path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
            (verdict,) = registry.verify(model.model_id)
            assert ": altered, its sha256 does not match" in verdict.problem
        path.write_bytes(data)
    monkeypatch.undo()
    assert registry.verify()[0].problem == ""


@pytest.mark.parametrize("name", [MANIFEST, WEIGHTS])
def test_a_missing_file_is_one_clear_line(registry, tmp_path, name):
    model = forecaster()
    registry.publish([model], active=model.model_id)
    (published_folder(tmp_path, model) / name).unlink()
    with pytest.raises(ModelError, match=name) as caught:
        registry.load("EURUSD", HOUR)
    assert "\n" not in str(caught.value)


def rewritten(folder, change):
    """Store a changed manifest under the id that its content now has."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    change(manifest)
    data = json.dumps(manifest).encode()
    target = folder.parent / artifact.id_of(manifest["name"], data)
    target.mkdir()
    (target / MANIFEST).write_bytes(data)
    (target / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes())
    return target


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: m.update(surprise=1), "surprise"),
        (lambda m: m.pop("seed"), "seed"),
        (lambda m: m.update(schema=1), "schema 1"),
        (lambda m: m.update(feature_hash="0" * 64), "other features"),
        (lambda m: m["feature_names"].reverse(), "other features"),
        (lambda m: m["feature_names"].pop(), "other features"),
        (lambda m: m["feature_names"].append("rsi_41"), "rsi_41"),
        (lambda m: m.update(scaler={"form": "affine"}), "scaler"),
        (lambda m: m["scaler"].update(limit=-1.0), "limit"),
        (lambda m: m["scaler"].update(schema=9), "scaler of schema 9"),
        (lambda m: m["scaler"]["gain"].pop(), "gains"),
        (lambda m: (m["scaler"]["gain"].pop(), m["scaler"]["centre"].pop()), "37 scaled features for a network of 38"),
        (lambda m: m["settings"].update(activation="softmax"), "softmax"),
        (lambda m: m.update(form="sparse"), "form 'sparse'"),
        (lambda m: m.update(window=2), "2 bars of"),
        (lambda m: m.update(window=0), "0 bars of"),
        (lambda m: m.update(horizons=[1, 4]), "do not fit"),
        (lambda m: m["scores"][0].append(-1.0), "negative"),
        (lambda m: m.update(volatility=None), "no volatility"),
        (lambda m: m["volatility"].update(period_ns=60_000_000_000), "not 3600000000000"),
        (lambda m: m["volatility"].update(levels=[1.0]), "another release"),
        (lambda m: m["volatility"].update(mean_range=-1.0), "numbers that are none"),
        (lambda m: m.update(files={}), "altered"),
    ],
)
def test_a_manifest_that_cannot_be_obeyed_is_refused_with_the_reason(registry, tmp_path, change, says):
    model = forecaster()
    registry.publish([model], active=model.model_id)
    with pytest.raises(ModelError, match=says):
        artifact.read(rewritten(published_folder(tmp_path, model), change))


def test_weights_that_are_not_finite_or_do_not_reproduce_their_golden_outputs_are_refused(monkeypatch):
    model = forecaster()
    bad = Dense(weights=(np.full((len(features.DEFAULT), 3), np.nan),), biases=(np.zeros(3),))
    with pytest.raises(ModelError, match="not finite"):
        artifact.seal(model.manifest, dataclasses.replace(model.pipeline, net=bad), {}, np.ones((1, 38)))
    original = Dense.__call__
    monkeypatch.setattr(Dense, "__call__", lambda self, inputs: original(self, inputs) + 1e-6)
    with pytest.raises(ModelError, match="golden"):
        artifact.parse(model.model_id, model.manifest_bytes, model.weights_bytes, "here")


def test_the_last_five_releases_are_kept_and_older_files_removed(registry, tmp_path):
    models = [forecaster(seed) for seed in range(7)]
    for model in models:
        registry.publish([model], active=model.model_id)
    kept = {entry.model_id for entry in registry.list()}
    assert kept == {model.model_id for model in models[-RELEASES_KEPT:]}
    folders = {path.name for path in (tmp_path / "registry" / "EURUSD-3600s").iterdir() if path.is_dir()}
    assert folders == kept
    assert [entry.model_id for entry in registry.list() if entry.active] == [models[-1].model_id]


def test_publishing_the_same_again_changes_nothing(registry):
    model = forecaster()
    first = registry.publish([model], active=model.model_id)
    assert registry.publish([model], active=model.model_id) == first
    assert len(registry.list()) == 1


def test_rolling_back_and_choosing_the_active_model(registry):
    old, new, other = forecaster(1), forecaster(2), forecaster(3, name="mlp")
    registry.publish([old], active=old.model_id)
    registry.publish([new, other], active=new.model_id)
    assert registry.set_active(other.model_id).number == 2
    assert registry.active("EURUSD", HOUR) == other.model_id
    assert registry.rollback("EURUSD", HOUR).number == 1
    assert registry.load("EURUSD", HOUR).active == old.model_id
    with pytest.raises(ModelError, match="oldest"):
        registry.rollback("EURUSD", HOUR)
    assert registry.set_active(new.model_id).number == 2
    assert len(registry.load("EURUSD", HOUR).artifacts) == 2
    with pytest.raises(ModelError, match="no model"):
        registry.set_active("nobody-0000000000")


def test_a_detector_cannot_trade(registry):
    made = trained()
    detector = next(a.model_id for a in made.artifacts if a.manifest.kind == "detector")
    with pytest.raises(ModelError, match="not a forecaster"):
        registry.publish(made.artifacts, active=detector)
    registry.publish(made.artifacts, active=made.active)
    with pytest.raises(ModelError, match="detector"):
        registry.set_active(detector)


def test_models_of_two_markets_are_two_releases(registry):
    euro, pound = forecaster(), forecaster(symbol="GBPUSD")
    with pytest.raises(ModelError, match="2 markets"):
        registry.publish([euro, pound], active=euro.model_id)
    registry.publish([euro], active=euro.model_id)
    registry.publish([pound], active=pound.model_id)
    assert registry.active("EURUSD", HOUR) == euro.model_id
    assert registry.active("GBPUSD", HOUR) == pound.model_id
    with pytest.raises(ModelError, match="cannot name a folder"):
        registry.load("../etc", HOUR)


@pytest.mark.parametrize("step", range(1, 12))
def test_a_crash_at_any_moment_of_publishing_leaves_the_old_release_or_the_new(registry, step, monkeypatch):
    old, new = forecaster(1), forecaster(2)
    registry.publish([old], active=old.model_id)

    class Crash(BaseException):
        pass

    calls = {"left": step}

    def counted(function):
        def call(*args, **kwargs):
            calls["left"] -= 1
            if calls["left"] == 0:
                raise Crash
            return function(*args, **kwargs)

        return call

    for holder, name in ((os, "fsync"), (Path, "rename"), (Path, "replace"), (Path, "mkdir")):
        monkeypatch.setattr(holder, name, counted(getattr(holder, name)))
    try:
        registry.publish([new], active=new.model_id)
    except Crash:
        crashed = True
    else:
        crashed = False
    monkeypatch.undo()
    loaded = registry.load("EURUSD", HOUR)
    assert loaded.active in {old.model_id, new.model_id}
    assert crashed or loaded.active == new.model_id
    registry.publish([new], active=new.model_id)  # and the next attempt succeeds
    assert registry.load("EURUSD", HOUR).active == new.model_id


def test_publishing_after_a_rollback_never_removes_what_is_in_force_before_the_pointer_moves(registry, monkeypatch):
    models = [forecaster(seed) for seed in range(RELEASES_KEPT + 1)]
    for model in models[:-1]:
        registry.publish([model], active=model.model_id)
    for _ in range(RELEASES_KEPT - 1):
        registry.rollback("EURUSD", HOUR)

    class Crash(BaseException):
        pass

    def crash(*_):
        raise Crash

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(Crash):
        registry.publish([models[-1]], active=models[-1].model_id)
    monkeypatch.undo()
    assert registry.load("EURUSD", HOUR).active == models[0].model_id
    registry.publish([models[-1]], active=models[-1].model_id)
    assert registry.load("EURUSD", HOUR).active == models[-1].model_id
    assert models[0].model_id not in {entry.model_id for entry in registry.list()}


def test_a_broken_pointer_says_what_to_do(registry, tmp_path):
    model = forecaster()
    registry.publish([model], active=model.model_id)
    (tmp_path / "registry" / "EURUSD-3600s" / "current.json").write_text("{")
    with pytest.raises(ModelError, match=r"current\.json.*remove it and train again"):
        registry.load("EURUSD", HOUR)


def test_the_id_depends_on_content_and_not_on_place_or_process(tmp_path):
    model = forecaster(5)
    code = (
        "import sys; from pathlib import Path; from models import artifact;"
        "print(artifact.read(Path(sys.argv[1])).model_id)"
    )
    Registry(tmp_path / "elsewhere").publish([model], active=model.model_id)
    folder = tmp_path / "elsewhere" / "EURUSD-3600s" / model.model_id
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONHASHSEED": "5"}
    out = subprocess.run(
        [sys.executable, "-c", code, str(folder)], cwd=root, env=environment, capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == model.model_id == forecaster(5).model_id


def test_admissions_carry_scores_and_the_random_walk_comes_first(registry):
    made = trained()
    registry.publish(made.artifacts, active=made.active)
    admitted = admissions(registry.load("EURUSD", HOUR), ts_init_ns=5)
    assert admitted[0].model_id == "random-walk"
    assert {a.kind for a in admitted} == {"random_walk", "ridge", "mlp"}
    assert [a.model_id for a in admitted if a.active] == [made.active]
    for one in admitted:
        assert one.horizons == HORIZONS
        # of 276 overlapping labels a calibrator keeps every one, every one, every sixth
        assert [len(scores) for scores in one.scores] == [276, 276, 46]
        assert one.volatility.last_open_ns == int(CALIBRATE.ts_open_ns[-1])
        assert one.ts_init_ns == 5
