"""Runs on every rule in `risk.limits`: a new one is tested by being listed."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import msgspec
import pytest

from bus.messages import CancelOrder, HaltLevel
from bus.values import Side
from risk import explain as explain_module
from risk import limits
from risk.coverage import CoverageState
from risk.drift import DriftState
from risk.evidence import Drifted, ModelStanding
from risk.limits import RULES, Breach, look
from risk.policies.hours import Hours
from risk.policies.keys import Group
from risk.policies.models import ModelLimits
from risk.policies.portfolio import PortfolioLimits
from risk.policies.scopes import StrategyLimits, SymbolLimits
from risk.policy import Policy
from tests.harness.basket import learnt
from tests.harness.books import (
    NOW_NS,
    SYMBOLS,
    as_tight_as_can_be,
    begun,
    entry,
    fill,
    opened,
    order,
    quote,
    switched_off,
    unknown,
)

OFF = switched_off()


def _tight(kind):
    ends = {"lower": lambda key: max(key.lowest, 1), "higher": lambda key: key.highest}
    return kind(**{name: ends[key.tighter](key) for name, key in kind.KEYS.items() if key.tighter})


TIGHT = as_tight_as_can_be(
    max_exposure_pct_equity=1,
    protect_within_s=0,
    models=ModelLimits(unusual_pct=0, avoid_regimes=(2,)),
    portfolio=msgspec.structs.replace(_tight(PortfolioLimits), require_history=True),
    hours=Hours(sessions=("Sun 00:00-00:01",), rollover_before_min=1_439),
    symbols={"EURUSD": _tight(SymbolLimits)},
    strategies={"s": _tight(StrategyLimits)},
)
KNOWN = learnt(150, SYMBOLS)
WEEKEND = msgspec.structs.replace(TIGHT, hours=_tight(Hours))
DISPROVED = ModelStanding(
    model_id="m-1", horizon=1, coverage=CoverageState.BLOCKED, n=250, covered=140, nominal_ppm=900_000, owed=3,
    silent=True, expires_ns=1, unusual="unusual_bar", avoided="regime 2 of 3",
    drifted=(Drifted(kind="data", state=DriftState.BLOCK, what="returns", value_pct_e2=4_100, limit_pct_e2=2_000,
                     n=9),),
)  # fmt: skip
"""What an entry rests on where everything speaks against it."""

IDS = [rule.ask.__name__ for rule in RULES]


def calm(policy=OFF):
    return look(entry(), begun(), policy, volume_e2=1_000_000, now_ns=NOW_NS, halt_level=HaltLevel.NONE,
                portfolio=KNOWN)  # fmt: skip


def terrible():
    """Checks that between them break every rule under the tightest policy."""
    book = begun()
    lost = opened(book, "c0", "P0", volume=100_000, price=121_000)
    closing = msgspec.structs.replace(lost, client_order_id="x", side=Side.SELL)
    book.fold(fill("D0", closing, "P0", 119_000, closing=True, gross_profit=-2_000))
    opened(book, volume=10_000_000)
    book.sent(order("zz"), NOW_NS)
    book.sent(CancelOrder(client_order_id="zz", symbol="EURUSD", reason="", ts_init_ns=NOW_NS), NOW_NS)
    book.mark(quote(bid=119_000, spread=50))
    book.mark(quote(spread=-1))
    book.fold(unknown("zz"))
    for portfolio in (learnt(10, SYMBOLS), KNOWN):
        yield look(entry(), book, TIGHT, volume_e2=10_000_000, now_ns=NOW_NS, halt_level=HaltLevel.NONE,
                   portfolio=portfolio)  # fmt: skip
    for intent in (entry(stop_loss_e5=0), entry(stop_loss_e5=130_000), entry(stop_loss_e5=1)):
        for policy in (TIGHT, WEEKEND):
            yield look(intent, book, policy, volume_e2=10_000_000, now_ns=NOW_NS + 10**12, halt_level=HaltLevel.FLATTEN,
                       link_up=False)  # fmt: skip
        fast = look(intent, book, TIGHT, volume_e2=1, now_ns=NOW_NS, halt_level=HaltLevel.FLATTEN)
        yield fast
        yield look(intent, book, TIGHT, volume_e2=1, now_ns=NOW_NS - 1, halt_level=HaltLevel.NONE)
        yield msgspec.structs.replace(fast, model=DISPROVED)
        unvalued = msgspec.structs.replace(fast.figures[0], values=None)
        yield msgspec.structs.replace(fast, quote=None, figures=(unvalued, *fast.figures[1:]), equity=-1)


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


EMPTY = {"model": None, "fallen": (), "outlook": None}


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.needs], ids=lambda rule: rule.ask.__name__)
def test_a_rule_says_nothing_without_what_it_needs_because_it_is_not_asked_then(rule):
    for check in terrible():
        assert rule.ask(msgspec.structs.replace(check, **{rule.needs: EMPTY[rule.needs]})) is None


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


def kinds():
    """Every struct that has keys, with the prefix by which rules call them."""
    yield "", Policy
    for field in msgspec.structs.fields(Policy):
        if isinstance(field.type, type) and issubclass(field.type, Group):
            yield f"{field.name}.", field.type
        elif getattr(field.type, "__origin__", None) is dict:
            yield "*.", field.type.__args__[1]


def test_every_setting_is_explained_with_the_limit_that_reads_it_and_no_limit_reads_what_is_not_there():
    there = {
        f"{prefix}{field.name}"
        for prefix, kind in kinds()
        for field in msgspec.structs.fields(kind)
        if prefix or field.name in Policy.KEYS
    }
    read = {key for _, _, _, keys in explain_module._OTHERS for key in keys} | {
        key for rule in RULES for key in rule.keys
    }
    assert read == there


def test_every_setting_is_read_where_limits_are_asked():
    room = Path(limits.__file__).parents[1]
    files = [file for file in room.rglob("*.py") if file.parent.name != "policies" and file.name != "explain.py"]
    text = "".join(
        file.read_text() for file in (*files, room.parent / "daemon" / "core.py", room.parent / "daemon" / "news.py")
    )
    text += (room / "policy.py").read_text()
    keys_only = re.sub(r"KEYS: ClassVar.*?\n    }\n", "", text, flags=re.DOTALL)
    for _, kind in kinds():
        for field in msgspec.structs.fields(kind):
            assert re.search(rf'(\.{field.name}\b|"{field.name}")', keys_only), field.name


@pytest.mark.parametrize(("prefix", "kind"), list(kinds()), ids=lambda each: getattr(each, "__name__", each))
def test_every_key_has_a_unit_a_sentence_and_a_default_and_an_example_within_its_bounds(prefix, kind):
    for name, key in kind.KEYS.items():
        assert key.unit
        assert key.why.endswith(".")
        assert key.why[0].isupper()
        assert key.lowest <= getattr(kind(), name) <= key.highest
        assert key.lowest < key.example <= key.highest
        assert (key.zero == "") or key.lowest == 0
    if prefix:
        words = {field.name for field in msgspec.structs.fields(kind)} - kind.KEYS.keys()
        assert words == kind.WORDS.keys()
        assert all(sentence.endswith(".") for sentence in kind.WORDS.values())


def test_what_is_explained_is_every_rule_once_with_its_reason():
    explained = explain_module.explain(Policy())
    names = [limit.rule for limit in explained]
    assert names[2 : 2 + len(IDS)] == IDS
    assert len(names) == len(set(names))
    assert all(limit.sentence.endswith(".") for limit in explained)
    assert all(setting.value == setting.default for limit in explained for setting in limit.settings)


def test_the_side_of_a_short_entry_is_judged_at_the_ask():
    check = look(entry(Side.SELL, stop_loss_e5=120_009), begun(), OFF, volume_e2=1_000_000, now_ns=NOW_NS,
                 halt_level=HaltLevel.NONE)  # fmt: skip
    assert limits.orders.stop_side(check) is None
