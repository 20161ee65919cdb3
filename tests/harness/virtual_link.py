"""One socket in virtual time: a way up, a way down, and what either side knows of its end. See `virtual_net`."""

import asyncio
import math
from collections import deque

from OpenSSL import SSL
from twisted.internet import error

from adapters.ctrader.shell import Dialler, Wire
from bus.errors import SessionLost

CONNECT_S = 10.0
_GAP_S = 0.002


class _Way:
    """One direction of a link: what sets out, bytes or not, arrives in order."""

    def __init__(self, net, receiver, path, take):
        self._net = net
        self._receiver = receiver
        self._path = path
        self._take = take
        self._queue = deque()  # of what is under way: bytes up to here, and what to call then
        self._numbered = self._arrived = 0
        self._pending = bytearray()
        self._sent = self._taken = 0
        self._last = self.held_until = 0.0
        self.swallows = False

    def send(self, data):
        """Bytes set out."""
        if not self.swallows:
            self._pending += data
            self._sent += len(data)
            self._set_out(None, ())

    def then(self, callback, *args):
        """Something that is no bytes sets out."""
        if not self.swallows:
            self._set_out(callback, args)

    def lose(self):
        """What is under way is lost, and so is what follows."""
        self.swallows = True
        self._drop()

    def release(self):
        """Nothing is held up any more."""
        if self._net.world.now < self.held_until:
            self._last = self.held_until = self._net.world.now
            self._receiver.call_soon(self._come, self._numbered)

    def forget_held(self):
        """What is held up is lost; what comes later is not."""
        if self._net.world.now < self.held_until:
            self._drop()

    def _drop(self):
        self._queue.clear()
        self._pending.clear()
        self._arrived, self._taken = self._numbered, self._sent

    def _set_out(self, callback, args):
        net = self._net
        self._numbered += 1
        self._queue.append((self._sent, callback, args))
        self._last = max(net.world.now + self._path.delay_s(net.dice), self._last, self.held_until)
        self._receiver.call_at(self._last, self._come, self._numbered)

    def _come(self, number):
        """What set out up to a number arrives, its last bytes perhaps in two pieces."""
        net = self._net
        if net.world.now < self.held_until:
            self._receiver.call_at(self.held_until, self._come, number)
            return
        while self._arrived < number and self._queue:
            upto, callback, args = self._queue[0]
            count = upto - self._taken
            if callback is None and count > 1 and self._arrived + 1 == number and net.dice.random() < net.cut:
                self._receiver.call_at(net.world.now + _GAP_S * net.dice.random(), self._come, number)
                self._deliver(net.dice.randrange(1, count))
                return
            self._queue.popleft()
            self._arrived += 1
            if count and (callback is not None or self._arrived == number):  # what arrives together comes together
                self._deliver(count)
            if callback is not None:
                callback(*args)

    def _deliver(self, count):
        piece = bytes(self._pending[:count])
        del self._pending[:count]
        self._taken += count
        self._take(piece)


class Link:
    """One socket, from the attempt to its end on either side."""

    def __init__(self, net, client, wire):
        self.net = net
        self.client = client
        self.wire = wire
        self.number = 0
        self.client_is_over = False
        self.venue_is_over = True  # until it hears of it
        up, down = net.paths
        self.up = _Way(net, net.loop, up, self._at_venue)
        self.down = _Way(net, client, down, self._at_client)
        self.dark_from = math.inf  # when the client has heard the last
        self.dark_until = math.inf  # where it swallows: before that, without a word
        self._sent, self._arrived = _Types(), _Types()
        self._connecting = client.call_later(CONNECT_S, self.client_lost, error.TimeoutError())
        net.seen.sockets.up()

    # --- opening, one message after the other ---------------------------------------------------------------------

    def syn(self):
        """The venue hears that somebody wants to connect."""
        if not self.net.is_down:
            self.venue_is_over = False
            self.net.seen.venue_sockets.up()
            self.down.then(self._tcp_stands)
        elif self.net.refuses:
            self.down.then(self.client_lost, error.ConnectionRefusedError())

    def _tcp_stands(self):
        if not self.client_is_over:
            self._connecting.cancel()
            self.wire.makeConnection(_Transport(self))
            self.up.then(self._hello)

    def _hello(self):
        if self.venue_is_over:
            return
        if self.net.tls_fails():
            self.venue_ends(SSL.Error([]))
        else:
            self.down.then(self._tls_stands)

    def _tls_stands(self):
        if not self.client_is_over:
            self.wire.handshakeCompleted()
            self.up.then(self._accepted)

    def _accepted(self):
        if not self.venue_is_over:
            self.net.accept(self)

    # --- bytes ----------------------------------------------------------------------------------------------------

    def _at_venue(self, data):
        if self.venue_is_over:
            return
        for payload_type in self._arrived.feed(data):
            self.net.count(payload_type)
        self.net.arrived(self, data)

    def _at_client(self, data):
        if not self.client_is_over:
            self.net.world.note("down", self.number, data)
            self.wire.dataReceived(data)

    # --- ends -----------------------------------------------------------------------------------------------------

    def swallow(self, until, *, up, down):
        """What is written vanishes from now on; after a moment the client is told of a reset when it writes."""
        self.up.swallows |= up
        self.down.swallows |= down
        self.dark_until = until
        if down:
            self.dark_from = min(max(self.net.world.now, self.down.held_until), self.dark_from)

    def write(self, data):
        """The client writes."""
        if self.client_is_over:
            return
        for payload_type in self._sent.feed(data):
            self.net.count(payload_type, sent=True)
        self.up.send(data)
        if (self.up.swallows or self.down.swallows) and self.net.world.now >= self.dark_until:
            self.break_off(error.ConnectionLost())

    def hold(self, up_until, down_until):
        """Nothing arrives before a moment."""
        self.up.held_until = max(self.up.held_until, up_until)
        self.down.held_until = max(self.down.held_until, down_until)

    def break_off(self, reason):
        """Both sides lose it, each in its time; what is under way is lost."""
        up, down = self.net.paths
        self.up.lose()
        self.down.lose()
        self.client.call_later(down.delay_s(self.net.dice), self.client_lost, reason)
        self.net.loop.call_later(up.delay_s(self.net.dice), self.venue_over)

    def venue_ends(self, reason):
        """The venue closes or resets it; the client learns of it after all that was written before."""
        self.down.then(self.client_lost, reason)
        self.venue_over()

    def venue_over(self):
        """The venue has no such socket any more."""
        if not self.venue_is_over:
            self.venue_is_over = True
            self.net.seen.venue_sockets.down()
            self.net.leave(self)

    def venue_reads_end(self):
        """The client has closed in good order; the venue does the same."""
        if not self.venue_is_over:
            self.venue_ends(error.ConnectionDone())

    def client_over(self):
        """The client's machine has no such socket any more."""
        if not self.client_is_over:
            self.client_is_over = True
            self._connecting.cancel()
            self.net.seen.sockets.down()
            self.net.seen.longest_dark_s = max(self.net.seen.longest_dark_s, self.net.world.now - self.dark_from)
            self.net.links.remove(self)

    def client_lost(self, reason):
        """The client is told."""
        if not self.client_is_over:
            self.client_over()
            self.net.world.note("lost", self.number, type(reason).__name__)
            self.wire.ended(_Reason(reason))

    def abort(self, reason):
        """The client resets it; what its kernel still holds back is never sent."""
        self.up.forget_held()
        self.up.then(self.venue_over)
        self.client.call_soon(self.client_lost, reason)


class _Reason:
    """As much of a Twisted failure as is looked at."""

    def __init__(self, value):
        self.value = value


class _Transport:
    """What a wire writes to."""

    def __init__(self, link):
        self._link = link

    def write(self, data):
        self._link.write(data)

    def loseConnection(self):
        self._link.up.then(self._link.venue_reads_end)

    def abortConnection(self):
        if not self._link.client_is_over:
            self._link.abort(error.ConnectionAborted())

    def setTcpNoDelay(self, enabled):
        """Nothing is gathered here."""


class VirtualDialler(Dialler):
    """Opens sockets of a `Network`, with the outcomes of a real `Dialler`."""

    def __init__(self, net, server, heard, lost):
        self._net = net
        self._server = server
        self._heard = heard
        self._lost = lost

    async def dial(self):
        loop = asyncio.get_running_loop()
        wire = Wire(loop, self._heard, self._lost)
        link = self._net.open(loop, wire)
        try:
            await asyncio.wait([wire.secured, wire.gone], return_when=asyncio.FIRST_COMPLETED)
        except BaseException:
            link.abort(error.UserError())
            await wire.abort()
            raise
        if wire.gone.done():
            raise SessionLost(f"{self._server}: {wire.why(self._server.host)}")
        return wire


class _Types:
    """Payload types of the frames in a byte stream, by code of its own."""

    def __init__(self):
        self._rest = bytearray()

    def feed(self, data):
        """Those of the frames that are complete with these bytes."""
        rest, found = self._rest, []
        rest += data
        while len(rest) >= 4 and len(rest) >= 4 + (length := int.from_bytes(rest[:4], "big")):
            found.append(_payload_type(rest[4 : 4 + length]))
            del rest[: 4 + length]
        return found


def _payload_type(envelope):
    """The first field of a ProtoMessage, a varint; 0 where it is something else."""
    number, shift = 0, 0
    for byte in envelope[1:6] if envelope[:1] == b"\x08" else b"":
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number
    return 0
