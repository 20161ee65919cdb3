"""What a symbol's terms let be done, when, and how near: sections 4.2, 4.5, 4.7 and 7.6 of the protocol reference."""

import pytest

from adapters.ctrader.messages import model
from adapters.ctrader.venue.specs import AccountSpec
from adapters.ctrader.venue.terms import CLOSE_ONLY, DISABLED, ENABLED, FROZEN, Leverage, Rest, Terms
from adapters.exchange import ExecutionModel
from tests.harness.venue import BUY, EXACT, HEDGED, NETTED, OPENED, SELL, Desk, S, story

TODAY = OPENED // S // 86_400
NOW_S = OPENED // S % 86_400  # 22:13:20
HOUR = 3_600
LIMITED = (
    AccountSpec(account_id=HEDGED, limited_risk=True),
    AccountSpec(account_id=NETTED, limited_risk=True, hedged=False),
)


def desk_with(terms, *, accounts=None, execution=EXACT, **more):
    desk = Desk("EURUSD", terms={"EURUSD": terms}, accounts=accounts, execution=execution, **more)
    desk.quote(112_569, 112_571)
    return desk


def change(desk, **terms):
    desk.deliver(desk.venue.change_symbol("EURUSD", Terms(**terms), desk.now))


def close(client, position_id, volume=1_000_000, account=HEDGED):
    return client.send("ClosePositionReq", account=account, positionId=position_id, volume=volume)[-1].message


def levels(client, position_id, **given):
    return client.ask("AmendPositionSLTPReq", account=HEDGED, positionId=position_id, **given)


def opened(client, **fields):
    """The position that an order opened."""
    filled = client.order(**fields)[1]
    assert filled.executionType == model.ORDER_FILLED, filled
    return filled.position


def code(message):
    return getattr(message, "errorCode", "")


# --- guaranteed stops ------------------------------------------------------------------------------------------


def test_a_guaranteed_stop_fills_at_its_level_where_the_market_jumped_over_it_and_another_does_not():
    for guaranteed, price in ((True, 1.12371), (False, 1.1)):
        account = AccountSpec(account_id=HEDGED, limited_risk=guaranteed)
        slips = ExecutionModel(slippage_points=3, slippage_jitter_points=0, liquidity_e2=300_000, rollover_minutes=0)
        desk = desk_with(Terms(guaranteed=True), accounts=(account,), execution=EXACT if not guaranteed else slips)
        client = desk.client(HEDGED)
        told = client.order(volume=100_000, relativeStopLoss=200, guaranteedStopLoss=guaranteed)
        level = told[-1].position.stopLoss
        assert told[-1].position.guaranteedStopLoss is guaranteed
        assert told[0].order.tradeData.guaranteedStopLoss is guaranteed
        client.take()
        desk.quote(110_000)
        (hit,) = client.take("ExecutionEvent")
        assert story([hit]) == [("FILLED", True, "FILLED", "CLOSED", 0)]
        assert hit.deal.executionPrice == (level if guaranteed else price)


def test_an_account_of_limited_risk_takes_nothing_but_guaranteed_stops_and_keeps_them():
    client = desk_with(Terms(guaranteed=True, guaranteed_points=100), accounts=LIMITED).client(HEDGED)
    assert code(client.order()[0]) == "TRADING_BAD_STOPS"
    assert code(client.order(relativeStopLoss=200)[0]) == "TRADING_BAD_STOPS"
    near = client.order(relativeStopLoss=99, guaranteedStopLoss=True)
    assert code(near[0]) == "PROTECTION_IS_TOO_CLOSE_TO_MARKET"
    position = opened(client, relativeStopLoss=200, guaranteedStopLoss=True)
    assert code(levels(client, position.positionId, stopLoss=1.12)) == "WORSE_GSL_NOT_ALLOWED"
    assert code(levels(client, position.positionId, takeProfit=1.2)) == "INVALID_REQUEST"
    assert code(levels(client, position.positionId, stopLoss=1.12469)) == ""
    (held,) = client.ask("ReconcileReq", account=HEDGED).position
    assert (held.stopLoss, held.guaranteedStopLoss) == (1.12469, True)


def test_a_guarantee_is_refused_where_the_symbol_or_the_account_has_none():
    for terms, accounts in ((Terms(), LIMITED), (Terms(guaranteed=True), None)):
        client = desk_with(terms, accounts=accounts).client(HEDGED)
        assert code(client.order(relativeStopLoss=200, guaranteedStopLoss=True)[0]) == "INVALID_REQUEST"


def test_what_only_takes_away_needs_no_guarantee():
    client = desk_with(Terms(guaranteed=True), accounts=LIMITED).client(NETTED)
    client.order(NETTED, relativeStopLoss=200, guaranteedStopLoss=True)
    told = client.order(NETTED, tradeSide=SELL)
    assert [story([each])[0][:3] for each in told][-1] == ("CANCELLED", True, "CANCELLED")
    assert client.ask("ReconcileReq", account=NETTED).position == []


# --- modes -----------------------------------------------------------------------------------------------------


def test_a_symbol_that_may_only_be_closed_is_closed_and_not_opened_and_clients_hear_of_the_change():
    desk = desk_with(Terms())
    client, other = desk.client(), desk.client(NETTED)
    position = opened(client)
    client.order(NETTED)
    client.take()
    other.take()
    change(desk, mode=CLOSE_ONLY)
    assert [(e.ctidTraderAccountId, list(e.symbolId)) for e in client.take("SymbolChangedEvent")] == [
        (HEDGED, [1]), (NETTED, [1]),
    ]  # fmt: skip
    assert len(other.take("SymbolChangedEvent")) == 1
    (known,) = client.ask("SymbolByIdReq", account=HEDGED, symbolId=[1]).symbol
    assert known.tradingMode == model.CLOSE_ONLY_MODE
    assert code(client.order()[0]) == "TRADING_DISABLED"
    assert code(client.order(NETTED, tradeSide=SELL, volume=1_100_000)[0]) == "TRADING_DISABLED"
    assert code(client.order(NETTED, tradeSide=SELL)[0]) == "", "it only takes away"
    assert close(client, position.positionId).position.tradeData.volume == 0


@pytest.mark.parametrize(("mode", "executed"), [(DISABLED, True), (FROZEN, False)])
def test_a_disabled_symbol_takes_no_order_and_what_rests_waits_only_where_it_is_told_to(mode, executed):
    desk = desk_with(Terms())
    client = desk.client()
    position = opened(client)
    client.order(orderType=model.LIMIT, limitPrice=1.12)
    change(desk, mode=mode)
    assert code(client.order()[0]) == "TRADING_DISABLED"
    assert code(close(client, position.positionId)) == "TRADING_DISABLED"
    client.take()
    desk.quote(111_900)
    assert (len(client.take("ExecutionEvent")) == 1) is executed
    change(desk, mode=ENABLED)
    desk.quote(111_900)
    assert (len(client.take("ExecutionEvent")) == 1) is not executed
    assert close(client, position.positionId).position.tradeData.volume == 0


def test_a_symbol_may_be_frozen_from_the_first_moment_on():
    desk = desk_with(Terms(mode=FROZEN))
    assert code(desk.client().order()[0]) == "TRADING_DISABLED"


def test_selling_short_and_more_than_the_largest_exposure_are_refused():
    client = desk_with(Terms(short_selling=False, most_exposure_e2=1_500_000)).client()
    assert code(client.order(tradeSide=SELL)[0]) == "SHORT_SELLING_NOT_ALLOWED"
    opened(client)
    assert code(client.order(volume=600_000)[0]) == "MAX_EXPOSURE_REACHED"
    opened(client, volume=500_000)
    client.order(NETTED)
    assert code(client.order(NETTED, tradeSide=SELL)[0]) == "", "what is held may be sold"


# --- hours -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("terms", "refusal"),
    [
        (Terms(holidays=(Rest(day=TODAY, start_s=NOW_S + 60, end_s=NOW_S + 120),)), "SYMBOL_HAS_HOLIDAY"),
        (
            # In Moscow it is three hours later, and the next day has begun: Wednesday 01:13:20.
            Terms(holidays=(Rest(day=TODAY + 1, start_s=HOUR + 860, end_s=HOUR + 920, zone="Europe/Moscow"),)),
            "SYMBOL_HAS_HOLIDAY",
        ),
        (
            Terms(
                hours=((2 * 86_400, 2 * 86_400 + NOW_S + 60), (2 * 86_400 + NOW_S + 120, 3 * 86_400)), zone="UTC"
            ),
            "MARKET_CLOSED",
        ),
        (
            Terms(hours=((3 * 86_400, 3 * 86_400 + HOUR + 860), (3 * 86_400 + HOUR + 920, 4 * 86_400)),
                  zone="Europe/Moscow"),
            "MARKET_CLOSED",
        ),
    ],
)  # fmt: skip
def test_out_of_hours_nothing_is_traded_and_afterwards_everything_is(terms, refusal):
    desk = desk_with(terms)
    client = desk.client()
    position = opened(client, relativeStopLoss=200)
    client.order(orderType=model.LIMIT, limitPrice=1.12)
    desk.quote(112_569, 112_571, after=58)
    assert code(client.order()[0]) == ""
    client.take()
    desk.quote(111_900, after=2)
    assert client.take("ExecutionEvent") == [], "neither stop nor limit"
    assert code(client.order()[0]) == refusal
    assert code(close(client, position.positionId)) == refusal
    client.take()
    desk.quote(111_900, after=58)
    assert client.take("ExecutionEvent") == []
    desk.quote(111_900, after=1)
    assert [each.executionType for each in client.take("ExecutionEvent")] == [model.ORDER_FILLED] * 2
    assert code(client.order()[0]) == ""


def test_hours_and_holidays_are_told_as_the_protocol_has_them():
    terms = Terms(
        hours=((86_700, 172_500),), zone="Europe/Moscow", holidays=(Rest(day=20_000, zone="America/New_York"),)
    )
    (known,) = desk_with(terms).client().ask("SymbolByIdReq", account=HEDGED, symbolId=[1]).symbol
    assert [(each.startSecond, each.endSecond) for each in known.schedule] == [(86_700, 172_500)]
    assert known.scheduleTimeZone == "Europe/Moscow"
    (rest,) = known.holiday
    assert (rest.holidayDate, rest.startSecond, rest.endSecond) == (20_000, 0, 86_400)
    assert (rest.scheduleTimeZone, rest.isRecurring) == ("America/New_York", False)


# --- distances -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("terms", "least"),
    [
        (Terms(stop_points=150, target_points=300), (150, 300)),
        (Terms(stop_points=1, target_points=2, distances_in_percent=True), (1_126, 2_252)),
        (Terms(stop_points=10, target_points=20, distances_in_percent=True, percent_hundredths=True), (113, 226)),
    ],
)
def test_levels_nearer_than_the_least_distance_are_refused_and_at_it_they_are_not(terms, least):
    client = desk_with(terms).client()
    stop, target = least
    for fields in ({"relativeStopLoss": stop - 1}, {"relativeTakeProfit": target - 1}):
        assert code(client.order(**fields)[0]) == "PROTECTION_IS_TOO_CLOSE_TO_MARKET"
    position = opened(client, relativeStopLoss=stop, relativeTakeProfit=target)
    near = 1.12569 - (stop - 1) / 100_000
    far = round(1.12569 - stop / 100_000, 5)
    target_kept = {"takeProfit": round(1.12571 + target / 100_000, 5)}
    for given in ({"stopLoss": near}, {"takeProfit": round(1.12569 + (target - 1) / 100_000, 5)}):
        assert code(levels(client, position.positionId, **given)) == "PROTECTION_IS_TOO_CLOSE_TO_MARKET"
    assert code(levels(client, position.positionId, stopLoss=far, **target_kept)) == ""


def test_a_level_that_stays_where_it_is_is_never_too_near():
    desk = desk_with(Terms(stop_points=150, target_points=150))
    client = desk.client()
    position = opened(client, relativeStopLoss=200, relativeTakeProfit=200)
    desk.quote(112_700, 112_702)  # 71 points from the target
    assert code(levels(client, position.positionId, stopLoss=1.12545, takeProfit=1.12771)) == ""


# --- deals that are none, and leverage -------------------------------------------------------------------------


def test_an_order_that_nobody_took_in_time_is_rejected_with_a_deal_that_is_in_the_history_and_moved_nothing():
    declines = ExecutionModel(reject_pct=100, rollover_minutes=0)
    client = desk_with(Terms(), execution=declines, declined_as=7).client()
    accepted, rejected = client.order()
    assert story([accepted, rejected]) == [
        ("ACCEPTED", False, "ACCEPTED", "CREATED", 0), ("REJECTED", False, "REJECTED", "CLOSED", 0),
    ]  # fmt: skip
    assert (rejected.deal.dealStatus, rejected.deal.filledVolume) == (model.MISSED, 0)
    now = client.desk.venue.market_ns // 10**6
    (listed,) = client.ask("DealListReq", account=HEDGED, fromTimestamp=now - 1_000, toTimestamp=now).deal
    assert (listed.dealId, listed.dealStatus) == (rejected.deal.dealId, model.MISSED)
    trader = client.ask("TraderReq", account=HEDGED).trader
    assert (trader.balance, trader.balanceVersion) == (1_000_000, 1)
    assert client.ask("ReconcileReq", account=HEDGED).position == []


def test_dynamic_leverage_is_told_by_its_id_and_margin_is_by_tier():
    leverage = Leverage(tiers=((100_000_000, 500), (1_000_000_000, 200)))
    account = AccountSpec(account_id=HEDGED, leverage=1_000, balance=10**9)
    desk = desk_with(Terms(leverage=leverage), accounts=(account,))
    desk.quote(100_000, 100_000)
    client = desk.client(HEDGED)
    (known,) = client.ask("SymbolByIdReq", account=HEDGED, symbolId=[1]).symbol
    answer = client.ask("GetDynamicLeverageByIDReq", account=HEDGED, leverageId=known.leverageId)
    assert [(tier.volume, tier.leverage) for tier in answer.leverage.tiers] == list(leverage.tiers)
    assert code(client.ask("GetDynamicLeverageByIDReq", account=HEDGED, leverageId=77)) == "ENTITY_NOT_FOUND"
    asked = client.ask("ExpectedMarginReq", account=HEDGED, symbolId=1, volume=[100_000_000, 121_300_000])
    # The reference's worked example, rounded to a lot: 1,213,000 USD cost 1,000,000/500 + 213,000/200.
    assert [row.buyMargin for row in asked.margin] == [200_000, 200_000 + 106_500]
    assert opened(client, volume=100_000_000).usedMargin == 200_000
    assert opened(client, volume=21_300_000).usedMargin == 106_500
    assert opened(client, volume=100_000_000, tradeSide=SELL).usedMargin == 200_000, "the other side is its own"


def test_a_margin_that_others_change_is_told_to_every_client_of_the_account():
    account = AccountSpec(account_id=HEDGED, leverage=1_000, balance=10**9)
    desk = desk_with(Terms(leverage=Leverage(tiers=((100_000_000, 500), (1_000_000_000, 200)))), accounts=(account,))
    desk.quote(100_000, 100_000)
    client, other = desk.client(HEDGED), desk.client(HEDGED)
    first, second = (opened(client, volume=100_000_000).positionId for _ in range(2))
    other.take()
    close(client, first, 50_000_000)
    # What is left of the first fills half of the first tier, and half of the second position moves down into it.
    (changed,) = other.take("MarginChangedEvent")
    assert (changed.positionId, changed.usedMargin, changed.moneyDigits) == (second, 100_000 + 250_000, 2)
    assert client.ask("ReconcileReq", account=HEDGED).position[1].usedMargin == 350_000


def test_margins_that_nothing_changed_are_not_told():
    desk = desk_with(Terms())
    client = desk.client()
    position = opened(client, relativeStopLoss=200)
    desk.quote(112_800)
    close(client, position.positionId, 300_000)
    opened(client, tradeSide=SELL)
    for side in (BUY, BUY, SELL):
        client.order(NETTED, tradeSide=side, volume=700_000)
        desk.quote(112_900)
    assert client.take("MarginChangedEvent") == []
