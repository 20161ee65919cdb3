"""The adapter's figures equal the venue's own to the smallest unit, on the wire and over random histories.

The venue counts by its own ledger and is asked over the protocol; the adapter knows what it was told and no more.
"""

from fractions import Fraction

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.ctrader import money
from adapters.ctrader.messages import openapi
from adapters.ctrader.valuation import Valuation
from adapters.ctrader.venue.specs import AccountSpec
from adapters.ctrader.venue.terms import (
    NET,
    PERCENTAGE,
    PIPS,
    POINTS,
    QUOTE_PER_LOT,
    SHARE,
    SUM,
    USD_PER_LOT,
    USD_PER_MILLION,
    Charge,
    Leverage,
    Swap,
    Terms,
)
from adapters.exchange.model import ExecutionModel
from bus.calendar import trading_day
from bus.errors import DataError
from bus.messages import OrderFilled, Quote
from bus.values import Side
from tests.harness.ctrader_broker import Broker, specification_of
from tests.harness.ctrader_rig import Rig
from tests.harness.venue import EXACT, HEDGED

NAMES = ("EURUSD", "USDJPY", "GBPJPY", "EURGBP")
START = {"EURUSD": 112_569, "USDJPY": 14_900_000, "GBPJPY": 18_800_000, "EURGBP": 86_600}
SPREAD = {"EURUSD": 3, "USDJPY": 900, "GBPJPY": 1_300, "EURGBP": 7}

CHARGES = st.one_of(
    st.none(),
    st.builds(
        Charge,
        kind=st.sampled_from([USD_PER_MILLION, USD_PER_LOT, QUOTE_PER_LOT]),
        rate=st.integers(0, 40 * 10**8),
        minimum=st.sampled_from([0, 0, 7 * 10**6, 3 * 10**8]),
        minimum_asset=st.sampled_from(["USD", "EUR", ""]),
    ),
    st.builds(
        Charge, kind=st.just(PERCENTAGE), rate=st.integers(0, 5_000), minimum=st.sampled_from([0, 10**7]),
        minimum_asset=st.sampled_from(["USD", "GBP", ""]),
    ),
)  # fmt: skip
SWAPS = st.one_of(
    st.none(),
    st.builds(
        Swap, kind=st.sampled_from([PIPS, SHARE, POINTS]), long=st.sampled_from([-1.106, 0.0, 3.5, -250.25]),
        short=st.sampled_from([0.059, -7.0]),
    ),
)  # fmt: skip
TIERS = Leverage(tiers=((200_000_000, 200), (800_000_000, 100), (3_000_000_000, 20)))
LOW = Leverage(tiers=((30_000_000, 3), (90_000_000, 2)), hundredths=True)
TERMS = st.builds(
    Terms, charge=CHARGES, swap=SWAPS, fee_bp=st.sampled_from([None, 0, 70, 250]),
    leverage=st.sampled_from([None, None, LOW]),
)  # fmt: skip
ACCOUNTS = st.builds(
    AccountSpec,
    account_id=st.just(HEDGED),
    hedged=st.booleans(),
    currency=st.sampled_from(["USD", "EUR", "JPY", "GBP"]),
    money_digits=st.sampled_from([2, 2, 0, 4, 8]),
    leverage=st.sampled_from([30, 100, 500]),
    balance=st.just(10**13),
    margin_rule=st.sampled_from([0, SUM, NET]),
)
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["order", "order", "close", "part", "quote", "quote", "night"]),
        st.sampled_from(NAMES),
        st.sampled_from([Side.BUY, Side.SELL]),
        st.integers(1, 40),
        st.integers(-60, 60),
    ),
    min_size=1,
    max_size=14,
)


class Watched(Rig):
    """A rig that holds every figure on the wire against the adapter's."""

    def __init__(self, **more):
        super().__init__(*NAMES, **more)
        self.bids = dict(START)
        for name in NAMES:
            self.tick(name, 0)
        self.connect()
        assert self.learn()
        assert self.begin()
        self.learn_rates()
        self.account.valuation.converts_at = self.venue.spec.conversion
        for number, *volumes in self.worth.wonders:
            self.worth.margin_expected(number, self.request("ExpectedMarginReq", symbolId=number, volume=volumes))
        assert self.worth.wonders == ()
        self.deals = 0
        self.nights = 0

    def tick(self, name, points, **more):
        self.before = dict(self.quotes)
        self.bids[name] += points * (100 if name.endswith("JPY") else 1)
        self.quote(self.bids[name], self.bids[name] + SPREAD[name], name, **more)

    @property
    def worth(self) -> Valuation:
        return self.account.valuation

    def _hear(self, message):
        """What an execution event tells is foretold from what was known before it."""
        kind = message.DESCRIPTOR.name.removeprefix("ProtoOA")
        if kind == "ExecutionEvent" and self.account is not None and message.HasField("deal"):
            self.foretold(message.deal)
        if kind == "ExecutionEvent" and message.executionType == 9 and self.account is not None:
            self.charged(message.position)
        super()._hear(message)

    def foretold(self, deal):
        known = self.specifications[deal.symbolId]
        side = Side.BUY if deal.tradeSide == 1 else Side.SELL
        price_e5 = round(deal.executionPrice * 100_000)
        name = known.instrument.symbol
        assert deal.commission == self.worth.commission(name, deal.filledVolume, price_e5)
        self.deals += 1
        if not deal.HasField("closePositionDetail"):
            return
        detail, held = deal.closePositionDetail, self.worth._positions[deal.positionId]
        rate = self.worth.rate(known.instrument.quote, self.spec.currency)
        digits = self.spec.money_digits
        gross = money.gross_profit(side.opposite, deal.filledVolume, held.price_e5, price_e5, rate, digits)
        foreign = known.instrument.quote != self.spec.currency
        assert detail.grossProfit == gross
        assert detail.pnlConversionFee == (money.conversion_fee(gross, known.conversion_fee_bp) if foreign else 0)
        booked = detail.grossProfit + detail.swap + detail.commission + detail.pnlConversionFee
        assert detail.balance == self.account.balance + booked

    def charged(self, position):
        """Swap is charged before the price that brings the news."""
        known, held = self.specifications[position.tradeData.symbolId], self.worth._positions[position.positionId]
        before = Valuation(self.specifications, self.before, self.spec.currency)
        before.chains, before.converts_at = self.worth.chains, self.worth.converts_at
        quote = self.before[known.instrument.symbol]
        weekday = (trading_day(position.utcLastUpdateTimestamp * 10**6 - 1) - 1) % 7
        nights = 3 if weekday == known.instrument.swap_triple_weekday else 1
        night = money.swap_night(
            known.swap_type,
            known.swap_long if held.side > 0 else known.swap_short,
            held.volume_e2 * nights,
            quote.bid_e5 if held.side > 0 else quote.ask_e5,
            known.instrument.point_e5,
            known.instrument.pip_e5,
            before.rate(known.instrument.quote, self.spec.currency),
            self.spec.money_digits,
        )
        assert position.swap - held.swap == night
        self.nights += 1

    def agree(self):
        account = self.account
        assert not account.needs_recovery
        trader = self.request("TraderReq").trader
        assert account.balance == trader.balance
        answer = self.request("GetPositionUnrealizedPnLReq")
        told = {row.positionId: (row.grossUnrealizedPnL, row.netUnrealizedPnL) for row in answer.positionUnrealizedPnL}
        # The bindings know 32 bits of a net profit and no more (reference, appendix C).
        profits = {number: self.worth.profit(number) for number in told}
        assert told == {number: (gross, (net + 2**31) % 2**32 - 2**31) for number, (gross, net) in profits.items()}
        broker, figures = self.venue.accounts[HEDGED].broker, account.figures()
        assert (figures.equity, figures.used_margin) == (broker.equity, broker.used_margin)
        assert figures.free_margin == figures.equity - figures.used_margin
        for entity in self.request("ReconcileReq").position:
            leverage_e2 = self.spec.leverage * 100
            rate = money.rate_of(entity.marginRate)
            if not self.specifications[entity.tradeData.symbolId].leverage_id:
                digits = self.spec.money_digits
                assert entity.usedMargin == money.position_margin(entity.tradeData.volume, rate, leverage_e2, digits)
        for number, known in self.specifications.items():
            answer = self.request("ExpectedMarginReq", symbolId=number, volume=[100_000, 1_700_000])
            for row in answer.margin:
                for side, told in ((Side.BUY, row.buyMargin), (Side.SELL, row.sellMargin)):
                    # Of a side that is held, no client can know the dollars that the broker counted in other money.
                    if not known.tiers or self.spec.currency == "USD" or not self.held(number, side):
                        assert self.worth.margin(known.instrument.symbol, side, row.volume) == told

    def held(self, number, side):
        return any((each.symbol_id, each.side) == (number, side) for each in self.worth._positions.values())

    def act(self, what, name, side, lots, points):
        positions = [p for p in self.venue.accounts[HEDGED].positions.values() if p.volume_e2]
        volume = lots * 100_000
        if what == "order":
            self.send(self.command(symbol=name, side=side, volume_e2=volume))
        elif what in {"close", "part"} and positions:
            held = positions[lots % len(positions)]
            volume = held.volume_e2 if what == "close" else min(volume, held.volume_e2)
            closing = {"position_id": str(held.position_id), "side": held.side.opposite, "volume_e2": volume}
            self.send(self.command(symbol=held.symbol.instrument.symbol, **closing))
        elif what == "night":
            self.tick(name, points, after_s=86_400)
        else:
            self.tick(name, points)


@given(st.lists(st.tuples(st.integers(1, 400), st.integers(50_000, 300_000)), min_size=1, max_size=8))
def test_the_average_behind_a_double_is_found_exactly(fills):
    volume = sum(lots for lots, _ in fills)
    exact = Fraction(sum(lots * price for lots, price in fills), volume)
    assert money.average_e5(float(exact / 100_000)) == exact


@settings(max_examples=200, deadline=None)
@given(
    account=ACCOUNTS, terms=st.fixed_dictionaries(dict.fromkeys(NAMES, TERMS)), actions=ACTIONS,
    conversion=st.sampled_from(["bid", "mid", "ask"]), slips=st.booleans(),
)  # fmt: skip
def test_every_figure_equals_the_venues_to_the_smallest_unit(account, terms, actions, conversion, slips):
    model = ExecutionModel(rollover_minutes=0, liquidity_e2=900_000, impact_points=1) if slips else EXACT
    rig = Watched(account=account, terms=terms, conversion=conversion, execution=model)
    for action in actions:
        rig.act(*action)
        rig.agree()


def test_the_property_meets_what_it_is_about():
    """One history of it, so that nobody has to believe that the random ones fill, close and pass nights."""
    terms = {name: Terms(charge=Charge(kind=USD_PER_MILLION, rate=30 * 10**8), fee_bp=70) for name in NAMES}
    rig = Watched(account=AccountSpec(account_id=HEDGED, currency="EUR", balance=10**13), terms=terms)
    for what, name, side, lots, points in (
        ("order", "GBPJPY", Side.BUY, 7, 0), ("order", "USDJPY", Side.SELL, 3, 0), ("night", "GBPJPY", Side.BUY, 1, 9),
        ("part", "GBPJPY", Side.BUY, 2, 0), ("close", "GBPJPY", Side.BUY, 1, 0), ("quote", "EURUSD", Side.BUY, 1, -40),
    ):  # fmt: skip
        rig.act(what, name, side, lots, points)
        rig.agree()
    assert (rig.deals, rig.nights) == (4, 2)
    assert sum(isinstance(fact, OrderFilled) and fact.conversion_fee < 0 for fact in rig.told) == 2


@settings(max_examples=100, deadline=None)
@given(actions=ACTIONS, hundredths=st.booleans(), hedged=st.booleans())
def test_margin_by_tiers_is_the_venues_whichever_way_it_writes_leverage(actions, hundredths, hedged):
    leverage = msgspec.structs.replace(TIERS, hundredths=hundredths)
    account = AccountSpec(account_id=HEDGED, hedged=hedged, leverage=100, balance=10**13)
    rig = Watched(account=account, terms={name: Terms(leverage=leverage) for name in NAMES})
    for action in actions:
        rig.act(action[0], "EURUSD", *action[2:3], action[3] * 300, action[4])
        rig.agree()


def test_until_the_broker_was_asked_a_margin_that_hangs_on_how_leverage_is_told_is_not_known():
    quotes = {"EURUSD": Quote(symbol="EURUSD", bid_e5=100_000, ask_e5=100_000, ts_event_ns=1, ts_init_ns=1)}
    known = specification_of(leverage_id=4, tiers=((100_000_000, 20_000), (10**12, 2_000)))
    worth = Valuation({1: known}, quotes, "USD")
    worth.trader(Broker().trader())  # 1:100
    assert worth.margin("EURUSD", Side.BUY, 100_000) == 1_000, "the account's leverage is the smaller one either way"
    with pytest.raises(DataError, match="not known yet"):
        worth.margin("EURUSD", Side.BUY, 300_000_000)
    assert worth.wonders == ((1, known.instrument.min_volume_e2, known.instrument.max_volume_e2),)
    answer = openapi.ProtoOAExpectedMarginRes(ctidTraderAccountId=1, moneyDigits=2)
    answer.margin.add(volume=100_000, buyMargin=1_000, sellMargin=1_000)
    worth.margin_expected(1, answer)
    assert worth.wonders, "a margin that both readings give has not settled it"
    answer.margin.add(volume=300_000_000, buyMargin=11_000_000, sellMargin=11_000_000)
    worth.margin_expected(1, answer)
    assert (worth.wonders, worth.margin("EURUSD", Side.BUY, 300_000_000)) == ((), 11_000_000)


def test_when_an_older_position_closes_the_margin_of_the_younger_changes_and_clients_are_told():
    account = AccountSpec(account_id=HEDGED, leverage=500, balance=10**13)
    rig = Watched(account=account, terms={"EURUSD": Terms(leverage=TIERS)})
    for _ in range(2):
        rig.send(rig.command(volume_e2=170_000_000))
    first, second = rig.worth._positions
    before = rig.account.figures().used_margin
    rig.send(rig.command(position_id=str(first), side=Side.SELL, volume_e2=170_000_000))
    changed = [m for m in rig.pushed if m.DESCRIPTOR.name == "ProtoOAMarginChangedEvent"]
    assert [each.positionId for each in changed] == [second]
    rig.agree()
    assert 0 < rig.account.figures().used_margin < before / 2


def test_leverage_that_an_operator_changes_reaches_margin_and_figures():
    rig = Watched(account=AccountSpec(account_id=HEDGED, leverage=100, balance=10**13))
    rig.send(rig.command(volume_e2=1_000_000))
    before = rig.account.figures().used_margin
    rig.spec = msgspec.structs.replace(rig.spec, leverage=50)
    rig.carry(rig.end.send(rig.venue.change_account(HEDGED, rig.now, leverage=50), rig.now))
    rig.agree()
    assert rig.account.figures().used_margin in range(2 * before - 1, 2 * before + 2)


@pytest.mark.parametrize("side", ["bid", "mid", "ask"])
def test_the_side_at_which_money_is_converted_is_learnt_from_the_first_closing_deal(side):
    rig = Watched(account=AccountSpec(account_id=HEDGED, currency="EUR", balance=10**13), conversion=side)
    rig.worth.converts_at = "mid" if side != "mid" else "bid"
    rig.foretold = lambda deal: None
    rig.send(rig.command(symbol="USDJPY", side=Side.BUY))
    held = next(iter(rig.worth._positions))
    assert rig.worth.converts_at != side, "an opening deal tells no rate"
    rig.send(rig.command(symbol="USDJPY", position_id=str(held), side=Side.SELL))
    assert rig.worth.converts_at == side


def test_where_two_sides_give_the_same_rate_nothing_is_learnt_of_them():
    quotes = {"USDJPY": Quote(symbol="USDJPY", bid_e5=14_900_000, ask_e5=14_900_000, ts_event_ns=1, ts_init_ns=1)}
    worth = Valuation({2: specification_of("USDJPY", 2)}, quotes, "USD")
    for side in ("ask", "mid", "bid"):
        worth.converts_at = side
        worth.converted(2, 1 / 149)
        assert worth.converts_at == side


def test_what_cannot_be_valued_says_so_and_is_never_nothing():
    specifications = {1: specification_of(), 2: specification_of("USDJPY", 2, leverage_id=5)}
    worth = Valuation(specifications, {}, "EUR")
    for question in (
        lambda: worth.profit(1),
        lambda: worth.margin("EURUSD", Side.BUY, 100_000),
        lambda: worth.commission("EURUSD", 100_000, 112_569),
        lambda: worth.rate("EUR", "CHF"),
        lambda: worth.commission("GBPUSD", 1, 1),
    ):
        with pytest.raises(DataError):
            question()
    assert worth.rate("EUR", "EUR") == Fraction(1)
    assert worth.figures(1_234).equity == 1_234
