"""A scope can only make things tighter."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.errors import ConfigError
from bus.messages import IntentRefused
from daemon.config import load
from risk.gate import review
from risk.policies.scopes import StrategyLimits, SymbolLimits, check_scopes
from risk.policy import Policy
from risk.sizing import SizingSettings
from tests.harness.books import NOW_NS, begun, entry, switched_off

FIXED = SizingSettings(method="fixed", fixed_lots_e2=10)


def ask(policy, **fields):
    answer = review(entry(**fields), begun(), policy, FIXED, NOW_NS, client_order_id="c")
    return answer.rule if isinstance(answer, IntentRefused) else "accepted"


def test_a_symbol_s_limit_holds_for_that_symbol_alone():
    policy = switched_off(symbols={"EURUSD": SymbolLimits(max_spread_pips_e1=7)})

    assert ask(policy) == "spread"
    assert ask(policy, symbol="GBPUSD") == "accepted"


def test_a_strategy_s_limit_holds_for_that_strategy_alone():
    policy = switched_off(strategies={"s": StrategyLimits(max_order_lots_e2=9)})

    assert ask(policy) == "order_volume"
    assert ask(policy, strategy="other") == "accepted"


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
def test_the_tightest_of_all_scopes_holds_and_0_says_as_elsewhere(account, symbol, strategy):
    policy = switched_off(
        max_order_lots_e2=account,
        symbols={"EURUSD": SymbolLimits(max_order_lots_e2=symbol)},
        strategies={"s": StrategyLimits(max_order_lots_e2=strategy)},
    )

    set_ones = [value for value in (account, symbol, strategy) if value]
    assert policy.within("EURUSD", "s").max_order_lots_e2 == min(set_ones, default=0)
    assert policy.within("GBPUSD", "") is policy


def test_a_scope_that_nothing_falls_under_is_refused_because_it_would_limit_nothing():
    instruments = tuple(begun().instruments.values())
    check_scopes(Policy(symbols={"EURUSD": SymbolLimits()}), instruments, ["interval"])
    with pytest.raises(ConfigError, match=r"risk\.symbols\.EURSUD: nothing of that name is traded; there are EURUSD"):
        check_scopes(Policy(symbols={"EURSUD": SymbolLimits()}), instruments, ["interval"])
    with pytest.raises(ConfigError, match=r"risk\.strategies\.intervall"):
        check_scopes(Policy(strategies={"intervall": StrategyLimits()}), instruments, ["interval"])


def test_scopes_are_tables_of_the_configuration(tmp_path):
    file = tmp_path / "plimsoll.toml"
    file.write_text("[risk]\nmax_spread_pips_e1 = 40\n[risk.symbols.EURUSD]\nmax_spread_pips_e1 = 12\n")
    risk = load(file).risk
    assert risk.within("EURUSD", "").max_spread_pips_e1 == 12
    assert msgspec.json.decode(msgspec.json.encode(risk), type=Policy) == risk


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[risk.symbols.EURUSD]\nmax_spread_pips = 1", "risk.symbols.EURUSD.max_spread_pips is unknown; did you mean"),
        ("[risk.symbols.EURUSD]\nmax_quote_age_s = 90000", "risk.symbols.EURUSD.max_quote_age_s = 90000: must lie"),
        ("[risk.symbols]\nEURUSD = 1", "risk.symbols = { EURUSD = 1 }: expected tables such as [risk.symbols.NAME]"),
    ],
)
def test_a_mistake_in_a_scope_names_the_key(tmp_path, text, says):
    file = tmp_path / "plimsoll.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert says in str(caught.value)
