import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.errors import ConfigError
from bus.messages import HaltLevel, IntentRefused, SubmitOrder
from bus.values import NS_PER_S, OrderType, Side, TimeInForce
from risk.gate import review
from risk.policy import Policy
from risk.sizing import SizingSettings
from tests.harness.books import (
    NOW_NS,
    PRICES,
    SYMBOLS,
    begun,
    entry,
    fill,
    leave,
    opened,
    order,
    quote,
    switched_off,
    unknown,
)

FIXED = SizingSettings(method="fixed", fixed_lots_e2=10)
PERMISSIVE = switched_off()


def ask(intent, book=None, policy=PERMISSIVE, sizing=FIXED, now_ns=NOW_NS, **more):
    return review(intent, book or begun(), policy, sizing, now_ns, client_order_id="c", **more)


def rule(answer):
    return answer.rule if isinstance(answer, IntentRefused) else "accepted"


def test_an_entry_becomes_an_order_with_its_stop_and_target():
    answer = ask(entry(), policy=Policy())
    assert isinstance(answer, SubmitOrder)
    assert (answer.volume_e2, answer.stop_loss_e5, answer.take_profit_e5) == (1_000_000, 119_708, 120_308)
    assert (answer.order_type, answer.time_in_force, answer.limit_e5) == (OrderType.MARKET, TimeInForce.IOC, 0)
    assert answer.expected_profit == 100


def test_a_resting_entry_carries_its_price_and_its_date():
    answer = ask(entry(order_type=OrderType.LIMIT, price_e5=119_900, valid_until_ns=NOW_NS + 5))
    assert (answer.limit_e5, answer.trigger_e5, answer.time_in_force) == (119_900, 0, TimeInForce.GTD)
    answer = ask(entry(order_type=OrderType.STOP, price_e5=120_100))
    assert (answer.limit_e5, answer.trigger_e5, answer.time_in_force) == (0, 120_100, TimeInForce.GTC)


@pytest.mark.parametrize(
    ("name", "policy", "intent", "prepare", "more"),
    [
        ("halt", {}, entry(), None, {"halt_level": HaltLevel.NO_NEW_RISK}),
        ("unknown_outcome", {}, entry(), lambda b: b.fold(unknown("zz")), {}),
        ("crossed_quote", {}, entry(), lambda b: b.mark(quote(spread=-1)), {}),
        ("stale_quote", {"max_quote_age_s": 2}, entry(), None, {"now_ns": NOW_NS + 2 * NS_PER_S + 1}),
        ("spread", {"max_spread_pips_e1": 7}, entry(), None, {}),
        ("missing_stop", {}, entry(stop_loss_e5=0), None, {}),
        ("stop_side", {}, entry(stop_loss_e5=120_001), None, {}),
        ("stop_side", {}, entry(Side.SELL, stop_loss_e5=120_008), None, {}),
        ("stop_side", {}, entry(take_profit_e5=119_999), None, {}),
        ("stop_distance", {"max_stop_distance_pct_e2": 20}, entry(distance=250), None, {}),
        ("price_collar", {"price_collar_pips_e1": 10}, entry(reference_e5=120_019), None, {}),
        ("price_collar", {"resting_collar_pips_e1": 10},
         entry(order_type=OrderType.LIMIT, price_e5=119_900), None, {}),
        ("order_rate", {"max_orders_per_minute": 1}, entry(), lambda b: b.sent(order("zz"), NOW_NS), {}),
        ("daily_loss", {"daily_loss_pct_e2": 10},
         entry(reference_e5=119_908, stop_loss_e5=119_000), lambda b: (opened(b, volume=10_000_000),
                                                                       b.mark(quote(bid=119_900))), {}),
        ("trailing_drawdown", {"trailing_drawdown_pct_e2": 10},
         entry(reference_e5=119_908, stop_loss_e5=119_000), lambda b: (opened(b, volume=10_000_000),
                                                                       b.mark(quote(bid=119_900))), {}),
        ("order_volume", {"max_order_lots_e2": 9}, entry(), None, {}),
        ("order_volume", {}, entry(), None, {"size_multiplier_ppm": 50_000}),
        ("position_size", {"max_position_pct_equity": 120}, entry(), None, {}),
        ("position_size", {"max_position_pct_equity": 200}, entry(),
         lambda b: b.sent(order("zz", volume=1_000_000), NOW_NS), {}),
        ("exposure", {"max_exposure_pct_equity": 200}, entry(),
         lambda b: b.sent(order("zz", Side.SELL, 1_000_000), NOW_NS), {}),
        ("leverage", {"max_leverage_pct": 200}, entry(),
         lambda b: b.sent(order("zz", volume=1_000_000, symbol="GBPUSD"), NOW_NS), {}),
        ("margin", {"min_free_margin_pct": 97}, entry(), None, {}),
        ("symbol", {}, msgspec.structs.replace(entry(), symbol="XXXYYY"), None, {}),
    ],
)  # fmt: skip
def test_each_limit_refuses_what_it_is_for_and_nothing_else(name, policy, intent, prepare, more):
    book = begun()
    if prepare:
        prepare(book)
    limits = msgspec.structs.replace(PERMISSIVE, **policy)
    answer = ask(intent, book, limits, **more)
    assert rule(answer) == name
    assert answer.limit
    assert answer.value
    assert answer.would_pass
    if policy:
        assert rule(ask(intent, book, PERMISSIVE, **more)) == "accepted"


def test_no_quote_and_no_conversion_rate_are_refusals():
    assert rule(ask(entry(), begun(quoted=False))) == "stale_quote"
    book = begun(quoted=False)
    book.mark(quote("EURGBP"))
    assert rule(ask(entry(symbol="EURGBP"), book)) == "conversion_rate"


def test_opposite_entries_do_not_add_up_to_leverage_but_do_to_exposure():
    book = begun()
    book.sent(order("zz", Side.SELL, 1_000_000), NOW_NS)
    assert rule(ask(entry(), book, msgspec.structs.replace(PERMISSIVE, max_leverage_pct=130))) == "accepted"
    assert rule(ask(entry(), book, msgspec.structs.replace(PERMISSIVE, max_exposure_pct_equity=230))) == "exposure"


def test_an_exit_passes_every_limit_so_that_risk_can_be_reduced():
    book = begun()
    opened(book, volume=9_000_000)
    book.mark(quote(bid=110_000, spread=500))
    book.mark(quote(spread=-3))
    book.fold(unknown("zz"))
    strict = Policy(max_orders_per_minute=1, max_spread_pips_e1=1, max_position_pct_equity=1, daily_loss_pct_e2=1)
    answer = ask(leave("P1"), book, strict, now_ns=NOW_NS + 10**15, halt_level=HaltLevel.FLATTEN)
    assert isinstance(answer, SubmitOrder)
    assert (answer.position_id, answer.volume_e2, answer.side) == ("P1", 9_000_000, Side.SELL)


@pytest.mark.parametrize(
    ("name", "intent"),
    [
        ("position", leave("P7")),
        ("position", leave("P1", symbol="USDJPY")),
        ("position_owner", leave("P1", strategy="other")),
        ("position_side", leave("P1", Side.BUY)),
        ("number", leave("P1", reference_e5=float("nan"))),
    ],
)
def test_an_exit_must_make_sense(name, intent):
    book = begun()
    opened(book)
    assert rule(ask(intent, book)) == name


def test_a_position_is_closed_once_at_a_time():
    book = begun()
    opened(book)
    book.sent(order("x", Side.SELL, position="P1"), NOW_NS)
    assert rule(ask(leave("P1"), book)) == "already_closing"


NUMBERS = ["reference_e5", "stop_loss_e5", "take_profit_e5", "trailing_e5", "price_e5", "scale_e5", "point_e5",
           "edge_e5", "horizon", "valid_until_ns"]  # fmt: skip
BAD = st.one_of(
    st.sampled_from([float("nan"), float("inf"), float("-inf"), None, "1", True, 1.5, 2**63, -(2**70), 10**400]),
    st.floats(),
    st.integers(min_value=2**63),
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(NUMBERS), BAD, st.sampled_from(["enter", "exit"]))
def test_nan_infinity_and_huge_values_anywhere_in_an_intent_are_refused_and_never_raise(name, bad, action):
    book = begun()
    opened(book)
    intent = entry() if action == "enter" else leave("P1")
    for method in ("fixed", "percent", "volatility", "kelly"):
        answer = ask(msgspec.structs.replace(intent, **{name: bad}), book, sizing=SizingSettings(method=method))
        assert rule(answer) == "number"


@settings(max_examples=60, deadline=None)
@given(BAD)
def test_nan_and_infinity_beside_an_intent_are_refused_too(bad):
    assert rule(ask(entry(), size_multiplier_ppm=bad)) == "number"
    assert rule(ask(entry(), now_ns=bad)) == "number"
    assert rule(ask(msgspec.structs.replace(entry(), side=bad))) == "number"
    book = begun()
    book.mark(msgspec.structs.replace(quote(), bid_e5=bad))
    assert rule(ask(entry(), book)) == "crossed_quote"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 20_000_000_000_000), min_size=6, max_size=6), st.sampled_from(Side))
def test_any_whole_numbers_get_an_answer(numbers, side):
    reference, stop, target, trailing, scale, edge = numbers
    intent = entry(side, reference_e5=reference, stop_loss_e5=stop, take_profit_e5=target, trailing_e5=trailing,
                   scale_e5=scale, edge_e5=edge)  # fmt: skip
    for method in ("fixed", "percent", "volatility", "kelly"):
        assert rule(ask(intent, policy=Policy(), sizing=SizingSettings(method=method)))


LIMITS = {
    "max_order_lots_e2": 300, "max_position_pct_equity": 400, "max_exposure_pct_equity": 600, "max_leverage_pct": 500,
    "daily_loss_pct_e2": 300, "trailing_drawdown_pct_e2": 300, "max_orders_per_minute": 6, "price_collar_pips_e1": 40,
    "max_stop_distance_pct_e2": 90, "max_spread_pips_e1": 20, "max_quote_age_s": 4, "min_free_margin_pct": 90,
}  # fmt: skip


def tighter(policy, name, by):
    value = getattr(policy, name)
    changed = min(100, value + by) if name == "min_free_margin_pct" else max(1, value - by)
    return msgspec.structs.replace(policy, **{name: changed, "max_exposure_pct_equity": 0} if "exposure" not in name
                                   else {name: changed, "max_position_pct_equity": 0})  # fmt: skip


@st.composite
def situations(draw):
    book = begun()
    for n in range(draw(st.integers(0, 4))):
        symbol, side = draw(st.sampled_from(SYMBOLS)), draw(st.sampled_from(Side))
        volume = draw(st.integers(1, 15)) * 100_000
        if draw(st.booleans()):
            opened(book, f"c{n}", f"P{n}", side, volume, symbol=symbol)
        else:
            book.sent(order(f"c{n}", side, volume, symbol), NOW_NS)
    book.mark(quote(bid=120_000 + draw(st.integers(-300, 300)), spread=draw(st.integers(0, 30))))
    intent = entry(draw(st.sampled_from(Side)), distance=draw(st.integers(100, 1500)))
    sizing = SizingSettings(method=draw(st.sampled_from(["fixed", "percent", "volatility", "kelly"])),
                            fixed_lots_e2=draw(st.integers(1, 40)))  # fmt: skip
    return book, intent, sizing, NOW_NS + draw(st.integers(0, 6 * NS_PER_S))


@settings(max_examples=250, deadline=None)
@given(situations(), st.sampled_from(sorted(LIMITS)), st.integers(0, 400))
def test_a_tighter_limit_never_allows_more(situation, name, by):
    book, intent, sizing, now_ns = situation
    tight = tighter(Policy(**LIMITS), name, by)
    loose = msgspec.structs.replace(tight, **{name: LIMITS[name]})
    if rule(ask(intent, book, tight, sizing, now_ns)) == "accepted":
        assert rule(ask(intent, book, loose, sizing, now_ns)) == "accepted"


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(SYMBOLS), st.sampled_from(Side), st.integers(100, 900), st.integers(0, 2),
                          st.integers(-60, 60)), max_size=25))  # fmt: skip
def test_no_sequence_of_accepted_orders_breaks_a_limit(steps):
    policy = Policy(max_position_pct_equity=350, max_exposure_pct_equity=700, max_leverage_pct=600,
                    max_orders_per_minute=8)  # fmt: skip
    book, now_ns, taken = begun(), NOW_NS, []
    for n, (symbol, side, distance, what, move) in enumerate(steps):
        now_ns += 3 * NS_PER_S
        for name in SYMBOLS:
            book.mark(quote(name, PRICES[name] + (move if name == symbol else 0), ts=now_ns))
        q = book.quotes[symbol]
        reference = q.ask_e5 if side > 0 else q.bid_e5
        intent = entry(side, symbol, reference_e5=reference, stop_loss_e5=reference - side * distance,
                       take_profit_e5=0)  # fmt: skip
        answer = review(intent, book, policy, SizingSettings(), now_ns, client_order_id=f"c{n}")
        if isinstance(answer, IntentRefused):
            continue
        book.sent(answer, now_ns)
        taken.append(now_ns)
        sides = {}
        for one in [*book.positions.values(), *book.orders.values()]:
            rest = getattr(one, "remaining_e2", one.volume_e2)
            rate = {"USD": 1, "JPY": 100_000 / PRICES["USDJPY"], "GBP": PRICES["GBPUSD"] / 100_000}[one.symbol[3:]]
            value = rest / 100 * PRICES[one.symbol] / 100_000 * rate * 100
            sides.setdefault(one.symbol, {1: 0.0, -1: 0.0})[one.side] += value
        slack = 1.01  # prices moved by up to 60 points since
        assert max(max(s.values()) for s in sides.values()) <= book.equity * 3.5 * slack
        assert sum(sum(s.values()) for s in sides.values()) <= book.equity * 7 * slack
        assert sum(max(s.values()) for s in sides.values()) <= book.equity * 6 * slack
        assert len([t for t in taken if t > now_ns - 60 * NS_PER_S]) <= 8
        if what == 1:
            book.fold(fill(f"D{n}", answer, f"P{n}", reference, commission=-7))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (lambda: Policy(max_spread_pips_e1=-1), "risk.max_spread_pips_e1 = -1: must lie between 0 and"),
        (lambda: Policy(daily_loss_pct_e2=10_001), "risk.daily_loss_pct_e2"),
        (lambda: Policy(max_quote_age_s=float("nan")), "risk.max_quote_age_s = nan: must be a whole number"),
        (lambda: Policy(loss_halt_level=0), "write for instance 3"),
        (lambda: Policy(max_position_pct_equity=3_000), "write at most 2000"),
        (lambda: SizingSettings(method="martingale"), "write one of fixed, percent, volatility, kelly"),
        (lambda: SizingSettings(risk_pct_e2=0), "sizing.risk_pct_e2 = 0"),
        (lambda: msgspec.json.decode(b'{"min_free_margin_pct": 101}', type=Policy), "risk.min_free_margin_pct = 101"),
    ],
)
def test_impossible_settings_are_refused_with_the_key_the_reason_and_a_suggestion(settings, words):
    with pytest.raises(ConfigError, match=words):
        settings()
