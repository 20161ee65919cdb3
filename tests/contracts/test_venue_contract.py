"""Every broker adapter keeps the promises of `adapters.contract`. A new one adds a bench to BENCHES."""

from dataclasses import dataclass, field

import msgspec
import pytest

from adapters.contract import Venue
from adapters.exchange import Exchange, ExecutionModel
from adapters.exchange.venue import ExchangeVenue
from bus.codec import decode, encode
from bus.errors import NotSent
from bus.messages import (
    AccountSnapshot,
    AmendProtection,
    CancelOrder,
    OrderAccepted,
    OrderCancelled,
    OrderFilled,
    OrderRejected,
    ProtectionChanged,
    Quote,
    SubmitOrder,
)
from bus.values import OrderType, Side, TimeInForce, default_instrument
from tests.harness.exchange import NOON_NS
from tests.harness.wired import Wired

VOLUME_E2 = 1_000_000


@dataclass
class Bench:
    """A venue on a bench: a feed to drive it with, and everything it publishes."""

    venue: Venue
    feed: object
    published: list = field(default_factory=list)
    now_ns: int = NOON_NS

    def connect(self):
        self.venue.connect(self.published.append, self.now_ns)

    def price(self, bid_e5, ask_e5=0):
        """A new price; returns what was published because of it."""
        self.now_ns += 1_000_000_000
        start = len(self.published)
        quote = Quote(
            symbol="EURUSD",
            bid_e5=bid_e5,
            ask_e5=ask_e5 or bid_e5 + 10,
            ts_event_ns=self.now_ns,
            ts_init_ns=self.now_ns,
        )
        self.feed(quote)
        return self.published[start:]

    def send(self, command):
        """A command; returns what was published because of it."""
        start = len(self.published)
        self.venue.send(command, self.now_ns)
        return self.published[start:]

    def order(self, name, side=Side.BUY, **given):
        seen = next(m for m in reversed(self.published) if isinstance(m, Quote))
        reference_e5 = seen.ask_e5 if side is Side.BUY else seen.bid_e5
        given = {"order_type": OrderType.MARKET, "volume_e2": VOLUME_E2, "reference_e5": reference_e5, **given}
        return self.send(
            SubmitOrder(
                client_order_id=name,
                intent_id="i",
                strategy="s",
                symbol="EURUSD",
                side=side,
                ts_init_ns=self.now_ns,
                **given,
            )
        )


def simulated_exchange(*, hedged):
    venue = ExchangeVenue(
        Exchange(
            account_id="bench",
            currency="USD",
            money_digits=2,
            leverage=100,
            hedged=hedged,
            balance=1_000_000,
            instruments=[default_instrument("EURUSD")],
            model=ExecutionModel(),
        )
    )
    return Bench(venue=venue, feed=venue.on_quote)


def ctrader(*, hedged):
    venue = Wired(hedged=hedged)
    return Bench(venue=venue, feed=venue.on_quote)


BENCHES = {"simulated exchange": simulated_exchange, "cTrader": ctrader}


@pytest.fixture(params=[(name, hedged) for name in BENCHES for hedged in (True, False)], ids=str)
def bench(request):
    name, hedged = request.param
    made = BENCHES[name](hedged=hedged)
    made.connect()
    made.price(110_000)
    yield made
    getattr(made.venue, "close", lambda: None)()


def of(published, kind):
    return [message for message in published if isinstance(message, kind)]


def test_the_first_word_is_a_snapshot_and_another_follows_on_request(bench):
    assert isinstance(bench.published[0], AccountSnapshot)
    bench.order("a", stop_loss_e5=109_000)
    bench.venue.request_snapshot(bench.now_ns)
    (position,) = bench.published[-1].positions
    assert (position.client_order_id, position.volume_e2, position.stop_loss_e5) == ("a", VOLUME_E2, 109_000)


def test_quotes_have_both_sides(bench):
    bench.price(110_050, 110_060)
    quotes = of(bench.published, Quote)
    assert quotes
    assert all(0 < quote.bid_e5 <= quote.ask_e5 for quote in quotes)


def test_acceptance_comes_before_fills_and_levels_after_them(bench):
    said = [type(m) for m in bench.order("a", stop_loss_e5=109_000, take_profit_e5=111_000)]
    assert said == [OrderAccepted, OrderFilled, ProtectionChanged]


def test_an_order_told_twice_is_done_once(bench):
    bench.order("a")
    assert bench.order("a") == []
    bench.venue.request_snapshot(bench.now_ns)
    assert bench.published[-1].positions[0].volume_e2 == VOLUME_E2


def test_a_refusal_has_a_code_in_capitals_and_changes_nothing(bench):
    (refusal,) = of(bench.order("a", volume_e2=VOLUME_E2 + 1), OrderRejected)
    assert (refusal.client_order_id, refusal.code) == ("a", "TRADING_BAD_VOLUME")
    (refusal,) = of(bench.order("b", stop_loss_e5=120_000), OrderRejected)
    assert refusal.code == "TRADING_BAD_STOPS"
    bench.venue.request_snapshot(bench.now_ns)
    assert bench.published[-1].positions == ()


def test_the_balance_moves_only_with_closing_deals_and_by_exactly_their_parts(bench):
    opened = of(bench.order("a"), OrderFilled)
    assert {d.balance for d in opened} == {1_000_000}
    bench.price(110_100)
    balance = 1_000_000
    deals = []
    for name, volume in (("half", 300_000), ("rest", VOLUME_E2)):
        deals += of(bench.order(name, Side.SELL, volume_e2=volume, position_id=opened[0].position_id), OrderFilled)
    for deal in deals:
        assert deal.closing
        balance += deal.gross_profit + deal.booked_commission + deal.booked_swap + deal.conversion_fee
        assert deal.balance == balance
    assert sum(d.volume_e2 for d in deals) == VOLUME_E2  # asked for more, it closed what was there
    assert (deals[-1].remaining_e2, deals[-1].order_done) == (0, True)
    assert sum(d.commission for d in opened + deals) == sum(d.booked_commission for d in deals)


def test_a_protective_deal_carries_the_id_of_the_order_that_opened_and_its_cause(bench):
    bench.order("a", stop_loss_e5=109_000)
    (deal,) = of(bench.price(108_500), OrderFilled)
    assert (deal.client_order_id, deal.cause, deal.level_e5, deal.closing) == ("a", "stop_loss", 109_000, True)
    assert deal.price_e5 <= 108_500


def test_an_amendment_replaces_both_levels_and_a_refused_one_names_the_position(bench):
    (deal,) = of(bench.order("a", stop_loss_e5=109_000, take_profit_e5=111_000), OrderFilled)
    amend = AmendProtection(
        position_id=deal.position_id,
        symbol="EURUSD",
        stop_loss_e5=109_500,
        take_profit_e5=0,
        trailing_e5=0,
        reason="test",
        ts_init_ns=bench.now_ns,
    )
    (changed,) = of(bench.send(amend), ProtectionChanged)
    assert (changed.stop_loss_e5, changed.take_profit_e5) == (109_500, 0)
    (refusal,) = of(bench.send(msgspec.structs.replace(amend, stop_loss_e5=150_000)), OrderRejected)
    assert (refusal.client_order_id, refusal.code) == ("", "TRADING_BAD_STOPS")
    assert refusal.text.startswith(deal.position_id)


def test_a_cancel_ends_a_resting_order_and_is_refused_where_nothing_rests(bench):
    bench.order("a", order_type=OrderType.LIMIT, limit_e5=109_000, time_in_force=TimeInForce.GTC)
    cancel = CancelOrder(client_order_id="a", symbol="EURUSD", reason="test", ts_init_ns=bench.now_ns)
    (ended,) = of(bench.send(cancel), OrderCancelled)
    assert (ended.client_order_id, ended.filled_e2) == ("a", 0)
    (refusal,) = of(bench.send(msgspec.structs.replace(cancel, client_order_id="never")), OrderRejected)
    assert (refusal.client_order_id, refusal.code) == ("never", "ORDER_NOT_FOUND")
    assert of(bench.price(108_000), OrderFilled) == []


def test_while_disconnected_nothing_is_sent_or_said_and_the_next_snapshot_has_it_all(bench):
    bench.order("a", stop_loss_e5=109_000)
    said = len(bench.published)
    bench.venue.disconnect()
    bench.venue.disconnect()
    with pytest.raises(NotSent):
        bench.order("b")
    with pytest.raises(NotSent):
        bench.venue.request_snapshot(bench.now_ns)
    assert bench.price(108_900) == []
    assert len(bench.published) == said
    bench.connect()
    snapshot = bench.published[said]
    assert isinstance(snapshot, AccountSnapshot)
    assert snapshot.positions == ()
    assert snapshot.balance < 1_000_000


def test_everything_published_survives_the_codec(bench):
    bench.order("a", stop_loss_e5=109_000, trailing_e5=900)
    bench.price(110_400)
    bench.price(108_000)
    assert [decode(encode(message)) for message in bench.published] == bench.published
