"""What people see of the gates on models."""

from bus.messages import CoverageChanged, DriftChanged, GateChanged, ModelAdmitted, ModelRetired
from daemon.gateboard import GateBoard
from daemon.status import Status


def coverage(after, before="ok", *, active=True, model_id="ridge-1", left=500_000):
    return CoverageChanged(symbol="EURUSD", model_id=model_id, horizon=4, active=active, before=before, after=after,
                           n=100, covered=70, nominal_ppm=900_000, upper_ppm=800_000, sum_pct=80, multiplier_ppm=left,
                           wide=False, reason="70 of 100 covered", ts_init_ns=1)  # fmt: skip


def drift(after, horizon=0):
    return DriftChanged(symbol="EURUSD", model_id="ridge-1", kind="data", horizon=horizon, active=True, before="ok",
                        after=after, what="returns", value_pct_e2=4_000, limit_pct_e2=2_000, n=500, multiplier_ppm=0,
                        reason="returns: 40 %", ts_init_ns=1)  # fmt: skip


def gate(after, gate="anomaly", *, active=False):
    return GateChanged(symbol="EURUSD", model_id="forest-1", gate=gate, active=active, before="ok", after=after,
                       multiplier_ppm=500_000, reason="unusual_bar", ts_init_ns=1)  # fmt: skip


def test_gates_that_are_not_open_are_shown_with_what_they_let_through_until_they_open():
    board = GateBoard(10)
    told = [board.take(each) for each in (coverage("degraded"), drift("block"), gate("closed"))]
    assert board.shown() == {
        "EURUSD coverage 4 bars ahead, ridge-1": "50 % of size: 70 of 100 covered",
        "EURUSD data drift, ridge-1": "no new risk: returns: 40 %",
        "EURUSD anomaly, forest-1": "50 % of size: unusual_bar",
    }
    assert told[0] == "EURUSD: coverage 4 bars ahead ok to degraded (ridge-1): 70 of 100 covered"
    assert all(told)
    board.take(coverage("ok", "degraded"))
    board.forget("forest-1")
    assert list(board.shown()) == ["EURUSD data drift, ridge-1"]


def test_what_is_no_news_gets_no_line():
    board = GateBoard(10)
    for each in (coverage("ok", "unmeasured"), coverage("ok"), coverage("blocked", active=False),
                 gate("closed", "forecasts")):  # fmt: skip
        assert board.take(each) == ""
    assert board.shown(), "but shadows are in the table"


def test_the_table_is_bounded():
    board = GateBoard(2)
    for number in range(5):
        board.take(coverage("blocked", model_id=f"m-{number}"))
    assert len(board.shown()) == 2


def test_the_status_follows_gates_and_forgets_models_that_are_gone_or_begin_anew():
    status = Status(progress_total=10)
    status.apply(coverage("blocked", left=0))
    shown = status.snapshot(1.0)
    assert shown.gates == {"EURUSD coverage 4 bars ahead, ridge-1": "no new risk: 70 of 100 covered"}
    assert "blocked" in shown.events[-1][1]
    status.apply(ModelRetired(symbol="EURUSD", model_id="ridge-1", reason="", ts_init_ns=2))
    assert not status.snapshot(2.0).gates
    status.apply(coverage("blocked"))
    status.apply(ModelAdmitted(model_id="ridge-1", kind="ridge", symbol="EURUSD", active=True, horizons=(), scores=(),
                               ts_init_ns=3))  # fmt: skip
    assert not status.snapshot(3.0).gates
