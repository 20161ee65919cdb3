"""What fuzzing found, one by one: absurd values are refused where they arrive, and nothing of them stays.

A list that grows with what is found, past 400 lines because no finding is ever taken out.
"""

import pytest

from adapters.ctrader import listing, series, symbols
from adapters.ctrader.account import MOST_WAITING, Account
from adapters.ctrader.catalogue import read_catalogue
from adapters.ctrader.frames import MOST_TOLD, missing_fields
from adapters.ctrader.holdings import Holding
from adapters.ctrader.messages import common, model, openapi
from adapters.ctrader.orders import Holder
from adapters.ctrader.venue.gatekeeping import Pace
from adapters.ctrader.venue.specs import Limits
from adapters.ctrader.wire import (
    LARGEST_MONEY,
    LATEST_MS,
    LONGEST_TEXT,
    LiveBars,
    Spots,
    money_of,
    price_e5_of,
    time_of,
)
from bus.errors import ConfigError, DataError
from bus.messages import AccountSnapshot, ForeignChanged, OrderFilled, OrderRejected
from bus.values import Instrument, Side
from tests.harness.ctrader_broker import ACCOUNT, HOLDER, SYMBOLS, Broker
from tests.harness.venue import HEDGED, SELL, Desk

NOW = 1_760_000_000_000_000_000
DAY_MS = 86_400_000
YEN = Instrument(symbol="USDJPY", base="USD", quote="JPY", digits=3, pip_e5=1_000)


# --- single values ---------------------------------------------------------------------------------------------


def test_money_of_more_decimals_than_any_currency_has_is_refused_and_not_computed():
    with pytest.raises(DataError, match="4294967295 decimals"):
        money_of(model.ProtoOATrader(balance=1, moneyDigits=2**32 - 1), "balance", 2)
    assert money_of(model.ProtoOATrader(balance=10**9, moneyDigits=9), "balance", 2) == 100


@pytest.mark.parametrize("amount", [LARGEST_MONEY + 1, -(2**63)])
def test_more_money_than_there_is_is_refused(amount):
    with pytest.raises(DataError, match="more money"):
        money_of(model.ProtoOATrader(balance=amount, moneyDigits=2), "balance", 2)


@pytest.mark.parametrize("price", [1e-9, 4e-6, -1.1, float("inf"), 1e300])
def test_a_price_that_rounds_to_nothing_is_none(price):
    with pytest.raises(DataError, match="not a price"):
        price_e5_of(price)


@pytest.mark.parametrize("moment_ms", [-1, LATEST_MS + 1, 2**63 - 1])
def test_a_time_that_no_clock_shows_is_refused(moment_ms):
    with pytest.raises(DataError, match="is no time"):
        time_of(model.ProtoOAOrder(utcLastUpdateTimestamp=moment_ms), "utcLastUpdateTimestamp")


# --- market data -----------------------------------------------------------------------------------------------


def spot(**fields):
    return openapi.ProtoOASpotEvent(ctidTraderAccountId=1, symbolId=1, **fields)


def test_a_price_from_the_day_after_tomorrow_is_refused_and_the_next_one_told():
    spots, now_ms = Spots({1: SYMBOLS[1].instrument}), NOW // 10**6
    with pytest.raises(DataError, match="ahead"):
        spots.merge(spot(bid=112_569, ask=112_571, timestamp=now_ms + 2 * DAY_MS), NOW)
    skewed = spots.merge(spot(bid=112_569, ask=112_571, timestamp=now_ms + DAY_MS // 2), NOW)
    assert skewed.ts_event_ns == NOW + DAY_MS // 2 * 10**6


def test_a_price_below_half_a_point_is_impossible_and_not_an_absent_side():
    spots = Spots({1: YEN})
    spots.merge(spot(bid=14_900_000, ask=14_900_900, timestamp=1), NOW)
    with pytest.raises(DataError, match="impossible"):
        spots.merge(spot(bid=49, timestamp=2), NOW)


def live(minute, **fields):
    return model.ProtoOATrendbar(
        **{"volume": 1, "period": 1, "low": 112_569, "utcTimestampInMinutes": minute, **fields}
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"period": None}, {"low": 2**62}, {"low": 0}, {"deltaHigh": 2**64 - 1}, {"volume": -1},
        {"utcTimestampInMinutes": 2**32 - 1}, {"period": 14},
    ],
)  # fmt: skip
def test_an_event_with_one_impossible_live_bar_is_not_taken_at_all(wrong):
    bars = LiveBars({1: SYMBOLS[1].instrument})
    bars.update(spot(trendbar=[live(29_000_000)]), 112_569, 112_571)
    fields = {name: value for name, value in {"period": 1, **wrong}.items() if value is not None}
    bad = live(29_000_001, **fields)
    if wrong == {"period": None}:
        bad.ClearField("period")
    with pytest.raises(DataError, match="live bar"):
        bars.update(spot(trendbar=[live(29_000_001), bad]), 112_569, 112_571)
    (closed,) = bars.update(spot(trendbar=[live(29_000_001)]), 112_569, 112_571)
    assert closed.ts_open_ns == 29_000_000 * 60 * 10**9


@pytest.mark.parametrize(
    "bar",
    [{"deltaHigh": 2**64 - 1}, {"deltaClose": 2**62}, {"volume": -1}, {"utcTimestampInMinutes": 2**32 - 1}, {"low": 0}],
)
def test_bars_of_history_with_a_number_that_cannot_be_are_refused(bar):
    answer = openapi.ProtoOAGetTrendbarsRes(ctidTraderAccountId=1, period=1, timestamp=0)
    answer.trendbar.add(**{"volume": 1, "low": 112_569, "utcTimestampInMinutes": 1, **bar})
    with pytest.raises(DataError, match="EURUSD"):
        series.bar_series(answer, SYMBOLS[1].instrument, 1, NOW)


@pytest.mark.parametrize("ticks", [[(2**62, 1)], [(1, 2**62)], [(-5, 112_569)], [(10, 112_569), (0, 2**63 - 1)]])
def test_ticks_that_cannot_be_are_refused(ticks):
    rows = [{"timestamp": moment, "tick": price} for moment, price in ticks]
    with pytest.raises(DataError, match="ticks"):
        series.tick_side(openapi.ProtoOAGetTickDataRes(ctidTraderAccountId=1, tickData=rows, hasMore=False))


# --- catalogue -------------------------------------------------------------------------------------------------


def specified(light_name="EURUSD", extra=b"", **fields):
    whole = model.ProtoOASymbol(
        **{
            "symbolId": 1, "digits": 5, "pipPosition": 4, "lotSize": 10_000_000, "minVolume": 100_000,
            "stepVolume": 100_000, "maxVolume": 10**10, **fields,
        }
    )  # fmt: skip
    whole.MergeFromString(extra)
    row = model.ProtoOALightSymbol(symbolId=1, symbolName=light_name, enabled=True, baseAssetId=2, quoteAssetId=1)
    return symbols.specification(whole, row, {1: "USD", 2: "EUR"})


@pytest.mark.parametrize(
    ("extra", "rule"),
    [
        (b"\x78\x07", "commissionType"),
        (b"\xd8\x01\x09", "tradingMode"),
        (b"\xe8\x01\x07", "swapCalculationType"),
        (b"\xb0\x01\x05", "minCommissionType"),
    ],
)
def test_a_rule_that_this_version_has_no_name_for_is_not_taken_for_the_first_one(extra, rule):
    with pytest.raises(ConfigError, match=rule):
        specified(extra=extra)


@pytest.mark.parametrize(
    "fields",
    [
        {"swapLong": float("nan")}, {"swapShort": float("inf")}, {"preciseTradingCommissionRate": -1},
        {"preciseTradingCommissionRate": 2**63 - 1}, {"pnlConversionFeeRate": -5}, {"lotSize": 2**62},
    ],
)  # fmt: skip
def test_a_symbol_whose_costs_cannot_be_is_left_out(fields):
    with pytest.raises(ConfigError, match="EURUSD has"):
        specified(**fields)


def test_a_largest_volume_that_means_none_is_survived():
    assert 10**12 < specified(maxVolume=2**63 - 1).instrument.max_volume_e2 < 2**63 - 1


@pytest.mark.parametrize("zone", ["America", "Nowhere/Land", "\x00", "../../etc/passwd"])
def test_hours_in_a_zone_that_nobody_knows_are_left_to_the_broker_and_an_endless_name_is_refused(zone):
    day = {"holidayId": 1, "name": "n", "isRecurring": True, "holidayDate": NOW // 10**6 // DAY_MS}
    known = specified(
        scheduleTimeZone=zone, schedule=[{"startSecond": 0, "endSecond": 1}],
        holiday=[{**day, "scheduleTimeZone": zone}],
    )  # fmt: skip
    assert known.hours.open_at(NOW)
    with pytest.raises(DataError, match="more than 64"):
        specified(scheduleTimeZone="x" * 10**6)


def test_a_holiday_on_no_day_is_refused_and_one_that_comes_every_year_is_kept():
    day = {"holidayId": 1, "name": "n", "scheduleTimeZone": "UTC", "isRecurring": True}
    with pytest.raises(DataError, match="holiday"):
        specified(holiday=[{**day, "holidayDate": 2**62}])
    assert not specified(holiday=[{**day, "holidayDate": NOW // 10**6 // DAY_MS}]).hours.open_at(NOW)


def test_symbols_without_a_name_or_with_an_endless_one_are_left_out_of_the_list():
    rows = [{"symbolId": n, "symbolName": name, "enabled": True} for n, name in enumerate(("", "x" * 65, "EURUSD"))]
    assert list(symbols.light_symbols(openapi.ProtoOASymbolsListRes(ctidTraderAccountId=1, symbol=rows))) == ["EURUSD"]


# --- the account -----------------------------------------------------------------------------------------------


@pytest.fixture
def account():
    made = Account(HOLDER, SYMBOLS, {}, currency="USD")
    made.begin(Broker().trader(), Broker().reconcile(), [], NOW)
    return made


def position(number=7, volume=1_000_000, *, label="", ts=1_000, **fields):
    data = model.ProtoOATradeData(symbolId=1, volume=volume, tradeSide=1, label=label)
    return model.ProtoOAPosition(
        positionId=number, positionStatus=1, swap=0, price=1.12569, utcLastUpdateTimestamp=ts,
        tradeData=data, **fields,
    )  # fmt: skip


def order(number=11, *, label="", status=1, ts=1_000, **fields):
    data = model.ProtoOATradeData(symbolId=1, volume=1_000_000, tradeSide=1, label=label)
    return model.ProtoOAOrder(
        orderId=number, orderType=2, orderStatus=status, positionId=7, limitPrice=1.12,
        utcLastUpdateTimestamp=ts, tradeData=data, **fields,
    )  # fmt: skip


def deal(number, at=7, *, ts=1_000, **fields):
    return model.ProtoOADeal(
        **{
            "dealId": number, "orderId": 11, "positionId": at, "symbolId": 1, "volume": 100_000,
            "filledVolume": 100_000, "createTimestamp": ts, "executionTimestamp": ts, "executionPrice": 1.12569,
            "tradeSide": 1, "dealStatus": 2,
            **fields,
        }
    )  # fmt: skip


def event(kind, **parts):
    return openapi.ProtoOAExecutionEvent(ctidTraderAccountId=ACCOUNT, executionType=kind, **parts)


@pytest.mark.parametrize(
    "parts",
    [
        {"order": order(12, stopPrice=float("nan"))},
        {"order": order(12, ts=LATEST_MS + 1)},
        {"order": order(0)},
        {"order": order(12), "position": position(stopLoss=-1.0)},
        {"order": order(12), "position": position(volume=-100)},
        {"order": order(12), "position": position(), "deal": deal(21, executionPrice=0.0)},
        {"order": order(12), "position": position(), "deal": deal(0)},
        {"order": order(12), "position": position(), "deal": deal(21, filledVolume=2**62)},
    ],
)
def test_an_event_with_one_value_that_cannot_be_leaves_nothing_behind(account, parts):
    with pytest.raises(DataError):
        account.execution(event(3, **parts), NOW)
    assert not account._orders
    assert not account._holdings
    assert not account.needs_recovery


def test_a_label_that_only_begins_like_ours_makes_nothing_ours(account):
    for number, label in enumerate(("plimsoll/", f"plimsoll/{'x' * 51}"), 1):
        assert HOLDER.client_order_id_of(label) is None
        account.execution(event(2, order=order(number, label=label), position=position(number, 0, label=label)), NOW)
    assert not any(held.ours for held in account._holdings.values())
    assert Holder(account_id=1).client_order_id_of("plimsoll/run-1") == "run-1"


def test_what_a_broker_says_at_length_is_cut_before_it_reaches_the_journal(account):
    known = order(11, label="plimsoll/run-1", clientOrderId="run-1")
    account.execution(event(2, order=known), NOW)
    gone = order(11, label="plimsoll/run-1", clientOrderId="run-1", status=3, ts=2_000)
    (told,) = account.execution(event(7, order=gone, errorCode="X" * 10**6), NOW)
    assert isinstance(told, OrderRejected)
    assert len(told.code) == LONGEST_TEXT
    (foreign,) = account.execution(event(2, order=order(12, label="y" * 10**6)), NOW)
    assert isinstance(foreign, ForeignChanged)
    assert len(foreign.label) == LONGEST_TEXT


def test_the_unit_of_an_account_is_told_once_and_money_in_another_one_is_converted(account):
    fine = model.ProtoOATrader(
        ctidTraderAccountId=ACCOUNT, balance=123_456_000_000, balanceVersion=9, depositAssetId=1, moneyDigits=8
    )
    account.trader_updated(fine)
    assert (account.money_digits, account.balance) == (2, 123_456)


def test_a_balance_that_claims_a_later_version_than_there_is_does_not_last(account):
    wrong = Broker(balance=1, version=10**17).trader()
    account.trader_updated(wrong)
    honest = Broker(balance=1_000_500, version=3)
    assert account.recover([], [], honest.trader(), honest.reconcile(), NOW) == []
    (snapshot,) = account.recover([], [], honest.trader(), honest.reconcile(), NOW, final=True)
    assert isinstance(snapshot, AccountSnapshot)
    assert snapshot.balance == 1_000_500


def test_deals_that_wait_are_left_to_history_when_they_are_too_many(account):
    for number in range(1, 3 * MOST_WAITING):
        account.execution(event(3, deal=deal(number, number), position=position(number, 5_000_000)), NOW)
        assert len(account._queued) <= MOST_WAITING
    assert account.needs_recovery
    broker = Broker()
    held = broker.reconcile()
    held.position.extend(position(number, 100_000, label="x") for number in range(1, 3 * MOST_WAITING))
    deals = [deal(number, number) for number in range(1, 3 * MOST_WAITING)]
    told = account.recover(deals, [order(11)], broker.trader(), held, NOW)
    assert sum(isinstance(each, ForeignChanged) for each in told) == 3 * MOST_WAITING - 1
    assert not account.needs_recovery


def test_one_deal_told_under_two_times_is_folded_once(account):
    twice = [deal(21, ts=1_000), deal(21, ts=1_005)]
    stands = Broker().reconcile()
    stands.position.append(position(volume=100_000, label="plimsoll/run-1"))
    told = account.recover(twice, [order(11, status=2)], Broker().trader(), stands, NOW)
    assert [type(each) for each in told if isinstance(each, OrderFilled)] == [OrderFilled]
    assert account.average("7") == (100_000, 112_569)


def test_more_open_positions_than_anybody_has_are_refused(account):
    stands = Broker().reconcile()
    stands.position.extend(position(number) for number in range(1, 10_003))
    with pytest.raises(DataError, match="more than 10000 open"):
        account.recover([], [], Broker().trader(), stands, NOW, final=True)


def test_an_average_stays_exact_and_its_fraction_small_however_often_a_position_turns_over():
    held = Holding(position_id=1, symbol_id=1, side=Side.BUY)
    held.open(Side.BUY, 700_001, 112_569)
    for number in range(2_000):
        held.close(100_003 + number % 7, 0)
        held.open(Side.BUY, 100_003 + number % 7, 112_569)
        assert held.price_e5 == 112_569
    assert held.cost_e5.denominator.bit_length() < 1_500
    held.close(held.volume_e2 - 1, 0)
    assert held.price_e5 == 112_569


# --- frames ----------------------------------------------------------------------------------------------------


def test_of_what_a_message_lacks_only_the_beginning_is_told():
    message = openapi.ProtoOADealListRes.FromString(b"\x10\x01" + b"\x1a\x00" * 10_000)
    assert len(missing_fields(message)) == MOST_TOLD
    assert missing_fields(message)[:3] == ["hasMore", "deal[0].dealId", "deal[0].orderId"]


# --- the venue -------------------------------------------------------------------------------------------------


@pytest.fixture
def client():
    desk = Desk("EURUSD", "USDJPY")
    desk.quote(112_569, 112_571)
    return desk.client()


def test_an_order_of_an_unknown_side_is_refused_and_not_a_buy(client):
    request = openapi.ProtoOANewOrderReq(
        ctidTraderAccountId=HEDGED, symbolId=1, orderType=1, tradeSide=SELL, volume=100_000
    )
    raw = request.SerializeToString().replace(b"\x28\x02", b"\x28\x07")
    answer = client.raw(common.ProtoMessage(payloadType=2106, payload=raw).SerializeToString())[0].message
    assert (answer.errorCode, "tradeSide" in answer.description) == ("INVALID_REQUEST", True)


@pytest.mark.parametrize("name", ["SymbolByIdReq", "SubscribeSpotsReq", "SubscribeDepthQuotesReq"])
def test_a_request_for_more_than_a_thousand_things_is_refused(client, name):
    assert client.ask(name, account=HEDGED, symbolId=[1] * 1_001).errorCode == "INVALID_REQUEST"


def test_an_id_that_is_asked_for_twice_is_answered_once(client):
    assert len(client.ask("SymbolByIdReq", account=HEDGED, symbolId=[1, 2, 1]).symbol) == 2
    client.take()
    client.send("SubscribeSpotsReq", account=HEDGED, symbolId=[1, 1])
    assert len(client.take("SpotEvent")) == 1


@pytest.mark.parametrize("volume", [-1, 0, 2**62])
def test_the_margin_of_a_volume_that_cannot_be_traded_is_not_told(client, volume):
    answer = client.ask("ExpectedMarginReq", account=HEDGED, symbolId=1, volume=[volume])
    assert answer.errorCode == "TRADING_BAD_VOLUME"


def test_windows_of_history_before_all_time_are_refused_whatever_is_counted(client):
    window = {"account": HEDGED, "fromTimestamp": 0, "toTimestamp": -(2**63)}
    for period in (model.M1, model.D1, model.MN1):
        answer = client.ask("GetTrendbarsReq", **window, symbolId=1, period=period, count=5)
        assert answer.errorCode == "INCORRECT_BOUNDARIES"
    client.order()
    now = client.desk.venue.market_ns // 10**6
    deals = client.ask("DealListReq", account=HEDGED, fromTimestamp=now - 1_000, toTimestamp=now, maxRows=-3)
    assert (len(deals.deal), deals.hasMore) == (1, False)


def test_an_order_whose_price_is_none_leaves_neither_order_nor_position(client):
    account = client.desk.venue.accounts[HEDGED]
    (refused,) = client.order(orderType=model.LIMIT, limitPrice=float("nan"))
    assert refused.errorCode == "TRADING_BAD_PRICES"
    assert not account.orders
    assert not account.positions


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"relativeStopLoss": -100}, "INVALID_REQUEST"),
        ({"relativeTakeProfit": 2**62}, "INVALID_REQUEST"),
        ({"trailingStopLoss": True}, "INVALID_REQUEST"),
    ],
)
def test_levels_that_a_new_order_may_not_have_an_amended_one_may_not_have_either(client, fields, code):
    (placed,) = client.order(orderType=model.LIMIT, limitPrice=1.12)
    answer = client.ask("AmendOrderReq", account=HEDGED, orderId=placed.order.orderId, **fields)
    assert answer.errorCode == code
    assert client.order(orderType=model.LIMIT, limitPrice=1.12, **fields)[0].errorCode == code


def test_a_flood_of_types_that_are_none_is_throttled_as_one_and_remembered_as_one():
    pace, limits = Pace(), Limits(requests_per_s=1)
    codes = [getattr(pace.refusal(number, limits, 0), "errorCode", "") for number in range(5_000, 6_000)]
    assert codes[0] == ""
    assert codes[-1] == "BLOCKED_PAYLOAD_TYPE"
    assert len(pace._strikes) == 1


def test_an_account_holds_so_many_positions_and_orders_and_no_more():
    desk = Desk(limits=Limits(requests_per_s=1_000, positions=3))
    desk.quote(112_569)
    client = desk.client()
    client.order()
    for _ in range(2):
        client.order(orderType=model.LIMIT, limitPrice=1.12)
    assert client.order()[0].errorCode == "TOO_MANY_POSITIONS"


# --- what the shell reads --------------------------------------------------------------------------------------


def ran(work):
    with pytest.raises(StopIteration) as done:
        work.send(None)
    return done.value.value


def broker_of(*positions, full, assets=(("USD", 1), ("EUR", 2))):
    answers = {
        2112: openapi.ProtoOAAssetListRes(
            ctidTraderAccountId=1, asset=[{"assetId": number, "name": name} for name, number in assets]
        ),
        2114: openapi.ProtoOASymbolsListRes(
            ctidTraderAccountId=1,
            symbol=[
                {"symbolId": n, "symbolName": name, "enabled": True, "baseAssetId": 2, "quoteAssetId": 1}
                for n, name in enumerate(("EURUSD", "EURUSD2"), 1)
            ],
        ),
        2116: openapi.ProtoOASymbolByIdRes(ctidTraderAccountId=1, symbol=full),
        2121: openapi.ProtoOATraderRes(ctidTraderAccountId=1, trader=Broker().trader()),
        2124: openapi.ProtoOAReconcileRes(ctidTraderAccountId=1, position=positions),
    }

    async def ask(request):
        return answers[request.payloadType]

    return ask


def whole(number, **fields):
    return model.ProtoOASymbol(
        **{
            "symbolId": number, "digits": 5, "pipPosition": 4, "lotSize": 10_000_000, "minVolume": 100_000,
            "stepVolume": 100_000, "maxVolume": 10**10, **fields,
        }
    )  # fmt: skip


def test_symbols_that_nobody_asked_for_are_left_where_they_are():
    found = ran(read_catalogue(broker_of(full=[whole(99), whole(1), whole(1)]), 1, ["EURUSD"]))
    assert list(found.specifications) == [1]


def test_a_strangers_symbol_that_cannot_be_valued_is_left_out_and_one_of_ours_is_an_error():
    held = position(7)
    held.tradeData.symbolId = 2
    found = ran(read_catalogue(broker_of(held, full=[whole(1), whole(2, digits=7)]), 1, ["EURUSD"]))
    assert list(found.specifications) == [1]
    with pytest.raises(ConfigError, match="7 digits"):
        read_catalogue(broker_of(full=[whole(1, digits=7)]), 1, ["EURUSD"]).send(None)
    with pytest.raises(DataError, match="asset list"):
        read_catalogue(broker_of(full=[whole(1)], assets=()), 1, ["EURUSD"]).send(None)


def test_two_symbols_with_one_id_are_a_contradiction_where_one_of_them_is_to_be_traded():
    ask = broker_of(full=[whole(1)])

    async def doubled(request):
        answer = await ask(request)
        if request.payloadType == 2114:
            answer.symbol[1].symbolId = 1
        return answer

    with pytest.raises(DataError, match="two symbols with id 1"):
        read_catalogue(doubled, 1, ["EURUSD"]).send(None)


def test_a_list_that_never_ends_is_given_up():
    count = iter(range(10**9))

    async def ask(request):
        rows = [deal(next(count) + 1, ts=request.toTimestamp - 1) for _ in range(20_000)]
        return openapi.ProtoOADealListRes(ctidTraderAccountId=1, deal=rows, hasMore=True)

    with pytest.raises(DataError, match="more than 100000 rows"):
        listing.deals(ask, 1, 1_000, 10**12).send(None)


def test_the_orders_that_must_be_asked_about_one_by_one_are_a_few_at_a_time(account):
    deals = [deal(number, number, orderId=number) for number in range(1, 500)]
    account.recover(deals, [], Broker().trader(), Broker().reconcile(), NOW)
    assert len(account.unexplained) == 50
