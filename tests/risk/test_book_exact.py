"""Figures of the book to the smallest unit, and facts that come early, late, twice or for somebody else."""

from dataclasses import dataclass

import msgspec
import pytest

from bus import messages as m
from bus.errors import InvariantBroken
from bus.values import NS_PER_DAY, OrderType, Side, default_instrument
from risk.book import EARLY, Book
from tests.harness.books import NOW_NS, account, begun, cancelled, fill, levels, opened, order, quote, swap


def foreign(subject="F1", kind="position", volume=100_000, price=120_000, side=Side.BUY, symbol="EURUSD", charges=-9,
            ts=NOW_NS):  # fmt: skip
    return m.ForeignChanged(kind=kind, subject=subject, symbol=symbol, side=side, volume_e2=volume, price_e5=price,
                            charges=charges, label="", ts_event_ns=ts, ts_init_ns=ts)  # fmt: skip


@pytest.mark.parametrize(
    ("account_", "own", "rules"), [(30, 0, 30), (30, 20, 20), (30, 500, 30), (1, 1, 1), (30, 1, 1)]
)
def test_margin_counts_by_the_smaller_leverage_of_account_and_symbol(account_, own, rules):
    spec = msgspec.structs.replace(default_instrument("EURUSD"), leverage=own)
    book = Book(currency="USD", money_digits=2, leverage=account_, hedged=True, instruments=(spec,))
    assert book.leverage_of("EURUSD") == rules


def test_the_worst_case_counts_each_side_of_positions_ours_and_theirs_and_of_entries_at_work():
    book = begun()
    opened(book, "c1", "P1", Side.BUY, 100_000)
    opened(book, "c2", "P2", Side.BUY, 300_000)
    opened(book, "c3", "P3", Side.SELL, 70_000)
    book.fold(foreign("F1", volume=5_000))
    book.fold(foreign("F2", volume=6_000))
    book.fold(foreign("F3", volume=2_000, side=Side.SELL))
    book.fold(foreign("F4", "order", volume=1_000, side=Side.SELL, symbol="USDJPY"))
    book.sent(order("r1", Side.SELL, 40_000, kind=OrderType.LIMIT, limit_e5=121_000), NOW_NS)
    book.sent(order("r2", Side.BUY, 10_000, "GBPUSD", kind=OrderType.LIMIT, limit_e5=130_000), NOW_NS)
    book.sent(order("x1", Side.SELL, 100_000, position="P1"), NOW_NS)  # an exit makes nothing larger
    assert book.worst_case_e2() == {
        "EURUSD": (411_000, 112_000), "USDJPY": (0, 1_000), "GBPUSD": (10_000, 0),
    }  # fmt: skip


def test_bars_age_the_positions_of_their_symbol_alone():
    book = begun()
    opened(book)
    opened(book, "c2", "P2", symbol="USDJPY")
    for _ in range(3):
        book.on_bar("EURUSD")
    book.on_bar("GBPUSD")  # where nothing is held
    assert book.positions["P1"].bars_held == 3
    assert book.positions["P2"].bars_held == 0


def test_a_day_rolls_once_and_the_next_one_a_day_later():
    book = begun()
    opened(book, commission=0)
    day_ns = NOW_NS + NS_PER_DAY
    book.mark(quote(bid=121_000, ts=day_ns))
    assert book.day_start_equity == 1_000_000  # what the last message of the day before left
    book.mark(quote(bid=122_000, ts=day_ns + 1))
    assert book.day_start_equity == 1_000_000
    book.mark(quote(bid=122_000, ts=day_ns + NS_PER_DAY))
    assert book.day_start_equity == 1_000_000 + 2_000


def test_what_is_left_of_a_position_keeps_its_share_of_the_cost_and_of_the_charges():
    book = begun()
    command = opened(book, volume=300_000, price=120_003, commission=-9)
    book.fold(fill("D2", command, "P1", 120_005, 1, remaining=1, commission=0, done=False))
    cost = 300_000 * 120_003 + 120_005
    assert book.positions["P1"].cost == cost
    close = order("x1", Side.SELL, 100_000, position="P1")
    book.sent(close, NOW_NS)
    book.fold(fill("D3", close, "P1", 120_100, closing=True, gross_profit=970, commission=-3, booked_commission=-6,
                   conversion_fee=-1))  # fmt: skip
    left = book.positions["P1"]
    part = (2 * cost * 100_000 + 300_001) // (2 * 300_001)
    assert (left.volume_e2, left.cost) == (200_001, cost - part)
    assert left.commission == -9 + 6 - 3  # the opening charge of the closed part is booked with it
    assert book.balance == 1_000_000 + 970 - 6 - 1
    assert book.equity == book.balance + left.profit + left.commission


def test_a_close_is_booked_on_a_balance_of_nothing_too():
    book = begun(balance=0)
    opened(book, commission=0)
    close = order("x1", Side.SELL, position="P1")
    book.sent(close, NOW_NS)
    book.fold(fill("D2", close, "P1", 120_100, closing=True, gross_profit=100))
    assert book.balance == 100


# --- levels ----------------------------------------------------------------------------------------------------


def test_levels_are_news_once_and_old_levels_never():
    book = begun()
    opened(book)
    assert book.fold(levels("P1", 119_700, 121_000, ts=NOW_NS + 2)) is True
    assert book.fold(levels("P1", 119_700, 121_000, ts=NOW_NS + 3)) is False
    assert book.fold(levels("P1", 119_600, ts=NOW_NS + 1)) is False
    assert book.fold(levels("P1", 119_800, ts=NOW_NS + 2)) is True  # of the same moment the later told rules
    held = book.positions["P1"]
    assert (held.stop_loss_e5, held.take_profit_e5) == (119_800, 0)


def test_levels_that_come_before_their_position_are_kept_the_newest_alone():
    book = begun()
    assert book.fold(levels("P1", 119_700, ts=NOW_NS + 5)) is True
    assert book.fold(levels("P1", 119_600, ts=NOW_NS + 4)) is False
    assert book.fold(levels("P1", 119_650, ts=NOW_NS + 5)) is False
    assert book.fold(levels("P1", 119_800, ts=NOW_NS + 6)) is True
    assert book.fold(levels("P2", 1_000, ts=NOW_NS + 4)) is True
    command = order("c1")
    book.sent(command, NOW_NS)
    book.fold(fill("D1", command, "P1", 120_000, remaining=100_000))
    assert book.positions["P1"].stop_loss_e5 == 119_800


def test_levels_of_a_closed_position_are_no_news():
    book = begun()
    opened(book)
    close = order("x1", Side.SELL, position="P1")
    book.sent(close, NOW_NS)
    book.fold(fill("D2", close, "P1", 120_100, closing=True))
    assert book.fold(levels("P1", 119_000, ts=NOW_NS + 9)) is False
    assert book.fold(swap("P1", -4)) is False


# --- swaps -----------------------------------------------------------------------------------------------------


def test_swaps_add_up_and_each_night_is_charged_once():
    book = begun()
    opened(book, commission=0)
    before = book.equity
    assert book.fold(swap("P1", -4)) is True
    assert book.fold(swap("P1", -4)) is False
    assert book.fold(swap("P1", -5, ts=NOW_NS + NS_PER_DAY)) is True
    assert book.positions["P1"].swap == -9
    assert book.equity == before - 9


def test_swaps_that_come_before_their_position_are_kept_for_it_alone():
    book = begun()
    assert book.fold(swap("P1", -4)) is True
    assert book.fold(swap("P1", -5, ts=NOW_NS + NS_PER_DAY)) is True
    assert book.fold(swap("P2", -100)) is True
    opened(book, commission=0)
    assert book.positions["P1"].swap == -9
    assert book.equity == 1_000_000 + book.positions["P1"].profit - 9


def test_what_waits_for_its_position_is_bounded():
    book = begun()
    for number in range(EARLY + 1):
        book.fold(levels(f"P{number}", 119_700))
        book.fold(swap(f"P{number}", -1))
    command = order("c0")
    book.sent(command, NOW_NS)
    book.fold(fill("D0", command, "P0", 120_000, remaining=100_000))
    assert (book.positions["P0"].stop_loss_e5, book.positions["P0"].swap) == (0, 0)  # the oldest gave way
    command = order("c1")
    book.sent(command, NOW_NS)
    book.fold(fill("D1", command, "P1", 120_000, remaining=100_000))
    assert (book.positions["P1"].stop_loss_e5, book.positions["P1"].swap) == (119_700, -1)


# --- what is not ours ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Held:
    floating: int
    margin: int


def of(book):
    return Held(book.floating, book.used_margin)


def test_somebody_elses_position_counts_like_one_of_ours_as_it_grows_shrinks_and_goes():
    book, ours = begun(), begun()
    opened(ours, commission=-9)
    assert book.fold(foreign()) is True
    assert book.fold(foreign(ts=NOW_NS + 1)) is False
    assert of(book) == of(ours)
    for each in (book, ours):
        each.mark(quote(bid=119_000))
    assert of(book) == of(ours)
    assert book.positions == {}
    assert book.fold(foreign(volume=200_000, price=119_500)) is True
    assert of(book) == Held(-9 + 2 * (119_000 - 119_500), of(book).margin)
    assert book.fold(foreign(volume=0)) is True
    assert of(book) == Held(0, 0)
    assert book.fold(foreign(volume=0)) is False


def test_somebody_elses_order_is_counted_and_has_no_value():
    book = begun()
    assert book.fold(foreign("o1", "order")) is True
    assert (of(book), book.worst_case_e2()) == (Held(0, 0), {"EURUSD": (100_000, 0)})
    assert book.fold(foreign("o1", "position")) is True  # ids of orders and of positions are apart
    assert book.worst_case_e2() == {"EURUSD": (200_000, 0)}


def test_a_position_in_a_symbol_without_a_rate_has_no_margin_until_there_is_one():
    book = begun(quoted=False)
    book.fold(foreign(symbol="EURGBP", price=88_000))
    assert of(book) == Held(-9, 0)


# --- money that moves by itself --------------------------------------------------------------------------------


def moved(name, delta, cause="cash"):
    return m.BalanceMoved(move_id=name, cause=cause, delta=delta, balance=0, ts_event_ns=NOW_NS, ts_init_ns=NOW_NS)


def test_cash_moves_the_references_with_it_and_other_peoples_deals_do_not():
    book = begun()
    assert book.fold(moved("m1", -250_000)) is True
    assert book.fold(moved("m1", -250_000)) is False
    assert (book.balance, book.peak_equity, book.day_start_equity) == (750_000, 750_000, 750_000)
    assert book.fold(moved("m2", 10_000, "foreign")) is True
    assert (book.balance, book.peak_equity, book.day_start_equity) == (760_000, 760_000, 750_000)
    assert book.fold(moved("m3", -20_000, "foreign")) is True
    assert (book.balance, book.peak_equity, book.day_start_equity) == (740_000, 760_000, 750_000)


def test_nothing_is_booked_before_the_first_snapshot():
    book = Book(currency="USD", money_digits=2, leverage=30, hedged=True, instruments=(default_instrument("EURUSD"),))
    with pytest.raises(InvariantBroken, match="m1 moved the balance before"):
        book.fold(moved("m1", 1))


def test_a_snapshot_is_evidence_only_while_positions_agree():
    book = begun()
    opened(book)
    book.sent(order("c9"), NOW_NS)
    book.fold(m.OrderUnknown(client_order_id="c9", symbol="EURUSD", ts_init_ns=NOW_NS))
    held = m.PositionState(position_id="P1", symbol="EURUSD", side=Side.BUY, volume_e2=100_000, price_e5=120_000,
                           stop_loss_e5=119_500, take_profit_e5=0, commission=-3, swap=0)  # fmt: skip
    changed = msgspec.structs.replace(held, volume_e2=90_000)
    assert book.settle_unknown(account(positions=[changed])) == ()
    assert book.unknown_symbols == ("EURUSD",)
    assert book.settle_unknown(account(positions=[held])) == ("c9",)
    assert book.unknown_symbols == ()
    assert book.fold(cancelled("c9")) is False
