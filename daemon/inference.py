"""Somebody to ask for forecasts: a thread in this process, or whoever serves a bus. And serving one."""

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass

from rich.console import Console

from bus.errors import ModelError, NotSent
from bus.memory import MemoryBus
from bus.messages import AnyMessage, ForecastMissed, ForecastRequested
from bus.port import Bus
from daemon.answers import AskForecast
from daemon.config import Config
from daemon.inferenceprocess import InferenceProcess
from daemon.service import Notifier
from daemon.snapshot import DeviceView, InferenceView
from daemon.state import State
from daemon.swaprecord import speaking
from models.artifact import Artifact
from models.registry import Registry
from models.serve import Service

_WAIT_FOR_INFERENCE_S = 60.0
_ANSWER_TIMEOUT_S = 30.0
_LOOK_S = 1.0
"""How often an inference process looks for models that were published or let in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inference:
    """Somebody to ask.

    Attributes:
        ask: asks it.
        service: has the models in this process; None where there is no such.
        bus: that it is asked over; None = over none.
        figures: how it is; None where whoever serves the bus knows.
    """

    ask: AskForecast
    service: Service | None = None
    bus: Bus | None = None
    figures: Callable[[], InferenceView | None] = lambda: None


def _of_thread(service: Service) -> InferenceView:
    return InferenceView(worker="thread", state="up", answered=service.answered, missed=dict(service.missed))


def _of_process(process: InferenceProcess) -> InferenceView:
    counters, seen = process.counters, process.seen
    device = None if seen is None else seen.device
    return InferenceView(
        worker="process",
        state=process.state.value,
        answered=counters.by_child + counters.by_fallback,
        missed={} if seen is None else seen.missed,
        stood_in=counters.by_fallback,
        unanswered=counters.unanswered,
        restarts=counters.restarts,
        memory_bytes=0 if seen is None else seen.memory_bytes,
        busy=0.0 if seen is None else seen.busy_ppm / 1e6,
        device=None
        if device is None
        else DeviceView(
            name=device.name,
            models=device.models,
            kept_off=device.kept_off,
            answered=device.answered,
            fell_back=device.fell_back,
            memory_bytes=device.memory_bytes,
            busy=device.busy_ppm / 1e6,
        ),
    )


@contextlib.asynccontextmanager
async def forecasting(
    config: Config, artifacts: Sequence[Artifact], console: Console, *, live: bool = False
) -> AsyncGenerator["Inference"]:
    """Somebody to ask: a worker thread behind the in-process bus, a process, or whoever serves the bus at a URL.

    Args:
        config: names the bus.
        artifacts: answer where there is no bus.
        console: is told who is waited for.
        live: time does not wait: who does not answer at once is told as unavailable.
    """
    if config.bus.url:
        from bus.nats import connect

        bus: Bus = await connect(config.bus.url, name="plimsoll", namespace=config.bus.namespace)
        try:
            yield Inference(ask=_impatient(bus, config) if live else _patient(bus, console), bus=bus)
        finally:
            try:
                await bus.close()
            except NotSent as error:
                console.print(f"not everything reached the bus ({error}); the journal has it all")
        return
    service = Service(artifacts)
    try:
        if config.forecast.worker == "process":
            answer_s = float(config.forecast.deadline_s) if live else _ANSWER_TIMEOUT_S

            def note(line: str) -> None:
                console.print(line, soft_wrap=True, markup=False, highlight=False)

            forecast = config.forecast
            async with InferenceProcess(
                service, answer_s=answer_s, note=note, device=forecast.device, gather_us=forecast.gather_us
            ) as process:
                yield Inference(ask=process.ask, service=service, figures=lambda: _of_process(process))
            return
        local = MemoryBus()
        serving = await local.serve_forecasts(service.answer_async)

        async def ask(request: ForecastRequested) -> Sequence[AnyMessage]:
            return await local.ask_forecast(request, _ANSWER_TIMEOUT_S)

        try:
            yield Inference(ask=ask, service=service, figures=lambda: _of_thread(service))
        finally:
            await serving.close()
            await local.close()
    finally:
        service.close()


class Distributor:
    """Puts the audit stream on a bus, which only distributes: when it cannot, trading goes on."""

    def __init__(self, bus: Bus, console: Console) -> None:
        self._bus = bus
        self._console = console
        self._failing = False

    def watch(self, _: int, message: AnyMessage) -> None:
        """Publish one message."""
        try:
            self._bus.publish(message)
            self._failing = False
        except NotSent as error:
            if not self._failing:
                self._console.print(f"the bus takes no more messages: {error}")
            self._failing = True


def _impatient(bus: Bus, config: Config) -> AskForecast:
    """Ask over a bus for as long as an answer is of use."""

    async def ask(request: ForecastRequested) -> Sequence[AnyMessage]:
        return await bus.ask_forecast(request, float(config.forecast.deadline_s))

    return ask


def _patient(bus: Bus, console: Console) -> AskForecast:
    """Ask over a bus, waiting for an inference service to appear: simulated time can afford it."""
    told = False

    async def ask(request: ForecastRequested) -> Sequence[AnyMessage]:
        nonlocal told
        deadline = time.monotonic() + _WAIT_FOR_INFERENCE_S
        while True:
            answers = await bus.ask_forecast(request, _ANSWER_TIMEOUT_S)
            unavailable = any(isinstance(each, ForecastMissed) and each.reason == "unavailable" for each in answers)
            if not unavailable or time.monotonic() > deadline:
                return answers
            if not told:
                told = True
                console.print(
                    "waiting for an inference service: start `plimsoll infer` with the same --bus and --state"
                )
            await asyncio.sleep(0.25)

    return ask


class Serving:
    """What an inference process serves: the releases in force, and who else speaks in the daemon that it answers.

    Raises:
        ModelError: a release in force is unsound.
    """

    def __init__(self, registry: Registry, state: State) -> None:
        self._registry = registry
        self._state = state
        self._seen = self._fingerprint()
        self.artifacts = self._load()

    def look(self) -> Sequence[Artifact] | None:
        """The artifacts, where they are others than before, else None. May run in any thread. Raises ModelError."""
        seen = self._fingerprint()
        if seen == self._seen:
            return None
        self._seen = seen
        self.artifacts = self._load()
        return self.artifacts

    def _fingerprint(self) -> tuple[object, ...]:
        markets = [(each.symbol, each.period_ns) for each in self._registry.pointers()]
        told = self._state.models_told.stat().st_mtime_ns if self._state.models_told.exists() else 0
        return (told, *(self._registry.fingerprint(*market) for market in markets))

    def _load(self) -> list[Artifact]:
        loaded = [self._registry.load(each.symbol, each.period_ns) for each in self._registry.pointers()]
        found = {each.model_id: each for release in loaded if release is not None for each in release.artifacts}
        for model_id in speaking(self._state.models_told):
            with contextlib.suppress(ModelError):  # gone since; the daemon will find that it owes its forecasts
                found.setdefault(model_id, self._registry.read(model_id))
        return list(found.values())


async def run_inference(config: Config, serving: Serving, console: Console) -> None:
    """Serve forecasts on a bus until SIGINT or SIGTERM."""
    from bus.nats import connect

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    service = Service(serving.artifacts)
    bus = await connect(config.bus.url, name="plimsoll infer", namespace=config.bus.namespace)

    def say() -> None:
        names = ", ".join(artifact.model_id for artifact in service.artifacts) or "random-walk alone"
        console.print(f"serving {names}")
        sys.stdout.flush()

    try:
        answering = await bus.serve_forecasts(service.answer_async)
        say()
        Notifier().ready()
        while not await _set_within(stop, _LOOK_S):
            try:
                artifacts = await asyncio.to_thread(serving.look)
            except ModelError as error:
                console.print(f"what is served stays as it was: {error}", markup=False, soft_wrap=True)
                continue
            if artifacts is not None:
                service.replace(artifacts)
                say()
        await answering.close()
    finally:
        await bus.close()
        service.close()


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
    return event.is_set()
