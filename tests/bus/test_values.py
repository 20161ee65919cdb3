"""Integer units: one rounding rule, exact conversions."""

from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.errors import DataError
from bus.values import (
    LARGEST,
    RATE_SCALE,
    Instrument,
    Side,
    default_instrument,
    divide_half_away,
    e5_to_price,
    money,
    price_to_e5,
    quote_to_account_rate_e8,
)

_integers = st.integers(-(10**24), 10**24)
INSTRUMENTS = [default_instrument(symbol) for symbol in ("EURUSD", "USDJPY", "GBPCHF", "XAUUSD")]
MIDS = {"EURUSD": 110_000, "USDJPY": 15_000_000, "GBPCHF": 112_000, "XAUUSD": 240_000_000}


def half_away(value):
    """The rule, said in another way: add a half to the magnitude, cut the rest off, put the sign back."""
    magnitude = int(abs(value) + Fraction(1, 2))
    return magnitude if value >= 0 else -magnitude


@settings(max_examples=300, deadline=None)
@given(numerator=_integers, denominator=_integers.filter(bool))
def test_division_rounds_half_away_from_zero(numerator, denominator):
    assert divide_half_away(numerator, denominator) == half_away(Fraction(numerator, denominator))


@pytest.mark.parametrize(
    ("numerator", "denominator", "result"),
    [(1, 2, 1), (-1, 2, -1), (3, 2, 2), (-3, 2, -2), (5, 2, 3), (-5, -2, 3), (5, -2, -3),
     (1, 3, 0), (-2, 3, -1), (0, 7, 0)],
)  # fmt: skip
def test_halves_go_away_from_zero_whatever_the_signs(numerator, denominator, result):
    assert divide_half_away(numerator, denominator) == result


def test_division_by_zero_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        divide_half_away(1, 0)


@settings(max_examples=300, deadline=None)
@given(price_e5=st.integers(-LARGEST // 100, LARGEST // 100))
def test_a_price_survives_the_way_through_a_float(price_e5):
    assert price_to_e5(e5_to_price(price_e5)) == price_e5


@settings(max_examples=300, deadline=None)
@given(price=st.decimals(min_value=-100_000, max_value=100_000, places=7, allow_nan=False))
def test_a_printed_price_becomes_the_nearest_unit(price):
    exact = price * 100_000
    nearest = int(exact.quantize(Decimal(1), rounding=ROUND_HALF_UP))
    off = abs(exact - int(exact))
    # A tie in decimal need not be one in the float that carries it: then either neighbour is nearest.
    assert price_to_e5(float(price)) == nearest or abs(off - Decimal("0.5")) < Decimal("0.0001")


@pytest.mark.parametrize("price", [float("nan"), float("inf"), float("-inf"), 1e30, -1e30])
def test_what_is_no_price_is_refused(price):
    with pytest.raises(DataError, match="not a price"):
        price_to_e5(price)


@settings(max_examples=200, deadline=None)
@given(
    volume=st.integers(0, 10**12),
    difference=st.integers(-(10**8), 10**8),
    rate=st.integers(1, 10**12),
    digits=st.integers(0, 4),
)
def test_money_is_the_exact_product_rounded_once(volume, difference, rate, digits):
    exact = Fraction(volume, 100) * Fraction(difference, 100_000) * Fraction(rate, 10**8) * 10**digits
    assert money(volume, difference, rate, digits) == half_away(exact)
    assert money(volume, -difference, rate, digits) == -money(volume, difference, rate, digits)


def test_one_pip_of_one_lot_of_eurusd_is_ten_dollars():
    eurusd = default_instrument("EURUSD")
    assert money(eurusd.lot_e2, eurusd.pip_e5, RATE_SCALE, 2) == 1_000


@pytest.mark.parametrize(
    ("quote", "account", "rate"),
    [
        ("USD", "USD", Fraction(1)),
        ("USD", "EUR", 1 / Fraction("1.1")),
        ("EUR", "USD", Fraction("1.1")),
        ("JPY", "USD", 1 / Fraction(150)),
        ("JPY", "EUR", 1 / Fraction(150) / Fraction("1.1")),
        ("EUR", "JPY", Fraction("1.1") * 150),
    ],
)
def test_rates_go_through_at_most_two_symbols_multiplying_for_the_base(quote, account, rate):
    assert quote_to_account_rate_e8(quote, account, INSTRUMENTS, MIDS) == half_away(rate * 10**8)


@pytest.mark.parametrize(("quote", "account"), [("CHF", "USD"), ("SEK", "USD"), ("USD", "SEK")])
def test_assets_that_nothing_links_have_no_rate(quote, account):
    assert quote_to_account_rate_e8(quote, account, INSTRUMENTS, MIDS) is None


def test_a_symbol_without_a_price_links_nothing():
    assert quote_to_account_rate_e8("EUR", "USD", INSTRUMENTS, {}) is None
    assert quote_to_account_rate_e8("EUR", "USD", INSTRUMENTS, {"EURUSD": 0}) is None


@settings(max_examples=100, deadline=None)
@given(mid=st.integers(1_000, 10**7))
def test_there_and_back_again_is_one(mid):
    mids = {"EURUSD": mid}
    there = quote_to_account_rate_e8("EUR", "USD", INSTRUMENTS, mids)
    back = quote_to_account_rate_e8("USD", "EUR", INSTRUMENTS, mids)
    assert abs(there * back - 10**16) <= (there + back) / 2 + 1


@settings(max_examples=200, deadline=None)
@given(volume=st.integers(0, 10**11), instrument=st.sampled_from(INSTRUMENTS))
def test_a_floored_volume_can_be_ordered_and_never_grew(volume, instrument):
    floored = instrument.floor_volume_e2(volume)
    assert 0 <= floored <= volume
    assert floored % instrument.step_volume_e2 == 0
    assert floored == 0 or floored >= instrument.min_volume_e2
    assert floored == 0 or volume - floored < instrument.step_volume_e2


@settings(max_examples=200, deadline=None)
@given(price=st.integers(-(10**9), 10**9), instrument=st.sampled_from(INSTRUMENTS))
def test_a_rounded_price_shows_no_more_digits_than_the_instrument(price, instrument):
    rounded = instrument.round_price_e5(price)
    assert rounded % instrument.point_e5 == 0
    assert 2 * abs(rounded - price) <= instrument.point_e5


@pytest.mark.parametrize(
    ("symbol", "pip_e5", "digits"),
    [("EURUSD", 10, 5), ("usdjpy", 1_000, 3), ("EURHUF", 1_000, 3), ("XAUUSD", 10_000, 2)],
)
def test_default_instruments_have_the_customary_pip(symbol, pip_e5, digits):
    instrument = default_instrument(symbol)
    assert (instrument.symbol, instrument.pip_e5, instrument.digits) == (symbol.upper(), pip_e5, digits)
    assert (instrument.base, instrument.quote) == (symbol.upper()[:3], symbol.upper()[3:])


@pytest.mark.parametrize("symbol", ["", "EUR", "EURUSD1", "EUR/US", "US30.x"])
def test_a_symbol_that_is_no_pair_must_be_described(symbol):
    with pytest.raises(DataError, match=r"describe it under \[instruments\]"):
        default_instrument(symbol)


def test_sides_are_signs_and_each_closes_the_other():
    assert (Side.BUY, Side.SELL) == (1, -1)
    assert all(side.opposite == -side and side.opposite.opposite is side for side in Side)
    assert isinstance(Instrument(symbol="X", base="A", quote="B").point_e5, int)
