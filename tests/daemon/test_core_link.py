"""What the core does when the way to the venue is lost, when margin is short, and when history tells what it missed."""

import msgspec

from bus.messages import (
    Bar,
    CancelOrder,
    ClockTick,
    ForecastRequested,
    ForecastResolved,
    HaltLevel,
    HaltTrading,
    Intent,
    IntentRefused,
    LinkChanged,
    OrderAccepted,
    OrderRejected,
    RunEnded,
    RunResumed,
    SubmitOrder,
)
from bus.values import NS_PER_HOUR, NS_PER_S
from daemon.core import StrategySettings
from tests.daemon.test_core_trouble import Bench, quote
from tests.harness.disasters import with_resting
from tests.harness.paper import MODEL, START_NS, scripted_forecasts

EVERY = StrategySettings(name="metronome", params={"every_quotes": 1})
NOW = START_NS + NS_PER_S


def link(at, *, up):
    return LinkChanged(up=up, reason="test", ts_init_ns=at)


def bar(opened_ns, close=120_100, symbol="EURUSD"):
    return Bar(symbol=symbol, period_ns=NS_PER_HOUR, ts_open_ns=opened_ns, ts_close_ns=opened_ns + NS_PER_HOUR,
               open_e5=120_000, high_e5=120_200, low_e5=119_900, close_e5=close, spread_e5=8, quotes=9)  # fmt: skip


def test_while_the_link_is_down_entries_are_refused_and_nothing_is_kept_for_later():
    bench = Bench(EVERY)
    bench.tell(link(NOW, up=False))
    (refused,) = bench.tell(quote(NOW), IntentRefused)
    assert refused.rule == "connection"
    assert bench.tell(link(NOW + 1, up=True), SubmitOrder) == []
    assert bench.tell(quote(NOW + 2), SubmitOrder) != []


def test_what_must_be_closed_is_closed_the_moment_the_link_is_back():
    bench = Bench()
    bench.open(NOW)
    bench.tell(link(NOW, up=False))
    assert bench.tell(HaltTrading(level=HaltLevel.FLATTEN, source="web", operator="mo", reason="x", ts_init_ns=NOW),
                      SubmitOrder) == []  # fmt: skip
    for second in range(1, 30):
        assert bench.tell(ClockTick(ts_init_ns=NOW + second * NS_PER_S), SubmitOrder) == []
    (close,) = bench.tell(link(NOW + 30 * NS_PER_S, up=True), SubmitOrder)
    assert close.position_id == "P1"


def test_entries_at_rest_are_withdrawn_once_the_link_is_back(monkeypatch):
    with_resting(monkeypatch)
    bench = Bench(StrategySettings(name="resting", params={"every_quotes": 1}))
    (order,) = bench.tell(quote(NOW), SubmitOrder)
    bench.tell(OrderAccepted(client_order_id=order.client_order_id, order_id="1", symbol="EURUSD", ts_event_ns=NOW,
                             ts_init_ns=NOW))  # fmt: skip
    bench.tell(link(NOW, up=False))
    halt = HaltTrading(level=HaltLevel.CANCEL_ENTRIES, source="web", operator="mo", reason="x", ts_init_ns=NOW)
    assert bench.tell(halt, CancelOrder) == []
    (cancel,) = bench.tell(link(NOW + 1, up=True), CancelOrder)
    assert cancel.client_order_id == order.client_order_id


def test_bars_are_not_closed_by_the_clock_while_prices_are_missing_and_history_tells_them():
    bench = Bench()
    bench.tell(quote(NOW))
    bench.tell(link(NOW + 1, up=False))
    at = START_NS + NS_PER_HOUR + NS_PER_S
    assert bench.tell(ClockTick(ts_init_ns=at), Bar) == []
    assert bench.tell(bar(START_NS), ForecastRequested) == [], "a bar that was missed is looked back on, not acted on"
    assert bench.core.last_bar_ns("EURUSD") == START_NS
    bench.tell(bar(START_NS), Bar)
    bench.tell(link(at, up=True))
    bench.tell(quote(at, bid=120_300, ask=120_308))
    (closed,) = bench.tell(ClockTick(ts_init_ns=START_NS + 2 * NS_PER_HOUR), Bar)
    assert (closed.ts_open_ns, closed.open_e5) == (START_NS + NS_PER_HOUR, 120_300)


def test_a_bar_in_the_making_is_built_on():
    bench = Bench()
    bench.tell(bar(START_NS))
    bench.tell(quote(NOW, bid=120_500, ask=120_508))
    (closed,) = bench.tell(ClockTick(ts_init_ns=START_NS + NS_PER_HOUR), Bar)
    assert (closed.open_e5, closed.high_e5, closed.low_e5, closed.close_e5) == (120_000, 120_500, 119_900, 120_500)


async def _answers(request):
    return await scripted_forecasts(request)


def test_intervals_are_measured_on_bars_that_history_told():
    import asyncio

    bench = Bench()
    bench.tell(quote(NOW))
    (request,) = bench.tell(ClockTick(ts_init_ns=START_NS + NS_PER_HOUR), ForecastRequested)
    (forecast,) = asyncio.run(_answers(request))
    bench.tell(msgspec.structs.replace(forecast, ts_init_ns=START_NS + NS_PER_HOUR))
    later = START_NS + 3 * NS_PER_HOUR
    bench.tell(link(later, up=False))
    (resolved,) = bench.tell(bar(START_NS + NS_PER_HOUR, close=120_111), ForecastResolved)
    assert (resolved.model_id, resolved.horizon, resolved.actual_e5) == (MODEL, 1, 120_111)


def reject(order, at, code="NOT_ENOUGH_MONEY"):
    return OrderRejected(client_order_id=order.client_order_id, symbol=order.symbol, code=code, text="", ts_event_ns=at,
                         ts_init_ns=at)  # fmt: skip


def test_an_entry_without_enough_margin_is_tried_once_more_with_half_its_volume():
    bench = Bench(EVERY)
    (first,) = bench.tell(quote(NOW), SubmitOrder)
    said = bench.tell(reject(first, NOW + 1), Intent, SubmitOrder)
    intent, second = said
    assert intent.reason == "beat, half"
    assert second.client_order_id != first.client_order_id
    assert second.volume_e2 == first.volume_e2 // 2 // 100_000 * 100_000
    assert (second.side, second.stop_loss_e5) == (first.side, first.stop_loss_e5)
    assert bench.tell(reject(second, NOW + 2), Intent, SubmitOrder) == [], "and never again"


def test_other_refusals_are_not_tried_again():
    bench = Bench(EVERY)
    (first,) = bench.tell(quote(NOW), SubmitOrder)
    assert bench.tell(reject(first, NOW + 1, code="MARKET_CLOSED"), Intent, SubmitOrder) == []


def test_whoever_is_about_to_leave_takes_nothing_new_and_goes_on_when_it_is_back():
    bench = Bench(EVERY)
    bench.tell(RunEnded(reason="SIGTERM", flatten=False, ts_init_ns=NOW))
    assert bench.tell(quote(NOW), Intent) == []
    bench.tell(RunResumed(reason="continued", ts_init_ns=NOW + 1))
    assert bench.tell(quote(NOW + 2), SubmitOrder) != []
