"""The cTrader adapter on a bench: venue, network and process in virtual time behind the calls of a plain venue."""

import asyncio

from adapters.ctrader.connection import Connection
from adapters.ctrader.live import LiveVenue, State
from adapters.ctrader.secret import Secret
from adapters.ctrader.shell import Server
from adapters.ctrader.venue.specs import AccountSpec
from adapters.exchange import ExecutionModel
from bus.messages import Bar, LinkChanged
from bus.values import NS_PER_S
from daemon.access import GivenToken
from tests.harness.exchange import NOON_NS
from tests.harness.virtual import VirtualClock, World
from tests.harness.virtual_net import Latency, Network, endpoint_of

ACCOUNT = 7
SETTLED_S = 1.0


class Wired:
    """Fulfils `adapters.contract.Venue`; every call returns when what it causes has been told."""

    def __init__(self, *offered, hedged=True, account=None, traded=("EURUSD",), depth=False, **more):
        """Build it.

        Args:
            offered: symbols of the venue, ids from 1; EURUSD by default.
            hedged: what the account is.
            account: another account than the plain one.
            traded: what the adapter is asked to trade.
            depth: whether it asks for depth, too.
            more: for `VenueSpec`.
        """
        self.world = World(1, utc_ns=NOON_NS)
        self.traded, self.depth = traded, depth
        accounts = (account or AccountSpec(account_id=ACCOUNT, hedged=hedged),)
        quick = Latency(least_s=0.001, most_s=0.002)
        endpoint = endpoint_of(self.world, *offered, accounts=accounts, **{"model": ExecutionModel(), **more})
        self.venue = endpoint.venue
        self.network = Network(self.world, endpoint, up=quick, down=quick)
        self.live = self.process = None
        self.opened = False

    async def _process(self):
        tokens = self.network.endpoint.venue.tokens
        grant = tokens.issue(self.world.now_ns)

        def connect(on_event):
            return Connection(
                Server("venue", 5035), tokens.client_id, Secret(tokens.client_secret), on_event=on_event,
                dice=self.world.dice("backoff"), dialler=self.network.dialler, prefix="bench",
            )  # fmt: skip

        self.live = LiveVenue(
            connect, GivenToken(Secret(grant.access)), account_id=ACCOUNT, symbols=self.traded,
            period_ns=60 * NS_PER_S, clock=VirtualClock(self.world), depth=self.depth,
        )  # fmt: skip
        await self.live.open()
        self.opened = True
        await asyncio.Event().wait()

    def connect(self, publish, now_ns):
        if self.process is None:
            self.process = self.world.start(self._process())
            self.world.until(lambda: self.opened)

        def told(message):
            if not isinstance(message, LinkChanged | Bar):
                publish(message)

        self._inside(lambda: self.live.connect(told, now_ns))
        self.world.until(lambda: self.live.state is State.UP)

    def send(self, command, now_ns):
        self._inside(lambda: self.live.send(command, now_ns))

    def request_snapshot(self, now_ns):
        self._inside(lambda: self.live.request_snapshot(now_ns))

    def disconnect(self):
        self._inside(self.live.disconnect)

    def close(self):
        """The bench is cleared: nothing of it runs any more."""
        self.world.__exit__()

    def on_quote(self, quote):
        self.network.write(self.network.endpoint.on_quote(quote, self.world.now_ns))
        self.world.sleep(SETTLED_S)

    def operate(self, out):
        """What an operator's doing at the venue makes it send."""
        self.network.write(self.network.endpoint.send(out, self.world.now_ns))
        self.world.sleep(SETTLED_S)

    def _inside(self, call):
        """Make a call in the adapter's process, and let happen what it causes; its error is ours."""
        outcome = []

        def made():
            try:
                call()
            except Exception as error:  # noqa: BLE001 (handed on below)
                outcome.append(error)
            else:
                outcome.append(None)

        self.process.call_soon(made)
        self.world.sleep(SETTLED_S)
        if outcome[0] is not None:
            raise outcome[0]
