"""What was lost, doubled or out of order: after one recovery the account is exact, after two nothing has changed."""

import os
from random import Random

import pytest

from adapters.ctrader.account import Account
from bus.messages import AccountSnapshot, OrderAccepted, OrderFilled, SubmitOrder
from bus.values import OrderType, Side, divide_half_away
from risk.book import Book
from risk.reconcile import compare
from tests.harness.ctrader_broker import HOLDER, SYMBOLS, Broker, random_broker

NOW = 1_760_000_000_000_000_000
HISTORIES = int(os.environ.get("PLIMSOLL_HISTORIES", "1500"))
SLICES = 10


def account_of(broker):
    account = Account(HOLDER, SYMBOLS, {}, currency="USD")
    first = Broker(netted=broker.netted)
    return account, account.begin(first.trader(), first.reconcile(), [], NOW)


def book_of(snapshot):
    book = Book(
        currency="USD",
        money_digits=2,
        leverage=100,
        hedged=snapshot.hedged,
        instruments=tuple(entry.instrument for entry in SYMBOLS.values()),
    )
    book.apply_snapshot(snapshot)
    return book


def recovered(account, broker):
    return account.recover(broker.deals, broker.orders.values(), broker.trader(), broker.reconcile(), NOW)


def command_of(event, name):
    order = event.order
    return SubmitOrder(
        client_order_id=name,
        intent_id=name,
        strategy="s",
        symbol=SYMBOLS[order.tradeData.symbolId].instrument.symbol,
        side=Side.BUY if order.tradeData.tradeSide == 1 else Side.SELL,
        order_type=OrderType.MARKET,
        volume_e2=order.tradeData.volume,
        reference_e5=112_000,
        position_id=str(order.positionId) if order.closingOrder else "",
        ts_init_ns=NOW,
    )


def delivered(events, random):
    """20 % lost, 20 % doubled, any order."""
    arriving = []
    for event in events:
        dice = random.random()
        arriving += [] if dice < 0.2 else [event, event] if dice < 0.4 else [event]
    if random.random() < 0.8:
        random.shuffle(arriving)
    return arriving


def check_history(seed):
    random, broker = Random(seed), random_broker(seed)
    account, told = account_of(broker)
    commands = {name: command_of(event, name) for event, name in broker.events if name}
    for command in commands.values():
        account.sent(command)
    answered = set()
    for event, name in delivered(broker.events, random):
        answered.add(name)
        told += account.execution(event, NOW, name)
    for name, command in commands.items():
        if name not in answered:
            told += account.unknown(command, NOW)
    told += recovered(account, broker)

    snapshot = told[-1]
    assert isinstance(snapshot, AccountSnapshot)
    assert not account.needs_recovery
    again = recovered(account, broker)
    assert again == [snapshot], "a second recovery tells nothing but how things stand"
    for event, name in delivered(broker.events, random):
        assert account.execution(event, NOW, name) == []

    for held in broker.positions.values():
        exact = (
            (held.volume, divide_half_away(held.average.numerator, held.average.denominator)) if held.volume else None
        )
        assert account.average(str(held.position_id)) == exact
    fills = [fact for fact in told if isinstance(fact, OrderFilled)]
    assert len({fact.deal_id for fact in fills}) == len(fills), "every fill is told once"
    ours = {str(deal.dealId) for deal in broker.deals if deal.orderId in broker.ours}
    assert ours <= {fact.deal_id.rstrip("+") for fact in fills}, "and none of ours is left out"
    for deal in broker.deals:
        parts = [fact for fact in fills if fact.deal_id.rstrip("+") == str(deal.dealId)]
        if parts:
            assert sum(fact.volume_e2 for fact in parts) == deal.filledVolume
            assert sum(fact.commission for fact in parts) == deal.commission
            booked = sum(f.gross_profit + f.booked_commission + f.booked_swap + f.conversion_fee for f in parts)
            assert booked == broker.booked.get(deal.dealId, 0)
    check_book(told, snapshot, broker, account)


def check_book(told, snapshot, broker, account):
    """The facts, in the order in which they were told, make the venue's positions and balance in the core's book."""
    book, accepted = book_of(told[0]), set()
    for fact in told[1:]:
        if isinstance(fact, OrderAccepted):
            accepted.add(fact.client_order_id)
        if isinstance(fact, OrderFilled) and fact.client_order_id and fact.cause == "order":
            assert fact.client_order_id in accepted, "acceptance comes before every fill"
        if not isinstance(fact, AccountSnapshot):
            book.fold(fact)
    assert compare(book, snapshot) == []
    held = {str(each.position_id): each for each in broker.positions.values() if each.volume}
    theirs = {fact.subject: fact for fact in book.foreign.values() if fact.kind == "position"}
    assert set(theirs) | set(book.positions) == set(held)
    for subject, fact in theirs.items():
        assert (fact.volume_e2, int(fact.side)) == (held[subject].volume, held[subject].side)
        assert "never touched" in account.protected(subject).text


@pytest.mark.parametrize("part", range(SLICES))
def test_any_history_lost_doubled_and_shuffled_is_exact_after_one_recovery(part):
    for seed in range(part, HISTORIES, SLICES):
        try:
            check_history(seed)
        except Exception as error:
            raise AssertionError(f"history {seed}: {error!r}") from error
