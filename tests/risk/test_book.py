import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.errors import InvariantBroken
from bus.messages import AmendProtection, CancelOrder, PositionState
from bus.values import NS_PER_DAY, NS_PER_HOUR, OrderType, Side
from tests.harness.books import (
    MINUTE_NS,
    NOW_NS,
    PRICES,
    SYMBOLS,
    accepted,
    account,
    begun,
    cancelled,
    empty_book,
    fill,
    levels,
    opened,
    order,
    quote,
    rejected,
    swap,
    unknown,
)


def half_away(x):
    sign = 1 if x >= 0 else -1
    return sign * int(abs(x) + Fraction(1, 2))


def state(book):
    positions = {
        p.position_id: (p.side, p.volume_e2, p.cost, p.commission, p.swap, p.stop_loss_e5, p.profit)
        for p in book.positions.values()
    }
    return book.balance, book.equity, positions, list(book.orders), book.unknown_symbols


def test_a_long_position_floats_by_the_bid_and_a_short_one_by_the_ask():
    book = begun()
    opened(book, price=120_000, volume=10_000_000)  # 1 lot; one pip = 10 USD
    opened(book, "c2", "P2", Side.SELL, 10_000_000, price=120_000)
    book.mark(quote(bid=120_100, spread=10))
    assert [p.profit for p in book.positions.values()] == [10_000, -11_000]
    assert book.equity == 1_000_000 - 1_000 - 6
    assert book.floating == -1_006


def test_profit_in_another_currency_is_converted_at_the_last_mid():
    book = begun()
    opened(book, symbol="USDJPY", volume=10_000_000, price=10_900_000, commission=0)
    book.mark(quote("USDJPY", 11_000_000, spread=0))
    assert book.floating == half_away(Fraction(10_000_000 * 100_000, 100 * 100_000) / Fraction(110) * 100)


def test_a_position_is_revalued_when_only_its_conversion_rate_moves():
    book = begun()
    opened(book, symbol="EURGBP", volume=10_000_000, price=87_000, commission=0)
    book.mark(quote("EURGBP", 88_000))
    before = book.equity
    book.mark(quote("GBPUSD", 140_000, spread=0))
    assert book.equity == 1_000_000 + 140_000
    assert book.equity != before


def test_balance_moves_by_exactly_what_a_closing_deal_books():
    book = begun()
    opened(book, volume=200_000, commission=-6)
    book.fold(swap("P1", -9))
    part = order("x1", Side.SELL, 100_000, position="P1")
    book.sent(part, NOW_NS)
    book.fold(fill("D2", part, "P1", 120_100, closing=True, remaining=100_000, commission=-3, gross_profit=100,
                   booked_commission=-6, booked_swap=-5))  # fmt: skip
    assert book.balance == 1_000_000 + 100 - 6 - 5
    assert (book.positions["P1"].commission, book.positions["P1"].swap) == (-3, -4)
    assert book.floating == book.positions["P1"].profit - 7
    rest = order("x2", Side.SELL, 100_000, position="P1")
    book.sent(rest, NOW_NS)
    book.fold(fill("D3", rest, "P1", 120_100, closing=True, commission=-3, gross_profit=100, booked_commission=-6,
                   booked_swap=-4, conversion_fee=-1))  # fmt: skip
    assert book.balance == book.equity == 1_000_000 + 200 - 12 - 9 - 1
    assert not book.positions
    assert book.floating == 0


def test_an_order_counts_from_the_moment_it_is_sent():
    book = begun()
    book.sent(order("c1", volume=300_000), NOW_NS)
    assert book.worst_case_e2() == {"EURUSD": (300_000, 0)}
    assert book.exposure_of("EURUSD") == 0
    assert book.has_pending("s", "EURUSD")
    assert not book.has_pending("other", "EURUSD")
    book.fold(rejected("c1"))
    assert book.worst_case_e2() == {}
    assert not book.has_pending("s", "EURUSD")


def test_a_fill_may_come_before_its_acceptance_and_levels_before_the_fill():
    book = begun()
    command = order("c1")
    book.sent(command, NOW_NS)
    assert book.fold(levels("P1", 119_500))
    assert book.fold(swap("P1", -2))
    assert book.fold(fill("D1", command, "P1", 120_000, commission=-3))
    assert not book.fold(accepted("c1"))
    position = book.positions["P1"]
    assert (position.stop_loss_e5, position.swap, position.strategy) == (119_500, -2, "s")
    assert book.equity == 1_000_000 + position.profit - 5


def test_older_levels_do_not_replace_newer_ones():
    book = begun()
    opened(book)
    book.fold(levels("P1", 119_800, ts=NOW_NS + 5))
    assert not book.fold(levels("P1", 119_600, ts=NOW_NS + 2))
    assert book.positions["P1"].stop_loss_e5 == 119_800


def test_a_cancellation_that_counts_deals_not_yet_told_keeps_them_as_exposure():
    book = begun()
    command = order("c1", volume=300_000, kind=OrderType.LIMIT, limit_e5=119_000)
    book.sent(command, NOW_NS)
    assert book.fold(cancelled("c1", filled=200_000))
    assert not book.fold(cancelled("c1", filled=200_000))
    assert book.worst_case_e2()["EURUSD"] == (200_000, 0)
    book.fold(fill("D1", command, "P1", 119_000, 200_000, done=False))
    assert book.exposure_of("EURUSD") == 200_000
    assert not book.orders


def test_a_refused_cancel_leaves_the_order_resting():
    book = begun()
    book.sent(order("c1", kind=OrderType.LIMIT, limit_e5=119_000), NOW_NS)
    book.fold(accepted("c1"))
    assert [o.client_order_id for o in book.resting_entries()] == ["c1"]
    book.sent(CancelOrder(client_order_id="c1", symbol="EURUSD", reason="", ts_init_ns=NOW_NS), NOW_NS)
    assert not book.resting_entries()
    book.fold(rejected("c1", "MARKET_CLOSED"))
    assert [o.client_order_id for o in book.resting_entries()] == ["c1"]


@pytest.mark.parametrize("evidence", [accepted("c1"), rejected("c1"), cancelled("c1")])
def test_an_unknown_outcome_marks_the_symbol_until_there_is_evidence(evidence):
    book = begun()
    book.sent(order("c1"), NOW_NS)
    assert book.fold(unknown("c1"))
    assert not book.fold(unknown("c1"))
    assert book.unknown_symbols == ("EURUSD",)
    book.fold(evidence)
    assert book.unknown_symbols == ()
    assert not book.fold(unknown("c1")), "the question comes after its answer"
    assert book.unknown_symbols == ()


def test_a_snapshot_settles_an_unknown_order_that_never_arrived_but_not_one_that_may_have_traded():
    book = begun()
    book.sent(order("c1"), NOW_NS)
    book.fold(unknown("c1"))
    held = PositionState(position_id="P9", symbol="EURUSD", side=Side.BUY, volume_e2=1, price_e5=1, stop_loss_e5=0,
                         take_profit_e5=0, commission=0, swap=0)  # fmt: skip
    assert book.settle_unknown(account(positions=[held])) == ()
    assert book.settle_unknown(account()) == ("c1",)
    assert not book.orders
    assert not book.unknown_symbols


def contradictions():
    closing = order("x", Side.SELL, 200_000, position="P1")
    return [
        ("lacks", fill("D9", closing, "P7", 120_000, closing=True)),
        ("holds 100000", fill("D9", closing, "P1", 120_000, closing=True)),
        ("holds 100000", fill("D9", order("x", Side.BUY), "P1", 120_000, closing=True)),
        ("opens against", fill("D9", order("x", Side.SELL), "P1", 120_000)),
        ("impossible", fill("D9", order("x"), "P3", 120_000, volume=0)),
        ("has 50000 left", fill("D9", order("waiting"), "P3", 120_000, volume=60_000)),
        ("ended with", cancelled("waiting", filled=60_000)),
    ]


@pytest.mark.parametrize(("words", "fact"), contradictions())
def test_a_contradiction_stops_everything(words, fact):
    book = begun()
    opened(book)
    book.sent(order("waiting", volume=50_000), NOW_NS)
    with pytest.raises(InvariantBroken, match=words):
        book.fold(fact)


def test_a_client_order_id_is_used_once():
    book = begun()
    book.sent(order("c1"), NOW_NS)
    with pytest.raises(InvariantBroken, match="used once"):
        book.sent(order("c1"), NOW_NS)
    book.fold(rejected("c1"))
    with pytest.raises(InvariantBroken, match="used once"):
        book.sent(order("c1"), NOW_NS)


def test_a_deal_before_the_first_snapshot_is_refused():
    with pytest.raises(InvariantBroken, match="snapshot"):
        empty_book().fold(fill("D1", order("c1"), "P1", 120_000))


def test_a_book_that_knows_something_adopts_nothing():
    with pytest.raises(InvariantBroken, match="empty book"):
        begun().apply_snapshot(account())


def test_an_adopted_position_keeps_its_money_and_is_valued_at_the_first_quote():
    book = empty_book()
    held = PositionState(position_id="P1", symbol="EURUSD", side=Side.SELL, volume_e2=10_000_000, price_e5=121_000,
                         stop_loss_e5=122_000, take_profit_e5=0, commission=-360, swap=-40)  # fmt: skip
    book.apply_snapshot(account(positions=[held]))
    assert book.equity == 1_000_000 - 400
    book.mark(quote(bid=120_000, spread=8))
    assert book.equity == 1_000_000 - 400 + 99_200
    assert book.used_margin == 403_333


def test_the_day_turns_at_17_new_york_with_the_equity_of_the_last_message_before():
    book = begun()
    opened(book, volume=10_000_000, price=120_008, commission=0)
    book.mark(quote(bid=120_308, ts=NOW_NS + 5 * NS_PER_HOUR + 59 * MINUTE_NS))  # 20:59 UTC = 16:59 in May
    assert book.day_start_equity == 1_000_000
    book.mark(quote(bid=119_000, ts=NOW_NS + 6 * NS_PER_HOUR))
    assert book.day_start_equity == 1_030_000
    assert book.peak_equity == 1_030_000
    book.reset_references()
    assert book.peak_equity == book.day_start_equity == book.equity < 1_000_000


def test_an_impossible_quote_values_nothing_and_stays_in_sight():
    book = begun()
    opened(book)
    before = state(book)
    for bad in (quote(bid=0), quote(spread=-1), quote(bid=float("nan")), quote(bid=10**14), quote(bid=True)):
        book.mark(bad)
        assert book.suspect["EURUSD"] is bad
        assert state(book) == before
        assert book.quotes["EURUSD"].bid_e5 == 120_000
    book.mark(quote())
    assert not book.suspect


def test_orders_are_counted_for_a_minute():
    book = begun()
    for n in range(5):
        book.sent(order(f"c{n}"), NOW_NS + n)
    assert book.orders_in_last_minute(NOW_NS + 4) == 5
    assert book.orders_in_last_minute(NOW_NS + MINUTE_NS + 2) == 2


def test_bars_are_counted_for_the_positions_of_their_symbol_only():
    book = begun()
    opened(book)
    opened(book, "c2", "P2", symbol="GBPUSD")
    book.on_bar("EURUSD")
    assert [p.bars_held for p in book.positions.values()] == [1, 0]


def test_a_wish_to_amend_changes_no_level():
    book = begun()
    opened(book)
    book.sent(AmendProtection(position_id="P1", symbol="EURUSD", stop_loss_e5=1, take_profit_e5=0, trailing_e5=0,
                              reason="", ts_init_ns=NOW_NS), NOW_NS)  # fmt: skip
    assert book.positions["P1"].stop_loss_e5 == 119_500


def test_what_is_remembered_of_the_past_is_bounded():
    book = begun()
    for n in range(10_050):
        command = order(f"c{n}")
        book.sent(command, NOW_NS)
        book.fold(fill(f"D{n}", command, f"P{n}", 120_000, commission=0))
        out = order(f"x{n}", Side.SELL, position=f"P{n}")
        book.sent(out, NOW_NS)
        book.fold(fill(f"E{n}", out, f"P{n}", 120_000, closing=True))
    assert len(book._deals) == len(book.table._ended) == len(book._closed) == 10_000
    assert book.equity == book.balance


@st.composite
def days(draw):
    """Entries with partial fills, swaps, levels, partial closes and quotes; (sent orders, facts, quotes)."""
    sent, chains, n = [], [], 0
    for p in range(draw(st.integers(1, 4))):
        symbol = draw(st.sampled_from(SYMBOLS))
        side = draw(st.sampled_from(Side))
        parts = draw(st.lists(st.integers(1, 50), min_size=1, max_size=3))
        command = order(f"c{p}", side, sum(parts) * 1000, symbol)
        sent.append(command)
        chain, held, commission, swapped = [accepted(f"c{p}", symbol)], 0, 0, 0
        for part in parts:
            held, n = held + part * 1000, n + 1
            commission -= part
            price = PRICES[symbol] + draw(st.integers(-500, 500))
            chain.append(fill(f"D{n}", command, f"P{p}", price, part * 1000, remaining=held, commission=-part,
                              done=held == command.volume_e2))  # fmt: skip
        chain.append(levels(f"P{p}", PRICES[symbol] - side * 700, symbol=symbol))
        if draw(st.booleans()):
            swapped = draw(st.integers(-50, 50))
            chain.append(swap(f"P{p}", swapped, symbol=symbol))
        if draw(st.booleans()):
            volume = draw(st.integers(1, held // 1000)) * 1000
            out = order(f"x{p}", side.opposite, volume, symbol, position=f"P{p}")
            sent.append(out)
            last = volume == held
            n += 1
            chain.append(fill(f"D{n}", out, f"P{p}", PRICES[symbol], closing=True, remaining=held - volume,
                              commission=-2, gross_profit=draw(st.integers(-999, 999)), conversion_fee=-1,
                              booked_commission=-2 + (commission if last else commission // 2),
                              booked_swap=swapped if last else swapped // 2))  # fmt: skip
        chains.append(chain)
    quotes = draw(st.lists(st.tuples(st.sampled_from(SYMBOLS), st.integers(-900, 900)), max_size=8))
    return sent, chains, [quote(s, PRICES[s] + move) for s, move in quotes]


def interleaved(chains, source):
    waiting = [list(chain) for chain in chains]
    out = []
    while waiting:
        chain = source.choice(waiting)
        out.append(chain.pop(0))
        if not chain:
            waiting.remove(chain)
    return out


def run(day, source=None):
    sent, chains, quotes = day
    book = begun()
    for command in sent:
        book.sent(command, NOW_NS)
    facts = [fact for chain in chains for fact in chain]
    if source is not None:
        facts = interleaved(chains, source)
        told = list(facts)
        for fact in facts:  # tell some of them again, later
            if source.random() < 0.5:
                told.insert(source.randrange(told.index(fact) + 1, len(told) + 1), fact)
        facts = told
    for fact in facts:
        book.fold(fact)
    for one in quotes:
        book.mark(one)
    return book


@settings(max_examples=120, deadline=None)
@given(days(), st.integers(0, 10**9))
def test_facts_told_twice_or_in_another_order_change_nothing(day, seed):
    straight, shuffled = state(run(day)), state(run(day, random.Random(seed)))
    assert straight[:2] == shuffled[:2]
    assert straight[2] == {name: shuffled[2][name] for name in straight[2]} == shuffled[2]
    assert straight[3:] == shuffled[3:]


@settings(max_examples=120, deadline=None)
@given(days())
def test_positions_and_equity_equal_an_independent_recomputation(day):
    book = run(day)
    fills = [f for chain in day[1] for f in chain if hasattr(f, "deal_id")]
    for symbol in SYMBOLS:
        assert book.exposure_of(symbol) == sum(f.side * f.volume_e2 for f in fills if f.symbol == symbol)
    booked = sum(f.gross_profit + f.booked_commission + f.booked_swap + f.conversion_fee for f in fills)
    assert book.balance == 1_000_000 + booked
    charges = sum(f.commission for f in fills) - sum(f.booked_commission for f in fills)
    charges += sum(x.amount for chain in day[1] for x in chain if hasattr(x, "nights"))
    charges -= sum(f.booked_swap for f in fills)
    mids = {s: (q.bid_e5 + q.ask_e5) // 2 for s, q in book.quotes.items()}
    rates = {"USD": Fraction(1), "JPY": Fraction(100_000, mids["USDJPY"]), "GBP": Fraction(mids["GBPUSD"], 100_000)}
    floating = 0
    for p in book.positions.values():
        q = book.quotes[p.symbol]
        price = q.bid_e5 if p.side > 0 else q.ask_e5
        rate = Fraction(half_away(rates[p.symbol[3:]] * 10**8), 10**8)
        floating += half_away(p.side * (p.volume_e2 * price - p.cost) * rate / 10**5)
    assert book.equity == book.balance + charges + floating
    assert book.peak_equity >= book.equity


def test_a_day_later_the_references_follow():
    book = begun()
    book.mark(quote(ts=NOW_NS + NS_PER_DAY))
    assert book.day_start_equity == 1_000_000
