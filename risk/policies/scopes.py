"""Limits of one symbol, one currency, one strategy: ``[risk.symbols.EURUSD]`` and so on.

A scope can only make things tighter, never looser. Two kinds of keys stand in it. Some also stand in ``[risk]`` and
limit the same quantity (the spread of a quote, the lots of an order): there the tightest of all scopes that an entry
falls under holds, and 0 says "as elsewhere". The others limit a quantity of their own (the exposure in this symbol
alone, the orders of this strategy alone), which is asked for besides the account's.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

from bus.errors import ConfigError
from bus.values import Instrument
from risk.policies.keys import Group, Key

_AS_ELSEWHERE = "as for the whole account"
_LOTS = Key(0, 10_000_000, _AS_ELSEWHERE, 100, "1/100 lots", "Largest single order.")
_POSITION = Key(
    0, 200_000, _AS_ELSEWHERE, 200, "% of equity", "Largest value of one side of one symbol, entries at work included."
)


class SymbolLimits(Group, frozen=True, kw_only=True):
    """``[risk.symbols.NAME]``: what holds for one symbol besides what holds for all. 0 = as for the whole account."""

    KEYS: ClassVar[Mapping[str, Key]] = {
        "max_order_lots_e2": _LOTS,
        "max_position_pct_equity": _POSITION,
        "price_collar_pips_e1": Key(
            0,
            1_000_000,
            _AS_ELSEWHERE,
            50,
            "1/10 pips",
            "Farthest that the price a decision saw may lie from the market.",
        ),
        "resting_collar_pips_e1": Key(
            0, 1_000_000, _AS_ELSEWHERE, 500, "1/10 pips", "Farthest that a resting entry may lie from the market."
        ),
        "max_stop_distance_pct_e2": Key(
            0, 10_000, _AS_ELSEWHERE, 200, "1/100 % of the price", "Farthest that a stop may lie from the entry."
        ),
        "max_spread_pips_e1": Key(0, 1_000_000, _AS_ELSEWHERE, 20, "1/10 pips", "Widest spread at which to enter."),
        "max_quote_age_s": Key(0, 86_400, _AS_ELSEWHERE, 10, "s", "Oldest quote on which to enter."),
    }

    max_order_lots_e2: int = 0
    max_position_pct_equity: int = 0
    price_collar_pips_e1: int = 0
    resting_collar_pips_e1: int = 0
    max_stop_distance_pct_e2: int = 0
    max_spread_pips_e1: int = 0
    max_quote_age_s: int = 0


class StrategyLimits(Group, frozen=True, kw_only=True):
    """``[risk.strategies.NAME]``: what holds for one strategy besides what holds for all. 0 = as for the account."""

    KEYS: ClassVar[Mapping[str, Key]] = {"max_order_lots_e2": _LOTS, "max_position_pct_equity": _POSITION}

    max_order_lots_e2: int = 0
    max_position_pct_equity: int = 0


def check_names(what: str, given: Sequence[str], there: Sequence[str]) -> None:
    """Refuse a scope that nothing falls under: a limit with a slip in its name would limit nothing.

    Raises:
        ConfigError: naming the table and what there is.
    """
    for name in given:
        if name not in there:
            raise ConfigError(f"risk.{what}.{name}: nothing of that name is traded; there are {', '.join(there)}")


class Scopes(Protocol):
    """A policy, as far as scopes go."""

    @property
    def symbols(self) -> Mapping[str, SymbolLimits]:
        """Tighter limits by symbol."""
        ...

    @property
    def strategies(self) -> Mapping[str, StrategyLimits]:
        """Tighter limits by strategy."""
        ...


def check_scopes(scopes: Scopes, instruments: Sequence[Instrument], running: Sequence[str]) -> None:
    """Refuse limits of symbols and strategies that a run does not have.

    Args:
        scopes: the policy.
        instruments: of the run.
        running: names of the strategies that run.

    Raises:
        ConfigError: see `check_names`.
    """
    check_names("symbols", tuple(scopes.symbols), [each.symbol for each in instruments])
    check_names("strategies", tuple(scopes.strategies), running)
