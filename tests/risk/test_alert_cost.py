"""Trading that costs more than expected makes entries smaller, by a rule that a journal replays to the letter."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.errors import ConfigError
from bus.messages import AlertCleared, AlertRaised, OrderFilled, SubmitOrder
from bus.values import NS_PER_DAY, NS_PER_S, OrderType, Side, default_instrument
from daemon.core import CoreSettings, StrategySettings
from daemon.replay import replay
from risk.alerts.cost import PPM, CostExceeded, CostPolicy, CostWatch, reduced_ppm
from risk.book import Book
from tests.harness.books import NOW_NS, begun, fill, order, quote
from tests.harness.paper import Day, synthetic_quotes

ALLOWANCE_E5 = 4
INSTRUMENT = default_instrument("EURUSD")


class Desk:
    """A watch with a book to value by; every trade has 10,000 units at a spread of 8 points."""

    def __init__(self, **policy):
        self.watch = CostWatch(CostPolicy(**policy), ALLOWANCE_E5)
        self.book: Book = begun(symbols=("EURUSD",))
        self.now, self.n = NOW_NS, 0

    def trade(self, slip_e5, side=Side.BUY, commission=None, spread=8, cause="order"):
        self.n += 1
        self.now += NS_PER_S
        command = order(f"c{self.n}", side, 1_000_000)
        self.watch.sent(command, quote(spread=spread), INSTRUMENT)
        # 10,000 units at 1.2 are 12,000 USD; 30.00 a million make 0.36
        deal = fill(f"D{self.n}", command, "P", command.reference_e5 + side * slip_e5, cause=cause,
                    commission=-36 if commission is None else commission, ts=self.now)  # fmt: skip
        return self.watch.filled(deal, self.book.marks.value)


def test_what_was_expected_is_half_the_spread_half_the_allowance_and_commission():
    """0.40 + 0.20 + 0.36 USD a fill; at 5 points of slippage it is 0.40 + 0.50 + 0.36, 31 % more."""
    desk = Desk(fills=10, fewest=10)
    said = [each for _ in range(10) for each in desk.trade(5)]
    (alert,) = said
    assert isinstance(alert, AlertRaised)
    assert (alert.rule, alert.subject, alert.size_ppm) == ("cost", "EURUSD", 500_000)
    assert alert.value == "12.60 against 9.60 expected, 10 fills"
    assert alert.limit == "25 % above what was expected"
    assert desk.watch.size_ppm("EURUSD") == 500_000
    assert desk.watch.size_ppm("USDJPY") == PPM


def test_what_is_within_the_bound_changes_nothing_on_either_side():
    """2 points are what is allowed for; at 4 it is 1.16 for 0.96, 20.8 % more; a gift costs less."""
    for side in Side:
        for slip in (2, 4, -50):
            desk = Desk(fills=10, fewest=10)
            assert not [each for _ in range(30) for each in desk.trade(slip, side)]


def test_a_commission_that_was_not_agreed_counts_like_slippage():
    desk = Desk(fills=10, fewest=10)
    assert [each for _ in range(10) for each in desk.trade(2, commission=-36 - 25)]


def test_it_is_over_at_half_the_bound_and_size_is_whole_again():
    desk = Desk(fills=10, fewest=10)
    raised = [each for _ in range(10) for each in desk.trade(5)]
    said = [each for _ in range(3) for each in desk.trade(4)]
    assert said == [], "21 % and more: between breach and all-clear"
    said = [each for _ in range(10) for each in desk.trade(1)]
    (over,) = said
    assert isinstance(over, AlertCleared)
    assert over.ts_raised_ns == raised[0].ts_init_ns
    assert desk.watch.size_ppm("EURUSD") == PPM


def test_deals_of_stops_and_of_orders_that_nobody_remembers_say_nothing():
    desk = Desk(fills=10, fewest=1)
    assert not [each for _ in range(30) for each in desk.trade(500, cause="stop_loss")]
    strange = fill("D", order("never sent"), "P", 130_000)
    assert not desk.watch.filled(strange, desk.book.marks.value)
    assert not desk.watch.filled(fill("D", order("x"), "P", 1), lambda *_: None)


def test_fills_that_are_too_old_are_forgotten_so_a_size_of_nothing_is_not_for_ever():
    desk = Desk(fills=10, fewest=10, size_pct=0, days=7)
    assert [each for _ in range(10) for each in desk.trade(9)]
    assert desk.watch.size_ppm("EURUSD") == 0
    assert desk.watch.aged("EURUSD", desk.now + 6 * NS_PER_DAY) == []
    (over,) = desk.watch.aged("EURUSD", desk.now + 7 * NS_PER_DAY)
    assert isinstance(over, AlertCleared)
    assert desk.watch.size_ppm("EURUSD") == PPM
    assert desk.watch.aged("EURUSD", desk.now + 9 * NS_PER_DAY) == []


@settings(deadline=None)
@given(slips=st.lists(st.integers(-20, 40), max_size=120), fills=st.integers(1, 12))
def test_it_is_raised_and_cleared_as_the_sums_of_the_newest_fills_say(slips, fills):
    desk = Desk(fills=fills, fewest=fills)
    newest, is_open = [], False
    for slip in slips:
        said = desk.trade(slip)
        # in cents, twice: half the spread, half the allowance and the commission, against what it was
        newest = [*newest, (80 + 40 + 72, 80 + 20 * slip + 72)][-fills:]
        expected, met = (sum(column) for column in zip(*newest, strict=True))
        wanted = is_open
        if not is_open:
            wanted = len(newest) == fills and met * 100 > expected * 125
        elif met * 200 <= expected * 225:
            wanted = False
        assert [type(each) for each in said] == ([] if wanted == is_open else [AlertRaised if wanted else AlertCleared])
        is_open = wanted
        assert desk.watch.size_ppm("EURUSD") == (500_000 if is_open else PPM)


def test_two_rules_each_leave_a_part():
    assert reduced_ppm(500_000, 500_000) == 250_000
    assert reduced_ppm(PPM, PPM) == PPM
    assert reduced_ppm(333_333, 1) == 0


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        ({"fewest": 30}, "alerts.cost.fewest = 30: more than alerts.cost.fills = 20"),
        ({"size_pct": 101}, "alerts.cost.size_pct = 101: must lie between 0 and 100 (0 = no entries)"),
    ],
)
def test_impossible_policies_are_refused(policy, says):
    with pytest.raises(ConfigError) as error:
        CostPolicy(**policy)
    assert str(error.value).startswith(says)


# --- to the letter ---------------------------------------------------------------------------------------------


def meets(prices, commission=-36, volume=1_000_000, **fields):
    """A watch that has seen one fill, at a price so many points from what was seen, and what it says of it."""
    watch = CostWatch(CostPolicy(fewest=1, fills=1, **fields), ALLOWANCE_E5)
    command = order("c", volume=volume)
    watch.sent(command, quote(spread=8), INSTRUMENT)
    deal = fill("D", command, "P", command.reference_e5 + prices, commission=commission, ts=NOW_NS + 5)
    return watch, watch.filled(deal, begun(symbols=("EURUSD",)).marks.value)


def test_an_alert_of_cost_and_its_end_say_everything_about_themselves():
    """0.40 + 0.20 + 0.36 are expected; at 5 points of slippage it is 1.26, and at 1 point 0.86."""
    watch, said = meets(5, size_pct=30)
    alert = AlertRaised(rule="cost", subject="EURUSD", severity="warning", value="1.26 against 0.96 expected, 1 fills",
                        limit="25 % above what was expected", advice=CostExceeded.advice, ts_init_ns=NOW_NS + 5,
                        size_ppm=300_000)  # fmt: skip
    assert said == [alert]
    assert watch.open == {"EURUSD": alert}
    command = order("d", volume=1_000_000)
    watch.sent(command, quote(spread=8), INSTRUMENT)
    deal = fill("E", command, "P", command.reference_e5 + 1, commission=-36, ts=NOW_NS + 9)
    over = AlertCleared(rule="cost", subject="EURUSD", severity="warning", limit=alert.limit,
                        ts_raised_ns=NOW_NS + 5, ts_init_ns=NOW_NS + 9,
                        value="0.86 against 0.96 expected, 1 fills")  # fmt: skip
    assert watch.filled(deal, begun(symbols=("EURUSD",)).marks.value) == [over]
    assert watch.open == {}


def test_cost_is_exceeded_above_the_bound_and_over_at_half_of_it_to_the_cent():
    """Of 100,000 units 9.60 are expected: 25 % more are 12.00, 12.5 % more are 10.80. The spread alone is 4.00."""
    lots = 10_000_000
    assert meets(0, commission=-800, volume=lots)[1] == []
    watch, said = meets(0, commission=-801, volume=lots)
    assert said[0].value == "12.01 against 9.60 expected, 1 fills"
    for n, (commission, wanted) in enumerate(((-681, []), (-680, ["10.80 against 9.60 expected, 1 fills"]))):
        command = order(f"e{n}", volume=lots)
        watch.sent(command, quote(spread=8), INSTRUMENT)
        deal = fill(f"E{n}", command, "P", command.reference_e5, commission=commission)
        assert [each.value for each in watch.filled(deal, begun(symbols=("EURUSD",)).marks.value)] == wanted


def test_too_few_fills_say_nothing_and_end_what_more_of_them_said():
    desk = Desk(fills=3, fewest=3, days=1)
    assert [desk.trade(9) for _ in range(2)] == [[], []]
    (alert,) = desk.trade(9)
    assert alert.value.endswith(", 3 fills")
    oldest = desk.now - 2 * NS_PER_S
    assert desk.watch.aged("EURUSD", oldest + NS_PER_DAY) == [], "a day old to the nanosecond is young enough"
    later = oldest + NS_PER_S + NS_PER_DAY  # now the second one is that old
    (over,) = desk.watch.aged("EURUSD", later)
    assert over.value == "3.32 against 1.92 expected, 2 fills"
    assert (over.ts_raised_ns, over.ts_init_ns) == (alert.ts_init_ns, later)
    assert desk.watch.aged("EURUSD", oldest + 9 * NS_PER_DAY) == []
    assert desk.watch.aged("EURUSD", oldest + 9 * NS_PER_DAY) == []
    assert desk.watch.aged("USDJPY", oldest) == []


def test_symbols_are_watched_apart():
    watch, said = meets(5)
    assert len(said) == 1
    command = order("j", symbol="USDJPY", volume=1_000_000)
    watch.sent(command, quote("USDJPY", spread=8), default_instrument("USDJPY"))
    deal = fill("J", command, "P", command.reference_e5, commission=0)
    assert watch.filled(deal, begun().marks.value) == []
    assert list(watch.open) == ["EURUSD"]


@pytest.mark.parametrize("missing", [0, 1, 2, None])
def test_a_fill_whose_cost_cannot_be_valued_is_not_counted(missing):
    watch = CostWatch(CostPolicy(fewest=1), ALLOWANCE_E5)
    command = order("c", volume=1_000_000)
    watch.sent(command, quote(spread=8), INSTRUMENT)
    asked = []

    def value(symbol, amount):
        asked.append((symbol, amount))
        return None if len(asked) - 1 == missing else 10 * len(asked)

    deal = fill("D", command, "P", command.reference_e5 + 5)
    assert bool(watch.filled(deal, value)) is False
    charge = 2 * 1_000_000 * 3_000 * 120_000 // 10**8
    assert asked == [("EURUSD", 12_000_000), ("EURUSD", charge), ("EURUSD", 18_000_000)]
    assert len(watch.aged("EURUSD", NOW_NS)) == 0


def test_only_market_orders_that_saw_a_quote_are_held_against_it():
    value = begun(symbols=("EURUSD",)).marks.value
    for seen, kind in ((None, OrderType.MARKET), (quote(), OrderType.LIMIT)):
        watch = CostWatch(CostPolicy(fewest=1), ALLOWANCE_E5)
        command = order("c", kind=kind, limit_e5=120_000)
        watch.sent(command, seen, INSTRUMENT)
        assert watch.filled(fill("D", command, "P", 130_000), value) == []


def test_the_last_thousand_orders_are_remembered():
    value = begun(symbols=("EURUSD",)).marks.value
    watch = CostWatch(CostPolicy(fewest=1), ALLOWANCE_E5)
    commands = [order(f"c{n}") for n in range(1_001)]
    for command in commands:
        watch.sent(command, quote(), INSTRUMENT)
    assert watch.filled(fill("D", commands[0], "P", 130_000), value) == []
    assert len(watch.filled(fill("E", commands[1], "P", 130_000), value)) == 1


def test_as_few_fills_as_are_counted_may_say_something():
    assert CostPolicy(fewest=20, fills=20).fewest == 20
    with pytest.raises(ConfigError) as error:
        CostPolicy(fewest=21)
    assert str(error.value) == "alerts.cost.fewest = 21: more than alerts.cost.fills = 20; write at most that"


# --- through the core ------------------------------------------------------------------------------------------


def dear_day(folder, cost, **more):
    """A day whose quotes move much faster than orders travel: every fill slips, up or down."""
    settings_ = CoreSettings(strategies=(StrategySettings(name="interval"),), cost=cost, slippage_allowance_e5=0)
    return Day(folder, synthetic_quotes(900, **more), settings=settings_).run()


EASY = CostPolicy(over_pct=1, fewest=1, fills=2)


@pytest.fixture(scope="module")
def reduced(tmp_path_factory):
    return dear_day(tmp_path_factory.mktemp("reduced") / "journal", EASY, spread_e5=8)


def test_size_is_halved_from_the_alert_on_and_the_journal_says_so(reduced, tmp_path):
    plain = dear_day(tmp_path / "plain", None)
    alerts = reduced.messages(AlertRaised, AlertCleared)
    if not alerts:
        pytest.fail("the day was not dear enough to test anything")
    first = alerts[0]
    entries = [each for each in reduced.messages(SubmitOrder) if not each.position_id]
    whole = {each.intent_id: each for each in plain.messages(SubmitOrder) if not each.position_id}
    before = [each for each in entries if each.ts_init_ns < first.ts_init_ns]
    after = next(each for each in entries if each.ts_init_ns > first.ts_init_ns)
    assert all(each.volume_e2 == whole[each.intent_id].volume_e2 for each in before)
    step = INSTRUMENT.step_volume_e2
    assert abs(after.volume_e2 - whole[after.intent_id].volume_e2 // 2) <= step
    assert plain.messages(OrderFilled)


def test_a_replay_makes_the_same_alerts_and_the_same_sizes(reduced):
    result = replay(reduced.folder)
    assert result.identical
    assert result.decisions_sha256 == reduced.decisions


def test_a_run_from_before_there_was_such_a_rule_decides_as_it_did():
    old = msgspec.json.decode(msgspec.json.encode(CoreSettings()))
    del old["cost"]
    assert msgspec.convert(old, CoreSettings).cost is None
