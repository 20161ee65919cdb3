"""Inference in a child process that may die, hang or grow without hurting the run: asked, watched, started again.

Theory of operation. The child (`models.worker`) is asked through a pipe. An answer that does not come in time, a child
that is gone, or one that says nonsense costs one restart, and the request is answered by the service of this process,
whose artifacts are the same and give the same numbers. Where that fails as well, the run is told that no forecast came.
Each way is counted. When the service is given other artifacts, the child is as well; until it has taken them, the
service answers, so that no answer comes from models that serve no more. Restarts wait 1, 2, 4 … 30 s, and 0 s after a
child that had answered for a minute; meanwhile everything goes to the service at once.

Where a device may be used the child is `models.device`, which answers what the device does not; what it says about that
is passed on as lines for a person. This process never loads what a device needs.

    DOWN      --pause over-->             STARTING   child started, artifacts loaded (verified there once more)
    STARTING  --loaded-->                 UP
    UP        --late, gone, nonsense-->   DOWN       child killed, requests in flight go to the fallback
    STARTING  --does not come up-->       DOWN       at the very start too: the run begins all the same
    any       --close-->                  CLOSED
"""

import asyncio
import contextlib
import enum
from collections.abc import Callable, Sequence
from typing import Self

import msgspec

from bus.codec import decode, encode
from bus.errors import DataError, ModelError, NotSent
from bus.messages import AnyMessage, ForecastMissed, ForecastRequested
from daemon import children
from models.artifact import Artifact
from models.serve import Service
from models.worker import ASK, FAILED, HEADER, HEALTH, LARGEST_FRAME_BYTES, LOAD, Health, Loaded, frame

PAUSES_S = (1, 2, 4, 8, 16, 30)
STABLE_S = 60
LOAD_S = 60
"""Most seconds that loading may take: verification computes golden outputs."""
LOOK_S = 5
_CLOSE_S = 2


class State(enum.Enum):
    """State of the child."""

    DOWN = "down"
    STARTING = "starting"
    UP = "up"
    CLOSED = "closed"


class Counters(msgspec.Struct):
    """Which way requests went.

    Attributes:
        by_child: answered by the child.
        by_fallback: answered here because the child could not.
        unanswered: not answered at all; the run was told.
        restarts: children started after the first.
        late: answers that did not come in time.
    """

    by_child: int = 0
    by_fallback: int = 0
    unanswered: int = 0
    restarts: int = 0
    late: int = 0


class InferenceProcess:
    """See the module's theory of operation. Use as ``async with``."""

    def __init__(
        self,
        service: Service,
        *,
        answer_s: float,
        note: Callable[[str], None],
        device: str = "cpu",
        gather_us: int = 0,
    ) -> None:
        """Prepare; nothing is started. `seen` is what the child last said of its health; None = nothing yet.

        Args:
            service: has the artifacts, and answers where the child cannot.
            answer_s: how long an answer may take.
            note: takes one line for a person.
            device: `cpu`, or what `models.device` may use: `auto` or `cuda`.
            gather_us: how long a request may wait there for those of other markets.
        """
        self._program = ("models.worker",) if device == "cpu" else ("models.device", device, str(gather_us))
        self._noted = 0
        self.state = State.DOWN
        self.counters = Counters()
        self._service = service
        self._loaded: tuple[Artifact, ...] = ()
        self._loading: asyncio.Task[None] | None = None
        self._answer_s = answer_s
        self._note = note
        self._waiting: dict[int, asyncio.Future[tuple[int, bytes]]] = {}
        self._last_number = 0
        self._failures = 0
        self._child: asyncio.subprocess.Process | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._up_since_s = 0.0
        self.seen: Health | None = None
        self._lost = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Start the child, and wait until it answers; where it does not come up, go on without, and try again."""
        self._up_since_s = asyncio.get_running_loop().time()
        try:
            await self._start()
        except (ModelError, OSError) as error:
            self._not_started(error)
            self._lost.set()
        self._tasks = [asyncio.create_task(self._keep()), asyncio.create_task(self._look_after())]
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the child; what is in flight is told as unanswered."""
        self.state = State.CLOSED
        for task in (*self._tasks, self._loading):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        await self._end()

    @property
    def pid(self) -> int:
        """Of the child; 0 = there is none."""
        return 0 if self._child is None else self._child.pid

    async def ask(self, request: ForecastRequested) -> Sequence[AnyMessage]:
        """The answers of every model, the random walk's among them; a miss where nobody could answer. Never raises."""
        why = f"inference is {self.state.value}"
        if self.state is State.UP and self._in_step():
            try:
                answers = await self._ask_child(request)
            except TimeoutError:
                self.counters.late += 1
                why = f"no answer within {self._answer_s:g} s"
                self._give_up(why)
            except (NotSent, DataError) as error:
                why = str(error)
                self._give_up(why)
            else:
                self.counters.by_child += 1
                return answers
        return await self._instead(request, why)

    async def health(self) -> Health | None:
        """How the child is; None where it cannot say."""
        if self.state is not State.UP:
            return None
        try:
            return msgspec.json.decode(await self._exchange(HEALTH, b"", self._answer_s), type=Health)
        except (TimeoutError, NotSent, DataError, msgspec.DecodeError):
            return None

    def _in_step(self) -> bool:
        """Whether the child serves what the service serves; where not, it is told to."""
        if self._loaded is self._service.artifacts:
            return True
        if self._loading is None or self._loading.done():
            self._loading = asyncio.create_task(self._load_again())
        return False

    async def _load_again(self) -> None:
        try:
            await self._load()
        except ModelError as error:
            self._give_up(str(error))

    async def _load(self) -> None:
        """Give the child the service's artifacts, whole.

        Raises:
            ModelError: one of them is unsound there, or the child is not there.
        """
        wanted = self._service.artifacts
        payload = msgspec.msgpack.encode([(each.model_id, each.manifest_bytes, each.weights_bytes) for each in wanted])
        try:
            told = msgspec.json.decode(await self._exchange(LOAD, payload, LOAD_S), type=Loaded)
        except (TimeoutError, NotSent, DataError, msgspec.DecodeError) as error:
            raise ModelError(f"inference did not take the models: {error}") from error
        self._loaded, self._noted = wanted, 0
        self._pass_on(told.notes)

    def _pass_on(self, notes: Sequence[str]) -> None:
        """Tell what the child has not said yet since its load."""
        for line in notes[self._noted :]:
            self._note(line)
        self._noted = max(self._noted, len(notes))

    # --- asking ----------------------------------------------------------------------------------------------------

    async def _ask_child(self, request: ForecastRequested) -> Sequence[AnyMessage]:
        payload = await self._exchange(ASK, encode(request), self._answer_s)
        try:
            return [decode(each) for each in msgspec.msgpack.decode(payload, type=list[bytes])]
        except msgspec.DecodeError as error:
            raise DataError(f"inference answered with what is no answer ({error})") from error

    async def _instead(self, request: ForecastRequested, why: str) -> Sequence[AnyMessage]:
        try:
            answers = await self._service.answer_async(request)
        except Exception as error:  # noqa: BLE001  (whatever it is: there is no forecast, and the run goes on)
            why = f"{why}; and in this process {type(error).__name__}: {error}"
        else:
            self.counters.by_fallback += 1
            return answers
        self.counters.unanswered += 1
        return [
            ForecastMissed(
                request_id=request.request_id,
                symbol=request.symbol,
                model_id="",
                reason="unavailable",
                detail=why[:200],
                ts_init_ns=request.as_of_ns,
            )
        ]

    async def _exchange(self, kind: int, payload: bytes, within_s: float) -> bytes:
        child = self._child
        if child is None or child.stdin is None:
            raise NotSent("inference has no process")
        self._last_number = number = self._last_number + 1
        answer: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            async with asyncio.timeout(within_s):
                try:
                    child.stdin.write(frame(kind, number, payload))
                    await child.stdin.drain()
                except (ConnectionError, RuntimeError) as error:
                    raise NotSent(f"the process of inference is gone ({error})") from error
                answered, data = await answer
        finally:
            self._waiting.pop(number, None)
        if answered == FAILED:
            raise DataError(data.decode(errors="replace"))
        if answered != kind:
            raise DataError(f"inference answered a frame of kind {kind} with one of kind {answered}")
        return data

    # --- the child -------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        self.state = State.STARTING
        self._lost.clear()
        self._child = await asyncio.create_subprocess_exec(
            *children.command(*self._program), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            env=children.environment(), process_group=0,
        )  # fmt: skip
        self._reader = asyncio.create_task(self._read(self._child))
        try:
            await self._load()
        except BaseException:
            await self._end()
            raise
        self._up_since_s = asyncio.get_running_loop().time()
        self.state = State.UP

    async def _read(self, child: asyncio.subprocess.Process) -> None:
        """Hand every frame to who waits for it, until there is nothing more to come."""
        assert child.stdout is not None
        reason = "the process of inference has ended"
        try:
            while True:
                kind, number, length = HEADER.unpack(await child.stdout.readexactly(HEADER.size))
                if length > LARGEST_FRAME_BYTES:
                    reason = f"inference sends a frame of {length} bytes"
                    break
                payload = await child.stdout.readexactly(length)
                waiting = self._waiting.get(number)  # one that nobody waits for any more came too late
                if waiting is not None and not waiting.done():
                    waiting.set_result((kind, payload))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(NotSent(reason))
        self._lost.set()

    def _give_up(self, why: str) -> None:
        """Have done with this child; the keeper starts another."""
        if self.state is State.UP:
            self.state = State.DOWN
            self._note(f"{why}; forecasts come from this process until inference is back")
            self._lost.set()

    async def _keep(self) -> None:
        while True:
            await self._lost.wait()
            if self.state is State.UP:
                self._give_up("the process of inference has ended")
            lasted_s = asyncio.get_running_loop().time() - self._up_since_s
            self._failures = 0 if lasted_s >= STABLE_S else self._failures + 1
            await self._end()
            while True:
                if self._failures:
                    await asyncio.sleep(PAUSES_S[min(self._failures, len(PAUSES_S)) - 1])
                self.counters.restarts += 1
                try:
                    await self._start()
                    break
                except (ModelError, OSError) as error:
                    self._failures += 1
                    self._not_started(error)
            self._note("inference is back")

    def _not_started(self, error: Exception) -> None:
        self.state = State.DOWN
        self._note(f"inference cannot be started, forecasts come from this process: {error}")

    async def _look_after(self) -> None:
        """Ask the child how it is, so that one that hangs is found before the next bar closes."""
        while True:
            await asyncio.sleep(LOOK_S)
            if self.state is not State.UP or (self._loading is not None and not self._loading.done()):
                continue
            self.seen = await self.health()
            if self.seen is None:
                self._give_up("inference does not say how it is")
            else:
                self._pass_on(self.seen.notes)

    async def _end(self) -> None:
        """No child is left."""
        child, self._child = self._child, None
        if child is None:
            return
        if child.stdin is not None:
            child.stdin.close()
        if self.state is not State.CLOSED:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
        try:
            async with asyncio.timeout(_CLOSE_S):
                await child.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
        self._reader.cancel()
        await asyncio.wait([self._reader])
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(NotSent("the process of inference has ended"))
