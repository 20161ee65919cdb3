import pytest

from adapters.exchange import ExecutionModel
from bus.messages import OrderRejected, ProtectionChanged
from bus.values import OrderType, Side
from tests.harness.exchange import LOT_E2, PLAIN, Desk, fills, names

BUY, SELL = Side.BUY, Side.SELL


def test_levels_are_told_after_the_opening_deal():
    desk = Desk()
    desk.quote(110_000)
    facts = desk.order(BUY, stop=109_900, target=110_200)
    assert names(facts) == ["OrderAccepted", "OrderFilled", "ProtectionChanged"]
    assert (facts[2].position_id, facts[2].stop_loss_e5, facts[2].take_profit_e5) == ("P1", 109_900, 110_200)
    assert names(desk.order(BUY)) == ["OrderAccepted", "OrderFilled"]  # no levels, nothing to tell


@pytest.mark.parametrize(
    ("side", "stop", "quiet", "hit", "price"),
    [
        (BUY, 109_900, (109_901, 109_911), (109_900, 109_910), 109_900),
        (BUY, 109_900, (109_901, 109_911), (109_700, 109_710), 109_700),
        (SELL, 110_100, (110_089, 110_099), (110_090, 110_100), 110_100),
        (SELL, 110_100, (110_000, 110_099), (110_290, 110_300), 110_300),
    ],
)
def test_a_stop_loss_triggers_on_the_closing_side_and_fills_at_the_first_price_beyond(side, stop, quiet, hit, price):
    desk = Desk()
    desk.quote(110_000)
    desk.order(side, stop=stop, name="opener")
    assert desk.quote(*quiet) == []
    (deal,) = fills(desk.quote(*hit))
    assert (deal.price_e5, deal.cause, deal.level_e5, deal.closing) == (price, "stop_loss", stop, True)
    assert (deal.client_order_id, deal.side, deal.remaining_e2, deal.order_done) == ("opener", side.opposite, 0, True)
    assert desk.exchange.positions == ()


def test_a_stop_slips_and_a_target_does_not():
    desk = Desk(model=ExecutionModel(slippage_points=4, slippage_jitter_points=0, liquidity_e2=0))
    desk.quote(110_000)
    desk.order(BUY, stop=109_900, target=110_200)
    assert fills(desk.quote(109_850))[0].price_e5 == 109_846
    desk.quote(110_000)
    desk.order(BUY, target=110_200)
    assert fills(desk.quote(110_200))[0].price_e5 == 110_200


@pytest.mark.parametrize(("passed_on", "price"), [(True, 110_350), (False, 110_200)])
def test_a_target_that_is_jumped_over_gets_the_better_price_where_gaps_are_passed_on(passed_on, price):
    desk = Desk(model=ExecutionModel(slippage_points=0, slippage_jitter_points=0, pass_on_gaps=passed_on))
    desk.quote(110_000)
    desk.order(BUY, target=110_200)
    (deal,) = fills(desk.quote(110_350))
    assert (deal.price_e5, deal.cause, deal.level_e5) == (price, "take_profit", 110_200)


def test_a_target_larger_than_the_book_closes_in_parts_over_several_quotes():
    model = ExecutionModel(liquidity_e2=LOT_E2, impact_points=5, slippage_points=0, slippage_jitter_points=0)
    desk = Desk(model=model, leverage=500)
    desk.quote(110_000)
    desk.order(BUY, 2 * LOT_E2, target=110_200)
    first = fills(desk.quote(110_200))
    assert [(d.volume_e2, d.price_e5, d.remaining_e2, d.order_done) for d in first] == [
        (LOT_E2, 110_200, LOT_E2, False)
    ]
    assert [(d.remaining_e2, d.order_done) for d in fills(desk.quote(110_201))] == [(0, True)]


def test_a_stop_larger_than_the_book_closes_whole_at_worse_and_worse_prices():
    model = ExecutionModel(
        liquidity_e2=LOT_E2, impact_points=5, depth_levels=2, slippage_points=0, slippage_jitter_points=0
    )
    desk = Desk(model=model, leverage=500, balance=10_000_000)
    desk.quote(110_000)
    desk.order(BUY, 2 * LOT_E2)
    desk.quote(110_000)
    desk.order(BUY, 2 * LOT_E2)
    desk.amend("P1", stop=109_900)
    desk.amend("P2", stop=109_900)
    deals = fills(desk.quote(109_900))
    assert [(d.position_id, d.volume_e2, d.price_e5) for d in deals] == [
        ("P1", LOT_E2, 109_900),
        ("P1", LOT_E2, 109_895),
        ("P2", 2 * LOT_E2, 109_895),
    ]
    assert desk.exchange.positions == ()


def test_a_trailing_stop_follows_at_its_distance_and_never_goes_back():
    desk = Desk()
    desk.quote(110_000)
    opened = desk.order(BUY, stop=109_900, trailing=100)
    assert opened[-1].stop_loss_e5 == 109_900
    assert desk.quote(110_000) == []  # 110 000 - 100 is where it stands
    (moved,) = desk.quote(110_050)
    assert isinstance(moved, ProtectionChanged)
    assert (moved.stop_loss_e5, moved.trailing_e5) == (109_950, 100)
    assert desk.quote(109_980) == []
    (deal,) = fills(desk.quote(109_940))
    assert (deal.cause, deal.level_e5, deal.price_e5) == ("trailing_stop", 109_950, 109_940)


def test_a_short_position_trails_downwards_on_the_ask():
    desk = Desk()
    desk.quote(110_000, 110_010)
    assert desk.order(SELL, trailing=100)[-1].stop_loss_e5 == 110_110
    assert desk.quote(109_900, 109_910)[0].stop_loss_e5 == 110_010
    assert fills(desk.quote(110_000, 110_010))[0].cause == "trailing_stop"


def test_a_stop_that_trailing_has_not_moved_yet_is_a_stop_loss():
    desk = Desk()
    desk.quote(110_000)
    desk.order(BUY, stop=109_900, trailing=150)
    assert fills(desk.quote(109_900))[0].cause == "stop_loss"


def test_an_amendment_replaces_both_levels_and_zero_removes_one():
    desk = Desk()
    desk.quote(110_000)
    desk.order(BUY, stop=109_900, target=110_200)
    (changed,) = desk.amend("P1", stop=109_950)
    assert (changed.stop_loss_e5, changed.take_profit_e5) == (109_950, 0)
    assert desk.quote(110_300) == []  # the target is gone
    assert desk.exchange.positions[0].stop_loss_e5 == 109_950


def test_an_amendment_told_twice_moves_nothing_twice():
    desk = Desk()
    desk.quote(110_000)
    desk.order(BUY)
    desk.amend("P1", stop=109_900, trailing=100)
    sent_ns = desk.now_ns
    desk.quote(110_100)
    assert desk.exchange.positions[0].stop_loss_e5 == 110_000
    desk.now_ns = sent_ns
    assert desk.amend("P1", stop=109_900, trailing=100) == []
    assert desk.exchange.positions[0].stop_loss_e5 == 110_000


@pytest.mark.parametrize(
    ("code", "amendment"),
    [
        ("TRADING_BAD_STOPS", {"stop": 110_000}),
        ("TRADING_BAD_STOPS", {"target": 109_999}),
        ("TRADING_BAD_STOPS", {"stop": -4}),
        ("INVALID_REQUEST", {}),
    ],
)
def test_a_bad_amendment_is_refused_without_an_order_id_and_names_the_position(code, amendment):
    desk = Desk()
    desk.quote(110_000)
    desk.order(BUY)
    (refusal,) = desk.amend("P1", **amendment)
    assert isinstance(refusal, OrderRejected)
    assert (refusal.code, refusal.client_order_id, refusal.text[:3]) == (code, "", "P1:")
    assert desk.amend("P2", stop=1)[0].code == "POSITION_NOT_FOUND"


def test_a_pending_order_that_opens_beyond_its_own_stop_is_stopped_by_the_same_quote():
    desk = Desk()
    desk.quote(110_000)
    desk.order(BUY, kind=OrderType.LIMIT, limit=109_900, stop=109_800)
    deals = fills(desk.quote(109_700))
    assert [(d.cause, d.price_e5) for d in deals] == [("order", 109_710), ("stop_loss", 109_700)]


def test_adding_to_a_netted_position_keeps_its_levels_unless_the_order_brings_new_ones():
    desk = Desk(hedged=False, model=PLAIN, leverage=500)
    desk.quote(110_000)
    desk.order(BUY, stop=109_900)
    assert names(desk.order(BUY)) == ["OrderAccepted", "OrderFilled"]
    assert desk.exchange.positions[0].stop_loss_e5 == 109_900
    desk.order(BUY, stop=109_800)
    assert desk.exchange.positions[0].stop_loss_e5 == 109_800
    assert fills(desk.quote(109_800))[0].volume_e2 == 3 * LOT_E2


def test_an_order_brings_its_levels_once_however_many_quotes_it_takes_to_fill():
    desk = Desk(model=ExecutionModel(liquidity_e2=LOT_E2, depth_levels=1, rollover_minutes=0), leverage=500)
    desk.quote(110_000)
    facts = desk.order(BUY, 2 * LOT_E2, OrderType.LIMIT, limit=110_010, stop=109_900)
    assert names(facts) == ["OrderAccepted", "OrderFilled", "ProtectionChanged"]
    desk.amend("P1", stop=109_950)
    assert names(desk.quote(110_000)) == ["OrderFilled"]
    assert desk.exchange.positions[0].stop_loss_e5 == 109_950
