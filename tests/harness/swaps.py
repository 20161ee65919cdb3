"""A paper day with real models in it: a registry, a service, and somebody who publishes and swaps at given quotes."""

import math
import time
from functools import lru_cache

import msgspec

from bus.messages import Quote, RunStarted
from bus.values import NS_PER_HOUR, NS_PER_S
from daemon.core import CoreSettings, StrategySettings
from daemon.engine import Engine
from daemon.journal import read, segments
from daemon.paper import Latencies, PaperShell
from daemon.settings import ModelsSection
from daemon.state import State
from daemon.swap import Swaps
from daemon.swaprecord import members_of, opening_admissions, serving
from models import artifact
from models.client import admissions
from models.registry import Registry
from models.serve import Service
from models.train.data import volatilities
from tests.harness.artifacts import forecaster
from tests.harness.markets import HORIZONS, made_up_bars
from tests.harness.paper import exchange, history, opening

SETTINGS = CoreSettings(strategies=(StrategySettings(name="interval", params={"level_ppm": 200_000, "horizon": 1}),))


@lru_cache(maxsize=256)
def model_of(seed, period_ns=NS_PER_HOUR, size=0.3):
    """A forecaster with strong opinions, for bars of any length."""
    model = forecaster(seed, size=size)
    if period_ns == NS_PER_HOUR:
        return model
    learnt = volatilities(made_up_bars(300, 5, period_ns=period_ns), horizons=(1,))[1].state()
    manifest = msgspec.structs.replace(model.manifest, period_ns=period_ns, volatility=learnt)
    return artifact.seal(manifest, model.pipeline, {}, model.tensors["golden_inputs"])


class SwapDay:
    """One day, or its continuation, over a state directory.

    Args:
        state: whose registry has a release of each symbol already, and whose journal is continued where there is one.
        quotes: what the market does.
        events: number of a quote to what somebody does just before it, given this day; nothing is done again that a
            recovery finds in the journal.
        settings: of the core.
        period_ns: length of a bar.
    """

    def __init__(self, state, quotes, events=None, *, settings=SETTINGS, period_ns=NS_PER_HOUR, models=None, watch=()):
        self.state = State(state)
        self.state.create()
        self.folder = state / "journal"
        self.period_ns = period_ns
        self.registry = Registry(self.state.models)
        self.events = events or {}
        self.notes = []
        records = list(read(self.folder)) if segments(self.folder) else []
        said = [record.message for record in records]
        self.engine = Engine(self.folder)
        if records:
            admitted, artifacts = opening_admissions(said), serving(
                self.registry, members_of(said), period_ns, self.notes.append
            )  # fmt: skip
        else:
            loaded = self.registry.load("EURUSD", period_ns)
            artifacts, admitted = loaded.artifacts, admissions(loaded, ts_init_ns=0)
        self.service = Service(artifacts)
        self.asked = 0
        self.shell = PaperShell(
            engine=self.engine, venue=exchange(), quotes=self._quotes(quotes), ask=self._ask, period_ns=period_ns,
            latencies=Latencies(), recorded=records,
        )  # fmt: skip
        self.swaps = Swaps(
            registry=self.registry, state=self.state, engine=self.engine, service=self.service, tell=self.shell.tell,
            settings=models or ModelsSection(latency_ms=0), now_ns=lambda: self.shell.now_ns, note=self.notes.append,
            run="0001", period_ns=period_ns, horizons=HORIZONS,
        )  # fmt: skip
        self.engine.watch_only([self.swaps.watch, *watch])
        self.swaps.catch_up(said)
        first = opening(settings)
        started = msgspec.structs.replace(first[0], period_ns=period_ns)
        assert isinstance(started, RunStarted)
        self._opening = [started, *(msgspec.structs.replace(each, ts_init_ns=started.ts_init_ns) for each in admitted)]
        self._opening += history() if period_ns == NS_PER_HOUR else seconds_before(first[-1].ts_close_ns)

    async def _ask(self, request):
        self.asked += 1
        return self.service.answer(request)

    def _quotes(self, quotes):
        for number, quote in enumerate(quotes):
            if number in self.events and not self.engine.recovering:
                self.events[number](self)
            yield quote

    def look(self):
        """Look around now, and until everything that was found has been told."""
        self._settle()  # who is on the way already may have looked too early
        self.swaps._next = 0.0
        self.swaps.poll()
        self._settle()

    def _settle(self):
        deadline = time.monotonic() + 60
        self.swaps._next = math.inf
        while self.swaps.busy:
            self.swaps.poll()
            assert time.monotonic() < deadline
            time.sleep(0.0005)

    async def run(self):
        try:
            with self.swaps:
                self.reason = await self.shell.run(self._opening)
                self.look()
        finally:
            self.engine.close()
            self.service.close()
        return self

    def messages(self, *kinds):
        return [record.message for record in read(self.folder) if not kinds or isinstance(record.message, kinds)]

    @property
    def succession(self):
        return self.engine.core.successions["EURUSD"]


def seconds_before(end_ns, count=256):
    """Bars of a second before the first quote."""
    return [
        msgspec.structs.replace(bar, period_ns=NS_PER_S, ts_open_ns=end_ns - (count - n) * NS_PER_S,
                                ts_close_ns=end_ns - (count - n - 1) * NS_PER_S)
        for n, bar in enumerate(history(count))
    ]  # fmt: skip


def quotes_of(messages):
    return [message for message in messages if isinstance(message, Quote)]
