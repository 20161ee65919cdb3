"""What lives around a running shell in every mode: signals, kill switch, web page, terminal view, service manager."""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console

from bus.errors import ConfigError
from bus.messages import (
    AnyMessage,
    HaltTrading,
    ModelAdmitted,
    ModelRefused,
    PromoteModel,
    ResumeTrading,
    RollBackModel,
)
from daemon.config import Config
from daemon.control import SIGNALS, Control, token_of
from daemon.engine import Engine, settle_memory
from daemon.inbox import Inbox
from daemon.service import Notifier
from daemon.state import Run, State
from daemon.status import Status
from daemon.view import View

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

OutsideCommand = HaltTrading | ResumeTrading | ModelAdmitted | ModelRefused | PromoteModel | RollBackModel
"""What people and processes outside may pass to the core of a running shell."""


class OnBreath(Protocol):
    """Called whenever a shell's loop gives others their turn; `waiting` = there is nothing to do just now."""

    def __call__(self, *, waiting: bool) -> None:
        """Look after whatever lives around the loop."""
        ...


class Shell(Protocol):
    """A running shell, as what lives around it sees it."""

    engine: Engine
    inbox: Inbox
    on_breath: OnBreath | None

    async def run(self, opening: Sequence[AnyMessage]) -> str:
        """Feed the opening messages, then everything that happens; gives why it ended."""
        ...

    def stop(self, reason: str) -> None:
        """Stop in good order."""
        ...

    def tell(self, command: OutsideCommand) -> None:
        """Pass a command from outside to the core, stamped with the run's time."""
        ...


class Polled(Protocol):
    """Something that looks around now and then, and never waits."""

    def poll(self) -> None:
        """Look around; called many times a second."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a person sees meanwhile: `headless` plain lines and no live view, `quiet` nothing, `web` the status page."""

    headless: bool = False
    quiet: bool = False
    web: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a run ended. `reason` is `end of data` or why it was stopped."""

    run: Run
    reason: str
    recovered_inputs: int
    quotes_passed_over: int
    began_s: float
    run_s: float

    def duration_s(self) -> float:
        """Seconds since the command began."""
        return time.monotonic() - self.began_s


async def run_to_its_end(
    shell: Shell, opening: Sequence[AnyMessage], run: Run, surrounded: AbstractAsyncContextManager[None], began_s: float
) -> RunResult:
    """Run a shell within its surroundings, close its journal whatever happens, and say how it ended."""
    settle_memory()
    try:
        async with surrounded:
            run_began_s = time.monotonic()
            reason = await shell.run(opening)
            run_s = time.monotonic() - run_began_s
    finally:
        shell.engine.close()
    return RunResult(
        run=run,
        reason=reason,
        recovered_inputs=shell.engine.recovered_inputs,
        quotes_passed_over=shell.inbox.counters.quotes_passed_over,
        began_s=began_s,
        run_s=run_s,
    )


@contextlib.asynccontextmanager
async def surroundings(
    config: Config,
    shell: Shell,
    status: Status,
    state: State,
    console: Console,
    *,
    look: Look,
    swaps: Polled,
    told: HaltTrading | None,
) -> AsyncGenerator[None]:
    """Signals, the kill switch, new models, the web page, the terminal view and the service manager.

    `told` is the halt in the state directory that the shell knows of already.
    """
    loop = asyncio.get_running_loop()
    control = Control(shell.tell, state, told)
    before = {number: signal.getsignal(number) for number in (*_STOPS, *SIGNALS)}
    if before[signal.SIGHUP] is signal.SIG_IGN:
        del before[signal.SIGHUP]  # nohup: the user wants the day to outlive the terminal
    for number in before:
        if number in SIGNALS:
            loop.add_signal_handler(number, control.signalled, number)
        else:
            loop.add_signal_handler(number, shell.stop, signal.Signals(number).name)
    async with contextlib.AsyncExitStack() as stack:
        if look.web and config.web.enabled:
            from daemon.web import Commands, start

            commands = Commands(control, token_of(state.folder))
            try:
                server = await start(status, config.web.host, config.web.port, commands)
            except ConfigError:
                if "web.port" in config.sources:
                    raise
                server = await start(status, config.web.host, 0, commands)  # nobody asked for the default port
            stack.push_async_callback(server.close)
            if not look.quiet:
                console.print(f"status page: {server.url}")
        view = None if look.quiet else View(status, console, plain=look.headless or not console.is_terminal)
        notifier = Notifier()
        if view is not None:
            view.start()
            stack.callback(view.stop)
        notifier.ready()
        stack.callback(notifier.close)
        stack.callback(notifier.stopping)

        def breath(*, waiting: bool) -> None:
            control.poll()  # before anything else that might fail
            if waiting:
                status.beat()
            swaps.poll()
            if view is not None:
                view.refresh()
            notifier.progress(status.progress_made)

        shell.on_breath = breath
        try:
            yield
        finally:
            for number, handler in before.items():
                loop.remove_signal_handler(number)
                signal.signal(number, handler)
