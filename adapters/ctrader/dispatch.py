"""Commands on their way: each becomes its request, is written at once, and ends in facts.

Theory of operation. A command is checked and translated by `orders`, written by the connection before `send` returns,
and remembered under its request's number until that is settled:

    answered         the events that follow tell the rest
    refused          `OrderRejected`, unless the refusing event was told already
    never sent       `OrderRejected` with the code NOT_SENT: nothing left this machine
    outcome unknown  `OrderUnknown`; the account asks for a recovery, which brings the evidence

A close carries no id of ours, so `answering` says which command an event answers.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from adapters.ctrader.account import Account, Told
from adapters.ctrader.limits import Kind
from adapters.ctrader.orders import Holder, Refusal, amend_protection, cancel_order, close_position, new_order
from adapters.ctrader.symbols import Specification
from bus.errors import BrokerError, NotSent, OutcomeUnknown, RateLimited, Refused, SessionLost
from bus.messages import AmendProtection, CancelOrder, SubmitOrder, VenueCommand

NOT_SENT = "NOT_SENT"
THROTTLED = "REQUEST_FREQUENCY_EXCEEDED"
_REFUSING = frozenset({7, 8})  # execution types: order rejected, cancel rejected


class Poster(Protocol):
    """What is needed of a connection."""

    def post(self, message: Any, *, kind: Kind | None = None) -> tuple[int, asyncio.Future[Any]]:
        """See `Connection.post`."""
        ...


class Dispatcher:
    """Sends the commands of one account."""

    def __init__(
        self,
        connection: Poster,
        account: Account,
        holder: Holder,
        specification_of: Callable[[str], Specification | None],
        *,
        tell: Callable[[Sequence[Told]], None],
        now_ns: Callable[[], int],
    ) -> None:
        """Prepare.

        Args:
            connection: carries requests.
            account: is told what leaves and how it ends.
            holder: who we are.
            specification_of: by symbol; None = not in the catalogue.
            tell: takes the facts that follow.
            now_ns: UTC nanoseconds.
        """
        self._connection = connection
        self._account = account
        self._holder = holder
        self._specification_of = specification_of
        self._tell = tell
        self._now_ns = now_ns
        self._commands: dict[int, VenueCommand] = {}
        self._refused_by_event: set[int] = set()

    def send(self, command: VenueCommand) -> None:
        """Write a command, or tell why it may not be sent.

        Raises:
            NotSent: nothing left this machine and nothing was told.
        """
        requests = self._requests(command)
        if isinstance(requests, Refusal):
            self._tell(self._account.refused(command, requests.code, requests.text, self._now_ns()))
            return
        self._account.sent(command)
        for request in requests:
            try:
                number, answer = self._connection.post(request, kind=Kind.ORDER)
            except RateLimited as limited:
                self._tell(self._account.refused(command, THROTTLED, str(limited), self._now_ns()))
                return
            self._commands[number] = command
            answer.add_done_callback(lambda done, number=number: self._settled(number, done))

    def answering(self, event: Any, number: int) -> str:
        """Client order id of the command that an execution event answers, by the number of its request; else empty."""
        command = self._commands.get(number)
        if command is None or isinstance(command, AmendProtection):
            return ""
        if event.executionType in _REFUSING:
            self._refused_by_event.add(number)
        return command.client_order_id if isinstance(command, SubmitOrder) else ""

    @property
    def in_flight(self) -> int:
        """Requests that are not settled."""
        return len(self._commands)

    def _requests(self, command: VenueCommand) -> Sequence[Any] | Refusal:
        if isinstance(command, CancelOrder):
            order_id = self._account.order_id_of(command.client_order_id)
            if order_id is None:
                return Refusal(code="ORDER_NOT_FOUND", text="nothing rests under this id")
            return (cancel_order(order_id, self._holder),)
        symbol = self._specification_of(command.symbol)
        if symbol is None:
            return Refusal(code="SYMBOL_NOT_FOUND", text=f"{command.symbol} is not in the broker's catalogue")
        if isinstance(command, SubmitOrder) and not command.position_id:
            against_e2 = 0 if self._holder.hedged else self._account.open_against_e2(command.symbol, command.side)
            request = new_order(command, symbol, self._holder, self._now_ns(), against_e2)
            return request if isinstance(request, Refusal) else (request,)
        held = self._account.protected(command.position_id)
        if isinstance(held, Refusal):
            return held
        if isinstance(command, AmendProtection):
            return amend_protection(command, held, symbol, self._holder)
        request = close_position(command, held, symbol, self._holder)
        return request if isinstance(request, Refusal) else (request,)

    def _settled(self, number: int, answer: asyncio.Future[Any]) -> None:
        command = self._commands.pop(number)
        told_by_event = number in self._refused_by_event
        self._refused_by_event.discard(number)
        error = None if answer.cancelled() else answer.exception()
        if error is None:
            return
        now_ns = self._now_ns()
        match error:
            case OutcomeUnknown() | SessionLost():
                self._tell(self._account.unknown(command, now_ns))
            case Refused(code=code, text=text):
                if not told_by_event:
                    self._tell(self._account.refused(command, code, text, now_ns))
            case RateLimited():
                self._tell(self._account.refused(command, THROTTLED, str(error), now_ns))
            case NotSent():
                self._tell(self._account.refused(command, NOT_SENT, str(error), now_ns))
            case BrokerError():
                self._tell(self._account.unknown(command, now_ns))
            case _:
                raise error
