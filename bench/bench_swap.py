"""Swaps under load: quotes at 1,000 a second through the live shell while models are published, promoted, rolled back.

Latency is from the moment a quote is due to the moment the core has dealt with it (journalled, folded), in one process
with the event loop, inference and admission of a daemon; another process publishes. The same models answer bars of a
second throughout. Quiet and busy phases take turns; the ratio of their 99th percentiles is the figure that travels.
"""

import asyncio
import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import msgspec

from bench.common import percentiles, report
from bus.clock import SystemClock
from bus.errors import NotSent
from bus.messages import (
    CalibratedForecast,
    LinkChanged,
    ModelAdmitted,
    ModelPromoted,
    ModelRefused,
    ModelRolledBack,
    Quote,
)
from bus.values import NS_PER_S
from daemon.core import CoreSettings
from daemon.engine import Engine, settle_memory
from daemon.journal import read
from daemon.live import LiveShell
from daemon.settings import ModelsSection
from daemon.state import State
from daemon.swap import Swaps
from models.artifact import MANIFEST, WEIGHTS
from models.client import admissions
from models.registry import Registry
from models.serve import Service
from tests.harness.markets import HORIZONS
from tests.harness.paper import exchange, opening
from tests.harness.reign import mixed
from tests.harness.swaps import model_of, seconds_before

SWAPS, ROLLBACKS = 100, 10
QUOTES_A_SECOND = 1_000
WARM_UP = 6
ROUNDS = 10
QUIET_S = 4.0
PAUSE_S = 0.3
SETTLE_S = 1.0

PUBLISHER = """
import sys, time
from pathlib import Path
from daemon.state import State, SwapFile
from models import artifact
from models.registry import Registry
root, prepared, pause = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
state = State(root)
registry = Registry(state.models)
models = iter([artifact.read(prepared / name) for name in (prepared / "order").read_text().split()[1:]])
def wish(model_id, rollback):
    state.ask_swap(SwapFile(rollback=rollback, symbol="EURUSD", model_id=model_id, operator="bench", reason="load"))
    time.sleep(pause)
print("ready", flush=True)
for line in sys.stdin:
    swaps, rollbacks = map(int, line.split())
    for _ in range(swaps):
        model = next(models)
        registry.publish([model], active=model.model_id)
        wish(model.model_id, False)
    for _ in range(rollbacks):
        wish("", True)
    print("done", flush=True)
"""


class Still:
    """An account at which nothing happens."""

    settled = True

    def __init__(self):
        self.bars_since = lambda _: 0

    def connect(self, publish, now_ns):
        publish(exchange().snapshot(now_ns))
        publish(LinkChanged(up=True, reason="bench", ts_init_ns=now_ns))

    def send(self, _command, _now_ns):
        raise NotSent("nobody is there")

    def request_snapshot(self, _now_ns):
        raise NotSent("nobody is there")

    def caught_up(self):
        pass


class Bench:
    """A live shell with one symbol, and the latencies of its quotes."""

    def __init__(self, root: Path) -> None:
        self.state = State(root)
        self.state.create()
        self.registry = Registry(self.state.models)
        loaded = self.registry.load("EURUSD", NS_PER_S)
        self.service = Service(loaded.artifacts)
        self.engine = Engine(root / "journal")
        self.shell = LiveShell(engine=self.engine, venue=Still(), ask=self.service.answer_async, clock=SystemClock(),
                               period_ns=NS_PER_S, spread_of=lambda _: None)  # fmt: skip
        self.swaps = Swaps(
            registry=self.registry, state=self.state, engine=self.engine, service=self.service, tell=self.shell.tell,
            settings=ModelsSection(), now_ns=time.time_ns, note=lambda _: None, run="bench", period_ns=NS_PER_S,
            horizons=HORIZONS,
        )  # fmt: skip
        self.engine.watch_only([self.swaps.watch, self.watch])
        self.shell.on_breath = self.breathe
        self.taken: list[int] = []
        self.sent = 0
        began = time.time_ns()
        started = msgspec.structs.replace(opening(CoreSettings())[0], period_ns=NS_PER_S, ts_init_ns=began, mode="demo")
        self.opening = [started, *admissions(loaded, ts_init_ns=began), *seconds_before(began - began % NS_PER_S)]

    def breathe(self, *, waiting):  # noqa: ARG002 (a shell says so)
        self.swaps.poll()

    def watch(self, _, message):
        if type(message) is Quote:
            self.taken.append(time.time_ns() - message.ts_event_ns)

    async def feed(self, while_true):
        """Quotes, each stamped with when it was due."""
        due = time.time_ns()
        while while_true():
            now = time.time_ns()
            if now < due:
                await asyncio.sleep((due - now) / NS_PER_S)
                continue
            price = 120_000 + (self.sent * 7919) % 41
            self.shell.put(Quote(symbol="EURUSD", bid_e5=price, ask_e5=price + 8, ts_event_ns=due, ts_init_ns=now))
            self.sent += 1
            due += NS_PER_S // QUOTES_A_SECOND
            await asyncio.sleep(0)

    async def quiet(self, seconds):
        self.taken = []
        end = time.monotonic() + seconds
        await self.feed(lambda: time.monotonic() < end)
        return self.taken

    async def swapping(self, publisher, swaps, rollbacks):
        """Quotes while another process publishes and wishes, and for the second in which the last is carried out."""
        self.taken = []
        done = asyncio.ensure_future(asyncio.to_thread(ordered, publisher, f"{swaps} {rollbacks}"))
        await self.feed(lambda: not done.done())
        end = time.monotonic() + SETTLE_S
        await self.feed(lambda: time.monotonic() < end)
        return self.taken


def ordered(publisher, order):
    """Give the publisher an order, where there is one, and wait for its word."""
    if order:
        publisher.stdin.write(f"{order}\n")
        publisher.stdin.flush()
    return publisher.stdout.readline()


async def measure(root: Path, publisher):
    bench = Bench(root)
    running = asyncio.ensure_future(bench.shell.run(bench.opening))
    quiet, swapping = [], []
    try:
        with bench.swaps:
            await bench.quiet(2)
            await bench.swapping(publisher, WARM_UP, 0)
            settle_memory()
            for _ in range(ROUNDS):  # by turns, so that what else the machine does falls on both alike
                quiet.append(await bench.quiet(QUIET_S))
                swapping.append(await bench.swapping(publisher, SWAPS // ROUNDS, ROLLBACKS // ROUNDS))
            await asyncio.sleep(0.1)
            bench.shell.stop("done")
            with contextlib.suppress(NotSent):
                await running
    finally:
        bench.engine.close()
        bench.service.close()
    return bench, quiet, swapping


def main() -> None:
    root = Path(tempfile.mkdtemp(dir=Path(__file__).parents[1], prefix=".bench-"))
    try:
        models = [model_of(seed, NS_PER_S, size=0.001) for seed in range(1 + WARM_UP + SWAPS)]
        for model in models:
            folder = root / "prepared" / model.model_id
            folder.mkdir(parents=True)
            (folder / MANIFEST).write_bytes(model.manifest_bytes)
            (folder / WEIGHTS).write_bytes(model.weights_bytes)
        (root / "prepared" / "order").write_text("\n".join(model.model_id for model in models))
        Registry(State(root / "state").models).publish([models[0]], active=models[0].model_id)
        publisher = subprocess.Popen(
            [sys.executable, "-c", PUBLISHER, root / "state", root / "prepared", str(PAUSE_S)],
            cwd=Path(__file__).parents[1], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        ordered(publisher, "")
        bench, quiet, swapping = asyncio.run(measure(root / "state", publisher))
        publisher.communicate()
        messages = [record.message for record in read(root / "state" / "journal")]
    finally:
        shutil.rmtree(root)
    base, load = (percentiles([each for part in parts for each in part]) for parts in (quiet, swapping))
    ratios = [percentiles(b)["p99"] / percentiles(a)["p99"] for a, b in zip(quiet, swapping, strict=True)]
    counted = {kind.__name__: sum(isinstance(each, kind) for each in messages)
               for kind in (ModelAdmitted, ModelPromoted, ModelRolledBack, ModelRefused)}  # fmt: skip
    report(
        "swap",
        quotes_a_second=QUOTES_A_SECOND,
        quiet_us=base,
        swapping_us=load,
        added_p99_pct=round(100 * (load["p99"] / base["p99"] - 1), 1),
        added_p99_pct_median_round=round(100 * (median(ratios) - 1), 1),
        swaps=counted["ModelPromoted"] - WARM_UP,
        rollbacks=counted["ModelRolledBack"],
        refused=counted["ModelRefused"],
        admitted=counted["ModelAdmitted"],
        quotes_sent=bench.sent,
        quotes_passed_over=bench.shell.inbox.counters.quotes_passed_over,
        quotes_on_record=sum(type(each) is Quote for each in messages),
        mixed_decisions=len(mixed(messages)),
        decided=sum(isinstance(each, CalibratedForecast) and each.active for each in messages),
        quiet_n=sum(map(len, quiet)),
        swapping_n=sum(map(len, swapping)),
    )


if __name__ == "__main__":
    main()
