import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.values import LARGEST, Side, default_instrument
from risk.sizing import METHODS, SizingSettings, size_e2, stop_distance_e5
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


def test_one_unit_of_equity_and_a_price_of_one_point_are_sized_like_any_other():
    tiny = SizingSettings(method="fixed", fixed_lots_e2=1)
    assert size(tiny, equity=1) == size(tiny, price_e5=1) == 100_000
    for nothing in ({"equity": 0}, {"equity": -1}, {"price_e5": 0}, {"price_e5": -1}):
        assert size(tiny, **nothing) == 0
    for rate_e8, wanted in ((0, 0), (-1, 0), (1, 100_000)):
        found = size_e2(entry(), tiny, EURUSD, equity=1, price_e5=1, rate_e8=rate_e8, money_digits=2,
                        multiplier_ppm=1_000_000)  # fmt: skip
        assert found == wanted


def test_the_smallest_edge_sizes_and_none_does_not():
    kelly = SizingSettings(method="kelly", risk_pct_e2=10_000, max_pct_equity=200_000, kelly_fraction_pct=100)
    rich = {"equity": 10**12}
    assert size(kelly, entry(edge_e5=1), **rich) > 0
    assert size(kelly, entry(edge_e5=0), **rich) == size(kelly, entry(edge_e5=-1), **rich) == 0


def test_a_stop_at_a_price_of_one_point_is_a_stop():
    assert stop_distance_e5(entry(stop_loss_e5=1), 120_008) == 120_007
    assert stop_distance_e5(entry(stop_loss_e5=0), 120_008) == 0
    assert stop_distance_e5(entry(stop_loss_e5=120_008), 120_008) == 0
    assert stop_distance_e5(entry(stop_loss_e5=120_009), 120_008) == 0
    assert stop_distance_e5(entry(side=Side.SELL, stop_loss_e5=120_009), 120_008) == 1


def down(value, step):
    return math.floor(value / step) * step


@settings(max_examples=300, deadline=None)
@given(
    method=st.sampled_from(METHODS),
    equity=st.integers(1, 10**13),
    price_e5=st.integers(2, 3 * 10**7),
    rate_e8=st.integers(1, 10**10),
    distance=st.integers(1, 3_000),
    scale=st.integers(1, 2_000),
    edge=st.integers(1, 500),
    share=st.integers(1, 10_000),
    cap=st.integers(1, 2_000),
    ppm=st.integers(1, 1_000_000),
)
def test_the_volume_is_what_fractions_give_rounded_down_where_money_and_volumes_are_whole(
    method, equity, price_e5, rate_e8, distance, scale, edge, share, cap, ppm
):
    """No float anywhere: beyond 2**53 a float would already be another number."""
    chosen = SizingSettings(method=method, fixed_lots_e2=share, risk_pct_e2=share, volatility_pct_e2=share,
                            kelly_fraction_pct=1 + share % 100, max_pct_equity=cap)  # fmt: skip
    stop = price_e5 - distance
    intent = entry(stop_loss_e5=max(stop, 0), scale_e5=scale, edge_e5=edge)
    found = size_e2(intent, chosen, EURUSD, equity=equity, price_e5=price_e5, rate_e8=rate_e8, money_digits=2,
                    multiplier_ppm=ppm)  # fmt: skip

    def carried(money, move_e5):
        """Units (in 1/100) for which a move is worth the money (cents)."""
        per_unit = Fraction(move_e5, 10**5) * Fraction(rate_e8, 10**8) * 100
        return math.floor(money / per_unit * 100)

    at_risk = carried(down(Fraction(equity * share, 10_000), 1), distance) if stop > 0 else 0
    if method == "fixed":
        volume = share * EURUSD.lot_e2 // 100
    elif method == "percent":
        volume = at_risk
    elif method == "volatility":
        volume = carried(down(Fraction(equity * share, 10_000), 1), scale)
    else:
        fraction = Fraction(edge * price_e5, scale * scale) * Fraction(1 + share % 100, 100)
        volume = min(carried(math.floor(equity * fraction), price_e5), at_risk)
    if method != "fixed":
        volume = min(volume, carried(down(Fraction(equity * cap, 100), 1), price_e5))
    volume = min(math.floor(Fraction(volume * ppm, 1_000_000)), LARGEST)
    volume = down(volume, EURUSD.step_volume_e2)
    assert found == (volume if volume >= EURUSD.min_volume_e2 else 0)
    assert type(found) is int
