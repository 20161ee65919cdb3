"""Twelve hundred bad artifacts, each refused in one sentence while the old model answers on; and good ones let in."""

import itertools

import msgspec
import numpy as np
import pytest

from bus.messages import Forecast
from models import artifact
from models.admission import LEVEL_PPM, WARM_UP, Budget, Situation, admit_newest, coverage_of, verdict_of
from models.artifact import MANIFEST, WEIGHTS
from models.registry import Registry, sealed
from models.serve import Service
from models.signing import SIGNATURE, Trust
from models.train import metrics
from tests.harness.artifacts import HOUR, STRANGER, TRUST, forecaster, forged, signed
from tests.harness.markets import HORIZONS, request_at
from tests.harness.trained import TRADE, trained

SITUATION = Situation(symbol="EURUSD", period_ns=HOUR, horizons=HORIZONS, newest_release=1)
BUDGET_NS = 10_000_000
REQUEST = request_at(TRADE, 350)


class SlowClock:
    """Each answer takes as long as is said, whatever the machine does meanwhile."""

    def __init__(self, answer_ns):
        self.calls = itertools.count()
        self.answer_ns = answer_ns

    def __call__(self):
        return next(self.calls) * self.answer_ns


def terms(answer_ns=BUDGET_NS // 10):
    return Budget(latency_ns=BUDGET_NS, clock=SlowClock(answer_ns))


class Bench:
    """A registry with an old release, whose model answers in a running service."""

    def __init__(self, root):
        self.root = root / "EURUSD-3600s"
        self.registry = Registry(root, TRUST)
        self.old = signed(forecaster(0))
        self.registry.publish([self.old], active=self.old.model_id)
        self.service = Service([self.old])
        self.before = self.answers()
        self.refusals = 0

    def answers(self):
        found = self.service.answer(REQUEST)
        assert {each.model_id for each in found if isinstance(each, Forecast)} == {"random-walk", self.old.model_id}
        return found

    def publish(self, model):
        """As the next release; the one before goes, so that a thousand do not pile up."""
        (self.root / "current.json").write_bytes(self.pointer)
        self.registry.publish([model], active=model.model_id)

    def refused(self, *says, situation=SITUATION, answer_ns=BUDGET_NS // 10, trust=TRUST):
        found = admit_newest(Registry(self.root.parent, trust), situation, terms(answer_ns))
        assert found is not None, says
        assert not found.models
        assert len(found.refused) == 1, found
        ((_, reason),) = found.refused
        assert any(each in reason for each in says), (says, reason)
        assert "\n" not in reason
        assert "; " in reason  # what is wrong, where; what to do
        assert "EURUSD" in reason
        self.refusals += 1
        return reason


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path / "models")
    made.pointer = (made.root / "current.json").read_bytes()
    yield made
    assert made.answers() == made.before
    made.service.close()


def test_a_sound_release_is_let_in_with_its_verdict(bench):
    new = signed(forecaster(1))
    bench.publish(new)
    found = admit_newest(bench.registry, SITUATION, terms())
    assert (found.release, found.candidate, found.refused) == (2, new.model_id, ())
    assert [each.artifact.model_id for each in found.models] == [new.model_id]
    assert "random walk" in found.models[0].verdict
    assert admit_newest(bench.registry, SITUATION, terms()).models
    known = Situation(symbol="EURUSD", period_ns=HOUR, horizons=HORIZONS, newest_release=2)
    assert admit_newest(bench.registry, known, terms()) is None


def places(data, count, seed):
    return np.random.default_rng(seed).integers(0, len(data), count).tolist()


ALTERED = {
    MANIFEST: (("altered",), "parse"),
    WEIGHTS: (("altered",), "load_tensors"),
    SIGNATURE: (("does not name", "does not fit the manifest", "are no signature"), "parse"),
    "current.json": (("altered",), "parse"),
}
"""By file: what a refusal says, and the function that must not have been reached by then."""


@pytest.mark.parametrize("name", ALTERED)
def test_of_a_thousand_flipped_bits_and_a_hundred_cuts_each_is_refused_before_anything_is_parsed(
    bench, name, monkeypatch
):
    says, parser = ALTERED[name]
    new = signed(forecaster(1))
    bench.publish(new)
    path = bench.root / name if name == "current.json" else bench.root / new.model_id / name
    whole = path.read_bytes()
    with monkeypatch.context() as context:
        context.setattr(artifact, parser, lambda *_: pytest.fail("parsed what was altered"))
        for place in places(whole, 250, len(name)):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
            bench.refused(*says)
        for place in places(whole, 25, len(whole)):
            path.write_bytes(whole[:place])
            bench.refused(*says)
            assert bench.answers() == bench.before
    assert bench.refusals == 275
    path.write_bytes(whole)
    assert admit_newest(bench.registry, SITUATION, terms()).models


WRONG = {
    "feature hash": (lambda m: m.update(feature_hash="0" * 64), None, "other features"),
    "feature gone": (lambda m: m["feature_names"].pop(), None, "other features"),
    "unknown feature": (lambda m: m["feature_names"].append("rsi_41"), None, "rsi_41"),
    "unknown field": (lambda m: m.update(surprise=1), None, "surprise"),
    "missing field": (lambda m: m.pop("code"), None, "code"),
    "schema": (lambda m: m.update(schema=1), None, "schema 1"),
    "unnamed file": (lambda m: m.update(files={}), None, "altered"),
    "form": (lambda m: m.update(form="sparse"), None, "sparse"),
    "horizons": (lambda m: m.update(horizons=[1, 4]), None, "do not fit"),
    "other horizons": (lambda m: m.update(horizons=[1, 4, 23]), None, "not all of"),
    "other symbol": (lambda m: m.update(symbol="GBPUSD"), None, "made for GBPUSD"),
    "other period": (lambda m: (m.update(period_ns=60 * 10**9), m["volatility"].update(period_ns=60 * 10**9)), None,
                     "made for EURUSD on bars of 60000000000"),
    "negative score": (lambda m: m["scores"][0].append(-1.0), None, "negative"),
    "scores cut": (lambda m: m["scores"].__setitem__(1, m["scores"][1][:-3]), None, "do not fit"),
    "other scores": (lambda m: m["scores"].__setitem__(0, [s * (1 + n / 40) for n, s in enumerate(m["scores"][0])]),
                     None, "calibration scores give"),
    "rosy coverage": (lambda m: m["metrics"][3].update(coverage=0.99), None, "calibration scores give"),
    "no metrics": (lambda m: m.update(metrics=m["metrics"][:3]), None, "no metrics"),
    "no volatility": (lambda m: m.update(volatility=None), None, "no volatility"),
    "NaN": (None, lambda t: t["weight_0"].__setitem__((0, 0), np.nan), "not finite"),
    "infinite": (None, lambda t: t["bias_0"].__setitem__(0, np.inf), "not finite"),
    "other numbers": (None, lambda t: t["weight_0"].__setitem__((0, 0), 9.0), "golden"),
    "no golden": (None, lambda t: t.pop("golden_outputs"), "golden"),
    "shape": (None, lambda t: t.update(bias_0=t["bias_0"][:2]), "shape"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_is_whole_and_signed_but_wrong_is_refused_with_the_reason(bench, what):
    manifest, tensors, says = WRONG[what]
    for seed in range(1, 5):
        model = forged(forecaster(seed), manifest or (lambda _: None), tensors or (lambda _: None))
        bench.publish(model)
        bench.refused(says)
        assert bench.answers() == bench.before


def test_a_model_ten_times_too_slow_is_refused(bench):
    bench.publish(signed(forecaster(1)))
    reason = bench.refused("ms for one forecast", answer_ns=10 * BUDGET_NS)
    assert "100.0 ms" in reason
    assert "10.0 ms" in reason
    assert admit_newest(bench.registry, SITUATION, terms(BUDGET_NS)).models


def test_signatures_of_strangers_and_missing_ones_are_refused_where_they_count(bench):
    new = forecaster(1)
    bench.publish(signed(new, STRANGER))
    bench.refused("which models.trusted_keys does not name")
    (bench.root / new.model_id / SIGNATURE).unlink()
    bench.refused("not signed")
    other = signed(forecaster(2))
    (bench.root / new.model_id / SIGNATURE).write_bytes(other.signature)
    bench.refused("does not fit the manifest")
    bench.refused("does not fit the manifest", trust=Trust())  # nobody is trusted in particular, but wrong is wrong
    (bench.root / new.model_id / SIGNATURE).unlink()
    assert admit_newest(Registry(bench.root.parent, Trust()), SITUATION, terms()).models
    assert admit_newest(Registry(bench.root.parent, Trust(keys=TRUST.keys)), SITUATION, terms()).models


def test_an_old_registry_put_back_is_refused_and_a_rollback_is_not_news(bench):
    old_pointer = bench.pointer
    for seed in (1, 2):
        model = signed(forecaster(seed))
        bench.registry.publish([model], active=model.model_id)
    seen = Situation(symbol="EURUSD", period_ns=HOUR, horizons=HORIZONS, newest_release=3)
    (bench.root / "current.json").write_bytes(old_pointer)
    bench.refused("an old registry was put back", situation=seen)
    model = signed(forecaster(1))
    bench.registry.publish([model], active=model.model_id)
    bench.refused("newest release is 2, but release 3 was admitted before", situation=seen)
    model = signed(forecaster(2))
    bench.registry.publish([model], active=model.model_id)
    bench.registry.rollback("EURUSD", HOUR)
    assert admit_newest(bench.registry, seen, terms()) is None
    # nor does a fresh daemon try what somebody went back from
    fresh = Situation(symbol="EURUSD", period_ns=HOUR, horizons=HORIZONS, newest_release=2)
    assert admit_newest(bench.registry, fresh, terms()) is None


def test_a_model_that_learnt_less_than_the_one_in_force_is_old_and_one_that_saw_the_future_is_refused(bench):
    bench.publish(signed(forecaster(1)))
    seen_ns = forecaster(1).manifest.training.seen_ns
    newer = Situation(
        symbol="EURUSD", period_ns=HOUR, horizons=HORIZONS, newest_release=1, in_force_seen_ns=seen_ns + 1
    )
    bench.refused("an old version", situation=newer)
    early = Situation(symbol="EURUSD", period_ns=HOUR, horizons=HORIZONS, newest_release=1, now_ns=seen_ns)
    bench.refused("has seen bars up to", situation=early)
    equal = Situation(
        symbol="EURUSD", period_ns=HOUR, horizons=HORIZONS, newest_release=1, in_force_seen_ns=seen_ns,
        now_ns=seen_ns + 1,
    )  # fmt: skip
    assert admit_newest(bench.registry, equal, terms()).models


def test_one_bad_model_keeps_its_whole_release_out(bench):
    good, bad = signed(forecaster(1)), forged(forecaster(2), lambda m: m.update(feature_hash="0" * 64))
    bench.registry.publish([good, bad], active=good.model_id)
    found = admit_newest(bench.registry, SITUATION, terms())
    assert not found.models
    assert [model_id for model_id, _ in found.refused] == [bad.model_id]


def test_coverage_is_recomputed_as_training_measured_it():
    assert (LEVEL_PPM, WARM_UP) == (metrics.LEVEL_PPM, metrics.WARM_UP)
    for model in trained().artifacts:
        for horizon, scores in zip(model.manifest.horizons, model.manifest.scores, strict=True):
            row = next(r for r in model.manifest.metrics if (r.model, r.horizon) == (model.manifest.name, horizon))
            assert coverage_of(scores, horizon) == pytest.approx(row.coverage, abs=0.01)
    assert coverage_of([1.0] * 20, 1) is None


def test_the_verdict_names_the_horizons_at_which_the_random_walk_is_beaten():
    random = np.random.default_rng(4)
    walk = tuple(tuple(np.abs(random.standard_normal(600)).tolist()) for _ in HORIZONS)
    manifest = forecaster(0).manifest
    equal = msgspec.structs.replace(manifest, scores=walk, baseline_scores=walk)
    assert verdict_of(equal) == "does not beat the random walk at any horizon"
    noisy = tuple(tuple((np.asarray(s) + random.normal(0, 0.2, 600)).tolist()) for s in walk)
    assert "does not" in verdict_of(msgspec.structs.replace(equal, scores=noisy))
    better = (tuple((np.asarray(walk[0]) - 0.1 + random.normal(0, 0.2, 600)).tolist()), *noisy[1:])
    assert verdict_of(msgspec.structs.replace(equal, scores=better)) == "beats the random walk at 1 bars, not at 4, 24"


def test_a_pointer_is_sealed_over_every_byte(bench):
    whole = (bench.root / "current.json").read_bytes()
    body = whole[: whole.index(b',\n "sha256"')] + b"\n}"
    assert sealed(body) == whole
    assert msgspec.json.decode(whole)["current"] == 1
