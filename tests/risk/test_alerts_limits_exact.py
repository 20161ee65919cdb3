"""How much of each limit is in use, to the millionth and the word; and what is told of models, to the word."""

from fractions import Fraction
from math import ceil

import msgspec
import pytest

from bus import messages as m
from bus.values import OrderType, Side
from risk.alerts import AlertSettings
from risk.alerts.limits import LimitNear, LimitReached, LimitUse, limit_uses
from risk.alerts.measured import CLEAR_AFTER, Coverage, CoverageBlocked, Drift, DriftBlocked, Gate
from risk.alerts.rule import Context
from risk.coverage import CoverageState, CoverageTracker
from risk.policies.losses import Losses
from risk.policies.orders import Orders
from risk.policies.sizes import Sizes
from tests.harness.alerts import MODEL, started, tick
from tests.harness.books import NOW_NS, PRICES, accepted, account, begun, fill, opened, order, quote, switched_off

OFF = switched_off()


def foreign(symbol, side, volume):
    return m.ForeignChanged(
        kind="position", subject="77", label="", symbol=symbol, side=side, volume_e2=volume,
        price_e5=PRICES.get(symbol, 1), charges=0, ts_event_ns=NOW_NS, ts_init_ns=NOW_NS,
    )  # fmt: skip


def used(book, policy, **more):
    return [(each.name, each.used_ppm, each.words()) for each in limit_uses(book, policy, NOW_NS, **more)]


# --- limits ----------------------------------------------------------------------------------------------------


def test_what_is_held_and_wanted_is_in_use_to_the_cent_rounded_up():
    """Long 10,000 and a resting sale of 5,000 EURUSD at 1.20004; others are short 20,000 USDJPY at 109.00004."""
    book = begun(symbols=("EURUSD", "USDJPY"))
    opened(book, volume=1_000_000, commission=0)
    book.sent(order("r", Side.SELL, 500_000, kind=OrderType.LIMIT, limit_e5=130_000), NOW_NS)
    book.fold(foreign("USDJPY", Side.SELL, 2_000_000))
    rate = Fraction(917_431, 10**8)  # dollars for a yen
    long, short = 1_200_040, 600_020
    yen = ceil(20_000 * Fraction(10_900_004, 10**5) * rate * 100)
    equity = book.equity
    margin = ceil(Fraction(long, 30)) + ceil(Fraction(yen, 30))
    policy = switched_off(max_position_pct_equity=500, max_exposure_pct_equity=2_000, max_leverage_pct=300,
                          min_free_margin_pct=20, sizes=Sizes(max_margin_use_pct=50))  # fmt: skip
    wanted = [
        ("position_size EURUSD", long, 500),
        ("position_size USDJPY", yen, 500),
        ("exposure", long + short + yen, 2_000),
        ("leverage", long + yen, 300),
        ("margin", margin, 80),
        ("margin_use", margin, 50),
    ]
    assert used(book, policy) == [
        (name, value * 100 * 1_000_000 // (equity * pct),
         (f"{value * 100 / equity:.1f} % of equity", f"{pct} % of equity"))
        for name, value, pct in wanted
    ]  # fmt: skip
    assert used(book, policy, at_quote=True) == []
    assert used(book, OFF) == []


@pytest.mark.parametrize(("balance", "there"), [(1, True), (0, False), (-5, False)])
def test_without_equity_nothing_held_has_a_share_of_it(balance, there):
    book = begun(balance, symbols=("EURUSD",))
    book.sent(order("r", kind=OrderType.LIMIT, limit_e5=110_000), NOW_NS)
    policy = switched_off(max_position_pct_equity=100)
    assert bool(used(book, policy)) is there


@pytest.mark.parametrize("symbol", ["XXXYYY", "USDJPY"])
def test_while_something_held_cannot_be_valued_no_share_of_equity_is_told(symbol):
    book = begun(symbols=("EURUSD", "USDJPY"), quoted=False)
    book.mark(quote())
    opened(book, commission=0)
    book.fold(foreign(symbol, Side.BUY, 100_000))
    policy = switched_off(max_position_pct_equity=500, max_exposure_pct_equity=2_000)
    assert used(book, policy) == []


def test_orders_cancels_and_positions_are_counted():
    """Three orders and one cancel; of the orders one is filled, one rests and one closes what was filled."""
    book = begun(symbols=("EURUSD",))
    opened(book, commission=0)
    book.sent(order("r", kind=OrderType.LIMIT, limit_e5=110_000), NOW_NS)
    book.fold(accepted("r"))
    book.sent(order("x", Side.SELL, position="P1"), NOW_NS)
    book.sent(m.CancelOrder(client_order_id="r", symbol="EURUSD", reason="", ts_init_ns=NOW_NS), NOW_NS)
    policy = switched_off(max_orders_per_minute=7, orders=Orders(max_cancels_per_minute=3),
                          sizes=Sizes(max_open_positions=6, max_margin_use_pct=0))  # fmt: skip
    assert used(book, policy) == [
        ("order_rate", 428_571, ("3 orders in the last minute", "7")),
        ("cancel_rate", 333_333, ("1 cancels in the last minute", "3")),
        ("open_positions", 333_333, ("2 positions and entries at work", "6")),
    ]
    later = [each.used_ppm for each in limit_uses(book, policy, NOW_NS + 60 * 10**9)]
    assert later == [0, 0, 333_333]


def test_slippage_of_the_day_is_held_against_its_budget():
    """3 % of 10,000.00 are 300.00: 70.10 spent are 23.3666 % of that."""
    policy = switched_off(orders=Orders(slippage_budget_pct_e2=300, max_cancels_per_minute=0))
    book = begun(symbols=("EURUSD",), policy=policy)
    book.record.slipped("EURUSD", "s", 7_010)
    assert used(book, policy) == [("slippage_budget", 233_666, ("7010 spent", "3.00 % of 1000000"))]
    empty = begun(0, symbols=("EURUSD",), policy=policy)
    assert used(empty, policy) == []
    one = begun(1, symbols=("EURUSD",), policy=policy)
    assert used(one, policy) == [("slippage_budget", 0, ("0 spent", "3.00 % of 1"))]


def test_the_smallest_way_to_a_floor_is_one_cent():
    policy = switched_off(daily_loss_pct_e2=100)
    book = begun(10, symbols=("EURUSD",), policy=policy)
    book.fold(m.BalanceMoved(move_id="m", cause="foreign", delta=-1, balance=9, ts_event_ns=NOW_NS, ts_init_ns=NOW_NS))
    assert used(book, policy) == [("daily_loss", 1_000_000, ("1 lost, 10.00 %", "1.00 % of 10"))]


def test_losses_are_shares_of_the_way_from_the_mark_to_the_floor_and_told_at_every_quote():
    """The week may lose 6 % of 10,000.00, so its floor lies 600.00 below: 123.40 lost are 20.5666 %."""
    losses = Losses(weekly_loss_pct_e2=600, static_drawdown_pct_e2=1_000)
    policy = switched_off(losses=losses)
    book = begun(symbols=("EURUSD",), policy=policy)
    opened(book, volume=1_000_000, commission=0)
    book.mark(quote(bid=118_766))
    wanted = [
        ("weekly_loss", 205_666, ("12340 lost, 1.23 %", "6.00 % of 1000000")),
        ("static_drawdown", 123_400, ("12340 lost, 1.23 %", "10.00 % of 1000000")),
    ]
    assert used(book, policy) == used(book, policy, at_quote=True) == wanted
    book.mark(quote(bid=120_500))
    assert [ppm for _, ppm, _ in used(book, policy)] == [0, 0], "a win uses nothing"


class Use:
    """A limit whose use a test sets: is it looked at, and how often?"""

    def __init__(self, monkeypatch, every):
        self.uses = {"b": 0}
        self.asked = 0
        monkeypatch.setattr("risk.alerts.limits.USES", ((self, every),))

    def __call__(self, book, policy, now_ns):
        self.asked += 1
        return [LimitUse(name=name, used_ppm=ppm, words=lambda: ("much", "more")) for name, ppm in self.uses.items()]


def ready(policy=None):
    context = Context(AlertSettings())
    for message in (started(policy), account(), quote()):
        context.on(message)
    return context


def readings(rule, message, context):
    context.on(message)
    return [(each.subject, each.breached, each.words()) for each in rule.on(message, context)]


@pytest.mark.parametrize(("rule", "bound"), [(LimitNear, 800_000), (LimitReached, 1_000_000)])
def test_a_limit_is_told_from_its_share_on_and_is_over_below_nine_tenths_of_that(monkeypatch, rule, bound):
    use, context, rule = Use(monkeypatch, False), ready(), rule()
    clear = bound * 9 // 10
    path = [(bound - 1, None), (bound, True), (bound - 1, "between"), (clear, "between"), (clear - 1, False),
            (clear - 1, None), (bound - 1, None), (20_000_000, True)]  # fmt: skip
    for ppm, wanted in path:
        use.uses = {"b": ppm}
        found = readings(rule, tick(), context)
        breached = None if wanted == "between" else wanted
        told = [("b", breached, (f"{ppm / 1e4:.1f} % in use: much", "more"))]
        assert found == ([] if wanted is None else told), ppm


def test_what_is_used_no_more_is_over_in_the_order_of_names_but_a_price_alone_ends_nothing(monkeypatch):
    use, context, rule = Use(monkeypatch, True), ready(), LimitNear()
    command = order("h")
    context.on(command)
    context.on(fill("D", command, "P", 120_000, remaining=100_000))
    use.uses = {"b": 900_000, "c": 900_000, "a": 900_000}
    assert [each[:2] for each in readings(rule, tick(), context)] == [("b", True), ("c", True), ("a", True)]
    use.uses = {"c": 900_000}
    assert [each[:2] for each in readings(rule, quote(), context)] == [("c", True)]
    assert readings(rule, tick(), context) == [
        ("c", True, ("90.0 % in use: much", "more")),
        ("a", False, ("nothing in use", "")),
        ("b", False, ("nothing in use", "")),
    ]
    assert [each[0] for each in readings(rule, tick(), context)] == ["c"]


def test_both_rules_look_at_the_limits_once_a_message_and_at_a_price_only_where_one_moves_the_equity(monkeypatch):
    use, context = Use(monkeypatch, True), ready()
    rules = LimitNear(), LimitReached()

    def hear(message):
        context.on(message)
        before = use.asked
        for rule in rules:
            list(rule.on(message, context))
        return use.asked - before

    assert [hear(tick()), hear(quote()), hear(tick())] == [1, 0, 1]
    command = order("h")
    assert [hear(command), hear(fill("D", command, "P", 120_000, remaining=100_000)), hear(quote())] == [1, 1, 1]


def test_limits_that_only_facts_move_are_not_looked_at_with_every_price(monkeypatch):
    use, context, rule = Use(monkeypatch, False), ready(), LimitNear()
    command = order("h")
    context.on(command)
    context.on(fill("D", command, "P", 120_000, remaining=100_000))
    use.uses = {"b": 990_000}
    assert readings(rule, quote(), context) == []
    assert [each[:2] for each in readings(rule, tick(), context)] == [("b", True)]


def test_limits_are_looked_at_with_the_newest_time(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "risk.alerts.limits.USES", ((lambda book, policy, now_ns: seen.append((book, policy, now_ns)) or [], True),)
    )
    context = ready()
    list(readings(LimitNear(), tick(NOW_NS + 7), context))
    assert seen == [(context.book, context.policy, NOW_NS + 7)]


def test_without_a_policy_an_account_or_its_balance_nothing_is_in_use(monkeypatch):
    Use(monkeypatch, True).uses = {"b": 990_000}
    nothing = Context(AlertSettings())
    assert readings(LimitNear(), tick(), nothing) == []
    bare = Context(AlertSettings())
    bare.on(started())
    assert readings(LimitNear(), tick(), bare) == []
    unread = Context(AlertSettings())
    unread.on(msgspec.structs.replace(started(), config_json="{"))
    assert readings(LimitNear(), account(), unread) == []
    assert readings(LimitNear(), account(), bare) != []


# --- models ----------------------------------------------------------------------------------------------------


def coverage(after, **fields):
    values = {"symbol": "EURUSD", "model_id": MODEL, "horizon": 4, "active": True, "before": "ok", "n": 60,
              "covered": 40, "nominal_ppm": 900_000, "upper_ppm": 1, "sum_pct": 1, "multiplier_ppm": 0, "wide": False,
              "reason": "40 of 60", "ts_init_ns": NOW_NS}  # fmt: skip
    return m.CoverageChanged(after=after, **(values | fields))


class Bare(msgspec.Struct):
    """As little as an announcement can say."""

    after: str


def the(rule, message):
    (found,) = rule.on(message, Context(AlertSettings()))
    return found.subject, found.breached, found.words()


def test_the_messages_of_their_kind_are_heard_without_being_listed():
    swaps = (m.ModelPromoted, m.ModelRolledBack)
    assert CoverageBlocked().hears == (m.CoverageChanged, *swaps)
    assert Coverage().hears == (m.CoverageChanged, *swaps, m.ForecastResolved, m.ModelAdmitted)
    assert Drift().hears == DriftBlocked().hears == (m.DriftChanged, *swaps)
    assert Gate().hears == (m.GateChanged, *swaps)
    for rule in (CoverageBlocked, Drift, DriftBlocked, Gate):
        assert rule((Bare,)).hears == (Bare, *swaps)
    assert Coverage((Bare,)).hears == (Bare, *swaps, m.ForecastResolved, m.ModelAdmitted)


def test_an_announcement_is_told_with_its_subject_and_its_reason():
    assert the(Coverage(), coverage("DEGRADED")) == ("EURUSD ridge-1 h4", True, ("degraded: 40 of 60", "ok"))
    assert the(CoverageBlocked(), coverage("blocked")) == ("EURUSD ridge-1 h4", True, ("blocked: 40 of 60", "ok"))
    gate = m.GateChanged(symbol="EURUSD", model_id="hmm", gate="regime", active=True, before="ok", after="closed",
                         multiplier_ppm=0, reason="regime 2", ts_init_ns=NOW_NS)  # fmt: skip
    assert the(Gate(), gate) == ("EURUSD hmm regime", True, ("closed: regime 2", "ok"))
    drift = m.DriftChanged(symbol="EURUSD", model_id="gru", kind="data", horizon=0, active=False, before="ok",
                           after="warn", what="", value_pct_e2=0, limit_pct_e2=0, n=0, multiplier_ppm=0, reason="",
                           ts_init_ns=NOW_NS)  # fmt: skip
    assert the(Drift(), drift) == ("EURUSD gru data", None, ("warn", "ok"))


def test_an_announcement_that_names_nothing_is_told_by_its_type():
    assert the(Drift((Bare,)), Bare("warn")) == ("Bare", True, ("warn", "ok"))
    assert the(Drift((Bare,)), Bare("ok")) == ("Bare", False, ("ok", "ok"))
    assert the(Drift((Bare,)), Bare("unmeasured")) == ("Bare", None, ("unmeasured", "ok"))


def test_what_names_no_model_is_not_over_when_a_model_goes():
    rule, context = Drift((Bare,)), Context(AlertSettings())
    list(rule.on(Bare("warn"), context))
    gone = m.ModelPromoted(symbol="EURUSD", model_id="new", replaced=MODEL, rule="", reason="", ts_init_ns=NOW_NS)
    assert list(rule.on(gone, context)) == []
    nobody = m.ModelPromoted(symbol="", model_id="", replaced="", rule="", reason="", ts_init_ns=NOW_NS)
    assert [each.subject for each in rule.on(nobody, context)] == ["Bare"]


def test_what_was_told_of_a_model_that_is_replaced_is_over_in_words():
    rule, context = Coverage(), Context(AlertSettings())
    list(rule.on(coverage("degraded"), context))
    list(rule.on(coverage("degraded", symbol="USDJPY"), context))
    gone = m.ModelRolledBack(symbol="EURUSD", model_id="new", replaced=MODEL, rule="", reason="", ts_init_ns=NOW_NS)
    found = [(each.subject, each.breached, each.words()) for each in rule.on(gone, context)]
    assert found == [("EURUSD ridge-1 h4", False, ("another model trades", ""))]
    assert list(rule.on(gone, context)) == []


def outcome(covered, *, active=True, model=MODEL, horizon=1, symbol="EURUSD", level=900_000):
    bands = (m.Band(level_ppm=level, lower_e5=1, upper_e5=2, bounded=True),
             m.Band(level_ppm=500_000, lower_e5=1, upper_e5=2, bounded=True))  # fmt: skip
    return m.ForecastResolved(symbol=symbol, model_id=model, active=active, horizon=horizon, as_of_ns=NOW_NS,
                              close_e5=1, point_e5=1, sigma_e5=1, actual_e5=1, bands=bands,
                              covered=(covered, not covered), ts_init_ns=NOW_NS)  # fmt: skip


def test_counted_coverage_says_what_the_tracker_says_and_is_over_after_twenty_good_outcomes_in_a_row():
    rule, context, tracker, good = Coverage(), Context(AlertSettings()), CoverageTracker(900_000), 0
    outcomes = [True] * 75 + [False] * 9 + [True] * 40 + [False] * 3 + [True] * 60
    seen = set()
    for n, covered in enumerate(outcomes):
        tracker.add(covered=covered)
        found = [(each.subject, each.breached, each.words()) for each in rule.on(outcome(covered), context)]
        good = good + 1 if tracker.state is CoverageState.OK else 0
        fine = tracker.state in {CoverageState.OK, CoverageState.UNMEASURED}
        breached = (False if good >= CLEAR_AFTER else None) if fine else True
        words = (f"{tracker.covered} of {tracker.n} covered by ridge-1: {tracker.state.value}", "90 %")
        assert found == [("EURUSD h1", breached, words)], n
        seen.add((tracker.state, breached))
    assert seen == {
        (CoverageState.UNMEASURED, None), (CoverageState.OK, None), (CoverageState.OK, False),
        (CoverageState.DEGRADED, True), (CoverageState.BLOCKED, True),
    }  # fmt: skip


def test_what_was_measured_in_shadow_counts_but_the_good_outcomes_in_a_row_are_those_that_were_told():
    rule, context = Coverage(), Context(AlertSettings())
    for _ in range(60):
        assert list(rule.on(outcome(True, active=False, level=915_000), context)) == []
    found = [reading for _ in range(CLEAR_AFTER) for reading in rule.on(outcome(True, level=915_000), context)]
    assert [each.breached for each in found] == [None] * (CLEAR_AFTER - 1) + [False]
    assert found[-1].words() == ("80 of 80 covered by ridge-1: ok", "92 %")


def test_symbols_models_and_horizons_are_counted_apart_and_what_does_not_trade_is_counted_in_silence():
    rule, context = Coverage(), Context(AlertSettings())
    kinds = [
        {"horizon": 2},
        {"model": "gru"},
        {"symbol": "USDJPY"},
        {"active": False},
        {"level": 800_000, "horizon": 3},
    ]
    for more in kinds:
        for _ in range(3):
            found = [(each.subject, each.words()) for each in rule.on(outcome(True, **more), context)]
            assert len(found) == more.get("active", True)
        if found:
            subject = f"{more.get('symbol', 'EURUSD')} h{more.get('horizon', 1)}"
            said = f"3 of 3 covered by {more.get('model', MODEL)}: unmeasured"
            assert found == [(subject, (said, f"{more.get('level', 900_000) // 10_000} %"))]
    assert [each.words()[0] for each in rule.on(outcome(False), context)] == ["3 of 4 covered by ridge-1: unmeasured"]


def test_a_model_that_is_admitted_anew_is_counted_anew_at_its_own_horizons_alone():
    rule, context = Coverage(), Context(AlertSettings())

    def count(**more):
        return [each.words()[0].split(" covered")[0] for each in rule.on(outcome(True, **more), context)]

    for more in ({}, {"horizon": 2}, {"horizon": 3}, {"model": "gru"}):
        count(**more)
    again = m.ModelAdmitted(model_id=MODEL, kind="ridge", symbol="EURUSD", active=True, horizons=(1, 3, 9),
                            scores=((),) * 3, ts_init_ns=NOW_NS)  # fmt: skip
    assert list(rule.on(again, context)) == []
    found = [count(**more) for more in ({}, {"horizon": 2}, {"horizon": 3}, {"model": "gru"})]
    assert found == [["1 of 1"], ["2 of 2"], ["1 of 1"], ["2 of 2"]]


def test_counting_ends_for_good_with_the_first_announcement_but_not_with_a_swap():
    rule, context = Coverage(), Context(AlertSettings())
    gone = m.ModelPromoted(symbol="EURUSD", model_id="new", replaced="x", rule="", reason="", ts_init_ns=NOW_NS)
    assert list(rule.on(gone, context)) == []
    assert len(list(rule.on(outcome(True), context))) == 1
    list(rule.on(coverage("ok"), context))
    list(rule.on(gone, context))
    assert list(rule.on(outcome(True), context)) == []
