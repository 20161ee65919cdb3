"""Sockets: the one file with Twisted. One attempt, one socket, TLS verified; what flows through is ``connection``'s.

Theory of operation. Twisted runs on the asyncio loop that runs already: one reactor a loop, made here and installed as
the process's where there is none yet, so that no later import installs another. Names are resolved by asyncio, and
addresses are tried one after another. What is written leaves at once (`_Secured`, `_AtOnce`); no Nagle holds it back.
"""

import asyncio
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
from OpenSSL import SSL, crypto
from service_identity import VerificationError
from twisted.internet import asyncioreactor, ssl
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.main import installReactor
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import classImplements, directlyProvides, providedBy

from bus.errors import ConfigError, Refused, SessionLost

_CONNECT_S = 10
_CLOSE_S = 2

_reactors: WeakKeyDictionary[asyncio.AbstractEventLoop, Any] = WeakKeyDictionary()


class Server(msgspec.Struct, frozen=True):
    """Where to connect.

    Attributes:
        host: name or address; the certificate must be for it.
        port: of the protobuf protocol.
        ca_file: PEM file of the only authorities that are trusted; None = those of the system.
    """

    host: str
    port: int
    ca_file: Path | None = None

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Dialler:
    """Opens sockets to one server, one at a time."""

    def __init__(
        self, server: Server, heard: Callable[["Wire", bytes], None], lost: Callable[["Wire"], None]
    ) -> None:  # fmt: skip
        """Prepare, on the running loop.

        Args:
            server: where to connect.
            heard: takes what arrives on a socket.
            lost: is told once that a socket has ended or that none came about.

        Raises:
            ConfigError: the authority's file is unfit.
        """
        self._server = server
        self._trust = _trust(server)
        self._heard = heard
        self._lost = lost

    async def dial(self) -> "Wire":
        """A socket with TLS, certificate and host name verified; or none is left.

        Raises:
            SessionLost: none of the host's addresses gives one.
        """
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(self._server.host, self._server.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise SessionLost(f"{self._server}: the name is not known ({error.strerror})") from None
        why = "the name has no address"
        for address in dict.fromkeys(str(each[4][0]) for each in found):
            wire = Wire(loop, self._heard, self._lost)
            wrapped: Any = _Factory(wire)
            factory = _TLS(self._trust, True, wrapped, clock=reactor_of(loop))
            connector = reactor_of(loop).connectTCP(address, self._server.port, factory, timeout=_CONNECT_S)
            try:
                await asyncio.wait([wire.secured, wire.gone], return_when=asyncio.FIRST_COMPLETED)
            except BaseException:
                connector.disconnect()
                await wire.abort()
                raise
            if not wire.gone.done():
                return wire
            why = wire.why(self._server.host)
            if wire.transport is not None:
                break  # it answered, and not as it should; another address would be no better
        raise SessionLost(f"{self._server}: {why}")


class Wire(Protocol):
    """One socket's life, from the attempt to its end."""

    transport: Any = None

    def __init__(
        self, loop: asyncio.AbstractEventLoop, heard: Callable[["Wire", bytes], None], lost: Callable[["Wire"], None]
    ) -> None:
        self.secured: asyncio.Future[None] = loop.create_future()
        self.authorised: asyncio.Future[None] = loop.create_future()
        self.gone: asyncio.Future[None] = loop.create_future()
        self.refused: Refused | None = None
        self.reason: BaseException = ConnectionError()
        self._heard = heard
        self._lost = lost

    async def end(self) -> None:
        """Close in good order, or after a moment by force."""
        self.transport.loseConnection()
        await asyncio.wait([self.gone], timeout=_CLOSE_S)
        await self.abort()

    async def abort(self) -> None:
        """Close by force, and wait until it is closed."""
        if self.transport is not None and not self.gone.done():
            self.transport.abortConnection()
        await asyncio.wait([self.gone], timeout=_CLOSE_S)

    def why(self, host: str) -> str:
        """Why it ended, in one line."""
        return _words(self.reason, host)

    def connectionMade(self) -> None:  # noqa: N802
        """TCP stands; TLS begins."""
        self.transport.setTcpNoDelay(True)

    def handshakeCompleted(self) -> None:  # noqa: N802
        """TLS stands, certificate and host name verified."""
        self.secured.set_result(None)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Bytes arrived."""
        self._heard(self, data)

    def connectionLost(self, reason: Any = None) -> None:  # noqa: N802
        """The socket is closed."""
        self.ended(reason)

    def ended(self, reason: Any) -> None:
        """There is no socket any more, or none came about."""
        if not self.gone.done():
            self.reason = reason.value
            self._lost(self)
            self.gone.set_result(None)


classImplements(Wire, IHandshakeListener)


class _Factory(ClientFactory):
    noisy = False

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def buildProtocol(self, addr: Any) -> Wire:  # noqa: N802, ARG002
        return self._wire

    def clientConnectionFailed(self, connector: Any, reason: Any) -> None:  # noqa: N802, ARG002
        self._wire.ended(reason)


class _AtOnce:
    """A socket whose bytes are in the kernel when `write` returns, as far as it takes them; in all else Twisted's own.

    Twisted would register for the loop to call the socket writable, even where nothing is in the way. Once a peer was
    too slow for that, or an attempt failed, everything goes Twisted's way, so that no byte overtakes another.
    """

    def __init__(self, socket_: Any) -> None:
        self._socket = socket_
        self._in_turn = False
        directlyProvides(self, providedBy(socket_))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def write(self, data: bytes) -> None:
        """Send, now or when the socket is ready; a connection that is lost is found out by the loop."""
        if not self._in_turn and self._socket.connected and not self._socket.disconnecting:
            sent = self._socket.writeSomeData(data)
            if sent == len(data):
                return
            self._in_turn = True
            if isinstance(sent, int) and sent > 0:
                data = data[sent:]
        self._socket.write(data)


class _Secured(TLSMemoryBIOProtocol):
    """TLS that encrypts at once; Twisted's default protocol gathers small writes until the loop's next turn."""

    def makeConnection(self, transport: Any) -> None:  # noqa: N802
        super().makeConnection(_AtOnce(transport))


class _TLS(TLSMemoryBIOFactory):
    noisy = False
    protocol = _Secured


def reactor_of(loop: asyncio.AbstractEventLoop) -> Any:
    """The reactor of a running loop; the first one made becomes the process's where it has none."""
    reactor = _reactors.get(loop)
    if reactor is None:
        installed: Any = sys.modules.get("twisted.internet.reactor")
        if installed is not None and getattr(installed, "_asyncioEventloop", None) is loop:
            reactor = installed
        else:
            reactor = asyncioreactor.AsyncioSelectorReactor(loop)
            if installed is None:
                installReactor(reactor)
        if not reactor.running:
            reactor.startRunning(installSignalHandlers=False)
        _reactors[loop] = reactor
    return reactor


def _trust(server: Server) -> Any:
    roots: Any = None
    if server.ca_file is not None:
        try:
            text = server.ca_file.read_text(encoding="ascii")
            blocks = [f"-----BEGIN {each}" for each in text.split("-----BEGIN ")[1:]]
            certificates = [
                ssl.Certificate.loadPEM(each.encode()) for each in blocks if each.startswith("-----BEGIN CERT")
            ]
        except (OSError, ValueError, crypto.Error) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no PEM file of certificates"
            raise ConfigError(f"the authority's file {server.ca_file} cannot be used: {why}") from None
        if not certificates:
            raise ConfigError(f"the authority's file {server.ca_file} holds no certificate")
        roots = ssl.trustRootFromCertificates(certificates)
    return ssl.optionsForClientTLS(server.host, trustRoot=roots)


def _words(reason: BaseException, host: str) -> str:
    """Why a socket ended, in one line."""
    if isinstance(reason, VerificationError):
        return f"the server's certificate is not for {host}; connect by the name that it was issued for"
    if isinstance(reason, SSL.Error):
        told = ", ".join(str(each[-1]) for each in (reason.args[0] if reason.args else ()) if each[-1])
        if "certificate verify failed" in told:
            return "no trusted authority vouches for the server's certificate; name the right one's file"
        return f"TLS failed ({told or 'the server hung up'})"
    return (str(reason) or type(reason).__name__).rstrip(".").splitlines()[0]
