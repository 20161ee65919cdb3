"""What reading the audit stream for alerts costs, beside the core on the same messages; and handing a notice over."""

import asyncio
import gc
import tempfile
import time
from pathlib import Path

from adapters.notify.deadletters import DeadLetters
from adapters.notify.outbox import Outbox
from adapters.notify.postman import Postman
from bench.common import percentiles, report
from bus.values import NS_PER_S
from daemon.core import Core
from risk.alerts import Alerts, AlertSettings
from tests.harness.alerts import holding, trade
from tests.harness.notify import notice
from tests.harness.paper import START_NS, exchange, opening, synthetic_quotes

QUOTES = 200_000
TRADES = 5_000
NOTICES = 1_000


def per_message_ns(fold, messages):
    gc.disable()
    begin = time.perf_counter_ns()
    for message in messages:
        fold(message)
    taken = time.perf_counter_ns() - begin
    gc.enable()
    return taken / len(messages)


def quotes(*, held):
    """Nanoseconds a quote: the core's, and the fold's."""
    messages = list(synthetic_quotes(QUOTES, step_ns=NS_PER_S // 20, sigma_e5=1))
    start = [*opening(), exchange().snapshot(START_NS), messages[0], *(holding(100_000) if held else ())]
    core, alerts = Core(), Alerts(AlertSettings())
    for seq, message in enumerate(start, 1):
        alerts.on(message)
        if type(message).__name__ != "SubmitOrder":  # which the core would say itself
            core.process(seq, message)
    return per_message_ns(lambda message: core.process(0, message), messages), per_message_ns(alerts.on, messages)


class Away:
    """A channel that never answers."""

    async def send(self, _):
        await asyncio.Event().wait()


def hand_over_us(folder):
    """Microseconds to hand a notice over while the channel hangs."""
    postman = Postman(lambda: Outbox({"away": (Away(), "info")}, DeadLetters(folder), closing_s=0.1), closing_s=0.1)
    postman.start()
    told, taken = notice(), []
    for _ in range(NOTICES):
        begin = time.perf_counter_ns()
        postman.put(told)
        taken.append(time.perf_counter_ns() - begin)
        time.sleep(0.0005)
    postman.close()
    return percentiles(taken)


def main():
    flat, held = quotes(held=False), quotes(held=True)
    alerts = Alerts(AlertSettings())
    for message in [*opening(), exchange().snapshot(START_NS)]:
        alerts.on(message)
    fills = [message for n in range(TRADES) for message in trade(f"t{n}", n % 30, ts=START_NS + n * NS_PER_S)]
    fill_ns = per_message_ns(alerts.on, fills)
    with tempfile.TemporaryDirectory() as folder:
        report(
            "alerts",
            quote_us={"flat": round(flat[1] / 1e3, 2), "held": round(held[1] / 1e3, 2)},
            quote_share_of_core={"flat": round(flat[1] / flat[0], 2), "held": round(held[1] / held[0], 2)},
            order_or_fill_us=round(fill_ns / 1e3, 1),
            hand_over_us=hand_over_us(Path(folder)),
        )


if __name__ == "__main__":
    main()
