"""Somebody to ask for forecasts: a thread in this process, or whoever serves a bus. And serving one."""

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import AsyncGenerator, Sequence

from rich.console import Console

from bus.errors import NotSent
from bus.memory import MemoryBus
from bus.messages import AnyMessage, ForecastMissed, ForecastRequested
from bus.port import Bus
from daemon.answers import AskForecast
from daemon.config import Config
from daemon.service import Notifier
from models.artifact import Artifact
from models.registry import Loaded
from models.serve import Service

_WAIT_FOR_INFERENCE_S = 60.0
_ANSWER_TIMEOUT_S = 30.0


@contextlib.asynccontextmanager
async def forecasting(
    config: Config, models: Sequence[Loaded], console: Console, *, live: bool = False
) -> AsyncGenerator[tuple[Bus | None, AskForecast]]:
    """Somebody to ask: a worker thread behind the in-process bus, or whoever serves the bus at a URL.

    Args:
        config: names the bus.
        models: answer where there is no bus.
        console: is told who is waited for.
        live: time does not wait: who does not answer at once is told as unavailable.
    """
    if config.bus.url:
        from bus.nats import connect

        bus: Bus = await connect(config.bus.url, name="plimsoll", namespace=config.bus.namespace)
        try:
            yield bus, _impatient(bus, config) if live else _patient(bus, console)
        finally:
            try:
                await bus.close()
            except NotSent as error:
                console.print(f"not everything reached the bus ({error}); the journal has it all")
        return
    service = Service([artifact for loaded in models for artifact in loaded.artifacts])
    local = MemoryBus()
    serving = await local.serve_forecasts(service.answer_async)

    async def ask(request: ForecastRequested) -> Sequence[AnyMessage]:
        return await local.ask_forecast(request, _ANSWER_TIMEOUT_S)

    try:
        yield None, ask
    finally:
        await serving.close()
        await local.close()
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


async def run_inference(config: Config, artifacts: Sequence[Artifact], console: Console) -> None:
    """Serve forecasts on a bus until SIGINT or SIGTERM."""
    from bus.nats import connect

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    service = Service(artifacts)
    bus = await connect(config.bus.url, name="plimsoll infer", namespace=config.bus.namespace)
    try:
        serving = await bus.serve_forecasts(service.answer_async)
        names = ", ".join(artifact.model_id for artifact in artifacts) or "random-walk alone"
        console.print(f"serving {names}")
        sys.stdout.flush()
        Notifier().ready()
        await stop.wait()
        await serving.close()
    finally:
        await bus.close()
        service.close()
