"""Prices and the past as the venue tells them: sections 5 and 6 of the reference."""

from datetime import UTC, datetime

import pytest

from adapters.ctrader.messages import model
from adapters.ctrader.venue.specs import Limits
from adapters.ctrader.venue.tape import bar_open_ns
from bus.calendar import to_ns
from tests.harness.venue import HEDGED, NETTED, OPENED, Desk, S

MS = 10**6


@pytest.fixture
def desk():
    desk = Desk()
    desk.quote(112_569, 112_571)
    return desk


def sides(events):
    return [(e.bid if e.HasField("bid") else None, e.ask if e.HasField("ask") else None) for e in events]


def test_the_response_comes_first_then_both_sides_then_only_what_changed(desk):
    client = desk.client()
    response, first = [e.message for e in client.send("SubscribeSpotsReq", account=HEDGED, symbolId=[1])]
    assert type(response).__name__ == "ProtoOASubscribeSpotsRes"
    assert sides([first]) == [(112_569, 112_571)]
    assert not first.HasField("timestamp")
    client.take()
    desk.quote(112_570, 112_571)
    desk.quote(112_570, 112_573)
    desk.quote(112_574, 112_576)
    assert sides(client.take("SpotEvent")) == [(112_570, None), (None, 112_573), (112_574, 112_576)]
    again = client.ask("SubscribeSpotsReq", account=HEDGED, symbolId=[1])
    assert again.errorCode == "ALREADY_SUBSCRIBED"
    client.ask("UnsubscribeSpotsReq", account=HEDGED, symbolId=[1])
    client.take()
    desk.quote(112_580)
    assert client.take() == []


def test_the_same_symbol_on_two_accounts_is_two_streams_and_times_come_only_when_asked_for(desk):
    client = desk.client()
    client.send("SubscribeSpotsReq", account=HEDGED, symbolId=[1], subscribeToSpotTimestamp=True)
    client.send("SubscribeSpotsReq", account=NETTED, symbolId=[1])
    client.take()
    desk.quote(112_580)
    stamped, plain = client.take("SpotEvent")
    assert stamped.timestamp == desk.venue.market_ns // MS
    assert not plain.HasField("timestamp")


def test_live_bars_need_spots_carry_their_period_and_have_no_close(desk):
    client = desk.client()
    refused = client.ask("SubscribeLiveTrendbarReq", account=HEDGED, symbolId=1, period=model.M1)
    assert refused.errorCode == "INVALID_REQUEST"
    client.send("SubscribeSpotsReq", account=HEDGED, symbolId=[1])
    client.send("SubscribeLiveTrendbarReq", account=HEDGED, symbolId=1, period=model.M1)
    client.take()
    desk.quote(112_560)
    desk.quote(112_590)
    desk.quote(112_600, after=60)
    bars = [event.trendbar[0] for event in client.take("SpotEvent")]
    assert [(b.period, b.low, b.deltaOpen, b.deltaHigh, b.volume) for b in bars] == [
        (model.M1, 112_560, 9, 9, 2), (model.M1, 112_560, 9, 30, 3), (model.M1, 112_600, 0, 0, 1),
    ]  # fmt: skip
    assert not any(bar.HasField("deltaClose") for bar in bars)


def test_depth_begins_with_the_whole_book_and_then_replaces_it_by_ids(desk):
    client = desk.client()
    assert client.ask("SubscribeDepthQuotesReq", account=HEDGED, symbolId=[1]).errorCode == "NOT_SUBSCRIBED_TO_SPOTS"
    client.send("SubscribeSpotsReq", account=HEDGED, symbolId=[1])
    client.send("SubscribeDepthQuotesReq", account=HEDGED, symbolId=[1])
    desk.quote(112_580, 112_585)
    book = {}
    for event in client.take("DepthEvent"):
        for gone in event.deletedQuotes:
            del book[gone]
        book.update({quote.id: quote for quote in event.newQuotes})
    assert max(q.bid for q in book.values() if q.HasField("bid")) == 112_580
    assert min(q.ask for q in book.values() if q.HasField("ask")) == 112_585


def test_depth_that_is_asked_for_before_the_first_price_comes_with_it():
    desk = Desk()
    client = desk.client()
    client.send("SubscribeSpotsReq", account=HEDGED, symbolId=[1])
    client.send("SubscribeDepthQuotesReq", account=HEDGED, symbolId=[1])
    client.take()
    desk.quote(112_580, 112_585)
    (event,) = client.take("DepthEvent")
    assert {112_580, 112_585} < {quote.bid or quote.ask for quote in event.newQuotes}
    client.ask("UnsubscribeDepthQuotesReq", account=HEDGED, symbolId=[1])
    desk.quote(112_590)
    assert client.take("DepthEvent") == []


def played(desk, minutes):
    for minute in range(minutes):
        desk.quote(112_000 + minute, after=60)


def test_bars_are_ascending_inclusive_at_the_end_complete_and_say_when_there_are_more():
    desk = Desk(limits=Limits(bars_per_response=10))
    played(desk, 30)
    client, now = desk.client(), desk.venue.market_ns // MS
    base = {"account": HEDGED, "symbolId": 1, "period": model.M1}
    answer = client.ask("GetTrendbarsReq", **base, fromTimestamp=now - 3_600_000, toTimestamp=now)
    times = [bar.utcTimestampInMinutes for bar in answer.trendbar]
    assert times == sorted(times)
    assert len(times) == 10
    assert times[-1] == now // 60_000
    assert answer.timestamp == now
    assert not any(bar.HasField("period") for bar in answer.trendbar)
    edge = times[4] * 60_000
    counted = client.ask("GetTrendbarsReq", **base, fromTimestamp=now, toTimestamp=edge, count=3)
    assert [bar.utcTimestampInMinutes for bar in counted.trendbar] == times[2:5]


def test_paging_backwards_gives_every_bar_once():
    desk = Desk(limits=Limits(bars_per_response=7, requests_per_s=1_000, history_per_s=1_000))
    played(desk, 100)
    client, end, found = desk.client(), desk.venue.market_ns // MS, []
    while True:
        page = client.ask(
            "GetTrendbarsReq", account=HEDGED, symbolId=1, period=model.M5, fromTimestamp=0, toTimestamp=end
        ).trendbar
        if not page:
            break
        found = [bar.utcTimestampInMinutes for bar in page] + found
        end = found[0] * 60_000 - 1
    assert found == sorted(set(found))
    assert len(found) == len({(OPENED // S // 60 + minute + 1) // 5 for minute in range(100)})


def test_ticks_come_newest_first_as_differences_of_time_and_price():
    desk = Desk()
    for bid in (112_000, 112_010, 112_010, 112_005):
        desk.quote(bid, bid + 3)
    client, now = desk.client(), desk.venue.market_ns // MS
    rows = client.ask(
        "GetTickDataReq", account=HEDGED, symbolId=1, type=model.BID, fromTimestamp=now - 60_000, toTimestamp=now
    ).tickData
    assert [(row.timestamp, row.tick) for row in rows] == [(now, 112_005), (-2_000, 5), (-1_000, -10)]
    wide = client.ask("GetTickDataReq", account=HEDGED, symbolId=1, type=1, fromTimestamp=0, toTimestamp=now)
    assert wide.errorCode == "INCORRECT_BOUNDARIES"


def test_where_a_window_begins_is_no_tick_unless_the_price_moved_there():
    desk = Desk()
    for bid in (112_000, 112_000, 112_000, 112_005):
        desk.quote(bid, bid + 3)
    client, now = desk.client(), desk.venue.market_ns // MS
    window = {"account": HEDGED, "symbolId": 1, "type": model.BID, "toTimestamp": now}
    rows = client.ask("GetTickDataReq", **window, fromTimestamp=now - 1_000).tickData
    assert [(row.timestamp, row.tick) for row in rows] == [(now, 112_005)]
    rows = client.ask("GetTickDataReq", **window, fromTimestamp=now - 60_000).tickData
    assert [(row.timestamp, row.tick) for row in rows] == [(now, 112_005), (-3_000, -5)]


def test_deals_and_orders_are_listed_newest_first_in_pages_and_linked():
    desk = Desk(limits=Limits(rows_per_response=2, requests_per_s=1_000, history_per_s=1_000))
    desk.quote(112_569, 112_571)
    client = desk.client()
    opened = client.order()
    position = opened[1].position.positionId
    desk.quote(112_600, 112_602)
    for volume in (400_000, 600_000):
        client.send("ClosePositionReq", account=HEDGED, positionId=position, volume=volume)
        desk.quote(112_600, 112_602)
    now = desk.venue.market_ns // MS
    window = {"account": HEDGED, "fromTimestamp": now - 60_000, "toTimestamp": now}
    page = client.ask("DealListReq", **window)
    assert page.hasMore
    assert [deal.filledVolume for deal in page.deal] == [600_000, 400_000]
    rest = client.ask("DealListReq", **{**window, "toTimestamp": page.deal[-1].executionTimestamp})
    assert {deal.filledVolume for deal in rest.deal} == {400_000, 1_000_000}
    assert len(client.ask("OrderListReq", **window).order) == 2
    by_position = client.ask(
        "DealListByPositionIdReq", account=HEDGED, positionId=position, fromTimestamp=0, toTimestamp=now
    )
    assert len(by_position.deal) == 2
    details = client.ask("OrderDetailsReq", account=HEDGED, orderId=opened[0].order.orderId)
    assert (details.order.orderStatus, len(details.deal)) == (model.ORDER_STATUS_FILLED, 1)
    assert client.ask("OrderDetailsReq", account=HEDGED, orderId=5).errorCode == "ORDER_NOT_FOUND"
    offsets = client.ask("DealOffsetListReq", account=HEDGED, dealId=opened[1].deal.dealId)
    assert [row.volume for row in offsets.offsetBy] == [400_000, 600_000]


def test_symbols_assets_and_conversion_chains_are_consistent():
    desk = Desk("EURUSD", "GBPJPY", "USDJPY")
    client = desk.client()
    assets = {a.name: a.assetId for a in client.ask("AssetListReq", account=HEDGED).asset}
    light = client.ask("SymbolsListReq", account=HEDGED).symbol
    assert [s.symbolName for s in light] == ["EURUSD", "GBPJPY", "USDJPY"]
    chain = client.ask(
        "SymbolsForConversionReq", account=HEDGED, firstAssetId=assets["GBP"], lastAssetId=assets["EUR"]
    ).symbol
    assert [s.symbolName for s in chain] == ["GBPJPY", "USDJPY", "EURUSD"]
    full = client.ask("SymbolByIdReq", account=HEDGED, symbolId=[2, 1]).symbol
    assert [(s.symbolId, s.digits, s.pipPosition, s.lotSize) for s in full] == [(2, 3, 2, 10**7), (1, 5, 4, 10**7)]
    assert client.ask("SymbolByIdReq", account=HEDGED, symbolId=[9]).errorCode == "SYMBOL_NOT_FOUND"
    desk.quote(112_569, 112_571)
    margin = client.ask("ExpectedMarginReq", account=HEDGED, symbolId=1, volume=[100_000]).margin[0]
    assert (margin.buyMargin, margin.sellMargin) == (1_126, 1_126)


@pytest.mark.parametrize(
    ("period", "moment", "opened"),
    [
        (model.H1, (2023, 7, 4, 13, 59), (2023, 7, 4, 13)),
        (model.H4, (2023, 7, 4, 21, 0), (2023, 7, 4, 21)),
        (model.H4, (2023, 7, 4, 20, 59), (2023, 7, 4, 17)),
        (model.D1, (2023, 7, 4, 20, 59), (2023, 7, 3, 21)),
        (model.D1, (2023, 12, 4, 21, 59), (2023, 12, 3, 22)),
        (model.W1, (2023, 7, 6, 12, 0), (2023, 7, 2, 21)),
        (model.MN1, (2023, 7, 31, 20, 0), (2023, 6, 30, 21)),
    ],
)
def test_long_bars_follow_the_trading_day_of_new_york(period, moment, opened):
    assert bar_open_ns(period, to_ns(datetime(*moment, tzinfo=UTC))) == to_ns(datetime(*opened, tzinfo=UTC))
