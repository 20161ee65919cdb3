"""The connection to the broker, kept up. Sockets are ``shell``'s; decisions are those of ``session`` and ``backoff``.

Theory of operation.

    IDLE     --start-->          OPENING
    OPENING  --authorised-->     OPEN        TCP, TLS (certificate and host name), application authorisation
    OPENING  --anything else-->  IDLE        the first time: `start` raises, nothing is left behind
                                 WAITING     later: the next attempt is drawn
    OPEN     --lost-->           WAITING     every request is settled, `Disconnected` is told
    WAITING  --its moment-->     OPENING
    any      --close-->          CLOSED

A new socket is opened only after the last one has ended, so there is never more than one. After every call of the
session its bytes are written at once, then its events are told, then the one timer is set where it is due earlier.
"""

import asyncio
import enum
import secrets
from collections.abc import Callable
from random import Random, SystemRandom
from typing import Any

import msgspec

from adapters.ctrader import events
from adapters.ctrader.backoff import Backoff
from adapters.ctrader.limits import ORDER_TYPES, Kind, Limits
from adapters.ctrader.messages import model
from adapters.ctrader.secret import Secret
from adapters.ctrader.session import Link, Session
from adapters.ctrader.shell import Dialler, Server, Wire
from bus.errors import BrokerError, NotSent, OutcomeUnknown, ProtocolError, RateLimited, Refused, SessionLost
from bus.values import NS_PER_S

Diallers = Callable[[Server, Callable[[Wire, bytes], None], Callable[[Wire], None]], Dialler]
"""Makes what opens sockets: of a server, of what takes what arrives, and of what is told of the end."""

_OPEN_S = 30
_CHANGING = ORDER_TYPES | {model.PROTO_OA_REFRESH_TOKEN_REQ}


class State(enum.Enum):
    """State of a connection."""

    IDLE = "idle"
    OPENING = "opening"
    OPEN = "open"
    WAITING = "waiting"
    CLOSED = "closed"


class Disconnected(msgspec.Struct, frozen=True):
    """The connection is gone; every request is settled, every login and subscription lost. It is made again by itself.

    Attributes:
        reason: one line.
        retry_in_ns: wait until the next attempt.
    """

    reason: str
    retry_in_ns: int


class Connection:
    """One connection to one server, made again whenever it is lost, with any number of accounts."""

    def __init__(
        self, server: Server, client_id: str, client_secret: Secret, *,
        on_event: Callable[[events.Event | Disconnected], None], limits: Limits | None = None,
        dice: Random | None = None, dialler: Diallers = Dialler, prefix: str | None = None,
    ) -> None:  # fmt: skip
        """Prepare; nothing is opened.

        Args:
            server: where to connect.
            client_id: of the registered application.
            client_secret: its secret.
            on_event: is told what settles no request, in order. It must not block and must not raise.
            limits: shared with other connections of the application; None = its own.
            dice: for the waits between attempts; None = the system's.
            dialler: opens the sockets; something else than `Dialler` where the network is simulated.
            prefix: of the ids of requests, see `Session`; None = random.
        """
        self.state = State.IDLE
        self._server = server
        self._on_event = on_event
        self._session = Session(client_id, client_secret.reveal(), prefix or secrets.token_hex(6), limits)
        self._make_dialler = dialler
        self._backoff = Backoff(dice or SystemRandom())
        self._pending: dict[int, tuple[Any, asyncio.Future[Any]]] = {}
        self._logging_in: dict[int, asyncio.Future[None]] = {}
        self._wire: Wire | None = None
        self._dead_why = ""
        self._keeper: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._opened_ns = 0

    @property
    def counts(self) -> Any:
        """What the session has counted."""
        return self._session.counts

    async def start(self) -> None:
        """Connect and authorise the application; from then on the connection is kept up.

        Raises:
            ConfigError: the authority's file is unfit.
            Refused: the broker does not know the application.
            SessionLost: the server cannot be reached, its certificate or name is wrong, or it went away.
        """
        if self.state is not State.IDLE:
            raise ProtocolError("ours", f"start of a connection that is {self.state.value}")
        self._loop = asyncio.get_running_loop()
        self._dialler = self._make_dialler(self._server, self._heard, self._lost)
        self.state = State.OPENING
        opening = self._keeper = asyncio.create_task(self._open())  # a task of its own, which `close` can end
        try:
            await opening
        except BaseException:
            await self._not_started(opening)
            raise
        if self._is_closed():
            raise SessionLost(f"{self._server}: closed by us")
        self._keeper = asyncio.create_task(self._keep())

    async def login(self, account_id: int, token: Secret) -> None:
        """Log an account in, now and after every reconnection; or give it another token.

        Raises:
            Refused: the broker said no. What time may mend is tried again by itself.
            NotSent: there is no connection; the account is logged in when there is.
            SessionLost: the connection went away meanwhile; the same.
        """
        self._session.login(account_id, token.reveal(), self._now_ns())
        if self.state is not State.OPEN:
            raise NotSent(f"the connection is {self.state.value}; account {account_id} is logged in when it stands")
        waiting = self._logging_in.get(account_id)
        if waiting is None:
            waiting = self._logging_in[account_id] = self._loop.create_future()
        self._after([])
        if self._session.is_logged_in(account_id) and not waiting.done():
            waiting.set_result(None)
        try:
            await asyncio.shield(waiting)
        finally:
            if waiting.done() and self._logging_in.get(account_id) is waiting:
                del self._logging_in[account_id]

    async def request(self, message: Any, *, kind: Kind | None = None) -> Any:
        """Send a request, written before this first waits, and wait for what settles it.

        Cancelling stops the waiting only; what was written is written.

        Raises:
            NotSent: nothing of it left this machine.
            Refused: the broker said no.
            RateLimited: the broker or the limits said later; nothing was executed.
            OutcomeUnknown: it changes something and was not answered.
            SessionLost: it only reads and was not answered.
            ProtocolError: "ours", it is no request.
        """
        return await self.post(message, kind=kind)[1]

    def post(self, message: Any, *, kind: Kind | None = None) -> tuple[int, asyncio.Future[Any]]:
        """Send a request; it is written, or waits for its turn within the limits, when this returns.

        Returns:
            Its number, which `Pushed.answered` names, and what will be its answer or raise what `request` raises.

        Raises:
            NotSent, RateLimited, ProtocolError: as `request`; nothing of it is kept.
        """
        if self.state is not State.OPEN:
            raise NotSent(f"the connection is {self.state.value}; nothing is kept for later")
        number = self._session.request(message, self._now_ns(), kind=kind)
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._pending[number] = message, answer
        self._after([])
        return number, answer

    def beat(self) -> None:
        """Send a heartbeat now, where there is a connection."""
        if self.state is State.OPEN:
            self._session.beat(self._now_ns())
            self._after([])

    async def drop(self, reason: str) -> None:
        """Give up the socket, which is of no use any more; another one is made by itself."""
        if self._wire is not None:
            self._dead_why = reason
            await self._wire.abort()

    async def close(self) -> None:
        """End it for good; whatever is in flight is settled. May be called at any time and twice."""
        self.state = State.CLOSED
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])
        wire = self._wire
        if wire is not None:
            self._dead_why = "closed by us"
            await wire.end()
        self._end_timer()

    # --- opening and keeping --------------------------------------------------------------------------------------

    async def _open(self) -> None:
        """Exactly two outcomes: authorised, or it raises and no socket is left."""
        self._dead_why = ""
        self._backoff.begins(self._now_ns())
        try:
            async with asyncio.timeout(_OPEN_S):
                wire = await self._dialler.dial()
                self._wire = wire
                self._session.connected(self._now_ns())
                self._after([])
                await asyncio.wait([wire.authorised, wire.gone], return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            await self._drop(self._wire)
            raise SessionLost(f"{self._server}: no answer within {_OPEN_S} s") from None
        except BaseException:
            await self._drop(self._wire)
            raise
        if wire.gone.done():
            raise wire.refused or SessionLost(f"{self._server}: {self._dead_why}")
        self._opened_ns = self._now_ns()
        self.state = State.OPEN

    async def _not_started(self, opening: asyncio.Task[None]) -> None:
        """A start failed, was cancelled or was ended by `close` (then raises `SessionLost`): nothing is left behind."""
        _ = opening.cancelled() or opening.exception()  # heard, whatever it is that is raised
        caller = asyncio.current_task()
        if not self._is_closed():
            self.state = State.OPENING
            await self._drop(self._wire)  # it may have opened in the very moment in which the caller was cancelled
            self.state = State.CLOSED if self._is_closed() else State.IDLE
        self._end_timer()
        if self._is_closed() and caller is not None and not caller.cancelling():
            raise SessionLost(f"{self._server}: closed by us") from None

    def _is_closed(self) -> bool:
        return self.state is State.CLOSED

    async def _keep(self) -> None:
        """Wait for the loss, then connect again, for ever."""
        while True:
            wire = self._wire
            if wire is not None:
                await asyncio.wait([wire.gone])  # not awaited itself: cancelling the keeper must not cancel it
            self._backoff.lost(self._now_ns() - self._opened_ns)
            reason = self._dead_why
            while True:
                wait_ns = self._backoff.wait_ns(self._now_ns())
                self.state = State.WAITING
                self._tell(Disconnected(reason, wait_ns))
                await asyncio.sleep(wait_ns / NS_PER_S)
                self.state = State.OPENING
                try:
                    await self._open()
                    break
                except BrokerError as failed:
                    self._backoff.lost(0)
                    reason = str(failed)

    async def _drop(self, wire: Wire | None) -> None:
        if wire is not None:
            await wire.abort()

    # --- what the socket tells ------------------------------------------------------------------------------------

    def _heard(self, wire: Wire, data: bytes) -> None:
        if wire is self._wire:
            self._after(self._session.receive(data, self._now_ns()))

    def _lost(self, wire: Wire) -> None:
        if wire is not self._wire:
            return
        self._wire = None
        self._dead_why = self._dead_why or wire.why(self._server.host)
        if self.state is State.OPEN:
            self.state = State.WAITING
        self._handle(self._session.disconnected(self._now_ns()))
        for waiting in self._logging_in.values():
            _fail(waiting, SessionLost(f"{self._server}: {self._dead_why}"))
        self._logging_in.clear()
        self._end_timer()

    # --- after every call of the session --------------------------------------------------------------------------

    def _after(self, told: list[events.Event]) -> None:
        data = self._session.data_to_send()
        wire = self._wire
        if data and wire is not None:
            wire.transport.write(data)
        if told:
            self._handle(told)
        self._set_timer()

    def _handle(self, told: list[events.Event]) -> None:
        for event in told:
            match event:
                case events.Answered() | events.RefusedBy() | events.OutcomeIsUnknown() | events.NeverSent():
                    self._settle(event)
                    continue
                case events.ApplicationAuthorised():
                    if self._wire is not None and not self._wire.authorised.done():
                        self._wire.authorised.set_result(None)
                case events.ApplicationLost(code=code, text=text):
                    if self._wire is not None:
                        self._wire.refused = Refused(code, text)
                case events.AccountAuthorised(account_id=account_id):
                    self._logged_in(account_id, None)
                case events.AccountLost(account_id=account_id, code=code, text=text):
                    self._logged_in(account_id, Refused(code, text))
                case events.LinkDead(reason=reason):
                    self._dead_why = reason
                    if self._wire is not None:
                        self._wire.transport.abortConnection()
                case _:
                    pass
            self._tell(event)

    def _settle(self, event: Any) -> None:
        message, answer = self._pending.pop(event.request)
        if answer.done():  # whoever asked has stopped waiting
            return
        match event:
            case events.Answered():
                answer.set_result(event.message)
            case events.RefusedBy(retry_after_s=0):
                answer.set_exception(Refused(event.code, event.text))
            case events.RefusedBy():
                answer.set_exception(RateLimited(float(event.retry_after_s)))
            case events.NeverSent():
                answer.set_exception(NotSent(event.why))
            case _ if message.payloadType in _CHANGING:
                answer.set_exception(OutcomeUnknown(_name(message)))
            case _:
                answer.set_exception(SessionLost(f"{message.DESCRIPTOR.name}: {event.why}"))

    def _logged_in(self, account_id: int, refused: Refused | None) -> None:
        waiting = self._logging_in.get(account_id)
        if waiting is not None and refused is not None:
            _fail(waiting, refused)
        elif waiting is not None and not waiting.done():
            waiting.set_result(None)

    def _tell(self, event: events.Event | Disconnected) -> None:
        try:
            self._on_event(event)
        except Exception as error:  # noqa: BLE001 (the socket must not die of a listener's mistake)
            name = type(event).__name__
            self._loop.call_exception_handler({"message": f"on_event failed at {name}", "exception": error})

    # --- time -----------------------------------------------------------------------------------------------------

    def _now_ns(self) -> int:
        return int(asyncio.get_running_loop().time() * NS_PER_S)

    def _set_timer(self) -> None:
        """Keep a timer that rings no later than the session wants; one that rings early sets itself anew."""
        due_ns = self._session.next_timer_ns()
        if due_ns is None or self._session.link is Link.DEAD:
            return
        due = due_ns / NS_PER_S
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._after(self._session.timer(self._now_ns()))

    def _end_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _fail(waiting: asyncio.Future[None], error: Exception) -> None:
    if not waiting.done():
        waiting.set_exception(error)
        waiting.exception()  # whoever waited may be gone


def _name(message: Any) -> str:
    for field in ("clientOrderId", "orderId", "positionId"):
        if field in message.DESCRIPTOR.fields_by_name and message.HasField(field):
            return str(getattr(message, field))
    return str(message.DESCRIPTOR.name)
