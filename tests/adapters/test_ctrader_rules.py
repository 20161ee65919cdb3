"""What the adapter keeps back, the broker would refuse: checks before an order, held against the venue's own."""

from datetime import UTC, datetime

import msgspec
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from adapters.ctrader import events
from adapters.ctrader.hours import Holiday, Hours
from adapters.ctrader.orders import Holder, Protected, Refusal, amend_protection, close_position, new_order
from adapters.ctrader.symbols import TradingMode
from adapters.ctrader.venue.specs import AccountSpec
from adapters.ctrader.venue.terms import Rest, Terms
from adapters.exchange import ExecutionModel
from bus.calendar import to_ns
from bus.messages import AmendProtection, OrderFilled, OrderRejected, SubmitOrder
from bus.values import OrderType, Side, TimeInForce
from tests.harness.ctrader_broker import HOLDER, specification_of
from tests.harness.ctrader_rig import Rig
from tests.harness.venue import EXACT, HEDGED, OPENED, S

DAY_S = 86_400
TODAY = OPENED // S // DAY_S  # Tuesday, 22:13:20 UTC; Wednesday 01:13:20 in Moscow
BID, ASK = 112_569, 112_571
MINUTE = 60 * S

# --- against the venue -----------------------------------------------------------------------------------------

HOURS = st.sampled_from(
    [
        {},
        {"hours": ((2 * DAY_S, 3 * DAY_S),)},
        {"hours": ((2 * DAY_S, 2 * DAY_S + 22 * 3_600), (2 * DAY_S + 23 * 3_600, 3 * DAY_S))},
        {"hours": ((3 * DAY_S, 4 * DAY_S),), "zone": "Europe/Moscow"},
        {"hours": ((3 * DAY_S, 4 * DAY_S),), "zone": "America/New_York"},
    ]
)
HOLIDAYS = st.sampled_from(
    [
        (),
        (Rest(day=TODAY),),
        (Rest(day=TODAY, end_s=22 * 3_600),),
        (Rest(day=TODAY + 1, zone="Europe/Moscow"),),
        (Rest(day=TODAY + 1, zone="America/New_York"),),
    ]
)
TERMS = st.builds(
    lambda hours, **fields: Terms(**hours, **fields),
    hours=HOURS,
    holidays=HOLIDAYS,
    mode=st.sampled_from([0, 0, 0, 1, 2, 3]),
    short_selling=st.booleans(),
    stop_points=st.sampled_from([0, 1, 150]),
    target_points=st.sampled_from([0, 1, 150]),
    guaranteed_points=st.sampled_from([0, 2, 250]),
    distances_in_percent=st.booleans(),
    percent_hundredths=st.booleans(),
    guaranteed=st.booleans(),
)
ACCOUNTS = st.builds(
    AccountSpec, account_id=st.just(HEDGED), hedged=st.booleans(), limited_risk=st.booleans(), balance=st.just(10**9)
)
ORDERS = st.fixed_dictionaries(
    {
        "side": st.sampled_from(Side),
        "order_type": st.sampled_from([OrderType.MARKET, OrderType.MARKET, OrderType.LIMIT, OrderType.STOP]),
        "volume_e2": st.sampled_from([500_000, 1_000_000, 1_500_000]),
        "stop": st.sampled_from([0, 1, 40, 149, 150, 300, 1_500]),
        "target": st.sampled_from([0, 1, 40, 149, 150, 300, 1_500]),
    }
)


def rig_with(account, execution=EXACT, **terms):
    rig = Rig("EURUSD", account=account, execution=execution, **terms)
    rig.quote(BID, ASK)
    rig.connect()
    assert rig.learn()
    assert rig.begin()
    return rig


def command_of(rig, side, order_type, stop, target, **fields):
    """An order with levels so many points away from where it would open; resting ones lie 500 points off."""
    entry = ASK if side > 0 else BID
    if order_type is not OrderType.MARKET:
        away = 500 * side * (1 if order_type is OrderType.STOP else -1)
        entry += away
        fields["limit_e5" if order_type is OrderType.LIMIT else "trigger_e5"] = entry
        fields["time_in_force"] = TimeInForce.GTC
    if stop:
        fields["stop_loss_e5"] = entry - side * stop
    if target:
        fields["take_profit_e5"] = entry + side * target
    return rig.command(side=side, order_type=order_type, **fields)


def unchecked(known):
    """A symbol of which nothing is known that could keep an order back."""
    return msgspec.structs.replace(
        known, trading_mode=TradingMode.ENABLED, hours=Hours(), short_selling=True, stop_distance=0,
        target_distance=0, guaranteed_distance=0, guaranteed_stop=True,
    )  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(account=ACCOUNTS, terms=TERMS, held=st.sampled_from([None, *Side]), wanted=ORDERS)
def test_no_order_is_kept_back_that_the_broker_would_take_and_none_sent_that_it_certainly_refuses(
    account, terms, held, wanted
):
    rig = rig_with(account, terms={"EURUSD": Terms(guaranteed=True)})
    if held is not None:
        rig.send(command_of(rig, held, OrderType.MARKET, 400, 0, volume_e2=1_000_000))
        assert rig.account.open_against_e2("EURUSD", held.opposite) == 1_000_000
    rig.carry(rig.end.send(rig.venue.change_symbol("EURUSD", terms, rig.now), rig.now))
    assert rig.read_symbols()
    command, known = command_of(rig, **wanted), rig.specifications[1]
    against = 0 if account.hedged else rig.account.open_against_e2("EURUSD", command.side)
    checked = new_order(command, known, rig.holder, rig.utc_ns, against)
    request = new_order(command, unchecked(known), rig.holder, rig.utc_ns, against)
    if isinstance(request, Refusal):
        assert account.limited_risk, "nothing else is wrong with the form of it"
        assert not wanted["stop"]
        return
    answer = rig.ask(request)
    code = answer.code if isinstance(answer, events.RefusedBy) else ""
    if isinstance(checked, Refusal):
        assert code, f"kept back, and the broker took it: {checked}"
        assert command.volume_e2 > against, f"kept back, and it opens nothing: {checked}"
    elif command.volume_e2 > against and code:
        # Percent or hundredths of a percent: what only the larger reading forbids is the broker's to refuse.
        assert code == "PROTECTION_IS_TOO_CLOSE_TO_MARKET", answer.text
        assert terms.distances_in_percent
        assert not terms.percent_hundredths


def test_the_codes_are_the_brokers():
    """One history of the property above for each thing that is checked."""
    for code, terms in (
        ("TRADING_DISABLED", Terms(mode=3)),
        ("SHORT_SELLING_NOT_ALLOWED", Terms(short_selling=False)),
        ("MARKET_CLOSED", Terms(hours=((0, DAY_S),))),
        ("SYMBOL_HAS_HOLIDAY", Terms(holidays=(Rest(day=TODAY),))),
        ("PROTECTION_IS_TOO_CLOSE_TO_MARKET", Terms(stop_points=150)),
        ("PROTECTION_IS_TOO_CLOSE_TO_MARKET", Terms(target_points=150)),
        ("PROTECTION_IS_TOO_CLOSE_TO_MARKET", Terms(stop_points=2, distances_in_percent=True)),
    ):
        rig = rig_with(AccountSpec(account_id=HEDGED), terms={"EURUSD": terms})
        command, known = command_of(rig, Side.SELL, OrderType.MARKET, 20, 20), rig.specifications[1]
        assert new_order(command, known, rig.holder, rig.utc_ns).code == code
        assert rig.ask(new_order(command, unchecked(known), rig.holder, rig.utc_ns)).code == code


# --- what ends risk --------------------------------------------------------------------------------------------

SHUT = specification_of(
    trading_mode=TradingMode.DISABLED_WITHOUT_PENDINGS_EXECUTION, short_selling=False,
    hours=Hours(schedule=((0, 1),), holidays=(Holiday(day=TODAY, recurring=False, zone="UTC"),)),
    stop_distance=10**6, target_distance=10**6, guaranteed_distance=10**6, guaranteed_stop=False,
)  # fmt: skip


def order(**fields):
    values = {
        "client_order_id": "run-1", "intent_id": "i", "strategy": "s", "symbol": "EURUSD", "side": Side.SELL,
        "order_type": OrderType.MARKET, "volume_e2": 1_000_000, "reference_e5": BID, "ts_init_ns": OPENED,
    }  # fmt: skip
    return SubmitOrder(**{**values, **fields})


def test_closing_and_protecting_a_position_are_never_kept_back():
    held = Protected(position_id=5, side=Side.BUY, volume_e2=1_000_000, guaranteed=True)
    assert close_position(order(position_id="5"), held, SHUT, HOLDER).volume == 1_000_000
    amend = AmendProtection(
        position_id="5", symbol="EURUSD", stop_loss_e5=BID - 1, take_profit_e5=0, trailing_e5=0, reason="r",
        ts_init_ns=OPENED,
    )  # fmt: skip
    (request,) = amend_protection(amend, held, SHUT, HOLDER)
    assert (request.stopLoss, request.guaranteedStopLoss) == (1.12568, True)


def test_on_a_netted_account_an_order_that_only_takes_away_is_never_kept_back():
    holder = Holder(account_id=1, hedged=False, limited_risk=True)
    assert isinstance(new_order(order(), SHUT, holder, OPENED, 999_999), Refusal)
    request = new_order(order(), SHUT, holder, OPENED, 1_000_000)
    assert (request.volume, request.HasField("guaranteedStopLoss")) == (1_000_000, False)
    assert new_order(order(stop_loss_e5=BID + 5), SHUT, holder, OPENED, 1_000_000).guaranteedStopLoss


# --- guaranteed stops and missed deals, end to end -------------------------------------------------------------


def test_on_an_account_of_limited_risk_a_stop_is_guaranteed_and_kept_so_when_it_moves():
    account = AccountSpec(account_id=HEDGED, limited_risk=True)
    rig = rig_with(account, terms={"EURUSD": Terms(guaranteed=True, guaranteed_points=100)})
    near = rig.send(command_of(rig, Side.BUY, OrderType.MARKET, 99, 0))
    assert isinstance(near, Refusal), "kept back here, not by the broker"
    assert near.code == "PROTECTION_IS_TOO_CLOSE_TO_MARKET"
    rig.send(command_of(rig, Side.BUY, OrderType.MARKET, 200, 0))
    (position_id,) = rig.account.valuation._positions
    amend = AmendProtection(
        position_id=str(position_id), symbol="EURUSD", stop_loss_e5=BID - 150, take_profit_e5=0, trailing_e5=0,
        reason="r", ts_init_ns=rig.utc_ns,
    )  # fmt: skip
    rig.send(amend)
    rig.quote(110_000, 110_002)
    closed = [fact for fact in rig.told if isinstance(fact, OrderFilled) and fact.closing]
    assert [(fact.price_e5, fact.cause, fact.level_e5) for fact in closed] == [(BID - 150, "stop_loss", BID - 150)]


def test_a_deal_that_was_missed_ends_the_order_and_is_no_fill_however_often_it_is_told():
    declines = ExecutionModel(reject_pct=100, rollover_minutes=0)
    rig = rig_with(AccountSpec(account_id=HEDGED), execution=declines, declined_as=7)
    rig.send(rig.command())
    assert [(fact.client_order_id, fact.code) for fact in rig.told if isinstance(fact, OrderRejected)] == [
        ("run-1", "REJECTED")
    ]
    rig.account.needs_recovery = True
    assert rig.recover()
    assert sum(isinstance(fact, OrderRejected) for fact in rig.told) == 1
    assert not [fact for fact in rig.told if isinstance(fact, OrderFilled)]
    assert not rig.account.needs_recovery
    assert rig.account.figures().equity == rig.account.balance == 1_000_000


# --- hours -----------------------------------------------------------------------------------------------------

AROUND = to_ns(datetime(2025, 3, 27, tzinfo=UTC))  # the last Sunday of March comes, when Berlin changes its clocks
WEEKS = st.lists(
    st.tuples(st.integers(0, 7 * 48 - 1), st.integers(1, 96)).map(
        lambda pair: (pair[0] * 1_800, min(pair[0] + pair[1], 7 * 48) * 1_800)
    ),
    min_size=1,
    max_size=4,
).map(tuple)
RESTS = st.lists(
    st.builds(
        Holiday, day=st.integers(20_173, 20_185), recurring=st.just(False), start_s=st.sampled_from([0, 7_200]),
        zone=st.sampled_from(["UTC", "Asia/Tokyo", "America/New_York"]), end_s=st.sampled_from([DAY_S, 43_200]),
    ),
    max_size=3,
).map(tuple)  # fmt: skip


@settings(deadline=None)
@given(
    schedule=WEEKS, holidays=RESTS, zone=st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata"]),
    minute=st.integers(0, 4 * 1_440),
)  # fmt: skip
def test_the_next_opening_is_the_first_moment_at_which_it_is_open(schedule, holidays, zone, minute):
    hours = Hours(schedule=schedule, zone=zone, holidays=holidays)
    now = AROUND + minute * MINUTE
    # Looked for half hour by half hour, the zones' and the holidays' own steps.
    steps = [now, *(AROUND + half * 30 * MINUTE for half in range(14 * 48) if AROUND + half * 30 * MINUTE > now)]
    first = next((moment for moment in steps if hours.open_at(moment)), None)
    assume(first is None or first - AROUND < 10 * DAY_S * S)
    told = hours.next_open_ns(now)
    assert told == first or (first is None and told > steps[-1])


def test_a_refusal_says_when_trading_opens_again():
    hours = Hours(schedule=((86_700, 172_500), (173_100, 258_900)), zone="Europe/Moscow")
    monday_evening = to_ns(datetime(2025, 6, 16, 20, 58, tzinfo=UTC))  # 23:58 in Moscow
    refusal = new_order(order(), specification_of(hours=hours), HOLDER, monday_evening)
    assert (refusal.code, refusal.text) == (
        "MARKET_CLOSED", "EURUSD is not traded at this hour; it opens at 2025-06-16 21:05:00 UTC",
    )  # fmt: skip
    rest = Holiday(day=to_ns(datetime(2024, 12, 25, tzinfo=UTC)) // (DAY_S * S), recurring=True, zone="UTC")
    christmas = to_ns(datetime(2025, 12, 25, 12, tzinfo=UTC))
    refusal = new_order(order(), specification_of(hours=Hours(holidays=(rest,))), HOLDER, christmas)
    assert (refusal.code, refusal.text) == (
        "SYMBOL_HAS_HOLIDAY", "EURUSD has a holiday; it opens at 2025-12-26 00:00:00 UTC",
    )  # fmt: skip
    never = new_order(order(), specification_of(hours=Hours(schedule=((0, 0),))), HOLDER, christmas)
    assert never.text.endswith("it does not open within two weeks")
