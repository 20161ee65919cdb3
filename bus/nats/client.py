"""`NatsBus`: the port over NATS. See the package for the theory of operation."""

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Sequence
from typing import Any

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError, NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.errors import ServiceUnavailableError
from nats.nuid import NUID

from bus.codec import decode_versioned, encode_versioned
from bus.errors import ConfigError, DataError, NotSent
from bus.mailbox import Mailbox, check_topics, guarded, late, missed
from bus.messages import AnyMessage, ForecastMissed, ForecastRequested, Quote
from bus.nats.feeds import Callback, CoreFeed, FactFeed, Feed, decode
from bus.nats.link import CONNECT_S, RETRY_S, TROUBLE, dial, ensure_stream, lose
from bus.outgoing import OutgoingFacts, OutgoingQuotes
from bus.port import AnswerRequest, BusCounters, Subscription
from bus.topics import LANE_OF, TOPIC_OF, Lane
from bus.wire import Names, decode_answers, encode_answers, shown

_BREATH = 32  # messages sent without letting others run: about a millisecond
_BEHIND_BYTES = 64 * 1024  # unsent in the client's buffer: the server does not keep up
_LARGEST_ANSWERING = 256  # forecast requests answered at once
_ACK_S = 5.0
_CLOSE_S = 5.0
_LONGEST_RETRY_S = 2.0
_HEADER_BYTES = 256  # of a publication, counted by the server against its largest payload

_logger = logging.getLogger(__name__)


class _Ack(msgspec.Struct):
    """The stream's answer to one publication."""

    seq: int = 0
    error: dict[str, Any] | None = None


_ack_decoder = msgspec.json.Decoder(_Ack)


class NatsBus:
    """``bus.port.Bus`` over one NATS server or cluster. Made by ``connect``; belongs to one event loop."""

    def __init__(self, url: str, name: str, names: Names) -> None:
        self.counters = BusCounters()
        self.names = names
        self._url = url
        self._name = name
        self._client: Client | None = None
        self._up = asyncio.Event()
        self._closing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._answering: set[asyncio.Task[None]] = set()
        self._supervisor: asyncio.Task[None] | None = None
        self._feeds: dict[Mailbox, list[Feed]] = {}
        self._id = NUID().next().decode()
        self._facts = OutgoingFacts()
        self._refused = False
        self._largest_payload = 0
        self._quotes = OutgoingQuotes(self.counters)

    # --- the port ----------------------------------------------------------------------------------------------

    def publish(self, message: AnyMessage) -> None:
        """Hand a message to its outgoing lane.

        Raises:
            NotSent: the bus is closed, too many facts wait for the transport, or the message is too large for it.
        """
        if self._closing:
            raise NotSent("the bus is closed")
        if LANE_OF[type(message)] is Lane.QUOTES:
            assert isinstance(message, Quote)
            self._quotes.put(message)
        else:
            payload = encode_versioned(message)
            if len(payload) > self._largest_payload:
                kind = type(message).__name__
                raise NotSent(f"a {kind} of {len(payload)} bytes; the bus carries {self._largest_payload} at most")
            self._facts.put(self.names.subject(message), payload)
        self.counters.published += 1

    async def flush(self) -> None:
        """Wait until every fact is acknowledged and every quote has reached the server, however long it is away.

        Raises:
            NotSent: the bus was closed before.
        """
        await self._facts.drained()
        while True:
            await self._quotes.sent.wait()
            client = await self.connected()
            try:
                await client.flush()
            except NatsError:
                await asyncio.sleep(RETRY_S)
            else:
                return

    async def subscribe(self, *topics: str) -> Subscription:
        """Read topics from now on: from after everything published here before.

        Raises:
            ValueError: an unknown topic, or none.
            NotSent: the bus is closed, or its server cannot be reached within five seconds.
        """
        wanted = check_topics(topics)
        mailbox = Mailbox(self.counters, self._forget)
        facts = wanted - {topic for kind, topic in TOPIC_OF.items() if LANE_OF[kind] is Lane.QUOTES}
        feeds: list[Feed] = []
        feeds += [CoreFeed(self.names.topic(topic), "", self._reading(mailbox)) for topic in sorted(wanted - facts)]
        if facts:
            feeds.append(FactFeed(self.names, self.counters, mailbox, facts, self.connected))
        await self._install(mailbox, feeds, flush=True)
        return mailbox

    async def serve_forecasts(self, answer: AnswerRequest) -> Subscription:
        """Answer forecast requests until the returned subscription is closed. Several servers share the work.

        Raises:
            NotSent: the bus is closed, or its server cannot be reached within five seconds.
        """
        mailbox = Mailbox(self.counters, self._forget)

        async def on_request(frame: Msg) -> None:
            try:
                request = decode_versioned(frame.data)
            except DataError:
                self.counters.malformed += 1
                return
            if not isinstance(request, ForecastRequested) or not frame.reply:
                self.counters.malformed += 1
            elif len(self._answering) >= _LARGEST_ANSWERING:
                full = missed(request, "unavailable", f"{_LARGEST_ANSWERING} requests wait at this server")
                await frame.respond(encode_answers([full]))
            else:
                self._spawn(self._respond(answer, request, frame), self._answering)

        await self._install(mailbox, [CoreFeed(self.names.ask, "inference", on_request)], flush=False)
        return mailbox

    async def ask_forecast(self, request: ForecastRequested, timeout_s: float) -> Sequence[AnyMessage]:
        """Send one request to whichever server is free; its answer, or one ``ForecastMissed``."""
        self.counters.requests += 1
        if self._client is None:
            return [self._unavailable(request, f"not connected to {shown(self._url)}")]
        try:
            frame = await self._client.request(self.names.ask, encode_versioned(request), timeout=timeout_s)
            return decode_answers(frame.data)
        except NatsTimeoutError:
            self.counters.requests_late += 1
            return [late(request, timeout_s)]
        except DataError as error:
            self.counters.malformed += 1
            return [missed(request, "error", str(error))]
        except MaxPayloadError:
            return [missed(request, "error", "the request is larger than the server's largest payload")]
        except NoRespondersError:
            return [self._unavailable(request, "nobody serves forecasts on this bus")]
        except NatsError as error:
            return [self._unavailable(request, str(error))]

    async def close(self) -> None:
        """Flush, let readers here catch up, and close everything; five seconds at most. Safe to call twice.

        Raises:
            NotSent: facts were never acknowledged (their number is told). Everything is closed all the same.
        """
        if self._closing:
            return
        self._closing = True
        with contextlib.suppress(*TROUBLE):
            async with asyncio.timeout(_CLOSE_S):
                await self.flush()
                for feed in [feed for feeds in self._feeds.values() for feed in feeds]:
                    await feed.catch_up()
                await asyncio.gather(*self._answering)
                await (await self.connected()).flush()
        for mailbox in list(self._feeds):
            mailbox.end()
        unsent = len(self._facts)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_LONGEST_RETRY_S)
        await self._stop_tasks()
        if self._client is not None:
            with contextlib.suppress(*TROUBLE):
                await self._client.close()
        self._facts.give_up()
        if unsent:
            raise NotSent(f"{unsent} facts were never acknowledged by {shown(self._url)}")

    # --- the connection ----------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect for the first time (see ``connect``)."""
        client, lost = await dial(self._url, self._name, self.counters)
        try:
            await self._prepare(client)
        except ServiceUnavailableError:
            await client.close()
            raise ConfigError(f"{shown(self._url)} runs without JetStream; start it as nats-server -js") from None
        except TROUBLE as error:
            await client.close()
            raise NotSent(f"{shown(self._url)} does not give us a stream: {error}") from None
        self._supervisor = asyncio.create_task(self._supervise(client, lost))

    async def connected(self) -> Client:
        """The client, as soon as there is one."""
        while self._client is None:
            await self._up.wait()
        return self._client

    async def _prepare(self, client: Client) -> None:
        await ensure_stream(client, self.names)
        self._largest_payload = client.max_payload - _HEADER_BYTES
        for feeds in list(self._feeds.values()):
            for feed in feeds:
                if isinstance(feed, CoreFeed):
                    await feed.attach(client)
        await client.flush()
        self._client = client
        self._up.set()

    async def _supervise(self, client: Client, lost: asyncio.Event) -> None:
        """Run the two senders while a connection lasts, and make the next one."""
        while True:
            waits: list[asyncio.Task[Any]] = [
                asyncio.create_task(self._send_facts(client)),
                asyncio.create_task(self._send_quotes(client)),
                asyncio.create_task(lose(client, lost)),
            ]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in waits:
                    task.cancel()
                await asyncio.gather(*waits, return_exceptions=True)
            reasons = [type(task.exception()).__name__ for task in waits if not task.cancelled() and task.exception()]
            _logger.warning("bus %s lost (%s); facts wait, quotes conflate", shown(self._url), ", ".join(reasons))
            self._client = None
            self._up.clear()
            for feeds in self._feeds.values():
                for feed in feeds:
                    feed.lose()
            with contextlib.suppress(*TROUBLE):
                await client.close()
            client, lost = await self._come_back()
            self.counters.reconnects += 1
            _logger.warning("bus %s is back", shown(self._url))

    async def _come_back(self) -> tuple[Client, asyncio.Event]:
        """Try until it works, ever slower up to ``_LONGEST_RETRY_S``. Nothing the server says is final here."""
        delay_s = 0.05
        while True:
            client = None
            try:
                client, lost = await dial(self._url, self._name, self.counters)
                await self._prepare(client)
            except Exception as error:  # noqa: BLE001  whatever goes wrong, the bus must come back
                _logger.debug("bus %s: %s", shown(self._url), type(error).__name__)
                if client is not None:
                    with contextlib.suppress(*TROUBLE):
                        await client.close()
            else:
                return client, lost
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, _LONGEST_RETRY_S)

    # --- going out ---------------------------------------------------------------------------------------------

    async def _send_facts(self, client: Client) -> None:
        facts, inbox = self._facts, client.new_inbox()
        await client.subscribe(f"{inbox}.*", cb=self._on_ack)
        facts.requeue()
        sent = 0
        while True:
            facts.wake.clear()
            if self._refused:
                self._refused = False
                await asyncio.sleep(RETRY_S)
                await ensure_stream(client, self.names)
                facts.requeue()
            while (fact := facts.take()) is not None:
                await client.publish(
                    fact.subject, fact.payload, f"{inbox}.{fact.number}", {"Nats-Msg-Id": f"{self._id}-{fact.number}"}
                )
                sent += 1
                if sent % _BREATH == 0:
                    await asyncio.sleep(0)
            before = facts.acknowledged
            try:
                async with asyncio.timeout(_ACK_S if facts.on_the_way else None):
                    await facts.wake.wait()
            except TimeoutError:
                self._refused = facts.acknowledged == before

    async def _on_ack(self, frame: Msg) -> None:
        try:
            number = int(frame.subject.rpartition(".")[2])
            stored = bool(frame.data) and _ack_decoder.decode(frame.data).error is None
        except (ValueError, msgspec.MsgspecError):
            self.counters.malformed += 1
            return
        if stored:
            self._facts.acknowledge(number)
        else:
            self._refused = True
            self._facts.wake.set()

    async def _send_quotes(self, client: Client) -> None:
        quotes, sent = self._quotes, 0
        while True:
            await quotes.wake.wait()
            while (quote := quotes.take()) is not None:
                await client.publish(self.names.subject(quote), encode_versioned(quote))
                sent += 1
                if client.pending_data_size > _BEHIND_BYTES:
                    await client.flush()
                elif sent % _BREATH == 0:
                    await asyncio.sleep(0)
            quotes.sent.set()

    # --- coming in ---------------------------------------------------------------------------------------------

    async def _install(self, mailbox: Mailbox, feeds: list[Feed], *, flush: bool) -> None:
        """Bring a new subscription in force."""
        if self._closing:
            raise NotSent("the bus is closed")
        self._feeds[mailbox] = feeds
        try:
            async with asyncio.timeout(CONNECT_S):
                if flush:
                    await self.flush()
                client = await self.connected()
                for feed in feeds:
                    await feed.attach(client)
                await client.flush()
        except (NatsError, TimeoutError):
            mailbox.end()
            raise NotSent(f"cannot subscribe: {shown(self._url)} does not answer") from None
        for feed in feeds:
            feed.start()

    def _reading(self, mailbox: Mailbox) -> Callback:
        async def on_quote(frame: Msg) -> None:
            message = decode(frame, self.counters)
            if isinstance(message, Quote):
                mailbox.put_quote(message)

        return on_quote

    async def _respond(self, answer: AnswerRequest, request: ForecastRequested, frame: Msg) -> None:
        answers = await guarded(answer, request)
        try:
            data = encode_answers(answers)
        except DataError as error:
            data = encode_answers([missed(request, "error", str(error))])
        if len(data) > self._largest_payload:
            detail = f"an answer of {len(data)} bytes; the bus carries {self._largest_payload} at most"
            data = encode_answers([missed(request, "error", detail)])
        with contextlib.suppress(NatsError):  # the asker sees it as late
            await frame.respond(data)

    def _unavailable(self, request: ForecastRequested, detail: str) -> ForecastMissed:
        self.counters.requests_unavailable += 1
        return missed(request, "unavailable", detail)

    def _forget(self, mailbox: Mailbox) -> None:
        for feed in self._feeds.pop(mailbox, []):
            self._spawn(feed.stop(), self._tasks)

    def _spawn(self, work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def _stop_tasks(self) -> None:
        tasks = [*self._answering, *self._tasks, *([self._supervisor] if self._supervisor else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
