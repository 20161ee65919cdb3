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
from risk.policies.hours import intervals
from risk.policies.keys import Group, Key, check_keys

_AS_ELSEWHERE = "as for the whole account"
_OFF = "no limit of its own"


class ScopeLimits(Group, frozen=True, kw_only=True):
    """What may be limited in a symbol and in a strategy alike. 0 = no limit but the account's."""

    TIGHTENS: ClassVar[frozenset[str]] = frozenset({"max_order_lots_e2", "max_holding_s"})
    """Keys that limit the same quantity as the account's key of that name."""

    KEYS: ClassVar[Mapping[str, Key]] = {
        "max_order_lots_e2": Key(0, 10_000_000, _AS_ELSEWHERE, 100, "1/100 lots", "Largest single order."),
        "max_position_pct_equity": Key(
            0, 200_000, _OFF, 200, "% of equity", "Largest value of one side of one symbol, entries at work included."
        ),
        "max_exposure_pct_equity": Key(
            0, 200_000, _OFF, 400, "% of equity", "Largest value of its positions and entries at work, added up."
        ),
        "max_leverage_pct": Key(
            0, 200_000, _OFF, 300, "% of equity", "Largest sum of the larger side of every symbol in it."
        ),
        "max_margin_use_pct": Key(
            0, 100, _OFF, 20, "% of equity", "Most equity that is its margin if every entry at work is filled."
        ),
        "max_open_positions": Key(
            0, 1_000_000, _OFF, 3, "positions", "Most positions in it, entries at work included, each counted as one."
        ),
        "max_orders_per_minute": Key(
            0, 1_000_000, _OFF, 10, "orders", "Its entries are refused when so many of its orders left in a minute."
        ),
        "max_cancels_per_minute": Key(
            0, 1_000_000, _OFF, 20, "cancels", "Its entries are refused when so many of its cancels left in a minute."
        ),
        "slippage_budget_pct_e2": Key(
            0,
            10_000,
            _OFF,
            10,
            "1/100 % of the day's first equity",
            "Its slippage after which it enters no more today.",
        ),
        "daily_loss_pct_e2": Key(
            0,
            10_000,
            _OFF,
            100,
            "1/100 % of the day's first equity",
            "Its loss, floating, after which it enters no more today.",
        ),
        "max_consecutive_losses": Key(
            0,
            10_000,
            _OFF,
            3,
            "losing positions",
            "After so many of its losses in a row it pauses as risk.streaks says.",
        ),
        "max_holding_s": Key(
            0, 31_536_000, _AS_ELSEWHERE, 14_400, "s", "Its positions that are open for longer than this are closed."
        ),
    }

    max_order_lots_e2: int = 0
    max_position_pct_equity: int = 0
    max_exposure_pct_equity: int = 0
    max_leverage_pct: int = 0
    max_margin_use_pct: int = 0
    max_open_positions: int = 0
    max_orders_per_minute: int = 0
    max_cancels_per_minute: int = 0
    slippage_budget_pct_e2: int = 0
    daily_loss_pct_e2: int = 0
    max_consecutive_losses: int = 0
    max_holding_s: int = 0


class SymbolLimits(ScopeLimits, frozen=True, kw_only=True):
    """``[risk.symbols.NAME]``: what holds for one symbol besides what holds for all.

    Attributes:
        sessions: when it may be entered, besides ``risk.hours.sessions``, on that zone's clocks; empty = at any time.
    """

    TIGHTENS: ClassVar[frozenset[str]] = ScopeLimits.TIGHTENS | {
        "price_collar_pips_e1",
        "resting_collar_pips_e1",
        "max_stop_distance_pct_e2",
        "max_spread_pips_e1",
        "max_quote_age_s",
    }
    KEYS: ClassVar[Mapping[str, Key]] = {
        **ScopeLimits.KEYS,
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

    WORDS: ClassVar[Mapping[str, str]] = {"sessions": "When it may be entered, besides `hours.sessions`."}

    price_collar_pips_e1: int = 0
    resting_collar_pips_e1: int = 0
    max_stop_distance_pct_e2: int = 0
    max_spread_pips_e1: int = 0
    max_quote_age_s: int = 0
    sessions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse impossible values, and what is no session."""
        check_keys(self, self.SECTION, self.KEYS)
        try:
            intervals(self.sessions)
        except ConfigError as error:
            raise ConfigError(f"sessions: {error}") from None


class StrategyLimits(ScopeLimits, frozen=True, kw_only=True):
    """``[risk.strategies.NAME]``: what holds for one strategy besides what holds for all."""


class CurrencyLimits(Group, frozen=True, kw_only=True):
    """``[risk.currencies.NAME]``: what holds for one currency besides what holds for all (see ``[risk.sizes]``)."""

    KEYS: ClassVar[Mapping[str, Key]] = {
        "max_currency_pct_equity": Key(
            0, 200_000, _AS_ELSEWHERE, 500, "% of equity", "Largest leg of this currency, entries at work included."
        )
    }

    max_currency_pct_equity: int = 0


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
    def currencies(self) -> Mapping[str, CurrencyLimits]:
        """Tighter limits by currency."""
        ...

    @property
    def strategies(self) -> Mapping[str, StrategyLimits]:
        """Tighter limits by strategy."""
        ...


def check_scopes(scopes: Scopes, instruments: Sequence[Instrument], running: Sequence[str]) -> None:
    """Refuse limits of symbols, currencies and strategies that a run does not have.

    Args:
        scopes: the policy.
        instruments: of the run.
        running: names of the strategies that run.

    Raises:
        ConfigError: see `check_names`.
    """
    check_names("symbols", tuple(scopes.symbols), [each.symbol for each in instruments])
    assets = sorted({asset for each in instruments for asset in (each.base, each.quote)})
    check_names("currencies", tuple(scopes.currencies), assets)
    check_names("strategies", tuple(scopes.strategies), running)
