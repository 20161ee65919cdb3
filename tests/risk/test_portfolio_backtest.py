"""Value at risk on ten real pairs, through the spring of 2020."""

import pytest

from tests.harness.backtest import HOURS, followed, hours

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not HOURS.is_dir(), reason="needs ten pairs of hourly prices in ../shared/data"),
]
SPRING = (25_000, 26_800)  # November 2019 to April 2020: calm, then anything but


@pytest.fixture(scope="module")
def spring():
    times, prices = hours(start=SPRING[0], stop=SPRING[1])
    return {
        method: followed(method, 9_900, prices, times, books=10, aheads=(1,))[0]
        for method in ("filtered", "historical")
    }


def test_the_loss_stays_within_the_value_at_risk_as_often_as_promised(spring):
    assert 0.005 < spring["filtered"].misses < 0.016
    assert spring["filtered"].most < 0.025
    assert 0.9 < spring["filtered"].severity < 1.3


def test_what_happened_without_the_volatility_of_now_promises_too_much_in_a_crisis(spring):
    assert spring["historical"].misses > 1.3 * spring["filtered"].misses
