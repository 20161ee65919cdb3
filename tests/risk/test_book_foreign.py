"""What is on the account and not ours counts; what moves the balance besides our deals is folded once."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import messages as m
from bus.errors import InvariantBroken
from bus.messages import HaltLevel
from bus.values import Side
from risk.gate import review
from risk.limits import look
from risk.policy import Policy
from risk.sizing import SizingSettings
from tests.harness.books import NOW_NS, begun, empty_book, entry, leave, opened, quote


def foreign(subject="F1", volume=1_000_000, side=Side.BUY, symbol="EURUSD", price=119_000, charges=-7, kind="position"):
    return m.ForeignChanged(kind=kind, subject=subject, symbol=symbol, side=side, volume_e2=volume, price_e5=price,
                            charges=charges, label="by hand", ts_event_ns=NOW_NS, ts_init_ns=NOW_NS)  # fmt: skip


def moved(name="cash-1", delta=50_000, cause="cash", balance=0):
    return m.BalanceMoved(move_id=name, cause=cause, delta=delta, balance=balance, ts_event_ns=NOW_NS,
                          ts_init_ns=NOW_NS)  # fmt: skip


def test_a_strangers_position_moves_equity_and_margin_like_ours():
    ours, theirs = begun(), begun()
    opened(ours, volume=1_000_000, price=119_000, commission=-7)
    assert theirs.fold(foreign())
    assert (theirs.equity, theirs.used_margin) == (ours.equity, ours.used_margin)
    for book in (ours, theirs):
        book.mark(quote(bid=118_000))
    assert theirs.equity == ours.equity < 1_000_000
    assert theirs.positions == {}, "and nothing here may close it"


def test_it_is_folded_once_and_its_end_leaves_nothing_behind():
    book = begun()
    assert book.fold(foreign())
    assert not book.fold(foreign())
    assert book.fold(foreign(volume=400_000, price=119_000, charges=-3))
    assert book.worst_case_e2()["EURUSD"] == (400_000, 0)
    assert book.fold(foreign(volume=0))
    assert not book.fold(foreign(volume=0))
    assert (book.equity, book.floating, book.used_margin, book.at_risk) == (1_000_000, 0, 0, False)


def test_what_others_hold_leaves_less_room_for_us():
    tight = Policy(max_position_pct_equity=150, max_exposure_pct_equity=150, max_order_lots_e2=0)
    sizing = SizingSettings(method="fixed", fixed_lots_e2=10)

    def answer(book):
        return review(entry(), book, tight, sizing, NOW_NS, client_order_id="c")

    assert isinstance(answer(begun()), m.SubmitOrder)
    book = begun()
    book.fold(foreign(volume=1_000_000))
    refused = answer(book)
    assert isinstance(refused, m.IntentRefused)
    assert refused.rule in {"position_size", "exposure"}


def test_a_strangers_order_counts_as_if_it_were_filled():
    book = begun()
    book.fold(foreign("O1", kind="order", side=Side.SELL, volume=300_000, price=0))
    assert book.worst_case_e2()["EURUSD"] == (0, 300_000)
    assert book.equity == 1_000_000


def test_what_nobody_here_can_value_keeps_new_risk_out():
    book = begun()
    book.fold(foreign(symbol="#4711"))
    check = look(entry(), book, Policy(), volume_e2=100_000, now_ns=NOW_NS, halt_level=HaltLevel.NONE)
    assert check.values is None


def test_no_intent_can_close_a_strangers_position():
    book = begun()
    book.fold(foreign())
    refused = review(leave("F1"), book, Policy(), SizingSettings(), NOW_NS, client_order_id="c")
    assert (type(refused), refused.rule) == (m.IntentRefused, "position")


def test_cash_moves_balance_and_references_alike_and_once():
    book = begun()
    opened(book, commission=0)
    before = book.peak_equity - book.equity, book.day_start_equity - book.equity
    assert book.fold(moved(delta=-200_000))
    assert not book.fold(moved(delta=-200_000))
    assert book.balance == 800_000
    assert (book.peak_equity - book.equity, book.day_start_equity - book.equity) == before


def test_a_strangers_closing_deal_is_a_result_and_moves_no_reference():
    book = begun()
    peak = book.peak_equity
    assert book.fold(moved("deal-9", delta=-5_000, cause="foreign"))
    assert (book.balance, book.peak_equity) == (995_000, peak)


def test_money_cannot_move_before_anybody_knows_the_account():
    with pytest.raises(InvariantBroken, match="before the first account snapshot"):
        empty_book().fold(moved())


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.sampled_from([Side.BUY, Side.SELL]),
                          st.integers(118_000, 122_000)), max_size=30))  # fmt: skip
def test_equity_is_the_balance_and_every_open_position_however_they_came_and_went(changes):
    """Strangers come, change and go in any order: what is left is worth what a plain sum says."""
    book, held = begun(), {}
    for subject, lots, side, price in changes:
        fact = foreign(str(subject), volume=lots * 100_000, side=side, price=price, charges=-lots)
        book.fold(fact)
        held[subject] = fact
    bid, ask = 120_000, 120_008
    worth = 0
    for fact in held.values():
        exit_e5 = bid if fact.side > 0 else ask
        numerator = fact.side * fact.volume_e2 * (exit_e5 - fact.price_e5)
        if fact.volume_e2:
            worth += (2 * abs(numerator) + 100_000) // 200_000 * (1 if numerator >= 0 else -1) + fact.charges
    assert book.equity == 1_000_000 + worth
    assert msgspec.json.encode(list(book.foreign.values()))
