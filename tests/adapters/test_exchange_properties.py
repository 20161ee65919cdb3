"""Random histories: whatever happens, money and volume add up, and the same things happen twice."""

from collections import defaultdict

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.exchange import ExecutionModel
from bus.messages import OrderCancelled, OrderExpired, OrderFilled, OrderRejected, SwapCharged
from bus.values import OrderType, Side, TimeInForce, default_instrument
from tests.harness.exchange import EURUSD, HOUR_NS, PLAIN, Desk, fills

STEP = EURUSD.step_volume_e2
ROUGH = ExecutionModel(
    slippage_points=5,
    slippage_jitter_points=5,
    liquidity_e2=3 * STEP,
    impact_points=4,
    depth_levels=3,
    reject_pct=5,
    conversion_fee_bp=70,
    spread_multiplier_pct=130,
)
KINDS = list(OrderType)
TIFS = list(TimeInForce)
numbers = st.integers(0, 10_000)
steps = st.lists(st.tuples(st.integers(0, 9), numbers, numbers, numbers), min_size=20, max_size=100)
accounts = st.fixed_dictionaries(
    {
        "hedged": st.booleans(),
        "balance": st.sampled_from([12_000, 40_000, 50_000_000]),
        "currency": st.sampled_from(["USD", "EUR", "GBP"]),
        "pass_on_gaps": st.booleans(),
    }
)


def play(account, history, desk_class=Desk):
    """Drive a desk through a history; returns it with all facts."""
    desk = desk_class(
        msgspec.structs.replace(EURUSD, commission_per_million_e2=3_333, swap_long_millipips=-777),
        default_instrument("GBPUSD"),
        model=msgspec.structs.replace(ROUGH, pass_on_gaps=account["pass_on_gaps"]),
        hedged=account["hedged"],
        balance=account["balance"],
        currency=account["currency"],
    )
    facts = [*desk.quote(125_000, 125_010, "GBPUSD"), *desk.quote(110_000)]
    bid = 110_000
    for what, a, b, c in history:
        side = Side.BUY if a % 2 else Side.SELL
        volume = (1 + b % 12) * STEP
        positions = desk.exchange.positions
        stop = bid - side * (50 + c % 300) if c % 3 == 0 else 0
        target = bid + side * (60 + c % 500) if c % 5 == 0 else 0
        trailing = 40 + c % 90 if c % 7 == 0 else 0
        if what <= 3:
            bid = max(50_000, bid + (a % 201 - 100) * (40 if b % 8 == 0 else 1))
            facts += desk.quote(bid, bid + c % 25)
        elif what == 4:
            facts += desk.order(side, volume, stop=stop, target=target, trailing=trailing, tif=TIFS[c % 4])
        elif what <= 6:
            kind = KINDS[a % 4]
            price = bid + (c % 301 - 150)
            facts += desk.order(
                side,
                volume,
                kind,
                limit=price + side * (b % 20),
                trigger=price,
                trailing=trailing,
                tif=TIFS[b % 4],
                expires_ns=desk.now_ns + a * 10**10,
            )
        elif what == 7 and positions:
            held = positions[a % len(positions)]
            facts += desk.order(held.side.opposite, volume, closes=held.position_id)
        elif what == 8 and positions:
            facts += desk.amend(positions[a % len(positions)].position_id, stop=stop, target=target, trailing=trailing)
        elif b % 2:
            desk.now_ns += a % 30 * HOUR_NS
            facts += desk.exchange.advance(desk.now_ns)
        elif desk.exchange.orders:
            facts += desk.cancel(desk.exchange.orders[a % len(desk.exchange.orders)].client_order_id)
    return desk, facts


def flatten(desk, facts):
    """Close all positions, on as many quotes as the book needs."""
    desk.now_ns += -desk.now_ns % (7 * 24 * HOUR_NS) + (4 * 24 + 6) * HOUR_NS  # weeks since 1970 begin on Thursdays
    facts += desk.exchange.advance(desk.now_ns)
    for order in desk.exchange.orders:
        facts += desk.cancel(order.client_order_id)
    for _ in range(500):
        if not desk.exchange.positions:
            break
        facts += desk.quote(110_000)
        for held in desk.exchange.positions[:1]:
            facts += desk.order(held.side.opposite, held.volume_e2, closes=held.position_id)


@settings(max_examples=120, deadline=None)
@given(accounts, steps)
def test_money_is_conserved_to_the_smallest_unit(account, history):
    desk, facts = play(account, history)
    flatten(desk, facts)
    balance = account["balance"]
    for deal in fills(facts):
        if deal.closing:
            balance += deal.gross_profit + deal.booked_commission + deal.booked_swap + deal.conversion_fee
        else:
            assert (deal.gross_profit, deal.booked_commission, deal.booked_swap, deal.conversion_fee) == (0, 0, 0, 0)
        assert deal.balance == balance
    assert desk.exchange.balance == desk.exchange.equity == balance
    assert desk.exchange.positions == ()
    assert sum(d.commission for d in fills(facts)) == sum(d.booked_commission for d in fills(facts))
    swaps = sum(f.amount for f in facts if isinstance(f, SwapCharged))
    assert swaps == sum(d.booked_swap for d in fills(facts))


@settings(max_examples=120, deadline=None)
@given(accounts, steps)
def test_open_positions_are_the_signed_sum_of_their_deals(account, history):
    desk, facts = play(account, history)
    open_e2 = defaultdict(int)
    for deal in fills(facts):
        open_e2[deal.position_id] += int(deal.side) * deal.volume_e2
        assert abs(open_e2[deal.position_id]) == deal.remaining_e2
        assert deal.volume_e2 > 0
        assert deal.price_e5 > 0
    held = {p.position_id: int(p.side) * p.volume_e2 for p in desk.exchange.positions}
    assert {k: v for k, v in open_e2.items() if v} == held
    if not account["hedged"]:
        assert len(held) <= 1
    assert len({d.deal_id for d in fills(facts)}) == len(fills(facts))


@settings(max_examples=80, deadline=None)
@given(accounts, steps)
def test_every_order_is_answered_and_ends_once(account, history):
    desk, facts = play(account, history)
    filled, ended = defaultdict(int), []
    for fact in facts:
        if isinstance(fact, OrderFilled) and fact.cause == "order":
            filled[fact.client_order_id] += fact.volume_e2
            if fact.order_done:
                ended.append(fact.client_order_id)
        elif isinstance(fact, OrderCancelled | OrderExpired):
            assert fact.filled_e2 == filled[fact.client_order_id]
            ended.append(fact.client_order_id)
        elif isinstance(fact, OrderRejected) and fact.client_order_id:
            ended.append(fact.client_order_id)
    assert len(ended) == len(set(ended))
    resting = {o.client_order_id: o.filled_e2 for o in desk.exchange.orders}
    assert not resting.keys() & set(ended)
    assert all(filled[name] == done for name, done in resting.items())


@settings(max_examples=60, deadline=None)
@given(accounts, steps)
def test_the_same_inputs_give_the_same_facts(account, history):
    first, facts = play(account, history)
    second, again = play(account, history)
    assert facts == again
    assert first.exchange.snapshot(0) == second.exchange.snapshot(0)


@settings(max_examples=80, deadline=None)
@given(st.sampled_from([Side.BUY, Side.SELL]), st.integers(20, 400), st.integers(0, 500), st.integers(0, 30))
def test_a_gap_never_fills_at_the_level_when_the_market_was_beyond(side, distance, beyond, spread):
    for kind in ("entry", "protection"):
        desk = Desk(model=msgspec.structs.replace(PLAIN, slippage_points=beyond % 4))
        desk.quote(110_000, 110_000)
        if kind == "entry":
            level = 110_000 + side * distance
            desk.order(side, STEP, OrderType.STOP, trigger=level)
            worse = side
        else:
            level = 110_000 - side * distance
            desk.order(side, STEP, stop=level)
            worse = Side(-side)
        at = level + worse * beyond
        # the side that triggers is the one the deal is done on: the ask to buy, the bid to sell
        bid = at - spread if worse > 0 else at
        (deal,) = fills(desk.quote(bid, bid + spread))
        assert deal.price_e5 == at + worse * (beyond % 4)
        assert (deal.price_e5 == level) == (beyond == 0)


@settings(max_examples=60, deadline=None)
@given(accounts, steps)
def test_limits_never_fill_worse_than_their_price(account, history):
    limits = {}

    class Watching(Desk):
        def order(self, side, volume, kind=OrderType.MARKET, **given):
            name = f"n{len(limits)}"
            limits[name] = given.get("limit", 0) if kind in {OrderType.LIMIT, OrderType.STOP_LIMIT} else 0
            return super().order(side, volume, kind, name=name, **given)

    _, facts = play(account, history, Watching)
    for deal in fills(facts):
        if deal.cause == "order" and limits[deal.client_order_id]:
            assert (deal.price_e5 - limits[deal.client_order_id]) * deal.side <= 0
        if deal.cause == "take_profit":
            assert (deal.price_e5 - deal.level_e5) * deal.side <= 0
        if deal.cause in {"stop_loss", "trailing_stop"}:
            assert (deal.price_e5 - deal.level_e5) * deal.side >= 0
