"""Sockets in virtual time: `Connection` on one side, the venue without I/O (`Endpoint`) on the other, a seed between.

Theory of operation. `Network` is the venue's process: it owns the endpoint, writes what is due when it is due, rings
the endpoint's timer and feeds it prices. `Network.dialler` takes the place of `adapters.ctrader.shell.Dialler`; the
`Wire` of that module is used as it is, over a transport made here. A link is one socket: a way up and a way down, each
of which keeps its order, takes time, and cuts the bytes anywhere. Opening takes what it takes with TLS 1.3: SYN and
back, hello and back, and what the client says next.

What a process leaves behind when it is killed is what a kernel would do: its sockets are reset, which the venue learns
when the reset arrives (or never, with `silent_deaths`).

What the venue sees is counted from the bytes that arrive at it, by code of its own: sockets, and requests in a sliding
second over all of them.
"""

import asyncio
import heapq
import math
from collections import Counter, deque

import msgspec
from OpenSSL import SSL
from twisted.internet import error

from adapters.ctrader.venue.core import Venue
from adapters.ctrader.venue.endpoint import Endpoint
from adapters.ctrader.venue.faults import Plan
from adapters.ctrader.venue.gatekeeping import HISTORY
from adapters.ctrader.venue.specs import AccountSpec, VenueSpec
from bus.values import NS_PER_S, default_instrument
from tests.harness.virtual_link import Link, VirtualDialler

ACCOUNTS = (AccountSpec(account_id=7),)
_HEARTBEAT = 51


class Latency(msgspec.Struct, frozen=True):
    """How long bytes are under way, one direction.

    Attributes:
        least_s: at least so long.
        most_s: usually evenly between the two.
        slow_pct: so many in a hundred take longer,
        slow_s: by up to so much.
    """

    least_s: float = 0.004
    most_s: float = 0.030
    slow_pct: float = 0.0
    slow_s: float = 0.5

    def delay_s(self, dice):
        """Draw one."""
        drawn = self.least_s + (self.most_s - self.least_s) * dice.random()
        if self.slow_pct and dice.random() * 100 < self.slow_pct:
            drawn += self.slow_s * dice.random()
        return drawn


USUAL = Latency()


class Rate:
    """The most that came in any second that is open on one side."""

    def __init__(self):
        self.most = self.total = 0
        self._seen = deque()

    def count(self, now_ns):
        """One comes."""
        seen = self._seen
        while seen and seen[0] <= now_ns - NS_PER_S:
            seen.popleft()
        seen.append(now_ns)
        self.total += 1
        self.most = max(self.most, len(seen))


class Gauge:
    """How many there are, and how many there were at most."""

    def __init__(self):
        self.now = self.most = 0

    def up(self):
        """One more."""
        self.now += 1
        self.most = max(self.most, self.now)

    def down(self):
        """One less."""
        self.now -= 1


class Seen:
    """What has been counted.

    Attributes:
        dials: the moment of every attempt to connect, in seconds of the world.
        sockets: of the clients' machines, attempts included.
        venue_sockets: of the venue; one that it was not told the end of lives until it is closed for being idle.
        requests: that arrived at the venue, but for historical ones and heartbeats.
        history: historical ones that arrived.
        sent_requests, sent_history: the same when written; what is held up on its way arrives closer together.
        types: all that arrived, by payload type.
        strikes: what the network did, by name.
        longest_dark_s: how long a client has held a socket on which nothing could come any more.
    """

    def __init__(self):
        self.dials = []
        self.sockets, self.venue_sockets = Gauge(), Gauge()
        self.requests, self.history = Rate(), Rate()
        self.sent_requests, self.sent_history = Rate(), Rate()
        self.types, self.strikes = Counter(), Counter()
        self.longest_dark_s = 0.0


class Network:
    """The venue's process and everything between it and its clients.

    Attributes:
        loop: the venue's process.
        endpoint: the venue.
        links: open sockets, oldest first.
        seen: counts.
        silent_deaths: whether the venue is never told that a client's process was killed (the machine lost its power).
    """

    def __init__(self, world, endpoint, *, up=USUAL, down=USUAL, cut_pct=20.0, name="venue"):
        """Build it.

        Args:
            world: where.
            endpoint: the venue; nothing else may drive it.
            up: from clients to the venue.
            down: from the venue to clients.
            cut_pct: of all arrivals that bring only a part of what has come so far.
            name: of the venue's process.
        """
        self.world = world
        self.endpoint = endpoint
        self.loop = world.process(name)
        self.links = []
        self.seen = Seen()
        self.silent_deaths = False
        self.dice = world.dice(f"{name}'s network")
        self.cut = cut_pct / 100
        self.paths = up, down
        self._by_number = {}
        self._clients = []
        self._heap = []
        self._wire_number = 0
        self._writing = self._ringing = None
        self._down_until, self._refuses = 0.0, True
        self._tls_failures = 0

    # --- for the client -------------------------------------------------------------------------------------------

    def dialler(self, server, heard, lost):
        """In place of `Dialler`: `Connection(..., dialler=network.dialler)`."""
        return VirtualDialler(self, server, heard, lost)

    async def token_request(self, parameters):
        """Ask the token endpoint, as over HTTP; from a client's process.

        Returns:
            Status and decoded JSON.

        Raises:
            ConnectionError: the venue is down.
        """
        up, down = self.paths
        client, answer = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()

        def serve():
            if self.is_down:
                told = None
            else:
                status, reply, out = self.endpoint.venue.token_request(dict(parameters), self.world.now_ns)
                self.write(self.endpoint.send(out, self.world.now_ns))
                told = status, reply
            client.call_later(down.delay_s(self.dice), arrive, told)

        def arrive(told):
            if not answer.done():
                answer.set_result(told)

        self.loop.call_later(up.delay_s(self.dice), serve)
        told = await answer
        if told is None:
            raise ConnectionRefusedError("the token endpoint is down")
        return told

    # --- what goes wrong ------------------------------------------------------------------------------------------

    def reset(self):
        """Every socket breaks, and what was under way is lost. Returns how many."""
        return self._strike("reset", lambda link: link.break_off(error.ConnectionLost()))

    def break_tls(self):
        """Every socket ends with a TLS error at the client and a reset at the venue. Returns how many."""
        broken = SSL.Error([("SSL routines", "", "decryption failed or bad record mac")])
        return self._strike("break_tls", lambda link: link.break_off(broken))

    def close(self):
        """The venue closes every socket in good order, whatever is under way. Returns how many."""
        return self._strike("close", lambda link: link.venue_ends(error.ConnectionDone()))

    def half_open(self, *, up=True, down=True):
        """What is written to these sockets vanishes, without a word to anybody, until `mend`. Returns how many."""
        return self._strike("half_open", lambda link: link.swallow(math.inf, up=up, down=down))

    def hold(self, for_s, *, up=True, down=True):
        """Nothing arrives for so long; then all of it does, in order. Returns how many sockets that concerns."""
        until = self.world.now + for_s
        return self._strike("hold", lambda link: link.hold(until if up else 0.0, until if down else 0.0))

    def fail_tls(self, times=1):
        """The next so many handshakes fail, because the server hangs up."""
        self.seen.strikes["fail_tls"] += 1
        self._tls_failures += times

    def go_down(self, for_s, *, refuses=True, resets=True):
        """The venue's gateway is gone for so long; its market goes on.

        Args:
            for_s: seconds.
            refuses: connecting is refused; otherwise nothing answers.
            resets: sockets are reset at once; otherwise when something is written to them after it is back.
        """
        self.seen.strikes["down"] += 1
        self._down_until, self._refuses = self.world.now + for_s, refuses
        for link in list(self.links):
            if resets:
                link.break_off(error.ConnectionLost())
            else:
                link.swallow(self._down_until, up=True, down=True)
                link.venue_over()

    def mend(self):
        """Every fault is over, the endpoint's own too: half-open sockets are reset, and what is held up arrives."""
        self._down_until, self._tls_failures = 0.0, 0
        for link in [each for each in self.links if each.up.swallows or each.down.swallows]:
            link.break_off(error.ConnectionLost())
        for link in self.links:
            link.up.release()
            link.down.release()
        self.write(self.endpoint.calm(self.world.now_ns))

    @property
    def is_down(self):
        """Whether nobody can connect."""
        return self.world.now < self._down_until

    def _strike(self, name, how):
        struck = [link for link in self.links if not link.client_is_over]
        for link in struck:
            how(link)
        self.seen.strikes[name] += len(struck)
        return len(struck)

    # --- prices ---------------------------------------------------------------------------------------------------

    def feed(self, quotes, *, from_ns=None, speed=1.0):
        """Let prices come.

        Args:
            quotes: in order of `ts_init_ns`; taken one at a time, each when the one before has come.
            from_ns: market time that is now; None = the world's UTC.
            speed: market seconds a second.
        """
        began, first_ns, quotes = self.world.now, self.world.utc_ns if from_ns is None else from_ns, iter(quotes)

        def set_next():
            quote = next(quotes, None)
            if quote is not None:
                self.loop.call_at(began + (quote.ts_init_ns - first_ns) / NS_PER_S / speed, come, quote)

        def come(quote):
            self.write(self.endpoint.on_quote(quote, self.world.now_ns))
            set_next()

        set_next()

    # --- the venue's side -----------------------------------------------------------------------------------------

    def write(self, wires):
        """Put on the ways what the endpoint gave, each piece when it is due. For whoever calls the endpoint itself."""
        for wire in wires:
            self._wire_number += 1
            heapq.heappush(self._heap, (wire.due_ns, self._wire_number, wire))
        self._flush()

    def _flush(self):
        heap, now_ns = self._heap, self.world.now_ns
        together = None  # pieces that leave at one moment for one client leave as one
        while heap and heap[0][0] <= now_ns:
            wire = heapq.heappop(heap)[2]
            if together is not None and (together[0] != wire.connection):
                self._put(*together)
                together = None
            data = wire.data if together is None else together[1] + wire.data
            together = wire.connection, data, wire.then
            if wire.then:
                self._put(*together)
                together = None
        if together is not None:
            self._put(*together)
        if heap and (self._writing is None or heap[0][0] / NS_PER_S < self._writing.when()):
            if self._writing is not None:
                self._writing.cancel()
            self._writing = self.loop.call_at(heap[0][0] / NS_PER_S, self._write_due)
        self._set_timer()

    def _write_due(self):
        self._writing = None
        self._flush()

    def _put(self, number, data, then):
        link = self._by_number.get(number)
        if link is None:
            return
        if data:
            link.down.send(data)
        if then:
            link.venue_ends(error.ConnectionDone() if then == "close" else error.ConnectionLost())

    def _set_timer(self):
        due_ns = self.endpoint.next_timer_ns()
        if due_ns is None:
            return
        due = due_ns / NS_PER_S
        if self._ringing is not None:
            if self._ringing.when() <= due:
                return
            self._ringing.cancel()
        self._ringing = self.loop.call_at(due, self._ring)

    def _ring(self):
        self._ringing = None
        self.write(self.endpoint.timer(self.world.now_ns))

    def accept(self, link):
        """TLS stands at the venue; from here on the endpoint knows of it, if it lets anybody in."""
        if self.endpoint.refuses(self.world.now_ns):
            link.venue_ends(error.ConnectionLost())
            return
        link.number = self.endpoint.connect(self.world.now_ns)
        self._by_number[link.number] = link
        self._set_timer()

    def leave(self, link):
        """The venue's side of a link is over."""
        self._by_number.pop(link.number, None)
        self.endpoint.disconnect(link.number)

    def arrived(self, link, data):
        """Bytes at the venue."""
        self.world.note("up", link.number, data)
        self.write(self.endpoint.data(link.number, data, self.world.now_ns))

    def count(self, payload_type, *, sent=False):
        """A request has come in, or was sent."""
        seen = self.seen
        if not sent:
            seen.types[payload_type] += 1
        if payload_type == _HEARTBEAT:
            return
        if payload_type in HISTORY:
            rate = seen.sent_history if sent else seen.history
        else:
            rate = seen.sent_requests if sent else seen.requests
        rate.count(self.world.now_ns)

    def open(self, client, wire):
        """A client dials."""
        if client not in self._clients:
            self._clients.append(client)
            client.at_end.append(lambda: self._client_is_gone(client))
        link = Link(self, client, wire)
        self.links.append(link)
        self.seen.dials.append(self.world.now)
        link.up.then(link.syn)
        return link

    def tls_fails(self):
        """Whether this handshake does."""
        failing = self._tls_failures > 0
        self._tls_failures -= failing
        return failing

    @property
    def refuses(self):
        """Whether dialling is refused now; otherwise it is not heard."""
        return self._refuses

    def _client_is_gone(self, client):
        for link in [each for each in self.links if each.client is client]:
            link.client_over()
            if not self.silent_deaths:
                link.up.then(link.venue_over)


def endpoint_of(world, *symbols, accounts=ACCOUNTS, plan=None, **more):
    """A venue that opens now.

    Args:
        world: says when that is.
        symbols: that it offers, ids from 1 in this order; EURUSD by default.
        accounts: that it keeps.
        plan: of its faults.
        more: for `VenueSpec`.
    """
    instruments = tuple(default_instrument(name) for name in symbols or ("EURUSD",))
    venue = Venue(VenueSpec(instruments=instruments, accounts=tuple(accounts), **more), opened_ns=world.utc_ns)
    return Endpoint(venue, plan or Plan())
