"""Depth of market: a book told by ids, asked for on every way in and after it, and by nobody who does not want it."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.ctrader.depth import MOST_QUOTES, Depth, Ladder, Level
from adapters.ctrader.live import POLL_S, State
from adapters.ctrader.messages import openapi
from adapters.ctrader.prices import SILENT_S
from bus.errors import DataError, Refused
from tests.adapters.test_ctrader_live_terms import Bench

ASKED = 2156


def told(*new, gone=(), number=1):
    """An event of (id, side, price, size)."""
    event = openapi.ProtoOADepthEvent(ctidTraderAccountId=7, symbolId=number, deletedQuotes=gone)
    for each, side, price, size in new:
        event.newQuotes.add(id=each, size=size, **{side: price})
    return event


# --- the book --------------------------------------------------------------------------------------------------

QUOTES = st.tuples(st.integers(1, 9), st.sampled_from(["bid", "ask"]), st.integers(112_500, 112_506), st.integers(1, 5))


@settings(deadline=None)
@given(st.lists(st.tuples(st.lists(QUOTES, max_size=5), st.lists(st.integers(1, 9), max_size=5)), max_size=12))
def test_levels_are_what_is_left_of_all_that_was_told(events):
    ladder, left = Ladder(), {}
    for new, gone in events:
        ladder.apply(told(*new, gone=gone))
        left = {key: value for key, value in left.items() if key not in gone}
        left.update({each: (side, price, size) for each, side, price, size in new})
    bids, asks = ladder.levels(1_000)
    for levels, side in ((bids, "bid"), (asks, "ask")):
        own = [(price, size) for its, price, size in left.values() if its == side]
        prices = sorted({price for price, _ in own}, reverse=side == "bid")
        assert levels == tuple(Level(p, sum(size for price, size in own if price == p)) for p in prices)
        assert ladder.levels(2)[side == "ask"] == levels[:2]


def test_an_id_that_is_gone_and_new_in_one_event_is_there():
    ladder = Ladder()
    ladder.apply(told((1, "bid", 112_500, 3)))
    ladder.apply(told((1, "bid", 112_499, 5), gone=[1]))
    assert ladder.levels() == ((Level(112_499, 5),), ())


@pytest.mark.parametrize("wrong", ["no side", "both", "nothing", "too much", "too dear"])
def test_an_event_with_one_quote_that_cannot_be_is_not_taken_at_all(wrong):
    ladder = Ladder()
    ladder.apply(told((1, "bid", 112_500, 3)))
    event = told((2, "ask", 112_510, 1), gone=[1])
    size = 2**63 if wrong == "too much" else 1
    prices = {
        "both": {"bid": 1, "ask": 2},
        "nothing": {"bid": 0},
        "too dear": {"ask": 2**64 - 1},
        "too much": {"bid": 5},
    }
    event.newQuotes.add(id=3, size=size, **prices.get(wrong, {}))
    with pytest.raises(DataError, match="no quote"):
        ladder.apply(event)
    assert ladder.levels() == ((Level(112_500, 3),), ())


def test_a_book_without_end_is_refused():
    ladder = Ladder()
    ladder.apply(told(*((number, "bid", number, 1) for number in range(1, MOST_QUOTES + 1))))
    with pytest.raises(DataError, match="more than"):
        ladder.apply(told((MOST_QUOTES + 1, "bid", 1, 1)))


# --- subscriptions ---------------------------------------------------------------------------------------------


def test_a_broker_that_shows_no_depth_is_one_note_and_keeps_nothing_waiting():
    notes, asked = [], []

    async def ask(request):
        asked.append(list(request.symbolId))
        if list(request.symbolId) in ([1], [2]):
            raise Refused(*{1: ("INVALID_REQUEST", "no depth for you"), 2: ("ALREADY_SUBSCRIBED", "")}[len(asked)])

    async def looked():
        depth = Depth(ask, 7, notes.append)
        await depth.subscribe([1, 2, 3])
        for number in (1, 2, 3, 4):
            depth.hear(told((1, "bid", 112_500, 3), number=number))
        seen = [depth.levels(number)[0] for number in (1, 2, 3, 4)]
        depth.hear(told((9, "bid", 0, 1), number=3))
        spoilt = depth.levels(3)
        await depth.unsubscribe([1, 2, 3])
        depth.hear(told((2, "bid", 112_501, 3), number=2))
        return seen, spoilt, depth.levels(2), depth.events, depth.impossible

    there = (Level(112_500, 3),)
    assert asyncio.run(looked()) == ([(), there, there, ()], ((), ()), ((), ()), 3, 1)
    assert asked == [[1], [2], [3], [2, 3]]
    assert len(notes) == 2
    assert "no depth of symbol 1" in notes[0]


def shown(bench):
    """Whether the adapter's book is the one around the venue's newest price."""
    ((bids, asks),) = bench.live.depth().values()
    quote = bench.live.account.valuation._quotes["EURUSD"]
    assert len(bids) == len(asks) == 5
    assert (bids[0].price_e5, asks[0].price_e5) == (quote.bid_e5, quote.ask_e5)
    assert [level.price_e5 for level in bids] == [quote.bid_e5 - away for away in range(5)]


def test_depth_follows_the_market_and_comes_back_after_a_lost_connection():
    with Bench(depth=True) as bench:
        shown(bench)
        bench.price(points=7)
        shown(bench)
        bench.wired.network.reset()
        bench.wired.world.until(lambda: bench.live.state is not State.UP)
        assert bench.live.depth() == {"EURUSD": ((), ())}
        bench.wired.world.until(lambda: bench.live.state is State.UP)
        bench.price(points=9)
        shown(bench)


def test_a_silent_symbol_that_is_subscribed_anew_has_its_depth_again():
    with Bench(depth=True) as bench:
        asked = bench.wired.network.seen.types[ASKED]
        bench.wired.world.sleep(SILENT_S + 2 * POLL_S)
        assert bench.live.prices.resubscriptions > 0
        assert bench.wired.network.seen.types[ASKED] > asked
        bench.price(points=3)
        shown(bench)


def test_nobody_is_asked_for_depth_who_was_not_told_to():
    with Bench() as bench:
        assert bench.wired.network.seen.types[ASKED] == 0
        assert bench.live.depth() == {}
