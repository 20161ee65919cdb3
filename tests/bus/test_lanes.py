"""What waits for a reader, and what waits for a transport."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.errors import NotSent
from bus.mailbox import Mailbox
from bus.messages import ClockTick, Quote
from bus.outgoing import WINDOW, OutgoingFacts
from bus.port import BusCounters
from tests.harness.aio import rest, run


def quote(n, symbol="EURUSD"):
    return Quote(symbol=symbol, bid_e5=n, ask_e5=n + 1, ts_event_ns=n, ts_init_ns=n)


def fact(n):
    return ClockTick(ts_init_ns=n)


def test_a_newer_quote_takes_the_place_of_the_one_that_waits():
    async def scene():
        box = Mailbox(BusCounters(), lambda box: None)
        box.put_quote(quote(1))
        box.put_fact(fact(2))
        box.put_quote(quote(3, "GBPUSD"))
        box.put_quote(quote(4))
        box.end()
        assert await rest(box) == [quote(4), fact(2), quote(3, "GBPUSD")]
        assert box.passed_over == 1

    run(scene())


def test_a_symbol_quoted_without_pause_starves_no_other():
    async def scene():
        box = Mailbox(BusCounters(), lambda box: None)
        seen = []
        box.put_quote(quote(0, "GBPUSD"))
        for n in range(10):
            box.put_quote(quote(n))
            box.put_quote(quote(n, "GBPUSD"))
            seen.append((await anext(box)).symbol)
        assert sorted(set(seen)) == ["EURUSD", "GBPUSD"]
        assert abs(seen.count("EURUSD") - seen.count("GBPUSD")) <= 1

    run(scene())


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(st.sampled_from(["put", "take", "acknowledge", "lose", "requeue"]), max_size=120))
def test_facts_reach_a_receiver_that_knows_numbers_once_and_in_order_whatever_is_lost(steps):
    facts, wire, received, acks = OutgoingFacts(), [], [], []
    given_out = 0

    def deliver():
        for each in wire:
            if each.number not in received:
                received.append(each.number)
            acks.append(each.number)
        wire.clear()

    for step in steps:
        if step == "put":
            given_out += 1
            facts.put("s", b"x")
        elif step == "take":
            each = facts.take()
            if each is not None:
                wire.append(each)
        elif step == "acknowledge":
            deliver()
            for number in acks:
                facts.acknowledge(number)
            acks.clear()
        elif step == "requeue":  # a new connection: what the old one carried arrives first, or never
            deliver()
            acks.clear()
            facts.requeue()
        else:
            wire.clear()
            acks.clear()
            facts.requeue()
    facts.requeue()
    wire.clear()
    while len(facts):
        while (each := facts.take()) is not None:
            wire.append(each)
        deliver()
        for number in acks:
            facts.acknowledge(number)
    assert received == list(range(1, given_out + 1))


def test_only_so_many_facts_are_on_their_way():
    facts = OutgoingFacts()
    for _ in range(WINDOW + 1):
        facts.put("s", b"x")
    for _ in range(WINDOW):
        assert facts.take() is not None
    assert facts.take() is None
    facts.acknowledge(1)
    assert facts.take().number == WINDOW + 1


def test_bytes_are_limited_as_well_as_facts():
    facts = OutgoingFacts(largest_bytes=10)
    facts.put("s", b"x" * 8)
    with pytest.raises(NotSent, match="at most 100000 .10 bytes"):
        facts.put("s", b"x" * 3)
    facts.take()
    facts.acknowledge(1)
    facts.put("s", b"x" * 10)
