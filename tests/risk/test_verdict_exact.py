"""Findings about forecasts and the verdict, word for word, and the figure from which each is said."""

import pytest

from risk.adherence.findings import forecast_findings, verdict
from risk.adherence.records import Finding, ForecastRow, LevelRow, Money
from tests.harness.desk import RIDGE, a_trade


def found(rule, severity, subject, value, limit, sentence):
    return Finding(rule=rule, severity=severity, subject=subject, value=value, limit=limit, sentence=sentence)


# --- forecasts -----------------------------------------------------------------------------------------------------


def row(**fields):
    values = {"symbol": "EURUSD", "model_id": RIDGE, "active": True, "random_walk": False, "derived": False,
              "horizon": 4, "n": 500, "levels": (), "mae_pips": 1.0, "rmse_pips": 1.0, "crps_pips": 1.0, "hits": 200,
              "calls": 400, "hit_rate": 0.5, "hit_low": 0.4, "hit_high": 0.6, "skill": 0.0123, "crps_t": 1.0,
              "leak_suspected": False} | fields  # fmt: skip
    return ForecastRow(**values)


def level(low, high, nominal=0.9):
    return LevelRow(level=nominal, n=300, covered=250, measured=0.833, low=low, high=high, mean_width_pips=1.0,
                    winkler_pips=1.0)  # fmt: skip


def test_intervals_that_promise_too_much_or_too_little_are_found_of_models_that_trade():
    assert forecast_findings([row(levels=(level(0.78, 0.899),))], 1, 0) == [
        found("coverage_low", "warning", f"EURUSD {RIDGE}, 4 bars ahead, 90 %", "83.3 % of 300", "90.0 %",
              "The intervals held the truth less often than they promise."),
    ]  # fmt: skip
    assert forecast_findings([row(horizon=1, levels=(level(0.501, 0.6, 0.5),))], 1, 0) == [
        found("coverage_high", "info", f"EURUSD {RIDGE}, 1 bar ahead, 50 %", "83.3 % of 300", "50.0 %",
              "The intervals held the truth more often than they promise: they are wider than need be."),
    ]  # fmt: skip
    assert forecast_findings([row(levels=(level(0.9, 0.95), level(0.8, 0.9)))], 1, 0) == []
    idle, busy = row(active=False, levels=(level(0.7, 0.8),)), row(levels=(level(0.7, 0.8),))
    assert len(forecast_findings([idle, busy], 1, 0)) == 1


def test_a_hit_rate_too_good_to_be_true_is_critical_where_chance_is_ruled_out():
    sure = row(active=False, leak_suspected=True, hit_rate=0.8)
    (said,) = forecast_findings([sure], 1, 0)
    assert said == found(
        "suspected_leak", "critical", f"EURUSD {RIDGE}, 4 bars ahead", "80.0 % of 400", "55.0 %",
        "So high a hit rate is not believed: look for a leak of the future before anything else.",
    )  # fmt: skip
    (said,) = forecast_findings([row(leak_suspected=True, hit_rate=0.56)], 1, 0)
    assert (said.severity, said.value) == ("warning", "56.0 % of 400")
    assert said.sentence == (
        "So high a hit rate is not believed: look for a leak of the future before anything else. About 100 of these"
        " forecasts do not overlap, and their 95 % interval, 45.7 % to 65.9 %, allows for chance as well."
    )
    (said,) = forecast_findings([row(leak_suspected=True, hit_rate=1.0, calls=3)], 1, 0)
    assert "About 1 of these forecasts do not overlap, and their 95 % interval, 2.5 % to 100.0 %" in said.sentence


def test_more_than_one_forecast_in_a_hundred_may_not_be_missed():
    assert forecast_findings([], 99, 1) == []
    assert forecast_findings([], 98, 1) == [
        found("forecasts_came", "warning", "inference", "1.0 %", "1.0 %",
              "1 forecasts did not come; the strategies received none for those bars."),
    ]  # fmt: skip
    assert forecast_findings([], 0, 5)[0].value == "100.0 %"
    assert forecast_findings([], 0, 0) == []


# --- the verdict ---------------------------------------------------------------------------------------------------

LAST = "One run on one stretch of data is one sample: it says little about the next, and nothing here promises profit."


def trades(nets, **fields):
    return [a_trade(number, money=Money(net=net), **fields) for number, net in enumerate(nets)]


def judged(nets, *rows, **fields):
    return verdict(trades(nets, **fields), rows)


@pytest.mark.parametrize(
    ("nets", "sentence"),
    [
        ([], "No trade was closed, so there is no profit to judge."),
        ([5], "1 closed trades are too few to tell their mean net profit from chance."),
        ([8, 12] * 15, "The mean net profit of 30 trades is above zero by 26.9 standard errors."),
        ([8, 12] * 14 + [10],
         "The mean net profit stands 26.9 standard errors above zero, but 29 trades are too few to count."),
        ([-8, -12] * 15,
         "The mean net profit of 30 trades is below zero by 26.9 standard errors: costs included, it loses."),
        ([8, -8] * 15 + [1], "The mean net profit of 31 trades cannot be told from zero (t = 0.0, needed: 2.0)."),
        ([9, -5] * 25, "The mean net profit of 50 trades cannot be told from zero (t = 2.0, needed: 2.0)."),
        ([1, 3], "The mean net profit of 2 trades cannot be told from zero (t = 2.0, needed: 2.0)."),
        ([-1, -3], "The mean net profit of 2 trades cannot be told from zero (t = -2.0, needed: 2.0)."),
    ],
)  # fmt: skip
def test_the_verdict_on_profit_is_one_sentence(nets, sentence):
    result = judged(nets)

    assert result.sentences == (
        sentence, "No forecast of an active model was resolved, so there is no skill to judge.", LAST,
    )  # fmt: skip
    assert (result.edge, result.headline, result.trades) == (False, "No edge after costs", len(nets))
    assert result.mean_net == (sum(nets) / len(nets) if nets else 0.0)
    assert (result.crps_t, result.horizon, result.model_id) == (None, 0, "")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"crps_t": None}, f"The 500 forecasts of {RIDGE}, 4 bars ahead, are too few to compare with the random walk."),
        ({"crps_t": 2.01},
         f"The forecasts of {RIDGE}, 4 bars ahead, beat the random walk by 1.2 % in CRPS (t = 2.0, n = 500)."),
        ({"crps_t": -2.01, "horizon": 1},
         f"The forecasts of {RIDGE}, 1 bar ahead, are worse than the random walk (CRPS t = -2.0, n = 500)."),
        ({"crps_t": 2.0, "n": 9},
         f"The forecasts of {RIDGE}, 4 bars ahead, cannot be told from the random walk (CRPS t = 2.0, n = 9)."),
        ({"crps_t": -2.0, "n": 9},
         f"The forecasts of {RIDGE}, 4 bars ahead, cannot be told from the random walk (CRPS t = -2.0, n = 9)."),
    ],
)  # fmt: skip
def test_the_verdict_on_skill_is_one_sentence(fields, sentence):
    result = judged([], row(**fields))

    assert result.sentences == ("No trade was closed, so there is no profit to judge.", sentence, LAST)
    assert (result.crps_t, result.horizon, result.model_id) == (fields["crps_t"], fields.get("horizon", 4), RIDGE)


def test_an_edge_needs_profit_skill_and_no_leak():
    good, nets = row(crps_t=3.0), [8, 12] * 15
    result = judged(nets, good)

    assert (result.edge, result.headline) == (True, "An edge after costs in this sample")
    assert result.profit_t == pytest.approx(26.926, abs=1e-3)
    assert not judged(nets[:29], good).edge
    assert not judged([9, -5] * 25, good).edge
    assert not judged(nets, row(crps_t=2.0)).edge
    assert not judged([-net for net in nets], good).edge
    leak = row(model_id="other", leak_suspected=True)
    leaking = judged(nets, good, leak)
    assert not leaking.edge
    assert leaking.sentences[2:] == (
        "A suspected leak of the future makes every figure of skill worthless until it is explained.", LAST,
    )  # fmt: skip
    assert judged(nets, good, row(model_id="idle", active=False, leak_suspected=True)).edge
    assert judged(nets, good, row(random_walk=True, leak_suspected=True)).edge


def test_skill_counts_where_it_was_traded_on():
    rows = [row(horizon=1, crps_t=5.0), row(horizon=4, crps_t=-1.0), row(horizon=4, symbol="USDJPY", crps_t=3.0),
            row(horizon=4, model_id="other", crps_t=4.0), row(random_walk=True, crps_t=None),
            row(active=False, crps_t=9.0)]  # fmt: skip

    assert judged([1, 2], *rows).crps_t == -1.0
    assert judged([1, 2], *rows, symbol="USDJPY").crps_t == 3.0
    assert judged([1, 2], *rows, model_id="other").crps_t == 4.0
    assert judged([1, 2], *rows, horizon=1).crps_t == 5.0
    still_open = trades([1, 2, 3], symbol="USDJPY", ts_close_ns=0)
    assert verdict([*trades([1, 2]), *still_open], rows).crps_t == -1.0
    assert verdict([*trades([1, 2]), *still_open], rows).trades == 2
