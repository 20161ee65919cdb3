"""Every limit, with its unit in its name. Frozen: a change of limits is a new policy, and the journal says which ruled.

Units: `_pct` percent (500 = 500 %), `_pct_e2` hundredths of a percent (250 = 2.50 %), `_pips_e1` tenths of a pip
(15 = 1.5 pips), `_lots_e2` hundredths of a lot, `_s` seconds. 0 switches a limit off where its line says so.

What concerns the account as a whole stands here, in ``[risk]``; groups of it in tables of their own (`risk.policies`);
and what concerns one symbol or one strategy in a table with its name, which can only make things tighter
(`risk.policies.scopes`).
"""

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from bus.errors import ConfigError
from risk.policies.hours import Hours
from risk.policies.keys import Key, check_bounds, check_keys, tightest
from risk.policies.losses import Losses
from risk.policies.models import ModelLimits
from risk.policies.news import News
from risk.policies.orders import Orders
from risk.policies.portfolio import PortfolioLimits
from risk.policies.scopes import CurrencyLimits, StrategyLimits, SymbolLimits
from risk.policies.sizes import Sizes
from risk.policies.streaks import Streaks

__all__ = ["Policy", "check_bounds"]


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The limits that an entry is held against. Exits pass them all, so that risk can always be reduced.

    Attributes:
        max_order_lots_e2: largest single order, in 1/100 lots. 0 = only the venue's own maximum.
        max_position_pct_equity: largest value of one side of one symbol, entries at work included, in percent of
            equity (500 = five times the equity). 0 = off.
        max_exposure_pct_equity: largest value of all positions and entries at work, long and short added up. 0 = off.
        max_leverage_pct: largest sum over the symbols of the larger of both sides, in percent of equity
            (1000 = leverage 10). 0 = off.
        daily_loss_pct_e2: halt when floating equity has fallen this far below the equity at the start of the trading
            day (17:00 New York), in 1/100 percent. 0 = off.
        trailing_drawdown_pct_e2: halt when floating equity has fallen this far below its highest value, in 1/100
            percent. 0 = off.
        loss_halt_level: what those two halts do: 1 no new risk, 2 cancel entries too, 3 close everything too.
        max_orders_per_minute: entries are refused when this many orders left in the last sixty seconds. 0 = off.
        price_collar_pips_e1: farthest that the price the decision saw may lie from the market, in 1/10 pips. 0 = off.
        resting_collar_pips_e1: farthest that a resting entry's price may lie from the market, in 1/10 pips. 0 = off.
        max_stop_distance_pct_e2: farthest that a stop may lie from the entry, in 1/100 percent of the price. 0 = off.
        max_spread_pips_e1: widest spread at which to enter, in 1/10 pips. 0 = off.
        max_quote_age_s: oldest quote on which to enter, in seconds. 0 = off.
        min_free_margin_pct: equity that must stay free of margin if every entry were filled, in percent. 0 = off.
        protect_within_s: a position without a stop for longer than this is closed.
        sizes: currency legs, margin in use, number of positions.
        orders: cancels, slippage, holding time.
        losses: further losses and drawdowns that halt, and when a trading day begins.
        streaks: pauses after losses in a row.
        hours: when entries may be made.
        news: no entries around events.
        models: what rests on models.
        portfolio: limits of the book as a whole.
        symbols: tighter limits by symbol.
        currencies: tighter limits by currency.
        strategies: tighter limits by strategy.
    """

    KEYS: ClassVar[Mapping[str, Key]] = {
        "max_order_lots_e2": Key(
            0, 10_000_000, "only the venue's own maximum", 10_000, "1/100 lots", "Largest single order."
        ),
        "max_position_pct_equity": Key(
            0, 200_000, "off", 500, "% of equity", "Largest value of one side of one symbol, entries at work included."
        ),
        "max_exposure_pct_equity": Key(
            0, 200_000, "off", 2_000, "% of equity", "Largest value of all positions and entries at work, added up."
        ),
        "max_leverage_pct": Key(
            0,
            200_000,
            "off",
            1_000,
            "% of equity",
            "Largest sum of the larger side of every symbol (1000 = leverage 10).",
        ),
        "daily_loss_pct_e2": Key(
            0, 10_000, "off", 300, "1/100 %", "Halts when floating equity fell this far since the trading day began."
        ),
        "trailing_drawdown_pct_e2": Key(
            0, 10_000, "off", 1_000, "1/100 %", "Halts when floating equity fell this far below its highest value."
        ),
        "loss_halt_level": Key(
            1,
            3,
            "",
            3,
            "level",
            "What such a halt does: 1 no new risk, 2 cancel entries too, 3 close all too.",
            "higher",
        ),
        "max_orders_per_minute": Key(
            0,
            1_000_000,
            "off",
            30,
            "orders",
            "Entries are refused when this many orders left in the last sixty seconds.",
        ),
        "price_collar_pips_e1": Key(
            0, 1_000_000, "off", 100, "1/10 pips", "Farthest that the price a decision saw may lie from the market."
        ),
        "resting_collar_pips_e1": Key(
            0, 1_000_000, "off", 2_000, "1/10 pips", "Farthest that a resting entry may lie from the market."
        ),
        "max_stop_distance_pct_e2": Key(
            0, 10_000, "off", 500, "1/100 % of the price", "Farthest that a stop may lie from the entry."
        ),
        "max_spread_pips_e1": Key(0, 1_000_000, "off", 50, "1/10 pips", "Widest spread at which to enter."),
        "max_quote_age_s": Key(0, 86_400, "off", 30, "s", "Oldest quote on which to enter."),
        "min_free_margin_pct": Key(
            0, 100, "off", 20, "% of equity", "Equity that stays free of margin if every entry is filled.", "higher"
        ),
        "protect_within_s": Key(
            0, 3_600, "", 10, "s", "A position that has had no stop for longer than this is closed."
        ),
    }

    max_order_lots_e2: int = 10_000
    max_position_pct_equity: int = 500
    max_exposure_pct_equity: int = 2_000
    max_leverage_pct: int = 1_000
    daily_loss_pct_e2: int = 300
    trailing_drawdown_pct_e2: int = 1_000
    loss_halt_level: int = 3
    max_orders_per_minute: int = 30
    price_collar_pips_e1: int = 100
    resting_collar_pips_e1: int = 2_000
    max_stop_distance_pct_e2: int = 500
    max_spread_pips_e1: int = 50
    max_quote_age_s: int = 30
    min_free_margin_pct: int = 20
    protect_within_s: int = 10
    sizes: Sizes = Sizes()
    orders: Orders = Orders()
    losses: Losses = Losses()
    streaks: Streaks = Streaks()
    hours: Hours = Hours()
    news: News = News()
    models: ModelLimits = ModelLimits()
    portfolio: PortfolioLimits = PortfolioLimits()
    symbols: dict[str, SymbolLimits] = {}
    currencies: dict[str, CurrencyLimits] = {}
    strategies: dict[str, StrategyLimits] = {}

    def __post_init__(self) -> None:
        """Refuse impossible values at construction and at decoding alike."""
        self.check()

    def check(self) -> None:
        """Refuse impossible values.

        Raises:
            ConfigError: naming the key, the reason, and what to write instead.
        """
        check_keys(self, "risk", self.KEYS)
        position, exposure = self.max_position_pct_equity, self.max_exposure_pct_equity
        if exposure and position > exposure:
            raise ConfigError(
                f"risk.max_position_pct_equity = {position}: one position cannot exceed all of them together "
                f"(risk.max_exposure_pct_equity = {exposure}); write at most {exposure}"
            )

    def within(self, symbol: str, strategy: str) -> "Policy":
        """This policy with every plain key as tight as the scopes of a symbol and a strategy make it."""
        changed: dict[str, int] = {}
        for scope in (self.symbols.get(symbol), self.strategies.get(strategy)):
            for name in scope.TIGHTENS & self.KEYS.keys() if scope is not None else ():
                value: int = getattr(scope, name)
                if value:
                    own: int = changed[name] if name in changed else getattr(self, name)
                    changed[name] = tightest(self.KEYS[name], own, value)
        return msgspec.structs.replace(self, **changed) if changed else self

    def holding_limit_s(self, symbol: str, strategy: str) -> int:
        """How long a position may be held, as its symbol and its strategy make it; 0 = for ever."""
        scopes = (self.orders, self.symbols.get(symbol), self.strategies.get(strategy))
        limits_s = [scope.max_holding_s for scope in scopes if scope is not None and scope.max_holding_s]
        return min(limits_s, default=0)
