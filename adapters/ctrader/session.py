"""The client side of the protocol, without I/O: bytes and the time go in, bytes and events come out.

Theory of operation. A shell owns the socket and the clock. It calls ``connected`` when TLS stands, ``receive`` with
every piece that arrives, ``timer`` when ``next_timer_ns`` has come, ``request`` for what it wants, ``disconnected``
when the socket is gone; after each call it writes ``data_to_send()``. One session serves one connection after another,
so that ids, limits and tokens outlive them; nothing else does.

State of the link, and what moves it:

    DOWN       --connected-->              GREETING   application authorisation is asked for
    GREETING   --authorised-->             OPEN       every wanted account is asked for
    OPEN       --application lost-->       GREETING   once a minute; a second time ends the link
    GREETING   --refused, no answer-->     DEAD
    any        --silence, hostile frame--> DEAD       `LinkDead`: the shell closes the socket
    any        --disconnected-->           DOWN

The state of each account is kept by ``logins``, the table of requests by ``requests``.

A request is accepted only where it can be written now or in a moment: link OPEN, its account logged in. Otherwise it
raises and nothing of it is kept. Every accepted request is settled once, by `Answered`, `RefusedBy`, `OutcomeIsUnknown`
or `NeverSent`, whatever happens to the link. ``answers`` says which message settles which request; an execution event
that does is told as `Pushed` as well, because it is a fact like others.

Heartbeats go out after 9 s without other bytes (the broker asks for one every 10 s; the second is for a late timer) and
are never answered. A link on which no frame was completed for 75 s is dead: the server sends a heartbeat every 30 s,
and counting bytes instead would let a peer that dribbles one hang us for ever.

One state machine in one file, a little past 400 lines; accounts, requests, limits and answers have their own.
"""

import enum
from typing import Any

from adapters.ctrader import events, frames
from adapters.ctrader.answers import ERROR_TYPES, EXECUTION, Counts, account_of, concerns, leaves_open, refusal, settles
from adapters.ctrader.codes import Meaning, NextStep, maintenance_ends_ns, meaning_of, retry_after_s
from adapters.ctrader.frames import REQUESTS, Envelope, FrameDecoder, OversizeFrame, decode_envelope
from adapters.ctrader.limits import Kind, Limits, kind_of
from adapters.ctrader.logins import STABLE_NS, Logins
from adapters.ctrader.messages import common, common_model, model, openapi
from adapters.ctrader.requests import Request, Requests
from bus.errors import NotSent, ProtocolError
from bus.values import NS_PER_S

HEARTBEAT_AFTER_NS = 9 * NS_PER_S
DEAD_AFTER_NS = 75 * NS_PER_S

_MOST_FIELDS_TOLD = 5

_HEARTBEAT: int = common_model.HEARTBEAT_EVENT
_OWN_TYPES = frozenset((model.PROTO_OA_APPLICATION_AUTH_REQ, model.PROTO_OA_ACCOUNT_AUTH_REQ))
_EARLY_TYPES = frozenset((model.PROTO_OA_REFRESH_TOKEN_REQ, model.PROTO_OA_VERSION_REQ))
_HEARTBEAT_FRAME = frames.encode_frame(frames.encode_envelope(common.ProtoHeartbeatEvent()))


class Link(enum.Enum):
    """State of the link."""

    DOWN = "down"
    GREETING = "greeting"
    OPEN = "open"
    DEAD = "dead"


class Session:
    """One client of one environment (demo or live), with any number of accounts."""

    def __init__(self, client_id: str, client_secret: str, prefix: str, limits: Limits | None = None) -> None:
        """Begin, not connected.

        Args:
            client_id: of the registered application.
            client_secret: its secret.
            prefix: 1 to 24 ASCII characters that no other process and no earlier run uses, for instance random hex.
            limits: shared with other sessions of the application; None = its own.
        """
        self._client_id = client_id
        self._client_secret = client_secret
        self._limits = limits or Limits()
        self._requests = Requests(prefix, self._limits)
        self._logins = Logins()
        self._decoder = FrameDecoder()
        self._heard_ns = 0
        self._events: list[events.Event] = []
        self._application_lost_ns: int | None = None
        self.link = Link.DOWN
        self.counts = Counts()

    # What the shell tells us.

    def connected(self, now_ns: int) -> None:
        """A TLS connection stands and carried nothing yet. Asks for the application's authorisation.

        Raises:
            ProtocolError: "ours", the last connection was not reported gone.
        """
        if self.link is not Link.DOWN:
            raise ProtocolError("ours", f"connected while the link is {self.link.value}; call disconnected first")
        self._decoder = FrameDecoder()
        self._heard_ns = now_ns
        self._application_lost_ns = None
        self._logins.restart(now_ns, new_link=True)
        self._requests.wrote_ns = now_ns
        self._greet(now_ns)

    def disconnected(self, now_ns: int) -> list[events.Event]:
        """The socket is gone. Settles everything that is open; may be called twice."""
        del now_ns
        self.link = Link.DOWN
        self._settle_all("the connection is gone")
        return self._told()

    def receive(self, data: bytes, now_ns: int) -> list[events.Event]:
        """Take bytes that arrived, cut anywhere. Raises nothing: a hostile frame ends in `LinkDead`."""
        if self.link in {Link.DOWN, Link.DEAD}:
            return []
        try:
            try:
                pieces, oversize = self._decoder.feed(data), None
            except OversizeFrame as broken:
                pieces, oversize = broken.frames_before, broken
            if pieces:
                self._heard_ns = now_ns
            for frame in pieces:
                self._take(decode_envelope(frame), now_ns)
                if self.link is Link.DEAD:
                    return self._told()
            if oversize is not None:
                raise oversize
        except ProtocolError as broken:
            self._die(str(broken), theirs=True)
            return self._told()
        self._requests.pump(now_ns)
        return self._told()

    def timer(self, now_ns: int) -> list[events.Event]:
        """Do what is due. Safe to call at any moment, early or late."""
        if self.link in {Link.DOWN, Link.DEAD}:
            return self._told()
        if now_ns - self._heard_ns >= DEAD_AFTER_NS:
            self._die(f"no frame for {DEAD_AFTER_NS // NS_PER_S} s")
            return self._told()
        for request in sorted(self._requests.expire(now_ns), key=lambda each: each.own):  # its own may end the link
            self._expired(request, now_ns)
        if self.link is Link.DEAD:
            return self._told()
        if self.link is Link.OPEN:
            self._log_in_where_due(now_ns)
        self._requests.pump(now_ns)
        if now_ns - self._requests.wrote_ns >= HEARTBEAT_AFTER_NS:
            self._requests.write(_HEARTBEAT_FRAME, now_ns)
            self.counts.heartbeats_sent += 1
        return self._told()

    def next_timer_ns(self) -> int | None:
        """The moment at which ``timer`` wants to be called; None = never. It may change with every call."""
        if self.link in {Link.DOWN, Link.DEAD}:
            return None
        due = [self._heard_ns + DEAD_AFTER_NS, self._requests.wrote_ns + HEARTBEAT_AFTER_NS]
        if (requests_ns := self._requests.next_ns()) is not None:
            due.append(requests_ns)
        if self.link is Link.OPEN and (login_ns := self._logins.next_ns()) is not None:
            due.append(login_ns)
        return min(due)

    def data_to_send(self) -> bytes:
        """Bytes to write now, in order; each byte is given once, and counts as sent from here on."""
        return self._requests.take_bytes()

    # What the shell wants.

    def login(self, account_id: int, token: str, now_ns: int) -> None:
        """Want an account logged in, now and on every later connection; or give it another token.

        Args:
            account_id: ctidTraderAccountId.
            token: access token; the newest held.
            now_ns: the time.
        """
        self._logins.want(account_id, token, now_ns)
        if self.link is Link.OPEN:
            self._log_in_where_due(now_ns)

    def forget(self, account_id: int) -> None:
        """Want an account no more. Does not log it out; call it before a request that does."""
        self._logins.forget(account_id)

    def beat(self, now_ns: int) -> None:
        """Send a heartbeat now, though none is due, outside the limits.

        Only for a server that plays recorded prices step by step and waits for it.
        """
        if self.link is Link.OPEN:
            self._requests.write(_HEARTBEAT_FRAME, now_ns, counted=False)
            self.counts.heartbeats_sent += 1

    def is_logged_in(self, account_id: int) -> bool:
        """Whether requests for an account are accepted now."""
        return self.link is Link.OPEN and self._logins.is_in(account_id)

    def request(self, message: Any, now_ns: int, *, kind: Kind | None = None) -> int:
        """Send a request, now or as soon as the limits allow.

        Args:
            message: a request of the broker's schema.
            now_ns: the time.
            kind: rank and bucket; None = by its type. A historical request always leaves through its own bucket.

        Returns:
            The request's number. It is settled under this number, once, by an event of a later call.

        Raises:
            NotSent: the link or the account is not ready, or too many requests wait. Nothing of it is kept.
            RateLimited: requests of this type are paused for longer than it could wait. Nothing of it is kept.
            ProtocolError: "ours", no request, one that the session sends by itself, or an incomplete one.
        """
        number: int = message.payloadType
        if number not in REQUESTS or number in _OWN_TYPES:
            raise ProtocolError("ours", f"{message.DESCRIPTOR.name} is not for `request`; accounts come in by `login`")
        if self.link is not Link.OPEN and not (self.link is Link.GREETING and number in _EARLY_TYPES):
            raise NotSent(f"the link is {self.link.value}; nothing is kept for later")
        account_id = account_of(message)
        if account_id and not self.is_logged_in(account_id):
            raise NotSent(f"account {account_id} is not logged in; nothing is kept for later")
        by_type = kind_of(number)
        if kind is None or kind is Kind.LOGIN or by_type is Kind.HISTORY:
            kind = by_type
        return self._requests.add(message, account_id, kind, now_ns).number

    # Messages.

    def _take(self, envelope: Envelope, now_ns: int) -> None:
        number, msg_id, message, unknown_fields = envelope
        self.counts.frames += 1
        self.counts.unknown_fields += unknown_fields
        if message is None:
            self.counts.unknown_types += 1
            return
        if not message.IsInitialized():
            if missing := frames.missing_fields(message):
                raise ProtocolError(
                    "theirs", f"a {message.DESCRIPTOR.name} without {', '.join(missing[:_MOST_FIELDS_TOLD])}"
                )
            if unread := frames.unread_values(message):
                self._not_understood(envelope, unread)
                return
        if number == _HEARTBEAT:
            return
        if msg_id:
            request = self._requests.find(msg_id)
            if request is not None and settles(request, number, message):
                self._requests.settle(request)
                self._settled(request, number, message, now_ns)
                return
            self.counts.stranger(pending=request is not None, ours=self._requests.is_ours(msg_id))
        self._push(number, msg_id, message, now_ns)

    def _not_understood(self, envelope: Envelope, unread: list[str]) -> None:
        number, msg_id, message, _ = envelope
        self.counts.not_understood += 1
        request = self._requests.find(msg_id)
        if request is not None and not request.own and concerns(request, number, message):
            self._requests.settle(request)
            self._tell(events.OutcomeIsUnknown(request.number, "its answer has values that this version does not know"))
        self._tell(events.NotUnderstood(number, tuple(unread[:_MOST_FIELDS_TOLD])))

    def _push(self, number: int, msg_id: str, message: Any, now_ns: int) -> None:
        """Tell what answers nothing; what concerns the login itself becomes an event of its own."""
        if number == model.PROTO_OA_CLIENT_DISCONNECT_EVENT:
            self._lose_application("CLIENT_DISCONNECTED", message.reason, now_ns)
        elif number == model.PROTO_OA_ACCOUNT_DISCONNECT_EVENT and message.ctidTraderAccountId in self._logins:
            self._lose_account(message.ctidTraderAccountId, "ACCOUNT_DISCONNECTED", "", now_ns)
        elif number == model.PROTO_OA_ACCOUNTS_TOKEN_INVALIDATED_EVENT:
            named = frozenset(message.ctidTraderAccountIds)
            for account_id in (each for each in self._logins if each in named):
                self._lose_account(account_id, "TOKEN_INVALIDATED", message.reason, now_ns)
        else:
            if number in ERROR_TYPES and not msg_id:
                self._login_trouble(account_of(message), message, now_ns)
            self._tell(events.Pushed(message))

    def _settled(self, request: Request, number: int, message: Any, now_ns: int) -> None:
        code, text = refusal(number, message)
        if request.own:
            self._authorisation(request, code, text, message, now_ns)
            return
        if not code:
            self._limits.answered(request.payload_type, now_ns)
            self._tell(events.Answered(request.number, message))
        else:
            self._tell(self._refused(request, code, text, number, message, now_ns))
        if number == EXECUTION:
            self._tell(events.Pushed(message, request.number))
        elif code:
            self._login_trouble(request.account_id, message, now_ns)

    def _refused(self, request: Request, code: str, text: str, number: int, message: Any, now_ns: int) -> events.Event:
        meaning = meaning_of(code, text)
        pause_s = self._throttle(request, meaning, message, now_ns)
        if leaves_open(request, number, code, meaning):
            return events.OutcomeIsUnknown(request.number, f"{code}: {text}" if text else code)
        return events.RefusedBy(request.number, code, text, meaning.next_step, pause_s, maintenance_ends_ns(message))

    def _throttle(self, request: Request, meaning: Meaning, message: Any, now_ns: int) -> int:
        if meaning.next_step is not NextStep.WAIT:
            self._limits.answered(request.payload_type, now_ns)
            return 0
        self.counts.throttled += 1
        return self._limits.throttled(request.payload_type, retry_after_s(message), now_ns)

    # The login.

    def _greet(self, now_ns: int) -> None:
        self.link = Link.GREETING
        message = openapi.ProtoOAApplicationAuthReq(clientId=self._client_id, clientSecret=self._client_secret)
        self._requests.add(message, 0, Kind.LOGIN, now_ns)

    def _log_in_where_due(self, now_ns: int) -> None:
        for account_id, token in self._logins.due(now_ns):
            message = openapi.ProtoOAAccountAuthReq(ctidTraderAccountId=account_id, accessToken=token)
            self._logins.asked(account_id, self._requests.add(message, account_id, Kind.LOGIN, now_ns).number)

    def _authorisation(self, request: Request, code: str, text: str, message: Any, now_ns: int) -> None:
        """The session's own question was answered; an empty code is yes."""
        meaning = meaning_of(code, text)
        if code:
            self._throttle(request, meaning, message, now_ns)
        granted = not code or meaning.next_step is NextStep.TREAT_AS_DONE
        if request.account_id and granted:
            self._tell(self._logins.granted(request.account_id, request.number, now_ns))
        elif request.account_id:
            self._login_refused(request, code, text, meaning.next_step, now_ns)
        elif granted:
            self.link = Link.OPEN
            self._tell(events.ApplicationAuthorised())
            self._logins.restart(now_ns, new_link=False)
            self._log_in_where_due(now_ns)
        else:
            self._tell(events.ApplicationLost(code, text, meaning.next_step))
            self._die(f"the application is not authorised: {code}")

    def _login_refused(self, request: Request, code: str, text: str, step: NextStep, now_ns: int) -> None:
        if self._tell(self._logins.refused(request.account_id, request.number, code, text, step, now_ns)):
            if step is NextStep.AUTHORISE_APPLICATION and self.link is Link.OPEN:
                self._lose_application(code, text, now_ns)
            elif self.link is Link.OPEN:
                self._log_in_where_due(now_ns)

    def _lose_account(self, account_id: int, code: str, text: str, now_ns: int) -> None:
        if self._tell(self._logins.lost(account_id, code, text, now_ns)):
            self._withdraw(account_id, f"account {account_id} is not logged in")
            if self.link is Link.OPEN:
                self._log_in_where_due(now_ns)

    def _lose_application(self, code: str, text: str, now_ns: int) -> None:
        self._tell(events.ApplicationLost(code, text, NextStep.AUTHORISE_APPLICATION))
        before_ns, self._application_lost_ns = self._application_lost_ns, now_ns
        if self.link is not Link.OPEN or (before_ns is not None and now_ns - before_ns < STABLE_NS):
            self._die(f"the application's authorisation does not last: {code}")
            return
        self._logins.restart(now_ns, new_link=False)
        self._withdraw(0, "the application's authorisation is lost")
        self._greet(now_ns)

    def _login_trouble(self, account_id: int, error: Any, now_ns: int) -> None:
        """An error answer may be the first that we hear of a login that is gone."""
        code, text = str(error.errorCode), str(error.description)
        step = meaning_of(code, text).next_step
        if step is NextStep.AUTHORISE_APPLICATION and self.link is Link.OPEN:
            self._lose_application(code, text, now_ns)
        elif step is NextStep.LOG_IN:
            self._lose_account(account_id, code, text, now_ns)

    # Ends.

    def _expired(self, request: Request, now_ns: int) -> None:
        if not request.own:
            # Written and not handed out yet still leaves, so only one that never got its turn is withdrawn.
            if request.frame is None:
                self._tell(events.OutcomeIsUnknown(request.number, "no answer in time"))
            else:
                self._tell(events.NeverSent(request.number, "its turn did not come in time"))
        elif request.account_id:
            self._login_refused(request, "NO_ANSWER", "", NextStep.RETRY_LATER, now_ns)
        else:
            self._die("the application's authorisation was not answered")

    def _withdraw(self, account_id: int, why: str) -> None:
        """Nothing waits for a login."""
        for request in self._requests.withdraw(account_id):
            self._tell(events.NeverSent(request.number, why))

    def _settle_all(self, why: str) -> None:
        for request in self._requests.end():
            if not request.own:
                settled = events.OutcomeIsUnknown if request.handed_out else events.NeverSent
                self._tell(settled(request.number, why))

    def _die(self, reason: str, *, theirs: bool = False) -> None:
        self.link = Link.DEAD
        self._settle_all(reason)
        self._tell(events.LinkDead(reason, theirs))

    def _tell(self, event: events.Event | None) -> bool:
        if event is not None:
            self._events.append(event)
        return event is not None

    def _told(self) -> list[events.Event]:
        told, self._events = self._events, []
        return told
