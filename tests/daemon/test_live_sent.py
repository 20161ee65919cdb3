"""When an order left the process stands in the journal, beside the venue's answer to it."""

import asyncio

import msgspec

from adapters.history import SpreadModel
from bus import messages as m
from bus.errors import NotSent
from bus.values import NS_PER_S
from daemon.core import CoreSettings, StrategySettings
from daemon.engine import Engine
from daemon.journal import read
from daemon.live import LiveShell
from tests.harness.paper import START_NS, exchange, opening, scripted_forecasts

STEP_NS = 1_000


class Ticking:
    """A clock that moves whenever somebody looks."""

    def __init__(self):
        self.now = START_NS + NS_PER_S

    def now_ns(self):
        self.now += STEP_NS
        return self.now


class Venue:
    """Takes or refuses what it is sent, and never says when that had left."""

    settled = True
    bars_since = None

    def __init__(self, clock, answer):
        self.clock, self.answer, self.put = clock, answer, None

    def connect(self, publish, now_ns):
        self.put = publish
        publish(exchange().snapshot(now_ns))
        for _ in range(4):
            now = self.clock.now_ns()
            publish(m.ClockTick(ts_init_ns=now))
            publish(m.Quote(symbol="EURUSD", bid_e5=120_000, ask_e5=120_008, ts_event_ns=now, ts_init_ns=now))

    def send(self, command, now_ns):
        self.answer(self, command)

    def request_snapshot(self, now_ns):
        raise NotSent("over")

    def caught_up(self):
        raise AssertionError("time is not recorded here")


def accept(venue, order):
    now = venue.clock.now_ns()
    venue.put(m.OrderAccepted(client_order_id=order.client_order_id, order_id="o", symbol=order.symbol, ts_event_ns=now,
                              ts_init_ns=now + 50 * STEP_NS))  # fmt: skip


def reject(venue, order):
    now = venue.clock.now_ns()
    venue.put(m.OrderRejected(client_order_id=order.client_order_id, symbol=order.symbol, code="NO", text="",
                              ts_event_ns=now, ts_init_ns=now + 50 * STEP_NS))  # fmt: skip


def lost(venue, order):
    raise NotSent("the link is down")


def answers(folder, answer, kind):
    async def run():
        clock = Ticking()
        shell = LiveShell(
            engine=engine, venue=Venue(clock, answer), ask=scripted_forecasts, clock=clock, period_ns=3_600 * NS_PER_S,
            spread_of=lambda _: SpreadModel(pip_e5=10),
        )  # fmt: skip
        running.append(shell)
        await shell.run(opening(beat))

    def watch(_, message):
        if isinstance(message, kind):
            running[0].stop("enough")

    running = []
    beat = CoreSettings(strategies=(StrategySettings(name="metronome", params={"every_quotes": 1}),))
    engine = Engine(folder, watch=[watch])
    try:
        asyncio.run(run())
    finally:
        engine.close()
    records = [record.message for record in read(folder)]
    order = next(each for each in records if isinstance(each, m.SubmitOrder))
    said = [each for each in records if isinstance(each, kind)]
    return order, next(each for each in said if each.client_order_id == order.client_order_id)


def test_an_acceptance_and_a_refusal_carry_when_their_order_had_left(tmp_path):
    for answer, kind in ((accept, m.OrderAccepted), (reject, m.OrderRejected)):
        order, fact = answers(tmp_path / kind.__name__, answer, kind)
        assert order.ts_init_ns < fact.ts_sent_ns < fact.ts_init_ns


def test_what_never_left_says_so(tmp_path):
    _, fact = answers(tmp_path / "lost", lost, m.OrderRejected)
    assert (fact.code, fact.ts_sent_ns) == ("NOT_SENT", 0)


def test_a_journal_of_an_earlier_release_still_reads():
    told = m.OrderAccepted(client_order_id="a", order_id="o", symbol="EURUSD", ts_event_ns=1, ts_init_ns=2)
    shorter = msgspec.msgpack.decode(msgspec.msgpack.encode(told))[:-1]
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(shorter), type=m.AnyMessage)
    assert again == told
