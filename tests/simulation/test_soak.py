"""Weeks of quotes through the core, and weeks of orders through the exchange, in flat memory."""

import tracemalloc

import pytest

from adapters.exchange import ExecutionModel
from bus.messages import CancelOrder, Quote, SubmitOrder
from bus.values import NS_PER_S, OrderType, Side, TimeInForce
from daemon.core import Core, CoreSettings, StrategySettings
from tests.harness.paper import START_NS, exchange, opening

KIB = 1024


def quotes(count, *, step_ns):
    """Prices that swing like a saw, quickly made."""
    at = START_NS
    for number in range(count):
        bid = 120_000 + abs(number % 400 - 200)
        at += step_ns
        yield Quote(symbol="EURUSD", bid_e5=bid, ask_e5=bid + 8, ts_event_ns=at, ts_init_ns=at)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_million_quotes_leave_nothing_behind():
    core = Core()
    settings = CoreSettings(strategies=(StrategySettings(name="metronome", params={"every_quotes": 500}),))
    for seq, message in enumerate(opening(settings), 1):
        core.process(seq, message)
    venue = exchange(model=ExecutionModel(reject_pct=10))
    core.process(0, venue.snapshot(START_NS))
    orders = 0
    for number, quote in enumerate(quotes(1_000_000, step_ns=2 * NS_PER_S)):
        if number == 900_000:  # tracing is slow, and growth is growth wherever it is measured
            tracemalloc.start()
        for fact in venue.on_quote(quote) if venue.positions else ():
            core.process(0, fact)
        for said in core.process(0, quote):
            if isinstance(said, SubmitOrder):
                orders += 1
                venue.on_quote(quote)
                for fact in venue.execute(said, quote.ts_init_ns):
                    core.process(0, fact)
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()

    assert orders > 1_000
    assert grown < 512 * KIB


def test_the_exchange_forgets_orders_that_ended_long_ago():
    venue = exchange()
    tracemalloc.start()
    levels = []
    for number, quote in enumerate(quotes(60_000, step_ns=NS_PER_S)):
        venue.on_quote(quote)
        if number in {45_000, 59_999}:
            levels.append(tracemalloc.get_traced_memory()[0])
        order = SubmitOrder(
            client_order_id=f"run-{number}", intent_id="i", strategy="s", symbol="EURUSD", side=Side.BUY,
            order_type=OrderType.LIMIT, volume_e2=100_000, reference_e5=120_000, limit_e5=100_000,
            time_in_force=TimeInForce.GTC, ts_init_ns=quote.ts_init_ns,
        )  # fmt: skip
        venue.execute(order, quote.ts_init_ns)
        cancel = CancelOrder(client_order_id=f"run-{number}", symbol="EURUSD", reason="", ts_init_ns=quote.ts_init_ns)
        venue.execute(cancel, quote.ts_init_ns)
        assert not venue.execute(order, quote.ts_init_ns)
    tracemalloc.stop()

    assert levels[1] - levels[0] < 64 * KIB
