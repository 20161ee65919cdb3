from datetime import UTC, datetime

import msgspec
import pytest

from adapters.exchange import ExecutionModel
from bus.calendar import to_ns
from bus.errors import DataError
from bus.messages import OrderCancelled, OrderExpired, OrderRejected
from bus.values import OrderType, Side, TimeInForce, default_instrument
from tests.harness.exchange import EURUSD, LOT_E2, NOON_NS, PLAIN, Desk, fills, names

BUY, SELL = Side.BUY, Side.SELL
LIMIT, STOP, STOP_LIMIT = OrderType.LIMIT, OrderType.STOP, OrderType.STOP_LIMIT
SHALLOW = ExecutionModel(
    slippage_points=0,
    slippage_jitter_points=0,
    liquidity_e2=LOT_E2,
    impact_points=3,
    depth_levels=3,
    rollover_minutes=0,
)


def test_a_market_buy_fills_at_the_ask_and_a_sell_at_the_bid():
    desk = Desk()
    desk.quote(110_000, 110_012)
    bought = desk.order(BUY)
    assert names(bought) == ["OrderAccepted", "OrderFilled"]
    deal = fills(bought)[0]
    assert (deal.price_e5, deal.bid_e5, deal.ask_e5, deal.closing, deal.order_done) == (
        110_012,
        110_000,
        110_012,
        False,
        True,
    )
    assert fills(desk.order(SELL))[0].price_e5 == 110_000
    assert [p.side for p in desk.exchange.positions] == [BUY, SELL]  # a hedged account holds both


def test_a_limit_rests_until_the_ask_reaches_it_and_a_jump_gives_the_better_price():
    desk = Desk()
    desk.quote(110_000)
    assert names(desk.order(BUY, kind=LIMIT, limit=109_900)) == ["OrderAccepted"]
    assert desk.quote(109_891) == []  # the bid is through, the ask (109 901) is not
    assert fills(desk.quote(109_850))[0].price_e5 == 109_860


def test_a_resting_limit_keeps_its_own_price_where_gaps_are_not_passed_on():
    desk = Desk(model=ExecutionModel(liquidity_e2=0, pass_on_gaps=False))
    desk.quote(110_000)
    desk.order(BUY, kind=LIMIT, limit=109_900)
    assert fills(desk.quote(109_850))[0].price_e5 == 109_900


def test_a_marketable_limit_fills_at_the_touch_and_never_beyond_its_price():
    desk = Desk(model=SHALLOW)
    desk.quote(110_000)
    facts = desk.order(BUY, 3 * LOT_E2, LIMIT, limit=110_013)
    assert [(d.volume_e2, d.price_e5, d.order_done) for d in fills(facts)] == [
        (LOT_E2, 110_010, False),
        (LOT_E2, 110_013, False),
    ]
    assert [(o.volume_e2, o.filled_e2) for o in desk.exchange.orders] == [(3 * LOT_E2, 2 * LOT_E2)]
    later = fills(desk.quote(109_990))
    assert [(d.volume_e2, d.price_e5, d.order_done) for d in later] == [(LOT_E2, 110_000, True)]
    assert len(desk.exchange.positions) == 1
    assert desk.exchange.orders == ()


def test_a_buy_stop_triggers_on_the_ask_and_a_gap_fills_beyond_the_level():
    desk = Desk()
    desk.quote(110_000)
    desk.order(BUY, kind=STOP, trigger=110_100)
    assert desk.quote(110_089) == []
    assert fills(desk.quote(110_300))[0].price_e5 == 110_310


def test_a_sell_stop_triggers_on_the_bid():
    desk = Desk()
    desk.quote(110_000)
    desk.order(SELL, kind=STOP, trigger=109_950)
    assert desk.quote(109_951, 109_990) == []
    assert fills(desk.quote(109_950, 109_990))[0].price_e5 == 109_950


def test_a_stop_limit_that_gaps_beyond_its_limit_waits_for_the_price_to_come_back():
    desk = Desk()
    desk.quote(110_000)
    desk.order(BUY, kind=STOP_LIMIT, trigger=110_100, limit=110_120)
    assert desk.quote(110_200) == []
    assert desk.exchange.orders[0].filled_e2 == 0
    assert fills(desk.quote(110_080))[0].price_e5 == 110_090


def test_an_order_larger_than_the_touch_fills_in_worse_parts_and_the_rest_is_cancelled():
    desk = Desk(model=SHALLOW, leverage=500, balance=10_000_000)
    desk.quote(110_000)
    facts = desk.order(BUY, 5 * LOT_E2)
    assert [d.price_e5 for d in fills(facts)] == [110_010, 110_013, 110_016]
    assert not any(d.order_done for d in fills(facts))
    assert isinstance(facts[-1], OrderCancelled)
    assert facts[-1].filled_e2 == 3 * LOT_E2
    assert fills(desk.order(SELL))[0].price_e5 == 110_000  # the other side of the book was not touched


def test_what_one_order_takes_is_gone_for_the_next_until_a_quote_comes():
    desk = Desk(model=SHALLOW, leverage=500)
    desk.quote(110_000)
    assert fills(desk.order(BUY))[0].price_e5 == 110_010
    assert fills(desk.order(BUY))[0].price_e5 == 110_013
    desk.quote(110_000)
    assert fills(desk.order(BUY))[0].price_e5 == 110_010


def test_fill_or_kill_is_all_or_nothing():
    desk = Desk(model=SHALLOW, leverage=500, balance=10_000_000)
    desk.quote(110_000)
    killed = desk.order(BUY, 4 * LOT_E2, tif=TimeInForce.FOK)
    assert names(killed) == ["OrderAccepted", "OrderCancelled"]
    assert killed[-1].filled_e2 == 0
    done = desk.order(BUY, 3 * LOT_E2, tif=TimeInForce.FOK)
    assert sum(d.volume_e2 for d in fills(done)) == 3 * LOT_E2
    assert fills(done)[-1].order_done


def test_an_immediate_limit_takes_what_it_can_and_never_rests():
    desk = Desk(model=SHALLOW)
    desk.quote(110_000)
    facts = desk.order(BUY, 2 * LOT_E2, LIMIT, limit=110_010, tif=TimeInForce.IOC)
    assert names(facts) == ["OrderAccepted", "OrderFilled", "OrderCancelled"]
    assert facts[-1].filled_e2 == LOT_E2
    assert desk.exchange.orders == ()


def test_a_good_till_date_order_expires_before_a_later_quote_can_fill_it():
    desk = Desk()
    desk.quote(110_000)
    expires_ns = desk.now_ns + 500_000_000
    desk.order(BUY, kind=LIMIT, limit=109_900, tif=TimeInForce.GTD, expires_ns=expires_ns, name="gtd")
    facts = desk.quote(109_000)
    assert facts == [
        OrderExpired(client_order_id="gtd", symbol="EURUSD", filled_e2=0, ts_event_ns=expires_ns, ts_init_ns=expires_ns)
    ]


def test_a_cancelled_order_is_gone_and_cancelling_again_says_nothing():
    desk = Desk()
    desk.quote(110_000)
    desk.order(BUY, kind=LIMIT, limit=109_900, name="a")
    assert names(desk.cancel("a")) == ["OrderCancelled"]
    assert desk.cancel("a") == []
    assert desk.quote(109_000) == []
    assert desk.cancel("never")[0].code == "ORDER_NOT_FOUND"


def test_a_repeated_client_order_id_changes_nothing():
    desk = Desk()
    desk.quote(110_000)
    desk.order(BUY, name="once")
    before = desk.exchange.snapshot(0)
    assert desk.order(BUY, name="once") == []
    assert desk.order(SELL, 3 * LOT_E2, name="once") == []
    assert desk.exchange.snapshot(0) == before


def test_a_refused_order_stays_refused_when_it_is_sent_again():
    desk = Desk()
    assert desk.order(BUY, name="early")[0].code == "NO_QUOTES"
    desk.quote(110_000)
    assert desk.order(BUY, name="early") == []


def test_a_close_never_exceeds_what_the_position_holds():
    desk = Desk()
    desk.quote(110_000)
    desk.order(BUY)
    deal = fills(desk.order(SELL, 5 * LOT_E2, closes="P1"))[0]
    assert (deal.volume_e2, deal.closing, deal.remaining_e2, deal.order_done) == (LOT_E2, True, 0, True)
    assert desk.exchange.positions == ()
    assert desk.order(SELL, closes="P1")[0].code == "POSITION_NOT_FOUND"


def test_orders_that_were_to_close_a_position_end_with_it():
    desk = Desk()
    desk.quote(110_000)
    desk.order(BUY)
    desk.order(SELL, kind=LIMIT, limit=110_500, closes="P1", name="target")
    facts = desk.order(SELL, closes="P1")
    assert [f.client_order_id for f in facts if isinstance(f, OrderCancelled)] == ["target"]
    assert desk.exchange.orders == ()


def test_a_resting_close_closes_the_position_when_its_price_comes():
    desk = Desk()
    desk.quote(110_000)
    desk.order(BUY)
    desk.order(SELL, kind=LIMIT, limit=110_500, closes="P1")
    assert [(d.price_e5, d.closing, d.remaining_e2) for d in fills(desk.quote(110_500))] == [(110_500, True, 0)]
    assert desk.exchange.orders == ()


def test_a_netted_account_adds_reduces_and_turns_round_one_position():
    desk = Desk(hedged=False, leverage=500)
    desk.quote(110_000, 110_000)
    desk.order(BUY, LOT_E2)
    desk.quote(110_100, 110_100)
    desk.order(BUY, LOT_E2)
    (held,) = desk.exchange.positions
    assert (held.position_id, held.volume_e2, held.price_e5) == ("P1", 2 * LOT_E2, 110_050)
    turned = fills(desk.order(SELL, 3 * LOT_E2))
    assert [(d.closing, d.volume_e2, d.position_id, d.remaining_e2, d.order_done) for d in turned] == [
        (True, 2 * LOT_E2, "P1", 0, False),
        (False, LOT_E2, "P2", LOT_E2, True),
    ]
    assert turned[0].gross_profit == 10_000  # 1 lot up 0.00100, the other bought at the price it is sold at
    (held,) = desk.exchange.positions
    assert (held.side, held.volume_e2) == (SELL, LOT_E2)


@pytest.mark.parametrize(
    ("code", "order"),
    [
        ("SYMBOL_NOT_FOUND", {"symbol": "USDJPY"}),
        ("TRADING_BAD_VOLUME", {"volume_e2": 0}),
        ("TRADING_BAD_VOLUME", {"volume_e2": -LOT_E2}),
        ("TRADING_BAD_VOLUME", {"volume_e2": LOT_E2 + 1}),
        ("TRADING_BAD_VOLUME", {"volume_e2": EURUSD.max_volume_e2 + EURUSD.step_volume_e2}),
        ("TRADING_BAD_PRICES", {"kind": LIMIT}),
        ("TRADING_BAD_PRICES", {"kind": LIMIT, "limit": -5}),
        ("TRADING_BAD_PRICES", {"kind": STOP}),
        ("TRADING_BAD_PRICES", {"kind": STOP, "trigger": 110_010}),
        ("TRADING_BAD_PRICES", {"kind": STOP_LIMIT, "trigger": 110_100, "limit": 110_099}),
        ("INVALID_REQUEST", {"kind": STOP, "trigger": 110_100, "tif": TimeInForce.IOC}),
        ("TRADING_BAD_EXPIRATION_DATE", {"kind": LIMIT, "limit": 109_900, "tif": TimeInForce.GTD, "expires_ns": 5}),
        ("TRADING_BAD_STOPS", {"stop": 110_000}),
        ("TRADING_BAD_STOPS", {"target": 110_000}),
        ("TRADING_BAD_STOPS", {"stop": -1}),
        ("TRADING_BAD_STOPS", {"trailing": -1}),
        ("TRADING_BAD_STOPS", {"kind": LIMIT, "limit": 109_900, "stop": 109_900}),
        ("TRADING_BAD_STOPS", {"kind": LIMIT, "limit": 110_050, "stop": 110_020}),
        ("TRADING_BAD_STOPS", {"kind": STOP, "trigger": 110_100, "target": 110_100}),
        ("TRADING_BAD_STOPS", {"kind": STOP_LIMIT, "trigger": 110_100, "limit": 110_120, "stop": 110_100}),
        ("POSITION_NOT_FOUND", {"closes": "P9"}),
        ("INVALID_REQUEST", {"closes": "P1"}),
        ("NOT_ENOUGH_MONEY", {"volume_e2": 10 * LOT_E2}),
    ],
)
def test_an_impossible_order_is_refused_with_the_venues_code_and_changes_nothing(code, order):
    desk = Desk()
    desk.quote(110_000)
    desk.order(BUY, LOT_E2)
    before = desk.exchange.snapshot(0)
    facts = desk.order(BUY, **order)
    assert [type(f) for f in facts] == [OrderRejected]
    assert facts[0].code == code
    assert desk.exchange.snapshot(0) == before


def test_a_price_off_the_instruments_grid_is_refused():
    desk = Desk(default_instrument("USDJPY"), default_instrument("EURUSD"))
    desk.quote(15_000_000, 15_001_000, "USDJPY")
    facts = desk.order(BUY, kind=LIMIT, limit=14_900_050, symbol="USDJPY")
    assert facts[0].code == "TRADING_BAD_PRICES"
    facts = desk.order(BUY, stop=14_900_050, symbol="USDJPY")
    assert facts[0].code == "TRADING_BAD_STOPS"


def test_a_partial_close_keeps_to_the_step_and_may_not_leave_less_than_the_smallest_order():
    desk = Desk(msgspec.structs.replace(EURUSD, min_volume_e2=200_000))
    desk.quote(110_000)
    desk.order(BUY, 500_000)
    assert desk.order(SELL, 250_000, closes="P1")[0].code == "TRADING_BAD_VOLUME"
    assert desk.order(SELL, 400_000, closes="P1")[0].code == "TRADING_BAD_VOLUME"
    assert fills(desk.order(SELL, 300_000, closes="P1"))[0].remaining_e2 == 200_000


def test_a_level_that_is_partly_taken_is_used_up_before_the_next():
    desk = Desk(model=SHALLOW, leverage=500)
    desk.quote(110_000)
    desk.order(BUY, LOT_E2 // 2)
    deals = fills(desk.order(BUY, 2 * LOT_E2))
    assert [(d.volume_e2, d.price_e5) for d in deals] == [
        (LOT_E2 // 2, 110_010),
        (LOT_E2, 110_013),
        (LOT_E2 // 2, 110_016),
    ]


@pytest.mark.parametrize("hour", [22, 30, 46])
def test_nothing_is_matched_from_friday_to_sunday_17_00_new_york(hour):
    desk = Desk()
    desk.now_ns = to_ns(datetime(2023, 11, 17, 21, 30, tzinfo=UTC))  # Friday, half an hour before the close
    desk.quote(110_000)
    desk.order(BUY, kind=LIMIT, limit=109_900, name="rests")
    desk.now_ns = to_ns(datetime(2023, 11, 17, tzinfo=UTC)) + hour * 3_600_000_000_000
    assert desk.quote(109_000) == []
    assert desk.order(BUY)[0].code == "MARKET_CLOSED"
    desk.now_ns = to_ns(datetime(2023, 11, 19, 22, tzinfo=UTC))
    assert fills(desk.quote(109_500))[0].price_e5 == 109_510


def test_a_share_of_orders_is_refused_for_no_reason_when_the_model_says_so():
    desk = Desk(model=ExecutionModel(reject_pct=50, liquidity_e2=0), leverage=500, balance=10**9)
    desk.quote(110_000)
    codes = [getattr(desk.order(BUY, 100_000)[0], "code", "") for _ in range(200)]
    assert 60 < codes.count("REJECTED") < 140


@pytest.mark.parametrize(
    ("symbol", "bid", "ask"), [("EURUSD", 0, 10), ("EURUSD", -1, 1), ("EURUSD", 5, 4), ("GBPUSD", 100, 101)]
)
def test_an_impossible_quote_is_an_error_and_leaves_the_last_price(symbol, bid, ask):
    desk = Desk()
    desk.quote(110_000)
    with pytest.raises(DataError, match=symbol):
        desk.quote(bid, ask, symbol)
    assert desk.exchange.quote("EURUSD").bid_e5 == 110_000


def test_a_resting_order_that_cannot_be_paid_when_its_price_comes_is_rejected_then():
    desk = Desk(balance=250_000, model=PLAIN)
    desk.quote(110_000)
    desk.order(BUY, 2 * LOT_E2, LIMIT, limit=109_990, name="late")
    desk.order(BUY, LOT_E2)
    facts = desk.quote(109_980)
    assert [(f.client_order_id, f.code) for f in facts if isinstance(f, OrderRejected)] == [
        ("late", "NOT_ENOUGH_MONEY")
    ]
    assert desk.exchange.orders == ()


def test_the_clock_of_the_first_fact_is_the_moment_it_happened():
    desk = Desk()
    desk.quote(110_000)
    assert {f.ts_event_ns for f in desk.order(BUY)} == {NOON_NS + 1_000_000_000}
