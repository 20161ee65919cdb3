"""Limits of the book as a whole, ``[risk.portfolio]``: what positions may lose together, and what they share."""

from collections.abc import Mapping
from typing import ClassVar

from bus.errors import ConfigError
from risk.policies.keys import Group, Key

METHODS = ("filtered", "historical", "normal", "student")

_WHOLE = 10_000


class PortfolioLimits(Group, frozen=True, kw_only=True):
    """What positions may risk together. Everything counts what others hold, and what is at work.

    Attributes:
        method: where scenarios come from: `filtered` (what happened, at the volatility of now), `historical` (what
            happened), `normal` or `student` (Monte Carlo with the shrunk covariance, at the volatility of now).
        require_history: refuse while no symbol is measured; otherwise these limits are silent until one is. They are
            by default: the limits on position, exposure and leverage hold without any history, and a daemon that was
            given no history would trade nothing for days. Once anything is measured, what is not measured counts as
            the wildest of what is, so that it can hide nothing.
    """

    SECTION: ClassVar[str] = "risk.portfolio"
    KEYS: ClassVar[Mapping[str, Key]] = {
        "var_pct_e2": Key(
            0, 1_000_000, "off", 1_000, "1/100 % of equity", "Largest value at risk of the book over the horizon."
        ),
        "shortfall_pct_e2": Key(
            0, 1_000_000, "off", 1_500, "1/100 % of equity", "Largest mean loss of the book beyond its value at risk."
        ),
        "entry_var_pct_e2": Key(
            0, 1_000_000, "off", 500, "1/100 % of equity", "Most that one entry may add to the value at risk."
        ),
        "level_pct_e2": Key(
            5_000, 9_990, "", 9_900, "1/100 %", "Chance that the loss stays within the value at risk (9900 = 99 %).", ""
        ),
        "horizon_bars": Key(
            1, 100_000, "", 24, "bars", "How far ahead losses look; they grow with the square root of it.", ""
        ),
        "correlated_pct_equity": Key(
            0,
            200_000,
            "off",
            1_000,
            "% of equity",
            "Largest value of positions that move together, each weighted by its correlation, opposites against each "
            "other.",
        ),
        "correlated_above_pct": Key(1, 100, "", 70, "%", "From which correlation on positions move together.", ""),
        "factor_pct_e2": Key(
            0,
            1_000_000,
            "off",
            500,
            "1/100 % of equity",
            "Most that a move of one standard deviation of one principal component over the horizon may cost.",
        ),
        "window_bars": Key(100, 5_000, "", 500, "bars", "How many bars are looked back on.", ""),
        "min_bars": Key(50, 5_000, "", 120, "bars", "A symbol of which fewer bars are known is not measured.", ""),
    }

    WORDS: ClassVar[Mapping[str, str]] = {
        "method": "Where scenarios come from: `filtered`, `historical`, `normal` or `student`.",
        "require_history": "Refuse while nothing is measured; otherwise these limits are silent until something is, "
        "since those on size hold without any history.",
    }

    method: str = "filtered"
    var_pct_e2: int = 1_000
    shortfall_pct_e2: int = 1_500
    entry_var_pct_e2: int = 500
    level_pct_e2: int = 9_900
    horizon_bars: int = 24
    correlated_pct_equity: int = 1_000
    correlated_above_pct: int = 70
    factor_pct_e2: int = 500
    window_bars: int = 500
    min_bars: int = 120
    require_history: bool = False

    def __post_init__(self) -> None:
        """Refuse impossible values.

        Raises:
            ConfigError: naming the key, the reason, and what to write instead.
        """
        Group.__post_init__(self)
        if self.method not in METHODS:
            raise ConfigError(
                f"risk.portfolio.method = {self.method!r}: no such method; write one of {', '.join(METHODS)}"
            )
        if type(self.require_history) is not bool:
            raise ConfigError(f"risk.portfolio.require_history = {self.require_history!r}: write true or false")
        if self.min_bars > self.window_bars:
            raise ConfigError(
                f"risk.portfolio.min_bars = {self.min_bars}: more than risk.portfolio.window_bars = {self.window_bars} "
                f"are never known; write at most {self.window_bars}"
            )
        least = -(-self.level_pct_e2 // (_WHOLE - self.level_pct_e2))
        if self.min_bars < least:
            raise ConfigError(
                f"risk.portfolio.min_bars = {self.min_bars}: a level of {self.level_pct_e2 / 100:g} % cannot be told "
                f"from so few; write at least {least}"
            )

    @property
    def on(self) -> bool:
        """Whether any limit is."""
        return bool(
            self.var_pct_e2
            or self.shortfall_pct_e2
            or self.entry_var_pct_e2
            or self.correlated_pct_equity
            or self.factor_pct_e2
        )
