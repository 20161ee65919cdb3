"""The core alone: quotes a second, and from a quote to the command it caused with every limit on."""

import gc
import shutil
import tempfile
import time
from pathlib import Path

from bench.common import percentiles, report
from bus.messages import OrderFilled, ProtectionChanged, Quote, SubmitOrder
from bus.values import NS_PER_S, Side
from daemon.core import Core, CoreSettings, StrategySettings
from daemon.engine import Engine, settle_memory
from risk.policy import Policy
from risk.sizing import SizingSettings
from tests.harness.paper import START_NS, exchange, opening, synthetic_quotes

QUOTES = 400_000
ORDERS = 4_000


def start(core: Core, settings: CoreSettings | None = None) -> int:
    seq = 0
    messages = opening(settings)
    for message in [*messages, exchange().snapshot(START_NS)]:
        seq += 1
        core.process(seq, message)
    return seq


def quotes_per_second(*, with_position: bool) -> float:
    """Quotes of one symbol, 50 ms apart, through the core with the default strategy."""
    core = Core()
    seq = start(core)
    quotes = list(synthetic_quotes(QUOTES, step_ns=NS_PER_S // 20, sigma_e5=1))
    if with_position:
        core.process(seq + 1, quotes[0])
        core.process(seq + 2, opening_fill(quotes[0]))
        core.process(seq + 3, protection(quotes[0]))
    process = core.process
    gc.disable()
    begin = time.perf_counter()
    for quote in quotes:
        seq += 1
        process(seq, quote)
    taken = time.perf_counter() - begin
    gc.enable()
    assert len(core.book.positions) == with_position
    return QUOTES / taken


def opening_fill(quote: Quote) -> OrderFilled:
    """A position that was there before (adopted), far from its stop."""
    return OrderFilled(
        deal_id="D1", client_order_id="bench-1", order_id="1", position_id="P1", symbol=quote.symbol, side=Side.BUY,
        volume_e2=100_000, price_e5=quote.ask_e5, closing=False, cause="order", remaining_e2=100_000, commission=-3,
        gross_profit=0, booked_commission=0, booked_swap=0, conversion_fee=0, balance=1_000_000, bid_e5=quote.bid_e5,
        ask_e5=quote.ask_e5, ts_event_ns=quote.ts_event_ns, ts_init_ns=quote.ts_init_ns,
    )  # fmt: skip


def protection(quote: Quote) -> ProtectionChanged:
    return ProtectionChanged(
        position_id="P1", symbol=quote.symbol, stop_loss_e5=quote.bid_e5 // 2, take_profit_e5=0, trailing_e5=0,
        ts_event_ns=quote.ts_event_ns, ts_init_ns=quote.ts_init_ns,
    )  # fmt: skip


def order_settings() -> CoreSettings:
    """The metronome every fourth quote. Every limit is on; those that its losses would rightly trip are far away."""
    return CoreSettings(
        risk=Policy(max_orders_per_minute=1_000_000, daily_loss_pct_e2=10_000, trailing_drawdown_pct_e2=10_000),
        sizing=SizingSettings(method="fixed"),
        strategies=(StrategySettings(name="metronome", params={"every_quotes": 4}),),
    )


def quote_to_command(folder: Path | None) -> list[int]:
    """Nanoseconds from a quote handed in to the command handed out; with a folder, journalled and durable."""
    engine = Engine(folder) if folder else None
    core = engine.core if engine else Core()
    venue = exchange(balance=1_000_000_000)
    messages = [*opening(order_settings()), venue.snapshot(START_NS)]
    for seq, message in enumerate(messages, 1):
        engine.step(message) if engine else core.process(seq, message)
    seq = len(messages)
    taken: list[int] = []
    settle_memory()
    for quote in synthetic_quotes(ORDERS * 12, step_ns=NS_PER_S, sigma_e5=3):
        facts = [*venue.advance(quote.ts_init_ns), *venue.on_quote(quote)]
        seq += 1
        begin = time.perf_counter_ns()
        said = engine.step(quote) if engine else core.process(seq, quote)
        end = time.perf_counter_ns()
        commands = [message for message in said if isinstance(message, SubmitOrder)]
        if commands:
            taken.append(end - begin)
        for command in commands:
            facts += venue.execute(command, quote.ts_init_ns)
        for fact in facts:
            seq += 1
            engine.step(fact) if engine else core.process(seq, fact)
        if len(taken) >= ORDERS:
            break
    if engine:
        engine.close()
    return taken


def main() -> None:
    folder = Path(tempfile.mkdtemp(dir=Path(__file__).parents[1], prefix=".bench-"))
    try:
        alone = quote_to_command(None)
        durable = quote_to_command(folder / "journal")
    finally:
        shutil.rmtree(folder)
    report(
        "core",
        quotes_per_s_flat=round(quotes_per_second(with_position=False)),
        quotes_per_s_with_position=round(quotes_per_second(with_position=True)),
        quote_to_command_us=percentiles(alone),
        quote_to_durable_command_us=percentiles(durable),
        orders=len(alone),
    )


if __name__ == "__main__":
    main()
