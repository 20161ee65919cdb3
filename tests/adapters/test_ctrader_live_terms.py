"""The adapter connected to a venue whose terms are of every kind: what it reads when it signs in, and what it hears of.

Network, venue and time are the simulation's; session, shell and account are the adapter's own.
"""

import pytest

from adapters.ctrader.live import POLL_S
from adapters.ctrader.venue.specs import AccountSpec
from adapters.ctrader.venue.terms import (
    CLOSE_ONLY,
    QUOTE_PER_LOT,
    USD_PER_LOT,
    USD_PER_MILLION,
    Charge,
    Leverage,
    Rest,
    Terms,
)
from bus.messages import OrderFilled, OrderRejected, Quote, SubmitOrder
from bus.values import NS_PER_S, OrderType, Side
from tests.harness.exchange import NOON_NS
from tests.harness.wired import ACCOUNT, Wired

NEW_ORDER = 2106
PRICES = {"EURUSD": (112_569, 112_571), "USDJPY": (14_900_000, 14_900_900), "EURGBP": (86_600, 86_607)}
TIERS = Leverage(tiers=((200_000_000, 200), (800_000_000, 100), (3_000_000_000, 20)), hundredths=True)


class Bench:
    """A connected adapter, and what it told."""

    def __init__(self, *offered, **more):
        self.wired = Wired(*offered, **more)
        self.told, self.number = [], 0
        self.wired.connect(self.told.append, NOON_NS)
        for symbol in offered or ("EURUSD",):
            self.price(symbol)
        self.venue, self.live = self.wired.venue, self.wired.live

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.wired.close()

    def price(self, symbol="EURUSD", points=0):
        bid, ask = PRICES[symbol]
        moment = max(self.wired.world.utc_ns, self.wired.venue.market_ns)
        quote = Quote(
            symbol=symbol, bid_e5=bid + points, ask_e5=ask + points, ts_event_ns=moment, ts_init_ns=moment
        )  # fmt: skip
        self.wired.on_quote(quote)

    def order(self, symbol="EURUSD", side=Side.BUY, volume_e2=1_000_000, position_id=""):
        self.number += 1
        seen = self.live.account.valuation._quotes[symbol]
        command = SubmitOrder(
            client_order_id=f"run-{self.number}", intent_id="i", strategy="s", symbol=symbol, side=side,
            order_type=OrderType.MARKET, volume_e2=volume_e2, position_id=position_id,
            reference_e5=seen.ask_e5 if side > 0 else seen.bid_e5, ts_init_ns=self.wired.world.utc_ns,
        )  # fmt: skip
        before = len(self.told)
        self.wired.send(command, self.wired.world.utc_ns)
        return self.told[before:]

    def opened(self, **fields):
        return next(fact.position_id for fact in self.order(**fields) if isinstance(fact, OrderFilled))

    def polled(self):
        self.wired.world.sleep(POLL_S + 5)

    @property
    def sent(self):
        return self.wired.network.seen.types[NEW_ORDER]

    def agree(self):
        """The adapter's figures are the venue's."""
        broker, figures = self.venue.accounts[ACCOUNT].broker, self.live.account.figures()
        assert (figures.balance, figures.equity) == (broker.balance, broker.equity)
        assert figures.used_margin == broker.used_margin > 0


def test_a_symbol_that_is_made_close_only_is_kept_from_opening_here_and_still_closed():
    with Bench() as bench:
        position_id = bench.opened()
        bench.wired.operate(bench.venue.change_symbol("EURUSD", Terms(mode=CLOSE_ONLY), bench.wired.world.now_ns))
        before = bench.sent
        (refused,) = bench.order()
        assert isinstance(refused, OrderRejected)
        assert (refused.code, refused.text) == ("TRADING_DISABLED", "the broker lets EURUSD only be closed")
        assert bench.sent == before, "it was kept back here"
        told = bench.order(side=Side.SELL, position_id=position_id)
        assert [fact.closing for fact in told if isinstance(fact, OrderFilled)] == [True]


def test_a_holiday_keeps_orders_back_until_it_ends_and_says_when_that_is():
    today = NOON_NS // NS_PER_S // 86_400
    with Bench(terms={"EURUSD": Terms(holidays=(Rest(day=today),))}) as bench:
        (refused,) = bench.order()
        assert refused.code == "SYMBOL_HAS_HOLIDAY"
        assert refused.text.endswith("00:00:00 UTC")
        assert bench.sent == 0
        bench.wired.world.sleep(12 * 3_600)
        bench.price()
        assert any(isinstance(fact, OrderFilled) for fact in bench.order())


def test_dynamic_leverage_is_read_on_the_way_in_and_its_kind_learnt_and_margins_are_followed():
    account = AccountSpec(account_id=ACCOUNT, leverage=500, balance=10**11)
    with Bench(account=account, terms={"EURUSD": Terms(leverage=TIERS)}) as bench:
        worth = bench.live.account.valuation
        bench.polled()
        assert worth.wonders == (), "the broker was asked what it expects"
        expected = bench.venue.accounts[ACCOUNT].broker
        instrument = bench.venue.catalogue.by_name("EURUSD").instrument
        for side in Side:
            told = expected.expected_margin(instrument, side, 900_000_000)
            assert worth.margin("EURUSD", side, 900_000_000) == told
        first = bench.opened(volume_e2=170_000_000)
        bench.opened(volume_e2=170_000_000)
        bench.agree()
        before = bench.live.account.figures().used_margin
        bench.order(side=Side.SELL, volume_e2=170_000_000, position_id=first)
        bench.agree()
        assert bench.live.account.figures().used_margin < before / 2, "the margin of the younger one fell, and was told"


def test_money_is_converted_along_the_brokers_own_chain_of_symbols_that_nobody_trades():
    account = AccountSpec(account_id=ACCOUNT, currency="EUR", balance=10**9)
    with Bench("EURUSD", "USDJPY", account=account, traded=("USDJPY",)) as bench:
        assert bench.live.account.valuation.chains["JPY", "EUR"] == ("USDJPY", "EURUSD")
        bench.opened(symbol="USDJPY")
        bench.price("USDJPY", points=30_000)
        bench.price("EURUSD", points=200)
        bench.agree()


@pytest.mark.parametrize(
    ("charge", "costs"),
    [
        (Charge(kind=USD_PER_LOT, rate=3 * 10**8), 267),  # 3 dollars at 1.1257
        (Charge(kind=USD_PER_MILLION, rate=30 * 10**8), 300),  # of 100,000 euros, whatever the dollar is
        (Charge(kind=QUOTE_PER_LOT, rate=1, minimum=3 * 10**8), 267),
    ],
)
def test_what_a_charge_in_dollars_needs_is_read_although_nothing_is_quoted_in_dollars(charge, costs):
    account = AccountSpec(account_id=ACCOUNT, currency="EUR", balance=10**9)
    terms = {"EURGBP": Terms(charge=charge)}
    with Bench("EURGBP", "EURUSD", account=account, traded=("EURGBP",), terms=terms) as bench:
        foretold = bench.live.account.valuation.commission("EURGBP", 10_000_000, 86_607)
        told = bench.order(symbol="EURGBP", volume_e2=10_000_000)
        (filled,) = (fact for fact in told if isinstance(fact, OrderFilled))
        assert foretold == filled.commission == -costs
        bench.agree()


def test_on_a_netted_account_an_order_that_only_takes_away_leaves_although_the_symbol_may_only_be_closed():
    with Bench(hedged=False) as bench:
        bench.order()
        bench.wired.operate(bench.venue.change_symbol("EURUSD", Terms(mode=CLOSE_ONLY), bench.wired.world.now_ns))
        (refused,) = bench.order(side=Side.SELL, volume_e2=1_100_000)
        assert refused.code == "TRADING_DISABLED"
        told = bench.order(side=Side.SELL, volume_e2=1_000_000)
        assert [fact.remaining_e2 for fact in told if isinstance(fact, OrderFilled)] == [0]
