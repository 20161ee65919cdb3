"""What comes in over NATS: plain subjects, and the facts of a stream. See the package for the theory of operation."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as NatsSubscription
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from bus.codec import decode_versioned
from bus.errors import DataError
from bus.mailbox import Mailbox, Overrun
from bus.messages import AnyMessage
from bus.nats.link import API_S, RETRY_S, TROUBLE, ensure_stream
from bus.port import BusCounters
from bus.topics import LANE_OF, Lane
from bus.wire import Names

_HEARTBEAT_S = 2.0
_FORGOTTEN_S = 10.0  # the server deletes a consumer that nobody listens to after this

Callback = Callable[[Msg], Awaitable[None]]


def decode(frame: Msg, counters: BusCounters) -> AnyMessage | None:
    """The message in a frame, or None, counted, where there is none."""
    try:
        return decode_versioned(frame.data)
    except DataError:
        counters.malformed += 1
        return None


class CoreFeed:
    """A subject of core NATS, subscribed anew on every connection."""

    def __init__(self, subject: str, queue: str, callback: Callback) -> None:
        self._subject = subject
        self._queue = queue
        self._callback = callback
        self._handle: NatsSubscription | None = None

    async def attach(self, client: Client) -> None:
        """Subscribe on a connection."""
        self._handle = await client.subscribe(self._subject, self._queue, cb=self._callback)

    def start(self) -> None:
        """Nothing to watch: the bus attaches this feed to every new connection."""

    async def stop(self) -> None:
        """Take no more; what has arrived is still handled."""
        handle, self._handle = self._handle, None
        if handle is not None:
            with contextlib.suppress(NatsError):
                await handle.drain()

    async def catch_up(self) -> None:
        """Nothing to do: whoever flushed a connection has got what came before on it."""

    def lose(self) -> None:
        """The connection is gone."""
        self._handle = None


class FactFeed:
    """Reads facts from the stream into a mailbox, completely and in order.

    Args:
        names: of the bus's namespace.
        counters: the bus's, to add to.
        mailbox: where facts go.
        topics: those wanted.
        connected: waits for a connection.
    """

    def __init__(
        self,
        names: Names,
        counters: BusCounters,
        mailbox: Mailbox,
        topics: frozenset[str],
        connected: Callable[[], Awaitable[Client]],
    ) -> None:
        self._names = names
        self._counters = counters
        self._mailbox = mailbox
        self._topics = topics
        self._connected = connected
        self._client: Client | None = None
        self._handle: NatsSubscription | None = None
        self._following: asyncio.Task[None] | None = None
        self._consumer = ""
        self._created: object = None
        self._attached = 0
        self._last = 0  # sequence in the stream up to which this reader has all it wants
        self._taken = 0  # facts taken from the present consumer
        self._heard = False
        self._broken = asyncio.Event()
        self._moved = asyncio.Event()

    async def attach(self, client: Client) -> None:
        """Make a consumer right after the last fact this reader has."""
        await self._detach()
        info = await ensure_stream(client, self._names)
        oldest, newest = info.state.first_seq, info.state.last_seq
        if self._attached == 0:
            self._last = newest
        elif info.created != self._created or newest < self._last:
            self._last = 0  # another stream of that name: all of it is new to us
        if oldest > self._last + 1:
            self._counters.overruns += 1
            gone = oldest - self._last - 1
            self._mailbox.fail(Overrun(f"the bus deleted {gone} facts before they were read; subscribe again"))
            return
        self._client, self._created, self._taken = client, info.created, 0
        self._attached += 1
        self._broken.clear()
        inbox = client.new_inbox()
        self._handle = await client.subscribe(inbox, cb=self._taking(client, self._attached))
        # Servers before 2.10 take one filter a consumer, and two consumers would not keep the order between topics.
        only = self._names.topic(next(iter(self._topics))) if len(self._topics) == 1 else None
        config = ConsumerConfig(
            deliver_subject=inbox, deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=self._last + 1,
            filter_subject=only, ack_policy=AckPolicy.NONE, max_deliver=1, flow_control=True,
            idle_heartbeat=_HEARTBEAT_S, inactive_threshold=_FORGOTTEN_S, mem_storage=True, num_replicas=1,
        )  # fmt: skip
        consumer = await client.jetstream(timeout=API_S).add_consumer(self._names.stream, config)
        self._consumer = consumer.name

    def start(self) -> None:
        """From now on, attach again whenever the consumer is lost."""
        self._following = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Take no more, and give the consumer back."""
        if self._following is not None:
            self._following.cancel()
        await self._detach()

    async def catch_up(self) -> None:
        """Wait until this reader has what the stream holds now."""
        while self._client is not None and not self._broken.is_set():
            self._moved.clear()
            info = await self._client.jetstream(timeout=API_S).consumer_info(self._names.stream, self._consumer)
            told = info.delivered.consumer_seq if info.delivered else 0
            if not info.num_pending and self._taken >= told:
                return
            if self._taken < told:
                await self._moved.wait()

    def lose(self) -> None:
        """The connection is gone."""
        self._client, self._handle = None, None
        self._broken.set()
        self._moved.set()

    async def _follow(self) -> None:
        while True:
            self._heard = False
            try:
                async with asyncio.timeout(3 * _HEARTBEAT_S):
                    await self._broken.wait()
            except TimeoutError:
                if self._heard:
                    continue
            try:
                await self.attach(await self._connected())
            except TROUBLE:
                self._broken.set()
                await asyncio.sleep(RETRY_S)

    async def _detach(self) -> None:
        """Where nobody can be told, the server deletes the consumer by itself."""
        handle, client, self._handle = self._handle, self._client, None
        if handle is None or client is None:
            return
        with contextlib.suppress(*TROUBLE):
            await handle.unsubscribe()
            await client.jetstream(timeout=API_S).delete_consumer(self._names.stream, self._consumer)

    def _taking(self, client: Client, attached: int) -> Callback:
        async def take(frame: Msg) -> None:
            if attached != self._attached or self._broken.is_set():
                return
            self._heard = True
            headers = frame.headers or {}
            if headers.get("Status") == "100":
                await self._control(client, frame.reply, headers)
            else:
                self._take(frame)

        return take

    def _take(self, frame: Msg) -> None:
        # $JS.ACK.<stream>.<consumer>.<delivered>.<stream sequence>.<consumer sequence>.<time>.<pending>
        parts = frame.reply.split(".")
        if len(parts) < 9 or not (parts[-4].isdigit() and parts[-3].isdigit()):
            self._counters.malformed += 1
            return
        if int(parts[-3]) != self._taken + 1:
            self._broken.set()
            return
        self._taken += 1
        self._last = int(parts[-4])
        self._moved.set()
        if frame.subject.split(".")[1] in self._topics:
            message = decode(frame, self._counters)
            if message is None:
                return
            if LANE_OF[type(message)] is Lane.FACTS:
                self._mailbox.put_fact(message)
            else:
                self._counters.malformed += 1

    async def _control(self, client: Client, reply: str, headers: dict[str, str]) -> None:
        """A heartbeat (which tells how far the consumer has come) or a question of flow control (to be answered)."""
        reply = reply or headers.get("Nats-Consumer-Stalled", "")
        if reply:
            await client.publish(reply)
            return
        told, passed = headers.get("Nats-Last-Consumer", ""), headers.get("Nats-Last-Stream", "")
        if told.isdigit() and passed.isdigit():
            if int(told) == self._taken:
                self._last = max(self._last, int(passed))
            elif int(told) > self._taken:
                self._broken.set()


Feed = CoreFeed | FactFeed
