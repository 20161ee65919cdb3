"""Every sequence of execution events in the reference becomes the facts that the contract asks for."""

import pytest

from adapters.ctrader.account import Account
from adapters.ctrader.messages import model, openapi
from bus.messages import (
    AccountSnapshot,
    AmendProtection,
    BalanceMoved,
    CancelOrder,
    ForeignChanged,
    OrderAccepted,
    OrderCancelled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderUnknown,
    ProtectionChanged,
    Quote,
    SubmitOrder,
    SwapCharged,
)
from bus.values import OrderType, Side
from tests.harness.ctrader_broker import ACCOUNT, HOLDER, SYMBOLS, Broker

NOW = 1_760_000_000_000_000_000
LABEL = "plimsoll/run-1"
QUOTES = {"EURUSD": Quote(symbol="EURUSD", bid_e5=112_567, ask_e5=112_569, ts_event_ns=NOW, ts_init_ns=NOW)}
ACCEPTED, FILLED, REPLACED, CANCELLED, EXPIRED, REJECTED, CANCEL_REJECTED, SWAP, PARTIAL = 2, 3, 4, 5, 6, 7, 8, 9, 11


@pytest.fixture
def account():
    made = Account(HOLDER, SYMBOLS, QUOTES, currency="USD")
    (snapshot,) = made.begin(Broker().trader(), Broker().reconcile(), [], NOW)
    assert isinstance(snapshot, AccountSnapshot)
    assert snapshot.balance == 1_000_000
    assert snapshot.leverage == 100
    made.sent(submit())
    made.sent(submit("run-2", position_id="7", side=Side.SELL))
    return made


def submit(name="run-1", **changes):
    values = {
        "client_order_id": name,
        "intent_id": "i",
        "strategy": "s",
        "symbol": "EURUSD",
        "side": Side.BUY,
        "order_type": OrderType.MARKET,
        "volume_e2": 1_000_000,
        "reference_e5": 112_569,
        "ts_init_ns": NOW,
    }
    return SubmitOrder(**{**values, **changes})


def position(volume, *, price=1.12569, label=LABEL, status=1, side=1, **levels):
    return model.ProtoOAPosition(
        positionId=7,
        positionStatus=status,
        swap=levels.pop("swap", 0),
        price=price if volume else 0.0,
        moneyDigits=2,
        utcLastUpdateTimestamp=levels.pop("ts", 1_000),
        **levels,
        tradeData=model.ProtoOATradeData(symbolId=1, volume=volume, tradeSide=side, label=label),
    )


def order(number=11, *, volume=1_000_000, kind=1, status=1, side=1, label=LABEL, name="run-1", ts=1_000, **fields):
    return model.ProtoOAOrder(
        orderId=number,
        orderType=kind,
        orderStatus=status,
        positionId=7,
        clientOrderId=name,
        utcLastUpdateTimestamp=ts,
        **fields,
        tradeData=model.ProtoOATradeData(symbolId=1, volume=volume, tradeSide=side, label=label),
    )


def deal(number, *, order_id=11, volume=1_000_000, price=1.12569, side=1, ts=1_000, commission=-25, close=None):
    made = model.ProtoOADeal(
        dealId=number,
        orderId=order_id,
        positionId=7,
        symbolId=1,
        volume=volume,
        filledVolume=volume,
        tradeSide=side,
        createTimestamp=ts,
        executionTimestamp=ts,
        executionPrice=price,
        dealStatus=2,
        commission=commission,
        moneyDigits=2,
    )
    if close is not None:
        gross, both, balance, version = close
        detail = made.closePositionDetail
        detail.entryPrice, detail.grossProfit, detail.commission, detail.swap = 1.12569, gross, both, 0
        detail.balance, detail.balanceVersion, detail.closedVolume, detail.moneyDigits = balance, version, volume, 2
    return made


def event(kind, *, server=False, **parts):
    return openapi.ProtoOAExecutionEvent(ctidTraderAccountId=ACCOUNT, executionType=kind, isServerEvent=server, **parts)


def protective(number=12, *, stop=1.12369, target=1.12969, **fields):
    levels = {name: value for name, value in (("stopPrice", stop), ("limitPrice", target)) if value}
    return order(number, kind=4, side=2, name="srv", closingOrder=True, **levels, **fields)


def opened(account):
    """The recorded sequence of a market order with relative levels."""
    told = account.execution(event(ACCEPTED, order=order(), position=position(0, status=3)), NOW, "run-1")
    filled = order(status=2, executedVolume=1_000_000)
    told += account.execution(event(FILLED, order=filled, position=position(1_000_000), deal=deal(21)), NOW, "run-1")
    after = position(1_000_000, stopLoss=1.12369, takeProfit=1.12969)
    return told + account.execution(event(ACCEPTED, server=True, order=protective(), position=after), NOW)


def closing(status=1, **fields):
    return order(13, status=status, side=2, name="srv-13", closingOrder=True, ts=2_000, **fields)


def kinds(told):
    return [type(fact).__name__ for fact in told]


def test_a_market_order_is_accepted_filled_and_then_protected(account):
    accepted, filled, levels = opened(account)
    assert isinstance(accepted, OrderAccepted)
    assert accepted.client_order_id == "run-1"
    assert isinstance(filled, OrderFilled)
    assert isinstance(levels, ProtectionChanged)
    assert (filled.deal_id, filled.closing, filled.commission, filled.balance) == ("21", False, -25, 1_000_000)
    assert (filled.remaining_e2, filled.order_done, filled.bid_e5, filled.ask_e5) == (1_000_000, True, 112_567, 112_569)
    assert (levels.stop_loss_e5, levels.take_profit_e5, levels.trailing_e5) == (112_369, 112_969, 0)


def test_every_event_told_again_says_nothing(account):
    opened(account)
    assert opened(account) == []


@pytest.mark.parametrize("status", [4, 5, 6, 7])
def test_a_deal_that_was_rejected_missed_or_in_error_is_no_fill(account, status):
    account.execution(event(ACCEPTED, order=order(), position=position(0, status=3)), NOW, "run-1")
    missed = deal(21)
    missed.dealStatus = status  # some tell the volume that they were asked for
    told = account.execution(event(REJECTED, order=order(status=3), position=position(0), deal=missed), NOW, "run-1")
    assert kinds(told) == ["OrderRejected"]
    assert not account.needs_recovery


def test_the_worked_example_closes_half_and_the_balance_follows(account):
    opened(account)
    half = closing(volume=500_000)
    assert account.execution(event(ACCEPTED, order=half, position=position(1_000_000)), NOW, "run-2") == [
        OrderAccepted(
            client_order_id="run-2", order_id="13", symbol="EURUSD", ts_event_ns=2_000 * 10**6, ts_init_ns=NOW
        )
    ]
    closed = deal(
        22, order_id=13, volume=500_000, price=1.126, side=2, ts=2_000, commission=-13, close=(155, -26, 1_000_129, 2)
    )
    done = closing(status=2, volume=500_000, executedVolume=500_000)
    (fill,) = account.execution(event(FILLED, order=done, position=position(500_000), deal=closed), NOW, "run-2")
    assert (fill.client_order_id, fill.cause, fill.closing, fill.remaining_e2) == ("run-2", "order", True, 500_000)
    booked = fill.gross_profit + fill.booked_commission + fill.booked_swap + fill.conversion_fee
    assert (booked, fill.balance, account.balance) == (129, 1_000_129, 1_000_129)
    smaller = event(REPLACED, server=True, order=protective(volume=500_000, ts=2_001), position=position(500_000))
    assert account.execution(smaller, NOW) == []


def test_a_full_close_that_reads_created_with_volume_0_is_closed(account):
    opened(account)
    gone = position(0, status=3, stopLoss=1.12369)
    closed = deal(22, order_id=13, price=1.126, side=2, ts=2_000, close=(310, -50, 1_000_260, 2))
    told = account.execution(
        event(FILLED, order=closing(2, executedVolume=1_000_000), position=gone, deal=closed), NOW, "run-2"
    )
    assert kinds(told) == ["OrderAccepted", "OrderFilled"]
    assert told[1].remaining_e2 == 0
    last = event(CANCELLED, server=True, order=protective(status=5, ts=2_020), position=position(0, status=2))
    assert account.execution(last, NOW) == [], "levels end with their position, without a word"
    assert account.protected("7").code == "POSITION_NOT_FOUND"


@pytest.mark.parametrize(
    ("price", "cause", "level"),
    [
        (1.12369, "stop_loss", 112_369),
        (1.12301, "stop_loss", 112_369),
        (1.12969, "take_profit", 112_969),
        (1.13, "take_profit", 112_969),
    ],
)
def test_stop_and_target_are_told_apart_by_the_price(account, price, cause, level):
    opened(account)
    hit = deal(23, order_id=12, price=price, side=2, ts=3_000, close=(-2_000, -50, 997_950, 2))
    done = protective(status=2, ts=3_000, executedVolume=1_000_000)
    (fill,) = account.execution(event(FILLED, server=True, order=done, position=position(0, status=2), deal=hit), NOW)
    assert (fill.cause, fill.level_e5, fill.client_order_id) == (cause, level, "run-1")


def test_a_trailing_stop_moves_by_its_own_event_and_is_named_when_it_hits(account):
    account.sent(
        AmendProtection(
            position_id="7", symbol="EURUSD", stop_loss_e5=0, take_profit_e5=0, trailing_e5=0, reason="", ts_init_ns=NOW
        )
    )
    opened(account)
    account.sent(
        AmendProtection(
            position_id="7",
            symbol="EURUSD",
            stop_loss_e5=112_369,
            take_profit_e5=112_969,
            trailing_e5=200,
            reason="",
            ts_init_ns=NOW,
        )
    )
    trails = protective(ts=2_000, trailingStopLoss=True)
    (levels,) = account.execution(event(REPLACED, order=trails, position=position(1_000_000)), NOW)
    assert levels.trailing_e5 == 200
    moved = openapi.ProtoOATrailingSLChangedEvent(
        ctidTraderAccountId=ACCOUNT, positionId=7, orderId=12, stopPrice=1.12469, utcLastUpdateTimestamp=2_500
    )
    (step,) = account.trailing_moved(moved, NOW)
    assert (step.stop_loss_e5, step.take_profit_e5, step.trailing_e5) == (112_469, 112_969, 200)
    assert account.trailing_moved(moved, NOW) == []
    hit = deal(23, order_id=12, price=1.12468, side=2, ts=3_000, close=(-101, -50, 999_849, 2))
    done = protective(status=2, stop=1.12469, ts=3_000, executedVolume=1_000_000)
    (fill,) = account.execution(event(FILLED, server=True, order=done, position=position(0, status=2), deal=hit), NOW)
    assert (fill.cause, fill.level_e5) == ("trailing_stop", 112_469)


def test_a_removed_level_is_told_and_both_removed_too(account):
    opened(account)
    bare = protective(target=0, ts=2_000)
    (one,) = account.execution(event(REPLACED, order=bare, position=position(1_000_000)), NOW)
    assert (one.stop_loss_e5, one.take_profit_e5) == (112_369, 0)
    gone = event(CANCELLED, order=protective(status=5, ts=2_100), position=position(1_000_000))
    (none,) = account.execution(gone, NOW)
    assert (none.stop_loss_e5, none.take_profit_e5) == (0, 0)


def test_a_stop_out_says_so(account):
    opened(account)
    out = order(14, side=2, status=2, name="srv", closingOrder=True, isStopOut=True, ts=3_000, executedVolume=1_000_000)
    closed = deal(24, order_id=14, price=1.1, side=2, ts=3_000, close=(-25_690, -50, 974_260, 2))
    (fill,) = account.execution(event(FILLED, server=True, order=out, position=position(0, status=2), deal=closed), NOW)
    assert (fill.cause, fill.client_order_id, fill.level_e5) == ("stop_out", "run-1", 0)


@pytest.mark.parametrize(
    ("kind", "status", "fact"),
    [(CANCELLED, 5, OrderCancelled), (EXPIRED, 4, OrderExpired), (REJECTED, 3, OrderRejected)],
)
def test_a_resting_order_ends_once_by_whatever_way(account, kind, status, fact):
    rests = order(kind=2, limitPrice=1.12)
    assert kinds(account.execution(event(ACCEPTED, order=rests, position=position(0, status=3)), NOW)) == [
        "OrderAccepted"
    ]
    assert account.order_id_of("run-1") == 11
    ends = event(
        kind, order=order(kind=2, status=status, ts=2_000), position=position(0, status=2), errorCode="NO_QUOTES"
    )
    (told,) = account.execution(ends, NOW)
    assert isinstance(told, fact)
    assert told.client_order_id == "run-1"
    assert account.order_id_of("run-1") is None
    assert account.execution(ends, NOW) == []


def test_partial_fills_are_told_each_and_the_rest_is_cancelled(account):
    part = order(executedVolume=400_000)
    first = event(PARTIAL, order=part, position=position(400_000), deal=deal(21, volume=400_000, commission=-10))
    accepted, fill = account.execution(first, NOW, "run-1")
    assert isinstance(accepted, OrderAccepted)
    assert not fill.order_done
    rest = order(status=5, executedVolume=400_000, ts=1_100)
    (cancelled,) = account.execution(event(CANCELLED, order=rest, position=position(400_000)), NOW)
    assert cancelled.filled_e2 == 400_000
    assert not account.needs_recovery


def test_an_order_error_without_ids_belongs_to_the_command_that_it_answers(account):
    error = openapi.ProtoOAOrderErrorEvent(
        errorCode="TRADING_BAD_STOPS", ctidTraderAccountId=ACCOUNT, orderId=0, description="x"
    )
    (refused,) = account.order_error(error, submit(), NOW)
    assert (refused.client_order_id, refused.code) == ("run-1", "TRADING_BAD_STOPS")
    amend = AmendProtection(
        position_id="7", symbol="EURUSD", stop_loss_e5=1, take_profit_e5=0, trailing_e5=0, reason="", ts_init_ns=NOW
    )
    (refused,) = account.order_error(error, amend, NOW)
    assert refused.client_order_id == ""
    assert refused.text.startswith("7")
    cancel = CancelOrder(client_order_id="run-9", symbol="EURUSD", reason="", ts_init_ns=NOW)
    assert account.refused(cancel, "ENTITY_NOT_FOUND", "", NOW)[0].code == "ORDER_NOT_FOUND"
    assert account.order_error(error, None, NOW) == []


def test_a_close_whose_answer_was_lost_takes_its_deal_in_the_recovery(account):
    opened(account)
    assert isinstance(account.unknown(submit("run-2", position_id="7", side=Side.SELL), NOW)[0], OrderUnknown)
    closed = deal(22, order_id=13, price=1.126, side=2, ts=2_000, close=(310, -50, 1_000_260, 2))
    trader = Broker(balance=1_000_260, version=2).trader()
    done = closing(2, executedVolume=1_000_000)
    told = account.recover([closed], [done], trader, Broker().reconcile(), NOW)
    assert kinds(told) == ["OrderAccepted", "OrderFilled", "AccountSnapshot"]
    assert told[1].client_order_id == "run-2"
    assert told[2].balance == 1_000_260


def test_a_deal_of_an_unknown_order_waits_for_the_order(account):
    opened(account)
    closed = deal(22, order_id=99, price=1.1236, side=2, ts=2_000, close=(-2_000, -50, 997_950, 2))
    trader = Broker(balance=997_950, version=2).trader()
    assert account.recover([closed], [], trader, Broker().reconcile(), NOW) == []
    assert account.unexplained == (99,)
    assert account.needs_recovery
    by_hand = order(99, side=2, status=2, name="ui", closingOrder=True, ts=2_000, executedVolume=1_000_000)
    told = account.recover([closed], [by_hand], trader, Broker().reconcile(), NOW)
    assert kinds(told) == ["OrderFilled", "AccountSnapshot"]
    assert told[0].client_order_id == ""


def test_what_is_not_ours_is_seen_counted_and_never_touched(account):
    theirs = order(11, label="other bot", name="x", status=2, executedVolume=1_000_000)
    held = position(1_000_000, label="other bot")
    (seen,) = account.execution(event(FILLED, order=theirs, position=held, deal=deal(21)), NOW)
    assert isinstance(seen, ForeignChanged)
    assert (seen.kind, seen.subject, seen.label, seen.volume_e2) == ("position", "7", "other bot", 1_000_000)
    assert account.foreign_volume_e2() == {"EURUSD": (1_000_000, 0)}
    assert "not ours" in account.protected("7").text


def test_a_netted_deal_that_turns_a_position_is_told_as_two(account):
    opened(account)
    account.sent(submit("run-3", side=Side.SELL))
    turned = deal(
        25, order_id=15, volume=1_500_000, price=1.126, side=2, ts=2_000, commission=-39, close=(310, -51, 1_000_259, 2)
    )
    turned.closePositionDetail.closedVolume = 1_000_000
    done = order(
        15, side=2, volume=1_500_000, status=2, label="plimsoll/run-3", name="run-3", ts=2_000, executedVolume=1_500_000
    )
    after = position(500_000, price=1.126, side=2)
    told = account.execution(event(FILLED, order=done, position=after, deal=turned), NOW, "run-3")
    close, reopen = (fact for fact in told if isinstance(fact, OrderFilled))
    assert (close.deal_id, close.closing, close.volume_e2, close.order_done) == ("25", True, 1_000_000, False)
    assert (reopen.deal_id, reopen.closing, reopen.volume_e2, reopen.order_done) == ("25+", False, 500_000, True)
    assert close.commission + reopen.commission == -39
    assert reopen.gross_profit == 0


def test_swap_and_cash_are_told_as_differences(account):
    opened(account)
    night = event(SWAP, position=position(1_000_000, swap=-11, ts=5_000))
    (swap,) = account.execution(night, NOW)
    assert isinstance(swap, SwapCharged)
    assert swap.amount == -11
    assert account.execution(night, NOW) == []
    cash = model.ProtoOADepositWithdraw(
        operationType=1,
        balanceHistoryId=3,
        balance=900_000,
        delta=100_000,
        balanceVersion=2,
        changeBalanceTimestamp=6_000,
        moneyDigits=2,
    )
    out = event(10, depositWithdraw=cash)
    (moved,) = account.execution(out, NOW)
    assert isinstance(moved, BalanceMoved)
    assert (moved.move_id, moved.cause, moved.delta, moved.balance) == ("cash-3", "cash", -100_000, 900_000)
    assert account.execution(out, NOW) == []


def test_a_process_that_died_takes_its_journal_up_and_tells_only_what_it_missed(account):
    journal = [submit(), *opened(account), submit("run-2", position_id="7", side=Side.SELL)]
    later = Account(HOLDER, SYMBOLS, QUOTES, currency="USD")
    for message in journal:
        later.resume(message)
    assert later.history_from_ms == 1_000
    broker = Broker()
    stands = openapi.ProtoOAReconcileRes(ctidTraderAccountId=ACCOUNT)
    stands.position.append(position(1_000_000, stopLoss=1.12369, takeProfit=1.12969))
    told = later.recover([deal(21)], [order(status=2, executedVolume=1_000_000)], broker.trader(), stands, NOW)
    assert kinds(told) == ["AccountSnapshot"]
    (state,) = told[0].positions
    assert (state.client_order_id, state.volume_e2, state.price_e5) == ("run-1", 1_000_000, 112_569)


def test_adopting_makes_everything_ours():
    account = Account(HOLDER, SYMBOLS, QUOTES, currency="USD", adopt=True)
    stands = openapi.ProtoOAReconcileRes(ctidTraderAccountId=ACCOUNT)
    stands.position.append(position(1_000_000, label="by hand"))
    told = account.begin(Broker().trader(), stands, [], NOW)
    assert [entry.position_id for entry in told[-1].positions] == ["7"]


def test_half_a_turning_deal_that_a_crash_kept_from_the_journal_is_told_afterwards(account):
    journal = [submit(), *opened(account)]
    account.sent(submit("run-3", side=Side.SELL))
    turned = deal(
        25, order_id=15, volume=1_500_000, price=1.126, side=2, ts=2_000, commission=-39, close=(310, -51, 1_000_259, 2)
    )
    turned.closePositionDetail.closedVolume = 1_000_000
    done = order(
        15, side=2, volume=1_500_000, status=2, label="plimsoll/run-3", name="run-3", ts=2_000, executedVolume=1_500_000
    )
    after = position(500_000, price=1.126, side=2)
    told = account.execution(event(FILLED, order=done, position=after, deal=turned), NOW, "run-3")
    later = Account(HOLDER, SYMBOLS, QUOTES, currency="USD")
    for message in [*journal, submit("run-3", side=Side.SELL), *told[:-1]]:
        later.resume(message)
    stands = openapi.ProtoOAReconcileRes(ctidTraderAccountId=ACCOUNT)
    stands.position.append(after)
    again = later.recover([turned], [done], Broker(balance=1_000_259, version=2).trader(), stands, NOW)
    assert kinds(again) == ["OrderFilled", "AccountSnapshot"]
    assert again[0] == told[-1]
