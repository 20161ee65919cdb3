"""Each alert once per breach: over random journals, over planted days, and with hysteresis in between."""

import random
from collections import Counter

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus import messages as m
from bus.errors import ConfigError
from bus.values import NS_PER_S, OrderType, Side
from risk.alerts import Alerts, AlertSettings
from risk.alerts.limits import USES, LimitUse, limit_uses
from risk.alerts.measured import Coverage, CoverageBlocked, Drift, DriftBlocked, Gate
from risk.alerts.operation import disk_reading
from risk.alerts.rule import Context
from risk.policies.losses import Losses
from risk.policies.orders import Orders
from risk.policies.sizes import Sizes
from risk.policy import Policy
from tests.harness import journals
from tests.harness.alerts import (
    MODEL,
    came,
    holding,
    latched,
    lifted,
    link,
    missed,
    opening,
    play,
    priced,
    refusal,
    resolved,
    tick,
    trade,
)
from tests.harness.books import NOW_NS, accepted, begun, entry, fill, opened, order, quote

KEYS = ("rule", "subject")


def key(said):
    return said.rule, said.subject


class Auditor:
    """Holds what is said against the one law: raised, cleared, raised, … for every key, and nothing told twice."""

    def __init__(self):
        self.open = {}

    def take(self, said):
        for each in said:
            if isinstance(each, m.AlertRaised):
                assert key(each) not in self.open, f"{key(each)} was raised twice"
                self.open[key(each)] = each
            else:
                raised = self.open.pop(key(each))  # KeyError: cleared without having been raised
                assert (raised.severity, raised.ts_init_ns) == (each.severity, each.ts_raised_ns)
                assert each.ts_init_ns >= raised.ts_init_ns


STEPS = st.one_of(
    st.tuples(st.just("trade"), st.integers(-200, 200), st.sampled_from(Side)),
    st.tuples(st.just("refusal"), st.sampled_from(["NO", "MARKET_CLOSED", "NOT_SENT"]), st.none()),
    st.tuples(st.just("price"), st.integers(119_000, 121_000), st.integers(0, 90)),
    st.tuples(st.just("hold"), st.integers(1, 50).map(lambda n: n * 100_000), st.none()),
    st.tuples(st.just("link"), st.booleans(), st.none()),
    st.tuples(st.just("halt"), st.sampled_from(["operator", "daily_loss"]), st.none()),
    st.tuples(st.just("lift"), st.none(), st.none()),
    st.tuples(st.just("missed"), st.integers(0, 9), st.none()),
    st.tuples(st.just("came"), st.booleans(), st.none()),
    st.tuples(st.just("resolved"), st.booleans(), st.booleans()),
    st.tuples(st.just("unknown"), st.none(), st.none()),
    st.tuples(st.just("core"), st.booleans(), st.none()),
    st.tuples(st.just("again"), st.none(), st.none()),
)


def journal_of(steps):
    """Messages of a random journal; facts may be told twice."""
    out, now = list(opening()), NOW_NS
    for n, (kind, first, second) in enumerate(steps):
        now += NS_PER_S
        match kind:
            case "trade":
                out += trade(f"t{n}", first, second, ts=now)
            case "refusal":
                out += refusal(f"r{n}", first)
            case "price":
                now += second * NS_PER_S
                out += [priced(first, now), tick(now)]
            case "hold":
                command = order(f"h{n}", volume=first)
                out += [command, fill(f"D-h{n}", command, f"P-h{n}", 120_000, remaining=first, ts=now)]
            case "link":
                out.append(link(first, now))
            case "halt":
                out.append(latched(first, now))
            case "lift":
                out.append(lifted(now))
            case "missed":
                out.append(missed(f"q{first}", ts=now))
            case "came":
                out.append(came("q", active=first, ts=now))
            case "resolved":
                out += [resolved(first, active=second, ts=now)] * 7
            case "unknown":
                name = f"u{n}"
                out += [order(name), m.OrderUnknown(client_order_id=name, symbol="EURUSD", ts_init_ns=now)]
            case "core":
                said = m.AlertRaised(rule="cost", subject="EURUSD", severity="warning", value="", limit="", advice="x",
                                     ts_init_ns=now)  # fmt: skip
                over = m.AlertCleared(rule="cost", subject="EURUSD", severity="warning", value="", limit="",
                                      ts_raised_ns=NOW_NS, ts_init_ns=now)  # fmt: skip
                out.append(said if first else over)
            case _:
                out.append(out[-1])
    return out


@settings(max_examples=300, deadline=None)
@given(steps=st.lists(STEPS, max_size=80))
def test_over_random_journals_no_key_is_raised_twice_or_cleared_without_having_been_raised(steps):
    alerts, auditor = Alerts(AlertSettings(rejected_from=5, slippage_from=3)), Auditor()
    for message in journal_of(steps):
        said = alerts.on(message)
        if isinstance(message, m.AlertCleared) and said:  # the core's own; its time is not ours to judge
            auditor.open[key(said[0])] = msgspec.structs.replace(
                auditor.open[key(said[0])], ts_init_ns=said[0].ts_raised_ns
            )
        auditor.take(said)
        assert auditor.open.keys() == alerts.open.keys()


@settings(max_examples=100, deadline=None)
@given(steps=st.lists(STEPS, max_size=60), cut=st.integers(0, 60))
def test_a_fold_that_goes_through_a_journal_again_says_the_same_from_any_record_on(steps, cut):
    journal = journal_of(steps)
    first, again = Alerts(AlertSettings()), Alerts(AlertSettings())
    said = [first.on(message) for message in journal]
    assert [again.on(message) for message in journal[:cut]] == said[:cut]
    assert [again.on(message) for message in journal[cut:]] == said[cut:]
    assert first.open == again.open


@given(free=st.lists(st.integers(0, 3_000), min_size=1, max_size=60))
def test_between_breach_and_all_clear_nothing_changes(free):
    alerts = Alerts(AlertSettings(disk_free_mb=1_000, clear_pct=80))
    is_open = False
    for mb in free:
        said = alerts.tell("disk", disk_reading("/", mb * 1_000_000, alerts.context.settings), NOW_NS)
        wanted = True if mb < 1_000 else False if mb >= 1_250 else is_open
        assert [type(each) for each in said] == (
            [] if wanted == is_open else [m.AlertRaised if wanted else m.AlertCleared]
        )
        is_open = wanted


# --- planted ---------------------------------------------------------------------------------------------------


def planted_day(signals=100_000, fills=5_000, seed=3):
    """A journal of so many signals and fills with known breaches in it; gives it and what must be said."""
    source = random.Random(seed)
    journal, wanted, now = list(opening(Policy(max_orders_per_minute=0))), Counter(), NOW_NS
    every = signals // fills
    bad = set(source.sample(range(20, fills - 20, 11), 40))  # far apart: each its own breach, none moves the mean
    spells = {1_000: "rejections", 1_900: "link", 2_300: "link", 2_700: "halt", 3_100: "missed", 3_600: "mean",
              4_200: "coverage", 4_700: "link"}  # fmt: skip
    bad -= {n for n in bad for at in spells if at - 15 < n < at + 80}
    for n in range(fills):
        for k in range(every):
            now += NS_PER_S
            intent = entry(intent_id=f"i{n}-{k}", ts_init_ns=now)
            journal.append(intent)
            if k:
                journal.append(m.IntentRefused(intent_id=intent.intent_id, strategy="s", symbol="EURUSD", rule="spread",
                                               limit="", value="", would_pass="", ts_init_ns=now))  # fmt: skip
        slip = 150 if n in bad else source.randint(-20, 20)
        if n in bad:
            wanted["slippage"] += 1
        match spells.get(n):
            case "rejections":
                for k in range(12):
                    journal += refusal(f"r{n}-{k}", "TRADING_BAD_VOLUME")
                wanted["rejections"] += 1
            case "link":
                journal += [link(False, now), link(False, now), link(True, now), link(True, now)]
                wanted["connection"] += 1
            case "halt":
                journal += [latched(ts=now), latched(ts=now), latched("operator", now), lifted(now)]
                wanted["halt"] += 2
            case "missed":
                journal += [missed(f"q{k}", ts=now) for k in range(9)] + [came("q9", ts=now)]
                wanted["forecasts"] += 1
            case "mean":
                # every one of these is beyond the bound: one breach of the single fill, one of the mean
                for k in range(60):
                    journal += trade(f"m{k}", 140, ts=now)
                wanted["slippage"] += 1
                wanted["slippage_mean"] += 1
            case "coverage":
                journal += [resolved(k % 4 != 0, ts=now) for k in range(80)]
                journal += [resolved(True, ts=now) for _ in range(250)]
                wanted["coverage"] += 1
            case _:
                pass
        told = trade(f"t{n}", slip, source.choice(list(Side)), ts=now)
        journal += told
        if source.random() < 0.05:
            journal.append(told[1])  # the opening deal once more
    return journal, wanted


def test_planted_breaches_among_100_000_signals_and_5_000_fills_give_each_alert_exactly_once():
    journal, wanted = planted_day()
    assert sum(isinstance(each, m.Intent) for each in journal) == 100_000
    assert len({each.deal_id for each in journal if isinstance(each, m.OrderFilled) and not each.closing}) >= 5_000
    alerts, auditor = Alerts(AlertSettings()), Auditor()
    raised, cleared = Counter(), Counter()
    for message in journal:
        said = alerts.on(message)
        auditor.take(said)
        for each in said:
            (raised if isinstance(each, m.AlertRaised) else cleared)[each.rule] += 1
    assert raised == wanted == cleared
    assert min(wanted.values()) >= 1
    assert wanted["slippage"] > 25
    assert not alerts.open


# --- single rules ----------------------------------------------------------------------------------------------


def rules_of(said):
    return [(type(each).__name__, each.rule, each.subject) for each in said]


def test_slippage_is_adverse_on_both_sides_and_a_gift_is_none():
    for side in Side:
        assert not play(Alerts(AlertSettings()), [*opening(), *trade("gift", -500, side)])
        said = play(Alerts(AlertSettings()), [*opening(), *trade("bad", 121, side)])
        assert rules_of(said) == [("AlertRaised", "slippage", "EURUSD")]
        assert said[0].value == "0.1008 % of the price"


def test_a_fill_between_breach_and_all_clear_neither_ends_an_alert_nor_begins_one():
    alerts = Alerts(AlertSettings())
    play(alerts, opening())
    path = {121: ["AlertRaised"], 119: [], 109: [], 130: [], 108: ["AlertCleared"], 120: []}  # 120 points are 0.1 %
    for slip, wanted in path.items():
        said = play(alerts, trade(f"t{slip}", slip))
        assert [kind for kind, rule, _ in rules_of(said) if rule == "slippage"] == wanted, slip


def test_a_pip_figure_counts_where_it_is_tighter():
    tight = AlertSettings(slippage_pips_e1=20)
    assert play(Alerts(tight), [*opening(), *trade("a", 21)])
    assert not play(Alerts(tight), [*opening(), *trade("a", 20)])
    assert not play(Alerts(AlertSettings(slippage_ppm=0)), [*opening(), *trade("a", 9_000)])
    only = AlertSettings(slippage_ppm=0, slippage_pips_e1=2_000, slippage_from=2, slippage_fills=2)
    assert {each.rule for each in play(Alerts(only), [*opening(), *trade("a", 2_001), *trade("b", 2_001)])} == {
        "slippage", "slippage_mean",
    }  # fmt: skip


def test_a_deal_that_is_told_twice_is_one_fill():
    alerts = Alerts(AlertSettings(slippage_from=2, slippage_fills=2))
    command, deal, _ = trade("a", 300)
    said = play(alerts, [*opening(), command, deal, deal, deal])
    assert rules_of(said) == [("AlertRaised", "slippage", "EURUSD")], "one fill has no mean"


def test_a_stop_that_is_filled_far_beyond_its_level_is_slippage():
    alerts = Alerts(AlertSettings())
    command = order("h", volume=100_000)
    entered = fill("D", command, "P", 120_000, remaining=100_000)
    stop = fill("C", msgspec.structs.replace(command, side=Side.SELL), "P", 119_000, closing=True, cause="stop_loss")
    said = play(alerts, [*opening(), command, entered, msgspec.structs.replace(stop, level_e5=119_200)])
    assert "slippage" in {each.rule for each in said}


def test_a_cancel_that_is_refused_is_no_order_that_was_and_what_was_not_sent_is_not_counted():
    alerts = Alerts(AlertSettings(rejected_from=4, rejected_orders=10))
    happenings = [*opening()]
    for n in range(4):
        happenings += trade(f"t{n}")
        happenings += [m.OrderRejected(client_order_id=f"t{n}", symbol="EURUSD", code="ORDER_NOT_FOUND", text="",
                                       ts_event_ns=NOW_NS, ts_init_ns=NOW_NS)]  # fmt: skip
        happenings += refusal(f"n{n}", "NOT_SENT")
        happenings += [m.OrderRejected(client_order_id="", symbol="EURUSD", code="TRADING_BAD_STOPS", text="P1: no",
                                       ts_event_ns=NOW_NS, ts_init_ns=NOW_NS)]  # fmt: skip
    assert not play(alerts, happenings)


def test_a_rejections_alert_names_the_code_that_is_most_frequent():
    alerts = Alerts(AlertSettings(rejected_from=3, rejected_orders=10))
    said = play(alerts, [*opening(), *refusal("a", "NO"), *refusal("b", "MARKET_CLOSED"), *refusal("c", "NO")])
    assert [each.value for each in said if each.rule == "rejections"] == ["3 of 3 orders, 100.0 %, mostly NO"]


def test_the_use_of_a_limit_is_what_the_gate_would_count():
    book = begun(symbols=("EURUSD",))
    opened(book, volume=2_000_000, commission=0)  # 20,000 units at a middle of 1.20004 on 10,000 USD: 240.0 % of equity
    policy = Policy(max_position_pct_equity=500, max_exposure_pct_equity=2_000, max_leverage_pct=300,
                    min_free_margin_pct=20, max_orders_per_minute=4)  # fmt: skip
    uses = {each.name: each.used_ppm for each in limit_uses(book, policy, NOW_NS)}
    share_pct = 20_000 * 120_004 / 1e5 / (book.equity / 100) * 100
    assert uses["position_size EURUSD"] == pytest.approx(share_pct / 500 * 1e6, abs=2)
    assert uses["exposure"] == pytest.approx(share_pct / 2_000 * 1e6, abs=2)
    assert uses["leverage"] == pytest.approx(share_pct / 300 * 1e6, abs=2)
    assert uses["margin"] == pytest.approx(share_pct / 30 / 80 * 1e6, abs=2)
    assert uses["order_rate"] == 250_000
    assert uses["trailing_drawdown"] == 0


def test_every_limit_on_losses_is_watched_and_so_are_counts_and_slippage():
    policy = Policy(
        losses=Losses(weekly_loss_pct_e2=600, static_drawdown_pct_e2=1_000, day_end_drawdown_pct_e2=500,
                      intraday_drawdown_pct_e2=400),
        orders=Orders(max_cancels_per_minute=4, slippage_budget_pct_e2=10),
        sizes=Sizes(max_open_positions=8, max_margin_use_pct=50),
    )  # fmt: skip
    book = begun(symbols=("EURUSD",), policy=policy)
    opened(book, volume=2_000_000, commission=0)
    book.sent(order("r1", kind=OrderType.LIMIT, limit_e5=119_000), NOW_NS)
    book.fold(accepted("r1"))
    cancel = m.CancelOrder(client_order_id="r1", symbol="EURUSD", reason="", ts_init_ns=NOW_NS)
    book.sent(cancel, NOW_NS)
    book.record.slipped("EURUSD", "s", 500)
    book.mark(quote(bid=119_000))  # 20,000 units fall by 1,000 points: 200.00 of 10,000.00, 2 %
    uses = {each.name: each.used_ppm for each in limit_uses(book, policy, NOW_NS)}
    lost = 1_000_000 - book.equity
    assert lost == 20_000
    for name, limit_pct in (("daily_loss", 3), ("trailing_drawdown", 10), ("weekly_loss", 6), ("static_drawdown", 10),
                            ("day_end_drawdown", 5), ("intraday_drawdown", 4)):  # fmt: skip
        assert uses[name] == pytest.approx(lost / 1_000_000 * 100 / limit_pct * 1e6, rel=1e-3), name
    assert (uses["cancel_rate"], uses["open_positions"]) == (250_000, 250_000)
    assert uses["slippage_budget"] == 500_000
    assert uses["margin_use"] == pytest.approx(uses["margin"] * 80 / 50, abs=2)


def test_a_limit_is_told_at_80_and_at_100_percent_each_once_and_clears_with_room_between():
    alerts = Alerts(AlertSettings())
    policy = Policy(max_orders_per_minute=0, trailing_drawdown_pct_e2=0, max_position_pct_equity=0,
                    max_exposure_pct_equity=0, max_leverage_pct=0, min_free_margin_pct=0)  # fmt: skip
    play(alerts, [*opening(policy), *holding(9_000_000)])  # 0.9 USD a point: 3 % of 10,000 is a fall of 333 points
    near, reached = "limit_near", "limit_reached"
    path = {  # points below the entry -> what is said; 266.7 points are 80 %, 240 are 72 %, 300 are 90 %
        260: [], 270: [("AlertRaised", near)], 310: [], 340: [("AlertRaised", reached)], 320: [], 350: [], 311: [],
        290: [("AlertCleared", reached)], 245: [], 235: [("AlertCleared", near)], 234: [],
    }  # fmt: skip
    for fall, wanted in path.items():
        said = rules_of(play(alerts, [priced(120_000 - fall)]))
        assert said == [(*each, "daily_loss") for each in wanted], fall


def test_a_symbol_that_is_held_no_more_uses_nothing():
    alerts = Alerts(AlertSettings())
    policy = Policy(max_position_pct_equity=100, max_exposure_pct_equity=0, max_leverage_pct=0, min_free_margin_pct=0,
                    max_orders_per_minute=0)  # fmt: skip
    said = play(alerts, [*opening(policy), *holding(800_000)])
    assert rules_of(said) == [("AlertRaised", "limit_near", "position_size EURUSD")]
    out = msgspec.structs.replace(order("x", Side.SELL, 800_000), position_id="P-h")
    gone = fill("C", out, "P-h", 120_000, closing=True)
    assert rules_of(play(alerts, [out, gone])) == [("AlertCleared", "limit_near", "position_size EURUSD")]


def test_a_new_limit_plugs_in(monkeypatch):
    def var(book, policy, now_ns):
        return [LimitUse(name="value_at_risk", used_ppm=900_000, words=lambda: ("2.7 %", "3 %"))]

    monkeypatch.setattr("risk.alerts.limits.USES", (*USES, (var, False)))
    said = play(Alerts(AlertSettings()), [*opening(), tick()])
    assert rules_of(said) == [("AlertRaised", "limit_near", "value_at_risk")]


class Told(msgspec.Struct):
    after: str
    symbol: str = "EURUSD"
    model_id: str = "ridge"
    horizon: int = 4
    kind: str = "data"
    active: bool = True
    reason: str = "31 % against 20 %"


STATES = ("ok", "unmeasured", "degraded", "warn", "blocked", "block", "closed")
BAD, SHUT = {"degraded", "warn", "blocked", "block", "closed"}, {"blocked", "block", "closed"}


@pytest.mark.parametrize(
    ("rule", "breaches"),
    [(Drift, BAD), (DriftBlocked, SHUT), (Coverage, BAD), (CoverageBlocked, SHUT), (Gate, BAD)],
)
def test_what_another_room_announces_is_taken_as_it_is(rule, breaches):
    context = Context(AlertSettings())
    for state in STATES:
        (reading,) = rule((Told,)).on(Told(state), context)
        assert (reading.subject, *reading.words()) == ("EURUSD ridge data h4", f"{state}: 31 % against 20 %", "ok")
        assert reading.breached is (None if state == "unmeasured" else state in breaches)
        (shadow,) = rule((Told,)).on(Told(state, active=False), context)
        assert not shadow.breached, "what does not trade is told of nobody"


def swapped(kind, replaced):
    return kind(symbol="EURUSD", model_id="mlp", replaced=replaced, rule="operator", reason="", ts_init_ns=NOW_NS)


@pytest.mark.parametrize("kind", [m.ModelPromoted, m.ModelRolledBack])
def test_what_was_told_of_a_model_is_over_when_another_takes_its_place(kind):
    rule, context = Drift((Told,)), Context(AlertSettings())
    for told in (Told("warn"), Told("warn", kind="spectrum"), Told("warn", model_id="other")):
        assert next(iter(rule.on(told, context))).breached
    assert not list(rule.on(swapped(kind, "nobody"), context))
    over = list(rule.on(swapped(kind, "ridge"), context))
    assert [(each.subject, each.breached) for each in over] == [
        ("EURUSD ridge data h4", False), ("EURUSD ridge spectrum h4", False),
    ]  # fmt: skip
    assert not list(rule.on(swapped(kind, "ridge"), context))


def test_coverage_that_is_announced_is_not_counted_as_well():
    rule, context = Coverage((Told,)), Context(AlertSettings())
    list(rule.on(Told("ok"), context))
    assert not [each for n in range(100) for each in rule.on(resolved(n % 2 == 0), context)]


def test_only_the_coverage_of_the_model_that_trades_is_told():
    assert not play(Alerts(AlertSettings()), [resolved(n % 3 != 0, active=False) for n in range(200)])


def test_outcomes_of_two_admissions_are_not_one_sample():
    alerts = Alerts(AlertSettings())
    play(alerts, [resolved(n % 3 != 0) for n in range(40)])
    alerts.on(m.ModelAdmitted(model_id=MODEL, kind="ridge", symbol="EURUSD", active=True, horizons=(1,), scores=((),),
                              ts_init_ns=NOW_NS))  # fmt: skip
    assert not play(alerts, [resolved(n % 3 != 0) for n in range(40)])


def test_a_shadow_model_that_misses_is_not_the_model_that_trades():
    alerts = Alerts(AlertSettings())
    for n in range(20):
        assert not play(alerts, [came(f"q{n}"), missed(f"q{n}")])


def test_a_book_that_breaks_costs_the_limits_and_nothing_else():
    alerts = Alerts(AlertSettings())
    impossible = fill("x", order("x"), "P-x", 120_000, closing=True)
    said = play(alerts, [*opening(), impossible, tick(), link(False), *trade("a", 300)])
    assert [each.rule for each in said] == ["books", "connection", "slippage"]


def test_settings_that_cannot_be_read_cost_the_limits_alone():
    alerts = Alerts(AlertSettings())
    said = play(alerts, [each for _, each in journals.Scenario(40, 1, 0.0).run()] + [link(False)])
    assert "connection" in {each.rule for each in said}
    assert alerts.context.policy is None
    assert "limit_near" not in {each.rule for each in said}


@pytest.mark.parametrize(
    ("bounds", "says"),
    [
        ({"slippage_from": 60}, "alerts.slippage_from = 60: more than alerts.slippage_fills = 50; write at most 50"),
        ({"clear_pct": 0}, "alerts.clear_pct = 0: must lie between 1 and 100"),
        ({"rejected_pct": 5.5}, "alerts.rejected_pct = 5.5: must be a whole number"),
    ],
)
def test_impossible_bounds_are_refused(bounds, says):
    with pytest.raises(ConfigError) as error:
        AlertSettings(**bounds)
    assert str(error.value).startswith(says)
