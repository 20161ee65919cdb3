"""The book: whole positions and whole figures against examples worked out by hand.

It is one fold over one state, which is why this file is as long as the one that it tests.
"""

import msgspec
import pytest

from bus import messages as m
from bus.errors import InvariantBroken
from bus.messages import CancelOrder, OrderState, PositionState
from bus.values import LARGEST, NS_PER_DAY, OrderType, Side, divide_half_away
from risk.orders import Order, OrderStatus, Position, adopted_position
from risk.policies.losses import Losses
from risk.policy import Policy
from tests.harness.books import (
    MINUTE_NS,
    NOW_NS,
    account,
    begun,
    empty_book,
    fill,
    levels,
    opened,
    order,
    quote,
    swap,
    unknown,
)

replace = msgspec.structs.replace


def broken(call, *args, **kwargs):
    with pytest.raises(InvariantBroken) as told:
        call(*args, **kwargs)
    return str(told.value)


def test_a_book_begins_with_nothing_and_with_its_settings():
    book = empty_book("EUR", leverage=20)
    assert (book.currency, book.money_digits, book.leverage, book.hedged) == ("EUR", 2, 20, True)
    assert (book.balance, book.equity, book.floating, book.blind) == (None, 0, 0, "")
    assert (book.positions, book.orders, book.foreign, book.quotes, book.suspect) == ({}, {}, {}, {}, {})
    assert (book.used_margin, book.free_margin, book.at_risk, book.unknown_symbols) == (0, 0, False, ())
    assert book.exposure_of("EURUSD") == 0
    policy = Policy(losses=Losses(day_zone="UTC", day_hour=3))
    theirs = begun(policy=policy)
    assert theirs.watermarks.next_day_ns == NOW_NS + 12 * 60 * MINUTE_NS


def test_a_position_is_opened_to_the_last_field_and_grows_by_its_next_deal():
    book = begun()
    command = order("c1", Side.SELL, 300_000, "USDJPY")
    book.sent(command, NOW_NS, 24)
    book.fold(fill("D1", command, "P1", 10_900_010, 100_000, commission=-3, ts=NOW_NS + 5))
    rate_e8 = divide_half_away(10**8 * 100_000, 10_900_004)
    wanted = Position(
        position_id="P1", symbol="USDJPY", side=Side.SELL, volume_e2=100_000, cost=100_000 * 10_900_010,
        price_e5=10_900_010, commission=-3, profit=0, rate_e8=rate_e8, ts_open_ns=NOW_NS + 5,
        ts_told_ns=NOW_NS + 5, horizon=24, reference_e5=10_900_000, strategy="s", client_order_id="c1",
    )  # fmt: skip
    assert book.positions == {"P1": wanted}
    book.fold(fill("D2", command, "P1", 10_900_111, 200_000, commission=-4, ts=NOW_NS + 9))
    cost = 100_000 * 10_900_010 + 200_000 * 10_900_111
    profit = divide_half_away(-(300_000 * 10_900_008 - cost) * rate_e8 * 100, 100 * 100_000 * 10**8)
    grown = replace(wanted, volume_e2=300_000, cost=cost, price_e5=10_900_077, commission=-7, profit=profit)
    assert book.positions == {"P1": grown}
    assert book.equity == 1_000_000 - 7 + profit
    assert (book.exposure_of("USDJPY"), book.exposure_of("EURUSD"), book.at_risk) == (-300_000, 0, True)


def test_a_position_that_nobody_here_ordered_belongs_to_no_strategy():
    book = begun()
    book.fold(fill("D1", order("theirs"), "P1", 120_000))
    found = book.positions["P1"]
    assert (found.strategy, found.horizon, found.reference_e5, found.client_order_id) == ("", 0, 0, "theirs")


def test_exposure_is_signed_and_margin_is_of_the_larger_side_at_opening_prices_and_rates():
    book = begun()
    opened(book, "c1", "P1", Side.BUY, 3_000_000, commission=0)
    opened(book, "c2", "P2", Side.SELL, 1_000_000, commission=0)
    opened(book, "c3", "P3", Side.SELL, 2_500_000, price=120_100, commission=0)
    opened(book, "c4", "P4", Side.BUY, 1_000_000, symbol="EURGBP", commission=0)
    assert book.exposure_of("EURUSD") == -500_000
    euros = divide_half_away(1_000_000 * 120_000, 30 * 10**5) + divide_half_away(2_500_000 * 120_100, 30 * 10**5)
    pounds = divide_half_away(1_000_000 * 88_000 * 136_004_000, 30 * 10**13)
    assert book.used_margin == euros + pounds
    assert book.free_margin == book.equity - euros - pounds
    book.mark(quote("GBPUSD", 150_000))
    assert book.used_margin == euros + pounds


def test_what_is_at_work_is_known_by_position_by_strategy_and_by_symbol():
    book = begun()
    opened(book)
    assert (book.closing("P1"), book.has_pending("s", "EURUSD")) == (False, False)
    book.sent(order("x", Side.SELL, position="P1"), NOW_NS)
    assert (book.closing("P1"), book.closing("P2")) == (True, False)
    assert book.has_pending("s", "EURUSD") is True
    assert book.has_pending("t", "EURUSD") is book.has_pending("s", "GBPUSD") is False


def test_symbols_in_doubt_are_told_once_each_in_order():
    book = begun()
    for name, symbol in (("a", "USDJPY"), ("b", "EURUSD"), ("c", "USDJPY")):
        book.fold(unknown(name, symbol))
    assert book.unknown_symbols == ("USDJPY", "EURUSD")


def test_commands_are_counted_for_whom_they_are_and_a_wish_to_amend_for_nobody():
    book = begun()
    book.sent(order("c1"), NOW_NS + 1)
    book.sent(CancelOrder(client_order_id="c1", symbol="EURUSD", reason="", ts_init_ns=NOW_NS), NOW_NS + 2)
    book.sent(CancelOrder(client_order_id="gone", symbol="USDJPY", reason="", ts_init_ns=NOW_NS), NOW_NS + 3)
    book.sent(m.AmendProtection(position_id="P1", symbol="GBPUSD", stop_loss_e5=1, take_profit_e5=0, trailing_e5=0,
                                reason="", ts_init_ns=NOW_NS), NOW_NS + 4)  # fmt: skip
    of_strategy, nobodys = book.record.tally(("strategy", "s")), book.record.tally(("strategy", ""))
    assert (list(of_strategy.orders_ns), list(of_strategy.cancels_ns)) == ([NOW_NS + 1], [NOW_NS + 2])
    assert (list(nobodys.orders_ns), list(nobodys.cancels_ns)) == ([], [NOW_NS + 3])
    assert list(book.record.tally(("symbol", "USDJPY")).cancels_ns) == [NOW_NS + 3]
    assert book.record.latest_ns == NOW_NS + 3
    assert book.orders["c1"].cancelling is True
    assert book.orders["c1"].horizon == 0


def test_what_contradicts_the_book_is_said_in_numbers():
    book = begun()
    opened(book)
    out = order("x", Side.SELL, position="P1")
    for said, fact in (
        ("deal D9 is impossible: EURUSD 0@120000", fill("D9", out, "P1", 120_000, 0)),
        ("deal D9 is impossible: EURUSD 1@0", fill("D9", out, "P1", 0, 1)),
        ("deal D9 is impossible: XXXYYY 1@1", fill("D9", replace(out, symbol="XXXYYY"), "P1", 1, 1)),
        ("deal D9 opens against position P1", fill("D9", out, "P1", 120_000)),
        ("deal D9 opens against position P1", fill("D9", order("x", symbol="GBPUSD"), "P1", 120_000)),
        ("deal D9 closes position P7, which the book lacks", fill("D9", out, "P7", 120_000, closing=True)),
        ("deal D9 closes position P1, which the book lacks",
         fill("D9", replace(out, symbol="GBPUSD"), "P1", 120_000, closing=True)),
        ("deal D9 closes 100000 (BUY) of position P1, which holds 100000 (BUY)",
         fill("D9", order("x"), "P1", 120_000, closing=True)),
        ("deal D9 closes 100001 (SELL) of position P1, which holds 100000 (BUY)",
         fill("D9", out, "P1", 120_000, 100_001, closing=True)),
    ):  # fmt: skip
        assert broken(book.fold, fact) == said
    smallest = fill("D9", order("one"), "P2", 1, 1)
    assert book.fold(smallest) is True
    fresh = empty_book()
    assert broken(fresh.fold, smallest) == "deal D9 was told before the first account snapshot"
    moved = m.BalanceMoved(move_id="m1", cause="cash", delta=1, balance=0, ts_event_ns=NOW_NS, ts_init_ns=NOW_NS)
    assert broken(fresh.fold, moved) == "m1 moved the balance before the first account snapshot"


def test_a_first_snapshot_is_adopted_whole_and_only_by_an_empty_book():
    held = PositionState(position_id="P1", symbol="EURUSD", side=Side.SELL, volume_e2=1_000_000, price_e5=120_100,
                         stop_loss_e5=122_000, take_profit_e5=5, commission=-36, swap=-4, client_order_id="c1",
                         ts_open_ns=NOW_NS - 7)  # fmt: skip
    rests = OrderState(client_order_id="r1", order_id="o1", symbol="USDJPY", side=Side.BUY,
                       order_type=OrderType.LIMIT, volume_e2=100_000)  # fmt: skip
    book = empty_book()
    book.mark(quote())
    book.apply_snapshot(account(900_000, [held], [rests], leverage=50))
    wanted = replace(adopted_position(held), rate_e8=10**8, profit=920)
    assert book.positions == {"P1": wanted}
    assert (book.balance, book.leverage, book.floating, book.equity) == (900_000, 50, 880, 900_880)
    assert book.orders == {"r1": Order(
        client_order_id="r1", symbol="USDJPY", side=Side.BUY, volume_e2=100_000, order_type=OrderType.LIMIT,
        status=OrderStatus.ACCEPTED, order_id="o1")}  # fmt: skip
    assert (book.day_start_equity, book.peak_equity, book.watermarks.initial) == (900_880, 900_880, 900_000)
    assert book.watermarks.next_day_ns == NOW_NS + 6 * 60 * MINUTE_NS
    said = "a snapshot may only fill an empty book; compare later ones (risk.reconcile)"
    assert broken(book.apply_snapshot, account()) == said
    strange = "the account holds AUDNZD, which is not configured; add it or close it first"
    assert broken(empty_book().apply_snapshot, account(positions=[replace(held, symbol="AUDNZD")])) == strange
    assert broken(empty_book().apply_snapshot, account(orders=[replace(rests, symbol="AUDNZD")])) == strange


def test_levels_that_come_early_are_taken_whole_and_older_ones_never():
    book = begun()
    early = replace(levels("P1", 119_000, 121_000, ts=NOW_NS + 5), trailing_e5=40)
    assert book.fold(early) is True
    command = order("c1")
    book.sent(command, NOW_NS)
    book.fold(fill("D1", command, "P1", 120_000, remaining=100_000))
    held = book.positions["P1"]
    assert (held.stop_loss_e5, held.take_profit_e5, held.trailing_e5, held.levels_ns) == (
        119_000, 121_000, 40, NOW_NS + 5)  # fmt: skip
    assert book.fold(replace(early, trailing_e5=50, ts_event_ns=NOW_NS + 4)) is False
    assert book.fold(replace(early, trailing_e5=50)) is True
    assert held.trailing_e5 == 50


@pytest.mark.parametrize(
    ("command", "price_e5", "spent"),
    [
        (order("c", volume=1_000_000), 120_007, 70),  # seven points above what the decision saw
        (order("c", volume=1_000_000), 120_000, 0),
        (order("c", volume=1_000_000), 119_000, 0),
        (order("c", Side.SELL, 1_000_000), 119_993, 70),
        # A resting order is meant for its price.
        (order("c", volume=1_000_000, kind=OrderType.LIMIT, limit_e5=119_990), 119_991, 10),
        (order("c", volume=1_000_000, kind=OrderType.STOP, trigger_e5=121_000), 121_005, 50),
    ],
)
def test_slippage_is_what_a_fill_was_worse_than_meant(command, price_e5, spent):
    book = begun()
    book.sent(command, NOW_NS)
    book.fold(fill("D1", command, "P1", price_e5))
    for scope in (("account", ""), ("symbol", "EURUSD"), ("strategy", "s")):
        assert book.record.tally(scope).spent == spent


def test_what_nobody_here_ordered_was_meant_for_no_price():
    book = begun()
    book.fold(fill("D1", order("theirs", volume=1_000_000), "P1", 150_000))
    assert book.record.tally(("account", "")).spent == 0


def test_slippage_of_a_protective_deal_is_counted_from_its_level_for_whom_the_position_is():
    book = begun()
    opened(book, volume=1_000_000, commission=0)
    stopped = fill("D9", order("c1", Side.SELL, 400_000), "P1", 119_480, closing=True, cause="stop_loss", done=False,
                   remaining=600_000)  # fmt: skip
    book.fold(replace(stopped, level_e5=119_500))
    assert book.record.tally(("strategy", "s")).spent == 80
    book.fold(replace(stopped, deal_id="D10", volume_e2=100_000, level_e5=0, price_e5=1))
    assert book.record.tally(("account", "")).spent == 80
    book.fold(replace(stopped, deal_id="D11", volume_e2=100_000, level_e5=1_000, price_e5=999))
    assert book.record.tally(("account", "")).spent == 81


def test_slippage_of_a_protective_deal_is_the_position_s_where_its_order_is_forgotten_and_at_any_level():
    book = begun()
    opened(book, "c1", "P1", Side.SELL, 2_000_000, commission=0)
    stopped = fill("D9", order("ghost", Side.BUY, 1_000_000), "P1", 3, closing=True, cause="stop_loss", done=False,
                   remaining=1_000_000)  # fmt: skip
    book.fold(replace(stopped, level_e5=1))
    assert [book.record.tally(("strategy", name)).spent for name in ("s", "")] == [20, 0]


def test_slippage_that_nothing_values_is_not_counted():
    book = begun(quoted=False)
    command = order("c1", symbol="EURGBP")
    book.sent(command, NOW_NS)
    book.fold(fill("D1", command, "P1", 99_000))
    assert book.record.tally(("account", "")).spent == 0


def test_a_close_is_booked_to_the_record_with_all_that_it_booked():
    book = begun()
    opened(book, volume=300_000, commission=-9)
    book.fold(swap("P1", -6))
    out = order("x", Side.SELL, 300_000, position="P1")
    book.sent(out, NOW_NS)
    before = book.equity - book.positions["P1"].profit
    part = fill("D2", out, "P1", 119_900, 100_000, closing=True, remaining=200_000, gross_profit=-100, commission=-3,
                booked_commission=-6, booked_swap=-2, conversion_fee=-1, ts=NOW_NS + 4, done=False)  # fmt: skip
    book.fold(part)
    held = book.positions["P1"]
    assert (held.booked, held.commission, held.swap, held.volume_e2) == (-109, -6, -4, 200_000)
    assert book.balance == 1_000_000 - 109
    # The opening charge and the night that were booked floated before.
    assert book.equity - held.profit == before - 100 - 3 - 1
    book.fold(replace(part, deal_id="D3", volume_e2=200_000, gross_profit=400, booked_commission=-12, booked_swap=-4,
                      ts_init_ns=NOW_NS + 5))  # fmt: skip
    assert (book.positions, book.floating) == ({}, 0)
    assert book.equity == book.balance == 1_000_000 - 109 + 400 - 12 - 4 - 1
    tally = book.record.tally(("strategy", "s"))
    assert (tally.booked, tally.losses, book.record.latest_ns) == (274, 0, NOW_NS + 5)
    assert book.at_risk is False


def test_a_quote_of_a_linking_pair_revalues_what_hangs_on_it_and_no_other_moves_anything():
    book = begun()
    opened(book, "c1", "P1", volume=10_000_000, symbol="EURGBP", commission=0)
    opened(book, "c2", "P2", volume=10_000_000, commission=0)
    book.mark(quote("EURGBP", 89_000))
    held, other = book.positions["P1"], book.positions["P2"]
    assert held.profit == divide_half_away(10_000_000 * 1_000 * 136_004_000, 10**13)
    book.mark(quote("GBPUSD", 140_000))
    assert held.profit == divide_half_away(10_000_000 * 1_000 * 140_004_000, 10**13)
    assert (other.profit, book.floating) == (0, held.profit)
    book.mark(replace(quote(), symbol="XAUUSD"))
    assert "XAUUSD" not in book.quotes
    assert "XAUUSD" not in book.suspect


def test_the_peak_is_raised_by_whatever_raises_equity():
    book = begun()
    opened(book, volume=10_000_000, commission=0)
    book.mark(quote(bid=120_100))
    assert book.peak_equity == 1_010_000
    book.fold(swap("P1", 500))
    assert book.peak_equity == 1_010_500
    moved = m.BalanceMoved(move_id="m1", cause="foreign", delta=500, balance=0, ts_event_ns=NOW_NS, ts_init_ns=NOW_NS)
    book.fold(moved)
    assert book.peak_equity == 1_011_000
    book.mark(quote(bid=120_000))
    assert (book.peak_equity, book.equity) == (1_011_000, 1_001_000)
    book.fold(fill("D9", order("x", Side.SELL, 10_000_000), "P1", 121_500, closing=True, cause="take_profit",
                   gross_profit=15_000, booked_swap=500))  # fmt: skip
    assert book.peak_equity == book.equity == 1_016_000


@pytest.mark.parametrize("told", ["fact", "quote", "time"])
def test_a_day_turns_with_whatever_comes_first_and_what_floats_then_is_known(told):
    def tell(book, ns):
        if told == "fact":
            book.fold(replace(unknown(f"u{ns}"), ts_init_ns=ns))
        elif told == "quote":
            book.mark(quote(bid=120_100, ts=ns))
        else:
            book.turn(ns)

    book = begun()
    opened(book, volume=10_000_000, commission=0)
    book.mark(quote(bid=120_100))
    day_ns = book.watermarks.next_day_ns
    tell(book, day_ns - 1)
    assert (book.day_start_equity, book.record.day_begin_ns) == (1_000_000, 0)
    tell(book, day_ns)
    assert (book.day_start_equity, book.record.day_begin_ns) == (1_010_000, day_ns)
    assert book.record.tally(("strategy", "s")).floating_before == 10_000


def test_no_day_turns_before_the_account_is_known():
    fresh = empty_book()
    fresh.turn(NOW_NS + NS_PER_DAY)
    assert (fresh.record.day_begin_ns, fresh.watermarks.next_day_ns) == (0, 0)


def test_half_a_cent_of_profit_is_a_whole_one_and_of_loss_too():
    for side, bids in ((Side.BUY, (120_001, 119_999)), (Side.SELL, (119_999, 120_001))):
        book = begun()
        command = order("c1", side, 50_000)
        book.sent(command, NOW_NS)
        book.fold(fill("D1", command, "P1", 120_000))
        for bid, profit in zip(bids, (1, -1), strict=True):
            book.mark(quote(bid=bid, spread=0))
            assert (book.positions["P1"].profit, book.floating) == (profit, profit)
        book.mark(quote(bid=120_000, spread=0))
        assert book.floating == 0


def test_the_smallest_and_the_largest_price_are_prices():
    book = begun()
    for bid, ask in ((1, 1), (1, LARGEST), (LARGEST, LARGEST)):
        book.mark(quote(bid=bid, spread=ask - bid))
        assert (book.quotes["EURUSD"].bid_e5, book.quotes["EURUSD"].ask_e5) == (bid, ask)
        assert book.suspect == {}
    for bid, ask in ((0, 1), (2, 1), (1, LARGEST + 1)):
        book.mark(wrong := quote(bid=bid, spread=ask - bid))
        assert book.suspect == {"EURUSD": wrong}


def test_a_deal_that_is_told_twice_is_no_news_and_a_protective_one_fills_no_order():
    book = begun()
    command = order("c1", volume=300_000)
    book.sent(command, NOW_NS)
    deal = fill("D1", command, "P1", 120_000, 100_000, done=False)
    assert book.fold(deal) is True
    assert book.fold(deal) is False
    stopped = fill("D2", replace(command, side=Side.SELL), "P1", 119_500, 100_000, closing=True, cause="stop_loss",
                   done=False)  # fmt: skip
    assert book.fold(stopped) is True
    assert book.fold(stopped) is False
    assert book.orders["c1"].filled_e2 == 100_000
    assert book.positions == {}


def test_a_night_s_swap_stays_with_a_position_that_grows():
    book = begun()
    command = order("c1", volume=200_000)
    book.sent(command, NOW_NS)
    book.fold(fill("D1", command, "P1", 120_000, 100_000, done=False))
    book.fold(swap("P1", -4))
    book.fold(fill("D2", command, "P1", 120_000, 100_000))
    assert (book.positions["P1"].swap, book.floating) == (-4, -4)


def test_positions_that_were_there_before_all_count_with_their_charges():
    first = PositionState(position_id="P1", symbol="EURUSD", side=Side.BUY, volume_e2=100_000, price_e5=120_000,
                          stop_loss_e5=0, take_profit_e5=0, commission=-5, swap=-2)  # fmt: skip
    book = empty_book()
    book.apply_snapshot(account(positions=[first, replace(first, position_id="P2", commission=-11, swap=3)]))
    assert (book.floating, book.equity) == (-15, 999_985)


# --- what cannot be valued -------------------------------------------------------------------------------------


class Blind:
    """A price that breaks whatever works with it."""

    def __getattr__(self, name):
        raise ValueError("no " + "such " * 50 + "price")


def test_where_valuing_fails_the_book_says_why_in_200_letters_and_goes_on():
    said = ("ValueError: no " + "such " * 50 + "price")[:200]
    book = begun()
    opened(book, volume=10_000_000, commission=0)
    book.mark(quote(bid=120_100))
    book.quotes["EURUSD"] = Blind()
    assert book.fold(swap("P1", -4)) is True
    assert book.blind == ""
    more = order("c2", volume=100_000)
    assert book.fold(fill("D7", more, "P1", 120_000)) is True
    assert (book.positions["P1"].volume_e2, book.positions["P1"].profit) == (10_100_000, 10_000)
    assert book.blind == said
    assert book.equity == 1_000_000 + 10_000 - 4
    book.reset_references()
    assert book.blind == ""
    assert book.peak_equity == book.day_start_equity == 1_009_996


def test_where_a_rate_cannot_be_worked_out_a_fact_is_folded_without_one():
    book = begun()
    book.quotes["GBPUSD"] = Blind()
    book.marks.forget(("GBP",))
    assert book.fold(fill("D7", order("c2", symbol="EURGBP"), "P1", 88_000)) is True
    assert (book.positions["P1"].rate_e8, book.positions["P1"].profit) == (0, 0)
    assert book.blind.startswith("ValueError: no such")
    assert len(book.blind) == 200
    assert book.used_margin == 0


def test_a_position_without_a_rate_is_valued_once_there_is_one():
    book = begun(quoted=False)
    book.mark(quote("EURGBP", 88_100))
    opened(book, "c", "P1", volume=10_000_000, symbol="EURGBP", commission=0)
    assert (book.positions["P1"].rate_e8, book.floating, book.blind) == (0, 0, "")
    book.mark(quote("GBPUSD"))
    assert book.floating == divide_half_away(10_000_000 * 100 * 136_004_000, 10**13)
