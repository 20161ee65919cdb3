"""The gate through 5,000 histories of 200 steps: what it accepts breaks no limit, whoever counts."""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import risk.limits
from tests.harness.gatekeeper import STEPS, Driver

CHUNKS, HISTORIES = 25, 200


def through(r, steps):
    """The driver at the end, and what was wrong first."""
    driver = Driver(r)
    for at in range(steps):
        wrong = driver.step()
        if wrong:
            return driver, f"step {at}: {wrong}"
    return driver, ""


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_no_accepted_sequence_breaks_a_limit_and_nonsense_and_tighter_limits_are_never_allowed_more(chunk):
    met, accepted = set(), 0

    @settings(max_examples=HISTORIES, deadline=None, database=None, derandomize=True, report_multiple_bugs=False)
    @given(st.integers(0, 2**32))
    def histories(seed):
        nonlocal accepted
        driver, wrong = through(random.Random(f"gate {chunk} {seed}"), STEPS)
        assert not wrong, f"history {chunk} {seed}, {wrong}"
        met.update(driver.rules)
        accepted += driver.accepted

    histories()
    # Otherwise the histories show nothing: entries were accepted, and limits of every kind met.
    assert accepted > HISTORIES
    assert met >= {"position_size", "exposure", "leverage", "margin", "currency_exposure", "open_positions",
                   "order_rate", "cancel_rate", "slippage_budget", "losing_streak", "spread"}  # fmt: skip
    assert met & {"daily_loss", "trailing_drawdown", "static_drawdown", "intraday_drawdown", "weekly_loss"}


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False))
def test_the_same_of_short_histories_that_shrink_to_the_fewest_steps(r):
    _, wrong = through(r, 25)
    assert not wrong


@pytest.mark.parametrize(
    "rule",
    [rule.ask.__name__ for rule in risk.limits.RULES if rule.ask.__name__ in {
        "spread", "stale_quote", "price_collar", "stop_distance", "order_rate", "cancel_rate", "slippage_budget",
        "losing_streak", "open_positions", "position_size", "exposure", "leverage", "currency_exposure", "margin_use",
        "margin", "order_volume", "daily_loss", "static_drawdown", "clock",
    }],
)  # fmt: skip
def test_the_witness_notices_when_a_limit_is_forgotten(rule, monkeypatch):
    kept = tuple(entry for entry in risk.limits.RULES if entry.ask.__name__ != rule)
    monkeypatch.setattr(risk.limits, "ASKED", risk.limits.in_order(kept))
    assert any(through(random.Random(f"gate {seed}"), STEPS)[1] for seed in range(300))
