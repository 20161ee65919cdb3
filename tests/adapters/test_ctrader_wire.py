"""What the wire says becomes our integers exactly, and back."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.ctrader import money, series, symbols
from adapters.ctrader.messages import model, openapi
from adapters.ctrader.money import Commission, CommissionType, MarginRule, Rates
from adapters.ctrader.orders import Holder, Protected, Refusal, amend_protection, close_position, new_order
from adapters.ctrader.wire import LiveBars, Spots, double_of, money_of, price_e5_of
from bus.errors import ConfigError, DataError
from bus.messages import AmendProtection, SubmitOrder
from bus.values import Instrument, OrderType, Side, TimeInForce
from tests.harness.ctrader_broker import HOLDER, specification_of

EURUSD = specification_of()
GOLD = specification_of(
    "XAUUSD",
    3,
    instrument=Instrument(
        symbol="XAUUSD",
        base="XAU",
        quote="USD",
        digits=2,
        pip_e5=100_000,
        lot_e2=10_000,
        min_volume_e2=100,
        step_volume_e2=100,
    ),
)
NOW = 1_750_000_000_000_000_000


def order(**changes):
    values = {
        "client_order_id": "run-1",
        "intent_id": "i",
        "strategy": "s",
        "symbol": "EURUSD",
        "side": Side.BUY,
        "order_type": OrderType.MARKET,
        "volume_e2": 1_000_000,
        "reference_e5": 112_569,
        "ts_init_ns": NOW,
    }
    return SubmitOrder(**{**values, **changes})


@given(st.integers(1, 10**13))
def test_every_price_survives_the_way_to_a_double_and_back(price_e5):
    assert price_e5_of(double_of(price_e5)) == price_e5


def test_an_average_between_two_units_is_rounded_half_away_by_its_decimal():
    assert price_e5_of(1.119875) == 111_988
    assert price_e5_of(25281.64) == 2_528_164_000
    with pytest.raises(DataError):
        price_e5_of(float("nan"))


def test_money_takes_the_exponent_of_its_own_message():
    position = model.ProtoOAPosition(commission=-2_500_000, moneyDigits=8)
    assert money_of(position, "commission", 2) == -3  # 0.025 rounds away from zero
    assert money_of(model.ProtoOAPosition(swap=7), "swap", 2) == 7


# --- spots and bars --------------------------------------------------------------------------------------------


def spot(**fields):
    return openapi.ProtoOASpotEvent(ctidTraderAccountId=1, symbolId=1, **fields)


def test_an_absent_side_is_unchanged_and_never_zero():
    spots = Spots({1: EURUSD.instrument})
    assert spots.merge(spot(bid=112_569, timestamp=1), NOW) is None
    assert spots.merge(spot(ask=112_571, timestamp=2), NOW).bid_e5 == 112_569
    quote = spots.merge(spot(bid=112_570, timestamp=3), NOW)
    assert (quote.bid_e5, quote.ask_e5, quote.ts_event_ns) == (112_570, 112_571, 3_000_000)


def test_a_crossed_pair_is_not_told_and_the_next_side_mends_it():
    spots = Spots({1: EURUSD.instrument})
    spots.merge(spot(bid=100_000, ask=100_002, timestamp=1), NOW)
    with pytest.raises(DataError, match="above ask"):
        spots.merge(spot(bid=100_010, timestamp=2), NOW)
    assert spots.merge(spot(ask=100_012, timestamp=2), NOW).bid_e5 == 100_010


def test_a_jump_needs_a_second_witness_and_zero_has_none():
    spots = Spots({1: EURUSD.instrument})
    spots.merge(spot(bid=100_000, ask=100_002, timestamp=1), NOW)
    with pytest.raises(DataError, match="second one"):
        spots.merge(spot(bid=80_000, ask=80_002, timestamp=2), NOW)
    assert spots.merge(spot(bid=80_001, ask=80_003, timestamp=3), NOW).bid_e5 == 80_001
    with pytest.raises(DataError, match="impossible"):
        spots.merge(spot(bid=0, timestamp=4), NOW)
    assert spots.merge(spot(ask=80_004, timestamp=5), NOW).bid_e5 == 80_001


def test_the_technical_first_event_is_no_live_price_without_a_time():
    spots = Spots({1: EURUSD.instrument})
    assert spots.merge(spot(bid=100_000, ask=100_002), NOW) is None
    assert spots.merge(spot(bid=100_001), NOW).ask_e5 == 100_002


def test_a_live_bar_closes_at_the_last_bid_when_the_next_one_comes():
    bars = LiveBars({1: EURUSD.instrument})

    def bar(minute, low):
        return model.ProtoOATrendbar(
            volume=4, period=1, low=low, deltaOpen=2, deltaHigh=9, utcTimestampInMinutes=minute
        )

    assert bars.update(spot(trendbar=[bar(10, 100_000)]), 100_005, 100_007) == []
    assert bars.update(spot(), 100_004, 100_006) == []
    (closed,) = bars.update(spot(trendbar=[bar(11, 100_020)]), 100_022, 100_024)
    assert (closed.open_e5, closed.high_e5, closed.low_e5, closed.close_e5) == (100_002, 100_009, 100_000, 100_004)
    assert closed.ts_close_ns == 11 * 60_000_000_000


def test_history_bars_are_repaired_and_the_forming_one_is_dropped():
    response = openapi.ProtoOAGetTrendbarsRes(ctidTraderAccountId=1, period=1, timestamp=0)
    response.trendbar.add(volume=1, low=100, deltaOpen=5, deltaHigh=0, deltaClose=0, utcTimestampInMinutes=1)
    response.trendbar.add(volume=1, low=100, deltaOpen=5, deltaHigh=9, deltaClose=1, utcTimestampInMinutes=2)
    found = series.bar_series(response, "EURUSD", 1, 150_000_000_000)
    assert (len(found), found.high_e5[0], found.close_e5[0]) == (1, 105, 100)
    found.check()


def test_ticks_are_summed_from_newest_to_oldest_and_merged_by_time():
    response = openapi.ProtoOAGetTickDataRes(ctidTraderAccountId=1, hasMore=False)
    for moment, price in ((1_000, 112_569), (-10, 2), (-5, -3)):
        response.tickData.add(timestamp=moment, tick=price)
    times, prices = series.tick_side(response)
    assert (times.tolist(), prices.tolist()) == ([985, 990, 1_000], [112_568, 112_571, 112_569])
    merged = series.tick_series("EURUSD", (times, prices), (times[1:] + 1, prices[1:] + 5))
    assert merged.ts_ns.tolist() == [991_000_000, 1_000_000_000, 1_001_000_000]


# --- symbols ---------------------------------------------------------------------------------------------------


def wire_symbol(**fields):
    return model.ProtoOASymbol(
        **{
            "symbolId": 1,
            "digits": 5,
            "pipPosition": 4,
            "lotSize": 10_000_000,
            "minVolume": 100_000,
            "stepVolume": 100_000,
            "maxVolume": 10_000_000_000,
            "commissionType": 2,
            "swapLong": -1.106,
            "swapShort": 0.059,
            "preciseTradingCommissionRate": 250_000_000,
            "swapRollover3Days": 3,
            "pnlConversionFeeRate": 70,
            **fields,
        }
    )


def light(name="EUR/USD"):
    return model.ProtoOALightSymbol(symbolId=1, symbolName=name, enabled=True, baseAssetId=2, quoteAssetId=1)


def test_the_recorded_symbol_becomes_an_instrument():
    known = symbols.specification(wire_symbol(), light(), {1: "USD", 2: "EUR"})
    instrument = known.instrument
    assert (instrument.symbol, instrument.pip_e5, instrument.swap_long_millipips) == ("EURUSD", 10, -1_106)
    assert (instrument.swap_triple_weekday, known.conversion_fee_bp, instrument.session) == (2, 70, "fx")
    assert instrument.commission_per_million_e2 == 2_500  # an estimate; the rule itself is kept
    gold = symbols.specification(
        wire_symbol(digits=2, pipPosition=0, commissionType=3, preciseTradingCommissionRate=70),
        light("XAUUSD"),
        {1: "USD", 2: "XAU"},
    )
    assert gold.instrument.commission_per_million_e2 == 700 == gold.commission.per_million_e2


def test_points_are_read_although_old_bindings_do_not_know_them():
    symbol = wire_symbol(swapLong=-7.0)
    symbol.MergeFromString(b"\xe8\x01\x02")
    assert symbols.specification(symbol, light(), {1: "USD", 2: "EUR"}).instrument.swap_long_millipips == -700


def test_six_digits_cannot_be_carried_and_say_so():
    with pytest.raises(ConfigError, match="6 digits"):
        symbols.specification(wire_symbol(digits=6), light(), {1: "USD", 2: "EUR"})


def test_hours_follow_the_brokers_own_zone():
    symbol = wire_symbol(scheduleTimeZone="Europe/Moscow")
    symbol.schedule.add(startSecond=86_700, endSecond=172_500)
    known = symbols.specification(symbol, light(), {1: "USD", 2: "EUR"})
    monday = 1_750_021_200_000_000_000  # 2025-06-15 21:00 UTC = Monday 00:00 in Moscow
    assert not known.hours.open_at(monday)
    assert known.hours.open_at(monday + 300 * 10**9)


# --- orders ----------------------------------------------------------------------------------------------------


def test_a_market_order_takes_distances_and_says_who_we_are():
    request = new_order(order(stop_loss_e5=112_369, take_profit_e5=112_969), EURUSD, HOLDER, NOW)
    assert (request.relativeStopLoss, request.relativeTakeProfit, request.volume) == (200, 400, 1_000_000)
    assert not request.HasField("stopLoss")
    assert not request.HasField("takeProfit")
    assert (request.label, request.clientOrderId, request.timeInForce) == ("plimsoll/run-1", "run-1", 3)


def test_resting_orders_take_prices_and_a_stop_limit_its_distance():
    limit = new_order(
        order(
            order_type=OrderType.LIMIT,
            limit_e5=112_000,
            stop_loss_e5=111_000,
            time_in_force=TimeInForce.GTD,
            expires_ns=NOW + 1_999_999,
        ),
        EURUSD,
        HOLDER,
        NOW,
    )
    assert (limit.limitPrice, limit.stopLoss, limit.expirationTimestamp) == (1.12, 1.11, NOW // 1_000_000 + 1)
    both = new_order(
        order(order_type=OrderType.STOP_LIMIT, trigger_e5=113_000, limit_e5=113_012, time_in_force=TimeInForce.GTC),
        EURUSD,
        HOLDER,
        NOW,
    )
    assert (both.stopPrice, both.slippageInPoints, both.HasField("limitPrice")) == (1.13, 12, False)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"volume_e2": 150_000}, "TRADING_BAD_VOLUME"),
        ({"volume_e2": 0}, "TRADING_BAD_VOLUME"),
        ({"volume_e2": 10_000_100_000}, "TRADING_BAD_VOLUME"),
        ({"stop_loss_e5": 112_600}, "TRADING_BAD_STOPS"),
        ({"stop_loss_e5": 112_369, "trailing_e5": 100}, "TRADING_BAD_STOPS"),
        ({"order_type": OrderType.LIMIT}, "TRADING_BAD_PRICES"),
        ({"order_type": OrderType.STOP_LIMIT, "trigger_e5": 113_000, "limit_e5": 112_900}, "TRADING_BAD_PRICES"),
        (
            {"order_type": OrderType.LIMIT, "limit_e5": 5, "time_in_force": TimeInForce.GTD},
            "TRADING_BAD_EXPIRATION_DATE",
        ),
        ({"client_order_id": "x" * 51}, "INVALID_REQUEST"),
    ],
)
def test_what_cannot_be_sent_exactly_is_refused_with_the_brokers_code(changes, code):
    refusal = new_order(order(**changes), EURUSD, HOLDER, NOW)
    assert isinstance(refusal, Refusal)
    assert refusal.code == code


def test_levels_lie_on_the_grid_of_the_symbol():
    assert (
        new_order(
            order(symbol="XAUUSD", volume_e2=100, reference_e5=200_000_000, stop_loss_e5=199_000_001), GOLD, HOLDER, NOW
        ).code
        == "TRADING_BAD_STOPS"
    )
    fine = new_order(
        order(symbol="XAUUSD", volume_e2=100, reference_e5=200_000_400, stop_loss_e5=199_000_000), GOLD, HOLDER, NOW
    )
    assert fine.relativeStopLoss == 1_000_000


def test_a_limited_risk_account_gets_a_guaranteed_stop_or_no_order():
    holder = Holder(account_id=1, limited_risk=True)
    assert new_order(order(stop_loss_e5=112_000), EURUSD, holder, NOW).guaranteedStopLoss
    assert new_order(order(), EURUSD, holder, NOW).code == "TRADING_BAD_STOPS"


def test_closing_never_asks_for_more_than_there_is_nor_leaves_a_crumb():
    held = Protected(position_id=5, side=Side.BUY, volume_e2=300_000)
    ask = order(side=Side.SELL, position_id="5", volume_e2=900_000)
    assert close_position(ask, held, EURUSD, HOLDER).volume == 300_000
    crumb = close_position(order(side=Side.SELL, volume_e2=250_000), held, EURUSD, HOLDER)
    assert crumb.code == "TRADING_BAD_VOLUME"
    assert close_position(order(), held, EURUSD, HOLDER).code == "INVALID_REQUEST"


def amend(**changes):
    values = {"position_id": "5", "symbol": "EURUSD", "stop_loss_e5": 112_000, "take_profit_e5": 113_000}
    return AmendProtection(**{**values, "trailing_e5": 0, "reason": "r", "ts_init_ns": NOW, **changes})


def test_an_amendment_gives_both_levels_and_takes_a_trailing_stop_away_in_two_steps():
    held = Protected(position_id=5, side=Side.BUY, volume_e2=300_000, stop_loss_e5=111_000, trailing=True)
    (both,) = amend_protection(amend(), held, EURUSD, HOLDER)
    assert (both.stopLoss, both.takeProfit, both.trailingStopLoss) == (1.12, 1.13, False)
    first, last = amend_protection(amend(stop_loss_e5=0), held, EURUSD, HOLDER)
    assert (first.stopLoss, first.trailingStopLoss, first.takeProfit) == (1.11, False, 1.13)
    assert (last.HasField("stopLoss"), last.takeProfit, last.HasField("trailingStopLoss")) == (False, 1.13, False)
    bare = Protected(position_id=5, side=Side.BUY, volume_e2=300_000)
    assert amend_protection(amend(stop_loss_e5=0, take_profit_e5=0), bare, EURUSD, HOLDER) == ()


def test_a_reconcile_asks_for_protective_orders_although_old_bindings_cannot():
    assert series.reconcile_request(1).SerializeToString().endswith(b"\x18\x01")


# --- money (the reference's own figures) -----------------------------------------------------------------------

PER_LOT = Commission(kind=CommissionType.USD_PER_LOT, precise_rate=250_000_000)


def test_the_worked_example_holds_to_the_cent():
    assert money.commission(PER_LOT, 1_000_000, 10_000_000, 112_569, Rates(), 2) == -25
    assert money.position_margin(1_000_000, Fraction(112_569, 100_000), 10_000, 2) == 11_257
    gross = money.gross_profit(Side.BUY, 1_000_000, 112_569, 112_600, money.ONE, 2)
    assert (gross, money.net_profit(gross, -25, 0)) == (310, 285)
    half = money.gross_profit(Side.BUY, 500_000, 112_569, 112_600, money.ONE, 2)
    side = money.commission(PER_LOT, 500_000, 10_000_000, 112_600, Rates(), 2)
    assert (half, side, 1_000_000 + half + 2 * side) == (155, -13, 1_000_129)
    assert money.position_margin(500_000, Fraction(112_569, 100_000), 10_000, 2) == 5_628


def test_recorded_figures_come_out_as_recorded():
    assert money.commission(PER_LOT, 100_000, 10_000_000, 111_988, Rates(), 2) == -3
    assert money.position_margin(100_000, Fraction(112_569, 100_000), 10_000, 2) == 1_126
    assert money.position_margin(200_000, money.rate_of(1.119875), 10_000, 2) == 2_240
    assert money.gross_profit(Side.BUY, 99, price_e5_of(85287.21), price_e5_of(85205.58), money.ONE, 2) == -8_081
    gross = money.gross_profit(Side.BUY, 100, price_e5_of(25494.30), price_e5_of(25471.24), money.rate_of(1.13666), 2)
    assert (gross, money.conversion_fee(gross, 70)) == (-2_621, -19)
    assert 5_122_399_809 - 68 - 56 == 5_122_399_685


def test_every_kind_of_commission_and_its_minimum():
    rates = Rates(base_to_usd=Fraction(11, 10), usd_to_account=Fraction(1, 2), quote_to_account=Fraction(1, 4))
    rule = Commission(kind=CommissionType.USD_PER_MILLION_USD, precise_rate=30 * 10**8)
    assert money.commission(rule, 10_000_000, 10_000_000, 110_000, rates, 2) == -165
    rule = Commission(kind=CommissionType.PERCENTAGE_OF_VALUE, precise_rate=3_250)
    assert money.commission(rule, 10_000_000, 10_000_000, 110_000, rates, 2) == -894  # 35.75 / 4 = 8.9375
    rule = Commission(kind=CommissionType.QUOTE_CCY_PER_LOT, precise_rate=4 * 10**8, precise_minimum=3 * 10**8)
    assert money.commission(rule, 10_000_000, 10_000_000, 110_000, rates, 2) == -300


def test_conversion_walks_the_chain_and_refuses_a_broken_one():
    chain = [("EUR", "USD", 110_000), ("EUR", "JPY", 16_500_000)]
    assert money.chain_rate("USD", "JPY", chain) == 150
    with pytest.raises(DataError, match="no conversion"):
        money.chain_rate("USD", "GBP", chain)


def test_margin_by_tiers_and_by_the_accounts_rule():
    tiers = [(100_000_000, 500), (1_000_000_000, 200)]
    assert money.tier_margin(121_345_000, tiers, 1) == Fraction("3067.25")
    assert money.tier_margin(100_000, [(10**9, 333)], 100) == Fraction(100_000, 333)
    held = [("A", Side.BUY, 30), ("A", Side.SELL, 20), ("B", Side.SELL, 5)]
    assert [money.account_margin(held, rule) for rule in MarginRule] == [35, 55, 15]
    account = money.figures(1_000, {"1": -100}, 300)
    assert (account.equity, account.free_margin, account.margin_level_pct) == (900, 600, 300)
