"""When models are trained anew: for a drift of one that trades and that nothing has answered, and for their age."""

import pytest
from msgspec.structs import replace

from bus.errors import ModelError
from bus.messages import DriftChanged, ModelPromoted, ModelRolledBack
from bus.values import NS_PER_DAY, NS_PER_HOUR
from daemon.drifted import drifts, why_train
from daemon.journal import OUTPUT, Journal
from daemon.state import State
from models.registry import Registry
from models.train import fit_defaults
from tests.harness.markets import made_up_bars

DRIFT = DriftChanged(
    symbol="EURUSD", model_id="m-1", kind="data", horizon=0, active=True, before="ok", after="warn", what="returns",
    value_pct_e2=2_500, limit_pct_e2=2_000, n=200, multiplier_ppm=500_000, reason="returns differ by 25 %",
    ts_init_ns=1,
)  # fmt: skip


def swapped(kind, model, replaced):
    return kind(symbol="EURUSD", model_id=model, replaced=replaced, rule="operator", reason="", ts_init_ns=2)


def test_the_newest_word_on_each_kind_and_horizon_counts():
    performance = replace(DRIFT, kind="performance", horizon=4, after="block")
    assert drifts([DRIFT, performance, replace(DRIFT, value_pct_e2=2_600)]) == (
        replace(DRIFT, value_pct_e2=2_600), performance,
    )  # fmt: skip
    assert drifts([DRIFT, replace(DRIFT, before="warn", after="ok")]) == ()
    assert drifts([replace(DRIFT, after="unmeasured"), replace(DRIFT, active=False)]) == ()


def test_a_model_that_trades_no_more_is_not_what_is_to_be_replaced():
    other = replace(DRIFT, symbol="USDJPY")
    for kind in (ModelPromoted, ModelRolledBack):
        assert drifts([DRIFT, other, swapped(kind, "m-2", "m-1")]) == (other,)
        assert drifts([DRIFT, swapped(kind, "m-1", "m-0")]) == (DRIFT,)


@pytest.fixture(scope="module")
def trained():
    bars = made_up_bars(1600, 5)
    return [fit_defaults(bars.slice(0, 1200), bars.slice(1200, 1600), horizons=(1,), seed=seed, names=("ridge",))
            for seed in (1, 2)], int(bars.ts_open_ns[-1]) + NS_PER_HOUR  # fmt: skip


def written(folder, messages):
    journal = Journal(folder)
    for message in messages:
        journal.append(OUTPUT, message)
    journal.close()


def asked(state, now_ns, older_than_d=0):
    return why_train(state, Registry(state.models), older_than_d=older_than_d, now_ns=now_ns)


def test_nothing_published_is_a_reason(tmp_path):
    assert asked(State(tmp_path), 1) == ("nothing was published yet",)


def test_a_drift_is_a_reason_until_another_model_was_trained(tmp_path, trained):
    (first, second), seen_ns = trained
    state, registry = State(tmp_path), Registry(tmp_path / "models")
    state.create()
    registry.publish(first.artifacts, active=first.active)
    assert asked(state, seen_ns) == ()
    run = state.new_run()
    assert asked(state, seen_ns) == (), "a run that has just begun has nothing to say"
    written(run.journal, [replace(DRIFT, model_id=first.active)])
    assert asked(state, seen_ns) == (f"EURUSD {first.active}: returns differ by 25 %",)
    registry.publish(second.artifacts, active=second.active, stage=True)
    assert asked(state, seen_ns) == ()


def test_age_is_counted_from_the_newest_bar_that_was_seen(tmp_path, trained):
    (first, _), seen_ns = trained
    state = State(tmp_path)
    state.create()
    Registry(state.models).publish(first.artifacts, active=first.active)
    assert asked(state, seen_ns + 30 * NS_PER_DAY, 31) == ()
    assert asked(state, seen_ns + 32 * NS_PER_DAY, 31) == (
        f"EURUSD {first.active}: has seen nothing of the last 32 days",
    )  # fmt: skip
    assert asked(state, seen_ns + 400 * NS_PER_DAY) == (), "0 = however old"


def test_a_manifest_that_cannot_be_read_is_an_error_and_not_a_reason(tmp_path, trained):
    (first, _), seen_ns = trained
    state = State(tmp_path)
    state.create()
    Registry(state.models).publish(first.artifacts, active=first.active)
    next(state.models.glob("*/*/manifest.json")).write_text("{")
    with pytest.raises(ModelError):
        asked(state, seen_ns)
