import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.values import default_instrument
from risk.sizing import METHODS, SizingSettings, size_e2
from tests.harness.books import entry

EURUSD = default_instrument("EURUSD")


def size(settings_, intent=None, equity=1_000_000, multiplier_ppm=1_000_000, price_e5=120_008):
    return size_e2(intent or entry(distance=300), settings_, EURUSD, equity=equity, price_e5=price_e5,
                   rate_e8=10**8, money_digits=2, multiplier_ppm=multiplier_ppm)  # fmt: skip


def test_fixed_is_a_number_of_lots():
    assert size(SizingSettings(method="fixed", fixed_lots_e2=25)) == 2_500_000


def test_percent_loses_that_share_at_the_stop():
    # 10 000.00 USD, 1 % = 100 USD; 30 pips = 0.003: 33 333 EUR, down to a step of 1 000.
    assert size(SizingSettings(risk_pct_e2=100, max_pct_equity=1_000)) == 3_300_000


def test_volatility_makes_one_sigma_worth_that_share():
    # 0.25 % = 25 USD; sigma 15 pips = 0.0015: 16 666 EUR.
    assert size(SizingSettings(method="volatility")) == 1_600_000


def test_kelly_is_a_part_of_the_growth_optimal_fraction_under_two_caps():
    # edge 2 pips, sigma 150 pips at 1.20008: f = 0.0002 * 1.2 / 0.015^2 = 1.067; a quarter of that of 10 000 / 1.2.
    intent = entry(distance=300, edge_e5=20, scale_e5=1500)
    wide = SizingSettings(method="kelly", risk_pct_e2=10_000, max_pct_equity=200_000)
    assert size(wide, intent) == 200_000
    loud = entry(distance=300, edge_e5=2_000, scale_e5=500)
    assert size(SizingSettings(method="kelly", risk_pct_e2=10_000), loud) == 2_400_000  # 300 % of equity
    assert size(SizingSettings(method="kelly", risk_pct_e2=50), loud) == 1_600_000  # 50 USD at 30 pips


@pytest.mark.parametrize("method", ["percent", "volatility", "kelly"])
def test_a_near_stop_does_not_size_beyond_the_cap(method):
    intent = entry(distance=10, scale_e5=1, edge_e5=10)
    assert size(SizingSettings(method=method), intent) == 2_400_000


def test_without_anything_to_go_by_the_size_is_nothing():
    assert size(SizingSettings(), entry(stop_loss_e5=0)) == 0
    assert size(SizingSettings(method="volatility"), entry(scale_e5=0)) == 0
    assert size(SizingSettings(method="kelly"), entry(edge_e5=0)) == 0
    assert all(size(SizingSettings(method=m), equity=e) == 0 for m in METHODS for e in (0, -5))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(METHODS), st.integers(1, 10**10), st.integers(0, 10**6), st.integers(1, 3_000),
       st.integers(1, 2_000), st.integers(-50, 500))  # fmt: skip
def test_size_is_a_possible_volume_and_never_grows_with_less_coverage(method, equity, ppm, distance, scale, edge):
    intent = entry(distance=distance, scale_e5=scale, edge_e5=edge)
    whole = size(SizingSettings(method=method), intent, equity)
    less = size(SizingSettings(method=method), intent, equity, ppm)
    assert 0 <= less <= whole
    for volume in (whole, less):
        assert volume == 0 or (volume % EURUSD.step_volume_e2 == 0 and volume >= EURUSD.min_volume_e2)
    if method == "percent":
        assert whole * distance * 10_000 <= equity * 50 * 100_000


def test_measured_coverage_scales_last():
    assert size(SizingSettings(method="fixed", fixed_lots_e2=10), multiplier_ppm=250_000) == 200_000
    assert size(SizingSettings(method="fixed", fixed_lots_e2=1), multiplier_ppm=500_000) == 0
