"""``[risk.sizes]``: how much the account may carry, besides the position, exposure and leverage in ``[risk]``."""

from collections.abc import Mapping
from typing import ClassVar

from risk.policies.keys import Group, Key


class Sizes(Group, frozen=True, kw_only=True):
    """Currency legs, margin in use, and how many positions.

    The leg of a currency is the larger of what is bought of it and what is sold of it, positions and entries at work
    together: buying EURUSD buys euros and sells dollars.
    """

    SECTION: ClassVar[str] = "risk.sizes"
    KEYS: ClassVar[Mapping[str, Key]] = {
        "max_currency_pct_equity": Key(
            0, 200_000, "off", 1_000, "% of equity", "Largest leg of any one currency, entries at work included."
        ),
        "max_margin_use_pct": Key(
            0, 100, "off", 50, "% of equity", "Most equity that is used as margin if every entry at work is filled."
        ),
        "min_free_margin": Key(
            0,
            10_000_000_000,
            "off",
            1_000,
            "whole units of the account's currency",
            "Equity that stays free of margin, as an amount.",
            "higher",
        ),
        "max_open_positions": Key(
            0, 1_000_000, "off", 10, "positions", "Most positions, entries at work included, each counted as one."
        ),
    }

    max_currency_pct_equity: int = 0
    max_margin_use_pct: int = 0
    min_free_margin: int = 0
    max_open_positions: int = 0
