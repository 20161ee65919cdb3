"""Alerts around a running shell: read the audit stream, look at the machine, tell people. Cannot reach the core.

Theory of operation. `Alerting.watch` notes every message of the audit stream, those of a recovery included, and folds
them when the loop has its next turn: after the commands that followed from them have left, and never for long at a
time. So what was raised before a restart is still raised after it. What stands in the journal from an earlier process
was told by that process; what is still open is told once more (`open`), with the id that it had. A notice is handed to
a thread of its own (`adapters.notify.postman`), whatever channels are. If the fold itself fails, that is told, and the
run goes on without it: an error here must not cost a trade.

Room on the disk and steps of the clock are looked at every so often; an error that ends a run is told on the way out.
"""

import asyncio
import contextlib
import shutil
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from adapters.notify import Place, open_channels
from adapters.notify.contract import ChannelSettings, Event, Notice
from adapters.notify.deadletters import DeadLetters
from adapters.notify.outbox import Outbox
from adapters.notify.postman import Postman
from bus.errors import ConfigError
from bus.messages import AlertCleared, AlertRaised, AnyMessage, RunStarted
from daemon.config import Config
from daemon.settings import AlertsSection
from daemon.state import Run, State
from risk.alerts import Alerts, Reading
from risk.alerts.operation import clock_reading, disk_reading

MOST_WAITING = 20_000
"""Messages that may wait for the fold; with more it catches up at once, for memory is bounded."""

_LOOK_S = 10.0
_TURN_S = 0.002

Said = AlertRaised | AlertCleared


def channel_settings(section: AlertsSection) -> dict[str, ChannelSettings]:
    """Every channel's section by its name."""
    return {"log": section.log, "webhook": section.webhook, "slack": section.slack, "telegram": section.telegram,
            "email": section.email}  # fmt: skip


def dead_letters(state: State) -> DeadLetters:
    """Where what could not be delivered is kept."""
    return DeadLetters(state.folder / "alerts")


def notice_of(said: Said, event: Event, run: str, run_id: str, mode: str) -> Notice:
    """What is sent of an alert. One alert has one id while it is open, and another when it is over."""
    over = isinstance(said, AlertCleared)
    raised_ns = said.ts_raised_ns if over else said.ts_init_ns
    text = f"{run_id} {run} {said.rule} {said.subject} {raised_ns} {over}"
    return Notice(
        id=sha256(text.encode()).hexdigest()[:24],
        event=event,
        rule=said.rule,
        subject=said.subject,
        severity=said.severity,  # type: ignore[arg-type]
        value=said.value,
        limit=said.limit,
        advice="" if over else said.advice,
        run=run,
        mode=mode,
        ts_ns=said.ts_init_ns,
    )


class Alerting:
    """The fold and what it is told from outside the journal."""

    def __init__(
        self,
        section: AlertsSection,
        put: Callable[[Notice], None],
        *,
        run: str,
        mode: str,
        folder: Path,
        told_to: int,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Put it together.

        Args:
            section: the configuration's.
            put: takes a notice and never waits.
            run: its number, for people.
            mode: paper, demo or live.
            folder: whose disk is looked at.
            told_to: sequence number of the last record of an earlier process; 0 = there was none.
            loop: whose turns are waited for; None = every message is folded at once.
        """
        self.failed = ""
        self._alerts = Alerts(section.bounds)
        self._put = put
        self._run = run
        self._run_id = ""
        self._mode = mode
        self._folder = folder
        self._told_to = told_to
        self._again = told_to > 0
        self._wall_less_steady_ns = 0
        self._loop = loop
        self._waiting: deque[tuple[int, AnyMessage]] = deque()
        self._coming = False

    def watch(self, seq: int, message: AnyMessage) -> None:
        """Read the audit stream; see `daemon.engine.Watch`. Raises nothing."""
        self._waiting.append((seq, message))
        if self._loop is None or len(self._waiting) > MOST_WAITING:
            self.catch_up()
        elif not self._coming:
            self._coming = True
            self._loop.call_soon(self._turn)

    def catch_up(self) -> None:
        """Fold all that waits."""
        while self._waiting:
            self._fold(*self._waiting.popleft())

    def _turn(self) -> None:
        """Fold what waits, for as long as a turn may take; then others have theirs."""
        until_s = time.perf_counter() + _TURN_S
        while self._waiting:
            self._fold(*self._waiting.popleft())
            if time.perf_counter() > until_s and self._loop is not None:
                self._loop.call_soon(self._turn)
                return
        self._coming = False

    def _fold(self, seq: int, message: AnyMessage) -> None:
        if self.failed:
            return
        if isinstance(message, RunStarted):
            self._run_id = message.run_id
        told = seq > self._told_to
        if told and self._again:
            self._again = False
            for alert in self._alerts.open.values():
                self._send(alert, "open")
        try:
            said = self._alerts.on(message)
        except Exception as error:  # noqa: BLE001 (whatever it is, the run goes on without alerts of this kind)
            self._give_up(seq, error)
            return
        if told:
            self._tell(said)

    def look(self) -> None:
        """Look at the disk and the clock."""
        bounds = self._alerts.context.settings
        with contextlib.suppress(OSError):  # a disk that cannot be asked makes the journal fail, which is told
            free = shutil.disk_usage(self._folder).free
            self.seen("disk", disk_reading(str(self._folder), free, bounds))
        now_ns = time.time_ns() - time.monotonic_ns()
        if self._wall_less_steady_ns:
            self.seen("clock_step", clock_reading("this machine", now_ns - self._wall_less_steady_ns, bounds))
        self._wall_less_steady_ns = now_ns

    def seen(self, rule: str, reading: Reading) -> None:
        """Tell the fold what is not in the journal."""
        self._tell(self._alerts.tell(rule, reading, time.time_ns()))

    def ended_by(self, error: BaseException) -> None:
        """The run ended by an error, which for the journal's is an `OSError`."""
        rule = "journal" if isinstance(error, OSError) else "stopped"
        words = f"{type(error).__name__}: {error}"
        self.seen(rule, Reading(subject="run", breached=True, words=lambda: (words, "a run that goes on")))

    def _give_up(self, seq: int, error: Exception) -> None:
        self.failed = f"record {seq}: {type(error).__name__}: {error}"
        words = f"alerts of this run have stopped at {self.failed}"
        self.seen("stopped", Reading(subject="alerts", breached=True, words=lambda: (words, "alerts that go on")))

    def _tell(self, said: Sequence[Said]) -> None:
        for each in said:
            self._send(each, "raised" if isinstance(each, AlertRaised) else "cleared")

    def _send(self, said: Said, event: Event) -> None:
        self._put(notice_of(said, event, self._run, self._run_id, self._mode))


@contextlib.asynccontextmanager
async def alerting(
    config: Config, state: State, run: Run, *, mode: str, told_to: int, note: Callable[[str], None]
) -> AsyncGenerator[Alerting]:
    """Alerts of a run, from before its first message until after its last.

    Raises:
        ConfigError: a channel cannot be used as it is set.
    """
    section = config.alerts
    wanted: Mapping[str, ChannelSettings] = channel_settings(section) if section.enabled else {}
    if mode == "paper" and not section.paper:
        wanted = {name: each for name, each in wanted.items() if name == "log"}
    channels = open_channels(wanted, Place(folder=run.folder, note=note))
    postman = Postman(lambda: Outbox(channels, dead_letters(state)))
    postman.start()
    alerts = Alerting(section, postman.put, run=run.name, mode=mode, folder=state.folder, told_to=told_to,
                      loop=asyncio.get_running_loop())  # fmt: skip
    looking = asyncio.create_task(_look(alerts), name="alerts: disk and clock")
    try:
        yield alerts
    except ConfigError:
        raise
    except Exception as error:
        alerts.catch_up()
        alerts.ended_by(error)
        raise
    finally:
        looking.cancel()
        alerts.catch_up()
        await asyncio.to_thread(postman.close)
        undelivered = sum(each.dead for each in postman.counters.values())
        if undelivered:
            note(f"{undelivered} alerts were not delivered; `plimsoll alerts resend` tries again")


async def _look(alerts: Alerting) -> None:
    while True:
        alerts.look()
        await asyncio.sleep(_LOOK_S)
