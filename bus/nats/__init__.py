"""The bus over NATS. The only place that imports nats.

Theory of operation. Facts go through one JetStream stream a namespace, quotes and the forecast round trip through core
NATS. `publish` never waits: it hands to two outgoing lanes that one task each drains while a connection is up.

Facts out: numbered, sent in order, at most ``WINDOW`` unacknowledged (`bus.outgoing`). Whatever is unacknowledged when
the connection breaks, when an acknowledgement is refused or when none comes, is sent again in order; the stream drops
what it already has by ``Nats-Msg-Id``. This keeps the order only if nothing else resends. The client library's own
reconnection would (it replays its buffer ahead of us), so it stays off: each connection is a new client.

Facts in: each reader has a short-lived push consumer without acknowledgements (`feeds.FactFeed`). It counts the
consumer's sequence; on a gap, on silence of three heartbeats, or on a new connection it makes a new consumer right
after the last fact it has. A reader misses nothing while the stream keeps it, and is told (``Overrun``) where it does
not.

Quotes conflate per symbol while the connection is behind or down. A quote on the wire when it breaks is lost.
"""

from bus.nats.client import NatsBus
from bus.topics import PREFIX
from bus.wire import Names

__all__ = ["NatsBus", "connect"]


async def connect(url: str, *, name: str, namespace: str = PREFIX) -> NatsBus:
    """Join the bus at an address.

    Args:
        url: ``nats://HOST:PORT``, several separated by commas; ``tls://`` for TLS.
        name: what the server's monitoring shows.
        namespace: runs in different namespaces do not hear each other.

    Raises:
        ConfigError: not an address, credentials refused, or a server without JetStream.
        NotSent: the server cannot be reached within five seconds.
    """
    bus = NatsBus(url, name, Names.of(namespace))
    await bus.open()
    return bus
