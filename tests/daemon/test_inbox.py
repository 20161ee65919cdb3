"""The inbox: facts never drop and go first; of quotes the newest a symbol wins, and the others are counted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.errors import InvariantBroken
from bus.messages import ClockTick, Quote
from daemon.inbox import Inbox


def quote(symbol, n):
    return Quote(symbol=symbol, bid_e5=n, ask_e5=n + 1, ts_event_ns=n, ts_init_ns=n)


def drain(inbox):
    taken = []
    while (message := inbox.take()) is not None:
        taken.append(message)
    return taken


@given(st.lists(st.one_of(st.sampled_from(["EURUSD", "USDJPY", "GBPUSD"]), st.none()), max_size=60))
def test_facts_all_arrive_in_order_and_only_the_newest_quote_of_a_symbol(kinds):
    inbox = Inbox()
    messages = [ClockTick(ts_init_ns=n) if kind is None else quote(kind, n + 1) for n, kind in enumerate(kinds)]
    for message in messages:
        inbox.put(message)

    taken = drain(inbox)

    facts = [message for message in messages if isinstance(message, ClockTick)]
    newest = {message.symbol: message for message in messages if isinstance(message, Quote)}
    assert taken[: len(facts)] == facts
    assert taken[len(facts) :] == sorted(newest.values(), key=lambda message: message.ts_init_ns)
    assert inbox.counters.quotes_passed_over == len(messages) - len(taken)


def test_a_core_that_stands_still_ends_the_process_instead_of_filling_memory():
    inbox = Inbox(largest_facts_waiting=3)
    for n in range(3):
        inbox.put(ClockTick(ts_init_ns=n))
    with pytest.raises(InvariantBroken, match="does not keep up"):
        inbox.put(ClockTick(ts_init_ns=4))
