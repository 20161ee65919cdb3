"""What single limits are for: times, news, rates, slippage, losses in a row, currency legs, scopes."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.calendar import minute_of_week, to_ns, week_end_ns
from bus.errors import ConfigError
from bus.messages import CancelOrder, IntentRefused, NewsEvent
from bus.values import NS_PER_DAY, NS_PER_S, Side
from risk.gate import review
from risk.holding import must_close
from risk.policies.hours import Hours
from risk.policies.losses import Losses
from risk.policies.news import News
from risk.policies.orders import Orders
from risk.policies.scopes import CurrencyLimits, StrategyLimits, SymbolLimits
from risk.policies.sizes import Sizes
from risk.policies.streaks import Streaks
from risk.policy import Policy
from risk.sizing import SizingSettings
from tests.harness.books import NOW_NS, account, begun, entry, fill, opened, order, quote, switched_off

FIXED = SizingSettings(method="fixed", fixed_lots_e2=10)
MINUTE_NS = 60 * NS_PER_S


def answer(policy, book=None, now_ns=NOW_NS, **fields):
    return review(entry(**fields), book or begun(), policy, FIXED, now_ns, client_order_id="c")


def rule(*args, **kwargs):
    given_answer = answer(*args, **kwargs)
    return given_answer.rule if isinstance(given_answer, IntentRefused) else "accepted"


def at(*parts):
    return to_ns(datetime(*parts, tzinfo=UTC))


# --- times -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sessions", "moment", "inside"),
    [
        (("Mon-Fri 08:00-17:30",), (2018, 5, 1, 7, 59), False),
        (("Mon-Fri 08:00-17:30",), (2018, 5, 1, 8, 0), True),
        (("Mon-Fri 08:00-17:30",), (2018, 5, 1, 17, 29, 59), True),
        (("Mon-Fri 08:00-17:30",), (2018, 5, 1, 17, 30), False),
        (("Mon-Fri 08:00-17:30",), (2018, 5, 5, 12, 0), False),
        (("Fri 22:00-02:00",), (2018, 5, 5, 1, 59), True),
        (("Fri 22:00-02:00",), (2018, 5, 5, 2, 0), False),
        (("Sun 22:00-02:00",), (2018, 5, 7, 1, 0), True),
        (("Sat-Mon 10:00-24:00",), (2018, 5, 6, 23, 59), True),
        (("Mon 00:00-01:00", "Tue 09:00-10:00"), (2018, 5, 1, 9, 30), True),
    ],
)
def test_entries_are_made_within_sessions_of_the_zone(sessions, moment, inside):
    policy = switched_off(hours=Hours(zone="UTC", sessions=sessions))
    assert rule(policy, now_ns=at(*moment) + 7 * NS_PER_DAY) == ("accepted" if inside else "session_hours")


def test_a_session_follows_its_zone_through_a_change_of_clocks():
    winter, summer = at(2018, 3, 9, 13, 30), at(2018, 3, 12, 12, 30)
    assert minute_of_week(winter, "America/New_York") % 1_440 == minute_of_week(summer, "America/New_York") % 1_440


def test_a_symbol_may_have_sessions_of_its_own_besides():
    late = SymbolLimits(sessions=("Mon-Fri 16:00-17:00",))
    policy = switched_off(hours=Hours(zone="UTC", sessions=("Mon-Fri 08:00-17:30",)), symbols={"EURUSD": late})
    assert rule(policy) == "session_hours"
    assert rule(policy, symbol="GBPUSD") == "accepted"


@pytest.mark.parametrize("text", ["Mon 8:00-9:00", "Mon-Fry 08:00-09:00", "Mon 08:00-08:00", "Mon 08:60-09:00",
                                  "Mon 24:00-25:00", "08:00-09:00", "Mon 08:00-24:30"])  # fmt: skip
def test_what_is_no_session_is_refused_with_an_example(text):
    with pytest.raises(ConfigError, match=r"risk\.hours\.sessions: .* is no session; write for instance 'Mon-Fri"):
        Hours(sessions=(text,))
    with pytest.raises(ConfigError, match=r"risk\.hours\.zone = 'Mars'"):
        Hours(zone="Mars")


ROLLOVER_NS = at(2018, 5, 1, 21, 0)


@pytest.mark.parametrize(
    ("minutes", "refused"), [(-6, False), (-5, True), (0, True), (29, True), (30, False), (60, False)]
)
def test_around_the_rollover_nothing_is_entered(minutes, refused):
    policy = switched_off(hours=Hours(rollover_before_min=5, rollover_after_min=30))
    assert rule(policy, now_ns=ROLLOVER_NS + minutes * MINUTE_NS) == ("rollover" if refused else "accepted")


WEEK_END_NS = at(2018, 5, 4, 21, 0)


@pytest.mark.parametrize(
    ("minutes", "refused"),
    [(-61, False), (-60, True), (-1, True), (0, True), (24 * 60, True), (48 * 60, True), (48 * 60 + 29, True),
     (48 * 60 + 30, False)],
)  # fmt: skip
def test_the_weekend_begins_before_the_week_ends_and_ends_after_the_next_has_begun(minutes, refused):
    assert week_end_ns(NOW_NS) == WEEK_END_NS
    policy = switched_off(hours=Hours(weekend_entries_min=60, weekend_flat_min=15, week_open_min=30))
    now_ns = WEEK_END_NS + minutes * MINUTE_NS
    assert rule(policy, now_ns=now_ns) == ("weekend" if refused else "accepted")
    book = begun()
    always = msgspec.structs.replace(book.instruments["EURUSD"], session="always")
    book.instruments["EURUSD"] = always
    assert rule(policy, book, now_ns) == "accepted"


def test_positions_are_closed_before_the_weekend_and_after_their_longest_time():
    book = begun()
    opened(book)
    (position,) = book.positions.values()
    instrument = book.instruments["EURUSD"]
    flat = switched_off(hours=Hours(weekend_flat_min=15))
    assert must_close(position, instrument, flat, WEEK_END_NS - 15 * MINUTE_NS - 1) == ""
    assert must_close(position, instrument, flat, WEEK_END_NS - 15 * MINUTE_NS) == "weekend"
    always = msgspec.structs.replace(instrument, session="always")
    assert must_close(position, always, flat, WEEK_END_NS) == ""

    for short in (
        switched_off(orders=Orders(max_holding_s=60)),
        switched_off(symbols={"EURUSD": SymbolLimits(max_holding_s=60)}),
        switched_off(orders=Orders(max_holding_s=600), strategies={"s": StrategyLimits(max_holding_s=60)}),
    ):
        assert must_close(position, instrument, short, NOW_NS + 60 * NS_PER_S) == ""
        assert must_close(position, instrument, short, NOW_NS + 60 * NS_PER_S + 1) == "held too long"
    position.ts_open_ns = position.ts_told_ns = 0
    assert must_close(position, instrument, short, NOW_NS + NS_PER_DAY) == ""


# --- news ------------------------------------------------------------------------------------------------------


def event(minutes, currency="USD", impact=3):
    return NewsEvent(ts_ns=NOW_NS + minutes * MINUTE_NS, currency=currency, impact=impact, title="Payrolls")


def told(*events):
    book = begun()
    book.record.scheduled(events)
    return book


BLACKOUT = News(file="calendar.csv", before_min=15, after_min=5)


@pytest.mark.parametrize(
    ("events", "settings", "refused"),
    [
        ([event(15)], BLACKOUT, True),
        ([event(16)], BLACKOUT, False),
        ([event(-5)], BLACKOUT, True),
        ([event(-6)], BLACKOUT, False),
        ([event(3, "JPY")], BLACKOUT, False),
        ([event(3, "EUR")], BLACKOUT, True),
        ([event(3, impact=2)], BLACKOUT, False),
        ([event(3, impact=2)], msgspec.structs.replace(BLACKOUT, impact="medium"), True),
        ([event(3)], msgspec.structs.replace(BLACKOUT, currencies=("EUR",)), False),
        ([event(-9_000), event(-8_000, impact=1), event(10, impact=1), event(14)], BLACKOUT, True),
        ([event(-8 * 1_440 - 1)], BLACKOUT, True),
        ([event(-8 * 1_440 - 1)], msgspec.structs.replace(BLACKOUT, runs_out_days=0), False),
        ([event(-8 * 1_440 + 1, "JPY")], BLACKOUT, False),
        ([], BLACKOUT, True),
        ([event(0)], News(), False),
    ],
)
def test_around_events_of_its_currencies_nothing_is_entered_and_a_calendar_that_ran_out_is_none(
    events, settings, refused
):
    assert rule(switched_off(news=settings), told(*events)) == ("news" if refused else "accepted")


def test_without_its_calendar_the_blackout_holds_all_the_time():
    refused = answer(switched_off(news=BLACKOUT))
    assert (refused.rule, refused.value, refused.would_pass) == ("news", "no calendar", "events from calendar.csv")


def test_a_blackout_without_a_calendar_is_no_setting():
    with pytest.raises(ConfigError, match=r"risk\.news\.file is empty, so before_min and after_min would do nothing"):
        News(before_min=1)
    with pytest.raises(ConfigError, match=r"risk\.news\.currencies: 'usd' is no currency"):
        News(currencies=("usd",))


# --- rates, slippage, losses in a row ---------------------------------------------------------------------------


def test_cancels_of_the_last_minute_count_and_are_never_refused_themselves():
    book = begun()
    for n in range(2):
        book.sent(order(f"o{n}"), NOW_NS)
        book.sent(CancelOrder(client_order_id=f"o{n}", symbol="EURUSD", reason="", ts_init_ns=NOW_NS), NOW_NS)
    assert rule(switched_off(orders=Orders(max_cancels_per_minute=2)), book) == "cancel_rate"
    assert rule(switched_off(orders=Orders(max_cancels_per_minute=3)), book) == "accepted"
    of_strategy = switched_off(strategies={"s": StrategyLimits(max_cancels_per_minute=2)})
    assert rule(of_strategy, book) == "cancel_rate"
    assert rule(of_strategy, book, now_ns=NOW_NS + MINUTE_NS) == "accepted"
    assert rule(of_strategy, book, strategy="other") == "accepted"


def test_slippage_is_what_fills_were_worse_than_meant_and_what_others_gave_back_does_not_count():
    book = begun()
    worse = opened(book, "a", "P1", volume=1_000_000, price=120_010)  # ten points worse than the decision saw: 1.00
    opened(book, "b", "P2", volume=1_000_000, price=119_000)
    closing = fill("D9", msgspec.structs.replace(worse, side=Side.SELL), "P1", 119_480, closing=True, cause="stop_loss",
                   level_e5=119_500)  # fmt: skip
    assert book.record.tally(("account", "")).spent == 100
    book.fold(closing)  # twenty points below the level of its stop: 2.00
    assert book.record.tally(("account", "")).spent == book.record.tally(("strategy", "s")).spent == 300
    book.fold(closing)
    assert book.record.tally(("symbol", "EURUSD")).spent == 300
    budget = switched_off(orders=Orders(slippage_budget_pct_e2=3))
    assert rule(budget, book) == "slippage_budget"
    assert rule(switched_off(orders=Orders(slippage_budget_pct_e2=4)), book) == "accepted"
    book.turn(NOW_NS + NS_PER_DAY)
    assert rule(budget, book, now_ns=NOW_NS + NS_PER_DAY) == "accepted"


def lose(book, n, result, ts=NOW_NS):
    command = opened(book, f"c{n}", f"P{n}")
    closing = msgspec.structs.replace(command, side=Side.SELL)
    book.fold(fill(f"X{n}", closing, f"P{n}", 120_000, closing=True, gross_profit=result, ts=ts))


def test_after_losses_in_a_row_entries_pause_and_a_win_ends_the_row():
    policy = switched_off(streaks=Streaks(max_consecutive_losses=2, cool_down_s=600))
    book = begun()
    lose(book, 1, -5)
    lose(book, 2, 0)
    assert rule(policy, book) == "accepted"
    lose(book, 3, -5)
    assert rule(policy, book) == "losing_streak"
    assert rule(policy, book, now_ns=NOW_NS + 600 * NS_PER_S - 1) == "losing_streak"
    assert rule(policy, book, now_ns=NOW_NS + 600 * NS_PER_S) == "accepted"
    lose(book, 4, -1, ts=NOW_NS + 700 * NS_PER_S)
    assert rule(policy, book, now_ns=NOW_NS + 700 * NS_PER_S) == "losing_streak"
    lose(book, 5, 1, ts=NOW_NS + 701 * NS_PER_S)
    assert rule(policy, book, now_ns=NOW_NS + 701 * NS_PER_S) == "accepted"


def test_a_pause_of_0_lasts_until_the_next_trading_day():
    policy = switched_off(streaks=Streaks(max_consecutive_losses=1, cool_down_s=0))
    book = begun()
    lose(book, 1, -5)
    assert rule(policy, book, now_ns=NOW_NS + NS_PER_DAY) == "losing_streak"
    book.turn(ROLLOVER_NS)
    assert rule(policy, book, now_ns=ROLLOVER_NS) == "accepted"


def test_what_a_position_lost_in_parts_is_one_loss():
    book = begun()
    command = opened(book, volume=200_000)
    closing = msgspec.structs.replace(command, side=Side.SELL)
    book.fold(fill("X1", closing, "P1", 120_000, volume=100_000, closing=True, remaining=100_000, gross_profit=-9))
    assert book.record.tally(("account", "")).losses == 0
    book.fold(fill("X2", closing, "P1", 120_000, volume=100_000, closing=True, gross_profit=4))
    assert book.record.tally(("account", "")).losses == 1


# --- sizes -----------------------------------------------------------------------------------------------------


def test_a_currency_leg_adds_up_through_symbols_and_sides():
    book = begun()
    book.sent(order("a", Side.BUY, 500_000, "GBPUSD"), NOW_NS)  # sells 6,800 dollars
    book.sent(order("b", Side.SELL, 300_000, "USDJPY"), NOW_NS)  # sells 3,000 more; the entry sells 12,000
    assert rule(switched_off(sizes=Sizes(max_currency_pct_equity=219)), book) == "accepted"
    refused = answer(switched_off(sizes=Sizes(max_currency_pct_equity=217)), book)
    assert (refused.rule, refused.limit, refused.value) == ("currency_exposure", "217 % of equity in USD", "218.0 %")
    own = switched_off(currencies={"USD": CurrencyLimits(max_currency_pct_equity=217)})
    assert rule(own, book) == "currency_exposure"
    assert rule(own, book, symbol="EURGBP") == "accepted"
    looser = msgspec.structs.replace(own, sizes=Sizes(max_currency_pct_equity=100))
    assert answer(looser, book, symbol="EURGBP").rule == "currency_exposure"


def test_margin_in_use_free_margin_and_the_number_of_positions():
    book = begun()
    opened(book)
    book.sent(order("zz"), NOW_NS)
    assert rule(switched_off(sizes=Sizes(max_open_positions=2)), book) == "open_positions"
    assert rule(switched_off(sizes=Sizes(max_open_positions=3)), book) == "accepted"
    assert rule(switched_off(sizes=Sizes(max_margin_use_pct=4)), book) == "margin_use"  # 14,400 at 30 on 10,000
    assert rule(switched_off(sizes=Sizes(max_margin_use_pct=5)), book) == "accepted"
    assert rule(switched_off(sizes=Sizes(min_free_margin=9_520)), book) == "free_margin"
    assert rule(switched_off(sizes=Sizes(min_free_margin=9_510)), book) == "accepted"


@pytest.mark.parametrize(
    ("key", "limit", "name"),
    [
        ("max_exposure_pct_equity", 239, "exposure"),
        ("max_leverage_pct", 239, "leverage"),
        ("max_position_pct_equity", 239, "position_size"),
        ("max_margin_use_pct", 7, "margin_use"),
        ("max_open_positions", 1, "open_positions"),
        ("max_orders_per_minute", 1, "order_rate"),
    ],
)
@pytest.mark.parametrize("scope", ["symbols", "strategies"])
def test_a_scope_counts_what_is_its_own(scope, key, limit, name):
    kind, mine, others = {"symbols": (SymbolLimits, "EURUSD", {"symbol": "GBPUSD"}),
                          "strategies": (StrategyLimits, "s", {"strategy": "other"})}[scope]  # fmt: skip
    book = begun()
    book.sent(order("zz", volume=1_000_000), NOW_NS)
    policy = switched_off(**{scope: {mine: kind(**{key: limit})}})
    refused = answer(policy, book)
    assert refused.rule == name
    assert mine in refused.limit
    assert rule(policy, book, **others) == "accepted"
    assert rule(policy, begun()) == "accepted"


def test_a_strategy_that_lost_its_part_of_the_day_enters_no_more_until_the_next():
    policy = switched_off(strategies={"s": StrategyLimits(daily_loss_pct_e2=10)})
    book = begun()
    opened(book, volume=1_000_000, commission=0)
    book.mark(quote(bid=119_901))
    near = {"reference_e5": 119_909, "stop_loss_e5": 119_000, "take_profit_e5": 0}
    assert rule(policy, book, **near) == "accepted"
    book.mark(quote(bid=119_900))
    assert rule(policy, book, **near) == "scope_loss"
    assert rule(policy, book, strategy="other", **near) == "accepted"
    book.turn(ROLLOVER_NS)
    assert rule(policy, book, now_ns=ROLLOVER_NS, **near) == "accepted"
    book.mark(quote(bid=119_800))
    assert rule(policy, book, now_ns=ROLLOVER_NS, **(near | {"reference_e5": 119_808})) == "scope_loss"


@given(st.integers(1, 10**18))
def test_a_clock_that_runs_backwards_refuses_whatever_else_is_allowed(back_ns):
    assert rule(switched_off(), now_ns=NOW_NS - min(back_ns, NOW_NS)) == "clock"
    later = entry(ts_init_ns=NOW_NS + back_ns)
    refused = review(later, begun(), switched_off(), FIXED, NOW_NS, client_order_id="c")
    assert refused.rule == "clock"


# --- losses ----------------------------------------------------------------------------------------------------


def test_a_broken_floor_refuses_with_what_would_pass_and_cash_moves_it():
    losses = Losses(static_drawdown_pct_e2=100)
    policy = switched_off(losses=losses)
    book = begun()
    opened(book, volume=1_000_000, commission=0)
    book.mark(quote(bid=119_000))
    refused = answer(policy, book, reference_e5=119_008, stop_loss_e5=118_000, take_profit_e5=0)
    assert (refused.rule, refused.limit) == ("static_drawdown", "1.00 % of 1000000")
    assert refused.value == "10000 lost, 1.00 % since the initial balance"
    assert refused.would_pass == "equity above 990000, or a resume"


def test_days_of_a_named_zone_begin_there():
    policy = Policy(losses=Losses(day_zone="Europe/Prague", day_hour=0))
    from risk.book import Book

    book = Book(currency="USD", money_digits=2, leverage=30, hedged=True,
                instruments=tuple(begun().instruments.values()), policy=policy)  # fmt: skip
    book.apply_snapshot(account())
    assert book.watermarks.next_day_ns == at(2018, 5, 1, 22, 0)
    book.turn(at(2018, 5, 1, 22, 0))
    assert book.watermarks.next_day_ns == to_ns(datetime(2018, 5, 2, 22, tzinfo=UTC) + timedelta(0))


@pytest.mark.parametrize("zone", ["Prague", "", "Europe/Nowhere", "../etc"])
def test_a_zone_that_nobody_keeps_is_refused(zone):
    with pytest.raises(ConfigError, match=r"risk\.losses\.day_zone = .*is no time zone; write an IANA name"):
        Losses(day_zone=zone)
