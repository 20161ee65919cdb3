"""What limits remember and value, to the smallest unit: marks of losses, tallies of scopes, conversion rates."""

from datetime import UTC, datetime
from fractions import Fraction

import msgspec
import pytest

from bus.calendar import to_ns
from bus.messages import NewsEvent
from bus.values import LARGEST, NS_PER_DAY, NS_PER_S, Side, default_instrument
from risk.marks import Marks, possible
from risk.orders import Position
from risk.policies.losses import Losses
from risk.record import ACCOUNT, Record, Tally, in_last_minute, scopes_of
from risk.watermarks import Floor, Watermarks
from tests.harness.books import NOW_NS, SYMBOLS, quote, switched_off

MINUTE_NS = 60 * NS_PER_S


def at(*parts):
    return to_ns(datetime(*parts, tzinfo=UTC))


# --- where losses are counted from -----------------------------------------------------------------------------

ALL = switched_off(
    daily_loss_pct_e2=200, trailing_drawdown_pct_e2=300,
    losses=Losses(weekly_loss_pct_e2=400, static_drawdown_pct_e2=500, day_end_drawdown_pct_e2=600,
                  intraday_drawdown_pct_e2=700),
)  # fmt: skip
MARKS = ("initial", "peak", "day_start", "week_start", "static_mark", "day_end_peak", "intraday_peak")


def marks_of(watermarks):
    return {name: getattr(watermarks, name) for name in MARKS}


def started(policy=ALL, equity=1_000_000, balance=1_000_000, now_ns=NOW_NS):
    found = Watermarks(policy, 2)
    found.start(equity, balance, now_ns)
    return found


def with_losses(**fields):
    return msgspec.structs.replace(ALL, losses=msgspec.structs.replace(ALL.losses, **fields))


def test_before_the_start_nothing_is_marked_and_no_floor_stands():
    fresh = Watermarks(ALL, 2)
    assert set(marks_of(fresh).values()) == {0}
    assert (fresh.next_day_ns, fresh.highest_floor) == (0, -LARGEST)


@pytest.mark.parametrize(
    ("fields", "equity", "balance", "wanted"),
    [
        ({}, 990_000, 1_000_000, (1_000_000, 990_000, 990_000, 990_000, 1_000_000, 1_000_000, 1_000_000)),
        ({}, 1_010_000, 1_000_000, (1_000_000, 1_010_000, 1_010_000, 1_010_000, 1_000_000, 1_010_000, 1_010_000)),
        ({"day_from": "balance"}, 990_000, 1_000_000,
         (1_000_000, 990_000, 1_000_000, 1_000_000, 1_000_000, 1_000_000, 1_000_000)),
        ({"day_from": "balance"}, 1_010_000, 1_000_000,
         (1_000_000, 1_010_000, 1_000_000, 1_000_000, 1_000_000, 1_000_000, 1_010_000)),
        ({"day_from": "higher"}, 990_000, 1_000_000,
         (1_000_000, 990_000, 1_000_000, 1_000_000, 1_000_000, 1_000_000, 1_000_000)),
        ({"day_from": "higher"}, 1_010_000, 1_000_000,
         (1_000_000, 1_010_000, 1_010_000, 1_010_000, 1_000_000, 1_010_000, 1_010_000)),
        ({"initial_balance": 9_500}, 990_000, 1_000_000,
         (950_000, 990_000, 990_000, 990_000, 950_000, 990_000, 990_000)),
        ({"high_water": 10_400}, 990_000, 1_000_000,
         (1_000_000, 990_000, 990_000, 990_000, 1_000_000, 1_040_000, 1_040_000)),
    ],
)  # fmt: skip
def test_an_account_starts_where_it_stands_and_its_highest_points_where_it_all_began(fields, equity, balance, wanted):
    found = started(with_losses(**fields), equity, balance)
    assert tuple(marks_of(found).values()) == wanted
    assert found.next_day_ns == at(2018, 5, 1, 21)
    assert started(with_losses(day_zone="UTC", day_hour=3)).next_day_ns == at(2018, 5, 2, 3)


FLOORS = (
    Floor("daily_loss", 980_000, 1_000_000, 1_000_000, 200, "the start of the trading day"),
    Floor("trailing_drawdown", 970_000, 1_000_000, 1_000_000, 300, "the highest equity"),
    Floor("weekly_loss", 960_000, 1_000_000, 1_000_000, 400, "the start of the week"),
    Floor("static_drawdown", 950_000, 1_000_000, 1_000_000, 500, "the initial balance"),
    Floor("day_end_drawdown", 940_000, 1_000_000, 1_000_000, 600, "the highest end of a day"),
    Floor("intraday_drawdown", 930_000, 1_000_000, 1_000_000, 700, "the highest floating equity"),
)


def test_every_floor_lies_its_share_below_its_mark_and_the_highest_is_known():
    found = started()
    assert found.floors(ALL) == FLOORS
    assert found.highest_floor == 980_000
    assert found.floors(switched_off()) == ()
    assert found.highest_floor == -LARGEST
    one = switched_off(trailing_drawdown_pct_e2=1)
    assert found.floors(one) == (Floor("trailing_drawdown", 999_900, 1_000_000, 1_000_000, 1, "the highest equity"),)
    assert found.floors(ALL) == FLOORS


def test_a_floor_is_said_in_words():
    floor = Floor("daily_loss", 0, 1_000_000, 800_000, 250, "then")
    assert floor.limit == "2.50 % of 800000"
    assert msgspec.structs.replace(floor, limit_pct_e2=5_000).limit == "50.00 % of 800000"
    assert floor.lost(960_000) == "40000 lost, 5.00 %"
    assert floor.lost(200_000) == "800000 lost, 100.00 %"
    assert msgspec.structs.replace(floor, base=1).lost(999_999) == "1 lost, 100.00 %"
    for base in (0, -5):
        assert msgspec.structs.replace(floor, base=base).lost(960_000) == "40000 lost"


def test_a_floor_is_the_largest_whole_amount_that_breaks():
    marks = started(switched_off(daily_loss_pct_e2=333), equity=999_999)
    (floor,) = marks.floors(switched_off(daily_loss_pct_e2=333))
    exact = 999_999 - Fraction(999_999 * 333, 10_000)
    assert floor.at <= exact < floor.at + 1


def test_where_there_is_nothing_to_lose_a_part_of_every_loss_is_too_much():
    for equity in (0, -5):
        found = started(equity=equity, balance=equity).floors(ALL)
        assert len(found) == len(FLOORS)
        assert [floor.at for floor in found] == [floor.mark - 1 for floor in found]
        assert found[0].mark == equity
    (floor,) = started(one := switched_off(daily_loss_pct_e2=5_000), equity=1, balance=1).floors(one)
    assert floor.at == 0


def test_percentages_of_the_initial_balance_are_of_it_for_day_and_week_alone():
    policy = with_losses(percent_of="initial", initial_balance=20_000)
    found = {floor.rule: (floor.at, floor.base) for floor in started(policy).floors(policy)}
    assert found["daily_loss"] == (1_000_000 - 40_000, 2_000_000)
    assert found["weekly_loss"] == (1_000_000 - 80_000, 2_000_000)
    assert found["trailing_drawdown"] == (970_000, 1_000_000)
    assert found["static_drawdown"] == (1_900_000, 2_000_000)


def test_trailing_floors_stop_at_the_initial_balance_where_they_are_locked_and_no_other_does():
    for locked, day_end, intraday in ((True, 1_000_000, 1_000_000), (False, 1_040_000, 1_030_000)):
        policy = with_losses(lock_at_initial=locked)
        marks = started(policy, equity=1_100_000)
        found = {floor.rule: floor.at for floor in marks.floors(policy)}
        assert (found["day_end_drawdown"], found["intraday_drawdown"]) == (day_end, intraday)
        assert found["daily_loss"] == 1_078_000
        assert found["trailing_drawdown"] == 1_067_000
        assert found["weekly_loss"] == 1_056_000


def test_a_new_high_raises_the_peak_and_the_highest_floating_equity():
    marks = started(with_losses(high_water=10_400))
    marks.rise(1_020_000)
    assert (marks.peak, marks.intraday_peak) == (1_020_000, 1_040_000)
    marks.floors(ALL)
    marks.rise(1_050_000)
    assert (marks.peak, marks.intraday_peak) == (1_050_000, 1_050_000)
    found = {floor.rule: floor.mark for floor in marks.floors(ALL)}
    assert (found["trailing_drawdown"], found["intraday_drawdown"]) == (1_050_000, 1_050_000)


def test_cash_moves_every_mark_with_it_and_every_floor():
    marks = started()
    marks.rise(1_100_000)
    before = marks_of(marks)
    marks.floors(ALL)
    marks.moved(-30_000)
    assert marks_of(marks) == {name: value - 30_000 for name, value in before.items()}
    assert {floor.rule: floor.mark for floor in marks.floors(ALL)}["daily_loss"] == 970_000


def test_a_day_starts_from_what_the_last_one_left_and_a_week_with_monday_s():
    marks = started()
    marks.floors(ALL)
    marks.turn(1_020_000, 1_010_000, marks.next_day_ns)
    assert (marks.day_start, marks.week_start, marks.day_end_peak) == (1_020_000, 1_000_000, 1_020_000)
    assert marks.next_day_ns == at(2018, 5, 2, 21)
    assert {floor.rule: floor.mark for floor in marks.floors(ALL)}["daily_loss"] == 1_020_000
    marks.turn(1_005_000, 1_010_000, at(2018, 5, 4, 21))
    assert (marks.day_start, marks.week_start, marks.day_end_peak) == (1_005_000, 1_000_000, 1_020_000)
    marks.turn(1_007_000, 1_010_000, at(2018, 5, 6, 21))  # Sunday evening is Monday's
    assert (marks.day_start, marks.week_start) == (1_007_000, 1_007_000)
    marks.turn(1_009_000, 1_010_000, at(2018, 5, 7, 21))
    assert (marks.day_start, marks.week_start) == (1_009_000, 1_007_000)
    by_balance = started(with_losses(day_from="balance", day_zone="UTC", day_hour=3))
    by_balance.turn(1_020_000, 1_010_000, at(2018, 5, 2, 3))
    assert (by_balance.day_start, by_balance.next_day_ns) == (1_010_000, at(2018, 5, 3, 3))
    by_balance.turn(1_020_000, 1_015_000, at(2018, 5, 7, 3))
    assert (by_balance.week_start, by_balance.next_day_ns) == (1_015_000, at(2018, 5, 8, 3))


@pytest.mark.parametrize(
    ("equity", "broken"),
    [(980_001, set()), (960_001, set()), (960_000, {"week_start"}), (950_000, {"week_start", "static_mark"}),
     (940_000, {"week_start", "static_mark", "day_end_peak"}),
     (930_000, {"week_start", "static_mark", "day_end_peak", "intraday_peak"})],
)  # fmt: skip
def test_a_resume_starts_day_peak_and_what_is_broken_anew_and_nothing_else(equity, broken):
    marks = started()
    marks.floors(ALL)
    marks.resume(equity)
    wanted = dict.fromkeys(MARKS, 1_000_000) | dict.fromkeys({"peak", "day_start"} | broken, equity)
    assert marks_of(marks) == wanted
    assert {floor.rule: floor.mark for floor in marks.floors(ALL)}["daily_loss"] == equity
    assert not [floor for floor in marks.floors(ALL) if equity <= floor.at]


# --- tallies ---------------------------------------------------------------------------------------------------

SCOPES = (ACCOUNT, ("symbol", "EURUSD"), ("strategy", "s"))


def tallies(record, scopes=SCOPES):
    return [record.tally(scope) for scope in scopes]


def held(symbol="EURUSD", strategy="s", **fields):
    return Position(position_id="P", symbol=symbol, side=Side.BUY, strategy=strategy, **fields)


def test_what_leaves_counts_in_the_account_its_symbol_and_its_strategy():
    assert scopes_of("EURUSD", "s") == SCOPES
    record = Record()
    assert (record.tally(ACCOUNT), record.day_begin_ns, record.latest_ns) == (Tally(), 0, 0)
    record.ordered("EURUSD", "s", NOW_NS)
    record.ordered("EURUSD", "other", NOW_NS + 1)
    record.cancelled("EURUSD", "s", NOW_NS + 2)
    record.slipped("EURUSD", "s", 7)
    record.slipped("EURUSD", "s", 5)
    account, symbol, strategy = tallies(record)
    assert list(account.orders_ns) == list(symbol.orders_ns) == [NOW_NS, NOW_NS + 1]
    assert list(strategy.orders_ns) == [NOW_NS]
    for tally in (account, symbol, strategy):
        assert list(tally.cancels_ns) == [NOW_NS + 2]
        assert tally.spent == 12
    assert record.tally(("strategy", "nobody")) == Tally()


def test_the_newest_moment_is_kept_whichever_way_it_was_told():
    record = Record()
    record.ordered("EURUSD", "s", NOW_NS + 5)
    record.cancelled("EURUSD", "s", NOW_NS + 4)
    assert record.latest_ns == NOW_NS + 5
    record.cancelled("EURUSD", "s", NOW_NS + 6)
    record.ordered("EURUSD", "s", NOW_NS + 5)
    assert record.latest_ns == NOW_NS + 6
    record.booked(held(), 0, closed=False, now_ns=NOW_NS + 7)
    assert record.latest_ns == NOW_NS + 7
    record.booked(held(), 0, closed=False, now_ns=NOW_NS)
    assert record.latest_ns == NOW_NS + 7


def test_times_older_than_a_minute_are_neither_counted_nor_kept():
    record = Record()
    for second in (0, 30, 59):
        record.ordered("EURUSD", "s", NOW_NS + second * NS_PER_S)
        record.cancelled("EURUSD", "s", NOW_NS + second * NS_PER_S)
    tally = record.tally(ACCOUNT)
    for sent_ns in (tally.orders_ns, tally.cancels_ns):
        assert in_last_minute(sent_ns, NOW_NS + 59 * NS_PER_S) == 3
        assert in_last_minute(sent_ns, NOW_NS + MINUTE_NS - 1) == 3
        assert in_last_minute(sent_ns, NOW_NS + MINUTE_NS) == 2
        assert in_last_minute(sent_ns, NOW_NS + 90 * NS_PER_S) == 1
        assert in_last_minute(sent_ns, NOW_NS + 10 * MINUTE_NS) == 0
    record.ordered("EURUSD", "s", NOW_NS + MINUTE_NS)
    record.cancelled("EURUSD", "s", NOW_NS + 90 * NS_PER_S)
    seconds = [[(each - NOW_NS) // NS_PER_S for each in times] for times in (tally.orders_ns, tally.cancels_ns)]
    assert seconds == [[30, 59, 60], [59, 90]]


def test_results_count_when_a_position_is_closed_and_a_win_ends_a_row_of_losses():
    record = Record()

    def told(booked, *, closed=True, amount=None, second=0):
        position = held(booked=booked)
        record.booked(position, booked if amount is None else amount, closed=closed, now_ns=NOW_NS + second)
        return [(each.booked, each.losses, each.last_loss_ns) for each in tallies(record)]

    assert told(-5, closed=False) == [(-5, 0, 0)] * 3
    assert told(-1, amount=4, second=1) == [(-1, 1, NOW_NS + 1)] * 3
    assert told(0, second=2) == [(-1, 1, NOW_NS + 1)] * 3
    assert told(-2, second=3) == [(-3, 2, NOW_NS + 3)] * 3
    assert told(9, closed=False, second=4) == [(6, 2, NOW_NS + 3)] * 3
    assert told(1, second=5) == [(7, 0, NOW_NS + 3)] * 3
    assert record.tally(("symbol", "GBPUSD")).losses == 0


def test_a_day_begins_with_what_floats_and_with_nothing_spent():
    record = Record()
    record.slipped("EURUSD", "s", 7)
    record.booked(held(booked=-5), -5, closed=True, now_ns=NOW_NS)
    record.turn([], NOW_NS + 1)
    assert [(each.spent, each.booked, each.losses) for each in tallies(record)] == [(0, 0, 1)] * 3
    record.turn([held(profit=100, commission=-3, swap=-2), held(strategy="t", profit=-40)], NOW_NS + NS_PER_DAY)
    assert record.day_begin_ns == NOW_NS + NS_PER_DAY
    assert [each.floating_before for each in tallies(record)] == [55, 55, 95]
    assert record.tally(("strategy", "t")).floating_before == -40
    record.turn([held(profit=1)], NOW_NS + 2 * NS_PER_DAY)
    assert [each.floating_before for each in tallies(record)] == [1, 1, 1]


def test_a_calendar_that_is_told_takes_the_place_of_the_one_before():
    record = Record()
    assert record.calendar is None
    for minute in (5, 3):
        record.scheduled([NewsEvent(ts_ns=NOW_NS + minute, currency="USD", impact=3, title="x")])
        assert record.calendar.last_ns == NOW_NS + minute


# --- prices and rates ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "bounds", "wanted"),
    [(0, (), True), (-1, (), False), (LARGEST, (), True), (LARGEST + 1, (), False), (1.0, (), False), (True, (), False),
     (None, (), False), (-3, (-3, 4), True), (-4, (-3, 4), False), (4, (-3, 4), True), (5, (-3, 4), False)],
)  # fmt: skip
def test_a_number_is_possible_within_its_bounds_if_it_is_whole(value, bounds, wanted):
    assert possible(value, *bounds) is wanted


def marked(*symbols, currency="USD", digits=2, **bids):
    marks = Marks(currency, digits, [default_instrument(each) for each in symbols or SYMBOLS])
    for symbol, bid in bids.items():
        marks.quotes[symbol] = quote(symbol, bid)
    return marks


def test_a_symbol_feeds_the_assets_whose_rate_could_go_through_it():
    marks = marked("EURUSD", "USDJPY", "EURGBP", "GBPUSD", "AUDCAD", "EURJPY")
    assert marks.feeds == {
        "EURUSD": ("CAD", "GBP", "JPY"), "USDJPY": ("CAD", "GBP", "JPY"), "EURGBP": ("GBP",),
        "GBPUSD": ("CAD", "GBP", "JPY"), "AUDCAD": ("CAD",), "EURJPY": ("JPY",),
    }  # fmt: skip


def money(volume_price, rate, digits=2):
    exact = Fraction(volume_price) / 100 / 100_000 * rate * 10**digits
    down = abs(exact) // 1
    whole = int(down + (abs(exact) - down >= Fraction(1, 2)))
    return whole if exact >= 0 else -whole


@pytest.mark.parametrize("volume_price", [0, 1, -1, 49_999, 50_000, -50_000, 123_456_789, -(10**15) - 1])
@pytest.mark.parametrize("digits", [0, 2, 3])
def test_money_is_the_exact_amount_rounded_half_away_from_zero(volume_price, digits):
    marks = marked(digits=digits, USDJPY=10_900_000, GBPUSD=136_000)
    assert marks.value("EURUSD", volume_price) == money(volume_price, Fraction(1), digits)
    rate = Fraction(marks.scale_of("USDJPY")[0], 10**8)
    assert marks.scale_of("USDJPY")[0] == round(10**8 * 100_000 / 10_900_004)
    assert marks.value("USDJPY", volume_price) == money(volume_price, rate, digits)
    assert marks.scale_of("EURGBP")[0] == 136_004_000
    assert marks.value("EURGBP", volume_price) == money(volume_price, Fraction(136_004, 100_000), digits)
    _, numerator, denominator = marks.scale_of("USDJPY")
    assert Fraction(numerator, denominator) == rate * Fraction(10**digits, 10**7)
    assert Fraction(numerator, denominator).denominator == denominator  # reduced: small numbers at every quote


def test_a_rate_goes_through_two_symbols_where_no_one_links_both():
    marks = marked("AUDCAD", "EURCAD", "EURUSD", EURCAD=150_000, EURUSD=120_000)
    wanted = Fraction(120_004, 150_004)
    assert marks.scale_of("AUDCAD")[0] == round(10**8 * wanted)


def test_a_rate_is_kept_until_it_is_forgotten_and_the_last_one_known_stands():
    marks = marked(GBPUSD=136_000)
    assert marks.scale_of("EURGBP")[0] == 136_004_000
    marks.quotes["GBPUSD"] = quote("GBPUSD", 140_000)
    assert marks.scale_of("EURGBP")[0] == 136_004_000
    marks.forget(("JPY", "EUR"))
    assert marks.scale_of("EURGBP")[0] == 136_004_000
    marks.forget(("JPY", "GBP"))
    assert marks.scale_of("EURGBP")[0] == 140_004_000
    del marks.quotes["GBPUSD"]
    marks.forget(("GBP",))
    assert marks.scale_of("EURGBP")[0] == 140_004_000
    assert marks.value("EURGBP", 10**7) == 140


def test_without_a_chain_there_is_no_rate_no_money_and_no_middle():
    marks = marked(EURUSD=120_001)
    assert marks.scale_of("EURGBP") is None
    assert marks.value("EURGBP", 1) is None
    assert marks.mid_e5("EURGBP") is None
    assert marks.mid_e5("EURUSD") == 120_005
    marks.quotes["EURUSD"] = quote("EURUSD", 120_000, spread=1)
    assert marks.mid_e5("EURUSD") == 120_000
    assert marks.scale_of("EURUSD") == (10**8, 1, 10**5)
