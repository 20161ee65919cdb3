"""Runs on every rule in `risk.limits`: a new one is tested by being listed."""

import importlib
import inspect
import pkgutil

import msgspec
import pytest

from bus.messages import HaltLevel
from bus.values import Side
from risk import limits
from risk.limits import RULES, Breach, look
from risk.policy import Policy
from tests.harness.books import NOW_NS, begun, entry, opened, order, quote, switched_off, unknown

OFF = switched_off()
TIGHT = msgspec.structs.replace(
    OFF, max_order_lots_e2=1, max_position_pct_equity=1, max_exposure_pct_equity=1, max_leverage_pct=1,
    daily_loss_pct_e2=1, trailing_drawdown_pct_e2=1, max_orders_per_minute=1, price_collar_pips_e1=1,
    resting_collar_pips_e1=1, max_stop_distance_pct_e2=1, max_spread_pips_e1=1, max_quote_age_s=1,
    min_free_margin_pct=100,
)  # fmt: skip
IDS = [rule.ask.__name__ for rule in RULES]


def calm(policy=OFF):
    return look(entry(), begun(), policy, volume_e2=1_000_000, now_ns=NOW_NS, halt_level=HaltLevel.NONE)


def terrible():
    """Checks that between them break every rule under the tightest policy."""
    book = begun()
    opened(book, volume=10_000_000)
    book.sent(order("zz"), NOW_NS)
    book.mark(quote(bid=119_000, spread=50))
    book.mark(quote(spread=-1))
    book.fold(unknown("zz"))
    for intent in (entry(stop_loss_e5=0), entry(stop_loss_e5=130_000), entry(stop_loss_e5=1)):
        yield look(intent, book, TIGHT, volume_e2=10_000_000, now_ns=NOW_NS + 10**12, halt_level=HaltLevel.FLATTEN,
                   link_up=False)  # fmt: skip
        fast = look(intent, book, TIGHT, volume_e2=1, now_ns=NOW_NS, halt_level=HaltLevel.FLATTEN)
        yield fast
        yield msgspec.structs.replace(fast, quote=None, margin=None, position_value=None, equity=-1)


@pytest.mark.parametrize("rule", RULES, ids=IDS)
def test_a_rule_passes_a_calm_entry_and_says_in_one_sentence_why_it_exists(rule):
    assert rule.ask(calm()) is None
    assert rule.why.endswith(".")
    assert rule.ask.__doc__.startswith("Whether ")


@pytest.mark.parametrize("rule", [rule.ask for rule in RULES], ids=IDS)
def test_a_rule_bites_and_names_rule_limit_value_and_what_would_have_passed(rule):
    breaches = [b for check in terrible() if (b := rule(check)) is not None]
    assert breaches
    for breach in breaches:
        assert isinstance(breach, Breach)
        assert breach.rule == rule.__name__
        assert all(msgspec.structs.astuple(breach))


@pytest.mark.parametrize("rule", [rule.ask for rule in RULES], ids=IDS)
def test_a_rule_is_a_pure_function_of_its_check(rule):
    for check in terrible():
        before = repr(check)
        assert rule(check) == rule(check)
        assert repr(check) == before


def test_every_rule_function_is_listed():
    rules = {
        name
        for file in pkgutil.iter_modules(limits.__path__)
        for name, function in inspect.getmembers(
            importlib.import_module(f"risk.limits.{file.name}"), inspect.isfunction
        )
        if not name.startswith("_") and list(inspect.signature(function).parameters) == ["c"]
    }
    assert rules == set(IDS)
    assert len(IDS) == len(set(IDS))


def test_every_limit_of_the_policy_is_read_by_a_rule_or_a_halt():
    from pathlib import Path

    room = Path(limits.__file__).parent
    text = "".join(file.read_text() for file in (*sorted(room.glob("*.py")), room.parent / "halt.py"))
    unread = [name for name in Policy.KEYS if f".{name}" not in text]
    assert unread == ["protect_within_s"], "this one is the core's"


def test_the_side_of_a_short_entry_is_judged_at_the_ask():
    check = look(entry(Side.SELL, stop_loss_e5=120_009), begun(), OFF, volume_e2=1_000_000, now_ns=NOW_NS,
                 halt_level=HaltLevel.NONE)  # fmt: skip
    assert limits.orders.stop_side(check) is None
