"""Orders, positions and money as the broker tells them: the sequences of section 7.8 of the reference."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.ctrader.messages import model
from adapters.ctrader.venue.extras import put_varint
from adapters.ctrader.venue.specs import AccountSpec
from adapters.exchange.model import ExecutionModel
from tests.harness.venue import BUY, EXACT, HEDGED, NETTED, OPENED, SELL, Desk, story

MINUTE_MS = 60_000


@pytest.fixture
def desk():
    desk = Desk("EURUSD")
    desk.quote(112_569, 112_571)
    return desk


@pytest.fixture
def client(desk):
    return desk.client()


def close(client, position_id, volume, account=HEDGED):
    return [e.message for e in client.send("ClosePositionReq", account=account, positionId=position_id, volume=volume)]


def levels(client, position_id, **given):
    return [e.message for e in client.send("AmendPositionSLTPReq", account=HEDGED, positionId=position_id, **given)]


def test_a_market_order_with_relative_levels_is_accepted_filled_and_then_protected_by_the_server(client):
    told = client.order(relativeStopLoss=200, relativeTakeProfit=400, label="L", comment="C", clientOrderId="mine")

    assert story(told) == [
        ("ACCEPTED", False, "ACCEPTED", "CREATED", 0),
        ("FILLED", False, "FILLED", "OPEN", 1_000_000),
        ("ACCEPTED", True, "ACCEPTED", "OPEN", 1_000_000),
    ]
    accepted, filled, protected = told
    assert accepted.order.timeInForce == model.IMMEDIATE_OR_CANCEL
    assert not accepted.position.tradeData.HasField("openTimestamp")
    assert accepted.position.HasField("commission")
    assert (filled.order.clientOrderId, filled.position.tradeData.label) == ("mine", "L")
    assert filled.deal.executionPrice == 1.12571
    assert not filled.deal.HasField("closePositionDetail")
    assert not filled.position.HasField("stopLoss")
    assert protected.order.orderType == model.STOP_LOSS_TAKE_PROFIT
    assert (protected.order.stopPrice, protected.order.limitPrice) == (1.12371, 1.12971)
    assert (protected.order.tradeData.tradeSide, protected.order.closingOrder) == (SELL, True)
    assert (protected.position.stopLoss, protected.position.takeProfit) == (1.12371, 1.12971)
    assert filled.position.usedMargin == 11_257


def test_a_full_close_shows_an_empty_created_position_until_its_levels_are_cancelled(
    client,
):
    position = client.order(relativeStopLoss=200)[1].position.positionId

    assert story(close(client, position, 400_000)) == [
        ("ACCEPTED", False, "ACCEPTED", "OPEN", 1_000_000),
        ("FILLED", False, "FILLED", "OPEN", 600_000),
        ("REPLACED", True, "ACCEPTED", "OPEN", 600_000),
    ]
    told = close(client, position, 600_000)
    assert story(told) == [
        ("ACCEPTED", False, "ACCEPTED", "OPEN", 600_000),
        ("FILLED", False, "FILLED", "CREATED", 0),
        ("CANCELLED", True, "CANCELLED", "CLOSED", 0),
    ]
    assert told[1].position.HasField("stopLoss")
    assert not told[2].position.HasField("stopLoss")
    assert client.ask("ReconcileReq", account=HEDGED).position == []


def test_a_bare_position_is_closed_at_once(client):
    position = client.order()[1].position.positionId
    assert story(close(client, position, 1_000_000))[-1] == ("FILLED", False, "FILLED", "CLOSED", 0)


def test_a_stop_that_is_hit_is_one_fill_by_the_server(desk, client):
    client.order(relativeStopLoss=200)
    client.take()
    desk.quote(112_300)

    told = client.take("ExecutionEvent")
    assert story(told) == [("FILLED", True, "FILLED", "CLOSED", 0)]
    assert told[0].order.orderType == model.STOP_LOSS_TAKE_PROFIT
    assert told[0].deal.executionPrice == 1.123
    assert told[0].deal.closePositionDetail.closedVolume == 1_000_000


def test_amending_replaces_both_levels_and_one_left_out_is_gone(client):
    position = client.order(relativeStopLoss=200, relativeTakeProfit=400)[1].position.positionId

    (told,) = levels(client, position, stopLoss=1.12)
    assert story([told]) == [("REPLACED", False, "ACCEPTED", "OPEN", 1_000_000)]
    assert told.position.stopLoss == 1.12
    assert not told.position.HasField("takeProfit")
    assert not told.order.HasField("limitPrice")
    (told,) = levels(client, position)
    assert story([told]) == [("CANCELLED", False, "CANCELLED", "OPEN", 1_000_000)]
    (refused,) = levels(client, position)
    assert refused.errorCode == "INVALID_REQUEST"


def test_a_trailing_stop_moves_without_execution_events_and_reconcile_shows_it(desk, client):
    position = client.order(relativeStopLoss=200, trailingStopLoss=True)[1].position.positionId
    client.take()
    desk.quote(112_700)
    desk.quote(112_800)

    moves = client.take()
    assert [type(each).__name__ for each in moves] == ["ProtoOATrailingSLChangedEvent"] * 2
    assert moves[-1].stopPrice > moves[0].stopPrice > 1.12371
    (held,) = client.ask("ReconcileReq", account=HEDGED).position
    assert (held.positionId, held.stopLoss, held.trailingStopLoss) == (position, moves[-1].stopPrice, True)


def test_a_pending_order_is_placed_amended_filled_and_protected(desk, client):
    (placed,) = client.order(orderType=model.LIMIT, limitPrice=1.12, stopLoss=1.119, takeProfit=1.13)
    assert story([placed]) == [("ACCEPTED", False, "ACCEPTED", "CREATED", 0)]
    assert (placed.order.relativeStopLoss, placed.order.relativeTakeProfit) == (100, 1_000)
    changed = client.ask(
        "AmendOrderReq", account=HEDGED, orderId=placed.order.orderId, limitPrice=1.121, relativeStopLoss=300
    )
    assert story([changed]) == [("REPLACED", False, "ACCEPTED", "CREATED", 0)]
    assert (changed.order.orderId, changed.order.limitPrice) == (placed.order.orderId, 1.121)
    client.take()
    desk.quote(112_090, 112_095)

    told = client.take()
    assert story(told) == [
        ("FILLED", False, "FILLED", "OPEN", 1_000_000),
        ("ACCEPTED", True, "ACCEPTED", "OPEN", 1_000_000),
    ]
    assert told[0].position.positionId == placed.position.positionId
    assert told[1].position.stopLoss == 1.11795


def test_a_pending_order_can_be_cancelled_once_and_expires_at_its_time(desk, client):
    kept = client.order(orderType=model.STOP, stopPrice=1.13)[0].order.orderId
    cancelled = client.send("CancelOrderReq", account=HEDGED, orderId=kept)[0].message
    assert story([cancelled]) == [("CANCELLED", False, "CANCELLED", "CLOSED", 0)]
    again = client.ask("CancelOrderReq", account=HEDGED, orderId=kept)
    assert (again.errorCode, again.orderId) == ("ORDER_NOT_FOUND", kept)

    until = OPENED // 10**6 + 5_000
    client.order(orderType=model.STOP, stopPrice=1.13, timeInForce=model.GOOD_TILL_DATE, expirationTimestamp=until)
    client.take()
    desk.deliver(desk.venue.advance(OPENED + 10 * 10**9, desk.now))
    assert story(client.take()) == [("EXPIRED", True, "EXPIRED", "CLOSED", 0)]


def test_stop_limit_and_market_range_orders_keep_to_their_reach(desk, client):
    (placed,) = client.order(orderType=model.STOP_LIMIT, stopPrice=1.127, slippageInPoints=5)
    assert placed.order.slippageInPoints == 5
    client.take()
    desk.quote(112_698, 112_720)  # beyond the limit of 1.12705
    assert client.take("ExecutionEvent") == []
    desk.quote(112_698, 112_704)
    assert story(client.take())[0][0] == "FILLED"

    missed = client.order(orderType=model.MARKET_RANGE, baseSlippagePrice=1.126, slippageInPoints=10)
    assert [line[0] for line in story(missed)] == ["ACCEPTED", "CANCELLED"]
    met = client.order(orderType=model.MARKET_RANGE, baseSlippagePrice=1.127, slippageInPoints=10)
    assert [line[0] for line in story(met)] == ["ACCEPTED", "FILLED"]
    assert met[1].order.orderType == model.MARKET_RANGE


@pytest.mark.parametrize(
    ("fields", "code", "kind"),
    [
        ({"stopLoss": 1.1}, "INVALID_REQUEST", "ProtoOAErrorRes"),
        ({"orderType": model.STOP_LOSS_TAKE_PROFIT}, "INVALID_REQUEST", "ProtoOAErrorRes"),
        ({"orderType": model.LIMIT}, "INVALID_REQUEST", "ProtoOAErrorRes"),
        ({"label": "x" * 101}, "INVALID_REQUEST", "ProtoOAErrorRes"),
        ({"comment": "x" * 513}, "INVALID_REQUEST", "ProtoOAErrorRes"),
        ({"clientOrderId": "x" * 51}, "INVALID_REQUEST", "ProtoOAErrorRes"),
        ({"symbolId": 99}, "SYMBOL_NOT_FOUND", "ProtoOAErrorRes"),
        ({"volume": 123_456}, "TRADING_BAD_VOLUME", "ProtoOAOrderErrorEvent"),
        ({"volume": 10}, "TRADING_BAD_VOLUME", "ProtoOAOrderErrorEvent"),
        ({"volume": 1_000_000_000}, "NOT_ENOUGH_MONEY", "ProtoOAOrderErrorEvent"),
        ({"positionId": 12}, "POSITION_NOT_FOUND", "ProtoOAOrderErrorEvent"),
        ({"orderType": 2, "limitPrice": 1.12, "stopLoss": 2.0}, "TRADING_BAD_STOPS", "ProtoOAOrderErrorEvent"),
        ({"orderType": model.STOP, "stopPrice": 1.0}, "TRADING_BAD_PRICES", "ProtoOAOrderErrorEvent"),
        ({"orderType": model.LIMIT, "limitPrice": -1e99}, "TRADING_BAD_PRICES", "ProtoOAOrderErrorEvent"),
    ],
)  # fmt: skip
def test_an_order_that_cannot_be_is_refused_in_the_broker_s_words_and_leaves_nothing(client, fields, code, kind):
    (refused,) = client.order(**fields)

    assert (refused.errorCode, type(refused).__name__) == (code, kind)
    if kind == "ProtoOAOrderErrorEvent":
        assert refused.orderId == refused.positionId == 0
    state = client.ask("ReconcileReq", account=HEDGED)
    assert not state.position
    assert not state.order


def test_wrong_levels_unknown_positions_and_too_large_closes_are_refused(client):
    position = client.order()[1].position.positionId
    assert levels(client, position, stopLoss=1.2)[0].errorCode == "TRADING_BAD_STOPS"
    assert levels(client, 99, stopLoss=1.2)[0].errorCode == "POSITION_NOT_FOUND"
    assert close(client, position, 2_000_000)[0].errorCode == "TRADING_BAD_VOLUME"
    assert close(client, 99, 1_000)[0].errorCode == "POSITION_NOT_FOUND"


def test_at_the_weekend_the_market_is_closed(desk, client):
    desk.deliver(desk.venue.advance(OPENED + 4 * 86_400 * 10**9, desk.now))
    (refused,) = client.order()
    assert (refused.errorCode, type(refused).__name__) == ("MARKET_CLOSED", "ProtoOAErrorRes")


def test_a_netted_account_adds_reduces_and_turns_round_with_one_position_at_a_time(client):
    first = client.order(NETTED)[1].position
    assert client.order(NETTED)[1].position.positionId == first.positionId
    reduced = client.order(NETTED, tradeSide=SELL, volume=500_000)
    assert story(reduced)[-1] == ("FILLED", False, "FILLED", "OPEN", 1_500_000)
    turned = client.order(NETTED, tradeSide=SELL, volume=2_000_000)
    assert [line[0] for line in story(turned)] == ["ACCEPTED", "PARTIAL_FILL", "FILLED"]
    (held,) = client.ask("ReconcileReq", account=NETTED).position
    assert held.positionId != first.positionId
    assert (held.tradeData.tradeSide, held.tradeData.volume) == (SELL, 500_000)


def test_a_hedged_position_can_be_added_to_and_reduced_by_its_id(client):
    position = client.order(relativeStopLoss=500)[1].position.positionId
    added = client.order(positionId=position, volume=500_000)
    assert story(added)[-2:] == [
        ("FILLED", False, "FILLED", "OPEN", 1_500_000),
        ("REPLACED", True, "ACCEPTED", "OPEN", 1_500_000),
    ]
    reduced = client.order(positionId=position, volume=500_000, tradeSide=SELL)
    assert story(reduced)[1] == ("FILLED", False, "FILLED", "OPEN", 1_000_000)


def test_thin_depth_fills_in_parts_and_an_unfilled_rest_is_cancelled():
    thin = ExecutionModel(
        slippage_points=0, slippage_jitter_points=0, liquidity_e2=400_000, depth_levels=2, impact_points=3
    )
    desk = Desk(execution=thin)
    desk.quote(112_569, 112_571)
    told = desk.client().order(relativeStopLoss=500)

    assert [line[0] for line in story(told)] == ["ACCEPTED", "PARTIAL_FILL", "PARTIAL_FILL", "CANCELLED", "ACCEPTED"]
    assert [each.deal.dealStatus for each in told[1:3]] == [3, 3]
    assert told[3].order.executedVolume == 800_000
    assert told[4].position.stopLoss == 1.12073  # from the average of 1.12571 and 1.12574, rounded half away


def test_the_liquidity_provider_may_decline_after_the_acceptance():
    desk = Desk(execution=ExecutionModel(reject_pct=100))
    desk.quote(112_569)
    told = desk.client().order()
    assert [line[:3] for line in story(told)] == [("ACCEPTED", False, "ACCEPTED"), ("REJECTED", False, "REJECTED")]
    assert told[1].errorCode == "REJECTED"


def test_a_stop_out_closes_with_a_marked_order_and_then_drops_the_levels():
    desk = Desk(accounts=(AccountSpec(account_id=HEDGED, balance=20_000),))
    desk.quote(112_569)
    client = desk.client(HEDGED)
    client.order(relativeTakeProfit=5_000)
    client.take()
    desk.quote(110_500)

    told = client.take()
    assert story(told) == [("FILLED", True, "FILLED", "CREATED", 0), ("CANCELLED", True, "CANCELLED", "CLOSED", 0)]
    assert told[0].order.isStopOut


def test_reconcile_lists_protective_orders_only_on_request(client):
    from adapters.ctrader.frames import encode_envelope
    from adapters.ctrader.messages import openapi

    client.order(relativeStopLoss=200)
    client.order(orderType=model.LIMIT, limitPrice=1.12)
    assert [o.orderType for o in client.ask("ReconcileReq", account=HEDGED).order] == [model.LIMIT]
    request = openapi.ProtoOAReconcileReq(ctidTraderAccountId=HEDGED)
    put_varint(request, 3, 1)
    answer = client.raw(encode_envelope(request, "x"))[0].message
    assert [o.orderType for o in answer.order] == [model.STOP_LOSS_TAKE_PROFIT, model.LIMIT]


def test_deposits_are_events_and_cash_flow_and_raise_the_balance_version(desk, client):
    before = client.ask("TraderReq", account=HEDGED).trader
    client.take()
    desk.deliver(desk.venue.pay(HEDGED, -12_345, desk.now))
    (event,) = client.take()
    assert (event.executionType, event.depositWithdraw.delta) == (model.DEPOSIT_WITHDRAW, -12_345)
    after = client.ask("TraderReq", account=HEDGED).trader
    assert (after.balance, after.balanceVersion) == (before.balance - 12_345, before.balanceVersion + 1)
    now = desk.venue.market_ns // 10**6
    cash = client.ask("CashFlowHistoryListReq", account=HEDGED, fromTimestamp=now - MINUTE_MS, toTimestamp=now)
    assert [entry.balance for entry in cash.depositWithdraw] == [1_000_000, 987_655]


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["buy", "sell", "close", "half", "levels", "quote"]),
        st.integers(1, 30),
        st.integers(-400, 400),
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(actions=ACTIONS, account=st.sampled_from([HEDGED, NETTED]), costly=st.booleans())
def test_money_told_deal_by_deal_adds_up_to_the_cent_and_records_agree_with_the_exchange(actions, account, costly):
    """Balance after = before + gross + swap + commission + fee, versions count by one, positions equal the ledger."""
    execution = ExecutionModel(seed=5, conversion_fee_bp=70) if costly else EXACT
    desk = Desk("EURUSD", "USDJPY", execution=execution)
    desk.quote(112_569)
    desk.quote(14_900_000, 14_900_900, symbol="USDJPY")
    client = desk.client()
    balance, version, price = 1_000_000, 1, 112_569
    for number, (what, lots, move) in enumerate(actions):
        symbol = 1 + number % 2
        held = list(client.ask("ReconcileReq", account=account).position)
        if what in {"buy", "sell"}:
            more = {"relativeStopLoss": 300 * (1 if symbol == 1 else 100)} if lots % 3 == 0 else {}
            client.order(
                account,
                symbolId=symbol,
                tradeSide=BUY if what == "buy" else SELL,
                volume=lots * 100_000,
                **more,
            )
        elif what in {"close", "half"} and held:
            volume = held[-1].tradeData.volume
            close(client, held[-1].positionId, volume if what == "close" else volume // 200_000 * 100_000, account)
        elif what == "levels" and held:
            client.send(
                "AmendPositionSLTPReq", account=account, positionId=held[0].positionId,
                stopLoss=round(held[0].price * (0.99 if held[0].tradeData.tradeSide == BUY else 1.01), 3),
            )  # fmt: skip
        else:
            price += move
            desk.quote(price)
            desk.quote(14_900_000 + move * 100, 14_900_900 + move * 100, symbol="USDJPY")
        for event in client.take("ExecutionEvent"):
            detail = event.deal.closePositionDetail
            if event.HasField("deal") and event.deal.HasField("closePositionDetail"):
                balance += detail.grossProfit + detail.swap + detail.commission + detail.pnlConversionFee
                version += 1
                assert (detail.balance, detail.balanceVersion) == (balance, version)
    trader = client.ask("TraderReq", account=account).trader
    assert (trader.balance, trader.balanceVersion) == (balance, version)
    broker = desk.venue.accounts[account].broker
    assert broker.balance == balance
    told = client.ask("ReconcileReq", account=account).position
    assert [(p.tradeData.volume, p.commission, p.swap) for p in told] == [
        (p.volume_e2, p.commission, p.swap) for p in broker.positions
    ]
    profits = client.ask("GetPositionUnrealizedPnLReq", account=account).positionUnrealizedPnL
    assert balance + sum(p.netUnrealizedPnL for p in profits) == broker.equity
