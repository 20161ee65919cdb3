from datetime import UTC, datetime

import msgspec
import pytest

from adapters.exchange import ExecutionModel
from bus.calendar import to_ns
from bus.errors import DataError
from bus.messages import OrderRejected, SwapCharged
from bus.values import Instrument, OrderType, Side, default_instrument
from tests.harness.exchange import EURUSD, LOT_E2, PLAIN, Desk, fills

BUY, SELL = Side.BUY, Side.SELL


def amounts(facts):
    return [(f.amount, f.nights) for f in facts if isinstance(f, SwapCharged)]


def test_the_worked_example_of_the_brokers_reference_comes_out_to_the_cent():
    # 10.4: EURUSD, 0.10 lot, 0.25 a side; the reference charges 2.50 a lot, which here is 22.21 a million.
    desk = Desk(msgspec.structs.replace(EURUSD, commission_per_million_e2=2_221))
    desk.quote(112_567, 112_569)
    opened = desk.order(BUY, 1_000_000, stop=112_369, target=112_969)
    assert (fills(opened)[0].price_e5, fills(opened)[0].commission, fills(opened)[0].balance) == (
        112_569,
        -25,
        1_000_000,
    )
    assert (opened[-1].stop_loss_e5, opened[-1].take_profit_e5) == (112_369, 112_969)
    assert desk.exchange.used_margin == 11_257
    assert desk.exchange.balance == 1_000_000
    desk.quote(112_600, 112_602)
    assert desk.exchange.equity == 1_000_000 + 310 - 25
    half = fills(desk.order(SELL, 500_000, closes="P1"))[0]
    assert (half.gross_profit, half.commission, half.booked_commission, half.booked_swap) == (155, -13, -26, 0)
    assert half.balance == desk.exchange.balance == 1_000_129
    assert desk.exchange.positions[0].commission == -12  # the remainder, so that 13 + 12 = 25
    assert desk.exchange.used_margin == 5_628
    rest = fills(desk.order(SELL, 500_000, closes="P1"))[0]
    assert rest.booked_commission == -12 - 13


def test_opening_moves_no_balance_and_closing_books_four_parts():
    desk = Desk(model=msgspec.structs.replace(PLAIN, conversion_fee_bp=70))  # no fee where nothing is converted
    desk.quote(110_000)
    desk.order(SELL)
    assert desk.exchange.balance == 1_000_000
    desk.quote(110_090)
    deal = fills(desk.order(BUY, closes="P1"))[0]
    assert (deal.gross_profit, deal.conversion_fee) == (-10_000, 0)
    assert deal.balance == 1_000_000 + deal.gross_profit + deal.booked_commission


def test_swap_is_charged_at_17_00_new_york_and_three_times_on_wednesday():
    desk = Desk(default_instrument("EURUSD"))
    desk.quote(110_000)
    desk.order(BUY)
    desk.order(SELL)
    tuesday_ns = to_ns(datetime(2023, 11, 14, 22, tzinfo=UTC))
    assert desk.exchange.advance(tuesday_ns - 1) == []
    night = desk.exchange.advance(tuesday_ns)
    assert amounts(night) == [(-700, 1), (100, 1)]  # 0.7 pip of a lot is 7.00
    assert {f.ts_event_ns for f in night} == {tuesday_ns}
    assert desk.exchange.advance(tuesday_ns) == []
    week = desk.exchange.advance(tuesday_ns + 7 * 86_400_000_000_000)
    assert [a for a in amounts(week) if a[0] < 0] == [(-2_100, 3), (-700, 1), (-700, 1), (-700, 1), (-700, 1)]
    assert desk.exchange.balance == 1_000_000


def test_swap_follows_new_york_into_summer_time():
    desk = Desk()
    desk.now_ns = to_ns(datetime(2024, 7, 2, 12, tzinfo=UTC))
    desk.quote(110_000)
    desk.order(BUY)
    facts = desk.exchange.advance(to_ns(datetime(2024, 7, 2, 21, tzinfo=UTC)))
    assert amounts(facts) == [(-700, 1)]


def test_a_quote_after_the_rollover_brings_the_swap_with_it():
    desk = Desk()
    desk.quote(110_000)
    desk.order(BUY)
    desk.now_ns = to_ns(datetime(2023, 11, 15, 1, tzinfo=UTC))
    assert amounts(desk.quote(110_000)) == [(-700, 1)]


def test_swap_is_booked_with_the_closed_share_and_the_last_part_takes_the_rest():
    desk = Desk(msgspec.structs.replace(EURUSD, swap_long_millipips=-5))
    desk.quote(110_000)
    desk.order(BUY, LOT_E2)
    desk.exchange.advance(desk.now_ns + 86_400_000_000_000)  # -5
    desk.now_ns += 86_400_000_000_000
    first = fills(desk.order(SELL, LOT_E2 // 2, closes="P1"))[0]
    last = fills(desk.order(SELL, LOT_E2 // 2, closes="P1"))[0]
    assert (first.booked_swap, last.booked_swap) == (-3, -2)


def test_profit_in_another_currency_is_converted_and_pays_the_conversion_fee():
    gbp, cross = default_instrument("GBPUSD"), default_instrument("EURGBP")
    desk = Desk(gbp, cross, model=msgspec.structs.replace(PLAIN, conversion_fee_bp=70))
    desk.quote(85_000, 85_000, "EURGBP")
    refusal = desk.order(BUY, symbol="EURGBP")[0]
    assert isinstance(refusal, OrderRejected)
    assert refusal.code == "NO_CONVERSION"
    desk.quote(124_990, 125_010, "GBPUSD")
    opened = fills(desk.order(BUY, symbol="EURGBP"))[0]
    assert opened.commission == -round(100_000 * 0.85 * 1.25 * 30 / 1e6 * 100)
    assert desk.exchange.used_margin == 106_250
    desk.quote(84_900, 84_900, "EURGBP")
    closed = fills(desk.order(SELL, symbol="EURGBP", closes="P1"))[0]
    assert (closed.gross_profit, closed.conversion_fee) == (-12_500, -88)  # charged on losses as well, 87.5 away


def test_margin_of_a_hedge_counts_the_larger_side():
    desk = Desk()
    desk.quote(110_000, 110_000)
    desk.order(BUY, 2 * LOT_E2)
    desk.order(SELL, LOT_E2)
    assert desk.exchange.used_margin == 220_000
    desk.order(SELL, 3 * LOT_E2)
    assert desk.exchange.used_margin == 440_000


def test_a_symbols_own_leverage_binds_where_it_is_smaller():
    desk = Desk(msgspec.structs.replace(EURUSD, leverage=20))
    desk.quote(110_000, 110_000)
    desk.order(BUY)
    assert desk.exchange.used_margin == 550_000


def test_an_order_beyond_the_margin_is_refused_and_one_within_is_not():
    desk = Desk(msgspec.structs.replace(EURUSD, commission_per_million_e2=0), balance=220_000)
    desk.quote(110_000, 110_000)
    assert desk.order(BUY, 2 * LOT_E2 + 100_000)[0].code == "NOT_ENOUGH_MONEY"
    assert fills(desk.order(BUY, 2 * LOT_E2))
    assert desk.order(BUY, 100_000)[0].code == "NOT_ENOUGH_MONEY"


def test_a_netted_account_needs_margin_only_for_what_is_left_after_turning_round():
    desk = Desk(msgspec.structs.replace(EURUSD, commission_per_million_e2=0), hedged=False, balance=220_000)
    desk.quote(110_000, 110_000)
    desk.order(BUY, 2 * LOT_E2)
    assert desk.order(SELL, 4 * LOT_E2 + 100_000)[0].code == "NOT_ENOUGH_MONEY"
    assert len(fills(desk.order(SELL, 4 * LOT_E2))) == 2


def test_stop_out_closes_the_largest_loser_first_and_stops_when_the_level_is_restored():
    desk = Desk(msgspec.structs.replace(EURUSD, commission_per_million_e2=0), balance=400_000)
    desk.quote(110_200, 110_200)
    desk.order(BUY, LOT_E2)  # P1 loses more a unit, being bought higher
    desk.quote(110_000, 110_000)
    desk.order(BUY, 2 * LOT_E2)
    assert fills(desk.quote(109_300, 109_300)) == []  # equity 1 700.00 on a margin of 3 302.00: 51 %
    deals = fills(desk.quote(109_250, 109_250))  # 1 550.00: 47 %
    assert [(d.cause, d.position_id, d.level_e5, d.client_order_id) for d in deals] == [("stop_out", "P2", 0, "c2")]
    assert [p.position_id for p in desk.exchange.positions] == ["P1"]


def test_a_jump_that_costs_more_than_all_closes_everything():
    desk = Desk(balance=300_000)
    desk.quote(110_000)
    desk.order(BUY)
    desk.order(BUY)
    assert [d.cause for d in fills(desk.quote(90_000))] == ["stop_out", "stop_out"]
    assert desk.exchange.positions == ()
    assert desk.exchange.equity == desk.exchange.balance < 0


def test_slippage_is_adverse_bounded_and_has_its_mean():
    desk = Desk(model=ExecutionModel(slippage_points=4, slippage_jitter_points=4, liquidity_e2=0), balance=10**9)
    desk.quote(110_000)
    slips = [fills(desk.order(BUY, 100_000))[0].price_e5 - 110_010 for _ in range(400)]
    assert set(slips) == set(range(9))
    assert 3.5 < sum(slips) / len(slips) < 4.5
    assert all(fills(desk.order(SELL, 100_000))[0].price_e5 <= 110_000 for _ in range(50))


def test_spreads_widen_by_moving_the_ask_and_most_around_the_rollover():
    model = ExecutionModel(spread_multiplier_pct=150, spread_min_e5=12, rollover_minutes=5, rollover_spread_pct=300)
    desk = Desk(model=model)
    rollover_ns = to_ns(datetime(2023, 11, 14, 22, tzinfo=UTC))
    seen = []
    for offset_s in (-301, -300, 0, 299, 300):
        desk.now_ns = rollover_ns + (offset_s - 1) * 1_000_000_000
        desk.quote(110_000, 110_010)
        seen.append((desk.exchange.quote("EURUSD").bid_e5, desk.exchange.quote("EURUSD").ask_e5))
    assert seen == [(110_000, 110_015), *[(110_000, 110_045)] * 3, (110_000, 110_015)]
    desk.quote(110_000, 110_002)
    assert desk.exchange.quote("EURUSD").ask_e5 == 110_012
    desk.quote(110_000, 110_100)
    assert desk.exchange.quote("EURUSD").ask_e5 == 110_150


def test_a_widened_ask_can_stop_out_a_short_that_the_quoted_one_would_not():
    desk = Desk(model=ExecutionModel(slippage_points=0, slippage_jitter_points=0))
    desk.quote(110_000, 110_010)
    desk.order(SELL, stop=110_025)
    desk.now_ns = to_ns(datetime(2023, 11, 14, 21, 58, tzinfo=UTC))
    assert fills(desk.quote(110_000, 110_010))[0].price_e5 == 110_030


@pytest.mark.parametrize(
    "field", [{"slippage_points": -1}, {"slippage_jitter_points": 3}, {"reject_pct": 101}, {"depth_levels": 0}]
)
def test_a_model_of_no_venue_is_refused_with_the_field_and_the_range(field):
    with pytest.raises(ValueError, match=f"{next(iter(field))} = .* from"):
        ExecutionModel(**field)
    with pytest.raises(msgspec.ValidationError, match=next(iter(field))):
        msgspec.convert(field, ExecutionModel)


def test_an_account_without_leverage_or_with_a_symbol_twice_is_refused():
    with pytest.raises(DataError, match="leverage 0"):
        Desk(leverage=0)
    with pytest.raises(DataError, match="EURUSD"):
        Desk(EURUSD, EURUSD)


def test_gold_and_yen_are_valued_in_their_own_units():
    gold, yen = default_instrument("XAUUSD"), default_instrument("USDJPY")
    desk = Desk(gold, yen, balance=100_000_000)
    desk.quote(200_000_000, 200_030_000, "XAUUSD")  # 2000.00 / 2000.30
    desk.quote(15_000_000, 15_001_000, "USDJPY")  # 150.000 / 150.010
    desk.order(BUY, 10_000, symbol="XAUUSD")  # 100 ounces
    desk.order(SELL, LOT_E2, symbol="USDJPY")
    desk.quote(201_030_000, 201_060_000, "XAUUSD")
    desk.quote(14_900_000, 14_901_000, "USDJPY")
    assert fills(desk.order(SELL, 10_000, symbol="XAUUSD", closes="P1"))[0].gross_profit == 100_000
    closed = fills(desk.order(BUY, LOT_E2, symbol="USDJPY", closes="P2"))[0]
    assert closed.gross_profit == round(100_000 * 0.99 / 149.005 * 100)


def test_an_instrument_without_commission_charges_none():
    desk = Desk(Instrument(symbol="EURUSD", base="EUR", quote="USD", commission_per_million_e2=0))
    desk.quote(110_000)
    assert fills(desk.order(BUY, kind=OrderType.MARKET))[0].commission == 0
