"""The venue on a socket: TLS for the protocol, HTTP for tokens, and a feed that plays recorded prices.

Theory of operation. One event loop, one endpoint. Whatever the endpoint wants written lies in a heap by due time; one
timer serves it, another the endpoint's own timer. The market stands still until the first spot subscription, so that
no client misses the beginning of a recorded day; at pace `max` it waits for slow readers instead of flooding them, and
step by step it waits for a heartbeat of every subscriber after every price.
"""

import asyncio
import contextlib
import heapq
import socket
import ssl
import struct
from itertools import count
from typing import Self

from aiohttp import web
from yarl import URL

from adapters.ctrader.venue.endpoint import Endpoint, Wire
from adapters.ctrader.venue.feed import Feed
from bus.values import NS_PER_S

_SLOW_BYTES = 1_000_000
_HOPELESS_BYTES = 64_000_000
_BATCH = 100


class _Link(asyncio.Protocol):
    """One client's socket."""

    def __init__(self, server: "VenueServer") -> None:
        self._server = server
        self.transport: asyncio.Transport | None = None
        self.number = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(high=_SLOW_BYTES)
        if self._server.refuses():
            transport.abort()
        else:
            self.number = self._server.joined(self)

    def data_received(self, data: bytes) -> None:
        self._server.heard(self.number, data)

    def pause_writing(self) -> None:
        self._server.slow(self.number, is_slow=True)

    def resume_writing(self) -> None:
        self._server.slow(self.number, is_slow=False)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self.number:
            self._server.left(self.number)


class VenueServer:
    """Serves an endpoint. Use as ``async with``, then wait for whatever ends it."""

    def __init__(
        self, endpoint: Endpoint, feed: Feed, *, tls: ssl.SSLContext, host: str, port: int, http_port: int,
        speed: float | None, step: bool = False,
    ) -> None:  # fmt: skip
        """Prepare; nothing listens yet.

        Args:
            endpoint: the venue.
            feed: prices that come once somebody listens.
            tls: the server's certificate.
            host: address to listen on.
            port: of the protocol; 0 = any that is free.
            http_port: of the token endpoint; 0 = any that is free.
            speed: market seconds a second; None = as fast as clients read.
            step: after each price, wait for a heartbeat of every subscriber.
        """
        self.endpoint = endpoint
        self._feed = feed
        self._tls = tls
        self._host = host
        self._wanted = port, http_port
        self._speed = speed
        self._step = step
        self._awaited: set[int] = set()
        self._all_heard = asyncio.Event()
        self._links: dict[int, _Link] = {}
        self._heap: list[tuple[int, int, Wire]] = []
        self._sequence = count()
        self._writing: asyncio.TimerHandle | None = None
        self._ticking: asyncio.TimerHandle | None = None
        self._listening = asyncio.Event()
        self._keeping_up = asyncio.Event()
        self._keeping_up.set()
        self._behind: set[int] = set()
        self.port = self.http_port = 0

    async def __aenter__(self) -> Self:
        """Listen."""
        self._loop = asyncio.get_running_loop()
        self._server = await self._loop.create_server(
            lambda: _Link(self), self._host, self._wanted[0], ssl=self._tls, backlog=64
        )
        self.port = self._server.sockets[0].getsockname()[1]
        app = web.Application()
        app.router.add_get("/apps/token", self._token)
        app.router.add_get("/apps/auth", self._consent)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._wanted[1])
        await site.start()
        self.http_port = self._runner.addresses[0][1]
        self._player = asyncio.create_task(self._play())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every socket."""
        self._player.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._player
        for timer in (self._writing, self._ticking):
            if timer is not None:
                timer.cancel()
        self._server.close()
        for link in list(self._links.values()):
            if link.transport is not None:
                link.transport.abort()
        await self._server.wait_closed()
        await self._runner.cleanup()

    def _now_ns(self) -> int:
        return int(self._loop.time() * NS_PER_S)

    # --- sockets --------------------------------------------------------------------------------------------------

    def joined(self, link: _Link) -> int:
        """A client is there; its number."""
        number = self.endpoint.connect(self._now_ns())
        self._links[number] = link
        self._set_timer()
        return number

    def refuses(self) -> bool:
        """Whether nobody is let in just now."""
        return self.endpoint.refuses(self._now_ns())

    def heard(self, number: int, data: bytes) -> None:
        """Bytes of a client."""
        connection = self.endpoint.venue.connections.get(number)
        beats = connection.beats if connection is not None else 0
        self._write(self.endpoint.data(number, data, self._now_ns()))
        if connection is not None and connection.beats > beats:
            self._no_more_awaited(number)
        if not self._listening.is_set():
            connection = self.endpoint.venue.connections.get(number)
            if connection is not None and connection.spots:
                self._listening.set()

    def left(self, number: int) -> None:
        """A client is gone."""
        self._links.pop(number, None)
        self._no_more_awaited(number)
        self.slow(number, is_slow=False)
        self.endpoint.disconnect(number)

    def _write(self, wires: list[Wire]) -> None:
        for wire in wires:
            heapq.heappush(self._heap, (wire.due_ns, next(self._sequence), wire))
        self._flush()

    def _flush(self) -> None:
        now_ns = self._now_ns()
        while self._heap and self._heap[0][0] <= now_ns:
            self._put(heapq.heappop(self._heap)[2])
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None
        if self._heap:
            self._writing = self._loop.call_at(self._heap[0][0] / NS_PER_S, self._flush)
        self._set_timer()

    def _put(self, wire: Wire) -> None:
        link = self._links.get(wire.connection)
        transport = link.transport if link is not None else None
        if transport is None or transport.is_closing():
            return
        if wire.data:
            transport.write(wire.data)
        if wire.then == "close":
            transport.close()
        elif wire.then == "reset" or transport.get_write_buffer_size() > _HOPELESS_BYTES:
            raw = transport.get_extra_info("socket")
            with contextlib.suppress(OSError):  # without lingering, closing is a reset
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()

    def _set_timer(self) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None
        moment_ns = self.endpoint.next_timer_ns()
        if moment_ns is not None:
            self._ticking = self._loop.call_at(moment_ns / NS_PER_S, self._tick)

    def _tick(self) -> None:
        # The loop may wake a moment early; the endpoint is told the time it asked for.
        now_ns = max(self._now_ns(), self.endpoint.next_timer_ns() or 0)
        self._write(self.endpoint.timer(now_ns))

    # --- prices ---------------------------------------------------------------------------------------------------

    async def _play(self) -> None:
        await self._listening.wait()
        began = self._loop.time()
        first_ns: int | None = None
        for number, quote in enumerate(self._feed.live()):
            if self._speed is None:
                if number % _BATCH == 0:
                    await self._readers()
            else:
                first_ns = quote.ts_init_ns if first_ns is None else first_ns
                due = began + (quote.ts_init_ns - first_ns) / NS_PER_S / self._speed
                if due > self._loop.time():
                    await asyncio.sleep(due - self._loop.time())
                elif number % _BATCH == 0:
                    await asyncio.sleep(0)
            self._write(self.endpoint.on_quote(quote, self._now_ns()))
            if self._step:
                await self._subscribers()

    async def _subscribers(self) -> None:
        """Wait for every subscriber, and for one where there is none."""
        while not (awaited := {n for n, c in self.endpoint.venue.connections.items() if c.spots and n in self._links}):
            self._listening.clear()
            await self._listening.wait()
        self._awaited = awaited
        self._all_heard.clear()
        await self._all_heard.wait()

    def _no_more_awaited(self, number: int) -> None:
        self._awaited.discard(number)
        if not self._awaited:
            self._all_heard.set()

    async def _readers(self) -> None:
        """Let other things happen, and slow clients read what they have been sent."""
        await asyncio.sleep(0)
        await self._keeping_up.wait()

    def slow(self, number: int, *, is_slow: bool) -> None:
        """A client has fallen behind with reading, or has caught up."""
        if is_slow:
            self._behind.add(number)
        else:
            self._behind.discard(number)
        if self._behind:
            self._keeping_up.clear()
        else:
            self._keeping_up.set()

    # --- tokens ---------------------------------------------------------------------------------------------------

    async def _token(self, request: web.Request) -> web.Response:
        status, reply, out = self.endpoint.venue.token_request(dict(request.query), self._now_ns())
        self._write(self.endpoint.send(out, self._now_ns()))
        return web.json_response(reply, status=status)

    async def _consent(self, request: web.Request) -> web.Response:
        """The consent page, with the user's consent taken for granted."""
        redirect_uri = request.query.get("redirect_uri", "")
        tokens = self.endpoint.venue.tokens
        if request.query.get("client_id") != tokens.client_id or not redirect_uri.startswith(("http://", "https://")):
            return web.Response(status=400, text="client_id or redirect_uri is wrong")
        trade = request.query.get("scope", "trading") == "trading"
        query = {"code": tokens.code(redirect_uri, self._now_ns(), trade=trade)}
        if "state" in request.query:
            query["state"] = request.query["state"]
        return web.Response(status=302, headers={"Location": str(URL(redirect_uri).update_query(query))})
