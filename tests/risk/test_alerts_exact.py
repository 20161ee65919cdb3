"""What alerts say, to the letter: every field of what is raised and cleared, and every bound from both sides."""

import msgspec
import pytest

from bus import messages as m
from bus.errors import ConfigError
from bus.values import NS_PER_S, OrderType, Side
from risk.alerts import RULES, Alerts, AlertSettings, check_off
from risk.alerts.operation import CLOCK_QUOTES, clock_reading, disk_reading
from risk.alerts.rule import Context, Reading, graded
from risk.policy import Policy
from tests.harness.alerts import (
    MODEL,
    PERIOD_NS,
    came,
    cleared,
    fresh,
    latched,
    lifted,
    link,
    opening,
    play,
    raised,
    started,
    tick,
)
from tests.harness.books import NOW_NS, accepted, account, cancelled, fill, order, quote, unknown


def told(reading):
    return reading.subject, reading.breached, reading.words()


# --- the fold --------------------------------------------------------------------------------------------------


def test_a_rule_that_is_silenced_must_exist_and_the_nearest_is_suggested():
    check_off(("slippage", "disk"))
    with pytest.raises(ConfigError) as error:
        check_off(("disk", "slipage"))
    assert str(error.value) == "alerts.off = ['slipage']: no such rule; did you mean slippage?"
    with pytest.raises(ConfigError) as error:
        Alerts(AlertSettings(off=("zzz",)))
    names = ", ".join(rule.name for rule in RULES)
    assert str(error.value) == f"alerts.off = ['zzz']: no such rule; there are {names}"


def test_an_alert_and_its_end_say_everything_about_themselves():
    alerts = fresh()
    lost, back = NOW_NS + 5 * NS_PER_S, NOW_NS + 9 * NS_PER_S
    alert = raised("connection", "venue", "reset by peer", "a ready connection", ts=lost)
    assert alerts.on(link(False, lost)) == [alert]
    assert alerts.on(link(False, lost + 1)) == []
    assert alerts.open == {("connection", "venue"): alert}
    over = cleared("connection", "venue", "up", "a ready connection", since=lost, ts=back)
    assert alerts.on(link(True, back)) == [over]
    assert alerts.on(link(True, back)) == []
    assert alerts.open == {}
    (silent,) = alerts.on(m.LinkChanged(up=False, reason="", ts_init_ns=back))
    assert silent.value == "lost"


def test_rules_that_are_off_neither_hear_nor_pass_on_and_the_others_do():
    alerts = fresh(off=("connection", "cost", "disk"))
    assert list(alerts.on(link(False))) == []
    said = m.AlertRaised(rule="cost", subject="EURUSD", severity="warning", value="", limit="", advice="",
                         ts_init_ns=NOW_NS)  # fmt: skip
    assert list(alerts.on(said)) == []
    full = disk_reading("/", 0, alerts.context.settings)
    assert list(alerts.tell("disk", full, NOW_NS)) == []
    assert alerts.open == {}
    with pytest.raises(KeyError) as error:
        alerts.tell("no such rule", full, NOW_NS)
    assert error.value.args == ("no such rule",)
    assert len(alerts.on(latched())) == 1
    assert list(alerts.on(m.ClockTick(ts_init_ns=NOW_NS))) == []


def test_what_a_shell_sees_is_told_once_with_the_shells_own_time():
    alerts = fresh()
    settings = alerts.context.settings
    alert = raised("disk", "/d", "999 MB free", "1000 MB", ts=77)
    assert alerts.tell("disk", disk_reading("/d", 999_000_000, settings), 77) == [alert]
    assert alerts.tell("disk", disk_reading("/d", 999_000_000, settings), 78) == []
    assert alerts.tell("disk", disk_reading("/d", 1_112_000_000, settings), 79) == [
        cleared("disk", "/d", "1112 MB free", "1000 MB", since=77, ts=79)
    ]


def test_what_the_core_said_itself_is_passed_on_once():
    alerts = fresh()
    alert = m.AlertRaised(rule="cost", subject="EURUSD", severity="warning", value="2", limit="1", advice="wait",
                          ts_init_ns=5, size_ppm=500_000)  # fmt: skip
    over = cleared("cost", "EURUSD", "1", "1", "warning", since=5, ts=9)
    assert list(alerts.on(over)) == [], "what was not raised is not over"
    assert list(alerts.on(alert)) == [alert]
    assert alerts.open == {("cost", "EURUSD"): alert}
    assert list(alerts.on(alert)) == []
    assert list(alerts.on(over)) == [over]
    assert alerts.open == {}


def test_an_end_that_names_no_limit_repeats_that_of_its_beginning():
    policy = Policy(max_position_pct_equity=100, max_exposure_pct_equity=0, max_leverage_pct=0, min_free_margin_pct=0,
                    max_orders_per_minute=0)  # fmt: skip
    alerts = fresh(policy)
    entered = order("h", volume=800_000)
    (near,) = play(alerts, [entered, fill("D-h", entered, "P-h", 120_000, remaining=800_000)])
    assert (near.value, near.limit) == ("96.0 % in use: 96.0 % of equity", "100 % of equity")
    out = msgspec.structs.replace(order("x", Side.SELL, 800_000), position_id="P-h")
    said = play(alerts, [out, fill("C", out, "P-h", 120_000, closing=True)])
    assert said == [cleared("limit_near", "position_size EURUSD", "nothing in use", "100 % of equity", "warning")]


# --- what all rules share --------------------------------------------------------------------------------------


def test_the_context_knows_the_run_and_keeps_its_account():
    policy = Policy(max_orders_per_minute=7)
    context = fresh(policy, ("EURUSD", "USDJPY")).context
    book = context.book
    assert list(context.instruments) == ["EURUSD", "USDJPY"]
    assert context.instruments["USDJPY"].pip_e5 == 1_000
    assert context.policy == policy
    assert (book.currency, book.money_digits, book.leverage, book.hedged) == ("USD", 2, 30, True)
    assert (list(book.instruments), book.balance, list(book.quotes)) == (
        ["EURUSD", "USDJPY"],
        1_000_000,
        ["EURUSD", "USDJPY"],
    )
    assert (context.broken, context.repeated, context.shared) == ("", False, None)
    assert Context(AlertSettings()).shared is None
    assert [floor.rule for floor in book.watermarks.floors(policy)] == ["daily_loss", "trailing_drawdown"]


def test_the_account_of_the_alerts_limits_losses_by_the_policy_of_the_run():
    from risk.policies.losses import Losses

    policy = Policy(losses=Losses(initial_balance=50_000))
    assert fresh(policy).context.book.watermarks.initial == 5_000_000


def test_settings_of_a_run_that_cannot_be_read_leave_no_policy():
    context = Context(AlertSettings())
    context.on(msgspec.structs.replace(started(), config_json="{"))
    assert context.policy is None
    assert context.book is not None


def test_the_newest_time_is_that_of_messages_which_tell_a_time_of_ours():
    context = Context(AlertSettings())
    assert context.now_ns == 0
    context.on(started())
    assert context.now_ns == NOW_NS
    context.on(tick(NOW_NS + 50))
    context.on(tick(NOW_NS + 20))
    assert context.now_ns == NOW_NS + 50
    context.on(m.Bar(symbol="EURUSD", period_ns=PERIOD_NS, ts_open_ns=NOW_NS, ts_close_ns=NOW_NS + PERIOD_NS,
                     open_e5=1, high_e5=1, low_e5=1, close_e5=1, spread_e5=1, quotes=1))  # fmt: skip
    context.on(m.ForecastRequested(request_id="r", symbol="EURUSD", as_of_ns=NOW_NS, period_ns=PERIOD_NS, horizons=(1,),
                                   deadline_ns=NOW_NS, ts_open_ns=(), open_e5=(), high_e5=(), low_e5=(), close_e5=(),
                                   spread_e5=(), quotes=()))  # fmt: skip
    assert context.now_ns == NOW_NS + 50


def test_a_deal_is_repeated_when_it_was_told_before_and_only_then():
    context = fresh().context
    command = order("a")
    deal = fill("D", command, "P", 120_000, remaining=100_000)
    seen = []
    for message in (command, deal, tick(), deal, msgspec.structs.replace(deal, deal_id="E", volume_e2=100_000)):
        context.shared = "old"
        context.on(message)
        assert context.shared is None
        seen.append(context.repeated)
    assert seen == [False, False, False, True, False]


def test_what_happens_to_the_account_happens_to_that_of_the_alerts():
    alerts = fresh()
    book = alerts.context.book
    resting = order("r", kind=OrderType.LIMIT, limit_e5=110_000, volume=300_000)
    play(alerts, [resting, accepted("r")])
    assert book.orders["r"].order_id == "o-r"
    assert book.orders_in_last_minute(NOW_NS) == 1
    alerts.on(m.CancelOrder(client_order_id="r", symbol="EURUSD", reason="", ts_init_ns=NOW_NS + 4))
    assert book.orders["r"].cancelling
    assert book.record.latest_ns == NOW_NS + 4
    alerts.on(cancelled("r"))
    assert not book.orders
    late = msgspec.structs.replace(order("late"), ts_init_ns=NOW_NS + 9)
    alerts.on(late)
    assert book.orders["late"].sent_ns == NOW_NS + 9
    alerts.on(m.BalanceMoved(move_id="B", cause="cash", delta=500, balance=1_000_500, ts_event_ns=NOW_NS,
                             ts_init_ns=NOW_NS))  # fmt: skip
    assert book.balance == 1_000_500


def test_a_later_snapshot_settles_what_was_unknown_where_nothing_differs_and_only_there():
    for balance, left in ((1_000_000, {}), (999_999, {"u": "EURUSD"})):
        alerts = fresh()
        play(alerts, [order("u"), unknown("u"), account(balance)])
        assert alerts.context.book.table.unknown == left
        assert alerts.context.book.balance == 1_000_000


def test_lifting_a_halt_starts_the_references_anew():
    alerts = fresh()
    book = alerts.context.book
    command = order("h", volume=9_000_000)
    play(alerts, [command, fill("D", command, "P", 120_000, remaining=9_000_000), quote(bid=119_000)])
    assert (book.day_start_equity, book.equity) == (1_000_000, 910_000)
    alerts.on(lifted())
    assert book.day_start_equity == 910_000


def test_an_account_that_contradicts_itself_is_told_in_its_own_words_and_never_taken_up_again():
    alerts = fresh()
    impossible = fill("x", order("x"), "P-x", 120_000, closing=True)
    said = alerts.on(impossible)
    assert alerts.context.book is None
    assert "P-x" in alerts.context.broken
    assert said == [raised("books", "account", alerts.context.broken, "books that agree")]
    assert alerts.on(tick()) == []


@pytest.mark.parametrize(
    ("met", "breached"), [(1_001, True), (1_000, None), (901, None), (900, False), (0, False)]
)  # fmt: skip
def test_a_figure_is_a_breach_above_its_bound_and_over_at_nine_tenths_of_it(met, breached):
    reading = graded("s", met, 1_000, AlertSettings(), lambda: ("value", "limit"))
    assert told(reading) == ("s", breached, ("value", "limit"))


@pytest.mark.parametrize(
    ("bounds", "says"),
    [
        ({"slippage_from": 51}, "alerts.slippage_from = 51: more than alerts.slippage_fills = 50; write at most 50"),
        ({"rejected_from": 101},
         "alerts.rejected_from = 101: more than alerts.rejected_orders = 100; write at most 100"),
        ({"disk_free_mb": -1},
         "alerts.disk_free_mb = -1: must lie between 0 and 1000000000 (0 = off); write for instance 1000"),
        ({"missed_forecasts": 1_001},
         "alerts.missed_forecasts = 1001: must lie between 1 and 1000; write for instance 3"),
    ],
)  # fmt: skip
def test_bounds_that_cannot_be_are_refused_with_what_to_write(bounds, says):
    with pytest.raises(ConfigError) as error:
        AlertSettings(**bounds)
    assert str(error.value) == says


def test_as_many_as_the_window_holds_are_not_too_many():
    settings = AlertSettings(slippage_from=50, rejected_from=100)
    assert (settings.slippage_from, settings.rejected_from) == (50, 100)


# --- operation -------------------------------------------------------------------------------------------------


def test_each_halt_is_its_own_alert_and_lifting_ends_them_all():
    alerts = fresh()
    assert alerts.on(latched()) == [raised("halt", "daily_loss", "FLATTEN: 3.1 %", "3 %")]
    own = msgspec.structs.replace(latched("operator"), limit="", value="", reason="lunch")
    assert alerts.on(own) == [raised("halt", "operator", "FLATTEN: lunch", "no halt")]
    assert alerts.on(latched()) == []
    over = [cleared("halt", rule, "lifted by ada: looked", "no halt") for rule in ("daily_loss", "operator")]
    assert alerts.on(lifted()) == over
    assert alerts.on(lifted()) == []
    assert len(alerts.on(latched())) == 1


def test_commands_without_an_answer_are_counted_by_symbol_until_they_have_one():
    alerts = fresh(symbols=("EURUSD", "USDJPY"))
    rule = alerts._rules["unknown_outcome"]
    for name, symbol in (("a", "EURUSD"), ("b", "EURUSD"), ("c", "USDJPY")):
        alerts.on(order(name, symbol=symbol))
    none = "0 commands unanswered"
    assert alerts.on(unknown("a")) == [raised("unknown_outcome", "EURUSD", "1 unanswered", none)]
    assert alerts.on(unknown("b")) == []
    assert alerts.on(unknown("c", "USDJPY")) == [raised("unknown_outcome", "USDJPY", "1 unanswered", none)]
    assert [told(each) for each in rule.on(tick(), alerts.context)] == [
        ("EURUSD", True, ("2 unanswered", none)), ("USDJPY", True, ("1 unanswered", none)),
    ]  # fmt: skip
    assert alerts.on(accepted("a")) == []
    assert alerts.on(accepted("b")) == [cleared("unknown_outcome", "EURUSD", "answered", none)]
    assert alerts.on(accepted("c", "USDJPY")) == [cleared("unknown_outcome", "USDJPY", "answered", none)]
    assert list(rule.on(tick(), alerts.context)) == []
    assert list(rule.on(tick(), Context(AlertSettings()))) == []


def apart(ns):
    return msgspec.structs.replace(quote(), ts_event_ns=NOW_NS - ns)


def test_of_two_hundred_quotes_the_quickest_tells_how_far_the_clocks_are_apart():
    alerts = fresh(off=("limit_near", "limit_reached"))
    alerts.on(quote())  # the second of the first two hundred
    first = [alerts.on(apart(1_700_000_000)) for _ in range(CLOCK_QUOTES - 2)]
    assert not any(first), "the first two came at once"
    seconds = [1_700_000_000] * 199 + [1_500_000_000]
    said = [alerts.on(apart(ns)) for ns in seconds]
    assert not any(said[:-1])
    assert said[-1] == [raised("clock", "venue", "+1500 ms", "1000 ms")]
    said = [alerts.on(apart(ns)) for ns in [3_000_000_000, -900_000_000, *[50_000_000] * 198]]
    assert not any(said[:-1])
    assert said[-1] == [cleared("clock", "venue", "-900 ms", "1000 ms")]


@pytest.mark.parametrize(
    ("apart_ns", "breached", "value"),
    [
        (1_000_000_001, True, "+1000 ms"),
        (-1_000_000_001, True, "-1000 ms"),
        (1_000_000_000, None, "+1000 ms"),
        (-900_000_001, None, "-900 ms"),
        (900_000_000, False, "+900 ms"),
        (10**15, True, "+1000000000 ms"),
    ],
)
def test_clocks_may_be_apart_by_the_bound_and_no_more(apart_ns, breached, value):
    reading = clock_reading("step", apart_ns, AlertSettings())
    assert told(reading) == ("step", breached, (value, "1000 ms"))


@pytest.mark.parametrize(
    ("free", "breached"),
    [(999_999_999, True), (1_000_000_000, None), (1_111_111_111, None), (1_111_111_112, False)],
)
def test_room_is_enough_at_the_bound_and_plenty_a_tenth_above_it(free, breached):
    reading = disk_reading("/d", free, AlertSettings())
    assert told(reading) == ("/d", breached, (f"{free / 1e6:.0f} MB free", "1000 MB"))


def test_room_is_plenty_at_the_share_that_is_set():
    for free, breached in ((1_249_999_999, None), (1_250_000_000, False)):
        assert disk_reading("/d", free, AlertSettings(clear_pct=80)).breached is breached
    assert disk_reading("/d", 10**15, AlertSettings()).words() == ("1000000000 MB free", "1000 MB")


def test_a_rule_that_only_a_shell_tells_hears_nothing():
    rules = [rule() for rule in RULES]
    deaf = [rule for rule in rules if not rule.hears]
    assert [rule.name for rule in deaf] == ["cost", "clock_step", "disk", "journal", "stopped"]
    assert [list(rule.on(tick(), Context(AlertSettings()))) for rule in deaf] == [[]] * 5


# --- the model that trades -------------------------------------------------------------------------------------


def missed(request, reason="late"):
    return m.ForecastMissed(request_id=request, symbol="EURUSD", model_id=MODEL, reason=reason, detail="",
                            ts_init_ns=NOW_NS)  # fmt: skip


def test_so_many_bars_without_a_forecast_are_told_and_one_forecast_ends_it():
    alerts = fresh(missed_forecasts=2)
    assert alerts.on(missed("q1")) == []
    assert alerts.on(missed("q1", "gone")) == [], "the same bar"
    (alert,) = alerts.on(missed("q2", "gone"))
    assert alert == raised("forecasts", "EURUSD", "2 bars without, the last: gone", "2 bars without")
    assert alerts.on(came("q3", active=False)) == []
    assert alerts.on(came("q3")) == [cleared("forecasts", "EURUSD", "a forecast came", "2 bars without")]
    assert alerts.on(came("q4")) == []
    assert alerts.on(missed("q5")) == []
    rule = alerts._rules["forecasts"]
    assert [told(each) for each in rule.on(missed("q6"), alerts.context)] == [
        ("EURUSD", True, ("2 bars without, the last: late", "2 bars without"))
    ]


def test_a_reading_puts_into_words_only_what_is_told():
    alerts = fresh()

    def never():
        raise AssertionError("nobody asked")

    assert alerts.tell("disk", Reading(subject="/", breached=None, words=never), NOW_NS) == []
    assert alerts.tell("disk", Reading(subject="/", breached=False, words=never), NOW_NS) == []


def test_an_opening_is_no_alert():
    assert play(Alerts(AlertSettings()), opening()) == []
