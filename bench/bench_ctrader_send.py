"""An order from the gate to its arrival at the venue, over loopback TLS: the whole daemon, then the official client.

The venue notes when the bytes of an order reach it, on the clock that all processes of a machine share. Ours is the
production path: a price comes in, the core decides, the journal's write is durable (shown apart), the adapter sends.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from adapters.ctrader.connection import Connection
from adapters.ctrader.live import LiveVenue
from adapters.ctrader.secret import Secret
from adapters.ctrader.shell import Server
from adapters.history import SpreadModel
from bench.bench_ctrader_orders import OFFICIAL
from bench.common import percentiles, report
from bus.clock import SystemClock
from bus.messages import RunStarted
from daemon.access import GivenToken
from daemon.core import CoreSettings, StrategySettings
from daemon.engine import Engine, settle_memory
from daemon.live import LiveShell
from risk.policy import Policy
from risk.sizing import SizingSettings

ORDERS = 400
OFFICIAL_ORDERS = 40
QUOTE_S = 0.02

VENUE = """
import asyncio, json, secrets, signal, sys, tempfile, time
from pathlib import Path
from adapters.ctrader.messages import model
from adapters.ctrader.frames import decode_envelope
from adapters.ctrader.venue.certificates import make
from adapters.ctrader.venue.core import Venue
from adapters.ctrader.venue.endpoint import Endpoint
from adapters.ctrader.venue.server import VenueServer
from adapters.ctrader.venue.specs import AccountSpec, VenueSpec, Limits
from adapters.exchange.model import ExecutionModel
from bus.messages import Quote
from bus.values import default_instrument

arrived, heard_ns, quote_s = {}, [0], float(sys.argv[1])

class Noting(Venue):
    def receive(self, number, envelope, now_ns):
        at_ns = heard_ns[0]
        out = super().receive(number, envelope, now_ns)
        payload_type, origin, request, _ = decode_envelope(envelope)
        if payload_type == model.PROTO_OA_NEW_ORDER_REQ:
            arrived[request.clientOrderId or origin] = at_ns
        return out

class Live:
    def __init__(self):
        self.bid = 112_000
    def live(self):
        while True:
            self.bid += 1 if self.bid % 2 else -1
            now = time.time_ns()
            yield Quote(symbol="EURUSD", bid_e5=self.bid, ask_e5=self.bid + 2, ts_event_ns=now, ts_init_ns=now)

class Paced(VenueServer):
    def heard(self, number, data):
        heard_ns[0] = time.perf_counter_ns()
        super().heard(number, data)

    async def _play(self):
        await self._listening.wait()
        for quote in self._feed.live():
            self._write(self.endpoint.on_quote(quote, self._now_ns()))
            await asyncio.sleep(quote_s)

async def main():
    now = time.time_ns()
    spec = VenueSpec(instruments=(default_instrument("EURUSD"),), accounts=(AccountSpec(account_id=1001),),
                     model=ExecutionModel(slippage_points=0, slippage_jitter_points=0, rollover_minutes=0),
                     salt=secrets.token_hex(), limits=Limits(requests_per_s=10_000))
    venue = Noting(spec, opened_ns=now)
    for n in range(600):
        at = now - (600 - n) * 10**9
        bid = 112_000 + n % 7
        past = Quote(symbol="EURUSD", bid_e5=bid, ask_e5=bid + 2, ts_event_ns=at, ts_init_ns=at)
        venue.market.tapes[1].append(past)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    with tempfile.TemporaryDirectory() as folder:
        ca, tls = make(Path(folder))
        async with Paced(Endpoint(venue), Live(), tls=tls, host="127.0.0.1", port=0, http_port=0, speed=None) as server:
            grant = venue.tokens.issue(0)
            print(json.dumps({"host": "127.0.0.1", "port": server.port, "ca_file": str(ca),
                "client_id": venue.tokens.client_id, "client_secret": venue.tokens.client_secret,
                "access_token": grant.access, "accounts": [{"ctidTraderAccountId": 1001}],
                "symbols": [{"symbolId": 1, "name": "EURUSD"}]}), flush=True)
            await stop.wait()
    print(json.dumps(arrived), flush=True)

asyncio.run(main())
"""


class Timed(Engine):
    """Notes when an order left the gate and when the journal was durable."""

    def __init__(self, folder):
        super().__init__(folder)
        self.gate_ns, self.durable_ns = {}, {}

    def _hand_on(self, seq, message, said, written=0):
        at_ns = time.perf_counter_ns()
        leaving = super()._hand_on(seq, message, said, written)
        done_ns = time.perf_counter_ns()
        for each in leaving:
            name = getattr(each, "client_order_id", "")
            if name:
                self.gate_ns[name], self.durable_ns[name] = at_ns, done_ns
        return leaving


async def ours(told, folder):
    """Trade on every second price until enough entries have left."""

    def connect(on_event):
        server = Server(told["host"], told["port"], Path(told["ca_file"]))
        return Connection(server, told["client_id"], Secret(told["client_secret"]), on_event=on_event)

    venue = LiveVenue(
        connect, GivenToken(Secret(told["access_token"])), account_id=1001, symbols=("EURUSD",), period_ns=60 * 10**9,
        clock=SystemClock(),
    )  # fmt: skip
    try:
        terms = await venue.open()
        engine = Timed(folder)
        policy = Policy(max_orders_per_minute=0, daily_loss_pct_e2=0, trailing_drawdown_pct_e2=0)
        settings = CoreSettings(
            risk=policy, sizing=SizingSettings(method="fixed", fixed_lots_e2=1),
            strategies=(StrategySettings(name="metronome", params={"every_quotes": 2}),),
        )  # fmt: skip
        started = RunStarted(
            run_id="bench", schema=1, mode="demo", currency=terms.currency, money_digits=terms.money_digits,
            leverage=terms.leverage, hedged=terms.hedged, period_ns=60 * 10**9, horizons=(1,), levels_ppm=(900_000,),
            instruments=terms.instruments, config_json=msgspec.json.encode(settings).decode(),
            ts_init_ns=time.time_ns(),
        )  # fmt: skip

        async def nobody(_):
            return []

        shell = LiveShell(
            engine=engine, venue=venue, ask=nobody, clock=SystemClock(), period_ns=60 * 10**9,
            spread_of=lambda _: SpreadModel(),
        )  # fmt: skip
        settle_memory()
        running = asyncio.create_task(shell.run([started]))
        while len(engine.gate_ns) < 2 * ORDERS:  # noqa: ASYNC110 (the engine has no event for it)
            await asyncio.sleep(0.1)
        shell.stop("enough")
        await running
        engine.close()
        return engine
    finally:
        await venue.close()


def served(work):
    """What `work` gives for a venue, and when orders arrived there."""
    venue = subprocess.Popen(
        [sys.executable, "-c", VENUE, str(QUOTE_S)], stdout=subprocess.PIPE, text=True,
        cwd=Path(__file__).parents[1],
    )  # fmt: skip
    try:
        result = work(json.loads(venue.stdout.readline()))
    finally:
        venue.terminate()
        said, _ = venue.communicate(timeout=20)
    return result, json.loads(said)


def official(told):
    """When the official client was asked to send each order; the script is that of the other benchmark."""
    script = OFFICIAL.replace(
        "begin = time.perf_counter_ns()", "begin = time.perf_counter_ns(); began[f'o{number}'] = begin"
    )
    script = script.replace("    taken = []\n", "    taken = []\n    global began\n    began = {}\n")
    script = script.replace("print(json.dumps(taken))", "print(json.dumps(began))")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, json.dumps(told), str(OFFICIAL_ORDERS), "0.03"],
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def figures(durations_ns):
    return {**percentiles(durations_ns), "max": round(max(durations_ns) / 1_000, 2), "n": len(durations_ns)}


def main():
    with tempfile.TemporaryDirectory() as folder:
        engine, arrived = served(lambda told: asyncio.run(ours(told, Path(folder) / "journal")))
    names = [name for name in engine.gate_ns if name in arrived]
    theirs, official_arrived = served(official)
    official_ns = [official_arrived[name] - at for name, at in theirs.items() if name in official_arrived]
    total = [arrived[name] - engine.gate_ns[name] for name in names]
    report(
        "ctrader: order from the gate to arrival at the venue, us",
        total=figures(total),
        journal_durable=figures([engine.durable_ns[name] - engine.gate_ns[name] for name in names]),
        durable_to_arrival=figures([arrived[name] - engine.durable_ns[name] for name in names]),
        official_client=figures(official_ns),
        official_never_arrived=len(theirs) - len(official_ns),
        times_faster_p50=round(percentiles(official_ns)["p50"] / percentiles(total)["p50"]),
    )


if __name__ == "__main__":
    main()
