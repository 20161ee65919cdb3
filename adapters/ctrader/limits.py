"""How fast we may ask: two paced buckets and a pause for each payload type that the broker has throttled.

Theory of operation. The broker allows 50 requests a second on a connection and 5 historical ones besides. We take 90 %
of that, as a token bucket in its virtual-scheduling form (the generic cell rate algorithm): no counter that fills with
time, but one moment, the earliest at which an endlessly patient sender would be due next. All arithmetic is on integer
nanoseconds, so the promise can be proved: in any second, however it is cut, at most ``burst + rate`` leave, which is
50 and 5. Orders may use the whole burst, everything else leaves the last two places of it to them: an order never
waits behind a storm of subscriptions.

A bucket outlives the connection, because older documentation counts by application and a reconnect storm must not
multiply what we send.

A throttled payload type is paused for what the broker says or, where that is shorter or absent, for a time that doubles
with every throttling in a row (1 s up to 120 s): its hint was seen to mean pacing while a longer quota was used up. An
answer to a request of that type ends the row. Pauses are a handful: there is one for each of 43 request types at most.
"""

import enum

from adapters.ctrader.messages import model
from bus.values import NS_PER_S

ORDERS_KEEP = 2
"""Places of the general burst that only orders may use."""

_SHARE_PCT = 90
_FIRST_PAUSE_S = 1
_LONGEST_PAUSE_S = 120
_MOST_STRIKES = 7


class Kind(enum.IntEnum):
    """What a request is for: the order in which waiting ones leave, and the bucket they leave through."""

    ORDER = 0
    LOGIN = 1  # the session's own requests
    DATA = 2
    HISTORY = 3


ORDER_TYPES: frozenset[int] = frozenset(
    (
        model.PROTO_OA_NEW_ORDER_REQ,
        model.PROTO_OA_CANCEL_ORDER_REQ,
        model.PROTO_OA_AMEND_ORDER_REQ,
        model.PROTO_OA_AMEND_POSITION_SLTP_REQ,
        model.PROTO_OA_CLOSE_POSITION_REQ,
    )
)
"""Requests that change orders or positions. They have no response message; events answer them."""

# What counts as historical is told in pieces; whatever reads a span of the past is taken to, and so is the one request
# of which nobody knows (order details).
HISTORY_TYPES: frozenset[int] = frozenset(
    (
        model.PROTO_OA_GET_TRENDBARS_REQ,
        model.PROTO_OA_GET_TICKDATA_REQ,
        model.PROTO_OA_DEAL_LIST_REQ,
        model.PROTO_OA_DEAL_LIST_BY_POSITION_ID_REQ,
        model.PROTO_OA_DEAL_OFFSET_LIST_REQ,
        model.PROTO_OA_ORDER_LIST_REQ,
        model.PROTO_OA_ORDER_LIST_BY_POSITION_ID_REQ,
        model.PROTO_OA_ORDER_DETAILS_REQ,
        model.PROTO_OA_CASH_FLOW_HISTORY_LIST_REQ,
    )
)
"""Requests that go through the historical bucket."""


def kind_of(payload_type: int) -> Kind:
    """The kind of a request by its payload type."""
    if payload_type in ORDER_TYPES:
        return Kind.ORDER
    return Kind.HISTORY if payload_type in HISTORY_TYPES else Kind.DATA


class Bucket:
    """At most ``burst`` at once and ``rate_e2 / 100`` a second; so at most ``burst + rate_e2 / 100`` in any second."""

    def __init__(self, rate_e2: int, burst: int) -> None:
        self._interval_ns = -(-NS_PER_S * 100 // rate_e2)  # rounded up: never faster than promised
        self._burst = burst
        self._due_ns: int | None = None

    def ready_ns(self, keep: int = 0) -> int:
        """The earliest moment at which one may leave, with ``keep`` places of the burst left to others."""
        if self._due_ns is None:
            return 0
        return self._due_ns - (self._burst - 1 - keep) * self._interval_ns

    def take(self, now_ns: int) -> None:
        """One leaves now."""
        self._due_ns = max(now_ns if self._due_ns is None else self._due_ns, now_ns) + self._interval_ns


class Limits:
    """When a request of a payload type may leave. One a process and environment, kept across connections."""

    def __init__(self) -> None:
        self._general = Bucket(_SHARE_PCT * 50, 5)  # 5 + 45 = 50
        self._history = Bucket(_SHARE_PCT * 5, 1)  # 1 + 4 = 5 whole ones
        self._until_ns: dict[int, int] = {}
        self._strikes: dict[int, int] = {}

    def bucket_ready_ns(self, kind: Kind) -> int:
        """The earliest moment at which the bucket of a kind lets one through."""
        if kind is Kind.HISTORY:
            return self._history.ready_ns()
        return self._general.ready_ns(0 if kind is Kind.ORDER else ORDERS_KEEP)

    def paused_until_ns(self, payload_type: int) -> int:
        """The moment at which the pause of a payload type ends; 0 = there is none."""
        return self._until_ns.get(payload_type, 0)

    @property
    def any_pause(self) -> bool:
        """Whether some payload type was throttled and has not been answered since."""
        return bool(self._until_ns)

    def take(self, kind: Kind, now_ns: int) -> None:
        """A request (or a heartbeat, as data) leaves now."""
        (self._history if kind is Kind.HISTORY else self._general).take(now_ns)

    def throttled(self, payload_type: int, hint_s: int, now_ns: int) -> int:
        """The broker has refused a payload type for its frequency; returns the seconds of the pause that begins.

        Args:
            payload_type: of the refused request.
            hint_s: seconds that the broker named; 0 = none.
            now_ns: the time.
        """
        pause_s = hint_s
        if now_ns >= self.paused_until_ns(payload_type):  # refusals of one burst sent before the pause are one strike
            strikes = self._strikes.get(payload_type, 0)
            pause_s = max(hint_s, min(_FIRST_PAUSE_S << strikes, _LONGEST_PAUSE_S))
            self._strikes[payload_type] = min(strikes + 1, _MOST_STRIKES)
        until_ns = max(self.paused_until_ns(payload_type), now_ns + pause_s * NS_PER_S)
        self._until_ns[payload_type] = until_ns
        return -(-(until_ns - now_ns) // NS_PER_S)

    def answered(self, payload_type: int, now_ns: int) -> None:
        """A request of that type was served: the row of throttlings is over, once its pause is."""
        if self._until_ns and now_ns >= self.paused_until_ns(payload_type):
            self._until_ns.pop(payload_type, None)
            self._strikes.pop(payload_type, None)
