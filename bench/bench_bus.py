"""The bus: in process, and over NATS with a real server where there is one."""

import asyncio
import time

from bench.common import percentiles, report
from bus.memory import MemoryBus
from bus.messages import ClockTick, ForecastRequested, Quote
from bus.nats import connect
from tests.harness import nats_server

MESSAGES = 100_000
REQUESTS = 2_000
FACTS = 20_000
WINDOW = tuple(range(100_000, 100_256))


def quote(n):
    return Quote(symbol="EURUSD", bid_e5=100_000 + n, ask_e5=100_010 + n, ts_event_ns=n, ts_init_ns=n)


def request(n):
    return ForecastRequested(
        request_id=f"r{n}", symbol="EURUSD", as_of_ns=n, period_ns=1, horizons=(1, 4, 24), deadline_ns=n,
        ts_open_ns=WINDOW, open_e5=WINDOW, high_e5=WINDOW, low_e5=WINDOW, close_e5=WINDOW, spread_e5=WINDOW,
        quotes=WINDOW,
    )  # fmt: skip


async def answer(asked):
    return [ClockTick(ts_init_ns=asked.as_of_ns)]


async def in_process():
    bus = MemoryBus()
    quotes = [quote(n) for n in range(MESSAGES)]
    facts = [ClockTick(ts_init_ns=n) for n in range(MESSAGES)]

    begin = time.perf_counter()
    for each in quotes:
        bus.publish(each)
    unheard_us = (time.perf_counter() - begin) / MESSAGES * 1e6

    reader = await bus.subscribe("clock", "quote")
    begin = time.perf_counter()
    for each in facts:
        bus.publish(each)
        await anext(reader)
    fact_us = (time.perf_counter() - begin) / MESSAGES * 1e6
    begin = time.perf_counter()
    for each in quotes:
        bus.publish(each)
        await anext(reader)
    quote_us = (time.perf_counter() - begin) / MESSAGES * 1e6
    await bus.close()
    return {
        "memory_publish_unheard_us": round(unheard_us, 3),
        "memory_fact_publish_and_read_us": round(fact_us, 3),
        "memory_quote_publish_and_read_us": round(quote_us, 3),
    }


async def over_nats(url):
    server, bus = await connect(url, name="bench-server"), await connect(url, name="bench")
    await server.serve_forecasts(answer)
    trips = []
    for n in range(REQUESTS):
        asked = request(n)
        begin = time.perf_counter_ns()
        (answered,) = await bus.ask_forecast(asked, 5)
        trips.append(time.perf_counter_ns() - begin)
        assert isinstance(answered, ClockTick)

    begin = time.perf_counter()
    for n in range(FACTS):
        bus.publish(ClockTick(ts_init_ns=n))
    await bus.flush()
    acknowledged_s = time.perf_counter() - begin

    reader = await server.subscribe("clock")
    begin = time.perf_counter()
    for n in range(FACTS):
        bus.publish(ClockTick(ts_init_ns=n))
    for _ in range(FACTS):
        await anext(reader)
    read_s = time.perf_counter() - begin
    await bus.close()
    await server.close()
    return {
        "nats_forecast_round_trip_us": percentiles(trips),
        "nats_facts_acknowledged_per_s": round(FACTS / acknowledged_s),
        "nats_facts_published_and_read_per_s": round(FACTS / read_s),
    }


def main():
    figures = asyncio.run(in_process())
    missing = nats_server.unavailable()
    if missing:
        figures["nats_skipped"] = missing
    else:
        with nats_server.server() as running:
            figures |= asyncio.run(over_nats(running.url))
    report("bus", **figures)


if __name__ == "__main__":
    main()
