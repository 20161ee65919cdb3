"""The requests of one session: their ids, who leaves next, who waits for an answer, and until when.

Theory of operation. A request is in one of three places. *Waiting*: encoded, not written, because its bucket or a pause
holds it back; withdrawn (never sent) when its patience ends. *Written*: in the outgoing buffer; still never sent if the
link ends before the shell takes the bytes. *Handed out*: the shell has the bytes, so from here on silence means that
the outcome is unknown. An answer, a refusal, a deadline or the end of the link takes it out of the table, once.

Ids are ``<prefix>-<number>``. The number grows over the whole life of the process, connections included, and the prefix
is the process's own, so an id names one request for ever. The shell is expected to take the bytes after every call.
"""

import heapq
from collections import deque
from typing import Any, NamedTuple

from adapters.ctrader.frames import encode_envelope, encode_frame
from adapters.ctrader.limits import Kind, Limits
from bus.errors import NotSent, RateLimited
from bus.values import NS_PER_S

MOST_WAITING = 1_000
"""Requests that may wait for their turn at once: 22 s of the general limit."""

_LONGEST_PREFIX = 24  # with the number an id stays below a UUID's 36 characters, which every server takes


class Patience(NamedTuple):
    """Seconds.

    Attributes:
        unsent_s: how long a request may wait for its turn; an order that is late is not the order that was meant.
        answer_s: how long an answer may take; acceptance takes 50 to 150 ms, a long history some seconds.
    """

    unsent_s: int
    answer_s: int


PATIENCE = {
    Kind.ORDER: Patience(1, 10),
    Kind.LOGIN: Patience(10, 20),
    Kind.DATA: Patience(10, 20),
    Kind.HISTORY: Patience(60, 30),
}


class Request:
    """One request in the table. Holds its bytes only until they are written: they may hold a token."""

    __slots__ = ("account_id", "deadline_ns", "frame", "handed_out", "kind", "msg_id", "number", "payload_type")

    def __init__(self, number: int, msg_id: str, message: Any, account_id: int, kind: Kind, deadline_ns: int) -> None:
        self.number = number
        self.msg_id = msg_id
        self.payload_type: int = message.payloadType
        self.account_id = account_id
        self.kind = kind
        self.deadline_ns = deadline_ns
        self.frame: bytes | None = encode_frame(encode_envelope(message, msg_id))
        self.handed_out = False

    @property
    def own(self) -> bool:
        """Whether it is the session's own, of which nobody else is told."""
        return self.kind is Kind.LOGIN


class Requests:
    """The table. One a session, kept across connections."""

    def __init__(self, prefix: str, limits: Limits) -> None:
        if not (0 < len(prefix) <= _LONGEST_PREFIX and prefix.isascii()):
            raise ValueError(f"a prefix of 1 to {_LONGEST_PREFIX} ASCII characters, not {len(prefix)}")
        self._prefix = f"{prefix}-"
        self._limits = limits
        self._last_number = 0
        self._waiting: dict[Kind, deque[Request]] = {kind: deque() for kind in Kind}
        self._table: dict[str, Request] = {}
        self._deadlines: list[tuple[int, int, bool, Request]] = []
        self._out: list[bytes] = []
        self._not_handed: list[Request] = []
        self.wrote_ns = 0

    def is_ours(self, msg_id: str) -> bool:
        """Whether this process made an id."""
        return msg_id.startswith(self._prefix)

    def add(self, message: Any, account_id: int, kind: Kind, now_ns: int) -> Request:
        """Take a request in and write it at once if it may leave.

        Args:
            message: the request.
            account_id: account that it concerns; 0 = none.
            kind: bucket and rank; what is a login is kept however full and slow it is.
            now_ns: the time.

        Raises:
            RateLimited: its type is paused for longer than it may wait.
            NotSent: too many are waiting.
            ProtocolError: "ours", it cannot be encoded.
        """
        own = kind is Kind.LOGIN
        if sum(map(len, self._waiting.values())) >= MOST_WAITING and not own:
            raise NotSent(f"{MOST_WAITING} requests are waiting for their turn already; ask for less")
        deadline_ns = now_ns + PATIENCE[kind].unsent_s * NS_PER_S
        paused_ns = self._limits.paused_until_ns(message.payloadType)
        if paused_ns > deadline_ns and not own:
            raise RateLimited((paused_ns - now_ns) / NS_PER_S)
        number = self._last_number + 1
        request = Request(number, f"{self._prefix}{number}", message, account_id, kind, deadline_ns)
        self._last_number = number
        self._table[request.msg_id] = request
        heapq.heappush(self._deadlines, (deadline_ns, number, False, request))
        self._waiting[kind].append(request)
        self.pump(now_ns)
        return request

    def write(self, frame: bytes, now_ns: int, *, counted: bool = True) -> None:
        """Write a frame that is no request (a heartbeat); `counted`, it takes its place in the general limit."""
        if counted:
            self._limits.take(Kind.DATA, now_ns)
        self._out.append(frame)
        self.wrote_ns = now_ns

    def pump(self, now_ns: int) -> None:
        """Write what may leave: orders first."""
        for kind, queue in self._waiting.items():
            while queue and self._limits.bucket_ready_ns(kind) <= now_ns:
                request = self._next(queue, now_ns)
                if request is None or request.frame is None:
                    break
                self._limits.take(kind, now_ns)
                self._out.append(request.frame)
                self._not_handed.append(request)
                request.frame = None
                request.deadline_ns = now_ns + PATIENCE[kind].answer_s * NS_PER_S
                heapq.heappush(self._deadlines, (request.deadline_ns, request.number, True, request))
                self.wrote_ns = now_ns

    def _next(self, queue: deque[Request], now_ns: int) -> Request | None:
        if not self._limits.any_pause:
            return queue.popleft()
        for place, request in enumerate(queue):
            if self._limits.paused_until_ns(request.payload_type) <= now_ns:
                del queue[place]
                return request
        return None

    def take_bytes(self) -> bytes:
        """All bytes written since the last call. From here on they count as sent."""
        if not self._out:
            return b""
        taken = b"".join(self._out)
        self._out.clear()
        for request in self._not_handed:
            request.handed_out = True
        self._not_handed.clear()
        return taken

    def find(self, msg_id: str) -> Request | None:
        """The request that waits for an answer under an id."""
        request = self._table.get(msg_id)
        return request if request is not None and request.handed_out else None

    def settle(self, request: Request) -> None:
        """Take a request out of the table."""
        del self._table[request.msg_id]

    def expire(self, now_ns: int) -> list[Request]:
        """Take out and return those whose deadline has come."""
        expired: list[Request] = []
        while self._deadlines and self._deadlines[0][0] <= now_ns:
            deadline_ns, _, _, request = heapq.heappop(self._deadlines)
            if request.msg_id in self._table and request.deadline_ns == deadline_ns:
                expired.append(request)
                self._forget_waiting(request)
        return expired

    def withdraw(self, account_id: int) -> list[Request]:
        """Take out those that wait for their turn, of one account or (0) of all; returns them but for the session's."""
        gone = [each for queue in self._waiting.values() for each in queue if account_id in {0, each.account_id}]
        for request in gone:
            self._forget_waiting(request)
        return [request for request in gone if not request.own]

    def _forget_waiting(self, request: Request) -> None:
        del self._table[request.msg_id]
        if request.frame is not None:
            self._waiting[request.kind].remove(request)

    def end(self) -> list[Request]:
        """The link is over: take out and return everything, oldest first."""
        everything = sorted(self._table.values(), key=lambda request: request.number)
        self._table.clear()
        self._deadlines.clear()
        self._out.clear()
        self._not_handed.clear()
        for queue in self._waiting.values():
            queue.clear()
        return everything

    def next_ns(self) -> int | None:
        """The moment at which something is due here; None = nothing."""
        while self._deadlines:
            deadline_ns, _, _, request = self._deadlines[0]
            if request.msg_id in self._table and request.deadline_ns == deadline_ns:
                break
            heapq.heappop(self._deadlines)
        due = [self._deadlines[0][0]] if self._deadlines else []
        for kind, queue in self._waiting.items():
            if queue:
                paused_ns = 0
                if self._limits.any_pause:
                    paused_ns = min(self._limits.paused_until_ns(request.payload_type) for request in queue)
                due.append(max(self._limits.bucket_ready_ns(kind), paused_ns))
        return min(due, default=None)
